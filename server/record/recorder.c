/* The writing side: records are made on the caller's thread, into a queue; a thread of its own compresses and writes them. Whatever goes wrong
 * stops the recording and nothing else. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "clock.h"
#include "record/segment.h"

enum {
    QUEUE_MAX = 64 << 20,    /* a disk that is behind by more is too slow */
    BATCH_BYTES = 256 << 10, /* written at once ... */
    BATCH_MS = 1000,         /* ... or after this long */
};
static const uint64_t max_bytes_least = 4 << 20, segment_least = 256 << 10, segment_most = 64 << 20;
static const int64_t retry_ns = TT_SECONDS(30), hour_ns = TT_SECONDS(3600);

typedef struct chunk {
    struct chunk *next;
    bool begins; /* a segment: `head` and `name`; else bytes of records */
    tt_record_head head;
    size_t n;
    char bytes[];
} chunk;

struct tt_recorder {
    char dir[512];
    tt_recorder_options opt;

    /* the caller's side */
    bool begun;
    record_tables tables;
    tt_buf scratch;
    tt_record_head head;
    uint64_t tick;
    tt_time began_at, retry_at;

    /* both sides */
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    chunk *queue, **last;
    size_t queued;
    uint64_t given, taken; /* chunks */
    bool urgent, stopping;
    tt_recorder_status status;
    uint64_t segment_bytes_now;

    /* the thread's side */
    pthread_t thread;
    segment_file file;
};

/* ---- the thread ---- */

static void stopped(tt_recorder *r, const char *why) {
    pthread_mutex_lock(&r->lock);
    r->status.on = false;
    snprintf(r->status.error, sizeof r->status.error, "%s", why);
    pthread_mutex_unlock(&r->lock);
}

static void begin_segment(tt_recorder *r, const chunk *c) {
    char name[64];
    tt_err err;
    segment_end(&r->file);
    segment_kept kept = segment_trim(r->dir, r->opt.max_bytes, r->opt.segment_bytes, r->opt.keep_ns / 1000000, tt_clock_wall().ms);
    segment_name(&c->head, name, sizeof name);
    if (!segment_begin(&r->file, r->dir, name, &c->head, &err)) {
        stopped(r, err.text);
        return;
    }
    pthread_mutex_lock(&r->lock);
    memcpy(r->status.file, r->file.path, sizeof r->status.file);
    r->status.kept = kept.bytes;
    r->status.since_ms = kept.since_ms ? kept.since_ms : c->head.wall_ms;
    pthread_mutex_unlock(&r->lock);
}

static void write_some(tt_recorder *r, tt_buf *batch) {
    tt_err err;
    uint64_t before = r->file.bytes;
    bool ok = !batch->failed || tt_fail(&err, TT_ENOMEM, "out of memory for the recording");
    if (ok && batch->n && r->file.open) ok = segment_put(&r->file, (tt_sv){batch->p, batch->n}, r->opt.spare_bytes, &err);
    if (!ok) {
        segment_end(&r->file);
        stopped(r, err.text);
    }
    pthread_mutex_lock(&r->lock);
    r->status.bytes += r->file.bytes - before;
    r->segment_bytes_now = r->file.bytes;
    pthread_mutex_unlock(&r->lock);
    tt_buf_free(batch);
}

/* Takes what waits, in order; a segment's begin ends the batch before it. */
static void work_off(tt_recorder *r, chunk *all) {
    tt_buf batch;
    tt_buf_init(&batch, SIZE_MAX / 2);
    for (chunk *c = all, *next; c; c = next) {
        next = c->next;
        if (c->begins) {
            write_some(r, &batch);
            begin_segment(r, c);
        } else {
            tt_buf_put(&batch, (tt_sv){c->bytes, c->n});
        }
        free(c);
    }
    write_some(r, &batch);
}

static void wait_for_work(tt_recorder *r) {
    while (!r->queue && !r->stopping) pthread_cond_wait(&r->work, &r->lock);
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += BATCH_MS / 1000;
    while (!r->urgent && !r->stopping && r->queued < BATCH_BYTES)
        if (pthread_cond_timedwait(&r->work, &r->lock, &until) == ETIMEDOUT) break;
}

static void *run(void *arg) {
    tt_recorder *r = arg;
    pthread_mutex_lock(&r->lock);
    for (;;) {
        wait_for_work(r);
        chunk *all = r->queue;
        uint64_t upto = r->given;
        bool last = r->stopping;
        r->queue = NULL;
        r->last = &r->queue;
        r->queued = 0;
        r->urgent = false;
        pthread_mutex_unlock(&r->lock);
        work_off(r, all);
        pthread_mutex_lock(&r->lock);
        r->taken = upto;
        pthread_cond_broadcast(&r->done);
        if (last && !r->queue) break;
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* ---- the caller's side ---- */

static bool is_on(tt_recorder *r) {
    pthread_mutex_lock(&r->lock);
    bool on = r->status.on;
    pthread_mutex_unlock(&r->lock);
    return on;
}

static void give_up(tt_recorder *r, const char *why) {
    stopped(r, why);
    r->begun = false;
    record_tables_free(&r->tables);
}

static bool submit(tt_recorder *r, chunk *c, bool urgent) {
    pthread_mutex_lock(&r->lock);
    bool fits = r->queued + c->n <= QUEUE_MAX || !r->queue;
    if (fits) {
        c->next = NULL;
        *r->last = c;
        r->last = &c->next;
        r->queued += c->n;
        r->given++;
        r->urgent = r->urgent || urgent;
        pthread_cond_signal(&r->work);
    }
    pthread_mutex_unlock(&r->lock);
    if (!fits) free(c);
    return fits;
}

/* Hands over what is in `scratch`. */
static void hand_over(tt_recorder *r, bool ok, bool urgent) {
    chunk *c = ok ? malloc(sizeof *c + r->scratch.n) : NULL;
    if (!c) {
        give_up(r, ok ? "out of memory for the recording" : "a tick, or the rules, are larger than a recording can hold, or memory is out");
    } else {
        *c = (chunk){.n = r->scratch.n};
        memcpy(c->bytes, r->scratch.p, r->scratch.n);
        if (!submit(r, c, urgent)) give_up(r, "the disk is too slow for the recording: 64 MiB wait for it");
    }
    if (r->scratch.cap > 4u << 20) tt_buf_free(&r->scratch);
    r->scratch.n = 0;
    r->scratch.failed = false;
}

/* Notices that the thread had to stop, and drops what only a running recording needs. */
static bool goes_on(tt_recorder *r) {
    if (!r->begun) return false;
    if (is_on(r)) return true;
    r->begun = false;
    record_tables_free(&r->tables);
    return false;
}

static bool random_name(char run[TT_RECORD_RUN_SIZE]) {
    unsigned char raw[16];
    if (getrandom(raw, sizeof raw, 0) != (ssize_t)sizeof raw) return false;
    for (size_t i = 0; i < sizeof raw; i++) snprintf(run + 2 * i, 3, "%02x", raw[i]);
    return true;
}

static bool make_thread(tt_recorder *r) {
    pthread_condattr_t attr;
    if (pthread_condattr_init(&attr) != 0) return false;
    bool ok = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0 && pthread_mutex_init(&r->lock, NULL) == 0;
    if (ok && pthread_cond_init(&r->work, &attr) != 0) {
        pthread_mutex_destroy(&r->lock);
        ok = false;
    }
    pthread_condattr_destroy(&attr);
    if (!ok) return false;
    if (pthread_cond_init(&r->done, NULL) == 0) {
        if (pthread_create(&r->thread, NULL, run, r) == 0) return true;
        pthread_cond_destroy(&r->done);
    }
    pthread_cond_destroy(&r->work);
    pthread_mutex_destroy(&r->lock);
    return false;
}

tt_recorder *tt_recorder_new(const tt_recorder_options *opt, tt_err *err) {
    if (!segment_make_directory(opt->dir, err)) return NULL;
    tt_recorder *r = calloc(1, sizeof *r);
    if (!r || !segment_init(&r->file, err) || !random_name(r->head.run)) {
        if (r) segment_free(&r->file);
        free(r);
        tt_fail(err, TT_ENOMEM, "out of memory, or of randomness, for the recording");
        return NULL;
    }
    snprintf(r->dir, sizeof r->dir, "%s", opt->dir);
    r->opt = *opt;
    r->opt.dir = r->dir;
    if (r->opt.max_bytes < max_bytes_least) r->opt.max_bytes = max_bytes_least;
    if (!r->opt.segment_bytes) r->opt.segment_bytes = r->opt.max_bytes / 16 < segment_most ? r->opt.max_bytes / 16 : segment_most;
    if (r->opt.segment_bytes < segment_least) r->opt.segment_bytes = segment_least;
    if (r->opt.segment_ns <= 0) r->opt.segment_ns = hour_ns;
    snprintf(r->head.version, sizeof r->head.version, "%s", opt->version ? opt->version : "");
    snprintf(r->head.build, sizeof r->head.build, "%s", opt->build ? opt->build : "");
    r->opt.version = r->opt.build = NULL;
    r->head.epoch = opt->epoch;
    r->last = &r->queue;
    tt_buf_init(&r->scratch, SIZE_MAX / 2);
    if (!make_thread(r)) {
        segment_free(&r->file);
        free(r);
        tt_fail(err, TT_ENOMEM, "no thread could be started for the recording");
        return NULL;
    }
    return r;
}

static void end_segment(tt_recorder *r, const char *why) {
    if (!goes_on(r)) return;
    hand_over(r, record_put_close(&r->scratch, tt_sv_of(why)), true);
    if (r->begun) record_tables_free(&r->tables);
    r->begun = false;
}

void tt_recorder_free(tt_recorder *r) {
    if (!r) return;
    end_segment(r, "trimtab stopped");
    pthread_mutex_lock(&r->lock);
    r->stopping = true;
    pthread_cond_signal(&r->work);
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->thread, NULL);
    segment_free(&r->file);
    tt_buf_free(&r->scratch);
    pthread_cond_destroy(&r->work);
    pthread_cond_destroy(&r->done);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

bool tt_recorder_wants_segment(tt_recorder *r, tt_time now) {
    if (!goes_on(r)) {
        if (r->head.segment == 0) return true;
        if (r->retry_at.ns == 0) r->retry_at.ns = now.ns + retry_ns;
        return now.ns >= r->retry_at.ns;
    }
    pthread_mutex_lock(&r->lock);
    uint64_t bytes = r->segment_bytes_now;
    pthread_mutex_unlock(&r->lock);
    return bytes >= r->opt.segment_bytes || tt_since(now, r->began_at) >= r->opt.segment_ns || r->tables.full;
}

void tt_recorder_begin(tt_recorder *r, const tt_record_base *base) {
    end_segment(r, "goes on in the next segment");
    r->retry_at.ns = 0;
    if (!record_tables_init(&r->tables)) {
        stopped(r, "out of memory for the recording");
        return;
    }
    chunk *c = malloc(sizeof *c);
    r->head.segment++;
    r->head.wall_ms = base->wall.ms;
    r->head.now_ns = base->now.ns;
    if (c) *c = (chunk){.begins = true, .head = r->head};
    pthread_mutex_lock(&r->lock);
    r->status.on = true;
    r->status.error[0] = 0;
    r->segment_bytes_now = 0;
    pthread_mutex_unlock(&r->lock);
    r->begun = true;
    r->began_at = base->now;
    if (!c || !submit(r, c, false)) {
        give_up(r, "out of memory for the recording, or the disk is too slow for it");
        return;
    }
    tt_buf *b = &r->scratch;
    bool ok = record_put_config(b, base->config) && record_put_rules(b, base->rules, base->rules_hash);
    if (ok && base->saved.n) ok = record_put_state(b, WIRE_SAVED, base->now, base->saved);
    if (ok && base->snapshot.n) ok = record_put_state(b, WIRE_SNAPSHOT, base->now, base->snapshot);
    hand_over(r, ok, true);
}

void tt_recorder_rules(tt_recorder *r, const tt_rules_texts *rules, uint32_t rules_hash) {
    if (goes_on(r)) hand_over(r, record_put_rules(&r->scratch, rules, rules_hash), true);
}

void tt_recorder_timing(tt_recorder *r, int64_t scrape_ns, int64_t ingest_ns, int64_t apply_ns) {
    if (goes_on(r)) hand_over(r, record_put_timing(&r->scratch, scrape_ns, ingest_ns, apply_ns), true);
}

void tt_recorder_tick(tt_recorder *r, const tt_observations *obs, const tt_outcome *out) {
    r->tick++;
    bool on = goes_on(r);
    pthread_mutex_lock(&r->lock);
    r->status.ticks += on;
    r->status.missed += !on;
    pthread_mutex_unlock(&r->lock);
    if (on) hand_over(r, record_put_tick(&r->scratch, &r->tables, r->tick, obs, out), out->n_decisions || out->n_events);
}

void tt_recorder_commit(tt_recorder *r, uint64_t first_seq, uint64_t n, const uint8_t hash[TT_RECORD_HASH_SIZE]) {
    if (!goes_on(r)) return;
    tt_record_commit c = {.tick = r->tick, .first_seq = first_seq, .n = n};
    if (hash) memcpy(c.hash, hash, sizeof c.hash);
    hand_over(r, record_put_commit(&r->scratch, &c), false);
}

void tt_recorder_status_of(tt_recorder *r, tt_recorder_status *ret) {
    pthread_mutex_lock(&r->lock);
    *ret = r->status;
    pthread_mutex_unlock(&r->lock);
}

void tt_recorder_sync(tt_recorder *r) {
    pthread_mutex_lock(&r->lock);
    uint64_t upto = r->given;
    r->urgent = true;
    pthread_cond_signal(&r->work);
    while (r->taken < upto) pthread_cond_wait(&r->done, &r->lock);
    pthread_mutex_unlock(&r->lock);
}
