/* SPDX-License-Identifier: Apache-2.0 */
/*
 * checkpoint_stored.h - a checkpoint that is on disk: opened with care, hashed,
 * held against its manifest.
 *
 * For the files checkpoint*.c and lib/exchange alone.  The manifest names every file
 * and tensor; what is there and what it says must be the same, byte by byte.
 */
#ifndef TRAIN_CHECKPOINT_STORED_H
#define TRAIN_CHECKPOINT_STORED_H

#include "train/checkpoint_layout.h"
#include "train/checkpoint_meet.h"
#include "train/manifest.h"

/* What the names of averages of weights begin with, in optimizer.safetensors. */
#define STORED_AVERAGE "ema."

struct stored {
    struct arena *mem;
    const char *path;
    struct manifest manifest;
    struct safetensors *file[LAYOUT_FILES];
};

/* The manifest of the checkpoint `path` alone.  ERR_NOTFOUND, ERR_SPEC. */
int stored_manifest(const char *path, struct arena *a, struct manifest *out,
                    struct err *e);

/* Open and compare all but the tensors' bytes.  A file or tensor too many, too
 * few, or of another shape is an ERR_SPEC that names it. */
int stored_open(const char *path, struct stored **out, struct err *e);
void stored_close(struct stored *s);

/* Hash every `world`-th tensor from the `rank`-th on and compare; of the model's
 * file and of averages alone, or of all. */
int stored_verify(const struct stored *s, bool model_only, int rank, int world,
                  struct err *e);

/* Where a weight or a state of the model is stored; with `average`, as for inference,
 * the average of a weight if there is one.  *at is NULL when there is neither. */
const struct safetensors *stored_weight(const struct stored *s, const char *name,
                                        bool average,
                                        const struct safetensors_tensor **at);

/* Append a file of the checkpoint, held against its hash. */
int stored_read(const char *path, const struct manifest *m, const char *name,
                struct buf *out, struct err *e);

/* sha256 of a tensor's bytes, read through io[size].  Shows signs of life when m
 * is not NULL. */
int stored_hash_tensor(const struct safetensors *s, const struct safetensors_tensor *t,
                       void *io, size_t size, struct meet *m, char *hex, struct err *e);

/* sha256 of the first `head` bytes of a file. */
int stored_hash_head(const char *path, uint64_t head, char *hex, struct err *e);

#endif
