/* POST: what people, agents and scripts tell us. */
#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/internal.h"

enum { REASON_MAX = 500, RELOAD_ERRS = 32 };

void tt_post_report(tt_req *r) {
    tt_err err = {0};
    if (tt_board_report(r->h->board, (tt_sv){r->body.p ? r->body.p : "", r->body.n}, (tt_time){tt_now_ns()}, &err)) {
        tt_reply_empty(r, 204);
        return;
    }
    unsigned status = err.code == TT_ESYNTAX ? 400 : err.code == TT_ENOMEM || err.code == TT_ELIMIT ? 503 : 422;
    tt_reply_errors(r, status, &err, NULL, 1, "the load report was not taken");
}

void tt_new_id(int64_t now_ms, char to[TT_ULID_SIZE]) {
    static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    unsigned char noise[16];
    randombytes_buf(noise, sizeof noise);
    uint64_t ms = (uint64_t)now_ms & 0xffffffffffffu;
    for (int i = 9; i >= 0; i--, ms >>= 5) to[i] = digits[ms & 31];
    for (int i = 0; i < 16; i++) to[10 + i] = digits[noise[i] & 31];
    to[26] = 0;
}

bool tt_check_reason(const struct json_t *reason, tt_sv *ret, tt_err *err) {
    tt_sv text = {json_string_value(reason), json_string_length(reason)};
    size_t blank = 0;
    while (blank < text.n && (unsigned char)text.p[blank] <= ' ') blank++;
    if (!reason) return tt_fail(err, TT_EMISSING, "a reason is needed: it is kept in the journal");
    if (!json_is_string(reason) || blank == text.n) return tt_fail(err, TT_EVALUE, "the reason must be text, and not blank");
    if (text.n > REASON_MAX) return tt_fail(err, TT_ELIMIT, "the reason has %zu bytes: at most %d are kept", text.n, REASON_MAX);
    *ret = text;
    return true;
}

/* The reason, which the journal keeps. NULL: answered. */
static json_t *read_reason(tt_req *r, tt_sv *ret) {
    json_error_t je;
    tt_err err = {0};
    const char *pointer = "/reason";
    json_t *body = json_loadb(r->body.p ? r->body.p : "", r->body.n, JSON_REJECT_DUPLICATES, &je);
    if (!body) {
        tt_fail(&err, TT_ESYNTAX, "%s", je.text);
        err.line = je.line > 0 ? (uint32_t)je.line : 0;
        err.column = je.column > 0 ? (uint32_t)je.column : 0;
        tt_reply_errors(r, 400, &err, NULL, 1, "the body is not JSON: send {\"reason\": \"why\"}");
        return NULL;
    }
    if (tt_check_reason(json_object_get(body, "reason"), ret, &err)) return body;
    tt_reply_errors(r, 422, &err, &pointer, 1, "say why: send {\"reason\": \"why\"}");
    json_decref(body);
    return NULL;
}

/* Whether the loop allows it now is the engine's word: it is in its document. */
static bool loop_allows(tt_req *r, const char *verb) {
    tt_buf text;
    tt_buf_init(&text, 64 << 20);
    const tt_rules *rules;
    tt_engine *e = tt_app_lock(r->h->app, &rules);
    bool found = tt_engine_loop_json(e, r->id, &text);
    tt_app_unlock(r->h->app);
    json_t *loop = found && !text.failed ? json_loadb(text.p, text.n, 0, NULL) : NULL;
    tt_buf_free(&text);
    if (!found) {
        tt_reply_problem(r, 404, "there is no loop %.*s: GET /v1/loops?state=all lists those there are", TT_SV_ARG(r->id));
        return false;
    }
    if (!loop) {
        tt_reply_problem(r, 500, "loop %.*s could not be read", TT_SV_ARG(r->id));
        return false;
    }
    bool allowed = false;
    char list[128] = "";
    size_t i;
    const json_t *one;
    json_array_foreach(json_object_get(loop, "allowed"), i, one) {
        const char *name = json_string_value(one);
        if (!name) continue;
        allowed |= strcmp(name, verb) == 0;
        size_t n = strlen(list);
        snprintf(list + n, sizeof list - n, "%s%s", n ? ", " : "", name);
    }
    if (!allowed) {
        const char *phase = json_string_value(json_object_get(loop, "phase"));
        tt_reply_problem(r, 409, "loop %.*s is %s: %s is not possible now%s%s", TT_SV_ARG(r->id), phase ? phase : "in an unknown phase", verb,
                         list[0] ? "; possible: " : "", list);
    }
    json_decref(loop);
    return allowed;
}

void tt_post_command(tt_req *r) {
    tt_command_kind kind = (tt_command_kind)tt_req_route(r)->arg;
    tt_command cmd = {.kind = kind, .actor = TT_SV(TT_HTTP_ACTOR)};
    json_t *body = read_reason(r, &cmd.reason);
    if (!body) return;
    bool of_loop = kind == TT_CMD_ABORT || kind == TT_CMD_APPROVE || kind == TT_CMD_REFUSE;
    const char *verb = kind == TT_CMD_ABORT ? "abort" : kind == TT_CMD_APPROVE ? "approve" : "refuse";
    snprintf(cmd.loop, sizeof cmd.loop, "%.*s", TT_SV_ARG(r->id));
    if (!of_loop || loop_allows(r, verb)) {
        tt_err err = {0};
        if (tt_app_command(r->h->app, &cmd, &err)) {
            tt_buf out;
            tt_buf_init(&out, 64);
            tt_buf_put(&out, TT_SV("{\"accepted\":true}"));
            tt_reply_json(r, 202, &out);
        } else {
            tt_reply_problem(r, 503, "%s", err.text[0] ? err.text : "too many commands wait: try again");
        }
    }
    json_decref(body);
}

void tt_post_reload(tt_req *r) {
    tt_err *errs = calloc(RELOAD_ERRS, sizeof *errs);
    if (!errs) return;
    size_t n = 0;
    if (tt_app_reload(r->h->app, errs, RELOAD_ERRS, &n)) {
        tt_buf out;
        tt_buf_init(&out, 64);
        tt_buf_put(&out, TT_SV("{\"reloaded\":true}"));
        tt_reply_json(r, 200, &out);
    } else {
        if (n > RELOAD_ERRS) n = RELOAD_ERRS;
        tt_reply_errors(r, 422, errs, NULL, n, "the new rules were refused and the running ones stay: %zu %s", n, n == 1 ? "problem" : "problems");
    }
    free(errs);
}
