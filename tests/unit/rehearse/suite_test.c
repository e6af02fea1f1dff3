/* The suite: what is built in fits together, threads change nothing, and what runs add up to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <math.h>

#include "pcre.h"
#include "rehearse/embedded.h"
#include "rehearse/report.h"
#include "yaml.h"

typedef struct {
    tt_arena *arena;
    tt_matcher *matcher;
    tt_incident *incidents[TT_SUITE_INCIDENTS];
    size_t n;
    const tt_doc *plans[TT_CONTROLLER_COUNT];
} built_in;

static void open_built_in(built_in *b) {
    tt_err err;
    size_t n_errs;
    memset(b, 0, sizeof *b);
    b->arena = tt_arena_new();
    b->matcher = tt_pcre_matcher_new();
    for (; b->n < tt_n_embedded_incidents; b->n++) {
        const tt_embedded *e = &tt_embedded_incidents[b->n];
        const tt_doc *doc = tt_yaml_parse(b->arena, e->name, (tt_sv){e->text, e->size}, NULL, &err);
        if (!doc) fail_msg("%s: %s", e->name, err.text);
        b->incidents[b->n] = tt_incident_load(doc, &err, 1, &n_errs);
        if (!b->incidents[b->n]) fail_msg("%s:%u: %s", e->name, err.line, err.text);
        assert_string_equal(tt_incident_name(b->incidents[b->n]), e->name); /* --incident NAME and the file's name are one */
    }
    static const tt_controller with_plans[] = {TT_BY_TRIMTAB, TT_BY_RUNBOOK, TT_BY_AIMD};
    for (size_t i = 0; i < TT_COUNT(with_plans); i++) {
        const tt_embedded *e = tt_embedded_find(tt_embedded_plans, tt_n_embedded_plans, tt_controller_name(with_plans[i]));
        assert_non_null(e);
        b->plans[with_plans[i]] = tt_yaml_parse(b->arena, e->name, (tt_sv){e->text, e->size}, NULL, &err);
        if (!b->plans[with_plans[i]]) fail_msg("%s: %s", e->name, err.text);
    }
}

static void close_built_in(built_in *b) {
    for (size_t i = 0; i < b->n; i++) tt_incident_free(b->incidents[i]);
    tt_pcre_matcher_free(b->matcher);
    tt_arena_free(b->arena);
}

static void what_is_built_in_fits(void **state) {
    (void)state;
    built_in b;
    open_built_in(&b);
    assert_true(b.n >= 20);
    for (size_t i = 0; i < b.n; i++)
        for (int mesh = 0; mesh < TT_SUITE_MESHES; mesh++)
            for (int by = 0; by < TT_CONTROLLER_COUNT; by++) {
                tt_err err;
                if (!b.plans[by]) continue;
                tt_rules *r = tt_suite_rules(b.incidents[i], mesh, &b.plans[by], 1, b.matcher, &err);
                if (!r) fail_msg("%s on %s: %u: %s", tt_controller_name((tt_controller)by), tt_incident_name(b.incidents[i]), err.line, err.text);
                assert_true(r->n_services > 0 && r->services[0].inner_loop == mesh);
                tt_rules_free(r);
            }
    close_built_in(&b);
}

static int incident_named(const built_in *b, const char *name) {
    for (size_t i = 0; i < b->n; i++)
        if (strcmp(tt_incident_name(b->incidents[i]), name) == 0) return (int)i;
    fail_msg("no incident %s", name);
    return -1;
}

static tt_suite *run(const built_in *b, const tt_incident *const incidents[], size_t n, uint32_t seeds, uint32_t jobs) {
    tt_suite_spec spec = {.n_incidents = n, .incidents = incidents, .mesh = {true, true}, .matcher = b->matcher, .first_seed = 2001, .n_seeds = seeds, .n_jobs = jobs};
    for (int by = 0; by < TT_CONTROLLER_COUNT; by++) {
        spec.controllers[by] = true;
        if (!b->plans[by]) continue;
        spec.docs[by] = &b->plans[by];
        spec.n_docs[by] = 1;
    }
    tt_err err = {0};
    tt_suite *s = tt_suite_new(&spec, &err);
    if (!s) fail_msg("%s", err.text);
    return s;
}

static void threads_change_nothing(void **state) {
    (void)state;
    built_in b;
    open_built_in(&b);
    const tt_incident *two[] = {b.incidents[incident_named(&b, "partition")], b.incidents[incident_named(&b, "noise")]};
    char *text[2];
    for (int i = 0; i < 2; i++) {
        tt_suite *s = run(&b, two, 2, 3, i ? 3 : 1);
        tt_buf out;
        tt_buf_init(&out, 16 << 20);
        tt_suite_json(s, &out);
        assert_false(out.failed);
        text[i] = out.p;
        tt_suite_free(s);
    }
    assert_string_equal(text[0], text[1]);
    assert_true(strlen(text[0]) > 1000);
    free(text[0]);
    free(text[1]);
    close_built_in(&b);
}

static void what_runs_add_up_to(void **state) {
    (void)state;
    built_in b;
    open_built_in(&b);
    const tt_incident *two[] = {b.incidents[incident_named(&b, "partition")], b.incidents[incident_named(&b, "noise")]};
    tt_suite *s = run(&b, two, 2, 2, 2);
    tt_tally all, real, alarm, t;
    assert_true(tt_suite_tally(s, TT_SUITE_ALL, 0, TT_BY_NOTHING, &all) && tt_suite_tally(s, 0, 0, TT_BY_NOTHING, &real) &&
                tt_suite_tally(s, 1, 0, TT_BY_NOTHING, &alarm));
    assert_int_equal(all.n_runs, 4);
    assert_int_equal(all.n_real, 2);
    assert_int_equal(all.n_false, 2);
    assert_true(all.lost_ratio.n == 2 && all.lost_ratio.median == real.lost_ratio.median); /* false alarms are no part of what is lost */
    assert_true(alarm.n_real == 2 && alarm.actions.total == 0 && isnan(alarm.oracle_share.median));
    assert_true(all.normalized_loss == 1 && all.oracle_share.worst == 0);
    assert_true(tt_suite_tally(s, TT_SUITE_ALL, -1, TT_BY_ORACLE, &t));
    assert_true(t.n_runs == 8 && t.normalized_loss == 0 && t.oracle_share.worst == 1);
    /* Worst is the smallest share and the largest loss. */
    assert_true(tt_suite_tally(s, 0, -1, TT_BY_TRIMTAB, &t));
    assert_true(t.oracle_share.worst <= t.oracle_share.median && t.lost_ratio.worst >= t.lost_ratio.median && t.oracle_share.n == 4);
    tt_suite_free(s);
    close_built_in(&b);
}

/* Plans for another mesh: told for the incident they don't fit. */
static void plans_that_do_not_fit(void **state) {
    (void)state;
    built_in b;
    open_built_in(&b);
    tt_err err = {0};
    const tt_doc *doc = tt_yaml_parse(b.arena, "mine.yaml", TT_SV("services: [{name: mine, dcs: [x]}]\nsignals: [{name: offered_rps, reports: offered_rps}]\n"), NULL, &err);
    const tt_incident *one[] = {b.incidents[0]};
    tt_suite_spec spec = {.n_incidents = 1, .incidents = one, .mesh = {true}, .controllers = {true}, .n_docs = {1}, .docs = {&doc}, .matcher = b.matcher, .n_seeds = 1, .n_jobs = 1};
    assert_null(tt_suite_new(&spec, &err));
    assert_non_null(strstr(err.text, "declare no service of incident"));
    close_built_in(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_built_in_fits), cmocka_unit_test(threads_change_nothing), cmocka_unit_test(what_runs_add_up_to),
                                       cmocka_unit_test(plans_that_do_not_fit)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
