/* Each kind of anomaly on an engine that is fed by hand: when it opens, when it is over, what is never a reason, and what people are shown. */
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

#define SIGNALS                                                                                                                                      \
    "services: [{name: s, dcs: [a, b, c, d]}]\n"                                                                                                     \
    "signals:\n"                                                                                                                                     \
    "  - {name: error_ratio, query: q, every: 1s, max_age: 5s}\n"                                                                                    \
    "  - {name: rps, query: q, every: 1s, max_age: 5s, across: sum}\n"                                                                               \
    "  - {name: p99_ms, query: q, every: 60s, max_age: 5m}\n"                                                                                        \
    "  - {name: beat, query: q, every: 1s, max_age: 5s}\n"                                                                                           \
    "  - {name: beat_told, reports: inflight, max_age: 5s}\n"                                                                                        \
    "guardrails: {most_targets_bad: {share: 100%, at_least: 1000, then: freeze}}\n"                                                                  \
    "anomalies:\n"

static hand h;
static bool down; /* every source */
static int partial;

static void sources(hand *x, tt_observations *obs) {
    static tt_poll polls[TT_SIGNALS_MAX];
    (void)x;
    memcpy(polls, obs->polls, obs->n_polls * sizeof polls[0]);
    for (size_t i = 0; i < obs->n_polls; i++) {
        polls[i].answered = !down;
        polls[i].partial = partial > 0;
    }
    obs->polls = polls;
    if (down) obs->n_measurements = 0;
}

static void start(const char *anomaly) {
    char text[4096];
    snprintf(text, sizeof text, "%s%s", SIGNALS, anomaly);
    down = false;
    partial = 0;
    assert_true(hand_open(&h, text));
    h.more = sources;
}

/* The state of the only anomaly, or of the one whose JSON holds `where`; "" when there is none. */
static const char *state_of(const char *where) {
    static char state[16];
    const char *p = hand_anomalies(&h), *at = where ? strstr(p, where) : p;
    state[0] = 0;
    if (at && (at = strstr(at, "\"state\":\""))) snprintf(state, sizeof state, "%.*s", (int)strcspn(at + 9, "\""), at + 9);
    return state;
}

static double figure(const char *name) {
    const char *p = strstr(hand_anomalies(&h), name);
    double v = NAN;
    if (!p || !tt_parse_number((tt_sv){p + strlen(name), strcspn(p + strlen(name), ",}]")}, &v)) return NAN;
    return v;
}

static int opened(void) {
    return hand_said(&h, "anomaly_opened", NULL);
}
static int cleared(void) {
    return hand_said(&h, "anomaly_cleared", NULL);
}

/* ---- when ---- */

static void between_when_and_clear_nothing_changes(void **state) {
    (void)state;
    start("  - {name: x, when: error_ratio > 5%, clear: error_ratio < 2%, for: 3s, clear_for: 4s}\n");
    hand_set(&h, "error_ratio", "service=s dc=a", 0.04);
    hand_run(&h, 20);
    assert_int_equal(opened(), 0);
    hand_set(&h, "error_ratio", "service=s dc=a", 0.06);
    hand_run(&h, 5);
    assert_string_equal(state_of(NULL), "open");
    hand_set(&h, "error_ratio", "service=s dc=a", 0.03);
    hand_run(&h, 60);
    assert_string_equal(state_of(NULL), "open");
    hand_set(&h, "error_ratio", "service=s dc=a", 0.01);
    hand_run(&h, 3);
    assert_string_equal(state_of(NULL), "clearing");
    hand_set(&h, "error_ratio", "service=s dc=a", 0.03); /* not over 5 %, and still: it is not over */
    hand_run(&h, 1);
    assert_string_equal(state_of(NULL), "open");
    hand_set(&h, "error_ratio", "service=s dc=a", 0.01);
    hand_run(&h, 3);
    hand_set(&h, "error_ratio", "service=s dc=a", NAN); /* silence is not health */
    hand_run(&h, 60);
    assert_string_equal(state_of(NULL), "clearing");
    hand_set(&h, "error_ratio", "service=s dc=a", 0.01);
    hand_run(&h, 3);
    assert_string_equal(state_of(NULL), "clearing");
    hand_run(&h, 1);
    assert_string_equal(state_of(NULL), "");
    assert_true(opened() == 1 && cleared() == 1);
    hand_close(&h);
}

static void looking_back(void **state) {
    (void)state;
    start("  - {name: x, when: 'change(error_ratio, 10s) > 5% and rate(rps, 10s) < 50', for: 2s}\n");
    hand_set(&h, "error_ratio", "service=s dc=a", 0.1);
    double counter = 1e6;
    for (int i = 0; i < 60; i++) {
        hand_set(&h, "rps", "service=s dc=a", counter += 10);
        hand_run(&h, 1);
    }
    assert_int_equal(opened(), 0); /* high, and no higher than ever */
    hand_set(&h, "error_ratio", "service=s dc=a", 0.16);
    for (int i = 0; i < 4; i++) {
        if (i == 1) counter = 0; /* a counter that begins again is no fall */
        hand_set(&h, "rps", "service=s dc=a", counter += 10);
        hand_run(&h, 1);
    }
    assert_int_equal(opened(), 1);
    const char *shown = hand_anomalies(&h);
    assert_non_null(strstr(shown, "\"kind\":\"when\""));
    assert_non_null(strstr(shown, "{\"signal\":\"error_ratio\",\"value\":0.16,\"quality\":\"ok\",\"age_ms\":1000,\"window_ms\":1000}"));
    assert_non_null(strstr(shown, "{\"signal\":\"change(error_ratio, 10s)\",\"value\":0.06"));
    assert_non_null(strstr(shown, "{\"signal\":\"rate(rps, 10s)\",\"value\":1"));
    for (int i = 0; i < 15; i++) {
        hand_set(&h, "rps", "service=s dc=a", counter += 10);
        hand_run(&h, 1);
    }
    assert_int_equal(cleared(), 1); /* ten seconds later it is the new normal */
    /* The source is away, and comes back higher: nobody knows what was ten seconds ago. */
    down = true;
    hand_run(&h, 60);
    down = false;
    hand_set(&h, "error_ratio", "service=s dc=a", 0.5);
    hand_run(&h, 7);
    assert_int_equal(opened(), 1);
    hand_close(&h);
}

static void a_sum_of_parts_looks_back_as_one(void **state) {
    (void)state;
    start("  - {name: x, when: 'error_ratio >= 0 and change(rps, 10s) >= 60'}\n");
    hand_set(&h, "error_ratio", "service=s dc=a", 0);
    hand_set(&h, "rps", "service=s dc=a priority=high", 100);
    hand_set(&h, "rps", "service=s dc=a priority=low", 100);
    hand_run(&h, 20);
    hand_set(&h, "rps", "service=s dc=a priority=high", 130);
    hand_set(&h, "rps", "service=s dc=a priority=low", 130);
    hand_run(&h, 1);
    assert_int_equal(opened(), 1);
    hand_run(&h, 20);
    /* A part that is new: what the sum was is not known. */
    hand_set(&h, "rps", "service=s dc=a priority=high", 170);
    hand_set(&h, "rps", "service=s dc=a priority=low", 170);
    hand_set(&h, "rps", "service=s dc=a priority=new", 1000);
    hand_run(&h, 5);
    assert_int_equal(opened(), 1);
    hand_close(&h);
}

/* ---- slo ---- */

static void a_budget_that_burns(void **state) {
    (void)state;
    start("  - {name: x, slo: {objective: 99.9%, errors: error_ratio, requests: rps}}\n");
    h.step_ns = TT_SECONDS(2);
    hand_set(&h, "error_ratio", "service=s dc=a", 0);
    hand_set(&h, "rps", "service=s dc=a", 50);
    hand_run(&h, 6 * 1800);
    hand_set(&h, "error_ratio", "service=s dc=a", 0.02);
    hand_run(&h, 20 * 30);
    assert_true(hand_restart(&h)); /* 20 minutes of it are not forgotten */
    hand_run(&h, 22 * 30);
    assert_int_equal(opened(), 0); /* 14.4 of 20 parts of an hour are 43 min 12 s */
    hand_run(&h, 2 * 30);
    assert_int_equal(opened(), 1);
    assert_true(hand_said(&h, "anomaly_opened", "error_ratio burns the error budget of 99.9%: over 1h 14.") == 1);
    assert_true(fabs(figure("\"long\":{\"span_ms\":3600000,\"error_ratio\":") - 0.0144) < 0.0004);
    assert_true(figure("\"bound\":") == 14.4 && figure("\"objective\":") == 0.999);
    assert_true(fabs(figure("\"short\":{\"span_ms\":300000,\"error_ratio\":") - 0.02) < 1e-6);
    down = true; /* what is in progress stays */
    hand_run(&h, 1800);
    assert_string_equal(state_of(NULL), "open");
    down = false;
    hand_set(&h, "error_ratio", "service=s dc=a", 0);
    hand_run(&h, 200);
    assert_string_equal(state_of(NULL), "");
    hand_close(&h);
}

/* ---- baseline ---- */

static uint32_t seed;
static double noise(void) { /* -1 to 1, near 0 more often */
    double sum = 0;
    for (int i = 0; i < 4; i++) {
        seed = seed * 1664525u + 1013904223u;
        sum += (double)(seed >> 8) / (1 << 24) * 2 - 1;
    }
    return sum / 4;
}

/* By day 180, by night 100. */
static double usual(const hand *x) {
    return 140 + 40 * sin((double)(x->elapsed_ns / 1000000 + x->asleep_ms) / 86400e3 * 6.283185307);
}

static void live(int minutes, double times) {
    for (int i = 0; i < minutes; i++) {
        hand_set(&h, "p99_ms", "service=s dc=a", usual(&h) * times * (1 + 0.1 * noise()));
        hand_run(&h, 1);
    }
}

static void what_is_usual_at_this_hour(void **state) {
    (void)state;
    seed = 7;
    start("  - {name: x, baseline: {signal: p99_ms, season: 1d, deviates: 4}, for: 2m, clear_for: 2m}\n");
    h.step_ns = TT_SECONDS(60);
    live(1440 * 3 - 50, 1);
    assert_int_equal(opened(), 0);
    live(30, 2); /* three seasons are not over for this hour: nobody knows */
    assert_int_equal(opened(), 0);
    live(1440 * 2 + 20, 1);
    assert_int_equal(opened(), 0);
    /* Twice the usual is one at any hour, though by night it is no more than what is usual by day. */
    live(18 * 60, 1);
    assert_true(usual(&h) < 101);
    live(5, 1.8);
    assert_int_equal(opened(), 1);
    assert_true(fabs(figure("\"median\":") - 100) < 8 && figure("\"n\":") == 5 && figure("\"deviation\":") > 4 && figure("\"slot_ms\":") == 3600000);
    assert_true(hand_said(&h, "anomaly_opened", "p99_ms is above what is usual for it: ") == 1);
    live(1440 * 5 + 400, 1.8); /* it is not learned, however long it lasts */
    assert_string_equal(state_of(NULL), "open");
    live(5, 1);
    assert_int_equal(cleared(), 1);
    live(1440, 1);
    assert_int_equal(opened(), 1);
    /* Down for five hours: the season goes on, so nothing is odd about the other hour that it is. */
    double then = usual(&h);
    assert_true(hand_restart(&h));
    h.asleep_ms += 5 * 3600 * 1000;
    assert_true(usual(&h) > then + 25);
    live(600, 1);
    assert_int_equal(opened(), 1);
    live(5, 2);
    assert_int_equal(opened(), 2);
    hand_close(&h);
}

/* ---- peers ---- */

static void one_against_the_others(void **state) {
    (void)state;
    static const char *const dcs[] = {"service=s dc=a", "service=s dc=b", "service=s dc=c", "service=s dc=d"};
    start("  - {name: x, peers: {signal: error_ratio, by: dc, at_least: 2%}, for: 2s, clear_for: 2s}\n");
    for (int i = 0; i < 4; i++) hand_set(&h, "error_ratio", dcs[i], 0.001 * i);
    hand_set(&h, "error_ratio", "service=t dc=a", 0.5); /* another service has no peers here */
    hand_run(&h, 20);
    assert_int_equal(opened(), 0);
    for (int i = 0; i < 4; i++) hand_set(&h, "error_ratio", dcs[i], 0.3 + 0.01 * i); /* the same fault everywhere is nobody's own */
    hand_run(&h, 20);
    assert_int_equal(opened(), 0);
    for (int i = 0; i < 4; i++) hand_set(&h, "error_ratio", dcs[i], 0.001 * i);
    hand_set(&h, "error_ratio", dcs[2], 0.05);
    hand_run(&h, 5);
    assert_int_equal(opened(), 1);
    assert_string_equal(state_of("\"dc\":\"c\""), "open");
    /* Of 0, 0.001 and 0.003 the median is 0.001 and the MAD 0.001. */
    assert_true(fabs(figure("\"median\":") - 0.001) < 1e-12 && fabs(figure("\"mad\":") - 0.001) < 1e-12 && figure("\"n\":") == 3);
    assert_true(fabs(figure("\"deviation\":") - 0.049 / (1.4826 * 0.001)) < 1e-6 && fabs(figure("\"threshold\":") - 0.02) < 1e-12);
    assert_true(hand_said(&h, "anomaly_opened", "error_ratio is above that of its peers by dc: 0.05") == 1);
    hand_set(&h, "error_ratio", dcs[2], 0.015); /* less than at_least, more than half of it: it stays */
    hand_run(&h, 20);
    assert_string_equal(state_of("\"dc\":\"c\""), "open");
    hand_set(&h, "error_ratio", dcs[0], NAN);
    hand_set(&h, "error_ratio", dcs[1], NAN); /* one peer is too few to say anything */
    hand_set(&h, "error_ratio", dcs[2], 0.001);
    hand_run(&h, 20);
    assert_string_equal(state_of("\"dc\":\"c\""), "open");
    hand_set(&h, "error_ratio", dcs[0], 0);
    hand_run(&h, 5);
    assert_int_equal(cleared(), 1);
    hand_set(&h, "error_ratio", "service=s dc=e", 0.4); /* one that came later */
    hand_run(&h, 5);
    assert_int_equal(opened(), 2);
    hand_close(&h);
    /* Two data centers: the difference alone. */
    start("  - {name: x, peers: {signal: error_ratio, by: dc, at_least: 2%, min_peers: 1, direction: both}}\n");
    hand_set(&h, "error_ratio", dcs[0], 0.01);
    hand_set(&h, "error_ratio", dcs[1], 0.025);
    hand_run(&h, 5);
    assert_int_equal(opened(), 0);
    hand_set(&h, "error_ratio", dcs[1], 0.035);
    hand_run(&h, 1);
    assert_int_equal(opened(), 2); /* each is off from the other, and `both` was asked for */
    hand_close(&h);
}

/* ---- absent ---- */

static void what_was_there_and_is_gone(void **state) {
    (void)state;
    start("  - {name: x, absent: {signal: beat, for: 10s, forget: 5m}, clear_for: 2s}\n");
    hand_run(&h, 5);
    hand_set(&h, "beat", "service=s dc=a", 1);
    hand_set(&h, "beat", "service=s dc=b", 1);
    hand_run(&h, 30);
    assert_int_equal(opened(), 0);
    down = true; /* a source that does not answer says nothing about what it watches */
    hand_run(&h, 60);
    down = false;
    hand_run(&h, 5);
    partial = 1; /* nor does half an answer */
    hand_set(&h, "beat", "service=s dc=b", NAN);
    hand_run(&h, 60);
    assert_int_equal(opened(), 0);
    partial = 0;
    hand_run(&h, 6);
    down = true; /* begun to be missing, and then nobody can tell any more */
    hand_run(&h, 60);
    down = false;
    hand_run(&h, 6);
    partial = 1;
    hand_run(&h, 60);
    assert_int_equal(opened(), 0);
    partial = 0;
    hand_run(&h, 9);
    assert_int_equal(opened(), 0);
    hand_run(&h, 3);
    assert_int_equal(opened(), 1);
    assert_string_equal(state_of("\"dc\":\"b\""), "open");
    assert_true(figure("\"absent_ms\":") >= 10000);
    assert_true(hand_restart(&h)); /* a restart takes nothing for dead that merely has not been told yet, and forgets nothing */
    hand_run(&h, 5);
    assert_string_equal(state_of("\"dc\":\"b\""), "open");
    assert_string_equal(state_of("\"dc\":\"a\""), "");
    hand_set(&h, "beat", "service=s dc=b", 1);
    hand_run(&h, 4);
    assert_int_equal(cleared(), 1);
    hand_set(&h, "beat", "service=s dc=b", NAN);
    hand_run(&h, 15);
    assert_int_equal(opened(), 2);
    hand_run(&h, 300); /* gone for good */
    assert_int_equal(cleared(), 2);
    assert_string_equal(state_of(NULL), "");
    hand_close(&h);
}

static void a_signal_without_any_series(void **state) {
    (void)state;
    start("  - {name: x, absent: {signal: beat}}\n  - {name: y, absent: {signal: beat_told, for: 5s}}\n"
          "plans:\n  - {name: p, on: {anomaly: x}, target: {service: s, dc: a}, keep: [error_ratio < 1%], steps: [limit: {}]}\n");
    hand_set(&h, "beat_told", "service=s dc=a", 1);
    hand_run(&h, 50);
    assert_int_equal(opened(), 0);
    hand_run(&h, 15);
    assert_int_equal(opened(), 1);
    assert_int_equal(hand_said(&h, "loop_opened", NULL), 1); /* a plan that names its target can answer it */
    hand_set(&h, "beat", "service=s dc=c", 1);
    hand_run(&h, 65);
    assert_int_equal(cleared(), 1);
    /* What the mesh reports itself comes from nowhere else: too old is absent. */
    hand_set(&h, "beat_told", "service=s dc=a", NAN);
    hand_run(&h, 20);
    assert_string_equal(state_of("\"name\":\"y\""), "open");
    hand_close(&h);
}

/* ---- alerts ---- */

static tt_alert alert;
static bool send;

static void alerts(hand *x, tt_observations *obs) {
    (void)x;
    if (!send) return;
    send = false;
    obs->alerts = &alert;
    obs->n_alerts = 1;
}

static void tell(const char *key, const char *name, const char *cluster, const char *severity, bool firing) {
    alert = (tt_alert){.name = tt_sv_of(name), .n_labels = 3, .firing = firing};
    snprintf(alert.key, sizeof alert.key, "%s", key);
    alert.labels[0] = (tt_label){TT_SV("alertname"), tt_sv_of(name)};
    alert.labels[1] = (tt_label){TT_SV("cluster"), tt_sv_of(cluster)};
    alert.labels[2] = (tt_label){TT_SV("severity"), tt_sv_of(severity)};
    send = true;
    hand_run(&h, 1);
}

static void alerts_by_their_labels(void **state) {
    (void)state;
    start(
        "  - {name: x, alert: {name: '/^(?<svc>.+)Errors$/', labels: {cluster: '/^prod-(?<dc>.)$/', severity: page}, expires: 100s}, clear_for: 3s}\n"
        "  - {name: slow, alert: {name: Slow}, for: 5s}\n"
        "  - {name: wild, alert: {name: '/^(x\\x79z|x\\x79zx\\x79z)*$/'}}\n"
        "plans:\n  - {name: p, on: {anomaly: x, labels: {severity: page}}, target: {service: $svc, dc: $dc}, keep: [error_ratio < 1%], steps: "
        "[limit: {}]}\n");
    h.more = alerts;
    tell("1", "sErrors", "prod-b", "ticket", true);
    tell("2", "sErrors", "test-b", "page", true);
    tell("3", "sLatency", "prod-b", "page", true);
    assert_int_equal(opened(), 0);
    tell("4", "sErrors", "prod-b", "page", true);
    assert_int_equal(opened(), 1);
    assert_non_null(strstr(hand_anomalies(&h), "\"dc\":\"b\""));
    assert_int_equal(hand_said(&h, "loop_opened p s/b", NULL), 1); /* its patterns made the target */
    tell("4", "sErrors", "prod-b", "page", true);
    assert_int_equal(opened(), 1);
    assert_true(hand_restart(&h));
    hand_run(&h, 1);
    assert_string_equal(state_of("\"name\":\"x\""), "open"); /* it will not be sent again */
    tell("4", "sErrors", "prod-b", "page", false);
    assert_string_equal(state_of("\"name\":\"x\""), "clearing");
    tell("4", "sErrors", "prod-b", "page", true); /* it flaps */
    assert_string_equal(state_of("\"name\":\"x\""), "open");
    tell("4", "sErrors", "prod-b", "page", false);
    hand_run(&h, 3);
    assert_int_equal(cleared(), 1);
    /* Its end was never told: it counts for as long as it is sent again. */
    tell("7", "sErrors", "prod-a", "page", true);
    hand_run(&h, 80);
    tell("7", "sErrors", "prod-a", "page", true);
    assert_true(hand_restart(&h));
    hand_run(&h, 80);
    assert_string_equal(state_of("\"name\":\"x\""), "open");
    hand_run(&h, 20);
    assert_int_equal(hand_said(&h, "anomaly_cleared", "x is over: the alert has not been sent again for 1m40s"), 1);
    hand_hush(&h);
    /* for */
    tell("5", "Slow", "prod-b", "page", true);
    hand_run(&h, 2);
    tell("5", "Slow", "prod-b", "page", false);
    hand_run(&h, 9);
    assert_int_equal(opened(), 0);
    tell("5", "Slow", "prod-b", "page", true);
    hand_run(&h, 6);
    assert_int_equal(opened(), 1);
    /* A pattern that runs away is no match, and says so. */
    tell("6", "xyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyz!", "prod-b", "page",
         true);
    assert_int_equal(opened(), 1);
    assert_int_equal(hand_said(&h, "limit_reached", "anomaly wild: pattern /^(x\\x79z|x\\x79zx\\x79z)*$/ ran away on alertname="), 1);
    hand_close(&h);
}

static void hands_off_outlasts_a_restart(void **state) {
    (void)state;
    start("  - {name: x, when: error_ratio > 5%}\n"
          "plans:\n  - {name: p, on: {anomaly: x}, mode: auto, target: {service: s, dc: a}, keep: [error_ratio < 1%], steps: [limit: {}]}\n");
    h.rules->guardrails.lock_out_for_ns = TT_SECONDS(5);
    hand_set(&h, "error_ratio", "service=s dc=a", 0.5);
    hand_run(&h, 5);
    assert_int_equal(hand_said(&h, "loop_opened", NULL), 1);
    hand_abort(&h);
    hand_run(&h, 30);
    assert_true(hand_restart(&h));
    hand_run(&h, 60); /* the anomaly is the same one, and a person said no */
    assert_int_equal(hand_said(&h, "loop_opened", NULL), 1);
    hand_close(&h);
}

/* ---- nothing is wrong ---- */

/* Ten days of a service with its seasons, noise, holes, late scrapes and restarts, watched in every way there is. */
static void ten_days(uint32_t with_seed) {
    static const char *const dcs[] = {"service=s dc=a", "service=s dc=b", "service=s dc=c", "service=s dc=d"};
    start("  - {name: over, when: error_ratio > 5%, clear: error_ratio < 2%, for: 2m}\n"
          "  - {name: jump, when: 'change(p99_ms, 10m) > 100', for: 2m}\n"
          "  - {name: fell, when: 'p99_ms >= 0 and rate(rps, 10m) < 1', for: 2m}\n"
          "  - {name: mean, when: 'mean(error_ratio, 10m) > 2%', for: 2m}\n"
          "  - {name: burn, slo: {objective: 99%, errors: error_ratio}}\n"
          "  - {name: odd, baseline: {signal: p99_ms, season: 1d}, for: 3m}\n"
          "  - {name: odd-lately, baseline: {signal: p99_ms, history: 8h, deviates: 10}, for: 3m}\n"
          "  - {name: gray, peers: {signal: error_ratio, by: dc, at_least: 2%}, for: 2m}\n"
          "  - {name: gone, absent: {signal: beat, for: 5m}}\n");
    h.step_ns = TT_SECONDS(60);
    seed = with_seed;
    double counter[4] = {0};
    uint32_t holes = 0;
    for (int minute = 0; minute < 10 * 1440; minute++) {
        double day = usual(&h);
        for (int i = 0; i < 4; i++) {
            seed = seed * 1664525u + 1013904223u;
            bool hole = seed >> 8 < (1u << 24) / 20, restart = seed >> 8 > (1u << 24) - (1u << 24) / 500;
            holes += hole;
            counter[i] = restart ? 0 : counter[i] + 60 * day * (1 + 0.2 * noise());
            hand_set(&h, "error_ratio", dcs[i], hole ? NAN : fmax(0, 0.004 + 0.004 * noise()));
            hand_set(&h, "p99_ms", dcs[i], hole ? NAN : day * (1 + 0.15 * noise()));
            hand_set(&h, "rps", dcs[i], hole ? NAN : counter[i]);
            hand_set(&h, "beat", dcs[i], hole ? NAN : 1);
        }
        down = minute % 2000 > 1900 && minute % 2000 < 1920;
        if (minute % 3000 == 2999) assert_true(hand_restart(&h));
        hand_run(&h, 1);
    }
    assert_true(holes > 1000);
    if (opened()) fail_msg("seed %u: %s", with_seed, h.said);
    hand_close(&h);
}

static void ten_days_without_an_alarm(void **state) {
    (void)state;
    const char *more = getenv("TT_SEEDS");
    for (uint32_t k = 1; k <= (more ? (uint32_t)atoi(more) : 4u); k++) ten_days(k * 2654435761u);
}

/* A document that is no state, and one from rules that were others. */
static void other_memories(void **state) {
    (void)state;
    start("  - {name: x, when: 'change(error_ratio, 10s) > 5%'}\n  - {name: y, slo: {objective: 99%, errors: error_ratio}}\n");
    hand_set(&h, "error_ratio", "service=s dc=a", 0.5);
    hand_run(&h, 30);
    char text[4096];
    snprintf(text, sizeof text, "%s%s", SIGNALS,
             "  - {name: x, when: 'change(error_ratio, 20s) > 5%'}\n  - {name: y, slo: {objective: 99.9%, errors: error_ratio}}\n");
    assert_true(hand_reload(&h, text));
    hand_run(&h, 10);
    assert_true(hand_restart(&h));
    hand_run(&h, 10);
    /* The new rules' own past is kept over the restart: after 20 s it looks back 20 s. */
    hand_set(&h, "error_ratio", "service=s dc=a", 0.6);
    hand_run(&h, 4);
    assert_string_equal(state_of("\"name\":\"x\""), "open");
    hand_close(&h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(between_when_and_clear_nothing_changes),
        cmocka_unit_test(looking_back),
        cmocka_unit_test(a_sum_of_parts_looks_back_as_one),
        cmocka_unit_test(a_budget_that_burns),
        cmocka_unit_test(what_is_usual_at_this_hour),
        cmocka_unit_test(one_against_the_others),
        cmocka_unit_test(what_was_there_and_is_gone),
        cmocka_unit_test(a_signal_without_any_series),
        cmocka_unit_test(alerts_by_their_labels),
        cmocka_unit_test(hands_off_outlasts_a_restart),
        cmocka_unit_test(ten_days_without_an_alarm),
        cmocka_unit_test(other_memories),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
