/* Numbers, ratios and durations from any text: what is taken is written back and read as the same again; the double is the one libc finds. */
#include "base.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char text[1200];
    if (size >= sizeof(text)) return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    tt_sv s = {text, size};
    double v, back;
    int64_t ns, ns_back;
    tt_buf b;
    tt_buf_init(&b, 10000);
    if (tt_parse_number(s, &v)) {
        double theirs = strtod(text, NULL); /* the fuzzer never sets a locale */
        TT_ASSERT(isfinite(v) && memcmp(&theirs, &v, sizeof(v)) == 0);
        tt_buf_number(&b, v);
        TT_ASSERT(tt_parse_number((tt_sv){b.p, b.n}, &back) && memcmp(&back, &v, sizeof(v)) == 0);
        TT_ASSERT(v == trunc(v) || b.n <= 26);
    }
    if (size == sizeof(v)) { /* and as the bits of one */
        memcpy(&v, data, sizeof(v));
        b.n = 0;
        tt_buf_number(&b, v);
        TT_ASSERT(!isfinite(v) || (tt_parse_number((tt_sv){b.p, b.n}, &back) && memcmp(&back, &v, sizeof(v)) == 0));
    }
    if (tt_parse_ratio(s, &v)) TT_ASSERT(v >= 0 && v <= 1);
    if (tt_parse_duration(s, &ns)) {
        TT_ASSERT(ns >= 0 && ns <= TT_SECONDS(400LL * 86400));
        tt_format_duration(ns, text, sizeof(text));
        TT_ASSERT(tt_parse_duration(tt_sv_of(text), &ns_back));
        int64_t off = ns_back > ns ? ns_back - ns : ns - ns_back;
        TT_ASSERT(off <= (ns < TT_MS(1) ? 1000 : ns < TT_SECONDS(59) ? TT_MS(1) : TT_SECONDS(1))); /* rounded for people */
    }
    b.n = 0;
    tt_buf_json_string(&b, (tt_sv){(const char *)data, size});
    TT_ASSERT(!b.failed && b.n >= 2 && b.p[0] == '"' && b.p[b.n - 1] == '"');
    tt_buf_free(&b);
    return 0;
}
