/* A data center is left as a whole: callers before those they call, no faster than the receivers bear, and back the other way round. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "hand.h"

static const char text[] =
    "services:\n"
    "  - {name: db, dcs: {dc-a: {weight: 50%%, capacity_rps: %d}, dc-b: {weight: 50%%, capacity_rps: %d}}, inner_loop: true}\n"
    "  - {name: front, dcs: {dc-a: {weight: 50%%, capacity_rps: 300}, dc-b: {weight: 50%%, capacity_rps: 300}}, calls: [checkout, auth], inner_loop: "
    "true}\n"
    "  - {name: checkout, dcs: {dc-a: {weight: 50%%, capacity_rps: 300}, dc-b: {weight: 50%%, capacity_rps: 300}}, calls: [db], inner_loop: true}\n"
    "  - {name: auth, dcs: {dc-a: {weight: 50%%, capacity_rps: 300}, dc-b: {weight: 50%%, capacity_rps: 300}}, inner_loop: true}\n"
    "  - {name: single, dcs: [dc-a]}\n"
    "signals:\n"
    "  - {name: offered_rps, query: \"x[1s]\", every: 1s}\n"
    "  - {name: ok_rps, query: \"x[1s]\", every: 1s}\n"
    "  - {name: power, query: x, every: 1s}\n"
    "anomalies:\n"
    "  - {name: power-loss, when: power < 1, clear_for: 1s}\n"
    "guardrails: {protected: [auth], max_capacity_removed: %d%%, most_targets_bad: {share: 100%%, at_least: 9}}\n"
    "plans:\n"
    "  - name: leave\n"
    "    on: {anomaly: power-loss, labels: {dc: /^(?<dc>.+)$/}}\n"
    "    mode: auto\n"
    "    target: {dc: $dc}\n"
    "    keep: [power >= 1]\n"
    "    steps: [cutover: {from: $dc%s}]\n"
    "    settle: {hold: 5s, within: 10m}\n"
    "    recover: {after: 20s, every: 5s}\n";

static const char *const services[] = {"front", "checkout", "db", "auth"};
static bool at_dc_b_ill[4];

static double share(hand *h, const char *service, const char *dc) {
    double v = hand_act(h, service, "", TT_ACT_WEIGHTS, dc);
    return isnan(v) ? 0.5 : v;
}

/* Load follows the weights. */
static void serve(hand *h, double power) {
    char labels[96];
    for (size_t i = 0; i < TT_COUNT(services); i++)
        for (int d = 0; d < 2; d++) {
            const char *dc = d ? "dc-b" : "dc-a";
            double rps = 200 * share(h, services[i], dc);
            snprintf(labels, sizeof labels, "service=%s dc=%s", services[i], dc);
            hand_set(h, "offered_rps", labels, rps);
            hand_set(h, "ok_rps", labels, d && at_dc_b_ill[i] ? 0.8 * rps : rps);
        }
    hand_set(h, "power", "dc=dc-a", power);
    hand_set(h, "power", "dc=dc-b", 1);
}

static void run(hand *h, int seconds, double power) {
    for (int i = 0; i < seconds; i++) {
        serve(h, power);
        hand_run(h, 1);
    }
}

static void open_hand(hand *h, int db_capacity, int max_removed, const char *more) {
    char rules[4096];
    snprintf(rules, sizeof rules, text, db_capacity, db_capacity, max_removed, more);
    memset(at_dc_b_ill, 0, sizeof at_dc_b_ill);
    assert_true(hand_open(h, rules));
    run(h, 10, 1);
    assert_int_equal(h->n_actions, 0);
}

static void near(const char *row, double is, double want) {
    if (!(fabs(is - want) <= 0.005)) fail_msg("%s: %.4g, expected %.4g", row, is, want);
}

static void callers_leave_before_those_they_call(void **state) {
    (void)state;
    hand h;
    open_hand(&h, 300, 100, "");
    double least[4] = {0.5, 0.5, 0.5, 0.5};
    for (int i = 0; i < 60; i++) {
        run(&h, 1, 0);
        for (int s = 0; s < 4; s++) {
            double now = share(&h, services[s], "dc-a");
            if (now > least[s] + 1e-9) fail_msg("%s went back", services[s]);
            if (least[s] - now > 0.3 + 1e-9) fail_msg("%s went by %.2f at once", services[s], least[s] - now);
            least[s] = now;
        }
        if (least[1] < 0.5) near("checkout waits for front", least[0], 0);
        if (least[2] < 0.5) near("db waits for checkout", least[1], 0);
    }
    near("front", least[0], 0);
    near("checkout", least[1], 0);
    near("db", least[2], 0);
    near("a protected one stays", least[3], 0.5);
    hand_close(&h);
}

static void nothing_goes_where_it_is_not_borne(void **state) {
    (void)state;
    hand h;
    open_hand(&h, 300, 100, "");
    run(&h, 4, 0);
    assert_true(share(&h, "front", "dc-a") < 0.5);
    at_dc_b_ill[0] = true;
    double then = share(&h, "front", "dc-a");
    run(&h, 30, 0);
    near("front waits", share(&h, "front", "dc-a"), then);
    assert_non_null(strstr(h.log, "front in dc-b does not bear what it got"));
    at_dc_b_ill[0] = false;
    run(&h, 10, 0);
    near("and goes on", share(&h, "front", "dc-a"), 0);
    hand_close(&h);
}

static void only_what_fits_and_what_the_guardrail_allows(void **state) {
    (void)state;
    hand h;
    open_hand(&h, 150, 100, ""); /* .92 x 150 is 138 of 200, and front can do no more than db below it */
    run(&h, 60, 0);
    near("front: what fits", share(&h, "front", "dc-a"), 1 - 138.0 / 200);
    near("those who still call keep whom they call", share(&h, "db", "dc-a"), 0.5);
    assert_non_null(strstr(h.log, "has no room elsewhere"));
    hand_close(&h);
    open_hand(&h, 300, 40, "");
    run(&h, 60, 0);
    near("40 % of the capacity at most", share(&h, "front", "dc-a"), 0.5 * (1 - 0.8));
    near("so nothing below it moves", share(&h, "checkout", "dc-a"), 0.5);
    hand_close(&h);
}

static void it_comes_back_in_growing_steps_callees_first(void **state) {
    (void)state;
    hand h;
    open_hand(&h, 300, 100, "");
    run(&h, 60, 0);
    near("db is gone", share(&h, "db", "dc-a"), 0);
    run(&h, 15, 1);
    near("not yet", share(&h, "db", "dc-a"), 0);
    double before = 0;
    for (int i = 0; i < 120; i++) {
        run(&h, 1, 1);
        double db = share(&h, "db", "dc-a"), checkout = share(&h, "checkout", "dc-a");
        if (db + 1e-9 < before) fail_msg("db went away again");
        if (db < 0.5 - 1e-9) near("checkout waits for db", checkout, 0);
        before = db;
    }
    near("front is home", share(&h, "front", "dc-a"), 0.5);
    assert_non_null(strstr(h.log, "db has 5.00 % of its usual traffic"));
    assert_non_null(strstr(h.log, "db has 31.0 % of its usual traffic"));
    assert_false(hand_anything(&h));
    run(&h, 20, 1);
    assert_non_null(strstr(h.log, "loop_closed: recovered"));
    hand_close(&h);
}

static void a_person_is_asked_where_the_plan_says_so(void **state) {
    (void)state;
    hand h;
    open_hand(&h, 300, 100, ", approve: required");
    run(&h, 20, 0);
    assert_int_equal(h.n_actions, 0);
    assert_non_null(strstr(h.log, "approve the cutover out of dc-a"));
    char id[TT_ULID_SIZE] = "";
    const char *at = strstr(hand_loops(&h), "\"id\":\"");
    assert_non_null(at);
    memcpy(id, at + 6, TT_ULID_SIZE - 1);
    hand_command(&h, TT_CMD_APPROVE, id);
    run(&h, 60, 0);
    near("left", share(&h, "db", "dc-a"), 0);
    assert_true(hand_restart(&h));
    run(&h, 5, 0);
    near("still left", share(&h, "db", "dc-a"), 0);
    hand_abort(&h);
    run(&h, 30, 0);
    assert_false(hand_anything(&h));
    hand_close(&h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(callers_leave_before_those_they_call),         cmocka_unit_test(nothing_goes_where_it_is_not_borne),
        cmocka_unit_test(only_what_fits_and_what_the_guardrail_allows), cmocka_unit_test(it_comes_back_in_growing_steps_callees_first),
        cmocka_unit_test(a_person_is_asked_where_the_plan_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
