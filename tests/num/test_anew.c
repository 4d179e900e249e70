/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_anew.c - a trainer that is started again has nothing of what it was, and one
 * that passes over a step carries nothing past it.
 */
#include "hand.h"

#include "../unit/unit.h"

enum { BATCH = 4, CONTEXT = 8, STEPS = 3, SAMPLES = BATCH * STEPS };

static void open_job(struct hand *h, const char *data, const char *model)
{
    static int32_t id[SAMPLES * (CONTEXT + 1)], length[SAMPLES];
    const struct samples s = {.n = SAMPLES, .id = id, .length = length};
    struct err e = {0};
    char text[800];
    for (int i = 0; i < SAMPLES; i++) {
        length[i] = CONTEXT;
        for (int k = 0; k <= CONTEXT; k++)
            id[i * (CONTEXT + 1) + k] = 4 + (i * 11 + k * 7 + k * i) % 19;
    }
    snprintf(text, sizeof text,
             "{data: {train: none, tokenizer: char, valid_fraction: 0, %s},"
             " model: {layers: 1, width: 16, heads: 4, context: 8, vocab: 23,"
             "  init_std: 0.3, %s},"
             " train: {steps: 3, batch: 4, chunks: 1, precision: fp32, warmup: 0,"
             "  lr: 1e-2, ema: 0.5, threads: 1}}",
             data, model);
    assert_true(hand_open(h, text, &s, false));
    must(trainer_start(h->t, &e), &e);
}

/* All that a checkpoint has, and more: weights, moments, averages, biases. */
static void add_states(const struct hand *h, struct buf *out)
{
    const struct graph *g = trainer_graph(h->t);
    for (int i = 0; i < g->nvalue; i++) {
        const struct value *v = g->value[i];
        if (v->root == v &&
            (v->storage == STORAGE_STATE || v->storage == STORAGE_PARAM))
            buf_add(out, exec_data(h->t->x, v), value_bytes(v));
    }
}

static void started_again_it_has_no_past(void **state)
{
    struct hand h;
    struct err e = {0};
    struct buf all[2] = {{0}};
    double loss[STEPS];
    (void)state;
    open_job(&h, "format: lines",
             "moe: {experts: 4, top_k: 2, expert_ffn: 24, score: sigmoid,"
             "  bias_rate: 0.1}");
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < STEPS; k++) {
            struct step_report r = hand_step(&h);
            assert_int_equal(r.step, k + 1);
            assert_true(i == 0 || r.loss == loss[k]);
            loss[k] = r.loss;
        }
        add_states(&h, &all[i]);
        must(trainer_start(h.t, &e), &e);
    }
    assert_true(loss[2] < loss[0]);
    assert_int_equal(all[0].len, all[1].len);
    assert_memory_equal(all[0].data, all[1].data, all[0].len);
    buf_free(&all[0]);
    buf_free(&all[1]);
    hand_close(&h);
}

static double carried(const struct hand *h)
{
    const struct model *m = &h->t->p.model;
    double sum = 0;
    for (int i = 0; i < m->ncarry; i++)
        sum += norm_of(exec_data(h->t->x, m->carry[i].kept),
                       (int64_t)value_bytes(m->carry[i].kept) / 4);
    return sum;
}

/* Windows stand one behind the other in the text: the next but one follows on none. */
static void nothing_is_carried_past_a_step(void **state)
{
    struct hand h;
    (void)state;
    open_job(&h, "sampling: sequential",
             "family: rnnlm, position: none, cell: lstm, tie_embeddings: false");
    hand_step(&h);
    assert_int_equal(h.t->p.model.ncarry, 2);
    assert_true(carried(&h) > 0);
    trainer_skip(h.t);
    assert_int_equal(trainer_state(h.t)->step, 2);
    assert_true(carried(&h) == 0);
    hand_close(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(started_again_it_has_no_past),
        cmocka_unit_test(nothing_is_carried_past_a_step),
    };
    return cmocka_run_group_tests_name("anew", tests, NULL, NULL);
}
