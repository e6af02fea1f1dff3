/* What each kind of anomaly finds in one series now. What it finds and what that rests on is kept with the anomaly, for people to redo the sum. */
#include "engine_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "track.h"

static tt_truth negated(tt_truth t) {
    return t == TT_UNKNOWN ? t : t == TT_TRUE ? TT_FALSE : TT_TRUE;
}

tt_where tt_where_of(const tt_labels *l) {
    return (tt_where){tt_labels_get(l, TT_SV("service")), tt_labels_get(l, TT_SV("dc")), tt_labels_get(l, TT_SV("instance")),
                      tt_labels_get(l, TT_SV("priority")), l, 0, {0}};
}

/* ---- when ---- */

typedef struct {
    const tt_engine *e;
    tt_where where;
    int driver;
    tt_reading own; /* of the driver */
    bool own_seen;
} reader;

static bool read_signal(void *ctx, int signal, double *ret) {
    reader *r = ctx;
    tt_reading v = tt_read_signal(r->e, signal, &r->where);
    if (signal == r->driver) {
        r->own = v;
        r->own_seen = true;
    }
    if (v.known) *ret = v.value;
    return v.known;
}

static void judge_when(const tt_engine *e, const tt_anomaly_def *d, const tt_series *driver, bool wrong, tt_verdict *v) {
    reader r = {.e = e, .where = tt_series_where(e, driver), .driver = (int)d->signal};
    v->when = tt_expr_eval(d->when, read_signal, &r);
    v->at = driver->at;
    if (!r.own_seen) r.own = tt_read_signal(e, r.driver, &r.where); /* it stands in a call only */
    v->value_known = r.own.known;
    v->value = r.own.value;
    v->clear = d->clear && wrong ? tt_expr_eval(d->clear, read_signal, &r) : negated(v->when);
    if (v->when == TT_TRUE) v->clear = TT_FALSE;
}

/* ---- slo ---- */

static void judge_slo(const tt_engine *e, const tt_anomaly_def *d, const tt_series *driver, tt_verdict *v) {
    tt_burn *b = tt_series_track(driver, &e->rules->tracks[d->track]);
    if (tt_series_quality(e, driver) == TT_Q_OK) {
        if (driver->at.ns > b->at) {
            const tt_signal_def *s = &e->rules->signals[d->signal];
            int64_t every = s->every_ns > e->cfg.scrape_ns ? s->every_ns : e->cfg.scrape_ns, covers = driver->window_ns > 2 * every ? driver->window_ns : 2 * every;
            tt_where w = tt_series_where(e, driver);
            tt_reading requests = {.known = true, .value = 1};
            if (d->slo.requests >= 0) requests = tt_read_signal(e, d->slo.requests, &w);
            if (requests.known) tt_burn_take(b, d, driver->at, covers, driver->value, requests.value);
        }
        tt_burn_read(b, d, &v->found.burn);
        v->when = v->found.burn.truth;
        v->clear = negated(v->when);
    } else
        tt_burn_read(b, d, &v->found.burn);
}

/* ---- baseline ---- */

static void judge_baseline(const tt_engine *e, const tt_anomaly_def *d, const tt_series *driver, bool wrong, tt_verdict *v) {
    const tt_track_def *t = &e->rules->tracks[d->track];
    tt_usual *u = tt_series_track(driver, t);
    bool ok = tt_series_quality(e, driver) == TT_Q_OK;
    if (ok) tt_usual_move(u, d, driver->at);
    v->found.deviation = tt_usual_read(u, d, driver->value);
    if (!ok) return;
    v->when = v->found.deviation.when;
    v->clear = v->found.deviation.clear;
    tt_usual_take(u, d, tt_series_max_age(e, d->signal), driver->at, driver->value, !wrong && v->when != TT_TRUE);
}

/* ---- absent ---- */

static void judge_absent(const tt_engine *e, const tt_anomaly_def *d, const tt_series *driver, tt_verdict *v) {
    const tt_series_table *t = &e->series;
    bool reported = e->rules->signals[d->signal].reports.n != 0, blind = !reported && (t->down[d->signal] || t->partial[d->signal] || !t->answered_at[d->signal].ns);
    v->at = reported ? e->now : t->answered_at[d->signal];
    v->value_known = false;
    if (!driver) {
        v->when = blind ? TT_UNKNOWN : TT_TRUE;
        v->found.absent_ns = tt_since(e->now, e->series_since);
    } else {
        /* Told without a number is there. A report that is too old is not: it comes from nowhere else. */
        bool told = driver->round == t->round[d->signal];
        v->found.absent_ns = tt_since(e->now, driver->quality == TT_Q_OK ? driver->at : driver->since);
        switch (tt_series_quality(e, driver)) {
        case TT_Q_OK:
        case TT_Q_TOO_FEW_SAMPLES:
            v->when = TT_FALSE;
            break;
        case TT_Q_NO_DATA:
            v->when = blind ? TT_UNKNOWN : told && !reported ? TT_FALSE : TT_TRUE;
            break;
        case TT_Q_STALE:
            v->when = reported ? TT_TRUE : TT_UNKNOWN;
            break;
        case TT_Q_SOURCE_DOWN:
            break;
        }
        if (v->when == TT_TRUE && v->found.absent_ns >= d->forget_ns) v->when = TT_FALSE; /* gone for good */
    }
    v->clear = negated(v->when);
}

void tt_trigger_judge(const tt_engine *e, uint32_t anomaly, const tt_series *driver, bool wrong, tt_verdict *ret) {
    const tt_anomaly_def *d = &e->rules->anomalies[anomaly];
    ret->when = ret->clear = TT_UNKNOWN;
    ret->value_known = false;
    ret->value = 0;
    ret->at.ns = 0;
    if (d->kind != TT_ANOMALY_WHEN) ret->found = (tt_found){.absent_ns = 0}; /* a million times a second it would show */
    if (driver && d->kind != TT_ANOMALY_WHEN) {
        ret->at = driver->at;
        ret->value_known = tt_series_quality(e, driver) == TT_Q_OK;
        ret->value = driver->value;
    }
    if (driver && d->track >= 0 && !driver->memory) return; /* memory was out */
    switch (d->kind) {
    case TT_ANOMALY_WHEN:
        judge_when(e, d, driver, wrong, ret);
        break;
    case TT_ANOMALY_SLO:
        judge_slo(e, d, driver, ret);
        break;
    case TT_ANOMALY_BASELINE:
        judge_baseline(e, d, driver, wrong, ret);
        break;
    case TT_ANOMALY_ABSENT:
        judge_absent(e, d, driver, ret);
        break;
    case TT_ANOMALY_PEERS: /* a whole group at once, below */
    case TT_ANOMALY_ALERT:
    case TT_ANOMALY_KIND_COUNT:
        break;
    }
}

/* ---- peers ---- */

typedef struct {
    uint64_t group; /* of all labels but the one in which peers differ */
    int32_t series;
} peer;

struct tt_peer_index {
    peer *m; /* by group */
    double *values;
    uint32_t n, cap;
    uint64_t generation;
};

void tt_peers_free(tt_peer_index *p) {
    if (!p) return;
    free(p->m);
    free(p->values);
    free(p);
}

static int by_group(const void *a, const void *b) {
    const peer *x = a, *y = b;
    if (x->group != y->group) return x->group < y->group ? -1 : 1;
    return (x->series > y->series) - (x->series < y->series);
}

static bool group_of(const tt_labels *l, tt_sv by, uint64_t *ret) {
    bool has = false;
    *ret = 0;
    for (uint32_t i = 0; i < l->n; i++)
        if (tt_sv_eq(l->l[i].name, by))
            has = true;
        else
            *ret += tt_hash_text(tt_hash_text(1, l->l[i].name), l->l[i].value);
    return has;
}

/* Who is whose peer, found anew when a series came or went. */
static bool find_peers(const tt_engine *e, const tt_anomaly_def *d, tt_peer_index *p) {
    const tt_series_table *t = &e->series;
    if (p->m && p->generation == t->generation) return true;
    p->n = 0;
    for (int32_t i = t->of_signal[d->signal]; i >= 0; i = t->s[i].next_of_signal) {
        uint64_t group;
        if (!group_of(&t->s[i].labels, d->by, &group)) continue;
        if (p->n == p->cap) {
            uint32_t cap = p->cap ? 2 * p->cap : 64;
            peer *m = realloc(p->m, cap * sizeof *m);
            if (m) p->m = m;
            double *values = realloc(p->values, cap * sizeof *values);
            if (values) p->values = values;
            if (!m || !values) return false;
            p->cap = cap;
        }
        p->m[p->n++] = (peer){group, i};
    }
    if (p->n) qsort(p->m, p->n, sizeof *p->m, by_group);
    p->generation = t->generation;
    return true;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* x[i] as if x[skip] were not there. */
static double other(const double *x, size_t skip, size_t i) {
    return x[i < skip ? i : i + 1];
}

static void judge_peer(const tt_anomaly_def *d, const double *x, size_t n, double value, tt_verdict *v) {
    size_t at = 0, high = n;
    while (at < high) { /* its own place among them; of equals any */
        size_t mid = (at + high) / 2;
        if (x[mid] < value)
            at = mid + 1;
        else
            high = mid;
    }
    size_t others = n - 1;
    tt_deviation *f = &v->found.deviation;
    *f = (tt_deviation){.expected = NAN, .scale = NAN, .n = (uint32_t)others};
    if (others) {
        f->expected = others % 2 ? other(x, at, others / 2) : (other(x, at, others / 2 - 1) + other(x, at, others / 2)) / 2;
        f->scale = tt_mad_to_sigma * tt_mad_sorted(x, n, at, f->expected);
    }
    tt_deviation_judge(f, &d->deviates, value);
    if (others < d->min_peers) f->when = f->clear = TT_UNKNOWN;
    v->when = f->when;
    v->clear = f->clear;
}

void tt_peers_judge(tt_engine *e, uint32_t anomaly, tt_peer_index **index, tt_judged judged) {
    const tt_anomaly_def *d = &e->rules->anomalies[anomaly];
    if (!*index) *index = calloc(1, sizeof **index);
    tt_peer_index *p = *index;
    if (!p || !find_peers(e, d, p)) return; /* memory is out: unknown */
    for (uint32_t from = 0, to; from < p->n; from = to) {
        size_t n = 0;
        for (to = from; to < p->n && p->m[to].group == p->m[from].group; to++) {
            const tt_series *s = &e->series.s[p->m[to].series];
            if (tt_series_quality(e, s) == TT_Q_OK) p->values[n++] = s->value;
        }
        if (n > 1) qsort(p->values, n, sizeof *p->values, by_value);
        for (uint32_t i = from; i < to; i++) {
            tt_series *s = &e->series.s[p->m[i].series];
            tt_verdict v = {
                .when = TT_UNKNOWN, .clear = TT_UNKNOWN, .at = s->at, .value = s->value, .value_known = tt_series_quality(e, s) == TT_Q_OK};
            if (v.value_known) judge_peer(d, p->values, n, s->value, &v);
            judged(e, anomaly, s, &v);
        }
    }
}

/* ---- for people ---- */

static void input(const tt_engine *e, tt_buf *b, bool *first, const char *call, int signal, int64_t span_ns, const tt_where *w, int asked) {
    const tt_signal_def *s = &e->rules->signals[signal];
    tt_reading r = tt_read_signal(e, asked, w);
    char text[TT_NAME_MAX + 64], span[32];
    tt_format_duration(span_ns, span, sizeof span);
    tt_buf name;
    tt_buf_init(&name, sizeof text - 1);
    if (call)
        tt_buf_printf(&name, "%s(" TT_SV_FMT ", %s)", call, TT_SV_ARG(s->name), span);
    else
        tt_buf_put(&name, s->name);
    tt_buf_put(b, *first ? TT_SV("{\"signal\":") : TT_SV(",{\"signal\":"));
    *first = false;
    tt_buf_json_string(b, (tt_sv){name.p, name.n});
    tt_buf_free(&name);
    tt_buf_put(b, TT_SV(",\"value\":"));
    tt_buf_number(b, r.known ? r.value : (double)NAN);
    tt_buf_printf(b, ",\"quality\":\"%s\"", tt_quality_name(r.known ? TT_Q_OK : r.quality));
    if (r.known)
        tt_buf_printf(b, ",\"age_ms\":%lld,\"window_ms\":%lld}", (long long)(tt_since(e->now, r.at) / 1000000), (long long)(r.window_ns / 1000000));
    else
        tt_buf_put(b, TT_SV(",\"age_ms\":null,\"window_ms\":null}"));
}

static void inputs_of(const tt_engine *e, const tt_expr *x, const tt_where *w, tt_buf *b, bool *first) {
    int signals[TT_EXPR_SIGNALS_MAX];
    const tt_expr_call *calls;
    size_t n = tt_expr_signals(x, signals), n_calls = tt_expr_calls(x, &calls);
    for (size_t i = 0; i < n; i++) input(e, b, first, NULL, signals[i], 0, w, signals[i]);
    for (size_t i = 0; i < n_calls; i++)
        input(e, b, first, tt_expr_function_name(calls[i].function), calls[i].signal, calls[i].span_ns, w, TT_EXPR_CALL + calls[i].bound);
}

static void truth(tt_buf *b, const char *name, tt_truth t) {
    tt_buf_printf(b, ",\"%s\":%s", name, t == TT_UNKNOWN ? "null" : t == TT_TRUE ? "true" : "false");
}

static void window(tt_buf *b, const char *name, const tt_burn_figure *f, int64_t ns) {
    tt_buf_printf(b, ",\"%s\":{\"span_ms\":%lld", name, (long long)(ns / 1000000));
    tt_buf_member_number(b, "error_ratio", f->ratio);
    tt_buf_member_number(b, "covered", f->covered);
    tt_buf_member_number(b, "burn", f->burn);
    tt_buf_put(b, TT_SV("}"));
}

static void say_slo(const tt_anomaly_def *d, const tt_burn_verdict *f, tt_buf *b) {
    tt_buf_put(b, TT_SV(",\"slo\":{\"objective\":"));
    tt_buf_number(b, d->slo.objective);
    tt_buf_put(b, TT_SV(",\"windows\":["));
    for (size_t i = 0; i < f->n; i++) {
        tt_buf_put(b, i ? TT_SV(",{\"bound\":") : TT_SV("{\"bound\":"));
        tt_buf_number(b, d->slo.burns[i].rate);
        window(b, "long", &f->pair[i].wide, d->slo.burns[i].long_ns);
        window(b, "short", &f->pair[i].narrow, d->slo.burns[i].short_ns);
        truth(b, "holds", f->pair[i].truth);
        tt_buf_put(b, TT_SV("}"));
    }
    tt_buf_put(b, TT_SV("]}"));
}

static void say_deviation(const tt_anomaly_def *d, const tt_deviation *f, tt_buf *b) {
    static const char *const directions[] = {[TT_ABOVE] = "above", [TT_BELOW] = "below", [TT_BOTH] = "both"};
    bool peers = d->kind == TT_ANOMALY_PEERS;
    tt_buf_printf(b, ",\"%s\":{\"direction\":\"%s\"", peers ? "peers" : "baseline", directions[d->deviates.direction]);
    if (peers) {
        tt_buf_put(b, TT_SV(",\"by\":"));
        tt_buf_json_string(b, d->by);
        tt_buf_printf(b, ",\"n\":%u,\"needs\":%u", f->n, d->min_peers);
    } else {
        if (d->baseline.season_ns)
            tt_buf_printf(b, ",\"season_ms\":%lld", (long long)(d->baseline.season_ns / 1000000));
        else
            tt_buf_put(b, TT_SV(",\"season_ms\":null"));
        tt_buf_printf(b, ",\"slot_ms\":%lld,\"n\":%u,\"needs\":%u", (long long)(d->baseline.slot_ns / 1000000), f->n, d->baseline.needs);
    }
    tt_buf_member_number(b, "median", f->expected);
    tt_buf_member_number(b, "mad", f->scale / tt_mad_to_sigma);
    tt_buf_member_number(b, "deviation", f->deviation);
    tt_buf_member_number(b, "deviates", d->deviates.deviates);
    tt_buf_member_number(b, "clears", d->deviates.clears);
    tt_buf_member_number(b, "threshold", f->threshold);
    tt_buf_put(b, TT_SV("}"));
}

void tt_trigger_detail(const tt_engine *e, const tt_anomaly *a, tt_buf *b) {
    const tt_anomaly_def *d = &e->rules->anomalies[a->anomaly];
    tt_where w = tt_where_of(&a->labels);
    bool first = true;
    tt_buf_printf(b, "\"kind\":\"%s\",\"for_ms\":%lld,\"clear_for_ms\":%lld", tt_anomaly_kind_name(d->kind), (long long)(d->for_ns / 1000000),
                  (long long)(d->clear_ns / 1000000));
    if (d->clear) {
        tt_buf_put(b, TT_SV(",\"clear\":"));
        tt_buf_json_string(b, tt_expr_text(d->clear));
    }
    tt_buf_put(b, TT_SV(",\"inputs\":["));
    switch (d->kind) {
    case TT_ANOMALY_WHEN:
        inputs_of(e, d->when, &w, b, &first);
        break;
    case TT_ANOMALY_ALERT:
    case TT_ANOMALY_KIND_COUNT:
        break;
    default:
        input(e, b, &first, NULL, (int)d->signal, 0, &w, (int)d->signal);
        if (d->kind == TT_ANOMALY_SLO && d->slo.requests >= 0) input(e, b, &first, NULL, d->slo.requests, 0, &w, d->slo.requests);
        break;
    }
    tt_buf_put(b, TT_SV("]"));
    if (d->kind == TT_ANOMALY_SLO) say_slo(d, &a->found.burn, b);
    if (d->kind == TT_ANOMALY_BASELINE || d->kind == TT_ANOMALY_PEERS) say_deviation(d, &a->found.deviation, b);
    if (d->kind == TT_ANOMALY_ABSENT) tt_buf_printf(b, ",\"absent_ms\":%lld", (long long)(a->found.absent_ns / 1000000));
}

static void say_span(tt_buf *b, int64_t ns) {
    char text[32];
    tt_format_duration(ns, text, sizeof text);
    tt_buf_put(b, tt_sv_of(text));
}

static void say_number(tt_buf *b, double v) {
    char text[32];
    tt_num(text, sizeof text, v);
    tt_buf_put(b, tt_sv_of(text));
}

void tt_trigger_say(const tt_engine *e, const tt_anomaly *a, tt_buf *b) {
    const tt_anomaly_def *d = &e->rules->anomalies[a->anomaly];
    const tt_deviation *f = &a->found.deviation;
    switch (d->kind) {
    case TT_ANOMALY_WHEN:
        tt_buf_put(b, tt_expr_text(d->when));
        tt_buf_put(b, TT_SV(" has held for "));
        say_span(b, d->for_ns);
        tt_buf_put(b, TT_SV("; "));
        tt_buf_put(b, e->rules->signals[d->signal].name);
        tt_buf_put(b, TT_SV(" is "));
        if (a->value_known) say_number(b, a->value);
        break;
    case TT_ANOMALY_ALERT:
        tt_buf_put(b, TT_SV("alert "));
        tt_buf_put(b, tt_labels_get(&a->labels, TT_SV("alertname")));
        tt_buf_put(b, TT_SV(" is firing"));
        break;
    case TT_ANOMALY_SLO:
        tt_buf_put(b, tt_anomaly_text(d));
        for (size_t i = 0; i < a->found.burn.n; i++) {
            if (a->found.burn.pair[i].truth != TT_TRUE) continue;
            tt_buf_put(b, TT_SV(": over "));
            say_span(b, d->slo.burns[i].long_ns);
            tt_buf_put(b, TT_SV(" "));
            say_number(b, a->found.burn.pair[i].wide.burn);
            tt_buf_put(b, TT_SV(" times faster than even, over "));
            say_span(b, d->slo.burns[i].short_ns);
            tt_buf_put(b, TT_SV(" "));
            say_number(b, a->found.burn.pair[i].narrow.burn);
            tt_buf_put(b, TT_SV(" times, the bound is "));
            say_number(b, d->slo.burns[i].rate);
            break;
        }
        break;
    case TT_ANOMALY_BASELINE:
    case TT_ANOMALY_PEERS:
        tt_buf_put(b, tt_anomaly_text(d));
        tt_buf_put(b, TT_SV(": "));
        say_number(b, a->value);
        tt_buf_put(b, d->kind == TT_ANOMALY_PEERS ? TT_SV(", their median is ") : TT_SV(", the median is "));
        say_number(b, f->expected);
        tt_buf_printf(b, " over %u %s", f->n, d->kind == TT_ANOMALY_PEERS ? "peers" : d->baseline.season_ns ? "seasons" : "parts");
        tt_buf_put(b, TT_SV(", and more than "));
        say_number(b, f->threshold);
        tt_buf_put(b, TT_SV(" off counts"));
        break;
    case TT_ANOMALY_ABSENT:
        tt_buf_put(b, tt_anomaly_text(d));
        tt_buf_put(b, a->labels.n ? TT_SV(" for ") : TT_SV(", there has been no series of it for "));
        say_span(b, a->found.absent_ns);
        tt_buf_put(b, TT_SV(" while its source answers"));
        break;
    case TT_ANOMALY_KIND_COUNT:
        break;
    }
}
