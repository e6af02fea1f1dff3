#include "record/segment.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

enum { NAME_SIZE = 64 };

bool segment_init(segment_file *f, tt_err *err) {
    *f = (segment_file){.fd = -1};
    if (deflateInit(&f->z, Z_DEFAULT_COMPRESSION) != Z_OK) return tt_fail(err, TT_ENOMEM, "out of memory for the recording");
    f->deflating = true;
    f->cap_frame = RECORD_FRAME_HEAD + deflateBound(&f->z, RECORD_FRAME_MAX) + 64; /* and the flush's marker */
    f->frame = malloc(f->cap_frame);
    return f->frame || tt_fail(err, TT_ENOMEM, "out of memory for the recording");
}

void segment_end(segment_file *f) {
    if (f->fd >= 0) close(f->fd);
    f->fd = -1;
    f->open = false;
}

void segment_free(segment_file *f) {
    segment_end(f);
    if (f->deflating) deflateEnd(&f->z);
    free(f->frame);
    *f = (segment_file){.fd = -1};
}

/* false: errno is set, and what was half written is cut off again. */
static bool write_all(segment_file *f, const void *p, size_t n) {
    const char *at = p;
    size_t left = n;
    while (left) {
        ssize_t w = write(f->fd, at, left);
        if (w < 0 && errno == EINTR) continue;
        if (w <= 0) {
            int os = w < 0 ? errno : EIO;
            if (ftruncate(f->fd, (off_t)f->bytes) != 0) os = errno;
            errno = os;
            return false;
        }
        at += w;
        left -= (size_t)w;
    }
    f->bytes += n;
    return true;
}

static bool write_failed(segment_file *f, tt_err *err) {
    int os = errno;
    segment_end(f);
    if (os == ENOSPC || os == EDQUOT || os == EFBIG)
        return tt_fail(err, TT_EIO, "no room for the recording in %s (%s): free disk space, or bound it with --record-max", f->path, strerror(os));
    return tt_fail(err, TT_EIO, "the recording cannot be written to %s: %s", f->path, strerror(os));
}

/* Puts length, CRC and kind in front of the `n` bytes behind the frame's head, and writes all. */
static bool write_frame(segment_file *f, char kind, size_t n, tt_err *err) {
    unsigned char *h = f->frame;
    h[8] = (unsigned char)kind;
    uLong crc = crc32(crc32(0, NULL, 0), h + 8, (uInt)n + 1);
    for (unsigned i = 0; i < 4; i++) {
        h[i] = (unsigned char)(n >> (8 * i));
        h[4 + i] = (unsigned char)(crc >> (8 * i));
    }
    return write_all(f, f->frame, RECORD_FRAME_HEAD + n) || write_failed(f, err);
}

static void head_json(const tt_record_head *h, tt_buf *b) {
    tt_buf_printf(b, "{\"format\":1,\"run\":\"%s\",\"segment\":%llu,\"epoch\":%llu,\"wall_ms\":%lld,\"now_ns\":%lld,\"trimtab\":", h->run,
                  (unsigned long long)h->segment, (unsigned long long)h->epoch, (long long)h->wall_ms, (long long)h->now_ns);
    tt_buf_json_string(b, tt_sv_of(h->version));
    tt_buf_put(b, TT_SV(",\"build\":"));
    tt_buf_json_string(b, tt_sv_of(h->build));
    tt_buf_put(b, TT_SV("}\n"));
}

bool segment_begin(segment_file *f, const char *dir, const char *name, const tt_record_head *head, tt_err *err) {
    segment_end(f);
    f->bytes = 0;
    snprintf(f->path, sizeof f->path, "%s/%s", dir, name);
    f->fd = open(f->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (f->fd < 0) return write_failed(f, err);
    f->open = true;
    tt_buf json;
    tt_buf_init(&json, RECORD_SEGMENT_HEAD_MAX);
    head_json(head, &json);
    bool ok = !json.failed || tt_fail(err, TT_ENOMEM, "out of memory for the recording");
    if (ok) memcpy(f->frame + RECORD_FRAME_HEAD, json.p, json.n);
    ok = ok && (write_all(f, RECORD_MAGIC, sizeof RECORD_MAGIC - 1) || write_failed(f, err)) && write_frame(f, 'H', json.n, err);
    tt_buf_free(&json);
    if (ok) ok = deflateReset(&f->z) == Z_OK || tt_fail(err, TT_ESTATE, "zlib cannot begin anew");
    if (!ok) segment_end(f);
    return ok;
}

static bool room_is_left(segment_file *f, uint64_t spare_bytes, tt_err *err) {
    struct statvfs fs;
    if (fstatvfs(f->fd, &fs) != 0) return true;
    uint64_t all = (uint64_t)fs.f_blocks * fs.f_frsize, left = (uint64_t)fs.f_bavail * fs.f_frsize;
    uint64_t spare = spare_bytes ? spare_bytes : all / 20 < (256u << 20) ? all / 20 : 256u << 20;
    if (left >= spare) return true;
    segment_end(f);
    return tt_fail(err, TT_EIO,
                   "less than %llu MiB are free where %s is, and they are left to others: free disk space, or bound the recording with --record-max",
                   (unsigned long long)(spare + (1 << 20) - 1) >> 20, f->path);
}

bool segment_put(segment_file *f, tt_sv bytes, uint64_t spare_bytes, tt_err *err) {
    if (!room_is_left(f, spare_bytes, err)) return false;
    while (bytes.n) {
        size_t some = bytes.n < RECORD_FRAME_MAX ? bytes.n : RECORD_FRAME_MAX;
        f->z.next_in = (Bytef *)(uintptr_t)bytes.p; /* zlib reads it only */
        f->z.avail_in = (uInt)some;
        f->z.next_out = f->frame + RECORD_FRAME_HEAD;
        f->z.avail_out = (uInt)(f->cap_frame - RECORD_FRAME_HEAD);
        int z = deflate(&f->z, Z_SYNC_FLUSH);
        TT_ASSERT(z == Z_OK && f->z.avail_in == 0 && f->z.avail_out > 0);
        if (!write_frame(f, 'D', f->cap_frame - RECORD_FRAME_HEAD - f->z.avail_out, err)) return false;
        bytes = (tt_sv){bytes.p + some, bytes.n - some};
    }
    return true;
}

/* ---- the directory ---- */

bool segment_make_directory(const char *dir, tt_err *err) {
    char path[PATH_MAX];
    if (!*dir || strlen(dir) + NAME_SIZE > sizeof((segment_file *)0)->path)
        return tt_fail(err, TT_EVALUE, "the recording needs a directory with a name of at most %zu bytes",
                       sizeof((segment_file *)0)->path - NAME_SIZE);
    snprintf(path, sizeof path, "%s", dir);
    for (char *slash = path;; *slash = '/') {
        slash = strchr(slash + 1, '/');
        if (slash) *slash = 0;
        if (mkdir(path, 0700) != 0 && errno != EEXIST)
            return tt_fail(err, TT_EIO,
                           "cannot make the directory of the recording, %.200s: %s; let user id %u write there, or name another with --record", path,
                           strerror(errno), (unsigned)geteuid());
        if (!slash) break;
    }
    struct stat st;
    if (stat(dir, &st) != 0 || !S_ISDIR(st.st_mode))
        return tt_fail(err, TT_EIO, "%.200s is not a directory: the recording needs one of its own, name it with --record", dir);
    if (access(dir, W_OK | X_OK) != 0)
        return tt_fail(err, TT_EIO,
                       "cannot write the directory of the recording, %.200s: %s; let user id %u write there, or name another with --record", dir,
                       strerror(errno), (unsigned)geteuid());
    return true;
}

void segment_name(const tt_record_head *h, char *buf, size_t size) {
    time_t s = (time_t)(h->wall_ms / 1000);
    struct tm tm;
    if (h->wall_ms < 0 || !gmtime_r(&s, &tm) || tm.tm_year > 8099) memset(&tm, 0, sizeof tm);
    /* The modulo tells the compiler that every field fits. */
    snprintf(buf, size, "%04u%02u%02uT%02u%02u%02u.%03uZ-%06llu-%04llu.rec", (unsigned)(tm.tm_year + 1900) % 10000, (unsigned)(tm.tm_mon + 1) % 100,
             (unsigned)tm.tm_mday % 100, (unsigned)tm.tm_hour % 100, (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100,
             (unsigned)(h->wall_ms % 1000) % 1000, (unsigned long long)h->epoch, (unsigned long long)h->segment);
}

bool segment_is_one(const char *name, int64_t *ret_since_ms) {
    struct tm tm = {0};
    unsigned ms;
    unsigned long long epoch, segment;
    int end = 0;
    if (sscanf(name, "%4d%2d%2dT%2d%2d%2d.%3uZ-%llu-%llu.rec%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &ms,
               &epoch, &segment, &end) != 9 ||
        end == 0 || name[end])
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    if (ret_since_ms) *ret_since_ms = (int64_t)timegm(&tm) * 1000 + ms;
    return true;
}

typedef struct {
    char name[NAME_SIZE];
    uint64_t bytes;
    int64_t since_ms, written_ms;
} kept;

static int by_name(const void *a, const void *b) {
    return strcmp(((const kept *)a)->name, ((const kept *)b)->name);
}

segment_kept segment_trim(const char *dir, uint64_t max_bytes, uint64_t room, int64_t keep_ms, int64_t now_ms) {
    segment_kept sum = {0};
    kept *all = NULL;
    size_t n = 0, cap = 0;
    DIR *d = opendir(dir);
    if (!d) return sum;
    for (const struct dirent *e; (e = readdir(d));) {
        kept k = {0};
        struct stat st;
        if (strlen(e->d_name) >= sizeof k.name || !segment_is_one(e->d_name, &k.since_ms) || fstatat(dirfd(d), e->d_name, &st, 0) != 0) continue;
        if (n == cap) {
            kept *grown = realloc(all, (cap = cap ? cap * 2 : 64) * sizeof *grown);
            if (!grown) break;
            all = grown;
        }
        snprintf(k.name, sizeof k.name, "%s", e->d_name);
        k.bytes = (uint64_t)st.st_size;
        k.written_ms = (int64_t)st.st_mtim.tv_sec * 1000;
        sum.bytes += k.bytes;
        all[n++] = k;
    }
    if (n) qsort(all, n, sizeof *all, by_name);
    size_t first = 0;
    for (; first < n; first++) {
        bool old = keep_ms > 0 && now_ms - all[first].written_ms > keep_ms;
        if (!old && sum.bytes + room <= max_bytes) break;
        if (unlinkat(dirfd(d), all[first].name, 0) != 0 && errno != ENOENT) break;
        sum.bytes -= all[first].bytes;
    }
    if (first < n) sum.since_ms = all[first].since_ms;
    closedir(d);
    free(all);
    return sum;
}
