/* The laws aimd, pi and runbook: what each makes of which figures, and that each ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "hand.h"

#define HERE "service=front dc=dc-a"
#define THERE "service=front dc=dc-b"

static const char head[] = "services:\n"
                           "  - {name: front, dcs: {dc-a: {weight: 50%, capacity_rps: 200}, dc-b: {weight: 50%, capacity_rps: 260}}}\n"
                           "signals:\n"
                           "  - {name: offered_rps, query: \"x[1s]\", every: 1s}\n"
                           "  - {name: ok_rps, query: \"x[1s]\", every: 1s}\n"
                           "  - {name: dropped_rps, query: \"x[1s]\", every: 1s}\n"
                           "  - {name: error_ratio, query: \"x[1s]\", every: 1s}\n"
                           "anomalies:\n"
                           "  - {name: ill, when: error_ratio > 2%, clear_for: 1s}\n"
                           "guardrails: {max_capacity_removed: 90%, most_targets_bad: {share: 100%, at_least: 9}}\n"
                           "plans:\n"
                           "  - name: plan\n"
                           "    on: {anomaly: ill, labels: {dc: /^(?<dc>.+)$/}}\n"
                           "    mode: auto\n"
                           "    target: {service: front, dc: $dc}\n"
                           "    keep: [error_ratio <= 2%]\n"
                           "    settle: {hold: 5s, within: 10m}\n"
                           "    recover: {after: 30s, every: 5s}\n";

static void open_hand(hand *h, const char *law_and_steps) {
    char text[4096];
    snprintf(text, sizeof text, "%s%s", head, law_and_steps);
    assert_true(hand_open(h, text));
    for (int k = 0; k < 2; k++) {
        const char *dc = k ? THERE : HERE;
        hand_set(h, "error_ratio", dc, 0);
        hand_set(h, "dropped_rps", dc, 0);
        char by[64];
        static const char *const priority[] = {"critical", "normal", "batch"};
        static const double mix[] = {25, 45, 30};
        for (int p = 0; p < 3; p++) {
            snprintf(by, sizeof by, "%s priority=%s", dc, priority[p]);
            hand_set(h, "offered_rps", by, mix[p]);
            hand_set(h, "ok_rps", by, mix[p]);
        }
    }
    hand_run(h, 30);
    assert_int_equal(h->n_actions, 0);
}

static double limit(hand *h) {
    return hand_act(h, "front", "dc-a", TT_ACT_LIMIT, "");
}
static double drop(hand *h, const char *priority) {
    return hand_act(h, "front", "dc-a", TT_ACT_DROP, priority);
}

static void near(const char *what, double is, double want) {
    if (isnan(want) ? !isnan(is) : !(fabs(is - want) <= 0.005 * fabs(want))) fail_msg("%s: %.4g, expected %.4g", what, is, want);
}

/* ---- aimd ---- */

static const struct {
    const char *name, *law;
    double error, cut;    /* of 100 rps */
    double after_well[3]; /* 10, 20 and 30 s after all is well */
} cuts[] = {
    {"twice the setpoint: half", "law: aimd", 0.04, 50, {52.5, 55, 57.5}},
    {"never below a tenth in one cut", "law: aimd", 0.9, 10, {12.5, 15, 17.5}},
    {"parameters are the plan's", "law: {name: aimd, min_factor: 40%, increment: 10%, every: 10s}", 0.9, 40, {50, 60, 70}},
};

static void aimd_cuts_by_the_excess_and_adds_a_little(void **state) {
    (void)state;
    for (size_t i = 0; i < TT_COUNT(cuts); i++) {
        hand h;
        char text[512];
        snprintf(text, sizeof text, "    %s\n    steps: [limit: {}]\n", cuts[i].law);
        open_hand(&h, text);
        hand_set(&h, "error_ratio", HERE, cuts[i].error);
        hand_run(&h, 2);
        near(cuts[i].name, limit(&h), cuts[i].cut);
        hand_set(&h, "error_ratio", HERE, 0);
        hand_run(&h, 5);
        near("not before its time", limit(&h), cuts[i].cut);
        for (int k = 0; k < 3; k++) {
            hand_run(&h, k ? 10 : 6);
            near(cuts[i].name, limit(&h), cuts[i].after_well[k]);
        }
        hand_close(&h);
    }
}

static void aimd_compounds_on_what_it_observes(void **state) {
    (void)state;
    hand h;
    open_hand(&h, "    law: aimd\n    steps: [limit: {}]\n");
    hand_set(&h, "error_ratio", HERE, 0.04);
    hand_run(&h, 2);
    near("first cut", limit(&h), 50);
    hand_set(&h, "dropped_rps", HERE, 60); /* the mesh admits less than told */
    hand_run(&h, 10);
    near("of what was admitted", limit(&h), 20);
    hand_close(&h);
}

static void aimd_passes_through_in_the_end_and_the_loop_closes(void **state) {
    (void)state;
    hand h;
    open_hand(&h, "    law: {name: aimd, increment: 20%}\n    steps: [limit: {}]\n");
    hand_set(&h, "error_ratio", HERE, 0.04);
    hand_run(&h, 2);
    hand_set(&h, "error_ratio", HERE, 0);
    hand_run(&h, 75);
    assert_true(limit(&h) > 150);
    hand_run(&h, 40);
    assert_false(hand_anything(&h));
    assert_non_null(strstr(h.log, "loop_closed: recovered"));
    hand_close(&h);
}

static void aimd_holds_while_the_signal_is_not_known(void **state) {
    (void)state;
    hand h;
    open_hand(&h, "    law: aimd\n    steps: [limit: {}]\n");
    hand_set(&h, "error_ratio", HERE, 0.04);
    hand_run(&h, 2);
    hand_set(&h, "error_ratio", HERE, (double)NAN);
    hand_run(&h, 60);
    near("held", limit(&h), 50);
    hand_close(&h);
}

/* A part that was not told just before the source went down is no part that is gone: the rest is not the sum. */
static void a_sum_does_not_shrink_while_the_source_is_down(void **state) {
    (void)state;
    hand h;
    open_hand(&h, "    law: {name: aimd, every: 1s}\n    steps: [limit: {}]\n");
    hand_set(&h, "error_ratio", HERE, 0.03);
    hand_run(&h, 2);
    hand_set(&h, "offered_rps", HERE " priority=normal", (double)NAN);
    hand_run(&h, 2);
    h.down = true;
    uint32_t before = h.n_actions;
    hand_run(&h, 20);
    assert_int_equal(h.n_actions, before);
    hand_close(&h);
}

static void what_is_shed_by_ratio_is_the_lowest_first(void **state) {
    (void)state;
    hand h;
    open_hand(&h, "    law: aimd\n    steps: [drop: {priority: batch}, drop: {priority: normal, max: 50%}]\n");
    hand_set(&h, "error_ratio", HERE, 0.04);
    hand_run(&h, 2);
    near("batch", drop(&h, "batch"), 1);
    near("normal", drop(&h, "normal"), 20.0 / 45);
    near("critical", drop(&h, "critical"), (double)NAN);
    hand_close(&h);
}

/* ---- pi ---- */

static void pi_steps_by_simc(void **state) {
    (void)state;
    hand h;
    open_hand(&h, "    law: {name: pi, gain: 2, response: 10s}\n    steps: [limit: {}]\n");
    hand_set(&h, "error_ratio", HERE, 0.5); /* one setpoint over, as far as it counts */
    hand_run(&h, 1);
    /* window 1 s: tau1 .5; dead time 1.3 x .5 + 1 + 1 + 1 + 1 = 4.65, less tau1: 4.15. Kc = .5 / (2 x 14.15) = .01767; Ki = Kc / .5 = .03534 */
    near("proportional", limit(&h), 100 * (1 - 0.01767));
    hand_run(&h, 5);
    near("five samples on", limit(&h), 100 * (1 - 0.01767 - 5 * 0.03534));
    hand_close(&h);
}

static void pi_does_not_wind_up(void **state) {
    (void)state;
    hand h;
    open_hand(&h, "    law: {name: pi, gain: 1, response: 1s}\n    steps: [drop: {priority: batch, max: 50%}]\n");
    hand_set(&h, "error_ratio", HERE, 0.5);
    hand_run(&h, 300); /* 15 % is all that the steps can hold back */
    near("at the step's max", drop(&h, "batch"), 0.5);
    hand_set(&h, "error_ratio", HERE, 0);
    hand_run(&h, 3); /* Ki is .24 a second: gone at once unless it has wound up */
    near("let go", drop(&h, "batch"), (double)NAN);
    hand_run(&h, 30);
    assert_non_null(strstr(h.log, "loop_closed: recovered"));
    hand_close(&h);
}

/* ---- runbook ---- */

static const char runbook[] = "    law: {name: runbook, wait: 20s}\n"
                              "    steps:\n"
                              "      - drop: {priority: batch, ratio: 100%}\n"
                              "      - degrade: {feature: extras, level: 1}\n"
                              "      - shift: {share: 40%}\n"
                              "      - limit: {rps: 60}\n";

static void runbook_goes_by_its_text(void **state) {
    (void)state;
    hand h;
    open_hand(&h, runbook);
    hand_set(&h, "error_ratio", HERE, 0.2);
    hand_run(&h, 3);
    near("drop", drop(&h, "batch"), 1);
    near("degrade waits", hand_act(&h, "front", "dc-a", TT_ACT_DEGRADE, "extras"), (double)NAN);
    hand_run(&h, 20);
    near("degrade", hand_act(&h, "front", "dc-a", TT_ACT_DEGRADE, "extras"), 1);
    hand_run(&h, 20);
    near("shift", hand_act(&h, "front", "", TT_ACT_WEIGHTS, "dc-a"), 0.3);
    hand_run(&h, 20);
    near("limit", limit(&h), 60);
    hand_set(&h, "error_ratio", HERE, 0);
    hand_run(&h, 29);
    near("not yet", limit(&h), 60);
    hand_run(&h, 3);
    near("limit back", limit(&h), (double)NAN);
    near("the rest stands", hand_act(&h, "front", "dc-a", TT_ACT_DEGRADE, "extras"), 1);
    hand_run(&h, 40);
    assert_false(hand_anything(&h));
    assert_non_null(strstr(h.log, "loop_closed: recovered"));
    hand_close(&h);
}

static void runbook_stops_where_it_helped(void **state) {
    (void)state;
    hand h;
    open_hand(&h, runbook);
    hand_set(&h, "error_ratio", HERE, 0.2);
    hand_run(&h, 3);
    hand_set(&h, "error_ratio", HERE, 0.01);
    hand_run(&h, 20);
    near("degrade is not needed", hand_act(&h, "front", "dc-a", TT_ACT_DEGRADE, "extras"), (double)NAN);
    assert_int_equal(h.n_actions, 1);
    hand_close(&h);
}

static void runbook_moves_only_what_fits(void **state) {
    (void)state;
    hand h;
    open_hand(&h, "    law: runbook\n    steps: [shift: {share: 100%}]\n");
    hand_set(&h, "offered_rps", THERE " priority=normal", 165); /* of 220 now, .92 x 260 is 239: room for 19 of 320 */
    hand_set(&h, "ok_rps", THERE " priority=normal", 165);
    hand_set(&h, "error_ratio", HERE, 0.2);
    hand_run(&h, 4);
    near("what fits", hand_act(&h, "front", "", TT_ACT_WEIGHTS, "dc-a"), 0.5 - 19.2 / 320);
    hand_close(&h);
    open_hand(&h, "    law: runbook\n    steps: [cutover: {}]\n");
    hand_set(&h, "error_ratio", HERE, 0.2);
    hand_set(&h, "ok_rps", THERE " priority=normal", 5); /* the other one isn't well either */
    hand_run(&h, 4);
    near("nowhere to go", hand_act(&h, "front", "", TT_ACT_WEIGHTS, "dc-a"), (double)NAN);
    assert_non_null(strstr(h.log, "nobody is known to have room for it"));
    hand_close(&h);
}

static void an_abort_and_a_restart_find_everything(void **state) {
    (void)state;
    hand h;
    open_hand(&h, runbook);
    hand_set(&h, "error_ratio", HERE, 0.2);
    hand_run(&h, 48);
    near("shift", hand_act(&h, "front", "", TT_ACT_WEIGHTS, "dc-a"), 0.3);
    assert_true(hand_restart(&h));
    hand_run(&h, 6); /* anomalies are found anew */
    near("limit waits", limit(&h), (double)NAN);
    hand_run(&h, 20);
    near("the next step, not the first again", limit(&h), 60);
    assert_null(strstr(h.log, "drop:batch 1 "));
    hand_abort(&h);
    hand_run(&h, 30);
    assert_false(hand_anything(&h));
    hand_close(&h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(aimd_cuts_by_the_excess_and_adds_a_little),
        cmocka_unit_test(aimd_compounds_on_what_it_observes),
        cmocka_unit_test(aimd_passes_through_in_the_end_and_the_loop_closes),
        cmocka_unit_test(aimd_holds_while_the_signal_is_not_known),
        cmocka_unit_test(a_sum_does_not_shrink_while_the_source_is_down),
        cmocka_unit_test(what_is_shed_by_ratio_is_the_lowest_first),
        cmocka_unit_test(pi_steps_by_simc),
        cmocka_unit_test(pi_does_not_wind_up),
        cmocka_unit_test(runbook_goes_by_its_text),
        cmocka_unit_test(runbook_stops_where_it_helped),
        cmocka_unit_test(runbook_moves_only_what_fits),
        cmocka_unit_test(an_abort_and_a_restart_find_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
