/* SPDX-License-Identifier: Apache-2.0 */
/*
 * topo.h - the processors that a rank may use, and which thread takes which.
 *
 * mpirun is told not to bind: only the worker knows how many threads it runs.
 * A launcher or a cgroup that confines the process is obeyed.  Ranks that share
 * processors divide them evenly, cores first, each rank a run of neighbours, so
 * that its threads share caches and a NUMA node where the numbers allow it.
 * Where ranks x threads exceed the processors nothing is bound: the kernel's
 * scheduler shares them better than we would.
 *
 * A PU is what the kernel schedules on: a hardware thread of a core.
 */
#ifndef WORKER_TOPO_H
#define WORKER_TOPO_H

#include <stdbool.h>

#include "base/err.h"
#include "comm/comm.h"

struct topo;

/* Where a rank sits among those that share its processors. */
struct topo_seat {
    int rank, ranks; /* rank < ranks                            */
    int threads;     /* of each rank, its main thread being one */
};

/* This machine, less what this thread may not run on. */
int topo_here(struct topo **out, struct err *e);

/* A machine described in hwloc's synthetic syntax, "numa:2 core:4 pu:2"; see
 * hwloc's documentation, "Synthetic topologies".  Nothing can be bound in it. */
int topo_synthetic(const char *machine, struct topo **out, struct err *e);

void topo_destroy(struct topo *t);

/* How many there are to use; each at least 1. */
int topo_pus(const struct topo *t);
int topo_cores(const struct topo *t);
int topo_nodes(const struct topo *t); /* NUMA */

/* An even share of the cores for each of `ranks` ranks, at least 1: threads of a
 * rank where the job names no number. */
int topo_share(const struct topo *t, int ranks);

/* Find out, together with all ranks of c, how many of them share the processors
 * of t, and which of those this one is.  Collective. */
int topo_sit(const struct topo *t, struct comm *c, int *rank, int *ranks,
             struct err *e);

/* Whether every thread of every rank gets a PU of its own; else nobody is bound. */
bool topo_fits(const struct topo *t, const struct topo_seat *s);

/* The PU, by the kernel's number, for thread `thread` (0 = main) of the rank at
 * that seat, or -1 where the ranks do not fit. */
int topo_pu(const struct topo *t, const struct topo_seat *s, int thread);

/* Bind the calling thread to topo_pu; does nothing where the ranks do not fit.
 * An error is worth a warning, no more: an unbound rank computes the same. */
int topo_bind(const struct topo *t, const struct topo_seat *s, int thread,
              struct err *e);

/* Let the calling thread run on every PU of t. */
int topo_unbind(const struct topo *t, struct err *e);

#endif
