/* What several rooms read out of JSON that others wrote. Pure: any thread. */
#ifndef TT_JSON_H
#define TT_JSON_H

#include <jansson.h>

/* A member that is text; empty when it isn't there or isn't text. Borrowed from `o`. */
static inline const char *tt_json_text(const json_t *o, const char *name) {
    const char *s = json_string_value(json_object_get(o, name));
    return s ? s : "";
}

#endif
