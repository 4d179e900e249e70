/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pads.c - from where packed samples begin to which row is which when they are padded.
 */
#include "train/pads.h"

void pads_fill(struct exec *x, const struct chunk *c)
{
    const struct pad *p = &c->pad;
    if (!p->from)
        return;
    const int32_t *cu = exec_data(x, c->cu);
    int32_t *from = exec_data(x, p->from), *to = exec_data(x, p->to),
            *len = exec_data(x, p->len);
    for (int64_t i = 0; i < c->rows; i++)
        to[i] = -1;
    for (int64_t b = 0; b < c->batch; b++) {
        len[b] = cu[b + 1] - cu[b];
        for (int64_t t = 0; t < c->context; t++) {
            int64_t row = b * c->context + t;
            from[row] = t < len[b] ? cu[b] + (int32_t)t : -1;
            if (t < len[b])
                to[cu[b] + t] = (int32_t)row;
        }
    }
}
