/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spec_resolve.c - every field present: defaults, then values that follow from
 * others.
 *
 * A 0 that stands for "work it out" is worked out here, once, and so are
 * defaults that would contradict what a person wrote (a warm-up longer than the
 * job).  Each rule leaves its own result alone, so that resolving twice changes
 * nothing.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/spec_impl.h"

static void fill_defaults(struct spec *s)
{
    ProtobufCMessage *m;
    const ProtobufCFieldDescriptor *d;

    for (size_t i = 0; i < s->schema->nrules; i++) {
        const struct rule *r = &s->schema->rules[i];

        if (spec_rule_is_given(s, r))
            continue;
        spec_locate(s, r, &m, &d);
        field_set_default(m, d, s->arena);
        s->origins[i] = (struct origin){.kind = ORIGIN_DEFAULT};
    }
}

static int check_ranges(const struct spec *s, struct err *e)
{
    ProtobufCMessage *m;
    const ProtobufCFieldDescriptor *d;

    for (size_t i = 0; i < s->schema->nrules; i++) {
        const struct rule *r = &s->schema->rules[i];

        spec_locate(s, r, &m, &d);
        if (r->items && field_count(m, d) > r->items)
            return spec_refuse(s, e, r->path, NULL,
                               "wanted at most %u values, found %zu", r->items,
                               field_count(m, d));
        for (size_t k = 0; k < field_count(m, d); k++)
            if (rule_check(r, d, field_value(m, d, k), e))
                return spec_refuse_prefixed(s, e, r->path, NULL);
    }
    return 0;
}

static void computed(struct spec *s, const char *path, const char *why)
{
    *spec_origin_of(s, rule_find(path)) =
        (struct origin){.kind = ORIGIN_COMPUTED, .text = why};
}

static void set_uint32(struct spec *s, const char *path, uint32_t *value,
                       uint32_t result, const char *why)
{
    *value = result;
    computed(s, path, why);
}

static uint32_t round_up(uint32_t x, uint32_t multiple)
{
    return (x + multiple - 1) / multiple * multiple;
}

/* SwiGLU has three matrices where GELU has two: 2/3 of the width is as many
 * parameters (Shazeer 2020). */
static void compute_ffn(struct spec *s, Nnd__Model *m)
{
    if (m->activation == NND__MODEL__ACTIVATION__SWIGLU)
        set_uint32(s, "model.ffn", &m->ffn, round_up((8 * m->width + 2) / 3, 8),
                   "8/3 x width, a multiple of 8");
    else
        set_uint32(s, "model.ffn", &m->ffn, 4 * m->width, "4 x width");
}

static bool is_recurrent(const Nnd__Model *m)
{
    return m->family == NND__MODEL__FAMILY__RNNLM ||
           m->family == NND__MODEL__FAMILY__SEQ2SEQ;
}

/* What reads a source is as large as what writes the target. */
static void compute_source(struct spec *s, Nnd__Model *m)
{
    if (m->family != NND__MODEL__FAMILY__ENCDEC &&
        m->family != NND__MODEL__FAMILY__SEQ2SEQ)
        return;
    if (m->encoder_layers == 0)
        set_uint32(s, "model.encoder_layers", &m->encoder_layers, m->layers,
                   "as many as layers");
    if (m->source_context == 0)
        set_uint32(s, "model.source_context", &m->source_context, m->context,
                   "as many as context");
}

/* Cells have biases, and weights that must not be so small that a state forgets at
 * once: the deviation of the uniform numbers that PyTorch begins with. */
static void compute_cells(struct spec *s, Nnd__Model *m)
{
    char text[32];

    if (!is_recurrent(m))
        return;
    if (!spec_is_given(s, "model.bias") && !m->bias) {
        m->bias = 1;
        computed(s, "model.bias", "cells have them");
    }
    if (!spec_is_given(s, "model.scale_embeddings") && !m->scale_embeddings) {
        m->scale_embeddings = 1;
        computed(s, "model.scale_embeddings", "cells want numbers of about 1");
    }
    if (spec_is_given(s, "model.init_std"))
        return;
    snprintf(text, sizeof(text), "%.3g", 1 / sqrt(3.0 * m->width));
    m->init_std = strtod(text, NULL);
    computed(s, "model.init_std", "1 / sqrt(3 x width)");
}

static void compute_model(struct spec *s, Nnd__Model *m)
{
    Nnd__Moe *moe = m->moe;

    if (m->kv_heads == 0)
        set_uint32(s, "model.kv_heads", &m->kv_heads, m->heads, "as many as heads");
    if (m->head_dim == 0 && m->width % m->heads == 0)
        set_uint32(s, "model.head_dim", &m->head_dim, m->width / m->heads,
                   "width / heads");
    if (m->ffn == 0)
        compute_ffn(s, m);
    compute_source(s, m);
    compute_cells(s, m);
    if (moe->expert_ffn == 0 && moe->experts > 0) {
        uint32_t share = m->ffn / moe->top_k;

        set_uint32(s, "model.moe.expert_ffn", &moe->expert_ffn, share ? share : 1,
                   "ffn / top_k");
    }
}

static void compute_data(struct spec *s, Nnd__Data *d, Nnd__Train *t)
{
    if (d->n_valid > 0 && !spec_is_given(s, "data.valid_fraction") &&
        d->valid_fraction > 0) {
        d->valid_fraction = 0;
        computed(s, "data.valid_fraction", "data.valid is given");
    }
    if (d->n_valid == 0 && d->valid_fraction == 0 &&
        !spec_is_given(s, "train.valid_every") && t->valid_every > 0)
        set_uint32(s, "train.valid_every", &t->valid_every, 0,
                   "no data to validate on");
}

static void compute_tokenizer(struct spec *s, Nnd__Data *d)
{
    bool sized = d->tokenizer == NND__DATA__TOKENIZER__BPE ||
                 d->tokenizer == NND__DATA__TOKENIZER__SENTENCEPIECE;

    if (sized && d->vocab_size == 0 && !*d->tokenizer_file)
        set_uint32(s, "data.vocab_size", &d->vocab_size, 8000,
                   "the tokenizer learns as many");
}

/* A sentence without its end teaches to leave it out: that has to be asked for. */
static void compute_pairs(struct spec *s, Nnd__Data *d)
{
    if (d->format != NND__DATA__FORMAT__PAIRS || spec_is_given(s, "data.too_long"))
        return;
    d->too_long = NND__DATA__TOO_LONG__REFUSE;
    computed(s, "data.too_long", "the format is pairs");
}

static void compute_decay(struct spec *s, Nnd__Train *t)
{
    if (t->schedule == NND__TRAIN__SCHEDULE__WSD)
        set_uint32(s, "train.decay_steps", &t->decay_steps,
                   t->steps < 5 ? 1 : t->steps / 5, "a fifth of steps");
    else
        set_uint32(s, "train.decay_steps", &t->decay_steps, t->steps, "all steps");
}

/* A tenth, without the dust of binary arithmetic: of 3e-4 it is 3e-5. */
static double tenth(double x)
{
    char text[32];

    snprintf(text, sizeof(text), "%.15g", x / 10);
    return strtod(text, NULL);
}

/* The k at which half of the tokens are the target's after half of the steps: there
 * e^(i/k) = k, so k ln k = i.  Newton's method, from above. */
static double half_way(double i)
{
    double k = i > 3 ? i : 3;

    for (int n = 0; n < 60; n++)
        k = (k + i) / (1 + log(k));
    return k > 1 ? k : 1;
}

/* So that the share is nearly 0, or its least, at the end. */
static void compute_teacher(struct spec *s, Nnd__Train *t)
{
    char text[32];
    /* What counts of the base is how far it is from 1. */
    int digits = t->teacher == NND__TRAIN__TEACHER__EXPONENTIAL ? 15 : 6;
    double k = 1;

    if (t->teacher == NND__TRAIN__TEACHER__ALWAYS)
        return;
    if (t->teacher == NND__TRAIN__TEACHER__EXPONENTIAL)
        k = pow(0.01, 1.0 / t->steps);
    else if (t->teacher == NND__TRAIN__TEACHER__INVERSE_SIGMOID)
        k = half_way(t->steps / 2.0);
    snprintf(text, sizeof(text), "%.*g", digits, k);
    if (t->teacher_k == 0) {
        t->teacher_k = strtod(text, NULL);
        computed(s, "train.teacher_k", "by train.teacher and steps");
    }
    if (t->teacher != NND__TRAIN__TEACHER__LINEAR_DECAY || t->teacher_c != 0 ||
        t->teacher_k <= t->teacher_min)
        return;
    snprintf(text, sizeof(text), "%.6g", (t->teacher_k - t->teacher_min) / t->steps);
    t->teacher_c = strtod(text, NULL);
    computed(s, "train.teacher_c", "down to teacher_min at the last step");
}

/* Schedules that begin to fall where warm-up ends have one. */
static void compute_warmup(struct spec *s, Nnd__Train *t)
{
    bool needs = t->schedule == NND__TRAIN__SCHEDULE__NOAM ||
                 t->schedule == NND__TRAIN__SCHEDULE__INVERSE_SQRT;
    uint32_t tenth = t->steps / 10;

    if (spec_is_given(s, "train.warmup") || t->warmup <= tenth)
        return;
    if (needs && tenth == 0)
        set_uint32(s, "train.warmup", &t->warmup, 1, "a tenth of steps, at least 1");
    else
        set_uint32(s, "train.warmup", &t->warmup, tenth, "a tenth of steps");
}

static void compute_train(struct spec *s, Nnd__Train *t)
{
    compute_warmup(s, t);
    if (!spec_is_given(s, "train.min_lr") && t->min_lr > tenth(t->lr)) {
        t->min_lr = tenth(t->lr);
        computed(s, "train.min_lr", "a tenth of lr");
    }
    if (t->decay_steps == 0)
        compute_decay(s, t);
    compute_teacher(s, t);
}

int spec_finish_job(struct spec *s, struct err *e)
{
    Nnd__Job *j = s->job;

    compute_model(s, j->model);
    compute_data(s, j->data, j->train);
    compute_pairs(s, j->data);
    compute_tokenizer(s, j->data);
    compute_train(s, j->train);
    return spec_check(s, e);
}

int spec_resolve(struct spec *s, struct err *e)
{
    int rc;

    fill_defaults(s);
    rc = check_ranges(s, e);
    return rc ? rc : s->schema->finish(s, e);
}
