/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ref.h - for tests of the ref plugin: f64 tensors and calls of its kernels.
 * Memory is given back when the program ends a test (num_free).
 */
#ifndef TESTS_NUM_REF_H
#define TESTS_NUM_REF_H

#include <math.h>
#include <stdbool.h>

#include "base/arena.h"
#include "plugins/ref/ref.h"
#include "tests/unit/unit.h"

static struct arena *num_arena;
static uint64_t num_seed = 1;

static inline int num_setup(void **state)
{
    (void)state;
    num_arena = arena_create();
    num_seed = 1;
    return 0;
}

static inline int num_teardown(void **state)
{
    (void)state;
    arena_destroy(num_arena);
    return 0;
}

/* Uniform in [-1, 1). */
static inline double num_random(void)
{
    num_seed++;
    return (double)(nnd_rng_mix(num_seed) >> 11) * 0x1p-52 - 1;
}

/* Contiguous; dimensions of 0 end the list early. */
static inline struct nnd_tensor num_tensor(int dtype, int64_t a, int64_t b, int64_t c)
{
    struct nnd_tensor t = {.dim = {a, b, c}, .ndim = c ? 3 : b ? 2 : 1, .dtype = dtype};
    int64_t n = 1;
    for (int i = t.ndim; i-- > 0;) {
        t.stride[i] = n;
        n *= t.dim[i];
    }
    t.data = arena_calloc(num_arena, (size_t)n + 1, 8);
    return t;
}

static inline struct nnd_tensor num_f64(int64_t a, int64_t b, int64_t c)
{
    return num_tensor(NND_F64, a, b, c);
}

static inline int64_t num_count(const struct nnd_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->ndim; i++)
        n *= t->dim[i];
    return n;
}

static inline struct nnd_tensor num_random_f64(int64_t a, int64_t b, int64_t c)
{
    struct nnd_tensor t = num_f64(a, b, c);
    for (int64_t i = 0; i < num_count(&t); i++)
        ((double *)t.data)[i] = num_random();
    return t;
}

static inline double *num_at(const struct nnd_tensor *t, int64_t i, int64_t j,
                             int64_t k)
{
    return (double *)t->data + i * t->stride[0] + j * t->stride[1] + k * t->stride[2];
}

static inline const struct nnd_kernel *num_kernel(const char *op)
{
    struct nnd_error e;
    const struct nnd_plugin *p = ref_plugin(NULL, &e);
    for (uint32_t i = 0; i < p->nkernels; i++)
        if (strcmp(p->kernels[i]->op, op) == 0)
            return p->kernels[i];
    fail_msg("ref has no %s", op);
    return NULL;
}

/* Ask, then launch with poisoned workspace; the status of what says no. */
static inline int num_try(const char *op, const void *params, struct nnd_error *e)
{
    const struct nnd_kernel *k = num_kernel(op);
    struct nnd_need need = {.struct_size = sizeof need};
    e->text[0] = '\0';
    int rc = k->supports(k->self, params, e);
    if (rc != NND_OK)
        return rc;
    assert_int_equal(k->need(k->self, params, &need), NND_OK);
    void *space = malloc(need.workspace + 1);
    memset(space, 0xff, need.workspace + 1);
    struct nnd_launch l = {.struct_size = sizeof l,
                           .workspace = space,
                           .workspace_size = need.workspace,
                           .nthreads = 1};
    rc = k->launch(k->self, NULL, params, &l, e);
    free(space);
    return rc;
}

static inline void num_run(const char *op, const void *params)
{
    struct nnd_error e;
    if (num_try(op, params, &e) != NND_OK)
        fail_msg("%s: %s", op, e.text);
}

/* |x - want| <= tolerance max(1, |want|), and never for a NaN. */
static inline void num_near(const char *what, double x, double want, double tolerance)
{
    if (!(fabs(x - want) <= tolerance * fmax(1, fabs(want))))
        fail_msg("%s: %.17g, wanted %.17g", what, x, want);
}

#endif
