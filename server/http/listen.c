/* Starting and stopping: the address, the descriptors, libmicrohttpd, and one request's life from first byte to completion. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "http/internal.h"

enum { BACKLOG = 4096, POOL_BYTES = 16 << 10, IDLE_S = 75, FDS_WANTED = 65536, FDS_KEPT = 128, STOP_WAIT_MS = 3000 };

/* --- one request --- */

static enum MHD_Result take_arg(void *ctx, enum MHD_ValueKind kind, const char *key, size_t key_n, const char *value, size_t value_n) {
    tt_req *r = ctx;
    (void)kind;
    if (r->n_args == ARGS_MAX) return MHD_YES;
    r->args[r->n_args].name = (tt_sv){key, key_n};
    r->args[r->n_args++].value = value ? (tt_sv){value, value_n} : TT_SV("");
    return MHD_YES;
}

static const char *header(tt_req *r, const char *name) {
    return MHD_lookup_connection_value(r->conn, MHD_HEADER_KIND, name);
}

static void begin(tt_req *r, const char *method, const char *url) {
    r->host = header(r, "Host");
    r->accept = header(r, "Accept");
    r->accept_encoding = header(r, "Accept-Encoding");
    r->if_none_match = header(r, "If-None-Match");
    r->last_event_id = header(r, "Last-Event-ID");
    MHD_get_connection_values_n(r->conn, MHD_GET_ARGUMENT_KIND, take_arg, r);
    (void)(tt_http_guard_host(r) && tt_http_route(r, method, url) && tt_http_guard_change(r, method));
}

static bool announces_too_much(tt_req *r) {
    const char *length = header(r, "Content-Length");
    return length && strtoull(length, NULL, 10) > BODY_MAX;
}

/* Refused requests are read to their end too: an answer to a client that is still sending may be lost with the connection. */
static enum MHD_Result take_body(tt_req *r, const char *data, size_t n) {
    r->body_seen += n;
    if (r->body_seen > DISCARD_MAX) return MHD_NO;
    if (r->body_seen > BODY_MAX)
        tt_reply_problem(r, 413, "the body is over %d bytes, which is the most that is taken", BODY_MAX);
    else if (!r->response)
        tt_buf_put(&r->body, (tt_sv){data, n});
    if (r->body.failed) tt_reply_problem(r, 503, "out of memory");
    return MHD_YES;
}

static enum MHD_Result answer(tt_req *r) {
    const tt_route *route = tt_req_route(r);
    tt_http *h = r->h;
    if (!route) {
        tt_asset(r);
        return tt_reply_send(r);
    }
    if (route->how == HOW_WAIT) return tt_wait_step(r);
    bool stream = route->how == HOW_EVENTS && tt_stream_wanted(r);
    if (stream)
        tt_stream_open(r);
    else if (route->how == HOW_NOW)
        route->handle(r);
    else {
        pthread_mutex_lock(&h->lock);
        bool queued = tt_work_queue(r);
        pthread_mutex_unlock(&h->lock);
        if (queued) return MHD_YES;
        tt_reply_problem(r, 503, h->stopping ? "trimtab is stopping" : "too many requests are waiting: ask again in a while");
        tt_reply_header(r, "Retry-After", "1");
    }
    return tt_reply_send(r);
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *conn, const char *url, const char *method, const char *version, const char *data,
                                  size_t *n_data, void **con_cls) {
    tt_http *h = cls;
    tt_req *r = *con_cls;
    (void)version;
    if (!r) {
        r = calloc(1, sizeof *r);
        if (!r) return MHD_NO;
        *con_cls = r;
        r->h = h;
        r->conn = conn;
        r->route = -1;
        tt_buf_init(&r->body, BODY_MAX + 1);
        atomic_fetch_add(&h->in_flight, 1);
        begin(r, method, url);
        if (!announces_too_much(r)) return MHD_YES;
        tt_reply_problem(r, 413, "the body is over %d bytes, which is the most that is taken", BODY_MAX);
        return tt_reply_send(r);
    }
    if (*n_data) {
        size_t n = *n_data;
        *n_data = 0;
        return take_body(r, data, n);
    }
    if (r->response) return tt_reply_send(r);
    if (r->state == REQ_WOKEN && tt_req_route(r)->how != HOW_WAIT) return MHD_NO; /* the worker had no memory for an answer */
    return answer(r);
}

static void on_completed(void *cls, struct MHD_Connection *conn, void **con_cls, enum MHD_RequestTerminationCode why) {
    tt_http *h = cls;
    tt_req *r = *con_cls;
    (void)conn;
    (void)why;
    if (!r) return;
    *con_cls = NULL;
    if (r->response) MHD_destroy_response(r->response);
    tt_buf_free(&r->body);
    free(r);
    /* Without the lock, but for whoever waits for the last: this is called for each of the thousands that a decision wakes. */
    if (atomic_fetch_sub(&h->in_flight, 1) != 1 || !h->stopping) return;
    pthread_mutex_lock(&h->lock);
    pthread_cond_broadcast(&h->idle);
    pthread_mutex_unlock(&h->lock);
}

static void on_connection(void *cls, struct MHD_Connection *conn, void **socket_context, enum MHD_ConnectionNotificationCode what) {
    tt_http *h = cls;
    (void)socket_context;
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(conn, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (info && info->connect_fd >= 0) tt_wait_forget(h, info->connect_fd);
    if (what == MHD_CONNECTION_NOTIFY_STARTED)
        atomic_fetch_add(&h->connections, 1);
    else
        atomic_fetch_sub(&h->connections, 1);
}

/* --- starting --- */

static bool read_address(const char *address, uint16_t port, struct sockaddr_storage *ret, socklen_t *ret_len, tt_err *err) {
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    memset(ret, 0, sizeof *ret);
    if (!address || !*address || strcmp(address, "localhost") == 0) address = "127.0.0.1";
    bool loopback;
    if (inet_pton(AF_INET, address, &v4.sin_addr) == 1) {
        loopback = ntohl(v4.sin_addr.s_addr) >> 24 == 127;
        memcpy(ret, &v4, sizeof v4);
        *ret_len = sizeof v4;
    } else if (inet_pton(AF_INET6, address, &v6.sin6_addr) == 1) {
        loopback = IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr);
        memcpy(ret, &v6, sizeof v6);
        *ret_len = sizeof v6;
    } else {
        return tt_fail(err, TT_EVALUE, "cannot listen on %.100s: it is not an IP address; use --listen 127.0.0.1:%u", address, port);
    }
    if (!loopback)
        return tt_fail(
            err, TT_EVALUE,
            "will not listen on %.100s: without TLS and tokens trimtab serves this machine only; use --listen 127.0.0.1:%u, and a proxy that "
            "authenticates for everybody else",
            address, port);
    return true;
}

static int open_socket(const tt_http_options *o, uint16_t *ret_port, tt_err *err) {
    struct sockaddr_storage at;
    socklen_t n = 0;
    if (!read_address(o->address, o->port, &at, &n, err)) return -1;
    const char *shown = o->address && *o->address ? o->address : "127.0.0.1";
    int one = 1, fd = socket(at.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        tt_fail(err, TT_EIO, "cannot open a socket: %s", strerror(errno));
        return -1;
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&at, n) != 0 || listen(fd, BACKLOG) != 0 || getsockname(fd, (struct sockaddr *)&at, &n) != 0) {
        int e = errno;
        if (e == EADDRINUSE)
            tt_fail(err, TT_EIO, "%s:%u is taken by another program: stop it, or choose another address with --listen 127.0.0.1:PORT", shown,
                    o->port);
        else if (e == EACCES)
            tt_fail(err, TT_EIO, "may not listen on %s:%u: ports below 1024 need a privilege; choose another with --listen 127.0.0.1:PORT", shown,
                    o->port);
        else
            tt_fail(err, TT_EIO, "cannot listen on %s:%u: %s; choose another address with --listen", shown, o->port, strerror(e));
        close(fd);
        return -1;
    }
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    memcpy(&v4, &at, sizeof v4);
    memcpy(&v6, &at, sizeof v6);
    *ret_port = ntohs(at.ss_family == AF_INET ? v4.sin_port : v6.sin6_port);
    return fd;
}

/* An agent holds two connections: as many descriptors as we may have. */
static unsigned raise_descriptors(void) {
    struct rlimit now, want;
    if (getrlimit(RLIMIT_NOFILE, &now) != 0) return 512;
    want = now;
    if (want.rlim_max != RLIM_INFINITY && want.rlim_max < FDS_WANTED) want.rlim_max = FDS_WANTED;
    want.rlim_cur = want.rlim_max == RLIM_INFINITY || want.rlim_max > FDS_WANTED ? FDS_WANTED : want.rlim_max;
    if (want.rlim_cur < now.rlim_cur) want.rlim_cur = now.rlim_cur;
    if (setrlimit(RLIMIT_NOFILE, &want) != 0) { /* not ours to raise: what is allowed, then */
        want = now;
        want.rlim_cur = now.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &want) != 0) want = now;
    }
    rlim_t fds = want.rlim_cur > 1 << 20 ? 1 << 20 : want.rlim_cur;
    return fds > 2 * FDS_KEPT ? (unsigned)fds - FDS_KEPT : (unsigned)fds / 2;
}

static void free_all(tt_http *h) {
    tt_board_on_change(h->board, NULL, NULL);
    tt_keeper_stop(h);
    tt_work_stop(h);
    tt_stream_free_all(h);
    tt_wait_free_cache(h);
    pthread_cond_destroy(&h->jobs_or_stop);
    pthread_cond_destroy(&h->idle);
    pthread_mutex_destroy(&h->lock);
    pthread_mutex_destroy(&h->cache_lock);
    free(h->heap);
    free(h->by_fd);
    free(h->web_dir);
    free(h);
}

static bool start_threads(tt_http *h, int fd, tt_err *err) {
    /* Signals are the main loop's. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool ok = tt_work_start(h, err) && tt_keeper_start(h, err);
    if (ok) {
        tt_board_on_change(h->board, tt_wait_changed, h);
        h->daemon = MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_SUSPEND_RESUME | MHD_USE_TURBO, 0, NULL, NULL, on_request, h,
                                     MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_THREAD_POOL_SIZE, (unsigned)MHD_THREADS, MHD_OPTION_CONNECTION_LIMIT,
                                     raise_descriptors(), MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)POOL_BYTES, MHD_OPTION_CONNECTION_TIMEOUT,
                                     (unsigned)IDLE_S, MHD_OPTION_NOTIFY_COMPLETED, on_completed, h, MHD_OPTION_NOTIFY_CONNECTION, on_connection, h,
                                     MHD_OPTION_END);
        if (!h->daemon) ok = tt_fail(err, TT_EIO, "cannot start the HTTP server: %s", errno ? strerror(errno) : "libmicrohttpd refused");
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return ok;
}

tt_http *tt_http_start(tt_app *app, tt_board *board, const tt_http_options *options, tt_err *err) {
    uint16_t port;
    int fd = open_socket(options, &port, err);
    if (fd < 0) return NULL;
    tt_http *h = calloc(1, sizeof *h);
    if (!h || (options->web_dir && !(h->web_dir = strdup(options->web_dir)))) {
        tt_fail(err, TT_ENOMEM, "out of memory");
        free(h);
        close(fd);
        return NULL;
    }
    h->app = app;
    h->board = board;
    h->port = port;
    h->keeper_fd = h->hup_fd = -1;
    pthread_mutex_init(&h->lock, NULL);
    pthread_mutex_init(&h->cache_lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&h->jobs_or_stop, NULL);
    pthread_cond_init(&h->idle, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (!start_threads(h, fd, err)) {
        close(fd);
        free_all(h);
        return NULL;
    }
    return h;
}

uint16_t tt_http_port(const tt_http *h) {
    return h->port;
}

void tt_http_stop(tt_http *h) {
    if (!h) return;
    MHD_socket listening = MHD_quiesce_daemon(h->daemon);
    if (listening != MHD_INVALID_SOCKET) (void)shutdown(listening, SHUT_RDWR); /* new callers are refused; its number stays taken while MHD may still name it */
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += STOP_WAIT_MS / 1000;
    pthread_mutex_lock(&h->lock);
    h->stopping = true; /* nothing is suspended from here on */
    tt_wait_release_all(h);
    tt_stream_wake_all(h);
    while (h->in_flight && pthread_cond_timedwait(&h->idle, &h->lock, &until) == 0) {
    }
    pthread_mutex_unlock(&h->lock);
    tt_board_on_change(h->board, NULL, NULL);
    tt_keeper_stop(h);
    h->keeper_fd = h->hup_fd = -1;
    tt_work_stop(h); /* the queue is emptied first: every job resumes its connection */
    MHD_stop_daemon(h->daemon);
    if (listening != MHD_INVALID_SOCKET) close(listening);
    free_all(h);
}
