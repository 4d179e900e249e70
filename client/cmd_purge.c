/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_purge.c - have nnd forget jobs that have ended.
 */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "client/cmd.h"
#include "client/select.h"

struct options {
    struct select which;
    double older;
    uint64_t keep;
};

#define KEEP_ALL UINT64_MAX

static const struct opt table[] = {
    {OPT_SPAN, 0, "older", "TIME", offsetof(struct options, older),
     "the jobs that ended longer ago, for example 30d"},
    {OPT_COUNT, 0, "keep", "N", offsetof(struct options, keep),
     "the oldest of those that have ended, so that N are left"},
    {0},
};

static void preset(void *values)
{
    ((struct options *)values)->keep = KEEP_ALL;
}

struct purge {
    struct client *c;
    const struct options *o;
    json_t *ids;
    bool more; /* of those that would be purged, not all were named */
    int worst;
};

static void report(struct purge *p, const Wire__PurgeReply *r)
{
    for (size_t i = 0; i < r->n_ids; i++) {
        json_array_append_new(p->ids, json_integer((json_int_t)r->ids[i]));
        if (p->o->which.dry_run && !p->c->opt.json)
            printf("would purge %llu\n", (unsigned long long)r->ids[i]);
    }
}

static int purge_one(void *arg, uint64_t id, struct err *e)
{
    struct purge *p = arg;
    Wire__Purge q = WIRE__PURGE__INIT;
    Wire__PurgeReply *reply;
    int rc;

    q.n_ids = 1;
    q.ids = &id;
    q.has_dry_run = q.dry_run = p->o->which.dry_run;
    rc = client_call(p->c, WIRE__TYPE__PURGE, &q, 0, &reply, e);
    if (rc == ERR_FAILED || rc == ERR_NOTFOUND) { /* this one cannot be; others may */
        client_say(p->c, "%s", e->text);
        p->worst = -rc > p->worst ? -rc : p->worst;
        return 0;
    }
    if (rc < 0)
        return rc;
    report(p, reply);
    chan_free(&reply->base);
    return 0;
}

/* By age and number nnd itself knows the jobs, the oldest first.  It names only so
 * many at a time, and the next ones when those are gone. */
static int purge_old(struct purge *p, struct err *e)
{
    Wire__Purge q = WIRE__PURGE__INIT;
    Wire__PurgeReply *reply;
    bool again;

    q.has_dry_run = q.dry_run = p->o->which.dry_run;
    q.has_before_us = p->o->older > 0;
    q.before_us = (uint64_t)(clock_wall_us() - (int64_t)(p->o->older * 1e6));
    q.has_keep = p->o->keep != KEEP_ALL;
    q.keep = p->o->keep;
    do {
        int rc = client_call(p->c, WIRE__TYPE__PURGE, &q, 0, &reply, e);

        if (rc < 0)
            return rc;
        report(p, reply);
        again = reply->more && reply->n_ids > 0 && !q.dry_run;
        p->more = reply->more;
        chan_free(&reply->base);
    } while (again);
    return 0;
}

/* --older and --keep speak of all jobs that have ended: whoever gives a condition
 * besides would lose others than those that were meant. */
static int purge(struct purge *p, int argc, char **argv, struct err *e)
{
    const struct options *o = p->o;

    if (o->older <= 0 && o->keep == KEEP_ALL)
        return select_each(p->c, &o->which, true, argc, argv, purge_one, p, e);
    if (argc)
        return err_set(e, ERR_USAGE, "--older and --keep take no numbers");
    if (select_given(&o->which))
        return err_set(e, ERR_USAGE,
                       "--older and --keep go without --all, --array, --name, --state, "
                       "--user");
    return purge_old(p, e);
}

static int run(struct client *c, void *values, int argc, char **argv, struct err *e)
{
    const struct options *o = values;
    struct purge p = {.c = c, .o = o, .ids = json_array()};
    int rc = purge(&p, argc, argv, e);

    if (rc == 0 && c->opt.json)
        client_print_json(json_pack("{sOsbsb}", "purged", p.ids, "dry_run",
                                    o->which.dry_run, "more", p.more));
    else if (rc == 0 && !o->which.dry_run)
        client_say(c, "%zu jobs were forgotten", json_array_size(p.ids));
    else if (rc == 0 && p.more)
        client_say(c, "and more than these");
    json_decref(p.ids);
    return rc < 0 ? rc : p.worst;
}

const struct verb verb_purge = {
    .name = "purge",
    .args = "[ID...]",
    .max_args = -1,
    .brief = "forget jobs that have ended",
    .text = "With their folders: logs, metrics and checkpoints are removed. A job on "
            "which another one waits is kept. Numbers are never given again.",
    .options = {select_options, table},
    .size = sizeof(struct options),
    .preset = preset,
    .run = run,
};
