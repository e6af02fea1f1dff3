#include "clock.h"

#include <stdio.h>
#include <string.h>
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

void tt_clock_calendar(tt_wall at, bool utc, int32_t *ret_day, uint16_t *ret_minute) {
    time_t s = (time_t)(at.ms / 1000);
    struct tm tm = {0};
    if (utc)
        gmtime_r(&s, &tm);
    else
        localtime_r(&s, &tm);
    struct tm midnight = {.tm_year = tm.tm_year, .tm_mon = tm.tm_mon, .tm_mday = tm.tm_mday};
    *ret_day = (int32_t)(timegm(&midnight) / 86400); /* the date alone, whatever zone it is a date of */
    *ret_minute = (uint16_t)(tm.tm_hour * 60 + tm.tm_min);
}

/* ---- as people write it ---- */

/* Exactly `digits` of them, from `lo` to `hi`. */
static bool field(const char **p, int digits, int lo, int hi, int *ret) {
    int v = 0;
    for (int i = 0; i < digits; i++) {
        char c = (*p)[i];
        if (c < '0' || c > '9') return false;
        v = v * 10 + (c - '0');
    }
    *p += digits;
    *ret = v;
    return v >= lo && v <= hi;
}

static bool skip(const char **p, const char *any_of) {
    if (!**p || !strchr(any_of, **p)) return false;
    (*p)++;
    return true;
}

/* RFC 3339, section 5.6; its note allows a space for the T. */
static bool rfc3339(const char *p, tt_wall *ret, bool *ret_no_zone) {
    struct tm tm = {0};
    int year, month, ms = 0, zone_h = 0, zone_m = 0;
    if (!field(&p, 4, 1970, 9999, &year) || !skip(&p, "-") || !field(&p, 2, 1, 12, &month) || !skip(&p, "-") || !field(&p, 2, 1, 31, &tm.tm_mday) ||
        !skip(&p, "Tt ") || !field(&p, 2, 0, 23, &tm.tm_hour) || !skip(&p, ":") || !field(&p, 2, 0, 59, &tm.tm_min))
        return false;
    if (skip(&p, ":") && !field(&p, 2, 0, 60, &tm.tm_sec)) return false; /* without seconds: the full minute */
    if (skip(&p, ".")) {
        int place = 100, digits = 0;
        for (; *p >= '0' && *p <= '9'; p++, digits++, place /= 10) ms += (*p - '0') * place;
        if (!digits) return false;
    }
    *ret_no_zone = *p == 0;
    bool west = *p == '-';
    if (!skip(&p, "Zz")) {
        if (!skip(&p, "+-") || !field(&p, 2, 0, 23, &zone_h) || !skip(&p, ":") || !field(&p, 2, 0, 59, &zone_m)) return false;
    }
    if (*p) return false;
    tm.tm_year = year - 1900;
    tm.tm_mon = month - 1;
    struct tm same = tm;
    int64_t s = timegm(&same);
    if (same.tm_mday != tm.tm_mday && tm.tm_sec < 60) return false; /* the 31st of a month that has none */
    int64_t zone = (int64_t)zone_h * 3600 + zone_m * 60;
    ret->ms = (s - (west ? -zone : zone)) * 1000 + ms;
    return true;
}

bool tt_clock_parse(const char *text, tt_wall now, tt_wall *ret, tt_err *err) {
    bool no_zone = false;
    double unix_s;
    int64_t ago_ns;
    tt_wall at;
    if (strcmp(text, "now") == 0) {
        *ret = now;
        return true;
    }
    if (text[0] == '-' && tt_parse_duration(tt_sv_of(text + 1), &ago_ns)) {
        ret->ms = now.ms - ago_ns / 1000000;
        return true;
    }
    /* A number this small is a year or a typing error, not an instant that anybody recorded. */
    if (tt_parse_number(tt_sv_of(text), &unix_s)) {
        if (unix_s < 1e8 || unix_s > 2.5e11)
            return tt_fail(err, TT_EVALUE, "\"%s\" is no time: Unix time is given in seconds, like 1790000000", text);
        ret->ms = (int64_t)(unix_s * 1000 + 0.5);
        return true;
    }
    if (rfc3339(text, &at, &no_zone)) {
        *ret = at;
        return true;
    }
    if (no_zone) return tt_fail(err, TT_EVALUE, "\"%s\" does not say which zone: put Z behind it for UTC, or an offset like +01:00", text);
    return tt_fail(err, TT_EVALUE, "\"%s\" is no time: write 2026-11-23T20:31:54Z, Unix seconds, -6h, or now", text);
}
