/* Stable hashing of keys. Our own, so that an answer is the same on every hop, machine and build. */
#ifndef TT_DP_HASH_H
#define TT_DP_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

__extension__ typedef unsigned __int128 dp_u128;

/* One multiplication spreads every input bit over the middle; folding the halves keeps what it spread. */
static inline uint64_t dp_mix(uint64_t a, uint64_t b) {
    dp_u128 product = (dp_u128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static const uint64_t DP_HASH_A = UINT64_C(0x9e3779b97f4a7c15), DP_HASH_B = UINT64_C(0xd6e8feb86659fd93), DP_HASH_C = UINT64_C(0xa3b195354a39b70d);

/* Little-endian on purpose: hops of either order agree. */
static inline uint64_t dp_word(const unsigned char *p) {
    uint64_t w;
    memcpy(&w, p, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    w = __builtin_bswap64(w);
#endif
    return w;
}

static inline uint64_t dp_half_word(const unsigned char *p) {
    uint32_t w;
    memcpy(&w, p, 4);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    w = __builtin_bswap32(w);
#endif
    return w;
}

/* The last word overlaps what was read before, so no byte is read one by one. The length goes in at the end: no two keys share all words. */
static inline uint64_t dp_hash(const void *key, size_t n, uint64_t salt) {
    const unsigned char *p = key;
    uint64_t h = salt ^ DP_HASH_A;
    if (n >= 8) {
        for (size_t at = 0; at + 8 < n; at += 8) h = dp_mix(h ^ dp_word(p + at), DP_HASH_B);
        h = dp_mix(h ^ dp_word(p + n - 8), DP_HASH_B);
    } else if (n >= 4) {
        h = dp_mix(h ^ (dp_half_word(p) | dp_half_word(p + n - 4) << 32), DP_HASH_B);
    } else if (n > 0) {
        h = dp_mix(h ^ ((uint64_t)p[0] | (uint64_t)p[n / 2] << 8 | (uint64_t)p[n - 1] << 16), DP_HASH_B);
    }
    return dp_mix(h ^ (uint64_t)n ^ DP_HASH_C, DP_HASH_A);
}

static inline uint64_t dp_hash_text(const char *text, uint64_t salt) {
    return dp_hash(text, strlen(text), salt);
}

/* [0, 1) in 2^-53 steps. */
static inline double dp_unit(uint64_t h) {
    return (double)(h >> 11) * 0x1p-53;
}

/* The nth number of a stream. */
static inline uint64_t dp_scramble(uint64_t n) {
    return dp_mix(n ^ DP_HASH_C, DP_HASH_A ^ (n * DP_HASH_B));
}

#endif
