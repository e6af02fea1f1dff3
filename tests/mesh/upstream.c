#include "upstream.h"
#include "util.h"

#include <event2/buffer.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DCS_MAX = 8, INSTANCES_MAX = 16 };

typedef struct {
    char name[72]; /* host:port */
    char host[64];
    uint16_t port;
    unsigned inflight;
    struct evhttp_connection **idle; /* the newest used first, so that few stay warm */
    size_t n_idle, room;
} instance;

typedef struct {
    char name[64];
    instance at[INSTANCES_MAX];
    size_t n;
} site;

struct mesh_upstream {
    struct event_base *base;
    tt_dp *dp;
    char name[64], caller[64];
    site sites[DCS_MAX];
    const char *dcs[DCS_MAX];
    size_t n;
    int own; /* index of our own data center, or -1 */
    uint64_t chance;
};

struct mesh_call {
    mesh_upstream *u;
    site *site;
    instance *at;
    uint32_t tried; /* instances whose connection was refused, a bit each */
    struct evhttp_connection *con;
    struct evhttp_request *req;
    struct event *timer;
    int64_t try_ns, deadline_ns;
    enum evhttp_request_error error;
    bool failed_early; /* the connection could not even be begun */
    bool isolated;     /* not to be made */
    unsigned priority;
    bool brief;
    char id[40], key[40], priority_name[32];
    void (*done)(void *ctx, const mesh_answer *a);
    void *ctx;
};

static bool copy(char *to, size_t size, const char *from, size_t n) {
    if (n == 0 || n >= size) return false;
    memcpy(to, from, n);
    to[n] = 0;
    return true;
}

static bool read_instance(instance *at, const char *p, size_t n) {
    if (!copy(at->name, sizeof at->name, p, n)) return false;
    const char *colon = strrchr(at->name, ':');
    if (!colon || !copy(at->host, sizeof at->host, at->name, (size_t)(colon - at->name))) return false;
    char *end;
    long port = strtol(colon + 1, &end, 10);
    if (*end || port < 1 || port > 65535) return false;
    at->port = (uint16_t)port;
    return true;
}

/* "dc-a:host:port,host:port" */
static bool read_site(site *s, const char *p, size_t n) {
    const char *colon = memchr(p, ':', n);
    if (!colon || !copy(s->name, sizeof s->name, p, (size_t)(colon - p))) return false;
    const char *end = p + n;
    for (p = colon + 1; p <= end && s->n < INSTANCES_MAX;) {
        const char *comma = memchr(p, ',', (size_t)(end - p));
        if (!comma) comma = end;
        if (!read_instance(&s->at[s->n++], p, (size_t)(comma - p))) return false;
        p = comma + 1;
        if (comma == end) return true;
    }
    return false;
}

mesh_upstream *mesh_upstream_new(struct event_base *base, tt_dp *dp, const char *spec, const char *own_dc, const char *caller, uint64_t seed,
                                 char *why, size_t why_size) {
    mesh_upstream *u = calloc(1, sizeof *u);
    if (!u) {
        snprintf(why, why_size, "out of memory");
        return NULL;
    }
    *u = (mesh_upstream){.base = base, .dp = dp, .own = -1, .chance = seed};
    snprintf(u->caller, sizeof u->caller, "%s", caller ? caller : "");
    const char *eq = strchr(spec, '=');
    bool ok = eq && copy(u->name, sizeof u->name, spec, (size_t)(eq - spec));
    for (const char *p = ok ? eq + 1 : NULL; ok && p;) {
        const char *semi = strchr(p, ';');
        ok = u->n < DCS_MAX && read_site(&u->sites[u->n], p, semi ? (size_t)(semi - p) : strlen(p));
        if (!ok) break;
        u->dcs[u->n] = u->sites[u->n].name;
        if (own_dc && strcmp(own_dc, u->dcs[u->n]) == 0) u->own = (int)u->n;
        u->n++;
        p = semi ? semi + 1 : NULL;
    }
    if (ok) return u;
    snprintf(why, why_size, "'%s' is not NAME=dc:host:port,host:port;dc:host:port", spec);
    free(u);
    return NULL;
}

void mesh_upstream_free(mesh_upstream *u) {
    if (!u) return;
    for (size_t i = 0; i < u->n; i++)
        for (size_t k = 0; k < u->sites[i].n; k++) {
            instance *at = &u->sites[i].at[k];
            while (at->n_idle) evhttp_connection_free(at->idle[--at->n_idle]);
            free(at->idle);
        }
    free(u);
}

const char *mesh_upstream_name(const mesh_upstream *u) {
    return u->name;
}

static uint64_t chance(mesh_upstream *u) {
    return u->chance = mesh_mix(u->chance + 1);
}

/* Fewest requests in flight, ties by chance. An ejected instance only when all are. NULL: every one has refused the connection. */
static instance *pick_instance(mesh_call *c) {
    mesh_upstream *u = c->u;
    for (int with_ejected = 0; with_ejected < 2; with_ejected++) {
        instance *best = NULL;
        uint64_t ties = 0;
        for (size_t i = 0; i < c->site->n; i++) {
            instance *at = &c->site->at[i];
            if ((c->tried & (1u << i)) || (!with_ejected && tt_dp_is_ejected(u->dp, u->name, c->site->name, at->name))) continue;
            if (best && at->inflight > best->inflight) continue;
            if (best && at->inflight == best->inflight) {
                if (chance(u) % ++ties) continue;
            } else
                ties = 1;
            best = at;
        }
        if (best) return best;
    }
    return NULL;
}

/* Room for every connection is made before it is opened, so that giving one back can't fail. */
static bool make_room(instance *at) {
    if (at->n_idle + at->inflight < at->room) return true;
    size_t room = at->room ? 2 * at->room : 64;
    struct evhttp_connection **idle = realloc(at->idle, room * sizeof(*idle));
    if (!idle) return false;
    at->idle = idle;
    at->room = room;
    return true;
}

static void release(mesh_call *c) {
    if (c->con) c->at->idle[c->at->n_idle++] = c->con;
    c->at->inflight--;
    c->at = NULL;
    c->con = NULL;
    c->req = NULL;
}

static void finish(mesh_call *c, const mesh_answer *a) {
    mesh_answer answer = *a;
    answer.dc = c->site->name;
    void (*done)(void *, const mesh_answer *) = c->done;
    void *ctx = c->ctx;
    event_free(c->timer);
    free(c);
    done(ctx, &answer);
}

static void tell(mesh_call *c, tt_dp_call_result result) {
    tt_dp_called(c->u->dp, c->u->name, c->site->name, c->at->name, c->priority, result, mesh_now_ns() - c->try_ns);
}

static void try_instance(mesh_call *c);

/* No connection, or it broke before an answer: the next instance of this data center if it was refused, else that is the result. */
static void unreachable(mesh_call *c, bool refused) {
    tell(c, TT_DP_CALL_UNREACHABLE);
    if (refused) c->tried |= 1u << (c->at - c->site->at);
    release(c);
    if (refused) {
        c->at = pick_instance(c);
        if (c->at && mesh_now_ns() < c->deadline_ns) {
            try_instance(c);
            return;
        }
        c->at = NULL;
    }
    finish(c, &(mesh_answer){.result = TT_DP_CALL_UNREACHABLE});
}

static void read_answer(struct evhttp_request *req, mesh_answer *a) {
    struct evkeyvalq *h = evhttp_request_get_input_headers(req);
    const char *verdict = evhttp_find_header(h, MESH_H_VERDICT), *level = evhttp_find_header(h, MESH_H_DEGRADED),
               *by = evhttp_find_header(h, MESH_H_BY);
    a->no_retry = evhttp_find_header(h, MESH_H_NO_RETRY) != NULL;
    if (level) a->degraded = (unsigned)strtoul(level, NULL, 10);
    if (by) snprintf(a->by, sizeof a->by, "%s", by);
    if (evhttp_request_get_response_code(req) == 200)
        a->result = TT_DP_CALL_OK;
    else if (verdict && strcmp(verdict, "dropped") == 0)
        a->result = TT_DP_CALL_DROPPED;
    else if (verdict && strcmp(verdict, "refused") == 0)
        a->result = TT_DP_CALL_REFUSED;
    else
        a->result = TT_DP_CALL_ERROR;
}

static void on_error(enum evhttp_request_error error, void *ctx) {
    mesh_call *c = ctx;
    c->error = error;
}

/* evhttp calls with a request without a code when the connection was never made, and with NULL when it broke (on_error has run before). */
static void on_answer(struct evhttp_request *req, void *ctx) {
    mesh_call *c = ctx;
    c->req = NULL;
    if (!req || evhttp_request_get_response_code(req) == 0) {
        unreachable(c, req != NULL);
        return;
    }
    mesh_answer a = {0};
    read_answer(req, &a);
    tell(c, a.result);
    release(c);
    finish(c, &a);
}

static void drop_request(mesh_call *c) {
    if (c->req) evhttp_cancel_request(c->req); /* closes the connection; it is made anew when next used */
    c->req = NULL;
}

static void on_timer(evutil_socket_t fd, short what, void *ctx) {
    (void)fd;
    (void)what;
    mesh_call *c = ctx;
    if (c->isolated) {
        finish(c, &(mesh_answer){.result = TT_DP_CALL_DROPPED, .no_retry = true});
        return;
    }
    if (c->failed_early) {
        c->failed_early = false;
        unreachable(c, true);
        return;
    }
    drop_request(c);
    tell(c, TT_DP_CALL_TIMEOUT);
    release(c);
    finish(c, &(mesh_answer){.result = TT_DP_CALL_TIMEOUT});
}

static void arm(mesh_call *c, int64_t ns) {
    struct timeval tv = mesh_tv((double)(ns > 0 ? ns : 0) / 1e6);
    evtimer_add(c->timer, &tv);
}

static void try_instance(mesh_call *c) {
    instance *at = c->at;
    c->try_ns = mesh_now_ns();
    if (at->n_idle)
        c->con = at->idle[--at->n_idle];
    else if (make_room(at))
        c->con = evhttp_connection_base_new(c->u->base, NULL, at->host, at->port);
    at->inflight++;
    c->req = c->con ? evhttp_request_new(on_answer, c) : NULL;
    bool ok = c->req != NULL;
    if (ok) {
        evhttp_connection_set_timeout(c->con, 3600); /* ours is the timer of the call */
        evhttp_request_set_error_cb(c->req, on_error);
        struct evkeyvalq *h = evhttp_request_get_output_headers(c->req);
        evhttp_add_header(h, "Host", at->name);
        evhttp_add_header(h, MESH_H_ID, c->id);
        evhttp_add_header(h, MESH_H_KEY, c->key);
        evhttp_add_header(h, MESH_H_PRIORITY, c->priority_name);
        if (c->brief) evhttp_add_header(h, MESH_H_BRIEF, "1");
        if (c->u->caller[0]) evhttp_add_header(h, MESH_H_CALLER, c->u->caller);
        ok = evhttp_make_request(c->con, c->req, EVHTTP_REQ_GET, "/") == 0;
    }
    if (!ok) { /* told from the loop, never from inside */
        c->req = NULL;
        c->failed_early = true;
        arm(c, 0);
        return;
    }
    arm(c, c->deadline_ns - c->try_ns);
}

mesh_call *mesh_call_start(mesh_upstream *u, const mesh_call_options *o, void (*done)(void *ctx, const mesh_answer *a), void *ctx) {
    mesh_call *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    *c = (mesh_call){.u = u, .priority = o->priority, .brief = o->brief, .done = done, .ctx = ctx};
    c->timer = evtimer_new(u->base, on_timer, c);
    if (!c->timer) {
        free(c);
        return NULL;
    }
    snprintf(c->id, sizeof c->id, "%s", o->id);
    snprintf(c->key, sizeof c->key, "%s", o->key);
    snprintf(c->priority_name, sizeof c->priority_name, "%s", o->priority_name);
    int dc = tt_dp_pick_dc(u->dp, u->name, u->dcs, u->n, u->own, o->route_key, strlen(o->route_key));
    c->site = &u->sites[dc >= 0 && (size_t)dc < u->n ? dc : 0];
    c->deadline_ns = mesh_now_ns() + (int64_t)tt_dp_timeout_ms(u->dp, u->name, c->site->name, o->timeout_ms) * 1000000;
    if (!tt_dp_may_call(u->dp, u->name, c->site->name, o->key, strlen(o->key))) { /* it would be refused there: spare the way */
        c->isolated = true;
        arm(c, 0);
        return c;
    }
    c->at = pick_instance(c);
    try_instance(c);
    return c;
}

void mesh_call_cancel(mesh_call *c) {
    drop_request(c);
    if (!c->isolated) {
        tell(c, TT_DP_CALL_TIMEOUT);
        release(c);
    }
    event_free(c->timer);
    free(c);
}
