#include "report.h"

#include <jansson.h>
#include <string.h>

void agent_meter_start(agent_meter *m, tt_dp *dp, const char *instance, int64_t now_ns) {
    *m = (agent_meter){.dp = dp, .instance = instance, .at_ns = now_ns, .before = {.size = sizeof m->before}};
    tt_dp_private_identify(dp, &m->who);
    tt_dp_read_stats(dp, &m->before);
    tt_dp_private_latency(dp, m->buckets_before, &m->latency_before_ns);
}

double agent_quantile_ms(const uint64_t counts[TT_DP_PRIVATE_BUCKETS], const uint32_t bounds_ms[TT_DP_PRIVATE_BUCKETS - 1], double share) {
    uint64_t total = 0;
    for (unsigned i = 0; i < TT_DP_PRIVATE_BUCKETS; i++) total += counts[i];
    if (total == 0) return -1;
    double rank = share * (double)total, below = 0;
    for (unsigned i = 0; i < TT_DP_PRIVATE_BUCKETS - 1; i++) {
        double here = (double)counts[i], from = i ? bounds_ms[i - 1] : 0;
        if (here > 0 && below + here >= rank) return from + (bounds_ms[i] - from) * (rank - below) / here;
        below += here;
    }
    return bounds_ms[TT_DP_PRIVATE_BUCKETS - 2]; /* more than the last bound: all that is known */
}

static uint64_t grown(uint64_t now, uint64_t before) {
    return now > before ? now - before : 0;
}

static bool set(json_t *o, const char *key, json_t *v) {
    return json_object_set_new(o, key, v) == 0;
}
static bool set_count(json_t *o, const char *key, uint64_t n) {
    return set(o, key, json_integer((json_int_t)n));
}

static bool set_priorities(json_t *report, const agent_meter *m, const tt_dp_stats *s) {
    const tt_dp_stats *b = &m->before;
    json_t *all = json_object();
    if (!set(report, "by_priority", all)) return false;
    for (unsigned p = 0; p < m->who.n_priorities; p++) {
        json_t *o = json_object();
        if (!set(all, m->who.priorities[p], o)) return false;
        if (!set_count(o, "offered", grown(s->offered[p], b->offered[p])) || !set_count(o, "admitted", grown(s->admitted[p], b->admitted[p])) ||
            !set_count(o, "ok", grown(s->ok[p], b->ok[p])) || !set_count(o, "error", grown(s->error[p], b->error[p])) ||
            !set_count(o, "late", grown(s->late[p], b->late[p])) || !set_count(o, "dropped", grown(s->dropped[p], b->dropped[p])) ||
            !set_count(o, "refused", grown(s->refused[p], b->refused[p])))
            return false;
    }
    return true;
}

static bool set_latency(json_t *report, agent_meter *m) {
    uint64_t buckets[TT_DP_PRIVATE_BUCKETS], counts[TT_DP_PRIVATE_BUCKETS], sum_ns, n = 0;
    tt_dp_private_latency(m->dp, buckets, &sum_ns);
    for (unsigned i = 0; i < TT_DP_PRIVATE_BUCKETS; i++) n += counts[i] = grown(buckets[i], m->buckets_before[i]);
    double mean = n ? (double)grown(sum_ns, m->latency_before_ns) / (double)n / 1e6 : -1;
    memcpy(m->buckets_before, buckets, sizeof buckets);
    m->latency_before_ns = sum_ns;
    const struct {
        const char *key;
        double ms;
    } figures[] = {{"latency_mean_ms", mean},
                   {"latency_p50_ms", agent_quantile_ms(counts, m->who.bucket_ms, 0.5)},
                   {"latency_p99_ms", agent_quantile_ms(counts, m->who.bucket_ms, 0.99)}};
    for (unsigned i = 0; i < sizeof figures / sizeof *figures; i++)
        if (!set(report, figures[i].key, figures[i].ms < 0 ? json_null() : json_real(figures[i].ms))) return false; /* silence is not zero */
    return true;
}

static json_t *text_or_null(const char *text) {
    return text ? json_string(text) : json_null();
}

char *agent_meter_report(agent_meter *m, const agent_standing *st, int64_t now_ns) {
    tt_dp_stats s = {.size = sizeof s};
    tt_dp_read_stats(m->dp, &s);
    int64_t span_ns = now_ns - m->at_ns;
    json_t *report = json_object();
    double busy = (double)(s.busy_ns - m->before.busy_ns);
    json_t *utilization = s.workers && span_ns > 0 && busy >= 0 ? json_real(busy / (double)span_ns / s.workers) : json_null();
    bool done = set(report, "service", json_string(m->who.service)) && set(report, "dc", json_string(m->who.dc)) &&
                set(report, "instance", json_string(m->instance)) && set_count(report, "epoch", st->epoch) && set_count(report, "version", st->version) &&
                set(report, "refused", text_or_null(st->refused)) && set(report, "in_force", text_or_null(st->in_force)) &&
                set(report, "found", text_or_null(st->found)) &&
                set(report, "span_ms", json_integer((span_ns + 500000) / 1000000)) && set(report, "library", json_string(tt_dp_version())) &&
                set_priorities(report, m, &s) && set_count(report, "completed", grown(s.completed, m->before.completed));
    done = set(report, "utilization", utilization) && done;
    done = done && set_count(report, "queued", s.queued) && set_count(report, "inflight", s.inflight) && set_latency(report, m);
    char *text = done ? json_dumps(report, JSON_COMPACT | JSON_REAL_PRECISION(6)) : NULL;
    json_decref(report);
    m->before = s;
    m->at_ns = now_ns;
    return text;
}
