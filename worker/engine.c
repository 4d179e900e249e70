/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine.c - binds the threads of a rank and loads its kernels.
 */
#include "worker/engine.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/log.h"
#include "data/tokenizer.h"
#include "kernel/folders.h"
#include "worker/probe.h"
#include "worker/world.h"

/* --- threads -------------------------------------------------------------- */

/* An unbound thread computes the same, a little slower perhaps. */
static void bind_thread(void *arg, int index)
{
    const struct engine *x = arg;
    struct err e;

    if (topo_bind(x->topo, &x->seat, index, &e) < 0)
        log_warn("%s", e.text);
}

void engine_unbind(const struct engine *x)
{
    struct err e;

    if (topo_unbind(x->topo, &e) < 0)
        log_warn("%s", e.text);
}

void engine_rebind(const struct engine *x)
{
    bind_thread((void *)x, 0);
}

static int open_pool(struct engine *x, struct comm *c, int threads, struct err *e)
{
    int rc = topo_here(&x->topo, e);

    if (rc == 0)
        rc = topo_sit(x->topo, c, &x->seat.rank, &x->seat.ranks, e);
    if (rc < 0)
        return rc;
    x->seat.threads = threads ? threads : topo_share(x->topo, x->seat.ranks);
    rc = pool_create(x->seat.threads, bind_thread, x, &x->pool, e);
    if (rc < 0)
        return rc;
    if (topo_fits(x->topo, &x->seat))
        pool_alone(x->pool);
    engine_rebind(x);
    return 0;
}

/* --- plugins -------------------------------------------------------------- */

static int load_folders(struct kernels *ks, char *folders, struct err *e)
{
    char *rest = NULL;
    int rc = 0;

    for (char *dir = strtok_r(folders, ":", &rest); rc == 0 && dir;
         dir = strtok_r(NULL, ":", &rest))
        rc = kernels_load_dir(ks, dir, e);
    return rc;
}

static int open_kernels(struct engine *x, struct comm *c,
                        const struct engine_config *config, struct err *e)
{
    const char *plugins = config->plugins;
    char installed[PATH_MAX];
    struct buf folders = {0};
    int rc = kernels_create(x->pool, &x->kernels, e);

    if (rc < 0)
        return rc;
    if (!plugins || !*plugins)
        plugins = getenv("NND_PLUGIN_DIR");
    fs_installed(NND_LIBEXECDIR, NND_PLUGINDIR, installed, sizeof installed);
    kernel_folders(plugins, installed, &folders);
    kernels_quarantine(x->kernels, config->quarantine, config->suspects);
    if (config->quarantine)
        rc = probe_meet(folders.data, config->quarantine, c, e);
    if (rc == 0)
        rc = load_folders(x->kernels, folders.data, e);
    buf_free(&folders);
    if (rc == 0)
        world_warn(kernels_refused(x->kernels));
    return rc;
}

void engine_tokenizers(struct buf *folders)
{
    char installed[PATH_MAX];

    fs_installed(NND_LIBEXECDIR, NND_TOKENIZERDIR, installed, sizeof installed);
    tokenizer_plugin_folders(getenv("NND_TOKENIZER_DIR"), installed, folders);
    tokenizer_folders(folders->data);
}

/* --- both ----------------------------------------------------------------- */

int engine_open(struct engine *x, struct comm *c, const struct engine_config *config,
                struct err *e)
{
    int rc;

    memset(x, 0, sizeof *x);
    rc = open_pool(x, c, config->threads, e);
    if (rc == 0)
        rc = open_kernels(x, c, config, e);
    if (rc < 0)
        engine_close(x);
    return rc;
}

void engine_close(struct engine *x)
{
    kernels_destroy(x->kernels);
    pool_destroy(x->pool);
    topo_destroy(x->topo);
    memset(x, 0, sizeof *x);
}
