/* The laws that others use, for plans that name them and as what the measured-capacity law is compared with: AIMD as Aperture has it, a discrete PI
 * controller, and the runbook, fixed steps in written order.
 *
 * AIMD: over the setpoint, multiplier = observed multiplier x clamp((signal/setpoint)^-1, min_factor, 1); else + increment every 10 s up to
 * max_multiplier, from where nothing is limited; the multiplier is of the offered load of the last 30 s (Aperture, aimd-load-scheduler.go,
 * actuator.go, common-aimd/config-defaults.libsonnet). Where Aperture's agent fails open after 50 s without a signal, this holds: silence is not
 * health.
 *
 * PI: the signal's relative error, clamped to one setpoint either way (queues make it grow without bound), gives the ratio held back. Gains by SIMC
 * (Skogestad, "Simple analytic rules for model reduction and PID controller tuning", 2003) for a lag tau1 behind a dead time theta:
 * Kc = tau1 / (k (tau_c + theta)), tau_I = min(tau1, 4 (tau_c + theta)), tau_c = theta. The mesh itself settles in a second or two: what lags is the
 * window a signal is taken over, half of it as tau1. Anti-windup by back-calculation: the integral follows the ratio that is really in force.
 *
 * Neither waits for a step's effect before the next one: that is what they are. All three hold on data that is not good, and keep within the steps'
 * maxima and the guardrails. */
#include "engine_internal.h"

#include <math.h>
#include <stdio.h>

static const double most_held_back = 0.95, deadband = 0.02;
static const double receiver_fails = 0.025;
static const double sample_max_s = 30; /* between two samples of the integral: after a gap it does not jump */

bool tt_baseline_law(const tt_loop *l) {
    return l && l->plan && l->plan->law != TT_LAW_MEASURED_CAPACITY;
}

static double clamp(double v, double low, double high) {
    return fmin(fmax(v, low), high);
}

/* An exponential average with the mean age of a plain one over the window. */
static void average_load(tt_engine *e, tt_site *s, const tt_law_params *v) {
    tt_baseline *b = &s->base;
    if (b->rate_at.ns == 0 || b->rate_rps <= 0)
        b->rate_rps = s->load.offered;
    else {
        double h = (double)tt_since(e->now, b->rate_at) / 1e9, tau = (double)v->base_window_ns / 2e9;
        b->rate_rps += (1 - exp(-h / tau)) * (s->load.offered - b->rate_rps);
    }
    b->rate_at = e->now;
}

/* The first of `keep`, as the check promised: one signal under one bound. */
static bool objective(tt_engine *e, const tt_loop *l, double *ret_value, double *ret_bound, tt_sv *ret_name) {
    int signal;
    tt_sv op;
    if (!l->plan->n_keep || !tt_expr_bound(l->plan->keep[0], &signal, &op, ret_bound) || !(*ret_bound > 0)) return false;
    tt_where w = tt_loop_where(l);
    tt_reading r = tt_read_signal(e, signal, &w);
    *ret_value = r.value;
    *ret_name = e->rules->signals[signal].name;
    return r.known;
}

static void admit(tt_engine *e, tt_site *s, double share, const char *what) {
    char why[300], n[32], r[32];
    if (share >= 1 && s->cap_rps <= 0) return;
    double cap = s->base.rate_rps * share;
    tt_pct(n, sizeof n, share);
    tt_num(r, sizeof r, s->base.rate_rps);
    snprintf(why, sizeof why, "%s: admit %s of the usual %s rps", what, n, r);
    if (cap > 0 && fabs(cap - s->cap_rps) > deadband * s->cap_rps) tt_site_set_cap(e, s, cap, why);
}

static void open_up(tt_engine *e, tt_site *s, tt_loop *l, const char *why) {
    if (s->cap_rps <= 0) return;
    if (l->phase == TT_PHASE_SETTLED || l->phase == TT_PHASE_SETTLING || l->phase == TT_PHASE_ACTING || l->phase == TT_PHASE_ESCALATED)
        tt_loop_enter(e, l, TT_PHASE_RECOVERING, why);
    tt_site_set_cap(e, s, 0, why);
}

static void say(char *buf, size_t size, tt_sv name, double value, double bound) {
    char v[32], x[32];
    tt_num(v, sizeof v, value);
    tt_num(x, sizeof x, value / bound);
    snprintf(buf, size, TT_SV_FMT " %s is %s of its setpoint", TT_SV_ARG(name), v, x);
}

static void aimd(tt_engine *e, tt_site *s, tt_loop *l) {
    const tt_law_params *v = &l->plan->law_params;
    tt_baseline *b = &s->base;
    double value, bound;
    tt_sv name;
    if (tt_since(e->now, b->acted_at) < v->every_ns || s->load.at.ns <= s->judged_at.ns || !objective(e, l, &value, &bound, &name)) return;
    b->acted_at = e->now;
    char what[160];
    say(what, sizeof what, name, value, bound);
    if (value > bound) {
        double observed = s->load.offered > 0 ? (s->load.offered - s->load.dropped) / s->load.offered : 1;
        if (s->cap_rps > 0 && s->load.offered > 0) observed = fmin(observed, s->cap_rps / s->load.offered); /* where nobody counts what is dropped */
        b->multiplier = clamp(observed, 0.01, 1) * clamp(bound / value, v->min_factor, 1);
    } else if (b->multiplier > 0)
        b->multiplier += v->increment;
    else
        return;
    if (b->multiplier >= v->max_multiplier) {
        b->multiplier = 0;
        open_up(e, s, l, "the multiplier has grown to its end: nothing is limited any more");
    } else
        admit(e, s, b->multiplier, what);
}

/* What the drop steps can take at most, of the load as it is now. */
static double can_hold_back(const tt_engine *e, const tt_site *s, const tt_loop *l) {
    if (tt_plan_step(l->plan, TT_STEP_LIMIT) || s->load.offered <= 0) return most_held_back;
    double sum = 0;
    for (size_t i = 0; i < l->plan->n_steps; i++)
        if (l->plan->steps[i].kind == TT_STEP_DROP) sum += l->plan->steps[i].max * s->load.offered_by[l->plan->steps[i].priority];
    (void)e;
    return fmin(sum / s->load.offered, most_held_back);
}

static void pi(tt_engine *e, tt_site *s, tt_loop *l) {
    const tt_law_params *v = &l->plan->law_params;
    tt_baseline *b = &s->base;
    double value, bound;
    tt_sv name;
    if (s->load.at.ns <= s->judged_at.ns || !objective(e, l, &value, &bound, &name)) return;
    double h = b->acted_at.ns ? fmin((double)tt_since(e->now, b->acted_at) / 1e9, sample_max_s) : 0;
    double tau1 = (double)s->load.window_ns / 2e9, theta = (double)tt_law_dead_time(e, s) / 1e9 - tau1;
    double tau_c = v->response_ns > 0 ? (double)v->response_ns / 1e9 : theta, kc = tau1 / (v->gain * (tau_c + theta)),
           ti = fmin(tau1, 4 * (tau_c + theta)), ki = 1 / (v->gain * (tau_c + theta));
    if (ti > 0) ki = kc / ti;
    b->acted_at = e->now;
    double off = clamp(value / bound - 1, -1, 1), u = kc * off + b->integral + ki * off * h, most = can_hold_back(e, s, l);
    double in_force = clamp(u, 0, most);
    b->integral = clamp(in_force - kc * off, 0, most);
    char what[160];
    say(what, sizeof what, name, value, bound);
    if (in_force >= 0.01)
        admit(e, s, 1 - in_force, what);
    else
        open_up(e, s, l, "nothing needs to be held back any more");
}

/* ---- runbook ---- */

static void set_drop(tt_engine *e, tt_site *s, tt_loop *l, uint32_t priority, double ratio, const char *why) {
    if (s->drop[priority] == ratio) return;
    char action[TT_NAME_MAX + 8];
    tt_target t = {0};
    tt_copy_text(t.service, sizeof t.service, tt_sv_of(tt_service_cname(e, s->service)));
    tt_copy_text(t.dc, sizeof t.dc, tt_sv_of(tt_dc_cname(e, s)));
    snprintf(action, sizeof action, "drop:%.*s", TT_SV_ARG(e->rules->priorities[priority]));
    tt_emit_action(e, l, &t, action, s->drop[priority] > 0 ? s->drop[priority] : (double)NAN, ratio > 0 ? ratio : (double)NAN, "ratio", NULL, "%s",
                   why);
    if (l) snprintf(l->why, sizeof l->why, "%s", why);
    tt_site_commanded(e, s, ratio < s->drop[priority]);
    s->drop[priority] = ratio;
}

void tt_site_undrop(tt_engine *e, tt_site *s, const char *why) {
    if (s->by_ratio) return;
    for (uint32_t p = 0; p < e->rules->n_priorities; p++)
        if (s->drop[p] > 0) set_drop(e, s, tt_site_loop(e, s), p, 0, why);
}

/* Away goes `part` of the site's usual share, as far as the others are known to carry it and the guardrails allow. */
static void move_away(tt_engine *e, tt_site *s, tt_loop *l, double part) {
    tt_group *g = &e->groups[s->service];
    double share[TT_DCS_MAX] = {0}, room[TT_DCS_MAX] = {0}, rooms = 0, total = 0, was[TT_DCS_MAX] = {0};
    char why[300], m[32];
    for (uint32_t i = 0; i < g->n_sites; i++) {
        tt_site *r = &e->sites[g->first_site + i];
        was[i] = share[i] = g->weights ? g->share[i] : tt_home_share(e, r);
        if (r->load.known) total += tt_site_demand(r);
        double c = tt_site_capacity(e, r, NULL);
        /* `clean` is of its last look, and that may have been before this one. */
        if (r == s || !r->load.known || !r->clean || r->load.fail_ratio > receiver_fails || c <= 0) continue;
        rooms += room[i] = fmax(0, TT_SAFE_LOAD * c - tt_site_demand(r));
    }
    double move = share[s->dc] - tt_home_share(e, s) * (1 - part), fits = total > 0 ? rooms / total : 0,
           most = e->rules->guardrails.max_capacity_removed;
    if (move > fits) move = fits;
    if (move > tt_change_left(e, g)) move = tt_change_left(e, g); /* the rest is left out: a runbook's step is done once */
    for (int pass = 0; pass < 2 && move > 0; pass++) {
        for (uint32_t i = 0; i < g->n_sites; i++) share[i] = was[i] + (i == s->dc ? -move : rooms > 0 ? move * room[i] / rooms : 0);
        double before = tt_group_removed(e, g, was), after = tt_group_removed(e, g, share);
        if (after <= most + 1e-9) break;
        if (pass == 0) tt_emit(e, "guardrail", l, "guardrails.max_capacity_removed keeps part of the traffic in %s", tt_dc_cname(e, s));
        move = after > before && before < most ? move * (most - before) / (after - before) : 0;
    }
    if (move < 0.005) {
        tt_emit(e, "hold", l, "the runbook moves traffic out of %s, and nobody is known to have room for it: the step is left out",
                tt_dc_cname(e, s));
        return;
    }
    tt_pct(m, sizeof m, move);
    snprintf(why, sizeof why, "the runbook's step: move %s of all traffic out of %s", m, tt_dc_cname(e, s));
    tt_group_push(e, g, s->service, share, l, why);
}

static void do_step(tt_engine *e, tt_site *s, tt_loop *l, uint32_t at) {
    const tt_step *st = &l->plan->steps[at];
    char why[120];
    snprintf(why, sizeof why, "the runbook's step %u of %zu", at + 1, l->plan->n_steps);
    switch (st->kind) {
    case TT_STEP_LIMIT:
        tt_site_set_cap(e, s, st->fixed, why);
        break;
    case TT_STEP_DROP:
        set_drop(e, s, l, st->priority, st->fixed, why);
        break;
    case TT_STEP_DEGRADE:
        tt_site_set_level(e, s, (uint32_t)st->fixed, why);
        break;
    case TT_STEP_SHIFT:
        move_away(e, s, l, st->fixed);
        break;
    case TT_STEP_CUTOVER:
        move_away(e, s, l, 1);
        break;
    default:
        break;
    }
    l->rung = at + 1;
}

/* false: not all the way yet. */
static bool undo_step(tt_engine *e, tt_site *s, tt_loop *l, uint32_t at) {
    const tt_step *st = &l->plan->steps[at];
    tt_group *g = &e->groups[s->service];
    char why[120];
    snprintf(why, sizeof why, "kept for long enough: the runbook's step %u of %zu is taken back", at + 1, l->plan->n_steps);
    switch (st->kind) {
    case TT_STEP_LIMIT:
        if (s->cap_rps > 0) tt_site_set_cap(e, s, 0, why);
        break;
    case TT_STEP_DROP:
        set_drop(e, s, l, st->priority, 0, why);
        break;
    case TT_STEP_DEGRADE:
        tt_site_set_level(e, s, 0, why);
        break;
    case TT_STEP_SHIFT:
    case TT_STEP_CUTOVER:
        if (g->weights && g->loop == (int32_t)(l - e->loops)) tt_group_weights_off(e, g, why);
        return !(g->weights && g->loop == (int32_t)(l - e->loops));
    default:
        break;
    }
    return true;
}

static void runbook(tt_engine *e, tt_site *s, tt_loop *l) {
    const tt_plan *p = l->plan;
    tt_baseline *b = &s->base;
    if (!l->kept_known) return;
    if (!l->kept) {
        if (b->steps_done == p->n_steps || (b->steps_done && tt_since(e->now, b->acted_at) < p->law_params.wait_ns)) return;
        const tt_step *st = &p->steps[b->steps_done];
        if (st->approve && !l->approved && !l->paged) {
            if (l->phase != TT_PHASE_ACTING) return;
            tt_loop_enter(e, l, TT_PHASE_AWAITING_APPROVAL, "the runbook's next step needs a person's approval");
            tt_emit(e, "page", l, "%.*s: approve the %s of %s out of %s", TT_SV_ARG(p->page), tt_step_name(st->kind), l->target.service,
                    l->target.dc);
            return;
        }
        if (st->approve && !l->approved && l->phase == TT_PHASE_AWAITING_APPROVAL) return;
        b->acted_at = e->now;
        if (!st->approve || l->approved) do_step(e, s, l, b->steps_done);
        b->steps_done++;
        return;
    }
    if (!b->steps_done || tt_since(e->now, l->kept_since) < p->recover_after_ns || tt_since(e->now, b->acted_at) < p->recover_every_ns) return;
    if (l->phase == TT_PHASE_SETTLED || l->phase == TT_PHASE_SETTLING || l->phase == TT_PHASE_ACTING || l->phase == TT_PHASE_ESCALATED)
        tt_loop_enter(e, l, TT_PHASE_RECOVERING, "kept for long enough: the steps are taken back, the last one first");
    b->acted_at = e->now;
    if (undo_step(e, s, l, b->steps_done - 1)) b->steps_done--;
}

bool tt_baseline_law_step(tt_engine *e, tt_site *s, tt_loop *l) {
    if (!tt_baseline_law(l)) return false;
    tt_baseline *b = &s->base;
    if (b->acted_at.ns < l->opened_at.ns && (b->multiplier > 0 || b->integral > 0 || b->steps_done || b->acted_at.ns)) {
        double rate = b->rate_rps;
        tt_time at = b->rate_at;
        *b = (tt_baseline){.rate_rps = rate, .rate_at = at};
    }
    if (!s->load.known) {
        if (!s->hold_said)
            tt_emit(e, "hold", l, "%s of %s in %s is %s: nothing new is done until it is good again", s->load.missing,
                    tt_service_cname(e, s->service), tt_dc_cname(e, s), tt_quality_name(s->load.quality));
        s->hold_said = true;
        return true;
    }
    s->hold_said = false;
    average_load(e, s, &l->plan->law_params);
    if (l->locked_until.ns > e->now.ns) return true;
    switch (l->plan->law) {
    case TT_LAW_AIMD:
        aimd(e, s, l);
        break;
    case TT_LAW_PI:
        pi(e, s, l);
        break;
    case TT_LAW_RUNBOOK:
        runbook(e, s, l);
        break;
    default:
        break;
    }
    s->judged_at = s->load.at;
    return true;
}
