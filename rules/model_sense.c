/* The model's mesh side, which enforces decisions late and sometimes only in part, and its monitoring, which tells late, noisily and with holes. */
#include "model_internal.h"

#include <math.h>
#include <string.h>

/* ---- mesh side ---- */

const tt_model_enforced *tt_model_in_force(const tt_model *m, uint32_t service, int dc) {
    return &m->target[service][dc < 0 ? m->spec.n_dcs : (uint32_t)dc].now;
}

static int find_name(const char *const names[], uint32_t n, const char *name) {
    for (uint32_t i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0) return (int)i;
    return -1;
}

static int find_service(const tt_model *m, const char *name) {
    for (uint32_t i = 0; i < m->spec.n_services; i++)
        if (strcmp(m->spec.services[i].name, name) == 0) return (int)i;
    return -1;
}

static tt_model_enforced digest(const tt_model *m, uint32_t service, uint32_t dc, const tt_decision *d) {
    tt_model_enforced e = {.epoch = d->epoch, .version = d->version, .share = 1, .retry_budget = -1};
    for (uint32_t i = 0; i < d->n_actions; i++) {
        const tt_act *a = &d->actions[i];
        int k;
        switch (a->kind) {
        case TT_ACT_LIMIT:
        case TT_ACT_CONCURRENCY:
            *(a->kind == TT_ACT_LIMIT ? &e.limit_rps : &e.limit_inflight) = a->value;
            for (uint32_t n = 0; n < d->n_names; n++)
                if ((k = find_name(m->spec.priorities, m->spec.n_priorities, d->names[n])) >= 0 && e.n_keep < TT_MODEL_PRIORITIES)
                    e.keep[e.n_keep++] = (uint32_t)k;
            break;
        case TT_ACT_DROP:
            if ((k = find_name(m->spec.priorities, m->spec.n_priorities, a->name)) >= 0) e.drop[k] = a->value;
            break;
        case TT_ACT_DEGRADE:
            e.level = (uint32_t)a->value;
            e.probe_ratio = a->probe_ratio;
            break;
        case TT_ACT_WEIGHTS:
            e.weights = true;
            for (uint32_t n = 0; n < d->n_names; n++)
                if ((k = find_name(m->spec.dcs, m->spec.n_dcs, d->names[n])) >= 0) e.weight[k] = d->shares[n];
            break;
        case TT_ACT_EJECT:
            for (uint32_t n = 0; dc < m->spec.n_dcs && n < m->spec.services[service].instances; n++)
                if (strcmp(m->instance[service][dc][n], a->name) == 0) e.ejected |= 1u << n;
            break;
        case TT_ACT_RETRY:
            e.retry_budget = a->value;
            break;
        case TT_ACT_TIMEOUT:
            e.timeout_s = a->value / 1000;
            break;
        case TT_ACT_ISOLATE:
            if ((k = find_service(m, a->name)) >= 0) e.isolate[k] = a->value;
            break;
        case TT_ACT_HEDGE: /* nobody sends backup requests here, and there is one version */
        case TT_ACT_VERSION:
            break;
        }
    }
    return e;
}

enum { STREAM_LATE = 90, STREAM_GAP_CALLERS = 100, STREAM_GAP_ITSELF, STREAM_NOISE, STREAM_NAN, STREAM_SHARED };

static void queue_up(tt_model *m, tt_model_target *t, const tt_model_enforced *e) {
    if (tt_model_fault_since(m, TT_FAULT_REFUSED) >= 0) {
        t->refused_epoch = e->epoch;
        t->refused_version = e->version;
        return;
    }
    double late_s = tt_model_amount(m, TT_FAULT_LATE, -1, -1, -1);
    int64_t due = tt_model_elapsed(m) + m->spec.apply_ns;
    if (late_s > 0) due += (int64_t)(late_s * 1e9 * tt_model_random(m->seed, STREAM_LATE, e->version));
    if (t->n_pending == TT_MODEL_PENDING) { /* a burst: the last one counts */
        t->pending[TT_MODEL_PENDING - 1] = *e;
        return;
    }
    t->pending[t->n_pending] = *e;
    t->due_ns[t->n_pending++] = due;
}

bool tt_model_take(tt_model *m, uint64_t epoch, const tt_decision *d, size_t n) {
    if (epoch < m->epoch) return false;
    bool newer = epoch > m->epoch && m->epoch > 0;
    m->epoch = epoch;
    bool told[TT_MODEL_SERVICES][TT_MODEL_DCS + 1] = {{false}};
    for (size_t i = 0; i < n; i++) {
        int s = find_service(m, d[i].target.service),
            dc = d[i].target.dc[0] ? find_name(m->spec.dcs, m->spec.n_dcs, d[i].target.dc) : (int)m->spec.n_dcs;
        if (s < 0 || dc < 0) continue;
        tt_model_enforced e = digest(m, (uint32_t)s, (uint32_t)dc, &d[i]);
        queue_up(m, &m->target[s][dc], &e);
        told[s][dc] = true;
    }
    /* A new writer's set is whole: what it does not hold is not in force. */
    for (uint32_t s = 0; newer && s < m->spec.n_services; s++)
        for (uint32_t dc = 0; dc <= m->spec.n_dcs; dc++)
            if (!told[s][dc]) queue_up(m, &m->target[s][dc], &(tt_model_enforced){.epoch = epoch, .share = 1, .retry_budget = -1});
    return true;
}

void tt_model_mesh_step(tt_model *m) {
    int64_t t = tt_model_elapsed(m);
    for (uint32_t s = 0; s < m->spec.n_services; s++)
        for (uint32_t d = 0; d <= m->spec.n_dcs; d++) {
            tt_model_target *g = &m->target[s][d];
            uint32_t left = 0;
            for (uint32_t i = 0; i < g->n_pending; i++) {
                const tt_model_enforced *e = &g->pending[i];
                if (g->due_ns[i] > t) {
                    g->pending[left] = *e;
                    g->due_ns[left++] = g->due_ns[i];
                } else if (e->epoch > g->now.epoch || (e->epoch == g->now.epoch && e->version > g->now.version) || e->version == 0)
                    g->now = *e; /* what comes after a newer one is not applied */
            }
            g->n_pending = left;
            /* Those that did not take it keep what they had before: nothing, for simplicity. They catch up when the fault is over. Weights are the callers':
             * a fault of one data center is not theirs. */
            g->now.share = m->n_active ? tt_model_amount(m, TT_FAULT_TAKEN, (int)s, (int)d, -1) : 1;
        }
}

static size_t acknowledge(tt_model *m) {
    size_t n = 0;
    if (tt_model_fault_since(m, TT_FAULT_SILENT) >= 0) return 0;
    for (uint32_t s = 0; s < m->spec.n_services; s++)
        for (uint32_t d = 0; d <= m->spec.n_dcs; d++) {
            const tt_model_target *t = &m->target[s][d];
            const tt_model_enforced *e = &t->now;
            bool refused = t->refused_version > e->version && t->refused_epoch >= e->epoch;
            if (e->version == 0 && !refused) continue;
            tt_ack *a = &m->acks[n++];
            memset(a, 0, sizeof *a);
            strncpy(a->target.service, m->spec.services[s].name, TT_NAME_MAX - 1);
            if (d < m->spec.n_dcs) strncpy(a->target.dc, m->spec.dcs[d], TT_NAME_MAX - 1);
            a->epoch = refused ? t->refused_epoch : e->epoch;
            a->version = refused ? t->refused_version : e->version;
            a->share = refused ? 0 : e->share;
            a->refused = refused;
            if (refused) a->reason = TT_SV("the mesh takes no writes");
        }
    return n;
}

/* ---- monitoring ---- */

static double gap_ratio(const tt_model *m, uint32_t s, uint32_t d) {
    return tt_higher(m->spec.gap_ratio, tt_model_amount(m, TT_FAULT_GAPS, (int)s, (int)d, -1));
}

void tt_model_scrape_step(tt_model *m) {
    int64_t t = tt_model_elapsed(m);
    if (t < m->next_scrape_ns) return;
    m->next_scrape_ns = t + m->spec.scrape_ns;
    for (uint32_t s = 0; s < m->spec.n_services; s++)
        for (uint32_t d = 0; d < m->spec.n_dcs; d++) {
            tt_model_site *site = &m->site[s][d];
            uint64_t index = (m->step * TT_MODEL_SERVICES + s) * TT_MODEL_DCS + d;
            double gap = gap_ratio(m, s, d);
            tt_model_scrape *x = &site->scrapes[site->n_scrapes++ % TT_MODEL_SCRAPES];
            x->at_ns = t;
            x->by_callers = tt_model_random(m->seed, STREAM_GAP_CALLERS, index) >= gap;
            x->by_itself = tt_model_random(m->seed, STREAM_GAP_ITSELF, index) >= gap && !m->ill[s][d].down;
            x->c = site->c;
        }
}

/* What came of the scrapes in (t - window, t]: growth of the counters, over how long, and the newest one's time. */
typedef struct {
    bool known;
    const tt_model_counters *a, *b;
    double span_s;
    int64_t at_ns;
} growth;

static growth grown(const tt_model_site *site, bool by_itself, int64_t t, int64_t window_ns) {
    growth g = {0};
    int64_t first = 0;
    for (uint64_t i = site->n_scrapes; i > 0 && site->n_scrapes - i < TT_MODEL_SCRAPES; i--) {
        const tt_model_scrape *x = &site->scrapes[(i - 1) % TT_MODEL_SCRAPES];
        if (x->at_ns > t || !(by_itself ? x->by_itself : x->by_callers)) continue;
        if (x->at_ns <= t - window_ns - TT_MODEL_STEP_NS) break;
        if (!g.b) {
            g.b = &x->c;
            g.at_ns = x->at_ns;
        }
        g.a = &x->c;
        first = x->at_ns;
    }
    g.known = g.a && g.a != g.b;
    g.span_s = (double)(g.at_ns - first) / 1e9;
    return g;
}

#define SIGNALS(X)                                                                                                                                   \
    X(OFFERED, "offered_rps")                                                                                                                        \
    X(ADMITTED, "admitted_rps")                                                                                                                      \
    X(OK, "ok_rps")                                                                                                                                  \
    X(REFUSED, "refused_rps")                                                                                                                        \
    X(DROPPED, "dropped_rps")                                                                                                                        \
    X(ARRIVED, "arrived_rps")                                                                                                                        \
    X(COMPLETED, "completed_rps")                                                                                                                    \
    X(UTILIZATION, "utilization")                                                                                                                    \
    X(LATENCY, "latency_mean_ms")                                                                                                                    \
    X(LATENCY_P50, "latency_p50_ms")                                                                                                                 \
    X(LATENCY_P99, "latency_p99_ms")                                                                                                                 \
    X(INFLIGHT, "inflight")                                                                                                                          \
    X(ERROR_RATIO, "error_ratio")                                                                                                                    \
    X(CALL_ERROR_RATIO, "call_error_ratio")                                                                                                          \
    X(RETRIES, "retries_rps")                                                                                                                        \
    X(CALLER, "caller_rps")                                                                                                                          \
    X(ENTRY, "entry_rps")                                                                                                                            \
    X(INSTANCE_ERROR_RATIO, "instance_error_ratio")                                                                                                  \
    X(INSTANCE_RPS, "instance_rps")
#define AS_ID(id, name) SIG_##id,
typedef enum { SIGNALS(AS_ID) SIG_COUNT } signal_id;

static int signal_by_name(tt_sv name) {
#define AS_NAME(id, text) text,
    static const char *const names[] = {SIGNALS(AS_NAME)};
    for (int i = 0; i < SIG_COUNT; i++)
        if (tt_sv_eq(name, tt_sv_of(names[i]))) return i;
    return -1;
}

/* Within the bucket that holds it, by its place there. */
static double quantile_ms(const tt_model_counters *a, const tt_model_counters *b, double q) {
    double all = 0, below = 0, low = 0, bound = 0.002;
    for (uint32_t i = 0; i < TT_MODEL_BUCKETS; i++) all += b->latency[i] - a->latency[i];
    if (all <= 1e-6) return (double)NAN;
    for (uint32_t i = 0;; i++, low = bound, bound *= 1.6) {
        double n = b->latency[i] - a->latency[i];
        if (below + n >= q * all || i + 1 == TT_MODEL_BUCKETS) return 1000 * (low + (bound - low) * (n > 0 ? tt_lower((q * all - below) / n, 1) : 0));
        below += n;
    }
}

static double sum(const tt_model *m, const double v[TT_MODEL_PRIORITIES]) {
    double x = 0;
    for (uint32_t p = 0; p < m->spec.n_priorities; p++) x += v[p];
    return x;
}

/* false: nothing to divide by, so the query returns no such series. */
static bool figure(const tt_model *m, signal_id id, const growth *g, uint32_t priority, uint32_t instance, double instances, double *ret) {
    const tt_model_counters *a = g->a, *b = g->b;
    double calls = sum(m, b->offered) - sum(m, a->offered), dropped = sum(m, b->dropped) - sum(m, a->dropped), ok = sum(m, b->ok) - sum(m, a->ok);
    double n = 0, per = g->span_s;
    switch (id) {
    case SIG_OFFERED:
        n = b->offered[priority] - a->offered[priority];
        break;
    case SIG_ADMITTED:
        n = (b->offered[priority] - b->dropped[priority] - b->refused[priority]) -
            (a->offered[priority] - a->dropped[priority] - a->refused[priority]);
        break;
    case SIG_OK:
        n = b->ok[priority] - a->ok[priority];
        break;
    case SIG_REFUSED:
        n = b->refused[priority] - a->refused[priority];
        break;
    case SIG_DROPPED:
        n = b->dropped[priority] - a->dropped[priority];
        break;
    case SIG_ARRIVED:
        n = b->arrived - a->arrived;
        break;
    case SIG_COMPLETED:
        n = b->completed - a->completed;
        break;
    case SIG_UTILIZATION:
        n = b->busy_s - a->busy_s, per = b->worker_s - a->worker_s;
        break;
    case SIG_LATENCY:
        n = 1000 * (b->latency_sum - a->latency_sum), per = b->latency_n - a->latency_n;
        break;
    case SIG_LATENCY_P50:
    case SIG_LATENCY_P99:
        n = quantile_ms(a, b, id == SIG_LATENCY_P50 ? 0.5 : 0.99), per = isnan(n) ? 0 : 1;
        break;
    case SIG_INFLIGHT:
        n = b->inflight, per = 1;
        break;
    case SIG_ERROR_RATIO:
        n = calls - dropped - ok + b->nonsense - a->nonsense, per = calls - dropped;
        break;
    case SIG_CALL_ERROR_RATIO:
        n = b->errors - a->errors, per = calls - dropped;
        break;
    case SIG_RETRIES:
        n = b->retries - a->retries;
        break;
    case SIG_CALLER:
        n = b->from[instance] - a->from[instance];
        break;
    case SIG_ENTRY:
        n = calls;
        break;
    case SIG_INSTANCE_ERROR_RATIO:
        n = b->instance_errors[instance] - a->instance_errors[instance] + (b->calls_errors - a->calls_errors) / instances;
        per = b->instance_n[instance] - a->instance_n[instance] + (b->calls_n - a->calls_n) / instances;
        break;
    case SIG_INSTANCE_RPS:
        n = b->instance_n[instance] - a->instance_n[instance] + (b->calls_n - a->calls_n) / instances;
        break;
    case SIG_COUNT:
        break;
    }
    if (!(per > 1e-6)) return false;
    *ret = tt_higher(n, 0) / per;
    return true;
}

static double gauss(uint64_t seed, uint64_t stream, uint64_t index) {
    double x = -2;
    for (uint64_t i = 0; i < 4; i++) x += tt_model_random(seed, stream + 1000 * i, index);
    return x * 1.73;
}

static void tell(tt_model *m, tt_observations *o, uint32_t signal, signal_id id, uint32_t s, uint32_t d, int priority, int instance, const growth *g,
                 int64_t window_ns) {
    if (o->n_measurements == TT_MODEL_MEASUREMENTS) return;
    double v;
    if (!figure(m, id, g, priority < 0 ? 0 : (uint32_t)priority, instance < 0 ? 0 : (uint32_t)instance, m->spec.services[s].instances, &v)) return;
    uint64_t what = (((uint64_t)id * TT_MODEL_SERVICES + s) * TT_MODEL_DCS + d) * 16 + (uint64_t)(priority >= 0 ? priority : instance + 1);
    uint64_t index = m->step * 8192 + what;
    int si = (int)s, di = (int)d;
    bool lost = tt_model_random(m->seed, STREAM_NAN, index) < tt_higher(m->spec.nan_ratio, tt_model_amount(m, TT_FAULT_NANS, si, di, -1));
    if (lost && index % 2) return;
    /* Common to all of a round, and each one's own. */
    v *= tt_higher(0, 1 + m->spec.noise * (gauss(m->seed, STREAM_SHARED, m->step) + 0.2 * gauss(m->seed, STREAM_NOISE, index)));
    for (uint32_t i = 0; i < m->n_active; i++) {
        const tt_model_fault *f = &m->active[i];
        if ((f->service >= 0 && f->service != si) || (f->dc >= 0 && f->dc != di)) continue;
        if (f->kind == TT_FAULT_LIE && (f->instance < 0 ? id == SIG_ERROR_RATIO : id == SIG_INSTANCE_ERROR_RATIO && f->instance == instance))
            v = tt_higher(v, f->amount);
        if (f->kind == TT_FAULT_MISREAD && id == SIG_UTILIZATION) v *= f->amount;
    }
    if (lost) v = (double)NAN;
    tt_measurement *x = &((tt_measurement *)o->measurements)[o->n_measurements++];
    *x = (tt_measurement){.signal = signal, .n_labels = 2, .value = v, .at = {m->start.ns + g->at_ns}, .quality = TT_Q_OK, .window_ns = window_ns};
    x->labels[0] = (tt_label){TT_SV("service"), tt_sv_of(m->spec.services[s].name)};
    x->labels[1] = (tt_label){TT_SV("dc"), tt_sv_of(m->spec.dcs[d])};
    if (priority >= 0) x->labels[x->n_labels++] = (tt_label){TT_SV("priority"), tt_sv_of(m->spec.priorities[priority])};
    if (instance >= 0)
        x->labels[x->n_labels++] = id == SIG_CALLER ? (tt_label){TT_SV("caller"), tt_sv_of(m->spec.services[instance].name)}
                                                    : (tt_label){TT_SV("instance"), tt_sv_of(m->instance[s][d][instance])};
}

static bool calls(const tt_model *m, uint32_t caller, uint32_t service) {
    for (uint32_t k = 0; k < m->spec.services[caller].n_calls; k++)
        if (m->spec.services[caller].calls[k].service == service) return true;
    return false;
}

static void answer(tt_model *m, tt_observations *o, uint32_t signal, const tt_signal_def *def) {
    int id = signal_by_name(def->name);
    if (id < 0) return;
    int64_t t = tt_model_elapsed(m) - m->spec.ingest_ns, stuck = tt_model_fault_since(m, TT_FAULT_STALE), told = m->spec.window_ns;
    if (stuck >= 0 && stuck < t) t = stuck;
    bool by_itself = id == SIG_ARRIVED || id == SIG_COMPLETED || id == SIG_UTILIZATION || id == SIG_INFLIGHT, by_priority = id <= SIG_DROPPED;
    bool by_instance = id == SIG_INSTANCE_ERROR_RATIO || id == SIG_INSTANCE_RPS, entry_only = id == SIG_ENTRY || (id == SIG_ERROR_RATIO && !told);
    for (uint32_t s = 0; s < (entry_only ? 1 : m->spec.n_services); s++)
        for (uint32_t d = 0; d < m->spec.n_dcs; d++) {
            growth g = grown(&m->site[s][d], by_itself, t, told ? told : def->window_ns);
            if (!g.known) continue;
            for (uint32_t p = 0; by_priority && p < m->spec.n_priorities; p++) tell(m, o, signal, (signal_id)id, s, d, (int)p, -1, &g, told);
            for (uint32_t i = 0; by_instance && i < m->spec.services[s].instances; i++) tell(m, o, signal, (signal_id)id, s, d, -1, (int)i, &g, told);
            for (uint32_t c = 0; id == SIG_CALLER && c < s; c++)
                if (calls(m, c, s)) tell(m, o, signal, (signal_id)id, s, d, -1, (int)c, &g, told);
            if (!by_priority && !by_instance && id != SIG_CALLER) tell(m, o, signal, (signal_id)id, s, d, -1, -1, &g, told);
        }
}

void tt_model_observe(tt_model *m, const tt_rules *r, tt_observations *ret) {
    int64_t t = tt_model_elapsed(m);
    bool blind = tt_model_fault_since(m, TT_FAULT_BLIND) >= 0;
    *ret = (tt_observations){.now = tt_model_now(m), .polls = m->polls, .measurements = m->measurements, .acks = m->acks};
    for (uint32_t i = 0; i < r->n_signals; i++) {
        if (t < m->next_poll_ns[i]) continue;
        m->next_poll_ns[i] = t + (m->spec.window_ns ? m->spec.scrape_ns : r->signals[i].every_ns);
        m->polls[ret->n_polls++] = (tt_poll){.signal = i, .answered = !blind};
        if (!blind) answer(m, ret, i, &r->signals[i]);
    }
    ret->n_acks = acknowledge(m);
}
