/* Rows of figures, one a tick, the newest TT_HISTORY_MAX of them: what a loop's chart is drawn from. Figures are kept to three digits (within 0.1 %; whole
 * numbers to 1024 exactly; beyond 2^31 as that). Pure; one thread at a time. */
#ifndef TT_LOOP_HISTORY_H
#define TT_LOOP_HISTORY_H

#include "base.h"

enum { TT_HISTORY_CHUNK = 60, TT_HISTORY_CHUNKS = 10, TT_HISTORY_MAX = TT_HISTORY_CHUNK * TT_HISTORY_CHUNKS };

typedef struct tt_history_chunk tt_history_chunk;

typedef struct {
    unsigned char *packed[TT_HISTORY_CHUNKS]; /* whole chunks, a ring: `first` is the oldest */
    tt_history_chunk *open;                   /* being filled; NULL: nothing yet, or memory was out */
    uint8_t n_packed, first, n_open, n_channels;
} tt_history;

/* Adds a row. `phase` is below 256; NAN: not known. n is the same for every row until tt_history_forget. Without memory the row is lost. */
void tt_history_add(tt_history *h, int64_t wall_ms, unsigned phase, const float v[], uint32_t n);
void tt_history_forget(tt_history *h); /* and frees */

typedef struct {
    int64_t wall_ms;
    unsigned phase;
    const float *v; /* h->n_channels; good until the next row is read */
} tt_history_row;
/* Every row, oldest first: begins with {0}; false at the end. */
typedef struct {
    uint32_t chunk, row;
    bool begun;
    tt_history_row r;
    tt_history_chunk *of; /* the chunk being read, unpacked; freed at the end */
    float v[256];
} tt_history_walk;
bool tt_history_next(const tt_history *h, tt_history_walk *w);
uint32_t tt_history_rows(const tt_history *h);

#endif
