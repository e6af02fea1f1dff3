/* Any bytes as an answer of the service: decoded or refused with a reason, applied or refused, never anything else. What was in force stays when it
 * is refused. */
#include <stdlib.h>
#include <string.h>

#include "agent/decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static tt_dp *one(void) {
    static tt_dp *dp;
    tt_dp_options o = {.size = sizeof o, .service = "checkout", .dc = "dc-a", .instance = "10.0.0.7:8080"};
    if (!dp) dp = tt_dp_new(&o);
    if (!dp) abort();
    return dp;
}

static void use(tt_dp *dp) {
    static const char *const dcs[] = {"dc-a", "dc-b"};
    for (unsigned p = 0; p < 4; p++) (void)tt_dp_admit(dp, p, "user", 4, 0);
    (void)tt_dp_degrade_level(dp, "recommendations", "user", 4);
    int dc = tt_dp_pick_dc(dp, "checkout", dcs, 2, 0, "user", 4);
    if (dc < 0 || dc > 1) abort();
    (void)tt_dp_is_ejected(dp, "checkout", "dc-a", "10.0.0.7:8080");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    tt_dp *dp = one();
    agent_set set;
    char why[AGENT_WHY_MAX] = "";
    if (!agent_set_decode((const char *)data, n, &set, why)) {
        if (!why[0] || strlen(why) >= sizeof why) abort();
        return 0;
    }
    tt_dp_stats before = {.size = sizeof before}, after = {.size = sizeof after};
    tt_dp_read_stats(dp, &before);
    bool taken = tt_dp_apply(dp, set.decisions, set.n, 1, set.age_ms, 0); /* one epoch, or the highest ever would end the fuzzing */
    tt_dp_read_stats(dp, &after);
    if (!taken && (after.version != before.version || after.epoch != before.epoch)) abort();
    use(dp);
    agent_set_free(&set);
    return 0;
}
