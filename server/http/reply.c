/* Answers: JSON, text, and RFC 9457 problems. Every one of them forbids caching and content sniffing; assets lift the first. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/internal.h"

static void set(tt_req *r, unsigned status, struct MHD_Response *response, const char *type) {
    if (r->response) {
        if (response) MHD_destroy_response(response);
        return;
    }
    if (!response) return; /* memory is out: tt_reply_send closes the connection */
    r->response = response;
    r->status = status;
    if (type) MHD_add_response_header(response, "Content-Type", type);
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(response, "Cache-Control", "no-store");
}

static struct MHD_Response *from_buf(tt_buf *take) {
    if (take->failed || !take->p) {
        tt_buf_free(take);
        return NULL;
    }
    char *p = take->p;
    size_t n = take->n;
    take->p = NULL;
    take->n = take->cap = 0;
    struct MHD_Response *response = MHD_create_response_from_buffer_with_free_callback(n, p, free);
    if (!response) free(p);
    return response;
}

struct MHD_Response *tt_response_json(tt_buf *take) {
    struct MHD_Response *response = from_buf(take);
    if (!response) return NULL;
    MHD_add_response_header(response, "Content-Type", "application/json");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(response, "Cache-Control", "no-store");
    return response;
}

void tt_reply_json(tt_req *r, unsigned status, tt_buf *take) {
    bool too_large = take->failed;
    struct MHD_Response *response = from_buf(take);
    if (response)
        set(r, status, response, "application/json");
    else
        tt_reply_problem(r, 500,
                         too_large ? "the answer outgrew its ceiling or memory is out: ask for less with limit=" : "there was nothing to answer");
}

void tt_reply_text(tt_req *r, unsigned status, const char *type, tt_sv text) {
    set(r, status, MHD_create_response_from_buffer(text.n, (void *)(uintptr_t)text.p, MHD_RESPMEM_MUST_COPY), type);
}

void tt_reply_static(tt_req *r, const char *type, tt_sv forever) {
    set(r, 200, MHD_create_response_from_buffer(forever.n, (void *)(uintptr_t)forever.p, MHD_RESPMEM_PERSISTENT), type);
}

void tt_reply_empty(tt_req *r, unsigned status) {
    set(r, status, MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT), NULL);
}

void tt_reply_header(tt_req *r, const char *name, const char *value) {
    if (r->response) MHD_add_response_header(r->response, name, value);
}

static const char *title_of(unsigned status) {
    switch (status) {
    case 400:
        return "Bad request";
    case 403:
        return "Forbidden";
    case 404:
        return "Not found";
    case 405:
        return "Method not allowed";
    case 409:
        return "Conflict";
    case 413:
        return "Content too large";
    case 415:
        return "Unsupported media type";
    case 422:
        return "Unprocessable content";
    case 503:
        return "Service unavailable";
    default:
        return "Internal error";
    }
}

static void error_json(const tt_err *e, const char *pointer, tt_buf *out) {
    tt_buf_put(out, TT_SV("{\"pointer\":"));
    if (pointer)
        tt_buf_json_string(out, tt_sv_of(pointer));
    else
        tt_buf_put(out, TT_SV("null"));
    tt_buf_put(out, TT_SV(",\"message\":"));
    tt_buf_json_string(out, tt_sv_of(e->text));
    tt_buf_put(out, TT_SV(",\"file\":"));
    if (e->file[0])
        tt_buf_json_string(out, tt_sv_of(e->file));
    else
        tt_buf_put(out, TT_SV("null"));
    if (e->line)
        tt_buf_printf(out, ",\"line\":%u,\"column\":%u}", e->line, e->column);
    else
        tt_buf_put(out, TT_SV(",\"line\":null,\"column\":null}"));
}

static void problem(tt_req *r, unsigned status, const tt_err errs[], const char *const pointers[], size_t n, const char *detail) {
    tt_buf out;
    tt_buf_init(&out, 256 << 10);
    tt_buf_printf(&out, "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%u,\"detail\":", title_of(status), status);
    tt_buf_json_string(&out, tt_sv_of(detail));
    if (n) {
        tt_buf_put(&out, TT_SV(",\"errors\":["));
        for (size_t i = 0; i < n; i++) {
            if (i) tt_buf_put(&out, TT_SV(","));
            error_json(&errs[i], pointers ? pointers[i] : NULL, &out);
        }
        tt_buf_put(&out, TT_SV("]"));
    }
    tt_buf_put(&out, TT_SV("}"));
    set(r, status, from_buf(&out), "application/problem+json");
}

void tt_reply_problem(tt_req *r, unsigned status, const char *fmt, ...) {
    char detail[768];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(detail, sizeof detail, fmt, ap);
    va_end(ap);
    problem(r, status, NULL, NULL, 0, detail);
}

void tt_reply_errors(tt_req *r, unsigned status, const tt_err errs[], const char *const pointers[], size_t n, const char *fmt, ...) {
    char detail[768];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(detail, sizeof detail, fmt, ap);
    va_end(ap);
    problem(r, status, errs, pointers, n, detail);
}

enum MHD_Result tt_reply_send(tt_req *r) {
    if (!r->response) return MHD_NO;
    unsigned class = r->status / 100 - 1;
    atomic_fetch_add(&r->h->requests[r->route < 0 ? ROUTES_MAX : r->route][class < 5 ? class : 4], 1);
    return MHD_queue_response(r->conn, r->status, r->response);
}

bool tt_arg(const tt_req *r, const char *name, tt_sv *ret) {
    for (size_t i = 0; i < r->n_args; i++)
        if (tt_sv_eq(r->args[i].name, tt_sv_of(name))) {
            *ret = r->args[i].value;
            return true;
        }
    return false;
}

bool tt_arg_u64(tt_req *r, const char *name, uint64_t min, uint64_t max, uint64_t *ret) {
    tt_sv text;
    if (!tt_arg(r, name, &text)) return true;
    uint64_t value = 0;
    bool ok = text.n > 0 && text.n < 20; /* 19 digits always fit */
    for (size_t i = 0; ok && i < text.n; i++) {
        ok = text.p[i] >= '0' && text.p[i] <= '9';
        value = value * 10 + (uint64_t)(text.p[i] - '0');
    }
    if (!ok || value < min || value > max) {
        tt_reply_problem(r, 400, "%s=%.*s: a whole number from %llu to %llu is needed", name, (int)(text.n < 40 ? text.n : 40), text.p,
                         (unsigned long long)min, (unsigned long long)max);
        return false;
    }
    *ret = value;
    return true;
}
