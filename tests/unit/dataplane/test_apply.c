/* What is taken, what is refused, and that a refusal changes nothing. */
#include "common.h"

#include <math.h>
#include <stdlib.h>

static const char *const two[] = {"dc-a", "dc-b"}, *const same[] = {"dc-a", "dc-a"}, *const with_empty[] = {"dc-a", ""};
static const double even[] = {0.5, 0.5}, short_sum[] = {0.5, 0.4}, negative[] = {1.5, -0.5}, thirds[] = {0.667, 0.333};
static const double not_a_number[] = {NAN, 1};
static char long_name[TT_DP_NAME_MAX + 1];

static bool in_force(tt_dp *dp) {
    return tt_dp_degrade_level(dp, "recs", NULL, 0) == 3;
}

static void bad_sets_change_nothing(void **state) {
    (void)state;
    memset(long_name, 'n', TT_DP_NAME_MAX);
    const struct {
        const char *name;
        tt_dp_action a;
        const char *service, *dc;
        int64_t after_ms, over_ms;
        bool ok;
    } rows[] = {
        {"drop", {.kind = TT_DP_DROP, .name = "batch", .value = 1}, "checkout", "dc-a", -1, -1, true},
        {"drop of an unknown priority", {.kind = TT_DP_DROP, .name = "gold", .value = 1}, "checkout", "dc-a", -1, -1, true},
        {"drop over 1", {.kind = TT_DP_DROP, .name = "batch", .value = 1.01}, "checkout", "dc-a", -1, -1, false},
        {"drop under 0", {.kind = TT_DP_DROP, .name = "batch", .value = -0.01}, "checkout", "dc-a", -1, -1, false},
        {"drop of NaN", {.kind = TT_DP_DROP, .name = "batch", .value = NAN}, "checkout", "dc-a", -1, -1, false},
        {"drop of nobody", {.kind = TT_DP_DROP, .value = 0.1}, "checkout", "dc-a", -1, -1, false},
        {"drop for another service is checked too", {.kind = TT_DP_DROP, .name = "batch", .value = 2}, "payments", "", -1, -1, false},
        {"limit", {.kind = TT_DP_LIMIT, .value = 10}, "checkout", "dc-a", -1, -1, true},
        {"limit under 0", {.kind = TT_DP_LIMIT, .value = -1}, "checkout", "dc-a", -1, -1, false},
        {"limit without end", {.kind = TT_DP_LIMIT, .value = INFINITY}, "checkout", "dc-a", -1, -1, false},
        {"limit of NaN", {.kind = TT_DP_LIMIT, .value = NAN}, "checkout", "dc-a", -1, -1, false},
        {"limit that keeps one twice", {.kind = TT_DP_LIMIT, .value = 1, .n = 2, .names = same}, "checkout", "dc-a", -1, -1, false},
        {"limit with a count and no names", {.kind = TT_DP_LIMIT, .value = 1, .n = 2}, "checkout", "dc-a", -1, -1, false},
        {"degrade", {.kind = TT_DP_DEGRADE, .name = "recs", .value = 2, .probe_ratio = 0.5}, "checkout", "dc-a", -1, -1, true},
        {"degrade by half a level", {.kind = TT_DP_DEGRADE, .name = "recs", .value = 1.5}, "checkout", "dc-a", -1, -1, false},
        {"degrade by a huge level", {.kind = TT_DP_DEGRADE, .name = "recs", .value = 1e18}, "checkout", "dc-a", -1, -1, false},
        {"degrade of NaN", {.kind = TT_DP_DEGRADE, .name = "recs", .value = NAN}, "checkout", "dc-a", -1, -1, false},
        {"probe over 1", {.kind = TT_DP_DEGRADE, .name = "recs", .value = 1, .probe_ratio = 2}, "checkout", "dc-a", -1, -1, false},
        {"weights", {.kind = TT_DP_WEIGHTS, .n = 2, .names = two, .shares = even}, "payments", "", -1, -1, true},
        {"weights with three digits", {.kind = TT_DP_WEIGHTS, .n = 2, .names = two, .shares = thirds}, "payments", NULL, -1, -1, true},
        {"weights short of 1", {.kind = TT_DP_WEIGHTS, .n = 2, .names = two, .shares = short_sum}, "payments", "", -1, -1, false},
        {"negative weight", {.kind = TT_DP_WEIGHTS, .n = 2, .names = two, .shares = negative}, "payments", "", -1, -1, false},
        {"weight of NaN", {.kind = TT_DP_WEIGHTS, .n = 2, .names = two, .shares = not_a_number}, "payments", "", -1, -1, false},
        {"site twice", {.kind = TT_DP_WEIGHTS, .n = 2, .names = same, .shares = even}, "payments", "", -1, -1, false},
        {"site without name", {.kind = TT_DP_WEIGHTS, .n = 2, .names = with_empty, .shares = even}, "payments", "", -1, -1, false},
        {"no sites", {.kind = TT_DP_WEIGHTS, .names = two, .shares = even}, "payments", "", -1, -1, false},
        {"too many sites", {.kind = TT_DP_WEIGHTS, .n = 17, .names = two, .shares = even}, "payments", "", -1, -1, false},
        {"weights of one site", {.kind = TT_DP_WEIGHTS, .n = 2, .names = two, .shares = even}, "payments", "dc-a", -1, -1, false},
        {"eject", {.kind = TT_DP_EJECT, .name = "10.0.0.1:80"}, "payments", "dc-a", -1, -1, true},
        {"eject of nothing", {.kind = TT_DP_EJECT, .name = ""}, "payments", "dc-a", -1, -1, false},
        {"eject of too long a name", {.kind = TT_DP_EJECT, .name = long_name}, "payments", "dc-a", -1, -1, false},
        {"concurrency", {.kind = TT_DP_CONCURRENCY, .value = 10}, "checkout", "dc-a", -1, -1, true},
        {"concurrency under 0", {.kind = TT_DP_CONCURRENCY, .value = -1}, "checkout", "dc-a", -1, -1, false},
        {"retry", {.kind = TT_DP_RETRY, .value = 0.1}, "payments", "dc-a", -1, -1, true},
        {"retry over 1", {.kind = TT_DP_RETRY, .value = 1.1}, "payments", "dc-a", -1, -1, false},
        {"timeout", {.kind = TT_DP_TIMEOUT, .value = 300}, "payments", "dc-a", -1, -1, true},
        {"timeout of nothing", {.kind = TT_DP_TIMEOUT}, "payments", "dc-a", -1, -1, false},
        {"timeout of NaN", {.kind = TT_DP_TIMEOUT, .value = NAN}, "payments", "dc-a", -1, -1, false},
        {"hedge", {.kind = TT_DP_HEDGE}, "payments", "", -1, -1, true},
        {"half a hedge", {.kind = TT_DP_HEDGE, .value = 0.5}, "payments", "", -1, -1, false},
        {"isolate", {.kind = TT_DP_ISOLATE, .name = "reports", .value = 0.5}, "checkout", "dc-a", -1, -1, true},
        {"isolate nobody", {.kind = TT_DP_ISOLATE, .value = 1}, "checkout", "dc-a", -1, -1, false},
        {"isolate more than wholly", {.kind = TT_DP_ISOLATE, .name = "reports", .value = 1.5}, "checkout", "dc-a", -1, -1, false},
        {"versions", {.kind = TT_DP_VERSIONS, .n = 2, .names = two, .shares = even}, "payments", "dc-a", -1, -1, true},
        {"versions short of 1", {.kind = TT_DP_VERSIONS, .n = 2, .names = two, .shares = short_sum}, "payments", "dc-a", -1, -1, false},
        {"unknown kind", {.kind = (tt_dp_action_kind)99, .name = "x"}, "checkout", "dc-a", -1, -1, false},
        {"no kind", {.name = "x"}, "checkout", "dc-a", -1, -1, false},
        {"no service", {.kind = TT_DP_LIMIT, .value = 1}, NULL, "dc-a", -1, -1, false},
        {"empty service", {.kind = TT_DP_LIMIT, .value = 1}, "", "dc-a", -1, -1, false},
        {"expires before it began", {.kind = TT_DP_LIMIT, .value = 1}, "checkout", "dc-a", -2, -1, false},
        {"expires beyond all time", {.kind = TT_DP_LIMIT, .value = 1}, "checkout", "dc-a", INT64_MAX, -1, false},
        {"fades beyond all time", {.kind = TT_DP_LIMIT, .value = 1}, "checkout", "dc-a", 0, INT64_MAX, false},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        tt_dp *dp = dp_of("checkout", "dc-a");
        const tt_dp_action before = {.kind = TT_DP_DEGRADE, .name = "recs", .value = 3};
        assert_true(apply(dp, &before, 1, 5, 0));
        const tt_dp_action good = {.kind = TT_DP_DROP, .name = "normal", .value = 1};
        tt_dp_decision d[] = {{.service = "checkout", .n_actions = 1, .actions = &good, .expire_after_ms = -1, .epoch = 5, .version = 9},
                              {.service = rows[i].service,
                               .dc = rows[i].dc,
                               .n_actions = 1,
                               .actions = &rows[i].a,
                               .expire_after_ms = rows[i].after_ms,
                               .decay_over_ms = rows[i].over_ms,
                               .epoch = 5,
                               .version = 8}};
        errno = 0;
        CHECK(rows[i].name, tt_dp_apply(dp, d, 2, 5, 0, 0) == rows[i].ok);
        tt_dp_stats s = {.size = sizeof s};
        tt_dp_read_stats(dp, &s);
        if (rows[i].ok) {
            CHECK(rows[i].name, s.version == 9 && tt_dp_admit(dp, 1, NULL, 0, 0) == TT_DP_DROPPED);
        } else {
            CHECK(rows[i].name, errno == EINVAL);
            CHECK(rows[i].name, s.version == 1 && in_force(dp) && tt_dp_admit(dp, 1, NULL, 0, 0) == TT_DP_ADMIT);
        }
        tt_dp_free(dp);
    }
}

static void a_set_is_whole(void **state) {
    (void)state;
    tt_dp *dp = dp_of("checkout", "dc-a");
    const tt_dp_action level = {.kind = TT_DP_DEGRADE, .name = "recs", .value = 3}, drop = {.kind = TT_DP_DROP, .name = "batch", .value = 1};
    assert_true(apply(dp, &level, 1, 1, 0));
    assert_true(in_force(dp));
    assert_true(apply(dp, &drop, 1, 1, 0)); /* what it doesn't hold is not in force */
    assert_false(in_force(dp));
    assert_int_equal(tt_dp_admit(dp, 2, NULL, 0, 0), TT_DP_DROPPED);
    assert_true(tt_dp_apply(dp, NULL, 0, 1, 0, 0));
    assert_int_equal(tt_dp_admit(dp, 2, NULL, 0, 0), TT_DP_ADMIT);
    tt_dp_free(dp);
}

static void older_epochs_are_refused(void **state) {
    (void)state;
    tt_dp *dp = dp_of("checkout", "dc-a");
    const tt_dp_action level = {.kind = TT_DP_DEGRADE, .name = "recs", .value = 3};
    assert_true(apply(dp, &level, 1, 7, 0));
    errno = 0;
    assert_false(tt_dp_apply(dp, NULL, 0, 6, 0, 0));
    assert_int_equal(errno, ESTALE);
    assert_true(in_force(dp));
    assert_true(tt_dp_apply(dp, NULL, 0, 7, 0, 0));
    assert_true(tt_dp_apply(dp, NULL, 0, 8, 0, 0));
    assert_false(apply(dp, &level, 1, 7, 0)); /* nor after nothing was in force */
    tt_dp_stats s = {.size = sizeof s};
    tt_dp_read_stats(dp, &s);
    assert_int_equal(s.epoch, 8);
    tt_dp_free(dp);
}

static void the_same_target_twice_is_refused(void **state) {
    (void)state;
    tt_dp *dp = dp_of("checkout", "dc-a");
    const tt_dp_action limits[] = {{.kind = TT_DP_LIMIT, .value = 1}, {.kind = TT_DP_LIMIT, .value = 2}};
    const tt_dp_action weights = {.kind = TT_DP_WEIGHTS, .n = 2, .names = two, .shares = even};
    tt_dp_decision one = {.service = "checkout", .n_actions = 2, .actions = limits, .expire_after_ms = -1};
    tt_dp_decision both[] = {{.service = "payments", .n_actions = 1, .actions = &weights, .expire_after_ms = -1},
                             {.service = "payments", .n_actions = 1, .actions = &weights, .expire_after_ms = -1}};
    tt_dp_decision three[3];
    for (int i = 0; i < 3; i++) three[i] = (tt_dp_decision){.service = "checkout", .n_actions = 1, .actions = limits, .expire_after_ms = -1};
    assert_false(tt_dp_apply(dp, &one, 1, 1, 0, 0));
    assert_false(tt_dp_apply(dp, both, 2, 1, 0, 0));
    assert_false(tt_dp_apply(dp, three, 3, 1, 0, 0));
    assert_false(tt_dp_apply(dp, NULL, 1, 1, 0, 0));
    assert_false(tt_dp_apply(dp, NULL, 0, 1, -1, 0));
    tt_dp_free(dp);
}

/* What it was built from may be gone the moment it is applied. */
static void everything_is_copied(void **state) {
    (void)state;
    tt_dp *dp = dp_of("checkout", "dc-a");
    char *service = strdup("payments"), *instance = strdup("10.0.0.1:80"), *a = strdup("dc-a"), *b = strdup("dc-b");
    const char **names = malloc(2 * sizeof *names);
    double *shares = malloc(2 * sizeof *shares);
    names[0] = a, names[1] = b, shares[0] = 0, shares[1] = 1;
    tt_dp_action *actions = calloc(2, sizeof *actions);
    actions[0] = (tt_dp_action){.kind = TT_DP_EJECT, .name = instance};
    actions[1] = (tt_dp_action){.kind = TT_DP_WEIGHTS, .n = 2, .names = names, .shares = shares};
    tt_dp_decision *d = calloc(1, sizeof *d);
    *d = (tt_dp_decision){.service = service, .n_actions = 2, .actions = actions, .expire_after_ms = -1};
    assert_true(tt_dp_apply(dp, d, 1, 1, 0, 0));
    memset(service, '!', 8), memset(instance, '!', 11), memset(a, '!', 4), memset(b, '!', 4);
    free(service), free(instance), free(a), free(b), free(names), free(shares), free(actions), free(d);
    assert_true(tt_dp_is_ejected(dp, "payments", "dc-a", "10.0.0.1:80"));
    assert_int_equal(tt_dp_pick_dc(dp, "payments", two, 2, 0, NULL, 0), 1);
    tt_dp_free(dp);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(bad_sets_change_nothing), cmocka_unit_test(a_set_is_whole),
                                       cmocka_unit_test(older_epochs_are_refused), cmocka_unit_test(the_same_target_twice_is_refused),
                                       cmocka_unit_test(everything_is_copied)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
