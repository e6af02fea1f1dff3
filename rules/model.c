/* The plant: demand, queues, workers, retries. One step of 0.1 s goes from the entry down; a caller sees what its callees did one step ago. */
#include "model_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double dt = 0.1;
/* Of the client's time-out: what a hop lets wait with the inner loop (control.md, section 12). */
static const double theta_share = 0.3;
static const double x_half_life_s = 1.5;
static const double fast_s = 0.002; /* a refusal or an instant failure */
/* The most that least-request sends to one instance that fails at once. */
static const double black_hole_max = 0.85;

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
#define NAME(id, name) name,
    static const char *const names[] = {TT_MODEL_FAULT_KINDS(NAME)};
#undef NAME
    return names[kind];
}

void tt_model_spec_default(tt_model_spec *ret) {
    *ret = (tt_model_spec){
        .n_services = 3,
        .services =
            {{.name = "front", .instances = 2, .workers = 60, .own_ms = 5, .queue_max = 400, .n_calls = 1, .calls = {{1, 1, false, {0}, {0}}}},
             {.name = "checkout",
              .instances = 3,
              .workers = 4,
              .own_ms = 60,
              .queue_max = 400,
              .n_calls = 1,
              .calls = {{2, 1, true, {0.5, 0}, {0.97, 0.90}}}},
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
    for (uint32_t s = 0; s < spec->n_services; s++)
        for (uint32_t d = 0; d <= spec->n_dcs; d++) {
            m->target[s][d].now.share = 1;
            if (d == spec->n_dcs) continue;
            tt_model_site *site = &m->site[s][d];
            site->completed_rps = spec->demand_rps * spec->home[d];
            site->view = (tt_model_view){.latency_s = spec->services[s].own_ms / 1000, .value = 1};
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
const tt_model_truth *tt_model_truth_of(const tt_model *m) {
    return &m->truth;
}

uint32_t tt_model_instance_name(const tt_model *m, uint32_t service, uint32_t dc, uint32_t instance, char buf[TT_NAME_MAX]) {
    return (uint32_t)snprintf(buf, TT_NAME_MAX, "%s", m->instance[service][dc][instance]);
}

/* ---- faults ---- */

static void find_active(tt_model *m) {
    int64_t t = tt_model_elapsed(m);
    m->n_active = 0;
    for (uint32_t i = 0; i < m->spec.n_faults; i++) {
        const tt_model_fault *f = &m->spec.faults[i];
        if (t < f->from_ns || t >= f->from_ns + f->for_ns) continue;
        if (f->period_ns && (t - f->from_ns) % f->period_ns >= f->period_ns / 2) continue;
        m->active[m->n_active++] = *f;
    }
    m->truth.faulty = m->n_active > 0;
}

double tt_model_fault_amount(const tt_model *m, tt_model_fault_kind kind, int service, int dc, int instance, double none) {
    double most = none;
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

static double weight_of(const tt_model *m, uint32_t service, uint32_t dc) {
    const tt_model_enforced *w = &m->target[service][m->spec.n_dcs].now;
    double home = m->spec.home[dc];
    return w->weights ? w->share * w->weight[dc] + (1 - w->share) * home : home;
}

/* Calls stay in their data center until weights divide them. */
static tt_model_view view_of(const tt_model *m, uint32_t service, uint32_t dc) {
    if (!m->target[service][m->spec.n_dcs].now.weights) return m->site[service][dc].view;
    tt_model_view v = {0};
    for (uint32_t d = 0; d < m->spec.n_dcs; d++) {
        const tt_model_view *of = &m->site[service][d].view;
        double w = weight_of(m, service, d);
        for (uint32_t p = 0; p < m->spec.n_priorities; p++) {
            v.ok[p] += w * of->ok[p];
            v.refused[p] += w * of->refused[p];
        }
        v.latency_s += w * of->latency_s;
        v.value += w * of->value;
    }
    return v;
}

/* Share of an optional call that is still made under the degrade in force, and what the answer is worth. */
static double calls_made(const tt_model_enforced *t, const tt_model_call *c, double *ret_value) {
    *ret_value = 1;
    if (!c->optional || t->level == 0) return 1;
    uint32_t l = t->level > TT_MODEL_LEVELS ? TT_MODEL_LEVELS : t->level;
    double made = c->at_level[l - 1], above = l > 1 ? c->at_level[l - 2] : 1, value = c->value_at[l - 1],
           value_above = l > 1 ? c->value_at[l - 2] : 1;
    *ret_value = t->share * ((1 - t->probe_ratio) * value + t->probe_ratio * value_above) + (1 - t->share);
    return t->share * ((1 - t->probe_ratio) * made + t->probe_ratio * above) + (1 - t->share);
}

/* ---- one site, one step ---- */

typedef struct {
    double hold_s, value;                                         /* of one request in its worker */
    double ok[TT_MODEL_PRIORITIES], refused[TT_MODEL_PRIORITIES]; /* share of served requests whose calls went well, were refused */
    double made[TT_MODEL_CALLS];
    double workers;
    double errors, hang;
} conditions;

static conditions look_around(const tt_model *m, uint32_t service, uint32_t dc, uint32_t out) {
    const tt_model_service *def = &m->spec.services[service];
    int s = (int)service, d = (int)dc;
    conditions c = {.hold_s = def->own_ms / 1000 * tt_model_fault_amount(m, TT_FAULT_SLOW, s, d, -1, 1), .value = 1};
    c.errors = tt_model_fault_amount(m, TT_FAULT_ERRORS, s, d, -1, 0);
    c.hang = tt_model_fault_amount(m, TT_FAULT_HANG, s, d, -1, 0);
    for (uint32_t p = 0; p < m->spec.n_priorities; p++) c.ok[p] = 1;
    for (uint32_t k = 0; k < def->n_calls; k++) {
        const tt_model_call *call = &def->calls[k];
        tt_model_view v = view_of(m, call->service, dc);
        double value;
        c.made[k] = call->per_request * calls_made(&m->target[service][dc].now, call, &value);
        c.hold_s += c.made[k] * fmin(v.latency_s, m->spec.timeout_s);
        c.value *= value;
        if (call->optional) continue;
        c.value *= v.value;
        for (uint32_t p = 0; p < m->spec.n_priorities; p++) {
            c.refused[p] += c.ok[p] * v.refused[p];
            c.ok[p] *= v.ok[p];
        }
    }
    c.hold_s = (1 - c.hang) * c.hold_s + c.hang * m->spec.timeout_s;
    uint32_t gone = 0;
    for (uint32_t i = 0; i < def->instances; i++) gone += out >> i & 1 || tt_model_fault_amount(m, TT_FAULT_BAD_INSTANCE, s, d, (int)i, 0) > 0;
    /* Those that haven't taken an ejection still use the instance; what it can do is then a share of what it could. */
    double there = (double)def->instances - (double)gone;
    c.workers = fmax(there, 0) * def->workers * tt_model_fault_amount(m, TT_FAULT_CAPACITY, s, d, -1, 1);
    return c;
}

/* Our own decision, where the call is made: drop ratios, then the cap, the first kept first. */
static void admit(tt_model *m, uint32_t service, uint32_t dc, double x[TT_MODEL_PRIORITIES]) {
    const tt_model_enforced *t = &m->target[service][dc].now;
    tt_model_counters *c = &m->site[service][dc].c;
    double before[TT_MODEL_PRIORITIES];
    memcpy(before, x, sizeof before);
    for (uint32_t p = 0; p < m->spec.n_priorities; p++) x[p] *= 1 - t->share * t->drop[p];
    if (t->limit_rps > 0) {
        double room = t->limit_rps * dt * t->share;
        bool kept[TT_MODEL_PRIORITIES] = {false};
        for (uint32_t k = 0; k < t->n_keep; k++) {
            uint32_t p = t->keep[k];
            double in = fmin(t->share * x[p], room);
            kept[p] = true;
            room -= in;
            x[p] = in + (1 - t->share) * x[p];
        }
        for (uint32_t p = 0; p < m->spec.n_priorities; p++)
            if (!kept[p]) x[p] *= 1 - t->share;
    }
    for (uint32_t p = 0; p < m->spec.n_priorities; p++) c->dropped[p] += before[p] - x[p];
}

/* An instance that fails at once has no queue, so least-request prefers it. Returns the share of the calls that fail there. */
static double black_holes(tt_model *m, uint32_t service, uint32_t dc, const conditions *k, double total) {
    const tt_model_service *def = &m->spec.services[service];
    const tt_model_enforced *t = &m->target[service][dc].now;
    tt_model_site *site = &m->site[service][dc];
    double pull[TT_MODEL_INSTANCES], sum = 0, fail[TT_MODEL_INSTANCES], failing = 0, usual = fmax(site->view.latency_s, k->hold_s);
    for (uint32_t i = 0; i < def->instances; i++) {
        fail[i] = tt_model_fault_amount(m, TT_FAULT_BAD_INSTANCE, (int)service, (int)dc, (int)i, 0);
        pull[i] = fail[i] > 0 ? 1 / (fail[i] * fast_s + (1 - fail[i]) * usual) : 1 / usual;
        if (t->ejected >> i & 1) pull[i] *= 1 - t->share;
        sum += pull[i];
    }
    if (sum <= 0) return 0;
    for (uint32_t i = 0; i < def->instances; i++) {
        double share = pull[i] / sum;
        if (fail[i] > 0 && share > black_hole_max && def->instances > 1) share = black_hole_max;
        site->c.instance_n[i] += total * share;
        site->c.instance_errors[i] += total * share * (fail[i] + (1 - fail[i]) * k->errors);
        failing += share * fail[i];
    }
    return fmin(failing, 1);
}

static double in_time(const tt_model *m, double latency_s) {
    double t = m->spec.timeout_s;
    return fmin(fmax((1.1 * t - latency_s) / (0.2 * t), 0), 1);
}

typedef struct {
    double served, ok[TT_MODEL_PRIORITIES], refused[TT_MODEL_PRIORITIES], failed[TT_MODEL_PRIORITIES], latency_sum, latency_n;
    double errors;
} results;

/* Serves up to `budget` requests of the cohort born `age` steps ago. */
static double serve_cohort(tt_model *m, tt_model_site *site, uint64_t born, double budget, const conditions *k, results *r) {
    double *cohort = site->queue[born % TT_MODEL_RING], all = 0;
    for (uint32_t p = 0; p < m->spec.n_priorities; p++) all += cohort[p];
    if (all <= 0) return 0;
    double take = fmin(budget, all), wait_s = (double)(m->step - born) * dt, latency_s = wait_s + k->hold_s;
    bool dead = wait_s > m->spec.timeout_s; /* nobody waits for it any more: worked off all the same */
    for (uint32_t p = 0; p < m->spec.n_priorities; p++) {
        double x = cohort[p] * take / all, t = in_time(m, latency_s);
        cohort[p] -= x;
        if (dead) continue;
        double well = x * (1 - k->hang) * (1 - k->errors), ok = well * k->ok[p] * t, refused = well * k->refused[p];
        r->ok[p] += ok;
        r->refused[p] += refused;
        r->failed[p] += x - ok - refused;
        r->errors += x * (1 - k->hang) * k->errors + fmax(well * (1 - k->ok[p] - k->refused[p]), 0);
        r->latency_sum += x * fmin(latency_s, m->spec.timeout_s);
        r->latency_n += x;
    }
    r->served += take;
    site->queued = fmax(site->queued - take, 0);
    return take;
}

static void serve(tt_model *m, tt_model_site *site, double budget, const conditions *k, results *r) {
    double newest = budget * m->spec.newest_first;
    budget -= newest;
    for (uint64_t born = m->step; newest > 1e-9 && born >= site->oldest && site->queued > 0; born--) {
        newest -= serve_cohort(m, site, born, newest, k, r);
        if (born == 0) break;
    }
    budget += newest;
    while (budget > 1e-9 && site->oldest <= m->step) {
        double left = 0;
        budget -= serve_cohort(m, site, site->oldest, budget, k, r);
        for (uint32_t p = 0; p < m->spec.n_priorities; p++) left += site->queue[site->oldest % TT_MODEL_RING][p];
        if (left > 1e-9 || site->oldest == m->step) break;
        site->oldest++;
    }
}

/* Room in the queue: the inner loop's limit on queue time, or the bound of the queue itself. Highest priority enters first. */
static void enqueue(tt_model *m, uint32_t service, tt_model_site *site, const conditions *k, double budget, double x[TT_MODEL_PRIORITIES],
                    results *r) {
    double bound = m->spec.services[service].queue_max;
    bool inner = m->spec.inner_loop;
    if (inner) bound = fmin(bound, fmax(theta_share * m->spec.timeout_s * site->completed_rps, 0.25 * k->workers));
    double room = fmax(bound + budget - site->queued, 0), *cohort = site->queue[m->step % TT_MODEL_RING];
    for (uint32_t p = 0; p < m->spec.n_priorities; p++) {
        double in = fmin(x[p], room), out = x[p] - in;
        room -= in;
        cohort[p] = in;
        site->queued += in;
        if (inner)
            r->refused[p] += out;
        else {
            r->failed[p] += out;
            r->errors += out;
        }
        r->latency_sum += out * fast_s;
        r->latency_n += out;
        x[p] = in;
    }
}

static void forget_oldest(tt_model *m, tt_model_site *site, results *r) {
    /* The slot that this step's cohort takes over; those in it have long timed out. */
    double *slot = site->queue[m->step % TT_MODEL_RING];
    for (uint32_t p = 0; p < m->spec.n_priorities; p++) {
        site->queued = fmax(site->queued - slot[p], 0);
        slot[p] = 0;
    }
    if (m->step >= TT_MODEL_RING && site->oldest <= m->step - TT_MODEL_RING) site->oldest = m->step - TT_MODEL_RING + 1;
    uint64_t patience = (uint64_t)(m->spec.timeout_s / dt + 0.5) + 1;
    if (m->step < patience) return;
    const double *old = site->queue[(m->step - patience) % TT_MODEL_RING];
    for (uint32_t p = 0; p < m->spec.n_priorities; p++) {
        r->failed[p] += old[p];
        r->latency_sum += old[p] * m->spec.timeout_s;
        r->latency_n += old[p];
    }
}

static void site_step(tt_model *m, uint32_t service, uint32_t dc, results *r) {
    tt_model_site *site = &m->site[service][dc];
    const tt_model_service *def = &m->spec.services[service];
    tt_model_counters *c = &site->c;
    double x[TT_MODEL_PRIORITIES] = {0}, total = 0;
    memset(r, 0, sizeof *r);
    for (uint32_t p = 0; p < m->spec.n_priorities; p++) c->offered[p] += x[p] = site->in[p];
    admit(m, service, dc, x);
    for (uint32_t p = 0; p < m->spec.n_priorities; p++) total += x[p];
    conditions k = look_around(m, service, dc, m->target[service][dc].now.ejected);
    bool down = tt_model_fault_amount(m, TT_FAULT_DOWN, (int)service, (int)dc, -1, 0) > 0;
    double failing = down ? 1 : black_holes(m, service, dc, &k, total);
    for (uint32_t p = 0; p < m->spec.n_priorities; p++) {
        r->failed[p] += x[p] * failing;
        x[p] *= 1 - failing;
    }
    r->errors += total * failing;
    r->latency_sum += total * failing * fast_s;
    r->latency_n += total * failing;
    if (down)
        for (uint32_t i = 0; i < def->instances; i++) {
            c->instance_n[i] += total / def->instances;
            c->instance_errors[i] += total / def->instances;
        }
    double budget = down ? 0 : k.workers * dt / k.hold_s;
    forget_oldest(m, site, r);
    enqueue(m, service, site, &k, budget, x, r);
    serve(m, site, budget, &k, r);

    for (uint32_t i = 0; i < def->n_calls; i++)
        for (uint32_t p = 0; p < m->spec.n_priorities; p++) {
            /* What is called, is called for dead requests too; their mix is the arrivals'. */
            double mix = total > 0 ? (r->ok[p] + r->refused[p] + r->failed[p]) : 0, all = 0;
            for (uint32_t q = 0; q < m->spec.n_priorities; q++) all += r->ok[q] + r->refused[q] + r->failed[q];
            double share = all > 1e-9 ? mix / all : m->spec.mix[p];
            m->site[def->calls[i].service][dc].in[p] += r->served * share * k.made[i];
        }
    double a = 1 - pow(0.5, dt / x_half_life_s);
    site->completed_rps += a * (r->served / dt - site->completed_rps);
    c->arrived += total;
    c->completed += r->served;
    c->busy_s += fmin(r->served * k.hold_s, k.workers * dt);
    c->worker_s += (double)(def->instances * def->workers) * tt_model_fault_amount(m, TT_FAULT_CAPACITY, (int)service, (int)dc, -1, 1) * dt;
    c->errors += r->errors;
    c->latency_sum += r->latency_sum;
    c->latency_n += r->latency_n;
    for (uint32_t p = 0; p < m->spec.n_priorities; p++) {
        c->ok[p] += r->ok[p];
        c->refused[p] += r->refused[p];
        double done = r->ok[p] + r->refused[p] + r->failed[p];
        if (done <= 1e-9) continue;
        site->view.ok[p] = r->ok[p] / done;
        site->view.refused[p] = r->refused[p] / done;
    }
    if (r->latency_n > 1e-9) site->view.latency_s += 0.5 * (r->latency_sum / r->latency_n - site->view.latency_s);
    site->view.value = k.value;
    memset(site->in, 0, sizeof site->in);
}

/* ---- the whole ---- */

static void arrive(tt_model *m) {
    const tt_model_spec *spec = &m->spec;
    double *again = m->retry[m->step % TT_MODEL_RETRY_STEPS];
    /* Demand breathes by a few per cent from second to second. */
    double breath = 1 + 0.04 * (tt_model_random(m->seed, 1, m->step / 10) - 0.5);
    double demand = spec->demand_rps * tt_model_fault_amount(m, TT_FAULT_DEMAND, -1, -1, -1, 1) * breath;
    for (uint32_t p = 0; p < spec->n_priorities; p++) {
        double fresh = demand * spec->mix[p] * dt;
        m->truth.wanted_rps[p] = fresh / dt;
        m->truth.offered_rps[p] = (fresh + again[p]) / dt;
        for (uint32_t d = 0; d < spec->n_dcs; d++) m->site[0][d].in[p] = (fresh + again[p]) * weight_of(m, 0, d);
        again[p] = 0;
    }
}

static void divide(tt_model *m, uint32_t service) {
    if (service == 0 || !m->target[service][m->spec.n_dcs].now.weights) return;
    for (uint32_t p = 0; p < m->spec.n_priorities; p++) {
        double all = 0;
        for (uint32_t d = 0; d < m->spec.n_dcs; d++) all += m->site[service][d].in[p];
        for (uint32_t d = 0; d < m->spec.n_dcs; d++) m->site[service][d].in[p] = all * weight_of(m, service, d);
    }
}

void tt_model_step(tt_model *m) {
    m->step++;
    find_active(m);
    tt_model_mesh_step(m);
    arrive(m);
    double retry_failed = fmax(m->spec.retry_failed, tt_model_fault_amount(m, TT_FAULT_RETRIES, -1, -1, -1, 0));
    double *again = m->retry[(m->step + TT_MODEL_RETRY_STEPS - 1) % TT_MODEL_RETRY_STEPS];
    tt_model_truth *t = &m->truth;
    for (uint32_t p = 0; p < m->spec.n_priorities; p++) t->good_rps[p] = t->dropped_rps[p] = t->refused_rps[p] = t->failed_rps[p] = 0;
    for (uint32_t s = 0; s < m->spec.n_services; s++) {
        divide(m, s);
        for (uint32_t d = 0; d < m->spec.n_dcs; d++) {
            results r;
            double dropped[TT_MODEL_PRIORITIES];
            memcpy(dropped, m->site[s][d].c.dropped, sizeof dropped);
            site_step(m, s, d, &r);
            if (s) continue;
            for (uint32_t p = 0; p < m->spec.n_priorities; p++) {
                double cut = m->site[s][d].c.dropped[p] - dropped[p];
                t->good_rps[p] += r.ok[p] * m->site[s][d].view.value / dt;
                t->dropped_rps[p] += cut / dt;
                t->refused_rps[p] += r.refused[p] / dt;
                t->failed_rps[p] += r.failed[p] / dt;
                again[p] += retry_failed * r.failed[p] + m->spec.retry_refused * (r.refused[p] + cut);
            }
        }
    }
    tt_model_scrape_step(m);
}
