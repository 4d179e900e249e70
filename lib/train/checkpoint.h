/* SPDX-License-Identifier: Apache-2.0 */
/*
 * checkpoint.h - the state of training on disk, the same bytes whatever layout
 * wrote it.
 *
 * A checkpoint is a folder DIR/step-NNNNNNNNN of
 *   model.safetensors      every logical weight, f32 (the masters), and
 *                          states that belong to the model (routing bias)
 *   optimizer.safetensors  m.NAME and v.NAME of every logical weight, f32, and
 *                          ema.NAME, its average, with train.ema
 *   tokenizer.json         what text the ids stand for
 *   manifest.json          the state, the job without its layout, the sha256 of
 *                          every tensor and of all other bytes (manifest.h)
 * Every rank writes the elements it owns into the shared files of a folder with
 * another name; rank 0 hashes, writes the manifest, syncs and renames.  A folder
 * with a manifest is whole; loading verifies every hash.  Ranks read the slices
 * that their mesh needs, whatever mesh wrote them.
 *
 * Writing runs in a thread of its own from a copy taken at a step's end; it
 * never uses a communicator: ranks meet through files in the folder.  A job that saves
 * at its end alone needs no copy, which is as large as the optimizer's state: what is
 * written stands still, and who saves waits.
 */
#ifndef TRAIN_CHECKPOINT_H
#define TRAIN_CHECKPOINT_H

#include "train/trainer.h"

struct checkpoint;

struct checkpoint_config {
    const char *dir;       /* DIR, on a file system that all ranks share    */
    int attempt, keep;     /* keep: newest checkpoints that are not removed */
    bool in_place;         /* no copy: checkpoint_save waits until all is written */
    const char *job_json;  /* the job as it was resolved                    */
    const char *tokenizer; /* text of tokenizer.json                        */
    struct trainer *trainer;
    const struct mesh *mesh;
    /* Called from the writer's thread on rank 0 when one is on disk, or failed
     * (path NULL, why). */
    void (*done)(void *arg, int64_t step, const char *path, const char *why);
    void *arg;
};

/* May a job do without a copy?  Where it saves at the end alone, and the host reaches
 * its kernels' memory. */
bool checkpoint_in_place(const Nnd__Job *job);

/* Allocate the copy (checkpoint_bytes) and start the writer.  Rank 0 makes DIR and
 * removes what earlier attempts left unfinished in it.  Texts of the config are
 * copied.  Before the first step on every rank. */
int checkpoint_create(const struct checkpoint_config *c, struct checkpoint **out,
                      struct err *e);

/* Wait for what is being written, then stop. */
void checkpoint_destroy(struct checkpoint *c);

/* Memory that checkpoint_create takes on this rank. */
size_t checkpoint_bytes(const struct graph *g, const struct update *u, bool in_place);

/* Copy this rank's part and let the writer work (in place: let it work, and wait; how
 * it went tells checkpoint_wait); when the last one is still
 * being written, wait for it first.  All ranks call it after the same step.  An
 * earlier failure to write is returned, once, and this one is begun all the same; a
 * part that cannot be copied is such a failure, of all ranks. */
int checkpoint_save(struct checkpoint *c, struct err *e);

/* Wait until nothing is being written; the error of the last write, if any. */
int checkpoint_wait(struct checkpoint *c, struct err *e);

/* Collective.  The newest whole checkpoint below dir whose every hash is right
 * ("" when there is none); damaged ones are named in `notes`, a line each. */
int checkpoint_find(const char *dir, struct comm *world, char *path, size_t size,
                    struct buf *notes, struct err *e);

/* Collective.  The checkpoint that a person means by a folder: itself, or the newest
 * whole one of a job's folder or of a folder of checkpoints.  ERR_NOTFOUND. */
int checkpoint_newest(const char *dir, struct comm *world, char *path, size_t size,
                      struct buf *notes, struct err *e);

/* Collective.  Verify and read `path` into the trainer's pieces and states, and
 * resume; from weights alone, as imported models are, begin with the first step.  A
 * tensor without counterpart on either side is an error. */
int checkpoint_load(const char *path, struct trainer *t, struct err *e);

/* For inference: verify and read the weights alone into a graph's weights and
 * model states, in the graph's dtype; of a job with train.ema their averages. */
int checkpoint_load_weights(const char *path, struct exec *x, struct err *e);

/* The path of the checkpoint that validations had found best (train.best) when `path`,
 * beside it, was written.  ERR_NOTFOUND: there is none, or it is gone. */
int checkpoint_best(const char *path, char *out, size_t size, struct err *e);

/* Write the mean of the weights of the newest checkpoints below dir, at most `most`,
 * which are of one model, into folder `into`; *path is the checkpoint's then, called
 * after the newest step, and of weights alone, and *taken how many there were.
 * ERR_NOTFOUND: they are less than `least`. */
int checkpoint_average(const char *dir, size_t least, size_t most, const char *into,
                       char *path, size_t size, size_t *taken, struct err *e);

/* The job (JSON) and tokenizer (JSON) of a checkpoint, appended. */
int checkpoint_read_job(const char *path, struct buf *job, struct buf *tokenizer,
                        struct err *e);

#endif
