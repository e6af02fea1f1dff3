/* Numbers, ratios and durations, to and from text, whatever the process locale is: no text with a decimal point is
 * ever given to or taken from libc. */
#include "base.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Enough for any double to be told from its neighbours; digits behind these are folded into one that is not zero. */
enum { DIGITS_MAX = 800 };

typedef struct {
    bool negative;
    size_t n;               /* significant digits kept, no leading zeros */
    char digit[DIGITS_MAX]; /* '0'..'9' */
    int64_t exp10;          /* value = 0.digits x 10^exp10 is exp10 - n behind the last digit */
} decimal;

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* [-] digits [. digits] [e [+-] digits], all of it; exp10 counts from behind the last kept digit. */
static bool scan_decimal(tt_sv s, decimal *d) {
    size_t i = 0;
    bool beyond = false;
    d->negative = s.n && s.p[0] == '-';
    d->n = 0;
    d->exp10 = 0;
    if (d->negative) i++;
    for (int part = 0; part < 2; part++) {
        size_t first = i;
        for (; i < s.n && is_digit(s.p[i]); i++) {
            if (part) d->exp10--;
            if (d->n == 0 && s.p[i] == '0') continue;
            if (d->n < DIGITS_MAX - 1) {
                d->digit[d->n++] = s.p[i];
            } else {
                beyond = beyond || s.p[i] != '0';
                d->exp10++;
            }
        }
        if (i == first) return false;
        if (part == 0 && i < s.n && s.p[i] == '.')
            i++;
        else
            break;
    }
    if (i < s.n && (s.p[i] == 'e' || s.p[i] == 'E')) {
        bool minus = false;
        int64_t e = 0;
        i++;
        if (i < s.n && (s.p[i] == '+' || s.p[i] == '-')) minus = s.p[i++] == '-';
        size_t first = i;
        for (; i < s.n && is_digit(s.p[i]); i++)
            if (e < INT32_MAX) e = e * 10 + (s.p[i] - '0');
        if (i == first) return false;
        d->exp10 += minus ? -e : e;
    }
    if (i != s.n) return false;
    if (beyond) { /* more than half a unit is still more than half */
        d->digit[d->n++] = '1';
        d->exp10--;
    }
    return true;
}

/* The double nearest to the decimal. Up to 15 digits and 10^22 one exact operation gives it; the rest goes through strtod as
 * "digits e exponent", a text without a decimal point, so that no locale has a say. */
static bool to_double(const decimal *d, double *ret) {
    static const double power[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                   1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    double v = 0;
    if (d->n == 0) {
        *ret = d->negative ? -0.0 : 0.0;
        return true;
    }
    if (d->n <= 15 && d->exp10 >= -22 && d->exp10 <= 22) {
        int64_t whole = 0;
        for (size_t i = 0; i < d->n; i++) whole = whole * 10 + (d->digit[i] - '0');
        v = d->exp10 < 0 ? (double)whole / power[-d->exp10] : (double)whole * power[d->exp10];
    } else if (d->exp10 + (int64_t)d->n > 400) {
        return false;
    } else if (d->exp10 + (int64_t)d->n < -400) {
        v = 0;
    } else {
        char text[DIGITS_MAX + 32];
        memcpy(text, d->digit, d->n);
        snprintf(text + d->n, sizeof(text) - d->n, "e%lld", (long long)d->exp10);
        v = strtod(text, NULL);
        if (!isfinite(v)) return false;
    }
    *ret = d->negative ? -v : v;
    return true;
}

bool tt_parse_number(tt_sv s, double *ret) {
    decimal d;
    return scan_decimal(s, &d) && to_double(&d, ret);
}

bool tt_parse_ratio(tt_sv s, double *ret) {
    decimal d;
    double v;
    bool percent = s.n && s.p[s.n - 1] == '%';
    if (percent) s.n--;
    if (!scan_decimal(s, &d)) return false;
    if (percent) d.exp10 -= 2; /* in decimal, so that 99.9% is 0.999 and not a neighbour of it */
    if (!to_double(&d, &v) || d.negative || v > 1) return false;
    *ret = v;
    return true;
}

/* v's first `digits` decimal digits, correctly rounded, and the exponent behind the last; trailing zeros are dropped. */
static void round_to(double v, int digits, decimal *d) {
    char text[64];
    snprintf(text, sizeof(text), "%.*e", digits - 1, fabs(v));
    const char *p = text;
    d->negative = signbit(v) != 0;
    d->n = 0;
    for (; *p && *p != 'e'; p++) /* whatever stands for the point is passed over */
        if (is_digit(*p)) d->digit[d->n++] = *p;
    d->exp10 = (*p == 'e' ? strtol(p + 1, NULL, 10) : 0) - (int64_t)(d->n - 1);
    while (d->n > 1 && d->digit[d->n - 1] == '0') {
        d->n--;
        d->exp10++;
    }
}

static bool same(const decimal *d, double v) {
    double back;
    return to_double(d, &back) && back == v;
}

/* The last digit one up or down; false where that would need a carry (then the rounding itself was the better candidate). */
static bool nudge(decimal *d, int by) {
    char c = (char)(d->digit[d->n - 1] + by);
    if (!is_digit(c)) return false;
    d->digit[d->n - 1] = c;
    return true;
}

static void shortest(double v, decimal *d) {
    /* A normal double that has a text of up to 15 digits is found at 15; below the normal range precision is lower. */
    for (int digits = fabs(v) < 0x1p-1022 ? 1 : 15; digits < 17; digits++) {
        round_to(v, digits, d);
        if (same(d, v)) return;
        if (digits < 16 || d->n < 16) continue;
        /* At a power of two the gap below is half the gap above: the nearest of 16 digits may miss where its neighbour hits. */
        for (int by = -1; by <= 1; by += 2) {
            decimal near = *d;
            if (nudge(&near, by) && same(&near, v)) {
                *d = near;
                return;
            }
        }
    }
    round_to(v, 17, d);
}

void tt_buf_number(tt_buf *b, double v) {
    if (!isfinite(v)) {
        tt_buf_put(b, TT_SV("null"));
        return;
    }
    if (v == 0) {
        tt_buf_put(b, signbit(v) ? TT_SV("-0") : TT_SV("0"));
        return;
    }
    if (fabs(v) < 1e15 && v == trunc(v)) {
        tt_buf_printf(b, "%lld", (long long)v);
        return;
    }
    decimal d;
    shortest(v, &d);
    char text[64];
    size_t n = 0;
    int64_t point = (int64_t)d.n + d.exp10; /* digits before the point */
    if (d.negative) text[n++] = '-';
    if (point > 0 && point <= 21) {
        for (size_t i = 0; i < d.n || (int64_t)i < point; i++) {
            if ((int64_t)i == point) text[n++] = '.';
            text[n++] = i < d.n ? d.digit[i] : '0';
        }
    } else if (point <= 0 && point > -6) {
        text[n++] = '0';
        text[n++] = '.';
        for (int64_t i = point; i < 0; i++) text[n++] = '0';
        memcpy(text + n, d.digit, d.n);
        n += d.n;
    } else {
        text[n++] = d.digit[0];
        if (d.n > 1) {
            text[n++] = '.';
            memcpy(text + n, d.digit + 1, d.n - 1);
            n += d.n - 1;
        }
        n += (size_t)snprintf(text + n, sizeof(text) - n, "e%lld", (long long)(point - 1));
    }
    tt_buf_put(b, (tt_sv){text, n});
}

/* ---- durations ---- */

#define DURATION_MAX TT_SECONDS(400LL * 86400)

static const struct {
    const char *name;
    int64_t ns;
} units[] = {{"d", TT_SECONDS(86400)}, {"h", TT_SECONDS(3600)}, {"m", TT_SECONDS(60)}, {"s", TT_SECONDS(1)}, {"ms", TT_MS(1)}, {"us", 1000}};

bool tt_parse_duration(tt_sv s, int64_t *ret_ns) {
    int64_t total = 0;
    size_t i = 0, next_unit = 0; /* units only get smaller: "30m1h" is a slip of the pen */
    bool fraction = false;
    if (!s.n) return false;
    while (i < s.n) {
        if (fraction) return false; /* only the last member may have one */
        int64_t whole = 0, part = 0, scale = 1;
        size_t first = i;
        for (; i < s.n && is_digit(s.p[i]); i++) {
            whole = whole * 10 + (s.p[i] - '0');
            if (whole > DURATION_MAX) return false;
        }
        if (i == first) return false;
        if (i < s.n && s.p[i] == '.') {
            fraction = true;
            first = ++i;
            for (; i < s.n && is_digit(s.p[i]); i++) {
                if (i - first == 3) return false;
                part = part * 10 + (s.p[i] - '0');
                scale *= 10;
            }
            if (i == first) return false;
        }
        first = i;
        while (i < s.n && s.p[i] >= 'a' && s.p[i] <= 'z') i++;
        tt_sv unit = {s.p + first, i - first};
        while (next_unit < TT_COUNT(units) && !tt_sv_eq(unit, tt_sv_of(units[next_unit].name))) next_unit++;
        if (next_unit == TT_COUNT(units)) return false;
        int64_t each = units[next_unit++].ns, ns;
        if (__builtin_mul_overflow(whole, each, &ns)) return false;
        total += (ns > DURATION_MAX ? DURATION_MAX : ns) + part * (each / scale);
        if (ns > DURATION_MAX || total > DURATION_MAX) return false;
    }
    *ret_ns = total;
    return true;
}

void tt_format_duration(int64_t ns, char *buf, size_t size) {
    if (!size) return;
    const char *sign = ns < 0 ? "-" : "";
    uint64_t u = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
    unsigned long long ms = (u + 500000) / 1000000, s = ms / 1000, part = ms % 1000;
    if (u == 0) {
        snprintf(buf, size, "0s");
    } else if (u < 1000000) {
        snprintf(buf, size, "%s%lluus", sign, (unsigned long long)((u + 999) / 1000));
    } else if (s < 1) {
        snprintf(buf, size, "%s%llums", sign, ms);
    } else if (s < 60 && part) {
        char frac[4];
        snprintf(frac, sizeof(frac), "%03u", (unsigned)part);
        for (size_t n = 3; frac[n - 1] == '0'; n--) frac[n - 1] = '\0';
        snprintf(buf, size, "%s%llu.%ss", sign, s, frac);
    } else {
        s = (ms + 500) / 1000; /* beyond a minute nobody wants the milliseconds */
        unsigned long long left[] = {s / 86400, s / 3600 % 24, s / 60 % 60, s % 60};
        size_t n = 0;
        char text[64];
        for (size_t i = 0; i < 4; i++)
            if (left[i]) n += (size_t)snprintf(text + n, sizeof(text) - n, "%llu%s", left[i], units[i].name);
        snprintf(buf, size, "%s%s", sign, text);
    }
}
