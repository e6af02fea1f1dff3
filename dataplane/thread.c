/* Threads of the host: each has a slot of its own, found through one thread-local pointer. The slots are the process's, not a tt_dp's: a thread
 * costs one slot however many data planes it serves. Fork leaves one thread; its child finds every other slot free. */
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "internal.h"

dp_runtime dp_rt = {.lock = PTHREAD_MUTEX_INITIALIZER};
_Thread_local dp_thread *dp_tls;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool started;

static dp_thread *a_shared_slot(void) {
    return &dp_rt.threads[DP_SLOTS + (dp_scramble((uintptr_t)&dp_tls) % DP_SHARED)];
}

static void thread_ended(void *slot) {
    dp_thread *t = slot;
    dp_tls = a_shared_slot(); /* other destructors of this thread may still call */
    atomic_store_explicit(&t->taken, false, memory_order_release);
}

dp_thread *dp_thread_claim(void) {
    for (uint32_t i = 0; i < DP_SLOTS; i++) {
        dp_thread *t = &dp_rt.threads[i];
        bool was = false;
        if (atomic_load_explicit(&t->taken, memory_order_relaxed) ||
            !atomic_compare_exchange_strong_explicit(&t->taken, &was, true, memory_order_acquire, memory_order_relaxed))
            continue;
        if (pthread_setspecific(dp_rt.key, t) != 0) { /* could never be given back */
            atomic_store_explicit(&t->taken, false, memory_order_release);
            break;
        }
        uint32_t used = atomic_load_explicit(&dp_rt.used, memory_order_relaxed);
        while (used <= i && !atomic_compare_exchange_weak_explicit(&dp_rt.used, &used, i + 1, memory_order_release, memory_order_relaxed)) {
        }
        return dp_tls = t;
    }
    return dp_tls = a_shared_slot();
}

static void before_fork(void) {
    pthread_mutex_lock(&dp_rt.lock);
}
static void after_fork_in_parent(void) {
    pthread_mutex_unlock(&dp_rt.lock);
}

static void register_barrier(void) {
    dp_rt.fence = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) != 0;
}

static void after_fork_in_child(void) {
    register_barrier();
    for (uint32_t i = 0; i < DP_STRIPES; i++) {
        dp_thread *t = &dp_rt.threads[i];
        if (t->shared) {
            atomic_store(&t->reading, 0);
        } else if (t != dp_tls) {
            atomic_store(&t->reading, (atomic_load(&t->reading) | 1) + 1); /* even, and past what a retired snapshot waits for */
            atomic_store(&t->taken, false);
        }
    }
    for (tt_dp *dp = dp_rt.all; dp; dp = dp->next) dp_forked(dp);
    pthread_mutex_unlock(&dp_rt.lock);
}

static void start(void) {
    for (uint32_t i = 0; i < DP_STRIPES; i++) {
        dp_rt.threads[i].index = i;
        dp_rt.threads[i].shared = i >= DP_SLOTS;
        atomic_init(&dp_rt.threads[i].draws, dp_scramble(i) ^ (uint64_t)dp_clock_ns(CLOCK_MONOTONIC));
    }
    register_barrier();
    started = pthread_key_create(&dp_rt.key, thread_ended) == 0 && pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child) == 0;
}

bool dp_runtime_start(void) {
    pthread_once(&once, start);
    return started;
}

void dp_writer_barrier(void) {
#if !defined(__SANITIZE_THREAD__)
    if (!dp_rt.fence) {
        if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0) return;
        /* Allowed at the start and not any more (a sandbox was entered): readers fence from now on, and have all done so once they have been
         * seen outside; a fence of ours can't tell, so give them a time no reader needs. */
        dp_rt.fence = true;
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    atomic_thread_fence(memory_order_seq_cst);
#endif
}
