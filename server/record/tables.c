#include "record/codec.h"

#include <stdlib.h>
#include <string.h>

#define NONE RECORD_NONE

/* ---- numbered texts ---- */

static uint64_t hash_text(uint64_t h, tt_sv s) {
    uint64_t w;
    size_t i = 0;
    h ^= s.n * 0x9e3779b97f4a7c15u;
    for (; i + 8 <= s.n; i += 8) {
        memcpy(&w, s.p + i, 8);
        h = (h ^ w) * 0xbf58476d1ce4e5b9u;
        h ^= h >> 32;
    }
    w = 0;
    if (i < s.n) memcpy(&w, s.p + i, s.n - i);
    h = (h ^ w) * 0x94d049bb133111ebu;
    return h ^ h >> 29;
}

bool record_grow(void **at, size_t *cap, size_t n, size_t each) {
    if (n <= *cap) return true;
    size_t want = *cap ? *cap : 16;
    while (want < n) want *= 2;
    void *grown = realloc(*at, want * each);
    if (!grown) return false;
    *at = grown;
    *cap = want;
    return true;
}

bool record_tables_init(record_tables *t) {
    memset(t, 0, sizeof *t);
    t->first = NONE;
    tt_buf_init(&t->acks, RECORD_MAX);
    t->texts.arena = tt_arena_new();
    return t->texts.arena != NULL;
}

void record_tables_free(record_tables *t) {
    tt_arena_free(t->texts.arena);
    free(t->texts.at);
    free(t->texts.slots);
    free(t->series);
    free(t->slots);
    tt_buf_free(&t->acks);
    memset(t, 0, sizeof *t);
}

static bool texts_add(record_texts *t, tt_sv s) {
    size_t cap = t->cap;
    if (t->n == RECORD_NAMES_MAX || s.n > RECORD_NAME_BYTES || t->bytes + s.n > RECORD_TABLE_BYTES) return false;
    if (!record_grow((void **)&t->at, &cap, t->n + 1, sizeof *t->at)) return false;
    t->cap = (uint32_t)cap;
    tt_sv copy = tt_arena_copy(t->arena, s);
    if (!copy.p) return false;
    t->bytes += s.n;
    t->at[t->n++] = copy;
    return true;
}

/* Makes room for one more in a table of hashes that is at most half full; `hash_of` gives the hash of what has a number. */
static bool slots_grow(uint32_t **slots, uint32_t *n_slots, uint32_t n, uint64_t (*hash_of)(const record_tables *, uint32_t),
                       const record_tables *t) {
    if (n < *n_slots / 2) return true;
    uint32_t size = *n_slots ? *n_slots * 2 : 256;
    uint32_t *fresh = calloc(size, sizeof *fresh);
    if (!fresh) return false;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = (uint32_t)hash_of(t, i) & (size - 1);
        while (fresh[at]) at = (at + 1) & (size - 1);
        fresh[at] = i + 1;
    }
    free(*slots);
    *slots = fresh;
    *n_slots = size;
    return true;
}

static uint64_t hash_of_text(const record_tables *t, uint32_t i) {
    return hash_text(0, t->texts.at[i]);
}
static uint64_t hash_of_series(const record_tables *t, uint32_t i) {
    return t->series[i].hash;
}

/* The text's number; the first time the text itself. *ret: its number. */
bool record_put_name(tt_buf *b, record_tables *t, tt_sv s, uint32_t *ret) {
    record_texts *x = &t->texts;
    if (!slots_grow(&x->slots, &x->n_slots, x->n, hash_of_text, t)) return false;
    uint32_t at = (uint32_t)hash_text(0, s) & (x->n_slots - 1);
    for (; x->slots[at]; at = (at + 1) & (x->n_slots - 1))
        if (tt_sv_eq(x->at[x->slots[at] - 1], s)) {
            *ret = x->slots[at] - 1;
            record_put_uv(b, x->slots[at]);
            return true;
        }
    if (!texts_add(x, s)) return false;
    x->slots[at] = x->n;
    *ret = x->n - 1;
    record_put_uv(b, 0);
    record_put_text(b, s);
    return true;
}

static uint32_t get_name(record_cursor *c, record_tables *t) {
    uint64_t v = record_get_uv(c);
    if (c->why) return 0;
    if (v == 0) {
        tt_sv s = record_get_text(c);
        if (!c->why && !texts_add(&t->texts, s)) record_bad(c, "more texts than a segment may have, or memory is out");
        return c->why ? 0 : t->texts.n - 1;
    }
    if (v > t->texts.n) {
        record_bad(c, "a text's number is not one");
        return 0;
    }
    return (uint32_t)v - 1;
}

tt_sv record_get_named(record_cursor *c, record_tables *t) {
    uint32_t i = get_name(c, t);
    return c->why ? (tt_sv){NULL, 0} : t->texts.at[i];
}

/* ---- series ---- */

static bool series_is(const record_tables *t, uint32_t i, const tt_measurement *m) {
    const record_series *s = &t->series[i];
    if (s->signal != m->signal || s->n_labels != m->n_labels) return false;
    for (uint32_t k = 0; k < s->n_labels; k++)
        if (!tt_sv_eq(t->texts.at[s->value[k]], m->labels[k].value) || !tt_sv_eq(t->texts.at[s->name[k]], m->labels[k].name)) return false;
    return true;
}

static record_series *series_add(record_tables *t) {
    size_t cap = t->cap_series;
    if (t->n_series == RECORD_NAMES_MAX || !record_grow((void **)&t->series, &cap, (size_t)t->n_series + 1, sizeof *t->series)) return NULL;
    t->cap_series = (uint32_t)cap;
    record_series *s = &t->series[t->n_series++];
    *s = (record_series){.follower = NONE};
    return s;
}

static uint32_t *follower_of(record_tables *t, uint32_t before) {
    return before == NONE ? &t->first : &t->series[before].follower;
}

/* Finds or makes the measurement's series, writes which one it is, and gives its flags; false: a ceiling, or memory is out. */
bool record_put_series(tt_buf *b, record_tables *t, const tt_measurement *m, uint32_t before, uint32_t *ret, unsigned *ret_flags) {
    uint32_t guess = *follower_of(t, before);
    *ret_flags = SERIES_FOLLOWS;
    *ret = guess;
    if (guess != NONE && series_is(t, guess, m)) return true;
    if (!slots_grow(&t->slots, &t->n_slots, t->n_series, hash_of_series, t)) return false;
    uint64_t h = m->signal * 0x9e3779b97f4a7c15u;
    for (size_t k = 0; k < m->n_labels; k++) h = hash_text(hash_text(h, m->labels[k].name), m->labels[k].value);
    uint32_t at = (uint32_t)h & (t->n_slots - 1);
    while (t->slots[at] && !(t->series[t->slots[at] - 1].hash == h && series_is(t, t->slots[at] - 1, m))) at = (at + 1) & (t->n_slots - 1);
    if (t->slots[at]) {
        *ret = t->slots[at] - 1;
        *ret_flags = SERIES_KNOWN;
        record_put_uv(b, *ret);
    } else {
        record_series *s = series_add(t);
        if (!s) return false;
        s->signal = m->signal;
        s->n_labels = (uint32_t)m->n_labels;
        s->hash = h;
        *ret = t->n_series - 1;
        *ret_flags = SERIES_NEW;
        t->slots[at] = t->n_series;
        record_put_uv(b, m->signal);
        record_put_uv(b, m->n_labels);
        for (size_t k = 0; k < m->n_labels; k++)
            if (!record_put_name(b, t, m->labels[k].name, &s->name[k]) || !record_put_name(b, t, m->labels[k].value, &s->value[k])) return false;
    }
    *follower_of(t, before) = *ret;
    return true;
}

uint32_t record_get_series(record_cursor *c, record_tables *t, unsigned flags, uint32_t before) {
    uint32_t guess = *follower_of(t, before), at = guess;
    switch (flags & SERIES_MASK) {
    case SERIES_FOLLOWS:
        if (guess == NONE) record_bad(c, "a series follows none");
        return guess;
    case SERIES_KNOWN: {
        uint64_t v = record_get_uv(c);
        if (v >= t->n_series) record_bad(c, "a series' number is not one");
        at = (uint32_t)v;
        break;
    }
    case SERIES_NEW: {
        uint64_t signal = record_get_uv(c), n = record_get_uv(c);
        if (signal > TT_SIGNALS_MAX || n > TT_LABELS_MAX) record_bad(c, "a series has more labels than it can have, or no signal");
        record_series *s = c->why ? NULL : series_add(t);
        if (!s) {
            record_bad(c, "more series than a segment may have, or memory is out");
            break;
        }
        at = t->n_series - 1;
        s->signal = (uint32_t)signal;
        for (size_t k = 0; k < n; k++) {
            s->name[k] = get_name(c, t);
            s->value[k] = get_name(c, t);
        }
        s->n_labels = (uint32_t)n;
        break;
    }
    default:
        record_bad(c, "a measurement's flags are none");
    }
    if (c->why) return NONE;
    *follower_of(t, before) = at;
    return at;
}
