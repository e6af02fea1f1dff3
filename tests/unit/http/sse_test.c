/* Event streams: live, resumed without a gap or a repeat, ended when their reader is too slow. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "client.h"
#include "fake_app.h"

static tt_app *app;
static tt_http *server;
static uint16_t port;
enum { SLOW_EVENTS = 1800 }; /* of 8 kB: more than the ring and the socket buffers hold together */
#define STREAM "Accept: text/event-stream"

static int setup(void **state) {
    (void)state;
    app = fake_app(true);
    server = fake_serve(app, NULL);
    port = tt_http_port(server);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    tt_http_stop(server);
    fake_app_free(app);
    return 0;
}

/* As the main loop does: the journal first, then the streams. */
static uint64_t happens(const char *reason) {
    char json[256];
    uint64_t seq = fake_journal(app, "", reason);
    snprintf(json, sizeof json, "{\"seq\":%llu,\"kind\":\"hold\",\"reason\":\"%s\"}", (unsigned long long)seq, reason);
    tt_http_event(server, seq, "hold", tt_sv_of(json));
    return seq;
}

static void live(void **state) {
    (void)state;
    happens("before");
    assert_false(tt_http_has_streams(server));
    later *l = http_later("GET", port, "/v1/events", STREAM);
    assert_true(metric_becomes(port, "trimtab_http_streams 1"));
    assert_true(tt_http_has_streams(server));
    uint64_t seq = happens("now");
    char want[128];
    snprintf(want, sizeof want, "id: %llu\nevent: hold\ndata: {\"seq\":%llu,\"kind\":\"hold\",\"reason\":\"now\"}\n\n", (unsigned long long)seq,
             (unsigned long long)seq);
    assert_true(later_wait(l, want));
    assert_false(later_has(l, "before"));
    tt_http_tick(server, TT_SV("{\"status\":{}}"));
    assert_true(later_wait(l, "event: tick\ndata: {\"status\":{}}\n\n"));
    tt_http_tick(server, TT_SV("two\nlines")); /* can't break the stream */
    assert_true(later_wait(l, "event: tick\ndata: two\ndata: lines\n\n"));
    later_cancel(l);
    happens("nobody hears it");
    happens("nobody hears it"); /* the first write finds the socket closed */
    assert_true(metric_becomes(port, "trimtab_http_streams 0"));
}

static void check_run(later *l, uint64_t first, uint64_t last) {
    for (uint64_t seq = first; seq <= last; seq++) {
        char id[48];
        snprintf(id, sizeof id, "id: %llu\n", (unsigned long long)seq);
        assert_true(later_wait(l, id));
        if (later_count(l, id) != 1) fail_msg("%s came %zu times", id, later_count(l, id));
    }
}

static void resumed(void **state) {
    (void)state;
    uint64_t first = 0, last = 0;
    for (int i = 0; i < 450; i++) { /* more than two pages of replay */
        last = happens("past");
        if (i == 0) first = last;
    }
    later *all = http_later("GET", port, "/v1/events?after=0", STREAM);
    char header[96];
    snprintf(header, sizeof header, STREAM "\nLast-Event-ID: %llu", (unsigned long long)(last - 3));
    later *tail = http_later("GET", port, "/v1/events?after=0", header); /* as a browser does: the header wins */
    for (int i = 0; i < 50; i++) last = happens("while it replays");
    check_run(all, first, last);
    check_run(tail, last - 52, last);
    assert_int_equal(later_count(tail, "\nid: "), 53); /* and nothing before */
    later_cancel(all);
    later_cancel(tail);
}

static void resumed_after_a_restart(void **state) {
    (void)state;
    uint64_t first = fake_journal(app, "", "of the daemon before"); /* in the journal, never in this one's ring */
    uint64_t last = fake_journal(app, "", "of the daemon before");
    later *l = http_later("GET", port, "/v1/events?after=0", STREAM);
    check_run(l, first, last);
    later *future = http_later("GET", port, "/v1/events?after=999999", STREAM); /* an id of another store */
    assert_true(metric_becomes(port, "trimtab_http_streams 2"));
    assert_true(later_wait(future, "retry: "));
    uint64_t seq;
    char id[48];
    do { /* what happens while the stream looks for its place may be behind it */
        seq = happens("new");
        snprintf(id, sizeof id, "id: %llu\n", (unsigned long long)seq);
    } while (!later_has(future, "id: ") && seq < last + 5000);
    assert_true(later_has(future, "id: "));
    later_cancel(l);
    later_cancel(future);
}

static void bad_place(void **state) {
    (void)state;
    reply r = http("GET", port, "/v1/events", STREAM "\nLast-Event-ID: abc", NULL, 0);
    assert_int_equal(r.status, 400);
    forget(&r);
    r = http("GET", port, "/v1/events?after=abc", STREAM, NULL, 0);
    assert_int_equal(r.status, 400);
    forget(&r);
    r = http("HEAD", port, "/v1/events", STREAM, NULL, 0);
    assert_int_equal(r.status, 200);
    forget(&r);
}

/* One that does not read while the ring goes round more than once is ended, and the others never notice. */
static void slow_reader(void **state) {
    (void)state;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), small = 4096;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    static const char ask[] = "GET /v1/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\nConnection: close\r\n\r\n";
    assert_int_equal(send(fd, ask, sizeof ask - 1, 0), sizeof ask - 1);
    later *other = http_later("GET", port, "/v1/events", STREAM);
    assert_true(metric_becomes(port, "trimtab_http_streams 2"));
    char *big = malloc(8000);
    memset(big, 'x', 8000);
    uint64_t seq = 0;
    char id[32];
    for (size_t i = 0; i < SLOW_EVENTS; i++) {
        tt_http_event(server, ++seq, "hold", (tt_sv){big, 8000});
        if (i % 100) continue; /* so that the quick one keeps up */
        snprintf(id, sizeof id, "id: %llu\n", (unsigned long long)seq);
        assert_true(later_wait(other, id));
        later_clear(other);
    }
    snprintf(id, sizeof id, "id: %llu\n", (unsigned long long)seq);
    assert_true(later_wait(other, id));
    size_t total = 0;
    ssize_t n = 1;
    while (n > 0) { /* now it reads: what was on its way, and then the end */
        struct pollfd p = {.fd = fd, .events = POLLIN};
        assert_int_equal(poll(&p, 1, CLIENT_PATIENCE_S * 1000), 1);
        n = recv(fd, big, 8000, 0);
        if (n > 0) total += (size_t)n;
    }
    assert_true(total < (size_t)SLOW_EVENTS * 8000);
    assert_true(metric_becomes(port, "trimtab_http_streams_dropped_total 1"));
    assert_true(metric_becomes(port, "trimtab_http_streams 1"));
    close(fd);
    free(big);
    later_cancel(other);
}

static void stopping_ends_the_streams(void **state) {
    (void)state;
    later *l = http_later("GET", port, "/v1/events", STREAM);
    assert_true(later_wait(l, "retry: 1000"));
    tt_http_stop(server);
    assert_true(later_ended(l));
    reply r = later_finish(l);
    assert_int_equal(r.status, 200);
    forget(&r);
    server = fake_serve(app, NULL);
}

int main(void) {
#define EACH(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        EACH(live), EACH(resumed), EACH(resumed_after_a_restart), EACH(bad_place), EACH(slow_reader), EACH(stopping_ends_the_streams),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
