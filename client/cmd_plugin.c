/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_plugin.c - kernels from shared objects: nnd-plugin-probe looks at them, so
 * that a bad one ends that program and nothing else.
 */
#include <string.h>

#include "client/child.h"
#include "client/cmd.h"

static int run(struct client *c, void *values, int argc, char **argv, struct err *e)
{
    struct child_args a = {.arena = c->arena};
    bool list = strcmp(argv[0], "list") == 0, check = strcmp(argv[0], "check") == 0;

    (void)values;
    if (!list && !check)
        return err_set(e, ERR_USAGE, "must be list or check, got \"%s\"", argv[0]);
    if (check != (argc == 2))
        return err_set(e, ERR_USAGE, check ? "check needs FILE" : "list takes no FILE");
    child_arg(&a, "nnd-plugin-probe");
    child_arg(&a, argv[0]);
    if (c->opt.json)
        child_arg(&a, "--json");
    if (check)
        child_arg(&a, argv[1]);
    return child_become(CHILD_PROBE, &a, e);
}

const struct verb verb_plugin = {
    .name = "plugin",
    .args = "list|check FILE",
    .min_args = 1,
    .max_args = 2,
    .brief = "list kernels, or check a plugin before it is trusted",
    .text =
        "\"list\" names the plugins that are found and their kernels. \"check\" loads "
        "FILE in a process of its own, and compares each of its kernels with the "
        "reference.",
    .run = run,
};
