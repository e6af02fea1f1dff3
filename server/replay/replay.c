#include "replay/replay.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/yaml.h"

enum { LOOPS_MAX = 4096, TARGETS_MAX = 4096 };

/* What a segment begins with, gathered until its first call; copies. */
typedef struct {
    const tt_record_segment *segment;
    bool has_config, has_rules, has_saved, has_snapshot;
    tt_engine_config config;
    tt_rules_texts rules;
    tt_buf saved, snapshot;
    tt_time now;
} base;

/* With other rules: a decision on its way to the mesh, and the loops that commands name. */
typedef struct {
    tt_target target;
    uint64_t epoch, version;
    tt_time at;
} pending_ack;

typedef struct {
    char recorded[TT_ULID_SIZE], plan[TT_NAME_MAX];
    tt_target target;
    char ours[TT_ULID_SIZE];
} loop_pair;

struct tt_replay {
    tt_recording *rec;
    tt_replay_options opt;
    tt_record record; /* read, not dealt with yet */
    bool has_record;
    base base;
    bool gathering;
    bool follows; /* the segment before ended with a promise of this one */
    char run[TT_RECORD_RUN_SIZE];
    uint64_t segment;

    tt_engine *engine;
    tt_engine_config config;
    tt_rules *recorded;          /* rules the recorded engine ran */
    tt_rules_texts texts;        /* what they were read from */
    int map[TT_SIGNALS_MAX + 1]; /* recorded signal to ours, -1: not asked for */
    size_t missing;

    /* with other rules */
    tt_poll *polls;
    tt_measurement *measurements;
    size_t cap_polls, cap_measurements;
    pending_ack *pending;
    tt_ack *acks;
    size_t n_pending;
    loop_pair *loops;
    size_t n_loops;
    tt_command *commands;
    size_t cap_commands;
};

tt_replay *tt_replay_new(tt_recording *rec, const tt_replay_options *opt) {
    tt_replay *r = calloc(1, sizeof *r);
    if (!r) return NULL;
    r->rec = rec;
    r->opt = *opt;
    tt_buf_init(&r->base.saved, SIZE_MAX / 2);
    tt_buf_init(&r->base.snapshot, SIZE_MAX / 2);
    if (opt->rules) {
        r->pending = calloc(TARGETS_MAX, sizeof *r->pending);
        r->acks = calloc(TARGETS_MAX, sizeof *r->acks);
        r->loops = calloc(LOOPS_MAX, sizeof *r->loops);
        if (!r->pending || !r->acks || !r->loops) {
            tt_replay_free(r);
            return NULL;
        }
    }
    const tt_record_segment *s;
    size_t n = tt_recording_segments(rec, &s), first = 0;
    /* The newest segment that begins no later than the time asked for. */
    for (size_t i = 1; i < n; i++)
        if (s[i].head.wall_ms <= opt->from_ms) first = i;
    tt_recording_seek(rec, first);
    return r;
}

static void drop_engine(tt_replay *r) {
    tt_engine_free(r->engine);
    r->engine = NULL;
    tt_rules_free(r->recorded);
    r->recorded = NULL;
}

void tt_replay_free(tt_replay *r) {
    if (!r) return;
    drop_engine(r);
    tt_rules_texts_free(&r->base.rules);
    tt_rules_texts_free(&r->texts);
    tt_buf_free(&r->base.saved);
    tt_buf_free(&r->base.snapshot);
    free(r->polls);
    free(r->measurements);
    free(r->pending);
    free(r->acks);
    free(r->loops);
    free(r->commands);
    free(r);
}

const tt_rules_texts *tt_replay_texts(const tt_replay *r) {
    return &r->texts;
}

/* ---- a segment's base ---- */

static bool keep_texts(tt_rules_texts *to, const tt_rules_texts *from) {
    tt_rules_texts_free(to);
    to->arena = tt_arena_new();
    tt_rules_text *at = to->arena ? tt_arena_array(to->arena, from->n, sizeof *at) : NULL;
    if (!at) return false;
    for (size_t i = 0; i < from->n; i++) {
        at[i] = (tt_rules_text){tt_arena_copy(to->arena, from->at[i].path), tt_arena_copy(to->arena, from->at[i].text)};
        if (!at[i].path.p || !at[i].text.p) return false;
    }
    to->n = from->n;
    to->at = at;
    return true;
}

static void begin_base(base *b, const tt_record_segment *s) {
    tt_rules_texts_free(&b->rules);
    b->saved.n = b->snapshot.n = 0;
    b->has_config = b->has_rules = b->has_saved = b->has_snapshot = false;
    b->segment = s;
}

/* true: the record belongs to the base and is kept. */
static bool gather(base *b, const tt_record *rec, bool *ret_memory) {
    *ret_memory = true;
    switch (rec->kind) {
    case TT_RECORD_CONFIG:
        b->config = rec->config;
        b->has_config = true;
        return true;
    case TT_RECORD_RULES:
        if (b->has_rules) return false;
        *ret_memory = keep_texts(&b->rules, &rec->rules);
        b->has_rules = true;
        return true;
    case TT_RECORD_SAVED:
    case TT_RECORD_SNAPSHOT: {
        tt_buf *to = rec->kind == TT_RECORD_SAVED ? &b->saved : &b->snapshot;
        to->n = 0;
        tt_buf_put(to, rec->text);
        *ret_memory = !to->failed;
        *(rec->kind == TT_RECORD_SAVED ? &b->has_saved : &b->has_snapshot) = true;
        b->now = rec->now;
        return true;
    }
    default:
        return false;
    }
}

static bool rules_failed(const tt_replay *r, const tt_err errs[], size_t n, tt_err *err) {
    char first[900] = "memory is out";
    if (n) tt_err_print(&errs[0], first, sizeof first);
    return tt_fail(err, TT_EVALUE, "%.200s: the recorded rules cannot be read by this trimtab: %.250s", r->base.segment->path, first);
}

static tt_rules *read_rules(const tt_replay *r, const tt_rules_texts *texts, tt_err *err) {
    tt_err errs[4];
    size_t n;
    tt_rules *rules = tt_rules_of_texts(texts, r->opt.matcher, errs, TT_COUNT(errs), &n);
    if (!rules) rules_failed(r, errs, n, err);
    return rules;
}

static void map_signals(tt_replay *r) {
    for (size_t i = 0; i < TT_COUNT(r->map); i++) r->map[i] = (int)i;
    r->missing = 0;
    if (!r->opt.rules) return;
    bool have[TT_SIGNALS_MAX] = {false};
    for (size_t i = 0; i < TT_COUNT(r->map); i++) {
        r->map[i] = i < r->recorded->n_signals ? tt_rules_signal(r->opt.rules, r->recorded->signals[i].name) : -1;
        if (r->map[i] >= 0) have[r->map[i]] = true;
    }
    for (size_t i = 0; i < r->opt.rules->n_signals; i++) r->missing += !have[i];
}

static bool restore(tt_replay *r, tt_err *err) {
    const base *b = &r->base;
    tt_arena *arena = tt_arena_new();
    if (!arena) return tt_fail(err, TT_ENOMEM, "out of memory");
    tt_err why = {0};
    const tt_doc *doc = tt_yaml_parse(arena, "saved state", (tt_sv){b->saved.p, b->saved.n}, &tt_yaml_state_limits, &why);
    bool ok = doc && tt_engine_restore(r->engine, doc, b->now, &why);
    tt_arena_free(arena);
    /* The daemon that could not read it began with an empty memory, and so do we: such a state is not recorded at a run's start. */
    return ok || tt_fail(err, TT_EVALUE, "%.200s: the recorded state cannot be read by this trimtab: %.250s", b->segment->path, why.text);
}

static bool start_engine(tt_replay *r, tt_replay_start *ret, tt_err *err) {
    base *b = &r->base;
    drop_engine(r);
    if (!b->has_config || !b->has_rules) return tt_fail(err, TT_ESYNTAX, "%s: begins without its rules or configuration", b->segment->path);
    r->recorded = read_rules(r, &b->rules, err);
    if (!r->recorded) return false;
    if (!keep_texts(&r->texts, &b->rules)) return tt_fail(err, TT_ENOMEM, "out of memory");
    r->config = b->config;
    r->engine = tt_engine_new(r->opt.rules ? r->opt.rules : r->recorded, &r->config);
    if (!r->engine) return tt_fail(err, TT_ENOMEM, "out of memory making the engine");
    r->n_pending = r->n_loops = 0;
    *ret = b->segment->head.segment == 1 ? TT_REPLAY_EXACT : TT_REPLAY_NEAR;
    if (b->has_saved && !restore(r, err)) {
        drop_engine(r);
        return false;
    }
    map_signals(r);
    memcpy(r->run, b->segment->head.run, sizeof r->run);
    return true;
}

/* ---- other rules ---- */

static bool grow(void **at, size_t *cap, size_t n, size_t each) {
    if (n <= *cap) return true;
    void *grown = realloc(*at, n * each);
    if (!grown) return false;
    *at = grown;
    *cap = n;
    return true;
}

static void map_inputs(tt_replay *r, tt_observations *obs) {
    if (!grow((void **)&r->polls, &r->cap_polls, obs->n_polls, sizeof *r->polls) ||
        !grow((void **)&r->measurements, &r->cap_measurements, obs->n_measurements, sizeof *r->measurements)) {
        obs->n_polls = obs->n_measurements = 0; /* nothing was seen, as in the daemon */
        return;
    }
    size_t n = 0;
    for (size_t i = 0; i < obs->n_polls; i++) {
        int to = r->map[obs->polls[i].signal];
        if (to < 0) continue;
        r->polls[n] = obs->polls[i];
        r->polls[n++].signal = (uint32_t)to;
    }
    obs->n_polls = n;
    obs->polls = r->polls;
    n = 0;
    for (size_t i = 0; i < obs->n_measurements; i++) {
        int to = r->map[obs->measurements[i].signal];
        if (to < 0) continue;
        r->measurements[n] = obs->measurements[i];
        r->measurements[n++].signal = (uint32_t)to;
    }
    obs->n_measurements = n;
    obs->measurements = r->measurements;
}

static void acknowledge(tt_replay *r, tt_observations *obs) {
    size_t n = 0;
    for (size_t i = 0; i < r->n_pending; i++)
        if (tt_since(obs->now, r->pending[i].at) >= r->config.apply_ns)
            r->acks[n++] = (tt_ack){.target = r->pending[i].target, .epoch = r->pending[i].epoch, .version = r->pending[i].version, .share = 1};
    obs->n_acks = n;
    obs->acks = r->acks;
}

static void send(tt_replay *r, const tt_outcome *out, tt_time now) {
    for (size_t i = 0; i < out->n_decisions; i++) {
        const tt_decision *d = &out->decisions[i];
        size_t k = 0;
        while (k < r->n_pending && !tt_target_eq(&r->pending[k].target, &d->target)) k++;
        if (k == TARGETS_MAX) continue;
        if (k == r->n_pending) r->n_pending++;
        r->pending[k] = (pending_ack){d->target, d->epoch, d->version, now};
    }
}

/* A person's command names a loop of the recorded run: ours of the same plan and target is meant. */
static void map_commands(tt_replay *r, tt_observations *obs) {
    if (!obs->n_commands || !grow((void **)&r->commands, &r->cap_commands, obs->n_commands, sizeof *r->commands)) return;
    for (size_t i = 0; i < obs->n_commands; i++) {
        r->commands[i] = obs->commands[i];
        for (size_t k = 0; k < r->n_loops; k++)
            if (r->loops[k].recorded[0] && r->loops[k].ours[0] && strcmp(r->loops[k].recorded, r->commands[i].loop) == 0)
                memcpy(r->commands[i].loop, r->loops[k].ours, TT_ULID_SIZE);
    }
    obs->commands = r->commands;
}

/* The value of a member that is a text without escapes, found by its name alone: what our own printer wrote. */
static tt_sv member(tt_sv json, const char *name) {
    char key[40];
    size_t n = (size_t)snprintf(key, sizeof key, "\"%s\":\"", name);
    const char *at = json.p ? memmem(json.p, json.n, key, n) : NULL;
    if (!at) return (tt_sv){NULL, 0};
    at += n;
    const char *end = memchr(at, '"', json.n - (size_t)(at - json.p));
    return end ? (tt_sv){at, (size_t)(end - at)} : (tt_sv){NULL, 0};
}

static void copy(char *to, size_t size, tt_sv s) {
    snprintf(to, size, TT_SV_FMT, TT_SV_ARG(s));
}

static loop_pair *pair_of(tt_replay *r, const char *plan, const tt_target *t) {
    for (size_t k = 0; k < r->n_loops; k++)
        if (strcmp(r->loops[k].plan, plan) == 0 && tt_target_eq(&r->loops[k].target, t)) return &r->loops[k];
    if (r->n_loops == LOOPS_MAX) return NULL;
    loop_pair *p = &r->loops[r->n_loops++];
    *p = (loop_pair){.target = *t};
    copy(p->plan, sizeof p->plan, tt_sv_of(plan));
    return p;
}

static void pair_loops(tt_replay *r, const tt_record_tick *t, const tt_outcome *out) {
    for (size_t i = 0; i < t->n_events; i++) {
        if (!tt_sv_eq(member(t->events[i], "kind"), TT_SV("loop_opened"))) continue;
        tt_target target = {0};
        char plan[TT_NAME_MAX];
        copy(plan, sizeof plan, member(t->events[i], "plan"));
        copy(target.service, sizeof target.service, member(t->events[i], "service"));
        copy(target.dc, sizeof target.dc, member(t->events[i], "dc"));
        copy(target.instance, sizeof target.instance, member(t->events[i], "instance"));
        loop_pair *p = pair_of(r, plan, &target);
        if (p) copy(p->recorded, sizeof p->recorded, member(t->events[i], "loop"));
    }
    for (size_t i = 0; i < out->n_events; i++) {
        const tt_event *ev = &out->events[i];
        if (strcmp(ev->kind, "loop_opened") != 0) continue;
        loop_pair *p = pair_of(r, ev->plan, &ev->target);
        if (p) memcpy(p->ours, ev->loop, sizeof p->ours);
    }
}

/* ---- stepping ---- */

static bool new_rules(tt_replay *r, const tt_record *rec, tt_err *err) {
    tt_rules *fresh = read_rules(r, &rec->rules, err);
    if (!fresh) return false;
    if (!r->opt.rules) tt_engine_set_rules(r->engine, fresh);
    tt_rules_free(r->recorded);
    r->recorded = fresh;
    map_signals(r);
    return keep_texts(&r->texts, &rec->rules) || tt_fail(err, TT_ENOMEM, "out of memory");
}

static void new_timing(tt_replay *r, const tt_record *rec) {
    tt_engine_set_timing(r->engine, rec->timing.scrape_ns, rec->timing.ingest_ns, rec->timing.apply_ns);
    if (rec->timing.apply_ns > 0) r->config.apply_ns = rec->timing.apply_ns;
}

static void decide(tt_replay *r, tt_replay_step *ret) {
    const tt_record_tick *t = &r->record.tick;
    tt_observations obs = t->obs;
    if (r->opt.rules) {
        map_inputs(r, &obs);
        acknowledge(r, &obs);
        map_commands(r, &obs);
    }
    tt_engine_tick(r->engine, &obs, &ret->out);
    if (r->opt.rules) {
        send(r, &ret->out, obs.now);
        pair_loops(r, t, &ret->out);
    }
    ret->kind = TT_REPLAY_TICK;
    ret->tick = t;
    ret->engine = r->engine;
    ret->rules = r->opt.rules ? r->opt.rules : r->recorded;
    ret->signals_missing = r->missing;
}

/* The segment's base is complete: go on with the engine we have, or begin with one. true: *ret tells that it began. */
static bool settle_base(tt_replay *r, tt_replay_step *ret, bool *ret_ok, tt_err *err) {
    r->gathering = false;
    const tt_record_head *h = &r->base.segment->head;
    bool goes_on = r->engine && r->follows && strcmp(r->run, h->run) == 0 && h->segment == r->segment + 1;
    r->segment = h->segment;
    r->follows = false;
    *ret_ok = true;
    if (goes_on) return false;
    *ret_ok = start_engine(r, &ret->start, err);
    ret->kind = TT_REPLAY_BEGAN;
    ret->segment = r->base.segment;
    ret->rules = r->opt.rules ? r->opt.rules : r->recorded;
    ret->signals_missing = r->missing;
    return true;
}

static bool skip_segment(tt_replay *r) {
    const tt_record_segment *s;
    size_t n = tt_recording_segments(r->rec, &s);
    for (size_t i = 0; i < n; i++)
        if (&s[i] == r->base.segment) tt_recording_seek(r->rec, i + 1);
    r->has_record = false;
    r->gathering = false;
    return false;
}

/* One record. true: *ret is filled, or *ret_read is not OK. */
static bool take(tt_replay *r, tt_replay_step *ret, tt_read *ret_read, tt_err *err) {
    tt_record *rec = &r->record;
    *ret_read = TT_READ_OK;
    ret->segment = rec->segment;
    ret->offset = rec->offset;
    if (rec->kind == TT_RECORD_BEGIN) {
        begin_base(&r->base, rec->segment);
        r->gathering = true;
        r->has_record = false;
        return false;
    }
    bool memory, ok;
    if (r->gathering && gather(&r->base, rec, &memory)) {
        r->has_record = false;
        if (memory) return false;
        tt_fail(err, TT_ENOMEM, "out of memory");
        *ret_read = TT_READ_BAD;
        return !skip_segment(r);
    }
    if (r->gathering && rec->kind != TT_RECORD_TORN && rec->kind != TT_RECORD_CLOSE && settle_base(r, ret, &ok, err)) {
        if (!ok) {
            *ret_read = TT_READ_BAD;
            (void)skip_segment(r);
        }
        return true;
    }
    r->has_record = false;
    switch (rec->kind) {
    case TT_RECORD_RULES:
        if (new_rules(r, rec, err)) return false;
        *ret_read = TT_READ_BAD;
        (void)skip_segment(r);
        return true;
    case TT_RECORD_TIMING:
        new_timing(r, rec);
        return false;
    case TT_RECORD_TICK:
        decide(r, ret);
        return true;
    case TT_RECORD_COMMIT:
        ret->kind = TT_REPLAY_COMMIT;
        ret->commit = &rec->commit;
        return true;
    case TT_RECORD_CLOSE:
        r->follows = tt_sv_eq(rec->closed_why, TT_SV("goes on in the next segment"));
        ret->kind = TT_REPLAY_ENDED;
        ret->closed_why = rec->closed_why;
        return true;
    case TT_RECORD_TORN:
        ret->kind = TT_REPLAY_ENDED;
        ret->torn = true;
        ret->lost = rec->lost;
        return true;
    default:
        return false;
    }
}

tt_read tt_replay_next(tt_replay *r, tt_replay_step *ret, tt_err *err) {
    for (;;) {
        *ret = (tt_replay_step){0};
        if (!r->has_record) {
            tt_read read = tt_recording_next(r->rec, &r->record, err);
            if (read != TT_READ_OK) {
                r->follows = false;
                return read;
            }
            r->has_record = true;
        }
        tt_read read;
        if (take(r, ret, &read, err)) return read;
    }
}

/* ---- comparing ---- */

bool tt_replay_same(const tt_replay_step *s, tt_replay_difference *ret, tt_buf *room) {
    const tt_record_tick *t = s->tick;
    *ret = (tt_replay_difference){0};
    for (int pass = 0; pass < 2; pass++) {
        size_t n_then = pass ? t->n_events : t->n_decisions, n_now = pass ? s->out.n_events : s->out.n_decisions;
        for (size_t i = 0; i < n_then || i < n_now; i++) {
            room->n = 0;
            if (i < n_now) {
                if (pass)
                    tt_event_json(&s->out.events[i], 0, room);
                else
                    tt_decision_json(&s->out.decisions[i], room);
            }
            tt_sv then = i < n_then ? (pass ? t->events[i] : t->decisions[i]) : (tt_sv){NULL, 0};
            tt_sv now = i < n_now ? (tt_sv){room->p, room->n} : (tt_sv){NULL, 0};
            if (i < n_then && i < n_now && tt_sv_eq(then, now)) continue;
            *ret = (tt_replay_difference){pass == 0, i, then, now};
            return false;
        }
    }
    return true;
}
