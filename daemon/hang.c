/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hang.c - how long nothing may move, and who is to blame when nothing does.
 *
 * A rank gets on when its phase, its step, the collectives that it has entered or the
 * nodes that it has computed change from one beat to the next.  As long as any rank
 * gets on there is no hang.  When none does for long enough, two looks half a second
 * apart must agree: nnd itself may have been kept from listening.
 */
#include "daemon/hang.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/oom.h"
#include "daemon/proc.h"

#define MS     1000000LL
#define SECOND (1000 * MS)

enum {
    AHEAD_MS = 1000,  /* look so much before the time is over ...        */
    CONFIRM_MS = 500, /* ... and again after so long: beats come at that
                         pace, and the hang began before the last of them */
    SILENT_MS = 900,  /* so much later than another's beat is silence    */
    NAMED_MAX = 8,    /* ranks in a list                                 */
};

/* --- progress ------------------------------------------------------------- */

/* How long a phase took is a measure for the next one of its kind. */
static void leave_phase(struct hub *h, struct attempt *a, struct rank *r)
{
    double took = (double)(h->now - r->phase_at) / 1e9;

    if (r->phase_at && r->phase != WIRE__PHASE__TRAIN && took > a->slowest[r->phase])
        a->slowest[r->phase] = took;
    r->phase_at = h->now;
}

bool hang_beat(struct hub *h, struct attempt *a, struct rank *r,
               const Wire__RankBeat *m)
{
    Wire__Phase phase = (unsigned)m->phase <= WIRE__PHASE__DONE ? m->phase : r->phase;
    bool moved = phase != r->phase || m->step != r->step ||
                 m->meetings != r->meetings || m->work != r->work;

    if (phase != r->phase)
        leave_phase(h, a, r);
    r->phase = phase;
    r->step = m->step;
    r->meetings = m->meetings;
    r->work = m->work;
    r->waits = m->waits;
    snprintf(r->op, sizeof r->op, "%s", m->op ? m->op : "");
    if (moved)
        a->moved_at = h->now;
    return moved;
}

void hang_step(struct attempt *a, double seconds)
{
    a->steps[a->nsteps++ % ATTEMPT_STEPS] = seconds;
}

/* The slowest of the last steps, 0 before the first. */
static double slowest_step(const struct attempt *a)
{
    double s = 0;

    for (uint32_t i = 0; i < ATTEMPT_STEPS && i < a->nsteps; i++)
        s = a->steps[i] > s ? a->steps[i] : s;
    return s;
}

/* --- who ------------------------------------------------------------------ */

/* True when a is more to blame than b.  A process that does not even beat comes
 * first, then one that computes while others wait for it, then who is behind. */
static bool is_worse(const struct hang_view *a, const struct hang_view *b)
{
    if (a->stopped != b->stopped)
        return a->stopped;
    if (a->silent_s > b->silent_s + SILENT_MS / 1e3)
        return true;
    if (b->silent_s > a->silent_s + SILENT_MS / 1e3)
        return false;
    if (a->waits != b->waits)
        return b->waits;
    if (a->step != b->step)
        return a->step < b->step;
    return a->meetings < b->meetings;
}

size_t hang_culprit(const struct hang_view *v, size_t n)
{
    size_t worst = 0;

    for (size_t i = 1; i < n; i++)
        if (is_worse(&v[i], &v[worst]))
            worst = i;
    return worst;
}

/* --- in words ------------------------------------------------------------- */

__attribute__((format(printf, 3, 4))) static void append(char *out, size_t size,
                                                         const char *fmt, ...)
{
    size_t len = strlen(out);
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(out + len, size - len, fmt, ap);
    va_end(ap);
}

static const char *place(const struct hang_view *v)
{
    return *v->op ? v->op : "its own code";
}

/* "; ranks 0 and 2 wait in X", for each place where somebody waits. */
static void append_waiting(const struct hang_view *v, size_t n, size_t culprit,
                           char *out, size_t size)
{
    for (size_t i = 0; i < n; i++) {
        size_t named = 0, more = 0;
        bool said = i == culprit || !v[i].waits;

        for (size_t k = 0; k < i && !said; k++)
            said = k != culprit && v[k].waits && strcmp(v[k].op, v[i].op) == 0;
        for (size_t k = i; k < n && !said; k++) {
            if (k == culprit || !v[k].waits || strcmp(v[k].op, v[i].op) != 0)
                continue;
            if (named == NAMED_MAX)
                more++;
            else
                append(out, size, "%s%u", named++ ? ", " : "; waiting: rank ",
                       v[k].rank);
        }
        if (more)
            append(out, size, " and %zu more", more);
        if (!said)
            append(out, size, " in %s (collective %llu)", v[i].op,
                   (unsigned long long)v[i].meetings);
    }
}

static void append_culprit(const struct hang_view *c, double still_s, char *out,
                           size_t size)
{
    append(out, size, "rank %u%s%s%s ", c->rank, *c->host ? " (host " : "", c->host,
           *c->host ? ")" : "");
    if (c->stopped)
        append(out, size, "was stopped by a signal, ");
    else if (c->silent_s > SILENT_MS / 1e3 + CONFIRM_MS / 1e3)
        append(out, size, "has given no sign of life for %.1f s, ", c->silent_s);
    else if (c->waits)
        append(out, size, "waits for somebody who does not come, ");
    else
        append(out, size, "does not get on for %.1f s, ", still_s);
    append(out, size, "after step %llu in %s", (unsigned long long)c->step, place(c));
    if (c->waits)
        append(out, size, " (collective %llu)", (unsigned long long)c->meetings);
}

void hang_describe(const struct hang_view *v, size_t n, double still_s, char *out,
                   size_t size)
{
    size_t culprit = hang_culprit(v, n);

    *out = '\0';
    append_culprit(&v[culprit], still_s, out, size);
    append_waiting(v, n, culprit, out, size);
}

/* --- an attempt ----------------------------------------------------------- */

static struct hang_view *view(const struct hub *h, const struct attempt *a)
{
    struct hang_view *v = oom_calloc(a->job->ranks, sizeof *v);

    for (uint32_t i = 0; i < a->job->ranks; i++) {
        const struct rank *r = &a->ranks[i];

        v[i] = (struct hang_view){.rank = i,
                                  .silent_s = (double)(h->now - r->beat_at) / 1e9,
                                  .stopped = r->fd >= 0 && proc_stopped((pid_t)r->pid),
                                  .waits = r->waits,
                                  .step = r->step,
                                  .meetings = r->meetings,
                                  .op = r->op,
                                  .host = r->host};
    }
    return v;
}

/* Not everybody came: who is missing. */
static void describe_start(const struct hub *h, const struct attempt *a, char *out,
                           size_t size)
{
    uint32_t named = 0;

    snprintf(out, size, "%u of %u ranks are up after %lld s; missing: ", a->nup,
             a->job->ranks, (long long)((h->now - a->began) / SECOND));
    for (uint32_t i = 0; i < a->job->ranks; i++)
        if (!a->ranks[i].up && named++ < NAMED_MAX)
            append(out, size, "%s%u", named > 1 ? ", " : "rank ", i);
    if (named > NAMED_MAX)
        append(out, size, " and %u more", named - NAMED_MAX);
}

static double least_s(const struct hub *h, Wire__Phase phase)
{
    const Nnd__Config *c = h->opt.conf;
    double given = phase == WIRE__PHASE__EVAL   ? c->patience->validate
                   : phase == WIRE__PHASE__SAVE ? c->patience->save
                                                : c->patience->start;

    if (phase == WIRE__PHASE__TRAIN)
        return c->hang;
    return given > 0 ? given : 10 * c->hang;
}

/* One that does not even beat is in nothing that could take long. */
int64_t hang_patience_ns(const struct hub *h, const struct attempt *a,
                         const struct hang_view *v)
{
    Wire__Phase phase = a->ranks[v->rank].phase;
    double slowest = slowest_step(a), least;

    if (phase == WIRE__PHASE__TRAIN && a->nsteps == 0)
        phase = WIRE__PHASE__INIT; /* the first step needs its data and kernels */
    least = least_s(h, phase);
    if (phase != WIRE__PHASE__TRAIN)
        slowest = a->slowest[phase];
    if (v->stopped || v->silent_s >= h->opt.conf->hang / 2) {
        least = h->opt.conf->hang;
        slowest = 0;
    }
    return (int64_t)((3 * slowest > least ? 3 * slowest : least) * 1e9);
}

static void post(struct hub *h, struct attempt *a, const char *text, int rank)
{
    struct event ev = {.kind = EVENT_STOP,
                       .failure = WIRE__FAILURE__HANG,
                       .bad_rank = rank,
                       .text = text};
    struct err e;

    a->first_bad = rank;
    hub_post(h, a->job, &ev, &e);
}

/* Both looks found the time over. */
static bool is_confirmed(struct hub *h, struct attempt *a, int64_t deadline)
{
    if (h->now < deadline) {
        a->suspect_at = 0;
        hub_wake(h, deadline);
        return false;
    }
    if (!a->suspect_at)
        a->suspect_at = h->now;
    hub_wake(h, a->suspect_at + CONFIRM_MS * MS);
    return h->now >= a->suspect_at + CONFIRM_MS * MS;
}

static void act_starting(struct hub *h, struct attempt *a)
{
    char text[512];

    if (!is_confirmed(h, a,
                      a->moved_at + (int64_t)(least_s(h, WIRE__PHASE__INIT) * 1e9)))
        return;
    describe_start(h, a, text, sizeof text);
    post(h, a, text, -1);
}

static void act_running(struct hub *h, struct attempt *a)
{
    struct hang_view *v = view(h, a);
    size_t culprit = hang_culprit(v, a->job->ranks);
    int64_t patience = hang_patience_ns(h, a, &v[culprit]);
    int64_t ahead = AHEAD_MS * MS < patience / 2 ? AHEAD_MS * MS : patience / 2;
    char text[512];

    if (is_confirmed(h, a, a->moved_at + patience - ahead)) {
        hang_describe(v, a->job->ranks, (double)(h->now - a->moved_at) / 1e9, text,
                      sizeof text);
        post(h, a, text, (int)culprit);
    }
    free(v);
}

void hang_act(struct hub *h, struct attempt *a)
{
    int64_t least = (int64_t)(h->opt.conf->hang * 1e9);

    if (a->job->state != WIRE__STATE__RUNNING && a->job->state != WIRE__STATE__STARTING)
        return;
    if (h->now - a->moved_at < least / 4) { /* most of the time: it moves */
        a->suspect_at = 0;
        hub_wake(h, a->moved_at + least / 4);
        return;
    }
    if (a->nup < a->job->ranks)
        act_starting(h, a);
    else
        act_running(h, a);
}
