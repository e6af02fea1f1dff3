/* How each plan has done: kept by its name and by the terms it acts under, so that a plan that is promoted to act keeps what it has earned, and one
 * that was rewritten begins anew. */
#include "engine_internal.h"

#include <string.h>

const tt_record *tt_record_of(const tt_engine *e, const tt_plan *p) {
    for (uint32_t i = 0; i < e->n_records; i++)
        if (e->records[i].terms_hash == p->terms_hash && tt_sv_eq(tt_sv_of(e->records[i].plan), p->name)) return &e->records[i];
    return NULL;
}

/* Of plans that are gone the one that was heard of longest ago makes room. */
static tt_record *room(tt_engine *e) {
    if (e->n_records < TT_RECORDS_MAX) return &e->records[e->n_records++];
    tt_record *oldest = NULL;
    for (uint32_t i = 0; i < e->n_records; i++) {
        tt_record *r = &e->records[i];
        bool there = false;
        for (size_t k = 0; k < e->rules->n_plans && !there; k++) there = tt_record_of(e, &e->rules->plans[k]) == r;
        if (!there && (!oldest || r->last.ms < oldest->last.ms)) oldest = r;
    }
    return oldest; /* there are twice as many as plans */
}

tt_record *tt_record_add(tt_engine *e, tt_sv plan, uint32_t terms_hash) {
    tt_record *r = room(e);
    if (!r) return NULL;
    memset(r, 0, sizeof *r);
    tt_copy_text(r->plan, sizeof r->plan, plan);
    r->terms_hash = terms_hash;
    return r;
}

static tt_record *of_loop(tt_engine *e, const tt_loop *l) {
    if (!l->plan) return NULL; /* its terms are gone, and nobody would promote it */
    tt_record *r = (tt_record *)tt_record_of(e, l->plan);
    if (!r) {
        r = tt_record_add(e, l->plan->name, l->plan->terms_hash);
        if (r) r->since = e->wall;
    }
    if (r) r->last = e->wall;
    return r;
}

void tt_record_opened(tt_engine *e, const tt_loop *l) {
    tt_record *r = of_loop(e, l);
    if (r) r->opened++;
}

void tt_record_reversal(tt_engine *e, const tt_loop *l) {
    tt_record *r = of_loop(e, l);
    if (r) r->reversals++;
}

static void once(uint32_t *count, tt_loop *l, uint32_t flag) {
    if (l->counted & flag) return;
    l->counted |= flag;
    ++*count;
}

void tt_record_phase(tt_engine *e, tt_loop *l) {
    tt_record *r = l->phase == TT_PHASE_SETTLED || l->phase == TT_PHASE_ESCALATED || l->phase == TT_PHASE_FROZEN || l->phase == TT_PHASE_CLOSED
                       ? of_loop(e, l)
                       : NULL;
    if (!r) return;
    if (l->phase == TT_PHASE_SETTLED) once(&r->settled, l, TT_COUNTED_SETTLED);
    if (l->phase == TT_PHASE_ESCALATED) once(&r->escalated, l, TT_COUNTED_ESCALATED);
    if (l->phase == TT_PHASE_FROZEN) r->lock_outs++;
    if (l->phase != TT_PHASE_CLOSED || !l->ended) return;
    const struct {
        const char *ended;
        uint32_t *count;
    } ends[] = {{"recovered", &r->recovered}, {"cleared", &r->cleared}, {"aborted", &r->aborted},
                {"refused", &r->refused},     {"failed", &r->failed},   {"superseded", &r->superseded}};
    for (size_t i = 0; i < TT_COUNT(ends); i++)
        if (strcmp(l->ended, ends[i].ended) == 0) ++*ends[i].count;
}
