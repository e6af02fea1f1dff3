#include "runloop.h"

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

struct tt_runloop {
    struct event_base *base;
    int wake_fd, signal_fd;
    struct event *wake, *signal;
    void (*woken)(void *ctx);
    void *woken_ctx;
    void (*got)(void *ctx, int signo);
    void *got_ctx;
};

struct tt_timer {
    struct event *ev;
    void (*due)(void *ctx);
    void *ctx;
};

static void our_signals(sigset_t *set) {
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGHUP);
}

void tt_runloop_block_signals(void) {
    sigset_t set;
    our_signals(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file over its size limit is an error of that write, not the end of the daemon */
}

void tt_runloop_release_signals(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static void on_wake(evutil_socket_t fd, short what, void *ctx) {
    (void)what;
    tt_runloop *l = ctx;
    uint64_t n;
    if (read(fd, &n, sizeof n) == (ssize_t)sizeof n && l->woken) l->woken(l->woken_ctx);
}

static void on_signal(evutil_socket_t fd, short what, void *ctx) {
    (void)what;
    tt_runloop *l = ctx;
    struct signalfd_siginfo si;
    while (read(fd, &si, sizeof si) == (ssize_t)sizeof si) l->got(l->got_ctx, (int)si.ssi_signo);
}

tt_runloop *tt_runloop_new(tt_err *err) {
    tt_runloop *l = calloc(1, sizeof *l);
    struct event_config *cfg = event_config_new();
    if (!l || !cfg) {
        tt_fail(err, TT_ENOMEM, "out of memory making the main loop");
        goto fail;
    }
    l->wake_fd = l->signal_fd = -1;
    /* One loop thread: no locks in libevent. No cached time: a timer set after a long callback must not come early. */
    event_config_set_flag(cfg, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_NO_CACHE_TIME | EVENT_BASE_FLAG_PRECISE_TIMER);
    l->base = event_base_new_with_config(cfg);
    if (l->base) l->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (l->wake_fd >= 0) l->wake = event_new(l->base, l->wake_fd, EV_READ | EV_PERSIST, on_wake, l);
    if (!l->wake || event_add(l->wake, NULL) != 0) {
        tt_fail(err, TT_EIO, "cannot make the main loop: %s", strerror(errno));
        goto fail;
    }
    event_config_free(cfg);
    return l;
fail:
    if (cfg) event_config_free(cfg);
    if (l) tt_runloop_free(l);
    return NULL;
}

void tt_runloop_free(tt_runloop *l) {
    if (!l) return;
    if (l->wake) event_free(l->wake);
    if (l->signal) event_free(l->signal);
    if (l->base) event_base_free(l->base);
    if (l->wake_fd >= 0) close(l->wake_fd);
    if (l->signal_fd >= 0) close(l->signal_fd);
    free(l);
}

struct event_base *tt_runloop_base(tt_runloop *l) {
    return l->base;
}

void tt_runloop_on_wake(tt_runloop *l, void (*woken)(void *ctx), void *ctx) {
    l->woken = woken;
    l->woken_ctx = ctx;
}

void tt_runloop_wake(tt_runloop *l) {
    uint64_t one = 1;
    /* EAGAIN: the counter is full, so a wake is on its way already. */
    while (write(l->wake_fd, &one, sizeof one) < 0 && errno == EINTR) continue;
}

bool tt_runloop_on_signal(tt_runloop *l, void (*got)(void *ctx, int signo), void *ctx, tt_err *err) {
    sigset_t set;
    our_signals(&set);
    l->got = got;
    l->got_ctx = ctx;
    l->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (l->signal_fd >= 0) l->signal = event_new(l->base, l->signal_fd, EV_READ | EV_PERSIST, on_signal, l);
    if (!l->signal || event_add(l->signal, NULL) != 0) return tt_fail(err, TT_EIO, "cannot listen for signals: %s", strerror(errno));
    return true;
}

static void on_timer(evutil_socket_t fd, short what, void *ctx) {
    (void)fd;
    (void)what;
    tt_timer *t = ctx;
    t->due(t->ctx);
}

tt_timer *tt_timer_new(tt_runloop *l, void (*due)(void *ctx), void *ctx) {
    tt_timer *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    t->due = due;
    t->ctx = ctx;
    t->ev = event_new(l->base, -1, 0, on_timer, t);
    if (t->ev) return t;
    free(t);
    return NULL;
}

void tt_timer_free(tt_timer *t) {
    if (!t) return;
    event_free(t->ev);
    free(t);
}

void tt_timer_after(tt_timer *t, int64_t ns) {
    if (ns < 0) ns = 0;
    /* Rounded up: a timer that comes early finds its time not yet there and spins. */
    int64_t us = (ns + 999) / 1000;
    struct timeval tv = {.tv_sec = us / 1000000, .tv_usec = us % 1000000};
    event_add(t->ev, &tv);
}

void tt_timer_stop(tt_timer *t) {
    if (t) event_del(t->ev);
}

void tt_runloop_run(tt_runloop *l) {
    event_base_loop(l->base, EVLOOP_NO_EXIT_ON_EMPTY);
}

void tt_runloop_stop(tt_runloop *l) {
    event_base_loopbreak(l->base);
}
