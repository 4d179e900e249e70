/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine.h - what every task that computes needs: processors, threads, kernels.
 */
#ifndef WORKER_ENGINE_H
#define WORKER_ENGINE_H

#include "base/buf.h"
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

struct engine_config {
    int threads;            /* 0: an even share of the cores                    */
    const char *plugins;    /* folders, separated by ':'; NULL or "": those of
                               $NND_PLUGIN_DIR, or those that belong to this program */
    const char *quarantine; /* folder of trust/quarantine.h, or NULL            */
    bool suspects;          /* do without kernels that a process died in, too   */
};

/* Binds the calling thread too.  Every *.so of the folders is loaded; with a
 * quarantine, those that nobody knows are met by nnd-plugin-probe first.  Plugins
 * that are refused are warned of.  Collective. */
int engine_open(struct engine *x, struct comm *c, const struct engine_config *config,
                struct err *e);
void engine_close(struct engine *x);

/* Let the calling thread run anywhere, or on its PU again: a thread inherits the
 * place of its maker. */
void engine_unbind(const struct engine *x);
void engine_rebind(const struct engine *x);

/* Say where tokenizers that are loaded lie (NND_TOKENIZER_DIR, or beside the program);
 * `folders` holds the text for as long as they are used. */
void engine_tokenizers(struct buf *folders);

#endif
