/* One figure for what a site can carry, out of four: which wins, how sure it is, and how that fades. By hand: no model says what is true. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hand.h"

static const char id[] = "01J9ZC8Q6W3V2K5M7N8P9Q0R1S";

#define SIGNAL(name) "  - {name: " name ", query: \"q_" name "[3s]\", every: 1s, max_age: 4s}\n"
#define RULES(dc_a)                                                                                                                                  \
    "services:\n"                                                                                                                                    \
    "  - name: front\n    dcs: {dc-a: {" dc_a "}, dc-b: {}}\n    inner_loop: true\n"                                                                 \
    "signals:\n" SIGNAL("offered_rps") SIGNAL("ok_rps") SIGNAL("refused_rps") SIGNAL("utilization") SIGNAL("error_ratio")                            \
    "anomalies:\n"                                                                                                                                   \
    "  - {name: failing, when: error_ratio > 20%, for: 2s, clear_for: 2s}\n"                                                                         \
    "plans:\n"                                                                                                                                       \
    "  - name: shed\n"                                                                                                                               \
    "    on: {anomaly: failing, labels: {service: /^(?<svc>.+)$/, dc: /^(?<dc>.+)$/}}\n"                                                             \
    "    mode: auto\n"                                                                                                                               \
    "    target: {service: $svc, dc: $dc}\n"                                                                                                         \
    "    keep: [error_ratio <= 2%]\n"                                                                                                                \
    "    steps:\n      - limit: {by: measured_capacity}\n"                                                                                           \
    "    settle: {hold: 2s, within: 2m}\n"                                                                                                           \
    "    recover: {after: 4s, step: 25%, every: 2s}\n"

static hand h;

static void site(const char *dc, double offered, double ok, double refused, double utilization) {
    char labels[64];
    snprintf(labels, sizeof labels, "service=front dc=%s", dc);
    hand_set(&h, "offered_rps", labels, offered);
    hand_set(&h, "ok_rps", labels, ok);
    hand_set(&h, "refused_rps", labels, refused);
    hand_set(&h, "utilization", labels, utilization);
    hand_set(&h, "error_ratio", labels, offered > 0 ? (offered - ok) / offered : 0);
}

static void open_hand(const char *rules) {
    assert_true(hand_open(&h, rules));
    site("dc-b", 50, 50, 0, (double)NAN); /* nothing is known of it */
}

/* A figure of dc-a: of the whole with source NULL, else of that candidate; NAN: there is none. */
static double figure(const char *source, const char *name) {
    char key[64];
    tt_buf out;
    tt_buf_init(&out, 1 << 20);
    tt_engine_capacity_json(h.engine, &out);
    char *at = strstr(out.p, "\"dc\":\"dc-a\""), *end = strstr(at, "\"dc\":\"dc-b\"");
    if (end) *end = 0;
    snprintf(key, sizeof key, "{\"source\":\"%s\"", source ? source : "");
    if (source) at = strstr(at, key);
    snprintf(key, sizeof key, "\"%s\":", name);
    if (at) at = strstr(at, key);
    double v = at && strncmp(at + strlen(key), "null", 4) != 0 ? strtod(at + strlen(key), NULL) : (double)NAN;
    tt_buf_free(&out);
    return v;
}

static bool source_is(const char *want) {
    char key[64];
    tt_buf out;
    tt_buf_init(&out, 1 << 20);
    tt_engine_capacity_json(h.engine, &out);
    snprintf(key, sizeof key, "\"source\":\"%s\"", want);
    const char *at = strstr(strstr(out.p, "\"dc\":\"dc-a\""), "\"source\":");
    bool is = strncmp(at, key, strlen(key)) == 0;
    if (!is) print_message("%.*s\n", 60, at);
    tt_buf_free(&out);
    return is;
}

static void near_(double is, double want, int line) {
    if (!(fabs(is - want) < 0.02 * fabs(want))) fail_msg("line %d: %g, and %g is wanted", line, is, want);
}
#define near(is, want) near_(is, want, __LINE__)

static void nothing_is_known_at_first(void **state) {
    (void)state;
    open_hand(RULES(""));
    site("dc-a", 50, 50, 0, (double)NAN);
    hand_run(&h, 10);
    assert_true(source_is("unknown"));
    assert_true(isnan(figure(NULL, "rps")) && figure(NULL, "confidence") == 0 && isnan(figure(NULL, "headroom_rps")));
    hand_close(&h);
}

static void learned_wins_once_it_is_surer(void **state) {
    (void)state;
    open_hand(RULES("capacity_rps: 100"));
    site("dc-a", 60, 60, 0, 0.5);
    hand_run(&h, 6); /* the first seconds nobody can tell what is missing */
    assert_true(source_is("configured"));
    assert_true(figure(NULL, "rps") == 100 && figure(NULL, "confidence") == 0.5);
    hand_run(&h, 20);
    assert_true(source_is("learned"));
    near(figure(NULL, "rps"), 120);
    near(figure(NULL, "headroom_rps"), 60);
    assert_true(figure(NULL, "confidence") > 0.7 && figure("learned", "samples") > 10);
    assert_true(figure("configured", "rps") == 100);
    /* Too little load to learn from: it fades, and what is written stands for ever. */
    site("dc-a", 10, 10, 0, 0.1);
    double sure = figure(NULL, "confidence");
    hand_run(&h, 43200);
    near(figure("learned", "confidence"), sure * sqrt(0.5));
    hand_run(&h, 43200);
    near(figure("learned", "confidence"), sure / 2);
    assert_true(source_is("configured"));
    hand_close(&h);
}

static void what_scatters_is_less_sure(void **state) {
    (void)state;
    double sure[2];
    for (int i = 0; i < 2; i++) {
        open_hand(RULES(""));
        for (int k = 0; k < 60; k++) {
            site("dc-a", 60, 60, 0, 0.5 + (i ? (k % 2 ? 0.09 : -0.09) : 0));
            hand_run(&h, 1);
        }
        sure[i] = figure("learned", "confidence");
        assert_true((figure("learned", "spread") > 0.1) == (i == 1));
        hand_close(&h);
    }
    assert_true(sure[1] < 0.5 * sure[0]);
}

static void an_incidents_measurement_stands_while_it_lasts(void **state) {
    (void)state;
    open_hand(RULES(""));
    site("dc-a", 60, 60, 0, 0.5);
    hand_run(&h, 60);
    near(figure(NULL, "rps"), 120);
    site("dc-a", 140, 80, 60, 1); /* it is worth less than ever */
    hand_run(&h, 12);
    assert_true(source_is("measured"));
    assert_true(figure(NULL, "rps") < 100 && figure(NULL, "confidence") > 0.9);
    assert_true(figure("learned", "rps") > 100);
    site("dc-a", 60, 60, 0, 0.5);
    hand_run(&h, 300);
    assert_int_equal(tt_engine_open_loops(h.engine), 0);
    assert_true(source_is("learned"));
    assert_true(figure("measured", "rps") < 120 && figure("measured", "confidence") < 0.31); /* kept to be shown */
    hand_close(&h);
}

static void begin_test(double step) {
    tt_command *c = hand_command(&h, TT_CMD_LOAD_TEST, id);
    tt_load_test_spec_default(&c->test);
    snprintf(c->test.service, sizeof c->test.service, "front");
    snprintf(c->test.dc, sizeof c->test.dc, "dc-a");
    c->test.step = step;
    c->test.hold_ns = TT_SECONDS(5);
}

/* Utilization reads a fifth too high: the site refuses nothing up to 150, and reads full at 125. */
static void a_load_test_sets_a_biased_reading_right(void **state) {
    (void)state;
    open_hand(RULES(""));
    site("dc-a", 60, 60, 0, 0.48);
    hand_run(&h, 120);
    near(figure("learned", "rps"), 125);
    begin_test(0.1);
    /* As it reads .8 the load jumps to where it refuses: seen to be full. */
    double share;
    for (int i = 0; i < 60; i++) {
        hand_run(&h, 1);
        share = hand_act(&h, "front", "", TT_ACT_WEIGHTS, "dc-a");
        if (!isnan(share) && share > 0.55) site("dc-a", 160, 150, 10, 0.83);
        if (isnan(share) || share < 0.55) site("dc-a", 60, 60, 0, 0.48);
    }
    assert_int_equal(hand_said(&h, "load_test", "carries 150 rps"), 2);
    assert_true(source_is("load_test"));
    near(figure(NULL, "rps"), 150);
    assert_true(figure(NULL, "confidence") > 0.9);
    hand_run(&h, 60);
    near(figure("learned", "rps"), 150); /* what it learns from now on is set right */
    /* It fades by the week. */
    double sure = figure("load_test", "confidence");
    hand_run(&h, 86400);
    near(figure("load_test", "confidence"), sure * pow(0.5, 1.0 / 7));
    hand_close(&h);
}

static void it_outlives_a_restart(void **state) {
    (void)state;
    static const char *const figures[] = {"rps", "confidence", "spread", "samples"};
    double before[TT_COUNT(figures)];
    open_hand(RULES(""));
    site("dc-a", 60, 60, 0, 0.5);
    hand_run(&h, 60);
    for (size_t i = 0; i < TT_COUNT(figures); i++) before[i] = figure("learned", figures[i]);
    assert_true(hand_restart(&h));
    for (size_t i = 0; i < TT_COUNT(figures); i++)
        if (fabs(figure("learned", figures[i]) - before[i]) > 1e-3) fail_msg("%s was %g and is %g", figures[i], before[i], figure("learned", figures[i]));
    hand_close(&h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_known_at_first),
        cmocka_unit_test(learned_wins_once_it_is_surer),
        cmocka_unit_test(what_scatters_is_less_sure),
        cmocka_unit_test(an_incidents_measurement_stands_while_it_lasts),
        cmocka_unit_test(a_load_test_sets_a_biased_reading_right),
        cmocka_unit_test(it_outlives_a_restart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
