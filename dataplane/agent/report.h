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
/* The JSON of what happened since the last call, NULL when memory is out; the caller frees it. refused: NULL or a sentence. */
char *agent_meter_report(agent_meter *m, uint64_t epoch, uint64_t version, const char *refused, int64_t now_ns);

/* For tests: the value below which `share` of the counted lie, within its bucket by proportion. -1 when none were counted. */
double agent_quantile_ms(const uint64_t counts[TT_DP_PRIVATE_BUCKETS], const uint32_t bounds_ms[TT_DP_PRIVATE_BUCKETS - 1], double share);

#endif
