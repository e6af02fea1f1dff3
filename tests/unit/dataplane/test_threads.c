/* Many threads at once, and fork. Worth most under -DTRIMTAB_SANITIZE=thread and address. */
#include "common.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "internal.h"

enum { READERS = 6, SWAPS = 3000 };

typedef struct {
    tt_dp *dp;
    _Atomic bool stop;
    _Atomic uint64_t reads;
    _Atomic uint64_t torn;
} shared;

/* Set v: site dc-a has everything when v is even, dc-b when odd; drop all of batch when even, of normal when odd. */
static void swap_in(tt_dp *dp, uint64_t v) {
    static const char *const sites[] = {"dc-a", "dc-b"};
    static const double shares[2][2] = {{1, 0}, {0, 1}};
    tt_dp_action w = {.kind = TT_DP_WEIGHTS, .n = 2, .names = sites, .shares = shares[v % 2]};
    tt_dp_action own[] = {{.kind = TT_DP_DROP, .name = v % 2 ? "normal" : "batch", .value = 1},
                          {.kind = TT_DP_DEGRADE, .name = "recs", .value = (double)(v % 4)},
                          {.kind = TT_DP_LIMIT, .value = 1e9},
                          {.kind = TT_DP_EJECT, .name = "10.0.0.1:80"},
                          {.kind = TT_DP_ISOLATE, .name = "reports", .value = 1},
                          {.kind = TT_DP_CONCURRENCY, .value = 1e9}};
    tt_dp_action calls[] = {{.kind = TT_DP_TIMEOUT, .value = 300}, {.kind = TT_DP_HEDGE, .value = 0}, {.kind = TT_DP_RETRY, .value = 0.1}};
    tt_dp_decision d[] = {{.service = "payments", .version = v, .n_actions = 1, .actions = &w, .expire_after_ms = -1},
                          {.service = "payments", .dc = "dc-a", .version = v, .n_actions = COUNT(calls), .actions = calls, .expire_after_ms = -1},
                          {.service = "checkout",
                           .dc = "dc-a",
                           .version = v,
                           .n_actions = COUNT(own) - v % 2, /* the limit on what is in flight comes and goes */
                           .actions = own,
                           .expire_after_ms = 1000000,
                           .decay_over_ms = 1000}};
    if (!tt_dp_apply(dp, d, COUNT(d), 1 + v / 1000, 0, 0)) abort();
}

static void use_all(shared *s, unsigned i) {
    static const char *const sites[] = {"dc-a", "dc-b"};
    tt_dp *dp = s->dp;
    char key[16];
    size_t n = (size_t)snprintf(key, sizeof key, "user-%u", i);
    unsigned p = i % 3;
    if (p == 0 && tt_dp_admit(dp, 0, key, n, 0) == TT_DP_DROPPED) s->torn++; /* critical is never dropped */
    if (p == 0) {
        tt_dp_started(dp, 0);
        tt_dp_finished(dp, 0, TT_DP_OK, 1000000, 0);
    } else if (tt_dp_admit(dp, p, key, n, 0) == TT_DP_ADMIT)
        tt_dp_abandoned(dp, p, false, 0);
    if (tt_dp_degrade_level(dp, "recs", key, n) > 3) s->torn++;
    if (tt_dp_pick_dc(dp, "payments", sites, 2, 0, key, n) > 1) s->torn++;
    if (!tt_dp_is_ejected(dp, "checkout", "dc-a", "10.0.0.1:80")) s->torn++; /* in every set */
    if (tt_dp_admit_from(dp, "reports", 0, key, n, 0) != TT_DP_DROPPED) s->torn++;
    if (tt_dp_timeout_ms(dp, "payments", "dc-a", 700) != 300 || tt_dp_may_hedge(dp, "payments", "dc-a")) s->torn++;
    if (!tt_dp_may_call(dp, "payments", "dc-a", key, n)) s->torn++;
    (void)tt_dp_may_retry(dp, "payments", "dc-a", 0);
    snprintf(key, sizeof key, "10.0.0.%u", i % 300);
    tt_dp_called(dp, "payments", "dc-a", key, p, TT_DP_CALL_OK, 1000);
    s->reads++;
}

static void *reader(void *ctx) {
    shared *s = ctx;
    for (unsigned i = 0; !s->stop; i++) use_all(s, i);
    return NULL;
}

static void *watcher(void *ctx) {
    shared *s = ctx;
    static char text[1 << 20];
    while (!s->stop) {
        tt_dp_stats stats = {.size = sizeof stats};
        tt_dp_read_stats(s->dp, &stats);
        if (stats.ok[0] > stats.admitted[0] || stats.version > SWAPS || stats.busy_ns > INT64_C(600) * second_ns) s->torn++;
        (void)tt_dp_metrics(s->dp, text, sizeof text);
        tt_dp_inner_loop(s->dp, stats.version % 2);
    }
    return NULL;
}

static void readers_and_a_swapper(void **state) {
    (void)state;
    shared s = {.dp = dp_of("checkout", "dc-a")};
    swap_in(s.dp, 0);
    pthread_t threads[READERS + 1];
    for (int i = 0; i < READERS; i++) assert_int_equal(pthread_create(&threads[i], NULL, reader, &s), 0);
    assert_int_equal(pthread_create(&threads[READERS], NULL, watcher, &s), 0);
    for (uint64_t v = 1; v <= SWAPS || s.reads < 10000; v++) swap_in(s.dp, v <= SWAPS ? v : SWAPS);
    s.stop = true;
    for (int i = 0; i <= READERS; i++) pthread_join(threads[i], NULL);
    assert_int_equal(s.torn, 0);
    int kept = 0;
    swap_in(s.dp, SWAPS); /* nobody reads: everything retired goes */
    for (dp_snapshot *r = s.dp->retired; r; r = r->next_retired) kept++;
    assert_int_equal(kept, 0);
    tt_dp_stats stats = {.size = sizeof stats};
    tt_dp_read_stats(s.dp, &stats);
    assert_int_equal(stats.queued, 0);
    assert_int_equal(stats.inflight, 0);
    assert_int_equal(stats.offered[0] + stats.offered[1] + stats.offered[2], 2 * s.reads); /* each by itself and from an isolated caller */
    tt_dp_free(s.dp);
}

/* A snapshot somebody reads is not freed, and goes when he is done. */
static void a_read_snapshot_stays(void **state) {
    (void)state;
    tt_dp *dp = dp_of("checkout", "dc-a");
    swap_in(dp, 2);
    dp_thread *t = dp_self();
    const dp_snapshot *read = dp_read_begin(t, dp);
    for (uint64_t v = 3; v < 50; v++) swap_in(dp, v);
    assert_int_equal(read->version, 2);
    assert_non_null(dp->retired);
    dp_read_end(t);
    swap_in(dp, 50);
    assert_null(dp->retired);
    /* The same where a slot is shared. */
    dp_thread *common = &dp_rt.threads[DP_SLOTS];
    read = dp_read_begin(common, dp);
    swap_in(dp, 51);
    assert_int_equal(read->version, 50);
    assert_non_null(dp->retired);
    dp_read_end(common);
    swap_in(dp, 52);
    assert_null(dp->retired);
    tt_dp_free(dp);
}

typedef struct {
    tt_dp *dp;
    pthread_barrier_t *all_here;
} crowd;

static void *one_of_a_crowd(void *ctx) {
    crowd *c = ctx;
    (void)tt_dp_admit(c->dp, 0, NULL, 0, 0);
    pthread_barrier_wait(c->all_here); /* all have a slot, or share one, at the same time */
    for (int i = 0; i < 1000; i++) {
        (void)tt_dp_admit(c->dp, 0, NULL, 0, 0);
        tt_dp_started(c->dp, 0);
        tt_dp_finished(c->dp, 0, TT_DP_OK, 1, 0);
    }
    return NULL;
}

/* More threads than slots: nothing is lost. And slots come back: ten times as many threads, one after another. */
static void more_threads_than_slots(void **state) {
    (void)state;
    enum { THREADS = DP_SLOTS + 40 };
    crowd c = {.dp = dp_of("checkout", "dc-a")};
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, THREADS);
    c.all_here = &barrier;
    swap_in(c.dp, 1);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) assert_int_equal(pthread_create(&threads[i], NULL, one_of_a_crowd, &c), 0);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&barrier);
    tt_dp_stats s = {.size = sizeof s};
    tt_dp_read_stats(c.dp, &s);
    assert_int_equal(s.dropped[0], 0);
    assert_int_equal(s.admitted[0], THREADS * 1001);
    assert_int_equal(s.ok[0], THREADS * 1000);
    assert_int_equal(s.queued, THREADS); /* the first of each, never started */
    int taken = 0;
    for (int i = 0; i < DP_SLOTS; i++) taken += atomic_load(&dp_rt.threads[i].taken);
    assert_in_range(taken, 0, 1); /* ours */
    tt_dp_free(c.dp);
}

/* Under the inner loop, from many threads: the queue's own count stays what the counters say. */
static void *loop_user(void *ctx) {
    shared *s = ctx;
    for (unsigned i = 0; i < 20000; i++) {
        if (tt_dp_admit(s->dp, i % 3, NULL, 0, 0) != TT_DP_ADMIT) continue;
        tt_dp_started(s->dp, 0);
        tt_dp_finished(s->dp, i % 3, TT_DP_OK, 1000, 0);
    }
    return NULL;
}

static void inner_loop_counts_right(void **state) {
    (void)state;
    shared s = {.dp = dp_of("checkout", "dc-a")};
    tt_dp_inner_loop(s.dp, true);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, loop_user, &s), 0);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    tt_dp_stats stats = {.size = sizeof stats};
    tt_dp_read_stats(s.dp, &stats);
    assert_int_equal(stats.queued, 0);
    int64_t own = atomic_load(&s.dp->inner.queued);
    assert_true(own > -8 && own < 8); /* set right at samples, while others count: a few off at most */
    assert_int_equal(stats.refused[0], 0);
    tt_dp_free(s.dp);
}

/* The child serves on: with the snapshot, with other threads of the parent caught in the middle of anything. */
static void survives_fork(void **state) {
    (void)state;
    shared s = {.dp = dp_of("checkout", "dc-a")};
    swap_in(s.dp, 1);
    tt_dp_inner_loop(s.dp, true);
    pthread_t threads[4];
    for (int i = 0; i < 3; i++) assert_int_equal(pthread_create(&threads[i], NULL, reader, &s), 0);
    while (s.reads < 1000) sched_yield();
    for (int i = 0; i < 20; i++) (void)tt_dp_admit(s.dp, 0, NULL, 0, 0); /* in flight, here and not in the child */
    for (int round = 0; round < 25; round++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            alarm(20);
            tt_dp_stats stats = {.size = sizeof stats};
            tt_dp_read_stats(s.dp, &stats);
            if (stats.queued != 0 || stats.inflight != 0) _exit(10);
            uint64_t before = stats.admitted[0];
            for (uint64_t v = 1; v < 20; v++) {
                swap_in(s.dp, v);
                if (tt_dp_admit(s.dp, 0, "k", 1, 0) != TT_DP_ADMIT) _exit(11);
                tt_dp_started(s.dp, 0);
                tt_dp_finished(s.dp, 0, TT_DP_OK, 1000, 0);
            }
            if (s.dp->retired) _exit(12); /* nobody is left who could be reading */
            tt_dp_read_stats(s.dp, &stats);
            if (stats.admitted[0] != before + 19 || stats.queued != 0 || stats.inflight != 0) _exit(13);
            if (stats.busy_ns < 0 || stats.busy_ns > INT64_C(600) * second_ns) _exit(14);
            tt_dp_free(s.dp);
            _exit(0);
        }
        int status = 0;
        assert_int_equal(waitpid(child, &status, 0), child);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) fail_msg("round %d: the child ended with status 0x%x", round, (unsigned)status);
    }
    s.stop = true;
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    tt_dp_stats stats = {.size = sizeof stats};
    tt_dp_read_stats(s.dp, &stats);
    assert_int_equal(stats.queued, 20); /* the parent's are still there */
    tt_dp_free(s.dp);
}

/* A thread caught in the middle of adding a time is never heard of again in the child: it must not hide what the others did. */
static void a_half_added_time_is_forgotten(void **state) {
    (void)state;
    tt_dp *dp = dp_of("checkout", "dc-a");
    atomic_fetch_add(&dp->counters[DP_SLOTS - 1].starts.begun, 1);
    atomic_fetch_add(&dp->counters[DP_SLOTS].ends.begun, 1);
    atomic_store(&dp_rt.used, DP_SLOTS);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)tt_dp_admit(dp, 0, NULL, 0, 0);
        tt_dp_started(dp, begin_ns);
        tt_dp_finished(dp, 0, TT_DP_OK, second_ns, begin_ns + second_ns);
        tt_dp_stats stats = {.size = sizeof stats};
        tt_dp_read_stats(dp, &stats);
        _exit(stats.busy_ns == second_ns && stats.queued == 0 && stats.inflight == 0 ? 0 : 10);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    tt_dp_free(dp);
}

enum { CALLERS = 2, CALLEES = 250 };

typedef struct {
    tt_dp *dp;
    _Atomic int here[CALLEES];
} callers;

static void *caller(void *ctx) {
    callers *c = ctx;
    for (int i = 0; i < CALLEES; i++) {
        char name[32];
        snprintf(name, sizeof name, "10.0.0.%d:80", i);
        atomic_fetch_add(&c->here[i], 1);
        while (atomic_load(&c->here[i]) < CALLERS) sched_yield(); /* all enter the same one at once */
        tt_dp_called(c->dp, "payments", "dc-a", name, 0, TT_DP_CALL_OK, 1);
    }
    return NULL;
}

static void each_callee_is_entered_once(void **state) {
    (void)state;
    for (int round = 0; round < 20; round++) {
        callers c = {.dp = dp_of("checkout", "dc-a")};
        pthread_t threads[CALLERS];
        for (int i = 0; i < CALLERS; i++) assert_int_equal(pthread_create(&threads[i], NULL, caller, &c), 0);
        for (int i = 0; i < CALLERS; i++) pthread_join(threads[i], NULL);
        unsigned taken = 0, found = 0;
        for (int i = 0; i < DP_CALLEES + DP_CALLEES_OTHER; i++) taken += atomic_load(&c.dp->calls->callees[i].taken);
        for (int i = 0; i < DP_CALLEE_INDEX; i++) {
            uint32_t place = atomic_load(&c.dp->calls->index[i]);
            if (!place) continue;
            found++;
            assert_int_equal(atomic_load(&c.dp->calls->callees[place - 1].count[TT_DP_CALL_OK][0]), CALLERS);
        }
        assert_int_equal(found, CALLEES);
        assert_int_equal(taken, CALLEES); /* no place is lost to a race */
        tt_dp_free(c.dp);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_and_a_swapper),      cmocka_unit_test(a_read_snapshot_stays), cmocka_unit_test(more_threads_than_slots),
        cmocka_unit_test(inner_loop_counts_right),    cmocka_unit_test(survives_fork),         cmocka_unit_test(a_half_added_time_is_forgotten),
        cmocka_unit_test(each_callee_is_entered_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
