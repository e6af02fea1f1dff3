#include "figures.h"

#include <stdlib.h>
#include <string.h>

static void add(mesh_tally *t, const mesh_result *r) {
    t->by[r->outcome]++;
    t->attempts += r->attempts;
    if (r->outcome != MESH_OK) return;
    if (r->degraded) t->degraded++;
    if (t->n == t->room) {
        size_t room = t->room ? 2 * t->room : 256;
        float *more = realloc(t->latency_ms, room * sizeof *more);
        if (!more) return;
        t->latency_ms = more;
        t->room = room;
    }
    t->latency_ms[t->n++] = (float)r->latency_ms;
}

void mesh_bucket_offer(mesh_bucket *b, unsigned priority) {
    b->all.offered++;
    b->of[priority].offered++;
}

void mesh_bucket_add(mesh_bucket *b, const mesh_result *r) {
    add(&b->all, r);
    add(&b->of[r->priority], r);
}

void mesh_bucket_reset(mesh_bucket *b) {
    free(b->all.latency_ms);
    for (size_t i = 0; i < MESH_CLASSES; i++) free(b->of[i].latency_ms);
    memset(b, 0, sizeof *b);
}

static int ascending(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void print_quantile(FILE *f, const char *name, const mesh_tally *t, double q) {
    if (t->n == 0) {
        fprintf(f, ",\"%s\":null", name);
        return;
    }
    size_t i = (size_t)(q * (double)t->n);
    fprintf(f, ",\"%s\":%.1f", name, (double)t->latency_ms[i < t->n ? i : t->n - 1]);
}

static double share(uint64_t part, uint64_t whole) {
    return whole ? (double)part / (double)whole : 0;
}

static void print_tally(FILE *f, mesh_tally *t, double seconds) {
    if (t->n > 1) qsort(t->latency_ms, t->n, sizeof *t->latency_ms, ascending);
    fprintf(f, "\"offered\":%llu,\"ok\":%llu,\"failed\":%llu,\"dropped\":%llu,\"refused\":%llu,\"degraded\":%llu,\"attempts\":%llu",
            (unsigned long long)t->offered, (unsigned long long)t->by[MESH_OK], (unsigned long long)t->by[MESH_FAILED],
            (unsigned long long)t->by[MESH_DROPPED], (unsigned long long)t->by[MESH_REFUSED], (unsigned long long)t->degraded,
            (unsigned long long)t->attempts);
    print_quantile(f, "p50_ms", t, 0.5);
    print_quantile(f, "p99_ms", t, 0.99);
    if (seconds <= 0) return;
    fprintf(f, ",\"offered_rps\":%.2f,\"goodput_rps\":%.2f,\"error_ratio\":%.5f,\"degraded_ratio\":%.5f", (double)t->offered / seconds,
            (double)t->by[MESH_OK] / seconds, t->offered ? 1 - share(t->by[MESH_OK], t->offered) : 0, share(t->degraded, t->by[MESH_OK]));
}

void mesh_bucket_print(FILE *f, mesh_bucket *b, double seconds, const char *const *priorities) {
    print_tally(f, &b->all, seconds);
    fputs(",\"by_priority\":{", f);
    const char *sep = "";
    for (size_t i = 0; i < MESH_CLASSES; i++) {
        if (b->of[i].offered == 0) continue;
        fprintf(f, "%s\"%s\":{", sep, priorities[i]);
        print_tally(f, &b->of[i], seconds);
        fputc('}', f);
        sep = ",";
    }
    fputc('}', f);
}
