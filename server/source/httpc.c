#include "source/httpc.h"

#include <curl/curl.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { CONNECTIONS_MAX = 32 };

struct tt_httpc {
    CURLM *multi;
    struct event_base *base;
    struct event *timer;
    struct curl_slist *headers;
    tt_httpc_request *first; /* under way */
};

struct tt_httpc_request {
    tt_httpc *c;
    tt_httpc_request *prev, *next;
    CURL *easy;
    tt_buf body;
    bool too_large;
    size_t max_body;
    int64_t timeout_ns, date_ms, retry_after_ns;
    tt_httpc_done done;
    void *ctx;
    char error[CURL_ERROR_SIZE];
};

static void unlink_request(tt_httpc_request *r) {
    if (r->prev)
        r->prev->next = r->next;
    else
        r->c->first = r->next;
    if (r->next) r->next->prev = r->prev;
}

static void free_request(tt_httpc_request *r) {
    if (r->easy) curl_easy_cleanup(r->easy);
    tt_buf_free(&r->body);
    free(r);
}

static void say_error(const tt_httpc_request *r, CURLcode code, char *buf, size_t size) {
    if (r->too_large)
        snprintf(buf, size, "the answer is larger than %zu MiB", r->max_body >> 20);
    else if (code == CURLE_OPERATION_TIMEDOUT)
        snprintf(buf, size, "no whole answer within %lld ms", (long long)(r->timeout_ns / 1000000));
    else
        snprintf(buf, size, "%s", *r->error ? r->error : curl_easy_strerror(code));
}

/* Finished transfers are told about outside libcurl's own callbacks, so that the one told may start the next. */
static void finish(tt_httpc *c) {
    int left;
    for (CURLMsg *m; (m = curl_multi_info_read(c->multi, &left));) {
        if (m->msg != CURLMSG_DONE) continue;
        tt_httpc_request *r = NULL;
        CURLcode code = m->data.result; /* *m is gone after the removal */
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&r);
        curl_multi_remove_handle(c->multi, r->easy);
        unlink_request(r);
        char why[CURL_ERROR_SIZE + 32] = "";
        tt_httpc_answer a = {.date_ms = r->date_ms, .retry_after_ns = r->retry_after_ns};
        if (code == CURLE_OK) {
            curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &a.status);
            a.body = (tt_sv){r->body.p, r->body.n};
        } else {
            say_error(r, code, why, sizeof why);
            a.error = tt_sv_of(why);
        }
        r->done(r->ctx, &a);
        free_request(r);
    }
}

static void on_socket(evutil_socket_t fd, short what, void *ctx) {
    tt_httpc *c = ctx;
    int running, flags = ((what & EV_READ) ? CURL_CSELECT_IN : 0) | ((what & EV_WRITE) ? CURL_CSELECT_OUT : 0);
    curl_multi_socket_action(c->multi, fd, flags, &running);
    finish(c);
}

static void on_timer(evutil_socket_t fd, short what, void *ctx) {
    (void)fd;
    (void)what;
    tt_httpc *c = ctx;
    int running;
    curl_multi_socket_action(c->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    finish(c);
}

static int want_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *socket_ctx) {
    (void)easy;
    tt_httpc *c = ctx;
    struct event *ev = socket_ctx;
    if (ev) event_free(ev);
    ev = NULL;
    if (what != CURL_POLL_REMOVE) {
        short flags = (short)(EV_PERSIST | (what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0));
        ev = event_new(c->base, fd, flags, on_socket, c);
        if (!ev || event_add(ev, NULL) != 0) {
            if (ev) event_free(ev);
            ev = NULL;
        }
    }
    curl_multi_assign(c->multi, fd, ev);
    return what != CURL_POLL_REMOVE && !ev ? -1 : 0;
}

static int want_timer(CURLM *multi, long ms, void *ctx) {
    (void)multi;
    tt_httpc *c = ctx;
    if (ms < 0) {
        event_del(c->timer);
        return 0;
    }
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    return event_add(c->timer, &tv);
}

static size_t take_body(char *p, size_t size, size_t n, void *ctx) {
    tt_httpc_request *r = ctx;
    tt_buf_put(&r->body, (tt_sv){p, size * n});
    if (r->body.failed) r->too_large = true;
    return r->body.failed ? 0 : size * n;
}

/* The text behind "Name:", NUL-terminated. */
static bool header_value(const char *line, size_t n, const char *name, char value[128]) {
    size_t of_name = strlen(name);
    if (n <= of_name || n >= 128 || strncasecmp(line, name, of_name) != 0) return false;
    memcpy(value, line + of_name, n - of_name);
    value[n - of_name] = 0;
    return true;
}

static size_t take_header(char *p, size_t size, size_t n, void *ctx) {
    tt_httpc_request *r = ctx;
    char value[128];
    if (header_value(p, size * n, "date:", value)) {
        time_t t = curl_getdate(value, NULL);
        if (t > 0) r->date_ms = (int64_t)t * 1000;
    } else if (header_value(p, size * n, "retry-after:", value)) {
        long s = strtol(value, NULL, 10);
        if (s > 0 && s < 86400) r->retry_after_ns = TT_SECONDS(s);
    }
    return size * n;
}

tt_httpc *tt_httpc_new(tt_runloop *loop, tt_err *err) {
    tt_httpc *c = calloc(1, sizeof *c);
    if (!c) goto no_memory;
    c->base = tt_runloop_base(loop);
    c->timer = event_new(c->base, -1, 0, on_timer, c);
    c->multi = curl_multi_init();
    c->headers = curl_slist_append(NULL, "Accept: application/json");
    if (!c->timer || !c->multi || !c->headers) goto no_memory;
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, want_socket);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, want_timer);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)CONNECTIONS_MAX);
    return c;
no_memory:
    tt_fail(err, TT_ENOMEM, "out of memory making the HTTP client");
    tt_httpc_free(c);
    return NULL;
}

void tt_httpc_free(tt_httpc *c) {
    if (!c) return;
    while (c->first) tt_httpc_cancel(c->first);
    /* Closing connections calls the socket callback once more: the loop must still be there. */
    if (c->multi) curl_multi_cleanup(c->multi);
    if (c->timer) event_free(c->timer);
    curl_slist_free_all(c->headers);
    free(c);
}

tt_httpc_request *tt_httpc_post(tt_httpc *c, const char *url, tt_sv form, int64_t timeout_ns, size_t max_body, tt_httpc_done done, void *ctx,
                                tt_err *err) {
    tt_httpc_request *r = calloc(1, sizeof *r);
    CURL *e = r ? curl_easy_init() : NULL;
    if (!e) {
        free(r);
        tt_fail(err, TT_ENOMEM, "out of memory for a request");
        return NULL;
    }
    *r = (tt_httpc_request){.c = c, .easy = e, .done = done, .ctx = ctx, .timeout_ns = timeout_ns, .max_body = max_body};
    tt_buf_init(&r->body, max_body);
    long timeout_ms = (long)(timeout_ns / 1000000);
    curl_easy_setopt(e, CURLOPT_PRIVATE, r);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, r->error);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_PROXY, "");
    curl_easy_setopt(e, CURLOPT_USERAGENT, "trimtab");
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, c->headers);
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, timeout_ms);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, timeout_ms);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, r);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, r);
    curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE, (long)form.n);
    CURLcode code = curl_easy_setopt(e, CURLOPT_URL, url);
    if (code == CURLE_OK) code = curl_easy_setopt(e, CURLOPT_COPYPOSTFIELDS, form.p);
    CURLMcode added = code == CURLE_OK ? curl_multi_add_handle(c->multi, e) : CURLM_OUT_OF_MEMORY;
    if (added != CURLM_OK) {
        tt_fail(err, TT_EIO, "cannot ask %s: %s", url, code != CURLE_OK ? curl_easy_strerror(code) : curl_multi_strerror(added));
        free_request(r);
        return NULL;
    }
    r->next = c->first;
    if (c->first) c->first->prev = r;
    c->first = r;
    return r;
}

void tt_httpc_cancel(tt_httpc_request *r) {
    curl_multi_remove_handle(r->c->multi, r->easy);
    unlink_request(r);
    free_request(r);
}
