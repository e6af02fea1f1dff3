/* A chart over time as SVG: panels of lines under one axis, lanes of coloured spans, shaded stretches. Readable in light and dark, without colour too: lines are
 * named in a legend and told apart by dashes. One thread. */
#ifndef TT_CHART_H
#define TT_CHART_H

#include "base.h"

typedef struct tt_chart tt_chart;
typedef enum { TT_CHART_STRAIGHT, TT_CHART_STEPS } tt_chart_shape; /* between samples: a slope, or held until the next */

/* NULL when memory is out; later writes to a chart that ran out of it are ignored, and tt_chart_svg then writes what there is. */
tt_chart *tt_chart_new(const char *title, const char *subtitle);
void tt_chart_free(tt_chart *c);

/* `unit` stands at the axis. `top`: the axis ends there; 0: as the values need. The panel with this title is returned if there is one. */
int tt_chart_panel(tt_chart *c, const char *title, const char *unit, tt_chart_shape shape, double top);
/* The line of this name in the panel, made if there is none. `ink` 0 to 7 is its colour, -1: the next that is free; `dashes` 0 to 3. -1 when there is no room. */
int tt_chart_line(tt_chart *c, int panel, const char *name, int ink, int dashes);
/* Samples come in order of time: one column, then values for it. A line without a value there has a gap. */
void tt_chart_at(tt_chart *c, double seconds);
void tt_chart_put(tt_chart *c, int line, double value); /* NAN: a gap; line -1 is ignored */
void tt_chart_set(tt_chart *c, int line, size_t column, double value); /* an earlier column, counted from 0 */
int tt_chart_place(const tt_chart *c, int line); /* which of its panel it is, from 0 */
size_t tt_chart_columns(const tt_chart *c);
/* A stretch of a named lane; `kind` says what it is, and its `ink` is that of the first stretch of its kind. A stretch of the same kind that ends where this one
 * begins is made longer. */
void tt_chart_span(tt_chart *c, const char *lane, const char *kind, int ink, double from, double to);
void tt_chart_shade(tt_chart *c, const char *text, double from, double to);

void tt_chart_svg(const tt_chart *c, tt_buf *out);

#endif
