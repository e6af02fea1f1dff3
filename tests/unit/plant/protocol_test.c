/* The plant's line: what is taken, what is refused and how that is said, and what the engine gets of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "plant/protocol.h"
#include "yaml.h"

#define AT_1S TT_SECONDS(1)

static tt_plant_line line_of(const char *text, int64_t last_ns) {
    tt_plant_line l;
    tt_err err;
    if (!tt_plant_line_read(tt_sv_of(text), last_ns, &l, &err)) fail_msg("%s: %s", text, err.text);
    return l;
}

/* ---- refused ---- */

#define SERVICE(more) "{\"now_ms\":2000,\"topology\":{\"services\":[{\"name\":\"a\",\"dcs\":{\"x\":{}}" more "}]}}"
static const struct {
    const char *line, *says;
} refused[] = {
    {"", "the line is empty"},
    {"   ", "the line is empty"},
    {"hello", "the line is not a JSON object"},
    {"{\"now_ms\":2000", "not JSON: '}' expected near end of file"},
    {"{\"now_ms\":NaN}", "JSON has no NaN and no infinity: write null"},
    {"{\"now_ms\":2000,\"measurements\":[{\"signal\":\"a\",\"value\":-Infinity}]}", "JSON has no NaN and no infinity: write null"},
    {"{\"now_ms\":2000} {\"now_ms\":3000}", "not JSON: end of file expected"},
    {"{\"now_ms\":2000,\"now_ms\":3000}", "duplicate object key"},
    {"{\"now_ms\":2000,\"done\":\"\xff\xfe\"}", "not JSON: unable to decode byte 0xff"},
    {"{\"now_ms\":1e999}", "real number overflow"},
    {"[]", "the line is not a JSON object"},
    {"3", "the line is not a JSON object"},
    {"{\"now_ms\":tru}", "not JSON: invalid token near 'tru'; here: w_ms\":tru}"},
    {"{}", "now_ms is missing"},
    {"{\"now_ms\":null}", "now_ms is null"},
    {"{\"now_ms\":\"12\"}", "now_ms is \"12\": the time in ms was expected"},
    {"{\"now_ms\":999}", "now_ms is 999 and was 1000 before: time never goes back"},
    {"{\"now_ms\":-1}", "now_ms is -1"},
    {"{\"now_ms\":5e12}", "now_ms is 5e+12"},
    {"{\"now_ms\":2000,\"done\":1}", "done is 1: true or false was expected"},
    {"{\"now_ms\":2000,\"measurements\":{}}", "measurements is an object: a list of measurements was expected"},
    {"{\"now_ms\":2000,\"measurements\":[{\"signal\":\"a\",\"value\":1},7]}", "measurements[1] is 7: an object such as"},
    {"{\"now_ms\":2000,\"measurements\":[{\"value\":1}]}", "measurements[0].signal is missing: the name of a signal was expected"},
    {"{\"now_ms\":2000,\"measurements\":[{\"signal\":\"\",\"value\":1}]}", "measurements[0].signal is \"\""},
    {"{\"now_ms\":2000,\"measurements\":[{\"signal\":\"a\"}]}", "measurements[0].value is missing: a number, or null"},
    {"{\"now_ms\":2000,\"measurements\":[{\"signal\":\"a\",\"value\":\"12\"}]}", "measurements[0].value is \"12\": a number, or null"},
    {"{\"now_ms\":2000,\"measurements\":[{\"signal\":\"a\",\"value\":true}]}", "measurements[0].value is true"},
    {"{\"now_ms\":2000,\"measurements\":[{\"signal\":\"a\",\"value\":1,\"at_ms\":\"now\"}]}", "measurements[0].at_ms is \"now\": a time in ms"},
    {"{\"now_ms\":2000,\"measurements\":[{\"signal\":\"a\",\"value\":1,\"window_ms\":-1}]}", "measurements[0].window_ms is -1: a span in ms, not negative, was expected"},
    {"{\"now_ms\":2000,\"measurements\":[{\"signal\":\"a\",\"value\":1,\"samples\":-2}]}", "measurements[0].samples is -2"},
    {"{\"now_ms\":2000,\"measurements\":[{\"signal\":\"a\",\"value\":1,\"labels\":[\"x\"]}]}", "measurements[0].labels is a list"},
    {"{\"now_ms\":2000,\"measurements\":[{\"signal\":\"a\",\"value\":1,\"labels\":{\"dc\":7}}]}", "measurements[0].labels.dc is 7: a string was expected"},
    {"{\"now_ms\":2000,\"measurements\":[{\"signal\":\"a\",\"value\":1,\"labels\":{\"a\":\"\",\"b\":\"\",\"c\":\"\",\"d\":\"\",\"e\":\"\",\"f\":\"\",\"g\":\"\",\"h\":\"\","
     "\"i\":\"\"}}]}",
     "measurements[0].labels has 9 labels, at most 8 are taken"},
    {"{\"now_ms\":2000,\"alerts\":[{\"labels\":{},\"state\":\"firing\"}]}", "alerts[0].name is missing"},
    {"{\"now_ms\":2000,\"alerts\":[{\"name\":\"a\",\"state\":\"on\"}]}", "alerts[0].state is \"on\": \"firing\" or \"resolved\" was expected"},
    {"{\"now_ms\":2000,\"alerts\":[{\"name\":\"a\"}]}", "alerts[0].state is missing"},
    {"{\"now_ms\":2000,\"acks\":[{\"version\":1,\"state\":\"applied\"}]}", "acks[0].target is missing"},
    {"{\"now_ms\":2000,\"acks\":[{\"target\":{\"dc\":\"x\"},\"version\":1,\"state\":\"applied\"}]}", "acks[0].target.service is missing"},
    {"{\"now_ms\":2000,\"acks\":[{\"target\":{\"service\":\"a\"},\"version\":1.5,\"state\":\"applied\"}]}", "acks[0].version is 1.5"},
    {"{\"now_ms\":2000,\"acks\":[{\"target\":{\"service\":\"a\"},\"version\":1,\"state\":\"maybe\"}]}", "acks[0].state is \"maybe\": \"applied\", \"partial\" or \"refused\""},
    {"{\"now_ms\":2000,\"acks\":[{\"target\":{\"service\":\"a\"},\"version\":1,\"state\":\"partial\"}]}", "acks[0].share is missing"},
    {"{\"now_ms\":2000,\"acks\":[{\"target\":{\"service\":\"a\"},\"version\":1,\"state\":\"applied\",\"share\":1.5}]}", "acks[0].share is 1.5: a share from 0 to 1"},
    {"{\"now_ms\":2000,\"topology\":3}", "topology is 3"},
    {"{\"now_ms\":2000,\"topology\":{}}", "topology.services is missing"},
    {"{\"now_ms\":2000,\"topology\":{\"services\":[]}}", "topology.services is empty"},
    {"{\"now_ms\":2000,\"topology\":{\"services\":[{\"dcs\":{\"x\":{}}}]}}", "topology.services[0].name is missing: a name of letters"},
    {"{\"now_ms\":2000,\"topology\":{\"services\":[{\"name\":\"a b\",\"dcs\":{\"x\":{}}}]}}", "topology.services[0].name is \"a b\""},
    {SERVICE(",\"features\":{\"@f\":{\"gain\":[2]}}"), "features.@f: a feature's name has letters"},
    {"{\"now_ms\":2000,\"topology\":{\"services\":[{\"name\":\"a\"}]}}", "topology.services[0].dcs is missing"},
    {"{\"now_ms\":2000,\"topology\":{\"services\":[{\"name\":\"a\",\"dcs\":{\"$x\":{}}}]}}", "topology.services[0].dcs.$x: a data center's name"},
    {"{\"now_ms\":2000,\"topology\":{\"services\":[{\"name\":\"a\",\"dcs\":{\"x\":{\"weight\":-1}}}]}}", "topology.services[0].dcs.x.weight is -1"},
    {"{\"now_ms\":2000,\"topology\":{\"services\":[{\"name\":\"a\",\"dcs\":{\"x\":{\"capacity_rps\":\"many\"}}}]}}", "dcs.x.capacity_rps is \"many\": requests per second"},
    {"{\"now_ms\":2000,\"topology\":{\"services\":[{\"name\":\"a\",\"dcs\":{\"x\":{}}},{\"name\":\"a\",\"dcs\":{\"x\":{}}}]}}", "topology.services[1].name is \"a\": a name that no other"},
    {SERVICE(",\"calls\":\"b\""), "topology.services[0].calls is \"b\""},
    {SERVICE(",\"calls\":[\"b\",\"b\"]"), "topology.services[0].calls[1] is \"b\": each called service once"},
    {SERVICE(",\"inner_loop\":\"yes\""), "topology.services[0].inner_loop is \"yes\""},
    {SERVICE(",\"features\":{\"f\":{}}"), "topology.services[0].features.f.gain is missing"},
    {SERVICE(",\"features\":{\"f\":{\"levels\":3,\"gain\":[1.1]}}"), "features.f.levels is 3 and gain has 1 factors"},
    {SERVICE(",\"features\":{\"f\":{\"gain\":[1.2,1.1]}}"), "features.f.gain[1] is 1.1: more than the level before brings"},
    {SERVICE(",\"features\":{\"f\":{\"gain\":[0.5]}}"), "features.f.gain[0] is 0.5: a factor from 1 to 100"},
    {"{\"now_ms\":2000,\"topology\":{\"priorities\":[],\"services\":[]}}", "topology.priorities is a list: at least one name"},
    {"{\"now_ms\":2000,\"topology\":{\"priorities\":[\"a\",\"a\"],\"services\":[]}}", "topology.priorities[1] is \"a\": each priority once"},
    {"{\"now_ms\":2000,\"topology\":{\"services\":[{\"name\":\"a\",\"dcs\":{\"x\":{}}}],\"timing\":{\"scrape_ms\":-5}}}", "topology.timing.scrape_ms is -5"},
};

static void bad_lines_are_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < TT_COUNT(refused); i++) {
        tt_plant_line l;
        tt_err err = {0};
        if (tt_plant_line_read(tt_sv_of(refused[i].line), AT_1S, &l, &err)) fail_msg("taken: %s", refused[i].line);
        if (!strstr(err.text, refused[i].says)) fail_msg("%s\n  said: %s\n  not:  %s", refused[i].line, err.text, refused[i].says);
        assert_null(l.root);
    }
}

static void a_long_value_is_cut(void **state) {
    (void)state;
    char line[4096] = "{\"now_ms\":\"", *end = line + strlen(line);
    for (int i = 0; i < 1500; i++) end += sprintf(end, "\xc3\xa9"); /* never within a character */
    strcpy(end, "\"}");
    tt_plant_line l;
    tt_err err = {0};
    assert_false(tt_plant_line_read(tt_sv_of(line), 0, &l, &err));
    assert_true(strlen(err.text) < 200);
    assert_non_null(strstr(err.text, "\xc3\xa9...\": the time in ms"));
}

static void where_json_breaks_is_told(void **state) {
    (void)state;
    tt_plant_line l;
    tt_err err = {0};
    assert_false(tt_plant_line_read(TT_SV("{\"now_ms\":2000,\"measurements\":[1,2,,3]}"), 0, &l, &err));
    assert_int_equal(err.column, 36);
}

/* ---- taken ---- */

static void everything_said(void **state) {
    (void)state;
    tt_plant_line l = line_of(
        "{\"now_ms\":2000.5,\"extra\":1,\"measurements\":[{\"signal\":\"ok_rps\",\"labels\":{\"service\":\"a\",\"dc\":\"x\"},\"value\":3.5,\"at_ms\":1500,\"window_ms\":5000,"
        "\"samples\":40},{\"signal\":\"ok_rps\",\"value\":null}],\"alerts\":[{\"name\":\"High\",\"labels\":{\"b\":\"2\",\"a\":\"1\"},\"state\":\"firing\"},"
        "{\"name\":\"High\",\"labels\":{\"a\":\"1\",\"b\":\"2\"},\"state\":\"resolved\"}],"
        "\"acks\":[{\"target\":{\"service\":\"a\",\"dc\":\"x\"},\"version\":7,\"state\":\"applied\"},{\"target\":{\"service\":\"a\"},\"version\":8,\"state\":\"partial\","
        "\"share\":0.4,\"reason\":\"slow\"},{\"target\":{\"service\":\"a\"},\"version\":9,\"state\":\"refused\",\"share\":1}]}",
        AT_1S);
    assert_int_equal(l.now_ns, 2000500000);
    assert_string_equal(l.unknown, "extra");
    assert_false(l.done);
    assert_int_equal(l.n_measurements, 2);
    const tt_plant_measurement *m = l.measurements;
    assert_int_equal(m[0].at_ns, TT_MS(1500));
    assert_int_equal(m[0].window_ns, TT_SECONDS(5));
    assert_true(m[0].value == 3.5 && m[0].samples == 40 && m[0].n_labels == 2 && !m[0].null);
    assert_true(m[1].null && m[1].at_ns == l.now_ns && m[1].samples < 0);
    assert_int_equal(l.n_alerts, 2);
    assert_true(l.alerts[0].firing && !l.alerts[1].firing);
    assert_string_equal(l.alerts[0].key, l.alerts[1].key); /* one and the same, whatever the order of its labels */
    assert_int_equal(l.n_acks, 3);
    assert_true(l.acks[0].share == 1 && l.acks[0].version == 7 && strcmp(l.acks[0].target.dc, "x") == 0);
    assert_true(l.acks[1].share == 0.4 && l.acks[1].target.dc[0] == 0 && tt_sv_eq(l.acks[1].reason, TT_SV("slow")));
    assert_true(l.acks[2].share == 0 && l.acks[2].refused);
    tt_plant_line_free(&l);
    l = line_of("{\"now_ms\":1000}", AT_1S); /* as before is not back */
    tt_plant_line_free(&l);
    l = line_of("{\"done\":true}", AT_1S);
    assert_true(l.done && l.score.n == 0 && l.now_ns == AT_1S);
    tt_plant_line_free(&l);
}

static void the_score_is_kept_byte_for_byte(void **state) {
    (void)state;
    static const struct {
        const char *line, *score;
    } rows[] = {
        {"{\"now_ms\":1000,\"done\":true,\"score\":{\"b\": 1.10, \"a\":[ 1e-7,\"}\\\"]\" ] }}", "{\"b\": 1.10, \"a\":[ 1e-7,\"}\\\"]\" ] }"},
        {"{\"score\" : 0.500 ,\"now_ms\":1000,\"done\":true}", "0.500"},
        {"{\"a\":{\"score\":1},\"b\":[{\"score\":2}],\"done\":true,\"score\":\"x\\u00e9\"}", "\"x\\u00e9\""},
        {"{\"sc\\u006fre\":{\"a\": 1},\"done\":true}", "{\"a\":1}"},
        {"{\"done\":true,\"score\":[]\r}", "[]"},
        {"{\"done\":true,\"score\":null}", ""},
    };
    for (size_t i = 0; i < TT_COUNT(rows); i++) {
        tt_plant_line l = line_of(rows[i].line, 0);
        if (!tt_sv_eq(l.score, tt_sv_of(rows[i].score))) fail_msg("%s: " TT_SV_FMT, rows[i].line, TT_SV_ARG(l.score));
        tt_plant_line_free(&l);
    }
}

/* ---- to the engine ---- */

static tt_rules *rules_of(const char *text) {
    tt_arena *a = tt_arena_new();
    tt_err err;
    size_t n;
    const tt_doc *doc = tt_yaml_parse(a, "a.yaml", tt_sv_of(text), NULL, &err);
    if (!doc) fail_msg("%s: %s", text, err.text);
    tt_rules *r = tt_rules_load(&doc, 1, NULL, &err, 1, &n);
    if (!r) fail_msg("%s: %s", text, err.text);
    tt_arena_free(a);
    return r;
}

static void measurements_become_the_engines(void **state) {
    (void)state;
    tt_rules *r = rules_of("signals:\n  - {name: ok_rps, query: q}\n  - {name: error_ratio, query: q, labels: {service: to_service}}\n  - {name: p99_ms, reports: latency_p99_ms}\n");
    static const struct {
        const char *measurement;
        int signal; /* -1: not taken */
        tt_quality quality;
        int64_t at_ms;
        const char *service;
    } rows[] = {
        {"{\"signal\":\"ok_rps\",\"value\":0,\"samples\":0,\"labels\":{\"service\":\"a\"}}", 0, TT_Q_OK, 2000, "a"},
        {"{\"signal\":\"ok_rps\",\"value\":null}", 0, TT_Q_NO_DATA, 2000, ""},
        {"{\"signal\":\"error_ratio\",\"value\":0.5,\"samples\":9,\"labels\":{\"to_service\":\"b\",\"service\":\"a\"}}", 1, TT_Q_TOO_FEW_SAMPLES, 2000, "b"},
        {"{\"signal\":\"error_ratio\",\"value\":0.5,\"samples\":10,\"labels\":{\"service\":\"c\"}}", 1, TT_Q_OK, 2000, "c"},
        {"{\"signal\":\"error_ratio\",\"value\":0.5}", 1, TT_Q_OK, 2000, ""},
        {"{\"signal\":\"p99_ms\",\"value\":12,\"samples\":3}", 2, TT_Q_TOO_FEW_SAMPLES, 2000, ""},
        {"{\"signal\":\"p99_ms\",\"value\":12,\"at_ms\":-3000}", 2, TT_Q_OK, -3000, ""},
        {"{\"signal\":\"other\",\"value\":12}", -1, TT_Q_OK, 0, ""},
    };
    tt_plant_ear ear = {.epoch = 5};
    for (size_t i = 0; i < TT_COUNT(rows); i++) {
        char text[400];
        snprintf(text, sizeof text, "{\"now_ms\":2000,\"measurements\":[%s],\"acks\":[{\"target\":{\"service\":\"a\"},\"version\":1,\"state\":\"applied\"}]}", rows[i].measurement);
        tt_plant_line l = line_of(text, 0);
        tt_observations obs;
        assert_true(tt_plant_line_bind(&l, r, &ear, &obs));
        assert_int_equal(obs.acks[0].epoch, 5);
        assert_int_equal(obs.now.ns, tt_plant_time(TT_SECONDS(2)).ns);
        if (obs.n_measurements != (rows[i].signal >= 0)) fail_msg("%s: %zu measurements", rows[i].measurement, obs.n_measurements);
        if (obs.n_measurements) {
            const tt_measurement *m = obs.measurements;
            tt_sv service = {"", 0};
            size_t n_service = 0;
            for (size_t k = 0; k < m->n_labels; k++)
                if (tt_sv_eq(m->labels[k].name, TT_SV("service"))) service = m->labels[k].value, n_service++;
            if ((int)m->signal != rows[i].signal || m->quality != rows[i].quality || m->at.ns != tt_plant_time(TT_MS(rows[i].at_ms)).ns || n_service > 1 ||
                !tt_sv_eq(service, tt_sv_of(rows[i].service)))
                fail_msg("%s: signal %u, %s, service " TT_SV_FMT, rows[i].measurement, m->signal, tt_quality_name(m->quality), TT_SV_ARG(service));
            /* A line never says that it has all series of a signal. */
            assert_true(obs.n_polls == 1 && obs.polls[0].answered && obs.polls[0].partial && obs.polls[0].signal == m->signal);
        }
        tt_plant_line_free(&l);
    }
    assert_int_equal(ear.n_ignored, 1);
    assert_int_equal(ear.n_names, 1);
    assert_string_equal(ear.names[0], "other");
    tt_rules_free(r);
}

/* A load report is heard under every name that the rules give it, until the plant tells that name itself. */
static void one_report_under_several_names(void **state) {
    (void)state;
    tt_rules *r = rules_of("signals:\n  - {name: p99_ms, reports: latency_p99}\n  - {name: latency_p99_ms, reports: latency_p99_ms}\n  - {name: slow_ms, reports: latency_p99_ms}\n");
    static const struct {
        const char *says, *heard; /* a letter a signal: p, l, s */
    } rows[] = {
        {"latency_p99_ms", "pls"}, {"p99_ms", "ps"}, {"latency_p99_ms\",\"value\":2},{\"signal\":\"p99_ms", "lsps"}, {"latency_p99_ms", "ls"}, {"slow_ms", "s"}, {"p99_ms", "p"},
    };
    tt_plant_ear ear = {.epoch = 1}; /* lines of one plant, one after the other */
    for (size_t i = 0; i < TT_COUNT(rows); i++) {
        char text[300], heard[16] = "";
        snprintf(text, sizeof text, "{\"now_ms\":2000,\"measurements\":[{\"signal\":\"%s\",\"value\":1}]}", rows[i].says);
        tt_plant_line l = line_of(text, 0);
        tt_observations obs;
        assert_true(tt_plant_line_bind(&l, r, &ear, &obs));
        for (size_t k = 0; k < obs.n_measurements && k < sizeof heard - 1; k++) heard[k] = "pls"[obs.measurements[k].signal];
        if (strcmp(heard, rows[i].heard) != 0) fail_msg("row %zu, %s: heard by %s, not %s", i, rows[i].says, heard, rows[i].heard);
        tt_plant_line_free(&l);
    }
    assert_int_equal(ear.n_ignored, 0);
    tt_rules_free(r);
}

static bool has_ok(void *ctx, tt_sv name) {
    (void)ctx;
    return tt_sv_eq(name, TT_SV("ok_rps"));
}

static void a_topology_becomes_rules(void **state) {
    (void)state;
    tt_plant_line l = line_of("{\"now_ms\":0,\"topology\":{\"priorities\":[\"high\",\"low\"],\"services\":[{\"name\":\"checkout\",\"dcs\":{\"dc-a\":{\"weight\":3,\"capacity_rps\":1200},"
                              "\"dc-b\":{\"weight\":1,\"capacity_rps\":0}},\"calls\":[\"stock\",\"recommendations\"],\"inner_loop\":true,"
                              "\"features\":{\"recommendations\":{\"levels\":2,\"gain\":[1.14,1.33]}}},{\"name\":\"stock\",\"dcs\":{\"dc-a\":{\"weight\":0.7},\"dc-b\":{},\"dc-c\":null}},"
                              "{\"name\":\"last\",\"dcs\":{\"x\":{\"weight\":0},\"y\":{}},\"calls\":[\"recommendations\"]}],\"timing\":{\"scrape_ms\":2500,\"apply_ms\":null}}}",
                              0);
    tt_buf b;
    tt_buf_init(&b, 1 << 20);
    assert_true(tt_plant_topology_rules(&l, &b) && tt_plant_topology_priorities(&l));
    tt_plant_load_signals(&l.timing, has_ok, NULL, &b);
    tt_rules *r = rules_of(b.p);
    tt_buf_free(&b);
    assert_int_equal(l.timing.scrape_ns, TT_MS(2500));
    assert_int_equal(l.timing.apply_ns, 0);
    assert_int_equal(r->n_priorities, 2);
    assert_int_equal(r->n_services, 4);
    const tt_service_def *s = r->services;
    assert_true(s[0].inner_loop && s[0].dcs[0].weight == 0.75 && s[0].dcs[0].capacity_rps == 1200 && s[0].dcs[1].capacity_rps == 0);
    assert_true(s[0].n_calls == 2 && s[0].calls[0] == 1 && s[0].calls[1] == 3);
    assert_true(s[0].n_features == 1 && s[0].features[0].levels == 2 && s[0].features[0].gain[1] == 1.33);
    assert_true(s[1].dcs[0].weight > 0.699 && s[1].dcs[1].weight > 0.149 && s[1].dcs[2].weight < 0.151); /* what is left of 1, shared */
    assert_true(s[2].dcs[0].weight == 0 && s[2].dcs[1].weight == 1);
    assert_true(tt_sv_eq(s[3].name, TT_SV("recommendations")) && s[3].n_dcs == 2); /* called and not described: where its caller is */
    assert_int_equal(tt_rules_signal(r, TT_SV("ok_rps")), -1);
    int offered = tt_rules_signal(r, TT_SV("offered_rps"));
    assert_true(offered >= 0 && r->signals[offered].every_ns == TT_MS(2500));
    tt_rules_free(r);
    tt_plant_line_free(&l);
}

static void what_comes_says_how_it_is_timed(void **state) {
    (void)state;
    static tt_plant_watch w;
    for (int i = 0; i < 40; i++) { /* ticks of 1 s, scrapes each 10 s, seen 3 s later, each told twice, some late */
        char text[300];
        int at = i * 10 - (i % 7 == 3 ? 15 : 0);
        snprintf(text, sizeof text, "{\"now_ms\":%d,\"measurements\":[{\"signal\":\"ok_rps\",\"value\":1,\"at_ms\":%d}],\"acks\":[{\"target\":{\"service\":\"a\"},\"version\":%d,"
                                    "\"state\":\"applied\"}]}", (i * 10 + 3) * 1000, at * 1000, i);
        if (i % 8 == 0) tt_plant_watch_sent(&w, (uint64_t)i, TT_SECONDS(i * 10 - 1));
        tt_plant_line l = line_of(text, 0);
        tt_plant_watch_line(&w, &l);
        tt_plant_watch_line(&w, &l);
        tt_plant_line_free(&l);
        if (i == 3) assert_int_equal(tt_plant_watch_timing(&w).scrape_ns, 0); /* too little to say */
    }
    tt_plant_timing t = tt_plant_watch_timing(&w);
    assert_int_equal(t.scrape_ns, TT_SECONDS(10));
    assert_int_equal(t.ingest_ns, TT_SECONDS(3));
    assert_int_equal(t.apply_ns, TT_SECONDS(4));
    /* A gap in all of many series is one gap, not their interval. */
    static tt_plant_watch many;
    for (int i = 0; i < 12; i++) {
        char text[4000] = "", *end = text;
        int at = i * 5 + (i > 6 ? 200 : 0);
        end += sprintf(end, "{\"now_ms\":%d,\"measurements\":[", at * 1000);
        for (int k = 0; k < 30; k++) end += sprintf(end, "%s{\"signal\":\"ok_rps\",\"labels\":{\"n\":\"%d\"},\"value\":1}", k ? "," : "", k);
        strcpy(end, "]}");
        tt_plant_line l = line_of(text, 0);
        tt_plant_watch_line(&many, &l);
        tt_plant_line_free(&l);
    }
    assert_int_equal(tt_plant_watch_timing(&many).scrape_ns, TT_SECONDS(5));
}

static void requests(void **state) {
    (void)state;
    tt_decision d = {.target = {.service = "checkout", .dc = "dc-a"}, .epoch = 1, .version = 7, .expire_after_ms = -1, .decay_over_ms = -1};
    const tt_decision *all[] = {&d};
    tt_buf b;
    tt_buf_init(&b, 1 << 16);
    tt_plant_request(0, 0, NULL, 0, &b);
    tt_plant_request(3, 1500250000, all, 1, &b);
    assert_string_equal(b.p, "{\"tick\":0,\"now_ms\":0,\"decisions\":[]}\n"
                             "{\"tick\":3,\"now_ms\":1500.25,\"decisions\":[{\"target\":{\"service\":\"checkout\",\"dc\":\"dc-a\"},\"epoch\":1,\"version\":7,\"armed\":false,"
                             "\"loops\":[],\"actions\":[],\"expires\":{\"after_ms\":null,\"then\":\"hold\"}}]}\n");
    tt_buf_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_lines_are_refused),     cmocka_unit_test(a_long_value_is_cut),           cmocka_unit_test(where_json_breaks_is_told),
        cmocka_unit_test(everything_said),           cmocka_unit_test(the_score_is_kept_byte_for_byte), cmocka_unit_test(measurements_become_the_engines),
        cmocka_unit_test(one_report_under_several_names),
        cmocka_unit_test(a_topology_becomes_rules),  cmocka_unit_test(what_comes_says_how_it_is_timed), cmocka_unit_test(requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
