/* SPDX-License-Identifier: Apache-2.0 */
/*
 * train_plan.c - is the plan true?  What `nnctl plan` says of this rank against
 * what happens in ten steps and a checkpoint.
 *
 *   [mpirun -np N] train_plan JOB.yaml [-S KEY=VALUE]...
 *
 * Memory: the growth of the resident set's peak, as the operating system counts
 * it, is within 1 % + 8 MiB of the plan.  Wire: the bytes given to collectives
 * equal the plan, summed over ranks: how many answers an expert's rank sends back
 * is up to the routing.  Prints a line a rank; exits with 1 if either is not so.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/num/lab.h"
#include "train/checkpoint.h"
#include "train/plan_report.h"
#include "worker/measure.h"
#include "worker/scores.h"

#define STEPS 10
#define MIB   (1 << 20)

/* A line of /proc/self/status in bytes. */
static int64_t status_bytes(const char *key)
{
    char line[256];
    long long kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof(line), f))
        if (strncmp(line, key, strlen(key)) == 0)
            sscanf(line + strlen(key), "%lld", &kib);
    if (f)
        fclose(f);
    return kib * 1024;
}

/* The peak starts anew from what is resident now (proc(5), clear_refs). */
static int64_t forget_peak(void)
{
    FILE *f = fopen("/proc/self/clear_refs", "w");
    if (f) {
        fputs("5", f);
        fclose(f);
    }
    return status_bytes("VmRSS:");
}

static char *job_text(const struct lab *l)
{
    json_t *j = spec_to_json(spec_job(l->spec));
    char *text = json_dumps(j, JSON_REAL_PRECISION(15));
    json_decref(j);
    return text;
}

/* Twice, as after two validations: what train.best names. */
static int score(struct lab *l, struct trainer *t, struct err *e)
{
    const struct measure *m = measure_of(spec_job(l->spec));
    struct run r = {.world = l->world,
                    .control = l->world,
                    .rank = comm_rank(l->world),
                    .spec = l->spec,
                    .job = spec_job(l->spec),
                    .engine = {.kernels = l->kernels, .seat = {.threads = 1}},
                    .lexicon = l->lexicon,
                    .corpus = l->corpus,
                    .trainer = t};
    double value;
    int rc = 0;
    for (int i = 0; !rc && m && i < 2; i++)
        rc = m->take(&r, m, 1, &value, e);
    scores_destroy(r.scores);
    return rc;
}

static int train(struct lab *l, struct trainer *t, const char *dir, struct err *e)
{
    struct checkpoint *c = NULL;
    char *job = job_text(l);
    struct buf tokenizer = {0};
    if (lexicon_save(&l->lexicon, &tokenizer, e))
        return e->code;
    struct checkpoint_config cfg = {.dir = dir,
                                    .attempt = 1,
                                    .keep = 1,
                                    .job_json = job,
                                    .tokenizer = tokenizer.data,
                                    .in_place = checkpoint_in_place(spec_job(l->spec)),
                                    .trainer = t,
                                    .mesh = &trainer_graph(t)->mesh};
    if (checkpoint_create(&cfg, &c, e) || trainer_start(t, e))
        return e->code;
    exec_profile_reset(trainer_exec(t));
    for (int i = 0; i < STEPS; i++) {
        struct step_report r;
        if (trainer_step(t, &r, e) || (i == STEPS / 2 && checkpoint_save(c, e)))
            return e->code;
    }
    int rc = checkpoint_wait(c, e);
    if (!rc)
        rc = score(l, t, e);
    checkpoint_destroy(c);
    buf_free(&tokenizer);
    free(job);
    return rc ? rc : comm_barrier(l->world, e);
}

static int64_t wire_of(struct trainer *t)
{
    int64_t n = 0;
    const struct exec_cost *cost = exec_profile(trainer_exec(t));
    for (int i = 0; i < trainer_graph(t)->nnode; i++)
        n += cost[i].wire;
    return n;
}

static int compare(const struct lab *l, int64_t plan_bytes, int64_t grown,
                   int64_t plan_wire, int64_t wire)
{
    int64_t room = plan_bytes / 100 + 8 * MIB;
    int memory = llabs(grown - plan_bytes) > room, bytes = wire != plan_wire;
    printf("rank %d: memory planned %.1f MiB, grown %.1f MiB%s; "
           "wire planned %lld, given %lld%s\n",
           comm_rank(l->world), (double)plan_bytes / MIB, (double)grown / MIB,
           memory ? " NOT TRUE" : "", (long long)plan_wire, (long long)wire,
           bytes ? " NOT TRUE" : "");
    return memory || bytes;
}

static int run(struct lab *l, struct err *e)
{
    struct arena *a = arena_create();
    struct plan_report plan;
    struct trainer *t = NULL;
    struct trainer_config c = lab_trainer(l);
    int rank = comm_rank(l->world);
    bool taught = c.job->distill && *c.job->distill->teacher;
    int64_t scores;
    if (measure_bytes(c.job, c.kernels, c.vocab, &scores, e) ||
        plan_report_make(c.job, taught ? c.job : NULL, c.kernels, c.vocab, 0, scores, a,
                         &plan, e))
        return e->code;
    int64_t planned = plan_rank_total(&plan.rank[rank]);
    int64_t wire = plan.rank[rank].wire * STEPS;
    arena_destroy(a);
    int64_t before = forget_peak();
    if (lab_teach(l, e))
        return e->code;
    c.teacher = l->teacher;
    if (trainer_create(&c, &t, e) || train(l, t, getenv("TRAIN_PLAN_DIR"), e))
        return e->code;
    int64_t grown = status_bytes("VmHWM:") - before, sums[] = {wire, wire_of(t)};
    if (comm_allreduce(l->world, sums, 2, COMM_SUM, e))
        return e->code;
    int wrong = compare(l, planned, grown, sums[0], sums[1]);
    trainer_destroy(t);
    return wrong ? err_set(e, ERR_FAILED, "the plan is not true") : 0;
}

int main(int argc, char **argv)
{
    struct err e = {0};
    struct lab l = {0};
    if (argc < 2 || !getenv("TRAIN_PLAN_DIR")) {
        fprintf(stderr, "usage: TRAIN_PLAN_DIR=DIR train_plan JOB.yaml [-S K=V]...\n");
        return 2;
    }
    if (lab_open(&l, argv[1], argc - 2, argv + 2, &e) || run(&l, &e))
        return lab_fail(&l, "train_plan", &e);
    lab_close(&l);
    return 0;
}
