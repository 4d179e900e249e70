/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_experts.c - experts that all have the weights of one dense layer are that layer:
 * the same logits, loss and gradients, however many there are and however many a row
 * goes to.
 */
#include <math.h>

#include "hand.h"

#include "../unit/unit.h"

enum { BATCH = 4, CONTEXT = 8, VOCAB = 23 };

static int32_t length[BATCH];

static void open_model(struct hand *h, const char *more)
{
    static int32_t id[BATCH * (CONTEXT + 1)];
    const struct samples s = {.n = BATCH, .id = id, .length = length};
    struct err e = {0};
    char text[800];
    for (int i = 0; i < BATCH; i++) {
        length[i] = 1 + (i * 5 + 7) % CONTEXT;
        for (int k = 0; k <= length[i]; k++)
            id[i * (CONTEXT + 1) + k] = 4 + (i * 11 + k * 7 + k * i) % (VOCAB - 4);
    }
    snprintf(text, sizeof text,
             "{data: {train: none, format: lines, tokenizer: char, valid_fraction: 0},"
             " model: {layers: 2, width: 16, heads: 4, context: 8, vocab: 23, %s,"
             "  init_std: 0.3, tie_embeddings: false},"
             " train: {steps: 1, batch: 4, chunks: 1, precision: fp32, warmup: 0,"
             "  clip: 0, threads: 1}}",
             more);
    assert_true(hand_open(h, text, &s, false));
    must(trainer_start(h->t, &e), &e);
}

static double loss_of(struct hand *h)
{
    struct step_report r;
    struct err e = {0};
    must(trainer_step(h->t, &r, &e), &e);
    assert_false(r.skipped);
    return r.loss;
}

/* The weight of the dense model that is for this one; an expert's is the layer's. */
struct twin {
    const char *name;
    float *value, *grad; /* NULL: the dense model has none */
    int64_t n;
};

static void find_twin(struct hand *h, const struct weight *w, void *arg)
{
    struct twin *t = arg;
    (void)h;
    if (strcmp(t->name, w->name) == 0) {
        t->value = w->value, t->grad = w->grad;
        t->n = w->elements;
    }
}

static struct twin twin_of(struct hand *dense, const struct weight *w)
{
    const char *at = strstr(w->name, "experts.");
    char name[256];
    struct twin t = {name, NULL, NULL, 0};
    snprintf(name, sizeof name, "%.*s%s", at ? (int)(at - w->name) : 255, w->name,
             at ? strchr(at + strlen("experts."), '.') + 1 : "");
    each_weight(dense, find_twin, &t);
    assert_true(t.n == (t.value ? w->elements : 0));
    return t;
}

static void take_weight(struct hand *h, const struct weight *w, void *arg)
{
    struct twin t = twin_of(arg, w);
    (void)h;
    if (t.value)
        memcpy(w->value, t.value, (size_t)t.n * sizeof *t.value);
}

static void want_little(const struct weight *w)
{
    double norm = norm_of(w->grad, w->elements);
    if (!(norm < 5e-6))
        fail_msg("%s: wanted no gradient, or no other one, found %g", w->name, norm);
}

/* What is left of the dense gradients when those of all experts are taken away. */
static void take_gradient(struct hand *h, const struct weight *w, void *arg)
{
    struct twin t = twin_of(arg, w);
    (void)h;
    if (!t.value)
        want_little(w); /* no gate matters */
    for (int64_t i = 0; i < t.n; i++)
        t.grad[i] -= w->grad[i];
}

static void want_nothing(struct hand *h, const struct weight *w, void *arg)
{
    (void)h, (void)arg;
    want_little(w);
}

static void compare(const char *experts)
{
    static float z[2][BATCH * CONTEXT * VOCAB];
    struct hand dense, moe;
    char more[200];
    open_model(&dense, "ffn: 24");
    snprintf(more, sizeof more, "moe: {%s, expert_ffn: 24, aux_coef: 0, z_coef: 0}",
             experts);
    open_model(&moe, more);
    each_weight(&moe, take_weight, &dense);
    hand_logits(&dense, z[0]);
    hand_logits(&moe, z[1]);
    for (int i = 0; i < BATCH; i++) { /* what is behind a row's end goes nowhere */
        int64_t first = (int64_t)i * CONTEXT * VOCAB, n = (int64_t)length[i] * VOCAB;
        assert_true(norm_of(z[0] + first, n) > 1);
        assert_true(error_of(z[1] + first, z[0] + first, n) < 1e-6);
    }
    assert_true(fabs(loss_of(&dense) - loss_of(&moe)) < 1e-6);
    each_weight(&moe, take_gradient, &dense);
    each_weight(&dense, want_nothing, NULL);
    hand_close(&moe);
    hand_close(&dense);
}

/* Gates that do not add up to 1, rows that come back to another's place. */
static void equal_experts_are_the_dense_layer(void **state)
{
    (void)state;
    compare("experts: 4, top_k: 2");
    compare("experts: 4, top_k: 4");
    compare("experts: 8, top_k: 1");
}

static void one_expert_is_the_dense_layer(void **state)
{
    (void)state;
    compare("experts: 1, top_k: 1");
    compare("experts: 1, top_k: 1, score: sigmoid");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_experts_are_the_dense_layer),
        cmocka_unit_test(one_expert_is_the_dense_layer),
    };
    return cmocka_run_group_tests_name("experts", tests, NULL, NULL);
}
