/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe.c - finds the plugins that are new here and starts nnd-plugin-probe on them.
 */
#include "worker/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/sha256.h"
#include "trust/quarantine.h"

enum { FILES_MAX = 256, FRONT = 4 };

/* nnd-plugin-probe meet --quarantine DIR FILE... */
struct command {
    struct arena *arena;
    char *v[FRONT + FILES_MAX + 1];
    int n;
};

/* What cannot be read is refused by the loader, which says why. */
static bool is_known(const char *path, const char *quarantine, struct arena *a)
{
    struct quarantine_file f;
    char hex[SHA256_HEX];
    struct err e;

    if (sha256_file(path, hex, &e) < 0 || quarantine_trusts(quarantine, hex))
        return true;
    quarantine_read(quarantine, hex, a, &f);
    return f.nnotes > 0;
}

static void add_folder(struct command *c, const char *dir, const char *quarantine)
{
    char pattern[PATH_MAX];
    glob_t found = {0};

    snprintf(pattern, sizeof pattern, "%s/*.so", dir);
    if (glob(pattern, 0, NULL, &found) == 0)
        for (size_t i = 0; i < found.gl_pathc; i++)
            if (c->n < FRONT + FILES_MAX &&
                !is_known(found.gl_pathv[i], quarantine, c->arena))
                c->v[c->n++] = arena_strdup(c->arena, found.gl_pathv[i]);
    globfree(&found);
}

/* Named by $NND_PROBE, beside us in a build tree, or installed. */
static bool find_probe(char out[PATH_MAX])
{
    static const char built[] = "../plugins/probe/nnd-plugin-probe";
    const char *named = getenv("NND_PROBE");
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    char *slash;

    self[n > 0 ? n : 0] = '\0';
    slash = strrchr(self, '/');
    if (named && *named) {
        snprintf(out, PATH_MAX, "%s", named);
        return access(out, X_OK) == 0;
    }
    if (slash &&
        snprintf(out, PATH_MAX, "%.*s/%s", (int)(slash - self), self, built) <
            PATH_MAX &&
        access(out, X_OK) == 0)
        return true;
    fs_installed(NND_LIBEXECDIR, NND_LIBEXECDIR "/nnd-plugin-probe", out, PATH_MAX);
    return access(out, X_OK) == 0;
}

/* What it has to say is in the notes; the loader repeats it. */
static void run(const char *probe, char **argv)
{
    extern char **environ;
    posix_spawn_file_actions_t actions;
    pid_t pid;
    int rc;

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    rc = posix_spawn(&pid, probe, &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (rc)
        log_warn("%s: cannot be run: %s; new plugins are loaded unseen", probe,
                 strerror(rc));
    while (rc == 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

static void meet(const char *folders, const char *quarantine)
{
    struct command c = {.arena = arena_create()};
    char *list = arena_strdup(c.arena, folders ? folders : ""), *rest = NULL;
    char probe[PATH_MAX];

    c.v[c.n++] = "nnd-plugin-probe";
    c.v[c.n++] = "meet";
    c.v[c.n++] = "--quarantine";
    c.v[c.n++] = arena_strdup(c.arena, quarantine);
    for (char *dir = strtok_r(list, ":", &rest); dir; dir = strtok_r(NULL, ":", &rest))
        add_folder(&c, dir, quarantine);
    if (c.n > FRONT && find_probe(probe))
        run(probe, c.v);
    else if (c.n > FRONT)
        log_warn("nnd-plugin-probe is missing; new plugins are loaded unseen");
    arena_destroy(c.arena);
}

int probe_meet(const char *folders, const char *quarantine, struct comm *c,
               struct err *e)
{
    if (comm_rank(c) == 0)
        meet(folders, quarantine);
    return comm_barrier(c, e);
}
