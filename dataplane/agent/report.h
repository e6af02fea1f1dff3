/* Load reports: what happened here since the last one. */
#ifndef TT_AGENT_REPORT_H
#define TT_AGENT_REPORT_H

#include "../private.h"

typedef struct {
    tt_dp *dp;
    tt_dp_private_identity who;
    const char *instance;
    int64_t at_ns; /* of the figures below */
    tt_dp_stats before;
    uint64_t buckets_before[TT_DP_PRIVATE_BUCKETS], latency_before_ns;
} agent_meter;

void agent_meter_start(agent_meter *m, tt_dp *dp, const char *instance, int64_t now_ns);
/* Of the decisions: which are enforced, refused: NULL or a sentence, in_force: "ours", "other", "none", or NULL before anything was taken; found: what is there when it is not ours, or NULL. */
typedef struct {
    uint64_t epoch, version;
    const char *refused, *in_force, *found;
} agent_standing;
/* The JSON of what happened since the last call, NULL when memory is out; the caller frees it. */
char *agent_meter_report(agent_meter *m, const agent_standing *s, int64_t now_ns);

/* For tests: the value below which `share` of the counted lie, within its bucket by proportion. -1 when none were counted. */
double agent_quantile_ms(const uint64_t counts[TT_DP_PRIVATE_BUCKETS], const uint32_t bounds_ms[TT_DP_PRIVATE_BUCKETS - 1], double share);

#endif
