/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent.c - the thread, its queue of messages, and its beats.
 */
#include "worker/agent.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/sha256.h"
#include "base/str.h"
#include "proto/chan.h"
#include "proto/line.h"

enum {
    BEAT_MS = 500,
    CALL_MS = 1000, /* for one answer                                     */
    END_MS = 2000,  /* for all that is left at the end: a second for what is
                       on its way to an nnd that is busy, one for the last */
    QUEUE = 64,     /* messages kept while nnd is away; the oldest of
                       metrics, which the file has as well, go first      */
};

struct message {
    unsigned type;
    ProtobufCMessage *body;
};

struct agent {
    struct agent_config c;
    char uri[256], dir[4096], host[256];
    struct chan *chan; /* of the thread; NULL while there is no way to nnd */
    pthread_t thread;
    pthread_mutex_t lock; /* of all below but stop */
    pthread_cond_t news;
    struct message queue[QUEUE];
    int queued;
    struct message last; /* why it leaves, or body NULL: it goes before the others,
                            of which a busy nnd may hear no more, but files tell */
    bool ending;
    int64_t deadline; /* when ending: monotonic ns */
    Wire__Phase phase;
    int64_t step, first; /* first: 0 not known      */
    uint64_t beats;
    struct exec_progress *progress;
    const char *meeting; /* a collective of its own, or NULL */
    uint64_t meetings;   /* and how many there were          */
    uint64_t work;       /* grows with each change of phase, step or meeting */
    bool warned;
    atomic_bool stop;
};

/* --- what is said --------------------------------------------------------- */

static Wire__Rank who_of(const struct agent *a)
{
    Wire__Rank w = WIRE__RANK__INIT;

    w.has_job = w.has_attempt = w.has_epoch = w.has_rank = 1;
    w.job = a->c.job;
    w.attempt = a->c.attempt;
    w.epoch = a->c.epoch;
    w.rank = a->c.rank;
    return w;
}

/* A message of our own making can always be read again. */
static ProtobufCMessage *copy_of(const ProtobufCMessage *m)
{
    size_t n = protobuf_c_message_get_packed_size(m);
    uint8_t *bytes = malloc(n + 1);
    ProtobufCMessage *out = NULL;
    struct err e;

    if (bytes) {
        protobuf_c_message_pack(m, bytes);
        if (chan_unpack(m->descriptor, bytes, n, &out, &e) < 0)
            log_warn("a message for nnd is lost: %s", e.text);
    }
    free(bytes);
    return out;
}

static void remove_at(struct agent *a, int i)
{
    chan_free(a->queue[i].body);
    memmove(&a->queue[i], &a->queue[i + 1],
            (size_t)(a->queued - i - 1) * sizeof *a->queue);
    a->queued--;
}

static void make_room(struct agent *a)
{
    int i = 0;

    if (a->queued < QUEUE)
        return;
    while (i < QUEUE - 1 && a->queue[i].type != WIRE__TYPE__RANK_METRIC)
        i++;
    remove_at(a, i);
}

static void say(struct agent *a, unsigned type, const ProtobufCMessage *m)
{
    ProtobufCMessage *body = copy_of(m);

    if (!body)
        return;
    pthread_mutex_lock(&a->lock);
    make_room(a);
    a->queue[a->queued++] = (struct message){type, body};
    pthread_cond_signal(&a->news);
    pthread_mutex_unlock(&a->lock);
}

static void say_hello(struct agent *a)
{
    Wire__RankHello m = WIRE__RANK_HELLO__INIT;
    Wire__Rank who = who_of(a);

    m.who = &who;
    m.has_pid = m.has_ranks = 1;
    m.pid = (uint32_t)getpid();
    m.ranks = a->c.ranks;
    m.host = a->host;
    say(a, WIRE__TYPE__RANK_HELLO, &m.base);
}

void agent_metrics(struct agent *a, const struct metrics *m)
{
    Wire__RankMetric w = WIRE__RANK_METRIC__INIT;
    const struct step_report *r = &m->report;
    const bool sent = r->send_seconds > 0;
    const struct {
        double v;
        double *to;
        protobuf_c_boolean *has;
    } reals[] = {
        {r->loss, &w.loss, &w.has_loss},
        {m->val_loss, &w.val_loss, &w.has_val_loss},
        {r->lr, &w.lr, &w.has_lr},
        {r->grad_norm, &w.grad_norm, &w.has_grad_norm},
        {metrics_tokens_per_s(m), &w.tokens_per_s, &w.has_tokens_per_s},
        {r->seconds, &w.step_seconds, &w.has_step_seconds},
        {r->loss_scale, &w.loss_scale, &w.has_loss_scale},
        {sent ? r->send_seconds : NAN, &w.send_seconds, &w.has_send_seconds},
        {sent ? r->send_hidden : NAN, &w.send_hidden, &w.has_send_hidden},
        {r->moe_layers ? r->aux_loss : NAN, &w.aux_loss, &w.has_aux_loss},
        {r->moe_layers ? r->z_loss : NAN, &w.z_loss, &w.has_z_loss},
        {r->moe_layers ? r->overload : NAN, &w.max_overload, &w.has_max_overload},
    };
    Wire__Rank who;

    if (!a)
        return;
    who = who_of(a);
    w.who = &who;
    w.has_step = w.has_tokens = w.has_skipped = 1;
    w.step = (uint64_t)r->step;
    w.tokens = (uint64_t)m->tokens;
    w.skipped = r->skipped;
    w.has_dead_experts = r->moe_layers > 0;
    w.dead_experts = (uint32_t)r->dead_experts;
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) {
        *reals[i].has = isfinite(reals[i].v) != 0;
        *reals[i].to = *reals[i].has ? reals[i].v : 0;
    }
    say(a, WIRE__TYPE__RANK_METRIC, &w.base);
}

void agent_saved(struct agent *a, int64_t step, const char *path)
{
    Wire__RankSaved m = WIRE__RANK_SAVED__INIT;
    char manifest[4096], hex[SHA256_HEX];
    Wire__Rank who;
    struct err e;

    if (!a)
        return;
    who = who_of(a);
    m.who = &who;
    m.has_step = 1;
    m.step = (uint64_t)step;
    m.path = (char *)path;
    snprintf(manifest, sizeof manifest, "%s/manifest.json", path);
    if (sha256_file(manifest, hex, &e) == 0)
        m.sha256 = hex;
    say(a, WIRE__TYPE__RANK_SAVED, &m.base);
}

void agent_note(struct agent *a, int64_t step, const char *text)
{
    Wire__RankNote m = WIRE__RANK_NOTE__INIT;
    Wire__Rank who;

    if (!a)
        return;
    who = who_of(a);
    m.who = &who;
    m.has_step = 1;
    m.step = (uint64_t)step;
    m.text = (char *)text;
    say(a, WIRE__TYPE__RANK_NOTE, &m.base);
}

void agent_kernels(struct agent *a, Wire__Kernel **kernels, size_t n)
{
    Wire__RankKernels m = WIRE__RANK_KERNELS__INIT;
    Wire__Rank who;

    if (!a)
        return;
    who = who_of(a);
    m.who = &who;
    m.kernels = kernels;
    m.n_kernels = n;
    say(a, WIRE__TYPE__RANK_KERNELS, &m.base);
}

static struct message last_word(const struct agent *a, Wire__Failure why,
                                const char *text)
{
    Wire__RankEnded m = WIRE__RANK_ENDED__INIT;
    Wire__Rank who = who_of(a);

    m.who = &who;
    m.has_failure = m.has_step = m.has_phase = 1;
    m.failure = why;
    m.phase = a->phase;
    m.step = (uint64_t)a->step;
    m.text = (char *)text;
    return (struct message){WIRE__TYPE__RANK_ENDED, copy_of(&m.base)};
}

/* --- where the rank is ---------------------------------------------------- */

void agent_phase(struct agent *a, Wire__Phase phase)
{
    if (!a)
        return;
    pthread_mutex_lock(&a->lock);
    a->phase = phase;
    a->work++;
    pthread_mutex_unlock(&a->lock);
}

void agent_step(struct agent *a, int64_t done)
{
    if (!a)
        return;
    pthread_mutex_lock(&a->lock);
    a->step = done;
    a->work++;
    pthread_mutex_unlock(&a->lock);
}

void agent_first(struct agent *a, int64_t step)
{
    if (!a)
        return;
    pthread_mutex_lock(&a->lock);
    a->first = step;
    a->step = step - 1;
    pthread_mutex_unlock(&a->lock);
}

void agent_meet(struct agent *a, const char *what)
{
    if (!a)
        return;
    pthread_mutex_lock(&a->lock);
    a->meeting = what;
    a->meetings++;
    a->work++;
    pthread_mutex_unlock(&a->lock);
}

void agent_met(struct agent *a)
{
    if (!a)
        return;
    pthread_mutex_lock(&a->lock);
    a->meeting = NULL;
    a->work++;
    pthread_mutex_unlock(&a->lock);
}

void agent_watch(struct agent *a, struct exec_progress *p)
{
    if (!a)
        return;
    pthread_mutex_lock(&a->lock);
    a->progress = p;
    pthread_mutex_unlock(&a->lock);
}

bool agent_stop_asked(const struct agent *a)
{
    return a && atomic_load_explicit(&a->stop, memory_order_relaxed);
}

/* --- the thread ----------------------------------------------------------- */

/* This attempt is over: nobody waits for what this rank computes, and its thread
 * may be deep inside a collective. */
static void leave_now(const struct agent *a)
{
    struct err e;

    err_set(&e, ERR_FAILED, "nnd says that attempt %u is over; leaving", a->c.attempt);
    dprintf(STDERR_FILENO, "nnd-worker: rank %u: %s\n", a->c.rank, e.text);
    _exit(EXIT_FAILURE);
}

static void hear(struct agent *a, const Wire__RankReply *r)
{
    if (!r->has_stop)
        return;
    if (r->stop == WIRE__STOP__LEAVE)
        leave_now(a);
    if (r->stop == WIRE__STOP__SAVE_AND_LEAVE)
        atomic_store_explicit(&a->stop, true, memory_order_relaxed);
}

/* To another machine the way is opened anew whenever it was lost: nnd's key there may
 * be another one by now. */
static bool is_far(const struct agent *a)
{
    return str_starts(a->uri, "tcp://");
}

static int open_way(struct agent *a, int ms, struct err *e)
{
    return a->chan ? 0 : line_open(a->dir, a->uri, ms, &a->chan, e);
}

static void lose_way(struct agent *a)
{
    if (!is_far(a))
        return;
    chan_close(a->chan);
    a->chan = NULL;
}

/* True when nnd has taken it, or never will. */
static bool call(struct agent *a, unsigned type, const ProtobufCMessage *m, int ms)
{
    ProtobufCMessage *reply;
    struct err e;
    int rc = open_way(a, ms, &e);

    if (rc == ERR_DENIED) /* the key ended with the attempt */
        leave_now(a);
    if (rc < 0)
        return false;
    rc = chan_call(a->chan, type, m, ms, &reply, &e);
    if (rc == 0) {
        hear(a, (const Wire__RankReply *)reply);
        chan_free(reply);
        return true;
    }
    if (rc == ERR_UNREACHABLE)
        lose_way(a);
    if (rc == ERR_UNREACHABLE || rc == ERR_RETRY)
        return false;
    if (rc == ERR_DENIED && is_far(a))
        leave_now(a);
    if (!a->warned)
        log_warn("nnd refuses %s: %s", m->descriptor->short_name, e.text);
    a->warned = true;
    return true;
}

/* What the executor is at; its strings last as long as it does. */
static void add_progress(const struct agent *a, Wire__RankBeat *m, char *where,
                         size_t size)
{
    struct exec_progress *p = a->progress;
    const char *op = a->meeting;

    m->waits = op != NULL;
    m->meetings = a->meetings;
    m->work = a->work;
    if (p) {
        m->meetings += (uint64_t)atomic_load_explicit(&p->seq, memory_order_relaxed);
        m->work += (uint64_t)atomic_load_explicit(&p->nodes, memory_order_relaxed);
    }
    if (p && !op) { /* "model.layers.3.mlp.up_proj": it names the op as well */
        m->waits = atomic_load_explicit(&p->waits, memory_order_relaxed);
        op = atomic_load_explicit(&p->where, memory_order_relaxed);
    }
    snprintf(where, size, "%s", op ? op : "");
}

static bool beat(struct agent *a)
{
    Wire__RankBeat m = WIRE__RANK_BEAT__INIT;
    Wire__Rank who = who_of(a);
    char where[64];

    m.who = &who;
    m.has_pid = m.has_phase = m.has_step = m.has_seq = 1;
    m.has_meetings = m.has_waits = m.has_work = 1;
    m.pid = (uint32_t)getpid();
    pthread_mutex_lock(&a->lock);
    m.phase = a->phase;
    m.step = (uint64_t)a->step;
    m.seq = ++a->beats;
    m.has_first_step = a->first > 0;
    m.first_step = (uint64_t)a->first;
    add_progress(a, &m, where, sizeof where);
    pthread_mutex_unlock(&a->lock);
    m.op = where;
    m.host = a->host;
    return call(a, WIRE__TYPE__RANK_BEAT, &m.base, CALL_MS);
}

/* The last word, or the oldest message, which then belongs to the caller; body NULL:
 * none. */
static struct message take(struct agent *a)
{
    struct message m;

    pthread_mutex_lock(&a->lock);
    m = a->last;
    a->last.body = NULL;
    if (!m.body && a->queued) {
        m = a->queue[0];
        a->queue[0].body = NULL;
        remove_at(a, 0);
    }
    pthread_mutex_unlock(&a->lock);
    return m;
}

static void put_back(struct agent *a, struct message m)
{
    pthread_mutex_lock(&a->lock);
    if (m.type == WIRE__TYPE__RANK_ENDED) {
        a->last = m;
    } else {
        make_room(a);
        memmove(&a->queue[1], &a->queue[0], (size_t)a->queued * sizeof *a->queue);
        a->queue[0] = m;
        a->queued++;
    }
    pthread_mutex_unlock(&a->lock);
}

/* How long a call may take now: 0 when the time at the end is over. */
static int time_left(struct agent *a)
{
    int64_t left = CALL_MS;

    pthread_mutex_lock(&a->lock);
    if (a->ending)
        left = (a->deadline - clock_mono_ns()) / 1000000;
    pthread_mutex_unlock(&a->lock);
    return left < 0 ? 0 : left < CALL_MS ? (int)left : CALL_MS;
}

static bool is_ending(struct agent *a)
{
    bool ending;

    pthread_mutex_lock(&a->lock);
    ending = a->ending;
    pthread_mutex_unlock(&a->lock);
    return ending;
}

/* False when nnd does not answer. */
static bool send_queue(struct agent *a)
{
    for (;;) {
        int ms = time_left(a);
        struct message m = ms ? take(a) : (struct message){0};

        if (!m.body)
            return ms > 0;
        if (!call(a, m.type, m.body, ms)) {
            put_back(a, m);
            return false;
        }
        chan_free(m.body);
    }
}

/* Sleep until there is something to say; true when it is time to end. */
static bool rest(struct agent *a, int64_t until, bool answered)
{
    struct timespec t = {.tv_sec = until / 1000000000, .tv_nsec = until % 1000000000};
    bool end;
    int rc = 0;

    pthread_mutex_lock(&a->lock);
    while (!a->ending && (!a->queued || !answered) && rc == 0)
        rc = pthread_cond_timedwait(&a->news, &a->lock, &t);
    end =
        a->ending && ((!a->queued && !a->last.body) || clock_mono_ns() >= a->deadline);
    pthread_mutex_unlock(&a->lock);
    return end;
}

static void *run(void *arg)
{
    struct agent *a = arg;
    int64_t due = 0;
    bool answered;

    do {
        answered = send_queue(a);
        if (clock_mono_ns() >= due && !is_ending(a)) {
            due = clock_mono_ns() + BEAT_MS * INT64_C(1000000);
            answered = beat(a) && answered;
        }
    } while (!rest(a, due, answered));
    return NULL;
}

/* --- from start to end ---------------------------------------------------- */

/* Signals are the main thread's. */
static int start_thread(struct agent *a)
{
    sigset_t all, before;
    int rc;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&a->thread, NULL, run, a);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

static void make_locks(struct agent *a)
{
    pthread_condattr_t attr;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&a->news, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&a->lock, NULL);
}

void agent_destroy(struct agent *a)
{
    if (!a)
        return;
    while (a->queued)
        remove_at(a, 0);
    chan_free(a->last.body);
    chan_close(a->chan);
    pthread_cond_destroy(&a->news);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

int agent_start(const struct agent_config *c, struct agent **out, struct err *e)
{
    struct agent *a = calloc(1, sizeof *a);
    int rc;

    if (!a)
        return err_sys(e, ERR_NOMEM, ENOMEM, "nnd at %s", c->uri);
    a->c = *c;
    snprintf(a->uri, sizeof a->uri, "%s", c->uri);
    snprintf(a->dir, sizeof a->dir, "%s", c->dir ? c->dir : "");
    gethostname(a->host, sizeof a->host - 1);
    make_locks(a);
    rc = is_far(a) ? 0 : open_way(a, 0, e); /* a wrong address is found out here */
    if (rc == 0) {
        say_hello(a);
        rc = start_thread(a);
        if (rc != 0)
            rc = err_sys(e, ERR_FAILED, rc, "a thread for nnd at %s", a->uri);
    }
    if (rc < 0)
        agent_destroy(a);
    else
        *out = a;
    return rc;
}

void agent_end(struct agent *a, Wire__Failure why, const char *text)
{
    if (!a)
        return;
    pthread_mutex_lock(&a->lock);
    a->last = last_word(a, why, text);
    a->ending = true;
    a->deadline = clock_mono_ns() + END_MS * INT64_C(1000000);
    pthread_cond_signal(&a->news);
    pthread_mutex_unlock(&a->lock);
    pthread_join(a->thread, NULL);
}
