/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verify.h - calls of a running job held against `ref`, by samples.
 *
 * Before a launch `ref` computes a sample of the call, behind it the two are compared.
 * A kernel that is wrong is condemned (kernels_condemn), and the launch is an error:
 * what it computed is in the weights of nobody yet.  Where `ref` refuses the sample the
 * launch goes unchecked, and the log says so once for a kernel.
 */
#ifndef KERNEL_VERIFY_H
#define KERNEL_VERIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "kernel/kernel.h"

struct verify;

/* `which`: "off", "first" (of each kernel), "sample:N" (every Nth), "all".  *out is
 * NULL for "off".  Only calls in the host's memory can be checked. */
int verify_create(struct kernels *ks, const char *which, struct verify **out,
                  struct err *e);
void verify_destroy(struct verify *v);

/* k->launch() with its status in *status, checked when it is its turn.  An error names
 * kernel, place and numbers.  v NULL: only launched.  From any thread. */
int verify_launch(struct verify *v, const struct nnd_kernel *k, void *plan,
                  const void *params, const struct nnd_launch *l, struct nnd_error *why,
                  int *status, struct err *e);

/* What comparing one call with ref came to. */
enum verify_verdict {
    VERIFY_NOT,     /* it cannot be compared, or failed: *status says          */
    VERIFY_ALIKE,   /* but for rounding                                        */
    VERIFY_DIFFERS, /* numbers are                                             */
    VERIFY_LOST     /* where ref has a number the kernel left a NaN or infinity */
};

/* The same whoever's turn it is, without condemning anyone.  `at`: an address in an
 * output, to be looked at among others, or NULL.  *found says what was different. */
enum verify_verdict verify_compare(struct verify *v, const struct nnd_kernel *k,
                                   void *plan, const void *params,
                                   const struct nnd_launch *l, const void *at,
                                   struct nnd_error *why, int *status,
                                   struct err *found);

/* Condemn a kernel that the caller has found to be wrong. */
void verify_condemn(struct verify *v, const struct nnd_kernel *k, const char *stage,
                    const char *reason);

/* Was any kernel found to be wrong? */
bool verify_found(const struct verify *v);

/* How many calls were checked. */
int64_t verify_count(const struct verify *v);

#endif
