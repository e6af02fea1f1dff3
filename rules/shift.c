/* Traffic between data centers: away from a site that is sick of itself, into capacity that is known to be there; what does not fit is degraded
 * or shed at the receiver in the same decision, never just pushed. control.md, section 5. */
#include "engine_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const double reserve = 0.96;
/* A site counts as sick of itself when its peers fail less than this share of what it does. */
static const double peers_fail_share = 0.3;
/* How much of a site's requests must fail before others are degraded, or shed from, to take its traffic; and to believe a single sample. */
static const double worth_degrading = 0.2, worth_shedding = 0.5, plain_at_once = 0.2;
/* What a sick site keeps, of its home share: enough to see it get well. */
static const double trickle = 0.05, deaf = 0.9;
static const double step_max_per_theta = 0.30;

static bool peers_are_well(tt_engine *e, const tt_group *g, const tt_site *sick) {
    uint32_t known = 0;
    for (uint32_t i = 0; i < g->n_sites; i++) {
        const tt_site *s = &e->sites[g->first_site + i];
        if (s == sick) continue;
        if (!s->load.known) continue;
        known++;
        if (s->load.fail_ratio > peers_fail_share * sick->load.fail_ratio) return false;
    }
    return known > 0;
}

static const tt_step *mover(const tt_engine *e, const tt_site *s) {
    const tt_step *st = tt_site_step(e, s, TT_STEP_SHIFT);
    return st ? st : tt_site_step(e, s, TT_STEP_CUTOVER);
}

static double share_of(const tt_engine *e, const tt_group *g, uint32_t i) {
    return g->weights ? g->share[i] : tt_home_share(e, &e->sites[g->first_site + i]);
}

void tt_group_push(tt_engine *e, tt_group *g, uint32_t service, const double share[], tt_loop *l, const char *why) {
    tt_target t = {0};
    tt_copy_text(t.service, sizeof t.service, e->rules->services[service].name);
    double sum = 0, moved = 0;
    for (uint32_t i = 0; i < g->n_sites; i++) sum += share[i];
    TT_ASSERT(sum > 0.999 && sum < 1.001);
    for (uint32_t i = 0; i < g->n_sites; i++) {
        tt_site *s = &e->sites[g->first_site + i];
        double from = share_of(e, g, i), to = share[i] / sum, home = tt_home_share(e, s);
        if (to < home) moved += fmax(0, fmin(from, home) - to);
        g->share[i] = to;
        if (fabs(from - g->share[i]) < 1e-9) continue;
        char action[TT_NAME_MAX + 8];
        snprintf(action, sizeof action, "weights:%.100s", tt_dc_cname(e, s));
        tt_emit_action(e, l, &t, action, from, g->share[i], "ratio", NULL, "%s", why);
        tt_site_commanded(e, s, false);
    }
    tt_change_spend(e, g, moved);
    g->weights = true;
    g->commanded_at = e->now;
    g->loop = (int32_t)(l - e->loops);
    snprintf(l->why, sizeof l->why, "%s", why);
}

void tt_group_weights_off(tt_engine *e, tt_group *g, const char *why) {
    double share[TT_DCS_MAX];
    bool home;
    tt_loop *l = g->loop >= 0 ? &e->loops[g->loop] : NULL;
    tt_target t = {0};
    uint32_t service = e->sites[g->first_site].service;
    tt_copy_text(t.service, sizeof t.service, e->rules->services[service].name);
    /* All go the same part of their way, so that the shares still sum to 1. */
    double part = 1;
    for (uint32_t i = 0; i < g->n_sites; i++) {
        double d = fabs(tt_home_share(e, &e->sites[g->first_site + i]) - g->share[i]);
        if (d * part > 0.25) part = 0.25 / d;
    }
    home = part >= 1;
    for (uint32_t i = 0; i < g->n_sites; i++) share[i] = g->share[i] + part * (tt_home_share(e, &e->sites[g->first_site + i]) - g->share[i]);
    for (uint32_t i = 0; i < g->n_sites; i++) {
        char action[TT_NAME_MAX + 8];
        tt_site *s = &e->sites[g->first_site + i];
        snprintf(action, sizeof action, "weights:%.100s", tt_dc_cname(e, s));
        tt_emit_action(e, l, &t, action, g->share[i], home ? (double)NAN : share[i], "ratio", NULL, "%s", why);
        g->share[i] = share[i];
        tt_site_commanded(e, s, true);
        if (home) s->faulty = false;
    }
    g->commanded_at = e->now;
    if (home) {
        g->weights = false;
        g->loop = -1;
    }
}

/* What all sites may come to carry together. Where every hop bounds its queue, the estimate will do; where a receiver that gets more than it can
 * carry collapses, retries count as they come: how many of them are retries is a guess, and a cap that turns out not to bind costs nothing. */
static double at_most(const tt_engine *e, const tt_group *g, uint32_t service, double total) {
    if (e->rules->services[service].inner_loop) return total;
    double offered = 0;
    for (uint32_t i = 0; i < g->n_sites; i++)
        if (e->sites[g->first_site + i].load.known) offered += e->sites[g->first_site + i].load.offered;
    return fmax(offered, total);
}

/* Prepares a receiver for `demand`, and for `most` at worst: level and cap sized from what it is known to carry. From now on the loop looks after it
 * too. false: its capacity isn't known. */
static bool ready_receiver(tt_engine *e, tt_site *r, tt_loop *l, double demand, double most) {
    double c = tt_site_capacity(e, r, NULL);
    if (c <= 0) return false;
    const tt_step *d = tt_step_at(tt_plan_step(l->plan, TT_STEP_DEGRADE), r->service);
    uint32_t level = r->level;
    double size = tt_plan_step(l->plan, TT_STEP_LIMIT) ? demand : most; /* with no cap behind it, degrade is all there is */
    while (d && level < d->levels && size > TT_SAFE_LOAD * c * tt_gain(d, level)) level++;
    bool fits = most <= TT_SAFE_LOAD * c * tt_gain(d, level);
    if (r->loop < 0) {
        r->loop = (int32_t)(l - e->loops);
        r->violated_at = e->now;
    }
    char why[300], dm[32], cp[32];
    tt_num(dm, sizeof dm, fits ? demand : most);
    tt_num(cp, sizeof cp, c * tt_gain(d, level));
    if (level > r->level) {
        snprintf(why, sizeof why, "receives %s rps with a capacity of %s rps at level %u: degrade before the load arrives", dm, cp, level);
        tt_site_set_level(e, r, level, why);
    }
    if (!fits && tt_site_step(e, r, TT_STEP_LIMIT)) { /* a drop ratio would have to know what comes */
        double cap = reserve * c * tt_gain(d, level);
        if (cap < r->load.ok) cap = r->load.ok;
        if (r->cap_rps <= 0 || cap < r->cap_rps) {
            snprintf(why, sizeof why, "may receive %s rps, can carry %s rps: what does not fit is shed, lowest priority first", dm, cp);
            tt_site_set_cap(e, r, cap, why);
        }
    }
    return true;
}

/* What a receiver can carry: degraded as far as the plan goes, or as it is. */
static double room_of(tt_engine *e, const tt_site *r, const tt_loop *l, bool degraded) {
    const tt_step *d = tt_step_at(tt_plan_step(l->plan, TT_STEP_DEGRADE), r->service);
    double c = tt_site_capacity(e, r, NULL);
    return c > 0 ? TT_SAFE_LOAD * c * tt_gain(d, d && degraded ? d->levels : r->level) : 0;
}

/* Empties a sick site down to a trickle, as far as plan, guardrails and receivers allow. */
static void leave(tt_engine *e, tt_group *g, uint32_t service, tt_site *sick, tt_loop *l, bool wholly) {
    const tt_step *st = mover(e, sick);
    double share[TT_DCS_MAX], home = tt_home_share(e, sick), total = 0, rooms = 0, room[TT_DCS_MAX] = {0};
    uint32_t me = sick->dc;
    char why[400];
    for (uint32_t i = 0; i < g->n_sites; i++) {
        tt_site *r = &e->sites[g->first_site + i];
        share[i] = share_of(e, g, i);
        if (r->load.known) total += tt_site_demand(r);
        if (i == me || !r->load.known || r->faulty || r->load.fail_ratio > peers_fail_share * sick->load.fail_ratio) continue;
        if (r->cap_rps > 0 && r->measured_rps > 0) continue; /* well only because it is capped: it has been saturated itself */
        room[i] = room_of(e, r, l, sick->load.fail_ratio > worth_degrading);
        rooms += room[i];
    }
    if (rooms <= 0) {
        if (!sick->nowhere_said)
            tt_emit(e, "hold", l, "%s is sick but no other site is well with a known capacity: nothing is moved", tt_dc_cname(e, sick));
        sick->nowhere_said = true;
        return;
    }
    const tt_step *shift = tt_site_step(e, sick, TT_STEP_SHIFT);
    double keep = wholly ? 0 : home * trickle, floor_by_step = shift && !wholly ? home * (1 - shift->max) : 0;
    if (keep < floor_by_step) keep = floor_by_step;
    /* The guardrail on capacity removed bounds how much of it may go. */
    share[me] = keep;
    double limit = e->rules->guardrails.max_capacity_removed;
    bool bounded = false;
    if (tt_group_removed(e, g, share) > limit + 1e-9) {
        double lo = keep, hi = share_of(e, g, me);
        for (int k = 0; k < 40; k++) {
            share[me] = (lo + hi) / 2;
            if (tt_group_removed(e, g, share) > limit)
                lo = share[me];
            else
                hi = share[me];
        }
        share[me] = hi;
        bounded = true;
    }
    double rate = tt_change_left(e, g);
    bool paced = share_of(e, g, me) - share[me] > rate + 1e-9;
    if (paced) share[me] = share_of(e, g, me) - rate;
    /* The cure must not cost more than the illness: a site that still answers most requests well gives away only what fits. */
    bool shed = tt_site_step(e, sick, TT_STEP_LIMIT) && sick->load.fail_ratio > worth_shedding;
    double moved = share_of(e, g, me) - share[me], fits = 0, most = at_most(e, g, service, total), spare[TT_DCS_MAX] = {0};
    for (uint32_t i = 0; i < g->n_sites; i++)
        if (room[i] > 0) fits += spare[i] = fmax(0, room[i] - share_of(e, g, i) * most);
    if (!shed && moved * most > fits) {
        double can = most > 0 ? fits / most : 0;
        share[me] += moved - can;
        moved = can;
    }
    /* By what each has left; when that isn't enough, by what each can carry, and the rest is shed there. */
    bool enough = fits > 0 && moved * most <= fits + 1e-9;
    if (moved < 0.005) {
        if (!sick->nowhere_said && paced)
            tt_emit(e, "guardrail", l, "guardrails.max_change leaves nothing to move out of %s yet", tt_dc_cname(e, sick));
        else if (!sick->nowhere_said)
            tt_emit(e, "hold", l, "%s is sick but the others have no room: nothing is moved", tt_dc_cname(e, sick));
        sick->nowhere_said = true;
        return;
    }
    if (bounded) {
        char a[32];
        tt_pct(a, sizeof a, limit);
        tt_emit(e, "guardrail", l, "guardrails.max_capacity_removed %s keeps part of the traffic in %s", a, tt_dc_cname(e, sick));
    }
    for (uint32_t i = 0; i < g->n_sites; i++)
        if (i != me) share[i] = share_of(e, g, i) + moved * (enough ? spare[i] / fits : room[i] / rooms);
    for (uint32_t i = 0; i < g->n_sites; i++)
        if (i != me && room[i] > 0 && !ready_receiver(e, &e->sites[g->first_site + i], l, share[i] * total, share[i] * most)) return;
    char f[32], m[32];
    tt_pct(f, sizeof f, sick->load.fail_ratio);
    tt_pct(m, sizeof m, moved);
    snprintf(why, sizeof why, "%s fails %s of its requests and is not saturated, the others are well: move %s of all traffic away from it%s",
             tt_dc_cname(e, sick), f, m, share[me] > 0 ? ", keep a trickle to see it recover" : "");
    tt_group_push(e, g, service, share, l, why);
    sick->faulty = true;
    sick->acted = true;
    sick->violated_at = e->now;
    if ((uint32_t)(st - l->plan->steps) + 1 > l->rung) l->rung = (uint32_t)(st - l->plan->steps) + 1;
}

/* Takes `move` of all traffic from `s`, by the room the others have, and makes those ready for their part of `demand`, or of `most` at worst. false: a
 * guardrail or a receiver forbids it, and nothing may be pushed. */
static bool hand_over(tt_engine *e, tt_group *g, const tt_site *s, tt_loop *l, double share[], const double room[], double rooms, double move, double demand,
                      double most) {
    for (uint32_t i = 0; i < g->n_sites; i++) share[i] += room[i] / rooms * move;
    share[s->dc] -= move;
    if (tt_group_removed(e, g, share) > e->rules->guardrails.max_capacity_removed) return false;
    for (uint32_t i = 0; i < g->n_sites; i++)
        if (room[i] > 0 && !ready_receiver(e, &e->sites[g->first_site + i], l, share[i] * demand, share[i] * most)) return false;
    return true;
}

/* A saturated site whose own means are spent gives its excess to those with room. */
static void relieve(tt_engine *e, tt_group *g, uint32_t service, tt_site *s, tt_loop *l) {
    const tt_step *d = tt_site_step(e, s, TT_STEP_DEGRADE), *st = tt_site_step(e, s, TT_STEP_SHIFT);
    if (!st || s->measured_rps <= 0) return;
    double total = 0, room[TT_DCS_MAX] = {0}, rooms = 0, share[TT_DCS_MAX];
    for (uint32_t i = 0; i < g->n_sites; i++) {
        tt_site *r = &e->sites[g->first_site + i];
        if (!r->load.known) return;
        share[i] = share_of(e, g, i);
        total += tt_site_share_of_demand(e, r);
    }
    for (uint32_t i = 0; i < g->n_sites; i++) {
        tt_site *r = &e->sites[g->first_site + i];
        if (r == s || !r->clean || r->faulty || r->cap_rps > 0) continue;
        room[i] = fmin(fmax(0, room_of(e, r, l, true) - share[i] * total), step_max_per_theta * share[i] * total);
        rooms += room[i];
    }
    double excess = tt_site_share_of_demand(e, s) - TT_SAFE_LOAD * s->measured_rps * tt_gain(d, s->level), home = tt_home_share(e, s);
    double may = fmin(fmax(0, share[s->dc] - home * (1 - st->max)), tt_change_left(e, g)) * total, move = fmin(fmin(excess, rooms), may);
    if (total <= 0 || move < 0.03 * total) return;
    if (!hand_over(e, g, s, l, share, room, rooms, move / total, total, at_most(e, g, service, total))) return;
    char why[300], x[32], m[32];
    tt_num(x, sizeof x, excess);
    tt_num(m, sizeof m, move);
    snprintf(why, sizeof why, "%s is over its safe capacity by %s rps: %s rps go where there is room", tt_dc_cname(e, s), x, m);
    tt_group_push(e, g, service, share, l, why);
}

/* A site that doesn't take its cap is kept within its capacity by what is sent there (section 6): the rest goes where caps are taken, and is shed there
 * if it must be. */
static void spare_deaf(tt_engine *e, tt_group *g, uint32_t service, tt_site *s, tt_loop *l) {
    const tt_step *st = mover(e, s), *d = tt_site_step(e, s, TT_STEP_DEGRADE);
    double total = 0, share[TT_DCS_MAX], room[TT_DCS_MAX] = {0}, rooms = 0, home = tt_home_share(e, s);
    if (s->reach >= deaf || s->measured_rps <= 0 || tt_since(e->now, g->commanded_at) < tt_law_dead_time(e, s)) return;
    for (uint32_t i = 0; i < g->n_sites; i++) {
        tt_site *r = &e->sites[g->first_site + i];
        share[i] = share_of(e, g, i);
        if (!r->load.known) return;
        total += r->load.offered;
        double c = tt_site_capacity(e, r, NULL);
        if (r != s && !r->faulty && c > 0 && (r->reach >= deaf || r->clean)) rooms += room[i] = c * r->reach;
    }
    /* What stands in its queues can't be flushed by a cap either: a site that hardly answers keeps little until it does. */
    double f = s->load.fail_ratio, part = f > 0.5 ? 0.3 : f > 0.15 ? 0.6 : 0.85;
    double may = fmax(part * s->measured_rps * tt_gain(d, s->level) / ((1 - s->reach) * total), home * (1 - st->max));
    if (rooms <= 0 || share[s->dc] < may + 0.02) return;
    double move = fmin(share[s->dc] - may, tt_change_left(e, g));
    if (move < 0.005) return;
    if (!hand_over(e, g, s, l, share, room, rooms, move, total, total)) return;
    char why[300], a[32], m[32];
    tt_pct(a, sizeof a, s->reach);
    tt_pct(m, sizeof m, move);
    snprintf(why, sizeof why, "only %s of the instances of %s take its cap: %s of all traffic goes where caps are taken", a, tt_dc_cname(e, s), m);
    tt_group_push(e, g, service, share, l, why);
}

static void come_back(tt_engine *e, tt_group *g, uint32_t service) {
    tt_loop *l = g->loop >= 0 ? &e->loops[g->loop] : NULL;
    if (!l || tt_baseline_law(l) || !tt_loop_may_act(e, l) || l->locked_until.ns > e->now.ns) return;
    double share[TT_DCS_MAX];
    bool done = true;
    int64_t every = l->plan->recover_every_ns;
    for (uint32_t i = 0; i < g->n_sites; i++) {
        tt_site *s = &e->sites[g->first_site + i];
        double home = tt_home_share(e, s);
        share[i] = g->share[i];
        int64_t theta = tt_law_dead_time(e, s), hold = s->hold_ns > l->plan->recover_after_ns ? s->hold_ns : l->plan->recover_after_ns;
        if (g->share[i] >= home) continue;
        /* All must be seen, and the one that takes traffic back must be well by data taken since the last move. */
        if (!s->load.known || (!s->clean && g->share[i] > 0) || !tt_site_judgeable(e, s)) return;
        if (tt_since(e->now, s->violated_at) < hold || tt_since(e->now, g->commanded_at) < (every > theta ? every : theta)) return;
        const tt_step *d = tt_step_at(tt_plan_step(l->plan, TT_STEP_DEGRADE), s->service);
        double well = tt_site_well_capacity(e, s), c = well > 0 ? well : tt_site_capacity(e, s, NULL), total = 0;
        for (uint32_t k = 0; k < g->n_sites; k++) total += tt_site_demand(&e->sites[g->first_site + k]);
        double next = fmin(home, g->share[i] + fmax(l->plan->recover_step, 0.05) * home);
        /* What it does with the share it has says best what it would do with more; a trickle says too little, then it is what was learned. */
        bool telling = s->load.util_known && g->share[i] > 0.2 * home;
        if (telling ? s->load.util * next / g->share[i] > TT_SAFE_LOAD : c > 0 && next * total > c * tt_gain(d, s->level)) return;
        if (s->cap_rps > 0 && !s->by_ratio && next * total > s->cap_rps) return; /* its cap would drop it: that opens first */
        share[i] = next;
        if (next < home - 1e-9) done = false;
    }
    double gained = 0, over = 0;
    for (uint32_t i = 0; i < g->n_sites; i++) {
        gained += share[i] - g->share[i];
        double home = tt_home_share(e, &e->sites[g->first_site + i]);
        if (g->share[i] > home) over += g->share[i] - home;
    }
    if (gained <= 0) return;
    for (uint32_t i = 0; i < g->n_sites; i++) {
        double home = tt_home_share(e, &e->sites[g->first_site + i]);
        if (g->share[i] > home) share[i] = g->share[i] - gained * (g->share[i] - home) / over;
    }
    if (l->phase != TT_PHASE_RECOVERING && l->phase != TT_PHASE_AWAITING_APPROVAL)
        tt_loop_enter(e, l, TT_PHASE_RECOVERING, "the site that was left is well: traffic comes back in steps");
    if (done) {
        /* All the way home in one go only when it is the last short step. */
        double home[TT_DCS_MAX];
        for (uint32_t i = 0; i < g->n_sites; i++) home[i] = tt_home_share(e, &e->sites[g->first_site + i]);
        tt_group_push(e, g, service, home, l, "the last step home: every site has its usual share");
        g->weights = false;
        for (uint32_t i = 0; i < g->n_sites; i++) {
            tt_site *s = &e->sites[g->first_site + i];
            s->faulty = false;
            s->raised = true;
        }
        return;
    }
    tt_group_push(e, g, service, share, l, "the site that was left answers well: give it a step of its traffic back");
    for (uint32_t i = 0; i < g->n_sites; i++) e->sites[g->first_site + i].raised = e->sites[g->first_site + i].faulty;
}

void tt_shift_step(tt_engine *e, tt_group *g, uint32_t service) {
    if (g->n_sites < 2 || tt_group_held(e, service) || (g->weights && g->loop >= 0 && tt_drain_loop(&e->loops[g->loop]))) return;
    for (uint32_t i = 0; i < g->n_sites; i++) {
        tt_site *s = &e->sites[g->first_site + i];
        tt_loop *l = tt_site_loop(e, s);
        if (!l || tt_baseline_law(l) || !mover(e, s) || !tt_loop_may_act(e, l) || l->locked_until.ns > e->now.ns) continue;
        if (!s->load.known || s->looked_at.ns != e->now.ns) continue; /* once for each sample, and only one that is judgeable */
        bool believed = s->bad_samples >= 2 || s->load.fail_ratio > plain_at_once;
        bool local = s->bad && believed && s->load.refused_ratio <= 0.01 && s->load.fail_ratio > 0.05 && peers_are_well(e, g, s);
        /* What a cap holds back here others may have room for. */
        if (!s->saturated && !s->bad && !s->faulty && s->cap_rps > 0 && s->load.dropped > 0.03 * s->load.offered) {
            relieve(e, g, service, s, l);
            continue;
        }
        /* Load looks like a fault of its own too when it is alone: what its hops can show decides. Unbounded queues fail like that by load alone. */
        if (s->saturated && !s->faulty && (!local || s->load.fail_ratio < 0.5 || !e->rules->services[s->service].inner_loop)) {
            if (s->reach < deaf)
                spare_deaf(e, g, service, s, l);
            else
                relieve(e, g, service, s, l);
            continue;
        }
        if (!local || (!s->faulty && tt_eject_pending(e, s))) continue;
        if (!s->faulty) {
            const tt_step *cut = tt_site_step(e, s, TT_STEP_CUTOVER);
            leave(e, g, service, s, l, cut && !tt_site_step(e, s, TT_STEP_SHIFT) && (!cut->approve || l->approved));
        } else if (g->weights && g->share[i] > tt_home_share(e, s) * trickle + 1e-9) {
            /* Bad again on its way back. */
            bool was_raised = s->raised;
            leave(e, g, service, s, l, false);
            if (was_raised) {
                s->hold_ns = 2 * (s->hold_ns > l->plan->recover_after_ns ? s->hold_ns : l->plan->recover_after_ns);
                if (s->hold_ns > TT_SECONDS(300)) s->hold_ns = TT_SECONDS(300);
                tt_loop_relapse(e, l, "the site failed again when traffic came back");
                if (l->phase == TT_PHASE_RECOVERING) tt_loop_enter(e, l, TT_PHASE_ACTING, "the site failed again when traffic came back");
            }
        } else {
            s->violated_at = e->now;
            const tt_step *cut = tt_site_step(e, s, TT_STEP_CUTOVER);
            if (cut && g->weights && g->share[i] > 0 && tt_since(e->now, g->commanded_at) >= 2 * tt_law_dead_time(e, s)) {
                if (!cut->approve || l->approved)
                    leave(e, g, service, s, l, true);
                else if (l->phase == TT_PHASE_ACTING && !l->paged) {
                    tt_loop_enter(e, l, TT_PHASE_AWAITING_APPROVAL, "cutting the site off wholly needs a person's approval");
                    tt_emit(e, "page", l, "%.*s: approve the cutover of %s out of %s", TT_SV_ARG(l->plan->page), l->target.service,
                            tt_dc_cname(e, s));
                }
            }
        }
    }
    if (g->weights) come_back(e, g, service);
}
