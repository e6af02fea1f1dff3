/* Freeze windows: what can be written, and when each holds. */
#include "unit.h"

#include <time.h>

static const struct {
    const char *text, *shown; /* NULL: can't be read */
} texts[] = {
    {"weekday 22:00-06:00", "weekday 22:00-06:00"},
    {"daily", "daily 00:00-24:00"},
    {"weekend 00:00-24:00", "weekend 00:00-24:00"},
    {"fri 16:00-24:00", "fri 16:00-24:00"},
    {"mon-thu 09:30-17:00", "mon,tue,wed,thu 09:30-17:00"},
    {"sat-mon 00:00-08:00", "mon,sat,sun 00:00-08:00"},
    {"mon,wed,fri-sun 12:00-13:00", "mon,wed,fri,sat,sun 12:00-13:00"},
    {"", NULL},
    {"never 10:00-11:00", NULL},
    {"mon 10:00", NULL},
    {"mon 10-11", NULL},
    {"mon 10:60-11:00", NULL},
    {"mon 24:00-25:00", NULL},
    {"mon 24:00-06:00", NULL},
    {"mon 22:00-00:00", NULL},
    {"mon 22:00-24:01", NULL},
    {"mon  10:00-11:00", NULL},
    {"mon,  10:00-11:00", NULL},
    {"mon, 10:00-11:00", NULL},
    {"mon- 10:00-11:00", NULL},
    {"mon 1x:00-11:00", NULL},
};

static void times_of_the_week(void **state) {
    (void)state;
    for (size_t i = 0; i < TT_COUNT(texts); i++) {
        tt_freeze_window w = {0};
        char shown[80] = "";
        bool ok = tt_window_every(tt_sv_of(texts[i].text), &w);
        if (ok != (texts[i].shown != NULL)) ROW_FAIL(texts[i].text, ok ? "was read" : "could not be read");
        if (!ok) continue;
        tt_window_text(&w, shown, sizeof shown);
        if (strcmp(shown, texts[i].shown) != 0) ROW_FAIL(texts[i].text, "shown as %s", shown);
    }
}

static void dates(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int day, minute; /* day -1: no date */
    } rows[] = {{"1970-01-01", 0, 0},        {"2026-12-24 18:00", 20811, 1080},
                {"2024-02-29", 19782, 0},    {"2023-02-29", -1, 0},
                {"2026-11-31", -1, 0},       {"2026-13-01", -1, 0},
                {"2026-1-1", -1, 0},         {"26-01-01", -1, 0},
                {"2026-01-01T10:00", -1, 0}, {"2026-01-01 24:01", -1, 0},
                {"1969-12-31", -1, 0},       {"9999-12-31 24:00", 2932896, 1440}};
    for (size_t i = 0; i < TT_COUNT(rows); i++) {
        int32_t day = -1;
        uint16_t minute = 0;
        bool ok = tt_window_date(tt_sv_of(rows[i].text), &day, &minute);
        if (ok != (rows[i].day >= 0) || day != rows[i].day || minute != rows[i].minute)
            ROW_FAIL(rows[i].text, "read as day %d, minute %u", day, minute);
    }
    /* The C library's calendar has the same days. */
    for (int32_t day = 0; day < 80000; day += 17) {
        time_t t = (time_t)day * 86400;
        struct tm tm;
        char text[64];
        int32_t back;
        uint16_t minute;
        gmtime_r(&t, &tm);
        snprintf(text, sizeof text, "%04d-%02d-%02d", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday);
        if (!tt_window_date(tt_sv_of(text), &back, &minute) || back != day) ROW_FAIL(text, "is day %d", day);
    }
}

/* Monday 2026-11-23 is day 20780. */
enum { MONDAY = 20780 };
static const struct {
    const char *window;
    int day, minute; /* after that Monday */
    bool holds;
} moments[] = {
    {"weekday 22:00-06:00", 0, 21 * 60 + 59, false},
    {"weekday 22:00-06:00", 0, 22 * 60, true},
    {"weekday 22:00-06:00", 1, 5 * 60 + 59, true},
    {"weekday 22:00-06:00", 1, 6 * 60, false},
    {"weekday 22:00-06:00", 5, 60, true},       /* Friday's goes on into Saturday */
    {"weekday 22:00-06:00", 5, 22 * 60, false}, /* Saturday has none */
    {"weekday 22:00-06:00", 7, 60, false},      /* nor has Sunday, whose would go on into Monday */
    {"mon 09:00-17:00", 0, 9 * 60, true},
    {"mon 09:00-17:00", 0, 17 * 60, false},
    {"mon 09:00-17:00", 1, 9 * 60, false},
    {"weekend", 5, 0, true},
    {"weekend", 6, 1439, true},
    {"weekend", 7, 0, false},
    {"sun-mon 12:00-13:00", 6, 12 * 60, true},
    {"sun-mon 12:00-13:00", 7, 12 * 60, true},
    {"sun-mon 12:00-13:00", 5, 12 * 60, false},
};

static void when_they_hold(void **state) {
    (void)state;
    for (size_t i = 0; i < TT_COUNT(moments); i++) {
        tt_freeze_window w = {0};
        assert_true(tt_window_every(tt_sv_of(moments[i].window), &w));
        if (tt_window_holds(&w, MONDAY + moments[i].day, (uint16_t)moments[i].minute) != moments[i].holds)
            ROW_FAIL(moments[i].window, "at day %d, minute %d: expected %d", moments[i].day, moments[i].minute, moments[i].holds);
    }
    tt_freeze_window once = {.once = true, .from_day = 100, .from_minute = 1080, .to_day = 102, .to_minute = 360};
    assert_false(tt_window_holds(&once, 100, 1079));
    assert_true(tt_window_holds(&once, 100, 1080) && tt_window_holds(&once, 101, 0) && tt_window_holds(&once, 102, 359));
    assert_false(tt_window_holds(&once, 102, 360));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(times_of_the_week), cmocka_unit_test(dates), cmocka_unit_test(when_they_hold)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
