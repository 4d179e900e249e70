/* SPDX-License-Identifier: Apache-2.0 */
/*
 * onnx_export.c - the parts of a model as files, with their weights.
 */
#include "exchange/onnx_export.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "exchange/onnx_emit.h"
#include "exchange/onnx_model.h"
#include "model/model.h"
#include "train/checkpoint_stored.h"

#define INLINE_MAX ((uint64_t)1900 << 20) /* protobuf ends at 2 GB */
#define ALIGN      ((uint64_t)4096)

/* What is put between NAME and .onnx: the whole model, a step, and where one is, the
 * encoder. */
static const char *const parts[] = {"", ".step", ".encoder"};

struct exporting {
    const struct onnx_export *x;
    struct arena *mem; /* of one file */
    struct stored *from;
    char path[PATH_MAX], data[PATH_MAX + 8]; /* of one file */
    int fd;                                  /* of its weights beside it, or -1 */
    uint64_t at;
};

/* ---- weights -------------------------------------------------------------- */

/* Rows x cols to cols x rows. */
static void turn(const float *in, float *out, int64_t rows, int64_t cols)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < cols; c++)
            out[c * rows + r] = in[r * cols + c];
}

static int read_one(const struct exporting *x, const char *name, int64_t n, float *out,
                    struct err *e)
{
    const struct safetensors_tensor *t;
    const struct safetensors *file = stored_weight(x->from, name, true, &t);

    if (!t || t->dtype != NND_F32 || t->elements != (uint64_t)n)
        return err_set(e, ERR_SPEC, "%s: tensor %s: wanted %lld numbers, found %lld",
                       x->x->checkpoint, name, (long long)n,
                       t ? (long long)t->elements : 0);
    return safetensors_read(file, t, 0, t->elements, out, e);
}

/* A weight, a stack of them one after the other, or a constant; the caller frees it. */
static int read_weight(const struct exporting *x, const struct graph *g,
                       const struct value *v, float **out, struct err *e)
{
    int64_t all = shape_elements(&v->shape), stack = v->param ? v->param->stack : 0;
    int64_t each = all / (stack ? stack : 1), cols = shape_cols(&v->shape);
    float *a = malloc(((size_t)all + 1) * sizeof *a);
    float *b = malloc(((size_t)all + 1) * sizeof *b);
    char name[320];
    int rc = a && b ? 0 : err_set(e, ERR_NOMEM, "%s: no memory", v->name);

    if (rc == 0 && v->fill)
        v->fill(&v->shape, a);
    for (int64_t i = 0; rc == 0 && !v->fill && i < (stack ? stack : 1); i++) {
        if (v->param)
            param_name(v->param, (int)i, name, sizeof name);
        else
            snprintf(name, sizeof name, "%s", v->name);
        rc = read_one(x, name, each, a + i * each, e);
    }
    bool turned = rc == 0 && onnx_is_transposed(g, v);
    for (int64_t i = 0; turned && i < (stack ? stack : 1); i++)
        turn(a + i * each, b + i * each, each / cols, cols);
    free(turned ? a : b);
    if (rc < 0)
        free(a);
    else
        *out = turned ? b : a;
    return rc;
}

static void put_dims(struct exporting *x, const struct graph *g, const struct value *v,
                     Onnx__Tensor *t)
{
    int n = v->shape.ndim;

    t->n_dims = (size_t)n;
    t->dims = arena_calloc(x->mem, (size_t)n + 1, sizeof *t->dims);
    for (int i = 0; i < n; i++)
        t->dims[i] = v->shape.dim[i];
    if (!onnx_is_transposed(g, v))
        return;
    t->dims[n - 2] = v->shape.dim[n - 1];
    t->dims[n - 1] = v->shape.dim[n - 2];
}

static int write_all(int fd, const char *data, uint64_t len, uint64_t at, struct err *e)
{
    while (len > 0) {
        ssize_t n = pwrite(fd, data, len, (off_t)at);

        if (n <= 0 && errno != EINTR)
            return err_sys(e, err_code_of(errno), errno, "write weights");
        if (n > 0) {
            data += n;
            at += (uint64_t)n;
            len -= (uint64_t)n;
        }
    }
    return 0;
}

static Onnx__Entry *entry(struct arena *mem, const char *key, const char *value)
{
    Onnx__Entry *n = arena_alloc(mem, sizeof *n);

    onnx__entry__init(n);
    n->key = arena_strdup(mem, key);
    n->value = arena_strdup(mem, value);
    return n;
}

/* Beside the model, from a multiple of ALIGN on. */
static int put_outside(struct exporting *x, Onnx__Tensor *t, const float *data,
                       uint64_t bytes, struct err *e)
{
    const char *name = strrchr(x->data, '/');
    char number[32];
    int rc = write_all(x->fd, (const char *)data, bytes, x->at, e);

    t->has_data_location = 1;
    t->data_location = 1;
    t->n_external_data = 3;
    t->external_data = arena_calloc(x->mem, 3, sizeof(Onnx__Entry *));
    t->external_data[0] = entry(x->mem, "location", name ? name + 1 : x->data);
    snprintf(number, sizeof number, "%llu", (unsigned long long)x->at);
    t->external_data[1] = entry(x->mem, "offset", number);
    snprintf(number, sizeof number, "%llu", (unsigned long long)bytes);
    t->external_data[2] = entry(x->mem, "length", number);
    x->at = (x->at + bytes + ALIGN - 1) / ALIGN * ALIGN;
    return rc;
}

static int put_weight(struct exporting *x, const struct graph *g, const struct value *v,
                      Onnx__Tensor *t, struct err *e)
{
    uint64_t bytes = (uint64_t)shape_elements(&v->shape) * sizeof(float);
    float *data = NULL;
    int rc = read_weight(x, g, v, &data, e);

    if (rc < 0)
        return rc;
    put_dims(x, g, v, t);
    if (x->fd >= 0) {
        rc = put_outside(x, t, data, bytes, e);
    } else {
        t->has_raw_data = 1;
        t->raw_data.len = bytes;
        t->raw_data.data = arena_memdup(x->mem, data, bytes);
    }
    free(data);
    return rc;
}

static int put_weights(struct exporting *x, const struct graph *g,
                       const struct onnx_model *m, struct err *e)
{
    uint64_t all = 0;
    int rc = 0;

    for (size_t i = 0; i < m->proto->graph->n_initializer; i++)
        all += (uint64_t)shape_elements(&m->weight[i]->shape) * sizeof(float);
    if (x->x->external || all > INLINE_MAX) {
        x->fd = open(x->data, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        if (x->fd < 0)
            return err_sys(e, err_code_of(errno), errno, "open %s", x->data);
    }
    for (size_t i = 0; rc == 0 && i < m->proto->graph->n_initializer; i++)
        rc = put_weight(x, g, m->weight[i], m->proto->graph->initializer[i], e);
    if (x->fd >= 0 && rc == 0 && fsync(x->fd) < 0)
        rc = err_sys(e, err_code_of(errno), errno, "sync %s", x->data);
    if (x->fd >= 0)
        close(x->fd);
    x->fd = -1;
    return rc;
}

/* ---- files ---------------------------------------------------------------- */

static int name_file(struct exporting *x, const char *part, struct err *e)
{
    size_t len = strlen(x->x->to);
    int n = len > 5 && strcmp(x->x->to + len - 5, ".onnx") == 0
                ? snprintf(x->path, sizeof x->path, "%.*s%s.onnx", (int)(len - 5),
                           x->x->to, part)
                : (int)sizeof x->path;

    if (n >= (int)sizeof x->path)
        return err_set(e, ERR_USAGE, "%.200s: wanted a name that ends in .onnx",
                       x->x->to);
    snprintf(x->data, sizeof x->data, "%s.data", x->path);
    return 0;
}

static size_t count_parts(const struct exporting *x)
{
    return model_reads(x->x->job) ? 3 : 2;
}

/* Before the first of them is written, which takes its time. */
static int check_free(struct exporting *x, struct err *e)
{
    for (size_t i = 0; i < count_parts(x); i++) {
        if (name_file(x, parts[i], e) < 0)
            return e->code;
        if (fs_exists(x->path) || fs_exists(x->data))
            return err_set(e, ERR_USAGE, "%s: is there already",
                           fs_exists(x->path) ? x->path : x->data);
    }
    return 0;
}

/* What is left of an export that failed would forbid the next one. */
static void remove_parts(struct exporting *x)
{
    struct err ignored;

    for (size_t i = 0; i < count_parts(x); i++)
        if (name_file(x, parts[i], &ignored) == 0) {
            unlink(x->path);
            unlink(x->data);
        }
}

static void describe(struct exporting *x, Onnx__Model *m)
{
    char step[32];

    snprintf(step, sizeof step, "%lld", (long long)x->from->manifest.state.step);
    m->doc_string =
        arena_printf(x->mem,
                     "%s after %s steps of training by nnd: %u layers of width %u, "
                     "%lld tokens. A box "
                     "with a function is a block, called once for each layer.",
                     x->x->job->name, step, x->x->job->model->layers,
                     x->x->job->model->width, (long long)x->x->vocab);
    m->n_metadata_props = 3;
    m->metadata_props = arena_calloc(x->mem, 3, sizeof(Onnx__Entry *));
    m->metadata_props[0] = entry(x->mem, "name", x->x->job->name);
    m->metadata_props[1] = entry(x->mem, "step", step);
    m->metadata_props[2] = entry(x->mem, "job", x->from->manifest.job);
}

static int write_model(struct exporting *x, const Onnx__Model *m, struct err *e)
{
    size_t len = onnx__model__get_packed_size(m);
    uint8_t *bytes = malloc(len + 1);
    int rc;

    if (!bytes)
        return err_set(e, ERR_NOMEM, "%s: no memory for %zu bytes", x->path, len);
    onnx__model__pack(m, bytes);
    rc = fs_publish(x->path, bytes, len, e);
    free(bytes);
    return rc;
}

/* One program of a graph as NAME<part>.onnx. */
static int write_part(struct exporting *x, const struct graph *g, const char *program,
                      const char *part, struct err *e)
{
    struct onnx_model m = {0};
    int rc = name_file(x, part, e);

    x->mem = arena_create();
    x->at = 0;
    x->fd = -1;
    if (rc == 0)
        rc = onnx_model_make(x->mem, g, program, &m, e);
    if (rc == 0)
        rc = put_weights(x, g, &m, e);
    if (rc == 0) {
        describe(x, m.proto);
        rc = write_model(x, m.proto, e);
    }
    arena_destroy(x->mem);
    return rc;
}

/* ---- graphs --------------------------------------------------------------- */

static int new_graph(struct graph **out, struct err *e)
{
    struct mesh mesh;

    if (mesh_make(1, 1, 1, 1, 1, 1, 1, 0, &mesh, e) < 0)
        return e->code;
    *out = graph_create(&mesh, NND_F32, NND_F32);
    return 0;
}

/* The model as it is validated, with one sequence in a batch: how many there are, and
 * how long, ONNX leaves open.  Where steps wait for each other there is one of them,
 * the body of a loop. */
static int write_whole(struct exporting *x, struct err *e)
{
    Nnd__Job job = *x->x->job;
    Nnd__Train train = *job.train;
    Nnd__Data data = *job.data;
    Nnd__Model spec = *job.model;
    struct graph *g = NULL;
    struct model model;
    int rc = new_graph(&g, e);

    train.batch = train.chunks = 1;
    train.batch_tokens = 0;
    data.sampling = NND__DATA__SAMPLING__RANDOM;
    job.train = &train;
    job.data = &data;
    if (model_waits(x->x->job))
        spec.context = 1;
    job.model = &spec;
    if (rc == 0)
        rc = model_init(&model, g, &job, x->x->vocab, e);
    if (rc == 0)
        rc = model_eval(&model, e);
    if (rc >= 0)
        rc = write_part(x, g, "eval", parts[0], e);
    graph_destroy(g);
    return rc;
}

static int write_steps(struct exporting *x, struct err *e)
{
    const struct decode_shape one = {.rows = 1, .sources = 1};
    struct decode_step step;
    struct graph *g = NULL;
    int rc = new_graph(&g, e);

    if (rc == 0)
        rc = model_decode(g, x->x->job, x->x->vocab, &one, &step, e);
    if (rc == 0)
        rc = write_part(x, g, "decode.0", parts[1], e);
    if (rc == 0 && model_reads(x->x->job))
        rc = write_part(x, g, "encode", parts[2], e);
    graph_destroy(g);
    return rc;
}

int onnx_export(const struct onnx_export *x, struct err *e)
{
    struct exporting k = {.x = x, .fd = -1};
    int rc = check_free(&k, e);

    if (rc < 0)
        return rc;
    rc = stored_open(x->checkpoint, &k.from, e);
    if (rc == 0)
        rc = stored_verify(k.from, true, 0, 1, e);
    if (rc == 0)
        rc = write_whole(&k, e);
    if (rc == 0)
        rc = write_steps(&k, e);
    if (rc < 0)
        remove_parts(&k);
    stored_close(k.from);
    return rc;
}
