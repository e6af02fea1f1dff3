#include "client.h"

#include <curl/curl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BODY_MAX = 64 << 20, LINE_MAX_BYTES = 16 << 20, ASK_WITHIN_S = 30, CONNECT_WITHIN_S = 5, SILENT_S = 60 };

void tt_client_init(tt_client *c, const char *server) {
    *c = (tt_client){.server = server ? server : "http://127.0.0.1:7070"};
    tt_buf_init(&c->body, BODY_MAX);
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

void tt_client_free(tt_client *c) {
    tt_buf_free(&c->body);
    curl_global_cleanup();
}

bool tt_client_segment(const char *text, char *buf, size_t size) {
    char *escaped = curl_easy_escape(NULL, text, 0);
    int n = escaped ? snprintf(buf, size, "%s", escaped) : -1;
    curl_free(escaped);
    return n >= 0 && (size_t)n < size;
}

static size_t take(char *p, size_t size, size_t n, void *ctx) {
    tt_client *c = ctx;
    tt_buf_put(&c->body, (tt_sv){p, size * n});
    return c->body.failed ? 0 : size * n;
}

/* problem+json to its sentence, with each error behind it. */
static void tell_problem(const tt_client *c) {
    if (c->quiet) return;
    json_t *root = json_loadb(c->body.p ? c->body.p : "", c->body.n, 0, NULL), *one;
    const char *detail = json_string_value(json_object_get(root, "detail")), *title = json_string_value(json_object_get(root, "title"));
    fprintf(stderr, "trimtab: %s\n", detail ? detail : title ? title : "the daemon refused without saying why");
    size_t i;
    json_array_foreach(json_object_get(root, "errors"), i, one) {
        const char *message = json_string_value(json_object_get(one, "message"));
        if (message && (!detail || strcmp(detail, message) != 0)) fprintf(stderr, "  %s\n", message);
    }
    if (!root) fprintf(stderr, "  HTTP status %ld from %s: is this the address of a trimtab?\n", c->status, c->server);
    json_decref(root);
}

static int unreachable(const tt_client *c, const char *why) {
    if (!c->quiet) fprintf(stderr, "trimtab: no daemon at %s: %s; start one with `trimtab serve`, or name another with --server\n", c->server, why);
    return TT_EXIT_UNREACHABLE;
}

static CURL *prepare(tt_client *c, const char *path, char *url, size_t size, char *error) {
    size_t n = strlen(c->server);
    while (n && c->server[n - 1] == '/') n--;
    snprintf(url, size, "%.*s%s", (int)n, c->server, path);
    CURL *e = curl_easy_init();
    if (!e) return NULL;
    c->status = 0;
    tt_buf_free(&c->body);
    error[0] = 0;
    curl_easy_setopt(e, CURLOPT_URL, url);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, error);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_PROXY, "");
    curl_easy_setopt(e, CURLOPT_USERAGENT, "trimtab/" TRIMTAB_VERSION);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_WITHIN_S);
    return e;
}

static int send_request(tt_client *c, const char *path, const char *method, const char *json) {
    char url[2048], error[CURL_ERROR_SIZE];
    CURL *e = prepare(c, path, url, sizeof url, error);
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    if (!e || !headers) {
        curl_easy_cleanup(e);
        curl_slist_free_all(headers);
        fprintf(stderr, "trimtab: out of memory\n");
        return TT_EXIT_FAILED;
    }
    curl_easy_setopt(e, CURLOPT_TIMEOUT, (long)ASK_WITHIN_S);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, c);
    if (json) {
        curl_easy_setopt(e, CURLOPT_HTTPHEADER, headers);
        curl_easy_setopt(e, CURLOPT_POSTFIELDS, json);
    }
    if (method) curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, method);
    CURLcode code = curl_easy_perform(e);
    curl_easy_getinfo(e, CURLINFO_RESPONSE_CODE, &c->status);
    curl_easy_cleanup(e);
    curl_slist_free_all(headers);
    if (code != CURLE_OK) return unreachable(c, *error ? error : curl_easy_strerror(code));
    if (c->status < 300) return TT_EXIT_OK;
    tell_problem(c);
    return TT_EXIT_FAILED;
}

int tt_client_call(tt_client *c, const char *path, const char *json) {
    return send_request(c, path, NULL, json);
}

int tt_client_delete(tt_client *c, const char *path) {
    return send_request(c, path, "DELETE", NULL);
}

/* ---- server-sent events ---- */

typedef struct {
    tt_client *c;
    CURL *e;
    tt_buf line, data;
    char kind[32];
    tt_client_event each;
    void *ctx;
    bool enough, too_long;
} stream;

static void take_line(stream *s) {
    tt_sv l = {s->line.p, s->line.n};
    if (l.n == 0) {
        if (s->data.n) s->enough = !s->each(s->ctx, s->kind, (tt_sv){s->data.p, s->data.n});
        s->data.n = 0;
        s->kind[0] = 0;
    } else if (l.n > 7 && memcmp(l.p, "event: ", 7) == 0) {
        snprintf(s->kind, sizeof s->kind, "%.*s", (int)(l.n - 7), l.p + 7);
    } else if (l.n > 6 && memcmp(l.p, "data: ", 6) == 0) {
        if (s->data.n) tt_buf_put(&s->data, TT_SV("\n"));
        tt_buf_put(&s->data, (tt_sv){l.p + 6, l.n - 6});
    }
    s->line.n = 0;
}

static size_t take_stream(char *p, size_t size, size_t n, void *ctx) {
    stream *s = ctx;
    size_t bytes = size * n, start = 0;
    long status = 0;
    curl_easy_getinfo(s->e, CURLINFO_RESPONSE_CODE, &status);
    if (status >= 300) return take(p, size, n, s->c); /* a problem document */
    for (size_t i = 0; i < bytes && !s->enough; i++) {
        if (p[i] != '\n') continue;
        tt_buf_put(&s->line, (tt_sv){p + start, i - start});
        start = i + 1;
        take_line(s);
    }
    if (start < bytes) tt_buf_put(&s->line, (tt_sv){p + start, bytes - start});
    s->too_long = s->line.failed || s->data.failed;
    return s->enough || s->too_long ? 0 : bytes;
}

int tt_client_events(tt_client *c, const char *path, tt_client_event each, void *ctx) {
    char url[2048], error[CURL_ERROR_SIZE];
    stream s = {.c = c, .each = each, .ctx = ctx};
    s.e = prepare(c, path, url, sizeof url, error);
    struct curl_slist *headers = curl_slist_append(NULL, "Accept: text/event-stream");
    if (!s.e || !headers) {
        curl_easy_cleanup(s.e);
        curl_slist_free_all(headers);
        fprintf(stderr, "trimtab: out of memory\n");
        return TT_EXIT_FAILED;
    }
    tt_buf_init(&s.line, LINE_MAX_BYTES);
    tt_buf_init(&s.data, LINE_MAX_BYTES);
    curl_easy_setopt(s.e, CURLOPT_HTTPHEADER, headers);
    /* A tick a second and heartbeats: a minute of silence is a dead peer. */
    curl_easy_setopt(s.e, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(s.e, CURLOPT_LOW_SPEED_TIME, (long)SILENT_S);
    curl_easy_setopt(s.e, CURLOPT_WRITEFUNCTION, take_stream);
    curl_easy_setopt(s.e, CURLOPT_WRITEDATA, &s);
    CURLcode code = curl_easy_perform(s.e);
    curl_easy_getinfo(s.e, CURLINFO_RESPONSE_CODE, &c->status);
    curl_easy_cleanup(s.e);
    curl_slist_free_all(headers);
    tt_buf_free(&s.line);
    tt_buf_free(&s.data);
    if (s.enough) return TT_EXIT_OK;
    if (c->status >= 300) {
        tell_problem(c);
        return TT_EXIT_FAILED;
    }
    return unreachable(c, s.too_long         ? "an event is too large"
                          : code == CURLE_OK ? "it ended the stream"
                          : *error           ? error
                                             : curl_easy_strerror(code));
}

json_t *tt_client_json(const tt_client *c) {
    json_t *root = json_loadb(c->body.p ? c->body.p : "", c->body.n, 0, NULL);
    if (!root && !c->quiet) fprintf(stderr, "trimtab: the answer of %s is not JSON: is this the address of a trimtab?\n", c->server);
    return root;
}
