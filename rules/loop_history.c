/* What a loop did, for its chart. A thousand loops keep ten minutes each, so a figure has 16 bits, and a minute that is over is packed: a column that
 * did not change is one value, and rows about a second apart need not each tell the time. */
#include "loop_history.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NOT_KNOWN = 0xffff, EXPONENT_MAX = 62, FRACTION_BITS = 9, DROPPED_BITS = 23 - FRACTION_BITS };

/* Sign, 6 bits of exponent, 9 of fraction. */
static uint16_t halve(float v) {
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    if (isnan(v)) return NOT_KNOWN;
    uint32_t sign = bits >> 31 << 15, rounded = (bits & 0x7fffffffu) + (1u << (DROPPED_BITS - 1));
    int exponent = (int)(rounded >> 23) - 127 + 32;
    if (exponent < 1) return 0;
    if (exponent > EXPONENT_MAX) return (uint16_t)(sign | (EXPONENT_MAX + 1) << FRACTION_BITS) - 1;
    return (uint16_t)(sign | (uint32_t)exponent << FRACTION_BITS | (rounded >> DROPPED_BITS & ((1u << FRACTION_BITS) - 1)));
}

static float whole(uint16_t half) {
    float v = 0;
    uint32_t exponent = half >> FRACTION_BITS & 63u;
    if (half == NOT_KNOWN) return NAN;
    if (!exponent) return 0;
    uint32_t bits = (uint32_t)(half >> 15) << 31 | (exponent + 127 - 32) << 23 | (uint32_t)(half & ((1u << FRACTION_BITS) - 1)) << DROPPED_BITS;
    memcpy(&v, &bits, sizeof v);
    return v;
}

struct tt_history_chunk {
    int64_t wall_ms[TT_HISTORY_CHUNK];
    uint8_t phase[TT_HISTORY_CHUNK];
    uint16_t v[]; /* by channel: TT_HISTORY_CHUNK each */
};

static tt_history_chunk *new_chunk(uint32_t n_channels) {
    return malloc(sizeof(tt_history_chunk) + (size_t)n_channels * TT_HISTORY_CHUNK * sizeof(uint16_t));
}

/* ---- packed: the first row's time; whether the steps fit 16 bits, then the steps, or the times themselves; each column with a byte before it: 0, it
 * is one value, or 1, it is all of them. ---- */

static unsigned char *put(unsigned char *p, const void *what, size_t n) {
    if (p) memcpy(p, what, n);
    return p ? p + n : NULL;
}

static bool all_the_same(const unsigned char *p, size_t each) {
    for (size_t i = 1; i < TT_HISTORY_CHUNK; i++)
        if (memcmp(p, p + i * each, each) != 0) return false;
    return true;
}

/* With `to` NULL it only counts. */
static size_t put_column(unsigned char **to, const void *column, size_t each) {
    unsigned char varies = !all_the_same(column, each);
    size_t n = varies ? TT_HISTORY_CHUNK * each : each;
    *to = put(put(*to, &varies, 1), column, n);
    return 1 + n;
}

static size_t pack_into(unsigned char *to, const tt_history_chunk *c, uint32_t n_channels) {
    uint16_t step[TT_HISTORY_CHUNK - 1];
    unsigned char steps = 1;
    for (int i = 0; i + 1 < TT_HISTORY_CHUNK; i++) {
        int64_t d = c->wall_ms[i + 1] - c->wall_ms[i];
        steps &= d >= 0 && d <= UINT16_MAX;
        step[i] = (uint16_t)d;
    }
    to = put(to, &steps, 1);
    size_t times = steps ? sizeof c->wall_ms[0] + sizeof step : sizeof c->wall_ms;
    to = steps ? put(put(to, c->wall_ms, sizeof c->wall_ms[0]), step, sizeof step) : put(to, c->wall_ms, sizeof c->wall_ms);
    size_t n = 1 + times + put_column(&to, c->phase, sizeof c->phase[0]);
    for (uint32_t k = 0; k < n_channels; k++) n += put_column(&to, c->v + (size_t)k * TT_HISTORY_CHUNK, sizeof c->v[0]);
    return n;
}

static const unsigned char *get(const unsigned char *p, void *to, size_t n) {
    memcpy(to, p, n);
    return p + n;
}

static const unsigned char *get_column(const unsigned char *p, void *column, size_t each) {
    unsigned char varies;
    p = get(p, &varies, 1);
    if (varies) return get(p, column, TT_HISTORY_CHUNK * each);
    for (size_t i = 0; i < TT_HISTORY_CHUNK; i++) memcpy((char *)column + i * each, p, each);
    return p + each;
}

static void unpack(const unsigned char *p, tt_history_chunk *c, uint32_t n_channels) {
    uint16_t step[TT_HISTORY_CHUNK - 1];
    unsigned char steps;
    p = get(p, &steps, 1);
    p = get(p, c->wall_ms, steps ? sizeof c->wall_ms[0] : sizeof c->wall_ms);
    if (steps) p = get(p, step, sizeof step);
    for (int i = 0; steps && i + 1 < TT_HISTORY_CHUNK; i++) c->wall_ms[i + 1] = c->wall_ms[i] + step[i];
    p = get_column(p, c->phase, sizeof c->phase[0]);
    for (uint32_t k = 0; k < n_channels; k++) p = get_column(p, c->v + (size_t)k * TT_HISTORY_CHUNK, sizeof c->v[0]);
}

/* ---- adding ---- */

static void close_chunk(tt_history *h) {
    size_t n = pack_into(NULL, h->open, h->n_channels);
    unsigned char *p = malloc(n);
    h->n_open = 0;
    if (!p) return; /* a minute of the chart is lost */
    pack_into(p, h->open, h->n_channels);
    if (h->n_packed == TT_HISTORY_CHUNKS) {
        free(h->packed[h->first]);
        h->packed[h->first] = p;
        h->first = (uint8_t)((h->first + 1) % TT_HISTORY_CHUNKS);
    } else
        h->packed[h->n_packed++] = p;
}

void tt_history_add(tt_history *h, int64_t wall_ms, unsigned phase, const float v[], uint32_t n) {
    if (!h->open && !h->n_packed) h->n_channels = (uint8_t)n;
    if (!h->open && !(h->open = new_chunk(h->n_channels))) return;
    if (h->n_open == TT_HISTORY_CHUNK) close_chunk(h);
    h->open->wall_ms[h->n_open] = wall_ms;
    h->open->phase[h->n_open] = (uint8_t)phase;
    for (uint32_t k = 0; k < h->n_channels; k++) h->open->v[k * TT_HISTORY_CHUNK + h->n_open] = k < n ? halve(v[k]) : (uint16_t)NOT_KNOWN;
    h->n_open++;
}

void tt_history_forget(tt_history *h) {
    for (int i = 0; i < TT_HISTORY_CHUNKS; i++) free(h->packed[i]);
    free(h->open);
    *h = (tt_history){0};
}

/* ---- reading ---- */

uint32_t tt_history_rows(const tt_history *h) {
    uint32_t n = (uint32_t)h->n_packed * TT_HISTORY_CHUNK + h->n_open;
    return n < TT_HISTORY_MAX ? n : TT_HISTORY_MAX;
}

bool tt_history_next(const tt_history *h, tt_history_walk *w) {
    if (!w->begun) {
        w->begun = true;
        w->row =
            (uint32_t)h->n_packed * TT_HISTORY_CHUNK + h->n_open - tt_history_rows(h); /* rows beyond the newest TT_HISTORY_MAX are passed over */
        w->of = h->n_packed ? new_chunk(h->n_channels) : NULL;
        if (h->n_packed && !w->of) return false;
        if (h->n_packed) unpack(h->packed[h->first], w->of, h->n_channels);
    }
    if (w->chunk < h->n_packed && w->row == TT_HISTORY_CHUNK) {
        w->row = 0;
        if (++w->chunk < h->n_packed) unpack(h->packed[(h->first + w->chunk) % TT_HISTORY_CHUNKS], w->of, h->n_channels);
    }
    const tt_history_chunk *c = w->chunk < h->n_packed ? w->of : h->open;
    if (w->chunk == h->n_packed && w->row == h->n_open) {
        free(w->of);
        w->of = NULL;
        return false;
    }
    for (uint32_t k = 0; k < h->n_channels && k < TT_COUNT(w->v); k++) w->v[k] = whole(c->v[k * TT_HISTORY_CHUNK + w->row]);
    w->r = (tt_history_row){c->wall_ms[w->row], c->phase[w->row], w->v};
    w->row++;
    return true;
}
