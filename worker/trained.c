/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trained.c - from a folder to a decoder.
 */
#include "worker/trained.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"
#include "train/checkpoint.h"
#include "worker/job.h"
#include "worker/world.h"

#define AT(field) offsetof(struct trained_options, field)

const struct arg_row trained_args[] = {
    {"checkpoint", 0, "DIR", ARG_TEXT, AT(checkpoint), 0, 0,
     "a checkpoint, or a job's folder: its newest one"},
    {"kernel", 0, "OP=NAME", ARG_LIST, AT(rules), 0, 0,
     "a rule for kernels, besides the job's"},
    {"threads", 0, "N", ARG_INT, AT(threads), 0, 1024, "threads; 0: all cores"},
    {"plugins", 0, "DIR[:DIR]", ARG_TEXT, AT(plugins), 0, 0,
     "folders of kernel plugins"},
    {"quarantine", 0, "DIR", ARG_TEXT, AT(quarantine), 0, 0,
     "folder of notes on plugins that did harm"},
    {"best", 0, NULL, ARG_FLAG, AT(best), 0, 0,
     "not the newest checkpoint, but what train.best found best"},
    {"json", 0, NULL, ARG_FLAG, AT(json), 0, 0, "print JSON"},
    {0},
};

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

bool trained_is_end(const struct trained *t, uint32_t id)
{
    size_t i = 0;

    while (i < t->nends && t->ends[i] != id)
        i++;
    return i < t->nends;
}

/* Those that the tokenizer has. */
static size_t add_known(const struct trained *t, const uint32_t *id, size_t n,
                        uint32_t *out)
{
    size_t known = 0;

    for (size_t i = 0; i < n; i++)
        if (id[i] < tokenizer_vocab(t->lexicon.target))
            out[known++] = id[i];
    return known;
}

/* A model that reads a source writes <eos>; the texts that others learn to go on with
 * hold no such thing (corpus.h), but for what the job names. */
static void find_ends(struct trained *t)
{
    const Nnd__Model *m = t->job->model;

    if (model_reads(t->job))
        t->ends[t->nends++] = TOKEN_EOS;
    t->nends += add_known(t, m->ends, m->n_ends, t->ends + t->nends);
    t->nbegins = add_known(t, m->begins, m->n_begins, t->begins);
}

/* What has no text is not written: marks but <unk>, and what model.vocab has beyond the
 * tokenizer's ids. */
static int find_never(struct trained *t, struct err *e)
{
    const struct tokenizer *words = t->lexicon.target;

    t->never = calloc((size_t)t->vocab, sizeof *t->never);
    t->ends = calloc(t->job->model->n_ends + 1, sizeof *t->ends);
    t->begins = calloc(t->job->model->n_begins + 1, sizeof *t->begins);
    if (!t->never || !t->ends || !t->begins)
        return err_set(e, ERR_NOMEM, "memory: %lld tokens", (long long)t->vocab);
    find_ends(t);
    for (uint32_t id = 0; id < t->vocab; id++)
        if (id >= tokenizer_vocab(words) ||
            (tokenizer_marks(words) && id < TOKEN_UNK && !trained_is_end(t, id)))
            t->never[t->nnever++] = id;
    return 0;
}

int trained_open(struct trained *t, const char *dir, struct err *e)
{
    if (comm_self(&t->self, e) < 0 || find(t, dir, e) < 0 || take_best(t, e) < 0 ||
        job_of_checkpoint(t->path, &t->spec, &t->lexicon, e) < 0)
        return e->code;
    t->job = spec_job(t->spec);
    if (lexicon_check(&t->lexicon, t->job->data, e) < 0)
        return err_prefix(e, "%s", t->path);
    if (job_vocab(t->spec, &t->lexicon, &t->vocab, e) < 0)
        return e->code;
    return find_never(t, e);
}

int trained_engine(struct trained *t, const struct engine_config *c, struct err *e)
{
    return engine_open(&t->engine, t->self, c, e);
}

struct engine_config trained_config(const struct trained_options *o)
{
    return (struct engine_config){.threads = (int)o->threads,
                                  .plugins = o->plugins,
                                  .quarantine = o->quarantine,
                                  .suspects = true};
}

int trained_alike(const struct trained *t, const struct trained *other, struct err *e)
{
    struct buf mine = {0}, theirs = {0};
    int rc = lexicon_save(&t->lexicon, &mine, e);

    if (rc == 0)
        rc = lexicon_save(&other->lexicon, &theirs, e);
    if (rc == 0 &&
        (mine.len != theirs.len || memcmp(mine.data, theirs.data, mine.len) != 0))
        rc = err_set(e, ERR_SPEC, "%s: wanted the vocabulary of %s, found another",
                     other->path, t->path);
    buf_free(&mine);
    buf_free(&theirs);
    return rc;
}

int trained_decoder(struct trained *t, const struct engine *engine,
                    const struct decoder_config *shape, const struct arg_list *rules,
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
                                                 .rows = shape->rows,
                                                 .sources = shape->sources,
                                                 .unit = shape->unit,
                                                 .kernels = engine->kernels,
                                                 .rules = rule,
                                                 .nrules = n,
                                                 .self = t->self,
                                                 .threads = engine->seat.threads},
                        &t->decoder, e);
    free(rule);
    return rc < 0 ? rc : checkpoint_load_weights(t->path, decoder_exec(t->decoder), e);
}

void trained_close(struct trained *t)
{
    decoder_destroy(t->decoder);
    engine_close(&t->engine);
    lexicon_free(&t->lexicon);
    free(t->never);
    free(t->ends);
    free(t->begins);
    spec_destroy(t->spec);
    comm_destroy(t->self);
}

int trained_do(const struct trained_task *k, const void *options, struct err *e)
{
    const struct trained_options *o = options;
    struct trained *t;
    int rc;

    if (!o->checkpoint)
        return err_set(e, ERR_USAGE, "%s: wanted --checkpoint DIR", k->name);
    t = calloc(1, k->size);
    if (!t)
        return err_set(e, ERR_NOMEM, "memory: wanted %zu bytes", k->size);
    t->best = o->best;
    rc = trained_open(t, o->checkpoint, e);
    if (rc == 0)
        rc = k->work(t, options, e);
    k->close(t);
    trained_close(t);
    free(t);
    return rc;
}
