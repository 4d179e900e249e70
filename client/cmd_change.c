/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_change.c - verbs that ask for another state or place: cancel, hold, release,
 * suspend, resume, requeue, prio.  They differ by what they ask for and nothing else.
 */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "client/cmd.h"
#include "client/follow.h"
#include "client/select.h"
#include "client/term.h"
#include "client/wire_json.h"

enum { PRIORITY_MAX = 100 };

struct options {
    struct select which;
    bool wait;
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
    uint32_t priority;
    json_t *results;
    struct buf asked; /* numbers of the jobs that agreed */
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
static int change_one(void *arg, uint64_t id, struct err *e)
{
    struct change *ch = arg;
    Wire__Change q = WIRE__CHANGE__INIT;
    Wire__ChangeReply *reply;
    int rc;

    if (ch->o->which.dry_run && ch->c->opt.json)
        json_array_append_new(ch->results, json_pack("{sI}", "id", (json_int_t)id));
    else if (ch->o->which.dry_run)
        printf("would %s %llu\n", ch->c->verb, (unsigned long long)id);
    if (ch->o->which.dry_run)
        return 0;
    q.has_id = q.has_action = true;
    q.id = id;
    q.action = ch->action;
    q.has_priority = ch->action == WIRE__ACTION__PRIORITIZE;
    q.priority = ch->priority;
    rc = client_call(ch->c, WIRE__TYPE__CHANGE, &q, 0, &reply, e);
    if (rc == ERR_UNREACHABLE || rc == ERR_PROTOCOL)
        return rc;
    record(ch, id, rc, rc < 0 ? NULL : wire_state_name(reply->state), e);
    if (rc == 0) {
        chan_free(&reply->base);
        buf_add(&ch->asked, &id, sizeof id);
    }
    return 0;
}

/* All were asked before one is waited for: they leave at the same time.  EXIT_SELF
 * when it cannot be told whether they are gone, which was reported then. */
static int wait_all(struct change *ch, struct err *e)
{
    for (size_t i = 0; i < ch->asked.len / sizeof(uint64_t); i++) {
        uint64_t id;
        int status, rc;

        memcpy(&id, ch->asked.data + i * sizeof id, sizeof id);
        rc = follow_job(ch->c, id, NULL, FOLLOW_FOREVER, &status, e);
        if (rc == FOLLOW_SIGNAL)
            return err_set(e, ERR_FAILED, "job %llu: interrupted while waiting for it",
                           (unsigned long long)id);
        if (rc < 0)
            client_report(ch->c, e);
        if (rc != FOLLOW_ENDED)
            return EXIT_SELF;
    }
    return 0;
}

static int change(struct client *c, struct change ch, int argc, char **argv,
                  struct err *e)
{
    int rc;

    ch.c = c;
    ch.results = json_array();
    if (ch.o->wait)
        term_catch_signals();
    rc = select_each(c, &ch.o->which, false, argc, argv, change_one, &ch, e);
    if (rc == 0 && ch.o->wait)
        rc = wait_all(&ch, e);
    buf_free(&ch.asked);
    if (rc == 0 && c->opt.json)
        client_print_json(
            json_pack("{sosb}", "jobs", ch.results, "dry_run", ch.o->which.dry_run));
    else
        json_decref(ch.results);
    return rc != 0 ? rc : ch.worst;
}

static int cancel(struct client *c, void *o, int argc, char **argv, struct err *e)
{
    const struct change ch = {.o = o, .action = WIRE__ACTION__CANCEL};

    return change(c, ch, argc, argv, e);
}

static int hold(struct client *c, void *o, int argc, char **argv, struct err *e)
{
    const struct change ch = {.o = o, .action = WIRE__ACTION__HOLD};

    return change(c, ch, argc, argv, e);
}

static int release(struct client *c, void *o, int argc, char **argv, struct err *e)
{
    const struct change ch = {.o = o, .action = WIRE__ACTION__RELEASE};

    return change(c, ch, argc, argv, e);
}

static int suspend(struct client *c, void *o, int argc, char **argv, struct err *e)
{
    const struct change ch = {.o = o, .action = WIRE__ACTION__SUSPEND};

    return change(c, ch, argc, argv, e);
}

static int resume(struct client *c, void *o, int argc, char **argv, struct err *e)
{
    const struct change ch = {.o = o, .action = WIRE__ACTION__RESUME};

    return change(c, ch, argc, argv, e);
}

static int requeue(struct client *c, void *o, int argc, char **argv, struct err *e)
{
    const struct change ch = {.o = o, .action = WIRE__ACTION__REQUEUE};

    return change(c, ch, argc, argv, e);
}

static int prio(struct client *c, void *o, int argc, char **argv, struct err *e)
{
    struct change ch = {.o = o, .action = WIRE__ACTION__PRIORITIZE};
    uint64_t n;

    if (!str_to_u64(argv[0], &n) || n > PRIORITY_MAX)
        return err_set(e, ERR_USAGE, "priority: must be 0 to %d, got \"%s\"",
                       PRIORITY_MAX, argv[0]);
    ch.priority = (uint32_t)n;
    return change(c, ch, argc - 1, argv + 1, e);
}

const struct verb verb_cancel = {
    .name = "cancel",
    .args = "[ID...]",
    .max_args = -1,
    .brief = "end jobs",
    .text = "A running job is asked to leave and killed when it does not. What it had "
            "saved stays.",
    .options = {select_options, cancel_table},
    .size = sizeof(struct options),
    .run = cancel,
};

const struct verb verb_hold = {
    .name = "hold",
    .args = "[ID...]",
    .max_args = -1,
    .brief = "keep waiting jobs from being started",
    .text = "For jobs that are queued, or wait for another attempt.",
    .options = {select_options},
    .size = sizeof(struct options),
    .run = hold,
};

const struct verb verb_release = {
    .name = "release",
    .args = "[ID...]",
    .max_args = -1,
    .brief = "let held jobs be started",
    .text = "Undoes nnctl hold and nnctl submit --hold.",
    .options = {select_options},
    .size = sizeof(struct options),
    .run = release,
};

const struct verb verb_suspend = {
    .name = "suspend",
    .args = "[ID...]",
    .max_args = -1,
    .brief = "stop running jobs where they are",
    .text = "The processes stay in memory and use no processor.",
    .options = {select_options},
    .size = sizeof(struct options),
    .run = suspend,
};

const struct verb verb_resume = {
    .name = "resume",
    .args = "[ID...]",
    .max_args = -1,
    .brief = "let suspended jobs go on",
    .text = "Undoes nnctl suspend.",
    .options = {select_options},
    .size = sizeof(struct options),
    .run = resume,
};

const struct verb verb_requeue = {
    .name = "requeue",
    .args = "[ID...]",
    .max_args = -1,
    .brief = "take running jobs back into the queue",
    .text =
        "The ranks save a checkpoint and leave; the job starts again from there when "
        "its turn comes, and no retry is used up.",
    .options = {select_options},
    .size = sizeof(struct options),
    .run = requeue,
};

const struct verb verb_prio = {
    .name = "prio",
    .args = "PRIORITY [ID...]",
    .min_args = 1,
    .max_args = -1,
    .brief = "let jobs start before others, or after them",
    .text =
        "0 to 100; the largest starts first, and among equals the oldest. Jobs have "
        "queue.priority, which is 50, until then. A running job keeps running.",
    .options = {select_options},
    .size = sizeof(struct options),
    .run = prio,
};
