#include "chart.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PANELS_MAX = 8,
    LINES_MAX = 128,
    KINDS_MAX = 16,
    LANES_MAX = 24,
    INKS = 8,
    DASHES = 4,
    WIDTH = 1120,
    LEFT = 64,
    RIGHT = 208, /* the legend */
    HEAD = 62,
    PANEL = 148,
    PANEL_GAP = 34,
    LANE = 20,
    LEGEND_ROW = 16,
    FOOT = 34,
    NAME = 96,
};

typedef struct {
    char title[NAME], unit[16];
    tt_chart_shape shape;
    double top;
} panel;

typedef struct {
    int panel, ink, dashes;
    char name[NAME];
    float *v;
    size_t n; /* columns it has */
} line;

typedef struct {
    int lane, kind;
    double from, to;
} span;

struct tt_chart {
    char title[256], subtitle[256];
    panel panels[PANELS_MAX];
    int n_panels;
    line lines[LINES_MAX];
    int n_lines;
    double *at;
    size_t n, cap;
    char lanes[LANES_MAX][NAME], kinds[KINDS_MAX][NAME];
    int n_lanes, n_kinds, kind_ink[KINDS_MAX];
    span *spans;
    size_t n_spans, cap_spans;
    struct {
        char text[NAME];
        double from, to;
    } shades[16];
    int n_shades;
    bool failed;
};

tt_chart *tt_chart_new(const char *title, const char *subtitle) {
    tt_chart *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    snprintf(c->title, sizeof c->title, "%s", title);
    snprintf(c->subtitle, sizeof c->subtitle, "%s", subtitle);
    return c;
}

void tt_chart_free(tt_chart *c) {
    if (!c) return;
    for (int i = 0; i < c->n_lines; i++) free(c->lines[i].v);
    free(c->at);
    free(c->spans);
    free(c);
}

int tt_chart_panel(tt_chart *c, const char *title, const char *unit, tt_chart_shape shape, double top) {
    for (int i = 0; i < c->n_panels; i++)
        if (strcmp(c->panels[i].title, title) == 0) return i;
    if (c->n_panels == PANELS_MAX) return -1;
    panel *p = &c->panels[c->n_panels];
    *p = (panel){.shape = shape, .top = top};
    snprintf(p->title, sizeof p->title, "%s", title);
    snprintf(p->unit, sizeof p->unit, "%s", unit);
    return c->n_panels++;
}

int tt_chart_line(tt_chart *c, int at, const char *name, int ink, int dashes) {
    int used = 0;
    if (at < 0) return -1;
    for (int i = 0; i < c->n_lines; i++) {
        if (c->lines[i].panel != at) continue;
        if (strcmp(c->lines[i].name, name) == 0) return i;
        used++;
    }
    /* No more than the legend has room for. */
    if (c->n_lines == LINES_MAX || used >= PANEL / LEGEND_ROW + 1) return -1;
    line *l = &c->lines[c->n_lines];
    *l = (line){.panel = at, .ink = ink < 0 ? used % INKS : ink % INKS, .dashes = ink < 0 ? used / INKS % DASHES : dashes % DASHES};
    snprintf(l->name, sizeof l->name, "%s", name);
    return c->n_lines++;
}

void tt_chart_at(tt_chart *c, double seconds) {
    if (c->failed) return;
    if (c->n == c->cap) {
        size_t cap = c->cap ? c->cap * 2 : 1024;
        double *more = realloc(c->at, cap * sizeof *more);
        if (more) c->at = more;
        c->failed = !more;
        for (int i = 0; i < c->n_lines && !c->failed; i++) {
            if (!c->lines[i].v) continue;
            float *v = realloc(c->lines[i].v, cap * sizeof *v);
            if (v) c->lines[i].v = v;
            c->failed = !v;
        }
        if (c->failed) return;
        c->cap = cap;
    }
    c->at[c->n++] = seconds;
}

int tt_chart_place(const tt_chart *c, int at) {
    int place = 0;
    for (int i = 0; i < at; i++) place += c->lines[i].panel == c->lines[at].panel;
    return place;
}

size_t tt_chart_columns(const tt_chart *c) { return c->n; }

void tt_chart_set(tt_chart *c, int at, size_t column, double value) {
    if (at < 0 || c->failed || column >= c->n) return;
    line *l = &c->lines[at];
    if (!l->v && !(l->v = malloc(c->cap * sizeof *l->v))) {
        c->failed = true;
        return;
    }
    while (l->n <= column) l->v[l->n++] = (float)NAN;
    l->v[column] = isfinite(value) ? (float)value : (float)NAN;
}

void tt_chart_put(tt_chart *c, int at, double value) {
    if (c->n) tt_chart_set(c, at, c->n - 1, value);
}

static int name_in(char names[][NAME], int *n, int max, const char *name) {
    for (int i = 0; i < *n; i++)
        if (strcmp(names[i], name) == 0) return i;
    if (*n == max) return -1;
    snprintf(names[*n], NAME, "%s", name);
    return (*n)++;
}

void tt_chart_span(tt_chart *c, const char *lane, const char *kind, int ink, double from, double to) {
    int had = c->n_kinds;
    int l = name_in(c->lanes, &c->n_lanes, LANES_MAX, lane), k = name_in(c->kinds, &c->n_kinds, KINDS_MAX, kind);
    if (l < 0 || k < 0 || c->failed) return;
    if (c->n_kinds > had) c->kind_ink[k] = ink % INKS;
    for (size_t i = c->n_spans; i-- > 0;)
        if (c->spans[i].lane == l) {
            if (c->spans[i].kind != k || fabs(c->spans[i].to - from) > 1e-6) break;
            c->spans[i].to = to;
            return;
        }
    if (c->n_spans == c->cap_spans) {
        size_t cap = c->cap_spans ? c->cap_spans * 2 : 64;
        span *more = realloc(c->spans, cap * sizeof *more);
        c->failed = !more;
        if (!more) return;
        c->spans = more;
        c->cap_spans = cap;
    }
    c->spans[c->n_spans++] = (span){l, k, from, to};
}

void tt_chart_shade(tt_chart *c, const char *text, double from, double to) {
    if (c->n_shades == (int)TT_COUNT(c->shades)) return;
    snprintf(c->shades[c->n_shades].text, NAME, "%s", text);
    c->shades[c->n_shades].from = from;
    c->shades[c->n_shades++].to = to;
}

/* ---- SVG ---- */

/* For text and attributes: what must be written otherwise in XML, and nothing that it forbids. */
static void put_text(tt_buf *b, const char *s) {
    for (; *s; s++) {
        switch (*s) {
        case '&':
            tt_buf_put(b, TT_SV("&amp;"));
            break;
        case '<':
            tt_buf_put(b, TT_SV("&lt;"));
            break;
        case '>':
            tt_buf_put(b, TT_SV("&gt;"));
            break;
        case '"':
            tt_buf_put(b, TT_SV("&quot;"));
            break;
        default:
            tt_buf_put(b, (unsigned char)*s < ' ' ? TT_SV(" ") : (tt_sv){s, 1});
        }
    }
}

static void put(tt_buf *b, double v) {
    tt_buf_number(b, round(v * 10) / 10);
}

/* 1, 2 or 5 times a power of ten, so that at most n steps cover the span. */
static double nice_step(double range, int n) {
    double raw = range / n, p = pow(10, floor(log10(raw)));
    static const double steps[] = {1, 2, 5, 10};
    for (size_t i = 0; i < TT_COUNT(steps); i++)
        if (steps[i] * p >= raw * 0.999) return steps[i] * p;
    return 10 * p;
}

typedef struct {
    const tt_chart *c;
    tt_buf *b;
    double first, last; /* seconds */
} drawing;

static double x_of(const drawing *d, double t) {
    double part = (t - d->first) / (d->last - d->first);
    return LEFT + fmin(fmax(part, 0), 1) * (WIDTH - LEFT - RIGHT);
}

static const char style[] =
    "<style>\n"
    "svg{--bg:#ffffff;--fg:#1f2328;--dim:#59636e;--grid:#e4e8ec;--frame:#c5ccd3;--shade:#f6c66733;--c0:#0067b8;--c1:#d55e00;--c2:#00815c;--c3:#a3388f;"
    "--c4:#6f7780;--c5:#b07a00;--c6:#1f9fd0;--c7:#7a4fd0;background:var(--bg)}\n"
    "@media (prefers-color-scheme:dark){svg{--bg:#14181d;--fg:#e6eaee;--dim:#9aa5b1;--grid:#262d35;--frame:#3d4752;--shade:#f6c66726;--c0:#5db2ff;"
    "--c1:#ff9a52;--c2:#3fcfa4;--c3:#ea86d5;--c4:#9aa5b1;--c5:#e6b84a;--c6:#7fd6f7;--c7:#b79bff}}\n"
    "text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;fill:var(--fg)}.t{font-size:17px;font-weight:600}.h{font-weight:600}"
    ".d,.y,.x{fill:var(--dim)}.y{text-anchor:end;font-size:11px}.x{text-anchor:middle;font-size:11px}.lane{text-anchor:end;font-size:11px}.k{font-size:10px}\n"
    ".g{stroke:var(--grid)}.f{stroke:var(--frame);fill:none}.s{fill:var(--shade)}.l{fill:none;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}\n"
    ".i0{stroke:var(--c0)}.i1{stroke:var(--c1)}.i2{stroke:var(--c2)}.i3{stroke:var(--c3)}.i4{stroke:var(--c4)}.i5{stroke:var(--c5)}.i6{stroke:var(--c6)}"
    ".i7{stroke:var(--c7)}\n"
    ".p0{fill:var(--c0)}.p1{fill:var(--c1)}.p2{fill:var(--c2)}.p3{fill:var(--c3)}.p4{fill:var(--c4)}.p5{fill:var(--c5)}.p6{fill:var(--c6)}.p7{fill:var(--c7)}\n"
    "</style>\n";
static const char *const dash_of[DASHES] = {"", " stroke-dasharray=\"7 4\"", " stroke-dasharray=\"2 4\"", " stroke-dasharray=\"10 4 2 4\""};

/* Minutes and seconds where the run is long, else seconds. */
static void put_clock(tt_buf *b, double t, bool minutes) {
    if (minutes)
        tt_buf_printf(b, "%lld:%02lld", (long long)t / 60, (long long)t % 60);
    else
        tt_buf_number(b, t);
}

static double clock_step(double range) {
    static const double steps[] = {1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 43200, 86400};
    for (size_t i = 0; i < TT_COUNT(steps); i++)
        if (range / steps[i] <= 14) return steps[i];
    return nice_step(range, 14);
}

static void put_times(const drawing *d, double y0, double y1, bool labels) {
    double range = d->last - d->first, step = clock_step(range);
    for (double t = ceil(d->first / step) * step; t <= d->last + 1e-9; t += step) {
        tt_buf_put(d->b, TT_SV("<line class=\"g\" x1=\""));
        put(d->b, x_of(d, t));
        tt_buf_put(d->b, TT_SV("\" x2=\""));
        put(d->b, x_of(d, t));
        tt_buf_put(d->b, TT_SV("\" y1=\""));
        put(d->b, y0);
        tt_buf_put(d->b, TT_SV("\" y2=\""));
        put(d->b, y1);
        tt_buf_put(d->b, TT_SV("\"/>"));
        if (!labels) continue;
        tt_buf_put(d->b, TT_SV("<text class=\"x\" x=\""));
        put(d->b, x_of(d, t));
        tt_buf_put(d->b, TT_SV("\" y=\""));
        put(d->b, y1 + 16);
        tt_buf_put(d->b, TT_SV("\">"));
        put_clock(d->b, t, range > 240);
        tt_buf_put(d->b, TT_SV("</text>"));
    }
    tt_buf_put(d->b, TT_SV("\n"));
}

static void put_rect(const drawing *d, const char *class_, double from, double to, double y, double height, const char *more) {
    tt_buf_printf(d->b, "<rect class=\"%s\" x=\"", class_);
    put(d->b, x_of(d, from));
    tt_buf_put(d->b, TT_SV("\" y=\""));
    put(d->b, y);
    tt_buf_put(d->b, TT_SV("\" width=\""));
    put(d->b, fmax(x_of(d, to) - x_of(d, from), 1));
    tt_buf_put(d->b, TT_SV("\" height=\""));
    put(d->b, height);
    tt_buf_printf(d->b, "\"%s>", more);
}

static void put_shades(const drawing *d, double y, double height) {
    for (int i = 0; i < d->c->n_shades; i++) {
        put_rect(d, "s", d->c->shades[i].from, d->c->shades[i].to, y, height, "");
        tt_buf_put(d->b, TT_SV("<title>"));
        put_text(d->b, d->c->shades[i].text);
        tt_buf_put(d->b, TT_SV("</title></rect>\n"));
    }
}

static void put_line(const drawing *d, const line *l, double y, double top, tt_chart_shape shape) {
    bool pen = false;
    double last_x = 0, last_y = 0;
    tt_buf_printf(d->b, "<path class=\"l i%d\"%s d=\"", l->ink, dash_of[l->dashes]);
    for (size_t i = 0; i < l->n; i++) {
        if (isnan(l->v[i])) {
            pen = false;
            continue;
        }
        double px = x_of(d, d->c->at[i]), py = y + PANEL - fmin(fmax((double)l->v[i], 0), top) / top * PANEL;
        bool level = pen && fabs(py - last_y) < 0.05, more = i + 1 < l->n && !isnan(l->v[i + 1]);
        if (level && more && (i % 64) && fabs(PANEL - fmin(fmax((double)l->v[i + 1], 0), top) / top * PANEL + y - py) < 0.05) continue; /* in a level run */
        if (pen && shape == TT_CHART_STEPS && !level) {
            tt_buf_put(d->b, TT_SV("H"));
            put(d->b, px);
        }
        tt_buf_put(d->b, pen ? TT_SV("L") : TT_SV("M"));
        put(d->b, px);
        tt_buf_put(d->b, TT_SV(" "));
        put(d->b, py);
        pen = true;
        last_x = px;
        last_y = py;
    }
    (void)last_x;
    tt_buf_put(d->b, TT_SV("\"><title>"));
    put_text(d->b, l->name);
    tt_buf_put(d->b, TT_SV("</title></path>\n"));
}

static void put_panel(const drawing *d, int at, double y) {
    const tt_chart *c = d->c;
    const panel *p = &c->panels[at];
    double most = 0, top = p->top;
    for (int i = 0; i < c->n_lines; i++)
        for (size_t k = 0; c->lines[i].panel == at && k < c->lines[i].n; k++)
            if (c->lines[i].v[k] > most) most = (double)c->lines[i].v[k];
    double step = top > 0 ? nice_step(top, 4) : nice_step(most > 0 ? most * 1.04 : 1, 4);
    if (strcmp(p->unit, "level") == 0 && step < 1) step = 1;
    if (top <= 0) top = ceil((most > 0 ? most * 1.04 : 1) / step - 1e-9) * step;
    put_shades(d, y, PANEL);
    put_times(d, y, y + PANEL, false);
    for (double v = 0; v <= top + step / 1e6; v += step) {
        double py = y + PANEL - v / top * PANEL;
        tt_buf_printf(d->b, "<line class=\"g\" x1=\"%d\" x2=\"%d\" y1=\"", LEFT, WIDTH - RIGHT);
        put(d->b, py);
        tt_buf_put(d->b, TT_SV("\" y2=\""));
        put(d->b, py);
        tt_buf_printf(d->b, "\"/><text class=\"y\" x=\"%d\" y=\"", LEFT - 8);
        put(d->b, py + 4);
        tt_buf_put(d->b, TT_SV("\">"));
        tt_buf_number(d->b, round(v * 1e6) / 1e6);
        tt_buf_put(d->b, TT_SV("</text>\n"));
    }
    tt_buf_printf(d->b, "<rect class=\"f\" x=\"%d\" y=\"", LEFT);
    put(d->b, y);
    tt_buf_printf(d->b, "\" width=\"%d\" height=\"%d\"/><text class=\"h\" x=\"%d\" y=\"", WIDTH - LEFT - RIGHT, PANEL, LEFT);
    put(d->b, y - 8);
    tt_buf_put(d->b, TT_SV("\">"));
    put_text(d->b, p->title);
    tt_buf_put(d->b, TT_SV("<tspan class=\"d\" font-weight=\"400\">  "));
    put_text(d->b, p->unit);
    tt_buf_put(d->b, TT_SV("</tspan></text>\n"));
    int row = 0;
    for (int i = 0; i < c->n_lines; i++) {
        const line *l = &c->lines[i];
        if (l->panel != at) continue;
        put_line(d, l, y, top, p->shape);
        double ly = y + 10 + row++ * LEGEND_ROW;
        tt_buf_printf(d->b, "<path class=\"l i%d\"%s d=\"M%d ", l->ink, dash_of[l->dashes], WIDTH - RIGHT + 14);
        put(d->b, ly);
        tt_buf_printf(d->b, "h26\"/><text x=\"%d\" y=\"", WIDTH - RIGHT + 48);
        put(d->b, ly + 4);
        tt_buf_put(d->b, TT_SV("\">"));
        put_text(d->b, l->name);
        tt_buf_put(d->b, TT_SV("</text>\n"));
    }
}

static void put_lanes(const drawing *d, double y) {
    const tt_chart *c = d->c;
    double height = c->n_lanes * LANE;
    put_shades(d, y, height);
    put_times(d, y, y + height, false);
    tt_buf_printf(d->b, "<text class=\"h\" x=\"%d\" y=\"", LEFT);
    put(d->b, y - 8);
    tt_buf_put(d->b, TT_SV("\">Loops<tspan class=\"d\" font-weight=\"400\">  by phase</tspan></text>\n"));
    for (size_t i = 0; i < c->n_spans; i++) {
        const span *s = &c->spans[i];
        char class_[8];
        snprintf(class_, sizeof class_, "p%d", c->kind_ink[s->kind]);
        double ly = y + s->lane * LANE;
        put_rect(d, class_, s->from, s->to, ly + 3, LANE - 6, " opacity=\"0.85\" rx=\"2\"");
        tt_buf_put(d->b, TT_SV("<title>"));
        put_text(d->b, c->lanes[s->lane]);
        tt_buf_put(d->b, TT_SV(": "));
        put_text(d->b, c->kinds[s->kind]);
        tt_buf_put(d->b, TT_SV("</title></rect>\n"));
    }
    for (int i = 0; i < c->n_lanes; i++) {
        tt_buf_printf(d->b, "<text class=\"d\" x=\"%d\" y=\"", WIDTH - RIGHT + 14);
        put(d->b, y + i * LANE + 14);
        tt_buf_put(d->b, TT_SV("\">"));
        put_text(d->b, c->lanes[i]);
        tt_buf_put(d->b, TT_SV("</text>\n"));
    }
    tt_buf_printf(d->b, "<rect class=\"f\" x=\"%d\" y=\"", LEFT);
    put(d->b, y);
    tt_buf_printf(d->b, "\" width=\"%d\" height=\"", WIDTH - LEFT - RIGHT);
    put(d->b, height);
    tt_buf_put(d->b, TT_SV("\"/>\n"));
    double x = LEFT;
    for (int i = 0; i < c->n_kinds; i++) {
        tt_buf_printf(d->b, "<rect class=\"p%d\" x=\"", c->kind_ink[i]);
        put(d->b, x);
        tt_buf_put(d->b, TT_SV("\" y=\""));
        put(d->b, y + height + 8);
        tt_buf_printf(d->b, "\" width=\"12\" height=\"10\" rx=\"2\" opacity=\"0.85\"/><text class=\"k d\" x=\"");
        put(d->b, x + 17);
        tt_buf_put(d->b, TT_SV("\" y=\""));
        put(d->b, y + height + 17);
        tt_buf_put(d->b, TT_SV("\">"));
        put_text(d->b, c->kinds[i]);
        tt_buf_put(d->b, TT_SV("</text>\n"));
        x += 34 + 6.0 * (double)strlen(c->kinds[i]);
    }
}

void tt_chart_svg(const tt_chart *c, tt_buf *out) {
    drawing d = {c, out, c->n ? c->at[0] : 0, c->n ? c->at[c->n - 1] : 1};
    if (d.first > 0 && d.first < 0.1 * d.last) d.first = 0;
    if (!(d.last > d.first)) d.last = d.first + 1;
    double lanes = c->n_lanes ? c->n_lanes * LANE + 28 + PANEL_GAP : 0, height = HEAD + PANEL_GAP + c->n_panels * (PANEL + PANEL_GAP) + lanes + FOOT;
    tt_buf_printf(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" role=\"img\"><title>", WIDTH, (int)height, WIDTH, (int)height);
    put_text(out, c->title);
    tt_buf_put(out, TT_SV("</title>\n"));
    tt_buf_put(out, ((tt_sv){style, sizeof style - 1}));
    tt_buf_put(out, TT_SV("<rect width=\"100%\" height=\"100%\" style=\"fill:var(--bg)\"/>\n"));
    tt_buf_printf(out, "<text class=\"t\" x=\"%d\" y=\"28\">", LEFT);
    put_text(out, c->title);
    tt_buf_printf(out, "</text><text class=\"d\" x=\"%d\" y=\"48\">", LEFT);
    put_text(out, c->subtitle);
    tt_buf_put(out, TT_SV("</text>\n"));
    double y = HEAD + PANEL_GAP - 12;
    for (int i = 0; i < c->n_shades; i++) { /* what the shading means, once */
        if (i && strcmp(c->shades[i].text, c->shades[0].text) == 0) continue;
        tt_buf_put(out, TT_SV("<text class=\"k d\" x=\""));
        put(out, x_of(&d, c->shades[i].from) + 3);
        tt_buf_put(out, TT_SV("\" y=\""));
        put(out, y + 12);
        tt_buf_put(out, TT_SV("\">"));
        put_text(out, c->shades[i].text);
        tt_buf_put(out, TT_SV("</text>\n"));
    }
    for (int i = 0; i < c->n_panels; i++, y += PANEL + PANEL_GAP) {
        if (i == 1 && c->n_lanes) { /* the loops stand below what they are about */
            put_lanes(&d, y);
            y += lanes;
        }
        put_panel(&d, i, y);
    }
    if (c->n_panels == 1 && c->n_lanes) {
        put_lanes(&d, y);
        y += lanes;
    }
    put_times(&d, y - PANEL_GAP, y - PANEL_GAP + 5, true);
    tt_buf_printf(out, "<text class=\"d\" x=\"%d\" y=\"", WIDTH - RIGHT + 14);
    put(out, y - PANEL_GAP + 21);
    tt_buf_printf(out, "\">%s</text>\n</svg>\n", d.last - d.first > 240 ? "time, min:s" : "time, s");
}
