/* Statistics and the Prometheus text. */
#include "common.h"

#include <locale.h>
#include <stdlib.h>

static char text[1 << 20];

static const char *metrics(tt_dp *dp) {
    size_t n = tt_dp_metrics(dp, text, sizeof text);
    assert_in_range(n, 1, sizeof text - 1);
    assert_int_equal(strlen(text), n);
    return text;
}

static bool has_line(const char *all, const char *line) {
    size_t n = strlen(line);
    for (const char *at = all; (at = strstr(at, line)); at++)
        if ((at == all || at[-1] == '\n') && at[n] == '\n') return true;
    return false;
}

#define HAS(dp, line)                                                                                                                                \
    do {                                                                                                                                             \
        if (!has_line(metrics(dp), line)) fail_msg("no line %s in\n%s", line, text);                                                                 \
    } while (0)

static void follows_requests(void **state) {
    (void)state;
    tt_dp *dp = dp_of("checkout", "dc-a");
    int64_t now = begin_ns;
    for (int i = 0; i < 10; i++) assert_int_equal(tt_dp_admit(dp, 0, NULL, 0, now), TT_DP_ADMIT);
    tt_dp_stats s = {.size = sizeof s};
    tt_dp_read_stats(dp, &s);
    assert_int_equal(s.queued, 10);
    assert_int_equal(s.inflight, 10);
    for (int i = 0; i < 8; i++) tt_dp_started(dp, now += 10 * ms_ns);
    tt_dp_abandoned(dp, 0, false, now); /* gave up waiting */
    tt_dp_read_stats(dp, &s);
    assert_int_equal(s.queued, 1);
    assert_int_equal(s.inflight, 9);
    for (int i = 0; i < 7; i++) tt_dp_finished(dp, 0, i < 4 ? TT_DP_OK : i < 6 ? TT_DP_ERROR : TT_DP_LATE, (i + 1) * 10 * ms_ns, now += 5 * ms_ns);
    tt_dp_abandoned(dp, 0, true, now += 5 * ms_ns);
    tt_dp_abandoned(dp, 0, false, now);
    tt_dp_read_stats(dp, &s);
    assert_int_equal(s.queued, 0);
    assert_int_equal(s.inflight, 0);
    assert_int_equal(s.ok[0], 4);
    assert_int_equal(s.error[0], 2);
    assert_int_equal(s.late[0], 1);
    assert_int_equal(s.completed, 7);
    /* Started at 10..80 ms, ended at 85..120 ms: 36 x 5 + 8 x 80 - 36 x 10. */
    assert_int_equal(s.busy_ns, (36 * 5 + 8 * 80 - 36 * 10) * ms_ns);
    HAS(dp, "trimtab_busy_seconds_total 0.460000000");
    HAS(dp, "trimtab_admitted_total{priority=\"critical\"} 10");
    HAS(dp, "trimtab_offered_total{priority=\"critical\"} 10");
    HAS(dp, "trimtab_late_total{priority=\"critical\"} 1");
    HAS(dp, "trimtab_ok_total{priority=\"batch\"} 0");
    HAS(dp, "trimtab_completed_total 7");
    HAS(dp, "trimtab_workers 8");
    HAS(dp, "trimtab_latency_seconds_bucket{le=\"0.005\"} 0");
    HAS(dp, "trimtab_latency_seconds_bucket{le=\"0.01\"} 1"); /* 10 ms is within */
    HAS(dp, "trimtab_latency_seconds_bucket{le=\"0.025\"} 2");
    HAS(dp, "trimtab_latency_seconds_bucket{le=\"1\"} 7");
    HAS(dp, "trimtab_latency_seconds_bucket{le=\"+Inf\"} 7");
    HAS(dp, "trimtab_latency_seconds_sum 0.280000000");
    HAS(dp, "trimtab_latency_seconds_count 7");
    HAS(dp, "trimtab_decision_version 0");
    tt_dp_free(dp);
}

static void busy_time_counts_while_it_lasts(void **state) {
    (void)state;
    tt_dp *dp = dp_of("checkout", "dc-a");
    (void)tt_dp_admit(dp, 0, NULL, 0, 0);
    tt_dp_started(dp, 0);
    tt_dp_stats s = {.size = sizeof s};
    do tt_dp_read_stats(dp, &s);
    while (s.busy_ns < 2 * ms_ns);
    tt_dp_free(dp);
}

static void tells_what_was_turned_away(void **state) {
    (void)state;
    tt_dp *dp = dp_of("checkout", "dc-a");
    const tt_dp_action drop = {.kind = TT_DP_DROP, .name = "batch", .value = 1};
    tt_dp_decision d = {.service = "checkout", .epoch = 4, .version = 77, .n_actions = 1, .actions = &drop, .expire_after_ms = -1};
    assert_true(tt_dp_apply(dp, &d, 1, 5, 0, 0));
    for (int i = 0; i < 5; i++) (void)tt_dp_admit(dp, 2, "k", 1, 0);
    HAS(dp, "trimtab_offered_total{priority=\"batch\"} 5");
    HAS(dp, "trimtab_admitted_total{priority=\"batch\"} 0");
    HAS(dp, "trimtab_dropped_total{priority=\"batch\"} 5");
    HAS(dp, "trimtab_refused_total{priority=\"batch\"} 0");
    HAS(dp, "trimtab_decision_version 77");
    HAS(dp, "trimtab_decision_epoch 5");
    tt_dp_free(dp);
}

static void counts_calls(void **state) {
    (void)state;
    tt_dp *dp = dp_of("checkout", "dc-a");
    static const struct {
        tt_dp_call_result result;
        const char *name;
    } results[] = {{TT_DP_CALL_OK, "ok"},           {TT_DP_CALL_ERROR, "error"},
                   {TT_DP_CALL_TIMEOUT, "timeout"}, {TT_DP_CALL_UNREACHABLE, "unreachable"},
                   {TT_DP_CALL_DROPPED, "dropped"}, {TT_DP_CALL_REFUSED, "refused"}};
    for (unsigned r = 0; r < COUNT(results); r++)
        for (unsigned i = 0; i <= r; i++) tt_dp_called(dp, "payments", "dc-b", "10.0.0.7:8080", 1, results[r].result, 1500 * ms_ns);
    for (unsigned r = 0; r < COUNT(results); r++) {
        char line[256];
        snprintf(line, sizeof line,
                 "trimtab_calls_total{to_service=\"payments\",to_dc=\"dc-b\",to_instance=\"10.0.0.7:8080\",priority=\"normal\",outcome=\"%s\"} %u",
                 results[r].name, r + 1);
        HAS(dp, line);
    }
    /* ok, error and time-out waited: 1 + 2 + 3 times 1.5 s */
    HAS(dp, "trimtab_call_seconds_total{to_service=\"payments\",to_dc=\"dc-b\",to_instance=\"10.0.0.7:8080\"} 9.000000000");
    tt_dp_called(dp, "a\"b\\c\nd", NULL, NULL, 99, TT_DP_CALL_OK, -5);
    HAS(dp, "trimtab_calls_total{to_service=\"a\\\"b\\\\c\\nd\",to_dc=\"\",to_instance=\"\",priority=\"batch\",outcome=\"ok\"} 1");
    tt_dp_called(dp, NULL, NULL, NULL, 0, TT_DP_CALL_OK, 0);
    tt_dp_called(dp, "payments", "dc-b", "x", 0, (tt_dp_call_result)6, 0);
    tt_dp_free(dp);
}

/* 256 callees; then "other" of their service and site; then one for all. */
static void many_callees_are_folded(void **state) {
    (void)state;
    tt_dp *dp = dp_of("checkout", "dc-a");
    char name[32];
    for (int round = 0; round < 2; round++) /* the second time they are known */
        for (int i = 0; i < 256 + 5; i++) {
            snprintf(name, sizeof name, "10.0.%d.%d:80", i / 256, i % 256);
            tt_dp_called(dp, "payments", "dc-a", name, 0, TT_DP_CALL_OK, ms_ns);
        }
    HAS(dp, "trimtab_calls_total{to_service=\"payments\",to_dc=\"dc-a\",to_instance=\"10.0.0.255:80\",priority=\"critical\",outcome=\"ok\"} 2");
    HAS(dp, "trimtab_calls_total{to_service=\"payments\",to_dc=\"dc-a\",to_instance=\"other\",priority=\"critical\",outcome=\"ok\"} 10");
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "service-%d", i);
        tt_dp_called(dp, name, "dc-a", "10.9.9.9:80", 0, TT_DP_CALL_OK, ms_ns);
    }
    HAS(dp, "trimtab_calls_total{to_service=\"service-0\",to_dc=\"dc-a\",to_instance=\"other\",priority=\"critical\",outcome=\"ok\"} 1");
    HAS(dp,
        "trimtab_calls_total{to_service=\"other\",to_dc=\"other\",to_instance=\"other\",priority=\"critical\",outcome=\"ok\"} 69"); /* 32 others, one
                                                                                                                                       taken above */
    char too_long[400];
    memset(too_long, 'z', sizeof too_long - 1);
    too_long[sizeof too_long - 1] = 0;
    tt_dp_called(dp, too_long, too_long, too_long, 0, TT_DP_CALL_OK, ms_ns);
    tt_dp_free(dp);
}

static void text_is_cut_as_snprintf_does(void **state) {
    (void)state;
    tt_dp *dp = dp_of("checkout", "dc-a");
    size_t whole = tt_dp_metrics(dp, NULL, 0);
    assert_int_equal(whole, strlen(metrics(dp)));
    for (size_t size = 1; size < whole; size += 97) {
        char *small = malloc(size); /* so that the sanitizer sees a byte too many */
        assert_int_equal(tt_dp_metrics(dp, small, size), whole);
        assert_int_equal(strlen(small), size - 1);
        assert_memory_equal(small, text, size - 1);
        free(small);
    }
    tt_dp_free(dp);
}

/* "0,005" would break every scrape. */
static void the_locale_has_no_say(void **state) {
    (void)state;
    static const char *const with_comma[] = {"de_DE.UTF-8", "de_DE.utf8", "de_DE", "fr_FR.UTF-8", "fr_FR.utf8"};
    bool set = false;
    for (size_t i = 0; i < COUNT(with_comma) && !set; i++) set = setlocale(LC_ALL, with_comma[i]) != NULL;
    if (!set) skip(); /* no such locale on this machine */
    tt_dp *dp = dp_of("checkout", "dc-a");
    HAS(dp, "trimtab_latency_seconds_bucket{le=\"0.005\"} 0");
    HAS(dp, "trimtab_latency_seconds_sum 0.000000000");
    tt_dp_free(dp);
    setlocale(LC_ALL, "C");
}

/* Callers built with an earlier or later header. */
static void stats_fit_the_caller(void **state) {
    (void)state;
    tt_dp *dp = dp_of("checkout", "dc-a");
    (void)tt_dp_admit(dp, 0, NULL, 0, 0);
    struct {
        tt_dp_stats s;
        uint64_t later[4];
    } given;
    memset(&given, 0xff, sizeof given);
    given.s.size = sizeof given;
    tt_dp_read_stats(dp, &given.s);
    assert_int_equal(given.s.admitted[0], 1);
    assert_int_equal(given.later[0], 0);
    memset(&given, 0xff, sizeof given);
    given.s.size = offsetof(tt_dp_stats, ok);
    tt_dp_read_stats(dp, &given.s);
    assert_int_equal(given.s.admitted[0], 1);
    assert_true(given.s.ok[0] == UINT64_MAX);
    given.s.size = 0;
    tt_dp_read_stats(dp, &given.s);
    tt_dp_read_stats(dp, NULL);
    tt_dp_free(dp);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(follows_requests),           cmocka_unit_test(busy_time_counts_while_it_lasts),
                                       cmocka_unit_test(tells_what_was_turned_away), cmocka_unit_test(counts_calls),
                                       cmocka_unit_test(many_callees_are_folded),    cmocka_unit_test(text_is_cut_as_snprintf_does),
                                       cmocka_unit_test(the_locale_has_no_say),      cmocka_unit_test(stats_fit_the_caller)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
