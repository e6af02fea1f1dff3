/* Load tests as people see them, and as they are saved: docs/contract.md. */
#include "loadtest.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void key(tt_buf *b, const char *name) { tt_buf_printf(b, ",\"%s\":", name); }
static void text(tt_buf *b, const char *name, const char *v) { /* empty: null */
    key(b, name);
    if (*v)
        tt_buf_json_string(b, tt_sv_of(v));
    else
        tt_buf_put(b, TT_SV("null"));
}
static void number(tt_buf *b, const char *name, double v) {
    key(b, name);
    tt_buf_number(b, v);
}
static void wall(tt_buf *b, const char *name, tt_wall w) {
    if (w.ms)
        tt_buf_printf(b, ",\"%s\":%lld", name, (long long)w.ms);
    else
        tt_buf_printf(b, ",\"%s\":null", name);
}

static void put_point(const tt_load_test_point *p, tt_buf *b) {
    tt_buf_put(b, TT_SV("{\"added\":"));
    tt_buf_number(b, p->added);
    number(b, "offered_rps", p->offered);
    number(b, "admitted_rps", p->admitted);
    number(b, "ok_rps", p->ok);
    number(b, "utilization", p->util);
    number(b, "latency_mean_ms", p->latency_ms);
    tt_buf_printf(b, ",\"samples\":%u}", p->samples);
}

void tt_load_test_figures(const tt_load_test *t, tt_buf *b) {
    tt_buf_printf(b, "{\"phase\":\"%s\"", tt_load_test_phase_name(t->phase));
    number(b, "added", t->added);
    number(b, "max", t->max);
    if (t->n_points) {
        key(b, "last");
        put_point(&t->point[t->n_points - 1], b);
    }
    if (t->rps > 0) {
        number(b, "capacity_rps", t->rps);
        number(b, "confidence", t->confidence);
    }
    tt_buf_put(b, TT_SV("}"));
}

static void put_test(const tt_engine *e, const tt_load_test *t, tt_buf *b) {
    tt_buf_put(b, TT_SV("{\"id\":"));
    tt_buf_json_string(b, tt_sv_of(t->id));
    text(b, "service", t->service);
    text(b, "dc", t->dc);
    text(b, "phase", tt_load_test_phase_name(t->phase));
    wall(b, "phase_since_ms", t->phase_wall);
    text(b, "outcome", t->outcome);
    text(b, "knee", t->knee);
    text(b, "why", t->why);
    text(b, "actor", t->actor);
    text(b, "reason", t->reason);
    wall(b, "started_ms", t->started);
    wall(b, "ended_ms", t->ended);
    number(b, "step", t->spec.step);
    number(b, "max", t->max);
    tt_buf_printf(b, ",\"hold_ms\":%lld", (long long)(t->spec.hold_ns / 1000000));
    number(b, "home_share", t->home);
    number(b, "added", t->added);
    int64_t left = t->spec.hold_ns - tt_since(e->now, t->phase_at);
    bool holds = t->phase == TT_TEST_MEASURING || t->phase == TT_TEST_HOLDING;
    tt_buf_printf(b, ",\"hold_left_ms\":%lld,\"points\":[", holds && left > 0 ? (long long)(left / 1000000) : 0LL);
    for (uint32_t i = 0; i < t->n_points; i++) {
        if (i) tt_buf_put(b, TT_SV(","));
        put_point(&t->point[i], b);
    }
    tt_buf_put(b, TT_SV("],\"now\":"));
    const tt_site *s = t->phase == TT_TEST_OVER ? NULL : tt_site_of((tt_engine *)e, t->service, t->dc);
    if (s && s->load.known) {
        put_point(&(tt_load_test_point){.added = t->added,
                                        .offered = s->load.offered,
                                        .admitted = s->load.admitted,
                                        .ok = s->load.ok,
                                        .util = s->load.util_known ? s->load.util : (double)NAN,
                                        .latency_ms = s->load.latency_known ? s->load.latency_ms : (double)NAN,
                                        .samples = 1},
                  b);
    } else
        tt_buf_put(b, TT_SV("null"));
    key(b, "capacity");
    if (t->rps > 0) {
        tt_buf_put(b, TT_SV("{\"rps\":"));
        tt_buf_number(b, t->rps);
        number(b, "confidence", t->confidence);
        tt_buf_put(b, TT_SV("}}"));
    } else
        tt_buf_put(b, TT_SV("null}"));
}

void tt_engine_load_tests_json(const tt_engine *e, tt_buf *b) {
    tt_buf_put(b, TT_SV("{\"items\":["));
    for (uint32_t i = 0; i < e->n_tests; i++) {
        if (i) tt_buf_put(b, TT_SV(","));
        put_test(e, &e->tests[i], b);
    }
    tt_buf_put(b, TT_SV("]}"));
}

bool tt_engine_load_test_json(const tt_engine *e, tt_sv id, tt_buf *b) {
    for (uint32_t i = 0; i < e->n_tests; i++)
        if (tt_sv_eq(tt_sv_of(e->tests[i].id), id)) {
            put_test(e, &e->tests[i], b);
            return true;
        }
    return false;
}

bool tt_engine_load_test_plan_json(tt_engine *e, const tt_load_test_spec *spec, tt_buf *b) {
    tt_site *s;
    double max;
    char why[300] = "";
    bool good = tt_load_test_check(e, spec, &s, &max, why, sizeof why);
    tt_buf_printf(b, "{\"possible\":%s", good ? "true" : "false");
    text(b, "why_not", why);
    text(b, "service", spec->service);
    text(b, "dc", s ? tt_dc_cname(e, s) : spec->dc);
    number(b, "step", spec->step);
    number(b, "max", s ? max : (double)NAN);
    tt_buf_printf(b, ",\"hold_ms\":%lld", (long long)(spec->hold_ns / 1000000));
    double home = s ? tt_home_share(e, s) : 0;
    number(b, "home_share", s ? home : (double)NAN);
    tt_capacity_source from;
    tt_capacity c = s ? tt_site_best_capacity(e, s, &from) : (tt_capacity){0};
    number(b, "capacity_rps", c.rps > 0 ? c.rps : (double)NAN);
    text(b, "capacity_source", c.rps > 0 ? tt_capacity_source_name(from) : "");
    number(b, "confidence", c.confidence);
    tt_buf_put(b, TT_SV(",\"steps\":["));
    bool known = s && s->load.known && home > 0;
    for (uint32_t i = 1; s && i < TT_TEST_STEPS && (i - 1) * spec->step < max - 0.005; i++) {
        double added = fmin(i * spec->step, max), grows = home > 0 ? (home + added) / home : 0;
        tt_buf_put(b, i > 1 ? TT_SV(",{\"added\":") : TT_SV("{\"added\":"));
        tt_buf_number(b, added);
        number(b, "expected_rps", known ? s->load.offered * grows : (double)NAN);
        number(b, "expected_utilization", known && s->load.util_known ? s->load.util * grows : (double)NAN);
        tt_buf_put(b, TT_SV("}"));
    }
    tt_buf_put(b, TT_SV("]}"));
    return good;
}
