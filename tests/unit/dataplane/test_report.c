/* What a report says. */
#include "common.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

#include "agent/report.h"

static void finds_quantiles(void **state) {
    (void)state;
    static const uint32_t bounds[TT_DP_PRIVATE_BUCKETS - 1] = {5, 10, 25, 50, 75, 100, 150, 200, 250, 300, 400, 500, 750, 1000, 2000, 5000};
    static const struct {
        const char *name;
        uint64_t counts[TT_DP_PRIVATE_BUCKETS];
        double share, want_ms;
    } rows[] = {{"none", {0}, 0.5, -1},
                {"one bucket, half", {0, 0, 0, 100}, 0.5, 37.5},
                {"the first bucket", {100}, 0.5, 2.5},
                {"at a bound", {50, 50}, 0.5, 5},
                {"in the tail", {0, 90, 0, 0, 0, 0, 0, 0, 0, 10}, 0.99, 295},
                {"beyond the last bound", {[16] = 3}, 0.99, 5000},
                {"with a gap", {50, 0, 0, 0, 50}, 0.75, 62.5}};
    for (size_t i = 0; i < COUNT(rows); i++)
        if (fabs(agent_quantile_ms(rows[i].counts, bounds, rows[i].share) - rows[i].want_ms) > 1e-9)
            fail_msg("%s: %g", rows[i].name, agent_quantile_ms(rows[i].counts, bounds, rows[i].share));
}

static double number(const json_t *o, const char *key) {
    const json_t *v = json_object_get(o, key);
    if (!json_is_number(v)) fail_msg("no number %s", key);
    return json_number_value(v);
}

static json_t *report(agent_meter *m, int64_t now_ns) {
    char *text = agent_meter_report(m, &(agent_standing){.epoch = 3, .version = 1043, .in_force = "ours"}, now_ns);
    assert_non_null(text);
    json_t *o = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(o);
    free(text);
    return o;
}

static void tells_the_span(void **state) {
    (void)state;
    tt_dp *dp = dp_of("checkout", "dc-a");
    int64_t now = begin_ns;
    for (int i = 0; i < 7; i++) (void)tt_dp_admit(dp, 1, NULL, 0, now); /* before the agent was there */
    for (int i = 0; i < 7; i++) tt_dp_abandoned(dp, 1, false, now);
    agent_meter m;
    agent_meter_start(&m, dp, "10.0.0.9:8080", now);
    for (int i = 0; i < 61; i++) {
        (void)tt_dp_admit(dp, 1, NULL, 0, now);
        tt_dp_started(dp, now);
        tt_dp_finished(dp, 1, i < 58 ? TT_DP_OK : i < 60 ? TT_DP_ERROR : TT_DP_LATE, 80 * ms_ns, now + 80 * ms_ns);
    }
    json_t *o = report(&m, now += second_ns);
    const json_t *normal = json_object_get(json_object_get(o, "by_priority"), "normal");
    assert_string_equal(json_string_value(json_object_get(o, "service")), "checkout");
    assert_string_equal(json_string_value(json_object_get(o, "dc")), "dc-a");
    assert_string_equal(json_string_value(json_object_get(o, "instance")), "10.0.0.9:8080");
    assert_int_equal(number(o, "epoch"), 3);
    assert_int_equal(number(o, "version"), 1043);
    assert_int_equal(number(o, "span_ms"), 1000);
    assert_true(json_is_null(json_object_get(o, "refused")));
    assert_int_equal(number(normal, "offered"), 61);
    assert_int_equal(number(normal, "admitted"), 61);
    assert_int_equal(number(normal, "ok"), 58);
    assert_int_equal(number(normal, "error"), 2);
    assert_int_equal(number(normal, "late"), 1);
    assert_int_equal(number(normal, "dropped"), 0);
    assert_int_equal(number(normal, "refused"), 0);
    assert_int_equal(number(o, "completed"), 61);
    assert_int_equal(number(o, "inflight"), 0);
    assert_true(fabs(number(o, "utilization") - 61 * 0.08 / 8) < 1e-4); /* of 8 workers */
    assert_true(fabs(number(o, "latency_mean_ms") - 80) < 1e-3);
    assert_in_range(number(o, "latency_p50_ms"), 75, 100);
    assert_in_range(number(o, "latency_p99_ms"), 75, 100);
    json_decref(o);
    o = report(&m, now += 500 * ms_ns); /* nothing happened since */
    assert_int_equal(number(o, "span_ms"), 500);
    assert_int_equal(number(json_object_get(json_object_get(o, "by_priority"), "normal"), "offered"), 0);
    assert_int_equal(number(o, "completed"), 0);
    assert_true(json_is_null(json_object_get(o, "latency_mean_ms")));
    assert_true(json_is_null(json_object_get(o, "latency_p99_ms")));
    assert_true(fabs(number(o, "utilization")) < 1e-9);
    json_decref(o);
    tt_dp_free(dp);
    tt_dp_options no_workers = {.size = sizeof no_workers, .service = "checkout"};
    dp = tt_dp_new(&no_workers);
    agent_meter_start(&m, dp, "i", now);
    char *text = agent_meter_report(&m, &(agent_standing){.refused = "a \"quoted\" why", .in_force = "other", .found = "3 actions"}, now + second_ns);
    assert_non_null(strstr(text, "\"utilization\":null"));
    assert_non_null(strstr(text, "\"refused\":\"a \\\"quoted\\\" why\""));
    assert_non_null(strstr(text, "\"in_force\":\"other\",\"found\":\"3 actions\""));
    free(text);
    tt_dp_free(dp);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(finds_quantiles), cmocka_unit_test(tells_the_span)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
