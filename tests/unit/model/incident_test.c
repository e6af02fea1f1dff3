/* Incident documents: what is wrong is told with its place and what to write instead; what is right means what it says. */
#include "common.h"

static void mistakes_are_told_with_their_place(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
        unsigned line, column;
    } of[] = {
        {"- a list\n", "an incident is a map, not a list", 1, 1},
        {"title: x\n", "an incident needs a name", 1, 1},
        {"name: x\nfualts: []\n", "unknown key \"fualts\" in an incident: did you mean \"faults\"?", 2, 1},
        {"name: x\nfaults: [{kind: damand, amount: 2}]\n", "kind \"damand\" is not known: did you mean \"demand\"?", 2, 17},
        {"name: x\nfaults: [{kind: demand}]\n", "a fault of kind demand needs its amount", 2, 10},
        {"name: x\nfaults: [{kind: demand, amount: nan}]\n", "amount \"nan\": write one value, a range or a spread", 2, 33},
        {"name: x\nfaults: [{kind: demand, amount: inf}]\n", "amount \"inf\": write one value", 2, 33},
        {"name: x\nfaults: [{kind: demand, amount: 1e300}]\n", "amount \"1e300\" is out of range: write 0 to 20", 2, 33},
        {"name: x\nfaults: [{kind: demand, amount: 3..2}]\n", "amount \"3..2\": write one value, a range", 2, 33},
        {"name: x\nfaults: [{kind: demand, amount: 2+-8}]\n", "amount \"2+-8\": write one value", 2, 33},
        {"name: x\nfaults: [{kind: errors, amount: 130%}]\n", "amount \"130%\" is out of range: write 0 to 1", 2, 33},
        {"name: x\nfaults: [{kind: demand, amount: [2]}]\n", "amount is one value or a range, such as", 2, 33},
        {"name: x\nfaults: [{kind: down, for: 3h}]\n", "for \"3h\" is out of range", 2, 28},
        {"name: x\nfaults: [{kind: down, at: soon}]\n", "at \"soon\": write one value", 2, 27},
        {"name: x\nfaults: [{kind: down, dc: dc-z}]\n", "dc \"dc-z\" is not known: did you mean", 2, 27},
        {"name: x\nfaults: [{kind: slow, amount: 2, service: cores}]\n", "service \"cores\" is not known: did you mean \"core\"?", 2, 43},
        {"name: x\nfaults: [{kind: bad-instance, service: core}]\n", "a fault of kind bad-instance is one instance's", 2, 10},
        {"name: x\nfaults: [{kind: restart, service: db, instance: 3}]\n", "db has 2 instances in a data center: write 1 to 2", 2, 49},
        {"name: x\nduration: 3h\n", "duration \"3h\" is out of range: write 10s to 2h", 2, 11},
        {"name: x\ndemand_rps: -1\n", "demand_rps \"-1\" is out of range", 2, 13},
        {"name: x\nmonitoring: {scrape: 5s}\n", "scrape, window and tick go together", 2, 13},
        {"name: x\nmonitoring: {scrape: 15s, window: 20s, tick: 5s}\n", "window \"20s\" holds fewer than two scrapes", 2, 35},
        {"name: x\nmonitoring: {scrape: 1s, window: 100s, tick: 5s}\n", "window \"100s\" holds more than 90 scrapes", 2, 34},
        {"name: x\nmonitoring: []\n", "monitoring is a map", 2, 13},
        {"name: x\nmesh_side: {apply: 1h}\n", "apply \"1h\" is out of range", 2, 20},
        {"name: x\ntable: {dc-q: 130%}\n", "table names \"dc-q\", which is no data center", 2, 9},
        {"name: x\nmesh: {dcs: {dc-a: 70%, dc-b: 50%}}\n", "the shares of dcs do not sum to 100%", 2, 13},
        {"name: x\nmesh: {dcs: {a: 20%, b: 20%, c: 20%, d: 20%, e: 20%}}\n", "dcs is a map of at most 4 names", 2, 13},
        {"name: x\nmesh: {retry_failed: 99%}\n", "retry_failed above 95% never ends", 2, 22},
        {"name: x\nmesh: {services: []}\n", "services is empty", 2, 18},
        {"name: x\nmesh: {services: [{name: a}]}\n", "a service needs own_ms", 2, 19},
        {"name: x\nmesh: {services: [{name: a, own_ms: 1}, {name: a, own_ms: 1}]}\n", "service \"a\" is there twice", 2, 48},
        {"name: x\nmesh: {services: [{name: a, own_ms: 1, calls: [{service: a}]}]}\n", "a calls a, which stands at or above it", 2, 58},
        {"name: x\nmesh: {services: [{name: a, own_ms: 1, calls: [{service: b, optional: true}]}, {name: b, own_ms: 1}]}\n",
         "an optional call needs value", 2, 48},
        {"name: x\nmesh: {services: [{name: a, own_ms: 1, calls: [{service: b, value: [90%]}]}, {name: b, own_ms: 1}]}\n",
         "made, value and cost are of an optional call's degrade levels", 2, 48},
        {"name: x\nmesh: {services: [{name: a, own_ms: 1, home: {dc-a: 100%}}]}\n", "a is the entry", 2, 46},
        {"name: x\nmesh: {services: [{name: a, own_ms: 1, instances: 9}]}\n", "instances \"9\" is out of range: write 1 to 8", 2, 51},
    };
    for (size_t k = 0; k < TT_COUNT(of); k++) {
        tt_err errs[ERRS_MAX];
        size_t n = 0;
        tt_incident *i = incident_of("x.yaml", of[k].text, errs, &n);
        if (i) fail_msg("taken: %s", of[k].text);
        if (n == 0 || !strstr(errs[0].text, of[k].says) || errs[0].line != of[k].line || errs[0].column != of[k].column)
            fail_msg("%sgives %s:%u:%u: %s\nnot %u:%u: %s", of[k].text, errs[0].file, errs[0].line, errs[0].column, errs[0].text, of[k].line,
                     of[k].column, of[k].says);
    }
}

static void all_mistakes_are_told(void **state) {
    (void)state;
    tt_err errs[ERRS_MAX];
    size_t n = 0;
    assert_null(incident_of("x.yaml", "nmae: x\nfaults: [{kind: slow}, {kind: nothing}]\nduration: 1\n", errs, &n));
    assert_int_equal(n, 5);
    for (size_t k = 0; k < n; k++) assert_string_equal(errs[k].file, "x.yaml");
}

static void the_suite_covers_every_class(void **state) {
    (void)state;
    tt_incident *all[128];
    size_t n = suite_incidents(all, 128);
    unsigned seen = 0, alarms = 0;
    for (size_t i = 0; i < n; i++) {
        seen |= 1u << tt_incident_class(all[i]);
        alarms += tt_incident_false_alarm(all[i]);
        assert_true(strlen(tt_incident_title(all[i])) > 10);
        assert_true(tt_incident_duration_ns(all[i]) >= TT_SECONDS(60));
        for (size_t k = 0; k < i; k++) assert_string_not_equal(tt_incident_name(all[i]), tt_incident_name(all[k]));
    }
    assert_true(n >= 24);
    assert_true(alarms >= 5);
    assert_int_equal(seen, 0x1fffe); /* 1 to 16 of the incident classes */
    for (size_t i = 0; i < n; i++) tt_incident_free(all[i]);
}

static void its_services_are_rules(void **state) {
    (void)state;
    tt_incident *i = incident_or_fail("x.yaml", "name: x\ntable: {dc-a: 130%, dc-b: 70%}\n");
    tt_matcher *matcher = tt_pcre_matcher_new();
    for (int inner = 0; inner < 2; inner++) {
        tt_buf text;
        tt_buf_init(&text, 1 << 16);
        tt_incident_services(i, inner, &text);
        tt_arena *arena = tt_arena_new();
        tt_err err;
        size_t n;
        const tt_doc *doc = tt_yaml_parse(arena, "services", (tt_sv){text.p, text.n}, NULL, &err);
        assert_non_null(doc);
        tt_rules *r = tt_rules_load(&doc, 1, matcher, &err, 1, &n);
        if (!r) fail_msg("%s\n%s", err.text, text.p);
        assert_int_equal(r->n_services, 4);
        int api = tt_rules_service(r, TT_SV("api")), core = tt_rules_service(r, TT_SV("core"));
        assert_true(api >= 0 && core >= 0);
        assert_int_equal(r->services[api].n_dcs, 3);
        assert_int_equal(r->services[api].inner_loop, inner);
        assert_true(fabs(r->services[api].dcs[0].capacity_rps - 1.3 * 500) < 60); /* what core can do, by 130 % */
        assert_true(fabs(r->services[api].dcs[1].capacity_rps / r->services[api].dcs[0].capacity_rps - 0.7 / 1.3) < 0.01);
        assert_true(r->services[api].dcs[2].capacity_rps == 0);
        assert_int_equal(r->services[core].n_features, 1);
        assert_true(r->services[core].features[0].levels == 2 && r->services[core].features[0].gain[0] > 1.1 &&
                    r->services[core].features[0].gain[1] > 1.25);
        tt_rules_free(r);
        tt_arena_free(arena);
        tt_buf_free(&text);
    }
    tt_pcre_matcher_free(matcher);
    tt_incident_free(i);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mistakes_are_told_with_their_place),
        cmocka_unit_test(all_mistakes_are_told),
        cmocka_unit_test(the_suite_covers_every_class),
        cmocka_unit_test(its_services_are_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
