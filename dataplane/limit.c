/* The rate cap: a token bucket in one atomic word, the instant at which it was empty. What has flowed in since is (now - empty) x rate, up to the
 * burst; taking a token moves the instant on by 1/rate. So a change of rate needs no conversion: the fill stays the same share of the burst.
 *
 * Priorities share the bucket, but each must leave a reserve to the higher ones: under a cap the fill hovers at the reserve of the lowest
 * priority that still gets something, and everything above it never notices. */
#include "internal.h"

static const int64_t burst_least_ns = 200000000;
static const int64_t tokens_per_rank = 8; /* so that chance alone doesn't carry a slow bucket through a whole reserve */
static const double least_rps = 1e-3;

/* The tightest cap now; NULL when none is in force. */
static const dp_limit *tightest(const dp_snapshot *s, int64_t now_ns, double *ret_rps) {
    const dp_limit *found = NULL;
    for (uint32_t i = 0; i < s->n_limits; i++) {
        double faded = dp_faded(&s->limits[i].expiry, now_ns);
        if (faded >= 1) continue;
        double rps = s->limits[i].rps / (1 - faded);
        if (found && rps >= *ret_rps) continue;
        found = &s->limits[i];
        *ret_rps = rps;
    }
    return found;
}

/* Threads read the clock and then wait for a processor, and hosts pass the time their loop turned: the bucket goes by the latest time anyone
 * showed it. A time far from that is someone's mistake, and doesn't stick. */
static int64_t agree_on_now(tt_dp *dp, int64_t now_ns) {
    int64_t latest = atomic_load_explicit(&dp->bucket_latest_ns, memory_order_relaxed);
    if (latest > now_ns && latest - now_ns < DP_SKEW_MOST_NS) return latest;
    if (latest != now_ns) /* should another thread be first, its time is as good */
        atomic_compare_exchange_strong_explicit(&dp->bucket_latest_ns, &latest, now_ns, memory_order_relaxed, memory_order_relaxed);
    return now_ns;
}

bool dp_limit_take(tt_dp *dp, const dp_snapshot *s, unsigned priority, int64_t now_ns, int64_t *ret_cost_ns) {
    double rps = 0;
    const dp_limit *l = tightest(s, now_ns, &rps);
    if (!l) return true;
    if (rps < least_rps) return false;
    int64_t cost = (int64_t)(1e9 / rps), burst = tokens_per_rank * (int64_t)l->ranks * cost;
    if (burst < burst_least_ns) burst = burst_least_ns;
    now_ns = agree_on_now(dp, now_ns);
    int64_t needed = cost + (int64_t)(l->reserve[priority] * (double)burst);
    int64_t empty = atomic_load_explicit(&dp->bucket_empty_ns, memory_order_relaxed);
    for (int tries = 0;; tries++) {
        int64_t from = empty > now_ns - burst ? empty : now_ns - burst;
        if (from - now_ns > DP_SKEW_MOST_NS) from = now_ns - burst;
        if (now_ns - from < needed) {
            int64_t later_ns = agree_on_now(dp, now_ns);
            if (later_ns <= now_ns || tries >= 64) return false;
            now_ns = later_ns; /* we were kept from the processor meanwhile */
            continue;
        }
        if (tries >= 64) { /* keep it wait-free; the token is paid all the same */
            atomic_fetch_add_explicit(&dp->bucket_empty_ns, cost, memory_order_relaxed);
            break;
        }
        if (atomic_compare_exchange_weak_explicit(&dp->bucket_empty_ns, &empty, from + cost, memory_order_relaxed, memory_order_relaxed)) break;
    }
    *ret_cost_ns = cost;
    return true;
}
