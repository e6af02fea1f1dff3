/* How long a decision takes to its agents: thousands of blocking queries wait on one process, a decision is published, and each caller notes when it
 * has read its answer whole. Callers ask again at once, as agents do, so the wave carries its own aftermath. Server and callers are two processes
 * that share the machine's cores. Never part of a test. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fake_app.h"

enum { SERVICES = 20, ANSWER_MAX = 4096, EPOCH = 3 };

static unsigned agents = 19000;
static int rounds = 15;

static int64_t now_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void want_descriptors(unsigned n) {
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0) return;
    r.rlim_cur = r.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &r);
    if (r.rlim_max < n + 300) {
        fprintf(stderr, "board_bench: %llu descriptors are allowed, %u agents need %u: raise the hard limit (ulimit -Hn), or give --agents=N\n",
                (unsigned long long)r.rlim_max, n, n + 300);
        exit(1);
    }
}

/* ---- the server's process: tells its port, then publishes a round for each byte it is sent ---- */

static void serve(int from, int to) {
    tt_app *app = fake_app(false);
    tt_http *h = fake_serve(app, NULL);
    uint64_t port = tt_http_port(h);
    tt_board_publish(app->board, NULL, 0, (tt_time){now_ns()});
    if (write(to, &port, sizeof port) != sizeof port) exit(1);
    uint64_t version = 0;
    tt_decision *d = calloc(SERVICES, sizeof *d);
    for (char go; d && read(from, &go, 1) == 1;) {
        for (int i = 0; i < SERVICES; i++) {
            d[i] = (tt_decision){.epoch = EPOCH, .version = ++version, .expire_after_ms = 600000, .decay_over_ms = 300000, .n_actions = 1};
            snprintf(d[i].target.service, sizeof d[i].target.service, "service-%d", i);
            snprintf(d[i].target.dc, sizeof d[i].target.dc, "dc-a");
            d[i].actions[0] = (tt_act){.kind = TT_ACT_DROP, .name = "batch", .value = 0.1 + 0.001 * (double)(version % 100)};
        }
        int64_t at = now_ns();
        tt_board_publish(app->board, d, SERVICES, (tt_time){at});
        int64_t said[2] = {at, now_ns()};
        if (write(to, said, sizeof said) != sizeof said) break;
    }
    tt_http_stop(h);
    fake_app_free(app);
    exit(0);
}

/* ---- the callers ---- */

typedef struct {
    int fd;
    unsigned n;
    uint64_t version;
    int64_t told_at;
    size_t got, body_at, whole;
    char text[ANSWER_MAX];
} caller;

static void ask(caller *c) {
    char text[512];
    int n = snprintf(text, sizeof text,
                     "GET /v1/decisions?service=service-%u&dc=dc-a&instance=10.0.%u.%u:8080&epoch=%d&version=%llu&wait=60s HTTP/1.1\r\n"
                     "Host: 127.0.0.1\r\n\r\n",
                     c->n % SERVICES, c->n >> 8, c->n & 255, EPOCH, (unsigned long long)c->version);
    if (write(c->fd, text, (size_t)n) != n) {
        perror("board_bench: write");
        exit(1);
    }
    c->got = c->whole = 0;
}

static void dial(caller *c, uint16_t port, int poll) {
    struct sockaddr_in from = {.sin_family = AF_INET}, to = {.sin_family = AF_INET, .sin_port = htons(port)};
    /* One source address has fewer ports than there may be agents. */
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + c->n / 8000);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)setsockopt(c->fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    (void)setsockopt(c->fd, SOL_TCP, TCP_NODELAY, &one, sizeof one);
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};
    if (c->fd < 0 || bind(c->fd, (struct sockaddr *)&from, sizeof from) != 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0 ||
        epoll_ctl(poll, EPOLL_CTL_ADD, c->fd, &ev) != 0) {
        perror("board_bench: connect");
        exit(1);
    }
}

/* true: the answer is whole. */
static bool hear(caller *c) {
    ssize_t n = recv(c->fd, c->text + c->got, sizeof c->text - 1 - c->got, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) return false;
    if (n <= 0) {
        fprintf(stderr, "board_bench: the server hung up\n");
        exit(1);
    }
    c->got += (size_t)n;
    c->text[c->got] = 0;
    if (!c->whole) {
        const char *end = strstr(c->text, "\r\n\r\n"), *length = strcasestr(c->text, "Content-Length:");
        if (!end || !length) return false;
        c->body_at = (size_t)(end - c->text) + 4;
        c->whole = c->body_at + strtoul(length + 15, NULL, 10);
    }
    if (c->got < c->whole) return false;
    c->told_at = now_ns();
    const char *version = strstr(c->text + c->body_at, "\"version\":");
    c->version = version ? strtoull(version + 10, NULL, 10) : 0;
    return true;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static unsigned hear_all(caller *c, int poll, unsigned wanted, int patience_ms) {
    struct epoll_event ev[256];
    unsigned heard = 0;
    (void)c;
    while (heard < wanted) {
        int n = epoll_wait(poll, ev, 256, patience_ms);
        if (n <= 0) break;
        for (int i = 0; i < n; i++) {
            caller *x = ev[i].data.ptr;
            if (!hear(x)) continue;
            heard++;
            ask(x);
        }
    }
    return heard;
}

static double cpu_s(pid_t pid) {
    char path[64], text[512] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "r");
    unsigned long user = 0, sys = 0;
    if (f && fgets(text, sizeof text, f)) {
        const char *p = strrchr(text, ')');
        if (p) (void)sscanf(p + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &sys);
    }
    if (f) fclose(f);
    return (double)(user + sys) / (double)sysconf(_SC_CLK_TCK);
}

static void run(int to, int from, pid_t server) {
    uint64_t port;
    if (read(from, &port, sizeof port) != sizeof port) exit(1);
    int poll = epoll_create1(EPOLL_CLOEXEC);
    caller *c = calloc(agents, sizeof *c);
    double *took = calloc(agents, sizeof *took), *p99 = calloc((size_t)rounds, sizeof *p99), *p50 = calloc((size_t)rounds, sizeof *p50),
           *last = calloc((size_t)rounds, sizeof *last), *publish = calloc((size_t)rounds, sizeof *publish);
    if (!c || !took || !p99 || !p50 || !last || !publish) exit(1);
    for (unsigned i = 0; i < agents; i++) {
        c[i].n = i;
        dial(&c[i], (uint16_t)port, poll);
        ask(&c[i]);
    }
    printf("%u agents of %d services wait on one process\n%5s %9s %9s %9s %12s\n", agents, SERVICES, "round", "p50", "p99", "last", "publishing");
    double cpu = 0;
    for (int k = -2; k < rounds; k++) { /* the first warm up */
        /* All have asked and wait: nobody is told anything now. */
        struct timespec rest = {.tv_sec = 1};
        nanosleep(&rest, NULL);
        if (hear_all(c, poll, 1, 0) != 0) fprintf(stderr, "board_bench: an answer nobody waited for\n");
        double before = cpu_s(server);
        if (write(to, "g", 1) != 1) exit(1);
        int64_t said[2];
        unsigned heard = hear_all(c, poll, agents, 5000);
        if (read(from, said, sizeof said) != sizeof said) exit(1);
        if (heard != agents) fprintf(stderr, "board_bench: only %u of %u were told\n", heard, agents);
        if (k < 0) continue;
        for (unsigned i = 0; i < agents; i++) took[i] = (double)(c[i].told_at - said[0]) / 1e6;
        qsort(took, agents, sizeof *took, by_value);
        p50[k] = took[agents / 2];
        p99[k] = took[agents * 99ull / 100];
        last[k] = took[agents - 1];
        publish[k] = (double)(said[1] - said[0]) / 1e6;
        cpu += cpu_s(server) - before;
        printf("%5d %6.0f ms %6.0f ms %6.0f ms %9.1f ms\n", k + 1, p50[k], p99[k], last[k], publish[k]);
    }
    qsort(p50, (size_t)rounds, sizeof *p50, by_value);
    qsort(p99, (size_t)rounds, sizeof *p99, by_value);
    qsort(last, (size_t)rounds, sizeof *last, by_value);
    qsort(publish, (size_t)rounds, sizeof *publish, by_value);
    printf("%5s %6.0f ms %6.0f ms %6.0f ms %9.1f ms; worst p99 %.0f ms; the server's own processor time %.0f ms a round\n", "median", p50[rounds / 2],
           p99[rounds / 2], last[rounds / 2], publish[rounds / 2], p99[rounds - 1], cpu / rounds * 1e3);
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--agents=", 9) == 0 && atoi(argv[i] + 9) > 0)
            agents = (unsigned)atoi(argv[i] + 9);
        else if (strncmp(argv[i], "--rounds=", 9) == 0 && atoi(argv[i] + 9) > 0)
            rounds = atoi(argv[i] + 9);
        else {
            fprintf(stderr, "usage: board_bench [--agents=N] [--rounds=N]\n");
            return 2;
        }
    }
    want_descriptors(agents);
    double load[3] = {0};
    (void)getloadavg(load, 3);
    printf("%ld cores, load average before: %.2f\n", sysconf(_SC_NPROCESSORS_ONLN), load[0]);
    fflush(stdout);
    int to_server[2], from_server[2];
    if (pipe(to_server) != 0 || pipe(from_server) != 0) return 1;
    pid_t pid = fork();
    if (pid == 0) {
        close(to_server[1]);
        close(from_server[0]);
        serve(to_server[0], from_server[1]);
    }
    close(to_server[0]);
    close(from_server[1]);
    run(to_server[1], from_server[0], pid);
    close(to_server[1]);
    int status;
    waitpid(pid, &status, 0);
    return 0;
}
