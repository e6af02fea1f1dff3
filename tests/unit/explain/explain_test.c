/* Why: what is put together from an event, the rules and what was said around it, and how it reads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "explain/explain.h"
#include "pcre.h"

static const char rules_yaml[] = "priorities: [critical, normal, batch]\n"
                                 "signals:\n"
                                 "  - {name: error_ratio, query: 'sum(errors) / sum(all)', every: 5s, max_age: 20s}\n"
                                 "  - {name: offered_rps, reports: offered_rps}\n"
                                 "  - {name: admitted_rps, reports: admitted_rps}\n"
                                 "  - {name: ok_rps, reports: ok_rps}\n"
                                 "  - {name: utilization, reports: utilization}\n"
                                 "services:\n"
                                 "  - name: front\n"
                                 "    dcs: {dc-a: {capacity_rps: 100}, dc-b: {capacity_rps: 100}}\n"
                                 "anomalies:\n"
                                 "  - {name: overload, when: error_ratio > 5%, for: 10s}\n"
                                 "plans:\n"
                                 "  - name: shed\n"
                                 "    on: {anomaly: overload, labels: {service: /^(?<svc>.+)$/, dc: /^(?<dc>.+)$/}}\n"
                                 "    mode: auto\n"
                                 "    target: {service: $svc, dc: $dc}\n"
                                 "    keep: [error_ratio <= 1%]\n"
                                 "    steps:\n"
                                 "      - limit:\n"
                                 "          by: measured_capacity\n"
                                 "\n"
                                 "      - drop: {priority: batch}\n"
                                 "      - drop: {priority: normal, max: 30%}\n"
                                 "      - shift: {from: $dc, max: 50%}\n";

static tt_matcher *matcher;
static tt_rules *rules;
static const tt_rules_text text = {TT_SV("plans/front.yaml"), {rules_yaml, sizeof rules_yaml - 1}};
static const tt_rules_texts texts = {.n = 1, .at = &text};

static int load_rules(void **state) {
    (void)state;
    tt_err errs[4];
    size_t n;
    matcher = tt_pcre_matcher_new();
    rules = tt_rules_of_texts(&texts, matcher, errs, 4, &n);
    for (size_t i = 0; !rules && i < n; i++) fprintf(stderr, "%u: %s\n", errs[i].line, errs[i].text);
    return rules ? 0 : -1;
}

static int free_rules(void **state) {
    (void)state;
    tt_rules_free(rules);
    tt_pcre_matcher_free(matcher);
    return 0;
}

static json_t *json(const char *s) {
    json_error_t e;
    json_t *o = json_loads(s, 0, &e);
    if (!o) fail_msg("%s at %d of %s", e.text, e.position, s);
    return o;
}

/* "step.kind", "inputs.2.value" */
static const json_t *at(const json_t *o, const char *path) {
    char copy[128];
    snprintf(copy, sizeof copy, "%s", path);
    char *rest = copy;
    for (char *one; (one = strsep(&rest, "."));) o = json_is_array(o) ? json_array_get(o, strtoul(one, NULL, 10)) : json_object_get(o, one);
    return o;
}

#define TEXT(o, path, want)                                                                                                                          \
    do {                                                                                                                                             \
        const char *got_ = json_string_value(at(o, path));                                                                                           \
        if (!got_) fail_msg("%s is no text", path);                                                                                                  \
        assert_string_equal(got_, want);                                                                                                             \
    } while (0)

#define LOOP "01J9ZC8Q6W3V2K5M7N8P9Q0R1S"
#define OF ",\"loop\":\"" LOOP "\",\"plan\":\"shed\",\"target\":{\"service\":\"front\",\"dc\":\"dc-a\"}"

static const char around[] =
    "[{\"seq\":1,\"at_ms\":90000,\"kind\":\"anomaly_opened\",\"target\":{\"service\":\"front\",\"dc\":\"dc-a\"},\"reason\":\"overload (dc=dc-a) has "
    "held for 10s\"},"
    "{\"seq\":2,\"at_ms\":90000,\"kind\":\"loop_opened\"" OF ",\"reason\":\"shed answers overload\"},"
    "{\"seq\":3,\"at_ms\":90000,\"kind\":\"not_chosen\"" OF ",\"reason\":\"plan other has a lower priority\"},"
    "{\"seq\":4,\"at_ms\":90000,\"kind\":\"action\"" OF ",\"action\":\"limit\",\"from\":null,\"to\":60,\"unit\":\"rps\",\"reason\":\"r\"},"
    "{\"seq\":5,\"at_ms\":100000,\"kind\":\"guardrail\"" OF ",\"reason\":\"max_capacity_removed 40 % keeps part of it\"},"
    "{\"seq\":6,\"at_ms\":100000,\"kind\":\"guardrail\",\"target\":{\"service\":\"other\"},\"reason\":\"not ours\"},"
    "{\"seq\":7,\"at_ms\":100000,\"kind\":\"action\"" OF
    ",\"action\":\"limit\",\"from\":60,\"to\":92,\"unit\":\"rps\",\"version\":3,\"reason\":\"open up\"},"
    "{\"seq\":8,\"at_ms\":104000,\"kind\":\"judged\"" OF ",\"reason\":\"it holds\"},"
    "{\"seq\":9,\"at_ms\":110000,\"kind\":\"action\"" OF ",\"action\":\"limit\",\"from\":92,\"to\":null,\"unit\":\"rps\",\"reason\":\"away\"},"
    "{\"seq\":10,\"at_ms\":120000,\"kind\":\"loop_closed\"" OF ",\"reason\":\"recovered\"}]";

/* The event with this detail, explained. */
static json_t *explained(size_t which, const char *detail, tt_explain_of *of) {
    json_t *events = json(around), *ev = json_array_get(events, which);
    if (detail) json_object_set_new(ev, "detail", json(detail));
    of->event = ev;
    of->around = events;
    json_t *o = tt_explain_json(of);
    json_decref(events);
    assert_non_null(o);
    return o;
}

static void the_rule_and_its_place(void **state) {
    (void)state;
    json_t *o = explained(6, NULL, &(tt_explain_of){.rules = rules, .texts = &texts});
    TEXT(o, "plan.name", "shed");
    TEXT(o, "plan.file", "plans/front.yaml");
    TEXT(o, "plan.mode", "auto");
    TEXT(o, "plan.keep.0", "error_ratio <= 1%");
    assert_int_equal(json_integer_value(at(o, "plan.line")), 14);
    TEXT(o, "step.kind", "limit");
    assert_int_equal(json_integer_value(at(o, "step.rung")), 1);
    assert_int_equal(json_integer_value(at(o, "step.line")), 20);
    assert_int_equal(json_array_size(at(o, "step.text")), 2);
    TEXT(o, "step.text.0", "- limit:");
    TEXT(o, "step.text.1", "    by: measured_capacity");
    TEXT(o, "trigger.anomaly", "overload");
    TEXT(o, "trigger.condition", "error_ratio > 5%");
    assert_int_equal(json_integer_value(at(o, "trigger.for_ms")), 10000);
    assert_int_equal(json_integer_value(at(o, "trigger.found.seq")), 1);
    assert_int_equal(json_integer_value(at(o, "trigger.opened.seq")), 2);
    json_decref(o);
}

static void which_rung(void **state) {
    (void)state;
    static const struct {
        const char *action, *text; /* NULL: none */
    } rows[] = {{"drop:batch", "- drop: {priority: batch}"},
                {"drop:normal", "- drop: {priority: normal, max: 30%}"},
                {"weights:dc-b", "- shift: {from: $dc, max: 50%}"},
                {"limit", "- limit:"},
                {"drop:critical", NULL},
                {"eject:10.0.0.1", NULL},
                {"", NULL}};
    for (size_t i = 0; i < TT_COUNT(rows); i++) {
        print_message("  %s\n", rows[i].action);
        json_t *ev = json_pack("{s:I,s:s,s:s,s:s}", "at_ms", (json_int_t)1, "kind", "action", "plan", "shed", "action", rows[i].action);
        json_t *o = tt_explain_json(&(tt_explain_of){.event = ev, .rules = rules, .texts = &texts});
        if (rows[i].text)
            TEXT(o, "step.text.0", rows[i].text);
        else
            assert_true(json_is_null(at(o, "step")));
        json_decref(o);
        json_decref(ev);
    }
}

static void what_was_said_around_it(void **state) {
    (void)state;
    json_t *o = explained(6, NULL, &(tt_explain_of){.rules = rules});
    assert_int_equal(json_integer_value(at(o, "before.seq")), 4);
    assert_int_equal(json_array_size(at(o, "after")), 2); /* not beyond the next move of the same knob */
    assert_int_equal(json_integer_value(at(o, "after.0.seq")), 8);
    assert_int_equal(json_integer_value(at(o, "after.1.seq")), 9);
    assert_int_equal(json_array_size(at(o, "guardrails")), 1);
    TEXT(o, "guardrails.0", "max_capacity_removed 40 % keeps part of it");
    TEXT(o, "not_chosen.0", "plan other has a lower priority");
    json_decref(o);
    o = explained(3, NULL, &(tt_explain_of){.rules = rules});
    assert_true(json_is_null(at(o, "before")));
    json_decref(o);
}

static void inputs_of_every_shape(void **state) {
    (void)state;
    json_t *o =
        explained(6, "{\"inputs\":{\"offered_rps\":201,\"flow\":null},\"quality\":\"ok\",\"sample_age_ms\":400}", &(tt_explain_of){.rules = rules});
    TEXT(o, "inputs.0.name", "offered_rps");
    TEXT(o, "inputs.0.reports", "offered_rps");
    TEXT(o, "inputs.0.quality", "ok");
    assert_int_equal(json_integer_value(at(o, "inputs.0.age_ms")), 400);
    TEXT(o, "inputs.1.quality", "no_data");
    assert_null(at(o, "inputs.1.query"));
    json_decref(o);
    o = explained(6, "{\"inputs\":{\"error_ratio\":{\"value\":0.12,\"quality\":\"stale\",\"age_ms\":31000}}}", &(tt_explain_of){.rules = rules});
    TEXT(o, "inputs.0.quality", "stale");
    TEXT(o, "inputs.0.query", "sum(errors) / sum(all)");
    assert_int_equal(json_integer_value(at(o, "inputs.0.max_age_ms")), 20000);
    assert_int_equal(json_integer_value(at(o, "inputs.0.line")), 3);
    json_decref(o);
    json_t *more =
        json("[{\"name\":\"error_ratio\",\"labels\":{\"service\":\"front\"},\"value\":0.12,\"quality\":\"ok\",\"age_ms\":1},"
             "{\"name\":\"ok_rps\",\"labels\":{\"service\":\"front\",\"priority\":\"batch\"},\"value\":7,\"quality\":\"ok\",\"age_ms\":1}]");
    o = explained(
        6, "{\"inputs\":[{\"signal\":\"error_ratio\",\"value\":0.12,\"quality\":\"ok\",\"age_ms\":5},{\"signal\":\"rate(ok_rps, 1m)\",\"value\":1}]}",
        &(tt_explain_of){.rules = rules, .inputs = more});
    assert_int_equal(json_array_size(at(o, "inputs")), 3); /* what the event said already is not said twice */
    TEXT(o, "inputs.1.reports", "ok_rps");
    TEXT(o, "inputs.2.labels.priority", "batch");
    json_decref(o);
    json_decref(more);
}

static const char rich[] =
    "{\"inputs\":{\"error_ratio\":{\"value\":0.121,\"quality\":\"ok\",\"age_ms\":1200},\"offered_rps\":{\"value\":201.4,\"quality\":\"stale\",\"age_"
    "ms\":61000}},"
    "\"law\":{\"capacity_rps\":141,\"reserve_ratio\":0.08,\"window_ms\":5000,\"trim\":0.98,\"saturated\":true,\"parts\":{\"flow\":0.9}},"
    "\"clamps\":[\"not below what is delivered now, 140 rps\"],\"guardrails\":[\"protected: left alone\"],\"capacity_source\":\"measured\"}";

static void terms_and_bounds(void **state) {
    (void)state;
    json_t *o = explained(6, rich, &(tt_explain_of){.rules = rules, .rules_changed = true});
    assert_int_equal(json_integer_value(at(o, "law.capacity_rps")), 141);
    TEXT(o, "law.capacity_source", "measured");
    TEXT(o, "clamps.0", "not below what is delivered now, 140 rps");
    TEXT(o, "guardrails.0", "protected: left alone");
    assert_int_equal(json_array_size(at(o, "notes")), 1);
    json_decref(o);
    o = explained(6, NULL, &(tt_explain_of){0}); /* without rules, and without anything said */
    assert_true(json_is_null(at(o, "plan")) && json_is_null(at(o, "step")));
    TEXT(o, "notes.0", "the plan is not among the rules any more");
    json_decref(o);
}

static void it_reads_well(void **state) {
    (void)state;
    json_t *decision = json(
        "{\"target\":{},\"epoch\":1,\"version\":3,\"armed\":false,\"actions\":[{\"action\":\"limit\",\"rps\":92,\"keep\":[\"critical\",\"normal\"]},"
        "{\"action\":\"weights\",\"dcs\":{\"dc-a\":0.35,\"dc-b\":0.65}},{\"action\":\"drop\",\"priority\":\"batch\",\"ratio\":0.5}],"
        "\"expires\":{\"after_ms\":600000,\"then\":\"decay\",\"over_ms\":300000}}");
    json_t *ack = json("{\"share\":0.97,\"after_ms\":1200,\"refused\":true,\"reason\":\"10.0.0.7: too\\u001b[2Jnew\"}");
    json_t *o =
        explained(6, rich, &(tt_explain_of){.rules = rules, .texts = &texts, .decision = decision, .acknowledged = ack, .rules_changed = true});
    char *out = NULL;
    size_t n;
    FILE *f = open_memstream(&out, &n);
    tt_explain_print(o, f, false, 100, 0);
    fclose(f);
    if (getenv("TT_SHOW")) puts(out);
    static const char *const lines[] = {
        "limit: 60 rps -> 92 rps on front@dc-a (event 7)\n",
        "when        1970-01-01T00:01:40.000Z\n",
        "why         open up\n",
        "plan        shed (auto), plans/front.yaml:14\n",
        "trigger     overload: error_ratio > 5%, for 10s, plans/front.yaml:12\n",
        "            overload (dc=dc-a) has held for 10s\n",
        "keep        error_ratio <= 1%\n",
        "step        limit, rung 1, plans/front.yaml:20\n              - limit:\n                  by: measured_capacity\n",
        "INPUT        VALUE      QUALITY  AGE   FROM\n",
        "error_ratio  12.1 %     ok       1.2s  sum(errors) / sum(all)\n",
        "offered_rps  201.4 rps  stale    1m1s  offered_rps\n",
        "  capacity         141 rps\n",
        "  reserve          8 %\n",
        "  window           5s\n",
        "  saturated        yes\n",
        "  parts\n    flow  0.9\n",
        "  capacity source  measured\n",
        "clamped     not below what is delivered now, 140 rps\n",
        "guardrails  protected: left alone\n            max_capacity_removed 40 % keeps part of it\n",
        "not chosen  plan other has a lower priority\n",
        "before it   00:01:30  limit: off -> 60 rps\n",
        "decision    version 3\n            - limit 92 rps, keep critical > normal\n            - weights dc-a 35 %, dc-b 65 %\n            - drop "
        "priority batch, ratio 50 %\n"
        "            not heard of for 10m: it fades over 5m\n",
        "enforced    by 97 % of the instances after 1.2s; refused: 10.0.0.7: too [2Jnew\n",
        "then        00:01:44  judged: it holds\n            00:01:50  limit: 92 rps -> off: away\n",
        "note        the rules have changed since",
    };
    for (size_t i = 0; i < TT_COUNT(lines); i++)
        if (!strstr(out, lines[i])) fail_msg("no\n%sin\n%s", lines[i], out);
    assert_null(strchr(out, '\033'));
    for (char *line = out, *end; (end = strchr(line, '\n')); line = end + 1) assert_true(end - line <= 100);
    free(out);
    json_decref(o);
    json_decref(ack);
    json_decref(decision);
}

/* Whatever a plug-in law or a newer engine puts there, it is shown and never a crash. */
static void any_detail_is_shown(void **state) {
    (void)state;
    static const char *const details[] = {"{}", "{\"inputs\":7,\"law\":[1,2],\"clamps\":{\"a\":1},\"guardrails\":\"x\"}",
                                          "{\"inputs\":[1,\"x\",null,{}],\"clamps\":[{\"by\":\"max\",\"from_rps\":3},[1,[2]],null]}",
                                          "{\"a\":{\"b\":{\"c\":[{\"d\":1e300},{\"e\":-0.00001}]}},\"x_ms\":-5,\"y_ns\":1e30,\"_rps\":1}"};
    for (size_t i = 0; i < TT_COUNT(details); i++) {
        json_t *o = explained(6, details[i], &(tt_explain_of){.rules = rules, .texts = &texts});
        FILE *f = fopen("/dev/null", "w");
        tt_explain_print(o, f, true, 40, 200000);
        fclose(f);
        json_decref(o);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rule_and_its_place), cmocka_unit_test(which_rung),       cmocka_unit_test(what_was_said_around_it),
        cmocka_unit_test(inputs_of_every_shape),  cmocka_unit_test(terms_and_bounds), cmocka_unit_test(it_reads_well),
        cmocka_unit_test(any_detail_is_shown),
    };
    return cmocka_run_group_tests(tests, load_rules, free_rules);
}
