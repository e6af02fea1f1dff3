/* mesh-load: the users of the sample mesh. Open loop: requests are sent when they are due, whatever becomes of the earlier ones; each has a time-out
 * of its own, counted from its intended time, and up to three attempts within it. Its figures, one JSON line a second, go to stdout. */
#include "arrivals.h"
#include "figures.h"
#include "upstream.h"
#include "util.h"

#include <event2/buffer.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <trimtab/agent.h>
#include <unistd.h>

#define PROGRAM "mesh-load"

static const char usage[] =
    "usage: mesh-load --call front=DC:HOST:PORT,...;DC:... [options]\n"
    "  --rate RPS --schedule FILE   load at the start; lines 'SECONDS rate N', 'SECONDS mark NAME', 'SECONDS quit'\n"
    "  --seed N                     same seed and schedule: same requests at the same times (1)\n"
    "  --timeout-ms MS              of a request, from its intended time (1000)\n"
    "  --attempt-timeout-ms MS --attempts N --refused-retry P   (450, 3; a refusal that asks not to be retried is retried with 0.25)\n"
    "  --batch-share S              of the users (0.3)\n"
    "  --library off|inner|on --agent-url URL --state-file FILE\n"
    "  --port N                     where it serves its own /metrics\n"
    "Commands on stdin: rate N, mark NAME, report (the summary so far), quit.\n";

enum { WINDOW = 8, PHASES_MAX = 16 };
static const char *const priorities[3] = {"critical", "normal", "batch"};

typedef struct {
    char name[32];
    int64_t from_ns, to_ns; /* to: -1 while it lasts */
    mesh_bucket bucket;
} phase;

typedef struct {
    struct event_base *base;
    tt_dp *dp;
    mesh_upstream *front;
    mesh_arrivals arrivals;
    struct event *due, *second;
    int64_t start_ns;
    uint64_t seed;
    uint32_t timeout_ms, attempt_timeout_ms;
    unsigned attempts;
    double refused_retry, batch_share;
    mesh_bucket window[WINDOW]; /* the seconds that may still change */
    size_t window_phase[WINDOW];
    int64_t next_second; /* to be printed */
    phase phases[PHASES_MAX];
    size_t n_phases;
    uint64_t inflight;
    bool quitting;
    struct event *commands; /* on stdin */
    char line[1024];
    size_t line_n;
} load;

typedef struct {
    load *l;
    mesh_call *call;
    struct event *timer; /* of the backoff */
    uint64_t index;
    int64_t intended_ns; /* since the start */
    int64_t deadline_ns; /* monotonic */
    size_t phase;
    unsigned priority, tries;
    mesh_answer last;
    char id[40], key[40];
} request;

static void print_second(load *l, int64_t sec) {
    mesh_bucket *b = &l->window[sec % WINDOW];
    size_t p = 0;
    while (p + 1 < l->n_phases && l->phases[p + 1].from_ns <= sec * 1000000000) p++;
    printf("{\"second\":%lld,\"phase\":\"%s\",\"at_ms\":%lld,", (long long)sec, l->phases[p].name,
           (long long)(mesh_wall_ms() - (mesh_now_ns() - l->start_ns) / 1000000 + sec * 1000));
    mesh_bucket_print(stdout, b, 0, priorities);
    puts("}");
    fflush(stdout);
    mesh_bucket_reset(b);
}

/* ---- a request and its attempts ---- */

static void end_request(request *r, mesh_outcome outcome) {
    load *l = r->l;
    int64_t now = mesh_now_ns(), latency = now - (l->start_ns + r->intended_ns);
    if (outcome == MESH_OK && latency > (int64_t)l->timeout_ms * 1000000) outcome = MESH_FAILED;
    mesh_result res = {
        .priority = r->priority, .attempts = r->tries, .outcome = outcome, .degraded = r->last.degraded, .latency_ms = (double)latency / 1e6};
    int64_t sec = r->intended_ns / 1000000000;
    if (sec >= l->next_second) mesh_bucket_add(&l->window[sec % WINDOW], &res);
    mesh_bucket_add(&l->phases[r->phase].bucket, &res);
    tt_dp_finished(l->dp, r->priority, outcome == MESH_OK ? TT_DP_OK : TT_DP_ERROR, latency, now);
    if (r->timer) event_free(r->timer);
    free(r);
    l->inflight--;
}

static void attempt(request *r);

static void on_backoff(evutil_socket_t fd, short what, void *ctx) {
    (void)fd;
    (void)what;
    attempt(ctx);
}

static mesh_outcome outcome_of(tt_dp_call_result result) {
    switch (result) {
    case TT_DP_CALL_OK:
        return MESH_OK;
    case TT_DP_CALL_DROPPED:
        return MESH_DROPPED;
    case TT_DP_CALL_REFUSED:
        return MESH_REFUSED;
    default:
        return MESH_FAILED;
    }
}

static void on_answer(void *ctx, const mesh_answer *a) {
    request *r = ctx;
    load *l = r->l;
    r->call = NULL;
    r->last = *a;
    double u = mesh_unit(mesh_hash(l->seed, "again", r->index * 16 + r->tries));
    bool again = a->result != TT_DP_CALL_OK && r->tries < l->attempts && (!a->no_retry || u < l->refused_retry);
    double backoff_ms = (10 + 20 * mesh_unit(mesh_hash(l->seed, "backoff", r->index * 16 + r->tries))) * r->tries;
    if (!again || mesh_now_ns() + (int64_t)(backoff_ms * 1e6) >= r->deadline_ns ||
        !tt_dp_may_retry(l->dp, mesh_upstream_name(l->front), a->dc, 0)) {
        end_request(r, outcome_of(a->result));
        return;
    }
    struct timeval tv = mesh_tv(backoff_ms);
    if (!r->timer) r->timer = evtimer_new(l->base, on_backoff, r);
    if (!r->timer || evtimer_add(r->timer, &tv)) end_request(r, MESH_FAILED);
}

static void attempt(request *r) {
    load *l = r->l;
    int64_t left_ms = (r->deadline_ns - mesh_now_ns()) / 1000000;
    if (left_ms < 1) {
        end_request(r, r->tries ? outcome_of(r->last.result) : MESH_FAILED);
        return;
    }
    char route[64];
    snprintf(route, sizeof route, "%s/%u", r->id, r->tries++);
    mesh_call_options o = {.id = r->id, .key = r->key, .route_key = route, .priority_name = priorities[r->priority], .priority = r->priority};
    o.timeout_ms = left_ms < l->attempt_timeout_ms ? (uint32_t)left_ms : l->attempt_timeout_ms;
    r->call = mesh_call_start(l->front, &o, on_answer, r);
    if (!r->call) end_request(r, MESH_FAILED);
}

static void arrive(load *l, uint64_t index, int64_t at_ns) {
    request *r = calloc(1, sizeof *r);
    if (!r) return;
    *r = (request){.l = l, .index = index, .intended_ns = at_ns, .deadline_ns = l->start_ns + at_ns + (int64_t)l->timeout_ms * 1000000};
    snprintf(r->id, sizeof r->id, "r%llu", (unsigned long long)index);
    snprintf(r->key, sizeof r->key, "u%llu", (unsigned long long)(mesh_hash(l->seed, "user", index) % 5000));
    r->priority = mesh_unit(mesh_hash(l->seed, r->key, 1)) < l->batch_share ? 2 : 1;
    r->phase = l->n_phases - 1;
    while (at_ns / 1000000000 >= l->next_second + WINDOW) print_second(l, l->next_second++); /* we were kept from running */
    mesh_bucket_offer(&l->window[at_ns / 1000000000 % WINDOW], r->priority);
    mesh_bucket_offer(&l->phases[r->phase].bucket, r->priority);
    l->inflight++;
    int64_t now = mesh_now_ns();
    if (tt_dp_admit(l->dp, r->priority, r->key, strlen(r->key), now) != TT_DP_ADMIT) {
        mesh_result res = {.priority = r->priority, .outcome = MESH_DROPPED};
        mesh_bucket_add(&l->window[at_ns / 1000000000 % WINDOW], &res);
        mesh_bucket_add(&l->phases[r->phase].bucket, &res);
        l->inflight--;
        free(r);
        return;
    }
    tt_dp_started(l->dp, now);
    attempt(r);
}

/* ---- time ---- */

static void begin_phase(load *l, const char *name, int64_t at_ns) {
    if (l->n_phases == PHASES_MAX || (l->n_phases && strcmp(l->phases[l->n_phases - 1].name, name) == 0)) return; /* a mark within a phase */
    if (l->n_phases) l->phases[l->n_phases - 1].to_ns = at_ns;
    phase *p = &l->phases[l->n_phases++];
    snprintf(p->name, sizeof p->name, "%s", name);
    p->from_ns = at_ns;
    p->to_ns = -1;
}

static void set_due(load *l) {
    int64_t when = mesh_arrivals_when(&l->arrivals);
    if (when == INT64_MAX || l->quitting) return;
    struct timeval tv = mesh_tv((double)(l->start_ns + when - mesh_now_ns()) / 1e6);
    evtimer_add(l->due, &tv);
}

static void on_due(evutil_socket_t fd, short what, void *ctx) {
    (void)fd;
    (void)what;
    load *l = ctx;
    while (!l->quitting && mesh_arrivals_when(&l->arrivals) <= mesh_now_ns() - l->start_ns) {
        mesh_happening h = mesh_arrivals_next(&l->arrivals);
        if (h.kind == MESH_ARRIVAL) {
            arrive(l, h.index, h.at_ns);
            continue;
        }
        if (h.command.kind == MESH_MARK) {
            begin_phase(l, h.command.name, h.at_ns);
            printf("{\"mark\":\"%s\",\"t\":%.3f,\"at_ms\":%lld}\n", h.command.name, (double)h.at_ns / 1e9, (long long)mesh_wall_ms());
            fflush(stdout);
        }
        if (h.command.kind == MESH_QUIT) {
            l->quitting = true;
            l->phases[l->n_phases - 1].to_ns = h.at_ns;
        }
    }
    set_due(l);
}

/* A second is told once nothing of it can still be open. */
static void on_second(evutil_socket_t fd, short what, void *ctx) {
    (void)fd;
    (void)what;
    load *l = ctx;
    int64_t now = mesh_now_ns() - l->start_ns;
    int64_t settled = (now - (int64_t)l->timeout_ms * 1000000 - 100000000) / 1000000000;
    while (l->next_second < settled) print_second(l, l->next_second++);
    if (l->quitting && l->inflight == 0) {
        int64_t last = l->phases[l->n_phases - 1].to_ns;
        while (l->next_second * 1000000000 < last) print_second(l, l->next_second++);
        event_base_loopbreak(l->base);
    }
}

/* Of all phases so far; the last one may still be going on. */
static void print_summary(load *l) {
    int64_t now = mesh_now_ns() - l->start_ns;
    printf("{\"summary\":{\"seed\":%llu,\"phases\":{", (unsigned long long)l->seed);
    for (size_t i = 0; i < l->n_phases; i++) {
        phase *p = &l->phases[i];
        double seconds = (double)((p->to_ns < 0 ? now : p->to_ns) - p->from_ns) / 1e9;
        printf("%s\"%s\":{\"seconds\":%.3f,", i ? "," : "", p->name, seconds);
        mesh_bucket_print(stdout, &p->bucket, seconds > 0 ? seconds : 1e-9, priorities);
        printf("}");
    }
    puts("}}}");
    fflush(stdout);
}

static void on_stdin(evutil_socket_t fd, short what, void *ctx) {
    (void)what;
    load *l = ctx;
    ssize_t n = read(fd, l->line + l->line_n, sizeof l->line - 1 - l->line_n);
    if (n <= 0) { /* the schedule goes on without its master; SIGTERM ends it */
        event_del(l->commands);
        return;
    }
    l->line_n += (size_t)n;
    l->line[l->line_n] = 0;
    char *line = l->line, *end, why[256];
    for (; (end = strchr(line, '\n')); line = end + 1) {
        *end = 0;
        if (strcmp(line, "report") == 0)
            print_summary(l);
        else if (*line && !mesh_arrivals_add(&l->arrivals, mesh_now_ns() - l->start_ns, line, why, sizeof why))
            fprintf(stderr, "%s: %s\n", PROGRAM, why);
    }
    l->line_n = strlen(line) < sizeof l->line - 1 ? strlen(line) : 0;
    memmove(l->line, line, l->line_n);
    evtimer_del(l->due);
    set_due(l);
}

static void on_signal(evutil_socket_t fd, short what, void *ctx) {
    (void)fd;
    (void)what;
    load *l = ctx;
    if (l->quitting) event_base_loopbreak(l->base);
    l->quitting = true;
    l->phases[l->n_phases - 1].to_ns = mesh_now_ns() - l->start_ns;
}

/* ---- the program ---- */

static void serve_metrics(struct evhttp_request *req, void *ctx) {
    load *l = ctx;
    size_t size = tt_dp_metrics(l->dp, NULL, 0) + 4096; /* a figure may grow between the two calls */
    char *text = malloc(size);
    struct evbuffer *b = evbuffer_new();
    size_t n = text ? tt_dp_metrics(l->dp, text, size) : size;
    if (b && n < size) evbuffer_add(b, text, n);
    if (b) evbuffer_add_printf(b, "# TYPE mesh_users_waiting gauge\nmesh_users_waiting %llu\n", (unsigned long long)l->inflight);
    free(text);
    evhttp_add_header(evhttp_request_get_output_headers(req), "Content-Type", "text/plain; version=0.0.4");
    evhttp_send_reply(req, 200, NULL, b);
    if (b) evbuffer_free(b);
}

static void on_agent_line(void *ctx, const char *line) {
    (void)ctx;
    fprintf(stderr, "edge: %s\n", line);
}

typedef struct {
    const char *call, *schedule, *library, *agent_url, *state_file;
    double rate;
    uint16_t port;
} settings;

enum {
    O_CALL = 1,
    O_RATE,
    O_SCHEDULE,
    O_SEED,
    O_TIMEOUT,
    O_ATTEMPT_TIMEOUT,
    O_ATTEMPTS,
    O_REFUSED_RETRY,
    O_BATCH,
    O_LIBRARY,
    O_URL,
    O_STATE,
    O_PORT,
    O_HELP
};
static const struct option known[] = {
    {"call", 1, NULL, O_CALL},
    {"rate", 1, NULL, O_RATE},
    {"schedule", 1, NULL, O_SCHEDULE},
    {"seed", 1, NULL, O_SEED},
    {"timeout-ms", 1, NULL, O_TIMEOUT},
    {"attempt-timeout-ms", 1, NULL, O_ATTEMPT_TIMEOUT},
    {"attempts", 1, NULL, O_ATTEMPTS},
    {"refused-retry", 1, NULL, O_REFUSED_RETRY},
    {"batch-share", 1, NULL, O_BATCH},
    {"library", 1, NULL, O_LIBRARY},
    {"agent-url", 1, NULL, O_URL},
    {"state-file", 1, NULL, O_STATE},
    {"port", 1, NULL, O_PORT},
    {"help", 0, NULL, O_HELP},
    {0},
};

static double num(const char *option, double min, double max) {
    return mesh_number(PROGRAM, option, optarg, min, max);
}

static void read_options(load *l, settings *s, int argc, char **argv) {
    for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        switch (c) {
        case O_CALL:
            s->call = optarg;
            break;
        case O_RATE:
            s->rate = num("--rate", 0, 100000);
            break;
        case O_SCHEDULE:
            s->schedule = optarg;
            break;
        case O_SEED:
            l->seed = (uint64_t)num("--seed", 0, 1e15);
            break;
        case O_TIMEOUT:
            l->timeout_ms = (uint32_t)num("--timeout-ms", 1, 4000);
            break;
        case O_ATTEMPT_TIMEOUT:
            l->attempt_timeout_ms = (uint32_t)num("--attempt-timeout-ms", 1, 4000);
            break;
        case O_ATTEMPTS:
            l->attempts = (unsigned)num("--attempts", 1, 15);
            break;
        case O_REFUSED_RETRY:
            l->refused_retry = num("--refused-retry", 0, 1);
            break;
        case O_BATCH:
            l->batch_share = num("--batch-share", 0, 1);
            break;
        case O_LIBRARY:
            s->library = optarg;
            break;
        case O_URL:
            s->agent_url = optarg;
            break;
        case O_STATE:
            s->state_file = optarg;
            break;
        case O_PORT:
            s->port = (uint16_t)num("--port", 1, 65535);
            break;
        case O_HELP:
            fputs(usage, stdout);
            exit(0);
        default:
            fputs(usage, stderr);
            exit(2);
        }
    }
    if (!s->call) mesh_usage_error(PROGRAM, "--call is needed: where the front service is; --help tells more");
    if (strcmp(s->library, "off") && strcmp(s->library, "inner") && strcmp(s->library, "on"))
        mesh_usage_error(PROGRAM, "--library %s: off, inner or on is needed", s->library);
    if (strcmp(s->library, "on") == 0 && !s->agent_url) mesh_usage_error(PROGRAM, "--library on needs --agent-url");
}

static tt_agent *start_agent(load *l, const settings *s) {
    if (strcmp(s->library, "on")) return NULL;
    const char *calls[] = {mesh_upstream_name(l->front)};
    tt_agent_options ao = {.size = sizeof ao, .url = s->agent_url, .calls = calls, .n_calls = 1, .state_file = s->state_file, .log = on_agent_line};
    tt_agent *agent = tt_agent_start(l->dp, &ao);
    if (!agent) perror(PROGRAM ": the agent could not be started, going on without it");
    return agent;
}

static void set_up(load *l, const settings *s) {
    char instance[32], why[256];
    snprintf(instance, sizeof instance, "127.0.0.1:%u", s->port);
    l->base = event_base_new();
    /* The edge is no hop with a queue of its own: it has nothing an inner loop could bound. */
    tt_dp_options d = {.size = sizeof d, .service = "edge", .dc = "edge", .instance = instance, .timeout_ms = l->timeout_ms, .base_ms = 100};
    l->dp = tt_dp_new(&d);
    if (!l->base || !l->dp) {
        perror(PROGRAM);
        exit(1);
    }
    l->front = mesh_upstream_new(l->base, l->dp, s->call, NULL, "load", l->seed, why, sizeof why);
    if (!l->front) mesh_usage_error(PROGRAM, "--call: %s", why);
    mesh_arrivals_init(&l->arrivals, l->seed);
    if (s->schedule && !mesh_arrivals_read(&l->arrivals, s->schedule, why, sizeof why)) mesh_usage_error(PROGRAM, "--schedule: %s", why);
    l->arrivals.rate = s->rate;
    if (s->port) {
        struct evhttp *http = evhttp_new(l->base);
        if (!http || evhttp_bind_socket(http, "127.0.0.1", s->port)) {
            fprintf(stderr, "%s: can't listen on %s: %s\n", PROGRAM, instance, evutil_socket_error_to_string(EVUTIL_SOCKET_ERROR()));
            exit(1);
        }
        evhttp_set_timeout(http, 3600);
        evhttp_set_cb(http, "/metrics", serve_metrics, l);
    }
}

int main(int argc, char **argv) {
    static load whole; /* large: the phases and the window */
    load *l = &whole;
    *l = (load){.seed = 1, .timeout_ms = 1000, .attempt_timeout_ms = 450, .attempts = 3, .refused_retry = 0.25, .batch_share = 0.3};
    settings s = {.library = "off"};
    read_options(l, &s, argc, argv);
    signal(SIGPIPE, SIG_IGN);
    mesh_raise_file_limit();
    set_up(l, &s);
    tt_agent *agent = start_agent(l, &s);
    l->due = evtimer_new(l->base, on_due, l);
    l->second = event_new(l->base, -1, EV_PERSIST, on_second, l);
    l->commands = event_new(l->base, STDIN_FILENO, EV_READ | EV_PERSIST, on_stdin, l);
    struct event *term = evsignal_new(l->base, SIGTERM, on_signal, l), *intr = evsignal_new(l->base, SIGINT, on_signal, l);
    struct timeval tick = mesh_tv(100);
    if (!l->due || !l->second || !term || !intr || event_add(l->second, &tick) || event_add(term, NULL) || event_add(intr, NULL)) return 1;
    if (l->commands) event_add(l->commands, NULL); /* refused for /dev/null and files: then the schedule is all there is */
    l->start_ns = mesh_now_ns();
    begin_phase(l, "warmup", 0);
    printf("{\"started\":true,\"at_ms\":%lld,\"instance\":\"127.0.0.1:%u\"}\n", (long long)mesh_wall_ms(), s.port);
    fflush(stdout);
    set_due(l);
    event_base_dispatch(l->base);
    print_summary(l);
    if (agent) tt_agent_stop(agent);
    fflush(NULL);
    _exit(0);
}
