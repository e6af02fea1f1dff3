/* The steps beside the ladder: on which figures each is taken, how far, and how it is given back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "hand.h"

#define HERE "service=front dc=dc-a"
#define THERE "service=front dc=dc-b"
#define DOWN "service=payments dc=dc-a"

static const char head[] =
    "services:\n"
    "  - {name: front, dcs: {dc-a: {weight: 50%, capacity_rps: 120}, dc-b: {weight: 50%, capacity_rps: 120}}, calls: [payments], inner_loop: true}\n"
    "  - {name: payments, dcs: [dc-a, dc-b], inner_loop: true}\n"
    "signals:\n"
    "  - {name: offered_rps, query: \"x[1s]\", every: 1s}\n"
    "  - {name: ok_rps, query: \"x[1s]\", every: 1s}\n"
    "  - {name: refused_rps, query: \"x[1s]\", every: 1s}\n"
    "  - {name: dropped_rps, query: \"x[1s]\", every: 1s}\n"
    "  - {name: arrived_rps, query: \"x[1s]\", every: 1s}\n"
    "  - {name: completed_rps, query: \"x[1s]\", every: 1s}\n"
    "  - {name: utilization, query: \"x[1s]\", every: 1s}\n"
    "  - {name: latency_mean_ms, query: \"x[1s]\", every: 1s}\n"
    "  - {name: latency_p99_ms, query: \"x[1s]\", every: 1s}\n"
    "  - {name: retries_rps, query: \"x[1s]\", every: 1s}\n"
    "  - {name: caller_rps, query: \"x[1s]\", every: 1s}\n"
    "  - {name: error_ratio, query: \"x[1s]\", every: 1s}\n"
    "anomalies:\n"
    "  - {name: ill, when: error_ratio > 5%, clear_for: 1s}\n"
    "guardrails: {protected: [gold], lock_out: {reversals: 9}, most_targets_bad: {share: 100%, at_least: 9}}\n"
    "plans:\n"
    "  - name: plan\n"
    "    on: {anomaly: ill, labels: {dc: /^(?<dc>.+)$/}}\n"
    "    mode: auto\n"
    "    target: {service: front, dc: $dc}\n"
    "    keep: [error_ratio <= 5%]\n"
    "    settle: {hold: 5s, within: 10m}\n"
    "    recover: {after: 20s, every: 5s}\n";

typedef struct {
    double offered, ok, refused, arrived, utilization, latency, retries;
} figures;

static const figures well = {100, 100, 0, 100, 0.6, 20, 2};

static void show(hand *h, figures f) {
    hand_set(h, "offered_rps", HERE, f.offered);
    hand_set(h, "ok_rps", HERE, f.ok);
    hand_set(h, "refused_rps", HERE, f.refused);
    hand_set(h, "dropped_rps", HERE, 0);
    hand_set(h, "arrived_rps", DOWN, f.arrived);
    hand_set(h, "completed_rps", DOWN, f.arrived);
    hand_set(h, "utilization", DOWN, f.utilization);
    hand_set(h, "latency_mean_ms", DOWN, f.latency);
    hand_set(h, "latency_p99_ms", DOWN, 3 * f.latency);
    hand_set(h, "retries_rps", HERE, f.retries);
    hand_set(h, "error_ratio", HERE, f.offered > 0 ? 1 - (f.ok + f.refused) / f.offered : 0);
    if (f.refused > 0) hand_set(h, "error_ratio", HERE, 1 - f.ok / f.offered);
}

static void open_hand(hand *h, const char *steps) {
    char text[8192];
    snprintf(text, sizeof text, "%s    steps: [%s]\n", head, steps);
    assert_true(hand_open(h, text));
    show(h, well);
    hand_set(h, "caller_rps", HERE " caller=web", 60);
    hand_set(h, "caller_rps", HERE " caller=reports", 30);
    hand_set(h, "caller_rps", HERE " caller=gold", 10);
    hand_run(h, 60);
    assert_int_equal(h->n_actions, 0);
}

static void near(const char *row, double is, double want) {
    if (isnan(want) ? !isnan(is) : !(fabs(is - want) <= 0.01 * fabs(want) + 1e-9)) fail_msg("%s: %.4g, expected %.4g", row, is, want);
}

/* ---- retry ---- */

static double budget(hand *h, const char *service) {
    return hand_act(h, service, "dc-a", TT_ACT_RETRY, "");
}

static const struct {
    const char *name, *step;
    const char *of;
    figures ill;
    double budget;
} retry_rows[] = {
    {"failures that amplify, with room left", "retry: {}", "front", {120, 60, 0, 120, 0.6, 20, 40}, 0.1},
    {"no room: the least", "retry: {budget: 20%, min: 1%}", "front", {300, 100, 0, 100, 0.6, 20, 140}, 0.01},
    {"room for a few: as many as fit", "retry: {budget: 20%, min: 1%}", "front", {200, 60, 0, 100, 0.6, 20, 57}, 0.07},
    {"failures without retries", "retry: {}", "front", {120, 60, 0, 120, 0.6, 20, 5}, (double)NAN},
    {"a surge without failures", "retry: {}", "front", {200, 200, 0, 200, 0.6, 20, 40}, (double)NAN},
    {"not told who retries: nothing is guessed", "retry: {}", "front", {120, 60, 0, 120, 0.6, 20, (double)NAN}, (double)NAN},
    {"calls to another service, by their number", "retry: {service: payments, budget: 5%}", "payments", {100, 60, 0, 160, 0.6, 20, 0}, 0.05},
    {"calls to another service, as ever", "retry: {service: payments}", "payments", {100, 60, 0, 105, 0.6, 20, 0}, (double)NAN},
};

static void retries_are_cut_to_a_budget_when_they_amplify(void **state) {
    (void)state;
    for (size_t i = 0; i < TT_COUNT(retry_rows); i++) {
        hand h;
        open_hand(&h, retry_rows[i].step);
        show(&h, retry_rows[i].ill);
        hand_run(&h, 8);
        near(retry_rows[i].name, budget(&h, retry_rows[i].of), retry_rows[i].budget);
        hand_close(&h);
    }
}

static void a_budget_is_doubled_back_and_a_relapse_waits_twice_as_long(void **state) {
    (void)state;
    hand h;
    const figures ill = {120, 60, 0, 120, 0.6, 20, 40};
    open_hand(&h, "retry: {budget: 4%}");
    show(&h, ill);
    hand_run(&h, 8);
    near("cut", budget(&h, "front"), 0.04);
    show(&h, well);
    hand_run(&h, 15);
    near("held", budget(&h, "front"), 0.04);
    hand_run(&h, 10);
    near("doubled", budget(&h, "front"), 0.08);
    show(&h, ill);
    hand_run(&h, 8);
    near("cut again", budget(&h, "front"), 0.04);
    assert_non_null(strstr(h.log, "relapse: "));
    show(&h, well);
    hand_run(&h, 35);
    near("held for twice as long", budget(&h, "front"), 0.04);
    hand_run(&h, 30);
    near("all of it back", budget(&h, "front"), (double)NAN);
    hand_run(&h, 20);
    assert_non_null(strstr(h.log, "loop_closed: recovered"));
    hand_close(&h);
}

/* ---- timeout ---- */

static double wait_ms(hand *h) {
    return hand_act(h, "payments", "dc-a", TT_ACT_TIMEOUT, "");
}

static const struct {
    const char *name, *step;
    figures ill;
    double ms;
} timeout_rows[] = {
    {"slow, and its callers fail", "timeout: {service: payments}", {100, 60, 0, 100, 0.6, 80, 2}, 90},
    {"the factor is the plan's", "timeout: {service: payments, factor: 3}", {100, 60, 0, 100, 0.6, 80, 2}, 180},
    {"never under min", "timeout: {service: payments, min: 200ms}", {100, 60, 0, 100, 0.6, 80, 2}, 200},
    {"never over max", "timeout: {service: payments, max: 70ms}", {100, 60, 0, 100, 0.6, 80, 2}, 70},
    {"slow, and nobody suffers", "timeout: {service: payments}", {100, 100, 0, 100, 0.6, 80, 2}, (double)NAN},
    {"callers fail, it isn't slow", "timeout: {service: payments}", {100, 60, 0, 100, 0.6, 30, 2}, (double)NAN},
    {"callers fail, and nobody knows how slow it is", "timeout: {service: payments}", {100, 60, 0, 100, 0.6, (double)NAN, 2}, (double)NAN},
};

static void a_slow_dependency_is_waited_for_as_long_as_it_takes_when_well(void **state) {
    (void)state;
    for (size_t i = 0; i < TT_COUNT(timeout_rows); i++) {
        hand h;
        open_hand(&h, timeout_rows[i].step);
        show(&h, timeout_rows[i].ill);
        hand_run(&h, 8);
        near(timeout_rows[i].name, wait_ms(&h), timeout_rows[i].ms);
        hand_close(&h);
    }
}

static void a_timeout_comes_back_by_half_as_much_again(void **state) {
    (void)state;
    hand h;
    open_hand(&h, "timeout: {service: payments, max: 200ms}");
    show(&h, (figures){100, 60, 0, 100, 0.6, 80, 2});
    hand_run(&h, 8);
    near("set", wait_ms(&h), 90);
    show(&h, (figures){100, 100, 0, 100, 0.6, 35, 2}); /* well, and still slower than it was: kept */
    hand_run(&h, 60);
    near("kept while it is slow", wait_ms(&h), 90);
    show(&h, well);
    hand_run(&h, 25);
    near("a step", wait_ms(&h), 135);
    hand_run(&h, 12);
    near("gone", wait_ms(&h), (double)NAN);
    hand_close(&h);
}

/* ---- hedge ---- */

static void no_hedges_for_a_full_service(void **state) {
    (void)state;
    hand h;
    open_hand(&h, "hedge: {service: payments, off_above: 80%}");
    const figures full = {100, 80, 0, 100, 0.85, 20, 2}, between = {100, 99, 0, 100, 0.7, 20, 2};
    show(&h, (figures){100, 80, 0, 100, 0.75, 20, 2});
    hand_run(&h, 10);
    near("below the step's utilization", hand_act(&h, "payments", "dc-a", TT_ACT_HEDGE, ""), (double)NAN);
    show(&h, full);
    hand_run(&h, 4);
    near("off", hand_act(&h, "payments", "dc-a", TT_ACT_HEDGE, ""), 0);
    show(&h, between);
    hand_run(&h, 60);
    near("still off 10 points below", hand_act(&h, "payments", "dc-a", TT_ACT_HEDGE, ""), 0);
    hand_run(&h, 60);
    near("but not for ever", hand_act(&h, "payments", "dc-a", TT_ACT_HEDGE, ""), (double)NAN);
    hand_run(&h, 30);
    assert_non_null(strstr(h.log, "loop_closed: recovered"));
    show(&h, full);
    hand_run(&h, 6);
    near("off again", hand_act(&h, "payments", "dc-a", TT_ACT_HEDGE, ""), 0);
    show(&h, well);
    hand_run(&h, 30);
    near("on again", hand_act(&h, "payments", "dc-a", TT_ACT_HEDGE, ""), (double)NAN);
    hand_close(&h);
}

/* ---- isolate ---- */

static double refused(hand *h, const char *caller) {
    return hand_act(h, "front", "dc-a", TT_ACT_ISOLATE, caller);
}

static const struct {
    const char *name, *step;
    double web, reports, gold; /* usually 60, 30 and 10 of a capacity of 120 */
    const char *who;
    double ratio;
} isolate_rows[] = {
    {"one grew, and that is what is over", "isolate: {}", 60, 150, 10, "reports", 0.8},
    {"no further than max", "isolate: {max: 50%}", 60, 150, 10, "reports", 0.5},
    {"all grew alike: nobody's surge", "isolate: {}", 120, 60, 20, "web", (double)NAN},
    {"two grew", "isolate: {}", 110, 80, 10, "web", (double)NAN},
    {"a protected one is left alone", "isolate: {}", 60, 30, 150, "gold", (double)NAN},
    {"a little more than usual is no surge", "isolate: {}", 60, 40, 10, "reports", (double)NAN},
};

static void the_caller_that_grew_is_brought_back_to_its_usual_rate(void **state) {
    (void)state;
    for (size_t i = 0; i < TT_COUNT(isolate_rows); i++) {
        hand h;
        open_hand(&h, isolate_rows[i].step);
        double all = isolate_rows[i].web + isolate_rows[i].reports + isolate_rows[i].gold;
        hand_set(&h, "caller_rps", HERE " caller=web", isolate_rows[i].web);
        hand_set(&h, "caller_rps", HERE " caller=reports", isolate_rows[i].reports);
        hand_set(&h, "caller_rps", HERE " caller=gold", isolate_rows[i].gold);
        show(&h, (figures){all, fmin(all, 100), fmax(all - 100, 0), 100, 0.99, 20, 2});
        hand_set(&h, "error_ratio", HERE, 0.1); /* the loop is there in every row */
        hand_run(&h, 8);
        near(isolate_rows[i].name, refused(&h, isolate_rows[i].who), isolate_rows[i].ratio);
        if (isnan(isolate_rows[i].ratio) && strstr(h.log, " isolate:")) fail_msg("%s: %s", isolate_rows[i].name, h.log);
        hand_close(&h);
    }
}

static void the_only_caller_is_never_isolated(void **state) {
    (void)state;
    hand h;
    char text[8192];
    snprintf(text, sizeof text, "%s    steps: [isolate: {}]\n", head);
    assert_true(hand_open(&h, text));
    show(&h, well);
    hand_set(&h, "caller_rps", HERE " caller=web", 100);
    hand_run(&h, 60);
    hand_set(&h, "caller_rps", HERE " caller=web", 300);
    show(&h, (figures){300, 100, 200, 100, 0.99, 20, 2});
    hand_run(&h, 8);
    near("web", refused(&h, "web"), (double)NAN);
    hand_close(&h);
}

static void an_isolated_caller_comes_back_by_halves_when_it_asks_for_its_usual(void **state) {
    (void)state;
    hand h;
    open_hand(&h, "isolate: {}");
    hand_set(&h, "caller_rps", HERE " caller=reports", 150);
    show(&h, (figures){220, 100, 120, 100, 0.99, 20, 2});
    hand_run(&h, 8);
    near("isolated", refused(&h, "reports"), 0.8);
    show(&h, (figures){220, 100, 0, 100, 0.6, 20, 2}); /* the rest is served */
    hand_set(&h, "dropped_rps", HERE, 120);
    hand_set(&h, "error_ratio", HERE, 0);
    hand_run(&h, 60);
    near("it still asks for more than there is", refused(&h, "reports"), 0.8);
    hand_set(&h, "caller_rps", HERE " caller=reports", 32);
    show(&h, well);
    hand_run(&h, 25);
    near("half", refused(&h, "reports"), 0.4);
    hand_run(&h, 20);
    near("all", refused(&h, "reports"), (double)NAN);
    hand_run(&h, 20);
    assert_non_null(strstr(h.log, "loop_closed: recovered"));
    hand_close(&h);
}

static void a_caller_that_stops_is_forgotten_not_waited_for(void **state) {
    (void)state;
    hand h;
    open_hand(&h, "isolate: {}");
    hand_set(&h, "caller_rps", HERE " caller=reports", 150);
    show(&h, (figures){220, 100, 120, 100, 0.99, 20, 2});
    hand_run(&h, 8);
    hand_set(&h, "caller_rps", HERE " caller=reports", (double)NAN);
    show(&h, (figures){70, 70, 0, 70, 0.5, 20, 2});
    hand_run(&h, 30);
    near("silence is not health at once", refused(&h, "reports"), 0.8);
    hand_run(&h, 120);
    near("but others are told", refused(&h, "reports"), (double)NAN);
    hand_close(&h);
}

/* ---- together ---- */

static void what_came_last_goes_first_and_an_abort_takes_all(void **state) {
    (void)state;
    static const char steps[] = "retry: {}, timeout: {service: payments, max: 100ms}, hedge: {service: payments}";
    hand h;
    const figures ill = {120, 60, 0, 120, 0.9, 80, 40};
    open_hand(&h, steps);
    show(&h, ill);
    hand_run(&h, 8);
    assert_true(budget(&h, "front") > 0 && wait_ms(&h) > 0 && hand_act(&h, "payments", "dc-a", TT_ACT_HEDGE, "") == 0);
    assert_true(hand_restart(&h));
    hand_run(&h, 3);
    assert_true(budget(&h, "front") > 0 && wait_ms(&h) > 0 && hand_act(&h, "payments", "dc-a", TT_ACT_HEDGE, "") == 0);
    show(&h, well);
    hand_run(&h, 80);
    assert_false(hand_anything(&h));
    const char *hedge = strstr(h.log, "hedge is not needed any more: give all"), *timeout = strstr(h.log, "timeout is not needed any more: give all"),
               *retry = strstr(h.log, "retry is not needed any more");
    assert_true(hedge && timeout && retry && hedge < timeout && timeout < retry);
    hand_close(&h);
    open_hand(&h, steps);
    show(&h, ill);
    hand_run(&h, 8);
    assert_true(hand_anything(&h));
    hand_abort(&h);
    hand_run(&h, 3);
    assert_false(hand_anything(&h));
    hand_close(&h);
}

static void a_limit_may_be_held_by_what_is_in_flight(void **state) {
    (void)state;
    hand h;
    open_hand(&h, "limit: {by: concurrency, keep: [critical, normal]}");
    hand_set(&h, "latency_mean_ms", HERE, 50);
    hand_run(&h, 30);
    show(&h, (figures){220, 100, 120, 100, 0.99, 20, 2});
    hand_run(&h, 6);
    double inflight = hand_act(&h, "front", "dc-a", TT_ACT_CONCURRENCY, "");
    near("not a rate", hand_act(&h, "front", "dc-a", TT_ACT_LIMIT, ""), (double)NAN);
    near("99 rps that may take six times 50 ms", inflight, 99 * 6 * 0.05);
    hand_close(&h);
    open_hand(&h, "limit: {by: concurrency, latency: 500ms, armed: false}");
    hand_set(&h, "latency_mean_ms", HERE, 50);
    hand_run(&h, 30);
    show(&h, (figures){220, 100, 120, 100, 0.99, 20, 2});
    hand_run(&h, 6);
    near("99 rps that may take as long as the plan says", hand_act(&h, "front", "dc-a", TT_ACT_CONCURRENCY, ""), 99 * 0.5);
    hand_close(&h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(retries_are_cut_to_a_budget_when_they_amplify),
        cmocka_unit_test(a_budget_is_doubled_back_and_a_relapse_waits_twice_as_long),
        cmocka_unit_test(a_slow_dependency_is_waited_for_as_long_as_it_takes_when_well),
        cmocka_unit_test(a_timeout_comes_back_by_half_as_much_again),
        cmocka_unit_test(no_hedges_for_a_full_service),
        cmocka_unit_test(the_caller_that_grew_is_brought_back_to_its_usual_rate),
        cmocka_unit_test(the_only_caller_is_never_isolated),
        cmocka_unit_test(an_isolated_caller_comes_back_by_halves_when_it_asks_for_its_usual),
        cmocka_unit_test(a_caller_that_stops_is_forgotten_not_waited_for),
        cmocka_unit_test(what_came_last_goes_first_and_an_abort_takes_all),
        cmocka_unit_test(a_limit_may_be_held_by_what_is_in_flight),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
