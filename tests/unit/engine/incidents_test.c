/* The five sample incidents and their neighbours: what the engine does, what it leaves alone, and that it takes everything back. */
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

typedef struct {
    const char *name, *ladder;
    bool inner_loop;
    tt_model_fault faults[3];
    const char *must;     /* action prefixes, space-separated, each of which must have been used */
    const char *must_not; /* and none of these */
    /* Values below 1: retries bring most of a half-failing site's requests through, and degraded answers are worth less. */
    double worth;  /* requests answered from the incident's start to a minute after its end, as a multiple of doing nothing, at least */
    double served; /* share of what is wanted that is served well in the last minute of the incident, at least */
} incident;

static const incident incidents[] = {
    {"overload in both sites",
     "degrade-shift-limit",
     true,
     {{TT_FAULT_DEMAND, S(60), S(120), 0, ALL, 1.75}},
     "degrade:recommendations",
     "eject",
     1.02,
     0.88},
    {"overload far over what degrade brings",
     "degrade-shift-limit",
     true,
     {{TT_FAULT_DEMAND, S(60), S(120), 0, ALL, 3}},
     "degrade:recommendations limit",
     "weights eject",
     1.05,
     0.55},
    {"overload without inner loop",
     "degrade-shift-limit",
     false,
     {{TT_FAULT_DEMAND, S(60), S(180), 0, ALL, 1.75}},
     "limit",
     "eject",
     3,
     0.78},
    {"site loss", "degrade-shift-limit", true, {{TT_FAULT_DOWN, S(60), S(120), 0, -1, 1, -1, 1}}, "weights:dc-a weights:dc-b", "eject", 1.07, 0.84},
    {"site fails half of its requests",
     "degrade-shift-limit",
     true,
     {{TT_FAULT_ERRORS, S(60), S(120), 0, 0, 1, -1, 0.5}},
     "weights:dc-a weights:dc-b",
     "eject",
     0.97,
     0.85},
    {"slow optional dependency",
     "degrade-shift-limit",
     true,
     {{TT_FAULT_SLOW, S(60), S(120), 0, 2, -1, -1, 15}},
     "degrade:recommendations",
     "eject weights",
     1.5,
     0.88},
    {"slow optional dependency in one site",
     "degrade-shift-limit",
     true,
     {{TT_FAULT_SLOW, S(60), S(120), 0, 2, 0, -1, 15}},
     "degrade:recommendations",
     "eject",
     1.1,
     0.93},
    {"bad instance",
     "degrade-shift-limit",
     true,
     {{TT_FAULT_BAD_INSTANCE, S(60), S(120), 0, 1, 0, 1, 0.95}},
     "eject:10.2.1.2:8080",
     "weights limit degrade",
     1.1,
     0.98},
    {"surge in drops", "drop-only", false, {{TT_FAULT_DEMAND, S(60), S(180), 0, ALL, 1.75}}, "drop:batch", "limit weights degrade eject", 2, 0.72},
    {"surge of half a minute",
     "degrade-shift-limit",
     true,
     {{TT_FAULT_DEMAND, S(60), S(30), 0, ALL, 2}},
     "degrade:recommendations",
     "weights eject",
     1.02,
     0},
    {"retry storm after a short trigger",
     "degrade-shift-limit",
     false,
     {{TT_FAULT_DEMAND, S(60), S(20), 0, ALL, 2.5}, {TT_FAULT_RETRIES, S(60), S(300), 0, ALL, 0.9}},
     "limit",
     "eject",
     3,
     0.98},
};

typedef struct {
    char actions[4096];
} heard;

static void listen(world *w, heard *h) {
    for (size_t i = 0; i < w->out.n_events; i++) {
        const tt_event *ev = &w->out.events[i];
        if (strcmp(ev->kind, "action") != 0) continue;
        char line[TT_NAME_MAX + 2];
        snprintf(line, sizeof line, " %s", ev->action);
        if (!strstr(h->actions, line) && strlen(h->actions) + strlen(line) < sizeof h->actions) strcat(h->actions, line);
    }
}

static bool used(const heard *h, const char *prefix, size_t n) {
    char want[TT_NAME_MAX + 2];
    snprintf(want, sizeof want, " %.*s", (int)n, prefix);
    return strstr(h->actions, want) != NULL;
}

static void each_word(const heard *h, const char *words, bool expect, const char *name) {
    for (const char *p = words; *p;) {
        size_t n = strcspn(p, " ");
        if (n && used(h, p, n) != expect) fail_msg("%s: %.*s was %s; used:%s", name, (int)n, p, expect ? "not used" : "used", h->actions);
        p += n + (p[n] == ' ');
    }
}

static void one(const incident *in) {
    tt_model_spec spec;
    tt_model_spec_default(&spec);
    spec.inner_loop = in->inner_loop;
    int64_t end = 0;
    for (size_t i = 0; i < TT_COUNT(in->faults) && in->faults[i].for_ns; i++) {
        spec.faults[spec.n_faults++] = in->faults[i];
        if (in->faults[i].from_ns + in->faults[i].for_ns > end) end = in->faults[i].from_ns + in->faults[i].for_ns;
    }
    rules_options o;
    rules_options_default(&o, rules_ladder_named(in->ladder), &spec);
    world w;
    assert_true(world_open(&w, &spec, rules_text(&o), 7, S(1)));
    w.verbose = getenv("TT_VERBOSE") != NULL;
    if (w.verbose) printf("---- %s\n", in->name);
    heard h = {.actions = ""};
    double good = 0, wanted = 0, before = 0, answered = 0;
    while (world_elapsed(&w) < end + S(900)) {
        if (world_elapsed(&w) == S(60)) before = w.good;
        if (world_elapsed(&w) == end + S(60)) answered = w.good - before;
        if (world_elapsed(&w) == end - S(60)) good = w.good, wanted = w.wanted;
        if (world_elapsed(&w) == end) good = w.good - good, wanted = w.wanted - wanted;
        world_tick(&w);
        listen(&w, &h);
        if (world_elapsed(&w) < S(60) && w.n_actions) fail_msg("%s: acts before anything is wrong: %s", in->name, h.actions);
    }
    double nothing = world_doing_nothing(&spec, 7, S(60), end + S(60));
    if (w.verbose) printf("     worth %.3f, served %.3f, used%s\n", answered / nothing, good / wanted, h.actions);
    each_word(&h, in->must, true, in->name);
    each_word(&h, in->must_not, false, in->name);
    if (answered < in->worth * nothing) fail_msg("%s: %.0f requests answered well, %.0f with nothing done", in->name, answered, nothing);
    if (good < in->served * wanted) fail_msg("%s: only %.3f of the demand served at the incident's end", in->name, good / wanted);
    if (tt_engine_open_loops(w.engine) || world_anything_in_force(&w)) fail_msg("%s: not wound back 15 minutes after the incident", in->name);
    world_close(&w);
}

static void incidents_are_answered(void **state) {
    (void)state;
    const char *only = getenv("TT_ONLY");
    for (size_t i = 0; i < TT_COUNT(incidents); i++)
        if (!only || strstr(incidents[i].name, only)) one(&incidents[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(incidents_are_answered)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
