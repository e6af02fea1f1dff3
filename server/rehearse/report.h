/* What a suite found, for machines and for people. */
#ifndef TT_REHEARSE_REPORT_H
#define TT_REHEARSE_REPORT_H

#include <stdio.h>

#include "suite.h"

void tt_suite_json(const tt_suite *s, tt_buf *out); /* one object, docs/rehearse.md */

typedef struct {
    FILE *to;
    bool colours;
    int width; /* of the terminal; 0: none */
} tt_report;

void tt_report_suite(const tt_report *r, const tt_suite *s);                       /* a row an incident, what was asked, one line over all */
void tt_report_incident(const tt_report *r, const tt_suite *s, size_t incident);   /* a row a controller */

#endif
