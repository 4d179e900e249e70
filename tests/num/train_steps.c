/* SPDX-License-Identifier: Apache-2.0 */
/*
 * train_steps.c - train a few steps and print everything that must not depend on
 * the layout, to the bit.
 *
 *   [mpirun -np N] train_steps JOB.yaml OUT [-S KEY=VALUE]...
 *
 * With $TRAIN_STEPS_COLLAPSE the routers' weights are set to zero before every
 * step: all scores tie, and every token goes to the experts of lowest number.
 *
 * With $TRAIN_STEPS_SAVE=DIR it goes on from the newest checkpoint below DIR, which
 * it names, and saves there every checkpoint.every steps.  $TRAIN_STEPS_KILL=N: the
 * last rank dies by SIGKILL after step N, while that is being saved.
 * $TRAIN_STEPS_WEIGHTS=PATH: no step, only a checkpoint's weights, for inference.
 *
 * Rank 0 writes OUT.steps: a line a step with loss, validation loss and gradient
 * norm as hexadecimal floats.  Every rank writes OUT.RANK: a line for each
 * logical weight it holds, with the SHA-256 of its bytes.  Plugins come from
 * $NND_PLUGIN_DIR; without it only ref computes.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sha256.h"
#include "tests/num/lab.h"
#include "train/checkpoint.h"

static FILE *open_out(const char *base, const char *suffix)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s.%s", base, suffix);
    return fopen(path, "w");
}

static void collapse_routers(struct trainer *t)
{
    const struct graph *g = trainer_graph(t);
    for (int i = 0; i < g->nparam; i++) {
        const struct value *v = g->param[i]->value;
        if (strstr(v->name, ".mlp.gate.weight"))
            memset(exec_data(trainer_exec(t), v), 0, value_bytes(v));
    }
}

/* Go on from the newest checkpoint in dir, or begin, and prepare to save there. */
static int begin_saved(struct trainer *t, const struct lab *l, const char *tokenizer,
                       struct checkpoint **out, struct err *e)
{
    const char *dir = getenv("TRAIN_STEPS_SAVE");
    char path[4096];
    struct buf notes = {0};
    json_t *json = spec_to_json(spec_job(l->spec));
    char *text = json_dumps(json, 0);
    struct checkpoint_config config = {.dir = dir,
                                       .attempt = 1,
                                       .keep = (int)spec_job(l->spec)->checkpoint->keep,
                                       .job_json = text,
                                       .tokenizer = tokenizer,
                                       .trainer = t,
                                       .mesh = &trainer_graph(t)->mesh};
    int rc = checkpoint_find(dir, l->world, path, sizeof(path), &notes, e);
    if (!rc && comm_rank(l->world) == 0 && (notes.len || path[0]))
        printf("%sfrom %s\n", notes.len ? notes.data : "", path);
    if (!rc)
        rc = path[0] ? checkpoint_load(path, t, e) : trainer_start(t, e);
    if (!rc)
        rc = checkpoint_create(&config, out, e);
    buf_free(&notes);
    free(text);
    json_decref(json);
    return rc;
}

static int save_step(struct checkpoint *c, const struct trainer_config *by,
                     uint32_t step, struct err *e)
{
    const char *kill = getenv("TRAIN_STEPS_KILL");
    uint32_t every = by->job->checkpoint->every;
    if (every && step % every == 0 && checkpoint_save(c, e))
        return e->code;
    if (kill && strtoul(kill, NULL, 10) == step &&
        comm_rank(by->world) == comm_size(by->world) - 1)
        raise(SIGKILL);
    return 0;
}

static int run_steps(struct trainer *t, const struct trainer_config *by,
                     struct checkpoint *c, FILE *f, struct err *e)
{
    for (int64_t i = trainer_state(t)->step; i < by->job->train->steps; i++) {
        struct step_report r;
        if (getenv("TRAIN_STEPS_COLLAPSE"))
            collapse_routers(t);
        if (trainer_step(t, &r, e))
            return e->code;
        if (f)
            fprintf(
                f, "%d loss %a aux %a z %a norm %a targets %lld dead %d over %a%s\n",
                (int)i, r.loss, r.aux_loss, r.z_loss, r.grad_norm, (long long)r.targets,
                r.dead_experts, r.overload, r.skipped ? " skipped" : "");
        if (c && save_step(c, by, (uint32_t)i + 1, e))
            return e->code;
    }
    double valid;
    if (trainer_average(t, true, e) || trainer_validate(t, &valid, e) ||
        trainer_average(t, false, e))
        return e->code;
    if (f)
        fprintf(f, "valid %a\n", valid);
    return 0;
}

static void write_weights(struct trainer *t, FILE *f)
{
    const struct graph *g = trainer_graph(t);
    for (int i = 0; i < g->nparam; i++) {
        const struct param *p = g->param[i];
        int n = p->stack ? p->stack : 1;
        size_t bytes = value_bytes(p->value) / (size_t)n;
        for (int k = 0; k < n; k++) {
            char name[256], hex[SHA256_HEX];
            param_name(p, k, name, sizeof(name));
            const char *data = exec_data(trainer_exec(t), p->value);
            sha256_bytes(data + (size_t)k * bytes, bytes, hex);
            fprintf(f, "%s %s\n", name, hex);
        }
    }
}

static int write_out(struct trainer *t, const char *out, int rank, struct err *e)
{
    char suffix[16];
    snprintf(suffix, sizeof(suffix), "%d", rank);
    FILE *weights = open_out(out, suffix);
    if (!weights)
        return err_sys(e, ERR_FAILED, errno, "%s.%s", out, suffix);
    write_weights(t, weights);
    fclose(weights);
    if (rank == 0 && getenv("TRAIN_STEPS_PROFILE")) {
        struct buf b = {0};
        trainer_profile(t, &b);
        printf("%s", b.data);
        buf_free(&b);
    }
    return 0;
}

static int steps_and_out(struct trainer *t, const struct trainer_config *by,
                         struct checkpoint *saved, const char *out, struct err *e)
{
    int rank = comm_rank(by->world);
    FILE *steps = rank == 0 ? open_out(out, "steps") : NULL;
    int rc = run_steps(t, by, saved, steps, e);
    if (steps)
        fclose(steps);
    if (!rc && saved)
        rc = checkpoint_wait(saved, e);
    return rc ? rc : write_out(t, out, rank, e);
}

static int begin(struct trainer *t, const struct lab *l, struct checkpoint **out,
                 struct err *e)
{
    struct buf tokenizer = {0};
    if (!getenv("TRAIN_STEPS_SAVE"))
        return trainer_start(t, e);
    int rc = lexicon_save(&l->lexicon, &tokenizer, e);
    if (!rc)
        rc = begin_saved(t, l, tokenizer.data, out, e);
    buf_free(&tokenizer);
    return rc;
}

static int train(const struct lab *l, const char *out, struct err *e)
{
    const char *weights = getenv("TRAIN_STEPS_WEIGHTS");
    struct trainer_config by = lab_trainer(l);
    struct trainer *t = NULL;
    struct checkpoint *saved = NULL;
    int rc = trainer_create(&by, &t, e);
    if (!rc && weights) {
        rc = checkpoint_load_weights(weights, trainer_exec(t), e);
        if (!rc)
            rc = write_out(t, out, comm_rank(l->world), e);
    } else if (!rc) {
        rc = begin(t, l, &saved, e);
        if (!rc)
            rc = steps_and_out(t, &by, saved, out, e);
    }
    checkpoint_destroy(saved);
    trainer_destroy(t);
    return rc;
}

int main(int argc, char **argv)
{
    struct err e = {0};
    struct lab l = {0};
    if (argc < 3) {
        fprintf(stderr, "usage: train_steps JOB.yaml OUT [-S KEY=VALUE]...\n");
        return 2;
    }
    if (lab_open(&l, argv[1], argc - 3, argv + 3, &e))
        return lab_fail(&l, "train_steps", &e);
    if (lab_teach(&l, &e) || train(&l, argv[2], &e))
        return lab_fail(&l, "train_steps", &e);
    lab_close(&l);
    return 0;
}
