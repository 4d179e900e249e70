/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hand.h - a trainer over samples made by hand and held in memory, on one rank; and
 * its weights, one by one.  For cmocka programs: what goes wrong fails the test.
 */
#ifndef TESTS_NUM_HAND_H
#define TESTS_NUM_HAND_H

#include "train/trainer_impl.h"

struct hand {
    struct spec *spec;
    const Nnd__Job *job;
    struct pool *pool;
    struct kernels *ks;
    struct comm *world;
    struct tokens tokens, source;
    uint64_t *line, *source_line;
    struct corpus corpus;
    struct trainer *t;
    struct spec *teacher_spec; /* with samples.teacher */
    struct teacher *teacher;
};

/* Sample i of the run, in the order of the run: length[i] inputs from
 * id[i * (context + 1)], the last one's target behind them. */
struct samples {
    int64_t n;
    const int32_t *id, *length;
    const int32_t *source, *source_length; /* [n, source_context], [n]; or NULL */
    const char *teacher; /* the job of distill.teacher, whose weights are the caller's
                            to load; or NULL */
};

/* rc is 0, or the test fails with e's words. */
void must(int rc, const struct err *e);

/* The trainer of a job (YAML), not yet started.  False, and nothing open, when plugins
 * are wanted and there are none. */
bool hand_open(struct hand *l, const char *job, const struct samples *s, bool plugins);
void hand_close(struct hand *l);

/* A step of the trainer, which is not skipped. */
struct step_report hand_step(struct hand *l);

/* Run forward alone on the next step's batch; logits [batch, context, vocab]. */
void hand_logits(struct hand *l, float *out);

/* A logical weight of a float32 job, and its gradient. */
struct weight {
    char name[256]; /* ours */
    int64_t rows, cols, elements;
    float *value, *grad;
};

typedef void weight_f(struct hand *l, const struct weight *w, void *arg);
void each_weight(struct hand *l, weight_f *f, void *arg);

double norm_of(const float *x, int64_t n);

/* The worst of the relative errors of L2 norm and largest magnitude. */
double error_of(const float *got, const float *want, int64_t n);

#endif
