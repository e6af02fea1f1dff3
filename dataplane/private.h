/* What the agent, and only it, may ask of the core beyond the public header. Exported under TRIMTAB_PRIVATE: not API, changes with any build. */
#ifndef TT_DP_PRIVATE_H
#define TT_DP_PRIVATE_H

#include <trimtab/dataplane.h>

enum { TT_DP_PRIVATE_BUCKETS = 17 };

typedef struct {
    const char *service, *dc, *instance; /* "" when not given */
    unsigned n_priorities;
    const char *priorities[TT_DP_PRIORITIES_MAX];
    uint32_t bucket_ms[TT_DP_PRIVATE_BUCKETS - 1]; /* upper bounds of the latency buckets; the last bucket has none */
} tt_dp_private_identity;

TT_API void tt_dp_private_identify(const tt_dp *dp, tt_dp_private_identity *ret); /* views live as long as dp */
/* What is enforced now, and how often a set was put in force, by whomever: a number that is not the one after one's own means somebody else's. */
typedef struct {
    uint64_t applied, epoch, version; /* version: the highest in the set */
    uint32_t actions;
} tt_dp_private_state;
TT_API void tt_dp_private_in_force(tt_dp *dp, tt_dp_private_state *ret);
TT_API void tt_dp_private_latency(const tt_dp *dp, uint64_t buckets[TT_DP_PRIVATE_BUCKETS], uint64_t *sum_ns);

#endif
