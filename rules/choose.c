/* Which plan answers what is wrong, and what waits: by rank where several could, one loop a target, the deepest failing service before its callers,
 * and nothing that a guardrail forbids. What is not chosen is told once, with why. The order is in docs/plans.md. */
#include "engine_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- rank ---- */

bool tt_plan_acts(const tt_plan *p) {
    return p->mode == TT_MODE_APPROVE || p->mode == TT_MODE_AUTO;
}

typedef struct {
    uint32_t literal, anchored, pattern;
} narrowness;

static narrowness how_narrow(const tt_plan *p) {
    narrowness n = {0};
    for (size_t i = 0; i < p->n_matchers; i++) {
        tt_sv t = p->matchers[i].text; /* /.../ when it is a pattern */
        if (!p->matchers[i].pattern)
            n.literal++;
        else if (t.n >= 4 && t.p[1] == '^' && t.p[t.n - 2] == '$' && t.p[t.n - 3] != '\\')
            n.anchored++;
        else
            n.pattern++;
    }
    return n;
}

int tt_plan_rank(const tt_plan *a, const tt_plan *b, const char **why) {
    narrowness x = how_narrow(a), y = how_narrow(b);
    const struct {
        int64_t a, b;
        const char *why;
    } by[] = {
        /* First of all: a plan that only shows what it would do must never stand in the way of one that acts. */
        {tt_plan_acts(a), tt_plan_acts(b), "it may act and the other only shows what it would do"},
        {a->priority, b->priority, "its priority is higher"},
        {x.literal, y.literal, "it names more labels literally"},
        {x.anchored, y.anchored, "more of its patterns are anchored"},
        {x.pattern, y.pattern, "it compares more labels"},
        {(int64_t)a->mode, (int64_t)b->mode, "its mode is trusted further"},
        {b->order, a->order, "it is written first"},
    };
    for (size_t i = 0; i < TT_COUNT(by); i++) {
        *why = by[i].why;
        if (by[i].a != by[i].b) return by[i].a > by[i].b ? -1 : 1;
    }
    return 0;
}

/* ---- what is told of those that wait ---- */

static void remember(tt_loop *l, const tt_plan_match *m, const char *why) {
    for (uint32_t i = 0; i < l->n_not_chosen; i++)
        if (tt_sv_eq(tt_sv_of(l->not_chosen[i].plan), m->plan->name) && tt_target_eq(&l->not_chosen[i].target, &m->target)) {
            snprintf(l->not_chosen[i].why, sizeof l->not_chosen[i].why, "%s", why);
            return;
        }
    if (l->n_not_chosen == TT_NOT_CHOSEN_MAX) return;
    tt_not_chosen *grown = realloc(l->not_chosen, (l->n_not_chosen + 1) * sizeof *grown);
    if (!grown) return;
    l->not_chosen = grown;
    tt_not_chosen *n = &grown[l->n_not_chosen++];
    tt_copy_text(n->plan, sizeof n->plan, m->plan->name);
    n->target = m->target;
    snprintf(n->why, sizeof n->why, "%s", why);
}

static void tell(tt_engine *e, const char *kind, const tt_loop *by, const tt_plan_match *m, const char *why) {
    tt_event *ev = tt_emit(e, kind, by, "plan %.*s is not started: %s", TT_SV_ARG(m->plan->name), why);
    if (!ev) return;
    ev->target = m->target;
    tt_copy_text(ev->plan, sizeof ev->plan, m->plan->name);
}

/* Told again only when the reason is another one. `by`: the loop that is there instead, or NULL. */
static void refuse(tt_engine *e, tt_anomaly *a, const tt_plan_match *m, tt_refusal what, tt_loop *by, const char *why) {
    if (a->refused == what) return;
    a->refused = what;
    bool chosen_against = what == TT_REFUSED_BUSY || what == TT_REFUSED_DEEPER || what == TT_REFUSED_EXCLUSIVE;
    tell(e, chosen_against ? "not_chosen" : "guardrail", by, m, why);
    if (chosen_against && by) remember(by, m, why);
}

/* ---- who is there already ---- */

/* It has something in force, or may have; of a plan that is gone the way back is left. */
static bool acts(const tt_loop *l) {
    return !l->plan || tt_plan_acts(l->plan);
}

static bool answers(const tt_engine *e, const tt_loop *l, const tt_anomaly *a) {
    return tt_target_eq(&l->target, &a->matches[0].target) && tt_sv_eq(tt_sv_of(l->anomaly_name), e->rules->anomalies[a->anomaly].name);
}

static bool has_own_loop(const tt_engine *e, const tt_anomaly *a) {
    const tt_loop *l = tt_loop_open_on(e, &a->matches[0].target);
    return l && answers(e, l, a);
}

/* Nothing of it is in force and nobody has let it act: a better plan may have its place. */
static bool gives_way(const tt_engine *e, const tt_loop *l, const tt_plan *to) {
    const char *why;
    if (!l->plan || l->aborting || !tt_plan_acts(to)) return false;
    if (!tt_plan_acts(l->plan)) return true;
    bool waits = tt_loop_asks_first(l) && !l->approved && (l->phase == TT_PHASE_DETECTED || l->phase == TT_PHASE_AWAITING_APPROVAL);
    return waits && tt_loop_idle(e, l) && tt_plan_rank(to, l->plan, &why) < 0;
}

/* Why the target is left alone for now; NULL: it isn't. */
static const char *locked_out(const tt_engine *e, const tt_target *t) {
    const tt_loop *l = tt_loop_locked_on(e, t);
    if (!l) return NULL;
    return l->aborting ? "a person stopped the last loop here: hands off for as long as a lock-out lasts"
                       : "the target is locked out after too many reversals";
}

/* ---- the deepest failing service first ---- */

static bool in_closure(const tt_site *s, uint32_t service) {
    for (uint32_t i = 0; i < s->n_closure; i++)
        if (s->closure[i] == service) return true;
    return false;
}

/* A caller that can switch the failing service off, as a feature, is part of the cure: it does not wait. */
static bool can_do_without(tt_engine *e, const tt_plan *p, uint32_t service, const tt_site *s) {
    for (size_t i = 0; i < p->n_steps; i++) {
        const tt_step *st = p->steps[i].kind == TT_STEP_DEGRADE ? tt_step_at(&p->steps[i], s->service) : NULL;
        int feature = st ? tt_rules_service(e->rules, st->feature) : -1;
        if (feature < 0 || !in_closure(s, (uint32_t)feature)) continue;
        if ((uint32_t)feature == service) return true;
        tt_site *f = tt_site_of(e, tt_service_cname(e, (uint32_t)feature), tt_dc_cname(e, s));
        if (f && in_closure(f, service)) return true;
    }
    return false;
}

/* What is done there can still help. */
static bool treats(const tt_engine *e, const tt_loop *l) {
    if (!l->plan || !tt_plan_acts(l->plan) || l->aborting || l->locked_until.ns > e->now.ns) return false;
    if (l->phase == TT_PHASE_DETECTED) return !tt_loop_asks_first(l) && !e->frozen;
    return l->kept_known && l->phase != TT_PHASE_ESCALATED && l->phase != TT_PHASE_AWAITING_APPROVAL && tt_loop_may_act(e, l);
}

/* It has kept its promise for as long as it takes to be seen: what is bad above by now has another cause. */
static bool well_again(tt_engine *e, const tt_loop *l) {
    const tt_site *s = tt_site_of(e, l->target.service, l->target.dc);
    return l->kept && s && tt_since(e->now, l->kept_since) >= tt_law_dead_time(e, s);
}

/* An anomaly there that a plan is about to treat: it is open and was refused nothing, or it has begun and may turn out to be the cause. */
static const tt_anomaly *brewing(const tt_engine *e, const tt_target *t, const tt_anomaly *above) {
    for (const tt_anomaly *b = tt_anomaly_asking(e, t, NULL); b; b = tt_anomaly_asking(e, t, b)) {
        if (b->muted || b->state == TT_AN_CLEARING) continue;
        if (!tt_plan_acts(b->matches[0].plan)) continue;
        if (b->state == TT_AN_OPEN ? b->refused == TT_REFUSED_NOTHING : tt_since(e->now, above->since) < e->rules->guardrails.correlate_ns) return b;
    }
    return NULL;
}

static bool waits_for_deeper(tt_engine *e, tt_anomaly *a, const tt_plan_match *m) {
    if (!m->target.dc[0] || m->target.instance[0] || !tt_plan_acts(m->plan) || e->rules->guardrails.correlate_ns == 0) return false;
    const tt_site *s = tt_site_of(e, m->target.service, m->target.dc);
    for (uint32_t i = 0; s && i < s->n_closure; i++) {
        uint32_t c = s->closure[i];
        tt_target t = {0};
        char why[sizeof((tt_not_chosen *)0)->why];
        if (c == s->service || can_do_without(e, m->plan, c, s)) continue;
        tt_copy_text(t.service, sizeof t.service, tt_sv_of(tt_service_cname(e, c)));
        memcpy(t.dc, m->target.dc, sizeof t.dc);
        tt_loop *l = tt_loop_open_on(e, &t);
        if (l && acts(l)) {
            if (!treats(e, l) || well_again(e, l)) continue;
            snprintf(why, sizeof why, "%s calls %s, which fails in %s too and is treated first", m->target.service, t.service, t.dc);
            refuse(e, a, m, TT_REFUSED_DEEPER, l, why);
            return true;
        }
        const tt_anomaly *b = brewing(e, &t, a);
        if (!b) continue;
        if (b->state == TT_AN_OPEN) return true; /* its loop is there by the next tick, and so is the reason */
        snprintf(why, sizeof why, "%s calls %s, which looks bad in %s too: what fails deepest is treated first", m->target.service, t.service, t.dc);
        refuse(e, a, m, TT_REFUSED_DEEPER, NULL, why);
        return true;
    }
    return false;
}

/* ---- guardrails ---- */

static int by_hash(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static uint64_t site_hash(const tt_target *t) {
    uint64_t h = tt_hash_bytes(14695981039346656037u, t->service, strlen(t->service) + 1);
    return tt_hash_bytes(h, t->dc, strlen(t->dc) + 1);
}

/* Sites that loops act on: a dead site's instances, with a loop each, are one trouble. */
typedef struct {
    uint64_t *site;
    uint32_t n, room;
} sites_acted_on;

static uint32_t find_place(const sites_acted_on *s, uint64_t h) {
    uint32_t lo = 0, hi = s->n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (s->site[mid] < h)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static bool count_sites(const tt_engine *e, uint32_t more, sites_acted_on *s) {
    s->room = e->n_loops + more;
    s->site = malloc(s->room * sizeof *s->site);
    if (!s->site) return false;
    for (uint32_t i = 0; i < e->n_loops; i++)
        if (tt_loop_is_open(&e->loops[i]) && acts(&e->loops[i])) s->site[s->n++] = site_hash(&e->loops[i].target);
    qsort(s->site, s->n, sizeof *s->site, by_hash);
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n; i++)
        if (n == 0 || s->site[n - 1] != s->site[i]) s->site[n++] = s->site[i];
    s->n = n;
    return true;
}

static bool acted_on(const sites_acted_on *s, uint64_t h) {
    uint32_t at = find_place(s, h);
    return at < s->n && s->site[at] == h;
}

static void act_on(sites_acted_on *s, uint64_t h) {
    uint32_t at = find_place(s, h);
    if ((at < s->n && s->site[at] == h) || s->n == s->room) return;
    memmove(&s->site[at + 1], &s->site[at], (s->n - at) * sizeof *s->site);
    s->site[at] = h;
    s->n++;
}

static bool excluded(tt_engine *e, tt_anomaly *a, const tt_plan_match *m) {
    if (!m->plan->exclusive.n || !tt_plan_acts(m->plan)) return false;
    for (uint32_t i = 0; i < e->n_loops; i++) {
        tt_loop *l = &e->loops[i];
        if (!tt_loop_is_open(l) || !l->plan || !tt_plan_acts(l->plan) || !tt_sv_eq(l->plan->exclusive, m->plan->exclusive)) continue;
        char why[sizeof((tt_not_chosen *)0)->why];
        snprintf(why, sizeof why, "plan %s acts on %s%s%s, and of the plans that are exclusive: %.*s one acts at a time", l->plan_name,
                 l->target.service, l->target.dc[0] ? " in " : "", l->target.dc, TT_SV_ARG(m->plan->exclusive));
        refuse(e, a, m, TT_REFUSED_EXCLUSIVE, l, why);
        return true;
    }
    return false;
}

/* One tick's choosing. */
typedef struct {
    sites_acted_on sites;
    bool looked[TT_ANOMALIES_MAX];
    tt_suspicion suspicion[TT_ANOMALIES_MAX];
} choice;

static void freeze(tt_engine *e, const char *why) {
    e->frozen = true;
    e->frozen_since = e->wall;
    snprintf(e->frozen_by, sizeof e->frozen_by, "guardrail");
    snprintf(e->frozen_reason, sizeof e->frozen_reason, "%s", why);
    tt_emit(e, "frozen", NULL, "%s. What is in force stays, nothing new is done until a person resumes", why);
    tt_emit(e, "page", NULL, "%s", why);
}

/* false: nothing is begun on its word, for now or until a person has looked. */
static bool believed(tt_engine *e, uint32_t anomaly, choice *c) {
    char why[200];
    if (!c->looked[anomaly]) {
        c->looked[anomaly] = true;
        c->suspicion[anomaly] = tt_sensor_suspect(e, anomaly, why);
        if (c->suspicion[anomaly] == TT_SENSOR_SUSPECT) freeze(e, why);
    }
    return c->suspicion[anomaly] == TT_SENSOR_BELIEVED;
}

static bool in_window(tt_engine *e, tt_anomaly *a, const tt_plan_match *m) {
    const tt_freeze_window *w = tt_plan_acts(m->plan) ? tt_window_open(e) : NULL;
    char text[80], why[200];
    if (!w || w->approve) return false; /* one that asks does so when the loop is there */
    tt_window_text(w, text, sizeof text);
    snprintf(why, sizeof why, "the freeze window %s is open%s%.*s", text, w->reason.n ? ": " : "", TT_SV_ARG(w->reason));
    refuse(e, a, m, TT_REFUSED_WINDOW, NULL, why);
    return true;
}

/* true: nothing forbids it. */
static bool allowed(tt_engine *e, tt_anomaly *a, const tt_plan_match *m, choice *c) {
    const sites_acted_on *sites = &c->sites;
    char why[160];
    if (e->frozen) {
        refuse(e, a, m, TT_REFUSED_FROZEN, NULL, "automation is frozen");
        return false;
    }
    if (tt_is_protected(e, m->target.service)) {
        refuse(e, a, m, TT_REFUSED_PROTECTED, NULL, "the service is protected");
        return false;
    }
    if (in_window(e, a, m) || !believed(e, a->anomaly, c)) return false;
    if (tt_plan_acts(m->plan) && sites->n >= e->rules->guardrails.max_concurrent_loops && !acted_on(sites, site_hash(&m->target))) {
        snprintf(why, sizeof why, "loops act on %u targets, guardrails.max_concurrent_loops is %u", sites->n,
                 e->rules->guardrails.max_concurrent_loops);
        refuse(e, a, m, TT_REFUSED_TOO_MANY, NULL, why);
        return false;
    }
    const char *locked = locked_out(e, &m->target);
    if (locked) {
        refuse(e, a, m, TT_REFUSED_LOCKED_OUT, NULL, locked);
        return false;
    }
    return !excluded(e, a, m) && !waits_for_deeper(e, a, m);
}

/* ---- the choice ---- */

typedef struct {
    const tt_plan *plan;
    uint32_t anomaly;
} candidate;

static int by_rank(const void *x, const void *y) {
    const candidate *a = x, *b = y;
    const char *why;
    int r = tt_plan_rank(a->plan, b->plan, &why);
    return r ? r : a->anomaly < b->anomaly ? -1 : a->anomaly > b->anomaly;
}

static bool asks(const tt_engine *e, const tt_anomaly *a) {
    return a->used && a->state == TT_AN_OPEN && !a->muted && a->n_matches && !has_own_loop(e, a);
}

static void consider(tt_engine *e, tt_anomaly *a, choice *c) {
    const tt_plan_match *m = &a->matches[0];
    tt_loop *there = tt_loop_open_on(e, &m->target);
    char why[sizeof((tt_not_chosen *)0)->why];
    if (there && answers(e, there, a)) return;
    if (there && !gives_way(e, there, m->plan)) {
        const char *since = "it was there first and holds what it has done";
        if (there->plan && tt_plan_rank(there->plan, m->plan, &since) > 0) since = "it was there first";
        snprintf(why, sizeof why, "plan %s answers %s on this target; %s", there->plan_name, there->anomaly_name, since);
        refuse(e, a, m, TT_REFUSED_BUSY, there, why);
        return;
    }
    if (!allowed(e, a, m, c)) return;
    if (there) {
        snprintf(why, sizeof why, "nothing had been done; plan %.*s answers %.*s here now", TT_SV_ARG(m->plan->name),
                 TT_SV_ARG(e->rules->anomalies[a->anomaly].name));
        tt_loop_finish(e, there, "superseded", why);
    }
    a->refused = TT_REFUSED_NOTHING;
    tt_loop *l = tt_loop_start(e, a, m);
    if (!l) {
        a->refused = TT_REFUSED_TOO_MANY; /* told by the one who counts them */
        return;
    }
    if (tt_plan_acts(m->plan)) act_on(&c->sites, site_hash(&m->target));
    for (uint32_t k = 1; k < a->n_matches; k++) {
        const char *since;
        tt_plan_rank(m->plan, a->matches[k].plan, &since);
        snprintf(why, sizeof why, "plan %.*s answers this anomaly: %s", TT_SV_ARG(m->plan->name), since);
        tell(e, "not_chosen", l, &a->matches[k], why);
        remember(l, &a->matches[k], why);
    }
}

void tt_loops_open(tt_engine *e) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < e->n_anomalies; i++) n += asks(e, &e->anomalies[i]);
    if (n == 0) return;
    candidate *c = malloc(n * sizeof *c);
    choice now = {0};
    if (c && count_sites(e, n, &now.sites)) {
        n = 0;
        for (uint32_t i = 0; i < e->n_anomalies; i++)
            if (asks(e, &e->anomalies[i])) c[n++] = (candidate){e->anomalies[i].matches[0].plan, i};
        qsort(c, n, sizeof *c, by_rank);
        for (uint32_t i = 0; i < n; i++) consider(e, &e->anomalies[c[i].anomaly], &now);
    }
    free(c);
    free(now.sites.site);
}
