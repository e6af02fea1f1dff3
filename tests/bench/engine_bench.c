/* What a tick of the engine costs, and how that grows. Each size runs in a process of its own, pinned to one core, after a warm-up; the figure is the
 * median over rounds. Beside each tick the same measurements are copied once with memcpy: the ratio of the two means something on another machine,
 * the milliseconds only on this one. Never part of a test. */
#include <malloc.h>
#include <math.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine.h"
#include "pcre.h"
#include "yaml.h"

static int rounds = 21;

static double now_ms(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
static double median(double *v, int n) {
    qsort(v, (size_t)n, sizeof *v, by_value);
    return v[n / 2];
}

/* Resident, not reserved: what the tables have been grown to and touched. */
static double resident_bytes(void) {
    long pages = 0, skip;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%ld %ld", &skip, &pages) != 2) pages = 0;
    if (f) fclose(f);
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

/* ---- rules ---- */

typedef struct {
    char *p;
    size_t n, cap;
} text;

__attribute__((format(printf, 2, 3))) static void put(text *t, const char *fmt, ...) {
    if (t->cap - t->n < 4096) {
        t->cap = t->cap ? t->cap * 2 : 1 << 16;
        t->p = realloc(t->p, t->cap);
        if (!t->p) exit(1);
    }
    va_list ap;
    va_start(ap, fmt);
    t->n += (size_t)vsnprintf(t->p + t->n, t->cap - t->n, fmt, ap);
    va_end(ap);
}

static tt_rules *load(const text *t) {
    static const tt_yaml_limits limits = {.max_bytes = 256 << 20, .max_nodes = 64000000, .max_depth = 16};
    tt_matcher *matcher = tt_pcre_matcher_new();
    tt_arena *arena = tt_arena_new();
    tt_err errs[4] = {0};
    size_t n_errs = 1;
    const tt_doc *doc = tt_yaml_parse(arena, "bench.yaml", (tt_sv){t->p, t->n}, &limits, &errs[0]);
    tt_rules *r = doc ? tt_rules_load(&doc, 1, matcher, errs, TT_COUNT(errs), &n_errs) : NULL;
    for (size_t i = 0; !r && i < n_errs && i < TT_COUNT(errs); i++) {
        char line[1024];
        tt_err_print(&errs[i], line, sizeof line);
        fprintf(stderr, "engine_bench: %s\n", line);
    }
    tt_arena_free(arena);
    if (!r) exit(1);
    return r;
}

/* ---- what is observed ---- */

enum { DCS = 16, INSTANCES = 5 };

typedef struct {
    char service[32], dc[32], instance[64];
} place;

typedef struct {
    tt_measurement *m, *copy;
    size_t n;
    tt_poll polls[32];
    size_t n_polls;
    tt_time now;
} feed;

static void feed_new(feed *f, size_t n) {
    *f = (feed){.m = calloc(n, sizeof *f->m), .copy = calloc(n, sizeof *f->m), .now = {TT_SECONDS(1000)}};
    if (!f->m || !f->copy) exit(1);
}

static void feed_series(feed *f, uint32_t signal, const place *p, bool instance) {
    tt_measurement *m = &f->m[f->n++];
    m->signal = signal;
    m->labels[m->n_labels++] = (tt_label){TT_SV("service"), tt_sv_of(p->service)};
    m->labels[m->n_labels++] = (tt_label){TT_SV("dc"), tt_sv_of(p->dc)};
    if (instance) m->labels[m->n_labels++] = (tt_label){TT_SV("instance"), tt_sv_of(p->instance)};
}

static tt_observations feed_tick(feed *f, bool fresh) {
    f->now.ns += TT_SECONDS(1);
    if (fresh)
        for (size_t i = 0; i < f->n; i++) f->m[i].at.ns = f->now.ns - TT_MS(200);
    return (tt_observations){.now = f->now,
                             .wall = {1790000000000 + f->now.ns / 1000000},
                             .n_polls = fresh ? f->n_polls : 0,
                             .polls = f->polls,
                             .n_measurements = fresh ? f->n : 0,
                             .measurements = f->m};
}

static double copy_ms(feed *f) {
    double begin = now_ms();
    memcpy(f->copy, f->m, f->n * sizeof *f->m);
    __asm__ volatile("" ::"r"(f->copy) : "memory");
    return now_ms() - begin;
}

/* A small generator: the same measurements in every run. */
static double noise(void) {
    static uint64_t x = 88172645463325252u;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return (double)(x >> 11) / 9007199254740992.0;
}

/* ---- series: three signals an instance, one anomaly that reads all three ---- */

typedef struct {
    double tick_ms, copy_ms, each; /* each: ns a series, or microseconds a loop */
    double bytes;                  /* an item */
    double extra[8];
} result;

/* What a tick costs with every series told anew, after `warm_up` of them. */
static void measure(tt_engine *e, feed *f, int warm_up, void (*fill)(feed *), result *r) {
    memcpy(f->copy, f->m, f->n * sizeof *f->m); /* resident from here on: not the engine's */
    double before = resident_bytes();
    double *tick = calloc((size_t)rounds, sizeof *tick), *copy = calloc((size_t)rounds, sizeof *copy);
    tt_outcome out;
    for (int k = -warm_up; k < rounds; k++) {
        fill(f);
        tt_observations obs = feed_tick(f, true);
        double begin = now_ms();
        tt_engine_tick(e, &obs, &out);
        double end = now_ms();
        if (k < 0) continue;
        tick[k] = end - begin;
        copy[k] = copy_ms(f);
    }
    r->bytes = (resident_bytes() - before) / (double)f->n;
    r->tick_ms = median(tick, rounds);
    r->copy_ms = median(copy, rounds);
    r->each = r->tick_ms * 1e6 / (double)f->n;
}

static void fill_sets(feed *f) {
    size_t sets = f->n / 3;
    for (size_t i = 0; i < sets; i++) {
        f->m[i].value = i % 100 == 7 ? 0.5 : 0.04 * noise(); /* one in a hundred is out of bounds */
        f->m[sets + i].value = 100 + 20 * noise();
        f->m[2 * sets + i].value = i % 100 == 7 ? 400 : 20 + 30 * noise();
    }
}

static void bench_series(uint32_t n, result *r) {
    text t = {0};
    put(&t, "signals:\n  - {name: error_ratio, query: a, every: 1s}\n  - {name: offered_rps, query: b, every: 1s}\n  - {name: p99_ms, query: c, "
            "every: 1s}\n"
            "anomalies:\n  - {name: overload, when: error_ratio > 5%% and offered_rps > 50 and p99_ms > 200, for: 10s}\n");
    tt_rules *rules = load(&t);
    tt_engine_config cfg;
    tt_engine_config_default(&cfg);
    cfg.max_series = n + 3;
    tt_engine *e = tt_engine_new(rules, &cfg);
    if (!e) exit(1);
    uint32_t sets = n / 3;
    place *places = calloc(sets, sizeof *places);
    feed f;
    feed_new(&f, 3 * (size_t)sets);
    for (uint32_t i = 0; i < sets; i++) {
        snprintf(places[i].service, sizeof places[i].service, "service-%u", i / INSTANCES / DCS);
        snprintf(places[i].dc, sizeof places[i].dc, "dc-%u", i / INSTANCES % DCS);
        snprintf(places[i].instance, sizeof places[i].instance, "10.%u.%u.%u:8080", i >> 16, i >> 8 & 255, i & 255);
    }
    for (uint32_t s = 0; s < 3; s++) {
        for (uint32_t i = 0; i < sets; i++) feed_series(&f, s, &places[i], true);
        f.polls[f.n_polls++] = (tt_poll){.signal = s, .answered = true};
    }
    measure(e, &f, 15, fill_sets, r); /* past the anomaly's `for` */
    double begin = now_ms();
    tt_buf b;
    tt_buf_init(&b, SIZE_MAX / 2);
    tt_engine_signals_json(e, &b);
    r->extra[0] = now_ms() - begin;
    tt_buf_free(&b);
    tt_engine_free(e);
}

/* ---- kinds of anomalies: one signal, one anomaly, what it remembers of every series ---- */

static const struct {
    const char *name, *anomaly;
} kinds[] = {
    {"when", "when: error_ratio > 5%"},
    {"when, clear", "when: error_ratio > 5%, clear: error_ratio < 2%"},
    {"change", "when: 'change(error_ratio, 1m) > 5%'"},
    {"rate", "when: 'rate(error_ratio, 1m) > 5%'"},
    {"mean", "when: 'mean(error_ratio, 1m) > 5%'"},
    {"slo", "slo: {objective: 99.9%, errors: error_ratio}"},
    {"baseline 1d", "baseline: {signal: error_ratio, season: 1d}"},
    {"baseline 1h", "baseline: {signal: error_ratio}"},
    {"peers", "peers: {signal: error_ratio, by: dc}"},
    {"absent", "absent: {signal: error_ratio}"},
};
static size_t kind;

static void fill_quiet(feed *f) {
    for (size_t i = 0; i < f->n; i++) f->m[i].value = 0.0005 * noise();
}

static void bench_kind(uint32_t n, result *r) {
    text t = {0};
    put(&t, "signals: [{name: error_ratio, query: a, every: 1s}]\nanomalies: [{name: x, %s, for: 10s}]\n", kinds[kind].anomaly);
    tt_rules *rules = load(&t);
    tt_engine_config cfg;
    tt_engine_config_default(&cfg);
    cfg.max_series = n;
    tt_engine *e = tt_engine_new(rules, &cfg);
    if (!e) exit(1);
    place *places = calloc(n, sizeof *places);
    feed f;
    feed_new(&f, n);
    for (uint32_t i = 0; i < n; i++) {
        snprintf(places[i].service, sizeof places[i].service, "service-%u", i / DCS);
        snprintf(places[i].dc, sizeof places[i].dc, "dc-%u", i % DCS);
        feed_series(&f, 0, &places[i], false);
    }
    f.polls[f.n_polls++] = (tt_poll){.signal = 0, .answered = true};
    measure(e, &f, 75, fill_quiet, r); /* what looks a minute back is full */
    tt_buf b;
    tt_buf_init(&b, SIZE_MAX / 2);
    double begin = now_ms();
    tt_engine_save(e, f.now, &b);
    r->extra[0] = now_ms() - begin;
    r->extra[1] = (double)b.n;
    tt_buf_free(&b);
    tt_engine_free(e);
}

/* ---- loops: each with a site of its own, capped; every site has nine fresh samples a tick ---- */

enum { ERROR_RATIO, OFFERED, OK, REFUSED, DROPPED, UTILIZATION, LATENCY, ARRIVED, COMPLETED, SIGNALS };
static const char *const signal_names[SIGNALS] = {"error_ratio", "offered_rps",     "ok_rps",      "refused_rps",  "dropped_rps",
                                                  "utilization", "latency_mean_ms", "arrived_rps", "completed_rps"};
static const double capacity_rps = 100;

typedef struct {
    double cap_rps, gain;
    uint64_t version;
    tt_target target;
    uint64_t epoch;
} plant;

static uint32_t plant_of(const tt_target *t) {
    return (uint32_t)strtoul(t->service + strlen("service-"), NULL, 10) * DCS + (uint32_t)strtoul(t->dc + strlen("dc-"), NULL, 10);
}

static void plant_take(plant *p, const tt_outcome *out) {
    for (size_t i = 0; i < out->n_decisions; i++) {
        const tt_decision *d = &out->decisions[i];
        plant *x = &p[plant_of(&d->target)];
        x->cap_rps = 0;
        x->gain = 1;
        x->target = d->target;
        x->version = d->version;
        x->epoch = d->epoch;
        for (uint32_t k = 0; k < d->n_actions; k++) {
            if (d->actions[k].kind == TT_ACT_LIMIT) x->cap_rps = d->actions[k].value;
            if (d->actions[k].kind == TT_ACT_DEGRADE) x->gain = d->actions[k].value > 1 ? 1.33 : 1.14;
        }
    }
}

static void plant_tell(const plant *p, uint32_t n, feed *f) {
    for (uint32_t i = 0; i < n; i++) {
        double can = capacity_rps * p[i].gain, offered = 190 + 20 * noise(), admitted = p[i].cap_rps > 0 ? fmin(p[i].cap_rps, offered) : offered;
        double ok = fmin(admitted, can), v[SIGNALS];
        v[OFFERED] = offered;
        v[OK] = ok;
        v[REFUSED] = admitted - ok;
        v[DROPPED] = offered - admitted;
        v[ERROR_RATIO] = p[i].cap_rps > 0 ? (admitted - ok) / admitted : 0.2;
        v[UTILIZATION] = fmin(1, ok / can);
        v[LATENCY] = 20 + 80 * v[UTILIZATION];
        v[ARRIVED] = v[COMPLETED] = ok;
        for (uint32_t s = 0; s < SIGNALS; s++) f->m[s * n + i].value = v[s];
    }
}

static tt_rules *loop_rules(uint32_t n) {
    text t = {0};
    put(&t, "services:\n");
    for (uint32_t i = 0; i < n / DCS; i++) {
        put(&t, "  - {name: service-%u, inner_loop: true, dcs: [", i);
        for (uint32_t k = 0; k < DCS; k++) put(&t, "%sdc-%u", k ? ", " : "", k);
        put(&t, "]}\n");
    }
    put(&t, "signals:\n");
    for (uint32_t s = 0; s < SIGNALS; s++) put(&t, "  - {name: %s, query: \"m%u[3s]\", every: 1s}\n", signal_names[s], s);
    put(&t,
        "anomalies:\n  - {name: overload, when: error_ratio > 5%% and offered_rps > 50, for: 2s, clear_for: 1h}\n"
        "plans:\n  - name: shed\n    on: {anomaly: overload, labels: {service: /^(?<svc>.+)$/, dc: /^(?<dc>.+)$/}}\n    mode: auto\n"
        "    target: {service: $svc, dc: $dc}\n    keep: [error_ratio <= 1%%, latency_mean_ms <= 200]\n    steps:\n"
        "      - degrade: {feature: recommendations, levels: 2, gain: [1.14, 1.33]}\n      - limit: {by: measured_capacity}\n"
        "guardrails:\n  max_concurrent_loops: %u\n  most_targets_bad: {share: 100%%, at_least: 1000000, then: freeze}\n",
        n);
    tt_rules *r = load(&t);
    free(t.p);
    return r;
}

static void bench_loops(uint32_t n, result *r) {
    n = (n + DCS - 1) / DCS * DCS;
    tt_rules *rules = loop_rules(n);
    tt_engine_config cfg;
    tt_engine_config_default(&cfg);
    cfg.max_loops = n;
    cfg.max_series = n * SIGNALS;
    double base = resident_bytes();
    tt_engine *e = tt_engine_new(rules, &cfg);
    if (!e) exit(1);
    plant *p = calloc(n, sizeof *p);
    place *places = calloc(n, sizeof *places);
    feed f;
    feed_new(&f, (size_t)n * SIGNALS);
    for (uint32_t i = 0; i < n; i++) {
        p[i].gain = 1;
        snprintf(places[i].service, sizeof places[i].service, "service-%u", i / DCS);
        snprintf(places[i].dc, sizeof places[i].dc, "dc-%u", i % DCS);
    }
    for (uint32_t s = 0; s < SIGNALS; s++) {
        for (uint32_t i = 0; i < n; i++) feed_series(&f, s, &places[i], false);
        f.polls[f.n_polls++] = (tt_poll){.signal = s, .answered = true};
    }
    tt_ack *acks = calloc(n, sizeof *acks);
    memcpy(f.copy, f.m, f.n * sizeof *f.m); /* both resident: not the engine's */
    double harness = resident_bytes() - base;
    double *tick = calloc((size_t)rounds, sizeof *tick), *copy = calloc((size_t)rounds, sizeof *copy), *quiet = calloc((size_t)rounds, sizeof *quiet);
    double worst = 0;
    size_t decisions = 0;
    tt_outcome out;
    for (int k = -20; k < rounds; k++) {
        plant_tell(p, n, &f);
        tt_observations obs = feed_tick(&f, true);
        for (uint32_t i = 0; i < n; i++)
            if (p[i].version) acks[obs.n_acks++] = (tt_ack){.target = p[i].target, .epoch = p[i].epoch, .version = p[i].version, .share = 1};
        obs.acks = acks;
        double begin = now_ms();
        tt_engine_tick(e, &obs, &out);
        double end = now_ms();
        if (end - begin > worst) worst = end - begin;
        plant_take(p, &out);
        if (k < 0) continue;
        tick[k] = end - begin;
        decisions += out.n_decisions;
        copy[k] = copy_ms(&f);
        obs = feed_tick(&f, false);
        begin = now_ms();
        tt_engine_tick(e, &obs, &out);
        quiet[k] = now_ms() - begin;
        plant_take(p, &out);
    }
    if (tt_engine_open_loops(e) != n) fprintf(stderr, "engine_bench: only %zu of %u loops are open\n", tt_engine_open_loops(e), n);
    r->bytes = (resident_bytes() - base - harness) / (double)n;
    r->tick_ms = median(tick, rounds);
    r->copy_ms = median(copy, rounds);
    r->each = r->tick_ms * 1e3 / n;
    r->extra[0] = median(quiet, rounds);
    r->extra[1] = worst;
    r->extra[2] = (double)decisions / rounds;

    tt_buf b;
    tt_buf_init(&b, SIZE_MAX / 2);
    double begin = now_ms();
    tt_engine_save(e, f.now, &b);
    r->extra[3] = now_ms() - begin;
    r->extra[6] = (double)b.n;
    tt_arena *arena = tt_arena_new();
    tt_err err;
    const tt_yaml_limits limits = {.max_bytes = SIZE_MAX / 2, .max_nodes = 64000000, .max_depth = 64};
    const tt_doc *doc = tt_yaml_parse(arena, "state", (tt_sv){b.p, b.n}, &limits, &err);
    tt_engine *again = tt_engine_new(rules, &cfg);
    if (!doc || !again) exit(1);
    begin = now_ms();
    if (!tt_engine_restore(again, doc, f.now, &err)) fprintf(stderr, "engine_bench: %s\n", err.text);
    r->extra[4] = now_ms() - begin;
    if (tt_engine_open_loops(again) != n) fprintf(stderr, "engine_bench: %zu loops came back\n", tt_engine_open_loops(again));
    tt_engine_free(again);
    tt_arena_free(arena);
    b.n = 0;
    begin = now_ms();
    tt_engine_loops_json(e, TT_LOOPS_OPEN, (tt_sv){NULL, 0}, 100, &b);
    r->extra[5] = now_ms() - begin;
    b.n = 0;
    begin = now_ms();
    tt_engine_loops_json(e, TT_LOOPS_OPEN, (tt_sv){NULL, 0}, n, &b);
    r->extra[7] = now_ms() - begin;
    tt_buf_free(&b);
    tt_engine_free(e);
}

/* ---- running ---- */

/* In a process of its own: clean memory, and what one size leaves behind does not help or harm the next. */
static bool apart(void (*bench)(uint32_t, result *), uint32_t n, result *r) {
    int fd[2];
    fflush(stdout);
    if (pipe(fd) != 0) return false;
    pid_t pid = fork();
    if (pid == 0) {
        bench(n, r);
        _exit(write(fd[1], r, sizeof *r) == sizeof *r ? 0 : 1);
    }
    close(fd[1]);
    bool ok = pid > 0 && read(fd[0], r, sizeof *r) == sizeof *r;
    close(fd[0]);
    int status;
    if (pid > 0) waitpid(pid, &status, 0);
    return ok;
}

static size_t sizes(const char *list, uint32_t ret[8]) {
    size_t n = 0;
    for (char *end; *list && n < 8; list = *end ? end + 1 : end) {
        ret[n++] = (uint32_t)strtoul(list, &end, 10);
        if (end == list) exit(2);
    }
    return n;
}

int main(int argc, char **argv) {
    const char *series = "1000,10000,100000,1000000", *triggers = "100000", *loops = "1000,10000,100000";
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--series=", 9) == 0)
            series = argv[i] + 9;
        else if (strncmp(argv[i], "--triggers=", 11) == 0)
            triggers = argv[i] + 11;
        else if (strncmp(argv[i], "--loops=", 8) == 0)
            loops = argv[i] + 8;
        else if (strncmp(argv[i], "--rounds=", 9) == 0 && atoi(argv[i] + 9) > 0)
            rounds = atoi(argv[i] + 9);
        else {
            fprintf(stderr, "usage: engine_bench [--series=N,N...] [--triggers=N,N...] [--loops=N,N...] [--rounds=N]\n");
            return 2;
        }
    }
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        size_t cpu = CPU_SETSIZE - 1;
        while (cpu > 0 && !CPU_ISSET(cpu, &set)) cpu--;
        CPU_ZERO(&set);
        CPU_SET(cpu, &set);
        if (sched_setaffinity(0, sizeof set, &set) != 0) fprintf(stderr, "engine_bench: not pinned\n");
    }
    (void)mallopt(M_MMAP_THRESHOLD, 1 << 20); /* as the daemon does */
    double load[3] = {0};
    (void)getloadavg(load, 3);
    printf("one core, median of %d ticks; load average before: %.2f\n", rounds, load[0]);
    uint32_t size[8];
    result r = {0};
    double first = 0;
    size_t n = sizes(series, size);
    if (n)
        printf("\nseries: every one has a new sample in the tick; an anomaly reads three of them\n%9s %10s %9s %12s %9s %9s %7s %9s %9s\n", "series",
               "tick", "a series", "series/s", "memcpy", "x memcpy", "growth", "memory", "view");
    for (size_t i = 0; i < n; i++) {
        if (!apart(bench_series, size[i], &r)) continue;
        if (i == 0) first = r.each;
        printf("%9u %7.2f ms %6.0f ns %12.0f %6.2f ms %9.1f %7.2f %7.0f B %6.0f ms\n", size[i], r.tick_ms, r.each, 1e9 / r.each, r.copy_ms,
               r.tick_ms / r.copy_ms, r.each / first, r.bytes, r.extra[0]);
    }
    n = sizes(triggers, size);
    if (n)
        printf("\nkinds of anomalies: every series has a new sample in the tick, one anomaly looks at each\n%13s %9s %10s %9s %9s %9s %9s %12s\n",
               "kind", "series", "tick", "a series", "memcpy", "x memcpy", "memory", "saved state");
    for (size_t i = 0; i < n; i++)
        for (kind = 0; kind < TT_COUNT(kinds); kind++)
            if (apart(bench_kind, size[i], &r))
                printf("%13s %9u %7.2f ms %6.0f ns %6.2f ms %9.1f %7.0f B %9.1f MB\n", kinds[kind].name, size[i], r.tick_ms, r.each, r.copy_ms,
                       r.tick_ms / r.copy_ms, r.bytes, r.extra[1] / 1e6);
    n = sizes(loops, size);
    if (n)
        printf(
            "\nloops: each acts on a target of its own, with %d series; `quiet` is a tick without new samples, `worst` the one that opens them all\n"
            "%9s %10s %9s %9s %9s %7s %10s %10s %9s %9s\n",
            SIGNALS, "loops", "tick", "a loop", "memcpy", "x memcpy", "growth", "quiet", "worst", "decisions", "memory");
    for (size_t i = 0; i < n; i++) {
        if (!apart(bench_loops, size[i], &r)) continue;
        if (i == 0) first = r.each;
        printf("%9u %7.2f ms %6.2f us %6.2f ms %9.1f %7.2f %7.2f ms %7.0f ms %9.0f %7.0f B\n", size[i], r.tick_ms, r.each, r.copy_ms,
               r.tick_ms / r.copy_ms, r.each / first, r.extra[0], r.extra[1], r.extra[2], r.bytes);
        printf("%9s save %.0f ms (%.1f MB), restore %.0f ms, first page of 100 loops %.2f ms, all of them %.0f ms\n", "", r.extra[3],
               r.extra[6] / 1e6, r.extra[4], r.extra[5], r.extra[7]);
    }
    return 0;
}
