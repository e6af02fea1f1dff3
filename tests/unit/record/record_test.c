/* What is written can be read back bit for bit; what is torn, flipped or full is said, and costs nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <float.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "model.h"
#include "taped.h"

static const tt_rules_text document = {TT_SV("plans/a.yaml"), TT_SV("signals: []\n")};
static const tt_rules_texts rules = {.n = 1, .at = &document};
static tt_engine_config config;
static tt_outcome nothing;

static tt_record_base base_at(int64_t now_ns) {
    tt_engine_config_default(&config);
    config.epoch = 7;
    return (tt_record_base){.config = &config, .rules = &rules, .rules_hash = 0xdeadbeef, .now = {now_ns}, .wall = {1790000000000}};
}

static tt_recorder *recorder_in(const char *dir, tt_recorder_options opt) {
    tt_err err;
    opt.dir = dir;
    opt.version = "0.1.0";
    opt.build = "00ff";
    opt.epoch = 7;
    if (!opt.max_bytes) opt.max_bytes = 1 << 30;
    tt_recorder *r = tt_recorder_new(&opt, &err);
    if (!r) fail_msg("%s", err.text);
    return r;
}

/* The whole of the one file in a directory. */
static char *only_file(const char *dir, size_t *ret_n) {
    char *names[8];
    size_t n = list_files(dir, names, 8);
    assert_int_equal(n, 1);
    char *p = read_file(names[0], ret_n);
    free(names[0]);
    assert_non_null(p);
    return p;
}

static uint64_t bits(double v) {
    uint64_t b;
    memcpy(&b, &v, sizeof b);
    return b;
}

/* ---- every member, bit for bit ---- */

static void measurements_come_back(void **state) {
    (void)state;
    static const double values[] = {
        0,    -0.0, 1,      -1,      0.1,     12.4,         12.3456, 12.34567, 1e-5,         1.0 / 3,         2.0 / 3,
        1e11, 1e15, -1e300, DBL_MIN, DBL_MAX, DBL_TRUE_MIN, 0.35,    0.35,     0.3500000001, 201.00000000001, 99999999999.9999};
    enum { N = TT_COUNT(values), TICKS = 40 };
    char dir[256], names[TT_LABELS_MAX][16];
    temporary_directory(dir);
    tt_recorder *r = recorder_in(dir, (tt_recorder_options){0});
    tt_record_base base = base_at(TT_SECONDS(1));
    tt_recorder_begin(r, &base);
    static tt_measurement m[TICKS][N + 1];
    tt_observations obs[TICKS];
    for (size_t t = 0; t < TICKS; t++) {
        size_t n = 0;
        for (size_t i = 0; i < N; i++) {
            /* Some are missing now and then, some change places, one is told twice. */
            size_t k = (t % 5 == 3) ? N - 1 - i : i;
            if (tt_model_random(1, t, k) < 0.1) continue;
            tt_measurement *x = &m[t][n++];
            *x = (tt_measurement){.signal = (uint32_t)(k % 3),
                                  .n_labels = k % (TT_LABELS_MAX + 1),
                                  .value = values[(k + t) % N],
                                  .at = {TT_SECONDS((int64_t)t + 1) - (int64_t)(k / 4) * 777}};
            for (size_t l = 0; l < x->n_labels; l++) {
                snprintf(names[l], sizeof names[l], "label%u", (unsigned)l % 10);
                x->labels[l] = (tt_label){tt_sv_of(names[l]), l % 2 ? TT_SV("") : TT_SV("a \"value\"\x01\xff")};
            }
            x->quality = k % 7 == 6 ? TT_Q_TOO_FEW_SAMPLES : TT_Q_OK;
            x->window_ns = k % 2 ? TT_SECONDS(30) : (int64_t)t;
        }
        if (t == 9) {
            m[t][n] = m[t][0];
            n++;
        }
        obs[t] = (tt_observations){.now = {TT_SECONDS((int64_t)t + 1) + 13},
                                   .wall = {1790000000000 + (int64_t)t * 999 - (t == 20 ? 3600000 : 0)},
                                   .n_measurements = n,
                                   .measurements = m[t]};
        tt_recorder_tick(r, &obs[t], &nothing);
    }
    tt_recorder_free(r);
    size_t size;
    char *file = only_file(dir, &size);
    tt_recording *rec = tt_recording_of((tt_sv){file, size});
    tt_record x;
    tt_err err;
    size_t t = 0;
    bool closed = false;
    for (tt_read got; (got = tt_recording_next(rec, &x, &err)) != TT_READ_END;) {
        if (got == TT_READ_BAD) fail_msg("%s", err.text);
        closed = closed || x.kind == TT_RECORD_CLOSE;
        if (x.kind != TT_RECORD_TICK) continue;
        const tt_observations *want = &obs[t++];
        assert_int_equal(x.tick.number, t);
        assert_int_equal(x.tick.obs.now.ns, want->now.ns);
        assert_int_equal(x.tick.obs.wall.ms, want->wall.ms);
        assert_int_equal(x.tick.obs.n_measurements, want->n_measurements);
        for (size_t i = 0; i < want->n_measurements; i++) {
            const tt_measurement *a = &want->measurements[i], *b = &x.tick.obs.measurements[i];
            assert_int_equal(a->signal, b->signal);
            assert_int_equal(bits(a->value), bits(b->value));
            assert_int_equal(a->at.ns, b->at.ns);
            assert_int_equal(a->quality, b->quality);
            assert_int_equal(a->window_ns, b->window_ns);
            assert_int_equal(a->n_labels, b->n_labels);
            for (size_t l = 0; l < a->n_labels; l++) {
                assert_true(tt_sv_eq(a->labels[l].name, b->labels[l].name));
                assert_true(tt_sv_eq(a->labels[l].value, b->labels[l].value));
            }
        }
    }
    assert_int_equal(t, TICKS);
    assert_true(closed);
    tt_recording_free(rec);
    free(file);
    remove_directory(dir);
}

static void the_rest_comes_back(void **state) {
    (void)state;
    char dir[256];
    temporary_directory(dir);
    tt_recorder *r = recorder_in(dir, (tt_recorder_options){0});
    tt_record_base base = base_at(5);
    base.saved = TT_SV("{\"format\":1}");
    base.snapshot = TT_SV("bytes\0and more");
    tt_recorder_begin(r, &base);
    const tt_poll polls[] = {{0, true, true, {NULL, 0}}, {200, false, false, TT_SV("connection refused")}};
    tt_alert alerts[] = {
        {.key = "fingerprint", .name = TT_SV("HighErrorRate"), .n_labels = 1, .labels = {{TT_SV("dc"), TT_SV("dc-a")}}, .firing = true},
        {.key = "x"}};
    tt_ack acks[] = {
        {.target = {"checkout", "dc-a", ""}, .epoch = 7, .version = 1042, .share = 0.97, .refused = true, .reason = TT_SV("10.0.0.1: too new")}};
    tt_command commands[] = {
        {.kind = TT_CMD_ABORT, .loop = "01J9ZC8Q6W3V2K5M7N8P9Q0R1S", .actor = TT_SV("op"), .reason = TT_SV("because")},
        {.kind = TT_CMD_UNFREEZE},
        {.kind = TT_CMD_LOAD_TEST, .test = {.service = "checkout", .dc = "dc-a", .step = 0.05, .max = 1.0 / 3, .hold_ns = TT_SECONDS(30)}},
                              {.kind = TT_CMD_PIN,
                               .loop = "01J9ZC8Q6W3V2K5M7N8P9Q0R1P",
                               .pin = {.target = {"checkout", "", ""},
                                       .kind = TT_ACT_WEIGHTS,
                                       .n_dcs = 2,
                                       .dcs = {"dc-a", "dc-b"},
                                       .shares = {0.3, 0.7},
                                       .for_ns = TT_SECONDS(60)}},
                              {.kind = TT_CMD_PIN, .pin = {.target = {"checkout", "dc-a", ""}, .kind = TT_ACT_DROP, .name = "batch", .value = (double)NAN, .for_ns = 5}},
                              {.kind = TT_CMD_UNPIN, .loop = "01J9ZC8Q6W3V2K5M7N8P9Q0R1P"}};
    tt_drift drifts[] = {{.target = {"checkout", "dc-a", ""}, .foreign = true, .share = 0.25, .what = TT_SV("10.0.0.9: 3 actions")}};
    static tt_decision decision = {.target = {"checkout", "dc-a", ""}, .epoch = 7, .version = 1042, .expire_after_ms = -1};
    static tt_event event = {.kind = "page", .reason = "a \"reason\"", .detail = "{\"a\":1}"};
    tt_observations obs = {.now = {10},
                           .wall = {-5},
                           .n_polls = 2,
                           .polls = polls,
                           .n_alerts = 2,
                           .alerts = alerts,
                           .n_acks = 1,
                           .acks = acks,
                           .n_commands = 6,
                           .commands = commands,
                           .n_drifts = 1,
                           .drifts = drifts,
                           .local = {true, 20780, 1439},
                           .utc = {true, -1, 7}};
    tt_outcome out = {1, &decision, 1, &event};
    const uint8_t hash[TT_RECORD_HASH_SIZE] = {1, 2, 3, [31] = 9};
    tt_recorder_tick(r, &obs, &out);
    tt_recorder_commit(r, 812, 5, hash);
    tt_recorder_rules(r, &rules, 12);
    tt_recorder_timing(r, 1, 2, 3);
    obs.n_alerts = obs.n_commands = obs.n_polls = obs.n_drifts = 0;
    tt_recorder_tick(r, &obs, &nothing); /* the same acknowledgements */
    obs.n_acks = 0;
    tt_recorder_tick(r, &obs, &nothing);
    tt_recorder_free(r);
    size_t size, tick = 0, at = 0;
    char *file = only_file(dir, &size);
    assert_memory_equal(file, "trimtab recording 1\n", 20);
    tt_recording *rec = tt_recording_of((tt_sv){file, size});
    tt_record x;
    tt_err err;
    static const tt_record_kind order[] = {TT_RECORD_BEGIN,    TT_RECORD_CONFIG, TT_RECORD_RULES,  TT_RECORD_SAVED,
                                           TT_RECORD_SNAPSHOT, TT_RECORD_TICK,   TT_RECORD_COMMIT, TT_RECORD_RULES,
                                           TT_RECORD_TIMING,   TT_RECORD_TICK,   TT_RECORD_TICK,   TT_RECORD_CLOSE};
    for (tt_read got; (got = tt_recording_next(rec, &x, &err)) != TT_READ_END; at++) {
        if (got == TT_READ_BAD) fail_msg("%s", err.text);
        assert_true(at < TT_COUNT(order));
        assert_int_equal(x.kind, order[at]);
        switch (x.kind) {
        case TT_RECORD_BEGIN:
            assert_string_equal(x.segment->head.version, "0.1.0");
            assert_string_equal(x.segment->head.build, "00ff");
            assert_int_equal(x.segment->head.epoch, 7);
            assert_int_equal(x.segment->head.segment, 1);
            assert_int_equal(x.segment->head.now_ns, 5);
            assert_int_equal(strlen(x.segment->head.run), 32);
            break;
        case TT_RECORD_CONFIG:
            assert_memory_equal(&x.config, &config, sizeof config);
            break;
        case TT_RECORD_RULES:
            assert_int_equal(x.rules_hash, at == 2 ? 0xdeadbeef : 12);
            assert_int_equal(x.rules.n, 1);
            assert_true(tt_sv_eq(x.rules.at[0].path, document.path) && tt_sv_eq(x.rules.at[0].text, document.text));
            break;
        case TT_RECORD_SAVED:
        case TT_RECORD_SNAPSHOT:
            assert_true(tt_sv_eq(x.text, x.kind == TT_RECORD_SAVED ? base.saved : base.snapshot));
            assert_int_equal(x.now.ns, 5);
            break;
        case TT_RECORD_TIMING:
            assert_true(x.timing.scrape_ns == 1 && x.timing.ingest_ns == 2 && x.timing.apply_ns == 3);
            break;
        case TT_RECORD_COMMIT:
            assert_true(x.commit.tick == 1 && x.commit.first_seq == 812 && x.commit.n == 5);
            assert_memory_equal(x.commit.hash, hash, sizeof hash);
            break;
        case TT_RECORD_TICK:
            tick++;
            assert_int_equal(x.tick.obs.n_acks, tick == 3 ? 0 : 1);
            if (x.tick.obs.n_acks) {
                const tt_ack *a = &x.tick.obs.acks[0];
                assert_true(tt_target_eq(&a->target, &acks[0].target));
                assert_true(a->epoch == 7 && a->version == 1042 && bits(a->share) == bits(0.97) && a->refused && tt_sv_eq(a->reason, acks[0].reason));
            }
            if (tick != 1) {
                assert_int_equal(x.tick.obs.n_alerts + x.tick.obs.n_commands + x.tick.obs.n_polls + x.tick.n_decisions + x.tick.n_events, 0);
                break;
            }
            assert_int_equal(x.tick.obs.wall.ms, -5);
            assert_int_equal(x.tick.obs.n_polls, 2);
            assert_true(x.tick.obs.polls[0].answered && x.tick.obs.polls[0].partial && !x.tick.obs.polls[1].answered &&
                        x.tick.obs.polls[1].signal == 200);
            assert_true(tt_sv_eq(x.tick.obs.polls[1].error, polls[1].error));
            assert_int_equal(x.tick.obs.n_alerts, 2);
            assert_string_equal(x.tick.obs.alerts[0].key, "fingerprint");
            assert_true(tt_sv_eq(x.tick.obs.alerts[0].name, alerts[0].name) && tt_sv_eq(x.tick.obs.alerts[0].labels[0].value, TT_SV("dc-a")) &&
                        x.tick.obs.alerts[0].firing);
            assert_int_equal(x.tick.obs.n_commands, 6);
            assert_memory_equal(&x.tick.obs.commands[2].test, &commands[2].test, sizeof commands[2].test);
            assert_string_equal(x.tick.obs.commands[0].loop, commands[0].loop);
            assert_true(tt_sv_eq(x.tick.obs.commands[0].actor, TT_SV("op")) && tt_sv_eq(x.tick.obs.commands[0].reason, TT_SV("because")));
            assert_int_equal(x.tick.obs.commands[1].kind, TT_CMD_UNFREEZE);
            const tt_pin_spec *weights = &x.tick.obs.commands[3].pin, *drop = &x.tick.obs.commands[4].pin;
            assert_memory_equal(weights, &commands[3].pin, sizeof *weights);
            assert_true(drop->kind == TT_ACT_DROP && isnan(drop->value) && drop->for_ns == 5 && strcmp(drop->name, "batch") == 0 &&
                        tt_target_eq(&drop->target, &commands[4].pin.target));
            assert_string_equal(x.tick.obs.commands[5].loop, commands[5].loop);
            assert_int_equal(x.tick.obs.n_drifts, 1);
            assert_true(x.tick.obs.drifts[0].foreign && bits(x.tick.obs.drifts[0].share) == bits(0.25) &&
                        tt_target_eq(&x.tick.obs.drifts[0].target, &drifts[0].target) && tt_sv_eq(x.tick.obs.drifts[0].what, drifts[0].what));
            assert_true(x.tick.obs.local.known && x.tick.obs.local.day == 20780 && x.tick.obs.local.minute == 1439);
            assert_true(x.tick.obs.utc.known && x.tick.obs.utc.day == -1 && x.tick.obs.utc.minute == 7);
            assert_true(x.tick.n_decisions == 1 && x.tick.n_events == 1);
            assert_non_null(memmem(x.tick.decisions[0].p, x.tick.decisions[0].n, "\"version\":1042", 14));
            assert_non_null(memmem(x.tick.events[0].p, x.tick.events[0].n, "a \\\"reason\\\"", 12));
            break;
        default:
            break;
        }
    }
    assert_int_equal(at, TT_COUNT(order));
    tt_recording_free(rec);
    free(file);
    remove_directory(dir);
}

/* ---- damage ---- */

enum { SERIES = 40, TICKS = 60 };

static void tick_number(tt_recorder *r, uint64_t i) {
    static tt_measurement m[SERIES];
    static char names[SERIES][16];
    for (size_t k = 0; k < SERIES; k++) {
        snprintf(names[k], sizeof names[k], "service%zu", k);
        m[k] = (tt_measurement){
            .n_labels = 1, .labels = {{TT_SV("service"), tt_sv_of(names[k])}}, .value = tt_model_random(i, k, 0), .at = {TT_SECONDS((int64_t)i)}};
    }
    static tt_event event = {.kind = "page", .reason = "x"};
    const tt_observations obs = {
        .now = {TT_SECONDS((int64_t)i)}, .wall = {1790000000000 + (int64_t)i * 1000}, .n_measurements = SERIES, .measurements = m};
    const tt_outcome out = {0, NULL, 1, &event};
    tt_recorder_tick(r, &obs, &out);
}

static char *sample(size_t *ret_n) {
    char dir[256];
    temporary_directory(dir);
    tt_recorder *r = recorder_in(dir, (tt_recorder_options){0});
    tt_record_base base = base_at(5);
    tt_recorder_begin(r, &base);
    for (uint64_t i = 1; i <= TICKS; i++) {
        tick_number(r, i);
        tt_recorder_sync(r); /* a frame each */
    }
    tt_recorder_free(r);
    char *p = only_file(dir, ret_n);
    remove_directory(dir);
    return p;
}

typedef struct {
    uint64_t ticks, wrong;
    bool bad, torn, closed;
    tt_err err;
} outcome;

static outcome read_through(const char *p, size_t n) {
    outcome o = {0};
    tt_recording *rec = tt_recording_of((tt_sv){p, n});
    tt_record x;
    for (tt_read got; (got = tt_recording_next(rec, &x, &o.err)) != TT_READ_END;) {
        o.bad = o.bad || got == TT_READ_BAD;
        if (got == TT_READ_BAD) continue;
        o.torn = o.torn || x.kind == TT_RECORD_TORN;
        o.closed = o.closed || x.kind == TT_RECORD_CLOSE;
        if (x.kind != TT_RECORD_TICK) continue;
        o.ticks++;
        bool good = x.tick.number == o.ticks && x.tick.obs.now.ns == TT_SECONDS((int64_t)o.ticks) && x.tick.obs.n_measurements == SERIES;
        for (size_t k = 0; good && k < SERIES; k++) good = x.tick.obs.measurements[k].value == tt_model_random(o.ticks, k, 0);
        o.wrong += !good;
    }
    tt_recording_free(rec);
    return o;
}

static void a_torn_tail_is_said_and_read_up_to(void **state) {
    (void)state;
    size_t n;
    char *p = sample(&n);
    outcome whole = read_through(p, n);
    assert_true(whole.ticks == TICKS && whole.closed && !whole.bad && !whole.torn && !whole.wrong);
    uint64_t before = 0, boundaries = 0;
    for (size_t cut = 0; cut < n; cut++) {
        outcome o = read_through(p, cut);
        assert_false(o.bad);
        assert_int_equal(o.wrong, 0);
        assert_true(o.ticks >= before && o.ticks <= TICKS);
        assert_false(o.closed);
        boundaries += !o.torn; /* between two frames nothing is missing but the end */
        before = o.ticks;
    }
    assert_in_range(boundaries, TICKS, TICKS + 3);
    /* A power cut leaves zeros where the file's length was ahead of its bytes. */
    char *zeros = calloc(1, n + 5000);
    memcpy(zeros, p, n / 2);
    outcome o = read_through(zeros, n + 5000);
    assert_true(o.torn && !o.bad && !o.wrong && o.ticks > 0);
    free(zeros);
    free(p);
}

static void a_flipped_bit_is_found(void **state) {
    (void)state;
    size_t n;
    uint64_t bad = 0, torn = 0;
    char *p = sample(&n);
    for (size_t at = 0; at < n; at++) {
        unsigned bit = 1u << (at * 7 % 8);
        p[at] = (char)((unsigned char)p[at] ^ bit);
        outcome o = read_through(p, n);
        assert_int_equal(o.wrong, 0);
        assert_true(o.bad || o.torn);
        if (o.bad) assert_non_null(strstr(o.err.text, "memory: "));
        bad += o.bad;
        torn += o.torn;
        p[at] = (char)((unsigned char)p[at] ^ bit);
    }
    assert_true(bad > torn); /* only what hits the last frame, or makes a length reach behind the end, looks torn */
    free(p);
}

static void damage_says_where(void **state) {
    (void)state;
    size_t n;
    char *p = sample(&n);
    p[n / 2] = (char)~p[n / 2];
    outcome o = read_through(p, n);
    assert_true(o.bad && o.ticks > 10 && o.ticks < TICKS);
    unsigned long at = 0;
    assert_int_equal(sscanf(o.err.text, "memory: damaged at byte %lu: a frame's checksum does not hold", &at), 1);
    assert_in_range(at, n / 2 - 2000, n / 2);
    assert_true(read_through("hello", 5).bad);
    assert_true(read_through("trimtab rec", 11).torn);
    assert_true(read_through("", 0).torn);
    free(p);
}

/* ---- files ---- */

static uint64_t bytes_in(const char *dir, size_t *ret_n) {
    char *names[4096];
    uint64_t sum = 0;
    *ret_n = list_files(dir, names, 4096);
    for (size_t i = 0; i < *ret_n; i++) {
        struct stat st;
        if (stat(names[i], &st) == 0) sum += (uint64_t)st.st_size;
        free(names[i]);
    }
    return sum;
}

static void the_oldest_segments_go(void **state) {
    (void)state;
    char dir[256];
    temporary_directory(dir);
    tt_recorder *r = recorder_in(dir, (tt_recorder_options){.max_bytes = 4 << 20, .segment_bytes = 256 << 10});
    tt_record_base base = base_at(5);
    size_t n;
    uint64_t most = 0;
    for (uint64_t i = 1; i <= 30000; i++) {
        base.now.ns = TT_SECONDS((int64_t)i);
        base.wall.ms += 1000;
        if (tt_recorder_wants_segment(r, base.now)) tt_recorder_begin(r, &base);
        tick_number(r, i);
        if (i % 500 == 0) {
            tt_recorder_sync(r);
            uint64_t now = bytes_in(dir, &n);
            if (now > most) most = now;
        }
    }
    tt_recorder_status st;
    tt_recorder_sync(r);
    tt_recorder_status_of(r, &st);
    assert_true(st.on && st.ticks == 30000 && st.missed == 0);
    assert_true(st.bytes > 6 << 20); /* more than is kept */
    assert_in_range(most, 3 << 20, (4 << 20) + (256 << 10));
    assert_true(st.since_ms > 1790000000000);
    tt_recorder_free(r);
    /* What is kept is whole, in order, without a gap. */
    tt_err err;
    tt_recording *rec = tt_recording_open(dir, &err);
    assert_non_null(rec);
    tt_record x;
    uint64_t last = 0, segments = 0;
    for (tt_read got; (got = tt_recording_next(rec, &x, &err)) != TT_READ_END;) {
        assert_int_equal(got, TT_READ_OK);
        segments += x.kind == TT_RECORD_BEGIN;
        if (x.kind != TT_RECORD_TICK) continue;
        assert_true(last == 0 || x.tick.number == last + 1);
        last = x.tick.number;
    }
    assert_int_equal(last, 30000);
    assert_true(segments > 8);
    tt_recording_free(rec);
    remove_directory(dir);
}

static void old_segments_go_by_age(void **state) {
    (void)state;
    char dir[256], *names[8];
    temporary_directory(dir);
    for (int run = 0; run < 3; run++) {
        tt_recorder *r = recorder_in(dir, (tt_recorder_options){.keep_ns = TT_SECONDS(3600)});
        tt_record_base base = base_at(5);
        base.wall.ms += run * 1000;
        tt_recorder_begin(r, &base);
        tick_number(r, 1);
        tt_recorder_free(r);
        size_t n = list_files(dir, names, 8);
        assert_int_equal(n, run == 2 ? 2 : run + 1);
        /* After the second run the first one's file turns two hours old. */
        const struct timespec old[2] = {{.tv_sec = time(NULL) - 7200}, {.tv_sec = time(NULL) - 7200}};
        if (run == 1) assert_int_equal(utimensat(-1, names[0], old, 0), 0);
        while (n) free(names[--n]);
    }
    remove_directory(dir);
}

static void wait_until_stopped(tt_recorder *r, tt_recorder_status *st) {
    for (uint64_t i = 1; i < 20000; i++) {
        tick_number(r, i);
        if (i % 100 == 0) tt_recorder_sync(r);
        tt_recorder_status_of(r, st);
        if (!st->on) return;
    }
    fail_msg("it still records");
}

static void a_full_disk_stops_the_recording_alone(void **state) {
    (void)state;
    char dir[256];
    struct rlimit was, small = {300000, 0};
    temporary_directory(dir);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    small.rlim_max = was.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    tt_recorder *r = recorder_in(dir, (tt_recorder_options){0});
    tt_record_base base = base_at(5);
    tt_recorder_status st;
    tt_recorder_begin(r, &base);
    wait_until_stopped(r, &st);
    setrlimit(RLIMIT_FSIZE, &was);
    assert_non_null(strstr(st.error, "no room for the recording in "));
    assert_non_null(strstr(st.error, "File too large"));
    uint64_t recorded = st.ticks;
    tick_number(r, 1);
    tt_recorder_status_of(r, &st);
    assert_true(st.missed >= 1 && st.ticks >= recorded); /* the writer may still have been counting what it had before */
    /* Half a minute later it is tried again. */
    assert_false(tt_recorder_wants_segment(r, (tt_time){TT_SECONDS(100)}));
    assert_false(tt_recorder_wants_segment(r, (tt_time){TT_SECONDS(129)}));
    assert_true(tt_recorder_wants_segment(r, (tt_time){TT_SECONDS(130)}));
    tt_recorder_begin(r, &base);
    tick_number(r, 2);
    tt_recorder_sync(r);
    tt_recorder_status_of(r, &st);
    assert_true(st.on && !*st.error);
    tt_recorder_free(r);
    /* The first segment ends with its last whole frame, the second is whole. */
    tt_err err;
    tt_recording *rec = tt_recording_open(dir, &err);
    tt_record x;
    uint64_t ticks = 0, closed = 0;
    for (tt_read got; (got = tt_recording_next(rec, &x, &err)) != TT_READ_END;) {
        assert_int_equal(got, TT_READ_OK);
        ticks += x.kind == TT_RECORD_TICK;
        closed += x.kind == TT_RECORD_CLOSE;
        assert_int_not_equal(x.kind, TT_RECORD_TORN);
    }
    assert_true(ticks > 100 && ticks <= recorded + 1);
    assert_int_equal(closed, 1);
    tt_recording_free(rec);
    remove_directory(dir);
}

static void space_is_left_to_others(void **state) {
    (void)state;
    char dir[256];
    temporary_directory(dir);
    tt_recorder *r = recorder_in(dir, (tt_recorder_options){.spare_bytes = 1ull << 60});
    tt_record_base base = base_at(5);
    tt_recorder_status st;
    tt_recorder_begin(r, &base);
    wait_until_stopped(r, &st);
    assert_non_null(strstr(st.error, "are left to others"));
    tt_recorder_free(r);
    remove_directory(dir);
}

static void a_directory_that_cannot_be_used_is_said(void **state) {
    (void)state;
    tt_err err;
    tt_recorder_options opt = {.dir = "/proc/none", .max_bytes = 1 << 30};
    assert_null(tt_recorder_new(&opt, &err));
    assert_non_null(strstr(err.text, "/proc/none"));
    opt.dir = "/dev/null";
    assert_null(tt_recorder_new(&opt, &err));
    assert_non_null(strstr(err.text, "is not a directory"));
    opt.dir = "";
    assert_null(tt_recorder_new(&opt, &err));
    assert_null(tt_recording_open("/nonexistent", &err));
    assert_null(tt_recording_open("/tmp/..", &err));
    assert_non_null(strstr(err.text, "holds no recording"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(measurements_come_back),
        cmocka_unit_test(the_rest_comes_back),
        cmocka_unit_test(a_torn_tail_is_said_and_read_up_to),
        cmocka_unit_test(a_flipped_bit_is_found),
        cmocka_unit_test(damage_says_where),
        cmocka_unit_test(the_oldest_segments_go),
        cmocka_unit_test(old_segments_go_by_age),
        cmocka_unit_test(a_full_disk_stops_the_recording_alone),
        cmocka_unit_test(space_is_left_to_others),
        cmocka_unit_test(a_directory_that_cannot_be_used_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
