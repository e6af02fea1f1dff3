/* Traffic between versions of one service in one data center: away from a version that fails while the one that takes over is well, into capacity
 * that is known to be there. The sick version keeps a trickle, so that it is seen to get well; back it comes in steps, judged as any other. */
#include "engine_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const double bad_fail = 0.05, clean_fail = 0.025, plain_at_once = 0.2, other_fails_share = 0.3;
static const double trickle = 0.05, telling_utilization = 0.2;
static const double telling_requests = 30, some_requests = 5;
static const double quarter = 0.25;
static const int64_t hold_max_ns = TT_SECONDS(300), relapse_within_ns = TT_SECONDS(120), gone_after_ns = TT_SECONDS(60), wind_back_ns = TT_SECONDS(5);
static const int64_t patience_holds = 5;

typedef struct {
    bool known, gone; /* gone: others are told, it isn't any more */
    tt_time at;
    int64_t window_ns;
    double offered, fail_ratio, requests; /* requests: in the window */
    double capacity;                      /* rps; 0: not known */
} picture;

const tt_dc_def *tt_version_def(const tt_engine *e, const char *service, tt_sv version) {
    int k = tt_rules_service(e->rules, tt_sv_of(service));
    for (size_t i = 0; k >= 0 && i < e->rules->services[k].n_versions; i++)
        if (tt_sv_eq(e->rules->services[k].versions[i].name, version)) return &e->rules->services[k].versions[i];
    return NULL;
}

static tt_sv version_of(const tt_loop *l) {
    return tt_sv_of(l->target.instance + sizeof TT_VERSION_PREFIX - 1);
}

static picture look_at(const tt_engine *e, const tt_loop *l, const tt_dc_def *version) {
    picture p = {0};
    tt_where w = {tt_sv_of(l->target.service), tt_sv_of(l->target.dc), {0}, {0}, NULL, 0, version->name};
    tt_reading offered = tt_read_signal(e, e->load_signal[TT_LOAD_OFFERED], &w), ok = tt_read_signal(e, e->load_signal[TT_LOAD_OK], &w),
               refused = tt_read_signal(e, e->load_signal[TT_LOAD_REFUSED], &w), dropped = tt_read_signal(e, e->load_signal[TT_LOAD_DROPPED], &w),
               util = tt_read_signal(e, e->load_signal[TT_LOAD_UTILIZATION], &w);
    p.gone = !offered.known && offered.quality == TT_Q_NO_DATA;
    if (!offered.known || !ok.known || refused.hole || dropped.hole) return p;
    p.known = true;
    p.at = offered.at.ns < ok.at.ns ? offered.at : ok.at;
    p.window_ns = offered.window_ns;
    p.offered = offered.value;
    p.requests = offered.value * (double)offered.window_ns / 1e9;
    double admitted = offered.value - (refused.known ? refused.value : 0) - (dropped.known ? dropped.value : 0);
    p.fail_ratio = admitted > 0 ? fmin(fmax(1 - ok.value / admitted, 0), 1) : 0;
    p.capacity = version->capacity_rps > 0 ? version->capacity_rps : util.known && util.value > telling_utilization ? offered.value / util.value : 0;
    return p;
}

/* `share` NAN: as usual again. */
static void set(tt_engine *e, tt_loop *l, const tt_dc_def *v, double share, bool raise, const char *why) {
    tt_side *d = &l->sides[TT_SIDE_VERSION];
    char action[TT_NAME_MAX + 16];
    tt_target t = l->target;
    t.instance[0] = 0;
    snprintf(action, sizeof action, "version:%.*s", TT_SV_ARG(v->name));
    tt_emit_action(e, l, &t, action, d->on ? d->value : v->weight, isnan(share) ? v->weight : share, "ratio", NULL, "%s", why);
    snprintf(l->why, sizeof l->why, "%s", why);
    memcpy(d->service, l->target.service, sizeof d->service);
    tt_copy_text(d->name, sizeof d->name, v->name);
    d->on = !isnan(share);
    d->value = d->on ? share : 0;
    d->raised = raise;
    d->changed_at = e->now;
}

static void hold_once(tt_engine *e, tt_loop *l, const char *why) {
    if (strcmp(l->why, why) == 0) return;
    snprintf(l->why, sizeof l->why, "%s", why);
    tt_emit(e, "hold", l, "%s", why);
}

static void leave(tt_engine *e, tt_loop *l, const tt_step *st, const tt_dc_def *from, const tt_dc_def *to, const picture *p, const picture *other) {
    char why[300], f[32], m[32], c[32];
    double share = from->weight * fmax(1 - st->max, trickle), move = from->weight - share, total = 0;
    const tt_service_def *s = &e->rules->services[tt_rules_service(e->rules, tt_sv_of(l->target.service))];
    for (size_t i = 0; i < s->n_versions; i++) total += look_at(e, l, &s->versions[i]).offered;
    if (other->capacity <= 0) {
        snprintf(why, sizeof why, "%.*s fails, but the capacity of %.*s isn't known: nothing is moved", TT_SV_ARG(from->name), TT_SV_ARG(to->name));
        hold_once(e, l, why);
        return;
    }
    double fits = fmax(TT_SAFE_LOAD * other->capacity - other->offered, 0), most = e->rules->guardrails.max_capacity_removed;
    if (total > 0 && move * total > fits) move = fits / total;
    if (move > most) {
        tt_emit(e, "guardrail", l, "guardrails.max_capacity_removed keeps part of the traffic with %.*s", TT_SV_ARG(from->name));
        move = most;
    }
    if (move < 0.1 * from->weight) {
        snprintf(why, sizeof why, "%.*s fails, but %.*s has no room for its traffic: nothing is moved", TT_SV_ARG(from->name), TT_SV_ARG(to->name));
        hold_once(e, l, why);
        return;
    }
    tt_pct(f, sizeof f, p->fail_ratio);
    tt_pct(m, sizeof m, move);
    tt_num(c, sizeof c, other->capacity);
    snprintf(why, sizeof why,
             "%.*s fails %s of its requests, %.*s is well and can carry %s rps: move %s of the traffic to it, keep a trickle to see it recover",
             TT_SV_ARG(from->name), f, TT_SV_ARG(to->name), c, m);
    set(e, l, from, from->weight - move, false, why);
    size_t at = (size_t)(st - l->plan->steps) + 1;
    if (at > l->rung) l->rung = (uint32_t)at;
}

static void consider(tt_engine *e, tt_loop *l, const tt_step *st, const tt_dc_def *from, const tt_dc_def *to, const picture *p) {
    tt_side *d = &l->sides[TT_SIDE_VERSION];
    picture other = look_at(e, l, to);
    bool bad = p->fail_ratio > bad_fail && p->requests >= telling_requests;
    d->needed_samples = bad ? d->needed_samples + 1 : 0;
    if (!bad || (d->needed_samples < 2 && p->fail_ratio <= plain_at_once) || !other.known) return;
    if (other.fail_ratio > fmin(other_fails_share * p->fail_ratio, bad_fail)) return; /* the same illness everywhere is no version's own */
    bool again = d->raised && tt_since(e->now, d->changed_at) < relapse_within_ns;
    leave(e, l, st, from, to, p, &other);
    if (!again || !d->on) return;
    int64_t hold = 2 * (d->hold_ns > l->plan->recover_after_ns ? d->hold_ns : l->plan->recover_after_ns);
    d->hold_ns = hold > hold_max_ns ? hold_max_ns : hold;
    tt_loop_relapse(e, l, "the version failed again when its traffic came back");
    if (l->phase == TT_PHASE_RECOVERING) tt_loop_enter(e, l, TT_PHASE_ACTING, "the version failed again when its traffic came back");
}

static void recover(tt_engine *e, tt_loop *l) {
    if (l->phase == TT_PHASE_SETTLED || l->phase == TT_PHASE_SETTLING || l->phase == TT_PHASE_ACTING || l->phase == TT_PHASE_ESCALATED)
        tt_loop_enter(e, l, TT_PHASE_RECOVERING, "the version that was left is well: its traffic comes back in steps");
}

static void come_back(tt_engine *e, tt_loop *l, const tt_dc_def *from, const picture *p) {
    tt_side *d = &l->sides[TT_SIDE_VERSION];
    int64_t hold = d->hold_ns > l->plan->recover_after_ns ? d->hold_ns : l->plan->recover_after_ns,
            theta = e->cfg.apply_ns * 13 / 10 + TT_SECONDS(1) + p->window_ns + e->cfg.ingest_ns,
            every = l->plan->recover_every_ns > theta ? l->plan->recover_every_ns : theta;
    bool clean = p->fail_ratio <= clean_fail && p->requests >= some_requests;
    if (!clean)
        d->clear_since.ns = 0;
    else if (d->clear_since.ns == 0)
        d->clear_since = e->now;
    bool over = clean && tt_since(e->now, d->clear_since) >= hold;
    /* A trickle may be too little to tell by; then the anomaly's end has to do, after a longer while. */
    bool quiet = !clean && p->fail_ratio <= clean_fail && !tt_loop_anomaly(e, l) && tt_since(e->now, d->changed_at) >= patience_holds * hold;
    if ((!over && !quiet) || tt_since(e->now, d->changed_at) < every) return;
    recover(e, l);
    double next = d->value + fmax(l->plan->recover_step, trickle) * from->weight;
    if (next >= from->weight - 1e-9)
        set(e, l, from, (double)NAN, true, "the last step: every version has its usual share");
    else
        set(e, l, from, next, true, "the version that was left answers well: give it a step of its traffic back");
}

void tt_version_step(tt_engine *e, tt_loop *l) {
    const tt_step *st = tt_plan_step(l->plan, TT_STEP_SHIFT);
    if (!st || !st->to_version.n) return;
    tt_side *d = &l->sides[TT_SIDE_VERSION];
    const tt_dc_def *from = tt_version_def(e, l->target.service, version_of(l)), *to = tt_version_def(e, l->target.service, st->to_version);
    if (!from || !to || from == to) {
        hold_once(e, l, "the service doesn't declare both versions: nothing is moved");
        return;
    }
    picture p = look_at(e, l, from);
    if (d->on && p.gone && tt_since(e->now, d->changed_at) >= gone_after_ns && look_at(e, l, to).known) {
        recover(e, l);
        set(e, l, from, (double)NAN, false, "the version that was left isn't there any more");
        return;
    }
    if (!p.known || p.at.ns <= l->sides_judged_at.ns || !tt_side_judgeable(e, l, d, p.at, p.window_ns)) return;
    l->sides_judged_at = p.at;
    bool back = d->on && d->value > from->weight * fmax(1 - st->max, trickle) + 1e-9;
    if (!d->on || (back && p.fail_ratio > bad_fail))
        consider(e, l, st, from, to, &p);
    else
        come_back(e, l, from, &p);
}

void tt_version_wind_back(tt_engine *e, tt_loop *l, const char *why) {
    tt_side *d = &l->sides[TT_SIDE_VERSION];
    if (!d->on || tt_since(e->now, d->changed_at) < wind_back_ns) return;
    const tt_dc_def *from = tt_version_def(e, l->target.service, tt_sv_of(d->name));
    if (!from) { /* it isn't declared any more, so nobody can say what its usual share is */
        d->on = false;
        return;
    }
    double next = d->value + quarter;
    set(e, l, from, next < from->weight ? next : (double)NAN, true, why);
}
