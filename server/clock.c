#include "clock.h"

#include <stdio.h>
#include <time.h>

tt_time tt_clock_now(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (tt_time){(int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec};
}

tt_wall tt_clock_wall(void) {
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (tt_wall){(int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000};
}

void tt_clock_text(tt_wall at, char buf[TT_CLOCK_TEXT_SIZE]) {
    int64_t ms = at.ms % 1000;
    time_t s = (time_t)((at.ms - ms) / 1000);
    if (ms < 0) {
        ms += 1000;
        s--;
    }
    struct tm tm;
    if (!gmtime_r(&s, &tm) || tm.tm_year < -1900 || tm.tm_year > 8099) {
        snprintf(buf, TT_CLOCK_TEXT_SIZE, "%lld ms", (long long)at.ms);
        return;
    }
    /* The modulo tells the compiler that every field fits. */
    snprintf(buf, TT_CLOCK_TEXT_SIZE, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ", (unsigned)(tm.tm_year + 1900) % 10000, (unsigned)(tm.tm_mon + 1) % 100,
             (unsigned)tm.tm_mday % 100, (unsigned)tm.tm_hour % 100, (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100, (unsigned)ms % 1000);
}
