/* SPDX-License-Identifier: Apache-2.0 */
/*
 * judge.h - does a kernel keep the contract?  Runs it over its op's family and
 * compares with the oracle: ref, all in f64, on the same rounded inputs.
 *
 * A result may be off, as relative L2 norm over a tensor, by `slack` units of
 * its type (u = 2^-24 for f32, 2^-8 for bf16, 2^-11 for f16), 16-bit results,
 * plus 4 u(f32) sqrt(terms), the accumulation in f32.  A single element may be off
 * eight times as far, measured by its own size or the tensor's usual one: held against
 * what ref is off in the same types, as others do it, sums in f32 would fail, for ref's
 * are in f64.  Where 256 numbers of 16 bits or more matter, their errors may not lean
 * to 0, or away from it, by more than 0.45 u: cut off they lean by 0.64 u and more.
 */
#ifndef PROBE_JUDGE_H
#define PROBE_JUDGE_H

#include "base/buf.h"
#include "kernel/kernel.h"

enum { JUDGE_FAILURES = 10 }; /* listed per kernel before it is left alone */

/* Of results that need more than this part of a tolerance one is told: right, but with
 * another compiler, processor or length of a sum they may not be. */
#define JUDGE_NEAR 0.85

struct verdict {
    int trials, refused, failed;
    int invariant;       /* calls that could break NND_K_INVARIANT's promise */
    struct buf failures; /* lines */
    char refusal[300];   /* the last reason of supports() */
    char skip[200];      /* why nothing was run, or "" */
    char unable[200];    /* what the machine or the suite could not do, or "" */
    double used;         /* the largest part of a tolerance that a result needed */
    char nearest[300];   /* the call whose result did */
};

/* What is looked at, and how hard. */
enum {
    JUDGE_SUPPORT = 1, /* what is refused, and why                          */
    JUDGE_CORRECT = 2, /* results, and what the flags promise of them       */
    JUDGE_HYGIENE = 4, /* allocations, threads, two launches at once        */
    JUDGE_GRAD = 8,    /* gradients against differences of the forward op   */
    JUDGE_ENDURE = 16, /* many launches, see endure.h; alone                */
    JUDGE_HUGE = 32,   /* more elements than 32 bits count; alone           */
    JUDGE_MEET = 64    /* results of small calls, each once; alone          */
};

struct judge_scope {
    unsigned what;     /* JUDGE_...                              */
    const char *dtype; /* only sets with this type of inputs; or NULL */
    int threads;       /* up to so many, at least 2              */
    int together;      /* launches at once per thread            */
    int64_t number;    /* of launches, of elements; 0: as said   */
};

/* ERR_USAGE: no set has inputs of this type. */
int judge_dtype(const char *name, struct err *e);

/* Is it trouble of the machine or of the suite, ERR_RETRY?  Then it is noted: it says
 * nothing of the kernel. */
bool judge_unable(struct verdict *v, const struct err *e);

/* Judge one kernel of plugin p.  v is zeroed by the caller; free v->failures. */
void judge_kernel(const struct kernels *ks, const struct nnd_plugin *p,
                  const struct nnd_kernel *k, const struct nnd_device_ops *device,
                  const struct judge_scope *scope, struct verdict *v);

#endif
