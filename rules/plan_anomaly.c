/* One anomaly: from its map to tt_anomaly_def, and what has to be remembered of signals for it. */
#include "plan_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "track.h"

static const char *const kind_names[] = {
#define TT_AS_NAME(id, name) name,
    TT_ANOMALY_KINDS(TT_AS_NAME)
#undef TT_AS_NAME
};

const char *tt_anomaly_kind_name(tt_anomaly_kind kind) {
    return (size_t)kind < TT_COUNT(kind_names) ? kind_names[kind] : "?";
}

tt_sv tt_anomaly_text(const tt_anomaly_def *a) {
    return a->kind == TT_ANOMALY_WHEN ? tt_expr_text(a->when) : a->kind == TT_ANOMALY_ALERT ? a->alert.text : a->text;
}

static const int64_t hour = TT_SECONDS(3600), day = TT_SECONDS(86400);

/* ---- what is remembered of series ---- */

int tt_rules_track(tt_load *l, const tt_doc *at, tt_track_def track) {
    tt_rules *r = l->r;
    const tt_signal_def *s = &r->signals[track.signal];
    for (size_t i = 0; i < r->n_tracks; i++) {
        const tt_track_def *t = &r->tracks[i];
        if (t->kind == track.kind && t->signal == track.signal && t->span_ns == track.span_ns && t->anomaly == track.anomaly) return (int)i;
    }
    if (r->n_tracks == TT_TRACKS_MAX) {
        tt_load_fail(l, TT_ELIMIT, at, "more than %d looks into the past, burn rates and baselines over all rules: this one is too many",
                     TT_TRACKS_MAX);
        return -1;
    }
    track.every_ns = s->every_ns;
    track.slots = tt_past_slots(track.span_ns, s->every_ns);
    r->tracks[r->n_tracks] = track;
    return (int)r->n_tracks++;
}

void tt_lay_out_tracks(tt_rules *r) {
    for (size_t i = r->n_tracks; i-- > 0;) { /* from the last, so that lists are in the order written */
        tt_track_def *t = &r->tracks[i];
        tt_signal_def *s = &r->signals[t->signal];
        const tt_anomaly_def *a = &r->anomalies[t->anomaly];
        switch (t->kind) {
        case TT_TRACK_CHANGE:
        case TT_TRACK_RATE:
        case TT_TRACK_MEAN:
            t->bytes = sizeof(tt_past) + t->slots * sizeof(tt_past_slot);
            break;
        case TT_TRACK_BURN:
            t->bytes = sizeof(tt_burn) + 2 * a->slo.n_burns * sizeof(tt_burn_window);
            break;
        case TT_TRACK_BASELINE:
            t->bytes = tt_usual_bytes(&a->baseline);
            break;
        }
        t->bytes = (t->bytes + 7) / 8 * 8;
        t->offset = s->memory;
        t->next = s->memory ? s->first_track : TT_TRACKS_MAX;
        s->first_track = (uint32_t)i;
        s->memory += t->bytes;
    }
}

/* ---- alert ---- */

size_t tt_anomaly_groups(const tt_rules *r, const tt_anomaly_def *a, tt_sv names[], size_t max) {
    size_t n = 0;
    for (size_t i = 0; i <= a->n_alert_labels; i++) {
        const tt_label_match *m = i ? &a->alert_labels[i - 1] : &a->alert;
        tt_match_groups g = {0};
        if (m->pattern) r->matcher->groups(r->matcher->ctx, m->pattern, &g);
        for (size_t k = 0; k < g.n && n < max; k++) names[n++] = g.name[k];
    }
    return n;
}

/* Each name once, and few enough to be labels. */
static void check_groups(tt_load *l, const tt_doc *node, const tt_label_match *m, tt_sv seen[], size_t *n_seen) {
    tt_match_groups g = {0};
    if (m->pattern) l->r->matcher->groups(l->r->matcher->ctx, m->pattern, &g);
    for (size_t k = 0; k < g.n; k++) {
        size_t at = tt_group_offset(node->text, g.name[k]);
        bool twice = false;
        for (size_t i = 0; i < *n_seen; i++) twice = twice || tt_sv_eq(seen[i], g.name[k]);
        if (twice)
            tt_load_fail_inside(l, TT_EVALUE, node, at, "the named group \"" TT_SV_FMT "\" is made twice in this alert: rename one",
                                TT_SV_ARG(g.name[k]));
        else if (*n_seen == TT_MATCH_GROUPS_MAX)
            tt_load_fail_inside(l, TT_ELIMIT, node, at, "more than %d named groups in one alert: each becomes a label, and there is no room for more",
                                TT_MATCH_GROUPS_MAX);
        else
            seen[(*n_seen)++] = g.name[k];
    }
}

static void load_alert(tt_load *l, const tt_doc *alert, tt_anomaly_def *a) {
    const tt_doc *of = NULL, *labels = NULL, *expires = NULL;
    const tt_key keys[] = {{"name", &of}, {"labels", &labels}, {"expires", &expires}};
    tt_sv seen[TT_MATCH_GROUPS_MAX];
    size_t n_seen = 0;
    bool ok = tt_read_keys(l, alert, "alert", "{name: /HighErrorRate/, labels: {severity: page}}", keys, TT_COUNT(keys));
    if (ok && !of && !labels)
        tt_load_fail(l, TT_EMISSING, alert, "alert needs the name it answers, or labels: {name: /HighErrorRate/} or {labels: {severity: page}}");
    a->expires_ns = day;
    tt_get_duration(l, expires, "alert.expires", TT_SECONDS(60), 30 * day, &a->expires_ns);
    a->alert.label = TT_SV("alertname");
    if (of && tt_get_match(l, of, "alert.name", &a->alert)) {
        a->alert.label = TT_SV("alertname");
        check_groups(l, of, &a->alert, seen, &n_seen);
    }
    if (!labels) return;
    if (labels->kind != TT_DOC_MAP) {
        tt_load_fail(l, TT_EVALUE, labels, "alert.labels is a map, not %s: write it like {service: /^(?<service>.+)$/, severity: page}",
                     tt_show(labels).text);
        return;
    }
    if (labels->n > TT_MATCHERS_MAX) {
        tt_load_fail(l, TT_ELIMIT, &labels->keys[TT_MATCHERS_MAX], "alert.labels compares %zu labels, at most %d", labels->n, TT_MATCHERS_MAX);
        return;
    }
    for (size_t i = 0; i < labels->n; i++) {
        tt_label_match *m = &a->alert_labels[a->n_alert_labels];
        tt_sv label = {0};
        if (!tt_get_label(l, &labels->keys[i], "alert.labels", &label) || !tt_get_match(l, &labels->items[i], "alert.labels", m)) continue;
        m->label = label;
        a->n_alert_labels++;
        check_groups(l, &labels->items[i], m, seen, &n_seen);
    }
}

/* ---- slo ---- */

static void load_burns(tt_load *l, const tt_doc *list, tt_anomaly_def *a, tt_anomaly_nodes *n) {
    static const char example[] = "[{burn: 14.4, long: 1h, short: 5m}]";
    tt_slo *s = &a->slo;
    if (!list) {
        s->n_burns = 2;
        s->burns[0].rate = 14.4, s->burns[0].long_ns = hour, s->burns[0].short_ns = TT_SECONDS(300);
        s->burns[1].rate = 6, s->burns[1].long_ns = 6 * hour, s->burns[1].short_ns = TT_SECONDS(1800);
        return;
    }
    if (!tt_read_list(l, list, "slo.windows", example, TT_BURNS_MAX)) return;
    if (!list->n) tt_load_fail(l, TT_EVALUE, list, "slo.windows is empty: write %s, or leave the key out for 14.4 over 1h and 6 over 6h", example);
    for (size_t i = 0; i < list->n; i++) {
        const tt_doc *it = &list->items[i], *burn = NULL, *wide = NULL, *narrow = NULL;
        const tt_key keys[] = {{"burn", &burn}, {"long", &wide}, {"short", &narrow}};
        if (!tt_read_keys(l, it, "a window", "{burn: 14.4, long: 1h, short: 5m}", keys, TT_COUNT(keys))) continue;
        size_t before = l->total;
        if (!burn) tt_load_fail(l, TT_EMISSING, it, "a window needs burn, how many times faster than even the budget is used up: burn: 14.4");
        if (!wide) tt_load_fail(l, TT_EMISSING, it, "a window needs long, the span the burn rate is taken over: long: 1h");
        double rate = 0;
        int64_t longer = 0, shorter = 0;
        tt_get_number(l, burn, "burn", 0.1, 1000, &rate);
        tt_get_duration(l, wide, "long", TT_SECONDS(60), 30 * day, &longer);
        shorter = longer / 12;
        tt_get_duration(l, narrow, "short", TT_SECONDS(5), 30 * day, &shorter);
        if (l->total == before && shorter >= longer)
            tt_load_fail(l, TT_EVALUE, narrow,
                         "short %s is not shorter than long: it is there to see that it still burns; write about a twelfth, or leave it out",
                         tt_show(narrow).text);
        if (l->total != before) continue;
        n->burns[s->n_burns] = burn;
        s->burns[s->n_burns].rate = rate, s->burns[s->n_burns].long_ns = longer, s->burns[s->n_burns].short_ns = shorter;
        s->n_burns++;
    }
}

static void load_slo(tt_load *l, const tt_doc *slo, tt_anomaly_def *a, tt_anomaly_nodes *n) {
    const tt_doc *objective = NULL, *errors = NULL, *requests = NULL, *windows = NULL;
    const tt_key keys[] = {{"objective", &objective}, {"errors", &errors}, {"requests", &requests}, {"windows", &windows}};
    int signal = -1;
    tt_read_keys(l, slo, "slo", "{objective: 99.9%, errors: error_ratio}", keys, TT_COUNT(keys));
    if (slo->kind != TT_DOC_MAP) return;
    if (!objective) tt_load_fail(l, TT_EMISSING, slo, "slo needs its objective, the share of requests that go well: objective: 99.9%%");
    if (tt_get_ratio(l, objective, "slo.objective", false, &a->slo.objective) && objective && (a->slo.objective >= 1 || a->slo.objective < 0.5)) {
        tt_load_fail(l, TT_EVALUE, objective, "slo.objective %s %s: write 50%% to 99.9999%%, such as 99.9%%", tt_show(objective).text,
                     a->slo.objective >= 1 ? "leaves no errors to be spent, so the first one would be an anomaly"
                                           : "is met by a service that mostly fails");
        a->slo.objective = 0;
    }
    if (!errors) tt_load_fail(l, TT_EMISSING, slo, "slo needs errors, the signal that says which share of requests fails: errors: error_ratio");
    if (tt_get_signal(l, errors, "slo.errors", &signal) && signal >= 0) a->signal = (uint32_t)signal;
    a->slo.requests = -1;
    tt_get_signal(l, requests, "slo.requests", &a->slo.requests);
    load_burns(l, windows, a, n);
    if (signal < 0 || !a->slo.n_burns) return;
    const tt_signal_def *s = &l->r->signals[signal];
    for (size_t i = 0; i < a->slo.n_burns; i++)
        if (a->slo.burns[i].short_ns < 2 * s->every_ns) {
            char every[32], least[32];
            tt_format_duration(s->every_ns, every, sizeof(every));
            tt_format_duration(2 * s->every_ns, least, sizeof(least));
            tt_load_fail(l, TT_EVALUE, windows ? windows : errors,
                         "the short window of burn rate %zu has room for less than two samples of " TT_SV_FMT
                         ", which comes every %s: make it at least %s",
                         i + 1, TT_SV_ARG(s->name), every, least);
        }
}

/* ---- baseline and peers ---- */

static bool ends_with(tt_sv s, tt_sv end) {
    return s.n >= end.n && memcmp(s.p + s.n - end.n, end.p, end.n) == 0;
}

typedef struct {
    const tt_doc *signal, *deviates, *clears, *at_least, *direction;
} deviates_nodes;

static bool load_deviates(tt_load *l, const deviates_nodes *n, const tt_doc *map, const char *what, tt_anomaly_def *a) {
    static const char *const directions[] = {"above", "below", "both"};
    tt_deviates *d = &a->deviates;
    int signal = -1;
    size_t which = TT_ABOVE;
    char key[48];
    *d = (tt_deviates){.deviates = 4, .at_least = NAN};
    if (!n->signal) tt_load_fail(l, TT_EMISSING, map, "%s needs the signal it watches: signal: p99_ms", what);
    snprintf(key, sizeof(key), "%s.signal", what);
    if (tt_get_signal(l, n->signal, key, &signal) && signal >= 0) a->signal = (uint32_t)signal;
    snprintf(key, sizeof(key), "%s.deviates", what);
    bool ok = tt_get_number(l, n->deviates, key, 1, 1000, &d->deviates);
    d->clears = d->deviates / 2;
    snprintf(key, sizeof(key), "%s.clears", what);
    if (tt_get_number(l, n->clears, key, 0, 1000, &d->clears) && ok && d->clears > d->deviates)
        tt_load_fail(l, TT_EVALUE, n->clears,
                     "%s %s is more than deviates: it would be over while it lasts; write at most that, or leave it out for half", key,
                     tt_show(n->clears).text);
    snprintf(key, sizeof(key), "%s.at_least", what);
    tt_get_amount(l, n->at_least, key, &d->at_least);
    if (!n->at_least && signal >= 0 && ends_with(l->r->signals[signal].name, TT_SV("_ratio"))) d->at_least = 0.01;
    snprintf(key, sizeof(key), "%s.direction", what);
    tt_get_choice(l, n->direction, key, directions, TT_COUNT(directions), &which);
    d->direction = (tt_direction)which;
    return signal >= 0;
}

static void load_baseline(tt_load *l, const tt_doc *map, tt_anomaly_def *a) {
    deviates_nodes n = {0};
    const tt_doc *season = NULL, *history = NULL, *learn = NULL;
    const tt_key keys[] = {{"signal", &n.signal},     {"season", &season},   {"history", &history},     {"learn", &learn},
                           {"deviates", &n.deviates}, {"clears", &n.clears}, {"at_least", &n.at_least}, {"direction", &n.direction}};
    tt_usual_def *b = &a->baseline;
    tt_read_keys(l, map, "baseline", "{signal: p99_ms, season: 1d, deviates: 4}", keys, TT_COUNT(keys));
    if (map->kind != TT_DOC_MAP) return;
    size_t before = l->total;
    bool known = load_deviates(l, &n, map, "baseline", a);
    tt_get_duration(l, season, "baseline.season", TT_SECONDS(600), 28 * day, &b->season_ns);
    b->history_ns = b->season_ns ? 7 * b->season_ns : hour;
    tt_get_duration(l, history, "baseline.history", TT_SECONDS(300), 200 * day, &b->history_ns);
    b->learn_ns = b->season_ns ? 3 * b->season_ns : b->history_ns / 4;
    tt_get_duration(l, learn, "baseline.learn", TT_SECONDS(60), 200 * day, &b->learn_ns);
    if (l->total != before) return;
    if (b->season_ns) {
        int64_t seasons = b->history_ns / b->season_ns, slots = b->season_ns / hour;
        if (seasons < 2 || seasons > TT_KEPT_MAX) {
            tt_load_fail(l, TT_EVALUE, history, "baseline.history %s is %lld seasons: write 2 to %d times the season", tt_show(history).text,
                         (long long)seasons, TT_KEPT_MAX);
            return;
        }
        b->slots = slots < 24 ? 24 : slots > 168 ? 168 : (uint32_t)slots;
        b->slot_ns = b->season_ns / b->slots;
        b->depth = (uint32_t)seasons;
        b->needs = (uint32_t)((b->learn_ns + b->season_ns - 1) / b->season_ns);
    } else {
        b->slots = 1;
        b->depth = 30;
        b->slot_ns = b->history_ns / b->depth;
        b->needs = (uint32_t)((b->learn_ns + b->slot_ns - 1) / b->slot_ns);
    }
    if (b->learn_ns > b->history_ns) {
        tt_load_fail(l, TT_EVALUE, learn ? learn : history,
                     "baseline.learn is longer than history: it would never know enough; write at most the history");
        return;
    }
    if (known && b->slot_ns < 8 * l->r->signals[a->signal].every_ns) {
        char every[32], least[32];
        int64_t parts = b->season_ns ? b->slots : b->depth;
        tt_format_duration(l->r->signals[a->signal].every_ns, every, sizeof(every));
        tt_format_duration(8 * parts * l->r->signals[a->signal].every_ns, least, sizeof(least));
        tt_load_fail(l, TT_EVALUE,
                     b->season_ns ? season
                     : history    ? history
                                  : map,
                     "baseline.%s is too short for a signal that comes every %s: each of its %lld parts needs 8 samples, write at least %s",
                     b->season_ns ? "season" : "history", every, (long long)parts, least);
    }
}

static void load_peers(tt_load *l, const tt_doc *map, tt_anomaly_def *a) {
    deviates_nodes n = {0};
    const tt_doc *by = NULL, *min = NULL;
    const tt_key keys[] = {
        {"signal", &n.signal},       {"by", &by},        {"deviates", &n.deviates}, {"clears", &n.clears}, {"at_least", &n.at_least},
        {"direction", &n.direction}, {"min_peers", &min}};
    tt_read_keys(l, map, "peers", "{signal: error_ratio, by: dc, at_least: 2%}", keys, TT_COUNT(keys));
    if (map->kind != TT_DOC_MAP) return;
    load_deviates(l, &n, map, "peers", a);
    a->min_peers = 2;
    if (!by)
        tt_load_fail(l, TT_EMISSING, map,
                     "peers needs by, the label in which peers differ: by: dc compares a data center with the others of its service");
    tt_get_label(l, by, "peers.by", &a->by);
    if (tt_get_count(l, min, "peers.min_peers", 1, 10000, &a->min_peers) && a->min_peers == 1 && !n.at_least)
        tt_load_fail(
            l, TT_EVALUE, min,
            "one peer has no spread to compare with, so the difference alone decides: say with at_least how much counts, such as at_least: 2%%");
}

/* ---- absent ---- */

static void load_absent(tt_load *l, const tt_doc *map, const tt_doc **hold, tt_anomaly_def *a) {
    const tt_doc *signal = NULL, *inner = NULL, *forget = NULL;
    const tt_key keys[] = {{"signal", &signal}, {"for", &inner}, {"forget", &forget}};
    int k = -1;
    tt_read_keys(l, map, "absent", "{signal: heartbeat, for: 1m}", keys, TT_COUNT(keys));
    if (map->kind != TT_DOC_MAP) return;
    if (!signal) tt_load_fail(l, TT_EMISSING, map, "absent needs the signal that should be there: signal: heartbeat");
    a->for_ns = TT_SECONDS(60);
    a->forget_ns = hour;
    if (inner && *hold) tt_load_fail(l, TT_EVALUE, *hold, "for stands twice, in absent too: keep one of them");
    if (inner) *hold = inner;
    tt_get_duration(l, forget, "absent.forget", TT_SECONDS(60), 7 * day, &a->forget_ns);
    if (!tt_get_signal(l, signal, "absent.signal", &k) || k < 0) return;
    a->signal = (uint32_t)k;
    tt_signal_def *s = &l->r->signals[k];
    if (a->forget_ns > s->forget_ns) s->forget_ns = a->forget_ns;
}

/* ---- the whole ---- */

static void say_what(tt_load *l, tt_anomaly_def *a) {
    char text[400] = "";
    const tt_signal_def *s = &l->r->signals[a->signal];
    static const char *const directions[] = {[TT_ABOVE] = "is above", [TT_BELOW] = "is below", [TT_BOTH] = "is off"};
    tt_buf b;
    switch (a->kind) {
    case TT_ANOMALY_SLO:
        tt_buf_init(&b, 300);
        tt_buf_number(&b, floor(a->slo.objective * 1e8 + 0.5) / 1e6);
        snprintf(text, sizeof(text), TT_SV_FMT " burns the error budget of %s%%", TT_SV_ARG(s->name), b.p ? b.p : "?");
        tt_buf_free(&b);
        break;
    case TT_ANOMALY_BASELINE:
        snprintf(text, sizeof(text), TT_SV_FMT " %s what is usual for it", TT_SV_ARG(s->name), directions[a->deviates.direction]);
        break;
    case TT_ANOMALY_PEERS:
        snprintf(text, sizeof(text), TT_SV_FMT " %s that of its peers by " TT_SV_FMT, TT_SV_ARG(s->name), directions[a->deviates.direction],
                 TT_SV_ARG(a->by));
        break;
    case TT_ANOMALY_ABSENT:
        snprintf(text, sizeof(text), TT_SV_FMT " is absent", TT_SV_ARG(s->name));
        break;
    case TT_ANOMALY_ALERT:
        if (!a->alert.text.n) a->alert.text = TT_SV("any alert with these labels");
        return;
    default:
        return;
    }
    a->text = tt_arena_copy(l->r->arena, tt_sv_of(text));
}

static void remember(tt_load *l, const tt_doc *item, tt_anomaly_def *a) {
    bool burn = a->kind == TT_ANOMALY_SLO;
    if (!burn && a->kind != TT_ANOMALY_BASELINE) return;
    tt_track_def t = {.kind = burn ? TT_TRACK_BURN : TT_TRACK_BASELINE, .signal = a->signal, .anomaly = (uint32_t)l->r->n_anomalies};
    a->track = tt_rules_track(l, item, t);
}

void tt_load_anomaly(tt_load *l, const tt_doc *item) {
    tt_rules *r = l->r;
    const tt_doc *name = NULL, *hold = NULL, *clear = NULL, *clear_for = NULL, *kinds[TT_ANOMALY_KIND_COUNT] = {0};
    tt_key keys[4 + TT_ANOMALY_KIND_COUNT] = {{"name", &name}, {"for", &hold}, {"clear", &clear}, {"clear_for", &clear_for}};
    for (int k = 0; k < TT_ANOMALY_KIND_COUNT; k++) keys[4 + k] = (tt_key){kind_names[k], &kinds[k]};
    tt_read_keys(l, item, "an anomaly", "{name: overload, when: error_ratio > 5%, for: 10s}", keys, TT_COUNT(keys));
    if (item->kind != TT_DOC_MAP) {
        l->anomalies_unsure = true;
        return;
    }
    tt_anomaly_def a = {.track = -1, .pos = tt_load_pos(l, item->pos)};
    tt_anomaly_nodes n = {.item = item, .when = kinds[TT_ANOMALY_WHEN], .clear = clear, .slo = kinds[TT_ANOMALY_SLO]};
    size_t before = l->total;
    if (!name) tt_load_fail(l, TT_EMISSING, item, "an anomaly without a name: add name: overload, or whatever it is; plans refer to it");
    bool named = name && tt_get_name(l, name, "an anomaly's name", &a.name);
    for (size_t i = 0; named && i < r->n_anomalies; i++)
        if (tt_sv_eq(r->anomalies[i].name, a.name))
            named = tt_load_fail(l, TT_EVALUE, name, "anomaly %s is declared twice, first in %s:%u: rename one", tt_show(name).text,
                                 r->anomalies[i].pos.file, r->anomalies[i].pos.line);
    int first = -1;
    for (int k = 0; k < TT_ANOMALY_KIND_COUNT; k++) {
        if (kinds[k] && first >= 0)
            tt_load_fail(l, TT_EVALUE, kinds[k], "an anomaly has %s or %s, not both: make two of it", kind_names[first], kind_names[k]);
        if (kinds[k] && first < 0) first = k;
    }
    if (first < 0) tt_load_fail(l, TT_EMISSING, item, "an anomaly needs when: error_ratio > 5%%, or one of alert, slo, baseline, peers, absent");
    a.kind = (tt_anomaly_kind)(first < 0 ? TT_ANOMALY_WHEN : first);
    if (clear && first > TT_ANOMALY_WHEN)
        tt_load_fail(l, TT_EVALUE, clear, "clear is for when: %s says itself when it is over; leave it out", kind_names[first]);
    int signals[TT_EXPR_SIGNALS_MAX];
    switch (first) {
    case TT_ANOMALY_WHEN:
        a.when = tt_get_expr(l, kinds[TT_ANOMALY_WHEN]);
        if (a.when && tt_expr_signals(a.when, signals)) a.signal = (uint32_t)signals[0];
        if (clear) a.clear = tt_get_expr(l, clear);
        break;
    case TT_ANOMALY_ALERT:
        load_alert(l, kinds[TT_ANOMALY_ALERT], &a);
        break;
    case TT_ANOMALY_SLO:
        load_slo(l, kinds[TT_ANOMALY_SLO], &a, &n);
        break;
    case TT_ANOMALY_BASELINE:
        load_baseline(l, kinds[TT_ANOMALY_BASELINE], &a);
        break;
    case TT_ANOMALY_PEERS:
        load_peers(l, kinds[TT_ANOMALY_PEERS], &a);
        break;
    case TT_ANOMALY_ABSENT:
        load_absent(l, kinds[TT_ANOMALY_ABSENT], &hold, &a);
        break;
    default:
        break;
    }
    tt_get_duration(l, hold, "for", 0, day, &a.for_ns);
    a.clear_ns = a.for_ns;
    tt_get_duration(l, clear_for, "clear_for", 0, day, &a.clear_ns);
    if (!named) {
        l->anomalies_unsure = true;
        tt_anomaly_release(r->matcher, &a);
        return;
    }
    if (l->total == before && !l->signals_unsure) { /* else its signal may be none that was read */
        say_what(l, &a);
        remember(l, item, &a);
    }
    l->anomalies[r->n_anomalies] = n;
    r->anomalies[r->n_anomalies++] = a;
}
