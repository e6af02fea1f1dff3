/* Who is where: loops by id and by target, anomalies by the target they ask for, sites by name, and what each loop drives. */
#include "engine_internal.h"

#include <stdlib.h>
#include <string.h>

uint64_t tt_hash_target(const tt_target *t) {
    return tt_hash_text(tt_hash_text(tt_hash_text(1, tt_sv_of(t->service)), tt_sv_of(t->dc)), tt_sv_of(t->instance));
}

/* ---- loops ---- */

static uint64_t hash_place(tt_sv service, tt_sv dc) { return tt_hash_text(tt_hash_text(3, service), dc); }
static uint64_t hash_id(tt_sv id) { return tt_hash_text(2, id); }

bool tt_loop_enlist(tt_engine *e, const tt_loop *l) {
    uint32_t at = (uint32_t)(l - e->loops);
    bool instance = l->target.instance[0];
    if (tt_index_add(&e->loops_by_id, hash_id(tt_sv_of(l->id)), at) && tt_index_add(&e->loops_by_target, tt_hash_target(&l->target), at) &&
        (!instance || tt_index_add(&e->instances_by_place, hash_place(tt_sv_of(l->target.service), tt_sv_of(l->target.dc)), at)))
        return true;
    tt_loop_delist(e, l);
    return false;
}

void tt_loop_delist(tt_engine *e, const tt_loop *l) {
    uint32_t at = (uint32_t)(l - e->loops);
    tt_index_drop(&e->loops_by_id, hash_id(tt_sv_of(l->id)), at);
    tt_index_drop(&e->loops_by_target, tt_hash_target(&l->target), at);
    if (l->target.instance[0]) tt_index_drop(&e->instances_by_place, hash_place(tt_sv_of(l->target.service), tt_sv_of(l->target.dc)), at);
}

void tt_loop_closed(tt_engine *e, tt_loop *l) {
    uint32_t at = (uint32_t)(l - e->loops) + 1;
    if (e->newest_closed)
        e->loops[e->newest_closed - 1].next_closed = at;
    else
        e->oldest_closed = at;
    e->newest_closed = at;
    l->next_closed = 0;
    e->n_closed++;
    e->n_open--;
}

static int by_closing(const void *a, const void *b) {
    const tt_loop *x = *(tt_loop *const *)a, *y = *(tt_loop *const *)b;
    if (x->closed_at.ns != y->closed_at.ns) return x->closed_at.ns < y->closed_at.ns ? -1 : 1;
    return x < y ? -1 : x > y; /* of one array: their order in it */
}

bool tt_loops_restored(tt_engine *e) {
    tt_loop **closed = malloc((e->n_loops + 1) * sizeof *closed);
    uint32_t n = 0;
    bool ok = closed;
    e->n_open = e->n_loops;
    for (uint32_t i = 0; ok && i < e->n_loops; i++) {
        ok = tt_loop_enlist(e, &e->loops[i]);
        if (!tt_loop_is_open(&e->loops[i])) closed[n++] = &e->loops[i];
    }
    if (ok) qsort(closed, n, sizeof *closed, by_closing);
    for (uint32_t i = 0; ok && i < n; i++) tt_loop_closed(e, closed[i]);
    free(closed);
    return ok;
}

void tt_loops_forget(tt_engine *e) {
    for (uint32_t i = 0; i < e->n_loops; i++) {
        tt_history_forget(&e->loops[i].history);
        free(e->loops[i].not_chosen);
    }
    memset(e->loops, 0, e->n_loops * sizeof *e->loops);
    e->n_loops = e->n_open = e->n_closed = e->oldest_closed = e->newest_closed = 0;
    tt_index_clear(&e->loops_by_id);
    tt_index_clear(&e->loops_by_target);
    tt_index_clear(&e->instances_by_place);
}

tt_loop *tt_loop_find(const tt_engine *e, tt_sv id) {
    tt_index_walk w;
    for (uint32_t i = tt_index_first(&e->loops_by_id, hash_id(id), &w); i != TT_NOWHERE; i = tt_index_next(&w))
        if (tt_sv_eq(tt_sv_of(e->loops[i].id), id)) return &e->loops[i];
    return NULL;
}

tt_loop *tt_loop_open_on(const tt_engine *e, const tt_target *t) {
    tt_index_walk w;
    for (uint32_t i = tt_index_first(&e->loops_by_target, tt_hash_target(t), &w); i != TT_NOWHERE; i = tt_index_next(&w))
        if (tt_loop_is_open(&e->loops[i]) && tt_target_eq(&e->loops[i].target, t)) return &e->loops[i];
    return NULL;
}

const tt_loop *tt_loop_locked_on(const tt_engine *e, const tt_target *t) {
    const tt_loop *first = NULL;
    tt_index_walk w;
    for (uint32_t i = tt_index_first(&e->loops_by_target, tt_hash_target(t), &w); i != TT_NOWHERE; i = tt_index_next(&w)) {
        const tt_loop *l = &e->loops[i];
        if (l->locked_until.ns > e->now.ns && tt_target_eq(&l->target, t) && (!first || l < first)) first = l;
    }
    return first;
}

tt_loop *tt_loop_on_instance(const tt_engine *e, const char *service, const char *dc, tt_index_walk *w, bool first) {
    const tt_index *ix = &e->instances_by_place;
    if (!ix->n) return NULL;
    uint32_t i = first ? tt_index_first(ix, hash_place(tt_sv_of(service), tt_sv_of(dc)), w) : tt_index_next(w);
    for (; i != TT_NOWHERE; i = tt_index_next(w)) {
        tt_loop *l = &e->loops[i];
        if (tt_loop_is_open(l) && strcmp(l->target.service, service) == 0 && strcmp(l->target.dc, dc) == 0) return l;
    }
    return NULL;
}

/* ---- anomalies ---- */

void tt_anomaly_enlist(tt_engine *e, tt_anomaly *a) {
    if (!a->n_matches) return;
    if (!tt_index_add(&e->anomalies_by_target, tt_hash_target(&a->matches[0].target), (uint32_t)(a - e->anomalies))) a->n_matches = 0;
}

void tt_anomaly_delist(tt_engine *e, const tt_anomaly *a) {
    if (a->n_matches) tt_index_drop(&e->anomalies_by_target, tt_hash_target(&a->matches[0].target), (uint32_t)(a - e->anomalies));
}

tt_anomaly *tt_anomaly_asking(const tt_engine *e, const tt_target *t, const tt_anomaly *after) {
    tt_anomaly *next = NULL;
    tt_index_walk w;
    for (uint32_t i = tt_index_first(&e->anomalies_by_target, tt_hash_target(t), &w); i != TT_NOWHERE; i = tt_index_next(&w)) {
        tt_anomaly *a = &e->anomalies[i];
        if ((!after || a > after) && (!next || a < next) && tt_target_eq(&a->matches[0].target, t)) next = a;
    }
    return next;
}

/* ---- sites ---- */

static bool hold_places(tt_engine *e, const tt_rules *rules, tt_site *s) {
    tt_sv dc = rules->services[s->service].dcs[s->dc].name;
    for (uint32_t c = 0; c < s->n_closure; c++) {
        s->place[c] = tt_place_hold(&e->series, rules->services[s->closure[c]].name, dc);
        if (s->place[c] != TT_NOWHERE) continue;
        while (c) tt_place_release(&e->series, s->place[--c]);
        return false;
    }
    return true;
}

bool tt_sites_enlist(tt_engine *e, tt_index *ix, const tt_rules *rules, tt_site *sites, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        const tt_service_def *d = &rules->services[sites[i].service];
        if (tt_index_add(ix, hash_place(d->name, d->dcs[sites[i].dc].name), i) && hold_places(e, rules, &sites[i])) continue;
        tt_sites_delist(e, ix, sites, i);
        return false;
    }
    return true;
}

void tt_sites_delist(tt_engine *e, tt_index *ix, const tt_site *sites, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t c = 0; c < sites[i].n_closure; c++) tt_place_release(&e->series, sites[i].place[c]);
    tt_index_free(ix);
}

tt_site *tt_site_of(tt_engine *e, const char *service, const char *dc) {
    tt_sv s = tt_sv_of(service), d = tt_sv_of(dc);
    tt_index_walk w;
    for (uint32_t i = tt_index_first(&e->sites_by_name, hash_place(s, d), &w); i != TT_NOWHERE; i = tt_index_next(&w)) {
        const tt_service_def *def = &e->rules->services[e->sites[i].service];
        if (tt_sv_eq(def->name, s) && tt_sv_eq(def->dcs[e->sites[i].dc].name, d)) return &e->sites[i];
    }
    return NULL;
}

/* ---- what each loop drives ---- */

void tt_loops_gather(tt_engine *e) {
    for (uint32_t i = 0; i < e->n_loops; i++) e->loops[i].first_site = e->loops[i].first_group = 0;
    for (uint32_t i = e->n_sites; i-- > 0;) {
        tt_site *s = &e->sites[i];
        s->next_of_loop = 0;
        if (s->loop < 0) continue;
        s->next_of_loop = e->loops[s->loop].first_site;
        e->loops[s->loop].first_site = i + 1;
    }
    for (uint32_t i = (uint32_t)e->rules->n_services; i-- > 0;) {
        tt_group *g = &e->groups[i];
        g->next_of_loop = 0;
        if (g->loop < 0) continue;
        g->next_of_loop = e->loops[g->loop].first_group;
        e->loops[g->loop].first_group = i + 1;
    }
}

tt_site *tt_loop_sites(const tt_engine *e, const tt_loop *l, const tt_site *after) {
    int32_t me = (int32_t)(l - e->loops);
    for (uint32_t i = after ? after->next_of_loop : l->first_site; i; i = e->sites[i - 1].next_of_loop)
        if (e->sites[i - 1].loop == me) return &e->sites[i - 1];
    return NULL;
}

tt_group *tt_loop_groups(const tt_engine *e, const tt_loop *l, const tt_group *after) {
    int32_t me = (int32_t)(l - e->loops);
    for (uint32_t i = after ? after->next_of_loop : l->first_group; i; i = e->groups[i - 1].next_of_loop)
        if (e->groups[i - 1].loop == me) return &e->groups[i - 1];
    return NULL;
}
