/* Shared by the model's plant (model.c) and its monitoring and mesh side (model_sense.c). */
#ifndef TT_MODEL_INTERNAL_H
#define TT_MODEL_INTERNAL_H

#include "model.h"

enum {
    TT_MODEL_RING = 256, /* age cohorts: one a step, so at most 25.6 s of waiting */
    TT_MODEL_SCRAPES = 96,
    TT_MODEL_PENDING = 8,
    TT_MODEL_RETRY_STEPS = 21, /* one more than a retry is away at most */
    TT_MODEL_MEASUREMENTS = 2048,
    TT_MODEL_BUCKETS = 16, /* of latency */
};

/* What a caller meets when it calls a site now. */
typedef struct {
    double ok[TT_MODEL_PRIORITIES], refused[TT_MODEL_PRIORITIES]; /* shares; the rest fails */
    double failed;                                                /* share, over all priorities */
    double latency_s;                                             /* until an answer, a refusal or the time-out: what holds the caller's worker */
    double ok_latency_s, failed_latency_s;                        /* of what was answered well, or not */
    double value;
} tt_model_view;

typedef struct {
    double offered[TT_MODEL_PRIORITIES], ok[TT_MODEL_PRIORITIES], refused[TT_MODEL_PRIORITIES], dropped[TT_MODEL_PRIORITIES];
    double errors, nonsense, latency_sum, latency_n;
    double arrived, completed, busy_s, worker_s;
    double retries, from[TT_MODEL_SERVICES]; /* of what is offered: come again; by caller */
    double calls_n, calls_errors;            /* spread evenly over the instances; the next are what came on top */
    double instance_n[TT_MODEL_INSTANCES], instance_errors[TT_MODEL_INSTANCES];
    double latency[TT_MODEL_BUCKETS];
    double inflight; /* not a counter: how many there are */
} tt_model_counters;

typedef struct {
    int64_t at_ns;              /* since start */
    bool by_callers, by_itself; /* the scrape of either came through */
    tt_model_counters c;
} tt_model_scrape;

typedef struct {
    double queue[TT_MODEL_RING][TT_MODEL_PRIORITIES], came[TT_MODEL_RING]; /* what is left of each cohort, and what it was */
    double queued;
    uint64_t oldest;        /* step of the oldest cohort that may hold something */
    uint64_t given_up;      /* cohorts born before this step are waited for by nobody */
    double completed_rps;   /* averaged over some two seconds */
    double x_rps, best_rps; /* of the inner loop */
    bool x_known;
    double warm_rps;                       /* the load whose answers the cache holds */
    double in[TT_MODEL_PRIORITIES];        /* arrives in this step, requests */
    double again, from[TT_MODEL_SERVICES]; /* of it, come again; by caller */
    tt_model_view view;
    tt_model_counters c;
    tt_model_scrape scrapes[TT_MODEL_SCRAPES];
    uint64_t n_scrapes;
} tt_model_site;

/* What is wrong with a site in this step. */
typedef struct {
    double slow, capacity, errors, hang;
    bool down, uneven; /* uneven: instances differ */
} tt_model_ill;

typedef struct {
    tt_model_enforced now, pending[TT_MODEL_PENDING];
    int64_t due_ns[TT_MODEL_PENDING];
    uint32_t n_pending;
    uint64_t refused_epoch, refused_version; /* 0: none */
} tt_model_target;

struct tt_model {
    tt_model_spec spec;
    uint64_t seed, step, epoch;
    tt_time start;
    tt_model_site site[TT_MODEL_SERVICES][TT_MODEL_DCS];
    tt_model_target target[TT_MODEL_SERVICES][TT_MODEL_DCS + 1];                /* the last: the service as a whole */
    double retry[TT_MODEL_RETRY_STEPS][TT_MODEL_PRIORITIES][TT_MODEL_ATTEMPTS]; /* by what number of attempt it is */
    double attempt[TT_MODEL_PRIORITIES][TT_MODEL_ATTEMPTS];                     /* shares of what clients send in this step */
    double base_s[TT_MODEL_SERVICES];                                           /* latency at rest */
    tt_model_truth truth;
    tt_model_fault active[TT_MODEL_FAULTS]; /* amount: as faded now */
    uint32_t n_active;
    tt_model_ill ill[TT_MODEL_SERVICES][TT_MODEL_DCS];
    bool oracle;
    /* monitoring */
    int64_t next_scrape_ns, next_poll_ns[TT_SIGNALS_MAX];
    char instance[TT_MODEL_SERVICES][TT_MODEL_DCS][TT_MODEL_INSTANCES][32];
    tt_poll polls[TT_SIGNALS_MAX];
    tt_measurement measurements[TT_MODEL_MEASUREMENTS];
    tt_ack acks[TT_MODEL_SERVICES * (TT_MODEL_DCS + 1)];
};

/* fmin and fmax for numbers that are never NaN: no calls in the innermost loops. */
static inline double tt_lower(double a, double b) {
    return a < b ? a : b;
}
static inline double tt_higher(double a, double b) {
    return a > b ? a : b;
}
static inline int64_t tt_model_elapsed(const tt_model *m) {
    return (int64_t)m->step * TT_MODEL_STEP_NS;
}
int64_t tt_model_fault_since(const tt_model *m, tt_model_fault_kind kind); /* elapsed when it began; -1: not on */
void tt_model_mesh_step(tt_model *m);
void tt_model_scrape_step(tt_model *m);
void tt_model_oracle_step(tt_model *m);
double tt_model_offered(const tt_model *m); /* requests/s that arrive in this step, retries included */
/* Of `dropped_rps` at the entry of a data center that lets `in_rps` in: what there was room for. */
double tt_model_needless(const tt_model *m, uint32_t dc, double in_rps, double dropped_rps);
double tt_model_weight(const tt_model *m, uint32_t service, uint32_t dc); /* share of the calls that go there */
/* What a degrade level, between levels where it is not whole, leaves of a call. */
typedef struct {
    double made, value, cost;
} tt_model_degraded;
tt_model_degraded tt_model_degrade(const tt_model_call *c, double level);

#endif
