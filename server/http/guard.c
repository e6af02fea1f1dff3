/* A page of any site can make the operator's browser send requests to loopback. Three checks keep it from being more than that: the Host has to
 * be a loopback name (a rebound DNS name is not), what is sent has to be JSON (a form can't be), and an Origin has to be ours. */
#include <arpa/inet.h>
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "http/internal.h"

/* "name", "name:port", "[v6]:port": the name without its port and brackets. */
static bool split_host(const char *host, char *name, size_t size) {
    const char *from = host, *end;
    if (*host == '[') {
        from = host + 1;
        end = strchr(from, ']');
        if (!end || (end[1] && end[1] != ':')) return false;
    } else {
        end = strchr(host, ':');
        if (!end) end = host + strlen(host);
    }
    size_t n = (size_t)(end - from);
    if (n == 0 || n >= size) return false;
    memcpy(name, from, n);
    name[n] = 0;
    return true;
}

static bool loopback_name(const char *name) {
    struct in_addr v4;
    struct in6_addr v6;
    if (strcasecmp(name, "localhost") == 0) return true;
    if (inet_pton(AF_INET, name, &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
    return inet_pton(AF_INET6, name, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

static bool is_json(const char *type) {
    static const char want[] = "application/json";
    if (!type || strncasecmp(type, want, sizeof want - 1) != 0) return false;
    const char *rest = type + sizeof want - 1;
    while (*rest == ' ' || *rest == '\t') rest++;
    return *rest == 0 || *rest == ';';
}

static bool own_origin(const char *origin, const char *host) {
    const char *rest = strncmp(origin, "http://", 7) == 0 ? origin + 7 : strncmp(origin, "https://", 8) == 0 ? origin + 8 : NULL;
    return rest && strcasecmp(rest, host) == 0;
}

bool tt_http_guard_host(tt_req *r) {
    char name[256];
    if (!r->host) {
        tt_reply_problem(r, 400, "the request has no Host header");
        return false;
    }
    if (!split_host(r->host, name, sizeof name) || !loopback_name(name)) {
        tt_reply_problem(r, 403, "Host %.100s is not a name of this machine's loopback: use http://127.0.0.1 or http://localhost", r->host);
        return false;
    }
    return true;
}

bool tt_http_guard_change(tt_req *r, const char *method) {
    if (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0) return true;
    const char *origin = MHD_lookup_connection_value(r->conn, MHD_HEADER_KIND, "Origin");
    if (origin && !own_origin(origin, r->host)) {
        tt_reply_problem(r, 403, "a page of %.100s may not change anything here: only pages served by %.100s may", origin, r->host);
        return false;
    }
    const char *type = MHD_lookup_connection_value(r->conn, MHD_HEADER_KIND, "Content-Type");
    if (!is_json(type) && !(!type && r->route >= 0 && tt_req_route(r)->bare)) {
        tt_reply_problem(r, 415, "Content-Type is %.100s: send application/json", type ? type : "missing");
        return false;
    }
    return true;
}
