/* SPDX-License-Identifier: Apache-2.0 */
/*
 * par.h - rows and tasks over the host's threads.
 *
 * How work is cut never shows in a result: a task computes whole rows, or whole
 * columns, each in the order that its own shape sets.
 */
#ifndef CPU_PAR_H
#define CPU_PAR_H

#include <nnd/plugin.h>

/* Remember the host; once, by the plugin's entry. */
void par_init(const struct nnd_host *host);
const struct nnd_host *par_host(void);

/* fn(arg, lo, hi) over parts of [0, rows); `cost` is the number of elements that
 * a row touches.  A call too small to share stays in this thread.  Returns
 * NND_OK, or what the host's parallel() returned. */
typedef void rows_f(const void *arg, int64_t lo, int64_t hi);
int par_rows(const struct nnd_launch *l, int64_t rows, int64_t cost, rows_f *fn,
             const void *arg);

/* fn(arg, i) for 0 <= i < n.  Returns as par_rows(). */
int par_tasks(const struct nnd_launch *l, int n, void (*fn)(void *arg, int i),
              void *arg);

#endif
