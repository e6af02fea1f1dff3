/* Birth and death of a data plane. */
#include <errno.h>
#include <stdlib.h>

#include "internal.h"

static const char *const default_priorities[] = {"critical", "normal", "batch"};
static const size_t first_size = offsetof(tt_dp_options, workers) + sizeof(uint32_t); /* of the first release */

const char *tt_dp_version(void) {
    return TRIMTAB_VERSION;
}

/* Absent is "". */
static bool set_name(char to[TT_DP_NAME_MAX], const char *from) {
    if (!from || !from[0]) return true;
    size_t n = dp_name_length(from);
    if (n) memcpy(to, from, n + 1);
    return n > 0;
}

static bool set_up(tt_dp *dp, const tt_dp_options *o) {
    size_t n = o->n_priorities ? o->n_priorities : 3;
    const char *const *names = o->n_priorities ? o->priorities : default_priorities;
    if (n > TT_DP_PRIORITIES_MAX || !names) return false;
    for (size_t p = 0; p < n; p++) {
        if (dp_name_length(names[p]) == 0) return false;
        for (size_t q = 0; q < p; q++)
            if (strcmp(names[p], names[q]) == 0) return false;
        set_name(dp->priorities[p], names[p]);
    }
    if (o->timeout_ms > 3600000 || o->base_ms > 3600000 || o->workers > 1000000) return false;
    dp->n_priorities = (uint32_t)n;
    dp->workers = o->workers;
    return set_name(dp->service, o->service) && set_name(dp->dc, o->dc) && set_name(dp->instance, o->instance);
}

static void *zeroed_lines(size_t size) {
    void *p = NULL;
    size = (size + DP_LINE - 1) / DP_LINE * DP_LINE;
    if (posix_memalign(&p, DP_LINE, size) != 0) return NULL;
    return memset(p, 0, size);
}

static void release(tt_dp *dp) {
    free(dp->counters);
    free(dp->calls);
    free(dp);
}

tt_dp *tt_dp_new(const tt_dp_options *options) {
    if (!options || options->size < first_size) {
        errno = EINVAL;
        return NULL;
    }
    tt_dp_options o = {0};
    memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
    tt_dp *dp = zeroed_lines(sizeof *dp);
    if (!dp || !dp_runtime_start()) {
        free(dp);
        errno = ENOMEM;
        return NULL;
    }
    if (!set_up(dp, &o)) {
        free(dp);
        errno = EINVAL;
        return NULL;
    }
    dp->counters = zeroed_lines(DP_STRIPES * sizeof *dp->counters);
    dp->calls = zeroed_lines(sizeof *dp->calls);
    if (!dp->counters || !dp->calls) {
        release(dp);
        errno = ENOMEM;
        return NULL;
    }
    set_name(dp->calls->other.service, "other");
    set_name(dp->calls->other.dc, "other");
    set_name(dp->calls->other.instance, "other");
    atomic_store(&dp->bucket_empty_ns, INT64_MIN / 4); /* full */
    dp_inner_set_up(dp, o.timeout_ms ? o.timeout_ms : 1000, o.base_ms ? o.base_ms : 10);
    dp->magic = DP_MAGIC;
    tt_dp_inner_loop(dp, o.inner_loop);
    pthread_mutex_lock(&dp_rt.lock);
    dp->next = dp_rt.all;
    dp_rt.all = dp;
    pthread_mutex_unlock(&dp_rt.lock);
    return dp;
}

void tt_dp_free(tt_dp *dp) {
    if (!dp_alive(dp)) return;
    pthread_mutex_lock(&dp_rt.lock);
    for (tt_dp **at = &dp_rt.all; *at; at = &(*at)->next)
        if (*at == dp) {
            *at = dp->next;
            break;
        }
    dp->magic = 0;
    pthread_mutex_unlock(&dp_rt.lock);
    dp_snapshots_free(dp);
    release(dp);
}
