/* SPDX-License-Identifier: Apache-2.0 */
/*
 * retrace.c - the step is run again twice: to find the first node, of all ranks, that
 * leaves a NaN or an infinity, and to ask ref about it on the rank that has it.
 *
 * All ranks run all of it, whatever each has found: its collectives are a step's.
 */
#include "train/retrace.h"

#include <stdio.h>
#include <string.h>

#include "graph/trace.h"
#include "kernel/verify.h"
#include "tensor/dtype.h"
#include "train/carry.h"
#include "train/trainer_impl.h"

/* The rank whose key is least, the lowest of several; -1: all have 0. */
static int first_of(const struct trainer *t, int64_t key, int *rank, struct err *e)
{
    int64_t me = comm_rank(t->c.world), size = comm_size(t->c.world);
    int64_t best = key ? INT64_MAX - key : 0, mine = best;
    if (comm_allreduce(t->c.world, &best, 1, COMM_MAX, e))
        return e->code;
    int64_t who = best && mine == best ? size - me : 0;
    if (comm_allreduce(t->c.world, &who, 1, COMM_MAX, e))
        return e->code;
    *rank = who ? (int)(size - who) : -1;
    return 0;
}

/* Everybody has what that rank has found. */
static int tell(const struct trainer *t, struct finding *f, int rank, struct err *e)
{
    f->rank = rank;
    return comm_bcast(t->c.world, f, sizeof *f, rank, e);
}

/* --- before the step ------------------------------------------------------ */

/* 1 + the number of the first weight that is no number, or 0. */
static int64_t bad_weight(const struct trainer *t)
{
    const struct graph *g = t->p.g;
    for (int i = 0; i < g->nparam; i++) {
        const struct value *v = g->param[i]->value;
        size_t n = (size_t)shape_elements(&v->shape);
        double most;
        if (dtype_scan(v->dtype, exec_address(t->x, v, 0, 0), n, false, &most) < n)
            return i + 1;
    }
    return 0;
}

static int look_at_weights(struct trainer *t, struct finding *f, struct err *e)
{
    int64_t bad = bad_weight(t);
    int rank;
    if (first_of(t, bad, &rank, e))
        return e->code;
    if (rank < 0)
        return 0;
    f->kind = FINDING_WEIGHTS;
    if (bad)
        snprintf(f->text, sizeof f->text,
                 "weight %s was not finite before it: an optimizer's step or a "
                 "checkpoint left it so (--check-kernels all holds those steps against "
                 "ref, too)",
                 t->p.g->param[bad - 1]->name);
    return tell(t, f, rank, e);
}

/* --- the step ------------------------------------------------------------- */

/* As it was computed the first time. */
static int run(struct trainer *t, struct trace *trace, struct err *e)
{
    int64_t targets;
    carry_restore(t->x, &t->p.model, t->carry_aside);
    exec_trace(t->x, trace);
    int rc = trainer_compute(t, &targets, e);
    exec_trace(t->x, NULL);
    return rc;
}

static void say(struct trainer *t, const struct trace *c, struct finding *f)
{
    char before[sizeof c->before + 40] = "";
    if (c->before[0])
        snprintf(before, sizeof before, "; before that %s", c->before);
    f->kind = c->verdict == TRACE_WORSE      ? FINDING_KERNEL
              : c->verdict == TRACE_UNSEEN   ? FINDING_FLEETING
              : c->verdict == TRACE_NO_WORSE ? FINDING_MODEL
                                             : FINDING_UNKNOWN;
    switch (c->verdict) {
    case TRACE_WORSE:
        snprintf(f->text, sizeof f->text, "%s gave no number where ref gives one: %s%s",
                 c->what, c->text, before);
        verify_condemn(t->c.verify, c->kernel, "in training", f->text);
        break;
    case TRACE_NO_WORSE:
        snprintf(
            f->text, sizeof f->text,
            "no kernel is worse than ref: first not finite in %s, of numbers up to "
            "%.3g, %s: the model or the data diverged%s",
            c->what, c->most, c->text, before);
        break;
    case TRACE_GIVEN:
        snprintf(f->text, sizeof f->text,
                 "first not finite in %s, which was given what is not finite: %s%s",
                 c->what, c->text, before);
        break;
    case TRACE_HOST:
        snprintf(f->text, sizeof f->text,
                 "first not finite in %s, which the host computes%s", c->what, before);
        break;
    case TRACE_UNASKED:
        snprintf(f->text, sizeof f->text,
                 "first not finite in %s, for which there is no comparison with ref%s",
                 c->what, before);
        break;
    case TRACE_UNSEEN:
        snprintf(f->text, sizeof f->text,
                 "%s left what is not finite once, and numbers when it was computed "
                 "again: it is not deterministic, or memory does not keep what it is "
                 "given%s",
                 c->what, before);
    }
}

/* No node of any rank has left anything but numbers. */
static void say_nothing(const struct trainer *t, struct finding *f)
{
    if (trainer_is_finite(t)) {
        f->kind = FINDING_FLEETING;
        snprintf(f->text, sizeof f->text,
                 "computed again all of it is finite: a kernel that is not "
                 "deterministic, or memory that does not keep what it is given");
    } else {
        f->kind = FINDING_MODEL;
        snprintf(f->text, sizeof f->text,
                 "what kernels make is finite, a sum of it over rows or ranks is not: "
                 "the model or the data diverged");
    }
}

static int look(struct trainer *t, struct finding *f, struct err *e)
{
    struct trace seen = {.mode = TRACE_LOOK}, asked = {.mode = TRACE_RUN};
    int rank;
    if (run(t, &seen, e) || first_of(t, seen.place.key, &rank, e))
        return e->code;
    if (rank < 0) {
        say_nothing(t, f);
        return 0;
    }
    if (rank == comm_rank(t->c.world)) {
        asked.mode = TRACE_JUDGE;
        asked.place = seen.place;
    }
    if (run(t, &asked, e))
        return e->code;
    if (asked.mode == TRACE_JUDGE)
        say(t, &asked, f);
    return tell(t, f, rank, e);
}

static const char *why_not(const struct trainer *t)
{
    if (exec_mirror(t->x))
        return "kernels of a device with memory of its own are not held against ref";
    if (!t->c.verify)
        return "kernels.check is off";
    return NULL;
}

int trainer_retrace(struct trainer *t, struct finding *out, struct err *e)
{
    const struct train_state now = t->s;
    const char *why = why_not(t);
    struct finding f = {.kind = FINDING_NONE, .rank = 0};
    int rc = 0;
    if (why)
        snprintf(f.text, sizeof f.text, "it is not looked for why: %s", why);
    t->s = t->before;
    if (!why)
        rc = look_at_weights(t, &f, e);
    if (!why && rc == 0 && f.kind == FINDING_NONE)
        rc = look(t, &f, e);
    t->s = now;
    if (!why)
        carry_reset(t->x, &t->p.model); /* as the step left them */
    if (rc == 0)
        *out = f;
    return rc;
}
