/* SPDX-License-Identifier: Apache-2.0 */
/*
 * onnx_info.h - types and shapes of what passes along the edges of an ONNX graph, for
 * its inputs, its outputs, and whoever looks at it.
 *
 * For the files onnx*.c alone.
 */
#ifndef EXCHANGE_ONNX_INFO_H
#define EXCHANGE_ONNX_INFO_H

#include "exchange/onnx_body.h"

/* Of a value that is called `name`: [batch, len, ...] or [batch, ...], as its form
 * says. */
Onnx__ValueInfo *onnx_info(const struct onnx_body *b, const struct value *v,
                           const char *name);

/* What an input of the model is for, in a sentence. */
const char *onnx_input_doc(const char *name);

/* Of every value that a node of the body makes and that is one of ours; not of those
 * that are outputs[n] already. */
void onnx_infos(const struct onnx_body *b, Onnx__ValueInfo *const *outputs, size_t n,
                Onnx__ValueInfo ***out, size_t *nout);

#endif
