/* The load of the sample mesh: it repeats, it keeps its rate, and its figures add up. */
#include "arrivals.h"
#include "figures.h"
#include "util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void add(mesh_arrivals *a, double at_s, const char *text) {
    char why[200];
    if (!mesh_arrivals_add(a, (int64_t)(at_s * 1e9), text, why, sizeof why)) fail_msg("%s", why);
}

/* Takes what comes up to `until`; returns a fingerprint of every arrival's index and time. */
static uint64_t run(mesh_arrivals *a, double until_s, uint64_t *arrivals) {
    uint64_t print = 1;
    for (int64_t until = (int64_t)(until_s * 1e9); mesh_arrivals_when(a) < until;) {
        mesh_happening h = mesh_arrivals_next(a);
        if (h.kind != MESH_ARRIVAL) continue;
        print = mesh_mix(print ^ mesh_mix((uint64_t)h.at_ns) ^ h.index);
        if (arrivals) ++*arrivals;
    }
    return print;
}

static void schedule(mesh_arrivals *a, uint64_t seed) {
    mesh_arrivals_init(a, seed);
    a->rate = 200;
    add(a, 30, "rate 600");
    add(a, 10, "mark before"); /* out of order on purpose */
    add(a, 42, "rate 200");
}

static void test_same_seed_same_arrivals(void **state) {
    (void)state;
    mesh_arrivals *a = calloc(2, sizeof *a);
    assert_non_null(a);
    schedule(&a[0], 7);
    schedule(&a[1], 7);
    uint64_t n = 0;
    assert_int_equal(run(&a[0], 60, &n), run(&a[1], 60, NULL));
    /* 200 for 48 s, 600 for 12 s: 16,800; five standard deviations */
    assert_in_range(n, 16800 - 650, 16800 + 650);
    schedule(&a[1], 8);
    schedule(&a[0], 7);
    assert_int_not_equal(run(&a[0], 60, NULL), run(&a[1], 60, NULL));
    free(a);
}

static void test_a_change_of_rate_counts_from_its_time(void **state) {
    (void)state;
    mesh_arrivals *a = calloc(1, sizeof *a);
    assert_non_null(a);
    mesh_arrivals_init(a, 1);
    a->rate = 1000;
    add(a, 1, "rate 0");
    add(a, 100, "rate 1000");
    uint64_t n = 0;
    run(a, 99.9, &n);
    assert_in_range(n, 850, 1150);
    uint64_t before = n;
    run(a, 101, &n);
    assert_in_range(n - before, 850, 1150);
    free(a);
}

static void test_commands(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool ok;
    } cases[] = {{"rate 200", true},    {"rate 0.5", true}, {"rate", false}, {"rate -1", false},  {"rate nan", false}, {"rate 5 6", false},
                 {"mark during", true}, {"mark", false},    {"quit", true},  {"quit now", false}, {"", false},         {"rat 5", false}};
    mesh_arrivals *a = calloc(1, sizeof *a);
    assert_non_null(a);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char why[200] = "";
        mesh_arrivals_init(a, 1);
        bool ok = mesh_arrivals_add(a, 0, cases[i].text, why, sizeof why);
        if (ok != cases[i].ok || ok != (why[0] == 0)) fail_msg("'%s': %s (%s)", cases[i].text, ok ? "taken" : "refused", why);
    }
    free(a);
}

static void test_a_bad_schedule_names_its_line(void **state) {
    (void)state;
    char path[] = "/tmp/samplemesh-XXXXXX", why[300];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    FILE *f = fdopen(fd, "w");
    assert_non_null(f);
    fputs("# load\n10 rate 5\nsoon rate 6\n", f);
    fclose(f);
    mesh_arrivals *a = calloc(1, sizeof *a);
    assert_non_null(a);
    mesh_arrivals_init(a, 1);
    assert_false(mesh_arrivals_read(a, path, why, sizeof why));
    assert_non_null(strstr(why, ":3: "));
    free(a);
    unlink(path);
}

static void test_figures(void **state) {
    (void)state;
    static const char *const names[] = {"critical", "normal", "batch"};
    mesh_bucket b = {0};
    for (int i = 0; i < 200; i++) { /* 100 served in 1 to 100 ms, half of them degraded; 60 failed, 30 refused, 10 dropped */
        mesh_result r = {.priority = i % 2 ? 1 : 2,
                         .attempts = 2,
                         .outcome = i < 100   ? MESH_OK
                                    : i < 160 ? MESH_FAILED
                                    : i < 190 ? MESH_REFUSED
                                              : MESH_DROPPED};
        r.latency_ms = 100 - i;
        r.degraded = i % 2 ? 2 : 0;
        mesh_bucket_offer(&b, r.priority);
        mesh_bucket_add(&b, &r);
    }
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    assert_non_null(f);
    mesh_bucket_print(f, &b, 10, names);
    fclose(f);
    static const char *const parts[] = {"\"offered\":200,\"ok\":100,\"failed\":60,\"dropped\":10,\"refused\":30,\"degraded\":50,\"attempts\":400",
                                        "\"p50_ms\":51.0,\"p99_ms\":100.0",
                                        "\"goodput_rps\":10.00,\"error_ratio\":0.50000,\"degraded_ratio\":0.50000",
                                        "\"by_priority\":{\"normal\":{\"offered\":100,\"ok\":50,", "\"batch\":{\"offered\":100,\"ok\":50,"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!strstr(text, parts[i])) fail_msg("%s is not in %s", parts[i], text);
    assert_null(strstr(text, "critical"));
    free(text);
    mesh_bucket_reset(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_seed_same_arrivals),
        cmocka_unit_test(test_a_change_of_rate_counts_from_its_time),
        cmocka_unit_test(test_commands),
        cmocka_unit_test(test_a_bad_schedule_names_its_line),
        cmocka_unit_test(test_figures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
