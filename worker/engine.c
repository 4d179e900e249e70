/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine.c - binds the threads of a rank and loads its kernels.
 */
#include "worker/engine.h"

#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
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
    if (rc == 0)
        engine_rebind(x);
    return rc;
}

/* --- plugins -------------------------------------------------------------- */

/* In the build tree plugins lie as libtool leaves them: ../plugins/NAME/.libs. */
static bool build_tree(char *pattern, size_t size)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    char *slash;

    if (n <= 0)
        return false;
    self[n] = '\0';
    for (int up = 0; up < 2; up++) {
        slash = strrchr(self, '/');
        if (!slash)
            return false;
        *slash = '\0';
        if (up == 0 && (strlen(self) < 7 || strcmp(self + strlen(self) - 7, "/worker")))
            return false;
    }
    n = snprintf(pattern, size, "%s/config.status", self);
    if (n < 0 || (size_t)n >= size || !fs_exists(pattern))
        return false;
    return (size_t)snprintf(pattern, size, "%s/plugins/*/.libs", self) < size;
}

/* The folders that belong to this program, separated by ':'; appended. */
static void own_folders(struct buf *out)
{
    char pattern[PATH_MAX + 32];
    glob_t found = {0};

    if (!build_tree(pattern, sizeof pattern)) {
        if (fs_exists(NND_PLUGINDIR))
            buf_puts(out, NND_PLUGINDIR);
        return;
    }
    if (glob(pattern, 0, NULL, &found) == 0)
        for (size_t i = 0; i < found.gl_pathc; i++)
            buf_printf(out, "%s%s", i ? ":" : "", found.gl_pathv[i]);
    globfree(&found);
}

static int load_folders(struct kernels *ks, char *folders, struct err *e)
{
    char *rest = NULL;
    int rc = 0;

    for (char *dir = strtok_r(folders, ":", &rest); rc == 0 && dir;
         dir = strtok_r(NULL, ":", &rest))
        rc = kernels_load_dir(ks, dir, e);
    return rc;
}

static int open_kernels(struct engine *x, const char *plugins, struct err *e)
{
    struct buf folders = {0};
    int rc = kernels_create(x->pool, &x->kernels, e);

    if (rc < 0)
        return rc;
    if (!plugins || !*plugins)
        plugins = getenv("NND_PLUGIN_DIR");
    buf_puts(&folders, plugins && *plugins ? plugins : "");
    if (folders.len == 0)
        own_folders(&folders);
    rc = load_folders(x->kernels, folders.data, e);
    buf_free(&folders);
    if (rc == 0)
        world_warn(kernels_refused(x->kernels));
    return rc;
}

/* --- both ----------------------------------------------------------------- */

int engine_open(struct engine *x, struct comm *c, int threads, const char *plugins,
                struct err *e)
{
    int rc;

    memset(x, 0, sizeof *x);
    rc = open_pool(x, c, threads, e);
    if (rc == 0)
        rc = open_kernels(x, plugins, e);
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
