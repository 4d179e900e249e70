/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spec_hints.c - what a job may say but hardly anyone means.
 *
 * Each hint is a row: when it applies and what to say.  Nothing is refused
 * here; nnctl prints the lines when a job is submitted.
 */
#include <string.h>

#include "proto/spec_impl.h"

struct hint {
    bool (*applies)(const struct spec *s, const Nnd__Job *j);
    const char *text;
};

static bool is_router_deaf(const struct spec *s, const Nnd__Job *j)
{
    const Nnd__Moe *moe = j->model->moe;

    (void)s;
    return moe->experts > 1 && moe->top_k == 1 && moe->renormalize;
}

static bool is_unbalanced(const struct spec *s, const Nnd__Job *j)
{
    const Nnd__Moe *moe = j->model->moe;

    (void)s;
    return moe->experts > moe->top_k && moe->aux_coef == 0 && moe->bias_rate == 0;
}

static bool is_scale_unused(const struct spec *s, const Nnd__Job *j)
{
    return j->train->precision != NND__TRAIN__PRECISION__FP16 &&
           (spec_is_typed(s, "train.loss_scale") ||
            spec_is_typed(s, "train.loss_scale_window"));
}

static bool is_momentum_unused(const struct spec *s, const Nnd__Job *j)
{
    return j->train->optimizer != NND__TRAIN__OPTIMIZER__SGD &&
           spec_is_typed(s, "train.momentum");
}

static bool is_beta_unused(const struct spec *s, const Nnd__Job *j)
{
    return j->train->optimizer == NND__TRAIN__OPTIMIZER__SGD &&
           (spec_is_typed(s, "train.beta1") || spec_is_typed(s, "train.beta2") ||
            spec_is_typed(s, "train.eps"));
}

static bool is_theta_unused(const struct spec *s, const Nnd__Job *j)
{
    return j->model->position != NND__MODEL__POSITION__ROPE &&
           spec_is_typed(s, "model.rope_theta");
}

static bool is_rate_zero(const struct spec *s, const Nnd__Job *j)
{
    (void)s;
    return j->train->lr == 0;
}

static bool is_rate_high(const struct spec *s, const Nnd__Job *j)
{
    (void)s;
    return j->train->optimizer != NND__TRAIN__OPTIMIZER__SGD && j->train->lr > 0.1;
}

static bool is_never_saved(const struct spec *s, const Nnd__Job *j)
{
    return spec_is_typed(s, "checkpoint.every") &&
           j->checkpoint->every > j->train->steps;
}

static bool is_never_validated(const struct spec *s, const Nnd__Job *j)
{
    return spec_is_typed(s, "train.valid_every") &&
           j->train->valid_every > j->train->steps;
}

static bool is_cheating(const struct spec *s, const Nnd__Job *j)
{
    (void)s;
    for (size_t i = 0; i < j->data->n_valid; i++)
        for (size_t k = 0; k < j->data->n_train; k++)
            if (strcmp(j->data->valid[i], j->data->train[k]) == 0)
                return true;
    return false;
}

static const struct hint hints[] = {
    {is_router_deaf,
     "model.moe.renormalize: with top_k 1 the chosen score is always 1, and the "
     "router learns from the balancing loss alone"},
    {is_unbalanced,
     "model.moe.aux_coef: 0, and no bias_rate: nothing keeps experts in use"},
    {is_scale_unused, "train.loss_scale: has no effect unless train.precision is fp16"},
    {is_momentum_unused, "train.momentum: has no effect unless train.optimizer is sgd"},
    {is_beta_unused, "train.beta1, beta2 and eps: have no effect for optimizer sgd"},
    {is_theta_unused, "model.rope_theta: has no effect unless model.position is rope"},
    {is_rate_zero, "train.lr: 0: the model will not learn"},
    {is_rate_high, "train.lr: more than 0.1 rarely converges with adam or adamw"},
    {is_cheating, "data.valid: holds what data.train holds: the validation loss will "
                  "say nothing about new text"},
    {is_never_saved,
     "checkpoint.every: more than train.steps: the only checkpoint is the last"},
    {is_never_validated,
     "train.valid_every: more than train.steps: no validation before the end"},
};

void spec_hints(const struct spec *s, struct buf *out)
{
    for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++)
        if (hints[i].applies(s, s->job))
            buf_printf(out, "%s\n", hints[i].text);
}
