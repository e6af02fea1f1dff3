#include "single.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "trace.h"
#include "table.h"

typedef struct {
    const tt_single_spec *spec;
    tt_single *s;
    tt_trace *trace;
    int good; /* line of the goodput, filled in when the run is over */
    double last_s;
} watcher;

/* ---- what is kept ---- */

static tt_single_keep *keep_of(tt_single *s, const char *target, const char *plan, const char *expr) {
    for (size_t i = 0; i < s->n_keeps; i++)
        if (strcmp(s->keeps[i].target, target) == 0 && strcmp(s->keeps[i].plan, plan) == 0 && strcmp(s->keeps[i].expr, expr) == 0) return &s->keeps[i];
    if (s->n_keeps == TT_SINGLE_KEEPS) return NULL;
    tt_single_keep *k = &s->keeps[s->n_keeps++];
    *k = (tt_single_keep){0};
    snprintf(k->target, sizeof k->target, "%s", target);
    snprintf(k->plan, sizeof k->plan, "%s", plan);
    snprintf(k->expr, sizeof k->expr, "%s", expr);
    return k;
}

static const char *text_of(const json_t *o, const char *key) {
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

static void look_at_keeps(watcher *w, const tt_engine *e, double now_s) {
    tt_buf b;
    tt_buf_init(&b, 64 << 20);
    tt_engine_loops_json(e, TT_LOOPS_OPEN, (tt_sv){NULL, 0}, 256, &b);
    json_t *all = b.failed ? NULL : json_loadb(b.p, b.n, 0, NULL);
    size_t i, k;
    json_t *loop, *keep;
    json_array_foreach(json_object_get(all, "items"), i, loop) {
        const json_t *target = json_object_get(loop, "target");
        char name[200];
        snprintf(name, sizeof name, "%.60s%s%.60s%s%.60s", text_of(target, "service"), *text_of(target, "dc") ? "@" : "", text_of(target, "dc"),
                 *text_of(target, "instance") ? "/" : "", text_of(target, "instance"));
        json_array_foreach(json_object_get(loop, "keep"), k, keep) {
            tt_single_keep *x = keep_of(w->s, name, text_of(loop, "plan"), text_of(keep, "expr"));
            if (!x) continue;
            const json_t *holds = json_object_get(keep, "holds");
            double span = now_s - w->last_s;
            x->seen_s = now_s;
            x->known = json_is_boolean(holds);
            x->holds = json_is_true(holds);
            if (!x->known) x->unknown_s += span;
            if (!x->known || x->holds) continue;
            x->broken_s += span;
            x->last_broken_s = now_s;
        }
    }
    json_decref(all);
    tt_buf_free(&b);
}

/* ---- while it runs ---- */

static void begin_columns(watcher *w, double until_s) {
    const tt_rehearsal *o = &w->s->oracle, *n = &w->s->nothing, *a = &w->s->alone;
    tt_chart *c = w->s->chart;
    int panel = tt_chart_panel(c, "Goodput, by what an answer is worth", "requests/s", TT_CHART_STRAIGHT, 0);
    int wanted = tt_chart_line(c, panel, "wanted", 4, 2), best = tt_chart_line(c, panel, "oracle", 2, 1), none = tt_chart_line(c, panel, a->n_seconds ? "nothing at all" : "doing nothing", 1, 1),
        alone = a->n_seconds ? tt_chart_line(c, panel, "inner loop alone", 3, 3) : -1;
    w->good = tt_chart_line(c, panel, "trimtab", 0, 0);
    tt_chart_panel(c, "Let in, dropped, refused", "requests/s", TT_CHART_STRAIGHT, 0); /* its place: filled when the run is over */
    for (size_t at = tt_chart_columns(c); (double)at + 1 <= until_s + 1e-9; at++) {
        tt_chart_at(c, (double)at + 1);
        tt_chart_put(c, wanted, at < o->n_seconds ? (double)o->second[at].wanted : (double)NAN);
        tt_chart_put(c, best, at < o->n_seconds ? (double)o->second[at].good : (double)NAN);
        tt_chart_put(c, none, at < n->n_seconds ? (double)n->second[at].good : (double)NAN);
        tt_chart_put(c, alone, at < a->n_seconds ? (double)a->second[at].good : (double)NAN);
        if ((double)at + 2 <= until_s + 1e-9) tt_trace_still(w->trace, w->spec->rules); /* the last one is the tick's */
    }
}

static void on_tick(void *ctx, const tt_rehearsal_tick *t) {
    watcher *w = ctx;
    double now_s = (double)t->elapsed_ns / 1e9;
    if (!t->outcome) return;
    w->s->n_ticks++;
    for (size_t i = 0; i < t->outcome->n_events; i++) {
        const tt_event *ev = &t->outcome->events[i];
        w->s->n_pages += strcmp(ev->kind, "page") == 0;
        w->s->n_holds += strcmp(ev->kind, "hold") == 0;
        if (strcmp(ev->kind, "guardrail") != 0 && strcmp(ev->kind, "frozen") != 0) continue;
        if (!w->s->n_guardrails++) snprintf(w->s->guardrail, sizeof w->s->guardrail, "at %.0f s: %.480s", now_s, ev->reason);
    }
    if (w->spec->story) {
        tt_story_tick(w->spec->story, now_s, t->outcome);
        look_at_keeps(w, t->engine, now_s);
    }
    if (w->trace) {
        begin_columns(w, now_s);
        tt_trace_tick(w->trace, now_s, w->spec->rules, t->outcome);
    }
    w->last_s = now_s;
}

static void finish_chart(watcher *w) {
    const tt_rehearsal *r = &w->s->run;
    tt_chart *c = w->s->chart;
    begin_columns(w, r->n_seconds);
    tt_trace_end(w->trace, r->n_seconds);
    int panel = tt_chart_panel(c, "Let in, dropped, refused", "requests/s", TT_CHART_STRAIGHT, 0);
    int admitted = tt_chart_line(c, panel, "let in", 0, 0), failed = tt_chart_line(c, panel, "of them failed", 1, 0), dropped = -1, refused = -1;
    for (uint32_t i = 0; i < r->n_seconds; i++) { /* no line for what never happens */
        if (r->second[i].dropped > 0) dropped = tt_chart_line(c, panel, "dropped by decision", 5, 1);
        if (r->second[i].refused > 0) refused = tt_chart_line(c, panel, "refused by a hop", 3, 2);
    }
    double from = -1;
    for (uint32_t i = 0; i < r->n_seconds; i++) {
        const tt_rehearsal_second *s = &r->second[i];
        tt_chart_set(c, w->good, i, (double)s->good);
        tt_chart_set(c, admitted, i, (double)s->admitted);
        tt_chart_set(c, failed, i, (double)s->failed);
        tt_chart_set(c, dropped, i, (double)s->dropped);
        tt_chart_set(c, refused, i, (double)s->refused);
        if (s->faulty && from < 0) from = i;
        if (from >= 0 && (!s->faulty || i + 1 == r->n_seconds)) {
            tt_chart_shade(c, "fault", from, s->faulty ? i + 1 : i);
            from = -1;
        }
    }
}

bool tt_single_run(const tt_single_spec *spec, tt_single *ret, tt_err *err) {
    watcher w = {.spec = spec, .s = ret};
    *ret = (tt_single){0};
    tt_rehearsal_spec r = {.incident = spec->incident, .seed = spec->seed, .control = TT_CONTROL_ORACLE};
    bool ok = tt_rehearse(&r, &ret->oracle, err);
    r.control = TT_CONTROL_NOTHING;
    ok = ok && tt_rehearse(&r, &ret->nothing, err);
    r.inner_loop = true;
    if (spec->inner_loop) ok = ok && tt_rehearse(&r, &ret->alone, err);
    if (ok && spec->draw) {
        char title[300], sub[200];
        snprintf(title, sizeof title, "%.60s: %.200s", tt_incident_name(spec->incident), tt_incident_title(spec->incident));
        snprintf(sub, sizeof sub, "seed %llu, %s the inner loop", (unsigned long long)spec->seed, spec->inner_loop ? "with" : "without");
        ret->chart = tt_chart_new(title, sub);
        w.trace = ret->chart ? tt_trace_new(ret->chart) : NULL;
        ok = w.trace || tt_fail(err, TT_ENOMEM, "memory is out");
    }
    if (ok) {
        r = (tt_rehearsal_spec){.incident = spec->incident,
                                .seed = spec->seed,
                                .control = TT_CONTROL_ENGINE,
                                .rules = spec->rules,
                                .inner_loop = spec->inner_loop,
                                .watch = on_tick,
                                .ctx = &w};
        ok = tt_rehearse(&r, &ret->run, err);
    }
    if (ok) tt_rehearsal_score(&ret->run, &ret->oracle, &ret->nothing, &ret->score);
    if (ok && w.trace) finish_chart(&w);
    tt_trace_free(w.trace);
    return ok;
}

void tt_single_free(tt_single *s) {
    tt_rehearsal_free(&s->run);
    tt_rehearsal_free(&s->oracle);
    tt_rehearsal_free(&s->nothing);
    tt_rehearsal_free(&s->alone);
    tt_chart_free(s->chart);
    s->chart = NULL;
}

/* ---- verdicts ---- */

typedef struct {
    FILE *to;
    bool colours;
    int width;
} page;

static void verdict(const page *p, int good, const char *what, const char *text) { /* good: 1 yes, 0 no, -1 neither */
    static const char *const words[] = {"  -   ", "broken", "held  "};
    fprintf(p->to, "  %s%s%s  %-12s", p->colours ? (good > 0 ? "\033[34m" : good == 0 ? "\033[33m" : "\033[2m") : "", words[good + 1], p->colours ? "\033[0m" : "", what);
    tt_print_wrapped(p->to, text, 22, p->width);
}

void tt_single_verdicts(const tt_single_spec *spec, const tt_single *s, FILE *to, bool colours, int width) {
    const page p = {to, colours, width};
    char text[1200];
    const tt_score *x = &s->score;
    fprintf(to, "%sObjectives%s, while a loop was open\n", colours ? "\033[1m" : "", colours ? "\033[0m" : "");
    if (!s->n_keeps) fprintf(to, "  no loop was opened\n");
    for (size_t i = 0; i < s->n_keeps; i++) {
        const tt_single_keep *k = &s->keeps[i];
        int n = snprintf(text, sizeof text, "%s (%s): broken for %.0f s", k->expr, k->plan, k->broken_s);
        if (k->broken_s > 0) n += snprintf(text + n, sizeof text - (size_t)n, ", last at %.0f s", k->last_broken_s);
        if (k->unknown_s > 0) n += snprintf(text + n, sizeof text - (size_t)n, "; not known for %.0f s", k->unknown_s);
        snprintf(text + n, sizeof text - (size_t)n, "; when last looked at, at %.0f s: %s", k->seen_s, !k->known ? "not known" : k->holds ? "holds" : "broken");
        verdict(&p, k->known ? k->holds : -1, k->target, text);
    }
    fprintf(to, "%sGuardrails%s\n", colours ? "\033[1m" : "", colours ? "\033[0m" : "");
    if (s->run.n_violations)
        snprintf(text, sizeof text, "broken %u times, first %s", s->run.n_violations, s->run.violation);
    else
        snprintf(text, sizeof text, "the rules that always hold were looked at in each of %u ticks", s->n_ticks);
    verdict(&p, !s->run.n_violations, "invariants", text);
    if (s->n_guardrails)
        snprintf(text, sizeof text, "bound %u times, first %s", s->n_guardrails, s->guardrail);
    else
        snprintf(text, sizeof text, "none had to bind");
    verdict(&p, -1, "limits", text);
    snprintf(text, sizeof text, "%s", s->run.all_undone ? "everything was taken back in the end" : "at the end something was still in force");
    verdict(&p, s->run.all_undone, "way back", text);
    if (tt_incident_false_alarm(spec->incident)) {
        snprintf(text, sizeof text, s->run.n_actions ? "nothing was wrong with the mesh, and %u actions were taken" : "nothing was wrong with the mesh, and nothing was done", s->run.n_actions);
        verdict(&p, !s->run.n_actions, "false alarm", text);
    }
    if (x->worse_than_nothing) verdict(&p, 0, "no harm", "it was worse than doing nothing, by over 1 % of what clients wanted");
    fprintf(to, "%u loop%s, %u action%s, %u reversal%s, %u page%s\n", s->run.n_loops, s->run.n_loops == 1 ? "" : "s", s->run.n_actions, s->run.n_actions == 1 ? "" : "s", s->run.n_reversals,
            s->run.n_reversals == 1 ? "" : "s", s->n_pages, s->n_pages == 1 ? "" : "s");
}
