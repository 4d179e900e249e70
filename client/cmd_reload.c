/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_reload.c - have nnd read its configuration again.
 */
#include "client/cmd.h"

static int run(struct client *c, void *values, int argc, char **argv, struct err *e)
{
    Wire__Reload q = WIRE__RELOAD__INIT;
    Wire__ReloadReply *reply;
    int rc = client_call(c, WIRE__TYPE__RELOAD, &q, 0, &reply, e);

    (void)values, (void)argc, (void)argv;
    if (rc < 0)
        return rc;
    chan_free(&reply->base);
    if (c->opt.json)
        client_print_json(json_pack("{sb}", "reloaded", 1));
    return 0;
}

const struct verb verb_reload = {
    .name = "reload",
    .args = "",
    .brief = "have nnd read its configuration file again",
    .text = "When the file is wrong, or changes what counts at nnd's start alone, this "
            "says so and nnd goes on with what it had.",
    .run = run,
};
