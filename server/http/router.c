/* Which route a path means. The table is the API's list: docs/contract.md and openapi.json have the same rows. */
#include <stdio.h>
#include <string.h>

#include "http/internal.h"

const tt_route tt_routes[] = {
    {"GET", "/v1/decisions", NULL, HOW_WAIT, false, 0}, /* first: they are what there is most of */
    {"POST", "/v1/reports", tt_post_report, HOW_NOW, false, 0},
    {"GET", "/v1/status", tt_get_status, HOW_WORKER, false, 0},
    {"GET", "/v1/loops", tt_get_loops, HOW_WORKER, false, 0},
    {"GET", "/v1/loops/{id}", tt_get_loop, HOW_WORKER, false, 0},
    {"GET", "/v1/loops/{id}/events", tt_get_loop_events, HOW_WORKER, false, 0},
    {"GET", "/v1/loops/{id}/explain", tt_get_loop_explain, HOW_WORKER, false, 0},
    {"POST", "/v1/loops/{id}:abort", tt_post_command, HOW_WORKER, false, TT_CMD_ABORT},
    {"POST", "/v1/loops/{id}:approve", tt_post_command, HOW_WORKER, false, TT_CMD_APPROVE},
    {"POST", "/v1/loops/{id}:refuse", tt_post_command, HOW_WORKER, false, TT_CMD_REFUSE},
    {"POST", "/v1/automation:freeze", tt_post_command, HOW_WORKER, false, TT_CMD_FREEZE},
    {"POST", "/v1/automation:resume", tt_post_command, HOW_WORKER, false, TT_CMD_UNFREEZE},
    {"GET", "/v1/plans", tt_get_engine_list, HOW_WORKER, false, LIST_PLANS},
    {"GET", "/v1/signals", tt_get_engine_list, HOW_WORKER, false, LIST_SIGNALS},
    {"GET", "/v1/anomalies", tt_get_engine_list, HOW_WORKER, false, LIST_ANOMALIES},
    {"GET", "/v1/capacity", tt_get_engine_list, HOW_WORKER, false, LIST_CAPACITY},
    {"GET", "/v1/pins", tt_get_pins, HOW_WORKER, false, 0},
    {"POST", "/v1/pins", tt_post_pin, HOW_WORKER, false, 0},
    {"DELETE", "/v1/pins/{id}", tt_delete_pin, HOW_WORKER, true, 0},
    {"GET", "/v1/load-tests", tt_get_load_tests, HOW_WORKER, false, 0},
    {"POST", "/v1/load-tests", tt_post_load_test, HOW_WORKER, false, 0},
    {"GET", "/v1/load-tests/{id}", tt_get_load_test, HOW_WORKER, false, 0},
    {"DELETE", "/v1/load-tests/{id}", tt_delete_load_test, HOW_WORKER, true, 0},
    {"GET", "/v1/agents", tt_get_agents, HOW_WORKER, false, 0},
    {"GET", "/v1/events", tt_get_events, HOW_EVENTS, false, 0},
    {"GET", "/v1/events/{id}/explain", tt_get_event_explain, HOW_WORKER, false, 0},
    {"GET", "/v1/decisions/{id}/explain", tt_get_decision_explain, HOW_WORKER, false, 0},
    {"POST", "/v1/webhooks/alertmanager", tt_post_alertmanager, HOW_WORKER, false, 0},
    {"GET", "/v1/openapi.json", tt_get_openapi, HOW_NOW, false, 0},
    {"GET", "/-/healthy", tt_get_healthy, HOW_NOW, false, 0},
    {"GET", "/-/ready", tt_get_ready, HOW_WORKER, false, 0},
    {"GET", "/metrics", tt_get_metrics, HOW_WORKER, false, 0},
    {"POST", "/-/reload", tt_post_reload, HOW_WORKER, true, 0},
};
const size_t tt_n_routes = TT_COUNT(tt_routes);
_Static_assert(TT_COUNT(tt_routes) <= ROUTES_MAX, "raise ROUTES_MAX");

static bool id_char(char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool match(const char *pattern, const char *path, tt_sv *ret_id) {
    const char *hole = strstr(pattern, "{id}");
    if (!hole) return strcmp(pattern, path) == 0;
    size_t before = (size_t)(hole - pattern), n = 0;
    if (strncmp(pattern, path, before) != 0) return false;
    while (id_char(path[before + n])) n++;
    if (n == 0 || n >= TT_ULID_SIZE || strcmp(path + before + n, hole + 4) != 0) return false;
    *ret_id = (tt_sv){path + before, n};
    return true;
}

static bool is_api(const char *path) {
    return strncmp(path, "/v1/", 4) == 0 || strcmp(path, "/v1") == 0 || strncmp(path, "/-/", 3) == 0 || strcmp(path, "/metrics") == 0;
}

static bool same_method(const char *have, const char *asked) {
    return strcmp(have, asked) == 0 || (strcmp(asked, "HEAD") == 0 && strcmp(have, "GET") == 0);
}

bool tt_http_route(tt_req *r, const char *method, const char *url) {
    r->path = tt_sv_of(url);
    r->head = strcmp(method, "HEAD") == 0;
    bool get = false, post = false, delete_ = false;
    for (size_t i = 0; i < TT_COUNT(tt_routes); i++) {
        tt_sv id = {0};
        if (!match(tt_routes[i].pattern, url, &id)) continue;
        if (same_method(tt_routes[i].method, method)) {
            r->route = (int)i;
            r->id = id;
            return true;
        }
        get |= tt_routes[i].method[0] == 'G';
        post |= tt_routes[i].method[0] == 'P';
        delete_ |= tt_routes[i].method[0] == 'D';
    }
    if (!get && !post && is_api(url)) {
        tt_reply_problem(r, 404, "there is nothing at %.200s: GET /v1/openapi.json lists what there is", url);
        return false;
    }
    if (!get && !post) {
        if (r->head || strcmp(method, "GET") == 0) return true; /* an asset */
        get = true;
    }
    char allow[32];
    snprintf(allow, sizeof allow, "%s%s%s", get ? "GET, HEAD" : "", post ? get ? ", POST" : "POST" : "", delete_ ? ", DELETE" : "");
    tt_reply_problem(r, 405, "%.20s is not possible at %.200s: use %s", method, url, allow);
    tt_reply_header(r, "Allow", allow);
    return false;
}
