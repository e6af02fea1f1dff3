/* What only shows when the sections are crossed: circles among services, promises that can never be kept, steps that have nothing to act on,
 * plans that fight. */
#include "plan_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static bool is_var(tt_sv s) {
    return s.n && s.p[0] == '$';
}
static bool ends_with(tt_sv s, tt_sv end) {
    return s.n >= end.n && memcmp(s.p + s.n - end.n, end.p, end.n) == 0;
}

/* ---- services ---- */

typedef struct {
    tt_load *l;
    uint8_t state[TT_SERVICES_MAX]; /* 0 not seen, 1 on the path, 2 done */
    uint32_t path[TT_SERVICES_MAX];
    size_t n;
} walk;

static void report_circle(walk *w, uint32_t to, const tt_doc *at) {
    const tt_rules *r = w->l->r;
    char text[300] = "";
    size_t used = 0, i = 0;
    while (w->path[i] != to) i++;
    for (; i < w->n && used < sizeof(text); i++) {
        int k = snprintf(text + used, sizeof(text) - used, TT_SV_FMT " -> ", TT_SV_ARG(r->services[w->path[i]].name));
        used += k > 0 ? (size_t)k : 0;
    }
    tt_load_fail(w->l, TT_EVALUE, at,
                 "services call in a circle, %s" TT_SV_FMT ": leave out the call that carries no requests, load has to end somewhere", text,
                 TT_SV_ARG(r->services[to].name));
}

static void follow(walk *w, uint32_t service) {
    const tt_service_def *s = &w->l->r->services[service];
    w->state[service] = 1;
    w->path[w->n++] = service;
    for (size_t i = 0; i < s->n_calls; i++) {
        if (w->state[s->calls[i]] == 1)
            report_circle(w, s->calls[i], w->l->services[service].calls[i]);
        else if (w->state[s->calls[i]] == 0)
            follow(w, s->calls[i]);
    }
    w->n--;
    w->state[service] = 2;
}

/* How many services there are below, itself among them; cut short above the most. */
static size_t count_below(const tt_rules *r, uint32_t service, uint8_t seen[TT_SERVICES_MAX]) {
    uint32_t queue[TT_CLOSURE_MAX + 1];
    size_t n = 0;
    queue[n++] = service;
    seen[service] = 1;
    for (size_t at = 0; at < n; at++)
        for (size_t i = 0; i < r->services[queue[at]].n_calls && n <= TT_CLOSURE_MAX; i++) {
            uint32_t c = r->services[queue[at]].calls[i];
            if (seen[c]) continue;
            seen[c] = 1;
            queue[n++] = c;
        }
    return n;
}

/* What is below a service is looked at with it, hop by hop: silently leaving some out would judge it by the wrong bottleneck. */
static void check_depth(tt_load *l, uint32_t service) {
    uint8_t seen[TT_SERVICES_MAX] = {0};
    const tt_service_def *s = &l->r->services[service];
    if (!s->n_calls || count_below(l->r, service, seen) <= TT_CLOSURE_MAX) return;
    tt_load_fail(l, TT_ELIMIT, l->services[service].calls[0],
                 "service " TT_SV_FMT " and what it calls, near and far, are more than %d services: leave out of calls what can't be its bottleneck",
                 TT_SV_ARG(s->name), TT_CLOSURE_MAX);
}

static void check_services(tt_load *l) {
    walk w = {.l = l};
    size_t before = l->total;
    for (uint32_t i = 0; i < l->r->n_services; i++)
        if (w.state[i] == 0) follow(&w, i);
    for (uint32_t i = 0; l->total == before && i < l->r->n_services; i++) check_depth(l, i);
}

/* ---- expressions ---- */

static tt_range range_of(void *ctx, int asked) {
    static const char *const not_negative[] = {"_rps", "_ms", "_ratio", "_total", "_count", "_seconds", "_bytes"};
    const tt_rules *rules = ctx;
    if (asked >= TT_EXPR_CALL) {
        const tt_track_def *t = &rules->tracks[asked - TT_EXPR_CALL];
        tt_range r = range_of(ctx, (int)t->signal);
        if (t->kind == TT_TRACK_RATE) return (tt_range){0, INFINITY};
        return t->kind == TT_TRACK_CHANGE ? (tt_range){r.low - r.high, r.high - r.low} : r;
    }
    const tt_signal_def *s = &rules->signals[asked];
    tt_sv of = s->reports.n ? s->reports : s->name;
    if (tt_sv_eq(of, TT_SV("error_ratio"))) return (tt_range){0, 1};
    if (s->reports.n || tt_sv_eq(of, TT_SV("utilization")) || tt_sv_eq(of, TT_SV("inflight"))) return (tt_range){0, INFINITY};
    for (size_t i = 0; i < TT_COUNT(not_negative); i++)
        if (ends_with(of, tt_sv_of(not_negative[i]))) return (tt_range){0, INFINITY};
    return (tt_range){-INFINITY, INFINITY};
}

static void check_expr(tt_load *l, const tt_doc *node, const char *what, const char *never, const char *always, const tt_expr *e) {
    if (!e->n_signals) {
        tt_load_fail(l, TT_EVALUE, node, "%s %s reads no signal: compare one, such as error_ratio > 5%%", what, tt_show(node).text);
        return;
    }
    switch (tt_expr_always(&e, 1, range_of, l->r)) {
    case TT_FALSE:
        tt_load_fail(l, TT_EVALUE, node, "%s %s can never hold, %s: rates, times and ratios are at least 0, error_ratio at most 1", what,
                     tt_show(node).text, never);
        break;
    case TT_TRUE:
        tt_load_fail(l, TT_EVALUE, node, "%s %s always holds, %s: rates, times and ratios are at least 0, error_ratio at most 1", what,
                     tt_show(node).text, always);
        break;
    case TT_UNKNOWN:
        break;
    }
}

static void check_clear(tt_load *l, const tt_anomaly_def *a, const tt_anomaly_nodes *n) {
    size_t before = l->total;
    check_expr(l, n->clear, "clear", "so it would never be over", "so it would be over at once", a->clear);
    if (l->total != before || tt_expr_together((const tt_expr *const[]){a->when, a->clear}, 2, NULL, range_of, l->r) != TT_TRUE) return;
    tt_load_fail(
        l, TT_EVALUE, n->clear,
        "clear %s can hold while when does: an anomaly would be over while it lasts; narrow it, such as error_ratio < 2%% to when: error_ratio > 5%%",
        tt_show(n->clear).text);
}

static void check_burns(tt_load *l, const tt_anomaly_def *a, const tt_anomaly_nodes *n) {
    for (size_t i = 0; i < a->slo.n_burns; i++) {
        double most = 1 / (1 - a->slo.objective);
        if (a->slo.objective <= 0 || a->slo.burns[i].rate < most) continue;
        const tt_doc *objective = tt_doc_get(n->slo, TT_SV("objective"));
        char rate[32], of[32];
        tt_number_text(a->slo.burns[i].rate, rate, sizeof(rate));
        tt_number_text(floor(most * 100 + 0.5) / 100, of, sizeof(of));
        tt_load_fail(l, TT_EVALUE, n->burns[i] ? n->burns[i] : objective,
                     "burn %s can never hold: at an objective of " TT_SV_FMT
                     " all requests failing burn %s times; write windows with a burn below that",
                     rate, TT_SV_ARG(objective->text), of);
    }
}

static void check_anomaly(tt_load *l, const tt_anomaly_def *a, tt_anomaly_nodes *n) {
    size_t before = l->total;
    if (a->when) check_expr(l, n->when, "when", "so nothing would ever answer", "so it would be an anomaly for ever", a->when);
    if (a->when && a->clear && l->total == before) check_clear(l, a, n);
    if (a->kind == TT_ANOMALY_SLO) check_burns(l, a, n);
    n->bad = l->total != before;
}

/* A bound that still holds in the middle of the anomaly is no aim. */
static bool check_aim(tt_load *l, const tt_anomaly_def *a, const tt_doc *node, const tt_expr *keep) {
    int signal;
    tt_sv op;
    double bound;
    if (!tt_expr_bound(keep, &signal, &op, &bound)) return true;
    tt_bounds when = tt_expr_bounds(a->when, signal, range_of, l->r), kept = tt_expr_bounds(keep, signal, range_of, l->r);
    bool above = kept.has_high && !kept.has_low && when.has_low && !when.has_high &&
                 (kept.high > when.low || (kept.high == when.low && !kept.high_open && !when.low_open));
    bool below = kept.has_low && !kept.has_high && when.has_high && !when.has_low &&
                 (kept.low < when.high || (kept.low == when.high && !kept.low_open && !when.high_open));
    if (!above && !below) return true;
    return tt_load_fail(l, TT_EVALUE, node,
                        "keep %s can hold while anomaly " TT_SV_FMT " does (" TT_SV_FMT
                        "): the plan would settle in the middle of it; write a bound that the anomaly is outside of",
                        tt_show(node).text, TT_SV_ARG(a->name), TT_SV_ARG(tt_expr_text(a->when)));
}

/* What the plan keeps and what opens and ends its anomaly. */
static void check_against_anomaly(tt_load *l, const tt_plan *p, const tt_plan_nodes *n) {
    const tt_anomaly_def *a = &l->r->anomalies[p->anomaly];
    if (!a->when || l->anomalies[p->anomaly].bad) return;
    for (size_t i = 0; i < p->n_keep; i++)
        if (!check_aim(l, a, &n->keep->items[i], p->keep[i])) return;
    const tt_expr *all[TT_KEEPS_MAX + 1];
    for (size_t i = 0; i < p->n_keep; i++) all[i] = p->keep[i];
    if (a->clear) all[p->n_keep] = a->clear;
    if (tt_expr_together(all, p->n_keep + (a->clear != NULL), a->clear ? NULL : a->when, range_of, l->r) != TT_FALSE) return;
    tt_load_fail(l, TT_EVALUE, n->keep,
                 "with keep reached, anomaly " TT_SV_FMT " can never be over (%s " TT_SV_FMT "): the plan would work against its own aim",
                 TT_SV_ARG(a->name), a->clear ? "clear:" : "it lasts while", TT_SV_ARG(tt_expr_text(a->clear ? a->clear : a->when)));
}

static void check_keeps(tt_load *l, const tt_plan *p, const tt_plan_nodes *n) {
    size_t before = l->total;
    if (!n->keep || n->keep->kind != TT_DOC_SEQ || n->keep->n != p->n_keep) return; /* one of them was reported */
    for (size_t i = 0; i < p->n_keep; i++)
        check_expr(l, &n->keep->items[i], "keep", "so the plan could never settle", "so the plan would settle whatever happens", p->keep[i]);
    if (l->total == before && tt_expr_always(p->keep, p->n_keep, range_of, l->r) == TT_FALSE)
        tt_load_fail(l, TT_EVALUE, n->keep,
                     "the members of keep can never hold together, so the plan could never settle: two of them exclude each other");
    if (l->total == before && !n->bad && p->anomaly < l->r->n_anomalies) check_against_anomaly(l, p, n);
}

/* ---- plans ---- */

static const tt_step *step_of(const tt_plan *p, tt_step_kind kind, size_t *ret_at) {
    for (size_t i = 0; i < p->n_steps; i++)
        if (p->steps[i].kind == kind) {
            *ret_at = i;
            return &p->steps[i];
        }
    return NULL;
}

/* The service as declared; NULL with the problem told when its name is a literal that is not. */
static const tt_service_def *declared(tt_load *l, const tt_doc *node, tt_sv name, const char *what, const char *why) {
    tt_rules *r = l->r;
    int k = tt_rules_service(r, name);
    if (k >= 0 || l->services_unsure) return k >= 0 ? &r->services[k] : NULL;
    char say[160];
    tt_nearest near = tt_nearest_to(name);
    for (size_t i = 0; i < r->n_services; i++) tt_nearest_try(&near, r->services[i].name);
    tt_load_fail(l, TT_EUNKNOWN, node, "%s %s is not declared under services%s%s", what, tt_show(node).text, near.best.n ? "" : why,
                 tt_nearest_say(&near, say));
    return NULL;
}

/* A pattern that runs away counts as no match, or as protected: what can be seen of that at load is told. */
static void check_pattern(tt_load *l, const tt_label_match *m, const char *what) {
    const tt_rules *r = l->r;
    bool services = tt_sv_eq(m->label, TT_SV("service")), dcs = tt_sv_eq(m->label, TT_SV("dc"));
    if (!m->pattern || (!services && !dcs)) return;
    for (size_t i = 0; i < r->n_services; i++)
        for (size_t k = 0; k < (services ? 1 : r->services[i].n_dcs); k++) {
            tt_sv groups[TT_MATCH_GROUPS_MAX], name = services ? r->services[i].name : r->services[i].dcs[k].name;
            if (r->matcher->match(r->matcher->ctx, m->pattern, name, groups) != TT_MATCH_LIMIT) continue;
            tt_doc at = {.kind = TT_DOC_SCALAR, .pos = m->pos};
            tt_load_fail(l, TT_ELIMIT, &at, "%s " TT_SV_FMT " runs away on " TT_SV_FMT ": it tries more than may be tried; write it without a repeat inside a repeat", what,
                         TT_SV_ARG(m->text), TT_SV_ARG(name));
            return;
        }
}

static void check_patterns(tt_load *l) {
    const tt_rules *r = l->r;
    for (size_t i = 0; i < r->guardrails.n_protected; i++) check_pattern(l, &r->guardrails.protected_services[i], "guardrails.protected");
    for (size_t i = 0; i < r->n_plans; i++)
        for (size_t k = 0; k < r->plans[i].n_matchers; k++) check_pattern(l, &r->plans[i].matchers[k], "on.labels");
}

static const tt_label_match *protector_of(const tt_rules *r, tt_sv name) {
    for (size_t i = 0; i < r->guardrails.n_protected; i++) {
        const tt_label_match *m = &r->guardrails.protected_services[i];
        tt_sv groups[TT_MATCH_GROUPS_MAX];
        if (m->pattern ? r->matcher->match(r->matcher->ctx, m->pattern, name, groups) != TT_MATCH_NO : tt_sv_eq(m->literal, name)) return m;
    }
    return NULL;
}

static void check_protected(tt_load *l, const tt_doc *node, tt_sv name, const char *what) {
    const tt_label_match *m = name.n && !is_var(name) ? protector_of(l->r, name) : NULL;
    if (m)
        tt_load_fail(l, TT_EVALUE, node,
                     "%s %s is protected by " TT_SV_FMT " (%s:%u): the plan could never act; take it out of guardrails.protected or out of the plan",
                     what, tt_show(node).text, TT_SV_ARG(m->text), m->pos.file, m->pos.line);
}

/* ---- degrade: who degrades, how far, for each service a loop may have as its target ---- */

static const tt_feature_def *feature_of(const tt_service_def *s, tt_sv name) {
    for (size_t i = 0; i < s->n_features; i++)
        if (!name.n || tt_sv_eq(s->features[i].name, name)) return &s->features[i];
    return NULL;
}

/* The service that declares the feature and may be touched, `from` itself or nearest below it; -1: none. Breadth first, in the order the calls are
 * written. */
static int owner_of(const tt_rules *r, uint32_t from, tt_sv feature, uint32_t queue[TT_SERVICES_MAX], bool seen[TT_SERVICES_MAX]) {
    size_t n = 0;
    memset(seen, 0, r->n_services * sizeof *seen);
    queue[n++] = from;
    seen[from] = true;
    for (size_t i = 0; i < n; i++) {
        const tt_service_def *s = &r->services[queue[i]];
        if (feature_of(s, feature) && !protector_of(r, s->name)) return (int)queue[i];
        for (size_t c = 0; c < s->n_calls; c++)
            if (!seen[s->calls[c]]) {
                seen[s->calls[c]] = true;
                queue[n++] = s->calls[c];
            }
    }
    return -1;
}

/* `st` for a loop on service `target`. false: nobody there has the feature, and the step brings no gains of its own. */
static bool degrade_at(const tt_rules *r, const tt_step *st, uint32_t target, tt_step *ret) {
    uint32_t queue[TT_SERVICES_MAX];
    bool seen[TT_SERVICES_MAX];
    int owner = st->service.n && !is_var(st->service) ? tt_rules_service(r, st->service)
                : st->service.n                       ? (int)target
                                                      : owner_of(r, target, st->feature, queue, seen);
    const tt_feature_def *f = owner >= 0 ? feature_of(&r->services[owner], st->feature) : NULL;
    *ret = *st;
    if (owner < 0) owner = (int)target;
    ret->service = r->services[owner].name;
    if (st->levels) return true;
    if (!f) return false;
    ret->feature = f->name;
    ret->levels = f->levels;
    memcpy(ret->gain, f->gain, sizeof ret->gain);
    return true;
}

static void say_no_gain(tt_load *l, const tt_doc *step, const tt_step *st) {
    char say[160];
    tt_nearest near = tt_nearest_to(st->feature);
    for (size_t i = 0; i < l->r->n_services; i++)
        for (size_t k = 0; k < l->r->services[i].n_features; k++) tt_nearest_try(&near, l->r->services[i].features[k].name);
    bool other = near.best.n && !tt_sv_eq(near.best, st->feature);
    tt_load_fail(l, TT_EMISSING, step,
                 "degrade needs gain, the capacity factor each level brings, such as gain: [1.14, 1.33]: no service it may act on declares the "
                 "feature \"" TT_SV_FMT "\"%s",
                 TT_SV_ARG(st->feature), other ? tt_nearest_say(&near, say) : " with its own");
}

static void resolve_degrade(tt_load *l, tt_plan *p, const tt_plan_nodes *n, size_t i) {
    tt_rules *r = l->r;
    tt_step *st = &p->steps[i], one;
    if (l->services_unsure) return;
    bool fixed = st->service.n && !is_var(st->service);
    int target = fixed ? tt_rules_service(r, st->service) : is_var(p->service) ? -1 : tt_rules_service(r, p->service);
    if (fixed || !is_var(p->service)) { /* the same wherever its loops are */
        if (target < 0) {
            if (!st->levels) say_no_gain(l, n->step[i], st);
        } else if (degrade_at(r, st, (uint32_t)target, &one))
            *st = one;
        else if (st->feature.n)
            say_no_gain(l, n->step[i], st);
        else
            st->at_service = tt_arena_array(r->arena, r->n_services, sizeof *st->at_service); /* nothing to degrade, nowhere */
        return;
    }
    const tt_step **at = tt_arena_array(r->arena, r->n_services, sizeof *at);
    bool any = false;
    if (r->n_services && !at) {
        tt_load_no_memory(l);
        return;
    }
    for (uint32_t s = 0; s < r->n_services; s++) {
        if (!degrade_at(r, st, s, &one)) continue;
        tt_step *copy = tt_arena_alloc(r->arena, sizeof *copy);
        if (!copy) {
            tt_load_no_memory(l);
            return;
        }
        *copy = one;
        at[s] = copy;
        any = true;
    }
    if (!any && st->feature.n && (r->n_services || !st->levels)) say_no_gain(l, n->step[i], st);
    st->at_service = at;
}

/* An instance that is out is asked nothing, so what is measured of it alone says nothing: it would never be known to be well enough to come back. */
static void check_eject(tt_load *l, const tt_plan *p, const tt_plan_nodes *n, size_t i) {
    const tt_anomaly_def *a = &l->r->anomalies[p->anomaly];
    if (p->anomaly >= l->r->n_anomalies || a->kind == TT_ANOMALY_ALERT || l->anomalies[p->anomaly].bad) return;
    for (size_t k = 0; k < p->n_keep; k++) {
        int signals[TT_EXPR_SIGNALS_MAX];
        size_t n_signals = tt_expr_signals(p->keep[k], signals);
        for (size_t s = 0; s < n_signals; s++) {
            if (signals[s] != (int)a->signal) continue;
            tt_load_fail(l, TT_EVALUE, n->step[i],
                         "nothing could undo this eject: keep reads " TT_SV_FMT
                         ", which says nothing of an instance that is out; keep something that the whole service has, such as error_ratio <= 2%%",
                         TT_SV_ARG(l->r->signals[signals[s]].name));
            return;
        }
    }
}

static void check_step(tt_load *l, const tt_plan *p, const tt_plan_nodes *n, size_t i) {
    const tt_step *st = &p->steps[i];
    const char *name = tt_step_name(st->kind);
    if (!p->service.n && st->kind != TT_STEP_CUTOVER) {
        tt_load_fail(l, TT_EVALUE, n->step[i],
                     "%s acts on one service and the target has none: add service to target, such as service: $svc; only a cutover takes a whole data center",
                     name);
        return;
    }
    if (!p->dc.n)
        tt_load_fail(l, TT_EVALUE, n->step[i], "%s acts in one data center and the target has none: add dc to target, such as dc: $dc", name);
    if (st->kind == TT_STEP_EJECT && (!p->instance.n || p->by_version))
        tt_load_fail(l, TT_EVALUE, n->step[i],
                     "eject takes one instance out and the target has none: add instance to target, such as instance: $instance");
    if (p->by_version || st->to_version.n)
        tt_check_version(l, p, n, st, n->step[i]);
    else if (st->kind != TT_STEP_EJECT && p->instance.n)
        tt_load_fail(l, TT_EVALUE, n->step[i],
                     "%s acts on a whole data center and the target is one instance: only eject can answer that, give %s its own plan", name, name);
    if (st->kind == TT_STEP_EJECT) check_eject(l, p, n, i);
    /* A loop turns the knobs of its own site. Another's are turned by the loop that answers the anomaly there. */
    if (n->step_from[i] && p->dc.n && !tt_sv_eq(st->from, p->dc))
        tt_load_fail(l, TT_EVALUE, n->step_from[i],
                     "%s.from %s is not the target's data center: traffic is moved away from the target, write " TT_SV_FMT " or leave it out", name,
                     tt_show(n->step_from[i]).text, TT_SV_ARG(p->dc));
    tt_check_action(l, p, n, i);
    if (!n->step_service[i]) return;
    char what[32];
    snprintf(what, sizeof(what), "%s.service", name);
    if (is_var(st->service)) {
        if (!tt_sv_eq(st->service, p->service))
            tt_load_fail(l, TT_EVALUE, n->step_service[i], "%s %s is neither the target's own variable nor a service: name %s", what,
                         tt_show(n->step_service[i]).text,
                         st->kind == TT_STEP_DEGRADE ? "the service whose feature it is" : "the service that is called");
        return;
    }
    declared(l, n->step_service[i], st->service, what, ": give it there with its dcs");
    check_protected(l, n->step_service[i], st->service, what);
}

/* All steps but eject are sized from a site's capacity, so the site has to be declared. */
static void check_target(tt_load *l, const tt_plan *p, const tt_plan_nodes *n) {
    size_t at = 0, moves = 0;
    bool sized = false;
    for (size_t i = 0; i < p->n_steps; i++) sized = sized || p->steps[i].kind != TT_STEP_EJECT;
    check_protected(l, n->service, p->service, "target.service");
    if (!sized) return;
    if (!l->r->n_services && !l->services_unsure) {
        tt_load_fail(l, TT_EMISSING, n->service ? n->service : n->dc,
                     "no services are declared, and steps are sized from their capacity: add services: [{name: checkout, dcs: [dc-a, dc-b]}]");
        return;
    }
    if (!p->service.n || is_var(p->service)) return;
    const tt_service_def *s =
        declared(l, n->service, p->service, "target.service", ": steps are sized from its capacity, give it there with its dcs");
    if (!s) return;
    if (p->dc.n && !is_var(p->dc)) {
        bool has = false;
        char say[160];
        tt_nearest near = tt_nearest_to(p->dc);
        for (size_t i = 0; i < s->n_dcs; i++) {
            has = has || tt_sv_eq(s->dcs[i].name, p->dc);
            tt_nearest_try(&near, s->dcs[i].name);
        }
        if (!has && s->n_dcs)
            tt_load_fail(l, TT_EUNKNOWN, n->dc, "service " TT_SV_FMT " has no data center %s%s", TT_SV_ARG(s->name), tt_show(n->dc).text,
                         tt_nearest_say(&near, say));
    }
    if (!p->by_version && (step_of(p, TT_STEP_SHIFT, &moves) || step_of(p, TT_STEP_CUTOVER, &moves)) && s->n_dcs == 1) {
        at = moves;
        tt_load_fail(l, TT_EVALUE, n->step[at], "%s has nowhere to go: service " TT_SV_FMT " has one data center only",
                     tt_step_name(p->steps[at].kind), TT_SV_ARG(s->name));
    }
}

static bool same_matchers(const tt_plan *a, const tt_plan *b) {
    if (a->n_matchers != b->n_matchers) return false;
    for (size_t i = 0; i < a->n_matchers; i++) {
        bool found = false;
        for (size_t k = 0; k < b->n_matchers; k++)
            found = found || (tt_sv_eq(a->matchers[i].label, b->matchers[k].label) && tt_sv_eq(a->matchers[i].text, b->matchers[k].text));
        if (!found) return false;
    }
    return true;
}

static void check_fights(tt_load *l, size_t i) {
    const tt_plan *p = &l->r->plans[i];
    for (size_t k = 0; k < i; k++) {
        const tt_plan *o = &l->r->plans[k];
        if (l->plans[k].bad || o->anomaly != p->anomaly || !same_matchers(o, p)) continue;
        if (!tt_sv_eq(o->service, p->service) || !tt_sv_eq(o->dc, p->dc) || !tt_sv_eq(o->instance, p->instance)) continue;
        tt_load_fail(l, TT_EVALUE, l->plans[i].on,
                     "plan " TT_SV_FMT " answers the same anomaly, labels and target as plan " TT_SV_FMT
                     " (%s:%u), and only one can be chosen: narrow one by its labels, or put their steps together",
                     TT_SV_ARG(p->name), TT_SV_ARG(o->name), o->pos.file, o->pos.line);
        return;
    }
}

/* The pattern whose named group is the whole label, and which makes this variable; NULL: a literal, or nobody can tell what it may be. */
static const tt_label_match *maker_of(const tt_plan *p, tt_sv var) {
    for (size_t i = 0; i < p->n_matchers; i++) {
        tt_sv t = p->matchers[i].text, name = {var.p + 1, var.n - 1};
        size_t at = p->matchers[i].pattern ? tt_group_offset(t, name) : 0;
        if (at == 2 && t.p[1] == '^' && t.n > 5 && memcmp(t.p + t.n - 3, ")$/", 3) == 0) return &p->matchers[i];
    }
    return NULL;
}

static bool anything(const tt_label_match *m) {
    tt_sv t = m->text;
    return t.n > 8 && (memcmp(t.p + t.n - 6, ">.+)$/", 6) == 0 || memcmp(t.p + t.n - 6, ">.*)$/", 6) == 0);
}

/* Certainly for some label set, not merely perhaps. */
static bool may_be_equal(const tt_rules *r, const tt_plan *p, tt_sv a, const tt_plan *o, tt_sv b) {
    if (!a.n || !b.n) return !a.n && !b.n;
    if (!is_var(a) && !is_var(b)) return tt_sv_eq(a, b);
    const tt_label_match *x = is_var(a) ? maker_of(p, a) : NULL, *y = is_var(b) ? maker_of(o, b) : NULL;
    tt_sv groups[TT_MATCH_GROUPS_MAX];
    if (x && y) return anything(x) || anything(y) || tt_sv_eq(x->text, y->text);
    if (!is_var(a)) return y && r->matcher->match(r->matcher->ctx, y->pattern, a, groups) == TT_MATCH_YES;
    if (!is_var(b)) return x && r->matcher->match(r->matcher->ctx, x->pattern, b, groups) == TT_MATCH_YES;
    return false;
}

static bool exclude_each_other(const tt_plan *p, const tt_plan *o) {
    if (p->exclusive.n && tt_sv_eq(p->exclusive, o->exclusive)) return true;
    for (size_t i = 0; p->anomaly == o->anomaly && i < p->n_matchers; i++)
        for (size_t k = 0; k < o->n_matchers; k++) {
            const tt_label_match *a = &p->matchers[i], *b = &o->matchers[k];
            if (tt_sv_eq(a->label, b->label) && !a->pattern && !b->pattern && !tt_sv_eq(a->literal, b->literal)) return true;
        }
    return false;
}

/* Two plans that turn the same knobs of the same target, and nothing but the order they are written in says who goes first. */
static void check_rivals(tt_load *l, size_t i) {
    const tt_rules *r = l->r;
    const tt_plan *p = &r->plans[i];
    for (size_t k = 0; k < i; k++) {
        const tt_plan *o = &r->plans[k];
        const char *why = NULL;
        if (l->plans[k].bad || p->mode < TT_MODE_APPROVE || o->mode < TT_MODE_APPROVE || exclude_each_other(p, o)) continue;
        if (tt_plan_rank(p, o, &why) == 0 || strcmp(why, "it is written first") != 0) continue;
        if (!may_be_equal(r, p, p->service, o, o->service) || !may_be_equal(r, p, p->dc, o, o->dc) ||
            !may_be_equal(r, p, p->instance, o, o->instance))
            continue;
        const tt_step *shared = NULL;
        size_t at;
        for (size_t n = 0; n < p->n_steps && !shared; n++) shared = step_of(o, p->steps[n].kind, &at);
        if (!shared) continue;
        tt_load_fail(
            l, TT_EVALUE, l->plans[i].on,
            "plan " TT_SV_FMT " may act on the same target as plan " TT_SV_FMT
            " (%s:%u), both with %s, and only the order they are written in says which goes first: give one a priority, or both the same exclusive",
            TT_SV_ARG(p->name), TT_SV_ARG(o->name), o->pos.file, o->pos.line, tt_step_name(shared->kind));
        return;
    }
}

void tt_check_rules(tt_load *l) {
    tt_rules *r = l->r;
    check_services(l);
    check_patterns(l);
    for (size_t i = 0; i < r->n_anomalies; i++) check_anomaly(l, &r->anomalies[i], &l->anomalies[i]);
    for (size_t i = 0; i < r->n_plans; i++) {
        check_keeps(l, &r->plans[i], &l->plans[i]);
        tt_check_law(l, &r->plans[i], &l->plans[i]);
        if (l->plans[i].bad) continue;
        for (size_t k = 0; k < r->plans[i].n_steps; k++) {
            size_t before = l->total;
            check_step(l, &r->plans[i], &l->plans[i], k);
            if (l->total == before && r->plans[i].steps[k].kind == TT_STEP_DEGRADE) resolve_degrade(l, &r->plans[i], &l->plans[i], k);
        }
        check_target(l, &r->plans[i], &l->plans[i]);
        size_t before = l->total;
        check_fights(l, i);
        if (l->total == before) check_rivals(l, i);
    }
}
