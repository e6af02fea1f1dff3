/* The engine as people and dashboards see it: docs/contract.md, REST. */
#include "engine_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- loops ---- */

static void keeps(const tt_engine *e, const tt_loop *l, tt_buf *b) {
    tt_look k = {e, tt_loop_where(l)};
    tt_buf_put(b, TT_SV(",\"keep\":["));
    for (size_t i = 0; l->plan && i < l->plan->n_keep; i++) {
        const tt_expr *x = l->plan->keep[i];
        int signals[TT_EXPR_SIGNALS_MAX], bound_signal;
        tt_sv op;
        double bound;
        if (i) tt_buf_put(b, TT_SV(","));
        tt_buf_put(b, TT_SV("{\"expr\":"));
        tt_buf_json_string(b, tt_expr_text(x));
        size_t n = tt_expr_signals(x, signals);
        bool simple = tt_expr_bound(x, &bound_signal, &op, &bound);
        tt_reading r = n ? tt_read_signal(e, signals[0], &k.where) : (tt_reading){0};
        tt_buf_member(b, "signal", n ? e->rules->signals[signals[0]].name : TT_SV(""));
        tt_buf_member(b, "op", simple ? op : TT_SV(""));
        tt_buf_member_number(b, "bound", simple ? bound : (double)NAN);
        tt_buf_member_number(b, "value", r.known ? r.value : (double)NAN);
        tt_buf_member(b, "quality", tt_sv_of(tt_quality_name(r.known ? TT_Q_OK : r.quality)));
        tt_truth t = tt_expr_eval(x, tt_look_read, &k);
        tt_buf_printf(b, ",\"holds\":%s}", t == TT_UNKNOWN ? "null" : t == TT_TRUE ? "true" : "false");
    }
    tt_buf_put(b, TT_SV("]"));
}

static void actuator(tt_buf *b, bool *first, const tt_target *t, const char *action, double value, const char *unit, double max) {
    if (!*first) tt_buf_put(b, TT_SV(","));
    *first = false;
    tt_buf_put(b, TT_SV("{\"target\":"));
    tt_target_json(t, b);
    tt_buf_member(b, "action", tt_sv_of(action));
    tt_buf_member_number(b, "value", value);
    tt_buf_member(b, "unit", tt_sv_of(unit));
    tt_buf_member_number(b, "max", max);
    tt_buf_put(b, TT_SV("}"));
}

static void actuators(const tt_engine *e, const tt_loop *l, tt_buf *b) {
    bool first = true;
    char action[TT_NAME_MAX + 16];
    tt_buf_put(b, TT_SV(",\"actuators\":["));
    for (const tt_site *s = tt_loop_sites(e, l, NULL); s; s = tt_loop_sites(e, l, s)) {
        tt_target t = {0};
        tt_copy_text(t.service, sizeof t.service, tt_sv_of(tt_service_cname(e, s->service)));
        tt_copy_text(t.dc, sizeof t.dc, tt_sv_of(tt_dc_cname(e, s)));
        if (s->cap_rps > 0 && tt_plan_step(l->plan, TT_STEP_LIMIT)) actuator(b, &first, &t, "limit", s->cap_rps, "rps", NAN);
        for (size_t p = 0; p < e->rules->n_priorities; p++)
            if (s->drop[p] > 0) {
                snprintf(action, sizeof action, "drop:%.*s", TT_SV_ARG(e->rules->priorities[p]));
                actuator(b, &first, &t, action, s->drop[p], "ratio", 1);
            }
        const tt_step *d = tt_step_at(tt_plan_step(l->plan, TT_STEP_DEGRADE), s->service);
        if (s->level && d) {
            tt_target f = t;
            tt_copy_text(f.service, sizeof f.service, d->service);
            snprintf(action, sizeof action, "degrade:%.*s", TT_SV_ARG(d->feature));
            actuator(b, &first, &f, action, s->level, "level", d->levels);
        }
    }
    for (const tt_group *g = tt_loop_groups(e, l, NULL); g; g = tt_loop_groups(e, l, g)) {
        if (!g->weights) continue;
        tt_target t = {0};
        tt_copy_text(t.service, sizeof t.service, e->rules->services[g - e->groups].name);
        for (uint32_t k = 0; k < g->n_sites; k++) {
            snprintf(action, sizeof action, "weights:%.100s", tt_dc_cname(e, &e->sites[g->first_site + k]));
            actuator(b, &first, &t, action, g->share[k], "ratio", 1);
        }
    }
    for (int k = 0; k < TT_SIDES; k++) {
        const tt_side *d = &l->sides[k];
        if (!d->on) continue;
        tt_step_kind kind = (tt_step_kind)(TT_STEP_RETRY + k);
        const tt_step *st = tt_plan_step(l->plan, kind);
        const char *unit;
        tt_target t = {0};
        memcpy(t.service, d->service, sizeof t.service);
        memcpy(t.dc, l->target.dc, sizeof t.dc);
        tt_side_action(d, kind, action, &unit);
        double max = kind == TT_STEP_TIMEOUT ? (st ? st->most : (double)NAN) : 1;
        actuator(b, &first, &t, action, d->value, unit, max);
    }
    if (l->ejected) {
        tt_target t = l->target;
        t.instance[0] = 0;
        snprintf(action, sizeof action, "eject:%.120s", l->target.instance);
        actuator(b, &first, &t, action, 1, "level", 1);
    }
    tt_buf_put(b, TT_SV("]"));
}

static const char *next_of(const tt_engine *e, const tt_loop *l, int64_t *in_ns, char held[300]) {
    *in_ns = -1;
    if (!tt_loop_is_open(l)) return "";
    if (l->aborting) return "take everything back";
    if (e->frozen) return "nothing: automation is frozen";
    char by[280];
    if (tt_loop_held((tt_engine *)e, l, by, sizeof by)) {
        snprintf(held, 300, "nothing there: %s", by);
        return held;
    }
    for (const tt_site *s = tt_loop_sites(e, l, NULL); s; s = tt_loop_sites(e, l, s))
        if (s->acted && !s->acknowledged) return "wait for the mesh to acknowledge";
    switch (l->phase) {
    case TT_PHASE_DETECTED: return l->plan && (l->plan->mode == TT_MODE_OBSERVE || l->plan->mode == TT_MODE_ADVISE) ? "only watch" : "act";
    case TT_PHASE_AWAITING_APPROVAL:
        if (l->plan) *in_ns = l->plan->approve_within_ns - tt_since(e->now, l->phase_at);
        return "refuse, unless a person approves";
    case TT_PHASE_ACTING:
    case TT_PHASE_ESCALATED:
        for (const tt_site *s = tt_loop_sites(e, l, NULL); s; s = tt_loop_sites(e, l, s)) {
            if (!s->acted) continue;
            int64_t in = s->effective_at.ns + s->load.window_ns + e->cfg.ingest_ns - e->now.ns;
            if (in > *in_ns) *in_ns = in;
        }
        return "judge the last step";
    case TT_PHASE_SETTLING:
        if (l->plan) *in_ns = l->plan->settle_hold_ns - tt_since(e->now, l->kept_since);
        return "settled, if it holds";
    case TT_PHASE_SETTLED: return "take a step back when it is safe";
    case TT_PHASE_RECOVERING: return "take the next step back";
    case TT_PHASE_FROZEN: *in_ns = tt_since(l->locked_until, e->now); return "lock-out ends";
    default: return "";
    }
}

static void loop_head(const tt_engine *e, const tt_loop *l, tt_buf *b) {
    tt_buf_put(b, TT_SV("{\"id\":"));
    tt_buf_json_string(b, tt_sv_of(l->id));
    tt_buf_member(b, "plan", tt_sv_of(l->plan_name));
    tt_buf_member(b, "mode", tt_sv_of(l->plan ? tt_mode_name(l->plan->mode) : "gone"));
    tt_buf_member(b, "anomaly", tt_sv_of(l->anomaly_name));
    tt_buf_key(b, "target");
    tt_target_json(&l->target, b);
    tt_buf_member(b, "phase", tt_sv_of(tt_phase_name(l->phase)));
    tt_buf_member_wall(b, "opened_ms", l->opened);
    tt_buf_member_wall(b, "phase_since_ms", l->phase_wall);
    tt_buf_member_wall(b, "closed_ms", l->closed);
    if (l->ended)
        tt_buf_member(b, "ended", tt_sv_of(l->ended));
    else
        tt_buf_put(b, TT_SV(",\"ended\":null"));
    tt_buf_member(b, "why", tt_sv_of(l->why));
    int64_t in;
    char held[300];
    tt_buf_member(b, "next", tt_sv_of(next_of(e, l, &in, held)));
    if (in >= 0)
        tt_buf_printf(b, ",\"next_ms\":%lld", (long long)(e->wall.ms + in / 1000000));
    else
        tt_buf_put(b, TT_SV(",\"next_ms\":null"));
    keeps(e, l, b);
    actuators(e, l, b);
    const tt_site *s = tt_site_of((tt_engine *)e, l->target.service, l->target.dc);
    tt_capacity_source source = TT_CAPACITY_CONFIGURED;
    tt_capacity c = s ? tt_site_best_capacity(e, s, &source) : (tt_capacity){0};
    tt_buf_key(b, "capacity");
    if (c.rps > 0) {
        tt_buf_put(b, TT_SV("{\"rps\":"));
        tt_buf_number(b, c.rps);
        tt_buf_member(b, "source", tt_sv_of(tt_capacity_source_name(source)));
        tt_buf_member_number(b, "confidence", c.confidence);
        tt_buf_printf(b, ",\"age_ms\":%lld}", c.at.ns ? (long long)(tt_since(e->now, c.at) / 1000000) : 0LL);
    } else
        tt_buf_put(b, TT_SV("null"));
    tt_buf_printf(b, ",\"reversals\":%u,\"rung\":%u,\"steps\":[", l->reversals, l->rung);
    for (size_t i = 0; l->plan && i < l->plan->n_steps; i++) {
        if (i) tt_buf_put(b, TT_SV(","));
        tt_buf_json_string(b, tt_sv_of(tt_step_name(l->plan->steps[i].kind)));
    }
    tt_buf_put(b, TT_SV("],\"not_chosen\":["));
    for (uint32_t i = 0; i < l->n_not_chosen; i++) {
        tt_buf_put(b, i ? TT_SV(",{\"plan\":") : TT_SV("{\"plan\":"));
        tt_buf_json_string(b, tt_sv_of(l->not_chosen[i].plan));
        tt_buf_key(b, "target");
        tt_target_json(&l->not_chosen[i].target, b);
        tt_buf_member(b, "why", tt_sv_of(l->not_chosen[i].why));
        tt_buf_put(b, TT_SV("}"));
    }
    tt_buf_put(b, TT_SV("],\"allowed\":["));
    if (tt_loop_is_open(l) && !l->aborting) {
        tt_buf_put(b, TT_SV("\"abort\""));
        if (l->phase == TT_PHASE_AWAITING_APPROVAL) tt_buf_put(b, TT_SV(",\"approve\",\"refuse\""));
    }
    tt_buf_put(b, TT_SV("]"));
}

/* What is kept to three digits is written with four: the fifth would be an accident of its storage. */
static void figure(tt_buf *b, float v) {
    double a = fabs((double)v), scale = a > 0 && isfinite(a) ? pow(10, 3 - floor(log(a) / log(10))) : 1;
    tt_buf_number(b, isfinite(scale) && scale > 0 ? round((double)v * scale) / scale : (double)v);
}

static void history(const tt_engine *e, const tt_loop *l, tt_buf *b) {
    const char *names[TT_CHANNELS_MAX];
    int kind[TT_CHANNELS_MAX];
    int n = tt_channels(e, l, names, kind);
    static const char *const groups[] = {"signals", "load", "actuators"};
    tt_buf_put(b, TT_SV(",\"history\":["));
    tt_history_walk w = {0};
    for (bool begun = false; tt_history_next(&l->history, &w); begun = true) {
        tt_buf_printf(b, "%s{\"at_ms\":%lld,\"phase\":\"%s\"", begun ? "," : "", (long long)w.r.wall_ms, tt_phase_name((tt_phase)w.r.phase));
        for (int g = 0; g < 3; g++) {
            tt_buf_printf(b, ",\"%s\":{", groups[g]);
            bool first = true;
            for (int c = 0; c < n; c++) {
                int k = kind[c] & 0xff, of = k == 0 ? 0 : k <= 3 ? 1 : 2;
                if (of != g) continue;
                tt_buf_printf(b, "%s\"%s\":", first ? "" : ",", names[c]);
                figure(b, c < l->history.n_channels ? w.r.v[c] : NAN);
                first = false;
            }
            tt_buf_put(b, TT_SV("}"));
        }
        tt_buf_put(b, TT_SV("}"));
    }
    tt_buf_put(b, TT_SV("]"));
}

bool tt_engine_loop_json(const tt_engine *e, tt_sv id, tt_buf *b) {
    const tt_loop *l = tt_loop_find(e, id);
    if (!l) return false;
    loop_head(e, l, b);
    history(e, l, b);
    tt_buf_put(b, TT_SV("}"));
    return true;
}

static bool wanted(const tt_loop *l, tt_loops_filter f) {
    if (!l->used) return false;
    bool open = tt_loop_is_open(l);
    return f == TT_LOOPS_ALL || (f == TT_LOOPS_OPEN) == open;
}

static int newest_first(const void *a, const void *b) { return strcmp((*(const tt_loop *const *)b)->id, (*(const tt_loop *const *)a)->id); }

void tt_engine_loops_json(const tt_engine *e, tt_loops_filter f, tt_sv after, size_t limit, tt_buf *b) {
    /* ULIDs sort by their time: newest first is largest first. Ids are unique, so a page ends where the next begins. */
    const tt_loop **found = malloc((e->n_loops + 1) * sizeof *found);
    if (!found) {
        b->failed = true;
        return;
    }
    size_t n = 0;
    for (uint32_t i = 0; i < e->n_loops; i++)
        if (wanted(&e->loops[i], f) && (!after.n || tt_sv_cmp(tt_sv_of(e->loops[i].id), after) < 0)) found[n++] = &e->loops[i];
    qsort(found, n, sizeof *found, newest_first);
    size_t shown = n < limit ? n : limit;
    tt_buf_put(b, TT_SV("{\"items\":["));
    for (size_t i = 0; i < shown; i++) {
        if (i) tt_buf_put(b, TT_SV(","));
        loop_head(e, found[i], b);
        tt_buf_put(b, TT_SV("}"));
    }
    tt_buf_put(b, TT_SV("],\"next\":"));
    if (shown && shown < n)
        tt_buf_json_string(b, tt_sv_of(found[shown - 1]->id));
    else
        tt_buf_put(b, TT_SV("null"));
    tt_buf_put(b, TT_SV("}"));
    free(found);
}

/* ---- the rest ---- */

void tt_engine_signals_json(const tt_engine *e, tt_buf *b) {
    bool first = true;
    tt_buf_put(b, TT_SV("{\"items\":["));
    for (uint32_t i = 0; i < e->series.n; i++) {
        const tt_series *s = &e->series.s[i];
        if (!s->used) continue;
        tt_buf_put(b, first ? TT_SV("{\"name\":") : TT_SV(",{\"name\":"));
        first = false;
        tt_buf_json_string(b, e->rules->signals[s->signal].name);
        tt_buf_key(b, "labels");
        tt_labels_json(&s->labels, b);
        tt_quality q = tt_series_quality(e, s);
        tt_buf_member_number(b, "value", q == TT_Q_OK ? s->value : (double)NAN);
        tt_buf_member(b, "quality", tt_sv_of(tt_quality_name(q)));
        if (s->at.ns)
            tt_buf_printf(b, ",\"age_ms\":%lld}", (long long)(tt_since(e->now, s->at) / 1000000));
        else
            tt_buf_put(b, TT_SV(",\"age_ms\":null}"));
    }
    tt_buf_put(b, TT_SV("]}"));
}

void tt_engine_anomalies_json(const tt_engine *e, tt_buf *b) {
    bool first = true;
    tt_buf_put(b, TT_SV("{\"items\":["));
    for (uint32_t i = 0; i < e->n_anomalies; i++) {
        const tt_anomaly *a = &e->anomalies[i];
        if (!a->used) continue;
        const tt_anomaly_def *d = &e->rules->anomalies[a->anomaly];
        tt_buf_put(b, first ? TT_SV("{\"name\":") : TT_SV(",{\"name\":"));
        first = false;
        tt_buf_json_string(b, d->name);
        tt_buf_key(b, "labels");
        tt_labels_json(&a->labels, b);
        tt_buf_member(b, "state", tt_sv_of(tt_anomaly_state_name(a->state)));
        tt_buf_member_wall(b, "since_ms", a->since_wall);
        tt_buf_member_number(b, "value", a->value_known ? a->value : (double)NAN);
        tt_buf_member(b, "text", tt_anomaly_text(d));
        tt_buf_put(b, TT_SV(","));
        tt_trigger_detail(e, a, b);
        tt_buf_put(b, TT_SV("}"));
    }
    tt_buf_put(b, TT_SV("]}"));
}

static void age(const tt_engine *e, tt_buf *b, tt_time at) {
    if (at.ns)
        tt_buf_printf(b, ",\"age_ms\":%lld", (long long)(tt_since(e->now, at) / 1000000));
    else
        tt_buf_put(b, TT_SV(",\"age_ms\":null"));
}

static void candidates(const tt_engine *e, const tt_site *s, tt_buf *b) {
    bool first = true;
    tt_buf_put(b, TT_SV(",\"candidates\":["));
    for (int k = 0; k < TT_CAPACITY_COUNT; k++) {
        tt_capacity c = tt_capacity_of(e, s, (tt_capacity_source)k);
        if (!(c.rps > 0)) continue;
        tt_buf_printf(b, "%s{\"source\":\"%s\"", first ? "" : ",", tt_capacity_source_name((tt_capacity_source)k));
        first = false;
        tt_buf_member_number(b, "rps", c.rps);
        tt_buf_member_number(b, "confidence", c.confidence);
        tt_buf_member_number(b, "spread", c.samples > 1 ? c.spread : (double)NAN);
        tt_buf_printf(b, ",\"samples\":%u", c.samples);
        age(e, b, c.at);
        tt_buf_put(b, TT_SV("}"));
    }
    tt_buf_put(b, TT_SV("]"));
}

void tt_engine_capacity_json(const tt_engine *e, tt_buf *b) {
    tt_buf_put(b, TT_SV("{\"items\":["));
    for (uint32_t i = 0; i < e->n_sites; i++) {
        const tt_site *s = &e->sites[i];
        tt_capacity_source source;
        tt_capacity c = tt_site_best_capacity(e, s, &source);
        bool known = c.rps > 0;
        tt_buf_put(b, i ? TT_SV(",{\"service\":") : TT_SV("{\"service\":"));
        tt_buf_json_string(b, tt_sv_of(tt_service_cname(e, s->service)));
        tt_buf_member(b, "dc", tt_sv_of(tt_dc_cname(e, s)));
        tt_buf_member_number(b, "rps", known ? c.rps : (double)NAN);
        tt_buf_member(b, "source", tt_sv_of(known ? tt_capacity_source_name(source) : "unknown"));
        tt_buf_member_number(b, "confidence", c.confidence);
        age(e, b, c.at);
        tt_buf_member_number(b, "utilization", s->load.util_known ? s->load.util : (double)NAN);
        tt_buf_member_number(b, "headroom_rps", known && s->load.known ? c.rps - tt_site_demand(s) : (double)NAN);
        tt_buf_member_number(b, "offered_rps", s->load.known ? s->load.offered : (double)NAN);
        tt_buf_member_number(b, "ok_rps", s->load.known ? s->load.ok : (double)NAN);
        tt_buf_member_number(b, "dropped_rps", s->load.known ? s->load.dropped : (double)NAN);
        tt_buf_member_number(b, "share", e->groups[s->service].weights ? e->groups[s->service].share[s->dc] : tt_home_share(e, s));
        tt_buf_member_number(b, "cap_rps", s->cap_rps > 0 ? s->cap_rps : (double)NAN);
        tt_buf_printf(b, ",\"degrade_level\":%u", s->level);
        candidates(e, s, b);
        tt_buf_put(b, TT_SV("}"));
    }
    tt_buf_put(b, TT_SV("]}"));
}

void tt_engine_summary_json(const tt_engine *e, tt_buf *b) {
    uint32_t by[TT_PHASE_COUNT] = {0}, open = 0;
    for (uint32_t i = 0; i < e->n_loops; i++)
        if (tt_loop_is_open(&e->loops[i])) {
            by[e->loops[i].phase]++;
            open++;
        }
    tt_buf_printf(b, "{\"loops\":{\"open\":%u,\"by_phase\":{", open);
    bool first = true;
    for (int p = 0; p < TT_PHASE_COUNT; p++)
        if (by[p]) {
            tt_buf_printf(b, "%s\"%s\":%u", first ? "" : ",", tt_phase_name((tt_phase)p), by[p]);
            first = false;
        }
    tt_buf_printf(b, "}},\"series\":%u,\"load_test\":", e->series.n_used);
    const tt_load_test *test = tt_load_test_active(e);
    if (!test || !tt_engine_load_test_json(e, tt_sv_of(test->id), b)) tt_buf_put(b, TT_SV("null"));
    tt_buf_put(b, TT_SV(",\"frozen\":"));
    if (e->frozen) {
        tt_buf_put(b, TT_SV("{\"reason\":"));
        tt_buf_json_string(b, tt_sv_of(e->frozen_reason));
        tt_buf_member(b, "by", tt_sv_of(e->frozen_by));
        tt_buf_member_wall(b, "since_ms", e->frozen_since);
        tt_buf_put(b, TT_SV("}"));
    } else
        tt_buf_put(b, TT_SV("null"));
    tt_buf_key(b, "pins");
    tt_pins_put(e, b);
    tt_buf_key(b, "drift");
    tt_drifts_put(e, b);
    tt_buf_put(b, TT_SV(",\"freeze_windows\":["));
    const tt_guardrails *g = &e->rules->guardrails;
    for (size_t i = 0; i < g->n_freeze_windows; i++) {
        char when[80];
        tt_window_text(&g->freeze_windows[i], when, sizeof when);
        tt_buf_put(b, i ? TT_SV(",{\"when\":") : TT_SV("{\"when\":"));
        tt_buf_json_string(b, tt_sv_of(when));
        tt_buf_member(b, "then", tt_sv_of(g->freeze_windows[i].approve ? "approve" : "hold"));
        tt_buf_member(b, "reason", g->freeze_windows[i].reason);
        tt_buf_printf(b, ",\"open\":%s}", e->windows_open >> i & 1 ? "true" : "false");
    }
    tt_buf_put(b, TT_SV("]}"));
}

static void record(const tt_record *r, tt_buf *b) {
    static const tt_record none;
    if (!r) r = &none;
    tt_buf_put(b, TT_SV("{\"since_ms\":"));
    tt_buf_printf(b, r->since.ms ? "%lld" : "null", (long long)r->since.ms);
    tt_buf_member_wall(b, "last_ms", r->last);
#define X(f) tt_buf_printf(b, ",\"%s\":%u", #f, r->f);
    TT_RECORD_COUNTS(X)
#undef X
    tt_buf_put(b, TT_SV("}"));
}

void tt_engine_plans_json(const tt_engine *e, tt_buf *b) {
    const tt_rules *r = e->rules;
    tt_buf_put(b, TT_SV("{\"items\":["));
    for (size_t i = 0; i < r->n_plans; i++) {
        const tt_plan *p = &r->plans[i];
        tt_buf_put(b, i ? TT_SV(",{\"name\":") : TT_SV("{\"name\":"));
        tt_buf_json_string(b, p->name);
        tt_buf_member(b, "mode", tt_sv_of(tt_mode_name(p->mode)));
        tt_buf_member(b, "law", tt_sv_of(tt_law_name(p->law)));
        tt_buf_printf(b, ",\"priority\":%u", p->priority);
        if (p->exclusive.n) tt_buf_member(b, "exclusive", p->exclusive);
        tt_buf_member(b, "anomaly", r->anomalies[p->anomaly].name);
        tt_buf_member(b, "file", tt_sv_of(p->pos.file ? p->pos.file : ""));
        tt_buf_printf(b, ",\"line\":%u,\"hash\":\"%08x\",\"target\":{\"service\":", p->pos.line, p->hash);
        tt_buf_json_string(b, p->service);
        if (p->dc.n) tt_buf_member(b, "dc", p->dc);
        if (p->instance.n) tt_buf_member(b, "instance", p->instance);
        tt_buf_put(b, TT_SV("},\"keep\":["));
        for (size_t k = 0; k < p->n_keep; k++) {
            if (k) tt_buf_put(b, TT_SV(","));
            tt_buf_json_string(b, tt_expr_text(p->keep[k]));
        }
        tt_buf_put(b, TT_SV("],\"steps\":["));
        for (size_t k = 0; k < p->n_steps; k++) {
            if (k) tt_buf_put(b, TT_SV(","));
            tt_buf_json_string(b, tt_sv_of(tt_step_name(p->steps[k].kind)));
        }
        tt_buf_put(b, TT_SV("],\"record\":"));
        record(tt_record_of(e, p), b);
        tt_buf_put(b, TT_SV("}"));
    }
    tt_buf_put(b, TT_SV("]}"));
}
