#include "embedded.h"

#include <string.h>

const tt_embedded *tt_embedded_find(const tt_embedded rows[], size_t n, const char *name) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(rows[i].name, name) == 0) return &rows[i];
    return NULL;
}
