/* The engine's saved state, taken up again after a restart. One that cannot be read is put aside, told about, and does not stop the start. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app_internal.h"

static bool write_all(int fd, const char *p, size_t n) {
    while (n) {
        ssize_t w = write(fd, p, n);
        if (w < 0 && errno == EINTR) continue;
        if (w <= 0) return false;
        p += w;
        n -= (size_t)w;
    }
    return true;
}

/* Puts the text beside the store. *ret_path names it, or says why there is no copy. */
static void put_aside(const tt_app *app, const char *json, char *ret_path, size_t size) {
    snprintf(ret_path, size, "%s/state-unreadable-%lld.json", app->opt->state_dir, (long long)tt_clock_wall().ms);
    (void)mkdir(app->opt->state_dir, 0700);
    int fd = open(ret_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && write_all(fd, json, strlen(json)) && fsync(fd) == 0;
    int os = errno;
    if (fd >= 0) close(fd);
    if (!ok) snprintf(ret_path, size, "none, %s", strerror(os));
}

bool app_state_restore(tt_app *app, tt_err *err) {
    char *json = NULL;
    if (!tt_store_load_state(app->store, &json, err)) return false;
    const unsigned long long epoch = (unsigned long long)app->epoch;
    tt_err why;
    bool read = app_engine_begin(app, tt_sv_of(json), &why);
    if (!json) {
        app_note(app, "started", NULL, "trimtab %s starts with an empty memory: %zu plans, epoch %llu", TRIMTAB_VERSION, app->rules->n_plans, epoch);
    } else if (read) {
        size_t open = tt_engine_open_loops(app->engine);
        app_note(app, open ? "resumed" : "started", NULL, "trimtab %s starts again: %zu open loop%s taken up, %zu plans, epoch %llu", TRIMTAB_VERSION,
                 open, open == 1 ? " is" : "s are", app->rules->n_plans, epoch);
    } else {
        char path[1024], text[800];
        tt_err_print(&why, text, sizeof text);
        put_aside(app, json, path, sizeof path);
        tt_log_line(&app->log, TT_ERROR, "state_unreadable", TT_KV("error", text), TT_KV("copy", path), TT_KV_END);
        app_note(
            app, "started", NULL,
            "trimtab %s starts with an empty memory, because the saved state cannot be read (%.200s): what was in force is withdrawn. A copy: %.120s",
            TRIMTAB_VERSION, text, path);
    }
    free(json);
    return true;
}
