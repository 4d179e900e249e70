/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run.h - carry out one call with one kernel, in fenced and poisoned memory.
 */
#ifndef PROBE_RUN_H
#define PROBE_RUN_H

#include "base/err.h"
#include "call.h"
#include "watch.h"

/* The element types of one trial. */
struct types {
    const char *name;
    int act, weight, result;
};

/* Where elements lie: rows `pad` elements apart from each other, and `more` for each
 * tensor before this one, `step` from element to element, the first `shift` behind an
 * aligned address; turned: of three axes the second is outermost in memory; even: rows
 * begin a multiple of ROW_ELEMS apart. */
enum { ROW_ELEMS = 64 };

struct layout {
    const char *name;
    int pad, step, shift, more;
    bool turned, even;
};

struct trial {
    const struct nnd_kernel *kernel;
    const struct nnd_plugin *plugin; /* the kernel's; NULL: built in         */
    const struct nnd_device_ops *device;
    const struct types *types; /* inputs are rounded to these          */
    const struct layout *layout;
    int nthreads;
    bool packed;         /* pack() first, and launch with what it made */
    bool captured;       /* have the device keep the launch, and run what it kept */
    bool again;          /* launch with other numbers first, on the same plan */
    bool other;          /* outputs start with other canaries */
    bool wide;           /* all floats are f64: the oracle's way */
    bool silent;         /* say no stage: another thread does */
    double *seconds;     /* measure: the shortest of several launches, or NULL */
    bool brief;          /* of two: the first may prepare what stays           */
    struct watch *watch; /* what launch() did besides, or NULL */
};

/* What the slots held afterwards, in contiguous order. */
struct result {
    double *value[CALL_SLOTS];
    uint64_t *bits[CALL_SLOTS];
    bool *written[CALL_SLOTS];
    int dtype[CALL_SLOTS];
};

/* What supports() says no to: this call, or all of them on this machine. */
enum { RUN_REFUSED = 1, RUN_NEVER = 2 };

/* 0; one of the above, with the reason in e; < 0 when something was
 * wrong that no refusal excuses: a status, a byte outside the outputs, an input
 * changed; with ERR_RETRY in e: there was no memory or no stream, of which the kernel
 * knows nothing.  The result lives in the call's arena. */
int run_call(struct call *c, const struct trial *t, struct result *r, struct err *e);

/* Params without data, as supports() sees them. */
void run_shape(struct call *c, const struct trial *t);

/* Only ask supports(): as run_call, but nothing is launched. */
int run_ask(struct call *c, const struct trial *t, struct err *e);

/* What a kernel of c->derive makes of the call's inputs, nothing kept. */
int run_forward(struct call *c, const struct trial *t, struct result *r, struct err *e);

/* Does the kernel pack something for this call? */
bool run_packs(struct call *c, const struct trial *t);

/* Compute the call's ROLE_DERIVED slots with a kernel of the op c->derive.  Those
 * slots are then inputs like others. */
int run_derive(struct call *c, const struct trial *t, struct err *e);

#endif
