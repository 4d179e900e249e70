/* SPDX-License-Identifier: Apache-2.0 */
/*
 * norm.c - the norm that the job chose, and the root-mean-square norm of queries
 * and keys, over the last axis of n elements.
 */
#include <stdio.h>

#include "model/block.h"

static struct value *norm_weight(struct build *b, const char *name, int64_t n)
{
    char part[64];
    snprintf(part, sizeof(part), "%s.weight", name);
    return graph_weight(b->g, part, 0, shape_of(1, n), (struct param_init){.fill = 1},
                        false);
}

struct value *block_norm_rms(struct build *b, const char *name, struct value *x,
                             int64_t n)
{
    return op_norm_rms(b->g, x, norm_weight(b, name, n), b->spec->norm_eps);
}

struct value *block_norm_add(struct build *b, const char *name, struct value **x,
                             struct value *add, int64_t n)
{
    struct graph *g = b->g;
    struct value *w = norm_weight(b, name, n), *bias = NULL;
    if (b->spec->norm == NND__MODEL__NORM__RMS)
        return op_norm_rms_add(g, x, add, w, b->spec->norm_eps);
    if (b->spec->bias) {
        char part[64];
        snprintf(part, sizeof(part), "%s.bias", name);
        bias = graph_weight(g, part, 0, shape_of(1, n), (struct param_init){0}, false);
    }
    return op_norm_layer_add(g, x, add, w, bias, b->spec->norm_eps);
}
