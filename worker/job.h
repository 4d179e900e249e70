/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job.h - the job that a task works on, from wherever it is written down.
 */
#ifndef WORKER_JOB_H
#define WORKER_JOB_H

#include <limits.h>
#include <stdint.h>

#include "comm/comm.h"
#include "data/lexicon.h"
#include "proto/spec.h"
#include "worker/args.h"

/* Read, override and check a job, packed or YAML.  Errors as in spec.h. */
int job_read(const char *path, const struct arg_list *set, struct spec **out,
             struct err *e);

/* The job and the tokenizers of a checkpoint folder. */
int job_of_checkpoint(const char *path, struct spec **out, struct lexicon *lexicon,
                      struct err *e);

/* The teacher of a student whose tokenizers these are: its newest checkpoint's path and
 * job; *out NULL: the student has none.  Collective in `world`.  ERR_SPEC: their words
 * are not the same, byte for byte, or it is no checkpoint of ours. */
int job_teacher(const Nnd__Job *student, const struct lexicon *words,
                struct comm *world, char path[PATH_MAX], struct spec **out,
                struct err *e);

/* How many ids the model has: the job's number, or the tokenizer's.  ERR_SPEC when
 * the former is less than the latter.  Those of what it reads are written into the
 * job's model.source_vocab. */
int job_vocab(struct spec *s, const struct lexicon *l, int64_t *out, struct err *e);

/* The job as JSON text, exact in every number; appended. */
int job_json(const Nnd__Job *job, struct buf *out, struct err *e);

#endif
