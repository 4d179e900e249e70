/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launch.h - what there is to know about a way to start ranks: its command, the
 * signals it understands, what its end means, how it marks the ranks' output, and
 * how to end what it left on other machines.  One file per launcher, one table.
 */
#ifndef DAEMON_LAUNCH_H
#define DAEMON_LAUNCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "proto/wire.pb-c.h"

/* What is to be started. */
struct launch {
    const char *mpirun, *worker; /* programs                                   */
    const char *shepherd;        /* nnd-shepherd                               */
    const char *helper;          /* nnd-slurm                                  */
    const char *rsh;             /* runs "RSH HOST COMMAND" elsewhere; or NULL */
    const char *net;             /* network of the ranks, CIDR or device; NULL */
    const char *nodes;           /* "a:2,b:2": ranks per node; NULL: here      */
    const char *extra;           /* more arguments for Slurm, or NULL          */
    const char *marker;          /* NND_ATTEMPT of the processes               */
    const char *job_file;        /* the packed Nnd__Job                        */
    const char *job_dir;         /* where checkpoints and metrics go           */
    const char *attempt_dir;     /* the ranks' working directory               */
    const char *tmp_dir;         /* for the launcher's own files               */
    const char *shm_dir;         /* for shared memory, on a tmpfs; or NULL     */
    const char *uri;             /* of nnd                                     */
    uint32_t ranks, threads, attempt;
    uint64_t epoch;
    bool root;   /* started by root                            */
    bool inside; /* within an allocation of Slurm              */
};

/* How a launcher ended. */
struct launch_exit {
    int code;              /* of the first bad rank, or of the launcher itself    */
    int signal;            /* that ended a rank or the launcher, or 0             */
    bool self;             /* the launcher itself was killed, not a rank of it    */
    Wire__Failure failure; /* when its end says more than a code, else NO_FAILURE */
    const char *text;      /* then: one line, constant                            */
};

/* What an attempt is asked to do. */
enum launch_ask { LAUNCH_END, LAUNCH_PAUSE, LAUNCH_GO_ON };

struct launcher {
    const char *name, *program; /* "local"; what to call it: "mpirun"         */
    int grace_ms;               /* between asking it to end and killing it    */
    bool queues;                /* ranks may have to wait for their nodes     */

    /* The command, NULL-terminated, in the arena. */
    char **(*argv)(const struct launch *l, struct arena *a);

    /* The signal by which it is asked; 0 when it cannot do that. */
    int (*signal)(enum launch_ask ask);

    /* Understand a raw wait status. */
    void (*classify)(int wait, struct launch_exit *out);

    /* Who printed a line of the log: *rank (-1: the launcher), *err when it went
     * to stderr.  Returns how many bytes at its front are not the rank's. */
    size_t (*line)(const char *text, size_t len, int *rank, bool *err);

    /* True when a line of the launcher says which rank failed first; *code is what
     * it exited with, where the line says so and the launcher's own end does not. */
    bool (*blame)(const char *text, size_t len, int *rank, int *code);

    /* The node that a line of the launcher says is lost: its name's length, which
     * begins at *name; 0 for none.  NULL: it has one node. */
    size_t (*lost)(const char *text, size_t len, const char **name);

    /* A command that ends what this attempt may have left where nnd-shepherd does
     * not reach, and returns once nothing is left.  NULL: nothing can be there. */
    char **(*clean)(const struct launch *l, struct arena *a);
};

/* Ranks on this machine by mpirun, on several by mpirun, by Slurm. */
extern const struct launcher launch_local, launch_ssh, launch_slurm;

/* "local", "ssh" or "slurm", or NULL. */
const struct launcher *launch_find(const char *name);

/* Note in DIR which launcher an attempt has; whoever reads its log asks there. */
int launch_note(const char *dir, const struct launcher *l, struct err *e);
const struct launcher *launch_noted(const char *dir);

/* Of a launcher that queues: true once the ranks of the attempt in DIR wait for their
 * nodes no more, with how long ago that began; DIR/began says when, in milliseconds of
 * CLOCK_BOOTTIME. */
bool launch_began(const char *dir, int64_t *age_ns);

/* --- for launchers -------------------------------------------------------- */

/* A command being put together. */
struct launch_args {
    struct arena *arena;
    char **v;
    size_t n;
};

struct launch_args launch_args_create(struct arena *a);
void launch_add(struct launch_args *a, const char *text);
void launch_add_pair(struct launch_args *a, const char *option, const char *value);
void launch_add_number(struct launch_args *a, const char *option, uint64_t v);
void launch_add_words(struct launch_args *a, const char *text); /* parted by blanks */
void launch_add_worker(struct launch_args *a, const struct launch *l);

#endif
