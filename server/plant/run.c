/* The run: a line out, a line in, a tick of the engine. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "config/yaml.h"
#include "plant/plant.h"
#include "plant/process.h"
#include "plant/protocol.h"

enum {
    REQUEST_MAX = 256 << 20,
    TOPOLOGY_MAX = 8 << 20,
    SHOWN = 160,          /* bytes of a line in an error */
    ACTUATORS_MAX = 4096,
    STANDSTILL_MAX = 100000, /* lines in which time doesn't move */
    LOAD_ERRS = 16,
};
/* A withdrawn decision is told until it is acknowledged, or that long: a plant that remembers targets must learn of it. */
static const int64_t withdrawn_ns = TT_SECONDS(60);

typedef struct {
    uint64_t version;
    uint64_t content; /* hash of what it says, without its version */
    int64_t since_ns; /* the version's */
    bool acked;
} told;

typedef struct {
    uint64_t what; /* hash of target and action */
    int direction;
} actuator;

typedef struct {
    const tt_plant_spec *spec;
    tt_plant_result *res;
    tt_plant_process *process;
    tt_rules *rules;
    tt_engine *engine;
    tt_engine_config cfg;
    tt_plant_timing named, used; /* as the topology says; as the engine has it */
    tt_plant_watch watch;
    tt_plant_ear ear;
    tt_buf topology;             /* its rules text: what the running rules were made with */
    bool replaced_said, unknown_said, timing_said, future_said, foreign_said;
    told *told;                  /* one an engine's decision, in its order */
    size_t n_told, cap_told;
    const tt_decision **out;
    actuator *actuators;
    size_t n_actuators;
    int64_t now_ns, tick_ns; /* tick: from the last line to this */
    uint64_t line, standstill;
    tt_buf request;
} run;

static int64_t wall_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void notice(run *r, const char *fmt, ...) TT_PRINTF(2, 3);
static void notice(run *r, const char *fmt, ...) {
    char text[600];
    va_list ap;
    if (!r->spec->notice) return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    r->spec->notice(r->spec->ctx, text);
}

static uint64_t mix(uint64_t h, const void *p, size_t n) { /* FNV-1a */
    const unsigned char *b = p;
    for (size_t i = 0; i < n; i++) h = (h ^ b[i]) * 1099511628211u;
    return (h ^ 0xff) * 1099511628211u;
}
static uint64_t mix_text(uint64_t h, const char *s) { return mix(h, s, strlen(s)); }

/* ---- errors ---- */

/* What the plant wrote, cut, control characters and broken UTF-8 made visible. */
static void quote(tt_sv line, char *to, size_t size) {
    size_t used = 0;
    for (size_t i = 0; i < line.n && i < SHOWN && used + 8 < size; i++) {
        unsigned char c = (unsigned char)line.p[i];
        if (c < 0x20 || c >= 0x7f)
            used += (size_t)snprintf(to + used, size - used, "\\x%02x", c);
        else
            to[used++] = (char)c;
    }
    snprintf(to + used, size - used, "%s", line.n > SHOWN ? "..." : "");
}

/* "plant:7:23: text", with the line itself behind it. */
static bool bad_line(run *r, tt_err *err, tt_sv line) {
    char shown[SHOWN * 4 + 16], text[sizeof err->text];
    snprintf(err->file, sizeof err->file, "plant");
    err->line = (uint32_t)r->line;
    quote(line, shown, sizeof shown);
    if (err->code == TT_ESYNTAX) return false; /* it shows the place where it breaks */
    snprintf(text, sizeof text, "%.300s: %.200s", err->text, shown);
    memcpy(err->text, text, sizeof text);
    return false;
}

/* It is gone, or says nothing: what is known of that. */
static bool no_line(run *r, tt_err *err) {
    char shown[SHOWN * 4 + 16] = "", how[100], text[sizeof err->text];
    tt_sv rest = tt_plant_pending(r->process);
    bool gone = strcmp(err->text, "it closed its output") == 0, stopped = err->code == TT_ESTATE;
    quote(rest, shown, sizeof shown);
    snprintf(err->file, sizeof err->file, "plant");
    err->line = (uint32_t)r->line;
    err->column = 0;
    if (gone) {
        tt_plant_end(r->process, how, sizeof how);
        r->process = NULL;
        snprintf(text, sizeof text, "the plant ended%s%s%s %s", how[0] ? " (" : "", how, how[0] ? ")" : "",
                 r->line > 1 ? "before it said \"done\": true" : "without a line: one for each request was expected");
    } else if (stopped) {
        snprintf(text, sizeof text, "stopped");
        err->file[0] = 0;
        err->line = 0;
    } else if (err->code == TT_EIO) {
        snprintf(text, sizeof text, "the plant hangs: %.80s%s%.200s; it answers each request with one line and flushes it; --plant-timeout gives it longer",
                 err->text, rest.n ? ", only this much, without a newline: " : "", shown);
    } else {
        snprintf(text, sizeof text, "%.200s: %.200s", err->text, shown);
    }
    memcpy(err->text, text, sizeof text);
    return false;
}

/* ---- rules, and the topology in them ---- */

/* The document without the sections that the plant brings. */
static const tt_doc *without(tt_arena *a, const tt_doc *doc, bool priorities, bool *found) {
    if (doc->kind != TT_DOC_MAP) return doc;
    tt_doc *copy = tt_arena_alloc(a, sizeof *copy), *keys = tt_arena_array(a, doc->n + 1, sizeof *keys), *items = tt_arena_array(a, doc->n + 1, sizeof *items);
    if (!copy || !keys || !items) return NULL;
    *copy = *doc;
    copy->n = 0;
    for (size_t i = 0; i < doc->n; i++) {
        bool services = tt_sv_eq(doc->keys[i].text, TT_SV("services"));
        if (services || (priorities && tt_sv_eq(doc->keys[i].text, TT_SV("priorities")))) {
            *found = *found || doc->items[i].kind != TT_DOC_NULL;
            continue;
        }
        keys[copy->n] = doc->keys[i];
        items[copy->n++] = doc->items[i];
    }
    copy->keys = keys;
    copy->items = items;
    return copy;
}

typedef struct {
    const tt_doc *const *docs;
    size_t n;
} signals;

static bool has_signal(void *ctx, tt_sv name) {
    const signals *s = ctx;
    for (size_t d = 0; d < s->n; d++) {
        const tt_doc *list = tt_doc_get(s->docs[d], TT_SV("signals"));
        for (size_t i = 0; list && list->kind == TT_DOC_SEQ && i < list->n; i++) {
            const tt_doc *one = tt_doc_get(&list->items[i], TT_SV("name"));
            if (one && one->kind == TT_DOC_SCALAR && tt_sv_eq(one->text, name)) return true;
        }
    }
    return false;
}

static const tt_doc *parse(tt_arena *a, const char *name, const tt_buf *text, tt_err *err) {
    static const tt_yaml_limits limits = {.max_bytes = TOPOLOGY_MAX, .max_nodes = 1000000, .max_depth = 16};
    if (!text->failed) return tt_yaml_parse(a, name, (tt_sv){text->p ? text->p : "", text->n}, &limits, err);
    tt_fail(err, TT_ELIMIT, "the topology is too large");
    return NULL;
}

static const char topology_name[] = "the plant's topology";

static tt_rules *load(run *r, const tt_buf *topology, bool priorities, tt_err *err) {
    const tt_plant_spec *s = r->spec;
    tt_arena *a = tt_arena_new();
    const tt_doc **docs = a ? tt_arena_array(a, s->n_docs + 2, sizeof *docs) : NULL;
    tt_rules *rules = NULL;
    tt_buf load_signals;
    size_t n = 0, n_errs = 0;
    bool found = false, ok = docs || tt_fail(err, TT_ENOMEM, "memory is out");
    tt_err errs[LOAD_ERRS];
    tt_buf_init(&load_signals, 1 << 16);
    for (size_t i = 0; ok && i < s->n_docs; i++) {
        docs[n] = topology ? without(a, s->docs[i], priorities, &found) : s->docs[i];
        ok = docs[n++] || tt_fail(err, TT_ENOMEM, "memory is out");
    }
    if (ok && found && !r->replaced_said) {
        notice(r, "the plant's topology takes the place of the services%s that the rules declare", priorities ? " and priorities" : "");
        r->replaced_said = true;
    }
    if (ok && topology) ok = (docs[n++] = parse(a, topology_name, topology, err)) != NULL;
    if (ok) {
        signals known = {docs, n};
        tt_plant_load_signals(&r->named, has_signal, &known, &load_signals);
        ok = (docs[n++] = parse(a, "load signals", &load_signals, err)) != NULL;
    }
    if (ok) {
        rules = tt_rules_load(docs, n, s->matcher, errs, LOAD_ERRS, &n_errs);
        if (!rules) {
            *err = errs[0];
            if (strcmp(err->file, topology_name) == 0) err->line = err->column = 0; /* lines of a text nobody has seen */
            for (size_t i = 1; i < n_errs; i++) {
                char text[900];
                tt_err_print(&errs[i], text, sizeof text);
                notice(r, "%.590s", text);
            }
        }
    }
    tt_buf_free(&load_signals);
    tt_arena_free(a);
    return rules;
}

static bool declares_services(const tt_plant_spec *s) {
    for (size_t i = 0; i < s->n_docs; i++)
        if (tt_doc_get(s->docs[i], TT_SV("services"))) return true;
    return false;
}

static void use_timing(run *r) {
    tt_plant_timing seen = tt_plant_watch_timing(&r->watch), want = r->named;
    int64_t *now[] = {&want.scrape_ns, &want.ingest_ns, &want.apply_ns}, *had[] = {&r->used.scrape_ns, &r->used.ingest_ns, &r->used.apply_ns};
    const int64_t fresh[] = {seen.scrape_ns, seen.ingest_ns, seen.apply_ns};
    static const char *const names[] = {"scrape_ms", "ingest_ms", "apply_ms"};
    for (int i = 0; i < 3; i++) {
        /* What is told may be wrong; what is seen jitters, and is no finer than a tick. */
        int64_t base = *had[i] ? *had[i] : *now[i], off = fresh[i] > base ? fresh[i] - base : base - fresh[i];
        if (fresh[i] && off > base / 4 && off > TT_MS(500) && off > r->tick_ns) {
            if (*now[i] && !r->timing_said) {
                char a[32], b[32];
                tt_format_duration(*now[i], a, sizeof a);
                tt_format_duration(fresh[i], b, sizeof b);
                notice(r, "topology.timing says %s %s, and what comes says %s: the engine goes by what comes", names[i], a, b);
                r->timing_said = true;
            }
            *had[i] = fresh[i];
        } else if (!*had[i])
            *had[i] = *now[i];
    }
    tt_engine_set_timing(r->engine, r->used.scrape_ns, r->used.ingest_ns, r->used.apply_ns);
}

/* The first rules, or new ones where the topology changed. */
static bool take_topology(run *r, const tt_plant_line *l, tt_err *err) {
    tt_buf text;
    tt_buf_init(&text, TOPOLOGY_MAX);
    bool has = tt_plant_topology_rules(l, &text);
    if (has) {
        if (memcmp(&r->named, &l->timing, sizeof r->named) != 0) {
            r->named = l->timing;
            r->used = (tt_plant_timing){0};
        }
        if (r->rules && text.n == r->topology.n && r->topology.p && memcmp(text.p, r->topology.p, text.n) == 0) has = false;
    }
    if (r->rules && !has) {
        tt_buf_free(&text);
        return true;
    }
    if (!has && !declares_services(r->spec)) {
        tt_buf_free(&text);
        tt_fail(err, TT_EMISSING, "topology is missing, and the plans declare no services: the first line says what there is");
        snprintf(err->file, sizeof err->file, "plant");
        err->line = (uint32_t)r->line;
        return false;
    }
    tt_rules *rules = load(r, has ? &text : NULL, has && tt_plant_topology_priorities(l), err);
    if (!rules) {
        tt_buf_free(&text);
        return false;
    }
    if (!r->engine) {
        r->engine = tt_engine_new(rules, &r->cfg);
        if (!r->engine) {
            tt_rules_free(rules);
            tt_buf_free(&text);
            return tt_fail(err, TT_ENOMEM, "memory is out");
        }
    } else {
        tt_engine_set_rules(r->engine, rules);
        memset(r->ear.named, 0, sizeof r->ear.named);
        notice(r, "the topology changed at line %llu", (unsigned long long)r->line);
    }
    tt_rules_free(r->rules);
    r->rules = rules;
    tt_buf_free(&r->topology);
    r->topology = text;
    return true;
}

/* ---- what the engine said ---- */

static bool reverses(run *r, const tt_event *ev) {
    bool limit = strcmp(ev->action, "limit") == 0;
    double none = limit ? HUGE_VAL : 0, from = isnan(ev->from) ? none : ev->from, to = isnan(ev->to) ? none : ev->to;
    int d = to > from ? 1 : to < from ? -1 : 0;
    uint64_t what = mix_text(mix_text(mix_text(14695981039346656037u, ev->target.service), ev->target.dc), ev->action);
    if (!d) return false;
    for (size_t i = 0; i < r->n_actuators; i++) {
        if (r->actuators[i].what != what) continue;
        bool turned = r->actuators[i].direction == -d;
        r->actuators[i].direction = d;
        return turned;
    }
    if (r->n_actuators < ACTUATORS_MAX) r->actuators[r->n_actuators++] = (actuator){what, d};
    return false;
}

static void broken(run *r, const tt_decision *d, const char *what) {
    tt_plant_result *res = r->res;
    if (res->n_violations++) return;
    snprintf(res->violation, sizeof res->violation, "at %lld ms, %.60s%s%.60s: %s", (long long)(r->now_ns / 1000000), d->target.service, d->target.dc[0] ? "@" : "",
             d->target.dc, what);
}

/* What must hold for every decision by itself, whatever the plant is like. */
static void check(run *r, const tt_decision *d, uint64_t last_version) {
    if (d->epoch != r->cfg.epoch || d->version <= last_version) broken(r, d, "its version is not newer than all before");
    int service = tt_rules_service(r->rules, tt_sv_of(d->target.service));
    if (service < 0 && d->n_actions) broken(r, d, "it is about a service that the topology does not have");
    for (uint32_t i = 0; i < d->n_actions; i++) {
        const tt_act *a = &d->actions[i];
        if (!isfinite(a->value)) broken(r, d, "a value is not finite");
        if (a->kind == TT_ACT_LIMIT && !(a->value > 0)) broken(r, d, "a limit of nothing");
        if (a->kind == TT_ACT_DROP && !(a->value >= 0 && a->value <= 1)) broken(r, d, "a drop ratio outside 0 to 1");
        if (a->kind == TT_ACT_DEGRADE && !(a->value >= 1 && a->value <= TT_LEVELS_MAX)) broken(r, d, "a degrade level that no feature has");
        if (a->kind != TT_ACT_WEIGHTS) continue;
        double sum = 0;
        for (uint32_t k = 0; k < d->n_names; k++) {
            if (!(d->shares[k] >= 0)) broken(r, d, "a negative weight");
            sum += d->shares[k];
        }
        if (!(fabs(sum - 1) < 1e-6)) broken(r, d, "weights that do not sum to 1");
    }
}

static void hear(run *r, const tt_outcome *out) {
    tt_plant_result *res = r->res;
    uint64_t newest = 0;
    for (size_t i = 0; i < r->n_told; i++)
        if (r->told[i].version > newest) newest = r->told[i].version;
    for (size_t i = 0; i < out->n_decisions; i++) check(r, &out->decisions[i], newest);
    res->n_decisions += (uint32_t)out->n_decisions;
    for (size_t i = 0; i < out->n_events; i++) {
        const tt_event *ev = &out->events[i];
        res->n_loops += strcmp(ev->kind, "loop_opened") == 0;
        res->n_pages += strcmp(ev->kind, "page") == 0;
        if (strcmp(ev->kind, "action") != 0 || !ev->loop[0]) continue;
        res->n_actions++;
        res->n_reversals += reverses(r, ev);
    }
}

/* ---- the request ---- */

static uint64_t content_of(const tt_decision *d) {
    uint64_t h = mix(14695981039346656037u, &d->n_actions, sizeof d->n_actions);
    for (uint32_t i = 0; i < d->n_actions; i++) {
        const tt_act *a = &d->actions[i];
        h = mix(mix_text(mix(h, &a->kind, sizeof a->kind), a->name), &a->value, sizeof a->value);
    }
    for (uint32_t i = 0; i < d->n_names; i++) h = mix(mix_text(h, d->names[i]), &d->shares[i], sizeof d->shares[i]);
    return h;
}

static void take_acks(run *r, const tt_plant_line *l) {
    const tt_decision *all;
    size_t n = r->engine ? tt_engine_decisions(r->engine, &all) : 0;
    for (size_t i = 0; i < l->n_acks; i++) {
        bool known = false;
        for (size_t k = 0; k < n && k < r->n_told; k++) {
            if (!tt_target_eq(&all[k].target, &l->acks[i].target)) continue;
            known = true;
            if (l->acks[i].version >= r->told[k].version && l->acks[i].share >= 0.99) r->told[k].acked = true;
        }
        if (known || r->foreign_said) continue;
        notice(r, "plant:%llu: an acknowledgement for %s%s%s, which no decision is for", (unsigned long long)r->line, l->acks[i].target.service,
               l->acks[i].target.dc[0] ? "@" : "", l->acks[i].target.dc);
        r->foreign_said = true;
    }
}

static bool make_request(run *r, tt_err *err) {
    const tt_decision *all = NULL;
    size_t n = r->engine ? tt_engine_decisions(r->engine, &all) : 0, n_out = 0;
    if (n > r->cap_told) {
        size_t cap = n * 2;
        told *more = realloc(r->told, cap * sizeof *more);
        if (more) r->told = more;
        const tt_decision **out = realloc(r->out, cap * sizeof *out);
        if (out) r->out = out;
        if (!more || !out) return tt_fail(err, TT_ENOMEM, "memory is out");
        r->cap_told = cap;
    }
    for (; r->n_told < n; r->n_told++) r->told[r->n_told] = (told){0};
    for (size_t i = 0; i < n; i++) {
        told *t = &r->told[i];
        uint64_t content = content_of(&all[i]);
        if (t->version != all[i].version) {
            if (t->content != content) {
                tt_plant_watch_sent(&r->watch, all[i].version, r->now_ns);
                t->since_ns = r->now_ns;
                t->acked = false;
            }
            t->version = all[i].version;
            t->content = content;
        }
        if (all[i].n_actions || (!t->acked && r->now_ns - t->since_ns <= withdrawn_ns)) r->out[n_out++] = &all[i];
    }
    tt_buf_free(&r->request);
    tt_buf_init(&r->request, REQUEST_MAX);
    tt_plant_request(r->res->n_ticks, r->now_ns, r->out, n_out, &r->request);
    return !r->request.failed || tt_fail(err, TT_ENOMEM, "memory is out");
}

/* ---- a tick ---- */

static void tell_oddities(run *r, const tt_plant_line *l) {
    if (l->unknown[0] && !r->unknown_said) {
        notice(r, "plant:%llu: nobody reads \"%s\"", (unsigned long long)r->line, l->unknown);
        r->unknown_said = true;
    }
    for (; r->ear.n_named < r->ear.n_names && r->ear.n_named < TT_COUNT(r->ear.names); r->ear.n_named++)
        notice(r, "plant:%llu: signal %s is neither in the rules nor a load signal: its measurements are ignored", (unsigned long long)r->line, r->ear.names[r->ear.n_named]);
    for (size_t i = 0; i < l->n_measurements && !r->future_said; i++) {
        if (l->measurements[i].at_ns <= l->now_ns) continue;
        notice(r, "plant:%llu: measurements[%zu].at_ms is ahead of now_ms, and is taken as now", (unsigned long long)r->line, i);
        r->future_said = true;
    }
}

static bool step(run *r, bool *ret_done, tt_err *err) {
    tt_sv text;
    tt_plant_line l;
    if (!make_request(r, err)) return false;
    r->line++;
    if (!tt_plant_exchange(r->process, (tt_sv){r->request.p, r->request.n}, TT_PLANT_LINE_MAX, &text, err)) return no_line(r, err);
    if (!tt_plant_line_read(text, r->now_ns, &l, err)) return bad_line(r, err, text);
    r->standstill = l.now_ns > r->now_ns ? 0 : r->standstill + 1;
    r->tick_ns = l.now_ns - r->now_ns;
    r->now_ns = r->res->plant_ns = l.now_ns;
    r->res->n_measurements += l.n_measurements;
    bool ok = true;
    *ret_done = l.done;
    if (l.done) {
        tt_buf_put(&r->res->score, l.score);
    } else if (r->standstill > STANDSTILL_MAX) {
        tt_fail(err, TT_EVALUE, "now_ms has not moved for %d lines", STANDSTILL_MAX);
        ok = bad_line(r, err, text);
    } else if ((ok = take_topology(r, &l, err))) {
        take_acks(r, &l);
        tt_plant_watch_line(&r->watch, &l);
        use_timing(r);
        tt_observations obs;
        tt_outcome out;
        ok = tt_plant_line_bind(&l, r->rules, &r->ear, &obs) || tt_fail(err, TT_ENOMEM, "memory is out");
        if (ok) {
            int64_t begun = wall_ns();
            tt_engine_tick(r->engine, &obs, &out);
            r->res->engine_ns += wall_ns() - begun;
            hear(r, &out);
            tell_oddities(r, &l);
            const tt_plant_tick t = {r->res->n_ticks, r->now_ns, r->rules, r->engine, &obs, &out};
            if (r->spec->watch) r->spec->watch(r->spec->ctx, &t);
        }
    }
    r->res->n_ticks++;
    tt_plant_line_free(&l);
    return ok;
}

bool tt_plant_run(const tt_plant_spec *spec, tt_plant_result *ret, tt_err *err) {
    run r = {.spec = spec, .res = ret};
    *ret = (tt_plant_result){0};
    *err = (tt_err){0};
    int64_t begun = wall_ns();
    tt_buf_init(&ret->score, TT_PLANT_LINE_MAX);
    tt_engine_config_default(&r.cfg);
    r.ear.epoch = r.cfg.epoch;
    r.actuators = calloc(ACTUATORS_MAX, sizeof *r.actuators);
    bool done = false, ok = r.actuators || tt_fail(err, TT_ENOMEM, "memory is out");
    if (ok) ok = (r.process = tt_plant_start(spec->command, spec->timeout_ns, spec->stop, err)) != NULL;
    while (ok && !done) ok = step(&r, &done, err);
    ret->n_ignored = r.ear.n_ignored;
    if (r.engine) ret->n_open = (uint32_t)tt_engine_open_loops(r.engine);
    if (ok) {
        char how[100];
        bool well = tt_plant_end(r.process, how, sizeof how);
        r.process = NULL;
        if (!well) {
            ok = tt_fail(err, TT_EIO, "the plant said \"done\": true and then ended with %s", how);
            snprintf(err->file, sizeof err->file, "plant");
            err->line = (uint32_t)r.line;
        } else if (how[0])
            notice(&r, "the plant was done and did not end by itself: it was killed");
    }
    tt_plant_kill(r.process);
    tt_engine_free(r.engine);
    tt_rules_free(r.rules);
    tt_buf_free(&r.topology);
    tt_buf_free(&r.request);
    free(r.told);
    free(r.out);
    free(r.actuators);
    ret->wall_ns = wall_ns() - begun;
    return ok;
}

void tt_plant_result_free(tt_plant_result *r) {
    tt_buf_free(&r->score);
}
