/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model.h - which trained model a person means, and letting it write.
 */
#ifndef CLIENT_MODEL_H
#define CLIENT_MODEL_H

#include <limits.h>

#include "base/err.h"
#include "client/verb.h"

/* `what` is a job's number - then its folder, which has a checkpoint - or a folder
 * that is there. */
int model_find(struct client *c, const char *what, char out[PATH_MAX], struct err *e);

/* What every verb that lets a model write is told; its options begin with this. */
struct model_options {
    const char *threads, *beam, *n_best, *length_penalty, *penalty, *coverage;
    const char *min_tokens, *no_repeat, *tokens;
    struct opt_list kernel, with;
    bool best;
};
extern const struct opt model_opts[];

/* Become `nnd-worker TASK` with the model `what` and, unless it is NULL, the text file
 * `input`.  The values of v's options are nnd-worker's to judge: they are handed on as
 * they are, under the same names. */
int model_become(struct client *c, const struct verb *v, const char *task,
                 const void *values, const char *what, const char *input,
                 struct err *e);

#endif
