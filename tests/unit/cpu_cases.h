/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpu_cases.h - calls of every operator that the plugins cpu and blis serve,
 * with random contents, for the tests that compare bits: between instruction
 * sets, numbers of threads, and cuts of the rows.
 */
#ifndef TESTS_CPU_CASES_H
#define TESTS_CPU_CASES_H

#include <nnd/plugin.h>

#include "base/pool.h"

#define CASE_OUTPUTS 6

struct calls; /* memory of the cases */

struct output {
    struct nnd_tensor *t; /* within params */
    char *image;          /* its contents before a run */
    size_t size;
};

struct call {
    const char *op;
    char label[80];
    void *params;
    struct output out[CASE_OUTPUTS];
    int nout;
    struct call *next;
};

/* Every operator in several shapes and dtypes, edges included. */
struct calls *calls_create(void);
void calls_destroy(struct calls *c);
const struct call *calls_first(const struct calls *c);

/* A plugin of the build tree, over a host with `threads` threads. */
struct plugin_under_test {
    void *handle;
    const struct nnd_plugin *table;
    struct nnd_host host;
    struct pool *pool;
};
int plugin_built(const char *name);
void plugin_open(struct plugin_under_test *p, const char *name, int threads);
void plugin_close(struct plugin_under_test *p);

/* Run `k` over the call, its outputs reset before; NULL on success, else why
 * not.  supports() is asked first. */
const char *call_run(const struct call *c, const struct nnd_kernel *k,
                     const struct plugin_under_test *p, int threads);

/* Like params of an operator, for tests that build their own. */
void *calls_room(struct calls *c, size_t size);
struct nnd_tensor calls_tensor(struct calls *c, int dtype, int ndim, const int64_t *dim,
                               int64_t gap);
size_t dtype_bytes(int dtype);

/* For files with cases of their own: an empty params struct, a call of it, what it
 * writes, and random integers in [lo, hi). */
void *calls_params(struct calls *c, size_t size);
struct call *calls_add(struct calls *c, const char *op, void *params,
                       const char *label);
void calls_output(struct calls *c, struct call *k, struct nnd_tensor *t);
int32_t *calls_integers(struct calls *c, int64_t n, int32_t lo, int32_t hi);

/* Losses of `more` classes more than usual. */
void calls_add_losses(struct calls *c, int more, int dtype);

void calls_add_recurrent(struct calls *c);

#endif
