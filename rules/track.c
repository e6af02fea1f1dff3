#include "track.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the recent past ---- */

static int64_t apart(int64_t a, int64_t b) {
    return a > b ? a - b : b - a;
}

static int64_t spacing(int64_t span_ns, int64_t every_ns) {
    int64_t fine = span_ns / TT_PAST_RESOLUTION;
    return fine > every_ns ? fine : every_ns;
}

uint32_t tt_past_slots(int64_t span_ns, int64_t every_ns) {
    int64_t n = span_ns * 4 / (spacing(span_ns, every_ns) * 3) + 4;
    return n < TT_PAST_SLOTS_MAX ? (uint32_t)n : TT_PAST_SLOTS_MAX;
}

static tt_past_slot *slot_of(tt_past *p, const tt_track_def *d, uint32_t i) {
    return &p->s[(p->head + i) % d->slots];
}

void tt_past_take(tt_past *p, const tt_track_def *d, int64_t max_age_ns, tt_time at, double value) {
    if (p->at && at.ns <= p->at) return;
    if (p->at) {
        int64_t dt = at.ns - p->at;
        if (d->kind == TT_TRACK_RATE) p->v += value >= p->last ? value - p->last : value;
        if (d->kind == TT_TRACK_MEAN && dt <= max_age_ns) {
            p->v += p->last * ((double)dt / 1e9);
            p->t += (double)dt / 1e9;
        }
    }
    if (d->kind == TT_TRACK_CHANGE) p->v = value;
    p->at = at.ns;
    p->last = value;
    /* Samples come a hair early or late; three quarters of the spacing takes each that is meant to be taken. */
    if (!p->n || at.ns - slot_of(p, d, p->n - 1)->at >= spacing(d->span_ns, d->every_ns) * 3 / 4) {
        if (p->n == d->slots) {
            p->head = (p->head + 1) % d->slots;
            p->n--;
        }
        *slot_of(p, d, p->n++) = (tt_past_slot){at.ns, p->v, p->t};
    }
    while (p->n > 1 && slot_of(p, d, 1)->at <= at.ns - d->span_ns) {
        p->head = (p->head + 1) % d->slots;
        p->n--;
    }
}

bool tt_past_read(const tt_past *p, const tt_track_def *d, double *ret) {
    if (!p->n) return false;
    int64_t then = p->at - d->span_ns;
    const tt_past_slot *s = &p->s[p->head], *next = p->n > 1 ? &p->s[(p->head + 1) % d->slots] : s;
    if (apart(next->at, then) < apart(s->at, then)) s = next;
    int64_t tolerance = d->span_ns / 4 > d->every_ns * 5 / 4 ? d->span_ns / 4 : d->every_ns * 5 / 4;
    if (s->at >= p->at || apart(s->at, then) > tolerance) return false;
    double seconds = (double)(p->at - s->at) / 1e9, rise = p->v - s->v, covered = p->t - s->t;
    switch (d->kind) {
    case TT_TRACK_CHANGE:
        *ret = rise;
        break;
    case TT_TRACK_RATE:
        *ret = rise / seconds;
        break;
    default:
        if (covered < seconds / 2) return false;
        *ret = rise / covered;
        break;
    }
    return isfinite(*ret);
}

/* ---- the error budget ---- */

static void burn_sum(tt_burn_window *w) {
    w->bad = w->total = w->seconds = 0;
    for (uint32_t i = 2; i <= TT_BURN_BUCKETS; i++) { /* +1 is the oldest */
        const tt_burn_bucket *b = &w->b[(w->current + i) % (TT_BURN_BUCKETS + 1)];
        w->bad += (double)b->bad;
        w->total += (double)b->total;
        w->seconds += (double)b->seconds;
    }
}

static void burn_add(tt_burn_window *w, int64_t window_ns, int64_t at, double bad, double total, double seconds) {
    int64_t width = window_ns / TT_BURN_BUCKETS, steps = w->start ? (at - w->start) / width : 0;
    if (!w->start) w->start = at;
    if (steps > TT_BURN_BUCKETS) {
        memset(w->b, 0, sizeof w->b);
        w->start += steps * width;
        burn_sum(w);
        steps = 0;
    }
    for (; steps > 0; steps--) {
        w->current = (w->current + 1) % (TT_BURN_BUCKETS + 1);
        w->b[w->current] = (tt_burn_bucket){0};
        w->start += width;
        burn_sum(w);
    }
    tt_burn_bucket *b = &w->b[w->current];
    b->bad += (float)bad;
    b->total += (float)total;
    b->seconds += (float)seconds;
}

void tt_burn_take(tt_burn *b, const tt_anomaly_def *d, tt_time at, int64_t covers_ns, double error_ratio, double requests) {
    if (b->at && at.ns <= b->at) return;
    int64_t dt = b->at && at.ns - b->at < covers_ns ? at.ns - b->at : covers_ns;
    double seconds = (double)dt / 1e9, total = (requests > 0 ? requests : 0) * seconds, bad = fmin(fmax(error_ratio, 0), 1) * total;
    for (size_t i = 0; i < d->slo.n_burns; i++) {
        burn_add(&b->w[2 * i], d->slo.burns[i].long_ns, at.ns, bad, total, seconds);
        burn_add(&b->w[2 * i + 1], d->slo.burns[i].short_ns, at.ns, bad, total, seconds);
    }
    b->at = at.ns;
}

static tt_burn_figure burn_read(const tt_burn_window *w, int64_t window_ns, int64_t at, double budget) {
    if (!w->start) return (tt_burn_figure){0};
    const tt_burn_bucket *now = &w->b[w->current], *oldest = &w->b[(w->current + 1) % (TT_BURN_BUCKETS + 1)];
    double inside = 1 - (double)(at - w->start) / (double)(window_ns / TT_BURN_BUCKETS);
    inside = fmin(fmax(inside, 0), 1);
    double bad = w->bad + (double)now->bad + inside * (double)oldest->bad, total = w->total + (double)now->total + inside * (double)oldest->total;
    double covered = (w->seconds + (double)now->seconds + inside * (double)oldest->seconds) / ((double)window_ns / 1e9);
    tt_burn_figure f = {.ratio = total > 0 ? bad / total : 0, .covered = fmin(covered, 1)};
    f.burn = f.ratio * f.covered / budget;
    return f;
}

static tt_truth burns(const tt_burn_figure *f, double rate, double budget) {
    if (f->burn > rate) return TT_TRUE;
    return f->covered >= 0.5 && f->ratio / budget <= rate ? TT_FALSE : TT_UNKNOWN;
}

void tt_burn_read(const tt_burn *b, const tt_anomaly_def *d, tt_burn_verdict *ret) {
    double budget = 1 - d->slo.objective;
    *ret = (tt_burn_verdict){.n = d->slo.n_burns, .truth = TT_FALSE};
    for (size_t i = 0; i < d->slo.n_burns; i++) {
        double rate = d->slo.burns[i].rate;
        tt_burn_figure *wide = &ret->pair[i].wide, *narrow = &ret->pair[i].narrow;
        *wide = burn_read(&b->w[2 * i], d->slo.burns[i].long_ns, b->at, budget);
        *narrow = burn_read(&b->w[2 * i + 1], d->slo.burns[i].short_ns, b->at, budget);
        tt_truth l = burns(wide, rate, budget), s = burns(narrow, rate, budget);
        ret->pair[i].truth = l == TT_FALSE || s == TT_FALSE ? TT_FALSE : l == TT_TRUE && s == TT_TRUE ? TT_TRUE : TT_UNKNOWN;
        if (ret->pair[i].truth == TT_TRUE) ret->truth = TT_TRUE;
        if (ret->pair[i].truth == TT_UNKNOWN && ret->truth == TT_FALSE) ret->truth = TT_UNKNOWN;
    }
}

/* ---- deviation ---- */

const double tt_mad_to_sigma = 1.4826;

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double tt_median(double *x, size_t n) {
    if (!n) return 0;
    qsort(x, n, sizeof *x, by_value);
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

/* Distances from a center, to the left and to the right of it: each side rises. One member may be left out. */
typedef struct {
    const double *x;
    double center;
    size_t n[2];    /* members of each side */
    size_t first;   /* index of the first one right of the center */
    size_t skip[2]; /* the place on the side that is left out; n: none */
} distances;

static double distance(const distances *d, int side, size_t i) {
    if (i >= d->skip[side]) i++;
    return side ? d->x[d->first + i] - d->center : d->center - d->x[d->first - 1 - i];
}

/* The k-th least of both sides together, from 0. */
static double kth(const distances *d, size_t k) {
    size_t low = k > d->n[1] ? k - d->n[1] : 0, high = k < d->n[0] ? k : d->n[0];
    while (low < high) { /* how many of the k least are left of the center */
        size_t left = (low + high) / 2, right = k - left;
        if (distance(d, 0, left) < distance(d, 1, right - 1))
            low = left + 1;
        else
            high = left;
    }
    size_t right = k - low;
    if (low == d->n[0]) return distance(d, 1, right);
    if (right == d->n[1]) return distance(d, 0, low);
    return fmin(distance(d, 0, low), distance(d, 1, right));
}

double tt_mad_sorted(const double *x, size_t n, size_t skip, double center) {
    size_t low = 0, high = n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (x[mid] < center)
            low = mid + 1;
        else
            high = mid;
    }
    distances d = {.x = x, .center = center, .n = {low, n - low}, .first = low, .skip = {SIZE_MAX, SIZE_MAX}};
    if (skip < n) {
        int side = skip >= low;
        d.skip[side] = side ? skip - low : low - 1 - skip;
        d.n[side]--;
    }
    size_t m = d.n[0] + d.n[1];
    if (!m) return 0;
    return m % 2 ? kth(&d, m / 2) : (kth(&d, m / 2 - 1) + kth(&d, m / 2)) / 2;
}

void tt_deviation_judge(tt_deviation *v, const tt_deviates *d, double value) {
    double off = value - v->expected, least = isnan(d->at_least) ? fabs(v->expected) / 10 : d->at_least, by_scale = d->deviates * v->scale;
    v->deviation = v->scale > 0 ? off / v->scale : (double)NAN;
    v->threshold = fmax(by_scale, least);
    v->when = v->clear = TT_UNKNOWN;
    /* Nothing says how much is much: it has always been exactly 0. */
    if (!isfinite(v->expected) || !isfinite(v->scale) || v->threshold <= 0) return;
    if (d->direction == TT_BELOW) off = -off;
    if (d->direction == TT_BOTH) off = fabs(off);
    v->when = off > v->threshold ? TT_TRUE : TT_FALSE;
    v->clear = off <= v->threshold * (d->clears / d->deviates) ? TT_TRUE : TT_FALSE;
}

/* ---- what is usual ---- */

size_t tt_usual_bytes(const tt_usual_def *b) {
    return sizeof(tt_usual) + (size_t)b->slots * b->depth * sizeof(float[2]);
}

static void forget_all(tt_usual *u, const tt_usual_def *b) {
    for (size_t i = 0; i < (size_t)b->slots * b->depth; i++) u->past[i][0] = u->past[i][1] = NAN;
    u->n = u->skip = 0;
    u->stride = 1;
    u->learned_ns = 0;
    u->expected = u->scale = NAN;
    u->have = 0;
}

static void expect(tt_usual *u, const tt_usual_def *b) {
    double medians[TT_KEPT_MAX], mads[TT_KEPT_MAX];
    size_t n = 0;
    for (uint32_t k = 0; k < b->depth && n < TT_KEPT_MAX; k++) {
        const float *p = u->past[(size_t)u->slot * b->depth + k];
        if (isnan(p[0])) continue;
        medians[n] = (double)p[0];
        mads[n++] = (double)p[1];
    }
    u->have = (uint32_t)n;
    u->expected = u->scale = NAN;
    if (!n) return;
    u->expected = tt_median(medians, n);
    double within = tt_median(mads, n), between = tt_mad_sorted(medians, n, SIZE_MAX, u->expected);
    u->scale = tt_mad_to_sigma * sqrt(within * within + between * between);
}

static void end_slot(tt_usual *u, const tt_usual_def *b) {
    float *p = u->past[(size_t)u->slot * b->depth + u->season];
    /* Nothing learned: what was known from the season that this one would have replaced is better than nothing. */
    if (u->n && u->learned_ns >= b->slot_ns / 2) {
        double x[TT_KEPT_MAX];
        for (uint32_t i = 0; i < u->n; i++) x[i] = (double)u->kept[i];
        double median = tt_median(x, u->n);
        p[0] = (float)median;
        p[1] = (float)tt_mad_sorted(x, u->n, SIZE_MAX, median);
    }
    u->n = u->skip = 0;
    u->stride = 1;
    u->learned_ns = 0;
    u->slot_start += b->slot_ns;
    if (++u->slot < b->slots) return;
    u->slot = 0;
    u->season = (u->season + 1) % b->depth;
}

/* Every stride-th sample; when there is no room, every second of those: evenly spread over the slot, whatever its length. */
static void keep_sample(tt_usual *u, double value) {
    if (u->skip) {
        u->skip--;
        return;
    }
    if (u->n == TT_KEPT_MAX) {
        for (uint32_t i = 0; i < TT_KEPT_MAX / 2; i++) u->kept[i] = u->kept[2 * i];
        u->n = TT_KEPT_MAX / 2;
        u->stride *= 2;
    }
    u->kept[u->n++] = (float)value;
    u->skip = u->stride - 1;
}

void tt_usual_move(tt_usual *u, const tt_anomaly_def *d, tt_time at) {
    const tt_usual_def *b = &d->baseline;
    if (!u->slot_start) u->slot_start = at.ns;
    int64_t season_ns = b->slot_ns * b->slots, seasons = (at.ns - u->slot_start) / season_ns;
    if (seasons > b->depth) {
        forget_all(u, b); /* all of it is too old */
        u->slot_start += seasons * season_ns;
    }
    bool moved = false;
    for (; at.ns - u->slot_start >= b->slot_ns; moved = true) end_slot(u, b);
    if (moved) expect(u, b);
}

void tt_usual_take(tt_usual *u, const tt_anomaly_def *d, int64_t max_age_ns, tt_time at, double value, bool learn) {
    if (u->at && at.ns <= u->at) return;
    tt_usual_move(u, d, at);
    int64_t dt = u->at ? at.ns - u->at : 0;
    u->at = at.ns;
    if (!learn) return;
    u->learned_ns += dt < max_age_ns ? dt : max_age_ns;
    keep_sample(u, value);
}

tt_deviation tt_usual_read(const tt_usual *u, const tt_anomaly_def *d, double value) {
    tt_deviation v = {.expected = u->expected, .scale = u->scale, .n = u->have, .when = TT_UNKNOWN, .clear = TT_UNKNOWN};
    tt_deviation_judge(&v, &d->deviates, value);
    if (u->have < d->baseline.needs) v.when = v.clear = TT_UNKNOWN;
    return v;
}

/* ---- a series' block ---- */

void tt_tracks_init(const tt_rules *r, uint32_t signal, void *memory) {
    for (uint32_t t = r->signals[signal].first_track; t < TT_TRACKS_MAX; t = r->tracks[t].next)
        if (r->tracks[t].kind == TT_TRACK_BASELINE)
            forget_all((tt_usual *)(void *)((char *)memory + r->tracks[t].offset), &r->anomalies[r->tracks[t].anomaly].baseline);
}

static void sleep_instant(int64_t *at, int64_t slept_ns) {
    if (*at) *at -= slept_ns;
}

void tt_track_slept(const tt_track_def *d, const tt_rules *r, void *block, int64_t slept_ns) {
    switch (d->kind) {
    case TT_TRACK_CHANGE:
    case TT_TRACK_RATE:
    case TT_TRACK_MEAN: {
        tt_past *p = block;
        sleep_instant(&p->at, slept_ns);
        for (uint32_t i = 0; i < p->n; i++) sleep_instant(&slot_of(p, d, i)->at, slept_ns);
        break;
    }
    case TT_TRACK_BURN: {
        tt_burn *b = block;
        sleep_instant(&b->at, slept_ns);
        for (size_t i = 0; i < 2 * r->anomalies[d->anomaly].slo.n_burns; i++) sleep_instant(&b->w[i].start, slept_ns);
        break;
    }
    case TT_TRACK_BASELINE: {
        tt_usual *u = block;
        sleep_instant(&u->at, slept_ns);
        sleep_instant(&u->slot_start, slept_ns);
        break;
    }
    }
}

/* ---- saved ----
 * The figures one behind the other, least byte first, in the digits of base64: exact, and a third of what decimal text takes. */

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

typedef struct {
    tt_buf *out; /* writing */
    tt_sv in;    /* reading */
    uint32_t bits, n_bits;
    tt_time now;
    bool bad;
} stream;

static void put_byte(stream *s, unsigned char byte) {
    s->bits = s->bits << 8 | byte;
    for (s->n_bits += 8; s->n_bits >= 6; s->n_bits -= 6) tt_buf_put(s->out, (tt_sv){&digits[s->bits >> (s->n_bits - 6) & 63], 1});
    s->bits &= (1u << s->n_bits) - 1;
}

static unsigned char take_byte(stream *s) {
    while (s->n_bits < 8) {
        const char *at = s->in.n && s->in.p[0] ? strchr(digits, s->in.p[0]) : NULL;
        if (!at) {
            s->bad = true;
            return 0;
        }
        s->in = (tt_sv){s->in.p + 1, s->in.n - 1};
        s->bits = s->bits << 6 | (uint32_t)(at - digits);
        s->n_bits += 6;
    }
    s->n_bits -= 8;
    unsigned char byte = (unsigned char)(s->bits >> s->n_bits);
    s->bits &= (1u << s->n_bits) - 1;
    return byte;
}

static void word(stream *s, void *value, size_t bytes) {
    uint64_t v = 0;
    uint32_t half = 0;
    if (s->out) {
        if (bytes == 8) memcpy(&v, value, 8);
        if (bytes == 4) {
            memcpy(&half, value, 4);
            v = half;
        }
        for (size_t i = 0; i < bytes; i++) put_byte(s, (unsigned char)(v >> 8 * i));
        return;
    }
    for (size_t i = 0; i < bytes; i++) v |= (uint64_t)take_byte(s) << 8 * i;
    if (s->bad) return;
    half = (uint32_t)v;
    memcpy(value, bytes == 8 ? (void *)&v : (void *)&half, bytes);
}

static void number(stream *s, double *v) {
    word(s, v, 8);
    if (!s->out && !isfinite(*v)) s->bad = true;
}

static void small(stream *s, float *v, bool or_nan) {
    word(s, v, 4);
    if (!s->out && !isfinite(*v) && !(or_nan && isnan(*v))) s->bad = true;
}

static void count(stream *s, uint32_t *v, uint32_t max) {
    word(s, v, 4);
    if (!s->out && *v > max) s->bad = true;
}

static void instant(stream *s, int64_t *at) {
    int64_t age = s->out && *at ? s->now.ns - *at : INT64_MIN;
    word(s, &age, 8);
    if (s->out) return;
    if (age != INT64_MIN && (age < 0 || age > TT_SECONDS(400LL * 86400))) s->bad = true;
    *at = age == INT64_MIN || s->bad ? 0 : s->now.ns - age;
}

static void span(stream *s, int64_t *ns) {
    word(s, ns, 8);
    if (!s->out && (*ns < 0 || *ns > TT_SECONDS(400LL * 86400))) s->bad = true;
}

static void past(stream *s, const tt_track_def *d, tt_past *p) {
    instant(s, &p->at);
    number(s, &p->last);
    number(s, &p->v);
    number(s, &p->t);
    count(s, &p->n, d->slots);
    for (uint32_t i = 0; i < p->n && !s->bad; i++) {
        tt_past_slot *x = slot_of(p, d, i);
        instant(s, &x->at);
        number(s, &x->v);
        number(s, &x->t);
    }
}

static void burn(stream *s, const tt_anomaly_def *d, tt_burn *b) {
    instant(s, &b->at);
    for (size_t i = 0; i < 2 * d->slo.n_burns && !s->bad; i++) {
        tt_burn_window *w = &b->w[i];
        instant(s, &w->start);
        for (uint32_t k = 0; k <= TT_BURN_BUCKETS && !s->bad; k++) {
            tt_burn_bucket *x = &w->b[(w->current + k) % (TT_BURN_BUCKETS + 1)];
            small(s, &x->bad, false);
            small(s, &x->total, false);
            small(s, &x->seconds, false);
        }
        if (!s->out) burn_sum(w);
    }
}

static void usual(stream *s, const tt_usual_def *b, tt_usual *u) {
    instant(s, &u->at);
    instant(s, &u->slot_start);
    count(s, &u->slot, b->slots - 1);
    count(s, &u->season, b->depth - 1);
    count(s, &u->n, TT_KEPT_MAX);
    count(s, &u->stride, 1u << 30);
    count(s, &u->skip, 1u << 30);
    span(s, &u->learned_ns);
    for (uint32_t i = 0; i < u->n && !s->bad; i++) small(s, &u->kept[i], false);
    for (size_t i = 0; i < (size_t)b->slots * b->depth && !s->bad; i++) {
        small(s, &u->past[i][0], true);
        small(s, &u->past[i][1], true);
    }
    if (s->out) return;
    if (!u->stride || (u->at && !u->slot_start)) s->bad = true;
    if (!s->bad) expect(u, b);
}

static void track(stream *s, const tt_track_def *d, const tt_rules *r, void *block) {
    if (d->kind == TT_TRACK_BURN)
        burn(s, &r->anomalies[d->anomaly], block);
    else if (d->kind == TT_TRACK_BASELINE)
        usual(s, &r->anomalies[d->anomaly].baseline, block);
    else
        past(s, d, block);
}

void tt_track_save(const tt_track_def *d, const tt_rules *r, const void *block, tt_time now, tt_buf *out) {
    stream s = {.out = out, .now = now};
    track(&s, d, r, (void *)(uintptr_t)block);
    if (s.n_bits) put_byte(&s, 0);
}

bool tt_track_restore(const tt_track_def *d, const tt_rules *r, void *block, tt_sv text, tt_time now) {
    stream s = {.in = text, .now = now};
    memset(block, 0, d->bytes);
    if (d->kind == TT_TRACK_BASELINE) forget_all(block, &r->anomalies[d->anomaly].baseline);
    track(&s, d, r, block);
    if (!s.bad && s.in.n <= 2) return true;
    memset(block, 0, d->bytes);
    if (d->kind == TT_TRACK_BASELINE) forget_all(block, &r->anomalies[d->anomaly].baseline);
    return false;
}
