/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model.h - which trained model a person means.
 */
#ifndef CLIENT_MODEL_H
#define CLIENT_MODEL_H

#include <limits.h>

#include "base/err.h"

struct client;

/* `what` is a job's number - then its folder, which has a checkpoint - or a folder
 * that is there. */
int model_find(struct client *c, const char *what, char out[PATH_MAX], struct err *e);

#endif
