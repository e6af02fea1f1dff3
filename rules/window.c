/* Freeze windows: times of the week, or from one date to another, in a calendar that is told, never read. */
#include "plan.h"

#include <stdio.h>
#include <string.h>

enum { DAY = 1440 };
static const char *const names[] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};

/* ---- reading ---- */

static tt_sv word(tt_sv *rest, char end) {
    size_t n = 0;
    while (n < rest->n && rest->p[n] != end) n++;
    tt_sv w = {rest->p, n};
    *rest = n < rest->n ? (tt_sv){rest->p + n + 1, rest->n - n - 1} : (tt_sv){rest->p + n, 0};
    return w;
}

static int day_of(tt_sv name) {
    for (int i = 0; i < 7; i++)
        if (tt_sv_eq(name, tt_sv_of(names[i]))) return i;
    return -1;
}

static bool read_days(tt_sv text, uint8_t *ret) {
    static const struct {
        const char *name;
        uint8_t days;
    } groups[] = {{"daily", 0x7f}, {"weekday", 0x1f}, {"weekend", 0x60}};
    *ret = 0;
    for (size_t i = 0; i < TT_COUNT(groups); i++)
        if (tt_sv_eq(text, tt_sv_of(groups[i].name))) *ret = groups[i].days;
    if (*ret) return true;
    while (text.n) {
        bool last = !memchr(text.p, ',', text.n);
        tt_sv part = word(&text, ',');
        bool span = memchr(part.p, '-', part.n) != NULL;
        int a = day_of(word(&part, '-')), b = span ? day_of(part) : a;
        if (a < 0 || b < 0 || (!last && !text.n)) return false;
        for (int d = a;; d = (d + 1) % 7) {
            *ret |= (uint8_t)(1u << d);
            if (d == b) break;
        }
    }
    return *ret != 0;
}

static bool digits(tt_sv s, size_t n, uint32_t *ret) {
    if (s.n != n) return false;
    *ret = 0;
    for (size_t i = 0; i < n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') return false;
        *ret = *ret * 10 + (uint32_t)(s.p[i] - '0');
    }
    return true;
}

static bool read_minute(tt_sv s, uint16_t *ret) {
    uint32_t h, m;
    tt_sv hour = word(&s, ':');
    if (!digits(hour, 2, &h) || !digits(s, 2, &m) || m > 59 || h * 60 + m > DAY) return false;
    *ret = (uint16_t)(h * 60 + m);
    return true;
}

bool tt_window_every(tt_sv text, tt_freeze_window *ret) {
    uint8_t days;
    uint16_t from = 0, to = DAY;
    if (!read_days(word(&text, ' '), &days)) return false;
    if (text.n) {
        tt_sv begin = word(&text, '-');
        if (!read_minute(begin, &from) || !read_minute(text, &to) || from == DAY || to == 0) return false;
    }
    ret->days = days;
    ret->from_minute = from;
    ret->to_minute = to;
    return true;
}

/* Days since 1970-01-01 in the proleptic Gregorian calendar: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", days_from_civil. */
static int32_t days_of(int32_t y, uint32_t m, uint32_t d) {
    y -= m <= 2;
    int32_t era = y / 400;
    uint32_t yoe = (uint32_t)(y - era * 400), doy = (153 * (m > 2 ? m - 3 : m + 9) + 2) / 5 + d - 1;
    return era * 146097 + (int32_t)(yoe * 365 + yoe / 4 - yoe / 100 + doy) - 719468;
}

static void date_of(int32_t day, int32_t *y, uint32_t *m, uint32_t *d) {
    uint32_t z = (uint32_t)(day + 719468), era = z / 146097, doe = z % 146097, yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    uint32_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    *d = doy - (153 * mp + 2) / 5 + 1;
    *m = mp < 10 ? mp + 3 : mp - 9;
    *y = (int32_t)(yoe + era * 400) + (*m <= 2);
}

bool tt_window_date(tt_sv text, int32_t *ret_day, uint16_t *ret_minute) {
    uint32_t y, m, d, back_m, back_d;
    int32_t back_y;
    uint16_t minute = 0;
    tt_sv date = word(&text, ' ');
    if (!digits(word(&date, '-'), 4, &y) || !digits(word(&date, '-'), 2, &m) || !digits(date, 2, &d)) return false;
    if (y < 1970 || m < 1 || m > 12 || d < 1 || d > 31 || (text.n && !read_minute(text, &minute))) return false;
    int32_t day = days_of((int32_t)y, m, d);
    date_of(day, &back_y, &back_m, &back_d);
    if (back_m != m || back_d != d) return false; /* the 31st of a month of 30 */
    *ret_day = day;
    *ret_minute = minute;
    return true;
}

/* ---- asking ---- */

static bool begins_on(const tt_freeze_window *w, int32_t day) {
    return w->days >> (((day + 3) % 7 + 7) % 7) & 1; /* 1970-01-01 was a Thursday */
}

bool tt_window_holds(const tt_freeze_window *w, int32_t day, uint16_t minute) {
    if (w->once)
        return (day > w->from_day || (day == w->from_day && minute >= w->from_minute)) &&
               (day < w->to_day || (day == w->to_day && minute < w->to_minute));
    bool over_midnight = w->to_minute <= w->from_minute;
    if (begins_on(w, day) && minute >= w->from_minute && (over_midnight || minute < w->to_minute)) return true;
    return over_midnight && begins_on(w, day - 1) && minute < w->to_minute;
}

static size_t put_date(char *buf, size_t size, int32_t day, uint16_t minute) {
    int32_t y;
    uint32_t m, d;
    date_of(day, &y, &m, &d);
    int n = snprintf(buf, size, "%04d-%02u-%02u %02u:%02u", y, m, d, minute / 60, minute % 60);
    return n > 0 && (size_t)n < size ? (size_t)n : 0;
}

void tt_window_text(const tt_freeze_window *w, char *buf, size_t size) {
    size_t n = 0;
    buf[0] = 0;
    if (w->once) {
        n += put_date(buf, size, w->from_day, w->from_minute);
        n += (size_t)snprintf(buf + n, size - n, " to ");
        n += put_date(buf + n, size - n, w->to_day, w->to_minute);
    } else {
        const char *group = w->days == 0x7f ? "daily" : w->days == 0x1f ? "weekday" : w->days == 0x60 ? "weekend" : NULL;
        if (group) n += (size_t)snprintf(buf, size, "%s", group);
        for (int d = 0; !group && d < 7; d++)
            if (w->days >> d & 1 && n + 8 < size) n += (size_t)snprintf(buf + n, size - n, "%s%s", n ? "," : "", names[d]);
        if (n + 16 < size)
            n += (size_t)snprintf(buf + n, size - n, " %02d:%02d-%02d:%02d", w->from_minute / 60, w->from_minute % 60, w->to_minute / 60,
                                  w->to_minute % 60);
    }
    if (w->utc && n + 5 < size) snprintf(buf + n, size - n, " UTC");
}
