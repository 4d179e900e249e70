/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc_rank.c - what ranks tell about themselves.
 *
 * A rank names its attempt by the epoch.  One that belongs to an attempt which is
 * over (it was cut off, or should be dead) is told to leave, and changes nothing; so is
 * one that comes from elsewhere with another attempt's key.  While what an attempt left
 * is swept up, its ranks are told to leave too, but what they had said is heard.
 */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/fs.h"
#include "base/log.h"
#include "daemon/attempt.h"
#include "daemon/hang.h"
#include "daemon/rpc.h"
#include "proto/wire.pb-c.h"

/* Who speaks, if it may: the rank of a running attempt, or NULL. */
struct speaker {
    struct job *job;
    struct attempt *attempt;
    struct rank *rank;
    uint32_t number;
};

static int answer(struct rpc_call *call, Wire__Stop stop)
{
    Wire__RankReply *m = RPC_REPLY(call, Wire__RankReply, rank_reply);

    m->has_stop = 1;
    m->stop = stop;
    return 0;
}

/* False when the speaker is of no attempt that runs; it was told to leave. */
static bool identify(struct rpc_call *call, const Wire__Rank *who, struct speaker *s)
{
    struct job *j = who ? hub_find(call->hub, who->job) : NULL;
    uint64_t only = call->who->epoch; /* that of its key, or 0: on this machine */

    if (!j || !j->live || (only && j->epoch != only) || j->attempt != who->attempt ||
        j->epoch != who->epoch || who->rank >= j->ranks ||
        j->live->stage >= ATTEMPT_OVER) {
        answer(call, WIRE__STOP__LEAVE);
        return false;
    }
    *s = (struct speaker){j, j->live, &j->live->ranks[who->rank], who->rank};
    s->rank->beat_at = call->hub->now;
    return true;
}

static int go_on(struct rpc_call *call, const struct speaker *s)
{
    return answer(call, s->attempt->stage >= ATTEMPT_SWEEPING ? WIRE__STOP__LEAVE
                                                              : s->attempt->stop);
}

static int on_hello(struct rpc_call *call, struct err *e)
{
    const Wire__RankHello *m = (const Wire__RankHello *)call->request;
    struct speaker s;

    if (!identify(call, m->who, &s))
        return 0;
    if (m->has_ranks && m->ranks != s.job->ranks)
        return err_set(e, ERR_SPEC, "job %llu: has %u ranks, its world has %u",
                       (unsigned long long)s.job->id, s.job->ranks, m->ranks);
    attempt_rank_up(call->hub, s.attempt, s.number, m->has_pid ? m->pid : 0,
                    m->host ? m->host : "");
    if (m->has_first_step)
        s.job->first_step = m->first_step;
    hub_changed(call->hub, s.job);
    return go_on(call, &s);
}

static int on_beat(struct rpc_call *call, struct err *e)
{
    const Wire__RankBeat *m = (const Wire__RankBeat *)call->request;
    struct speaker s;

    (void)e;
    if (!identify(call, m->who, &s))
        return 0;
    attempt_rank_up(call->hub, s.attempt, s.number, m->has_pid ? m->pid : 0, m->host);
    if (m->seq < s.rank->seq)
        return go_on(call, &s);
    s.rank->seq = m->seq;
    if (m->has_first_step)
        s.job->first_step = m->first_step;
    hang_beat(call->hub, s.attempt, s.rank, m);
    return go_on(call, &s);
}

static int on_metric(struct rpc_call *call, struct err *e)
{
    const Wire__RankMetric *m = (const Wire__RankMetric *)call->request;
    struct speaker s;

    (void)e;
    if (!identify(call, m->who, &s))
        return 0;
    job_measure(&s.job->metric, m);
    if (m->has_step)
        s.attempt->step = m->step;
    s.attempt->moved_at = call->hub->now;
    if (m->has_step_seconds)
        hang_step(s.attempt, m->step_seconds);
    hub_changed(call->hub, s.job);
    return go_on(call, &s);
}

static int on_kernels(struct rpc_call *call, struct err *e)
{
    Wire__RankKernels *m = (Wire__RankKernels *)call->request;
    Wire__KernelsReply table = WIRE__KERNELS_REPLY__INIT;
    char path[PATH_MAX];
    struct speaker s;
    struct buf b = {0};
    int rc;

    if (!identify(call, m->who, &s))
        return 0;
    table.n_kernels = m->n_kernels;
    table.kernels = m->kernels;
    table.has_attempt = 1;
    table.attempt = s.job->attempt;
    buf_reserve(&b, wire__kernels_reply__get_packed_size(&table));
    b.len = wire__kernels_reply__pack(&table, (uint8_t *)b.data);
    snprintf(path, sizeof path, "%.4000s/kernels", s.attempt->dir);
    rc = fs_replace(path, b.data, b.len, e);
    buf_free(&b);
    return rc < 0 ? rc : go_on(call, &s);
}

/* What the rank names must lie in the job's own folder, whose name may have dots. */
static int check_path(const struct rpc_call *call, const struct speaker *s,
                      const char *path, struct err *e)
{
    char dir[PATH_MAX];
    size_t len;

    attempt_job_dir(call->hub, s->job->id, dir);
    len = strlen(dir);
    if (!path || strncmp(path, dir, len) != 0 || path[len] != '/' ||
        strstr(path + len, "/../") || strlen(path) >= PATH_MAX)
        return err_set(e, ERR_PROTOCOL, "rank-saved.path: must be below %s, got \"%s\"",
                       dir, path ? path : "");
    return 0;
}

/* Said twice by an attempt it is one event.  Another attempt says the same when it has
 * made it again, since it was damaged. */
static bool is_said(const struct speaker *s, const Wire__RankSaved *m)
{
    const struct job *j = s->job;

    return j->checkpoint && m->step == j->checkpoint_step &&
           m->step == s->attempt->saved && strcmp(m->path, j->checkpoint) == 0;
}

static int on_saved(struct rpc_call *call, struct err *e)
{
    const Wire__RankSaved *m = (const Wire__RankSaved *)call->request;
    struct event ev = {
        .kind = EVENT_SAVED, .bad_rank = -1, .step = m->step, .text = m->path};
    struct speaker s;
    int rc;

    if (!identify(call, m->who, &s))
        return 0;
    ev.first_step = s.job->first_step;
    rc = check_path(call, &s, m->path, e);
    if (rc == 0 && !is_said(&s, m))
        rc = hub_post(call->hub, s.job, &ev, e);
    if (rc == 0)
        s.attempt->saved = m->step;
    s.attempt->moved_at = call->hub->now;
    return rc < 0 ? rc : go_on(call, &s);
}

/* Said twice it is one note. */
static int on_note(struct rpc_call *call, struct err *e)
{
    const Wire__RankNote *m = (const Wire__RankNote *)call->request;
    struct event ev = {.kind = EVENT_NOTE, .bad_rank = -1, .step = m->step};
    char text[1000];
    struct speaker s;
    int rc = 0;

    if (!identify(call, m->who, &s))
        return 0;
    snprintf(text, sizeof text, "%.990s", m->text ? m->text : "");
    ev.text = text;
    if (s.attempt->noted != m->step)
        rc = hub_post(call->hub, s.job, &ev, e);
    if (rc == 0)
        s.attempt->noted = m->step;
    s.attempt->moved_at = call->hub->now;
    return rc < 0 ? rc : go_on(call, &s);
}

/* The first rank that says what is wrong is the cause; others follow it down. */
static int on_ended(struct rpc_call *call, struct err *e)
{
    const Wire__RankEnded *m = (const Wire__RankEnded *)call->request;
    struct speaker s;

    (void)e;
    if (!identify(call, m->who, &s))
        return 0;
    s.rank->ended = true;
    if (m->has_phase && m->phase == WIRE__PHASE__DONE)
        s.rank->phase = m->phase;
    if (m->has_failure && m->failure != WIRE__FAILURE__NO_FAILURE && !s.attempt->said) {
        s.attempt->said = m->failure;
        s.attempt->first_bad = (int)s.number;
        snprintf(s.attempt->said_text, sizeof s.attempt->said_text, "%.500s",
                 m->text ? m->text : failure_name(m->failure));
    }
    if (m->has_step && m->step > s.attempt->step)
        s.attempt->step = m->step;
    if (m->has_step && m->step >= s.job->metric.step) {
        s.job->metric.has_step = 1;
        s.job->metric.step = m->step;
    }
    hub_changed(call->hub, s.job);
    return go_on(call, &s);
}

const struct rpc_row rpc_rank_rows[] = {
    {WIRE__TYPE__RANK_HELLO, on_hello},   {WIRE__TYPE__RANK_BEAT, on_beat},
    {WIRE__TYPE__RANK_METRIC, on_metric}, {WIRE__TYPE__RANK_KERNELS, on_kernels},
    {WIRE__TYPE__RANK_SAVED, on_saved},   {WIRE__TYPE__RANK_ENDED, on_ended},
    {WIRE__TYPE__RANK_NOTE, on_note},
};
const size_t rpc_rank_nrows = sizeof rpc_rank_rows / sizeof *rpc_rank_rows;
