/* Three passes: where it is, what was said around it, and the engine up to there for what it saw. */
#include "explain/recorded.h"

#include <stdio.h>
#include <string.h>

#include "json.h"
#include "replay/replay.h"

enum { TICKS_AROUND = 120, EVENTS_MAX = 4000, INPUTS_MAX = 80 };

typedef struct {
    tt_recording *rec;
    const tt_explain_what *what;

    /* where it is */
    bool found;
    char run[TT_RECORD_RUN_SIZE];
    uint64_t tick, index; /* of the event in its tick; UINT64_MAX: a decision that no action says anything about */
    int64_t wall_ms, now_ns;
    json_t *event, *decision;
    uint64_t version;
    char loop[TT_ULID_SIZE];

    json_t *around, *inputs, *ack;
    struct { /* of the tick gathered last, until its commit */
        uint64_t tick, n_events;
        size_t at, n;
        uint64_t index[256];
    } last;
} finding;

static json_t *load(tt_sv text) {
    return json_loadb(text.p, text.n, 0, NULL);
}

static void choose(finding *f, const tt_record *r, uint64_t index, json_t *event) {
    const tt_record_tick *t = &r->tick;
    f->found = true;
    memcpy(f->run, r->segment->head.run, sizeof f->run);
    f->tick = t->number;
    f->index = index;
    f->wall_ms = t->obs.wall.ms;
    f->now_ns = t->obs.now.ns;
    json_decref(f->event);
    f->event = event;
    json_decref(f->decision);
    f->decision = NULL;
    f->version = (uint64_t)json_integer_value(json_object_get(event, "version"));
    snprintf(f->loop, sizeof f->loop, "%s", tt_json_text(event, "loop"));
    for (size_t i = 0; f->version && i < t->n_decisions && !f->decision; i++) {
        json_t *d = load(t->decisions[i]);
        if ((uint64_t)json_integer_value(json_object_get(d, "version")) == f->version)
            f->decision = d;
        else
            json_decref(d);
    }
}

static bool holds(tt_sv s, const char *word) {
    return memmem(s.p, s.n, word, strlen(word)) != NULL;
}

/* true: nothing better can come. */
static bool look_in(finding *f, const tt_record *r) {
    const tt_explain_what *w = f->what;
    char word[64];
    if (r->kind != TT_RECORD_TICK) return false;
    if (w->version)
        snprintf(word, sizeof word, "\"version\":%llu,", (unsigned long long)w->version);
    else
        snprintf(word, sizeof word, "\"loop\":\"%s\"", w->loop);
    for (size_t i = 0; i < r->tick.n_events; i++) {
        if (!holds(r->tick.events[i], word)) continue;
        json_t *ev = load(r->tick.events[i]);
        bool action = strcmp(tt_json_text(ev, "kind"), "action") == 0;
        if (w->version ? (uint64_t)json_integer_value(json_object_get(ev, "version")) == w->version
                       : strcmp(tt_json_text(ev, "loop"), w->loop) == 0 && (action || !f->found))
            choose(f, r, i, ev); /* of one decision's actions the last, of a loop's the last */
        else
            json_decref(ev);
    }
    return w->version && f->found;
}

static json_t *nth_event(const tt_record_tick *t, uint64_t i, uint64_t seq) {
    json_t *ev = i < t->n_events ? load(t->events[i]) : NULL;
    if (ev && seq) {
        json_t *numbered = json_pack("{s:I}", "seq", (json_int_t)seq);
        json_object_update(numbered, ev);
        json_decref(ev);
        ev = numbered;
    }
    return ev;
}

/* Every record there is, until `each` says that it is enough. */
static bool walk(finding *f, bool (*each)(finding *, const tt_record *), tt_err *err) {
    tt_record r;
    tt_recording_seek(f->rec, 0);
    for (tt_read got; (got = tt_recording_next(f->rec, &r, err)) != TT_READ_END;) {
        if (got == TT_READ_BAD) return false;
        if (each(f, &r)) break;
    }
    return true;
}

/* By its number in the journal: the commit behind a tick tells where the tick's events went. */
static bool find_seq(finding *f, tt_err *err) {
    tt_record r;
    uint64_t seq = f->what->seq, n_events = 0;
    size_t segment = 0, tick_segment = 0;
    const tt_record_segment *all;
    char run[TT_RECORD_RUN_SIZE] = "";
    uint64_t tick = 0, index = 0;
    bool hit = false;
    tt_recording_segments(f->rec, &all);
    tt_recording_seek(f->rec, 0);
    for (tt_read got; !hit && (got = tt_recording_next(f->rec, &r, err)) != TT_READ_END;) {
        if (got == TT_READ_BAD) return false;
        segment = (size_t)(r.segment - all);
        if (r.kind == TT_RECORD_TICK) {
            n_events = r.tick.n_events;
            tick = r.tick.number;
            tick_segment = segment;
            memcpy(run, r.segment->head.run, sizeof run);
        } else if (r.kind == TT_RECORD_COMMIT && r.commit.tick == tick && r.commit.n >= n_events) {
            uint64_t first = r.commit.first_seq + r.commit.n - n_events;
            hit = seq >= first && seq < first + n_events;
            index = seq - first;
        }
    }
    if (!hit) return true;
    tt_recording_seek(f->rec, tick_segment);
    for (tt_read got; !f->found && (got = tt_recording_next(f->rec, &r, err)) != TT_READ_END;) {
        if (got == TT_READ_BAD) return false;
        if (r.kind == TT_RECORD_TICK && r.tick.number == tick && strcmp(r.segment->head.run, run) == 0)
            choose(f, &r, index, nth_event(&r.tick, index, seq));
    }
    return true;
}

/* ---- around it ---- */

static void take_ack(finding *f, const tt_record *r) {
    const json_t *target = json_object_get(f->event, "target");
    if (!f->version || strcmp(r->segment->head.run, f->run) != 0 || r->tick.number <= f->tick) return;
    if (f->ack && json_number_value(json_object_get(f->ack, "share")) >= 0.99) return;
    for (size_t i = 0; i < r->tick.obs.n_acks; i++) {
        const tt_ack *a = &r->tick.obs.acks[i];
        if (a->version != f->version || strcmp(a->target.service, tt_json_text(target, "service")) != 0 || strcmp(a->target.dc, tt_json_text(target, "dc")) != 0)
            continue;
        if (f->ack && json_number_value(json_object_get(f->ack, "share")) >= a->share) continue;
        json_decref(f->ack);
        f->ack = json_pack("{s:f,s:I,s:b,s:s%}", "share", a->share, "after_ms", (json_int_t)((r->tick.obs.now.ns - f->now_ns) / 1000000), "refused",
                           a->refused, "reason", a->reason.p ? a->reason.p : "", a->reason.n);
    }
}

/* The commit behind a tick says where in the journal its events are. */
static void number_events(finding *f, const tt_record_commit *c) {
    if (c->tick != f->last.tick || c->n < f->last.n_events) return;
    for (size_t i = 0; i < f->last.n; i++) {
        json_t *ev = json_array_get(f->around, f->last.at + i),
               *numbered = json_pack("{s:I}", "seq", (json_int_t)(c->first_seq + c->n - f->last.n_events + f->last.index[i]));
        json_object_update(numbered, ev);
        json_object_clear(ev);
        json_object_update(ev, numbered);
        json_decref(numbered);
    }
    f->last.n = 0;
}

static bool gather_around(finding *f, const tt_record *r) {
    if (r->kind == TT_RECORD_COMMIT) number_events(f, &r->commit);
    if (r->kind != TT_RECORD_TICK) return false;
    bool same_run = strcmp(r->segment->head.run, f->run) == 0;
    bool near = same_run && r->tick.number + TICKS_AROUND > f->tick && r->tick.number < f->tick + TICKS_AROUND;
    take_ack(f, r);
    f->last.tick = r->tick.number;
    f->last.n_events = r->tick.n_events;
    f->last.n = 0;
    f->last.at = json_array_size(f->around);
    for (size_t i = 0; i < r->tick.n_events && json_array_size(f->around) < EVENTS_MAX; i++) {
        bool itself = same_run && r->tick.number == f->tick && i == f->index;
        if (!itself && !near && !(f->loop[0] && holds(r->tick.events[i], f->loop))) continue;
        json_t *ev = itself ? json_incref(f->event) : load(r->tick.events[i]);
        if (json_array_append_new(f->around, ev) == 0 && f->last.n < TT_COUNT(f->last.index)) f->last.index[f->last.n++] = i;
    }
    return false;
}

/* ---- what the engine saw ---- */

static bool agrees(const json_t *labels, const json_t *target, const char *name) {
    const char *a = tt_json_text(labels, name), *b = tt_json_text(target, name);
    return !*a || !*b || strcmp(a, b) == 0;
}

static void take_inputs(finding *f, tt_engine *e) {
    tt_buf b;
    tt_buf_init(&b, 64 << 20);
    tt_engine_signals_json(e, &b);
    json_t *all = b.failed ? NULL : json_loadb(b.p, b.n, 0, NULL), *s;
    size_t i;
    const json_t *target = json_object_get(f->event, "target");
    json_array_foreach(json_object_get(all, "items"), i, s) if (json_array_size(f->inputs) < INPUTS_MAX &&
                                                                agrees(json_object_get(s, "labels"), target, "service") &&
                                                                agrees(json_object_get(s, "labels"), target, "dc")) json_array_append(f->inputs, s);
    json_decref(all);
    tt_buf_free(&b);
}

static json_t *explain_at(finding *f, const tt_matcher *matcher, tt_err *err) {
    tt_replay *p = tt_replay_new(f->rec, &(tt_replay_options){.matcher = matcher, .from_ms = f->wall_ms});
    json_t *explained = NULL;
    tt_replay_step s;
    bool there = false, bad = false;
    for (tt_read got; p && !there && !bad && (got = tt_replay_next(p, &s, err)) != TT_READ_END;) {
        bad = got == TT_READ_BAD;
        there = !bad && s.kind == TT_REPLAY_TICK && s.tick->number == f->tick && strcmp(s.segment->head.run, f->run) == 0;
    }
    if (there) {
        take_inputs(f, s.engine);
        const tt_explain_of of = {.event = f->event,
                                  .around = f->around,
                                  .rules = s.rules,
                                  .texts = tt_replay_texts(p),
                                  .decision = f->decision,
                                  .acknowledged = f->ack,
                                  .inputs = f->inputs};
        explained = tt_explain_json(&of);
    }
    if (!explained && !bad) tt_fail(err, TT_ENOMEM, "out of memory");
    tt_replay_free(p);
    return explained;
}

static json_t *of_loop(const finding *f) {
    json_t *events = json_array(), *ev;
    size_t i;
    json_array_foreach(f->around, i, ev) if (f->loop[0] && strcmp(tt_json_text(ev, "loop"), f->loop) == 0) json_array_append(events, ev);
    return events;
}

json_t *tt_explain_recorded(const char *path, const tt_explain_what *what, const tt_matcher *matcher, tt_err *err) {
    finding f = {.what = what, .around = json_array(), .inputs = json_array()};
    json_t *result = NULL;
    f.rec = tt_recording_open(path, err);
    bool ok = f.rec && (what->seq ? find_seq(&f, err) : walk(&f, look_in, err));
    if (ok && !f.found)
        ok = tt_fail(err, TT_EMISSING,
                     what->seq       ? "%s does not hold event %llu as the engine's: it may be the daemon's own, or not in this part of the recording"
                     : what->version ? "%s holds no action that went out as version %llu"
                                     : "%s holds nothing of this loop",
                     path, (unsigned long long)(what->seq ? what->seq : what->version));
    if (ok && walk(&f, gather_around, err)) {
        json_t *explained = explain_at(&f, matcher, err);
        if (explained) result = json_pack("{s:o,s:o}", "events", of_loop(&f), "explained", explained);
    }
    json_decref(f.around);
    json_decref(f.inputs);
    json_decref(f.event);
    json_decref(f.decision);
    json_decref(f.ack);
    tt_recording_free(f.rec);
    return result;
}
