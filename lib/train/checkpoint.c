/* SPDX-License-Identifier: Apache-2.0 */
/*
 * checkpoint.c - saving while training goes on: the copy, and the thread that
 * writes it.  What it writes is checkpoint_write.c's.
 */
#include "train/checkpoint.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "train/checkpoint_folder.h"
#include "train/checkpoint_layout.h"
#include "train/checkpoint_write.h"

#define PATIENCE_S 120.0 /* without a sign of life of another rank */
#define NICE       13    /* a busy core gives this a twentieth of itself */

struct checkpoint {
    struct checkpoint_config config;
    struct arena *mem;
    struct layout *layout;
    struct checkpoint_part part; /* the writer's while busy */
    void *copy;                  /* owned sources, then rank 0's I/O buffer */
    const void **at;             /* in place: where the sources lie, else NULL */
    size_t bytes;
    struct err uncopied; /* what part.failed says */

    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t change;
    /* Under the lock: */
    bool busy, stop;
    struct err last; /* of the last write, until told; code 0: none */
};

/* ---- the writer ---------------------------------------------------------- */

/* Training goes first: this thread runs in what it leaves. */
static void step_back(void)
{
    struct sched_param none = {0};

    if (sched_setscheduler(0, SCHED_BATCH, &none) < 0 ||
        setpriority(PRIO_PROCESS, 0, NICE) < 0)
        log_debug("checkpoint: the writer could not lower its priority");
}

static void tell(const struct checkpoint *c, int rc, const struct err *e)
{
    char path[PATH_MAX];
    int64_t step = c->part.state.step;

    if (c->part.rank != 0 || !c->config.done)
        return;
    if (rc == 0)
        rc = folder_path(c->part.dir, step, path, sizeof path, NULL);
    c->config.done(c->config.arg, step, rc ? NULL : path, rc ? e->text : NULL);
}

static void *writer(void *arg)
{
    struct checkpoint *c = arg;

    step_back();
    pthread_mutex_lock(&c->lock);
    for (;;) {
        struct err e = {0};
        int rc;

        while (!c->busy && !c->stop)
            pthread_cond_wait(&c->change, &c->lock);
        if (!c->busy)
            break;
        pthread_mutex_unlock(&c->lock);
        rc = checkpoint_write(&c->part, &e);
        tell(c, rc, &e);
        pthread_mutex_lock(&c->lock);
        if (rc < 0)
            c->last = e;
        c->busy = false;
        pthread_cond_broadcast(&c->change);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

/* Signals are for the threads of the program. */
static int start_writer(struct checkpoint *c, struct err *e)
{
    sigset_t all, before;
    int rc;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&c->thread, NULL, writer, c);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc)
        return err_sys(e, ERR_FAILED, rc, "checkpoint: start a thread");
    c->started = true;
    return 0;
}

/* ---- create, destroy ----------------------------------------------------- */

static size_t io_bytes(int rank)
{
    return rank == 0 ? CHECKPOINT_IO_BYTES : 0;
}

bool checkpoint_in_place(const Nnd__Job *job)
{
    return job->checkpoint->every == 0 && job->train->best == NND__TRAIN__BEST__NONE &&
           strcmp(job->kernels->device, "cpu") == 0;
}

size_t checkpoint_bytes(const struct graph *g, const struct update *u, bool in_place)
{
    struct layout *l;
    struct err e;
    size_t n;

    if (layout_create(g, u, &l, &e) < 0)
        return 0;
    n = (in_place ? 0 : layout_owned_bytes(l)) + io_bytes(g->mesh.rank);
    layout_destroy(l);
    return n;
}

/* Touched now, so that saving later cannot fail for want of memory. */
static int allocate(struct checkpoint *c, struct err *e)
{
    size_t owned = c->config.in_place ? 0 : layout_owned_bytes(c->layout);

    if (c->config.in_place)
        c->at = arena_calloc(c->mem, (size_t)c->layout->nsource + 1, sizeof *c->at);
    c->part.at = c->at;
    c->bytes = owned + io_bytes(c->part.rank);
    if (c->bytes == 0)
        return 0;
    c->copy = mmap(NULL, c->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                   -1, 0);
    if (c->copy == MAP_FAILED) {
        c->copy = NULL;
        return err_sys(e, ERR_FAILED, errno, "checkpoint: wanted %zu bytes for a copy",
                       c->bytes);
    }
    memset(c->copy, 0, c->bytes);
    c->part.data = c->copy;
    c->part.io = (char *)c->copy + owned;
    return 0;
}

static int prepare_dir(const struct checkpoint *c, struct err *e)
{
    int rc;

    if (c->part.rank != 0)
        return 0;
    rc = fs_mkdirs(c->part.dir, e);
    if (rc < 0)
        return rc;
    if (access(c->part.dir, W_OK | X_OK) < 0)
        return err_sys(e, err_code_of(errno), errno, "checkpoint: write in %s",
                       c->part.dir);
    return folder_clean(c->part.dir, c->part.attempt, e);
}

static int prepare(struct checkpoint *c, struct err *e)
{
    const struct checkpoint_config *f = &c->config;
    int rc;

    c->part = (struct checkpoint_part){.dir = arena_strdup(c->mem, f->dir),
                                       .tokenizer = arena_strdup(c->mem, f->tokenizer),
                                       .attempt = f->attempt,
                                       .keep = f->keep,
                                       .rank = f->mesh->rank,
                                       .world = f->mesh->world,
                                       .patience = PATIENCE_S};
    rc = manifest_job(f->job_json, c->mem, &c->part.seed, &c->part.job, e);
    if (rc == 0)
        rc = layout_create(trainer_graph(f->trainer), trainer_update(f->trainer),
                           &c->layout, e);
    c->part.layout = c->layout;
    if (rc == 0)
        rc = allocate(c, e);
    if (rc == 0)
        rc = prepare_dir(c, e);
    return rc < 0 ? rc : start_writer(c, e);
}

int checkpoint_create(const struct checkpoint_config *config, struct checkpoint **out,
                      struct err *e)
{
    struct arena *mem = arena_create();
    struct checkpoint *c = arena_alloc(mem, sizeof *c);
    int rc;

    c->mem = mem;
    c->config = *config;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->change, NULL);
    rc = prepare(c, e);
    if (rc < 0)
        checkpoint_destroy(c);
    else
        *out = c;
    return rc;
}

void checkpoint_destroy(struct checkpoint *c)
{
    if (!c)
        return;
    if (c->started) {
        pthread_mutex_lock(&c->lock);
        c->stop = true;
        pthread_cond_broadcast(&c->change);
        pthread_mutex_unlock(&c->lock);
        pthread_join(c->thread, NULL);
    }
    if (c->copy)
        munmap(c->copy, c->bytes);
    layout_destroy(c->layout);
    pthread_cond_destroy(&c->change);
    pthread_mutex_destroy(&c->lock);
    arena_destroy(c->mem);
}

/* ---- saving -------------------------------------------------------------- */

int checkpoint_wait(struct checkpoint *c, struct err *e)
{
    struct err last;

    pthread_mutex_lock(&c->lock);
    while (c->busy)
        pthread_cond_wait(&c->change, &c->lock);
    last = c->last;
    c->last.code = 0;
    pthread_mutex_unlock(&c->lock);
    return last.code ? err_set(e, (enum err_code)last.code, "%s", last.text) : 0;
}

static void settle(struct checkpoint *c)
{
    pthread_mutex_lock(&c->lock);
    while (c->busy)
        pthread_cond_wait(&c->change, &c->lock);
    pthread_mutex_unlock(&c->lock);
}

static int copy_owned(struct checkpoint *c, struct err *e)
{
    struct exec *x = trainer_exec(c->config.trainer);
    char *to = c->copy;

    for (int i = 0; i < c->layout->nsource; i++) {
        const struct layout_source *s = &c->layout->source[i];
        int rc;

        if (!s->owned)
            continue;
        if (c->at) {
            c->at[i] = exec_address(x, s->value, 0, 0);
            continue;
        }
        rc = exec_read(x, s->value, to, e);
        if (rc < 0)
            return rc;
        to += value_bytes(s->value);
    }
    return 0;
}

int checkpoint_save(struct checkpoint *c, struct err *e)
{
    int earlier = checkpoint_wait(c, e);

    /* The others are about to write: the writer tells them. */
    c->part.failed = copy_owned(c, &c->uncopied) < 0 ? c->uncopied.text : NULL;
    c->part.state = *trainer_state(c->config.trainer);
    c->part.serial++;
    pthread_mutex_lock(&c->lock);
    c->busy = true;
    pthread_cond_broadcast(&c->change);
    pthread_mutex_unlock(&c->lock);
    if (c->at)
        settle(c);
    return earlier;
}
