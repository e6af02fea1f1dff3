/* Small things both mesh programs need: time, repeatable chance, figures of a run. */
#ifndef MESH_UTIL_H
#define MESH_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/time.h>

int64_t mesh_now_ns(void);  /* CLOCK_MONOTONIC */
int64_t mesh_wall_ms(void); /* Unix time, for people */
struct timeval mesh_tv(double ms);

/* Chance that repeats: the same seed, text and salt give the same number in every run and every process. */
uint64_t mesh_mix(uint64_t x);
uint64_t mesh_hash(uint64_t seed, const char *text, uint64_t salt);
double mesh_unit(uint64_t hash); /* [0, 1) */

/* As many open files as the host allows: a mesh in trouble holds many connections. */
void mesh_raise_file_limit(void);
/* Prints "PROGRAM: ..." to stderr and ends with status 2: a mistake of who started us. */
_Noreturn void mesh_usage_error(const char *program, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Numbers from the command line, with bounds; ends the program when it isn't one. */
double mesh_number(const char *program, const char *option, const char *text, double min, double max);

#endif
