/* SPDX-License-Identifier: Apache-2.0 */
/*
 * teacher.c - a graph of the teacher's model over the student's chunks.
 */
#include "train/teacher.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "kernel/kernel.h"
#include "model/model.h"
#include "train/checkpoint.h"
#include "train/pads.h"

struct teacher {
    struct teacher_config c;
    Nnd__Job job; /* the teacher's model, in the student's chunks */
    Nnd__Model shape;
    struct comm *self;
    struct graph *g;
    struct model model;
    struct value *logits;
    struct kernel_table *table;
    struct exec *x;
    int program;
};

static int check(const struct teacher *t, struct err *e)
{
    if (model_reads(t->c.job) == model_reads(t->c.student))
        return 0;
    return err_set(e, ERR_SPEC, "distill.teacher: %s: wanted a model that %s",
                   t->c.checkpoint,
                   model_reads(t->c.student) ? "reads a source, as the student does"
                                             : "reads no source");
}

static int build(struct teacher *t, struct err *e)
{
    const Nnd__Job *own = t->c.job, *student = t->c.student;
    struct mesh mesh;
    static const int dtype[] = {
        [NND__TRAIN__PRECISION__BF16] = NND_BF16,
        [NND__TRAIN__PRECISION__FP16] = NND_F16,
        [NND__TRAIN__PRECISION__FP32] = NND_F32,
    };

    if (mesh_make(1, 1, 1, 1, 1, 1, (int)student->train->chunks, 0, &mesh, e) < 0)
        return e->code;
    t->job = *own;
    t->shape = *own->model;
    t->job.model = &t->shape;
    t->job.train = student->train;
    t->job.data = student->data;
    t->job.distill = NULL;
    t->shape.context = student->model->context;
    t->shape.source_context = student->model->source_context;
    t->g = graph_create(&mesh, dtype[own->train->precision], NND_F32);
    if (model_init(&t->model, t->g, &t->job, t->c.vocab, e) < 0)
        return e->code;
    t->program = model_teach(&t->model, &t->logits, e);
    return t->program < 0 ? t->program : 0;
}

static int select_kernels(const struct teacher *t, struct kernel_table **out,
                          struct err *e)
{
    struct kernel_policy p = {.device = t->c.student->kernels->device,
                              .flags = NND_K_DETERMINISTIC | NND_K_INVARIANT,
                              .rules = (const char *const *)t->c.student->kernels->rule,
                              .nrules = t->c.student->kernels->n_rule};
    struct arena *a = arena_create();
    struct kernel_want *want;
    size_t n;
    int rc = exec_wants(t->g, a, &want, &n, e);

    if (rc == 0)
        rc = kernel_select(t->c.kernels, &p, want, n, out, e);
    arena_destroy(a);
    return rc;
}

/* Rank 0 chooses for all; what it chose travels as text. */
static int choose_kernels(struct teacher *t, struct buf *text, struct err *e)
{
    uint64_t len = 0;
    int rc = 0;

    if (comm_rank(t->c.world) == 0) {
        struct kernel_table *table = NULL;

        rc = select_kernels(t, &table, e);
        if (rc == 0)
            kernel_table_print(table, text);
        kernel_table_destroy(table);
        len = text->len;
    }
    if (rc < 0 || comm_bcast(t->c.world, &len, sizeof len, 0, e) < 0)
        return e->code;
    if (len == 0)
        return err_set(e, ERR_FAILED, "distill.teacher: rank 0 has chosen no kernels");
    buf_reserve(text, len + 1);
    text->len = len;
    if (comm_bcast(t->c.world, text->data, len, 0, e) < 0)
        return e->code;
    text->data[len] = '\0';
    return kernel_table_parse(t->c.kernels, text->data, &t->table, e);
}

static int create(struct teacher *t, struct err *e)
{
    struct buf text = {0};
    int rc = check(t, e);

    if (rc == 0)
        rc = build(t, e);
    if (rc == 0)
        rc = choose_kernels(t, &text, e);
    buf_free(&text);
    if (rc < 0 || comm_self(&t->self, e) < 0)
        return e->code;
    struct exec_config c = {.slots = 1,
                            .positions = 1,
                            .repeats = (int)t->c.student->train->chunks,
                            .comms = {t->self, t->self, t->self},
                            .device = t->c.student->kernels->device,
                            .kernels = t->c.kernels,
                            .table = t->table,
                            .threads = t->c.threads};
    rc = exec_create(t->g, &c, &t->x, e);
    if (rc == 0 && t->c.checkpoint)
        rc = checkpoint_load_weights(t->c.checkpoint, t->x, e);
    return rc < 0 ? err_prefix(e, "distill.teacher") : 0;
}

int teacher_create(const struct teacher_config *c, struct teacher **out, struct err *e)
{
    struct teacher *t = calloc(1, sizeof *t);
    int rc;

    if (!t)
        return err_set(e, ERR_NOMEM, "memory: a teacher");
    t->c = *c;
    rc = create(t, e);
    if (rc < 0)
        teacher_destroy(t);
    else
        *out = t;
    return rc;
}

struct exec *teacher_exec(const struct teacher *t)
{
    return t->x;
}

void teacher_destroy(struct teacher *t)
{
    if (!t)
        return;
    exec_destroy(t->x);
    kernel_table_destroy(t->table);
    graph_destroy(t->g);
    comm_destroy(t->self);
    free(t);
}

static int count_bytes(struct teacher *t, int64_t *out, struct err *e)
{
    struct memory m;

    if (check(t, e) < 0 || build(t, e) < 0 || select_kernels(t, &t->table, e) < 0 ||
        exec_plan(t->g, t->table, 1, 1, (int)t->c.student->train->chunks, &m, e) < 0)
        return e->code;
    *out = (int64_t)(m.workspace + m.packed);
    for (int i = 0; i < REGION_COUNT; i++)
        *out += (int64_t)(m.bytes[i] * (i == REGION_SLOT ? (size_t)m.slots : 1));
    return 0;
}

int teacher_bytes(const Nnd__Job *job, const Nnd__Job *student, int64_t vocab,
                  const struct kernels *ks, int64_t *out, struct err *e)
{
    struct teacher t = {.c = {.checkpoint = student->distill->teacher,
                              .job = job,
                              .student = student,
                              .vocab = vocab,
                              .kernels = ks}};
    int rc = count_bytes(&t, out, e);

    kernel_table_destroy(t.table);
    graph_destroy(t.g);
    return rc;
}

/* Inputs have the same names and, but for contexts' tables, the same shapes. */
int teacher_teach(struct teacher *t, struct exec *student, const struct value *taught,
                  struct err *e)
{
    const struct graph *of = exec_graph(student);

    for (int i = 0; i < t->g->nvalue; i++) {
        const struct value *v = t->g->value[i], *w;

        if (v->storage != STORAGE_INPUT || v->root != v)
            continue;
        w = graph_find(of, v->name);
        if (w && value_bytes(w) == value_bytes(v))
            memcpy(exec_data(t->x, v), exec_data(student, w), value_bytes(v));
    }
    pads_fill(t->x, &t->model.chunk);
    pads_fill(t->x, &t->model.source);
    if (exec_run(t->x, t->program, 0, 0, e) < 0)
        return e->code;
    memcpy(exec_data(student, taught), exec_data(t->x, t->logits), value_bytes(taught));
    return 0;
}
