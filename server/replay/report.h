/* What a replay found, as JSON values: for --json, and for the text that is made of them. The caller owns what it gets. */
#ifndef TT_REPLAY_REPORT_H
#define TT_REPLAY_REPORT_H

#include <jansson.h>

#include "replay/replay.h"

/* {"tick","at_ms","epoch","segment","file","offset","what","target","recorded","now","fields":[{"field","recorded","now"}],
 *  "inputs":[signals of the target's service and dc, as our engine has them],"reasons":[{"side":"recorded"|"now"|"both","kind",
 *  "action","reason","detail"}]} */
json_t *tt_replay_difference_json(const tt_replay_step *s, const tt_replay_difference *d);
/* Member by member: [{"field":"actions[0].rps","recorded":840.2,"now":839.9}]; null where one side has none. */
json_t *tt_replay_fields_json(const json_t *recorded, const json_t *now);

/* With other rules: what happened then, and what would have. */
typedef struct tt_whatif tt_whatif;
tt_whatif *tt_whatif_new(void);
void tt_whatif_free(tt_whatif *w);
void tt_whatif_tick(tt_whatif *w, const tt_replay_step *s);
/* {"events":{kind:{"recorded","now"}},"loops":[{"plan","target","recorded":side,"now":side}]}; side: null, or {"opened_ms","closed_ms","ended",
 *  "actions","moved":[{"target","action","first","most","unit"}]}. Loops in the order they opened, the nth of a plan and target beside the nth. */
json_t *tt_whatif_json(const tt_whatif *w);

#endif
