/* How the engine behaves towards its surroundings, one rule a row: data that is not good, meshes that don't answer, people, restarts, guardrails. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rules_text.h"
#include "world.h"
#include "yaml.h"

#define S(s) TT_SECONDS(s)
#define ALL (-1), (-1), (-1)
#define SURGE                                                                                                                                        \
    { TT_FAULT_DEMAND, S(60), S(120), 0, ALL, 3 }

typedef struct {
    uint32_t actions, opened, pages, holds, guardrails, frozen, commands;
    char text[8192]; /* reasons of what isn't an action */
} tally;

static void count(const world *w, tally *t) {
    for (size_t i = 0; i < w->out.n_events; i++) {
        const tt_event *ev = &w->out.events[i];
        t->actions += strcmp(ev->kind, "action") == 0;
        t->opened += strcmp(ev->kind, "loop_opened") == 0;
        t->pages += strcmp(ev->kind, "page") == 0;
        t->holds += strcmp(ev->kind, "hold") == 0;
        t->guardrails += strcmp(ev->kind, "guardrail") == 0;
        t->frozen += strcmp(ev->kind, "frozen") == 0;
        t->commands += strcmp(ev->kind, "command") == 0;
        if (strcmp(ev->kind, "action") != 0 && strlen(t->text) + strlen(ev->reason) + 2 < sizeof t->text) {
            strcat(t->text, ev->reason);
            strcat(t->text, "\n");
        }
    }
}

static void open_world(world *w, const char *ladder, const tt_model_fault *faults, size_t n, rules_options *o) {
    tt_model_spec spec;
    tt_model_spec_default(&spec);
    spec.inner_loop = true;
    spec.noise = 0;
    for (size_t i = 0; i < n && faults[i].for_ns; i++) spec.faults[spec.n_faults++] = faults[i];
    rules_options own;
    if (!o) rules_options_default(o = &own, rules_ladder_named(ladder), &spec);
    o->spec = &spec;
    assert_true(world_open(w, &spec, rules_text(o), 3, S(1)));
    w->verbose = getenv("TT_VERBOSE") != NULL;
}

static void run(world *w, int64_t until_ns, tally *t) {
    while (world_elapsed(w) < until_ns) {
        world_tick(w);
        count(w, t);
    }
}

/* ---- what may be done on what is known, and in which mode ---- */

static const struct {
    const char *name, *ladder;
    tt_model_fault faults[3];
    bool acts, opens;
    const char *says; /* part of a reason; NULL: nothing in particular */
} rows[] = {
    {"a surge is answered", "degrade-shift-limit", {SURGE}, true, true, NULL},
    {"blind: nothing is done", "degrade-shift-limit", {SURGE, {TT_FAULT_BLIND, S(50), S(140), 0, ALL, 1}}, false, false, NULL},
    {"blind while the mesh is well: nothing happens", "degrade-shift-limit", {{TT_FAULT_BLIND, S(50), S(140), 0, ALL, 1}}, false, false, NULL},
    {"nothing newer than before the surge: nothing is done",
     "degrade-shift-limit",
     {SURGE, {TT_FAULT_STALE, S(50), S(140), 0, ALL, 1}},
     false,
     false,
     NULL},
    {"every value absent or NaN: nothing is done", "degrade-shift-limit", {SURGE, {TT_FAULT_NANS, S(50), S(140), 0, ALL, 1}}, false, false, NULL},
    {"a metric that lies, while the counters are well", "degrade-shift-limit", {{TT_FAULT_LIE, S(60), S(60), 0, 0, 0, -1, 0.5}}, false, true, NULL},
    {"the same fault in every site is no site's own", "limit-shift", {{TT_FAULT_ERRORS, S(60), S(120), 0, 1, -1, -1, 0.3}}, false, true, NULL},
    {"the same fault in every instance is no instance's own",
     "degrade-shift-limit",
     {{TT_FAULT_ERRORS, S(60), S(60), 0, 2, -1, -1, 0.6}},
     false,
     true,
     "no other instance of recommendations in dc-a is known to be well"},
    {"mode advise does nothing and says what it would", "advise", {SURGE}, false, true, "would use degrade, shift, limit; nothing is done"},
    {"mode approve does nothing unasked", "approve", {SURGE}, false, true, "the plan acts only when a person approves"},
};

static void only_on_good_evidence(void **state) {
    (void)state;
    for (size_t i = 0; i < TT_COUNT(rows); i++) {
        world w;
        tally t = {0};
        open_world(&w, rows[i].ladder, rows[i].faults, TT_COUNT(rows[i].faults), NULL);
        run(&w, S(180), &t);
        if ((t.actions > 0) != rows[i].acts) fail_msg("%s: %u actions", rows[i].name, t.actions);
        if ((t.opened > 0) != rows[i].opens) fail_msg("%s: %u loops opened", rows[i].name, t.opened);
        if (rows[i].says && !strstr(t.text, rows[i].says)) fail_msg("%s: doesn't say \"%s\" but\n%s", rows[i].name, rows[i].says, t.text);
        world_close(&w);
    }
}

/* ---- people ---- */

static void a_freeze_holds_what_is_in_force(void **state) {
    (void)state;
    world w;
    tally before = {0}, frozen = {0}, after = {0};
    open_world(&w, "degrade-shift-limit", &(tt_model_fault)SURGE, 1, NULL);
    run(&w, S(100), &before);
    assert_true(before.actions > 0 && world_anything_in_force(&w));
    world_command(&w, TT_CMD_FREEZE, NULL);
    run(&w, S(300), &frozen);
    assert_int_equal(frozen.actions, 0);
    assert_true(world_anything_in_force(&w));
    world_command(&w, TT_CMD_UNFREEZE, NULL);
    run(&w, S(600), &after);
    assert_true(after.actions > 0);
    assert_false(world_anything_in_force(&w));
    world_close(&w);
}

static void an_abort_takes_everything_back_and_is_not_argued_with(void **state) {
    (void)state;
    world w;
    tally t = {0}, after = {0};
    open_world(&w, "degrade-shift-limit", &(tt_model_fault)SURGE, 1, NULL);
    run(&w, S(100), &t);
    assert_true(world_anything_in_force(&w));
    while (w.n_loops && w.n_commands < w.n_loops) world_command(&w, TT_CMD_ABORT, w.loops[w.n_commands].id);
    run(&w, S(110), &t);
    assert_false(world_anything_in_force(&w));
    run(&w, S(175), &after); /* the surge goes on */
    assert_int_equal(after.actions, 0);
    assert_int_equal(after.opened, 0);
    assert_non_null(strstr(t.text, "a person stopped the last loop here"));
    world_close(&w);
}

static void a_command_for_a_loop_that_is_not_there_is_answered(void **state) {
    (void)state;
    world w;
    tally t = {0};
    open_world(&w, "degrade-shift-limit", NULL, 0, NULL);
    world_command(&w, TT_CMD_ABORT, "01J9ZC8Q6W3V2K5M7N8P9Q0R1S");
    run(&w, S(5), &t);
    assert_int_equal(t.commands, 1);
    assert_non_null(strstr(t.text, "not open"));
    world_close(&w);
}

static void approval_is_waited_for_and_used(void **state) {
    (void)state;
    world w;
    tally t = {0};
    open_world(&w, "approve", &(tt_model_fault)SURGE, 1, NULL);
    run(&w, S(90), &t);
    assert_int_equal(t.actions, 0);
    assert_true(t.pages > 0);
    for (size_t i = 0; i < w.n_loops; i++) world_command(&w, TT_CMD_APPROVE, w.loops[i].id);
    run(&w, S(100), &t);
    assert_true(t.actions > 0);
    world_close(&w);
}

/* ---- guardrails ---- */

static void protected_services_are_left_alone(void **state) {
    (void)state;
    tt_model_spec spec;
    tt_model_spec_default(&spec);
    spec.services[3] = (tt_model_service){.name = "auth-login", .instances = 3, .workers = 10, .own_ms = 15, .queue_max = 400};
    spec.services[0].calls[spec.services[0].n_calls++] = (tt_model_call){.service = 3, .per_request = 1};
    spec.n_services = 4;
    spec.faults[spec.n_faults++] = (tt_model_fault){TT_FAULT_BAD_INSTANCE, S(60), S(60), 0, 3, 0, 0, 1};
    rules_options o;
    rules_options_default(&o, rules_ladder_named("drop-only"), &spec);
    world w;
    tally t = {0};
    assert_true(world_open(&w, &spec, rules_text(&o), 3, S(1)));
    run(&w, S(120), &t);
    assert_true(t.guardrails > 0);
    assert_non_null(strstr(t.text, "the service is protected"));
    const tt_decision *d;
    size_t n = tt_engine_decisions(w.engine, &d);
    for (size_t i = 0; i < n; i++) assert_string_not_equal(d[i].target.service, "auth-login");
    world_close(&w);
}

static void no_more_loops_than_allowed(void **state) {
    (void)state;
    tt_model_spec spec;
    tt_model_spec_default(&spec);
    rules_options o;
    rules_options_default(&o, rules_ladder_named("degrade-shift-limit"), &spec);
    o.max_loops = 1;
    world w;
    tally t = {0};
    open_world(&w, NULL, &(tt_model_fault)SURGE, 1, &o);
    run(&w, S(100), &t);
    assert_int_equal(t.opened, 1);
    assert_true(t.guardrails > 0);
    world_close(&w);
}

/* ---- the mesh ---- */

/* With an acknowledgement that never comes whole, the engine waits longer, says so, and goes on with what there is. */
static void a_mesh_that_takes_half_is_said(void **state) {
    (void)state;
    world w;
    tally t = {0};
    const tt_model_fault faults[] = {SURGE, {TT_FAULT_TAKEN, S(0), S(400), 0, ALL, 0.5}};
    open_world(&w, "degrade-shift-limit", faults, 2, NULL);
    run(&w, S(120), &t);
    assert_non_null(strstr(t.text, "only 50.0 % of the instances have acknowledged"));
    world_close(&w);
}

/* ---- restarts ---- */

static void a_restart_keeps_all_and_fences_the_old_writer(void **state) {
    (void)state;
    world w;
    tally t = {0};
    open_world(&w, "degrade-shift-limit", &(tt_model_fault)SURGE, 1, NULL);
    run(&w, S(100), &t);
    const tt_decision *d;
    size_t n = tt_engine_decisions(w.engine, &d), in_force = 0;
    tt_decision before[8];
    for (size_t i = 0; i < n && in_force < 8; i++)
        if (d[i].n_actions) before[in_force++] = d[i];
    assert_true(in_force > 0);
    assert_true(world_restart(&w));
    assert_int_equal(tt_engine_open_loops(w.engine), w.n_loops);
    world_tick(&w);
    for (size_t i = 0; i < in_force; i++) {
        const tt_decision *again = NULL;
        for (size_t k = 0; k < w.out.n_decisions; k++)
            if (tt_target_eq(&w.out.decisions[k].target, &before[i].target)) again = &w.out.decisions[k];
        assert_non_null(again);
        assert_true(again->epoch == before[i].epoch + 1 && again->version > before[i].version);
        assert_int_equal(again->n_actions, before[i].n_actions);
        for (uint32_t a = 0; a < again->n_actions; a++) assert_true(again->actions[a].value == before[i].actions[a].value);
    }
    /* The old writer still speaks, and is not listened to. */
    assert_false(tt_model_take(w.model, 1, before, in_force));
    run(&w, S(700), &t);
    assert_false(world_anything_in_force(&w));
    assert_int_equal(tt_engine_open_loops(w.engine), 0);
    world_close(&w);
}

static void new_rules_leave_nothing_of_the_old_to_look_at(void **state) {
    (void)state;
    world w;
    tally t = {0};
    tt_buf seen;
    open_world(&w, "degrade-shift-limit", &(tt_model_fault)SURGE, 1, NULL);
    while (tt_engine_open_loops(w.engine) == 0 && world_elapsed(&w) < S(120)) world_tick(&w);
    tt_buf_init(&seen, 1 << 20);
    tt_engine_anomalies_json(w.engine, &seen);
    assert_non_null(strstr(seen.p, "\"open\""));
    tt_buf_free(&seen);
    assert_true(world_reload(&w, "guardrails: {max_concurrent_loops: 3}\n"));
    tt_buf_init(&seen, 1 << 20);
    tt_engine_anomalies_json(w.engine, &seen);
    assert_string_equal(seen.p, "{\"items\":[]}");
    tt_buf_free(&seen);
    run(&w, S(120), &t);
    assert_false(world_anything_in_force(&w)); /* its plan is gone: everything is taken back */
    world_close(&w);
}

/* What one signal says of one label set, and the state of anomalies, as people see it. */
static const char *shown(const world *w, void (*json)(const tt_engine *, tt_buf *)) {
    static char text[1 << 16];
    tt_buf b;
    tt_buf_init(&b, sizeof text);
    json(w->engine, &b);
    assert_false(b.failed);
    memcpy(text, b.p, b.n + 1);
    tt_buf_free(&b);
    return text;
}

static void new_rules_keep_what_is_still_asked_for(void **state) {
    (void)state;
    world w;
    rules_options o;
    tt_model_spec spec;
    tally t = {0};
    tt_model_spec_default(&spec);
    spec.noise = 0;
    spec.faults[spec.n_faults++] = (tt_model_fault)SURGE;
    rules_options_default(&o, rules_ladder_named("degrade-shift-limit"), &spec);
    o.spec = &spec;
    static char text[16384], changed[16384 + 64];
    /* Without an armed cap: it would answer the surge before any signal tells of it. */
    const char *all = rules_text(&o), *limit = strstr(all, "limit: {");
    assert_non_null(limit);
    snprintf(text, sizeof text, "%.*slimit: {armed: false, %s", (int)(limit - all), all, limit + 8);
    assert_true(world_open(&w, &spec, text, 3, S(1)));
    while (tt_engine_open_loops(w.engine) == 0 && world_elapsed(&w) < S(120)) world_tick(&w);

    /* The same signals in another order, with others between; the same anomalies under new indices; the same plan. */
    char *signals = strstr(text, "signals:\n"), *anomalies = strstr(text, "anomalies:\n");
    snprintf(changed, sizeof changed, "%.*ssignals:\n  - {name: extra, query: up}\n%.*sanomalies:\n  - {name: more, when: extra > 1}\n%s", (int)(signals - text), text,
             (int)(anomalies - signals - 9), signals + 9, anomalies + 11);
    char before[1 << 16], after[1 << 16];
    snprintf(before, sizeof before, "%s", shown(&w, tt_engine_signals_json));
    assert_true(strlen(before) > 1000);
    snprintf(after, sizeof after, "%s", shown(&w, tt_engine_anomalies_json));
    assert_non_null(strstr(after, "\"open\""));
    assert_true(world_reload(&w, changed));
    assert_string_equal(shown(&w, tt_engine_anomalies_json), after);
    assert_string_equal(shown(&w, tt_engine_signals_json), before);
    size_t open = tt_engine_open_loops(w.engine);
    world_tick(&w);
    count(&w, &t);
    assert_int_equal(t.opened, 0);
    assert_int_equal(tt_engine_open_loops(w.engine), open);
    for (size_t i = 0; i < w.out.n_events; i++) assert_string_not_equal(w.out.events[i].kind, "anomaly_opened");

    /* One signal asked otherwise: its series are gone and the anomaly with it, the others stay. */
    char *query = strstr(text, "model_error_ratio");
    memcpy(query, "other", 5);
    assert_true(world_reload(&w, text));
    assert_null(strstr(shown(&w, tt_engine_anomalies_json), "not-serving"));
    assert_null(strstr(shown(&w, tt_engine_signals_json), "\"error_ratio\""));
    assert_non_null(strstr(shown(&w, tt_engine_signals_json), "\"offered_rps\""));
    /* Nor does another time of an anomaly keep it. */
    assert_true(world_reload(&w, changed));
    while (!strstr(shown(&w, tt_engine_anomalies_json), "not-serving")) world_tick(&w);
    memcpy(strstr(changed, "for: 2s"), "for: 3s", 7);
    assert_true(world_reload(&w, changed));
    assert_null(strstr(shown(&w, tt_engine_anomalies_json), "not-serving"));
    run(&w, S(400), &t);
    world_close(&w);
}

/* One answer that holds a part of what there is: the rest keeps what it had, until that is too old. */
static void a_partial_answer_forgets_nothing(void **state) {
    (void)state;
    static const char text[] = "services: [{name: a, dcs: [x, y]}]\nsignals: [{name: offered_rps, query: q, every: 2s, max_age: 6s}]\n";
    tt_arena *arena = tt_arena_new();
    tt_err err;
    const tt_doc *doc = tt_yaml_parse(arena, "a.yaml", tt_sv_of(text), NULL, &err);
    size_t n_errs;
    tt_rules *rules = tt_rules_load(&doc, 1, NULL, &err, 1, &n_errs);
    assert_non_null(rules);
    tt_engine_config cfg;
    tt_engine_config_default(&cfg);
    tt_engine *e = tt_engine_new(rules, &cfg);
    static const struct {
        int at_s;
        const char *dcs; /* told in this round */
        bool partial;
        const char *want_x, *want_y;
    } rounds[] = {
        {10, "xy", true, "ok", "ok"}, {12, "x", true, "ok", "ok"},    {14, "x", true, "ok", "ok"},     {17, "x", true, "ok", "stale"},
        {18, "xy", true, "ok", "ok"}, {20, "", true, "ok", "ok"},     {22, "y", true, "ok", "ok"},     {23, "x", false, "ok", "no_data"},
        {25, "y", true, "ok", "ok"},  {33, "", false, "no_data", "no_data"},
    };
    for (size_t i = 0; i < TT_COUNT(rounds); i++) {
        tt_measurement m[2];
        tt_time now = {S(rounds[i].at_s)};
        size_t n = 0;
        for (const char *dc = rounds[i].dcs; *dc; dc++)
            m[n++] = (tt_measurement){.n_labels = 2, .labels = {{TT_SV("service"), TT_SV("a")}, {TT_SV("dc"), {dc, 1}}}, .value = 5, .at = now};
        const tt_poll poll = {.answered = true, .partial = rounds[i].partial};
        tt_outcome out;
        tt_engine_tick(e, &(tt_observations){.now = now, .n_polls = 1, .polls = &poll, .n_measurements = n, .measurements = m}, &out);
        tt_buf b;
        tt_buf_init(&b, 1 << 16);
        tt_engine_signals_json(e, &b);
        for (int k = 0; k < 2; k++) {
            char label[16], want[32];
            snprintf(label, sizeof label, "\"dc\":\"%c\"", "xy"[k]);
            snprintf(want, sizeof want, "\"quality\":\"%s\"", k ? rounds[i].want_y : rounds[i].want_x);
            const char *one = strstr(b.p, label), *quality = one ? strstr(one, "\"quality\"") : NULL;
            if (!quality || strncmp(quality, want, strlen(want)) != 0) fail_msg("row %zu: %s, wanted %s of %c", i, b.p, want, "xy"[k]);
        }
        tt_buf_free(&b);
    }
    tt_engine_free(e);
    tt_rules_free(rules);
    tt_arena_free(arena);
}

static void what_is_no_saved_state_is_refused(void **state) {
    (void)state;
    static const char *const texts[] = {"{}",
                                        "[]",
                                        "3",
                                        "{\"format\":2}",
                                        "{\"format\":1}",
                                        "{\"format\":1,\"loops\":3,\"sites\":[],\"groups\":[]}",
                                        "{\"format\":1,\"loops\":[{\"phase\":\"dancing\"}],\"sites\":[],\"groups\":[]}"};
    world w;
    open_world(&w, "degrade-shift-limit", NULL, 0, NULL);
    for (size_t i = 0; i < TT_COUNT(texts); i++) {
        tt_arena *arena = tt_arena_new();
        tt_err err = {0};
        const tt_doc *doc = tt_yaml_parse(arena, "state.json", tt_sv_of(texts[i]), NULL, &err);
        assert_non_null(doc);
        if (tt_engine_restore(w.engine, doc, tt_model_now(w.model), &err)) fail_msg("took %s for a saved state", texts[i]);
        assert_true(err.text[0] != 0);
        tt_arena_free(arena);
    }
    tally t = {0};
    run(&w, S(10), &t); /* and goes on as if nobody had asked */
    world_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_on_good_evidence),
        cmocka_unit_test(a_freeze_holds_what_is_in_force),
        cmocka_unit_test(an_abort_takes_everything_back_and_is_not_argued_with),
        cmocka_unit_test(a_command_for_a_loop_that_is_not_there_is_answered),
        cmocka_unit_test(approval_is_waited_for_and_used),
        cmocka_unit_test(protected_services_are_left_alone),
        cmocka_unit_test(no_more_loops_than_allowed),
        cmocka_unit_test(a_mesh_that_takes_half_is_said),
        cmocka_unit_test(a_restart_keeps_all_and_fences_the_old_writer),
        cmocka_unit_test(new_rules_leave_nothing_of_the_old_to_look_at),
        cmocka_unit_test(new_rules_keep_what_is_still_asked_for),
        cmocka_unit_test(a_partial_answer_forgets_nothing),
        cmocka_unit_test(what_is_no_saved_state_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
