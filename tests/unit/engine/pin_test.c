/* What a person holds by hand, and what the mesh has that nobody here decided. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "hand.h"

#define S(s) TT_SECONDS(s)
#define HEAD                                                                                                                                         \
    "services:\n"                                                                                                                                    \
    "  - {name: front, dcs: {dc-a: {capacity_rps: 200}, dc-b: {capacity_rps: 260}}, calls: [stock]}\n"                                               \
    "  - {name: stock, dcs: [dc-a, dc-b]}\n"                                                                                                         \
    "  - {name: auth, dcs: [dc-a]}\n"                                                                                                                \
    "signals:\n"                                                                                                                                     \
    "  - {name: offered_rps, query: \"x[3s]\", every: 1s}\n"                                                                                         \
    "  - {name: ok_rps, query: \"x[3s]\", every: 1s}\n"                                                                                              \
    "  - {name: utilization, query: \"x[3s]\", every: 1s}\n"                                                                                         \
    "  - {name: error_ratio, query: \"x[3s]\", every: 1s}\n"                                                                                         \
    "anomalies:\n"                                                                                                                                   \
    "  - {name: failing, when: error_ratio > 5%, clear_for: 1s}\n"                                                                                   \
    "plans:\n"                                                                                                                                       \
    "  - name: keep\n"                                                                                                                               \
    "    on: {anomaly: failing, labels: {service: /^(?<svc>.+)$/, dc: /^(?<dc>.+)$/}}\n"                                                             \
    "    mode: auto\n"                                                                                                                               \
    "    target: {service: $svc, dc: $dc}\n"                                                                                                         \
    "    keep: [error_ratio <= 2%]\n"                                                                                                                \
    "    steps: [degrade: {service: front, feature: tips, gain: [1.1]}, limit: {armed: false}, shift: {from: $dc, max: 90%}]\n"
#define RAILS "guardrails: {protected: [auth], most_targets_bad: {share: 100%, at_least: 9}}\n"

static void set(hand *h, const char *signal, const char *dc, double value) {
    char labels[64];
    snprintf(labels, sizeof labels, "service=front dc=%s", dc);
    hand_set(h, signal, labels, value);
}

static void well(hand *h, const char *dc) {
    set(h, "offered_rps", dc, 100);
    set(h, "ok_rps", dc, 100);
    set(h, "utilization", dc, 0.5);
    set(h, "error_ratio", dc, 0);
}

static void saturated(hand *h, const char *dc) {
    set(h, "offered_rps", dc, 300);
    set(h, "ok_rps", dc, 180);
    set(h, "utilization", dc, 1);
    set(h, "error_ratio", dc, 0.4);
}

static void open_hand(hand *h) {
    assert_true(hand_open(h, HEAD RAILS));
    well(h, "dc-a");
    well(h, "dc-b");
    hand_run(h, 20);
    hand_hush(h);
}

static tt_pin_spec spec_of(const char *service, const char *dc, tt_act_kind kind, const char *name, double value, int64_t for_ns) {
    tt_pin_spec s = {.kind = kind, .value = value, .for_ns = for_ns};
    snprintf(s.target.service, sizeof s.target.service, "%s", service);
    snprintf(s.target.dc, sizeof s.target.dc, "%s", dc);
    snprintf(s.name, sizeof s.name, "%s", name);
    return s;
}

static void pin(hand *h, const char *id, tt_pin_spec s) {
    hand_command(h, TT_CMD_PIN, id)->pin = s;
    hand_run(h, 1);
}

static const char one[] = "01J9ZC8Q6W3V2K5M7N8P9Q0R1A", two[] = "01J9ZC8Q6W3V2K5M7N8P9Q0R1B";

/* ---- what may be pinned ---- */

static const struct {
    const char *service, *dc;
    tt_act_kind kind;
    const char *name;
    double value;
    int64_t for_ns;
    const char *says; /* NULL: it may */
} checks[] = {
    {"front", "dc-a", TT_ACT_LIMIT, "", 500, S(60), NULL},
    {"front", "dc-a", TT_ACT_LIMIT, "", (double)NAN, S(60), NULL},
    {"front", "dc-a", TT_ACT_LIMIT, "", 0, S(60), "limit is 0.001 to"},
    {"front", "", TT_ACT_LIMIT, "", 500, S(60), "limit is set in one data center"},
    {"front", "dc-x", TT_ACT_LIMIT, "", 500, S(60), "service front has no data center dc-x"},
    {"frnt", "dc-a", TT_ACT_LIMIT, "", 500, S(60), "no service frnt is declared"},
    {"auth", "dc-a", TT_ACT_LIMIT, "", 500, S(60), "service auth is protected"},
    {"front", "dc-a", TT_ACT_LIMIT, "", 500, S(0), "a pin stands for 1s to 7d"},
    {"front", "dc-a", TT_ACT_LIMIT, "", 500, S(8 * 86400), "a pin stands for 1s to 7d"},
    {"front", "dc-a", TT_ACT_DROP, "batch", 0.5, S(60), NULL},
    {"front", "dc-a", TT_ACT_DROP, "batch", 1.5, S(60), "drop is 0 to 1"},
    {"front", "dc-a", TT_ACT_DROP, "bach", 0.5, S(60), "there is no priority bach"},
    {"front", "dc-a", TT_ACT_DROP, "", 0.5, S(60), "drop needs the priority"},
    {"front", "dc-a", TT_ACT_DEGRADE, "tips", 2, S(60), NULL},
    {"front", "dc-a", TT_ACT_DEGRADE, "tips", 1.5, S(60), "degrade is a whole number"},
    {"front", "dc-a", TT_ACT_EJECT, "10.0.0.1:80", 1, S(60), NULL},
    {"front", "dc-a", TT_ACT_RETRY, "", 0.1, S(60), NULL},
    {"front", "dc-a", TT_ACT_TIMEOUT, "", 300, S(60), NULL},
    {"front", "dc-a", TT_ACT_HEDGE, "", 0, S(60), NULL},
    {"front", "dc-a", TT_ACT_ISOLATE, "batch-report", 0.8, S(60), NULL},
    {"front", "dc-a", TT_ACT_VERSION, "v2", 0.8, S(60), "that can't be pinned"},
    {"front", "dc-a", (tt_act_kind)99, "", 1, S(60), "that can't be pinned"},
    {"front", "dc-a", TT_ACT_WEIGHTS, "", 0, S(60), "weights divide the traffic of a whole service"},
    {"front", "", TT_ACT_WEIGHTS, "", 0, S(60), "do not add up to 100%"},
    {"front", "", TT_ACT_WEIGHTS, "", (double)NAN, S(60), NULL},
};

static void what_makes_sense_may_be_pinned(void **state) {
    (void)state;
    hand h;
    open_hand(&h);
    for (size_t i = 0; i < TT_COUNT(checks); i++) {
        tt_pin_spec s = spec_of(checks[i].service, checks[i].dc, checks[i].kind, checks[i].name, checks[i].value, checks[i].for_ns);
        tt_err err = {0};
        bool ok = tt_engine_pin_check(h.engine, &s, &err);
        if (ok != (checks[i].says == NULL) || (!ok && !strstr(err.text, checks[i].says))) fail_msg("row %zu: %s", i, ok ? "may" : err.text);
        /* And the command says the same. */
        hand_hush(&h);
        pin(&h, one, s);
        if (hand_said(&h, "pinned", NULL) != ok || hand_said(&h, "command", "asked for a pin, which is refused") == ok)
            fail_msg("row %zu:\n%s", i, h.said);
        hand_command(&h, TT_CMD_UNPIN, one);
        hand_run(&h, 1);
    }
    static const struct {
        double a, b;
        const char *dc_b, *says;
    } shares[] = {{0.3, 0.7, "dc-b", NULL},
                  {0, 1, "dc-b", NULL},
                  {0.3, 0.6, "dc-b", "do not add up"},
                  {-0.5, 1.5, "dc-b", "the share of dc-a is not from 0 to 1"},
                  {0.5, 0.5, "dc-c", "service front has no data center dc-c"},
                  {0.5, 0.5, "dc-a", "dc-a is named twice"}};
    for (size_t i = 0; i < TT_COUNT(shares); i++) {
        tt_pin_spec s = spec_of("front", "", TT_ACT_WEIGHTS, "", 0, S(60));
        tt_err err = {0};
        s.n_dcs = 2;
        snprintf(s.dcs[0], sizeof s.dcs[0], "dc-a");
        snprintf(s.dcs[1], sizeof s.dcs[1], "%s", shares[i].dc_b);
        s.shares[0] = shares[i].a;
        s.shares[1] = shares[i].b;
        bool ok = tt_engine_pin_check(h.engine, &s, &err);
        if (ok != (shares[i].says == NULL) || (!ok && !strstr(err.text, shares[i].says))) fail_msg("shares %zu: %s", i, ok ? "may" : err.text);
    }
    hand_close(&h);
}

/* ---- a pin goes before what loops want ---- */

static void a_pin_is_in_force_until_its_time_is_over(void **state) {
    (void)state;
    static const struct {
        tt_act_kind kind;
        const char *name;
        double value;
    } rows[] = {{TT_ACT_LIMIT, "", 500}, {TT_ACT_DROP, "batch", 0.5}, {TT_ACT_DEGRADE, "tips", 2}, {TT_ACT_EJECT, "10.0.0.1:80", 1},
                {TT_ACT_RETRY, "", 0.1}, {TT_ACT_TIMEOUT, "", 300},   {TT_ACT_HEDGE, "", 0},       {TT_ACT_ISOLATE, "report", 0.8}};
    for (size_t i = 0; i < TT_COUNT(rows); i++) {
        hand h;
        open_hand(&h);
        pin(&h, one, spec_of("front", "dc-a", rows[i].kind, rows[i].name, rows[i].value, S(10)));
        for (int t = 1; t < 10; t++) {
            if (hand_act(&h, "front", "dc-a", rows[i].kind, rows[i].name) != rows[i].value) fail_msg("row %zu: not in force after %d s", i, t);
            hand_run(&h, 1);
        }
        hand_run(&h, 1);
        if (!isnan(hand_act(&h, "front", "dc-a", rows[i].kind, rows[i].name)) || hand_anything(&h)) fail_msg("row %zu: still in force", i);
        assert_int_equal(hand_said(&h, "unpinned pin front/dc-a", "its 10s are over"), 1);
        hand_close(&h);
    }
}

static void weights_are_pinned_for_the_service(void **state) {
    (void)state;
    hand h;
    open_hand(&h);
    tt_pin_spec s = spec_of("front", "", TT_ACT_WEIGHTS, "", 0, S(60));
    s.n_dcs = 1;
    snprintf(s.dcs[0], sizeof s.dcs[0], "dc-b");
    s.shares[0] = 1;
    pin(&h, one, s);
    assert_true(hand_act(&h, "front", "", TT_ACT_WEIGHTS, "dc-a") == 0 && hand_act(&h, "front", "", TT_ACT_WEIGHTS, "dc-b") == 1);
    /* A sick site would be left: that is the person's business now. */
    set(&h, "error_ratio", "dc-b", 0.9);
    set(&h, "ok_rps", "dc-b", 10);
    hand_run(&h, 20);
    assert_true(hand_act(&h, "front", "", TT_ACT_WEIGHTS, "dc-b") == 1);
    assert_int_equal(hand_said(&h, "action keep front:", "move"), 0);
    assert_non_null(strstr(hand_loops(&h), "\"next\":\"nothing there: ada has pinned weights of front\""));
    hand_command(&h, TT_CMD_UNPIN, one);
    hand_run(&h, 1);
    assert_int_equal(hand_said(&h, "unpinned", "by ada: enough"), 1);
    hand_run(&h, 20);
    assert_true(hand_act(&h, "front", "", TT_ACT_WEIGHTS, "dc-b") < 0.2); /* and now the law has it */
    hand_close(&h);
}

static void what_a_loop_wants_waits_under_a_pin(void **state) {
    (void)state;
    hand h;
    open_hand(&h);
    saturated(&h, "dc-a");
    hand_run(&h, 30);
    double own = hand_act(&h, "front", "dc-a", TT_ACT_LIMIT, "");
    assert_true(own > 50 && own < 250);
    pin(&h, one, spec_of("front", "dc-a", TT_ACT_LIMIT, "", 500, S(600)));
    assert_true(hand_act(&h, "front", "dc-a", TT_ACT_LIMIT, "") == 500);
    hand_hush(&h);
    hand_run(&h, 60); /* saturated as before: the law would cut further */
    assert_int_equal(hand_said(&h, "action keep front/dc-a", NULL), 0);
    assert_true(hand_act(&h, "front", "dc-a", TT_ACT_LIMIT, "") == 500);
    assert_non_null(strstr(hand_loops(&h), "ada has pinned limit of front in dc-a"));
    assert_non_null(strstr(
        hand_summary(&h),
        "\"pins\":[{\"id\":\"01J9ZC8Q6W3V2K5M7N8P9Q0R1A\",\"target\":{\"service\":\"front\",\"dc\":\"dc-a\"},\"action\":\"limit\",\"value\":500"));
    /* Off: not even what the loop wants. */
    pin(&h, two, spec_of("front", "dc-a", TT_ACT_LIMIT, "", (double)NAN, S(600)));
    assert_int_equal(hand_said(&h, "pinned pin front/dc-a", "in place of the pin before"), 1);
    assert_true(isnan(hand_act(&h, "front", "dc-a", TT_ACT_LIMIT, "")));
    hand_command(&h, TT_CMD_UNPIN, two);
    hand_run(&h, 1);
    assert_true(hand_act(&h, "front", "dc-a", TT_ACT_LIMIT, "") == own); /* as it was left */
    hand_run(&h, 30);
    assert_true(hand_said(&h, "action keep front/dc-a", NULL) > 0); /* and judged anew */
    hand_close(&h);
}

/* The law goes on with what is left to it. */
static void a_pinned_feature_leaves_the_cap_to_the_law(void **state) {
    (void)state;
    hand h;
    open_hand(&h);
    pin(&h, one, spec_of("front", "dc-a", TT_ACT_DEGRADE, "tips", (double)NAN, S(600)));
    saturated(&h, "dc-a");
    hand_run(&h, 30);
    assert_true(isnan(hand_act(&h, "front", "dc-a", TT_ACT_DEGRADE, "tips")));
    assert_true(hand_act(&h, "front", "dc-a", TT_ACT_LIMIT, "") > 0);
    hand_close(&h);
}

static void a_pin_survives_a_restart_with_the_time_it_had_left(void **state) {
    (void)state;
    hand h;
    open_hand(&h);
    pin(&h, one, spec_of("front", "dc-a", TT_ACT_LIMIT, "", 500, S(30)));
    tt_pin_spec w = spec_of("front", "", TT_ACT_WEIGHTS, "", 0, S(60));
    w.n_dcs = 2;
    snprintf(w.dcs[0], sizeof w.dcs[0], "dc-a");
    snprintf(w.dcs[1], sizeof w.dcs[1], "dc-b");
    w.shares[0] = 0.25;
    w.shares[1] = 0.75;
    pin(&h, two, w);
    hand_run(&h, 9);
    assert_true(hand_restart(&h));
    hand_run(&h, 18);
    assert_true(hand_act(&h, "front", "dc-a", TT_ACT_LIMIT, "") == 500);
    assert_true(hand_act(&h, "front", "", TT_ACT_WEIGHTS, "dc-b") == 0.75);
    hand_run(&h, 3);
    assert_true(isnan(hand_act(&h, "front", "dc-a", TT_ACT_LIMIT, "")));
    assert_true(hand_act(&h, "front", "", TT_ACT_WEIGHTS, "dc-b") == 0.75);
    hand_close(&h);
}

static void a_pin_of_what_the_rules_no_longer_have_is_let_go(void **state) {
    (void)state;
    hand h;
    open_hand(&h);
    pin(&h, one, spec_of("stock", "dc-a", TT_ACT_LIMIT, "", 500, S(600)));
    pin(&h, two, spec_of("front", "dc-a", TT_ACT_LIMIT, "", 400, S(600)));
    assert_true(hand_reload(&h, HEAD "guardrails: {protected: [auth, stock], most_targets_bad: {share: 100%, at_least: 9}}\n"));
    hand_run(&h, 1);
    assert_int_equal(hand_said(&h, "unpinned pin stock/dc-a", "the rules are others now, and service stock is protected"), 1);
    assert_true(isnan(hand_act(&h, "stock", "dc-a", TT_ACT_LIMIT, "")));
    assert_true(hand_act(&h, "front", "dc-a", TT_ACT_LIMIT, "") == 400);
    hand_close(&h);
}

/* ---- drift ---- */

static struct { bool on, foreign; } drifting;

static void with_drift(hand *h, tt_observations *o) {
    static tt_drift d;
    (void)h;
    d = (tt_drift){.target = {"front", "dc-a", ""}, .foreign = drifting.foreign, .share = 0.5, .what = TT_SV("10.0.0.9: 3 actions")};
    o->n_drifts = drifting.on;
    o->drifts = &d;
}

/* How often the target's decision was told in that many seconds. */
static int told(hand *h, int seconds) {
    int n = 0;
    while (seconds-- > 0) {
        hand_run(h, 1);
        for (size_t i = 0; i < h->out.n_decisions; i++)
            n += strcmp(h->out.decisions[i].target.service, "front") == 0 && strcmp(h->out.decisions[i].target.dc, "dc-a") == 0;
    }
    return n;
}

static void open_capped(hand *h) {
    open_hand(h);
    saturated(h, "dc-a");
    hand_run(h, 30);
    assert_true(hand_act(h, "front", "dc-a", TT_ACT_LIMIT, "") > 0);
    h->more = with_drift;
    drifting.on = drifting.foreign = false;
    hand_hush(h);
}

static void what_was_lost_is_told_again_and_nothing_new_is_done(void **state) {
    (void)state;
    hand h;
    open_capped(&h);
    drifting.on = true;
    double cap = hand_act(&h, "front", "dc-a", TT_ACT_LIMIT, "");
    assert_int_equal(told(&h, 21), 5); /* at once, and every 5 s */
    assert_int_equal(hand_said(&h, "drift  front/dc-a", "50.0 % of the instances of front in dc-a have lost what was decided, 10.0.0.9: 3 actions"),
                     1);
    assert_int_equal(hand_said(&h, "page", NULL), 0);
    assert_int_equal(hand_said(&h, "action keep front/dc-a", NULL), 0);
    assert_true(hand_act(&h, "front", "dc-a", TT_ACT_LIMIT, "") == cap);
    assert_non_null(strstr(hand_loops(&h), "\"next\":\"nothing there: front in dc-a has lost what was decided\""));
    assert_non_null(strstr(hand_summary(&h), "\"drift\":[{\"target\":{\"service\":\"front\",\"dc\":\"dc-a\"},\"kind\":\"lost\""));
    drifting.on = false;
    assert_int_equal(told(&h, 9), 0);
    assert_int_equal(hand_said(&h, "drift", "has what was decided again"), 0); /* a moment of silence is not the end */
    hand_run(&h, 30);
    assert_int_equal(hand_said(&h, "drift", "has what was decided again"), 1);
    assert_true(hand_said(&h, "action keep front/dc-a", NULL) > 0);
    hand_close(&h);
}

static void a_rival_is_written_over_three_times_and_then_left_to_a_person(void **state) {
    (void)state;
    hand h;
    open_capped(&h);
    drifting.on = drifting.foreign = true;
    assert_int_equal(told(&h, 14), 3);
    assert_int_equal(hand_said(&h, "drift  front/dc-a", "enforce what trimtab did not decide (10.0.0.9: 3 actions)"), 1);
    assert_int_equal(hand_said(&h, "page", NULL), 0);
    assert_int_equal(told(&h, 300), 0); /* not even to confirm it */
    assert_int_equal(hand_said(&h, "page  front/dc-a", "somebody else keeps writing over what is decided for front in dc-a: told 3 times again"), 1);
    assert_int_equal(hand_said(&h, "action keep front/dc-a", NULL), 0);
    drifting.on = false;
    assert_int_equal(told(&h, 58), 0);
    assert_int_equal(told(&h, 5), 1); /* a minute of peace: ours is told once more */
    assert_int_equal(hand_said(&h, "drift", "has what was decided again"), 1);
    hand_close(&h);
}

/* A rival that comes back each minute is not a new one each time. */
static void a_rival_is_remembered(void **state) {
    (void)state;
    hand h;
    open_capped(&h);
    drifting.foreign = true;
    for (int i = 0; i < 3; i++) {
        drifting.on = true;
        hand_run(&h, 2);
        drifting.on = false;
        hand_run(&h, 40);
        assert_int_equal(hand_said(&h, "page", "somebody else keeps writing"), 0);
    }
    drifting.on = true;
    hand_run(&h, 2);
    assert_int_equal(hand_said(&h, "page", "somebody else keeps writing"), 1);
    hand_close(&h);
}

static void drift_at_one_place_leaves_the_others_alone(void **state) {
    (void)state;
    hand h;
    open_capped(&h);
    drifting.on = drifting.foreign = true;
    saturated(&h, "dc-b");
    hand_run(&h, 20);
    assert_true(hand_said(&h, "action keep front/dc-b", NULL) > 0);
    assert_int_equal(hand_said(&h, "action keep front/dc-a", NULL), 0);
    hand_close(&h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_makes_sense_may_be_pinned),
        cmocka_unit_test(a_pin_is_in_force_until_its_time_is_over),
        cmocka_unit_test(weights_are_pinned_for_the_service),
        cmocka_unit_test(what_a_loop_wants_waits_under_a_pin),
        cmocka_unit_test(a_pinned_feature_leaves_the_cap_to_the_law),
        cmocka_unit_test(a_pin_survives_a_restart_with_the_time_it_had_left),
        cmocka_unit_test(a_pin_of_what_the_rules_no_longer_have_is_let_go),
        cmocka_unit_test(what_was_lost_is_told_again_and_nothing_new_is_done),
        cmocka_unit_test(a_rival_is_written_over_three_times_and_then_left_to_a_person),
        cmocka_unit_test(a_rival_is_remembered),
        cmocka_unit_test(drift_at_one_place_leaves_the_others_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
