/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job.c - folding events, and a job as clients see it.
 */
#include "daemon/job.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/oom.h"

struct job *job_create(uint64_t id)
{
    struct job *j = oom_calloc(1, sizeof *j);

    j->id = id;
    j->version = (uint64_t)clock_wall_us();
    wire__rank_metric__init(&j->metric);
    return j;
}

void job_destroy(struct job *j)
{
    if (!j)
        return;
    free(j->name);
    free(j->cwd);
    free(j->reason);
    free(j->checkpoint);
    free(j->label);
    free(j->needs);
    free(j->nodes);
    free(j);
}

void job_touch(struct job *j)
{
    j->version++;
}

uint32_t job_slots(const struct job *j)
{
    return j->ranks * j->threads;
}

static void set_text(char **to, const char *text)
{
    size_t size = text ? strlen(text) + 1 : 0;
    char *copy = text ? memcpy(oom_realloc(NULL, size), text, size) : NULL;

    free(*to);
    *to = copy;
}

/* --- folding -------------------------------------------------------------- */

static void apply_start(struct job *j, const struct event *ev)
{
    j->attempt = ev->attempt;
    j->epoch = ev->seq;
    j->attempt_started_us = ev->time_us;
    if (!j->started_us)
        j->started_us = ev->time_us;
    j->failure = WIRE__FAILURE__NO_FAILURE;
    j->first_step = 0;
    j->due_us = 0;
    j->paused_us = j->paused_at_us = 0;
    set_text(&j->nodes, ev->text);
    set_text(&j->reason, NULL);
}

/* One of a smaller step is passed over, unless its attempt took up before the newest,
 * as when that was found damaged.  (What an attempt tells late is followed by what it
 * has told since.) */
static void apply_saved(struct job *j, const struct event *ev)
{
    bool anew = ev->first_step > 0 && ev->first_step <= j->checkpoint_step;

    if (ev->step < j->checkpoint_step && !anew)
        return;
    j->checkpoint_step = ev->step;
    set_text(&j->checkpoint, ev->text);
    j->retries = 0; /* it got on: the budget is whole again */
}

/* COMPLETE, RETRY, REQUEUE, FAIL, CANCELED, TIMEOUT: an attempt is over. */
static void apply_end(struct job *j, const struct event *ev)
{
    j->failed_step = ev->failure ? ev->step : 0;
    j->failure = ev->failure;
    j->exit_code = ev->exit_code;
    j->signal = ev->signal;
    j->first_step = ev->first_step;
    j->due_us = ev->due_us;
    if (ev->metric)
        job_measure(&j->metric, ev->metric);
    if (ev->kind == EVENT_RETRY)
        j->retries++;
    set_text(&j->reason, ev->text);
}

/* Does it leave the job where and as it is? */
static bool is_aside(enum event_kind kind)
{
    return kind == EVENT_SAVED || kind == EVENT_LOST || kind == EVENT_NOTE ||
           kind == EVENT_PRIORITY;
}

/* Clocks may be set back, and rows may be damaged: a pause is never less than nothing,
 * and one of more than 64 bits is none. */
static void apply_pause(struct job *j, const struct event *ev)
{
    int64_t pause, sum;

    if (ev->kind == EVENT_SUSPEND) {
        j->paused_at_us = ev->time_us;
    } else if (j->paused_at_us && !is_aside(ev->kind)) {
        if (ev->time_us > j->paused_at_us &&
            __builtin_sub_overflow(ev->time_us, j->paused_at_us, &pause) == 0 &&
            __builtin_add_overflow(j->paused_us, pause, &sum) == 0)
            j->paused_us = sum;
        j->paused_at_us = 0;
    }
}

bool job_apply(struct job *j, const struct event *ev)
{
    Wire__State to;

    if (!state_next(j->state, ev->kind, &to))
        return false;
    if (ev->kind == EVENT_START)
        apply_start(j, ev);
    else if (ev->kind == EVENT_SAVED)
        apply_saved(j, ev);
    else if (event_is_end(ev->kind))
        apply_end(j, ev);
    else if (ev->kind == EVENT_PRIORITY || ev->kind == EVENT_SUBMIT)
        j->priority = (uint32_t)ev->step;
    else if (!is_aside(ev->kind) && ev->kind != EVENT_UP)
        set_text(&j->reason, ev->text);
    apply_pause(j, ev);
    j->cancel_asked |= ev->kind == EVENT_CANCEL;
    if (ev->kind == EVENT_STOP)
        j->failure = ev->failure; /* why nnd wants it to end */
    if (state_is_final(to))
        j->ended_us = ev->time_us;
    j->state = to;
    j->seq = ev->seq;
    job_touch(j);
    return true;
}

/* --- figures -------------------------------------------------------------- */

void job_measure(Wire__RankMetric *into, const Wire__RankMetric *from)
{
    const ProtobufCMessageDescriptor *d = &wire__rank_metric__descriptor;

    for (unsigned i = 0; i < d->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &d->fields[i];
        size_t size = f->type == PROTOBUF_C_TYPE_BOOL     ? sizeof(protobuf_c_boolean)
                      : f->type == PROTOBUF_C_TYPE_UINT32 ? sizeof(uint32_t)
                                                          : sizeof(uint64_t);
        const char *src = (const char *)from;
        char *dst = (char *)into;

        if (f->type == PROTOBUF_C_TYPE_MESSAGE ||
            !*(const protobuf_c_boolean *)(src + f->quantifier_offset))
            continue;
        *(protobuf_c_boolean *)(dst + f->quantifier_offset) = 1;
        memcpy(dst + f->offset, src + f->offset, size);
    }
}

/* --- as clients see it ---------------------------------------------------- */

#define SET(field, value) (out->has_##field = 1, out->field = (value))
#define SET_IF(field, value)                                                           \
    do {                                                                               \
        if (value)                                                                     \
            SET(field, (value));                                                       \
    } while (0)
#define MEASURED(field)                                                                \
    do {                                                                               \
        if (j->metric.has_##field)                                                     \
            SET(field, j->metric.field);                                               \
    } while (0)

static void info_figures(const struct job *j, Wire__JobInfo *out)
{
    SET(step, j->metric.has_step ? j->metric.step : 0);
    MEASURED(loss);
    MEASURED(val_loss);
    MEASURED(tokens_per_s);
    MEASURED(step_seconds);
    MEASURED(lr);
    MEASURED(grad_norm);
    MEASURED(dead_experts);
    MEASURED(max_overload);
    MEASURED(loss_scale);
    MEASURED(send_hidden);
}

static void info_end(const struct job *j, Wire__JobInfo *out)
{
    if (j->state != WIRE__STATE__RETRY_WAIT && !state_is_final(j->state))
        return;
    SET(failure, j->failure);
    if (j->signal)
        SET(signal, (uint32_t)j->signal);
    else if (j->attempt)
        SET(exit_code, j->exit_code);
}

void job_info(const struct job *j, Wire__JobInfo *out)
{
    wire__job_info__init(out);
    out->name = j->name;
    out->reason = j->reason;
    out->checkpoint = j->checkpoint;
    out->label = j->label;
    out->after = j->needs;
    out->nodes = j->nodes;
    SET(id, j->id);
    SET(state, j->state);
    SET(attempt, j->attempt);
    SET(steps, j->steps);
    SET(ranks, j->ranks);
    SET(threads, j->threads);
    SET(uid, j->uid);
    SET(submitted_us, (uint64_t)j->submitted_us);
    SET_IF(checkpoint_step, j->checkpoint_step);
    SET_IF(started_us, (uint64_t)j->started_us);
    SET_IF(attempt_started_us, (uint64_t)j->attempt_started_us);
    SET_IF(ended_us, (uint64_t)j->ended_us);
    SET_IF(attempt_first_step, j->first_step);
    SET(version, j->version);
    SET(cancel_asked, j->cancel_asked);
    SET(priority, j->priority);
    SET_IF(array, j->array);
    SET_IF(time_limit, j->time_limit);
    info_figures(j, out);
    info_end(j, out);
}
