/* SPDX-License-Identifier: Apache-2.0 */
/*
 * checkpoint_meet.h - ranks meet through files in a folder that all of them see.
 *
 * For the files checkpoint*.c alone.  Each rank keeps a sign of life, "here.S.R"
 * (S numbers the saves of this attempt, R is the rank), which it touches while it
 * works, and ends with "done.S.R", which holds what it has to tell rank 0, or with
 * "failed.S.R", which holds why.  Whoever waits gives up after `patience` without
 * a change; so a slow disk is waited for and a dead rank is not.
 *
 * The folder is opened anew at every look: on a network file system that is what
 * makes files of other machines visible.
 */
#ifndef TRAIN_CHECKPOINT_MEET_H
#define TRAIN_CHECKPOINT_MEET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct meet {
    const char *folder;
    int serial, rank, world;
    double patience; /* seconds */
    uint64_t silent; /* bytes of work since the last sign of life of meet_worked */
};

#define MEET_BYTES ((uint64_t)64 << 20) /* of work between two signs of life */

/* Begin to show signs of life; on rank 0: the folder is ready for the others. */
int meet_here(const struct meet *m, struct err *e);

/* A sign of life.  Failing to give one is not an error. */
void meet_touch(const struct meet *m);

/* So many bytes were read or written: a sign of life when it was enough since the last
 * one, however many pieces it came in. */
void meet_worked(struct meet *m, uint64_t bytes);

/* Ranks but 0: wait until rank 0 is here. */
int meet_wait_ready(const struct meet *m, struct err *e);

/* Tell rank 0 that this rank's part is written, and `data` with it. */
int meet_done(const struct meet *m, const void *data, size_t len, struct err *e);

/* Tell all that this rank failed, and why. */
void meet_failed(const struct meet *m, const char *why);

/* Rank 0: wait for the done marker of rank r and append its data.  An error when
 * it failed, or was not heard of for too long. */
int meet_gather(const struct meet *m, int r, struct buf *data, struct err *e);

/* Rank 0, having failed: wait until the others know, but not for long. */
void meet_dismiss(const struct meet *m);

/* Ranks but 0: wait until rank 0 took the folder away; an error when it failed. */
int meet_wait_end(const struct meet *m, struct err *e);

/* Rank 0: remove all markers from the folder. */
int meet_clear(const struct meet *m, struct err *e);

#endif
