/* Calls to one downstream service over pooled HTTP/1.1 connections: which data center (tt_dp_pick_dc), which instance (fewest requests in
 * flight among those not ejected), the time-out, and what is told to the data plane about each try. One event loop, one thread. */
#ifndef MESH_UPSTREAM_H
#define MESH_UPSTREAM_H

#include <event2/event.h>
#include <trimtab/dataplane.h>

#include <stdbool.h>
#include <stdint.h>

typedef struct mesh_upstream mesh_upstream;
typedef struct mesh_call mesh_call;

/* spec: NAME=dc-a:host:port,host:port;dc-b:host:port — own_dc is preferred when no weights are in force; one that is not in the list (or
 * NULL) means equal shares. NULL with a sentence in `why` when the spec can't be read. */
mesh_upstream *mesh_upstream_new(struct event_base *base, tt_dp *dp, const char *spec, const char *own_dc, const char *caller, uint64_t seed, char *why,
                                 size_t why_size); /* caller: who we are to those we call; NULL: nobody */
void mesh_upstream_free(mesh_upstream *u); /* no call may be running */
const char *mesh_upstream_name(const mesh_upstream *u);

typedef struct {
    const char *id, *key;  /* request id; user key */
    const char *route_key; /* what the choice of data center is hashed from: a retry brings another one */
    const char *priority_name;
    unsigned priority;
    bool brief; /* ask for the short answer */
    uint32_t timeout_ms;
} mesh_call_options;

typedef struct {
    tt_dp_call_result result;
    unsigned degraded; /* level the answer was served at */
    bool no_retry;     /* the refusal asks not to be retried */
    char by[64];       /* which hop dropped or refused it */
    const char *dc;    /* where it was tried last; lives as long as the upstream */
} mesh_answer;

/* `done` is called once, never from inside mesh_call_start; not at all after mesh_call_cancel. */
mesh_call *mesh_call_start(mesh_upstream *u, const mesh_call_options *o, void (*done)(void *ctx, const mesh_answer *a), void *ctx);
void mesh_call_cancel(mesh_call *c); /* the answer is no longer wanted; the caller counts what it means */

/* Headers of the mesh. */
#define MESH_H_ID "x-request-id"
#define MESH_H_KEY "x-user-key"
#define MESH_H_PRIORITY "x-priority"
#define MESH_H_BRIEF "x-brief"
#define MESH_H_CALLER "x-caller" /* the calling service */
#define MESH_H_DEGRADED "x-degraded"
#define MESH_H_VERDICT "x-trimtab-verdict" /* dropped or refused */
#define MESH_H_BY "x-trimtab-by"
#define MESH_H_NO_RETRY "x-trimtab-no-retry"

#endif
