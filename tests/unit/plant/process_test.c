/* Plants that misbehave, as tiny shell scripts: each ends in an error that says what happened, and no process of theirs is left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

#include "plant/process.h"

#define SHORT TT_MS(200)
#define LONG TT_SECONDS(20) /* never reached */

static tt_plant_process *start(const char *command, int64_t timeout_ns) {
    tt_err err;
    tt_plant_process *p = tt_plant_start(command, timeout_ns, NULL, &err);
    if (!p) fail_msg("%s: %s", command, err.text);
    return p;
}

static void no_child_is_left(void) {
    int status;
    assert_true(waitpid(-1, &status, WNOHANG) == -1 && errno == ECHILD);
}

static void a_line_for_a_line(void **state) {
    (void)state;
    char how[100], big[200001];
    tt_err err;
    tt_sv line;
    tt_plant_process *p = start("while read -r l; do echo \"<$l>\"; done", LONG);
    assert_true(tt_plant_exchange(p, TT_SV("one\n"), 1000, &line, &err));
    assert_true(tt_sv_eq(line, TT_SV("<one>")));
    assert_true(tt_plant_exchange(p, TT_SV("two\n"), 1000, &line, &err));
    assert_true(tt_sv_eq(line, TT_SV("<two>")));
    /* More than a pipe holds, both ways. */
    memset(big, 'x', sizeof big - 2);
    big[sizeof big - 2] = '\n';
    big[sizeof big - 1] = 0;
    assert_true(tt_plant_exchange(p, (tt_sv){big, sizeof big - 1}, 1 << 20, &line, &err));
    assert_int_equal(line.n, sizeof big - 2 + 2);
    assert_true(tt_plant_end(p, how, sizeof how));
    assert_string_equal(how, "");
    no_child_is_left();
}

static const struct {
    const char *command;
    int64_t timeout_ns;
    size_t max;
    const char *lines[3]; /* what it says until then */
    const char *error;    /* then; NULL: only its end is looked at */
    const char *how;      /* of its end */
    bool well;
} rows[] = {
    {"exit 3", LONG, 1000, {0}, "it closed its output", "exit code 3", false},
    {"read l; echo a; read l; kill -SEGV $$", LONG, 1000, {"a"}, "it closed its output", "killed by signal 11 (Segmentation fault)", false},
    {"nobody-has-this-command 2>/dev/null", LONG, 1000, {0}, "it closed its output", "exit code 127", false},
    {"read l; printf 'no newline'", LONG, 1000, {"no newline"}, "it closed its output", "", true}, /* its last words count */
    {"read l; echo a; echo b; read l; read l; exit 0", LONG, 1000, {"a", "b"}, "it closed its output", "", true},
    {"exec sleep 600", SHORT, 1000, {0}, "no line within 200ms", "still running", true},
    {"sleep 600 & echo a; exec sleep 600", SHORT, 1000, {"a"}, "no line within 200ms", "still running", true},
    {"trap '' TERM INT HUP; echo a; while :; do sleep 1; done", SHORT, 1000, {"a"}, "no line within 200ms", "still running", true},
    {"read l; echo a; exec 1>&-; exec sleep 600", SHORT, 1000, {"a"}, "it closed its output", "still running", true},
    {"exec head -c 5000 /dev/zero", LONG, 1000, {0}, "more than 1000 bytes without a newline", "", true},
    {"exec cat /dev/zero", LONG, 100000, {0}, "more than 100000 bytes without a newline", "still running", true},
    {"read l; head -c 2000 /dev/zero; echo", LONG, 1000, {0}, "1000", "", true},
    {"exec 0<&-; echo a; echo b", LONG, 1000, {"a", "b"}, "it closed its output", "", true},
};

static void plants_that_misbehave(void **state) {
    (void)state;
    for (size_t i = 0; i < TT_COUNT(rows); i++) {
        char how[100];
        tt_err err = {0};
        tt_sv line;
        tt_plant_process *p = start(rows[i].command, rows[i].timeout_ns);
        for (size_t k = 0; k < TT_COUNT(rows[i].lines) && rows[i].lines[k]; k++) {
            if (!tt_plant_exchange(p, TT_SV("{}\n"), rows[i].max, &line, &err)) fail_msg("%s: %s", rows[i].command, err.text);
            if (!tt_sv_eq(line, tt_sv_of(rows[i].lines[k]))) fail_msg("%s: " TT_SV_FMT, rows[i].command, TT_SV_ARG(line));
        }
        if (tt_plant_exchange(p, TT_SV("{}\n"), rows[i].max, &line, &err)) fail_msg("%s: a line " TT_SV_FMT, rows[i].command, TT_SV_ARG(line));
        if (!strstr(err.text, rows[i].error)) fail_msg("%s: %s", rows[i].command, err.text);
        bool kill = strcmp(rows[i].how, "still running") == 0 && rows[i].timeout_ns == LONG; /* nobody waits that long */
        if (kill)
            tt_plant_kill(p);
        else if (tt_plant_end(p, how, sizeof how) != rows[i].well || strcmp(how, rows[i].how) != 0)
            fail_msg("%s: ended \"%s\"", rows[i].command, how);
        no_child_is_left();
    }
}

/* What the plant started in the background goes with it: it holds the other end of a pipe, and nobody does any more. */
static void nothing_of_its_group_is_left(void **state) {
    (void)state;
    int ends[2];
    char command[100], c;
    tt_err err;
    tt_sv line;
    assert_int_equal(pipe(ends), 0);
    snprintf(command, sizeof command, "sleep 600 & (sleep 600 &) ; echo a; wait");
    tt_plant_process *p = start(command, LONG);
    close(ends[1]);
    assert_true(tt_plant_exchange(p, TT_SV("{}\n"), 1000, &line, &err));
    tt_plant_kill(p);
    assert_int_equal(read(ends[0], &c, 1), 0); /* would wait 600 s otherwise */
    close(ends[0]);
    no_child_is_left();
}

static volatile sig_atomic_t stopped;
static void on_alarm(int signo) {
    (void)signo;
    stopped = 1;
}

static void a_signal_ends_the_wait(void **state) {
    (void)state;
    tt_err err = {0};
    tt_sv line;
    sigset_t none;
    struct sigaction on = {.sa_handler = on_alarm};
    sigemptyset(&none);
    sigaction(SIGINT, &on, NULL);
    tt_plant_process *p = tt_plant_start("kill -INT $PPID; exec sleep 600", LONG, &stopped, &err);
    assert_non_null(p);
    assert_false(tt_plant_exchange(p, TT_SV("{}\n"), 1000, &line, &err));
    assert_int_equal(err.code, TT_ESTATE);
    tt_plant_kill(p);
    signal(SIGINT, SIG_DFL);
    no_child_is_left();
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_line_for_a_line), cmocka_unit_test(plants_that_misbehave), cmocka_unit_test(nothing_of_its_group_is_left),
                                       cmocka_unit_test(a_signal_ends_the_wait)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
