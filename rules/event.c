/* What happened and why. Events are the journal's text and the operator's only account: figures in the sentence, terms in the detail. */
#include "engine_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void tt_copy_text(char *to, size_t size, tt_sv from) {
    size_t n = from.n < size - 1 ? from.n : size - 1;
    if (n) memcpy(to, from.p, n);
    to[n] = 0;
}

void tt_num(char *buf, size_t size, double v) {
    double a = fabs(v);
    int decimals = a >= 100 || a == 0 ? 0 : a >= 10 ? 1 : a >= 1 ? 2 : 3;
    /* Integers only: printf's %f would follow the host's locale. */
    double scale = decimals == 0 ? 1 : decimals == 1 ? 10 : decimals == 2 ? 100 : 1000;
    double r = floor(a * scale + 0.5);
    if (!(r < 1e15)) {
        snprintf(buf, size, "%s", v > 0 ? "huge" : "-huge");
        return;
    }
    long long whole = (long long)(r / scale), part = (long long)(r - (double)whole * scale);
    if (decimals == 0)
        snprintf(buf, size, "%s%lld", v < 0 ? "-" : "", whole);
    else
        snprintf(buf, size, "%s%lld.%0*lld", v < 0 ? "-" : "", whole, decimals, part);
}

void tt_pct(char *buf, size_t size, double ratio) {
    char n[32];
    double p = ratio * 100;
    tt_num(n, sizeof n, fabs(p) < 1 ? floor(p * 10 + 0.5) / 10 : p);
    snprintf(buf, size, "%s %%", n);
}

static tt_event *new_event(tt_engine *e, const char *kind, const tt_loop *l) {
    if (e->n_events == e->cfg.max_events) {
        e->events_lost = true;
        return NULL;
    }
    tt_event *ev = &e->events[e->n_events++];
    memset(ev, 0, sizeof *ev);
    tt_copy_text(ev->kind, sizeof ev->kind, tt_sv_of(kind));
    ev->at = e->wall;
    ev->from = ev->to = NAN;
    if (l) {
        memcpy(ev->loop, l->id, sizeof ev->loop);
        memcpy(ev->plan, l->plan_name, sizeof ev->plan);
        ev->target = l->target;
    }
    return ev;
}

tt_event *tt_emit(tt_engine *e, const char *kind, const tt_loop *l, const char *fmt, ...) {
    tt_event *ev = new_event(e, kind, l);
    if (!ev) return NULL;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(ev->reason, sizeof ev->reason, fmt, ap);
    va_end(ap);
    return ev;
}

void tt_emit_action(tt_engine *e, const tt_loop *l, const tt_target *t, const char *action, double from, double to, const char *unit, const char *detail,
                    const char *fmt, ...) {
    tt_event *ev = new_event(e, "action", l);
    if (!ev) return;
    ev->target = *t;
    tt_copy_text(ev->action, sizeof ev->action, tt_sv_of(action));
    ev->from = from;
    ev->to = to;
    tt_copy_text(ev->unit, sizeof ev->unit, tt_sv_of(unit));
    if (detail) tt_copy_text(ev->detail, sizeof ev->detail, tt_sv_of(detail));
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(ev->reason, sizeof ev->reason, fmt, ap);
    va_end(ap);
}

void tt_event_json(const tt_event *ev, uint64_t seq, tt_buf *out) {
    tt_buf_put(out, TT_SV("{"));
    if (seq) tt_buf_printf(out, "\"seq\":%llu,", (unsigned long long)seq);
    tt_buf_printf(out, "\"at_ms\":%lld,\"kind\":", (long long)ev->at.ms);
    tt_buf_json_string(out, tt_sv_of(ev->kind));
    if (ev->loop[0]) {
        tt_buf_put(out, TT_SV(",\"loop\":"));
        tt_buf_json_string(out, tt_sv_of(ev->loop));
        tt_buf_put(out, TT_SV(",\"plan\":"));
        tt_buf_json_string(out, tt_sv_of(ev->plan));
    }
    if (ev->target.service[0]) {
        tt_buf_put(out, TT_SV(",\"target\":"));
        tt_target_json(&ev->target, out);
    }
    if (ev->action[0]) {
        tt_buf_put(out, TT_SV(",\"action\":"));
        tt_buf_json_string(out, tt_sv_of(ev->action));
        tt_buf_put(out, TT_SV(",\"from\":"));
        tt_buf_number(out, ev->from);
        tt_buf_put(out, TT_SV(",\"to\":"));
        tt_buf_number(out, ev->to);
        tt_buf_put(out, TT_SV(",\"unit\":"));
        tt_buf_json_string(out, tt_sv_of(ev->unit));
        if (ev->version) tt_buf_printf(out, ",\"version\":%llu", (unsigned long long)ev->version);
    }
    tt_buf_put(out, TT_SV(",\"reason\":"));
    tt_buf_json_string(out, tt_sv_of(ev->reason));
    tt_buf_put(out, TT_SV(",\"detail\":"));
    tt_buf_put(out, ev->detail[0] ? tt_sv_of(ev->detail) : TT_SV("{}"));
    tt_buf_put(out, TT_SV("}"));
}
