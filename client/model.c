/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model.c - from a job's number or a folder to a folder.
 */
#include "client/model.h"

#include <stdio.h>
#include <string.h>

#include "base/fs.h"
#include "client/cmd.h"

/* The job's folder: nnd-worker takes the newest whole checkpoint in it. */
static int of_job(struct client *c, const char *text, char out[PATH_MAX], struct err *e)
{
    Wire__Show q = WIRE__SHOW__INIT;
    Wire__ShowReply *reply;
    int rc = client_id(text, &q.id, e);

    q.has_id = true;
    if (rc == 0)
        rc = client_call(c, WIRE__TYPE__SHOW, &q, 0, &reply, e);
    if (rc < 0)
        return rc;
    if (reply->job && reply->job->checkpoint && reply->dir)
        snprintf(out, PATH_MAX, "%s", reply->dir);
    else
        rc = err_set(e, ERR_NOTFOUND, "job %s: has no checkpoint yet", text);
    chan_free(&reply->base);
    return rc;
}

int model_find(struct client *c, const char *what, char out[PATH_MAX], struct err *e)
{
    if (what[strspn(what, "0123456789")] == '\0' && !fs_exists(what))
        return of_job(c, what, out, e);
    if (!fs_exists(what))
        return err_set(e, ERR_NOTFOUND, "%s: is neither a job's number nor a folder",
                       what);
    snprintf(out, PATH_MAX, "%s", what);
    return 0;
}
