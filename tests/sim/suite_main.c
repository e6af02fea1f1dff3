/* suite: the engine and doing nothing on every incident, set against the oracle. A developer's tool for tuning the law: `trimtab rehearse` is the
 * user's.
 *
 *   suite [--incidents DIR] [--incident NAME]... [--seeds N] [--from SEED] [--inner-loop on|off] [--rules FILE]... [--jobs N] [--trace SEED] */
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pcre.h"
#include "rehearse.h"
#include "yaml.h"

enum { INCIDENTS_MAX = 128, FILES_MAX = 32, SEEDS_MAX = 1000, NAMES_MAX = 32 };

static struct {
    const char *dir, *rules[FILES_MAX], *names[NAMES_MAX];
    int n_rules, n_names, seeds, jobs;
    uint64_t from, trace;
    bool inner, tracing;
} options = {.dir = SUITE_INCIDENTS, .seeds = 20, .jobs = 2, .from = 1};

/* ---- files ---- */

static char *slurp(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    if (!f) {
        perror(path);
        exit(2);
    }
    char *text = malloc(1 << 20);
    *n = fread(text, 1, (1 << 20) - 1, f);
    text[*n] = '\0';
    fclose(f);
    return text;
}

static void complain(const tt_err *errs, size_t n) {
    char line[1024];
    for (size_t i = 0; i < n; i++) {
        tt_err_print(&errs[i], line, sizeof line);
        fprintf(stderr, "%s\n", line);
    }
}

static const tt_doc *parse(tt_arena *arena, const char *path, tt_sv text) {
    tt_err err;
    const tt_doc *doc = tt_yaml_parse(arena, path, text, NULL, &err);
    if (doc) return doc;
    complain(&err, 1);
    exit(2);
}

static tt_incident *load_incident(const char *path) {
    size_t n, n_errs;
    char *text = slurp(path, &n);
    tt_arena *arena = tt_arena_new();
    tt_err errs[8];
    tt_incident *i = tt_incident_load(parse(arena, path, (tt_sv){text, n}), errs, TT_COUNT(errs), &n_errs);
    if (!i) {
        complain(errs, n_errs);
        exit(2);
    }
    tt_arena_free(arena);
    free(text);
    return i;
}

static int by_name(const void *a, const void *b) {
    return strcmp(tt_incident_name(*(tt_incident *const *)a), tt_incident_name(*(tt_incident *const *)b));
}

static int load_incidents(tt_incident *ret[]) {
    DIR *d = opendir(options.dir);
    int n = 0;
    if (!d) {
        perror(options.dir);
        exit(2);
    }
    for (struct dirent *e; (e = readdir(d));) {
        const char *dot = strrchr(e->d_name, '.');
        char path[1024];
        if (!dot || strcmp(dot, ".yaml") != 0 || n == INCIDENTS_MAX) continue;
        snprintf(path, sizeof path, "%s/%s", options.dir, e->d_name);
        tt_incident *i = load_incident(path);
        bool wanted = options.n_names == 0;
        for (int k = 0; k < options.n_names; k++) wanted |= strcmp(options.names[k], tt_incident_name(i)) == 0;
        if (wanted)
            ret[n++] = i;
        else
            tt_incident_free(i);
    }
    closedir(d);
    qsort(ret, (size_t)n, sizeof *ret, by_name);
    return n;
}

static tt_rules *load_rules(const tt_incident *i, const tt_matcher *matcher) {
    tt_arena *arena = tt_arena_new();
    const tt_doc *docs[FILES_MAX + 1];
    tt_buf services;
    tt_buf_init(&services, 1 << 16);
    tt_incident_services(i, options.inner, &services);
    docs[0] = parse(arena, "incident's services", (tt_sv){services.p, services.n});
    char *texts[FILES_MAX];
    bool own = false; /* the rules declare services themselves */
    for (int k = 0; k < options.n_rules; k++) {
        size_t n;
        texts[k] = slurp(options.rules[k], &n);
        docs[k + 1] = parse(arena, options.rules[k], (tt_sv){texts[k], n});
        own |= tt_doc_get(docs[k + 1], TT_SV("services")) != NULL;
    }
    tt_err errs[8];
    size_t n_errs;
    tt_rules *r = tt_rules_load(docs + own, (size_t)options.n_rules + !own, matcher, errs, TT_COUNT(errs), &n_errs);
    if (!r) {
        complain(errs, n_errs);
        exit(2);
    }
    for (int k = 0; k < options.n_rules; k++) free(texts[k]);
    tt_buf_free(&services);
    tt_arena_free(arena);
    return r;
}

/* ---- one seed ---- */

typedef struct {
    double lost, none_lost, share, ttm, needless, num, den, harm;
    uint32_t reversals, actions, pushes, violations;
    bool worse, left, beats_oracle;
    char violation[160];
} outcome;

static void run(const tt_incident *i, tt_control control, const tt_rules *rules, uint64_t seed, bool inner, tt_rehearsal *ret,
                void (*watch)(void *, const tt_rehearsal_tick *), void *ctx) {
    tt_err err = {0};
    tt_rehearsal_spec spec = {.incident = i, .control = control, .rules = rules, .seed = seed, .inner_loop = inner, .watch = watch, .ctx = ctx};
    if (tt_rehearse(&spec, ret, &err)) return;
    complain(&err, 1);
    exit(2);
}

static void one(const tt_incident *i, const tt_rules *rules, uint64_t seed, outcome *o) {
    tt_rehearsal mine, best, none;
    tt_score s, s_none;
    run(i, TT_CONTROL_ORACLE, NULL, seed, false, &best, NULL, NULL);
    run(i, TT_CONTROL_NOTHING, NULL, seed, false, &none, NULL, NULL);
    run(i, rules ? TT_CONTROL_ENGINE : TT_CONTROL_NOTHING, rules, seed, options.inner, &mine, NULL, NULL);
    tt_rehearsal_score(&mine, &best, &none, &s);
    tt_rehearsal_score(&none, &best, &none, &s_none);
    *o = (outcome){.lost = s.lost_ratio,
                   .none_lost = s_none.lost_ratio,
                   .share = s.oracle_share,
                   .ttm = s.time_to_mitigate_s,
                   .needless = s.needless_drop_ratio,
                   .num = s.normalized_loss_num,
                   .den = s.normalized_loss_den,
                   .harm = s.harm_ratio,
                   .reversals = mine.n_reversals,
                   .actions = mine.n_actions,
                   .pushes = mine.n_pushes,
                   .violations = mine.n_violations,
                   .worse = s.worse_than_nothing,
                   .left = !mine.all_undone,
                   .beats_oracle = s.lost_ratio < -0.005};
    snprintf(o->violation, sizeof o->violation, "%.150s", mine.violation);
    tt_rehearsal_free(&mine);
    tt_rehearsal_free(&best);
    tt_rehearsal_free(&none);
}

/* ---- a table ---- */

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* NANs come last: never is worse than late. */
static void spread(const outcome o[], int n, double (*of)(const outcome *), double *median, double *worst) {
    static double v[SEEDS_MAX];
    for (int i = 0; i < n; i++) {
        v[i] = of(&o[i]);
        if (isnan(v[i])) v[i] = INFINITY;
    }
    qsort(v, (size_t)n, sizeof v[0], ascending);
    *median = n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
    *worst = v[n - 1];
}
static double of_lost(const outcome *o) {
    return 100 * o->lost;
}
static double of_none(const outcome *o) {
    return 100 * o->none_lost;
}
static double of_share(const outcome *o) {
    return -o->share;
}
static double of_ttm(const outcome *o) {
    return o->ttm;
}
static double of_needless(const outcome *o) {
    return 100 * o->needless;
}
static double of_reversals(const outcome *o) {
    return o->reversals;
}
static double of_actions(const outcome *o) {
    return o->actions;
}

static void show(const tt_incident *i, const outcome o[], int n) {
    double m, w, none_m, none_w, s_m, s_w, t_m, t_w, x_m, x_w, r_m, r_w, a_m, a_w, num = 0, den = 0;
    int worse = 0, left = 0, beats = 0, violations = 0;
    const char *first = "";
    uint64_t at = 0;
    for (int k = 0; k < n; k++) {
        num += o[k].num, den += o[k].den;
        worse += o[k].worse, left += o[k].left, beats += o[k].beats_oracle, violations += (int)o[k].violations;
        if (o[k].violations && !first[0]) first = o[k].violation, at = options.from + (uint64_t)k;
    }
    spread(o, n, of_lost, &m, &w);
    spread(o, n, of_none, &none_m, &none_w);
    spread(o, n, of_share, &s_m, &s_w);
    spread(o, n, of_ttm, &t_m, &t_w);
    spread(o, n, of_needless, &x_m, &x_w);
    spread(o, n, of_reversals, &r_m, &r_w);
    spread(o, n, of_actions, &a_m, &a_w);
    printf("%-22s %5.1f/%-5.1f %6.2f/%-6.2f %6.3f/%-6.3f %6.3f %4.0f/%-4.0f %5.2f/%-5.2f %3.0f/%-3.0f %3.0f/%-3.0f %3d %3d %3d %3d\n",
           tt_incident_name(i), none_m, none_w, m, w, isinf(s_m) ? (double)NAN : -s_m, isinf(s_w) ? (double)NAN : -s_w, den > 0 ? num / den : 0, t_m,
           t_w, x_m, x_w, r_m, r_w, a_m, a_w, worse, left, violations, beats);
    if (first[0]) printf("    seed %llu: %s\n", (unsigned long long)at, first);
}

static void suite(tt_incident *incidents[], int n, const tt_matcher *matcher) {
    int total = n * options.seeds;
    outcome *all = calloc((size_t)total, sizeof *all);
    int pipes[64][2];
    for (int j = 0; j < options.jobs; j++) {
        if (pipe(pipes[j]) != 0) exit(2);
        pid_t pid = fork();
        if (pid < 0) exit(2);
        if (pid) {
            close(pipes[j][1]);
            continue;
        }
        for (int i = 0; i < n; i++) {
            tt_rules *rules = options.n_rules ? load_rules(incidents[i], matcher) : NULL;
            for (int k = 0; k < options.seeds; k++) {
                if ((i * options.seeds + k) % options.jobs != j) continue;
                outcome o;
                one(incidents[i], rules, options.from + (uint64_t)k, &o);
                if (write(pipes[j][1], &o, sizeof o) != sizeof o) _exit(2);
            }
            tt_rules_free(rules);
        }
        _exit(0);
    }
    printf("%-22s %-11s %-13s %-13s %6s %-9s %-11s %-7s %-7s %3s %3s %3s %3s\n", "incident", "none lost %", "lost %", "oracle share", "NL", "TTM s",
           "needless %", "revers.", "actions", "wrs", "lft", "inv", "bto");
    double num = 0, den = 0, needless = 0, harm = 0, harm_max = 0, reversals = 0;
    int worse = 0, real = 0, alarms = 0, alarm_actions = 0, violations = 0;
    for (int i = 0; i < n; i++) {
        outcome *o = &all[i * options.seeds];
        bool alarm = tt_incident_false_alarm(incidents[i]);
        for (int k = 0; k < options.seeds; k++) {
            int at = i * options.seeds + k;
            char *to = (char *)&o[k];
            for (size_t got = 0; got < sizeof *o;) {
                ssize_t r = read(pipes[at % options.jobs][0], to + got, sizeof *o - got);
                if (r <= 0) {
                    fprintf(stderr, "a worker died at %s seed %llu\n", tt_incident_name(incidents[i]),
                            (unsigned long long)(options.from + (uint64_t)k));
                    exit(2);
                }
                got += (size_t)r;
            }
            violations += (int)o[k].violations;
            if (alarm) {
                alarms++, alarm_actions += o[k].actions > 0;
                harm += o[k].harm, harm_max = fmax(harm_max, o[k].harm);
            } else {
                real++, worse += o[k].worse, needless += o[k].needless, reversals += o[k].reversals;
                num += o[k].num, den += o[k].den;
            }
        }
        show(incidents[i], o, options.seeds);
        fflush(stdout);
    }
    while (wait(NULL) > 0) {
    }
    printf("all: NL %.4f over %d real runs, worse than nothing %d, needless %.2f %%, reversals %.1f; false alarms: %d of %d runs acted, harm mean "
           "%.3f %% max %.2f %%; "
           "violations %d\n",
           den > 0 ? num / den : 0, real, worse, real ? 100 * needless / real : 0, real ? reversals / real : 0, alarm_actions, alarms,
           alarms ? 100 * harm / alarms : 0, 100 * harm_max, violations);
    free(all);
}

/* ---- a trace ---- */

typedef struct {
    const tt_rehearsal *best;
} tracer;

static void trace_tick(void *ctx, const tt_rehearsal_tick *t) {
    const tracer *x = ctx;
    const tt_model_truth *m = tt_model_truth_of(t->model);
    double v[6] = {0};
    uint32_t at = (uint32_t)((t->elapsed_ns - 1) / TT_SECONDS(1));
    for (int p = 0; p < TT_MODEL_PRIORITIES; p++)
        v[0] += m->wanted_rps[p], v[1] += m->good_rps[p], v[2] += m->offered_rps[p], v[3] += m->dropped_rps[p], v[4] += m->refused_rps[p],
            v[5] += m->failed_rps[p];
    printf("%6.1f%s wanted %5.0f good %5.0f oracle %5.0f offered %5.0f dropped %5.0f refused %5.0f failed %5.0f |", (double)t->elapsed_ns / 1e9,
           m->faulty ? "*" : " ", v[0], v[1], at < x->best->n_seconds ? (double)x->best->second[at].good : 0, v[2], v[3], v[4], v[5]);
    const tt_model_spec *spec = tt_model_spec_of(t->model);
    for (uint32_t s = 0; s < spec->n_services; s++) {
        const tt_model_enforced *g = tt_model_in_force(t->model, s, -1);
        for (uint32_t d = 0; d < spec->n_dcs; d++) {
            const tt_model_enforced *e = tt_model_in_force(t->model, s, (int)d);
            if (s == 0) printf(" [cap %.0f can %.0f", e->limit_rps, tt_model_capacity(t->model, d, -1));
            if (e->level) printf(" L%u@%u", e->level, s);
            if (e->ejected) printf(" ej%x@%u", e->ejected, s);
            for (int p = 0; p < TT_MODEL_PRIORITIES; p++)
                if (e->drop[p] > 0) printf(" d%d=%.2f", p, e->drop[p]);
            if (g->weights) printf(" w%u=%.2f", s, g->weight[d]);
            if (s == 0) printf("]");
        }
    }
    printf("\n");
    for (size_t i = 0; t->outcome && i < t->outcome->n_events; i++) {
        const tt_event *ev = &t->outcome->events[i];
        printf("         %-15s %s%s%s %s", ev->kind, ev->target.service, ev->target.dc[0] ? "/" : "", ev->target.dc, ev->action);
        if (ev->action[0]) printf(" %.4g -> %.4g", ev->from, ev->to);
        printf(" %s\n", ev->reason);
    }
}

static void trace(const tt_incident *i, const tt_matcher *matcher) {
    tt_rehearsal best, mine, none;
    tt_rules *rules = options.n_rules ? load_rules(i, matcher) : NULL;
    run(i, TT_CONTROL_ORACLE, NULL, options.trace, false, &best, NULL, NULL);
    run(i, TT_CONTROL_NOTHING, NULL, options.trace, false, &none, NULL, NULL);
    tracer x = {&best};
    run(i, rules ? TT_CONTROL_ENGINE : TT_CONTROL_NOTHING, rules, options.trace, options.inner, &mine, trace_tick, &x);
    tt_score s;
    tt_rehearsal_score(&mine, &best, &none, &s);
    printf("%s seed %llu: lost %.2f %%, oracle share %.3f, TTM %.0f s, settled after %.0f s, needless %.2f %%, actions %u, reversals %u, violations "
           "%u %s\n",
           tt_incident_name(i), (unsigned long long)options.trace, 100 * s.lost_ratio, s.oracle_share, s.time_to_mitigate_s, s.time_to_settle_s,
           100 * s.needless_drop_ratio, mine.n_actions, mine.n_reversals, mine.n_violations, mine.violation);
    tt_rehearsal_free(&mine);
    tt_rehearsal_free(&best);
    tt_rehearsal_free(&none);
    tt_rules_free(rules);
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i], *v = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(a, "--rules") == 0 && v) {
            for (; i + 1 < argc && argv[i + 1][0] != '-' && options.n_rules < FILES_MAX; i++) options.rules[options.n_rules++] = argv[i + 1];
            continue;
        }
        if (strcmp(a, "--incident") == 0 && v && options.n_names < NAMES_MAX)
            options.names[options.n_names++] = v;
        else if (strcmp(a, "--incidents") == 0 && v)
            options.dir = v;
        else if (strcmp(a, "--seeds") == 0 && v)
            options.seeds = atoi(v);
        else if (strcmp(a, "--jobs") == 0 && v)
            options.jobs = atoi(v);
        else if (strcmp(a, "--from") == 0 && v)
            options.from = strtoull(v, NULL, 10);
        else if (strcmp(a, "--trace") == 0 && v)
            options.trace = strtoull(v, NULL, 10), options.tracing = true;
        else if (strcmp(a, "--inner-loop") == 0 && v)
            options.inner = strcmp(v, "on") == 0;
        else {
            fprintf(stderr,
                    "usage: suite [--incidents DIR] [--incident NAME]... [--seeds N] [--from SEED] [--inner-loop on|off] [--rules FILE...]... "
                    "[--jobs N] [--trace SEED]\nWithout --rules nothing is done.\n");
            return 2;
        }
        i++;
    }
    if (options.seeds < 1 || options.seeds > SEEDS_MAX || options.jobs < 1 || options.jobs > 64) {
        fprintf(stderr, "--seeds 1 to %d, --jobs 1 to 64\n", SEEDS_MAX);
        return 2;
    }
    tt_incident *incidents[INCIDENTS_MAX];
    int n = load_incidents(incidents);
    if (!n) {
        fprintf(stderr, "no such incident in %s\n", options.dir);
        return 2;
    }
    tt_matcher *matcher = tt_pcre_matcher_new();
    if (options.tracing)
        trace(incidents[0], matcher);
    else
        suite(incidents, n, matcher);
    for (int i = 0; i < n; i++) tt_incident_free(incidents[i]);
    tt_pcre_matcher_free(matcher);
    return 0;
}
