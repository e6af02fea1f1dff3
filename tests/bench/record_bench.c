/* What recording costs: time on the tick's own thread, and bytes on disk, by the number of series. Values are as monitoring gives them: a third rates
 * and a third ratios with all their digits, a third counts; each moves a little with every poll. Never part of a test. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "model.h"
#include "record/record.h"

enum { POLL_EVERY = 5, PER_SIGNAL = 100 };

static double now_us(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void fill(tt_measurement *m, char (*names)[24], size_t n, uint64_t tick) {
    for (size_t i = 0; i < n; i++) {
        double noise = tt_model_random(tick, i, 0), v;
        switch (i % 3) {
        case 0:
            v = 200 * (1 + 0.1 * (noise - 0.5)) / 30;
            break;
        case 1:
            v = floor(3 + 4 * noise) / floor(900 + 200 * tt_model_random(tick, i, 1));
            break;
        default:
            v = floor(10 * noise);
        }
        m[i] = (tt_measurement){.signal = (uint32_t)(i / PER_SIGNAL % 64),
                                .n_labels = 3,
                                .value = v,
                                .at = {TT_SECONDS((int64_t)tick) - TT_MS(3)},
                                .window_ns = TT_SECONDS(30)};
        m[i].labels[0] = (tt_label){TT_SV("service"), tt_sv_of(names[i])};
        m[i].labels[1] = (tt_label){TT_SV("dc"), i % 2 ? TT_SV("eu-west-1a") : TT_SV("eu-west-1b")};
        m[i].labels[2] = (tt_label){TT_SV("priority"), TT_SV("normal")};
    }
}

static void measure(size_t n, uint64_t seconds) {
    char dir[] = "/tmp/trimtab-record-bench-XXXXXX", command[128];
    tt_measurement *m = calloc(n, sizeof *m);
    char(*names)[24] = calloc(n, sizeof *names);
    tt_poll polls[64];
    double *us = calloc(seconds, sizeof *us), all = 0;
    size_t with = 0;
    tt_err err;
    if (!mkdtemp(dir) || !m || !names || !us) exit(1);
    for (size_t i = 0; i < n; i++) snprintf(names[i], sizeof names[i], "service-%03zu", i % PER_SIGNAL + 100 * (i / (64 * PER_SIGNAL)));
    for (uint32_t i = 0; i < 64; i++) polls[i] = (tt_poll){i, true, false, {NULL, 0}};
    const tt_recorder_options opt = {.dir = dir, .max_bytes = 8ull << 30, .segment_bytes = 4ull << 30, .segment_ns = INT64_MAX, .version = "bench"};
    tt_recorder *r = tt_recorder_new(&opt, &err);
    tt_engine_config cfg;
    tt_engine_config_default(&cfg);
    const tt_record_base base = {.config = &cfg, .rules = &(tt_rules_texts){0}, .now = {1}, .wall = {1790000000000}};
    if (!r) exit(1);
    tt_recorder_begin(r, &base);
    tt_recorder_status before, after;
    for (uint64_t t = 1; t <= seconds; t++) {
        bool polled = t % POLL_EVERY == 0;
        if (polled) fill(m, names, n, t);
        const tt_observations obs = {.now = {TT_SECONDS((int64_t)t)},
                                     .wall = {1790000000000 + (int64_t)t * 1000},
                                     .n_polls = polled ? n / PER_SIGNAL < 64 ? n / PER_SIGNAL : 64 : 0,
                                     .polls = polls,
                                     .n_measurements = polled ? n : 0,
                                     .measurements = m};
        double begun = now_us();
        tt_recorder_tick(r, &obs, &(tt_outcome){0});
        if (polled) all += us[with++] = now_us() - begun;
        if (t % 20 == 0) tt_recorder_sync(r);
        if (t == 20) tt_recorder_status_of(r, &before);
    }
    tt_recorder_sync(r);
    tt_recorder_status_of(r, &after);
    double per = (double)(after.bytes - before.bytes) / (double)(seconds - 20) * POLL_EVERY / (double)n;
    qsort(us, with, sizeof *us, by_value);
    printf("%8zu %14.0f %14.1f %16.2f %16.1f\n", n, us[with / 2], us[with / 2] * 1000 / (double)n, per,
           per * (double)n / POLL_EVERY * 86400 * 7 / 1048576);
    tt_recorder_free(r);
    snprintf(command, sizeof command, "rm -r %s", dir);
    if (system(command) != 0) exit(1);
    free(m);
    free(names);
    free(us);
}

int main(void) {
    printf("%8s %14s %14s %16s %16s\n", "series", "tick us", "ns a sample", "bytes a sample", "MiB a week");
    measure(100, 2000);
    measure(1000, 2000);
    measure(10000, 1000);
    measure(100000, 200);
    return 0;
}
