/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bad-kernel.c - a small gemm for f32 that breaks one rule of the contract per
 * FAULT_X given to the compiler; plugin_check.test builds them all.  With
 * FAULT_NONE it breaks none, and must pass.
 */
#include "bad.h"

#include <fenv.h>
#include <malloc.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <threads.h>
#include <unistd.h>

static int supports(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_gemm *p = params;
    const struct nnd_tensor *all[] = {&p->a, &p->b, &p->d, &p->c, &p->bias};
    (void)self;
#if defined FAULT_REFUSES_ALL
    snprintf(e->text, sizeof e->text, "not today");
    return NND_EUNSUPPORTED;
#elif defined FAULT_UNABLE
    snprintf(e->text, sizeof e->text, "no such unit here");
    return NND_EKERNEL;
#elif defined FAULT_SECONDS
    struct rlimit r; /* what may be spent here is told */
    getrlimit(RLIMIT_CPU, &r);
    snprintf(e->text, sizeof e->text, "%ld s of processor time", (long)r.rlim_cur);
    return NND_EKERNEL;
#endif
    if (p->epilogue || p->sums.ndim) {
#if !defined FAULT_MUTE
        snprintf(e->text, sizeof e->text, "no epilogue or sums here");
#endif
        return NND_EUNSUPPORTED;
    }
#if defined FAULT_FEW
    if (p->d.dim[0] < 16) { /* which is no fault */
        snprintf(e->text, sizeof e->text, "%d rows, wanted 16", (int)p->d.dim[0]);
        return NND_EUNSUPPORTED;
    }
#elif defined FAULT_REFUSES_HUGE
    if (p->d.dim[0] * p->d.dim[1] > 150000) { /* nor is this */
        snprintf(e->text, sizeof e->text, "too many rows");
        return NND_EUNSUPPORTED;
    }
#elif defined FAULT_PROMISE
    if (p->d.dim[0] > 1 || p->trans_a) {
        snprintf(e->text, sizeof e->text, "one row at a time");
        return NND_EUNSUPPORTED;
    }
#endif
#if defined FAULT_ALIGNED
    for (int i = 0; i < 5; i++)
        if (all[i]->ndim && all[i]->align_log2 < 6) {
            snprintf(e->text, sizeof e->text, "wanted rows at 64 bytes");
            return NND_EUNSUPPORTED;
        }
#endif
    for (int i = 0; i < 5; i++) {
        if (all[i]->ndim == 0 || all[i]->dtype == NND_F32)
            continue;
#if defined FAULT_TYPE
        if (all[i]->dtype == NND_BF16) /* which launch() does not know */
            continue;
#endif
#if !defined FAULT_MUTE
        snprintf(e->text, sizeof e->text, "dtype %d, wanted f32", all[i]->dtype);
#endif
        (void)e;
        return NND_EUNSUPPORTED;
    }
    return NND_OK;
}

static int need(const void *self, const void *params, struct nnd_need *out)
{
    const struct nnd_gemm *p = params;
    (void)self;
    (void)p;
    out->workspace = 256;
#if defined FAULT_ROOM
    struct rlimit r; /* which a huge call does not have, and is no fault of ours */
    if (getrlimit(RLIMIT_DATA, &r) != 0 || r.rlim_cur < r.rlim_max)
        return NND_ENOMEM;
#elif defined FAULT_NEED
    if (p->d.dim[0] * p->d.dim[1] > 150000) /* as if no number were larger */
        return NND_EINVAL;
#elif defined FAULT_NEED_SIZE
    if (p->d.dim[0] * p->d.dim[1] > 150000)
        out->workspace = (size_t)-256;
#endif
    return NND_OK;
}

static float *at(const struct nnd_tensor *t, int64_t i, int64_t j)
{
    return (float *)t->data + i * t->stride[0] + j * t->stride[1];
}

/* In the order of k; from the other end when a fault says so. */
static float dot(const struct nnd_gemm *p, int64_t m, int64_t n, int64_t nk,
                 int backward)
{
    float sum = 0;
    for (int64_t i = 0; i < nk; i++) {
        int64_t k = backward ? nk - 1 - i : i;
        sum += *at(&p->a, p->trans_a ? k : m, p->trans_a ? m : k) *
               *at(&p->b, p->trans_b ? n : k, p->trans_b ? k : n);
    }
    return sum;
}

static void element(const struct nnd_gemm *p, int64_t m, int64_t n, int backward)
{
    int64_t nk = p->a.dim[p->trans_a ? 0 : 1];
    float sum = dot(p, m, n, nk, backward);
#if defined FAULT_BETA_C
    if (p->c.ndim)
        sum += p->beta * *at(&p->c, m, n);
#elif defined FAULT_STRIDE || defined FAULT_ALIGNED
    if (p->beta != 0)
        sum += p->beta * ((float *)p->c.data)[at(&p->d, m, n) - (float *)p->d.data];
#elif defined FAULT_BETA
    float c = *at(p->c.ndim ? &p->c : &p->d, m, n);
    sum += p->beta * c;
#else
    if (p->beta != 0)
        sum += p->beta * *at(&p->c, m, n);
#endif
    if (p->bias.ndim)
        sum += ((const float *)p->bias.data)[n * p->bias.stride[0]];
#if defined FAULT_NAN
    sum = nk > 200 && m == 0 ? NAN : sum;
#elif defined FAULT_WRONG
    sum *= 1.0001f;
#elif defined FAULT_NEAR
    sum *= nk == 257 ? 1.0000035f : 1; /* of 3.8e-6 that it may be off */
#elif defined FAULT_SPOT
    sum += nk == 257 && m == 3 && n == 4 ? 6e-4f : 0; /* of some 4,000 numbers */
#endif
#if defined FAULT_COUNT
    if (m * p->d.dim[1] + n >= 150000) /* as if no number were larger */
        return;
#endif
    *at(&p->d, m, n) = sum;
}

#if defined FAULT_C11_THREAD
static int idle11(void *arg)
{
    return arg != NULL;
}
#elif defined FAULT_THREAD
static void *idle(void *arg)
{
    return arg;
}
#endif

/* Does the call sum the other way, which gives other bits? */
static int is_backward(int64_t nm, const struct nnd_launch *l)
{
    int backward = 0;
#if defined FAULT_THREADS
    backward = l->nthreads == 2;
#elif defined FAULT_LAUNCHES
    static int launches; /* the third and those after it */
    backward = ++launches > 2;
#elif defined FAULT_ROWS
    backward = nm % 2;
#elif defined FAULT_SHARED
    static _Atomic int inside;
    inside++;
    usleep(1000); /* long enough for the other to come, on a loaded machine too */
    backward = inside > 1;
    inside--;
#endif
    (void)nm;
    (void)l;
    return backward;
}

/* What launch() must not take, or leave behind. */
static void take(size_t size)
{
#if defined FAULT_ALLOC
    void *volatile scratch = malloc(size);
    free(scratch);
#elif defined FAULT_MEMALIGN
    void *volatile scratch = memalign(64, size);
    free(scratch);
#elif defined FAULT_C11_THREAD
    thrd_t thread;
    if (thrd_create(&thread, idle11, NULL) == thrd_success)
        thrd_join(thread, NULL);
#elif defined FAULT_THREAD
    pthread_t thread;
    if (pthread_create(&thread, NULL, idle, NULL) == 0)
        pthread_join(thread, NULL);
#elif defined FAULT_FLOATS
    fesetround(FE_UPWARD);
#endif
    (void)size;
}

#if defined FAULT_PLAN || defined FAULT_KEEPS
/* What a launch leaves there for the next. */
struct plan {
    int launches;
    float b;
};

static int plan_new(const void *self, const void *params, void **plan,
                    struct nnd_error *e)
{
    (void)self;
    (void)params;
    (void)e;
    *plan = calloc(1, sizeof(struct plan));
    return *plan ? NND_OK : NND_ENOMEM;
}

static void add_first(const struct nnd_gemm *p, struct plan *plan)
{
    float b = *at(&p->b, 0, 0);
    if (plan->launches++ == 0)
        plan->b = b;
#if defined FAULT_PLAN
    else
        *at(&p->d, 0, 0) += 1;
#else
    *at(&p->d, 0, 0) += *at(&p->a, 0, 0) * (plan->b - b);
#endif
}
#endif

static int launch(const void *self, void *plan, const void *params,
                  const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_gemm *p = params;
    int64_t nm = p->d.dim[0], nn = p->d.dim[1], nk = p->a.dim[p->trans_a ? 0 : 1];
    int backward = is_backward(nm, l);
    (void)self;
    (void)plan;
    (void)e;
    take((size_t)(nm + 1) * 64 + (size_t)nk);
#if defined FAULT_TYPE
    if (p->d.dtype != NND_F32) {
        snprintf(e->text, sizeof e->text, "no such type");
        return NND_EKERNEL;
    }
#endif
#if defined FAULT_INPUT
    if (nm && nk)
        *at(&p->a, 0, 0) += 1;
#elif defined FAULT_WORKSPACE
    ((char *)l->workspace)[l->workspace_size] = 0;
#elif defined FAULT_STATUS
    if (nk == 257) {
        snprintf(e->text, sizeof e->text, "K is 257");
        return NND_EKERNEL;
    }
#elif defined FAULT_CRASH
    if (nk == 257)
        *(volatile int *)8 = 1;
#elif defined FAULT_LOOP
    for (volatile int i = 0; nk == 257; i++)
        ;
#elif defined FAULT_ABORT
    if (nk == 257) {
        fprintf(stderr, "what: out of ideas\n");
        abort();
    }
#endif
    for (int64_t m = 0; m < nm; m++)
        for (int64_t n = 0; n < nn; n++)
            element(p, m, n, backward);
#if defined FAULT_PLAN || defined FAULT_KEEPS
    if (nm && nn && nk)
        add_first(p, plan);
#endif
#if defined FAULT_PAST
    if (nm && nn)
        *(at(&p->d, nm - 1, nn - 1) + 1) = 0;
#elif defined FAULT_SHORT
    if (nm > 1 && nn)
        *(uint32_t *)at(&p->d, nm - 1, nn - 1) = 0x7fc5aaa5; /* as if never written */
#endif
    return NND_OK;
}

static const struct nnd_kernel bad_kernel = {
    .struct_size = sizeof bad_kernel,
    .name = "small",
    .op = "gemm",
    .device = "cpu",
    .op_version = 1,
#if defined FAULT_SHARED
    .flags = NND_K_DETERMINISTIC | NND_K_INVARIANT | NND_K_REENTRANT,
#else
    .flags = NND_K_DETERMINISTIC | NND_K_INVARIANT,
#endif
    .priority = 10,
    .supports = supports,
    .need = need,
    .launch = launch,
#if defined FAULT_PLAN || defined FAULT_KEEPS
    .plan = plan_new,
    .plan_free = free,
#endif
};
