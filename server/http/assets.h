/* The dashboard's files, embedded at build time by embed.cmake. Constant. */
#ifndef TT_ASSETS_H
#define TT_ASSETS_H

#include <stddef.h>

typedef struct {
    const char *path, *type, *hash; /* hash: of the plain content */
    const char *data;
    size_t n;
    const char *gz; /* NULL: not worth it */
    size_t gz_n;
} tt_asset_file;

extern const tt_asset_file tt_assets[]; /* one empty entry when web/dist was not there */
extern const size_t tt_n_assets;

#endif
