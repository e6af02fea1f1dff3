/* Degrade levels, choice of site, ejection. */
#include "common.h"

#include <math.h>

enum { KEYS = 20000 };
static const char *const sites[] = {"dc-a", "dc-b", "dc-c"};

static size_t key_of(int i, char key[32]) {
    return (size_t)snprintf(key, 32, "user-%d", i * 104729);
}

/* These read the clock themselves, so ages are what is moved here. */
static void apply_aged(tt_dp *dp, const char *service, const char *dc, const tt_dp_action *a, int64_t after_ms, int64_t over_ms, int64_t age_ms) {
    tt_dp_decision d = {.service = service, .dc = dc, .n_actions = 1, .actions = a, .expire_after_ms = after_ms, .decay_over_ms = over_ms};
    assert_true(tt_dp_apply(dp, &d, 1, 1, age_ms, 0));
}

static void degrades(void **state) {
    (void)state;
    static const struct {
        const char *name, *service, *dc, *feature;
        double level, probe;
        int64_t after_ms, over_ms, age_ms;
        double want[4]; /* share of requests at each level */
    } rows[] = {
        {"in force", "checkout", "dc-a", "recs", 2, 0, -1, 0, 0, {0, 0, 1, 0}},
        {"with a probe", "checkout", "dc-a", "recs", 2, 0.1, -1, 0, 0, {0, 0.1, 0.9, 0}},
        {"a probe of level 1 has full service", "checkout", "", "recs", 1, 0.2, -1, 0, 0, {0.2, 0.8, 0, 0}},
        {"another feature", "checkout", "dc-a", "other", 2, 0, -1, 0, 0, {1, 0, 0, 0}},
        {"another site", "checkout", "dc-b", "recs", 2, 0, -1, 0, 0, {1, 0, 0, 0}},
        {"another service", "payments", "dc-a", "recs", 2, 0, -1, 0, 0, {1, 0, 0, 0}},
        {"level 0", "checkout", "dc-a", "recs", 0, 0.5, -1, 0, 0, {1, 0, 0, 0}},
        {"half faded", "checkout", "dc-a", "recs", 2, 0, 1000, 10000000, 5001000, {0.5, 0, 0.5, 0}},
        {"gone", "checkout", "dc-a", "recs", 2, 0, 1000, 1000, 9000, {1, 0, 0, 0}},
    };
    for (size_t r = 0; r < COUNT(rows); r++) {
        tt_dp *dp = dp_of("checkout", "dc-a");
        tt_dp_action a = {.kind = TT_DP_DEGRADE, .name = rows[r].feature, .value = rows[r].level, .probe_ratio = rows[r].probe};
        apply_aged(dp, rows[r].service, rows[r].dc, &a, rows[r].after_ms, rows[r].over_ms, rows[r].age_ms);
        int at[4] = {0};
        for (int i = 0; i < KEYS; i++) {
            char key[32];
            size_t n = key_of(i, key);
            unsigned level = tt_dp_degrade_level(dp, "recs", key, n);
            CHECK(rows[r].name, level < 4);
            CHECK(rows[r].name, rows[r].after_ms >= 0 || level == tt_dp_degrade_level(dp, "recs", key, n)); /* a key keeps its level */
            at[level]++;
        }
        for (int l = 0; l < 4; l++)
            if (fabs((double)at[l] / KEYS - rows[r].want[l]) > 0.015)
                fail_msg("%s: %d of %d at level %d, %g expected", rows[r].name, at[l], KEYS, l, rows[r].want[l]);
        assert_int_equal(tt_dp_degrade_level(dp, NULL, NULL, 0), 0);
        tt_dp_free(dp);
    }
}

static void picks_by_weight(void **state) {
    (void)state;
    static const char *const ab[] = {"dc-a", "dc-b"}, *const cba[] = {"dc-c", "dc-b", "dc-a"}, *const strange[] = {"dc-x", "dc-y"};
    static const struct {
        const char *name;
        bool weighted;
        double shares[3];
        const char *const *dcs;
        size_t n;
        int fallback;
        double want[3];
        int64_t after_ms, age_ms;
    } rows[] = {
        {"by weight", true, {0.2, 0.3, 0.5}, sites, 3, 0, {0.2, 0.3, 0.5}, -1, 0},
        {"the caller's order doesn't matter", true, {0.2, 0.3, 0.5}, cba, 3, 0, {0.5, 0.3, 0.2}, -1, 0},
        {"drained", true, {0, 0.4, 0.6}, sites, 3, 0, {0, 0.4, 0.6}, -1, 0},
        {"all in one", true, {0, 0, 1}, sites, 3, 0, {0, 0, 1}, -1, 0},
        {"among those given", true, {0.2, 0.3, 0.5}, ab, 2, 0, {0.4, 0.6, 0}, -1, 0},
        {"only drained ones given: the fallback", true, {0, 0, 1}, ab, 2, 1, {0, 1, 0}, -1, 0},
        {"sites without weights: the fallback", true, {0.2, 0.3, 0.5}, strange, 2, 1, {0, 1, 0}, -1, 0},
        {"no weights: the fallback", false, {0}, sites, 3, 2, {0, 0, 1}, -1, 0},
        {"no weights, no fallback: equal shares", false, {0}, sites, 3, -1, {0.333, 0.333, 0.333}, -1, 0},
        {"a fallback that is none", false, {0}, sites, 3, 7, {0.333, 0.333, 0.333}, -1, 0},
        {"half faded", true, {0, 0, 1}, sites, 3, 0, {0.5, 0, 0.5}, 1000, 5001000},
    };
    for (size_t r = 0; r < COUNT(rows); r++) {
        tt_dp *dp = dp_of("checkout", "dc-a");
        tt_dp_action w = {.kind = TT_DP_WEIGHTS, .n = 3, .names = sites, .shares = rows[r].shares};
        if (rows[r].weighted) apply_aged(dp, "payments", NULL, &w, rows[r].after_ms, 10000000, rows[r].age_ms);
        int keyed[3] = {0}, unkeyed[3] = {0};
        for (int i = 0; i < KEYS; i++) {
            char key[32];
            size_t n = key_of(i, key);
            int a = tt_dp_pick_dc(dp, "payments", rows[r].dcs, rows[r].n, rows[r].fallback, key, n);
            int b = tt_dp_pick_dc(dp, "payments", rows[r].dcs, rows[r].n, rows[r].fallback, NULL, 0);
            CHECK(rows[r].name, a >= 0 && (size_t)a < rows[r].n && b >= 0 && (size_t)b < rows[r].n);
            keyed[a]++;
            unkeyed[b]++;
        }
        for (int i = 0; i < 3; i++)
            if (fabs((double)keyed[i] / KEYS - rows[r].want[i]) > 0.015 || fabs((double)unkeyed[i] / KEYS - rows[r].want[i]) > 0.015)
                fail_msg("%s: %d and %d of %d to %d, %g expected", rows[r].name, keyed[i], unkeyed[i], KEYS, i, rows[r].want[i]);
        tt_dp_free(dp);
    }
}

/* A key stays where it is unless its site's share shrinks; callers who list the sites otherwise agree. */
static void a_key_keeps_its_site(void **state) {
    (void)state;
    static const char *const ba[] = {"dc-b", "dc-a"};
    static const double before[] = {0.5, 0.5}, after[] = {0.4, 0.6};
    tt_dp *one = dp_of("checkout", "dc-a"), *two = dp_of("checkout", "dc-a");
    tt_dp_action w1 = {.kind = TT_DP_WEIGHTS, .n = 2, .names = sites, .shares = before},
                 w2 = {.kind = TT_DP_WEIGHTS, .n = 2, .names = sites, .shares = after};
    apply_aged(one, "payments", "", &w1, -1, -1, 0);
    apply_aged(two, "payments", "", &w2, -1, -1, 0);
    int moved = 0;
    for (int i = 0; i < KEYS; i++) {
        char key[32];
        size_t n = key_of(i, key);
        int was = tt_dp_pick_dc(one, "payments", sites, 2, 0, key, n), is = tt_dp_pick_dc(two, "payments", sites, 2, 0, key, n);
        if (was == 1) assert_int_equal(is, 1);
        assert_int_equal(was, 1 - tt_dp_pick_dc(one, "payments", ba, 2, 0, key, n));
        moved += was != is;
    }
    assert_in_range(moved, KEYS * 9 / 100, KEYS * 11 / 100);
    tt_dp_free(one);
    tt_dp_free(two);
}

static void many_services_have_weights(void **state) {
    (void)state;
    enum { N = 500 };
    static tt_dp_decision d[N];
    static tt_dp_action a[N];
    static char names[N][16];
    static const double shares[2][2] = {{1, 0}, {0, 1}};
    for (int i = 0; i < N; i++) {
        snprintf(names[i], sizeof names[i], "service-%d", i);
        a[i] = (tt_dp_action){.kind = TT_DP_WEIGHTS, .n = 2, .names = sites, .shares = shares[i % 2]};
        d[i] = (tt_dp_decision){.service = names[i], .n_actions = 1, .actions = &a[i], .expire_after_ms = -1};
    }
    tt_dp *dp = dp_of("checkout", "dc-a");
    assert_true(tt_dp_apply(dp, d, N, 1, 0, 0));
    for (int i = 0; i < N; i++) assert_int_equal(tt_dp_pick_dc(dp, names[i], sites, 2, -1, NULL, 0), i % 2);
    tt_dp_free(dp);
}

static void ejects(void **state) {
    (void)state;
    tt_dp *dp = dp_of("checkout", "dc-a");
    assert_false(tt_dp_is_ejected(dp, "payments", "dc-a", "10.0.0.1:80"));
    tt_dp_action out[] = {{.kind = TT_DP_EJECT, .name = "10.0.0.1:80"}, {.kind = TT_DP_EJECT, .name = "10.0.0.2:80"}};
    tt_dp_action everywhere = {.kind = TT_DP_EJECT, .name = "10.0.0.3:80"};
    tt_dp_action old = {.kind = TT_DP_EJECT, .name = "10.0.0.4:80"};
    tt_dp_decision d[] = {{.service = "payments", .dc = "dc-a", .n_actions = 2, .actions = out, .expire_after_ms = -1},
                          {.service = "payments", .n_actions = 1, .actions = &everywhere, .expire_after_ms = 60000, .decay_over_ms = 1000000},
                          {.service = "search", .n_actions = 1, .actions = &old, .expire_after_ms = 1000, .decay_over_ms = 1000}};
    assert_true(tt_dp_apply(dp, d, COUNT(d), 1, 59000, 0));
    static const struct {
        const char *service, *dc, *instance;
        bool want;
    } rows[] = {{"payments", "dc-a", "10.0.0.1:80", true}, {"payments", "dc-a", "10.0.0.2:80", true}, {"payments", "dc-b", "10.0.0.1:80", false},
                {"payments", NULL, "10.0.0.1:80", false},  {"search", "dc-a", "10.0.0.1:80", false},  {"payments", "dc-a", "10.0.0.9:80", false},
                {"payments", "dc-b", "10.0.0.3:80", true}, {"payments", NULL, "10.0.0.3:80", true},   {"search", "dc-a", "10.0.0.4:80", false},
                {NULL, "dc-a", "10.0.0.1:80", false},      {"payments", "dc-a", NULL, false}};
    for (size_t i = 0; i < COUNT(rows); i++)
        if (tt_dp_is_ejected(dp, rows[i].service, rows[i].dc, rows[i].instance) != rows[i].want) fail_msg("row %zu", i);
    assert_true(tt_dp_apply(dp, NULL, 0, 1, 0, 0));
    assert_false(tt_dp_is_ejected(dp, "payments", "dc-a", "10.0.0.1:80"));
    tt_dp_free(dp);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(degrades), cmocka_unit_test(picks_by_weight), cmocka_unit_test(a_key_keeps_its_site),
                                       cmocka_unit_test(many_services_have_weights), cmocka_unit_test(ejects)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
