/* The contract document: what is in force for one target. One struct, one JSON text, for agents, adapters, journal,
 * REST API and rehearsal alike. docs/contract.md shows the JSON. Values only: copy freely. */
#ifndef TT_DECISION_H
#define TT_DECISION_H

#include "base.h"

enum { TT_NAME_MAX = 128, TT_ACTIONS_MAX = 24, TT_ULID_SIZE = 27, TT_DECISION_LOOPS_MAX = 8, TT_DECISION_DCS_MAX = 16, TT_DECISION_PRIOS_MAX = 8 };

/* Empty dc: the service as a whole. Empty service: the data center as a whole, a loop's target only. instance is set only for a loop's target; decisions carry instances inside `eject`. */
typedef struct {
    char service[TT_NAME_MAX], dc[TT_NAME_MAX], instance[TT_NAME_MAX];
} tt_target;
bool tt_target_eq(const tt_target *a, const tt_target *b);

typedef enum {
    TT_ACT_LIMIT,
    TT_ACT_DROP,
    TT_ACT_DEGRADE,
    TT_ACT_WEIGHTS,
    TT_ACT_EJECT,
    TT_ACT_CONCURRENCY, /* a limit by requests in flight */
    TT_ACT_RETRY,
    TT_ACT_TIMEOUT,
    TT_ACT_HEDGE,
    TT_ACT_ISOLATE,
    TT_ACT_VERSION, /* one for each version; told as one action */
} tt_act_kind;

typedef struct {
    tt_act_kind kind;
    char name[TT_NAME_MAX];  /* drop: priority; degrade: feature; eject: instance; isolate: caller; version: its name */
    double value;            /* limit: rps > 0; concurrency: requests in flight > 0; drop, isolate: ratio 0..1; degrade: level; eject: 1;
                                retry: retries a request, 0..1; timeout: ms; hedge: 0 forbids it; version: share, which sum to 1 */
    double probe_ratio;      /* degrade: share of requests served one level lower */
} tt_act;

typedef struct {
    tt_target target;
    uint64_t epoch, version; /* version grows over all targets of the engine */
    bool armed;
    uint32_t n_loops;
    char loops[TT_DECISION_LOOPS_MAX][TT_ULID_SIZE];
    uint32_t n_actions;      /* 0: nothing is in force any more */
    tt_act actions[TT_ACTIONS_MAX];
    /* Of the one limit or concurrency (priorities, first kept longest) or the one weights (dcs) that a decision can hold: never both, since a limit is a dc's and
     * weights are a whole service's. */
    uint32_t n_names;
    char names[TT_DECISION_DCS_MAX][TT_NAME_MAX];
    double shares[TT_DECISION_DCS_MAX]; /* weights: sum to 1 */
    int64_t expire_after_ms; /* -1: never */
    int64_t decay_over_ms;   /* used after expire_after_ms; -1: hold */
} tt_decision;

void tt_decision_json(const tt_decision *d, tt_buf *out);
void tt_target_json(const tt_target *t, tt_buf *out);

#endif
