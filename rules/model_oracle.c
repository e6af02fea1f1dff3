/* One who knows the mesh exactly and acts without delay: what the data centers can serve, and a steering that serves just that, highest priority
 * first. Near an upper bound of what any controller can do; a run that does better by more than a hair is a fault of the model. */
#include "model_internal.h"

#include <math.h>
#include <string.h>

/* A data center's means at a degrade level. */
typedef struct {
    double rps; /* what its scarcest part can serve, requests/s at the entry */
    double ok;  /* of them, answered well */
} means;

static double level_in_force(const tt_model *m, uint32_t service, uint32_t dc) {
    const tt_model_enforced *t = &m->target[service][dc].now;
    return t->level ? t->share * (t->level - t->probe_ratio) : 0;
}

/* Requests/s that pass here when nothing queues: workers hold a request for `hold_s`, own time runs on cpus. */
static double site_rps(const tt_model *m, uint32_t s, uint32_t d, double own_s, double hold_s) {
    const tt_model_service *def = &m->spec.services[s];
    const tt_model_ill *ill = &m->ill[s][d];
    double there = def->instances;
    if (ill->down) return 0;
    for (uint32_t i = 0; ill->uneven && i < def->instances; i++)
        there -= tt_model_amount(m, TT_FAULT_BAD_INSTANCE, (int)s, (int)d, (int)i) > 0 ||
                 tt_model_amount(m, TT_FAULT_CANARY, (int)s, (int)d, (int)i) > 0 || tt_model_amount(m, TT_FAULT_RESTART, (int)s, (int)d, (int)i) > 0;
    if (there <= 0) there = 1;
    double rps = there * def->workers * ill->capacity / hold_s;
    return def->cpus > 0 ? tt_lower(rps, there * def->cpus * ill->capacity / own_s) : rps;
}

/* `level` below 0: as in force. */
static means means_of(const tt_model *m, uint32_t dc, double level) {
    const tt_model_spec *spec = &m->spec;
    double visits[TT_MODEL_SERVICES] = {1}, hold[TT_MODEL_SERVICES] = {0}, ok[TT_MODEL_SERVICES] = {0}, own[TT_MODEL_SERVICES] = {0};
    double made[TT_MODEL_SERVICES][TT_MODEL_CALLS] = {{0}};
    means w = {.rps = 1e9};
    for (uint32_t s = spec->n_services; s-- > 0;) {
        const tt_model_service *def = &spec->services[s];
        const tt_model_ill *ill = &m->ill[s][dc];
        double at = level < 0 ? level_in_force(m, s, dc) : level, calls_s = 0;
        own[s] = def->own_ms / 1000 * ill->slow;
        ok[s] = (1 - ill->errors) * (1 - ill->hang);
        for (uint32_t k = 0; k < def->n_calls; k++) {
            const tt_model_call *c = &def->calls[k];
            double chatty = m->n_active ? tt_model_amount(m, TT_FAULT_CALLS, (int)s, (int)dc, -1) : 1;
            made[s][k] = c->per_request * (m->oracle ? tt_lower(chatty, 1) : chatty); /* which it keeps to what is usual */
            if (c->optional) {
                tt_model_degraded left = tt_model_degrade(c, at);
                made[s][k] *= left.made;
                own[s] *= left.cost;
            } else
                ok[s] *= 1 - tt_lower(made[s][k], 1) * (1 - ok[c->service]);
            calls_s += tt_lower(made[s][k], 1) * hold[c->service];
        }
        hold[s] = (1 - ill->hang) * (own[s] + calls_s) + ill->hang * def->timeout_s;
        if (def->homed) { /* shared by all: the best of its places answers for it */
            ok[s] = 0;
            for (uint32_t d = 0; d < spec->n_dcs; d++)
                if (!m->ill[s][d].down) ok[s] = tt_higher(ok[s], (1 - m->ill[s][d].errors) * (1 - m->ill[s][d].hang));
        } else if (ill->down)
            ok[s] = 0;
    }
    w.ok = ok[0];
    if (hold[0] > 0.9 * spec->services[0].timeout_s && m->ill[0][dc].hang <= 0) w.ok = 0;
    for (uint32_t s = 0; s < spec->n_services; s++) {
        const tt_model_service *def = &spec->services[s];
        for (uint32_t k = 0; k < def->n_calls; k++) {
            const tt_model_call *c = &def->calls[k];
            double cap = site_rps(m, c->service, dc, own[c->service], hold[c->service]);
            if (!c->cached) {
                visits[c->service] += visits[s] * made[s][k];
                continue;
            }
            /* Misses: the whole of what is beyond the load the cache is warm for, and of the rest what is never held. */
            double hits = 1 - c->per_request, warm = m->site[s][dc].warm_rps, y = cap / (1 - hits);
            if (y > warm) y = cap + hits * warm;
            if (visits[s] > 0) w.rps = tt_lower(w.rps, y / visits[s]);
        }
        if (visits[s] <= 1e-9) continue;
        double cap = 0;
        if (def->homed)
            for (uint32_t d = 0; d < spec->n_dcs; d++) {
                double slow = m->ill[s][d].slow * def->own_ms / 1000;
                cap += site_rps(m, s, d, slow, tt_higher(slow, hold[s])) * spec->home[dc];
            }
        else
            cap = site_rps(m, s, dc, own[s], hold[s]);
        w.rps = tt_lower(w.rps, cap / visits[s]);
    }
    if (w.ok <= 0) w.rps = 0;
    return w;
}

double tt_model_capacity(const tt_model *m, uint32_t dc, double level) {
    return means_of(m, dc, level).rps;
}

double tt_model_needless(const tt_model *m, uint32_t dc, double in_rps, double dropped_rps) {
    for (uint32_t s = 0; s < m->spec.n_services; s++) /* a backlog is no room, whatever the capacity */
        if (m->site[s][dc].queued > 0.1 * m->site[s][dc].completed_rps) return 0;
    means w = means_of(m, dc, -1);
    return tt_lower(dropped_rps, tt_higher(0.97 * w.rps - in_rps, 0)) * w.ok;
}

/* What each data center is given of `demand`: its own share first, then what others can't carry; the sick only what no other has room for. */
static double divide(const tt_model *m, const means w[TT_MODEL_DCS], double demand, double x[TT_MODEL_DCS]) {
    double best = 0, room = 0, left = demand;
    for (uint32_t d = 0; d < m->spec.n_dcs; d++)
        if (w[d].rps > 0) best = tt_higher(best, w[d].ok);
    for (uint32_t d = 0; d < m->spec.n_dcs; d++) {
        bool good = w[d].ok >= best - 0.02;
        x[d] = good ? tt_lower(demand * m->spec.home[d], w[d].rps) : 0;
        left -= x[d];
        if (good) room += w[d].rps - x[d];
    }
    double more = tt_lower(tt_higher(left, 0), room);
    for (uint32_t d = 0; d < m->spec.n_dcs && room > 1e-9; d++)
        if (w[d].ok >= best - 0.02) x[d] += more * (w[d].rps - x[d]) / room;
    left -= more;
    for (uint32_t d = 0; d < m->spec.n_dcs && left > 1e-9; d++)
        if (w[d].ok < best - 0.02) {
            double in = tt_lower(left, w[d].rps);
            x[d] += in;
            left -= in;
        }
    double well = 0;
    for (uint32_t d = 0; d < m->spec.n_dcs; d++) well += x[d] * w[d].ok;
    return well;
}

/* What is too old to be answered in time is not worked on. */
static void flush(tt_model *m, tt_model_site *site, double patience_s) {
    uint64_t steps = patience_s > 0 ? (uint64_t)(patience_s * 10) : 0;
    for (; site->queued > 0 && site->oldest + steps < m->step; site->oldest++) {
        double *cohort = site->queue[site->oldest % TT_MODEL_RING];
        for (uint32_t p = 0; p < m->spec.n_priorities; p++) {
            site->queued = tt_higher(site->queued - cohort[p], 0);
            cohort[p] = 0;
        }
    }
}

static double most_level(const tt_model *m, double *ret_value_last) {
    double levels = 0;
    *ret_value_last = 1;
    for (uint32_t s = 0; s < m->spec.n_services; s++)
        for (uint32_t k = 0; k < m->spec.services[s].n_calls; k++) {
            const tt_model_call *c = &m->spec.services[s].calls[k];
            for (uint32_t l = 0; c->optional && l < TT_MODEL_LEVELS; l++)
                if (c->value_at[l] > 0) levels = tt_higher(levels, l + 1), *ret_value_last = c->value_at[l];
        }
    return levels;
}

static double value_of(const tt_model *m, double level) {
    double v = 1;
    for (uint32_t s = 0; s < m->spec.n_services; s++)
        for (uint32_t k = 0; k < m->spec.services[s].n_calls; k++)
            if (m->spec.services[s].calls[k].optional) v *= tt_model_degrade(&m->spec.services[s].calls[k], level).value;
    return v;
}

static double worth(const tt_model *m, double level, double demand, double x[TT_MODEL_DCS], means w[TT_MODEL_DCS]) {
    for (uint32_t d = 0; d < m->spec.n_dcs; d++) w[d] = means_of(m, d, level);
    return divide(m, w, demand, x) * value_of(m, level);
}

void tt_model_oracle_step(tt_model *m) {
    const tt_model_spec *spec = &m->spec;
    double demand = tt_model_offered(m), x[TT_MODEL_DCS], last, most = most_level(m, &last), level = 0;
    means w[TT_MODEL_DCS];
    double best = worth(m, 0, demand, x, w);
    if (most > 0 && best < demand * 0.9999) {
        for (int i = 1; i <= 16; i++) {
            double at = most * i / 16, v = worth(m, at, demand, x, w);
            if (v > best + 1e-9) best = v, level = at;
        }
        worth(m, level, demand, x, w);
    }
    double all = 0;
    for (uint32_t d = 0; d < spec->n_dcs; d++) all += x[d];
    tt_model_enforced *share = &m->target[0][spec->n_dcs].now;
    share->weights = true;
    share->share = 1;
    for (uint32_t d = 0; d < spec->n_dcs; d++) share->weight[d] = all > 0 ? x[d] / all : spec->home[d];
    for (uint32_t s = 0; s < spec->n_services; s++) {
        double sum = 0, rps[TT_MODEL_DCS];
        for (uint32_t d = 0; d < spec->n_dcs; d++) {
            tt_model_enforced *t = &m->target[s][d].now;
            t->share = 1;
            t->level = (uint32_t)ceil(level);
            t->probe_ratio = t->level - level;
            t->ejected = 0;
            for (uint32_t i = 0; m->ill[s][d].uneven && i < spec->services[s].instances; i++)
                if (tt_model_amount(m, TT_FAULT_BAD_INSTANCE, (int)s, (int)d, (int)i) > 0 ||
                    tt_model_amount(m, TT_FAULT_CANARY, (int)s, (int)d, (int)i) > 0)
                    t->ejected |= 1u << i;
            for (uint32_t c = 0; m->n_active && c < s; c++) {
                double chatty = tt_model_amount(m, TT_FAULT_CALLS, (int)c, (int)d, -1);
                t->isolate[c] = chatty > 1 ? 1 - 1 / chatty : 0;
            }
            double own = spec->services[s].own_ms / 1000 * m->ill[s][d].slow;
            flush(m, &m->site[s][d], spec->services[s].timeout_s - own);
            sum += rps[d] = site_rps(m, s, d, own, own) * (1 - m->ill[s][d].errors) * (1 - m->ill[s][d].hang);
            if (s) continue;
            t->limit_rps = tt_higher(x[d], 1e-3);
            t->n_keep = spec->n_priorities;
            for (uint32_t p = 0; p < spec->n_priorities; p++) t->keep[p] = p;
        }
        if (!spec->services[s].homed || sum <= 0) continue;
        tt_model_enforced *t = &m->target[s][spec->n_dcs].now;
        t->weights = true;
        t->share = 1;
        /* Where it is at home as long as that is well enough, by what each can serve when it isn't. */
        double need = demand * 1.5, at_home = 0;
        for (uint32_t d = 0; d < spec->n_dcs; d++) at_home += spec->services[s].home[d] > 0 ? rps[d] : 0;
        for (uint32_t d = 0; d < spec->n_dcs; d++) t->weight[d] = at_home >= tt_lower(need, 0.95 * sum) ? spec->services[s].home[d] : rps[d] / sum;
    }
}

void tt_model_set_oracle(tt_model *m) {
    m->oracle = true;
}
