/* Load tests as people see them, and as they are saved: docs/contract.md. */
#include "loadtest.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void put_point(const tt_load_test_point *p, tt_buf *b) {
    tt_buf_put(b, TT_SV("{\"added\":"));
    tt_buf_number(b, p->added);
    tt_buf_member_number(b, "offered_rps", p->offered);
    tt_buf_member_number(b, "admitted_rps", p->admitted);
    tt_buf_member_number(b, "ok_rps", p->ok);
    tt_buf_member_number(b, "utilization", p->util);
    tt_buf_member_number(b, "latency_mean_ms", p->latency_ms);
    tt_buf_printf(b, ",\"samples\":%u}", p->samples);
}

void tt_load_test_figures(const tt_load_test *t, tt_buf *b) {
    tt_buf_printf(b, "{\"phase\":\"%s\"", tt_load_test_phase_name(t->phase));
    tt_buf_member_number(b, "added", t->added);
    tt_buf_member_number(b, "max", t->max);
    if (t->n_points) {
        tt_buf_key(b, "last");
        put_point(&t->point[t->n_points - 1], b);
    }
    if (t->rps > 0) {
        tt_buf_member_number(b, "capacity_rps", t->rps);
        tt_buf_member_number(b, "confidence", t->confidence);
    }
    tt_buf_put(b, TT_SV("}"));
}

static void put_test(const tt_engine *e, const tt_load_test *t, tt_buf *b) {
    tt_buf_put(b, TT_SV("{\"id\":"));
    tt_buf_json_string(b, tt_sv_of(t->id));
    tt_buf_member_or_null(b, "service", t->service);
    tt_buf_member_or_null(b, "dc", t->dc);
    tt_buf_member_or_null(b, "phase", tt_load_test_phase_name(t->phase));
    tt_buf_member_wall(b, "phase_since_ms", t->phase_wall);
    tt_buf_member_or_null(b, "outcome", t->outcome);
    tt_buf_member_or_null(b, "knee", t->knee);
    tt_buf_member_or_null(b, "why", t->why);
    tt_buf_member_or_null(b, "actor", t->actor);
    tt_buf_member_or_null(b, "reason", t->reason);
    tt_buf_member_wall(b, "started_ms", t->started);
    tt_buf_member_wall(b, "ended_ms", t->ended);
    tt_buf_member_number(b, "step", t->spec.step);
    tt_buf_member_number(b, "max", t->max);
    tt_buf_printf(b, ",\"hold_ms\":%lld", (long long)(t->spec.hold_ns / 1000000));
    tt_buf_member_number(b, "home_share", t->home);
    tt_buf_member_number(b, "added", t->added);
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
    tt_buf_key(b, "capacity");
    if (t->rps > 0) {
        tt_buf_put(b, TT_SV("{\"rps\":"));
        tt_buf_number(b, t->rps);
        tt_buf_member_number(b, "confidence", t->confidence);
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
    tt_buf_member_or_null(b, "why_not", why);
    tt_buf_member_or_null(b, "service", spec->service);
    tt_buf_member_or_null(b, "dc", s ? tt_dc_cname(e, s) : spec->dc);
    tt_buf_member_number(b, "step", spec->step);
    tt_buf_member_number(b, "max", s ? max : (double)NAN);
    tt_buf_printf(b, ",\"hold_ms\":%lld", (long long)(spec->hold_ns / 1000000));
    double home = s ? tt_home_share(e, s) : 0;
    tt_buf_member_number(b, "home_share", s ? home : (double)NAN);
    tt_capacity_source from;
    tt_capacity c = s ? tt_site_best_capacity(e, s, &from) : (tt_capacity){0};
    tt_buf_member_number(b, "capacity_rps", c.rps > 0 ? c.rps : (double)NAN);
    tt_buf_member_or_null(b, "capacity_source", c.rps > 0 ? tt_capacity_source_name(from) : "");
    tt_buf_member_number(b, "confidence", c.confidence);
    tt_buf_put(b, TT_SV(",\"steps\":["));
    bool known = s && s->load.known && home > 0;
    for (uint32_t i = 1; s && i < TT_TEST_STEPS && (i - 1) * spec->step < max - 0.005; i++) {
        double added = fmin(i * spec->step, max), grows = home > 0 ? (home + added) / home : 0;
        tt_buf_put(b, i > 1 ? TT_SV(",{\"added\":") : TT_SV("{\"added\":"));
        tt_buf_number(b, added);
        tt_buf_member_number(b, "expected_rps", known ? s->load.offered * grows : (double)NAN);
        tt_buf_member_number(b, "expected_utilization", known && s->load.util_known ? s->load.util * grows : (double)NAN);
        tt_buf_put(b, TT_SV("}"));
    }
    tt_buf_put(b, TT_SV("]}"));
    return good;
}
