/* Taking one instance out: it is bad, its peers are not, enough of them are left. Given back after a hold that doubles when it was too early. */
#include "engine_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const double peers_at_most = 0.3; /* of the instance's own figure: the same fault everywhere is not an instance's */
static const int64_t hold_max_ns = TT_SECONDS(300);

typedef struct {
    uint32_t n, well, out;
    double worst_peer;
} peers;

static bool ejected_now(const tt_engine *e, tt_sv service, tt_sv dc, tt_sv instance, const tt_loop *but) {
    tt_target t;
    if (service.n >= TT_NAME_MAX || dc.n >= TT_NAME_MAX || instance.n >= TT_NAME_MAX) return false;
    tt_copy_text(t.service, TT_NAME_MAX, service);
    tt_copy_text(t.dc, TT_NAME_MAX, dc);
    tt_copy_text(t.instance, TT_NAME_MAX, instance);
    const tt_loop *l = tt_loop_open_on(e, &t);
    return l && l != but && l->ejected;
}

/* The other instances of the same service and dc, by the signal that raised the alarm. */
static peers look_at_peers(const tt_engine *e, const tt_loop *l, double own, int signal) {
    peers p = {0};
    for (int32_t k = tt_series_at(e, (uint32_t)signal, tt_sv_of(l->target.service), tt_sv_of(l->target.dc)); k >= 0; k = e->series.s[k].next) {
        const tt_series *s = &e->series.s[k];
        tt_sv service = tt_labels_get(&s->labels, TT_SV("service")), dc = tt_labels_get(&s->labels, TT_SV("dc")), inst = tt_labels_get(&s->labels, TT_SV("instance"));
        if (!tt_sv_eq(service, tt_sv_of(l->target.service)) || !tt_sv_eq(dc, tt_sv_of(l->target.dc)) || tt_sv_eq(inst, tt_sv_of(l->target.instance))) continue;
        if (ejected_now(e, service, dc, inst, l)) {
            p.n++;
            p.out++;
            continue;
        }
        if (tt_series_quality(e, s) != TT_Q_OK) continue;
        p.n++;
        if (s->value <= peers_at_most * own) p.well++;
        if (s->value > p.worst_peer) p.worst_peer = s->value;
    }
    return p;
}

static int alarm_signal(const tt_engine *e, const tt_loop *l) {
    const tt_anomaly_def *d = &e->rules->anomalies[l->plan->anomaly];
    return d->kind == TT_ANOMALY_ALERT || d->kind == TT_ANOMALY_ABSENT ? -1 : (int)d->signal;
}

static void set(tt_engine *e, tt_loop *l, bool out, const char *why) {
    char action[TT_NAME_MAX + 8];
    snprintf(action, sizeof action, "eject:%.120s", l->target.instance);
    tt_target t = l->target;
    t.instance[0] = 0;
    tt_emit_action(e, l, &t, action, out ? (double)NAN : 1, out ? 1 : (double)NAN, "level", NULL, "%s", why);
    snprintf(l->why, sizeof l->why, "%s", why);
    l->ejected = out;
    l->eject_held = false;
    l->eject_at = e->now;
}

static void hold_once(tt_engine *e, tt_loop *l, const char *kind, const char *why) {
    l->eject_held = true;
    if (strncmp(l->why, why, strcspn(why, "(")) == 0) return; /* figures change each second; the reason doesn't */
    snprintf(l->why, sizeof l->why, "%s", why);
    tt_emit(e, kind, l, "%s", why);
}

/* What the guardrails leave for a further instance, that is `share` of those at its data center. */
static bool within_budget(tt_engine *e, tt_loop *l, double share) {
    const tt_guardrails *g = &e->rules->guardrails;
    const tt_site *s = tt_site_of(e, l->target.service, l->target.dc);
    if (!s) return true; /* a service that is not declared has no capacity to count */
    const tt_group *group = &e->groups[s->service];
    char why[300], a[32], b[32];
    double gone = tt_capacity_removed(e, &(tt_removal){.service = s->service, .dc = s->dc, .eject_share = share});
    tt_pct(a, sizeof a, gone);
    tt_pct(b, sizeof b, g->max_capacity_removed);
    if (gone > g->max_capacity_removed + 1e-9) {
        snprintf(why, sizeof why, "ejecting would bring the capacity that is taken away to %s, guardrails.max_capacity_removed is %s", a, b);
        hold_once(e, l, "guardrail", why);
        return false;
    }
    /* An instance can't be taken out in parts: one that is more than the rate allows goes when nothing else was taken for as long. */
    double left = tt_change_left(e, group), part = share * tt_home_share(e, s);
    if (part > left + 1e-9 && left < g->max_change_share - 1e-9) {
        hold_once(e, l, "guardrail", "guardrails.max_change leaves no room for a further instance yet");
        return false;
    }
    return true;
}

static void consider(tt_engine *e, tt_loop *l, const tt_step *st) {
    int signal = alarm_signal(e, l);
    tt_where w = tt_loop_where(l);
    tt_reading own = tt_read_signal(e, signal, &w);
    tt_anomaly *a = tt_loop_anomaly(e, l);
    if (!a || a->state != TT_AN_OPEN || !own.known) return;
    peers p = look_at_peers(e, l, own.value, signal);
    char why[300], v[32], worst[32];
    tt_pct(v, sizeof v, own.value);
    tt_pct(worst, sizeof worst, p.worst_peer);
    if (p.well == 0) {
        snprintf(why, sizeof why, "no other instance of %s in %s is known to be well (worst peer %s): nothing is ejected", l->target.service, l->target.dc, worst);
        hold_once(e, l, "hold", why);
        return;
    }
    if ((double)(p.out + 1) > st->max * (double)(p.n + 1) + 1e-9) {
        snprintf(why, sizeof why, "ejecting would take %u of %u instances, more than the step's max", p.out + 1, p.n + 1);
        hold_once(e, l, "guardrail", why);
        return;
    }
    if (l->reversals > 0 && tt_since(e->now, l->relapse_at) == 0) return;
    double share = 1.0 / (p.n + 1);
    if (!within_budget(e, l, share)) return;
    snprintf(why, sizeof why, "%s %s at this instance, %s at worst among %u peers: take it out", e->rules->signals[signal].name.p, v, worst, p.n);
    bool again = l->phase == TT_PHASE_RECOVERING || l->eject_at.ns != 0;
    set(e, l, true, why);
    l->eject_share = share;
    const tt_site *s = tt_site_of(e, l->target.service, l->target.dc);
    if (s) tt_change_spend(e, &e->groups[s->service], share * tt_home_share(e, s));
    if (again) {
        int64_t h = l->hold_ns > 0 ? l->hold_ns * 2 : l->plan->recover_after_ns * 2;
        l->hold_ns = h > hold_max_ns ? hold_max_ns : h;
        l->relapse_at = e->now;
        tt_loop_relapse(e, l, "the instance was bad again after its return");
        if (l->phase == TT_PHASE_RECOVERING) tt_loop_enter(e, l, TT_PHASE_ACTING, "the instance was bad again after its return");
    }
}

void tt_eject_step(tt_engine *e, tt_loop *l) {
    if (!l->target.instance[0] || !tt_loop_may_act(e, l) || (e->n_pins && tt_pinned_eject(e, &l->target))) return;
    if (tt_drifting(e, l->target.service, l->target.dc)) return;
    const tt_step *st = tt_plan_step(l->plan, TT_STEP_EJECT);
    if (!st || l->locked_until.ns > e->now.ns) return;
    if (!l->ejected) {
        consider(e, l, st);
        return;
    }
    int64_t hold = l->hold_ns > l->plan->recover_after_ns ? l->hold_ns : l->plan->recover_after_ns;
    /* Where it didn't help in all the time it had, the capacity it takes may be what is missing: then back with it too. */
    if (tt_since(e->now, l->eject_at) < hold || (!l->kept && l->phase != TT_PHASE_ESCALATED)) return;
    tt_loop_enter(e, l, TT_PHASE_RECOVERING, "its hold is over");
    set(e, l, false, "its hold is over: let it take traffic again and watch");
}

/* The open loops on instances of the site's service or one below it, one after the other. */
typedef struct {
    uint32_t c;
    bool begun;
    tt_index_walk at;
} instances;

static const tt_loop *next_below(const tt_engine *e, const tt_site *s, instances *w) {
    for (; w->c < s->n_closure && e->instances_by_place.n; w->c++, w->begun = false) {
        const tt_loop *l = tt_loop_on_instance(e, tt_service_cname(e, s->closure[w->c]), tt_dc_cname(e, s), &w->at, !w->begun);
        w->begun = true;
        if (l) return l;
    }
    return NULL;
}

bool tt_eject_below(const tt_engine *e, const tt_site *s) {
    instances w = {0};
    for (const tt_loop *l; (l = next_below(e, s, &w));)
        if (l->ejected) return true;
    return false;
}

/* An instance of something below has just been taken out, or is about to be: its effect comes before anything wider is tried. */
bool tt_eject_pending(const tt_engine *e, const tt_site *s) {
    instances w = {0};
    for (const tt_loop *l; (l = next_below(e, s, &w));) {
        if (!l->plan || !tt_plan_step(l->plan, TT_STEP_EJECT)) continue;
        if (l->ejected && tt_since(e->now, l->eject_at) < tt_law_dead_time(e, s) + TT_SECONDS(2)) return true;
        if (!l->ejected && !l->eject_held && l->phase == TT_PHASE_ACTING && tt_since(e->now, l->phase_at) < TT_SECONDS(5)) return true;
    }
    return false;
}
