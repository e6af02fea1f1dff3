/* Sets of labels, and places: a service at a data center, either of which may be missing. Both are kept once however many series have them, so that
 * finding a series compares numbers. */
#include "engine_internal.h"

#include <stdlib.h>
#include <string.h>

static const uint64_t seed_set = 1, seed_place = 3;

/* Whatever the order: a set is added up. */
uint64_t tt_labels_hash(const tt_label *l, size_t n) {
    uint64_t h = 0;
    for (size_t i = 0; i < n; i++) h += tt_hash_text(tt_hash_text(seed_set, l[i].name), l[i].value);
    return h;
}

bool tt_labels_copy(tt_labels *to, const tt_label *from, size_t n) {
    memset(to, 0, sizeof *to);
    if (n > TT_LABELS_MAX) n = TT_LABELS_MAX;
    size_t bytes = n * sizeof *to->l + 1;
    for (size_t i = 0; i < n; i++) bytes += from[i].name.n + from[i].value.n;
    to->l = malloc(bytes);
    if (!to->l) return false;
    to->n = (uint32_t)n;
    to->hash = tt_labels_hash(from, n);
    for (size_t i = 0; i < n; i++) {
        size_t at = i;
        for (; at > 0 && tt_sv_cmp(to->l[at - 1].name, from[i].name) > 0; at--) to->l[at] = to->l[at - 1];
        to->l[at] = from[i];
        to->names += (uint32_t)tt_hash_text(seed_set, from[i].name);
    }
    for (size_t i = 0; i < n; i++)
        if (!from[i].value.n) to->names = 0;
    char *p = (char *)(to->l + n);
    for (size_t i = 0; i < n; i++) {
        tt_sv *parts[2] = {&to->l[i].name, &to->l[i].value};
        for (int k = 0; k < 2; k++) {
            if (parts[k]->n) memcpy(p, parts[k]->p, parts[k]->n);
            parts[k]->p = p;
            p += parts[k]->n;
        }
    }
    return true;
}

void tt_labels_free(tt_labels *l) {
    free(l->l);
    memset(l, 0, sizeof *l);
}

tt_sv tt_labels_get(const tt_labels *l, tt_sv name) {
    for (uint32_t i = 0; i < l->n; i++)
        if (tt_sv_eq(l->l[i].name, name)) return l->l[i].value;
    return (tt_sv){NULL, 0};
}

static bool same_text(tt_sv a, tt_sv b) {
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool tt_labels_are(const tt_labels *a, const tt_label *b, size_t n) {
    if (a->n != n) return false;
    for (size_t i = 0; i < n; i++) {
        uint32_t k = 0;
        while (k < a->n && !(same_text(a->l[k].value, b[i].value) && same_text(a->l[k].name, b[i].name))) k++;
        if (k == a->n) return false;
    }
    return true;
}

bool tt_labels_eq(const tt_labels *a, const tt_labels *b) {
    return a->l == b->l || (a->hash == b->hash && tt_labels_are(a, b->l, b->n));
}

/* ---- places ---- */

static uint64_t place_hash(tt_sv service, tt_sv dc) {
    return tt_hash_text(tt_hash_text(seed_place, service), dc);
}

uint32_t tt_place_find(const tt_series_table *t, tt_sv service, tt_sv dc) {
    tt_index_walk w;
    for (uint32_t i = tt_index_first(&t->by_place_name, place_hash(service, dc), &w); i != TT_NOWHERE; i = tt_index_next(&w))
        if (same_text(t->places[i].service, service) && same_text(t->places[i].dc, dc)) return i;
    return TT_NOWHERE;
}

static bool grow(void **array, uint32_t n, uint32_t *cap, size_t each) {
    if (n < *cap) return true;
    uint32_t bigger = *cap ? *cap * 2 : 16;
    void *grown = realloc(*array, bigger * each);
    if (!grown) return false;
    *array = grown;
    *cap = bigger;
    return true;
}

uint32_t tt_place_hold(tt_series_table *t, tt_sv service, tt_sv dc) {
    uint32_t at = tt_place_find(t, service, dc);
    if (at != TT_NOWHERE) {
        t->places[at].n_holders++;
        return at;
    }
    if (t->free_place == TT_NOWHERE && !grow((void **)&t->places, t->n_places, &t->cap_places, sizeof *t->places)) return TT_NOWHERE;
    at = t->free_place != TT_NOWHERE ? t->free_place : t->n_places;
    char *text = malloc(service.n + dc.n + 1);
    if (!text || !tt_index_add(&t->by_place_name, place_hash(service, dc), at)) {
        free(text);
        return TT_NOWHERE;
    }
    if (service.n) memcpy(text, service.p, service.n);
    if (dc.n) memcpy(text + service.n, dc.p, dc.n);
    if (at == t->n_places)
        t->n_places++;
    else
        t->free_place = t->places[at].next;
    t->places[at] = (tt_place){.text = text, .service = {text, service.n}, .dc = {text + service.n, dc.n}, .n_holders = 1};
    return at;
}

void tt_place_release(tt_series_table *t, uint32_t at) {
    tt_place *p = &t->places[at];
    if (--p->n_holders) return;
    tt_index_drop(&t->by_place_name, place_hash(p->service, p->dc), at);
    free(p->text);
    *p = (tt_place){.next = t->free_place};
    t->free_place = at;
}

/* ---- sets ---- */

uint32_t tt_label_set_hold(tt_series_table *t, const tt_label *l, size_t n, uint64_t hash) {
    tt_index_walk w;
    for (uint32_t i = tt_index_first(&t->by_set, hash, &w); i != TT_NOWHERE; i = tt_index_next(&w))
        if (tt_labels_are(&t->sets[i].labels, l, n)) {
            t->sets[i].n_series++;
            return i;
        }
    if (t->free_set == TT_NOWHERE && !grow((void **)&t->sets, t->n_sets, &t->cap_sets, sizeof *t->sets)) return TT_NOWHERE;
    uint32_t at = t->free_set != TT_NOWHERE ? t->free_set : t->n_sets;
    tt_labels copy;
    if (!tt_labels_copy(&copy, l, n)) return TT_NOWHERE;
    tt_label_set x = {.labels = copy,
                      .service = tt_labels_get(&copy, TT_SV("service")),
                      .dc = tt_labels_get(&copy, TT_SV("dc")),
                      .instance = tt_labels_get(&copy, TT_SV("instance")),
                      .priority = tt_labels_get(&copy, TT_SV("priority")),
                      .n_series = 1};
    x.place = tt_place_hold(t, x.service, x.dc);
    if (x.place == TT_NOWHERE || !tt_index_add(&t->by_set, hash, at)) {
        if (x.place != TT_NOWHERE) tt_place_release(t, x.place);
        tt_labels_free(&copy);
        return TT_NOWHERE;
    }
    if (at == t->n_sets)
        t->n_sets++;
    else
        t->free_set = t->sets[at].next;
    t->sets[at] = x;
    return at;
}

void tt_label_set_release(tt_series_table *t, uint32_t at) {
    tt_label_set *x = &t->sets[at];
    if (--x->n_series) return;
    tt_index_drop(&t->by_set, x->labels.hash, at);
    tt_place_release(t, x->place);
    tt_labels_free(&x->labels);
    *x = (tt_label_set){.next = t->free_set};
    t->free_set = at;
}

void tt_labels_json(const tt_labels *l, tt_buf *b) {
    tt_buf_put(b, TT_SV("{"));
    for (uint32_t i = 0; i < l->n; i++) {
        if (i) tt_buf_put(b, TT_SV(","));
        tt_buf_json_string(b, l->l[i].name);
        tt_buf_put(b, TT_SV(":"));
        tt_buf_json_string(b, l->l[i].value);
    }
    tt_buf_put(b, TT_SV("}"));
}
