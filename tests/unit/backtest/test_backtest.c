/* What a backtest makes of a history: the mesh model with nobody acting on it is one. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "backtest/backtest.h"
#include "pcre.h"
#include "rules_text.h"
#include "yaml.h"

#define S(s) TT_SECONDS(s)
#define ALL (-1), (-1), (-1)
enum { START = 1790000000 };

typedef struct {
    const char *ladder, *mode;
    tt_model_fault faults[4];
    int64_t from_s, to_s;
    uint32_t max_loops;
} past;

typedef struct {
    tt_matcher *matcher;
    tt_rules *rules;
    tt_backtest *b;
    tt_backtest_sums sums;
    const tt_backtest_loop *const *loops;
    size_t n;
} world;

static void open_past(world *w, const past *p) {
    tt_model_spec spec;
    tt_model_spec_default(&spec);
    spec.inner_loop = true;
    spec.noise = 0;
    for (size_t i = 0; i < TT_COUNT(p->faults) && p->faults[i].for_ns; i++) spec.faults[spec.n_faults++] = p->faults[i];
    rules_options o;
    rules_options_default(&o, rules_ladder_named(p->ladder), &spec);
    if (p->max_loops) o.max_loops = p->max_loops;
    memset(w, 0, sizeof *w);
    tt_arena *arena = tt_arena_new();
    tt_err err;
    tt_err errs[4];
    size_t n_errs;
    const tt_doc *doc = tt_yaml_parse(arena, "past.yaml", tt_sv_of(rules_text(&o)), NULL, &err);
    assert_non_null(doc);
    w->matcher = tt_pcre_matcher_new();
    w->rules = tt_rules_load(&doc, 1, w->matcher, errs, TT_COUNT(errs), &n_errs);
    assert_non_null(w->rules);
    tt_arena_free(arena);
    if (p->faults[0].kind == TT_FAULT_LIE) w->rules->guardrails.most_bad_min = 2; /* there are two data centers to lie about */
    const char *mode = p->mode ? p->mode : "auto";
    w->rules->guardrails.lock_out_reversals = UINT32_MAX;
    for (size_t i = 0; strcmp(mode, "auto") == 0 && i < w->rules->n_plans; i++) w->rules->plans[i].mode = TT_MODE_AUTO;
    const tt_backtest_spec span = {.from_ms = (START + p->from_s) * 1000, .to_ms = (START + p->to_s) * 1000, .step_ms = 1000, .mode = mode};
    w->b = tt_backtest_new(w->rules, &span);
    tt_model *m = tt_model_new(&spec, 5, (tt_time){S(1000)});
    assert_true(w->b && m);
    for (int64_t t = 1; t <= p->to_s; t++) {
        for (int i = 0; i < 10; i++) tt_model_step(m);
        tt_observations o1;
        tt_model_observe(m, w->rules, &o1);
        const tt_history_step s = {.at_ms = (START + t) * 1000,
                                   .now = o1.now,
                                   .n_polls = o1.n_polls,
                                   .polls = o1.polls,
                                   .n_measurements = o1.n_measurements,
                                   .measurements = o1.measurements};
        tt_backtest_step(w->b, &s);
    }
    tt_model_free(m);
    tt_backtest_sums_of(w->b, &w->sums);
    w->n = tt_backtest_loops(w->b, &w->loops);
}

static void close_past(world *w) {
    tt_backtest_free(w->b);
    tt_rules_free(w->rules);
    tt_pcre_matcher_free(w->matcher);
}

static int64_t after_start_s(int64_t ms) { return ms / 1000 - START; }

static const tt_backtest_wish *wish(const tt_backtest_loop *l, const char *action) {
    for (uint32_t i = 0; i < l->n_wishes; i++)
        if (strncmp(l->wish[i].action, action, strlen(action)) == 0) return &l->wish[i];
    return NULL;
}

#define SURGE                                                                                                                                        \
    { TT_FAULT_DEMAND, S(120), S(180), 0, ALL, 2 }

static void an_incident_is_found_with_what_would_have_been_done(void **state) {
    (void)state;
    world w;
    open_past(&w, &(past){"degrade-shift-limit", NULL, {SURGE}, 60, 700, 0});
    assert_int_equal(w.sums.loops, 2);
    assert_int_equal(w.sums.acting, 2);
    assert_int_equal(w.sums.still_open, 0);
    assert_true(w.sums.first_actions >= 2 && w.sums.later_actions > 0 && w.sums.anomalies >= 2);
    for (size_t i = 0; i < w.n; i++) {
        const tt_backtest_loop *l = w.loops[i];
        assert_string_equal(l->plan, "keep-serving");
        assert_string_equal(l->target.service, "front");
        int64_t opened = after_start_s(l->opened_ms), closed = after_start_s(l->closed_ms), first = after_start_s(l->first_ms);
        if (opened < 120 || opened > 130 || closed < 300 || first < opened || first > opened + 10)
            fail_msg("opened %lld, first %lld, closed %lld", (long long)opened, (long long)first, (long long)closed);
        assert_string_equal(l->ended, "recovered");
        const tt_backtest_wish *degrade = wish(l, "degrade:"), *limit = wish(l, "limit");
        assert_true(degrade && degrade->in_first && degrade->first >= 1 && degrade->most >= degrade->first && isnan(degrade->before));
        /* Nothing helps in history: the cap goes on, and only as what it would be then. */
        assert_true(limit && limit->most <= limit->first && limit->most_ms > l->first_ms);
        if (l->closed_ms > (START + 330) * 1000LL) fail_msg("closed %lld s after the surge", (long long)closed - 300);
        assert_int_equal(tt_backtest_verdict_of(l), TT_BACKTEST_ACTS);
    }
    close_past(&w);
}

/* One row a verdict. */
static void verdicts(void **state) {
    (void)state;
    static const struct {
        const char *name;
        past p;
        tt_backtest_verdict want;
        const char *ended;
    } rows[] = {
        {"a metric that lies for a moment", {"degrade-shift-limit", NULL, {{TT_FAULT_LIE, S(120), S(30), 0, 0, 0, -1, 0.5}}, 60, 400, 0}, TT_BACKTEST_BY_ITSELF, "recovered"},
        {"and for long: a person is called", {"degrade-shift-limit", NULL, {{TT_FAULT_LIE, S(120), S(300), 0, 0, 0, -1, 0.5}}, 60, 600, 0}, TT_BACKTEST_NO_MEANS, "recovered"},
        {"mode advise as written", {"advise", "as-written", {SURGE}, 60, 400, 0}, TT_BACKTEST_SHADOW, "cleared"},
        {"the same, as if it were auto", {"advise", NULL, {SURGE}, 60, 700, 0}, TT_BACKTEST_ACTS, "recovered"},
        {"mode approve as written", {"approve", "as-written", {{TT_FAULT_DEMAND, S(120), S(500), 0, ALL, 2}}, 60, 460, 0}, TT_BACKTEST_WAITED, "refused"},
    };
    for (size_t i = 0; i < TT_COUNT(rows); i++) {
        world w;
        open_past(&w, &rows[i].p);
        if (w.n == 0) fail_msg("%s: no loop", rows[i].name);
        const tt_backtest_loop *l = w.loops[0];
        if (tt_backtest_verdict_of(l) != rows[i].want || strcmp(l->ended, rows[i].ended) != 0)
            fail_msg("%s: %s, ended \"%s\"", rows[i].name, tt_backtest_verdict_name(tt_backtest_verdict_of(l)), l->ended);
        close_past(&w);
    }
}

static void warming_up_is_not_told(void **state) {
    (void)state;
    world w;
    const past over = {"degrade-shift-limit", NULL, {{TT_FAULT_DEMAND, S(120), S(40), 0, ALL, 2}}, 500, 700, 0};
    open_past(&w, &over);
    assert_int_equal(w.sums.loops, 0);
    assert_int_equal(w.sums.anomalies, 0);
    assert_int_equal(tt_backtest_ticks(w.b), 201);
    close_past(&w);
    past going_on = {"degrade-shift-limit", NULL, {SURGE}, 200, 230, 0};
    open_past(&w, &going_on);
    assert_int_equal(w.sums.loops, 2);
    assert_int_equal(w.sums.still_open, 2);
    assert_true(w.loops[0]->before && w.loops[0]->first_ms > 0 && w.loops[0]->closed_ms == 0);
    close_past(&w);
}

static void what_guardrails_keep_back_is_told(void **state) {
    (void)state;
    world w;
    open_past(&w, &(past){"degrade-shift-limit", NULL, {SURGE}, 60, 250, 1});
    const tt_backtest_refusal *r;
    size_t n = tt_backtest_refusals(w.b, &r), found = 0;
    for (size_t i = 0; i < n; i++) found += strcmp(r[i].kind, "guardrail") == 0 && strstr(r[i].text, "max_concurrent_loops is 1") != NULL;
    assert_int_equal(found, 1);
    assert_true(w.sums.guardrails >= 1);
    close_past(&w);
}

static void a_freeze_is_told_and_does_not_hide_the_rest(void **state) {
    (void)state;
    world w;
    /* The signal lies of every data center at once, then much later comes a surge. */
    open_past(&w, &(past){"degrade-shift-limit", NULL, {{TT_FAULT_LIE, S(120), S(60), 0, ALL, 0.6}, {TT_FAULT_DEMAND, S(1000), S(120), 0, ALL, 2}}, 60, 1500, 0});
    const tt_backtest_note *f;
    assert_int_equal(tt_backtest_freezes(w.b, &f), 1);
    assert_true(after_start_s(f[0].at_ms) >= 120 && after_start_s(f[0].at_ms) < 180);
    bool later = false;
    for (size_t i = 0; i < w.n; i++) later |= after_start_s(w.loops[i]->opened_ms) >= 1000 && w.loops[i]->first_ms;
    assert_true(later);
    close_past(&w);
}

static void the_accounts_can_be_read(void **state) {
    (void)state;
    world w;
    open_past(&w, &(past){"degrade-shift-limit", NULL, {SURGE}, 60, 700, 0});
    tt_buf out, svg;
    tt_buf_init(&out, 1 << 22);
    tt_backtest_json(w.b, NULL, &out);
    json_error_t je;
    json_t *root = json_loadb(out.p, out.n, JSON_REJECT_DUPLICATES, &je);
    if (!root) fail_msg("%s at %d", je.text, je.position);
    json_t *loop = json_array_get(json_object_get(root, "loops"), 0), *first = json_object_get(loop, "first");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(root, "summary"), "acting")), 2);
    assert_string_equal(json_string_value(json_object_get(loop, "verdict")), "acts");
    assert_string_equal(json_string_value(json_object_get(json_array_get(json_object_get(first, "actions"), 0), "action")), "degrade:recommendations");
    assert_true(json_array_size(json_object_get(loop, "most")) >= 2);
    json_decref(root);
    tt_buf_free(&out);
    tt_buf_init(&svg, 1 << 20);
    tt_backtest_svg(w.b, &svg);
    assert_non_null(strstr(svg.p, "front@dc-a"));
    assert_non_null(strstr(svg.p, "</svg>"));
    assert_null(strstr(svg.p, "nan"));
    tt_buf_free(&svg);
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    tt_backtest_print(w.b, NULL, f, false, 0);
    fclose(f);
    static const char *const says[] = {"OPENED (UTC)", "degrade:recommendations level", "2 loops: 2 would have acted", "at most, had nothing helped", "History cannot show"};
    for (size_t i = 0; i < TT_COUNT(says); i++)
        if (!strstr(text, says[i])) fail_msg("does not say \"%s\":\n%s", says[i], text);
    free(text);
    close_past(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_incident_is_found_with_what_would_have_been_done),
        cmocka_unit_test(verdicts),
        cmocka_unit_test(warming_up_is_not_told),
        cmocka_unit_test(what_guardrails_keep_back_is_told),
        cmocka_unit_test(a_freeze_is_told_and_does_not_hide_the_rest),
        cmocka_unit_test(the_accounts_can_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
