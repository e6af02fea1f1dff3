#include "record/codec.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What is read is put together member by member in order, without their names: a member added to one of these structs and not read here is a
 * compiler's warning (-Wmissing-field-initializers), and not a replay that silently differs. */

/* A measurement's flags: which series, what differs from what was said before, how its value is written. */
enum {
    OTHER_AT = 4,
    NOT_OK = 8,
    OTHER_WINDOW = 16,
    VALUE_SHIFT = 5,
    VALUE_SAME = 0,
    VALUE_INTEGER = 1,
    VALUE_DECIMAL = 2,
    VALUE_XOR = 3, /* and up: the low 8, 7, 6, 5, 4 bytes of the difference in bits */
    XOR_LEAST = 4,
    DECIMALS_MAX = 4,
};

/* ---- values ---- */

static const double tens[DECIMALS_MAX + 1] = {1, 10, 100, 1000, 10000};

/* Shortest of the ways that give the same bits back. */
static unsigned put_value(tt_buf *b, record_series *s, double v) {
    uint64_t bits = record_bits(v), x = bits ^ s->bits;
    if (!x) return VALUE_SAME;
    s->bits = bits;
    if (fabs(v) < 1e11) /* NaN is not */
        for (unsigned k = 0; k <= DECIMALS_MAX; k++) {
            double scaled = v * tens[k];
            int64_t whole = (int64_t)(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
            if (record_bits((double)whole / tens[k]) != bits) continue;
            if (k) record_put_u8(b, k);
            record_put_iv(b, whole);
            return k ? VALUE_DECIMAL : VALUE_INTEGER;
        }
    size_t n = 8;
    while (n > XOR_LEAST && !(x >> (8 * (n - 1)))) n--;
    record_put_bytes(b, x, n);
    return VALUE_XOR + (unsigned)(8 - n);
}

static double get_value(record_cursor *c, record_series *s, unsigned how) {
    if (how == VALUE_INTEGER) {
        s->bits = record_bits((double)record_get_iv(c));
    } else if (how == VALUE_DECIMAL) {
        unsigned k = record_get_u8(c);
        if (k > DECIMALS_MAX) record_bad(c, "a number has more decimals than it can have");
        if (!c->why) s->bits = record_bits((double)record_get_iv(c) / tens[k]);
    } else if (how != VALUE_SAME) {
        s->bits ^= record_get_bytes(c, 8 - (how - VALUE_XOR));
    }
    return record_double(s->bits);
}

/* ---- the parts of a tick ---- */

/* Half of what fits, in nanoseconds and milliseconds: nobody downstream can overflow by a difference. */
static const int64_t time_max = INT64_MAX / 4, span_max_ns = 400ll * 86400 * 1000000000;

static int64_t within(record_cursor *c, int64_t v, int64_t max, const char *why) {
    if (v > max || v < -max) record_bad(c, why);
    return c->why ? 0 : v;
}

static bool put_polls(tt_buf *b, record_tables *t, const tt_observations *obs) {
    uint32_t number;
    record_put_uv(b, obs->n_polls);
    for (size_t i = 0; i < obs->n_polls; i++) {
        const tt_poll *p = &obs->polls[i];
        record_put_uv(b, (uint64_t)p->signal << 2 | (unsigned)p->partial << 1 | p->answered);
        if (!p->answered && !record_put_name(b, t, p->error, &number)) return false;
    }
    return true;
}

static void get_polls(record_cursor *c, record_tables *t, record_room *room, tt_observations *obs) {
    size_t n = record_get_count(c, TT_RECORD_LIST_MAX);
    if (!record_grow((void **)&room->polls, &room->cap_polls, n, sizeof *room->polls)) record_bad(c, "memory is out");
    for (size_t i = 0; i < n && !c->why; i++) {
        uint64_t v = record_get_uv(c);
        if (v >> 2 > TT_SIGNALS_MAX) record_bad(c, "a poll has no signal");
        const tt_sv error = v & 1 ? (tt_sv){NULL, 0} : record_get_named(c, t);
        room->polls[i] = (tt_poll){(uint32_t)(v >> 2), v & 1, v & 2, error};
    }
    obs->n_polls = c->why ? 0 : n;
    obs->polls = room->polls;
}

/* The flags of all come first: they are nearly always alike, and then cost nothing once compressed. */
static bool put_measurements(tt_buf *b, record_tables *t, const tt_observations *obs) {
    size_t n = obs->n_measurements;
    if (n > TT_RECORD_MEASUREMENTS_MAX) return false;
    record_put_uv(b, n);
    size_t flags_at = b->n;
    static const char zeros[256];
    for (size_t left = n; left;) {
        size_t some = left < sizeof zeros ? left : sizeof zeros;
        tt_buf_put(b, (tt_sv){zeros, some});
        left -= some;
    }
    uint32_t before = RECORD_NONE;
    int64_t at_ns = obs->now.ns;
    for (size_t i = 0; i < n && !b->failed; i++) {
        const tt_measurement *m = &obs->measurements[i];
        uint32_t which;
        unsigned flags;
        if (!record_put_series(b, t, m, before, &which, &flags)) return false;
        record_series *s = &t->series[which];
        if (m->at.ns != at_ns) {
            flags |= OTHER_AT;
            record_put_iv(b, record_minus(m->at.ns, at_ns));
            at_ns = m->at.ns;
        }
        if (m->quality != TT_Q_OK) {
            flags |= NOT_OK;
            record_put_u8(b, m->quality);
        }
        if (m->window_ns != s->window_ns) {
            flags |= OTHER_WINDOW;
            record_put_iv(b, m->window_ns);
            s->window_ns = m->window_ns;
        }
        flags |= put_value(b, s, m->value) << VALUE_SHIFT;
        if (!b->failed) b->p[flags_at + i] = (char)flags;
        before = which;
    }
    return !b->failed;
}

static void get_measurements(record_cursor *c, record_tables *t, record_room *room, tt_observations *obs) {
    size_t n = record_get_count(c, TT_RECORD_MEASUREMENTS_MAX);
    const unsigned char *flags = c->p;
    if (!c->why) {
        c->p += n;
        c->n -= n;
    }
    uint32_t before = RECORD_NONE;
    int64_t at_ns = obs->now.ns;
    for (size_t i = 0; i < n && !c->why; i++) {
        if (!record_grow((void **)&room->measurements, &room->cap_measurements, i + 1, sizeof *room->measurements)) record_bad(c, "memory is out");
        uint32_t which = c->why ? RECORD_NONE : record_get_series(c, t, flags[i], before);
        if (c->why) break;
        record_series *s = &t->series[which];
        if (flags[i] & OTHER_AT) at_ns = within(c, record_plus(at_ns, record_get_iv(c)), time_max, "a measurement's time is out of range");
        const tt_quality quality = flags[i] & NOT_OK ? (tt_quality)record_get_u8(c) : TT_Q_OK;
        if (quality > TT_Q_SOURCE_DOWN) record_bad(c, "a measurement's quality is none");
        if (flags[i] & OTHER_WINDOW) s->window_ns = within(c, record_get_iv(c), span_max_ns, "a measurement's window is out of range");
        const double value = get_value(c, s, flags[i] >> VALUE_SHIFT);
        tt_measurement *m = &room->measurements[i];
        *m = (tt_measurement){s->signal, s->n_labels, {{{NULL, 0}, {NULL, 0}}}, value, {at_ns}, quality, s->window_ns};
        for (size_t k = 0; k < s->n_labels; k++) m->labels[k] = (tt_label){t->texts.at[s->name[k]], t->texts.at[s->value[k]]};
        before = which;
    }
    obs->n_measurements = c->why ? 0 : n;
    obs->measurements = room->measurements;
}

static void put_alerts(tt_buf *b, const tt_observations *obs) {
    record_put_uv(b, obs->n_alerts);
    for (size_t i = 0; i < obs->n_alerts; i++) {
        const tt_alert *a = &obs->alerts[i];
        record_put_u8(b, a->firing);
        record_put_text(b, tt_sv_of(a->key));
        record_put_text(b, a->name);
        record_put_uv(b, a->n_labels);
        for (size_t k = 0; k < a->n_labels; k++) {
            record_put_text(b, a->labels[k].name);
            record_put_text(b, a->labels[k].value);
        }
    }
}

static void get_fixed(record_cursor *c, char *to, size_t size) {
    tt_sv s = record_get_text(c);
    if (s.n >= size || (s.n && memchr(s.p, 0, s.n))) {
        record_bad(c, "a name is too long, or holds a NUL");
        return;
    }
    if (s.n) memcpy(to, s.p, s.n);
    to[s.n] = 0;
}

static void get_alerts(record_cursor *c, record_room *room, tt_observations *obs) {
    size_t n = record_get_count(c, TT_RECORD_LIST_MAX);
    for (size_t i = 0; i < n && !c->why; i++) {
        if (!record_grow((void **)&room->alerts, &room->cap_alerts, i + 1, sizeof *room->alerts)) {
            record_bad(c, "memory is out");
            break;
        }
        tt_alert *a = &room->alerts[i];
        const bool firing = record_get_u8(c) != 0;
        *a = (tt_alert){{0}, {NULL, 0}, 0, {{{NULL, 0}, {NULL, 0}}}, firing};
        get_fixed(c, a->key, sizeof a->key);
        a->name = record_get_text(c);
        a->n_labels = record_get_count(c, TT_LABELS_MAX);
        for (size_t k = 0; k < a->n_labels && !c->why; k++) {
            a->labels[k].name = record_get_text(c);
            a->labels[k].value = record_get_text(c);
        }
    }
    obs->n_alerts = c->why ? 0 : n;
    obs->alerts = room->alerts;
}

/* As they were in the last tick: one byte. */
static bool put_acks(tt_buf *b, record_tables *t, const tt_observations *obs) {
    uint32_t number;
    tt_buf now;
    tt_buf_init(&now, RECORD_MAX);
    record_put_uv(&now, obs->n_acks);
    bool ok = obs->n_acks <= TT_RECORD_LIST_MAX;
    for (size_t i = 0; ok && i < obs->n_acks; i++) {
        const tt_ack *a = &obs->acks[i];
        const tt_sv names[] = {tt_sv_of(a->target.service), tt_sv_of(a->target.dc), tt_sv_of(a->target.instance), a->reason};
        for (size_t k = 0; ok && k < TT_COUNT(names); k++) ok = record_put_name(&now, t, names[k], &number);
        record_put_uv(&now, a->epoch);
        record_put_uv(&now, a->version);
        record_put_double(&now, a->share);
        record_put_u8(&now, a->refused);
    }
    ok = ok && !now.failed;
    bool same = ok && now.n == t->acks.n && memcmp(now.p, t->acks.p, now.n) == 0;
    record_put_u8(b, same ? 0 : 1);
    if (same || !ok) {
        tt_buf_free(&now);
        return ok;
    }
    tt_buf_put(b, (tt_sv){now.p, now.n});
    tt_buf_free(&t->acks);
    t->acks = now;
    return true;
}

static void get_acks(record_cursor *c, record_tables *t, record_room *room, tt_observations *obs) {
    unsigned fresh = record_get_u8(c);
    if (fresh > 1) record_bad(c, "neither the last acknowledgements nor new ones");
    size_t n = fresh == 1 ? record_get_count(c, TT_RECORD_LIST_MAX) : t->n_acks;
    for (size_t i = 0; fresh && i < n && !c->why; i++) {
        if (!record_grow((void **)&room->acks, &room->cap_acks, i + 1, sizeof *room->acks)) {
            record_bad(c, "memory is out");
            break;
        }
        tt_target target = {{0}, {0}, {0}};
        char *const names[] = {target.service, target.dc, target.instance};
        for (size_t k = 0; k < TT_COUNT(names) && !c->why; k++) {
            tt_sv s = record_get_named(c, t);
            if (s.n >= TT_NAME_MAX || (s.n && memchr(s.p, 0, s.n)))
                record_bad(c, "a target's name is too long, or holds a NUL");
            else if (s.n)
                memcpy(names[k], s.p, s.n);
        }
        const tt_sv reason = record_get_named(c, t);
        const uint64_t epoch = record_get_uv(c), version = record_get_uv(c);
        const double share = record_get_double(c);
        const bool refused = record_get_u8(c) != 0;
        room->acks[i] = (tt_ack){target, epoch, version, share, refused, reason};
    }
    t->n_acks = c->why ? 0 : n;
    obs->n_acks = t->n_acks;
    obs->acks = room->acks;
}

static void put_target(tt_buf *b, const tt_target *t) {
    record_put_text(b, tt_sv_of(t->service));
    record_put_text(b, tt_sv_of(t->dc));
    record_put_text(b, tt_sv_of(t->instance));
}

static tt_target get_target(record_cursor *c) {
    tt_target t = {{0}, {0}, {0}};
    get_fixed(c, t.service, sizeof t.service);
    get_fixed(c, t.dc, sizeof t.dc);
    get_fixed(c, t.instance, sizeof t.instance);
    return t;
}

static void put_pin(tt_buf *b, const tt_pin_spec *p) {
    put_target(b, &p->target);
    record_put_u8(b, p->kind);
    record_put_text(b, tt_sv_of(p->name));
    record_put_bytes(b, record_bits(p->value), 8);
    record_put_uv(b, p->n_dcs);
    for (uint32_t i = 0; i < p->n_dcs; i++) {
        record_put_text(b, tt_sv_of(p->dcs[i]));
        record_put_bytes(b, record_bits(p->shares[i]), 8);
    }
    record_put_iv(b, p->for_ns);
}

static void get_pin(record_cursor *c, tt_pin_spec *p) {
    p->target = get_target(c);
    p->kind = (tt_act_kind)record_get_u8(c);
    if (!tt_pin_kind_name(p->kind)) record_bad(c, "a pin is of no kind");
    get_fixed(c, p->name, sizeof p->name);
    p->value = record_double(record_get_bytes(c, 8));
    p->n_dcs = (uint32_t)record_get_count(c, TT_DECISION_DCS_MAX);
    for (uint32_t i = 0; i < p->n_dcs && !c->why; i++) {
        get_fixed(c, p->dcs[i], sizeof p->dcs[i]);
        p->shares[i] = record_double(record_get_bytes(c, 8));
    }
    p->for_ns = within(c, record_get_iv(c), span_max_ns, "a pin's span is out of range");
}

static void put_drifts(tt_buf *b, const tt_observations *obs) {
    record_put_uv(b, obs->n_drifts);
    for (size_t i = 0; i < obs->n_drifts; i++) {
        const tt_drift *d = &obs->drifts[i];
        put_target(b, &d->target);
        record_put_u8(b, d->foreign);
        record_put_bytes(b, record_bits(d->share), 8);
        record_put_text(b, d->what);
    }
}

static void get_drifts(record_cursor *c, record_room *room, tt_observations *obs) {
    size_t n = record_get_count(c, TT_RECORD_LIST_MAX);
    for (size_t i = 0; i < n && !c->why; i++) {
        if (!record_grow((void **)&room->drifts, &room->cap_drifts, i + 1, sizeof *room->drifts)) {
            record_bad(c, "memory is out");
            break;
        }
        const tt_target target = get_target(c);
        const bool foreign = record_get_u8(c) != 0;
        const double share = record_double(record_get_bytes(c, 8));
        room->drifts[i] = (tt_drift){target, foreign, share, record_get_text(c)};
    }
    obs->n_drifts = c->why ? 0 : n;
    obs->drifts = room->drifts;
}

static void put_commands(tt_buf *b, const tt_observations *obs) {
    record_put_uv(b, obs->n_commands);
    for (size_t i = 0; i < obs->n_commands; i++) {
        const tt_command *c = &obs->commands[i];
        record_put_u8(b, c->kind);
        record_put_text(b, tt_sv_of(c->loop));
        record_put_text(b, c->actor);
        record_put_text(b, c->reason);
        if (c->kind == TT_CMD_PIN) put_pin(b, &c->pin);
        if (c->kind != TT_CMD_LOAD_TEST) continue;
        record_put_text(b, tt_sv_of(c->test.service));
        record_put_text(b, tt_sv_of(c->test.dc));
        record_put_bytes(b, record_bits(c->test.step), 8);
        record_put_bytes(b, record_bits(c->test.max), 8);
        record_put_iv(b, c->test.hold_ns);
    }
}

static void get_load_test(record_cursor *c, tt_load_test_spec *ret) {
    get_fixed(c, ret->service, sizeof ret->service);
    get_fixed(c, ret->dc, sizeof ret->dc);
    ret->step = record_double(record_get_bytes(c, 8));
    ret->max = record_double(record_get_bytes(c, 8));
    ret->hold_ns = within(c, record_get_iv(c), span_max_ns, "a load test's hold is out of range");
}

static void get_commands(record_cursor *c, record_room *room, tt_observations *obs) {
    size_t n = record_get_count(c, TT_RECORD_LIST_MAX);
    for (size_t i = 0; i < n && !c->why; i++) {
        if (!record_grow((void **)&room->commands, &room->cap_commands, i + 1, sizeof *room->commands)) {
            record_bad(c, "memory is out");
            break;
        }
        const tt_command_kind kind = (tt_command_kind)record_get_u8(c);
        if (kind > TT_CMD_UNPIN) record_bad(c, "a command's kind is none");
        tt_command *cmd = &room->commands[i];
        *cmd = (tt_command){kind, {0}, {NULL, 0}, {NULL, 0}, {{0}, {0}, 0, 0, 0}, {{{0}, {0}, {0}}, TT_ACT_LIMIT, {0}, 0, 0, {{0}}, {0}, 0}};
        get_fixed(c, cmd->loop, sizeof cmd->loop);
        cmd->actor = record_get_text(c);
        cmd->reason = record_get_text(c);
        if (kind == TT_CMD_LOAD_TEST) get_load_test(c, &cmd->test);
        if (kind == TT_CMD_PIN) get_pin(c, &cmd->pin);
    }
    obs->n_commands = c->why ? 0 : n;
    obs->commands = room->commands;
}

static void put_calendar(tt_buf *b, const tt_calendar *c) {
    record_put_u8(b, c->known);
    record_put_iv(b, c->day);
    record_put_uv(b, c->minute);
}

static tt_calendar get_calendar(record_cursor *c) {
    const bool known = record_get_u8(c) != 0;
    const int32_t day = (int32_t)within(c, record_get_iv(c), INT32_MAX, "a day is out of range");
    const uint64_t minute = record_get_uv(c);
    if (minute > 1440) record_bad(c, "a minute is not of a day");
    return (tt_calendar){known, day, (uint16_t)minute};
}

static size_t get_texts(record_cursor *c, tt_sv **at, size_t *cap) {
    size_t n = record_get_count(c, TT_RECORD_LIST_MAX);
    for (size_t i = 0; i < n && !c->why; i++) {
        if (!record_grow((void **)at, cap, i + 1, sizeof **at)) {
            record_bad(c, "memory is out");
            break;
        }
        (*at)[i] = record_get_text(c);
    }
    return c->why ? 0 : n;
}

/* ---- records ---- */

/* The length is put in at the end. */
static size_t begin(tt_buf *b, record_wire kind) {
    size_t at = b->n;
    record_put_u8(b, kind);
    record_put_bytes(b, 0, 4);
    return at;
}

static bool end(tt_buf *b, size_t at) {
    if (b->failed) return false;
    size_t n = b->n - at - RECORD_HEAD;
    if (n > RECORD_MAX) return false;
    for (unsigned i = 0; i < 4; i++) b->p[at + 1 + i] = (char)(n >> (8 * i));
    return true;
}

int record_split(tt_sv bytes, uint8_t *ret_kind, tt_sv *ret_body) {
    if (bytes.n < RECORD_HEAD) return 0;
    const unsigned char *p = (const unsigned char *)bytes.p;
    size_t n = p[1] | (size_t)p[2] << 8 | (size_t)p[3] << 16 | (size_t)p[4] << 24;
    if (n > RECORD_MAX) return -1;
    if (bytes.n - RECORD_HEAD < n) return 0;
    *ret_kind = p[0];
    *ret_body = (tt_sv){bytes.p + RECORD_HEAD, n};
    return 1;
}

bool record_put_config(tt_buf *b, const tt_engine_config *c) {
    size_t at = begin(b, WIRE_CONFIG);
    record_put_uv(b, c->max_series);
    record_put_uv(b, c->max_loops);
    record_put_uv(b, c->max_closed);
    record_put_uv(b, c->max_anomalies);
    record_put_uv(b, c->max_targets);
    record_put_uv(b, c->max_events);
    record_put_uv(b, c->epoch);
    record_put_iv(b, c->apply_ns);
    record_put_iv(b, c->ingest_ns);
    record_put_iv(b, c->scrape_ns);
    return end(b, at);
}

static int64_t get_span(record_cursor *c) {
    return within(c, record_get_iv(c), span_max_ns, "a time span is out of range");
}

static void get_config(record_cursor *c, tt_engine_config *cfg) {
    uint64_t series = record_get_uv(c), loops = record_get_uv(c), closed = record_get_uv(c), anomalies = record_get_uv(c), targets = record_get_uv(c),
             events = record_get_uv(c);
    /* What a daemon can be told; more would only be memory. */
    if (series > 10000000 || loops > 1000000 || closed > 1000000 || anomalies > 10000000 || targets > 1000000 || events > 1000000 || !anomalies ||
        !targets || !events)
        record_bad(c, "a ceiling of the engine's is out of range");
    const uint64_t epoch = record_get_uv(c);
    const int64_t apply_ns = get_span(c), ingest_ns = get_span(c), scrape_ns = get_span(c);
    *cfg = (tt_engine_config){.max_series = (uint32_t)series,
                              .max_loops = (uint32_t)loops,
                              .max_closed = (uint32_t)closed,
                              .max_anomalies = (uint32_t)anomalies,
                              .max_targets = (uint32_t)targets,
                              .max_events = (uint32_t)events,
                              .epoch = epoch,
                              .apply_ns = apply_ns,
                              .ingest_ns = ingest_ns,
                              .scrape_ns = scrape_ns};
}

bool record_put_rules(tt_buf *b, const tt_rules_texts *rules, uint32_t hash) {
    size_t at = begin(b, WIRE_RULES);
    record_put_uv(b, hash);
    record_put_uv(b, rules->n);
    for (size_t i = 0; i < rules->n; i++) {
        record_put_text(b, rules->at[i].path);
        record_put_text(b, rules->at[i].text);
    }
    return end(b, at);
}

static void get_rules(record_cursor *c, record_room *room, tt_record *r) {
    uint64_t hash = record_get_uv(c);
    if (hash > UINT32_MAX) record_bad(c, "the rules' hash is none");
    size_t n = record_get_count(c, TT_RULES_FILES_MAX);
    if (!record_grow((void **)&room->rules, &room->cap_rules, n, sizeof *room->rules)) record_bad(c, "memory is out");
    for (size_t i = 0; i < n && !c->why; i++) {
        room->rules[i].path = record_get_text(c);
        room->rules[i].text = record_get_text(c);
        if (room->rules[i].path.n && memchr(room->rules[i].path.p, 0, room->rules[i].path.n)) record_bad(c, "a file's name holds a NUL");
    }
    r->rules_hash = (uint32_t)hash;
    r->rules = (tt_rules_texts){.n = c->why ? 0 : n, .at = room->rules};
}

bool record_put_state(tt_buf *b, record_wire kind, tt_time now, tt_sv text) {
    size_t at = begin(b, kind);
    record_put_iv(b, now.ns);
    record_put_text(b, text);
    return end(b, at);
}

bool record_put_timing(tt_buf *b, int64_t scrape_ns, int64_t ingest_ns, int64_t apply_ns) {
    size_t at = begin(b, WIRE_TIMING);
    record_put_iv(b, scrape_ns);
    record_put_iv(b, ingest_ns);
    record_put_iv(b, apply_ns);
    return end(b, at);
}

bool record_put_tick(tt_buf *b, record_tables *t, uint64_t number, const tt_observations *obs, const tt_outcome *out) {
    size_t at = begin(b, WIRE_TICK);
    bool lists = obs->n_polls <= TT_RECORD_LIST_MAX && obs->n_alerts <= TT_RECORD_LIST_MAX && obs->n_commands <= TT_RECORD_LIST_MAX && obs->n_drifts <= TT_RECORD_LIST_MAX &&
                 out->n_decisions <= TT_RECORD_LIST_MAX && out->n_events <= TT_RECORD_LIST_MAX;
    record_put_iv(b, record_minus((int64_t)number, (int64_t)t->tick));
    record_put_iv(b, record_minus(obs->now.ns, t->now.ns));
    record_put_iv(b, record_minus(obs->wall.ms, t->wall.ms));
    t->tick = number;
    t->now = obs->now;
    t->wall = obs->wall;
    if (!lists || !put_polls(b, t, obs) || !put_measurements(b, t, obs) || !put_acks(b, t, obs)) {
        t->full = true;
        return false;
    }
    put_alerts(b, obs);
    put_commands(b, obs);
    put_drifts(b, obs);
    put_calendar(b, &obs->local);
    put_calendar(b, &obs->utc);
    tt_buf text;
    tt_buf_init(&text, 1 << 20);
    record_put_uv(b, out->n_decisions);
    for (size_t i = 0; i < out->n_decisions; i++) {
        text.n = 0;
        tt_decision_json(&out->decisions[i], &text);
        record_put_text(b, (tt_sv){text.p, text.n});
    }
    record_put_uv(b, out->n_events);
    for (size_t i = 0; i < out->n_events; i++) {
        text.n = 0;
        tt_event_json(&out->events[i], 0, &text);
        record_put_text(b, (tt_sv){text.p, text.n});
    }
    bool ok = !text.failed;
    tt_buf_free(&text);
    t->full = t->texts.n > RECORD_NAMES_MAX / 2 || t->n_series > RECORD_NAMES_MAX / 2 || t->texts.bytes > RECORD_TABLE_BYTES / 2;
    return end(b, at) && ok;
}

static void get_tick(record_cursor *c, record_tables *t, record_room *room, tt_record_tick *r) {
    t->tick = (uint64_t)record_plus((int64_t)t->tick, record_get_iv(c));
    t->now.ns = within(c, record_plus(t->now.ns, record_get_iv(c)), time_max, "a tick's time is out of range");
    t->wall.ms = within(c, record_plus(t->wall.ms, record_get_iv(c)), time_max / 1000000, "a tick's clock is out of range");
    /* The lists follow; a kind of observation that is not among them would be missed here. */
    tt_observations obs = {t->now, t->wall, 0, NULL, 0, NULL, 0, NULL, 0, NULL, 0, NULL, 0, NULL, {false, 0, 0}, {false, 0, 0}};
    get_polls(c, t, room, &obs);
    get_measurements(c, t, room, &obs);
    get_acks(c, t, room, &obs);
    get_alerts(c, room, &obs);
    get_commands(c, room, &obs);
    get_drifts(c, room, &obs);
    obs.local = get_calendar(c);
    obs.utc = get_calendar(c);
    const size_t n_decisions = get_texts(c, &room->decisions, &room->cap_decisions), n_events = get_texts(c, &room->events, &room->cap_events);
    *r = (tt_record_tick){t->tick, obs, n_decisions, n_events, room->decisions, room->events};
}

bool record_put_commit(tt_buf *b, const tt_record_commit *c) {
    size_t at = begin(b, WIRE_COMMIT);
    record_put_uv(b, c->tick);
    record_put_uv(b, c->first_seq);
    record_put_uv(b, c->n);
    tt_buf_put(b, (tt_sv){(const char *)c->hash, sizeof c->hash});
    return end(b, at);
}

static void get_commit(record_cursor *c, tt_record_commit *r) {
    r->tick = record_get_uv(c);
    r->first_seq = record_get_uv(c);
    r->n = record_get_uv(c);
    if (c->n < sizeof r->hash) {
        record_bad(c, "it ends too early");
        return;
    }
    memcpy(r->hash, c->p, sizeof r->hash);
    c->p += sizeof r->hash;
    c->n -= sizeof r->hash;
}

bool record_put_close(tt_buf *b, tt_sv why) {
    size_t at = begin(b, WIRE_CLOSE);
    record_put_text(b, why);
    return end(b, at);
}

void record_room_free(record_room *r) {
    free(r->polls);
    free(r->measurements);
    free(r->alerts);
    free(r->acks);
    free(r->commands);
    free(r->drifts);
    free(r->decisions);
    free(r->events);
    free(r->rules);
    *r = (record_room){0};
}

bool record_get(record_tables *t, record_room *room, record_wire kind, tt_sv body, tt_record *r, const char **why) {
    record_cursor c = {(const unsigned char *)body.p, body.n, NULL};
    switch (kind) {
    case WIRE_CONFIG:
        r->kind = TT_RECORD_CONFIG;
        get_config(&c, &r->config);
        break;
    case WIRE_RULES:
        r->kind = TT_RECORD_RULES;
        get_rules(&c, room, r);
        break;
    case WIRE_SAVED:
    case WIRE_SNAPSHOT:
        r->kind = kind == WIRE_SAVED ? TT_RECORD_SAVED : TT_RECORD_SNAPSHOT;
        r->now.ns = within(&c, record_get_iv(&c), time_max, "its time is out of range");
        r->text = record_get_text(&c);
        break;
    case WIRE_TIMING:
        r->kind = TT_RECORD_TIMING;
        r->timing.scrape_ns = get_span(&c);
        r->timing.ingest_ns = get_span(&c);
        r->timing.apply_ns = get_span(&c);
        break;
    case WIRE_TICK:
        r->kind = TT_RECORD_TICK;
        get_tick(&c, t, room, &r->tick);
        break;
    case WIRE_COMMIT:
        r->kind = TT_RECORD_COMMIT;
        get_commit(&c, &r->commit);
        break;
    case WIRE_CLOSE:
        r->kind = TT_RECORD_CLOSE;
        r->closed_why = record_get_text(&c);
        break;
    default:
        record_bad(&c, "its kind is not known: a newer trimtab may have written it");
    }
    if (!c.why && c.n) record_bad(&c, "it goes on behind its end");
    *why = c.why;
    return !c.why;
}
