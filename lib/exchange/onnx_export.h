/* SPDX-License-Identifier: Apache-2.0 */
/*
 * onnx_export.h - a checkpoint becomes ONNX files: the whole model, a step of decoding
 * with its cache, and for models that read the encoder.
 *
 * Made of the graph that trains and decodes here, operator by operator, with a function
 * for each block, so that a viewer shows layers.
 */
#ifndef EXCHANGE_ONNX_EXPORT_H
#define EXCHANGE_ONNX_EXPORT_H

#include <stdbool.h>

#include "base/err.h"
#include "proto/job.pb-c.h"

struct onnx_export {
    const char *checkpoint; /* its folder */
    const Nnd__Job *job;    /* resolved   */
    int64_t vocab;
    const char *to; /* "NAME.onnx": beside it NAME.step.onnx, NAME.encoder.onnx */
    bool external;  /* weights in NAME.onnx.data; always so beyond 2 GB         */
};

/* Opset 17, IR version 8, f32.  Where each step waits for the one before (model_waits)
 * the whole model has a loop.  ERR_USAGE: a file of these names is there already. Where
 * it fails it leaves none.  ERR_SPEC: an operator has no form in ONNX. */
int onnx_export(const struct onnx_export *x, struct err *e);

#endif
