/* What is remembered of series, and what is wrong, as JSON and back: baselines take days to learn, an error budget has windows of hours, and a
 * restart must not forget that somebody said hands off. */
#include "engine_internal.h"

#include <stdlib.h>
#include <string.h>

/* A state is written whole at every event: what is beyond this is learned anew after a restart. About 4,000 series with a daily baseline. */
enum { MEMORY_TEXT_MAX = 8 << 20 };

/* The name under which a track is found again: not of another span, nor of an anomaly that has been changed. */
static void track_name(const tt_rules *r, const tt_track_def *d, tt_buf *out) {
    static const char *const kinds[] = {"change", "rate", "mean", "slo", "baseline"};
    out->n = 0;
    if (d->kind <= TT_TRACK_MEAN)
        tt_buf_printf(out, "%s/%lld/%lld", kinds[d->kind], (long long)d->span_ns, (long long)d->every_ns);
    else
        tt_buf_printf(out, "%s/" TT_SV_FMT "/%08x", kinds[d->kind], TT_SV_ARG(r->anomalies[d->anomaly].name), r->anomalies[d->anomaly].hash);
}

static void put_series(const tt_engine *e, const tt_series *s, tt_time now, tt_buf *b) {
    tt_buf name;
    tt_buf_init(&name, 400);
    tt_buf_put(b, TT_SV("{\"signal\":"));
    tt_buf_json_string(b, e->rules->signals[s->signal].name);
    tt_buf_put(b, TT_SV(",\"labels\":"));
    tt_labels_json(&s->labels, b);
    tt_buf_put(b, TT_SV(",\"tracks\":{"));
    bool first = true;
    for (uint32_t i = e->rules->signals[s->signal].first_track; i < TT_TRACKS_MAX; i = e->rules->tracks[i].next) {
        const tt_track_def *d = &e->rules->tracks[i];
        if (!first) tt_buf_put(b, TT_SV(","));
        first = false;
        track_name(e->rules, d, &name);
        tt_buf_json_string(b, (tt_sv){name.p, name.n});
        tt_buf_put(b, TT_SV(":\""));
        tt_track_save(d, e->rules, tt_series_track(s, d), now, b);
        tt_buf_put(b, TT_SV("\""));
    }
    tt_buf_put(b, TT_SV("}}"));
    tt_buf_free(&name);
}

void tt_memory_save(const tt_engine *e, tt_time now, tt_buf *b) {
    size_t start = b->n;
    bool first = true;
    tt_buf_printf(b, ",\"wall_ms\":%lld,\"memory\":[", (long long)(e->wall.ms + tt_since(now, e->now) / 1000000));
    for (size_t k = 0; k < e->rules->n_signals; k++) {
        if (!e->rules->signals[k].memory) continue;
        for (int32_t i = e->series.of_signal[k]; i >= 0 && b->n - start < MEMORY_TEXT_MAX; i = e->series.s[i].next_of_signal) {
            if (!e->series.s[i].memory) continue;
            if (!first) tt_buf_put(b, TT_SV(","));
            first = false;
            put_series(e, &e->series.s[i], now, b);
        }
    }
    tt_buf_put(b, TT_SV("],\"anomalies\":["));
    tt_anomalies_save(e, now, b);
    tt_buf_put(b, TT_SV("]"));
}

size_t tt_labels_read(const tt_doc *map, tt_label ret[TT_LABELS_MAX]) {
    size_t n = 0;
    for (size_t i = 0; map && map->kind == TT_DOC_MAP && i < map->n && n < TT_LABELS_MAX; i++)
        if (map->items[i].kind == TT_DOC_SCALAR) ret[n++] = (tt_label){map->keys[i].text, map->items[i].text};
    return n;
}

static void get_series(tt_engine *e, const tt_doc *d, tt_time now) {
    const tt_doc *signal = tt_doc_get(d, TT_SV("signal")), *tracks = tt_doc_get(d, TT_SV("tracks"));
    int k = signal && signal->kind == TT_DOC_SCALAR ? tt_rules_signal(e->rules, signal->text) : -1;
    if (k < 0 || !e->rules->signals[k].memory) return;
    tt_label l[TT_LABELS_MAX];
    tt_series *s = tt_series_expect(e, (uint32_t)k, l, tt_labels_read(tt_doc_get(d, TT_SV("labels")), l));
    if (!s || !s->memory) return;
    tt_buf name;
    tt_buf_init(&name, 400);
    for (uint32_t i = e->rules->signals[k].first_track; i < TT_TRACKS_MAX; i = e->rules->tracks[i].next) {
        const tt_track_def *t = &e->rules->tracks[i];
        track_name(e->rules, t, &name);
        const tt_doc *text = tt_doc_get(tracks, (tt_sv){name.p, name.n});
        if (text && text->kind == TT_DOC_SCALAR) (void)tt_track_restore(t, e->rules, tt_series_track(s, t), text->text, now);
    }
    tt_buf_free(&name);
}

void tt_memory_restore(tt_engine *e, const tt_doc *saved, tt_time now) {
    const tt_doc *memory = tt_doc_get(saved, TT_SV("memory")), *anomalies = tt_doc_get(saved, TT_SV("anomalies")),
                 *wall = tt_doc_get(saved, TT_SV("wall_ms"));
    double ms = 0;
    if (e->now.ns < now.ns) e->now = now; /* what is expected from here on is missing since now */
    for (size_t i = 0; memory && memory->kind == TT_DOC_SEQ && i < memory->n; i++) get_series(e, &memory->items[i], now);
    for (size_t i = 0; anomalies && anomalies->kind == TT_DOC_SEQ && i < anomalies->n; i++) tt_anomaly_restore(e, &anomalies->items[i], now);
    if (!wall || wall->kind != TT_DOC_SCALAR || !tt_parse_number(wall->text, &ms)) return;
    e->saved_wall.ms = (int64_t)ms;
    e->restored_at = now;
}

void tt_memory_wake(tt_engine *e) {
    static const int64_t longest = TT_SECONDS(400LL * 86400);
    int64_t ms = e->wall.ms - e->saved_wall.ms;
    bool known = e->saved_wall.ms > 0 && ms > 0 && ms < longest / 1000000;
    int64_t slept = known ? TT_MS(ms) - tt_since(e->now, e->restored_at) : 0;
    e->saved_wall.ms = 0;
    if (slept < TT_SECONDS(1)) return;
    for (uint32_t i = 0; i < e->series.n; i++) {
        const tt_series *s = &e->series.s[i];
        if (!s->used || !s->memory) continue;
        for (uint32_t k = e->rules->signals[s->signal].first_track; k < TT_TRACKS_MAX; k = e->rules->tracks[k].next)
            tt_track_slept(&e->rules->tracks[k], e->rules, tt_series_track(s, &e->rules->tracks[k]), slept);
    }
}
