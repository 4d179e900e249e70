/* SPDX-License-Identifier: Apache-2.0 */
/*
 * family_cast.c - "fill", "scale", "amax".  What block scales lose is the subject of
 * tests/num/test_ref_cast.
 */
#include <stdio.h>

#include "family.h"

static const struct {
    int t, n;
} shapes[] = {{1, 1}, {0, 5}, {3, 7}, {17, 64}, {5, 257}};

/* The case's rows; false when there is no case i. */
static bool begin(struct call *c, int i, const struct window *w, int64_t *t, int64_t *n)
{
    if (i >= (int)(sizeof shapes / sizeof shapes[0]))
        return false;
    *t = window_rows(w, shapes[i].t) + w->tail;
    *n = shapes[i].n;
    c->rows = shapes[i].t;
    c->params.cast = (struct nnd_cast){.struct_size = sizeof c->params.cast};
    snprintf(c->text, sizeof c->text, "t=%d n=%d", shapes[i].t, shapes[i].n);
    return true;
}

bool family_fill(struct call *c, int i, const struct window *w)
{
    int64_t t, n;
    if (!begin(c, i, w, &t, &n))
        return false;
    c->params.cast.value = -0.75f;
    struct slot *y =
        call_tensor(c, "y", &c->params.cast.y, ROLE_OUT, KIND_ACT, t, n, -1);
    y->row = window_ids(c, w, shapes[i].t);
    y->slack = SLACK_COPY;
    return true;
}

bool family_scale(struct call *c, int i, const struct window *w)
{
    static const float factor = 0.3f;
    int64_t t, n;
    if (!begin(c, i, w, &t, &n))
        return false;
    const int64_t *row = window_ids(c, w, shapes[i].t);
    call_tensor(c, "x", &c->params.cast.x, ROLE_IN, KIND_ACT, t, n, -1)->row = row;
    call_tensor(c, "y", &c->params.cast.y, ROLE_OUT, KIND_ACT, t, n, -1)->row = row;
    call_array(c, &c->params.cast.factor, &factor, sizeof factor);
    return true;
}

bool family_amax(struct call *c, int i, const struct window *w)
{
    int64_t t, n;
    if (!begin(c, i, w, &t, &n))
        return false;
    c->rows = 0; /* one number of all rows */
    call_tensor(c, "x", &c->params.cast.x, ROLE_IN, KIND_ACT, t, n, -1);
    call_tensor(c, "amax", &c->params.cast.amax, ROLE_OUT, KIND_F32, 1, -1, -1)->slack =
        SLACK_COPY;
    return true;
}
