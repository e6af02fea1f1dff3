/* How calls are made under a decision, who is isolated, how many may be in flight. */
#include "common.h"

#include <math.h>

static bool apply_to(tt_dp *dp, const char *service, const char *dc, const tt_dp_action *actions, size_t n, uint64_t epoch) {
    tt_dp_decision d = {.service = service, .dc = dc, .epoch = epoch, .version = 1, .n_actions = n, .actions = actions, .expire_after_ms = -1};
    return tt_dp_apply(dp, &d, 1, epoch, 0, 0);
}

static void nothing_in_force_changes_nothing(void **state) {
    (void)state;
    tt_dp *dp = dp_of("checkout", "dc-a");
    for (int i = 0; i < 1000; i++) assert_true(tt_dp_may_retry(dp, "payments", "dc-a", begin_ns));
    assert_true(tt_dp_may_call(dp, "payments", "dc-a", "k", 1) && tt_dp_may_hedge(dp, "payments", "dc-a"));
    assert_int_equal(tt_dp_timeout_ms(dp, "payments", "dc-a", 700), 700);
    assert_true(tt_dp_may_retry(NULL, "payments", NULL, 0) && tt_dp_may_call(NULL, NULL, NULL, NULL, 0) && tt_dp_may_hedge(NULL, NULL, NULL));
    assert_int_equal(tt_dp_timeout_ms(NULL, "payments", "dc-a", 700), 700);
    assert_int_equal(tt_dp_admit_from(NULL, "x", 0, NULL, 0, 0), TT_DP_ADMIT);
    tt_dp_free(dp);
}

static void the_target_says_which_calls(void **state) {
    (void)state;
    static const tt_dp_action a[] = {{.kind = TT_DP_TIMEOUT, .value = 300}, {.kind = TT_DP_HEDGE, .value = 0}};
    static const struct {
        const char *of_dc, *service, *dc;
        bool concerned;
    } rows[] = {
        {"dc-a", "payments", "dc-a", true},  {"dc-a", "payments", "dc-b", false}, {"", "payments", "dc-b", true},
        {"dc-a", "shipping", "dc-a", false}, {"", "payments", NULL, true},        {"dc-a", "payments", NULL, false},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        tt_dp *dp = dp_of("checkout", "dc-a");
        assert_true(apply_to(dp, "payments", rows[i].of_dc, a, COUNT(a), 1));
        CHECK(rows[i].of_dc, tt_dp_timeout_ms(dp, rows[i].service, rows[i].dc, 700) == (rows[i].concerned ? 300 : 700));
        CHECK(rows[i].of_dc, tt_dp_may_hedge(dp, rows[i].service, rows[i].dc) == !rows[i].concerned);
        assert_int_equal(tt_dp_timeout_ms(dp, rows[i].service, rows[i].dc, 100), 100); /* never longer than one's own */
        tt_dp_free(dp);
    }
}

static void the_tighter_of_two_targets_counts_and_what_fades_lets_go(void **state) {
    (void)state;
    static const tt_dp_action tight = {.kind = TT_DP_TIMEOUT, .value = 100}, wide = {.kind = TT_DP_TIMEOUT, .value = 400};
    tt_dp *dp = dp_of("checkout", "dc-a");
    tt_dp_decision d[] = {
        {.service = "payments", .dc = "dc-a", .epoch = 1, .version = 1, .n_actions = 1, .actions = &tight, .expire_after_ms = 1000, .decay_over_ms = 1000},
        {.service = "payments", .epoch = 1, .version = 2, .n_actions = 1, .actions = &wide, .expire_after_ms = -1}};
    assert_true(tt_dp_apply(dp, d, 2, 1, 0, 0));
    assert_int_equal(tt_dp_timeout_ms(dp, "payments", "dc-a", 700), 100);
    assert_true(tt_dp_apply(dp, d, 2, 1, 1500, 0)); /* half faded */
    uint32_t half = tt_dp_timeout_ms(dp, "payments", "dc-a", 700);
    assert_in_range(half, 195, 260);
    assert_true(tt_dp_apply(dp, d, 2, 1, 2500, 0));
    assert_int_equal(tt_dp_timeout_ms(dp, "payments", "dc-a", 700), 400);
    tt_dp_free(dp);
}

/* Every call fails and wants to be tried again: how many calls come of one. */
static void retries_stay_within_their_budget(void **state) {
    (void)state;
    static const double budgets[] = {0, 0.05, 0.1, 0.5};
    for (size_t i = 0; i < COUNT(budgets); i++) {
        tt_dp *dp = dp_of("checkout", "dc-a");
        tt_dp_action a = {.kind = TT_DP_RETRY, .value = budgets[i]};
        assert_true(apply_to(dp, "payments", "", &a, 1, 1));
        int first = 0, again = 0;
        /* The library counts tries by its own clock, so this happens within a moment of real time. */
        for (int n = 0; n < 4000; n++) {
            first++;
            tt_dp_called(dp, "payments", "dc-a", "i", 0, TT_DP_CALL_ERROR, 1);
            if (!tt_dp_may_retry(dp, "payments", "dc-a", 0)) continue;
            again++;
            tt_dp_called(dp, "payments", "dc-a", "i", 0, TT_DP_CALL_ERROR, 1);
        }
        if (fabs((double)again / first - budgets[i]) > 0.005) fail_msg("budget %g: %d retries of %d calls", budgets[i], again, first);
        assert_true(tt_dp_may_retry(dp, "shipping", "dc-a", 0)); /* others' calls are nobody's business */
        tt_dp_free(dp);
    }
}

static void an_isolated_caller_is_refused_at_both_ends(void **state) {
    (void)state;
    tt_dp *callee = dp_of("checkout", "dc-a"), *caller = dp_of("reports", "dc-a"), *other = dp_of("front", "dc-a");
    tt_dp_action a = {.kind = TT_DP_ISOLATE, .name = "reports", .value = 0.4};
    assert_true(apply(callee, &a, 1, 1, begin_ns) && apply(caller, &a, 1, 1, begin_ns) && apply(other, &a, 1, 1, begin_ns));
    int refused = 0, apart = 0;
    for (int i = 0; i < 10000; i++) {
        char key[16];
        int n = snprintf(key, sizeof key, "u%d", i);
        bool there = tt_dp_admit_from(callee, "reports", 0, key, (size_t)n, begin_ns) == TT_DP_DROPPED;
        bool here = !tt_dp_may_call(caller, "checkout", "dc-a", key, (size_t)n);
        refused += there;
        apart += there != here;
        assert_int_equal(tt_dp_admit_from(callee, "front", 0, key, (size_t)n, begin_ns), TT_DP_ADMIT);
        assert_int_equal(tt_dp_admit(callee, 0, key, (size_t)n, begin_ns), TT_DP_ADMIT);
        assert_true(tt_dp_may_call(other, "checkout", "dc-a", key, (size_t)n) && tt_dp_may_call(caller, "checkout", "dc-b", key, (size_t)n));
    }
    assert_in_range(refused, 3800, 4200);
    assert_int_equal(apart, 0); /* the same key, the same fate */
    tt_dp_stats s = {.size = sizeof s};
    tt_dp_read_stats(callee, &s);
    assert_int_equal(s.dropped[0], refused);
    tt_dp_free(callee);
    tt_dp_free(caller);
    tt_dp_free(other);
}

/* ---- concurrency ---- */

static unsigned fill(tt_dp *dp, unsigned priority) {
    unsigned n = 0;
    while (n < 1000 && tt_dp_admit(dp, priority, NULL, 0, begin_ns) == TT_DP_ADMIT) n++;
    return n;
}

static void holds_so_many_in_flight(void **state) {
    (void)state;
    static const struct {
        double limit;
        unsigned batch, normal, critical; /* in flight once each has taken what it gets, lowest first */
    } rows[] = {{20, 16, 18, 20}, {5, 4, 5, 5}, {0.3, 1, 1, 1}, {0, 0, 0, 0}, {100, 80, 90, 100}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        tt_dp *dp = dp_of("checkout", "dc-a");
        tt_dp_action a = {.kind = TT_DP_CONCURRENCY, .value = rows[i].limit};
        assert_true(apply(dp, &a, 1, 1, begin_ns));
        unsigned n = fill(dp, 2);
        if (n != rows[i].batch) fail_msg("limit %g: %u of the lowest", rows[i].limit, n);
        n += fill(dp, 1);
        if (n != rows[i].normal) fail_msg("limit %g: %u with the next", rows[i].limit, n);
        n += fill(dp, 0);
        if (n != rows[i].critical) fail_msg("limit %g: %u with all", rows[i].limit, n);
        for (unsigned k = 0; k < n / 2; k++) {
            tt_dp_started(dp, begin_ns);
            tt_dp_finished(dp, 0, TT_DP_OK, ms_ns, begin_ns);
        }
        if (n / 2) assert_int_equal(fill(dp, 0), n / 2);
        tt_dp_free(dp);
    }
}

static void counts_those_that_were_in_flight_before_it(void **state) {
    (void)state;
    tt_dp *dp = dp_of("checkout", "dc-a");
    for (int i = 0; i < 7; i++) assert_int_equal(tt_dp_admit(dp, 0, NULL, 0, begin_ns), TT_DP_ADMIT);
    tt_dp_action a = {.kind = TT_DP_CONCURRENCY, .value = 10};
    assert_true(apply(dp, &a, 1, 1, begin_ns));
    assert_int_equal(fill(dp, 0), 3);
    tt_dp_abandoned(dp, 0, false, begin_ns);
    assert_int_equal(fill(dp, 0), 1);
    assert_true(apply(dp, NULL, 0, 1, begin_ns)); /* and lets go */
    assert_int_equal(fill(dp, 0), 1000);
    tt_dp_free(dp);
}

/* ---- versions ---- */

static void versions_are_weighed_apart_from_data_centers(void **state) {
    (void)state;
    static const char *const dcs[] = {"dc-a", "dc-b"}, *const versions[] = {"stable", "canary"};
    static const double to_b[] = {0, 1}, to_stable[] = {0.95, 0.05}, to_canary[] = {0, 1};
    tt_dp *dp = dp_of("checkout", "dc-a");
    tt_dp_action w = {.kind = TT_DP_WEIGHTS, .n = 2, .names = dcs, .shares = to_b}, v = {.kind = TT_DP_VERSIONS, .n = 2, .names = versions, .shares = to_stable},
                 b = {.kind = TT_DP_VERSIONS, .n = 2, .names = versions, .shares = to_canary};
    tt_dp_action both[] = {w, v};
    tt_dp_decision d[] = {{.service = "payments", .epoch = 1, .version = 1, .n_actions = 2, .actions = both, .expire_after_ms = -1},
                          {.service = "payments", .dc = "dc-b", .epoch = 1, .version = 2, .n_actions = 1, .actions = &b, .expire_after_ms = -1}};
    assert_true(tt_dp_apply(dp, d, 2, 1, 0, begin_ns));
    assert_int_equal(tt_dp_pick_dc(dp, "payments", dcs, 2, 0, "k", 1), 1);
    int canary = 0;
    for (int i = 0; i < 10000; i++) {
        canary += tt_dp_pick_version(dp, "payments", "dc-a", versions, 2, 0, NULL, 0);
        assert_int_equal(tt_dp_pick_version(dp, "payments", "dc-b", versions, 2, 0, NULL, 0), 1); /* its own goes before the whole's */
    }
    assert_in_range(canary, 400, 600);
    assert_int_equal(tt_dp_pick_version(dp, "shipping", "dc-a", versions, 2, 1, NULL, 0), 1);
    tt_dp_free(dp);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_in_force_changes_nothing),
        cmocka_unit_test(the_target_says_which_calls),
        cmocka_unit_test(the_tighter_of_two_targets_counts_and_what_fades_lets_go),
        cmocka_unit_test(retries_stay_within_their_budget),
        cmocka_unit_test(an_isolated_caller_is_refused_at_both_ends),
        cmocka_unit_test(holds_so_many_in_flight),
        cmocka_unit_test(counts_those_that_were_in_flight_before_it),
        cmocka_unit_test(versions_are_weighed_apart_from_data_centers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
