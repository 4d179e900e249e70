/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hf.c - tables of names, after the classes in transformers/models/ (4.56 and,
 * as they are saved, 5.x).
 */
#include "format/hf.h"

#include <stdio.h>
#include <string.h>

/* A rule for a name; {} stands for a number.  theirs NULL: the same name. */
struct row {
    const char *ours, *theirs;
    int part, parts; /* parts 0: one */
    bool transposed;
};

static const struct row llama_rows[] = {
    {.ours = "model.embed_tokens.weight"},
    {.ours = "model.layers.{}.input_layernorm.weight"},
    {.ours = "model.layers.{}.self_attn.q_proj.weight"},
    {.ours = "model.layers.{}.self_attn.k_proj.weight"},
    {.ours = "model.layers.{}.self_attn.v_proj.weight"},
    {.ours = "model.layers.{}.self_attn.o_proj.weight"},
    {.ours = "model.layers.{}.post_attention_layernorm.weight"},
    {.ours = "model.norm.weight"},
    {.ours = "lm_head.weight"},
    {0},
};

static const struct row bias_rows[] = {
    {.ours = "model.layers.{}.self_attn.q_proj.bias"},
    {.ours = "model.layers.{}.self_attn.k_proj.bias"},
    {.ours = "model.layers.{}.self_attn.v_proj.bias"},
    {.ours = "model.layers.{}.self_attn.o_proj.bias"},
    {.ours = "model.layers.{}.mlp.gate_proj.bias"},
    {.ours = "model.layers.{}.mlp.up_proj.bias"},
    {.ours = "model.layers.{}.mlp.down_proj.bias"},
    {0},
};

static const struct row dense_rows[] = {
    {.ours = "model.layers.{}.mlp.gate_proj.weight"},
    {.ours = "model.layers.{}.mlp.up_proj.weight"},
    {.ours = "model.layers.{}.mlp.down_proj.weight"},
    {0},
};

static const struct row mixtral_rows[] = {
    {.ours = "model.layers.{}.mlp.gate.weight",
     .theirs = "model.layers.{}.block_sparse_moe.gate.weight"},
    {.ours = "model.layers.{}.mlp.experts.{}.gate_proj.weight",
     .theirs = "model.layers.{}.block_sparse_moe.experts.{}.w1.weight"},
    {.ours = "model.layers.{}.mlp.experts.{}.up_proj.weight",
     .theirs = "model.layers.{}.block_sparse_moe.experts.{}.w3.weight"},
    {.ours = "model.layers.{}.mlp.experts.{}.down_proj.weight",
     .theirs = "model.layers.{}.block_sparse_moe.experts.{}.w2.weight"},
    {0},
};

static const struct row qwen3_rows[] = {
    {.ours = "model.layers.{}.self_attn.q_norm.weight"},
    {.ours = "model.layers.{}.self_attn.k_norm.weight"},
    {.ours = "model.layers.{}.mlp.gate.weight"},
    {.ours = "model.layers.{}.mlp.experts.{}.gate_proj.weight"},
    {.ours = "model.layers.{}.mlp.experts.{}.up_proj.weight"},
    {.ours = "model.layers.{}.mlp.experts.{}.down_proj.weight"},
    {0},
};

static const struct row gpt2_rows[] = {
    {.ours = "model.embed_tokens.weight", .theirs = "transformer.wte.weight"},
    {.ours = "model.embed_positions.weight", .theirs = "transformer.wpe.weight"},
    {.ours = "model.layers.{}.input_layernorm.weight",
     .theirs = "transformer.h.{}.ln_1.weight"},
    {.ours = "model.layers.{}.input_layernorm.bias",
     .theirs = "transformer.h.{}.ln_1.bias"},
    {.ours = "model.layers.{}.post_attention_layernorm.weight",
     .theirs = "transformer.h.{}.ln_2.weight"},
    {.ours = "model.layers.{}.post_attention_layernorm.bias",
     .theirs = "transformer.h.{}.ln_2.bias"},
    {.ours = "model.layers.{}.self_attn.q_proj.weight",
     .theirs = "transformer.h.{}.attn.c_attn.weight",
     .part = 0,
     .parts = 3,
     .transposed = true},
    {.ours = "model.layers.{}.self_attn.q_proj.bias",
     .theirs = "transformer.h.{}.attn.c_attn.bias",
     .part = 0,
     .parts = 3},
    {.ours = "model.layers.{}.self_attn.k_proj.weight",
     .theirs = "transformer.h.{}.attn.c_attn.weight",
     .part = 1,
     .parts = 3,
     .transposed = true},
    {.ours = "model.layers.{}.self_attn.k_proj.bias",
     .theirs = "transformer.h.{}.attn.c_attn.bias",
     .part = 1,
     .parts = 3},
    {.ours = "model.layers.{}.self_attn.v_proj.weight",
     .theirs = "transformer.h.{}.attn.c_attn.weight",
     .part = 2,
     .parts = 3,
     .transposed = true},
    {.ours = "model.layers.{}.self_attn.v_proj.bias",
     .theirs = "transformer.h.{}.attn.c_attn.bias",
     .part = 2,
     .parts = 3},
    {.ours = "model.layers.{}.self_attn.o_proj.weight",
     .theirs = "transformer.h.{}.attn.c_proj.weight",
     .transposed = true},
    {.ours = "model.layers.{}.self_attn.o_proj.bias",
     .theirs = "transformer.h.{}.attn.c_proj.bias"},
    {.ours = "model.layers.{}.mlp.up_proj.weight",
     .theirs = "transformer.h.{}.mlp.c_fc.weight",
     .transposed = true},
    {.ours = "model.layers.{}.mlp.up_proj.bias",
     .theirs = "transformer.h.{}.mlp.c_fc.bias"},
    {.ours = "model.layers.{}.mlp.down_proj.weight",
     .theirs = "transformer.h.{}.mlp.c_proj.weight",
     .transposed = true},
    {.ours = "model.layers.{}.mlp.down_proj.bias",
     .theirs = "transformer.h.{}.mlp.c_proj.bias"},
    {.ours = "model.norm.weight", .theirs = "transformer.ln_f.weight"},
    {.ours = "model.norm.bias", .theirs = "transformer.ln_f.bias"},
    {.ours = "lm_head.weight"},
    {0},
};

#define ARCH_TABLES 3

struct hf_arch {
    const char *model_type, *class_name;
    const struct row *rows[ARCH_TABLES + 1];
};

static const struct hf_arch archs[] = {
    {"llama", "LlamaForCausalLM", {llama_rows, dense_rows, bias_rows}},
    {"mixtral", "MixtralForCausalLM", {llama_rows, mixtral_rows}},
    {"qwen3_moe", "Qwen3MoeForCausalLM", {llama_rows, dense_rows, qwen3_rows}},
    {"gpt2", "GPT2LMHeadModel", {gpt2_rows}},
};

#define ARCHS (sizeof(archs) / sizeof(archs[0]))

int hf_arch_find(const char *model_type, const struct hf_arch **out, struct err *e)
{
    for (size_t i = 0; i < ARCHS; i++) {
        if (strcmp(archs[i].model_type, model_type))
            continue;
        *out = &archs[i];
        return 0;
    }
    return err_set(e, ERR_NOTFOUND,
                   "model_type: wanted llama, mixtral, qwen3_moe or gpt2, found \"%s\"",
                   model_type);
}

const char *hf_arch_class(const struct hf_arch *a)
{
    return a->class_name;
}

/* ------------------------------------------------------------------------- */

#define NUMBERS_MAX 4

/* The numbers of a name, as text. */
struct numbers {
    const char *text[NUMBERS_MAX];
    int len[NUMBERS_MAX], n;
};

static bool match(const char *pattern, const char *name, struct numbers *out)
{
    out->n = 0;
    while (*pattern) {
        if (strncmp(pattern, "{}", 2)) {
            if (*pattern++ != *name++)
                return false;
            continue;
        }
        int len = (int)strspn(name, "0123456789");
        if (!len || out->n == NUMBERS_MAX)
            return false;
        out->text[out->n] = name;
        out->len[out->n++] = len;
        name += len;
        pattern += 2;
    }
    return !*name;
}

/* The pattern with these numbers; false when `out` is too small. */
static bool fill(const char *pattern, const struct numbers *x, char *out, size_t size)
{
    size_t at = 0;
    for (int k = 0; *pattern;) {
        bool hole = !strncmp(pattern, "{}", 2);
        const char *from = hole ? x->text[k] : pattern;
        size_t len = hole ? (size_t)x->len[k] : 1;
        if (at + len >= size)
            return false;
        memcpy(out + at, from, len);
        at += len;
        k += hole;
        pattern += hole ? 2 : 1;
    }
    out[at] = '\0';
    return true;
}

static bool place(const struct row *r, const char *ours, struct hf_place *out)
{
    struct numbers x;
    struct hf_place p = {
        .part = r->part, .parts = r->parts ? r->parts : 1, .transposed = r->transposed};
    if (!match(r->ours, ours, &x) ||
        !fill(r->theirs ? r->theirs : r->ours, &x, p.name, sizeof(p.name)))
        return false;
    *out = p;
    return true;
}

int hf_arch_place(const struct hf_arch *a, const char *ours, struct hf_place *out,
                  struct err *e)
{
    for (const struct row *const *rows = a->rows; *rows; rows++)
        for (const struct row *r = *rows; r->ours; r++)
            if (place(r, ours, out))
                return 0;
    return err_set(e, ERR_NOTFOUND, "%s: %s has no weight like it", ours,
                   a->class_name);
}

int64_t hf_place_element(const struct hf_place *p, int64_t rows, int64_t cols,
                         int64_t i)
{
    int64_t row = p->part * rows + i / cols, col = i % cols;
    return p->transposed ? col * rows * p->parts + row : row * cols + col;
}
