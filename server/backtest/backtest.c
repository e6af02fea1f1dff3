#include "backtest/backtest.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LOOPS_MAX = 20000, REFUSALS_MAX = 2000, FREEZES_MAX = 200 };
/* A freeze ends only by a person: one who looks at it and resumes after this long. */
static const int64_t resume_after_ns = TT_SECONDS(600);

struct tt_backtest {
    const tt_rules *rules;
    tt_backtest_spec spec;
    tt_engine *engine;
    tt_backtest_loop **loops;
    size_t n_loops, cap_loops;
    size_t first_open; /* none before it is open */
    tt_backtest_refusal *refusals;
    size_t n_refusals, cap_refusals;
    tt_backtest_note freezes[FREEZES_MAX];
    size_t n_freezes;
    bool frozen, lost;
    tt_time frozen_at;
    uint64_t ticks;
    uint32_t guardrails, not_chosen, n_frozen, pages, anomalies;
};

tt_backtest *tt_backtest_new(const tt_rules *rules, const tt_backtest_spec *spec) {
    tt_backtest *b = calloc(1, sizeof *b);
    if (!b) return NULL;
    b->rules = rules;
    b->spec = *spec;
    tt_engine_config cfg;
    tt_engine_config_default(&cfg);
    cfg.max_closed = 16; /* closed loops are kept here */
    cfg.open_loop = true;
    cfg.scrape_ns = TT_MS(spec->step_ms); /* a value stands for the step that it is of, however coarse */
    b->engine = tt_engine_new(rules, &cfg);
    if (b->engine) return b;
    free(b);
    return NULL;
}

static void free_loop(tt_backtest_loop *l) {
    free(l->wish);
    free(l->note);
    free(l);
}

void tt_backtest_free(tt_backtest *b) {
    if (!b) return;
    tt_engine_free(b->engine);
    for (size_t i = 0; i < b->n_loops; i++) free_loop(b->loops[i]);
    free(b->loops);
    free(b->refusals);
    free(b);
}

/* ---- what the engine says ---- */

static bool told(const tt_backtest *b, int64_t at_ms) {
    return at_ms >= b->spec.from_ms;
}

static void text(char *to, size_t size, const char *from) {
    size_t n = strlen(from);
    if (n >= size) n = size - 1;
    memcpy(to, from, n);
    to[n] = 0;
}

static bool grow(void *array, size_t *cap, size_t n, size_t each) {
    void **p = array;
    if (n < *cap) return true;
    size_t want = *cap ? *cap * 2 : 4;
    void *grown = realloc(*p, want * each);
    if (!grown) return false;
    *p = grown;
    *cap = want;
    return true;
}

static tt_backtest_loop *loop_of(tt_backtest *b, const char *id) {
    if (!*id) return NULL;
    for (size_t i = b->n_loops; i-- > b->first_open;)
        if (strcmp(b->loops[i]->id, id) == 0) return b->loops[i];
    return NULL;
}

static void opened(tt_backtest *b, const tt_event *ev, int64_t at_ms) {
    tt_backtest_loop *l = b->n_loops < LOOPS_MAX && grow(&b->loops, &b->cap_loops, b->n_loops, sizeof(tt_backtest_loop *)) ? calloc(1, sizeof *l) : NULL;
    if (!l) {
        b->lost = true;
        return;
    }
    text(l->id, sizeof l->id, ev->loop);
    text(l->plan, sizeof l->plan, ev->plan);
    text(l->opened_because, sizeof l->opened_because, ev->reason);
    l->target = ev->target;
    l->opened_ms = at_ms;
    for (size_t i = 0; i < b->rules->n_plans; i++)
        if (tt_sv_eq(b->rules->plans[i].name, tt_sv_of(l->plan))) l->mode = b->rules->plans[i].mode;
    l->before = !told(b, at_ms);
    b->loops[b->n_loops++] = l;
}

static void closed(tt_backtest *b, tt_backtest_loop *l, const tt_event *ev, int64_t at_ms) {
    l->closed_ms = at_ms;
    size_t n = strcspn(ev->reason, " ");
    text(l->closed_because, sizeof l->closed_because, ev->reason);
    text(l->ended, n + 1 < sizeof l->ended ? n + 1 : sizeof l->ended, ev->reason);
    while (b->first_open < b->n_loops && b->loops[b->first_open]->closed_ms) b->first_open++;
}

/* Whether `a` takes more from clients, or moves them farther, than `b`. */
static bool stronger(const tt_backtest_wish *w, double a, double b) {
    if (isnan(a)) return false;
    if (isnan(b)) return true;
    if (strncmp(w->action, "weights:", 8) == 0) return fabs(a - w->before) > fabs(b - w->before);
    /* What is capped or shortened is the stronger the less is left. */
    if (strcmp(w->unit, "rps") == 0 || strcmp(w->unit, "ms") == 0) return a < b;
    return a > b;
}

static void acted(tt_backtest *b, tt_backtest_loop *l, const tt_event *ev, int64_t at_ms) {
    if (!l->first_ms && isnan(ev->to)) return; /* only takes something back */
    if (!l->first_ms) l->first_ms = at_ms;
    bool in_first = l->first_ms == at_ms;
    if (!in_first) l->n_later++;
    tt_backtest_wish *w = NULL;
    for (uint32_t i = 0; i < l->n_wishes && !w; i++)
        if (strcmp(l->wish[i].action, ev->action) == 0 && tt_target_eq(&l->wish[i].target, &ev->target)) w = &l->wish[i];
    if (!w) {
        if (isnan(ev->to)) return;
        if (l->n_wishes == TT_BACKTEST_WISHES || !grow(&l->wish, &l->cap_wishes, l->n_wishes, sizeof *l->wish)) {
            b->lost = true;
            return;
        }
        w = &l->wish[l->n_wishes++];
        *w = (tt_backtest_wish){.target = ev->target, .before = ev->from, .first = ev->to, .most = (double)NAN, .first_ms = at_ms, .in_first = in_first};
        text(w->action, sizeof w->action, ev->action);
        text(w->unit, sizeof w->unit, ev->unit);
        text(w->reason, sizeof w->reason, ev->reason);
    } else if (in_first && !isnan(ev->to)) {
        w->first = ev->to; /* set twice in one decision: the last one goes out */
        text(w->reason, sizeof w->reason, ev->reason);
        w->most = (double)NAN;
    }
    if (!stronger(w, ev->to, w->most)) return;
    w->most = ev->to;
    w->most_ms = at_ms;
    text(w->most_reason, sizeof w->most_reason, ev->reason);
}

static void note(tt_backtest_loop *l, const tt_event *ev, int64_t at_ms) {
    for (uint32_t i = 0; i < l->n_notes; i++)
        if (strcmp(l->note[i].kind, ev->kind) == 0 && strcmp(l->note[i].text, ev->reason) == 0) {
            l->note[i].times++;
            return;
        }
    if (l->n_notes == TT_BACKTEST_NOTES || !grow(&l->note, &l->cap_notes, l->n_notes, sizeof *l->note)) return;
    tt_backtest_note *n = &l->note[l->n_notes++];
    *n = (tt_backtest_note){.at_ms = at_ms, .times = 1};
    text(n->kind, sizeof n->kind, ev->kind);
    text(n->text, sizeof n->text, ev->reason);
}

static void refused(tt_backtest *b, const tt_event *ev, int64_t at_ms) {
    for (size_t i = 0; i < b->n_refusals; i++) {
        tt_backtest_refusal *r = &b->refusals[i];
        if (strcmp(r->kind, ev->kind) != 0 || strcmp(r->text, ev->reason) != 0 || !tt_target_eq(&r->target, &ev->target)) continue;
        r->times++;
        r->last_ms = at_ms;
        return;
    }
    if (b->n_refusals == REFUSALS_MAX || !grow(&b->refusals, &b->cap_refusals, b->n_refusals, sizeof *b->refusals)) {
        b->lost = true;
        return;
    }
    tt_backtest_refusal *r = &b->refusals[b->n_refusals++];
    *r = (tt_backtest_refusal){.target = ev->target, .first_ms = at_ms, .last_ms = at_ms, .times = 1};
    text(r->kind, sizeof r->kind, ev->kind);
    text(r->plan, sizeof r->plan, ev->plan);
    text(r->text, sizeof r->text, ev->reason);
}

static bool is(const tt_event *ev, const char *kind) {
    return strcmp(ev->kind, kind) == 0;
}

static void froze(tt_backtest *b, const tt_event *ev, int64_t at_ms) {
    if (!told(b, at_ms)) return;
    b->n_frozen++;
    if (b->n_freezes == FREEZES_MAX) return;
    tt_backtest_note *n = &b->freezes[b->n_freezes++];
    n->at_ms = at_ms;
    n->times = 1;
    text(n->kind, sizeof n->kind, ev->kind);
    text(n->text, sizeof n->text, ev->reason);
}

static void hear(tt_backtest *b, const tt_event *ev, int64_t at_ms, tt_time now) {
    tt_backtest_loop *l = loop_of(b, ev->loop);
    if (is(ev, "frozen")) {
        b->frozen = true;
        b->frozen_at = now;
        froze(b, ev, at_ms);
    } else if (is(ev, "unfrozen")) {
        b->frozen = false;
    } else if (is(ev, "loop_opened")) {
        opened(b, ev, at_ms);
    } else if (is(ev, "anomaly_opened")) {
        b->anomalies += told(b, at_ms);
    } else if (is(ev, "page")) {
        b->pages += told(b, at_ms);
        if (l) l->n_pages++;
        if (l) note(l, ev, at_ms);
    } else if ((is(ev, "guardrail") || is(ev, "not_chosen")) && !l) {
        if (!told(b, at_ms)) return;
        *(is(ev, "guardrail") ? &b->guardrails : &b->not_chosen) += 1;
        refused(b, ev, at_ms);
    } else if (!l) {
        return;
    } else if (is(ev, "loop_closed")) {
        closed(b, l, ev, at_ms);
    } else if (is(ev, "action")) {
        acted(b, l, ev, at_ms);
    } else if (is(ev, "loop_phase")) {
        if (strstr(ev->reason, "-> awaiting_approval")) l->awaited = true;
        if (strstr(ev->reason, "-> escalated")) l->escalated = true;
    } else if (is(ev, "relapse")) {
        l->n_relapses++;
    } else if (is(ev, "guardrail")) {
        b->guardrails += told(b, at_ms);
        note(l, ev, at_ms);
    } else if (is(ev, "hold"))
        note(l, ev, at_ms);
}

/* Of the warm-up, what is still going on is told about; the rest was only to learn from. */
static void forget_warm_up(tt_backtest *b) {
    size_t kept = 0;
    for (size_t i = 0; i < b->n_loops; i++) {
        if (b->loops[i]->closed_ms)
            free_loop(b->loops[i]);
        else
            b->loops[kept++] = b->loops[i];
    }
    b->n_loops = kept;
    b->first_open = 0;
}

void tt_backtest_step(tt_backtest *b, const tt_history_step *s) {
    static const tt_command resume = {.kind = TT_CMD_UNFREEZE, .actor = {"backtest", 8}, .reason = {"as a person on call would", 25}};
    tt_observations obs = {.now = s->now,
                           .wall = {s->at_ms},
                           .n_polls = s->n_polls,
                           .polls = s->polls,
                           .n_measurements = s->n_measurements,
                           .measurements = s->measurements,
                           .n_alerts = s->n_alerts,
                           .alerts = s->alerts};
    if (b->frozen && tt_since(s->now, b->frozen_at) >= resume_after_ns) {
        obs.n_commands = 1;
        obs.commands = &resume;
    }
    tt_outcome out;
    /* No acknowledgements: to the engine this is a mesh that gives none, and whose usual time it waits for. */
    tt_engine_tick(b->engine, &obs, &out);
    b->ticks += told(b, s->at_ms);
    for (size_t i = 0; i < out.n_events; i++) hear(b, &out.events[i], s->at_ms, s->now);
    if (!told(b, s->at_ms + b->spec.step_ms)) return;
    if (!told(b, s->at_ms)) forget_warm_up(b);
}

/* ---- the account ---- */

const char *tt_backtest_verdict_name(tt_backtest_verdict v) {
    static const char *const names[] = {"acts", "false_alarm_candidate", "no_means", "waited", "shadow"};
    return names[v];
}

tt_backtest_verdict tt_backtest_verdict_of(const tt_backtest_loop *l) {
    if (l->first_ms) return TT_BACKTEST_ACTS;
    if (l->mode == TT_MODE_OBSERVE || l->mode == TT_MODE_ADVISE) return TT_BACKTEST_SHADOW;
    if (l->awaited) return TT_BACKTEST_WAITED;
    bool over = strcmp(l->ended, "recovered") == 0 || strcmp(l->ended, "cleared") == 0;
    return over && !l->escalated ? TT_BACKTEST_BY_ITSELF : TT_BACKTEST_NO_MEANS;
}

void tt_backtest_sums_of(const tt_backtest *b, tt_backtest_sums *ret) {
    *ret = (tt_backtest_sums){.loops = (uint32_t)b->n_loops,
                              .guardrails = b->guardrails,
                              .not_chosen = b->not_chosen,
                              .freezes = b->n_frozen,
                              .pages = b->pages,
                              .anomalies = b->anomalies};
    for (size_t i = 0; i < b->n_loops; i++) {
        const tt_backtest_loop *l = b->loops[i];
        uint32_t *const of[] = {&ret->acting, &ret->by_itself, &ret->no_means, &ret->waited, &ret->shadow};
        ++*of[tt_backtest_verdict_of(l)];
        ret->still_open += !l->closed_ms;
        ret->later_actions += l->n_later;
        for (uint32_t k = 0; k < l->n_wishes; k++) ret->first_actions += l->wish[k].in_first;
    }
}

size_t tt_backtest_loops(const tt_backtest *b, const tt_backtest_loop *const **ret) {
    *ret = (const tt_backtest_loop *const *)b->loops;
    return b->n_loops;
}

size_t tt_backtest_refusals(const tt_backtest *b, const tt_backtest_refusal **ret) {
    *ret = b->refusals;
    return b->n_refusals;
}

size_t tt_backtest_freezes(const tt_backtest *b, const tt_backtest_note **ret) {
    *ret = b->freezes;
    return b->n_freezes;
}

uint64_t tt_backtest_ticks(const tt_backtest *b) {
    return b->ticks;
}

bool tt_backtest_lost(const tt_backtest *b) {
    return b->lost;
}

const tt_backtest_spec *tt_backtest_spec_of(const tt_backtest *b) {
    return &b->spec;
}

const tt_rules *tt_backtest_rules(const tt_backtest *b) {
    return b->rules;
}
