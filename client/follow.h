/* SPDX-License-Identifier: Apache-2.0 */
/*
 * follow.h - staying with a job until it ends.
 *
 * Survives restarts of nnd, and says when it has to wait for one.
 */
#ifndef CLIENT_FOLLOW_H
#define CLIENT_FOLLOW_H

#include <stdint.h>

#include "base/err.h"
#include "client/client.h"
#include "client/progress.h"

/* Exit statuses of verbs that stay with a job; nnctl(1), EXIT STATUS. */
enum { EXIT_TIMEOUT = 124, EXIT_SELF = 125, EXIT_CANCELED = 130 };

/* Time to stay for as long as it takes. */
#define FOLLOW_FOREVER (-1.0)

/* How following ended. */
enum follow_end {
    FOLLOW_ENDED = 1,   /* the job is in a final state: *status is its exit status */
    FOLLOW_LOST = 2,    /* nnd cannot be asked any more, which was reported;
                         *status is EXIT_SELF                                    */
    FOLLOW_SIGNAL = 3,  /* a signal came (term_catch_signals): *status is which    */
    FOLLOW_TIMEOUT = 4, /* the time was up                                         */
};

/* Look at the job until it ends.  p shows how it goes, NULL: nothing is shown.
 * timeout_s < 0: for as long as it takes; 0: one look.  Returns enum follow_end, or an
 * error when there was nothing to stay with: ERR_NOTFOUND, ERR_UNREACHABLE, ... */
int follow_job(struct client *c, uint64_t id, struct progress *p, double timeout_s,
               int *status, struct err *e);

/* For verbs that only look: stay until the end, leave on a signal and say how to
 * come back.  Returns the exit status; `left` is that of leaving. */
int follow_or_leave(struct client *c, uint64_t id, struct progress *p, int left,
                    struct err *e);

/* The exit status that stands for how the job ended: 0, the failing rank's code,
 * 128 + signal, 124 or 130. */
int follow_status(const Wire__JobInfo *j);

#endif
