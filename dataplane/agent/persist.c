#include "persist.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "decode.h"

/* "trimtab-state 1 <crc32> <wall clock of writing, ms> <bytes that follow>\n", then the answer as it came. The sum covers the time too. */
static const char head_format[] = "trimtab-state 1 %08lx %lld %zu\n";
enum { HEAD_MAX = 96 };

static uint32_t crc32_on(uint32_t crc, const void *data, size_t n) {
    const unsigned char *p = data;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0xedb88320) : 0);
    }
    return crc;
}

static uint32_t sum_of(int64_t wall_ms, const char *body, size_t n) {
    char when[32];
    int length = snprintf(when, sizeof when, "%lld", (long long)wall_ms);
    return ~crc32_on(crc32_on(UINT32_MAX, when, (size_t)length), body, n);
}

static bool write_all(int fd, const char *p, size_t n) {
    while (n > 0) {
        ssize_t written = write(fd, p, n);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return false;
        p += written;
        n -= (size_t)written;
    }
    return true;
}

static bool sync_directory_of(const char *path) {
    char directory[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 0;
    if (n >= sizeof directory) return false;
    memcpy(directory, path, n);
    directory[n] = 0;
    int fd = open(!slash ? "." : n ? directory : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return false;
    bool done = fsync(fd) == 0;
    int error = errno;
    close(fd);
    errno = error;
    return done;
}

bool agent_state_save(const char *path, const char *body, size_t n, int64_t wall_ms) {
    char temporary[PATH_MAX], head[HEAD_MAX];
    int length = snprintf(temporary, sizeof temporary, "%s.tmp", path);
    if (length < 0 || (size_t)length >= sizeof temporary) {
        errno = ENAMETOOLONG;
        return false;
    }
    length = snprintf(head, sizeof head, head_format, (unsigned long)sum_of(wall_ms, body, n), (long long)wall_ms, n);
    unlink(temporary); /* of a run that was killed; and never write through a link that lies there */
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) return false;
    bool done = write_all(fd, head, (size_t)length) && write_all(fd, body, n) && fsync(fd) == 0;
    int error = errno;
    if (close(fd) != 0 && done) {
        done = false;
        error = errno;
    }
    if (done && rename(temporary, path) != 0) {
        done = false;
        error = errno;
    }
    if (!done) {
        unlink(temporary);
        errno = error;
        return false;
    }
    return sync_directory_of(path);
}

static bool read_all(int fd, char *to, size_t n) {
    while (n > 0) {
        ssize_t got = read(fd, to, n);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        to += got;
        n -= (size_t)got;
    }
    return true;
}

/* `file` is the whole file, ended by a zero. */
static bool check(const char *file, size_t size, size_t *ret_head, int64_t *ret_wall_ms, char *why, size_t why_size) {
    unsigned long sum;
    long long wall_ms;
    size_t n;
    const char *end = memchr(file, '\n', size < HEAD_MAX ? size : HEAD_MAX);
    if (!end || sscanf(file, "trimtab-state 1 %8lx %19lld %zu\n", &sum, &wall_ms, &n) != 3) {
        snprintf(why, why_size, "it does not begin as a state file of this version does");
        return false;
    }
    *ret_head = (size_t)(end - file) + 1;
    if (n != size - *ret_head) {
        snprintf(why, why_size, "it should hold %zu bytes and holds %zu", n, size - *ret_head);
        return false;
    }
    if (sum_of(wall_ms, file + *ret_head, n) != sum) {
        snprintf(why, why_size, "its checksum is wrong");
        return false;
    }
    *ret_wall_ms = wall_ms;
    return true;
}

agent_state_result agent_state_load(const char *path, char **ret_body, size_t *ret_n, int64_t *ret_wall_ms, char *why, size_t why_size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        if (errno == ENOENT) return AGENT_STATE_ABSENT;
        snprintf(why, why_size, "it can't be opened: %s", strerror(errno));
        return AGENT_STATE_BAD;
    }
    struct stat st;
    char *file = NULL;
    agent_state_result result = AGENT_STATE_BAD;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > AGENT_SET_BYTES_MAX + HEAD_MAX) {
        snprintf(why, why_size, "it is no regular file of at most %d bytes", AGENT_SET_BYTES_MAX + HEAD_MAX);
        goto out;
    }
    size_t size = (size_t)st.st_size, head = 0;
    file = malloc(size + 1);
    if (!file || !read_all(fd, file, size)) {
        snprintf(why, why_size, "it can't be read: %s", strerror(errno));
        goto out;
    }
    file[size] = 0;
    if (!check(file, size, &head, ret_wall_ms, why, why_size)) goto out;
    *ret_n = size - head;
    memmove(file, file + head, *ret_n + 1);
    *ret_body = file;
    file = NULL;
    result = AGENT_STATE_READ;
out:
    free(file);
    close(fd);
    return result;
}
