/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model.c - what all families have in common: inputs, statistics, programs.
 */
#include "model/model.h"

#include <stdio.h>

#include "model/family.h"

static const struct family *const families[] = {
    [NND__MODEL__FAMILY__DECODER] = &family_decoder,
    [NND__MODEL__FAMILY__ENCDEC] = &family_encdec,
    [NND__MODEL__FAMILY__RNNLM] = &family_rnnlm,
    [NND__MODEL__FAMILY__SEQ2SEQ] = &family_seq2seq,
};

static const struct family *family_of(const Nnd__Job *job)
{
    return families[job->model->family];
}

bool model_reads(const Nnd__Job *job)
{
    return family_of(job)->reads;
}

bool model_endless(const Nnd__Job *job)
{
    return family_of(job)->endless;
}

bool model_pads(const Nnd__Job *job)
{
    return family_of(job)->pads;
}

bool model_waits(const Nnd__Job *job)
{
    const Nnd__Model *m = job->model;
    return m->family == NND__MODEL__FAMILY__SEQ2SEQ &&
           m->attention != NND__ATTEND__NONE &&
           m->attention_place == NND__MODEL__ATTENTION_PLACE__BEFORE;
}

/* ---- layers --------------------------------------------------------------- */

uint32_t model_layers(const Nnd__Job *job)
{
    return (model_reads(job) ? job->model->encoder_layers : 0) + job->model->layers;
}

bool model_is_moe(const Nnd__Job *job, uint32_t i)
{
    const Nnd__Moe *moe = job->model->moe;
    if (!moe || !moe->experts || (i + 1) % moe->every)
        return false;
    for (size_t k = 0; k < moe->n_dense_layers; k++)
        if (moe->dense_layers[k] == i)
            return false;
    return true;
}

int model_moe_layers(const Nnd__Job *job)
{
    int n = 0;
    for (uint32_t i = 0; i < model_layers(job); i++)
        n += model_is_moe(job, i);
    return n;
}

/* ---- inputs --------------------------------------------------------------- */

/* Rows of a chunk, on either side, of a job that packs its samples; else 0. */
static int64_t packed_rows(const Nnd__Job *job)
{
    return job->train->batch_tokens / job->train->chunks;
}

/* Where a chunk's packed samples begin, and how a family that pads does; len: an input
 * that there is already, or NULL. */
static void pack_inputs(struct graph *g, const Nnd__Job *job, const char *prefix,
                        struct value *len, struct chunk *c)
{
    struct shape padded = shape_of(2, c->batch * c->context, (int64_t)1);
    char name[32];
    snprintf(name, sizeof(name), "%scu", prefix);
    c->cu = graph_input(g, name, NND_I32, shape_of(1, c->batch + 1));
    if (!family_of(job)->pads)
        return;
    snprintf(name, sizeof(name), "%spad", prefix);
    c->pad.from = graph_input(g, name, NND_I32, padded);
    snprintf(name, sizeof(name), "%sunpad", prefix);
    c->pad.to = graph_input(g, name, NND_I32, shape_of(2, c->rows, (int64_t)1));
    snprintf(name, sizeof(name), "%slen", prefix);
    c->pad.len = len ? len : graph_input(g, name, NND_I32, shape_of(1, c->batch));
}

/* Rows of `context` tokens per sample; what a step has once is given. */
static struct chunk source_inputs(struct graph *g, int64_t batch, int64_t context,
                                  int64_t n)
{
    struct shape rows = shape_of(1, n);
    return (struct chunk){
        .batch = batch,
        .context = context,
        .rows = n,
        .id = graph_input(g, "source.id", NND_I32, rows),
        .pos = graph_input(g, "source.pos", NND_I32, rows),
        .sample = graph_input(g, "source.sample", NND_I32, rows),
    };
}

static void init_source(struct model *m)
{
    if (!model_reads(m->job))
        return;
    int64_t context = m->job->model->source_context, batch = m->chunk.batch;
    int64_t packed = packed_rows(m->job);
    m->source = source_inputs(m->g, batch, context, packed ? packed : batch * context);
    m->source.rng = m->chunk.rng;
    m->source_len = graph_input(m->g, "source.len", NND_I32, shape_of(1, batch));
    if (packed)
        pack_inputs(m->g, m->job, "source.", m->source_len, &m->source);
}

/* One state of one layer, in three places: what the chunk begins with, what it ends
 * with, and what is kept of all chunks of this rank. */
static struct model_carry carry_of(struct graph *g, int64_t batch, int64_t width,
                                   uint32_t layer, int which)
{
    int dtype = which ? g->wide : g->act;
    char name[64];
    snprintf(name, sizeof(name), MODEL_CARRY_PREFIX "%u.%c", layer, "hc"[which]);
    struct shape all = shape_of(2, batch * g->mesh.chunks_local, width);
    struct model_carry c = {.kept = graph_state(g, name, NND_F32, all)};
    snprintf(name, sizeof(name), "carried.in.%u.%c", layer, "hc"[which]);
    c.in = graph_input(g, name, dtype, shape_of(2, batch, width));
    snprintf(name, sizeof(name), "carried.out.%u.%c", layer, "hc"[which]);
    c.out = graph_state(g, name, dtype, shape_of(2, batch, width));
    return c;
}

static void init_carry(struct model *m)
{
    const Nnd__Model *s = m->job->model;
    int states = model_cell_states(m->job);
    if (m->job->data->sampling != NND__DATA__SAMPLING__SEQUENTIAL)
        return;
    m->ncarry = (int)s->layers * states;
    m->carry = arena_calloc(m->g->mem, (size_t)m->ncarry, sizeof(*m->carry));
    for (int i = 0; i < m->ncarry; i++)
        m->carry[i] = carry_of(m->g, m->chunk.batch, s->width, (uint32_t)(i / states),
                               i % states);
}

int model_init(struct model *m, struct graph *g, const Nnd__Job *job, int64_t vocab,
               struct err *e)
{
    int64_t batch = job->train->batch / job->train->chunks, n = job->model->context;
    int64_t packed = packed_rows(job), total = packed ? packed : batch * n;
    struct shape rows = shape_of(1, total), one = shape_of(1, (int64_t)1);
    *m = (struct model){.g = g, .job = job, .vocab = vocab};
    m->chunk = (struct chunk){
        .batch = batch,
        .context = n,
        .rows = total,
        .id = graph_input(g, "id", NND_I32, rows),
        .target = graph_input(g, "target", NND_I32, rows),
        .pos = graph_input(g, "pos", NND_I32, rows),
        .sample = graph_input(g, "sample", NND_I32, rows),
        .rng = graph_input(g, "rng", NND_I64, shape_of(1, (int64_t)2)),
        .seed = graph_input(g, "seed", g->wide, one),
    };
    if (packed)
        pack_inputs(g, job, "", NULL, &m->chunk);
    init_source(m);
    init_carry(m);
    if (job->train->teacher != NND__TRAIN__TEACHER__ALWAYS)
        m->teach = (struct teach){.share = graph_input(g, "teacher", g->wide, one),
                                  .mixed = graph_state(g, "mixed", NND_I32, rows),
                                  .drawn = job->train->teacher_own ==
                                           NND__TRAIN__TEACHER_OWN__SAMPLE};
    if (job->distill && *job->distill->teacher)
        m->taught = graph_input(g, "taught", g->wide, shape_of(2, total, vocab));
    m->aux_scale = graph_input(g, "aux_scale", g->wide, one);
    m->stats = graph_state(g, "stats", NND_F64,
                           shape_of(2, (int64_t)g->mesh.chunks, (int64_t)STATS_COUNT));
    if (model_moe_layers(job))
        m->load = graph_state(g, "load", NND_I64,
                              shape_of(2, (int64_t)model_moe_layers(job),
                                       (int64_t)job->model->moe->experts));
    return graph_status(g, e);
}

/* ---- programs ------------------------------------------------------------- */

static struct build build_of(const struct model *m, bool train)
{
    size_t layers = model_layers(m->job);
    struct build b = {
        .m = m, .g = m->g, .spec = m->job->model, .chunk = &m->chunk, .train = train};
    b.route = arena_calloc(m->g->mem, layers, sizeof(*b.route));
    b.z_weight = arena_calloc(m->g->mem, layers, sizeof(*b.z_weight));
    return b;
}

/* Where the host is apart, carried states are the device's to move (train/carry.h). */
static void carry_all(const struct model *m, bool back)
{
    for (int i = 0; m->g->apart && i < m->ncarry; i++)
        op_carry(m->g, m->carry[i].kept, back ? m->carry[i].out : m->carry[i].in, back);
}

static int forward(const struct model *m, const char *program, bool train,
                   struct err *e)
{
    int p = graph_program(m->g, program);
    struct build b = build_of(m, train);
    graph_scope(m->g, "chunk");
    op_stats_begin(m->g, m->stats);
    carry_all(m, false);
    struct value *logits = family_of(m->job)->logits(&b);
    graph_scope(m->g, "loss");
    if (!logits)
        graph_fail(m->g, "model: a block gave no result");
    double smoothing = train ? m->job->train->label_smoothing : 0;
    const Nnd__Distill *d = m->job->distill;
    struct value *loss =
        train && m->taught
            ? op_distill(m->g, logits, m->taught, d->alpha, d->temperature, &m->chunk)
            : op_xent_smooth(m->g, logits, smoothing, &m->chunk);
    op_stats_loss(m->g, loss, m->stats);
    carry_all(m, true);
    return graph_status(m->g, e) ? e->code : p;
}

int model_teach(struct model *m, struct value **logits, struct err *e)
{
    int p = graph_program(m->g, "teach");
    struct build b = build_of(m, false);
    struct value *z = family_of(m->job)->logits(&b);
    graph_scope(m->g, "%s", "");
    *logits =
        graph_state(m->g, "taught", m->g->wide, shape_of(2, m->chunk.rows, m->vocab));
    if (!z)
        graph_fail(m->g, "model: a block gave no result");
    op_copy(m->g, z, *logits);
    return graph_status(m->g, e) ? e->code : p;
}

int model_forward(struct model *m, struct err *e)
{
    struct model given = *m;
    if (m->teach.mixed)
        given.chunk.id = m->teach.mixed;
    return forward(&given, "forward", true, e);
}

int model_eval(struct model *m, struct err *e)
{
    return forward(m, "eval", false, e);
}

int model_guess(struct model *m, int *program, struct err *e)
{
    const struct family *f = family_of(m->job);
    *program = -1;
    if (!m->teach.mixed)
        return 0;
    *program = graph_program(m->g, "guess");
    carry_all(m, false);
    struct build b = build_of(m, false);
    if (f->guess) {
        f->guess(&b);
    } else {
        struct value *z = f->logits(&b);
        op_teach(m->g, &m->chunk, &m->teach,
                 op_teach_guess(m->g, &m->chunk, &m->teach, z));
    }
    return graph_status(m->g, e);
}

/* The program "encode", for a family that reads. */
static void decode_source(struct model m, int64_t sources, struct decode_step *s)
{
    const struct family *f = family_of(m.job);
    if (!f->reads)
        return;
    graph_program(m.g, "encode");
    int64_t context = m.job->model->source_context;
    m.chunk.batch = sources;
    m.source = source_inputs(m.g, sources, context, sources * context);
    m.source_len = graph_input(m.g, "source.len", NND_I32, shape_of(1, sources));
    s->source_id = m.source.id;
    s->source_pos = m.source.pos;
    s->source_len = m.source_len;
    struct build b = build_of(&m, false);
    f->encode(&b);
}

/* Program number i: the first n rows.  Where they looked goes to *all. */
static void decode_rows(struct model m, int i, int64_t n, struct decode_step *all)
{
    struct graph *g = m.g;
    char name[32];
    snprintf(name, sizeof(name), "decode.%d", i);
    graph_program(g, name);
    struct decode_step s = *all;
    s.id = op_head(g, all->id, n);
    s.pos = op_head(g, all->pos, n);
    s.slot = op_head(g, all->slot, n);
    s.len = op_head(g, all->len, n);
    m.chunk = (struct chunk){.batch = n, .context = 1, .id = s.id, .pos = s.pos};
    m.source_len = op_head(g, all->reach, n);
    struct build b = build_of(&m, false);
    b.step = &s;
    struct value *logits = family_of(m.job)->logits(&b);
    graph_scope(g, "%s", "");
    op_copy(g, logits, op_head(g, all->logits, n));
    all->weight = s.weight;
    all->query = s.query;
    all->key = s.key;
}

int model_decode(struct graph *g, const Nnd__Job *job, int64_t vocab,
                 const struct decode_shape *shape, struct decode_step *out,
                 struct err *e)
{
    struct shape s = shape_of(1, shape->rows);
    *out = (struct decode_step){.rows = shape->rows,
                                .id = graph_input(g, "id", NND_I32, s),
                                .pos = graph_input(g, "pos", NND_I32, s),
                                .slot = graph_input(g, "slot", NND_I32, s),
                                .len = graph_input(g, "len", NND_I32, s)};
    struct model m = {.g = g, .job = job, .vocab = vocab};
    if (model_reads(job))
        out->reach = graph_input(g, "source.reach", NND_I32, s);
    out->logits = graph_state(g, "logits", g->wide, shape_of(2, shape->rows, vocab));
    decode_source(m, shape->sources, out);
    decode_rows(m, 0, shape->rows, out);
    for (int i = 1; i < shape->sizes; i++)
        decode_rows(m, i, shape->size[i], out);
    return graph_status(g, e);
}
