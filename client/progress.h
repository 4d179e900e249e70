/* SPDX-License-Identifier: Apache-2.0 */
/*
 * progress.h - how a job goes, in one line for a person.
 *
 *   step 1200/20000  6.0%  loss 2.31  41.2k tok/s  ETA 1h12m  [####----]
 *
 * On a terminal the line is drawn over itself; elsewhere a new one is printed
 * every minute or every 5 %, whichever is first.  Changes of state are lines of
 * their own.  Asking nnd is left to follow.h.
 */
#ifndef CLIENT_PROGRESS_H
#define CLIENT_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/buf.h"
#include "proto/wire.pb-c.h"

struct progress {
    FILE *out;
    bool tty, json;
    bool begun;        /* something was shown                        */
    bool open;         /* a line on the terminal waits to be redrawn */
    Wire__State state; /* as last shown                              */
    uint64_t version;
    uint32_t attempt;
    uint64_t checkpoint_step;

    /* speed: an average over about the last 100 steps of this attempt */
    double step_s;     /* seconds per step                           */
    uint64_t measured; /* steps it was measured over                 */
    uint64_t step;     /* at the latest look                         */
    int64_t looked_ns;
    uint32_t speed_attempt;

    int64_t printed_ns;    /* off a terminal: the latest line            */
    uint64_t printed_part; /* how many times 5 % it said */
};

/* Lines go to `out`; json: one object per change instead, for programs. */
void progress_init(struct progress *p, FILE *out, bool json);

/* Take note of the job as it is at now_ns (monotonic). */
void progress_measure(struct progress *p, const Wire__JobInfo *j, int64_t now_ns);

/* Seconds until the last step, or -1 while too little was measured. */
double progress_eta(const struct progress *p, const Wire__JobInfo *j);

/* Append the line, at most `width` columns, without a newline. */
void progress_line(const struct progress *p, const Wire__JobInfo *j, size_t width,
                   struct buf *out);

/* Measure, and print what there is to say now. */
void progress_show(struct progress *p, const Wire__JobInfo *j, int64_t now_ns);

/* Leave a line that is being redrawn, so that something else can be printed. */
void progress_break(struct progress *p);

/* One line that says how the job ended; the job is in a final state. */
void progress_end(struct progress *p, const Wire__JobInfo *j);

/* What the rank that failed first wrote last, in the newest attempt; nothing when
 * that is not known. */
void progress_cause(const Wire__ShowReply *r, FILE *out);

/* "41.2k", "950", "1.3M". */
void progress_count(double n, char *out, size_t size);

#endif
