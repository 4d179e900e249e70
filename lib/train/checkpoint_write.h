/* SPDX-License-Identifier: Apache-2.0 */
/*
 * checkpoint_write.h - one checkpoint onto disk, by all ranks together, each from
 * a copy of what it owns.
 *
 * For the files checkpoint*.c and lib/exchange alone.  Talks to nobody but through the
 * folder; so it runs in any thread, and in tests several ranks in one process.
 */
#ifndef TRAIN_CHECKPOINT_WRITE_H
#define TRAIN_CHECKPOINT_WRITE_H

#include "train/checkpoint_layout.h"
#include "train/manifest.h"

#define CHECKPOINT_TOKENIZER "tokenizer.json"
#define CHECKPOINT_IO_BYTES  ((size_t)1 << 20) /* rank 0's buffer for hashing */

/* A file that goes along with a checkpoint, under a hash like all others. */
struct checkpoint_file {
    const char *name, *data;
    size_t len;
};

struct checkpoint_part {
    const char *dir;           /* the folder of all checkpoints      */
    int attempt, serial, keep; /* serial: of this save, on all ranks */
    int rank, world;
    double patience; /* seconds without a sign of another rank */
    const struct layout *layout;
    const void *data;      /* the owned sources, one after the other       */
    const void *const *at; /* or, not NULL: where each source lies       */
    void *io;              /* rank 0: CHECKPOINT_IO_BYTES                  */
    struct train_state state;
    const char *seed, *job; /* as in a manifest          */
    const char *tokenizer;  /* text of tokenizer.json    */
    const char *failed; /* or, not NULL: why this rank has nothing to write, which all
                           ranks are told */

    const struct checkpoint_file *also; /* [nalso]: rank 0 writes them */
    int nalso;
};

/* Write this rank's part; returns when the checkpoint is whole under its name, or
 * has failed on any rank and is gone. */
int checkpoint_write(const struct checkpoint_part *p, struct err *e);

#endif
