/* The chart's picture: lines with gaps, steps, names that XML forbids, and room that runs out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <math.h>

#include "rehearse/chart.h"

static char *drawn(tt_chart *c) {
    static char text[1 << 20];
    tt_buf b;
    tt_buf_init(&b, sizeof text);
    tt_chart_svg(c, &b);
    assert_false(b.failed);
    memcpy(text, b.p, b.n + 1);
    tt_buf_free(&b);
    tt_chart_free(c);
    return text;
}

/* The path of a line, by its title. */
static const char *path_of(const char *svg, const char *name) {
    static char path[4096];
    char title[200];
    snprintf(title, sizeof title, "\"><title>%s</title></path>", name);
    const char *end = strstr(svg, title), *from = end;
    assert_non_null(end);
    while (strncmp(from, "d=\"", 3) != 0) from--;
    snprintf(path, sizeof path, "%.*s", (int)(end - from - 3), from + 3);
    return path;
}

static void lines_slopes_and_gaps(void **state) {
    (void)state;
    tt_chart *c = tt_chart_new("t", "s");
    int p = tt_chart_panel(c, "load", "rps", TT_CHART_STRAIGHT, 100), q = tt_chart_panel(c, "cap", "rps", TT_CHART_STEPS, 100);
    int a = tt_chart_line(c, p, "a", 0, 0), b = tt_chart_line(c, q, "b", -1, 0);
    const double v[] = {0, 50, (double)NAN, 100, 100};
    for (int i = 0; i < 5; i++) {
        tt_chart_at(c, i * 10);
        tt_chart_put(c, a, v[i]);
        if (i != 4) tt_chart_put(c, b, i < 2 ? 100 : 50);
    }
    tt_chart_set(c, a, 0, 100); /* later known better */
    assert_int_equal(tt_chart_panel(c, "load", "rps", TT_CHART_STRAIGHT, 100), p);
    assert_int_equal(tt_chart_line(c, p, "a", 3, 3), a);
    const char *svg = drawn(c), *path = path_of(svg, "a");
    int moves = 0;
    for (const char *s = path; *s; s++) moves += *s == 'M';
    assert_int_equal(moves, 2); /* a gap lifts the pen */
    path = path_of(svg, "b");
    assert_non_null(strchr(path, 'H')); /* held, then changed at once */
    /* Ends with its last value: a line without one is a gap. */
    double last_x = 0;
    for (const char *s = strchr(path, 'L'); s; s = strchr(s + 1, 'L')) last_x = strtod(s + 1, NULL);
    const double width = 1120 - 64 - 208;
    assert_true(fabs(last_x - (64 + width * 3 / 4)) < 0.2);
}

static void names_that_xml_forbids(void **state) {
    (void)state;
    tt_chart *c = tt_chart_new("<script>&", "a\"b\x01");
    int p = tt_chart_panel(c, "x<y", "%", TT_CHART_STEPS, 0);
    tt_chart_at(c, 1);
    tt_chart_put(c, tt_chart_line(c, p, "<&>\"", -1, 0), 3);
    tt_chart_span(c, "l<", "k&", 1, 0, 1);
    tt_chart_shade(c, "<fault>", 0, 1);
    const char *svg = drawn(c);
    assert_null(strstr(svg, "<script>"));
    assert_null(strstr(svg, "<fault>"));
    assert_null(strchr(svg, 1));
    assert_non_null(strstr(svg, "&lt;&amp;&gt;&quot;"));
}

static void room_that_runs_out(void **state) {
    (void)state;
    char name[300];
    tt_chart *c = tt_chart_new("", "");
    for (int p = 0; p < 20; p++)
        for (int l = 0; l < 40; l++) {
            memset(name, 'n', sizeof name - 1);
            name[sizeof name - 1] = 0;
            snprintf(name, sizeof name, "%d-%d", p, l);
            int line = tt_chart_line(c, tt_chart_panel(c, name, "", TT_CHART_STEPS, 0), name, -1, 0);
            tt_chart_put(c, line, 1); /* before any column */
            tt_chart_at(c, p * 40 + l);
            tt_chart_put(c, line, 1e9);
            tt_chart_set(c, line, 100000, 1);
            tt_chart_span(c, name, name, l, l, l + 1);
            tt_chart_shade(c, name, l, l + 1);
        }
    assert_int_equal(tt_chart_line(c, -1, "x", 0, 0), -1);
    assert_int_equal(tt_chart_columns(c), 800);
    assert_non_null(strstr(drawn(c), "</svg>"));
    assert_non_null(strstr(drawn(tt_chart_new("empty", "")), "</svg>"));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(lines_slopes_and_gaps), cmocka_unit_test(names_that_xml_forbids), cmocka_unit_test(room_that_runs_out)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
