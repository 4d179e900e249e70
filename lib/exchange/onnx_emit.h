/* SPDX-License-Identifier: Apache-2.0 */
/*
 * onnx_emit.h - operators of our graph as nodes of ONNX (onnx_emit.c), those of
 * recurrent layers and of looks at a source (onnx_recurrent.c).
 *
 * For the files onnx*.c alone.
 */
#ifndef EXCHANGE_ONNX_EMIT_H
#define EXCHANGE_ONNX_EMIT_H

#include "exchange/onnx_body.h"

/* Append what a node computes; its results get names and forms.  ERR_SPEC: the
 * operator has no form in ONNX. */
int onnx_emit(struct onnx_body *b, const struct node *n, struct err *e);

/* Does it become nodes, or names for what there is? */
bool onnx_has_form(const struct node *n);

/* Is a weight stored as [inputs, outputs], as MatMul wants it?  Those are that linear
 * layers and experts alone read. */
bool onnx_is_transposed(const struct graph *g, const struct value *v);

/* The sum that a norm makes of its input and a residual, or NULL; where they stand
 * among its inputs. */
enum { ONNX_NORM_X, ONNX_NORM_W, ONNX_NORM_B, ONNX_NORM_ADD };
const struct value *onnx_norm_sum(const struct node *n);

/* softmax(scores) over the last axis, of which the first len[b] count, and with
 * `causal` as many as the row's number and itself; 0 where none does.  axes: dims of
 * scores [B, ..., T, S]. */
const char *onnx_softmax(struct onnx_body *b, const char *scores, int axes,
                         const char *len, bool causal);

/* Of onnx_recurrent.c. */
void onnx_emit_rnn(struct onnx_body *b, const struct node *n);
void onnx_emit_attend(struct onnx_body *b, const struct node *n);
bool onnx_is_folded(const struct graph *g, const struct node *n);

/* The states that a cell takes, and those that it leaves: their number, up to 2; 0 for
 * other operators. */
int onnx_cell_states(const struct node *n, const struct value **from,
                     const struct value **to);

#endif
