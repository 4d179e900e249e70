/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hf.h - what Hugging Face's classes call our weights, and how they lay them out.
 *
 * Our names are those of Llama and Qwen3-MoE where these have one.  For whatever
 * reads or writes files of `transformers`; knows names and places, reads nothing.
 */
#ifndef FORMAT_HF_H
#define FORMAT_HF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Where a weight of ours is found: part `part` of `parts` equal parts, along the
 * outputs, of tensor `name`.  Ours are [outputs, inputs], as torch.nn.Linear
 * keeps them; `transposed` ones are [inputs, outputs], as GPT-2's Conv1D. */
struct hf_place {
    char name[256];
    int part, parts;
    bool transposed;
};

struct hf_arch;

/* The architecture that a config.json calls `model_type`: "llama", "mixtral",
 * "qwen3_moe", "gpt2".  ERR_NOTFOUND. */
int hf_arch_find(const char *model_type, const struct hf_arch **out, struct err *e);

/* The class of `transformers`, as in config.json's "architectures". */
const char *hf_arch_class(const struct hf_arch *a);

/* Where the weight that we call `ours` is.  ERR_NOTFOUND: the class has none. */
int hf_arch_place(const struct hf_arch *a, const char *ours, struct hf_place *out,
                  struct err *e);

/* The number in the tensor of theirs of element i of our weight [rows, cols]; of a
 * vector with cols 1. */
int64_t hf_place_element(const struct hf_place *p, int64_t rows, int64_t cols,
                         int64_t i);

#endif
