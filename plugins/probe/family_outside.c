/* SPDX-License-Identifier: Apache-2.0 */
/*
 * family_outside.c - operators that a plugin brings: what its shape() takes of a few
 * plain matrices, all inputs alike.  Nobody but the plugin knows the right results;
 * what the contract says of all kernels is checked all the same.
 */
#include <stdio.h>
#include <string.h>

#include "child.h"
#include "family.h"
#include "kernel/schema.h"
#include "tensor/dtype.h"

#define COUNT(A) ((int)(sizeof(A) / sizeof((A)[0])))

static const struct {
    int t, n;
} shapes[] = {{1, 1}, {3, 5}, {17, 64}, {2, 1000}};

const struct nnd_op_def *outside_find(const struct nnd_plugin *p, const char *op)
{
    for (uint32_t i = 0; i < p->nops; i++) {
        const struct nnd_op_def *d = p->ops[i];
        if (strcmp(d->name, op) == 0 || (d->backward && strcmp(d->backward, op) == 0))
            return d;
    }
    return NULL;
}

/* The forward call's frame, of inputs of one type and shape, as shape() completes it.
 */
static int forward(const struct call *c, int shape, int dtype, struct nnd_frame *f,
                   struct err *e)
{
    const struct nnd_op_def *d = c->outside;
    *f = (struct nnd_frame){.struct_size = sizeof *f,
                            .nin = (int32_t)d->nin,
                            .nout = (int32_t)d->nout,
                            .nattr = (int32_t)d->nattr};
    for (uint32_t k = 0; k < d->nin; k++)
        f->in[k] = (struct nnd_tensor){.ndim = 2,
                                       .dim = {shapes[shape].t, shapes[shape].n},
                                       .stride = {shapes[shape].n, 1},
                                       .dtype = dtype};
    for (uint32_t k = 0; k < d->nattr; k++)
        if (d->attr[k].type == NND_ATTR_INT)
            f->attr[k].i = 1;
        else
            f->attr[k].f = 0.5;
    child_stage("shape() of %s, inputs of %dx%d in %s", d->name, shapes[shape].t,
                shapes[shape].n, dtype_name(dtype));
    return schema_shape(d, f, NND_MAX_DIMS, e);
}

int outside_shapes(const struct nnd_op_def *d, struct err *e)
{
    static const int types[] = {NND_F32, NND_BF16, NND_F16};
    const struct call c = {.outside = d};
    struct nnd_frame f;
    for (int t = 0; t < COUNT(types) || dtype_outside(NND_DTYPE_EXT + t - COUNT(types));
         t++)
        for (int shape = 0; shape < COUNT(shapes); shape++) {
            int dtype = t < COUNT(types) ? types[t] : NND_DTYPE_EXT + t - COUNT(types);
            if (forward(&c, shape, dtype, &f, e) == ERR_FAILED)
                return ERR_FAILED;
        }
    return 0;
}

/* The i-th of the frames that shape() accepts: of the set's type, and of those types
 * that the plugin brings. */
static bool find_frame(const struct call *c, int i, struct nnd_frame *f)
{
    struct err e;
    for (int type = 0; type == 0 || dtype_outside(NND_DTYPE_EXT + type - 1); type++)
        for (int shape = 0; shape < COUNT(shapes); shape++)
            if (forward(c, shape, type ? NND_DTYPE_EXT + type - 1 : c->act, f, &e) ==
                    0 &&
                i-- == 0)
                return true;
    return false;
}

/* A tensor of the call's frame, like one of the forward call; false: of too many axes.
 */
static bool add(struct call *c, const char *name, struct nnd_tensor *t, enum role role,
                const struct nnd_tensor *like)
{
    if (like->ndim < 1 || like->ndim > 3)
        return false;
    struct slot *s = call_tensor(c, name, t, role, KIND_FIXED, like->dim[0],
                                 like->ndim > 1 ? like->dim[1] : -1,
                                 like->ndim > 2 ? like->dim[2] : -1);
    s->dtype = like->dtype;
    return true;
}

static bool add_all(struct call *c, const struct nnd_frame *f, bool bwd)
{
    const struct nnd_op_def *d = c->outside;
    struct nnd_frame *p = &c->params.frame;
    bool fine = true;
    int32_t n = 0;
    for (int32_t k = 0; k < f->nin; k++)
        fine &= add(c, d->in[k].name, &p->in[n++], ROLE_IN, &f->in[k]);
    for (int32_t k = 0; k < f->nout; k++)
        fine &= add(c, d->out[k].name, bwd ? &p->in[n++] : &p->out[k],
                    bwd ? ROLE_IN : ROLE_OUT, &f->out[k]);
    for (int32_t k = 0; bwd && k < f->nout; k++)
        fine &= add(c, "gradient of an output", &p->in[n++], ROLE_IN, &f->out[k]);
    for (int32_t k = 0; bwd && k < f->nin; k++)
        fine &= add(c, "gradient of an input", &p->out[k], ROLE_OUT, &f->in[k]);
    p->nin = n;
    p->nout = bwd ? f->nin : f->nout;
    return fine;
}

bool family_outside(struct call *c, int i, const struct window *w)
{
    struct nnd_frame f;
    (void)w;
    if (!find_frame(c, i, &f))
        return false;
    const struct nnd_op_def *d = c->outside;
    bool bwd = strcmp(d->name, c->outside_op) != 0;
    if (bwd && (2 * d->nout + d->nin > NND_FRAME_IN || d->nin > NND_FRAME_OUT))
        return false;
    c->params.frame =
        (struct nnd_frame){.struct_size = sizeof f, .nattr = (int32_t)d->nattr};
    memcpy(c->params.frame.attr, f.attr, sizeof f.attr);
    snprintf(c->text, sizeof c->text, "inputs of %lldx%lld in %s",
             (long long)f.in[0].dim[0], (long long)f.in[0].dim[1],
             dtype_name(f.in[0].dtype));
    return add_all(c, &f, bwd);
}
