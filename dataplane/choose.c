/* Choices made for one request or call: how far to degrade, which site, whether an instance is out. */
#include "internal.h"

static unsigned level_of(const dp_degrade *d, dp_thread *t, const char *key, size_t key_len, uint64_t salt) {
    if (d->level == 0) return 0;
    double faded = dp_faded_by_now(&d->expiry);
    if (faded > 0 && dp_unit_of(t, key, key_len, salt + SALT_FADE) < faded) return 0;
    return d->level - (dp_unit_of(t, key, key_len, salt + SALT_PROBE) < d->probe_ratio);
}

unsigned tt_dp_degrade_level(tt_dp *dp, const char *feature, const char *key, size_t key_len) {
    if (!dp_alive(dp) || !feature || !atomic_load_explicit(&dp->current, memory_order_relaxed)) return 0;
    dp_thread *t = dp_self();
    unsigned level = 0;
    const dp_snapshot *s = dp_read_begin(t, dp);
    if (s && s->n_degrades) {
        uint64_t hash = dp_hash_text(feature, 0);
        for (uint32_t i = 0; i < s->n_degrades; i++) {
            const dp_degrade *d = &s->degrades[i];
            if (d->hash != hash || strcmp(d->feature, feature) != 0) continue;
            unsigned l = level_of(d, t, key, key_len, s->salt);
            if (l > level) level = l;
        }
    }
    dp_read_end(t);
    return level;
}

/* `of_dc` NULL: the shares of data centers; else those of versions at that one, or of the service as a whole. */
static const dp_weights *weights_of(const dp_snapshot *s, const char *service, const char *of_dc) {
    const dp_weights *whole = NULL;
    if (!s || !s->n_weights) return NULL;
    uint64_t hash = dp_hash_text(service, 0);
    for (uint32_t at = (uint32_t)hash & s->weight_mask; s->weight_index[at]; at = (at + 1) & s->weight_mask) {
        const dp_weights *w = &s->weights[s->weight_index[at] - 1];
        if (w->hash != hash || !w->of_dc != !of_dc || strcmp(w->service, service) != 0) continue;
        if (!of_dc || strcmp(w->of_dc, of_dc) == 0) return w;
        if (!w->of_dc[0]) whole = w;
    }
    return whole;
}

/* Walks in the decision's order, not the caller's: callers that list the sites differently still agree about a key. -1: none has any weight. */
static int by_weight(const dp_weights *w, const char *const *dcs, size_t n, double unit) {
    int place[TT_DP_DCS_MAX];
    double sum = 0;
    for (uint32_t i = 0; i < w->n; i++) {
        place[i] = -1;
        for (size_t k = 0; k < n && place[i] < 0; k++)
            if (dcs[k] && strcmp(dcs[k], w->dcs[i]) == 0) place[i] = (int)k;
        if (place[i] >= 0) sum += w->shares[i];
    }
    int last = -1;
    double left = unit * sum;
    for (uint32_t i = 0; i < w->n; i++) {
        if (place[i] < 0 || w->shares[i] <= 0) continue;
        last = place[i]; /* rounding may leave a hair over: it goes to the last with a weight */
        if (left < w->shares[i]) break;
        left -= w->shares[i];
    }
    return last;
}

static int pick(tt_dp *dp, const char *service, const char *of_dc, const char *const *dcs, size_t n, int fallback, const char *key, size_t key_len) {
    if (n == 0 || !dcs) return -1;
    bool has_fallback = fallback >= 0 && (size_t)fallback < n;
    if (!dp_alive(dp)) return has_fallback ? fallback : 0;
    dp_thread *t = dp_self();
    int found = -1;
    uint64_t salt = 0;
    if (service && atomic_load_explicit(&dp->current, memory_order_relaxed)) {
        const dp_snapshot *s = dp_read_begin(t, dp);
        const dp_weights *w = weights_of(s, service, of_dc);
        if (w) {
            salt = s->salt;
            double faded = dp_faded_by_now(&w->expiry);
            if (faded <= 0 || dp_unit_of(t, key, key_len, salt + SALT_SITE_FADE) >= faded)
                found = by_weight(w, dcs, n, dp_unit_of(t, key, key_len, salt + SALT_SITE));
        }
        dp_read_end(t);
    }
    if (found >= 0) return found;
    if (has_fallback) return fallback;
    return (int)(dp_unit_of(t, key, key_len, salt + SALT_SITE) * (double)n);
}

int tt_dp_pick_dc(tt_dp *dp, const char *service, const char *const *dcs, size_t n, int fallback, const char *key, size_t key_len) {
    return pick(dp, service, NULL, dcs, n, fallback, key, key_len);
}

int tt_dp_pick_version(tt_dp *dp, const char *service, const char *dc, const char *const *versions, size_t n, int fallback, const char *key,
                       size_t key_len) {
    return pick(dp, service, dc ? dc : "", versions, n, fallback, key, key_len);
}

bool tt_dp_is_ejected(tt_dp *dp, const char *service, const char *dc, const char *instance) {
    if (!dp_alive(dp) || !service || !instance || !atomic_load_explicit(&dp->current, memory_order_relaxed)) return false;
    dp_thread *t = dp_self();
    bool out = false;
    const dp_snapshot *s = dp_read_begin(t, dp);
    if (s && s->n_ejects) {
        uint64_t hash = dp_hash_text(instance, dp_hash_text(service, 0));
        for (uint32_t at = (uint32_t)hash & s->eject_mask; s->eject_index[at] && !out; at = (at + 1) & s->eject_mask) {
            const dp_eject *e = &s->ejects[s->eject_index[at] - 1];
            out = e->hash == hash && strcmp(e->instance, instance) == 0 && strcmp(e->service, service) == 0 &&
                  (!e->dc[0] || (dc && strcmp(e->dc, dc) == 0)) && dp_faded_by_now(&e->expiry) < 1;
        }
    }
    dp_read_end(t);
    return out;
}
