/* The only readers of time in the daemon. Durations come from tt_clock_now alone; tt_clock_wall is for people. Any thread. */
#ifndef TT_CLOCK_H
#define TT_CLOCK_H

#include "base.h"

tt_time tt_clock_now(void);  /* CLOCK_MONOTONIC */
tt_wall tt_clock_wall(void); /* CLOCK_REALTIME */
/* "2026-11-23T20:31:54.123Z": always UTC, whatever the machine's zone. */
enum { TT_CLOCK_TEXT_SIZE = 32 };
void tt_clock_text(tt_wall at, char buf[TT_CLOCK_TEXT_SIZE]);
/* The day (since 1970-01-01) and the minute of it, in UTC or in the time zone of the process. */
void tt_clock_calendar(tt_wall at, bool utc, int32_t *ret_day, uint16_t *ret_minute);
/* A time as people write it: RFC 3339 ("2026-11-23T20:31:54Z", "2026-11-23 21:31:54.5+01:00"), Unix seconds ("1790000000.25"), "now", or relative to
 * it ("-6h", "-1h30m"). false and *err with what to write. */
bool tt_clock_parse(const char *text, tt_wall now, tt_wall *ret, tt_err *err);

#endif
