#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mesh/internal.h"

/* Agents that share a limit learn a new number of sharers at most this often: a rolling start of a large service must not wake it for each. */
#define ANNOUNCE_EVERY_NS TT_SECONDS(1)

tt_board *tt_board_new(uint64_t epoch) {
    tt_board *b = calloc(1, sizeof *b);
    if (!b) return NULL;
    pthread_mutex_init(&b->lock, NULL);
    b->epoch = epoch;
    return b;
}

static void drop_acks(tt_board *b) {
    for (size_t i = 0; i < b->n_acks; i++) free(b->ack_reasons[i]);
    b->n_acks = 0;
}

void tt_board_free(tt_board *b) {
    if (!b) return;
    drop_acks(b);
    board_tables_free(b);
    free(b->acks);
    free(b->ack_reasons);
    free(b->measurements);
    free(b->drifts);
    free(b->drift_texts);
    pthread_mutex_destroy(&b->lock);
    free(b);
}

void tt_board_on_change(tt_board *b, void (*changed)(void *ctx), void *ctx) {
    pthread_mutex_lock(&b->lock);
    b->changed = changed;
    b->changed_ctx = ctx;
    pthread_mutex_unlock(&b->lock);
}

bool tt_board_is_open(tt_board *b) {
    return atomic_load(&b->open);
}

uint64_t tt_board_generation(tt_board *b) {
    return atomic_load(&b->generation);
}

/* Unlocks, then tells: the one told may ask the board at once. */
static void unlock_and_tell(tt_board *b, bool news) {
    void (*changed)(void *) = b->changed;
    void *ctx = b->changed_ctx;
    pthread_mutex_unlock(&b->lock);
    if (news && changed) changed(ctx);
}

/* --- decisions --- */

static bool take_decision(tt_board *b, const tt_decision *d, tt_time now) {
    if (d->epoch < b->epoch) return false; /* an older writer's: it has lost its place */
    board_site *site = board_site_of(b, tt_sv_of(d->target.service), tt_sv_of(d->target.dc), true);
    if (!site) return false;
    if (site->decided && site->epoch == d->epoch && d->version <= site->version) return false;
    tt_buf text;
    tt_buf_init(&text, 1 << 20);
    if (d->n_actions) {
        tt_decision_json(d, &text);
        if (text.failed || text.n < 2) {
            tt_buf_free(&text);
            return false;
        }
    }
    free(site->json);
    site->json = text.p; /* without actions: NULL, nothing is in force */
    site->was_agents = site->by_agents;
    site->was_callers = site->by_callers;
    site->by_agents = site->by_callers = site->limited = false;
    for (uint32_t i = 0; i < d->n_actions; i++) {
        tt_act_kind kind = d->actions[i].kind;
        /* Who calls chooses the site, the version and the instance, and how long and how often to try. */
        bool callers = kind == TT_ACT_WEIGHTS || kind == TT_ACT_EJECT || kind == TT_ACT_VERSION || kind == TT_ACT_RETRY || kind == TT_ACT_TIMEOUT ||
                       kind == TT_ACT_HEDGE;
        site->by_callers |= callers || kind == TT_ACT_ISOLATE; /* refused by the callee, and not sent by a caller that knows */
        site->by_agents |= !callers;
        site->limited |= kind == TT_ACT_LIMIT || kind == TT_ACT_CONCURRENCY;
    }
    site->decided = true;
    site->epoch = d->epoch;
    site->version = d->version;
    site->since = now;
    if (d->epoch > b->epoch) b->epoch = d->epoch;
    if (d->version > site->service->newest) site->service->newest = d->version;
    if (d->version > b->newest) b->newest = d->version;
    return true;
}

void tt_board_publish(tt_board *b, const tt_decision *d, size_t n, tt_time now) {
    pthread_mutex_lock(&b->lock);
    bool news = !b->open;
    b->open = true;
    for (size_t i = 0; i < n; i++) news |= take_decision(b, &d[i], now);
    if (news) {
        b->acks_stale = true;
        atomic_fetch_add(&b->generation, 1);
    }
    unlock_and_tell(b, news);
}

static board_site *site_in(const board_service *s, tt_sv dc) {
    for (size_t i = 0; i < s->n_sites; i++)
        if (strlen(s->sites[i]->dc) == dc.n && memcmp(s->sites[i]->dc, dc.p, dc.n) == 0) return s->sites[i];
    return NULL;
}

static uint64_t newer(uint64_t version, const board_site *site) {
    return site && site->decided && site->version > version ? site->version : version;
}

/* The newest version that concerns the caller; 0: nothing ever did. */
static uint64_t newest_for(tt_board *b, const tt_board_query *q) {
    uint64_t newest = 0;
    if (q->service.n == 0) {
        for (size_t i = 0; i < b->n_sites; i++) newest = newer(newest, b->sites[i]);
        return newest;
    }
    const board_service *own = board_service_of(b, q->service, false);
    if (own) {
        newest = newer(newest, site_in(own, q->dc));
        if (q->dc.n) newest = newer(newest, site_in(own, TT_SV("")));
    }
    for (size_t i = 0; i < q->n_calls; i++) {
        const board_service *s = board_service_of(b, q->calls[i], false);
        if (s && s->newest > newest) newest = s->newest;
    }
    return newest;
}

static bool has_news(tt_board *b, const tt_board_query *q) {
    if (!b->open) return false;
    if (q->service.n == 0 || q->epoch != b->epoch || newest_for(b, q) > q->version) return true;
    const board_site *site = q->instance.n ? board_site_of(b, q->service, q->dc, false) : NULL;
    if (!site || !site->limited) return false;
    const board_agent *a = board_agent_of(b, q->service, q->dc, q->instance, false, (tt_time){0});
    return a && a->told && a->told != site->announced;
}

bool tt_board_has_news(tt_board *b, const tt_board_query *q) {
    pthread_mutex_lock(&b->lock);
    bool news = has_news(b, q);
    pthread_mutex_unlock(&b->lock);
    return news;
}

/* True when agents that divide a limit have to be told a new number. */
static bool announce(tt_board *b, board_site *site, tt_time now) {
    if (site->announced == site->n_agents) return false;
    if (site->limited && site->announced && tt_since(now, site->announced_at) < ANNOUNCE_EVERY_NS) return false;
    site->announced = site->n_agents;
    site->announced_at = now;
    atomic_fetch_add(&b->generation, 1);
    return site->limited;
}

static void render_site(const board_site *site, tt_time now, bool *ret_first, tt_buf *out) {
    if (!site->json) return;
    if (!*ret_first) tt_buf_put(out, TT_SV(","));
    *ret_first = false;
    tt_buf_put(out, (tt_sv){site->json, strlen(site->json) - 1}); /* without its closing brace */
    int64_t age_ms = tt_since(now, site->since) / 1000000;
    tt_buf_printf(out, ",\"age_ms\":%lld}", (long long)(age_ms > 0 ? age_ms : 0));
}

void tt_board_answer_json(tt_board *b, const tt_board_query *q, tt_time now, int64_t wall_ms, tt_buf *out) {
    tt_board_heard(b, q, TT_BOARD_ASKED, now);
    pthread_mutex_lock(&b->lock);
    uint32_t instances = 1;
    board_site *site = q->service.n ? board_site_of(b, q->service, q->dc, false) : NULL;
    if (site) {
        (void)announce(b, site, now); /* the main loop wakes the others */
        if (site->announced) instances = site->announced;
    }
    tt_buf_printf(out, "{\"epoch\":%llu,\"version\":%llu,\"now_ms\":%lld,\"instances\":%u,\"decisions\":[", (unsigned long long)b->epoch,
                  (unsigned long long)newest_for(b, q), (long long)wall_ms, instances);
    bool first = true;
    if (q->service.n == 0) {
        for (size_t i = 0; i < b->n_sites; i++) render_site(b->sites[i], now, &first, out);
    } else {
        bool calls_itself = false;
        for (size_t i = 0; i < q->n_calls; i++) calls_itself |= tt_sv_eq(q->calls[i], q->service);
        const board_service *own = board_service_of(b, q->service, false);
        for (size_t i = 0; own && !calls_itself && i < own->n_sites; i++) {
            tt_sv dc = tt_sv_of(own->sites[i]->dc);
            if (dc.n == 0 || tt_sv_eq(dc, q->dc)) render_site(own->sites[i], now, &first, out);
        }
        for (size_t i = 0; i < q->n_calls; i++) {
            bool seen = false;
            for (size_t k = 0; k < i; k++) seen |= tt_sv_eq(q->calls[k], q->calls[i]);
            const board_service *s = seen ? NULL : board_service_of(b, q->calls[i], false);
            for (size_t k = 0; s && k < s->n_sites; k++) render_site(s->sites[k], now, &first, out);
        }
    }
    tt_buf_put(out, TT_SV("]}"));
    pthread_mutex_unlock(&b->lock);
    tt_board_heard(b, q, TT_BOARD_TOLD, now);
}

/* --- agents --- */

static void set_calls(tt_board *b, board_agent *a, const tt_board_query *q) {
    bool equal = a->n_calls == q->n_calls;
    for (size_t i = 0; equal && i < q->n_calls; i++) equal = tt_sv_eq(tt_sv_of(a->calls[i]->name), q->calls[i]);
    if (equal) return;
    board_service **calls = q->n_calls ? calloc(q->n_calls, sizeof *calls) : NULL;
    if (q->n_calls && !calls) return;
    size_t n = 0;
    for (size_t i = 0; i < q->n_calls; i++) {
        board_service *s = board_service_of(b, q->calls[i], true);
        if (s) calls[n++] = s;
    }
    free(a->calls);
    a->calls = calls;
    a->n_calls = n;
    b->acks_stale = true;
}

void board_agent_enforces(tt_board *b, board_agent *a, uint64_t epoch, uint64_t version, tt_sv refused) {
    bool same_refusal = a->refused ? tt_sv_eq(tt_sv_of(a->refused), refused) : refused.n == 0;
    if (a->epoch == epoch && a->version == version && same_refusal) return;
    a->epoch = epoch;
    a->version = version;
    if (!same_refusal) {
        free(a->refused);
        a->refused = refused.n ? strndup(refused.p, refused.n) : NULL;
    }
    b->acks_stale = true;
}

static void heard(tt_board *b, const tt_board_query *q, unsigned words, tt_time now) {
    board_agent *a = q->service.n && q->instance.n ? board_agent_of(b, q->service, q->dc, q->instance, true, now) : NULL;
    if (!a) return;
    a->heard = now;
    if (words & TT_BOARD_ASKED) {
        set_calls(b, a, q);
        /* A query says what its sender has; it says nothing about a refusal, which a report does. */
        board_agent_enforces(b, a, q->epoch, q->version, tt_sv_of(a->refused));
    }
    if (words & TT_BOARD_WAITS) a->waiting++;
    if (words & TT_BOARD_WAITED && a->waiting) a->waiting--;
    if (words & TT_BOARD_TOLD) a->told = a->site->announced;
}

void board_agent_stands(tt_board *b, board_agent *a, board_standing standing, tt_sv found) {
    bool same_found = a->found ? tt_sv_eq(tt_sv_of(a->found), found) : found.n == 0;
    if (a->standing == standing && same_found) return;
    a->standing = standing;
    if (!same_found) {
        free(a->found);
        a->found = found.n ? strndup(found.p, found.n) : NULL;
    }
    b->acks_stale = true;
}

void tt_board_heard(tt_board *b, const tt_board_query *q, unsigned words, tt_time now) {
    pthread_mutex_lock(&b->lock);
    heard(b, q, words, now);
    pthread_mutex_unlock(&b->lock);
}

bool tt_board_ask(tt_board *b, const tt_board_query *q, tt_time now) {
    pthread_mutex_lock(&b->lock);
    heard(b, q, TT_BOARD_ASKED, now);
    bool news = has_news(b, q);
    pthread_mutex_unlock(&b->lock);
    return news;
}

static void drop_silent(tt_board *b, tt_time now) {
    for (size_t i = 0; i < b->n_agents;) {
        board_agent *a = b->agents[i];
        if (!a->waiting && tt_since(now, a->heard) > AGENT_GONE_NS)
            board_agent_free(b, a); /* the last one takes its place */
        else
            i++;
    }
}

static bool has_version(const board_agent *a, uint64_t epoch, uint64_t version) {
    return a->epoch == epoch ? a->version >= version : a->epoch > epoch;
}

static bool site_behind(const board_agent *a, const board_site *site) {
    return site && site->decided && !has_version(a, site->epoch, site->version);
}

static bool is_behind(const board_agent *a) {
    if (site_behind(a, a->site) || site_behind(a, site_in(a->site->service, TT_SV("")))) return true;
    for (size_t i = 0; i < a->n_calls; i++)
        for (size_t k = 0; k < a->calls[i]->n_sites; k++)
            if (site_behind(a, a->calls[i]->sites[k])) return true;
    return false;
}

/* By its own word; or it names what we never told: an epoch above ours, or a version that we have not come to. */
static board_standing standing_of(const tt_board *b, const board_agent *a) {
    if (a->epoch > b->epoch || (a->epoch == b->epoch && a->version > b->newest)) return BOARD_FOREIGN;
    return a->standing;
}

void tt_board_agents_json(tt_board *b, int64_t wall_ms, tt_time now, tt_buf *out) {
    pthread_mutex_lock(&b->lock);
    drop_silent(b, now);
    tt_buf_put(out, TT_SV("{\"items\":["));
    for (size_t i = 0; i < b->n_agents; i++) {
        const board_agent *a = b->agents[i];
        tt_buf_put(out, i ? TT_SV(",{\"service\":") : TT_SV("{\"service\":"));
        tt_buf_json_string(out, tt_sv_of(a->site->service->name));
        tt_buf_put(out, TT_SV(",\"dc\":"));
        tt_buf_json_string(out, tt_sv_of(a->site->dc));
        tt_buf_put(out, TT_SV(",\"instance\":"));
        tt_buf_json_string(out, tt_sv_of(a->instance));
        int64_t silent_ms = a->waiting ? 0 : tt_since(now, a->heard) / 1000000;
        tt_buf_printf(out, ",\"epoch\":%llu,\"version\":%llu,\"behind\":%s,\"last_heard_ms\":%lld,\"library\":", (unsigned long long)a->epoch,
                      (unsigned long long)a->version, is_behind(a) ? "true" : "false", (long long)(wall_ms - silent_ms));
        if (a->library)
            tt_buf_json_string(out, tt_sv_of(a->library));
        else
            tt_buf_put(out, TT_SV("null"));
        static const char *const standings[] = {"ours", "none", "other"};
        tt_buf_printf(out, ",\"in_force\":\"%s\"", standings[standing_of(b, a)]);
        tt_buf_put(out, TT_SV(",\"refused\":"));
        if (a->refused)
            tt_buf_json_string(out, tt_sv_of(a->refused));
        else
            tt_buf_put(out, TT_SV("null"));
        tt_buf_put(out, TT_SV("}"));
    }
    tt_buf_put(out, TT_SV("]}"));
    pthread_mutex_unlock(&b->lock);
}

void tt_board_counts(tt_board *b, tt_time now, uint32_t *ret_connected, uint32_t *ret_behind) {
    pthread_mutex_lock(&b->lock);
    drop_silent(b, now);
    uint32_t behind = 0;
    for (size_t i = 0; i < b->n_agents; i++) behind += is_behind(b->agents[i]);
    *ret_connected = (uint32_t)b->n_agents;
    *ret_behind = behind;
    pthread_mutex_unlock(&b->lock);
}

/* --- acknowledgements --- */

static void count_enforcer(const tt_board *b, board_site *site, const board_agent *a) {
    board_standing standing = standing_of(b, a);
    site->concerned++;
    if (standing != BOARD_OURS) {
        if (!site->strayed || standing == BOARD_FOREIGN) site->strayed = a;
        site->foreign += standing == BOARD_FOREIGN;
        site->lost += standing == BOARD_LOST;
    } else if (has_version(a, site->epoch, site->version))
        site->enforcing++;
    else if (a->refused && !site->refuser)
        site->refuser = a;
}

static bool binds_agents(const board_site *site) {
    return site->decided && (site->by_agents || site->was_agents);
}
static bool binds_callers(const board_site *site) {
    return site->decided && (site->by_callers || site->was_callers);
}

static bool calls_before(const board_agent *a, size_t call) {
    for (size_t i = 0; i < call; i++)
        if (a->calls[i] == a->calls[call]) return true;
    return false;
}

static void count_agent(const tt_board *b, const board_agent *a) {
    board_site *own = a->site, *whole = a->site->dc[0] ? site_in(a->site->service, TT_SV("")) : NULL;
    bool counted_own = binds_agents(own), counted_whole = whole && binds_agents(whole);
    if (counted_own) count_enforcer(b, own, a);
    if (counted_whole) count_enforcer(b, whole, a);
    for (size_t i = 0; i < a->n_calls; i++) {
        if (calls_before(a, i)) continue;
        for (size_t k = 0; k < a->calls[i]->n_sites; k++) {
            board_site *site = a->calls[i]->sites[k];
            if (binds_callers(site) && !(counted_own && site == own) && !(counted_whole && site == whole)) count_enforcer(b, site, a);
        }
    }
}

static void write_ack(tt_board *b, const board_site *site) {
    size_t cap = b->cap_acks;
    if (!board_grow((void **)&b->acks, &b->cap_acks, b->n_acks + 1, sizeof *b->acks)) return;
    if (cap != b->cap_acks) {
        char **reasons = realloc(b->ack_reasons, b->cap_acks * sizeof *reasons);
        if (!reasons) {
            b->cap_acks = cap;
            return;
        }
        b->ack_reasons = reasons;
    }
    tt_ack *ack = &b->acks[b->n_acks];
    *ack = (tt_ack){.epoch = site->epoch, .version = site->version, .share = (double)site->enforcing / (double)site->concerned};
    snprintf(ack->target.service, sizeof ack->target.service, "%s", site->service->name);
    snprintf(ack->target.dc, sizeof ack->target.dc, "%s", site->dc);
    char *reason = NULL;
    if (site->refuser && asprintf(&reason, "%s: %s", site->refuser->instance, site->refuser->refused) < 0) reason = NULL;
    ack->refused = site->refuser != NULL;
    ack->reason = tt_sv_of(reason);
    b->ack_reasons[b->n_acks++] = reason;
}

static void write_drift(tt_board *b, const board_site *site, const board_agent *a, bool foreign, double share) {
    size_t cap = b->cap_drifts;
    if (!board_grow((void **)&b->drifts, &b->cap_drifts, b->n_drifts + 1, sizeof *b->drifts)) return;
    if (cap != b->cap_drifts) {
        char(*texts)[BOARD_DRIFT_TEXT] = realloc(b->drift_texts, b->cap_drifts * sizeof *texts);
        if (!texts) {
            b->cap_drifts = cap;
            return;
        }
        b->drift_texts = texts;
    }
    tt_drift *d = &b->drifts[b->n_drifts];
    char *text = b->drift_texts[b->n_drifts++];
    *d = (tt_drift){.foreign = foreign, .share = share};
    snprintf(d->target.service, sizeof d->target.service, "%s", site->service->name);
    snprintf(d->target.dc, sizeof d->target.dc, "%s", site->dc);
    if (a->standing == BOARD_OURS)
        snprintf(text, BOARD_DRIFT_TEXT, "%.80s names epoch %llu, version %llu: newer than anything told here", a->instance, (unsigned long long)a->epoch,
                 (unsigned long long)a->version);
    else
        snprintf(text, BOARD_DRIFT_TEXT, "%.80s: %.110s", a->instance, a->found ? a->found : foreign ? "somebody else's decisions" : "nothing is in force");
}

/* Of what is in force: whoever it concerns and who has something else. An agent that has somebody else's where nothing of ours is in force stands for
 * its own site. */
static void find_drifts(tt_board *b) {
    b->n_drifts = 0;
    for (size_t i = 0; i < b->n_sites; i++) {
        const board_site *s = b->sites[i];
        if (!s->decided || !s->concerned || !(s->foreign || (s->lost && s->json))) continue;
        write_drift(b, s, s->strayed, s->foreign > 0, (double)(s->foreign ? s->foreign : s->lost) / (double)s->concerned);
    }
    for (size_t i = 0; i < b->n_agents; i++) {
        const board_agent *a = b->agents[i];
        if (standing_of(b, a) != BOARD_FOREIGN || binds_agents(a->site)) continue;
        bool told = false;
        for (size_t k = 0; k < b->n_drifts && !told; k++)
            told = strcmp(b->drifts[k].target.service, a->site->service->name) == 0 && strcmp(b->drifts[k].target.dc, a->site->dc) == 0;
        if (!told) write_drift(b, a->site, a, true, 1.0 / (double)(a->site->n_agents ? a->site->n_agents : 1));
    }
    for (size_t i = 0; i < b->n_drifts; i++) b->drifts[i].what = tt_sv_of(b->drift_texts[i]); /* they have stopped moving */
}

size_t tt_board_drifts(tt_board *b, const tt_drift **ret) {
    pthread_mutex_lock(&b->lock);
    *ret = b->drifts;
    size_t n = b->n_drifts;
    pthread_mutex_unlock(&b->lock);
    return n;
}

size_t tt_board_acks(tt_board *b, tt_time now, const tt_ack **ret) {
    pthread_mutex_lock(&b->lock);
    drop_silent(b, now);
    bool news = false;
    for (size_t i = 0; i < b->n_sites; i++) news |= announce(b, b->sites[i], now);
    if (b->acks_stale) {
        drop_acks(b);
        for (size_t i = 0; i < b->n_sites; i++) {
            b->sites[i]->concerned = b->sites[i]->enforcing = b->sites[i]->lost = b->sites[i]->foreign = 0;
            b->sites[i]->refuser = b->sites[i]->strayed = NULL;
        }
        for (size_t i = 0; i < b->n_agents; i++) count_agent(b, b->agents[i]);
        for (size_t i = 0; i < b->n_sites; i++)
            if (b->sites[i]->decided && b->sites[i]->concerned) write_ack(b, b->sites[i]);
        find_drifts(b);
        b->acks_stale = false;
    }
    *ret = b->acks;
    size_t n = b->n_acks;
    unlock_and_tell(b, news);
    return n;
}
