/* The same from a recording: without a daemon, with the inputs as the engine had them and the acknowledgement that came. */
#ifndef TT_EXPLAIN_RECORDED_H
#define TT_EXPLAIN_RECORDED_H

#include "decision.h"
#include "explain/explain.h"
#include "match.h"

typedef struct {
    uint64_t seq, version;   /* of the event, or of the decision; 0: not asked for */
    char loop[TT_ULID_SIZE]; /* else its last move */
} tt_explain_what;

/* {"events":[those of the loop],"explained":...}. NULL: *err, with TT_EMISSING when it is not in there and another code when it cannot be read. */
json_t *tt_explain_recorded(const char *path, const tt_explain_what *what, const tt_matcher *matcher, tt_err *err);

#endif
