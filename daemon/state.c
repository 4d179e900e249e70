/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.c - the transition table.
 */
#include "daemon/state.h"

#include <stddef.h>

#define IN(state) (1u << WIRE__STATE__##state)

enum {
    BEFORE = IN(HELD) | IN(QUEUED) | IN(RETRY_WAIT),
    LIVE = IN(STARTING) | IN(RUNNING) | IN(SUSPENDED) | IN(STOPPING),
    GOING = IN(STARTING) | IN(RUNNING) | IN(SUSPENDED),
};

/* Read a row as: when `kind` happens in one of `from`, the job is `to`. */
static const struct {
    enum event_kind kind;
    unsigned from;
    Wire__State to;
} rows[] = {
    {EVENT_SUBMIT, IN(NEW), WIRE__STATE__NEW},
    {EVENT_QUEUE, IN(NEW) | IN(RETRY_WAIT), WIRE__STATE__QUEUED},
    {EVENT_HOLD, IN(NEW) | IN(QUEUED) | IN(RETRY_WAIT), WIRE__STATE__HELD},
    {EVENT_RELEASE, IN(HELD), WIRE__STATE__QUEUED},
    {EVENT_START, IN(QUEUED), WIRE__STATE__STARTING},
    {EVENT_UP, IN(STARTING), WIRE__STATE__RUNNING},
    {EVENT_SUSPEND, IN(RUNNING), WIRE__STATE__SUSPENDED},
    {EVENT_RESUME, IN(SUSPENDED), WIRE__STATE__RUNNING},
    {EVENT_SAVED, IN(STARTING), WIRE__STATE__STARTING},
    {EVENT_SAVED, IN(RUNNING), WIRE__STATE__RUNNING},
    {EVENT_SAVED, IN(SUSPENDED), WIRE__STATE__SUSPENDED},
    {EVENT_SAVED, IN(STOPPING), WIRE__STATE__STOPPING},
    {EVENT_LOST, IN(STARTING), WIRE__STATE__STARTING},
    {EVENT_LOST, IN(RUNNING), WIRE__STATE__RUNNING},
    {EVENT_LOST, IN(SUSPENDED), WIRE__STATE__SUSPENDED},
    {EVENT_LOST, IN(STOPPING), WIRE__STATE__STOPPING},
    {EVENT_NOTE, IN(STARTING), WIRE__STATE__STARTING},
    {EVENT_NOTE, IN(RUNNING), WIRE__STATE__RUNNING},
    {EVENT_NOTE, IN(SUSPENDED), WIRE__STATE__SUSPENDED},
    {EVENT_NOTE, IN(STOPPING), WIRE__STATE__STOPPING},
    {EVENT_CANCEL, BEFORE, WIRE__STATE__CANCELED},
    {EVENT_CANCEL, LIVE, WIRE__STATE__STOPPING},
    {EVENT_STOP, GOING, WIRE__STATE__STOPPING},
    {EVENT_COMPLETE, LIVE, WIRE__STATE__COMPLETED},
    {EVENT_RETRY, LIVE, WIRE__STATE__RETRY_WAIT},
    {EVENT_REQUEUE, LIVE, WIRE__STATE__QUEUED},
    {EVENT_FAIL, LIVE, WIRE__STATE__FAILED},
    {EVENT_CANCELED, IN(STOPPING), WIRE__STATE__CANCELED},
    {EVENT_TIMEOUT, LIVE, WIRE__STATE__TIMEOUT},
    {EVENT_PRIORITY, IN(HELD), WIRE__STATE__HELD},
    {EVENT_PRIORITY, IN(QUEUED), WIRE__STATE__QUEUED},
    {EVENT_PRIORITY, IN(STARTING), WIRE__STATE__STARTING},
    {EVENT_PRIORITY, IN(RUNNING), WIRE__STATE__RUNNING},
    {EVENT_PRIORITY, IN(SUSPENDED), WIRE__STATE__SUSPENDED},
    {EVENT_PRIORITY, IN(STOPPING), WIRE__STATE__STOPPING},
    {EVENT_PRIORITY, IN(RETRY_WAIT), WIRE__STATE__RETRY_WAIT},
};

bool state_next(Wire__State from, enum event_kind kind, Wire__State *out)
{
    if ((unsigned)from >= STATE_COUNT)
        return false;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].kind == kind && rows[i].from & 1u << from) {
            *out = rows[i].to;
            return true;
        }
    }
    return false;
}

bool state_is_final(Wire__State s)
{
    return s == WIRE__STATE__COMPLETED || s == WIRE__STATE__FAILED ||
           s == WIRE__STATE__CANCELED || s == WIRE__STATE__TIMEOUT;
}

bool event_is_end(enum event_kind kind)
{
    return kind >= EVENT_COMPLETE && kind <= EVENT_TIMEOUT;
}

bool state_is_live(Wire__State s)
{
    return (unsigned)s < STATE_COUNT && LIVE & 1u << s;
}

const char *state_name(Wire__State s)
{
    static const char *const names[STATE_COUNT] = {
        "new",      "held",       "queued",    "starting", "running",  "suspended",
        "stopping", "retry_wait", "completed", "failed",   "canceled", "timeout",
    };

    return (unsigned)s < STATE_COUNT ? names[s] : "?";
}

const char *event_name(enum event_kind kind)
{
    static const char *const names[EVENT_COUNT] = {
        "?",       "submit",  "queue", "hold",     "release", "start",    "up",
        "suspend", "resume",  "saved", "lost",     "cancel",  "stop",     "complete",
        "retry",   "requeue", "fail",  "canceled", "timeout", "priority", "note",
    };

    return (unsigned)kind < EVENT_COUNT ? names[kind] : "?";
}

const char *failure_name(Wire__Failure f)
{
    static const char *const names[] = {
        "none", "app_error", "oom",        "signal",      "node_lost",  "hang",
        "nan",  "preempt",   "start_fail", "daemon_lost", "time_limit", "kernel",
    };

    return (unsigned)f < sizeof names / sizeof *names ? names[f] : "?";
}
