/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lane.c - a ring of jobs, and the thread that takes from it.
 */
#include "comm/lane.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

struct job {
    struct comm *comm;
    int (*run)(void *arg, struct err *e);
    void *arg;
};

struct lane {
    pthread_t thread;
    pthread_mutex_t lock; /* all below, but a job while it runs */
    pthread_cond_t posted, done;
    struct job *ring;
    int room, first, count; /* a job leaves the ring when it is done */
    bool stop;
    int64_t waiting_since; /* the poster waits; 0: it does not */
    struct lane_time time;
    struct err err;
};

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int run_job(struct lane *l, const struct job *j, struct err *e)
{
    int rc = comm_barrier(j->comm, e);
    int64_t begin = clock_mono_ns(), end;

    if (rc == 0)
        rc = j->run(j->arg, e);
    end = clock_mono_ns();
    pthread_mutex_lock(&l->lock);
    l->time.busy += end - begin;
    if (l->waiting_since)
        l->time.exposed += end - later(begin, l->waiting_since);
    pthread_mutex_unlock(&l->lock);
    return rc;
}

/* Called and left with the lock held. */
static void take_job(struct lane *l)
{
    struct job j = l->ring[l->first];
    struct err e;
    int rc = 0;

    if (l->err.code == 0) {
        pthread_mutex_unlock(&l->lock);
        rc = run_job(l, &j, &e);
        pthread_mutex_lock(&l->lock);
    }
    if (rc < 0)
        l->err = e;
    l->first = (l->first + 1) % l->room;
    l->count--;
    pthread_cond_signal(&l->done);
}

static void *lane_main(void *arg)
{
    struct lane *l = arg;

    pthread_setname_np(pthread_self(), "lane");
    pthread_mutex_lock(&l->lock);
    for (;;) {
        while (l->count == 0 && !l->stop)
            pthread_cond_wait(&l->posted, &l->lock);
        if (l->count == 0)
            break;
        take_job(l);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

/* Signals are the program's. */
static int start(struct lane *l)
{
    sigset_t all, old;
    int sys;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    sys = pthread_create(&l->thread, NULL, lane_main, l);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return sys;
}

int lane_create(int jobs, struct lane **out, struct err *e)
{
    struct lane *l = calloc(1, sizeof *l);
    int sys = l ? 0 : ENOMEM;

    if (l && !(l->ring = calloc((size_t)jobs, sizeof *l->ring)))
        sys = ENOMEM;
    if (sys == 0) {
        l->room = jobs;
        pthread_mutex_init(&l->lock, NULL);
        pthread_cond_init(&l->posted, NULL);
        pthread_cond_init(&l->done, NULL);
        sys = start(l);
    }
    if (sys != 0) {
        free(l ? l->ring : NULL);
        free(l);
        return err_sys(e, ERR_FAILED, sys, "comm: a thread that communicates");
    }
    *out = l;
    return 0;
}

void lane_destroy(struct lane *l)
{
    if (!l)
        return;
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_signal(&l->posted);
    pthread_mutex_unlock(&l->lock);
    pthread_join(l->thread, NULL);
    pthread_cond_destroy(&l->posted);
    pthread_cond_destroy(&l->done);
    pthread_mutex_destroy(&l->lock);
    free(l->ring);
    free(l);
}

void lane_post(struct lane *l, struct comm *c, int (*run)(void *arg, struct err *e),
               void *arg)
{
    pthread_mutex_lock(&l->lock);
    while (l->count == l->room)
        pthread_cond_wait(&l->done, &l->lock);
    l->ring[(l->first + l->count++) % l->room] = (struct job){c, run, arg};
    pthread_cond_signal(&l->posted);
    pthread_mutex_unlock(&l->lock);
}

int lane_wait(struct lane *l, struct err *e)
{
    int rc;

    pthread_mutex_lock(&l->lock);
    l->waiting_since = clock_mono_ns();
    while (l->count > 0)
        pthread_cond_wait(&l->done, &l->lock);
    l->waiting_since = 0;
    rc = l->err.code;
    if (rc < 0)
        *e = l->err;
    pthread_mutex_unlock(&l->lock);
    return rc;
}

struct lane_time lane_timed(const struct lane *l)
{
    return l->time;
}
