/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - nnd-worker: the program that has the engine.
 *
 * It does one task out of a table.  nnd starts `train` as the ranks of a job,
 * nnctl starts the others as a child; all of them run by hand as well.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"
#include "worker/engine.h"
#include "worker/task.h"
#include "worker/world.h"

/* clang-format off */
static const struct task *const tasks[] = {
    &task_train,
    &task_plan,
    &task_kernels,
    &task_generate,
    &task_average,
    &task_translate,
    &task_summarize,
    &task_eval,
    &task_tokenizer,
    &task_export,
    &task_import,
};
/* clang-format on */

enum { NTASKS = sizeof tasks / sizeof *tasks };

static void help(void)
{
    printf("usage: nnd-worker TASK [OPTION]...\n\n");
    for (int i = 0; i < NTASKS; i++)
        printf("  %-10s %s\n", tasks[i]->name, tasks[i]->help);
    printf("\n\"nnd-worker TASK --help\" shows the options of a task; "
           "see nnd-worker(8).\n");
}

/* All tables of a task, in the order of --help. */
static void groups_of(const struct task *t, struct arg_group out[4])
{
    out[0] = (struct arg_group){t->args, 0};
    out[1] = t->more[0];
    out[2] = t->more[1];
    out[3] = (struct arg_group){NULL, 0};
}

static void task_help(const struct task *t)
{
    struct arg_group groups[4];

    groups_of(t, groups);
    printf("usage: nnd-worker %s [OPTION]...\n%s\n\n", t->name, t->help);
    args_help(groups);
}

static const struct task *find_task(const char *name, struct err *e)
{
    const char *names[NTASKS], *near;

    for (int i = 0; i < NTASKS; i++) {
        if (strcmp(tasks[i]->name, name) == 0)
            return tasks[i];
        names[i] = tasks[i]->name;
    }
    near = str_nearest(name, names, NTASKS);
    err_set(e, ERR_USAGE, "%s: no such task%s%s%s; see nnd-worker --help", name,
            near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
    return NULL;
}

static int run(const struct task *t, int argc, char **argv, struct err *e)
{
    struct arg_group groups[4];
    void *options = malloc(t->size);
    int rc;

    groups_of(t, groups);

    if (!options)
        return err_set(e, ERR_NOMEM, "memory: wanted %zu bytes for options", t->size);
    memcpy(options, t->defaults, t->size);
    rc = args_parse(groups, t->ties, argc, argv, options, e);
    if (rc == 1)
        task_help(t);
    if (rc == 0)
        rc = t->run(options, e);
    else if (rc == 1)
        rc = 0;
    free(options);
    return rc;
}

/* What was printed must have arrived: a full disk is no success. */
static int flush(int rc, struct err *e)
{
    if (rc >= 0 && (fflush(stdout) != 0 || ferror(stdout)))
        return err_set(e, ERR_FAILED, "standard output: cannot be written");
    return rc;
}

int main(int argc, char **argv)
{
    const struct task *t;
    struct buf tokenizers = {0};
    struct err e = {0};
    char who[32];
    int rc;

    if (!world_enter())
        return EXIT_FAILURE;
    snprintf(who, sizeof who, "rank %d", world_rank());
    log_setup(world_is_launched() ? who : "nnd-worker", LOG_LEVEL_WARN, STDERR_FILENO);
    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        help();
        return flush(0, &e) < 0;
    }
    if (argc > 1 && strcmp(argv[1], "--version") == 0) {
        printf("nnd-worker %s\n", PACKAGE_VERSION);
        return flush(0, &e) < 0;
    }
    if (argc > 1)
        t = find_task(argv[1], &e);
    else
        t = NULL, err_set(&e, ERR_USAGE, "wanted a task; see nnd-worker --help");
    engine_tokenizers(&tokenizers);
    rc = t ? flush(run(t, argc - 1, argv + 1, &e), &e) : e.code;
    buf_free(&tokenizers);
    if (rc >= 0)
        return rc;
    world_say(&e);
    return -rc;
}
