/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_change.c - verbs that ask for another state: cancel, hold, release,
 * suspend, resume.  They differ by what they ask for and nothing else.
 */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "client/cmd.h"
#include "client/follow.h"
#include "client/term.h"
#include "client/wire_json.h"

struct options {
    bool all, dry_run, wait;
};

static const struct opt table[] = {
    {OPT_FLAG, 0, "all", NULL, offsetof(struct options, all),
     "all jobs that have not ended"},
    {OPT_FLAG, 'n', "dry-run", NULL, offsetof(struct options, dry_run),
     "only say which jobs would be asked"},
    {0},
};

static const struct opt cancel_table[] = {
    {OPT_FLAG, 0, "wait", NULL, offsetof(struct options, wait),
     "return when the last process of the jobs is gone"},
    {0},
};

/* What was asked of which jobs, and what came of it. */
struct change {
    struct client *c;
    const struct options *o;
    Wire__Action action;
    json_t *results;
    int worst;
};

static void record(struct change *ch, uint64_t id, int rc, const char *state,
                   const struct err *e)
{
    if (-rc > ch->worst)
        ch->worst = -rc;
    if (!ch->c->opt.json) {
        if (rc < 0)
            client_say(ch->c, "%s", e->text);
        return;
    }
    if (rc < 0)
        json_array_append_new(ch->results, json_pack("{sIso}", "id", (json_int_t)id,
                                                     "error", client_error_json(e)));
    else
        json_array_append_new(
            ch->results, json_pack("{sIss}", "id", (json_int_t)id, "state", state));
}

/* 0, or an error that concerns more than this job. */
static int change_one(struct change *ch, uint64_t id, struct err *e)
{
    Wire__Change q = WIRE__CHANGE__INIT;
    Wire__ChangeReply *reply;
    int rc;

    if (ch->o->dry_run) {
        printf("would %s %llu\n", ch->c->verb, (unsigned long long)id);
        return 0;
    }
    q.has_id = q.has_action = true;
    q.id = id;
    q.action = ch->action;
    rc = client_call(ch->c, WIRE__TYPE__CHANGE, &q, 0, &reply, e);
    if (rc == ERR_UNREACHABLE || rc == ERR_PROTOCOL)
        return rc;
    record(ch, id, rc, rc < 0 ? NULL : wire_state_name(reply->state), e);
    if (rc == 0)
        chan_free(&reply->base);
    if (rc == 0 && ch->o->wait) {
        int status;

        rc = follow_job(ch->c, id, NULL, 0, &status, e);
        if (rc == FOLLOW_SIGNAL)
            return err_set(e, ERR_FAILED, "job %llu: interrupted while waiting for it",
                           (unsigned long long)id);
        return rc < 0 ? rc : 0;
    }
    return 0;
}

static int change_all(struct change *ch, struct err *e)
{
    Wire__List q = WIRE__LIST__INIT;
    Wire__ListReply *reply;
    int rc = 0;

    q.has_active = q.active = true;
    rc = client_call(ch->c, WIRE__TYPE__LIST, &q, 0, &reply, e);
    if (rc < 0)
        return rc;
    for (size_t i = reply->n_jobs; i-- > 0 && rc == 0;)
        rc = change_one(ch, reply->jobs[i]->id, e);
    chan_free(&reply->base);
    return rc;
}

static int change(struct client *c, Wire__Action action, const struct options *o,
                  int argc, char **argv, struct err *e)
{
    struct change ch = {.c = c, .o = o, .action = action, .results = json_array()};
    uint64_t id;
    int rc = 0;

    if (o->all ? argc > 0 : argc == 0) {
        json_decref(ch.results);
        return err_set(e, ERR_USAGE, "needs job numbers or --all, not both");
    }
    for (int i = 0; i < argc && rc == 0; i++)
        rc = client_id(argv[i], &id, e);
    if (o->wait)
        term_catch_signals();
    for (int i = 0; i < argc && rc == 0; i++) {
        client_id(argv[i], &id, e);
        rc = change_one(&ch, id, e);
    }
    if (rc == 0 && o->all)
        rc = change_all(&ch, e);
    if (rc == 0 && c->opt.json)
        client_print_json(json_pack("{so}", "jobs", ch.results));
    else
        json_decref(ch.results);
    return rc < 0 ? rc : ch.worst;
}

static int cancel(struct client *c, void *o, int argc, char **argv, struct err *e)
{
    return change(c, WIRE__ACTION__CANCEL, o, argc, argv, e);
}

static int hold(struct client *c, void *o, int argc, char **argv, struct err *e)
{
    return change(c, WIRE__ACTION__HOLD, o, argc, argv, e);
}

static int release(struct client *c, void *o, int argc, char **argv, struct err *e)
{
    return change(c, WIRE__ACTION__RELEASE, o, argc, argv, e);
}

static int suspend(struct client *c, void *o, int argc, char **argv, struct err *e)
{
    return change(c, WIRE__ACTION__SUSPEND, o, argc, argv, e);
}

static int resume(struct client *c, void *o, int argc, char **argv, struct err *e)
{
    return change(c, WIRE__ACTION__RESUME, o, argc, argv, e);
}

const struct verb verb_cancel = {
    .name = "cancel",
    .args = "ID...|--all",
    .max_args = -1,
    .brief = "end jobs",
    .text = "A running job is asked to leave and killed when it does not. What it had "
            "saved stays.",
    .options = {table, cancel_table},
    .size = sizeof(struct options),
    .run = cancel,
};

const struct verb verb_hold = {
    .name = "hold",
    .args = "ID...|--all",
    .max_args = -1,
    .brief = "keep waiting jobs from being started",
    .text = "For jobs that are queued, or wait for another attempt.",
    .options = {table},
    .size = sizeof(struct options),
    .run = hold,
};

const struct verb verb_release = {
    .name = "release",
    .args = "ID...|--all",
    .max_args = -1,
    .brief = "let held jobs be started",
    .text = "Undoes nnctl hold and nnctl submit --hold.",
    .options = {table},
    .size = sizeof(struct options),
    .run = release,
};

const struct verb verb_suspend = {
    .name = "suspend",
    .args = "ID...|--all",
    .max_args = -1,
    .brief = "stop running jobs where they are",
    .text = "The processes stay in memory and use no processor.",
    .options = {table},
    .size = sizeof(struct options),
    .run = suspend,
};

const struct verb verb_resume = {
    .name = "resume",
    .args = "ID...|--all",
    .max_args = -1,
    .brief = "let suspended jobs go on",
    .text = "Undoes nnctl suspend.",
    .options = {table},
    .size = sizeof(struct options),
    .run = resume,
};
