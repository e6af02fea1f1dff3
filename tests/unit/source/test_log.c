/* A log line is one line, whatever is put in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "clock.h"
#include "log.h"

static void line_of(const tt_kv *kv, char *buf, size_t size) {
    int fd[2];
    assert_int_equal(pipe(fd), 0);
    tt_log log = {fd[1], TT_INFO};
    tt_log_write(&log, TT_DEBUG, "unseen", kv);
    tt_log_write(&log, TT_WARN, "seen", kv);
    close(fd[1]);
    ssize_t n = read(fd[0], buf, size - 1);
    close(fd[0]);
    assert_true(n > 0);
    buf[n] = 0;
}

static void escapes(void **state) {
    (void)state;
    static const struct {
        tt_kv kv;
        const char *want;
    } cases[] = {
        {{.key = "k", .kind = TT_KV_INT, .i = -7}, " k=-7\n"},
        {{.key = "k", .kind = TT_KV_UINT, .u = 7}, " k=7\n"},
        {{.key = "k", .kind = TT_KV_REAL, .real = 0.5}, " k=0.5\n"},
        {{.key = "k", .kind = TT_KV_NS, .i = TT_SECONDS(90)}, " k=1m30s\n"},
        {{.key = "k", .text = {"plain", 5}}, " k=plain\n"},
        {{.key = "k", .text = {"two words", 9}}, " k=\"two words\"\n"},
        {{.key = "k", .text = {"", 0}}, " k=\"\"\n"},
        {{.key = "k", .text = {"a\nlevel=error", 13}}, " k=\"a\\nlevel=error\"\n"},
        {{.key = "k", .text = {"\x1b[31m", 5}}, " k=\"\\u001b[31m\"\n"},
        {{.key = "k", .text = {"a\"b", 3}}, " k=\"a\\\"b\"\n"},
    };
    for (size_t i = 0; i < TT_COUNT(cases); i++) {
        char got[1024];
        line_of((tt_kv[]){cases[i].kv, TT_KV_END}, got, sizeof got);
        const char *seen = strstr(got, " level=warn event=seen");
        if (strstr(got, "unseen") || !seen || strcmp(seen + strlen(" level=warn event=seen"), cases[i].want) != 0) fail_msg("row %zu: %s", i, got);
    }
}

static void too_long(void **state) {
    (void)state;
    static char big[20000], got[20000];
    memset(big, 'x', sizeof big - 1);
    line_of((tt_kv[]){TT_KV("a", "kept"), TT_KV("b", big), TT_KV("c", "after"), TT_KV_END}, got, sizeof got);
    assert_non_null(strstr(got, " a=kept\n"));
    assert_null(strstr(got, "xx"));
}

static void when(void **state) {
    (void)state;
    char buf[TT_CLOCK_TEXT_SIZE];
    tt_clock_text((tt_wall){1700000000123}, buf);
    assert_string_equal(buf, "2023-11-14T22:13:20.123Z");
    tt_clock_text((tt_wall){-1}, buf);
    assert_string_equal(buf, "1969-12-31T23:59:59.999Z");
    tt_clock_text((tt_wall){INT64_MAX}, buf);
    tt_time a = tt_clock_now(), b = tt_clock_now();
    assert_true(tt_since(b, a) >= 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(escapes), cmocka_unit_test(too_long), cmocka_unit_test(when)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
