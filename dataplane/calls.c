/* Calls made downstream, counted by callee. A callee is entered once and stays; finding it takes no lock, entering it one compare-and-swap. */
#include "internal.h"

static bool is(const dp_callee *c, uint64_t hash, const char *service, const char *dc, const char *instance) {
    return c->hash == hash && strcmp(c->service, service) == 0 && strcmp(c->dc, dc) == 0 && strcmp(c->instance, instance) == 0;
}

static void set_name(char to[TT_DP_NAME_MAX], const char *from) {
    size_t n = strnlen(from, TT_DP_NAME_MAX - 1);
    memcpy(to, from, n);
    to[n] = 0;
}

static uint32_t take_place(dp_calls *calls, uint32_t from, uint32_t to) {
    for (uint32_t i = from; i < to; i++) {
        bool was = false;
        if (!atomic_load_explicit(&calls->callees[i].taken, memory_order_relaxed) &&
            atomic_compare_exchange_strong_explicit(&calls->callees[i].taken, &was, true, memory_order_acquire, memory_order_relaxed))
            return i;
    }
    return UINT32_MAX;
}

/* Finds it, or enters it into a free place of [from, to). NULL when there is none. */
static dp_callee *find(dp_calls *calls, const char *service, const char *dc, const char *instance, uint32_t from, uint32_t to) {
    uint64_t hash = dp_hash_text(instance, dp_hash_text(dc, dp_hash_text(service, 0)));
    uint32_t mine = UINT32_MAX;
    for (uint32_t tries = 0, at = (uint32_t)hash; tries < DP_CALLEE_INDEX; tries++, at++) {
        _Atomic uint32_t *slot = &calls->index[at % DP_CALLEE_INDEX];
        uint32_t place = atomic_load_explicit(slot, memory_order_acquire);
        if (place == 0) {
            if (mine == UINT32_MAX) {
                mine = take_place(calls, from, to);
                if (mine == UINT32_MAX) return NULL;
                dp_callee *c = &calls->callees[mine];
                c->hash = hash;
                set_name(c->service, service);
                set_name(c->dc, dc);
                set_name(c->instance, instance);
            }
            if (atomic_compare_exchange_strong_explicit(slot, &place, mine + 1, memory_order_acq_rel, memory_order_acquire))
                return &calls->callees[mine];
        }
        dp_callee *c = &calls->callees[place - 1]; /* here before, or just now entered by another thread */
        if (!is(c, hash, service, dc, instance)) continue;
        if (mine != UINT32_MAX) atomic_store_explicit(&calls->callees[mine].taken, false, memory_order_release);
        return c;
    }
    return NULL;
}

void tt_dp_called(tt_dp *dp, const char *service, const char *dc, const char *instance, unsigned priority, tt_dp_call_result result,
                  int64_t latency_ns) {
    if (!dp_alive(dp) || !service || (unsigned)result >= DP_CALL_RESULTS) return;
    if (priority >= dp->n_priorities) priority = dp->n_priorities - 1;
    char names[3][TT_DP_NAME_MAX]; /* cut to their room, so that a long one is found again */
    set_name(names[0], service);
    set_name(names[1], dc ? dc : "");
    set_name(names[2], instance ? instance : "");
    dp_callee *c = find(dp->calls, names[0], names[1], names[2], 0, DP_CALLEES);
    if (!c) c = find(dp->calls, names[0], names[1], "other", DP_CALLEES, DP_CALLEES + DP_CALLEES_OTHER);
    if (!c) c = &dp->calls->other;
    atomic_fetch_add_explicit(&c->count[result][priority], 1, memory_order_relaxed);
    if (atomic_load_explicit(&dp->gates, memory_order_relaxed) & DP_GATE_BUDGET) dp_budget_count(dp, names[0], dp_now(0));
    bool waited = result == TT_DP_CALL_OK || result == TT_DP_CALL_ERROR || result == TT_DP_CALL_TIMEOUT;
    if (waited && latency_ns > 0) atomic_fetch_add_explicit(&c->spent_ns, (uint64_t)latency_ns, memory_order_relaxed);
}
