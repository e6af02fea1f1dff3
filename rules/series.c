/* Samples with their labels and quality. A series is found by (signal, service, dc), the way every law asks. */
#include "engine_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

uint64_t tt_hash_bytes(uint64_t h, const void *p, size_t n) { /* FNV-1a */
    const unsigned char *b = p;
    for (size_t i = 0; i < n; i++) h = (h ^ b[i]) * 1099511628211u;
    return h;
}

/* ---- the table ---- */

enum { TAKE_BATCH = 16, CACHE_LINE = 64 };
static const uint64_t seed_series = 2, seed_place = 3, seed_service = 4;

void tt_series_init(tt_series_table *t, uint32_t max) {
    memset(t, 0, sizeof *t);
    t->max = max < INT32_MAX ? max : INT32_MAX;
    for (int i = 0; i < TT_SIGNALS_MAX; i++) t->of_signal[i] = -1;
    t->free_list = -1;
    t->free_set = t->free_place = TT_NOWHERE;
}

void tt_series_free(tt_series_table *t) {
    for (uint32_t i = 0; i < t->n_sets; i++)
        if (t->sets[i].n_series) tt_labels_free(&t->sets[i].labels);
    for (uint32_t i = 0; i < t->n_places; i++)
        if (t->places[i].n_holders) free(t->places[i].text);
    free(t->places);
    tt_index_free(&t->by_place_name);
    for (uint32_t i = 0; i < t->n; i++) free(t->s[i].memory);
    free(t->block);
    free(t->sets);
    tt_index_free(&t->by_labels);
    tt_index_free(&t->by_place);
    tt_index_free(&t->by_service);
    tt_index_free(&t->by_set);
    memset(t, 0, sizeof *t);
}

static uint64_t series_hash(uint32_t signal, uint64_t labels_hash) { return tt_hash_mix(labels_hash + seed_series, signal); }
static uint64_t service_hash(uint32_t signal, tt_sv service) { return tt_hash_text(tt_hash_mix(seed_service, signal), service); }
static uint64_t place_hash(uint32_t signal, uint32_t place) { return tt_hash_mix((uint64_t)place << 32 | signal, seed_place); }

static int32_t at_place(const tt_series_table *t, uint32_t signal, uint32_t place) {
    tt_index_walk w;
    for (uint32_t i = tt_index_first(&t->by_place, place_hash(signal, place), &w); i != TT_NOWHERE; i = tt_index_next(&w))
        if (t->s[i].signal == signal && t->s[i].place == place) return (int32_t)i;
    return -1;
}

static int32_t of_service(const tt_series_table *t, uint32_t signal, tt_sv service, uint64_t hash) {
    tt_index_walk w;
    for (uint32_t i = tt_index_first(&t->by_service, hash, &w); i != TT_NOWHERE; i = tt_index_next(&w))
        if (t->s[i].signal == signal && tt_sv_eq(t->sets[t->s[i].set].service, service)) return (int32_t)i;
    return -1;
}

int32_t tt_series_at(const tt_engine *e, uint32_t signal, tt_sv service, tt_sv dc) {
    uint32_t place = tt_place_find(&e->series, service, dc);
    return place == TT_NOWHERE ? -1 : at_place(&e->series, signal, place);
}

static tt_series *find(tt_series_table *t, uint32_t signal, const tt_label *l, size_t n, uint64_t hash) {
    tt_index_walk w;
    for (uint32_t i = tt_index_first(&t->by_labels, series_hash(signal, hash), &w); i != TT_NOWHERE; i = tt_index_next(&w)) {
        tt_series *s = &t->s[i];
        if (s->signal == signal && (s->labels.l == l || tt_labels_are(&s->labels, l, n))) return s;
    }
    return NULL;
}

tt_series *tt_series_find(tt_engine *e, uint32_t signal, const tt_labels *labels) { return find(&e->series, signal, labels->l, labels->n, labels->hash); }

static uint32_t level(const tt_label_set *x) { return (x->service.n ? 2u : 0u) | (x->dc.n ? 1u : 0u); }

/* Puts a new series before the first of its chain; `first` -1: there is none yet. */
static bool head_chain(tt_index *ix, uint64_t hash, int32_t first, uint32_t at) {
    if (first < 0) return tt_index_add(ix, hash, at);
    tt_index_move(ix, hash, (uint32_t)first, at);
    return true;
}

static void leave_chain(tt_index *ix, uint64_t hash, uint32_t at, int32_t prev, int32_t next) {
    if (prev >= 0) return;
    if (next >= 0)
        tt_index_move(ix, hash, at, (uint32_t)next);
    else
        tt_index_drop(ix, hash, at);
}

static bool enter(tt_series_table *t, uint32_t at) {
    tt_series *s = &t->s[at];
    const tt_label_set *x = &t->sets[s->set];
    uint64_t labels = series_hash(s->signal, x->labels.hash), place = place_hash(s->signal, x->place), service = service_hash(s->signal, x->service);
    s->place = x->place;
    s->prev = s->prev_of_service = -1;
    s->next = at_place(t, s->signal, x->place);
    s->next_of_service = of_service(t, s->signal, x->service, service);
    if (!tt_index_add(&t->by_labels, labels, at)) return false;
    if (!head_chain(&t->by_place, place, s->next, at)) {
        tt_index_drop(&t->by_labels, labels, at);
        return false;
    }
    if (!head_chain(&t->by_service, service, s->next_of_service, at)) {
        leave_chain(&t->by_place, place, at, -1, s->next);
        tt_index_drop(&t->by_labels, labels, at);
        return false;
    }
    if (s->next >= 0) t->s[s->next].prev = (int32_t)at;
    if (s->next_of_service >= 0) t->s[s->next_of_service].prev_of_service = (int32_t)at;
    s->next_of_signal = t->of_signal[s->signal];
    t->of_signal[s->signal] = (int32_t)at;
    tt_signal_series *of = &t->of[s->signal];
    if (!of->n) {
        of->names = x->labels.names;
        of->mixed = false;
    } else if (of->names != x->labels.names)
        of->mixed = true;
    of->n++;
    of->n_at[level(x)]++;
    return true;
}

/* All but the signal's own list, which whoever walks it mends. */
static void leave(tt_series_table *t, uint32_t at) {
    tt_series *s = &t->s[at];
    const tt_label_set *x = &t->sets[s->set];
    tt_index_drop(&t->by_labels, series_hash(s->signal, x->labels.hash), at);
    leave_chain(&t->by_place, place_hash(s->signal, x->place), at, s->prev, s->next);
    leave_chain(&t->by_service, service_hash(s->signal, x->service), at, s->prev_of_service, s->next_of_service);
    if (s->prev >= 0) t->s[s->prev].next = s->next;
    if (s->next >= 0) t->s[s->next].prev = s->prev;
    if (s->prev_of_service >= 0) t->s[s->prev_of_service].next_of_service = s->next_of_service;
    if (s->next_of_service >= 0) t->s[s->next_of_service].prev_of_service = s->prev_of_service;
    tt_signal_series *of = &t->of[s->signal];
    of->n--;
    of->n_at[level(x)]--;
    of->n_ok -= s->quality == TT_Q_OK;
    of->n_told -= s->round == t->round[s->signal];
}

/* Of one that is in no list any more. */
static void free_series(tt_series_table *t, int32_t at) {
    tt_label_set_release(t, t->s[at].set);
    free(t->s[at].memory);
    t->generation++;
    t->s[at] = (tt_series){.next = t->free_list};
    t->free_list = at;
    t->n_used--;
}

/* The same is remembered in the same way. */
static bool same_track(const tt_track_def *a, const tt_rules *old, const tt_track_def *b, const tt_rules *rules, const int to[]) {
    if (a->kind != b->kind || to[a->signal] != (int)b->signal || a->bytes != b->bytes) return false;
    if (a->kind <= TT_TRACK_MEAN) return a->span_ns == b->span_ns && a->every_ns == b->every_ns;
    return tt_anomaly_same(&old->anomalies[a->anomaly], &rules->anomalies[b->anomaly], to);
}

static void move_memory(tt_series *s, uint32_t signal, const tt_rules *old, const tt_rules *rules, const int to[]) {
    void *was = s->memory;
    size_t bytes = rules->signals[signal].memory;
    s->memory = bytes ? calloc(1, bytes) : NULL;
    if (s->memory) tt_tracks_init(rules, signal, s->memory);
    for (uint32_t i = was && s->memory ? rules->signals[signal].first_track : TT_TRACKS_MAX; i < TT_TRACKS_MAX; i = rules->tracks[i].next)
        for (uint32_t k = old->signals[s->signal].first_track; k < TT_TRACKS_MAX; k = old->tracks[k].next)
            if (same_track(&old->tracks[k], old, &rules->tracks[i], rules, to))
                memcpy((char *)s->memory + rules->tracks[i].offset, (char *)was + old->tracks[k].offset, rules->tracks[i].bytes);
    free(was);
}

void tt_series_move(tt_series_table *t, const int to[], const tt_rules *old, const tt_rules *rules) {
    int32_t first[TT_SIGNALS_MAX];
    uint32_t round[TT_SIGNALS_MAX];
    bool down[TT_SIGNALS_MAX];
    bool partial[TT_SIGNALS_MAX];
    tt_time answered_at[TT_SIGNALS_MAX];
    memcpy(partial, t->partial, sizeof partial);
    memset(t->partial, 0, sizeof t->partial);
    memcpy(answered_at, t->answered_at, sizeof answered_at);
    memset(t->answered_at, 0, sizeof t->answered_at);
    t->generation++;
    memcpy(first, t->of_signal, sizeof first);
    memcpy(round, t->round, sizeof round);
    memcpy(down, t->down, sizeof down);
    memset(t->round, 0, sizeof t->round);
    memset(t->down, 0, sizeof t->down);
    memset(t->of, 0, sizeof t->of);
    tt_index_clear(&t->by_labels);
    tt_index_clear(&t->by_place);
    tt_index_clear(&t->by_service);
    for (int i = 0; i < TT_SIGNALS_MAX; i++) t->of_signal[i] = -1;
    for (int i = 0; i < TT_SIGNALS_MAX; i++) {
        /* Each signal's list in the order it had: sums are the same to the last bit. */
        int32_t reversed = -1;
        for (int32_t k = first[i], next; k >= 0; k = next) {
            next = t->s[k].next_of_signal;
            t->s[k].next_of_signal = reversed;
            reversed = k;
        }
        for (int32_t k = reversed, next; k >= 0; k = next) {
            tt_series *s = &t->s[k];
            next = s->next_of_signal;
            if (to[i] < 0) {
                free_series(t, k);
                continue;
            }
            move_memory(s, (uint32_t)to[i], old, rules, to);
            s->signal = (uint32_t)to[i];
            t->round[to[i]] = round[i];
            t->partial[to[i]] = partial[i];
            t->answered_at[to[i]] = answered_at[i];
            t->down[to[i]] = down[i];
            TT_ASSERT(enter(t, (uint32_t)k)); /* the indexes have held as many before */
            t->of[to[i]].n_ok += s->quality == TT_Q_OK;
            t->of[to[i]].n_told += s->round == round[i];
        }
    }
}

static bool room(tt_series_table *t) {
    if (t->free_list >= 0 || t->n < t->cap) return true;
    uint32_t cap = t->cap ? t->cap * 2 : 64;
    if (cap > t->max || cap < t->cap) cap = t->max;
    char *block = malloc((size_t)cap * sizeof *t->s + CACHE_LINE);
    if (!block) return false;
    tt_series *s = (tt_series *)(void *)(block + (CACHE_LINE - (uintptr_t)block % CACHE_LINE));
    if (t->n) memcpy(s, t->s, t->n * sizeof *s);
    free(t->block);
    t->block = block;
    t->s = s;
    t->cap = cap;
    return true;
}

static tt_series *find_or_add(tt_engine *e, const tt_measurement *m, uint64_t hash) {
    tt_series_table *t = &e->series;
    size_t n = m->n_labels < TT_LABELS_MAX ? m->n_labels : TT_LABELS_MAX;
    tt_series *s = find(t, m->signal, m->labels, n, hash);
    if (s) return s;
    if (t->free_list < 0 && t->n == t->max) {
        if (!t->full_said) {
            tt_emit(e, "limit_reached", NULL, "%u series are watched, the ceiling: further ones are ignored. Narrow the queries or raise the ceiling", t->max);
            t->full_said = true;
        }
        return NULL;
    }
    uint32_t set = room(t) ? tt_label_set_hold(t, m->labels, n, hash) : TT_NOWHERE;
    if (set == TT_NOWHERE) return NULL;
    int32_t at = t->free_list >= 0 ? t->free_list : (int32_t)t->n;
    int32_t next_free = t->free_list >= 0 ? t->s[at].next : -1;
    s = &t->s[at];
    *s = (tt_series){.signal = m->signal, .set = set, .labels = t->sets[set].labels, .quality = TT_Q_NO_DATA, .since = e->now, .used = true};
    size_t memory = e->rules->signals[m->signal].memory;
    if (memory) s->memory = calloc(1, memory);
    if ((memory && !s->memory) || !enter(t, (uint32_t)at)) {
        tt_label_set_release(t, set);
        free(s->memory);
        s->memory = NULL;
        s->used = false;
        s->next = next_free;
        return NULL;
    }
    if (t->free_list >= 0)
        t->free_list = next_free;
    else
        t->n++;
    t->n_used++;
    t->generation++;
    if (memory) tt_tracks_init(e->rules, m->signal, s->memory);
    /* It was not there when this round began: told by this one, or not yet. */
    t->of[m->signal].n_told += s->round == t->round[m->signal];
    return s;
}

tt_series *tt_series_expect(tt_engine *e, uint32_t signal, const tt_label labels[], size_t n) {
    tt_measurement m = {.signal = signal, .n_labels = n};
    memcpy(m.labels, labels, n * sizeof labels[0]);
    tt_series *s = find_or_add(e, &m, tt_labels_hash(labels, n));
    if (!s || s->at.ns) return s;
    /* Nobody has told it in this round. */
    e->series.of[signal].n_told -= s->round == e->series.round[signal];
    s->round = e->series.round[signal] - 1;
    return s;
}

static void set_quality(tt_engine *e, tt_series *s, tt_quality q) {
    /* Gone is what a good answer does not hold: the time before it is the source's. */
    if (q != TT_Q_OK && (s->quality == TT_Q_OK || (s->quality == TT_Q_SOURCE_DOWN && q != s->quality))) s->since = e->now;
    uint32_t *n_ok = &e->series.of[s->signal].n_ok;
    *n_ok = *n_ok + (q == TT_Q_OK) - (s->quality == TT_Q_OK);
    s->quality = q;
}

static void forget(tt_engine *e, uint32_t signal) {
    tt_series_table *t = &e->series;
    int64_t forget_ns = e->rules->signals[signal].forget_ns;
    int32_t *link = &t->of_signal[signal];
    while (*link >= 0) {
        int32_t at = *link;
        tt_series *s = &t->s[at];
        if (s->quality == TT_Q_OK || s->quality == TT_Q_SOURCE_DOWN || tt_since(e->now, s->since) < forget_ns) {
            link = &s->next_of_signal;
            continue;
        }
        *link = s->next_of_signal;
        leave(t, (uint32_t)at);
        free_series(t, at);
    }
}

static void end_round(tt_engine *e, const tt_poll *p) {
    tt_series_table *t = &e->series;
    tt_signal_series *of = &t->of[p->signal];
    t->down[p->signal] = !p->answered;
    t->partial[p->signal] = p->partial;
    if (p->answered) t->answered_at[p->signal] = e->now;
    if (p->answered && (p->partial || of->n_told == of->n) && of->n_ok == of->n) return; /* all are there and well */
    int64_t max_age = tt_series_max_age(e, p->signal);
    for (int32_t k = t->of_signal[p->signal]; k >= 0; k = t->s[k].next_of_signal) {
        tt_series *s = &t->s[k];
        if (!p->answered) {
            /* The last value stays good until its age is over: one lost poll is no blindness. */
            if (s->quality == TT_Q_OK && tt_since(e->now, s->at) > max_age) set_quality(e, s, TT_Q_SOURCE_DOWN);
        } else if (s->round != t->round[p->signal] && !p->partial)
            set_quality(e, s, TT_Q_NO_DATA);
    }
    if (of->n_ok < of->n) forget(e, p->signal);
}

void *tt_series_track(const tt_series *s, const tt_track_def *d) { return (char *)s->memory + d->offset; }

/* What expressions look back at; the rest is remembered when its anomaly is looked at, because it depends on what that finds. */
static void remember(const tt_engine *e, const tt_series *s) {
    int64_t max_age = tt_series_max_age(e, s->signal);
    for (uint32_t i = e->rules->signals[s->signal].first_track; i < TT_TRACKS_MAX; i = e->rules->tracks[i].next) {
        const tt_track_def *d = &e->rules->tracks[i];
        if (d->kind <= TT_TRACK_MEAN) tt_past_take(tt_series_track(s, d), d, max_age, s->at, s->value);
    }
}

static void take(tt_engine *e, const tt_measurement *m, uint64_t hash) {
    tt_series_table *t = &e->series;
    if (m->signal >= e->rules->n_signals) return;
    tt_series *s = find_or_add(e, m, hash);
    if (!s) return;
    t->of[m->signal].n_told += s->round != t->round[m->signal];
    s->round = t->round[m->signal];
    /* Late or repeated: what is newer stands. */
    if (s->quality == TT_Q_OK && m->at.ns < s->at.ns) return;
    tt_quality q = m->quality == TT_Q_OK && !isfinite(m->value) ? TT_Q_NO_DATA : m->quality;
    set_quality(e, s, q);
    if (q != TT_Q_OK) return;
    s->at = m->at.ns > e->now.ns ? e->now : m->at;
    s->value = m->value;
    s->window_ns = m->window_ns > 0 ? m->window_ns : e->rules->signals[m->signal].window_ns;
    if (s->memory) remember(e, s);
}

/* Finding a series is waiting for memory three times: its entry in the index, itself, its labels. Looked ahead for a batch at once the waits overlap. */
static void take_batch(tt_engine *e, const tt_measurement m[], size_t n) {
    const tt_series_table *t = &e->series;
    uint64_t hash[TAKE_BATCH];
    for (size_t i = 0; i < n; i++) {
        hash[i] = tt_labels_hash(m[i].labels, m[i].n_labels < TT_LABELS_MAX ? m[i].n_labels : TT_LABELS_MAX);
        tt_index_ahead(&t->by_labels, series_hash(m[i].signal, hash[i]));
    }
    uint32_t at[TAKE_BATCH];
    for (size_t i = 0; i < n; i++) {
        at[i] = tt_index_guess(&t->by_labels, series_hash(m[i].signal, hash[i]));
        if (at[i] != TT_NOWHERE) __builtin_prefetch(&t->s[at[i]], 1);
    }
    for (size_t i = 0; i < n; i++)
        if (at[i] != TT_NOWHERE && t->s[at[i]].labels.l) {
            const char *l = (const char *)t->s[at[i]].labels.l;
            __builtin_prefetch(l);
            __builtin_prefetch(l + CACHE_LINE);
        }
    for (size_t i = 0; i < n; i++) take(e, &m[i], hash[i]);
}

void tt_series_take(tt_engine *e, const tt_observations *obs) {
    tt_series_table *t = &e->series;
    for (size_t i = 0; i < obs->n_polls; i++)
        if (obs->polls[i].signal < e->rules->n_signals) {
            t->round[obs->polls[i].signal]++;
            t->of[obs->polls[i].signal].n_told = 0;
        }
    for (size_t i = 0, n; i < obs->n_measurements; i += n) {
        n = obs->n_measurements - i < TAKE_BATCH ? obs->n_measurements - i : TAKE_BATCH;
        take_batch(e, obs->measurements + i, n);
    }
    for (size_t i = 0; i < obs->n_polls; i++)
        if (obs->polls[i].signal < e->rules->n_signals) end_round(e, &obs->polls[i]);
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
    const tt_track_def *track; /* NULL: the value itself */
    uint32_t n;
    bool hole;
    tt_quality hole_quality;
} fold;

static void fold_in(const tt_engine *e, const tt_series *s, fold *f) {
    tt_quality q = tt_series_quality(e, s);
    if (q != TT_Q_OK) {
        if (!f->n && (f->r.quality == TT_Q_NO_DATA || q > f->r.quality)) f->r.quality = q;
        /* A part that is told as no number is a hole in the sum. One that isn't told may be: for as long as its last value would have been good;
         * after that it is gone. While the source is down nobody can tell: parts grow old one after the other, and none of them is gone for that. */
        bool sums = f->across == TT_ACROSS_SUM || f->across == TT_ACROSS_MEAN, down = e->series.down[s->signal],
             told = s->round == e->series.round[s->signal] && !down;
        if (sums && (told || (s->at.ns > 0 && tt_since(e->now, s->at) <= (down ? 2 : 1) * tt_series_max_age(e, s->signal)))) {
            f->hole = true;
            f->hole_quality = q;
        }
        return;
    }
    double value = s->value;
    if (f->track && (!s->memory || !tt_past_read(tt_series_track(s, f->track), f->track, &value))) {
        /* Too young, or it was away at that time: a sum is not known without it. */
        f->hole = f->hole || f->across == TT_ACROSS_SUM || f->across == TT_ACROSS_MEAN;
        f->hole_quality = TT_Q_TOO_FEW_SAMPLES;
        if (!f->n) f->r.quality = TT_Q_TOO_FEW_SAMPLES;
        return;
    }
    if (!f->n) {
        f->r = (tt_reading){true, value, s->at, TT_Q_OK, false, s->window_ns};
    } else {
        switch (f->across) {
        case TT_ACROSS_SUM:
        case TT_ACROSS_MEAN: f->r.value += value; break;
        case TT_ACROSS_MAX:
            if (value > f->r.value) f->r.value = value;
            break;
        case TT_ACROSS_MIN:
            if (value < f->r.value) f->r.value = value;
            break;
        }
        if (s->at.ns < f->r.at.ns) f->r.at = s->at;
        if (s->window_ns > f->r.window_ns) f->r.window_ns = s->window_ns;
    }
    f->n++;
}

static bool agrees(tt_sv v, tt_sv want) {
    return !want.n || !v.p || (v.p == want.p && v.n == want.n) || tt_sv_eq(v, want); /* a series without the label is the coarser view of the same thing */
}

static bool series_fits(const tt_engine *e, const tt_series *s, const tt_where *w) {
    if (w->more && w->more->l == s->labels.l) return true; /* all that is asked for was read from them */
    const tt_label_set *x = &e->series.sets[s->set];
    if (!agrees(x->service, w->service) || !agrees(x->dc, w->dc) || !agrees(x->instance, w->instance) || !agrees(x->priority, w->priority)) return false;
    if (w->version.n && !agrees(tt_labels_get(&s->labels, TT_SV("version")), w->version)) return false;
    if (w->more)
        for (uint32_t i = 0; i < w->more->n; i++)
            if (!agrees(tt_labels_get(&s->labels, w->more->l[i].name), w->more->l[i].value)) return false;
    return true;
}

/* Every series of a service, and those that say nothing of a service. */
static void fold_service(const tt_engine *e, uint32_t signal, const tt_where *w, fold *f) {
    const tt_series_table *t = &e->series;
    const tt_sv none = {NULL, 0}, services[2] = {w->service, none};
    for (int c = 0; c < 2; c++)
        for (int32_t k = of_service(t, signal, services[c], service_hash(signal, services[c])); k >= 0; k = t->s[k].next_of_service)
            if (series_fits(e, &t->s[k], w)) fold_in(e, &t->s[k], f);
}

tt_reading tt_read_signal(const tt_engine *e, int signal, const tt_where *w) {
    fold f = {.r = {false, 0, e->now, TT_Q_NO_DATA, false, 0}, .across = TT_ACROSS_MAX};
    if (signal < 0) return f.r;
    if (signal >= TT_EXPR_CALL) {
        f.track = &e->rules->tracks[signal - TT_EXPR_CALL];
        signal = (int)f.track->signal;
    }
    const tt_series_table *t = &e->series;
    const tt_signal_series *of = &t->of[signal];
    f.across = e->rules->signals[signal].across;
    if (!of->n) return f.r;
    if (w->more && w->more->names && !of->mixed && of->names == w->more->names) {
        /* All have just the labels that are asked for: only the one with the same values can agree. */
        const tt_series *s = tt_series_find((tt_engine *)e, (uint32_t)signal, w->more);
        if (s && series_fits(e, s, w)) fold_in(e, s, &f);
    } else if (!w->service.n) {
        for (int32_t k = t->of_signal[signal]; k >= 0; k = t->s[k].next_of_signal)
            if (series_fits(e, &t->s[k], w)) fold_in(e, &t->s[k], &f);
    } else if (!w->dc.n) {
        fold_service(e, (uint32_t)signal, w, &f);
    } else {
        const tt_sv none = {NULL, 0};
        bool any = !w->instance.n && !w->priority.n && !w->more && !w->version.n; /* all at the place agree */
        for (int c = 3; c >= 0 && !f.n && !f.hole; c--) {
            if (!of->n_at[c]) continue;
            uint32_t place = c == 3 && w->place ? w->place - 1 : tt_place_find(t, c & 2 ? w->service : none, c & 1 ? w->dc : none);
            if (place == TT_NOWHERE) continue;
            for (int32_t k = at_place(t, (uint32_t)signal, place); k >= 0; k = t->s[k].next)
                if ((any && c == 3) || series_fits(e, &t->s[k], w)) fold_in(e, &t->s[k], &f);
        }
    }
    if (f.hole) return (tt_reading){false, 0, e->now, f.hole_quality, true, 0};
    if (f.n > 1 && f.across == TT_ACROSS_MEAN) f.r.value /= (double)f.n;
    return f.r;
}

tt_where tt_series_where(const tt_engine *e, const tt_series *s) {
    const tt_label_set *x = &e->series.sets[s->set];
    return (tt_where){x->service, x->dc, x->instance, x->priority, &s->labels, x->service.n && x->dc.n ? s->place + 1 : 0, {0}};
}

bool tt_look_read(void *ctx, int signal, double *ret) {
    tt_look *k = ctx;
    tt_reading r = tt_read_signal(k->e, signal, &k->where);
    if (r.known) *ret = r.value;
    return r.known;
}
