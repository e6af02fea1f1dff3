/* A run told in lines, as it happens: what opened, what was done and why, how it ended. One thread. */
#ifndef TT_STORY_H
#define TT_STORY_H

#include <stdio.h>

#include "engine.h"

typedef struct {
    FILE *to;
    bool colours;
    int width; /* reasons are broken here; 0: one line each */
} tt_story;

/* The events of one tick that a reader wants to know of; returns how many lines that were. */
size_t tt_story_tick(const tt_story *s, double seconds, const tt_outcome *out);

#endif
