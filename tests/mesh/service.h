/* One instance of a service of the sample mesh: really limited workers, a bounded queue in front of them, work that waits on a timer.
 * Everything runs on one event loop; only the data plane's agent has a thread of its own. */
#ifndef MESH_SERVICE_H
#define MESH_SERVICE_H

#include "upstream.h"

#include <event2/http.h>

typedef struct {
    const char *service, *dc, *host, *call, *feature, *agent_url, *state_file;
    uint16_t port;
    unsigned workers, queue, call_retries;
    double own_ms, fixed_share;                    /* mean own work; the share of it that is the same for all, the rest is exponential */
    uint32_t timeout_ms, base_ms, call_timeout_ms; /* of this hop's clients; its usual latency; of its own calls */
    uint64_t seed;
    enum { MESH_LIBRARY_OFF, MESH_LIBRARY_INNER, MESH_LIBRARY_ON } library;
} mesh_service_options;

typedef struct job job;

#define MESH_CODES 5
extern const int mesh_codes[MESH_CODES]; /* what an instance answers with */

typedef struct {
    const mesh_service_options *o;
    struct event_base *base;
    struct evhttp *http;
    tt_dp *dp;
    mesh_upstream *upstream; /* NULL: calls nobody */
    job *head, *tail;        /* the queue, first come first served */
    unsigned queued, busy;
    double slow_ms, error_ratio; /* faults set at run time */
    uint64_t answered[MESH_CODES];
    uint64_t degraded[3]; /* by level */
    uint64_t queue_full, client_gone;
    uint64_t faults; /* so that error_ratio hits a repeatable share */
} mesh_service;

extern const char *const mesh_priorities[3]; /* highest first */

void mesh_service_handle(struct evhttp_request *req, void *service); /* the service's own requests */
void mesh_service_metrics(struct evhttp_request *req, void *service);
void mesh_service_fault(struct evhttp_request *req, void *service);

#endif
