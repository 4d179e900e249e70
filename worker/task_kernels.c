/* SPDX-License-Identifier: Apache-2.0 */
/*
 * task_kernels.c - `nnd-worker kernels`: on which kernels a job would run here, without
 * a look at its text.  nnd asks before it accepts a job that requires some.
 */
#include <stdio.h>

#include "train/plan_report.h"
#include "worker/engine.h"
#include "worker/job.h"
#include "worker/task.h"

/* Where the tokenizer decides how many there are: a number of no consequence. */
enum { SOME_VOCAB = 512 };

struct kernels_options {
    const char *job, *plugins, *quarantine;
    struct arg_list set;
    bool verdict;
};

#define AT(field) offsetof(struct kernels_options, field)

static const struct arg_row args[] = {
    {"job", 0, "FILE", ARG_TEXT, AT(job), 0, 0, "the job: YAML, or packed"},
    {"set", 'S', "KEY=VALUE", ARG_LIST, AT(set), 0, 0, "override a value of the job"},
    {"plugins", 0, "DIR[:DIR]", ARG_TEXT, AT(plugins), 0, 0,
     "folders of kernel plugins"},
    {"quarantine", 0, "DIR", ARG_TEXT, AT(quarantine), 0, 0,
     "folder of notes on plugins that did harm"},
    {"verdict", 0, NULL, ARG_FLAG, AT(verdict), 0, 0,
     "print \"met\", or \"unmet: \" and what the job requires in vain"},
    {0},
};

static const struct kernels_options defaults = {0};

static int choose(const Nnd__Job *job, const struct kernels *ks, bool verdict,
                  struct err *e)
{
    struct arena *a = arena_create();
    int64_t vocab = job->model->vocab ? (int64_t)job->model->vocab : SOME_VOCAB;
    const char *table;
    int rc = plan_kernels(job, ks, vocab, a, &table, e);

    if (verdict)
        printf(rc == 0 ? "met\n" : "unmet: %s\n", e->text);
    else if (rc == 0)
        printf("%s", table);
    arena_destroy(a);
    return verdict ? 0 : rc;
}

/* What is read has a tokenizer as well. */
static int some_source(struct spec *spec, struct err *e)
{
    const Nnd__Job *job = spec_job(spec);
    char text[16];

    if (job->data->format != NND__DATA__FORMAT__PAIRS || job->model->source_vocab)
        return 0;
    snprintf(text, sizeof text, "%d", SOME_VOCAB);
    if (spec_put(spec, "model.source_vocab", text, "tokenizer", e) < 0)
        return e->code;
    return spec_resolve(spec, e);
}

static int show(const struct kernels_options *o, struct spec *spec, struct err *e)
{
    const Nnd__Job *job = spec_job(spec);
    struct comm *self = NULL;
    struct engine x = {0};
    struct engine_config config = {.threads = 1,
                                   .plugins = o->plugins,
                                   .quarantine = o->quarantine,
                                   .suspects = job->kernels->suspect ==
                                               NND__KERNELS__SUSPECT__AVOID};
    int rc = some_source(spec, e);

    if (rc == 0)
        rc = comm_self(&self, e);
    if (rc == 0)
        rc = engine_open(&x, self, &config, e);
    if (rc == 0)
        rc = choose(job, x.kernels, o->verdict, e);
    engine_close(&x);
    comm_destroy(self);
    return rc;
}

static int kernels(const void *options, struct err *e)
{
    const struct kernels_options *o = options;
    struct spec *spec = NULL;
    int rc;

    if (!o->job)
        return err_set(e, ERR_USAGE, "kernels: wanted --job FILE");
    rc = job_read(o->job, &o->set, &spec, e);
    if (rc == 0)
        rc = show(o, spec, e);
    spec_destroy(spec);
    return rc;
}

const struct task task_kernels = {
    .name = "kernels",
    .help = "print on which kernels a job would run here",
    .args = args,
    .defaults = &defaults,
    .size = sizeof defaults,
    .run = kernels,
};
