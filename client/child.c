/* SPDX-License-Identifier: Apache-2.0 */
/*
 * child.c - the other programs of nnd, which do what nnctl does not.
 */
#include "client/child.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"

static const struct {
    const char *name, *variable, *built, *installed;
} programs[] = {
    [CHILD_NND] = {"nnd", "NND_DAEMON", "../daemon/nnd", NND_SBINDIR "/nnd"},
    [CHILD_WORKER] = {"nnd-worker", "NND_WORKER", "../worker/nnd-worker",
                      NND_LIBEXECDIR "/nnd-worker"},
    [CHILD_PROBE] = {"nnd-plugin-probe", "NND_PROBE",
                     "../plugins/probe/nnd-plugin-probe",
                     NND_LIBEXECDIR "/nnd-plugin-probe"},
};

/* The program beside nnctl, as a build tree has it; false when there is none. */
static bool find_built(const char *built, char out[PATH_MAX])
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    char *slash;
    int len;

    if (n <= 0)
        return false;
    self[n] = '\0';
    slash = strrchr(self, '/');
    if (!slash)
        return false;
    *slash = '\0';
    len = snprintf(out, PATH_MAX, "%s/%s", self, built);
    return len < PATH_MAX && access(out, X_OK) == 0;
}

int child_find(enum child_program which, char out[PATH_MAX], struct err *e)
{
    const char *named = getenv(programs[which].variable);

    if (named && *named)
        snprintf(out, PATH_MAX, "%s", named);
    else if (!find_built(programs[which].built, out))
        fs_installed(NND_BINDIR, programs[which].installed, out, PATH_MAX);
    if (access(out, X_OK) < 0)
        return err_sys(e, ERR_FAILED, errno, "%s: cannot be run as %s",
                       programs[which].name, out);
    return 0;
}

void child_arg(struct child_args *a, const char *text)
{
    if (a->n + 1 >= a->cap) {
        size_t cap = a->cap ? 2 * a->cap : 32;
        char **v = arena_calloc(a->arena, cap, sizeof(*v));

        if (a->n)
            memcpy(v, a->v, a->n * sizeof(*v));
        a->v = v;
        a->cap = cap;
    }
    a->v[a->n++] = arena_strdup(a->arena, text);
}

void child_option(struct child_args *a, const char *name, const char *value)
{
    if (!value)
        return;
    child_arg(a, name);
    child_arg(a, value);
}

int child_become(enum child_program which, struct child_args *a, struct err *e)
{
    char path[PATH_MAX];
    int rc = child_find(which, path, e);

    if (rc < 0)
        return rc;
    fflush(stdout);
    execv(path, a->v);
    return err_sys(e, ERR_FAILED, errno, "%s", path);
}
