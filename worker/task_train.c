/* SPDX-License-Identifier: Apache-2.0 */
/*
 * task_train.c - `nnd-worker train`: a rank of a job, or a whole job by hand.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "worker/run.h"
#include "worker/task.h"
#include "worker/world.h"

#define AT(field) offsetof(struct run_options, field)

static const struct arg_row args[] = {
    {"job", 0, "FILE", ARG_TEXT, AT(job), 0, 0, "the job: YAML, or packed"},
    {"dir", 0, "DIR", ARG_TEXT, AT(dir), 0, 0, "for checkpoints and metrics"},
    {"set", 'S', "KEY=VALUE", ARG_LIST, AT(set), 0, 0, "override a value of the job"},
    {"threads", 0, "N", ARG_INT, AT(threads), 0, 1024,
     "threads of this rank; 0: as the job says"},
    {"plugins", 0, "DIR[:DIR]", ARG_TEXT, AT(plugins), 0, 0,
     "folders of kernel plugins"},
    {"profile", 0, NULL, ARG_FLAG, AT(profile), 0, 0,
     "print at the end where the time of rank 0 went"},
    {"uri", 0, "URI", ARG_TEXT, AT(uri), 0, 0, "nnd, which is told how it goes"},
    {"attempt", 0, "N", ARG_INT, AT(attempt), 0, INT32_MAX, "number of this attempt"},
    {"epoch", 0, "N", ARG_INT, AT(epoch), 0, INT64_MAX, "what nnd knows it by"},
    {0},
};

static const struct run_options defaults = {.attempt = 1};

static Wire__Failure failure_of(const struct run *r, const struct err *e)
{
    if (!e->text[0]) /* another rank's error */
        return WIRE__FAILURE__NO_FAILURE;
    if (r->failure)
        return r->failure;
    if (verify_found(r->verify))
        return WIRE__FAILURE__KERNEL;
    return e->code == ERR_NOMEM ? WIRE__FAILURE__OOM : WIRE__FAILURE__APP_ERROR;
}

/* Say why, here and to nnd, and take the other ranks down: they may be waiting for
 * this one in a collective. */
static int fail(struct run *r, const struct err *e)
{
    if (e->text[0])
        world_say(e);
    agent_end(r->agent, failure_of(r, e), e->text);
    if (r->world && comm_size(r->world) > 1 && !r->agreed)
        comm_abort(r->world, -e->code);
    return -e->code;
}

static void print_profile(struct run *r)
{
    struct buf b = {0};

    trainer_profile(r->trainer, &b);
    printf("%s", b.data ? b.data : "");
    buf_free(&b);
}

static int leave(struct run *r, int rc)
{
    if (rc == 0)
        agent_phase(r->agent, WIRE__PHASE__DONE);
    agent_end(r->agent, WIRE__FAILURE__NO_FAILURE,
              rc == TASK_REQUEUE ? "stopped as asked" : "done");
    if (r->rank == 0 && rc == TASK_REQUEUE)
        printf("stopped after step %lld\n", (long long)r->saved);
    if (r->rank == 0 && r->o->profile)
        print_profile(r);
    return rc;
}

static int train(const void *options, struct err *e)
{
    static struct run r;
    int rc = run_enter(&r, options, e);

    if (rc == 0)
        rc = run_prepare(&r, e);
    if (rc == 0)
        rc = run_loop(&r, e);
    rc = rc < 0 ? fail(&r, e) : leave(&r, rc);
    run_release(&r);
    agent_destroy(r.agent);
    comm_destroy(r.control);
    comm_destroy(r.world);
    return rc;
}

const struct task task_train = {
    .name = "train",
    .help = "train the model of a job",
    .args = args,
    .defaults = &defaults,
    .size = sizeof defaults,
    .run = train,
};
