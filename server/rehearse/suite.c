#include "suite.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "config/yaml.h"

#define TT_AS_NAME(id, name) name,
static const char *const controller_names[] = {TT_CONTROLLERS(TT_AS_NAME)};
const char *tt_controller_name(tt_controller c) { return controller_names[c]; }

/* ---- rules ---- */

static bool declares_services(const tt_doc *const docs[], size_t n) {
    for (size_t i = 0; i < n; i++)
        if (tt_doc_get(docs[i], TT_SV("services"))) return true;
    return false;
}

/* The incident's priorities stand; those of the plans must be the same, or their plans would name others. */
static const tt_doc *without_priorities(tt_arena *a, const tt_doc *doc) {
    if (doc->kind != TT_DOC_MAP || !tt_doc_get(doc, TT_SV("priorities"))) return doc;
    tt_doc *copy = tt_arena_alloc(a, sizeof *copy), *keys = tt_arena_array(a, doc->n, sizeof *keys), *items = tt_arena_array(a, doc->n, sizeof *items);
    if (!copy || !keys || !items) return NULL;
    *copy = *doc;
    copy->n = 0;
    for (size_t i = 0; i < doc->n; i++) {
        if (tt_sv_eq(doc->keys[i].text, TT_SV("priorities"))) continue;
        keys[copy->n] = doc->keys[i];
        items[copy->n++] = doc->items[i];
    }
    copy->keys = keys;
    copy->items = items;
    return copy;
}

static tt_rules *load(const tt_buf *services, const tt_doc *const docs[], size_t n_docs, const tt_matcher *matcher, tt_err *err) {
    tt_arena *a = tt_arena_new();
    const tt_doc **all = a ? tt_arena_array(a, n_docs + 1, sizeof *all) : NULL;
    size_t n = 0, n_errs = 0;
    tt_rules *r = NULL;
    bool ok = all || tt_fail(err, TT_ENOMEM, "memory is out");
    if (ok && services) ok = (all[n++] = tt_yaml_parse(a, "the incident's mesh", (tt_sv){services->p, services->n}, NULL, err)) != NULL;
    for (size_t i = 0; ok && i < n_docs; i++) {
        all[n] = services ? without_priorities(a, docs[i]) : docs[i];
        ok = all[n++] || tt_fail(err, TT_ENOMEM, "memory is out");
    }
    if (ok) r = tt_rules_load(all, n, matcher, err, 1, &n_errs);
    tt_arena_free(a);
    return r;
}

tt_rules *tt_suite_rules(const tt_incident *i, bool inner_loop, const tt_doc *const docs[], size_t n_docs, const tt_matcher *matcher, tt_err *err) {
    if (declares_services(docs, n_docs)) return load(NULL, docs, n_docs, matcher, err);
    tt_buf services;
    tt_buf_init(&services, 1 << 20);
    tt_incident_services(i, inner_loop, &services);
    tt_rules *r = NULL;
    if (services.failed)
        tt_fail(err, TT_ENOMEM, "memory is out");
    else
        r = load(&services, docs, n_docs, matcher, err);
    tt_buf_free(&services);
    return r;
}

/* ---- the runs ---- */

typedef struct {
    tt_controller by;
    tt_buf services; /* empty: the plans declare them */
    tt_rules *rules;
} loaded; /* most incidents have the same mesh: its rules are loaded once */

struct tt_suite {
    tt_suite_spec spec;
    tt_suite_run *runs;
    loaded *loaded;
    size_t n_loaded;
    const tt_rules **rules; /* [incident][mesh][controller] */
    /* while it runs */
    atomic_size_t next, done;
    atomic_bool failed;
    pthread_mutex_t lock;
    pthread_cond_t moved;
    tt_err err;
};

static size_t rules_at(size_t incident, bool inner, tt_controller by) {
    return (incident * TT_SUITE_MESHES + inner) * TT_CONTROLLER_COUNT + by;
}

static tt_suite_run *run_at(const tt_suite *s, size_t incident, bool inner, tt_controller by, uint32_t seed) {
    return &s->runs[rules_at(incident, inner, by) * s->spec.n_seeds + seed];
}

const tt_suite_run *tt_suite_run_of(const tt_suite *s, size_t incident, bool inner, tt_controller by, uint32_t seed) {
    return run_at(s, incident, inner, by, seed);
}
const tt_suite_spec *tt_suite_spec_of(const tt_suite *s) { return &s->spec; }

static bool stopped(const tt_suite *s) { return s->spec.stop && *s->spec.stop; }

static bool take_rules(tt_suite *s, size_t incident, bool inner, tt_controller by, tt_err *err) {
    const tt_suite_spec *spec = &s->spec;
    tt_buf services;
    tt_buf_init(&services, 1 << 20);
    if (!declares_services(spec->docs[by], spec->n_docs[by])) tt_incident_services(spec->incidents[incident], inner, &services);
    if (services.failed) return tt_fail(err, TT_ENOMEM, "memory is out");
    size_t k = 0;
    for (; k < s->n_loaded; k++)
        if (s->loaded[k].by == by && s->loaded[k].services.n == services.n && (!services.n || memcmp(s->loaded[k].services.p, services.p, services.n) == 0)) break;
    if (k < s->n_loaded) {
        tt_buf_free(&services);
    } else {
        s->loaded[k] = (loaded){by, services, load(services.n ? &services : NULL, spec->docs[by], spec->n_docs[by], spec->matcher, err)};
        s->n_loaded++;
        if (!s->loaded[k].rules) return false;
    }
    s->rules[rules_at(incident, inner, by)] = s->loaded[k].rules;
    return true;
}

static void keep(const tt_incident *i, const tt_rehearsal *run, const tt_rehearsal *oracle, const tt_rehearsal *nothing, tt_suite_run *ret) {
    *ret = (tt_suite_run){.n_actions = run->n_actions,
                          .n_pushes = run->n_pushes,
                          .n_reversals = run->n_reversals,
                          .n_loops = run->n_loops,
                          .n_violations = run->n_violations,
                          .all_undone = run->all_undone};
    memcpy(ret->violation, run->violation, sizeof ret->violation);
    tt_rehearsal_score(run, oracle, nothing, &ret->score);
    double length = (double)tt_incident_duration_ns(i) / 1e9;
    ret->never_mitigated = isnan(ret->score.time_to_mitigate_s);
    ret->never_settled = isnan(ret->score.time_to_settle_s);
    if (ret->never_mitigated) ret->score.time_to_mitigate_s = length;
    if (ret->never_settled) ret->score.time_to_settle_s = length;
}

/* One incident and seed. The oracle and doing nothing on the mesh without the inner loop are what every run is set against. */
static bool unit(tt_suite *s, size_t incident, uint32_t seed, tt_err *err) {
    const tt_suite_spec *spec = &s->spec;
    const tt_incident *i = spec->incidents[incident];
    tt_rehearsal oracle = {0}, nothing = {0};
    tt_rehearsal_spec r = {.incident = i, .seed = spec->first_seed + seed, .control = TT_CONTROL_ORACLE};
    bool ok = tt_rehearse(&r, &oracle, err);
    r.control = TT_CONTROL_NOTHING;
    ok = ok && tt_rehearse(&r, &nothing, err);
    for (int mesh = 0; mesh < TT_SUITE_MESHES && ok; mesh++)
        for (int by = 0; by < TT_CONTROLLER_COUNT && ok && spec->mesh[mesh]; by++) {
            if (!spec->controllers[by]) continue;
            tt_suite_run *to = run_at(s, incident, mesh, (tt_controller)by, seed);
            tt_rehearsal run = {0};
            r.inner_loop = mesh;
            r.rules = s->rules[rules_at(incident, mesh, (tt_controller)by)];
            r.control = by == TT_BY_NOTHING ? TT_CONTROL_NOTHING : TT_CONTROL_ENGINE;
            if (by == TT_BY_ORACLE || (by == TT_BY_NOTHING && !mesh)) {
                keep(i, by == TT_BY_ORACLE ? &oracle : &nothing, &oracle, &nothing, to);
                continue;
            }
            ok = tt_rehearse(&r, &run, err);
            if (ok) keep(i, &run, &oracle, &nothing, to);
            tt_rehearsal_free(&run);
        }
    tt_rehearsal_free(&oracle);
    tt_rehearsal_free(&nothing);
    return ok;
}

static void *worker(void *ctx) {
    tt_suite *s = ctx;
    const size_t all = s->spec.n_incidents * s->spec.n_seeds;
    for (size_t at; !atomic_load(&s->failed) && !stopped(s) && (at = atomic_fetch_add(&s->next, 1)) < all;) {
        tt_err err = {0};
        bool ok = unit(s, at / s->spec.n_seeds, (uint32_t)(at % s->spec.n_seeds), &err);
        pthread_mutex_lock(&s->lock);
        if (!ok && !atomic_exchange(&s->failed, true)) s->err = err;
        atomic_fetch_add(&s->done, 1);
        pthread_cond_signal(&s->moved);
        pthread_mutex_unlock(&s->lock);
    }
    return NULL;
}

static bool run_all(tt_suite *s, tt_err *err) {
    const size_t all = s->spec.n_incidents * s->spec.n_seeds;
    pthread_t threads[TT_SUITE_JOBS];
    uint32_t n = 0;
    while (n < s->spec.n_jobs && n < all && pthread_create(&threads[n], NULL, worker, s) == 0) n++;
    if (n == 0) return tt_fail(err, TT_ENOMEM, "no thread can be started");
    pthread_mutex_lock(&s->lock);
    while (atomic_load(&s->done) < all && !atomic_load(&s->failed) && !stopped(s)) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 100000000;
        if (until.tv_nsec >= 1000000000) {
            until.tv_nsec -= 1000000000;
            until.tv_sec++;
        }
        pthread_cond_timedwait(&s->moved, &s->lock, &until);
        if (!s->spec.progress) continue;
        pthread_mutex_unlock(&s->lock);
        s->spec.progress(s->spec.ctx, atomic_load(&s->done), all);
        pthread_mutex_lock(&s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    for (uint32_t i = 0; i < n; i++) pthread_join(threads[i], NULL);
    if (atomic_load(&s->failed)) {
        *err = s->err;
        return false;
    }
    return !stopped(s) || tt_fail(err, TT_ESTATE, "stopped");
}

tt_suite *tt_suite_new(const tt_suite_spec *spec, tt_err *err) {
    tt_suite *s = calloc(1, sizeof *s);
    size_t n = spec->n_incidents * TT_SUITE_MESHES * TT_CONTROLLER_COUNT;
    bool ok = s != NULL;
    if (ok) {
        s->spec = *spec;
        pthread_mutex_init(&s->lock, NULL);
        pthread_cond_init(&s->moved, NULL);
        s->runs = calloc(n * spec->n_seeds, sizeof *s->runs);
        s->rules = calloc(n, sizeof *s->rules);
        s->loaded = calloc(n, sizeof *s->loaded);
        ok = s->runs && s->rules && s->loaded;
    }
    if (!ok) tt_fail(err, TT_ENOMEM, "memory is out");
    for (size_t i = 0; i < spec->n_incidents; i++)
        for (int mesh = 0; mesh < TT_SUITE_MESHES && ok; mesh++)
            for (int by = 0; by < TT_CONTROLLER_COUNT && ok && spec->mesh[mesh]; by++)
                if (spec->controllers[by] && spec->n_docs[by] && !take_rules(s, i, mesh, (tt_controller)by, err)) {
                    char text[sizeof err->text];
                    snprintf(text, sizeof text, "%.380s (for incident %.80s)", err->text, tt_incident_name(spec->incidents[i]));
                    memcpy(err->text, text, sizeof text);
                    ok = false;
                }
    if (ok) ok = run_all(s, err);
    if (ok) return s;
    tt_suite_free(s);
    return NULL;
}

void tt_suite_free(tt_suite *s) {
    if (!s) return;
    for (size_t i = 0; i < s->n_loaded; i++) {
        tt_rules_free(s->loaded[i].rules);
        tt_buf_free(&s->loaded[i].services);
    }
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->moved);
    free(s->loaded);
    free(s->rules);
    free(s->runs);
    free(s);
}

/* ---- what they add up to ---- */

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef double (*figure)(const tt_suite_run *r);
static double of_share(const tt_suite_run *r) { return r->score.oracle_share; }
static double of_lost(const tt_suite_run *r) { return r->score.lost_ratio; }
static double of_mitigate(const tt_suite_run *r) { return r->score.time_to_mitigate_s; }
static double of_settle(const tt_suite_run *r) { return r->score.time_to_settle_s; }
static double of_needless(const tt_suite_run *r) { return r->score.needless_drop_ratio; }
static double of_high(const tt_suite_run *r) { return r->score.high_priority_loss_ratio; }
static double of_harm(const tt_suite_run *r) { return r->score.harm_ratio; }
static double of_reversals(const tt_suite_run *r) { return r->n_reversals; }
static double of_actions(const tt_suite_run *r) { return r->n_actions; }
static double of_violations(const tt_suite_run *r) { return r->n_violations; }

/* Of `n` values, sorted here. `high_is_good`: the worst is the smallest. */
static tt_spread spread_of(double v[], size_t n, bool high_is_good) {
    tt_spread s = {n, (double)NAN, (double)NAN, (double)NAN, (double)NAN, (double)NAN, (double)NAN};
    if (!n) return s;
    qsort(v, n, sizeof *v, ascending);
    s.total = 0;
    for (size_t i = 0; i < n; i++) s.total += v[i];
    s.mean = s.total / (double)n;
    s.median = n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
    s.worst = high_is_good ? v[0] : v[n - 1];
    /* Nearest rank, on the bad side. */
    size_t k90 = (size_t)ceil(0.9 * (double)n) - 1, k95 = (size_t)ceil(0.95 * (double)n) - 1;
    s.p90 = high_is_good ? v[n - 1 - k90] : v[k90];
    s.p95 = high_is_good ? v[n - 1 - k95] : v[k95];
    return s;
}

typedef enum { REAL, FALSE_ALARMS, ALL } which;

typedef struct {
    const tt_suite *s;
    int incident, mesh;
    tt_controller by;
    double *room;
} over;

static size_t each(const over *o, which w, void (*see)(void *ctx, size_t incident, uint32_t seed, const tt_suite_run *r), void *ctx) {
    const tt_suite_spec *spec = &o->s->spec;
    size_t n = 0;
    for (size_t i = 0; i < spec->n_incidents; i++) {
        bool alarm = tt_incident_false_alarm(spec->incidents[i]);
        if ((o->incident >= 0 && (size_t)o->incident != i) || (w == REAL && alarm) || (w == FALSE_ALARMS && !alarm)) continue;
        for (int mesh = 0; mesh < TT_SUITE_MESHES; mesh++)
            for (uint32_t k = 0; k < spec->n_seeds && spec->mesh[mesh] && (o->mesh < 0 || o->mesh == mesh); k++) {
                see(ctx, i, k, run_at(o->s, i, mesh, o->by, k));
                n++;
            }
    }
    return n;
}

typedef struct {
    figure f;
    double *v;
    size_t n;
} gathering;

static void gather(void *ctx, size_t incident, uint32_t seed, const tt_suite_run *r) {
    gathering *g = ctx;
    (void)incident, (void)seed;
    double v = g->f(r);
    if (!isnan(v)) g->v[g->n++] = v;
}

static tt_spread spread(const over *o, which w, figure f, bool high_is_good) {
    gathering g = {f, o->room, 0};
    each(o, w, gather, &g);
    return spread_of(o->room, g.n, high_is_good);
}

typedef struct {
    tt_tally *t;
    const tt_suite *s;
    double num, den;
} counting;

static void count_real(void *ctx, size_t incident, uint32_t seed, const tt_suite_run *r) {
    counting *c = ctx;
    (void)incident, (void)seed;
    c->t->never_mitigated += r->never_mitigated;
    c->t->never_settled += r->never_settled;
    c->t->worse_than_nothing += r->score.worse_than_nothing;
    c->t->not_undone += !r->all_undone;
    c->num += r->score.normalized_loss_num;
    c->den += r->score.normalized_loss_den;
}

static void count_false(void *ctx, size_t incident, uint32_t seed, const tt_suite_run *r) {
    counting *c = ctx;
    (void)incident, (void)seed;
    c->t->false_acted += r->n_actions > 0;
}

static void count_all(void *ctx, size_t incident, uint32_t seed, const tt_suite_run *r) {
    counting *c = ctx;
    if (!r->n_violations || c->t->violation) return;
    c->t->violation = r->violation;
    c->t->violation_incident = incident;
    c->t->violation_seed = c->s->spec.first_seed + seed;
}

bool tt_suite_tally(const tt_suite *s, int incident, int mesh, tt_controller by, tt_tally *ret) {
    over o = {s, incident, mesh, by, malloc((s->spec.n_incidents * TT_SUITE_MESHES * s->spec.n_seeds + 1) * sizeof *o.room)};
    *ret = (tt_tally){0};
    if (!o.room) return false;
    counting c = {ret, s, 0, 0};
    const which real = incident < 0 ? REAL : ALL; /* asked for a false alarm, its own runs are meant */
    ret->n_real = each(&o, real, count_real, &c);
    ret->n_false = each(&o, FALSE_ALARMS, count_false, &c);
    ret->n_runs = each(&o, ALL, count_all, &c);
    ret->oracle_share = spread(&o, real, of_share, true);
    ret->lost_ratio = spread(&o, real, of_lost, false);
    ret->time_to_mitigate_s = spread(&o, real, of_mitigate, false);
    ret->time_to_settle_s = spread(&o, real, of_settle, false);
    ret->needless_drop_ratio = spread(&o, real, of_needless, false);
    ret->high_priority_loss_ratio = spread(&o, real, of_high, false);
    ret->reversals = spread(&o, real, of_reversals, false);
    ret->actions = spread(&o, real, of_actions, false);
    ret->harm_ratio = spread(&o, FALSE_ALARMS, of_harm, false);
    ret->false_actions = spread(&o, FALSE_ALARMS, of_actions, false);
    ret->violations = spread(&o, ALL, of_violations, false);
    ret->normalized_loss = c.den > 0 ? c.num / c.den : (double)NAN;
    free(o.room);
    return true;
}

size_t tt_suite_targets(const tt_suite *s, tt_target_figure ret[TT_TARGETS]) {
    size_t n = 0;
    int flapping = -1;
    for (size_t i = 0; i < s->spec.n_incidents; i++)
        if (strcmp(tt_incident_name(s->spec.incidents[i]), "flapping") == 0) flapping = (int)i;
    for (int mesh = 0; mesh < TT_SUITE_MESHES && s->spec.controllers[TT_BY_TRIMTAB]; mesh++) {
        tt_tally t, f = {0};
        if (!s->spec.mesh[mesh] || !tt_suite_tally(s, TT_SUITE_ALL, mesh, TT_BY_TRIMTAB, &t)) continue;
        if (flapping >= 0 && !tt_suite_tally(s, flapping, mesh, TT_BY_TRIMTAB, &f)) continue;
        const double worse = (double)t.worse_than_nothing, acted = (double)t.false_acted;
        /* control.md, section 10, without the inner loop, and section 12 with it */
        const struct {
            bool with, without, there;
            tt_target_figure f;
        } rows[] = {
            {false, true, t.n_real, {"normalized loss", "", mesh, t.normalized_loss, .07, .045}},
            {true, false, t.n_real, {"normalized loss", "", mesh, t.normalized_loss, .035, .02}},
            {false, true, t.n_real, {"lost, 95th percentile", "%", mesh, t.lost_ratio.p95, .08, .05}},
            {false, true, t.n_real, {"lost, worst", "%", mesh, t.lost_ratio.worst, .14, .09}},
            {false, true, t.n_real, {"time to mitigate, median", "s", mesh, t.time_to_mitigate_s.median, 35, 20}},
            {false, true, t.n_real, {"time to mitigate, 90th percentile", "s", mesh, t.time_to_mitigate_s.p90, 100, 60}},
            {false, true, t.n_real, {"needless drops, mean", "%", mesh, t.needless_drop_ratio.mean, .01, .005}},
            {true, false, t.n_real, {"needless drops, mean", "%", mesh, t.needless_drop_ratio.mean, .003, .003}},
            {false, true, t.n_real, {"highest priority lost, mean", "%", mesh, t.high_priority_loss_ratio.mean, .02, .012}},
            {false, true, t.n_real, {"highest priority lost, worst", "%", mesh, t.high_priority_loss_ratio.worst, .08, .05}},
            {false, true, t.n_false, {"harm in false alarms, mean", "%", mesh, t.harm_ratio.mean, .002, .0005}},
            {false, true, t.n_false, {"harm in false alarms, worst", "%", mesh, t.harm_ratio.worst, .035, .02}},
            {true, false, t.n_false, {"harm in false alarms, worst", "%", mesh, t.harm_ratio.worst, 0, 0}},
            {true, true, t.n_false, {"false alarms acted on", "runs", mesh, acted, 0, 0}},
            {true, true, t.n_real, {"worse than doing nothing", "runs", mesh, worse, 0, 0}},
            {false, true, t.n_real, {"reversals, mean", "", mesh, t.reversals.mean, 9, 4}},
            {true, false, t.n_real, {"reversals, mean", "", mesh, t.reversals.mean, 4, 4}},
            {false, true, flapping >= 0, {"reversals in flapping, median", "", mesh, f.reversals.median, 26, 8}},
            {true, true, t.n_runs, {"invariants broken", "times", mesh, t.violations.total, 0, 0}},
        };
        for (size_t i = 0; i < TT_COUNT(rows) && n < TT_TARGETS; i++)
            if (rows[i].there && (mesh ? rows[i].with : rows[i].without)) ret[n++] = rows[i].f;
    }
    return n;
}
