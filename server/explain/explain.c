#include "explain/explain.h"
#include "json.h"

#include <stdlib.h>
#include <string.h>

enum { AFTER_MAX = 6, STEP_LINES = 8 };

static json_int_t integer(const json_t *o, const char *name) {
    return json_integer_value(json_object_get(o, name));
}

static bool is(const json_t *ev, const char *kind) {
    return strcmp(tt_json_text(ev, "kind"), kind) == 0;
}

static bool same(const json_t *a, const json_t *b, const char *member) {
    const json_t *x = json_object_get(a, member), *y = json_object_get(b, member);
    return x && y && json_equal((json_t *)(uintptr_t)x, (json_t *)(uintptr_t)y);
}

static bool same_service(const json_t *a, const json_t *b) {
    const json_t *x = json_object_get(a, "target"), *y = json_object_get(b, "target");
    return x && y && same(x, y, "service");
}

/* ---- the rules ---- */

static json_t *sv_json(tt_sv s) {
    return json_stringn(s.p ? s.p : "", s.n);
}

static json_t *ms_json(int64_t ns) {
    return json_integer((json_int_t)(ns / 1000000));
}

static size_t indent_of(const char *line, size_t n) {
    size_t i = 0;
    while (i < n && line[i] == ' ') i++;
    return i;
}

/* The lines of a document from `line` on that belong to what begins there: those that are indented deeper. */
static json_t *source_lines(const tt_rules_texts *texts, const tt_pos *pos) {
    json_t *lines = json_array();
    for (size_t i = 0; texts && pos->file && pos->line && i < texts->n; i++) {
        if (!tt_sv_eq(texts->at[i].path, tt_sv_of(pos->file))) continue;
        const char *at = texts->at[i].text.p, *end = at + texts->at[i].text.n;
        size_t first = 0;
        for (uint32_t line = 1; at < end; line++) {
            const char *stop = memchr(at, '\n', (size_t)(end - at));
            size_t n = (size_t)((stop ? stop : end) - at), indent = indent_of(at, n);
            if (line == pos->line) first = indent;
            if (line > pos->line && (indent <= first || indent == n)) break;
            if (line >= pos->line && n >= first) json_array_append_new(lines, json_stringn(at + first, n - first));
            if (!stop || json_array_size(lines) == STEP_LINES) break;
            at = stop + 1;
        }
    }
    return lines;
}

static void put_place(json_t *o, const tt_pos *pos) {
    json_object_set_new(o, "file", json_string(pos->file ? pos->file : ""));
    json_object_set_new(o, "line", json_integer(pos->line));
}

static const tt_plan *plan_named(const tt_rules *r, const char *name) {
    for (size_t i = 0; r && *name && i < r->n_plans; i++)
        if (tt_sv_eq(r->plans[i].name, tt_sv_of(name))) return &r->plans[i];
    return NULL;
}

static json_t *plan_json(const tt_plan *p) {
    if (!p) return json_null();
    json_t *o = json_object(), *keep = json_array();
    json_object_set_new(o, "name", sv_json(p->name));
    json_object_set_new(o, "mode", json_string(tt_mode_name(p->mode)));
    put_place(o, &p->pos);
    for (size_t i = 0; i < p->n_keep; i++) json_array_append_new(keep, sv_json(tt_expr_text(p->keep[i])));
    json_object_set_new(o, "keep", keep);
    return o;
}

/* Which rung an action is of: "drop:batch" is a drop, shares of traffic come from shift and cutover. */
static const tt_step *step_of(const tt_rules *r, const tt_plan *p, const char *action) {
    const char *colon = strchr(action, ':');
    tt_sv kind = {action, colon ? (size_t)(colon - action) : strlen(action)};
    for (size_t i = 0; p && *action && i < p->n_steps; i++) {
        const tt_step *s = &p->steps[i];
        if (s->kind == TT_STEP_DROP && colon && tt_sv_eq(kind, TT_SV("drop")) && !tt_sv_eq(r->priorities[s->priority], tt_sv_of(colon + 1))) continue;
        bool moves = s->kind == TT_STEP_SHIFT || s->kind == TT_STEP_CUTOVER, limits = s->kind == TT_STEP_LIMIT;
        if (tt_sv_eq(kind, tt_sv_of(tt_step_name(s->kind))) || (moves && (tt_sv_eq(kind, TT_SV("weights")) || tt_sv_eq(kind, TT_SV("version")))) ||
            (limits && tt_sv_eq(kind, TT_SV("concurrency"))))
            return s;
    }
    return NULL;
}

static json_t *step_json(const tt_explain_of *of, const tt_plan *p) {
    const tt_step *s = step_of(of->rules, p, tt_json_text(of->event, "action"));
    if (!s) return json_null();
    json_t *o = json_object();
    json_object_set_new(o, "kind", json_string(tt_step_name(s->kind)));
    json_object_set_new(o, "rung", json_integer((json_int_t)(s - p->steps) + 1));
    put_place(o, &s->pos);
    json_object_set_new(o, "text", source_lines(of->texts, &s->pos));
    return o;
}

static json_t *find_before(const tt_explain_of *of, const char *kind, bool of_loop) {
    size_t i;
    json_t *ev, *found = NULL;
    json_array_foreach((json_t *)(uintptr_t)of->around, i, ev) if (is(ev, kind) && integer(ev, "at_ms") <= integer(of->event, "at_ms") &&
                                                                   (!of_loop || same(ev, of->event, "loop"))) found = ev;
    return found;
}

/* The anomaly that was told of in the tick the loop was opened in. */
static json_t *anomaly_event(const tt_explain_of *of, const json_t *opened, const tt_anomaly_def *d) {
    size_t i;
    json_t *ev, *found = NULL;
    json_array_foreach((json_t *)(uintptr_t)of->around, i, ev) {
        const char *reason = tt_json_text(ev, "reason");
        if (is(ev, "anomaly_opened") && opened && integer(ev, "at_ms") <= integer(opened, "at_ms") && strlen(reason) >= d->name.n &&
            memcmp(reason, d->name.p, d->name.n) == 0)
            found = ev;
    }
    return found;
}

static json_t *trigger_json(const tt_explain_of *of, const tt_plan *p) {
    json_t *opened = find_before(of, "loop_opened", true);
    if (!opened && !p) return json_null();
    json_t *o = json_object();
    if (p) {
        const tt_anomaly_def *d = &of->rules->anomalies[p->anomaly];
        json_t *told = anomaly_event(of, opened, d);
        json_object_set_new(o, "anomaly", sv_json(d->name));
        json_object_set_new(o, "kind", json_string(tt_anomaly_kind_name(d->kind)));
        json_object_set_new(o, "condition", sv_json(tt_anomaly_text(d)));
        json_object_set_new(o, "for_ms", ms_json(d->for_ns));
        put_place(o, &d->pos);
        json_object_set(o, "found", told ? told : json_null());
    }
    json_object_set(o, "opened", opened ? opened : json_null());
    return o;
}

/* ---- inputs ---- */

static void put_signal(json_t *input, const tt_rules *r, const char *name) {
    size_t n = strcspn(name, "(");
    int k = r ? tt_rules_signal(r, (tt_sv){name, n}) : -1;
    if (k < 0 && name[n]) { /* "rate(error_ratio, 1m)" */
        const char *inner = name + n + 1;
        k = r ? tt_rules_signal(r, (tt_sv){inner, strcspn(inner, ",)")}) : -1;
    }
    if (k < 0) return;
    const tt_signal_def *s = &r->signals[k];
    if (s->query.n) json_object_set_new(input, "query", sv_json(s->query));
    if (s->reports.n) json_object_set_new(input, "reports", sv_json(s->reports));
    json_object_set_new(input, "max_age_ms", ms_json(s->max_age_ns));
    put_place(input, &s->pos);
}

static void add_input(json_t *to, const tt_rules *r, const char *name, const json_t *value, const json_t *quality, const json_t *age) {
    json_t *o = json_object();
    json_object_set_new(o, "name", json_string(name));
    json_object_set(o, "value", value ? (json_t *)(uintptr_t)value : json_null());
    json_object_set(o, "quality", quality ? (json_t *)(uintptr_t)quality : json_null());
    json_object_set(o, "age_ms", age ? (json_t *)(uintptr_t)age : json_null());
    put_signal(o, r, name);
    json_array_append_new(to, o);
}

/* What the event says it was decided from: {"offered_rps":201,...}, {"offered_rps":{"value":201,"quality":"ok",...},...} or [{"signal":...},...]. */
static void inputs_said(const tt_explain_of *of, const json_t *detail, json_t *to) {
    const json_t *in = json_object_get(detail, "inputs"), *quality = json_object_get(detail, "quality"),
                 *age = json_object_get(detail, "sample_age_ms");
    const char *name;
    json_t *v;
    size_t i;
    json_object_foreach((json_t *)(uintptr_t)in, name, v) {
        if (json_is_object(v)) {
            add_input(to, of->rules, name, json_object_get(v, "value"), json_object_get(v, "quality"), json_object_get(v, "age_ms"));
        } else {
            /* One quality for all says that the sample was good; a figure that is missing was not known. */
            json_t *missing = json_is_null(v) ? json_string("no_data") : NULL;
            add_input(to, of->rules, name, v, missing ? missing : quality, json_is_null(v) ? NULL : age);
            json_decref(missing);
        }
    }
    json_array_foreach((json_t *)(uintptr_t)in, i, v) {
        const char *signal = *tt_json_text(v, "signal") ? tt_json_text(v, "signal") : tt_json_text(v, "name");
        add_input(to, of->rules, signal, json_object_get(v, "value"), json_object_get(v, "quality"), json_object_get(v, "age_ms"));
    }
}

/* The event said the same figure already. */
static bool has_input(const json_t *to, const char *name, const json_t *value) {
    size_t i;
    json_t *o;
    json_array_foreach((json_t *)(uintptr_t)to, i,
                       o) if (strcmp(tt_json_text(o, "name"), name) == 0 && json_equal(json_object_get(o, "value"), (json_t *)(uintptr_t)value)) return true;
    return false;
}

static json_t *inputs_json(const tt_explain_of *of, const json_t *detail) {
    json_t *to = json_array(), *s;
    size_t i;
    inputs_said(of, detail, to);
    json_array_foreach((json_t *)(uintptr_t)of->inputs, i, s) {
        if (has_input(to, tt_json_text(s, "name"), json_object_get(s, "value"))) continue;
        add_input(to, of->rules, tt_json_text(s, "name"), json_object_get(s, "value"), json_object_get(s, "quality"), json_object_get(s, "age_ms"));
        json_object_set(json_array_get(to, json_array_size(to) - 1), "labels", json_object_get(s, "labels"));
    }
    return to;
}

/* Terms, clamps and guardrails go by their names; whatever else the event says is a term. */
static void put_terms(json_t *o, const json_t *detail) {
    json_t *law = json_object(), *v;
    const char *key;
    json_object_update(law, json_object_get(detail, "law"));
    json_object_foreach((json_t *)(uintptr_t)detail, key,
                        v) if (strcmp(key, "inputs") != 0 && strcmp(key, "law") != 0 && strcmp(key, "clamps") != 0 && strcmp(key, "guardrails") != 0)
        json_object_set(law, key, v);
    json_object_set_new(o, "law", law);
    const json_t *clamps = json_object_get(detail, "clamps");
    json_object_set_new(o, "clamps", clamps ? json_deep_copy(clamps) : json_array());
}

/* ---- what was said around it ---- */

static void put_around(json_t *o, const tt_explain_of *of, const json_t *detail) {
    const json_t *ev = of->event, *said = json_object_get(detail, "guardrails");
    json_t *guards = said && json_is_array(said) ? json_deep_copy(said) : json_array(), *rejected = json_array(), *after = json_array(),
           *before = NULL, *x;
    json_int_t at = integer(ev, "at_ms"), seq = integer(ev, "seq");
    bool behind = false, moved_again = false;
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)of->around, i, x) {
        bool itself = seq ? integer(x, "seq") == seq : json_equal(x, (json_t *)(uintptr_t)ev), of_loop = same(x, ev, "loop"),
             then = integer(x, "at_ms") == at && (of_loop || same_service(x, ev));
        if (itself) {
            behind = true;
            continue;
        }
        if (then && is(x, "guardrail")) json_array_append_new(guards, json_string(tt_json_text(x, "reason")));
        if (is(x, "not_chosen") && (then || (of_loop && integer(x, "at_ms") <= at)) && json_array_size(rejected) < AFTER_MAX)
            json_array_append_new(rejected, json_string(tt_json_text(x, "reason")));
        bool same_knob = is(x, "action") && same(x, ev, "target") && same(x, ev, "action");
        if (!behind && same_knob) before = x;
        if (!behind || !of_loop || moved_again || integer(x, "at_ms") == at || json_array_size(after) == AFTER_MAX) continue;
        json_array_append(after, x);
        moved_again = same_knob;
    }
    json_object_set_new(o, "guardrails", guards);
    json_object_set_new(o, "not_chosen", rejected);
    json_object_set(o, "before", before ? before : json_null());
    json_object_set_new(o, "after", after);
}

json_t *tt_explain_json(const tt_explain_of *of) {
    const json_t *ev = of->event, *detail = json_object_get(ev, "detail");
    const tt_plan *p = plan_named(of->rules, tt_json_text(ev, "plan"));
    json_t *o = json_object(), *notes = json_array();
    if (!o || !notes) {
        json_decref(o);
        json_decref(notes);
        return NULL;
    }
    json_object_set(o, "event", (json_t *)(uintptr_t)ev);
    json_object_set(o, "decision", of->decision ? (json_t *)(uintptr_t)of->decision : json_null());
    json_object_set_new(o, "plan", plan_json(p));
    json_object_set_new(o, "step", step_json(of, p));
    json_object_set_new(o, "trigger", trigger_json(of, p));
    json_object_set_new(o, "inputs", inputs_json(of, detail));
    put_terms(o, detail);
    put_around(o, of, detail);
    json_object_set(o, "acknowledged", of->acknowledged ? (json_t *)(uintptr_t)of->acknowledged : json_null());
    if (of->rules_changed)
        json_array_append_new(notes, json_string("the rules have changed since: plan, step, condition and queries are shown as they are now"));
    if (*tt_json_text(ev, "plan") && !p) json_array_append_new(notes, json_string("the plan is not among the rules any more"));
    json_object_set_new(o, "notes", notes);
    return o;
}
