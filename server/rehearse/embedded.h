/* The incidents of the suite, and the plans they are rehearsed with, as they stood when this was built. */
#ifndef TT_REHEARSE_EMBEDDED_H
#define TT_REHEARSE_EMBEDDED_H

#include <stddef.h>

typedef struct {
    const char *name; /* the file's, without .yaml */
    const char *text; /* NUL-terminated */
    size_t size;
} tt_embedded;

extern const tt_embedded tt_embedded_incidents[], tt_embedded_plans[]; /* by name; one empty row behind the last */
extern const size_t tt_n_embedded_incidents, tt_n_embedded_plans;
const tt_embedded *tt_embedded_find(const tt_embedded rows[], size_t n, const char *name); /* NULL: no such */

#endif
