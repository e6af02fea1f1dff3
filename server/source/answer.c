#include "source/answer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static tt_answer_kind garbage(char why[TT_ANSWER_TEXT], const char *what, long status) {
    snprintf(why, TT_ANSWER_TEXT, "%s (HTTP status %ld)", what, status);
    return TT_ANSWER_GARBAGE;
}

/* {"status":"error","errorType":"bad_data","error":"1:5: parse error: ..."} */
static tt_answer_kind read_error(const json_t *root, long status, char why[TT_ANSWER_TEXT]) {
    const char *type = json_string_value(json_object_get(root, "errorType")), *text = json_string_value(json_object_get(root, "error"));
    if (!type || !text) return garbage(why, "an error without its text", status);
    snprintf(why, TT_ANSWER_TEXT, "%s: %s", type, text);
    /* bad_data and execution are the query's fault; timeout, canceled, internal, unavailable are the server's. */
    bool query = strcmp(type, "bad_data") == 0 || strcmp(type, "execution") == 0;
    return query ? TT_ANSWER_REFUSED : TT_ANSWER_GARBAGE;
}

static tt_answer_kind read_data(tt_answer *a, const json_t *data, bool range, long status, char why[TT_ANSWER_TEXT]) {
    const char *type = json_string_value(json_object_get(data, "resultType"));
    const json_t *result = json_object_get(data, "result");
    if (!type || !json_is_array(result)) return garbage(why, "an answer without its result", status);
    if (range && strcmp(type, "matrix") == 0) {
        a->series = result;
        return TT_ANSWER_OK;
    }
    if (range) return garbage(why, "an answer that is no matrix", status);
    if (strcmp(type, "vector") == 0) {
        a->series = result;
        return TT_ANSWER_OK;
    }
    if (strcmp(type, "scalar") == 0) {
        a->scalar = result;
        return TT_ANSWER_OK;
    }
    const char *hint = strcmp(type, "matrix") == 0 ? "; it selects a range: put rate(...), increase(...) or max_over_time(...) around it" : "";
    snprintf(why, TT_ANSWER_TEXT, "the query gives a %.20s, a signal needs a vector or a scalar%s", type, hint);
    return TT_ANSWER_REFUSED;
}

static tt_answer_kind read_answer(long status, tt_sv body, bool range, tt_answer *ret, char why[TT_ANSWER_TEXT]) {
    json_error_t je;
    *ret = (tt_answer){0};
    why[0] = 0;
    tt_answer a = {.root = json_loadb(body.p ? body.p : "", body.n, JSON_REJECT_DUPLICATES, &je)};
    if (!a.root) return garbage(why, "the answer is not JSON: is this the address of a Prometheus?", status);
    tt_answer_kind kind;
    const char *verdict = json_string_value(json_object_get(a.root, "status"));
    if (verdict && strcmp(verdict, "error") == 0)
        kind = read_error(a.root, status, why);
    else if (!verdict || strcmp(verdict, "success") != 0 || status < 200 || status > 299)
        kind = garbage(why, "the answer is JSON, but not Prometheus's: is this the address of a Prometheus?", status);
    else
        kind = read_data(&a, json_object_get(a.root, "data"), range, status, why);
    if (kind == TT_ANSWER_OK)
        *ret = a;
    else
        json_decref(a.root);
    return kind;
}

tt_answer_kind tt_answer_read(long status, tt_sv body, tt_answer *ret, char why[TT_ANSWER_TEXT]) {
    return read_answer(status, body, false, ret, why);
}

tt_answer_kind tt_answer_read_range(long status, tt_sv body, tt_answer *ret, char why[TT_ANSWER_TEXT]) {
    return read_answer(status, body, true, ret, why);
}

void tt_answer_free(tt_answer *a) {
    json_decref(a->root);
    *a = (tt_answer){0};
}

size_t tt_answer_count(const tt_answer *a) {
    return a->scalar ? 1 : json_array_size(a->series);
}

static tt_sv text_of(const json_t *s) {
    return (tt_sv){json_string_value(s), json_string_length(s)};
}

bool tt_answer_number(tt_sv text, double *ret) {
    if (text.n && text.p[0] == '+') text = (tt_sv){text.p + 1, text.n - 1};
    if (tt_parse_number(text, ret) && isfinite(*ret)) return true;
    *ret = (double)NAN;
    /* NaN is what 0/0 gives: nothing was there to measure. Other text is no number at all. */
    static const char *const not_finite[] = {"NaN", "Inf", "-Inf"};
    for (size_t i = 0; i < TT_COUNT(not_finite); i++)
        if (tt_sv_eq(text, tt_sv_of(not_finite[i]))) return true;
    return false;
}

/* [1700000000.123, "0.25"] */
static bool read_value(const json_t *pair, const tt_answer_clock *clock, tt_measurement *m) {
    const json_t *at = json_array_get(pair, 0), *value = json_array_get(pair, 1);
    if (!json_is_number(at) || !json_is_string(value)) return false;
    /* The age is taken between two readings of one machine's clock, so that machines need not agree. */
    double age_ms = (double)clock->peer_ms - json_number_value(at) * 1000;
    if (!(age_ms > 0)) age_ms = 0; /* ahead of us, or a sample made after we asked */
    if (age_ms > 1e12) age_ms = 1e12;
    m->at.ns = clock->now.ns - (int64_t)(age_ms * 1e6);
    bool readable = tt_answer_number(text_of(value), &m->value);
    m->quality = isfinite(m->value) ? TT_Q_OK : TT_Q_NO_DATA;
    if (m->quality != TT_Q_OK) m->value = 0;
    return readable;
}

/* The name this label carries after renaming; empty: it is dropped. */
static tt_sv renamed(const tt_signal_def *def, tt_sv name) {
    for (size_t i = 0; i < def->n_renames; i++)
        if (tt_sv_eq(def->renames[i].from, name)) return def->renames[i].to;
    /* Another label takes this name: `service: to_service` leaves the caller's own service behind. */
    for (size_t i = 0; i < def->n_renames; i++)
        if (tt_sv_eq(def->renames[i].to, name)) return (tt_sv){NULL, 0};
    return tt_sv_eq(name, TT_SV("__name__")) ? (tt_sv){NULL, 0} : name;
}

bool tt_answer_labels(const json_t *metric, const tt_signal_def *def, tt_measurement *m, char why[TT_ANSWER_TEXT]) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)metric, key, value) {
        tt_sv name = renamed(def, tt_sv_of(key));
        if (!name.n) continue;
        if (!json_is_string(value)) {
            snprintf(why, TT_ANSWER_TEXT, "label %.60s of a series is not text", key);
            return false;
        }
        if (!json_string_length(value)) continue; /* an empty label is an absent one */
        if (m->n_labels == TT_LABELS_MAX) {
            snprintf(why, TT_ANSWER_TEXT, "a series has more than %d labels: keep those that matter with sum by (service, dc) (...)", TT_LABELS_MAX);
            return false;
        }
        m->labels[m->n_labels++] = (tt_label){name, text_of(value)};
    }
    return true;
}

/* Order of labels does not matter: the sum of each label's hash. 0 is kept for "free". */
static uint64_t labels_hash(const tt_measurement *m) {
    uint64_t sum = 0x9e3779b97f4a7c15u;
    for (size_t i = 0; i < m->n_labels; i++) {
        uint64_t h = 14695981039346656037u;
        const tt_sv parts[2] = {m->labels[i].name, m->labels[i].value};
        for (size_t k = 0; k < 2; k++) {
            for (size_t j = 0; j < parts[k].n; j++) h = (h ^ (unsigned char)parts[k].p[j]) * 1099511628211u;
            h = (h ^ 0xff) * 1099511628211u;
        }
        h ^= h >> 29;
        sum += h * 0xbf58476d1ce4e5b9u;
    }
    return sum ? sum : 1;
}

static bool same_labels(const tt_measurement *a, const tt_measurement *b) {
    if (a->n_labels != b->n_labels) return false;
    for (size_t i = 0; i < a->n_labels; i++) {
        bool found = false;
        for (size_t k = 0; k < b->n_labels && !found; k++)
            found = tt_sv_eq(a->labels[i].name, b->labels[k].name) && tt_sv_eq(a->labels[i].value, b->labels[k].value);
        if (!found) return false;
    }
    return true;
}

size_t tt_answer_alike(const tt_measurement *m, size_t n, size_t ret[]) {
    size_t size = 16, count = 0;
    while (size < n * 2) size *= 2;
    size_t *slots = calloc(size, sizeof *slots); /* index + 1 */
    if (!slots) return SIZE_MAX;
    for (size_t i = 0; i < n; i++) {
        size_t at = (size_t)(labels_hash(&m[i]) & (size - 1));
        while (slots[at] && !same_labels(&m[slots[at] - 1], &m[i])) at = (at + 1) & (size - 1);
        ret[i] = slots[at] ? ret[slots[at] - 1] : count++;
        if (!slots[at]) slots[at] = i + 1;
    }
    free(slots);
    return count;
}

/* Dropping __name__ or renaming can make two series one. Which of their values would count is then a matter of luck: refused. */
static bool all_distinct(const tt_measurement *m, size_t n, char why[TT_ANSWER_TEXT]) {
    if (n < 2) return true;
    size_t *numbers = malloc(n * sizeof *numbers), count = numbers ? tt_answer_alike(m, n, numbers) : SIZE_MAX;
    free(numbers);
    if (count == SIZE_MAX)
        snprintf(why, TT_ANSWER_TEXT, "out of memory reading %zu series", n);
    else if (count < n)
        snprintf(why, TT_ANSWER_TEXT, TT_ANSWER_ALIKE);
    return count == n;
}

bool tt_answer_measurements(const tt_answer *a, const tt_signal_def *def, uint32_t index, const tt_answer_clock *clock, tt_measurement *ret,
                            char why[TT_ANSWER_TEXT]) {
    size_t n = tt_answer_count(a);
    for (size_t i = 0; i < n; i++) {
        tt_measurement *m = &ret[i];
        const json_t *one = a->scalar ? NULL : json_array_get(a->series, i), *pair = a->scalar ? a->scalar : json_object_get(one, "value");
        *m = (tt_measurement){.signal = index};
        if (one && !pair && json_object_get(one, "histogram")) {
            snprintf(why, TT_ANSWER_TEXT, "the query gives native histograms: put histogram_quantile(...) or histogram_fraction(...) around it");
            return false;
        }
        if (one && !tt_answer_labels(json_object_get(one, "metric"), def, m, why)) return false;
        if (!read_value(pair, clock, m)) {
            snprintf(why, TT_ANSWER_TEXT, "series %zu of the answer has no readable value", i + 1);
            return false;
        }
    }
    return all_distinct(ret, n, why);
}
