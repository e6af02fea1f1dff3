/* What the library costs a request: median and best of many rounds, in ns an operation. Run it on a quiet machine; it is never part of a test. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <trimtab/dataplane.h>

enum { ROUNDS = 2001, OPS = 10000 }; /* a round is shorter than a time slice */

static int64_t now_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static char keys[1024][24];
static size_t key_len[1024];
static atomic_bool stop;
static volatile unsigned sink;

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef void operation(tt_dp *dp, int64_t now, unsigned i);

static void admit(tt_dp *dp, int64_t now, unsigned i) {
    sink = tt_dp_admit(dp, i % 3, keys[i % 1024], key_len[i % 1024], now);
}
static void nothing(tt_dp *dp, int64_t now, unsigned i) {
    sink = (unsigned)((uintptr_t)dp + (uintptr_t)now + i % 3 + (uintptr_t)keys[i % 1024] + key_len[i % 1024]);
}
static void admit_no_key(tt_dp *dp, int64_t now, unsigned i) {
    sink = tt_dp_admit(dp, i % 3, NULL, 0, now);
}
static void admit_own_clock(tt_dp *dp, int64_t now, unsigned i) {
    (void)now;
    sink = tt_dp_admit(dp, i % 3, keys[i % 1024], key_len[i % 1024], 0);
}
static void whole_request(tt_dp *dp, int64_t now, unsigned i) {
    if (tt_dp_admit(dp, i % 3, keys[i % 1024], key_len[i % 1024], now) != TT_DP_ADMIT) return;
    tt_dp_started(dp, now);
    tt_dp_finished(dp, i % 3, TT_DP_OK, 20000000, now);
}
static void degrade(tt_dp *dp, int64_t now, unsigned i) {
    (void)now;
    sink = tt_dp_degrade_level(dp, "recommendations", keys[i % 1024], key_len[i % 1024]);
}
static void pick(tt_dp *dp, int64_t now, unsigned i) {
    static const char *const dcs[] = {"dc-a", "dc-b", "dc-c"};
    (void)now;
    sink = (unsigned)tt_dp_pick_dc(dp, "payments", dcs, 3, 0, keys[i % 1024], key_len[i % 1024]);
}
static void called(tt_dp *dp, int64_t now, unsigned i) {
    (void)now;
    tt_dp_called(dp, "payments", "dc-a", "10.0.0.7:8080", i % 3, TT_DP_CALL_OK, 1000000);
}

static void measure(const char *what, tt_dp *dp, operation *op) {
    static double rounds[ROUNDS];
    for (int r = -20; r < ROUNDS; r++) { /* the first warm up */
        int64_t begin = now_ns();
        for (unsigned i = 0; i < OPS; i++) op(dp, begin, i);
        int64_t end = now_ns();
        if (r >= 0) rounds[r] = (double)(end - begin) / OPS;
    }
    qsort(rounds, ROUNDS, sizeof *rounds, by_value);
    printf("%-52s median %6.1f ns, best %6.1f ns, p95 %6.1f ns\n", what, rounds[ROUNDS / 2], rounds[0], rounds[ROUNDS * 95 / 100]);
}

static void apply(tt_dp *dp, const tt_dp_action *actions, size_t n) {
    tt_dp_decision d = {.service = "checkout", .dc = "dc-a", .epoch = 1, .version = 1, .n_actions = n, .actions = actions, .expire_after_ms = 600000};
    if (!tt_dp_apply(dp, &d, 1, 1, 0, 0)) abort();
}

static void apply_weights(tt_dp *dp) {
    static const char *const dcs[] = {"dc-a", "dc-b", "dc-c"};
    static const double shares[] = {0.2, 0.3, 0.5};
    tt_dp_action w = {.kind = TT_DP_WEIGHTS, .n = 3, .names = dcs, .shares = shares};
    tt_dp_decision d = {.service = "payments", .epoch = 1, .version = 1, .n_actions = 1, .actions = &w, .expire_after_ms = -1};
    if (!tt_dp_apply(dp, &d, 1, 1, 0, 0)) abort();
}

static void *busy_reader(void *dp) {
    while (!atomic_load(&stop))
        for (unsigned i = 0; i < 1000; i++) admit(dp, 1, i);
    return NULL;
}

int main(void) {
    for (unsigned i = 0; i < 1024; i++) key_len[i] = (size_t)snprintf(keys[i], sizeof keys[i], "user-%08u", i * 7919);
    tt_dp_options o = {.size = sizeof o, .service = "checkout", .dc = "dc-a", .workers = 8};
    tt_dp *dp = tt_dp_new(&o);
    if (!dp) return 1;
    const tt_dp_action drop = {.kind = TT_DP_DROP, .name = "batch", .value = 0.35};
    const tt_dp_action drops[] = {{.kind = TT_DP_DROP, .name = "batch", .value = 0.35},
                                  {.kind = TT_DP_DROP, .name = "normal", .value = 0.1},
                                  {.kind = TT_DP_DROP, .name = "critical", .value = 0.05}};
    const tt_dp_action limit = {.kind = TT_DP_LIMIT, .value = 1e9};
    const tt_dp_action level = {.kind = TT_DP_DEGRADE, .name = "recommendations", .value = 2, .probe_ratio = 0.02};
    measure("(the loop and the choice of key alone)", dp, nothing);
    measure("admit, nothing in force", dp, admit);
    measure("admit, nothing in force, library reads the clock", dp, admit_own_clock);
    measure("admit + started + finished, nothing in force", dp, whole_request);
    apply(dp, &drop, 1);
    measure("admit, drop on the lowest priority", dp, admit);
    apply(dp, drops, 3);
    measure("admit, drop on every priority", dp, admit);
    measure("admit, drop on every priority, no key", dp, admit_no_key);
    measure("admit, drop, library reads the clock", dp, admit_own_clock);
    pthread_t other;
    pthread_create(&other, NULL, busy_reader, dp);
    measure("admit, drop on every priority, another thread too", dp, admit);
    atomic_store(&stop, true);
    pthread_join(other, NULL);
    apply(dp, &limit, 1);
    measure("admit, rate cap", dp, admit);
    apply(dp, &level, 1);
    measure("degrade_level", dp, degrade);
    apply_weights(dp);
    measure("pick_dc among 3", dp, pick);
    measure("called", dp, called);
    tt_dp_free(dp);
    dp = tt_dp_new(&o);
    if (!dp) return 1;
    tt_dp_inner_loop(dp, true);
    measure("admit + started + finished, inner loop", dp, whole_request);
    tt_dp_free(dp);
    return 0;
}
