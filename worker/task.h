/* SPDX-License-Identifier: Apache-2.0 */
/*
 * task.h - what nnd-worker can be asked to do: one constant struct a task, one
 * row of the table in main.c.
 */
#ifndef WORKER_TASK_H
#define WORKER_TASK_H

#include "worker/args.h"

/* Exit codes other than 0 and those of enum err_code. */
enum { TASK_REQUEUE = 75 /* stopped as asked, saved; run me again */ };

struct task {
    const char *name, *help; /* help: one line                          */
    const struct arg_row *args;
    struct arg_group more[2];   /* tables of structs within the options */
    const struct arg_tie *ties; /* what options depend on, or NULL      */
    const void *defaults;       /* the options' struct, before the command line */
    size_t size;                /* of that struct                             */

    /* 0 or more: the exit status; negative: an error, for main to print. */
    int (*run)(const void *options, struct err *e);
};

extern const struct task task_average;
extern const struct task task_eval;
extern const struct task task_export;
extern const struct task task_generate;
extern const struct task task_import;
extern const struct task task_kernels;
extern const struct task task_plan;
extern const struct task task_summarize;
extern const struct task task_tokenizer;
extern const struct task task_train;
extern const struct task task_translate;

#endif
