/* What the data plane's tests share. */
#ifndef TT_TEST_DATAPLANE_H
#define TT_TEST_DATAPLANE_H

// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <trimtab/dataplane.h>

static const int64_t second_ns = 1000000000, ms_ns = 1000000;
static const int64_t begin_ns = 1000000000000; /* virtual time begins here: 0 would mean "read the clock" */

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* Fails with the row's name. */
#define CHECK(row, condition)                                                                                                                        \
    do {                                                                                                                                             \
        if (!(condition)) fail_msg("%s: %s", row, #condition);                                                                                       \
    } while (0)

static inline tt_dp *dp_of(const char *service, const char *dc) {
    tt_dp_options o = {.size = sizeof o, .service = service, .dc = dc, .instance = "10.0.0.7:8080", .workers = 8};
    tt_dp *dp = tt_dp_new(&o);
    assert_non_null(dp);
    return dp;
}

/* One decision for checkout at dc-a, that never expires. */
static inline bool apply(tt_dp *dp, const tt_dp_action *actions, size_t n, uint64_t epoch, int64_t now_ns) {
    tt_dp_decision d = {.service = "checkout", .dc = "dc-a", .epoch = epoch, .version = 1, .n_actions = n, .actions = actions, .expire_after_ms = -1};
    return tt_dp_apply(dp, &d, 1, epoch, 0, now_ns);
}

/* splitmix64: the same numbers on every run. */
typedef struct {
    uint64_t state;
} prng;
static inline uint64_t prng_next(prng *r) {
    uint64_t z = r->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}
static inline double prng_unit(prng *r) {
    return (double)(prng_next(r) >> 11) * 0x1p-53;
}

#endif
