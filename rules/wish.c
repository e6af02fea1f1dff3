/* A decision as the engine keeps it: only what is in it, in a row of bytes. A tt_decision has room for everything a decision can hold, and there are
 * thousands; two that say the same are the same bytes up to `told`. */
#include "engine_internal.h"

#include <string.h>

static void put(tt_buf *b, const void *p, size_t n) {
    tt_buf_put(b, (tt_sv){p, n});
}

static void put_text(tt_buf *b, const char *text) {
    put(b, text, strlen(text) + 1);
}

size_t tt_wish_pack(const tt_wish *w, tt_buf *b) {
    b->n = 0;
    put(b, &w->armed, sizeof w->armed);
    put(b, &w->n_actions, sizeof w->n_actions);
    for (uint32_t i = 0; i < w->n_actions; i++) {
        const tt_wish_act *a = &w->actions[i];
        put(b, &a->kind, sizeof a->kind);
        put(b, &a->value, sizeof a->value);
        put(b, &a->probe_ratio, sizeof a->probe_ratio);
        put_text(b, a->name);
    }
    put(b, &w->n_names, sizeof w->n_names);
    for (uint32_t i = 0; i < w->n_names; i++) {
        put_text(b, w->names[i]);
        put(b, &w->shares[i], sizeof w->shares[i]);
    }
    size_t told = b->n;
    put(b, &w->expire_after_ms, sizeof w->expire_after_ms);
    put(b, &w->decay_over_ms, sizeof w->decay_over_ms);
    bool test = w->test && w->n_loops < TT_DECISION_LOOPS_MAX;
    uint32_t n_loops = w->n_loops + test, pins = w->n_pins;
    if (n_loops + pins > TT_DECISION_LOOPS_MAX) pins = TT_DECISION_LOOPS_MAX - n_loops;
    n_loops += pins;
    put(b, &n_loops, sizeof n_loops);
    for (uint32_t i = 0; i < w->n_loops; i++) put(b, w->loops[i]->id, TT_ULID_SIZE);
    if (test) put(b, w->test->id, TT_ULID_SIZE);
    for (uint32_t i = 0; i < pins; i++) put(b, w->pins[i]->id, TT_ULID_SIZE);
    return told;
}

static void get(const char **p, void *to, size_t n) {
    memcpy(to, *p, n);
    *p += n;
}

static void get_text(const char **p, char to[TT_NAME_MAX]) {
    get(p, to, strlen(*p) + 1);
}

void tt_wish_unpack(const char *p, tt_decision *d) {
    memset(d, 0, sizeof *d);
    d->expire_after_ms = d->decay_over_ms = -1;
    if (!p) return;
    get(&p, &d->armed, sizeof d->armed);
    get(&p, &d->n_actions, sizeof d->n_actions);
    for (uint32_t i = 0; i < d->n_actions; i++) {
        tt_act *a = &d->actions[i];
        get(&p, &a->kind, sizeof a->kind);
        get(&p, &a->value, sizeof a->value);
        get(&p, &a->probe_ratio, sizeof a->probe_ratio);
        get_text(&p, a->name);
    }
    get(&p, &d->n_names, sizeof d->n_names);
    for (uint32_t i = 0; i < d->n_names; i++) {
        get_text(&p, d->names[i]);
        get(&p, &d->shares[i], sizeof d->shares[i]);
    }
    get(&p, &d->expire_after_ms, sizeof d->expire_after_ms);
    get(&p, &d->decay_over_ms, sizeof d->decay_over_ms);
    get(&p, &d->n_loops, sizeof d->n_loops);
    for (uint32_t i = 0; i < d->n_loops; i++) get(&p, d->loops[i], TT_ULID_SIZE);
}
