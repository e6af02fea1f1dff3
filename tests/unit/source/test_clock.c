/* Times as people write them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "clock.h"

static const tt_wall now = {1795465914500}; /* 2026-11-23T20:31:54.5Z */

static void good(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } cases[] = {
        {"2026-11-23T20:31:54.5Z", 1795465914500},
        {"2026-11-23t20:31:54.500z", 1795465914500},
        {"2026-11-23 21:31:54.5+01:00", 1795465914500},
        {"2026-11-23T15:01:54.5-05:30", 1795465914500},
        {"2026-11-23T20:31Z", 1795465860000},
        {"2026-11-23T20:31:54.5009Z", 1795465914500},
        {"2024-02-29T00:00:00Z", 1709164800000},
        {"2016-12-31T23:59:60Z", 1483228800000}, /* a leap second is the one after it */
        {"1795465914.5", 1795465914500},
        {"1795465914", 1795465914000},
        {"now", 1795465914500},
        {"-6h", 1795465914500 - 6 * 3600000},
        {"-1h30m", 1795465914500 - 5400000},
        {"-0s", 1795465914500},
    };
    for (size_t i = 0; i < TT_COUNT(cases); i++) {
        tt_wall at = {0};
        tt_err err;
        if (!tt_clock_parse(cases[i].text, now, &at, &err)) fail_msg("%s: %s", cases[i].text, err.text);
        if (at.ms != cases[i].ms) fail_msg("%s: %lld", cases[i].text, (long long)at.ms);
    }
}

static void bad(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "is no time"},
        {"yesterday", "is no time"},
        {"6h", "is no time"},
        {"--6h", "is no time"},
        {"-", "is no time"},
        {"5", "in seconds"},
        {"1795465914500", "in seconds"}, /* milliseconds */
        {"nan", "is no time"},
        {"2026-11-23T20:31:54", "which zone"},
        {"2026-11-23 20:31", "which zone"},
        {"2026-11-23", "is no time"},
        {"2026-13-01T00:00:00Z", "is no time"},
        {"2026-02-29T00:00:00Z", "is no time"},
        {"2026-11-31T00:00:00Z", "is no time"},
        {"2026-11-23T24:00:00Z", "is no time"},
        {"2026-11-23T20:61:00Z", "is no time"},
        {"2026-11-23T20:31:54.Z", "is no time"},
        {"2026-11-23T20:31:54Zulu", "is no time"},
        {"2026-11-23T20:31:54+0100", "is no time"},
        {"1969-12-31T23:59:59Z", "is no time"},
    };
    for (size_t i = 0; i < TT_COUNT(cases); i++) {
        tt_wall at = {-7};
        tt_err err = {0};
        if (tt_clock_parse(cases[i].text, now, &at, &err)) fail_msg("%s: taken for %lld", cases[i].text, (long long)at.ms);
        if (!strstr(err.text, cases[i].says)) fail_msg("%s: %s", cases[i].text, err.text);
        assert_int_equal(at.ms, -7);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(good), cmocka_unit_test(bad)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
