/* Rehearsals: the oracle is a bound, the scores are what they say, and the same seed gives the same run. */
#include "common.h"

static tt_rehearsal rehearse(const tt_incident *i, tt_control control, const tt_rules *rules, uint64_t seed, bool inner_loop) {
    tt_rehearsal r;
    tt_err err = {0};
    tt_rehearsal_spec spec = {.incident = i, .control = control, .rules = rules, .seed = seed, .inner_loop = inner_loop};
    if (!tt_rehearse(&spec, &r, &err)) fail_msg("%s", err.text);
    return r;
}

static void nobody_beats_the_oracle(void **state) {
    (void)state;
    tt_incident *all[128];
    size_t n = suite_incidents(all, 128);
    for (size_t k = 0; k < n; k++)
        for (uint64_t seed = 11; seed < 12; seed++) {
            tt_rehearsal best = rehearse(all[k], TT_CONTROL_ORACLE, NULL, seed, false),
                         none = rehearse(all[k], TT_CONTROL_NOTHING, NULL, seed, false);
            for (int inner = 0; inner < 2; inner++) {
                tt_rehearsal r =
                    inner ? rehearse(all[k], TT_CONTROL_NOTHING, NULL, seed, true) : rehearse(all[k], TT_CONTROL_ORACLE, NULL, seed, true);
                tt_score s;
                tt_rehearsal_score(&r, &best, &none, &s);
                if (s.lost_ratio < -0.005)
                    fail_msg("%s seed %llu, %d: %.2f %% better than the oracle", tt_incident_name(all[k]), (unsigned long long)seed, inner,
                             -100 * s.lost_ratio);
                tt_rehearsal_free(&r);
            }
            tt_score s;
            tt_rehearsal_score(&none, &best, &none, &s);
            if (tt_incident_false_alarm(all[k]) ? s.lost_ratio > 0.001 : s.lost_ratio < -0.005)
                fail_msg("%s seed %llu: doing nothing loses %.2f %%", tt_incident_name(all[k]), (unsigned long long)seed, 100 * s.lost_ratio);
            /* The oracle itself takes nothing from the highest priority that it could give. */
            double wanted = 0, got = 0;
            for (uint32_t t = 0; t < best.n_seconds; t++) wanted += best.second[t].wanted, got += best.second[t].good;
            if (got < 0.75 * wanted || got > 1.001 * wanted) fail_msg("%s: the oracle serves %.1f %%", tt_incident_name(all[k]), 100 * got / wanted);
            tt_rehearsal_free(&best);
            tt_rehearsal_free(&none);
        }
    for (size_t k = 0; k < n; k++) tt_incident_free(all[k]);
}

/* ---- scores, by hand ---- */

enum { LONG = 200 };

static tt_rehearsal made(tt_rehearsal_second s[LONG], float good, float good_from_50) {
    for (int t = 0; t < LONG; t++) {
        float g = t < 50 ? good : good_from_50;
        s[t] = (tt_rehearsal_second){.wanted = 100, .good = g, .wanted_high = 25, .good_high = g / 4, .admitted = 100};
    }
    return (tt_rehearsal){.second = s, .n_seconds = LONG};
}

static void scores_are_what_they_say(void **state) {
    (void)state;
    tt_rehearsal_second b[LONG], n[LONG], m[LONG];
    tt_rehearsal best = made(b, 100, 100), none = made(n, 100, 20), mine = made(m, 100, 100);
    for (int t = 50; t < 80; t++) m[t].good = 40, m[t].good_high = 10;
    for (int t = 80; t < 100; t++) m[t].good = 87, m[t].good_high = 24; /* mitigated, not settled: that is 88 % */
    m[90].needless = 50;
    tt_score s;
    tt_rehearsal_score(&mine, &best, &none, &s);
    double lost = 30 * 60 + 20 * 13;
    assert_true(fabs(s.lost_ratio - lost / (100.0 * LONG)) < 1e-6);
    assert_true(fabs(s.oracle_share - (1 - lost / (150 * 80))) < 1e-6);
    assert_true(fabs(s.normalized_loss_num - lost) < 1e-3 && fabs(s.normalized_loss_den - 150 * 80) < 1e-3);
    assert_true(s.time_to_mitigate_s == 30);
    assert_true(s.time_to_settle_s == 50);
    assert_true(fabs(s.needless_drop_ratio - 50.0 / (100 * LONG)) < 1e-9);
    assert_true(fabs(s.high_priority_loss_ratio - (30 * 15 + 20 * 1) / (25.0 * LONG)) < 1e-6);
    assert_false(s.worse_than_nothing);
    /* Admitted requests that fail are a breach, however much is served. */
    m[150].failed = 6;
    tt_rehearsal_score(&mine, &best, &none, &s);
    assert_true(s.time_to_mitigate_s == 30);
    for (int t = 50; t < LONG; t++) m[t].failed = 6;
    tt_rehearsal_score(&mine, &best, &none, &s);
    assert_true(isnan(s.time_to_mitigate_s) && isnan(s.time_to_settle_s));
    /* Worse than nothing, and where nothing is lost there is nothing to win. */
    tt_rehearsal well = made(n, 100, 100);
    mine = made(m, 98, 98);
    tt_rehearsal_score(&mine, &best, &well, &s);
    assert_true(s.worse_than_nothing && isnan(s.oracle_share) && fabs(s.harm_ratio - 0.02) < 1e-6 && s.time_to_mitigate_s == 0);
}

/* ---- the engine in it ---- */

static const char plans[] = "signals:\n"
                            "  - {name: offered_rps, query: 'o[10s]', every: 5s, max_age: 20s}\n"
                            "  - {name: ok_rps, query: 'k[10s]', every: 5s, max_age: 20s}\n"
                            "  - {name: dropped_rps, query: 'd[10s]', every: 5s, max_age: 20s}\n"
                            "  - {name: utilization, query: 'u[10s]', every: 5s, max_age: 20s}\n"
                            "  - {name: error_ratio, query: 'e[10s]', every: 5s, max_age: 20s}\n"
                            "anomalies:\n"
                            "  - {name: failing, when: error_ratio > 5% and offered_rps > 5, for: 2s}\n"
                            "plans:\n"
                            "  - name: cap\n"
                            "    on: {anomaly: failing, labels: {service: api, dc: /^(?<dc>.+)$/}}\n"
                            "    mode: auto\n"
                            "    target: {service: api, dc: $dc}\n"
                            "    keep: [error_ratio <= 2%]\n"
                            "    steps:\n"
                            "      - limit: {keep: [critical, normal, batch], armed: false}\n"
                            "    settle: {hold: 10s, within: 5m}\n"
                            "    recover: {after: 30s, step: 25%, every: 10s}\n"
                            "guardrails: {max_concurrent_loops: 8, most_targets_bad: {share: 100%, at_least: 100, then: freeze}}\n";

static tt_rules *rules_with(const tt_incident *i, const tt_matcher *matcher, const char *more) {
    tt_arena *arena = tt_arena_new();
    tt_buf services;
    tt_err err;
    size_t n;
    tt_buf_init(&services, 1 << 16);
    if (i) tt_incident_services(i, false, &services);
    const tt_doc *docs[2] = {tt_yaml_parse(arena, "plans", tt_sv_of(more), NULL, &err),
                             i ? tt_yaml_parse(arena, "services", (tt_sv){services.p, services.n}, NULL, &err) : NULL};
    tt_rules *r = tt_rules_load(docs, i ? 2 : 1, matcher, &err, 1, &n);
    if (!r) fail_msg("%u:%u: %s", err.line, err.column, err.text);
    tt_buf_free(&services);
    tt_arena_free(arena);
    return r;
}

typedef struct {
    uint32_t ticks;
    bool seen_action;
} watched;

static void look(void *ctx, const tt_rehearsal_tick *t) {
    watched *w = ctx;
    w->ticks++;
    assert_non_null(t->outcome);
    for (size_t i = 0; i < t->outcome->n_events; i++) w->seen_action |= strcmp(t->outcome->events[i].kind, "action") == 0;
}

static void the_engine_is_rehearsed(void **state) {
    (void)state;
    tt_matcher *matcher = tt_pcre_matcher_new();
    tt_incident *i = incident_or_fail(
        "x.yaml", "name: x\nmonitoring: {scrape: 5s, window: 20s, tick: 5s}\nfaults: [{kind: demand, amount: 1.8, at: 150s, for: 300s}]\n");
    tt_rules *rules = rules_with(i, matcher, plans);
    watched w = {0};
    tt_rehearsal_spec spec = {.incident = i, .control = TT_CONTROL_ENGINE, .rules = rules, .seed = 5, .watch = look, .ctx = &w};
    tt_rehearsal a, b = rehearse(i, TT_CONTROL_ENGINE, rules, 5, false), best = rehearse(i, TT_CONTROL_ORACLE, NULL, 5, false),
                    none = rehearse(i, TT_CONTROL_NOTHING, NULL, 5, false);
    tt_err err;
    assert_true(tt_rehearse(&spec, &a, &err));
    assert_int_equal(w.ticks, 180);
    assert_true(w.seen_action);
    assert_int_equal(a.n_seconds, 900);
    assert_memory_equal(a.second, b.second, a.n_seconds * sizeof a.second[0]); /* the same bytes */
    assert_true(a.n_actions > 0 && a.n_loops > 0 && a.n_pushes >= 3);
    if (a.n_violations) fail_msg("%s", a.violation);
    tt_score s;
    tt_rehearsal_score(&a, &best, &none, &s);
    if (!(s.oracle_share > 0.3)) fail_msg("the engine gets %.2f of what there is", s.oracle_share);
    /* Rules of another mesh. */
    tt_rules *foreign = rules_with(NULL, matcher, "services: [{name: other, dcs: [dc-a]}]\n");
    spec.rules = foreign;
    tt_rehearsal c;
    assert_false(tt_rehearse(&spec, &c, &err));
    assert_non_null(strstr(err.text, "no service of incident x, whose entry is api"));
    assert_null(c.second);
    tt_rehearsal_free(&a);
    tt_rehearsal_free(&b);
    tt_rehearsal_free(&best);
    tt_rehearsal_free(&none);
    tt_rules_free(rules);
    tt_rules_free(foreign);
    tt_incident_free(i);
    tt_pcre_matcher_free(matcher);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_beats_the_oracle),
        cmocka_unit_test(scores_are_what_they_say),
        cmocka_unit_test(the_engine_is_rehearsed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
