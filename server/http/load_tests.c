/* Load tests: what one would do, one begun, looked at, ended. The engine runs them; here they are only asked for. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/internal.h"

enum { ANSWER_MAX = 1 << 20, PROBLEMS_MAX = 8 };

void tt_get_load_tests(tt_req *r) {
    tt_buf out;
    tt_buf_init(&out, ANSWER_MAX);
    const tt_rules *rules;
    tt_engine_load_tests_json(tt_app_lock(r->h->app, &rules), &out);
    tt_app_unlock(r->h->app);
    tt_reply_json(r, 200, &out);
}

/* The test's document. false: answered. */
static bool find(tt_req *r, tt_buf *out) {
    const tt_rules *rules;
    tt_buf_init(out, ANSWER_MAX);
    bool found = tt_engine_load_test_json(tt_app_lock(r->h->app, &rules), r->id, out);
    tt_app_unlock(r->h->app);
    if (found) return true;
    tt_buf_free(out);
    tt_reply_problem(r, 404, "there is no load test %.*s: it has not begun yet, or is too long ago; GET /v1/load-tests lists those there are", TT_SV_ARG(r->id));
    return false;
}

void tt_get_load_test(tt_req *r) {
    tt_buf out;
    if (find(r, &out)) tt_reply_json(r, 200, &out);
}

/* ---- what is asked for ---- */

typedef struct {
    tt_err err[PROBLEMS_MAX];
    const char *pointer[PROBLEMS_MAX];
    size_t n;
} problems;

static tt_err *problem(problems *p, const char *pointer) {
    if (p->n == PROBLEMS_MAX) return NULL;
    p->err[p->n] = (tt_err){0};
    p->pointer[p->n] = pointer;
    return &p->err[p->n++];
}

static void read_name(const json_t *body, const char *key, const char *pointer, bool required, char to[TT_NAME_MAX], problems *p) {
    const json_t *v = json_object_get(body, key);
    if (!v && !required) return;
    size_t n = json_string_length(v);
    if (!v)
        tt_fail(problem(p, pointer), TT_EMISSING, "%s is needed", key);
    else if (!json_is_string(v) || n == 0 || n >= TT_NAME_MAX)
        tt_fail(problem(p, pointer), TT_EVALUE, "%s must be a name of 1 to %d bytes", key, TT_NAME_MAX - 1);
    else
        memcpy(to, json_string_value(v), n + 1);
}

static void read_number(const json_t *body, const char *key, const char *pointer, double min, double max, double *ret, problems *p) {
    const json_t *v = json_object_get(body, key);
    if (!v) return;
    double x = json_number_value(v);
    if (json_is_number(v) && x >= min && x <= max)
        *ret = x;
    else
        tt_fail(problem(p, pointer), TT_EVALUE, "%s must be a number from %g to %g", key, min, max);
}

static bool read_spec(tt_req *r, json_t **ret_body, tt_load_test_spec *spec, bool *ret_dry, tt_sv *ret_reason) {
    json_error_t je;
    problems p = {.n = 0};
    *ret_body = json_loadb(r->body.p ? r->body.p : "", r->body.n, JSON_REJECT_DUPLICATES, &je);
    if (!json_is_object(*ret_body)) {
        tt_err err = {0};
        tt_fail(&err, TT_ESYNTAX, "%s", *ret_body ? "it is not an object" : je.text);
        err.line = !*ret_body && je.line > 0 ? (uint32_t)je.line : 0;
        err.column = !*ret_body && je.column > 0 ? (uint32_t)je.column : 0;
        tt_reply_errors(r, 400, &err, NULL, 1, "the body is not a JSON object: send {\"service\": \"checkout\", \"reason\": \"why\"}");
        return false;
    }
    double hold_ms;
    const json_t *dry = json_object_get(*ret_body, "dry_run");
    tt_load_test_spec_default(spec);
    hold_ms = (double)spec->hold_ns / 1e6;
    read_name(*ret_body, "service", "/service", true, spec->service, &p);
    read_name(*ret_body, "dc", "/dc", false, spec->dc, &p);
    read_number(*ret_body, "step", "/step", 0.005, 0.25, &spec->step, &p);
    read_number(*ret_body, "max", "/max", 0.005, 0.9, &spec->max, &p);
    read_number(*ret_body, "hold_ms", "/hold_ms", 5000, 600000, &hold_ms, &p);
    spec->hold_ns = (int64_t)(hold_ms * 1e6);
    if (dry && !json_is_boolean(dry)) tt_fail(problem(&p, "/dry_run"), TT_EVALUE, "dry_run must be true or false");
    *ret_dry = json_is_true(dry);
    tt_err reason = {0};
    if (!*ret_dry && !tt_check_reason(json_object_get(*ret_body, "reason"), ret_reason, &reason)) {
        tt_err *e = problem(&p, "/reason");
        if (e) *e = reason;
    }
    if (p.n) tt_reply_errors(r, 422, p.err, p.pointer, p.n, "the load test is not understood: %zu problem%s", p.n, p.n == 1 ? "" : "s");
    return p.n == 0;
}

static const char *text_of(const json_t *o, const char *key) {
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

/* Refused here already where it can be: the engine looks again when it begins. */
static void begin(tt_req *r, const tt_load_test_spec *spec, tt_sv reason, const json_t *plan) {
    if (!json_is_true(json_object_get(plan, "possible"))) {
        tt_reply_problem(r, 409, "the load test is not begun: %s", text_of(plan, "why_not"));
        return;
    }
    tt_command cmd = {.kind = TT_CMD_LOAD_TEST, .actor = TT_SV(TT_HTTP_ACTOR), .reason = reason, .test = *spec};
    snprintf(cmd.test.dc, sizeof cmd.test.dc, "%s", text_of(plan, "dc"));
    tt_new_id(tt_app_wall_ms(r->h->app), cmd.loop);
    tt_err err = {0};
    if (!tt_app_command(r->h->app, &cmd, &err)) {
        tt_reply_problem(r, 503, "%s", err.text[0] ? err.text : "too many commands wait: try again");
        return;
    }
    tt_buf out;
    char location[64];
    tt_buf_init(&out, 256);
    tt_buf_printf(&out, "{\"accepted\":true,\"id\":\"%s\"}", cmd.loop);
    tt_reply_json(r, 202, &out);
    snprintf(location, sizeof location, "/v1/load-tests/%s", cmd.loop);
    tt_reply_header(r, "Location", location);
}

void tt_post_load_test(tt_req *r) {
    json_t *body = NULL;
    tt_load_test_spec spec = {0};
    bool dry = false;
    tt_sv reason = {0};
    if (read_spec(r, &body, &spec, &dry, &reason)) {
        tt_buf text;
        tt_buf_init(&text, ANSWER_MAX);
        const tt_rules *rules;
        (void)tt_engine_load_test_plan_json(tt_app_lock(r->h->app, &rules), &spec, &text);
        tt_app_unlock(r->h->app);
        json_t *plan = text.failed ? NULL : json_loadb(text.p, text.n, 0, NULL);
        if (!plan)
            tt_reply_problem(r, 500, "out of memory");
        else if (dry)
            tt_reply_json(r, 200, &text);
        else
            begin(r, &spec, reason, plan);
        if (!dry || !plan) tt_buf_free(&text);
        json_decref(plan);
    }
    json_decref(body);
}

void tt_delete_load_test(tt_req *r) {
    tt_buf text;
    if (!find(r, &text)) return;
    json_t *test = json_loadb(text.p, text.n, 0, NULL);
    tt_buf_free(&text);
    bool over = strcmp(text_of(test, "phase"), "over") == 0;
    if (over) tt_reply_problem(r, 409, "load test %.*s is over: %s", TT_SV_ARG(r->id), text_of(test, "why"));
    json_decref(test);
    if (over) return;
    tt_sv reason = TT_SV("no reason given");
    (void)tt_arg(r, "reason", &reason);
    if (reason.n > 500) reason.n = 500;
    tt_command cmd = {.kind = TT_CMD_LOAD_TEST_ABORT, .actor = TT_SV(TT_HTTP_ACTOR), .reason = reason};
    snprintf(cmd.loop, sizeof cmd.loop, "%.*s", TT_SV_ARG(r->id));
    tt_err err = {0};
    if (!tt_app_command(r->h->app, &cmd, &err)) {
        tt_reply_problem(r, 503, "%s", err.text[0] ? err.text : "too many commands wait: try again");
        return;
    }
    tt_buf out;
    tt_buf_init(&out, 64);
    tt_buf_put(&out, TT_SV("{\"accepted\":true}"));
    tt_reply_json(r, 202, &out);
}
