/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine.h - what every task that computes needs: processors, threads, kernels.
 */
#ifndef WORKER_ENGINE_H
#define WORKER_ENGINE_H

#include "base/pool.h"
#include "comm/comm.h"
#include "kernel/kernel.h"
#include "worker/topo.h"

struct engine {
    struct topo *topo;
    struct topo_seat seat; /* of this rank among those on its processors */
    struct pool *pool;     /* seat.threads threads, each on its own PU   */
    struct kernels *kernels;
};

/* Threads: as many as asked for, or with 0 an even share of the cores.  Binds the
 * calling thread too.  Plugins: every *.so of the folders in `plugins`, separated
 * by ':'; NULL or "": of $NND_PLUGIN_DIR, else those that belong to this program.
 * Plugins that are refused are warned of.  Collective. */
int engine_open(struct engine *x, struct comm *c, int threads, const char *plugins,
                struct err *e);
void engine_close(struct engine *x);

/* Let the calling thread run anywhere, or on its PU again: a thread inherits the
 * place of its maker. */
void engine_unbind(const struct engine *x);
void engine_rebind(const struct engine *x);

#endif
