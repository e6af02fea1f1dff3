/* The plant: demand, queues, workers, retries. One step of 0.1 s goes from the entry down; a caller sees what its callees did one step ago. */
#include "model_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double dt = 0.1;
/* The inner loop, as the library has it (dataplane/inner.c): what may wait, in shares of the time-out and times the usual latency; what of that the
 * lowest priority has; how little is never refused. */
static const double theta_share = 0.3, theta_most = 0.7, theta_base = 4, lowest_share = 0.6, floor_share = 0.5, floor_least = 2;
/* Half of the best X seen is forgotten in 300 s. */
static const double best_kept = 0.999769;
/* Of what X moves in a step: 1 - 0.5^(0.1 s / 1.5 s), a half-life of 1.5 s. */
static const double x_alpha = 0.045158;
static const double fast_s = 0.002; /* a refusal or an instant failure */
/* The most that least-request sends to one instance that fails at once. */
static const double black_hole_max = 0.92;
/* How much later than the time-out's middle the slow tail answers, as a share of it. */
static const double tail_share = 0.7;

double tt_model_random(uint64_t seed, uint64_t stream, uint64_t index) {
    uint64_t x = seed * 0x9e3779b97f4a7c15u + stream * 0xbf58476d1ce4e5b9u + index * 0x94d049bb133111ebu;
    for (int i = 0; i < 2; i++) {
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
        x ^= x >> 31;
    }
    return (double)(x >> 11) * 0x1p-53;
}

const char *tt_model_fault_name(tt_model_fault_kind kind) {
#define NAME(id, name, none) name,
    static const char *const names[] = {TT_MODEL_FAULT_KINDS(NAME)};
#undef NAME
    return names[kind];
}

void tt_model_spec_default(tt_model_spec *ret) {
    *ret = (tt_model_spec){
        .n_services = 3,
        .services = {{.name = "front",
                      .instances = 2,
                      .workers = 60,
                      .own_ms = 5,
                      .queue_max = 400,
                      .n_calls = 1,
                      .calls = {{.service = 1, .per_request = 1}}},
                     {.name = "checkout",
                      .instances = 3,
                      .workers = 4,
                      .own_ms = 60,
                      .queue_max = 400,
                      .n_calls = 1,
                      .calls = {{.service = 2, .per_request = 1, .optional = true, .at_level = {0.5, 0}, .value_at = {0.97, 0.90}}}},
                     {.name = "recommendations", .instances = 2, .workers = 5, .own_ms = 20, .queue_max = 400}},
        .n_dcs = 2,
        .dcs = {"dc-a", "dc-b"},
        .home = {0.5, 0.5},
        .n_priorities = 3,
        .priorities = {"critical", "normal", "batch"},
        .mix = {0.25, 0.45, 0.30},
        .demand_rps = 200,
        .timeout_s = 1,
        .retry_failed = 0.6,
        .retry_refused = 0.25,
        .cache_s = 40,
        .newest_first = 0.25,
        .apply_ns = TT_MS(500),
        .scrape_ns = TT_SECONDS(1),
        .ingest_ns = TT_SECONDS(1),
        .noise = 0.01,
    };
}

tt_model *tt_model_new(const tt_model_spec *spec, uint64_t seed, tt_time start) {
    tt_model *m = calloc(1, sizeof *m);
    if (!m) return NULL;
    m->spec = *spec;
    m->seed = seed;
    m->start = start;
    for (uint32_t s = spec->n_services; s-- > 0;) {
        tt_model_service *def = &m->spec.services[s];
        if (def->timeout_s <= 0) def->timeout_s = spec->timeout_s;
        m->base_s[s] = def->own_ms / 1000;
        for (uint32_t k = 0; k < def->n_calls; k++) m->base_s[s] += tt_lower(def->calls[k].per_request, 1) * m->base_s[def->calls[k].service];
    }
    if (m->spec.attempts > TT_MODEL_ATTEMPTS) m->spec.attempts = TT_MODEL_ATTEMPTS;
    for (uint32_t s = 0; s < spec->n_services; s++)
        for (uint32_t d = 0; d <= spec->n_dcs; d++) {
            m->target[s][d].now = (tt_model_enforced){.share = 1, .retry_budget = -1};
            if (d == spec->n_dcs) continue;
            tt_model_site *site = &m->site[s][d];
            m->ill[s][d] = (tt_model_ill){.slow = 1, .capacity = 1};
            site->completed_rps = site->warm_rps = spec->demand_rps * tt_model_weight(m, s, d);
            site->view = (tt_model_view){.latency_s = m->base_s[s], .ok_latency_s = m->base_s[s], .value = 1};
            for (uint32_t p = 0; p < spec->n_priorities; p++) site->view.ok[p] = 1;
            for (uint32_t i = 0; i < spec->services[s].instances; i++)
                snprintf(m->instance[s][d][i], sizeof m->instance[s][d][i], "10.%u.%u.%u:8080", s + 1, d + 1, i + 1);
        }
    return m;
}

void tt_model_free(tt_model *m) {
    free(m);
}
tt_time tt_model_now(const tt_model *m) {
    return (tt_time){m->start.ns + tt_model_elapsed(m)};
}
const tt_model_spec *tt_model_spec_of(const tt_model *m) {
    return &m->spec;
}
const tt_model_truth *tt_model_truth_of(const tt_model *m) {
    return &m->truth;
}

uint32_t tt_model_instance_name(const tt_model *m, uint32_t service, uint32_t dc, uint32_t instance, char buf[TT_NAME_MAX]) {
    return (uint32_t)snprintf(buf, TT_NAME_MAX, "%s", m->instance[service][dc][instance]);
}

/* ---- faults ---- */

static double amount_without(tt_model_fault_kind kind) {
#define NONE(id, name, none) none,
    static const double none[] = {TT_MODEL_FAULT_KINDS(NONE)};
#undef NONE
    return none[kind];
}

static double faded(const tt_model *m, uint32_t i, int64_t t) {
    const tt_model_fault *f = &m->spec.faults[i];
    int64_t rise_ns = m->spec.fade[i].rise_ns, fall_ns = m->spec.fade[i].fall_ns;
    double none = amount_without(f->kind), in = 1, out = 1;
    int64_t left = f->from_ns + f->for_ns - t;
    if (rise_ns > 0 && t - f->from_ns < rise_ns) in = (double)(t - f->from_ns) / (double)rise_ns;
    if (fall_ns > 0 && left < fall_ns) out = (double)left / (double)fall_ns;
    return none + (f->amount - none) * tt_lower(in, out);
}

static void find_active(tt_model *m) {
    int64_t t = tt_model_elapsed(m);
    bool were = m->n_active > 0;
    m->n_active = 0;
    for (uint32_t i = 0; i < m->spec.n_faults; i++) {
        const tt_model_fault *f = &m->spec.faults[i];
        if (t < f->from_ns || t >= f->from_ns + f->for_ns) continue;
        if (f->period_ns && (t - f->from_ns) % f->period_ns >= f->period_ns / 2) continue;
        m->active[m->n_active] = *f;
        m->active[m->n_active++].amount = faded(m, i, t);
    }
    m->truth.faulty = m->n_active > 0;
    if (m->step > 1 && !were && !m->n_active) return;
    for (uint32_t s = 0; s < m->spec.n_services; s++)
        for (uint32_t d = 0; d < m->spec.n_dcs; d++) {
            int si = (int)s, di = (int)d;
            m->ill[s][d] =
                (tt_model_ill){.slow = tt_model_amount(m, TT_FAULT_SLOW, si, di, -1),
                               .capacity = tt_model_amount(m, TT_FAULT_CAPACITY, si, di, -1),
                               .errors = tt_model_amount(m, TT_FAULT_ERRORS, si, di, -1),
                               .hang = tt_model_amount(m, TT_FAULT_HANG, si, di, -1),
                               .down = tt_model_amount(m, TT_FAULT_DOWN, si, di, -1) > 0,
                               .uneven = tt_model_amount(m, TT_FAULT_BAD_INSTANCE, si, di, -1) > 0 ||
                                         tt_model_amount(m, TT_FAULT_CANARY, si, di, -1) > 0 || tt_model_amount(m, TT_FAULT_RESTART, si, di, -1) > 0};
        }
}

double tt_model_amount(const tt_model *m, tt_model_fault_kind kind, int service, int dc, int instance) {
    double none = amount_without(kind), most = none;
    for (uint32_t i = 0; i < m->n_active; i++) {
        const tt_model_fault *f = &m->active[i];
        if (f->kind != kind || (f->service >= 0 && service >= 0 && f->service != service) || (f->dc >= 0 && dc >= 0 && f->dc != dc) ||
            (f->instance >= 0 && instance >= 0 && f->instance != instance))
            continue;
        if (fabs(f->amount - none) > fabs(most - none)) most = f->amount;
    }
    return most;
}

int64_t tt_model_fault_since(const tt_model *m, tt_model_fault_kind kind) {
    for (uint32_t i = 0; i < m->n_active; i++) {
        const tt_model_fault *f = &m->active[i];
        if (f->kind != kind) continue;
        int64_t t = tt_model_elapsed(m) - f->from_ns;
        return f->period_ns ? f->from_ns + t / f->period_ns * f->period_ns : f->from_ns;
    }
    return -1;
}

/* ---- what is called, as its callers see it ---- */

static bool divided(const tt_model *m, uint32_t service) {
    return m->spec.services[service].homed || m->target[service][m->spec.n_dcs].now.weights;
}

double tt_model_weight(const tt_model *m, uint32_t service, uint32_t dc) {
    const tt_model_enforced *w = &m->target[service][m->spec.n_dcs].now;
    const tt_model_service *def = &m->spec.services[service];
    double home = def->homed ? def->home[dc] : m->spec.home[dc];
    return w->weights ? w->share * w->weight[dc] + (1 - w->share) * home : home;
}

/* Calls stay in their data center until weights divide them. */
static tt_model_view view_of(const tt_model *m, uint32_t service, uint32_t dc) {
    if (!divided(m, service)) return m->site[service][dc].view;
    tt_model_view v = {0};
    double ok = 0;
    for (uint32_t d = 0; d < m->spec.n_dcs; d++) {
        const tt_model_view *of = &m->site[service][d].view;
        double w = tt_model_weight(m, service, d);
        if (w <= 0) continue;
        for (uint32_t p = 0; p < m->spec.n_priorities; p++) {
            v.ok[p] += w * of->ok[p];
            v.refused[p] += w * of->refused[p];
        }
        v.latency_s += w * of->latency_s;
        v.value += w * of->value;
        ok += w * of->ok[0];
        v.ok_latency_s += w * of->ok[0] * of->ok_latency_s;
        v.failed += w * of->failed;
        v.failed_latency_s += w * of->failed * of->failed_latency_s;
    }
    v.ok_latency_s = ok > 1e-9 ? v.ok_latency_s / ok : v.latency_s;
    v.failed_latency_s = v.failed > 1e-9 ? v.failed_latency_s / v.failed : v.latency_s;
    return v;
}

/* How long callers wait for a site. */
static double patience_of(const tt_model *m, uint32_t service, uint32_t dc) {
    const tt_model_enforced *t = &m->target[service][dc].now;
    double own = m->spec.services[service].timeout_s;
    return t->timeout_s > 0 ? t->share * tt_lower(t->timeout_s, own) + (1 - t->share) * own : own;
}

static double in_time(double patience_s, double latency_s) {
    return tt_lower(tt_higher((1.1 * patience_s - latency_s) / (0.2 * patience_s), 0), 1);
}

static double at_level(const double of[TT_MODEL_LEVELS], uint32_t level, double without) {
    if (level == 0) return without;
    return of[(level > TT_MODEL_LEVELS ? TT_MODEL_LEVELS : level) - 1];
}

tt_model_degraded tt_model_degrade(const tt_model_call *c, double level) {
    uint32_t up = (uint32_t)ceil(level), low = up ? up - 1 : 0;
    double a = (double)up - level;
    double cost = at_level(c->cost_at, up, 1), cost_low = at_level(c->cost_at, low, 1);
    if (cost <= 0) cost = 1;
    if (cost_low <= 0) cost_low = 1;
    return (tt_model_degraded){.made = (1 - a) * at_level(c->at_level, up, 1) + a * at_level(c->at_level, low, 1),
                               .value = (1 - a) * at_level(c->value_at, up, 1) + a * at_level(c->value_at, low, 1),
                               .cost = (1 - a) * cost + a * cost_low};
}

/* What is left of an optional call under the degrade in force: those that didn't take the decision make it as ever, the probes one level lower. */
static tt_model_degraded in_force(const tt_model_enforced *t, const tt_model_call *c) {
    if (!c->optional || t->level == 0) return (tt_model_degraded){1, 1, 1};
    tt_model_degraded d = tt_model_degrade(c, t->level - t->probe_ratio);
    return (tt_model_degraded){t->share * d.made + 1 - t->share, t->share * d.value + 1 - t->share, t->share * d.cost + 1 - t->share};
}

/* ---- one site, one step ---- */

typedef struct {
    double own_s, hold_s, ok_s, value;                            /* of one request: its own time, that in its worker, that of a good answer */
    double ok[TT_MODEL_PRIORITIES], refused[TT_MODEL_PRIORITIES]; /* share of served requests whose calls went well, were refused */
    double made[TT_MODEL_CALLS];                                  /* calls a request, but for retries */
    double tries[TT_MODEL_CALLS][TT_MODEL_PRIORITIES];            /* of each call */
    double barred[TT_MODEL_CALLS];                                /* share that an isolation keeps from being sent */
    double workers, cpus, patience_s;
    double errors, hang, tail;
} conditions;

static double cache_misses(const tt_model_site *site, const tt_model_call *c) {
    double hits = 1 - c->per_request, x = site->completed_rps;
    return 1 - hits * (x > site->warm_rps ? site->warm_rps / x : 1);
}

/* A call that failed is made again, as often as the caller does and a retry budget allows. Answers that come too late by that don't count.
 * Returns the tries of a call over all priorities. */
static double try_again(const tt_model *m, const tt_model_call *call, uint32_t dc, const conditions *c, tt_model_view *v,
                        double tries[TT_MODEL_PRIORITIES]) {
    const tt_model_enforced *t = &m->target[call->service][dc].now;
    const tt_model_view first = *v;
    double more = 0, chance = 1, allowed = 1, all = 0;
    for (uint32_t n = 0; n < call->retries; n++) more += chance *= first.failed;
    if (t->retry_budget >= 0 && more > t->retry_budget) allowed = t->share * t->retry_budget / more + 1 - t->share;
    for (uint32_t p = 0; p < m->spec.n_priorities; p++) {
        double again = allowed, late_s = c->own_s;
        for (uint32_t n = 0; n < call->retries; n++) {
            again *= tt_higher(1 - first.ok[p] - first.refused[p], 0);
            late_s += first.failed_latency_s;
            tries[p] += again;
            v->ok[p] += again * first.ok[p] * in_time(c->patience_s, late_s + first.ok_latency_s);
            v->refused[p] += again * first.refused[p];
        }
        all += m->spec.mix[p] * tries[p];
    }
    v->ok_latency_s += (all - 1) / all * first.failed_latency_s * (1 - first.failed);
    return all;
}

static conditions look_around(const tt_model *m, uint32_t service, uint32_t dc) {
    const tt_model_service *def = &m->spec.services[service];
    const tt_model_ill *ill = &m->ill[service][dc];
    const tt_model_enforced *t = &m->target[service][dc].now;
    int s = (int)service, d = (int)dc;
    conditions c = {.own_s = def->own_ms / 1000 * ill->slow, .value = 1, .errors = ill->errors, .hang = ill->hang};
    double calls_s = 0, ok_s = 0;
    c.patience_s = patience_of(m, service, dc);
    for (uint32_t p = 0; p < m->spec.n_priorities; p++) c.ok[p] = 1;
    for (uint32_t k = 0; k < def->n_calls; k++) {
        const tt_model_call *call = &def->calls[k];
        const tt_model_enforced *there = &m->target[call->service][dc].now;
        tt_model_view v = view_of(m, call->service, dc);
        tt_model_degraded left = in_force(t, call);
        double tries = 1, waits;
        c.made[k] = (call->cached ? cache_misses(&m->site[service][dc], call) : call->per_request) * left.made;
        if (m->n_active) c.made[k] *= tt_model_amount(m, TT_FAULT_CALLS, s, d, -1);
        c.own_s *= left.cost;
        c.value *= left.value;
        double share = tt_lower(c.made[k], 1);
        for (uint32_t p = 0; p < m->spec.n_priorities; p++) c.tries[k][p] = 1;
        if (call->retries && v.failed > 0) tries = try_again(m, call, dc, &c, &v, c.tries[k]);
        waits = tries * v.latency_s;
        if (there->isolate[service] > 0) {
            double kept = 1 - (c.barred[k] = there->share * there->isolate[service]);
            for (uint32_t p = 0; p < m->spec.n_priorities; p++) v.refused[p] = kept * v.refused[p] + 1 - kept, v.ok[p] *= kept;
            waits *= kept;
        }
        calls_s += share * waits; /* those of one request go out together */
        if (call->optional) {     /* waited for as long as the others, and worth what the last level is where it fails */
            ok_s += share * waits;
            double lost = 0;
            for (uint32_t p = 0; p < m->spec.n_priorities; p++) lost += m->spec.mix[p] * (1 - v.ok[p]);
            for (uint32_t l = TT_MODEL_LEVELS; l-- > 0;)
                if (call->value_at[l] > 0) {
                    c.value *= 1 - share * lost * (1 - call->value_at[l]);
                    break;
                }
        } else {
            ok_s += share * v.ok_latency_s;
            c.value *= v.value;
            for (uint32_t p = 0; p < m->spec.n_priorities; p++) {
                c.refused[p] += c.ok[p] * share * v.refused[p];
                c.ok[p] *= 1 - share * (1 - v.ok[p]);
            }
        }
    }
    c.hold_s = (1 - c.hang) * (c.own_s + calls_s) + c.hang * def->timeout_s;
    c.ok_s = c.own_s + ok_s;
    double there = def->instances;
    if (ill->uneven || t->ejected)
        for (uint32_t i = 0; i < def->instances; i++)
            there -= t->ejected >> i & 1 || tt_model_amount(m, TT_FAULT_BAD_INSTANCE, s, d, (int)i) > 0 ||
                     tt_model_amount(m, TT_FAULT_RESTART, s, d, (int)i) > 0;
    /* Those that haven't taken an ejection still use the instance; what it can do is then a share of what it could. */
    c.workers = tt_higher(there, 0) * def->workers * ill->capacity;
    c.cpus = tt_higher(there, 0) * def->cpus * ill->capacity;
    c.tail = m->n_active ? tt_model_amount(m, TT_FAULT_TAIL, s, d, -1) : 0;
    return c;
}

/* Our own decision, where the call is made: drop ratios, then the cap, the first kept first. */
static void admit(tt_model *m, uint32_t service, uint32_t dc, double hold_s, double x[TT_MODEL_PRIORITIES]) {
    const tt_model_enforced *t = &m->target[service][dc].now;
    tt_model_counters *c = &m->site[service][dc].c;
    double before[TT_MODEL_PRIORITIES];
    memcpy(before, x, sizeof before);
    for (uint32_t p = 0; p < m->spec.n_priorities; p++) x[p] *= 1 - t->share * t->drop[p];
    if (t->limit_rps > 0 || t->limit_inflight > 0) {
        /* In flight: those that wait, and by Little's law those that are worked on. */
        double rps = t->limit_inflight > 0 ? tt_higher(t->limit_inflight - m->site[service][dc].queued, 0) / hold_s : 1e12;
        double room = (t->limit_rps > 0 ? tt_lower(rps, t->limit_rps) : rps) * dt * t->share;
        bool kept[TT_MODEL_PRIORITIES] = {false};
        for (uint32_t k = 0; k < t->n_keep; k++) {
            uint32_t p = t->keep[k];
            double in = tt_lower(t->share * x[p], room);
            kept[p] = true;
            room -= in;
            x[p] = in + (1 - t->share) * x[p];
        }
        for (uint32_t p = 0; p < m->spec.n_priorities; p++)
            if (!kept[p]) x[p] *= 1 - t->share;
    }
    for (uint32_t p = 0; p < m->spec.n_priorities; p++) c->dropped[p] += before[p] - x[p];
}

/* Where instances differ. One that fails at once has no queue, so least-request prefers it. Returns the share of the calls that fail there;
 * those of a bad release fail later, by `k`. */
static double uneven(tt_model *m, uint32_t service, uint32_t dc, conditions *k, double total) {
    const tt_model_service *def = &m->spec.services[service];
    const tt_model_enforced *t = &m->target[service][dc].now;
    tt_model_site *site = &m->site[service][dc];
    int s = (int)service, d = (int)dc;
    double pull[TT_MODEL_INSTANCES], sum = 0, fail[TT_MODEL_INSTANCES], failing = 0, later = 0, usual = tt_higher(site->view.latency_s, k->hold_s);
    for (uint32_t i = 0; i < def->instances; i++) {
        fail[i] = tt_model_amount(m, TT_FAULT_BAD_INSTANCE, s, d, (int)i);
        pull[i] = fail[i] > 0 ? 1 / (fail[i] * fast_s + (1 - fail[i]) * usual) : 1 / usual;
        if (t->ejected >> i & 1) pull[i] *= 1 - t->share;
        if (tt_model_amount(m, TT_FAULT_RESTART, s, d, (int)i) > 0) {
            pull[i] = 0;
            site->c.instance_n[i] += dt; /* health probes */
            site->c.instance_errors[i] += dt;
        }
        sum += pull[i];
    }
    if (sum <= 0) return 0;
    for (uint32_t i = 0; i < def->instances; i++) {
        double share = pull[i] / sum, canary = tt_model_amount(m, TT_FAULT_CANARY, s, d, (int)i);
        if (fail[i] > 0 && share > black_hole_max && def->instances > 1) share = black_hole_max;
        double bad = k->errors + (1 - k->errors) * canary;
        site->c.instance_n[i] += total * share;
        site->c.instance_errors[i] += total * share * (fail[i] + (1 - fail[i]) * bad);
        failing += share * fail[i];
        later += share * canary;
    }
    k->errors += (1 - k->errors) * tt_lower(later, 1);
    return tt_lower(failing, 1);
}

/* Upper bounds of the latency buckets but the last, which has none: a factor of 1.6 from 2 ms on. */
static uint32_t bucket_of(double latency_s) {
    double bound = 0.002;
    uint32_t b = 0;
    while (b + 1 < TT_MODEL_BUCKETS && latency_s > bound) b++, bound *= 1.6;
    return b;
}

/* One request's own latency spreads about the mean of its cohort. */
static void latencies(tt_model_counters *c, double latency_s, double n, double timeout_s) {
    static const double share[] = {0.55, 0.3, 0.12, 0.03}, of[] = {0.75, 1.1, 1.6, 2.2};
    for (int i = 0; i < 4; i++) c->latency[bucket_of(tt_lower(of[i] * latency_s, timeout_s))] += n * share[i];
}

typedef struct {
    double served, served_by[TT_MODEL_PRIORITIES], ok[TT_MODEL_PRIORITIES], refused[TT_MODEL_PRIORITIES], failed[TT_MODEL_PRIORITIES];
    double latency_sum, latency_n, ok_sum, failed_sum, errors;
} results;

/* Serves up to `budget` requests of the cohort born in step `born`. In turn (`whole` > 0), they come after `spent` of the step's whole budget: both
 * the arrivals of a cohort and what is served in a step are spread over their 0.1 s. */
static double serve_cohort(tt_model *m, tt_model_site *site, uint64_t born, double budget, double spent, double whole, const conditions *k,
                           results *r) {
    double *cohort = site->queue[born % TT_MODEL_RING], all = 0;
    for (uint32_t p = 0; p < m->spec.n_priorities; p++) all += cohort[p];
    if (all <= 0) return 0;
    double take = tt_lower(budget, all), wait_s = (double)(m->step - born) * dt;
    if (whole > 0 && born < m->step)
        wait_s +=
            dt * ((spent + take / 2) / whole - tt_lower(tt_higher(1 - (all - take / 2) / tt_higher(site->came[born % TT_MODEL_RING], all), 0), 1));
    double latency_s = tt_lower(wait_s + k->hold_s, k->patience_s);
    bool dead = born < site->given_up; /* nobody waits for it any more: worked off all the same */
    double t = in_time(k->patience_s, wait_s + k->ok_s), live = 0, share = take / all;
    for (uint32_t p = 0; p < m->spec.n_priorities; p++) {
        double x = cohort[p] * share;
        cohort[p] -= x;
        r->served_by[p] += x;
        if (dead) continue;
        double well = x * (1 - k->hang) * (1 - k->errors), ok = well * k->ok[p] * t, refused = well * k->refused[p];
        r->ok[p] += ok;
        r->ok_sum += ok * (wait_s + k->ok_s);
        r->refused[p] += refused;
        r->failed[p] += x - ok - refused;
        r->failed_sum += (x - ok - refused) * latency_s;
        r->errors += x * (1 - k->hang) * k->errors + tt_higher(well * (1 - k->ok[p] - k->refused[p]), 0);
        live += x;
    }
    if (!dead) {
        double slow_s = tail_share * k->patience_s, slow = k->tail * live * tt_higher(slow_s - latency_s, 0);
        r->latency_sum += live * latency_s + slow;
        r->latency_n += live;
        latencies(&site->c, latency_s, live * (1 - k->tail), k->patience_s);
        if (k->tail > 0) site->c.latency[bucket_of(slow_s)] += live * k->tail;
    }
    r->served += take;
    site->queued = tt_higher(site->queued - take, 0);
    return take;
}

static void serve(tt_model *m, tt_model_site *site, double budget, const conditions *k, results *r) {
    double newest = budget * m->spec.newest_first, whole;
    budget -= newest;
    for (uint64_t born = m->step; newest > 1e-9 && born >= site->oldest && site->queued > 0; born--) {
        newest -= serve_cohort(m, site, born, newest, 0, 0, k, r);
        if (born == 0) break;
    }
    budget += newest;
    whole = budget;
    while (budget > 1e-9 && site->oldest <= m->step) {
        double left = 0;
        budget -= serve_cohort(m, site, site->oldest, budget, whole - budget, whole, k, r);
        for (uint32_t p = 0; p < m->spec.n_priorities; p++) left += site->queue[site->oldest % TT_MODEL_RING][p];
        if (left > 1e-9 || site->oldest == m->step) break;
        site->oldest++;
    }
}

/* What may wait here with the inner loop on, for the highest priority. */
static double inner_bound(const tt_model *m, uint32_t service, const tt_model_site *site, const conditions *k) {
    const tt_model_service *def = &m->spec.services[service];
    double timeout = def->timeout_s, base = def->base_ms > 0 ? def->base_ms / 1000 : m->base_s[service];
    double theta = tt_higher(theta_share * timeout, theta_base * base + tt_lower(timeout / 10, 0.1));
    double least = tt_higher(floor_share * (k->cpus > 0 ? k->cpus : k->workers), floor_least) / lowest_share;
    return tt_higher(tt_lower(theta, theta_most * timeout) * site->x_rps, least);
}

/* X goes down only while the queue stands: then completions are what the hop can do. Else nothing is at stake, and it goes back to the best. */
static void learn_x(tt_model_site *site, double served_rps) {
    if (site->queued > 1e-6) {
        site->x_rps = site->x_known ? site->x_rps + x_alpha * (served_rps - site->x_rps) : served_rps;
        site->x_known = true;
    } else if (site->x_known && tt_higher(served_rps, site->best_rps) > site->x_rps)
        site->x_rps += x_alpha * (tt_higher(served_rps, site->best_rps) - site->x_rps);
    site->best_rps = tt_higher(site->best_rps * best_kept, site->x_rps);
}

/* Room in the queue: the inner loop's limit on queue time, or the bound of the queue itself. Highest priority enters first. */
static void enqueue(tt_model *m, uint32_t service, tt_model_site *site, const conditions *k, double budget, double x[TT_MODEL_PRIORITIES],
                    results *r) {
    double full = m->spec.services[service].queue_max, top = full, *cohort = site->queue[m->step % TT_MODEL_RING], came = 0;
    bool inner = m->spec.inner_loop && site->x_known;
    if (inner) top = tt_lower(full, inner_bound(m, service, site, k));
    for (uint32_t p = 0; p < m->spec.n_priorities; p++) {
        double bound = inner && m->spec.n_priorities > 1 ? top * (1 - (1 - lowest_share) * p / (m->spec.n_priorities - 1)) : top;
        double in = tt_lower(x[p], tt_higher(bound + budget - site->queued, 0)), out = x[p] - in;
        cohort[p] = in;
        site->queued += in;
        came += in;
        x[p] = in;
        if (out <= 0) continue;
        double learns_s = inner ? fast_s : tt_higher(tt_lower(m->spec.queue_full_s, k->patience_s), fast_s);
        if (inner)
            r->refused[p] += out;
        else {
            r->failed[p] += out;
            r->failed_sum += out * learns_s;
            r->errors += out;
        }
        r->latency_sum += out * learns_s;
        r->latency_n += out;
        site->c.latency[bucket_of(learns_s)] += out;
    }
    site->came[m->step % TT_MODEL_RING] = came;
}

/* Those who have waited for as long as they do give up; their requests stay, to be worked off. */
static void give_up(tt_model *m, tt_model_site *site, const conditions *k, results *r) {
    /* The slot that this step's cohort takes over; those in it have long timed out. */
    double *slot = site->queue[m->step % TT_MODEL_RING];
    for (uint32_t p = 0; p < m->spec.n_priorities; p++) {
        site->queued = tt_higher(site->queued - slot[p], 0);
        slot[p] = 0;
    }
    if (m->step >= TT_MODEL_RING && site->oldest <= m->step - TT_MODEL_RING) site->oldest = m->step - TT_MODEL_RING + 1;
    uint64_t patience = (uint64_t)(k->patience_s / dt + 0.5) + 1;
    if (m->step < patience) return;
    for (; site->given_up <= m->step - patience; site->given_up++) {
        const double *old = site->queue[site->given_up % TT_MODEL_RING];
        for (uint32_t p = 0; p < m->spec.n_priorities; p++) {
            if (old[p] <= 0) continue;
            r->failed[p] += old[p];
            r->failed_sum += old[p] * k->patience_s;
            r->latency_sum += old[p] * k->patience_s;
            r->latency_n += old[p];
            site->c.latency[bucket_of(k->patience_s)] += old[p];
        }
    }
}

/* What the cache holds follows what was answered well: load that is new to a site misses at first. */
static void warm_up(tt_model *m, uint32_t service, uint32_t dc, const results *r) {
    const tt_model_service *def = &m->spec.services[service];
    bool cached = false;
    for (uint32_t k = 0; k < def->n_calls; k++) cached |= def->calls[k].cached;
    if (!cached) return;
    tt_model_site *site = &m->site[service][dc];
    double ok = 0;
    for (uint32_t p = 0; p < m->spec.n_priorities; p++) ok += r->ok[p] / dt;
    site->warm_rps += dt / m->spec.cache_s * (ok - site->warm_rps);
    double wiped = m->n_active ? tt_model_amount(m, TT_FAULT_CACHE_WIPE, (int)service, (int)dc, -1) : 0;
    if (wiped > 0) site->warm_rps = tt_lower(site->warm_rps, ok * (1 - wiped));
}

/* Calls for what was served, dead requests too. */
static void call(tt_model *m, uint32_t service, uint32_t dc, const conditions *k, const results *r) {
    const tt_model_service *def = &m->spec.services[service];
    for (uint32_t i = 0; i < def->n_calls; i++) {
        tt_model_site *to = &m->site[def->calls[i].service][dc];
        for (uint32_t p = 0; p < m->spec.n_priorities; p++) {
            double first = r->served_by[p] * k->made[i], x = first * k->tries[i][p];
            to->from[service] += x;
            to->again += x - first;
            to->in[p] += x * (1 - k->barred[i]);
            to->c.offered[p] += x * k->barred[i];
            to->c.dropped[p] += x * k->barred[i];
        }
    }
}

/* What our own decision dropped is a refusal to them. */
static void tell_callers(const tt_model *m, tt_model_site *site, const tt_model_ill *ill, const conditions *k, const results *r,
                         const double done[TT_MODEL_PRIORITIES], const double dropped[TT_MODEL_PRIORITIES]) {
    tt_model_view *v = &site->view;
    double ok = 0, refused = 0, all = 0, cut = 0;
    for (uint32_t p = 0; p < m->spec.n_priorities; p++) {
        double calls = done[p] + dropped[p];
        all += calls;
        cut += dropped[p];
        ok += r->ok[p];
        refused += r->refused[p] + dropped[p];
        if (calls <= 1e-9) continue;
        v->ok[p] = r->ok[p] / calls;
        v->refused[p] = (r->refused[p] + dropped[p]) / calls;
    }
    double failed = tt_higher(all - ok - refused, 0);
    if (all > 1e-9) v->failed = failed / all;
    if (r->latency_n + cut > 1e-9) v->latency_s += 0.5 * ((r->latency_sum + cut * fast_s) / (r->latency_n + cut) - v->latency_s);
    if (ok > 1e-9) v->ok_latency_s += 0.5 * (tt_lower(r->ok_sum / ok, k->patience_s) - v->ok_latency_s);
    if (failed > 1e-9) v->failed_latency_s += 0.5 * (r->failed_sum / failed - v->failed_latency_s);
    if (all <= 1e-9 && !ill->down) { /* nobody asks: what the next one would meet */
        v->latency_s = tt_lower(k->hold_s, k->patience_s);
        v->ok_latency_s = tt_lower(k->ok_s, k->patience_s);
        v->failed = 0;
        for (uint32_t p = 0; p < m->spec.n_priorities; p++) v->ok[p] = k->ok[p] * (1 - k->errors) * (1 - k->hang), v->refused[p] = 0;
    }
    v->value = k->value;
}

static void site_step(tt_model *m, uint32_t service, uint32_t dc, results *r) {
    tt_model_site *site = &m->site[service][dc];
    const tt_model_service *def = &m->spec.services[service];
    const tt_model_ill *ill = &m->ill[service][dc];
    tt_model_counters *c = &site->c;
    double x[TT_MODEL_PRIORITIES] = {0}, dropped[TT_MODEL_PRIORITIES], total = 0;
    memset(r, 0, sizeof *r);
    for (uint32_t p = 0; p < m->spec.n_priorities; p++) c->offered[p] += x[p] = site->in[p];
    c->retries += site->again;
    for (uint32_t s = 0; s < service; s++) c->from[s] += site->from[s];
    const tt_model_enforced *t = &m->target[service][dc].now;
    conditions k = look_around(m, service, dc);
    if (t->version || m->oracle) admit(m, service, dc, k.hold_s, x);
    for (uint32_t p = 0; p < m->spec.n_priorities; p++) {
        total += x[p];
        dropped[p] = site->in[p] - x[p];
    }
    double failing = ill->down ? 1 : 0;
    if (!ill->down && (ill->uneven || t->ejected))
        failing = uneven(m, service, dc, &k, total);
    else {
        c->calls_n += total;
        c->calls_errors += total * (failing + (1 - failing) * k.errors);
    }
    if (failing > 0)
        for (uint32_t p = 0; p < m->spec.n_priorities; p++) {
            r->failed[p] += x[p] * failing;
            x[p] *= 1 - failing;
        }
    r->errors += total * failing;
    r->failed_sum += total * failing * fast_s;
    r->latency_sum += total * failing * fast_s;
    r->latency_n += total * failing;
    c->latency[0] += total * failing;
    double budget = ill->down ? 0 : k.workers * dt / k.hold_s;
    if (def->cpus > 0) budget = tt_lower(budget, k.cpus * dt / k.own_s);
    give_up(m, site, &k, r);
    enqueue(m, service, site, &k, budget, x, r);
    serve(m, site, budget, &k, r);

    double done[TT_MODEL_PRIORITIES];
    for (uint32_t p = 0; p < m->spec.n_priorities; p++) {
        done[p] = r->ok[p] + r->refused[p] + r->failed[p];
        c->ok[p] += r->ok[p];
        c->refused[p] += r->refused[p];
    }
    call(m, service, dc, &k, r);
    site->completed_rps += x_alpha * (r->served / dt - site->completed_rps);
    learn_x(site, r->served / dt);
    warm_up(m, service, dc, r);
    c->arrived += total;
    c->completed += r->served;
    /* Of all instances, the ejected too: that is what utilization counts. */
    double busy = r->served * k.hold_s / ((double)(def->instances * def->workers) * ill->capacity);
    if (def->cpus > 0) busy = tt_higher(busy, r->served * k.own_s / ((double)def->instances * def->cpus * ill->capacity));
    c->busy_s += tt_lower(busy, dt);
    c->worker_s += dt;
    c->errors += r->errors;
    c->latency_sum += r->latency_sum;
    c->latency_n += r->latency_n;
    c->inflight = site->queued + r->served / dt * k.hold_s;
    tell_callers(m, site, ill, &k, r, done, dropped);
    memset(site->in, 0, sizeof site->in);
    memset(site->from, 0, sizeof site->from);
    site->again = 0;
}

/* ---- the whole ---- */

static double wanted(const tt_model *m) {
    /* Demand breathes by a few per cent from second to second. */
    double breath = 1 + 0.04 * (tt_model_random(m->seed, 1, m->step / 10) - 0.5);
    return m->spec.demand_rps * (m->n_active ? tt_model_amount(m, TT_FAULT_DEMAND, -1, -1, -1) : 1) * breath;
}

double tt_model_offered(const tt_model *m) {
    double x = wanted(m);
    for (uint32_t p = 0; p < m->spec.n_priorities; p++)
        for (uint32_t a = 0; a < TT_MODEL_ATTEMPTS; a++) x += m->retry[m->step % TT_MODEL_RETRY_STEPS][p][a] / dt;
    return x;
}

/* Retries come back wherever the weights send them, within the budget that is in force there. */
static void arrive(tt_model *m) {
    const tt_model_spec *spec = &m->spec;
    double demand = wanted(m), offered[TT_MODEL_PRIORITIES];
    for (uint32_t p = 0; p < spec->n_priorities; p++) {
        double fresh = demand * spec->mix[p] * dt, again = 0, *waiting = m->retry[m->step % TT_MODEL_RETRY_STEPS][p];
        for (uint32_t a = 0; a < TT_MODEL_ATTEMPTS; a++) again += waiting[a];
        for (uint32_t a = 0; a < TT_MODEL_ATTEMPTS; a++) {
            m->attempt[p][a] = fresh + again > 1e-12 ? (waiting[a] + (a == 0 ? fresh : 0)) / (fresh + again) : a == 0;
            waiting[a] = 0;
        }
        offered[p] = 0;
        for (uint32_t d = 0; d < spec->n_dcs; d++) {
            const tt_model_enforced *t = &m->target[0][d].now;
            double w = tt_model_weight(m, 0, d), sent = again;
            if (t->retry_budget >= 0) sent = t->share * tt_lower(again, t->retry_budget * fresh) + (1 - t->share) * again;
            m->site[0][d].in[p] = (fresh + sent) * w;
            m->site[0][d].again += sent * w;
            offered[p] += (fresh + sent) * w;
        }
        m->truth.wanted_rps[p] = fresh / dt;
        m->truth.offered_rps[p] = offered[p] / dt;
    }
}

/* The clients' attempts that did not go well, and come back. */
static void send_again(tt_model *m, uint32_t p, double failed, double refused) {
    const tt_model_spec *spec = &m->spec;
    double retry_failed = tt_higher(spec->retry_failed, m->n_active ? tt_model_amount(m, TT_FAULT_RETRIES, -1, -1, -1) : 0);
    uint64_t after = spec->retry_s > 0 ? (uint64_t)(spec->retry_s / dt + 0.5) : 5;
    if (after < 1) after = 1;
    if (after >= TT_MODEL_RETRY_STEPS) after = TT_MODEL_RETRY_STEPS - 1;
    double *waiting = m->retry[(m->step + after) % TT_MODEL_RETRY_STEPS][p], n = retry_failed * failed + spec->retry_refused * refused;
    if (spec->attempts == 0)
        waiting[0] += n;
    else
        for (uint32_t a = 0; a + 1 < spec->attempts; a++) waiting[a + 1] += n * m->attempt[p][a];
}

/* Answered at the door, well, though with an error that monitoring counts. */
static void pester(tt_model *m) {
    uint32_t lowest = m->spec.n_priorities - 1;
    for (uint32_t d = 0; m->n_active && d < m->spec.n_dcs; d++) {
        double n = tt_model_amount(m, TT_FAULT_BOTS, -1, (int)d, -1) * m->spec.demand_rps * m->spec.home[d] * dt;
        tt_model_counters *c = &m->site[0][d].c;
        if (n <= 0) continue;
        c->offered[lowest] += n;
        c->ok[lowest] += n;
        c->nonsense += n;
        c->latency_sum += n * fast_s;
        c->latency_n += n;
        c->latency[0] += n;
    }
}

static void divide(tt_model *m, uint32_t service) {
    if (service == 0 || !divided(m, service)) return;
    for (uint32_t p = 0; p < m->spec.n_priorities; p++) {
        double all = 0;
        for (uint32_t d = 0; d < m->spec.n_dcs; d++) all += m->site[service][d].in[p];
        for (uint32_t d = 0; d < m->spec.n_dcs; d++) m->site[service][d].in[p] = all * tt_model_weight(m, service, d);
    }
    for (uint32_t c = 0; c <= service; c++) { /* the last round: those that come again */
        double all = 0;
        for (uint32_t d = 0; d < m->spec.n_dcs; d++) all += c < service ? m->site[service][d].from[c] : m->site[service][d].again;
        for (uint32_t d = 0; d < m->spec.n_dcs; d++)
            *(c < service ? &m->site[service][d].from[c] : &m->site[service][d].again) = all * tt_model_weight(m, service, d);
    }
}

void tt_model_step(tt_model *m) {
    m->step++;
    find_active(m);
    tt_model_mesh_step(m);
    if (m->oracle) tt_model_oracle_step(m);
    arrive(m);
    pester(m);
    tt_model_truth *t = &m->truth;
    for (uint32_t p = 0; p < m->spec.n_priorities; p++) t->good_rps[p] = t->dropped_rps[p] = t->refused_rps[p] = t->failed_rps[p] = 0;
    t->needless_rps = 0;
    for (uint32_t s = 0; s < m->spec.n_services; s++) {
        divide(m, s);
        for (uint32_t d = 0; d < m->spec.n_dcs; d++) {
            results r;
            double dropped[TT_MODEL_PRIORITIES], cuts = 0, in = 0;
            memcpy(dropped, m->site[s][d].c.dropped, sizeof dropped);
            for (uint32_t p = 0; s == 0 && p < m->spec.n_priorities; p++) in += m->site[s][d].in[p];
            site_step(m, s, d, &r);
            if (s) continue;
            for (uint32_t p = 0; p < m->spec.n_priorities; p++) {
                double cut = m->site[s][d].c.dropped[p] - dropped[p];
                cuts += cut;
                t->good_rps[p] += r.ok[p] * m->site[s][d].view.value / dt;
                t->dropped_rps[p] += cut / dt;
                t->refused_rps[p] += r.refused[p] / dt;
                t->failed_rps[p] += r.failed[p] / dt;
                send_again(m, p, r.failed[p], r.refused[p] + cut);
            }
            if (cuts > 1e-9) t->needless_rps += tt_model_needless(m, d, (in - cuts) / dt, cuts / dt);
        }
    }
    tt_model_scrape_step(m);
}
