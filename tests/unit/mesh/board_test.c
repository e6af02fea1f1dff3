/* The board: who is concerned by what, who enforces it, who is there. Time is a parameter, so nothing here waits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "mesh/board.h"

static tt_time at(double s) {
    return (tt_time){(int64_t)(s * 1e9)};
}

/* what: "limit", "drop", "weights:dc-a", "retry", "isolate:caller", "eject:10.0.0.7:80", "" withdraws; several with a comma */
static tt_decision decide(const char *service, const char *dc, uint64_t version, const char *what) {
    tt_decision d = {.epoch = 3, .version = version, .expire_after_ms = 600000, .decay_over_ms = 300000};
    snprintf(d.target.service, sizeof d.target.service, "%s", service);
    snprintf(d.target.dc, sizeof d.target.dc, "%s", dc);
    char copy[256];
    snprintf(copy, sizeof copy, "%s", what);
    for (char *save, *one = strtok_r(copy, ",", &save); one; one = strtok_r(NULL, ",", &save)) {
        tt_act *a = &d.actions[d.n_actions++];
        char *name = strchr(one, ':');
        if (name) *name++ = 0;
        a->value = 1;
        if (strcmp(one, "limit") == 0) {
            a->kind = TT_ACT_LIMIT;
            a->value = 840;
        } else if (strcmp(one, "drop") == 0) {
            a->kind = TT_ACT_DROP;
            snprintf(a->name, sizeof a->name, "batch");
        } else if (strcmp(one, "weights") == 0) {
            a->kind = TT_ACT_WEIGHTS;
            d.n_names = 1;
            snprintf(d.names[0], sizeof d.names[0], "%s", name ? name : "dc-a");
            d.shares[0] = 1;
        } else if (strcmp(one, "retry") == 0) {
            a->kind = TT_ACT_RETRY;
            a->value = 0.1;
        } else if (strcmp(one, "isolate") == 0) {
            a->kind = TT_ACT_ISOLATE;
            snprintf(a->name, sizeof a->name, "%s", name);
        } else {
            a->kind = TT_ACT_EJECT;
            snprintf(a->name, sizeof a->name, "%s", name ? name : "i");
        }
    }
    return d;
}

static void publish(tt_board *b, const char *service, const char *dc, uint64_t version, const char *what, double s) {
    tt_decision *d = malloc(sizeof *d);
    *d = decide(service, dc, version, what);
    tt_board_publish(b, d, 1, at(s));
    free(d);
}

static tt_board_query ask(const char *service, const char *dc, const char *instance, uint64_t version, const char *call) {
    tt_board_query q = {.service = tt_sv_of(service), .dc = tt_sv_of(dc), .instance = tt_sv_of(instance), .epoch = 3, .version = version};
    if (call) q.calls[q.n_calls++] = tt_sv_of(call);
    return q;
}

static json_t *answer(tt_board *b, tt_board_query q, double s) {
    tt_buf out;
    tt_buf_init(&out, 1 << 20);
    tt_board_answer_json(b, &q, at(s), 1790000000000, &out);
    assert_false(out.failed);
    json_t *root = json_loadb(out.p, out.n, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(root);
    tt_buf_free(&out);
    return root;
}

static json_int_t number(const json_t *o, const char *key) {
    assert_true(json_is_integer(json_object_get(o, key)));
    return json_integer_value(json_object_get(o, key));
}

static void concerns(void **state) {
    (void)state;
    static const struct {
        const char *name, *service, *dc, *call;
        uint64_t version;
        bool news;
        size_t decisions;
        json_int_t next;
    } rows[] = {
        {"own data center", "checkout", "dc-a", NULL, 0, true, 2, 12},
        {"has it all", "checkout", "dc-a", NULL, 12, false, 2, 12},
        {"service as a whole counts", "checkout", "dc-a", NULL, 10, true, 2, 12},
        {"the other data center's does not", "checkout", "dc-c", NULL, 12, false, 1, 12},
        {"a caller: every target of what it calls", "front", "dc-a", "checkout", 12, true, 3, 13},
        {"a caller has it all", "front", "dc-a", "checkout", 13, false, 3, 13},
        {"nothing ever concerned it", "billing", "dc-a", NULL, 0, false, 0, 0},
        {"named twice, given once", "checkout", "dc-a", "checkout", 0, true, 3, 13},
        {"without service: everything", "", "", NULL, 99, true, 3, 13},
    };
    tt_board *b = tt_board_new(3);
    publish(b, "checkout", "dc-a", 10, "limit,drop", 0);
    publish(b, "checkout", "", 12, "weights:dc-a", 0);
    publish(b, "checkout", "dc-b", 13, "limit", 0);
    for (size_t i = 0; i < TT_COUNT(rows); i++) {
        print_message("  %s\n", rows[i].name);
        tt_board_query q = ask(rows[i].service, rows[i].dc, "", rows[i].version, rows[i].call);
        assert_int_equal(tt_board_has_news(b, &q), rows[i].news);
        json_t *a = answer(b, q, 2.5);
        assert_int_equal(json_array_size(json_object_get(a, "decisions")), rows[i].decisions);
        assert_int_equal(number(a, "version"), rows[i].next);
        assert_int_equal(number(a, "epoch"), 3);
        if (rows[i].decisions) assert_int_equal(number(json_array_get(json_object_get(a, "decisions"), 0), "age_ms"), 2500);
        json_decref(a);
    }
    tt_board_free(b);
}

static void opens_at_first_publish(void **state) {
    (void)state;
    tt_board *b = tt_board_new(3);
    tt_board_query q = ask("checkout", "dc-a", "i", 7, NULL);
    q.epoch = 2; /* of the daemon before */
    assert_false(tt_board_is_open(b));
    assert_false(tt_board_has_news(b, &q)); /* a restart must not look like "nothing is in force" */
    tt_board_publish(b, NULL, 0, at(0));
    assert_true(tt_board_is_open(b));
    assert_true(tt_board_has_news(b, &q));
    tt_board_free(b);
}

static void refuses_what_is_older(void **state) {
    (void)state;
    tt_board *b = tt_board_new(3);
    publish(b, "checkout", "dc-a", 10, "limit", 0);
    uint64_t before = tt_board_generation(b);
    publish(b, "checkout", "dc-a", 9, "", 1); /* an older version */
    tt_decision *d = malloc(sizeof *d);
    *d = decide("checkout", "dc-a", 99, "");
    d->epoch = 2; /* an older writer */
    tt_board_publish(b, d, 1, at(1));
    assert_int_equal(tt_board_generation(b), before);
    json_t *a = answer(b, ask("checkout", "dc-a", "", 0, NULL), 1);
    assert_int_equal(json_array_size(json_object_get(a, "decisions")), 1);
    json_decref(a);
    d->epoch = 4; /* a newer one */
    tt_board_publish(b, d, 1, at(1));
    a = answer(b, ask("checkout", "dc-a", "", 0, NULL), 1);
    assert_int_equal(number(a, "epoch"), 4);
    assert_int_equal(json_array_size(json_object_get(a, "decisions")), 0); /* withdrawn */
    assert_int_equal(number(a, "version"), 99);                            /* and that is news of its own */
    json_decref(a);
    free(d);
    tt_board_free(b);
}

static const tt_ack *ack_of(tt_board *b, const char *service, const char *dc, double s) {
    const tt_ack *acks;
    size_t n = tt_board_acks(b, at(s), &acks);
    for (size_t i = 0; i < n; i++)
        if (strcmp(acks[i].target.service, service) == 0 && strcmp(acks[i].target.dc, dc) == 0) return &acks[i];
    return NULL;
}

static void heard(tt_board *b, tt_board_query q, double s) {
    tt_board_heard(b, &q, TT_BOARD_ASKED, at(s));
}

static void acknowledgements(void **state) {
    (void)state;
    tt_board *b = tt_board_new(3);
    publish(b, "checkout", "dc-a", 10, "limit", 0);
    assert_null(ack_of(b, "checkout", "dc-a", 0)); /* nobody is there to enforce it */
    heard(b, ask("checkout", "dc-a", "i1", 10, NULL), 1);
    heard(b, ask("checkout", "dc-a", "i2", 9, NULL), 1);
    heard(b, ask("checkout", "dc-b", "i3", 0, NULL), 1); /* elsewhere: not counted */
    heard(b, ask("front", "dc-a", "f1", 10, "checkout"), 1);
    heard(b, ask("front", "dc-b", "f2", 9, "checkout"), 1);
    const tt_ack *a = ack_of(b, "checkout", "dc-a", 1);
    assert_non_null(a);
    assert_float_equal(a->share, 0.5, 1e-9);
    assert_int_equal(a->version, 10);
    /* weights are enforced by who calls */
    publish(b, "checkout", "", 12, "weights:dc-a", 1);
    heard(b, ask("front", "dc-b", "f2", 12, "checkout"), 1);
    a = ack_of(b, "checkout", "", 1);
    assert_non_null(a);
    assert_float_equal(a->share, 0.5, 1e-9);
    heard(b, ask("front", "dc-a", "f1", 12, "checkout"), 2);
    a = ack_of(b, "checkout", "", 2);
    assert_float_equal(a->share, 1, 1e-9);
    /* limit and ejection together: both */
    publish(b, "checkout", "dc-a", 13, "limit,eject:i9", 2);
    heard(b, ask("front", "dc-b", "f2", 13, "checkout"), 2);
    a = ack_of(b, "checkout", "dc-a", 2);
    assert_float_equal(a->share, 0.25, 1e-9); /* f2 of i1, i2, f1, f2 */
    /* a withdrawal concerns those who enforced what it withdraws */
    publish(b, "checkout", "", 14, "", 3);
    a = ack_of(b, "checkout", "", 3);
    assert_non_null(a);
    assert_float_equal(a->share, 0, 1e-9);
    /* another epoch is another count */
    tt_board_query old = ask("checkout", "dc-a", "i1", 999, NULL);
    old.epoch = 2;
    heard(b, old, 3);
    a = ack_of(b, "checkout", "dc-a", 3);
    assert_float_equal(a->share, 0.25, 1e-9);
    /* how calls are made is enforced by who calls; an isolation by both ends */
    publish(b, "checkout", "dc-b", 15, "retry", 3);
    a = ack_of(b, "checkout", "dc-b", 3);
    assert_float_equal(a->share, 0, 1e-9);
    heard(b, ask("front", "dc-a", "f1", 15, "checkout"), 3);
    heard(b, ask("front", "dc-b", "f2", 15, "checkout"), 3);
    a = ack_of(b, "checkout", "dc-b", 3);
    assert_float_equal(a->share, 1, 1e-9); /* not i3, which is called */
    publish(b, "checkout", "dc-b", 16, "isolate:front", 3);
    heard(b, ask("front", "dc-b", "f2", 16, "checkout"), 3);
    a = ack_of(b, "checkout", "dc-b", 3);
    assert_float_equal(a->share, 1.0 / 3, 1e-9);
    tt_board_free(b);
}

static void refusal_is_told(void **state) {
    (void)state;
    tt_board *b = tt_board_new(3);
    publish(b, "checkout", "dc-a", 10, "limit", 0);
    tt_err err;
    static const char report[] =
        "{\"service\":\"checkout\",\"dc\":\"dc-a\",\"instance\":\"i1\",\"epoch\":3,\"version\":9,\"refused\":\"no priority batch\","
        "\"span_ms\":1000}";
    assert_true(tt_board_report(b, tt_sv_of(report), at(1), &err));
    const tt_ack *a = ack_of(b, "checkout", "dc-a", 1);
    assert_non_null(a);
    assert_true(a->refused);
    assert_int_equal(a->reason.n, strlen("i1: no priority batch"));
    assert_memory_equal(a->reason.p, "i1: no priority batch", a->reason.n);
    tt_board_free(b);
}

static uint32_t connected(tt_board *b, double s, uint32_t *behind) {
    uint32_t n, m;
    tt_board_counts(b, at(s), &n, &m);
    if (behind) *behind = m;
    return n;
}

static void agents_come_and_go(void **state) {
    (void)state;
    tt_board *b = tt_board_new(3);
    uint32_t behind;
    publish(b, "checkout", "dc-a", 10, "drop", 0);
    tt_board_query q = ask("checkout", "dc-a", "i1", 9, NULL);
    heard(b, q, 0);
    heard(b, ask("front", "dc-a", "f1", 10, "checkout"), 0);
    assert_int_equal(connected(b, 10, &behind), 2);
    assert_int_equal(behind, 1);
    assert_int_equal(connected(b, 10.1, NULL), 0);
    heard(b, q, 11);
    tt_board_heard(b, &q, TT_BOARD_WAITS, at(11));
    assert_int_equal(connected(b, 60, NULL), 1); /* a query that waits is a sign of life */
    tt_board_heard(b, &q, TT_BOARD_WAITED, at(61));
    assert_int_equal(connected(b, 70, NULL), 1);
    assert_int_equal(connected(b, 72, NULL), 0);
    tt_buf out;
    tt_buf_init(&out, 1 << 16);
    tt_board_agents_json(b, 0, at(72), &out);
    assert_string_equal(out.p, "{\"items\":[]}");
    tt_buf_free(&out);
    tt_board_free(b);
}

static void count_change(void *ctx) {
    ++*(int *)ctx;
}

/* Agents divide a limit by their number: when it changes, those who were told the old one are told again, once. */
static void sharers_learn_their_number(void **state) {
    (void)state;
    int changes = 0;
    tt_board *b = tt_board_new(3);
    tt_board_on_change(b, count_change, &changes);
    publish(b, "checkout", "dc-a", 10, "limit", 0);
    assert_int_equal(changes, 1);
    tt_board_query one = ask("checkout", "dc-a", "i1", 10, NULL), two = ask("checkout", "dc-a", "i2", 10, NULL);
    const tt_ack *acks;
    json_t *a = answer(b, one, 1);
    assert_int_equal(number(a, "instances"), 1);
    json_decref(a);
    assert_false(tt_board_has_news(b, &one));
    heard(b, two, 1.5);
    tt_board_acks(b, at(1.6), &acks);
    assert_false(tt_board_has_news(b, &one)); /* not more often than once a second */
    assert_int_equal(changes, 1);
    tt_board_acks(b, at(2.1), &acks);
    assert_int_equal(changes, 2);
    assert_true(tt_board_has_news(b, &one));
    a = answer(b, one, 2.1);
    assert_int_equal(number(a, "instances"), 2);
    json_decref(a);
    assert_false(tt_board_has_news(b, &one));
    tt_board_free(b);
}

/* ---- what the mesh has that nobody here decided ---- */

static bool report(tt_board *b, const char *instance, unsigned epoch, unsigned version, const char *more) {
    char text[512];
    tt_err err = {0};
    snprintf(text, sizeof text, "{\"service\":\"checkout\",\"dc\":\"dc-a\",\"instance\":\"%s\",\"span_ms\":1000,\"epoch\":%u,\"version\":%u%s}", instance, epoch,
             version, more);
    return tt_board_report(b, tt_sv_of(text), at(1), &err);
}

static void drift_is_found_in_what_agents_say(void **state) {
    (void)state;
    static const struct {
        const char *name;
        unsigned epoch, version;
        const char *more;
        int drifts; /* of checkout in dc-a */
        bool foreign;
        double share, acked;
        const char *what;
    } rows[] = {
        {"all is well", 3, 10, ",\"in_force\":\"ours\"", 0, false, 0, 1, NULL},
        {"an agent that says nothing of it", 3, 10, "", 0, false, 0, 1, NULL},
        {"behind is not adrift", 3, 9, ",\"in_force\":\"ours\"", 0, false, 0, 0.5, NULL},
        {"an epoch from before a restart neither", 2, 500, ",\"in_force\":\"ours\"", 0, false, 0, 0.5, NULL},
        {"lost", 3, 10, ",\"in_force\":\"none\"", 1, false, 0.5, 0.5, "i2: nothing is in force"},
        {"overwritten in the process", 3, 10, ",\"in_force\":\"other\",\"found\":\"2 actions\"", 1, true, 0.5, 0.5, "i2: 2 actions"},
        {"an epoch nobody here had", 4, 1, ",\"in_force\":\"ours\"", 1, true, 0.5, 0.5, "i2 names epoch 4, version 1: newer than anything told here"},
        {"a version nobody here told", 3, 11, "", 1, true, 0.5, 0.5, "i2 names epoch 3, version 11"},
    };
    for (size_t i = 0; i < TT_COUNT(rows); i++) {
        tt_board *b = tt_board_new(3);
        const tt_drift *d;
        publish(b, "checkout", "dc-a", 10, "limit", 0);
        assert_true(report(b, "i1", 3, 10, ",\"in_force\":\"ours\""));
        assert_true(report(b, "i2", rows[i].epoch, rows[i].version, rows[i].more));
        const tt_ack *a = ack_of(b, "checkout", "dc-a", 1);
        assert_non_null(a);
        if (fabs(a->share - rows[i].acked) > 1e-9) fail_msg("%s: acknowledged by %g", rows[i].name, a->share);
        size_t n = tt_board_drifts(b, &d);
        if ((int)n != rows[i].drifts) fail_msg("%s: %zu drifts", rows[i].name, n);
        if (n && (d->foreign != rows[i].foreign || fabs(d->share - rows[i].share) > 1e-9 || strcmp(d->target.service, "checkout") != 0 ||
                  strcmp(d->target.dc, "dc-a") != 0 || !strstr(d->what.p, rows[i].what)))
            fail_msg("%s: foreign %d, share %g, %s", rows[i].name, d->foreign, d->share, d->what.p);
        /* And it is over when it is well again. */
        assert_true(report(b, "i2", 3, 10, ",\"in_force\":\"ours\""));
        (void)ack_of(b, "checkout", "dc-a", 2);
        assert_int_equal(tt_board_drifts(b, &d), 0);
        tt_board_free(b);
    }
}

/* Somebody else's, where nothing of ours is in force; and nothing to lose where nothing was. */
static void drift_without_a_decision(void **state) {
    (void)state;
    tt_board *b = tt_board_new(3);
    const tt_drift *d;
    tt_board_publish(b, NULL, 0, at(0));
    assert_true(report(b, "i1", 3, 0, ",\"in_force\":\"none\""));
    (void)ack_of(b, "checkout", "dc-a", 1);
    assert_int_equal(tt_board_drifts(b, &d), 0);
    assert_true(report(b, "i1", 3, 0, ",\"in_force\":\"other\""));
    (void)ack_of(b, "checkout", "dc-a", 1);
    assert_int_equal(tt_board_drifts(b, &d), 1);
    assert_true(d->foreign && strcmp(d->target.service, "checkout") == 0 && d->share == 1);
    assert_false(report(b, "i1", 3, 0, ",\"in_force\":\"mine\""));
    tt_board_free(b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(concerns),
        cmocka_unit_test(opens_at_first_publish),
        cmocka_unit_test(refuses_what_is_older),
        cmocka_unit_test(acknowledgements),
        cmocka_unit_test(drift_is_found_in_what_agents_say),
        cmocka_unit_test(drift_without_a_decision),
        cmocka_unit_test(refusal_is_told),
        cmocka_unit_test(agents_come_and_go),
        cmocka_unit_test(sharers_learn_their_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
