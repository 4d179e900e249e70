/* SPDX-License-Identifier: Apache-2.0 */
/*
 * need.h - jobs that wait for other jobs.
 *
 * What a job needs is text in its row, "ok:5,any:7": job 5 must have completed and
 * job 7 must have ended.  The number of an array's first job stands for them all.
 */
#ifndef DAEMON_NEED_H
#define DAEMON_NEED_H

#include "base/buf.h"
#include "daemon/hub.h"

/* Most of them that a job may have. */
enum { NEED_MAX = 64 };

/* The text for what a request says, appended to *out.  ERR_SPEC for too many or for
 * no need, ERR_NOTFOUND for a job that is not there. */
int need_text(struct hub *h, Wire__After *const *after, size_t n, struct buf *out,
              struct err *e);

enum need {
    NEED_MET,
    NEED_OPEN,  /* wait                                     */
    NEED_NEVER, /* what it waits for cannot happen any more */
};

/* Where j stands; *why, unless met, says in a line what it waits for. */
enum need need_look(struct hub *h, const struct job *j, char *why, size_t size);

/* True when j waits for job `id`. */
bool need_has(const struct job *j, uint64_t id);

#endif
