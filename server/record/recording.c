/* The reading side. A file may come from anywhere: lengths are believed only as far as bytes are there, and memory grows with what was read. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "record/segment.h"

enum { READ_BYTES = 64 << 10, SEGMENTS_MAX = 100000 };

struct tt_recording {
    size_t n, cap;
    tt_record_segment *segments;
    tt_sv memory; /* instead of files */
    bool in_memory;

    /* the segment that is read */
    size_t index; /* of the next one */
    bool open;
    int fd;
    uint64_t offset; /* of the next frame */
    uint64_t frame_at;
    z_stream z;
    bool inflating;
    unsigned char *frame;
    size_t cap_frame;
    tt_buf stream; /* inflated, not taken yet */
    size_t taken;
    record_tables tables;
    bool has_tables;
    record_room room;
};

/* ---- bytes ---- */

/* How many of the n bytes at `offset` there are; -1: errno. */
static ssize_t read_at(tt_recording *r, uint64_t offset, void *to, size_t n) {
    if (r->in_memory) {
        if (offset >= r->memory.n) return 0;
        size_t left = r->memory.n - (size_t)offset;
        if (n > left) n = left;
        if (n) memcpy(to, r->memory.p + offset, n);
        return (ssize_t)n;
    }
    size_t got = 0;
    while (got < n) {
        ssize_t k = pread(r->fd, (char *)to + got, n - got, (off_t)(offset + got));
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) return -1;
        if (k == 0) break;
        got += (size_t)k;
    }
    return (ssize_t)got;
}

static uint32_t u32(const unsigned char *p) {
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static const char *path_of(const tt_recording *r) {
    return r->segments[r->index - 1].path;
}

typedef enum { FRAME_OK, FRAME_END, FRAME_TORN, FRAME_BAD } frame_result;

/* Nothing but zeros from here on: what a power cut leaves behind the last bytes that reached the disk. */
static bool zeros_to_the_end(tt_recording *r, uint64_t from) {
    char some[4096];
    for (;;) {
        ssize_t n = read_at(r, from, some, sizeof some);
        if (n <= 0) return n == 0;
        for (ssize_t i = 0; i < n; i++)
            if (some[i]) return false;
        from += (uint64_t)n;
    }
}

/* A frame that is not whole is a torn end when nothing, or nothing but zeros, follows it; in the middle it is damage. */
static frame_result not_whole(tt_recording *r, uint64_t end, tt_err *err, const char *what) {
    if (zeros_to_the_end(r, end)) return FRAME_TORN;
    tt_fail(err, TT_ESYNTAX, "%s: damaged at byte %llu: %s; what is before it can be replayed, and so can the other segments", path_of(r),
            (unsigned long long)r->offset, what);
    return FRAME_BAD;
}

/* The next frame's payload in r->frame. It is read piece by piece, so that a length alone allocates nothing. */
static frame_result read_frame(tt_recording *r, char *ret_kind, size_t *ret_n, tt_err *err) {
    unsigned char head[RECORD_FRAME_HEAD];
    ssize_t got = read_at(r, r->offset, head, sizeof head);
    if (got < 0) {
        tt_fail(err, TT_EIO, "%s: cannot be read at byte %llu: %s", path_of(r), (unsigned long long)r->offset, strerror(errno));
        return FRAME_BAD;
    }
    if (got == 0) return FRAME_END;
    if (got < (ssize_t)sizeof head) return FRAME_TORN;
    size_t n = u32(head), have = 0;
    if (n > RECORD_FRAME_MAX + (RECORD_FRAME_MAX >> 6)) return not_whole(r, r->offset + sizeof head, err, "a frame's length is impossible");
    uLong crc = crc32(crc32(0, NULL, 0), head + 8, 1);
    while (have < n) {
        size_t some = n - have < READ_BYTES ? n - have : READ_BYTES;
        if (r->cap_frame < have + some) {
            size_t cap = r->cap_frame ? r->cap_frame * 2 : READ_BYTES;
            unsigned char *grown = realloc(r->frame, cap);
            if (!grown) {
                tt_fail(err, TT_ENOMEM, "out of memory reading %s", path_of(r));
                return FRAME_BAD;
            }
            r->frame = grown;
            r->cap_frame = cap;
            continue;
        }
        got = read_at(r, r->offset + sizeof head + have, r->frame + have, some);
        if (got >= 0 && got < (ssize_t)some) return FRAME_TORN;
        if (got < 0) {
            tt_fail(err, TT_EIO, "%s: cannot be read at byte %llu: %s", path_of(r), (unsigned long long)r->offset, strerror(errno));
            return FRAME_BAD;
        }
        crc = crc32(crc, r->frame + have, (uInt)some);
        have += some;
    }
    if ((uint32_t)crc != u32(head + 4)) return not_whole(r, r->offset + sizeof head + n, err, "a frame's checksum does not hold");
    r->frame_at = r->offset;
    r->offset += sizeof head + n;
    *ret_kind = (char)head[8];
    *ret_n = n;
    return FRAME_OK;
}

static bool damaged(const tt_recording *r, tt_err *err, const char *what) {
    return tt_fail(err, TT_ESYNTAX, "%s: damaged in the frame at byte %llu: %s; what is before it can be replayed, and so can the other segments",
                   path_of(r), (unsigned long long)r->frame_at, what);
}

static bool inflate_frame(tt_recording *r, size_t n, tt_err *err) {
    static const size_t step = READ_BYTES;
    char out[READ_BYTES];
    size_t all = 0;
    r->z.next_in = r->frame;
    r->z.avail_in = (uInt)n;
    for (;;) {
        r->z.next_out = (Bytef *)out;
        r->z.avail_out = (uInt)step;
        int z = inflate(&r->z, Z_SYNC_FLUSH);
        if (z != Z_OK && z != Z_BUF_ERROR) return damaged(r, err, "its content is not what was compressed");
        size_t some = step - r->z.avail_out;
        all += some;
        if (all > RECORD_FRAME_MAX) return damaged(r, err, "it holds more than a frame can");
        tt_buf_put(&r->stream, (tt_sv){out, some});
        if (r->stream.failed) return tt_fail(err, TT_ENOMEM, "out of memory reading %s", path_of(r));
        if (r->z.avail_out) break;
    }
    return r->z.avail_in == 0 || damaged(r, err, "its content ends before the frame does");
}

/* ---- a segment's head ---- */

static bool text_of(const json_t *o, const char *name, char *to, size_t size) {
    const json_t *v = json_object_get(o, name);
    size_t n = json_string_length(v);
    if (!json_is_string(v) || n >= size || strlen(json_string_value(v)) != n) return false;
    memcpy(to, json_string_value(v), n + 1);
    return true;
}

static bool integer_of(const json_t *o, const char *name, int64_t *ret) {
    const json_t *v = json_object_get(o, name);
    *ret = (int64_t)json_integer_value(v);
    return json_is_integer(v);
}

static bool take_head(const char *p, size_t n, tt_record_head *h, int64_t *ret_format) {
    json_t *o = json_loadb(p, n, JSON_REJECT_DUPLICATES, NULL);
    int64_t segment = 0, epoch = 0;
    bool ok = integer_of(o, "format", ret_format) && text_of(o, "run", h->run, sizeof h->run) && integer_of(o, "segment", &segment) && segment > 0 &&
              integer_of(o, "epoch", &epoch) && epoch >= 0 && integer_of(o, "wall_ms", &h->wall_ms) && integer_of(o, "now_ns", &h->now_ns) &&
              text_of(o, "trimtab", h->version, sizeof h->version) && text_of(o, "build", h->build, sizeof h->build);
    h->segment = (uint64_t)segment;
    h->epoch = (uint64_t)epoch;
    json_decref(o);
    return ok;
}

static void leave_segment(tt_recording *r) {
    if (r->inflating) inflateEnd(&r->z);
    if (r->has_tables) record_tables_free(&r->tables);
    if (r->open && !r->in_memory) close(r->fd);
    r->inflating = r->has_tables = r->open = false;
    tt_buf_free(&r->stream);
    r->taken = 0;
}

/* Opens segment index - 1 and reads its head. END: its head is not there yet, or any more. */
static frame_result enter_segment(tt_recording *r, tt_err *err) {
    char magic[sizeof RECORD_MAGIC - 1], kind = 0;
    tt_record_segment *s = &r->segments[r->index - 1];
    size_t n = 0;
    int64_t format = 0;
    r->fd = r->in_memory ? -1 : open(s->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    r->open = r->in_memory || r->fd >= 0;
    if (!r->open) {
        tt_fail(err, TT_EIO, "%s: cannot be opened: %s", s->path, strerror(errno));
        return FRAME_BAD;
    }
    ssize_t got = read_at(r, 0, magic, sizeof magic);
    if (got >= 0 && got < (ssize_t)sizeof magic && memcmp(magic, RECORD_MAGIC, (size_t)got) == 0) return FRAME_TORN;
    if (got != (ssize_t)sizeof magic || memcmp(magic, RECORD_MAGIC, sizeof magic) != 0) {
        tt_fail(err, TT_ESYNTAX, "%s: is no recording of trimtab's: it does not begin with \"trimtab recording 1\"", s->path);
        return FRAME_BAD;
    }
    r->offset = sizeof magic;
    frame_result f = read_frame(r, &kind, &n, err);
    if (f == FRAME_END) f = FRAME_TORN;
    if (f != FRAME_OK) return f;
    if (kind != 'H' || n > RECORD_SEGMENT_HEAD_MAX || !take_head((const char *)r->frame, n, &s->head, &format)) {
        damaged(r, err, "it is not a segment's head");
        return FRAME_BAD;
    }
    if (format != 1) {
        tt_fail(err, TT_EVALUE, "%s: is of format %lld, this trimtab reads format 1: use the trimtab that wrote it", s->path, (long long)format);
        return FRAME_BAD;
    }
    r->z = (z_stream){0};
    r->inflating = inflateInit(&r->z) == Z_OK;
    r->has_tables = record_tables_init(&r->tables);
    tt_buf_init(&r->stream, (size_t)RECORD_MAX + 2 * RECORD_FRAME_MAX);
    if (r->inflating && r->has_tables) return FRAME_OK;
    tt_fail(err, TT_ENOMEM, "out of memory reading %s", s->path);
    return FRAME_BAD;
}

/* ---- the recording ---- */

static bool add(tt_recording *r, const char *path, uint64_t bytes) {
    if (r->n == r->cap) {
        size_t cap = r->cap ? r->cap * 2 : 16;
        tt_record_segment *grown = realloc(r->segments, cap * sizeof *grown);
        if (!grown) return false;
        r->segments = grown;
        r->cap = cap;
    }
    r->segments[r->n] = (tt_record_segment){.bytes = bytes};
    snprintf(r->segments[r->n++].path, sizeof r->segments->path, "%s", path);
    return true;
}

/* Runs by their epoch, which grows, and the clock where stores were mixed; segments of a run by their number. */
static int by_run(const void *a, const void *b) {
    const tt_record_head *x = &((const tt_record_segment *)a)->head, *y = &((const tt_record_segment *)b)->head;
    if (strcmp(x->run, y->run) == 0) return x->segment < y->segment ? -1 : x->segment > y->segment;
    if (x->epoch != y->epoch) return x->epoch < y->epoch ? -1 : 1;
    return x->wall_ms < y->wall_ms ? -1 : x->wall_ms > y->wall_ms ? 1 : strcmp(x->run, y->run);
}

/* Reads every head. One that is not there is a segment that had just been begun when the daemon was killed: left out. */
static bool read_heads(tt_recording *r, tt_err *err) {
    size_t kept = 0;
    for (size_t i = 0; i < r->n; i++) {
        r->index = i + 1;
        frame_result f = enter_segment(r, err);
        leave_segment(r);
        if (f == FRAME_BAD) return false;
        if (f == FRAME_OK) r->segments[kept++] = r->segments[i];
    }
    r->n = kept;
    r->index = 0;
    return true;
}

static bool list_directory(tt_recording *r, const char *path, tt_err *err) {
    DIR *d = opendir(path);
    if (!d) return tt_fail(err, TT_EIO, "%s: cannot be listed: %s", path, strerror(errno));
    bool ok = true;
    for (const struct dirent *e; ok && (e = readdir(d));) {
        char file[512];
        struct stat st;
        if (!segment_is_one(e->d_name, NULL) || fstatat(dirfd(d), e->d_name, &st, 0) != 0 || !S_ISREG(st.st_mode)) continue;
        if (r->n == SEGMENTS_MAX || snprintf(file, sizeof file, "%s/%s", path, e->d_name) >= (int)sizeof file)
            ok = tt_fail(err, TT_ELIMIT, "%s: more than %d segments, or too long a path", path, SEGMENTS_MAX);
        else
            ok = add(r, file, (uint64_t)st.st_size) || tt_fail(err, TT_ENOMEM, "out of memory listing %s", path);
    }
    closedir(d);
    return ok;
}

tt_recording *tt_recording_open(const char *path, tt_err *err) {
    struct stat st;
    tt_recording *r = calloc(1, sizeof *r);
    if (!r) {
        tt_fail(err, TT_ENOMEM, "out of memory");
        return NULL;
    }
    r->fd = -1;
    bool ok = stat(path, &st) == 0 || tt_fail(err, TT_EIO, "%s: cannot be opened: %s", path, strerror(errno));
    if (ok && S_ISDIR(st.st_mode))
        ok = list_directory(r, path, err);
    else if (ok && strlen(path) >= sizeof r->segments->path)
        ok = tt_fail(err, TT_ELIMIT, "%.200s...: too long a path", path);
    else if (ok)
        ok = add(r, path, (uint64_t)st.st_size) || tt_fail(err, TT_ENOMEM, "out of memory");
    ok = ok && read_heads(r, err) && (r->n || tt_fail(err, TT_EMISSING, "%s: holds no recording (*.rec files that `trimtab serve` writes)", path));
    if (!ok) {
        tt_recording_free(r);
        return NULL;
    }
    qsort(r->segments, r->n, sizeof *r->segments, by_run);
    return r;
}

tt_recording *tt_recording_of(tt_sv bytes) {
    tt_recording *r = calloc(1, sizeof *r);
    if (!r) return NULL;
    r->fd = -1;
    r->in_memory = true;
    r->memory = bytes;
    if (add(r, "memory", bytes.n)) return r;
    free(r);
    return NULL;
}

void tt_recording_free(tt_recording *r) {
    if (!r) return;
    leave_segment(r);
    record_room_free(&r->room);
    free(r->frame);
    free(r->segments);
    free(r);
}

size_t tt_recording_segments(const tt_recording *r, const tt_record_segment **ret) {
    *ret = r->segments;
    return r->n;
}

void tt_recording_seek(tt_recording *r, size_t index) {
    leave_segment(r);
    r->index = index < r->n ? index : r->n;
}

typedef enum { NEXT_RECORD, NEXT_TORN, NEXT_NONE, NEXT_BAD } next_result;

static void tell_torn(tt_recording *r, tt_record *ret) {
    struct stat st = {0};
    if (!r->in_memory) (void)fstat(r->fd, &st);
    uint64_t size = r->in_memory ? r->memory.n : (uint64_t)st.st_size;
    ret->kind = TT_RECORD_TORN;
    ret->offset = r->offset;
    ret->lost = size > r->offset ? size - r->offset : 0;
}

/* One record of those inflated already. NONE: more must be read. */
static next_result take_record(tt_recording *r, tt_record *ret, tt_err *err) {
    uint8_t kind;
    tt_sv body;
    const char *why;
    int whole = r->stream.p ? record_split((tt_sv){r->stream.p + r->taken, r->stream.n - r->taken}, &kind, &body) : 0;
    if (whole < 0) damaged(r, err, "a record is longer than it can be");
    if (whole <= 0) return whole ? NEXT_BAD : NEXT_NONE;
    r->taken += RECORD_HEAD + body.n;
    ret->offset = r->frame_at;
    if (record_get(&r->tables, &r->room, (record_wire)kind, body, ret, &why)) return NEXT_RECORD;
    tt_fail(err, TT_ESYNTAX, "%s: a record in the frame at byte %llu cannot be read: %s", path_of(r), (unsigned long long)r->frame_at, why);
    return NEXT_BAD;
}

static next_result next_in_segment(tt_recording *r, tt_record *ret, tt_err *err) {
    for (;;) {
        next_result got = take_record(r, ret, err);
        if (got != NEXT_NONE) return got;
        /* What was taken makes room. */
        if (r->taken) {
            memmove(r->stream.p, r->stream.p + r->taken, r->stream.n - r->taken);
            r->stream.n -= r->taken;
            r->taken = 0;
        }
        char kind = 0;
        size_t n = 0;
        frame_result f = read_frame(r, &kind, &n, err);
        if (f == FRAME_BAD) return NEXT_BAD;
        if (f == FRAME_END && r->stream.n == 0) return NEXT_NONE;
        if (f != FRAME_OK) { /* or a record's begin, and no more of it */
            tell_torn(r, ret);
            return NEXT_TORN;
        }
        if (kind != 'D') {
            damaged(r, err, "its kind is not known: a newer trimtab may have written it");
            return NEXT_BAD;
        }
        if (!inflate_frame(r, n, err)) return NEXT_BAD;
    }
}

tt_read tt_recording_next(tt_recording *r, tt_record *ret, tt_err *err) {
    memset(ret, 0, sizeof *ret);
    for (;;) {
        if (!r->open) {
            if (r->index >= r->n) return TT_READ_END;
            r->index++;
            ret->segment = &r->segments[r->index - 1];
            frame_result f = enter_segment(r, err);
            if (f == FRAME_OK) {
                ret->kind = TT_RECORD_BEGIN;
                return TT_READ_OK;
            }
            uint64_t size = ret->segment->bytes;
            leave_segment(r);
            if (f == FRAME_BAD) return TT_READ_BAD;
            ret->kind = TT_RECORD_TORN;
            ret->lost = size;
            return TT_READ_OK;
        }
        ret->segment = &r->segments[r->index - 1];
        next_result got = next_in_segment(r, ret, err);
        if (got == NEXT_RECORD) return TT_READ_OK;
        leave_segment(r);
        if (got == NEXT_TORN) return TT_READ_OK;
        if (got == NEXT_BAD) return TT_READ_BAD;
    }
}
