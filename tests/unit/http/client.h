/* A small HTTP client over libcurl. Every wait is for a condition, with a deadline that only a failure meets. */
#ifndef TT_HTTP_CLIENT_H
#define TT_HTTP_CLIENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLIENT_PATIENCE_S 20

typedef struct {
    long status;
    char *body, *headers;
    size_t n_body, n_headers;
} reply;

/* headers: lines separated by \n, or NULL. body NULL: none. status 0: no answer. */
reply http(const char *method, uint16_t port, const char *path, const char *headers, const char *body, size_t n_body);
reply get(uint16_t port, const char *path);
reply post(uint16_t port, const char *path, const char *json);
bool has_header(const reply *r, const char *line); /* in any case */
json_t *parsed(const reply *r);
void forget(reply *r);

/* A request that runs on a thread of its own. */
typedef struct later later;
later *http_later(const char *method, uint16_t port, const char *path, const char *headers);
bool later_has(later *l, const char *text);     /* in the body so far */
bool later_wait(later *l, const char *text);    /* until the body has it; false: not within the patience */
bool later_ended(later *l);                     /* waits for the end */
void later_clear(later *l);                     /* forgets the body so far */
size_t later_count(later *l, const char *text); /* how often the body has it */
reply later_finish(later *l);                   /* waits for the end, frees */
void later_cancel(later *l);                    /* hangs up, frees */

/* Asks /metrics until the line is there. */
bool metric_becomes(uint16_t port, const char *line);

#endif
