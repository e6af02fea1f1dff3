/* Guardrails that count: the capacity that is taken away over everything a request passes through, how fast it is taken away, whether what looks bad
 * is bad, and the windows in which nothing new is begun. */
#include "engine_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* As the law judges a site (law.c), but with nothing of an incident in it. */
static const double bad_fail = 0.05, bad_refused = 0.01, bad_latency = 2.2, bad_dropped = 0.01;

/* ---- capacity removed ---- */

static bool calls(const tt_engine *e, uint32_t caller, uint32_t service) {
    const tt_group *g = &e->groups[caller];
    if (g->n_sites == 0) return false;
    const tt_site *s = &e->sites[g->first_site];
    for (uint32_t i = 0; i < s->n_closure; i++)
        if (s->closure[i] == service) return true;
    return false;
}

static double ejected_share(const tt_engine *e, const tt_site *s) {
    tt_index_walk w;
    double out = 0;
    const char *service = tt_service_cname(e, s->service), *dc = tt_dc_cname(e, s);
    for (const tt_loop *l = tt_loop_on_instance(e, service, dc, &w, true); l; l = tt_loop_on_instance(e, service, dc, &w, false))
        if (l->ejected) out += l->eject_share;
    return fmin(out, 1);
}

/* What is left of a service at one data center, of its usual 1. `what` may change it. */
static double left_at(tt_engine *e, const tt_site *s, const tt_removal *what) {
    const tt_group *g = &e->groups[s->service];
    bool changed = what && what->service == s->service;
    double home = tt_home_share(e, s), share = changed && what->share ? what->share[s->dc] : g->weights ? g->share[s->dc] : home;
    double left = home > 0 ? fmin(1, share / home) : 1, out = ejected_share(e, s);
    if (changed && what->dc == s->dc) out += what->eject_share;
    return left * fmax(0, 1 - out);
}

/* A request of this service passes through all of them at one data center: the narrowest counts. */
static double removed_from(tt_engine *e, uint32_t service, const tt_removal *what) {
    const tt_group *g = &e->groups[service];
    double all = 0, gone = 0, most = 0;
    for (uint32_t i = 0; i < g->n_sites; i++) most = fmax(most, tt_site_well_capacity(e, &e->sites[g->first_site + i]));
    for (uint32_t i = 0; i < g->n_sites; i++) {
        const tt_site *s = &e->sites[g->first_site + i];
        double c = tt_site_well_capacity(e, s), left = 1;
        if (c <= 0) c = most > 0 ? most : 1; /* what isn't known counts like the largest */
        for (uint32_t k = 0; k < s->n_closure; k++) {
            const tt_site *below = s->closure[k] == service ? s : tt_site_of(e, tt_service_cname(e, s->closure[k]), tt_dc_cname(e, s));
            if (below) left = fmin(left, left_at(e, below, what));
        }
        all += c;
        gone += c * (1 - left);
    }
    return all > 0 ? gone / all : 0;
}

double tt_capacity_removed(tt_engine *e, const tt_removal *what) {
    double most = 0;
    for (uint32_t i = 0; i < e->rules->n_services; i++)
        if (i == what->service || calls(e, i, what->service)) most = fmax(most, removed_from(e, i, what));
    return most;
}

double tt_group_removed(tt_engine *e, const tt_group *g, const double share[]) {
    return tt_capacity_removed(e, &(tt_removal){.service = e->sites[g->first_site].service, .share = share, .dc = UINT32_MAX});
}

/* ---- rate of change ---- */

static double spent_now(const tt_engine *e, const tt_group *g) {
    const tt_guardrails *r = &e->rules->guardrails;
    if (g->change_spent <= 0) return 0;
    double drained = r->max_change_share * (double)tt_since(e->now, g->change_at) / (double)r->max_change_per_ns;
    return fmax(0, g->change_spent - drained);
}

double tt_change_left(const tt_engine *e, const tt_group *g) {
    const tt_guardrails *r = &e->rules->guardrails;
    return r->max_change_per_ns > 0 ? fmax(0, r->max_change_share - spent_now(e, g)) : 1;
}

void tt_change_spend(tt_engine *e, tt_group *g, double share) {
    if (e->rules->guardrails.max_change_per_ns <= 0 || share <= 0) return;
    g->change_spent = spent_now(e, g) + share;
    g->change_at = e->now;
}

/* ---- is it the sensor? ---- */

typedef enum { SAYS_NOTHING, SAYS_WELL, SAYS_BAD, SAYS_LATER } witness;

/* What callers counted at the site, whatever the signal says that raised the alarm. Only what was counted wholly since it began speaks for the site.
 */
static witness counters_of(tt_engine *e, const tt_anomaly *a) {
    char service[TT_NAME_MAX], dc[TT_NAME_MAX];
    tt_copy_text(service, sizeof service, tt_labels_get(&a->labels, TT_SV("service")));
    tt_copy_text(dc, sizeof dc, tt_labels_get(&a->labels, TT_SV("dc")));
    const tt_site *s = tt_site_of(e, service, dc);
    if (!s || !s->load.known) return SAYS_NOTHING;
    const tt_load *l = &s->load;
    bool slow = l->latency_known && s->latency_base_ms > 0 && l->latency_ms > bad_latency * s->latency_base_ms;
    if (l->fail_ratio > bad_fail || l->refused_ratio > bad_refused || slow || l->dropped > bad_dropped * l->offered) return SAYS_BAD;
    return l->at.ns - l->window_ns >= a->first_sample.ns ? SAYS_WELL : SAYS_LATER;
}

/* By then the counters have had the time to say something. */
static int64_t time_to_tell(const tt_engine *e) {
    int64_t longest = 0;
    static const tt_load_signal of[] = {TT_LOAD_OFFERED, TT_LOAD_OK};
    for (size_t i = 0; i < TT_COUNT(of); i++) {
        int k = e->load_signal[of[i]];
        if (k < 0) return 0; /* nobody gives them: they will never say anything */
        int64_t t = 2 * e->rules->signals[k].every_ns + e->rules->signals[k].window_ns + e->cfg.ingest_ns;
        if (t > longest) longest = t;
    }
    return longest;
}

tt_suspicion tt_sensor_suspect(tt_engine *e, uint32_t anomaly, char why[200]) {
    const tt_anomaly_def *d = &e->rules->anomalies[anomaly];
    const tt_guardrails *g = &e->rules->guardrails;
    if (d->kind == TT_ANOMALY_ALERT) return TT_SENSOR_BELIEVED;
    uint32_t all = 0, bad = 0, says[4] = {0};
    for (uint32_t i = 0; i < e->n_anomalies; i++)
        bad += e->anomalies[i].used && e->anomalies[i].anomaly == anomaly && e->anomalies[i].state == TT_AN_OPEN;
    if (bad < g->most_bad_share * g->most_bad_min) return TT_SENSOR_BELIEVED; /* whatever the number of all is */
    for (int32_t s = e->series.of_signal[d->signal]; s >= 0; s = e->series.s[s].next_of_signal)
        all += d->kind == TT_ANOMALY_ABSENT || tt_series_quality(e, &e->series.s[s]) == TT_Q_OK;
    if (all < g->most_bad_min || (double)bad < g->most_bad_share * (double)all) return TT_SENSOR_BELIEVED;
    tt_time first = {INT64_MAX};
    for (uint32_t i = 0; i < e->n_anomalies; i++) {
        const tt_anomaly *a = &e->anomalies[i];
        if (!a->used || a->anomaly != anomaly || a->state != TT_AN_OPEN) continue;
        says[counters_of(e, a)]++;
        if (a->since.ns < first.ns) first = a->since;
    }
    if (2 * says[SAYS_BAD] >= bad) return TT_SENSOR_BELIEVED;
    bool may_yet = 2 * (says[SAYS_BAD] + says[SAYS_LATER] + says[SAYS_NOTHING]) >= bad;
    if (may_yet && tt_since(e->now, first) < time_to_tell(e)) return TT_SENSOR_WAIT;
    snprintf(why, 200, "%u of %u targets of %.*s look bad at once, and of their load counters %u say well and %u nothing: the sensor is suspect", bad,
             all, TT_SV_ARG(d->name), says[SAYS_WELL] + says[SAYS_LATER], says[SAYS_NOTHING]);
    return TT_SENSOR_SUSPECT;
}

/* ---- freeze windows ---- */

const tt_freeze_window *tt_window_open(const tt_engine *e) {
    const tt_guardrails *g = &e->rules->guardrails;
    const tt_freeze_window *open = NULL;
    for (size_t i = 0; i < g->n_freeze_windows; i++)
        if (e->windows_open >> i & 1 && (!open || open->approve)) open = &g->freeze_windows[i]; /* one that only holds is the stricter */
    return open;
}

void tt_windows_step(tt_engine *e, const tt_observations *obs) {
    const tt_guardrails *g = &e->rules->guardrails;
    uint32_t before = e->windows_open;
    e->windows_open = 0;
    for (size_t i = 0; i < g->n_freeze_windows; i++) {
        const tt_freeze_window *w = &g->freeze_windows[i];
        const tt_calendar *c = w->utc ? &obs->utc : &obs->local;
        bool was = before >> i & 1, is = c->known ? tt_window_holds(w, c->day, c->minute) : was;
        if (is) e->windows_open |= 1u << i;
        if (is == was) continue;
        char text[80];
        tt_window_text(w, text, sizeof text);
        tt_emit(e, "freeze_window", NULL, "the freeze window %s%s%.*s %s", text, w->reason.n ? ", " : "", TT_SV_ARG(w->reason),
                !is          ? "is over"
                : w->approve ? "begins: what is new waits for a person"
                             : "begins: nothing new is begun, what is in force is kept and taken back");
    }
}
