/* The deliberate load test on the mesh model: it finds the knee, puts everything back, and gives way to whatever goes wrong meanwhile. */
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

#define S(s) TT_SECONDS(s)
#define ALL (-1), (-1), (-1)
static const char id[] = "01J9ZC8Q6W3V2K5M7N8P9Q0R1S";

typedef struct {
    world w;
    tt_model_spec spec;
    rules_options o;
    uint32_t actions, ended;
    double most; /* largest share of dc-a that was ever decided */
    bool never_back; /* a share rose again after it had been taken back */
    char texts[16384];
} bed;

/* The rules without the signal that tells how busy a site is. */
static char *without_utilization(const char *text) {
    static char copy[16384];
    snprintf(copy, sizeof copy, "%s", text);
    char *line = strstr(copy, "  - {name: utilization");
    memset(line, '#', strcspn(line, "\n"));
    return copy;
}

static void open_bed(bed *b, bool inner_loop, double demand_rps, const tt_model_fault *faults, size_t n) {
    memset(b, 0, sizeof *b);
    tt_model_spec_default(&b->spec);
    b->spec.inner_loop = inner_loop;
    b->spec.demand_rps = demand_rps;
    for (size_t i = 0; i < n; i++) b->spec.faults[b->spec.n_faults++] = faults[i];
    rules_options_default(&b->o, rules_ladder_named("degrade-shift-limit"), &b->spec);
    assert_true(world_open(&b->w, &b->spec, rules_text(&b->o), 3, S(1)));
    b->w.verbose = getenv("TT_VERBOSE") != NULL;
}

static void run(bed *b, int64_t ns) {
    for (int64_t end = world_elapsed(&b->w) + ns; world_elapsed(&b->w) < end;) {
        world_tick(&b->w);
        for (size_t i = 0; i < b->w.out.n_events; i++) {
            const tt_event *ev = &b->w.out.events[i];
            if (strcmp(ev->loop, id) != 0) continue;
            b->actions += strcmp(ev->kind, "action") == 0;
            if (strcmp(ev->action, "weights:dc-a") == 0 && ev->to > b->most) b->most = ev->to;
            if (strcmp(ev->kind, "action") != 0 && strlen(b->texts) + strlen(ev->reason) + 2 < sizeof b->texts) {
                strcat(b->texts, ev->reason);
                strcat(b->texts, "\n");
            }
        }
    }
}

static void begin(bed *b, const char *service, const char *dc, double step, double max, int64_t hold_ns) {
    tt_command *c = &b->w.commands[b->w.n_commands++];
    *c = (tt_command){.kind = TT_CMD_LOAD_TEST, .actor = TT_SV("op"), .reason = TT_SV("to know")};
    memcpy(c->loop, id, sizeof id);
    c->test = (tt_load_test_spec){.step = step, .max = max, .hold_ns = hold_ns};
    snprintf(c->test.service, sizeof c->test.service, "%s", service);
    snprintf(c->test.dc, sizeof c->test.dc, "%s", dc);
}

/* The text of the test's document. */
static const char *doc(bed *b) {
    static tt_buf out;
    tt_buf_free(&out);
    tt_buf_init(&out, 1 << 20);
    assert_true(tt_engine_load_test_json(b->w.engine, tt_sv_of(id), &out));
    return out.p;
}

static double number_in(const char *text, const char *key) {
    const char *at = strstr(text, key);
    if (!at) fail_msg("no %s in %s", key, text);
    return strtod(at + strlen(key), NULL);
}

static double capacity_of(bed *b, const char *source, const char *figure) {
    tt_buf out;
    tt_buf_init(&out, 1 << 20);
    tt_engine_capacity_json(b->w.engine, &out);
    const char *at = strstr(out.p, "\"service\":\"front\",\"dc\":\"dc-a\"");
    assert_non_null(at);
    char key[64];
    snprintf(key, sizeof key, "{\"source\":\"%s\"", source);
    at = strstr(at, key);
    double v = at ? number_in(at, figure) : (double)NAN;
    tt_buf_free(&out);
    return v;
}

static bool is_over(bed *b) { return strstr(doc(b), "\"phase\":\"over\"") != NULL; }

static void run_to_end(bed *b, int64_t within_ns) {
    run(b, S(1)); /* the command is taken */
    for (int64_t end = world_elapsed(&b->w) + within_ns; world_elapsed(&b->w) < end && !is_over(b);) run(b, S(1));
    if (!is_over(b)) fail_msg("not over: %s", doc(b));
    run(b, S(30));
    assert_false(b->w.n_loops);
    assert_false(world_anything_in_force(&b->w));
    /* As the mesh has it, too. */
    assert_false(tt_model_in_force(b->w.model, 0, -1)->weights);
}

/* ---- the knee ---- */

/* A site of the model carries 150 rps: 3 checkout instances of 4 workers, 80 ms a request. */
static void the_knee_is_found(void **state) {
    (void)state;
    static const struct {
        const char *name;
        bool inner;
        double demand, step;
        tt_model_fault fault; /* for_ns 0: none */
        double truth;
        const char *outcome;
        bool no_utilization;
    } rows[] = {
        {"inner loop", true, 200, 0.05, {0}, 150, "\"knee\"", false},
        {"no inner loop", false, 200, 0.05, {0}, 150, "\"knee\"", false},
        {"large steps", true, 180, 0.15, {0}, 150, "\"knee\"", false},
        {"without the inner loop, large steps", false, 180, 0.15, {0}, 150, "\"knee\"", false},
        {"a site with a quarter less", true, 160, 0.05, {TT_FAULT_CAPACITY, 0, S(5000), 0, 1, 0, -1, 0.75}, 112, "\"knee\"", false},
        {"nobody says how busy it is: it becomes slow", true, 240, 0.05, {0}, 150, "\"latency\"", true},
        {"nobody says how busy it is: failures", false, 240, 0.05, {0}, 150, "\"knee\"", true},
        {"little load: no knee within reach, but a line to it", true, 110, 0.1, {0}, 150, "\"limit\"", false},
    };
    for (size_t i = 0; i < TT_COUNT(rows); i++) {
        bed b;
        open_bed(&b, rows[i].inner, rows[i].demand, &rows[i].fault, rows[i].fault.for_ns > 0);
        if (rows[i].no_utilization) {
            world_close(&b.w);
            assert_true(world_open(&b.w, &b.spec, without_utilization(rules_text(&b.o)), 3, S(1)));
            b.w.verbose = getenv("TT_VERBOSE") != NULL;
        }
        run(&b, S(90));
        double before = b.w.good / b.w.wanted;
        begin(&b, "front", "dc-a", rows[i].step, 0.4, S(20));
        run_to_end(&b, S(1500));
        const char *d = doc(&b);
        double rps = number_in(d, "\"capacity\":{\"rps\":");
        if (!strstr(d, rows[i].outcome) || fabs(rps / rows[i].truth - 1) > 0.1) fail_msg("%s: %.1f rps of %.0f: %s", rows[i].name, rps, rows[i].truth, d);
        if (b.most <= 0.5 || b.most > 0.9 + 1e-9) fail_msg("%s: dc-a had %.2f", rows[i].name, b.most);
        assert_true(fabs(capacity_of(&b, "load_test", "\"rps\":") - rps) < 1e-6);
        assert_true(capacity_of(&b, "load_test", "\"confidence\":") > 0.55);
        /* Nobody was hurt by it. */
        if (b.w.good / b.w.wanted < before - (rows[i].no_utilization ? 0.01 : 0.002)) fail_msg("%s: %.4f of the requests were answered well, %.4f before", rows[i].name, b.w.good / b.w.wanted, before);
        world_close(&b.w);
    }
}

/* ---- it gives way ---- */

static void whatever_goes_wrong_ends_it(void **state) {
    (void)state;
    static const struct {
        const char *name;
        tt_model_fault fault;
        const char *says;
    } rows[] = {
        {"a surge", {TT_FAULT_DEMAND, S(170), S(60), 0, ALL, 2.5}, NULL},
        {"the site that gives fails", {TT_FAULT_ERRORS, S(170), S(60), 0, 0, 1, -1, 0.3}, NULL},
        {"the site under test fails", {TT_FAULT_ERRORS, S(170), S(60), 0, 0, 0, -1, 0.3}, NULL},
        {"a slow dependency", {TT_FAULT_SLOW, S(170), S(60), 0, 2, -1, -1, 20}, NULL},
        {"monitoring is blind", {TT_FAULT_BLIND, S(170), S(60), 0, ALL, 1}, "of front in dc-a is"},
        {"nothing newer comes", {TT_FAULT_STALE, S(170), S(60), 0, ALL, 1}, "of front in dc-a is"},
        {"a metric that lies opens a loop", {TT_FAULT_LIE, S(170), S(60), 0, 0, 1, -1, 0.5}, "a loop of plan keep-serving has opened on front in dc-b"},
        {"a bad instance below", {TT_FAULT_BAD_INSTANCE, S(170), S(60), 0, 2, 1, 0, 1}, NULL},
    };
    for (size_t i = 0; i < TT_COUNT(rows); i++) {
        bed b;
        open_bed(&b, true, 200, &rows[i].fault, 1);
        run(&b, S(90));
        begin(&b, "front", "dc-a", 0.05, 0.4, S(20));
        run(&b, S(79));
        if (is_over(&b) || b.most <= 0.5) fail_msg("%s: not in the middle when it happens: %s", rows[i].name, doc(&b));
        while (world_elapsed(&b.w) < S(190) && !is_over(&b)) run(&b, S(1));
        if (!is_over(&b)) fail_msg("%s: goes on after 20 s: %s", rows[i].name, doc(&b));
        if (!strstr(b.texts, "all traffic goes back at once")) fail_msg("%s:\n%s", rows[i].name, b.texts);
        if (rows[i].says && !strstr(b.texts, rows[i].says)) fail_msg("%s: does not say \"%s\" but\n%s", rows[i].name, rows[i].says, b.texts);
        assert_non_null(strstr(doc(&b), "\"outcome\":\"aborted\""));
        assert_true(isnan(capacity_of(&b, "load_test", "\"rps\":"))); /* what it saw may have been the incident */
        /* From here on it is the incident's own; in the end nothing is left of either. */
        uint32_t actions = b.actions;
        run(&b, S(900));
        assert_int_equal(b.actions, actions);
        if (world_anything_in_force(&b.w) || b.w.n_loops) fail_msg("%s: something is left", rows[i].name);
        world_close(&b.w);
    }
}

static void people_end_it(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++) {
        bed b;
        open_bed(&b, true, 200, NULL, 0);
        run(&b, S(90));
        begin(&b, "front", "dc-a", 0.05, 0.4, S(20));
        run(&b, S(80));
        assert_true(b.most > 0.5 && world_anything_in_force(&b.w));
        if (i == 0) world_command(&b.w, TT_CMD_LOAD_TEST_ABORT, id);
        if (i == 1) world_command(&b.w, TT_CMD_FREEZE, NULL);
        if (i == 2) {
            b.o.keep_ratio = 0.03;
            assert_true(world_reload(&b.w, rules_text(&b.o)));
        }
        run(&b, S(1));
        assert_true(is_over(&b));
        assert_false(world_anything_in_force(&b.w));
        static const char *const says[] = {"stopped by op", "automation is frozen", "new rules are in force"};
        assert_non_null(strstr(b.texts, says[i]));
        assert_non_null(strstr(doc(&b), "\"outcome\":\"aborted\""));
        assert_true(isnan(capacity_of(&b, "load_test", "\"rps\":")));
        world_close(&b.w);
    }
}

static void a_restart_puts_it_back(void **state) {
    (void)state;
    bed b;
    open_bed(&b, true, 200, NULL, 0);
    run(&b, S(90));
    begin(&b, "front", "dc-a", 0.05, 0.4, S(20));
    run(&b, S(80));
    assert_true(world_anything_in_force(&b.w));
    assert_true(world_restart(&b.w));
    run(&b, S(2));
    assert_true(is_over(&b));
    assert_false(world_anything_in_force(&b.w));
    assert_non_null(strstr(b.texts, "started again in the middle"));
    run(&b, S(20));
    assert_false(tt_model_in_force(b.w.model, 0, -1)->weights);
    /* What it found is kept over another restart. */
    begin(&b, "front", "dc-a", 0.05, 0.4, S(20));
    b.w.commands[0].loop[0] = '7';
    run(&b, S(900));
    double rps = capacity_of(&b, "load_test", "\"rps\":"), learned = capacity_of(&b, "learned", "\"samples\":");
    assert_true(rps > 100);
    assert_true(world_restart(&b.w));
    run(&b, S(1));
    assert_true(capacity_of(&b, "load_test", "\"rps\":") == rps);
    assert_true(capacity_of(&b, "learned", "\"samples\":") >= learned);
    world_close(&b.w);
}

/* A trimtab that dies for good: the weights fade at the data plane. */
static void the_weights_fade_by_themselves(void **state) {
    (void)state;
    bed b;
    open_bed(&b, true, 200, NULL, 0);
    run(&b, S(90));
    begin(&b, "front", "dc-a", 0.05, 0.4, S(40));
    uint32_t told = 0;
    for (int i = 0; i < 100; i++) {
        run(&b, S(1));
        for (size_t k = 0; k < b.w.out.n_decisions; k++) {
            const tt_decision *d = &b.w.out.decisions[k];
            if (d->target.dc[0] || !d->n_actions) continue;
            told++;
            assert_true(d->expire_after_ms == 60000 && d->decay_over_ms == 20000);
            assert_true(d->n_loops == 1 && strcmp(d->loops[0], id) == 0);
        }
    }
    assert_true(told >= 5); /* as long as it lives they are confirmed */
    world_close(&b.w);
}

/* ---- it is not begun ---- */

static void refused_with_the_reason(void **state) {
    (void)state;
    static const struct {
        const char *service, *dc, *says;
        double step, max;
        int64_t hold_ns;
    } rows[] = {
        {"front", "dc-x", "front has no data center dc-x", 0.05, 0.4, S(20)},
        {"nobody", "", "no service nobody is declared", 0.05, 0.4, S(20)},
        {"front", "dc-a", "step is 0.5% to 25%", 0.5, 0.6, S(20)},
        {"front", "dc-a", "max is at least a step", 0.05, 0.01, S(20)},
        {"front", "dc-a", "hold is 5s to 10m", 0.05, 0.4, S(1)},
        {"front", "dc-a", "more than 63 steps", 0.005, 0.4, S(20)},
    };
    for (size_t i = 0; i < TT_COUNT(rows); i++) {
        bed b;
        open_bed(&b, true, 200, NULL, 0);
        run(&b, S(60));
        begin(&b, rows[i].service, rows[i].dc, rows[i].step, rows[i].max, rows[i].hold_ns);
        run(&b, S(1));
        if (!strstr(b.texts, rows[i].says)) fail_msg("%s", b.texts);
        assert_non_null(strstr(doc(&b), "\"outcome\":\"refused\""));
        run(&b, S(100));
        assert_int_equal(b.actions, 0);
        world_close(&b.w);
    }
    /* In the middle of an incident; frozen; while another is under way. */
    bed b;
    const tt_model_fault surge = {TT_FAULT_DEMAND, S(60), S(120), 0, ALL, 3};
    open_bed(&b, true, 200, &surge, 1);
    run(&b, S(80));
    begin(&b, "front", "dc-a", 0.05, 0.4, S(20));
    run(&b, S(1));
    assert_non_null(strstr(b.texts, "something is wrong already"));
    world_close(&b.w);
    open_bed(&b, true, 200, NULL, 0);
    run(&b, S(60));
    world_command(&b.w, TT_CMD_FREEZE, NULL);
    begin(&b, "front", "dc-a", 0.05, 0.4, S(20));
    run(&b, S(1));
    assert_non_null(strstr(b.texts, "automation is frozen"));
    world_close(&b.w);
    open_bed(&b, true, 200, NULL, 0);
    run(&b, S(60));
    begin(&b, "front", "dc-a", 0.05, 0.4, S(20));
    run(&b, S(10));
    begin(&b, "front", "dc-b", 0.05, 0.4, S(20));
    b.w.commands[0].loop[0] = '7';
    run(&b, S(1));
    tt_buf all;
    tt_buf_init(&all, 1 << 20);
    tt_engine_load_tests_json(b.w.engine, &all);
    assert_non_null(strstr(all.p, "one at a time"));
    tt_buf_free(&all);
    assert_false(is_over(&b)); /* and the first goes on */
    world_close(&b.w);
}

static void the_guardrail_bounds_it(void **state) {
    (void)state;
    bed b;
    open_bed(&b, true, 110, NULL, 0);
    world_close(&b.w);
    b.o.max_capacity_removed = 0.1;
    b.o.spec = &b.spec;
    assert_true(world_open(&b.w, &b.spec, rules_text(&b.o), 3, S(1)));
    run(&b, S(90));
    begin(&b, "front", "dc-a", 0.05, 0.4, S(20));
    run_to_end(&b, S(900));
    /* A tenth of the service's capacity is a fifth of dc-b's share of one half. */
    if (b.most < 0.58 || b.most > 0.61) fail_msg("dc-a had %.3f", b.most);
    world_close(&b.w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_knee_is_found),
        cmocka_unit_test(whatever_goes_wrong_ends_it),
        cmocka_unit_test(people_end_it),
        cmocka_unit_test(a_restart_puts_it_back),
        cmocka_unit_test(the_weights_fade_by_themselves),
        cmocka_unit_test(refused_with_the_reason),
        cmocka_unit_test(the_guardrail_bounds_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
