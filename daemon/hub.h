/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hub.h - the one thread that decides: jobs that have not ended, the store, the
 * sockets, and the loop that joins them.
 *
 * One round of the loop: take what came in, let every attempt and the queue act,
 * commit once, and only then tell anyone or start anything.  While the disk refuses,
 * attempts and the queue act once a second, and who only asks is answered.
 */
#ifndef DAEMON_HUB_H
#define DAEMON_HUB_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "daemon/job.h"
#include "daemon/node.h"
#include "daemon/store.h"
#include "proto/conf.pb-c.h"

struct rpc;
struct queue;
struct exporter;
struct rules;

struct hub_options {
    const char *dir, *uri;                  /* absolute folder, ipc://...     */
    const char *shepherd, *worker, *mpirun; /* programs                      */
    const char *slurm;                      /* nnd-slurm                      */
    const Nnd__Config *conf;                /* all else; its paths are resolved above */
    /* Read the configuration again; NULL when there is no file of it. */
    int (*reload)(void *arg, struct hub_options *out, struct err *e);
    void *reload_arg;
};

struct hub {
    struct hub_options opt;
    uid_t uid;
    char boot[40], host[64];
    int64_t started_us;
    struct store *store;
    struct rpc *rpc;
    struct exporter *exporter; /* NULL: no figures for Prometheus */
    int64_t sign_at; /* when the service manager was last told, monotonic ns */
    struct queue *queue;
    struct rules *rules; /* what is known of kernels that jobs require */
    struct job **jobs;   /* not ended, by id                                */
    size_t njobs, cap;
    struct job **live; /* those that have an attempt                      */
    size_t nlive, live_cap;
    struct job **dirty; /* touched since the last commit                   */
    size_t ndirty, dirty_cap;
    struct nodes nodes;
    uint32_t slots, slots_used;
    uint64_t *purged; /* forgotten since the last commit                */
    size_t npurged;
    uint64_t nended;           /* that have ended and are kept         */
    int64_t sweep_at, keys_at; /* when to forget the next, monotonic ns */
    int64_t trash_at;          /* when to look at the trash again; 0: it is empty   */
    int lock_fd, watch_fd, signal_fd; /* watch_fd: epoll over pidfds        */
    int64_t now, wake;     /* monotonic ns; when to look again                */
    int64_t refused_until; /* the disk refused: write nothing of our own before; or 0 */
    int64_t busy_at;       /* when somebody last asked, or a job was there    */
    uint64_t change;       /* counts visible changes: long polls look again   */
    bool leaving;          /* end the loop when possible                      */
    bool stop_jobs;        /* and stop what runs before                       */
};

/* Take the folder's lock, open the store and mend it, take up what runs, bind the
 * socket. */
int hub_open(const struct hub_options *opt, struct hub *h, struct err *e);

/* Look at the store and at every job in it, mend what can be mended, and tell fn of
 * each complaint; *found counts them.  No nnd may be running there. */
int hub_check(const struct hub_options *opt, store_complaint_f *fn, void *arg,
              unsigned *found, struct err *e);

/* Serve until told to end.  Attempts outlive it unless stop_jobs. */
int hub_run(struct hub *h, struct err *e);
void hub_close(struct hub *h);

/* The job if it has not ended, or NULL. */
struct job *hub_find(const struct hub *h, uint64_t id);

/* Whose job that is, ended or not; ERR_NOTFOUND when there is none. */
int hub_owner(const struct hub *h, uint64_t id, uint32_t *uid, struct err *e);

/* Add a job to those that have not ended; the hub owns it from now on. */
void hub_add(struct hub *h, struct job *j);

/* store_post, and remember the job for the commit. */
int hub_post(struct hub *h, struct job *j, struct event *ev, struct err *e);

/* Look again at `at` (monotonic ns) at the latest. */
void hub_wake(struct hub *h, int64_t at);

/* Read the configuration and the server's key again; what is wrong stays as it was. */
int hub_reload(struct hub *h, struct err *e);

/* A visible change that is not in the journal (figures, a rank's step). */
void hub_changed(struct hub *h, struct job *j);

#endif
