/* Samples with their labels and quality. A series is found by (signal, service, dc), the way every law asks. */
#include "engine_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* How long a series that stopped is remembered: long enough to tell "gone" from "never was" in an incident. */
static const int64_t forget_ns = TT_SECONDS(900);

uint64_t tt_hash_bytes(uint64_t h, const void *p, size_t n) { /* FNV-1a */
    const unsigned char *b = p;
    for (size_t i = 0; i < n; i++) h = (h ^ b[i]) * 1099511628211u;
    return h;
}

static int label_cmp(const void *a, const void *b) { return tt_sv_cmp(((const tt_label *)a)->name, ((const tt_label *)b)->name); }

bool tt_labels_copy(tt_labels *to, const tt_label *from, size_t n) {
    size_t bytes = 1;
    memset(to, 0, sizeof *to);
    if (n > TT_LABELS_MAX) n = TT_LABELS_MAX;
    tt_label sorted[TT_LABELS_MAX];
    for (size_t i = 0; i < n; i++) {
        sorted[i] = from[i];
        bytes += from[i].name.n + from[i].value.n;
    }
    if (n) qsort(sorted, n, sizeof sorted[0], label_cmp);
    char *text = malloc(bytes);
    if (!text) return false;
    char *p = text;
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < n; i++) {
        tt_sv *parts[2] = {&to->l[i].name, &to->l[i].value};
        tt_sv source[2] = {sorted[i].name, sorted[i].value};
        for (int k = 0; k < 2; k++) {
            if (source[k].n) memcpy(p, source[k].p, source[k].n);
            *parts[k] = (tt_sv){p, source[k].n};
            h = tt_hash_bytes(h, p, source[k].n);
            h = tt_hash_bytes(h, "\xff", 1);
            p += source[k].n;
        }
    }
    to->n = (uint32_t)n;
    to->hash = h;
    to->text = text;
    return true;
}

void tt_labels_free(tt_labels *l) {
    free(l->text);
    memset(l, 0, sizeof *l);
}

tt_sv tt_labels_get(const tt_labels *l, tt_sv name) {
    for (uint32_t i = 0; i < l->n; i++)
        if (tt_sv_eq(l->l[i].name, name)) return l->l[i].value;
    return (tt_sv){NULL, 0};
}

static bool labels_eq(const tt_labels *a, const tt_label *b, size_t n) {
    if (a->n != n) return false;
    for (size_t i = 0; i < n; i++) {
        tt_sv v = tt_labels_get(a, b[i].name);
        if (!v.p || !tt_sv_eq(v, b[i].value)) return false;
    }
    return true;
}

static uint64_t bucket_hash(uint32_t signal, tt_sv service, tt_sv dc) {
    uint64_t h = tt_hash_bytes(14695981039346656037u, &signal, sizeof signal);
    h = tt_hash_bytes(h, service.p, service.n);
    h = tt_hash_bytes(h, "\xff", 1);
    h = tt_hash_bytes(h, dc.p, dc.n);
    return h ^ (h >> 29);
}

bool tt_series_init(tt_series_table *t, uint32_t max) {
    memset(t, 0, sizeof *t);
    t->max = max;
    t->n_buckets = 1024;
    while (t->n_buckets < max) t->n_buckets *= 2;
    t->s = calloc(max, sizeof *t->s);
    t->buckets = malloc(t->n_buckets * sizeof *t->buckets);
    if (!t->s || !t->buckets) return false;
    for (uint32_t i = 0; i < t->n_buckets; i++) t->buckets[i] = -1;
    for (int i = 0; i < TT_SIGNALS_MAX; i++) t->of_signal[i] = -1;
    t->free_list = -1;
    return true;
}

void tt_series_free(tt_series_table *t) {
    for (uint32_t i = 0; i < t->n; i++)
        if (t->s[i].used) tt_labels_free(&t->s[i].labels);
    free(t->s);
    free(t->buckets);
    memset(t, 0, sizeof *t);
}

static void link_in(tt_series_table *t, int32_t at) {
    tt_series *s = &t->s[at];
    uint32_t b = (uint32_t)(bucket_hash(s->signal, tt_labels_get(&s->labels, TT_SV("service")), tt_labels_get(&s->labels, TT_SV("dc"))) & (t->n_buckets - 1));
    s->next = t->buckets[b];
    t->buckets[b] = at;
    s->next_of_signal = t->of_signal[s->signal];
    t->of_signal[s->signal] = at;
}

void tt_series_move(tt_series_table *t, const int to[]) {
    uint32_t round[TT_SIGNALS_MAX];
    bool down[TT_SIGNALS_MAX];
    memcpy(round, t->round, sizeof round);
    memcpy(down, t->down, sizeof down);
    memset(t->round, 0, sizeof t->round);
    memset(t->down, 0, sizeof t->down);
    for (uint32_t i = 0; i < t->n_buckets; i++) t->buckets[i] = -1;
    /* Each signal's list in the order it had: sums are the same to the last bit. */
    int32_t first[TT_SIGNALS_MAX];
    memcpy(first, t->of_signal, sizeof first);
    for (int i = 0; i < TT_SIGNALS_MAX; i++) t->of_signal[i] = -1;
    for (int i = 0; i < TT_SIGNALS_MAX; i++) {
        int32_t reversed = -1;
        for (int32_t k = first[i], next; k >= 0; k = next) {
            next = t->s[k].next_of_signal;
            t->s[k].next_of_signal = reversed;
            reversed = k;
        }
        for (int32_t k = reversed, next; k >= 0; k = next) {
            tt_series *s = &t->s[k];
            next = s->next_of_signal;
            if (to[i] >= 0) {
                s->signal = (uint32_t)to[i];
                link_in(t, k);
                t->round[to[i]] = round[i];
                t->down[to[i]] = down[i];
                continue;
            }
            tt_labels_free(&s->labels);
            s->used = false;
            s->next = t->free_list;
            t->free_list = k;
            t->n_used--;
        }
    }
}

static tt_sv find_label(const tt_label *l, size_t n, tt_sv name) {
    for (size_t i = 0; i < n; i++)
        if (tt_sv_eq(l[i].name, name)) return l[i].value;
    return (tt_sv){NULL, 0};
}

static tt_series *find_or_add(tt_engine *e, const tt_measurement *m) {
    tt_series_table *t = &e->series;
    tt_sv service = find_label(m->labels, m->n_labels, TT_SV("service")), dc = find_label(m->labels, m->n_labels, TT_SV("dc"));
    uint32_t b = (uint32_t)(bucket_hash(m->signal, service, dc) & (t->n_buckets - 1));
    for (int32_t i = t->buckets[b]; i >= 0; i = t->s[i].next)
        if (t->s[i].signal == m->signal && labels_eq(&t->s[i].labels, m->labels, m->n_labels)) return &t->s[i];
    int32_t at = t->free_list;
    if (at >= 0)
        t->free_list = t->s[at].next;
    else if (t->n < t->max)
        at = (int32_t)t->n++;
    else {
        if (!t->full_said) {
            tt_emit(e, "limit_reached", NULL, "%u series are watched, the ceiling: further ones are ignored. Narrow the queries or raise the ceiling", t->max);
            t->full_said = true;
        }
        return NULL;
    }
    tt_series *s = &t->s[at];
    memset(s, 0, sizeof *s);
    if (!tt_labels_copy(&s->labels, m->labels, m->n_labels)) {
        s->next = t->free_list;
        t->free_list = at;
        return NULL;
    }
    s->used = true;
    s->signal = m->signal;
    s->quality = TT_Q_NO_DATA;
    s->since = e->now;
    link_in(t, at);
    t->n_used++;
    return s;
}

static void set_quality(tt_engine *e, tt_series *s, tt_quality q) {
    if (q != TT_Q_OK && s->quality == TT_Q_OK) s->since = e->now;
    s->quality = q;
}

static void forget(tt_engine *e, uint32_t signal) {
    tt_series_table *t = &e->series;
    int32_t *link = &t->of_signal[signal];
    while (*link >= 0) {
        int32_t at = *link;
        tt_series *s = &t->s[at];
        if (s->quality == TT_Q_OK || tt_since(e->now, s->since) < forget_ns) {
            link = &s->next_of_signal;
            continue;
        }
        *link = s->next_of_signal;
        tt_sv service = tt_labels_get(&s->labels, TT_SV("service")), dc = tt_labels_get(&s->labels, TT_SV("dc"));
        int32_t *in = &t->buckets[bucket_hash(signal, service, dc) & (t->n_buckets - 1)];
        while (*in != at) in = &t->s[*in].next;
        *in = s->next;
        tt_labels_free(&s->labels);
        s->used = false;
        s->next = t->free_list;
        t->free_list = at;
        t->n_used--;
    }
}

void tt_series_take(tt_engine *e, const tt_observations *obs) {
    tt_series_table *t = &e->series;
    for (size_t i = 0; i < obs->n_polls; i++)
        if (obs->polls[i].signal < e->rules->n_signals) t->round[obs->polls[i].signal]++;
    for (size_t i = 0; i < obs->n_measurements; i++) {
        const tt_measurement *m = &obs->measurements[i];
        if (m->signal >= e->rules->n_signals) continue;
        tt_series *s = find_or_add(e, m);
        if (!s) continue;
        s->round = t->round[m->signal];
        /* Late or repeated: what is newer stands. */
        if (s->quality == TT_Q_OK && m->at.ns < s->at.ns) continue;
        tt_quality q = m->quality == TT_Q_OK && !isfinite(m->value) ? TT_Q_NO_DATA : m->quality;
        set_quality(e, s, q);
        if (q != TT_Q_OK) continue;
        if (m->at.ns != s->at.ns) s->prev_at = s->at;
        s->at = m->at.ns > e->now.ns ? e->now : m->at;
        s->value = m->value;
        s->window_ns = m->window_ns > 0 ? m->window_ns : e->rules->signals[m->signal].window_ns;
    }
    for (size_t i = 0; i < obs->n_polls; i++) {
        uint32_t signal = obs->polls[i].signal;
        if (signal >= e->rules->n_signals) continue;
        t->down[signal] = !obs->polls[i].answered;
        for (int32_t k = t->of_signal[signal]; k >= 0; k = t->s[k].next_of_signal) {
            tt_series *s = &t->s[k];
            if (!obs->polls[i].answered) {
                /* The last value stays good until its age is over: one lost poll is no blindness. */
                if (s->quality == TT_Q_OK && tt_since(e->now, s->at) > tt_series_max_age(e, signal)) set_quality(e, s, TT_Q_SOURCE_DOWN);
            } else if (s->round != t->round[signal] && !obs->polls[i].partial)
                set_quality(e, s, TT_Q_NO_DATA);
        }
        forget(e, signal);
    }
}

/* control.md, section 6: a sample is too old at 2.5 scrapes and what it takes to arrive; the signal's own word counts where it allows more. */
int64_t tt_series_max_age(const tt_engine *e, uint32_t signal) {
    int64_t own = e->rules->signals[signal].max_age_ns, slow = e->cfg.scrape_ns > 0 ? e->cfg.scrape_ns * 5 / 2 + e->cfg.ingest_ns + TT_SECONDS(5) : 0;
    return own > slow ? own : slow;
}

tt_quality tt_series_quality(const tt_engine *e, const tt_series *s) {
    if (s->quality != TT_Q_OK) return s->quality;
    if (tt_since(e->now, s->at) <= tt_series_max_age(e, s->signal)) return TT_Q_OK;
    return e->series.down[s->signal] ? TT_Q_SOURCE_DOWN : TT_Q_STALE;
}

const char *tt_quality_name(tt_quality q) {
    static const char *const names[] = {"ok", "no_data", "stale", "too_few_samples", "source_down"};
    return names[q];
}

/* ---- reading ---- */

typedef struct {
    tt_reading r;
    tt_across across;
    uint32_t n;
    bool hole;
    tt_quality hole_quality;
} fold;

static void fold_in(const tt_engine *e, const tt_series *s, fold *f) {
    tt_quality q = tt_series_quality(e, s);
    if (q != TT_Q_OK) {
        if (!f->n && (f->r.quality == TT_Q_NO_DATA || q > f->r.quality)) f->r.quality = q;
        /* A part that is told as no number is a hole in the sum. One that isn't told may be: for as long as its last value would have been good;
         * after that it is gone. */
        bool sums = f->across == TT_ACROSS_SUM || f->across == TT_ACROSS_MEAN, told = s->round == e->series.round[s->signal] && !e->series.down[s->signal];
        if (sums && (told || (s->at.ns > 0 && tt_since(e->now, s->at) <= tt_series_max_age(e, s->signal)))) {
            f->hole = true;
            f->hole_quality = q;
        }
        return;
    }
    if (!f->n) {
        f->r = (tt_reading){true, s->value, s->at, TT_Q_OK, false, s->window_ns};
    } else {
        switch (f->across) {
        case TT_ACROSS_SUM:
        case TT_ACROSS_MEAN: f->r.value += s->value; break;
        case TT_ACROSS_MAX:
            if (s->value > f->r.value) f->r.value = s->value;
            break;
        case TT_ACROSS_MIN:
            if (s->value < f->r.value) f->r.value = s->value;
            break;
        }
        if (s->at.ns < f->r.at.ns) f->r.at = s->at;
        if (s->window_ns > f->r.window_ns) f->r.window_ns = s->window_ns;
    }
    f->n++;
}

static bool agrees(const tt_series *s, tt_sv name, tt_sv want) {
    if (!want.n) return true;
    tt_sv v = tt_labels_get(&s->labels, name);
    return !v.p || tt_sv_eq(v, want); /* a series without the label is the coarser view of the same thing */
}

static bool series_fits(const tt_series *s, const tt_where *w) {
    if (!agrees(s, TT_SV("service"), w->service) || !agrees(s, TT_SV("dc"), w->dc) || !agrees(s, TT_SV("instance"), w->instance) ||
        !agrees(s, TT_SV("priority"), w->priority))
        return false;
    if (w->more)
        for (uint32_t i = 0; i < w->more->n; i++)
            if (!agrees(s, w->more->l[i].name, w->more->l[i].value)) return false;
    return true;
}

tt_reading tt_read_signal(const tt_engine *e, int signal, const tt_where *w) {
    fold f = {.r = {false, 0, e->now, TT_Q_NO_DATA, false, 0}, .across = TT_ACROSS_MAX};
    if (signal < 0) return f.r;
    const tt_series_table *t = &e->series;
    f.across = e->rules->signals[signal].across;
    if (!w->service.n || !w->dc.n) {
        for (int32_t k = t->of_signal[signal]; k >= 0; k = t->s[k].next_of_signal)
            if (series_fits(&t->s[k], w)) fold_in(e, &t->s[k], &f);
    } else {
        const tt_sv none = {NULL, 0};
        const tt_sv keys[4][2] = {{w->service, w->dc}, {w->service, none}, {none, w->dc}, {none, none}};
        for (int c = 0; c < 4 && !f.n && !f.hole; c++) {
            uint32_t b = (uint32_t)(bucket_hash((uint32_t)signal, keys[c][0], keys[c][1]) & (t->n_buckets - 1));
            for (int32_t k = t->buckets[b]; k >= 0; k = t->s[k].next)
                if (t->s[k].signal == (uint32_t)signal && series_fits(&t->s[k], w)) fold_in(e, &t->s[k], &f);
        }
    }
    if (f.hole) return (tt_reading){false, 0, e->now, f.hole_quality, true, 0};
    if (f.n > 1 && f.across == TT_ACROSS_MEAN) f.r.value /= (double)f.n;
    return f.r;
}

bool tt_look_read(void *ctx, int signal, double *ret) {
    tt_look *k = ctx;
    tt_reading r = tt_read_signal(k->e, signal, &k->where);
    if (r.known) *ret = r.value;
    return r.known;
}
