/* Whole runs against plants of a few lines of shell: what the engine is told, what the plant is told, and how a run that can't go on ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pcre.h"
#include "plant/plant.h"
#include "yaml.h"

static const char plans[] = "services: [{name: old, dcs: [q]}]\n"
                            "signals: [{name: error_ratio, query: 'e[5s]', every: 2s}]\n"
                            "anomalies: [{name: bad, when: error_ratio > 5%}]\n"
                            "plans:\n"
                            "  - name: serve\n"
                            "    on: {anomaly: bad, labels: {service: /^(?<svc>.+)$/, dc: /^(?<dc>.+)$/}}\n"
                            "    mode: auto\n"
                            "    target: {service: $svc, dc: $dc}\n"
                            "    keep: [error_ratio <= 2%]\n"
                            "    steps: [degrade: {}, limit: {}, shift: {}]\n";
#define TOPOLOGY "\"topology\":{\"services\":[{\"name\":\"web\",\"dcs\":{\"x\":{},\"y\":{}}}]}"

typedef struct {
    char notices[4096], anomalies[4096], signals[8192];
    uint64_t ticks;
} seen;

static void on_notice(void *ctx, const char *text) {
    seen *s = ctx;
    size_t n = strlen(s->notices);
    snprintf(s->notices + n, sizeof s->notices - n, "%s\n", text);
}

static void keep(void (*json)(const tt_engine *, tt_buf *), const tt_engine *e, char *to, size_t size) {
    tt_buf b;
    tt_buf_init(&b, 1 << 20);
    json(e, &b);
    snprintf(to, size, "%s", b.p);
    tt_buf_free(&b);
}

static void on_tick(void *ctx, const tt_plant_tick *t) {
    seen *s = ctx;
    s->ticks++;
    keep(tt_engine_anomalies_json, t->engine, s->anomalies, sizeof s->anomalies);
    keep(tt_engine_signals_json, t->engine, s->signals, sizeof s->signals);
}

static bool run(const char *command, const char *rules, seen *s, tt_plant_result *res, tt_err *err) {
    tt_arena *a = tt_arena_new();
    tt_matcher *m = tt_pcre_matcher_new();
    const tt_doc *doc = tt_yaml_parse(a, "plans.yaml", tt_sv_of(rules), NULL, err);
    assert_non_null(doc);
    memset(s, 0, sizeof *s);
    const tt_plant_spec spec = {.command = command, .timeout_ns = TT_SECONDS(20), .docs = &doc, .n_docs = 1, .matcher = m, .ctx = s, .watch = on_tick, .notice = on_notice};
    bool ok = tt_plant_run(&spec, res, err);
    tt_pcre_matcher_free(m);
    tt_arena_free(a);
    return ok;
}

/* Each line of `lines` answers one request. */
static const char *script(const char *lines) {
    static char text[16384];
    snprintf(text, sizeof text, "exec 3<<'END'\n%s\nEND\nwhile read -r request && IFS= read -r line <&3; do printf '%%s\\n' \"$line\"; done", lines);
    return text;
}

static const struct {
    const char *name, *command; /* or the lines it says */
    bool lines;
    const char *error; /* NULL: none */
} bad[] = {
    {"ends at once", "exit 4", false, "plant:1: the plant ended (exit code 4) without a line"},
    {"ends early", "{\"now_ms\":0," TOPOLOGY "}", true, "plant:2: the plant ended before it said \"done\": true"},
    {"rubbish", "{\"now_ms\":0," TOPOLOGY "}\nhello\tthere", true, "plant:2: the line is not a JSON object: hello\\x09there"},
    {"broken JSON", "{\"now_ms\":0," TOPOLOGY "}\n{\"now_ms\":1,}", true, "plant:2:13: not JSON: string or '}' expected near '}'; here: w_ms\":1,}"},
    {"time goes back", "{\"now_ms\":50," TOPOLOGY "}\n{\"now_ms\":20}", true, "plant:2: now_ms is 20 and was 50 before: time never goes back: {\"now_ms\":20}"},
    {"wrong type", "{\"now_ms\":50,\"measurements\":3}", true, "plant:1: measurements is 3: a list of measurements was expected: {\"now_ms\":50"},
    {"a circle", "{\"now_ms\":0,\"topology\":{\"services\":[{\"name\":\"a\",\"dcs\":{\"x\":{}},\"calls\":[\"b\"]},{\"name\":\"b\",\"dcs\":{\"x\":{}},\"calls\":[\"a\"]}]}}", true,
     "the plant's topology: services call in a circle, a -> b -> a"},
    {"fails at its end", "read l; echo '{\"done\":true}'; exit 7", false, "plant:1: the plant said \"done\": true and then ended with exit code 7"},
    {"done at once", "{\"done\":true}", true, NULL},
};

static void runs_that_cannot_go_on(void **state) {
    (void)state;
    for (size_t i = 0; i < TT_COUNT(bad); i++) {
        seen s;
        tt_plant_result res;
        tt_err err;
        char text[900] = "";
        bool ok = run(bad[i].lines ? script(bad[i].command) : bad[i].command, plans, &s, &res, &err);
        if (!ok) tt_err_print(&err, text, sizeof text);
        if (ok != !bad[i].error) fail_msg("%s: %s", bad[i].name, ok ? "went well" : text);
        if (bad[i].error && strncmp(text, bad[i].error, strlen(bad[i].error)) != 0) fail_msg("%s:\n  %s\n  %s", bad[i].name, text, bad[i].error);
        tt_plant_result_free(&res);
    }
}

static void a_run_to_its_end(void **state) {
    (void)state;
    seen s;
    tt_plant_result res;
    tt_err err;
    assert_true(run(script("{\"now_ms\":0,\"oops\":1," TOPOLOGY "}\n"
                           "{\"now_ms\":1000,\"measurements\":[{\"signal\":\"error_ratio\",\"labels\":{\"service\":\"web\",\"dc\":\"x\"},\"value\":0.5},{\"signal\":\"zzz\",\"value\":1}]}\n"
                           "{\"now_ms\":1000,\"acks\":[{\"target\":{\"service\":\"none\"},\"version\":1,\"state\":\"applied\"}]}\n"
                           "{\"now_ms\":4500,\"measurements\":[{\"signal\":\"error_ratio\",\"labels\":{\"service\":\"web\",\"dc\":\"y\"},\"value\":0}]}\n"
                           "{\"now_ms\":9000,\"done\":true,\"score\":{\"x\": 1.50}}"),
                    plans, &s, &res, &err));
    assert_int_equal(res.n_ticks, 5);
    assert_int_equal(s.ticks, 4); /* nobody hears a decision any more once it is done */
    assert_int_equal(res.plant_ns, TT_SECONDS(9));
    assert_int_equal(res.n_ignored, 1);
    assert_int_equal(res.n_loops, 1);
    assert_int_equal(res.n_violations, 0);
    assert_string_equal(res.score.p, "{\"x\": 1.50}");
    assert_non_null(strstr(s.notices, "takes the place of the services that the rules declare"));
    assert_non_null(strstr(s.notices, "plant:1: nobody reads \"oops\""));
    assert_non_null(strstr(s.notices, "plant:2: signal zzz is neither in the rules nor a load signal"));
    assert_non_null(strstr(s.notices, "plant:3: an acknowledgement for none, which no decision is for"));
    /* Scrapes may be slower than ticks: what the last lines did not tell is still known. */
    assert_null(strstr(s.signals, "no_data"));
    assert_non_null(strstr(s.anomalies, "\"open\""));
    tt_plant_result_free(&res);
}

static void another_topology_forgets_nothing(void **state) {
    (void)state;
    seen s;
    tt_plant_result res;
    tt_err err;
    assert_true(run(script("{\"now_ms\":0," TOPOLOGY "}\n"
                           "{\"now_ms\":1000,\"measurements\":[{\"signal\":\"error_ratio\",\"labels\":{\"service\":\"web\",\"dc\":\"x\"},\"value\":0.5}]}\n"
                           "{\"now_ms\":2000,\"topology\":{\"services\":[{\"name\":\"new\",\"dcs\":{\"x\":{}}},{\"name\":\"web\",\"dcs\":{\"x\":{},\"y\":{\"weight\":0.2}}}]}}\n"
                           "{\"now_ms\":3000,\"topology\":{\"services\":[{\"name\":\"new\",\"dcs\":{\"x\":{}}},{\"name\":\"web\",\"dcs\":{\"x\":{},\"y\":{\"weight\":0.2}}}]}}\n"
                           "{\"now_ms\":9000,\"done\":true}"),
                    plans, &s, &res, &err));
    assert_non_null(strstr(s.anomalies, "\"open\""));
    assert_non_null(strstr(s.signals, "\"value\":0.5"));
    assert_int_equal(res.n_loops, 1);
    assert_int_equal(res.n_open, 1);
    const char *first = strstr(s.notices, "the topology changed at line 3");
    assert_non_null(first);
    assert_null(strstr(first + 1, "the topology changed")); /* the same again is no change */
    tt_plant_result_free(&res);
}

/* What the requests of a run said of drops, a letter each: `n` nothing is in force, `d` a drop, `w` its withdrawal. */
static void told(const char *acks, char letters[400]) {
    static const char rules[] = "signals: [{name: error_ratio, query: 'e[2s]', every: 2s}]\n"
                                "anomalies: [{name: bad, when: error_ratio > 5%}]\n"
                                "plans:\n"
                                "  - {name: shed, on: {anomaly: bad, labels: {service: /^(?<svc>.+)$/, dc: /^(?<dc>.+)$/}}, mode: auto, target: {service: $svc, dc: $dc},\n"
                                "     keep: [error_ratio <= 2%], law: {name: runbook, wait: 10s}, steps: [drop: {priority: batch, ratio: 50%}],\n"
                                "     settle: {hold: 5s, within: 2m}, recover: {after: 10s, every: 5s}}\n";
    char command[1500], log[] = "/tmp/plant-test-XXXXXX", line[4096];
    int fd = mkstemp(log);
    assert_true(fd >= 0);
    snprintf(command, sizeof command,
             "n=0; t='," TOPOLOGY "'; while read -r r; do echo \"$r\" >> %s; n=$((n+1)); e=0; a=; d=false; [ $n -lt 15 ] && e=0.5; [ $n -gt 150 ] && d=true\n"
             "v=$(echo \"$r\" | sed -n 's/.*\"version\":\\([0-9]*\\).*/\\1/p'); [ -n \"$v\" ] && a='%s'\n"
             "a=$(echo \"$a\" | sed \"s/VERSION/$v/\")\n"
             "l='\"labels\":{\"service\":\"web\",\"dc\":\"x\"}'\n"
             "echo '{\"now_ms\":'$((n*2000))',\"measurements\":[{\"signal\":\"error_ratio\",'\"$l\"',\"value\":'$e'},{\"signal\":\"offered_rps\",'\"$l\"',\"value\":100},"
             "{\"signal\":\"ok_rps\",'\"$l\"',\"value\":90}],\"acks\":['\"$a\"'],\"done\":'$d\"$t\"'}'; t=; done",
             log, acks);
    seen s;
    tt_plant_result res;
    tt_err err;
    if (!run(command, rules, &s, &res, &err)) fail_msg("plant:%u: %s", err.line, err.text);
    tt_plant_result_free(&res);
    FILE *f = fdopen(fd, "r");
    size_t n = 0;
    while (n < 399 && fgets(line, sizeof line, f))
        letters[n++] = strstr(line, "\"decisions\":[]") ? 'n' : strstr(line, "\"action\":\"drop\"") ? 'd' : strstr(line, "\"actions\":[]") ? 'w' : '?';
    letters[n] = 0;
    fclose(f);
    remove(log);
}

static size_t run_of(const char **p, char c) {
    size_t n = strspn(*p, (char[]){c, 0});
    *p += n;
    return n;
}

/* A decision is told as long as it is in force; its withdrawal until it is acknowledged, or for a minute. */
static void a_withdrawal_is_told(void **state) {
    (void)state;
    char letters[400];
    const char *p = letters;
    told("{\"target\":{\"service\":\"web\",\"dc\":\"x\"},\"version\":VERSION,\"state\":\"applied\"}", letters);
    if (!(run_of(&p, 'n') > 0 && run_of(&p, 'd') > 5 && run_of(&p, 'w') == 1 && run_of(&p, 'n') > 0 && !*p)) fail_msg("acknowledged: %s", letters);
    told("", letters);
    p = letters;
    if (!(run_of(&p, 'n') > 0 && run_of(&p, 'd') > 5 && run_of(&p, 'w') == 31 && run_of(&p, 'n') > 0 && !*p)) fail_msg("not acknowledged: %s", letters);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(runs_that_cannot_go_on), cmocka_unit_test(a_run_to_its_end), cmocka_unit_test(another_topology_forgets_nothing),
                                       cmocka_unit_test(a_withdrawal_is_told)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
