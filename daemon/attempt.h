/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attempt.h - one try at running a job: start it, watch it, stop it, say how it
 * ended.  Processes are the shepherd's; this is nnd's view of them.
 *
 * Layout of DIR/jobs/ID: job.pb metrics.jsonl checkpoints/ attempt-N/{log, status,
 * lock, launcher, began, cgroup (a link), kernels, tmp/}.  The lock is held as long as
 * the shepherd lives, from before it is forked: whoever gets it knows that none is
 * alive.  What else may lie there is folder.h's.
 */
#ifndef DAEMON_ATTEMPT_H
#define DAEMON_ATTEMPT_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"
#include "daemon/hub.h"
#include "daemon/job.h"
#include "daemon/launch.h"
#include "daemon/status.h"
#include "proto/job.pb-c.h"
#include "proto/keys.h"

/* What nnd knows of one rank; all from its own messages. */
struct rank {
    bool up;    /* said hello                             */
    bool gone;  /* its process ended                      */
    bool ended; /* said why it leaves                     */
    int fd;     /* pidfd, or -1                           */
    uint32_t pid;
    char host[64];
    Wire__Phase phase;
    uint64_t step, seq;
    uint64_t meetings, work; /* as in its beats                          */
    bool waits;              /* for others, in op                        */
    char op[64];
    int64_t phase_at; /* since when it is in it                   */
    int64_t beat_at;  /* monotonic ns                           */
};

enum attempt_stage {
    ATTEMPT_LOOKING, /* taken up: the shepherd has not told its pid yet */
    ATTEMPT_RUNNING,
    ATTEMPT_SWEEPING, /* the shepherd is gone; killing what it left     */
    ATTEMPT_OVER,     /* no process is left                             */
};

enum { ATTEMPT_STEPS = 64 };

struct attempt {
    struct job *job;
    const struct launcher *launcher;
    enum attempt_stage stage;
    char dir[PATH_MAX];
    char shm[160];         /* folder for shared memory, "" for none     */
    char public[KEYS_Z85]; /* of the key of its ranks elsewhere, "" for none */
    char marker[128];      /* NND_ATTEMPT of its processes              */
    char cgroup[1024];     /* its control group's folder, "" for none   */
    pid_t cleaner;         /* that ends what is elsewhere, or 0         */
    bool cleaned;          /* and has done so                           */
    bool clean_warned;     /* that it could not has been said           */
    int64_t clean_at;      /* when it was started last                  */
    int fd;                /* pidfd of the shepherd, or -1              */
    pid_t pid;             /* of the shepherd                           */
    bool child;            /* it is this process's child: to be reaped  */
    int64_t since;         /* when this stage began                     */
    int64_t began;         /* when it was started, perhaps by another nnd */
    bool queued;           /* its launcher may not have nodes for it yet  */
    struct status status;  /* valid when `told`                         */
    bool told;             /* the shepherd said how it ended            */
    bool swept_boot;       /* the machine was restarted                 */
    bool was_up;           /* every rank has been up                    */
    bool paused;           /* told to stand still                       */
    bool lost_posted;      /* that a rank is lost                       */
    struct rank *ranks;    /* job->ranks of them                        */
    uint32_t nup, ngone;
    Wire__Stop stop;  /* what ranks are told                       */
    int64_t term_at;  /* when to send TERM, 0 never                */
    int64_t moved_at; /* when any rank last moved                  */
    uint64_t noted;   /* step of the last note, or 0               */
    uint64_t saved;   /* step of its last checkpoint, or 0         */
    struct {          /* all as they were at the last commit       */
        bool lost_posted;
        uint64_t noted, saved;
    } durable;
    int64_t suspect_at; /* since when it seems to hang, or 0         */
    double slowest[WIRE__PHASE__DONE + 1]; /* longest phase of each kind, s */
    double steps[ATTEMPT_STEPS];           /* a ring of the last ones', s   */
    uint32_t nsteps;
    int first_bad;      /* the first rank that failed, or -1         */
    Wire__Failure said; /* what the first bad rank said              */
    uint64_t step;      /* the last that it did, 0: none is known of */
    char said_text[512];
    char start_error[512]; /* why it could not be started, or ""        */
};

/* Who starts the ranks of a job with that wish, or of one that has none.  ERR_SPEC when
 * nnd is not set up for it. */
int attempt_launcher(const struct hub *h, Nnd__Launcher wish,
                     const struct launcher **out, struct err *e);

/* Start the newest attempt of j (state STARTING, event committed).  Never fails
 * for the caller: what goes wrong is how the attempt ends. */
void attempt_start(struct hub *h, struct job *j);

/* After nnd was restarted: find the attempt of j again, or learn how it ended. */
void attempt_adopt(struct hub *h, struct job *j);

/* Forget it; its processes are left alone. */
void attempt_destroy(struct attempt *a);

/* What was posted is durable, or (done false) has not happened. */
void attempt_settle(struct attempt *a, bool done);

/* Do what is due; posts events.  Idempotent: called in every round. */
void attempt_act(struct hub *h, struct attempt *a);

/* Begin a graceful stop: ranks are told `how`, TERM follows after the grace time
 * (at once when not all ranks are up). */
void attempt_stop(struct hub *h, struct attempt *a, Wire__Stop how);

/* Ask its launcher for something; nothing happens when it cannot do that. */
void attempt_ask(struct attempt *a, enum launch_ask ask);

/* A descriptor of the watch set became readable. */
void attempt_ended(struct hub *h, struct attempt *a);
void attempt_rank_gone(struct hub *h, struct attempt *a, uint32_t rank);

/* A rank spoke: its process from now on is pid, on host; NULL: it does not say. */
void attempt_rank_up(struct hub *h, struct attempt *a, uint32_t rank, uint32_t pid,
                     const char *host);

/* nnd has another key: tell its ranks elsewhere, who look when they come back. */
void attempt_say_server(const struct hub *h, const struct attempt *a);

/* "DIR/jobs/ID", "DIR/jobs/ID/attempt-N". */
void attempt_job_dir(const struct hub *h, uint64_t job, char out[PATH_MAX]);
void attempt_dir(const struct hub *h, uint64_t job, uint32_t number,
                 char out[PATH_MAX]);

#endif
