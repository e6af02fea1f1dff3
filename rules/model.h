/* A model of a service mesh under faults: what stands in for the real one in rehearsals and simulation tests. Services call each other in every data
 * center; requests wait in bounded queues, grow old, time out, are executed all the same and come back as retries; a mesh side takes decisions after
 * a delay and acknowledges them; monitoring scrapes counters, loses some, and tells rates over a window, late.
 *
 * Fluid: a request is a fraction of a flow, a queue is made of age cohorts, time goes in steps of 0.1 s. Pure: the same spec, seed and decisions give
 * the same bytes; every random number is a hash of (seed, stream, index), so that two controllers see the same demand, noise and faults.
 * One thread at a time; all memory is allocated by tt_model_new. Texts in the spec are borrowed and must outlive the model. */
#ifndef TT_MODEL_H
#define TT_MODEL_H

#include "engine.h"

enum {
    TT_MODEL_SERVICES = 6,
    TT_MODEL_DCS = 4,
    TT_MODEL_INSTANCES = 8,
    TT_MODEL_PRIORITIES = 4,
    TT_MODEL_CALLS = 3,
    TT_MODEL_LEVELS = 4,
    TT_MODEL_FAULTS = 16,
    TT_MODEL_ATTEMPTS = 4,
};
#define TT_MODEL_STEP_NS TT_MS(100)

typedef struct {
    uint32_t service;                 /* index; larger than the caller's */
    double per_request;               /* cached: what a warm cache leaves */
    uint32_t retries;                 /* of a call that failed, at once; not of a refused one */
    bool optional;                    /* a feature by the callee's name: without it the answer is still an answer */
    bool cached;                      /* called where the caller's cache doesn't hold the answer; what it holds follows the load served */
    double at_level[TT_MODEL_LEVELS]; /* optional: share of the calls still made at degrade level 1, 2, ... */
    double value_at[TT_MODEL_LEVELS]; /* optional: what an answer is worth at that level, 0 to 1 */
    double cost_at[TT_MODEL_LEVELS];  /* optional: what is left of the caller's own time at that level; 0: all of it */
} tt_model_call;

typedef struct {
    const char *name;
    uint32_t instances, workers; /* in each data center; of each instance */
    double cpus;                 /* of each instance, which own time runs on; 0: workers alone bound what is served */
    double own_ms;               /* worker time of a request, without its calls */
    double queue_max;            /* requests that wait in a data center at most */
    double timeout_s;            /* how long its callers wait for it; 0: as long as clients do */
    double base_ms;              /* usual latency that the inner loop is told; 0: what it is at rest */
    uint32_t n_calls;
    tt_model_call calls[TT_MODEL_CALLS];
    bool homed; /* its calls are divided by `home`; else they stay in their data center, and clients' by the mesh's */
    double home[TT_MODEL_DCS];
} tt_model_service;

/* kind, name, amount when nothing is wrong. The amount is what multiplies, or a ratio from 0 to 1, or as said. */
#define TT_MODEL_FAULT_KINDS(X)                                                                                                                      \
    X(DEMAND, "demand", 1)             /* x amount */                                                                                                \
    X(SLOW, "slow", 1)                 /* own time x amount */                                                                                       \
    X(CAPACITY, "capacity", 1)         /* workers and cpus x amount */                                                                               \
    X(ERRORS, "errors", 0)             /* share answered wrongly, after full work */                                                                 \
    X(HANG, "hang", 0)                 /* share that holds its worker until the time-out */                                                          \
    X(DOWN, "down", 0)                 /* the site refuses connections and isn't scraped */                                                          \
    X(BAD_INSTANCE, "bad-instance", 0) /* share it fails, at once: least-request sends it more */                                                    \
    X(CANARY, "canary", 0)             /* share that one instance fails, after full work */                                                          \
    X(RESTART, "restart", 0)           /* an instance leaves and comes back as planned: its peers take over, probes of it fail */                    \
    X(CACHE_WIPE, "cache-wipe", 0)     /* share of the cache that is lost, and not kept while it lasts */                                            \
    X(TAIL, "slow-tail", 0)            /* share answered well, but slowly */                                                                         \
    X(BOTS, "bots", 0)                 /* clients' nonsense, x demand: refused as it should be, and counted as errors by monitoring */               \
    X(CALLS, "calls", 1)               /* a service's calls to others x amount */                                                                    \
    X(RETRIES, "retries", 0)           /* share of failures that come back, where more than usual */                                                 \
    X(BLIND, "blind", 0)               /* the monitoring source is down */                                                                           \
    X(GAPS, "gaps", 0)                 /* share of scrapes lost */                                                                                   \
    X(NANS, "nans", 0)                 /* share of values that are NaN or absent */                                                                  \
    X(STALE, "stale", 0)               /* answers, with nothing newer than when it began */                                                          \
    X(LIE, "lie", 0)                   /* error_ratio (an instance's: instance_error_ratio) says amount; the counters are well */                    \
    X(MISREAD, "misread", 1)           /* utilization reads x amount */                                                                              \
    X(TAKEN, "taken", 1)               /* share of the instances that enforce and acknowledge decisions */                                           \
    X(SILENT, "silent", 0)             /* decisions are enforced and not acknowledged */                                                             \
    X(REFUSED, "refused", 0)           /* decisions are refused, and what stood stands */                                                            \
    X(LATE, "late", 0)                 /* a decision takes up to this many seconds longer, each its own: they overtake one another */                \
    X(RIVAL, "rival", 0)               /* a writer of an older epoch sends an empty set, each of this many seconds */                                \
    X(CLOCK, "clock", 0)               /* the wall clock is this many seconds off */
#define TT_AS_FAULT(id, name, none) TT_FAULT_##id,
typedef enum { TT_MODEL_FAULT_KINDS(TT_AS_FAULT) TT_FAULT_COUNT } tt_model_fault_kind;
#undef TT_AS_FAULT

typedef struct {
    tt_model_fault_kind kind;
    int64_t from_ns, for_ns;   /* since the model's start */
    int64_t period_ns;         /* on in the first half of each period; 0: steady */
    int service, dc, instance; /* -1: all */
    double amount;
} tt_model_fault;

typedef struct {
    uint32_t n_services;
    tt_model_service services[TT_MODEL_SERVICES]; /* the first is the entry: clients call it */
    uint32_t n_dcs;
    const char *dcs[TT_MODEL_DCS];
    double home[TT_MODEL_DCS]; /* share of the clients, sums to 1 */
    uint32_t n_priorities;
    const char *priorities[TT_MODEL_PRIORITIES]; /* highest first */
    double mix[TT_MODEL_PRIORITIES];             /* sums to 1 */
    double demand_rps, timeout_s;
    double retry_failed, retry_refused; /* share of the clients' attempts that comes back */
    uint32_t attempts;                  /* of a client at most, TT_MODEL_ATTEMPTS at most; 0: no end to it */
    double retry_s;                     /* until it comes back; 0: half a second */
    double queue_full_s;                /* until a caller learns that a queue was full: the time-out where it hears nothing; 0: at once */
    double cache_s;                     /* the cache follows what is served within this time */
    double newest_first;                /* share of the work taken from the young end of a queue: instances are uneven */
    bool inner_loop;                    /* every hop bounds its queue time (control.md, section 12) */
    int64_t apply_ns;                   /* decision to enforcement */
    int64_t scrape_ns, ingest_ns;
    int64_t window_ns;                  /* of every rate, which is then told each scrape; 0: window and interval as the rules' signals say */
    double noise, gap_ratio, nan_ratio; /* noise: standard deviation common to a round; each value has a fifth of it of its own */
    uint32_t n_faults;
    tt_model_fault faults[TT_MODEL_FAULTS];
    struct {
        int64_t rise_ns, fall_ns; /* the amount of the fault of the same index fades in after its begin, and out before its end */
    } fade[TT_MODEL_FAULTS];
} tt_model_spec;

/* What is in force for one target, as the mesh has it. */
typedef struct {
    uint64_t epoch, version;
    double share;                      /* of the instances that enforce it */
    double limit_rps, limit_inflight;  /* 0: none */
    double retry_budget;               /* retries a request, of its callers; below 0: none */
    double timeout_s;                  /* of its callers; 0: their own */
    double isolate[TT_MODEL_SERVICES]; /* share of a caller's calls that is refused */
    uint32_t n_keep, keep[TT_MODEL_PRIORITIES];
    double drop[TT_MODEL_PRIORITIES];
    uint32_t level;
    double probe_ratio; /* share of requests one level lower */
    uint32_t ejected;   /* bit an instance */
    bool weights;
    double weight[TT_MODEL_DCS];
} tt_model_enforced;

/* The truth of the last step, as rates: what clients wanted, and what they got. */
typedef struct {
    double wanted_rps[TT_MODEL_PRIORITIES];  /* first attempts */
    double offered_rps[TT_MODEL_PRIORITIES]; /* with retries */
    double good_rps[TT_MODEL_PRIORITIES];    /* answered well and in time, by what the answer is worth */
    double dropped_rps[TT_MODEL_PRIORITIES], refused_rps[TT_MODEL_PRIORITIES], failed_rps[TT_MODEL_PRIORITIES];
    double needless_rps; /* dropped by decision where there was room */
    bool faulty;         /* any fault is on */
} tt_model_truth;

typedef struct tt_model tt_model;

void tt_model_spec_default(tt_model_spec *ret); /* front -> checkout -> recommendations in two data centers, 200 rps, no faults */
tt_model *tt_model_new(const tt_model_spec *spec, uint64_t seed, tt_time start); /* NULL when memory is out */
void tt_model_free(tt_model *m);
void tt_model_step(tt_model *m); /* 0.1 s */
/* From now on every step is steered by one who knows the mesh exactly and acts without delay: what no controller can do much better than. */
void tt_model_set_oracle(tt_model *m);
tt_time tt_model_now(const tt_model *m);
const tt_model_truth *tt_model_truth_of(const tt_model *m);
const tt_model_spec *tt_model_spec_of(const tt_model *m);
/* dc -1: the service as a whole. */
const tt_model_enforced *tt_model_in_force(const tt_model *m, uint32_t service, int dc);
uint32_t tt_model_instance_name(const tt_model *m, uint32_t service, uint32_t dc, uint32_t instance, char buf[TT_NAME_MAX]); /* its length */

/* Takes decisions as the mesh side does: an epoch below the newest is refused (false), a newer one replaces all that stood. */
/* Requests/s that a data center could serve now at a degrade level (below 0: as in force), its caches as they are; 0 where it is down. */
double tt_model_capacity(const tt_model *m, uint32_t dc, double level);
/* An active fault's amount here; -1 for all of a kind. What it is without a fault when none is on. */
double tt_model_amount(const tt_model *m, tt_model_fault_kind kind, int service, int dc, int instance);
bool tt_model_take(tt_model *m, uint64_t epoch, const tt_decision *d, size_t n);
/* Fills polls, measurements and acks with what is due now, for the signals `r` declares. Borrowed until the next call on the model. */
void tt_model_observe(tt_model *m, const tt_rules *r, tt_observations *ret);

/* A number in [0, 1) of its own for each (seed, stream, index). */
double tt_model_random(uint64_t seed, uint64_t stream, uint64_t index);
const char *tt_model_fault_name(tt_model_fault_kind kind);

#endif
