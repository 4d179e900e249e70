/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.h - the life of a job, as one table: in which state which event may
 * happen, and the state after it.  Pure; whoever makes events asks here first.
 */
#ifndef DAEMON_STATE_H
#define DAEMON_STATE_H

#include <stdbool.h>

#include "proto/wire.pb-c.h"

enum { STATE_COUNT = WIRE__STATE__TIMEOUT + 1 };

/* What can happen to a job.  The numbers are in the journal: append only. */
enum event_kind {
    EVENT_SUBMIT = 1,    /* accepted                                             */
    EVENT_QUEUE = 2,     /* may be started: new, or its back-off is over         */
    EVENT_HOLD = 3,      /* asked by a user                                      */
    EVENT_RELEASE = 4,   /* asked by a user                                      */
    EVENT_START = 5,     /* an attempt is about to be started                    */
    EVENT_UP = 6,        /* every rank has said hello                            */
    EVENT_SUSPEND = 7,   /* asked by a user                                      */
    EVENT_RESUME = 8,    /* asked by a user                                      */
    EVENT_SAVED = 9,     /* a checkpoint is on disk                              */
    EVENT_LOST = 10,     /* a rank's process is gone                             */
    EVENT_CANCEL = 11,   /* asked by a user                                      */
    EVENT_STOP = 12,     /* nnd wants the attempt to end (hang, shutdown)        */
    EVENT_COMPLETE = 13, /* the attempt ended: all steps done                    */
    EVENT_RETRY = 14,    /* the attempt ended: another follows after a back-off  */
    EVENT_REQUEUE = 15,  /* the attempt ended: not its fault, queue again        */
    EVENT_FAIL = 16,     /* the attempt ended: and so does the job               */
    EVENT_CANCELED = 17, /* the last process of a canceled job is gone           */
    EVENT_TIMEOUT = 18,  /* its time was up                                      */
    EVENT_PRIORITY = 19, /* asked by a user                                      */
    EVENT_NOTE = 20,     /* a rank has found something out; nothing changes      */
    EVENT_COUNT
};

/* The state after `kind` happens in `from`; false where it cannot happen. */
bool state_next(Wire__State from, enum event_kind kind, Wire__State *out);

/* COMPLETED, FAILED, CANCELED, TIMEOUT: never left again. */
bool state_is_final(Wire__State s);

/* COMPLETE, RETRY, REQUEUE, FAIL, CANCELED, TIMEOUT: an attempt is over. */
bool event_is_end(enum event_kind kind);

/* STARTING, RUNNING, SUSPENDED, STOPPING: an attempt is there. */
bool state_is_live(Wire__State s);

/* "queued"; "?" for a number that is no state. */
const char *state_name(Wire__State s);

/* "submit"; "?" for a number that is no event. */
const char *event_name(enum event_kind kind);

/* "app_error"; "?" for a number that is no failure. */
const char *failure_name(Wire__Failure f);

#endif
