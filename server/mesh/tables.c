/* The board's tables: services, their sites and agents, found by name. */
#include <stdlib.h>
#include <string.h>

#include "mesh/internal.h"

static uint64_t hash_bytes(uint64_t h, tt_sv s) { /* FNV-1a, with a length mark so that ("ab","c") is not ("a","bc") */
    for (size_t i = 0; i < s.n; i++) h = (h ^ (unsigned char)s.p[i]) * 0x100000001b3u;
    return (h ^ 0xff ^ s.n) * 0x100000001b3u;
}
#define HASH_START 0xcbf29ce484222325u

static hash_node *first_in_slot(const hash_table *t, uint64_t hash) {
    return t->n_slots ? t->slots[hash & (t->n_slots - 1)] : NULL;
}

static bool hash_add(hash_table *t, hash_node *node) {
    if (t->n >= t->n_slots) {
        size_t n_slots = t->n_slots ? t->n_slots * 2 : 64;
        hash_node **slots = calloc(n_slots, sizeof *slots);
        if (!slots) return false;
        for (size_t i = 0; i < t->n_slots; i++)
            for (hash_node *e = t->slots[i], *next; e; e = next) {
                next = e->next;
                e->next = slots[e->hash & (n_slots - 1)];
                slots[e->hash & (n_slots - 1)] = e;
            }
        free(t->slots);
        t->slots = slots;
        t->n_slots = n_slots;
    }
    node->next = t->slots[node->hash & (t->n_slots - 1)];
    t->slots[node->hash & (t->n_slots - 1)] = node;
    t->n++;
    return true;
}

static void hash_remove(hash_table *t, hash_node *node) {
    for (hash_node **at = &t->slots[node->hash & (t->n_slots - 1)]; *at; at = &(*at)->next)
        if (*at == node) {
            *at = node->next;
            t->n--;
            return;
        }
}

bool board_grow(void **array, size_t *cap, size_t need, size_t each) {
    if (need <= *cap) return true;
    size_t want = *cap ? *cap * 2 : 16, bytes;
    if (want < need) want = need;
    if (__builtin_mul_overflow(want, each, &bytes)) return false;
    void *p = realloc(*array, bytes);
    if (!p) return false;
    *array = p;
    *cap = want;
    return true;
}

static bool same(const char *text, tt_sv s) {
    return strlen(text) == s.n && memcmp(text, s.p, s.n) == 0;
}

static char *copy(tt_sv s) {
    return strndup(s.n ? s.p : "", s.n);
}

board_service *board_service_of(tt_board *b, tt_sv name, bool create) {
    uint64_t hash = hash_bytes(HASH_START, name);
    for (hash_node *e = first_in_slot(&b->services, hash); e; e = e->next) {
        board_service *s = (board_service *)e;
        if (e->hash == hash && same(s->name, name)) return s;
    }
    if (!create || b->services.n >= SERVICES_MAX) return NULL;
    board_service *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    s->name = copy(name);
    s->node.hash = hash;
    if (!s->name || !hash_add(&b->services, &s->node)) {
        free((void *)s->name);
        free(s);
        return NULL;
    }
    return s;
}

board_site *board_site_of(tt_board *b, tt_sv service, tt_sv dc, bool create) {
    board_service *s = board_service_of(b, service, create);
    if (!s) return NULL;
    for (size_t i = 0; i < s->n_sites; i++)
        if (same(s->sites[i]->dc, dc)) return s->sites[i];
    if (!create || s->n_sites >= SITES_PER_SERVICE_MAX) return NULL;
    board_site **sites = realloc(s->sites, (s->n_sites + 1) * sizeof *sites);
    if (!sites) return NULL;
    s->sites = sites;
    if (!board_grow((void **)&b->sites, &b->cap_sites, b->n_sites + 1, sizeof *b->sites)) return NULL;
    board_site *site = calloc(1, sizeof *site);
    if (!site) return NULL;
    site->dc = copy(dc);
    if (!site->dc) {
        free(site);
        return NULL;
    }
    site->service = s;
    s->sites[s->n_sites++] = site;
    b->sites[b->n_sites++] = site;
    return site;
}

board_agent *board_agent_of(tt_board *b, tt_sv service, tt_sv dc, tt_sv instance, bool create, tt_time now) {
    if (service.n == 0 || instance.n == 0) return NULL;
    uint64_t hash = hash_bytes(hash_bytes(hash_bytes(HASH_START, service), dc), instance);
    for (hash_node *e = first_in_slot(&b->agents_by_key, hash); e; e = e->next) {
        board_agent *a = (board_agent *)e;
        if (e->hash == hash && same(a->instance, instance) && same(a->site->dc, dc) && same(a->site->service->name, service)) return a;
    }
    if (!create || b->n_agents >= AGENTS_MAX) return NULL;
    board_site *site = board_site_of(b, service, dc, true);
    if (!site || !board_grow((void **)&b->agents, &b->cap_agents, b->n_agents + 1, sizeof *b->agents)) return NULL;
    board_agent *a = calloc(1, sizeof *a);
    if (!a) return NULL;
    a->instance = copy(instance);
    a->node.hash = hash;
    if (!a->instance || !hash_add(&b->agents_by_key, &a->node)) {
        free(a->instance);
        free(a);
        return NULL;
    }
    a->site = site;
    a->heard = now;
    a->index = b->n_agents;
    b->agents[b->n_agents++] = a;
    a->next_in_site = site->agents;
    if (site->agents) site->agents->prev_in_site = a;
    site->agents = a;
    site->n_agents++;
    b->acks_stale = true;
    return a;
}

void board_agent_free(tt_board *b, board_agent *a) {
    hash_remove(&b->agents_by_key, &a->node);
    if (a->prev_in_site)
        a->prev_in_site->next_in_site = a->next_in_site;
    else
        a->site->agents = a->next_in_site;
    if (a->next_in_site) a->next_in_site->prev_in_site = a->prev_in_site;
    a->site->n_agents--;
    b->agents[a->index] = b->agents[--b->n_agents];
    b->agents[a->index]->index = a->index;
    free(a->instance);
    free(a->library);
    free(a->refused);
    free(a->found);
    free(a->calls);
    free(a->report);
    free(a);
    b->acks_stale = true;
}

void board_tables_free(tt_board *b) {
    while (b->n_agents) board_agent_free(b, b->agents[b->n_agents - 1]);
    for (size_t i = 0; i < b->n_sites; i++) {
        free((void *)b->sites[i]->dc);
        free(b->sites[i]->json);
        free(b->sites[i]);
    }
    for (size_t i = 0; i < b->services.n_slots; i++)
        for (hash_node *e = b->services.slots[i], *next; e; e = next) {
            next = e->next;
            board_service *s = (board_service *)e;
            free((void *)s->name);
            free(s->sites);
            free(s);
        }
    free(b->services.slots);
    free(b->agents_by_key.slots);
    free(b->sites);
    free(b->agents);
    for (size_t i = 0; i < b->n_priorities; i++) free(b->priorities[i]);
}
