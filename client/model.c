/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model.c - from a job's number or a folder to a folder, and to nnd-worker.
 */
#include "client/model.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/fs.h"
#include "client/child.h"
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

/* --- writing -------------------------------------------------------------- */

#define AT(field) offsetof(struct model_options, field)

const struct opt model_opts[] = {
    {OPT_TEXT, 't', "tokens", "N", AT(tokens), "at most so many tokens for a text"},
    {OPT_TEXT, 0, "beam", "N", AT(beam),
     "search among N texts at a time; 1: the likeliest token each time"},
    {OPT_TEXT, 0, "n-best", "N", AT(n_best), "print the N best of them, with scores"},
    {OPT_TEXT, 0, "length-penalty", "A", AT(length_penalty),
     "divide log-probabilities by the length to the power of A (1)"},
    {OPT_TEXT, 0, "penalty", "power|gnmt", AT(penalty),
     "what the length is: tokens, or (5 + tokens) / 6"},
    {OPT_TEXT, 0, "coverage", "B", AT(coverage),
     "how much it counts when a word that was read was not looked at"},
    {OPT_TEXT, 0, "min-tokens", "N", AT(min_tokens), "no text ends before so many"},
    {OPT_TEXT, 0, "no-repeat", "N", AT(no_repeat), "no N tokens stand in a text twice"},
    {OPT_LIST, 0, "with", "ID|FOLDER", AT(with),
     "let one more model of the same vocabulary write along"},
    {OPT_TEXT, 0, "threads", "N", AT(threads),
     "threads to compute with; all processors when not given"},
    {OPT_FLAG, 0, "best", NULL, AT(best),
     "not the newest checkpoint, but the one that train.best found best"},
    {OPT_LIST, 0, "kernel", "OP=NAME", AT(kernel),
     "a rule for kernels, besides the job's"},
    {0},
};

/* Of --with a folder, of other lists each item. */
static int add_list(struct client *c, const char *name, const struct opt_list *l,
                    struct child_args *a, struct err *e)
{
    char folder[PATH_MAX];

    for (size_t i = 0; i < l->n; i++) {
        bool model = strcmp(name, "--with") == 0;

        if (model && model_find(c, l->items[i], folder, e) < 0)
            return e->code;
        child_option(a, name, model ? folder : l->items[i]);
    }
    return 0;
}

static int add_values(struct client *c, const struct opt *o, const char *values,
                      struct child_args *a, struct err *e)
{
    int rc = 0;

    for (; rc == 0 && o && o->kind; o++) {
        char name[64];

        snprintf(name, sizeof name, "--%s", o->name);
        if (o->kind == OPT_LIST)
            rc = add_list(c, name, (const struct opt_list *)(values + o->at), a, e);
        else if (o->kind == OPT_TEXT)
            child_option(a, name, *(const char *const *)(values + o->at));
        else if (*(const bool *)(values + o->at))
            child_arg(a, name);
    }
    return rc;
}

int model_become(struct client *c, const struct verb *v, const char *task,
                 const void *values, const char *what, const char *input, struct err *e)
{
    struct child_args a = {.arena = c->arena};
    char checkpoint[PATH_MAX];

    child_arg(&a, "nnd-worker");
    child_arg(&a, task);
    if (what && model_find(c, what, checkpoint, e) < 0)
        return e->code;
    child_option(&a, "--checkpoint", what ? checkpoint : NULL);
    child_option(&a, "--input", input);
    if (add_values(c, v->options[0], values, &a, e) < 0 ||
        add_values(c, v->options[1], values, &a, e) < 0)
        return e->code;
    if (c->opt.json)
        child_arg(&a, "--json");
    return child_become(CHILD_WORKER, &a, e);
}
