/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_plan.c - what a job will take, with nothing run: nnd-worker says it.
 */
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

#include "client/child.h"
#include "client/cmd.h"
#include "client/fit.h"
#include "client/jobfile.h"

struct options {
    struct jobfile file;
};

static int become_worker(struct client *c, struct spec *s, struct err *e)
{
    struct child_args a = {.arena = c->arena};
    char path[40];
    int rc, fd = fit_job_file(s, e);

    if (fd < 0)
        return fd;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    child_arg(&a, "nnd-worker");
    child_arg(&a, "plan");
    child_option(&a, "--job", path);
    if (c->opt.json)
        child_arg(&a, "--json");
    rc = child_become(CHILD_WORKER, &a, e);
    close(fd);
    return rc;
}

static int run(struct client *c, void *values, int argc, char **argv, struct err *e)
{
    const struct options *o = values;
    struct spec *s;
    int rc = jobfile_read(&o->file, argc, argv, &s, e);

    if (rc < 0)
        return rc;
    jobfile_hint(c, s);
    rc = become_worker(c, s, e);
    spec_destroy(s);
    return rc;
}

const struct verb verb_plan = {
    .name = "plan",
    .args = "JOB.yaml",
    .max_args = 1,
    .brief = "say what a job will take, without running it",
    .text =
        "Parameters, floating-point operations per token, bytes of memory of each "
        "rank by kind, and bytes on the wire per step and collective. Training uses "
        "the same plan. Needs no nnd.",
    .options = {jobfile_options},
    .size = sizeof(struct options),
    .run = run,
};
