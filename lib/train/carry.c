/* SPDX-License-Identifier: Apache-2.0 */
/*
 * carry.c - copying states between a chunk's values and what is kept of all.
 */
#include "train/carry.h"

#include <string.h>

#include "tensor/dtype.h"

void carry_reset(struct exec *x, const struct model *m)
{
    for (int i = 0; i < m->ncarry; i++)
        memset(exec_renew(x, m->carry[i].kept), 0, value_bytes(m->carry[i].kept));
}

static float *kept_of(const struct exec *x, const struct model_carry *c, int position)
{
    int64_t n = shape_elements(&c->in->shape);
    return (float *)exec_data(x, c->kept) + position * n;
}

void carry_before(struct exec *x, const struct model *m, int position)
{
    for (int i = 0; !m->g->apart && i < m->ncarry; i++) {
        const struct model_carry *c = &m->carry[i];
        dtype_from_f32(c->in->dtype, kept_of(x, c, position), exec_data(x, c->in),
                       (size_t)shape_elements(&c->in->shape));
    }
}

void carry_behind(struct exec *x, const struct model *m, int position)
{
    for (int i = 0; !m->g->apart && i < m->ncarry; i++) {
        const struct model_carry *c = &m->carry[i];
        dtype_to_f32(c->out->dtype, exec_data(x, c->out), kept_of(x, c, position),
                     (size_t)shape_elements(&c->out->shape));
    }
}

size_t carry_bytes(const struct model *m)
{
    size_t n = 0;
    for (int i = 0; i < m->ncarry; i++)
        n += value_bytes(m->carry[i].kept);
    return n;
}

void carry_save(struct exec *x, const struct model *m, void *aside)
{
    char *to = aside;
    for (int i = 0; i < m->ncarry; i++) {
        size_t n = value_bytes(m->carry[i].kept);
        memcpy(to, exec_data(x, m->carry[i].kept), n);
        to += n;
    }
}

void carry_restore(struct exec *x, const struct model *m, const void *aside)
{
    const char *from = aside;
    for (int i = 0; i < m->ncarry; i++) {
        size_t n = value_bytes(m->carry[i].kept);
        memcpy(exec_renew(x, m->carry[i].kept), from, n);
        from += n;
    }
}
