#include "trace.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TARGETS_MAX = 128, LOOPS_MAX = 256, SAMPLES_MAX = 1024 };

typedef struct {
    char id[TT_ULID_SIZE], lane[96], phase[32];
    double since;
} open_loop;

typedef struct {
    int figure; /* of figures below */
    uint64_t series;
    double value;
    int64_t at_ns;
} sample;

struct tt_trace {
    tt_chart *chart;
    tt_decision *in_force;
    size_t n_in_force;
    open_loop *loops;
    size_t n_loops;
    sample *samples;
    size_t n_samples;
};

tt_trace *tt_trace_new(tt_chart *chart) {
    tt_trace *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    t->chart = chart;
    t->in_force = calloc(TARGETS_MAX, sizeof *t->in_force);
    t->loops = calloc(LOOPS_MAX, sizeof *t->loops);
    t->samples = calloc(SAMPLES_MAX, sizeof *t->samples);
    if (t->in_force && t->loops && t->samples) return t;
    tt_trace_free(t);
    return NULL;
}

void tt_trace_free(tt_trace *t) {
    if (!t) return;
    free(t->in_force);
    free(t->loops);
    free(t->samples);
    free(t);
}

/* ---- load ---- */

static const struct {
    const char *signal, *name;
    int ink, dashes;
} figures[] = {{"offered_rps", "offered", 4, 1}, {"ok_rps", "answered well", 0, 0}, {"dropped_rps", "dropped by decision", 1, 0}, {"refused_rps", "refused by a hop", 5, 2}};

static uint64_t hash(const tt_measurement *m) {
    uint64_t all = m->signal;
    for (size_t i = 0; i < m->n_labels; i++) { /* labels come in any order */
        uint64_t h = 14695981039346656037u;
        const tt_sv parts[2] = {m->labels[i].name, m->labels[i].value};
        for (int k = 0; k < 2; k++) {
            for (size_t c = 0; c < parts[k].n; c++) h = (h ^ (unsigned char)parts[k].p[c]) * 1099511628211u;
            h = (h ^ 0xff) * 1099511628211u;
        }
        all += h;
    }
    return all;
}

static bool is_entry(const tt_rules *r, tt_sv service) {
    int me = tt_rules_service(r, service);
    for (size_t i = 0; me >= 0 && i < r->n_services; i++)
        for (size_t c = 0; c < r->services[i].n_calls; c++)
            if ((int)r->services[i].calls[c] == me) return false;
    return me >= 0;
}

static void take(tt_trace *t, const tt_rules *r, const tt_measurement *m) {
    int figure = -1;
    for (int i = 0; i < (int)TT_COUNT(figures) && figure < 0; i++)
        if (tt_sv_eq(r->signals[m->signal].name, tt_sv_of(figures[i].signal))) figure = i;
    if (figure < 0) return;
    tt_sv service = {0};
    for (size_t i = 0; i < m->n_labels; i++)
        if (tt_sv_eq(m->labels[i].name, TT_SV("service"))) service = m->labels[i].value;
    if (!is_entry(r, service)) return;
    uint64_t series = hash(m);
    size_t k = 0;
    while (k < t->n_samples && (t->samples[k].series != series || t->samples[k].figure != figure)) k++;
    if (k == t->n_samples) {
        if (k == SAMPLES_MAX) return;
        t->samples[t->n_samples++] = (sample){.figure = figure, .series = series, .at_ns = INT64_MIN};
    }
    if (m->at.ns < t->samples[k].at_ns) return;
    t->samples[k].at_ns = m->at.ns;
    t->samples[k].value = m->quality == TT_Q_OK ? m->value : (double)NAN;
}

void tt_trace_load(tt_trace *t, int panel, const tt_rules *rules, const tt_observations *obs) {
    static const int64_t forget_ns = TT_SECONDS(60);
    double sum[TT_COUNT(figures)] = {0};
    bool any[TT_COUNT(figures)] = {false}, hole[TT_COUNT(figures)] = {false};
    for (size_t i = 0; i < obs->n_measurements; i++) take(t, rules, &obs->measurements[i]);
    for (size_t i = 0; i < t->n_samples; i++) {
        const sample *s = &t->samples[i];
        if (obs->now.ns - s->at_ns > forget_ns) continue;
        any[s->figure] = true;
        if (isnan(s->value))
            hole[s->figure] = true;
        else
            sum[s->figure] += s->value;
    }
    for (size_t i = 0; i < TT_COUNT(figures); i++) {
        if (!any[i] || (i >= 2 && sum[i] <= 0 && !hole[i])) continue; /* no line for what never happens */
        tt_chart_put(t->chart, tt_chart_line(t->chart, panel, figures[i].name, figures[i].ink, figures[i].dashes), hole[i] ? (double)NAN : sum[i]);
    }
}

/* ---- loops ---- */

static open_loop *find(tt_trace *t, const char *id) {
    for (size_t i = 0; i < t->n_loops; i++)
        if (strcmp(t->loops[i].id, id) == 0) return &t->loops[i];
    return NULL;
}

static void close_phase(tt_trace *t, open_loop *l, double seconds) {
    static const struct {
        const char *phase;
        int ink;
    } inks[] = {{"detected", 4}, {"awaiting_approval", 3}, {"acting", 1}, {"settling", 5}, {"settled", 0}, {"recovering", 2}, {"frozen", 6}, {"escalated", 7}, {"failed", 7}};
    int ink = 4;
    for (size_t i = 0; i < TT_COUNT(inks); i++)
        if (strcmp(l->phase, inks[i].phase) == 0) ink = inks[i].ink;
    if (l->phase[0] && seconds > l->since) tt_chart_span(t->chart, l->lane, l->phase, ink, l->since, seconds);
    l->since = seconds;
}

static void hear_loop(tt_trace *t, double seconds, const tt_event *ev) {
    bool opened = strcmp(ev->kind, "loop_opened") == 0, closed = strcmp(ev->kind, "loop_closed") == 0;
    open_loop *l = find(t, ev->loop);
    if (opened && !l && t->n_loops < LOOPS_MAX) {
        l = &t->loops[t->n_loops++];
        memset(l, 0, sizeof *l);
        memcpy(l->id, ev->loop, sizeof l->id);
        snprintf(l->lane, sizeof l->lane, "%.30s%s%.30s%s%.30s", ev->target.service, ev->target.dc[0] ? "@" : "", ev->target.dc, ev->target.instance[0] ? "/" : "",
                 ev->target.instance);
        snprintf(l->phase, sizeof l->phase, "detected");
        l->since = seconds;
    }
    if (!l || opened) return;
    close_phase(t, l, seconds);
    if (closed) {
        *l = t->loops[--t->n_loops];
        return;
    }
    /* "acting -> settling: why" */
    const char *to = strstr(ev->reason, " -> ");
    size_t n = to ? strcspn(to + 4, ":") : 0;
    if (to) snprintf(l->phase, sizeof l->phase, "%.*s", n < sizeof l->phase ? (int)n : (int)sizeof l->phase - 1, to + 4);
}

/* ---- decisions ---- */

static void take_decision(tt_trace *t, const tt_decision *d) {
    size_t i = 0;
    while (i < t->n_in_force && !tt_target_eq(&t->in_force[i].target, &d->target)) i++;
    if (i == TARGETS_MAX) return;
    if (i == t->n_in_force) t->n_in_force++;
    t->in_force[i] = *d;
}

/* A site has the same colour and dashes in every panel; data centers are told apart first, then services. */
static int place_of(const tt_rules *r, const char *service, const char *dc) {
    int s = tt_rules_service(r, tt_sv_of(service));
    for (size_t i = 0; s >= 0 && i < r->services[s].n_dcs; i++)
        if (tt_sv_eq(r->services[s].dcs[i].name, tt_sv_of(dc))) return (int)i + 3 * s;
    return 0;
}

static void draw(tt_chart *c, int panel, const char *name, int place, double value) {
    static const int inks[] = {0, 1, 2, 3, 5, 6, 7};
    tt_chart_put(c, tt_chart_line(c, panel, name, inks[(size_t)place % TT_COUNT(inks)], place), value);
}

static void draw_shares(tt_trace *t, const tt_rules *r, const char *service, const char *dc, double share) {
    char name[160];
    snprintf(name, sizeof name, "%.40s@%.40s", service, dc);
    draw(t->chart, tt_chart_panel(t->chart, "Share of the traffic", "%", TT_CHART_STEPS, 100), name, place_of(r, service, dc), 100 * share);
}

/* What is there or not: a line at its own height while it is. */
static void in_force(tt_chart *c, const tt_decision *d, const tt_act *a) {
    char name[160];
    const char *const words[] = {[TT_ACT_EJECT] = "eject", [TT_ACT_RETRY] = "retry budget", [TT_ACT_TIMEOUT] = "time-out", [TT_ACT_HEDGE] = "no hedging"};
    int panel = tt_chart_panel(c, "Other actions", "in force", TT_CHART_STEPS, 8);
    snprintf(name, sizeof name, "%s %.60s", words[a->kind], a->kind == TT_ACT_EJECT ? a->name : d->target.dc[0] ? d->target.dc : d->target.service);
    int line = tt_chart_line(c, panel, name, -1, 0);
    tt_chart_put(c, line, 1 + tt_chart_place(c, line));
}

static void draw_decision(tt_trace *t, const tt_rules *r, const tt_decision *d) {
    tt_chart *c = t->chart;
    char name[160];
    const char *service = d->target.service, *dc = d->target.dc;
    int place = place_of(r, service, dc);
    bool weights = false;
    for (uint32_t i = 0; i < d->n_actions; i++) {
        const tt_act *a = &d->actions[i];
        switch (a->kind) {
        case TT_ACT_LIMIT:
            snprintf(name, sizeof name, "%.40s@%.40s%s", service, dc, d->armed ? ", armed" : "");
            draw(c, tt_chart_panel(c, "Rate caps", "requests/s", TT_CHART_STEPS, 0), name, place, a->value);
            break;
        case TT_ACT_DROP:
            snprintf(name, sizeof name, "%.40s@%.40s %.40s", service, dc, a->name);
            tt_chart_put(c, tt_chart_line(c, tt_chart_panel(c, "Drop ratios", "%", TT_CHART_STEPS, 100), name, -1, 0), 100 * a->value);
            break;
        case TT_ACT_DEGRADE:
            snprintf(name, sizeof name, "%.40s in %.40s", a->name, dc);
            draw(c, tt_chart_panel(c, "Degrade", "level", TT_CHART_STEPS, 0), name, place, a->value);
            break;
        case TT_ACT_WEIGHTS:
            weights = true;
            for (uint32_t k = 0; k < d->n_names; k++) draw_shares(t, r, service, d->names[k], d->shares[k]);
            break;
        case TT_ACT_CONCURRENCY:
            snprintf(name, sizeof name, "%.40s@%.40s%s", service, dc, d->armed ? ", armed" : "");
            draw(c, tt_chart_panel(c, "Requests in flight, caps", "requests", TT_CHART_STEPS, 0), name, place, a->value);
            break;
        case TT_ACT_VERSION:
            snprintf(name, sizeof name, "%.40s %.40s", service, a->name);
            tt_chart_put(c, tt_chart_line(c, tt_chart_panel(c, "Share of versions", "%", TT_CHART_STEPS, 100), name, -1, 0), 100 * a->value);
            break;
        case TT_ACT_ISOLATE:
            snprintf(name, sizeof name, "isolate %.40s", a->name);
            tt_chart_put(c, tt_chart_line(c, tt_chart_panel(c, "Drop ratios", "%", TT_CHART_STEPS, 100), name, -1, 0), 100 * a->value);
            break;
        case TT_ACT_EJECT:
        case TT_ACT_RETRY:
        case TT_ACT_TIMEOUT:
        case TT_ACT_HEDGE:
            in_force(c, d, a);
            break;
        }
    }
    int s = tt_rules_service(r, tt_sv_of(service));
    if (weights || dc[0] || s < 0) return;
    for (size_t k = 0; k < r->services[s].n_dcs; k++) /* the weights are off: back at home */
        draw_shares(t, r, service, r->services[s].dcs[k].name.p, r->services[s].dcs[k].weight);
}

void tt_trace_still(tt_trace *t, const tt_rules *rules) {
    for (size_t i = 0; i < t->n_in_force; i++) draw_decision(t, rules, &t->in_force[i]);
}

void tt_trace_tick(tt_trace *t, double seconds, const tt_rules *rules, const tt_outcome *outcome) {
    for (size_t i = 0; i < outcome->n_events; i++)
        if (strncmp(outcome->events[i].kind, "loop_", 5) == 0) hear_loop(t, seconds, &outcome->events[i]);
    for (size_t i = 0; i < outcome->n_decisions; i++) take_decision(t, &outcome->decisions[i]);
    tt_trace_still(t, rules);
}

void tt_trace_end(tt_trace *t, double seconds) {
    for (size_t i = 0; i < t->n_loops; i++) close_phase(t, &t->loops[i], seconds);
}
