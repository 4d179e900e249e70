/* SPDX-License-Identifier: Apache-2.0 */
/*
 * folder.h - folders of jobs that are younger than the database: it was put back from
 * a copy, or begun anew.  Nothing in them is taken for what it is not.
 */
#ifndef DAEMON_FOLDER_H
#define DAEMON_FOLDER_H

#include <stdint.h>

#include "base/err.h"
#include "daemon/store.h"

/* No new job gets the number of a folder in DIR/jobs: the checkpoints in it are another
 * job's.  The folders stay as they are. */
int folder_open(const char *dir, struct store *s, struct err *e);

/* The job in that folder is about to make its attempt `number`: that one, and those
 * after it, are of another history if they are there, and become attempt-N.old-TIME.
 * ERR_FAILED when one of them is running. */
int folder_clear(const char *job_dir, uint32_t number, struct err *e);

#endif
