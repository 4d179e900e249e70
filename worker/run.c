/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run.c - from options to a trainer that stands at its first step.
 */
#include "worker/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/str.h"
#include "data/batch.h"
#include "plan/mesh.h"
#include "proto/line.h"
#include "train/teacher.h"
#include "worker/job.h"
#include "worker/kernels.h"
#include "worker/scores.h"
#include "worker/stop.h"
#include "worker/world.h"

enum {
    LANE_JOBS = 1024,  /* parts of gradients on their way at once; more wait      */
    SHARED_MS = 10000, /* for a shared file system to show what nnd has written   */
};

/* --- agreement ------------------------------------------------------------ */

/* The lowest rank that failed has the largest number. */
int run_agree(struct run *r, int rc, struct err *e)
{
    int64_t mine = rc < 0 ? (int64_t)(comm_size(r->world) - r->rank) * 16 - rc : 0;
    int64_t worst = mine;

    agent_meet(r->agent, "agreeing on how it goes");
    int result = comm_allreduce(r->control, &worst, 1, COMM_MAX, e);
    agent_met(r->agent);
    if (result < 0)
        return e->code;
    if (worst == 0)
        return 0;
    if (worst != mine)
        err_set(e, (enum err_code)(-(worst % 16)), "%s", "");
    r->agreed = true;
    return e->code;
}

/* --- entering ------------------------------------------------------------- */

/* nnd's folders are called by the number of the job: DIR/jobs/ID. */
static int job_number(const char *dir, uint64_t *out, struct err *e)
{
    const char *slash = strrchr(dir, '/');

    if (!str_to_u64(slash ? slash + 1 : dir, out))
        return err_set(e, ERR_USAGE,
                       "--dir: with --uri wanted .../jobs/ID, found \"%s\"", dir);
    return 0;
}

/* Before anything else: what this rank reads and writes is what nnd and the others
 * have, or it would wait for them. */
static int open_agent(struct run *r, struct err *e)
{
    const struct run_options *o = r->o;
    char dir[PATH_MAX + 32];
    struct agent_config c = {.uri = o->uri,
                             .dir = dir,
                             .attempt = (uint32_t)o->attempt,
                             .epoch = (uint64_t)o->epoch,
                             .rank = (uint32_t)r->rank,
                             .ranks = (uint32_t)comm_size(r->world)};

    if (!o->uri)
        return 0;
    snprintf(dir, sizeof dir, "%s/attempt-%lld", o->dir, (long long)o->attempt);
    if (job_number(o->dir, &c.job, e) < 0 ||
        line_check_home(dir, o->uri, (uint64_t)o->epoch, SHARED_MS, e) < 0)
        return e->code;
    return agent_start(&c, &r->agent, e);
}

int run_enter(struct run *r, const struct run_options *o, struct err *e)
{
    memset(r, 0, sizeof *r);
    r->o = o;
    if (!o->job || !o->dir)
        return err_set(e, ERR_USAGE, "train: wanted --job FILE and --dir DIR");
    if (world_open(&r->world, e) < 0)
        return e->code;
    r->rank = comm_rank(r->world);
    stop_catch();
    if (comm_split(r->world, 0, &r->control, e) < 0)
        return e->code;
    return open_agent(r, e);
}

/* --- the job -------------------------------------------------------------- */

static int check_mesh(const struct run *r, struct err *e)
{
    const Nnd__Parallel *p = r->job->parallel;
    struct mesh m;

    if (mesh_make((int)p->dp, (int)p->ep, (int)p->tp, (int)p->pp, (int)p->cp,
                  (int)p->etp, (int)r->job->train->chunks, 0, &m, e) < 0)
        return e->code;
    if (m.world == comm_size(r->world))
        return 0;
    return err_set(e, ERR_SPEC,
                   "parallel: wanted %d ranks for this mesh, found %d; start them with "
                   "mpirun -np %d, or set parallel.dp",
                   m.world, comm_size(r->world), m.world);
}

static int make_folders(struct run *r, struct err *e)
{
    int n =
        snprintf(r->checkpoints, sizeof r->checkpoints, "%s/checkpoints", r->o->dir);

    if (n < 0 || (size_t)n >= sizeof r->checkpoints)
        return err_set(e, ERR_USAGE, "--dir: wanted a shorter path, found %zu bytes",
                       strlen(r->o->dir));
    return fs_mkdirs(r->checkpoints, e);
}

/* nnctl has told whoever submitted the job. */
static void give_hints(const struct run *r)
{
    struct buf hints = {0};

    spec_hints(r->spec, &hints);
    if (r->rank == 0 && !r->o->uri)
        world_warn(hints.data);
    buf_free(&hints);
}

static int read_job(struct run *r, struct err *e)
{
    if (job_read(r->o->job, &r->o->set, &r->spec, e) < 0)
        return e->code;
    r->job = spec_job(r->spec);
    if (r->job->train->batch == 0)
        return err_set(
            e, ERR_SPEC,
            "train.batch: wanted a number, found fit: nnctl works it out when "
            "it submits the job, and nnd-worker plan prints it");
    give_hints(r);
    return check_mesh(r, e) < 0 ? e->code : make_folders(r, e);
}

/* --- plugins -------------------------------------------------------------- */

/* nnd's folder is DIR/../..; a rank without nnd has its own. */
static int open_engine(struct run *r, struct err *e)
{
    const struct run_options *o = r->o;
    bool avoid = r->job->kernels->suspect == NND__KERNELS__SUSPECT__AVOID;
    char quarantine[PATH_MAX + 32];
    struct engine_config c = {.threads = o->threads ? (int)o->threads
                                                    : (int)r->job->train->threads,
                              .plugins = o->plugins,
                              .quarantine = quarantine,
                              .suspects = avoid};

    snprintf(quarantine, sizeof quarantine, "%s%s/quarantine", o->dir,
             o->uri ? "/../.." : "");
    return engine_open(&r->engine, r->control, &c, e);
}

/* Where nnd looks when this rank has died. */
static void name_crumb(const struct run *r, char *out, size_t size)
{
    if (r->o->uri)
        snprintf(out, size, "%s/attempt-%lld/crumb.%d", r->o->dir,
                 (long long)r->o->attempt, r->rank);
    else
        snprintf(out, size, "%s/crumb.%d", r->o->dir, r->rank);
}

/* --- where to take up ----------------------------------------------------- */

static int start_from(struct run *r, struct err *e)
{
    struct buf notes = {0};
    int rc = checkpoint_newest(r->job->checkpoint->from, r->world, r->from,
                               sizeof r->from, &notes, e);

    if (r->rank == 0)
        world_warn(notes.data);
    buf_free(&notes);
    r->begun = rc == 0;
    return rc < 0 ? err_prefix(e, "checkpoint.from") : 0;
}

int run_find(struct run *r, struct err *e)
{
    struct buf notes = {0};
    int rc =
        checkpoint_find(r->checkpoints, r->world, r->from, sizeof r->from, &notes, e);

    r->begun = false;
    if (r->rank == 0)
        world_warn(notes.data);
    buf_free(&notes);
    if (rc < 0 || r->from[0] || !r->job->checkpoint->from[0])
        return rc;
    return start_from(r, e);
}

/* What another job found best, and how long ago, is of its own data and measure. */
int run_take_up(struct run *r, struct err *e)
{
    if (!r->from[0])
        return trainer_start(r->trainer, e);
    if (checkpoint_load(r->from, r->trainer, e) < 0)
        return e->code;
    if (r->begun)
        trainer_forget(r->trainer);
    return 0;
}

/* --- the text ------------------------------------------------------------- */

/* Where the job names its tokenizers, and a model of another job to begin with, they
 * have to be that one's: what its ids stand for would change. */
static int check_named(const struct run *r, struct err *e)
{
    struct lexicon named;
    int rc;

    if (!*r->job->data->tokenizer_file || !r->begun)
        return 0;
    rc = lexicon_learn(r->job->data, &named, e);
    if (rc < 0)
        return rc;
    rc = lexicon_same(&named, &r->lexicon, e);
    lexicon_free(&named);
    return rc ? (rc < 0 ? rc : 0)
              : err_set(
                    e, ERR_SPEC,
                    "data.tokenizer_file: %s: wanted the vocabulary of %s, found that "
                    "of another model",
                    r->job->data->tokenizer_file, r->from);
}

/* A checkpoint's ids mean what its tokenizers say. */
static int open_lexicon(struct run *r, struct err *e)
{
    struct buf job = {0}, text = {0};
    int rc;

    if (!r->from[0])
        return lexicon_learn(r->job->data, &r->lexicon, e);
    rc = checkpoint_read_job(r->from, &job, &text, e);
    if (rc == 0)
        rc = lexicon_load(r->from, text.data, text.len, &r->lexicon, e);
    buf_free(&job);
    buf_free(&text);
    return rc < 0 ? rc : check_named(r, e);
}

static int open_corpus(struct run *r, struct err *e)
{
    if (open_lexicon(r, e) < 0)
        return e->code;
    return corpus_open(r->job->data, &r->lexicon, r->job->model->context,
                       r->job->model->source_context, &r->corpus, e);
}

int64_t run_targets(const struct run *r, int64_t step)
{
    struct batch_source b;
    struct err e;
    int64_t n = 0;

    batch_source_train(r->corpus, r->job->seed, r->job->train->batch, &b);
    if (r->job->train->batch_tokens &&
        batch_source_pack(&b, r->job->train->batch_tokens, r->job->train->chunks, &e) <
            0)
        return 0;
    for (int64_t i = 0; i < step; i++)
        n += (int64_t)batch_targets(&b, (uint64_t)i, 0, b.batch);
    batch_source_free(&b);
    return n;
}

/* --- the trainer ---------------------------------------------------------- */

/* The lane's thread must not sit on the first processor of the computing ones. */
static int open_lane(struct run *r, struct err *e)
{
    int rc;

    if (comm_size(r->world) == 1 || !comm_threads(r->world))
        return 0;
    engine_unbind(&r->engine);
    rc = lane_create(LANE_JOBS, &r->lane, e);
    engine_rebind(&r->engine);
    return rc;
}

static int open_teacher(struct run *r, struct err *e)
{
    char path[PATH_MAX];
    struct teacher_config c = {.checkpoint = path,
                               .student = r->job,
                               .kernels = r->engine.kernels,
                               .world = r->world,
                               .threads = r->engine.seat.threads};

    if (job_teacher(r->job, &r->lexicon, r->world, path, &r->teacher_spec, e) < 0)
        return e->code;
    if (!r->teacher_spec)
        return 0;
    if (job_vocab(r->spec, &r->lexicon, &c.vocab, e) < 0)
        return e->code;
    c.job = spec_job(r->teacher_spec);
    return teacher_create(&c, &r->teacher, e);
}

static int open_trainer(struct run *r, struct err *e)
{
    char crumb[PATH_MAX + 64], tuned[PATH_MAX + 32];
    struct trainer_config c = {.job = r->job,
                               .world = r->world,
                               .kernels = r->engine.kernels,
                               .corpus = r->corpus,
                               .threads = r->engine.seat.threads,
                               .crumb = crumb,
                               .tuned = tuned};

    if (verify_create(r->engine.kernels, r->job->kernels->check, &r->verify, e) < 0)
        return e->code;
    c.verify = r->verify;

    name_crumb(r, crumb, sizeof crumb);
    snprintf(tuned, sizeof tuned, "%s/kernels.tuned", r->o->dir);
    if (open_lane(r, e) < 0)
        return e->code;
    c.lane = r->lane;
    if (open_teacher(r, e) < 0)
        return e->code;
    c.teacher = r->teacher;
    if (job_vocab(r->spec, &r->lexicon, &c.vocab, e) < 0 ||
        trainer_create(&c, &r->trainer, e) < 0)
        return e->code;
    agent_watch(r->agent, trainer_progress(r->trainer));
    return run_take_up(r, e);
}

/* In the writer's thread, on rank 0. */
static void on_saved(void *arg, int64_t step, const char *path, const char *why)
{
    struct run *r = arg;

    if (!path) {
        log_warn("checkpoint of step %lld: %s", (long long)step, why);
        return;
    }
    printf("checkpoint of step %lld: %s\n", (long long)step, path);
    fflush(stdout);
    agent_saved(r->agent, step, path);
}

/* The writer's thread must not sit on the first processor of the computing ones. */
static int open_checkpoint(struct run *r, struct err *e)
{
    struct checkpoint_config c = {.dir = r->checkpoints,
                                  .attempt = (int)r->o->attempt,
                                  .keep = (int)r->job->checkpoint->keep,
                                  .in_place = checkpoint_in_place(r->job),
                                  .trainer = r->trainer,
                                  .mesh = &trainer_graph(r->trainer)->mesh,
                                  .done = on_saved,
                                  .arg = r};
    int rc = job_json(r->job, &r->json, e);

    if (rc == 0)
        rc = lexicon_save(&r->lexicon, &r->vocabulary, e);
    c.job_json = r->json.data;
    c.tokenizer = r->vocabulary.data;
    engine_unbind(&r->engine);
    if (rc == 0)
        rc = checkpoint_create(&c, &r->checkpoint, e);
    engine_rebind(&r->engine);
    return rc;
}

static int open_metrics(struct run *r, struct err *e)
{
    char path[PATH_MAX + 32];

    if (r->rank != 0)
        return 0;
    snprintf(path, sizeof path, "%s/metrics.jsonl", r->o->dir);
    return metrics_open(path, trainer_state(r->trainer)->step, &r->metrics, e);
}

/* --- all ------------------------------------------------------------------ */

/* The plain kernels are there to be right, and slow; who asked for them knows. */
static void warn_of_ref(Wire__Kernel *const *rows, size_t n)
{
    struct buf names = {0};

    for (size_t i = 0; i < n; i++) {
        bool told = strcmp(rows[i]->plugin, "ref") != 0 ||
                    strncmp(rows[i]->why, "rule ", 5) == 0;

        for (size_t j = 0; j < i && !told; j++)
            told = strcmp(rows[j]->op, rows[i]->op) == 0 &&
                   strcmp(rows[j]->plugin, "ref") == 0;
        if (!told)
            buf_printf(&names, "%s%s", names.len ? ", " : "", rows[i]->op);
    }
    if (names.len)
        log_warn(
            "the plain, slow kernels of ref serve %.800s; nnctl plugin why OP says "
            "why",
            names.data);
    buf_free(&names);
}

static void tell_kernels(struct run *r)
{
    struct arena *a = arena_create();
    struct kernel_want *want;
    Wire__Kernel **rows, **all;
    size_t nwant, n;
    struct err e;

    if (exec_wants(trainer_graph(r->trainer), a, &want, &nwant, &e) < 0)
        nwant = 0;
    rows = kernels_rows(trainer_kernels(r->trainer), r->job->kernels->device, want,
                        nwant, a, &n);
    all = arena_calloc(a, n + PARAM_GROUPS, sizeof *all);
    memcpy(all, rows, n * sizeof *all);
    warn_of_ref(rows, n);
    for (int i = 0; i < PARAM_GROUPS; i++) {
        struct exec_way way = exec_way(trainer_exec(r->trainer), (enum param_group)i);

        if ((all[n] = kernels_way(&way, r->job->kernels->device, a)))
            n++;
    }
    agent_kernels(r->agent, all, n);
    arena_destroy(a);
}

static void tell_device(struct run *r)
{
    struct buf lines = {0};

    trainer_eager(r->trainer, &lines);
    trainer_ways(r->trainer, &lines);
    if (lines.len)
        printf("%.*s", (int)lines.len, (const char *)lines.data);
    buf_free(&lines);
}

static void tell_start(struct run *r)
{
    int64_t step = trainer_state(r->trainer)->step;

    agent_first(r->agent, step + 1);
    r->seen = run_targets(r, step);
    r->saved = step;
    if (r->rank != 0)
        return;
    tell_kernels(r);
    tell_device(r);
    if (r->from[0])
        printf("took up step %lld: %s\n", (long long)step, r->from);
    if (step >= (int64_t)r->job->train->steps)
        printf("nothing to do: all %u steps are done\n", r->job->train->steps);
    fflush(stdout);
}

int run_prepare(struct run *r, struct err *e)
{
    if (run_agree(r, read_job(r, e), e) < 0)
        return e->code;
    if (open_engine(r, e) < 0 || run_find(r, e) < 0 ||
        run_agree(r, open_corpus(r, e), e) < 0 || open_trainer(r, e) < 0 ||
        open_checkpoint(r, e) < 0 || run_agree(r, open_metrics(r, e), e) < 0)
        return e->code;
    tell_start(r);
    return 0;
}

void run_release(struct run *r)
{
    agent_watch(r->agent, NULL);
    checkpoint_destroy(r->checkpoint);
    buf_free(&r->json);
    buf_free(&r->vocabulary);
    metrics_close(r->metrics);
    scores_destroy(r->scores);
    trainer_destroy(r->trainer);
    teacher_destroy(r->teacher);
    spec_destroy(r->teacher_spec);
    lane_destroy(r->lane);
    verify_destroy(r->verify);
    corpus_destroy(r->corpus);
    lexicon_free(&r->lexicon);
    engine_close(&r->engine);
    spec_destroy(r->spec);
}
