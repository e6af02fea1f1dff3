/* What a site can carry, from four sources, each with how sure it is: what somebody configured, what was learned while all was well (throughput over
 * utilization), what was measured while it was saturated, what a load test saw. One reader, tt_site_capacity, for every limit, shift and cutover.
 *
 * While an incident is measured, that measurement stands: it is of these circumstances. Otherwise the surest wins:
 *
 *   load_test   as sure as the knee was plain, halved every week
 *   learned     .9 n / (n + 4) / (1 + (spread / 10 %)^2), halved every day; corrected by what the last load test found utilization to be worth
 *   configured  .5, for ever
 *   measured    in an earlier incident: only where nothing else is known. It was the capacity of a sick site
 */
#include "engine_internal.h"

#include <math.h>
#include <string.h>

static const double learn_weight = 0.15, spread_weight = 0.1;
static const double sure_configured = 0.5, sure_learned = 0.9, sure_measured = 0.95, sure_once_measured = 0.3;
static const double few_samples = 4, wide_spread = 0.10;
static const double day_ns = 86400e9, week_ns = 7 * 86400e9, hour_ns = 3600e9;
/* A reading of utilization can be off by this much, not more: beyond it the load test or the reading is of something else. */
static const double worth_min = 0.5, worth_max = 2;

const char *tt_capacity_source_name(tt_capacity_source s) {
#define NAME(id, name) name,
    static const char *const names[] = {TT_CAPACITY_SOURCES(NAME)};
#undef NAME
    return names[s];
}

static double halved(const tt_engine *e, tt_time at, double every_ns) {
    double age = (double)tt_since(e->now, at); /* below 0: restored, and no tick yet */
    return exp(-0.6931471805599453 * fmax(age, 0) / every_ns);
}

/* The least of what is configured along the way down; nothing is assumed about a service that says nothing. */
static double configured(const tt_engine *e, const tt_site *s) {
    double least = 0;
    for (uint32_t i = 0; i < s->n_closure; i++) {
        const tt_service_def *d = &e->rules->services[s->closure[i]];
        for (size_t k = 0; k < d->n_dcs; k++)
            if (tt_sv_eq(d->dcs[k].name, e->rules->services[s->service].dcs[s->dc].name) && d->dcs[k].capacity_rps > 0 &&
                (least == 0 || d->dcs[k].capacity_rps < least))
                least = d->dcs[k].capacity_rps;
    }
    return least;
}

tt_capacity tt_capacity_of(const tt_engine *e, const tt_site *s, tt_capacity_source source) {
    tt_capacity c = s->capacity[source];
    switch (source) {
    case TT_CAPACITY_CONFIGURED:
        c = (tt_capacity){.rps = configured(e, s)};
        c.confidence = c.rps > 0 ? sure_configured : 0;
        break;
    case TT_CAPACITY_LEARNED:
        c.rps = s->learned_rps * (s->utilization_worth > 0 ? s->utilization_worth : 1);
        c.at = s->learned_at;
        if (c.samples == 0) c.samples = 1;
        c.confidence = sure_learned * c.samples / (c.samples + few_samples) / (1 + c.spread * c.spread / (wide_spread * wide_spread)) * halved(e, c.at, day_ns);
        break;
    case TT_CAPACITY_MEASURED:
        if (s->measured_rps > 0) {
            c.rps = s->measured_rps;
            c.at = s->measured_at;
            c.confidence = sure_measured;
        } else
            c.confidence = sure_once_measured * halved(e, c.at, hour_ns);
        break;
    case TT_CAPACITY_LOAD_TEST: c.confidence *= halved(e, c.at, week_ns); break;
    default: break;
    }
    if (!(c.rps > 0)) c = (tt_capacity){0};
    if (c.confidence < 0.01 && c.rps > 0) c.confidence = 0.01;
    return c;
}

static tt_capacity_source surest(const tt_engine *e, const tt_site *s) {
    static const tt_capacity_source well[] = {TT_CAPACITY_LOAD_TEST, TT_CAPACITY_LEARNED, TT_CAPACITY_CONFIGURED};
    tt_capacity_source best = TT_CAPACITY_MEASURED;
    double sure = 0;
    for (size_t i = 0; i < TT_COUNT(well); i++) {
        tt_capacity c = tt_capacity_of(e, s, well[i]);
        if (c.confidence <= sure) continue;
        sure = c.confidence;
        best = well[i];
    }
    return best;
}

tt_capacity tt_site_best_capacity(const tt_engine *e, const tt_site *s, tt_capacity_source *source) {
    *source = s->measured_rps > 0 ? TT_CAPACITY_MEASURED : surest(e, s);
    return tt_capacity_of(e, s, *source);
}

double tt_site_capacity(const tt_engine *e, const tt_site *s, const char **source) {
    tt_capacity_source from;
    tt_capacity c = tt_site_best_capacity(e, s, &from);
    if (source) *source = tt_capacity_source_name(from);
    return c.rps;
}

double tt_site_well_capacity(const tt_engine *e, const tt_site *s) {
    tt_capacity_source from = surest(e, s);
    return from == TT_CAPACITY_MEASURED ? 0 : tt_capacity_of(e, s, from).rps;
}

double tt_site_seen_capacity(const tt_engine *e, const tt_site *s) {
    tt_capacity a = tt_capacity_of(e, s, TT_CAPACITY_LOAD_TEST), b = tt_capacity_of(e, s, TT_CAPACITY_LEARNED);
    return a.confidence > b.confidence ? a.rps : b.rps;
}

/* ---- what is found out ---- */

void tt_capacity_learned(tt_engine *e, tt_site *s, double rps) {
    tt_capacity *c = &s->capacity[TT_CAPACITY_LEARNED];
    if (s->learned_rps > 0) c->spread += spread_weight * (fabs(rps / s->learned_rps - 1) - c->spread);
    s->learned_rps = s->learned_rps > 0 ? s->learned_rps + learn_weight * (rps - s->learned_rps) : rps;
    s->learned_at = e->now;
    if (c->samples < UINT32_MAX) c->samples++;
}

void tt_capacity_measured(tt_site *s) {
    if (!(s->measured_rps > 0)) return;
    tt_capacity *c = &s->capacity[TT_CAPACITY_MEASURED];
    c->rps = s->measured_rps;
    c->at = s->measured_at;
    c->samples++;
}

void tt_capacity_tested(tt_engine *e, tt_site *s, double rps, double confidence, uint32_t samples, bool plain) {
    s->capacity[TT_CAPACITY_LOAD_TEST] = (tt_capacity){.rps = rps, .confidence = confidence, .at = e->now, .samples = samples};
    /* Seen to be full: then what was learned from utilization can be set right. Told by utilization itself, it cannot. */
    if (plain && s->learned_rps > 0) s->utilization_worth = fmin(fmax(rps / s->learned_rps, worth_min), worth_max);
}
