/* An aligned table for people: columns as wide as their text, the last one cut at the terminal's edge. */
#ifndef TT_TABLE_H
#define TT_TABLE_H

#include <stdio.h>

#include "base.h"

enum { TT_TABLE_COLUMNS = 8, TT_TABLE_ROWS = 1024 };

typedef enum { TT_PLAIN, TT_BOLD, TT_BLUE, TT_ORANGE, TT_DIM } tt_ink; /* never red against green */

typedef struct {
    size_t columns, rows;
    char *cell[TT_TABLE_ROWS][TT_TABLE_COLUMNS]; /* row 0: heads */
    tt_ink ink[TT_TABLE_ROWS];
} tt_table;

tt_table *tt_table_new(size_t columns, const char *const heads[]);
void tt_table_free(tt_table *t);
bool tt_table_row(tt_table *t, tt_ink ink, const char *const cells[]);     /* copies; control characters become spaces. false: full */
void tt_table_print(const tt_table *t, FILE *to, bool colours, int width); /* width 0: don't cut */
/* A sentence broken at spaces before `width`, further lines indented; the cursor stands at `indent` already. No breaks where there is little room. */
void tt_print_wrapped(FILE *to, const char *text, int indent, int width);
int tt_terminal_width(int fd);                                             /* 0: not a terminal */

#endif
