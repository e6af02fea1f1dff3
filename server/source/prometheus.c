/* Prometheus as a source: each distinct (query, every) is asked once and shared by the signals that want it, all of one beat together,
 * never twice at a time. A round that failed is not repeated: the next one is the retry. */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "source/address.h"
#include "source/answer.h"
#include "source/httpc.h"
#include "source/source.h"

enum { BODY_MAX = 32 << 20, CLOCKS_AGREE_MS = 2000 };
static const int64_t timeout_max_ns = TT_SECONDS(5), timeout_min_ns = TT_SECONDS(1);

typedef enum { NOT_ASKED, ANSWERED, REFUSED, FAILED } verdict;

typedef struct {
    tt_source *s;
    tt_sv text; /* borrowed from the rules */
    uint32_t beat;
    size_t n_signals;
    uint32_t signals[TT_SIGNALS_MAX];
    char *form;
    size_t form_n;
    tt_httpc_request *request; /* under way */
    bool owed;                 /* its time came while it was still under way */
    bool said;                 /* that it is refused, or alone not answered, has been told */
    verdict last;
    char error[TT_ANSWER_TEXT];
} query;

typedef struct {
    int64_t every_ns;
    tt_time due, begun;
    size_t under_way, n_answered, n_failed;
    bool owed; /* its time came while a query of it was still under way */
} beat;

struct tt_source {
    tt_runloop *loop;
    tt_httpc *http;
    tt_timer *timer;
    tt_source_told told;
    char *endpoint;
    char shown[512];
    const tt_rules *rules;
    tt_time base; /* all beats are counted from here, so that those of 1 s and 5 s meet */
    size_t n_queries, n_beats;
    query *queries;
    beat beats[TT_SIGNALS_MAX];

    tt_source_state state;
    tt_time last_good;
    int64_t last_ok_ms;
    uint64_t polls, failures;

    /* what came in since the last release */
    tt_measurement *measurements;
    size_t n_measurements, cap_measurements;
    tt_poll *poll;
    size_t n_poll, cap_poll;
    tt_answer *answers; /* what the measurements view into */
    size_t n_answers, cap_answers;
    char **texts; /* what the polls' errors view into */
    size_t n_texts, cap_texts;
};

const char *tt_source_state_name(tt_source_state s) {
    static const char *const names[] = {"starting", "ok", "down"};
    return names[s];
}

/* ---- what came in ---- */

/* Room for `more` further elements of `each` bytes. */
static bool room(void *array, size_t *cap, size_t n, size_t more, size_t each) {
    void **p = array;
    if (n + more <= *cap) return true;
    size_t want = *cap ? *cap * 2 : 16, bytes;
    if (want < n + more) want = n + more;
    if (__builtin_mul_overflow(want, each, &bytes)) return false;
    void *grown = realloc(*p, bytes);
    if (!grown) return false;
    *p = grown;
    *cap = want;
    return true;
}

void tt_source_take(tt_source *s, tt_source_batch *ret) {
    *ret = (tt_source_batch){s->n_poll, s->poll, s->n_measurements, s->measurements};
}

void tt_source_release(tt_source *s) {
    for (size_t i = 0; i < s->n_answers; i++) tt_answer_free(&s->answers[i]);
    for (size_t i = 0; i < s->n_texts; i++) free(s->texts[i]);
    s->n_answers = s->n_texts = s->n_poll = s->n_measurements = 0;
}

/* `why` NULL: it was answered. Else the poll's error names the signal. */
static void add_poll(tt_source *s, uint32_t signal, const char *why) {
    if (!room(&s->poll, &s->cap_poll, s->n_poll, 1, sizeof *s->poll)) return;
    tt_poll p = {.signal = signal, .answered = !why, .error = {NULL, 0}};
    if (why && room(&s->texts, &s->cap_texts, s->n_texts, 1, sizeof *s->texts)) {
        char error[TT_ANSWER_TEXT + TT_NAME_MAX + 16];
        snprintf(error, sizeof error, "signal " TT_SV_FMT ": %s", TT_SV_ARG(s->rules->signals[signal].name), why);
        char *text = strdup(error);
        if (text) s->texts[s->n_texts++] = text;
        p.error = tt_sv_of(text);
    }
    s->poll[s->n_poll++] = p;
}

/* ---- one answer ---- */

static void say_lost(tt_source *s, query *q, uint32_t signal, const char *how, const char *why) {
    tt_sv name = s->rules->signals[signal].name;
    char text[TT_ANSWER_TEXT + TT_NAME_MAX + 64], short_name[TT_NAME_MAX];
    snprintf(short_name, sizeof short_name, TT_SV_FMT, TT_SV_ARG(name));
    snprintf(text, sizeof text, "the query of signal %s was %s: %s", short_name, how, why);
    if (!q->said) s->told.changed(s->told.ctx, false, short_name, text);
    q->said = true;
}

static void say_refused(tt_source *s, query *q, uint32_t signal, const char *why) {
    q->last = REFUSED;
    snprintf(q->error, sizeof q->error, "%s", why);
    say_lost(s, q, signal, "refused", why);
}

static void answered(tt_source *s, query *q, tt_answer *a, int64_t date_ms) {
    int64_t wall_ms = tt_clock_wall().ms, apart = date_ms ? wall_ms - date_ms : 0;
    tt_answer_clock clock = {tt_clock_now(), wall_ms, wall_ms};
    /* Its clock and ours differ by more than the header's precision: ages are taken on its own. */
    if (apart > CLOCKS_AGREE_MS || apart < -CLOCKS_AGREE_MS) clock.peer_ms = date_ms;
    char why[TT_ANSWER_TEXT] = "";
    bool refused = false;
    size_t n = tt_answer_count(a);
    bool kept = room(&s->answers, &s->cap_answers, s->n_answers, 1, sizeof *s->answers);
    for (size_t i = 0; i < q->n_signals; i++) {
        uint32_t index = q->signals[i];
        bool ok = kept && room(&s->measurements, &s->cap_measurements, s->n_measurements, n, sizeof *s->measurements);
        if (!ok) snprintf(why, sizeof why, "out of memory for its %zu series", n);
        ok = ok && tt_answer_measurements(a, &s->rules->signals[index], index, &clock, s->measurements + s->n_measurements, why);
        if (ok) s->n_measurements += n;
        add_poll(s, index, ok ? NULL : why);
        if (!ok) say_refused(s, q, index, why);
        refused = refused || !ok;
    }
    if (kept)
        s->answers[s->n_answers++] = *a;
    else
        tt_answer_free(a);
    if (refused) return;
    q->last = ANSWERED;
    if (q->said) {
        char name[TT_NAME_MAX];
        snprintf(name, sizeof name, TT_SV_FMT, TT_SV_ARG(s->rules->signals[q->signals[0]].name));
        s->told.changed(s->told.ctx, true, name, "the query is answered again");
    }
    q->said = false;
}

static void round_over(tt_source *s, beat *b) {
    /* Down: all of a beat failed, and nothing else succeeded since it began. One slow query is not a dead Prometheus. */
    bool down = b->n_failed && !b->n_answered && (s->state != TT_SOURCE_OK || s->last_good.ns < b->begun.ns);
    tt_source_state was = s->state;
    if (b->n_answered)
        s->state = TT_SOURCE_OK;
    else if (down)
        s->state = TT_SOURCE_DOWN;
    /* The source is well, and one query alone is not: too slow, say. */
    for (size_t i = 0; i < s->n_queries && b->n_answered && b->n_failed; i++) {
        query *q = &s->queries[i];
        if (&s->beats[q->beat] == b && q->last == FAILED) say_lost(s, q, q->signals[0], "not answered", q->error);
    }
    b->n_answered = b->n_failed = 0;
    if (s->state != was) {
        tt_source_status st;
        tt_source_status_of(s, &st);
        char text[1100];
        if (s->state == TT_SOURCE_DOWN)
            snprintf(text, sizeof text, "%s cannot be asked: %s", s->shown, st.error);
        else
            snprintf(text, sizeof text, "%s answers", s->shown);
        s->told.changed(s->told.ctx, s->state == TT_SOURCE_OK, "", text);
    }
    s->told.round(s->told.ctx);
}

static void begin(tt_source *s, uint32_t at);

static void done(void *ctx, const tt_httpc_answer *http) {
    query *q = ctx;
    tt_source *s = q->s;
    beat *b = &s->beats[q->beat];
    q->request = NULL;
    tt_answer a = {0};
    char why[TT_ANSWER_TEXT];
    tt_answer_kind kind = TT_ANSWER_GARBAGE;
    if (http->status)
        kind = tt_answer_read(http->status, http->body, &a, why);
    else
        snprintf(why, sizeof why, TT_SV_FMT, TT_SV_ARG(http->error));
    if (kind != TT_ANSWER_GARBAGE) {
        s->last_good = tt_clock_now();
        s->last_ok_ms = tt_clock_wall().ms;
        b->n_answered++;
    }
    if (kind == TT_ANSWER_OK) {
        answered(s, q, &a, http->date_ms);
    } else {
        for (size_t i = 0; i < q->n_signals; i++) add_poll(s, q->signals[i], why);
        if (kind == TT_ANSWER_REFUSED) {
            say_refused(s, q, q->signals[0], why);
        } else {
            q->last = FAILED;
            snprintf(q->error, sizeof q->error, "%s", why);
            b->n_failed++;
        }
    }
    s->failures += q->last != ANSWERED;
    if (--b->under_way) return;
    round_over(s, b);
    if (b->owed) begin(s, q->beat);
}

static int64_t timeout_of(const beat *b) {
    int64_t ns = b->every_ns < timeout_max_ns ? b->every_ns : timeout_max_ns;
    return ns < timeout_min_ns ? timeout_min_ns : ns;
}

static void ask(tt_source *s, query *q) {
    beat *b = &s->beats[q->beat];
    tt_err err;
    s->polls++;
    q->request = tt_httpc_post(s->http, s->endpoint, (tt_sv){q->form, q->form_n}, timeout_of(b), BODY_MAX, done, q, &err);
    if (q->request) {
        b->under_way++;
        return;
    }
    s->failures++;
    q->last = FAILED;
    b->n_failed++;
    snprintf(q->error, sizeof q->error, "%.300s", err.text);
    for (size_t i = 0; i < q->n_signals; i++) add_poll(s, q->signals[i], q->error);
}

/* ---- the beats ---- */

static void begin(tt_source *s, uint32_t at) {
    beat *b = &s->beats[at];
    b->owed = false;
    b->begun = tt_clock_now();
    for (size_t i = 0; i < s->n_queries; i++)
        if (s->queries[i].beat == at) ask(s, &s->queries[i]);
    if (!b->under_way) round_over(s, b); /* none could even be sent */
}

static void set_timer(tt_source *s) {
    int64_t next = INT64_MAX, now = tt_clock_now().ns;
    for (size_t i = 0; i < s->n_beats; i++)
        if (s->beats[i].due.ns < next) next = s->beats[i].due.ns;
    if (s->n_beats)
        tt_timer_after(s->timer, next - now);
    else
        tt_timer_stop(s->timer);
}

static void on_timer(void *ctx) {
    tt_source *s = ctx;
    tt_time now = tt_clock_now();
    for (uint32_t i = 0; i < s->n_beats; i++) {
        beat *b = &s->beats[i];
        if (b->due.ns > now.ns) continue;
        b->due.ns = s->base.ns + ((now.ns - s->base.ns) / b->every_ns + 1) * b->every_ns;
        if (b->under_way)
            b->owed = true;
        else
            begin(s, i);
    }
    set_timer(s);
}

/* ---- rules ---- */

static void forget_queries(tt_source *s) {
    for (size_t i = 0; i < s->n_queries; i++) {
        if (s->queries[i].request) tt_httpc_cancel(s->queries[i].request);
        free(s->queries[i].form);
    }
    free(s->queries);
    s->queries = NULL;
    s->n_queries = s->n_beats = 0;
    s->rules = NULL;
    tt_timer_stop(s->timer);
    tt_source_release(s);
}

static bool write_form(query *q, const beat *b) {
    char *text = curl_easy_escape(NULL, q->text.p, (int)q->text.n);
    if (!text) return false;
    tt_buf form;
    tt_buf_init(&form, 1 << 22);
    /* Told how long we wait, Prometheus stops working on what nobody waits for. */
    tt_buf_printf(&form, "timeout=%lldms&query=", (long long)(timeout_of(b) / 1000000));
    tt_buf_put(&form, tt_sv_of(text));
    curl_free(text);
    if (form.failed) {
        tt_buf_free(&form);
        return false;
    }
    q->form = form.p;
    q->form_n = form.n;
    return true;
}

static uint32_t beat_of(tt_source *s, int64_t every_ns) {
    for (uint32_t i = 0; i < s->n_beats; i++)
        if (s->beats[i].every_ns == every_ns) return i;
    s->beats[s->n_beats] = (beat){.every_ns = every_ns, .due = s->base};
    return (uint32_t)s->n_beats++;
}

static query *query_of(tt_source *s, tt_sv text, uint32_t at_beat) {
    for (size_t i = 0; i < s->n_queries; i++)
        if (s->queries[i].beat == at_beat && tt_sv_eq(s->queries[i].text, text)) return &s->queries[i];
    query *q = &s->queries[s->n_queries++];
    *q = (query){.s = s, .text = text, .beat = at_beat};
    return q;
}

bool tt_source_set_rules(tt_source *s, const tt_rules *rules, tt_err *err) {
    forget_queries(s);
    if (!rules) return true;
    s->queries = calloc(rules->n_signals ? rules->n_signals : 1, sizeof *s->queries);
    if (!s->queries) return tt_fail(err, TT_ENOMEM, "out of memory for the queries of %zu signals", rules->n_signals);
    s->rules = rules;
    s->base = tt_clock_now();
    for (uint32_t i = 0; i < rules->n_signals; i++) {
        const tt_signal_def *def = &rules->signals[i];
        if (!def->query.n) continue;
        query *q = query_of(s, def->query, beat_of(s, def->every_ns));
        q->signals[q->n_signals++] = i;
        if (q->form || write_form(q, &s->beats[q->beat])) continue;
        forget_queries(s);
        return tt_fail(err, TT_ENOMEM, "the query of signal " TT_SV_FMT " is too long to be sent", TT_SV_ARG(def->name));
    }
    set_timer(s);
    return true;
}

int64_t tt_source_under_way(const tt_source *s, tt_time now) {
    int64_t least = -1;
    for (size_t i = 0; i < s->n_beats; i++) {
        int64_t ns = tt_since(now, s->beats[i].begun);
        if (s->beats[i].under_way && (least < 0 || ns < least)) least = ns;
    }
    return least;
}

void tt_source_status_of(const tt_source *s, tt_source_status *ret) {
    *ret = (tt_source_status){.name = "prometheus", .state = s->state, .last_ok_ms = s->last_ok_ms, .polls = s->polls, .failures = s->failures};
    snprintf(ret->url, sizeof ret->url, "%s", s->shown);
    /* What stands in the way of everything first, then of one signal. */
    verdict worst = ANSWERED;
    for (size_t i = 0; i < s->n_queries; i++) {
        const query *q = &s->queries[i];
        if (q->last <= worst) continue;
        worst = q->last;
        if (s->state == TT_SOURCE_DOWN)
            snprintf(ret->error, sizeof ret->error, "%s", q->error);
        else
            snprintf(ret->error, sizeof ret->error, "signal " TT_SV_FMT ": %s", TT_SV_ARG(s->rules->signals[q->signals[0]].name), q->error);
    }
}

/* ---- birth and death ---- */

tt_source *tt_prometheus_new(tt_runloop *loop, const char *url, const tt_source_told *told, tt_err *err) {
    tt_source *s = calloc(1, sizeof *s);
    if (!s) {
        tt_fail(err, TT_ENOMEM, "out of memory making the Prometheus source");
        return NULL;
    }
    s->loop = loop;
    s->told = *told;
    s->timer = tt_timer_new(loop, on_timer, s);
    if (!s->timer) tt_fail(err, TT_ENOMEM, "out of memory making the Prometheus source");
    if (s->timer && tt_prometheus_address(url, "/api/v1/query", &s->endpoint, s->shown, sizeof s->shown, err) && (s->http = tt_httpc_new(loop, err))) return s;
    tt_source_free(s);
    return NULL;
}

void tt_source_free(tt_source *s) {
    if (!s) return;
    forget_queries(s);
    tt_httpc_free(s->http);
    tt_timer_free(s->timer);
    free(s->endpoint);
    free(s->measurements);
    free(s->poll);
    free(s->answers);
    free(s->texts);
    free(s);
}
