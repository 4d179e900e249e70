/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decoder.c - the decode program of a model, bound for a number of rows.
 */
#include "decode/decoder.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"

struct decoder {
    struct decoder_config c;
    struct graph *g;
    struct decode_step step;
    struct kernel_table *table;
    struct exec *x;
    int program, encode; /* encode: -1 when nothing is read */
    int64_t length;
};

static int build(struct decoder *d, struct err *e)
{
    static const int dtype[] = {
        [NND__TRAIN__PRECISION__BF16] = NND_BF16,
        [NND__TRAIN__PRECISION__FP16] = NND_F16,
        [NND__TRAIN__PRECISION__FP32] = NND_F32,
    };
    const Nnd__Job *job = d->c.job;
    struct mesh mesh;

    if (mesh_make(1, 1, 1, 1, 1, 1, 1, 0, &mesh, e) < 0)
        return e->code;
    d->g = graph_create(&mesh, dtype[job->train->precision], NND_F32);
    if (model_decode(d->g, job, d->c.vocab, d->c.rows, &d->step, e) < 0)
        return e->code;
    d->program = graph_find_program(d->g, "decode");
    d->encode = graph_find_program(d->g, "encode");
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

static int create(struct decoder *d, struct err *e)
{
    if (build(d, e) < 0 || choose_kernels(d, e) < 0)
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

int64_t decoder_length(const struct decoder *d)
{
    return d->length;
}

/* Recurrent states begin with what the source left, or with zeros. */
static void begin_state(struct decoder *d, const struct value *v)
{
    char name[256];
    const struct value *first;

    snprintf(name, sizeof name, "%s" MODEL_FIRST_SUFFIX, v->name);
    first = graph_find(d->g, name);
    if (first)
        memcpy(exec_data(d->x, v), exec_data(d->x, first), value_bytes(v));
    else
        memset(exec_data(d->x, v), 0, value_bytes(v));
}

static bool is_step_state(const struct value *v)
{
    size_t len = strlen(v->name), n = strlen(MODEL_STEP_SUFFIX);

    return v->storage == STORAGE_STATE && v->root == v && len > n &&
           strcmp(v->name + len - n, MODEL_STEP_SUFFIX) == 0;
}

void decoder_reset(struct decoder *d)
{
    d->length = 0;
    for (int i = 0; i < d->g->nvalue; i++)
        if (is_step_state(d->g->value[i]))
            begin_state(d, d->g->value[i]);
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
    for (int r = 0; r < d->c.rows; r++) {
        if (len[r] > most)
            return err_set(e, ERR_FAILED,
                           "decoding: wanted at most %lld tokens to read, found %u",
                           (long long)most, len[r]);
        real[r] = (int32_t)len[r];
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

int decoder_step(struct decoder *d, const uint32_t *id, struct err *e)
{
    int64_t context = d->c.job->model->context;
    const struct decode_step *s = &d->step;
    int32_t *in = exec_data(d->x, s->id), *pos = exec_data(d->x, s->pos);
    int32_t *slot = exec_data(d->x, s->slot), *len = exec_data(d->x, s->len);

    if (decoder_full(d))
        return err_set(e, ERR_FAILED, "decoding: the context of %lld tokens is full",
                       (long long)context);
    for (int r = 0; r < d->c.rows; r++) {
        in[r] = (int32_t)id[r];
        pos[r] = (int32_t)d->length;
        slot[r] = (int32_t)(r * context + d->length);
        len[r] = (int32_t)(d->length + 1);
    }
    if (exec_run(d->x, d->program, 0, 0, e) < 0)
        return e->code;
    d->length++;
    return 0;
}

const float *decoder_logits(const struct decoder *d, int row)
{
    return (const float *)exec_data(d->x, d->step.logits) + row * d->c.vocab;
}
