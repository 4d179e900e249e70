/* SPDX-License-Identifier: Apache-2.0 */
/*
 * manifest.h - what a checkpoint says about itself: manifest.json.
 *
 * For the writer and the readers of checkpoints.  The text depends on what was
 * trained alone, never on the layout or the time.  Its last line is the sha256
 * of all the bytes before that line, so a change anywhere in it is seen:
 *
 *   {
 *   "v": 1,
 *   "step": 100, "applied": 99, "loss_scale": 65536.0, "clean": 7,
 *   "best": 1.25, "best_step": 80, "stale": 2,   (of a job with train.best, once
 *                                                 it was validated)
 *   "seed": 1,
 *   "nparams": 809856,
 *   "job": {...},
 *   "files": {
 *   "model.safetensors": {"size": N, "head": N, "sha256": of the first head bytes},
 *   ...},
 *   "tensors": {
 *   "embed.weight": {"file": ..., "dtype": "F32", "shape": [...], "sha256": ...},
 *   ...},
 *   "sha256": "..."
 *   }
 */
#ifndef TRAIN_MANIFEST_H
#define TRAIN_MANIFEST_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/sha256.h"
#include "format/safetensors.h"
#include "train/trainer.h"

#define MANIFEST_NAME    "manifest.json"
#define MANIFEST_VERSION 1
#define MANIFEST_MAX     (256u << 20) /* bytes */

struct manifest_file {
    const char *name;
    uint64_t size, head; /* bytes; those that no tensor's hash covers */
    char sha256[SHA256_HEX];
};

struct manifest_tensor {
    const char *name, *file, *type; /* type as in safetensors: "F32" */
    uint32_t ndim;
    int64_t dim[SAFETENSORS_DIMS];
    char sha256[SHA256_HEX];
};

struct manifest {
    struct train_state state;
    int64_t nparams;
    const char *seed, *job; /* JSON texts */
    bool scaled;            /* read: the job was of fp16, with a loss scale */
    struct manifest_file *file;
    struct manifest_tensor *tensor;
    size_t nfile, ntensor;
};

/* Append the text.  Names are UTF-8. */
void manifest_print(const struct manifest *m, struct buf *out);

/* Read a text that anyone may have written; `path` is for errors, what is read
 * lives in the arena.  ERR_SPEC. */
int manifest_parse(const char *path, const char *text, size_t len, struct arena *a,
                   struct manifest *out, struct err *e);

/* Of the job as JSON: its seed, and itself without the layout ("parallel"), as
 * they stand in a manifest.  ERR_SPEC when it is no job. */
int manifest_job(const char *json, struct arena *a, const char **seed, const char **job,
                 struct err *e);

#endif
