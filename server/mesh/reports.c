/* Load reports: what the agents measured, checked and kept, and merged into the engine's measurements. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mesh/internal.h"

/* A report counts until this long after it came: three spans, and never less than three seconds. */
static int64_t fresh_ns(const board_report *r) {
    int64_t spans = (int64_t)(3 * r->span_ns);
    return spans > TT_SECONDS(3) ? spans : TT_SECONDS(3);
}

/* --- reading one --- */

static bool read_text(const json_t *o, const char *key, bool required, size_t max, tt_sv *ret, tt_err *err) {
    const json_t *v = json_object_get(o, key);
    if (!v || json_is_null(v)) {
        if (required) return tt_fail(err, TT_EMISSING, "/%s is missing: a load report needs service and instance", key);
        return true;
    }
    if (!json_is_string(v)) return tt_fail(err, TT_EVALUE, "/%s must be text", key);
    tt_sv s = {json_string_value(v), json_string_length(v)};
    if (s.n > max || memchr(s.p, 0, s.n)) return tt_fail(err, TT_EVALUE, "/%s must be at most %zu bytes, without NUL", key, max);
    if (required && s.n == 0) return tt_fail(err, TT_EVALUE, "/%s is empty: give its name", key);
    *ret = s;
    return true;
}

/* Absent or null leaves *ret as it is. */
static bool read_number(const json_t *o, const char *where, const char *key, double max, double *ret, tt_err *err) {
    const json_t *v = json_object_get(o, key);
    if (!v || json_is_null(v)) return true;
    double number = json_number_value(v);
    if (!json_is_number(v) || !(number >= 0) || number > max)
        return tt_fail(err, TT_EVALUE, "%s/%s must be a number from 0 to %.0f", where, key, max); /* JSON has no NaN or infinity */
    *ret = number;
    return true;
}

static bool read_version(const json_t *o, const char *key, uint64_t *ret, tt_err *err) {
    const json_t *v = json_object_get(o, key);
    if (!v || json_is_null(v)) return true;
    if (!json_is_integer(v) || json_integer_value(v) < 0) return tt_fail(err, TT_EVALUE, "/%s must be a whole number, 0 or more", key);
    *ret = (uint64_t)json_integer_value(v);
    return true;
}

static const double count_max = 1e12;

typedef struct {
    tt_sv name;
    priority_rates rates;
} named_rates;

static bool read_priority(const char *name, const json_t *o, double per_s, named_rates *ret, tt_err *err) {
    char where[TT_NAME_MAX + 16];
    snprintf(where, sizeof where, "/by_priority/%s", name);
    if (!json_is_object(o)) return tt_fail(err, TT_EVALUE, "%s must be an object of counts", where);
    size_t n = strlen(name);
    if (n == 0 || n >= TT_NAME_MAX) return tt_fail(err, TT_EVALUE, "/by_priority holds a name of %zu bytes: 1 to %d are allowed", n, TT_NAME_MAX - 1);
    *ret = (named_rates){.name = {name, n}};
    const struct {
        const char *key;
        double *to;
    } counts[] = {{"offered", &ret->rates.offered}, {"admitted", &ret->rates.admitted}, {"ok", &ret->rates.ok},          {"error", &ret->rates.error},
                  {"late", &ret->rates.late},       {"dropped", &ret->rates.dropped},   {"refused", &ret->rates.refused}};
    for (size_t i = 0; i < TT_COUNT(counts); i++) {
        double count = 0;
        if (!read_number(o, where, counts[i].key, count_max, &count, err)) return false;
        *counts[i].to = count * per_s;
    }
    return true;
}

static bool read_report(const json_t *root, board_report *ret, named_rates by[REPORT_PRIORITIES_MAX], tt_err *err) {
    *ret = (board_report){.utilization = NAN, .queued = NAN, .inflight = NAN, .mean_ms = NAN, .p50_ms = NAN, .p99_ms = NAN, .completed = NAN};
    double span_ms = 0;
    if (!read_number(root, "", "span_ms", 600000, &span_ms, err)) return false;
    if (!(span_ms >= 1)) return tt_fail(err, TT_EVALUE, "/span_ms must be 1 to 600000: the time the counts were taken over");
    double per_s = 1000.0 / span_ms;
    ret->span_ns = span_ms * 1e6;
    if (!read_number(root, "", "completed", count_max, &ret->completed, err) || !read_number(root, "", "utilization", 1000, &ret->utilization, err) ||
        !read_number(root, "", "queued", count_max, &ret->queued, err) || !read_number(root, "", "inflight", count_max, &ret->inflight, err) ||
        !read_number(root, "", "latency_mean_ms", 1e9, &ret->mean_ms, err) || !read_number(root, "", "latency_p50_ms", 1e9, &ret->p50_ms, err) ||
        !read_number(root, "", "latency_p99_ms", 1e9, &ret->p99_ms, err))
        return false;
    ret->completed *= per_s;
    json_t *priorities = json_object_get(root, "by_priority");
    if (!priorities || json_is_null(priorities)) return true;
    if (!json_is_object(priorities)) return tt_fail(err, TT_EVALUE, "/by_priority must be an object: priority to counts");
    if (json_object_size(priorities) > REPORT_PRIORITIES_MAX)
        return tt_fail(err, TT_ELIMIT, "/by_priority holds %zu priorities: at most %d are taken", json_object_size(priorities),
                       REPORT_PRIORITIES_MAX);
    const char *name;
    json_t *counts;
    json_object_foreach(priorities, name, counts) {
        if (!read_priority(name, counts, per_s, &by[ret->n], err)) return false;
        ret->n++;
    }
    return true;
}

static int priority_index(tt_board *b, tt_sv name) {
    for (size_t i = 0; i < b->n_priorities; i++)
        if (tt_sv_eq(tt_sv_of(b->priorities[i]), name)) return (int)i;
    if (b->n_priorities == PRIORITIES_MAX) return -1;
    char *copy = strndup(name.p, name.n);
    if (!copy) return -1;
    b->priorities[b->n_priorities] = copy;
    return (int)b->n_priorities++;
}

/* What an agent says of itself and of its decisions. */
typedef struct {
    tt_sv refused, library, in_force, found;
    board_standing standing;
} said;

static bool read_standing(said *s, tt_err *err) {
    static const char *const names[] = {"ours", "none", "other"};
    s->standing = BOARD_OURS; /* an agent that says nothing of it is taken at its version */
    if (!s->in_force.n) return true;
    for (size_t i = 0; i < TT_COUNT(names); i++)
        if (tt_sv_eq(s->in_force, tt_sv_of(names[i]))) {
            s->standing = (board_standing)i;
            return true;
        }
    return tt_fail(err, TT_EVALUE, "/in_force must be ours, other or none: whose decisions are enforced");
}

/* Under the lock. Everything that can fail is done before anything of the agent is changed. */
static bool keep(tt_board *b, const tt_board_query *who, const said *say, board_report *report, const named_rates by[], tt_time now, tt_err *err) {
    tt_sv library = say->library;
    uint64_t seen = 0;
    for (uint32_t i = 0; i < report->n; i++) {
        int index = priority_index(b, by[i].name);
        if (index < 0) return tt_fail(err, TT_ELIMIT, "/by_priority/%s: over %d different priorities were reported", by[i].name.p, PRIORITIES_MAX);
        report->by[i] = by[i].rates;
        report->by[i].priority = (uint8_t)index;
        seen |= (uint64_t)1 << index;
    }
    board_report *kept = malloc(sizeof *kept);
    if (!kept) return tt_fail(err, TT_ENOMEM, "out of memory");
    board_agent *a = board_agent_of(b, who->service, who->dc, who->instance, true, now);
    if (!a) {
        free(kept);
        return tt_fail(err, TT_ELIMIT, "no room for another agent or service: at most %d agents and %d services are kept", AGENTS_MAX, SERVICES_MAX);
    }
    if (library.n && (!a->library || !tt_sv_eq(tt_sv_of(a->library), library))) {
        free(a->library);
        a->library = strndup(library.p, library.n);
    }
    free(a->report);
    *kept = *report;
    kept->at = now;
    a->report = kept;
    a->heard = now;
    a->site->priorities_seen |= seen;
    board_agent_enforces(b, a, who->epoch, who->version, say->refused);
    board_agent_stands(b, a, say->standing, say->found);
    return true;
}

bool tt_board_report(tt_board *b, tt_sv json, tt_time now, tt_err *err) {
    json_error_t je;
    json_t *root = json_loadb(json.p, json.n, JSON_REJECT_DUPLICATES, &je);
    if (!root) {
        tt_fail(err, TT_ESYNTAX, "the report is not JSON: %s", je.text);
        if (err && je.line > 0) err->line = (uint32_t)je.line, err->column = je.column > 0 ? (uint32_t)je.column : 0;
        return false;
    }
    tt_board_query who = {0};
    said say = {0};
    board_report report;
    named_rates by[REPORT_PRIORITIES_MAX];
    bool ok = json_is_object(root) || tt_fail(err, TT_EVALUE, "a load report is a JSON object");
    ok = ok && read_text(root, "service", true, TT_NAME_MAX - 1, &who.service, err) && read_text(root, "dc", false, TT_NAME_MAX - 1, &who.dc, err) &&
         read_text(root, "instance", true, TT_NAME_MAX - 1, &who.instance, err) && read_text(root, "refused", false, 400, &say.refused, err) &&
         read_text(root, "library", false, 64, &say.library, err) && read_text(root, "in_force", false, 16, &say.in_force, err) &&
         read_text(root, "found", false, 400, &say.found, err) && read_standing(&say, err) && read_version(root, "epoch", &who.epoch, err) &&
         read_version(root, "version", &who.version, err) && read_report(root, &report, by, err);
    if (ok) {
        pthread_mutex_lock(&b->lock);
        ok = keep(b, &who, &say, &report, by, now, err);
        pthread_mutex_unlock(&b->lock);
    }
    json_decref(root);
    return ok;
}

/* --- merging --- */

typedef enum { FIG_PRIORITY, FIG_SUM, FIG_ARRIVED, FIG_ERROR_RATIO, FIG_MEAN, FIG_WEIGHTED, FIG_P50, FIG_P99 } fold;

/* offset: of a double in priority_rates (FIG_PRIORITY) or board_report. */
static const struct {
    const char *name;
    fold how;
    size_t offset;
} figures[] = {
    {"offered_rps", FIG_PRIORITY, offsetof(priority_rates, offered)},
    {"admitted_rps", FIG_PRIORITY, offsetof(priority_rates, admitted)},
    {"ok_rps", FIG_PRIORITY, offsetof(priority_rates, ok)},
    {"error_rps", FIG_PRIORITY, offsetof(priority_rates, error)},
    {"late_rps", FIG_PRIORITY, offsetof(priority_rates, late)},
    {"dropped_rps", FIG_PRIORITY, offsetof(priority_rates, dropped)},
    {"refused_rps", FIG_PRIORITY, offsetof(priority_rates, refused)},
    {"arrived_rps", FIG_ARRIVED, 0},
    {"completed_rps", FIG_SUM, offsetof(board_report, completed)},
    {"inflight", FIG_SUM, offsetof(board_report, inflight)},
    {"queued", FIG_SUM, offsetof(board_report, queued)},
    {"utilization", FIG_MEAN, offsetof(board_report, utilization)},
    {"error_ratio", FIG_ERROR_RATIO, 0},
    {"latency_mean_ms", FIG_WEIGHTED, offsetof(board_report, mean_ms)},
    {"latency_mean", FIG_WEIGHTED, offsetof(board_report, mean_ms)},
    {"latency_p50_ms", FIG_P50, 0},
    {"latency_p50", FIG_P50, 0},
    {"latency_p99_ms", FIG_P99, 0},
    {"latency_p99", FIG_P99, 0},
};

static bool fresh(const board_agent *a, tt_time now) {
    return a->report && tt_since(now, a->report->at) <= fresh_ns(a->report);
}

static double value_at(const void *base, size_t offset) {
    double v;
    memcpy(&v, (const char *)base + offset, sizeof v);
    return v;
}

static double admitted_of(const board_report *r) {
    double sum = 0;
    for (uint32_t i = 0; i < r->n; i++) sum += r->by[i].admitted;
    return sum;
}

/* One instance's latency distribution as its two quantiles give it: straight from 0 to p50, straight on to p99, and on in that direction. */
static double share_below(double p50, double p99, double x) {
    if (x < p50) return 0.5 * x / p50;
    if (p99 <= p50) return 1;
    double share = 0.5 + 0.49 * (x - p50) / (p99 - p50);
    return share < 1 ? share : 1;
}

/* The quantile of all instances' requests together: neither the mean of quantiles, which hides one bad instance, nor the worst instance. */
static bool merged_quantile(const board_site *site, tt_time now, double want, double *ret) {
    double low = 0, high = 0, total = 0;
    for (const board_agent *a = site->agents; a; a = a->next_in_site) {
        if (!fresh(a, now) || isnan(a->report->p50_ms) || isnan(a->report->p99_ms)) continue;
        total += admitted_of(a->report);
        double top = a->report->p99_ms > a->report->p50_ms ? a->report->p99_ms : a->report->p50_ms;
        if (top > high) high = top;
    }
    if (!(total > 0)) return false;
    for (int round = 0; round < 40 && high - low > 1e-6 * high; round++) {
        double middle = low + (high - low) / 2, below = 0;
        for (const board_agent *a = site->agents; a; a = a->next_in_site) {
            if (!fresh(a, now) || isnan(a->report->p50_ms) || isnan(a->report->p99_ms)) continue;
            below += admitted_of(a->report) * share_below(a->report->p50_ms, a->report->p99_ms, middle);
        }
        if (below >= want * total)
            high = middle;
        else
            low = middle;
    }
    *ret = high;
    return true;
}

/* false: no agent gave it, or nothing was there to measure it on. */
static bool merge(const board_site *site, tt_time now, fold how, size_t offset, int priority, double *ret) {
    if (how == FIG_P50) return merged_quantile(site, now, 0.50, ret);
    if (how == FIG_P99) return merged_quantile(site, now, 0.99, ret);
    double sum = 0, weight = 0;
    bool any = false;
    for (const board_agent *a = site->agents; a; a = a->next_in_site) {
        if (!fresh(a, now)) continue;
        const board_report *r = a->report;
        if (how == FIG_PRIORITY || how == FIG_ARRIVED || how == FIG_ERROR_RATIO) {
            any = true;
            for (uint32_t i = 0; i < r->n; i++) {
                if (how == FIG_PRIORITY && r->by[i].priority == priority) sum += value_at(&r->by[i], offset);
                if (how == FIG_ARRIVED) sum += r->by[i].offered;
                if (how == FIG_ERROR_RATIO) sum += r->by[i].error, weight += r->by[i].admitted;
            }
            continue;
        }
        double value = value_at(r, offset), w = how == FIG_WEIGHTED ? admitted_of(r) : 1;
        if (isnan(value) || !(w > 0)) continue;
        any = true;
        sum += value * w;
        weight += w;
    }
    if (!any) return false;
    if (how == FIG_ERROR_RATIO || how == FIG_MEAN || how == FIG_WEIGHTED) {
        if (!(weight > 0)) return false;
        sum /= weight;
    }
    *ret = how == FIG_ERROR_RATIO && sum > 1 ? 1 : sum; /* an error may be counted a span after its admission */
    return true;
}

static void emit(tt_board *b, uint32_t signal, const board_site *site, int priority, bool known, double value, tt_time at) {
    if (!board_grow((void **)&b->measurements, &b->cap_measurements, b->n_measurements + 1, sizeof *b->measurements)) return;
    tt_measurement *m = &b->measurements[b->n_measurements++];
    *m = (tt_measurement){.signal = signal, .value = known ? value : 0, .at = at, .quality = known ? TT_Q_OK : TT_Q_NO_DATA};
    m->labels[m->n_labels++] = (tt_label){TT_SV("service"), tt_sv_of(site->service->name)};
    m->labels[m->n_labels++] = (tt_label){TT_SV("dc"), tt_sv_of(site->dc)};
    if (priority >= 0) m->labels[m->n_labels++] = (tt_label){TT_SV("priority"), tt_sv_of(b->priorities[priority])};
}

static void measure_site(tt_board *b, uint32_t signal, size_t figure, const board_site *site, tt_time now) {
    /* True when the last of the agents to report had reported: what is summed here was over by then everywhere only at the oldest. */
    tt_time at = now;
    bool any = false;
    for (const board_agent *a = site->agents; a; a = a->next_in_site) {
        if (!fresh(a, now)) continue;
        any = true;
        if (a->report->at.ns < at.ns) at = a->report->at;
    }
    if (!any) return;
    double value = 0;
    if (figures[figure].how != FIG_PRIORITY) {
        bool known = merge(site, now, figures[figure].how, figures[figure].offset, -1, &value);
        emit(b, signal, site, -1, known, value, at);
        return;
    }
    for (size_t p = 0; p < b->n_priorities; p++) {
        if (!(site->priorities_seen >> p & 1)) continue;
        bool known = merge(site, now, FIG_PRIORITY, figures[figure].offset, (int)p, &value);
        emit(b, signal, site, (int)p, known, value, at);
    }
}

size_t tt_board_measurements(tt_board *b, const tt_rules *rules, tt_time now, const tt_measurement **ret) {
    pthread_mutex_lock(&b->lock);
    b->n_measurements = 0;
    for (size_t s = 0; s < rules->n_signals; s++) {
        if (rules->signals[s].reports.n == 0) continue;
        for (size_t f = 0; f < TT_COUNT(figures); f++) {
            if (!tt_sv_eq(rules->signals[s].reports, tt_sv_of(figures[f].name))) continue;
            for (size_t i = 0; i < b->n_sites; i++) measure_site(b, (uint32_t)s, f, b->sites[i], now);
        }
    }
    *ret = b->measurements;
    size_t n = b->n_measurements;
    pthread_mutex_unlock(&b->lock);
    return n;
}
