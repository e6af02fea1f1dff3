/* Anomalies: what each kind becomes, its defaults, and what is wrong with it. */
#include "check.h"

#include <math.h>

#define WHEN "when: error_ratio > 5% and offered_rps > 50"
#define ALERT "{name: /HighErrorRate|LatencySLO/}"

static void kinds(void **state) {
    (void)state;
    static const row rows[] = {
        {WHEN, WHEN "\n    slo: @{objective: 99.9%, errors: error_ratio}", "an anomaly has when or slo, not both"},
        {WHEN, "slo: {objective: 99.9%, errors: error_ratio}\n    clear: @error_ratio < 1%", "clear is for when: slo says itself when it is over"},
        {"    alert: " ALERT, "    alert: " ALERT "\n    clear: @error_ratio < 1%", "clear is for when: alert says itself"},
        {"  - name: paged\n    alert: " ALERT "\n", "  - @name: paged\n",
         "an anomaly needs when: error_ratio > 5%, or one of alert, slo, baseline, peers, absent"},
        {WHEN, "@sllo: {}\n    " WHEN, "unknown key \"sllo\" in an anomaly: did you mean \"slo\"?"},
    };
    run(rows, TT_COUNT(rows));
}

static void past(void **state) {
    (void)state;
    static const row rows[] = {
        {WHEN, "when: change(error_ratio, 10s) > 5%", ""},
        {WHEN, "when: rate(offered_rps, 1m) > 5 and mean(error_ratio, 24h) > 1%", ""},
        {WHEN, "when: @change(error_ratio, 9s) > 5%", "change looks back 9s and error_ratio comes every 5s: write at least 10s"},
        {WHEN, "when: change(error_ratio, @500ms) > 5%", "\"500ms\" is out of range: change looks back 1s to 24h"},
        {WHEN, "when: change(error_ratio, @25h) > 5%", "out of range"},
        {WHEN, "when: change(error_ratio, @5%) > 5%", "how far change looks back is missing here: write a span such as 30s"},
        {WHEN, "when: change(error_ratio, @30) > 5%", "how far change looks back"},
        {WHEN, "when: change(error_ratio@) > 5%", "a \",\" and a span are missing here: write change(signal, 1m)"},
        {WHEN, "when: change(@5%, 1m) > 5%", "change looks at one signal"},
        {WHEN, "when: change(error_ratio, 1m @> 5%", "a \")\" is missing here"},
        {WHEN, "when: change(@eror_ratio, 1m) > 5%", "signal \"eror_ratio\" is not declared: did you mean \"error_ratio\"?"},
        {WHEN, "when: @delta(error_ratio, 1m) > 5%", "\"delta\" is no function: change(x, 30s), rate(x, 1m) and mean(x, 1m) are"},
        {WHEN, "when: error_ratio @, 5%", "\",\" after a whole expression"},
        {WHEN, "when: @rate(offered_rps, 1m) < 0", "can never hold"},
        {WHEN, "when: @change(error_ratio, 1m) > 1", "can never hold"},
        {WHEN, "when: @mean(error_ratio, 1m) <= 1", "always holds"},
        {WHEN, "when: change(offered_rps, 1m) < 0", ""},
    };
    run(rows, TT_COUNT(rows));
}

static void slo(void **state) {
    (void)state;
    static const row rows[] = {
        {WHEN, "slo: {objective: 99.9%, errors: error_ratio, requests: offered_rps}", ""},
        {WHEN, "slo: @text", "slo is a map, not \"text\""},
        {WHEN, "slo: @{errors: error_ratio}", "slo needs its objective"},
        {WHEN, "slo: @{objective: 99.9%}", "slo needs errors"},
        {WHEN, "slo: {objective: @100%, errors: error_ratio}", "leaves no errors to be spent"},
        {WHEN, "slo: {objective: @0.1%, errors: error_ratio}", "met by a service that mostly fails"},
        {WHEN, "slo: {objective: @99.9, errors: error_ratio}", "a percentage needs its % sign"},
        {WHEN, "slo: {objective: 99.9%, errors: @errors_ratio}", "did you mean \"error_ratio\"?"},
        {WHEN, "slo: {objective: 99.9%, errors: error_ratio, requests: @zebra}", "\"zebra\" is not declared: give it under `signals`"},
        {WHEN, "slo: {objective: 99.9%, errors: error_ratio, windows: @[]}", "slo.windows is empty"},
        {WHEN, "slo: {objective: 99.9%, errors: error_ratio, windows: [{long: 1h, burn: 2}]}", ""},
        {WHEN, "slo: {objective: 99.9%, errors: error_ratio, windows: [@{long: 1h}]}", "a window needs burn"},
        {WHEN, "slo: {objective: 99.9%, errors: error_ratio, windows: [@{burn: 2}]}", "a window needs long"},
        {WHEN, "slo: {objective: 99.9%, errors: error_ratio, windows: [{burn: 2, long: 1h, short: @1h}]}", "is not shorter than long"},
        {WHEN, "slo: {objective: 99.9%, errors: error_ratio, windows: [{burn: @0, long: 1h}]}", "out of range: write 0.1 to 1000"},
        {WHEN, "slo: {objective: 99.9%, errors: error_ratio, windows: @[{burn: 2, long: 1m}]}",
         "room for less than two samples of error_ratio, which comes every 5s"},
        {WHEN, "slo: {objective: 90%, errors: error_ratio, windows: [{burn: @14.4, long: 1h}]}",
         "burn 14.4 can never hold: at an objective of 90% all requests failing burn 10 times"},
    };
    run(rows, TT_COUNT(rows));
}

static void deviations(void **state) {
    (void)state;
    static const row rows[] = {
        {WHEN, "baseline: {signal: p99_ms, season: 1d, deviates: 4}", ""},
        {WHEN, "baseline: {signal: p99_ms}", ""},
        {WHEN, "baseline: {signal: p99_ms, season: 7d, history: 28d, learn: 14d, deviates: 3, clears: 1, at_least: 50ms, direction: both}", ""},
        {WHEN, "baseline: @{season: 1d}", "baseline needs the signal it watches"},
        {WHEN, "baseline: {signal: @p99_m, season: 1d}", "did you mean \"p99_ms\"?"},
        {WHEN, "baseline: {signal: p99_ms, season: @5m}", "out of range: write 10m to 28d"},
        {WHEN, "baseline: {signal: p99_ms, season: 1d, history: @1d}", "is 1 seasons: write 2 to 32 times the season"},
        {WHEN, "baseline: {signal: p99_ms, season: 1d, learn: @8d}", "learn is longer than history"},
        {WHEN, "baseline: {signal: error_ratio, season: @10m}",
         "too short for a signal that comes every 5s: each of its 24 parts needs 8 samples, write at least 16m"},
        {WHEN, "baseline: {signal: error_ratio, history: @15m}", "write at least 20m"},
        {WHEN, "baseline: {signal: p99_ms, deviates: @0}", "out of range: write 1 to 1000"},
        {WHEN, "baseline: {signal: p99_ms, deviates: @.nan}", "is not a number"},
        {WHEN, "baseline: {signal: p99_ms, deviates: @.inf}", "is not a number"},
        {WHEN, "baseline: {signal: p99_ms, deviates: @1e999}", "is not a number"},
        {WHEN, "baseline: {signal: p99_ms, clears: @5}", "more than deviates: it would be over while it lasts"},
        {WHEN, "baseline: {signal: p99_ms, at_least: @lots}", "is no amount"},
        {WHEN, "baseline: {signal: p99_ms, at_least: @-5ms}", "is no amount"},
        {WHEN, "baseline: {signal: p99_ms, direction: @up}", "write one of above, below, both"},
        {WHEN, "peers: {signal: error_ratio, by: dc, deviates: 4, at_least: 2%}", ""},
        {WHEN, "peers: @{signal: error_ratio}", "peers needs by"},
        {WHEN, "peers: {signal: error_ratio, by: @d-c}", "is not the name of a label"},
        {WHEN, "peers: {signal: error_ratio, by: dc, min_peers: @1}", "say with at_least how much counts"},
        {WHEN, "peers: {signal: error_ratio, by: dc, min_peers: 1, at_least: 2%}", ""},
        {WHEN, "peers: {signal: error_ratio, by: dc, min_peers: @0}", "out of range: write 1 to 10000"},
    };
    run(rows, TT_COUNT(rows));
}

static void absences(void **state) {
    (void)state;
    static const row rows[] = {
        {WHEN "\n    for: 10s\n", "absent: {signal: error_ratio, for: 2m}\n", ""},
        {WHEN "\n    for: 10s\n", "absent: {signal: error_ratio}\n    for: 2m\n", ""},
        {WHEN "\n    for: 10s\n", "absent: {signal: error_ratio, for: 2m}\n    for: @1m\n", "for stands twice, in absent too"},
        {WHEN "\n    for: 10s\n", "absent: @{for: 2m}\n", "absent needs the signal that should be there"},
        {WHEN "\n    for: 10s\n", "absent: {signal: @heartbeat}\n", "\"heartbeat\" is not declared"},
        {WHEN "\n    for: 10s\n", "absent: {signal: error_ratio, forget: @8d}\n", "out of range: write 1m to 7d"},
    };
    run(rows, TT_COUNT(rows));
}

static void alerts(void **state) {
    (void)state;
    static const row rows[] = {
        {ALERT, "{labels: {severity: page}}", ""},
        {ALERT, "{name: '/^(?<what>.+)$/', labels: {service: '/^(?<svc>.+)$/', cluster: '/^prod-(?<dc>.+)$/', severity: page}}", ""},
        {ALERT, "{labels: {severity: page}, expires: @10s}", "out of range: write 1m to 30d"},
        {ALERT, "{labels: @text}", "alert.labels is a map"},
        {ALERT, "{labels: {@a-b: x}}", "is not the name of a label"},
        {ALERT, "{labels: {a: '/(@/'}}", "missing closing parenthesis"},
        {ALERT, "{labels: {a: '/(?<x>.)/', b: '/@(?<x>.)/'}}", "the named group \"x\" is made twice in this alert"},
        {ALERT, "{labels: {a: 1, b: 2, c: 3, d: 4, e: 5, f: 6, g: 7, h: 8, @i: 9}}", "alert.labels compares 9 labels, at most 8"},
    };
    run(rows, TT_COUNT(rows));
    /* What the alert's patterns make is a variable of the plans that answer it. */
    char *text = replaced(good_text, ALERT, "{labels: {cluster: '/^prod-(?<where>.+)$/'}}"),
         *plan = replaced(text, "checkout, dc: dc-a}\n    keep: [error_ratio <= 1%]", "checkout, dc: $where}\n    keep: [error_ratio <= 1%]");
    expect("a variable of the alert", plan, "");
    free(plan);
    plan = replaced(text, "checkout, dc: dc-a}\n    keep: [error_ratio <= 1%]", "checkout, dc: @$wher}\n    keep: [error_ratio <= 1%]");
    expect("a slip in it", plan, "no variable \"$wher\" in this plan: did you mean \"$where\"?");
    free(plan), free(text);
}

static void hysteresis(void **state) {
    (void)state;
    static const row rows[] = {
        {WHEN, WHEN "\n    clear: error_ratio < 2%", ""},
        {WHEN, "when: error_ratio > 5% or offered_rps > 500\n    clear: error_ratio < 2% and offered_rps < 400", ""},
        {WHEN, WHEN "\n    clear: @error_ratio < 8%", "clear \"error_ratio < 8%\" can hold while when does"},
        {WHEN, "when: error_ratio > 5% or offered_rps > 500\n    clear: @error_ratio < 2%", "can hold while when does"},
        {WHEN, WHEN "\n    clear: @error_ratio < 0", "can never hold, so it would never be over"},
        {WHEN, WHEN "\n    clear: @error_ratio >= 0", "always holds"},
        {WHEN, WHEN "\n    clear: error_ratio < @zebra", "is not declared"},
        {WHEN, WHEN "\n    clear: error_ratio / offered_rps < 1", ""}, /* nobody can tell */
    };
    run(rows, TT_COUNT(rows));
}

static const tt_anomaly_def *first_of(loaded *l, const char *with) {
    char *text = replaced(good_text, WHEN "\n    for: 10s\n", with);
    load_text(l, text);
    print_errs(l);
    free(text);
    assert_non_null(l->rules);
    return &l->rules->anomalies[0];
}

static void what_they_become(void **state) {
    (void)state;
    loaded l;
    const tt_anomaly_def *a = first_of(&l, "slo: {objective: 99.9%, errors: error_ratio}\n");
    assert_true(a->kind == TT_ANOMALY_SLO && a->slo.objective == 0.999 && a->slo.requests == -1 && a->slo.n_burns == 2 && a->signal == 0);
    assert_true(a->slo.burns[0].rate == 14.4 && a->slo.burns[0].long_ns == TT_SECONDS(3600) && a->slo.burns[0].short_ns == TT_SECONDS(300));
    assert_true(a->slo.burns[1].rate == 6 && a->slo.burns[1].long_ns == TT_SECONDS(6 * 3600) && a->slo.burns[1].short_ns == TT_SECONDS(1800));
    assert_true(l.rules->n_tracks == 1 && l.rules->signals[0].memory == l.rules->tracks[0].bytes && l.rules->signals[1].memory == 0);
    assert_true(tt_sv_eq(tt_anomaly_text(a), TT_SV("error_ratio burns the error budget of 99.9%")));
    unload(&l);

    a = first_of(&l, "baseline: {signal: p99_ms, season: 1d}\n");
    assert_true(a->kind == TT_ANOMALY_BASELINE && a->signal == 2 && a->deviates.deviates == 4 && a->deviates.clears == 2 &&
                isnan(a->deviates.at_least));
    assert_true(a->baseline.slots == 24 && a->baseline.slot_ns == TT_SECONDS(3600) && a->baseline.depth == 7 && a->baseline.needs == 3);
    unload(&l);
    a = first_of(&l, "baseline: {signal: error_ratio}\n");
    assert_true(a->baseline.slots == 1 && a->baseline.slot_ns == TT_SECONDS(120) && a->baseline.depth == 30 && a->baseline.needs == 8 &&
                a->deviates.at_least == 0.01);
    unload(&l);
    a = first_of(&l, "baseline: {signal: p99_ms, season: 7d}\n");
    assert_true(a->baseline.slots == 168 && a->baseline.slot_ns == TT_SECONDS(3600) && a->baseline.depth == 7);
    unload(&l);

    a = first_of(&l, "peers: {signal: error_ratio, by: dc, at_least: 2%, direction: both}\n");
    assert_true(a->kind == TT_ANOMALY_PEERS && tt_sv_eq(a->by, TT_SV("dc")) && a->min_peers == 2 && a->deviates.at_least == 0.02 &&
                a->deviates.direction == TT_BOTH);
    assert_true(l.rules->n_tracks == 0);
    unload(&l);

    a = first_of(&l, "absent: {signal: error_ratio}\n");
    assert_true(a->kind == TT_ANOMALY_ABSENT && a->for_ns == TT_SECONDS(60) && a->clear_ns == TT_SECONDS(60) && a->forget_ns == TT_SECONDS(3600));
    assert_true(l.rules->signals[0].forget_ns == TT_SECONDS(3600) && l.rules->signals[1].forget_ns == TT_SECONDS(900));
    unload(&l);

    /* The same past is remembered once, whoever asks for it. */
    a = first_of(&l, "when: change(error_ratio, 30s) > 1% or rate(error_ratio, 30s) > 1 or change(error_ratio, 30s) > mean(p99_ms, 1m)\n");
    assert_true(l.rules->n_tracks == 3 && a->signal == 0);
    const tt_signal_def *s = &l.rules->signals[0];
    const tt_track_def *t = &l.rules->tracks[s->first_track];
    assert_true(t->kind == TT_TRACK_CHANGE && t->span_ns == TT_SECONDS(30) && l.rules->tracks[t->next].kind == TT_TRACK_RATE &&
                l.rules->tracks[t->next].next == TT_TRACKS_MAX);
    unload(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds),    cmocka_unit_test(past),   cmocka_unit_test(slo),        cmocka_unit_test(deviations),
        cmocka_unit_test(absences), cmocka_unit_test(alerts), cmocka_unit_test(hysteresis), cmocka_unit_test(what_they_become)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
