/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run.c - memory for a call, the call, and a look at all of the memory after.
 *
 * Each tensor has a block of its own on the kernel's device, with fences before
 * and behind and between padded rows.  Outputs start as a NaN that nobody
 * computes, workspace as NaN.
 */
#include "run.h"

#include <fenv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "child.h"
#include "kernel/hygiene.h"
#include "kernel/since.h"
#include "number.h"
#include "pack.h"
#include "tensor/dtype.h"

enum { LAUNCHES_MIN = 3, MEASURE_NS = 100000000, SLOW_NS = 1000000000 };
enum { CHUNK = 64 }; /* elements that are converted at once */
enum { FENCE = 256, FENCE_BYTE = 0xa5, POISON_BYTE = 0xff };

/* A block of device memory and what was written there. */
struct block {
    char *before;
    void *device;
    size_t size; /* with fences */
};

struct run {
    struct call *call;
    const struct trial *trial;
    struct block slot[CALL_SLOTS], array[CALL_ARRAYS], space, packed;
    struct nnd_stream stream;
    bool deriving; /* this run computes the ROLE_DERIVED slots */
};

static int dtype_of(const struct trial *t, const struct slot *s, bool wide)
{
    switch (s->kind) {
    case KIND_I32:
        return NND_I32;
    case KIND_F64:
        return NND_F64;
    case KIND_F32:
        return wide ? NND_F64 : NND_F32;
    case KIND_ACT:
        return wide ? NND_F64 : t->types->act;
    case KIND_WEIGHT:
        return wide ? NND_F64 : t->types->weight;
    case KIND_RESULT:
        return wide ? NND_F64 : t->types->result;
    case KIND_FIXED:
        return s->dtype;
    }
    return 0;
}

/* Is the slot part of this run, is it written, does it start with values? */
static bool is_present(const struct run *r, const struct slot *s)
{
    return s->role != ROLE_SCRATCH || r->deriving;
}

static bool is_written(const struct run *r, const struct slot *s)
{
    bool computed = s->role == ROLE_DERIVED || s->role == ROLE_SCRATCH;
    return s->role == ROLE_OUT || s->role == ROLE_INOUT || (computed && r->deriving);
}

static bool has_values(const struct run *r, const struct slot *s)
{
    return s->role == ROLE_IN || s->role == ROLE_INOUT ||
           (s->role == ROLE_DERIVED && !r->deriving);
}

static int trailing_zeros(int64_t bytes)
{
    int n = 0;
    while (n < 8 && bytes % 2 == 0) {
        bytes /= 2;
        n++;
    }
    return n;
}

/* Fill in everything but data. */
static void shape_tensor(const struct run *r, const struct slot *s)
{
    const struct layout *l = r->trial->layout;
    struct nnd_tensor *t = s->tensor;
    *t = (struct nnd_tensor){.ndim = s->ndim,
                             .dtype = dtype_of(r->trial, s, r->trial->wide)};
    int step = s->tensor == &r->call->scales ? 1 : l->step;
    int64_t size = (int64_t)dtype_size(t->dtype), stride = step;
    int64_t pad = l->pad + l->more * (s - r->call->slot);
    t->align_log2 = trailing_zeros(FENCE + l->shift * size);
    for (int n = s->ndim - 1; n >= 0; n--) {
        int axis = l->turned && s->ndim == 3 && n < 2 ? 1 - n : n;
        t->dim[axis] = s->dim[axis];
        t->stride[axis] = stride + (n == 0 && s->ndim > 1 ? pad : 0);
        if (l->even && n == 0 && s->ndim > 1)
            t->stride[axis] += -t->stride[axis] & (ROW_ELEMS - 1);
        stride = t->stride[axis] * (s->dim[axis] > 0 ? s->dim[axis] : 1);
        int zeros = trailing_zeros(t->stride[axis] * size);
        if (axis < s->ndim - 1 && zeros < t->align_log2)
            t->align_log2 = zeros;
    }
}

/* Numbers with scales say where those are; theirs have no gaps. */
static void shape_scales(const struct run *r, const struct slot *s)
{
    const struct slot *of = s->scales ? &r->call->slot[s->scales - 1] : NULL;
    if (!of)
        return;
    s->tensor->scale = of->tensor->data;
    s->tensor->scale_dtype = of->tensor->dtype;
    s->tensor->scale_block = s->block;
    s->tensor->scale_rows = s->block_rows;
    s->tensor->scale_stride = of->tensor->stride[0];
}

/* Elements from the first to behind the last. */
static int64_t extent_of(const struct nnd_tensor *t)
{
    int64_t last = 0;
    for (int axis = 0; axis < t->ndim; axis++) {
        if (t->dim[axis] == 0)
            return 0;
        last += (t->dim[axis] - 1) * t->stride[axis];
    }
    return last + 1;
}

/* Byte offset in the block of the i-th element in contiguous order. */
static size_t byte_of(const struct run *r, const struct nnd_tensor *t, int64_t i)
{
    int64_t at = r->trial->layout->shift;
    for (int axis = t->ndim - 1; axis >= 0; axis--) {
        at += i % t->dim[axis] * t->stride[axis];
        i /= t->dim[axis];
    }
    return FENCE + (size_t)at * dtype_size(t->dtype);
}

/* Elements first to first + n of a slot, as numbers one after the other, rounded as the
 * kernel under test would see them. */
static void make_elements(const struct run *r, const struct slot *s, int number,
                          int64_t first, int n, char *out)
{
    int dtype = s->tensor->dtype, seen = dtype_of(r->trial, s, false);
    size_t size = dtype_size(dtype);
    uint64_t canary = number_canary(dtype, r->trial->other), narrow[CHUNK];
    double x[CHUNK];
    if (!has_values(r, s)) {
        for (int i = 0; i < n; i++)
            memcpy(out + (size_t)i * size, &canary, size);
        return;
    }
    if (s->kind == KIND_I32) {
        memcpy(out, &s->number[first], (size_t)n * size);
        return;
    }
    for (int i = 0; i < n; i++)
        x[i] = call_value(s, number, first + i);
    if (seen != dtype) {
        number_put(seen, x, (size_t)n, narrow);
        number_get(seen, narrow, (size_t)n, x);
    }
    number_put(dtype, x, (size_t)n, out);
}

/* From element i on: how many lie in its row, at most a chunk. */
static int chunk_at(const struct slot *s, int64_t i)
{
    int64_t row = s->ndim ? s->dim[s->ndim - 1] : 1, left = row - i % row;
    return left < CHUNK ? (int)left : CHUNK;
}

/* n elements of a row, from one stride to another. */
static void spread(char *to, size_t to_step, const char *from, size_t from_step,
                   size_t size, int n)
{
    if (to_step == size && from_step == size)
        memcpy(to, from, size * (size_t)n);
    else
        for (int i = 0; i < n; i++)
            memcpy(to + (size_t)i * to_step, from + (size_t)i * from_step, size);
}

static size_t step_of(const struct nnd_tensor *t)
{
    return (t->ndim ? (size_t)t->stride[t->ndim - 1] : 1) * dtype_size(t->dtype);
}

static int upload(struct run *r, struct block *b, struct err *e)
{
    const struct nnd_device_ops *d = r->trial->device;
    if (d->alloc(0, b->size, &b->device) != NND_OK ||
        d->copy(&r->stream, b->device, b->before, b->size) != NND_OK)
        return err_set(e, ERR_RETRY, "cannot get %zu bytes of %s memory", b->size,
                       d->type);
    return 0;
}

static int make_block(struct block *b, size_t size, int byte, struct err *e)
{
    b->size = size + 2 * FENCE;
    b->before = malloc(b->size);
    if (!b->before)
        return err_set(e, ERR_RETRY, "out of memory: %zu bytes", b->size);
    memset(b->before, FENCE_BYTE, b->size);
    memset(b->before + FENCE, byte, size);
    return 0;
}

static int place_slot(struct run *r, int i, struct err *e)
{
    const struct slot *s = &r->call->slot[i];
    struct block *b = &r->slot[i];
    if (!is_present(r, s))
        return 0;
    size_t elements = (size_t)(extent_of(s->tensor) + r->trial->layout->shift);
    if (make_block(b, elements * dtype_size(s->tensor->dtype), FENCE_BYTE, e) < 0)
        return -1;
    size_t size = dtype_size(s->tensor->dtype);
    for (int64_t j = 0, n; j < s->count; j += n) {
        char bytes[CHUNK * sizeof(uint64_t)];
        n = chunk_at(s, j);
        make_elements(r, s, i, j, (int)n, bytes);
        spread(b->before + byte_of(r, s->tensor, j), step_of(s->tensor), bytes, size,
               size, (int)n);
    }
    return upload(r, b, e);
}

/* All tensors without data, as supports() and need() see them. */
static void shape_all(const struct run *r)
{
    struct call *c = r->call;
    for (int i = 0; i < c->nslots; i++) {
        const struct slot *s = &c->slot[i];
        if (is_present(r, s))
            shape_tensor(r, s);
        else
            *s->tensor = (struct nnd_tensor){0};
        if (s->alias)
            *s->alias = *s->tensor;
    }
    for (int i = 0; i < c->nslots; i++)
        shape_scales(r, &c->slot[i]);
    for (int i = 0; i < c->narrays; i++)
        memset(c->array[i].where, 0, sizeof(void *));
}

static int place_all(struct run *r, struct err *e)
{
    struct call *c = r->call;
    for (int i = 0; i < c->nslots; i++)
        if (place_slot(r, i, e) < 0)
            return -1;
    for (int i = 0; i < c->narrays; i++) {
        if (make_block(&r->array[i], c->array[i].size, 0, e) < 0)
            return -1;
        memcpy(r->array[i].before + FENCE, c->array[i].data, c->array[i].size);
        if (upload(r, &r->array[i], e) < 0)
            return -1;
    }
    return 0;
}

/* Point the params at the blocks. */
static void set_data(const struct run *r)
{
    struct call *c = r->call;
    for (int i = 0; i < c->nslots; i++) {
        const struct slot *s = &c->slot[i];
        if (!is_present(r, s))
            continue;
        size_t shift = (size_t)r->trial->layout->shift * dtype_size(s->tensor->dtype);
        s->tensor->data = (char *)r->slot[i].device + FENCE + shift;
        if (s->alias)
            *s->alias = *s->tensor;
    }
    for (int i = 0; i < c->nslots; i++)
        shape_scales(r, &c->slot[i]);
    for (int i = 0; i < c->narrays; i++) {
        void *data = (char *)r->array[i].device + FENCE;
        memcpy(c->array[i].where, &data, sizeof data);
    }
}

static void release_block(const struct run *r, struct block *b)
{
    if (b->device)
        r->trial->device->free(0, b->device);
    free(b->before);
}

/* The stream may still copy from blocks in place when another cannot be had. */
static void release(struct run *r)
{
    r->trial->device->stream_sync(&r->stream);
    if (r->packed.device)
        *pack_place(&r->call->params, r->trial->kernel->op) = (struct nnd_tensor){0};
    for (int i = 0; i < CALL_SLOTS; i++)
        release_block(r, &r->slot[i]);
    for (int i = 0; i < CALL_ARRAYS; i++)
        release_block(r, &r->array[i]);
    release_block(r, &r->space);
    release_block(r, &r->packed);
    r->trial->device->stream_del(&r->stream);
}

static char *download(const struct run *r, const struct block *b, struct err *e)
{
    char *after = arena_alloc(r->call->arena, b->size);
    if (r->trial->device->copy(&r->stream, after, b->device, b->size) != NND_OK ||
        r->trial->device->stream_sync(&r->stream) != NND_OK) {
        err_set(e, ERR_FAILED, "cannot read %s memory", r->trial->device->type);
        return NULL;
    }
    return after;
}

static void read_elements(const struct run *r, const struct slot *s, int64_t first,
                          int n, const char *from, struct result *out, int i)
{
    size_t size = dtype_size(s->tensor->dtype);
    uint64_t canary = number_canary(s->tensor->dtype, r->trial->other);
    for (int k = 0; k < n; k++) {
        uint64_t *bits = &out->bits[i][first + k];
        memcpy(bits, from + (size_t)k * size, size);
        out->written[i][first + k] = *bits != canary;
        if (s->kind == KIND_I32)
            out->value[i][first + k] = (int32_t)*bits;
    }
    if (s->kind != KIND_I32)
        number_get(s->tensor->dtype, from, (size_t)n, &out->value[i][first]);
}

/* Take the elements out of `after`, and put them into `before` as well, so that
 * every difference that is left was not theirs. */
static void take_elements(struct run *r, int i, const char *after, struct result *out)
{
    const struct slot *s = &r->call->slot[i];
    size_t size = dtype_size(s->tensor->dtype), step = step_of(s->tensor);
    struct arena *a = r->call->arena;
    out->dtype[i] = s->tensor->dtype;
    out->value[i] = arena_calloc(a, (size_t)s->count + 1, sizeof(double));
    out->bits[i] = arena_calloc(a, (size_t)s->count + 1, sizeof(uint64_t));
    out->written[i] = arena_calloc(a, (size_t)s->count + 1, sizeof(bool));
    for (int64_t j = 0, n; j < s->count; j += n) {
        char bytes[CHUNK * sizeof(uint64_t)];
        size_t at = byte_of(r, s->tensor, j);
        n = chunk_at(s, j);
        spread(bytes, size, after + at, step, size, (int)n);
        read_elements(r, s, j, (int)n, bytes, out, i);
        if (is_written(r, s))
            spread(r->slot[i].before + at, step, bytes, size, size, (int)n);
    }
}

static int check_block(const char *what, const char *name, const struct block *b,
                       const char *after, struct err *e)
{
    size_t i = 0;
    if (memcmp(after, b->before, b->size) == 0)
        return 0;
    while (after[i] == b->before[i])
        i++;
    return err_set(e, ERR_FAILED, "%s %s at byte %lld", what, name,
                   (long long)i - FENCE);
}

/* Workspace may be large and hold anything: only its fences are looked at; and so with
 * what is packed. */
static int check_space(const struct run *r, const struct block *b, const char *what,
                       struct err *e)
{
    const struct nnd_device_ops *d = r->trial->device;
    size_t size = b->size - 2 * FENCE;
    char fence[2 * FENCE];
    const char *end = (const char *)b->device + FENCE + size;
    if (d->copy(&r->stream, fence, b->device, FENCE) != NND_OK ||
        d->copy(&r->stream, fence + FENCE, end, FENCE) != NND_OK ||
        d->stream_sync(&r->stream) != NND_OK)
        return err_set(e, ERR_FAILED, "cannot read %s memory", d->type);
    for (size_t i = 0; i < sizeof fence; i++)
        if (fence[i] != (char)FENCE_BYTE)
            return err_set(e, ERR_FAILED, "writes outside %s at byte %lld", what,
                           i < FENCE ? (long long)i - FENCE
                                     : (long long)(i - FENCE + size));
    return 0;
}

static int collect(struct run *r, struct result *out, struct err *e)
{
    struct call *c = r->call;
    for (int i = 0; i < c->nslots; i++) {
        const struct slot *s = &c->slot[i];
        if (!is_present(r, s))
            continue;
        char *after = download(r, &r->slot[i], e);
        if (!after)
            return -1;
        take_elements(r, i, after, out);
        const char *what = is_written(r, s) ? "writes outside" : "changes its input";
        if (check_block(what, s->name, &r->slot[i], after, e) < 0)
            return -1;
    }
    for (int i = 0; i < c->narrays; i++) {
        char *after = download(r, &r->array[i], e);
        if (!after ||
            check_block("changes", "an index array", &r->array[i], after, e) < 0)
            return -1;
    }
    int rc = check_space(r, &r->space, "the workspace", e);
    return rc == 0 && r->packed.device ? check_space(r, &r->packed, "what is packed", e)
                                       : rc;
}

/* A plugin's text as part of a line. */
static const char *clean(struct nnd_error *e)
{
    e->text[sizeof e->text - 1] = '\0';
    for (char *p = e->text; *p; p++)
        if ((unsigned char)*p < ' ')
            *p = ' ';
    return e->text[0] ? e->text : "no reason given";
}

static void stage(const struct run *r, const char *what)
{
    if (!r->trial->silent)
        child_stage("%s of %s, %s", what, r->trial->kernel->name, r->call->text);
}

static int ask(struct run *r, struct err *e)
{
    const struct nnd_kernel *k = r->trial->kernel;
    struct nnd_error why = {{0}};
    if (r->trial->plugin && since_newer(r->trial->plugin, k->op, &r->call->params,
                                        why.text, sizeof why.text)) {
        err_set(e, ERR_FAILED, "%s", why.text);
        return RUN_REFUSED;
    }
    stage(r, "supports()");
    int rc = k->supports(k->self, &r->call->params, &why);
    if (rc == NND_OK)
        return 0;
    if (rc > 0 || !why.text[0])
        return err_set(e, ERR_FAILED, "supports() says %d and gives no reason", rc);
    err_set(e, ERR_FAILED, "%s", clean(&why));
    return rc == NND_EKERNEL ? RUN_NEVER : RUN_REFUSED;
}

static int get_space(struct run *r, struct err *e)
{
    const struct nnd_kernel *k = r->trial->kernel;
    struct nnd_need need = {.struct_size = sizeof need};
    stage(r, "need()");
    int rc = k->need(k->self, &r->call->params, &need);
    if (rc != NND_OK)
        return err_set(e, ERR_FAILED, "need() says %d", rc);
    if (need.workspace > (size_t)1 << 30)
        return err_set(e, ERR_FAILED, "need() wants %zu bytes", need.workspace);
    rc = make_block(&r->space, need.workspace, POISON_BYTE, e);
    return rc < 0 ? rc : upload(r, &r->space, e);
}

static struct nnd_launch means_of(const struct run *r)
{
    size_t size = r->space.size - 2 * FENCE;
    return (struct nnd_launch){.struct_size = sizeof(struct nnd_launch),
                               .stream = r->stream,
                               .workspace =
                                   size ? (char *)r->space.device + FENCE : NULL,
                               .workspace_size = size,
                               .nthreads = r->trial->nthreads};
}

/* Room for what pack() writes, asked for while there is no data. */
static int get_packed(struct run *r, struct err *e)
{
    if (!r->trial->packed)
        return 0;
    size_t size = pack_bytes(r->trial->kernel, &r->call->params);
    if (!size || size > (size_t)1 << 30)
        return err_set(e, ERR_FAILED, "need() wants %zu bytes to pack", size);
    if (pack_check_sizes(r->trial->kernel, &r->call->params, size, e) < 0 ||
        make_block(&r->packed, size, POISON_BYTE, e) < 0)
        return -1;
    return upload(r, &r->packed, e);
}

static int pack(struct run *r, struct err *e)
{
    const struct nnd_kernel *k = r->trial->kernel;
    struct nnd_launch l = means_of(r);
    struct nnd_error why = {{0}};
    int64_t size = (int64_t)(r->packed.size - 2 * FENCE);
    if (!r->trial->packed)
        return 0;
    *pack_place(&r->call->params, k->op) =
        (struct nnd_tensor){.data = (char *)r->packed.device + FENCE,
                            .dim = {size},
                            .stride = {1},
                            .ndim = 1,
                            .dtype = NND_U8,
                            .align_log2 = 8};
    stage(r, "pack()");
    int rc = k->pack(k->self, &r->call->params, &l, &why);
    if (rc != NND_OK)
        return err_set(e, ERR_FAILED, "pack() says %d: %s", rc, clean(&why));
    if (!r->trial->seconds && pack_check_bytes(k, r->trial->device, &r->call->params,
                                               &l, POISON_BYTE, r->call->arena, e) < 0)
        return -1;
    rc = k->supports(k->self, &r->call->params, &why);
    return rc == NND_OK
               ? 0
               : err_set(e, ERR_FAILED, "refuses what it has packed: %s", clean(&why));
}

static int launch(struct run *r, void *plan, struct err *e)
{
    const struct nnd_kernel *k = r->trial->kernel;
    struct nnd_launch l = means_of(r);
    struct nnd_error why = {{0}};
    stage(r, "launch()");
    fenv_t env;
    fegetenv(&env);
    if (r->trial->watch)
        watch_begin();
    int rc = k->launch(k->self, plan, &r->call->params, &l, &why);
    if (r->trial->watch)
        watch_end(r->trial->watch);
    bool sane = hygiene_floats();
    fesetenv(&env);
    if (!sane)
        return err_set(e, ERR_FAILED,
                       "launch() leaves the floating-point environment changed");
    if (rc != NND_OK)
        return err_set(e, ERR_FAILED, "launch() says %d: %s", rc, clean(&why));
    rc = r->trial->device->stream_sync(&r->stream);
    if (rc != NND_OK)
        return err_set(e, ERR_FAILED, "the device says %d after launch()", rc);
    return 0;
}

/* What refill() leaves of a call: all, all but its numbers, or zeros everywhere. */
enum leave { LEAVE_ALL, LEAVE_PLACES, LEAVE_NONE };

static bool is_cleared(const struct run *r, enum leave leave, bool array, int i)
{
    return leave == LEAVE_NONE ||
           (leave == LEAVE_PLACES && !array && i < r->call->nslots &&
            r->call->slot[i].kind != KIND_I32);
}

static int refill(struct run *r, enum leave leave, struct err *e)
{
    const struct nnd_device_ops *d = r->trial->device;
    struct block *const all[] = {r->slot, r->array};
    const int n[] = {CALL_SLOTS, CALL_ARRAYS};
    int rc = NND_OK;
    for (int k = 0; k < 2; k++)
        for (int i = 0; rc == NND_OK && i < n[k]; i++) {
            struct block *b = &all[k][i];
            if (b->device && is_cleared(r, leave, k == 1, i))
                rc = d->fill(&r->stream, b->device, 0, b->size);
            else if (b->device)
                rc = d->copy(&r->stream, b->device, b->before, b->size);
        }
    if (rc == NND_OK)
        rc = d->stream_sync(&r->stream);
    return rc == NND_OK ? 0 : err_set(e, ERR_FAILED, "cannot write %s memory", d->type);
}

/* Have the device keep a launch, of which nothing is to be seen in memory that is empty
 * meanwhile; then run what it kept on what the call is about. */
static int capture(struct run *r, void *plan, struct err *e)
{
    const struct nnd_device_ops *d = r->trial->device;
    const struct nnd_kernel *k = r->trial->kernel;
    struct nnd_launch l = means_of(r);
    struct nnd_error why = {{0}};
    void *graph = NULL;
    if (refill(r, LEAVE_NONE, e) < 0)
        return -1;
    stage(r, "launch(), to be kept,");
    if (d->graph_begin(&r->stream) != NND_OK)
        return err_set(e, ERR_FAILED, "the device cannot begin to keep launches");
    int rc = k->launch(k->self, plan, &r->call->params, &l, &why);
    int kept = d->graph_end(&r->stream, &graph);
    if (rc != NND_OK)
        return err_set(e, ERR_FAILED, "launch() says %d: %s", rc, clean(&why));
    if (kept != NND_OK)
        return err_set(e, ERR_FAILED, "the device says %d: it cannot keep the launch",
                       kept);
    stage(r, "what was kept");
    rc = refill(r, LEAVE_ALL, e);
    if (rc == 0 && (d->graph_launch(&r->stream, graph) != NND_OK ||
                    d->stream_sync(&r->stream) != NND_OK))
        rc = err_set(e, ERR_FAILED, "the device cannot run what it kept");
    d->graph_del(graph);
    return rc;
}

/* Nothing of the first launch is left in the second. */
static int launch_twice(struct run *r, void *plan, struct err *e)
{
    int rc = refill(r, LEAVE_PLACES, e);
    if (rc == 0)
        rc = launch(r, plan, e);
    if (rc == 0)
        rc = refill(r, LEAVE_ALL, e);
    return rc == 0 ? launch(r, plan, e) : rc;
}

/* The shortest of the launches that fit into a while, at least a few; of slow ones
 * fewer. */
static int measure(struct run *r, void *plan, struct err *e)
{
    int64_t begin = clock_mono_ns(), last = begin;
    double best = 1e30;
    int rc = 0;
    int64_t enough = r->trial->brief ? 0 : MEASURE_NS;
    int least = r->trial->brief ? 2 : LAUNCHES_MIN;
    for (int i = 0; rc == 0 && (i == 0 || last - begin < enough ||
                                (i < least && last - begin < SLOW_NS));
         i++) {
        int64_t from = clock_mono_ns();
        rc = launch(r, plan, e);
        last = clock_mono_ns();
        best =
            (double)(last - from) * 1e-9 < best ? (double)(last - from) * 1e-9 : best;
    }
    *r->trial->seconds = best;
    return rc;
}

static int plan_and_launch(struct run *r, struct err *e)
{
    const struct nnd_kernel *k = r->trial->kernel;
    struct nnd_error why = {{0}};
    void *plan = NULL;
    if (k->plan) {
        stage(r, "plan()");
        int rc = k->plan(k->self, &r->call->params, &plan, &why);
        if (rc != NND_OK)
            return err_set(e, ERR_FAILED, "plan() says %d: %s", rc, clean(&why));
    }
    set_data(r);
    if (pack(r, e) < 0)
        return -1;
    int rc = r->trial->seconds ? measure(r, plan, e)
             : r->trial->again ? launch_twice(r, plan, e)
                               : launch(r, plan, e);
    if (rc == 0 && r->trial->captured) /* whatever is done once has been done */
        rc = capture(r, plan, e);
    if (k->plan_free && plan)
        k->plan_free(plan);
    return rc;
}

static int run(struct call *c, const struct trial *t, bool deriving, struct result *out,
               struct err *e)
{
    struct run r = {.call = c, .trial = t, .deriving = deriving};
    shape_all(&r);
    int rc = ask(&r, e);
    if (rc != 0)
        return rc;
    if (t->device->stream_new(0, 0, &r.stream) != NND_OK)
        return err_set(e, ERR_RETRY, "cannot make a stream on %s", t->device->type);
    memset(out, 0, sizeof *out);
    if ((rc = get_space(&r, e)) == 0 && (rc = get_packed(&r, e)) == 0 &&
        (rc = place_all(&r, e)) == 0 && (rc = plan_and_launch(&r, e)) == 0)
        rc = collect(&r, out, e);
    release(&r);
    stage(&r, "comparing results");
    return rc;
}

void run_shape(struct call *c, const struct trial *t)
{
    struct run r = {.call = c, .trial = t};
    shape_all(&r);
}

int run_ask(struct call *c, const struct trial *t, struct err *e)
{
    struct run r = {.call = c, .trial = t};
    shape_all(&r);
    return ask(&r, e);
}

bool run_packs(struct call *c, const struct trial *t)
{
    struct run r = {.call = c, .trial = t};
    shape_all(&r);
    return pack_bytes(t->kernel, &c->params) > 0;
}

/* Is there an element that may not be written, and may be what its type's canary is? */
static bool is_doubtful(const struct call *c, const struct result *r)
{
    for (int i = 0; i < c->nslots; i++) {
        const struct slot *s = &c->slot[i];
        if (s->role != ROLE_OUT ||
            number_canary(r->dtype[i], false) == number_canary(r->dtype[i], true))
            continue;
        for (int64_t k = 0; k < s->count; k++)
            if (!r->written[i][k])
                return true;
    }
    return false;
}

int run_call(struct call *c, const struct trial *t, struct result *r, struct err *e)
{
    struct trial second = *t;
    struct result again;
    int rc = run(c, t, false, r, e);
    if (rc != 0 || !is_doubtful(c, r))
        return rc;
    second.other = true;
    rc = run(c, &second, false, &again, e);
    for (int i = 0; rc == 0 && i < c->nslots; i++)
        for (int64_t k = 0; again.written[i] && k < c->slot[i].count; k++)
            r->written[i][k] |= again.written[i][k];
    return rc;
}

int run_forward(struct call *c, const struct trial *t, struct result *r, struct err *e)
{
    return run(c, t, true, r, e);
}

static void keep_derived(struct call *c, int i, const struct result *r)
{
    struct slot *s = &c->slot[i];
    int32_t *number = arena_calloc(c->arena, (size_t)s->count + 1, sizeof *number);
    for (int64_t j = 0; s->kind == KIND_I32 && j < s->count; j++)
        number[j] = (int32_t)r->value[i][j];
    s->number = number;
    s->value = r->value[i];
}

int run_derive(struct call *c, const struct trial *t, struct err *e)
{
    struct result r;
    if (!c->derive)
        return 0;
    int rc = run(c, t, true, &r, e);
    if (rc != 0)
        return err_prefix(e, "%s", t->kernel->name);
    for (int i = 0; i < c->nslots; i++)
        if (c->slot[i].role == ROLE_DERIVED)
            keep_derived(c, i, &r);
    return 0;
}
