/* SPDX-License-Identifier: Apache-2.0 */
/*
 * work.h - the tasks of a call over the host's threads, each worker with a slot
 * of the workspace.  Which worker takes which task never shows in a result.
 */
#ifndef CPU_WORK_H
#define CPU_WORK_H

#include <nnd/plugin.h>

/* fn(arg, task, slot) for 0 <= task < tasks.  Each worker has the same part of them in
 * every call, neighbours, so that it finds in its cache what it wrote in the one
 * before; who comes free takes over from others.  Slots of `slot_size` bytes lie at
 * `room`, `size` bytes in all, which also bounds the number of workers.  Returns as
 * host->parallel(). */
typedef void work_f(void *arg, int task, void *slot);
int work_run(const struct nnd_launch *l, int tasks, size_t slot_size, void *room,
             size_t size, work_f *fn, void *arg);

/* Workspace for the slots of as many workers as the host says it has threads. */
size_t work_room(size_t slot_size);

#endif
