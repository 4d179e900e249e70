/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trace.c - looking through what nodes leave, and asking ref about one of them.
 */
#include "graph/trace.h"

#include <stdio.h>
#include <string.h>

#include "graph/exec_impl.h"
#include "tensor/dtype.h"

enum { RUN_SHIFT = 40, LOOP_SHIFT = 20 };

/* A model that diverges gives its kernels numbers that no model has, and what they make
 * of those in f32 is nobody's fault: the exponential of a score of 10^8, whose last
 * place is 8, may be anything.  So a kernel is to blame for a NaN up to this size of
 * its inputs alone, and for a difference up to a tenth of it. */
static double tame(const struct node *n)
{
    bool scores = n->op->kernel && strncmp(n->op->kernel, "attn.", 5) == 0;
    return scores ? 300 : 1e4;
}

static const double usual = 0.1;

void exec_trace(struct exec *x, struct trace *t)
{
    x->trace = t;
}

void trace_program(struct trace *t)
{
    t->runs++;
}

/* Nodes of a loop have the place of its first and then their own, whatever the round.
 */
static int64_t key_of(const struct exec *x, const struct node *n)
{
    int64_t anchor = n->loop ? x->g->loop[n->loop].first : n->id;
    return ((int64_t)x->trace->runs << RUN_SHIFT) + (anchor << LOOP_SHIFT) + n->id;
}

static void *address_of(const struct exec *x, const struct value *v)
{
    return exec_address(x, v, x->slot, x->position);
}

/* Attention knows minus infinity: the logarithm of no weights, a bias that hides. */
static bool knows_minus(const struct node *n)
{
    return n->op->kernel && strncmp(n->op->kernel, "attn.", 5) == 0;
}

/* The address of the first number of n that is none, or NULL. */
static const void *scan(int dtype, const void *data, size_t n, bool low, double *most)
{
    size_t first = dtype_scan(dtype, data, n, low, most);
    return first < n ? (const char *)data + first * dtype_size(dtype) : NULL;
}

static const void *scan_value(const struct exec *x, const struct value *v, bool low,
                              double *most)
{
    *most = 0;
    if (!v || !dtype_is_float(v->dtype))
        return NULL;
    return scan(v->dtype, address_of(x, v), (size_t)shape_elements(&v->shape), low,
                most);
}

/* Sums of gradients are written where no value of the node's is. */
static const void *scan_sum(const struct node *n, const struct record *r)
{
    const struct nnd_sum *p = r->params;
    double most;
    if (!r->kernel || strcmp(r->kernel->op, "sum") != 0 || n->nout || p->y.ndim != 1 ||
        p->y.stride[0] != 1 || !dtype_is_float(p->y.dtype))
        return NULL;
    return scan(p->y.dtype, p->y.data, (size_t)p->y.dim[0], false, &most);
}

static const void *first_bad(const struct exec *x, const struct node *n,
                             const struct record *r)
{
    const void *at = NULL;
    double most;
    for (int i = 0; !at && i < n->nout; i++)
        at = scan_value(x, n->out[i], knows_minus(n), &most);
    return at ? at : scan_sum(n, r);
}

/* Does the node make the whole of a value that nothing else has part in? */
static bool is_fresh(const struct value *v)
{
    return v->root == v && v->storage == STORAGE_ARENA;
}

/* Later rounds add to what earlier ones have left; some nodes have no first one. */
static bool is_first(const struct exec *x, const struct node *n)
{
    return !x->later || (n->redo && x->round == 1);
}

void trace_before(struct exec *x, const struct node *n)
{
    if (x->trace->mode == TRACE_RUN || !is_first(x, n))
        return;
    for (int i = 0; i < n->nout; i++)
        if (is_fresh(n->out[i]))
            memset(address_of(x, n->out[i]), 0, value_bytes(n->out[i]));
}

static bool is_place(const struct exec *x, const struct node *n)
{
    const struct trace *t = x->trace;
    return t->mode == TRACE_JUDGE && t->place.key == key_of(x, n) &&
           t->place.round == x->round;
}

/* --- judging -------------------------------------------------------------- */

static void describe(const struct exec *x, const struct node *n,
                     const struct nnd_kernel *k, char *out, size_t size)
{
    int plugin = k ? kernels_plugin_of(x->c.kernels, k) : -1;
    char shapes[128];
    exec_shapes(n, shapes, sizeof shapes);
    if (plugin < 0)
        snprintf(out, size, "%s of %s (%s)", n->op->name, n->where, shapes);
    else
        snprintf(out, size, "kernel %s/%s (%s of %s, %s)",
                 kernels_plugin(x->c.kernels, (size_t)plugin)->name, k->name, k->op,
                 n->where, shapes);
}

/* The largest number that goes in; false where one is none, whose value is named. */
static bool is_given(const struct exec *x, const struct node *n, double *most,
                     const char **name)
{
    *most = 0;
    for (int i = 0; i < n->nin; i++) {
        double m;
        if (scan_value(x, n->in[i], true, &m)) {
            *name = n->in[i]->name;
            return false;
        }
        *most = m > *most ? m : *most;
    }
    return true;
}

/* What is known about the call at the place. */
struct finding {
    enum verify_verdict v;
    struct err found;  /* what ref has there                           */
    bool is_ref;       /* the kernel is ref's own                      */
    bool tame;         /* its inputs are of a size that f32 can bear   */
    const char *given; /* the input that is no number already, or NULL */
};

static enum trace_verdict verdict_of(const struct finding *f)
{
    if (f->v == VERIFY_LOST && f->tame)
        return TRACE_WORSE;
    if (f->given)
        return TRACE_GIVEN;
    if (f->v == VERIFY_NOT && !f->is_ref)
        return TRACE_UNASKED;
    return TRACE_NO_WORSE;
}

static const char *reason_of(const struct finding *f, enum trace_verdict verdict)
{
    if (verdict == TRACE_WORSE)
        return f->found.text;
    if (verdict == TRACE_GIVEN)
        return f->given;
    if (f->is_ref)
        return "and it is ref itself";
    if (f->v == VERIFY_ALIKE)
        return "where ref has none either";
    if (!f->tame)
        return "more than f32 can bear";
    return "where ref is at the end of its range as well";
}

static int judge(struct exec *x, const struct node *n, const struct record *r,
                 const struct nnd_launch *l, struct nnd_error *why)
{
    struct trace *t = x->trace;
    struct finding f = {.is_ref = kernels_plugin_of(x->c.kernels, r->kernel) == 0};
    const char *name;
    int status;
    if (!is_given(x, n, &t->most, &name))
        f.given = name;
    f.tame = t->most <= tame(n);
    f.v = verify_compare(x->c.verify, r->kernel, r->plan, r->params, l, t->place.at,
                         why, &status, &f.found);
    t->kernel = r->kernel;
    t->verdict = verdict_of(&f);
    snprintf(t->text, sizeof t->text, "%.190s", reason_of(&f, t->verdict));
    return status;
}

/* One before it. */
static int compare(struct exec *x, const struct node *n, const struct record *r,
                   const struct nnd_launch *l, struct nnd_error *why)
{
    struct trace *t = x->trace;
    const char *name;
    char what[sizeof t->what];
    struct err found;
    double most;
    int status;
    if (!is_given(x, n, &most, &name) || most > usual * tame(n))
        return r->kernel->launch(r->kernel->self, r->plan, r->params, l, why);
    if (verify_compare(x->c.verify, r->kernel, r->plan, r->params, l, NULL, why,
                       &status, &found) != VERIFY_DIFFERS)
        return status;
    describe(x, n, r->kernel, what, sizeof what);
    snprintf(t->before, sizeof t->before, "%s: %.180s", what, found.text);
    return status;
}

int trace_launch(struct exec *x, const struct node *n, const struct record *r,
                 const struct nnd_launch *l, struct nnd_error *why)
{
    const struct trace *t = x->trace;
    if (is_place(x, n))
        return judge(x, n, r, l, why);
    if (t->mode == TRACE_JUDGE && key_of(x, n) < t->place.key && !t->before[0])
        return compare(x, n, r, l, why);
    return r->kernel->launch(r->kernel->self, r->plan, r->params, l, why);
}

/* --- behind a node -------------------------------------------------------- */

void trace_behind(struct exec *x, const struct node *n, const struct record *r)
{
    struct trace *t = x->trace;
    if (t->mode == TRACE_LOOK && !t->place.key) {
        const void *at = first_bad(x, n, r);
        if (at)
            t->place = (struct trace_place){key_of(x, n), x->round, at};
    } else if (is_place(x, n)) {
        describe(x, n, r->kernel, t->what, sizeof t->what);
        if (!r->kernel)
            t->verdict = TRACE_HOST;
        if (!first_bad(x, n, r))
            t->verdict = TRACE_UNSEEN;
    }
}
