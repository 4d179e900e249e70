/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spec_check.c - the fields of a resolved job against each other.
 *
 * Ranges have been checked: no divisor below is 0.  A check names one key, the
 * one a person would most likely change, and the place of whichever of the keys
 * was written down.  What depends on data, machine or memory is the plan's.
 */
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "proto/spec_impl.h"

/* More parameters, or tokens per step, than any index of the engine holds. */
#define PARAMETERS_MAX 1e13
#define TOKENS_MAX     2147483647.0

typedef int check_f(const struct spec *s, const Nnd__Job *j, struct err *e);

/* Said behind a value that nobody wrote down. */
static const char *note(const struct spec *s, const char *path)
{
    switch (spec_origin_of(s, rule_find(path))->kind) {
    case ORIGIN_DEFAULT:
        return ", default";
    case ORIGIN_COMPUTED:
        return ", computed";
    default:
        return "";
    }
}

/* The text of a double, in one of a few buffers that take turns. */
static const char *number(double x)
{
    static _Thread_local char texts[4][32];
    static _Thread_local unsigned turn;
    char *text = texts[turn++ % 4];
    struct buf b = {0};

    field_print_double(x, &b);
    snprintf(text, sizeof(texts[0]), "%s", b.data);
    buf_free(&b);
    return text;
}

/* value must divide, or be divided by, what another key says. */
static int want_divisor(const struct spec *s, const char *path, uint32_t value,
                        const char *of, uint32_t total, struct err *e)
{
    if (total % value == 0)
        return 0;
    return spec_refuse(s, e, path, of, "wanted a divisor of %s (%u%s), found %u%s", of,
                       total, note(s, of), value, note(s, path));
}

static int want_multiple(const struct spec *s, const char *path, uint32_t value,
                         const char *of, uint32_t unit, struct err *e)
{
    uint32_t below = value / unit * unit;

    if (value == below)
        return 0;
    return spec_refuse(s, e, path, of,
                       "wanted a multiple of %s (%u%s), found %u%s; nearest %s%.0u%s%u",
                       of, unit, note(s, of), value, note(s, path),
                       below ? "are " : "is ", below, below ? " and " : "",
                       below + unit);
}

static int want_at_most(const struct spec *s, const char *path, double value,
                        const char *other, double most, struct err *e)
{
    if (value <= most)
        return 0;
    return spec_refuse(s, e, path, other, "wanted at most %s (%s%s), found %s%s", other,
                       number(most), note(s, other), number(value), note(s, path));
}

static int want_power_of_two(const struct spec *s, const char *path, uint32_t value,
                             struct err *e)
{
    if ((value & (value - 1)) == 0)
        return 0;
    return spec_refuse(s, e, path, NULL, "wanted a power of two, found %u", value);
}

/* What a family is, for the checks below. */
static const struct family {
    bool reads, recurrent;
} families[] = {
    [NND__MODEL__FAMILY__DECODER] = {false, false},
    [NND__MODEL__FAMILY__ENCDEC] = {true, false},
    [NND__MODEL__FAMILY__RNNLM] = {false, true},
    [NND__MODEL__FAMILY__SEQ2SEQ] = {true, true},
};

static int check_heads(const struct spec *s, const Nnd__Job *j, struct err *e)
{
    const Nnd__Model *m = j->model;
    const struct rule *head_dim = rule_find("model.head_dim");

    if (families[m->family].recurrent)
        return 0;
    if (want_divisor(s, "model.kv_heads", m->kv_heads, "model.heads", m->heads, e))
        return ERR_SPEC;
    if (m->head_dim == 0)
        return want_multiple(s, "model.width", m->width, "model.heads", m->heads, e);
    if (m->head_dim > head_dim->max)
        return spec_refuse(s, e, "model.head_dim", "model.width",
                           "wanted at most %.0f, found %u%s", head_dim->max,
                           m->head_dim, note(s, "model.head_dim"));
    return 0;
}

static int check_position(const struct spec *s, const Nnd__Job *j, struct err *e)
{
    const Nnd__Model *m = j->model;

    if (m->position != NND__MODEL__POSITION__ROPE || m->head_dim % 2 == 0 ||
        families[m->family].recurrent)
        return 0;
    return spec_refuse(s, e, "model.head_dim", "model.heads",
                       "wanted an even number for model.position rope, found %u%s",
                       m->head_dim, note(s, "model.head_dim"));
}

/* Keys of a section that do nothing without one of it, which was forgotten.  Who says
 * by that one that there is to be nothing may leave the others. */
static int check_wanted(const struct spec *s, const Nnd__Job *j, struct err *e)
{
    static const struct {
        const char *section, *key;
    } sections[] = {{"model.moe.", "model.moe.experts"},
                    {"distill.", "distill.teacher"}};

    (void)j;
    for (size_t k = 0; k < sizeof(sections) / sizeof(sections[0]); k++)
        for (size_t i = 0; i < nrules && !spec_is_given(s, sections[k].key); i++)
            if (str_starts(rules[i].path, sections[k].section) &&
                spec_is_given(s, rules[i].path))
                return spec_refuse(s, e, rules[i].path, NULL,
                                   "wanted %s beside it, found none", sections[k].key);
    return 0;
}

static int check_experts(const struct spec *s, const Nnd__Job *j, struct err *e)
{
    const Nnd__Moe *moe = j->model->moe;

    if (moe->experts == 0)
        return 0;
    if (moe->bias_rate > 0 && moe->score != NND__MOE__SCORE__SIGMOID)
        return spec_refuse(s, e, "model.moe.bias_rate", "model.moe.score",
                           "wanted 0 unless model.moe.score is sigmoid, found %s",
                           number(moe->bias_rate));
    return want_at_most(s, "model.moe.top_k", moe->top_k, "model.moe.experts",
                        moe->experts, e);
}

/* Layers are counted through: those that read the source come first. */
static uint32_t all_layers(const Nnd__Model *m)
{
    return m->encoder_layers + m->layers;
}

static bool is_dense(const Nnd__Moe *moe, uint32_t layer)
{
    for (size_t i = 0; i < moe->n_dense_layers; i++)
        if (moe->dense_layers[i] == layer)
            return true;
    return (layer + 1) % moe->every != 0;
}

static int check_dense_layers(const struct spec *s, const Nnd__Job *j, struct err *e)
{
    const Nnd__Moe *moe = j->model->moe;
    static const char path[] = "model.moe.dense_layers";

    for (size_t i = 0; i < moe->n_dense_layers; i++) {
        if (moe->dense_layers[i] >= all_layers(j->model))
            return spec_refuse(s, e, path, "model.layers",
                               "wanted numbers below model.layers (%u%s), found %u",
                               all_layers(j->model), note(s, "model.layers"),
                               moe->dense_layers[i]);
        for (size_t k = 0; k < i; k++)
            if (moe->dense_layers[k] == moe->dense_layers[i])
                return spec_refuse(s, e, path, NULL,
                                   "wanted each layer once, found %u again",
                                   moe->dense_layers[i]);
    }
    return 0;
}

static int check_moe_layers(const struct spec *s, const Nnd__Job *j, struct err *e)
{
    const Nnd__Moe *moe = j->model->moe;

    if (moe->experts == 0)
        return 0;
    for (uint32_t layer = 0; layer < all_layers(j->model); layer++)
        if (!is_dense(moe, layer))
            return 0;
    return spec_refuse(
        s, e, "model.moe.experts", "model.layers",
        "wanted a layer to put them in, found that model.moe.every (%u%s) "
        "and model.moe.dense_layers keep all %u layers dense",
        moe->every, note(s, "model.moe.every"), all_layers(j->model));
}

static double count_parameters(const Nnd__Model *m)
{
    const Nnd__Moe *moe = m->moe;
    double width = m->width,
           matrices = m->activation == NND__MODEL__ACTIVATION__SWIGLU ? 3 : 2;
    double attention = width * m->head_dim * (2.0 * m->heads + 2.0 * m->kv_heads);
    double dense = matrices * width * m->ffn;
    double experts = matrices * width * moe->expert_ffn *
                     ((double)moe->experts + moe->shared_experts);
    double total = width * m->vocab * (m->tie_embeddings ? 1 : 2);

    if (m->position == NND__MODEL__POSITION__LEARNED)
        total += width * m->context;
    for (uint32_t layer = 0; layer < all_layers(m); layer++)
        total +=
            attention + (moe->experts == 0 || is_dense(moe, layer) ? dense : experts);
    if (m->encoder_layers)
        total +=
            attention * m->layers + (m->share_embeddings ? 0 : width * m->source_vocab);
    return total;
}

static int check_size(const struct spec *s, const Nnd__Job *j, struct err *e)
{
    const char *path = j->model->moe->experts > 1 ? "model.moe.experts" : "model.width";
    double found = count_parameters(j->model);
    double tokens = (double)j->train->batch *
                    ((double)j->model->context + j->model->source_context);

    if (found > PARAMETERS_MAX)
        return spec_refuse(s, e, path, NULL,
                           "wanted a model of at most %s parameters, found %.3g",
                           number(PARAMETERS_MAX), found);
    if (tokens > TOKENS_MAX)
        return spec_refuse(s, e, "train.batch", "model.context",
                           "wanted at most %.0f tokens per step (train.batch x "
                           "model.context), found %.0f",
                           TOKENS_MAX, tokens);
    return 0;
}

/* Families that read a source, and data that has one. */
static int check_family(const struct spec *s, const Nnd__Job *j, struct err *e)
{
    const Nnd__Model *m = j->model;
    bool reads = families[m->family].reads;

    if (reads && !spec_is_pairs(j))
        return spec_refuse(s, e, "data.format", "model.family",
                           "wanted pairs for a model.family that reads a source");
    if (!reads && spec_is_pairs(j))
        return spec_refuse(s, e, "model.family", "data.format",
                           "wanted one that reads a source (encdec, seq2seq) for "
                           "data.format pairs");
    if (m->norm_place != NND__MODEL__NORM_PLACE__PRE &&
        m->family != NND__MODEL__FAMILY__ENCDEC)
        return spec_refuse(s, e, "model.norm_place", "model.family",
                           "wanted pre unless model.family is encdec");
    if (m->share_embeddings && (!reads || !j->data->share_vocab))
        return spec_refuse(s, e, "model.share_embeddings", "data.share_vocab",
                           "wanted data.share_vocab and a model.family that reads a "
                           "source beside it");
    return 0;
}

/* What is said of a source, or of cells, where there are none. */
static int check_unread(const struct spec *s, const Nnd__Job *j, struct err *e)
{
    const Nnd__Model *m = j->model;
    const struct {
        const char *path;
        uint32_t value;
    } keys[] = {{"model.encoder_layers", m->encoder_layers},
                {"model.source_context", m->source_context},
                {"model.source_vocab", m->source_vocab}};

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        if (keys[i].value && !families[m->family].reads)
            return spec_refuse(s, e, keys[i].path, "model.family",
                               "wanted 0 unless model.family reads a source (encdec, "
                               "seq2seq), found %u",
                               keys[i].value);
    if (m->cell == NND__MODEL__CELL__GRU || families[m->family].recurrent)
        return 0;
    return spec_refuse(s, e, "model.cell", "model.family",
                       "wanted gru, the default, unless model.family is rnnlm or "
                       "seq2seq");
}

/* Ids of one of both lists, for a model that goes on with a text. */
static int check_ids(const struct spec *s, const char *path, size_t n,
                     const uint32_t *id, struct err *e)
{
    const Nnd__Model *m = s->job->model;

    if (n && families[m->family].reads)
        return spec_refuse(s, e, path, "model.family",
                           "wanted none: a model that reads a source begins with <bos> "
                           "and ends with <eos>");
    for (size_t i = 0; m->vocab && i < n; i++)
        if (id[i] >= m->vocab)
            return spec_refuse(s, e, path, "model.vocab",
                               "wanted ids below model.vocab (%u%s), found %u",
                               m->vocab, note(s, "model.vocab"), id[i]);
    return 0;
}

static int check_ends(const struct spec *s, const Nnd__Job *j, struct err *e)
{
    const Nnd__Model *m = j->model;

    if (check_ids(s, "model.begins", m->n_begins, m->begins, e) < 0)
        return ERR_SPEC;
    return check_ids(s, "model.ends", m->n_ends, m->ends, e);
}

/* Recurrent families, and what belongs to them alone. */
static int check_recurrent(const struct spec *s, const Nnd__Job *j, struct err *e)
{
    const Nnd__Model *m = j->model;
    const struct family *f = &families[m->family];

    if (m->bidirectional && !f->reads)
        return spec_refuse(s, e, "model.bidirectional", "model.family",
                           "wanted false: a model that writes from left to right would "
                           "see the tokens that it is asked for");
    if ((m->bidirectional || m->attention != NND__ATTEND__NONE) &&
        m->family != NND__MODEL__FAMILY__SEQ2SEQ)
        return spec_refuse(s, e,
                           m->bidirectional ? "model.bidirectional" : "model.attention",
                           "model.family", "wanted it for model.family seq2seq alone");
    if (m->attention_place != NND__MODEL__ATTENTION_PLACE__BEHIND &&
        m->attention == NND__ATTEND__NONE)
        return spec_refuse(s, e, "model.attention_place", "model.attention",
                           "wanted behind unless model.attention is additive or dot");
    if (m->merge != NND__MODEL__MERGE__SUM && (!m->bidirectional || m->width % 2))
        return spec_refuse(s, e, "model.merge", "model.bidirectional",
                           "wanted sum unless model.bidirectional is true and "
                           "model.width (%u) even, a half for each direction",
                           m->width);
    if (f->recurrent && m->moe->experts > 0)
        return spec_refuse(s, e, "model.moe.experts", "model.family",
                           "wanted 0: recurrent families have no feed-forward part");
    if (f->recurrent && f->reads && m->encoder_layers != m->layers)
        return spec_refuse(
            s, e, "model.encoder_layers", "model.layers",
            "wanted as many as model.layers (%u%s), since each hands its "
            "state on to one, found %u",
            m->layers, note(s, "model.layers"), m->encoder_layers);
    if (j->data->sampling == NND__DATA__SAMPLING__SEQUENTIAL &&
        (m->family != NND__MODEL__FAMILY__RNNLM ||
         j->data->format != NND__DATA__FORMAT__STREAM))
        return spec_refuse(s, e, "data.sampling", "model.family",
                           "wanted random unless model.family is rnnlm and data.format "
                           "stream: nothing else carries a state on");
    return 0;
}

static int check_data(const struct spec *s, const Nnd__Job *j, struct err *e)
{
    const Nnd__Data *d = j->data;

    if (d->n_train == 0)
        return spec_refuse(s, e, "data.train", NULL,
                           "wanted at least one file or folder, found none");
    if (d->n_valid > 0 && d->valid_fraction > 0)
        return spec_refuse(s, e, "data.valid_fraction", NULL,
                           "wanted 0 beside data.valid, found %s",
                           number(d->valid_fraction));
    return 0;
}

static int check_validation(const struct spec *s, const Nnd__Job *j, struct err *e)
{
    const Nnd__Data *d = j->data;

    if (j->train->valid_every == 0 || d->n_valid > 0 || d->valid_fraction > 0)
        return 0;
    return spec_refuse(
        s, e, "train.valid_every", NULL,
        "wanted 0 since data.valid and data.valid_fraction leave nothing "
        "to validate on, found %u",
        j->train->valid_every);
}

static int check_recompute(const struct spec *s, const Nnd__Job *j, struct err *e)
{
    static const char path[] = "train.recompute_layers";
    const Nnd__Train *t = j->train;

    if (t->recompute_layers == 0)
        return 0;
    if (t->recompute != NND__TRAIN__RECOMPUTE__BLOCKS)
        return spec_refuse(s, e, path, "train.recompute",
                           "wanted 0 unless train.recompute is blocks, found %u",
                           t->recompute_layers);
    if (families[j->model->family].recurrent)
        return spec_refuse(s, e, path, "model.family",
                           "wanted 0: recurrent families run no layer again");
    if (t->recompute_layers > all_layers(j->model))
        return spec_refuse(
            s, e, path, "model.layers", "wanted at most all layers (%u%s), found %u",
            all_layers(j->model), note(s, "model.layers"), t->recompute_layers);
    return 0;
}

/* What belongs to a kind of decay: k of 0 has been worked out by now. */
static int check_teacher(const struct spec *s, const Nnd__Job *j, struct err *e)
{
    const Nnd__Train *t = j->train;
    bool linear = t->teacher == NND__TRAIN__TEACHER__LINEAR_DECAY;

    if (t->teacher == NND__TRAIN__TEACHER__ALWAYS && t->teacher_k > 0)
        return spec_refuse(s, e, "train.teacher_k", "train.teacher",
                           "wanted train.teacher beside it, found always");
    if (t->teacher == NND__TRAIN__TEACHER__ALWAYS &&
        t->teacher_own != NND__TRAIN__TEACHER_OWN__ARGMAX)
        return spec_refuse(s, e, "train.teacher_own", "train.teacher",
                           "wanted train.teacher beside it, found always");
    if (!linear && (t->teacher_c > 0 || t->teacher_min > 0))
        return spec_refuse(
            s, e, t->teacher_c > 0 ? "train.teacher_c" : "train.teacher_min",
            "train.teacher", "wanted 0 unless train.teacher is linear_decay");
    if (linear && t->teacher_k > 1)
        return spec_refuse(s, e, "train.teacher_k", "train.teacher",
                           "wanted a share, at most 1, for linear_decay, found %s",
                           number(t->teacher_k));
    if (t->teacher == NND__TRAIN__TEACHER__EXPONENTIAL && t->teacher_k >= 1)
        return spec_refuse(s, e, "train.teacher_k", "train.teacher",
                           "wanted less than 1 for exponential, found %s",
                           number(t->teacher_k));
    if (t->teacher == NND__TRAIN__TEACHER__INVERSE_SIGMOID && t->teacher_k < 1)
        return spec_refuse(s, e, "train.teacher_k", "train.teacher",
                           "wanted at least 1 for inverse_sigmoid, found %s",
                           number(t->teacher_k));
    return 0;
}

/* Who stops for want of a better value has to know which, and to look. */
static int check_distill(const struct spec *s, const Nnd__Job *j, struct err *e)
{
    if (!j->distill || !*j->distill->teacher)
        return 0;
    if (j->train->label_smoothing > 0)
        return spec_refuse(s, e, "train.label_smoothing", "distill.teacher",
                           "wanted 0 beside distill.teacher, found %s",
                           number(j->train->label_smoothing));
    if (j->train->teacher != NND__TRAIN__TEACHER__ALWAYS)
        return spec_refuse(s, e, "train.teacher", "distill.teacher",
                           "wanted always beside distill.teacher");
    if (j->data->sampling == NND__DATA__SAMPLING__SEQUENTIAL)
        return spec_refuse(s, e, "data.sampling", "distill.teacher",
                           "wanted random beside distill.teacher, found sequential");
    return 0;
}

static int check_best(const struct spec *s, const Nnd__Job *j, struct err *e)
{
    const Nnd__Train *t = j->train;

    if (t->patience > 0 && t->best == NND__TRAIN__BEST__NONE)
        return spec_refuse(s, e, "train.patience", "train.best",
                           "wanted 0 unless train.best says what is to get better, "
                           "found %u",
                           t->patience);
    if (t->best >= NND__TRAIN__BEST__BLEU && !spec_is_pairs(j))
        return spec_refuse(s, e, "train.best", "data.format",
                           "wanted loss, perplexity or bits_per_char: scores of texts "
                           "need data.format pairs");
    if (t->best != NND__TRAIN__BEST__NONE && t->valid_every == 0)
        return spec_refuse(s, e, "train.best", "train.valid_every",
                           "wanted train.valid_every above 0 beside it%s",
                           note(s, "train.valid_every"));
    return 0;
}

static int check_batch(const struct spec *s, const Nnd__Job *j, struct err *e)
{
    const Nnd__Train *t = j->train;

    if (want_power_of_two(s, "train.chunks", t->chunks, e))
        return ERR_SPEC;
    if (t->batch == 0 && t->batch_tokens > 0)
        return spec_refuse(s, e, "train.batch_tokens", "train.batch",
                           "wanted 0: train.batch fit works it out, found %u",
                           t->batch_tokens);
    return want_multiple(s, "train.batch", t->batch, "train.chunks", t->chunks, e);
}

/* Samples side by side, up to so many tokens. */
static int check_tokens(const struct spec *s, const Nnd__Job *j, struct err *e)
{
    const Nnd__Train *t = j->train;
    uint32_t rows = t->batch_tokens / t->chunks;
    uint32_t longest = j->model->context > j->model->source_context
                           ? j->model->context
                           : j->model->source_context;

    if (t->batch_tokens == 0)
        return 0;
    if (!families[j->model->family].reads)
        return spec_refuse(
            s, e, "train.batch_tokens", "model.family",
            "wanted 0 unless model.family is encdec or seq2seq, found %u",
            t->batch_tokens);
    if (j->model->moe->aux_scope == NND__MOE__AUX_SCOPE__SEQUENCE)
        return spec_refuse(s, e, "model.moe.aux_scope", "train.batch_tokens",
                           "wanted chunk beside train.batch_tokens");
    if (want_multiple(s, "train.batch_tokens", t->batch_tokens, "train.chunks",
                      t->chunks, e))
        return ERR_SPEC;
    if (rows >= longest)
        return 0;
    return spec_refuse(s, e, "train.batch_tokens", "model.context",
                       "wanted at least %u, room for the longest sample in each of "
                       "train.chunks (%u%s), found %u",
                       longest * t->chunks, t->chunks, note(s, "train.chunks"),
                       t->batch_tokens);
}

static int check_schedule(const struct spec *s, const Nnd__Job *j, struct err *e)
{
    const Nnd__Train *t = j->train;

    if (want_at_most(s, "train.min_lr", t->min_lr, "train.lr", t->lr, e) ||
        want_at_most(s, "train.warmup", t->warmup, "train.steps", t->steps, e))
        return ERR_SPEC;
    if (t->schedule == NND__TRAIN__SCHEDULE__CONSTANT)
        return 0;
    if (t->schedule == NND__TRAIN__SCHEDULE__NOAM ||
        t->schedule == NND__TRAIN__SCHEDULE__INVERSE_SQRT)
        return t->warmup ? 0
                         : spec_refuse(s, e, "train.warmup", "train.schedule",
                                       "wanted at least 1 for schedules noam and "
                                       "inverse_sqrt, found 0");
    if (t->schedule != NND__TRAIN__SCHEDULE__WSD)
        return want_at_most(s, "train.warmup", t->warmup, "train.decay_steps",
                            t->decay_steps, e);
    if ((double)t->warmup + t->decay_steps <= t->steps)
        return 0;
    return spec_refuse(s, e, "train.decay_steps", "train.warmup",
                       "wanted train.warmup (%u%s) and the decay to fit into "
                       "train.steps (%u%s), found %u%s",
                       t->warmup, note(s, "train.warmup"), t->steps,
                       note(s, "train.steps"), t->decay_steps,
                       note(s, "train.decay_steps"));
}

/* The axes of the mesh that are still to be built. */
static int check_axes(const struct spec *s, const Nnd__Job *j, struct err *e)
{
    const struct {
        const char *path;
        uint32_t value;
    } axes[] = {
        {"parallel.tp", j->parallel->tp},     {"parallel.pp", j->parallel->pp},
        {"parallel.cp", j->parallel->cp},     {"parallel.etp", j->parallel->etp},
        {"parallel.zero", j->parallel->zero},
    };

    for (size_t i = 0; i < sizeof(axes) / sizeof(axes[0]); i++)
        if (axes[i].value != 1)
            return spec_refuse(s, e, axes[i].path, NULL,
                               "not available yet, wanted 1, found %u", axes[i].value);
    return 0;
}

static int check_mesh(const struct spec *s, const Nnd__Job *j, struct err *e)
{
    const Nnd__Parallel *p = j->parallel;
    uint32_t experts = j->model->moe->experts;

    if (want_power_of_two(s, "parallel.dp", p->dp, e) ||
        want_divisor(s, "parallel.dp", p->dp, "train.chunks", j->train->chunks, e) ||
        want_divisor(s, "parallel.ep", p->ep, "parallel.dp", p->dp, e))
        return ERR_SPEC;
    if (p->ep > 1 && experts == 0)
        return spec_refuse(s, e, "parallel.ep", "model.moe.experts",
                           "wanted 1 for a model without experts, found %u", p->ep);
    return want_divisor(s, "parallel.ep", p->ep, "model.moe.experts", experts, e);
}

/* The text is for the reference page. */
static const struct {
    check_f *run;
    const char *text;
} checks[] = {
    {check_heads,
     "model.heads is a multiple of model.kv_heads, and model.width one of model.heads "
     "unless model.head_dim is given."},
    {check_position, "Position rope needs an even model.head_dim."},
    {spec_check_vocab, "For bytes, model.vocab is 0 or at least 256, and with pairs, "
                       "as source_vocab, 260."},
    {check_family,
     "Families that read a source (encdec, seq2seq) have data.format pairs, others "
     "have "
     "not; model.norm_place post is for encdec; model.share_embeddings needs "
     "data.share_vocab."},
    {check_unread,
     "model.encoder_layers, source_context and source_vocab belong to families that "
     "read a source, and a model.cell other than gru to recurrent ones."},
    {check_ends, "model.begins and model.ends are ids below model.vocab, unless that "
                 "is 0, and belong "
                 "to families that read no source."},
    {check_recurrent,
     "model.attention and model.bidirectional belong to seq2seq, whose encoder_layers "
     "are "
     "as many as layers; model.attention_place needs model.attention, and model.merge "
     "concat model.bidirectional and an even model.width; recurrent families have no "
     "experts; data.sampling sequential "
     "belongs to rnnlm and data.format stream."},
    {check_wanted,
     "Keys of model.moe need model.moe.experts beside them, and those of distill "
     "distill.teacher."},
    {check_experts,
     "model.moe.top_k is at most model.moe.experts; model.moe.bias_rate is 0 unless "
     "model.moe.score is sigmoid."},
    {check_dense_layers,
     "model.moe.dense_layers names layers that there are, each once."},
    {check_moe_layers, "A model with experts has at least one layer with experts."},
    {check_size, "A model has at most 1e13 parameters, and a step (train.batch x "
                 "model.context, and its sources) at "
                 "most 2147483647 tokens."},
    {check_data, "data.valid and a data.valid_fraction above 0 exclude each other."},
    {spec_check_data_keys,
     "data.source, valid_source, columns and share_vocab belong to data.format pairs; "
     "data.columns to pairs in one file; data.valid_source beside data.source and "
     "data.valid; data.max_words and split to data.tokenizer word, data.min_count to "
     "word, bpe and char with pairs, data.vocab_size to bpe and sentencepiece, which "
     "is for pairs; beside "
     "data.tokenizer_file stands data.tokenizer and nothing of what would be learned, "
     "and with pairs data.share_vocab or data.source_tokenizer_file."},
    {spec_check_vocab_size, "data.vocab_size is at least 256, with pairs 260, or 0."},
    {check_validation,
     "Without data to validate on, train.valid_every is 0 or left out."},
    {check_teacher,
     "train.teacher_k, _c, _min and _own need train.teacher: for linear_decay k is at "
     "most 1, c and min belong to it alone; for exponential k is below 1, for "
     "inverse_sigmoid at least 1."},
    {check_recompute,
     "train.recompute_layers belongs to train.recompute blocks and to families that "
     "are not recurrent, and is at most the number of layers, of both sides."},
    {check_distill,
     "distill.teacher leaves train.label_smoothing 0, train.teacher always and "
     "data.sampling random."},
    {check_best,
     "train.best needs train.valid_every, and train.patience train.best; scores of "
     "texts (bleu, chrf, rouge) need data.format pairs."},
    {check_batch,
     "train.chunks is a power of two, and train.batch a multiple of train.chunks; "
     "train.batch fit is "
     "worked out when the job is submitted, and leaves train.batch_tokens 0."},
    {check_tokens,
     "train.batch_tokens is for encdec and seq2seq, a multiple of train.chunks, and "
     "leaves room for "
     "one sample of model.context or source_context tokens in each chunk; train.batch "
     "then is the most samples of a step, and model.moe.aux_scope is chunk."},
    {check_schedule,
     "train.min_lr is at most train.lr; train.warmup is at most train.steps and "
     "train.decay_steps; for wsd the two fit into train.steps together; noam and "
     "inverse_sqrt have a train.warmup of at least 1, and know no min_lr: noam's rate "
     "is "
     "lr x width^-1/2 x min(s^-1/2, s x warmup^-3/2), that of inverse_sqrt reaches lr "
     "at "
     "the end of warm-up and then is lr x sqrt(warmup / s), s being the step from 1."},
    {check_axes, "Axes of the mesh that are not available yet are 1."},
    {check_mesh,
     "parallel.dp is a power of two and divides train.chunks; parallel.ep divides "
     "parallel.dp and model.moe.experts, and is 1 without experts."},
    {spec_check_kernels,
     "Kernel rules and devices are letters, digits and -_.:/ with the signs shown; a "
     "rule's OP may be narrowed to OP/DTYPE@DEVICE. kernels.tune needs train.mode "
     "fast and kernels.device cpu."},
};

#define NCHECKS (sizeof(checks) / sizeof(checks[0]))

int spec_check(const struct spec *s, struct err *e)
{
    for (size_t i = 0; i < NCHECKS; i++)
        if (checks[i].run(s, s->job, e))
            return ERR_SPEC;
    return 0;
}

const char *spec_combination(size_t i)
{
    return i < NCHECKS ? checks[i].text : NULL;
}
