/* A small real HTTP server that answers as a trimtab service does, by script. */
#ifndef TT_TEST_TRIMTAB_LIKE_H
#define TT_TEST_TRIMTAB_LIKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct tt_like tt_like;

tt_like *like_start(uint16_t port); /* 0: any */
void like_stop(tt_like *s);
const char *like_url(const tt_like *s);
uint16_t like_port(const tt_like *s);

/* The next query (or the one that waits now) gets this, each answer once. Without any, queries wait until theirs is up and then get 200 with `again`.
 */
void like_answer(tt_like *s, unsigned status, const char *body);
void like_answer_again(tt_like *s, const char *body);

/* These wait, up to ten seconds, and are false when it doesn't happen. */
bool like_saw_queries(tt_like *s, unsigned n);
bool like_saw_reports(tt_like *s, unsigned n);
bool like_saw_report_with(tt_like *s, const char *part, char *ret, size_t size); /* in one that came after this call; ret may be NULL */
const char *like_query(tt_like *s, unsigned i); /* "service=checkout&dc=dc-a&..." as it came, decoded, sorted as sent */
unsigned like_queries(tt_like *s);
unsigned like_reports(tt_like *s);

#endif
