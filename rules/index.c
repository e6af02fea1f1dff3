#include "index.h"

#include <stdlib.h>
#include <string.h>

enum { CAP_MIN = 16 };

static void place(tt_index *ix, tt_index_entry e) {
    uint32_t mask = ix->cap - 1, i = e.tag & mask;
    while (ix->e[i].at) i = (i + 1) & mask;
    ix->e[i] = e;
}

static bool grow(tt_index *ix) {
    uint32_t cap = ix->cap ? ix->cap * 2 : CAP_MIN;
    tt_index bigger = {.e = cap > ix->cap ? calloc(cap, sizeof *bigger.e) : NULL, .n = ix->n, .cap = cap};
    if (!bigger.e) return false;
    for (uint32_t i = 0; i < ix->cap; i++)
        if (ix->e[i].at) place(&bigger, ix->e[i]);
    free(ix->e);
    *ix = bigger;
    return true;
}

bool tt_index_add(tt_index *ix, uint64_t hash, uint32_t at) {
    if (ix->n >= ix->cap / 4 * 3 && !grow(ix)) return false;
    place(ix, (tt_index_entry){tt_index_tag(hash), at + 1});
    ix->n++;
    return true;
}

static tt_index_entry *find(tt_index *ix, uint64_t hash, uint32_t at) {
    uint32_t mask = ix->cap - 1, tag = tt_index_tag(hash);
    if (!ix->n) return NULL;
    for (uint32_t i = tag & mask; ix->e[i].at; i = (i + 1) & mask)
        if (ix->e[i].tag == tag && ix->e[i].at == at + 1) return &ix->e[i];
    return NULL;
}

void tt_index_move(tt_index *ix, uint64_t hash, uint32_t from, uint32_t to) {
    tt_index_entry *e = find(ix, hash, from);
    if (e) e->at = to + 1;
}

void tt_index_drop(tt_index *ix, uint64_t hash, uint32_t at) {
    tt_index_entry *e = find(ix, hash, at);
    if (!e) return;
    /* Those behind it that would no longer be found across the gap move up into it. */
    uint32_t mask = ix->cap - 1, gap = (uint32_t)(e - ix->e);
    for (uint32_t i = (gap + 1) & mask; ix->e[i].at; i = (i + 1) & mask) {
        uint32_t home = ix->e[i].tag & mask;
        if (((i - home) & mask) < ((i - gap) & mask)) continue;
        ix->e[gap] = ix->e[i];
        gap = i;
    }
    ix->e[gap] = (tt_index_entry){0};
    ix->n--;
}

void tt_index_clear(tt_index *ix) {
    if (ix->n) memset(ix->e, 0, ix->cap * sizeof *ix->e);
    ix->n = 0;
}

void tt_index_free(tt_index *ix) {
    free(ix->e);
    *ix = (tt_index){0};
}
