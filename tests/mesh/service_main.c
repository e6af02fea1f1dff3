/* mesh-service: one instance of a service of the sample mesh. */
#include "service.h"
#include "util.h"

#include <event2/listener.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <trimtab/agent.h>
#include <unistd.h>

#define PROGRAM "mesh-service"

static const char usage[] =
    "usage: mesh-service --service NAME --dc DC --port N [options]\n"
    "  --workers N --queue N      requests served at once; requests that may wait (8, 100)\n"
    "  --own-ms MS                mean time of its own work (10); --fixed-share S of it is the same for all, the rest is exponential (0.67)\n"
    "  --timeout-ms MS            of its clients (1000); --base-ms MS its usual latency (10)\n"
    "  --call SPEC                NAME=dc-a:host:port,host:port;dc-b:host:port the service it calls\n"
    "  --call-timeout-ms MS --call-retries N   (400, 0)\n"
    "  --feature NAME             the call is an extra: it can be degraded, and its failure is none of ours\n"
    "  --library off|inner|on     the data-plane library: linked with everything off, inner loop alone, inner loop and agent (off)\n"
    "  --agent-url URL --state-file FILE       of the agent\n"
    "  --seed N --host ADDRESS    (1, 127.0.0.1)\n";

enum {
    O_SERVICE = 1,
    O_DC,
    O_PORT,
    O_WORKERS,
    O_QUEUE,
    O_OWN,
    O_FIXED,
    O_TIMEOUT,
    O_BASE,
    O_CALL,
    O_CALL_TIMEOUT,
    O_CALL_RETRIES,
    O_FEATURE,
    O_LIBRARY,
    O_URL,
    O_STATE,
    O_SEED,
    O_HOST,
    O_HELP
};

static const struct option known[] = {
    {"service", 1, NULL, O_SERVICE},
    {"dc", 1, NULL, O_DC},
    {"port", 1, NULL, O_PORT},
    {"workers", 1, NULL, O_WORKERS},
    {"queue", 1, NULL, O_QUEUE},
    {"own-ms", 1, NULL, O_OWN},
    {"fixed-share", 1, NULL, O_FIXED},
    {"timeout-ms", 1, NULL, O_TIMEOUT},
    {"base-ms", 1, NULL, O_BASE},
    {"call", 1, NULL, O_CALL},
    {"call-timeout-ms", 1, NULL, O_CALL_TIMEOUT},
    {"call-retries", 1, NULL, O_CALL_RETRIES},
    {"feature", 1, NULL, O_FEATURE},
    {"library", 1, NULL, O_LIBRARY},
    {"agent-url", 1, NULL, O_URL},
    {"state-file", 1, NULL, O_STATE},
    {"seed", 1, NULL, O_SEED},
    {"host", 1, NULL, O_HOST},
    {"help", 0, NULL, O_HELP},
    {0},
};

static double num(const char *option, double min, double max) {
    return mesh_number(PROGRAM, option, optarg, min, max);
}

static void read_options(mesh_service_options *o, int argc, char **argv) {
    for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        switch (c) {
        case O_SERVICE:
            o->service = optarg;
            break;
        case O_DC:
            o->dc = optarg;
            break;
        case O_PORT:
            o->port = (uint16_t)num("--port", 1, 65535);
            break;
        case O_WORKERS:
            o->workers = (unsigned)num("--workers", 1, 100000);
            break;
        case O_QUEUE:
            o->queue = (unsigned)num("--queue", 0, 100000);
            break;
        case O_OWN:
            o->own_ms = num("--own-ms", 0, 60000);
            break;
        case O_FIXED:
            o->fixed_share = num("--fixed-share", 0, 1);
            break;
        case O_TIMEOUT:
            o->timeout_ms = (uint32_t)num("--timeout-ms", 1, 600000);
            break;
        case O_BASE:
            o->base_ms = (uint32_t)num("--base-ms", 1, 60000);
            break;
        case O_CALL:
            o->call = optarg;
            break;
        case O_CALL_TIMEOUT:
            o->call_timeout_ms = (uint32_t)num("--call-timeout-ms", 1, 600000);
            break;
        case O_CALL_RETRIES:
            o->call_retries = (unsigned)num("--call-retries", 0, 10);
            break;
        case O_FEATURE:
            o->feature = optarg;
            break;
        case O_LIBRARY:
            if (strcmp(optarg, "off") == 0)
                o->library = MESH_LIBRARY_OFF;
            else if (strcmp(optarg, "inner") == 0)
                o->library = MESH_LIBRARY_INNER;
            else if (strcmp(optarg, "on") == 0)
                o->library = MESH_LIBRARY_ON;
            else
                mesh_usage_error(PROGRAM, "--library %s: off, inner or on is needed", optarg);
            break;
        case O_URL:
            o->agent_url = optarg;
            break;
        case O_STATE:
            o->state_file = optarg;
            break;
        case O_SEED:
            o->seed = (uint64_t)num("--seed", 0, 1e15);
            break;
        case O_HOST:
            o->host = optarg;
            break;
        case O_HELP:
            fputs(usage, stdout);
            exit(0);
        default:
            fputs(usage, stderr);
            exit(2);
        }
    }
    if (!o->service || !o->dc || !o->port) mesh_usage_error(PROGRAM, "--service, --dc and --port are needed; --help tells more");
    if (o->library == MESH_LIBRARY_ON && !o->agent_url) mesh_usage_error(PROGRAM, "--library on needs --agent-url");
}

static void on_signal(evutil_socket_t fd, short what, void *base) {
    (void)fd;
    (void)what;
    event_base_loopbreak(base);
}

static void on_agent_line(void *ctx, const char *line) {
    fprintf(stderr, "%s: %s\n", (const char *)ctx, line);
}

static struct evhttp *listen_http(mesh_service *s) {
    struct sockaddr_storage ss;
    int len = sizeof ss;
    char address[80];
    snprintf(address, sizeof address, "%s:%u", s->o->host, s->o->port);
    if (evutil_parse_sockaddr_port(address, (struct sockaddr *)&ss, &len)) mesh_usage_error(PROGRAM, "--host %s is no address", s->o->host);
    struct evhttp *http = evhttp_new(s->base);
    struct evconnlistener *l = evconnlistener_new_bind(s->base, NULL, NULL, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE, 1024,
                                                       (struct sockaddr *)&ss, len);
    if (!http || !l || !evhttp_bind_listener(http, l)) {
        fprintf(stderr, "%s: can't listen on %s: %s\n", PROGRAM, address, evutil_socket_error_to_string(EVUTIL_SOCKET_ERROR()));
        exit(1);
    }
    evhttp_set_timeout(http, 3600); /* idle connections are the callers' pools: theirs to close */
    evhttp_set_cb(http, "/metrics", mesh_service_metrics, s);
    evhttp_set_cb(http, "/fault", mesh_service_fault, s);
    evhttp_set_gencb(http, mesh_service_handle, s);
    return http;
}

static tt_agent *start_agent(mesh_service *s, const char *label) {
    if (s->o->library != MESH_LIBRARY_ON) return NULL;
    const char *calls[1];
    tt_agent_options ao = {.size = sizeof ao, .url = s->o->agent_url, .state_file = s->o->state_file, .log = on_agent_line};
    ao.log_ctx = (void *)(uintptr_t)label;
    if (s->upstream) {
        calls[0] = mesh_upstream_name(s->upstream);
        ao.calls = calls;
        ao.n_calls = 1;
    }
    tt_agent *agent = tt_agent_start(s->dp, &ao);
    if (!agent) perror(PROGRAM ": the agent could not be started, going on without it");
    return agent;
}

int main(int argc, char **argv) {
    mesh_service_options o = {.host = "127.0.0.1",
                              .workers = 8,
                              .queue = 100,
                              .own_ms = 10,
                              .fixed_share = 0.67,
                              .timeout_ms = 1000,
                              .base_ms = 10,
                              .call_timeout_ms = 400,
                              .seed = 1};
    read_options(&o, argc, argv);
    signal(SIGPIPE, SIG_IGN);
    mesh_raise_file_limit();
    char instance[80], label[160];
    snprintf(instance, sizeof instance, "%s:%u", o.host, o.port);
    snprintf(label, sizeof label, "%s/%s/%s", o.service, o.dc, instance);

    mesh_service s = {.o = &o, .base = event_base_new()};
    tt_dp_options d = {.size = sizeof d,
                       .service = o.service,
                       .dc = o.dc,
                       .instance = instance,
                       .inner_loop = o.library != MESH_LIBRARY_OFF,
                       .timeout_ms = o.timeout_ms,
                       .base_ms = o.base_ms,
                       .workers = o.workers};
    s.dp = tt_dp_new(&d);
    if (!s.base || !s.dp) {
        perror(PROGRAM);
        return 1;
    }
    char why[256];
    if (o.call && !(s.upstream = mesh_upstream_new(s.base, s.dp, o.call, o.dc, o.service, mesh_hash(o.seed, label, 0), why, sizeof why)))
        mesh_usage_error(PROGRAM, "--call: %s", why);
    struct event *term = evsignal_new(s.base, SIGTERM, on_signal, s.base), *intr = evsignal_new(s.base, SIGINT, on_signal, s.base);
    if (!term || !intr || event_add(term, NULL) || event_add(intr, NULL)) return 1;
    s.http = listen_http(&s);
    tt_agent *agent = start_agent(&s, label);
    printf("ready %s\n", label);
    fflush(stdout);
    event_base_dispatch(s.base);

    /* Requests in the making end with the process: their callers see a broken connection, as when any server goes. */
    if (agent) tt_agent_stop(agent);
    fflush(NULL);
    _exit(0);
}
