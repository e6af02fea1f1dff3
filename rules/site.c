/* The picture of a service at a data center: its load as callers see it, the flow through everything below it, and what was learned while nothing
 * was wrong. control.md, section 4, inputs. */
#include "engine_internal.h"

#include <stdlib.h>
#include <string.h>

static const double learn_baseline = 0.05, learn_from_utilization = 0.4;
/* A service that fewer of the requests need than this; when it is full; how busy the way of the others may be for it to be open. */
static const double some_requests = 0.6, partial_full = 0.9, way_open = 0.8;
/* Clean enough to learn from. */
static const double learn_max_fail = 0.025, learn_max_refused = 0.005;

const char *tt_service_cname(const tt_engine *e, uint32_t service) { return e->rules->services[service].name.p; }
const char *tt_dc_cname(const tt_engine *e, const tt_site *s) { return e->rules->services[s->service].dcs[s->dc].name.p; }

static void closure(const tt_rules *r, uint32_t service, uint32_t ret[TT_CLOSURE_MAX], uint32_t *n) {
    for (uint32_t i = 0; i < *n; i++)
        if (ret[i] == service) return;
    if (*n == TT_CLOSURE_MAX) return;
    ret[(*n)++] = service;
    for (size_t i = 0; i < r->services[service].n_calls; i++) closure(r, r->services[service].calls[i], ret, n);
}

/* Room for what is kept of each service below: most have few, and TT_CLOSURE_MAX of them would be most of the site. One block, begun by flow_base. */
static bool take_closure(tt_site *s, const uint32_t services[], uint32_t n) {
    double *block = calloc(n, 5 * sizeof(double) + 2 * sizeof(uint32_t));
    if (!block) return false;
    s->n_closure = n;
    s->flow_base = block;
    s->calls_per = block + n;
    s->latency_dep_base = block + 2 * (size_t)n;
    s->latency_p99_base = block + 3 * (size_t)n;
    s->visits = block + 4 * (size_t)n;
    s->closure = (uint32_t *)(block + 5 * (size_t)n);
    s->place = s->closure + n;
    memcpy(s->closure, services, n * sizeof *services);
    return true;
}

/* What was there under the old rules goes on, and what was learned of those below if they are the same. */
static void go_on(const tt_engine *e, const tt_rules *rules, const tt_site *old, tt_site *s) {
    bool same = old->n_closure == s->n_closure;
    for (uint32_t c = 0; same && c < s->n_closure; c++) same = tt_sv_eq(e->rules->services[old->closure[c]].name, rules->services[s->closure[c]].name);
    tt_site fresh = *s;
    *s = *old;
    s->service = fresh.service;
    s->dc = fresh.dc;
    s->n_closure = fresh.n_closure;
    s->closure = fresh.closure;
    s->place = fresh.place;
    s->flow_base = fresh.flow_base;
    s->calls_per = fresh.calls_per;
    s->latency_dep_base = fresh.latency_dep_base;
    s->latency_p99_base = fresh.latency_p99_base;
    s->visits = fresh.visits;
    if (same) memcpy(s->flow_base, old->flow_base, 5 * s->n_closure * sizeof *s->flow_base); /* all five */
}

void tt_sites_free(tt_site *sites, uint32_t n) {
    for (uint32_t i = 0; sites && i < n; i++) free(sites[i].flow_base);
    free(sites);
}

bool tt_sites_build(tt_engine *e, const tt_rules *rules, tt_group **ret_groups, tt_site **ret_sites, uint32_t *ret_n) {
    uint32_t n = 0;
    for (size_t i = 0; i < rules->n_services; i++) n += (uint32_t)rules->services[i].n_dcs;
    tt_group *groups = calloc(rules->n_services ? rules->n_services : 1, sizeof *groups);
    tt_site *sites = calloc(n ? n : 1, sizeof *sites);
    if (!groups || !sites) {
        free(groups);
        free(sites);
        return false;
    }
    n = 0;
    for (uint32_t i = 0; i < rules->n_services; i++) {
        groups[i] = (tt_group){.first_site = n, .n_sites = (uint32_t)rules->services[i].n_dcs, .loop = -1};
        for (uint32_t k = 0; k < rules->services[i].n_dcs; k++) {
            tt_site *s = &sites[n++];
            s->service = i;
            s->dc = k;
            s->loop = -1;
            s->ack_share = s->reach = 1;
            uint32_t below[TT_CLOSURE_MAX], n_below = 0;
            closure(rules, i, below, &n_below);
            if (!take_closure(s, below, n_below)) {
                tt_sites_free(sites, n);
                free(groups);
                return false;
            }
            tt_site *old = e->groups ? tt_site_of(e, rules->services[i].name.p, rules->services[i].dcs[k].name.p) : NULL;
            if (!old) continue;
            go_on(e, rules, old, s);
            if (k == 0 && e->groups) {
                const tt_group *g = &e->groups[old->service];
                groups[i].weights = g->weights && g->n_sites == groups[i].n_sites;
                memcpy(groups[i].share, g->share, sizeof groups[i].share);
                groups[i].commanded_at = g->commanded_at;
                groups[i].loop = g->loop;
                groups[i].change_spent = g->change_spent;
                groups[i].change_at = g->change_at;
            }
        }
    }
    *ret_groups = groups;
    *ret_sites = sites;
    *ret_n = n;
    return true;
}

double tt_home_share(const tt_engine *e, const tt_site *s) { return e->rules->services[s->service].dcs[s->dc].weight; }

tt_where tt_site_where(const tt_engine *e, const tt_site *s, uint32_t c) {
    return (tt_where){.service = e->rules->services[s->closure[c]].name, .dc = e->rules->services[s->service].dcs[s->dc].name, .place = s->place[c] + 1};
}

typedef struct {
    const tt_engine *e;
    tt_load *l;
    tt_where where;
    bool any;
} look;

static tt_reading get(look *k, tt_load_signal which) {
    int signal = k->e->load_signal[which];
    tt_reading r = tt_read_signal(k->e, signal, &k->where);
    if (r.known) {
        if (!k->any || r.at.ns < k->l->at.ns) k->l->at = r.at;
        k->any = true;
        if (r.window_ns > k->l->window_ns) k->l->window_ns = r.window_ns;
    }
    return r;
}

static void look_at_entry(const tt_engine *e, const tt_site *s, tt_load *l) {
    look k = {e, l, tt_site_where(e, s, 0), false};
    tt_reading offered = get(&k, TT_LOAD_OFFERED), ok = get(&k, TT_LOAD_OK);
    /* At first nobody can tell a part that is missing from one that doesn't exist. */
    if (offered.known && tt_since(e->now, e->series_since) < tt_series_max_age(e, (uint32_t)e->load_signal[TT_LOAD_OFFERED])) {
        l->quality = TT_Q_TOO_FEW_SAMPLES;
        l->missing = "offered_rps";
        return;
    }
    if (!offered.known || !ok.known) {
        l->quality = offered.known ? ok.quality : offered.quality;
        l->missing = offered.known ? "ok_rps" : "offered_rps";
        return;
    }
    tt_reading refused = get(&k, TT_LOAD_REFUSED), dropped = get(&k, TT_LOAD_DROPPED), admitted = get(&k, TT_LOAD_ADMITTED);
    /* A signal that nobody gives is 0; one with a hole in it is not, or what was refused would look like failures. */
    const tt_reading *const parts[] = {&refused, &dropped, &admitted};
    static const char *const names[] = {"refused_rps", "dropped_rps", "admitted_rps"};
    for (int i = 0; i < 3; i++)
        if (parts[i]->hole) {
            l->quality = parts[i]->quality;
            l->missing = names[i];
            return;
        }
    l->known = true;
    l->quality = TT_Q_OK;
    l->offered = offered.value;
    l->ok = ok.value;
    l->refused = refused.known ? refused.value : 0;
    l->dropped = dropped.known ? dropped.value : 0;
    l->admitted = admitted.known ? admitted.value : l->offered - l->refused - l->dropped;
    if (l->admitted < l->ok) l->admitted = l->ok; /* windows of different counters never line up exactly */
    /* Under a deep cap what is admitted is a small difference of large figures: less than their own error says nothing. */
    double failed = l->admitted - l->ok;
    l->fail_ratio = l->admitted > 0 && failed > 0.01 * l->offered ? failed / l->admitted : 0;
    l->refused_ratio = l->offered > 0 ? l->refused / l->offered : 0;
    if (l->refused_ratio > 1) l->refused_ratio = 1;
    tt_reading lat = get(&k, TT_LOAD_LATENCY_MEAN);
    l->latency_known = lat.known;
    l->latency_ms = lat.value;
    l->by_priority = true;
    for (size_t p = 0; p < e->rules->n_priorities; p++) {
        k.where.priority = e->rules->priorities[p];
        tt_reading o = tt_read_signal(e, e->load_signal[TT_LOAD_OFFERED], &k.where), d = tt_read_signal(e, e->load_signal[TT_LOAD_DROPPED], &k.where);
        l->offered_by[p] = o.known ? o.value : 0;
        l->dropped_by[p] = d.known ? d.value : 0;
    }
}

/* The hottest place of a service that isn't there in this data center: it is called in another. */
static tt_reading elsewhere(const tt_engine *e, const tt_site *s, uint32_t below) {
    const tt_group *g = &e->groups[s->service];
    tt_reading hottest = {0};
    for (uint32_t k = 0; k < g->n_sites; k++) {
        if (k == s->dc) continue;
        tt_where w = tt_site_where(e, &e->sites[g->first_site + k], below);
        tt_reading u = tt_read_signal(e, e->load_signal[TT_LOAD_UTILIZATION], &w);
        if (u.known && (!hottest.known || u.value > hottest.value)) hottest = u;
    }
    return hottest;
}

static void look_below(const tt_engine *e, const tt_site *s, tt_load *l) {
    double least_flow = 0, way = 0;
    for (uint32_t i = 0; i < s->n_closure; i++) {
        look k = {e, l, tt_site_where(e, s, i), l->known};
        tt_reading u = get(&k, TT_LOAD_UTILIZATION), in = get(&k, TT_LOAD_ARRIVED), out = get(&k, TT_LOAD_COMPLETED);
        if (u.known && (!l->util_known || u.value > l->util)) {
            l->util_known = true;
            l->util = u.value;
            l->util_service = (int)s->closure[i];
        }
        bool some = s->visits[i] > 0 && s->visits[i] < some_requests && !(in.known && l->known && in.value > some_requests * l->admitted && s->calls_per[i] < some_requests);
        tt_reading there = some && (!u.known || !in.known || in.value < 1) ? elsewhere(e, s, i) : u;
        bool flows = in.known && out.known && in.value >= 1;
        double base = s->flow_base[i] > 0 ? s->flow_base[i] : 1, flow = flows ? out.value / in.value / base : 1;
        if (some && ((there.known && there.value > partial_full) || flow < TT_FLOW_FLOOR)) {
            l->partial = true;
            l->partial_service = (int)s->closure[i];
        } else if (!some && u.known && u.value > way)
            way = u.value;
        if (!flows) continue;
        if (!l->flow_known || flow < least_flow) least_flow = flow;
        l->flow_known = true;
        /* A feature that is asked less by our own doing has less throughput for it. */
        if (s->level > 0 && strcmp(tt_service_cname(e, s->closure[i]), s->feature) == 0) continue;
        if (flow >= TT_FLOW_FLOOR && !(u.known && u.value > TT_UTILIZATION_CEILING)) continue;
        double calls = s->calls_per[i] > 0 ? s->calls_per[i] : 1, through = out.value / calls;
        if (l->throughput > 0 && through >= l->throughput) continue;
        l->throughput = through;
        l->backlog_s = out.value > 0 ? (in.value * base - out.value) / out.value * (double)l->window_ns / 1e9 : 0;
    }
    l->flow = least_flow;
    if (way > way_open) l->partial = false;
}

static double ewma(double old, double x, double a) { return old > 0 ? old + a * (x - old) : x; }

static void learn(tt_engine *e, tt_site *s) {
    tt_load *l = &s->load;
    if (!l->known || l->at.ns <= s->sensed_at.ns || l->offered < 1) return;
    if (l->fail_ratio > learn_max_fail || l->refused_ratio > learn_max_refused) return;
    /* Throughput over utilization says what the site can carry, in an incident too, once it is well; baselines are what it is like in peace. */
    const tt_load_test *test = tt_load_test_of(e, s->service);
    bool peace = s->loop < 0 && l->dropped <= 0 && !(test && test->added > 0) && !tt_pinned_degrade(e, s);
    if (l->util_known && l->util >= learn_from_utilization && l->util <= 1 && s->level == 0 && !tt_pinned_degrade(e, s) && s->flush_until.ns == 0 && !tt_eject_below(e, s) &&
        (peace || (s->clean && tt_site_judgeable(e, s))))
        tt_capacity_learned(e, s, l->admitted / l->util);
    if (!peace) return;
    if (s->base_samples >= 5 && l->latency_known && s->latency_base_ms > 0 && l->latency_ms > 1.7 * s->latency_base_ms) return;
    s->base_samples++;
    if (l->latency_known) s->latency_base_ms = ewma(s->latency_base_ms, l->latency_ms, s->base_samples < 20 ? 1.0 / s->base_samples : learn_baseline);
    for (uint32_t i = 0; i < s->n_closure; i++) {
        tt_where w = tt_site_where(e, s, i);
        tt_reading in = tt_read_signal(e, e->load_signal[TT_LOAD_ARRIVED], &w), out = tt_read_signal(e, e->load_signal[TT_LOAD_COMPLETED], &w),
                   lat = tt_read_signal(e, e->load_signal[TT_LOAD_LATENCY_MEAN], &w);
        if (in.known && out.known && in.value >= 1) {
            s->flow_base[i] = ewma(s->flow_base[i], out.value / in.value, learn_baseline);
            if (l->admitted >= 1) s->calls_per[i] = ewma(s->calls_per[i], in.value / l->admitted, learn_baseline);
        }
        double called = 0, admitted = 0;
        const tt_group *g = &e->groups[s->service];
        for (uint32_t k = 0; k < g->n_sites; k++) {
            tt_where at = tt_site_where(e, &e->sites[g->first_site + k], i); /* what is below is the same everywhere */
            tt_reading r = tt_read_signal(e, e->load_signal[TT_LOAD_ARRIVED], &at);
            const tt_load *o = &e->sites[g->first_site + k].load;
            if (r.known) called += r.value;
            if (o->known) admitted += o->admitted;
        }
        if (called >= 1 && admitted >= 1) s->visits[i] = ewma(s->visits[i], called / admitted, learn_baseline);
        if (lat.known) s->latency_dep_base[i] = ewma(s->latency_dep_base[i], lat.value, learn_baseline);
    }
}

void tt_sites_look(tt_engine *e) {
    for (uint32_t i = 0; i < e->n_sites; i++) {
        tt_site *s = &e->sites[i];
        memset(&s->load, 0, sizeof s->load);
        look_at_entry(e, s, &s->load);
        look_below(e, s, &s->load);
        learn(e, s);
    }
}
