/* What is in force: checked, built whole, published with one store, freed when no thread can still be reading it.
 *
 * A reader marks its slot, then loads the pointer; the writer swaps the pointer, then looks at every slot. The barrier between makes it certain
 * that a reader who got the old pointer is seen. A replaced snapshot waits for exactly those readers; nobody waits for it. */
#include <errno.h>
#include <stdlib.h>

#include "internal.h"
#include "private.h"

static const double sum_tolerance = 1e-3; /* three thirds, written with three digits */
enum { DECISIONS_MAX = 65536, ACTIONS_MAX = 4096, NAMES_MAX = 32, LEVEL_MAX = 1000, FEATURES_MAX = 64, TIMEOUT_MS_MAX = 3600000 };
/* What the lowest rank may fill of a concurrency limit; the first all of it. */
static const double lowest_share = 0.8;
static const int64_t ms_max = INT64_C(1) << 43; /* centuries; in ns it still fits */

size_t dp_name_length(const char *name) {
    size_t n = name ? strnlen(name, TT_DP_NAME_MAX) : 0;
    return n < TT_DP_NAME_MAX ? n : 0;
}

static bool is_ratio(double v) {
    return v >= 0 && v <= 1;
} /* false for NaN */

/* --- checking --- */

static bool names_differ(const char *const *names, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (dp_name_length(names[i]) == 0) return false;
        for (size_t k = 0; k < i; k++)
            if (strcmp(names[i], names[k]) == 0) return false;
    }
    return true;
}

static bool action_is_sound(const tt_dp_decision *d, const tt_dp_action *a) {
    switch (a->kind) {
    case TT_DP_LIMIT:
    case TT_DP_CONCURRENCY:
        return a->value >= 0 && a->value <= 1e12 && a->n <= NAMES_MAX && (a->n == 0 || a->names) && names_differ(a->names, a->n);
    case TT_DP_DROP:
        return dp_name_length(a->name) > 0 && is_ratio(a->value);
    case TT_DP_DEGRADE:
        return dp_name_length(a->name) > 0 && a->value >= 0 && a->value <= LEVEL_MAX && a->value == (double)(unsigned)a->value &&
               is_ratio(a->probe_ratio);
    case TT_DP_EJECT:
        return dp_name_length(a->name) > 0;
    case TT_DP_RETRY:
        return is_ratio(a->value);
    case TT_DP_TIMEOUT:
        return a->value >= 1 && a->value <= TIMEOUT_MS_MAX;
    case TT_DP_HEDGE:
        return a->value == 0 || a->value == 1;
    case TT_DP_ISOLATE:
        return dp_name_length(a->name) > 0 && is_ratio(a->value);
    case TT_DP_VERSIONS:
    case TT_DP_WEIGHTS: {
        if (a->kind == TT_DP_WEIGHTS && d->dc && d->dc[0]) return false; /* they divide traffic among sites: a site's own makes no sense */
        if (a->n == 0 || a->n > TT_DP_DCS_MAX || !a->names || !a->shares || !names_differ(a->names, a->n)) return false;
        double sum = 0;
        for (size_t i = 0; i < a->n; i++) {
            if (!is_ratio(a->shares[i])) return false;
            sum += a->shares[i];
        }
        return sum > 1 - sum_tolerance && sum < 1 + sum_tolerance;
    }
    }
    return false;
}

static bool has_name(tt_dp_action_kind kind) {
    return kind == TT_DP_DROP || kind == TT_DP_DEGRADE || kind == TT_DP_EJECT || kind == TT_DP_ISOLATE;
}

static bool twice_in_one(const tt_dp_decision *d, size_t i) {
    const tt_dp_action *a = &d->actions[i];
    for (size_t k = 0; k < i; k++) {
        const tt_dp_action *b = &d->actions[k];
        if (a->kind == b->kind && (!has_name(a->kind) || strcmp(a->name, b->name) == 0)) return true;
    }
    return false;
}

static bool is_sound(const tt_dp_decision *d) {
    if (dp_name_length(d->service) == 0 || (d->dc && d->dc[0] && dp_name_length(d->dc) == 0)) return false;
    if (d->expire_after_ms < -1 || d->expire_after_ms > ms_max || d->decay_over_ms < -1 || d->decay_over_ms > ms_max) return false;
    if (d->n_actions > ACTIONS_MAX || (d->n_actions && !d->actions)) return false;
    for (size_t i = 0; i < d->n_actions; i++)
        if (!action_is_sound(d, &d->actions[i]) || twice_in_one(d, i)) return false;
    return true;
}

/* --- building --- */

typedef struct {
    const tt_dp *dp;
    dp_snapshot *s;
    char *text, *text_end;
    const char **dcs;
    double *shares;
    dp_calling *calling; /* of the decision that is being taken in; NULL: it has said nothing of calls yet */
} builder;

static const char *copy_text(builder *b, const char *text) {
    size_t n = strlen(text) + 1;
    char *to = b->text;
    memcpy(to, text, n);
    b->text += n;
    return to;
}

static bool concerns_us(const tt_dp *dp, const tt_dp_decision *d) {
    return strcmp(d->service, dp->service) == 0 && (!d->dc || !d->dc[0] || strcmp(d->dc, dp->dc) == 0);
}

static int priority_of(const tt_dp *dp, const char *name) {
    for (uint32_t p = 0; p < dp->n_priorities; p++)
        if (strcmp(dp->priorities[p], name) == 0) return (int)p;
    return -1;
}

/* Rank 0 is kept longest. Priorities that are not kept come after all that are. */
static unsigned rank_priorities(const tt_dp *dp, const tt_dp_action *a, unsigned rank[TT_DP_PRIORITIES_MAX]) {
    unsigned ranks = 0;
    bool ranked[TT_DP_PRIORITIES_MAX] = {false};
    for (size_t i = 0; i < a->n; i++) {
        int p = priority_of(dp, a->names[i]);
        if (p < 0) continue;
        ranked[p] = true;
        rank[p] = ranks++;
    }
    for (uint32_t p = 0; p < dp->n_priorities; p++)
        if (!ranked[p]) rank[p] = ranks++;
    return ranks;
}

static dp_calling *calling_of(builder *b, const tt_dp_decision *d, dp_expiry expiry) {
    if (b->calling) return b->calling;
    b->calling = &b->s->callings[b->s->n_callings++];
    *b->calling = (dp_calling){.service = copy_text(b, d->service),
                               .dc = copy_text(b, d->dc ? d->dc : ""),
                               .hash = dp_hash_text(d->service, 0),
                               .retry_budget = -1,
                               .expiry = expiry};
    return b->calling;
}

static bool add_action(builder *b, const tt_dp_decision *d, const tt_dp_action *a, dp_expiry expiry) {
    dp_snapshot *s = b->s;
    unsigned rank[TT_DP_PRIORITIES_MAX] = {0}, ranks;
    switch (a->kind) {
    case TT_DP_LIMIT:
        if (!concerns_us(b->dp, d)) return true;
        if (s->n_limits == DP_TARGETS) return false; /* the same target twice */
        ranks = rank_priorities(b->dp, a, rank);
        s->limits[s->n_limits] = (dp_limit){.rps = a->value, .expiry = expiry, .ranks = ranks};
        for (uint32_t p = 0; p < b->dp->n_priorities; p++) s->limits[s->n_limits].reserve[p] = (double)rank[p] / ranks;
        s->n_limits++;
        return true;
    case TT_DP_CONCURRENCY:
        if (!concerns_us(b->dp, d)) return true;
        if (s->n_concurrency == DP_TARGETS) return false;
        ranks = rank_priorities(b->dp, a, rank);
        s->concurrency[s->n_concurrency] = (dp_concurrency){.inflight = a->value, .expiry = expiry};
        for (uint32_t p = 0; p < b->dp->n_priorities; p++)
            s->concurrency[s->n_concurrency].share[p] = ranks > 1 ? 1 - (1 - lowest_share) * rank[p] / (ranks - 1) : 1;
        s->n_concurrency++;
        return true;
    case TT_DP_RETRY:
        calling_of(b, d, expiry)->retry_budget = a->value;
        return true;
    case TT_DP_TIMEOUT:
        calling_of(b, d, expiry)->timeout_ms = a->value;
        return true;
    case TT_DP_HEDGE:
        calling_of(b, d, expiry)->no_hedge = a->value == 0;
        return true;
    case TT_DP_ISOLATE:
        if (strcmp(a->name, b->dp->service) == 0) calling_of(b, d, expiry)->refused = a->value;
        if (concerns_us(b->dp, d)) s->isolates[s->n_isolates++] = (dp_isolate){copy_text(b, a->name), a->value, expiry};
        return true;
    case TT_DP_DROP: {
        int p = concerns_us(b->dp, d) ? priority_of(b->dp, a->name) : -1;
        if (p < 0) return true;
        if (s->n_drops[p] == DP_TARGETS) return false;
        s->drops[p][s->n_drops[p]++] = (dp_drop){a->value, expiry};
        return true;
    }
    case TT_DP_DEGRADE:
        if (!concerns_us(b->dp, d)) return true;
        if (s->n_degrades == FEATURES_MAX) return false;
        s->degrades[s->n_degrades++] = (dp_degrade){copy_text(b, a->name), dp_hash_text(a->name, 0), (unsigned)a->value, a->probe_ratio, expiry};
        return true;
    case TT_DP_EJECT:
        s->ejects[s->n_ejects++] = (dp_eject){copy_text(b, d->service), copy_text(b, d->dc ? d->dc : ""), copy_text(b, a->name),
                                              dp_hash_text(a->name, dp_hash_text(d->service, 0)), expiry};
        return true;
    case TT_DP_VERSIONS:
    case TT_DP_WEIGHTS: {
        dp_weights *w = &s->weights[s->n_weights++];
        *w = (dp_weights){copy_text(b, d->service), a->kind == TT_DP_VERSIONS ? copy_text(b, d->dc ? d->dc : "") : NULL,
                          dp_hash_text(d->service, 0), (uint32_t)a->n, b->dcs, b->shares, expiry};
        for (size_t i = 0; i < a->n; i++) {
            *b->dcs++ = copy_text(b, a->names[i]);
            *b->shares++ = a->shares[i];
        }
        return true;
    }
    }
    return true;
}

static uint32_t index_size(size_t n) {
    uint32_t size = 4;
    while (size < 2 * n) size *= 2;
    return size;
}

static bool index_weights(dp_snapshot *s) {
    for (uint32_t i = 0; i < s->n_weights; i++) {
        uint32_t at = (uint32_t)s->weights[i].hash & s->weight_mask;
        for (; s->weight_index[at]; at = (at + 1) & s->weight_mask) {
            const dp_weights *w = &s->weights[s->weight_index[at] - 1], *mine = &s->weights[i];
            if (strcmp(w->service, mine->service) == 0 && !w->of_dc == !mine->of_dc && (!w->of_dc || strcmp(w->of_dc, mine->of_dc) == 0))
                return false; /* the same target twice */
        }
        s->weight_index[at] = i + 1;
    }
    return true;
}

static void index_ejects(dp_snapshot *s) {
    for (uint32_t i = 0; i < s->n_ejects; i++) {
        uint32_t at = (uint32_t)s->ejects[i].hash & s->eject_mask;
        while (s->eject_index[at]) at = (at + 1) & s->eject_mask;
        s->eject_index[at] = i + 1;
    }
}

typedef struct {
    size_t degrades, weights, shares, ejects, callings, isolates, text;
} sizes;

static sizes measure(const tt_dp_decision *decisions, size_t n) {
    sizes z = {0};
    for (size_t i = 0; i < n; i++) {
        const tt_dp_decision *d = &decisions[i];
        size_t target = strlen(d->service) + 1 + (d->dc ? strlen(d->dc) : 0) + 1;
        for (size_t k = 0; k < d->n_actions; k++) {
            const tt_dp_action *a = &d->actions[k];
            if (a->kind == TT_DP_DEGRADE) z.degrades++, z.text += strlen(a->name) + 1;
            if (a->kind == TT_DP_EJECT) z.ejects++, z.text += target + strlen(a->name) + 1;
            if (a->kind == TT_DP_RETRY || a->kind == TT_DP_TIMEOUT || a->kind == TT_DP_HEDGE || a->kind == TT_DP_ISOLATE) z.callings++, z.text += target;
            if (a->kind == TT_DP_ISOLATE) z.isolates++, z.text += strlen(a->name) + 1;
            if (a->kind != TT_DP_WEIGHTS && a->kind != TT_DP_VERSIONS) continue;
            z.weights++, z.shares += a->n, z.text += target;
            for (size_t j = 0; j < a->n; j++) z.text += strlen(a->names[j]) + 1;
        }
    }
    return z;
}

static size_t place(size_t *total, size_t n, size_t each) {
    size_t at = (*total + 15) & ~(size_t)15;
    *total = at + n * each; /* n and each are bounded by DECISIONS_MAX * ACTIONS_MAX and TT_DP_NAME_MAX */
    return at;
}

/* NULL with errno. One allocation holds it all. */
static dp_snapshot *build(const tt_dp *dp, const tt_dp_decision *decisions, size_t n, uint64_t epoch, int64_t age_ms, int64_t now_ns) {
    sizes z = measure(decisions, n);
    if (z.degrades > FEATURES_MAX) z.degrades = FEATURES_MAX;
    uint32_t weight_slots = index_size(z.weights), eject_slots = index_size(z.ejects);
    size_t total = sizeof(dp_snapshot);
    size_t at_degrades = place(&total, z.degrades, sizeof(dp_degrade)), at_weights = place(&total, z.weights, sizeof(dp_weights));
    size_t at_callings = place(&total, z.callings, sizeof(dp_calling)), at_isolates = place(&total, z.isolates, sizeof(dp_isolate));
    size_t at_ejects = place(&total, z.ejects, sizeof(dp_eject)), at_dcs = place(&total, z.shares, sizeof(char *));
    size_t at_shares = place(&total, z.shares, sizeof(double)), at_text = place(&total, z.text, 1);
    size_t at_wi = place(&total, weight_slots, sizeof(uint32_t)), at_ei = place(&total, eject_slots, sizeof(uint32_t));
    char *m = calloc(1, total);
    if (!m) {
        errno = ENOMEM;
        return NULL;
    }
    dp_snapshot *s = (dp_snapshot *)(void *)m;
    *s = (dp_snapshot){.epoch = epoch,
                       .salt = dp_scramble(epoch), /* within an epoch a key keeps its answer, on every hop */
                       .degrades = (dp_degrade *)(void *)(m + at_degrades),
                       .weights = (dp_weights *)(void *)(m + at_weights),
                       .ejects = (dp_eject *)(void *)(m + at_ejects),
                       .callings = (dp_calling *)(void *)(m + at_callings),
                       .isolates = (dp_isolate *)(void *)(m + at_isolates),
                       .weight_index = (uint32_t *)(void *)(m + at_wi),
                       .eject_index = (uint32_t *)(void *)(m + at_ei),
                       .weight_mask = weight_slots - 1,
                       .eject_mask = eject_slots - 1};
    builder b = {.dp = dp, .s = s, .text = m + at_text, .dcs = (const char **)(void *)(m + at_dcs), .shares = (double *)(void *)(m + at_shares)};
    bool sound = true;
    for (size_t i = 0; i < n && sound; i++) {
        const tt_dp_decision *d = &decisions[i];
        dp_expiry expiry = {INT64_MAX, -1};
        if (d->expire_after_ms >= 0) {
            expiry.at_ns = now_ns + (d->expire_after_ms - age_ms) * 1000000;
            expiry.over_ns = d->decay_over_ms < 0 ? -1 : d->decay_over_ms * 1000000;
        }
        if (d->version > s->version) s->version = d->version;
        b.calling = NULL;
        for (size_t k = 0; k < d->n_actions && sound; k++) sound = add_action(&b, d, &d->actions[k], expiry);
    }
    if (!sound || !index_weights(s)) {
        free(s);
        errno = EINVAL;
        return NULL;
    }
    index_ejects(s);
    return s;
}

/* --- publishing and freeing, under the lock --- */

static bool still_read(dp_snapshot *s) {
    bool any = false;
    for (unsigned i = 0; i < DP_SLOTS; i++) {
        if (!s->waits_for[i]) continue;
        if (atomic_load_explicit(&dp_rt.threads[i].reading, memory_order_acquire) != s->waits_for[i])
            s->waits_for[i] = 0;
        else
            any = true;
    }
    for (unsigned i = 0; i < DP_SHARED; i++)
        if ((s->waits_shared & 1U << i) && atomic_load_explicit(&dp_rt.threads[DP_SLOTS + i].reading, memory_order_acquire) == 0)
            s->waits_shared &= ~(1U << i);
    return any || s->waits_shared;
}

static void retire(tt_dp *dp, dp_snapshot *old) {
    dp_writer_barrier();
    if (old) {
        for (unsigned i = 0; i < DP_SLOTS; i++) {
            uint64_t reading = atomic_load_explicit(&dp_rt.threads[i].reading, memory_order_acquire);
            old->waits_for[i] = reading & 1 ? reading : 0;
        }
        old->waits_shared = (1U << DP_SHARED) - 1;
        old->next_retired = dp->retired;
        dp->retired = old;
    }
    for (dp_snapshot **at = &dp->retired; *at;) {
        dp_snapshot *s = *at;
        if (still_read(s)) {
            at = &s->next_retired;
            continue;
        }
        *at = s->next_retired;
        free(s);
    }
}

void dp_snapshots_free(tt_dp *dp) {
    free(atomic_load(&dp->current));
    for (dp_snapshot *s = dp->retired, *next; s; s = next) {
        next = s->next_retired;
        free(s);
    }
}

static bool judges(const dp_snapshot *s) {
    bool any = s->n_limits > 0 || s->n_concurrency > 0 || s->n_isolates > 0;
    for (unsigned p = 0; p < TT_DP_PRIORITIES_MAX; p++) any = any || s->n_drops[p] > 0;
    return any;
}

static bool has_budget(const dp_snapshot *s) {
    for (uint32_t i = 0; i < s->n_callings; i++)
        if (s->callings[i].retry_budget >= 0) return true;
    return false;
}

bool tt_dp_apply(tt_dp *dp, const tt_dp_decision *decisions, size_t n, uint64_t epoch, int64_t age_ms, int64_t now_ns) {
    if (!dp_alive(dp) || (n && !decisions) || n > DECISIONS_MAX || age_ms < 0 || age_ms > ms_max) {
        errno = EINVAL;
        return false;
    }
    for (size_t i = 0; i < n; i++)
        if (!is_sound(&decisions[i])) {
            errno = EINVAL;
            return false;
        }
    dp_snapshot *s = build(dp, decisions, n, epoch, age_ms, dp_now(now_ns));
    if (!s) return false;
    pthread_mutex_lock(&dp_rt.lock);
    bool stale = epoch < dp->epoch;
    if (!stale) {
        dp->epoch = epoch;
        dp->applied++;
        dp_snapshot *old = atomic_exchange(&dp->current, s);
        uint32_t gates = (judges(s) ? DP_GATE_DECISION : 0u) | (s->n_concurrency ? DP_GATE_INFLIGHT : 0u) | (has_budget(s) ? DP_GATE_BUDGET : 0u);
        if ((gates & DP_GATE_INFLIGHT) && !(atomic_load(&dp->gates) & DP_GATE_INFLIGHT)) { /* what is in flight already counts */
            atomic_store(&dp->inflight, dp_inflight(dp));
            atomic_store(&dp->next_count_ns, 0);
        }
        atomic_fetch_or(&dp->gates, gates);
        atomic_fetch_and(&dp->gates, gates | DP_GATE_INNER);
        retire(dp, old);
    }
    pthread_mutex_unlock(&dp_rt.lock);
    if (stale) {
        free(s);
        errno = ESTALE;
    }
    return !stale;
}

void tt_dp_private_in_force(tt_dp *dp, tt_dp_private_state *ret) {
    *ret = (tt_dp_private_state){0};
    if (!dp_alive(dp)) return;
    pthread_mutex_lock(&dp_rt.lock);
    const dp_snapshot *s = atomic_load(&dp->current); /* only a writer frees it, and writers wait for the lock */
    ret->applied = dp->applied;
    if (s) {
        ret->epoch = s->epoch;
        ret->version = s->version;
        ret->actions = s->n_limits + s->n_concurrency + s->n_degrades + s->n_weights + s->n_ejects + s->n_callings + s->n_isolates;
        for (uint32_t p = 0; p < dp->n_priorities; p++) ret->actions += s->n_drops[p];
    }
    pthread_mutex_unlock(&dp_rt.lock);
}
