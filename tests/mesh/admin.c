/* The admin side of an instance: metrics for Prometheus, faults set at run time. */
#include "service.h"
#include "util.h"

#include <event2/buffer.h>
#include <event2/keyvalq_struct.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static void put_library_metrics(struct evbuffer *out, tt_dp *dp) {
    /* Counters move between the two calls and a figure may grow by a digit. */
    size_t size = tt_dp_metrics(dp, NULL, 0) + 4096;
    char *text = malloc(size);
    if (!text) return;
    size_t n = tt_dp_metrics(dp, text, size);
    if (n < size) evbuffer_add(out, text, n);
    free(text);
}

void mesh_service_metrics(struct evhttp_request *req, void *service) {
    mesh_service *s = service;
    struct evbuffer *b = evbuffer_new();
    if (!b) {
        evhttp_send_error(req, 500, NULL);
        return;
    }
    put_library_metrics(b, s->dp);
    evbuffer_add_printf(b, "# TYPE http_requests_total counter\n");
    for (int i = 0; i < MESH_CODES; i++)
        evbuffer_add_printf(b, "http_requests_total{code=\"%d\"} %llu\n", mesh_codes[i], (unsigned long long)s->answered[i]);
    evbuffer_add_printf(b,
                        "# TYPE mesh_answers_total counter\n"
                        "mesh_answers_total{level=\"0\"} %llu\nmesh_answers_total{level=\"1\"} %llu\nmesh_answers_total{level=\"2\"} %llu\n",
                        (unsigned long long)s->degraded[0], (unsigned long long)s->degraded[1], (unsigned long long)s->degraded[2]);
    evbuffer_add_printf(b,
                        "# TYPE mesh_queue_full_total counter\nmesh_queue_full_total %llu\n"
                        "# TYPE mesh_client_gone_total counter\nmesh_client_gone_total %llu\n"
                        "# TYPE mesh_queue_length gauge\nmesh_queue_length %u\n"
                        "# TYPE mesh_workers_busy gauge\nmesh_workers_busy %u\n# TYPE mesh_workers gauge\nmesh_workers %u\n",
                        (unsigned long long)s->queue_full, (unsigned long long)s->client_gone, s->queued, s->busy, s->o->workers);
    evhttp_add_header(evhttp_request_get_output_headers(req), "Content-Type", "text/plain; version=0.0.4");
    evhttp_send_reply(req, 200, NULL, b);
    evbuffer_free(b);
}

static void answer(struct evhttp_request *req, int code, const char *text) {
    struct evbuffer *b = evbuffer_new();
    if (b) evbuffer_add_printf(b, "%s\n", text);
    evhttp_send_reply(req, code, NULL, b);
    if (b) evbuffer_free(b);
}

/* POST /fault {"slow_ms": 400} or {"error_ratio": 1.0} or {"off": true}; faults add up until off. */
void mesh_service_fault(struct evhttp_request *req, void *service) {
    mesh_service *s = service;
    if (evhttp_request_get_command(req) != EVHTTP_REQ_POST) {
        answer(req, 405, "POST a JSON object: slow_ms, error_ratio or off");
        return;
    }
    struct evbuffer *in = evhttp_request_get_input_buffer(req);
    size_t n = evbuffer_get_length(in);
    json_error_t e;
    json_t *root = json_loadb((const char *)evbuffer_pullup(in, -1), n, JSON_REJECT_DUPLICATES, &e);
    double slow = s->slow_ms, errors = s->error_ratio;
    const char *wrong = json_is_object(root) ? NULL : "the body is not a JSON object";
    const char *key;
    json_t *v;
    if (!wrong) json_object_foreach(root, key, v) {
            double x = json_number_value(v);
            if (strcmp(key, "slow_ms") == 0 && json_is_number(v) && x >= 0 && x <= 60000)
                slow = x;
            else if (strcmp(key, "error_ratio") == 0 && json_is_number(v) && x >= 0 && x <= 1)
                errors = x;
            else if (strcmp(key, "off") == 0)
                slow = errors = 0;
            else
                wrong = "known are slow_ms (0 to 60000), error_ratio (0 to 1) and off";
        }
    json_decref(root);
    if (!wrong) {
        s->slow_ms = slow;
        s->error_ratio = errors;
    }
    answer(req, wrong ? 400 : 200, wrong ? wrong : "ok");
}
