/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool.h - the one thread pool of a process: n tasks over a few threads.
 *
 * The calling thread takes part.  Each thread has the same part of every run's tasks,
 * in index order, so that neighbours in one run find what they wrote in the next, and
 * takes over others' when it has none left; results must not depend on which thread
 * runs which task.  Binding threads to cores is the caller's, through the start hook.
 */
#ifndef BASE_POOL_H
#define BASE_POOL_H

#include "base/err.h"

struct pool;

/* `threads` >= 1 counts the caller; each of the others calls start(arg, index)
 * first (may be NULL), index from 1. */
int pool_create(int threads, void (*start)(void *arg, int index), void *arg,
                struct pool **out, struct err *e);
void pool_destroy(struct pool *p);

/* Each thread has a processor of its own: those that wait for a run, or for its end, do
 * so awake for longer. */
void pool_alone(struct pool *p);

int pool_threads(const struct pool *p);

/* Run fn(arg, i) for 0 <= i < n and return when all have ended.  Not reentrant:
 * a call from inside a task runs its tasks in that thread. */
void pool_run(struct pool *p, int n, void (*fn)(void *arg, int i), void *arg);

#endif
