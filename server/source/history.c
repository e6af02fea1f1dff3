#include "source/history.h"

#include <curl/curl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "source/address.h"
#include "source/answer.h"
#include "source/httpc.h"

enum {
    AT_ONCE = 4,
    BODY_MAX = 64 << 20,
    ANSWER_WISH = 4 << 20, /* what the largest answer of a window should be, and all of them together */
    WINDOW_WISH = 24 << 20,
    POINTS_MAX = 10000, /* Prometheus gives 11,000 a series at most */
    FIRST_WINDOW = 100,
    TRIES = 6,
    TRIES_UNHEARD = 2, /* as long as nothing was ever answered: more likely the address is wrong */
    SLICE_STEPS = 64,
};
static const int64_t ask_within_ns = TT_SECONDS(60), again_after_ns = TT_MS(500), again_after_max_ns = TT_SECONDS(30), slice_ns = TT_MS(20),
                     progress_ns = TT_MS(100);

/* One query's answer for one window. */
typedef struct {
    int64_t first_k; /* grid index of its first point */
    size_t n_points, n_series;
    double *value;         /* [series][point] */
    unsigned char *there;  /* the same: absent is not NaN */
    tt_measurement *like;  /* [signal][series]: labels as each signal renames them */
    size_t **alike;        /* [signal]: a number for each series; NULL where all differ */
    uint32_t *alert;       /* [series], of ALERTS */
    tt_arena *text;
    size_t bytes; /* of the answer */
} chunk;

typedef enum { TODO, ASKED, DONE } fetch_state;

typedef struct {
    tt_history *h;
    tt_sv text;
    int64_t every; /* steps */
    bool alerts;
    size_t n_signals;
    uint32_t signals[TT_SIGNALS_MAX];
    fetch_state state; /* of the window that is being asked for */
    tt_httpc_request *request;
    tt_time again_at;
    unsigned failures; /* in a row */
    chunk now, next;
} query;

struct tt_history {
    tt_runloop *loop;
    tt_httpc *http;
    tt_timer *timer; /* slices, and what is to be tried again */
    const tt_rules *rules;
    tt_history_span span;
    tt_history_told told;
    char *endpoint;
    char shown[512];
    query *queries;
    size_t n_queries;
    tt_history_signal signals[TT_SIGNALS_MAX];
    tt_past_alerts *alerts;
    bool alerts_seen, heard, over;

    int64_t n_steps;
    int64_t wish, most;                                /* steps of a window: what fits, and what was found to be too much less one */
    int64_t now_from, now_to, at, next_from, next_to;  /* windows: gone through at `at`, and asked for; grid indices */
    size_t in_flight, left;

    uint64_t n_points, n_requests;
    tt_time progress_at;
    char trouble[400], warning[256];

    tt_poll polls[TT_SIGNALS_MAX];
    tt_measurement *measurements;
    size_t cap_measurements;
    size_t *seen; /* scratch: alike series met in this step */
    size_t cap_seen;
};

/* ---- chunks ---- */

static void chunk_free(const query *q, chunk *c) {
    for (size_t i = 0; c->alike && i < q->n_signals; i++) free(c->alike[i]);
    free(c->alike);
    free(c->value);
    free(c->there);
    free(c->like);
    free(c->alert);
    if (c->text) tt_arena_free(c->text);
    *c = (chunk){0};
}

static int64_t first_of(const query *q, int64_t from) {
    return (from + q->every - 1) / q->every * q->every;
}

static bool copy_labels(tt_arena *a, tt_measurement *m) {
    for (size_t i = 0; i < m->n_labels; i++) {
        m->labels[i].name = tt_arena_copy(a, m->labels[i].name);
        m->labels[i].value = tt_arena_copy(a, m->labels[i].value);
        if (!m->labels[i].name.p || !m->labels[i].value.p) return false;
    }
    return true;
}

static bool read_points(const tt_history *h, const query *q, chunk *c, size_t s, const json_t *values, char why[TT_ANSWER_TEXT]) {
    size_t i;
    const json_t *pair;
    json_array_foreach(values, i, pair) {
        const json_t *at = json_array_get(pair, 0), *value = json_array_get(pair, 1);
        double ms = json_number_value(at) * 1000 - (double)(h->span.from_ms + c->first_k * h->span.step_ms);
        double point = ms / (double)(q->every * h->span.step_ms);
        double v;
        tt_sv text = {json_string_value(value), json_string_length(value)};
        if (!json_is_number(at) || !text.p || !tt_answer_number(text, &v)) {
            snprintf(why, TT_ANSWER_TEXT, "point %zu of series %zu of the answer has no readable value", i + 1, s + 1);
            return false;
        }
        if (!(point > -0.5) || !(point < (double)c->n_points - 0.5)) continue; /* not asked for */
        size_t p = s * c->n_points + (size_t)(point + 0.5);
        c->value[p] = v;
        c->there[p] = 1;
    }
    return true;
}

static void read_alert(tt_history *h, chunk *c, size_t s, const json_t *metric) {
    tt_label labels[64];
    size_t n = 0;
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)metric, name, value) {
        if (n < TT_COUNT(labels) && json_is_string(value))
            labels[n++] = (tt_label){tt_sv_of(name), {json_string_value(value), json_string_length(value)}};
    }
    if (!tt_past_alerts_series(h->alerts, labels, n, &c->alert[s])) c->alert[s] = UINT32_MAX;
}

static bool none_left(char why[TT_ANSWER_TEXT], size_t n) {
    snprintf(why, TT_ANSWER_TEXT, "out of memory for its %zu series", n);
    return false;
}

/* false and `why`: the answer is of no use; what was read of it is the caller's to free. */
static bool chunk_read(tt_history *h, const query *q, const tt_answer *a, chunk *c, char why[TT_ANSWER_TEXT]) {
    size_t n = tt_answer_count(a), points = c->n_points ? c->n_points : 1, all;
    if (__builtin_mul_overflow(n ? n : 1, points, &all)) return none_left(why, n);
    c->n_series = n;
    c->text = tt_arena_new();
    c->value = calloc(all, sizeof *c->value);
    c->there = calloc(all, 1);
    c->like = calloc((q->n_signals ? q->n_signals : 1) * (n ? n : 1), sizeof *c->like);
    c->alike = calloc(q->n_signals ? q->n_signals : 1, sizeof *c->alike);
    c->alert = q->alerts ? calloc(n ? n : 1, sizeof *c->alert) : NULL;
    if (!c->text || !c->value || !c->there || !c->like || !c->alike || (q->alerts && !c->alert)) return none_left(why, n);
    for (size_t s = 0; s < n; s++) {
        const json_t *one = json_array_get(a->series, s), *metric = json_object_get(one, "metric"), *values = json_object_get(one, "values");
        if (!json_is_array(values)) {
            snprintf(why, TT_ANSWER_TEXT, "%s",
                     json_object_get(one, "histograms") ? "the query gives native histograms: put histogram_quantile(...) or histogram_fraction(...) around it"
                                                        : "a series of the answer has no values");
            return false;
        }
        if (!read_points(h, q, c, s, values, why)) return false;
        if (q->alerts) read_alert(h, c, s, metric);
        for (size_t i = 0; i < q->n_signals; i++) {
            tt_measurement *m = &c->like[i * n + s];
            m->signal = q->signals[i];
            if (!tt_answer_labels(metric, &h->rules->signals[m->signal], m, why)) return false;
            if (!copy_labels(c->text, m)) return none_left(why, n);
        }
    }
    for (size_t i = 0; i < q->n_signals && n > 1; i++) {
        c->alike[i] = malloc(n * sizeof *c->alike[i]);
        size_t differ = c->alike[i] ? tt_answer_alike(c->like + i * n, n, c->alike[i]) : SIZE_MAX;
        if (differ == SIZE_MAX) return none_left(why, n);
        if (differ < n) continue;
        free(c->alike[i]);
        c->alike[i] = NULL;
    }
    return true;
}

/* ---- asking ---- */

static void pump(tt_history *h);

static void tell_progress(tt_history *h, bool at_once) {
    tt_time now = tt_clock_now();
    if (!h->told.progress || (!at_once && tt_since(now, h->progress_at) < progress_ns)) return;
    h->progress_at = now;
    tt_history_progress p = tt_history_progress_of(h);
    h->told.progress(h->told.ctx, &p);
}

static void end(tt_history *h, const tt_err *err) {
    if (h->over) return;
    h->over = true;
    tt_timer_stop(h->timer);
    for (size_t i = 0; i < h->n_queries; i++)
        if (h->queries[i].request) {
            tt_httpc_cancel(h->queries[i].request);
            h->queries[i].request = NULL;
        }
    tell_progress(h, true);
    h->told.ended(h->told.ctx, err);
}

/* One line of it, for a message. */
static void short_query(tt_sv text, char *buf, size_t size) {
    size_t n = 0;
    bool gap = false;
    for (size_t i = 0; i < text.n && n + 4 < size; i++) {
        if ((unsigned char)text.p[i] <= ' ') {
            gap = n > 0;
            continue;
        }
        if (gap) buf[n++] = ' ';
        gap = false;
        buf[n++] = text.p[i];
        if (n + 5 >= size && i + 1 < text.n) {
            memcpy(buf + n, "...", 3);
            n += 3;
            break;
        }
    }
    buf[n] = 0;
}

static void end_failed(tt_history *h, const query *q, tt_code code, const char *what, const char *why) {
    char text[200];
    tt_err err;
    short_query(q->text, text, sizeof text);
    if (code == TT_EIO && !h->heard) { /* about the address, not about one query */
        tt_fail(&err, code, "%s: %.300s", what, why);
    } else if (q->alerts) {
        tt_fail(&err, code, "alerts: %s: %.200s; the query: %s", what, why, text);
    } else {
        const tt_signal_def *def = &h->rules->signals[q->signals[0]];
        tt_fail(&err, code, "signal " TT_SV_FMT ": %s: %.200s; the query: %s", TT_SV_ARG(def->name), what, why, text);
        snprintf(err.file, sizeof err.file, "%s", def->pos.file ? def->pos.file : "");
        err.line = def->pos.line;
        err.column = def->pos.column;
    }
    end(h, &err);
}

/* The window is asked for again, half as long: its answers were too much, for us or for Prometheus. false: it cannot be shorter. */
static bool shorten(tt_history *h) {
    int64_t n = h->next_to - h->next_from;
    if (n <= 1) return false;
    h->most = n / 2;
    h->next_to = h->next_from + n / 2;
    h->left = h->n_queries;
    h->in_flight = 0;
    for (size_t i = 0; i < h->n_queries; i++) {
        query *q = &h->queries[i];
        if (q->request) tt_httpc_cancel(q->request);
        q->request = NULL;
        q->state = TODO;
        chunk_free(q, &q->next);
    }
    return true;
}

static void try_again(tt_history *h, query *q, int64_t told_ns, const char *why) {
    unsigned most = h->heard ? TRIES : TRIES_UNHEARD;
    q->state = TODO;
    if (++q->failures >= most) {
        char what[96];
        snprintf(what, sizeof what, "Prometheus at %.48s gave no answer in %u tries", h->shown, most);
        end_failed(h, q, TT_EIO, what, why);
        return;
    }
    int64_t ns = again_after_ns << (q->failures - 1);
    if (ns < told_ns) ns = told_ns;
    if (ns > again_after_max_ns) ns = again_after_max_ns;
    q->again_at.ns = tt_clock_now().ns + ns;
    char span[32];
    tt_format_duration(ns, span, sizeof span);
    snprintf(h->trouble, sizeof h->trouble, "%.300s; asked again in %s", why, span);
    tell_progress(h, true);
}

static bool too_much(const char *why) {
    static const char *const texts[] = {"too many samples", "too many points", "maximum resolution", "exceeds the limit", "is larger than", "timed out", "timeout", "no whole answer"};
    for (size_t i = 0; i < TT_COUNT(texts); i++)
        if (strstr(why, texts[i])) return true;
    return false;
}

static void note_warning(tt_history *h, const json_t *root) {
    const char *text = json_string_value(json_array_get(json_object_get(root, "warnings"), 0));
    if (text && !h->warning[0]) snprintf(h->warning, sizeof h->warning, "%s", text);
}

static void done(void *ctx, const tt_httpc_answer *http) {
    query *q = ctx;
    tt_history *h = q->h;
    q->request = NULL;
    h->in_flight--;
    if (h->over) return;
    tt_answer a = {0};
    char why[TT_ANSWER_TEXT];
    tt_answer_kind kind = TT_ANSWER_GARBAGE;
    /* An error's status counts where its text is no answer of Prometheus, as behind a gateway. */
    bool for_a_moment = http->status == 0 || http->status == 408 || http->status == 429 || http->status >= 500;
    if (http->status)
        kind = tt_answer_read_range(http->status, http->body, &a, why);
    else
        snprintf(why, sizeof why, TT_SV_FMT, TT_SV_ARG(http->error));
    if (kind == TT_ANSWER_OK && !chunk_read(h, q, &a, &q->next, why)) {
        chunk_free(q, &q->next);
        kind = TT_ANSWER_REFUSED;
    }
    if (kind == TT_ANSWER_OK) {
        note_warning(h, a.root);
        q->next.bytes = http->body.n;
        h->heard = true;
        h->trouble[0] = 0;
        q->failures = 0;
        q->state = DONE;
        h->left--;
    } else if (kind == TT_ANSWER_REFUSED && !(too_much(why) && shorten(h))) {
        end_failed(h, q, TT_EVALUE, "the query is refused", why);
    } else if (kind == TT_ANSWER_GARBAGE && !(too_much(why) && h->heard && shorten(h))) {
        if (for_a_moment)
            try_again(h, q, http->retry_after_ns, why);
        else
            end_failed(h, q, TT_EIO, "no answer of Prometheus", why);
    }
    tt_answer_free(&a);
    pump(h);
}

static bool write_form(const tt_history *h, const query *q, tt_buf *form) {
    int64_t start = h->span.from_ms + q->next.first_k * h->span.step_ms, step = q->every * h->span.step_ms;
    int64_t last = start + (int64_t)(q->next.n_points - 1) * step;
    char *text = curl_easy_escape(NULL, q->text.p, (int)q->text.n);
    if (!text) return false;
    tt_buf_init(form, 1 << 22);
    tt_buf_printf(form, "timeout=%llds&start=%lld.%03lld&end=%lld.%03lld&step=%lld.%03lld&query=", (long long)(ask_within_ns / TT_SECONDS(1)),
                  (long long)(start / 1000), (long long)(start % 1000), (long long)(last / 1000), (long long)(last % 1000), (long long)(step / 1000),
                  (long long)(step % 1000));
    tt_buf_put(form, tt_sv_of(text));
    curl_free(text);
    return !form->failed;
}

static void ask(tt_history *h, query *q) {
    q->next = (chunk){.first_k = first_of(q, h->next_from)};
    q->next.n_points = q->next.first_k < h->next_to ? (size_t)((h->next_to - 1 - q->next.first_k) / q->every + 1) : 0;
    if (q->next.n_points == 0) { /* its turn is not in this window */
        q->state = DONE;
        h->left--;
        return;
    }
    tt_buf form = {0};
    tt_err err = {0};
    if (write_form(h, q, &form)) q->request = tt_httpc_post(h->http, h->endpoint, (tt_sv){form.p, form.n}, ask_within_ns, BODY_MAX, done, q, &err);
    tt_buf_free(&form);
    if (!q->request) {
        end_failed(h, q, TT_EIO, "it cannot be asked", err.text[0] ? err.text : "out of memory, or the query is too long");
        return;
    }
    h->n_requests++;
    h->in_flight++;
    q->state = ASKED;
}

static void begin_window(tt_history *h) {
    h->next_from = h->now_to;
    int64_t n = h->wish < h->most ? h->wish : h->most;
    h->next_to = h->next_from + n < h->n_steps ? h->next_from + n : h->n_steps;
    h->left = h->next_from < h->n_steps ? h->n_queries : 0;
    for (size_t i = 0; i < h->n_queries; i++) h->queries[i].state = h->left ? TODO : DONE;
}

/* The next window is whole: it becomes the one to go through, and the one behind it is asked for meanwhile. */
static bool take_up(tt_history *h) {
    size_t largest = 1, all = 1, series = 1;
    for (size_t i = 0; i < h->n_queries; i++) {
        query *q = &h->queries[i];
        chunk_free(q, &q->now);
        q->now = q->next;
        q->next = (chunk){0};
        if (q->now.bytes > largest) largest = q->now.bytes;
        all += q->now.bytes;
        series += q->now.n_series * q->n_signals;
        for (size_t k = 0; k < q->n_signals; k++) {
            tt_history_signal *s = &h->signals[q->signals[k]];
            if (q->now.n_series > s->n_series) s->n_series = (uint32_t)q->now.n_series;
        }
    }
    int64_t n = h->next_to - h->next_from;
    double fits = fmin((double)ANSWER_WISH / (double)largest, (double)WINDOW_WISH / (double)all) * (double)n;
    /* Ten windows at least, so that the time left can be told. */
    double cap = fmin(POINTS_MAX, fmax(500, (double)h->n_steps / 10));
    h->wish = (int64_t)fmax(1, fmin(fmin(fits, cap), 8 * (double)n));
    h->now_from = h->at = h->next_from;
    h->now_to = h->next_to;
    if (series > h->cap_measurements) {
        free(h->measurements);
        free(h->seen);
        h->measurements = malloc(series * sizeof *h->measurements);
        h->seen = malloc(series * sizeof *h->seen);
        h->cap_measurements = h->measurements && h->seen ? series : 0;
        if (!h->cap_measurements) return false;
    }
    begin_window(h);
    return true;
}

/* Sends what may be sent, and sees to it that the loop comes back when there is something to do. */
static void pump(tt_history *h) {
    if (h->over) return;
    tt_time now = tt_clock_now();
    int64_t wait = INT64_MAX;
    for (size_t i = 0; i < h->n_queries && h->in_flight < AT_ONCE && !h->over; i++) {
        query *q = &h->queries[i];
        if (q->state != TODO) continue;
        int64_t ns = tt_since(q->again_at, now);
        if (ns > 0) {
            if (ns < wait) wait = ns;
        } else
            ask(h, q);
    }
    if (h->over) return;
    if (h->at < h->now_to || h->left == 0) wait = 0;
    if (wait < INT64_MAX) tt_timer_after(h->timer, wait);
}

/* ---- going through ---- */

/* The values of one signal in this step. false: two of its series are one here. */
static bool put_values(tt_history *h, const query *q, size_t i, size_t point, tt_time now, size_t *n) {
    const chunk *c = &q->now;
    tt_history_signal *st = &h->signals[q->signals[i]];
    size_t before = *n;
    bool any = false;
    if (c->alike[i]) memset(h->seen, 0, c->n_series * sizeof *h->seen);
    for (size_t s = 0; s < c->n_series; s++) {
        size_t p = s * c->n_points + point;
        if (!c->there[p]) continue;
        if (c->alike[i] && h->seen[c->alike[i][s]]++) {
            *n = before;
            st->n_steps_refused++;
            return false;
        }
        tt_measurement *m = &h->measurements[(*n)++];
        *m = c->like[i * c->n_series + s];
        m->at = now;
        bool good = isfinite(c->value[p]);
        m->quality = good ? TT_Q_OK : TT_Q_NO_DATA;
        m->value = good ? c->value[p] : 0;
        any |= good;
        st->n_nan += !good;
    }
    h->n_points += *n - before;
    st->n_steps++;
    if (!any) return true;
    int64_t at_ms = h->span.from_ms + h->at * h->span.step_ms;
    st->n_steps_with++;
    st->last_ms = at_ms;
    if (!st->first_ms) st->first_ms = at_ms;
    return true;
}

static void step(tt_history *h) {
    tt_history_step out = {.at_ms = h->span.from_ms + h->at * h->span.step_ms, .polls = h->polls, .measurements = h->measurements};
    out.now.ns = h->span.base.ns + TT_MS(h->at * h->span.step_ms);
    size_t n = 0;
    for (size_t k = 0; k < h->n_queries; k++) {
        query *q = &h->queries[k];
        if (h->at % q->every) continue;
        size_t point = (size_t)((h->at - q->now.first_k) / q->every);
        for (size_t i = 0; i < q->n_signals; i++) {
            bool ok = put_values(h, q, i, point, out.now, &n);
            h->polls[out.n_polls++] = (tt_poll){.signal = q->signals[i], .answered = ok, .error = ok ? (tt_sv){NULL, 0} : TT_SV(TT_ANSWER_ALIKE)};
        }
        if (!q->alerts) continue;
        for (size_t s = 0; s < q->now.n_series; s++)
            if (q->now.there[s * q->now.n_points + point] && q->now.alert[s] != UINT32_MAX) {
                tt_past_alerts_fires(h->alerts, q->now.alert[s]);
                h->alerts_seen = true;
            }
        out.n_alerts = tt_past_alerts_step(h->alerts, &out.alerts);
    }
    out.n_measurements = n;
    h->at++;
    h->told.step(h->told.ctx, &out);
}

static void on_timer(void *ctx) {
    tt_history *h = ctx;
    if (h->over) return;
    if (h->at == h->now_to && h->left == 0) {
        if (h->at == h->n_steps) {
            end(h, NULL);
            return;
        }
        if (!take_up(h)) {
            tt_err err;
            tt_fail(&err, TT_ENOMEM, "out of memory for a window of the history");
            end(h, &err);
            return;
        }
    }
    pump(h); /* before the slice: what is asked for now is answered meanwhile */
    if (h->over) return;
    tt_time begun = tt_clock_now();
    for (int i = 0; h->at < h->now_to; i++) {
        if (i % SLICE_STEPS == SLICE_STEPS - 1 && tt_since(tt_clock_now(), begun) >= slice_ns) break;
        step(h);
    }
    tell_progress(h, false);
    pump(h);
}

tt_history_progress tt_history_progress_of(const tt_history *h) {
    return (tt_history_progress){.done = (double)h->at / (double)h->n_steps,
                                 .at_ms = h->span.from_ms + (h->at ? h->at - 1 : 0) * h->span.step_ms,
                                 .n_points = h->n_points,
                                 .n_requests = h->n_requests,
                                 .trouble = h->trouble[0] ? h->trouble : NULL};
}

/* ---- birth and death ---- */

static query *query_of(tt_history *h, tt_sv text, int64_t every) {
    for (size_t i = 0; i < h->n_queries; i++)
        if (!h->queries[i].alerts && h->queries[i].every == every && tt_sv_eq(h->queries[i].text, text)) return &h->queries[i];
    query *q = &h->queries[h->n_queries++];
    *q = (query){.h = h, .text = text, .every = every};
    return q;
}

static bool make_queries(tt_history *h) {
    const tt_rules *r = h->rules;
    bool alerts = false;
    h->queries = calloc(r->n_signals + 1, sizeof *h->queries);
    if (!h->queries) return false;
    for (uint32_t i = 0; i < r->n_signals; i++) {
        const tt_signal_def *def = &r->signals[i];
        h->signals[i].asked = def->query.n != 0;
        if (!def->query.n) continue;
        int64_t step_ns = TT_MS(h->span.step_ms), every = (def->every_ns + step_ns - 1) / step_ns;
        query *q = query_of(h, def->query, every < 1 ? 1 : every);
        q->signals[q->n_signals++] = i;
    }
    for (size_t i = 0; i < r->n_anomalies; i++) alerts |= r->anomalies[i].kind == TT_ANOMALY_ALERT;
    if (!alerts) return true;
    h->alerts = tt_past_alerts_new();
    query *q = query_of(h, TT_SV("ALERTS{alertstate=\"firing\"}"), 1);
    q->alerts = true;
    return h->alerts != NULL;
}

tt_history *tt_history_new(tt_runloop *loop, const char *url, const tt_rules *rules, const tt_history_span *span, const tt_history_told *told,
                           tt_err *err) {
    tt_history *h = calloc(1, sizeof *h);
    if (!h) {
        tt_fail(err, TT_ENOMEM, "out of memory");
        return NULL;
    }
    h->loop = loop;
    h->rules = rules;
    h->span = *span;
    h->told = *told;
    h->n_steps = (span->to_ms - span->from_ms) / span->step_ms + 1;
    h->wish = FIRST_WINDOW;
    h->most = POINTS_MAX;
    h->timer = tt_timer_new(loop, on_timer, h);
    bool made = h->timer && make_queries(h);
    if (!made) tt_fail(err, TT_ENOMEM, "out of memory");
    if (made && tt_prometheus_address(url, "/api/v1/query_range", &h->endpoint, h->shown, sizeof h->shown, err) && (h->http = tt_httpc_new(loop, err)))
        return h;
    tt_history_free(h);
    return NULL;
}

void tt_history_start(tt_history *h) {
    begin_window(h);
    pump(h);
}

void tt_history_free(tt_history *h) {
    if (!h) return;
    for (size_t i = 0; i < h->n_queries; i++) {
        if (h->queries[i].request) tt_httpc_cancel(h->queries[i].request);
        chunk_free(&h->queries[i], &h->queries[i].now);
        chunk_free(&h->queries[i], &h->queries[i].next);
    }
    free(h->queries);
    tt_httpc_free(h->http);
    tt_timer_free(h->timer);
    tt_past_alerts_free(h->alerts);
    free(h->endpoint);
    free(h->measurements);
    free(h->seen);
    free(h);
}

const char *tt_history_url(const tt_history *h) {
    return h->shown;
}

const tt_history_signal *tt_history_signal_of(const tt_history *h, uint32_t signal) {
    return &h->signals[signal];
}

bool tt_history_has_alerts(const tt_history *h) {
    return h->alerts_seen;
}

const char *tt_history_warning(const tt_history *h) {
    return h->warning;
}
