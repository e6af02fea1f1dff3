/* Traffic between versions: away from one that fails, into capacity that is known, and back in steps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "hand.h"

#define CANARY "service=checkout dc=dc-a version=canary"
#define STABLE "service=checkout dc=dc-a version=stable"

static const char text[] = "services:\n"
                           "  - {name: checkout, dcs: [dc-a, dc-b], versions: {stable: 80%%, canary: 20%%}}\n"
                           "signals:\n"
                           "  - {name: offered_rps, query: \"x[1s]\", every: 1s}\n"
                           "  - {name: ok_rps, query: \"x[1s]\", every: 1s}\n"
                           "  - {name: utilization, query: \"x[1s]\", every: 1s}\n"
                           "  - {name: error_ratio, query: \"x[1s]\", every: 1s}\n"
                           "anomalies:\n"
                           "  - {name: ill, when: error_ratio > 5%%, clear_for: 1s}\n"
                           "guardrails: {lock_out: {reversals: 9}, most_targets_bad: {share: 100%%, at_least: 9}}\n"
                           "plans:\n"
                           "  - name: leave\n"
                           "    on: {anomaly: ill, labels: {service: checkout, dc: /^(?<dc>.+)$/, version: /^(?<version>.+)$/}}\n"
                           "    mode: auto\n"
                           "    target: {service: checkout, dc: $dc, version: $version}\n"
                           "    keep: [error_ratio <= 5%%]\n"
                           "    steps: [shift: {from_version: $version, to: stable%s}]\n"
                           "    settle: {hold: 5s, within: 10m}\n"
                           "    recover: {after: 20s, step: 50%%, every: 5s}\n";

static void serve(hand *h, double canary, double canary_fails, double stable, double stable_fails, double utilization) {
    hand_set(h, "offered_rps", CANARY, canary);
    hand_set(h, "ok_rps", CANARY, canary * (1 - canary_fails));
    hand_set(h, "error_ratio", CANARY, canary_fails);
    hand_set(h, "offered_rps", STABLE, stable);
    hand_set(h, "ok_rps", STABLE, stable * (1 - stable_fails));
    hand_set(h, "error_ratio", STABLE, stable_fails);
    hand_set(h, "utilization", STABLE, utilization);
}

static void open_hand(hand *h, const char *more) {
    char rules[4096];
    snprintf(rules, sizeof rules, text, more);
    assert_true(hand_open(h, rules));
    serve(h, 40, 0, 160, 0, 0.5);
    hand_run(h, 10);
    assert_int_equal(h->n_actions, 0);
}

static double share(hand *h, const char *version) {
    return hand_act(h, "checkout", "dc-a", TT_ACT_VERSION, version);
}

static void near(const char *row, double is, double want) {
    if (isnan(want) ? !isnan(is) : !(fabs(is - want) <= 0.01 * fabs(want) + 1e-9)) fail_msg("%s: %.4g, expected %.4g", row, is, want);
}

static const struct {
    const char *name, *more;
    double canary, canary_fails, stable, stable_fails, utilization;
    double share; /* of the canary, usually .2 */
    const char *says;
} rows[] = {
    {"a bad release is left but for a trickle", "", 40, 0.3, 160, 0.01, 0.5, 0.01, "can carry 320 rps"},
    {"no further than max", ", max: 50%", 40, 0.3, 160, 0.01, 0.5, 0.1, NULL},
    {"as much as fits: .92 of 184 is 169", "", 40, 0.3, 160, 0.01, 0.87, 0.2 - 9.2 / 200, NULL},
    {"no room: nothing", "", 40, 0.3, 160, 0.01, 0.95, (double)NAN, "has no room"},
    {"capacity not known: nothing", "", 40, 0.3, 160, 0.01, (double)NAN, (double)NAN, "isn't known"},
    {"the same illness in both", "", 40, 0.3, 160, 0.25, 0.5, (double)NAN, NULL},
    {"a handful of requests says nothing", "", 4, 0.5, 160, 0.01, 0.5, (double)NAN, NULL},
};

static void a_sick_version_is_left_for_one_that_can_carry_it(void **state) {
    (void)state;
    for (size_t i = 0; i < TT_COUNT(rows); i++) {
        hand h;
        open_hand(&h, rows[i].more);
        serve(&h, rows[i].canary, rows[i].canary_fails, rows[i].stable, rows[i].stable_fails, rows[i].utilization);
        hand_run(&h, 6);
        near(rows[i].name, share(&h, "canary"), rows[i].share);
        near(rows[i].name, share(&h, "stable"), 1 - rows[i].share);
        if (rows[i].says && !strstr(h.log, rows[i].says)) fail_msg("%s: doesn't say \"%s\":\n%s", rows[i].name, rows[i].says, h.log);
        hand_close(&h);
    }
}

static void it_comes_back_in_steps_and_a_relapse_waits_longer(void **state) {
    (void)state;
    hand h;
    open_hand(&h, "");
    serve(&h, 40, 0.3, 160, 0, 0.5);
    hand_run(&h, 6);
    near("left", share(&h, "canary"), 0.01);
    serve(&h, 8, 0.3, 192, 0, 0.55);
    hand_run(&h, 60);
    near("still sick", share(&h, "canary"), 0.01);
    serve(&h, 8, 0, 192, 0, 0.55);
    hand_run(&h, 23);
    near("a step", share(&h, "canary"), 0.11);
    serve(&h, 40, 0.4, 160, 0, 0.5);
    hand_run(&h, 8);
    near("left again", share(&h, "canary"), 0.01);
    assert_non_null(strstr(h.log, "relapse: "));
    serve(&h, 8, 0, 192, 0, 0.55);
    hand_run(&h, 35);
    near("held for twice as long", share(&h, "canary"), 0.01);
    hand_run(&h, 20);
    near("home", share(&h, "canary"), (double)NAN);
    hand_run(&h, 15);
    assert_non_null(strstr(h.log, "loop_closed: recovered"));
    hand_close(&h);
}

static void a_version_that_is_rolled_back_ends_it(void **state) {
    (void)state;
    hand h;
    open_hand(&h, "");
    serve(&h, 40, 0.3, 160, 0, 0.5);
    hand_run(&h, 6);
    near("left", share(&h, "canary"), 0.01);
    serve(&h, (double)NAN, (double)NAN, 200, 0, 0.6);
    hand_run(&h, 70);
    near("nobody is there to leave", share(&h, "canary"), (double)NAN);
    hand_close(&h);
}

static void a_restart_finds_it_and_an_abort_takes_it_back(void **state) {
    (void)state;
    hand h;
    open_hand(&h, "");
    serve(&h, 40, 0.3, 160, 0, 0.5);
    hand_run(&h, 6);
    assert_true(hand_restart(&h));
    hand_run(&h, 2);
    near("still left", share(&h, "canary"), 0.01);
    assert_non_null(strstr(hand_loops(&h), "version:canary"));
    hand_abort(&h);
    hand_run(&h, 10);
    assert_false(hand_anything(&h));
    hand_close(&h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sick_version_is_left_for_one_that_can_carry_it),
        cmocka_unit_test(it_comes_back_in_steps_and_a_relapse_waits_longer),
        cmocka_unit_test(a_version_that_is_rolled_back_ends_it),
        cmocka_unit_test(a_restart_finds_it_and_an_abort_takes_it_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
