/* A segment's file while it is written: frames of one deflate stream. And the directory's upkeep. One thread. */
#ifndef TT_RECORD_SEGMENT_H
#define TT_RECORD_SEGMENT_H

#include <zlib.h>

#include "record/codec.h"

typedef struct {
    int fd;
    bool open, deflating;
    z_stream z;
    char path[512];
    uint64_t bytes;       /* whole frames on disk */
    unsigned char *frame; /* one, compressed */
    size_t cap_frame;
} segment_file;

bool segment_init(segment_file *f, tt_err *err);
void segment_free(segment_file *f);
/* A new file, with its head in it. */
bool segment_begin(segment_file *f, const char *dir, const char *name, const tt_record_head *head, tt_err *err);
/* Compresses and writes; every byte is readable once this returns. After a failure the file ends with its last whole frame. */
bool segment_put(segment_file *f, tt_sv bytes, uint64_t spare_bytes, tt_err *err);
void segment_end(segment_file *f);

bool segment_make_directory(const char *dir, tt_err *err);
/* "20261123T201200.123Z-000003-0001.rec": by name is by time. */
void segment_name(const tt_record_head *head, char *buf, size_t size);
bool segment_is_one(const char *name, int64_t *ret_since_ms); /* a name of ours, and when it says it began; may be NULL */

typedef struct {
    uint64_t bytes;
    int64_t since_ms; /* 0: there is none */
} segment_kept;
/* Deletes the oldest segments until those left and `room` more bytes are within max_bytes, and those older than keep_ms. */
segment_kept segment_trim(const char *dir, uint64_t max_bytes, uint64_t room, int64_t keep_ms, int64_t now_ms);

#endif
