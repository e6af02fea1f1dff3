/* The inner loop over a queue in virtual time: requests arrive, wait in one line for a worker, are served. Nothing here sleeps. */
#include "common.h"

#include <math.h>
#include <stdlib.h>

#include "internal.h"

enum { CLASSES = 3, SERVERS_MAX = 64, WAITING_MAX = 200000 };

typedef struct {
    int64_t arrived_ns;
    unsigned priority;
} request;

typedef struct {
    double rate[CLASSES]; /* arrivals a second */
    unsigned servers;
    double service_s; /* mean of one request */
    bool fixed;       /* service time: always the mean, or exponential */
} load;

typedef struct {
    uint64_t offered[CLASSES], refused[CLASSES], served;
    double wait_sum_s, wait_worst_s;
} figures;

typedef struct {
    tt_dp *dp;
    prng random;
    int64_t now_ns, arrival_ns[CLASSES], free_ns[SERVERS_MAX];
    request serving[SERVERS_MAX];
    bool busy[SERVERS_MAX];
    request *line;
    size_t first, last; /* ring */
} sim;

static double exponential(sim *s, double mean) {
    return -mean * log(1 - prng_unit(&s->random));
}

static void sim_begin(sim *s, const load *l, uint32_t timeout_ms, uint32_t workers) {
    static const char *const names[] = {"critical", "normal", "batch"};
    tt_dp_options o = {.size = sizeof o,
                       .service = "checkout",
                       .priorities = names,
                       .n_priorities = CLASSES,
                       .inner_loop = true,
                       .timeout_ms = timeout_ms,
                       .base_ms = (uint32_t)(l->service_s * 1000),
                       .workers = workers};
    *s = (sim){.random = {1}, .now_ns = begin_ns, .dp = tt_dp_new(&o), .line = calloc(WAITING_MAX, sizeof(request))};
    assert_non_null(s->dp);
    assert_non_null(s->line);
    for (unsigned c = 0; c < CLASSES; c++) s->arrival_ns[c] = 0;
}

static void sim_end(sim *s) {
    tt_dp_free(s->dp);
    free(s->line);
}

static void serve_next(sim *s, const load *l, unsigned server, figures *f) {
    if (s->first == s->last) return;
    request r = s->line[s->first++ % WAITING_MAX];
    double wait_s = (double)(s->now_ns - r.arrived_ns) / 1e9;
    f->wait_sum_s += wait_s;
    if (wait_s > f->wait_worst_s) f->wait_worst_s = wait_s;
    tt_dp_started(s->dp, s->now_ns);
    s->busy[server] = true;
    s->serving[server] = r;
    s->free_ns[server] = s->now_ns + (int64_t)((l->fixed ? l->service_s : exponential(s, l->service_s)) * 1e9);
}

static void arrive(sim *s, const load *l, unsigned c, figures *f) {
    s->arrival_ns[c] = s->now_ns + (int64_t)(exponential(s, 1 / l->rate[c]) * 1e9);
    f->offered[c]++;
    if (tt_dp_admit(s->dp, c, NULL, 0, s->now_ns) != TT_DP_ADMIT) {
        f->refused[c]++;
        return;
    }
    assert_true(s->last - s->first < WAITING_MAX);
    s->line[s->last++ % WAITING_MAX] = (request){s->now_ns, c};
    for (unsigned i = 0; i < l->servers; i++)
        if (!s->busy[i]) {
            serve_next(s, l, i, f);
            return;
        }
}

static figures sim_run(sim *s, const load *l, double seconds) {
    figures f = {0};
    int64_t end_ns = s->now_ns + (int64_t)(seconds * 1e9);
    for (unsigned c = 0; c < CLASSES; c++)
        if (s->arrival_ns[c] <= s->now_ns && l->rate[c] > 0) s->arrival_ns[c] = s->now_ns + (int64_t)(exponential(s, 1 / l->rate[c]) * 1e9);
    for (;;) {
        int64_t next = end_ns;
        int server = -1, class = -1;
        for (unsigned i = 0; i < SERVERS_MAX; i++)
            if (s->busy[i] && s->free_ns[i] < next) next = s->free_ns[i], server = (int)i;
        for (unsigned c = 0; c < CLASSES; c++)
            if (l->rate[c] > 0 && s->arrival_ns[c] < next) next = s->arrival_ns[c], class = (int)c;
        s->now_ns = next;
        if (next == end_ns) return f;
        if (class >= 0) {
            arrive(s, l, (unsigned)class, &f);
            continue;
        }
        request *r = &s->serving[server];
        tt_dp_finished(s->dp, r->priority, TT_DP_OK, next - r->arrived_ns, next);
        f.served++;
        s->busy[server] = false;
        if ((unsigned)server < l->servers) serve_next(s, l, (unsigned)server, &f);
    }
}

static double capacity(const load *l) {
    return l->servers / l->service_s;
}
static double refused_share(const figures *f, unsigned c) {
    return f->offered[c] ? (double)f->refused[c] / (double)f->offered[c] : 0;
}

/* Overload of 2.5 times, for a minute: it must go on serving all it can, with a bounded wait, whatever theta is. */
static void no_death_spiral(void **state) {
    (void)state;
    static const double thetas[] = {0.1, 0.15, 0.2, 0.3, 0.45};
    static const struct {
        const char *name;
        unsigned servers, told_workers;
        double service_s;
        bool fixed;
    } hops[] = {{"8 workers of 40 ms", 8, 8, 0.04, false},
                {"8 workers of 40 ms, not told", 8, 0, 0.04, false},
                {"1 worker of 20 ms, fixed", 1, 1, 0.02, true},
                {"1 worker of 100 ms", 1, 1, 0.1, false},
                {"64 workers of 200 ms", 64, 64, 0.2, false},
                {"4 workers of 1 ms", 4, 4, 0.001, false},
                {"2 workers of 300 ms: slower than theta", 2, 2, 0.3, false}};
    for (size_t h = 0; h < COUNT(hops); h++)
        for (size_t t = 0; t < COUNT(thetas); t++) {
            char row[96];
            snprintf(row, sizeof row, "%s, theta %.2f s", hops[h].name, thetas[t]);
            load l = {.servers = hops[h].servers, .service_s = hops[h].service_s, .fixed = hops[h].fixed};
            double c = capacity(&l);
            l.rate[0] = 0.5 * c, l.rate[1] = c, l.rate[2] = c;
            sim s;
            sim_begin(&s, &l, 1000, hops[h].told_workers);
            s.dp->inner.theta_ns = (int64_t)(thetas[t] * 1e9); /* below the floor tt_dp_new sets, on purpose */
            figures warm = sim_run(&s, &l, 10);
            (void)warm;
            figures f = sim_run(&s, &l, 60);
            double least = s.dp->inner.floor / 0.6; /* the queue nobody is refused below, where theta asks for less */
            double bound_s = fmax(thetas[t], (least + 2) / c);
            if (getenv("VERBOSE"))
                printf("%-50s served %.3f of capacity, x %.3f, wait mean %.3f worst %.3f s, refused %.2f %.2f %.2f\n", row, (double)f.served / 60 / c,
                       s.dp->inner.x / c, f.wait_sum_s / (double)f.served, f.wait_worst_s, refused_share(&f, 0), refused_share(&f, 1),
                       refused_share(&f, 2));
            sim_end(&s);
            CHECK(row, (double)f.served / 60 > 0.93 * c);
            CHECK(row, f.wait_sum_s / (double)f.served < 1.1 * bound_s);
        }
}

static void refuses_the_lowest_first(void **state) {
    (void)state;
    static const struct {
        const char *name;
        double rate[CLASSES];                 /* of capacity */
        double most[CLASSES], least[CLASSES]; /* refused */
    } rows[] = {{"a little too much", {0.3, 0.5, 0.3}, {0.001, 0.002, 1}, {0, 0, 0.2}},
                {"batch alone is too much", {0.2, 0.2, 3}, {0.001, 0.001, 1}, {0, 0, 0.7}},
                {"normal is too much", {0.4, 1, 0.5}, {0.005, 1, 1}, {0, 0.3, 0.95}},
                {"even critical is too much", {1.5, 0.5, 0.5}, {1, 1, 1}, {0.2, 0.95, 0.98}}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        load l = {.servers = 8, .service_s = 0.02};
        for (unsigned c = 0; c < CLASSES; c++) l.rate[c] = rows[i].rate[c] * capacity(&l);
        sim s;
        sim_begin(&s, &l, 1000, 8);
        (void)sim_run(&s, &l, 10);
        figures f = sim_run(&s, &l, 60);
        sim_end(&s);
        for (unsigned c = 0; c < CLASSES; c++) {
            if (getenv("VERBOSE")) printf("%s: class %u refused %.4f\n", rows[i].name, c, refused_share(&f, c));
            CHECK(rows[i].name, refused_share(&f, c) <= rows[i].most[c]);
            CHECK(rows[i].name, refused_share(&f, c) >= rows[i].least[c]);
        }
    }
}

/* Whatever lies between, requests that fit are let in: from the first on, after a rest, after a burst, after trouble. */
static void refuses_nothing_that_fits(void **state) {
    (void)state;
    load fits = {.rate = {80, 120, 80}, .servers = 8, .service_s = 0.02}; /* 70 % of 400 */
    load idle = {.rate = {0.5, 0, 0}, .servers = 8, .service_s = 0.02};
    load flood = {.rate = {200, 400, 400}, .servers = 8, .service_s = 0.02};
    sim s;
    sim_begin(&s, &fits, 1000, 8);
    static const char *const names[] = {"from the first", "after ten idle minutes", "after a flood", "after a flood and rest"};
    for (size_t i = 0; i < COUNT(names); i++) {
        if (i == 1) (void)sim_run(&s, &idle, 600);
        if (i >= 2) {
            (void)sim_run(&s, &flood, 30);
            (void)sim_run(&s, i == 2 ? &fits : &idle, i == 2 ? 2 : 300);
        }
        figures f = sim_run(&s, &fits, 60);
        for (unsigned c = 0; c < CLASSES; c++) CHECK(names[i], f.refused[c] == 0);
    }
    sim_end(&s);
}

/* What it learned stays while nothing comes, and comes back after trouble: so many at once wait 0.15 s at most, and are let in. */
static void lets_a_burst_in(void **state) {
    (void)state;
    load fits = {.rate = {80, 120, 80}, .servers = 8, .service_s = 0.02}, idle = {.rate = {0.5, 0, 0}, .servers = 8, .service_s = 0.02};
    load flood = {.rate = {200, 400, 400}, .servers = 8, .service_s = 0.02}, slow = flood;
    slow.service_s = 0.5;
    static const char *const names[] = {"after ten idle minutes", "after trouble and half a minute that fits"};
    for (size_t i = 0; i < COUNT(names); i++) {
        sim s;
        sim_begin(&s, &flood, 1000, 8);
        (void)sim_run(&s, &flood, 20);
        if (i == 0) (void)sim_run(&s, &idle, 600);
        if (i == 1) (void)sim_run(&s, &slow, 30);
        if (i == 1) (void)sim_run(&s, &fits, 30);
        (void)sim_run(&s, &idle, 10); /* nothing waits any more */
        for (int k = 0; k < 60; k++) CHECK(names[i], tt_dp_admit(s.dp, 2, NULL, 0, s.now_ns) == TT_DP_ADMIT);
        sim_end(&s);
    }
}

/* A dependency makes every request seven times slower, then hangs altogether, then is well again. */
static void follows_capacity(void **state) {
    (void)state;
    load well = {.rate = {100, 150, 100}, .servers = 8, .service_s = 0.02}, slow = well, hung = well;
    slow.service_s = 0.14;
    hung.service_s = 5;
    hung.fixed = true;
    sim s;
    sim_begin(&s, &well, 1000, 8);
    (void)sim_run(&s, &well, 30);
    (void)sim_run(&s, &slow, 12); /* half-life 1.5 s: from 400 to 57 a second takes some */
    figures f = sim_run(&s, &slow, 60);
    CHECK("slow", (double)f.served / 60 > 0.95 * capacity(&slow));
    CHECK("slow", f.wait_worst_s < 0.6);
    (void)sim_run(&s, &well, 3);
    f = sim_run(&s, &well, 30);
    CHECK("well after slow", f.refused[0] + f.refused[1] + f.refused[2] == 0);
    (void)sim_run(&s, &hung, 20);
    assert_true(s.last - s.first <= 150); /* 0.3 s of what it was, and what came while X fell */
    (void)sim_run(&s, &well, 5);
    (void)sim_run(&s, &well, 5);
    f = sim_run(&s, &well, 30);
    CHECK("well after hung", f.refused[0] + f.refused[1] + f.refused[2] == 0);
    CHECK("well after hung", (double)f.served / 30 > 330);
    sim_end(&s);
}

/* Theta as tt_dp_new sets it: 0.3 of the time-out, but never less than needed to measure, nor more than is of use. */
static void sets_theta(void **state) {
    (void)state;
    static const struct {
        const char *name;
        uint32_t timeout_ms, base_ms;
        double theta_ms;
    } rows[] = {{"default", 0, 0, 300}, {"slow base", 1000, 100, 500}, {"short time-out", 200, 10, 60}, {"very slow base", 1000, 400, 700}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        tt_dp_options o = {.size = sizeof o, .timeout_ms = rows[i].timeout_ms, .base_ms = rows[i].base_ms};
        tt_dp *dp = tt_dp_new(&o);
        assert_non_null(dp);
        CHECK(rows[i].name, fabs((double)dp->inner.theta_ns / 1e6 - rows[i].theta_ms) < 1e-6);
        tt_dp_free(dp);
    }
}

/* Turned on while a queue stands: the queue counts. Turned off: nothing is refused. */
static void turns_on_and_off(void **state) {
    (void)state;
    load l = {.rate = {200, 400, 400}, .servers = 8, .service_s = 0.02};
    sim s;
    sim_begin(&s, &l, 1000, 8);
    tt_dp_inner_loop(s.dp, false);
    figures f = sim_run(&s, &l, 10);
    assert_int_equal(f.refused[0] + f.refused[1] + f.refused[2], 0);
    size_t standing = s.last - s.first;
    assert_true(standing > 5000);
    tt_dp_inner_loop(s.dp, true);
    assert_int_equal(atomic_load(&s.dp->inner.queued), standing);
    (void)sim_run(&s, &l, 25); /* 6000 wait, 400 a second leave */
    f = sim_run(&s, &l, 10);
    assert_true(f.wait_worst_s < 0.5);
    assert_true((double)f.served / 10 > 380);
    tt_dp_inner_loop(s.dp, false);
    f = sim_run(&s, &l, 1);
    assert_int_equal(f.refused[0] + f.refused[1] + f.refused[2], 0);
    sim_end(&s);
}

/* Never refuse while fewer than half the workers' number wait, however slow it has been. */
static void keeps_a_least_queue(void **state) {
    (void)state;
    tt_dp_options o = {.size = sizeof o, .inner_loop = true, .workers = 16};
    tt_dp *dp = tt_dp_new(&o);
    assert_non_null(dp);
    int64_t now = begin_ns;
    for (int i = 0; i < 100; i++) assert_int_equal(tt_dp_admit(dp, 0, NULL, 0, now), TT_DP_ADMIT);
    for (int i = 0; i < 16; i++) tt_dp_started(dp, now);
    for (int i = 0; i < 600; i++) (void)tt_dp_admit(dp, 2, NULL, 0, now += 100 * ms_ns); /* a minute in which nothing ends */
    for (int i = 16; i < 100; i++) tt_dp_abandoned(dp, 0, false, now);
    tt_dp_stats s = {.size = sizeof s};
    tt_dp_read_stats(dp, &s);
    while (s.queued > 0) {
        tt_dp_abandoned(dp, 2, false, now);
        tt_dp_read_stats(dp, &s);
    }
    for (int i = 0; i < 8; i++) assert_int_equal(tt_dp_admit(dp, 2, NULL, 0, now), TT_DP_ADMIT);
    assert_int_equal(tt_dp_admit(dp, 2, NULL, 0, now), TT_DP_REFUSED);
    assert_int_equal(tt_dp_admit(dp, 0, NULL, 0, now), TT_DP_ADMIT); /* a little room is kept for the higher */
    tt_dp_free(dp);
}

/* One mistaken time, an hour ahead, must not stop it from measuring. */
static void a_mistaken_time_passes(void **state) {
    (void)state;
    load l = {.rate = {200, 400, 400}, .servers = 8, .service_s = 0.02};
    sim s;
    sim_begin(&s, &l, 1000, 8);
    (void)sim_run(&s, &l, 20);
    if (tt_dp_admit(s.dp, 0, NULL, 0, s.now_ns + 3600 * second_ns) == TT_DP_ADMIT) tt_dp_abandoned(s.dp, 0, false, s.now_ns);
    s.dp->inner.x = 1e6; /* to be measured again */
    (void)sim_run(&s, &l, 40);
    figures f = sim_run(&s, &l, 20);
    assert_true(f.wait_worst_s < 0.5);
    assert_true((double)f.served / 20 > 380);
    sim_end(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_death_spiral),
        cmocka_unit_test(refuses_the_lowest_first),
        cmocka_unit_test(refuses_nothing_that_fits),
        cmocka_unit_test(follows_capacity),
        cmocka_unit_test(sets_theta),
        cmocka_unit_test(turns_on_and_off),
        cmocka_unit_test(keeps_a_least_queue),
        cmocka_unit_test(a_mistaken_time_passes),
        cmocka_unit_test(lets_a_burst_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
