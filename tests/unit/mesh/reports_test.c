/* Load reports: what is refused, and what the figures become. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mesh/board.h"

static tt_time at(double s) {
    return (tt_time){(int64_t)(s * 1e9)};
}

#define WHO "\"service\":\"checkout\",\"dc\":\"dc-a\",\"instance\":\"i1\""

static void malformed(void **state) {
    (void)state;
    static const struct {
        const char *body, *says;
        tt_code code;
    } rows[] = {
        {"", "not JSON", TT_ESYNTAX},
        {"{\"service\":", "not JSON", TT_ESYNTAX},
        {"[]", "is a JSON object", TT_EVALUE},
        {"{}", "/service is missing", TT_EMISSING},
        {"{\"service\":\"checkout\",\"span_ms\":1000}", "/instance is missing", TT_EMISSING},
        {"{\"service\":7,\"instance\":\"i1\",\"span_ms\":1000}", "/service must be text", TT_EVALUE},
        {"{\"service\":\"\",\"instance\":\"i1\",\"span_ms\":1000}", "/service is empty", TT_EVALUE},
        {"{" WHO "}", "/span_ms must be", TT_EVALUE},
        {"{" WHO ",\"span_ms\":0}", "/span_ms must be", TT_EVALUE},
        {"{" WHO ",\"span_ms\":-5}", "/span_ms must be", TT_EVALUE},
        {"{" WHO ",\"span_ms\":1000,\"version\":-1}", "/version must be", TT_EVALUE},
        {"{" WHO ",\"span_ms\":1000,\"version\":1.5}", "/version must be", TT_EVALUE},
        {"{" WHO ",\"span_ms\":1000,\"utilization\":\"high\"}", "/utilization must be", TT_EVALUE},
        {"{" WHO ",\"span_ms\":1000,\"by_priority\":[]}", "/by_priority must be", TT_EVALUE},
        {"{" WHO ",\"span_ms\":1000,\"by_priority\":{\"normal\":5}}", "/by_priority/normal must be", TT_EVALUE},
        {"{" WHO ",\"span_ms\":1000,\"by_priority\":{\"normal\":{\"ok\":-1}}}", "/by_priority/normal/ok must be", TT_EVALUE},
        {"{" WHO ",\"span_ms\":1000,\"by_priority\":{\"\":{}}}", "/by_priority holds a name", TT_EVALUE},
        {"{" WHO ",\"span_ms\":1000,\"by_priority\":{\"1\":{},\"2\":{},\"3\":{},\"4\":{},\"5\":{},\"6\":{},\"7\":{},\"8\":{},\"9\":{}}}", "at most 8",
         TT_ELIMIT},
    };
    tt_board *b = tt_board_new(1);
    for (size_t i = 0; i < TT_COUNT(rows); i++) {
        tt_err err = {0};
        print_message("  %s\n", rows[i].body);
        assert_false(tt_board_report(b, tt_sv_of(rows[i].body), at(1), &err));
        assert_int_equal(err.code, rows[i].code);
        assert_non_null(strstr(err.text, rows[i].says));
    }
    uint32_t n, behind;
    tt_board_counts(b, at(1), &n, &behind);
    assert_int_equal(n, 0); /* nothing was half taken */
    tt_board_free(b);
}

static const struct {
    const char *reports;
} asked[] = {{"offered_rps"},   {"admitted_rps"}, {"utilization"}, {"error_ratio"},   {"latency_mean_ms"},
             {"latency_p99"},   {"inflight"},     {"arrived_rps"}, {"completed_rps"}, {""},
             {"latency_p50_ms"}};

static double value_of(const tt_measurement *m, size_t n, const char *reports, const char *priority, tt_quality *ret_quality, tt_time *ret_at) {
    for (size_t i = 0; i < n; i++) {
        if (strcmp(asked[m[i].signal].reports, reports) != 0) continue;
        tt_sv have = m[i].n_labels > 2 ? m[i].labels[2].value : TT_SV("");
        if (!tt_sv_eq(have, tt_sv_of(priority))) continue;
        assert_true(tt_sv_eq(m[i].labels[0].value, TT_SV("checkout")) && tt_sv_eq(m[i].labels[1].value, TT_SV("dc-a")));
        if (ret_quality) *ret_quality = m[i].quality;
        if (ret_at) *ret_at = m[i].at;
        return m[i].value;
    }
    fail_msg("no measurement %s %s", reports, priority);
    return 0;
}

static void report(tt_board *b, const char *instance, double s, const char *rest) {
    char text[1024];
    tt_err err = {0};
    snprintf(text, sizeof text, "{\"service\":\"checkout\",\"dc\":\"dc-a\",\"instance\":\"%s\",\"epoch\":1,\"version\":1,%s}", instance, rest);
    if (!tt_board_report(b, tt_sv_of(text), at(s), &err)) fail_msg("%s", err.text);
}

static void merged(void **state) {
    (void)state;
    tt_signal_def defs[TT_COUNT(asked)] = {0};
    for (size_t i = 0; i < TT_COUNT(asked); i++) defs[i].reports = tt_sv_of(asked[i].reports);
    const tt_rules rules = {.n_signals = TT_COUNT(asked), .signals = defs};
    const tt_measurement *m;
    tt_quality quality;
    tt_time when;
    tt_board *b = tt_board_new(1);
    assert_int_equal(tt_board_measurements(b, &rules, at(0), &m), 0); /* silence is no measurement */
    report(b, "i1", 10.0,
           "\"span_ms\":1000,\"by_priority\":{\"normal\":{\"offered\":60,\"admitted\":60,\"ok\":54,\"error\":6},\"batch\":{\"offered\":10}},"
           "\"completed\":60,\"utilization\":0.8,\"inflight\":5,\"latency_mean_ms\":100,\"latency_p50_ms\":90,\"latency_p99_ms\":140");
    report(b, "i2", 10.4,
           "\"span_ms\":500,\"by_priority\":{\"normal\":{\"offered\":20,\"admitted\":10,\"ok\":10}},"
           "\"completed\":10,\"utilization\":0.4,\"inflight\":1,\"latency_mean_ms\":20,\"latency_p50_ms\":20,\"latency_p99_ms\":20");
    report(b, "i3", 10.4, "\"span_ms\":1000,\"by_priority\":{},\"latency_mean_ms\":null"); /* idle: no latency to speak of */
    size_t n = tt_board_measurements(b, &rules, at(10.5), &m);
    assert_float_equal(value_of(m, n, "offered_rps", "normal", NULL, &when), 100, 1e-9); /* 60/s and 40/s */
    assert_int_equal(when.ns, at(10.0).ns);                                              /* as old as the oldest in it */
    assert_float_equal(value_of(m, n, "offered_rps", "batch", NULL, NULL), 10, 1e-9);
    assert_float_equal(value_of(m, n, "admitted_rps", "batch", &quality, NULL), 0, 1e-9);
    assert_int_equal(quality, TT_Q_OK); /* none were admitted: that is known */
    assert_float_equal(value_of(m, n, "arrived_rps", "", NULL, NULL), 110, 1e-9);
    assert_float_equal(value_of(m, n, "completed_rps", "", NULL, NULL), 80, 1e-9);
    assert_float_equal(value_of(m, n, "utilization", "", NULL, NULL), 0.6, 1e-9);
    assert_float_equal(value_of(m, n, "inflight", "", NULL, NULL), 6, 1e-9);
    assert_float_equal(value_of(m, n, "error_ratio", "", NULL, NULL), 6.0 / 80, 1e-9);
    assert_float_equal(value_of(m, n, "latency_mean_ms", "", NULL, NULL), (100.0 * 60 + 20.0 * 20) / 80, 1e-9);
    /* a quarter of the requests are fast: neither the mean of the two instances' quantiles nor the worse of them */
    assert_float_equal(value_of(m, n, "latency_p99", "", NULL, NULL), 139.66, 0.01);
    assert_float_equal(value_of(m, n, "latency_p50_ms", "", NULL, NULL), 60, 0.01);
    /* i1 falls silent: it leaves the sums, and its priority is known to be empty */
    report(b, "i2", 14, "\"span_ms\":1000,\"by_priority\":{\"normal\":{\"offered\":20,\"admitted\":0}}");
    n = tt_board_measurements(b, &rules, at(14.5), &m);
    assert_float_equal(value_of(m, n, "offered_rps", "normal", NULL, NULL), 20, 1e-9);
    assert_float_equal(value_of(m, n, "offered_rps", "batch", NULL, NULL), 0, 1e-9);
    (void)value_of(m, n, "error_ratio", "", &quality, NULL);
    assert_int_equal(quality, TT_Q_NO_DATA); /* of nothing admitted, no share failed */
    (void)value_of(m, n, "utilization", "", &quality, NULL);
    assert_int_equal(quality, TT_Q_NO_DATA);
    assert_int_equal(tt_board_measurements(b, &rules, at(30), &m), 0);
    tt_board_free(b);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(malformed), cmocka_unit_test(merged)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
