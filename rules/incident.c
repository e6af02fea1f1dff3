/* Incident documents: what they say, what they leave to the seed, and the mesh they play on when they bring none of their own. */
#include "model_internal.h"
#include "rehearse_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "plan_internal.h"

/* What a document leaves open: drawn evenly from a range. */
typedef struct {
    double low, high;
} range;

typedef struct {
    tt_model_fault_kind kind;
    bool any_dc; /* one data center, the same for every such fault of a run */
    int service, dc, instance;
    range at, lasts, amount, rise, fall, period; /* seconds; the amount as the kind says */
} fault;

struct tt_incident {
    tt_arena *arena;
    const char *name, *title;
    uint32_t class;
    bool false_alarm;
    int64_t duration_ns;
    tt_model_spec spec; /* without faults */
    uint32_t n_faults;
    fault faults[TT_MODEL_FAULTS];
    bool own_timing; /* scrape, window and tick as written; else they rotate with the seed */
    int64_t scrape_ns, window_ns, tick_ns;
    range ingest_s, apply_s;
    int64_t told_scrape_ns, told_ingest_ns, told_apply_ns; /* 0: the truth */
    double table[TT_MODEL_DCS];                            /* capacity the rules are told, x the true one; 0: nothing is told */
};

/* ---- the mesh that most incidents play on ---- */

/* Three data centers at 62 % of what core can serve. A tier holds a worker while what it calls works, and the entry has enough of them to overload
 * core but not enough to wait for it. */
static void default_mesh(tt_model_spec *m) {
    *m = (tt_model_spec){
        .n_services = 4,
        .services =
            {{.name = "api",
              .instances = 4,
              .workers = 116,
              .cpus = 0.75,
              .own_ms = 3,
              .queue_max = 3000,
              .n_calls = 1,
              .calls = {{.service = 1, .per_request = 1}}},
             {.name = "core",
              .instances = 5,
              .workers = 200,
              .cpus = 2,
              .own_ms = 20,
              .queue_max = 3000,
              .n_calls = 2,
              .calls = {{.service = 2, .per_request = 1, .optional = true, .at_level = {0.5, 0}, .value_at = {0.97, 0.90}, .cost_at = {0.88, 0.75}},
                        {.service = 3, .per_request = 0.2, .cached = true}}},
             {.name = "rec", .instances = 3, .workers = 8, .own_ms = 15, .queue_max = 2000},
             {.name = "db", .instances = 2, .workers = 32, .cpus = 2, .own_ms = 18, .queue_max = 1300}},
        .n_dcs = 3,
        .dcs = {"dc-a", "dc-b", "dc-c"},
        .home = {1.0 / 3, 1.0 / 3, 1.0 / 3},
        .n_priorities = 3,
        .priorities = {"critical", "normal", "batch"},
        .mix = {0.25, 0.45, 0.30},
        .demand_rps = 930,
        .timeout_s = 1,
        .retry_failed = 0.6,
        .retry_refused = 0.25,
        .queue_full_s = 1,
        .cache_s = 40,
        .newest_first = 0.25,
        .noise = 0.015,
        .gap_ratio = 0.03,
        .nan_ratio = 0.005,
    };
}

/* ---- values ---- */

/* "330s..390s", "1.75+-8%", or one value. `unit`: what turns a text into a number. */
typedef bool (*unit_fn)(tt_sv s, double *ret);

static bool unit_seconds(tt_sv s, double *ret) {
    int64_t ns;
    if (!tt_parse_duration(s, &ns)) return false;
    *ret = (double)ns / 1e9;
    return true;
}
static bool unit_number(tt_sv s, double *ret) {
    if (s.n && s.p[s.n - 1] == '%') return tt_parse_number((tt_sv){s.p, s.n - 1}, ret) && (*ret /= 100, true);
    return tt_parse_number(s, ret);
}

static tt_sv trimmed(tt_sv s) {
    while (s.n && s.p[0] == ' ') s.p++, s.n--;
    while (s.n && s.p[s.n - 1] == ' ') s.n--;
    return s;
}

static bool get_range(tt_load *l, const tt_doc *node, const char *what, const char *example, unit_fn unit, double min, double max, range *ret) {
    if (!node) return true;
    if (node->kind != TT_DOC_SCALAR)
        return tt_load_fail(l, TT_EVALUE, node, "%s is one value or a range, such as %s, not %s", what, example, tt_show(node).text);
    tt_sv s = node->text;
    size_t cut = 0;
    range r;
    while (cut + 1 < s.n && !(s.p[cut] == '.' && s.p[cut + 1] == '.') && !(s.p[cut] == '+' && s.p[cut + 1] == '-')) cut++;
    tt_sv a = s, b = {0};
    bool spread = false;
    if (cut + 1 < s.n) {
        a = trimmed((tt_sv){s.p, cut});
        b = trimmed((tt_sv){s.p + cut + 2, s.n - cut - 2});
        spread = s.p[cut] == '+';
    }
    bool ok = unit(a, &r.low);
    r.high = r.low;
    if (ok && spread) {
        double by;
        ok = b.n && b.p[b.n - 1] == '%' && unit_number(b, &by) && by >= 0 && by <= 1;
        if (ok) r = (range){r.low * (1 - by), r.low * (1 + by)};
    } else if (ok && b.p)
        ok = unit(b, &r.high) && r.high >= r.low;
    if (!ok) return tt_load_fail(l, TT_EVALUE, node, "%s %s: write one value, a range or a spread, such as %s", what, tt_show(node).text, example);
    if (!(r.low >= min && r.high <= max)) {
        char low[32], high[32];
        if (unit == unit_seconds) {
            tt_format_duration((int64_t)(min * 1e9), low, sizeof low);
            tt_format_duration((int64_t)(max * 1e9), high, sizeof high);
        } else {
            snprintf(low, sizeof low, "%d", (int)min);
            snprintf(high, sizeof high, "%d", (int)max);
        }
        return tt_load_fail(l, TT_EVALUE, node, "%s %s is out of range: write %s to %s", what, tt_show(node).text, low, high);
    }
    *ret = r;
    return true;
}

static int named(const char *const names[], uint32_t n, tt_sv name) {
    for (uint32_t k = 0; k < n; k++)
        if (tt_sv_eq(tt_sv_of(names[k]), name)) return (int)k;
    return -1;
}

static bool get_index(tt_load *l, const tt_doc *node, const char *what, const char *const names[], uint32_t n, int *ret) {
    size_t k = 0;
    if (!node) return true;
    if (!tt_get_choice(l, node, what, names, n, &k)) return false;
    *ret = (int)k;
    return true;
}

/* A map of names to shares that sum to 1. Names are made here. */
static bool get_shares(tt_load *l, const tt_doc *map, const char *what, const char *example, uint32_t max, const char *names[], double share[],
                       uint32_t *n) {
    if (!map) return true;
    if (map->kind != TT_DOC_MAP || !map->n || map->n > max)
        return tt_load_fail(l, TT_EVALUE, map, "%s is a map of at most %u names to their shares, such as %s", what, max, example);
    double sum = 0;
    for (size_t k = 0; k < map->n; k++) {
        tt_sv name = {0};
        if (!tt_get_name(l, &map->keys[k], what, &name) || !tt_get_ratio(l, &map->items[k], what, true, &share[k])) return false;
        if (name.n >= 64) return tt_load_fail(l, TT_ELIMIT, &map->keys[k], "%s: a name here has at most 63 bytes", what);
        names[k] = name.p;
        sum += share[k];
    }
    if (fabs(sum - 1) > 0.0101) return tt_load_fail(l, TT_EVALUE, map, "the shares of %s do not sum to 100%%", what);
    for (size_t k = 0; k < map->n; k++) share[k] /= sum;
    *n = (uint32_t)map->n;
    return true;
}

/* ---- mesh ---- */

static void load_levels(tt_load *l, const tt_doc *list, const char *what, double ret[TT_MODEL_LEVELS]) {
    if (!list || !tt_read_list(l, list, what, "[97%, 90%]", TT_MODEL_LEVELS)) return;
    for (size_t k = 0; k < list->n; k++) tt_get_ratio(l, &list->items[k], what, true, &ret[k]);
}

static void load_call(tt_load *l, const tt_doc *map, const tt_model_spec *m, uint32_t caller, tt_model_call *c) {
    const tt_doc *service = NULL, *per = NULL, *optional = NULL, *cached = NULL, *made = NULL, *value = NULL, *cost = NULL, *retries = NULL;
    const tt_key keys[] = {{"service", &service}, {"retries", &retries}, {"per_request", &per}, {"optional", &optional},
                           {"cached", &cached},   {"made", &made},       {"value", &value},     {"cost", &cost}};
    static const char example[] = "{service: db, per_request: 0.2}";
    const char *names[TT_MODEL_SERVICES];
    int which = -1;
    c->per_request = 1;
    if (!tt_read_keys(l, map, "a call", example, keys, TT_COUNT(keys))) return;
    for (uint32_t s = 0; s < m->n_services; s++) names[s] = m->services[s].name;
    if (!service)
        tt_load_fail(l, TT_EMISSING, map, "a call needs the service it goes to: %s", example);
    else if (get_index(l, service, "a call's service", names, m->n_services, &which) && which >= 0) {
        if ((uint32_t)which <= caller)
            tt_load_fail(l, TT_EVALUE, service, "%s calls %s, which stands at or above it: put services in the order they are called", names[caller],
                         names[which]);
        c->service = (uint32_t)which;
    }
    tt_get_number(l, per, "per_request", 0.001, 20, &c->per_request);
    tt_get_count(l, retries, "retries", 0, 5, &c->retries);
    tt_get_bool(l, optional, "optional", &c->optional);
    tt_get_bool(l, cached, "cached", &c->cached);
    if (c->cached && c->per_request >= 1 && per)
        tt_load_fail(l, TT_EVALUE, per, "a cached call's per_request is the share that misses a warm cache: write less than 1");
    if (c->cached && !per) c->per_request = 0.2;
    if (!c->optional && (made || value || cost))
        tt_load_fail(l, TT_EVALUE, map, "made, value and cost are of an optional call's degrade levels: add optional: true, or leave them out");
    load_levels(l, made, "made", c->at_level);
    load_levels(l, value, "value", c->value_at);
    load_levels(l, cost, "cost", c->cost_at);
    size_t n = value && value->kind == TT_DOC_SEQ ? value->n : 0;
    if (c->optional && !n)
        tt_load_fail(l, TT_EMISSING, map, "an optional call needs value: what an answer is worth at each degrade level, such as [97%%, 90%%]");
    if (n && ((made && made->n != n) || (cost && cost->n != n)))
        tt_load_fail(l, TT_EVALUE, map, "value, made and cost have one member for each degrade level: as many in each");
    for (size_t k = 0; k < n && k < TT_MODEL_LEVELS; k++)
        if (c->value_at[k] <= 0) tt_load_fail(l, TT_EVALUE, &value->items[k], "value 0%% would be no answer: write what it is worth");
}

static void load_service(tt_load *l, const tt_doc *map, tt_model_spec *m, uint32_t at) {
    tt_model_service *s = &m->services[at];
    const tt_doc *name = NULL, *instances = NULL, *workers = NULL, *cpus = NULL, *own = NULL, *queue = NULL, *calls = NULL, *home = NULL,
                 *timeout = NULL, *base = NULL;
    const tt_key keys[] = {{"name", &name}, {"timeout", &timeout}, {"base_ms", &base},    {"instances", &instances}, {"workers", &workers},
                           {"cpus", &cpus}, {"own_ms", &own},      {"queue_max", &queue}, {"calls", &calls},         {"home", &home}};
    static const char example[] = "{name: api, instances: 4, workers: 100, own_ms: 3}";
    if (!tt_read_keys(l, map, "a service", example, keys, TT_COUNT(keys))) return;
    s->instances = 2, s->workers = 8, s->own_ms = 0;
    tt_get_count(l, instances, "instances", 1, TT_MODEL_INSTANCES, &s->instances);
    tt_get_count(l, workers, "workers", 1, 100000, &s->workers);
    tt_get_number(l, cpus, "cpus", 0.001, 10000, &s->cpus);
    if (!own) tt_load_fail(l, TT_EMISSING, map, "a service needs own_ms, the worker time of a request without its calls: %s", example);
    tt_get_number(l, own, "own_ms", 0.01, 60000, &s->own_ms);
    s->queue_max = 6000 * (double)s->instances * (s->cpus > 0 ? s->cpus : s->workers) / fmax(s->own_ms, 0.01); /* six seconds of work */
    tt_get_number(l, queue, "queue_max", 1, 1e7, &s->queue_max);
    int64_t ns = 0;
    if (tt_get_duration(l, timeout, "timeout", TT_MS(50), TT_SECONDS(10), &ns) && timeout) s->timeout_s = (double)ns / 1e9;
    tt_get_number(l, base, "base_ms", 0.1, 10000, &s->base_ms);
    const char *names[TT_MODEL_DCS] = {0};
    double share[TT_MODEL_DCS] = {0};
    uint32_t n = 0;
    if (home && get_shares(l, home, "home", "{dc-a: 100%}", TT_MODEL_DCS, names, share, &n)) {
        s->homed = true;
        for (uint32_t k = 0; k < n; k++) {
            int d = named(m->dcs, m->n_dcs, tt_sv_of(names[k]));
            if (d < 0)
                tt_load_fail(l, TT_EUNKNOWN, &home->keys[k], "home names %s, which is no data center of this mesh", tt_show(&home->keys[k]).text);
            else
                s->home[d] = share[k];
        }
        if (at == 0) tt_load_fail(l, TT_EVALUE, home, "%s is the entry: its clients' homes are the mesh's dcs", s->name);
    }
    if (!calls || !tt_read_list(l, calls, "calls", "[{service: db}]", TT_MODEL_CALLS)) return;
    for (size_t k = 0; k < calls->n; k++) load_call(l, &calls->items[k], m, at, &s->calls[s->n_calls++]);
}

static void load_mesh(tt_load *l, const tt_doc *map, tt_model_spec *m) {
    const tt_doc *dcs = NULL, *priorities = NULL, *timeout = NULL, *failed = NULL, *refused = NULL, *newest = NULL, *full = NULL, *cache = NULL,
                 *attempts = NULL, *after = NULL, *services = NULL;
    const tt_key keys[] = {{"attempts", &attempts},     {"retry_after", &after},   {"dcs", &dcs},
                           {"priorities", &priorities}, {"timeout", &timeout},     {"retry_failed", &failed},
                           {"retry_refused", &refused}, {"newest_first", &newest}, {"queue_full", &full},
                           {"cache", &cache},           {"services", &services}};
    static const char example[] = "{dcs: {dc-a: 50%, dc-b: 50%}, services: [{name: front, own_ms: 5}]}";
    int64_t ns = 0;
    tt_read_keys(l, map, "mesh", example, keys, TT_COUNT(keys));
    if (map->kind != TT_DOC_MAP) return;
    get_shares(l, dcs, "dcs", "{dc-a: 50%, dc-b: 50%}", TT_MODEL_DCS, m->dcs, m->home, &m->n_dcs);
    get_shares(l, priorities, "priorities", "{critical: 25%, normal: 45%, batch: 30%}", TT_MODEL_PRIORITIES, m->priorities, m->mix, &m->n_priorities);
    if (tt_get_duration(l, timeout, "timeout", TT_MS(200), TT_SECONDS(10), &ns) && timeout) m->timeout_s = m->queue_full_s = (double)ns / 1e9;
    tt_get_ratio(l, failed, "retry_failed", true, &m->retry_failed);
    tt_get_ratio(l, refused, "retry_refused", true, &m->retry_refused);
    tt_get_count(l, attempts, "attempts", 1, TT_MODEL_ATTEMPTS, &m->attempts);
    if (tt_get_duration(l, after, "retry_after", TT_MS(100), TT_SECONDS(2), &ns) && after) m->retry_s = (double)ns / 1e9;
    if (m->retry_failed > 0.95 && !m->attempts)
        tt_load_fail(l, TT_EVALUE, failed, "retry_failed above 95%% never ends: write less, or say how many attempts there are");
    tt_get_ratio(l, newest, "newest_first", true, &m->newest_first);
    if (tt_get_duration(l, full, "queue_full", 0, TT_SECONDS(10), &ns) && full) m->queue_full_s = fmin((double)ns / 1e9, m->timeout_s);
    if (tt_get_duration(l, cache, "cache", TT_SECONDS(1), TT_SECONDS(3600), &ns) && cache) m->cache_s = (double)ns / 1e9;
    if (!services || !tt_read_list(l, services, "services", "[{name: front, own_ms: 5}]", TT_MODEL_SERVICES)) return;
    if (!services->n) {
        tt_load_fail(l, TT_EVALUE, services, "services is empty: the first one is the entry that clients call");
        return;
    }
    memset(m->services, 0, sizeof m->services);
    m->n_services = (uint32_t)services->n;
    for (uint32_t s = 0; s < m->n_services; s++) { /* names first: a call may go to any below */
        const tt_doc *name = tt_doc_get(&services->items[s], TT_SV("name"));
        tt_sv v = {0};
        m->services[s].name = "";
        if (!name)
            tt_load_fail(l, TT_EMISSING, &services->items[s], "a service needs a name");
        else if (tt_get_name(l, name, "a service's name", &v)) {
            for (uint32_t k = 0; k < s; k++)
                if (tt_sv_eq(v, tt_sv_of(m->services[k].name))) tt_load_fail(l, TT_EVALUE, name, "service %s is there twice", tt_show(name).text);
            if (v.n >= 64) tt_load_fail(l, TT_ELIMIT, name, "a service's name here has at most 63 bytes");
            m->services[s].name = v.p;
        }
    }
    for (uint32_t s = 0; s < m->n_services; s++) load_service(l, &services->items[s], m, s);
}

/* ---- faults ---- */

static const struct {
    tt_model_fault_kind kind;
    double min, max;
    bool amount; /* must be said */
} bounds[] = {
    {TT_FAULT_DEMAND, 0, 20, true},    {TT_FAULT_SLOW, 0.05, 1000, true},  {TT_FAULT_CAPACITY, 0.001, 10, true}, {TT_FAULT_ERRORS, 0, 1, true},
    {TT_FAULT_HANG, 0, 1, true},       {TT_FAULT_DOWN, 1, 1, false},       {TT_FAULT_BAD_INSTANCE, 0, 1, false}, {TT_FAULT_CANARY, 0, 1, true},
    {TT_FAULT_RESTART, 1, 1, false},   {TT_FAULT_CACHE_WIPE, 0, 1, false}, {TT_FAULT_TAIL, 0, 1, true},          {TT_FAULT_BOTS, 0, 10, true},
    {TT_FAULT_RETRIES, 0, 0.95, true}, {TT_FAULT_BLIND, 1, 1, false},      {TT_FAULT_GAPS, 0, 1, true},          {TT_FAULT_NANS, 0, 1, true},
    {TT_FAULT_STALE, 1, 1, false},     {TT_FAULT_LIE, 0, 1, true},         {TT_FAULT_MISREAD, 0, 10, true},      {TT_FAULT_TAKEN, 0, 1, true},
    {TT_FAULT_SILENT, 1, 1, false},    {TT_FAULT_REFUSED, 1, 1, false},    {TT_FAULT_LATE, 0, 600, true},        {TT_FAULT_RIVAL, 1, 600, true},
    {TT_FAULT_CLOCK, -1e6, 1e6, true}, {TT_FAULT_CALLS, 0, 100, true},
};

_Static_assert(TT_COUNT(bounds) == TT_FAULT_COUNT, "every kind has its bounds");

static bool needs_instance(tt_model_fault_kind k) {
    return k == TT_FAULT_BAD_INSTANCE || k == TT_FAULT_CANARY || k == TT_FAULT_RESTART;
}

static void load_fault(tt_load *l, const tt_doc *map, tt_incident *i, fault *f) {
    const tt_doc *kind = NULL, *at = NULL, *lasts = NULL, *amount = NULL, *service = NULL, *dc = NULL, *instance = NULL, *rise = NULL, *fall = NULL,
                 *every = NULL;
    const tt_key keys[] = {{"kind", &kind},         {"at", &at},     {"for", &lasts}, {"amount", &amount}, {"service", &service}, {"dc", &dc},
                           {"instance", &instance}, {"rise", &rise}, {"fall", &fall}, {"every", &every}};
    static const char example[] = "{kind: demand, at: 150s, for: 330s..390s, amount: 1.75+-8%}";
#define NAME(id, name, none) name,
    static const char *const kinds[] = {TT_MODEL_FAULT_KINDS(NAME)};
#undef NAME
    const char *names[TT_MODEL_SERVICES];
    int k = -1;
    *f = (fault){.service = -1, .dc = -1, .instance = -1, .at = {150, 170}, .lasts = {330, 390}, .amount = {1, 1}};
    if (!tt_read_keys(l, map, "a fault", example, keys, TT_COUNT(keys))) return;
    if (!kind) {
        tt_load_fail(l, TT_EMISSING, map, "a fault needs its kind: %s", example);
        return;
    }
    if (!get_index(l, kind, "kind", kinds, TT_FAULT_COUNT, &k) || k < 0) return;
    f->kind = (tt_model_fault_kind)k;
    get_range(l, at, "at", "140s..160s", unit_seconds, 0, TT_REHEARSAL_SECONDS_MAX, &f->at);
    get_range(l, lasts, "for", "330s..390s", unit_seconds, 0.1, TT_REHEARSAL_SECONDS_MAX, &f->lasts);
    get_range(l, rise, "rise", "60s", unit_seconds, 0, TT_REHEARSAL_SECONDS_MAX, &f->rise);
    get_range(l, fall, "fall", "200s", unit_seconds, 0, TT_REHEARSAL_SECONDS_MAX, &f->fall);
    get_range(l, every, "every", "50s..100s", unit_seconds, 1, TT_REHEARSAL_SECONDS_MAX, &f->period);
    for (size_t b = 0; b < TT_COUNT(bounds); b++) {
        if (bounds[b].kind != f->kind) continue;
        if (!amount && bounds[b].amount)
            tt_load_fail(l, TT_EMISSING, map, "a fault of kind %s needs its amount (docs/model.md says of what): %s", kinds[k], example);
        if (amount) get_range(l, amount, "amount", "1.75+-8%, 30% or 0.2..0.4", unit_number, bounds[b].min, bounds[b].max, &f->amount);
    }
    for (uint32_t s = 0; s < i->spec.n_services; s++) names[s] = i->spec.services[s].name;
    get_index(l, service, "service", names, i->spec.n_services, &f->service);
    if (dc && dc->kind == TT_DOC_SCALAR && tt_sv_eq(dc->text, TT_SV("any")))
        f->any_dc = true;
    else
        get_index(l, dc, "dc", i->spec.dcs, i->spec.n_dcs, &f->dc);
    uint32_t n = 0;
    if (instance && tt_get_count(l, instance, "instance", 1, TT_MODEL_INSTANCES, &n)) {
        f->instance = (int)n - 1;
        if (f->service >= 0 && n > i->spec.services[f->service].instances)
            tt_load_fail(l, TT_EVALUE, instance, "%s has %u instances in a data center: write 1 to %u", names[f->service],
                         i->spec.services[f->service].instances, i->spec.services[f->service].instances);
    }
    if (needs_instance(f->kind) && (!instance || !service))
        tt_load_fail(l, TT_EMISSING, map, "a fault of kind %s is one instance's: add service and instance (and dc, or it is so in every data center)",
                     kinds[k]);
}

/* ---- the document ---- */

static void load_monitoring(tt_load *l, const tt_doc *map, tt_incident *i) {
    const tt_doc *scrape = NULL, *window = NULL, *tick = NULL, *ingest = NULL, *gaps = NULL, *nans = NULL, *noise = NULL, *told_s = NULL,
                 *told_i = NULL;
    const tt_key keys[] = {{"scrape", &scrape}, {"window", &window}, {"tick", &tick},          {"ingest", &ingest},     {"gaps", &gaps},
                           {"nans", &nans},     {"noise", &noise},   {"told_scrape", &told_s}, {"told_ingest", &told_i}};
    tt_read_keys(l, map, "monitoring", "{scrape: 5s, window: 20s, tick: 5s}", keys, TT_COUNT(keys));
    if (map->kind != TT_DOC_MAP) return;
    if (scrape || window || tick) {
        i->own_timing = true;
        if (!scrape || !window || !tick) {
            tt_load_fail(l, TT_EMISSING, map, "scrape, window and tick go together: write all three, or none to have them rotate with the seed");
            return;
        }
        tt_get_duration(l, scrape, "scrape", TT_MS(500), TT_SECONDS(300), &i->scrape_ns);
        tt_get_duration(l, window, "window", TT_SECONDS(1), TT_SECONDS(600), &i->window_ns);
        tt_get_duration(l, tick, "tick", TT_MS(100), TT_SECONDS(60), &i->tick_ns);
        if (i->scrape_ns > 0 && i->window_ns < 2 * i->scrape_ns)
            tt_load_fail(l, TT_EVALUE, window, "window %s holds fewer than two scrapes: make it at least twice the scrape interval",
                         tt_show(window).text);
        if (i->scrape_ns > 0 && i->window_ns / i->scrape_ns > 90)
            tt_load_fail(l, TT_EVALUE, window, "window %s holds more than 90 scrapes: make it shorter, or scrape less often", tt_show(window).text);
    }
    get_range(l, ingest, "ingest", "1s..3s", unit_seconds, 0, 120, &i->ingest_s);
    tt_get_ratio(l, gaps, "gaps", true, &i->spec.gap_ratio);
    tt_get_ratio(l, nans, "nans", true, &i->spec.nan_ratio);
    tt_get_ratio(l, noise, "noise", true, &i->spec.noise);
    tt_get_duration(l, told_s, "told_scrape", TT_MS(500), TT_SECONDS(300), &i->told_scrape_ns);
    tt_get_duration(l, told_i, "told_ingest", TT_MS(1), TT_SECONDS(120), &i->told_ingest_ns);
}

static void load_mesh_side(tt_load *l, const tt_doc *map, tt_incident *i) {
    const tt_doc *apply = NULL, *told = NULL;
    const tt_key keys[] = {{"apply", &apply}, {"told_apply", &told}};
    tt_read_keys(l, map, "mesh_side", "{apply: 200ms..5s}", keys, TT_COUNT(keys));
    get_range(l, apply, "apply", "200ms..5s", unit_seconds, 0, 120, &i->apply_s);
    tt_get_duration(l, told, "told_apply", TT_MS(1), TT_SECONDS(120), &i->told_apply_ns);
}

static void load_table(tt_load *l, const tt_doc *map, tt_incident *i) {
    if (map->kind != TT_DOC_MAP) {
        tt_load_fail(l, TT_EVALUE, map,
                     "table is a map of data centers to what the rules are told of their capacity, such as {dc-a: 130%%, dc-b: 70%%}");
        return;
    }
    for (size_t k = 0; k < map->n; k++) {
        int d = named(i->spec.dcs, i->spec.n_dcs, map->keys[k].text);
        range r = {0, 0};
        if (d < 0)
            tt_load_fail(l, TT_EUNKNOWN, &map->keys[k], "table names %s, which is no data center of this mesh", tt_show(&map->keys[k]).text);
        else if (get_range(l, &map->items[k], "table", "130%", unit_number, 0.05, 20, &r))
            i->table[d] = r.low;
    }
}

static void load(tt_load *l, const tt_doc *doc, tt_incident *i) {
    const tt_doc *name = NULL, *title = NULL, *class = NULL, *alarm = NULL, *mesh = NULL, *demand = NULL, *duration = NULL, *faults = NULL,
                 *monitoring = NULL, *side = NULL, *table = NULL;
    const tt_key keys[] = {{"name", &name},     {"title", &title},           {"class", &class},   {"false_alarm", &alarm},
                           {"mesh", &mesh},     {"demand_rps", &demand},     {"table", &table},   {"duration", &duration},
                           {"faults", &faults}, {"monitoring", &monitoring}, {"mesh_side", &side}};
    static const char example[] = "{name: surge, title: Demand rises, faults: [{kind: demand, amount: 1.75}]}";
    tt_sv text = {0};
    tt_read_keys(l, doc, "an incident", example, keys, TT_COUNT(keys));
    if (doc->kind != TT_DOC_MAP) return;
    if (!name)
        tt_load_fail(l, TT_EMISSING, doc, "an incident needs a name, such as name: surge");
    else if (tt_get_name(l, name, "name", &text))
        i->name = text.p;
    i->title = i->name;
    text = (tt_sv){0};
    if (title && tt_get_text(l, title, "title", "Demand rises to 1.75 times the usual", &text)) i->title = text.p;
    tt_get_count(l, class, "class", 1, 99, &i->class);
    tt_get_bool(l, alarm, "false_alarm", &i->false_alarm);
    size_t before = l->total;
    if (mesh) load_mesh(l, mesh, &i->spec);
    if (l->total != before) return; /* what follows names services and data centers of the mesh */
    tt_get_number(l, demand, "demand_rps", 1, 1e6, &i->spec.demand_rps);
    if (table) load_table(l, table, i);
    tt_get_duration(l, duration, "duration", TT_SECONDS(10), TT_SECONDS(TT_REHEARSAL_SECONDS_MAX), &i->duration_ns);
    if (monitoring) load_monitoring(l, monitoring, i);
    if (side) load_mesh_side(l, side, i);
    if (faults && tt_read_list(l, faults, "faults", "[{kind: demand, amount: 1.75}]", TT_MODEL_FAULTS))
        for (size_t k = 0; k < faults->n; k++) load_fault(l, &faults->items[k], i, &i->faults[i->n_faults++]);
}

tt_incident *tt_incident_load(const tt_doc *doc, tt_err errs[], size_t max_errs, size_t *n_errs) {
    tt_arena *arena = tt_arena_new();
    tt_incident *i = arena ? tt_arena_alloc(arena, sizeof *i) : NULL;
    tt_rules holder = {.arena = arena}; /* getters copy texts into the arena of rules */
    tt_load l = {.r = &holder, .errs = errs, .max_errs = max_errs};
    *n_errs = 0;
    if (!i) {
        tt_load_no_memory(&l);
        *n_errs = l.n_errs;
        tt_arena_free(arena);
        return NULL;
    }
    *i = (tt_incident){.arena = arena, .name = "", .title = "", .duration_ns = TT_SECONDS(900), .ingest_s = {1, 3}, .apply_s = {0.2, 5}};
    default_mesh(&i->spec);
    load(&l, doc, i);
    *n_errs = l.n_errs;
    if (!l.total) return i;
    tt_arena_free(arena);
    return NULL;
}

void tt_incident_free(tt_incident *i) {
    if (i) tt_arena_free(i->arena);
}
const char *tt_incident_name(const tt_incident *i) {
    return i->name;
}
const char *tt_incident_title(const tt_incident *i) {
    return i->title;
}
uint32_t tt_incident_class(const tt_incident *i) {
    return i->class;
}
bool tt_incident_false_alarm(const tt_incident *i) {
    return i->false_alarm;
}
int64_t tt_incident_duration_ns(const tt_incident *i) {
    return i->duration_ns;
}

/* ---- as rules would declare it ---- */

static void put_rounded(tt_buf *out, double v, double to) {
    tt_buf_number(out, floor(v * to + 0.5) / to);
}

void tt_incident_services(const tt_incident *i, bool inner_loop, tt_buf *out) {
    const tt_model_spec *m = &i->spec;
    tt_model *model = tt_model_new(m, 0, (tt_time){0}); /* the mesh when all is well */
    if (!model) {
        out->failed = true;
        return;
    }
    for (uint32_t s = 0; s < m->n_services; s++) /* with its caches warm for any load */
        for (uint32_t d = 0; d < m->n_dcs; d++) model->site[s][d].warm_rps = 1e12;
    tt_buf_put(out, TT_SV("priorities: ["));
    for (uint32_t p = 0; p < m->n_priorities; p++) tt_buf_printf(out, "%s%s", p ? ", " : "", m->priorities[p]);
    tt_buf_put(out, TT_SV("]\nservices:\n"));
    for (uint32_t s = 0; s < m->n_services; s++) {
        const tt_model_service *def = &m->services[s];
        tt_buf_printf(out, "  - name: %s\n    dcs: {", def->name);
        for (uint32_t d = 0; d < m->n_dcs; d++) {
            tt_buf_printf(out, "%s%s: {weight: ", d ? ", " : "", m->dcs[d]);
            put_rounded(out, def->homed ? def->home[d] : m->home[d], 1e6);
            if (i->table[d] > 0 && s == 0) {
                tt_buf_put(out, TT_SV(", capacity_rps: "));
                put_rounded(out, tt_model_capacity(model, d, 0) * i->table[d], 1);
            }
            tt_buf_put(out, TT_SV("}"));
        }
        tt_buf_printf(out, "}\n    inner_loop: %s\n", inner_loop ? "true" : "false");
        if (!def->n_calls) continue;
        tt_buf_put(out, TT_SV("    calls: ["));
        for (uint32_t k = 0; k < def->n_calls; k++) tt_buf_printf(out, "%s%s", k ? ", " : "", m->services[def->calls[k].service].name);
        tt_buf_put(out, TT_SV("]\n"));
        bool any = false;
        for (uint32_t k = 0; k < def->n_calls; k++) {
            const tt_model_call *c = &def->calls[k];
            if (!c->optional) continue;
            tt_buf_printf(out, "%s%s: {gain: [", any ? ", " : "    features: {", m->services[c->service].name);
            any = true;
            double before = 1;
            for (uint32_t level = 1; level <= TT_MODEL_LEVELS && c->value_at[level - 1] > 0; level++) {
                double gain = floor(tt_model_capacity(model, 0, level) / tt_model_capacity(model, 0, 0) * 100) / 100;
                if (gain <= before) gain = before + 0.01; /* a level that frees next to nothing here may matter where its dependency is slow */
                tt_buf_put(out, level > 1 ? TT_SV(", ") : TT_SV(""));
                put_rounded(out, before = gain, 100);
            }
            tt_buf_put(out, TT_SV("]}"));
        }
        if (any) tt_buf_put(out, TT_SV("}\n"));
    }
    tt_model_free(model);
}

/* ---- one seed ---- */

enum { STREAM_DRAW = 50, STREAM_DC };

static double draw(uint64_t seed, uint64_t index, range r) {
    return r.low + (r.high - r.low) * tt_model_random(seed, STREAM_DRAW, index);
}

static int64_t draw_ns(uint64_t seed, uint64_t index, range s) {
    return (int64_t)(floor(draw(seed, index, s) * 10 + 0.5) * 1e8); /* whole steps of the model */
}

void tt_incident_draw(const tt_incident *i, uint64_t seed, bool inner_loop, tt_incident_drawn *ret) {
    static const struct {
        int scrape_s, window_s, tick_s;
    } rotation[] = {{1, 10, 2}, {5, 20, 5}, {5, 30, 5}, {15, 60, 15}};
    *ret = (tt_incident_drawn){.spec = i->spec};
    tt_model_spec *m = &ret->spec;
    m->inner_loop = inner_loop;
    m->n_faults = i->n_faults;
    int any = (int)(tt_model_random(seed, STREAM_DC, 0) * m->n_dcs);
    for (uint32_t k = 0; k < i->n_faults; k++) {
        const fault *f = &i->faults[k];
        m->faults[k] = (tt_model_fault){.kind = f->kind,
                                        .from_ns = draw_ns(seed, 16 * k + 1, f->at),
                                        .for_ns = draw_ns(seed, 16 * k + 2, f->lasts),
                                        .amount = draw(seed, 16 * k + 3, f->amount),
                                        .period_ns = draw_ns(seed, 16 * k + 6, f->period),
                                        .service = f->service,
                                        .dc = f->any_dc ? any : f->dc,
                                        .instance = f->instance};
        m->fade[k].rise_ns = draw_ns(seed, 16 * k + 4, f->rise);
        m->fade[k].fall_ns = draw_ns(seed, 16 * k + 5, f->fall);
    }
    uint64_t r = seed % TT_COUNT(rotation);
    m->scrape_ns = i->own_timing ? i->scrape_ns : TT_SECONDS(rotation[r].scrape_s);
    m->window_ns = i->own_timing ? i->window_ns : TT_SECONDS(rotation[r].window_s);
    ret->tick_ns = i->own_timing ? i->tick_ns : TT_SECONDS(rotation[r].tick_s);
    m->ingest_ns = draw_ns(seed, 1000, i->ingest_s);
    m->apply_ns = draw_ns(seed, 1001, i->apply_s);
    ret->told_scrape_ns = i->told_scrape_ns ? i->told_scrape_ns : m->scrape_ns;
    ret->told_ingest_ns = i->told_ingest_ns ? i->told_ingest_ns : m->ingest_ns;
    ret->told_apply_ns = i->told_apply_ns ? i->told_apply_ns : m->apply_ns;
}
