/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job.h - a job as nnd knows it: the sum of its events.
 *
 * job_apply folds one event into a job and is the only place where durable
 * fields change, so that replaying the journal gives the same job.  Starting and
 * watching processes is attempt.h's, keeping jobs is store.h's.
 */
#ifndef DAEMON_JOB_H
#define DAEMON_JOB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "daemon/state.h"
#include "proto/wire.pb-c.h"

struct attempt;

/* One line of the journal.  Fields that an event has no use for are 0. */
struct event {
    uint64_t seq;    /* given by the store                               */
    int64_t time_us; /* given by the store                               */
    uint64_t job;
    enum event_kind kind;
    Wire__State state; /* after it                                         */
    uint32_t attempt;
    Wire__Failure failure;
    int exit_code, signal;
    int bad_rank;        /* the first rank that failed, or -1                */
    uint64_t step;       /* SAVED: of the checkpoint; ends: steps done;
                            SUBMIT, PRIORITY: the priority */
    uint64_t first_step; /* SAVED, ends: where the attempt took up, or 0     */
    int64_t due_us;      /* RETRY: when to queue again                       */
    uint32_t pid;        /* START: unused; ends: of the shepherd             */
    const char *text;    /* one line: reason, path of the checkpoint, START: where
                            its ranks go ("a:2,b:2"); or NULL */
    const char *cause;   /* ends: last lines of the bad rank, or NULL        */
    const Wire__RankMetric *metric; /* ends: the newest figures, or NULL    */
};

struct job {
    /* as submitted */
    uint64_t id;
    uint32_t uid;
    char *name, *cwd;
    uint32_t ranks, threads; /* threads per rank, > 0 */
    uint64_t steps;
    uint32_t retry_max;
    double retry_delay; /* seconds */
    int64_t submitted_us;
    double time_limit, warn; /* seconds; 0: no limit                       */
    uint64_t array;          /* id of the array's first job, or 0          */
    char *label;             /* what tells it from the array's others; or NULL */
    char *needs;             /* "ok:5,any:7", or NULL; see need.h          */

    /* the sum of its events */
    Wire__State state;
    char *reason;
    uint32_t attempt; /* number of the newest, 0 before the first   */
    uint64_t epoch;   /* seq of that attempt's START                */
    uint32_t retries; /* since the last checkpoint                  */
    bool cancel_asked;
    Wire__Failure failure;
    int exit_code, signal;
    uint64_t failed_step; /* where the attempt before failed            */
    char *checkpoint;
    uint64_t checkpoint_step;
    uint64_t first_step;
    int64_t started_us, attempt_started_us, ended_us, due_us;
    uint32_t priority; /* the larger one starts first                    */
    char *nodes;       /* where the newest attempt's ranks are, or NULL  */
    int64_t paused_at_us, paused_us; /* suspended since, and before that   */
    Wire__RankMetric metric;         /* newest figures; between ends not durable   */
    uint64_t seq;                    /* of its newest event                        */

    /* while this nnd runs */
    struct attempt *live; /* its processes, or NULL                     */
    bool dirty;           /* touched since the last commit              */
    struct queue_place {  /* queue.c's: in which line it stands          */
        int line;
        bool counted;
        uint32_t priority;
        size_t at;
    } place;
    uint64_t version; /* differs after every visible change         */
};

struct job *job_create(uint64_t id);
void job_destroy(struct job *j); /* not its attempt; NULL is legal */

/* Fold *ev into *j.  False (and nothing changed) when it cannot happen now. */
bool job_apply(struct job *j, const struct event *ev);

/* The newest figures, key by key, over those already there. */
void job_measure(Wire__RankMetric *into, const Wire__RankMetric *from);

/* Mark a visible change. */
void job_touch(struct job *j);

/* Slots it occupies while an attempt is there. */
uint32_t job_slots(const struct job *j);

/* Fill *out, whose strings stay the job's.  Why it waits is queue_reason's. */
void job_info(const struct job *j, Wire__JobInfo *out);

#endif
