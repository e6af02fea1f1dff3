/* Pins: actuators that people hold by hand, set, listed, let go. The engine keeps them; here they are only asked for. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "http/internal.h"

enum { ANSWER_MAX = 1 << 20 };

void tt_get_pins(tt_req *r) {
    tt_buf out;
    tt_buf_init(&out, ANSWER_MAX);
    const tt_rules *rules;
    tt_engine_pins_json(tt_app_lock(r->h->app, &rules), &out);
    tt_app_unlock(r->h->app);
    tt_reply_json(r, 200, &out);
}

/* ---- what is asked for ---- */

typedef struct {
    tt_err err;
    const char *pointer;
} problem;

static bool wrong(problem *p, const char *pointer, tt_code code, const char *text) {
    p->pointer = pointer;
    return tt_fail(&p->err, code, "%s", text);
}

static bool read_name(const json_t *o, const char *key, const char *pointer, char to[TT_NAME_MAX], problem *p) {
    const json_t *v = json_object_get(o, key);
    size_t n = json_string_length(v);
    if (!v || json_is_null(v)) return true;
    if (!json_is_string(v) || n == 0 || n >= TT_NAME_MAX || strlen(json_string_value(v)) != n)
        return wrong(p, pointer, TT_EVALUE, "it must be a name of 1 to 127 bytes");
    memcpy(to, json_string_value(v), n + 1);
    return true;
}

static bool read_shares(json_t *v, tt_pin_spec *spec, problem *p) {
    const char *dc;
    json_t *share;
    if (json_object_size(v) == 0 || json_object_size(v) > TT_DECISION_DCS_MAX)
        return wrong(p, "/value", TT_EVALUE, "weights are 1 to 16 data centers with their shares");
    json_object_foreach(v, dc, share) {
        if (!json_is_number(share) || strlen(dc) == 0 || strlen(dc) >= TT_NAME_MAX)
            return wrong(p, "/value", TT_EVALUE, "each share is a number from 0 to 1");
        snprintf(spec->dcs[spec->n_dcs], TT_NAME_MAX, "%s", dc);
        spec->shares[spec->n_dcs++] = json_number_value(share);
    }
    return true;
}

static bool read_value(const json_t *body, tt_pin_spec *spec, problem *p) {
    json_t *v = json_object_get(body, "value");
    if (!v) return wrong(p, "/value", TT_EMISSING, "a value is needed, or null: not in force, whatever loops want");
    spec->value = (double)NAN;
    if (json_is_null(v)) return true;
    if (spec->kind == TT_ACT_WEIGHTS) {
        spec->value = 0;
        return json_is_object(v) ? read_shares(v, spec, p) : wrong(p, "/value", TT_EVALUE, "weights are an object: {\"dc-a\": 0.3, \"dc-b\": 0.7}");
    }
    if (!json_is_number(v)) return wrong(p, "/value", TT_EVALUE, "the value must be a number or null");
    spec->value = json_number_value(v);
    return true;
}

static bool read_spec(const json_t *body, tt_pin_spec *spec, tt_sv *ret_reason, problem *p) {
    const json_t *target = json_object_get(body, "target"), *action = json_object_get(body, "action"), *for_ = json_object_get(body, "for");
    if (!json_is_object(target) || !json_object_get(target, "service"))
        return wrong(p, "/target", TT_EMISSING, "a target is needed: {\"service\": \"checkout\", \"dc\": \"dc-a\"}");
    if (!read_name(target, "service", "/target/service", spec->target.service, p) || !read_name(target, "dc", "/target/dc", spec->target.dc, p))
        return false;
    if (!json_is_string(action) || !tt_pin_kind(tt_sv_of(json_string_value(action)), &spec->kind))
        return wrong(p, "/action", TT_EUNKNOWN, "action is one of limit, drop, degrade, weights, eject, retry, timeout, hedge, isolate");
    if (!read_name(body, "name", "/name", spec->name, p)) return false;
    if (spec->name[0] && !tt_pin_named(spec->kind)) return wrong(p, "/name", TT_EVALUE, "this action has no name: leave it out");
    if (!read_value(body, spec, p)) return false;
    if (!json_is_string(for_) || !tt_parse_duration(tt_sv_of(json_string_value(for_)), &spec->for_ns))
        return wrong(p, "/for", json_is_string(for_) ? TT_EVALUE : TT_EMISSING, "how long is needed: \"for\": \"30m\", at most 7d");
    if (tt_check_reason(json_object_get(body, "reason"), ret_reason, &p->err)) return true;
    p->pointer = "/reason";
    return false;
}

/* Refused here already where it can be: the engine looks again when it sets it. */
static bool possible(tt_req *r, const tt_pin_spec *spec, problem *p) {
    const tt_rules *rules;
    bool ok = tt_engine_pin_check(tt_app_lock(r->h->app, &rules), spec, &p->err);
    tt_app_unlock(r->h->app);
    return ok;
}

static void hand_over(tt_req *r, const tt_command *cmd, bool with_id) {
    tt_err err = {0};
    if (!tt_app_command(r->h->app, cmd, &err)) {
        tt_reply_problem(r, 503, "%s", err.text[0] ? err.text : "too many commands wait: try again");
        return;
    }
    tt_buf out;
    tt_buf_init(&out, 256);
    tt_buf_put(&out, TT_SV("{\"accepted\":true"));
    if (with_id) tt_buf_printf(&out, ",\"id\":\"%s\"", cmd->loop);
    tt_buf_put(&out, TT_SV("}"));
    tt_reply_json(r, 202, &out);
}

void tt_post_pin(tt_req *r) {
    json_error_t je;
    problem p = {.pointer = NULL};
    tt_command cmd = {.kind = TT_CMD_PIN, .actor = TT_SV(TT_HTTP_ACTOR)};
    json_t *body = json_loadb(r->body.p ? r->body.p : "", r->body.n, JSON_REJECT_DUPLICATES, &je);
    if (!json_is_object(body)) {
        tt_fail(&p.err, TT_ESYNTAX, "%s", body ? "it is not an object" : je.text);
        if (!body && je.line > 0) p.err.line = (uint32_t)je.line, p.err.column = je.column > 0 ? (uint32_t)je.column : 0;
        tt_reply_errors(
            r, 400, &p.err, NULL, 1,
            "the body is not a JSON object: send {\"target\": {...}, \"action\": \"limit\", \"value\": 500, \"for\": \"30m\", \"reason\": \"why\"}");
    } else if (!read_spec(body, &cmd.pin, &cmd.reason, &p)) {
        tt_reply_errors(r, 422, &p.err, &p.pointer, 1, "the pin is not understood");
    } else if (!possible(r, &cmd.pin, &p)) {
        if (p.err.code == TT_ESTATE)
            tt_reply_problem(r, 409, "%s", p.err.text);
        else
            tt_reply_errors(r, 422, &p.err, NULL, 1, "the pin is refused: %s", p.err.text);
    } else {
        tt_new_id(tt_app_wall_ms(r->h->app), cmd.loop);
        hand_over(r, &cmd, true);
    }
    json_decref(body);
}

void tt_delete_pin(tt_req *r) {
    tt_buf text;
    tt_buf_init(&text, ANSWER_MAX);
    const tt_rules *rules;
    tt_engine_pins_json(tt_app_lock(r->h->app, &rules), &text);
    tt_app_unlock(r->h->app);
    json_t *all = text.failed ? NULL : json_loadb(text.p, text.n, 0, NULL);
    tt_buf_free(&text);
    bool found = false;
    size_t i;
    const json_t *one;
    json_array_foreach(json_object_get(all, "items"), i, one) {
        const char *id = json_string_value(json_object_get(one, "id"));
        found |= id && tt_sv_eq(tt_sv_of(id), r->id);
    }
    json_decref(all);
    if (!found) {
        tt_reply_problem(r, 404, "there is no pin %.*s: its time is over, or somebody let it go; GET /v1/pins lists those that stand",
                         TT_SV_ARG(r->id));
        return;
    }
    tt_command cmd = {.kind = TT_CMD_UNPIN, .actor = TT_SV(TT_HTTP_ACTOR), .reason = TT_SV("no reason given")};
    (void)tt_arg(r, "reason", &cmd.reason);
    if (cmd.reason.n > 500) cmd.reason.n = 500;
    snprintf(cmd.loop, sizeof cmd.loop, "%.*s", TT_SV_ARG(r->id));
    hand_over(r, &cmd, false);
}
