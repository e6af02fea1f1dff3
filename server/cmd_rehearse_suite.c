/* trimtab rehearse --incident, --suite, --list: the engine against the mesh model. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "cmd_rehearse.h"
#include "config/yaml.h"
#include "rehearse/embedded.h"
#include "rehearse/report.h"
#include "rehearse/single.h"
#include "table.h"

typedef struct {
    tt_arena *arena;
    size_t n;
    tt_incident *at[TT_SUITE_INCIDENTS];
    bool own; /* one of them is the user's: the built-in baselines may not fit its mesh */
} incidents;

/* ---- incidents ---- */

static bool add(incidents *all, const tt_doc *doc) {
    tt_err errs[TT_REHEARSE_ERRS];
    size_t n_errs = 0;
    if (all->n == TT_SUITE_INCIDENTS) {
        fprintf(stderr, "trimtab: more than %d incidents\n", TT_SUITE_INCIDENTS);
        return false;
    }
    tt_incident *i = tt_incident_load(doc, errs, TT_COUNT(errs), &n_errs);
    if (!i) {
        tt_rehearse_errors(errs, n_errs);
        return false;
    }
    all->at[all->n++] = i;
    return true;
}

static bool add_built_in(incidents *all, const tt_embedded *e) {
    char file[128];
    tt_err err;
    snprintf(file, sizeof file, "built-in %.100s.yaml", e->name);
    const tt_doc *doc = tt_yaml_parse(all->arena, file, (tt_sv){e->text, e->size}, NULL, &err);
    if (doc) return add(all, doc);
    tt_rehearse_errors(&err, 1);
    return false;
}

static bool add_named(incidents *all, const char *name) {
    const tt_embedded *e = tt_embedded_find(tt_embedded_incidents, tt_n_embedded_incidents, name);
    struct stat st;
    if (e) return add_built_in(all, e);
    if (stat(name, &st) != 0 && !strchr(name, '/') && !strstr(name, ".yaml")) {
        const char *names[TT_SUITE_INCIDENTS];
        size_t n = 0;
        for (; n < tt_n_embedded_incidents && n < TT_COUNT(names); n++) names[n] = tt_embedded_incidents[n].name;
        const char *near = tt_cli_nearest(name, names, n);
        fprintf(stderr, "trimtab: there is no incident \"%s\"%s%s%s; --list tells those that are built in, and a file is given by its path\n", name,
                near ? ": did you mean " : "", near ? near : "", near ? "?" : "");
        return false;
    }
    const tt_doc *docs[TT_RULES_FILES_MAX];
    tt_err errs[TT_REHEARSE_ERRS];
    size_t n = 0, n_errs = 0;
    bool ok = tt_rules_documents(&name, 1, all->arena, docs, &n, errs, TT_COUNT(errs), &n_errs);
    tt_rehearse_errors(errs, n_errs);
    for (size_t i = 0; i < n; i++) ok = add(all, docs[i]) && ok;
    all->own = true;
    return ok;
}

static bool load_incidents(const tt_rehearse_suite_options *o, incidents *all) {
    bool ok = true;
    for (size_t i = 0; i < o->incidents->n; i++) ok = add_named(all, o->incidents->at[i]) && ok;
    for (size_t i = 0; o->suite && i < tt_n_embedded_incidents; i++) ok = add_built_in(all, &tt_embedded_incidents[i]) && ok;
    for (size_t i = 0; ok && i < all->n; i++)
        for (size_t k = 0; k < i; k++)
            if (strcmp(tt_incident_name(all->at[i]), tt_incident_name(all->at[k])) == 0) {
                fprintf(stderr, "trimtab: incident %s is there twice: give one of them another name\n", tt_incident_name(all->at[i]));
                return false;
            }
    return ok;
}

static void free_incidents(incidents *all) {
    for (size_t i = 0; i < all->n; i++) tt_incident_free(all->at[i]);
    tt_arena_free(all->arena);
}

int tt_rehearse_list(bool json) {
    incidents all = {.arena = tt_arena_new()};
    bool ok = all.arena != NULL;
    tt_buf b;
    tt_buf_init(&b, 1 << 20);
    for (size_t i = 0; ok && i < tt_n_embedded_incidents; i++) ok = add_built_in(&all, &tt_embedded_incidents[i]);
    tt_buf_put(&b, TT_SV("{\"items\":["));
    for (size_t i = 0; ok && i < all.n; i++) {
        const tt_incident *x = all.at[i];
        bool alarm = tt_incident_false_alarm(x);
        if (!json) printf("%-24s%s%s\n", tt_incident_name(x), tt_incident_title(x), alarm ? " (false alarm)" : "");
        tt_buf_put(&b, i ? TT_SV(",\n{\"name\":") : TT_SV("\n{\"name\":"));
        tt_buf_json_string(&b, tt_sv_of(tt_incident_name(x)));
        tt_buf_put(&b, TT_SV(",\"title\":"));
        tt_buf_json_string(&b, tt_sv_of(tt_incident_title(x)));
        tt_buf_printf(&b, ",\"false_alarm\":%s,\"duration_s\":", alarm ? "true" : "false");
        tt_buf_number(&b, (double)tt_incident_duration_ns(x) / 1e9);
        tt_buf_put(&b, TT_SV("}"));
    }
    tt_buf_put(&b, TT_SV("\n]}\n"));
    if (json && ok) ok = tt_cli_write("-", &b);
    tt_buf_free(&b);
    free_incidents(&all);
    return ok && fflush(stdout) == 0 ? TT_EXIT_OK : TT_EXIT_FAILED;
}

/* ---- progress ---- */

typedef struct {
    tt_time begun;
    bool bar, drawn;
} progress;

static void on_progress(void *ctx, size_t done, size_t all) {
    progress *p = ctx;
    enum { CELLS = 28 };
    char bar[CELLS + 1], left[48] = "";
    if (!p->bar) return;
    double part = all ? (double)done / (double)all : 1, took = (double)tt_since(tt_clock_now(), p->begun) / 1e9;
    for (int i = 0; i < CELLS; i++) bar[i] = i < (int)(part * CELLS) ? '#' : '.';
    bar[CELLS] = 0;
    if (part > 0.02 && took > 1) {
        char span[32];
        tt_format_duration(TT_SECONDS((int64_t)(took * (1 - part) / part) + 1), span, sizeof span);
        snprintf(left, sizeof left, ", %s left", span);
    }
    fprintf(stderr, "\r\033[K[%s] %3d %%  %zu of %zu incidents and seeds%s", bar, (int)(part * 100), done, all, left);
    fflush(stderr);
    p->drawn = true;
}

static void clear(progress *p) {
    if (p->drawn) fputs("\r\033[K", stderr);
    p->drawn = false;
}

/* ---- one run, told ---- */

static bool write_chart(const tt_chart *chart, const char *path) {
    tt_buf b;
    tt_buf_init(&b, TT_REHEARSE_BYTES);
    tt_chart_svg(chart, &b);
    bool ok = tt_cli_write(path, &b);
    tt_buf_free(&b);
    return ok;
}

static bool told(const tt_rehearse_common *c, const tt_incident *i, bool inner, uint64_t seed, bool story, const char *svg) {
    const tt_story s = {stdout, tt_cli_colours(STDOUT_FILENO), tt_terminal_width(STDOUT_FILENO)};
    tt_err err;
    tt_single run = {0};
    tt_rules *rules = tt_suite_rules(i, inner, c->docs, c->n_docs, c->matcher, &err);
    tt_single_spec spec = {.incident = i, .rules = rules, .seed = seed, .inner_loop = inner, .story = story ? &s : NULL, .draw = svg != NULL};
    if (story)
        printf("%s%s%s: %s\nseed %llu, %s the inner loop; %.0f s\n\n", s.colours ? "\033[1m" : "", tt_incident_name(i), s.colours ? "\033[0m" : "", tt_incident_title(i),
               (unsigned long long)seed, inner ? "with" : "without", (double)tt_incident_duration_ns(i) / 1e9);
    bool ok = rules && tt_single_run(&spec, &run, &err);
    if (!ok) tt_rehearse_errors(&err, 1);
    if (ok && story) {
        putchar('\n');
        tt_single_verdicts(&spec, &run, stdout, s.colours, s.width);
        putchar('\n');
    }
    if (ok && svg) ok = write_chart(run.chart, svg);
    tt_single_free(&run);
    tt_rules_free(rules);
    return ok;
}

/* A chart an incident and mesh, of the first seed. */
static bool draw_all(const tt_rehearse_common *c, const tt_suite_spec *spec) {
    char path[4096];
    if (mkdir(c->svg, 0777) != 0 && errno != EEXIST) {
        fprintf(stderr, "trimtab: %s cannot be made: %s\n", c->svg, strerror(errno));
        return false;
    }
    bool ok = true;
    for (size_t i = 0; i < spec->n_incidents && ok; i++)
        for (int mesh = 0; mesh < TT_SUITE_MESHES && ok; mesh++) {
            if (!spec->mesh[mesh]) continue;
            snprintf(path, sizeof path, "%s/%s%s.svg", c->svg, tt_incident_name(spec->incidents[i]), mesh ? "-inner-loop" : "");
            ok = told(c, spec->incidents[i], mesh, spec->first_seed, false, path);
        }
    return ok;
}

/* ---- the controllers ---- */

static bool plans_of(const tt_rehearse_common *c, const tt_rehearse_suite_options *o, const incidents *all, tt_arena *arena, const tt_doc *baseline[TT_CONTROLLER_COUNT],
                     tt_suite_spec *spec) {
    for (int by = 0; by < TT_CONTROLLER_COUNT; by++) {
        tt_err err;
        if (!spec->controllers[by] || by == TT_BY_ORACLE || by == TT_BY_NOTHING) continue;
        if (by == TT_BY_TRIMTAB) {
            spec->docs[by] = c->docs;
            spec->n_docs[by] = c->n_docs;
            continue;
        }
        baseline[by] = tt_rehearse_plans(arena, tt_controller_name((tt_controller)by), &err);
        if (!baseline[by]) {
            tt_rehearse_errors(&err, 1);
            return false;
        }
        spec->docs[by] = &baseline[by];
        spec->n_docs[by] = 1;
        for (size_t i = 0; i < all->n && all->own && spec->controllers[by]; i++) {
            tt_rules *r = tt_suite_rules(all->at[i], false, spec->docs[by], 1, c->matcher, &err);
            tt_rules_free(r);
            if (r) continue;
            if (o->controllers) {
                tt_rehearse_errors(&err, 1);
                fprintf(stderr, "trimtab: %s is written for the mesh of the suite, and %s has another: leave it out of --controllers\n", tt_controller_name((tt_controller)by),
                        tt_incident_name(all->at[i]));
                return false;
            }
            fprintf(stderr, "trimtab: %s is left out: it is written for the mesh of the suite, and %s has another\n", tt_controller_name((tt_controller)by),
                    tt_incident_name(all->at[i]));
            spec->controllers[by] = false;
        }
    }
    return true;
}

static bool read_controllers(const char *text, bool ret[TT_CONTROLLER_COUNT]) {
    const char *names[TT_CONTROLLER_COUNT];
    for (int i = 0; i < TT_CONTROLLER_COUNT; i++) names[i] = tt_controller_name((tt_controller)i);
    memset(ret, 0, TT_CONTROLLER_COUNT * sizeof *ret);
    char copy[256];
    snprintf(copy, sizeof copy, "%s", text);
    char *rest = copy;
    for (char *one; (one = strsep(&rest, ","));) {
        int k = 0;
        while (k < TT_CONTROLLER_COUNT && strcmp(names[k], one) != 0) k++;
        if (k == TT_CONTROLLER_COUNT) {
            const char *near = tt_cli_nearest(one, names, TT_CONTROLLER_COUNT);
            fprintf(stderr, "trimtab: --controllers: there is no \"%s\"%s%s%s; there are trimtab, oracle, nothing, runbook, aimd\n", one, near ? ": did you mean " : "",
                    near ? near : "", near ? "?" : "");
            return false;
        }
        ret[k] = true;
    }
    return true;
}

static bool tell(const tt_rehearse_common *c, const tt_rehearse_suite_options *o, const tt_suite *s) {
    const tt_suite_spec *spec = tt_suite_spec_of(s);
    if (c->json) {
        tt_buf b;
        tt_buf_init(&b, TT_REHEARSE_BYTES);
        tt_suite_json(s, &b);
        bool ok = tt_cli_write("-", &b);
        tt_buf_free(&b);
        return ok;
    }
    const tt_report r = {stdout, tt_cli_colours(STDOUT_FILENO), tt_terminal_width(STDOUT_FILENO)};
    if (o->suite)
        tt_report_suite(&r, s);
    else
        for (size_t i = 0; i < spec->n_incidents; i++) tt_report_incident(&r, s, i);
    return true;
}

int tt_rehearse_suite(const tt_rehearse_common *c, const tt_rehearse_suite_options *o) {
    incidents all = {.arena = tt_arena_new()};
    const tt_doc *baseline[TT_CONTROLLER_COUNT] = {NULL};
    progress p = {.begun = tt_clock_now(), .bar = isatty(STDERR_FILENO) && tt_terminal_width(STDERR_FILENO) > 0};
    tt_suite_spec spec = {.controllers = {true, true, true, true, true},
                          .matcher = c->matcher,
                          .first_seed = o->seed,
                          .n_seeds = o->n_seeds,
                          .n_jobs = o->n_jobs,
                          .stop = c->stop,
                          .ctx = &p,
                          .progress = on_progress};
    tt_err err = {0};
    if (!all.arena) {
        fprintf(stderr, "trimtab: out of memory\n");
        return TT_EXIT_FAILED;
    }
    if (o->controllers && !read_controllers(o->controllers, spec.controllers)) {
        tt_arena_free(all.arena);
        return TT_EXIT_USAGE;
    }
    memcpy(spec.mesh, o->mesh, sizeof spec.mesh);
    bool ok = load_incidents(o, &all);
    spec.n_incidents = all.n;
    spec.incidents = (const tt_incident *const *)all.at;
    ok = ok && plans_of(c, o, &all, all.arena, baseline, &spec);
    bool story = ok && o->told && !c->json && spec.controllers[TT_BY_TRIMTAB];
    for (int mesh = 0; mesh < TT_SUITE_MESHES && ok && o->told && (story || c->svg); mesh++)
        if (spec.mesh[mesh]) ok = told(c, all.at[0], mesh, o->seed, story, c->svg);
    tt_suite *s = ok ? tt_suite_new(&spec, &err) : NULL;
    clear(&p);
    bool was_stopped = c->stop && *c->stop;
    bool broken = false;
    if (ok && !s) {
        if (was_stopped)
            fprintf(stderr, "trimtab: stopped before its end: nothing to tell\n");
        else
            tt_rehearse_errors(&err, 1);
        ok = false;
    } else if (ok) {
        ok = tell(c, o, s);
        tt_tally t;
        broken = spec.controllers[TT_BY_TRIMTAB] && tt_suite_tally(s, TT_SUITE_ALL, -1, TT_BY_TRIMTAB, &t) && t.violations.total > 0;
        if (ok && c->svg && !o->told) ok = draw_all(c, &spec);
    }
    tt_suite_free(s);
    free_incidents(&all);
    if (was_stopped) return TT_EXIT_STOPPED;
    return fflush(stdout) == 0 && ok && !broken ? TT_EXIT_OK : TT_EXIT_FAILED;
}
