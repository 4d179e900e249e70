/* SPDX-License-Identifier: Apache-2.0 */
/*
 * comm_self.c - a world of one: there is nobody to send to, so comm.c does all
 * there is to do.
 */
#include "comm/comm_impl.h"

#include <errno.h>
#include <stdlib.h>

static int self_split(struct comm *c, int color, struct comm **out, struct err *e)
{
    (void)c, (void)color;
    return comm_self(out, e);
}

static void self_destroy(struct comm *c)
{
    free(c);
}

static void self_abort(struct comm *c, int code)
{
    (void)c, (void)code; /* comm_abort ends this process, which is the world */
}

static const struct comm_ops self_ops = {
    .split = self_split,
    .destroy = self_destroy,
    .abort = self_abort,
};

int comm_self(struct comm **out, struct err *e)
{
    struct comm *c = calloc(1, sizeof *c);

    if (!c)
        return err_sys(e, ERR_FAILED, errno, "comm: a world of one");
    *c = (struct comm){.ops = &self_ops, .size = 1, .threads = true};
    *out = c;
    return 0;
}
