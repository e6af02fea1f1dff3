/* Prometheus's answer to an instant query, read once and turned into measurements for each signal that asked. Pure. */
#ifndef TT_ANSWER_H
#define TT_ANSWER_H

#include <jansson.h>

#include "engine.h"

enum { TT_ANSWER_TEXT = 320 };

typedef enum {
    TT_ANSWER_OK,
    TT_ANSWER_REFUSED, /* Prometheus is there and says the query is wrong, or too much */
    TT_ANSWER_GARBAGE, /* not an answer of Prometheus at all, or a failing one */
} tt_answer_kind;

typedef struct {
    json_t *root;         /* owned: measurements view into it */
    const json_t *series; /* array of {metric, value}; NULL with a scalar */
    const json_t *scalar; /* [time, "value"] */
} tt_answer;

/* `status` is HTTP's. On anything but OK *ret is empty and `why` says what is wrong. */
tt_answer_kind tt_answer_read(long status, tt_sv body, tt_answer *ret, char why[TT_ANSWER_TEXT]);
void tt_answer_free(tt_answer *a);
size_t tt_answer_count(const tt_answer *a);

/* A point of time known on three clocks: ours, Unix, and as Unix on the peer's machine. */
typedef struct {
    tt_time now;
    int64_t wall_ms, peer_ms; /* equal when the peer's is not known to differ */
} tt_answer_clock;

/* Writes tt_answer_count measurements of signal `index`. false and `why`: the series cannot be told apart or read; nothing of it may be used. */
bool tt_answer_measurements(const tt_answer *a, const tt_signal_def *def, uint32_t index, const tt_answer_clock *clock, tt_measurement *ret,
                            char why[TT_ANSWER_TEXT]);

#endif
