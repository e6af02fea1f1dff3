/* What is remembered of a series, against sums done by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "track.h"

#define S(s) TT_SECONDS(s)
static const int64_t boot_ns = TT_SECONDS(1000);

static tt_time at(double s) {
    return (tt_time){boot_ns + (int64_t)(s * 1e9)};
}
static bool near(double a, double b) {
    return fabs(a - b) <= 1e-6 * fmax(1, fabs(b));
}

/* ---- median and MAD ---- */

static void medians(void **state) {
    (void)state;
    static const struct {
        double x[9];
        size_t n;
        double median, mad;
    } rows[] = {
        {{0}, 0, 0, 0},
        {{7}, 1, 7, 0},
        {{1, 2}, 2, 1.5, 0.5},
        {{1, 1, 2, 2, 4, 6, 9}, 7, 2, 1}, /* distances 1 1 0 0 2 4 7 */
        {{9, 6, 1, 4, 2, 2, 1}, 7, 2, 1},
        {{1, 2, 3, 4}, 4, 2.5, 1}, /* 1.5 .5 .5 1.5 */
        {{5, 5, 5, 5, 100}, 5, 5, 0},
        {{-3, 0, 3}, 3, 0, 3},
    };
    for (size_t i = 0; i < TT_COUNT(rows); i++) {
        double x[9];
        memcpy(x, rows[i].x, sizeof x);
        double m = tt_median(x, rows[i].n), mad = tt_mad_sorted(x, rows[i].n, SIZE_MAX, m);
        if (m != rows[i].median || mad != rows[i].mad) fail_msg("row %zu: median %g, MAD %g", i, m, mad);
    }
}

/* Against the plain way, for every member left out and centers in and outside. */
static void mad_without_one(void **state) {
    (void)state;
    uint32_t seed = 1;
    for (int round = 0; round < 3000; round++) {
        double x[16], rest[16];
        size_t n = 1 + (seed >> 8) % 15;
        for (size_t i = 0; i < n; i++) {
            seed = seed * 1664525u + 1013904223u;
            x[i] = (double)((seed >> 16) % 12);
        }
        tt_median(x, n);
        for (size_t skip = 0; skip <= n; skip++) {
            size_t m = 0;
            double center = (double)((seed >> 20) % 14) - 1;
            for (size_t i = 0; i < n; i++)
                if (i != skip) rest[m++] = fabs(x[i] - center);
            double want = tt_median(rest, m), got = tt_mad_sorted(x, n, skip, center);
            if (want != got) fail_msg("round %d: %zu values without %zu around %g: %g, not %g", round, n, skip, center, got, want);
        }
    }
}

static void judging(void **state) {
    (void)state;
    const double none = NAN;
    static const tt_truth F = TT_FALSE, T = TT_TRUE, U = TT_UNKNOWN;
    const struct {
        double expected, scale, value;
        tt_deviates d;
        tt_truth when, clear;
        double threshold;
    } rows[] = {
        {100, 5, 121, {4, 2, 1, TT_ABOVE}, T, F, 20},  {100, 5, 119, {4, 2, 1, TT_ABOVE}, F, F, 20}, /* between: what is open stays, what is not does
                                                                                                        not open */
        {100, 5, 110, {4, 2, 1, TT_ABOVE}, F, T, 20},  {100, 5, 60, {4, 2, 1, TT_ABOVE}, F, T, 20},       {100, 5, 60, {4, 2, 1, TT_BELOW}, T, F, 20},
        {100, 5, 60, {4, 2, 1, TT_BOTH}, T, F, 20},    {100, 0, 130, {4, 2, 50, TT_ABOVE}, F, F, 50},   /* constant: the least difference decides */
        {100, 0, 151, {4, 2, 50, TT_ABOVE}, T, F, 50}, {100, 0, 111, {4, 2, none, TT_ABOVE}, T, F, 10}, /* by default a tenth */
        {0, 0, 1, {4, 2, none, TT_ABOVE}, U, U, 0},                                                     /* of nothing is nothing */
        {0, 0, 1, {4, 2, 0.5, TT_ABOVE}, T, F, 0.5},   {none, none, 1, {4, 2, 0.5, TT_ABOVE}, U, U, 0.5},
    };
    for (size_t i = 0; i < TT_COUNT(rows); i++) {
        tt_deviation v = {.expected = rows[i].expected, .scale = rows[i].scale};
        tt_deviation_judge(&v, &rows[i].d, rows[i].value);
        if (v.when != rows[i].when || v.clear != rows[i].clear || !near(v.threshold, rows[i].threshold))
            fail_msg("row %zu: when %d, clear %d, threshold %g", i, v.when, v.clear, v.threshold);
    }
}

/* ---- the recent past ---- */

typedef struct {
    tt_track_def d;
    tt_past *p;
} past;

static past past_of(tt_track_kind kind, int64_t span_ns, int64_t every_ns) {
    past x = {.d = {.kind = kind, .span_ns = span_ns, .every_ns = every_ns, .slots = tt_past_slots(span_ns, every_ns)}};
    x.p = calloc(1, sizeof(tt_past) + x.d.slots * sizeof(tt_past_slot));
    return x;
}

static void looking_back(void **state) {
    (void)state;
    double v = -1;
    /* 10 more each 5 s: 60 more in 30 s */
    past c = past_of(TT_TRACK_CHANGE, S(30), S(5));
    for (int i = 0; i <= 6; i++) {
        assert_false(tt_past_read(c.p, &c.d, &v) && i * 5 - 5 < 22); /* not before three quarters of the span are seen */
        tt_past_take(c.p, &c.d, 4 * c.d.every_ns, at(i * 5), 10.0 * i);
    }
    assert_true(tt_past_read(c.p, &c.d, &v) && v == 60);
    tt_past_take(c.p, &c.d, 4 * c.d.every_ns, at(30), 1e9); /* the same instant again, and one that is late */
    tt_past_take(c.p, &c.d, 4 * c.d.every_ns, at(3), 1e9);
    assert_true(tt_past_read(c.p, &c.d, &v) && v == 60);
    /* After a gap nobody knows what was 30 s ago... */
    tt_past_take(c.p, &c.d, 4 * c.d.every_ns, at(100), 7);
    assert_false(tt_past_read(c.p, &c.d, &v));
    tt_past_take(c.p, &c.d, 4 * c.d.every_ns, at(120), 8);
    assert_false(tt_past_read(c.p, &c.d, &v));
    /* ... until there is such a thing again. */
    tt_past_take(c.p, &c.d, 4 * c.d.every_ns, at(130), 9);
    assert_true(tt_past_read(c.p, &c.d, &v) && v == 2);
    free(c.p);

    /* A counter: 5 a second, starting again from 0 twice. 100 110 | 5 15 | 2 12: rises 10, 5, 10, 2, 10 in 10 s */
    past r = past_of(TT_TRACK_RATE, S(10), S(2));
    static const double counter[] = {100, 110, 5, 15, 2, 12};
    for (int i = 0; i < 6; i++) tt_past_take(r.p, &r.d, 4 * r.d.every_ns, at(2 * i), counter[i]);
    assert_true(tt_past_read(r.p, &r.d, &v) && near(v, 3.7));
    free(r.p);

    /* 1 for 20 s, then 4 for 10 s: the mean over 30 s is 2. A hole counts for nothing. */
    past m = past_of(TT_TRACK_MEAN, S(30), S(5));
    for (int i = 0; i <= 6; i++) tt_past_take(m.p, &m.d, 4 * m.d.every_ns, at(5 * i), i < 4 ? 1 : 4);
    assert_true(tt_past_read(m.p, &m.d, &v) && near(v, 2));
    tt_past_take(m.p, &m.d, 4 * m.d.every_ns, at(55), 4); /* 25 s: longer than a value is good for */
    assert_false(tt_past_read(m.p, &m.d, &v));            /* less than half of the span is covered */
    free(m.p);

    /* However long the span and however often it is asked, the memory is the same and "a span ago" is met within 1.2 % of it. */
    past l = past_of(TT_TRACK_CHANGE, S(3600), S(1));
    assert_true(l.d.slots == TT_PAST_SLOTS_MAX);
    for (int i = 0; i <= 20000; i++) {
        tt_past_take(l.p, &l.d, 4 * l.d.every_ns, at(i + 0.013 * (i % 7)), (double)i);
        if (i < 3700) continue;
        assert_true(tt_past_read(l.p, &l.d, &v));
        if (fabs(v - 3600) > 0.0125 * 3600) fail_msg("at %d the change is %g", i, v);
    }
    free(l.p);
}

/* ---- the error budget ---- */

static tt_burn *burn_of(tt_anomaly_def *d, double objective) {
    *d = (tt_anomaly_def){.kind = TT_ANOMALY_SLO, .slo = {.objective = objective, .requests = -1, .n_burns = 2}};
    d->slo.burns[0].rate = 14.4, d->slo.burns[0].long_ns = S(3600), d->slo.burns[0].short_ns = S(300);
    d->slo.burns[1].rate = 6, d->slo.burns[1].long_ns = S(6 * 3600), d->slo.burns[1].short_ns = S(1800);
    return calloc(1, sizeof(tt_burn) + 4 * sizeof(tt_burn_window));
}

static void feed(tt_burn *b, const tt_anomaly_def *d, int from_s, int to_s, double error_ratio, double requests) {
    for (int t = from_s; t < to_s; t += 10) tt_burn_take(b, d, at(t), S(20), error_ratio, requests);
}

static void burn_rates(void **state) {
    (void)state;
    tt_anomaly_def d;
    tt_burn_verdict v;
    tt_burn *b = burn_of(&d, 0.999);
    /* Six hours without errors, then 2 % of all requests fail: 20 times the pace that uses 0.1 % up evenly. */
    feed(b, &d, 0, 6 * 3600, 0, 1);
    tt_burn_read(b, &d, &v);
    assert_true(v.truth == TT_FALSE && v.pair[0].wide.burn == 0 && near(v.pair[0].wide.covered, 1) && near(v.pair[1].wide.covered, 1));
    /* After 42 min: the hour holds 70 % x 20 = 14: not yet. */
    feed(b, &d, 6 * 3600, 6 * 3600 + 42 * 60, 0.02, 1);
    tt_burn_read(b, &d, &v);
    assert_true(fabs(v.pair[0].wide.burn - 14) < 0.1 && fabs(v.pair[0].narrow.burn - 20) < 0.1);
    assert_true(v.pair[0].truth == TT_FALSE);
    /* Over six hours 42 min are 20 x 42/360 = 2.3, over half an hour 20: no either. */
    assert_true(fabs(v.pair[1].wide.burn - 2.333) < 0.05 && fabs(v.pair[1].narrow.burn - 20) < 0.1 && v.truth == TT_FALSE);
    /* 14.4/20 of an hour, 43 min 12 s, is where the workbook's first alert comes. */
    feed(b, &d, 6 * 3600 + 42 * 60, 6 * 3600 + 44 * 60, 0.02, 1);
    tt_burn_read(b, &d, &v);
    assert_true(v.pair[0].truth == TT_TRUE && v.truth == TT_TRUE);
    /* It stops: the long window is still over, the short one says within 5 minutes that it is over. 5 min x (1 - 14.4/20) = 84 s. */
    feed(b, &d, 6 * 3600 + 44 * 60, 6 * 3600 + 44 * 60 + 80, 0, 1);
    tt_burn_read(b, &d, &v);
    assert_true(v.pair[0].narrow.burn > 14.4 && v.pair[0].truth == TT_TRUE);
    feed(b, &d, 6 * 3600 + 44 * 60 + 80, 6 * 3600 + 46 * 60, 0, 1);
    tt_burn_read(b, &d, &v);
    assert_true(v.pair[0].wide.burn > 14 && v.pair[0].narrow.burn < 14.4 && v.pair[0].truth == TT_FALSE);
    free(b);
}

/* Half a percent at night and 2 % of ten times as many requests: 2.05 of 110, not 1.25 %. */
static void burn_by_requests(void **state) {
    (void)state;
    tt_anomaly_def d;
    tt_burn_verdict v;
    tt_burn *b = burn_of(&d, 0.999);
    feed(b, &d, 0, 1800, 0.005, 10);
    feed(b, &d, 1800, 3600, 0.02, 100);
    tt_burn_read(b, &d, &v);
    if (fabs(v.pair[0].wide.ratio - 0.0186) > 0.0003) fail_msg("error ratio of the hour is %g", v.pair[0].wide.ratio);
    free(b);
    b = burn_of(&d, 0.999);
    feed(b, &d, 0, 3600, 0.5, 0); /* no requests: no errors */
    tt_burn_read(b, &d, &v);
    assert_true(v.truth == TT_FALSE && v.pair[0].wide.burn == 0 && near(v.pair[0].wide.covered, 1));
    free(b);
}

static void burn_with_little_history(void **state) {
    (void)state;
    tt_anomaly_def d;
    tt_burn_verdict v;
    tt_burn *b = burn_of(&d, 0.999);
    tt_burn_read(b, &d, &v);
    assert_true(v.truth == TT_UNKNOWN); /* nothing seen */
    feed(b, &d, 0, 300, 0.02, 1);
    tt_burn_read(b, &d, &v);
    /* Five minutes at 20 times the pace: as if the rest of the hour had been well, 20/12. Nobody knows, nobody is woken. */
    assert_true(v.truth == TT_UNKNOWN && fabs(v.pair[0].wide.burn - 20.0 / 12) < 0.1 && fabs(v.pair[0].wide.covered - 1.0 / 12) < 0.01);
    b->at = 0;
    free(b);
    /* Everything fails: 1000 times the pace. 52 s of it are enough, whatever the rest of the hour was; the short window needs 4.3 s of its 300. */
    b = burn_of(&d, 0.999);
    feed(b, &d, 0, 40, 1, 1); /* the first sample counts for the 20 s that it covers: 50 s */
    tt_burn_read(b, &d, &v);
    assert_true(v.truth != TT_TRUE);
    feed(b, &d, 40, 50, 1, 1);
    tt_burn_read(b, &d, &v);
    assert_true(v.pair[0].truth == TT_TRUE && v.truth == TT_TRUE);
    /* The source is away for three hours: what was before is over, and too little is known to say that all is well. */
    feed(b, &d, 3 * 3600, 3 * 3600 + 20, 0, 1);
    tt_burn_read(b, &d, &v);
    assert_true(v.pair[0].wide.burn == 0 && v.pair[0].truth == TT_UNKNOWN);
    feed(b, &d, 3 * 3600 + 20, 3 * 3600 + 200, 0, 1);
    tt_burn_read(b, &d, &v);
    assert_true(v.pair[0].truth == TT_FALSE); /* half of the short window is enough */
    free(b);
}

/* ---- what is usual ---- */

static tt_usual *usual_of(tt_anomaly_def *d, tt_rules *r, int64_t season_ns, uint32_t slots, uint32_t depth, uint32_t needs) {
    static tt_signal_def signal;
    static tt_track_def track;
    *d = (tt_anomaly_def){.kind = TT_ANOMALY_BASELINE,
                          .deviates = {.deviates = 4, .clears = 2, .at_least = 1},
                          .baseline = {.season_ns = season_ns, .slots = slots, .depth = depth, .needs = needs}};
    d->baseline.slot_ns = season_ns / slots;
    track = (tt_track_def){.kind = TT_TRACK_BASELINE, .bytes = tt_usual_bytes(&d->baseline), .next = TT_TRACKS_MAX};
    signal = (tt_signal_def){.memory = track.bytes};
    *r = (tt_rules){.n_signals = 1, .signals = &signal, .n_tracks = 1, .tracks = &track, .anomalies = d};
    tt_usual *u = calloc(1, track.bytes);
    tt_tracks_init(r, 0, u);
    return u;
}

static void seasons(void **state) {
    (void)state;
    tt_anomaly_def d;
    tt_rules r;
    /* A season of 100 s in two halves; each half has five samples, every 10 s. */
    tt_usual *u = usual_of(&d, &r, S(100), 2, 5, 3);
    static const double first_half[4][5] = {{10, 11, 12, 13, 14}, {20, 21, 22, 23, 24}, {11, 12, 13, 14, 15}, {12, 13, 14, 15, 16}};
    for (int k = 0; k < 4; k++) {
        for (int i = 0; i < 10; i++) {
            tt_usual_move(u, &d, at(k * 100 + i * 10));
            if (i == 0) {
                tt_deviation v = tt_usual_read(u, &d, 1000);
                assert_true(v.n == (uint32_t)k && (k < 3) == (v.when == TT_UNKNOWN)); /* three seasons first, never an alarm before */
            }
            tt_usual_take(u, &d, S(40), at(k * 100 + i * 10), i < 5 ? first_half[k][i] : 500 + k, true);
        }
    }
    tt_usual_move(u, &d, at(400));
    tt_deviation v = tt_usual_read(u, &d, 40);
    /* Medians 12 22 13 14, so 13.5 is expected. Within a half: distances 2 1 0 1 2, MAD 1 each. Between: 1.5 8.5 .5 .5, MAD 1.
     * Scale 1.4826 x sqrt(1 + 1) = 2.0967; 40 is 26.5 off: 12.64 deviations, 8.387 counts. The one strange season moved nothing. */
    assert_true(v.n == 4 && v.expected == 13.5 && near(v.scale, 1.4826 * sqrt(2)) && near(v.threshold, 4 * 1.4826 * sqrt(2)));
    assert_true(fabs(v.deviation - 12.6390) < 0.001 && v.when == TT_TRUE && v.clear == TT_FALSE);
    /* The other half is another story. */
    tt_usual_move(u, &d, at(450));
    v = tt_usual_read(u, &d, 40);
    assert_true(v.expected == 501.5 && near(v.scale, 1.4826) && v.when == TT_FALSE); /* only above counts */
    free(u);
}

static void learning(void **state) {
    (void)state;
    tt_anomaly_def d;
    tt_rules r;
    tt_usual *u = usual_of(&d, &r, S(100), 1, 3, 1);
    /* While something is wrong nothing is learned, and less than half of a slot is nothing to go by. */
    for (int i = 0; i < 20; i++) tt_usual_take(u, &d, S(40), at(i * 10), i < 12 ? 10 : 999, i < 12);
    tt_usual_take(u, &d, S(40), at(200), 10, true);
    assert_true(u->have == 1 && u->expected == 10 && u->scale == 0);
    /* Hundreds of samples: 32 are kept, from all over the slot. 0 ... 999 have the median 500 and the MAD 250. */
    free(u);
    u = usual_of(&d, &r, S(1000), 1, 3, 1);
    for (int i = 0; i <= 1000; i++) tt_usual_take(u, &d, S(4), at(i), i, true);
    assert_true(u->have == 1 && fabs(u->expected - 496) < 20 && fabs(u->scale / 1.4826 - 250) < 20);
    /* A gap longer than all that is remembered leaves nothing; a shorter one a hole. */
    tt_usual_take(u, &d, S(4), at(2100), 5, true);
    assert_true(u->have == 1);
    tt_usual_take(u, &d, S(4), at(9e6), 5, true);
    assert_true(u->have == 0 && isnan(u->expected));
    free(u);
}

/* ---- saved and restored ---- */

static void restored(void **state) {
    (void)state;
    tt_anomaly_def d;
    tt_rules r;
    tt_track_def defs[3];
    tt_anomaly_def slo;
    past c = past_of(TT_TRACK_RATE, S(600), S(5));
    defs[0] = c.d;
    defs[0].bytes = sizeof(tt_past) + c.d.slots * sizeof(tt_past_slot);
    tt_burn *b = burn_of(&slo, 0.999);
    tt_usual *u = usual_of(&d, &r, S(86400), 24, 7, 3);
    for (int t = 0; t < 4 * 86400; t += 60) {
        tt_usual_take(u, &d, S(240), at(t), 100 + 50 * sin(t / 86400.0 * 6.28) + t % 7, true);
        tt_burn_take(b, &slo, at(t), S(120), t % 17 / 1000.0, t % 5);
        tt_past_take(c.p, &c.d, 4 * c.d.every_ns, at(t), t);
    }
    tt_anomaly_def both[2] = {d, slo};
    r.anomalies = both;
    defs[1] = (tt_track_def){.kind = TT_TRACK_BURN, .anomaly = 1, .bytes = sizeof(tt_burn) + 4 * sizeof(tt_burn_window)};
    defs[2] = (tt_track_def){.kind = TT_TRACK_BASELINE, .anomaly = 0, .bytes = tt_usual_bytes(&d.baseline)};
    void *blocks[3] = {c.p, b, u};
    tt_time saved = at(4 * 86400), later = {saved.ns + S(12345)}; /* another boot: the clock starts somewhere else */
    for (int i = 0; i < 3; i++) {
        tt_buf text, again;
        tt_buf_init(&text, 1 << 20);
        tt_buf_init(&again, 1 << 20);
        tt_track_save(&defs[i], &r, blocks[i], saved, &text);
        void *copy = malloc(defs[i].bytes);
        assert_true(tt_track_restore(&defs[i], &r, copy, (tt_sv){text.p, text.n}, later));
        tt_track_save(&defs[i], &r, copy, later, &again);
        assert_true(text.n == again.n && memcmp(text.p, again.p, text.n) == 0);
        double x, y;
        tt_burn_verdict p, q;
        if (i == 0) assert_true(tt_past_read(c.p, &c.d, &x) && tt_past_read(copy, &c.d, &y) && x == y);
        if (i == 1) {
            tt_burn_read(b, &slo, &p);
            tt_burn_read(copy, &slo, &q);
            for (int k = 0; k < 2; k++) assert_true(p.pair[k].wide.burn == q.pair[k].wide.burn && p.pair[k].narrow.burn == q.pair[k].narrow.burn);
        }
        if (i == 2)
            assert_true(u->have == 3 && ((tt_usual *)copy)->have == 3 && u->expected == ((tt_usual *)copy)->expected &&
                        u->scale == ((tt_usual *)copy)->scale);
        /* What is cut, longer or other letters is refused, and leaves a new block. */
        for (size_t cut = 0; cut < text.n; cut += 1 + text.n / 50) {
            assert_false(tt_track_restore(&defs[i], &r, copy, (tt_sv){text.p, cut}, later));
            char was = text.p[cut];
            text.p[cut] = '!';
            assert_false(tt_track_restore(&defs[i], &r, copy, (tt_sv){text.p, text.n}, later));
            text.p[cut] = was == 'A' ? '/' : 'A';
            (void)tt_track_restore(&defs[i], &r, copy, (tt_sv){text.p, text.n}, later); /* other figures: any, but none that crash */
            if (i == 0) (void)tt_past_read(copy, &c.d, &x);
            if (i == 1) tt_burn_take(copy, &slo, later, S(20), 0.1, 1);
            if (i == 2) tt_usual_take(copy, &d, S(20), later, 5, true);
            text.p[cut] = was;
        }
        tt_buf_put(&text, TT_SV("AAAAA"));
        assert_false(tt_track_restore(&defs[i], &r, copy, (tt_sv){text.p, text.n}, later));
        free(copy);
        tt_buf_free(&text);
        tt_buf_free(&again);
    }
    /* Half a day without the process: the season goes on, and what is expected is that of the new hour. */
    double was = u->expected;
    tt_track_slept(&defs[2], &r, u, S(43200));
    tt_usual_take(u, &d, S(240), at(4 * 86400), 100, true);
    assert_true(u->have >= 3 && fabs(u->expected - was) > 1);
    free(b), free(u), free(c.p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(medians),
        cmocka_unit_test(mad_without_one),
        cmocka_unit_test(judging),
        cmocka_unit_test(looking_back),
        cmocka_unit_test(burn_rates),
        cmocka_unit_test(burn_by_requests),
        cmocka_unit_test(burn_with_little_history),
        cmocka_unit_test(seasons),
        cmocka_unit_test(learning),
        cmocka_unit_test(restored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
