/* A recording from anywhere: read, and run through the engine. Three ways in, so that checksum and compression don't keep the fuzzer out:
 * the bytes are a file ('f'), a compressed stream that is put into frames ('z'), or records that are compressed and put into frames (anything else).
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "pcre.h"
#include "replay/replay.h"

enum { TICKS_MAX = 200, SERIES_MAX = 1000, LOOPS_MAX = 1000, CEILING_MAX = 16384 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put_frame(tt_buf *b, char kind, const void *p, size_t n) {
    unsigned char h[9];
    h[8] = (unsigned char)kind;
    uLong crc = crc32(crc32(crc32(0, NULL, 0), h + 8, 1), p, (uInt)n);
    for (unsigned i = 0; i < 4; i++) {
        h[i] = (unsigned char)(n >> (8 * i));
        h[4 + i] = (unsigned char)(crc >> (8 * i));
    }
    tt_buf_put(b, (tt_sv){(const char *)h, sizeof h});
    tt_buf_put(b, (tt_sv){p, n});
}

static void wrap(tt_buf *b, const uint8_t *p, size_t n, bool deflated) {
    static const char head[] = "{\"format\":1,\"run\":\"r\",\"segment\":1,\"epoch\":1,\"wall_ms\":1,\"now_ns\":1,\"trimtab\":\"\",\"build\":\"\"}";
    tt_buf_put(b, TT_SV("trimtab recording 1\n"));
    put_frame(b, 'H', head, sizeof head - 1);
    if (deflated) {
        put_frame(b, 'D', p, n);
        return;
    }
    uLongf bound = compressBound((uLong)n);
    unsigned char *z = malloc(bound);
    if (z && compress(z, &bound, p, (uLong)n) == Z_OK) put_frame(b, 'D', z, bound - 6); /* without the stream's end */
    free(z);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static tt_matcher *matcher;
    if (!matcher) matcher = tt_pcre_matcher_new();
    if (size == 0) return 0;
    tt_buf file;
    tt_buf_init(&file, 64 << 20);
    if (data[0] == 'f')
        tt_buf_put(&file, (tt_sv){(const char *)data + 1, size - 1});
    else
        wrap(&file, data + 1, size - 1, data[0] == 'z');
    tt_recording *rec = tt_recording_of((tt_sv){file.p, file.n});
    tt_record r;
    tt_err err;
    bool small = true; /* an engine of the size it asks for is memory that was asked for, not a fault */
    size_t ticks = 0;
    for (tt_read got; rec && (got = tt_recording_next(rec, &r, &err)) != TT_READ_END;) {
        if (got == TT_READ_BAD) continue;
        ticks += r.kind == TT_RECORD_TICK;
        if (r.kind == TT_RECORD_CONFIG)
            small = small && r.config.max_series <= SERIES_MAX && r.config.max_loops <= LOOPS_MAX && r.config.max_closed <= LOOPS_MAX &&
                    r.config.max_anomalies <= CEILING_MAX && r.config.max_targets <= CEILING_MAX && r.config.max_events <= CEILING_MAX;
    }
    if (rec && small && ticks <= TICKS_MAX) {
        tt_replay *p = tt_replay_new(rec, &(tt_replay_options){.matcher = matcher, .from_ms = INT64_MIN});
        tt_replay_step s;
        tt_buf room;
        tt_buf_init(&room, 1 << 20);
        tt_replay_difference d;
        for (tt_read got; p && (got = tt_replay_next(p, &s, &err)) != TT_READ_END;)
            if (got == TT_READ_OK && s.kind == TT_REPLAY_TICK) (void)tt_replay_same(&s, &d, &room);
        tt_buf_free(&room);
        tt_replay_free(p);
    }
    tt_recording_free(rec);
    tt_buf_free(&file);
    return 0;
}
