/* The contract's set of decisions: bytes to what tt_dp_apply takes. */
#ifndef TT_AGENT_DECODE_H
#define TT_AGENT_DECODE_H

#include <trimtab/dataplane.h>

enum { AGENT_SET_BYTES_MAX = 16 << 20, AGENT_WHY_MAX = 256 };

typedef struct {
    uint64_t epoch, version;
    uint32_t instances;
    int64_t age_ms; /* of the oldest; the others' expiry is moved so that one age serves all */
    size_t n;
    const tt_dp_decision *decisions; /* limits are this instance's share already */
    const char *unknown;             /* an action this library doesn't know, left out; NULL: none */
    void *memory;                    /* what the views above live in */
} agent_set;

/* false: nothing is set, and why[] says where it is wrong. */
bool agent_set_decode(const char *json, size_t n, agent_set *ret, char why[AGENT_WHY_MAX]);
void agent_set_free(agent_set *set);

#endif
