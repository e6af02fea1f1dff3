#include "service.h"
#include "util.h"

#include <event2/buffer.h>
#include <event2/keyvalq_struct.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const mesh_priorities[3] = {"critical", "normal", "batch"};
const int mesh_codes[MESH_CODES] = {200, 500, 502, 503, 504};

struct job {
    job *next;
    mesh_service *s;
    struct evhttp_request *req;
    struct event *timer;
    int64_t arrived_ns;
    unsigned priority, tries, level;
    bool brief;
    char id[40], key[40];
};

static const char *header(struct evhttp_request *req, const char *name, const char *otherwise) {
    const char *v = evhttp_find_header(evhttp_request_get_input_headers(req), name);
    return v ? v : otherwise;
}

static void reply(mesh_service *s, struct evhttp_request *req, int code, const char *text) {
    for (int i = 0; i < MESH_CODES; i++)
        if (mesh_codes[i] == code) s->answered[i]++;
    if (!evhttp_request_get_connection(req)) s->client_gone++; /* it gave up: what was done for it is lost; evhttp frees the request */
    struct evbuffer *body = evbuffer_new();
    if (body) evbuffer_add_printf(body, "%s\n", text);
    evhttp_send_reply(req, code, NULL, body);
    if (body) evbuffer_free(body);
}

static void reply_verdict(mesh_service *s, struct evhttp_request *req, const char *verdict, const char *by) {
    struct evkeyvalq *h = evhttp_request_get_output_headers(req);
    evhttp_add_header(h, MESH_H_VERDICT, verdict);
    evhttp_add_header(h, MESH_H_BY, by);
    evhttp_add_header(h, MESH_H_NO_RETRY, "1");
    reply(s, req, 503, verdict);
}

static void free_job(job *j) {
    event_free(j->timer);
    free(j);
}

static void begin(job *j);

/* The worker is free again: the next in line has it. */
static void worker_done(mesh_service *s) {
    s->busy--;
    job *next = s->head;
    if (!next) return;
    s->head = next->next;
    if (!s->head) s->tail = NULL;
    s->queued--;
    begin(next);
}

static void finish_job(job *j, tt_dp_result result) {
    mesh_service *s = j->s;
    int64_t now = mesh_now_ns(), latency = now - j->arrived_ns;
    if (result == TT_DP_OK && latency > (int64_t)s->o->timeout_ms * 1000000) result = TT_DP_LATE;
    tt_dp_finished(s->dp, j->priority, result, latency, now);
    free_job(j);
    worker_done(s);
}

static void succeed(job *j) {
    mesh_service *s = j->s;
    if (j->level > 0) {
        char level[16];
        snprintf(level, sizeof level, "%u", j->level);
        evhttp_add_header(evhttp_request_get_output_headers(j->req), MESH_H_DEGRADED, level);
    }
    s->degraded[j->level < 3 ? j->level : 2]++;
    reply(s, j->req, 200, s->o->service);
    finish_job(j, TT_DP_OK);
}

static void start_call(job *j);

static void on_call(void *ctx, const mesh_answer *a) {
    job *j = ctx;
    mesh_service *s = j->s;
    if (a->result == TT_DP_CALL_OK) {
        if (a->degraded > j->level) j->level = a->degraded;
        succeed(j);
        return;
    }
    if (s->o->feature) { /* an extra: the answer goes out without it */
        j->level = 2;
        succeed(j);
        return;
    }
    bool verdict = a->result == TT_DP_CALL_DROPPED || a->result == TT_DP_CALL_REFUSED;
    if (!verdict && !a->no_retry && j->tries <= s->o->call_retries && tt_dp_may_retry(s->dp, mesh_upstream_name(s->upstream), a->dc, 0)) {
        start_call(j);
        return;
    }
    if (verdict) {
        const char *which = a->result == TT_DP_CALL_DROPPED ? "dropped" : "refused";
        reply_verdict(s, j->req, which, a->by[0] ? a->by : mesh_upstream_name(s->upstream));
    } else
        reply(s, j->req, a->result == TT_DP_CALL_TIMEOUT ? 504 : 502, "the call downstream failed");
    finish_job(j, TT_DP_ERROR);
}

static void start_call(job *j) {
    mesh_service *s = j->s;
    char route[64];
    snprintf(route, sizeof route, "%s/%u", j->id, j->tries++);
    mesh_call_options o = {.id = j->id,
                           .key = j->key,
                           .route_key = route,
                           .priority_name = mesh_priorities[j->priority],
                           .priority = j->priority,
                           .brief = j->level == 1,
                           .timeout_ms = s->o->call_timeout_ms};
    if (mesh_call_start(s->upstream, &o, on_call, j)) return;
    reply(s, j->req, 500, "out of memory");
    finish_job(j, TT_DP_ERROR);
}

static void on_work_done(evutil_socket_t fd, short what, void *ctx) {
    (void)fd;
    (void)what;
    job *j = ctx;
    mesh_service *s = j->s;
    if (!s->upstream) {
        succeed(j);
        return;
    }
    if (s->o->feature) j->level = tt_dp_degrade_level(s->dp, s->o->feature, j->key, strlen(j->key));
    if (j->level >= 2)
        succeed(j);
    else
        start_call(j);
}

/* How long this request's own work takes: the same in every run, and again when it is retried. */
static double work_ms(const job *j) {
    const mesh_service_options *o = j->s->o;
    double u = mesh_unit(mesh_hash(o->seed, j->id, mesh_hash(0, o->service, 0)));
    double ms = o->own_ms * (o->fixed_share - (1 - o->fixed_share) * log(1 - u));
    return (j->brief ? ms / 2 : ms) + j->s->slow_ms;
}

static void begin(job *j) {
    mesh_service *s = j->s;
    s->busy++;
    tt_dp_started(s->dp, 0);
    struct timeval tv = mesh_tv(work_ms(j));
    evtimer_add(j->timer, &tv);
}

static unsigned priority_of(const char *name) {
    for (unsigned i = 0; i < 3; i++)
        if (strcmp(name, mesh_priorities[i]) == 0) return i;
    return 2;
}

/* A broken instance: fails at once, without work. */
static bool broken(mesh_service *s, struct evhttp_request *req, unsigned priority, int64_t now) {
    if (s->error_ratio <= 0 || mesh_unit(mesh_hash(s->o->seed, "fault", s->faults++)) >= s->error_ratio) return false;
    tt_dp_started(s->dp, now);
    tt_dp_finished(s->dp, priority, TT_DP_ERROR, 0, now);
    reply(s, req, 500, "broken on purpose");
    return true;
}

void mesh_service_handle(struct evhttp_request *req, void *service) {
    mesh_service *s = service;
    int64_t now = mesh_now_ns();
    unsigned priority = priority_of(header(req, MESH_H_PRIORITY, "batch"));
    const char *key = header(req, MESH_H_KEY, "");
    tt_dp_verdict v = tt_dp_admit_from(s->dp, header(req, MESH_H_CALLER, NULL), priority, key, strlen(key), now);
    if (v != TT_DP_ADMIT) {
        reply_verdict(s, req, v == TT_DP_DROPPED ? "dropped" : "refused", s->o->service);
        return;
    }
    if (broken(s, req, priority, now)) return;
    job *j = s->busy < s->o->workers || s->queued < s->o->queue ? calloc(1, sizeof *j) : NULL;
    if (j && !(j->timer = evtimer_new(s->base, on_work_done, j))) {
        free(j);
        j = NULL;
    }
    if (!j) {
        s->queue_full++;
        tt_dp_abandoned(s->dp, priority, false, now);
        reply(s, req, 503, "the queue is full");
        return;
    }
    j->s = s;
    j->req = req;
    j->arrived_ns = now;
    j->priority = priority;
    j->brief = header(req, MESH_H_BRIEF, NULL) != NULL;
    snprintf(j->id, sizeof j->id, "%s", header(req, MESH_H_ID, ""));
    snprintf(j->key, sizeof j->key, "%s", key);
    if (s->busy < s->o->workers) {
        begin(j);
        return;
    }
    if (s->tail)
        s->tail->next = j;
    else
        s->head = j;
    s->tail = j;
    s->queued++;
}
