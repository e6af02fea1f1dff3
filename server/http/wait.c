/* Blocking queries. A waiter is suspended and kept in a heap by its deadline; a change on the board, its deadline, its client hanging up, or
 * shutdown takes it out of the heap, and whoever took it out resumes it: so it is resumed once. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "http/internal.h"

/* Deadlines are met up to this much late, so that those close together are woken together: each waking walks all suspended connections. */
#define ROUND_NS TT_MS(50)
/* An answer may be this old when it goes to the next caller with the same question: its ages are off by as much. */
#define CACHE_NS TT_MS(50)
#define WAIT_MAX_NS TT_SECONDS(60)
#define BEAT_CHECK_NS TT_SECONDS(1)

int64_t tt_now_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* --- the question --- */

static bool is_name(tt_sv s) {
    if (s.n >= TT_NAME_MAX) return false;
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < 0x20) return false;
    return true;
}

static bool read_name(tt_req *r, const char *name, tt_sv *ret) {
    if (!tt_arg(r, name, ret) || is_name(*ret)) return true;
    tt_reply_problem(r, 400, "%s is %zu bytes long or holds a control character: at most %d bytes are allowed", name, ret->n, TT_NAME_MAX - 1);
    return false;
}

static bool read_calls(tt_req *r, tt_board_query *q) {
    tt_sv all;
    if (!tt_arg(r, "calls", &all)) return true;
    while (all.n) {
        const char *comma = memchr(all.p, ',', all.n);
        tt_sv one = {all.p, comma ? (size_t)(comma - all.p) : all.n};
        size_t step = comma ? one.n + 1 : one.n;
        all = (tt_sv){all.p + step, all.n - step};
        if (one.n == 0) continue;
        if (!is_name(one) || q->n_calls == TT_COUNT(q->calls)) {
            tt_reply_problem(r, 400, "calls may name %zu services of at most %d bytes each", TT_COUNT(q->calls), TT_NAME_MAX - 1);
            return false;
        }
        q->calls[q->n_calls++] = one;
    }
    return true;
}

static bool read_query(tt_req *r) {
    tt_board_query *q = &r->query;
    tt_sv wait;
    if (!read_name(r, "service", &q->service) || !read_name(r, "dc", &q->dc) || !read_name(r, "instance", &q->instance) || !read_calls(r, q))
        return false;
    if (!tt_arg_u64(r, "version", 0, INT64_MAX, &q->version) || !tt_arg_u64(r, "epoch", 0, INT64_MAX, &q->epoch)) return false;
    if (tt_arg(r, "wait", &wait) && !tt_parse_duration(wait, &r->wait_ns)) {
        tt_reply_problem(r, 400, "wait=%.*s: a duration like 30s is needed, at most 60s", (int)(wait.n < 40 ? wait.n : 40), wait.p);
        return false;
    }
    if (r->wait_ns > WAIT_MAX_NS) r->wait_ns = WAIT_MAX_NS;
    return true;
}

/* --- the heap; under the lock --- */

static void place(tt_http *h, size_t at, tt_req *r) {
    h->heap[at] = r;
    r->heap_index = at;
}

static void sift(tt_http *h, size_t at) {
    tt_req *r = h->heap[at];
    for (size_t up; at > 0 && h->heap[up = (at - 1) / 2]->deadline_ns > r->deadline_ns; at = up) place(h, at, h->heap[up]);
    for (;;) {
        size_t down = at * 2 + 1;
        if (down + 1 < h->n_waiting && h->heap[down + 1]->deadline_ns < h->heap[down]->deadline_ns) down++;
        if (down >= h->n_waiting || h->heap[down]->deadline_ns >= r->deadline_ns) break;
        place(h, at, h->heap[down]);
        at = down;
    }
    place(h, at, r);
}

static bool grow(void **array, size_t *cap, size_t need, size_t each) {
    if (need <= *cap) return true;
    size_t want = *cap ? *cap * 2 : 256;
    if (want < need) want = need;
    void *p = realloc(*array, want * each);
    if (!p) return false;
    memset((char *)p + *cap * each, 0, (want - *cap) * each);
    *array = p;
    *cap = want;
    return true;
}

void tt_keeper_poke(tt_http *h) {
    uint64_t one = 1;
    while (write(h->keeper_fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
}

void tt_wait_forget(tt_http *h, int fd) {
    pthread_mutex_lock(&h->lock);
    if ((size_t)fd < h->cap_fds) h->by_fd[fd] = (tt_watched){0};
    pthread_mutex_unlock(&h->lock);
}

static bool hung_up(int fd) {
    struct pollfd p = {.fd = fd, .events = POLLRDHUP};
    return poll(&p, 1, 0) > 0;
}

/* MHD does not watch a suspended socket, so we do: a caller that went away is not counted as waiting. Told once, when it happens; the socket stays
 * watched between its waits, which costs nothing, until it is closed. false: the caller is gone already. */
static bool watch(tt_http *h, tt_req *r) {
    tt_watched *w = &h->by_fd[r->fd];
    struct epoll_event ev = {.events = EPOLLRDHUP | EPOLLET, .data.fd = r->fd};
    if (!w->watched) w->watched = epoll_ctl(h->hup_fd, EPOLL_CTL_ADD, r->fd, &ev) == 0;
    if (w->hung_up && hung_up(r->fd)) return false;
    w->hung_up = false; /* that was said of another, which had the number before */
    w->waiter = r;
    return true;
}

static bool wait_begin(tt_req *r) {
    tt_http *h = r->h;
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(r->conn, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (!info || info->connect_fd < 0) return false;
    r->fd = info->connect_fd;
    if (!grow((void **)&h->heap, &h->cap_heap, h->n_waiting + 1, sizeof *h->heap) ||
        !grow((void **)&h->by_fd, &h->cap_fds, (size_t)r->fd + 1, sizeof *h->by_fd) || !watch(h, r))
        return false;
    r->deadline_ns = (tt_now_ns() + r->wait_ns + ROUND_NS - 1) / ROUND_NS * ROUND_NS;
    tt_board_heard(h->board, &r->query, TT_BOARD_WAITS, (tt_time){tt_now_ns()});
    MHD_suspend_connection(r->conn);
    r->state = REQ_WAITING;
    place(h, h->n_waiting++, r);
    sift(h, h->n_waiting - 1);
    if (r->deadline_ns < h->keeper_until_ns) tt_keeper_poke(h);
    return true;
}

/* r is out of the heap, under the lock that is still held: its resumption is the caller's, and nobody else's. */
static void take_out(tt_http *h, tt_req *r) {
    h->by_fd[r->fd].waiter = NULL;
    r->state = REQ_WOKEN;
}

static void resume(tt_http *h, tt_req *r) {
    take_out(h, r);
    MHD_resume_connection(r->conn);
}

static void wait_end(tt_http *h, tt_req *r) {
    size_t at = r->heap_index;
    tt_req *last = h->heap[--h->n_waiting];
    if (last != r) {
        place(h, at, last);
        sift(h, at);
    }
    resume(h, r);
}

void tt_wait_changed(void *ctx) {
    tt_http *h = ctx;
    tt_req *woken = NULL, **last = &woken;
    pthread_mutex_lock(&h->lock);
    size_t kept = 0;
    for (size_t i = 0; i < h->n_waiting; i++) {
        tt_req *r = h->heap[i];
        if (tt_board_has_news(h->board, &r->query)) {
            take_out(h, r);
            *last = r;
            last = &r->next_job;
        } else
            place(h, kept++, r);
    }
    *last = NULL;
    bool fewer = kept < h->n_waiting;
    h->n_waiting = kept;
    for (size_t i = fewer ? kept / 2 : 0; i-- > 0;) sift(h, i);
    pthread_mutex_unlock(&h->lock);
    /* Without the lock: the first of them ask again before the last are resumed. */
    for (tt_req *r = woken, *next; r; r = next) {
        next = r->next_job; /* once it is resumed it may be answered and gone */
        MHD_resume_connection(r->conn);
    }
}

void tt_wait_release_all(tt_http *h) {
    while (h->n_waiting) resume(h, h->heap[--h->n_waiting]);
}

/* --- the answer --- */

static char *question_key(const tt_board_query *q, uint64_t *ret_hash) {
    size_t n = q->service.n + q->dc.n + 3;
    for (size_t i = 0; i < q->n_calls; i++) n += q->calls[i].n + 1;
    char *key = malloc(n), *at = key;
    uint64_t hash = 0xcbf29ce484222325u;
    if (!key) return NULL;
    for (size_t i = 0; i < 2 + q->n_calls; i++) {
        tt_sv part = i == 0 ? q->service : i == 1 ? q->dc : q->calls[i - 2];
        if (part.n) memcpy(at, part.p, part.n);
        at += part.n;
        *at++ = '\n';
    }
    *at = 0;
    for (const char *p = key; *p; p++) hash = (hash ^ (unsigned char)*p) * 0x100000001b3u;
    *ret_hash = hash;
    return key;
}

/* `waited`: until now, which the board is still to hear. */
static enum MHD_Result answer(tt_req *r, bool waited) {
    tt_http *h = r->h;
    const tt_board_query *q = &r->query;
    int64_t now = tt_now_ns();
    if (!tt_board_is_open(h->board)) {
        if (waited) tt_board_heard(h->board, q, TT_BOARD_WAITED, (tt_time){now});
        tt_reply_problem(r, 503, "trimtab has just started and has not decided yet: keep what you have and ask again");
        tt_reply_header(r, "Retry-After", "1");
        return tt_reply_send(r);
    }
    uint64_t hash, generation = tt_board_generation(h->board);
    char *key = question_key(q, &hash);
    if (!key) {
        if (waited) tt_board_heard(h->board, q, TT_BOARD_WAITED, (tt_time){now});
        return MHD_NO;
    }
    tt_cached_answer *slot = &h->cache[hash % CACHE_SLOTS];
    enum MHD_Result sent = MHD_NO;
    pthread_mutex_lock(&h->cache_lock);
    bool hit = slot->key && slot->generation == generation && now - slot->made_ns < CACHE_NS && strcmp(slot->key, key) == 0;
    if (hit) sent = MHD_queue_response(r->conn, 200, slot->response);
    pthread_mutex_unlock(&h->cache_lock);
    if (hit) {
        free(key);
        tt_board_heard(h->board, q, TT_BOARD_TOLD | (waited ? TT_BOARD_WAITED : 0u), (tt_time){now});
    } else {
        if (waited) tt_board_heard(h->board, q, TT_BOARD_WAITED, (tt_time){now});
        tt_buf out;
        tt_buf_init(&out, 16 << 20);
        tt_board_answer_json(h->board, q, (tt_time){now}, tt_app_wall_ms(h->app), &out);
        struct MHD_Response *response = tt_response_json(&out);
        if (!response) {
            free(key);
            tt_reply_problem(r, 500, "the decisions outgrew the answer, or memory is out");
            return tt_reply_send(r);
        }
        sent = MHD_queue_response(r->conn, 200, response);
        pthread_mutex_lock(&h->cache_lock);
        tt_cached_answer old = *slot;
        *slot = (tt_cached_answer){key, generation, now, response};
        pthread_mutex_unlock(&h->cache_lock);
        if (old.response) MHD_destroy_response(old.response);
        free(old.key);
    }
    atomic_fetch_add(&h->requests[r->route][1], 1);
    return sent;
}

void tt_wait_free_cache(tt_http *h) {
    for (size_t i = 0; i < CACHE_SLOTS; i++) {
        if (h->cache[i].response) MHD_destroy_response(h->cache[i].response);
        free(h->cache[i].key);
    }
}

enum MHD_Result tt_wait_step(tt_req *r) {
    tt_http *h = r->h;
    bool waited = r->state == REQ_WOKEN;
    if (!waited) {
        if (!read_query(r)) return tt_reply_send(r);
        tt_time now = {tt_now_ns()};
        if (r->wait_ns > 0 && r->query.service.n && !r->head) {
            /* Asked and suspended under one lock: a change comes either before the question or finds the waiter. */
            pthread_mutex_lock(&h->lock);
            bool waits = !tt_board_ask(h->board, &r->query, now) && !h->stopping && wait_begin(r);
            pthread_mutex_unlock(&h->lock);
            if (waits) return MHD_YES;
        } else
            tt_board_heard(h->board, &r->query, TT_BOARD_ASKED, now);
    }
    r->state = REQ_READING;
    return answer(r, waited);
}

/* --- the keeper --- */

static void end_expired(tt_http *h, int64_t now_ns) {
    while (h->n_waiting && h->heap[0]->deadline_ns <= now_ns) {
        atomic_fetch_add(&h->waits_expired, 1);
        wait_end(h, h->heap[0]);
    }
}

static void *keep(void *ctx) {
    tt_http *h = ctx;
    struct epoll_event events[128];
    pthread_mutex_lock(&h->lock);
    while (!h->keeper_stop) {
        int64_t now = tt_now_ns();
        end_expired(h, now);
        tt_stream_beat(h, now);
        h->keeper_until_ns = h->n_waiting ? h->heap[0]->deadline_ns : INT64_MAX;
        if (h->n_streams && h->keeper_until_ns > now + BEAT_CHECK_NS) h->keeper_until_ns = now + BEAT_CHECK_NS;
        int timeout_ms = h->keeper_until_ns == INT64_MAX ? -1 : (int)((h->keeper_until_ns - now + 999999) / 1000000);
        pthread_mutex_unlock(&h->lock);
        int n = epoll_wait(h->hup_fd, events, TT_COUNT(events), timeout_ms);
        pthread_mutex_lock(&h->lock);
        for (int i = 0; i < n; i++) {
            size_t fd = (size_t)events[i].data.fd;
            if (events[i].data.fd == h->keeper_fd) {
                uint64_t drained;
                (void)!read(h->keeper_fd, &drained, sizeof drained);
            } else if (fd < h->cap_fds) {
                h->by_fd[fd].hung_up = true;
                if (h->by_fd[fd].waiter) wait_end(h, h->by_fd[fd].waiter); /* should the number be another's by now, that one is answered early */
            }
        }
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

bool tt_keeper_start(tt_http *h, tt_err *err) {
    h->keeper_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    h->hup_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event ev = {.events = EPOLLIN, .data.fd = h->keeper_fd};
    if (h->keeper_fd < 0 || h->hup_fd < 0 || epoll_ctl(h->hup_fd, EPOLL_CTL_ADD, h->keeper_fd, &ev) != 0)
        return tt_fail(err, TT_EIO, "cannot set up the timer of the HTTP API: %s", strerror(errno));
    int rc = pthread_create(&h->keeper, NULL, keep, h);
    if (rc) return tt_fail(err, TT_EIO, "cannot start a thread for the HTTP API: %s", strerror(rc));
    h->keeper_runs = true;
    return true;
}

void tt_keeper_stop(tt_http *h) {
    if (h->keeper_runs) {
        pthread_mutex_lock(&h->lock);
        h->keeper_stop = true;
        tt_keeper_poke(h);
        pthread_mutex_unlock(&h->lock);
        pthread_join(h->keeper, NULL);
        h->keeper_runs = false;
    }
    if (h->keeper_fd >= 0) close(h->keeper_fd);
    if (h->hup_fd >= 0) close(h->hup_fd);
}
