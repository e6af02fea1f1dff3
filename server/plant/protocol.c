#include "protocol.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN = 60 };

typedef struct {
    tt_err *err;
    tt_plant_line *l;
} reader;

/* ---- saying what is wrong ---- */

/* A value for messages: "abc", 3, true, null, a list, an object. */
typedef struct {
    char text[SHOWN * 4 + 16];
} shown;

static void put_safe(char *to, size_t size, const char *p, size_t n, size_t most) {
    size_t used = strlen(to);
    for (size_t i = 0; i < n && used + 8 < size; i++) {
        unsigned char c = (unsigned char)p[i];
        if (i >= most && (c & 0xC0) != 0x80) break; /* never within a character */
        if (c < 0x20 || c == 0x7f)
            used += (size_t)snprintf(to + used, size - used, "\\x%02x", c);
        else
            to[used++] = (char)c;
    }
    if (n > most && used + 4 < size) {
        memcpy(to + used, "...", 3);
        used += 3;
    }
    to[used] = 0;
}

static shown show(const json_t *v) {
    shown s = {""};
    switch (v ? json_typeof(v) : JSON_NULL) {
    case JSON_STRING:
        strcpy(s.text, "\"");
        put_safe(s.text, sizeof s.text - 2, json_string_value(v), json_string_length(v), SHOWN);
        strcat(s.text, "\"");
        break;
    case JSON_INTEGER:
        snprintf(s.text, sizeof s.text, "%lld", (long long)json_integer_value(v));
        break;
    case JSON_REAL:
        snprintf(s.text, sizeof s.text, "%.6g", json_real_value(v));
        break;
    case JSON_TRUE:
        strcpy(s.text, "true");
        break;
    case JSON_FALSE:
        strcpy(s.text, "false");
        break;
    case JSON_ARRAY:
        strcpy(s.text, "a list");
        break;
    case JSON_OBJECT:
        strcpy(s.text, "an object");
        break;
    case JSON_NULL:
        strcpy(s.text, v ? "null" : "missing");
    }
    return s;
}

/* Where in the line: measurements[3].labels. Members are named as written, cut. */
typedef struct {
    char text[160];
} path;

static path root(const char *name) {
    path p = {""};
    snprintf(p.text, sizeof p.text, "%s", name);
    return p;
}
static path at(path p, size_t i) {
    path r = p;
    size_t n = strlen(r.text);
    snprintf(r.text + n, sizeof r.text - n, "[%zu]", i);
    return r;
}
static path in(path p, const char *name) {
    path r = p;
    size_t n = strlen(r.text);
    snprintf(r.text + n, sizeof r.text - n, "%s%.40s", n ? "." : "", name);
    return r;
}

static bool wrong(reader *r, path p, const json_t *v, const char *expected) {
    return tt_fail(r->err, TT_EVALUE, "%s is %s: %s was expected", p.text, show(v).text, expected);
}

/* A member nobody reads is no error, but told once: it may be one that was meant. */
static void unknown_member(reader *r, path p, const char *key) {
    if (!r->l->unknown[0]) snprintf(r->l->unknown, sizeof r->l->unknown, "%.90s", in(p, key).text);
}

static void members(reader *r, path p, const json_t *object, const char *const known[], size_t n) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value) {
        bool found = false;
        for (size_t i = 0; i < n && !found; i++) found = strcmp(key, known[i]) == 0;
        if (!found) unknown_member(r, p, key);
    }
}
#define MEMBERS(r, p, object, ...)                                                                                                                   \
    do {                                                                                                                                             \
        static const char *const known_[] = {__VA_ARGS__};                                                                                           \
        members(r, p, object, known_, TT_COUNT(known_));                                                                                             \
    } while (0)

/* ---- values ---- */

static const json_t *get(const json_t *o, const char *key) {
    const json_t *v = json_object_get(o, key);
    return v && json_is_null(v) ? NULL : v;
}

static tt_sv text_of(const json_t *v) {
    return (tt_sv){json_string_value(v), json_string_length(v)};
}

/* Milliseconds to nanoseconds, exactly where they are whole. */
static bool get_ms(reader *r, path p, const json_t *v, double min, const char *expected, int64_t *ret_ns) {
    if (!v) return true;
    if (!json_is_number(v)) return wrong(r, p, v, expected);
    double ms = json_number_value(v);
    if (!(ms >= min) || !(ms <= TT_PLANT_MS_MAX)) return wrong(r, p, v, expected);
    *ret_ns = json_is_integer(v) ? (int64_t)json_integer_value(v) * 1000000 : (int64_t)llround(ms * 1e6);
    return true;
}

static bool get_number(reader *r, path p, const json_t *v, double min, double max, const char *expected, double *ret) {
    if (!v) return true;
    double x = json_is_number(v) ? json_number_value(v) : (double)NAN;
    if (!isfinite(x) || x < min || x > max) return wrong(r, p, v, expected);
    *ret = x;
    return true;
}

static bool get_text(reader *r, path p, const json_t *v, size_t max, const char *expected, tt_sv *ret) {
    if (!json_is_string(v) || json_string_length(v) == 0 || json_string_length(v) > max) return wrong(r, p, v, expected);
    *ret = text_of(v);
    return true;
}

/* What rules take for a name: checked here so that the error is the plant's. */
static bool name_ok(tt_sv s) {
    if (!s.n || s.n >= TT_NAME_MAX) return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
        if (!word && !(i > 0 && c && strchr(".:/@-", c))) return false;
    }
    return true;
}

static bool get_name(reader *r, path p, const json_t *v, tt_sv *ret) {
    static const char expected[] = "a name of letters, digits, _ and, but at its start, . : / @ -, at most 127 bytes,";
    if (!json_is_string(v) || !name_ok(text_of(v))) return wrong(r, p, v, expected);
    *ret = text_of(v);
    return true;
}

static bool get_list(reader *r, path p, const json_t *v, size_t max, const char *expected, size_t *ret_n) {
    *ret_n = 0;
    if (!v) return true;
    if (!json_is_array(v)) return wrong(r, p, v, expected);
    *ret_n = json_array_size(v);
    if (*ret_n > max) return tt_fail(r->err, TT_ELIMIT, "%s has %zu members, at most %zu are taken", p.text, *ret_n, max);
    return true;
}

static bool get_labels(reader *r, path p, const json_t *v, size_t *ret_n, tt_label ret[TT_LABELS_MAX]) {
    *ret_n = 0;
    if (!v) return true;
    if (!json_is_object(v)) return wrong(r, p, v, "an object such as {\"service\": \"checkout\", \"dc\": \"dc-a\"}");
    if (json_object_size(v) > TT_LABELS_MAX)
        return tt_fail(r->err, TT_ELIMIT, "%s has %zu labels, at most %d are taken", p.text, json_object_size(v), TT_LABELS_MAX);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)v, key, value) {
        if (!json_is_string(value)) return wrong(r, in(p, key), value, "a string");
        if (!*key || strlen(key) >= TT_NAME_MAX || json_string_length(value) >= 1024)
            return tt_fail(r->err, TT_ELIMIT, "%s: a label's name has 1 to 127 bytes and its value less than 1024", in(p, key).text);
        ret[(*ret_n)++] = (tt_label){tt_sv_of(key), text_of(value)};
    }
    return true;
}

/* ---- the line's parts ---- */

static bool read_measurements(reader *r, const json_t *v) {
    tt_plant_line *l = r->l;
    path p = root("measurements");
    size_t n;
    if (!get_list(r, p, v, TT_PLANT_MEASUREMENTS_MAX, "a list of measurements", &n)) return false;
    l->measurements = tt_arena_array(l->arena, n ? n : 1, sizeof *l->measurements);
    if (!l->measurements) return tt_fail(r->err, TT_ENOMEM, "memory is out");
    for (size_t i = 0; i < n; i++) {
        const json_t *one = json_array_get(v, i), *value;
        tt_plant_measurement *m = &l->measurements[i];
        path q = at(p, i);
        if (!json_is_object(one))
            return wrong(r, q, one, "an object such as {\"signal\": \"error_ratio\", \"labels\": {\"service\": \"checkout\"}, \"value\": 0.12}");
        MEMBERS(r, q, one, "signal", "labels", "value", "at_ms", "window_ms", "samples");
        *m = (tt_plant_measurement){.at_ns = l->now_ns, .samples = -1};
        if (!get_text(r, in(q, "signal"), json_object_get(one, "signal"), TT_NAME_MAX - 1, "the name of a signal", &m->signal)) return false;
        if (!get_labels(r, in(q, "labels"), get(one, "labels"), &m->n_labels, m->labels)) return false;
        value = json_object_get(one, "value");
        m->null = json_is_null(value);
        if (!m->null) {
            if (!json_is_number(value)) return wrong(r, in(q, "value"), value, "a number, or null where there is none,");
            m->value = json_number_value(value);
        }
        if (!get_ms(r, in(q, "at_ms"), get(one, "at_ms"), -TT_PLANT_MS_MAX, "a time in ms", &m->at_ns) ||
            !get_ms(r, in(q, "window_ms"), get(one, "window_ms"), 0, "a span in ms, not negative,", &m->window_ns) ||
            !get_number(r, in(q, "samples"), get(one, "samples"), 0, 1e18, "a count, not negative,", &m->samples))
            return false;
        l->n_measurements++;
    }
    return true;
}

static int by_label(const void *a, const void *b) {
    return tt_sv_cmp(((const tt_label *)a)->name, ((const tt_label *)b)->name);
}

static uint64_t hash(uint64_t h, tt_sv s) { /* FNV-1a, with an end */
    for (size_t i = 0; i < s.n; i++) h = (h ^ (unsigned char)s.p[i]) * 1099511628211u;
    return (h ^ 0xff) * 1099511628211u;
}

static uint64_t hash_labels(uint64_t h, const tt_label *labels, size_t n) {
    tt_label sorted[TT_LABELS_MAX];
    memcpy(sorted, labels, n * sizeof *labels);
    qsort(sorted, n, sizeof *sorted, by_label);
    for (size_t i = 0; i < n; i++) h = hash(hash(h, sorted[i].name), sorted[i].value);
    return h;
}
static const uint64_t hash_start = 14695981039346656037u;

static bool read_alerts(reader *r, const json_t *v) {
    tt_plant_line *l = r->l;
    path p = root("alerts");
    size_t n;
    if (!get_list(r, p, v, TT_PLANT_ALERTS_MAX, "a list of alerts", &n)) return false;
    l->alerts = tt_arena_array(l->arena, n ? n : 1, sizeof *l->alerts);
    if (!l->alerts) return tt_fail(r->err, TT_ENOMEM, "memory is out");
    for (size_t i = 0; i < n; i++) {
        const json_t *one = json_array_get(v, i);
        tt_alert *a = &l->alerts[i];
        path q = at(p, i);
        tt_sv state = {0};
        tt_label labels[TT_LABELS_MAX];
        if (!json_is_object(one)) return wrong(r, q, one, "an object such as {\"name\": \"HighErrorRate\", \"labels\": {...}, \"state\": \"firing\"}");
        MEMBERS(r, q, one, "name", "labels", "state");
        if (!get_text(r, in(q, "name"), json_object_get(one, "name"), TT_NAME_MAX - 1, "the name of an alert", &a->name) ||
            !get_labels(r, in(q, "labels"), get(one, "labels"), &a->n_labels, labels))
            return false;
        memcpy(a->labels, labels, sizeof labels);
        const json_t *s = json_object_get(one, "state");
        state = text_of(s);
        a->firing = tt_sv_eq(state, TT_SV("firing"));
        if (!a->firing && !tt_sv_eq(state, TT_SV("resolved"))) return wrong(r, in(q, "state"), s, "\"firing\" or \"resolved\"");
        snprintf(a->key, sizeof a->key, "%016llx", (unsigned long long)hash_labels(hash(hash_start, a->name), a->labels, a->n_labels));
        l->n_alerts++;
    }
    return true;
}

static bool read_acks(reader *r, const json_t *v) {
    tt_plant_line *l = r->l;
    path p = root("acks");
    size_t n;
    if (!get_list(r, p, v, TT_PLANT_ACKS_MAX, "a list of acknowledgements", &n)) return false;
    l->acks = tt_arena_array(l->arena, n ? n : 1, sizeof *l->acks);
    if (!l->acks) return tt_fail(r->err, TT_ENOMEM, "memory is out");
    for (size_t i = 0; i < n; i++) {
        const json_t *one = json_array_get(v, i);
        tt_ack *a = &l->acks[i];
        path q = at(p, i);
        if (!json_is_object(one)) return wrong(r, q, one, "an object such as {\"target\": {...}, \"version\": 7, \"state\": \"applied\", \"share\": 1.0}");
        MEMBERS(r, q, one, "target", "version", "epoch", "state", "share", "reason");
        const json_t *target = json_object_get(one, "target"), *version = json_object_get(one, "version"), *state = json_object_get(one, "state");
        if (!json_is_object(target)) return wrong(r, in(q, "target"), target, "the decision's target, such as {\"service\": \"checkout\", \"dc\": \"dc-a\"},");
        MEMBERS(r, in(q, "target"), target, "service", "dc");
        tt_sv service = {0}, dc = {0}, reason = {0};
        const json_t *d = get(target, "dc"), *why = get(one, "reason");
        if (!get_text(r, in(in(q, "target"), "service"), json_object_get(target, "service"), TT_NAME_MAX - 1, "the name of a service", &service)) return false;
        if (d && !get_text(r, in(in(q, "target"), "dc"), d, TT_NAME_MAX - 1, "the name of a data center", &dc)) return false;
        if (why && !get_text(r, in(q, "reason"), why, TT_PLANT_LINE_MAX, "a sentence", &reason)) return false;
        if (!json_is_integer(version) || json_integer_value(version) < 0) return wrong(r, in(q, "version"), version, "the version of the decision, an integer,");
        memcpy(a->target.service, service.p, service.n);
        if (dc.n) memcpy(a->target.dc, dc.p, dc.n);
        a->version = (uint64_t)json_integer_value(version);
        a->reason = reason;
        tt_sv s = text_of(state);
        bool applied = tt_sv_eq(s, TT_SV("applied")), partial = tt_sv_eq(s, TT_SV("partial"));
        a->refused = tt_sv_eq(s, TT_SV("refused"));
        if (!applied && !partial && !a->refused) return wrong(r, in(q, "state"), state, "\"applied\", \"partial\" or \"refused\"");
        const json_t *share = get(one, "share");
        if (partial && !share) return tt_fail(r->err, TT_EMISSING, "%s is missing: a partial acknowledgement says the share of the instances that have it, 0 to 1", in(q, "share").text);
        a->share = a->refused ? 0 : 1;
        if (!get_number(r, in(q, "share"), share, 0, 1, "a share from 0 to 1", &a->share)) return false;
        if (a->refused) a->share = 0;
        l->n_acks++;
    }
    return true;
}

/* ---- topology ---- */

static bool check_dcs(reader *r, path p, const json_t *dcs) {
    static const char expected[] = "an object such as {\"dc-a\": {\"weight\": 0.5, \"capacity_rps\": 1200}, \"dc-b\": {}}";
    if (!json_is_object(dcs) || json_object_size(dcs) == 0) return wrong(r, p, dcs, expected);
    if (json_object_size(dcs) > TT_DCS_MAX) return tt_fail(r->err, TT_ELIMIT, "%s has %zu data centers, at most %d are taken", p.text, json_object_size(dcs), TT_DCS_MAX);
    const char *key;
    json_t *dc;
    json_object_foreach((json_t *)(uintptr_t)dcs, key, dc) {
        path q = in(p, key);
        double unused;
        if (!name_ok(tt_sv_of(key)))
            return tt_fail(r->err, TT_EVALUE, "%s: a data center's name has letters, digits, _ and, but at its start, . : / @ -; at most 127 bytes", q.text);
        if (json_is_null(dc)) continue;
        if (!json_is_object(dc)) return wrong(r, q, dc, "an object such as {\"weight\": 0.5, \"capacity_rps\": 1200}");
        MEMBERS(r, q, dc, "weight", "capacity_rps");
        if (!get_number(r, in(q, "weight"), get(dc, "weight"), 0, 1e9, "a weight, not negative,", &unused) ||
            !get_number(r, in(q, "capacity_rps"), get(dc, "capacity_rps"), 0, 1e9, "requests per second, or null where it isn't known,", &unused))
            return false;
    }
    return true;
}

static bool check_features(reader *r, path p, const json_t *features) {
    if (!features) return true;
    if (!json_is_object(features)) return wrong(r, p, features, "an object such as {\"recommendations\": {\"levels\": 2, \"gain\": [1.14, 1.33]}}");
    if (json_object_size(features) > TT_FEATURES_MAX)
        return tt_fail(r->err, TT_ELIMIT, "%s has %zu features, at most %d are taken", p.text, json_object_size(features), TT_FEATURES_MAX);
    const char *key;
    json_t *f;
    json_object_foreach((json_t *)(uintptr_t)features, key, f) {
        path q = in(p, key);
        if (!name_ok(tt_sv_of(key))) return tt_fail(r->err, TT_EVALUE, "%s: a feature's name has letters, digits, _ and, but at its start, . : / @ -; at most 127 bytes", q.text);
        if (!json_is_object(f)) return wrong(r, q, f, "an object such as {\"levels\": 2, \"gain\": [1.14, 1.33]}");
        MEMBERS(r, q, f, "levels", "gain");
        const json_t *gain = get(f, "gain"), *levels = get(f, "levels");
        size_t n = json_array_size(gain);
        if (!json_is_array(gain) || n < 1 || n > TT_LEVELS_MAX) return wrong(r, in(q, "gain"), gain, "a list of the capacity factor each level brings, 1 to 8 of them,");
        if (levels && (!json_is_integer(levels) || json_integer_value(levels) != (json_int_t)n))
            return tt_fail(r->err, TT_EVALUE, "%s is %s and gain has %zu factors: one a level was expected", in(q, "levels").text, show(levels).text, n);
        double last = 1;
        for (size_t i = 0; i < n; i++) {
            const json_t *g = json_array_get(gain, i);
            double v = 0;
            if (!get_number(r, at(in(q, "gain"), i), g, 1, 100, "a factor from 1 to 100", &v)) return false;
            if (i && v <= last) return wrong(r, at(in(q, "gain"), i), g, "more than the level before brings");
            last = v;
        }
    }
    return true;
}

static bool check_service(reader *r, path p, const json_t *services, size_t i) {
    const json_t *s = json_array_get(services, i);
    size_t n;
    tt_sv name, other;
    if (!json_is_object(s)) return wrong(r, p, s, "an object such as {\"name\": \"checkout\", \"dcs\": {\"dc-a\": {}, \"dc-b\": {}}}");
    MEMBERS(r, p, s, "name", "dcs", "calls", "inner_loop", "features");
    if (!get_name(r, in(p, "name"), json_object_get(s, "name"), &name)) return false;
    for (size_t k = 0; k < i; k++)
        if (tt_sv_eq(text_of(json_object_get(json_array_get(services, k), "name")), name)) return wrong(r, in(p, "name"), json_object_get(s, "name"), "a name that no other service has");
    if (!check_dcs(r, in(p, "dcs"), json_object_get(s, "dcs"))) return false;
    const json_t *calls = get(s, "calls"), *inner = get(s, "inner_loop");
    if (!get_list(r, in(p, "calls"), calls, TT_CALLS_MAX, "a list of the names of services", &n)) return false;
    for (size_t k = 0; k < n; k++) {
        path q = at(in(p, "calls"), k);
        if (!get_name(r, q, json_array_get(calls, k), &other)) return false;
        for (size_t o = 0; o < k; o++)
            if (tt_sv_eq(text_of(json_array_get(calls, o)), other)) return wrong(r, q, json_array_get(calls, k), "each called service once");
    }
    if (inner && !json_is_boolean(inner)) return wrong(r, in(p, "inner_loop"), inner, "true or false");
    return check_features(r, in(p, "features"), get(s, "features"));
}

static bool read_topology(reader *r, const json_t *v) {
    tt_plant_line *l = r->l;
    path p = root("topology");
    size_t n;
    if (!v) return true;
    if (!json_is_object(v)) return wrong(r, p, v, "an object with services");
    MEMBERS(r, p, v, "priorities", "services", "timing");
    const json_t *priorities = get(v, "priorities"), *services = get(v, "services"), *timing = get(v, "timing");
    if (!get_list(r, in(p, "priorities"), priorities, TT_PRIORITIES_MAX, "a list of names, highest first", &n)) return false;
    if (priorities && n == 0) return wrong(r, in(p, "priorities"), priorities, "at least one name, highest first,");
    for (size_t i = 0; i < n; i++) {
        path q = at(in(p, "priorities"), i);
        tt_sv name;
        if (!get_name(r, q, json_array_get(priorities, i), &name)) return false;
        for (size_t k = 0; k < i; k++)
            if (tt_sv_eq(text_of(json_array_get(priorities, k)), name)) return wrong(r, q, json_array_get(priorities, i), "each priority once");
    }
    if (!services) return wrong(r, in(p, "services"), NULL, "a list of services");
    if (!get_list(r, in(p, "services"), services, TT_SERVICES_MAX, "a list of services", &n)) return false;
    if (n == 0) return tt_fail(r->err, TT_EVALUE, "topology.services is empty: at least one service was expected");
    for (size_t i = 0; i < n; i++)
        if (!check_service(r, at(in(p, "services"), i), services, i)) return false;
    if (timing) {
        path q = in(p, "timing");
        static const char expected[] = "a span in ms, not negative,";
        if (!json_is_object(timing)) return wrong(r, q, timing, "an object such as {\"scrape_ms\": 5000, \"ingest_ms\": 2000, \"apply_ms\": 1500}");
        MEMBERS(r, q, timing, "scrape_ms", "ingest_ms", "apply_ms");
        if (!get_ms(r, in(q, "scrape_ms"), get(timing, "scrape_ms"), 0, expected, &l->timing.scrape_ns) ||
            !get_ms(r, in(q, "ingest_ms"), get(timing, "ingest_ms"), 0, expected, &l->timing.ingest_ns) ||
            !get_ms(r, in(q, "apply_ms"), get(timing, "apply_ms"), 0, expected, &l->timing.apply_ns))
            return false;
    }
    l->topology = v;
    return true;
}

bool tt_plant_topology_priorities(const tt_plant_line *l) {
    return l->topology && get(l->topology, "priorities") != NULL;
}

static void put_names(tt_buf *out, const json_t *list) {
    tt_buf_put(out, TT_SV("["));
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (i) tt_buf_put(out, TT_SV(", "));
        tt_buf_json_string(out, text_of(json_array_get(list, i)));
    }
    tt_buf_put(out, TT_SV("]"));
}

static void put_dcs(tt_buf *out, const json_t *dcs) {
    const char *key;
    json_t *dc;
    double sum = 0;
    size_t silent = 0;
    json_object_foreach((json_t *)(uintptr_t)dcs, key, dc) {
        const json_t *w = get(dc, "weight");
        sum += w ? json_number_value(w) : 0;
        silent += w == NULL;
    }
    /* Any scale will do. Those that say nothing beside others that do share what is left of 1. */
    double left = silent && sum < 1 ? (1 - sum) / (double)silent : 0, all = sum + left * (double)silent;
    bool use = all > 0 && silent < json_object_size(dcs), first = true;
    tt_buf_put(out, TT_SV("{"));
    json_object_foreach((json_t *)(uintptr_t)dcs, key, dc) {
        const json_t *w = get(dc, "weight"), *c = get(dc, "capacity_rps");
        bool capacity = c && json_number_value(c) > 0;
        if (!first) tt_buf_put(out, TT_SV(", "));
        first = false;
        tt_buf_json_string(out, tt_sv_of(key));
        tt_buf_put(out, TT_SV(": {"));
        if (use) {
            tt_buf_put(out, TT_SV("weight: "));
            tt_buf_number(out, fmin((w ? json_number_value(w) : left) / all, 1));
        }
        if (capacity) {
            tt_buf_put(out, use ? TT_SV(", capacity_rps: ") : TT_SV("capacity_rps: "));
            tt_buf_number(out, json_number_value(c));
        }
        tt_buf_put(out, TT_SV("}"));
    }
    tt_buf_put(out, TT_SV("}"));
}

static void put_service(tt_buf *out, const json_t *s) {
    const json_t *calls = get(s, "calls"), *features = get(s, "features");
    tt_buf_put(out, TT_SV("  - {name: "));
    tt_buf_json_string(out, text_of(json_object_get(s, "name")));
    tt_buf_put(out, TT_SV(", dcs: "));
    put_dcs(out, json_object_get(s, "dcs"));
    tt_buf_put(out, json_is_true(get(s, "inner_loop")) ? TT_SV(", inner_loop: true") : TT_SV(""));
    if (json_array_size(calls)) {
        tt_buf_put(out, TT_SV(", calls: "));
        put_names(out, calls);
    }
    if (json_object_size(features)) {
        const char *key;
        json_t *f;
        bool first = true;
        tt_buf_put(out, TT_SV(", features: {"));
        json_object_foreach((json_t *)(uintptr_t)features, key, f) {
            const json_t *gain = get(f, "gain");
            if (!first) tt_buf_put(out, TT_SV(", "));
            first = false;
            tt_buf_json_string(out, tt_sv_of(key));
            tt_buf_put(out, TT_SV(": {gain: ["));
            for (size_t i = 0; i < json_array_size(gain); i++) {
                if (i) tt_buf_put(out, TT_SV(", "));
                tt_buf_number(out, json_number_value(json_array_get(gain, i)));
            }
            tt_buf_put(out, TT_SV("]}"));
        }
        tt_buf_put(out, TT_SV("}"));
    }
    tt_buf_put(out, TT_SV("}\n"));
}

static bool in_services(const json_t *services, tt_sv name) {
    for (size_t i = 0; i < json_array_size(services); i++)
        if (tt_sv_eq(text_of(json_object_get(json_array_get(services, i), "name")), name)) return true;
    return false;
}

bool tt_plant_topology_rules(const tt_plant_line *l, tt_buf *out) {
    const json_t *t = l->topology;
    if (!t) return false;
    if (get(t, "priorities")) {
        tt_buf_put(out, TT_SV("priorities: "));
        put_names(out, get(t, "priorities"));
        tt_buf_put(out, TT_SV("\n"));
    }
    const json_t *services = get(t, "services");
    tt_buf_put(out, TT_SV("services:\n"));
    for (size_t i = 0; i < json_array_size(services); i++) put_service(out, json_array_get(services, i));
    /* A service that is called and not described stands where its first caller does. */
    for (size_t i = 0; i < json_array_size(services); i++) {
        const json_t *s = json_array_get(services, i), *calls = get(s, "calls");
        for (size_t k = 0; k < json_array_size(calls); k++) {
            tt_sv name = text_of(json_array_get(calls, k));
            bool done = in_services(services, name);
            for (size_t o = 0; o <= i && !done; o++) {
                const json_t *before = get(json_array_get(services, o), "calls");
                for (size_t c = 0; c < (o == i ? k : json_array_size(before)) && !done; c++) done = tt_sv_eq(text_of(json_array_get(before, c)), name);
            }
            if (done) continue;
            tt_buf_put(out, TT_SV("  - {name: "));
            tt_buf_json_string(out, name);
            tt_buf_put(out, TT_SV(", dcs: ["));
            const char *key;
            json_t *dc;
            bool first = true;
            json_object_foreach(json_object_get(s, "dcs"), key, dc) {
                if (!first) tt_buf_put(out, TT_SV(", "));
                first = false;
                tt_buf_json_string(out, tt_sv_of(key));
            }
            tt_buf_put(out, TT_SV("]}\n"));
        }
    }
    return true;
}

void tt_plant_load_signals(const tt_plant_timing *t, bool (*has)(void *ctx, tt_sv name), void *ctx, tt_buf *out) {
    static const char *const names[] = {"offered_rps",   "admitted_rps", "ok_rps",          "refused_rps",    "dropped_rps",    "arrived_rps", "completed_rps",
                                        "utilization",   "inflight",     "latency_mean_ms", "latency_p50_ms", "latency_p99_ms", "error_ratio"};
    int64_t every = t->scrape_ns > 0 ? t->scrape_ns : TT_SECONDS(5);
    if (every < TT_MS(100)) every = TT_MS(100);
    if (every > TT_SECONDS(3600)) every = TT_SECONDS(3600);
    bool any = false;
    for (size_t i = 0; i < TT_COUNT(names); i++) {
        if (has(ctx, tt_sv_of(names[i]))) continue;
        if (!any) tt_buf_put(out, TT_SV("signals:\n"));
        any = true;
        tt_buf_printf(out, "  - {name: %s, reports: %s, every: %lldms}\n", names[i], names[i], (long long)(every / 1000000));
    }
}

/* ---- the whole line ---- */

/* jansson has said that it is well-formed: only where a member's value begins and ends is looked for. */
static size_t skip_space(tt_sv s, size_t i) {
    while (i < s.n && (s.p[i] == ' ' || s.p[i] == '\t' || s.p[i] == '\r' || s.p[i] == '\n')) i++;
    return i;
}

static size_t skip_string(tt_sv s, size_t i) {
    for (i++; i < s.n && s.p[i] != '"'; i++)
        if (s.p[i] == '\\') i++;
    return i < s.n ? i + 1 : s.n;
}

static size_t skip_value(tt_sv s, size_t i) {
    size_t depth = 0;
    while (i < s.n) {
        char c = s.p[i];
        if (c == '"') {
            i = skip_string(s, i);
        } else if (c == '{' || c == '[') {
            depth++;
            i++;
        } else if (c == '}' || c == ']') {
            depth--;
            i++;
        } else if (depth == 0) {
            while (i < s.n && !strchr(",}] \t\r\n", s.p[i])) i++;
        } else {
            i++;
            continue;
        }
        if (depth == 0) return i;
    }
    return i;
}

static tt_sv raw_member(tt_sv line, tt_sv quoted_key) {
    size_t i = skip_space(line, 0) + 1; /* behind the brace */
    while (i < line.n) {
        i = skip_space(line, i);
        if (i >= line.n || line.p[i] != '"') break;
        size_t key = i;
        i = skip_string(line, i);
        tt_sv k = {line.p + key, i - key};
        i = skip_space(line, skip_space(line, i) + 1); /* the colon */
        size_t from = i;
        i = skip_value(line, i);
        if (tt_sv_eq(k, quoted_key)) return (tt_sv){line.p + from, i - from};
        i = skip_space(line, i) + 1; /* the comma */
    }
    return (tt_sv){NULL, 0};
}

static bool read_score(reader *r, tt_sv line) {
    tt_plant_line *l = r->l;
    const json_t *score = get(l->root, "score");
    if (!score) return true;
    l->score = raw_member(line, TT_SV("\"score\""));
    if (l->score.n) return true;
    char *text = json_dumps(score, JSON_ENCODE_ANY | JSON_COMPACT); /* its key is written with escapes */
    if (text) l->score = tt_arena_copy(l->arena, tt_sv_of(text));
    free(text);
    return l->score.p || tt_fail(r->err, TT_ENOMEM, "memory is out");
}

static bool not_json(tt_err *err, tt_sv line, const json_error_t *je) {
    char near[SHOWN * 4 + 16] = "";
    size_t from = je->position > 0 && (size_t)je->position <= line.n ? (size_t)je->position - 1 : 0;
    from = from > 8 ? from - 8 : 0;
    bool utf8 = json_error_code(je) == json_error_invalid_utf8;
    put_safe(near, sizeof near, line.p + from, line.n - from, SHOWN);
    for (char *c = near; *c && utf8; c++)
        if ((unsigned char)*c >= 0x80) *c = '?';
    const char *hint = "";
    for (size_t i = from; i + 3 <= line.n && i < from + 24; i++)
        if (strncmp(line.p + i, "NaN", 3) == 0 || strncmp(line.p + i, "Inf", 3) == 0 || (i + 4 <= line.n && strncmp(line.p + i, "-Inf", 4) == 0)) {
            hint = "; JSON has no NaN and no infinity: write null where there is no number";
            break;
        }
    tt_fail(err, TT_ESYNTAX, "not JSON: %.120s%s; here: %s", je->text, hint, near);
    if (err) err->column = je->position > 0 ? (uint32_t)je->position : 1;
    return false;
}

void tt_plant_line_free(tt_plant_line *l) {
    json_decref(l->root);
    tt_arena_free(l->arena);
    *l = (tt_plant_line){0};
}

static bool read_line(reader *r, tt_sv line, int64_t last_ns) {
    tt_plant_line *l = r->l;
    json_error_t je;
    size_t first = skip_space(line, 0);
    if (first == line.n) return tt_fail(r->err, TT_EVALUE, "the line is empty: one JSON object was expected");
    if (line.p[first] != '{') return tt_fail(r->err, TT_EVALUE, "the line is not a JSON object");
    l->root = json_loadb(line.p, line.n, JSON_REJECT_DUPLICATES, &je);
    if (!l->root) return not_json(r->err, line, &je);
    const json_t *o = l->root, *now = json_object_get(o, "now_ms"), *done = get(o, "done");
    path none = root("");
    MEMBERS(r, none, o, "now_ms", "measurements", "alerts", "acks", "topology", "done", "score");
    if (done && !json_is_boolean(done)) return wrong(r, root("done"), done, "true or false");
    l->done = json_is_true(done);
    l->now_ns = last_ns;
    if (!now && !l->done) return tt_fail(r->err, TT_EMISSING, "now_ms is missing: the time in ms was expected");
    if (now && !json_is_number(now)) return wrong(r, root("now_ms"), now, "the time in ms");
    if (!get_ms(r, root("now_ms"), now, 0, "the time in ms, from 0 to 4e12,", &l->now_ns)) return false;
    if (l->now_ns < last_ns) {
        char was[40];
        tt_buf b;
        tt_buf_init(&b, 64);
        tt_buf_number(&b, (double)last_ns / 1e6);
        snprintf(was, sizeof was, "%s", b.p ? b.p : "");
        tt_buf_free(&b);
        return tt_fail(r->err, TT_EVALUE, "now_ms is %s and was %s before: time never goes back", show(now).text, was);
    }
    return read_topology(r, get(o, "topology")) && read_measurements(r, get(o, "measurements")) && read_alerts(r, get(o, "alerts")) &&
           read_acks(r, get(o, "acks")) && read_score(r, line);
}

bool tt_plant_line_read(tt_sv line, int64_t last_ns, tt_plant_line *ret, tt_err *err) {
    reader r = {err, ret};
    *ret = (tt_plant_line){.arena = tt_arena_new()};
    if (err) err->line = err->column = 0;
    if (!ret->arena) return tt_fail(err, TT_ENOMEM, "memory is out");
    if (read_line(&r, line, last_ns)) return true;
    tt_plant_line_free(ret);
    return false;
}

/* ---- to the engine ---- */

tt_time tt_plant_time(int64_t plant_ns) {
    const int64_t origin = TT_SECONDS(100000), ns = origin + plant_ns;
    return (tt_time){ns > 0 ? ns : 1};
}

static void ignore(tt_plant_ear *ear, tt_sv name) {
    ear->n_ignored++;
    for (uint32_t i = 0; i < ear->n_names && i < TT_COUNT(ear->names); i++)
        if (strncmp(ear->names[i], name.p, sizeof ear->names[i] - 1) == 0) return;
    if (ear->n_names < TT_COUNT(ear->names)) snprintf(ear->names[ear->n_names], sizeof ear->names[0], TT_SV_FMT, TT_SV_ARG(name));
    if (ear->n_names < UINT32_MAX) ear->n_names++;
}

/* As a query's answer has its labels renamed; labels that carry the new names already stand. */
static void rename_labels(const tt_signal_def *def, tt_measurement *m) {
    for (size_t k = 0; k < def->n_renames; k++) {
        size_t from = 0, to = 0;
        while (from < m->n_labels && !tt_sv_eq(m->labels[from].name, def->renames[k].from)) from++;
        if (from == m->n_labels) continue;
        while (to < m->n_labels && !tt_sv_eq(m->labels[to].name, def->renames[k].to)) to++;
        m->labels[from].name = def->renames[k].to;
        if (to < m->n_labels && to != from) m->labels[to] = m->labels[--m->n_labels];
    }
}

static bool ends_with(tt_sv s, tt_sv end) {
    return s.n >= end.n && memcmp(s.p + s.n - end.n, end.p, end.n) == 0;
}

static tt_quality quality_of(const tt_signal_def *def, const tt_plant_measurement *m) {
    if (m->null || !isfinite(m->value)) return TT_Q_NO_DATA;
    if (m->samples < 0) return TT_Q_OK;
    tt_sv of = def->reports.n ? def->reports : def->name;
    double least = ends_with(of, TT_SV("_ratio")) || ends_with(of, TT_SV("_ms")) ? TT_PLANT_FEW_SAMPLES : 0;
    if (def->min_samples > least) least = def->min_samples;
    return m->samples < least ? TT_Q_TOO_FEW_SAMPLES : TT_Q_OK;
}

/* Whose values the signal's are: those of a load report, or its own. */
static tt_sv figure_of(const tt_signal_def *def) { return def->reports.n ? def->reports : def->name; }

static void add(const tt_plant_measurement *in_line, const tt_rules *r, uint32_t signal, tt_measurement *ret) {
    *ret = (tt_measurement){.signal = signal,
                            .n_labels = in_line->n_labels,
                            .value = in_line->value,
                            .at = tt_plant_time(in_line->at_ns),
                            .quality = quality_of(&r->signals[signal], in_line),
                            .window_ns = in_line->window_ns};
    memcpy(ret->labels, in_line->labels, in_line->n_labels * sizeof ret->labels[0]);
    rename_labels(&r->signals[signal], ret);
}

/* One name of the line, and the signals that its measurements speak for. */
typedef struct {
    tt_sv name;
    int signal; /* of that very name; -1: none */
    size_t n_uses, n_to;
    uint32_t *to;
} spoken;

/* A load report is known under its own name and under every name the rules give it, unless the plant tells that one itself. */
static bool listeners(tt_arena *a, const tt_rules *r, const bool named[TT_SIGNALS_MAX], spoken *w) {
    tt_sv figure = w->signal >= 0 ? figure_of(&r->signals[w->signal]) : w->name;
    w->to = tt_arena_array(a, r->n_signals + 1, sizeof *w->to);
    for (uint32_t k = 0; w->to && k < r->n_signals; k++)
        if ((int)k == w->signal || (!named[k] && tt_sv_eq(figure_of(&r->signals[k]), figure))) w->to[w->n_to++] = k;
    return w->to != NULL;
}

bool tt_plant_line_bind(tt_plant_line *l, const tt_rules *r, tt_plant_ear *ear, tt_observations *ret) {
    enum { NAMES_MAX = 2 * TT_SIGNALS_MAX }; /* more than that are ignored: rules have half as many */
    size_t kept = 0, n_polls = 0, room = 1, n_words = 0, at = 0;
    size_t *word_of = tt_arena_array(l->arena, l->n_measurements + 1, sizeof *word_of);
    spoken *words = tt_arena_array(l->arena, NAMES_MAX, sizeof *words);
    tt_poll *polls = tt_arena_array(l->arena, TT_SIGNALS_MAX, sizeof *polls);
    bool told[TT_SIGNALS_MAX] = {false};
    if (!word_of || !words || !polls) return false;
    for (size_t i = 0; i < l->n_measurements; i++) {
        tt_sv name = l->measurements[i].signal;
        if (at == n_words || !tt_sv_eq(words[at].name, name)) /* neighbours mostly have one name */
            for (at = 0; at < n_words && !tt_sv_eq(words[at].name, name);) at++;
        word_of[i] = at;
        if (at == NAMES_MAX) continue;
        if (at == n_words) words[n_words++] = (spoken){.name = name, .signal = tt_rules_signal(r, name)};
        words[at].n_uses++;
        if (words[at].signal >= 0) ear->named[words[at].signal] = true;
    }
    for (size_t i = 0; i < n_words; i++) {
        if (!listeners(l->arena, r, ear->named, &words[i])) return false;
        room += words[i].n_uses * words[i].n_to;
    }
    tt_measurement *m = tt_arena_array(l->arena, room, sizeof *m);
    if (!m) return false;
    for (size_t i = 0; i < l->n_measurements; i++) {
        const spoken *w = word_of[i] < n_words ? &words[word_of[i]] : NULL;
        if (!w || !w->n_to) ignore(ear, l->measurements[i].signal);
        for (size_t k = 0; w && k < w->n_to; k++) {
            add(&l->measurements[i], r, w->to[k], &m[kept++]);
            if (told[w->to[k]]) continue;
            told[w->to[k]] = true;
            /* Scrapes may be slower than ticks, and come one by one: what a line doesn't hold is not gone. */
            polls[n_polls++] = (tt_poll){.signal = w->to[k], .answered = true, .partial = true};
        }
    }
    for (size_t i = 0; i < l->n_acks; i++) l->acks[i].epoch = ear->epoch;
    *ret = (tt_observations){.now = tt_plant_time(l->now_ns),
                             .wall = {l->now_ns / 1000000},
                             .n_polls = n_polls,
                             .polls = polls,
                             .n_measurements = kept,
                             .measurements = m,
                             .n_alerts = l->n_alerts,
                             .alerts = l->alerts,
                             .n_acks = l->n_acks,
                             .acks = l->acks};
    return true;
}

/* ---- the plant's own timing ---- */

static void note(int64_t ring[TT_PLANT_SPACINGS], uint32_t *n, int64_t v) {
    ring[(*n)++ % TT_PLANT_SPACINGS] = v;
}

void tt_plant_watch_sent(tt_plant_watch *w, uint64_t version, int64_t now_ns) {
    w->sent[w->n_sent % TT_PLANT_SENT].version = version;
    w->sent[w->n_sent++ % TT_PLANT_SENT].at_ns = now_ns;
}

void tt_plant_watch_line(tt_plant_watch *w, const tt_plant_line *l) {
    int64_t spacing = INT64_MAX, delay = INT64_MAX; /* one each a line: after a gap every series has a long one */
    for (size_t i = 0; i < l->n_measurements; i++) {
        const tt_plant_measurement *m = &l->measurements[i];
        uint64_t h = hash_labels(hash(hash_start, m->signal), m->labels, m->n_labels);
        size_t k = 0;
        while (k < w->n_series && w->series[k].hash != h) k++;
        if (k == w->n_series) {
            if (k == TT_PLANT_WATCHED) continue;
            w->series[w->n_series].hash = h;
            w->series[w->n_series++].at_ns = m->at_ns;
            continue;
        }
        if (m->at_ns <= w->series[k].at_ns) continue; /* late or repeated */
        int64_t apart = m->at_ns - w->series[k].at_ns, old = l->now_ns > m->at_ns ? l->now_ns - m->at_ns : 0;
        if (apart < spacing) spacing = apart;
        if (old < delay) delay = old;
        w->series[k].at_ns = m->at_ns;
    }
    if (spacing < INT64_MAX) {
        note(w->spacing, &w->n_spacing, spacing);
        note(w->delay, &w->n_delay, delay);
    }
    for (size_t i = 0; i < l->n_acks; i++) {
        if (l->acks[i].refused || l->acks[i].share < 0.99) continue;
        for (size_t k = 0; k < TT_PLANT_SENT && k < w->n_sent; k++)
            if (w->sent[k].version == l->acks[i].version && w->sent[k].at_ns >= 0) {
                note(w->apply, &w->n_apply, l->now_ns - w->sent[k].at_ns);
                w->sent[k].at_ns = -1;
            }
    }
}

static int by_size(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static int64_t median(const int64_t ring[TT_PLANT_SPACINGS], uint32_t n, uint32_t least) {
    int64_t sorted[TT_PLANT_SPACINGS];
    if (n < least) return 0;
    if (n > TT_PLANT_SPACINGS) n = TT_PLANT_SPACINGS;
    memcpy(sorted, ring, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, by_size);
    return sorted[n / 2];
}

tt_plant_timing tt_plant_watch_timing(const tt_plant_watch *w) {
    return (tt_plant_timing){median(w->spacing, w->n_spacing, 5), median(w->delay, w->n_delay, 5), median(w->apply, w->n_apply, 3)};
}

/* ---- the other way ---- */

void tt_plant_request(uint64_t tick, int64_t now_ns, const tt_decision *const decisions[], size_t n, tt_buf *out) {
    tt_buf_printf(out, "{\"tick\":%llu,\"now_ms\":", (unsigned long long)tick);
    if (now_ns % 1000000 == 0)
        tt_buf_printf(out, "%lld", (long long)(now_ns / 1000000));
    else
        tt_buf_number(out, (double)now_ns / 1e6);
    tt_buf_put(out, TT_SV(",\"decisions\":["));
    for (size_t i = 0; i < n; i++) {
        if (i) tt_buf_put(out, TT_SV(","));
        tt_decision_json(decisions[i], out);
    }
    tt_buf_put(out, TT_SV("]}\n"));
}
