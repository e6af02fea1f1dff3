/* What the files of the way in share.
 *
 * Threads: MHD's epoll threads run every callback of their connections; workers run what may wait for the store, the engine's lock or a reload
 * while the connection is suspended; the keeper wakes what is due. A suspended connection has exactly one owner of the right to resume it:
 * `tt_req.state` and `tt_stream.state` say who, and change under tt_http.lock only. */
#ifndef TT_HTTP_INTERNAL_H
#define TT_HTTP_INTERNAL_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

#include "http/http.h"

enum {
    BODY_MAX = 1 << 20,
    DISCARD_MAX = 8 << 20,
    ARGS_MAX = 16,
    MHD_THREADS = 2,
    WORKERS = 2,
    JOBS_MAX = 4096,
    STREAMS_MAX = 256,
    CACHE_SLOTS = 256
};

typedef struct tt_req tt_req;
typedef struct tt_stream tt_stream;

typedef enum {
    HOW_NOW,    /* on an MHD thread: never waits */
    HOW_WORKER, /* on a worker */
    HOW_WAIT,   /* a blocking query */
    HOW_EVENTS, /* a page of the journal, or an event stream when that is what is accepted */
} tt_how;

typedef struct {
    const char *method, *pattern; /* "{id}" stands for a loop's id */
    void (*handle)(tt_req *r);
    tt_how how;
    bool bare; /* POST: may come without a body and its type */
    int arg;
} tt_route;
enum { ROUTES_MAX = 40 };
extern const tt_route tt_routes[];
extern const size_t tt_n_routes;

/* tt_route.arg of tt_get_engine_list */
enum { LIST_PLANS, LIST_SIGNALS, LIST_ANOMALIES, LIST_CAPACITY };

typedef enum { REQ_READING, REQ_JOB, REQ_WAITING, REQ_WOKEN } tt_req_state;

struct tt_req {
    tt_http *h;
    struct MHD_Connection *conn;
    int route; /* index in tt_routes, -1: none */
    bool head, started;
    tt_sv path, id;
    const char *accept, *accept_encoding, *if_none_match, *last_event_id, *host;
    size_t n_args;
    struct {
        tt_sv name, value;
    } args[ARGS_MAX];
    tt_buf body;
    size_t body_seen;
    struct MHD_Response *response; /* the answer, once there is one */
    unsigned status;
    tt_req_state state;
    tt_req *next_job;
    /* blocking query: the views point into the request's own text, which MHD keeps until it is completed */
    tt_board_query query;
    int64_t wait_ns;
    int64_t deadline_ns;
    size_t heap_index;
    int fd;
};

typedef enum { STREAM_RUNNING, STREAM_IDLE, STREAM_JOB } tt_stream_state;

struct tt_stream {
    tt_http *h;
    struct MHD_Connection *conn;
    tt_stream *prev, *next, *next_job;
    tt_stream_state state;
    bool replaying, dropped, beat;
    uint64_t cursor, tick; /* last event and tick sent */
    int64_t wrote_ns;
    tt_buf text; /* being sent */
    size_t text_at;
};

typedef struct {
    uint64_t seq;
    char *text; /* as it goes over the wire */
    size_t n;
} tt_ring_entry;
enum { RING_SLOTS = 2048, RING_BYTES = 1 << 20 };

/* A socket of which we want to know when its client hangs up: from its first wait until it is closed. */
typedef struct {
    tt_req *waiter; /* NULL: none now */
    bool watched, hung_up;
} tt_watched;

typedef struct {
    char *key; /* NULL: empty */
    uint64_t generation;
    int64_t made_ns;
    struct MHD_Response *response;
} tt_cached_answer;

struct tt_http {
    tt_app *app;
    tt_board *board;
    struct MHD_Daemon *daemon;
    uint16_t port;
    char *web_dir;
    pthread_t workers[WORKERS], keeper;
    size_t n_workers;
    bool keeper_runs, keeper_stop;
    int64_t keeper_until_ns; /* it sleeps until then */
    int keeper_fd, hup_fd;   /* eventfd; epoll over the waiters' sockets and the eventfd */

    pthread_mutex_t lock;
    pthread_cond_t jobs_or_stop, idle;
    _Atomic bool stopping; /* written under the lock */
    bool workers_stop;
    _Atomic size_t in_flight; /* requests between their first callback and their completion */
    tt_req *jobs_head, *jobs_tail;
    tt_stream *stream_jobs;
    size_t n_jobs;
    /* waiters: a heap by deadline; by_fd finds one when its client hangs up */
    tt_req **heap;
    tt_watched *by_fd;
    size_t n_waiting, cap_heap, cap_fds;
    /* streams */
    tt_stream *streams;
    size_t n_streams;
    tt_ring_entry ring[RING_SLOTS];
    size_t ring_head, ring_n, ring_bytes;
    uint64_t ring_last, ring_lost; /* seq of the newest ever held; of the newest pushed out */
    tt_buf tick_text;
    uint64_t tick;
    int64_t tick_ns;

    pthread_mutex_t cache_lock; /* never taken with another one held */
    tt_cached_answer cache[CACHE_SLOTS];

    _Atomic uint64_t requests[ROUTES_MAX + 1][5]; /* by route (the last: assets and unknown) and status class */
    _Atomic uint64_t streams_dropped, waits_expired, connections;
};

static inline const tt_route *tt_req_route(const tt_req *r) {
    return r->route < 0 ? NULL : &tt_routes[r->route];
}
int64_t tt_now_ns(void);

/* router.c: finds the route. false: r->response says 404 or 405. */
bool tt_http_route(tt_req *r, const char *method, const char *url);
/* guard.c: what browsers must not be able to do here; the host before the route is looked for, the rest after. false: r->response says why. */
bool tt_http_guard_host(tt_req *r);
bool tt_http_guard_change(tt_req *r, const char *method);

/* reply.c. Each sets r->response and r->status once; a second reply is dropped. */
void tt_reply_json(tt_req *r, unsigned status, tt_buf *take);
void tt_reply_text(tt_req *r, unsigned status, const char *type, tt_sv text);
void tt_reply_static(tt_req *r, const char *type, tt_sv forever);
void tt_reply_empty(tt_req *r, unsigned status);
void tt_reply_problem(tt_req *r, unsigned status, const char *fmt, ...) TT_PRINTF(3, 4);
/* pointers: NULL, or one JSON pointer for each error (NULL: none). */
void tt_reply_errors(tt_req *r, unsigned status, const tt_err errs[], const char *const pointers[], size_t n, const char *fmt, ...) TT_PRINTF(6, 7);
void tt_reply_header(tt_req *r, const char *name, const char *value);
struct MHD_Response *tt_response_json(tt_buf *take); /* NULL: memory is out, or the text outgrew its ceiling */
enum MHD_Result tt_reply_send(tt_req *r);

/* Query parameters. false from the readers: r->response says 400 with the parameter's name. */
bool tt_arg(const tt_req *r, const char *name, tt_sv *ret);
bool tt_arg_u64(tt_req *r, const char *name, uint64_t min, uint64_t max, uint64_t *ret);

/* work.c */
bool tt_work_start(tt_http *h, tt_err *err);
void tt_work_stop(tt_http *h);
bool tt_work_queue(tt_req *r); /* suspends r and hands it over; under the lock */
void tt_work_queue_stream(tt_stream *s);

/* wait.c */
enum MHD_Result tt_wait_step(tt_req *r); /* the request is read, or was resumed */
void tt_wait_changed(void *h);           /* the board's callback */
void tt_wait_forget(tt_http *h, int fd); /* the socket is a new one, or about to be closed */
bool tt_keeper_start(tt_http *h, tt_err *err);
void tt_keeper_stop(tt_http *h);
void tt_keeper_poke(tt_http *h);
void tt_wait_release_all(tt_http *h); /* under the lock, once stopping is set */
void tt_wait_free_cache(tt_http *h);

/* sse.c */
bool tt_stream_wanted(const tt_req *r);
void tt_stream_open(tt_req *r);
void tt_stream_replay(tt_stream *s); /* on a worker */
void tt_stream_wake_all(tt_http *h); /* under the lock */
void tt_stream_beat(tt_http *h, int64_t now_ns);
void tt_stream_free_all(tt_http *h);
/* One journal row as an Event. */
void tt_event_from_row(tt_buf *out, uint64_t seq, const tt_store_entry *e);

/* Until tokens are there: whoever reaches loopback is the operator. */
#define TT_HTTP_ACTOR "operator (local)"
/* A reason that the journal can keep; NULL: it is missing. */
struct json_t;
bool tt_check_reason(const struct json_t *reason, tt_sv *ret, tt_err *err);

void tt_new_id(int64_t now_ms, char to[TT_ULID_SIZE]); /* a ULID: the millisecond, and 80 bits that nobody guesses */

/* assets.c, resources.c, commands.c, load_tests.c, pins.c, hook.c */
void tt_asset(tt_req *r);
void tt_get_status(tt_req *r);
void tt_get_loops(tt_req *r);
void tt_get_loop(tt_req *r);
void tt_get_loop_events(tt_req *r);
void tt_get_engine_list(tt_req *r);
void tt_get_agents(tt_req *r);
void tt_get_events(tt_req *r);
/* explain.c */
void tt_get_event_explain(tt_req *r);
void tt_get_decision_explain(tt_req *r);
void tt_get_loop_explain(tt_req *r);
void tt_get_openapi(tt_req *r);
void tt_get_healthy(tt_req *r);
void tt_get_ready(tt_req *r);
void tt_get_metrics(tt_req *r);
void tt_post_report(tt_req *r);
void tt_post_command(tt_req *r);
void tt_post_reload(tt_req *r);
void tt_get_load_tests(tt_req *r);
void tt_get_load_test(tt_req *r);
void tt_post_load_test(tt_req *r);
void tt_delete_load_test(tt_req *r);
void tt_get_pins(tt_req *r);
void tt_post_pin(tt_req *r);
void tt_delete_pin(tt_req *r);
void tt_post_alertmanager(tt_req *r);

#endif
