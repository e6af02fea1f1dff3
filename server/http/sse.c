/* Server-sent events. The newest events are in one ring that all streams read, each at its own place; what is older comes from the journal, a page
 * at a time, until the ring has the rest: so a stream that resumes misses nothing and gets nothing twice. A stream that the ring has overtaken is
 * ended: its client comes back with Last-Event-ID and reads the journal. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/internal.h"

#define BEAT_NS TT_SECONDS(15)
#define TICK_STALE_NS TT_SECONDS(3)
enum { PAGE_ROWS = 200, PAGE_BYTES = 8 << 20, SEND_BYTES = 64 << 10, TICK_BYTES = 32 << 20 };

/* --- text --- */

static void put_data(tt_buf *out, tt_sv json) {
    tt_buf_put(out, TT_SV("data: "));
    for (size_t i = 0; i < json.n;) {
        const char *nl = memchr(json.p + i, '\n', json.n - i);
        size_t n = nl ? (size_t)(nl - json.p) - i : json.n - i;
        tt_buf_put(out, (tt_sv){json.p + i, n});
        if (nl) tt_buf_put(out, TT_SV("\ndata: "));
        i += n + (nl ? 1 : 0);
    }
    tt_buf_put(out, TT_SV("\n\n"));
}

static void put_event(tt_buf *out, uint64_t seq, const char *kind, tt_sv json) {
    tt_buf_printf(out, "id: %llu\nevent: %s\n", (unsigned long long)seq, kind);
    put_data(out, json);
}

void tt_event_from_row(tt_buf *out, uint64_t seq, const tt_store_entry *e) {
    size_t n = e->body_len;
    if (n < 2 || e->body[0] != '{') { /* not one of ours: shown as it is */
        tt_buf_printf(out, "{\"seq\":%llu,\"at_ms\":%lld,\"kind\":", (unsigned long long)seq, (long long)e->at_ms);
        tt_buf_json_string(out, tt_sv_of(e->kind));
        tt_buf_put(out, TT_SV(",\"reason\":"));
        tt_buf_json_string(out, (tt_sv){e->body, n});
        tt_buf_put(out, TT_SV("}"));
        return;
    }
    tt_buf_printf(out, "{\"seq\":%llu", (unsigned long long)seq);
    if (e->body[1] != '}') tt_buf_put(out, TT_SV(","));
    tt_buf_put(out, (tt_sv){e->body + 1, n - 1});
}

/* --- what goes out; under the lock --- */

static void wake(tt_stream *s) {
    if (s->state != STREAM_IDLE) return;
    s->state = STREAM_RUNNING;
    MHD_resume_connection(s->conn);
}

void tt_stream_wake_all(tt_http *h) {
    for (tt_stream *s = h->streams; s; s = s->next) wake(s);
}

void tt_stream_beat(tt_http *h, int64_t now_ns) {
    for (tt_stream *s = h->streams; s; s = s->next)
        if (s->state == STREAM_IDLE && now_ns - s->wrote_ns >= BEAT_NS) {
            s->beat = true;
            wake(s);
        }
}

static void push_out_oldest(tt_http *h) {
    tt_ring_entry *oldest = &h->ring[h->ring_head];
    h->ring_lost = oldest->seq;
    h->ring_bytes -= oldest->n;
    free(oldest->text);
    *oldest = (tt_ring_entry){0};
    h->ring_head = (h->ring_head + 1) % RING_SLOTS;
    h->ring_n--;
}

void tt_http_event(tt_http *h, uint64_t seq, const char *kind, tt_sv json) {
    tt_buf text;
    tt_buf_init(&text, 1 << 20);
    put_event(&text, seq, kind, json);
    pthread_mutex_lock(&h->lock);
    if (seq <= h->ring_last) { /* told twice: it is there already */
        tt_buf_free(&text);
    } else if (text.failed) { /* too large to be kept: streams find it in the journal */
        while (h->ring_n) push_out_oldest(h);
        h->ring_last = h->ring_lost = seq;
        tt_buf_free(&text);
    } else {
        while (h->ring_n && (h->ring_n == RING_SLOTS || h->ring_bytes + text.n > RING_BYTES)) push_out_oldest(h);
        char *fitting = realloc(text.p, text.n); /* grown by doubling: as much again would lie idle */
        h->ring[(h->ring_head + h->ring_n++) % RING_SLOTS] = (tt_ring_entry){seq, fitting ? fitting : text.p, text.n};
        h->ring_bytes += text.n;
        h->ring_last = seq;
    }
    tt_stream_wake_all(h);
    pthread_mutex_unlock(&h->lock);
}

bool tt_http_has_streams(tt_http *h) {
    pthread_mutex_lock(&h->lock);
    bool any = h->n_streams > 0;
    pthread_mutex_unlock(&h->lock);
    return any;
}

void tt_http_tick(tt_http *h, tt_sv json) {
    tt_buf text;
    tt_buf_init(&text, TICK_BYTES);
    tt_buf_put(&text, TT_SV("event: tick\n"));
    put_data(&text, json);
    pthread_mutex_lock(&h->lock);
    if (text.failed) {
        tt_buf_free(&text);
    } else {
        tt_buf_free(&h->tick_text);
        h->tick_text = text;
        h->tick++;
        h->tick_ns = tt_now_ns();
        tt_stream_wake_all(h);
    }
    pthread_mutex_unlock(&h->lock);
}

/* --- one stream --- */

/* The first entry behind `cursor`: the ring is in the order of seq. */
static size_t ring_after(const tt_http *h, uint64_t cursor) {
    size_t low = 0, high = h->ring_n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (h->ring[(h->ring_head + middle) % RING_SLOTS].seq > cursor)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static void gather(tt_stream *s) {
    tt_http *h = s->h;
    for (size_t i = ring_after(h, s->cursor); i < h->ring_n && s->text.n < SEND_BYTES; i++) {
        const tt_ring_entry *e = &h->ring[(h->ring_head + i) % RING_SLOTS];
        tt_buf_put(&s->text, (tt_sv){e->text, e->n});
        s->cursor = e->seq;
    }
    if (s->tick < h->tick) { /* only the newest matters: a slow reader skips the others */
        s->tick = h->tick;
        tt_buf_put(&s->text, (tt_sv){h->tick_text.p, h->tick_text.n});
    }
    if (s->beat && s->text.n == 0) tt_buf_put(&s->text, TT_SV(": still here\n\n"));
    s->beat = false;
}

static ssize_t read_stream(void *ctx, uint64_t pos, char *buf, size_t max) {
    tt_stream *s = ctx;
    tt_http *h = s->h;
    (void)pos;
    ssize_t got = 0;
    pthread_mutex_lock(&h->lock);
    if (s->text_at == s->text.n) {
        tt_buf_free(&s->text);
        tt_buf_init(&s->text, TICK_BYTES + PAGE_BYTES);
        s->text_at = 0;
        if (!s->replaying && s->cursor < h->ring_lost && !s->dropped) {
            s->dropped = true;
            atomic_fetch_add(&h->streams_dropped, 1);
        }
        if (!s->replaying && !s->dropped) gather(s);
    }
    if (s->text.failed) s->dropped = true;
    if (h->stopping || s->dropped) {
        got = MHD_CONTENT_READER_END_OF_STREAM;
    } else if (s->text_at < s->text.n) {
        size_t n = s->text.n - s->text_at;
        if (n > max) n = max;
        memcpy(buf, s->text.p + s->text_at, n);
        s->text_at += n;
        s->wrote_ns = tt_now_ns();
        got = (ssize_t)n;
    } else {
        MHD_suspend_connection(s->conn);
        s->state = s->replaying ? STREAM_JOB : STREAM_IDLE;
        if (s->replaying) tt_work_queue_stream(s);
    }
    pthread_mutex_unlock(&h->lock);
    return got;
}

static void close_stream(void *ctx) {
    tt_stream *s = ctx;
    tt_http *h = s->h;
    pthread_mutex_lock(&h->lock);
    if (s->prev)
        s->prev->next = s->next;
    else
        h->streams = s->next;
    if (s->next) s->next->prev = s->prev;
    h->n_streams--;
    pthread_mutex_unlock(&h->lock);
    tt_buf_free(&s->text);
    free(s);
}

typedef struct {
    tt_buf text;
    uint64_t last;
    size_t n;
} page;

static bool take_row(void *ctx, uint64_t seq, const tt_store_entry *e) {
    page *p = ctx;
    tt_buf json;
    tt_buf_init(&json, 1 << 20);
    tt_event_from_row(&json, seq, e);
    if (!json.failed) put_event(&p->text, seq, e->kind, (tt_sv){json.p, json.n});
    tt_buf_free(&json);
    p->last = seq;
    p->n++;
    return p->text.n < PAGE_BYTES / 2;
}

void tt_stream_replay(tt_stream *s) {
    tt_http *h = s->h;
    tt_store *store = tt_app_store(h->app);
    page p = {.last = s->cursor};
    tt_buf_init(&p.text, PAGE_BYTES);
    tt_err err;
    uint64_t newest = 0;
    bool ok = tt_store_read(store, s->cursor, PAGE_ROWS, NULL, take_row, &p, &err);
    bool at_end = ok && p.n == 0;
    if (at_end) ok = tt_store_last_seq(store, &newest, &err);
    pthread_mutex_lock(&h->lock);
    if (!ok) {
        s->dropped = true; /* the client comes back, and reads what it missed when the store answers again */
    } else {
        s->cursor = p.last;
        /* An id from the future is another store's: what comes next is new to it. */
        if (at_end && s->cursor > newest) s->cursor = newest;
        /* The ring moved on meanwhile: what it lost is in the journal by now, so read on. */
        if (at_end && s->cursor < h->ring_lost && newest >= h->ring_lost) at_end = false;
        if (at_end) s->replaying = false;
        tt_buf_free(&s->text);
        s->text = p.text;
        s->text_at = 0;
        p.text = (tt_buf){0};
    }
    s->state = STREAM_RUNNING;
    MHD_resume_connection(s->conn);
    pthread_mutex_unlock(&h->lock);
    tt_buf_free(&p.text);
}

bool tt_stream_wanted(const tt_req *r) {
    return r->accept && strstr(r->accept, "text/event-stream") && !r->head;
}

static bool read_cursor(tt_req *r, uint64_t *ret_after, bool *ret_given) {
    tt_sv given;
    *ret_given = tt_arg(r, "after", &given);
    if (!tt_arg_u64(r, "after", 0, INT64_MAX, ret_after)) return false;
    if (!r->last_event_id || !*r->last_event_id) return true;
    /* A browser sends the page's URL again when it reconnects, and with it an `after` that is old: the header wins. */
    char *end;
    unsigned long long id = strtoull(r->last_event_id, &end, 10);
    if (*end || r->last_event_id[0] < '0' || r->last_event_id[0] > '9' || id > INT64_MAX) {
        tt_reply_problem(r, 400, "Last-Event-ID %.40s is not an event's number", r->last_event_id);
        return false;
    }
    *ret_after = id;
    *ret_given = true;
    return true;
}

void tt_stream_open(tt_req *r) {
    tt_http *h = r->h;
    uint64_t after = 0;
    bool given;
    if (!read_cursor(r, &after, &given)) return;
    tt_stream *s = calloc(1, sizeof *s);
    if (!s) return;
    s->h = h;
    s->conn = r->conn;
    tt_buf_init(&s->text, 1024);
    tt_buf_put(&s->text, TT_SV("retry: 1000\n\n"));
    s->wrote_ns = tt_now_ns();
    pthread_mutex_lock(&h->lock);
    bool room = h->n_streams < STREAMS_MAX && !h->stopping;
    if (room) {
        s->replaying = given;
        s->cursor = given ? after : h->ring_last;
        /* The last state line at once, unless nobody was there to have one made for. */
        s->tick = h->tick && s->wrote_ns - h->tick_ns < TICK_STALE_NS ? h->tick - 1 : h->tick;
        s->next = h->streams;
        if (h->streams) h->streams->prev = s;
        h->streams = s;
        h->n_streams++;
    }
    pthread_mutex_unlock(&h->lock);
    if (!room) {
        tt_buf_free(&s->text);
        free(s);
        tt_reply_problem(r, 503, "%d event streams are open, which is the most there can be: close one, or ask again in a while", STREAMS_MAX);
        tt_reply_header(r, "Retry-After", "5");
        return;
    }
    tt_keeper_poke(h);
    struct MHD_Response *response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 16 << 10, read_stream, s, close_stream);
    if (!response) {
        close_stream(s);
        return;
    }
    r->response = response;
    r->status = 200;
    MHD_add_response_header(response, "Content-Type", "text/event-stream");
    MHD_add_response_header(response, "Cache-Control", "no-store");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
}

void tt_stream_free_all(tt_http *h) {
    while (h->ring_n) push_out_oldest(h);
    tt_buf_free(&h->tick_text);
}
