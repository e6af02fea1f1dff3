/* The last good set of decisions on disk, so that a service that restarts while trimtab is away still holds them. */
#ifndef TT_AGENT_PERSIST_H
#define TT_AGENT_PERSIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whole or not at all: a temporary file beside it, fsync, rename, fsync of the directory. false with errno. */
bool agent_state_save(const char *path, const char *body, size_t n, int64_t wall_ms);

typedef enum { AGENT_STATE_READ, AGENT_STATE_ABSENT, AGENT_STATE_BAD } agent_state_result;
/* The caller frees *ret_body. why[] (of size why_size) says what is wrong with a bad one. */
agent_state_result agent_state_load(const char *path, char **ret_body, size_t *ret_n, int64_t *ret_wall_ms, char *why, size_t why_size);

#endif
