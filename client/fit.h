/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fit.h - train.batch fit becomes a number: nnd-worker plans, nnctl stores.
 */
#ifndef CLIENT_FIT_H
#define CLIENT_FIT_H

#include "proto/spec.h"

/* The resolved job in a file without a name; its descriptor, which a child inherits. */
int fit_job_file(struct spec *s, struct err *e);

/* Where the job's batch is to fit, give it the batch, and for pairs the batch_tokens,
 * that nnd-worker plans for this machine and the job's files.  What the worker says of
 * a job that cannot be planned is printed on stderr by it. */
int fit_resolve(struct spec *s, struct err *e);

#endif
