#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum { CHUNK = 65536 };

struct tt_plant_process {
    pid_t pid; /* leads its group */
    int in, out; /* its stdin and stdout: ours to write and to read; -1: closed */
    int64_t timeout_ns;
    const volatile sig_atomic_t *stop;
    sigset_t open; /* signals while waiting */
    char *text;    /* read and not yet returned, after `line` */
    size_t n, cap, line;
    bool eof;
};

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void close_fd(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

static bool make_pipe(int ends[2], tt_err *err) {
    if (pipe2(ends, O_CLOEXEC) == 0) return true;
    return tt_fail(err, TT_EIO, "no pipe to the plant: %s", strerror(errno));
}

static int spawn(tt_plant_process *p, const char *command, int in, int out) {
    char *const argv[] = {(char[]){"sh"}, (char[]){"-c"}, (char *)(uintptr_t)command, NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t none, usual;
    if (posix_spawn_file_actions_init(&files) != 0) return ENOMEM;
    if (posix_spawnattr_init(&attr) != 0) {
        posix_spawn_file_actions_destroy(&files);
        return ENOMEM;
    }
    sigemptyset(&none);
    sigemptyset(&usual);
    sigaddset(&usual, SIGPIPE);
    sigaddset(&usual, SIGINT);
    sigaddset(&usual, SIGTERM);
    int e = posix_spawn_file_actions_adddup2(&files, in, 0);
    if (!e) e = posix_spawn_file_actions_adddup2(&files, out, 1);
    if (!e) e = posix_spawnattr_setpgroup(&attr, 0);
    if (!e) e = posix_spawnattr_setsigmask(&attr, &none);
    if (!e) e = posix_spawnattr_setsigdefault(&attr, &usual);
    if (!e) e = posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    if (!e) e = posix_spawn(&p->pid, "/bin/sh", &files, &attr, argv, environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&files);
    return e;
}

tt_plant_process *tt_plant_start(const char *command, int64_t timeout_ns, const volatile sig_atomic_t *stop, tt_err *err) {
    int to[2] = {-1, -1}, from[2] = {-1, -1};
    tt_plant_process *p = calloc(1, sizeof *p);
    if (!p) {
        tt_fail(err, TT_ENOMEM, "memory is out");
        return NULL;
    }
    *p = (tt_plant_process){.in = -1, .out = -1, .timeout_ns = timeout_ns, .stop = stop};
    bool ok = make_pipe(to, err) && make_pipe(from, err);
    if (ok) {
        signal(SIGPIPE, SIG_IGN); /* a plant that is gone is an error that is told, not our end */
        sigprocmask(SIG_SETMASK, NULL, &p->open);
        sigdelset(&p->open, SIGINT);
        sigdelset(&p->open, SIGTERM);
        int e = spawn(p, command, to[0], from[1]);
        ok = e == 0 || tt_fail(err, TT_EIO, "/bin/sh can't be started: %s", strerror(e));
    }
    if (ok) {
        p->in = to[1];
        p->out = from[0];
        fcntl(p->in, F_SETFL, O_NONBLOCK);
        fcntl(p->out, F_SETFL, O_NONBLOCK);
        to[1] = from[0] = -1;
    }
    for (int i = 0; i < 2; i++) {
        close_fd(&to[i]);
        close_fd(&from[i]);
    }
    if (ok) return p;
    free(p);
    return NULL;
}

/* ---- lines ---- */

typedef enum { READ_SOME, READ_NOTHING, READ_EOF, READ_NO_MEMORY } read_result;

static read_result read_some(tt_plant_process *p) {
    if (p->cap - p->n < CHUNK + 1) {
        size_t cap = p->cap ? p->cap * 2 : 2 * CHUNK;
        char *more = realloc(p->text, cap);
        if (!more) return READ_NO_MEMORY;
        p->text = more;
        p->cap = cap;
    }
    ssize_t got = read(p->out, p->text + p->n, CHUNK);
    if (got < 0) return errno == EAGAIN || errno == EINTR ? READ_NOTHING : READ_EOF;
    if (got == 0) return READ_EOF;
    p->n += (size_t)got;
    return READ_SOME;
}

tt_sv tt_plant_pending(const tt_plant_process *p) {
    return (tt_sv){p->text ? p->text + p->line : "", p->n - p->line};
}

/* The line that is complete, or what is left when there will be no more. */
static bool take_line(tt_plant_process *p, size_t seen, tt_sv *ret) {
    char *from = p->text + p->line, *end = p->n > seen ? memchr(p->text + seen, '\n', p->n - seen) : NULL;
    if (end) {
        *ret = (tt_sv){from, (size_t)(end - from)};
        p->line = (size_t)(end - p->text) + 1;
        return true;
    }
    if (!p->eof || p->n == p->line) return false;
    *ret = (tt_sv){from, p->n - p->line};
    p->line = p->n;
    return true;
}

static int wait_for(tt_plant_process *p, struct pollfd *fds, nfds_t n, int64_t until_ns) {
    int64_t left = until_ns - now_ns();
    if (left < 0) left = 0;
    const struct timespec t = {.tv_sec = (time_t)(left / 1000000000), .tv_nsec = (long)(left % 1000000000)};
    int got = ppoll(fds, n, &t, &p->open);
    return got < 0 && errno == EINTR ? 0 : got;
}

bool tt_plant_exchange(tt_plant_process *p, tt_sv request, size_t max, tt_sv *ret, tt_err *err) {
    const int64_t until = now_ns() + p->timeout_ns;
    if (p->line) { /* what was returned before is done with */
        memmove(p->text, p->text + p->line, p->n - p->line);
        p->n -= p->line;
        p->line = 0;
    }
    size_t sent = 0, seen = 0;
    for (;;) {
        /* A whole line, but not before the request is out: a plant that speaks first is still told everything. */
        bool owes = sent < request.n && p->in >= 0;
        size_t before = p->n;
        if (!owes && p->n && take_line(p, seen, ret)) break;
        if (!owes) seen = before;
        if (p->n - p->line > max) return tt_fail(err, TT_ELIMIT, "more than %zu bytes without a newline: one line answers a tick", max);
        if (p->eof) {
            close_fd(&p->in);
            return tt_fail(err, TT_EIO, "it closed its output");
        }
        if (p->stop && *p->stop) return tt_fail(err, TT_ESTATE, "stopped");
        struct pollfd fds[2] = {{.fd = p->out, .events = POLLIN}, {.fd = owes ? p->in : -1, .events = POLLOUT}};
        bool full = owes && p->n > max + CHUNK; /* it floods us and doesn't read */
        if (full) fds[0].fd = -1;
        int got = wait_for(p, fds, 2, until);
        if (got < 0) return tt_fail(err, TT_EIO, "waiting for it failed: %s", strerror(errno));
        if (p->stop && *p->stop) return tt_fail(err, TT_ESTATE, "stopped");
        if (fds[1].revents) {
            ssize_t put = write(p->in, request.p + sent, request.n - sent);
            if (put > 0)
                sent += (size_t)put;
            else if (put < 0 && errno != EAGAIN && errno != EINTR)
                close_fd(&p->in); /* it no longer listens; it may still have something to say */
        }
        if (fds[0].revents) switch (read_some(p)) {
            case READ_EOF:
                p->eof = true;
                close_fd(&p->in);
                break;
            case READ_NO_MEMORY:
                return tt_fail(err, TT_ENOMEM, "memory is out");
            case READ_SOME:
            case READ_NOTHING:
                break;
            }
        if (got == 0 && now_ns() >= until) {
            char time[32];
            tt_format_duration(p->timeout_ns, time, sizeof time);
            return owes ? tt_fail(err, TT_EIO, "it did not read its request within %s", time) : tt_fail(err, TT_EIO, "no line within %s", time);
        }
    }
    if (ret->n > max) return tt_fail(err, TT_ELIMIT, "a line of %zu bytes, at most %zu are taken", ret->n, max);
    return true;
}

/* ---- the end ---- */

static void say_how(int status, char *how, size_t size) {
    if (WIFSIGNALED(status))
        snprintf(how, size, "killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        snprintf(how, size, "exit code %d", WEXITSTATUS(status));
}

/* Has the child ended by itself by then? Its status stays to be asked for. */
static bool ended_by(tt_plant_process *p, int64_t until_ns) {
    siginfo_t info = {.si_pid = 0};
    int fd = (int)syscall(SYS_pidfd_open, p->pid, 0);
    while (fd >= 0 && now_ns() < until_ns && !(p->stop && *p->stop)) {
        struct pollfd f[2] = {{.fd = fd, .events = POLLIN}, {.fd = p->eof ? -1 : p->out, .events = POLLIN}};
        if (wait_for(p, f, 2, until_ns) < 0) break;
        if (f[0].revents) break;
        if (f[1].revents) { /* what it still has to say is not to block it */
            p->n = p->line = 0;
            p->eof = read_some(p) == READ_EOF;
        }
    }
    if (fd >= 0) close(fd);
    return waitid(P_PID, (id_t)p->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == p->pid;
}

/* The group first, while its leader is not yet reaped and its number can't be anybody else's. */
static int reap(tt_plant_process *p) {
    int status = 0;
    kill(-p->pid, SIGKILL);
    while (waitpid(p->pid, &status, 0) < 0 && errno == EINTR) {}
    return status;
}

static void release(tt_plant_process *p) {
    close_fd(&p->in);
    close_fd(&p->out);
    free(p->text);
    free(p);
}

bool tt_plant_end(tt_plant_process *p, char *how, size_t size) {
    close_fd(&p->in);
    bool by_itself = ended_by(p, now_ns() + p->timeout_ns);
    int status = reap(p);
    how[0] = 0;
    bool well = true;
    if (!by_itself) {
        snprintf(how, size, "still running");
    } else if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        say_how(status, how, size);
        well = false;
    }
    release(p);
    return well;
}

void tt_plant_kill(tt_plant_process *p) {
    if (!p) return;
    reap(p);
    release(p);
}
