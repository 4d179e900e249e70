/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trained.c - from a folder to a decoder.
 */
#include "worker/trained.h"

#include <stdlib.h>
#include <string.h>

#include "train/checkpoint.h"
#include "worker/job.h"
#include "worker/world.h"

static int find(struct trained *t, const char *dir, struct err *e)
{
    struct buf notes = {0};
    int rc = checkpoint_newest(dir, t->self, t->path, sizeof t->path, &notes, e);

    world_warn(notes.data);
    buf_free(&notes);
    return rc;
}

/* From the newest one to that which validation found best. */
static int take_best(struct trained *t, struct err *e)
{
    char newest[PATH_MAX];

    if (!t->best)
        return 0;
    strcpy(newest, t->path);
    return checkpoint_best(newest, t->path, sizeof t->path, e);
}

int trained_open(struct trained *t, const char *dir, struct err *e)
{
    if (comm_self(&t->self, e) < 0 || find(t, dir, e) < 0 || take_best(t, e) < 0 ||
        job_of_checkpoint(t->path, &t->spec, &t->lexicon, e) < 0)
        return e->code;
    t->job = spec_job(t->spec);
    if (lexicon_check(&t->lexicon, t->job->data, e) < 0)
        return err_prefix(e, "%s", t->path);
    return job_vocab(t->spec, &t->lexicon, &t->vocab, e);
}

int trained_engine(struct trained *t, const struct engine_config *c, struct err *e)
{
    return engine_open(&t->engine, t->self, c, e);
}

int trained_decoder(struct trained *t, int rows, const struct arg_list *rules,
                    struct err *e)
{
    size_t of_job = t->job->kernels->n_rule, n = of_job + rules->n;
    const char **rule = calloc(n + 1, sizeof *rule);
    int rc;

    if (!rule)
        return err_set(e, ERR_NOMEM, "memory: %zu rules for kernels", n);
    for (size_t i = 0; i < n; i++)
        rule[i] = i < of_job ? t->job->kernels->rule[i] : rules->value[i - of_job];
    rc = decoder_create(&(struct decoder_config){.job = t->job,
                                                 .vocab = t->vocab,
                                                 .rows = rows,
                                                 .kernels = t->engine.kernels,
                                                 .rules = rule,
                                                 .nrules = n,
                                                 .self = t->self,
                                                 .threads = t->engine.seat.threads},
                        &t->decoder, e);
    free(rule);
    return rc < 0 ? rc : checkpoint_load_weights(t->path, decoder_exec(t->decoder), e);
}

void trained_close(struct trained *t)
{
    decoder_destroy(t->decoder);
    engine_close(&t->engine);
    lexicon_free(&t->lexicon);
    spec_destroy(t->spec);
    comm_destroy(t->self);
}
