/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lab.c - opening and closing in order.
 */
#include "tests/num/lab.h"
#include "train/teacher.h"

#include <stdio.h>
#include <stdlib.h>

static int threads_of(const struct lab *l)
{
    uint32_t n = spec_job(l->spec)->train->threads;
    return n ? (int)n : 1;
}

static int read_job(struct lab *l, const char *job, int n, char **overrides,
                    struct err *e)
{
    l->spec = spec_create();
    int rc = spec_load_file(l->spec, job, e);
    for (int i = 0; !rc && i + 1 < n; i += 2)
        rc = spec_set(l->spec, overrides[i + 1], e);
    if (rc)
        return rc;
    spec_anchor(l->spec, getenv("PWD"));
    return spec_resolve(l->spec, e);
}

static int load_kernels(struct lab *l, struct err *e)
{
    const char *plugins = getenv("NND_PLUGIN_DIR");
    if (pool_create(threads_of(l), NULL, NULL, &l->pool, e) ||
        kernels_create(l->pool, &l->kernels, e))
        return e->code;
    return plugins ? kernels_load_dir(l->kernels, plugins, e) : 0;
}

/* The tokenizers, and how many ids a model reads. */
static int read_lexicon(struct lab *l, struct err *e)
{
    const Nnd__Job *j = spec_job(l->spec);
    char text[16];
    int rc = lexicon_learn(j->data, &l->lexicon, e);
    if (rc || j->data->format != NND__DATA__FORMAT__PAIRS)
        return rc;
    snprintf(text, sizeof(text), "%u", tokenizer_vocab(lexicon_source(&l->lexicon)));
    rc = spec_put(l->spec, "model.source_vocab", text, "lab", e);
    return rc ? rc : spec_resolve(l->spec, e);
}

static int open_lane(struct lab *l, struct err *e)
{
    const char *lane = getenv("NND_LAB_LANE");
    bool wanted = comm_size(l->world) > 1 && !(lane && *lane == '0');
    return wanted && comm_threads(l->world) ? lane_create(64, &l->lane, e) : 0;
}

int lab_open(struct lab *l, const char *job, int n, char **overrides, struct err *e)
{
    int rc = getenv("OMPI_COMM_WORLD_SIZE") ? comm_mpi_world(&l->world, e)
                                            : comm_self(&l->world, e);
    if (rc || read_job(l, job, n, overrides, e) || load_kernels(l, e) ||
        open_lane(l, e))
        return e->code;
    const Nnd__Job *j = spec_job(l->spec);
    if (read_lexicon(l, e))
        return e->code;
    return corpus_open(j->data, &l->lexicon, j->model->context,
                       j->model->source_context, &l->corpus, e);
}

int lab_teach(struct lab *l, struct err *e)
{
    const Nnd__Job *j = spec_job(l->spec);
    if (!j->distill || !*j->distill->teacher)
        return 0;
    struct teacher_config c = {.checkpoint = j->distill->teacher,
                               .job = j,
                               .student = j,
                               .vocab = tokenizer_vocab(l->lexicon.target),
                               .kernels = l->kernels,
                               .world = l->world,
                               .threads = threads_of(l)};
    return teacher_create(&c, &l->teacher, e);
}

void lab_close(struct lab *l)
{
    teacher_destroy(l->teacher);
    lane_destroy(l->lane);
    corpus_destroy(l->corpus);
    lexicon_free(&l->lexicon);
    kernels_destroy(l->kernels);
    pool_destroy(l->pool);
    spec_destroy(l->spec);
    comm_destroy(l->world);
}

struct trainer_config lab_trainer(const struct lab *l)
{
    return (struct trainer_config){.job = spec_job(l->spec),
                                   .world = l->world,
                                   .kernels = l->kernels,
                                   .corpus = l->corpus,
                                   .teacher = l->teacher,
                                   .vocab = tokenizer_vocab(l->lexicon.target),
                                   .threads = threads_of(l),
                                   .lane = l->lane};
}

int lab_fail(struct lab *l, const char *who, const struct err *e)
{
    fprintf(stderr, "%s: %s\n", who, e->text);
    if (l->world)
        comm_abort(l->world, 1);
    return 1;
}
