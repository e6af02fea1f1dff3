/* The inner loop: bounds the time a request waits at this hop, without knowing its capacity or its usual latency. Admit while
 * queued < theta * X, X the completions per second; the lowest priority stops first.
 *
 * What keeps it out of a death spiral (refusals starve X, a lower X refuses more):
 * - X goes down only on spans in which the queue never ran empty. Then completions are what the hop can do, whatever we refused.
 * - On spans in which it did run empty nothing waits, so nothing is at stake: X returns towards the best seen lately.
 * - Below a small queue nobody is refused, so the workers never wait for us.
 * - Until a span without an empty queue has been seen, X is unknown and nothing is refused. */
#include "internal.h"

static const double theta_of_timeout = 0.3, theta_base_times = 4, theta_most_of_timeout = 0.7;
static const double half_life_ns = 1.5e9, best_half_life_ns = 300e9;
static const int64_t interval_most_ns = 100000000;
/* The lowest priority has 60 % of the bound, the highest all of it, others between: two classes are 20 % of theta apart, which at the usual
 * theta of 300 ms is 60 ms of work: more than arrivals by chance pile up, so a higher class is not touched while a lower one still gets in. */
static const double lowest_share = 0.6;

/* 2^-t for t >= 0, good to 1 % up to t = 3 and never below 0: the core has no libm. */
static double half_power(double t) {
    double y = t * 0.6931471805599453;
    return 1 / (1 + y * (1 + y / 2 * (1 + y / 3 * (1 + y / 4))));
}

void dp_inner_set_up(tt_dp *dp, uint32_t timeout_ms, uint32_t base_ms) {
    dp_inner *in = &dp->inner;
    double timeout_ns = timeout_ms * 1e6;
    in->interval_ns = (int64_t)(timeout_ns / 10);
    if (in->interval_ns > interval_most_ns) in->interval_ns = interval_most_ns;
    double theta = theta_of_timeout * timeout_ns, least = theta_base_times * base_ms * 1e6 + (double)in->interval_ns;
    if (theta < least) theta = least;
    if (theta > theta_most_of_timeout * timeout_ns) theta = theta_most_of_timeout * timeout_ns; /* a longer wait serves nobody */
    in->theta_ns = (int64_t)theta;
    in->floor = dp->workers > 4 ? dp->workers / 2.0 : 2;
    for (unsigned p = 0; p < TT_DP_PRIORITIES_MAX; p++) atomic_store_explicit(&in->bound[p], INT64_MAX, memory_order_relaxed);
}

static void set_bounds(tt_dp *dp) {
    dp_inner *in = &dp->inner;
    double top = in->x * (double)in->theta_ns / 1e9;
    if (top < in->floor / lowest_share) top = in->floor / lowest_share; /* so that even the smallest queue knows priorities */
    for (unsigned p = 0; p < dp->n_priorities; p++) {
        double share = dp->n_priorities > 1 ? 1 - (1 - lowest_share) * p / (dp->n_priorities - 1) : 1;
        atomic_store_explicit(&in->bound[p], (int64_t)(top * share + 0.999), memory_order_relaxed); /* queued < bound, rounded up */
    }
}

static void learn(tt_dp *dp, int64_t now_ns) {
    dp_inner *in = &dp->inner;
    uint64_t completed = dp_completed(dp);
    int64_t queued = dp_queued(dp), dt_ns = now_ns - in->last_ns;
    double x = (double)(completed - in->last_completed) * 1e9 / (double)dt_ns;
    bool ran_empty = atomic_exchange_explicit(&in->ran_empty, false, memory_order_relaxed) || queued <= 0;
    bool first = in->last_ns == 0, known = in->samples > 0;
    in->last_ns = now_ns;
    in->last_completed = completed;
    atomic_fetch_add_explicit(&in->queued, queued - atomic_load_explicit(&in->queued, memory_order_relaxed), memory_order_relaxed);
    if (first) return;
    double part = 1 - half_power((double)dt_ns / half_life_ns);
    if (!ran_empty) {
        in->samples++;
        double plain = 1 / (double)in->samples; /* a plain mean until there are enough for the moving one */
        if (in->samples == 1)
            in->x = x;
        else
            in->x += (x - in->x) * (plain > part ? plain : part);
    } else if (known) {
        double towards = x > in->best ? x : in->best;
        if (towards > in->x) in->x += (towards - in->x) * part;
    }
    in->best *= half_power((double)dt_ns / best_half_life_ns);
    if (in->best < in->x) in->best = in->x;
    if (in->samples > 0) set_bounds(dp);
}

void dp_inner_sample(tt_dp *dp, int64_t now_ns) {
    dp_inner *in = &dp->inner;
    if (atomic_exchange_explicit(&in->sampling, true, memory_order_acquire)) return; /* someone is at it */
    if (in->last_ns - now_ns > DP_SKEW_MOST_NS) in->last_ns = 0;                     /* begin anew */
    if (now_ns - in->last_ns >= in->interval_ns) {
        learn(dp, now_ns);
        atomic_store_explicit(&in->next_sample_ns, now_ns + in->interval_ns, memory_order_relaxed);
    }
    atomic_store_explicit(&in->sampling, false, memory_order_release);
}

void tt_dp_inner_loop(tt_dp *dp, bool on) {
    if (!dp_alive(dp)) return;
    dp_inner *in = &dp->inner;
    if (on) /* what is queued already counts */
        atomic_store_explicit(&in->queued, dp_queued(dp), memory_order_relaxed);
    if (on)
        atomic_fetch_or_explicit(&dp->gates, DP_GATE_INNER, memory_order_relaxed);
    else
        atomic_fetch_and_explicit(&dp->gates, ~(uint32_t)DP_GATE_INNER, memory_order_relaxed);
}
