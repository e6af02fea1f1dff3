/* Admission by drop ratio, and what happens when nothing is in force or the call is wrong. */
#include "common.h"

#include <math.h>
#include <stdlib.h>

enum { KEYS = 20000 };

static size_t key_of(int i, char key[32]) {
    return (size_t)snprintf(key, 32, "user-%d", i * 7919);
}

static tt_dp *dropping(const char *priority, double ratio, uint64_t epoch) {
    tt_dp *dp = dp_of("checkout", "dc-a");
    tt_dp_action drop = {.kind = TT_DP_DROP, .name = priority, .value = ratio};
    assert_true(apply(dp, &drop, 1, epoch, begin_ns));
    return dp;
}

static bool is_dropped(tt_dp *dp, unsigned priority, int i) {
    char key[32];
    size_t n = key_of(i, key);
    return tt_dp_admit(dp, priority, key, n, begin_ns) == TT_DP_DROPPED;
}

static void drops_its_share(void **state) {
    (void)state;
    static const double ratios[] = {0, 0.001, 0.01, 0.1, 0.35, 0.5, 0.99, 1};
    for (size_t r = 0; r < COUNT(ratios); r++) {
        tt_dp *dp = dropping("batch", ratios[r], 3);
        int keyed = 0, unkeyed = 0;
        for (int i = 0; i < KEYS; i++) {
            keyed += is_dropped(dp, 2, i);
            unkeyed += tt_dp_admit(dp, 2, NULL, 0, begin_ns) == TT_DP_DROPPED;
            assert_false(is_dropped(dp, 0, i)); /* only the priority named */
            assert_false(is_dropped(dp, 1, i));
        }
        double spread =
            4.5 * sqrt(ratios[r] * (1 - ratios[r]) * KEYS); /* binomial; one in 150,000 lies beyond by chance, and these keys don't change */
        if (fabs(keyed - ratios[r] * KEYS) > spread) fail_msg("ratio %g: %d of %d keys dropped", ratios[r], keyed, KEYS);
        if (fabs(unkeyed - ratios[r] * KEYS) > spread) fail_msg("ratio %g: %d of %d without key dropped", ratios[r], unkeyed, KEYS);
        tt_dp_free(dp);
    }
}

/* Raising the ratio only adds to the dropped; another hop drops the same keys; another epoch others. */
static void answers_are_stable(void **state) {
    (void)state;
    tt_dp *low = dropping("batch", 0.2, 3), *high = dropping("batch", 0.5, 3), *later = dropping("batch", 0.2, 4),
          *normal = dropping("normal", 0.2, 3);
    tt_dp_options o = {.size = sizeof o, .service = "payments", .dc = "dc-b"};
    tt_dp *hop = tt_dp_new(&o);
    tt_dp_action drop = {.kind = TT_DP_DROP, .name = "batch", .value = 0.2};
    tt_dp_decision d = {.service = "payments", .epoch = 3, .n_actions = 1, .actions = &drop, .expire_after_ms = -1};
    assert_true(tt_dp_apply(hop, &d, 1, 3, 0, begin_ns));
    int both_epochs = 0, dropped = 0;
    for (int i = 0; i < KEYS; i++) {
        bool was = is_dropped(low, 2, i);
        assert_int_equal(was, is_dropped(low, 2, i));
        if (was) assert_true(is_dropped(high, 2, i));
        assert_int_equal(was, is_dropped(hop, 2, i));
        assert_int_equal(was, is_dropped(normal, 1, i)); /* one user, one fate: the priorities' sets are nested too */
        dropped += was;
        both_epochs += was && is_dropped(later, 2, i);
    }
    assert_in_range(both_epochs, dropped / 8, dropped / 3); /* by chance: a fifth */
    tt_dp *all[] = {low, high, later, normal, hop};
    for (size_t i = 0; i < COUNT(all); i++) tt_dp_free(all[i]);
}

static void a_drop_fades(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int64_t after_ms, over_ms, age_ms;
        double want;
    } rows[] = {{"fresh", 1000, 1000, 0, 0.8},           {"at its expiry", 1000, 1000, 1000, 0.8},
                {"a quarter", 1000, 1000, 1250, 0.6},    {"half", 1000, 1000, 1500, 0.4},
                {"gone", 1000, 1000, 2000, 0},           {"long gone", 1000, 1000, 1000000, 0},
                {"opens at once", 1000, 0, 1000, 0},     {"not yet", 1000, 0, 999, 0.8},
                {"never expires", -1, -1, 1000000, 0.8}, {"expires and holds", 1000, -1, 1000000, 0.8}};
    for (size_t r = 0; r < COUNT(rows); r++) {
        tt_dp *dp = dp_of("checkout", "dc-a");
        tt_dp_action drop = {.kind = TT_DP_DROP, .name = "batch", .value = 0.8};
        tt_dp_decision d = {.service = "checkout",
                            .dc = "dc-a",
                            .n_actions = 1,
                            .actions = &drop,
                            .expire_after_ms = rows[r].after_ms,
                            .decay_over_ms = rows[r].over_ms};
        assert_true(tt_dp_apply(dp, &d, 1, 1, rows[r].age_ms, begin_ns));
        int dropped = 0;
        for (int i = 0; i < KEYS; i++) dropped += is_dropped(dp, 2, i);
        if (fabs((double)dropped / KEYS - rows[r].want) > 0.015)
            fail_msg("%s: %d of %d dropped, %g expected", rows[r].name, dropped, KEYS, rows[r].want);
        tt_dp_free(dp);
    }
}

/* The hash: every bit of what decides is even, for keys of every length and likeness. */
static void keys_spread_evenly(void **state) {
    (void)state;
    static const char *const formats[] = {"%d", "u%d", "user-%08d", "tenant/%d/session", "aaaaaaaaaaaaaaaa%d", "%d-with-a-longer-tail-behind-it"};
    tt_dp *dp[10];
    for (int i = 0; i < 10; i++) dp[i] = dropping("batch", (i + 1) / 10.0, 7);
    for (size_t f = 0; f < COUNT(formats); f++) {
        int bins[10] = {0};
        for (int k = 0; k < KEYS; k++) {
            char key[64];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
            size_t n = (size_t)snprintf(key, sizeof key, formats[f], k);
#pragma GCC diagnostic pop
            int bin = 0;
            while (tt_dp_admit(dp[bin], 2, key, n, begin_ns) != TT_DP_DROPPED) bin++;
            bins[bin]++;
        }
        double chi = 0;
        for (int i = 0; i < 10; i++) chi += (bins[i] - KEYS / 10.0) * (bins[i] - KEYS / 10.0) / (KEYS / 10.0);
        if (chi > 33.7) fail_msg("%s: chi square %.1f over ten bins (33.7 is one in 10,000)", formats[f], chi);
    }
    for (int i = 0; i < 10; i++) tt_dp_free(dp[i]);
}

static void without_decision_all_is_admitted(void **state) {
    (void)state;
    tt_dp *dp = dp_of("checkout", "dc-a");
    for (unsigned p = 0; p < 5; p++) assert_int_equal(tt_dp_admit(dp, p, "k", 1, 0), TT_DP_ADMIT);
    tt_dp_stats s = {.size = sizeof s};
    tt_dp_read_stats(dp, &s);
    assert_int_equal(s.admitted[2], 3); /* out of range counts as the lowest */
    assert_int_equal(s.queued, 5);
    tt_dp_free(dp);
}

static void wrong_calls_fail_open(void **state) {
    (void)state;
    char junk[4096] = {0};
    tt_dp *const wrong[] = {NULL, (tt_dp *)(void *)junk};
    const char *const dcs[] = {"a", "b"};
    for (size_t i = 0; i < COUNT(wrong); i++) {
        assert_int_equal(tt_dp_admit(wrong[i], 0, "k", 1, 0), TT_DP_ADMIT);
        tt_dp_started(wrong[i], 0);
        tt_dp_finished(wrong[i], 0, TT_DP_OK, 1, 0);
        tt_dp_abandoned(wrong[i], 0, false, 0);
        tt_dp_called(wrong[i], "s", "d", "i", 0, TT_DP_CALL_OK, 1);
        tt_dp_inner_loop(wrong[i], true);
        assert_int_equal(tt_dp_degrade_level(wrong[i], "f", "k", 1), 0);
        assert_int_equal(tt_dp_pick_dc(wrong[i], "s", dcs, 2, 1, "k", 1), 1);
        assert_false(tt_dp_is_ejected(wrong[i], "s", "d", "i"));
        errno = 0;
        assert_false(tt_dp_apply(wrong[i], NULL, 0, 1, 0, 0));
        assert_int_equal(errno, EINVAL);
        assert_int_equal(tt_dp_metrics(wrong[i], NULL, 0), 0);
        tt_dp_free(wrong[i]);
    }
}

static void options_are_checked(void **state) {
    (void)state;
    static const char *const twice[] = {"a", "a"}, *const empty[] = {"a", ""};
    static const char *const nine[] = {"1", "2", "3", "4", "5", "6", "7", "8", "9"};
    char longest[TT_DP_NAME_MAX], too_long[TT_DP_NAME_MAX + 1];
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = 0;
    memset(too_long, 'x', sizeof too_long);
    too_long[sizeof too_long - 1] = 0;
    const size_t size = sizeof(tt_dp_options);
    const struct {
        const char *name;
        tt_dp_options o;
        bool ok;
    } rows[] = {{"nothing but its size", {.size = size}, true},
                {"no size", {.service = "s"}, false},
                {"a later release's size", {.size = size + 64, .service = "s"}, true},
                {"longest name", {.size = size, .service = longest}, true},
                {"too long a name", {.size = size, .service = too_long}, false},
                {"priority twice", {.size = size, .priorities = twice, .n_priorities = 2}, false},
                {"empty priority", {.size = size, .priorities = empty, .n_priorities = 2}, false},
                {"too many priorities", {.size = size, .priorities = nine, .n_priorities = 9}, false},
                {"as many as there may be", {.size = size, .priorities = nine, .n_priorities = 8}, true},
                {"a count without names", {.size = size, .n_priorities = 2}, false},
                {"an hour's time-out", {.size = size, .timeout_ms = 3600001}, false}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct {
            tt_dp_options o;
            char later[64];
        } given = {.o = rows[i].o};
        errno = 0;
        tt_dp *dp = tt_dp_new(&given.o);
        CHECK(rows[i].name, (dp != NULL) == rows[i].ok);
        if (!dp) CHECK(rows[i].name, errno == EINVAL);
        tt_dp_free(dp);
    }
    assert_null(tt_dp_new(NULL));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(drops_its_share),
                                       cmocka_unit_test(answers_are_stable),
                                       cmocka_unit_test(a_drop_fades),
                                       cmocka_unit_test(keys_spread_evenly),
                                       cmocka_unit_test(without_decision_all_is_admitted),
                                       cmocka_unit_test(wrong_calls_fail_open),
                                       cmocka_unit_test(options_are_checked)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
