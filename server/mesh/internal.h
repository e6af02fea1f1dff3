/* What board.c and reports.c share. Everything here is touched under tt_board.lock only. */
#ifndef TT_BOARD_INTERNAL_H
#define TT_BOARD_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "mesh/board.h"

enum { SERVICES_MAX = 8192, SITES_PER_SERVICE_MAX = 64, AGENTS_MAX = 100000, PRIORITIES_MAX = 64, REPORT_PRIORITIES_MAX = 8, CALLS_MAX = 32, BOARD_DRIFT_TEXT = 200 };

/* Chained hash; the links live in what is hashed. */
typedef struct hash_node {
    struct hash_node *next;
    uint64_t hash;
} hash_node;
typedef struct {
    hash_node **slots;
    size_t n_slots, n;
} hash_table;

typedef struct board_service board_service;
typedef struct board_agent board_agent;

/* A service at a data center; dc "" is the service as a whole. Never freed before the board: pointers and names stay good. */
typedef struct {
    board_service *service;
    const char *dc;
    /* Its decision, as text: a tt_decision is fifty times the size. A withdrawn one keeps its version and loses its text. */
    bool decided;
    char *json;
    uint64_t epoch, version;
    tt_time since;
    bool limited;               /* holds a `limit`: agents divide it by their number */
    bool by_agents, by_callers; /* who has to enforce it; a withdrawal concerns those who enforced what it withdraws */
    bool was_agents, was_callers;
    /* its agents */
    board_agent *agents;
    uint32_t n_agents, announced;
    tt_time announced_at;
    uint64_t priorities_seen; /* bits: by index in tt_board.priorities */
    /* scratch of tt_board_acks */
    uint32_t concerned, enforcing, lost, foreign;
    const board_agent *strayed; /* one that lost it, or has another's */
    const board_agent *refuser;
} board_site;

struct board_service {
    hash_node node;
    const char *name;
    size_t n_sites;
    board_site **sites;
    uint64_t newest; /* version, over its sites */
};

typedef struct {
    uint8_t priority;
    double offered, admitted, ok, error, late, dropped, refused; /* per second */
} priority_rates;

typedef struct {
    tt_time at;
    double span_ns;
    uint32_t n;
    priority_rates by[REPORT_PRIORITIES_MAX];
    double completed, utilization, queued, inflight, mean_ms, p50_ms, p99_ms; /* NAN: not reported */
} board_report;

/* What an agent says of the decisions it has: they are in force; they are not, nothing is; somebody else's are. */
typedef enum { BOARD_OURS, BOARD_LOST, BOARD_FOREIGN } board_standing;

struct board_agent {
    hash_node node;
    board_agent *next_in_site, *prev_in_site;
    size_t index; /* in tt_board.agents */
    board_site *site;
    char *instance, *library, *refused; /* refused: NULL or a sentence */
    size_t n_calls;
    board_service **calls;
    uint64_t epoch, version;
    board_standing standing;
    char *found; /* what it has instead of ours; NULL: not told */
    uint32_t waiting, told; /* queries waiting now; number of instances last told, 0: none yet */
    tt_time heard;
    board_report *report; /* NULL: none yet */
};

struct tt_board {
    pthread_mutex_t lock;
    uint64_t epoch;
    _Atomic bool open; /* once it is, it stays */
    _Atomic uint64_t generation;
    void (*changed)(void *ctx);
    void *changed_ctx;
    hash_table services, agents_by_key;
    size_t n_sites, cap_sites;
    board_site **sites;
    size_t n_agents, cap_agents;
    board_agent **agents;
    size_t n_priorities;
    char *priorities[PRIORITIES_MAX];
    bool acks_stale;
    size_t n_acks, cap_acks;
    tt_ack *acks;
    char **ack_reasons; /* cap_acks */
    uint64_t newest;    /* version that was ever told */
    size_t n_drifts, cap_drifts;
    tt_drift *drifts;
    char (*drift_texts)[BOARD_DRIFT_TEXT]; /* cap_drifts */
    size_t n_measurements, cap_measurements;
    tt_measurement *measurements;
};

#define AGENT_GONE_NS TT_SECONDS(10)

/* NULL when a ceiling is met or memory is out. */
board_service *board_service_of(tt_board *b, tt_sv name, bool create);
board_site *board_site_of(tt_board *b, tt_sv service, tt_sv dc, bool create);
board_agent *board_agent_of(tt_board *b, tt_sv service, tt_sv dc, tt_sv instance, bool create, tt_time now);
void board_agent_free(tt_board *b, board_agent *a);
void board_tables_free(tt_board *b);
/* Takes note of what the agent enforces. */
void board_agent_enforces(tt_board *b, board_agent *a, uint64_t epoch, uint64_t version, tt_sv refused);
void board_agent_stands(tt_board *b, board_agent *a, board_standing standing, tt_sv found);
bool board_grow(void **array, size_t *cap, size_t need, size_t each);

#endif
