/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_parity.c - the engine against the classes of Hugging Face `transformers`, and
 * the layers of PyTorch: logits, losses, every gradient, and the weights after ten
 * steps of AdamW, for models whose weights and answers tests/fixtures/make_parity.py
 * and make_parity_seq.py have written.
 *
 * Training goes through the trainer as in a job; only the corpus is made by hand.
 * Each model runs with ref, and with the plugins of $NND_PLUGIN_DIR or, without
 * it, those of the build.  The last test needs no fixture: experts that are all
 * the same are one dense layer.
 */
#include <math.h>

#include "format/hf.h"
#include "format/safetensors.h"
#include "hand.h"
#include "train/teacher.h"

#include "../unit/unit.h"

/* The largest relative error: of a tensor by L2 norms, of its worst element by
 * the largest magnitude, of a number by itself. */
#define LIMIT 1e-5

/* ------------------------------------------------------------------------- */
/* Fixtures.                                                                 */

struct fixture {
    const char *label;
    struct safetensors *file;
    const struct hf_arch *arch;
    struct hand lab;
    const char *kind; /* "grad.": whose tensors are looked at */
    double worst, norm;
    int64_t seen;
};

static void *read_tensor(const struct fixture *f, const char *name, int dtype,
                         uint64_t *elements)
{
    struct err e = {0};
    const struct safetensors_tensor *t = safetensors_find(f->file, name);
    if (!t || t->dtype != dtype)
        fail_msg("%s: no tensor %s of the type wanted", f->label, name);
    void *data = malloc(t->elements * t->element_size);
    assert_non_null(data);
    must(safetensors_read(f->file, t, 0, t->elements, data, &e), &e);
    if (elements)
        *elements = t->elements;
    return data;
}

/* What the class has for a weight of ours, in our layout; free it. */
static float *theirs(struct fixture *f, const struct weight *w)
{
    struct hf_place place = {.parts = 1};
    struct err e = {0};
    char name[300];
    uint64_t elements;
    if (f->arch)
        must(hf_arch_place(f->arch, w->name, &place, &e), &e);
    else
        snprintf(place.name, sizeof place.name, "%s", w->name);
    snprintf(name, sizeof name, "%s%s", f->kind, place.name);
    float *all = read_tensor(f, name, NND_F32, &elements);
    float *own = malloc((size_t)w->elements * sizeof *own);
    assert_non_null(own);
    assert_int_equal(elements, w->elements * place.parts);
    for (int64_t i = 0; i < w->elements; i++)
        own[i] = all[f->arch ? hf_place_element(&place, w->rows, w->cols, i) : i];
    free(all);
    f->seen += w->elements;
    return own;
}

/* Every element of every tensor of a kind has had its counterpart. */
static void all_seen(const struct fixture *f)
{
    int64_t want = 0;
    for (size_t i = 0; i < safetensors_count(f->file); i++) {
        const struct safetensors_tensor *t = safetensors_at(f->file, i);
        if (strncmp(t->name, f->kind, strlen(f->kind)) == 0)
            want += (int64_t)t->elements;
    }
    assert_int_equal(f->seen, want);
}

static void note(struct fixture *f, const char *what, double error)
{
    if (!(error <= LIMIT))
        fail_msg("%s: %s%s: relative error %.2e, wanted at most %.0e", f->label,
                 f->kind, what, error, LIMIT);
    f->worst = fmax(f->worst, error);
}

static void take_weight(struct hand *l, const struct weight *w, void *arg)
{
    float *x = theirs(arg, w);
    (void)l;
    memcpy(w->value, x, (size_t)w->elements * sizeof *x);
    free(x);
}

/* Softmax does not see what is added to all of a row's scores, and the bias of the
 * keys adds nothing else unless positions turn the keys: its gradient is rounding
 * alone, on both sides. */
static bool is_blind(const struct fixture *f, const struct weight *w)
{
    return f->lab.job->model->position != NND__MODEL__POSITION__ROPE &&
           f->lab.job->model->attention != NND__ATTEND__ADDITIVE &&
           strstr(w->name, "k_proj.bias");
}

static void check_grad(struct hand *l, const struct weight *w, void *arg)
{
    struct fixture *f = arg;
    float *x = theirs(f, w);
    (void)l;
    if (is_blind(f, w)) {
        assert_true(norm_of(x, w->elements) <= LIMIT * 0.1 * f->norm);
        assert_true(norm_of(w->grad, w->elements) <= LIMIT * 0.1 * f->norm);
    } else {
        note(f, w->name, error_of(w->grad, x, w->elements));
    }
    free(x);
}

/* Adam makes whole steps of rounding, too; but not longer ones. */
static void check_blind(struct fixture *f, const struct weight *w, const float *after)
{
    const Nnd__Train *tr = f->lab.job->train;
    for (int64_t i = 0; i < w->elements; i++)
        assert_true(fabs((double)w->value[i] - (double)after[i]) <=
                    4 * tr->lr * tr->steps);
}

static void check_weight(struct hand *l, const struct weight *w, void *arg)
{
    struct fixture *f = arg;
    float *x = theirs(f, w);
    (void)l;
    if (is_blind(f, w))
        check_blind(f, w, x);
    else
        note(f, w->name, error_of(w->value, x, w->elements));
    free(x);
}

/* Start another kind of comparison, or pass over all weights in one. */
static void begin(struct fixture *f, const char *kind)
{
    f->kind = kind;
    f->worst = 0;
    f->seen = 0;
}

static double compare(struct fixture *f, const char *kind, weight_f *check)
{
    begin(f, kind);
    each_weight(&f->lab, check, f);
    all_seen(f);
    return f->worst;
}

static double compare_logits(struct fixture *f)
{
    const Nnd__Job *job = f->lab.job;
    int64_t vocab = job->model->vocab, context = job->model->context;
    uint64_t elements;
    float *want = read_tensor(f, "logits", NND_F32, &elements);
    int32_t *length = read_tensor(f, "length", NND_I32, NULL);
    assert_int_equal(elements, job->train->batch * context * vocab);
    float *got = malloc(elements * sizeof *got);
    assert_non_null(got);
    hand_logits(&f->lab, got);
    begin(f, "logits");
    for (uint32_t i = 0; i < job->train->batch; i++)
        note(f, "",
             error_of(got + i * context * vocab, want + i * context * vocab,
                      length[i] * vocab));
    free(want);
    free(length);
    free(got);
    return f->worst;
}

static void note_number(struct fixture *f, const char *what, double got, double want)
{
    note(f, what, fabs(got - want) / fabs(want));
}

/* All steps; gradients after the first. */
static void compare_training(struct fixture *f, double *loss, double *grad)
{
    struct err e = {0};
    uint32_t steps = f->lab.job->train->steps;
    bool moe = model_moe_layers(f->lab.job) > 0;
    double *want[] = {read_tensor(f, "loss", NND_F64, NULL),
                      read_tensor(f, "aux", NND_F64, NULL),
                      read_tensor(f, "norm", NND_F64, NULL)};
    *loss = *grad = 0;
    for (uint32_t i = 0; i < steps; i++) {
        struct step_report r;
        must(trainer_step(f->lab.t, &r, &e), &e);
        begin(f, "step: ");
        note_number(f, "loss", r.loss, want[0][i]);
        if (moe)
            note_number(f, "aux", r.aux_loss, want[1][i]);
        note_number(f, "norm", r.grad_norm, want[2][i]);
        *loss = fmax(*loss, f->worst);
        f->norm = r.grad_norm;
        if (i == 0)
            *grad = compare(f, "grad.", check_grad);
    }
    for (int i = 0; i < 3; i++)
        free(want[i]);
}

static void fixture_open(struct fixture *f, const char *name)
{
    struct err e = {0};
    char path[4096];
    const char *dir = getenv("NND_SRCDIR");
    snprintf(path, sizeof path, "%s/tests/fixtures/parity-%s.safetensors",
             dir ? dir : ".", name);
    *f = (struct fixture){.label = name};
    must(safetensors_open(path, &f->file, &e), &e);
    if (strcmp(safetensors_meta(f->file, "model_type"), "nnd") == 0)
        return; /* of layers of PyTorch, under our own names */
    must(hf_arch_find(safetensors_meta(f->file, "model_type"), &f->arch, &e), &e);
    assert_string_equal(safetensors_meta(f->file, "class"), hf_arch_class(f->arch));
}

static bool open_lab(struct fixture *f, bool plugins)
{
    uint64_t n;
    int32_t *length = read_tensor(f, "length", NND_I32, &n);
    int32_t *id = read_tensor(f, "id", NND_I32, NULL);
    bool pairs = safetensors_find(f->file, "source");
    int32_t *source = pairs ? read_tensor(f, "source", NND_I32, NULL) : NULL;
    int32_t *read = pairs ? read_tensor(f, "source_length", NND_I32, NULL) : NULL;
    struct samples s = {(int64_t)n, id,   length,
                        source,     read, safetensors_meta(f->file, "teacher")};
    bool open = hand_open(&f->lab, safetensors_meta(f->file, "job"), &s, plugins);
    free(length);
    free(id);
    free(source);
    free(read);
    return open;
}

/* Rows of the kernel table: all, or those of one plugin. */
static int count_rows(const struct hand *l, const char *of)
{
    int n = 0;
    for (const char *at = trainer_kernels(l->t); (at = strstr(at, of)); at++)
        n++;
    return n;
}

/* Its weights are the teacher's in the file, if there is one. */
static void take_teacher(struct fixture *f)
{
    struct exec *x = f->lab.teacher ? teacher_exec(f->lab.teacher) : NULL;
    const struct graph *g = x ? exec_graph(x) : NULL;
    struct err e = {0};
    begin(f, "teacher.");
    for (int i = 0; g && i < g->nparam; i++) {
        char name[300];
        uint64_t n;
        snprintf(name, sizeof name, "teacher.%s", g->param[i]->name);
        float *w = read_tensor(f, name, NND_F32, &n);
        assert_int_equal(n * sizeof *w, value_bytes(g->param[i]->value));
        must(exec_write(x, g->param[i]->value, w, &e), &e);
        f->seen += (int64_t)n;
        free(w);
    }
    all_seen(f);
}

static void run_fixture(const char *name, bool plugins)
{
    struct fixture f;
    struct err e = {0};
    double logits, loss, grad;
    fixture_open(&f, name);
    if (!open_lab(&f, plugins)) {
        safetensors_close(f.file);
        unit_skip("no plugins were built");
    }
    must(trainer_start(f.lab.t, &e), &e);
    take_teacher(&f);
    compare(&f, "before.", take_weight);
    logits = compare_logits(&f);
    compare_training(&f, &loss, &grad);
    print_message("# %s, %d of %d kernels of ref: relative errors: logits %.1e, "
                  "losses and norms %.1e, gradients %.1e, weights %.1e\n",
                  name, count_rows(&f.lab, " ref/"), count_rows(&f.lab, "\n"), logits,
                  loss, grad, compare(&f, "after.", check_weight));
    hand_close(&f.lab);
    safetensors_close(f.file);
}

static void fixture_ref(void **state)
{
    run_fixture(*state, false);
}

static void fixture_plugins(void **state)
{
    run_fixture(*state, true);
}

/* ------------------------------------------------------------------------- */
/* Experts that are all the same are one dense layer, whoever is chosen.     */

#define TWIN_CONTEXT 12
#define TWIN_BATCH   2
#define TWIN_VOCAB   19

static const char twin_job[] =
    "{data: {train: none, format: lines, tokenizer: char, valid_fraction: 0},"
    " model: {layers: 2, width: 16, heads: 2, ffn: 24, context: 12, vocab: 19,"
    "  init_std: 0.3, %s},"
    " train: {steps: 1, batch: 2, chunks: 1, precision: fp32}}";

static const char *const twin_moe[] = {
    "moe: {experts: 1, top_k: 1, expert_ffn: 24, aux_coef: 0, z_coef: 0}",
    "moe: {experts: 4, top_k: 1, expert_ffn: 24, aux_coef: 0, z_coef: 0}",
    "moe: {experts: 4, top_k: 2, expert_ffn: 24, aux_coef: 0, z_coef: 0}",
    "moe: {experts: 4, top_k: 4, expert_ffn: 24, aux_coef: 0, z_coef: 0}",
    "moe: {experts: 4, top_k: 3, expert_ffn: 24, aux_coef: 0, z_coef: 0,"
    " score: sigmoid}",
};

static void twin_open(struct hand *l, const char *model)
{
    static int32_t id[TWIN_BATCH * (TWIN_CONTEXT + 1)];
    static const int32_t length[TWIN_BATCH] = {TWIN_CONTEXT, TWIN_CONTEXT - 5};
    struct samples s = {.n = TWIN_BATCH, .id = id, .length = length};
    struct err e = {0};
    char job[1000];
    for (int i = 0; i < TWIN_BATCH * (TWIN_CONTEXT + 1); i++)
        id[i] = (i * i + 3 * i) % TWIN_VOCAB;
    snprintf(job, sizeof job, twin_job, model);
    assert_true(hand_open(l, job, &s, false));
    must(trainer_start(l->t, &e), &e);
}

/* The name in the dense model of an expert's weight. */
static void dense_name(const char *name, char *out)
{
    const char *at = strstr(name, ".experts.");
    strcpy(out, name);
    if (at)
        strcpy(out + (at - name), strchr(at + strlen(".experts."), '.'));
}

struct search {
    const char *name;
    struct weight found;
};

static void is_it(struct hand *l, const struct weight *w, void *arg)
{
    struct search *s = arg;
    (void)l;
    if (strcmp(w->name, s->name) == 0)
        s->found = *w;
}

static struct weight find_weight(struct hand *l, const char *name)
{
    struct search s = {.name = name};
    each_weight(l, is_it, &s);
    return s.found;
}

static void take_dense(struct hand *l, const struct weight *w, void *arg)
{
    char name[256];
    struct hand *dense = arg;
    (void)l;
    dense_name(w->name, name);
    struct weight d = find_weight(dense, name);
    if (d.value)
        memcpy(w->value, d.value, (size_t)w->elements * sizeof(float));
}

static bool is_router(const struct weight *w)
{
    return strstr(w->name, ".mlp.gate.weight") != NULL;
}

/* Whether the dense weight's gradient is the sum over experts of theirs. */
struct twin_sum {
    struct hand *moe;
    const struct weight *dense;
    float *sum;
};

static void add_grad(struct hand *l, const struct weight *w, void *arg)
{
    struct twin_sum *s = arg;
    char name[256];
    (void)l;
    dense_name(w->name, name);
    if (strcmp(name, s->dense->name))
        return;
    for (int64_t i = 0; i < w->elements; i++)
        s->sum[i] += w->grad[i];
}

static void check_twin(struct hand *dense, const struct weight *w, void *arg)
{
    struct twin_sum s = {.moe = arg, .dense = w};
    (void)dense;
    s.sum = calloc((size_t)w->elements, sizeof *s.sum);
    assert_non_null(s.sum);
    each_weight(s.moe, add_grad, &s);
    double error = error_of(s.sum, w->grad, w->elements);
    free(s.sum);
    if (!(error <= LIMIT))
        fail_msg("%s: relative error %.2e of the gradient", w->name, error);
}

/* Who is chosen makes no difference, so nothing pulls at the router. */
static void check_router(struct hand *l, const struct weight *w, void *arg)
{
    const double *norm = arg;
    (void)l;
    if (is_router(w))
        assert_true(norm_of(w->grad, w->elements) <= LIMIT * 0.1 * *norm);
}

static void compare_twin(struct hand *dense, struct hand *moe)
{
    float want[TWIN_BATCH * TWIN_CONTEXT * TWIN_VOCAB], got[sizeof want / sizeof *want];
    struct step_report a, b;
    struct err e = {0};
    each_weight(moe, take_dense, dense);
    hand_logits(dense, want);
    hand_logits(moe, got);
    assert_true(error_of(got, want, TWIN_CONTEXT * TWIN_VOCAB) <= LIMIT);
    must(trainer_step(dense->t, &a, &e), &e);
    must(trainer_step(moe->t, &b, &e), &e);
    assert_true(fabs(a.loss - b.loss) <= LIMIT * a.loss);
    each_weight(dense, check_twin, moe);
    each_weight(moe, check_router, &a.grad_norm);
}

static void same_experts_are_dense(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(twin_moe) / sizeof(twin_moe[0]); i++) {
        struct hand dense, moe;
        twin_open(&dense, "norm: rms");
        twin_open(&moe, twin_moe[i]);
        compare_twin(&dense, &moe);
        hand_close(&moe);
        hand_close(&dense);
    }
}

/* ------------------------------------------------------------------------- */

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"llama, ref", fixture_ref, NULL, NULL, "llama"},
        {"llama, plugins", fixture_plugins, NULL, NULL, "llama"},
        {"mixtral, ref", fixture_ref, NULL, NULL, "mixtral"},
        {"mixtral, plugins", fixture_plugins, NULL, NULL, "mixtral"},
        {"qwen3-norm, ref", fixture_ref, NULL, NULL, "qwen3-norm"},
        {"qwen3-norm, plugins", fixture_plugins, NULL, NULL, "qwen3-norm"},
        {"qwen3-raw, ref", fixture_ref, NULL, NULL, "qwen3-raw"},
        {"qwen3-raw, plugins", fixture_plugins, NULL, NULL, "qwen3-raw"},
        {"gpt2, ref", fixture_ref, NULL, NULL, "gpt2"},
        {"gpt2, plugins", fixture_plugins, NULL, NULL, "gpt2"},
        {"encdec-post, ref", fixture_ref, NULL, NULL, "encdec-post"},
        {"encdec-post, plugins", fixture_plugins, NULL, NULL, "encdec-post"},
        {"encdec-pre, ref", fixture_ref, NULL, NULL, "encdec-pre"},
        {"encdec-pre, plugins", fixture_plugins, NULL, NULL, "encdec-pre"},
        {"encdec-relu, ref", fixture_ref, NULL, NULL, "encdec-relu"},
        {"encdec-relu, plugins", fixture_plugins, NULL, NULL, "encdec-relu"},
        {"rnnlm-rnn, ref", fixture_ref, NULL, NULL, "rnnlm-rnn"},
        {"rnnlm-rnn, plugins", fixture_plugins, NULL, NULL, "rnnlm-rnn"},
        {"rnnlm-gru, ref", fixture_ref, NULL, NULL, "rnnlm-gru"},
        {"rnnlm-gru, plugins", fixture_plugins, NULL, NULL, "rnnlm-gru"},
        {"rnnlm-lstm, ref", fixture_ref, NULL, NULL, "rnnlm-lstm"},
        {"rnnlm-lstm, plugins", fixture_plugins, NULL, NULL, "rnnlm-lstm"},
        {"rnnlm-lines, ref", fixture_ref, NULL, NULL, "rnnlm-lines"},
        {"rnnlm-lines, plugins", fixture_plugins, NULL, NULL, "rnnlm-lines"},
        {"seq2seq-rnn, ref", fixture_ref, NULL, NULL, "seq2seq-rnn"},
        {"seq2seq-rnn, plugins", fixture_plugins, NULL, NULL, "seq2seq-rnn"},
        {"seq2seq-lstm, ref", fixture_ref, NULL, NULL, "seq2seq-lstm"},
        {"seq2seq-lstm, plugins", fixture_plugins, NULL, NULL, "seq2seq-lstm"},
        {"seq2seq-none, ref", fixture_ref, NULL, NULL, "seq2seq-none"},
        {"seq2seq-none, plugins", fixture_plugins, NULL, NULL, "seq2seq-none"},
        {"seq2seq-additive, ref", fixture_ref, NULL, NULL, "seq2seq-additive"},
        {"seq2seq-additive, plugins", fixture_plugins, NULL, NULL, "seq2seq-additive"},
        {"seq2seq-dot, ref", fixture_ref, NULL, NULL, "seq2seq-dot"},
        {"seq2seq-dot, plugins", fixture_plugins, NULL, NULL, "seq2seq-dot"},
        {"seq2seq-before, ref", fixture_ref, NULL, NULL, "seq2seq-before"},
        {"seq2seq-before, plugins", fixture_plugins, NULL, NULL, "seq2seq-before"},
        {"seq2seq-concat, ref", fixture_ref, NULL, NULL, "seq2seq-concat"},
        {"seq2seq-concat, plugins", fixture_plugins, NULL, NULL, "seq2seq-concat"},
        {"seq2seq-own, ref", fixture_ref, NULL, NULL, "seq2seq-own"},
        {"seq2seq-own, plugins", fixture_plugins, NULL, NULL, "seq2seq-own"},
        {"rnnlm-own, ref", fixture_ref, NULL, NULL, "rnnlm-own"},
        {"rnnlm-own, plugins", fixture_plugins, NULL, NULL, "rnnlm-own"},
        {"encdec-own, ref", fixture_ref, NULL, NULL, "encdec-own"},
        {"encdec-own, plugins", fixture_plugins, NULL, NULL, "encdec-own"},
        {"seq2seq-taught, ref", fixture_ref, NULL, NULL, "seq2seq-taught"},
        {"seq2seq-taught, plugins", fixture_plugins, NULL, NULL, "seq2seq-taught"},
        {"rnnlm-taught, ref", fixture_ref, NULL, NULL, "rnnlm-taught"},
        {"rnnlm-taught, plugins", fixture_plugins, NULL, NULL, "rnnlm-taught"},
        cmocka_unit_test(same_experts_are_dense),
    };
    return cmocka_run_group_tests_name("parity", tests, NULL, NULL);
}
