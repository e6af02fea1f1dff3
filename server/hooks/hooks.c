/* From the wire into the store, and from the store to the engine. */
#include "hooks/hooks.h"

#include <stdlib.h>
#include <string.h>

#include "http/internal.h"

static bool feed(tt_app *app, tt_store *store, uint64_t id, const tt_hook_alerts *a, tt_err *err) {
    if (a->n == 0) return tt_store_delivery_done(store, id, err); /* nothing in it for anybody */
    return tt_app_alerts(app, id, a->alerts, a->n, err);
}

typedef struct {
    uint64_t id;
    bool found;
} search;

static bool look_for(void *ctx, uint64_t id, const tt_store_entry *e) {
    search *s = ctx;
    (void)e;
    s->found = id == s->id;
    return !s->found;
}

bool tt_hook_receive(tt_app *app, const char *source, tt_sv body, uint64_t *ret_id, tt_err *err) {
    tt_store *store = tt_app_store(app);
    tt_hook_alerts a;
    if (!tt_hook_alertmanager(body, &a, err)) return false;
    uint64_t id = 0;
    bool fresh = false;
    bool ok = tt_store_delivery(store, source, a.dedup, tt_app_wall_ms(app), body.p, body.n, &id, &fresh, err);
    search s = {.id = id};
    /* One that is known but was never taken, because the queue was full, say, is fed now. */
    if (ok && !fresh) ok = tt_store_pending_deliveries(store, look_for, &s, err);
    if (ok && (fresh || s.found)) ok = feed(app, store, id, &a, err);
    tt_hook_alerts_free(&a);
    if (ok) *ret_id = id;
    return ok;
}

typedef struct pending {
    struct pending *next;
    uint64_t id;
    size_t n;
    char body[];
} pending;

typedef struct {
    pending *first, **last;
    bool failed;
} pending_list;

static bool collect(void *ctx, uint64_t id, const tt_store_entry *e) {
    pending_list *l = ctx;
    pending *p = malloc(sizeof *p + e->body_len);
    if (!p) {
        l->failed = true;
        return false;
    }
    *p = (pending){.id = id, .n = e->body_len};
    memcpy(p->body, e->body, e->body_len);
    *l->last = p;
    l->last = &p->next;
    return true;
}

bool tt_hook_replay_pending(tt_app *app, tt_store *store, tt_err *err) {
    /* Collected first: the store is not asked from within its own callback. */
    pending_list l = {.last = &l.first};
    bool ok = tt_store_pending_deliveries(store, collect, &l, err);
    if (ok && l.failed) ok = tt_fail(err, TT_ENOMEM, "out of memory");
    while (l.first) {
        pending *p = l.first;
        tt_hook_alerts a;
        l.first = p->next;
        if (ok && tt_hook_alertmanager((tt_sv){p->body, p->n}, &a, NULL)) {
            ok = feed(app, store, p->id, &a, err);
            tt_hook_alerts_free(&a);
        } else if (ok) {
            ok = tt_store_delivery_done(store, p->id, err); /* it was JSON once: nothing can be made of it any more */
        }
        free(p);
    }
    return ok;
}

void tt_post_alertmanager(tt_req *r) {
    tt_err err = {0};
    uint64_t id;
    if (tt_hook_receive(r->h->app, "alertmanager", (tt_sv){r->body.p ? r->body.p : "", r->body.n}, &id, &err)) {
        tt_buf out;
        tt_buf_init(&out, 64);
        tt_buf_printf(&out, "{\"delivery\":%llu}", (unsigned long long)id);
        tt_reply_json(r, 202, &out);
    } else if (err.code == TT_ESYNTAX) {
        tt_reply_errors(r, 400, &err, NULL, 1, "the body is not JSON: line %u, column %u: %s", err.line, err.column, err.text);
    } else {
        tt_reply_errors(r, 503, &err, NULL, 1, "the delivery was not taken: send it again");
        tt_reply_header(r, "Retry-After", "1");
    }
}
