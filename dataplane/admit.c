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

/* Out of line: most of the time nothing is in force. */
static __attribute__((noinline)) tt_dp_verdict judge(tt_dp *dp, dp_thread *t, uint32_t gates, unsigned priority, const char *key, size_t key_len,
                                                     int64_t now_ns) {
    now_ns = dp_now(now_ns);
    int64_t cost_ns = 0;
    if (gates & DP_GATE_DECISION) {
        const dp_snapshot *s = dp_read_begin(t, dp);
        bool in =
            !s || (!dropped_by_ratio(s, t, priority, key, key_len, now_ns) && (s->n_limits == 0 || dp_limit_take(dp, s, priority, now_ns, &cost_ns)));
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
    return TT_DP_ADMIT;
}

tt_dp_verdict tt_dp_admit(tt_dp *dp, unsigned priority, const char *key, size_t key_len, int64_t now_ns) {
    if (!dp_alive(dp)) return TT_DP_ADMIT;
    if (priority >= dp->n_priorities) priority = dp->n_priorities - 1;
    dp_thread *t = dp_self();
    dp_counters *c = &dp->counters[t->index];
    uint32_t gates = atomic_load_explicit(&dp->gates, memory_order_relaxed);
    tt_dp_verdict v = gates ? judge(dp, t, gates, priority, key, key_len, now_ns) : TT_DP_ADMIT;
    dp_add(t, v == TT_DP_ADMIT ? &c->admitted[priority] : v == TT_DP_DROPPED ? &c->dropped[priority] : &c->refused[priority], 1);
    return v;
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
    if ((atomic_load_explicit(&dp->gates, memory_order_relaxed) & DP_GATE_INNER) && dp_inner_is_due(&dp->inner, now_ns)) dp_inner_sample(dp, now_ns);
}

void tt_dp_abandoned(tt_dp *dp, unsigned priority, bool was_started, int64_t now_ns) {
    (void)priority;
    if (!dp_alive(dp)) return;
    dp_thread *t = dp_self();
    dp_counters *c = &dp->counters[t->index];
    if (was_started) {
        dp_times_add(t, &c->ends, dp_now(now_ns));
        return;
    }
    dp_add(t, &c->left_queue, 1);
    left_the_queue(dp);
}
