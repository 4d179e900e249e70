/* SPDX-License-Identifier: Apache-2.0 */
/*
 * queue.c - the lines in which jobs wait.
 *
 * Jobs that may start stand in a line of their user, sorted; jobs that wait for
 * others, and those whose back-off is not over, stand in two more, unsorted.
 */
#include "daemon/queue.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/oom.h"
#include "daemon/attempt.h"
#include "daemon/need.h"

enum { MAX_RANKS = 4096 };

/* Which line: struct job's place.line.  READY + i is the line of users[i]. */
enum line { NOWHERE, NEEDY, DELAYED, READY };

struct line_of {
    struct job **v;
    size_t n, cap;
};

struct queue_user {
    uint32_t uid;
    struct line_of line;
    size_t njobs;            /* that have not ended */
    uint32_t running, slots; /* counted anew by every look */
};

struct queue {
    struct line_of needy, delayed;
    struct queue_user *users;
    size_t nusers;
    bool look;             /* somebody may start   */
    bool look_need;        /* a need may be met    */
    struct need_memo told; /* to who asks why one waits, this round */
};

struct queue *queue_create(void)
{
    struct queue *q = oom_calloc(1, sizeof *q);

    q->look = true; /* what jobs that run already use is counted */
    return q;
}

void queue_destroy(struct queue *q)
{
    if (!q)
        return;
    for (size_t i = 0; i < q->nusers; i++)
        free(q->users[i].line.v);
    free(q->users);
    free(q->needy.v);
    free(q->delayed.v);
    free(q);
}

/* Indices stay: a user is never forgotten. */
static size_t user_of(struct queue *q, uint32_t uid)
{
    for (size_t i = 0; i < q->nusers; i++)
        if (q->users[i].uid == uid)
            return i;
    q->users = oom_realloc(q->users, (q->nusers + 1) * sizeof *q->users);
    q->users[q->nusers] = (struct queue_user){.uid = uid};
    return q->nusers++;
}

/* Valid until the next user comes. */
static struct queue_user *user(struct queue *q, uint32_t uid)
{
    size_t at = user_of(q, uid);

    return &q->users[at];
}

/* --- lines ---------------------------------------------------------------- */

static void line_grow(struct line_of *l)
{
    if (l->n < l->cap)
        return;
    l->cap = l->cap ? 2 * l->cap : 64;
    l->v = oom_realloc(l->v, l->cap * sizeof(struct job *));
}

static bool before(const struct job *a, uint32_t priority, uint64_t id)
{
    return a->place.priority != priority ? a->place.priority > priority : a->id < id;
}

/* Where (priority, id) stands or would stand; the end is tried first, where new
 * jobs go. */
static size_t line_find(const struct line_of *l, uint32_t priority, uint64_t id)
{
    size_t low = 0, high = l->n;

    if (l->n && before(l->v[l->n - 1], priority, id))
        return l->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (before(l->v[mid], priority, id))
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static void sorted_put(struct line_of *l, struct job *j)
{
    size_t at = line_find(l, j->priority, j->id);

    line_grow(l);
    memmove(l->v + at + 1, l->v + at, (l->n - at) * sizeof(struct job *));
    l->v[at] = j;
    l->n++;
    j->place.priority = j->priority;
}

static void sorted_take(struct line_of *l, struct job *j)
{
    size_t at = line_find(l, j->place.priority, j->id);

    l->n--;
    memmove(l->v + at, l->v + at + 1, (l->n - at) * sizeof(struct job *));
}

static void heap_put(struct line_of *l, struct job *j)
{
    line_grow(l);
    j->place.at = l->n;
    l->v[l->n++] = j;
}

static void heap_take(struct line_of *l, struct job *j)
{
    struct job *last = l->v[--l->n];

    l->v[j->place.at] = last;
    last->place.at = j->place.at;
}

static void leave(struct queue *q, struct job *j)
{
    if (j->place.line == NEEDY)
        heap_take(&q->needy, j);
    else if (j->place.line == DELAYED)
        heap_take(&q->delayed, j);
    else if (j->place.line >= READY)
        sorted_take(&q->users[j->place.line - READY].line, j);
    j->place.line = NOWHERE;
}

static void enter(struct queue *q, struct job *j, int line)
{
    if (line == NEEDY)
        heap_put(&q->needy, j);
    else if (line == DELAYED)
        heap_put(&q->delayed, j);
    else if (line >= READY)
        sorted_put(&q->users[line - READY].line, j);
    j->place.line = line;
    q->look |= line >= READY;
    q->look_need |= line == NEEDY;
}

/* --- what happens to jobs ------------------------------------------------- */

static int line_for(struct queue *q, const struct job *j)
{
    if (j->state == WIRE__STATE__RETRY_WAIT)
        return DELAYED;
    if (j->state != WIRE__STATE__QUEUED)
        return NOWHERE;
    if (j->needs && j->attempt == 0) /* once it has run, its needs were met */
        return NEEDY;
    return READY + (int)user_of(q, j->uid);
}

void queue_note(struct hub *h, struct job *j)
{
    struct queue *q = h->queue;
    int line = line_for(q, j);

    q->told.text = NULL;
    if (!j->place.counted) {
        j->place.counted = true;
        user(q, j->uid)->njobs++;
    }
    if (state_is_final(j->state))
        q->look_need = q->look = true;
    if (line == j->place.line && (line < READY || j->priority == j->place.priority)) {
        q->look |= line >= READY; /* what was to change it may have failed */
        q->look_need |= line == NEEDY;
        return;
    }
    if (line == NEEDY && j->place.line >= READY) /* met already: only more urgent */
        line = j->place.line;
    leave(q, j);
    enter(q, j, line);
}

void queue_gone(struct hub *h, struct job *j)
{
    struct queue *q = h->queue;

    q->told.text = NULL;
    leave(q, j);
    if (j->place.counted)
        user(q, j->uid)->njobs--;
    j->place.counted = false;
    q->look = true;
}

void queue_look(struct hub *h)
{
    h->queue->look = true;
}

/* --- may it ever, may it now ---------------------------------------------- */

static uint32_t largest_node(const struct hub *h)
{
    uint32_t most = 0;

    for (size_t i = 0; i < h->nodes.n; i++)
        if (h->nodes.v[i].slots > most)
            most = h->nodes.v[i].slots;
    return most;
}

int queue_fit(const struct hub *h, uint32_t ranks, uint32_t threads, struct job *j,
              struct err *e)
{
    uint32_t most = largest_node(h), share = ranks && most > ranks ? most / ranks : 1;
    uint64_t slots;

    if (ranks > MAX_RANKS)
        return err_set(e, ERR_SPEC, "parallel: nnd starts at most %d ranks, got %u",
                       MAX_RANKS, ranks);
    j->ranks = ranks ? ranks : 1;
    j->threads = threads ? threads : share;
    slots = (uint64_t)j->ranks * j->threads;
    if (h->opt.conf->user->slots && slots > h->opt.conf->user->slots)
        return err_set(e, ERR_SPEC,
                       "parallel: %u ranks x %u threads need %llu slots, a user may "
                       "have %u",
                       j->ranks, j->threads, (unsigned long long)slots,
                       h->opt.conf->user->slots);
    if (h->opt.conf->oversubscribe)
        return 0;
    if (slots > h->slots)
        return err_set(e, ERR_SPEC,
                       "parallel: %u ranks x %u threads need %llu slots, nnd has %u; "
                       "make the job smaller or start nnd with --oversubscribe",
                       j->ranks, j->threads, (unsigned long long)slots, h->slots);
    if (nodes_room(&h->nodes, j->threads, true) < j->ranks)
        return err_set(e, ERR_SPEC,
                       "train.threads: a rank of %u threads must fit on one node; %u "
                       "ranks of that size do not fit on these %zu nodes",
                       j->threads, j->ranks, h->nodes.n);
    return 0;
}

int queue_admit(const struct hub *h, uint32_t uid, size_t more, struct err *e)
{
    const struct queue_user *u = user(h->queue, uid);

    if (!h->opt.conf->user->jobs || u->njobs + more <= h->opt.conf->user->jobs)
        return 0;
    return err_set(e, ERR_RETRY,
                   "user %u has %zu jobs that have not ended, and may have %u", uid,
                   u->njobs, h->opt.conf->user->jobs);
}

/* What is used now, by node and by user. */
static void count_used(struct hub *h)
{
    struct queue *q = h->queue;

    nodes_clear(&h->nodes);
    h->slots_used = 0;
    for (size_t i = 0; i < q->nusers; i++)
        q->users[i].running = q->users[i].slots = 0;
    for (size_t i = 0; i < h->nlive; i++) {
        const struct job *j = h->live[i];
        struct queue_user *u = user(q, j->uid);

        if (!state_is_live(j->state))
            continue;
        h->slots_used += job_slots(j);
        u->running++;
        u->slots += job_slots(j);
        nodes_take(&h->nodes, j->nodes, j->ranks, j->threads);
    }
}

static bool at_limit(const struct hub *h, const struct queue_user *u,
                     const struct job *j)
{
    return (h->opt.conf->user->running && u->running >= h->opt.conf->user->running) ||
           (h->opt.conf->user->slots &&
            u->slots + job_slots(j) > h->opt.conf->user->slots);
}

/* The user whose first job is the next to start, or NULL. */
static struct queue_user *next_user(const struct hub *h)
{
    struct queue *q = h->queue;
    struct queue_user *best = NULL;

    for (size_t i = 0; i < q->nusers; i++) {
        struct queue_user *u = &q->users[i];

        if (u->line.n == 0 || at_limit(h, u, u->line.v[0]))
            continue;
        if (!best ||
            before(u->line.v[0], best->line.v[0]->place.priority, best->line.v[0]->id))
            best = u;
    }
    return best;
}

/* --- acting --------------------------------------------------------------- */

static void queue_again(struct hub *h, struct job *j)
{
    struct event ev = {.kind = EVENT_QUEUE, .bad_rank = -1};
    int64_t left_us = j->due_us - clock_wall_us();
    int64_t most_us = (int64_t)(1.2e6 * 300);
    struct err e;

    if (left_us > most_us) /* the clock was set back: who knows how long it has been */
        left_us = 0;
    if (left_us > 0)
        hub_wake(h, h->now + left_us * 1000);
    else
        hub_post(h, j, &ev, &e);
}

static void act_delayed(struct hub *h)
{
    struct queue *q = h->queue;

    for (size_t i = q->delayed.n; i-- > 0;)
        queue_again(h, q->delayed.v[i]);
}

/* Who waits for others: some may start now, for some it is too late. */
static void act_needy(struct hub *h)
{
    struct queue *q = h->queue;
    struct need_memo m = {0};

    if (!q->look_need)
        return;
    q->look_need = false;
    for (size_t i = q->needy.n; i-- > 0;) {
        struct job *j = q->needy.v[i];
        struct event ev = {.kind = EVENT_CANCEL, .bad_rank = -1};
        enum need found = need_look(h, j, &m);
        struct err e;

        if (found == NEED_MET) {
            leave(q, j);
            enter(q, j, READY + (int)user_of(q, j->uid));
            job_touch(j);
        } else if (found == NEED_NEVER) {
            ev.text = m.why;
            hub_post(h, j, &ev, &e);
        } else if (found == NEED_UNKNOWN) {
            q->look_need = true;
        }
    }
}

/* Start the job: false when it does not fit, or the disk refuses. */
static bool start(struct hub *h, struct queue_user *u, struct job *j)
{
    struct event ev = {.kind = EVENT_START, .attempt = j->attempt + 1, .bad_rank = -1};
    /* a job that is bigger than all there is runs when it has that to itself */
    bool alone = h->slots_used == 0, placed;
    uint32_t slots = job_slots(j);
    struct buf where = {0};
    struct err e;

    placed = nodes_place(&h->nodes, j->ranks, j->threads, alone, &where);
    if (placed) {
        ev.text = h->nodes.listed ? where.data : NULL;
        placed = hub_post(h, j, &ev, &e) == 0;
    }
    if (placed) {
        h->slots_used += slots;
        u->running++;
        u->slots += slots;
        nodes_take(&h->nodes, where.data, j->ranks, j->threads);
    }
    buf_free(&where);
    return placed;
}

void queue_act(struct hub *h)
{
    struct queue *q = h->queue;
    struct queue_user *u;

    q->told.text = NULL;
    if (h->leaving)
        return;
    act_delayed(h);
    act_needy(h);
    if (!q->look)
        return;
    q->look = false;
    count_used(h);
    while ((u = next_user(h))) {
        struct job *j = u->line.v[0];

        if (j->live) { /* its last attempt is not forgotten yet */
            q->look = true;
            break;
        }
        if (!start(h, u, j))
            break;
    }
    h->change++; /* reasons may be others now */
}

/* --- why ------------------------------------------------------------------ */

static void reason_ready(const struct hub *h, const struct job *j, char *out,
                         size_t size)
{
    const struct queue_user *u = user(h->queue, j->uid);
    const struct queue_user *next = next_user(h);
    uint32_t used = h->slots_used;

    if (next && next->line.v[0] == j)
        snprintf(out, size, "waits for %u slots, %u of %u are free", job_slots(j),
                 h->slots > used ? h->slots - used : 0, h->slots);
    else if (h->opt.conf->user->running && u->running >= h->opt.conf->user->running)
        snprintf(out, size, "waits: %u jobs of its user run, and no more may",
                 u->running);
    else if (h->opt.conf->user->slots &&
             u->slots + job_slots(j) > h->opt.conf->user->slots)
        snprintf(out, size, "waits: its user has %u of the %u slots that he may have",
                 u->slots, h->opt.conf->user->slots);
    else
        snprintf(out, size, "waits for jobs before it");
}

void queue_reason(struct hub *h, const struct job *j, char *out, size_t size)
{
    struct queue *q = h->queue;

    *out = '\0';
    if (h->leaving)
        snprintf(out, size, "nnd is shutting down");
    else if (j->state == WIRE__STATE__HELD)
        snprintf(out, size, "held until nnctl release");
    else if (j->place.line == NEEDY && need_look(h, j, &q->told) != NEED_MET)
        snprintf(out, size, "%s", q->told.why);
    else if (j->place.line >= READY)
        reason_ready(h, j, out, size);
}
