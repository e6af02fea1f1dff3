/* Workers: what may wait for the store, the engine's lock or a reload runs here, while its connection is suspended. */
#include <signal.h>
#include <string.h>

#include "http/internal.h"

static void *work(void *ctx) {
    tt_http *h = ctx;
    pthread_mutex_lock(&h->lock);
    for (;;) {
        if (h->stream_jobs) {
            tt_stream *s = h->stream_jobs;
            h->stream_jobs = s->next_job;
            pthread_mutex_unlock(&h->lock);
            tt_stream_replay(s); /* resumes it */
            pthread_mutex_lock(&h->lock);
        } else if (h->jobs_head) {
            tt_req *r = h->jobs_head;
            h->jobs_head = r->next_job;
            if (!h->jobs_head) h->jobs_tail = NULL;
            h->n_jobs--;
            pthread_mutex_unlock(&h->lock);
            tt_req_route(r)->handle(r);
            pthread_mutex_lock(&h->lock);
            r->state = REQ_WOKEN;
            MHD_resume_connection(r->conn); /* r may be gone from here on */
        } else if (h->workers_stop) {
            break;
        } else {
            pthread_cond_wait(&h->jobs_or_stop, &h->lock);
        }
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

bool tt_work_queue(tt_req *r) {
    tt_http *h = r->h;
    if (h->stopping || h->n_jobs >= JOBS_MAX) return false;
    MHD_suspend_connection(r->conn);
    r->state = REQ_JOB;
    r->next_job = NULL;
    if (h->jobs_tail)
        h->jobs_tail->next_job = r;
    else
        h->jobs_head = r;
    h->jobs_tail = r;
    h->n_jobs++;
    pthread_cond_signal(&h->jobs_or_stop);
    return true;
}

void tt_work_queue_stream(tt_stream *s) {
    s->next_job = s->h->stream_jobs;
    s->h->stream_jobs = s;
    pthread_cond_signal(&s->h->jobs_or_stop);
}

bool tt_work_start(tt_http *h, tt_err *err) {
    for (; h->n_workers < WORKERS; h->n_workers++) {
        int rc = pthread_create(&h->workers[h->n_workers], NULL, work, h);
        if (rc) return tt_fail(err, TT_EIO, "cannot start a thread for the HTTP API: %s", strerror(rc));
    }
    return true;
}

void tt_work_stop(tt_http *h) {
    pthread_mutex_lock(&h->lock);
    h->workers_stop = true;
    pthread_cond_broadcast(&h->jobs_or_stop);
    pthread_mutex_unlock(&h->lock);
    while (h->n_workers) pthread_join(h->workers[--h->n_workers], NULL);
}
