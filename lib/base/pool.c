/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool.c - threads that wait for a run, spinning shortly before they sleep.
 *
 * A run is published in one atomic word, the ticket: the run's number in its
 * upper half, the tasks not yet handed out in its lower half.  Who lowers the
 * lower half may have a task, and while one may pool_run cannot return, so
 * fn, arg, n and the shares of that run stand still.  A thread that comes late
 * finds nothing left and reads nothing else; nobody has to wait for it.
 *
 * Which task it is the shares say: each thread has the same part of every run, which
 * it takes from the front, and helps others, from their ends, once its own is done.
 * Rows that one call writes are so in the cache of the thread that reads them in the
 * next: processors of one machine may have caches far from one another's.
 */
#include "base/pool.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/oom.h"

/* How long a thread waits awake: one that sleeps begins the next run late, but one that
 * is awake is in the way of others where threads share processors. */
enum { SPIN_NS = 20000, SPIN_ALONE_NS = 200000 };

enum { MOST_THREADS = 4096, SPINS_PER_LOOK = 64 };

/* Tasks of a run that a thread has still to take: the first in the lower half, the one
 * after the last in the upper.  No two lie in one line of the cache. */
struct share {
    _Atomic uint64_t tasks;
    char room[56];
};

struct pool {
    int threads; /* with the caller */
    _Atomic int64_t spin_ns;
    void (*start)(void *arg, int index);
    void *start_arg;
    struct helper {
        struct pool *pool;
        pthread_t thread;
        int index;
    } * helpers;
    struct share *shares; /* of each thread; the caller's is the first */

    atomic_flag busy; /* a run is on */
    int n;
    void (*fn)(void *arg, int i);
    void *arg;
    _Atomic uint64_t ticket;
    atomic_int done; /* tasks ended */
    atomic_bool stop;

    pthread_mutex_t lock; /* for sleeping and waking only */
    pthread_cond_t wake;  /* there are tasks, or the end has come */
    pthread_cond_t ended; /* the last task has ended */
    atomic_int sleepers;
    atomic_bool caller_sleeps;
};

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Wait until ready(p) for a short while; false when the time is over. */
static bool spin(struct pool *p, bool (*ready)(struct pool *p))
{
    int64_t end = clock_mono_ns() + atomic_load(&p->spin_ns);

    do {
        for (int i = 0; i < SPINS_PER_LOOK; i++) {
            if (ready(p))
                return true;
            relax();
        }
    } while (clock_mono_ns() < end);
    return false;
}

static bool work_waits(struct pool *p)
{
    return (uint32_t)atomic_load(&p->ticket) > 0 || atomic_load(&p->stop);
}

static bool all_ended(struct pool *p)
{
    return atomic_load(&p->done) == p->n;
}

/* Give each thread its part of n tasks. */
static void share_out(struct pool *p, int n)
{
    for (int64_t t = 0; t < p->threads; t++) {
        uint64_t first = (uint64_t)(n * t / p->threads);
        uint64_t last = (uint64_t)(n * (t + 1) / p->threads);

        atomic_store(&p->shares[t].tasks, last << 32 | first);
    }
}

/* Take a task out of a share, the first one or the last; -1 if none is left. */
static int take_from(struct share *s, bool last)
{
    uint64_t t = atomic_load(&s->tasks), rest;

    do {
        if ((uint32_t)t == t >> 32)
            return -1;
        rest = last ? t - (UINT64_C(1) << 32) : t + 1;
    } while (!atomic_compare_exchange_weak(&s->tasks, &t, rest));
    return last ? (int)(rest >> 32) : (int)(uint32_t)t;
}

/* May this thread have a task of the run that is on? */
static bool may_take(struct pool *p)
{
    uint64_t t = atomic_load(&p->ticket);

    do {
        if ((uint32_t)t == 0)
            return false;
    } while (!atomic_compare_exchange_weak(&p->ticket, &t, t - 1));
    return true;
}

/* Take a task for thread `index`; -1 if none is left.  Shares hold a task for each who
 * may have one, and none gets more, so that one round finds it. */
static int take(struct pool *p, int index)
{
    int i;

    if (!may_take(p))
        return -1;
    i = take_from(&p->shares[index], false);
    for (int other = index; i < 0;) {
        other = other + 1 < p->threads ? other + 1 : 0;
        i = take_from(&p->shares[other], true);
    }
    return i;
}

/* Run tasks in thread `index` until none is left; wake the caller after the last. */
static void work(struct pool *p, int index)
{
    for (int i = take(p, index); i >= 0; i = take(p, index)) {
        int n = p->n;

        p->fn(p->arg, i);
        if (atomic_fetch_add(&p->done, 1) + 1 == n && atomic_load(&p->caller_sleeps)) {
            pthread_mutex_lock(&p->lock);
            pthread_cond_signal(&p->ended);
            pthread_mutex_unlock(&p->lock);
        }
    }
}

static void sleep_until_work(struct pool *p)
{
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->sleepers, 1);
    while (!work_waits(p))
        pthread_cond_wait(&p->wake, &p->lock);
    atomic_fetch_sub(&p->sleepers, 1);
    pthread_mutex_unlock(&p->lock);
}

static void *helper_main(void *arg)
{
    struct helper *h = arg;
    struct pool *p = h->pool;
    char name[16];

    snprintf(name, sizeof name, "pool-%d", h->index);
    pthread_setname_np(pthread_self(), name);
    if (p->start)
        p->start(p->start_arg, h->index);
    while (!atomic_load(&p->stop)) {
        if (!spin(p, work_waits))
            sleep_until_work(p);
        work(p, h->index);
    }
    return NULL;
}

static void wake_helpers(struct pool *p)
{
    if (atomic_load(&p->sleepers) == 0)
        return;
    pthread_mutex_lock(&p->lock);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
}

/* Signals are the program's: helpers are started with all of them blocked. */
static int start_helper(struct helper *h)
{
    sigset_t all, old;
    int sys;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    sys = pthread_create(&h->thread, NULL, helper_main, h);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return sys;
}

/* End the helpers 1..threads-1 and release everything. */
static void release(struct pool *p, int threads)
{
    atomic_store(&p->stop, true);
    pthread_mutex_lock(&p->lock);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
    for (int i = 1; i < threads; i++)
        pthread_join(p->helpers[i].thread, NULL);
    pthread_cond_destroy(&p->ended);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    free(p->shares);
    free(p->helpers);
    free(p);
}

int pool_create(int threads, void (*start)(void *arg, int index), void *arg,
                struct pool **out, struct err *e)
{
    struct pool *p;

    if (threads < 1 || threads > MOST_THREADS)
        return err_set(e, ERR_FAILED, "thread pool: wanted 1 to %d threads, found %d",
                       MOST_THREADS, threads);
    p = oom_calloc(1, sizeof *p);
    p->helpers = oom_calloc((size_t)threads, sizeof *p->helpers);
    p->shares = oom_calloc((size_t)threads, sizeof *p->shares);
    p->threads = threads;
    p->start = start;
    p->start_arg = arg;
    atomic_store(&p->spin_ns, SPIN_NS);
    atomic_flag_clear(&p->busy);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    pthread_cond_init(&p->ended, NULL);
    for (int i = 1; i < threads; i++) {
        p->helpers[i].pool = p;
        p->helpers[i].index = i;
        int sys = start_helper(&p->helpers[i]);
        if (sys) {
            release(p, i);
            return err_sys(e, ERR_FAILED, sys, "thread pool: start thread %d of %d", i,
                           threads);
        }
    }
    *out = p;
    return 0;
}

void pool_destroy(struct pool *p)
{
    if (p)
        release(p, p->threads);
}

void pool_alone(struct pool *p)
{
    atomic_store(&p->spin_ns, SPIN_ALONE_NS);
}

int pool_threads(const struct pool *p)
{
    return p->threads;
}

static void wait_for_end(struct pool *p)
{
    if (spin(p, all_ended))
        return;
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->caller_sleeps, true);
    while (!all_ended(p))
        pthread_cond_wait(&p->ended, &p->lock);
    atomic_store(&p->caller_sleeps, false);
    pthread_mutex_unlock(&p->lock);
}

void pool_run(struct pool *p, int n, void (*fn)(void *arg, int i), void *arg)
{
    if (n <= 1 || p->threads == 1 || atomic_flag_test_and_set(&p->busy)) {
        for (int i = 0; i < n; i++)
            fn(arg, i);
        return;
    }
    p->n = n;
    p->fn = fn;
    p->arg = arg;
    atomic_store(&p->done, 0);
    share_out(p, n);
    uint64_t run = (atomic_load(&p->ticket) >> 32) + 1;
    atomic_store(&p->ticket, run << 32 | (uint32_t)n);
    wake_helpers(p);
    work(p, 0);
    wait_for_end(p);
    atomic_flag_clear(&p->busy);
}
