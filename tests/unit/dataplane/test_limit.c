/* The rate cap, in virtual time. */
#include "common.h"

#include <math.h>

enum { CLASSES = 4 };
static const char *const names[CLASSES] = {"critical", "normal", "batch", "free"};

static tt_dp *capped(double rps, const char *const *keep, size_t n_keep, unsigned n_priorities) {
    tt_dp_options o = {.size = sizeof o, .service = "checkout", .dc = "dc-a", .priorities = names, .n_priorities = n_priorities};
    tt_dp *dp = tt_dp_new(&o);
    assert_non_null(dp);
    tt_dp_action limit = {.kind = TT_DP_LIMIT, .value = rps, .n = n_keep, .names = keep};
    assert_true(apply(dp, &limit, 1, 1, begin_ns));
    return dp;
}

/* Open loop: arrivals come whatever became of those before. */
static void arrive(tt_dp *dp, prng *random, const double rate[CLASSES], double seconds, int64_t *now_ns, double admitted[CLASSES]) {
    double sum = 0;
    for (int c = 0; c < CLASSES; c++) sum += rate[c], admitted[c] = 0;
    for (int64_t end = *now_ns + (int64_t)(seconds * 1e9); *now_ns < end;) {
        *now_ns += (int64_t)(-log(1 - prng_unit(random)) / sum * 1e9);
        double which = prng_unit(random) * sum;
        unsigned c = 0;
        while (c < CLASSES - 1 && which >= rate[c]) which -= rate[c++];
        if (tt_dp_admit(dp, c, NULL, 0, *now_ns) == TT_DP_ADMIT) admitted[c] += 1 / seconds;
    }
}

static void holds_the_cap_highest_first(void **state) {
    (void)state;
    static const char *const usual[] = {"critical", "normal", "batch"}, *const turned[] = {"batch", "critical", "normal"},
                             *const one[] = {"critical"};
    static const struct {
        const char *name;
        double cap, rate[CLASSES];
        const char *const *keep;
        size_t n_keep;
        double want[CLASSES], tolerance; /* share of the class's rate that gets in */
    } rows[] = {
        {"batch is over", 420, {100, 200, 300, 0}, usual, 3, {1, 1, 0.4, 0}, 0.02},
        {"batch is shut out", 420, {200, 400, 300, 0}, usual, 3, {1, 0.55, 0, 0}, 0.02},
        {"only critical, in part", 420, {500, 200, 300, 0}, usual, 3, {0.84, 0, 0, 0}, 0.02},
        {"all fits", 420, {100, 100, 100, 0}, usual, 3, {1, 1, 1, 0}, 0.001},
        {"the order of keep counts, not the index", 420, {300, 100, 200, 0}, turned, 3, {0.733, 0, 1, 0}, 0.02},
        {"not kept comes after kept", 420, {300, 100, 200, 100}, one, 1, {1, 1, 0.1, 0}, 0.02},
        {"no order given: as configured", 420, {200, 400, 300, 0}, NULL, 0, {1, 0.55, 0, 0}, 0.02},
        {"small", 20, {6, 10, 30, 0}, usual, 3, {1, 1, 0.133, 0}, 0.06},
        {"large", 20000, {5000, 10000, 15000, 0}, usual, 3, {1, 1, 0.333, 0}, 0.02},
        {"nothing at all", 0, {100, 100, 100, 0}, usual, 3, {0, 0, 0, 0}, 0},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        tt_dp *dp = capped(rows[i].cap, rows[i].keep, rows[i].n_keep, CLASSES);
        prng random = {i + 1};
        int64_t now = begin_ns;
        double admitted[CLASSES], sum = 0, offered = 0;
        arrive(dp, &random, rows[i].rate, 5, &now, admitted);
        arrive(dp, &random, rows[i].rate, 60, &now, admitted);
        for (unsigned c = 0; c < CLASSES; c++) {
            sum += admitted[c];
            offered += rows[i].rate[c];
            if (rows[i].rate[c] > 0 && fabs(admitted[c] / rows[i].rate[c] - rows[i].want[c]) > rows[i].tolerance + 0.03)
                fail_msg("%s: of %s %.3f got in, %.3f expected", rows[i].name, names[c], admitted[c] / rows[i].rate[c], rows[i].want[c]);
        }
        CHECK(rows[i].name, sum <= rows[i].cap * 1.001 + 0.1); /* from below */
        if (offered > rows[i].cap * 1.05) CHECK(rows[i].name, sum >= rows[i].cap * 0.98);
        tt_dp_free(dp);
    }
}

/* In any second no more than the cap and one burst, also in the first. */
static void bursts_are_small(void **state) {
    (void)state;
    tt_dp *dp = capped(1000, NULL, 0, 3);
    int in = 0;
    int64_t now = begin_ns;
    for (int i = 0; i < 10000; i++) in += tt_dp_admit(dp, 0, NULL, 0, now += second_ns / 10000) == TT_DP_ADMIT;
    assert_in_range(in, 1000, 1210);
    now += 3600 * second_ns; /* a long rest saves up no more */
    in = 0;
    for (int i = 0; i < 10000; i++) in += tt_dp_admit(dp, 0, NULL, 0, now) == TT_DP_ADMIT;
    assert_in_range(in, 150, 201);
    tt_dp_free(dp);
}

/* After its expiry the cap rises as 1/(1-f) and is gone at the end. */
static void fades(void **state) {
    (void)state;
    tt_dp_action limit = {.kind = TT_DP_LIMIT, .value = 100};
    tt_dp_decision d = {.service = "checkout", .dc = "dc-a", .n_actions = 1, .actions = &limit, .expire_after_ms = 60000, .decay_over_ms = 100000};
    static const struct {
        const char *name;
        int64_t age_ms;
        double want_rps;
    } rows[] = {{"fresh", 0, 100}, {"just before", 55000, 100}, {"half", 110000, 200}, {"nine tenths", 150000, 1000}, {"gone", 160000, 2000}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        tt_dp *dp = dp_of("checkout", "dc-a");
        assert_true(tt_dp_apply(dp, &d, 1, 1, rows[i].age_ms, begin_ns));
        int64_t now = begin_ns;
        for (int k = 0; k < 2000; k++) (void)tt_dp_admit(dp, 0, NULL, 0, now); /* the burst */
        int in = 0;
        for (int k = 0; k < 2000; k++) in += tt_dp_admit(dp, 0, NULL, 0, now += second_ns / 2000) == TT_DP_ADMIT;
        if (fabs(in - rows[i].want_rps) > 0.06 * rows[i].want_rps + 2) fail_msg("%s: %d rps, %.0f expected", rows[i].name, in, rows[i].want_rps);
        tt_dp_free(dp);
    }
}

/* The site's own cap and the service's: the tighter one counts. A cap for another site or service does not. */
static void the_tightest_counts(void **state) {
    (void)state;
    tt_dp *dp = dp_of("checkout", "dc-a");
    tt_dp_action wide = {.kind = TT_DP_LIMIT, .value = 500}, tight = {.kind = TT_DP_LIMIT, .value = 100}, none = {.kind = TT_DP_LIMIT, .value = 0};
    tt_dp_decision d[] = {{.service = "checkout", .n_actions = 1, .actions = &wide, .expire_after_ms = -1},
                          {.service = "checkout", .dc = "dc-a", .n_actions = 1, .actions = &tight, .expire_after_ms = -1},
                          {.service = "checkout", .dc = "dc-b", .n_actions = 1, .actions = &none, .expire_after_ms = -1},
                          {.service = "payments", .n_actions = 1, .actions = &none, .expire_after_ms = -1}};
    assert_true(tt_dp_apply(dp, d, COUNT(d), 1, 0, begin_ns));
    int64_t now = begin_ns;
    int in = 0;
    for (int k = 0; k < 20000; k++) in += tt_dp_admit(dp, 0, NULL, 0, now += second_ns / 2000) == TT_DP_ADMIT;
    assert_in_range(in, 980, 1040);
    tt_dp_free(dp);
}

/* What the inner loop refuses costs the cap nothing. */
static void refusals_cost_no_token(void **state) {
    (void)state;
    tt_dp *dp = capped(1000, NULL, 0, 3);
    int64_t now = begin_ns;
    tt_dp_inner_loop(dp, true);
    for (int i = 0; i < 100; i++) (void)tt_dp_admit(dp, 0, NULL, 0, now);
    for (int i = 0; i < 50; i++) (void)tt_dp_admit(dp, 2, NULL, 0, now += 100 * ms_ns); /* nothing is served: the queue is full */
    for (int i = 0; i < 5000; i++) assert_int_equal(tt_dp_admit(dp, 0, NULL, 0, now), TT_DP_REFUSED);
    tt_dp_inner_loop(dp, false);
    int in = 0;
    for (int i = 0; i < 1000; i++) in += tt_dp_admit(dp, 0, NULL, 0, now) == TT_DP_ADMIT;
    assert_in_range(in, 150, 201);
    tt_dp_free(dp);
}

/* A host that passes the time its loop turned is as well off as one that reads the clock; a mistaken time does no lasting harm. */
static void odd_times(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int64_t once_ns, late_ns;
        int least, most; /* of 3000, at 2000 a second under a cap of 1000 */
    } rows[] = {{"exact", 0, 0, 1490, 1710},
                {"half of the times are 300 ms old", 0, 300 * 1000000, 1490, 1710},
                {"once an hour ahead", INT64_C(3600) * 1000000000, 0, 1490, 1920},
                {"once an hour back", INT64_C(-3600) * 1000000000, 0, 1490, 1920}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        tt_dp *dp = capped(1000, NULL, 0, 3);
        int64_t now = begin_ns * 10;
        int in = 0;
        for (int k = 0; k < 3000; k++) {
            now += second_ns / 2000;
            int64_t shown = k == 1000 ? now + rows[i].once_ns : k % 2 ? now - rows[i].late_ns : now;
            in += tt_dp_admit(dp, 0, NULL, 0, shown) == TT_DP_ADMIT;
        }
        if (in < rows[i].least || in > rows[i].most) fail_msg("%s: %d of 3000 got in", rows[i].name, in);
        tt_dp_free(dp);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holds_the_cap_highest_first), cmocka_unit_test(bursts_are_small),       cmocka_unit_test(fades),
        cmocka_unit_test(the_tightest_counts),         cmocka_unit_test(refusals_cost_no_token), cmocka_unit_test(odd_times)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
