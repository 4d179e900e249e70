/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_decode.c - a token a step against a cache is the whole text at once: the
 * loss of the validation text, computed from a decoder's logits, is what the
 * trainer's own validation says, for every kind of block.
 */
#include <math.h>
#include <unistd.h>

#include "data/batch.h"
#include "tests/num/scene.h"
#include "tests/unit/unit.h"

enum { ROWS = 3, MAX_ROWS = 64 };

static const struct decoder_config shape = {.rows = ROWS};

/* Weights far from zero, so that attention has something to say. */
static const char yaml[] =
    "data: {train: text, tokenizer: char, valid_fraction: 0.2}\n"
    "model: {layers: 2, width: 32, heads: 4, kv_heads: 2, context: 24,\n"
    "        init_std: 0.3, tie_embeddings: false}\n"
    "train: {batch: 4, chunks: 2, precision: fp32, threads: 1}\n";

static const char pairs_yaml[] =
    "data: {train: pairs, format: pairs, tokenizer: word, valid_fraction: 0.2}\n"
    "model: {family: encdec, layers: 2, width: 32, heads: 4, kv_heads: 2,\n"
    "        context: 24, source_context: 14, init_std: 0.3, tie_embeddings: false}\n"
    "train: {batch: 4, chunks: 2, precision: fp32, threads: 1}\n";

static double nll(const float *logits, int64_t n, int32_t target)
{
    double top = logits[0], sum = 0;

    for (int64_t i = 1; i < n; i++)
        top = fmax(top, logits[i]);
    for (int64_t i = 0; i < n; i++)
        sum += exp(logits[i] - top);
    return top + log(sum) - logits[target];
}

/* The sample's source to row `row`; the other rows read the end of it, or nothing. */
static void read_source(struct scene *s, int row, const int32_t *id, int32_t len)
{
    uint32_t width = spec_job(s->lab.spec)->model->source_context;
    uint32_t in[ROWS * MAX_ROWS] = {0}, real[ROWS];
    struct err e;

    for (int r = 0; r < ROWS; r++) {
        int32_t skip = r == row ? 0 : r == ROWS - 1 ? len : len / 2;

        real[r] = (uint32_t)(len - skip);
        for (int32_t i = skip; i < len; i++)
            in[(uint32_t)r * width + (uint32_t)(i - skip)] = (uint32_t)id[i];
    }
    scene_must(decoder_read(s->decoder, in, real, &e), &e);
}

/* One sample, in row `row`; the other rows hold other tokens. */
static double decode_sample(struct scene *s, const struct batch_source *b,
                            uint64_t step, uint32_t sample, int64_t *targets)
{
    int32_t id[MAX_ROWS], target[MAX_ROWS], pos[MAX_ROWS], of[MAX_ROWS];
    struct batch_rows rows = {.id = id, .target = target, .pos = pos, .sample = of};
    int32_t source[MAX_ROWS], place[MAX_ROWS], whose[MAX_ROWS], len = 0;
    int row = (int)(sample % ROWS);
    double sum = 0;
    struct err e;

    if (decoder_reads(s->decoder)) {
        rows.source_id = source;
        rows.source_pos = place;
        rows.source_sample = whose;
        rows.source_len = &len;
    }
    batch_fill(b, step, sample, 1, &rows);
    decoder_reset(s->decoder);
    if (decoder_reads(s->decoder))
        read_source(s, row, source, len);
    for (uint32_t i = 0; i < b->context && pos[i] >= 0; i++) {
        uint32_t in[ROWS];

        for (int r = 0; r < ROWS; r++)
            in[r] = (uint32_t)(r == row ? id[i] : (id[i] + 1 + r) % (int)s->vocab);
        scene_must(decoder_step(s->decoder, in, &e), &e);
        if (target[i] < 0)
            continue;
        sum += nll(decoder_logits(s->decoder, row), s->vocab, target[i]);
        ++*targets;
    }
    return sum;
}

static double decode_loss(struct scene *s)
{
    const Nnd__Job *job = spec_job(s->lab.spec);
    struct batch_source b;
    int64_t targets = 0;
    double sum = 0;

    batch_source_valid(s->lab.corpus, job->train->batch, 0, &b);
    for (uint64_t i = 0; i < batch_steps(&b); i++)
        for (uint32_t k = 0; k < b.batch; k++)
            sum += decode_sample(s, &b, i, k, &targets);
    return sum / (double)targets;
}

static void compare(void **state, const char *job, int n, char **overrides)
{
    struct scene s = {0};
    double want, got;
    struct err e;

    scene_open(&s, state, job, &shape, n, overrides);
    scene_must(trainer_validate(s.trainer, &want, &e), &e);
    got = decode_loss(&s);
    scene_close(&s);
    if (!(want > 0 && fabs(got - want) <= 1e-5 * want))
        fail_msg("loss: the decoder says %.9g, validation %.9g", got, want);
}

#define COMPARE(state, ...)                                                            \
    compare(state, yaml, (int)(sizeof(char *[]){__VA_ARGS__} / sizeof(char *)),        \
            (char *[]){__VA_ARGS__})

static void rope_and_grouped_heads(void **state)
{
    COMPARE(state, "-S", "model.qk_norm=true");
}

static void gpt2(void **state)
{
    COMPARE(state, "-S", "model.position=learned", "-S", "model.norm=layer", "-S",
            "model.activation=gelu", "-S", "model.bias=true", "-S",
            "model.tie_embeddings=true");
}

static void experts(void **state)
{
    COMPARE(state, "-S", "model.moe.experts=4", "-S", "model.moe.shared_experts=1");
}

static void experts_by_sigmoid(void **state)
{
    COMPARE(state, "-S", "model.moe.experts=4", "-S", "model.moe.score=sigmoid", "-S",
            "model.moe.bias_rate=0.01");
}

#define COMPARE_PAIRS(state, ...)                                                      \
    compare(state, pairs_yaml, (int)(sizeof(char *[]){__VA_ARGS__} / sizeof(char *)),  \
            (char *[]){__VA_ARGS__})

static void reader_after_the_paper(void **state)
{
    COMPARE_PAIRS(state, "-S", "model.norm=layer", "-S", "model.norm_place=post", "-S",
                  "model.position=sinusoid", "-S", "model.scale_embeddings=true", "-S",
                  "model.activation=gelu", "-S", "model.bias=true");
}

static void reader_of_today(void **state)
{
    COMPARE_PAIRS(state, "-S", "model.encoder_layers=1", "-S", "model.moe.experts=4",
                  "-S", "data.share_vocab=true", "-S", "model.share_embeddings=true",
                  "-S", "model.tie_embeddings=true");
}

static void reader_with_learned_places(void **state)
{
    COMPARE_PAIRS(state, "-S", "model.position=learned", "-S", "model.qk_norm=true");
}

static void cells(void **state)
{
    COMPARE(state, "-S", "model.family=rnnlm", "-S", "model.cell=lstm");
}

static void cells_with_a_fixed_context(void **state)
{
    COMPARE_PAIRS(state, "-S", "model.family=seq2seq", "-S", "model.cell=lstm", "-S",
                  "model.bidirectional=true");
}

static void cells_that_look(void **state)
{
    COMPARE_PAIRS(state, "-S", "model.family=seq2seq", "-S",
                  "model.attention=additive");
}

static void cells_that_look_by_products(void **state)
{
    COMPARE_PAIRS(state, "-S", "model.family=seq2seq", "-S", "model.attention=dot",
                  "-S", "model.cell=rnn", "-S", "model.bidirectional=true");
}

static void cells_that_look_before(void **state)
{
    COMPARE_PAIRS(state, "-S", "model.family=seq2seq", "-S", "model.attention=additive",
                  "-S", "model.attention_place=before", "-S",
                  "model.bidirectional=true");
}

static void cells_side_by_side(void **state)
{
    COMPARE_PAIRS(state, "-S", "model.family=seq2seq", "-S", "model.attention=dot",
                  "-S", "model.attention_place=before", "-S", "model.cell=lstm", "-S",
                  "model.bidirectional=true", "-S", "model.merge=concat");
}

/* What a full decoder is asked for beyond its context is refused. */
static void a_full_context_says_so(void **state)
{
    struct scene s = {0};
    uint32_t id[ROWS] = {0};
    struct err e;

    scene_open(&s, state, yaml, &shape, 0, NULL);
    for (int i = 0; i < 24; i++)
        scene_must(decoder_step(s.decoder, id, &e), &e);
    assert_int_equal(decoder_length(s.decoder), 24);
    assert_int_equal(decoder_step(s.decoder, id, &e), ERR_FAILED);
    decoder_reset(s.decoder);
    scene_must(decoder_step(s.decoder, id, &e), &e);
    scene_close(&s);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, unit_dir_setup, unit_dir_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(rope_and_grouped_heads),
        TEST(gpt2),
        TEST(experts),
        TEST(experts_by_sigmoid),
        TEST(reader_after_the_paper),
        TEST(reader_of_today),
        TEST(reader_with_learned_places),
        TEST(cells),
        TEST(cells_with_a_fixed_context),
        TEST(cells_that_look),
        TEST(cells_that_look_by_products),
        TEST(cells_that_look_before),
        TEST(cells_side_by_side),
        TEST(a_full_context_says_so),
    };

    return cmocka_run_group_tests_name("decoder", tests, NULL, NULL);
}
