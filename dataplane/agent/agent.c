/* The agent's thread: one curl multi, one blocking query that is nearly always under way, one report a second beside it. */
#include <trimtab/agent.h>

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "decode.h"
#include "persist.h"
#include "report.h"

enum { URL_MAX = 8192, LINE_MAX_BYTES = 1536, REPLY_KEPT = 200, CALLS_MAX = 32, PATH_BYTES_MAX = 1024 };
static const long connect_timeout_ms = 3000, report_timeout_ms = 3000, answer_grace_ms = 10000;
static const int64_t ms = 1000000, retry_first_ms = 100, retry_spread_ms = 250, retry_most_ms = 5000;
enum { REPORTS_FAILED_MOST = 3 }; /* then the query's connection is not believed any more either */

typedef struct {
    char *p;
    size_t n, room, most;
} bytes;

typedef struct {
    CURL *easy;
    bool under_way;
    int64_t next_ns, began_ns;
    bytes body;
    char error[CURL_ERROR_SIZE];
} exchange;

struct tt_agent {
    tt_dp *dp;
    pid_t pid;
    pthread_t thread;
    _Atomic bool stop;
    _Atomic int state; /* tt_agent_state */
    CURLM *multi;
    CURLU *base;
    exchange query, report;
    struct curl_slist *report_headers;
    char *report_body;
    tt_dp_private_identity who;
    agent_meter meter;
    uint64_t asked_version, epoch, version; /* to ask with; in force */
    uint32_t instances;                     /* in force */
    uint64_t applied;                       /* the data plane's count of sets after ours */
    bool in_force, answered_before, saved_ok, save_failed;
    uint32_t wait_ms;
    int64_t report_every_ns;
    unsigned failures, reports_failed;
    uint64_t draws;
    char refused[AGENT_WHY_MAX + 64]; /* "" when the last set was taken */
    char last_trouble[LINE_MAX_BYTES], last_unknown[TT_DP_NAME_MAX], report_trouble[LINE_MAX_BYTES];
    char early[LINE_MAX_BYTES]; /* said before the thread was there */
    void (*log)(void *ctx, const char *line);
    void *log_ctx;
    char instance[TT_DP_NAME_MAX], state_file[PATH_BYTES_MAX];
    size_t n_calls;
    char calls[CALLS_MAX][TT_DP_NAME_MAX];
};

static int64_t now_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static int64_t wall_ms(void) {
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static __attribute__((format(printf, 2, 3))) void say(tt_agent *a, const char *format, ...) {
    if (!a->log) return;
    char line[LINE_MAX_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    for (char *p = line; *p; p++)
        if ((unsigned char)*p < ' ') *p = ' '; /* a line is a line, whatever a server answered */
    a->log(a->log_ctx, line);
}

static void become(tt_agent *a, tt_agent_state state) {
    atomic_store(&a->state, (int)state);
}

/* --- HTTP --- */

static size_t on_body(char *data, size_t size, size_t count, void *ctx) {
    bytes *b = ctx;
    size_t n = size * count;          /* size is 1 */
    if (n > b->most - b->n) return 0; /* curl gives up with CURLE_WRITE_ERROR */
    if (b->n + n + 1 > b->room) {
        size_t room = 2 * (b->n + n + 1);
        char *p = realloc(b->p, room);
        if (!p) return 0;
        b->p = p;
        b->room = room;
    }
    memcpy(b->p + b->n, data, n);
    b->n += n;
    b->p[b->n] = 0;
    return n;
}

/* Reports' answers matter only for their first words. */
static size_t on_body_cut(char *data, size_t size, size_t count, void *ctx) {
    bytes *b = ctx;
    size_t n = size * count, left = b->most - b->n;
    (void)on_body(data, 1, n < left ? n : left, b);
    return n;
}

static curl_socket_t open_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *address) {
    (void)ctx;
    (void)purpose;
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static bool set_up_exchange(exchange *x, size_t most, curl_write_callback on_data) {
    x->easy = curl_easy_init();
    if (!x->easy) return false;
    x->body.most = most;
    curl_easy_setopt(x->easy, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(x->easy, CURLOPT_WRITEDATA, &x->body);
    curl_easy_setopt(x->easy, CURLOPT_ERRORBUFFER, x->error);
    curl_easy_setopt(x->easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(x->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(x->easy, CURLOPT_PROXY, ""); /* the host's proxy is for its own business */
    curl_easy_setopt(x->easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(x->easy, CURLOPT_CONNECTTIMEOUT_MS, connect_timeout_ms);
    curl_easy_setopt(x->easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(x->easy, CURLOPT_QUICK_EXIT, 1L); /* stopping doesn't wait for a name server */
    curl_easy_setopt(x->easy, CURLOPT_USERAGENT, "trimtab-agent");
    return true;
}

static bool begin(tt_agent *a, exchange *x, const char *path, const char *query, int64_t now) {
    CURLU *url = curl_url_dup(a->base);
    char *before = NULL, whole[1024], *text = NULL;
    bool ok = url && curl_url_get(url, CURLUPART_PATH, &before, 0) == CURLUE_OK;
    if (ok) {
        size_t n = strlen(before);
        while (n > 0 && before[n - 1] == '/') n--;
        snprintf(whole, sizeof whole, "%.*s%s", (int)n, before, path);
        ok = curl_url_set(url, CURLUPART_PATH, whole, 0) == CURLUE_OK && curl_url_set(url, CURLUPART_QUERY, query, 0) == CURLUE_OK &&
             curl_url_get(url, CURLUPART_URL, &text, 0) == CURLUE_OK;
    }
    if (ok) {
        ok = curl_easy_setopt(x->easy, CURLOPT_URL, text) == CURLE_OK; /* copied */
    }
    curl_free(text);
    curl_free(before);
    curl_url_cleanup(url);
    x->body.n = 0;
    x->error[0] = 0;
    x->began_ns = now;
    if (ok) ok = curl_multi_add_handle(a->multi, x->easy) == CURLM_OK;
    x->under_way = ok;
    return ok;
}

static void cancel(tt_agent *a, exchange *x) {
    if (x->under_way) curl_multi_remove_handle(a->multi, x->easy);
    x->under_way = false;
}

/* --- decisions --- */

/* Full jitter below a doubling bound; the first retry comes soon, for a daemon that restarts is back in a moment. */
static int64_t retry_after_ns(tt_agent *a) {
    a->draws = a->draws * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    int64_t spread = retry_spread_ms << (a->failures < 6 ? a->failures : 6);
    if (spread > retry_most_ms) spread = retry_most_ms;
    return (retry_first_ms + (int64_t)((a->draws >> 33) % (uint64_t)(spread - retry_first_ms))) * ms;
}

static __attribute__((format(printf, 3, 4))) void query_failed(tt_agent *a, int64_t now, const char *format, ...) {
    char trouble[LINE_MAX_BYTES / 2];
    va_list args;
    va_start(args, format);
    vsnprintf(trouble, sizeof trouble, format, args);
    va_end(args);
    a->query.next_ns = now + retry_after_ns(a);
    a->failures++;
    become(a, TT_AGENT_ALONE);
    if (strcmp(trouble, a->last_trouble) == 0) return; /* said once */
    snprintf(a->last_trouble, sizeof a->last_trouble, "%s", trouble);
    say(a, "trimtab agent: no decisions from the service: %s; %s, retrying", trouble,
        a->in_force ? "the last one stays in force until it expires" : "nothing is in force");
}

static void save(tt_agent *a, const char *body, size_t n) {
    if (!a->state_file[0]) return;
    if (agent_state_save(a->state_file, body, n, wall_ms())) {
        if (a->save_failed) say(a, "trimtab agent: the state file %s is written again", a->state_file);
        a->save_failed = false;
        a->saved_ok = true;
        return;
    }
    a->saved_ok = false;
    if (!a->save_failed)
        say(a,
            "trimtab agent: the state file %s can't be written: %s; decisions are enforced all the same, but a restart without the service would "
            "begin "
            "with none",
            a->state_file, strerror(errno));
    a->save_failed = true;
}

typedef enum { TAKEN, STALE, REFUSED } taking;

static taking take(tt_agent *a, const char *body, size_t n, int64_t more_age_ms) {
    agent_set set;
    char why[AGENT_WHY_MAX];
    if (!agent_set_decode(body, n, &set, why)) {
        snprintf(a->refused, sizeof a->refused, "malformed set: %s", why);
        return REFUSED;
    }
    taking result = TAKEN;
    if (tt_dp_apply(a->dp, set.decisions, set.n, set.epoch, set.age_ms + more_age_ms, 0)) {
        tt_dp_private_state now_in_force;
        tt_dp_private_in_force(a->dp, &now_in_force);
        a->applied = now_in_force.applied;
        a->refused[0] = 0;
        a->in_force = true;
        a->epoch = set.epoch;
        a->version = set.version;
        a->instances = set.instances;
        if (set.unknown && strcmp(a->last_unknown, set.unknown) != 0) {
            snprintf(a->last_unknown, sizeof a->last_unknown, "%s", set.unknown);
            say(a, "trimtab agent: action %s is not known to library %s and is not enforced here: update the library", a->last_unknown,
                tt_dp_version());
        }
    } else if (errno == ESTALE) {
        snprintf(a->refused, sizeof a->refused, "epoch %llu is older than %llu, which is in force", (unsigned long long)set.epoch,
                 (unsigned long long)a->epoch);
        result = STALE;
    } else {
        snprintf(a->refused, sizeof a->refused, "set of version %llu: %s", (unsigned long long)set.version,
                 errno == ENOMEM ? "out of memory" : "an action is out of its bounds");
        result = REFUSED;
    }
    agent_set_free(&set);
    return result;
}

static void answered(tt_agent *a, int64_t now) {
    const bytes *b = &a->query.body;
    uint64_t epoch = a->epoch, version = a->version;
    uint32_t instances = a->instances;
    bool had = a->answered_before && a->saved_ok;
    taking result = take(a, b->p ? b->p : "", b->n, 0);
    if (result != TAKEN) {
        query_failed(a, now, "its set is refused, %s%s", a->refused,
                     result == STALE ? ". If the service was set up anew on purpose, restart this process without its state file" : "");
        return;
    }
    bool news = epoch != a->epoch || version != a->version || instances != a->instances || !had;
    if (a->last_trouble[0]) say(a, "trimtab agent: decisions come again, version %llu", (unsigned long long)a->version);
    a->last_trouble[0] = 0;
    a->failures = 0;
    a->asked_version = a->version;
    a->answered_before = true;
    become(a, TT_AGENT_CURRENT);
    if (news) save(a, b->p, b->n);
    /* A server that answers at once and says nothing new must not make us spin. */
    bool hasty = !news && now - a->query.began_ns < (int64_t)a->wait_ms * ms / 4;
    a->query.next_ns = hasty ? now + retry_spread_ms * ms : now;
}

/* &name=value, or ,value to what is there. */
static bool append(char *query, size_t *at, const char *name, const char *value) {
    char *escaped = curl_easy_escape(NULL, value, (int)strlen(value));
    if (!escaped) return false;
    int n =
        name ? snprintf(query + *at, URL_MAX - *at, "%s%s=%s", *at ? "&" : "", name, escaped) : snprintf(query + *at, URL_MAX - *at, ",%s", escaped);
    curl_free(escaped);
    if (n < 0 || (size_t)n >= URL_MAX - *at) return false;
    *at += (size_t)n;
    return true;
}

static void ask(tt_agent *a, int64_t now) {
    char query[URL_MAX], number[32];
    size_t at = 0;
    bool ok = append(query, &at, "service", a->who.service) && append(query, &at, "dc", a->who.dc) && append(query, &at, "instance", a->instance);
    for (size_t i = 0; i < a->n_calls && ok; i++) ok = append(query, &at, i ? NULL : "calls", a->calls[i]);
    snprintf(number, sizeof number, "%llu", (unsigned long long)a->asked_version);
    ok = ok && append(query, &at, "version", number);
    snprintf(number, sizeof number, "%llu", (unsigned long long)a->epoch);
    ok = ok && append(query, &at, "epoch", number);
    snprintf(number, sizeof number, "%ums", a->wait_ms);
    ok = ok && append(query, &at, "wait", number);
    curl_easy_setopt(a->query.easy, CURLOPT_TIMEOUT_MS, (long)a->wait_ms + answer_grace_ms);
    if (!ok || !begin(a, &a->query, "/v1/decisions", query, now)) query_failed(a, now, "the query can't be made: out of memory");
}

/* --- reports --- */

/* Whether what we put in force is still what is enforced: somebody else in this process may have called tt_dp_apply. */
static void stand(tt_agent *a, agent_standing *ret, char found[120]) {
    tt_dp_private_state s;
    tt_dp_private_in_force(a->dp, &s);
    *ret = (agent_standing){.epoch = a->epoch, .version = a->version, .refused = a->refused[0] ? a->refused : NULL};
    if (!a->in_force) return;
    ret->in_force = s.applied == a->applied ? "ours" : s.actions ? "other" : "none";
    if (s.applied == a->applied) return;
    if (s.actions)
        snprintf(found, 120, "%u action%s of epoch %llu, version %llu, applied by the process itself", s.actions, s.actions == 1 ? "" : "s",
                 (unsigned long long)s.epoch, (unsigned long long)s.version);
    else
        snprintf(found, 120, "nothing: the process itself took it away");
    ret->found = found;
}

static void report(tt_agent *a, int64_t now) {
    a->report.next_ns += a->report_every_ns;
    if (a->report.next_ns <= now) a->report.next_ns = now + a->report_every_ns; /* late: don't hurry after */
    free(a->report_body);
    agent_standing standing;
    char found[120];
    stand(a, &standing, found);
    a->report_body = agent_meter_report(&a->meter, &standing, now);
    if (!a->report_body) return;
    curl_easy_setopt(a->report.easy, CURLOPT_POSTFIELDS, a->report_body);
    curl_easy_setopt(a->report.easy, CURLOPT_POSTFIELDSIZE, (long)strlen(a->report_body));
    curl_easy_setopt(a->report.easy, CURLOPT_HTTPHEADER, a->report_headers);
    curl_easy_setopt(a->report.easy, CURLOPT_TIMEOUT_MS, report_timeout_ms);
    (void)begin(a, &a->report, "/v1/reports", NULL, now);
}

static void reported(tt_agent *a, CURLcode code, long status, int64_t now) {
    if (code != CURLE_OK) {
        if (++a->reports_failed < REPORTS_FAILED_MOST || tt_agent_state_now(a) != TT_AGENT_CURRENT) return;
        a->reports_failed = 0;
        cancel(a, &a->query); /* it may wait on a connection whose other end is long gone */
        query_failed(a, now, "reports don't get through: %s", a->report.error[0] ? a->report.error : curl_easy_strerror(code));
        return;
    }
    a->reports_failed = 0;
    if (status >= 200 && status < 300) {
        a->report_trouble[0] = 0;
        return;
    }
    char trouble[LINE_MAX_BYTES / 2];
    snprintf(trouble, sizeof trouble, "HTTP %ld %s", status, a->report.body.n ? a->report.body.p : "");
    if (strcmp(trouble, a->report_trouble) != 0) say(a, "trimtab agent: the service refuses load reports: %s", trouble);
    snprintf(a->report_trouble, sizeof a->report_trouble, "%s", trouble);
}

/* --- the thread --- */

static void ended(tt_agent *a, CURL *easy, CURLcode code) {
    int64_t now = now_ns();
    long status = 0;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    exchange *x = easy == a->query.easy ? &a->query : &a->report;
    cancel(a, x);
    if (x == &a->report)
        reported(a, code, status, now);
    else if (code == CURLE_WRITE_ERROR)
        query_failed(a, now, "its answer is over %d bytes, or memory is out", AGENT_SET_BYTES_MAX);
    else if (code != CURLE_OK)
        query_failed(a, now, "%s", x->error[0] ? x->error : curl_easy_strerror(code));
    else if (status != 200)
        query_failed(a, now, "it answers HTTP %ld %.*s", status, REPLY_KEPT, x->body.n ? x->body.p : "");
    else
        answered(a, now);
}

static int wait_for_ms(const tt_agent *a, int64_t now) {
    int64_t next = now + 1000 * ms;
    if (!a->query.under_way && a->query.next_ns < next) next = a->query.next_ns;
    if (!a->report.under_way && a->report.next_ns < next) next = a->report.next_ns;
    return next <= now ? 0 : (int)((next - now) / ms) + 1;
}

static void *run(void *ctx) {
    tt_agent *a = ctx;
    pthread_setname_np(pthread_self(), "trimtab-agent");
    if (a->early[0]) say(a, "%s", a->early);
    while (!atomic_load(&a->stop)) {
        int64_t now = now_ns();
        if (!a->query.under_way && now >= a->query.next_ns) ask(a, now);
        if (!a->report.under_way && now >= a->report.next_ns) report(a, now);
        int running = 0, left = 0;
        curl_multi_perform(a->multi, &running);
        for (CURLMsg *m; (m = curl_multi_info_read(a->multi, &left));)
            if (m->msg == CURLMSG_DONE) ended(a, m->easy_handle, m->data.result); /* m is gone after this */
        if (!atomic_load(&a->stop)) curl_multi_poll(a->multi, NULL, 0, wait_for_ms(a, now_ns()), NULL);
    }
    return NULL;
}

/* --- birth and death --- */

static void load_state(tt_agent *a) {
    char *body = NULL, why[AGENT_WHY_MAX] = "";
    size_t n = 0;
    int64_t written_ms = 0;
    agent_state_result result = agent_state_load(a->state_file, &body, &n, &written_ms, why, sizeof why);
    if (result == AGENT_STATE_READ) {
        int64_t age_ms = wall_ms() - written_ms;
        if (take(a, body, n, age_ms > 0 ? age_ms : 0) == TAKEN)
            snprintf(a->early, sizeof a->early,
                     "trimtab agent: decisions of epoch %llu, version %llu from the state file %s are in force, %lld s old",
                     (unsigned long long)a->epoch, (unsigned long long)a->version, a->state_file, (long long)(age_ms > 0 ? age_ms / 1000 : 0));
        else {
            snprintf(why, sizeof why, "%.*s", (int)sizeof why - 1, a->refused);
            result = AGENT_STATE_BAD;
        }
        a->refused[0] = 0; /* that was no set of the service */
    }
    if (result == AGENT_STATE_BAD)
        snprintf(a->early, sizeof a->early, "trimtab agent: the state file %s is ignored: %s; beginning with nothing in force", a->state_file, why);
    free(body);
}

static void name_instance(tt_agent *a) {
    char host[64] = "";
    if (a->who.instance[0]) {
        snprintf(a->instance, sizeof a->instance, "%s", a->who.instance);
        return;
    }
    gethostname(host, sizeof host - 1);
    snprintf(a->instance, sizeof a->instance, "%s:pid-%d", host[0] ? host : "unnamed", (int)getpid());
}

static bool set_up(tt_agent *a, const tt_agent_options *o) {
    if (!o->url || o->n_calls > CALLS_MAX || (o->n_calls && !o->calls) || o->wait_ms > 60000 || o->report_every_ms > 600000) return false;
    if (!a->who.service[0]) return false; /* the service tells agents apart by it */
    for (size_t i = 0; i < o->n_calls; i++) {
        int n = o->calls[i] ? snprintf(a->calls[i], TT_DP_NAME_MAX, "%s", o->calls[i]) : 0;
        if (n <= 0 || n >= TT_DP_NAME_MAX) return false;
    }
    a->n_calls = o->n_calls;
    a->wait_ms = o->wait_ms ? o->wait_ms : 30000;
    a->report_every_ns = (o->report_every_ms ? o->report_every_ms : 1000) * ms;
    a->log = o->log;
    a->log_ctx = o->log_ctx;
    if (o->state_file) {
        struct stat st;
        int n = snprintf(a->state_file, sizeof a->state_file, "%s", o->state_file);
        if (n <= 0 || (size_t)n >= sizeof a->state_file) return false;
        if (stat(o->state_file, &st) == 0 && !S_ISREG(st.st_mode)) return false; /* it would be replaced */
    }
    return curl_url_set(a->base, CURLUPART_URL, o->url, 0) == CURLUE_OK;
}

static bool set_up_http(tt_agent *a) {
    a->multi = curl_multi_init();
    a->report_headers = curl_slist_append(NULL, "Content-Type: application/json");
    struct curl_slist *more = a->report_headers ? curl_slist_append(a->report_headers, "Expect:") : NULL;
    return a->multi && more && set_up_exchange(&a->query, AGENT_SET_BYTES_MAX, on_body) && set_up_exchange(&a->report, REPLY_KEPT, on_body_cut);
}

static bool start_thread(tt_agent *a) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the host's */
    int error = pthread_create(&a->thread, NULL, run, a);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = error;
    return error == 0;
}

static void release(tt_agent *a) {
    exchange *both[] = {&a->query, &a->report};
    for (int i = 0; i < 2; i++) {
        if (a->multi) cancel(a, both[i]);
        curl_easy_cleanup(both[i]->easy);
        free(both[i]->body.p);
    }
    curl_multi_cleanup(a->multi);
    curl_slist_free_all(a->report_headers);
    curl_url_cleanup(a->base);
    free(a->report_body);
    free(a);
}

static void start_curl(void) {
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

static const size_t first_size = offsetof(tt_agent_options, log_ctx) + sizeof(void *); /* of the first release */

tt_agent *tt_agent_start(tt_dp *dp, const tt_agent_options *options) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (!dp || !options || options->size < first_size) {
        errno = EINVAL;
        return NULL;
    }
    tt_agent_options o = {0};
    memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
    pthread_once(&once, start_curl);
    tt_agent *a = calloc(1, sizeof *a);
    if (!a || !(a->base = curl_url())) {
        free(a);
        errno = ENOMEM;
        return NULL;
    }
    a->dp = dp;
    a->pid = getpid();
    a->saved_ok = true;
    tt_dp_private_identify(dp, &a->who);
    int error = 0;
    if (!set_up(a, &o))
        error = EINVAL;
    else if (!set_up_http(a))
        error = ENOMEM;
    if (!error) {
        name_instance(a);
        int64_t now = now_ns();
        a->draws = (uint64_t)now ^ ((uint64_t)a->pid << 32) ^ (uintptr_t)a;
        agent_meter_start(&a->meter, dp, a->instance, now);
        a->report.next_ns = now + a->report_every_ns;
        if (a->state_file[0]) load_state(a);
        if (!start_thread(a)) error = errno;
    }
    if (error) {
        release(a);
        errno = error;
        return NULL;
    }
    return a;
}

void tt_agent_stop(tt_agent *a) {
    if (!a) return;
    if (a->pid != getpid()) return; /* after a fork the thread and its connections are the parent's: nothing here can be closed safely */
    atomic_store(&a->stop, true);
    curl_multi_wakeup(a->multi);
    pthread_join(a->thread, NULL);
    release(a);
}

tt_agent_state tt_agent_state_now(tt_agent *a) {
    if (!a || a->pid != getpid()) return TT_AGENT_ALONE;
    return (tt_agent_state)atomic_load(&a->state);
}
