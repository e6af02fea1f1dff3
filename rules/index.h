/* A hash index: where in a table the entries of one hash are. The table keeps its own order and its own keys; whoever looks compares keys himself,
 * since several may share a hash. Open addressing, grown as it fills. What comes of it depends on what was put in and taken out, never on addresses,
 * but the order among equal hashes is nobody's promise: take the one with the right key, or the least. One thread at a time. */
#ifndef TT_INDEX_H
#define TT_INDEX_H

#include <string.h>

#include "base.h"

typedef struct {
    uint32_t tag; /* of the hash */
    uint32_t at;  /* 1 + where in the table; 0: nothing here */
} tt_index_entry;

typedef struct {
    tt_index_entry *e;
    uint32_t n, cap; /* cap: a power of two, or 0 */
} tt_index;

#define TT_NOWHERE UINT32_MAX

bool tt_index_add(tt_index *ix, uint64_t hash, uint32_t at); /* false: memory is out, nothing has changed. `at` is below TT_NOWHERE */
void tt_index_drop(tt_index *ix, uint64_t hash, uint32_t at);
void tt_index_move(tt_index *ix, uint64_t hash, uint32_t from, uint32_t to); /* the entry that said `from` says `to` */
void tt_index_clear(tt_index *ix);                                           /* empty, its memory kept */
void tt_index_free(tt_index *ix);

/* for (uint32_t i = tt_index_first(&ix, hash, &w); i != TT_NOWHERE; i = tt_index_next(&w)) if (table[i] has the key) ... */
typedef struct {
    const tt_index *ix;
    uint32_t tag, i;
} tt_index_walk;

static inline uint32_t tt_index_tag(uint64_t hash) {
    return (uint32_t)((hash * 0x9e3779b97f4a7c15u) >> 32);
}

static inline uint32_t tt_index_next(tt_index_walk *w) {
    for (uint32_t mask = w->ix->cap - 1;;) {
        const tt_index_entry *e = &w->ix->e[w->i];
        if (!e->at) return TT_NOWHERE;
        w->i = (w->i + 1) & mask;
        if (e->tag == w->tag) return e->at - 1;
    }
}

static inline uint32_t tt_index_first(const tt_index *ix, uint64_t hash, tt_index_walk *w) {
    if (!ix->n) return TT_NOWHERE;
    *w = (tt_index_walk){ix, tt_index_tag(hash), tt_index_tag(hash) & (ix->cap - 1)};
    return tt_index_next(w);
}

/* Brings what tt_index_first will look at closer. */
static inline void tt_index_ahead(const tt_index *ix, uint64_t hash) {
    if (ix->n) __builtin_prefetch(&ix->e[tt_index_tag(hash) & (ix->cap - 1)]);
}
/* What it will find most likely, key unseen; TT_NOWHERE: it will have to look further. */
static inline uint32_t tt_index_guess(const tt_index *ix, uint64_t hash) {
    if (!ix->n) return TT_NOWHERE;
    uint32_t tag = tt_index_tag(hash);
    const tt_index_entry *e = &ix->e[tag & (ix->cap - 1)];
    return e->at && e->tag == tag ? e->at - 1 : TT_NOWHERE;
}

/* Hashes for it: of a number or a text, begun with `h`. Not for anything that is kept or shown. */
static inline uint64_t tt_hash_mix(uint64_t h, uint64_t x) {
    h = (h ^ x) * 0x9e3779b97f4a7c15u;
    return h ^ (h >> 32);
}
static inline uint64_t tt_hash_text(uint64_t h, tt_sv text) {
    const char *p = text.p;
    size_t n = text.n;
    for (uint64_t w; n >= sizeof w; p += sizeof w, n -= sizeof w) {
        memcpy(&w, p, sizeof w);
        h = tt_hash_mix(h, w);
    }
    uint64_t rest = 0;
    if (n >= 4) {
        uint32_t a, b;
        memcpy(&a, p, sizeof a);
        memcpy(&b, p + n - sizeof b, sizeof b);
        rest = (uint64_t)a << 32 | b;
    } else if (n)
        rest = (uint64_t)(unsigned char)p[0] << 16 | (uint64_t)(unsigned char)p[n / 2] << 8 | (unsigned char)p[n - 1];
    return tt_hash_mix(h, rest ^ (uint64_t)text.n << 56); /* the length: or a text and one that ends in a zero more would be one */
}

#endif
