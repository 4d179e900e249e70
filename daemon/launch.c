/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launch.c - the table of launchers, and what their commands have in common.
 */
#include "daemon/launch.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/fs.h"
#include "base/str.h"

enum { MAX_ARGS = 128 };

static const struct launcher *const launchers[] = {
    &launch_local,
    &launch_ssh,
    &launch_slurm,
};

const struct launcher *launch_find(const char *name)
{
    for (size_t i = 0; i < sizeof launchers / sizeof *launchers; i++)
        if (strcmp(launchers[i]->name, name) == 0)
            return launchers[i];
    return NULL;
}

int launch_note(const char *dir, const struct launcher *l, struct err *e)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%.4000s/launcher", dir);
    return fs_replace(path, l->name, strlen(l->name), e);
}

/* Attempts of before there was a choice have no note. */
const struct launcher *launch_noted(const char *dir)
{
    const struct launcher *l = NULL;
    char path[PATH_MAX];
    struct buf b = {0};

    snprintf(path, sizeof path, "%.4000s/launcher", dir);
    if (fs_exists(path) && fs_read(path, 64, &b, NULL) == 0 && b.data)
        l = launch_find(b.data);
    buf_free(&b);
    return l ? l : &launch_local;
}

bool launch_began(const char *dir, int64_t *age_ns)
{
    char path[PATH_MAX];
    struct buf b = {0};
    struct timespec t;
    uint64_t ms;
    bool ok;

    snprintf(path, sizeof path, "%.4000s/began", dir);
    ok = fs_exists(path) && fs_read(path, 64, &b, NULL) == 0 && b.data &&
         str_to_u64(b.data, &ms);
    buf_free(&b);
    clock_gettime(CLOCK_BOOTTIME, &t);
    if (ok)
        *age_ns = t.tv_sec * 1000000000LL + t.tv_nsec - (int64_t)(ms * 1000000);
    return ok;
}

/* --- commands ------------------------------------------------------------- */

struct launch_args launch_args_create(struct arena *a)
{
    return (struct launch_args){a, arena_calloc(a, MAX_ARGS, sizeof(char *)), 0};
}

void launch_add(struct launch_args *a, const char *text)
{
    if (a->n < MAX_ARGS - 1)
        a->v[a->n++] = arena_strdup(a->arena, text);
}

void launch_add_pair(struct launch_args *a, const char *option, const char *value)
{
    launch_add(a, option);
    launch_add(a, value);
}

void launch_add_number(struct launch_args *a, const char *option, uint64_t v)
{
    launch_add_pair(a, option, arena_printf(a->arena, "%llu", (unsigned long long)v));
}

void launch_add_words(struct launch_args *a, const char *text)
{
    char *copy = arena_strdup(a->arena, text ? text : ""), *save = NULL;

    for (char *t = strtok_r(copy, " ", &save); t; t = strtok_r(NULL, " ", &save))
        launch_add(a, t);
}

void launch_add_worker(struct launch_args *a, const struct launch *l)
{
    launch_add(a, l->worker);
    launch_add(a, "train");
    launch_add_pair(a, "--job", l->job_file);
    launch_add_pair(a, "--dir", l->job_dir);
    launch_add_number(a, "--attempt", l->attempt);
    launch_add_number(a, "--epoch", l->epoch);
    launch_add_number(a, "--threads", l->threads);
    launch_add_pair(a, "--uri", l->uri);
}
