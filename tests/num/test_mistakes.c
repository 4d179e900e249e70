/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_mistakes.c - what tutorials' code gets wrong about models, attention, masks,
 * losses and training, one test for each: the right behaviour, by name.  Mistakes in
 * decoding (t4, t5) are test_mistakes_decode.c's, those in reading text (t16b)
 * tests/unit/test_mistakes_data.c's; that distillation runs (T29) is seen in
 * tests/sys/translate.test.
 *
 * Operators run in f64 on the bench of op_lab.h, models through the trainer.
 */
#include <math.h>

#include "data/batch.h"
#include "hand.h"
#include "op_lab.h"
#include "train/schedule.h"

#include "../unit/unit.h"

#define S(...) shape_of(__VA_ARGS__)
#define I(x)   ((int64_t)(x))

/* ------------------------------------------------------------------------- */
/* Attention against its formula.                                            */

enum { B = 3, T = 4, K = 5, H = 2, D = 3 };

/* A whole source, none, two of its rows. */
static const int32_t real[B] = {K, 0, 2};

static double score(int b, int h, int t, int k, int queries, int keys)
{
    double dot = 0;
    for (int d = 0; d < D; d++)
        dot += lab_number("q", 0, ((int64_t)(b * queries + t) * H + h) * D + d) *
               lab_number("k", 0, ((int64_t)(b * keys + k) * H + h) * D + d);
    return dot / sqrt(D);
}

/* softmax(q k / sqrt(D)) v of one row of one head, over its first `n` keys. */
static void attention_of(int b, int h, int t, int queries, int keys, int n,
                         double out[D])
{
    double sum = 0;
    memset(out, 0, D * sizeof *out);
    for (int k = 0; k < n; k++) {
        double p = exp(score(b, h, t, k, queries, keys));
        sum += p;
        for (int d = 0; d < D; d++)
            out[d] += p * lab_number("v", 0, ((int64_t)(b * keys + k) * H + h) * D + d);
    }
    for (int d = 0; d < D && sum > 0; d++)
        out[d] /= sum;
}

struct heads {
    int batch, queries, keys;
    bool causal, lengths;
};

static void build_heads(struct lab *l, const void *arg)
{
    const struct heads *a = arg;
    struct value *q = lab_random(l, "q", S(3, I(a->batch * a->queries), I(H), I(D)));
    struct value *k = lab_random(l, "k", S(3, I(a->batch * a->keys), I(H), I(D)));
    struct value *v = lab_random(l, "v", S(3, I(a->batch * a->keys), I(H), I(D)));
    struct attention_span span = {
        .batch = a->batch,
        .queries = a->queries,
        .keys = a->keys,
        .causal = a->causal,
        .len = a->lengths ? lab_ints(l, "len", S(1, I(B)), real) : NULL};
    lab_chunk(l, a->batch, a->queries, 0, 2);
    struct value *o = op_attention_span(l->g, q, k, v, 0, &span, &l->c);
    op_copy(l->g, o, lab_state(l, "o", NND_F64, o->shape, NULL));
}

/* Run a graph of one rank. */
static struct lab *run_lab(struct lab_world *w, lab_build_f *build, const void *arg)
{
    struct err e = {0};
    double total;
    must(lab_open(w, (struct lab_setup){.build = build, .arg = arg}, &e), &e);
    must(lab_run(w, false, &total, &e), &e);
    return &w->lab[0];
}

static const double *state_of(const struct lab *l, const char *name)
{
    return exec_data(l->x, graph_find(l->g, name));
}

static void compare_heads(const struct heads *a)
{
    struct lab_world w;
    const double *o = state_of(run_lab(&w, build_heads, a), "o");
    for (int b = 0; b < a->batch; b++)
        for (int t = 0; t < a->queries; t++)
            for (int h = 0; h < H; h++) {
                double want[D];
                int n = a->causal ? t + 1 : a->lengths ? real[b] : a->keys;
                attention_of(b, h, t, a->queries, a->keys, n, want);
                for (int d = 0; d < D; d++, o++)
                    if (!(fabs(*o - want[d]) <= 1e-7)) /* the scale is f32 */
                        fail_msg("row %d of %d, head %d: wanted %g, found %g", t, b, h,
                                 want[d], *o);
            }
    lab_close(&w);
}

/* No scale, no softmax, no mask; heads that attend to heads, or to the batch. */
static void t06_t07_t13_t27_t28_heads_attend_to_places(void **state)
{
    (void)state;
    compare_heads(&(struct heads){.batch = B, .queries = T, .keys = K});
}

/* A mask that never meets the heads, or means the opposite; rows of no keys that give
 * an average of padding, or NaN. */
static void t22_t23_t24b_t26_padding_is_not_seen(void **state)
{
    (void)state;
    compare_heads(
        &(struct heads){.batch = B, .queries = T, .keys = K, .lengths = true});
}

/* The future in sight; a kernel for long rows that computes something else. */
static void t09_t24_long_causal_rows_are_the_formula(void **state)
{
    (void)state;
    compare_heads(
        &(struct heads){.batch = 1, .queries = 150, .keys = 150, .causal = true});
}

/* Numbers in padding of which -1e9 would leave something, and NaN. */
static void build_poisoned(struct lab *l, const void *arg)
{
    const double *poison = arg;
    double k[2 * D] = {0.5, -0.25, 1, *poison, *poison, *poison},
                 v[2 * D] = {1, 2, 3, *poison, *poison, *poison};
    struct value *q = lab_random(l, "q", S(2, I(1), I(D)));
    struct attend a =
        op_attend_dot(l->g, 1, q, lab_reals(l, "k", NND_F64, S(2, I(2), I(D)), k),
                      lab_reals(l, "v", NND_F64, S(2, I(2), I(D)), v), 1 / sqrt(D),
                      lab_ints(l, "len", S(1, I(1)), (const int32_t[]){1}));
    op_copy(l->g, a.o, lab_state(l, "o", NND_F64, a.o->shape, NULL));
    op_copy(l->g, a.weight, lab_state(l, "weight", NND_F64, a.weight->shape, NULL));
}

static void t11_nothing_is_added_to_scores(void **state)
{
    static const double poison[] = {1e30, -1e30, NAN};
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct lab_world w;
        struct lab *l = run_lab(&w, build_poisoned, &poison[i]);
        const double *o = state_of(l, "o"), *weight = state_of(l, "weight");
        assert_true(weight[0] == 1 && weight[1] == 0);
        assert_true(o[0] == 1 && o[1] == 2 && o[2] == 3);
        lab_close(&w);
    }
}

static void build_looks(struct lab *l, const void *arg)
{
    bool add = *(const bool *)arg;
    struct value *q = lab_random(l, "q", S(2, I(B * T), I(D)));
    struct value *k = lab_random(l, "k", S(2, I(B * K), I(D)));
    struct value *len = lab_ints(l, "len", S(1, I(B)), real);
    struct attend a =
        add ? op_attend_add(l->g, B, q, k, k, lab_random(l, "w", S(1, I(D))), len)
            : op_attend_dot(l->g, B, q, k, k, 1 / sqrt(D), len);
    op_copy(l->g, a.weight, lab_state(l, "weight", NND_F64, a.weight->shape, NULL));
}

/* Weights that nobody can look at. */
static void t06_attention_tells_its_weights(void **state)
{
    (void)state;
    for (int add = 0; add < 2; add++) {
        struct lab_world w;
        const double *p = state_of(run_lab(&w, build_looks, &(bool){add}), "weight");
        for (int b = 0; b < B; b++)
            for (int t = 0; t < T; t++) {
                double sum = 0;
                for (int k = 0; k < K; k++, p++) {
                    assert_true(k < real[b] ? *p > 0 : *p == 0);
                    sum += *p;
                }
                assert_true(fabs(sum - (real[b] > 0)) <= 1e-12);
            }
        lab_close(&w);
    }
}

/* ------------------------------------------------------------------------- */
/* Positions.                                                                */

static void build_rope(struct lab *l, const void *arg)
{
    static const int32_t pos[4] = {3, 5, 10, 12};
    double two[4 * 4];
    for (int i = 0; i < 16; i++) /* q, k, and both again further on */
        two[i] = lab_number("x", 0, i % 8);
    (void)arg;
    struct value *x = lab_reals(l, "two", NND_F64, S(3, I(4), I(1), I(4)), two);
    struct value *y = op_rope(l->g, x, lab_ints(l, "pos", S(1, I(4)), pos), 100, false);
    op_copy(l->g, y, lab_state(l, "y", NND_F64, y->shape, NULL));
}

/* A table of angles that turns nothing. */
static void t08_positions_turn_queries_and_keys(void **state)
{
    struct lab_world w;
    const double *y = state_of(run_lab(&w, build_rope, NULL), "y");
    double near = 0, far = 0, plain = 0;
    (void)state;
    for (int i = 0; i < 2; i++) {
        double angle = 3 * pow(100, -i / 2.0), a = lab_number("x", 0, i),
               b = lab_number("x", 0, i + 2);
        assert_true(fabs(y[i] - (a * cos(angle) - b * sin(angle))) < 1e-6);
        assert_true(fabs(y[i + 2] - (b * cos(angle) + a * sin(angle))) < 1e-6);
    }
    for (int i = 0; i < 4; i++) {
        near += y[i] * y[4 + i];
        far += y[8 + i] * y[12 + i];
        plain += lab_number("x", 0, i) * lab_number("x", 0, 4 + i);
    }
    assert_true(fabs(near - far) < 1e-6); /* the distance alone counts */
    assert_true(fabs(near - plain) > 1e-3);
    lab_close(&w);
}

/* ------------------------------------------------------------------------- */
/* Models.                                                                   */

enum { BATCH = 4, CONTEXT = 8, SOURCE = 7, WIDE = 12, VOCAB = 23, SOURCES = 19 };
enum { STEPS = 3, SAMPLES = STEPS * BATCH };

/* %s: more of model, more of train. */
static const char pairs[] =
    "{data: {train: none, format: pairs, tokenizer: word, valid_fraction: 0},"
    " model: {ffn: 24, layers: 1, context: 8, vocab: 23,"
    "  source_vocab: 19, norm: layer, activation: gelu, bias: true, init_std: 0.3,"
    "  tie_embeddings: false, %s},"
    " train: {steps: 3, chunks: 1, precision: fp32, warmup: 0, lr: 1e-2,"
    "  schedule: constant, clip: 0, weight_decay: 0, %s}}";
static const char lines[] =
    "{data: {train: none, format: lines, tokenizer: char, valid_fraction: 0},"
    " model: {ffn: 24, layers: 1, context: 8, vocab: 23,"
    "  init_std: 0.3, tie_embeddings: false, %s},"
    " train: {steps: 3, chunks: 1, precision: fp32, warmup: 0, lr: 1e-2,"
    "  schedule: constant, clip: 0, weight_decay: 0, %s}}";

#define SIZE        "width: 16, heads: 4, "
#define TRANSFORMER SIZE "family: encdec, position: sinusoid, encoder_layers: 1"
#define CELLS       SIZE "family: seq2seq, position: none, cell: lstm"

/* Samples that differ, of all lengths; the sources stand in rows of `wide`. */
struct texts {
    int32_t id[SAMPLES * (CONTEXT + 1)], length[SAMPLES];
    int32_t source[SAMPLES * WIDE], read[SAMPLES];
    int64_t n;
};

static struct texts *texts_of(int wide)
{
    static struct texts t;
    memset(&t, 0, sizeof t);
    t.n = SAMPLES;
    for (int i = 0; i < SAMPLES; i++) {
        t.length[i] = 1 + (i * 5 + 7) % CONTEXT;
        t.read[i] = 1 + (i * 3 + 6) % SOURCE;
        for (int k = 0; k <= t.length[i]; k++)
            t.id[i * (CONTEXT + 1) + k] = 4 + (i * 11 + k * 7 + k * i) % (VOCAB - 4);
        for (int k = 0; k < t.read[i]; k++)
            t.source[i * wide + k] = 4 + (i * 5 + k * 3) % (SOURCES - 4);
    }
    return &t;
}

static void open_model(struct hand *h, const char *job, const char *model,
                       const char *train, const struct texts *t)
{
    char text[2000];
    struct err e = {0};
    struct samples s = {.n = t->n, .id = t->id, .length = t->length};
    if (job == pairs) {
        s.source = t->source;
        s.source_length = t->read;
    }
    snprintf(text, sizeof text, job, model, train);
    assert_true(hand_open(h, text, &s, false));
    must(trainer_start(h->t, &e), &e);
}

static const char *const readers[] = {
    TRANSFORMER ", source_context: 7",
    TRANSFORMER ", source_context: 7, norm_place: post, dropout: 0",
    TRANSFORMER ", source_context: 7, moe: {experts: 4, top_k: 2, expert_ffn: 24}",
    CELLS ", source_context: 7",
    CELLS ", source_context: 7, attention: additive, bidirectional: true",
    CELLS ", source_context: 7, attention: dot, attention_place: before",
};
static const char *const writers[] = {
    SIZE "family: decoder",
    SIZE "family: decoder, moe: {experts: 4, top_k: 2, expert_ffn: 24}",
    SIZE "family: rnnlm, position: none, cell: gru",
};

/* No embedding, no output layer, sizes that do not fit. */
static void t01_seq2seq_embeds_and_projects(void **state)
{
    float z[BATCH * CONTEXT * VOCAB];
    struct hand h;
    (void)state;
    open_model(&h, pairs, readers[3], "batch: 4", texts_of(SOURCE));
    hand_logits(&h, z);
    assert_int_not_equal(VOCAB, h.job->model->width);
    double loss = hand_step(&h).loss;
    assert_true(fabs(loss - log(VOCAB)) < 1.5);
    hand_close(&h);
}

/* Targets that are the inputs. */
static void t02_targets_are_the_next_tokens(void **state)
{
    const struct texts *t = texts_of(SOURCE);
    struct hand h;
    (void)state;
    open_model(&h, lines, writers[0], "batch: 4", t);
    int32_t id[BATCH * CONTEXT], target[BATCH * CONTEXT], pos[BATCH * CONTEXT],
        sample[BATCH * CONTEXT];
    struct batch_rows rows = {.id = id, .target = target, .pos = pos, .sample = sample};
    batch_fill(&h.t->train, 0, 0, BATCH, &rows);
    for (int b = 0; b < BATCH; b++)
        for (int k = 0; k < CONTEXT; k++) {
            const int32_t *text = &t->id[b * (CONTEXT + 1)];
            int i = b * CONTEXT + k;
            bool is = k < t->length[b];
            assert_int_equal(target[i], is ? text[k + 1] : -1);
            assert_int_equal(id[i], is ? text[k] : 0);
        }
    hand_close(&h);
}

/* A first share of 1 that the text says is 0.6; one coin for a whole batch. */
static void t03_scheduled_sampling_throws_a_coin_per_token(void **state)
{
    Nnd__Train tr = NND__TRAIN__INIT;
    struct hand h;
    int own = 0, mixed_samples = 0;
    (void)state;
    tr.teacher = NND__TRAIN__TEACHER__LINEAR_DECAY;
    tr.teacher_k = 0.6, tr.teacher_c = 0.001, tr.teacher_min = 0.1;
    assert_true(schedule_teacher(&tr, 0) == 0.6);
    assert_true(fabs(schedule_teacher(&tr, 100) - 0.5) < 1e-15);
    assert_true(schedule_teacher(&tr, 9999) == 0.1);
    tr.teacher = NND__TRAIN__TEACHER__EXPONENTIAL, tr.teacher_k = 0.5;
    assert_true(schedule_teacher(&tr, 0) == 1 && schedule_teacher(&tr, 3) == 0.125);
    tr.teacher = NND__TRAIN__TEACHER__INVERSE_SIGMOID, tr.teacher_k = 10;
    assert_true(fabs(schedule_teacher(&tr, 0) - 10 / 11.0) < 1e-15);
    assert_true(fabs(schedule_teacher(&tr, 23) - 10 / (10 + exp(2.3))) < 1e-15);

    open_model(&h, pairs, readers[0], "batch: 4, teacher: linear_decay, teacher_k: 0.5",
               texts_of(SOURCE));
    hand_step(&h);
    const int32_t *given = exec_data(h.t->x, h.t->p.model.teach.mixed);
    const int32_t *id = exec_data(h.t->x, h.t->p.model.chunk.id);
    const int32_t *pos = exec_data(h.t->x, h.t->p.model.chunk.pos);
    for (int b = 0; b < BATCH; b++) {
        int other = 0, same = 0;
        for (int i = b * CONTEXT; i < (b + 1) * CONTEXT; i++) {
            assert_true(pos[i] > 0 || given[i] == id[i]);
            other += given[i] != id[i];
            same += pos[i] > 0 && given[i] == id[i];
        }
        own += other;
        mixed_samples += other && same;
    }
    assert_true(own > 0 && mixed_samples > 0);
    hand_close(&h);
}

/* What a first step gives, nearly none of it the target's. */
static void given_by(const char *model, const char *train, int32_t *out)
{
    char text[200];
    struct hand h;
    snprintf(text, sizeof text, "batch: 4, teacher: linear_decay, teacher_k: 1e-9%s",
             train);
    open_model(&h, pairs, model, text, texts_of(SOURCE));
    hand_step(&h);
    memcpy(out, exec_data(h.t->x, h.t->p.model.teach.mixed),
           sizeof *out * BATCH * CONTEXT);
    hand_close(&h);
}

/* T3: the model's own token is drawn from what it holds for likely, not its first
 * choice alone, where that is asked for; the same each time. */
static void t03_own_tokens_may_be_drawn(void **state)
{
    int32_t best[BATCH * CONTEXT], drawn[BATCH * CONTEXT], again[BATCH * CONTEXT];
    (void)state;
    for (size_t m = 0; m < sizeof readers / sizeof *readers; m++) {
        int differ = 0;
        given_by(readers[m], "", best);
        given_by(readers[m], ", teacher_own: sample", drawn);
        given_by(readers[m], ", teacher_own: sample", again);
        assert_memory_equal(drawn, again, sizeof drawn);
        for (int i = 0; i < BATCH * CONTEXT; i++)
            differ += best[i] != drawn[i];
        assert_true(differ > 0);
    }
}

static void build_route(struct lab *l, const void *arg)
{
    (void)arg;
    lab_chunk(l, 1, T, 0, 2);
    struct value *z = lab_leaf(l, "z", S(2, I(T), I(K)));
    struct route_config c = {.top_k = 2,
                             .score = NND_SCORE_SOFTMAX,
                             .renormalize = true,
                             .scale = 1,
                             .group_rows = T};
    struct route r = op_route(l->g, z, NULL, c, &l->c);
    op_copy(l->g, r.gate, lab_state(l, "gate", NND_F64, r.gate->shape, NULL));
    op_copy(l->g, op_select(l->g, z, r.expert),
            lab_state(l, "chosen", NND_F64, r.gate->shape, NULL));
}

/* Every expert computes every row, or weights run over the batch. */
static void t10_rows_go_to_their_best_experts(void **state)
{
    struct lab_world w;
    struct lab *l = run_lab(&w, build_route, NULL);
    const double *gate = state_of(l, "gate"), *chosen = state_of(l, "chosen");
    (void)state;
    for (int t = 0; t < T; t++) {
        int better = 0;
        for (int k = 0; k < K; k++)
            better += lab_number("z", 0, t * K + k) > chosen[2 * t + 1];
        assert_int_equal(better, 1);
        assert_true(fabs(gate[2 * t] + gate[2 * t + 1] - 1) < 1e-12);
        assert_true(fabs(gate[2 * t] / gate[2 * t + 1] -
                         exp(chosen[2 * t] - chosen[2 * t + 1])) < 1e-9);
    }
    lab_close(&w);
}

static void compare_sinusoid(const char *model, int width)
{
    struct hand h;
    open_model(&h, pairs, model, "batch: 4", texts_of(SOURCE));
    const struct value *v = graph_find(h.t->p.g, "sinusoid");
    assert_non_null(v);
    const float *pe = exec_data(h.t->x, v);
    for (int p = 0; p < CONTEXT; p++)
        for (int i = 0; i < width; i++) {
            double angle = p / pow(10000, (i - i % 2) / (double)width);
            double want = i % 2 ? cos(angle) : sin(angle);
            assert_true(fabs(pe[p * width + i] - want) < 1e-6);
        }
    hand_step(&h);
    hand_close(&h);
}

/* One frequency for all columns; a width that has to be even. */
static void t12_t25_sinusoids_are_a_ladder(void **state)
{
    (void)state;
    compare_sinusoid(TRANSFORMER ", source_context: 7", 16);
    compare_sinusoid(
        "family: encdec, position: sinusoid, encoder_layers: 1, source_context: 7,"
        " width: 15, heads: 3",
        15);
}

static void want_places(struct hand *h, const struct weight *w, void *arg)
{
    int *seen = arg;
    (void)h;
    if (!strstr(w->name, "decoder.embed_positions"))
        return;
    assert_int_equal(w->rows, CONTEXT);
    for (int p = 0; p < CONTEXT; p++)
        if ((norm_of(w->grad + p * w->cols, w->cols) > 0) != (p < 3))
            fail_msg("place %d: wanted %s gradient", p, p < 3 ? "a" : "no");
    *seen = 1;
}

/* A table of positions that is asked by token. */
static void t14_positions_go_by_place(void **state)
{
    struct texts *t = texts_of(SOURCE);
    struct hand h;
    int seen = 0;
    (void)state;
    for (int i = 0; i < SAMPLES; i++)
        t->length[i] = 1 + i % 3;
    open_model(&h, pairs,
               SIZE "family: encdec, position: learned, encoder_layers: 1, "
                    "source_context: 7",
               "batch: 4", t);
    hand_step(&h);
    each_weight(&h, want_places, &seen);
    assert_true(seen);
    hand_close(&h);
}

/* A context that decoding takes from the decoder's changing state. */
static void t15_the_fixed_context_stays(void **state)
{
    struct hand h;
    struct mesh mesh;
    const struct decode_shape two = {.rows = 2, .sources = 2};
    struct decode_step s;
    struct err e = {0};
    (void)state;
    open_model(&h, pairs, readers[3], "batch: 4", texts_of(SOURCE));
    must(mesh_make(1, 1, 1, 1, 1, 1, 1, 0, &mesh, &e), &e);
    struct graph *g = graph_create(&mesh, NND_F32, NND_F32);
    must(model_decode(g, h.job, VOCAB, &two, &s, &e), &e);
    const struct value *context = graph_find(g, "model.context" MODEL_SOURCE_SUFFIX);
    int program = graph_find_program(g, "decode.0"), read = 0;
    assert_non_null(context);
    for (int i = 0; i < g->nnode; i++) {
        const struct node *n = g->node[i];
        for (int k = 0; k < n->nin; k++)
            read += n->program == program && n->in[k] == context;
        for (int k = 0; k < n->nout; k++)
            assert_true(n->program != program || n->out[k]->root != context);
    }
    assert_int_equal(read, 1);
    graph_destroy(g);
    hand_close(&h);
}

/* An encoder whose last state is that behind the padding. */
static void t16_padding_of_a_source_changes_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof readers / sizeof *readers; i++) {
        char wide[300];
        struct hand a, b;
        snprintf(wide, sizeof wide, "%s", readers[i]);
        memcpy(strstr(wide, "source_context: 7") + 16, "12", 2);
        const char *more = strstr(readers[i], "source_context: 7") + 17;
        snprintf(strstr(wide, "source_context: 12") + 18, 200, "%s", more);
        open_model(&a, pairs, readers[i], "batch: 4", texts_of(SOURCE));
        open_model(&b, pairs, wide, "batch: 4", texts_of(WIDE));
        for (int k = 0; k < STEPS; k++) {
            struct step_report x = hand_step(&a), y = hand_step(&b);
            if (x.loss != y.loss)
                fail_msg("%s: wanted %.9g, found %.9g", wide, x.loss, y.loss);
        }
        hand_close(&a);
        hand_close(&b);
    }
}

/* A mean over steps that is divided by the tokens once more. */
static void t17_the_loss_is_a_mean_over_real_targets(void **state)
{
    static float z[BATCH * CONTEXT * VOCAB];
    const struct texts *t = texts_of(SOURCE);
    double sum = 0;
    int n = 0;
    struct hand h;
    (void)state;
    open_model(&h, pairs, readers[0], "batch: 4", t);
    hand_logits(&h, z);
    for (int b = 0; b < BATCH; b++)
        for (int k = 0; k < t->length[b]; k++, n++) {
            const float *row = &z[(b * CONTEXT + k) * VOCAB];
            double all = 0;
            for (int v = 0; v < VOCAB; v++)
                all += exp(row[v]);
            sum += log(all) - row[t->id[b * (CONTEXT + 1) + k + 1]];
        }
    struct step_report r = hand_step(&h);
    assert_int_equal(r.targets, n);
    assert_true(fabs(r.loss - sum / n) < 1e-5);
    hand_close(&h);
}

/* A gradient that grows with the batch. */
static void t18_the_gradient_knows_no_batch_size(void **state)
{
    struct texts *t = texts_of(SOURCE);
    struct step_report once, twice;
    struct hand h;
    (void)state;
    t->n = 2;
    open_model(&h, pairs, readers[0], "batch: 2", t);
    once = hand_step(&h);
    hand_close(&h);
    memcpy(&t->id[2 * (CONTEXT + 1)], t->id, 2 * (CONTEXT + 1) * sizeof *t->id);
    memcpy(&t->length[2], t->length, 2 * sizeof *t->length);
    memcpy(&t->source[2 * SOURCE], t->source, 2 * SOURCE * sizeof *t->source);
    memcpy(&t->read[2], t->read, 2 * sizeof *t->read);
    t->n = 4;
    open_model(&h, pairs, readers[0], "batch: 4", t);
    twice = hand_step(&h);
    hand_close(&h);
    assert_int_equal(twice.targets, 2 * once.targets);
    assert_true(fabs(twice.loss - once.loss) < 1e-5);
    assert_true(fabs(twice.grad_norm / once.grad_norm - 1) < 1e-5);
}

/* One-hot rows as wide as the vocabulary. */
static void t20_tokens_are_looked_up(void **state)
{
    struct hand h;
    int embeds = 0, wide = 0;
    (void)state;
    open_model(&h, lines, writers[2], "batch: 4", texts_of(SOURCE));
    const struct graph *g = h.t->p.g;
    for (int i = 0; i < g->nnode; i++) {
        const struct node *n = g->node[i];
        embeds += n->program == h.t->p.forward && n->op == &op_embed_fwd;
        for (int k = 0; k < n->nout && n->program == h.t->p.forward; k++)
            wide += shape_cols(&n->out[k]->shape) == VOCAB;
    }
    assert_int_equal(embeds, 1);
    assert_int_equal(wide, 1); /* the logits */
    hand_close(&h);
}

/* Change the last token of the first sample: what is said before it stays. */
static void look_ahead(const char *job, const char *model)
{
    static float before[BATCH * CONTEXT * VOCAB], behind[BATCH * CONTEXT * VOCAB];
    struct texts *t = texts_of(SOURCE);
    struct hand h;
    t->length[0] = CONTEXT;
    open_model(&h, job, model, "batch: 4", t);
    hand_logits(&h, before);
    hand_close(&h);
    t->id[CONTEXT - 1] = 4 + (t->id[CONTEXT - 1] - 3) % (VOCAB - 4);
    open_model(&h, job, model, "batch: 4", t);
    hand_logits(&h, behind);
    hand_close(&h);
    size_t n = (CONTEXT - 1) * VOCAB;
    if (memcmp(before, behind, n * sizeof *before) != 0)
        fail_msg("%s: sees a token before its turn", model);
    if (memcmp(before + n, behind + n, VOCAB * sizeof *before) == 0)
        fail_msg("%s: does not see its own token", model);
}

static void t24_nobody_sees_the_future(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof readers / sizeof *readers; i++)
        look_ahead(pairs, readers[i]);
    for (size_t i = 0; i < sizeof writers / sizeof *writers; i++)
        look_ahead(lines, writers[i]);
}

/* Dropout in one place alone, or in another than the paper's, or when it counts. */
static void t25_dropout_is_where_the_paper_has_it(void **state)
{
    struct hand h;
    int found[2] = {0};
    (void)state;
    open_model(&h, pairs, TRANSFORMER ", source_context: 7, dropout: 0.1", "batch: 4",
               texts_of(SOURCE));
    const struct graph *g = h.t->p.g;
    for (int i = 0; i < g->nnode; i++)
        if (g->node[i]->op == &op_dropout_fwd && g->node[i]->program == h.t->p.forward)
            found[0]++;
        else if (g->node[i]->op == &op_dropout_fwd &&
                 g->node[i]->program == h.t->p.eval)
            found[1]++;
    assert_int_equal(found[0], 2 + 2 + 3); /* embeddings; sub-layers of both sides */
    assert_int_equal(found[1], 0);
    hand_close(&h);
}

/* ------------------------------------------------------------------------- */

/* Streams whose last, short batch meets the states of a longer one; an LSTM of which
 * one state is detached and the other is not. */
static void t21_every_stream_carries_both_states(void **state)
{
    struct tokens tokens;
    struct err e = {0};
    struct batch_source src;
    (void)state;
    tokens_init(&tokens, VOCAB);
    must(tokens_reserve(&tokens, 100, &e), &e);
    for (uint32_t i = 0; i < 100; i++)
        tokens_put(&tokens, i % VOCAB);
    struct corpus c = {.context = CONTEXT,
                       .sequential = true,
                       .train = {.tokens = &tokens, .count = tokens.count}};
    batch_source_train(&c, 1, BATCH, &src);
    uint64_t steps = batch_steps(&src);
    for (uint64_t s = 0; s < 3 * steps; s++) {
        assert_int_equal(batch_targets(&src, s, 0, BATCH), BATCH * CONTEXT);
        assert_int_equal(batch_is_first(&src, s), s % steps == 0);
    }
    batch_source_free(&src);
    tokens_free(&tokens);
    Nnd__Model m = NND__MODEL__INIT;
    Nnd__Job job = NND__JOB__INIT;
    job.model = &m;
    m.cell = NND__MODEL__CELL__LSTM;
    assert_int_equal(model_cell_states(&job), 2);
    m.cell = NND__MODEL__CELL__GRU;
    assert_int_equal(model_cell_states(&job), 1);
}

/* Perplexity of what was learned by heart. */
static void t19_validation_has_a_text_of_its_own(void **state)
{
    Nnd__Data d = NND__DATA__INIT;
    struct corpus *c;
    struct lexicon l = {0};
    struct err e = {0};
    char path[300], *train[] = {path};
    snprintf(path, sizeof path, "%s/text", (const char *)*state);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    for (int i = 0; i < 500; i++)
        fprintf(f, "%d ", i);
    fclose(f);
    d.train = train;
    d.n_train = 1;
    must(lexicon_learn(&d, &l, &e), &e);
    must(corpus_open(&d, &l, CONTEXT, 0, &c, &e), &e);
    assert_true(c->valid.count > 0);
    assert_true(c->train.first + c->train.count <= c->valid.first);
    corpus_destroy(c);
    lexicon_free(&l);
}

/* ------------------------------------------------------------------------- */

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(t01_seq2seq_embeds_and_projects),
        cmocka_unit_test(t02_targets_are_the_next_tokens),
        cmocka_unit_test(t03_scheduled_sampling_throws_a_coin_per_token),
        cmocka_unit_test(t03_own_tokens_may_be_drawn),
        cmocka_unit_test(t06_t07_t13_t27_t28_heads_attend_to_places),
        cmocka_unit_test(t06_attention_tells_its_weights),
        cmocka_unit_test(t08_positions_turn_queries_and_keys),
        cmocka_unit_test(t09_t24_long_causal_rows_are_the_formula),
        cmocka_unit_test(t10_rows_go_to_their_best_experts),
        cmocka_unit_test(t11_nothing_is_added_to_scores),
        cmocka_unit_test(t12_t25_sinusoids_are_a_ladder),
        cmocka_unit_test(t14_positions_go_by_place),
        cmocka_unit_test(t15_the_fixed_context_stays),
        cmocka_unit_test(t16_padding_of_a_source_changes_nothing),
        cmocka_unit_test(t17_the_loss_is_a_mean_over_real_targets),
        cmocka_unit_test(t18_the_gradient_knows_no_batch_size),
        cmocka_unit_test_setup_teardown(t19_validation_has_a_text_of_its_own,
                                        unit_dir_setup, unit_dir_teardown),
        cmocka_unit_test(t20_tokens_are_looked_up),
        cmocka_unit_test(t21_every_stream_carries_both_states),
        cmocka_unit_test(t22_t23_t24b_t26_padding_is_not_seen),
        cmocka_unit_test(t24_nobody_sees_the_future),
        cmocka_unit_test(t25_dropout_is_where_the_paper_has_it),
    };
    return cmocka_run_group_tests_name("mistakes", tests, NULL, NULL);
}
