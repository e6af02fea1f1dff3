#include "decode.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double timeout_most_ms = 3600000;
static const double ms_most = 1e12; /* 31 years; more is "never" badly written */
enum { DECISIONS_MAX = 16384, ACTIONS_MAX = 4096, NAMES_MAX = 32 };

/* Everything of a set goes at once. */
typedef struct chunk chunk;
struct chunk {
    chunk *next;
    max_align_t bytes[];
};
typedef struct {
    json_t *root;
    chunk *chunks;
} memory;

typedef struct {
    memory *m;
    agent_set *set;
    char *why;
    char where[128]; /* JSON pointer of what is being read */
} reader;

static __attribute__((format(printf, 2, 3))) bool fail(const reader *r, const char *format, ...) {
    int n = snprintf(r->why, AGENT_WHY_MAX, "%s: ", r->where[0] ? r->where : "/");
    if (n < 0 || n >= AGENT_WHY_MAX) return false;
    va_list args;
    va_start(args, format);
    vsnprintf(r->why + n, AGENT_WHY_MAX - (size_t)n, format, args);
    va_end(args);
    return false;
}

static void *take(reader *r, size_t n, size_t each) {
    size_t bytes;
    if (__builtin_mul_overflow(n, each, &bytes) || __builtin_add_overflow(bytes, sizeof(chunk), &bytes)) return NULL;
    chunk *c = calloc(1, bytes);
    if (!c) return NULL;
    c->next = r->m->chunks;
    r->m->chunks = c;
    return c->bytes;
}

static bool read_whole(const reader *r, const json_t *o, const char *key, uint64_t *ret) {
    const json_t *v = json_object_get(o, key);
    if (!json_is_integer(v) || json_integer_value(v) < 0) return fail(r, "%s must be a whole number, 0 or more", key);
    *ret = (uint64_t)json_integer_value(v);
    return true;
}

static bool read_number(const reader *r, const json_t *o, const char *key, double most, double *ret) {
    const json_t *v = json_object_get(o, key);
    double d = json_number_value(v);
    if (!json_is_number(v) || !(d >= 0 && d <= most)) return fail(r, "%s must be a number from 0 to %.0f", key, most);
    *ret = d;
    return true;
}

static bool read_name(const reader *r, const json_t *v, const char *what, const char **ret) {
    size_t n = json_string_length(v);
    if (!json_is_string(v) || n == 0 || n >= TT_DP_NAME_MAX) return fail(r, "%s must be text of 1 to %d bytes", what, TT_DP_NAME_MAX - 1);
    *ret = json_string_value(v);
    return true;
}

static bool read_limit(reader *r, const json_t *o, tt_dp_action *a) {
    bool concurrency = json_object_get(o, "concurrency") != NULL;
    if (concurrency && json_object_get(o, "rps")) return fail(r, "a limit has rps or concurrency, not both");
    a->kind = concurrency ? TT_DP_CONCURRENCY : TT_DP_LIMIT;
    if (!read_number(r, o, concurrency ? "concurrency" : "rps", 1e12, &a->value)) return false;
    a->value /= r->set->instances;
    const json_t *keep = json_object_get(o, "keep");
    if (!keep) return true;
    size_t n = json_array_size(keep);
    if (!json_is_array(keep) || n > NAMES_MAX) return fail(r, "keep must be a list of at most %d priorities", NAMES_MAX);
    const char **names = take(r, n, sizeof *names);
    if (!names) return fail(r, "out of memory");
    for (size_t i = 0; i < n; i++)
        if (!read_name(r, json_array_get(keep, i), "each of keep", &names[i])) return false;
    a->n = n;
    a->names = names;
    return true;
}

static bool read_shares(reader *r, const json_t *o, const char *key, const char *what, tt_dp_action *a) {
    json_t *dcs = json_object_get(o, key);
    size_t n = json_object_size(dcs);
    if (!json_is_object(dcs) || n == 0 || n > TT_DP_DCS_MAX) return fail(r, "%s must hold 1 to %d %ss", key, TT_DP_DCS_MAX, what);
    const char **names = take(r, n, sizeof *names), *name;
    double *shares = take(r, n, sizeof *shares);
    if (!names || !shares) return fail(r, "out of memory");
    json_t *v;
    json_object_foreach(dcs, name, v) {
        size_t length = strlen(name);
        if (length == 0 || length >= TT_DP_NAME_MAX) return fail(r, "a %s's name must be of 1 to %d bytes", what, TT_DP_NAME_MAX - 1);
        names[a->n] = name;
        if (!read_number(r, dcs, name, 1, &shares[a->n])) return false;
        a->n++;
    }
    a->names = names;
    a->shares = shares;
    return true;
}

/* *ret_known: whether it is ours to enforce. */
static bool read_action(reader *r, const json_t *o, tt_dp_action *a, bool *ret_known) {
    const char *kind = json_string_value(json_object_get(o, "action"));
    *ret_known = true;
    if (!kind) return fail(r, "action must be text");
    if (strcmp(kind, "limit") == 0) return read_limit(r, o, a);
    if (strcmp(kind, "weights") == 0) {
        a->kind = TT_DP_WEIGHTS;
        return read_shares(r, o, "dcs", "data center", a);
    }
    if (strcmp(kind, "versions") == 0) {
        a->kind = TT_DP_VERSIONS;
        return read_shares(r, o, "shares", "version", a);
    }
    if (strcmp(kind, "drop") == 0) {
        a->kind = TT_DP_DROP;
        return read_name(r, json_object_get(o, "priority"), "priority", &a->name) && read_number(r, o, "ratio", 1, &a->value);
    }
    if (strcmp(kind, "degrade") == 0) {
        a->kind = TT_DP_DEGRADE;
        if (!read_name(r, json_object_get(o, "feature"), "feature", &a->name) || !read_number(r, o, "level", 1000, &a->value)) return false;
        return !json_object_get(o, "probe_ratio") || read_number(r, o, "probe_ratio", 1, &a->probe_ratio);
    }
    if (strcmp(kind, "eject") == 0) {
        a->kind = TT_DP_EJECT;
        return read_name(r, json_object_get(o, "instance"), "instance", &a->name);
    }
    if (strcmp(kind, "retry") == 0) {
        a->kind = TT_DP_RETRY;
        return read_number(r, o, "budget", 1, &a->value);
    }
    if (strcmp(kind, "timeout") == 0) {
        a->kind = TT_DP_TIMEOUT;
        return read_number(r, o, "ms", timeout_most_ms, &a->value) && (a->value >= 1 || fail(r, "ms must be at least 1"));
    }
    if (strcmp(kind, "hedge") == 0) {
        const json_t *enabled = json_object_get(o, "enabled");
        a->kind = TT_DP_HEDGE;
        a->value = json_is_true(enabled);
        return json_is_boolean(enabled) || fail(r, "enabled must be true or false");
    }
    if (strcmp(kind, "isolate") == 0) {
        a->kind = TT_DP_ISOLATE;
        a->value = 1; /* wholly, unless it says how much */
        if (!read_name(r, json_object_get(o, "caller"), "caller", &a->name)) return false;
        return !json_object_get(o, "ratio") || read_number(r, o, "ratio", 1, &a->value);
    }
    r->set->unknown = kind;
    *ret_known = false;
    return true;
}

static bool read_expiry(reader *r, const json_t *o, tt_dp_decision *d) {
    d->expire_after_ms = d->decay_over_ms = -1;
    const json_t *expires = json_object_get(o, "expires");
    if (!expires || json_is_null(expires)) return true;
    if (!json_is_object(expires)) return fail(r, "expires must be an object");
    const json_t *after = json_object_get(expires, "after_ms");
    if (!after || json_is_null(after)) return true;
    double ms = 0;
    if (!read_number(r, expires, "after_ms", ms_most, &ms)) return false;
    d->expire_after_ms = (int64_t)ms;
    const char *then = json_string_value(json_object_get(expires, "then"));
    if (!then || strcmp(then, "hold") == 0) return true;
    if (strcmp(then, "open") == 0) {
        d->decay_over_ms = 0;
        return true;
    }
    if (strcmp(then, "decay") != 0) return fail(r, "expires.then must be hold, decay or open");
    if (!read_number(r, expires, "over_ms", ms_most, &ms)) return false;
    d->decay_over_ms = (int64_t)ms;
    return true;
}

static bool read_decision(reader *r, const json_t *o, tt_dp_decision *d, int64_t *ret_age_ms) {
    const json_t *target = json_object_get(o, "target"), *dc = json_object_get(target, "dc"), *age = json_object_get(o, "age_ms");
    if (!read_name(r, json_object_get(target, "service"), "target.service", &d->service)) return false;
    if (dc && !json_is_null(dc) && json_string_length(dc) > 0 && !read_name(r, dc, "target.dc", &d->dc)) return false;
    if (!read_whole(r, o, "epoch", &d->epoch) || !read_whole(r, o, "version", &d->version) || !read_expiry(r, o, d)) return false;
    double age_ms = 0;
    if (age && !json_is_null(age) && !read_number(r, o, "age_ms", ms_most, &age_ms)) return false;
    *ret_age_ms = (int64_t)age_ms;
    const json_t *actions = json_object_get(o, "actions");
    size_t n = json_array_size(actions);
    if (!json_is_array(actions) || n > ACTIONS_MAX) return fail(r, "actions must be a list of at most %d", ACTIONS_MAX);
    tt_dp_action *to = take(r, n, sizeof *to);
    if (!to) return fail(r, "out of memory");
    size_t at = strlen(r->where);
    for (size_t i = 0; i < n; i++) {
        bool known = false;
        snprintf(r->where + at, sizeof r->where - at, "/actions/%zu", i);
        if (!read_action(r, json_array_get(actions, i), &to[d->n_actions], &known)) return false;
        d->n_actions += known;
    }
    d->actions = to;
    return true;
}

static bool read_set(reader *r, const json_t *root) {
    agent_set *set = r->set;
    if (!json_is_object(root)) return fail(r, "must be an object");
    if (!read_whole(r, root, "epoch", &set->epoch) || !read_whole(r, root, "version", &set->version)) return false;
    set->instances = 1;
    if (json_object_get(root, "instances")) {
        double n = 0;
        if (!read_number(r, root, "instances", 1e6, &n)) return false;
        if (n >= 1) set->instances = (uint32_t)n; /* 0: it has not counted us yet */
    }
    const json_t *decisions = json_object_get(root, "decisions");
    size_t n = json_array_size(decisions);
    if (!json_is_array(decisions) || n > DECISIONS_MAX) return fail(r, "decisions must be a list of at most %d", DECISIONS_MAX);
    tt_dp_decision *to = take(r, n, sizeof *to);
    int64_t *ages_ms = take(r, n, sizeof *ages_ms);
    if (!to || !ages_ms) return fail(r, "out of memory");
    for (size_t i = 0; i < n; i++) {
        snprintf(r->where, sizeof r->where, "/decisions/%zu", i);
        if (!read_decision(r, json_array_get(decisions, i), &to[i], &ages_ms[i])) return false;
        if (ages_ms[i] > set->age_ms) set->age_ms = ages_ms[i];
    }
    for (size_t i = 0; i < n; i++)
        if (to[i].expire_after_ms >= 0) to[i].expire_after_ms += set->age_ms - ages_ms[i];
    set->n = n;
    set->decisions = to;
    return true;
}

bool agent_set_decode(const char *json, size_t n, agent_set *ret, char why[AGENT_WHY_MAX]) {
    if (n > AGENT_SET_BYTES_MAX) {
        snprintf(why, AGENT_WHY_MAX, "it has %zu bytes, at most %d are taken", n, AGENT_SET_BYTES_MAX);
        return false;
    }
    memory *m = calloc(1, sizeof *m);
    if (!m) {
        snprintf(why, AGENT_WHY_MAX, "out of memory");
        return false;
    }
    json_error_t error;
    m->root = json_loadb(json, n, JSON_REJECT_DUPLICATES, &error);
    agent_set set = {.memory = m};
    reader r = {.m = m, .set = &set, .why = why};
    if (!m->root)
        snprintf(why, AGENT_WHY_MAX, "it is no JSON: %s at byte %d", error.text, error.position);
    else if (read_set(&r, m->root)) {
        *ret = set;
        return true;
    }
    agent_set_free(&set);
    return false;
}

void agent_set_free(agent_set *set) {
    memory *m = set->memory;
    if (!m) return;
    for (chunk *c = m->chunks, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    json_decref(m->root);
    free(m);
    *set = (agent_set){0};
}
