/* SPDX-License-Identifier: Apache-2.0 */
/*
 * train_steps.c - train a few steps and print everything that must not depend on
 * the layout, to the bit.
 *
 *   [mpirun -np N] train_steps JOB.yaml OUT [-S KEY=VALUE]...
 *
 * With $TRAIN_STEPS_COLLAPSE the routers' weights are set to zero before every
 * step: all scores tie, and every token goes to the experts of lowest number.

 * Rank 0 writes OUT.steps: a line a step with loss, validation loss and gradient
 * norm as hexadecimal floats.  Every rank writes OUT.RANK: a line for each
 * logical weight it holds, with the SHA-256 of its bytes.  Plugins come from
 * $NND_PLUGIN_DIR; without it only ref computes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sha256.h"
#include "tests/num/lab.h"

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

static int run_steps(struct trainer *t, const Nnd__Job *job, FILE *f, struct err *e)
{
    for (uint32_t i = 0; i < job->train->steps; i++) {
        struct step_report r;
        if (getenv("TRAIN_STEPS_COLLAPSE"))
            collapse_routers(t);
        if (trainer_step(t, &r, e))
            return e->code;
        if (f)
            fprintf(f,
                    "%u loss %a aux %a z %a norm %a targets %lld dead %d over %a%s\n",
                    i, r.loss, r.aux_loss, r.z_loss, r.grad_norm, (long long)r.targets,
                    r.dead_experts, r.overload, r.skipped ? " skipped" : "");
    }
    double valid;
    if (trainer_validate(t, &valid, e))
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

static int train(const struct trainer_config *c, const char *out, struct err *e)
{
    struct trainer *t = NULL;
    int rank = comm_rank(c->world);
    if (trainer_create(c, &t, e) || trainer_start(t, e))
        return e->code;
    FILE *steps = rank == 0 ? open_out(out, "steps") : NULL;
    int rc = run_steps(t, c->job, steps, e);
    if (steps)
        fclose(steps);
    char suffix[16];
    snprintf(suffix, sizeof(suffix), "%d", rank);
    FILE *weights = rc ? NULL : open_out(out, suffix);
    if (weights) {
        write_weights(t, weights);
        fclose(weights);
    }
    if (!rc && rank == 0 && getenv("TRAIN_STEPS_PROFILE")) {
        struct buf b = {0};
        trainer_profile(t, &b);
        printf("%s", b.data);
        buf_free(&b);
    }
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
    struct trainer_config c = lab_trainer(&l);
    if (train(&c, argv[2], &e))
        return lab_fail(&l, "train_steps", &e);
    lab_close(&l);
    return 0;
}
