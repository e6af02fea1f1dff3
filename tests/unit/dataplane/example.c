/* A service that embeds trimtab: one request's way through it. */
#include <stdio.h>
#include <string.h>
#include <trimtab/agent.h>

enum { CRITICAL, NORMAL, BATCH }; /* the default priorities, highest first */

typedef struct {
    const char *user;
    unsigned priority;
} request;

static void log_line(void *ctx, const char *line) {
    (void)ctx;
    fprintf(stderr, "%s\n", line);
}

/* When a request arrives, before anything is spent on it. false: answer 503 now, without Retry-After when the hop is full. */
static bool arrived(tt_dp *dp, const request *r) {
    switch (tt_dp_admit(dp, r->priority, r->user, strlen(r->user), 0)) {
    case TT_DP_DROPPED:
        return false; /* trimtab sheds load: a rate cap or a drop ratio */
    case TT_DP_REFUSED:
        return false; /* this instance is full: tell the caller not to retry */
    case TT_DP_ADMIT:
        break;
    }
    return true; /* into the queue it goes */
}

/* A call downstream: where to, and what became of it. */
static void call_payments(tt_dp *dp, const request *r) {
    static const char *const dcs[] = {"dc-a", "dc-b"};
    static const char *const instances[][2] = {{"10.0.0.7:8080", "10.0.0.8:8080"}, {"10.1.0.7:8080", "10.1.0.8:8080"}};
    int dc = tt_dp_pick_dc(dp, "payments", dcs, 2, 0, r->user, strlen(r->user)); /* without weights: our own site, the first */
    const char *instance = instances[dc][0];
    if (tt_dp_is_ejected(dp, "payments", dcs[dc], instance)) instance = instances[dc][1]; /* were both out, take either */
    /* ... the call itself, 12 ms ... */
    tt_dp_called(dp, "payments", dcs[dc], instance, r->priority, TT_DP_CALL_OK, 12000000);
}

/* When a worker takes it from the queue. */
static void serve(tt_dp *dp, const request *r) {
    tt_dp_started(dp, 0);
    if (tt_dp_degrade_level(dp, "recommendations", r->user, strlen(r->user)) == 0) {
        /* full service: ask the recommendation service. Level 1: yesterday's from the cache. Level 2: none. */
    }
    call_payments(dp, r);
    tt_dp_finished(dp, r->priority, TT_DP_OK, 20000000, 0); /* 20 ms after it arrived */
}

int main(void) {
    tt_dp_options options = {.size = sizeof options,
                             .service = "checkout",
                             .dc = "dc-a",
                             .instance = "10.0.0.9:8080",
                             .inner_loop = true,
                             .timeout_ms = 1000, /* our clients give up after a second */
                             .base_ms = 20,
                             .workers = 8};
    tt_dp *dp = tt_dp_new(&options);
    if (!dp) return 1;

    static const char *const calls[] = {"payments"};
    tt_agent_options agent_options = {.size = sizeof agent_options,
                                      .url = "http://127.0.0.1:7070",
                                      .calls = calls,
                                      .n_calls = 1,
                                      .state_file = NULL, /* in earnest: a file of this instance's own, on a disk that survives it */
                                      .log = log_line};
    tt_agent *agent = tt_agent_start(dp, &agent_options);
    if (!agent) perror("trimtab agent"); /* nothing is lost but the decisions: serve */

    request r = {"user-4711", NORMAL};
    if (arrived(dp, &r)) serve(dp, &r);

    static char metrics[65536]; /* for your /metrics; the return value says how much it would have taken */
    if (tt_dp_metrics(dp, metrics, sizeof metrics) < sizeof metrics) fputs(metrics, stdout);
    tt_agent_stop(agent);
    tt_dp_free(dp);
    return 0;
}
