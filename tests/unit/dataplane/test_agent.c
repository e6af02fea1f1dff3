/* The agent against a real HTTP server. Every wait is for a condition, with ten seconds to come true. */
#include "common.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <trimtab/agent.h>
#include <unistd.h>

#include "agent/persist.h"
#include "trimtab_like.h"

#define SET(epoch, version, instances, decisions)                                                                                                    \
    "{\"epoch\":" #epoch ",\"version\":" #version ",\"now_ms\":1790000000000,\"instances\":" #instances ",\"decisions\":[" decisions "]}"
#define DEGRADE(version, level)                                                                                                                      \
    "{\"target\":{\"service\":\"checkout\",\"dc\":\"dc-a\"},\"epoch\":3,\"version\":" #version                                                       \
    ",\"armed\":false,\"loops\":[],\"actions\":[{\"action\":\"degrade\",\"feature\":\"recs\",\"level\":" #level                                      \
    ",\"probe_ratio\":0}],\"expires\":{\"after_ms\":600000,\"then\":\"decay\",\"over_ms\":300000},\"age_ms\":5}"

typedef struct {
    pthread_mutex_t lock;
    unsigned n;
    char text[64 * 1024];
} journal;

static void on_log(void *ctx, const char *line) {
    journal *j = ctx;
    pthread_mutex_lock(&j->lock);
    size_t n = strlen(j->text);
    snprintf(j->text + n, sizeof j->text - n, "%s\n", line);
    j->n++;
    pthread_mutex_unlock(&j->lock);
}

static unsigned said(journal *j, const char *part) {
    pthread_mutex_lock(&j->lock);
    unsigned n = 0;
    for (const char *at = j->text; (at = strstr(at, part)); at++) n++;
    pthread_mutex_unlock(&j->lock);
    return n;
}

static int64_t now_ms(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Looks again and again until it is so. */
#define EVENTUALLY(condition)                                                                                                                        \
    do {                                                                                                                                             \
        int64_t until_ = now_ms() + 10000;                                                                                                           \
        while (!(condition))                                                                                                                         \
            if (now_ms() > until_)                                                                                                                   \
                fail_msg("never came true: %s; log:\n%s", #condition, log_.text);                                                                    \
            else                                                                                                                                     \
                nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);                                                                             \
    } while (0)

static journal log_;
static tt_dp *dp;
static tt_like *service;
static uint32_t report_every_ms;
static tt_agent *running; /* so that a failed test leaves none behind */
static char directory[64], state_file[128];

static int before_each(void **state) {
    (void)state;
    log_ = (journal){.lock = PTHREAD_MUTEX_INITIALIZER};
    dp = dp_of("checkout", "dc-a");
    service = like_start(0);
    report_every_ms = 20;
    strcpy(directory, "/tmp/trimtab-agent-XXXXXX");
    if (!service || !mkdtemp(directory)) return -1;
    snprintf(state_file, sizeof state_file, "%s/state", directory);
    return 0;
}

static int after_each(void **state) {
    (void)state;
    tt_agent_stop(running);
    running = NULL;
    tt_dp_free(dp);
    like_stop(service);
    service = NULL;
    char path[160];
    unlink(state_file);
    snprintf(path, sizeof path, "%s.tmp", state_file);
    unlink(path);
    rmdir(directory);
    return 0;
}

static tt_agent *start_with(const char *url, const char *file) {
    static const char *const calls[] = {"recs & more", "payments"};
    tt_agent_options o = {.size = sizeof o,
                          .url = url,
                          .calls = calls,
                          .n_calls = 2,
                          .state_file = file,
                          .wait_ms = 20000,
                          .report_every_ms = report_every_ms,
                          .log = on_log,
                          .log_ctx = &log_};
    tt_agent *a = tt_agent_start(dp, &o);
    assert_non_null(a);
    return running = a;
}

static void stop(tt_agent *a) {
    running = NULL;
    tt_agent_stop(a);
}

static tt_agent *start(void) {
    return start_with(like_url(service), NULL);
}
static unsigned level(void) {
    return tt_dp_degrade_level(dp, "recs", NULL, 0);
}

static void applies_what_it_is_told(void **state) {
    (void)state;
    tt_agent *a = start();
    assert_int_equal(tt_agent_state_now(a), TT_AGENT_CONNECTING);
    like_answer(service, 200, SET(3, 7, 2, DEGRADE(7, 2)));
    EVENTUALLY(level() == 2);
    EVENTUALLY(tt_agent_state_now(a) == TT_AGENT_CURRENT);
    assert_true(like_saw_queries(service, 2));
    assert_string_equal(like_query(service, 0),
                        "service=checkout&dc=dc-a&instance=10.0.0.7:8080&calls=recs & more,payments&version=0&epoch=0&wait=20000ms");
    assert_string_equal(like_query(service, 1),
                        "service=checkout&dc=dc-a&instance=10.0.0.7:8080&calls=recs & more,payments&version=7&epoch=3&wait=20000ms");
    assert_true(like_saw_report_with(service, "\"epoch\":3,\"version\":7,\"refused\":null", NULL, 0));
    like_answer(service, 200, SET(3, 8, 2, ""));
    EVENTUALLY(level() == 0); /* the set is whole: what it doesn't hold is withdrawn */
    assert_true(like_saw_report_with(service, "\"epoch\":3,\"version\":8,", NULL, 0));
    assert_int_equal(like_queries(service), 3); /* no hurry while nothing happens */
    stop(a);
}

/* A cap of 1000 for the site is 250 for each of four. */
static void divides_the_cap(void **state) {
    (void)state;
    tt_agent *a = start();
    like_answer(
        service, 200,
        SET(1, 2, 4,
            "{\"target\":{\"service\":\"checkout\",\"dc\":\"dc-a\"},\"epoch\":1,\"version\":2,\"actions\":[{\"action\":\"limit\",\"rps\":1000,"
            "\"keep\":[\"critical\",\"normal\",\"batch\"]}],\"expires\":{\"after_ms\":null,\"then\":\"hold\"},\"age_ms\":0}"));
    EVENTUALLY(tt_agent_state_now(a) == TT_AGENT_CURRENT);
    int in = 0;
    int64_t now = begin_ns;
    for (int i = 0; i < 20000; i++) in += tt_dp_admit(dp, 0, NULL, 0, now += second_ns / 2000) == TT_DP_ADMIT;
    assert_in_range(in, 2490, 2570); /* ten seconds and a burst */
    stop(a);
}

static void reports_load(void **state) {
    (void)state;
    tt_agent *a = start();
    char report[8192];
    assert_true(like_saw_report_with(service, "\"offered\":0", report, sizeof report));
    assert_non_null(strstr(report, "\"latency_mean_ms\":null")); /* nothing is not zero */
    assert_non_null(strstr(report, "\"library\":\"0.1.0\""));
    for (int i = 0; i < 10; i++) (void)tt_dp_admit(dp, 0, NULL, 0, 0);
    assert_true(like_saw_report_with(service, "\"queued\":10,\"inflight\":10", NULL, 0));
    assert_true(like_saw_report_with(service, "\"critical\":{\"offered\":0,", report, sizeof report)); /* told once */
    assert_non_null(strstr(report, "\"queued\":10"));
    stop(a);
}

/* Somebody else in the process puts a set of his own in force, or takes ours away. */
static void tells_whose_decisions_are_enforced(void **state) {
    (void)state;
    tt_agent *a = start();
    assert_true(like_saw_report_with(service, "\"in_force\":null,\"found\":null", NULL, 0)); /* nothing was taken yet */
    like_answer(service, 200, SET(3, 7, 1, DEGRADE(7, 2)));
    EVENTUALLY(level() == 2);
    assert_true(like_saw_report_with(service, "\"in_force\":\"ours\",\"found\":null", NULL, 0));
    const tt_dp_action degrade = {.kind = TT_DP_DEGRADE, .name = "recs", .value = 1};
    const tt_dp_decision rival = {.service = "checkout", .dc = "dc-a", .version = 90, .expire_after_ms = -1, .actions = &degrade, .n_actions = 1};
    assert_true(tt_dp_apply(dp, &rival, 1, 9, 0, 0));
    assert_true(like_saw_report_with(service, "\"in_force\":\"other\",\"found\":\"1 action of epoch 9, version 90, applied by the process itself\"", NULL, 0));
    assert_true(tt_dp_apply(dp, NULL, 0, 9, 0, 0));
    assert_true(like_saw_report_with(service, "\"in_force\":\"none\",\"found\":\"nothing: the process itself took it away\"", NULL, 0));
    like_answer(service, 200, SET(9, 8, 1, DEGRADE(8, 2))); /* told again, by one that may */
    EVENTUALLY(level() == 2);
    assert_true(like_saw_report_with(service, "\"in_force\":\"ours\",\"found\":null", NULL, 0));
    stop(a);
}

static void a_waiting_query_delays_no_report(void **state) {
    (void)state;
    tt_agent *a = start();
    assert_true(like_saw_queries(service, 1)); /* waits: there is no answer */
    unsigned n = like_reports(service);
    int64_t began = now_ms();
    assert_true(like_saw_reports(service, n + 20));
    assert_in_range(now_ms() - began, 0, 5000);
    assert_int_equal(like_queries(service), 1);
    stop(a);
}

static void an_older_epoch_is_refused(void **state) {
    (void)state;
    tt_agent *a = start();
    like_answer(service, 200, SET(3, 7, 1, DEGRADE(7, 2)));
    EVENTUALLY(level() == 2);
    like_answer(service, 200, SET(2, 9, 1, ""));
    char report[8192];
    assert_true(like_saw_report_with(service, "\"refused\":\"epoch 2 is older than 3", report, sizeof report));
    assert_non_null(strstr(report, "\"epoch\":3,\"version\":7,"));
    assert_int_equal(level(), 2);
    EVENTUALLY(said(&log_, "epoch 2 is older than 3") == 1);
    like_answer(service, 200, SET(4, 10, 1, DEGRADE(10, 1)));
    EVENTUALLY(level() == 1);
    assert_true(like_saw_report_with(service, "\"epoch\":4,\"version\":10,\"refused\":null", NULL, 0));
    stop(a);
}

static void bad_answers_change_nothing(void **state) {
    (void)state;
    static const struct {
        unsigned status;
        const char *body, *said;
    } rows[] = {
        {200, "", "it is no JSON"},
        {200, "<html>moved</html>", "it is no JSON"},
        {200, "{\"epoch\":3,\"version\":8,\"decisions\":[", "it is no JSON"},
        {200, "[]", "must be an object"},
        {200, "{\"version\":8,\"decisions\":[]}", "epoch must be a whole number"},
        {200, "{\"epoch\":3,\"version\":8}", "decisions must be a list"},
        {200,
         SET(3, 8, 1,
             "{\"target\":{\"service\":\"checkout\"},\"epoch\":3,\"version\":8,\"actions\":[{\"action\":\"drop\",\"priority\":\"batch\",\"ratio\":1."
             "5}]}"),
         "/decisions/0/actions/0: ratio must be"},
        {200, SET(3, 8, 1, "{\"target\":{\"service\":\"p\"},\"epoch\":3,\"version\":8,\"actions\":[{\"action\":\"weights\",\"dcs\":{\"a\":0.5}}]}"),
         "out of its bounds"},
        {503, "starting", "HTTP 503 starting"},
        {404, "no such thing", "HTTP 404"},
        {302, "elsewhere", "HTTP 302"},
    };
    tt_agent *a = start();
    like_answer(service, 200, SET(3, 7, 1, DEGRADE(7, 2)));
    EVENTUALLY(level() == 2);
    for (size_t i = 0; i < COUNT(rows); i++) {
        unsigned before = said(&log_, rows[i].said);
        like_answer(service, rows[i].status, rows[i].body);
        EVENTUALLY(said(&log_, rows[i].said) > before);
        assert_int_equal(level(), 2);
        assert_int_equal(tt_agent_state_now(a), TT_AGENT_ALONE);
        like_answer(service, 200, SET(3, 7, 1, DEGRADE(7, 2))); /* a good one between: the next is retried at once again */
        EVENTUALLY(tt_agent_state_now(a) == TT_AGENT_CURRENT);
    }
    stop(a);
}

/* An answer that never ends is cut off. */
static void a_huge_answer_is_refused(void **state) {
    (void)state;
    size_t n = ((size_t)16 << 20) + 100;
    char *huge = malloc(n + 1);
    memset(huge, ' ', n);
    huge[n] = 0;
    tt_agent *a = start();
    like_answer(service, 200, huge);
    free(huge);
    EVENTUALLY(said(&log_, "is over 16777216 bytes") == 1);
    like_answer(service, 200, SET(3, 7, 1, DEGRADE(7, 2)));
    EVENTUALLY(level() == 2);
    stop(a);
}

static void the_service_goes_and_comes_back(void **state) {
    (void)state;
    tt_agent *a = start();
    like_answer(service, 200, SET(3, 7, 1, DEGRADE(7, 2)));
    EVENTUALLY(tt_agent_state_now(a) == TT_AGENT_CURRENT);
    uint16_t port = like_port(service);
    like_stop(service);
    service = NULL;
    EVENTUALLY(tt_agent_state_now(a) == TT_AGENT_ALONE);
    EVENTUALLY(said(&log_, "the last one stays in force") > 0);
    assert_int_equal(level(), 2);
    service = like_start(port);
    assert_non_null(service);
    like_answer(service, 200, SET(3, 8, 1, DEGRADE(8, 1)));
    EVENTUALLY(tt_agent_state_now(a) == TT_AGENT_CURRENT);
    EVENTUALLY(said(&log_, "decisions come again, version 8") == 1);
    assert_int_equal(level(), 1);
    stop(a);
}

/* One that answers at once, always the same, is not asked in a loop. */
static void a_hasty_server_is_not_hammered(void **state) {
    (void)state;
    tt_agent *a = start();
    for (int i = 0; i < 5; i++) like_answer(service, 200, SET(3, 0, 1, "")); /* version 0: nothing was ever decided */
    int64_t began = now_ms();
    assert_true(like_saw_queries(service, 5));
    assert_true(now_ms() - began > 500); /* three times 250 ms between */
    stop(a);
}

static void stops_soon_while_it_waits(void **state) {
    (void)state;
    report_every_ms = 600000; /* nothing else would wake it */
    tt_agent *a = start();
    like_answer(service, 200, SET(3, 7, 1, DEGRADE(7, 2)));
    assert_true(like_saw_queries(service, 2)); /* on a connection that stands, so that no timer of a new one is left */
    int64_t began = now_ms();
    stop(a);
    assert_in_range(now_ms() - began, 0, 600);
    tt_agent_stop(NULL);
}

/* --- the state file --- */

static int64_t wall_ms(void) {
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void starts_with_what_it_had(void **state) {
    (void)state;
    tt_agent *a = start_with(like_url(service), state_file);
    like_answer(service, 200, SET(3, 7, 1, DEGRADE(7, 2)));
    EVENTUALLY(tt_agent_state_now(a) == TT_AGENT_CURRENT);
    EVENTUALLY(access(state_file, R_OK) == 0);
    stop(a);
    tt_dp_free(dp);
    dp = dp_of("checkout", "dc-a"); /* the process comes up again, and the service is away */
    like_stop(service);
    service = NULL;
    a = start_with("http://127.0.0.1:1", state_file);
    assert_int_equal(level(), 2); /* before start returned */
    EVENTUALLY(tt_agent_state_now(a) == TT_AGENT_ALONE);
    EVENTUALLY(said(&log_, "epoch 3, version 7 from the state file") == 1);
    stop(a);
    tt_dp_free(dp);
    dp = dp_of("checkout", "dc-a"); /* and with the service: it asks from the start, and refuses an older epoch */
    service = like_start(0);
    a = start_with(like_url(service), state_file);
    assert_true(like_saw_queries(service, 1));
    assert_non_null(strstr(like_query(service, 0), "&version=0&epoch=3&"));
    like_answer(service, 200, SET(2, 9, 1, ""));
    EVENTUALLY(said(&log_, "epoch 2 is older than 3") == 1);
    assert_int_equal(level(), 2);
    stop(a);
}

/* The time it lay on disk counts: a decision that would have expired has expired. */
static void the_files_age_counts(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int64_t written_ms_ago;
        unsigned level;
    } rows[] = {
        {"just now", 0, 2}, {"nine minutes ago", 9 * 60000, 2}, {"an hour ago", 3600000, 0}, {"in the future: the clock was set back", -3600000, 2}};
    const char *body = SET(3, 7, 1, DEGRADE(7, 2)); /* 10 minutes, then 5 of fading */
    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_true(agent_state_save(state_file, body, strlen(body), wall_ms() - rows[i].written_ms_ago));
        tt_agent *a = start_with("http://127.0.0.1:1", state_file);
        CHECK(rows[i].name, level() == rows[i].level);
        stop(a);
    }
}

static void a_damaged_file_is_ignored(void **state) {
    (void)state;
    const char *body = SET(3, 7, 1, DEGRADE(7, 2));
    assert_true(agent_state_save(state_file, body, strlen(body), wall_ms()));
    char whole[4096], *got = NULL, why[256];
    int fd = open(state_file, O_RDONLY);
    size_t n = (size_t)read(fd, whole, sizeof whole), got_n;
    close(fd);
    int64_t written;
    for (size_t i = 0; i <= n; i++) { /* each byte changed; cut at each length */
        for (int cut = 0; cut < 2; cut++) {
            if (i == n && !cut) continue;
            fd = open(state_file, O_WRONLY | O_TRUNC);
            char damaged[4096];
            memcpy(damaged, whole, n);
            if (!cut) damaged[i] ^= 4;
            if (write(fd, damaged, cut ? i : n) < 0) fail();
            close(fd);
            agent_state_result r = agent_state_load(state_file, &got, &got_n, &written, why, sizeof why);
            if (cut && i == n)
                assert_int_equal(r, AGENT_STATE_READ);
            else if (r != AGENT_STATE_BAD)
                fail_msg("byte %zu %s: taken all the same", i, cut ? "cut" : "changed");
            if (r == AGENT_STATE_READ) free(got);
        }
    }
    fd = open(state_file, O_WRONLY | O_TRUNC);
    if (write(fd, whole, n / 2) < 0) fail();
    close(fd);
    tt_agent *a = start_with(like_url(service), state_file);
    assert_int_equal(level(), 0);
    EVENTUALLY(said(&log_, "is ignored: it should hold") == 1);
    like_answer(service, 200, SET(3, 7, 1, DEGRADE(7, 2))); /* and goes on, and writes a good one */
    EVENTUALLY(level() == 2);
    EVENTUALLY(agent_state_load(state_file, &got, &got_n, &written, why, sizeof why) == AGENT_STATE_READ);
    free(got);
    stop(a);
    assert_int_equal(agent_state_load("/nonexistent/file", &got, &got_n, &written, why, sizeof why), AGENT_STATE_ABSENT);
    assert_int_equal(agent_state_load("/dev/zero", &got, &got_n, &written, why, sizeof why), AGENT_STATE_BAD);
}

/* Skipped where a tmpfs can't be mounted. */
static void a_full_disk_is_said_once(void **state) {
    (void)state;
    if (mount("none", directory, "tmpfs", 0, "size=8k,nr_inodes=8") != 0) {
        print_message("a_full_disk_is_said_once: skipped, a tmpfs can't be mounted here: %s\n", strerror(errno));
        skip();
    }
    char filler[128], junk[4096] = {0};
    snprintf(filler, sizeof filler, "%s/filler", directory);
    int fd = open(filler, O_WRONLY | O_CREAT, 0600);
    while (write(fd, junk, sizeof junk) > 0) {
    }
    close(fd);
    tt_agent *a = start_with(like_url(service), state_file);
    like_answer(service, 200, SET(3, 7, 1, DEGRADE(7, 2)));
    EVENTUALLY(level() == 2); /* enforced all the same */
    like_answer(service, 200, SET(3, 8, 1, DEGRADE(8, 1)));
    EVENTUALLY(level() == 1);
    EVENTUALLY(said(&log_, "can't be written: No space left on device") == 1);
    assert_true(like_saw_queries(service, 3));
    unlink(filler); /* room again: the next set is kept */
    like_answer(service, 200, SET(3, 9, 1, DEGRADE(9, 3)));
    EVENTUALLY(said(&log_, "is written again") == 1);
    assert_int_equal(said(&log_, "can't be written"), 1);
    assert_int_equal(access(state_file, R_OK), 0);
    stop(a);
    unlink(state_file);
    assert_int_equal(umount(directory), 0);
}

/* --- the host --- */

static void options_are_checked(void **state) {
    (void)state;
    static const char *const empty[] = {""};
    const size_t size = sizeof(tt_agent_options);
    const struct {
        const char *name;
        tt_agent_options o;
    } rows[] = {{"no size", {.url = "http://127.0.0.1:1"}},
                {"no url", {.size = size}},
                {"no url but text", {.size = size, .url = "not a url"}},
                {"a wait of over a minute", {.size = size, .url = "http://127.0.0.1:1", .wait_ms = 60001}},
                {"an empty call", {.size = size, .url = "http://127.0.0.1:1", .calls = empty, .n_calls = 1}},
                {"a count of calls without them", {.size = size, .url = "http://127.0.0.1:1", .n_calls = 1}},
                {"a state file that is a directory", {.size = size, .url = "http://127.0.0.1:1", .state_file = "/tmp"}},
                {"a state file that is a device", {.size = size, .url = "http://127.0.0.1:1", .state_file = "/dev/full"}}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        errno = 0;
        CHECK(rows[i].name, tt_agent_start(dp, &rows[i].o) == NULL && errno == EINVAL);
    }
    tt_agent_options o = {.size = size, .url = "http://127.0.0.1:1"};
    assert_null(tt_agent_start(NULL, &o));
    tt_dp *nameless = dp_of(NULL, NULL);
    assert_null(tt_agent_start(nameless, &o)); /* the service could not tell who asks */
    tt_dp_free(nameless);
}

static void a_child_serves_on(void **state) {
    (void)state;
    tt_agent *a = start();
    like_answer(service, 200, SET(3, 7, 1, DEGRADE(7, 2)));
    EVENTUALLY(tt_agent_state_now(a) == TT_AGENT_CURRENT);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        alarm(20);
        if (level() != 2) _exit(10);
        if (tt_agent_state_now(a) != TT_AGENT_ALONE) _exit(11);
        tt_agent_stop(a);         /* the parent's: nothing happens */
#if !defined(__SANITIZE_THREAD__) /* which knows no threads in such a child */
        tt_agent_options o = {.size = sizeof o, .url = like_url(service), .wait_ms = 20000, .report_every_ms = 20};
        tt_agent *own = tt_agent_start(dp, &o); /* it may have one of its own */
        if (!own) _exit(12);
        tt_agent_stop(own);
#endif
        tt_dp_free(dp);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) fail_msg("the child ended with status 0x%x", (unsigned)status);
    assert_true(like_saw_report_with(service, "\"version\":7", NULL, 0)); /* the parent's connections are whole */
    like_answer(service, 200, SET(3, 8, 1, DEGRADE(8, 1)));
    EVENTUALLY(level() == 1 || (like_answer(service, 200, SET(3, 8, 1, DEGRADE(8, 1))), false)); /* the child's query may have taken one */
    stop(a);
}

/* A signal for the host is never delivered to the agent's thread, and a broken connection raises none. */
static void signals_are_the_hosts(void **state) {
    (void)state;
    signal(SIGPIPE, SIG_DFL);
    tt_agent *a = start();
    assert_true(like_saw_queries(service, 1));
    like_stop(service);
    service = NULL;
    EVENTUALLY(tt_agent_state_now(a) == TT_AGENT_ALONE);
    sigset_t usr1, before;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &usr1, &before);
    kill(getpid(), SIGUSR1); /* would kill us, were it open in any thread */
    int got = 0;
    assert_int_equal(sigwait(&usr1, &got), 0);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    stop(a);
}

int main(void) {
    if (getenv("ONLY")) cmocka_set_test_filter(getenv("ONLY"));
#define TEST(f) cmocka_unit_test_setup_teardown(f, before_each, after_each)
    const struct CMUnitTest tests[] = {
        TEST(applies_what_it_is_told),
        TEST(divides_the_cap),
        TEST(reports_load),
        TEST(tells_whose_decisions_are_enforced),
        TEST(a_waiting_query_delays_no_report),
        TEST(an_older_epoch_is_refused),
        TEST(bad_answers_change_nothing),
        TEST(a_huge_answer_is_refused),
        TEST(the_service_goes_and_comes_back),
        TEST(a_hasty_server_is_not_hammered),
        TEST(stops_soon_while_it_waits),
        TEST(starts_with_what_it_had),
        TEST(the_files_age_counts),
        TEST(a_damaged_file_is_ignored),
        TEST(a_full_disk_is_said_once),
        TEST(options_are_checked),
        TEST(a_child_serves_on),
        TEST(signals_are_the_hosts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
