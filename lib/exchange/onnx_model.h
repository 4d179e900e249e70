/* SPDX-License-Identifier: Apache-2.0 */
/*
 * onnx_model.h - one program of a graph as a model of ONNX, without its weights' bytes.
 *
 * For the files onnx*.c alone.
 */
#ifndef EXCHANGE_ONNX_MODEL_H
#define EXCHANGE_ONNX_MODEL_H

#include "exchange/onnx_body.h"

struct onnx_model {
    Onnx__Model *proto;
    const struct value **weight; /* [graph.n_initializer] what each one holds */
};

/* Of program `program`; all of it lives in the arena.  ERR_SPEC. */
int onnx_model_make(struct arena *mem, const struct graph *g, const char *program,
                    struct onnx_model *out, struct err *e);

#endif
