/* Routes, refusals, commands and assets, asked of the real server. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "client.h"
#include "fake_app.h"

static tt_app *app;
static tt_http *server;
static uint16_t port;

static int setup_with(bool approve) {
    app = fake_app(approve);
    tt_board_publish(app->board, NULL, 0, (tt_time){0});
    server = fake_serve(app, NULL);
    port = tt_http_port(server);
    return 0;
}

static int setup(void **state) {
    (void)state;
    return setup_with(true);
}

static int setup_advise(void **state) {
    (void)state;
    return setup_with(false);
}

static int teardown(void **state) {
    (void)state;
    tt_http_stop(server);
    fake_app_free(app);
    return 0;
}

#define JSON "Content-Type: application/json"
#define ULID "01J9ZC8Q6W3V2K5M7N8P9Q0R1S"

static void routes(void **state) {
    (void)state;
    static const struct {
        const char *method, *path, *headers, *body;
        long status;
        const char *header, *says; /* NULL: not looked at */
    } rows[] = {
        {"GET", "/v1/status", NULL, NULL, 200, "content-type: application/json", "\"epoch\":3"},
        {"GET", "/v1/status", NULL, NULL, 200, "cache-control: no-store", NULL},
        {"GET", "/v1/status", NULL, NULL, 200, "x-content-type-options: nosniff", NULL},
        {"HEAD", "/v1/status", NULL, NULL, 200, "content-length: ", NULL},
        {"GET", "/v1/loops", NULL, NULL, 200, NULL, "\"items\":["},
        {"GET", "/v1/loops?state=all&limit=1", NULL, NULL, 200, NULL, "\"next\":"},
        {"GET", "/v1/loops?state=odd", NULL, NULL, 400, "application/problem+json", "open, closed or all"},
        {"GET", "/v1/loops?limit=0", NULL, NULL, 400, NULL, "limit=0: a whole number from 1 to 500"},
        {"GET", "/v1/loops?limit=x", NULL, NULL, 400, NULL, "limit=x"},
        {"GET", "/v1/loops?cursor=../..", NULL, NULL, 400, NULL, "cursor"},
        {"GET", "/v1/loops/" ULID, NULL, NULL, 404, "application/problem+json", "no loop " ULID},
        {"GET", "/v1/loops/" ULID "/events", NULL, NULL, 404, NULL, "no loop"},
        {"GET", "/v1/loops/not-a-loop", NULL, NULL, 404, NULL, "nothing at"},
        {"GET", "/v1/plans", NULL, NULL, 200, NULL, "\"shed\""},
        {"GET", "/v1/signals", NULL, NULL, 200, NULL, "\"items\":["},
        {"GET", "/v1/anomalies", NULL, NULL, 200, NULL, "\"items\":["},
        {"GET", "/v1/capacity", NULL, NULL, 200, NULL, "\"items\":["},
        {"GET", "/v1/agents", NULL, NULL, 200, NULL, "{\"items\":[]}"},
        {"GET", "/v1/load-tests", NULL, NULL, 200, NULL, "{\"items\":[]}"},
        {"GET", "/v1/load-tests/" ULID, NULL, NULL, 404, NULL, "no load test"},
        {"DELETE", "/v1/load-tests/" ULID, NULL, NULL, 404, NULL, "no load test"},
        {"DELETE", "/v1/load-tests", NULL, NULL, 405, "allow: GET, HEAD, POST", NULL},
        {"POST", "/v1/load-tests/" ULID, JSON, "{}", 405, "allow: GET, HEAD, DELETE", NULL},
        {"POST", "/v1/load-tests", JSON, "{", 400, NULL, "\"line\":1"},
        {"POST", "/v1/load-tests", JSON, "[]", 400, NULL, "not an object"},
        {"POST", "/v1/load-tests", JSON, "{\"reason\":\"x\",\"step\":\"5%\"}", 422, NULL, "\"pointer\":\"/step\""},
        {"POST", "/v1/load-tests", JSON, "{\"reason\":\"x\"}", 422, NULL, "\"pointer\":\"/service\""},
        {"POST", "/v1/load-tests", JSON, "{\"service\":\"checkout\"}", 422, NULL, "\"pointer\":\"/reason\""},
        {"POST", "/v1/load-tests", JSON, "{\"service\":\"checkout\",\"dry_run\":true}", 200, NULL, "\"possible\":false"},
        {"POST", "/v1/load-tests", JSON, "{\"service\":\"checkout\",\"reason\":\"x\"}", 409, NULL, "no service checkout"},
        {"GET", "/v1/loops/" ULID "/explain", NULL, NULL, 404, NULL, "no loop"},
        {"GET", "/v1/events/1/explain", NULL, NULL, 404, NULL, "no event 1"},
        {"GET", "/v1/events/0/explain", NULL, NULL, 400, NULL, "0 is no event"},
        {"GET", "/v1/events/x/explain", NULL, NULL, 400, NULL, "x is no event"},
        {"GET", "/v1/events/99999999999999999999/explain", NULL, NULL, 400, NULL, "is no event"},
        {"GET", "/v1/decisions/1/explain", NULL, NULL, 404, NULL, "version 1"},
        {"GET", "/v1/decisions/v1/explain", NULL, NULL, 400, NULL, "is no version"},
        {"GET", "/v1/events?limit=5", NULL, NULL, 200, NULL, "\"next\":null"},
        {"GET", "/v1/events?after=-1", NULL, NULL, 400, NULL, "after=-1"},
        {"GET", "/v1/openapi.json", NULL, NULL, 200, NULL, "\"openapi\": \"3.1.0\""},
        {"GET", "/-/healthy", NULL, NULL, 200, "text/plain", "running"},
        {"GET", "/-/ready", NULL, NULL, 200, NULL, "ready"},
        {"GET", "/metrics", NULL, NULL, 200, "version=0.0.4", "trimtab_ticks_total 1"},
        {"GET", "/metrics", NULL, NULL, 200, NULL, "trimtab_http_requests_total{route=\"/v1/status\",method=\"GET\",code=\"2xx\"}"},
        {"GET", "/v1/nothing", NULL, NULL, 404, "application/problem+json", "\"status\":404"},
        {"DELETE", "/v1/status", NULL, NULL, 405, "allow: GET, HEAD", "use GET"},
        {"GET", "/v1/reports", NULL, NULL, 405, "allow: POST", NULL},
        {"POST", "/index.html", JSON, "{}", 405, "allow: GET, HEAD", NULL},
        {"GET", "/nothing.js", NULL, NULL, 404, NULL, "no page"},
        {"GET", "/", NULL, NULL, 200, "content-security-policy: default-src 'self'; style-src 'self'; img-src 'self' data:", "<"},
        /* what a page of another site could do */
        {"GET", "/v1/status", "Host: evil.example:80", NULL, 403, NULL, "evil.example"},
        {"GET", "/v1/status", "Host: 127.0.0.1.evil.example", NULL, 403, NULL, NULL},
        {"GET", "/v1/status", "Host: localhost", NULL, 200, NULL, NULL},
        {"GET", "/v1/status", "Host: [::1]:7070", NULL, 200, NULL, NULL},
        {"GET", "/v1/status", "Host: 10.0.0.1", NULL, 403, NULL, NULL},
        {"POST", "/v1/automation:freeze", JSON "\nOrigin: http://evil.example", "{\"reason\":\"x\"}", 403, NULL, "evil.example"},
        {"POST", "/v1/automation:freeze", JSON "\nOrigin: null", "{\"reason\":\"x\"}", 403, NULL, NULL},
        {"POST", "/v1/automation:freeze", JSON "\nHost: localhost:9\nOrigin: http://localhost:9", "{\"reason\":\"x\"}", 202, NULL,
         "\"accepted\":true"},
        {"POST", "/v1/automation:freeze", JSON "\nHost: localhost:9\nOrigin: http://localhost:8", "{\"reason\":\"x\"}", 403, NULL, NULL},
        {"POST", "/v1/automation:freeze", "Content-Type: text/plain", "{\"reason\":\"x\"}", 415, NULL, "text/plain"},
        {"POST", "/v1/automation:freeze", "Content-Type:", "{\"reason\":\"x\"}", 415, NULL, "missing"},
        {"POST", "/v1/automation:freeze", JSON "; charset=utf-8", "{\"reason\":\"x\"}", 202, NULL, NULL},
        {"POST", "/v1/automation:resume", JSON, "{\"reason\":\"x\"}", 202, NULL, NULL},
        /* reasons */
        {"POST", "/v1/automation:freeze", JSON, "{}", 422, NULL, "\"pointer\":\"/reason\""},
        {"POST", "/v1/automation:freeze", JSON, "[]", 422, NULL, "\"pointer\":\"/reason\""},
        {"POST", "/v1/automation:freeze", JSON, "{\"reason\":\"  \"}", 422, NULL, "not blank"},
        {"POST", "/v1/automation:freeze", JSON, "{\"reason\":5}", 422, NULL, "must be text"},
        {"POST", "/v1/automation:freeze", JSON, "{\"reason\":", 400, NULL, "\"line\":1"},
        {"POST", "/v1/loops/" ULID ":abort", JSON, "{\"reason\":\"x\"}", 404, NULL, "no loop"},
        {"POST", "/v1/loops/" ULID ":explode", JSON, "{\"reason\":\"x\"}", 404, NULL, NULL},
        /* reports */
        {"POST", "/v1/reports", JSON, "{\"service\":\"front\",\"dc\":\"dc-a\",\"instance\":\"i1\",\"span_ms\":1000}", 204, NULL, NULL},
        {"POST", "/v1/reports", JSON, "{\"service\":\"front\"}", 422, NULL, "/instance is missing"},
        {"POST", "/v1/reports", JSON, "{", 400, NULL, "\"line\":1"},
        /* reload needs no body */
        {"POST", "/-/reload", "Content-Type:", "", 200, NULL, NULL},
        {"POST", "/-/reload", "Content-Type: text/plain", "", 415, NULL, NULL},
    };
    for (size_t i = 0; i < TT_COUNT(rows); i++) {
        print_message("  %s %s %s\n", rows[i].method, rows[i].path, rows[i].headers ? rows[i].headers : "");
        reply r = http(rows[i].method, port, rows[i].path, rows[i].headers, rows[i].body, rows[i].body ? strlen(rows[i].body) : 0);
        if (r.status != rows[i].status) fail_msg("%ld, not %ld: %s", r.status, rows[i].status, r.body);
        if (rows[i].header && !has_header(&r, rows[i].header)) fail_msg("no %s in %s", rows[i].header, r.headers);
        if (rows[i].says && !strstr(r.body, rows[i].says)) fail_msg("no %s in %s", rows[i].says, r.body);
        if (r.status >= 400 && strncmp(rows[i].path, "/v1", 3) == 0) {
            json_t *problem = parsed(&r);
            assert_int_equal(json_integer_value(json_object_get(problem, "status")), r.status);
            assert_true(json_is_string(json_object_get(problem, "detail")));
            json_decref(problem);
        }
        forget(&r);
    }
}

static void documents_are_json(void **state) {
    (void)state;
    static const char *const paths[] = {"/v1/status",   "/v1/loops?state=all", "/v1/plans",  "/v1/signals",      "/v1/anomalies",
                                        "/v1/capacity", "/v1/agents",          "/v1/events", "/v1/openapi.json", "/v1/decisions"};
    fake_tick(app, true);
    fake_publish(app, "checkout", "dc-a", 5, 100);
    for (size_t i = 0; i < TT_COUNT(paths); i++) {
        print_message("  %s\n", paths[i]);
        reply r = get(port, paths[i]);
        assert_int_equal(r.status, 200);
        json_decref(parsed(&r));
        forget(&r);
    }
}

/* Every route of the description is one the server knows, and answers to its method. */
static void description_is_true(void **state) {
    (void)state;
    reply r = get(port, "/v1/openapi.json");
    json_t *root = parsed(&r);
    forget(&r);
    const char *path, *method;
    json_t *item, *operation;
    json_object_foreach(json_object_get(root, "paths"), path, item) {
        char real[256];
        const char *hole = strstr(path, "{id}");
        if (hole)
            snprintf(real, sizeof real, "%.*s" ULID "%s", (int)(hole - path), path, hole + 4);
        else
            snprintf(real, sizeof real, "%s", path);
        json_object_foreach(item, method, operation) {
            print_message("  %s %s\n", method, path);
            assert_true(json_is_object(json_object_get(operation, "responses")));
            bool is_post = strcmp(method, "post") == 0;
            reply a = is_post ? post(port, real, "{") : strcmp(method, "delete") == 0 ? http("DELETE", port, real, NULL, NULL, 0) : get(port, real);
            assert_int_not_equal(a.status, 405);
            assert_int_not_equal(a.status, 0);
            assert_null(strstr(a.body, "nothing at"));
            char code[8];
            snprintf(code, sizeof code, "%ld", a.status);
            if (!json_object_get(json_object_get(operation, "responses"), code)) fail_msg("%s %s: %s is not described", method, path, code);
            forget(&a);
        }
    }
    json_decref(root);
}

static void bodies_have_a_ceiling(void **state) {
    (void)state;
    size_t n = (1 << 20) + 1;
    char *big = malloc(n);
    memset(big, ' ', n);
    reply r = http("POST", port, "/v1/reports", JSON "\nExpect:", big, n);
    assert_int_equal(r.status, 413);
    forget(&r);
    r = http("POST", port, "/v1/reports", JSON "\nExpect:\nTransfer-Encoding: chunked", big, n); /* without saying how much comes */
    assert_int_equal(r.status, 413);
    forget(&r);
    r = http("POST", port, "/v1/reports", JSON "\nExpect:", big, n - 1); /* exactly the most: read, and then refused for what it says */
    assert_int_equal(r.status, 400);
    forget(&r);
    free(big);
}

static void commands_follow_what_the_loop_allows(void **state) {
    (void)state;
    fake_tick(app, true);
    fake_tick(app, true);
    reply r = get(port, "/v1/loops?state=open");
    json_t *loops = parsed(&r), *loop = json_array_get(json_object_get(loops, "items"), 0);
    const char *id = json_string_value(json_object_get(loop, "id")), *phase = json_string_value(json_object_get(loop, "phase"));
    if (!id) fail_msg("no loop: %s", r.body);
    print_message("  loop %s is %s\n", id, phase);
    static const char *const verbs[] = {"abort", "approve", "refuse"};
    static const tt_command_kind kinds[] = {TT_CMD_ABORT, TT_CMD_APPROVE, TT_CMD_REFUSE};
    size_t refused = 0;
    for (size_t i = 0; i < TT_COUNT(verbs); i++) {
        bool allowed = false;
        size_t k;
        const json_t *one;
        json_array_foreach(json_object_get(loop, "allowed"), k, one) allowed |= strcmp(json_string_value(one), verbs[i]) == 0;
        char path[128];
        size_t before = app->n_commands;
        snprintf(path, sizeof path, "/v1/loops/%s:%s", id, verbs[i]);
        reply a = post(port, path, "{\"reason\":\"db failover\"}");
        print_message("  %s: %s, %ld\n", verbs[i], allowed ? "allowed" : "not allowed", a.status);
        assert_int_equal(a.status, allowed ? 202 : 409);
        refused += !allowed;
        if (!allowed) assert_non_null(strstr(a.body, "is not possible now"));
        assert_int_equal(app->n_commands, before + allowed);
        if (allowed) {
            assert_int_equal(app->commands[before].kind, kinds[i]);
            assert_string_equal(app->commands[before].loop, id);
            assert_string_equal(app->commands[before].actor, "operator (local)");
            assert_string_equal(app->commands[before].reason, "db failover");
        }
        forget(&a);
    }
    assert_int_equal(refused, strcmp(phase, "awaiting_approval") == 0 ? 0 : 2);
    char path[128];
    snprintf(path, sizeof path, "/v1/loops/%s", id);
    reply a = get(port, path);
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(a.body, "\"history\":["));
    forget(&a);
    uint64_t seq = fake_journal(app, id, "mine");
    fake_journal(app, "", "another's");
    snprintf(path, sizeof path, "/v1/loops/%s/events", id);
    a = get(port, path);
    json_t *events = parsed(&a), *items = json_object_get(events, "items");
    assert_int_equal(json_array_size(items), 1);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(items, 0), "seq")), seq);
    json_decref(events);
    forget(&a);
    snprintf(path, sizeof path, "/v1/loops/%s/explain", id);
    a = get(port, path);
    assert_int_equal(a.status, 200);
    json_t *why = parsed(&a);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(json_object_get(why, "explained"), "event"), "seq")), seq);
    assert_int_equal(json_array_size(json_object_get(why, "events")), 1);
    json_decref(why);
    forget(&a);
    snprintf(path, sizeof path, "/v1/events/%llu/explain", (unsigned long long)seq + 1);
    a = get(port, path);
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(a.body, "another's"));
    forget(&a);
    app->queue_full = true;
    a = post(port, "/v1/automation:freeze", "{\"reason\":\"x\"}");
    assert_int_equal(a.status, 503);
    forget(&a);
    json_decref(loops);
    forget(&r);
}

static void pages_of_the_journal(void **state) {
    (void)state;
    uint64_t last = 0;
    for (int i = 0; i < 5; i++) last = fake_journal(app, "", "r");
    uint64_t after = 0;
    size_t seen = 0, pages = 0;
    for (bool more = true; more; pages++) {
        char path[96];
        snprintf(path, sizeof path, "/v1/events?limit=2&after=%llu", (unsigned long long)after);
        reply r = get(port, path);
        json_t *page = parsed(&r), *next = json_object_get(page, "next");
        seen += json_array_size(json_object_get(page, "items"));
        more = json_is_integer(next);
        if (more) after = (uint64_t)json_integer_value(next);
        json_decref(page);
        forget(&r);
    }
    assert_int_equal(seen, last);
    assert_int_equal(pages, (last + 1) / 2);
}

static void reload_says_what_is_wrong(void **state) {
    (void)state;
    app->reload_fails = true;
    reply r = post(port, "/-/reload", "{}");
    assert_int_equal(r.status, 422);
    json_t *problem = parsed(&r), *one = json_array_get(json_object_get(problem, "errors"), 0);
    assert_string_equal(json_string_value(json_object_get(one, "file")), "plans.yaml");
    assert_int_equal(json_integer_value(json_object_get(one, "line")), 7);
    json_decref(problem);
    forget(&r);
    app->not_ready = true;
    r = get(port, "/-/ready");
    assert_int_equal(r.status, 503);
    assert_non_null(strstr(r.body, "cannot be written"));
    forget(&r);
}

static void addresses(void **state) {
    (void)state;
    static const struct {
        const char *address, *says;
    } rows[] = {
        {"0.0.0.0", "will not listen on 0.0.0.0"},
        {"::", "will not listen on ::"},
        {"192.0.2.1", "TLS and tokens"},
        {"example.org", "not an IP address"},
    };
    for (size_t i = 0; i < TT_COUNT(rows); i++) {
        tt_err err = {0};
        assert_null(tt_http_start(app, app->board, &(tt_http_options){.address = rows[i].address}, &err));
        if (!strstr(err.text, rows[i].says)) fail_msg("%s", err.text);
        assert_non_null(strstr(err.text, "--listen"));
    }
    tt_err err = {0};
    char taken[64];
    assert_null(tt_http_start(app, app->board, &(tt_http_options){.address = "127.0.0.1", .port = port}, &err));
    snprintf(taken, sizeof taken, "127.0.0.1:%u is taken", port);
    assert_non_null(strstr(err.text, taken));
    assert_non_null(strstr(err.text, "--listen"));
}

static void write_file(const char *dir, const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void dashboard_from_disk(void **state) {
    (void)state;
    char web[128], secret[160];
    snprintf(web, sizeof web, "%s/web", app->dir);
    assert_int_equal(mkdir(web, 0700), 0);
    write_file(web, "index.html", "<p>hello");
    write_file(web, "app.js", "1;");
    write_file(web, ".hidden", "no");
    write_file(app->dir, "secret.txt", "no");
    snprintf(secret, sizeof secret, "%s/link.txt", web);
    assert_int_equal(symlink("../secret.txt", secret), 0);
    tt_http *h = fake_serve(app, web);
    uint16_t p = tt_http_port(h);
    reply r = get(p, "/");
    assert_int_equal(r.status, 200);
    assert_string_equal(r.body, "<p>hello");
    assert_true(has_header(&r, "content-type: text/html"));
    const char *etag = strcasestr(r.headers, "etag: ");
    assert_non_null(etag);
    char match[96];
    snprintf(match, sizeof match, "If-None-Match: %.*s", (int)strcspn(etag + 6, "\r\n"), etag + 6);
    forget(&r);
    r = http("GET", p, "/", match, NULL, 0);
    assert_int_equal(r.status, 304);
    forget(&r);
    static const char *const out[] = {"/../secret.txt", "/%2e%2e/secret.txt", "/.hidden", "/link.txt", "//etc/passwd", "/x/../app.js", "/"};
    for (size_t i = 0; i + 1 < TT_COUNT(out); i++) {
        r = get(p, out[i]);
        if (r.status != 404) fail_msg("%s: %ld", out[i], r.status);
        forget(&r);
    }
    tt_http_stop(h);
}

int main(void) {
#define EACH(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        EACH(routes),
        EACH(documents_are_json),
        EACH(description_is_true),
        EACH(bodies_have_a_ceiling),
        EACH(commands_follow_what_the_loop_allows),
        cmocka_unit_test_setup_teardown(commands_follow_what_the_loop_allows, setup_advise, teardown),
        EACH(pages_of_the_journal),
        EACH(reload_says_what_is_wrong),
        EACH(addresses),
        EACH(dashboard_from_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
