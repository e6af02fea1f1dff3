/* What the engine's tables find is what a walk over everything finds; and what is packed is what was put in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine_internal.h"
#include "hand.h"

static uint64_t seed = 1;
static uint32_t dice(uint32_t n) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 33) % n;
}

/* ---- index ---- */

enum { PLACES = 300 };

static void the_index_finds_what_is_in_it(void **state) {
    (void)state;
    for (uint32_t spread = 1; spread <= 1u << 20; spread <<= 4) { /* from all under one hash to hardly two */
        tt_index ix = {0};
        uint64_t hash[PLACES];
        bool in[PLACES] = {false};
        for (int step = 0; step < 4000; step++) {
            uint32_t i = dice(PLACES);
            if (in[i] && dice(8) == 0) {
                uint32_t k = dice(PLACES);
                if (in[k]) continue;
                hash[k] = hash[i];
                tt_index_move(&ix, hash[i], i, k);
                in[k] = true;
                in[i] = false;
            } else if (in[i]) {
                tt_index_drop(&ix, hash[i], i);
                in[i] = false;
            } else {
                hash[i] = tt_hash_mix(7, dice(spread));
                assert_true(tt_index_add(&ix, hash[i], i));
                in[i] = true;
            }
            tt_index_drop(&ix, tt_hash_mix(7, dice(spread)), PLACES); /* never put in */
            if (step % 50) continue;
            for (uint32_t h = 0; h < (spread < 64 ? spread : 64); h++) {
                uint64_t of = tt_hash_mix(7, h);
                bool seen[PLACES] = {false};
                tt_index_walk w;
                for (uint32_t k = tt_index_first(&ix, of, &w); k != TT_NOWHERE; k = tt_index_next(&w)) {
                    assert_true(k < PLACES && in[k] && !seen[k]);
                    seen[k] = true;
                }
                for (uint32_t k = 0; k < PLACES; k++)
                    if (in[k] && hash[k] == of) assert_true(seen[k]);
                uint32_t guess = tt_index_guess(&ix, of);
                if (guess != TT_NOWHERE) assert_true(in[guess]);
            }
        }
        tt_index_clear(&ix);
        tt_index_walk w;
        assert_int_equal(tt_index_first(&ix, hash[0], &w), TT_NOWHERE);
        tt_index_free(&ix);
    }
}

/* ---- history ---- */

static void a_history_holds_the_newest_rows(void **state) {
    (void)state;
    static const int rows[] = {0, 1, 59, 60, 61, 599, 600, 601, 659, 660, 661, 1234};
    for (size_t t = 0; t < TT_COUNT(rows); t++) {
        enum { N = 5 };
        tt_history h = {0};
        int64_t *wall = calloc(2000, sizeof *wall);
        float(*v)[N] = calloc(2000, sizeof *v);
        unsigned phase[2000];
        int64_t now = 1790000000000;
        for (int i = 0; i < rows[t]; i++) {
            uint32_t jump = dice(100);
            now += jump == 0 ? -3600000 : jump == 1 ? 100000000 : 900 + (int64_t)dice(200);
            wall[i] = now;
            phase[i] = (unsigned)i / 100 % 7;
            v[i][0] = dice(20) ? (float)dice(1000000) / 997 : NAN;
            v[i][1] = (float)dice(1025); /* whole: exact */
            v[i][2] = 42;                /* does not change */
            v[i][3] = i < 300 ? NAN : -0.125f;
            v[i][4] = i % 2 ? 3e38f : 1e-30f; /* beyond what is told apart */
            tt_history_add(&h, wall[i], phase[i], v[i], N);
        }
        int expected = rows[t] < TT_HISTORY_MAX ? rows[t] : TT_HISTORY_MAX, i = rows[t] - expected;
        assert_int_equal(tt_history_rows(&h), expected);
        tt_history_walk w = {0};
        for (; tt_history_next(&h, &w); i++) {
            assert_true(i < rows[t]);
            assert_true(w.r.wall_ms == wall[i]);
            assert_int_equal(w.r.phase, phase[i]);
            if (isnan(v[i][0]))
                assert_true(isnan(w.r.v[0]));
            else
                assert_true(fabsf(w.r.v[0] - v[i][0]) <= 0.001f * v[i][0]);
            assert_true(w.r.v[1] == v[i][1]);
            assert_true(w.r.v[2] == 42);
            assert_true(i < 300 ? isnan(w.r.v[3]) : w.r.v[3] == -0.125f);
            assert_true(i % 2 ? w.r.v[4] > 2e9f && isfinite(w.r.v[4]) : w.r.v[4] == 0);
        }
        assert_int_equal(i, rows[t]);
        tt_history_forget(&h);
        assert_int_equal(tt_history_rows(&h), 0);
        free(wall);
        free(v);
    }
}

/* ---- series ---- */

static const char *const values[] = {"a", "b", "c"};

static size_t some_labels(tt_label l[TT_LABELS_MAX], bool same_names) {
    static const char *const names[] = {"instance", "dc", "priority", "service", "zone"};
    size_t n = 0;
    for (size_t i = 0; i < TT_COUNT(names); i++)
        if (same_names ? i != 4 : dice(3) > 0) l[n++] = (tt_label){tt_sv_of(names[i]), dice(20) == 0 ? TT_SV("") : tt_sv_of(values[dice(3)])};
    for (size_t i = n; i > 1; i--) { /* in any order */
        size_t k = dice((uint32_t)i);
        tt_label x = l[k];
        l[k] = l[i - 1];
        l[i - 1] = x;
    }
    return n;
}

static bool agrees_with(const tt_series *s, tt_sv name, tt_sv want) {
    tt_sv v = tt_labels_get(&s->labels, name);
    return !want.n || !v.p || tt_sv_eq(v, want);
}

static bool fits(const tt_series *s, const tt_where *w) {
    bool ok = agrees_with(s, TT_SV("service"), w->service) && agrees_with(s, TT_SV("dc"), w->dc) && agrees_with(s, TT_SV("instance"), w->instance) &&
              agrees_with(s, TT_SV("priority"), w->priority);
    for (uint32_t i = 0; w->more && i < w->more->n; i++) ok = ok && agrees_with(s, w->more->l[i].name, w->more->l[i].value);
    return ok;
}

/* As the header says it: those nearest to what is asked, the exact service and dc first. */
static tt_reading by_walking(const tt_engine *e, uint32_t signal, const tt_where *w) {
    const tt_sv none = {NULL, 0};
    const tt_sv places[4][2] = {{w->service, w->dc}, {w->service, none}, {none, w->dc}, {none, none}};
    bool anywhere = !w->service.n || !w->dc.n;
    for (int c = 0; c < (anywhere ? 1 : 4); c++) {
        tt_reading r = {.known = false};
        uint32_t n = 0;
        bool hole = false;
        for (uint32_t i = 0; i < e->series.n; i++) {
            const tt_series *s = &e->series.s[i];
            if (!s->used || s->signal != signal || !fits(s, w)) continue;
            tt_sv service = tt_labels_get(&s->labels, TT_SV("service")), dc = tt_labels_get(&s->labels, TT_SV("dc"));
            if (!anywhere && (!tt_sv_eq(service, places[c][0]) || !tt_sv_eq(dc, places[c][1]))) continue;
            if (tt_series_quality(e, s) != TT_Q_OK) {
                bool down = e->series.down[signal], told = s->round == e->series.round[signal] && !down;
                hole |= e->rules->signals[signal].across == TT_ACROSS_SUM &&
                        (told || (s->at.ns > 0 && tt_since(e->now, s->at) <= (down ? 2 : 1) * tt_series_max_age(e, signal)));
                continue;
            }
            if (!n)
                r.value = s->value;
            else if (e->rules->signals[signal].across == TT_ACROSS_SUM)
                r.value += s->value;
            else
                r.value = fmax(r.value, s->value);
            n++;
        }
        r.known = n && !hole;
        if (n || hole) return r;
    }
    return (tt_reading){.known = false};
}

static void check_readings(const tt_engine *e) {
    uint32_t used = 0;
    for (uint32_t i = 0; i < e->series.n; i++) {
        const tt_series *s = &e->series.s[i];
        if (!s->used) continue;
        used++;
        assert_ptr_equal(tt_series_find((tt_engine *)e, s->signal, &s->labels), s);
        tt_where w = tt_series_where(e, s), other = tt_where_of(&s->labels);
        for (uint32_t k = 0; k < e->rules->n_signals; k++) {
            tt_reading a = tt_read_signal(e, (int)k, &w), b = by_walking(e, k, &w), c = tt_read_signal(e, (int)k, &other);
            assert_true(a.known == b.known && c.known == b.known);
            if (a.known) assert_true(fabs(a.value - b.value) < 1e-6 && fabs(c.value - b.value) < 1e-6);
        }
    }
    assert_int_equal(used, e->series.n_used);
    for (int i = 0; i < 40; i++) {
        tt_sv pick[4];
        for (int k = 0; k < 4; k++) pick[k] = dice(2) ? tt_sv_of(values[dice(3)]) : (tt_sv){NULL, 0};
        tt_where w = {.service = pick[0], .dc = pick[1], .instance = pick[2], .priority = pick[3]};
        for (uint32_t k = 0; k < e->rules->n_signals; k++) {
            tt_reading a = tt_read_signal(e, (int)k, &w), b = by_walking(e, k, &w);
            assert_true(a.known == b.known);
            if (a.known) assert_true(fabs(a.value - b.value) < 1e-6);
        }
    }
}

static void readings_are_those_of_a_walk(void **state) {
    (void)state;
    static const char rules[] =
        "signals:\n  - {name: x_rps, query: x, every: 10s}\n  - {name: y_ms, query: y, every: 10s}\n  - {name: z_rps, query: z, every: 10s}\n";
    static const char again[] =
        "signals:\n  - {name: y_ms, query: y, every: 10s}\n  - {name: w_rps, query: w, every: 10s}\n  - {name: x_rps, query: x, every: 10s}\n";
    for (int run = 0; run < 12; run++) {
        hand h;
        assert_true(hand_open(&h, rules));
        tt_engine *e = h.engine;
        tt_measurement m[64];
        tt_label l[64][TT_LABELS_MAX];
        tt_time now = {TT_SECONDS(100000)};
        uint32_t most = 0;
        for (int tick = 0; tick < 160; tick++) {
            now.ns += TT_SECONDS(20);
            size_t n = tick / 40 % 2 ? 0 : dice(40); /* long enough away to be forgotten */
            for (size_t i = 0; i < n; i++) {
                m[i] = (tt_measurement){.signal = dice(3), .value = dice(30) ? (double)dice(1000) : NAN, .at = {now.ns - TT_SECONDS(dice(60))}};
                m[i].n_labels = some_labels(l[i], m[i].signal == 1);
                memcpy(m[i].labels, l[i], sizeof l[i]);
            }
            tt_poll polls[3];
            for (uint32_t i = 0; i < 3; i++) polls[i] = (tt_poll){.signal = i, .answered = dice(10) > 0, .partial = dice(2) > 0};
            tt_observations obs = {.now = now, .n_polls = dice(4) ? 3 : 0, .polls = polls, .n_measurements = n, .measurements = m};
            tt_outcome out;
            tt_engine_tick(e, &obs, &out);
            if (e->series.n_used > most) most = e->series.n_used;
            if (tick == 70 || tick == 130) assert_true(hand_reload(&h, tick == 70 ? again : rules));
            if (tick % 8 == 0) check_readings(e);
        }
        assert_true(most > 50 && e->series.n_used < most); /* some were forgotten */
        hand_close(&h);
    }
}

/* ---- what is in force ---- */

static void a_decision_is_unpacked_as_it_was_packed(void **state) {
    (void)state;
    tt_loop loops[2] = {{.id = "01ARZ3NDEKTSV4RRFFQ69G5FAV"}, {.id = "01ARZ3NDEKTSV4RRFFQ69G5FAW"}};
    tt_wish w = {.armed = true, .n_loops = 2, .n_actions = 2, .n_names = 2, .expire_after_ms = 600000, .decay_over_ms = -1};
    w.loops[0] = &loops[0];
    w.loops[1] = &loops[1];
    w.actions[0] = (tt_wish_act){TT_ACT_LIMIT, "", 123.5, 0};
    w.actions[1] = (tt_wish_act){TT_ACT_DEGRADE, "recommendations", 2, 0.02};
    w.names[0] = "critical";
    w.names[1] = "normal";
    w.shares[1] = 0.25;
    tt_buf a, b;
    tt_buf_init(&a, 1 << 16);
    tt_buf_init(&b, 1 << 16);
    size_t told = tt_wish_pack(&w, &a);
    tt_decision d;
    tt_wish_unpack(a.p, &d);
    assert_true(d.armed && d.n_loops == 2 && d.n_actions == 2 && d.n_names == 2);
    assert_string_equal(d.loops[1], loops[1].id);
    assert_int_equal(d.actions[0].kind, TT_ACT_LIMIT);
    assert_true(d.actions[0].value == 123.5 && d.actions[1].probe_ratio == 0.02);
    assert_string_equal(d.actions[1].name, "recommendations");
    assert_string_equal(d.names[1], "normal");
    assert_true(d.shares[1] == 0.25 && d.expire_after_ms == 600000 && d.decay_over_ms == -1);
    /* Who wants it and how long it stands is no new content; what is done is. */
    w.n_loops = 1;
    w.expire_after_ms = -1;
    assert_int_equal(tt_wish_pack(&w, &b), told);
    assert_memory_equal(a.p, b.p, told);
    w.actions[0].value = 123.25;
    assert_int_equal(tt_wish_pack(&w, &b), told);
    assert_memory_not_equal(a.p, b.p, told);
    tt_wish_unpack(NULL, &d);
    assert_true(d.n_actions == 0 && d.expire_after_ms == -1);
    tt_buf_free(&a);
    tt_buf_free(&b);
}

static const char ceiling_rules[] =
    "services: [{name: front, dcs: [dc-a, dc-b, dc-c, dc-d]}]\n"
    "signals:\n  - {name: error_ratio, query: e, every: 1s}\n  - {name: offered_rps, query: o, every: 1s}\n  - {name: ok_rps, query: k, every: 1s}\n"
    "  - {name: utilization, query: u, every: 1s}\n"
    "anomalies:\n  - {name: failing, when: error_ratio > 5%}\n"
    "plans:\n  - name: shed\n    on: {anomaly: failing, labels: {dc: /^(?<dc>.+)$/}}\n    mode: auto\n    target: {service: front, dc: $dc}\n"
    "    keep: [error_ratio <= 1%]\n    steps:\n      - limit: {by: measured_capacity}\n    recover: {after: 5s, step: 50%, every: 1s}\n"
    "guardrails: {max_concurrent_loops: 4, most_targets_bad: {share: 100%, at_least: 100, then: freeze}}\n";

static void load_of(hand *h, const char *dc, bool over) {
    char labels[64];
    snprintf(labels, sizeof labels, "service=front dc=%s", dc);
    hand_set(h, "error_ratio", labels, over ? 0.5 : 0);
    hand_set(h, "offered_rps", labels, over ? 200 : 20);
    hand_set(h, "ok_rps", labels, over ? 100 : 20);
    hand_set(h, "utilization", labels, over ? 1 : 0.2);
}

static void targets_have_a_ceiling_that_is_told(void **state) {
    (void)state;
    hand h;
    assert_true(hand_open(&h, ceiling_rules));
    h.cfg.max_targets = 2;
    tt_engine_free(h.engine);
    h.engine = tt_engine_new(h.rules, &h.cfg);
    static const char *const dcs[] = {"dc-a", "dc-b", "dc-c", "dc-d"};
    for (int i = 0; i < 4; i++) load_of(&h, dcs[i], i < 3);
    hand_run(&h, 20);
    assert_int_equal(hand_said(&h, "limit_reached", "decisions for 2 targets are in force, the ceiling"), 1);
    const tt_decision *d;
    assert_int_equal(tt_engine_decisions(h.engine, &d), 2);
    hand_close(&h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_index_finds_what_is_in_it),       cmocka_unit_test(a_history_holds_the_newest_rows),
        cmocka_unit_test(readings_are_those_of_a_walk),        cmocka_unit_test(a_decision_is_unpacked_as_it_was_packed),
        cmocka_unit_test(targets_have_a_ceiling_that_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
