#include "trimtab_like.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { QUERIES_MAX = 512, ANSWERS_MAX = 64, REPORT_MAX = 8192 };

typedef struct {
    unsigned status;
    char *body;
} answer;

struct tt_like {
    struct MHD_Daemon *daemon;
    char url[64];
    uint16_t port;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool stopping;
    answer answers[ANSWERS_MAX];
    unsigned n_answers, next_answer, n_queries, n_reports;
    char *queries[QUERIES_MAX], *again;
    char last_report[REPORT_MAX];
};

typedef struct {
    char body[REPORT_MAX];
    size_t n;
} upload;

static struct timespec in_ms(int64_t ms) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    int64_t ns = ts.tv_nsec + ms * 1000000;
    return (struct timespec){ts.tv_sec + ns / 1000000000, ns % 1000000000};
}

static enum MHD_Result add_argument(void *ctx, enum MHD_ValueKind kind, const char *key, const char *value) {
    char *line = ctx;
    (void)kind;
    size_t n = strlen(line);
    snprintf(line + n, 1024 - n, "%s%s=%s", n ? "&" : "", key, value ? value : "");
    return MHD_YES;
}

static enum MHD_Result reply(struct MHD_Connection *c, unsigned status, const char *body) {
    struct MHD_Response *r = MHD_create_response_from_buffer(strlen(body), (void *)(uintptr_t)body, MHD_RESPMEM_MUST_COPY);
    enum MHD_Result result = MHD_queue_response(c, status, r);
    MHD_destroy_response(r);
    return result;
}

static enum MHD_Result on_query(tt_like *s, struct MHD_Connection *c) {
    char line[1024] = "";
    MHD_get_connection_values(c, MHD_GET_ARGUMENT_KIND, add_argument, line);
    const char *wait = MHD_lookup_connection_value(c, MHD_GET_ARGUMENT_KIND, "wait");
    struct timespec until = in_ms(wait ? strtol(wait, NULL, 10) : 1000);
    pthread_mutex_lock(&s->lock);
    if (s->n_queries < QUERIES_MAX) s->queries[s->n_queries] = strdup(line);
    s->n_queries++;
    pthread_cond_broadcast(&s->changed);
    bool in_time = true;
    while (!s->stopping && s->next_answer == s->n_answers && in_time) in_time = pthread_cond_timedwait(&s->changed, &s->lock, &until) == 0;
    answer a = {503, NULL};
    if (s->next_answer < s->n_answers)
        a = s->answers[s->next_answer++];
    else if (!s->stopping && s->again)
        a = (answer){200, s->again};
    char *body = strdup(a.body ? a.body : "");
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    enum MHD_Result result = reply(c, a.status, body);
    free(body);
    return result;
}

static enum MHD_Result on_report(tt_like *s, struct MHD_Connection *c, upload *u, const char *data, size_t *size) {
    if (*size) {
        size_t n = *size < sizeof u->body - 1 - u->n ? *size : sizeof u->body - 1 - u->n;
        memcpy(u->body + u->n, data, n);
        u->n += n;
        *size = 0;
        return MHD_YES;
    }
    pthread_mutex_lock(&s->lock);
    snprintf(s->last_report, sizeof s->last_report, "%s", u->body);
    s->n_reports++;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    return reply(c, MHD_HTTP_NO_CONTENT, "");
}

static enum MHD_Result on_request(void *ctx, struct MHD_Connection *c, const char *url, const char *method, const char *version, const char *data,
                                  size_t *size, void **state) {
    (void)version;
    if (!*state) {
        *state = calloc(1, sizeof(upload));
        return *state ? MHD_YES : MHD_NO;
    }
    if (strcmp(method, "POST") == 0 && strcmp(url, "/v1/reports") == 0) return on_report(ctx, c, *state, data, size);
    if (strcmp(method, "GET") == 0 && strcmp(url, "/v1/decisions") == 0) return on_query(ctx, c);
    return reply(c, MHD_HTTP_NOT_FOUND, "no such thing");
}

static void on_end(void *ctx, struct MHD_Connection *c, void **state, enum MHD_RequestTerminationCode why) {
    (void)ctx;
    (void)c;
    (void)why;
    free(*state);
}

tt_like *like_start(uint16_t port) {
    tt_like *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    s->daemon = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL, port, NULL, NULL, on_request, s,
                                 MHD_OPTION_SOCK_ADDR, &at, MHD_OPTION_LISTENING_ADDRESS_REUSE, 1u, MHD_OPTION_NOTIFY_COMPLETED, on_end, NULL,
                                 MHD_OPTION_END);
    if (!s->daemon) {
        free(s);
        return NULL;
    }
    s->port = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_BIND_PORT)->port;
    snprintf(s->url, sizeof s->url, "http://127.0.0.1:%u", s->port);
    return s;
}

void like_stop(tt_like *s) {
    if (!s) return;
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    MHD_stop_daemon(s->daemon);
    for (unsigned i = 0; i < s->n_queries && i < QUERIES_MAX; i++) free(s->queries[i]);
    for (unsigned i = 0; i < s->n_answers; i++) free(s->answers[i].body);
    free(s->again);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

const char *like_url(const tt_like *s) {
    return s->url;
}
uint16_t like_port(const tt_like *s) {
    return s->port;
}

void like_answer(tt_like *s, unsigned status, const char *body) {
    pthread_mutex_lock(&s->lock);
    if (s->n_answers < ANSWERS_MAX) s->answers[s->n_answers++] = (answer){status, strdup(body)};
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

void like_answer_again(tt_like *s, const char *body) {
    pthread_mutex_lock(&s->lock);
    free(s->again);
    s->again = body ? strdup(body) : NULL;
    pthread_mutex_unlock(&s->lock);
}

static bool reached(tt_like *s, const unsigned *what, unsigned n) {
    struct timespec until = in_ms(10000);
    pthread_mutex_lock(&s->lock);
    while (*what < n && pthread_cond_timedwait(&s->changed, &s->lock, &until) == 0) {
    }
    bool yes = *what >= n;
    pthread_mutex_unlock(&s->lock);
    return yes;
}

bool like_saw_queries(tt_like *s, unsigned n) {
    return reached(s, &s->n_queries, n);
}
bool like_saw_reports(tt_like *s, unsigned n) {
    return reached(s, &s->n_reports, n);
}

bool like_saw_report_with(tt_like *s, const char *part, char *ret, size_t size) {
    struct timespec until = in_ms(10000);
    pthread_mutex_lock(&s->lock);
    bool in_time = true, found = false;
    for (unsigned seen = s->n_reports; !found && in_time;) {
        while (s->n_reports == seen && in_time) in_time = pthread_cond_timedwait(&s->changed, &s->lock, &until) == 0;
        seen = s->n_reports;
        found = in_time && strstr(s->last_report, part) != NULL;
    }
    if (ret) snprintf(ret, size, "%s", s->last_report);
    pthread_mutex_unlock(&s->lock);
    return found;
}

static unsigned count(tt_like *s, const unsigned *what) {
    pthread_mutex_lock(&s->lock);
    unsigned n = *what;
    pthread_mutex_unlock(&s->lock);
    return n;
}

const char *like_query(tt_like *s, unsigned i) {
    pthread_mutex_lock(&s->lock);
    const char *q = i < s->n_queries && i < QUERIES_MAX ? s->queries[i] : "";
    pthread_mutex_unlock(&s->lock);
    return q;
}
unsigned like_queries(tt_like *s) {
    return count(s, &s->n_queries);
}
unsigned like_reports(tt_like *s) {
    return count(s, &s->n_reports);
}
