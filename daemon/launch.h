/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launch.h - what there is to know about a way to start ranks: its command, what
 * its exit means, and how it marks the ranks' output.  One file per launcher.
 */
#ifndef DAEMON_LAUNCH_H
#define DAEMON_LAUNCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"

/* What is to be started. */
struct launch {
    const char *mpirun, *worker; /* programs                                   */
    const char *job_file;        /* the packed Nnd__Job                        */
    const char *job_dir;         /* where checkpoints and metrics go           */
    const char *attempt_dir;     /* the ranks' working directory               */
    const char *tmp_dir;         /* for the launcher's own files               */
    const char *shm_dir;         /* for shared memory, on a tmpfs; or NULL     */
    const char *uri;             /* of nnd                                     */
    uint32_t ranks, threads, attempt;
    uint64_t epoch;
    bool root; /* started by root                            */
};

/* How a launcher ended. */
struct launch_exit {
    int code;   /* of the first bad rank, or of the launcher itself    */
    int signal; /* that ended a rank or the launcher, or 0             */
    bool self;  /* the launcher itself was killed, not a rank of it    */
};

struct launcher {
    const char *name;

    /* The command, NULL-terminated, in the arena. */
    char **(*argv)(const struct launch *l, struct arena *a);

    /* Understand a raw wait status. */
    void (*understand)(int wait, struct launch_exit *out);

    /* Who printed a line of the log: *rank (-1: the launcher), *err when it went
     * to stderr.  Returns how many bytes at its front are not the rank's. */
    size_t (*line)(const char *text, size_t len, int *rank, bool *err);

    /* True when a line of the launcher says which rank failed first. */
    bool (*blame)(const char *text, size_t len, int *rank);
};

/* Ranks on this machine, by mpirun. */
extern const struct launcher launch_local;

#endif
