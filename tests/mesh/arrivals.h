/* When requests come: Poisson arrivals from a seed, at a rate that changes by a schedule. All in the schedule's own time, so that the same seed
 * and schedule give the same requests at the same times in every run, however late the program itself wakes. */
#ifndef MESH_ARRIVALS_H
#define MESH_ARRIVALS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum { MESH_RATE, MESH_MARK, MESH_QUIT } mesh_command_kind;
typedef struct {
    int64_t at_ns; /* since the start */
    mesh_command_kind kind;
    double rate;
    char name[32];
} mesh_command;

typedef struct {
    uint64_t seed, next_index;
    mesh_command commands[256]; /* in order of time */
    size_t n_commands, next_command;
    double rate;
    double left;   /* of the next gap, in expected arrivals: a unit exponential */
    int64_t at_ns; /* up to where `left` has been counted */
} mesh_arrivals;

void mesh_arrivals_init(mesh_arrivals *a, uint64_t seed);
/* "rate 200", "mark before", "quit"; false with a sentence. A command for the past counts from now on. */
bool mesh_arrivals_add(mesh_arrivals *a, int64_t at_ns, const char *text, char *why, size_t why_size);
/* A file of lines "SECONDS COMMAND"; # begins a comment. */
bool mesh_arrivals_read(mesh_arrivals *a, const char *path, char *why, size_t why_size);

typedef struct {
    enum { MESH_NOTHING, MESH_ARRIVAL, MESH_COMMAND } kind;
    int64_t at_ns;
    uint64_t index; /* of the arrival */
    mesh_command command;
} mesh_happening;
/* What comes next, and takes it. NOTHING: no load and no command is left. */
mesh_happening mesh_arrivals_next(mesh_arrivals *a);
/* When that will be; INT64_MAX for never. */
int64_t mesh_arrivals_when(const mesh_arrivals *a);

#endif
