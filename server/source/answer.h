/* Prometheus's answer to a query, read once and turned into measurements for each signal that asked. Pure. */
#ifndef TT_ANSWER_H
#define TT_ANSWER_H

#include <jansson.h>

#include "engine.h"

enum { TT_ANSWER_TEXT = 320 };
#define TT_ANSWER_ALIKE                                                                                                                              \
    "two series of the answer are one once names and `labels:` are applied: aggregate them, as in sum by (service, dc) (...)"

typedef enum {
    TT_ANSWER_OK,
    TT_ANSWER_REFUSED, /* Prometheus is there and says the query is wrong, or too much */
    TT_ANSWER_GARBAGE, /* not an answer of Prometheus at all, or a failing one */
} tt_answer_kind;

typedef struct {
    json_t *root;         /* owned: measurements view into it */
    const json_t *series; /* array of {metric, value}, of {metric, values} for a range; NULL with a scalar */
    const json_t *scalar; /* [time, "value"] */
} tt_answer;

/* `status` is HTTP's. On anything but OK *ret is empty and `why` says what is wrong. */
tt_answer_kind tt_answer_read(long status, tt_sv body, tt_answer *ret, char why[TT_ANSWER_TEXT]);
/* The same for a range query, whose answer is a matrix. */
tt_answer_kind tt_answer_read_range(long status, tt_sv body, tt_answer *ret, char why[TT_ANSWER_TEXT]);
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

/* The parts, for who reads a range. */
/* The labels of one series as `def` renames them: views into `metric`. false and `why`: too many, or not text. */
bool tt_answer_labels(const json_t *metric, const tt_signal_def *def, tt_measurement *m, char why[TT_ANSWER_TEXT]);
/* "0.25", "NaN", "+Inf". false: no number at all. What is not finite is NaN. */
bool tt_answer_number(tt_sv text, double *ret);
/* Series that are one by their labels get the same number in `ret`, which has room for n. The count of numbers; SIZE_MAX: memory is out. */
size_t tt_answer_alike(const tt_measurement *m, size_t n, size_t ret[]);

#endif
