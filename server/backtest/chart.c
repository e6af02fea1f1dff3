/* The span as a picture: a lane for each loop, from its opening to its end, its first decision marked. Colours tell blue from orange, never red from
 * green, and every mark has its sentence as a title. */
#include <stdio.h>
#include <string.h>

#include "backtest/backtest.h"
#include "clock.h"

enum { LEFT = 250, RIGHT = 24, WIDTH = 1100, LANE = 22, TOP = 56, LANES_MAX = 200 };

/* For text and attributes: what must be written otherwise in XML, and nothing that it forbids. */
static void put_text(tt_buf *b, const char *s) {
    for (; *s; s++) {
        switch (*s) {
        case '&': tt_buf_put(b, TT_SV("&amp;")); break;
        case '<': tt_buf_put(b, TT_SV("&lt;")); break;
        case '>': tt_buf_put(b, TT_SV("&gt;")); break;
        case '"': tt_buf_put(b, TT_SV("&quot;")); break;
        default: tt_buf_put(b, (unsigned char)*s < ' ' ? TT_SV(" ") : (tt_sv){s, 1});
        }
    }
}

static double x_of(const tt_backtest_spec *s, int64_t ms) {
    double span = s->to_ms > s->from_ms ? (double)(s->to_ms - s->from_ms) : 1, part = (double)(ms - s->from_ms) / span;
    return LEFT + (part < 0 ? 0 : part > 1 ? 1 : part) * (WIDTH - LEFT - RIGHT);
}

static void put_number(tt_buf *b, double v) {
    char n[32];
    snprintf(n, sizeof n, "%.1f", v);
    tt_buf_put(b, tt_sv_of(n));
}

static void put_axis(tt_buf *b, const tt_backtest_spec *s, int bottom) {
    /* A tick each round span, eight or so in all. */
    static const int64_t rounds[] = {60, 300, 600, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800, 604800, 2592000};
    int64_t each = rounds[TT_COUNT(rounds) - 1] * 1000;
    for (size_t i = TT_COUNT(rounds); i-- > 0;)
        if ((s->to_ms - s->from_ms) / (rounds[i] * 1000) <= 9) each = rounds[i] * 1000;
    for (int64_t at = (s->from_ms + each - 1) / each * each; at <= s->to_ms; at += each) {
        char t[TT_CLOCK_TEXT_SIZE];
        tt_clock_text((tt_wall){at}, t);
        t[10] = ' ';
        t[16] = 0;
        tt_buf_put(b, TT_SV("<line class=\"axis\" x1=\""));
        put_number(b, x_of(s, at));
        tt_buf_put(b, TT_SV("\" x2=\""));
        put_number(b, x_of(s, at));
        tt_buf_printf(b, "\" y1=\"%d\" y2=\"%d\"/><text class=\"time\" x=\"", TOP - 12, bottom);
        put_number(b, x_of(s, at));
        tt_buf_printf(b, "\" y=\"%d\">", TOP - 18);
        put_text(b, each >= 86400000 ? (t[10] = 0, t + 5) : t + 11);
        tt_buf_put(b, TT_SV("</text>\n"));
    }
}

static void put_lane(tt_buf *b, const tt_backtest_spec *s, const tt_backtest_loop *l, int y) {
    static const char *const classes[] = {"acts", "itself", "none", "none", "itself"};
    double from = x_of(s, l->opened_ms), to = x_of(s, l->closed_ms ? l->closed_ms : s->to_ms);
    char name[3 * TT_NAME_MAX + 8];
    snprintf(name, sizeof name, "%s%s%s%s%s", l->target.service, l->target.dc[0] ? "@" : "", l->target.dc, l->target.instance[0] ? "/" : "", l->target.instance);
    tt_buf_printf(b, "<text class=\"name\" x=\"%d\" y=\"%d\">", LEFT - 10, y + 14);
    put_text(b, name);
    tt_buf_put(b, TT_SV("</text><rect class=\""));
    tt_buf_put(b, tt_sv_of(classes[tt_backtest_verdict_of(l)]));
    tt_buf_put(b, TT_SV("\" x=\""));
    put_number(b, from);
    tt_buf_printf(b, "\" y=\"%d\" width=\"", y + 3);
    put_number(b, to - from < 2 ? 2 : to - from);
    tt_buf_printf(b, "\" height=\"%d\" rx=\"2\"><title>", LANE - 8);
    put_text(b, l->plan);
    tt_buf_put(b, TT_SV(": "));
    put_text(b, l->opened_because);
    tt_buf_put(b, TT_SV(". "));
    put_text(b, l->closed_ms ? l->closed_because : "still open at the end");
    tt_buf_put(b, TT_SV("</title></rect>"));
    if (l->first_ms) {
        tt_buf_put(b, TT_SV("<circle class=\"first\" cx=\""));
        put_number(b, x_of(s, l->first_ms));
        tt_buf_printf(b, "\" cy=\"%d\" r=\"4\"><title>first decision:", y + LANE / 2 - 1);
        for (uint32_t i = 0; i < l->n_wishes; i++) {
            if (!l->wish[i].in_first) continue;
            tt_buf_put(b, TT_SV(" "));
            put_text(b, l->wish[i].action);
            tt_buf_put(b, TT_SV(" "));
            tt_buf_number(b, l->wish[i].first);
            tt_buf_put(b, TT_SV(" "));
            put_text(b, l->wish[i].unit);
            tt_buf_put(b, TT_SV(";"));
        }
        tt_buf_put(b, TT_SV("</title></circle>"));
    }
    tt_buf_put(b, TT_SV("\n"));
}

void tt_backtest_svg(const tt_backtest *b, tt_buf *out) {
    const tt_backtest_spec *s = tt_backtest_spec_of(b);
    const tt_backtest_loop *const *loops;
    const tt_backtest_note *freezes;
    size_t all = tt_backtest_loops(b, &loops), n = all < LANES_MAX ? all : LANES_MAX, n_freezes = tt_backtest_freezes(b, &freezes);
    int bottom = TOP + (int)(n ? n : 1) * LANE, height = bottom + 40;
    char from[TT_CLOCK_TEXT_SIZE], to[TT_CLOCK_TEXT_SIZE];
    tt_clock_text((tt_wall){s->from_ms}, from);
    tt_clock_text((tt_wall){s->to_ms}, to);
    tt_buf_printf(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" role=\"img\">\n", WIDTH, height, WIDTH, height);
    tt_buf_put(out, TT_SV("<style>text{font:12px system-ui,sans-serif;fill:#24292f}.name{text-anchor:end}.time{text-anchor:middle;fill:#57606a}"
                          ".axis{stroke:#d0d7de}.acts{fill:#0072b2}.itself{fill:#b8c0c8}.none{fill:#e69f00}.first{fill:#fff;stroke:#003b5c;stroke-width:2}"
                          ".frozen{stroke:#d55e00;stroke-dasharray:4 3}</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"));
    tt_buf_printf(out, "<text x=\"%d\" y=\"18\" font-weight=\"600\">Backtest, %s to %s: %zu loop%s%s</text>\n", 12, from, to, all, all == 1 ? "" : "s",
                  all > n ? " (the first 200 are drawn)" : "");
    put_axis(out, s, bottom);
    for (size_t i = 0; i < n_freezes; i++) {
        tt_buf_put(out, TT_SV("<line class=\"frozen\" x1=\""));
        put_number(out, x_of(s, freezes[i].at_ms));
        tt_buf_put(out, TT_SV("\" x2=\""));
        put_number(out, x_of(s, freezes[i].at_ms));
        tt_buf_printf(out, "\" y1=\"%d\" y2=\"%d\"><title>frozen: ", TOP - 12, bottom);
        put_text(out, freezes[i].text);
        tt_buf_put(out, TT_SV("</title></line>\n"));
    }
    for (size_t i = 0; i < n; i++) put_lane(out, s, loops[i], TOP + (int)i * LANE);
    static const struct {
        const char *class_, *text;
    } legend[] = {{"acts", "would have acted; the ring is its first decision"},
                  {"itself", "over by itself, or only watched"},
                  {"none", "nothing to do about it, or waited for a person"}};
    int x = 12;
    for (size_t i = 0; i < TT_COUNT(legend); i++) {
        tt_buf_printf(out, "<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"14\" height=\"10\" rx=\"2\"/><text x=\"%d\" y=\"%d\">%s</text>\n", legend[i].class_, x,
                      bottom + 18, x + 20, bottom + 27, legend[i].text);
        x += 40 + 7 * (int)strlen(legend[i].text);
    }
    tt_buf_put(out, TT_SV("</svg>\n"));
}
