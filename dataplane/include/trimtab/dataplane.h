/* trimtab data plane: enforces the decisions of a trimtab service inside your server or client.
 *
 * The request path (every function marked WAIT-FREE) takes no lock, allocates nothing and makes no system call; any thread may
 * call. Whatever goes wrong inside ends as if trimtab were not there: admit, no degrade, the caller's own choice of site.
 * Times are CLOCK_MONOTONIC nanoseconds; pass 0 to let the library read the clock (vDSO). Text is copied unless said otherwise.
 * The core needs libc alone. The agent (subscription, load reports, last decision on disk) is <trimtab/agent.h>, a second library. */
#ifndef TRIMTAB_DATAPLANE_H
#define TRIMTAB_DATAPLANE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TT_API __attribute__((visibility("default")))

typedef struct tt_dp tt_dp;

enum { TT_DP_PRIORITIES_MAX = 8, TT_DP_DCS_MAX = 16, TT_DP_NAME_MAX = 128 };

/* Grows only at its end; set `size` to sizeof(tt_dp_options). Zero means the default. */
typedef struct {
    size_t size;
    const char *service, *dc, *instance; /* instance: the address callers use, "10.0.0.7:8080" */
    const char *const *priorities;       /* names, highest first; default critical, normal, batch */
    size_t n_priorities;
    bool inner_loop;          /* bound the queue time of this hop; default false */
    uint32_t timeout_ms;      /* of this hop's clients: the queue-time limit is 0.3 of it; default 1000 */
    uint32_t base_ms;         /* this hop's usual latency, for the limit's floor; default 10 */
    uint32_t workers;         /* how many requests this instance serves at once, for utilization; 0: not reported */
} tt_dp_options;

/* NULL when memory is out or an option is out of range (errno tells). */
TT_API tt_dp *tt_dp_new(const tt_dp_options *options);
TT_API void tt_dp_free(tt_dp *dp); /* no other call may be running */

typedef enum {
    TT_DP_ADMIT = 0,
    TT_DP_DROPPED,  /* by decision: a rate cap or a drop ratio */
    TT_DP_REFUSED,  /* by the inner loop: this hop is full. Tell the caller not to retry. */
} tt_dp_verdict;

/* One request arriving at this hop. `priority` is an index, out of range counts as the lowest. `key` is a user, tenant or trace id:
 * the same key gets the same answer under the same drop ratio. WAIT-FREE.
 * An admitted request must be followed by tt_dp_started (when a worker takes it) and tt_dp_finished, or tt_dp_abandoned. */
TT_API tt_dp_verdict tt_dp_admit(tt_dp *dp, unsigned priority, const char *key, size_t key_len, int64_t now_ns);
/* The same, where the caller is known by its service's name: a decision may isolate one that causes an overload. `caller` NULL or "": not known. WAIT-FREE */
TT_API tt_dp_verdict tt_dp_admit_from(tt_dp *dp, const char *caller, unsigned priority, const char *key, size_t key_len, int64_t now_ns);
TT_API void tt_dp_started(tt_dp *dp, int64_t now_ns);                                    /* it left the queue. WAIT-FREE */
typedef enum { TT_DP_OK = 0, TT_DP_ERROR, TT_DP_LATE } tt_dp_result;
/* latency_ns: since it arrived. LATE: answered well, after the client's time-out. WAIT-FREE */
TT_API void tt_dp_finished(tt_dp *dp, unsigned priority, tt_dp_result result, int64_t latency_ns, int64_t now_ns);
TT_API void tt_dp_abandoned(tt_dp *dp, unsigned priority, bool started, int64_t now_ns); /* given up before an answer. WAIT-FREE */

/* The level at which this request should serve `feature`: 0 is full service. A small share keeps the level below the one in force, so that
 * the dependency stays visible. WAIT-FREE. */
TT_API unsigned tt_dp_degrade_level(tt_dp *dp, const char *feature, const char *key, size_t key_len);

/* Which of `n` data centers the call to `service` should go to: by the weights in force, else `fallback` (an index; -1: equal shares). `key` as
 * above, may be NULL. Returns an index into `dcs`, never one with weight 0 while another has more. WAIT-FREE. */
TT_API int tt_dp_pick_dc(tt_dp *dp, const char *service, const char *const *dcs, size_t n, int fallback, const char *key, size_t key_len);
/* Whether a decision has taken this instance of `service` out. Ignore it when every instance is out. WAIT-FREE. */
TT_API bool tt_dp_is_ejected(tt_dp *dp, const char *service, const char *dc, const char *instance);

/* Which of `n` versions of `service` at `dc` a call should go to: as tt_dp_pick_dc. WAIT-FREE */
TT_API int tt_dp_pick_version(tt_dp *dp, const char *service, const char *dc, const char *const *versions, size_t n, int fallback, const char *key,
                              size_t key_len);
/* How calls to `service` at `dc` are to be made while a decision says so; without one everything is as you have it. All WAIT-FREE.
 * may_call: false when this service itself is isolated from it, for this key: fail the call here, don't retry.
 * timeout_ms: how long to wait at most; never more than own_ms.
 * may_retry: whether one more try of a failed call is within the retry budget in force. A true answer has taken it from the budget.
 * may_hedge: whether a backup request may be sent. */
TT_API bool tt_dp_may_call(tt_dp *dp, const char *service, const char *dc, const char *key, size_t key_len);
TT_API uint32_t tt_dp_timeout_ms(tt_dp *dp, const char *service, const char *dc, uint32_t own_ms);
TT_API bool tt_dp_may_retry(tt_dp *dp, const char *service, const char *dc, int64_t now_ns);
TT_API bool tt_dp_may_hedge(tt_dp *dp, const char *service, const char *dc);

/* What became of one call made downstream, as this caller saw it: the view that survives the death of the callee. At most 256
 * distinct (service, dc, instance); later ones are folded into instance "other". WAIT-FREE. */
typedef enum { TT_DP_CALL_OK = 0, TT_DP_CALL_ERROR, TT_DP_CALL_TIMEOUT, TT_DP_CALL_UNREACHABLE, TT_DP_CALL_DROPPED, TT_DP_CALL_REFUSED } tt_dp_call_result;
TT_API void tt_dp_called(tt_dp *dp, const char *service, const char *dc, const char *instance, unsigned priority, tt_dp_call_result result, int64_t latency_ns);

/* The decision in force: what the agent hands over, and what a test may hand over without one. */
typedef enum { TT_DP_LIMIT = 1, TT_DP_DROP, TT_DP_DEGRADE, TT_DP_WEIGHTS, TT_DP_EJECT, TT_DP_CONCURRENCY, TT_DP_RETRY, TT_DP_TIMEOUT, TT_DP_HEDGE, TT_DP_ISOLATE,
               TT_DP_VERSIONS } tt_dp_action_kind;
typedef struct {
    tt_dp_action_kind kind;
    const char *name;         /* drop: priority; degrade: feature; eject: instance; isolate: caller */
    double value;             /* limit: rps for this instance; concurrency: requests in flight in it; drop, isolate: ratio; degrade: level; retry: retries
                                 a call, 0 to 1; timeout: ms; hedge: 0 forbids it, 1 doesn't */
    double probe_ratio;       /* degrade */
    size_t n;                 /* limit, concurrency: names kept, first longest; weights: dcs; versions: versions */
    const char *const *names;
    const double *shares;     /* weights, versions */
} tt_dp_action;
typedef struct {
    const char *service, *dc; /* target; dc NULL or "" for the service as a whole */
    uint64_t epoch, version;
    size_t n_actions;
    const tt_dp_action *actions;
    int64_t expire_after_ms;  /* -1: never */
    int64_t decay_over_ms;    /* after expiry fade to nothing over this long; -1: hold */
} tt_dp_decision;
/* Replaces everything in force, whole or not at all. false, with nothing changed and errno set: EINVAL malformed (a share out of range, weights that
 * don't sum to 1, ...), ESTALE an epoch older than the one in force, ENOMEM. age_ms: how old the decisions are already. Not for the request path. */
TT_API bool tt_dp_apply(tt_dp *dp, const tt_dp_decision *decisions, size_t n, uint64_t epoch, int64_t age_ms, int64_t now_ns);
TT_API void tt_dp_inner_loop(tt_dp *dp, bool on); /* WAIT-FREE */

/* Figures since birth; a snapshot, not one instant. */
typedef struct {
    size_t size;
    uint64_t offered[TT_DP_PRIORITIES_MAX], admitted[TT_DP_PRIORITIES_MAX], ok[TT_DP_PRIORITIES_MAX], error[TT_DP_PRIORITIES_MAX],
        late[TT_DP_PRIORITIES_MAX], dropped[TT_DP_PRIORITIES_MAX], refused[TT_DP_PRIORITIES_MAX];
    uint64_t completed;
    int64_t busy_ns;          /* summed over workers */
    uint32_t queued, inflight, workers;
    uint64_t epoch, version;  /* highest in force */
} tt_dp_stats;
TT_API void tt_dp_read_stats(tt_dp *dp, tt_dp_stats *ret);

/* Prometheus text format, for your /metrics (docs/embed.md lists the names). Returns the bytes needed, as snprintf; not for the request path. */
TT_API size_t tt_dp_metrics(tt_dp *dp, char *buf, size_t size);

TT_API const char *tt_dp_version(void);

#ifdef __cplusplus
}
#endif
#endif
