/* Reading the counters: sums over the threads' stripes, and the Prometheus text. */
#include <stdarg.h>
#include <stdio.h>

#include "internal.h"
#include "private.h"

_Static_assert((int)DP_BUCKETS == (int)TT_DP_PRIVATE_BUCKETS, "the agent counts on it");

/* Every stripe that may hold something: the slots ever taken, then the shared ones. */
#define DP_EACH_STRIPE(dp, c)                                                                                                                        \
    for (uint32_t i_ = 0; i_ < DP_STRIPES; i_ = i_ + 1 == dp_stripes_used() ? DP_SLOTS : i_ + 1)                                                     \
        for (const dp_counters *c = &(dp)->counters[i_]; c; c = NULL)

static uint32_t dp_stripes_used(void) {
    uint32_t used = atomic_load_explicit(&dp_rt.used, memory_order_acquire);
    return used ? used : 1;
}

static uint64_t sum_results(const dp_counters *c) {
    uint64_t n = 0;
    for (unsigned r = 0; r < 3; r++)
        for (unsigned p = 0; p < TT_DP_PRIORITIES_MAX; p++) n += dp_get(&c->results[r][p]);
    return n;
}

uint64_t dp_completed(tt_dp *dp) {
    uint64_t n = 0;
    DP_EACH_STRIPE(dp, c) n += sum_results(c);
    return n;
}

typedef struct {
    uint64_t n, sum_ns;
} times;

/* false when writers never held still for us. */
static bool read_times(const dp_times *from, times *to) {
    for (int tries = 0; tries < 1000; tries++) {
        uint64_t done = atomic_load_explicit(&from->done, memory_order_acquire);
        uint64_t sum = atomic_load_explicit(&from->sum_ns, memory_order_acquire);
        if (atomic_load_explicit(&from->begun, memory_order_acquire) != done) continue;
        to->n += done;
        to->sum_ns += sum;
        return true;
    }
    return false;
}

typedef struct {
    uint64_t admitted, left_queue;
    times starts, ends;
    bool times_are_sound;
} flow;

/* Ends before starts before admissions: what happens meanwhile makes the queue look longer, never negative. */
static flow read_flow(const tt_dp *dp) {
    flow f = {.times_are_sound = true};
    DP_EACH_STRIPE(dp, c) f.times_are_sound &= read_times(&c->ends, &f.ends);
    DP_EACH_STRIPE(dp, c) f.times_are_sound &= read_times(&c->starts, &f.starts);
    DP_EACH_STRIPE(dp, c) f.left_queue += dp_get(&c->left_queue);
    DP_EACH_STRIPE(dp, c) for (unsigned p = 0; p < TT_DP_PRIORITIES_MAX; p++) f.admitted += dp_get(&c->admitted[p]);
    return f;
}

static int64_t queued_of(const flow *f) {
    return (int64_t)(f->admitted - f->starts.n - f->left_queue);
}
static int64_t inflight_of(const flow *f) {
    return (int64_t)(f->admitted - f->ends.n - f->left_queue);
}
static int64_t not_negative(int64_t n) {
    return n < 0 ? 0 : n;
}

/* Worker time: each request's end less its start, and up to now for those still served. Exact whatever thread did what. */
static int64_t busy_of(const flow *f, int64_t now_ns) {
    return (int64_t)(f->ends.sum_ns - f->starts.sum_ns + (f->starts.n - f->ends.n) * (uint64_t)now_ns);
}

int64_t dp_queued(tt_dp *dp) {
    uint64_t admitted = 0, gone = 0;
    DP_EACH_STRIPE(dp, c) gone += atomic_load_explicit(&c->starts.done, memory_order_acquire) + dp_get(&c->left_queue);
    DP_EACH_STRIPE(dp, c) for (unsigned p = 0; p < TT_DP_PRIORITIES_MAX; p++) admitted += dp_get(&c->admitted[p]);
    return not_negative((int64_t)(admitted - gone) - dp->queued_base);
}

int64_t dp_inflight(tt_dp *dp) {
    uint64_t admitted = 0, gone = 0;
    DP_EACH_STRIPE(dp, c) gone += atomic_load_explicit(&c->ends.done, memory_order_acquire) + dp_get(&c->left_queue);
    DP_EACH_STRIPE(dp, c) for (unsigned p = 0; p < TT_DP_PRIORITIES_MAX; p++) admitted += dp_get(&c->admitted[p]);
    return not_negative((int64_t)(admitted - gone) - dp->inflight_base);
}

/* In the child of a fork, alone. What was in flight belongs to the parent. Counters go on from where they were. */
void dp_forked(tt_dp *dp) {
    flow f = read_flow(dp);
    int64_t busy = f.times_are_sound ? busy_of(&f, dp_clock_ns(CLOCK_MONOTONIC)) : 0;
    dp->busy_base_ns += (uint64_t)not_negative(busy);
    for (uint32_t i = 0; i < DP_STRIPES; i++) {
        dp_times *both[] = {&dp->counters[i].starts, &dp->counters[i].ends};
        for (int k = 0; k < 2; k++) { /* a thread may have been caught between begun and done */
            atomic_store(&both[k]->begun, 0);
            atomic_store(&both[k]->sum_ns, 0);
            atomic_store(&both[k]->done, 0);
        }
    }
    f = read_flow(dp);
    dp->queued_base = queued_of(&f);
    dp->inflight_base = inflight_of(&f);
    atomic_store(&dp->inner.queued, 0);
    atomic_store(&dp->inflight, 0);
    atomic_store(&dp->inner.sampling, false);
    dp->inner.last_completed = dp_completed(dp);
}

static void read_all(tt_dp *dp, tt_dp_stats *s) {
    flow f = read_flow(dp);
    s->busy_ns = (int64_t)dp->busy_base_ns + (f.times_are_sound ? not_negative(busy_of(&f, dp_clock_ns(CLOCK_MONOTONIC))) : 0);
    s->queued = (uint32_t)not_negative(queued_of(&f) - dp->queued_base);
    s->inflight = (uint32_t)not_negative(inflight_of(&f) - dp->inflight_base);
    s->workers = dp->workers;
    DP_EACH_STRIPE(dp, c) {
        for (unsigned p = 0; p < TT_DP_PRIORITIES_MAX; p++) {
            s->ok[p] += dp_get(&c->results[TT_DP_OK][p]);
            s->error[p] += dp_get(&c->results[TT_DP_ERROR][p]);
            s->late[p] += dp_get(&c->results[TT_DP_LATE][p]);
            s->admitted[p] += dp_get(&c->admitted[p]);
            s->dropped[p] += dp_get(&c->dropped[p]);
            s->refused[p] += dp_get(&c->refused[p]);
        }
    }
    for (unsigned p = 0; p < TT_DP_PRIORITIES_MAX; p++) {
        s->completed += s->ok[p] + s->error[p] + s->late[p];
        s->offered[p] = s->admitted[p] + s->dropped[p] + s->refused[p];
    }
    dp_thread *t = dp_self();
    const dp_snapshot *in_force = dp_read_begin(t, dp);
    if (in_force) {
        s->epoch = in_force->epoch;
        s->version = in_force->version;
    }
    dp_read_end(t);
}

void tt_dp_read_stats(tt_dp *dp, tt_dp_stats *ret) {
    if (!ret || ret->size < sizeof ret->size) return;
    tt_dp_stats s = {.size = ret->size};
    if (dp_alive(dp)) read_all(dp, &s);
    size_t known = ret->size < sizeof s ? ret->size : sizeof s;
    memset(ret, 0, ret->size);
    memcpy(ret, &s, known);
}

void tt_dp_private_identify(const tt_dp *dp, tt_dp_private_identity *ret) {
    *ret = (tt_dp_private_identity){.service = dp->service, .dc = dp->dc, .instance = dp->instance, .n_priorities = dp->n_priorities};
    for (unsigned p = 0; p < dp->n_priorities; p++) ret->priorities[p] = dp->priorities[p];
    memcpy(ret->bucket_ms, dp_bucket_ms, sizeof ret->bucket_ms);
}

void tt_dp_private_latency(const tt_dp *dp, uint64_t buckets[DP_BUCKETS], uint64_t *sum_ns) {
    memset(buckets, 0, DP_BUCKETS * sizeof *buckets);
    *sum_ns = 0;
    DP_EACH_STRIPE(dp, c) {
        for (unsigned i = 0; i < DP_BUCKETS; i++) buckets[i] += dp_get(&c->buckets[i]);
        *sum_ns += dp_get(&c->latency_ns);
    }
}

/* --- Prometheus text. Whole numbers only: the host's locale has no say. --- */

typedef struct {
    char *buf;
    size_t size, n; /* n counts on past the end */
} text;

static __attribute__((format(printf, 2, 3))) void put(text *t, const char *format, ...) {
    va_list args;
    va_start(args, format);
    size_t left = t->n < t->size ? t->size - t->n : 0;
    int n = vsnprintf(left ? t->buf + t->n : NULL, left, format, args);
    va_end(args);
    if (n > 0) t->n += (size_t)n;
}

static void put_label(text *t, const char *name, const char *value) {
    put(t, "%s=\"", name);
    for (const char *p = value; *p; p++) {
        if (*p == '\n')
            put(t, "\\n");
        else
            put(t, *p == '"' || *p == '\\' ? "\\%c" : "%c", *p);
    }
    put(t, "\"");
}

static void put_head(text *t, const char *name, const char *type, const char *help) {
    put(t, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_whole(text *t, const char *name, const char *type, const char *help, uint64_t v) {
    put_head(t, name, type, help);
    put(t, "%s %llu\n", name, (unsigned long long)v);
}

static void put_seconds(text *t, uint64_t ns) {
    put(t, " %llu.%09llu\n", (unsigned long long)(ns / 1000000000), (unsigned long long)(ns % 1000000000));
}

static void put_by_priority(text *t, const tt_dp *dp, const char *name, const char *help, const uint64_t counts[TT_DP_PRIORITIES_MAX]) {
    put_head(t, name, "counter", help);
    for (unsigned p = 0; p < dp->n_priorities; p++) {
        put(t, "%s{", name);
        put_label(t, "priority", dp->priorities[p]);
        put(t, "} %llu\n", (unsigned long long)counts[p]);
    }
}

static void put_latency(text *t, const tt_dp *dp) {
    uint64_t buckets[DP_BUCKETS], sum_ns, up_to = 0;
    tt_dp_private_latency(dp, buckets, &sum_ns);
    put_head(t, "trimtab_latency_seconds", "histogram", "From arrival to answer, of admitted requests");
    for (unsigned i = 0; i < DP_BUCKETS; i++) {
        up_to += buckets[i];
        if (i < DP_BUCKETS - 1) {
            char le[16];
            snprintf(le, sizeof le, "%u.%03u", dp_bucket_ms[i] / 1000, dp_bucket_ms[i] % 1000);
            size_t n = strlen(le); /* 0.250 is 0.25 and 1.000 is 1 to everybody who writes queries */
            while (le[n - 1] == '0') n--;
            if (le[n - 1] == '.') n--;
            le[n] = 0;
            put(t, "trimtab_latency_seconds_bucket{le=\"%s\"} %llu\n", le, (unsigned long long)up_to);
        } else
            put(t, "trimtab_latency_seconds_bucket{le=\"+Inf\"} %llu\n", (unsigned long long)up_to);
    }
    put(t, "trimtab_latency_seconds_sum");
    put_seconds(t, sum_ns);
    put(t, "trimtab_latency_seconds_count %llu\n", (unsigned long long)up_to);
}

static void put_callee_labels(text *t, const dp_callee *c) {
    put_label(t, "to_service", c->service);
    put(t, ",");
    put_label(t, "to_dc", c->dc);
    put(t, ",");
    put_label(t, "to_instance", c->instance);
}

static void put_calls_of(text *t, const tt_dp *dp, const dp_callee *c, bool time) {
    static const char *const outcomes[DP_CALL_RESULTS] = {"ok", "error", "timeout", "unreachable", "dropped", "refused"};
    if (time) {
        put(t, "trimtab_call_seconds_total{");
        put_callee_labels(t, c);
        put(t, "}");
        put_seconds(t, dp_get(&c->spent_ns));
        return;
    }
    for (unsigned r = 0; r < DP_CALL_RESULTS; r++)
        for (unsigned p = 0; p < dp->n_priorities; p++) {
            uint64_t n = dp_get(&c->count[r][p]);
            if (n == 0) continue; /* most of the 6 x priorities never happen */
            put(t, "trimtab_calls_total{");
            put_callee_labels(t, c);
            put(t, ",");
            put_label(t, "priority", dp->priorities[p]);
            put(t, ",outcome=\"%s\"} %llu\n", outcomes[r], (unsigned long long)n);
        }
}

static bool any_calls(const dp_callee *c) {
    uint64_t n = 0;
    for (unsigned r = 0; r < DP_CALL_RESULTS; r++)
        for (unsigned p = 0; p < TT_DP_PRIORITIES_MAX; p++) n += dp_get(&c->count[r][p]);
    return n > 0;
}

static void put_calls(text *t, const tt_dp *dp) {
    for (int time = 0; time < 2; time++) {
        if (time)
            put_head(t, "trimtab_call_seconds_total", "counter", "Time spent in calls that were answered or timed out");
        else
            put_head(t, "trimtab_calls_total", "counter", "Calls made downstream, as the caller saw them");
        for (uint32_t i = 0; i < DP_CALLEE_INDEX; i++) {
            uint32_t place = atomic_load_explicit(&dp->calls->index[i], memory_order_acquire);
            if (place) put_calls_of(t, dp, &dp->calls->callees[place - 1], time);
        }
        if (any_calls(&dp->calls->other)) put_calls_of(t, dp, &dp->calls->other, time);
    }
}

size_t tt_dp_metrics(tt_dp *dp, char *buf, size_t size) {
    text t = {buf, buf ? size : 0, 0};
    if (buf && size) buf[0] = 0;
    if (!dp_alive(dp)) return 0;
    tt_dp_stats s = {.size = sizeof s};
    read_all(dp, &s);
    put_by_priority(&t, dp, "trimtab_offered_total", "Requests that arrived", s.offered);
    put_by_priority(&t, dp, "trimtab_admitted_total", "Requests let in", s.admitted);
    put_by_priority(&t, dp, "trimtab_ok_total", "Requests answered well within the client's time-out", s.ok);
    put_by_priority(&t, dp, "trimtab_error_total", "Requests that failed here", s.error);
    put_by_priority(&t, dp, "trimtab_late_total", "Requests answered well, but too late", s.late);
    put_by_priority(&t, dp, "trimtab_dropped_total", "Requests turned away by decision", s.dropped);
    put_by_priority(&t, dp, "trimtab_refused_total", "Requests turned away by the inner loop: this hop is full", s.refused);
    put_whole(&t, "trimtab_completed_total", "counter", "Requests finished here, whatever their result", s.completed);
    put_head(&t, "trimtab_busy_seconds_total", "counter", "Worker time spent");
    put(&t, "trimtab_busy_seconds_total");
    put_seconds(&t, (uint64_t)s.busy_ns);
    put_whole(&t, "trimtab_workers", "gauge", "Requests this instance serves at once", s.workers);
    put_whole(&t, "trimtab_queued", "gauge", "Requests admitted and not yet started", s.queued);
    put_whole(&t, "trimtab_inflight", "gauge", "Requests admitted and not yet answered", s.inflight);
    put_latency(&t, dp);
    put_calls(&t, dp);
    put_whole(&t, "trimtab_decision_version", "gauge", "Highest version of the decisions in force", s.version);
    put_whole(&t, "trimtab_decision_epoch", "gauge", "Epoch of the decisions in force", s.epoch);
    return t.n;
}
