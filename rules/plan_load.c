/* Documents to rules: sections are gathered over all documents first, so that a name may be used before or in another file than it is made. */
#include "plan_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TT_AS_NAME(id, name) name,
static const char *const step_names[] = {TT_STEP_KINDS(TT_AS_NAME)};
static const char *const mode_names[] = {"observe", "advise", "approve", "auto"};

const char *tt_step_name(tt_step_kind kind) {
    return (size_t)kind < TT_COUNT(step_names) ? step_names[kind] : "?";
}
const char *tt_mode_name(tt_mode mode) {
    return (size_t)mode < TT_COUNT(mode_names) ? mode_names[mode] : "?";
}

int tt_rules_signal(const tt_rules *r, tt_sv name) {
    for (size_t i = 0; i < r->n_signals; i++)
        if (tt_sv_eq(r->signals[i].name, name)) return (int)i;
    return -1;
}

int tt_rules_service(const tt_rules *r, tt_sv name) {
    for (size_t i = 0; i < r->n_services; i++)
        if (tt_sv_eq(r->services[i].name, name)) return (int)i;
    return -1;
}

int tt_rules_priority(const tt_rules *r, tt_sv name) {
    for (size_t i = 0; i < r->n_priorities; i++)
        if (tt_sv_eq(r->priorities[i], name)) return (int)i;
    return -1;
}

const tt_step *tt_step_at(const tt_step *st, uint32_t service) {
    return st && st->at_service ? st->at_service[service] : st;
}

static void release(const tt_matcher *m, const tt_label_match *l) {
    if (l->pattern) m->release(m->ctx, (tt_pattern *)(uintptr_t)l->pattern);
}

void tt_anomaly_release(const tt_matcher *m, const tt_anomaly_def *a) {
    release(m, &a->alert);
    for (size_t i = 0; i < a->n_alert_labels; i++) release(m, &a->alert_labels[i]);
}

void tt_rules_free(tt_rules *r) {
    if (!r) return;
    for (size_t i = 0; i < r->n_anomalies; i++) tt_anomaly_release(r->matcher, &r->anomalies[i]);
    for (size_t i = 0; i < r->n_plans; i++)
        for (size_t k = 0; k < r->plans[i].n_matchers; k++) release(r->matcher, &r->plans[i].matchers[k]);
    for (size_t i = 0; i < r->guardrails.n_protected; i++) release(r->matcher, &r->guardrails.protected_services[i]);
    tt_arena_free(r->arena); /* r itself lives there */
}

/* ---- sections ---- */

enum { S_PRIORITIES, S_SERVICES, S_SIGNALS, S_ANOMALIES, S_PLANS, S_GUARDRAILS, SECTIONS };

static const struct {
    const char *name, *example;
    size_t max; /* members over all documents; 0: once only, by itself */
} sections[SECTIONS] = {
    [S_PRIORITIES] = {"priorities", "[critical, normal, batch]", 0},
    [S_SERVICES] = {"services", "- {name: checkout, dcs: [dc-a, dc-b]}", TT_SERVICES_MAX},
    [S_SIGNALS] = {"signals", "- {name: error_ratio, query: ...}", TT_SIGNALS_MAX},
    [S_ANOMALIES] = {"anomalies", "- {name: overload, when: error_ratio > 5%}", TT_ANOMALIES_MAX},
    [S_PLANS] = {"plans", "- {name: shed, on: {anomaly: overload}, ...}", TT_PLANS_MAX},
    [S_GUARDRAILS] = {"guardrails", "{max_concurrent_loops: 5}", 0},
};

typedef struct {
    size_t n[SECTIONS]; /* items found, or 1 for a section that stands once */
    const tt_doc **item[SECTIONS];
} parts;

static void gather(tt_load *l, const tt_doc *const docs[], size_t n_docs, parts *p) {
    const tt_doc *node[SECTIONS];
    tt_key keys[SECTIONS];
    for (size_t s = 0; s < SECTIONS; s++) keys[s] = (tt_key){sections[s].name, &node[s]};
    for (size_t s = 0; s < SECTIONS; s++) {
        p->item[s] = tt_arena_array(l->r->arena, sections[s].max ? sections[s].max : 1, sizeof(const tt_doc *));
        if (!p->item[s]) {
            tt_load_no_memory(l);
            return;
        }
    }
    for (size_t d = 0; d < n_docs; d++) {
        memset(node, 0, sizeof(node));
        if (docs[d]->kind == TT_DOC_NULL) continue; /* an empty file */
        tt_read_keys(l, docs[d], "the document", "{signals: [...], anomalies: [...], plans: [...]}", keys, SECTIONS);
        for (size_t s = 0; s < SECTIONS; s++) {
            if (!node[s] || node[s]->kind == TT_DOC_NULL) continue; /* a heading with nothing under it yet */
            if (!sections[s].max) {
                if (p->n[s])
                    tt_load_fail(l, TT_EVALUE, node[s], "%s stands twice, first in %s:%u: put it into one place", sections[s].name,
                                 p->item[s][0]->pos.file, p->item[s][0]->pos.line);
                else
                    p->item[s][p->n[s]++] = node[s];
                continue;
            }
            if (!tt_read_list(l, node[s], sections[s].name, sections[s].example, SIZE_MAX - 1)) {
                l->signals_unsure = l->signals_unsure || s == S_SIGNALS;
                l->anomalies_unsure = l->anomalies_unsure || s == S_ANOMALIES;
                l->services_unsure = l->services_unsure || s == S_SERVICES;
                continue;
            }
            for (size_t i = 0; i < node[s]->n; i++) {
                if (p->n[s] == sections[s].max) {
                    tt_load_fail(l, TT_ELIMIT, &node[s]->items[i], "more than %zu %s: this and those behind it are too many", sections[s].max,
                                 sections[s].name);
                    break;
                }
                p->item[s][p->n[s]++] = &node[s]->items[i];
            }
        }
    }
}

/* ---- priorities ---- */

static void load_priorities(tt_load *l, const tt_doc *list) {
    tt_rules *r = l->r;
    static const char *const defaults[] = {"critical", "normal", "batch"};
    if (list && tt_read_list(l, list, "priorities", "[critical, normal, batch]", TT_PRIORITIES_MAX)) {
        if (!list->n) tt_load_fail(l, TT_EVALUE, list, "priorities is empty: name at least one, highest first, or leave the key out");
        for (size_t i = 0; i < list->n; i++) {
            tt_sv name = {0};
            if (!tt_get_name(l, &list->items[i], "a priority", &name)) continue;
            if (tt_rules_priority(r, name) >= 0)
                tt_load_fail(l, TT_EVALUE, &list->items[i], "priority %s is named twice: keep one of them", tt_show(&list->items[i]).text);
            else
                r->priorities[r->n_priorities++] = name;
        }
    }
    if (r->n_priorities == 0)
        for (size_t k = 0; k < TT_COUNT(defaults); k++) r->priorities[r->n_priorities++] = tt_sv_of(defaults[k]);
}

/* ---- signals ---- */

static const char *const report_names[] = {"offered_rps",    "admitted_rps", "ok_rps",      "refused_rps",     "dropped_rps",
                                           "completed_rps",  "arrived_rps",  "utilization", "latency_mean_ms", "latency_p50_ms",
                                           "latency_p99_ms", "inflight",     "error_ratio",
                                           "latency_mean",   "latency_p50",  "latency_p99"}; /* the same, their unit left out */
enum { FIRST_WITHOUT_UNIT = 13 };
static const char *const across_names[] = {"sum", "mean", "max", "min"};

static bool ends_with(tt_sv s, tt_sv end) {
    return s.n >= end.n && memcmp(s.p + s.n - end.n, end.p, end.n) == 0;
}

static bool signal_name(tt_load *l, const tt_doc *node, tt_sv *ret) {
    if (!tt_get_name(l, node, "a signal's name", ret)) return false;
    tt_sv s = *ret;
    for (size_t i = 0; i < s.n; i++) {
        bool letter = (s.p[i] >= 'a' && s.p[i] <= 'z') || s.p[i] == '_', digit = s.p[i] >= '0' && s.p[i] <= '9';
        if (!letter && !(i > 0 && digit))
            return tt_load_fail_inside(l, TT_EVALUE, node, i,
                                       "signal %s: expressions use its name, so it has small letters, digits and _ only, and no digit first",
                                       tt_show(node).text);
    }
    if (tt_sv_eq(s, TT_SV("and")) || tt_sv_eq(s, TT_SV("or")) || tt_sv_eq(s, TT_SV("not")))
        return tt_load_fail(l, TT_EVALUE, node, "signal %s: expressions use this word themselves, take another", tt_show(node).text);
    return true;
}

bool tt_is_label_name(tt_sv s) {
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (i > 0 && c >= '0' && c <= '9'))) return false;
    }
    return s.n > 0 && s.n < 128;
}

static bool load_renames(tt_load *l, const tt_doc *map, tt_signal_def *sig) {
    static const char example[] = "{service: to_service}";
    if (!map) return true;
    if (map->kind != TT_DOC_MAP)
        return tt_load_fail(l, TT_EVALUE, map, "labels is a map, not %s: write it like %s, the new name first", tt_show(map).text, example);
    if (map->n > TT_RENAMES_MAX) return tt_load_fail(l, TT_ELIMIT, &map->keys[TT_RENAMES_MAX], "labels renames more than %d labels", TT_RENAMES_MAX);
    bool ok = true;
    for (size_t i = 0; i < map->n; i++) {
        const tt_doc *to = &map->keys[i], *from = &map->items[i];
        tt_sv a = {0}, b = {0};
        if (!tt_get_text(l, to, "a label", "service", &a) || !tt_get_text(l, from, "a label", "to_service", &b))
            ok = false;
        else if (!tt_is_label_name(a) || !tt_is_label_name(b))
            ok =
                tt_load_fail(l, TT_EVALUE, tt_is_label_name(a) ? from : to, "%s is not the name of a label: letters, digits and _ only, and no digit first",
                             tt_show(tt_is_label_name(a) ? from : to).text);
        else {
            sig->renames[sig->n_renames].to = a;
            sig->renames[sig->n_renames++].from = b;
        }
    }
    return ok;
}

/* The span of the first range selector, `[30s]` or `[10m:5s]`, outside of strings. false when there is one nobody can read. */
static bool query_window(tt_sv q, int64_t *ret_ns, size_t *ret_at) {
    char quote = 0;
    for (size_t i = 0; i < q.n; i++) {
        char c = q.p[i];
        if (quote) {
            if (c == '\\' && quote != '`')
                i++;
            else if (c == quote)
                quote = 0;
        } else if (c == '"' || c == '\'' || c == '`') {
            quote = c;
        } else if (c == '#') {
            while (i < q.n && q.p[i] != '\n') i++;
        } else if (c == '[') {
            size_t first = i + 1, end = first;
            while (end < q.n && q.p[end] != ']' && q.p[end] != ':') end++;
            while (first < end && q.p[first] == ' ') first++;
            while (end > first && q.p[end - 1] == ' ') end--;
            *ret_at = i;
            return tt_parse_duration((tt_sv){q.p + first, end - first}, ret_ns);
        }
    }
    return true;
}

enum { QUERY_MAX = 32768 };

static void load_signal(tt_load *l, const tt_doc *item) {
    tt_rules *r = l->r;
    const tt_doc *name = NULL, *query = NULL, *reports = NULL, *every = NULL, *max_age = NULL, *window = NULL, *across = NULL, *labels = NULL;
    const tt_key keys[] = {{"name", &name},       {"query", &query},   {"reports", &reports}, {"every", &every},
                           {"max_age", &max_age}, {"window", &window}, {"across", &across},   {"labels", &labels}};
    tt_read_keys(l, item, "a signal", "{name: error_ratio, query: ...}", keys, TT_COUNT(keys));
    if (item->kind != TT_DOC_MAP) {
        l->signals_unsure = true;
        return;
    }
    tt_signal_def s = {.forget_ns = TT_SECONDS(900), .pos = tt_load_pos(l, item->pos)};
    if (!name) tt_load_fail(l, TT_EMISSING, item, "a signal without a name: add name: error_ratio, or whatever it measures");
    bool named = name && signal_name(l, name, &s.name);
    int twin = named ? tt_rules_signal(r, s.name) : -1;
    if (twin >= 0)
        named = tt_load_fail(l, TT_EVALUE, name, "signal %s is declared twice, first in %s:%u: rename one", tt_show(name).text,
                             r->signals[twin].pos.file, r->signals[twin].pos.line);
    if (query && reports) tt_load_fail(l, TT_EVALUE, reports, "a signal has query or reports, not both: leave one out");
    if (!query && !reports)
        tt_load_fail(l, TT_EMISSING, item, "a signal needs a query, or reports: offered_rps and so on for what the mesh reports itself");
    if (tt_get_text(l, query, "query", "rate(http_requests_total[30s])", &s.query) && s.query.n > QUERY_MAX)
        tt_load_fail(l, TT_ELIMIT, query, "the query has %zu bytes, at most %d: record its parts as rules in Prometheus", s.query.n, QUERY_MAX);
    size_t figure = 0;
    if (reports && tt_get_choice(l, reports, "reports", report_names, TT_COUNT(report_names), &figure))
        s.reports = tt_sv_of(report_names[figure < FIRST_WITHOUT_UNIT ? figure : 8 + figure - FIRST_WITHOUT_UNIT]);
    if (reports && labels)
        tt_load_fail(l, TT_EVALUE, labels, "labels renames what a query returns; load reports have service and dc already: leave it out");
    s.every_ns = reports ? TT_SECONDS(1) : TT_SECONDS(5);
    tt_get_duration(l, every, "every", TT_MS(100), TT_SECONDS(3600), &s.every_ns);
    s.max_age_ns = 4 * s.every_ns;
    if (tt_get_duration(l, max_age, "max_age", TT_MS(100), TT_SECONDS(86400), &s.max_age_ns) && s.max_age_ns < s.every_ns)
        tt_load_fail(l, TT_EVALUE, max_age,
                     "max_age %s is shorter than every: each sample would be stale before the next one; write at least twice every",
                     tt_show(max_age).text);
    s.window_ns = s.every_ns;
    size_t at = 0;
    if (window)
        tt_get_duration(l, window, "window", 0, TT_SECONDS(7 * 86400), &s.window_ns);
    else if (query && query->kind == TT_DOC_SCALAR && !query_window(query->text, &s.window_ns, &at))
        tt_load_fail_inside(l, TT_EVALUE, query, at, "the range in this query can't be read: say what span its values are over with window: 30s");
    tt_sv of = s.reports.n ? s.reports : s.name;
    size_t fold = ends_with(of, TT_SV("_rps")) || tt_sv_eq(of, TT_SV("inflight")) ? TT_ACROSS_SUM : TT_ACROSS_MAX;
    tt_get_choice(l, across, "across", across_names, TT_COUNT(across_names), &fold);
    s.across = (tt_across)fold;
    load_renames(l, labels, &s);
    if (named)
        r->signals[r->n_signals++] = s;
    else
        l->signals_unsure = true;
}

/* ---- services ---- */

static void load_dc(tt_load *l, tt_service_def *s, const tt_doc *key, const tt_doc *value, size_t *n_weights) {
    tt_dc_def dc = {0};
    if (!tt_get_name(l, key, "a data center", &dc.name)) return;
    for (size_t i = 0; i < s->n_dcs; i++)
        if (tt_sv_eq(s->dcs[i].name, dc.name)) {
            tt_load_fail(l, TT_EVALUE, key, "data center %s is named twice", tt_show(key).text);
            return;
        }
    if (value && value->kind != TT_DOC_NULL) {
        const tt_doc *weight = NULL, *capacity = NULL;
        const tt_key keys[] = {{"weight", &weight}, {"capacity_rps", &capacity}};
        tt_read_keys(l, value, "a data center", "{weight: 50%, capacity_rps: 140}", keys, TT_COUNT(keys));
        if (weight && tt_get_ratio(l, weight, "weight", true, &dc.weight)) ++*n_weights;
        if (capacity && tt_get_number(l, capacity, "capacity_rps", 0, 1e9, &dc.capacity_rps) && dc.capacity_rps == 0)
            tt_load_fail(l, TT_EVALUE, capacity,
                         "capacity_rps 0 is no capacity: write the requests per second it can carry, or leave it out to have it learned");
    }
    s->dcs[s->n_dcs++] = dc;
}

static void load_dcs(tt_load *l, const tt_doc *item, const tt_doc *dcs, tt_service_def *s) {
    static const char example[] = "[dc-a, dc-b] or {dc-a: {weight: 50%, capacity_rps: 140}, dc-b: {weight: 50%}}";
    size_t n_weights = 0, before = l->total;
    if (!dcs) {
        tt_load_fail(l, TT_EMISSING, item, "a service needs dcs, the data centers it runs in: write %s", example);
        return;
    }
    if (dcs->kind != TT_DOC_MAP && dcs->kind != TT_DOC_SEQ) {
        tt_load_fail(l, TT_EVALUE, dcs, "dcs is a list or a map, not %s: write %s", tt_show(dcs).text, example);
        return;
    }
    if (dcs->n == 0 || dcs->n > TT_DCS_MAX) {
        tt_load_fail(l, dcs->n ? TT_ELIMIT : TT_EVALUE, dcs, "dcs names %zu data centers: 1 to %d may stand there", dcs->n, TT_DCS_MAX);
        return;
    }
    for (size_t i = 0; i < dcs->n; i++)
        load_dc(l, s, dcs->kind == TT_DOC_MAP ? &dcs->keys[i] : &dcs->items[i], dcs->kind == TT_DOC_MAP ? &dcs->items[i] : NULL, &n_weights);
    if (l->total != before || !s->n_dcs) return;
    if (n_weights != 0 && n_weights != s->n_dcs) {
        tt_load_fail(l, TT_EVALUE, dcs, "%zu of %zu data centers have a weight: give one to each, or to none for equal shares", n_weights, s->n_dcs);
        return;
    }
    double sum = 0;
    for (size_t i = 0; i < s->n_dcs; i++) sum += s->dcs[i].weight = n_weights ? s->dcs[i].weight : 1.0 / (double)s->n_dcs;
    if (fabs(sum - 1) > 0.0101) { /* three times 33% is meant to be a third each */
        tt_load_fail(l, TT_EVALUE, dcs, "the weights sum to %d.%d%%, not to 100%%: they are shares of the service's traffic when all is well",
                     (int)(sum * 100), (int)(sum * 1000) % 10);
        return;
    }
    for (size_t i = 0; i < s->n_dcs; i++) s->dcs[i].weight /= sum;
}

static void load_features(tt_load *l, const tt_doc *map, tt_service_def *s) {
    static const char example[] = "{recommendations: {levels: 2, gain: [1.14, 1.33]}}";
    if (!map) return;
    if (map->kind != TT_DOC_MAP) {
        tt_load_fail(l, TT_EVALUE, map, "features is a map, not %s: write it like %s", tt_show(map).text, example);
        return;
    }
    if (map->n > TT_FEATURES_MAX) {
        tt_load_fail(l, TT_ELIMIT, &map->keys[TT_FEATURES_MAX], "more than %d features of one service", TT_FEATURES_MAX);
        return;
    }
    tt_feature_def *f = tt_arena_array(l->r->arena, map->n, sizeof *f);
    if (map->n && !f) {
        tt_load_no_memory(l);
        return;
    }
    s->features = f;
    for (size_t i = 0; i < map->n; i++) {
        const tt_doc *levels = NULL, *gain = NULL;
        const tt_key keys[] = {{"levels", &levels}, {"gain", &gain}};
        tt_feature_def *one = &f[s->n_features];
        if (!tt_get_name(l, &map->keys[i], "a feature", &one->name)) continue;
        tt_read_keys(l, &map->items[i], "a feature", "{levels: 2, gain: [1.14, 1.33]}", keys, TT_COUNT(keys));
        if (map->items[i].kind != TT_DOC_MAP) continue;
        one->levels = 1;
        if (!gain) {
            tt_load_fail(l, TT_EMISSING, &map->items[i], "a feature needs gain: the capacity factor each level brings, such as gain: [1.14, 1.33]");
            continue;
        }
        if (tt_get_count(l, levels, "levels", 1, TT_LEVELS_MAX, &one->levels)) tt_load_gains(l, gain, levels != NULL, &one->levels, one->gain);
        s->n_features++;
    }
}

static void load_service(tt_load *l, const tt_doc *item) {
    tt_rules *r = l->r;
    const tt_doc *name = NULL, *dcs = NULL, *calls = NULL, *inner = NULL, *features = NULL, *versions = NULL;
    const tt_key keys[] = {{"name", &name},        {"dcs", &dcs},           {"calls", &calls},
                           {"inner_loop", &inner}, {"features", &features}, {"versions", &versions}};
    tt_read_keys(l, item, "a service", "{name: checkout, dcs: [dc-a, dc-b]}", keys, TT_COUNT(keys));
    if (item->kind != TT_DOC_MAP) {
        l->services_unsure = true;
        return;
    }
    tt_service_def s = {.pos = tt_load_pos(l, item->pos)};
    if (!name) tt_load_fail(l, TT_EMISSING, item, "a service without a name: add name: checkout, or whatever it is called in your labels");
    bool named = name && tt_get_name(l, name, "a service's name", &s.name);
    int twin = named ? tt_rules_service(r, s.name) : -1;
    if (twin >= 0)
        named = tt_load_fail(l, TT_EVALUE, name, "service %s is declared twice, first in %s:%u: put them together", tt_show(name).text,
                             r->services[twin].pos.file, r->services[twin].pos.line);
    load_dcs(l, item, dcs, &s);
    tt_get_bool(l, inner, "inner_loop", &s.inner_loop);
    load_features(l, features, &s);
    tt_load_versions(l, versions, &s);
    if (calls && !tt_read_list(l, calls, "calls", "[recommendations, payments]", TT_CALLS_MAX)) calls = NULL;
    if (!named) {
        l->services_unsure = true;
        return;
    }
    /* Names are looked up when all services are known; until then `calls` is kept as written. */
    tt_service_nodes *n = &l->services[r->n_services];
    for (size_t i = 0; calls && i < calls->n; i++) n->calls[i] = &calls->items[i];
    r->services[r->n_services++] = s;
}

static void resolve_calls(tt_load *l, uint32_t service) {
    tt_rules *r = l->r;
    tt_service_def *s = &r->services[service];
    tt_service_nodes *n = &l->services[service];
    for (size_t i = 0; i < TT_CALLS_MAX && n->calls[i]; i++) {
        const tt_doc *node = n->calls[i];
        tt_sv name = {0};
        if (!tt_get_name(l, node, "a called service", &name)) continue;
        int k = tt_rules_service(r, name);
        if (k < 0 && l->services_unsure) continue;
        if (k < 0) {
            char say[160];
            tt_nearest near = tt_nearest_to(name);
            for (size_t o = 0; o < r->n_services; o++) tt_nearest_try(&near, r->services[o].name);
            tt_load_fail(l, TT_EUNKNOWN, node, "called service %s is not declared%s", tt_show(node).text,
                         near.best.n ? tt_nearest_say(&near, say) : ": give it under `services`");
            continue;
        }
        bool twice = false;
        for (size_t o = 0; o < s->n_calls; o++) twice = twice || s->calls[o] == (uint32_t)k;
        if (twice) {
            tt_load_fail(l, TT_EVALUE, node, "called service %s is named twice", tt_show(node).text);
            continue;
        }
        n->calls[s->n_calls] = node; /* the checks find the node of each call that counts */
        s->calls[s->n_calls++] = (uint32_t)k;
    }
}

/* ---- the whole ---- */

/* By file in the order given, then by place: the order a reader walks through them. */
static void sort_errs(tt_err *errs, size_t n, const tt_doc *const docs[], size_t n_docs) {
    for (size_t i = 1; i < n; i++) {
        tt_err e = errs[i];
        size_t k = i;
        for (; k > 0; k--) {
            const tt_err *o = &errs[k - 1];
            size_t a = 0, b = 0;
            while (a < n_docs && strcmp(docs[a]->pos.file ? docs[a]->pos.file : "", o->file) != 0) a++;
            while (b < n_docs && strcmp(docs[b]->pos.file ? docs[b]->pos.file : "", e.file) != 0) b++;
            if (a != b ? a < b : o->line != e.line ? o->line < e.line : o->column <= e.column) break;
            errs[k] = errs[k - 1];
        }
        errs[k] = e;
    }
}

static uint32_t hash_of(uint32_t h, const tt_doc *d) {
    h = (h ^ (uint32_t)d->kind) * 16777619u;
    for (size_t i = 0; i < d->text.n; i++) h = (h ^ (unsigned char)d->text.p[i]) * 16777619u;
    for (size_t i = 0; i < d->n; i++) {
        if (d->kind == TT_DOC_MAP) h = hash_of(h, &d->keys[i]);
        h = hash_of(h, &d->items[i]);
    }
    return (h ^ 0xFF) * 16777619u; /* an end, so that ["ab"] is not ["a", "b"] */
}

/* Of a plan, whoever may let it act. */
static uint32_t hash_of_terms(const tt_doc *d) {
    uint32_t h = 2166136261u;
    for (size_t i = 0; d->kind == TT_DOC_MAP && i < d->n; i++) {
        if (tt_sv_eq(d->keys[i].text, TT_SV("mode"))) continue;
        h = hash_of(hash_of(h, &d->keys[i]), &d->items[i]);
    }
    return h;
}

tt_rules *tt_rules_load(const tt_doc *const docs[], size_t n_docs, const tt_matcher *matcher, tt_err errs[], size_t max_errs, size_t *n_errs) {
    tt_arena *arena = tt_arena_new(), *scratch = tt_arena_new();
    tt_rules *r = arena ? tt_arena_alloc(arena, sizeof(*r)) : NULL;
    tt_load l = {.r = r, .errs = errs, .max_errs = max_errs};
    *n_errs = 0;
    if (r && scratch) {
        r->arena = arena;
        r->matcher = matcher;
        r->signals = tt_arena_array(arena, TT_SIGNALS_MAX, sizeof(*r->signals));
        r->tracks = tt_arena_array(arena, TT_TRACKS_MAX, sizeof(*r->tracks));
    }
    parts p = {0};
    if (!r || !scratch || !r->signals || !r->tracks) {
        tt_load_no_memory(&l);
        *n_errs = l.n_errs;
        tt_arena_free(scratch);
        tt_arena_free(arena);
        return NULL;
    }
    gather(&l, docs, n_docs, &p);
    r->anomalies = tt_arena_array(arena, p.n[S_ANOMALIES], sizeof(*r->anomalies));
    r->plans = tt_arena_array(arena, p.n[S_PLANS], sizeof(*r->plans));
    r->services = tt_arena_array(arena, p.n[S_SERVICES], sizeof(*r->services));
    l.plans = tt_arena_array(scratch, p.n[S_PLANS], sizeof(*l.plans));
    l.services = tt_arena_array(scratch, p.n[S_SERVICES], sizeof(*l.services));
    l.anomalies = tt_arena_array(scratch, p.n[S_ANOMALIES], sizeof(*l.anomalies));
    if (!r->anomalies || !r->plans || !r->services || !l.plans || !l.services || !l.anomalies) {
        tt_load_no_memory(&l);
    } else if (p.item[SECTIONS - 1]) {
        load_priorities(&l, p.n[S_PRIORITIES] ? p.item[S_PRIORITIES][0] : NULL);
        for (size_t i = 0; i < p.n[S_SERVICES]; i++) load_service(&l, p.item[S_SERVICES][i]);
        for (uint32_t i = 0; i < r->n_services; i++) resolve_calls(&l, i);
        for (size_t i = 0; i < p.n[S_SIGNALS]; i++) load_signal(&l, p.item[S_SIGNALS][i]);
        for (size_t i = 0; i < p.n[S_ANOMALIES]; i++) {
            size_t n = r->n_anomalies;
            tt_load_anomaly(&l, p.item[S_ANOMALIES][i]);
            if (r->n_anomalies > n) r->anomalies[n].hash = hash_of(2166136261u, p.item[S_ANOMALIES][i]);
        }
        tt_load_guardrails(&l, p.n[S_GUARDRAILS] ? p.item[S_GUARDRAILS][0] : NULL);
        for (size_t i = 0; i < p.n[S_PLANS]; i++) {
            tt_load_plan(&l, p.item[S_PLANS][i]);
            if (!r->n_plans) continue;
            r->plans[r->n_plans - 1].hash = hash_of(2166136261u, l.plans[r->n_plans - 1].item);
            r->plans[r->n_plans - 1].terms_hash = hash_of_terms(l.plans[r->n_plans - 1].item);
        }
        tt_lay_out_tracks(r);
        tt_check_rules(&l);
        r->hash = 2166136261u;
        for (size_t d = 0; d < n_docs; d++) r->hash = hash_of(r->hash, docs[d]);
    }
    *n_errs = l.n_errs;
    sort_errs(errs, l.n_errs, docs, n_docs);
    tt_arena_free(scratch);
    if (!l.total) return r;
    tt_rules_free(r);
    return NULL;
}
