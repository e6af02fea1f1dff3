/* A stranger's program. */
#include <stdio.h>
#include <trimtab/dataplane.h>
#ifdef WITH_AGENT
#include <trimtab/agent.h>
#endif

int main(void) {
    tt_dp_options o = {.size = sizeof o, .service = "consumer", .dc = "dc-a"};
    tt_dp *dp = tt_dp_new(&o);
    if (!dp || tt_dp_admit(dp, 0, "user", 4, 0) != TT_DP_ADMIT) return 1;
#ifdef WITH_AGENT
    tt_agent_options a = {.size = sizeof a, .url = "http://127.0.0.1:1"};
    tt_agent *agent = tt_agent_start(dp, &a);
    if (!agent) return 2;
    tt_agent_stop(agent);
#endif
    tt_dp_free(dp);
    printf("%s\n", tt_dp_version());
    return 0;
}
