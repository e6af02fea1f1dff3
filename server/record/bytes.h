/* Numbers and texts to bytes and back, little-endian; the reading half cannot pass the end. */
#ifndef TT_RECORD_BYTES_H
#define TT_RECORD_BYTES_H

#include "base.h"

void record_put_u8(tt_buf *b, unsigned v);
void record_put_bytes(tt_buf *b, uint64_t v, size_t n); /* the low n bytes */
void record_put_uv(tt_buf *b, uint64_t v);              /* LEB128 */
void record_put_iv(tt_buf *b, int64_t v);               /* zigzag, LEB128 */
void record_put_double(tt_buf *b, double v);            /* bit for bit */
void record_put_text(tt_buf *b, tt_sv s);

typedef struct {
    const unsigned char *p;
    size_t n;
    const char *why; /* the first thing that was wrong; nothing is left to read then */
} record_cursor;

void record_bad(record_cursor *c, const char *why);
unsigned record_get_u8(record_cursor *c);
uint64_t record_get_bytes(record_cursor *c, size_t n);
uint64_t record_get_uv(record_cursor *c);
int64_t record_get_iv(record_cursor *c);
double record_get_double(record_cursor *c);
tt_sv record_get_text(record_cursor *c); /* a view */
size_t record_get_count(record_cursor *c, size_t max);

uint64_t record_bits(double v);
double record_double(uint64_t bits);
/* A difference of two instants and its way back, whatever they are. */
static inline int64_t record_minus(int64_t a, int64_t b) {
    return (int64_t)((uint64_t)a - (uint64_t)b);
}
static inline int64_t record_plus(int64_t a, int64_t b) {
    return (int64_t)((uint64_t)a + (uint64_t)b);
}

#endif
