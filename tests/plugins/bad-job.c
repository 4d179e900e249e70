/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bad-job.c - a swiglu for f32 that a job prefers to all others, and that does what
 * FAULT_X says in the midst of it; plugin_job.test and worker_hang.test build them.
 * With FAULT_NONE it does nothing wrong.
 */
#include "bad.h"

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Behind the first steps: a step of the test's job has 8 calls on one rank.  The job's
 * calls have columns that none of the suite has. */
enum { CALLS_BEFORE = 40, COLUMNS = 88 };

/* Of a NaN one row, which is not among those that a sample has by itself. */
enum { SPOT_ROW = 5 };

#if defined FAULT_LOAD
__attribute__((constructor)) static void crash(void)
{
    *(volatile int *)8 = 1;
}
#endif

static int supports(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_act *p = params;
    (void)self;
    if (p->a.dtype == NND_F32 && p->b.dtype == NND_F32 && p->y.dtype == NND_F32)
        return NND_OK;
    snprintf(e->text, sizeof e->text, "wanted f32");
    return NND_EUNSUPPORTED;
}

static float *at(const struct nnd_tensor *t, int64_t i, int64_t j)
{
    return (float *)t->data + i * t->stride[0] + j * t->stride[1];
}

#if defined FAULT_LOOP || defined FAULT_BARRIER || defined FAULT_LATE_NAN
static int is_rank_1(void)
{
    const char *rank = getenv("OMPI_COMM_WORLD_RANK");
    return rank && strcmp(rank, "1") == 0;
}
#endif

#if defined FAULT_LATE_NAN
/* Others see what it did in the step's norm alone. */
static int is_rank_1_of_several(void)
{
    const char *ranks = getenv("OMPI_COMM_WORLD_SIZE");
    return !ranks || strcmp(ranks, "1") == 0 || is_rank_1();
}
#endif

#if defined FAULT_BARRIER
/* A barrier of all ranks, to which the others do not come; Open MPI's own names. */
static void wait_for_all(void)
{
    int (*barrier)(void *) = NULL;
    void *world = dlsym(RTLD_DEFAULT, "ompi_mpi_comm_world");
    *(void **)&barrier = dlsym(RTLD_DEFAULT, "MPI_Barrier");
    if (!barrier || !world)
        abort();
    barrier(world);
}
#endif

static int launch(const void *self, void *plan, const void *params,
                  const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_act *p = params;
    static int calls;
    float factor = 1;
    (void)self, (void)plan, (void)l, (void)e;
    calls += p->a.dim[1] == COLUMNS;
#if defined FAULT_CRASH
    if (calls > CALLS_BEFORE)
        *(volatile int *)8 = 1;
#elif defined FAULT_WRONG
    factor = p->a.dim[1] == COLUMNS ? 1.1f : 1;
#elif defined FAULT_ALWAYS_WRONG
    factor = 1.1f;
#elif defined FAULT_ALWAYS_CRASH
    *(volatile int *)8 = 1;
#elif defined FAULT_LATE_WRONG
    factor = calls > CALLS_BEFORE ? 1.1f : 1;
#elif defined FAULT_LATE_NAN
    factor = calls > CALLS_BEFORE && is_rank_1_of_several() ? NAN : 1;
#elif defined FAULT_ONE_NAN
    factor = calls == CALLS_BEFORE && p->a.dim[1] == COLUMNS ? NAN : 1;
#elif defined FAULT_LOOP
    for (volatile int forever = 1; calls > CALLS_BEFORE && is_rank_1() && forever;)
        ;
#elif defined FAULT_BARRIER
    if (calls == CALLS_BEFORE && p->a.dim[1] == COLUMNS && is_rank_1())
        wait_for_all();
#elif defined FAULT_PAUSE
    if (calls == FAULT_PAUSE && p->a.dim[1] == COLUMNS)
        sleep(3);
#endif
    for (int64_t t = 0; t < p->a.dim[0]; t++)
        for (int64_t n = 0; n < p->a.dim[1]; n++) {
            float x = *at(&p->a, t, n);
            float y = x / (1 + expf(-x)) * *at(&p->b, t, n);
            *at(&p->y, t, n) = isnan(factor) && t != SPOT_ROW ? y : factor * y;
        }
    return NND_OK;
}

static const struct nnd_kernel bad_kernel = {
    .struct_size = sizeof bad_kernel,
    .name = "eager",
    .op = "act.swiglu.fwd",
    .device = "cpu",
    .op_version = 1,
    .flags = NND_K_DETERMINISTIC | NND_K_INVARIANT,
    .priority = 100,
    .supports = supports,
    .need = need_nothing,
    .launch = launch,
};
