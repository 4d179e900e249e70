/* SPDX-License-Identifier: Apache-2.0 */
/*
 * task_average.c - `nnd-worker average`: the mean of a job's newest checkpoints, as a
 * checkpoint to be used.
 */
#include <jansson.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>

#include "base/fs.h"
#include "train/checkpoint.h"
#include "worker/task.h"

/* A mean is of two at least; how many are asked for when nobody says. */
enum { LEAST = 2, USUAL = 5, MAX_LAST = 1000 };

struct average_options {
    const char *checkpoints, *into;
    int64_t last;
    bool json;
};

#define AT(field) offsetof(struct average_options, field)

static const struct arg_row args[] = {
    {"checkpoint", 0, "DIR", ARG_TEXT, AT(checkpoints), 0, 0,
     "a job's folder, or a folder of checkpoints"},
    {"last", 0, "N", ARG_INT, AT(last), LEAST, MAX_LAST,
     "the newest N of them; when not given, those that there are, at most 5"},
    {"into", 0, "DIR", ARG_TEXT, AT(into), 0, 0,
     "the folder that the mean is put into, as step-N of the newest"},
    {"json", 0, NULL, ARG_FLAG, AT(json), 0, 0, "print JSON"},
    {0},
};

static const struct average_options defaults = {.last = 0};

static void print_json(json_t *j)
{
    json_dumpf(j, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(j);
}

static int average(const void *options, struct err *e)
{
    const struct average_options *o = options;
    size_t least = o->last ? (size_t)o->last : LEAST, taken;
    size_t most = o->last ? (size_t)o->last : USUAL;
    char dir[PATH_MAX], path[PATH_MAX];
    int rc;

    if (!o->checkpoints || !o->into)
        return err_set(e, ERR_USAGE, "average: wanted --checkpoint DIR and --into DIR");
    if (snprintf(dir, sizeof dir, "%s/checkpoints", o->checkpoints) >= (int)sizeof dir)
        return err_set(e, ERR_USAGE, "--checkpoint: wanted a shorter path");
    rc = checkpoint_average(fs_exists(dir) ? dir : o->checkpoints, least, most, o->into,
                            path, sizeof path, &taken, e);
    if (rc < 0)
        return rc;
    if (o->json) {
        print_json(json_pack("{s:i, s:I, s:s}", "v", 1, "checkpoints",
                             (json_int_t)taken, "output", path));
        return 0;
    }
    fprintf(stderr, "the mean of %zu checkpoints\n", taken);
    printf("%s\n", path);
    return 0;
}

const struct task task_average = {
    .name = "average",
    .help = "make the mean of a job's newest checkpoints",
    .args = args,
    .defaults = &defaults,
    .size = sizeof defaults,
    .run = average,
};
