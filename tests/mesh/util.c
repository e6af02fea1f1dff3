#include "util.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

int64_t mesh_now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t mesh_wall_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

struct timeval mesh_tv(double ms) {
    if (!(ms > 0)) ms = 0;
    int64_t us = (int64_t)(ms * 1000);
    return (struct timeval){.tv_sec = us / 1000000, .tv_usec = us % 1000000};
}

uint64_t mesh_mix(uint64_t x) { /* splitmix64's finish: every bit in changes half the bits out */
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

uint64_t mesh_hash(uint64_t seed, const char *text, uint64_t salt) {
    uint64_t h = mesh_mix(seed) ^ 0xcbf29ce484222325u;
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) h = (h ^ *p) * 0x100000001b3u;
    return mesh_mix(h ^ mesh_mix(salt));
}

double mesh_unit(uint64_t hash) {
    return (double)(hash >> 11) * 0x1p-53;
}

void mesh_raise_file_limit(void) {
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r)) return;
    r.rlim_cur = r.rlim_max < 65536 ? r.rlim_max : 65536;
    setrlimit(RLIMIT_NOFILE, &r);
}

_Noreturn void mesh_usage_error(const char *program, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "%s: ", program);
    vfprintf(stderr, fmt, ap);
    fprintf(stderr, "\n");
    va_end(ap);
    exit(2);
}

double mesh_number(const char *program, const char *option, const char *text, double min, double max) {
    char *end = NULL;
    errno = 0;
    double v = strtod(text, &end);
    if (errno || end == text || *end || !isfinite(v) || v < min || v > max)
        mesh_usage_error(program, "%s %s: a number from %g to %g is needed", option, text, min, max);
    return v;
}
