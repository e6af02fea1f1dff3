/* The request path: admission, and what follows a request through this hop. */
#include "internal.h"

const uint32_t dp_bucket_ms[DP_BUCKETS - 1] = {5, 10, 25, 50, 75, 100, 150, 200, 250, 300, 400, 500, 750, 1000, 2000, 5000};

static bool dropped_by_ratio(const dp_snapshot *s, dp_thread *t, unsigned priority, const char *key, size_t key_len, int64_t now_ns) {
    double ratio = 0;
    if (s->n_drops[priority] == 0) return false;
    for (uint32_t i = 0; i < s->n_drops[priority]; i++) {
        const dp_drop *d = &s->drops[priority][i];
        double r = d->ratio * (1 - dp_faded(&d->expiry, now_ns));
        if (r > ratio) ratio = r;
    }
    if (ratio <= 0) return false;
    uint64_t h = key && key_len ? dp_hash(key, key_len, s->salt) : dp_draw(t);
    return dp_unit(h) < ratio;
}

static bool isolated(const dp_snapshot *s, dp_thread *t, const char *caller, const char *key, size_t key_len, int64_t now_ns) {
    double ratio = 0;
    for (uint32_t i = 0; i < s->n_isolates; i++) {
        double r = s->isolates[i].ratio * (1 - dp_faded(&s->isolates[i].expiry, now_ns));
        if (r > ratio && strcmp(s->isolates[i].caller, caller) == 0) ratio = r;
    }
    if (ratio <= 0) return false;
    return dp_unit_of(t, key, key_len, s->salt + SALT_ISOLATE) < ratio;
}

/* Requests that came before the limit stood are counted now and then; between, each comes and goes by itself. */
static void count_inflight(tt_dp *dp, int64_t now_ns) {
    int64_t next = atomic_load_explicit(&dp->next_count_ns, memory_order_relaxed);
    if (now_ns < next && next - now_ns <= DP_SKEW_MOST_NS) return;
    if (!atomic_compare_exchange_strong_explicit(&dp->next_count_ns, &next, now_ns + 1000000000, memory_order_relaxed, memory_order_relaxed)) return;
    int64_t off = dp_inflight(dp) - atomic_load_explicit(&dp->inflight, memory_order_relaxed);
    atomic_fetch_add_explicit(&dp->inflight, off, memory_order_relaxed);
}

static bool has_room(tt_dp *dp, const dp_snapshot *s, unsigned priority, int64_t now_ns) {
    if (s->n_concurrency == 0) return true;
    count_inflight(dp, now_ns);
    double inflight = (double)atomic_load_explicit(&dp->inflight, memory_order_relaxed);
    for (uint32_t i = 0; i < s->n_concurrency; i++) {
        const dp_concurrency *c = &s->concurrency[i];
        double faded = dp_faded(&c->expiry, now_ns);
        if (faded >= 1) continue;
        double bound = c->inflight * c->share[priority] / (1 - faded);
        if (inflight >= bound && (inflight >= 1 || c->inflight <= 0)) return false; /* one at a time is the least that lets recovery be seen */
    }
    return true;
}

/* Out of line: most of the time nothing is in force. */
static __attribute__((noinline)) tt_dp_verdict judge(tt_dp *dp, dp_thread *t, uint32_t gates, const char *caller, unsigned priority, const char *key,
                                                     size_t key_len, int64_t now_ns) {
    now_ns = dp_now(now_ns);
    int64_t cost_ns = 0;
    if (gates & DP_GATE_DECISION) {
        const dp_snapshot *s = dp_read_begin(t, dp);
        bool in = !s || (!(caller && s->n_isolates && isolated(s, t, caller, key, key_len, now_ns)) &&
                         !dropped_by_ratio(s, t, priority, key, key_len, now_ns) && has_room(dp, s, priority, now_ns) &&
                         (s->n_limits == 0 || dp_limit_take(dp, s, priority, now_ns, &cost_ns)));
        dp_read_end(t);
        if (!in) return TT_DP_DROPPED;
    }
    if (gates & DP_GATE_INNER) {
        dp_inner *i = &dp->inner;
        if (dp_inner_is_due(i, now_ns)) dp_inner_sample(dp, now_ns);
        /* Threads that look at once may pass together: the bound is a time, a few more don't matter. */
        if (atomic_load_explicit(&i->queued, memory_order_relaxed) >= atomic_load_explicit(&i->bound[priority], memory_order_relaxed)) {
            dp_limit_give_back(dp, cost_ns);
            return TT_DP_REFUSED;
        }
        atomic_fetch_add_explicit(&i->queued, 1, memory_order_relaxed);
    }
    if (gates & DP_GATE_INFLIGHT) atomic_fetch_add_explicit(&dp->inflight, 1, memory_order_relaxed);
    return TT_DP_ADMIT;
}

static inline tt_dp_verdict admit(tt_dp *dp, const char *caller, unsigned priority, const char *key, size_t key_len, int64_t now_ns) {
    if (!dp_alive(dp)) return TT_DP_ADMIT;
    if (priority >= dp->n_priorities) priority = dp->n_priorities - 1;
    dp_thread *t = dp_self();
    dp_counters *c = &dp->counters[t->index];
    uint32_t gates = atomic_load_explicit(&dp->gates, memory_order_relaxed) & DP_GATE_ADMISSION;
    tt_dp_verdict v = gates ? judge(dp, t, gates, caller, priority, key, key_len, now_ns) : TT_DP_ADMIT;
    dp_add(t, v == TT_DP_ADMIT ? &c->admitted[priority] : v == TT_DP_DROPPED ? &c->dropped[priority] : &c->refused[priority], 1);
    return v;
}

tt_dp_verdict tt_dp_admit(tt_dp *dp, unsigned priority, const char *key, size_t key_len, int64_t now_ns) {
    return admit(dp, NULL, priority, key, key_len, now_ns);
}

tt_dp_verdict tt_dp_admit_from(tt_dp *dp, const char *caller, unsigned priority, const char *key, size_t key_len, int64_t now_ns) {
    return admit(dp, caller && caller[0] ? caller : NULL, priority, key, key_len, now_ns);
}

static void left(tt_dp *dp) {
    if (atomic_load_explicit(&dp->gates, memory_order_relaxed) & DP_GATE_INFLIGHT) atomic_fetch_sub_explicit(&dp->inflight, 1, memory_order_relaxed);
}

static void left_the_queue(tt_dp *dp) {
    if (!(atomic_load_explicit(&dp->gates, memory_order_relaxed) & DP_GATE_INNER)) return;
    dp_inner *i = &dp->inner;
    if (atomic_fetch_sub_explicit(&i->queued, 1, memory_order_relaxed) <= 1 && !atomic_load_explicit(&i->ran_empty, memory_order_relaxed))
        atomic_store_explicit(&i->ran_empty, true, memory_order_relaxed);
}

void tt_dp_started(tt_dp *dp, int64_t now_ns) {
    if (!dp_alive(dp)) return;
    dp_thread *t = dp_self();
    dp_times_add(t, &dp->counters[t->index].starts, dp_now(now_ns));
    left_the_queue(dp);
}

void tt_dp_finished(tt_dp *dp, unsigned priority, tt_dp_result result, int64_t latency_ns, int64_t now_ns) {
    if (!dp_alive(dp)) return;
    if (priority >= dp->n_priorities) priority = dp->n_priorities - 1;
    if ((unsigned)result > TT_DP_LATE) result = TT_DP_ERROR;
    if (latency_ns < 0) latency_ns = 0;
    now_ns = dp_now(now_ns);
    dp_thread *t = dp_self();
    dp_counters *c = &dp->counters[t->index];
    unsigned bucket = 0;
    while (bucket < DP_BUCKETS - 1 && latency_ns > (int64_t)dp_bucket_ms[bucket] * 1000000) bucket++;
    dp_add(t, &c->results[result][priority], 1);
    dp_add(t, &c->buckets[bucket], 1);
    dp_add(t, &c->latency_ns, (uint64_t)latency_ns);
    dp_times_add(t, &c->ends, now_ns);
    left(dp);
    if ((atomic_load_explicit(&dp->gates, memory_order_relaxed) & DP_GATE_INNER) && dp_inner_is_due(&dp->inner, now_ns)) dp_inner_sample(dp, now_ns);
}

void tt_dp_abandoned(tt_dp *dp, unsigned priority, bool was_started, int64_t now_ns) {
    (void)priority;
    if (!dp_alive(dp)) return;
    dp_thread *t = dp_self();
    dp_counters *c = &dp->counters[t->index];
    if (was_started) {
        dp_times_add(t, &c->ends, dp_now(now_ns));
        left(dp);
        return;
    }
    dp_add(t, &c->left_queue, 1);
    left(dp);
    left_the_queue(dp);
}
