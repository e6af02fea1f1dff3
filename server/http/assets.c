/* The dashboard: files that were embedded, or, for its developers, a directory read at each request. */
#include "http/assets.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "http/internal.h"

static const char csp[] = "default-src 'self'; style-src 'self'; img-src 'self' data:; frame-ancestors 'none'";
static const char missing[] =
    "<!doctype html><title>trimtab</title><p>web/dist is missing: build the dashboard with npm in web/, then build trimtab again. "
    "The API is at <a href=\"/v1/openapi.json\">/v1/openapi.json</a>.\n";
enum { FILE_MAX = 16 << 20 };

static const char *type_of(const char *path) {
    static const struct {
        const char *ending, *type;
    } types[] = {
        {".html", "text/html; charset=utf-8"},
        {".js", "text/javascript; charset=utf-8"},
        {".css", "text/css; charset=utf-8"},
        {".svg", "image/svg+xml"},
        {".json", "application/json"},
        {".png", "image/png"},
        {".ico", "image/x-icon"},
        {".woff2", "font/woff2"},
        {".txt", "text/plain; charset=utf-8"},
        {".webmanifest", "application/manifest+json"},
    };
    size_t n = strlen(path);
    for (size_t i = 0; i < TT_COUNT(types); i++) {
        size_t e = strlen(types[i].ending);
        if (n > e && strcmp(path + n - e, types[i].ending) == 0) return types[i].type;
    }
    return "application/octet-stream";
}

/* Whether a list like `gzip, br;q=0.8` takes gzip; `gzip;q=0` does not. */
static bool takes_gzip(const char *list) {
    for (const char *at = list ? strstr(list, "gzip") : NULL; at; at = strstr(at + 4, "gzip")) {
        const char *p = at + 4;
        while (*p == ' ') p++;
        if (*p != ';') return true;
        const char *q = strstr(p, "q=");
        if (!q || strtol(q + 2, NULL, 10) > 0 || (q[2] == '0' && q[3] == '.' && strspn(q + 4, "0") != strcspn(q + 4, ", "))) return true;
    }
    return false;
}

static void finish(tt_req *r, const char *etag, bool gzip, bool forever) {
    if (!r->response) return;
    MHD_del_response_header(r->response, "Cache-Control", "no-store");
    tt_reply_header(r, "Cache-Control", forever ? "public, max-age=31536000, immutable" : "no-cache");
    tt_reply_header(r, "Content-Security-Policy", csp);
    tt_reply_header(r, "Referrer-Policy", "no-referrer");
    tt_reply_header(r, "ETag", etag);
    tt_reply_header(r, "Vary", "Accept-Encoding");
    if (gzip) tt_reply_header(r, "Content-Encoding", "gzip");
}

static bool unchanged(tt_req *r, const char *etag) {
    if (!r->if_none_match || !strstr(r->if_none_match, etag)) return false;
    tt_reply_empty(r, 304);
    return true;
}

static void embedded(tt_req *r, const char *path) {
    for (size_t i = 0; i < tt_n_assets; i++) {
        const tt_asset_file *f = &tt_assets[i];
        if (strcmp(f->path, path) != 0) continue;
        bool gzip = f->gz && takes_gzip(r->accept_encoding), forever = strncmp(path, "/assets/", 8) == 0; /* their names hold a hash */
        char etag[96];
        snprintf(etag, sizeof etag, "\"%s%s\"", f->hash, gzip ? "-gz" : "");
        bool same = unchanged(r, etag);
        if (!same) tt_reply_static(r, f->type, gzip ? (tt_sv){f->gz, f->gz_n} : (tt_sv){f->data, f->n});
        finish(r, etag, gzip && !same, forever);
        return;
    }
    if (tt_n_assets == 0 && strcmp(path, "/index.html") == 0) {
        tt_reply_text(r, 200, "text/html; charset=utf-8", (tt_sv){missing, sizeof missing - 1});
        tt_reply_header(r, "Content-Security-Policy", csp);
        return;
    }
    tt_reply_problem(r, 404, "there is no page %.200s", path);
}

/* No hidden names and no way up: every part starts with a letter, digit, - or _. */
static bool safe_path(const char *path) {
    for (const char *p = path; *p; p++) {
        bool plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') || *p == '-' || *p == '_';
        if (!plain && *p != '/' && *p != '.') return false;
        if (*p == '/' && (p[1] == '.' || p[1] == '/')) return false;
    }
    return path[0] == '/';
}

static void from_disk(tt_req *r, const char *path) {
    char file[PATH_MAX], *text = NULL;
    struct stat st;
    int fd = -1;
    if (safe_path(path) && snprintf(file, sizeof file, "%s%s", r->h->web_dir, path) < (int)sizeof file)
        fd = open(file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > FILE_MAX || !(text = malloc((size_t)st.st_size + 1))) {
        if (fd >= 0) close(fd);
        tt_reply_problem(r, 404, "there is no file %.200s in the directory of the dashboard", path);
        return;
    }
    size_t n = 0;
    while (n < (size_t)st.st_size) {
        ssize_t got = read(fd, text + n, (size_t)st.st_size - n);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        n += (size_t)got;
    }
    close(fd);
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++) hash = (hash ^ (unsigned char)text[i]) * 0x100000001b3u;
    char etag[32];
    snprintf(etag, sizeof etag, "\"%016llx\"", (unsigned long long)hash);
    if (!unchanged(r, etag)) tt_reply_text(r, 200, type_of(path), (tt_sv){text, n});
    finish(r, etag, false, false);
    free(text);
}

void tt_asset(tt_req *r) {
    const char *path = strcmp(r->path.p, "/") == 0 ? "/index.html" : r->path.p;
    if (r->h->web_dir)
        from_disk(r, path);
    else
        embedded(r, path);
}
