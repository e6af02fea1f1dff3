/* The armed envelope: a rate cap that stands before any incident, a little under the capacity a site was seen to have, so that the data plane holds in
 * the seconds before anybody has seen anything, and while monitoring is blind. control.md, section 4.
 *
 * It is no action: nobody's request is touched by it while the site is within its capacity. When it bites, that is an anomaly like any other. */
#include "engine_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const double envelope = 0.96, refresh = 0.05;
/* Its own refusals, as a share of what is offered: the load is over the capacity. */
static const double bites_above = 0.03, bites_at_once = 0.2;

/* Which plan may limit this site without asking anybody. Callers of other armed services only: what a service below would refuse, its caller has
 * already worked for. */
static const tt_plan *plan_for(tt_engine *e, const tt_site *s) {
    for (size_t i = 0; i < e->rules->n_plans; i++) {
        const tt_plan *p = &e->rules->plans[i];
        const tt_step *limit = tt_plan_step(p, TT_STEP_LIMIT);
        if (!limit || !limit->armed || p->mode != TT_MODE_AUTO || p->law != TT_LAW_MEASURED_CAPACITY) continue;
        if (tt_plan_covers(e, p, tt_service_cname(e, s->service), tt_dc_cname(e, s))) return p;
    }
    return NULL;
}

static void say(tt_engine *e, const tt_site *s, tt_sv plan, double to, const char *why) {
    char a[32], b[32], u[32];
    double from = s->armed_rps;
    tt_num(a, sizeof a, from);
    tt_num(b, sizeof b, to);
    tt_pct(u, sizeof u, s->load.util);
    tt_event *ev = to <= 0    ? tt_emit(e, "armed", NULL, "the armed cap of %s rps is taken away: %s", a, why)
                   : from > 0 ? tt_emit(e, "armed", NULL, "the armed cap follows the learned capacity: %s rps (utilization %s now), %s before", b, u, a)
                              : tt_emit(e, "armed", NULL, "a cap of %s rps is armed, from capacity learned while healthy (utilization %s now)", b, u);
    if (!ev) return;
    tt_copy_text(ev->plan, sizeof ev->plan, plan);
    tt_copy_text(ev->target.service, TT_NAME_MAX, tt_sv_of(tt_service_cname(e, s->service)));
    tt_copy_text(ev->target.dc, TT_NAME_MAX, tt_sv_of(tt_dc_cname(e, s)));
    tt_copy_text(ev->action, sizeof ev->action, TT_SV("limit"));
    ev->from = from > 0 ? from : (double)NAN;
    ev->to = to > 0 ? to : (double)NAN;
    tt_copy_text(ev->unit, sizeof ev->unit, TT_SV("rps"));
}

void tt_arm_off(tt_engine *e, tt_site *s, const char *why) {
    if (s->armed_rps <= 0) return;
    say(e, s, s->arms ? s->arms->name : TT_SV(""), 0, why);
    s->armed_rps = 0;
    s->bites = 0;
}

void tt_arm_find(tt_engine *e) {
    for (uint32_t i = 0; i < e->n_sites; i++) {
        tt_site *s = &e->sites[i];
        s->arms = tt_is_protected(e, tt_service_cname(e, s->service)) ? NULL : plan_for(e, s);
    }
    for (uint32_t i = 0; i < e->n_sites; i++) {
        const tt_site *s = &e->sites[i];
        for (uint32_t c = 1; s->arms && c < s->n_closure; c++) {
            tt_site *below = tt_site_of(e, tt_service_cname(e, s->closure[c]), tt_dc_cname(e, s));
            if (below) below->arms = NULL;
        }
    }
    for (uint32_t i = 0; i < e->n_sites; i++)
        if (!e->sites[i].arms) tt_anomaly_disarmed(e, tt_service_cname(e, e->sites[i].service), tt_dc_cname(e, &e->sites[i]));
}

static void watch_bite(tt_engine *e, tt_site *s) {
    const tt_load *l = &s->load;
    bool only_armed = s->armed_rps > 0 && s->cap_rps <= 0;
    double held = only_armed && l->offered > 0 ? l->dropped / l->offered : 0;
    s->bites = held > bites_above ? s->bites + 1 : 0;
    if (s->bites >= 2 || held > bites_at_once)
        tt_anomaly_armed(e, s->arms, tt_service_cname(e, s->service), tt_dc_cname(e, s), held, true);
    else if (held < bites_above / 2 && !(s->cap_rps > 0 && l->dropped > 0.01 * l->offered))
        tt_anomaly_armed(e, s->arms, tt_service_cname(e, s->service), tt_dc_cname(e, s), held, false);
}

/* Before loops are opened: looks at each new sample once. */
void tt_arm_step(tt_engine *e) {
    for (uint32_t i = 0; i < e->n_sites; i++) {
        tt_site *s = &e->sites[i];
        if (!s->arms) tt_arm_off(e, s, "no plan of the rules in force arms it");
        if (!s->arms || !s->load.known || s->load.at.ns <= s->armed_at.ns) continue;
        s->armed_at = s->load.at;
        watch_bite(e, s);
        double seen = tt_site_seen_capacity(e, s);
        if (e->frozen || seen <= 0 || s->disarmed_until.ns > e->now.ns) continue;
        tt_loop *l = tt_site_loop(e, s);
        const tt_step *d = l ? tt_plan_step(l->plan, TT_STEP_DEGRADE) : NULL;
        double want = envelope * seen * tt_gain(d, s->level);
        if (s->armed_rps > 0 && fabs(want - s->armed_rps) <= refresh * s->armed_rps) continue;
        /* Not in a moment of trouble, and never so that it would bite at once: that is a loop's business. */
        if (!l && (!s->clean || want < 1.02 * s->load.admitted)) continue;
        say(e, s, s->arms->name, want, NULL);
        s->armed_rps = want;
        s->armed_latency_ms = s->latency_base_ms;
    }
}
