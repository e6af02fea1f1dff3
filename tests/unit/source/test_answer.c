/* What Prometheus says, and what must become of it. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "source/answer.h"

#define VECTOR(series) "{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":[" series "]}}"
#define SERIES(labels, value) "{\"metric\":{" labels "},\"value\":[1700000000.250,\"" value "\"]}"

static void kinds(void **state) {
    (void)state;
    static const struct {
        const char *name;
        long status;
        const char *body;
        tt_answer_kind want;
        const char *says; /* part of why */
    } cases[] = {
        {"empty vector", 200, VECTOR(""), TT_ANSWER_OK, ""},
        {"scalar", 200, "{\"status\":\"success\",\"data\":{\"resultType\":\"scalar\",\"result\":[1,\"2\"]}}", TT_ANSWER_OK, ""},
        {"matrix", 200, "{\"status\":\"success\",\"data\":{\"resultType\":\"matrix\",\"result\":[]}}", TT_ANSWER_REFUSED, "rate(...)"},
        {"string", 200, "{\"status\":\"success\",\"data\":{\"resultType\":\"string\",\"result\":[1,\"x\"]}}", TT_ANSWER_REFUSED, "a string"},
        {"bad query", 400, "{\"status\":\"error\",\"errorType\":\"bad_data\",\"error\":\"1:5: parse error\"}", TT_ANSWER_REFUSED,
         "bad_data: 1:5: parse error"},
        {"many-to-many", 422, "{\"status\":\"error\",\"errorType\":\"execution\",\"error\":\"many-to-many\"}", TT_ANSWER_REFUSED, "many-to-many"},
        {"overloaded", 503, "{\"status\":\"error\",\"errorType\":\"timeout\",\"error\":\"query timed out\"}", TT_ANSWER_GARBAGE, "timed out"},
        {"a login page", 200, "<html>hello</html>", TT_ANSWER_GARBAGE, "not JSON"},
        {"nothing", 200, "", TT_ANSWER_GARBAGE, "not JSON"},
        {"cut off", 200, "{\"status\":\"success\",\"data\":{\"resultType\":\"vec", TT_ANSWER_GARBAGE, "not JSON"},
        {"other JSON", 200, "{\"hello\":1}", TT_ANSWER_GARBAGE, "not Prometheus's"},
        {"an array", 200, "[]", TT_ANSWER_GARBAGE, "not Prometheus's"},
        {"no data", 200, "{\"status\":\"success\"}", TT_ANSWER_GARBAGE, "without its result"},
        {"result no list", 200, "{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":7}}", TT_ANSWER_GARBAGE,
         "without its result"},
        {"success, says a gateway's 502", 502, VECTOR(""), TT_ANSWER_GARBAGE, "502"},
    };
    for (size_t i = 0; i < TT_COUNT(cases); i++) {
        tt_answer a;
        char why[TT_ANSWER_TEXT];
        tt_answer_kind kind = tt_answer_read(cases[i].status, tt_sv_of(cases[i].body), &a, why);
        if (kind != cases[i].want || !strstr(why, cases[i].says)) fail_msg("%s: kind %d, why \"%s\"", cases[i].name, (int)kind, why);
        if (kind != TT_ANSWER_OK) assert_null(a.root);
        tt_answer_free(&a);
    }
}

static const tt_answer_clock noon = {{TT_SECONDS(5000)}, 1700000001000, 1700000001000};

static void values(void **state) {
    (void)state;
    static const struct {
        const char *value;
        bool ok;
        tt_quality quality;
        double want;
    } cases[] = {
        {"0.25", true, TT_Q_OK, 0.25},  {"0", true, TT_Q_OK, 0},          {"-3", true, TT_Q_OK, -3},         {"1e+09", true, TT_Q_OK, 1e9},
        {"NaN", true, TT_Q_NO_DATA, 0}, {"+Inf", true, TT_Q_NO_DATA, 0},  {"-Inf", true, TT_Q_NO_DATA, 0},   {"0,25", false, TT_Q_NO_DATA, 0},
        {"", false, TT_Q_NO_DATA, 0},   {"0x10", false, TT_Q_NO_DATA, 0}, {"1e999", false, TT_Q_NO_DATA, 0},
    };
    for (size_t i = 0; i < TT_COUNT(cases); i++) {
        char body[512], why[TT_ANSWER_TEXT];
        snprintf(body, sizeof body, VECTOR(SERIES("\"service\":\"front\"", "%s")), cases[i].value);
        tt_answer a;
        assert_int_equal(tt_answer_read(200, tt_sv_of(body), &a, why), TT_ANSWER_OK);
        tt_signal_def def = {.name = TT_SV("s")};
        tt_measurement m;
        bool ok = tt_answer_measurements(&a, &def, 3, &noon, &m, why);
        if (ok != cases[i].ok || (ok && (m.quality != cases[i].quality || m.value != cases[i].want || m.signal != 3)))
            fail_msg("\"%s\": ok %d quality %d", cases[i].value, ok, (int)m.quality);
        tt_answer_free(&a);
    }
}

/* How old a sample is, on whose clock. */
static void ages(void **state) {
    (void)state;
    static const struct {
        int64_t wall_ms, peer_ms, want_ns;
    } cases[] = {
        {1700000001000, 1700000001000, TT_SECONDS(5000) - TT_MS(750)},
        {1700000000250, 1700000000250, TT_SECONDS(5000)},
        {1699999000000, 1699999000000, TT_SECONDS(5000)},               /* from the future: now */
        {1700003600000, 1700000002250, TT_SECONDS(5000) - TT_MS(2000)}, /* our clock is an hour off: its own counts */
    };
    tt_answer a;
    char why[TT_ANSWER_TEXT];
    assert_int_equal(tt_answer_read(200, TT_SV(VECTOR(SERIES("", "1"))), &a, why), TT_ANSWER_OK);
    for (size_t i = 0; i < TT_COUNT(cases); i++) {
        tt_answer_clock clock = {{TT_SECONDS(5000)}, cases[i].wall_ms, cases[i].peer_ms};
        tt_signal_def def = {.name = TT_SV("s")};
        tt_measurement m;
        assert_true(tt_answer_measurements(&a, &def, 0, &clock, &m, why));
        int64_t off = m.at.ns - cases[i].want_ns;
        if (off > 1000 || off < -1000) fail_msg("row %zu: %lld", i, (long long)m.at.ns);
    }
    tt_answer_free(&a);
}

static void labels(void **state) {
    (void)state;
    static const struct {
        const char *name, *body, *want, *refused; /* labels in order, or part of the refusal */
    } cases[] = {
        {"the name is dropped", VECTOR(SERIES("\"__name__\":\"up\",\"dc\":\"a\"", "1")), "dc=a ", NULL},
        {"renamed", VECTOR(SERIES("\"to_service\":\"pay\",\"dc\":\"a\"", "1")), "service=pay dc=a ", NULL},
        {"renamed over its own", VECTOR(SERIES("\"service\":\"front\",\"to_service\":\"pay\"", "1")), "service=pay ", NULL},
        {"empty is absent", VECTOR(SERIES("\"dc\":\"\"", "1")), "", NULL},
        {"two become one", VECTOR(SERIES("\"service\":\"a\",\"to_service\":\"x\"", "1") "," SERIES("\"service\":\"b\",\"to_service\":\"x\"", "2")),
         NULL, "aggregate them"},
        {"two names", VECTOR(SERIES("\"__name__\":\"a\"", "1") "," SERIES("\"__name__\":\"b\"", "2")), NULL, "aggregate them"},
        {"order is nothing", VECTOR(SERIES("\"p\":\"1\",\"q\":\"2\"", "1") "," SERIES("\"q\":\"2\",\"p\":\"1\"", "2")), NULL, "aggregate them"},
        {"swapped values differ", VECTOR(SERIES("\"p\":\"1\",\"q\":\"2\"", "1") "," SERIES("\"p\":\"2\",\"q\":\"1\"", "2")), "p=1 q=2 p=2 q=1 ",
         NULL},
        {"nine labels",
         VECTOR(SERIES("\"a\":\"1\",\"b\":\"1\",\"c\":\"1\",\"d\":\"1\",\"e\":\"1\",\"f\":\"1\",\"g\":\"1\",\"h\":\"1\",\"i\":\"1\"", "1")), NULL,
         "more than 8 labels"},
        {"a label that is no text", VECTOR(SERIES("\"a\":1", "1")), NULL, "not text"},
        {"histograms", VECTOR("{\"metric\":{},\"histogram\":[1,{}]}"), NULL, "histogram_quantile"},
        {"no value", VECTOR("{\"metric\":{}}"), NULL, "no readable value"},
        {"no series at all", VECTOR("7"), NULL, "no readable value"},
    };
    tt_signal_def def = {.name = TT_SV("s"), .n_renames = 1, .renames = {{TT_SV("service"), TT_SV("to_service")}}};
    for (size_t i = 0; i < TT_COUNT(cases); i++) {
        tt_answer a;
        char why[TT_ANSWER_TEXT], got[256] = "";
        if (tt_answer_read(200, tt_sv_of(cases[i].body), &a, why) != TT_ANSWER_OK) fail_msg("%s: %s", cases[i].name, why);
        tt_measurement m[4];
        bool ok = tt_answer_measurements(&a, &def, 0, &noon, m, why);
        for (size_t k = 0; ok && k < tt_answer_count(&a); k++)
            for (size_t j = 0; j < m[k].n_labels; j++)
                snprintf(got + strlen(got), sizeof got - strlen(got), TT_SV_FMT "=" TT_SV_FMT " ", TT_SV_ARG(m[k].labels[j].name),
                         TT_SV_ARG(m[k].labels[j].value));
        if (ok != !cases[i].refused || (ok ? strcmp(got, cases[i].want) != 0 : !strstr(why, cases[i].refused)))
            fail_msg("%s: ok %d, got \"%s\", why \"%s\"", cases[i].name, ok, got, why);
        tt_answer_free(&a);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(kinds), cmocka_unit_test(values), cmocka_unit_test(ages), cmocka_unit_test(labels)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
