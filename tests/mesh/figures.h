/* What became of the requests: by second and by phase, whole and by priority. A request belongs to the second and the phase it was meant to be
 * sent in, whenever its answer comes. */
#ifndef MESH_FIGURES_H
#define MESH_FIGURES_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef enum { MESH_OK, MESH_FAILED, MESH_DROPPED, MESH_REFUSED, MESH_OUTCOMES } mesh_outcome; /* failed: error, unreachable or too late */

typedef struct {
    uint64_t offered, by[MESH_OUTCOMES], degraded, attempts;
    float *latency_ms; /* of those served within their time-out, since the intended time */
    size_t n, room;
} mesh_tally;

enum { MESH_CLASSES = 3 };
typedef struct {
    mesh_tally all, of[MESH_CLASSES]; /* of: by priority */
} mesh_bucket;

typedef struct {
    unsigned priority, attempts;
    mesh_outcome outcome;
    unsigned degraded; /* level of the answer */
    double latency_ms;
} mesh_result;

void mesh_bucket_offer(mesh_bucket *b, unsigned priority);
void mesh_bucket_add(mesh_bucket *b, const mesh_result *r);
void mesh_bucket_reset(mesh_bucket *b); /* empties it and frees what it holds */

/* Members of a JSON object, without braces. seconds > 0 adds rates over it. */
void mesh_bucket_print(FILE *f, mesh_bucket *b, double seconds, const char *const *priorities);

#endif
