/* SPDX-License-Identifier: Apache-2.0 */
/*
 * checkpoint_folder.h - the folders of checkpoints: their names, which there are,
 * how one appears, how old ones go.
 *
 * For the files checkpoint*.c alone.  One that is being written is
 * DIR/.step-NNNNNNNNN.attempt-A.tmp; a whole one DIR/step-NNNNNNNNN.
 */
#ifndef TRAIN_CHECKPOINT_FOLDER_H
#define TRAIN_CHECKPOINT_FOLDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Names of a checkpoint, and of one in the making. */
int folder_path(const char *dir, int64_t step, char *out, size_t size, struct err *e);
int folder_temporary(const char *dir, int64_t step, int attempt, char *out, size_t size,
                     struct err *e);

/* Give `from`, whose files are synced, the name `to`, durably, at one blow; what
 * had that name before is removed. */
int folder_publish(const char *dir, const char *from, const char *to, struct err *e);

/* Steps of the folders below dir that are named as checkpoints are, newest first;
 * none when there is no dir.  The caller frees *out. */
int folder_list(const char *dir, int64_t **out, size_t *n, struct err *e);

/* Has the one of this step its manifest?  Without, somebody is removing it, or was. */
bool folder_is_whole(const char *dir, int64_t step);

/* Remove what attempts up to this one left unfinished below dir. */
int folder_clean(const char *dir, int attempt, struct err *e);

/* Of the checkpoints up to `step`, that one included, keep the newest `keep` (at
 * least one) and that of step `best`, and remove the others, and what lost its
 * manifest.  Later ones are not this run's; they stay. */
int folder_prune(const char *dir, int64_t step, int keep, int64_t best, struct err *e);

#endif
