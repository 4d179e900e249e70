/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_format_hf.c - names of ours and of Hugging Face's classes, both ways round
 * the corners: numbers, parts of a tensor, transposed ones, names without a
 * counterpart.
 */
#include "format/hf.h"

#include "unit.h"

static const struct known {
    const char *model_type, *ours, *theirs;
    int part, parts;
    bool transposed;
} known[] = {
    {"llama", "lm_head.weight", "lm_head.weight", 0, 1, false},
    {"llama", "model.layers.31.mlp.up_proj.weight",
     "model.layers.31.mlp.up_proj.weight", 0, 1, false},
    {"mixtral", "model.layers.0.mlp.experts.7.gate_proj.weight",
     "model.layers.0.block_sparse_moe.experts.7.w1.weight", 0, 1, false},
    {"mixtral", "model.layers.12.mlp.experts.10.up_proj.weight",
     "model.layers.12.block_sparse_moe.experts.10.w3.weight", 0, 1, false},
    {"mixtral", "model.layers.0.mlp.gate.weight",
     "model.layers.0.block_sparse_moe.gate.weight", 0, 1, false},
    {"qwen3_moe", "model.layers.1.mlp.experts.127.down_proj.weight",
     "model.layers.1.mlp.experts.127.down_proj.weight", 0, 1, false},
    {"qwen3_moe", "model.layers.1.self_attn.q_norm.weight",
     "model.layers.1.self_attn.q_norm.weight", 0, 1, false},
    {"gpt2", "model.embed_positions.weight", "transformer.wpe.weight", 0, 1, false},
    {"gpt2", "model.layers.11.self_attn.v_proj.weight",
     "transformer.h.11.attn.c_attn.weight", 2, 3, true},
    {"gpt2", "model.layers.3.self_attn.k_proj.bias", "transformer.h.3.attn.c_attn.bias",
     1, 3, false},
    {"gpt2", "model.layers.3.mlp.up_proj.weight", "transformer.h.3.mlp.c_fc.weight", 0,
     1, true},
};

static void names(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        const struct hf_arch *a;
        struct hf_place p;
        struct err e = {0};
        assert_int_equal(hf_arch_find(known[i].model_type, &a, &e), 0);
        assert_int_equal(hf_arch_place(a, known[i].ours, &p, &e), 0);
        assert_string_equal(p.name, known[i].theirs);
        assert_int_equal(p.part, known[i].part);
        assert_int_equal(p.parts, known[i].parts);
        assert_int_equal(p.transposed, known[i].transposed);
    }
}

static void no_counterpart(void **state)
{
    static const char *const wrong[] = {
        "",
        "model",
        "model.layers.x.mlp.gate.weight",
        "model.layers..mlp.gate.weight",
        "model.layers.1.mlp.gate.weight.more",
        "model.layers.1.self_attn.q_norm.weight",
        "model.layers.1.mlp.up_proj.weight",
    };
    const struct hf_arch *a = NULL;
    struct hf_place p = {.part = -1};
    struct err e = {0};
    (void)state;
    assert_int_equal(hf_arch_find("mixtral", &a, &e), 0);
    assert_string_equal(hf_arch_class(a), "MixtralForCausalLM");
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(hf_arch_place(a, wrong[i], &p, &e), ERR_NOTFOUND);
        assert_non_null(strstr(e.text, "MixtralForCausalLM"));
    }
    assert_int_equal(p.part, -1);
    assert_int_equal(hf_arch_find("bert", &a, &e), ERR_NOTFOUND);
    assert_non_null(strstr(e.text, "bert"));
}

/* A name whose numbers do not fit is refused, not cut. */
static void long_number(void **state)
{
    const struct hf_arch *a;
    struct hf_place p;
    struct err e = {0};
    char name[600];
    (void)state;
    assert_int_equal(hf_arch_find("gpt2", &a, &e), 0);
    snprintf(name, sizeof name, "model.layers.%0300d.mlp.up_proj.weight", 1);
    assert_int_equal(hf_arch_place(a, name, &p, &e), ERR_NOTFOUND);
}

/* Ours [2,3] out of theirs: plain, transposed, the second of three parts. */
static void elements(void **state)
{
    static const struct {
        struct hf_place p;
        int64_t rows, cols, want[6];
    } cases[] = {
        {{.parts = 1}, 2, 3, {0, 1, 2, 3, 4, 5}},
        {{.parts = 1, .transposed = true}, 2, 3, {0, 2, 4, 1, 3, 5}},
        {{.part = 1, .parts = 3}, 2, 3, {6, 7, 8, 9, 10, 11}},
        {{.part = 1, .parts = 3, .transposed = true}, 2, 3, {2, 8, 14, 3, 9, 15}},
        {{.part = 2, .parts = 3}, 6, 1, {12, 13, 14, 15, 16, 17}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (int64_t k = 0; k < 6; k++)
            assert_int_equal(
                hf_place_element(&cases[i].p, cases[i].rows, cases[i].cols, k),
                cases[i].want[k]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test(no_counterpart),
        cmocka_unit_test(long_number),
        cmocka_unit_test(elements),
    };
    return cmocka_run_group_tests_name("format hf", tests, NULL, NULL);
}
