/* How calls downstream are to be made while a decision says so: within a retry budget, with a shorter time-out, without hedges, or not at all. */
#include "internal.h"

/* The rules of one target: its own and those of the service as a whole. Few stand at a time, so they are walked. */
typedef struct {
    double retry_budget, timeout_ms, refused;
    bool no_hedge;
} manners;

static bool find(const dp_snapshot *s, const char *service, const char *dc, manners *ret) {
    bool any = false;
    *ret = (manners){.retry_budget = 1};
    if (!s || !s->n_callings) return false;
    uint64_t hash = dp_hash_text(service, 0);
    for (uint32_t i = 0; i < s->n_callings; i++) {
        const dp_calling *c = &s->callings[i];
        if (c->hash != hash || strcmp(c->service, service) != 0 || (c->dc[0] && (!dc || strcmp(c->dc, dc) != 0))) continue;
        double faded = dp_faded_by_now(&c->expiry);
        if (faded >= 1) continue;
        any = true;
        /* A rule that fades lets go of what it holds: the budget grows, the time-out rises, fewer of the calls are refused. */
        double budget = c->retry_budget < 0 ? 1 : c->retry_budget + faded * (1 - c->retry_budget), timeout = c->timeout_ms / (1 - faded),
               refused = c->refused * (1 - faded);
        if (budget < ret->retry_budget) ret->retry_budget = budget;
        if (timeout > 0 && (ret->timeout_ms <= 0 || timeout < ret->timeout_ms)) ret->timeout_ms = timeout;
        if (refused > ret->refused) ret->refused = refused;
        ret->no_hedge = ret->no_hedge || c->no_hedge;
    }
    return any;
}

static bool look(tt_dp *dp, const char *service, const char *dc, manners *ret, dp_thread **ret_t, uint64_t *ret_salt) {
    if (!dp_alive(dp) || !service || !atomic_load_explicit(&dp->current, memory_order_relaxed)) return false;
    dp_thread *t = dp_self();
    const dp_snapshot *s = dp_read_begin(t, dp);
    bool any = find(s, service, dc, ret);
    *ret_salt = s ? s->salt : 0;
    dp_read_end(t);
    *ret_t = t;
    return any;
}

bool tt_dp_may_call(tt_dp *dp, const char *service, const char *dc, const char *key, size_t key_len) {
    manners m;
    dp_thread *t;
    uint64_t salt;
    if (!look(dp, service, dc, &m, &t, &salt) || m.refused <= 0) return true;
    return dp_unit_of(t, key, key_len, salt + SALT_ISOLATE) >= m.refused; /* as the callee would judge it */
}

uint32_t tt_dp_timeout_ms(tt_dp *dp, const char *service, const char *dc, uint32_t own_ms) {
    manners m;
    dp_thread *t;
    uint64_t salt;
    if (!look(dp, service, dc, &m, &t, &salt) || m.timeout_ms <= 0 || m.timeout_ms >= own_ms) return own_ms;
    return m.timeout_ms < 1 ? 1 : (uint32_t)m.timeout_ms;
}

bool tt_dp_may_hedge(tt_dp *dp, const char *service, const char *dc) {
    manners m;
    dp_thread *t;
    uint64_t salt;
    return !look(dp, service, dc, &m, &t, &salt) || !m.no_hedge;
}

/* --- the retry budget: retries of the last ten seconds within a share of the tries --- */

static dp_budget *budget_of(tt_dp *dp, const char *service) {
    return &dp->budgets[dp_hash_text(service, 0) & (DP_BUDGETS - 1)];
}

/* The slot of this second, emptied when it was an earlier one's. Threads that meet at the turn of a second may lose a count or two. */
static dp_budget_second *slot_of(dp_budget *b, uint64_t second) {
    dp_budget_second *s = &b->at[second % DP_BUDGET_SECONDS];
    uint64_t was = atomic_load_explicit(&s->second, memory_order_relaxed);
    if (was != second && atomic_compare_exchange_strong_explicit(&s->second, &was, second, memory_order_relaxed, memory_order_relaxed)) {
        atomic_store_explicit(&s->tries, 0, memory_order_relaxed);
        atomic_store_explicit(&s->retries, 0, memory_order_relaxed);
    }
    return s;
}

static uint64_t second_of(int64_t now_ns) {
    return (uint64_t)now_ns / 1000000000 + 1; /* 0 is a slot never used */
}

void dp_budget_count(tt_dp *dp, const char *service, int64_t now_ns) {
    atomic_fetch_add_explicit(&slot_of(budget_of(dp, service), second_of(now_ns))->tries, 1, memory_order_relaxed);
}

bool tt_dp_may_retry(tt_dp *dp, const char *service, const char *dc, int64_t now_ns) {
    manners m;
    dp_thread *t;
    uint64_t salt;
    if (!look(dp, service, dc, &m, &t, &salt) || m.retry_budget >= 1) return true;
    uint64_t now = second_of(dp_now(now_ns));
    dp_budget *b = budget_of(dp, service);
    double tries = 0, retries = 0;
    dp_budget_second *here = slot_of(b, now);
    for (unsigned i = 0; i < DP_BUDGET_SECONDS; i++) {
        uint64_t second = atomic_load_explicit(&b->at[i].second, memory_order_relaxed);
        if (second + DP_BUDGET_SECONDS <= now || second > now) continue;
        tries += atomic_load_explicit(&b->at[i].tries, memory_order_relaxed);
        retries += atomic_load_explicit(&b->at[i].retries, memory_order_relaxed);
    }
    /* Tries hold the retries too; the budget is a share of first tries. */
    double first = tries > retries ? tries - retries : 0;
    if (retries + 1 > m.retry_budget * first) return false;
    atomic_fetch_add_explicit(&here->retries, 1, memory_order_relaxed);
    return true;
}
