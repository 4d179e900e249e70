/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decoder.c - the decode program of a model, bound for a number of rows.
 */
#include "decode/decoder.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"
#include "tensor/dtype.h"

enum { SIZES_MAX = 12 };

/* A state with a part for each row: what happens to it when rows move. */
struct part {
    const struct value *v, *first; /* first: a part for each source, or NULL */
    size_t bytes;                  /* of a row                               */
    bool grows;                    /* a slot for each token                  */
    bool source;                   /* depends on the source alone            */
};

struct decoder {
    struct decoder_config c;
    struct graph *g;
    struct decode_step step;
    struct kernel_table *table;
    struct exec *x;
    int program[SIZES_MAX], encode; /* encode: -1 when nothing is read */
    int64_t size[SIZES_MAX];        /* rows of each program            */
    int sizes;
    struct part *part;
    int parts;
    int rows;         /* that go on                          */
    int *source;      /* [c.rows]: number of the row's source */
    int32_t *lengths; /* [c.sources]                          */
    double *score;    /* [source_context]: scratch            */
    int64_t length;
};

/* All rows, and every half of them that is whole lots. */
static void choose_sizes(struct decoder *d)
{
    int unit = d->c.unit, lots = unit ? d->c.rows / unit : 1;

    d->size[d->sizes++] = d->c.rows;
    while (unit && lots > 1 && d->sizes < SIZES_MAX) {
        lots = (lots + 1) / 2;
        d->size[d->sizes++] = (int64_t)lots * unit;
    }
}

static int build(struct decoder *d, struct err *e)
{
    static const int dtype[] = {
        [NND__TRAIN__PRECISION__BF16] = NND_BF16,
        [NND__TRAIN__PRECISION__FP16] = NND_F16,
        [NND__TRAIN__PRECISION__FP32] = NND_F32,
    };
    const Nnd__Job *job = d->c.job;
    struct decode_shape shape;
    struct mesh mesh;

    if (mesh_make(1, 1, 1, 1, 1, 1, 1, 0, &mesh, e) < 0)
        return e->code;
    choose_sizes(d);
    shape = (struct decode_shape){d->c.rows, d->c.sources, d->size, d->sizes};
    d->g = graph_create(&mesh, dtype[job->train->precision], NND_F32);
    if (model_decode(d->g, job, d->c.vocab, &shape, &d->step, e) < 0)
        return e->code;
    for (int i = 0; i < d->sizes; i++) {
        char name[32];

        snprintf(name, sizeof name, "decode.%d", i);
        d->program[i] = graph_find_program(d->g, name);
    }
    d->encode = graph_find_program(d->g, "encode");
    return 0;
}

static bool ends(const char *text, const char *with)
{
    size_t len = strlen(text), n = strlen(with);

    return len > n && strcmp(text + len - n, with) == 0;
}

/* The states that are of rows. */
static int find_parts(struct decoder *d, struct err *e)
{
    d->part = calloc((size_t)d->g->nvalue + 1, sizeof *d->part);
    d->source = calloc((size_t)d->c.rows + 1, sizeof *d->source);
    d->lengths = calloc((size_t)d->c.sources + 1, sizeof *d->lengths);
    d->score = calloc((size_t)d->c.job->model->source_context + 1, sizeof *d->score);
    if (!d->part || !d->source || !d->lengths || !d->score)
        return err_set(e, ERR_NOMEM, "memory: a decoder of %d rows", d->c.rows);
    for (int i = 0; i < d->g->nvalue; i++) {
        const struct value *v = d->g->value[i];
        struct part p = {.v = v,
                         .bytes = value_bytes(v) / (size_t)d->c.rows,
                         .grows = ends(v->name, MODEL_CACHE_SUFFIX),
                         .source = ends(v->name, MODEL_SOURCE_SUFFIX)};
        char first[300];

        if (v->storage != STORAGE_STATE || v->root != v ||
            !(p.grows || p.source || ends(v->name, MODEL_STEP_SUFFIX)))
            continue;
        snprintf(first, sizeof first, "%s" MODEL_FIRST_SUFFIX, v->name);
        p.first = graph_find(d->g, first);
        d->part[d->parts++] = p;
    }
    return 0;
}

/* Kernels whose bits do not depend on who else is decoded. */
static int choose_kernels(struct decoder *d, struct err *e)
{
    struct kernel_policy p = {.device = d->c.job->kernels->device,
                              .flags = NND_K_DETERMINISTIC | NND_K_INVARIANT,
                              .rules = d->c.rules,
                              .nrules = d->c.nrules};
    struct arena *a = arena_create();
    struct kernel_want *want;
    size_t n;
    int rc = exec_wants(d->g, a, &want, &n, e);

    if (rc == 0)
        rc = kernel_select(d->c.kernels, &p, want, n, &d->table, e);
    arena_destroy(a);
    return rc;
}

static int count_bytes(struct decoder *d, int64_t *all, int64_t *weight, struct err *e)
{
    struct memory m;

    if (build(d, e) < 0 || choose_kernels(d, e) < 0 ||
        exec_plan(d->g, d->table, 1, 1, INT_MAX, &m, e) < 0)
        return e->code;
    *all = (int64_t)(m.workspace + m.packed);
    for (int i = 0; i < REGION_COUNT; i++)
        *all += (int64_t)(m.bytes[i] * (i == REGION_SLOT ? (size_t)m.slots : 1));
    *weight = 0;
    for (int i = 0; i < d->g->nparam; i++)
        if ((int64_t)value_bytes(d->g->param[i]->value) > *weight)
            *weight = (int64_t)value_bytes(d->g->param[i]->value);
    return 0;
}

int decoder_bytes(const struct decoder_config *c, int64_t *all, int64_t *weight,
                  struct err *e)
{
    struct decoder d = {.c = *c};
    int rc;

    d.c.sources = c->sources ? c->sources : c->rows;
    rc = count_bytes(&d, all, weight, e);
    kernel_table_destroy(d.table);
    graph_destroy(d.g);
    return rc;
}

static int create(struct decoder *d, struct err *e)
{
    if (build(d, e) < 0 || find_parts(d, e) < 0 || choose_kernels(d, e) < 0)
        return e->code;
    struct exec_config c = {.slots = 1,
                            .positions = 1,
                            .repeats = INT_MAX,
                            .comms = {d->c.self, d->c.self, d->c.self},
                            .device = d->c.job->kernels->device,
                            .kernels = d->c.kernels,
                            .table = d->table,
                            .threads = d->c.threads};
    return exec_create(d->g, &c, &d->x, e);
}

int decoder_create(const struct decoder_config *c, struct decoder **out, struct err *e)
{
    struct decoder *d = calloc(1, sizeof *d);
    int rc;

    if (!d)
        return err_set(e, ERR_NOMEM, "memory: a decoder");
    d->c = *c;
    d->c.sources = c->sources ? c->sources : c->rows;
    rc = create(d, e);
    if (rc < 0) {
        decoder_destroy(d);
        return rc;
    }
    decoder_reset(d);
    *out = d;
    return 0;
}

void decoder_destroy(struct decoder *d)
{
    if (!d)
        return;
    exec_destroy(d->x);
    kernel_table_destroy(d->table);
    graph_destroy(d->g);
    free(d->part);
    free(d->source);
    free(d->lengths);
    free(d->score);
    free(d);
}

struct exec *decoder_exec(const struct decoder *d)
{
    return d->x;
}

int64_t decoder_vocab(const struct decoder *d)
{
    return d->c.vocab;
}

int64_t decoder_most(const struct decoder *d)
{
    return model_endless(d->c.job) ? INT64_MAX : d->c.job->model->context;
}

int64_t decoder_width(const struct decoder *d)
{
    return decoder_reads(d) ? d->c.job->model->source_context : 0;
}

int64_t decoder_length(const struct decoder *d)
{
    return d->length;
}

int64_t decoder_reach(const struct decoder *d, int row)
{
    return d->lengths[d->source[row]];
}

/* What a state begins with: what the source left, or zeros. */
static void begin_part(struct decoder *d, const struct part *p)
{
    char *to = exec_data(d->x, p->v);
    const char *first = p->first ? exec_data(d->x, p->first) : NULL;

    for (int r = 0; r < d->c.rows && !p->grows; r++) {
        if (first)
            memcpy(to + p->bytes * (size_t)r, first + p->bytes * (size_t)d->source[r],
                   p->bytes);
        else
            memset(to + p->bytes * (size_t)r, 0, p->bytes);
    }
}

void decoder_reset(struct decoder *d)
{
    int share = d->c.rows / d->c.sources;

    d->length = 0;
    d->rows = d->c.rows;
    for (int r = 0; r < d->c.rows; r++)
        d->source[r] = r / share;
    for (int i = 0; i < d->parts; i++)
        begin_part(d, &d->part[i]);
}

/* Only slots that hold a token are copied. */
static void move_part(struct decoder *d, const struct part *p, const int *from,
                      int rows)
{
    char *at = exec_data(d->x, p->v);
    size_t n = p->bytes;

    if (p->grows)
        n = n / d->c.job->model->context * (size_t)d->length;
    for (int r = 0; r < rows; r++) {
        bool same = p->source && d->source[from[r]] == d->source[r];

        if (from[r] != r && !same)
            memcpy(at + p->bytes * (size_t)r, at + p->bytes * (size_t)from[r], n);
    }
}

void decoder_arrange(struct decoder *d, const int *from, int rows)
{
    bool moves = false;

    for (int r = 0; r < rows; r++)
        moves |= from[r] != r;
    for (int i = 0; moves && i < d->parts; i++)
        move_part(d, &d->part[i], from, rows);
    for (int r = 0; r < rows; r++)
        d->source[r] = d->source[from[r]];
    d->rows = rows;
}

bool decoder_full(const struct decoder *d)
{
    return d->length == d->c.job->model->context && !model_endless(d->c.job);
}

bool decoder_reads(const struct decoder *d)
{
    return d->encode >= 0;
}

int decoder_read(struct decoder *d, const uint32_t *id, const uint32_t *len,
                 struct err *e)
{
    int64_t most = d->c.job->model->source_context;
    int32_t *in, *pos, *real;

    if (!decoder_reads(d))
        return err_set(e, ERR_FAILED, "decoding: this family of models reads nothing");
    in = exec_data(d->x, d->step.source_id);
    pos = exec_data(d->x, d->step.source_pos);
    real = exec_data(d->x, d->step.source_len);
    for (int r = 0; r < d->c.sources; r++) {
        if (len[r] > most)
            return err_set(e, ERR_FAILED,
                           "decoding: wanted at most %lld tokens to read, found %u",
                           (long long)most, len[r]);
        real[r] = d->lengths[r] = (int32_t)len[r];
        for (int64_t i = 0; i < most; i++) {
            in[r * most + i] = i < len[r] ? (int32_t)id[r * most + i] : 0;
            pos[r * most + i] = i < len[r] ? (int32_t)i : -1;
        }
    }
    if (exec_run(d->x, d->encode, 0, 0, e) < 0)
        return e->code;
    decoder_reset(d);
    return 0;
}

/* The smallest program that has all rows. */
static int program_of(const struct decoder *d)
{
    int i = 0;

    while (i + 1 < d->sizes && d->size[i + 1] >= d->rows)
        i++;
    return i;
}

/* Rows that a program has and nobody wants any more get a token all the same. */
int decoder_step(struct decoder *d, const uint32_t *id, struct err *e)
{
    int64_t context = d->c.job->model->context;
    const struct decode_step *s = &d->step;
    int32_t *in = exec_data(d->x, s->id), *pos = exec_data(d->x, s->pos);
    int32_t *slot = exec_data(d->x, s->slot), *len = exec_data(d->x, s->len);
    int32_t *reach = s->reach ? exec_data(d->x, s->reach) : NULL;
    int program = program_of(d);

    if (decoder_full(d))
        return err_set(e, ERR_FAILED, "decoding: the context of %lld tokens is full",
                       (long long)context);
    for (int r = 0; r < d->size[program]; r++) {
        in[r] = r < d->rows ? (int32_t)id[r] : 0;
        pos[r] = (int32_t)d->length;
        slot[r] = (int32_t)(r * context + d->length);
        len[r] = (int32_t)(d->length + 1);
        if (reach)
            reach[r] = d->lengths[d->source[r]];
    }
    if (exec_run(d->x, d->program[program], 0, 0, e) < 0)
        return e->code;
    d->length++;
    return 0;
}

const float *decoder_logits(const struct decoder *d, int row)
{
    return (const float *)exec_data(d->x, d->step.logits) + row * d->c.vocab;
}

/* ---- where it looks ------------------------------------------------------- */

bool decoder_looks(const struct decoder *d)
{
    return d->step.weight || d->step.query;
}

/* Numbers [first, first + n) of a state. */
static void numbers_of(const struct decoder *d, const struct value *v, int64_t first,
                       int64_t n, float *out)
{
    const char *at = exec_data(d->x, v);

    dtype_to_f32(v->dtype, at + (size_t)first * dtype_size(v->dtype), out, (size_t)n);
}

/* One head's weights are added to out[keys]. */
static void add_head(const struct decoder *d, int row, int head, int64_t keys,
                     double *score, float *out)
{
    const Nnd__Model *m = d->c.job->model;
    int64_t n = m->head_dim, group = m->heads / m->kv_heads, s = m->source_context;
    float q[1024], k[1024];
    double top = -INFINITY, sum = 0;

    numbers_of(d, d->step.query, (row * (int64_t)m->heads + head) * n, n, q);
    for (int64_t i = 0; i < keys; i++) {
        int64_t at = ((row * s + i) * m->kv_heads + head / group) * n;

        numbers_of(d, d->step.key, at, n, k);
        score[i] = 0;
        for (int64_t j = 0; j < n; j++)
            score[i] += (double)q[j] * (double)k[j];
        score[i] /= sqrt((double)n);
        top = fmax(top, score[i]);
    }
    for (int64_t i = 0; i < keys; i++)
        sum += score[i] = exp(score[i] - top);
    for (int64_t i = 0; i < keys; i++)
        out[i] += (float)(score[i] / sum / m->heads);
}

void decoder_look(const struct decoder *d, int row, float *out)
{
    int64_t width = decoder_width(d), keys = decoder_reach(d, row);

    if (d->step.weight) {
        numbers_of(d, d->step.weight, row * width, width, out);
        return;
    }
    memset(out, 0, (size_t)width * sizeof *out);
    for (int h = 0; h < (int)d->c.job->model->heads; h++)
        add_head(d, row, h, keys, d->score, out);
}
