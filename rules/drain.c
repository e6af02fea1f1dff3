/* A whole data center is left: a plan whose target has no service. Services go in the order of their calls, callers before those they call, so that
 * nobody who is still here calls into the distance; a service moves only as far and as fast as those who receive are seen to bear it, and the next
 * ones wait for that. Back it comes the other way round, the callees first, in steps of 5, 12, 31, 62 and 100 % (control.md, section 7). */
#include "engine_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const double receiver_fails = 0.05, receiver_refuses = 0.01;
static const double step_max_per_theta = 0.30;
static const double back[] = {0.05, 0.12, 0.31, 0.62, 1};
static const uint8_t not_here = 0xff;

typedef struct {
    uint8_t depth[TT_SERVICES_MAX]; /* calls from the outermost caller; not_here: nothing to be moved */
    uint8_t deepest;
} order;

static uint8_t depth_of(const tt_rules *r, uint32_t service, uint8_t at, uint8_t depth[]) {
    if (depth[service] != not_here && depth[service] >= at) return depth[service];
    depth[service] = at;
    for (size_t i = 0; i < r->services[service].n_calls && at + 1 < not_here; i++)
        depth_of(r, r->services[service].calls[i], (uint8_t)(at + 1), depth);
    return at;
}

static tt_site *site_in(const tt_engine *e, uint32_t service, const char *dc) {
    const tt_group *g = &e->groups[service];
    for (uint32_t i = 0; i < g->n_sites; i++)
        if (strcmp(tt_dc_cname(e, &e->sites[g->first_site + i]), dc) == 0) return &e->sites[g->first_site + i];
    return NULL;
}

static void find_order(const tt_engine *e, const tt_loop *l, order *o) {
    const tt_rules *r = e->rules;
    memset(o->depth, not_here, sizeof o->depth);
    for (uint32_t i = 0; i < r->n_services; i++) depth_of(r, i, 0, o->depth);
    o->deepest = 0;
    for (uint32_t i = 0; i < r->n_services; i++) {
        const tt_site *s = site_in(e, i, l->target.dc);
        if (!s || e->groups[i].n_sites < 2 || tt_home_share(e, s) <= 0 || tt_is_protected(e, tt_service_cname(e, i))) o->depth[i] = not_here;
        if (o->depth[i] != not_here && o->depth[i] > o->deepest) o->deepest = o->depth[i];
    }
}

static double share_of(const tt_engine *e, uint32_t service, const tt_site *s) {
    const tt_group *g = &e->groups[service];
    return g->weights ? g->share[s->dc] : tt_home_share(e, s);
}

static bool mine(const tt_engine *e, const tt_loop *l, uint32_t service) {
    return e->groups[service].weights && e->groups[service].loop == (int32_t)(l - e->loops);
}

bool tt_drain_loop(const tt_loop *l) {
    return l && l->used && !l->target.service[0] && l->target.dc[0];
}

static void hold_once(tt_engine *e, tt_loop *l, const char *why) {
    if (strcmp(l->why, why) == 0) return;
    snprintf(l->why, sizeof l->why, "%s", why);
    tt_emit(e, "hold", l, "%s", why);
}

/* Whether those who bear a service's traffic are seen to bear it, by data taken since it was moved. false: with the reason. `but`: who is not asked.
 */
static bool borne(const tt_engine *e, uint32_t service, const tt_site *but, char *why, size_t size) {
    const tt_group *g = &e->groups[service];
    for (uint32_t i = 0; i < g->n_sites; i++) {
        const tt_site *s = &e->sites[g->first_site + i];
        if (s == but || share_of(e, service, s) <= 0) continue;
        const char *name = tt_service_cname(e, service), *dc = tt_dc_cname(e, s);
        if (!s->load.known) {
            snprintf(why, size, "%.60s in %.60s is not seen: nothing more is moved until it is", name, dc);
            return false;
        }
        if (!tt_site_judgeable(e, s)) {
            why[0] = 0; /* it takes its time */
            return false;
        }
        if (s->load.fail_ratio > receiver_fails || s->load.refused_ratio > receiver_refuses) {
            snprintf(why, size, "%.60s in %.60s does not bear what it got: nothing more is moved until it does", name, dc);
            return false;
        }
    }
    return true;
}

static double total_of(const tt_engine *e, uint32_t service) {
    const tt_group *g = &e->groups[service];
    double seen = 0, shares = 0;
    for (uint32_t i = 0; i < g->n_sites; i++) {
        const tt_site *s = &e->sites[g->first_site + i];
        if (!s->load.known) continue; /* it may be dark: what the others have tells the whole */
        seen += tt_site_demand(s);
        shares += share_of(e, service, s);
    }
    return shares > 0.05 ? seen / shares : 0;
}

/* Moves as much of a service out of the data center as its receivers have room for, at most a part of it at a time. false: there is nothing that
 * fits. */
static bool move_out(tt_engine *e, tt_loop *l, uint32_t service, tt_site *from) {
    tt_group *g = &e->groups[service];
    double share[TT_DCS_MAX] = {0}, was[TT_DCS_MAX] = {0}, room[TT_DCS_MAX] = {0}, rooms = 0, total = total_of(e, service);
    for (uint32_t i = 0; i < g->n_sites; i++) {
        const tt_site *r = &e->sites[g->first_site + i];
        double c = tt_site_capacity(e, r, NULL);
        was[i] = share[i] = share_of(e, service, r);
        if (r != from && r->load.known && !r->faulty && c > 0) rooms += room[i] = fmax(TT_SAFE_LOAD * c - was[i] * total, 0);
    }
    double move = fmin(was[from->dc], step_max_per_theta), most = e->rules->guardrails.max_capacity_removed;
    if (total > 0 && move * total > rooms) move = rooms / total;
    if (rooms <= 0) move = 0;
    if (move > tt_change_left(e, g)) move = tt_change_left(e, g);
    for (int pass = 0; pass < 2 && move > 0; pass++) {
        for (uint32_t i = 0; i < g->n_sites; i++) share[i] = was[i] + (i == from->dc ? -move : move * room[i] / rooms);
        double before = tt_group_removed(e, g, was), after = tt_group_removed(e, g, share);
        if (after <= most + 1e-9) break;
        move = after > before && before < most ? move * (most - before) / (after - before) : 0;
    }
    if (move < 0.005) return false;
    char why[300], m[32];
    tt_pct(m, sizeof m, move);
    snprintf(why, sizeof why, "%.60s is left: %s of the traffic of %.60s goes to where there is room, those who call it have left before",
             l->target.dc, m, tt_service_cname(e, service));
    if (share[from->dc] < 0.005) {
        for (uint32_t i = 0; i < g->n_sites; i++)
            if (room[i] > 0) {
                share[i] += share[from->dc];
                break;
            }
        share[from->dc] = 0;
    }
    tt_group_push(e, g, service, share, l, why);
    return true;
}

static void leave(tt_engine *e, tt_loop *l, const tt_step *st) {
    order o;
    char why[240];
    find_order(e, l, &o);
    for (uint8_t depth = 0; depth <= o.deepest; depth++) {
        bool moved = false, left = true, stuck = false;
        for (uint32_t i = 0; i < e->rules->n_services; i++) {
            if (o.depth[i] != depth) continue;
            tt_site *s = site_in(e, i, l->target.dc);
            if (e->groups[i].weights && !mine(e, l, i)) {
                snprintf(why, sizeof why, "another loop has moved traffic of %.60s: it is left to that", tt_service_cname(e, i));
                hold_once(e, l, why);
                left = false;
                continue;
            }
            if (tt_group_held(e, i)) {
                snprintf(why, sizeof why, "a person, or somebody else, has the weights of %.60s: it is left to them", tt_service_cname(e, i));
                hold_once(e, l, why);
                left = false;
                continue;
            }
            /* Receivers first: where they don't bear what they have, they get no more, whoever comes next. */
            if (!borne(e, i, s, why, sizeof why)) {
                if (why[0]) hold_once(e, l, why);
                left = false;
                continue;
            }
            if (share_of(e, i, s) <= 0) continue;
            left = false;
            if (move_out(e, l, i, s))
                moved = true;
            else
                stuck = true;
        }
        if (moved && (uint32_t)(st - l->plan->steps) + 1 > l->rung) l->rung = (uint32_t)(st - l->plan->steps) + 1;
        if (stuck && !moved) {
            snprintf(why, sizeof why, "what is left in %.60s has no room elsewhere: it stays", l->target.dc);
            hold_once(e, l, why);
        }
        if (!left) return; /* those they call wait */
    }
}

/* One step of a service's way home. */
static void step_home(tt_engine *e, tt_loop *l, uint32_t service, const tt_site *to) {
    tt_group *g = &e->groups[service];
    double home = tt_home_share(e, to), share[TT_DCS_MAX] = {0}, next = home, over = 0;
    for (size_t i = TT_COUNT(back); i-- > 0;)
        if (back[i] * home > g->share[to->dc] + 1e-9) next = back[i] * home;
    double gained = next - g->share[to->dc];
    for (uint32_t i = 0; i < g->n_sites; i++) {
        share[i] = g->share[i];
        over += fmax(share[i] - tt_home_share(e, &e->sites[g->first_site + i]), 0);
    }
    bool done = next >= home - 1e-9;
    for (uint32_t i = 0; i < g->n_sites; i++) {
        double usual = tt_home_share(e, &e->sites[g->first_site + i]);
        share[i] = done ? usual : i == to->dc ? next : share[i] - (over > 0 ? gained * fmax(share[i] - usual, 0) / over : 0);
    }
    char why[200], m[32];
    tt_pct(m, sizeof m, next / home);
    snprintf(why, sizeof why, "%.60s is used again: %.60s has %s of its usual traffic there", l->target.dc, tt_service_cname(e, service), m);
    tt_group_push(e, g, service, share, l, why);
    if (done) g->weights = false;
}

static void come_back(tt_engine *e, tt_loop *l) {
    order o;
    char why[240];
    find_order(e, l, &o);
    for (int depth = o.deepest; depth >= 0; depth--) {
        bool home = true;
        for (uint32_t i = 0; i < e->rules->n_services; i++) {
            if (o.depth[i] != depth || !mine(e, l, i)) continue;
            const tt_site *s = site_in(e, i, l->target.dc);
            int64_t theta = tt_law_dead_time(e, s), every = l->plan->recover_every_ns > theta ? l->plan->recover_every_ns : theta;
            home = false;
            if (tt_since(e->now, e->groups[i].commanded_at) < every || tt_group_held(e, i)) continue;
            if (!borne(e, i, NULL, why, sizeof why)) {
                if (why[0]) hold_once(e, l, why);
                continue;
            }
            if (l->phase == TT_PHASE_SETTLED || l->phase == TT_PHASE_SETTLING || l->phase == TT_PHASE_ACTING || l->phase == TT_PHASE_ESCALATED)
                tt_loop_enter(e, l, TT_PHASE_RECOVERING, "the data center is well again: traffic comes back in steps");
            step_home(e, l, i, s);
        }
        if (!home) return;
    }
}

void tt_drain_step(tt_engine *e, tt_loop *l) {
    const tt_step *st = tt_plan_step(l->plan, TT_STEP_CUTOVER);
    if (!st) return;
    tt_anomaly *a = tt_loop_anomaly(e, l);
    bool trouble = a && a->state == TT_AN_OPEN;
    if (trouble) l->violated_at = e->now;
    if (trouble && st->approve && !l->approved) {
        if (l->phase == TT_PHASE_ACTING && !l->paged) {
            tt_loop_enter(e, l, TT_PHASE_AWAITING_APPROVAL, "leaving a whole data center needs a person's approval");
            tt_emit(e, "page", l, "%.*s: approve the cutover out of %s", TT_SV_ARG(l->plan->page), l->target.dc);
        }
        return;
    }
    if (trouble)
        leave(e, l, st);
    else if (!a && tt_since(e->now, l->violated_at) >= l->plan->recover_after_ns)
        come_back(e, l);
}
