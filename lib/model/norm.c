/* SPDX-License-Identifier: Apache-2.0 */
/*
 * norm.c - the norm that the job chose, over the last axis of n elements.
 */
#include <stdio.h>

#include "model/block.h"

struct value *block_norm(struct build *b, const char *name, struct value *x, int64_t n)
{
    struct graph *g = b->g;
    char part[64];
    snprintf(part, sizeof(part), "%s.weight", name);
    struct value *w =
        graph_weight(g, part, 0, shape_of(1, n), (struct param_init){.fill = 1}, false);
    if (b->spec->norm == NND__MODEL__NORM__RMS)
        return op_norm_rms(g, x, w, b->spec->norm_eps);
    struct value *bias = NULL;
    if (b->spec->bias) {
        snprintf(part, sizeof(part), "%s.bias", name);
        bias = graph_weight(g, part, 0, shape_of(1, n), (struct param_init){0}, false);
    }
    return op_norm_layer(g, x, w, bias, b->spec->norm_eps);
}
