/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan_report.c - walks the graph of each rank and adds up.
 */
#include "train/plan_report.h"

#include <string.h>

#include "train/checkpoint.h"
#include "train/teacher.h"
#include "train/trainer_impl.h"

const char *const plan_kind_name[PLAN_KINDS] = {
    [PLAN_WEIGHTS] = "weights",         [PLAN_MASTER] = "master",
    [PLAN_MOMENTS] = "moments",         [PLAN_GRADIENTS] = "gradients",
    [PLAN_ACTIVATIONS] = "activations", [PLAN_BUFFERS] = "buffers",
    [PLAN_COLLECTIVES] = "collectives", [PLAN_TEACHER] = "teacher",
    [PLAN_SCORES] = "scores",
};

/* What all ranks are looked at with. */
struct survey {
    const Nnd__Job *job;
    const struct kernels *ks;
    const struct kernel_table *table;
    int64_t vocab, corpus_bytes;
    struct arena *a;
    struct plan_report *out;
    size_t room; /* of out->wire */
};

int64_t plan_rank_total(const struct plan_rank *r)
{
    int64_t n = 0;

    for (int i = 0; i < PLAN_KINDS; i++)
        n += r->bytes[i];
    return n;
}

/* --- the model ------------------------------------------------------------ */

static void count_params(const struct graph *g, const Nnd__Job *job,
                         struct plan_report *out)
{
    for (int i = 0; i < g->nparam; i++) {
        int64_t n = shape_elements(&g->param[i]->value->shape);

        out->params += n;
        if (g->param[i]->group == PARAM_EXPERT)
            n = n / job->model->moe->experts * job->model->moe->top_k;
        out->active += n;
    }
}

static int64_t program_flops(const struct graph *g, int program)
{
    const struct program *p = &g->program[program];
    int64_t n = 0;

    for (int i = p->first; i < p->end; i++)
        if (g->node[i]->op->flops && !g->node[i]->redo && !g->node[i]->again)
            n += g->node[i]->op->flops(g->node[i]);
    return n;
}

/* On one rank nothing is sharded and no buffer is larger than it must be. */
static int survey_model(struct survey *s, struct err *e)
{
    Nnd__Parallel alone = *s->job->parallel;
    Nnd__Job job = *s->job;
    struct programs p;

    alone.dp = alone.ep = 1;
    job.parallel = &alone;
    if (programs_build(&job, 0, s->vocab, &p, e) < 0)
        return e->code;
    count_params(p.g, &job, s->out);
    s->out->token_flops =
        (program_flops(p.g, p.forward) + program_flops(p.g, p.backward)) /
        p.model.chunk.rows;
    graph_destroy(p.g);
    return 0;
}

/* --- the memory of a rank ------------------------------------------------- */

static size_t piece_bytes(const struct value *v)
{
    return v && v->storage == STORAGE_STATE ? value_bytes(v) : 0;
}

static int survey_memory(struct survey *s, struct programs *p, struct plan_rank *r,
                         struct err *e)
{
    const struct update *u = &p->update;
    struct memory m;

    if (exec_plan(p->g, s->table, 1, p->g->mesh.chunks_local, p->g->mesh.chunks_local,
                  &m, e) < 0)
        return e->code;
    for (int i = 0; i < u->npieces; i++) {
        r->bytes[PLAN_MASTER] += (int64_t)piece_bytes(u->piece[i].master);
        r->bytes[PLAN_MOMENTS] +=
            (int64_t)(piece_bytes(u->piece[i].m) + piece_bytes(u->piece[i].v) +
                      piece_bytes(u->piece[i].average));
    }
    r->bytes[PLAN_WEIGHTS] = (int64_t)m.bytes[REGION_PARAM];
    r->bytes[PLAN_GRADIENTS] = (int64_t)m.bytes[REGION_GRAD];
    r->bytes[PLAN_ACTIVATIONS] =
        (int64_t)(m.bytes[REGION_SLOT] * (size_t)m.slots + m.bytes[REGION_ARENA]);
    r->bytes[PLAN_BUFFERS] =
        (int64_t)(m.bytes[REGION_STATE] + m.bytes[REGION_INPUT] + m.workspace +
                  m.packed + checkpoint_bytes(p->g, u, checkpoint_in_place(s->job))) -
        r->bytes[PLAN_MASTER] - r->bytes[PLAN_MOMENTS] + s->corpus_bytes;
    return 0;
}

/* What NCCL and its like keep to themselves. */
static int64_t survey_peers(const struct survey *s, const struct graph *g)
{
    const struct nnd_device_ops *dev = kernels_device(s->ks, s->job->kernels->device);

    return dev && !trainer_staged(s->job) ? (int64_t)exec_peers_bytes(g, dev) : 0;
}

/* --- the wire ------------------------------------------------------------- */

/* How often a training step runs a program. */
static int64_t runs_per_step(const struct programs *p, int program)
{
    if (program == p->forward || program == p->backward || program == p->guess)
        return p->g->mesh.chunks_local;
    return program == p->report || program == p->update.reduce ||
           program == p->update.apply;
}

static struct plan_wire *wire_row(struct survey *s, const struct node *n)
{
    struct plan_report *o = s->out;

    for (size_t i = 0; i < o->nwire; i++)
        if (strcmp(o->wire[i].collective, n->op->name) == 0 &&
            strcmp(o->wire[i].where, n->where) == 0)
            return &o->wire[i];
    if (o->nwire == s->room) {
        size_t room = s->room ? 2 * s->room : 64;
        struct plan_wire *more = arena_calloc(s->a, room, sizeof *more);

        if (o->nwire)
            memcpy(more, o->wire, o->nwire * sizeof *more);
        o->wire = more;
        s->room = room;
    }
    o->wire[o->nwire] = (struct plan_wire){.collective = n->op->name,
                                           .where = arena_strdup(s->a, n->where),
                                           .routed = n->op->routed};
    return &o->wire[o->nwire++];
}

static void survey_wire(struct survey *s, const struct programs *p, int rank)
{
    const struct graph *g = p->g;

    for (int i = 0; i < g->nnode; i++) {
        const struct node *n = g->node[i];
        int64_t runs = runs_per_step(p, n->program), bytes;
        struct plan_wire *w;

        if (!n->op->wire || n->redo || !runs)
            continue;
        bytes = n->op->wire(g, n) * runs;
        if (!bytes && g->mesh.dp == 1)
            continue;
        w = wire_row(s, n);
        w->bytes += bytes;
        w->calls += rank == 0 ? runs : 0;
        s->out->rank[rank].wire += bytes;
    }
}

/* --- all ------------------------------------------------------------------ */

static int survey_rank(struct survey *s, int rank, struct err *e)
{
    struct programs p;
    int rc = programs_build(s->job, rank, s->vocab, &p, e);

    if (rc < 0)
        return rc;
    rc = survey_memory(s, &p, &s->out->rank[rank], e);
    if (rc == 0) {
        s->out->rank[rank].bytes[PLAN_COLLECTIVES] = survey_peers(s, p.g);
        survey_wire(s, &p, rank);
    }
    if (rc == 0 && rank == 0)
        rc = exec_wants(p.g, s->a, &s->out->want, &s->out->nwant, e);
    for (size_t i = 0; rc == 0 && rank == 0 && i < s->out->nwant; i++)
        s->out->want[i].where = NULL;
    graph_destroy(p.g);
    return rc;
}

static const char *print_table(const struct kernel_table *t, struct arena *a)
{
    struct buf b = {0};
    const char *text;

    kernel_table_print(t, &b);
    text = arena_strdup(a, b.data ? b.data : "");
    buf_free(&b);
    return text;
}

int plan_kernels(const Nnd__Job *job, const struct kernels *ks, int64_t vocab,
                 struct arena *a, const char **out, struct err *e)
{
    struct kernel_table *table = NULL;
    int rc = kernels_for_job(ks, job, vocab, NULL, &table, e);

    if (rc == 0)
        *out = print_table(table, a);
    kernel_table_destroy(table);
    return rc;
}

int plan_report_make(const Nnd__Job *job, const Nnd__Job *teacher,
                     const struct kernels *ks, int64_t vocab, int64_t corpus_bytes,
                     int64_t scores_bytes, struct arena *a, struct plan_report *out,
                     struct err *e)
{
    struct kernel_table *table = NULL;
    struct survey s = {job, ks, NULL, vocab, corpus_bytes, a, out, 0};
    int64_t taught = 0;
    int rc;

    *out = (struct plan_report){.ranks = (int)job->parallel->dp};
    out->rank = arena_calloc(a, (size_t)out->ranks, sizeof *out->rank);
    rc = survey_model(&s, e);
    if (rc == 0)
        rc = kernels_for_job(ks, job, vocab, NULL, &table, e);
    if (rc == 0 && teacher)
        rc = teacher_bytes(teacher, job, vocab, ks, &taught, e);
    s.table = table;
    for (int r = 0; rc == 0 && r < out->ranks; r++)
        rc = survey_rank(&s, r, e);
    for (int r = 0; r < out->ranks; r++)
        out->rank[r].bytes[PLAN_TEACHER] = taught;
    out->rank[0].bytes[PLAN_SCORES] = scores_bytes;
    if (rc == 0)
        out->kernels = print_table(table, a);
    kernel_table_destroy(table);
    return rc;
}
