#include "decision.h"

#include <string.h>

bool tt_target_eq(const tt_target *a, const tt_target *b) {
    return strcmp(a->service, b->service) == 0 && strcmp(a->dc, b->dc) == 0 && strcmp(a->instance, b->instance) == 0;
}

void tt_target_json(const tt_target *t, tt_buf *out) {
    tt_buf_put(out, TT_SV("{"));
    if (t->service[0]) {
        tt_buf_put(out, TT_SV("\"service\":"));
        tt_buf_json_string(out, tt_sv_of(t->service));
    }
    if (t->dc[0]) {
        tt_buf_put(out, t->service[0] ? TT_SV(",\"dc\":") : TT_SV("\"dc\":"));
        tt_buf_json_string(out, tt_sv_of(t->dc));
    }
    if (t->instance[0]) {
        tt_buf_put(out, TT_SV(",\"instance\":"));
        tt_buf_json_string(out, tt_sv_of(t->instance));
    }
    tt_buf_put(out, TT_SV("}"));
}

static void act_json(const tt_decision *d, const tt_act *a, tt_buf *out) {
    switch (a->kind) {
    case TT_ACT_LIMIT:
    case TT_ACT_CONCURRENCY:
        tt_buf_printf(out, "{\"action\":\"limit\",\"%s\":", a->kind == TT_ACT_LIMIT ? "rps" : "concurrency");
        tt_buf_number(out, a->value);
        tt_buf_put(out, TT_SV(",\"keep\":["));
        for (uint32_t i = 0; i < d->n_names; i++) {
            if (i) tt_buf_put(out, TT_SV(","));
            tt_buf_json_string(out, tt_sv_of(d->names[i]));
        }
        tt_buf_put(out, TT_SV("]}"));
        return;
    case TT_ACT_DROP:
        tt_buf_put(out, TT_SV("{\"action\":\"drop\",\"priority\":"));
        tt_buf_json_string(out, tt_sv_of(a->name));
        tt_buf_put(out, TT_SV(",\"ratio\":"));
        tt_buf_number(out, a->value);
        tt_buf_put(out, TT_SV("}"));
        return;
    case TT_ACT_DEGRADE:
        tt_buf_put(out, TT_SV("{\"action\":\"degrade\",\"feature\":"));
        tt_buf_json_string(out, tt_sv_of(a->name));
        tt_buf_put(out, TT_SV(",\"level\":"));
        tt_buf_number(out, a->value);
        tt_buf_put(out, TT_SV(",\"probe_ratio\":"));
        tt_buf_number(out, a->probe_ratio);
        tt_buf_put(out, TT_SV("}"));
        return;
    case TT_ACT_WEIGHTS:
        tt_buf_put(out, TT_SV("{\"action\":\"weights\",\"dcs\":{"));
        for (uint32_t i = 0; i < d->n_names; i++) {
            if (i) tt_buf_put(out, TT_SV(","));
            tt_buf_json_string(out, tt_sv_of(d->names[i]));
            tt_buf_put(out, TT_SV(":"));
            tt_buf_number(out, d->shares[i]);
        }
        tt_buf_put(out, TT_SV("}}"));
        return;
    case TT_ACT_EJECT:
        tt_buf_put(out, TT_SV("{\"action\":\"eject\",\"instance\":"));
        tt_buf_json_string(out, tt_sv_of(a->name));
        tt_buf_put(out, TT_SV("}"));
        return;
    case TT_ACT_RETRY:
        tt_buf_put(out, TT_SV("{\"action\":\"retry\",\"budget\":"));
        tt_buf_number(out, a->value);
        tt_buf_put(out, TT_SV("}"));
        return;
    case TT_ACT_TIMEOUT:
        tt_buf_put(out, TT_SV("{\"action\":\"timeout\",\"ms\":"));
        tt_buf_number(out, a->value);
        tt_buf_put(out, TT_SV("}"));
        return;
    case TT_ACT_HEDGE: tt_buf_printf(out, "{\"action\":\"hedge\",\"enabled\":%s}", a->value > 0 ? "true" : "false"); return;
    case TT_ACT_ISOLATE:
        tt_buf_put(out, TT_SV("{\"action\":\"isolate\",\"caller\":"));
        tt_buf_json_string(out, tt_sv_of(a->name));
        tt_buf_put(out, TT_SV(",\"ratio\":"));
        tt_buf_number(out, a->value);
        tt_buf_put(out, TT_SV("}"));
        return;
    case TT_ACT_VERSION:
        tt_buf_put(out, TT_SV("{\"action\":\"versions\",\"shares\":{"));
        for (const tt_act *v = a; v < d->actions + d->n_actions && v->kind == TT_ACT_VERSION; v++) {
            if (v > a) tt_buf_put(out, TT_SV(","));
            tt_buf_json_string(out, tt_sv_of(v->name));
            tt_buf_put(out, TT_SV(":"));
            tt_buf_number(out, v->value);
        }
        tt_buf_put(out, TT_SV("}}"));
        return;
    }
}

void tt_decision_json(const tt_decision *d, tt_buf *out) {
    tt_buf_put(out, TT_SV("{\"target\":"));
    tt_target_json(&d->target, out);
    tt_buf_printf(out, ",\"epoch\":%llu,\"version\":%llu,\"armed\":%s,\"loops\":[", (unsigned long long)d->epoch, (unsigned long long)d->version,
                  d->armed ? "true" : "false");
    for (uint32_t i = 0; i < d->n_loops; i++) {
        if (i) tt_buf_put(out, TT_SV(","));
        tt_buf_json_string(out, tt_sv_of(d->loops[i]));
    }
    tt_buf_put(out, TT_SV("],\"actions\":["));
    for (uint32_t i = 0; i < d->n_actions; i++) {
        if (i && d->actions[i].kind == TT_ACT_VERSION && d->actions[i - 1].kind == TT_ACT_VERSION) continue; /* told with the first */
        if (i) tt_buf_put(out, TT_SV(","));
        act_json(d, &d->actions[i], out);
    }
    tt_buf_put(out, TT_SV("],\"expires\":{\"after_ms\":"));
    if (d->expire_after_ms < 0)
        tt_buf_put(out, TT_SV("null,\"then\":\"hold\"}}"));
    else if (d->decay_over_ms < 0)
        tt_buf_printf(out, "%lld,\"then\":\"hold\"}}", (long long)d->expire_after_ms);
    else
        tt_buf_printf(out, "%lld,\"then\":\"decay\",\"over_ms\":%lld}}", (long long)d->expire_after_ms, (long long)d->decay_over_ms);
}
