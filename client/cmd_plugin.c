/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_plugin.c - kernels from shared objects: nnd-plugin-probe looks at them, so
 * that a bad one ends that program and nothing else.
 */
#include <stddef.h>
#include <string.h>

#include "client/child.h"
#include "client/cmd.h"

struct options {
    const char *op, *timeout;
};

static const struct opt table[] = {
    {OPT_TEXT, 0, "op", "OP", offsetof(struct options, op),
     "check only the operator OP, or those that begin with \"OP.\""},
    {OPT_TEXT, 0, "timeout", "S", offsetof(struct options, timeout),
     "give up on a plugin after S seconds"},
    {0},
};

static int run(struct client *c, void *values, int argc, char **argv, struct err *e)
{
    const struct options *o = values;
    struct child_args a = {.arena = c->arena};
    bool list = strcmp(argv[0], "list") == 0, check = strcmp(argv[0], "check") == 0;

    if (!list && !check)
        return err_set(e, ERR_USAGE, "must be list or check, got \"%s\"", argv[0]);
    if (check && argc != 2)
        return err_set(e, ERR_USAGE, "check needs one FILE, got %d", argc - 1);
    child_arg(&a, "nnd-plugin-probe");
    child_arg(&a, argv[0]);
    child_option(&a, "--op", o->op);
    child_option(&a, "--timeout", o->timeout);
    if (c->opt.json)
        child_arg(&a, "--json");
    child_arg(&a, "--");
    for (int i = 1; i < argc; i++)
        child_arg(&a, argv[i]);
    return child_become(CHILD_PROBE, &a, e);
}

const struct verb verb_plugin = {
    .name = "plugin",
    .args = "list [FILE...]|check FILE",
    .min_args = 1,
    .max_args = -1,
    .brief = "list kernels, or check a plugin before it is trusted",
    .text =
        "\"list\" names the plugins that are found, or those named, and their "
        "kernels. \"check\" loads FILE in a process of its own, and compares each of "
        "its kernels with the reference.",
    .options = {table},
    .size = sizeof(struct options),
    .run = run,
};
