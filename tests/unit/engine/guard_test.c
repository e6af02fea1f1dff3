/* Guardrails: what looks bad everywhere, how much is taken away and how fast, and when nothing new is begun. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "hand.h"

#define HEAD                                                                                                                                         \
    "services:\n"                                                                                                                                    \
    "  - {name: front, dcs: {dc-a: {capacity_rps: 200}, dc-b: {capacity_rps: 200}, dc-c: {capacity_rps: 200}}, calls: [stock]}\n"                    \
    "  - {name: stock, dcs: {dc-a: {capacity_rps: 200}, dc-b: {capacity_rps: 200}, dc-c: {capacity_rps: 200}}}\n"                                    \
    "signals:\n"                                                                                                                                     \
    "  - {name: offered_rps, query: \"x[3s]\", every: 1s}\n"                                                                                         \
    "  - {name: ok_rps, query: \"x[3s]\", every: 1s}\n"                                                                                              \
    "  - {name: error_ratio, query: \"x[3s]\", every: 1s}\n"                                                                                         \
    "  - {name: instance_error_ratio, query: \"x[3s]\", every: 1s}\n"                                                                                \
    "anomalies:\n"                                                                                                                                   \
    "  - {name: failing, when: error_ratio > 5%, clear_for: 1s}\n"                                                                                   \
    "  - {name: bad-instance, when: instance_error_ratio > 30%, clear_for: 1s}\n"                                                                    \
    "plans:\n"                                                                                                                                       \
    "  - name: keep\n"                                                                                                                               \
    "    on: {anomaly: failing, labels: {service: /^(?<svc>.+)$/, dc: /^(?<dc>.+)$/}}\n"                                                             \
    "    mode: auto\n"                                                                                                                               \
    "    target: {service: $svc, dc: $dc}\n"                                                                                                         \
    "    keep: [error_ratio <= 2%]\n"                                                                                                                \
    "    steps: [limit: {}, shift: {from: $dc, max: 100%}]\n"                                                                                        \
    "    approval: {within: 20s}\n"                                                                                                                  \
    "  - name: eject\n"                                                                                                                              \
    "    on: {anomaly: bad-instance, labels: {service: /^(?<svc>.+)$/, dc: /^(?<dc>.+)$/, instance: /^(?<i>.+)$/}}\n"                                \
    "    mode: auto\n"                                                                                                                               \
    "    target: {service: $svc, dc: $dc, instance: $i}\n"                                                                                           \
    "    keep: [error_ratio <= 2%]\n"                                                                                                                \
    "    steps: [eject: {max: 50%}]\n"                                                                                                               \
    "guardrails: {max_concurrent_loops: 20, "

static const char *const dcs[] = {"dc-a", "dc-b", "dc-c"};

static void open_hand(hand *h, const char *rails) {
    char text[8192];
    snprintf(text, sizeof text, "%s%s}\n", HEAD, rails);
    assert_true(hand_open(h, text));
}

static void set(hand *h, const char *signal, const char *service, const char *dc, double value) {
    char labels[64];
    snprintf(labels, sizeof labels, "service=%s dc=%s", service, dc);
    hand_set(h, signal, labels, value);
}

static void all_well(hand *h) {
    for (size_t i = 0; i < TT_COUNT(dcs); i++) {
        set(h, "offered_rps", "front", dcs[i], 100);
        set(h, "ok_rps", "front", dcs[i], 100);
        set(h, "error_ratio", "front", dcs[i], 0);
    }
    hand_run(h, 20);
    hand_hush(h);
}

/* ---- most targets bad at once ---- */

static const struct {
    const char *name;
    double ok_rps; /* of 100 offered; NAN: nobody counts */
    int bad;       /* of three data centers, by the signal */
    int counted;   /* seconds after the alarm from which the counters say so */
    bool frozen, opened;
} sensors[] = {
    {"a surge in all three, and the counters say so", 60, 3, 0, false, true},
    {"the counters say so a moment later", 60, 3, 3, false, true},
    {"the signal says so alone", 100, 3, 0, true, false},
    {"nobody counts", (double)NAN, 3, 0, true, false},
    {"one of three, and the counters are well: the law's business", 100, 1, 0, false, true},
};

static void a_suspect_sensor_freezes_and_a_real_surge_does_not(void **state) {
    (void)state;
    for (size_t i = 0; i < TT_COUNT(sensors); i++) {
        hand h;
        open_hand(&h, "max_capacity_removed: 60%");
        all_well(&h);
        for (int d = 0; d < sensors[i].bad; d++) set(&h, "error_ratio", "front", dcs[d], 0.4);
        hand_run(&h, sensors[i].counted);
        if (sensors[i].counted && hand_said(&h, "loop_opened", NULL))
            fail_msg("%s: acts before the counters have spoken\n%s", sensors[i].name, h.said);
        for (int d = 0; d < 3; d++) {
            set(&h, "ok_rps", "front", dcs[d], sensors[i].ok_rps);
            if (isnan(sensors[i].ok_rps)) set(&h, "offered_rps", "front", dcs[d], (double)NAN);
        }
        hand_run(&h, 12);
        bool frozen = hand_said(&h, "frozen", "the sensor is suspect") == 1, paged = hand_said(&h, "page", "the sensor is suspect") == 1;
        if (frozen != sensors[i].frozen || paged != sensors[i].frozen || (hand_said(&h, "loop_opened", NULL) > 0) != sensors[i].opened)
            fail_msg("%s: frozen %d, paged %d\n%s", sensors[i].name, frozen, paged, h.said);
        hand_close(&h);
    }
}

/* ---- capacity taken away ---- */

static void bad_instance(hand *h, const char *service, const char *dc, int bad) {
    for (int i = 0; i < 4; i++) {
        char labels[80];
        snprintf(labels, sizeof labels, "service=%s dc=%s instance=i%d", service, dc, i);
        hand_set(h, "instance_error_ratio", labels, i < bad ? 0.9 : 0);
    }
}

/* Two of four instances of stock in each of three data centers are half of what front can deliver. */
static void ejections_count_over_all_data_centers_and_for_those_who_call(void **state) {
    (void)state;
    static const struct {
        const char *rails;
        int ejected;
    } rows[] = {
        {"max_capacity_removed: 51%", 6}, {"max_capacity_removed: 30%", 3}, {"max_capacity_removed: 10%", 1}, {"max_capacity_removed: 5%", 0}};
    for (size_t i = 0; i < TT_COUNT(rows); i++) {
        hand h;
        open_hand(&h, rows[i].rails);
        all_well(&h);
        for (size_t d = 0; d < TT_COUNT(dcs); d++) bad_instance(&h, "stock", dcs[d], 2);
        hand_run(&h, 10);
        int n = hand_said(&h, "action eject", "take it out");
        if (n != rows[i].ejected) fail_msg("%s: %d instances ejected, expected %d\n%s", rows[i].rails, n, rows[i].ejected, h.said);
        if (n < 6) assert_true(hand_said(&h, "guardrail eject", "guardrails.max_capacity_removed is") > 0);
        hand_close(&h);
    }
}

static double share_of(hand *h, const char *dc) {
    return hand_act(h, "front", "", TT_ACT_WEIGHTS, dc);
}

static void break_dc_a(hand *h) {
    set(h, "error_ratio", "front", "dc-a", 0.9);
    set(h, "ok_rps", "front", "dc-a", 10);
}

static void what_is_ejected_below_leaves_less_to_be_moved_above(void **state) {
    (void)state;
    double moved[2];
    for (int with = 0; with < 2; with++) {
        hand h;
        open_hand(&h, "max_capacity_removed: 40%");
        all_well(&h);
        if (with) bad_instance(&h, "stock", "dc-b", 2); /* a sixth of all */
        hand_run(&h, 5);
        if (with) assert_int_equal(hand_said(&h, "action eject", "take it out"), 2);
        break_dc_a(&h);
        hand_run(&h, 15);
        moved[with] = 1.0 / 3 - share_of(&h, "dc-a");
        hand_close(&h);
    }
    assert_true(moved[0] > 0.3);                    /* all but the trickle: under 40 % */
    assert_true(moved[1] > 0.2 && moved[1] < 0.25); /* 40 % less a sixth */
}

/* ---- how fast ---- */

static void capacity_is_taken_away_no_faster_than_allowed(void **state) {
    (void)state;
    hand h;
    open_hand(&h, "max_capacity_removed: 60%, max_change: {share: 10%, per: 20s}");
    all_well(&h);
    break_dc_a(&h);
    double last = 1.0 / 3, gone[61] = {0};
    for (int t = 1; t <= 60; t++) {
        hand_run(&h, 1);
        double now = share_of(&h, "dc-a");
        if (isnan(now)) now = 1.0 / 3;
        gone[t] = gone[t - 1] + fmax(0, last - now);
        last = now;
        if (t >= 20 && gone[t] - gone[t - 20] > 0.2 + 1e-9) fail_msg("%.3f in the 20 s up to %d s", gone[t] - gone[t - 20], t);
    }
    assert_true(gone[5] > 0.09 && gone[5] < 0.13); /* the first step at once, as large as may be */
    assert_true(gone[60] > 0.25);                  /* and it gets there */
    assert_true(hand_restart(&h));                 /* the account is kept */
    hand_close(&h);
    /* Off unless it is asked for. */
    open_hand(&h, "max_capacity_removed: 60%");
    all_well(&h);
    break_dc_a(&h);
    hand_run(&h, 8);
    assert_true(share_of(&h, "dc-a") < 0.02);
    hand_close(&h);
}

static void an_instance_larger_than_the_rate_goes_alone(void **state) {
    (void)state;
    hand h;
    open_hand(&h, "max_capacity_removed: 60%, max_change: {share: 5%, per: 60s}");
    all_well(&h);
    bad_instance(&h, "stock", "dc-a", 2); /* each a twelfth of all */
    hand_run(&h, 30);
    assert_int_equal(hand_said(&h, "action eject", "take it out"), 1);
    assert_int_equal(hand_said(&h, "guardrail eject", "guardrails.max_change leaves no room"), 1);
    hand_run(&h, 80);
    assert_int_equal(hand_said(&h, "action eject", "take it out"), 2);
    hand_close(&h);
}

/* ---- freeze windows ---- */

static tt_calendar calendar; /* of the daemon's zone */
static void with_calendar(hand *h, tt_observations *o) {
    (void)h;
    o->local = calendar;
}

#define WINDOW(then) "max_capacity_removed: 60%, freeze_windows: [{every: weekday 22:00-06:00, reason: night watch, then: " then "}]"

static void nothing_new_is_begun_in_a_freeze_window(void **state) {
    (void)state;
    hand h;
    open_hand(&h, WINDOW("hold"));
    h.more = with_calendar;
    calendar = (tt_calendar){true, 20780, 22 * 60 - 1};
    all_well(&h);
    break_dc_a(&h);
    hand_run(&h, 15);
    assert_int_equal(hand_said(&h, "loop_opened", NULL), 1);
    assert_true(hand_anything(&h));
    calendar.minute = 22 * 60;
    hand_run(&h, 1);
    assert_int_equal(hand_said(&h, "freeze_window", "weekday 22:00-06:00, night watch begins"), 1);
    assert_non_null(strstr(hand_summary(&h),
                           "\"freeze_windows\":[{\"when\":\"weekday 22:00-06:00\",\"then\":\"hold\",\"reason\":\"night watch\",\"open\":true}]"));
    set(&h, "error_ratio", "front", "dc-c", 0.9);
    set(&h, "ok_rps", "front", "dc-c", 10);
    hand_run(&h, 10);
    assert_int_equal(hand_said(&h, "loop_opened", NULL), 1);
    assert_int_equal(hand_said(&h, "guardrail keep front/dc-c", "the freeze window weekday 22:00-06:00 is open: night watch"), 1);
    /* What was begun before is taken back within it. */
    for (size_t i = 0; i < TT_COUNT(dcs); i++) {
        set(&h, "error_ratio", "front", dcs[i], 0);
        set(&h, "ok_rps", "front", dcs[i], 100);
    }
    hand_run(&h, 1500);
    assert_false(hand_anything(&h));
    break_dc_a(&h);
    hand_run(&h, 10);
    assert_int_equal(hand_said(&h, "loop_opened", NULL), 1);
    calendar = (tt_calendar){true, 20781, 6 * 60};
    hand_run(&h, 2);
    assert_int_equal(hand_said(&h, "freeze_window", "is over"), 1);
    assert_int_equal(hand_said(&h, "loop_opened", NULL), 2);
    hand_close(&h);
}

static void a_window_may_ask_a_person(void **state) {
    (void)state;
    hand h;
    open_hand(&h, WINDOW("approve"));
    h.more = with_calendar;
    calendar = (tt_calendar){true, 20780, 23 * 60};
    all_well(&h);
    break_dc_a(&h);
    hand_run(&h, 10);
    assert_int_equal(hand_said(&h, "loop_opened keep front/dc-a", NULL), 1);
    assert_int_equal(hand_said(&h, "page", "keep waits for approval"), 1);
    assert_false(hand_anything(&h));
    assert_true(hand_restart(&h)); /* and it is still asked */
    h.more = with_calendar;
    hand_run(&h, 2);
    assert_false(hand_anything(&h));
    char id[TT_ULID_SIZE] = "";
    const char *at = strstr(hand_loops(&h), "\"id\":\"");
    assert_non_null(at);
    memcpy(id, at + 6, sizeof id - 1);
    hand_command(&h, TT_CMD_APPROVE, id);
    hand_run(&h, 15);
    assert_true(hand_anything(&h));
    hand_close(&h);
    /* Refused, it is over until the anomaly has been. */
    open_hand(&h, WINDOW("approve"));
    h.more = with_calendar;
    all_well(&h);
    break_dc_a(&h);
    hand_run(&h, 60);
    assert_int_equal(hand_said(&h, "loop_opened", NULL), 1);
    assert_int_equal(hand_said(&h, "loop_closed", "refused"), 1);
    assert_false(hand_anything(&h));
    hand_close(&h);
}

static void without_a_calendar_no_window_opens(void **state) {
    (void)state;
    hand h;
    open_hand(&h, "max_capacity_removed: 60%, freeze_windows: [{every: daily}]");
    all_well(&h);
    break_dc_a(&h);
    hand_run(&h, 5);
    assert_int_equal(hand_said(&h, "loop_opened", NULL), 1);
    hand_close(&h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_suspect_sensor_freezes_and_a_real_surge_does_not),
        cmocka_unit_test(ejections_count_over_all_data_centers_and_for_those_who_call),
        cmocka_unit_test(what_is_ejected_below_leaves_less_to_be_moved_above),
        cmocka_unit_test(capacity_is_taken_away_no_faster_than_allowed),
        cmocka_unit_test(an_instance_larger_than_the_rate_goes_alone),
        cmocka_unit_test(nothing_new_is_begun_in_a_freeze_window),
        cmocka_unit_test(a_window_may_ask_a_person),
        cmocka_unit_test(without_a_calendar_no_window_opens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
