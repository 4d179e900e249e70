/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hand.c - a corpus out of given samples, and the trainer over it.
 */
#include "hand.h"

#include <math.h>
#include <unistd.h>

#include "data/order.h"
#include "graph/op_list.h"
#include "proto/spec.h"
#include "train/teacher.h"

#include "../unit/unit.h"

void must(int rc, const struct err *e)
{
    if (rc)
        fail_msg("%s", e->text);
}

/* The sources of lines in the order run[n]. */
static void make_sources(struct hand *l, const struct samples *s, const uint64_t *run)
{
    struct err e = {0};
    uint32_t width = l->job->model->source_context;
    l->source_line = calloc((size_t)s->n + 1, sizeof *l->source_line);
    assert_non_null(l->source_line);
    tokens_init(&l->source, l->job->model->source_vocab);
    must(tokens_reserve(&l->source, (uint64_t)s->n * width, &e), &e);
    for (int64_t i = 0; i < s->n; i++) {
        const int32_t *id = s->source + run[i] * width;
        for (int32_t k = 0; k < s->source_length[run[i]]; k++)
            tokens_put(&l->source, (uint32_t)id[k]);
        l->source_line[i + 1] = l->source.count;
    }
    l->corpus.source_context = width;
    l->corpus.train.source = &l->source;
    l->corpus.train.source_line = l->source_line;
}

/* Lines in such an order that the trainer takes them in that of the samples. */
static void make_corpus(struct hand *l, const struct samples *s)
{
    struct err e = {0};
    uint64_t n = (uint64_t)s->n, *run = calloc(n, sizeof *run);
    uint32_t context = l->job->model->context;
    assert_non_null(run);
    l->line = calloc(n + 1, sizeof *l->line);
    assert_non_null(l->line);
    tokens_init(&l->tokens, l->job->model->vocab);
    must(tokens_reserve(&l->tokens, n * (context + 1), &e), &e);
    for (uint64_t i = 0; i < n; i++)
        run[order_place(l->job->seed, 0, n, i)] = i;
    for (uint64_t i = 0; i < n; i++) {
        const int32_t *id = s->id + run[i] * (context + 1);
        for (int32_t k = 0; k <= s->length[run[i]]; k++)
            tokens_put(&l->tokens, (uint32_t)id[k]);
        l->line[i + 1] = l->tokens.count;
    }
    l->corpus = (struct corpus){
        .context = context,
        .train = {.tokens = &l->tokens,
                  .count = l->tokens.count,
                  .line = l->line,
                  .lines = n},
    };
    if (s->source)
        make_sources(l, s, run);
    free(run);
}

/* The text of which the samples are the windows: sample k of a step is the next
 * window of stream k, and the streams begin at the epoch's phase. */
static void make_streams(struct hand *l, const struct samples *s)
{
    struct err e = {0};
    uint32_t t = l->job->model->context, batch = l->job->train->batch;
    uint64_t steps = (uint64_t)s->n / batch, phase = order_phase(l->job->seed, 0, t);
    tokens_init(&l->tokens, l->job->model->vocab);
    must(tokens_reserve(&l->tokens, (uint64_t)s->n * t + t + 1, &e), &e);
    for (uint64_t i = 0; i < phase; i++)
        tokens_put(&l->tokens, 0);
    for (uint64_t k = 0; k < batch; k++)
        for (uint64_t step = 0; step < steps; step++)
            for (uint32_t i = 0; i < t; i++)
                tokens_put(&l->tokens,
                           (uint32_t)s->id[(step * batch + k) * (t + 1) + i]);
    tokens_put(&l->tokens, (uint32_t)s->id[(uint64_t)s->n * (t + 1) - 1]);
    while (l->tokens.count < (uint64_t)s->n * t + t)
        tokens_put(&l->tokens, 0);
    l->corpus = (struct corpus){
        .context = t,
        .sequential = true,
        .train = {.tokens = &l->tokens, .count = l->tokens.count},
    };
}

static struct spec *read_job(const char *text)
{
    struct err e = {0};
    struct spec *s = spec_create();
    must(spec_load_text(s, "job", text, strlen(text), &e), &e);
    spec_anchor(s, "/");
    must(spec_resolve(s, &e), &e);
    return s;
}

static void open_teacher(struct hand *l, const char *job)
{
    struct err e = {0};
    l->teacher_spec = read_job(job);
    struct teacher_config c = {.job = spec_job(l->teacher_spec),
                               .student = l->job,
                               .vocab = l->job->model->vocab,
                               .kernels = l->ks,
                               .world = l->world,
                               .threads = 1};
    must(teacher_create(&c, &l->teacher, &e), &e);
}

/* False when there are none. */
static bool load_plugins(struct kernels *ks)
{
    static const char *const built[] = {"blis", "cpu"};
    const char *dir = getenv("NND_PLUGIN_DIR"), *build = getenv("NND_BUILDDIR");
    size_t before = kernels_plugin_count(ks);
    struct err e = {0};
    char path[4096];
    if (dir)
        must(kernels_load_dir(ks, dir, &e), &e);
    for (size_t i = 0; !dir && i < sizeof(built) / sizeof(built[0]); i++) {
        snprintf(path, sizeof path, "%s/plugins/%s/.libs/%s.so", build ? build : ".",
                 built[i], built[i]);
        if (access(path, R_OK) == 0)
            must(kernels_load(ks, path, &e), &e);
    }
    return kernels_plugin_count(ks) > before;
}

void hand_close(struct hand *l)
{
    trainer_destroy(l->t);
    teacher_destroy(l->teacher);
    tokens_free(&l->tokens);
    tokens_free(&l->source);
    free(l->line);
    free(l->source_line);
    kernels_destroy(l->ks);
    pool_destroy(l->pool);
    comm_destroy(l->world);
    spec_destroy(l->teacher_spec);
    spec_destroy(l->spec);
}

bool hand_open(struct hand *l, const char *job, const struct samples *s, bool plugins)
{
    struct err e = {0};
    *l = (struct hand){0};
    must(pool_create(1, NULL, NULL, &l->pool, &e), &e);
    must(kernels_create(l->pool, &l->ks, &e), &e);
    if (plugins && !load_plugins(l->ks)) {
        hand_close(l);
        return false;
    }
    l->spec = read_job(job);
    l->job = spec_job(l->spec);
    if (l->job->data->sampling == NND__DATA__SAMPLING__SEQUENTIAL)
        make_streams(l, s);
    else
        make_corpus(l, s);
    must(comm_self(&l->world, &e), &e);
    if (s->teacher)
        open_teacher(l, s->teacher);
    struct trainer_config c = {.job = l->job,
                               .teacher = l->teacher,
                               .world = l->world,
                               .kernels = l->ks,
                               .corpus = &l->corpus,
                               .vocab = l->job->model->vocab,
                               .threads = 1};
    must(trainer_create(&c, &l->t, &e), &e);
    return true;
}

struct step_report hand_step(struct hand *l)
{
    struct step_report r;
    struct err e = {0};
    must(trainer_step(l->t, &r, &e), &e);
    assert_false(r.skipped);
    return r;
}

void hand_logits(struct hand *l, float *out)
{
    struct trainer *t = l->t;
    const struct chunk *c = &t->p.model.chunk;
    struct err e = {0};
    const struct value *z = NULL;
    for (int i = 0; i < t->p.g->nnode; i++)
        if ((t->p.g->node[i]->op == &op_xent_fwd ||
             t->p.g->node[i]->op == &op_distill_fwd) &&
            t->p.g->node[i]->program == t->p.forward)
            z = t->p.g->node[i]->in[0];
    assert_non_null(z);
    for (int i = 0; i < t->p.g->mesh.chunks; i++) {
        struct batch_rows rows = {.id = exec_data(t->x, c->id),
                                  .target = exec_data(t->x, c->target),
                                  .pos = exec_data(t->x, c->pos),
                                  .sample = exec_data(t->x, c->sample)};
        uint32_t n = (uint32_t)c->batch;
        if (t->p.model.source.id) {
            rows.source_id = exec_data(t->x, t->p.model.source.id);
            rows.source_pos = exec_data(t->x, t->p.model.source.pos);
            rows.source_sample = exec_data(t->x, t->p.model.source.sample);
            rows.source_len = exec_data(t->x, t->p.model.source_len);
        }
        batch_fill(&t->train, (uint64_t)t->s.step, (uint32_t)i * n, n, &rows);
        if (t->p.model.teach.mixed)
            memcpy(exec_data(t->x, t->p.model.teach.mixed), rows.id,
                   value_bytes(c->id));
        must(exec_run(t->x, t->p.forward, i, 0, &e), &e);
        must(exec_read(t->x, z, out, &e), &e);
        out += shape_elements(&z->shape);
    }
}

/* ------------------------------------------------------------------------- */
/* Logical weights, one by one.                                              */

static int logical_count(const struct param *p)
{
    return p->stack ? p->stack : 1;
}

/* The k-th tensor of a stored weight of a float32 job on one rank. */
static struct weight weight_of(const struct hand *l, const struct param *p, int k)
{
    struct weight w;
    const struct shape *s = &p->value->shape;
    bool vector = s->ndim - (p->stack > 0) == 1;
    param_name(p, k, w.name, sizeof w.name);
    w.elements = shape_elements(s) / logical_count(p);
    w.cols = vector ? 1 : shape_cols(s);
    w.rows = w.elements / w.cols;
    w.value = (float *)exec_data(l->t->x, p->value) + k * w.elements;
    w.grad = (float *)exec_data(l->t->x, p->grad) + k * w.elements;
    return w;
}

void each_weight(struct hand *l, weight_f *f, void *arg)
{
    const struct graph *g = trainer_graph(l->t);
    for (int i = 0; i < g->nparam; i++)
        for (int k = 0; k < logical_count(g->param[i]); k++) {
            struct weight w = weight_of(l, g->param[i], k);
            f(l, &w, arg);
        }
}

double norm_of(const float *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sqrt(sum);
}

double error_of(const float *got, const float *want, int64_t n)
{
    double sum = 0, all = 0, worst = 0, most = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = (double)got[i] - (double)want[i], x = (double)want[i];
        if (!isfinite(d))
            return INFINITY;
        sum += d * d;
        all += x * x;
        worst = fmax(worst, fabs(d));
        most = fmax(most, fabs(x));
    }
    if (all == 0)
        return sum == 0 ? 0 : INFINITY;
    return fmax(sqrt(sum / all), worst / most);
}
