/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op.c - the catalogue's names.
 */
#include "kernel/op.h"

#include <string.h>

static const char *const names[] = {
    "gemm",
    "gemm.grouped",
    "attn.fwd",
    "attn.bwd",
    "norm.rms.fwd",
    "norm.rms.bwd",
    "norm.layer.fwd",
    "norm.layer.bwd",
    "rope",
    "act.swiglu.fwd",
    "act.swiglu.bwd",
    "act.gelu.fwd",
    "act.gelu.bwd",
    "act.relu.fwd",
    "act.relu.bwd",
    "softmax.fwd",
    "softmax.bwd",
    "xent.fwd",
    "xent.bwd",
    "xent.linear.fwd",
    "xent.linear.bwd",
    "distill.fwd",
    "distill.bwd",
    "embed.fwd",
    "embed.bwd",
    "moe.route.fwd",
    "moe.route.bwd",
    "moe.sort",
    "moe.permute",
    "moe.unpermute",
    "moe.dgate",
    "moe.balance",
    "moe.window",
    "sum",
    "dropout",
    "rows.sum",
    "rows.gather",
    "rows.scatter",
    "sqnorm",
    "opt.adamw",
    "opt.adam",
    "opt.sgd",
    "opt.hyper",
    "total",
    "rnn.seq.fwd",
    "rnn.seq.bwd",
    "rnn.cell.fwd",
    "rnn.cell.bwd",
    "attn.add.fwd",
    "attn.add.bwd",
    "attn.dot.fwd",
    "attn.dot.bwd",
    "argmax",
    "sample",
    "select",
    "cast.quant",
    "cast.dequant",
    "fill",
    "scale",
    "amax",
};

size_t op_count(void)
{
    return sizeof names / sizeof names[0];
}

const char *op_name(size_t i)
{
    return names[i];
}

const char *const *op_names(void)
{
    return names;
}

bool op_known(const char *name)
{
    for (size_t i = 0; i < op_count(); i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

bool op_matches(const char *op, const char *prefix)
{
    size_t n = strlen(prefix);
    return n > 0 && strncmp(op, prefix, n) == 0 && (op[n] == '\0' || op[n] == '.');
}
