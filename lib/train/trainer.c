/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trainer.c - building a job's programs, and running them step by step.
 *
 * A step is a schedule: forward and backward of this rank's chunks one after
 * the other, then the report, the reduction, and - unless something was not
 * finite - the optimizer.
 */
#include "train/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "graph/grad.h"
#include "train/carry.h"
#include "train/init.h"
#include "train/pads.h"
#include "train/schedule.h"
#include "train/teacher.h"
#include "train/trainer_impl.h"

/* ------------------------------------------------------------------------- */
/* Building.                                                                 */

/* One that balances experts without a loss. */
static bool is_bias(const struct value *v)
{
    return v->storage == STORAGE_STATE && v->root == v &&
           strstr(v->name, MODEL_BIAS_SUFFIX);
}

static int act_dtype(const Nnd__Job *job)
{
    static const int dtype[] = {
        [NND__TRAIN__PRECISION__BF16] = NND_BF16,
        [NND__TRAIN__PRECISION__FP16] = NND_F16,
        [NND__TRAIN__PRECISION__FP32] = NND_F32,
    };
    return dtype[job->train->precision];
}

/* Gradients between ranks are sums in f32; where bits may differ, and weights are of 16
 * bits themselves, half as long. */
static int wire_dtype(const Nnd__Job *job)
{
    bool fast = job->train->mode == NND__TRAIN__MODE__FAST;
    return fast && act_dtype(job) != NND_F32 ? NND_BF16 : NND_F32;
}

const char *trainer_staged(const Nnd__Job *job)
{
    if (job->train->mode == NND__TRAIN__MODE__REPRODUCIBLE)
        return "train.mode is reproducible, which adds in an order of its own";
    return job->kernels->collectives ? NULL : "kernels.collectives is false";
}

static enum recompute recompute_of(const Nnd__Job *job)
{
    static const enum recompute all[] = {
        [NND__TRAIN__RECOMPUTE__NORMS] = RECOMPUTE_NORMS,
        [NND__TRAIN__RECOMPUTE__ACTIVATIONS] = RECOMPUTE_ACTIVATIONS,
        [NND__TRAIN__RECOMPUTE__BLOCKS] = RECOMPUTE_BLOCKS,
        [NND__TRAIN__RECOMPUTE__NOTHING] = RECOMPUTE_NOTHING,
    };
    return all[job->train->recompute];
}

int programs_build(const Nnd__Job *job, int rank, int64_t vocab, struct programs *out,
                   struct err *e)
{
    const Nnd__Parallel *p = job->parallel;
    struct mesh mesh;
    if (mesh_make((int)p->dp, (int)p->ep, (int)p->tp, (int)p->pp, (int)p->cp,
                  (int)p->etp, (int)job->train->chunks, rank, &mesh, e))
        return e->code;
    struct graph *g = graph_create(&mesh, act_dtype(job), NND_F32);
    g->apart = strcmp(job->kernels->device, "cpu") != 0;
    struct programs x = {.g = g};
    g->wire = wire_dtype(job);
    g->recompute = recompute_of(job);
    g->recompute_blocks = (int)job->train->recompute_layers;
    int rc = model_init(&x.model, g, job, vocab, e);
    if (!rc)
        rc = model_guess(&x.model, &x.guess, e);
    if (!rc && (x.forward = model_forward(&x.model, e)) < 0)
        rc = x.forward;
    if (!rc) {
        x.backward = graph_backward(g, x.forward, "backward");
        x.eval = model_eval(&x.model, e);
        rc = x.eval < 0 ? x.eval : update_build(g, job, x.model.stats, &x.update, e);
    }
    if (!rc) {
        x.report = graph_program(g, "report");
        graph_scope(g, "report");
        op_stats_all(g, x.model.stats);
        op_load_sum(g, x.model.load);
        x.gather = graph_program(g, "report.eval");
        op_stats_all(g, x.model.stats);
        rc = graph_status(g, e);
    }
    if (rc) {
        graph_destroy(g);
        return rc;
    }
    *out = x;
    return 0;
}

/* The calls of all ranks: ranks own different pieces of the optimizer's work. */
static int wants_of_all(const Nnd__Job *job, int64_t vocab, struct arena *a,
                        struct kernel_want **out, size_t *n, struct err *e)
{
    struct kernel_want *all = NULL;
    size_t count = 0;
    for (int r = 0; r < (int)job->parallel->dp; r++) {
        struct programs p;
        struct kernel_want *want = NULL;
        size_t more = 0;
        if (programs_build(job, r, vocab, &p, e))
            return e->code;
        int rc = exec_wants(p.g, a, &want, &more, e);
        for (size_t i = 0; !rc && i < more; i++)
            want[i].where = arena_strdup(a, want[i].where);
        graph_destroy(p.g);
        if (rc)
            return rc;
        struct kernel_want *both = arena_calloc(a, count + more, sizeof(*both));
        if (count)
            memcpy(both, all, count * sizeof(*all));
        memcpy(both + count, want, more * sizeof(*want));
        all = both;
        count += more;
    }
    *out = all;
    *n = count;
    return 0;
}

int kernels_for_job(const struct kernels *ks, const Nnd__Job *job, int64_t vocab,
                    struct tune *tune, struct kernel_table **out, struct err *e)
{
    bool exact = job->train->mode == NND__TRAIN__MODE__REPRODUCIBLE;
    struct kernel_policy p = {
        .device = job->kernels->device,
        .flags = exact ? NND_K_DETERMINISTIC | NND_K_INVARIANT : 0,
        .rules = (const char *const *)job->kernels->rule,
        .nrules = job->kernels->n_rule,
        .tune = tune,
    };
    struct arena *a = arena_create();
    struct kernel_want *want = NULL;
    size_t n = 0;
    int rc = wants_of_all(job, vocab, a, &want, &n, e);
    if (!rc)
        rc = kernel_rules_check(ks, &p, want, n, e);
    if (!rc)
        rc = kernel_select(ks, &p, want, n, out, e);
    arena_destroy(a);
    return rc;
}

/* Rank 0 chooses for all; what it chose travels as text. */
static int choose_kernels(struct trainer *t, struct err *e)
{
    uint64_t len = 0;
    int rc = 0;
    if (comm_rank(t->c.world) == 0) {
        struct kernel_table *table = NULL;
        struct tune *tune = t->c.job->kernels->tune
                                ? tune_create(t->c.kernels, t->c.threads, t->c.tuned)
                                : NULL;
        rc = kernels_for_job(t->c.kernels, t->c.job, t->c.vocab, tune, &table, e);
        tune_destroy(tune);
        if (!rc)
            kernel_table_print(table, &t->table_text);
        kernel_table_destroy(table);
        len = t->table_text.len;
    }
    if (rc || comm_bcast(t->c.world, &len, sizeof(len), 0, e))
        return e->code;
    if (!len)
        return err_set(e, ERR_FAILED, "kernels: rank 0 has chosen none");
    buf_reserve(&t->table_text, len + 1);
    t->table_text.len = len;
    if (comm_bcast(t->c.world, t->table_text.data, len, 0, e))
        return e->code;
    t->table_text.data[len] = '\0';
    return kernel_table_parse(t->c.kernels, t->table_text.data, &t->table, e);
}

static int split_comms(struct trainer *t, struct exec_comms *out, struct err *e)
{
    const struct mesh *m = &t->p.g->mesh;
    if (comm_size(t->c.world) != m->world)
        return err_set(e, ERR_SPEC, "parallel.dp: wanted %d ranks, found %d", m->world,
                       comm_size(t->c.world));
    if (comm_split(t->c.world, m->ep_group, &t->ep, e) ||
        comm_split(t->c.world, m->ep_rank, &t->edp, e))
        return e->code;
    *out = (struct exec_comms){.world = t->c.world, .ep = t->ep, .edp = t->edp};
    return 0;
}

static int check_streams(const struct trainer *t, struct err *e)
{
    const struct corpus *c = t->c.corpus;
    uint64_t least = batch_least(c, t->c.job->train->batch);
    if (c->train.count < least)
        return err_set(e, ERR_SPEC,
                       "data.train: wanted at least %llu tokens, (train.batch + 1) x "
                       "model.context, for data.sampling sequential, found %llu",
                       (unsigned long long)least, (unsigned long long)c->train.count);
    least = batch_least_valid(c, t->c.job->train->batch);
    if (!t->c.job->train->valid_every || !c->valid.count || c->valid.count >= least)
        return 0;
    return err_set(
        e, ERR_SPEC,
        "%s: wanted at least %llu tokens, train.batch + 1, for data.sampling "
        "sequential, found %llu",
        t->c.job->data->n_valid ? "data.valid" : "data.valid_fraction",
        (unsigned long long)least, (unsigned long long)c->valid.count);
}

/* What the lane's thread talks over while this one uses the others. */
static int split_lane(struct trainer *t, struct exec_comms *out, struct err *e)
{
    if (!t->c.lane)
        return 0;
    if (comm_split(t->c.world, 0, &t->lane_world, e))
        return e->code;
    comm_wait_gently(t->lane_world);
    if (comm_split(t->lane_world, t->p.g->mesh.ep_rank, &t->lane_edp, e))
        return e->code;
    *out = (struct exec_comms){.world = t->lane_world, .edp = t->lane_edp};
    return 0;
}

/* What the host wants to know of a step. */
static void find_told(struct trainer *t)
{
    const struct graph *g = t->p.g;
    t->told = arena_calloc(g->mem, (size_t)g->nvalue + 4, sizeof(*t->told));
    t->told[t->ntold++] = t->p.model.stats;
    t->told[t->ntold++] = t->p.model.load;
    t->told[t->ntold++] = t->p.update.norm;
    t->told[t->ntold++] = t->p.update.skip;
    for (int i = 0; i < g->nvalue; i++)
        if (is_bias(g->value[i]))
            t->told[t->ntold++] = g->value[i];
}

static int create(struct trainer *t, struct err *e)
{
    const Nnd__Job *job = t->c.job;
    int rank = comm_rank(t->c.world);
    if (programs_build(job, rank, t->c.vocab, &t->p, e) || choose_kernels(t, e))
        return e->code;
    if (t->p.model.taught && !t->c.teacher)
        return err_set(e, ERR_FAILED, "distill.teacher: wanted a teacher, found none");
    struct exec_config c = {.slots = 1,
                            .positions = t->p.g->mesh.chunks_local,
                            .repeats = t->p.g->mesh.chunks_local,
                            .device = job->kernels->device,
                            .staged = trainer_staged(job),
                            .kernels = t->c.kernels,
                            .table = t->table,
                            .lane = t->c.lane,
                            .threads = t->c.threads,
                            .capture = job->kernels->capture,
                            .crumb = t->c.crumb,
                            .verify = t->c.verify};
    if (split_comms(t, &c.comms, e) || split_lane(t, &c.lane_comms, e) ||
        exec_create(t->p.g, &c, &t->x, e))
        return e->code;
    if (check_streams(t, e))
        return e->code;
    batch_source_train(t->c.corpus, job->seed, job->train->batch, &t->train);
    batch_source_valid(t->c.corpus, job->train->batch, job->train->valid_batches,
                       &t->valid);
    if (job->train->batch_tokens &&
        (batch_source_pack(&t->train, job->train->batch_tokens, job->train->chunks, e) <
             0 ||
         batch_source_pack(&t->valid, job->train->batch_tokens, job->train->chunks, e) <
             0))
        return e->code;
    t->counts = arena_calloc(t->p.g->mem, job->train->chunks, sizeof(*t->counts));
    t->carry_aside = arena_alloc(t->p.g->mem, carry_bytes(&t->p.model));
    t->sums = arena_calloc(t->p.g->mem, job->train->chunks, sizeof(*t->sums));
    find_told(t);
    return 0;
}

int trainer_create(const struct trainer_config *c, struct trainer **out, struct err *e)
{
    struct trainer *t = calloc(1, sizeof(*t));
    if (!t)
        return err_set(e, ERR_NOMEM, "trainer: out of memory");
    t->c = *c;
    int rc = create(t, e);
    if (rc) {
        trainer_destroy(t);
        return rc;
    }
    *out = t;
    return 0;
}

void trainer_destroy(struct trainer *t)
{
    if (!t)
        return;
    batch_source_free(&t->train);
    batch_source_free(&t->valid);
    exec_destroy(t->x);
    kernel_table_destroy(t->table);
    graph_destroy(t->p.g);
    comm_destroy(t->lane_edp);
    comm_destroy(t->lane_world);
    comm_destroy(t->ep);
    comm_destroy(t->edp);
    buf_free(&t->table_text);
    free(t);
}

/* ------------------------------------------------------------------------- */
/* Beginning.                                                                */

/* The values of a piece, through w[hi - lo]. */
static int start_piece(struct trainer *t, const struct piece *p, float *w,
                       struct err *e)
{
    init_weight(p->param, t->c.job->seed, p->lo, p->hi, w);
    if (exec_write(t->x, p->master, w, e) ||
        (p->average && exec_write(t->x, p->average, w, e)))
        return e->code;
    memset(w, 0, (size_t)(p->hi - p->lo) * sizeof(*w));
    if (exec_write(t->x, p->m, w, e) || (p->v && exec_write(t->x, p->v, w, e)))
        return e->code;
    return 0;
}

int trainer_start(struct trainer *t, struct err *e)
{
    const struct update *u = &t->p.update;
    const struct graph *g = t->p.g;
    for (int i = 0; i < u->npieces; i++) {
        const struct piece *p = &u->piece[i];
        float *w = malloc((size_t)(p->hi - p->lo) * sizeof(*w));
        if (!w)
            return err_set(e, ERR_NOMEM, "%s: out of memory at its first values",
                           p->param->name);
        int rc = start_piece(t, p, w, e);
        free(w);
        if (rc)
            return rc;
    }
    for (int i = 0; i < g->nvalue; i++)
        if (is_bias(g->value[i]))
            memset(exec_renew(t->x, g->value[i]), 0, value_bytes(g->value[i]));
    return trainer_begin(t, e);
}

int trainer_begin(struct trainer *t, struct err *e)
{
    return trainer_resume(t, &(struct train_state){0}, e);
}

static void start_scale(struct trainer *t)
{
    struct loss_scaler s = schedule_scaler(t->c.job->train);
    t->s.loss_scale = s.scale;
    t->s.clean = s.clean;
}

int trainer_resume(struct trainer *t, const struct train_state *s, struct err *e)
{
    if (exec_run(t->x, t->p.update.spread, 0, 0, e))
        return e->code;
    t->s = *s;
    if (s->loss_scale == 0 || t->c.job->train->precision != NND__TRAIN__PRECISION__FP16)
        start_scale(t);
    t->began = exec_sent(t->x);
    return 0;
}

/* ------------------------------------------------------------------------- */
/* Chunks.                                                                   */

/* Put chunk `position` of batch `step` into the inputs. */
static void fill_chunk(struct trainer *t, const struct batch_source *src, int64_t step,
                       int position)
{
    const struct mesh *m = &t->p.g->mesh;
    const struct chunk *c = &t->p.model.chunk, *s = &t->p.model.source;
    uint32_t n = (uint32_t)c->batch;
    struct batch_rows rows = {.id = exec_data(t->x, c->id),
                              .target = exec_data(t->x, c->target),
                              .pos = exec_data(t->x, c->pos),
                              .sample = exec_data(t->x, c->sample)};
    if (s->id) {
        rows.source_id = exec_data(t->x, s->id);
        rows.source_pos = exec_data(t->x, s->pos);
        rows.source_sample = exec_data(t->x, s->sample);
        rows.source_len = exec_data(t->x, t->p.model.source_len);
    }
    if (c->cu) {
        rows.cu = exec_data(t->x, c->cu);
        rows.source_cu = exec_data(t->x, s->cu);
    }
    batch_fill(src, (uint64_t)step, (uint32_t)mesh_chunk(m, m->rank, position) * n, n,
               &rows);
    pads_fill(t->x, c);
    pads_fill(t->x, s);
}

/* The inputs that every chunk of a step shares.  Returns the step's targets. */
static int64_t fill_step(struct trainer *t, const struct batch_source *src,
                         int64_t step)
{
    const Nnd__Job *job = t->c.job;
    const struct model *m = &t->p.model;
    uint64_t total = 0;
    batch_counts(src, (uint64_t)step, job->train->chunks, t->counts);
    for (uint32_t i = 0; i < job->train->chunks; i++)
        total += t->counts[i];
    double scale = t->s.loss_scale;
    *(float *)exec_data(t->x, m->chunk.seed) =
        total ? (float)(scale / (double)total) : 0;
    *(float *)exec_data(t->x, m->aux_scale) = (float)(scale / job->train->chunks);
    uint64_t *rng = exec_data(t->x, m->chunk.rng);
    rng[0] = job->seed;
    rng[1] = (uint64_t)step;
    return (int64_t)total;
}

/* Sum a column of the statistics over chunks by the tree. */
static double tree_sum(const struct trainer *t, int column)
{
    int n = t->p.g->mesh.chunks;
    const double *stats = exec_data(t->x, t->p.model.stats);
    double *x = t->sums;
    for (int i = 0; i < n; i++)
        x[i] = stats[i * STATS_COUNT + column];
    for (int step = 1; step < n; step *= 2)
        for (int i = 0; i + step < n; i += 2 * step)
            x[i] += x[i + step];
    return x[0];
}

/* What the chunk at hand is given, with scheduled sampling. */
static int make_given(struct trainer *t, int position, struct err *e)
{
    const struct model *m = &t->p.model;
    double share = schedule_teacher(t->c.job->train, t->s.step);
    if (t->p.guess < 0)
        return 0;
    *(float *)exec_data(t->x, m->teach.share) = (float)share;
    if (share < 1)
        return exec_run(t->x, t->p.guess, position, 0, e);
    memcpy(exec_data(t->x, m->teach.mixed), exec_data(t->x, m->chunk.id),
           value_bytes(m->chunk.id));
    return 0;
}

static int run_chunks(struct trainer *t, struct err *e)
{
    if (batch_is_first(&t->train, (uint64_t)t->s.step))
        carry_reset(t->x, &t->p.model);
    for (int i = 0; i < t->p.g->mesh.chunks_local; i++) {
        fill_chunk(t, &t->train, t->s.step, i);
        carry_before(t->x, &t->p.model, i);
        if (t->p.model.taught &&
            teacher_teach(t->c.teacher, t->x, t->p.model.taught, e))
            return e->code;
        if (make_given(t, i, e) || exec_run(t->x, t->p.forward, i, 0, e))
            return e->code;
        carry_behind(t->x, &t->p.model, i);
        if (exec_run(t->x, t->p.backward, i, 0, e))
            return e->code;
    }
    return 0;
}

/* ------------------------------------------------------------------------- */
/* Steps.                                                                    */

/* Loss-free balancing (Wang et al. 2024): b_i += rate * sign(mean load - load_i). */
static void update_bias(struct trainer *t)
{
    const Nnd__Moe *moe = t->c.job->model->moe;
    if (!t->p.model.load || moe->bias_rate <= 0)
        return;
    const int64_t *load = exec_data(t->x, t->p.model.load);
    const struct graph *g = t->p.g;
    int row = 0;
    for (int i = 0; i < g->nvalue; i++) {
        const struct value *v = g->value[i];
        if (!is_bias(v))
            continue;
        const int64_t *l = load + (int64_t)row++ * moe->experts;
        float *b = exec_data(t->x, v);
        int64_t total = 0;
        for (uint32_t k = 0; k < moe->experts; k++)
            total += l[k];
        for (uint32_t k = 0; k < moe->experts; k++) {
            int64_t over = l[k] * moe->experts;
            b[k] += (float)(moe->bias_rate * ((over < total) - (over > total)));
        }
    }
}

static void report_experts(const struct trainer *t, struct step_report *r)
{
    if (!t->p.model.load)
        return;
    const int64_t *load = exec_data(t->x, t->p.model.load);
    int experts = (int)t->c.job->model->moe->experts;
    r->moe_layers = (int)t->p.model.load->shape.dim[0];
    for (int i = 0; i < r->moe_layers; i++, load += experts) {
        int64_t most = 0, total = 0;
        for (int k = 0; k < experts; k++) {
            total += load[k];
            most = load[k] > most ? load[k] : most;
            r->dead_experts += load[k] == 0;
        }
        double over = total ? (double)most * experts / (double)total : 0;
        r->overload = over > r->overload ? over : r->overload;
    }
}

/* The kernel has the decay in f32, and so has its complement. */
static void fill_average(struct trainer *t)
{
    double decay = (double)(float)t->c.job->train->ema;
    if (!t->p.update.hyper_average)
        return;
    float *hyper = exec_data(t->x, t->p.update.hyper_average);
    hyper[NND_HYPER_LR] = 0;
    hyper[NND_HYPER_GRAD_SCALE] = (float)(1 - decay);
}

/* What the next update is given, but for its gradients' norm. */
static void fill_given(const struct trainer *t, double *given)
{
    const Nnd__Train *tr = t->c.job->train;
    /* Of the betas that kernels have: 1 - 0.999f is 1.3e-5 away from 0.001. */
    double beta1 = (double)(float)tr->beta1, beta2 = (double)(float)tr->beta2;
    double steps = (double)(t->s.applied + 1);
    given[NND_HYPER_LR] = schedule_lr(t->c.job, t->s.applied);
    given[NND_HYPER_LOSS_SCALE] = t->s.loss_scale;
    given[NND_HYPER_CLIP] = tr->clip;
    given[NND_HYPER_BIAS1] = 1 / (1 - pow(beta1, steps));
    given[NND_HYPER_BIAS2] = 1 / (1 - pow(beta2, steps));
}

static int apply(struct trainer *t, const struct step_report *r, struct err *e)
{
    double given[NND_HYPER_COUNT] = {0}, coef = 1;
    float *hyper = exec_data(t->x, t->p.update.hyper);
    fill_given(t, given);
    if (given[NND_HYPER_CLIP] > 0 && r->grad_norm > 0)
        coef = fmin(1, given[NND_HYPER_CLIP] / (r->grad_norm + 1e-6));
    hyper[NND_HYPER_LR] = (float)given[NND_HYPER_LR];
    hyper[NND_HYPER_GRAD_SCALE] = (float)(coef / t->s.loss_scale);
    hyper[NND_HYPER_BIAS1] = (float)given[NND_HYPER_BIAS1];
    hyper[NND_HYPER_BIAS2] = (float)given[NND_HYPER_BIAS2];
    fill_average(t);
    return exec_run(t->x, t->p.update.apply, 0, 0, e);
}

/* The same where the host is apart: the device looks at the norm itself, and the host
 * waits for nothing but the step's end. */
static int apply_apart(struct trainer *t, struct err *e)
{
    fill_given(t, exec_data(t->x, t->p.update.given));
    fill_average(t);
    if (exec_run(t->x, t->p.update.apply, 0, 0, e))
        return e->code;
    return exec_fetch(t->x, t->told, t->ntold, e);
}

static void clear_loads(struct trainer *t)
{
    if (t->p.model.load)
        memset(exec_renew(t->x, t->p.model.load), 0, value_bytes(t->p.model.load));
}

static int finish_step(struct trainer *t, struct step_report *r, struct err *e)
{
    const struct update *u = &t->p.update;
    if (u->skip && apply_apart(t, e))
        return e->code;
    double chunks = t->c.job->train->chunks;
    r->loss = r->targets ? tree_sum(t, STATS_LOSS) / (double)r->targets : 0;
    r->aux_loss = tree_sum(t, STATS_AUX) / chunks;
    r->z_loss = tree_sum(t, STATS_Z) / chunks;
    r->grad_norm = *(double *)exec_data(t->x, t->p.update.norm) / t->s.loss_scale;
    r->loss_scale = t->s.loss_scale;
    r->lr = schedule_lr(t->c.job, t->s.applied);
    r->skipped = u->skip ? *(int32_t *)exec_data(t->x, u->skip) != 0
                         : !isfinite(r->grad_norm) || !isfinite(r->loss);
    report_experts(t, r);
    if (!u->skip && !r->skipped && apply(t, r, e))
        return e->code;
    if (r->skipped) {
        carry_reset(t->x, &t->p.model); /* it may hold what is not finite */
    } else {
        update_bias(t);
        t->s.applied++;
    }
    struct loss_scaler s = {t->s.loss_scale, t->s.clean};
    schedule_scale(t->c.job->train, &s, r->skipped);
    t->s.loss_scale = s.scale;
    t->s.clean = s.clean;
    r->step = ++t->s.step;
    return 0;
}

struct exec_sent trainer_sent(const struct trainer *t)
{
    struct exec_sent s = exec_sent(t->x);
    return (struct exec_sent){s.ns - t->began.ns, s.exposed - t->began.exposed};
}

static void report_sent(const struct trainer *t, struct exec_sent before,
                        struct step_report *r)
{
    struct exec_sent now = exec_sent(t->x);
    double ns = (double)(now.ns - before.ns);
    r->send_seconds = ns * 1e-9;
    r->send_hidden = ns > 0 ? 1 - (double)(now.exposed - before.exposed) / ns : NAN;
}

int trainer_compute(struct trainer *t, int64_t *targets, struct err *e)
{
    clear_loads(t);
    *targets = fill_step(t, &t->train, t->s.step);
    return run_chunks(t, e) || exec_run(t->x, t->p.report, 0, 0, e) ||
                   exec_run(t->x, t->p.update.reduce, 0, 0, e)
               ? e->code
               : 0;
}

bool trainer_is_finite(const struct trainer *t)
{
    const double *norm = exec_data(t->x, t->p.update.norm);
    return isfinite(*norm) && isfinite(tree_sum(t, STATS_LOSS));
}

int trainer_step(struct trainer *t, struct step_report *out, struct err *e)
{
    struct step_report r = {0};
    int64_t begin = clock_mono_ns();
    struct exec_sent sent = exec_sent(t->x);
    t->before = t->s;
    if (!t->p.g->apart)
        carry_save(t->x, &t->p.model, t->carry_aside);
    exec_step(t->x, t->s.step + 1);
    if (trainer_compute(t, &r.targets, e) || finish_step(t, &r, e))
        return e->code;
    r.seconds = (double)(clock_mono_ns() - begin) * 1e-9;
    report_sent(t, sent, &r);
    *out = r;
    return 0;
}

void trainer_skip(struct trainer *t)
{
    carry_reset(t->x, &t->p.model); /* the next windows follow on others */
    t->s.step++;
}

static int validate(struct trainer *t, double *loss, struct err *e)
{
    double sum = 0;
    int64_t targets = 0;
    uint64_t batches = t->valid.samples ? batch_steps(&t->valid) : 0;
    for (uint64_t b = 0; b < batches; b++) {
        targets += fill_step(t, &t->valid, (int64_t)b);
        for (int i = 0; i < t->p.g->mesh.chunks_local; i++) {
            fill_chunk(t, &t->valid, (int64_t)b, i);
            carry_before(t->x, &t->p.model, i);
            if (exec_run(t->x, t->p.eval, i, 0, e))
                return e->code;
            carry_behind(t->x, &t->p.model, i);
        }
        if (exec_run(t->x, t->p.gather, 0, 0, e))
            return e->code;
        sum += tree_sum(t, STATS_LOSS);
    }
    *loss = targets ? sum / (double)targets : NAN;
    return 0;
}

int trainer_average(struct trainer *t, bool on, struct err *e)
{
    const struct update *u = &t->p.update;
    if (u->average < 0)
        return 0;
    if (!on)
        return exec_run(t->x, u->restore, 0, 0, e);
    return exec_run(t->x, u->keep, 0, 0, e) || exec_run(t->x, u->average, 0, 0, e)
               ? e->code
               : 0;
}

int trainer_validate(struct trainer *t, double *loss, struct err *e)
{
    carry_save(t->x, &t->p.model, t->carry_aside);
    carry_reset(t->x, &t->p.model);
    int rc = validate(t, loss, e);
    carry_restore(t->x, &t->p.model, t->carry_aside);
    return rc;
}

bool trainer_judge(struct trainer *t, double value, bool larger)
{
    struct train_state *s = &t->s;
    bool better = larger ? value > s->best : value < s->best;

    if (!isfinite(value) || (s->best_step > 0 && !better)) {
        s->stale++;
        return false;
    }
    s->best = value;
    s->best_step = s->step;
    s->stale = 0;
    return true;
}

void trainer_forget(struct trainer *t)
{
    t->s.best = 0;
    t->s.best_step = t->s.stale = 0;
}

/* ------------------------------------------------------------------------- */

const struct train_state *trainer_state(const struct trainer *t)
{
    return &t->s;
}

struct graph *trainer_graph(const struct trainer *t)
{
    return t->p.g;
}

struct exec *trainer_exec(const struct trainer *t)
{
    return t->x;
}

const struct update *trainer_update(const struct trainer *t)
{
    return &t->p.update;
}

const char *trainer_kernels(const struct trainer *t)
{
    return t->table_text.data;
}

struct exec_progress *trainer_progress(struct trainer *t)
{
    return exec_progress_of(t->x);
}
