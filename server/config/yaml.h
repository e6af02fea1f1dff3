/* YAML, and JSON as the part of it that it is, to the located tree that rules/ reads. One document a text; no tags, merge keys or
 * several documents; anchors and aliases within a budget. Pure: any thread, nothing shared. Errors carry line and column. */
#ifndef TT_YAML_H
#define TT_YAML_H

#include "doc.h"

typedef struct {
    size_t max_bytes;
    size_t max_nodes; /* after aliases are expanded */
    size_t max_depth;
    bool places; /* keep what tt_doc_place needs to find places inside folded and escaped text */
} tt_yaml_limits;

extern const tt_yaml_limits tt_yaml_plan_limits;  /* what people write: 1 MiB, 100,000 nodes, 64 deep */
extern const tt_yaml_limits tt_yaml_state_limits; /* what the engine saved: 256 MiB, 8,000,000 nodes, 64 deep */

/* NULL and *err when the text is not well-formed or over a limit. An empty text is a node of kind TT_DOC_NULL. Everything, file name
 * included, lives in `arena`; `limits` NULL means the plan limits. */
const tt_doc *tt_yaml_parse(tt_arena *arena, const char *file_name, tt_sv text, const tt_yaml_limits *limits, tt_err *err);

#endif
