#include "record/bytes.h"

#include <string.h>

void record_put_u8(tt_buf *b, unsigned v) {
    const char c = (char)v;
    tt_buf_put(b, (tt_sv){&c, 1});
}

void record_put_bytes(tt_buf *b, uint64_t v, size_t n) {
    char c[8];
    for (size_t i = 0; i < n; i++) c[i] = (char)(v >> (8 * i));
    tt_buf_put(b, (tt_sv){c, n});
}

void record_put_uv(tt_buf *b, uint64_t v) {
    char c[10];
    size_t n = 0;
    for (; v >= 0x80; v >>= 7) c[n++] = (char)(v | 0x80);
    c[n++] = (char)v;
    tt_buf_put(b, (tt_sv){c, n});
}

void record_put_iv(tt_buf *b, int64_t v) {
    record_put_uv(b, (uint64_t)v << 1 ^ (uint64_t)(v >> 63));
}

uint64_t record_bits(double v) {
    uint64_t b;
    memcpy(&b, &v, sizeof b);
    return b;
}

double record_double(uint64_t b) {
    double v;
    memcpy(&v, &b, sizeof v);
    return v;
}

void record_put_double(tt_buf *b, double v) {
    record_put_bytes(b, record_bits(v), 8);
}

void record_put_text(tt_buf *b, tt_sv s) {
    record_put_uv(b, s.n);
    if (s.n) tt_buf_put(b, s);
}

/* ---- bytes in ---- */

void record_bad(record_cursor *c, const char *why) {
    if (!c->why) c->why = why;
    c->n = 0;
}

unsigned record_get_u8(record_cursor *c) {
    if (!c->n) {
        record_bad(c, "it ends too early");
        return 0;
    }
    c->n--;
    return *c->p++;
}

uint64_t record_get_bytes(record_cursor *c, size_t n) {
    uint64_t v = 0;
    if (c->n < n) {
        record_bad(c, "it ends too early");
        return 0;
    }
    for (size_t i = 0; i < n; i++) v |= (uint64_t)c->p[i] << (8 * i);
    c->p += n;
    c->n -= n;
    return v;
}

uint64_t record_get_uv(record_cursor *c) {
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        unsigned byte = record_get_u8(c);
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) return v;
    }
    record_bad(c, "a number is too long");
    return 0;
}

int64_t record_get_iv(record_cursor *c) {
    uint64_t v = record_get_uv(c);
    return (int64_t)(v >> 1 ^ (~(v & 1) + 1));
}

double record_get_double(record_cursor *c) {
    return record_double(record_get_bytes(c, 8));
}

tt_sv record_get_text(record_cursor *c) {
    uint64_t n = record_get_uv(c);
    if (n > c->n) {
        record_bad(c, "a text is longer than the record");
        return (tt_sv){NULL, 0};
    }
    tt_sv s = {(const char *)c->p, (size_t)n};
    c->p += n;
    c->n -= (size_t)n;
    return s;
}

/* A list's length: every item takes at least a byte, so that a length alone makes nobody allocate. */
size_t record_get_count(record_cursor *c, size_t max) {
    uint64_t n = record_get_uv(c);
    if (n > c->n || n > max) {
        record_bad(c, "a list is longer than it can be");
        return 0;
    }
    return (size_t)n;
}
