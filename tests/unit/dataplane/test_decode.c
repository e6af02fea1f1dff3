/* The contract's set, read. */
#include "common.h"

#include <math.h>

#include "agent/decode.h"

static const char full[] =
    "{\"epoch\": 3, \"version\": 1043, \"now_ms\": 1790000000000, \"instances\": 2, \"decisions\": ["
    "{\"target\": {\"service\": \"checkout\", \"dc\": \"dc-a\"}, \"epoch\": 3, \"version\": 1042, \"armed\": false, \"loops\": [\"01J9\"],"
    " \"actions\": ["
    "  {\"action\": \"limit\", \"rps\": 840.0, \"keep\": [\"critical\", \"normal\", \"batch\"]},"
    "  {\"action\": \"levitate\", \"caller\": \"batch-report\"},"
    "  {\"action\": \"drop\", \"priority\": \"batch\", \"ratio\": 0.35},"
    "  {\"action\": \"degrade\", \"feature\": \"recommendations\", \"level\": 1, \"probe_ratio\": 0.02},"
    "  {\"action\": \"eject\", \"instance\": \"10.0.0.7:8080\"},"
    "  {\"action\": \"retry\", \"budget\": 0.1}, {\"action\": \"timeout\", \"ms\": 300}, {\"action\": \"hedge\", \"enabled\": false},"
    "  {\"action\": \"isolate\", \"caller\": \"batch-report\"}, {\"action\": \"isolate\", \"caller\": \"crawler\", \"ratio\": 0.25}],"
    " \"expires\": {\"after_ms\": 600000, \"then\": \"decay\", \"over_ms\": 300000}, \"age_ms\": 1500, \"new_member\": {}},"
    "{\"target\": {\"service\": \"checkout\"}, \"epoch\": 3, \"version\": 1043, \"armed\": false, \"loops\": [],"
    " \"actions\": [{\"action\": \"weights\", \"dcs\": {\"dc-a\": 0.35, \"dc-b\": 0.65}}], \"expires\": {\"after_ms\": null, \"then\": \"hold\"}, "
    "\"age_ms\": 4000},"
    "{\"target\": {\"service\": \"s\"}, \"epoch\": 3, \"version\": 1, \"actions\": [], \"expires\": {\"after_ms\": 1000, \"then\": \"open\"}, "
    "\"age_ms\": 4000},"
    "{\"target\": {\"service\": \"t\", \"dc\": null}, \"epoch\": 3, \"version\": 1, \"actions\": [], \"expires\": {\"after_ms\": 1000, \"then\": "
    "\"hold\"}}]}";

static void reads_all_of_it(void **state) {
    (void)state;
    agent_set set;
    char why[AGENT_WHY_MAX] = "";
    if (!agent_set_decode(full, strlen(full), &set, why)) fail_msg("%s", why);
    assert_int_equal(set.epoch, 3);
    assert_int_equal(set.version, 1043);
    assert_int_equal(set.instances, 2);
    assert_int_equal(set.age_ms, 4000);
    assert_int_equal(set.n, 4);
    assert_string_equal(set.unknown, "levitate");
    const tt_dp_decision *d = &set.decisions[0];
    assert_string_equal(d->service, "checkout");
    assert_string_equal(d->dc, "dc-a");
    assert_int_equal(d->version, 1042);
    assert_int_equal(d->n_actions, 9);
    assert_int_equal(d->actions[0].kind, TT_DP_LIMIT);
    assert_true(fabs(d->actions[0].value - 420) < 1e-9); /* half of it is ours */
    assert_int_equal(d->actions[0].n, 3);
    assert_string_equal(d->actions[0].names[2], "batch");
    assert_int_equal(d->actions[1].kind, TT_DP_DROP);
    assert_string_equal(d->actions[1].name, "batch");
    assert_true(fabs(d->actions[1].value - 0.35) < 1e-12);
    assert_int_equal(d->actions[2].kind, TT_DP_DEGRADE);
    assert_true(fabs(d->actions[2].probe_ratio - 0.02) < 1e-12);
    assert_int_equal(d->actions[3].kind, TT_DP_EJECT);
    assert_true(d->actions[4].kind == TT_DP_RETRY && d->actions[4].value == 0.1);
    assert_true(d->actions[5].kind == TT_DP_TIMEOUT && d->actions[5].value == 300);
    assert_true(d->actions[6].kind == TT_DP_HEDGE && d->actions[6].value == 0);
    assert_true(d->actions[7].kind == TT_DP_ISOLATE && d->actions[7].value == 1 && strcmp(d->actions[7].name, "batch-report") == 0);
    assert_true(d->actions[8].kind == TT_DP_ISOLATE && d->actions[8].value == 0.25);
    assert_int_equal(d->expire_after_ms, 600000 + 4000 - 1500); /* the set's one age is 4000, its own 1500 */
    assert_int_equal(d->decay_over_ms, 300000);
    d = &set.decisions[1];
    assert_true(!d->dc || !d->dc[0]);
    assert_int_equal(d->actions[0].kind, TT_DP_WEIGHTS);
    assert_int_equal(d->actions[0].n, 2);
    assert_string_equal(d->actions[0].names[1], "dc-b");
    assert_true(fabs(d->actions[0].shares[1] - 0.65) < 1e-12);
    assert_int_equal(d->expire_after_ms, -1);
    assert_int_equal(set.decisions[2].expire_after_ms, 1000);
    assert_int_equal(set.decisions[2].decay_over_ms, 0);
    assert_int_equal(set.decisions[3].expire_after_ms, 5000);
    assert_int_equal(set.decisions[3].decay_over_ms, -1);
    tt_dp *dp = dp_of("checkout", "dc-a");
    assert_true(tt_dp_apply(dp, set.decisions, set.n, set.epoch, set.age_ms, 0));
    tt_dp_free(dp);
    agent_set_free(&set);
}

#define ONE(rest) "{\"epoch\":1,\"version\":1,\"decisions\":[{\"target\":{\"service\":\"s\"},\"epoch\":1,\"version\":1," rest "}]}"
#define ACT(action) ONE("\"actions\":[" action "]")

static void says_what_is_wrong(void **state) {
    (void)state;
    static const struct {
        const char *json, *why; /* NULL: good */
    } rows[] = {
        {"{\"epoch\":1,\"version\":1,\"decisions\":[]}", NULL},
        {"{\"epoch\":1,\"version\":1,\"instances\":0,\"decisions\":[]}", NULL},
        {ONE("\"actions\":[]"), NULL},
        {ACT("{\"action\":\"retry\",\"budget\":0.1}"), NULL},
        {ACT("{\"action\":\"degrade\",\"feature\":\"f\",\"level\":1}"), NULL},
        {ACT("{\"action\":\"limit\",\"rps\":5}"), NULL},
        {"nonsense", "it is no JSON"},
        {"{\"epoch\":1,\"epoch\":2,\"version\":1,\"decisions\":[]}", "it is no JSON: duplicate"},
        {"{\"epoch\":-1,\"version\":1,\"decisions\":[]}", "/: epoch"},
        {"{\"epoch\":1,\"version\":1.5,\"decisions\":[]}", "/: version"},
        {"{\"epoch\":1,\"version\":1,\"instances\":\"2\",\"decisions\":[]}", "/: instances"},
        {"{\"epoch\":1,\"version\":1,\"decisions\":{}}", "/: decisions"},
        {"{\"epoch\":1,\"version\":1,\"decisions\":[7]}", "/decisions/0: target.service"},
        {"{\"epoch\":1,\"version\":1,\"decisions\":[{\"target\":{\"service\":\"\"}}]}", "/decisions/0: target.service"},
        {"{\"epoch\":1,\"version\":1,\"decisions\":[{\"target\":{\"service\":\"a\\u0000b\"}}]}", "it is no JSON"},
        {ONE("\"actions\":7"), "/decisions/0: actions"},
        {ONE("\"actions\":[],\"expires\":7"), "expires must be"},
        {ONE("\"actions\":[],\"expires\":{\"after_ms\":-5}"), "after_ms"},
        {ONE("\"actions\":[],\"expires\":{\"after_ms\":1,\"then\":\"explode\"}"), "expires.then"},
        {ONE("\"actions\":[],\"expires\":{\"after_ms\":1,\"then\":\"decay\"}"), "over_ms"},
        {ONE("\"actions\":[],\"age_ms\":-1"), "age_ms"},
        {ACT("{}"), "/decisions/0/actions/0: action"},
        {ACT("{\"action\":\"limit\",\"concurrency\":5}"), NULL},
        {ACT("{\"action\":\"versions\",\"shares\":{\"canary\":0.05,\"stable\":0.95}}"), NULL},
        {ACT("{\"action\":\"versions\",\"shares\":{}}"), "shares must hold 1 to 16 versions"},
        {ACT("{\"action\":\"limit\",\"concurrency\":5,\"rps\":5}"), "not both"},
        {ACT("{\"action\":\"retry\",\"budget\":2}"), "budget must be a number from 0 to 1"},
        {ACT("{\"action\":\"timeout\",\"ms\":0.5}"), "ms must be at least 1"},
        {ACT("{\"action\":\"hedge\",\"enabled\":0}"), "enabled must be true or false"},
        {ACT("{\"action\":\"isolate\"}"), "caller"},
        {ACT("{\"action\":\"limit\"}"), "rps"},
        {ACT("{\"action\":\"limit\",\"rps\":1,\"keep\":[1]}"), "each of keep"},
        {ACT("{\"action\":\"levitate\"},{\"action\":\"drop\",\"ratio\":0.1}"), "/decisions/0/actions/1: priority"},
        {ACT("{\"action\":\"drop\",\"priority\":\"b\",\"ratio\":\"0.1\"}"), "ratio"},
        {ACT("{\"action\":\"degrade\",\"feature\":\"f\",\"level\":1e9}"), "level"},
        {ACT("{\"action\":\"eject\"}"), "instance"},
        {ACT("{\"action\":\"weights\",\"dcs\":{}}"), "dcs"},
        {ACT("{\"action\":\"weights\",\"dcs\":{\"a\":2}}"), "a must be a number from 0 to 1"},
        {ACT("{\"action\":\"weights\",\"dcs\":{\"\":1}}"), "name"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        agent_set set = {0};
        char why[AGENT_WHY_MAX] = "";
        bool ok = agent_set_decode(rows[i].json, strlen(rows[i].json), &set, why);
        if (ok != !rows[i].why) fail_msg("%s: %s", rows[i].json, ok ? "taken" : why);
        if (!ok && !strstr(why, rows[i].why)) fail_msg("%s: says %s instead of %s", rows[i].json, why, rows[i].why);
        if (!ok) assert_null(set.memory);
        agent_set_free(&set);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(reads_all_of_it), cmocka_unit_test(says_what_is_wrong)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
