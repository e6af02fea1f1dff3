#include "client.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static void init(void) {
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

static void append(char **to, size_t *n, const char *p, size_t len) {
    char *grown = realloc(*to, *n + len + 1);
    assert_non_null(grown);
    memcpy(grown + *n, p, len);
    *n += len;
    grown[*n] = 0;
    *to = grown;
}

static size_t take_body(char *p, size_t size, size_t n, void *ctx) {
    reply *r = ctx;
    append(&r->body, &r->n_body, p, size * n);
    return size * n;
}

static size_t take_header(char *p, size_t size, size_t n, void *ctx) {
    reply *r = ctx;
    append(&r->headers, &r->n_headers, p, size * n);
    return size * n;
}

static CURL *prepare(const char *method, uint16_t port, const char *path, const char *headers, struct curl_slist **ret_list) {
    char url[2048];
    pthread_once(&once, init);
    CURL *c = curl_easy_init();
    assert_non_null(c);
    snprintf(url, sizeof url, "http://127.0.0.1:%u%s", port, path);
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L);
    if (strcmp(method, "HEAD") == 0)
        curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
    else
        curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, method);
    char copy[1024];
    snprintf(copy, sizeof copy, "%s", headers ? headers : "");
    *ret_list = NULL;
    for (char *save, *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) *ret_list = curl_slist_append(*ret_list, line);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, *ret_list);
    return c;
}

reply http(const char *method, uint16_t port, const char *path, const char *headers, const char *body, size_t n_body) {
    struct curl_slist *list;
    CURL *c = prepare(method, port, path, headers, &list);
    reply r = {0};
    append(&r.body, &r.n_body, "", 0);
    append(&r.headers, &r.n_headers, "", 0);
    curl_easy_setopt(c, CURLOPT_TIMEOUT, (long)CLIENT_PATIENCE_S);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, &r);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, &r);
    if (body) {
        curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)n_body);
        curl_easy_setopt(c, CURLOPT_POSTFIELDS, body);
    }
    (void)curl_easy_perform(c);
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &r.status);
    curl_easy_cleanup(c);
    curl_slist_free_all(list);
    return r;
}

reply get(uint16_t port, const char *path) {
    return http("GET", port, path, NULL, NULL, 0);
}
reply post(uint16_t port, const char *path, const char *json) {
    return http("POST", port, path, "Content-Type: application/json", json, strlen(json));
}

bool has_header(const reply *r, const char *line) {
    return strcasestr(r->headers, line) != NULL;
}

json_t *parsed(const reply *r) {
    json_error_t je;
    json_t *root = json_loadb(r->body, r->n_body, JSON_REJECT_DUPLICATES, &je);
    if (!root) fail_msg("not JSON: %s: %s", je.text, r->body);
    return root;
}

void forget(reply *r) {
    free(r->body);
    free(r->headers);
    *r = (reply){0};
}

struct later {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t moved;
    CURL *curl;
    struct curl_slist *list;
    reply got;
    bool ended, cancel;
};

static size_t take_later(char *p, size_t size, size_t n, void *ctx) {
    later *l = ctx;
    pthread_mutex_lock(&l->lock);
    append(&l->got.body, &l->got.n_body, p, size * n);
    pthread_cond_broadcast(&l->moved);
    pthread_mutex_unlock(&l->lock);
    return size * n;
}

static int progress(void *ctx, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d) {
    later *l = ctx;
    (void)a, (void)b, (void)c, (void)d;
    pthread_mutex_lock(&l->lock);
    bool stop = l->cancel;
    pthread_mutex_unlock(&l->lock);
    return stop;
}

static void *run(void *ctx) {
    later *l = ctx;
    (void)curl_easy_perform(l->curl);
    pthread_mutex_lock(&l->lock);
    curl_easy_getinfo(l->curl, CURLINFO_RESPONSE_CODE, &l->got.status);
    l->ended = true;
    pthread_cond_broadcast(&l->moved);
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

later *http_later(const char *method, uint16_t port, const char *path, const char *headers) {
    later *l = calloc(1, sizeof *l);
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->moved, NULL);
    append(&l->got.body, &l->got.n_body, "", 0);
    l->curl = prepare(method, port, path, headers, &l->list);
    curl_easy_setopt(l->curl, CURLOPT_WRITEFUNCTION, take_later);
    curl_easy_setopt(l->curl, CURLOPT_WRITEDATA, l);
    curl_easy_setopt(l->curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(l->curl, CURLOPT_XFERINFOFUNCTION, progress);
    curl_easy_setopt(l->curl, CURLOPT_XFERINFODATA, l);
    assert_int_equal(pthread_create(&l->thread, NULL, run, l), 0);
    return l;
}

bool later_has(later *l, const char *text) {
    pthread_mutex_lock(&l->lock);
    bool has = strstr(l->got.body, text) != NULL;
    pthread_mutex_unlock(&l->lock);
    return has;
}

void later_clear(later *l) {
    pthread_mutex_lock(&l->lock);
    l->got.n_body = 0;
    l->got.body[0] = 0;
    pthread_mutex_unlock(&l->lock);
}

size_t later_count(later *l, const char *text) {
    size_t n = 0;
    pthread_mutex_lock(&l->lock);
    for (const char *at = l->got.body; (at = strstr(at, text)); at++) n++;
    pthread_mutex_unlock(&l->lock);
    return n;
}

static struct timespec patience(void) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += CLIENT_PATIENCE_S;
    return until;
}

bool later_wait(later *l, const char *text) {
    struct timespec until = patience();
    pthread_mutex_lock(&l->lock);
    while (!strstr(l->got.body, text) && !l->ended && pthread_cond_timedwait(&l->moved, &l->lock, &until) == 0) {
    }
    bool has = strstr(l->got.body, text) != NULL;
    pthread_mutex_unlock(&l->lock);
    return has;
}

bool later_ended(later *l) {
    struct timespec until = patience();
    pthread_mutex_lock(&l->lock);
    while (!l->ended && pthread_cond_timedwait(&l->moved, &l->lock, &until) == 0) {
    }
    bool ended = l->ended;
    pthread_mutex_unlock(&l->lock);
    return ended;
}

reply later_finish(later *l) {
    if (!later_ended(l)) {
        pthread_mutex_lock(&l->lock);
        l->cancel = true;
        pthread_mutex_unlock(&l->lock);
    }
    pthread_join(l->thread, NULL);
    reply r = l->got;
    curl_easy_cleanup(l->curl);
    curl_slist_free_all(l->list);
    free(l);
    return r;
}

void later_cancel(later *l) {
    pthread_mutex_lock(&l->lock);
    l->cancel = true;
    pthread_mutex_unlock(&l->lock);
    reply r = later_finish(l);
    forget(&r);
}

bool metric_becomes(uint16_t port, const char *line) {
    time_t until = time(NULL) + CLIENT_PATIENCE_S;
    char whole[256];
    snprintf(whole, sizeof whole, "\n%s\n", line);
    do {
        reply r = get(port, "/metrics");
        bool there = strstr(r.body, whole) != NULL;
        forget(&r);
        if (there) return true;
    } while (time(NULL) < until);
    return false;
}
