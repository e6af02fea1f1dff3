/* What good documents become: values, defaults, names across files. */
#include "load.h"

#include <math.h>

static bool is(tt_sv s, const char *want) {
    return tt_sv_eq(s, tt_sv_of(want));
}

static void everything_said(void **state) {
    (void)state;
    loaded l;
    load_text(&l, good_text);
    print_errs(&l);
    const tt_rules *r = l.rules;
    assert_non_null(r);
    assert_int_equal(r->n_priorities, 3);
    assert_int_equal(r->n_services, 3);
    const tt_service_def *front = &r->services[0];
    assert_true(is(front->name, "front") && front->inner_loop && front->n_dcs == 2 && front->n_calls == 1 && front->calls[0] == 1);
    assert_true(is(front->dcs[0].name, "dc-a") && fabs(front->dcs[0].weight - 0.6) < 1e-12 && front->dcs[0].capacity_rps == 140);
    assert_true(fabs(front->dcs[1].weight - 0.4) < 1e-12 && front->dcs[1].capacity_rps == 0);
    assert_true(r->services[1].dcs[1].weight == 0.5 && !r->services[1].inner_loop);
    assert_true(r->services[2].dcs[0].weight == 1);

    const tt_signal_def *s = &r->signals[0];
    assert_true(is(s->name, "error_ratio") && !s->reports.n && s->every_ns == TT_SECONDS(5) && s->max_age_ns == TT_SECONDS(20));
    assert_true(s->window_ns == TT_SECONDS(30) && s->across == TT_ACROSS_MAX); /* not the [45] in the string */
    assert_true(s->n_renames == 1 && is(s->renames[0].to, "service") && is(s->renames[0].from, "to_service"));
    s = &r->signals[1];
    assert_true(is(s->reports, "offered_rps") && !s->query.n && s->every_ns == TT_SECONDS(1) && s->max_age_ns == TT_SECONDS(4) &&
                s->window_ns == TT_SECONDS(1));
    assert_int_equal(s->across, TT_ACROSS_SUM);
    assert_int_equal(r->signals[2].across, TT_ACROSS_MAX);

    const tt_anomaly_def *a = &r->anomalies[0];
    assert_true(a->kind == TT_ANOMALY_WHEN && a->for_ns == TT_SECONDS(10) && a->clear_ns == TT_SECONDS(10));
    assert_true(is(tt_expr_text(a->when), "error_ratio > 5% and offered_rps > 50"));
    assert_true(r->anomalies[1].kind == TT_ANOMALY_ALERT && r->anomalies[1].alert.pattern && r->anomalies[1].for_ns == 0);

    const tt_plan *p = &r->plans[0];
    assert_true(is(p->name, "shed") && p->anomaly == 0 && p->n_matchers == 2 && p->mode == TT_MODE_AUTO && is(p->service, "$svc") &&
                is(p->dc, "$dc") && !p->instance.n);
    assert_true(is(p->matchers[0].label, "service") && p->matchers[0].pattern && is(p->matchers[0].text, "/^(?<svc>.+)$/"));
    assert_true(p->n_keep == 2 && p->n_steps == 5);
    static const tt_step_kind kinds[] = {TT_STEP_DEGRADE, TT_STEP_LIMIT, TT_STEP_DROP, TT_STEP_SHIFT, TT_STEP_CUTOVER};
    for (size_t i = 0; i < 5; i++) assert_int_equal(p->steps[i].kind, kinds[i]);
    assert_true(is(p->steps[0].service, "checkout") && is(p->steps[0].feature, "related") && p->steps[0].levels == 2 && p->steps[0].gain[1] == 1.33 &&
                p->steps[0].probe_ratio == 0.02);
    assert_true(p->steps[1].n_keep == 2 && p->steps[1].keep[0] == 0 && p->steps[1].keep[1] == 1);
    assert_true(p->steps[2].priority == 2 && p->steps[2].max == 0.8);
    assert_true(p->steps[3].max == 0.4 && is(p->steps[3].from, "$dc") && !p->steps[3].approve && p->steps[4].approve);
    assert_true(p->settle_hold_ns == TT_SECONDS(30) && p->settle_within_ns == TT_SECONDS(300) && p->recover_after_ns == TT_SECONDS(60));
    assert_true(p->recover_step == 0.2 && p->recover_every_ns == TT_SECONDS(15) && p->approve_within_ns == TT_SECONDS(120) &&
                is(p->page, "web-oncall"));
    assert_true(p->pos.line == 28 && p->pos.column == 5 && strcmp(p->pos.file, "a.yaml") == 0);

    p = &r->plans[1];
    assert_true(p->anomaly == 1 && p->mode == TT_MODE_ADVISE && !p->matchers[0].pattern && is(p->matchers[0].literal, "dc-a"));
    assert_true(p->steps[0].n_keep == 3 && p->settle_hold_ns == TT_SECONDS(60) && p->settle_within_ns == TT_SECONDS(600) &&
                p->recover_after_ns == TT_SECONDS(120));
    assert_true(p->recover_step == 0.1 && p->recover_every_ns == TT_SECONDS(30) && p->approve_within_ns == TT_SECONDS(300) && !p->page.n);
    assert_true(p->hash != r->plans[0].hash && p->hash && r->hash);

    const tt_guardrails *g = &r->guardrails;
    assert_true(g->max_concurrent_loops == 7 && g->max_capacity_removed == 0.3 && g->n_protected == 2 &&
                is(g->protected_services[0].literal, "payments"));
    assert_true(g->protected_services[1].pattern && g->lock_out_reversals == 4 && g->lock_out_for_ns == TT_SECONDS(1200) &&
                g->most_bad_share == 0.5 && g->most_bad_min == 4);

    assert_int_equal(tt_rules_signal(r, TT_SV("p99_ms")), 2);
    assert_int_equal(tt_rules_signal(r, TT_SV("nope")), -1);
    assert_int_equal(tt_rules_service(r, TT_SV("checkout")), 1);
    assert_int_equal(tt_rules_priority(r, TT_SV("batch")), 2);
    unload(&l);
}

static void nothing_said(void **state) {
    (void)state;
    loaded l;
    load_text(&l, "# only a comment\nplans:\nsignals: []\n");
    print_errs(&l);
    assert_non_null(l.rules);
    const tt_guardrails *g = &l.rules->guardrails;
    assert_true(g->correlate_ns == TT_SECONDS(10) && l.rules->plans[0].priority == 0 && !l.rules->plans[0].exclusive.n);
    assert_true(g->max_concurrent_loops == 5 && g->max_capacity_removed == 0.4 && g->lock_out_reversals == 3 &&
                g->lock_out_for_ns == TT_SECONDS(1800));
    assert_true(g->most_bad_share == 0.6 && g->most_bad_min == 3 && g->n_protected == 0);
    assert_true(l.rules->n_priorities == 3 && is(l.rules->priorities[0], "critical"));
    unload(&l);
}

static void windows(void **state) {
    (void)state;
    static const struct {
        const char *signal;
        int64_t window_ns;
        tt_across across;
    } rows[] = {
        {"{name: x, query: 'rate(a[5m])'}", TT_SECONDS(300), TT_ACROSS_MAX},
        {"{name: x, query: 'max_over_time(rate(a[2m])[10m:1m])'}", TT_SECONDS(120), TT_ACROSS_MAX},
        {"{name: x, query: 'avg_over_time(a[10m:1m])'}", TT_SECONDS(600), TT_ACROSS_MAX},
        {"{name: x, query: 'rate(a[ 1h30m ])'}", TT_SECONDS(5400), TT_ACROSS_MAX},
        {"{name: x, query: a, every: 7s}", TT_SECONDS(7), TT_ACROSS_MAX},
        {"{name: x, query: 'rate(a[5m])', window: 10s}", TT_SECONDS(10), TT_ACROSS_MAX},
        {"{name: x, query: 'rate(a[1w])', window: 7d}", TT_SECONDS(7 * 86400), TT_ACROSS_MAX},
        {"{name: x_rps, query: a}", TT_SECONDS(5), TT_ACROSS_SUM},
        {"{name: x, reports: inflight, every: 2s}", TT_SECONDS(2), TT_ACROSS_SUM},
        {"{name: x, reports: inflight, across: mean}", TT_SECONDS(1), TT_ACROSS_MEAN},
        {"{name: x, query: 'a{b=\"\\\"[1s]\"}[3s]'}", TT_SECONDS(3), TT_ACROSS_MAX},
        {"{name: x, query: \"# [1s]\\na[4s]\"}", TT_SECONDS(4), TT_ACROSS_MAX},
    };
    for (size_t i = 0; i < TT_COUNT(rows); i++) {
        char text[300];
        snprintf(text, sizeof(text), "signals:\n  - %s\n", rows[i].signal);
        loaded l;
        load_text(&l, text);
        print_errs(&l);
        if (!l.rules) ROW_FAIL(rows[i].signal, "was refused");
        if (l.rules->signals[0].window_ns != rows[i].window_ns || l.rules->signals[0].across != rows[i].across)
            ROW_FAIL(rows[i].signal, "%lld %d", (long long)l.rules->signals[0].window_ns, l.rules->signals[0].across);
        unload(&l);
    }
}

static void reports_with_their_unit_left_out(void **state) {
    (void)state;
    static const char *const rows[][2] = {{"latency_mean", "latency_mean_ms"}, {"latency_p50", "latency_p50_ms"}, {"latency_p99", "latency_p99_ms"}, {"error_ratio", "error_ratio"}};
    for (size_t i = 0; i < TT_COUNT(rows); i++) {
        char text[100];
        snprintf(text, sizeof(text), "signals: [{name: x, reports: %s}]\n", rows[i][0]);
        loaded l;
        load_text(&l, text);
        print_errs(&l);
        assert_non_null(l.rules);
        assert_true(tt_sv_eq(l.rules->signals[0].reports, tt_sv_of(rows[i][1])));
        unload(&l);
    }
}

static void several_files(void **state) {
    (void)state;
    static const char *const texts[] = {
        "plans:\n  - {name: p, on: {anomaly: o}, target: {service: b, dc: x}, keep: [e < 1], steps: [limit: {keep: [low]}, degrade: {feature: f, "
        "gain: [1.5]}]}\n",
        "",
        "signals: [{name: e, query: q}]\nservices: [{name: a, dcs: [x], calls: [b]}]\npriorities: [high, low]\n",
        "anomalies: [{name: o, when: e > 1}]\nservices: [{name: b, dcs: [x]}]\n",
    };
    loaded l;
    load_texts(&l, texts, TT_COUNT(texts));
    print_errs(&l);
    assert_non_null(l.rules);
    assert_int_equal(l.rules->services[0].calls[0], 1);
    assert_int_equal(l.rules->plans[0].steps[0].keep[0], 1);
    assert_int_equal(l.rules->plans[0].steps[1].levels, 1);
    assert_string_equal(l.rules->services[1].pos.file, "d.yaml");
    unload(&l);
}

static void features_of_services(void **state) {
    (void)state;
    static const char text[] = "services:\n"
                               "  - {name: shop, dcs: [x], calls: [front, pay], features: {reviews: {gain: [1.1]}}}\n"
                               "  - {name: front, dcs: [x], calls: [cart]}\n"
                               "  - {name: cart, dcs: [x], features: {related: {levels: 2, gain: [1.14, 1.33]}}}\n"
                               "  - {name: pay, dcs: [x], features: {reviews: {gain: [1.5, 1.6]}}}\n"
                               "  - {name: stock, dcs: [x]}\n"
                               "signals: [{name: e, query: q}]\n"
                               "anomalies: [{name: o, when: e > 1}, {name: o2, when: e > 2}, {name: o3, when: e > 3}, {name: o4, when: e > 4}, {name: o5, when: e > 5},\n"
                               "  {name: o6, when: e > 6}, {name: o7, when: e > 7}]\n"
                               "plans:\n"
                               "  - {name: any, on: {anomaly: o, labels: {service: /(?<svc>.+)/, dc: /(?<dc>.+)/}}, target: {service: $svc, dc: $dc}, keep: [e < 1],\n"
                               "     steps: [degrade: {feature: related}]}\n"
                               "  - {name: own, on: {anomaly: o2, labels: {service: /(?<svc>.+)/, dc: /(?<dc>.+)/}}, target: {service: $svc, dc: $dc}, keep: [e < 1],\n"
                               "     steps: [degrade: {feature: related, gain: [3]}]}\n"
                               "  - {name: literal, on: {anomaly: o3}, target: {service: shop, dc: x}, keep: [e < 1], steps: [degrade: {feature: reviews}]}\n"
                               "  - {name: below, on: {anomaly: o4}, target: {service: shop, dc: x}, keep: [e < 1],\n"
                               "     steps: [degrade: {feature: reviews, service: pay}]}\n"
                               "  - {name: whatever, on: {anomaly: o5, labels: {service: /(?<svc>.+)/, dc: /(?<dc>.+)/}}, target: {service: $svc, dc: $dc},\n"
                               "     keep: [e < 1], steps: [degrade: {}]}\n"
                               "  - {name: here, on: {anomaly: o6}, target: {service: front, dc: x}, keep: [e < 1], steps: [degrade: {}]}\n"
                               "  - {name: none, on: {anomaly: o7}, target: {service: stock, dc: x}, keep: [e < 1], steps: [degrade: {}]}\n";
    enum { SHOP, FRONT, CART, PAY, STOCK };
    static const struct {
        int plan;
        uint32_t target;
        const char *service; /* NULL: no such step there */
        uint32_t levels;
        double gain;
    } rows[] = {
        {0, SHOP, "cart", 2, 1.14}, {0, FRONT, "cart", 2, 1.14}, {0, CART, "cart", 2, 1.14}, {0, PAY, NULL, 0, 0},
        {1, SHOP, "cart", 1, 3},    {1, PAY, "pay", 1, 3},       {2, SHOP, "shop", 1, 1.1},  {3, SHOP, "pay", 2, 1.5},
        {4, SHOP, "shop", 1, 1.1},  {4, FRONT, "cart", 2, 1.14}, {4, STOCK, NULL, 0, 0},     {5, FRONT, "cart", 2, 1.14},
        {6, STOCK, NULL, 0, 0},
    };
    loaded l;
    load_text(&l, text);
    print_errs(&l);
    assert_non_null(l.rules);
    for (size_t i = 0; i < TT_COUNT(rows); i++) {
        const tt_step *st = tt_step_at(&l.rules->plans[rows[i].plan].steps[0], rows[i].target);
        if (!st != !rows[i].service) fail_msg("row %zu: %s", i, st ? "a step where none can be" : "no step");
        if (!st) continue;
        if (!tt_sv_eq(st->service, tt_sv_of(rows[i].service)) || st->levels != rows[i].levels || st->gain[0] != rows[i].gain || !st->feature.n)
            fail_msg("row %zu: " TT_SV_FMT ", %u levels", i, TT_SV_ARG(st->service), st->levels);
    }
    assert_null(tt_step_at(NULL, 0));
    unload(&l);

    /* A service that must not be touched has no feature to give. */
    char protect[sizeof text + 64];
    snprintf(protect, sizeof protect, "%sguardrails: {protected: [cart]}\n", text);
    load_text(&l, protect);
    assert_null(l.rules);
    assert_non_null(strstr(l.errs[0].text, "no service it may act on declares the feature \"related\""));
    unload(&l);
}

static void hashes(void **state) {
    (void)state;
    /* Only what is said counts: not comments, not spacing. */
    loaded a, b, c;
    char *spaced = malloc(2 * sizeof(good_text)), *changed = malloc(2 * sizeof(good_text));
    snprintf(spaced, 2 * sizeof(good_text), "# a comment\n%s# another\n", good_text);
    strcpy(changed, good_text);
    *strstr(changed, "80%") = '7';
    load_text(&a, good_text);
    load_text(&b, spaced);
    load_text(&c, changed);
    assert_true(a.rules->hash == b.rules->hash && a.rules->plans[0].hash == b.rules->plans[0].hash);
    assert_true(a.rules->hash != c.rules->hash && a.rules->plans[0].hash != c.rules->plans[0].hash &&
                a.rules->plans[1].hash == c.rules->plans[1].hash);
    unload(&a), unload(&b), unload(&c);
    free(spaced), free(changed);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(everything_said), cmocka_unit_test(nothing_said), cmocka_unit_test(windows), cmocka_unit_test(reports_with_their_unit_left_out),
                                       cmocka_unit_test(several_files), cmocka_unit_test(features_of_services), cmocka_unit_test(hashes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
