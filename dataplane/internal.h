/* What the files of the data plane share. Nothing here is API. */
#ifndef TT_DP_INTERNAL_H
#define TT_DP_INTERNAL_H

#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <time.h>
#include <trimtab/dataplane.h>

#include "hash.h"

#define DP_LINE 64
enum {
    DP_SLOTS = 128, /* threads with counters of their own; later ones share */
    DP_SHARED = 8,
    DP_STRIPES = DP_SLOTS + DP_SHARED,
    DP_BUCKETS = 17,  /* of latency, the last one +Inf */
    DP_CALLEES = 256, /* plus the "other"s below */
    DP_CALLEES_OTHER = 32,
    DP_CALL_RESULTS = 6,
    DP_CALLEE_INDEX = 1024, /* power of two, well above the callees */
    DP_BUDGETS = 64,        /* power of two; services whose hashes meet share one */
    DP_BUDGET_SECONDS = 10
};

/* --- threads (thread.c) --- */

/* A thread's place: where it marks that it reads a snapshot, and which counters are its own. */
typedef struct {
    alignas(DP_LINE) _Atomic uint64_t reading; /* own slot: odd while reading, never the same twice. Shared slot: how many read */
    _Atomic uint64_t draws;                    /* of its pseudo-random stream */
    _Atomic bool taken;
    bool shared;
    uint32_t index;
} dp_thread;

typedef struct {
    dp_thread threads[DP_STRIPES];
    _Atomic uint32_t used; /* slots ever taken are below this */
    _Atomic bool fence;    /* readers must fence: the kernel won't do it for the writer */
    pthread_mutex_t lock;  /* writers: apply, birth and death of a tt_dp. Never the request path. Held over fork */
    pthread_key_t key;     /* gives the slot back when its thread ends */
    tt_dp *all;            /* every live tt_dp, for fork */
} dp_runtime;

extern dp_runtime dp_rt;
extern _Thread_local dp_thread *dp_tls __attribute__((tls_model("initial-exec")));

bool dp_runtime_start(void);
dp_thread *dp_thread_claim(void);
void dp_writer_barrier(void); /* every reader either sees what was published before, or is seen reading */
void dp_forked(tt_dp *dp);    /* stats.c: in the child, requests of other threads are nobody's */

static inline dp_thread *dp_self(void) {
    dp_thread *t = dp_tls;
    return __builtin_expect(t != NULL, 1) ? t : dp_thread_claim();
}

/* Only its owner writes a counter of an own slot, so no locked instruction is needed. */
static inline void dp_add(const dp_thread *t, _Atomic uint64_t *c, uint64_t n) {
    if (__builtin_expect(!t->shared, 1))
        atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n, memory_order_release);
    else
        atomic_fetch_add_explicit(c, n, memory_order_acq_rel);
}

static inline uint64_t dp_get(const _Atomic uint64_t *c) {
    return atomic_load_explicit(c, memory_order_relaxed);
}

static inline uint64_t dp_draw(dp_thread *t) {
    uint64_t n;
    if (t->shared)
        n = atomic_fetch_add_explicit(&t->draws, 1, memory_order_relaxed);
    else {
        n = dp_get(&t->draws);
        atomic_store_explicit(&t->draws, n + 1, memory_order_relaxed);
    }
    return dp_scramble(n ^ ((uint64_t)t->index << 48));
}

/* Times of different threads differ by less. */
#define DP_SKEW_MOST_NS INT64_C(10000000000)

/* --- snapshot (snapshot.c): what is in force, never changed once it is published --- */

typedef struct {
    int64_t at_ns;   /* INT64_MAX: never */
    int64_t over_ns; /* -1: hold */
} dp_expiry;

typedef struct {
    double ratio;
    dp_expiry expiry;
} dp_drop;

typedef struct {
    double rps;
    dp_expiry expiry;
    double reserve[TT_DP_PRIORITIES_MAX]; /* share of the burst this priority must leave to higher ones */
    unsigned ranks;
} dp_limit;

typedef struct {
    double inflight;
    dp_expiry expiry;
    double share[TT_DP_PRIORITIES_MAX]; /* of it, that this priority may fill */
} dp_concurrency;

typedef struct {
    const char *caller;
    double ratio;
    dp_expiry expiry;
} dp_isolate;

/* How calls to one target are to be made: one for each decision that says anything of it. */
typedef struct {
    const char *service, *dc; /* dc "": any */
    uint64_t hash;            /* of the service */
    double retry_budget;      /* below 0: none */
    double timeout_ms;        /* 0: none */
    double refused;           /* share of our own calls, where we are the caller that is isolated */
    bool no_hedge;
    dp_expiry expiry;
} dp_calling;

typedef struct {
    const char *feature;
    uint64_t hash;
    unsigned level;
    double probe_ratio;
    dp_expiry expiry;
} dp_degrade;

typedef struct {
    const char *service, *of_dc; /* of_dc: of versions, "" for any; NULL: shares of data centers */
    uint64_t hash;
    uint32_t n;
    const char **dcs; /* or versions */
    double *shares;
    dp_expiry expiry;
} dp_weights;

typedef struct {
    const char *service, *dc, *instance; /* dc "": any */
    uint64_t hash;                       /* of service and instance */
    dp_expiry expiry;
} dp_eject;

enum { DP_TARGETS = 2 }; /* the service as a whole, and the service at our dc */

typedef struct dp_snapshot dp_snapshot;
struct dp_snapshot {
    uint64_t epoch, version, salt;
    uint32_t n_drops[TT_DP_PRIORITIES_MAX], n_limits, n_concurrency, n_degrades, n_weights, n_ejects, n_callings, n_isolates;
    dp_drop drops[TT_DP_PRIORITIES_MAX][DP_TARGETS];
    dp_limit limits[DP_TARGETS];
    dp_concurrency concurrency[DP_TARGETS];
    dp_degrade *degrades;
    dp_weights *weights;
    dp_eject *ejects;
    dp_calling *callings;
    dp_isolate *isolates;
    uint32_t *weight_index, *eject_index; /* open addressing: 0 empty, else 1 + place */
    uint32_t weight_mask, eject_mask;
    /* Once replaced: */
    dp_snapshot *next_retired;
    uint64_t waits_for[DP_SLOTS]; /* the odd number of the read it may be in; 0 none */
    uint32_t waits_shared;        /* a bit a shared slot */
};

void dp_snapshots_free(tt_dp *dp);

/* How far it has faded: 0 in full force, 1 gone. */
static inline double dp_faded(const dp_expiry *e, int64_t now_ns) {
    if (__builtin_expect(now_ns < e->at_ns || e->over_ns < 0, 1)) return 0;
    int64_t since = now_ns - e->at_ns;
    return since >= e->over_ns ? 1 : (double)since / (double)e->over_ns;
}

/* --- counters --- */

/* A sum of times with the number of its terms. `begun` before and `done` after let a reader see that it got both whole. */
typedef struct {
    _Atomic uint64_t begun, sum_ns, done;
} dp_times;

static inline void dp_times_add(const dp_thread *t, dp_times *times, int64_t ns) {
    dp_add(t, &times->begun, 1);
    dp_add(t, &times->sum_ns, (uint64_t)ns); /* wraps; differences stay right */
    dp_add(t, &times->done, 1);
}

typedef struct {
    alignas(DP_LINE) _Atomic uint64_t admitted[TT_DP_PRIORITIES_MAX];
    _Atomic uint64_t dropped[TT_DP_PRIORITIES_MAX], refused[TT_DP_PRIORITIES_MAX];
    _Atomic uint64_t results[3][TT_DP_PRIORITIES_MAX]; /* by tt_dp_result */
    dp_times starts, ends;
    _Atomic uint64_t left_queue; /* abandoned before they started */
    _Atomic uint64_t latency_ns, buckets[DP_BUCKETS];
} dp_counters;

/* --- inner loop (inner.c): a bound on queue time, measured by itself --- */

typedef struct {
    alignas(DP_LINE) _Atomic int64_t queued; /* kept while the loop is on; set right at each sample */
    alignas(DP_LINE) _Atomic int64_t bound[TT_DP_PRIORITIES_MAX];
    _Atomic int64_t next_sample_ns;
    _Atomic bool ran_empty; /* since the last sample: completions say what came in, not what we can do */
    _Atomic bool sampling;  /* try-lock over what follows */
    int64_t theta_ns, interval_ns;
    double floor; /* never refuse with fewer queued */
    double x;     /* completions a second */
    double best;  /* highest x lately */
    uint64_t samples;
    int64_t last_ns;
    uint64_t last_completed;
} dp_inner;

void dp_inner_set_up(tt_dp *dp, uint32_t timeout_ms, uint32_t base_ms);
void dp_inner_sample(tt_dp *dp, int64_t now_ns);

static inline bool dp_inner_is_due(const dp_inner *in, int64_t now_ns) {
    int64_t next = atomic_load_explicit(&in->next_sample_ns, memory_order_relaxed);
    return now_ns >= next || next - now_ns > DP_SKEW_MOST_NS; /* a mistaken time doesn't stop the sampling */
}

/* --- calls made downstream (calls.c) --- */

typedef struct {
    alignas(DP_LINE) _Atomic bool taken;
    uint64_t hash;
    char service[TT_DP_NAME_MAX], dc[TT_DP_NAME_MAX], instance[TT_DP_NAME_MAX];
    _Atomic uint64_t count[DP_CALL_RESULTS][TT_DP_PRIORITIES_MAX];
    _Atomic uint64_t spent_ns;
} dp_callee;

typedef struct {
    _Atomic uint32_t index[DP_CALLEE_INDEX]; /* open addressing: 0 empty, else 1 + place */
    dp_callee callees[DP_CALLEES + DP_CALLEES_OTHER];
    dp_callee other; /* when even the others are too many */
} dp_calls;

/* --- retry budgets (calling.c): tries made and retries taken of a service, by second --- */

typedef struct {
    _Atomic uint64_t second;
    _Atomic uint32_t tries, retries;
} dp_budget_second;

typedef struct {
    alignas(DP_LINE) dp_budget_second at[DP_BUDGET_SECONDS];
} dp_budget;

void dp_budget_count(tt_dp *dp, const char *service, int64_t now_ns);

/* --- the whole --- */

/* Why admission has to think at all; the last is asked by calls only. */
enum { DP_GATE_DECISION = 1, DP_GATE_INNER = 2, DP_GATE_INFLIGHT = 4, DP_GATE_ADMISSION = 7, DP_GATE_BUDGET = 8 };

#define DP_MAGIC UINT64_C(0x7472696d7461620a)

struct tt_dp {
    uint64_t magic;
    uint32_t n_priorities, workers;
    dp_counters *counters; /* DP_STRIPES */
    dp_calls *calls;
    alignas(DP_LINE) _Atomic(dp_snapshot *) current;
    _Atomic uint32_t gates;
    alignas(DP_LINE) _Atomic int64_t bucket_empty_ns; /* the instant at which the rate cap's bucket was empty (limit.c) */
    _Atomic int64_t bucket_latest_ns;                 /* the latest time it was shown */
    dp_inner inner;
    alignas(DP_LINE) _Atomic int64_t inflight; /* kept while a concurrency limit is on; set right once a second */
    _Atomic int64_t next_count_ns;
    dp_budget budgets[DP_BUDGETS];
    /* Below: under dp_rt.lock, or constant. */
    uint64_t epoch; /* highest ever in force */
    uint64_t applied; /* sets put in force */
    dp_snapshot *retired;
    uint64_t busy_base_ns;
    int64_t queued_base, inflight_base; /* what a fork left behind */
    tt_dp *next;
    char service[TT_DP_NAME_MAX], dc[TT_DP_NAME_MAX], instance[TT_DP_NAME_MAX];
    char priorities[TT_DP_PRIORITIES_MAX][TT_DP_NAME_MAX];
};

static inline bool dp_alive(const tt_dp *dp) {
    return __builtin_expect(dp != NULL && (uintptr_t)dp % DP_LINE == 0 && dp->magic == DP_MAGIC, 1);
}

static inline int64_t dp_clock_ns(clockid_t clock) {
    struct timespec ts;
    clock_gettime(clock, &ts); /* vDSO */
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static inline int64_t dp_now(int64_t now_ns) {
    return now_ns ? now_ns : dp_clock_ns(CLOCK_MONOTONIC);
}

/* Between these two a snapshot is not freed. */
static inline const dp_snapshot *dp_read_begin(dp_thread *t, tt_dp *dp) {
#if defined(__SANITIZE_THREAD__)
    /* The same order, in words the sanitizer knows. */
    atomic_fetch_add_explicit(&t->reading, 1, memory_order_seq_cst);
    return atomic_load_explicit(&dp->current, memory_order_seq_cst);
#else
    if (__builtin_expect(!t->shared, 1)) {
        atomic_store_explicit(&t->reading, dp_get(&t->reading) + 1, memory_order_relaxed);
        if (__builtin_expect(atomic_load_explicit(&dp_rt.fence, memory_order_relaxed), 0))
            atomic_thread_fence(memory_order_seq_cst);
        else
            atomic_signal_fence(memory_order_seq_cst); /* the writer's membarrier does the rest */
    } else
        atomic_fetch_add_explicit(&t->reading, 1, memory_order_seq_cst);
    return atomic_load_explicit(&dp->current, memory_order_acquire);
#endif
}

static inline void dp_read_end(dp_thread *t) {
    if (t->shared)
        atomic_fetch_sub_explicit(&t->reading, 1, memory_order_release);
    else
        atomic_store_explicit(&t->reading, dp_get(&t->reading) + 1, memory_order_release);
}

/* Salts, so that one key's fate in one choice says nothing about another. */
enum { SALT_PROBE = 1, SALT_FADE, SALT_SITE, SALT_SITE_FADE, SALT_ISOLATE };

static inline double dp_unit_of(dp_thread *t, const char *key, size_t key_len, uint64_t salt) {
    return dp_unit(key && key_len ? dp_hash(key, key_len, salt) : dp_draw(t));
}

/* The clock is read only when something can fade; a few ms of error don't matter to a fade of minutes. */
static inline double dp_faded_by_now(const dp_expiry *e) {
    if (e->over_ns < 0 || e->at_ns == INT64_MAX) return 0;
    return dp_faded(e, dp_clock_ns(CLOCK_MONOTONIC_COARSE));
}

bool dp_limit_take(tt_dp *dp, const dp_snapshot *s, unsigned priority, int64_t now_ns, int64_t *ret_cost_ns);
static inline void dp_limit_give_back(tt_dp *dp, int64_t cost_ns) {
    if (cost_ns) atomic_fetch_sub_explicit(&dp->bucket_empty_ns, cost_ns, memory_order_relaxed);
}

uint64_t dp_completed(tt_dp *dp);
int64_t dp_inflight(tt_dp *dp); /* exact but for what happens meanwhile */
int64_t dp_queued(tt_dp *dp);            /* exact but for what happens meanwhile */
size_t dp_name_length(const char *name); /* 0 when NULL, empty or too long */

extern const uint32_t dp_bucket_ms[DP_BUCKETS - 1];

#endif
