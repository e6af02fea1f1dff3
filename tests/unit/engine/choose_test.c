/* Which plan answers, which waits, and what is told of those that are not chosen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "hand.h"

#define OPEN(...) assert_true(hand_open(&h, __VA_ARGS__))
#define SET(signal, service, dc, value) hand_set(&h, signal, "service=" service " dc=" dc, value)

#define SIGNALS                                                                                                                                      \
    "signals:\n"                                                                                                                                     \
    "  - {name: error_ratio, query: a, every: 1s}\n"                                                                                                 \
    "  - {name: slow_ratio, query: b, every: 1s}\n"                                                                                                  \
    "  - {name: offered_rps, query: c, every: 1s}\n"                                                                                                 \
    "  - {name: ok_rps, query: d, every: 1s}\n"
#define ANOMALIES                                                                                                                                    \
    "anomalies:\n"                                                                                                                                   \
    "  - {name: failing, when: error_ratio > 5%}\n"                                                                                                  \
    "  - {name: slow, when: slow_ratio > 5%}\n"
#define SERVICES                                                                                                                                     \
    "services:\n"                                                                                                                                    \
    "  - {name: front, dcs: [dc-a, dc-b], calls: [checkout]}\n"                                                                                      \
    "  - {name: checkout, dcs: [dc-a, dc-b], calls: [stock, ads]}\n"                                                                                 \
    "  - {name: stock, dcs: [dc-a, dc-b]}\n"                                                                                                         \
    "  - {name: ads, dcs: [dc-a, dc-b]}\n"
#define RAILS "guardrails: {most_targets_bad: {share: 100%, at_least: 100}, max_concurrent_loops: 20}\n"
#define BASE SIGNALS ANOMALIES SERVICES RAILS "plans:\n"

#define PLAN(name, anomaly, labels, more)                                                                                                            \
    "  - {name: " name ", on: {anomaly: " anomaly ", labels: {" labels "}}, target: {service: $svc, dc: $dc}, keep: [error_ratio <= 2%], steps: "    \
    "[limit: {}]" more "}\n"
#define ANY "service: /^(?<svc>.+)$/, dc: /^(?<dc>.+)$/"
#define LOOSE "service: /(?<svc>.+)/, dc: /(?<dc>.+)/"
/* A literal label needs no variable, so the target is written out. */
#define FRONT(name, anomaly, labels, more)                                                                                                           \
    "  - {name: " name ", on: {anomaly: " anomaly ", labels: {" labels "}}, target: {service: front, dc: dc-a}, keep: [error_ratio <= 2%], steps: "  \
    "[limit: {}]" more "}\n"

static const struct {
    const char *name, *plans, *opens, *why;
} ranks[] = {
    {"literal labels before patterns",
     PLAN("wide", "failing", ANY, ", mode: auto") FRONT("narrow", "failing", "service: front, dc: dc-a", ", mode: auto"), "narrow",
     "it names more labels literally"},
    {"anchored patterns before loose ones", PLAN("loose", "failing", LOOSE, ", mode: auto") PLAN("anchored", "failing", ANY, ", mode: auto"),
     "anchored", "more of its patterns are anchored"},
    {"more labels before fewer",
     FRONT("one", "failing", "service: /front/", ", mode: auto") FRONT("two", "failing", "service: /front/, dc: /a/", ", mode: auto"), "two",
     "it compares more labels"},
    {"priority before being narrow",
     FRONT("narrow", "failing", "service: front, dc: dc-a", ", mode: auto") PLAN("wide", "failing", ANY, ", mode: auto, priority: 10"), "wide",
     "its priority is higher"},
    {"the further trusted of two alike", PLAN("asks", "failing", ANY, ", mode: approve") PLAN("acts", "failing", ANY ", team: /x?/", ", mode: auto"),
     "asks", NULL},
    {"an observer never stands in the way, however narrow and whatever its priority",
     FRONT("watches", "failing", "service: front, dc: dc-a", ", mode: observe, priority: 900") PLAN("acts", "failing", ANY, ", mode: auto"), "acts",
     "it may act and the other only shows what it would do"},
    {"as written, when all else is equal",
     FRONT("first", "failing", "service: /^front$/",
           ", mode: auto") "  - {name: second, on: {anomaly: failing, labels: {service: /^fro.*$/}}, target: {service: front, dc: dc-a}, keep: "
                           "[error_ratio <= 2%], steps: "
                           "[drop: {priority: batch}], mode: auto}\n", /* with the same steps it would be refused */
     "first", "it is written first"},
    {"approve before nothing but the order: auto is trusted further",
     FRONT("asks", "failing", "service: /^front$/", ", mode: approve") FRONT("acts", "failing", "service: /^fro.*$/", ", mode: auto"), "acts",
     "its mode is trusted further"},
};

static void the_first_in_rank_answers(void **state) {
    (void)state;
    for (size_t i = 0; i < TT_COUNT(ranks); i++) {
        hand h;
        char text[8192];
        snprintf(text, sizeof text, "%s%s", BASE, ranks[i].plans);
        OPEN(text);
        SET("error_ratio", "front", "dc-a", 0.5);
        hand_run(&h, 3);
        char head[64];
        snprintf(head, sizeof head, "loop_opened %s ", ranks[i].opens);
        if (hand_said(&h, "loop_opened", NULL) != 1 || hand_said(&h, head, NULL) != 1)
            fail_msg("%s: not %s alone in\n%s", ranks[i].name, ranks[i].opens, h.said);
        if (ranks[i].why) {
            if (hand_said(&h, "not_chosen", ranks[i].why) != 1) fail_msg("%s: not told once that %s in\n%s", ranks[i].name, ranks[i].why, h.said);
            char entry[200];
            snprintf(entry, sizeof entry, "answers this anomaly: %s\"}]", ranks[i].why);
            if (!strstr(hand_loops(&h), entry)) fail_msg("%s: the loop doesn't show \"%s\" in\n%s", ranks[i].name, entry, hand_loops(&h));
        }
        hand_close(&h);
    }
}

/* ---- one loop a target ---- */

static void the_better_of_two_anomalies_answers_whichever_is_declared_first(void **state) {
    (void)state;
    hand h;
    OPEN(BASE PLAN("wide", "failing", ANY, ", mode: auto") FRONT("narrow", "slow", "service: front, dc: dc-a", ", mode: auto"));
    SET("error_ratio", "front", "dc-a", 0.5);
    SET("slow_ratio", "front", "dc-a", 0.5);
    hand_run(&h, 3);
    assert_int_equal(hand_said(&h, "loop_opened narrow front/dc-a", NULL), 1);
    assert_int_equal(hand_said(&h, "loop_opened", NULL), 1);
    assert_int_equal(hand_said(&h, "not_chosen wide front/dc-a", "plan narrow answers slow on this target"), 1);
    hand_close(&h);
}

static void who_acts_stays_and_who_only_watches_gives_way(void **state) {
    (void)state;
    static const struct {
        const char *mode, *told;
        bool gives_way;
    } rows[] = {{"observe", "loop_closed early front/dc-a", true},
                {"advise", "loop_closed early front/dc-a", true},
                {"approve", "loop_closed early front/dc-a", true},
                {"auto", "not_chosen late front/dc-a", false}};
    for (size_t i = 0; i < TT_COUNT(rows); i++) {
        hand h;
        char text[8192];
        snprintf(text, sizeof text,
                 "%s  - {name: early, on: {anomaly: failing, labels: {%s}}, mode: %s, target: {service: $svc, dc: $dc}, keep: [error_ratio <= 2%%], "
                 "steps: [limit: {}]}\n%s",
                 BASE, ANY, rows[i].mode, FRONT("late", "slow", "service: front, dc: dc-a", ", mode: auto"));
        OPEN(text);
        SET("error_ratio", "front", "dc-a", 0.5);
        hand_run(&h, 3);
        assert_int_equal(hand_said(&h, "loop_opened early", NULL), 1);
        SET("slow_ratio", "front", "dc-a", 0.5);
        hand_run(&h, 3);
        if (hand_said(&h, rows[i].told, NULL) != 1 || hand_said(&h, "loop_opened late", NULL) != rows[i].gives_way)
            fail_msg("mode %s:\n%s", rows[i].mode, h.said);
        if (rows[i].gives_way) assert_non_null(strstr(hand_loops(&h), "\"ended\":\"superseded\""));
        hand_close(&h);
    }
}

static void of_an_exclusive_group_one_acts(void **state) {
    (void)state;
    hand h;
    OPEN(BASE PLAN("a", "failing", "service: /^(?<svc>front|stock)$/, dc: /^(?<dc>.+)$/", ", mode: auto, exclusive: moves")
             PLAN("b", "slow", ANY, ", mode: auto, exclusive: moves"));
    SET("error_ratio", "stock", "dc-b", 0.5);
    hand_run(&h, 2);
    SET("slow_ratio", "ads", "dc-a", 0.5);
    hand_run(&h, 3);
    assert_int_equal(hand_said(&h, "loop_opened", NULL), 1);
    assert_int_equal(hand_said(&h, "not_chosen b ads/dc-a", "exclusive: moves one acts at a time"), 1);
    assert_non_null(strstr(hand_loops(&h), "\"not_chosen\":[{\"plan\":\"b\",\"target\":{\"service\":\"ads\",\"dc\":\"dc-a\"}"));
    hand_close(&h);
}

/* ---- the deepest failing service ---- */

#define ALL_PLAN PLAN("all", "failing", ANY, ", mode: auto, settle: {hold: 20s, within: 5m}")

static void a_caller_waits_for_what_it_calls(void **state) {
    (void)state;
    hand h;
    OPEN(BASE ALL_PLAN);
    SET("error_ratio", "front", "dc-a", 0.5);
    SET("error_ratio", "checkout", "dc-a", 0.5);
    SET("error_ratio", "stock", "dc-a", 0.5);
    SET("error_ratio", "front", "dc-b", 0.5);
    hand_run(&h, 4);
    assert_int_equal(hand_said(&h, "loop_opened all stock/dc-a", NULL), 1);
    assert_int_equal(hand_said(&h, "loop_opened all front/dc-b", NULL), 1); /* nothing fails below it there */
    assert_int_equal(hand_said(&h, "loop_opened", NULL), 2);
    assert_int_equal(hand_said(&h, "not_chosen all checkout/dc-a", "checkout calls stock, which fails in dc-a too and is treated first"), 1);
    assert_int_equal(hand_said(&h, "not_chosen all front/dc-a", NULL), 1);
    assert_non_null(strstr(hand_loops(&h), "{\"plan\":\"all\",\"target\":{\"service\":\"front\",\"dc\":\"dc-a\"},\"why\":\"front calls stock"));
    hand_close(&h);
}

static void a_caller_that_stays_bad_is_treated_after_what_it_calls(void **state) {
    (void)state;
    hand h;
    OPEN(BASE ALL_PLAN);
    SET("error_ratio", "front", "dc-a", 0.5);
    SET("error_ratio", "checkout", "dc-a", 0.5);
    hand_run(&h, 10);
    assert_int_equal(hand_said(&h, "loop_opened all front/dc-a", NULL), 0);
    SET("error_ratio", "checkout", "dc-a", 0);
    hand_run(&h, 5);
    assert_int_equal(hand_said(&h, "loop_opened all front/dc-a", NULL), 0); /* not yet seen for long enough */
    hand_run(&h, 10);
    assert_int_equal(hand_said(&h, "loop_opened all front/dc-a", NULL), 1);
    hand_close(&h);
}

static void a_caller_does_not_wait_for_who_cannot_act(void **state) {
    (void)state;
    static const struct {
        const char *name, *plans;
        int seconds; /* by then the caller has its loop */
    } rows[] = {
        {"observed only",
         PLAN("front", "failing", "service: /^(?<svc>front)$/, dc: /^(?<dc>.+)$/", ", mode: auto") PLAN("rest", "failing", ANY, ", mode: observe"),
         3},
        {"advised only",
         PLAN("front", "failing", "service: /^(?<svc>front)$/, dc: /^(?<dc>.+)$/", ", mode: auto") PLAN("rest", "failing", ANY, ", mode: advise"), 3},
        {"waiting for a person",
         PLAN("front", "failing", "service: /^(?<svc>front)$/, dc: /^(?<dc>.+)$/", ", mode: auto") PLAN("rest", "failing", ANY, ", mode: approve"),
         4},
        {"no plan for it", PLAN("front", "failing", "service: /^(?<svc>front)$/, dc: /^(?<dc>.+)$/", ", mode: auto"), 3},
        {"escalated", PLAN("all", "failing", ANY, ", mode: auto, settle: {hold: 2s, within: 6s}"), 12},
    };
    for (size_t i = 0; i < TT_COUNT(rows); i++) {
        hand h;
        char text[8192];
        snprintf(text, sizeof text, "%s%s", BASE, rows[i].plans);
        OPEN(text);
        SET("error_ratio", "front", "dc-a", 0.5);
        SET("error_ratio", "checkout", "dc-a", 0.5);
        hand_run(&h, rows[i].seconds);
        if (hand_said(&h, "loop_opened", "front in dc-a") != 1) fail_msg("%s:\n%s", rows[i].name, h.said);
        hand_close(&h);
    }
}

static void a_protected_service_below_holds_nobody_up(void **state) {
    (void)state;
    hand h;
    OPEN(SIGNALS ANOMALIES SERVICES "guardrails: {most_targets_bad: {share: 100%, at_least: 100}, protected: [checkout]}\nplans:\n" ALL_PLAN);
    SET("error_ratio", "front", "dc-a", 0.5);
    SET("error_ratio", "checkout", "dc-a", 0.5);
    hand_run(&h, 3);
    assert_int_equal(hand_said(&h, "guardrail all checkout/dc-a", "the service is protected"), 1);
    assert_int_equal(hand_said(&h, "loop_opened all front/dc-a", NULL), 1);
    hand_close(&h);
}

/* Who can switch the failing service off is the one to do it. */
static void a_caller_that_can_do_without_does_not_wait(void **state) {
    (void)state;
    hand h;
    OPEN(BASE "  - {name: all, on: {anomaly: failing, labels: {" ANY
              "}}, mode: auto, target: {service: $svc, dc: $dc}, keep: [error_ratio <= 2%], steps: "
              "[degrade: {service: checkout, feature: ads, gain: [1.2]}, limit: {}]}\n");
    SET("error_ratio", "checkout", "dc-a", 0.5);
    SET("error_ratio", "ads", "dc-a", 0.5);
    hand_run(&h, 4);
    assert_int_equal(hand_said(&h, "loop_opened all checkout/dc-a", NULL), 1);
    assert_int_equal(hand_said(&h, "loop_opened all ads/dc-a", NULL), 1);
    hand_close(&h);
}

static void what_has_begun_below_is_waited_for_but_not_for_ever(void **state) {
    (void)state;
    static const char *const rules = SIGNALS "anomalies:\n"
                                             "  - {name: failing, when: error_ratio > 5%}\n"
                                             "  - {name: slow, when: slow_ratio > 5%, for: 60s}\n" SERVICES
                                             "guardrails: {most_targets_bad: {share: 100%, at_least: 100}, correlate: 6s}\nplans:\n" ALL_PLAN PLAN(
                                                 "slow-one", "slow", "service: /^(?<svc>stock)$/, dc: /^(?<dc>.+)$/", ", mode: auto, priority: 1");
    hand h;
    OPEN(rules);
    SET("slow_ratio", "stock", "dc-a", 0.5);
    hand_run(&h, 1);
    SET("error_ratio", "front", "dc-a", 0.5);
    hand_run(&h, 4);
    assert_int_equal(hand_said(&h, "loop_opened", NULL), 0);
    assert_int_equal(hand_said(&h, "not_chosen all front/dc-a", "front calls stock, which looks bad in dc-a too"), 1);
    hand_run(&h, 4);
    assert_int_equal(hand_said(&h, "loop_opened all front/dc-a", NULL), 1);
    hand_close(&h);
    /* correlate: 0s: nobody waits. */
    char text[8192];
    snprintf(text, sizeof text, "%s", rules);
    memcpy(strstr(text, "correlate: 6s"), "correlate: 0s", 13);
    OPEN(text);
    SET("error_ratio", "front", "dc-a", 0.5);
    SET("error_ratio", "stock", "dc-a", 0.5);
    hand_run(&h, 2);
    assert_int_equal(hand_said(&h, "loop_opened", NULL), 2);
    hand_close(&h);
}

/* ---- asking, and the record ---- */

static void an_unanswered_question_is_asked_once(void **state) {
    (void)state;
    hand h;
    OPEN(BASE PLAN("asks", "failing", ANY, ", mode: approve, approval: {within: 5s}"));
    SET("error_ratio", "front", "dc-a", 0.5);
    hand_run(&h, 60);
    assert_int_equal(hand_said(&h, "loop_opened", NULL), 1);
    assert_int_equal(hand_said(&h, "page", "waits for approval"), 1);
    SET("error_ratio", "front", "dc-a", 0);
    hand_run(&h, 3);
    SET("error_ratio", "front", "dc-a", 0.5);
    hand_run(&h, 3);
    assert_int_equal(hand_said(&h, "page", "waits for approval"), 2);
    hand_close(&h);
}

static void the_record_is_kept_over_restarts_and_promotion_but_not_over_new_terms(void **state) {
    (void)state;
    static const char *const approve = BASE PLAN("one", "failing", ANY, ", mode: approve, approval: {within: 5s}");
    static const char *const automatic = BASE PLAN("one", "failing", ANY, ", mode: auto, approval: {within: 5s}");
    static const char *const rewritten = BASE PLAN("one", "failing", ANY, ", mode: auto, approval: {within: 6s}");
    hand h;
    OPEN(approve);
    assert_non_null(strstr(hand_plans(&h), "\"record\":{\"since_ms\":null,\"last_ms\":null,\"opened\":0"));
    SET("error_ratio", "front", "dc-a", 0.5);
    hand_run(&h, 10);
    static const char counted[] =
        "\"opened\":1,\"settled\":0,\"escalated\":0,\"reversals\":0,\"lock_outs\":0,\"recovered\":0,\"cleared\":0,\"aborted\":0,\"refused\":1";
    assert_non_null(strstr(hand_plans(&h), counted));
    assert_true(hand_restart(&h));
    assert_non_null(strstr(hand_plans(&h), counted));
    assert_true(hand_reload(&h, automatic));
    assert_non_null(strstr(hand_plans(&h), counted));
    assert_true(hand_reload(&h, rewritten));
    assert_non_null(strstr(hand_plans(&h), "\"record\":{\"since_ms\":null,\"last_ms\":null,\"opened\":0"));
    hand_close(&h);
}

static void what_was_not_chosen_survives_a_restart(void **state) {
    (void)state;
    hand h;
    OPEN(BASE PLAN("wide", "failing", ANY, ", mode: auto") FRONT("narrow", "failing", "service: front, dc: dc-a", ", mode: auto"));
    SET("error_ratio", "front", "dc-a", 0.5);
    hand_run(&h, 3);
    assert_true(hand_restart(&h));
    assert_non_null(strstr(hand_loops(&h), "\"not_chosen\":[{\"plan\":\"wide\",\"target\":{\"service\":\"front\",\"dc\":\"dc-a\"}"));
    hand_run(&h, 3);
    hand_close(&h);
}

/* ---- concurrent loops ---- */

static void a_dead_sites_instances_count_as_one(void **state) {
    (void)state;
    hand h;
    OPEN("signals:\n  - {name: bad_ratio, query: a, every: 1s}\n  - {name: error_ratio, query: a, every: 1s}\n" SERVICES
         "anomalies: [{name: bad, when: bad_ratio > 5%}, {name: failing, when: error_ratio > 5%}]\n"
         "guardrails: {most_targets_bad: {share: 100%, at_least: 100}, max_concurrent_loops: 2}\nplans:\n" PLAN("all", "failing", ANY, ", mode: auto")
             PLAN("watch", "failing", ANY ", team: /x/", "") "  - {name: eject, on: {anomaly: bad, labels: {service: /(?<svc>.+)/, dc: /(?<dc>.+)/, "
                                                             "instance: /(?<i>.+)/}}, mode: auto, target: {service: $svc, dc: "
                                                             "$dc, instance: $i}, keep: [error_ratio <= 2%], steps: [eject: {}]}\n");
    static const char *const instances[] = {"instance=i1", "instance=i2", "instance=i3", "instance=i4"};
    for (size_t i = 0; i < TT_COUNT(instances); i++) {
        char labels[64];
        snprintf(labels, sizeof labels, "service=stock dc=dc-a %s", instances[i]);
        hand_set(&h, "bad_ratio", labels, 0.9);
    }
    hand_run(&h, 2);
    assert_int_equal(hand_said(&h, "loop_opened eject", NULL), 4);
    SET("error_ratio", "ads", "dc-a", 0.5);
    hand_run(&h, 2);
    assert_int_equal(hand_said(&h, "loop_opened all ads/dc-a", NULL), 1);
    SET("error_ratio", "ads", "dc-b", 0.5);
    SET("error_ratio", "stock", "dc-a", 0.5); /* the site whose instances are treated already */
    hand_run(&h, 2);
    assert_int_equal(hand_said(&h, "loop_opened all stock/dc-a", NULL), 1);
    assert_int_equal(hand_said(&h, "loop_opened all ads/dc-b", NULL), 0);
    assert_int_equal(hand_said(&h, "guardrail all ads/dc-b", "loops act on 2 targets, guardrails.max_concurrent_loops is 2"), 1);
    hand_close(&h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_in_rank_answers),
        cmocka_unit_test(the_better_of_two_anomalies_answers_whichever_is_declared_first),
        cmocka_unit_test(who_acts_stays_and_who_only_watches_gives_way),
        cmocka_unit_test(of_an_exclusive_group_one_acts),
        cmocka_unit_test(a_caller_waits_for_what_it_calls),
        cmocka_unit_test(a_caller_that_stays_bad_is_treated_after_what_it_calls),
        cmocka_unit_test(a_caller_does_not_wait_for_who_cannot_act),
        cmocka_unit_test(a_protected_service_below_holds_nobody_up),
        cmocka_unit_test(a_caller_that_can_do_without_does_not_wait),
        cmocka_unit_test(what_has_begun_below_is_waited_for_but_not_for_ever),
        cmocka_unit_test(an_unanswered_question_is_asked_once),
        cmocka_unit_test(the_record_is_kept_over_restarts_and_promotion_but_not_over_new_terms),
        cmocka_unit_test(what_was_not_chosen_survives_a_restart),
        cmocka_unit_test(a_dead_sites_instances_count_as_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
