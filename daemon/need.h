/* SPDX-License-Identifier: Apache-2.0 */
/*
 * need.h - jobs that wait for other jobs.
 *
 * What a job needs is text in its row, "ok:5,any:7": job 5 must have completed and
 * job 7 must have ended.  The number of an array's first job stands for them all; one
 * of them that is not there any more counts as a job of which nothing is known.
 */
#ifndef DAEMON_NEED_H
#define DAEMON_NEED_H

#include "base/buf.h"
#include "daemon/hub.h"
#include "daemon/rpc.h"

/* Most of them that a job may have. */
enum { NEED_MAX = 64 };

/* The text for what a request says, appended to *out.  ERR_SPEC for too many or for
 * no need, ERR_NOTFOUND for a job that is not there, or not for who asks. */
int need_text(const struct rpc_call *call, Wire__After *const *after, size_t n,
              struct buf *out, struct err *e);

enum need {
    NEED_MET,
    NEED_OPEN,    /* wait                                     */
    NEED_NEVER,   /* what it waits for cannot happen any more */
    NEED_UNKNOWN, /* the store cannot be read: look again     */
};

/* The newest answer; {0} at first, and whenever a job is not what it was.  All jobs of
 * an array have the same needs: who asks for one after the other looks once. */
struct need_memo {
    const char *text; /* the job's, which has to be there as long as this */
    enum need found;
    char why[120]; /* unless met: in a line, what it waits for */
};

/* Where j stands, and why: in *m. */
enum need need_look(struct hub *h, const struct job *j, struct need_memo *m);

/* True when j waits for `other`, by its number or by that of its array. */
bool need_has(const struct job *j, const struct job *other);

#endif
