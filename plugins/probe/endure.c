/* SPDX-License-Identifier: Apache-2.0 */
/*
 * endure.c - the same call a thousand times, with the same bits each time; and one with
 * tensors of more than 2^31 elements.
 *
 * A huge call is a small one over and over: its rows (sequences, for attention) are
 * copies of the small one's, made on the device.  What a kernel promises by
 * NND_K_INVARIANT is that its results are copies as well, to the bit.  So nothing is
 * computed on the host but the small call, and what is compared comes in pieces.
 */
#include "endure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "child.h"
#include "run.h"
#include "shape.h"
#include "tensor/dtype.h"

enum { LAUNCHES = 1000, UNITS = 16, PIECE = 64 << 20 };
#define ELEMENTS ((int64_t)1 << 31)

/* Calls whose results are rows that depend on the same row of what grows: the letter
 * that says how many, and how many are in the small one. */
static const struct growth {
    const char *op;
    char letter;
    int rows;
} growths[] = {
    {"act.gelu.bwd", 'T', 64},   {"act.gelu.fwd", 'T', 64},
    {"act.relu.bwd", 'T', 64},   {"act.relu.fwd", 'T', 64},
    {"act.swiglu.bwd", 'T', 64}, {"act.swiglu.fwd", 'T', 64},
    {"attn.bwd", 'B', 1},        {"attn.fwd", 'B', 1},
    {"dropout", 'T', 64},        {"embed.fwd", 'T', 64},
    {"gemm", 'M', 64},           {"norm.layer.bwd", 'T', 64},
    {"norm.layer.fwd", 'T', 64}, {"norm.rms.bwd", 'T', 64},
    {"norm.rms.fwd", 'T', 64},   {"rope", 'T', 64},
    {"softmax.bwd", 'T', 64},    {"softmax.fwd", 'T', 64},
    {"xent.bwd", 'T', 16},       {"xent.fwd", 'T', 16},
};

static const struct types all_types[] = {
    {"bf16", NND_BF16, NND_BF16, NND_BF16},
    {"f32", NND_F32, NND_F32, NND_F32},
    {"f16", NND_F16, NND_F16, NND_F16},
};
static const struct layout plain = {.name = "contiguous", .step = 1};

/* A tensor or an array of the call in the device's memory: `outer` times `times`
 * copies of `unit` bytes; what they are copies of before, and after a launch. */
struct field {
    const char *name;
    const char *start, *want;
    size_t outer, unit, times;
    bool written, compared;
    void *device;
};

struct bulk {
    const struct kernels *ks;
    const struct nnd_plugin *plugin;
    const struct nnd_kernel *kernel;
    const struct nnd_device_ops *device;
    const struct judge_scope *scope;
    struct verdict *verdict;
    const struct types *types;
    struct arena *arena;
    struct call small, call; /* call: what is launched; the small one, or a huge one */
    struct result result;    /* of the small one */
    struct field slot[CALL_SLOTS], array[CALL_ARRAYS];
    struct nnd_stream stream;
    void *space, *plan;
    size_t space_size;
    char *piece;
};

static void fail(struct bulk *b, const struct err *e)
{
    struct verdict *v = b->verdict;
    if (!judge_unable(v, e) && ++v->failed <= JUDGE_FAILURES)
        buf_printf(&v->failures, "%s [%s %s]: %s\n", b->kernel->name, b->types->name,
                   b->call.text, e->text);
}

static int device_fails(const struct bulk *b, const char *what, struct err *e)
{
    return err_set(e, ERR_RETRY, "%s: %s memory cannot be had", what, b->device->type);
}

/* A number of what the device says of itself, or 0. */
static int64_t info_of(const struct nnd_device_ops *d, const char *key)
{
    char text[1024] = "";
    if (d->info(0, text, sizeof text) != NND_OK)
        return 0;
    json_t *j = json_loads(text, 0, NULL);
    int64_t n = json_integer_value(json_object_get(j, key));
    json_decref(j);
    return n;
}

/* ---- the small call ---- */

static int build(struct bulk *b, const char *text, struct call *c, struct err *e)
{
    struct shape_work work;
    struct trial by = {.kernel = NULL,
                       .device = kernels_device(b->ks, "cpu"),
                       .types = b->types,
                       .layout = &plain,
                       .nthreads = 1};
    call_init(c, b->arena);
    int rc = shape_call(b->kernel->op, text, c, &work, e);
    if (rc == 0 && c == &b->small && c->derive) {
        by.kernel = kernels_ref(b->ks, c->derive);
        rc = run_derive(c, &by, e);
        if (rc != 0) {
            e->code = ERR_RETRY;
            rc = err_prefix(e, "the suite itself");
        }
    }
    return rc;
}

static struct trial trial_of(const struct bulk *b)
{
    return (struct trial){.kernel = b->kernel,
                          .plugin = b->plugin,
                          .device = b->device,
                          .types = b->types,
                          .layout = &plain,
                          .nthreads = 1};
}

/* ---- its copies ---- */

/* The elements of a slot after the small call, one after another. */
static char *bytes_of(const struct bulk *b, int i)
{
    const struct slot *s = &b->small.slot[i];
    size_t size = dtype_size(b->result.dtype[i]);
    char *to = arena_alloc(b->arena, (size_t)s->count * size + 1);
    for (int64_t j = 0; j < s->count; j++)
        memcpy(to + (size_t)j * size, &b->result.bits[i][j], size);
    return to;
}

/* Slot i of the call as copies of the small one's, along the axis that has grown. */
static void set_slot(struct bulk *b, int i)
{
    const struct slot *one = &b->small.slot[i], *all = &b->call.slot[i];
    struct field *f = &b->slot[i];
    size_t outer = 1;
    int axis = 0;
    while (axis < one->ndim && one->dim[axis] == all->dim[axis])
        outer *= (size_t)one->dim[axis++];
    bool grown = axis < one->ndim;
    outer = grown ? outer : 1;
    *f = (struct field){
        .name = one->name,
        .start = bytes_of(b, i),
        .outer = outer,
        .unit = (size_t)one->count / outer * dtype_size(b->result.dtype[i]),
        .times = grown ? (size_t)(all->dim[axis] / one->dim[axis]) : 1,
        .written = one->role == ROLE_OUT || one->role == ROLE_INOUT,
    };
    f->want = f->start;
    f->compared = f->written && (grown || b->scope->what == JUDGE_ENDURE);
}

static void set_array(struct bulk *b, int i)
{
    const struct array *one = &b->small.array[i], *all = &b->call.array[i];
    b->array[i] = (struct field){.name = "an array",
                                 .start = one->data,
                                 .outer = 1,
                                 .unit = one->size,
                                 .times = one->size ? all->size / one->size : 1};
}

static size_t size_of(const struct field *f)
{
    return f->outer * f->unit * f->times;
}

/* Copies of one unit, by doubling. */
static int spread(const struct bulk *b, char *to, const char *from, size_t unit,
                  size_t times)
{
    const struct nnd_device_ops *d = b->device;
    int rc = unit ? d->copy(&b->stream, to, from, unit) : NND_OK;
    for (size_t n = 1; rc == NND_OK && unit && n < times; n *= 2)
        rc = d->copy(&b->stream, to + n * unit, to,
                     (2 * n < times ? n : times - n) * unit);
    return rc;
}

static int place(struct bulk *b, struct field *f, struct err *e)
{
    const struct nnd_device_ops *d = b->device;
    if (d->alloc(0, size_of(f) + 1, &f->device) != NND_OK)
        return device_fails(b, f->name, e);
    for (size_t o = 0; o < f->outer; o++)
        if (spread(b, (char *)f->device + o * f->unit * f->times,
                   f->start + o * f->unit, f->unit, f->times) != NND_OK)
            return device_fails(b, f->name, e);
    return 0;
}

static bool is_present(const struct bulk *b, int i)
{
    return b->call.slot[i].role != ROLE_SCRATCH;
}

static int place_all(struct bulk *b, struct err *e)
{
    struct call *c = &b->call;
    for (int i = 0; i < c->nslots; i++) {
        struct nnd_tensor *t = c->slot[i].tensor;
        if (!is_present(b, i))
            continue;
        if (place(b, &b->slot[i], e) < 0)
            return -1;
        t->data = b->slot[i].device;
        if (c->slot[i].alias)
            *c->slot[i].alias = *t;
    }
    for (int i = 0; i < c->narrays; i++) {
        if (place(b, &b->array[i], e) < 0)
            return -1;
        memcpy(c->array[i].where, &b->array[i].device, sizeof(void *));
    }
    if (b->space_size && b->device->alloc(0, b->space_size, &b->space) != NND_OK)
        return device_fails(b, "workspace", e);
    return 0;
}

static void release(struct bulk *b)
{
    for (int i = 0; i < CALL_SLOTS; i++)
        if (b->slot[i].device)
            b->device->free(0, b->slot[i].device);
    for (int i = 0; i < CALL_ARRAYS; i++)
        if (b->array[i].device)
            b->device->free(0, b->array[i].device);
    if (b->space)
        b->device->free(0, b->space);
    if (b->plan && b->kernel->plan_free)
        b->kernel->plan_free(b->plan);
    free(b->piece);
}

/* ---- launches ---- */

/* What is written only holds NaN; what is written as well begins again. */
static int launch(struct bulk *b, struct err *e)
{
    const struct nnd_kernel *k = b->kernel;
    struct nnd_launch l = {.struct_size = sizeof l,
                           .stream = b->stream,
                           .workspace = b->space,
                           .workspace_size = b->space_size,
                           .nthreads = 1};
    struct nnd_error why = {{0}};
    int rc = NND_OK;
    for (int i = 0; rc == NND_OK && i < b->call.nslots; i++) {
        struct field *f = &b->slot[i];
        if (f->written && b->small.slot[i].role == ROLE_OUT)
            rc = b->device->fill(&b->stream, f->device, 0xff, size_of(f));
        else if (f->written)
            rc = b->device->copy(&b->stream, f->device, f->start, size_of(f));
    }
    if (rc == NND_OK)
        rc = k->launch(k->self, b->plan, &b->call.params, &l, &why);
    if (rc == NND_OK)
        rc = b->device->stream_sync(&b->stream);
    return rc == NND_OK
               ? 0
               : err_set(e, ERR_FAILED, "launch() says %d: %.200s", rc, why.text);
}

static int differs(const struct field *f, size_t unit, const char *got,
                   const char *want, struct err *e)
{
    size_t at = 0;
    while (got[at] == want[at])
        at++;
    return err_set(e, ERR_FAILED, "%s: copy %zu is not the first one, from byte %zu on",
                   f->name, unit, at);
}

/* All copies of a field against the small call's. */
static int compare(struct bulk *b, const struct field *f, struct err *e)
{
    size_t per = f->unit ? PIECE / f->unit : 0, unit = 0;
    per = per ? per : 1;
    b->piece = b->piece ? b->piece : malloc(PIECE);
    if (!b->piece || f->unit > PIECE)
        return err_set(e, ERR_RETRY, "out of memory: %zu bytes", f->unit);
    while (f->unit && unit < f->outer * f->times) {
        size_t n = f->outer * f->times - unit < per ? f->outer * f->times - unit : per;
        if (b->device->copy(&b->stream, b->piece,
                            (const char *)f->device + unit * f->unit,
                            n * f->unit) != NND_OK ||
            b->device->stream_sync(&b->stream) != NND_OK)
            return device_fails(b, f->name, e);
        for (size_t i = 0; i < n; i++, unit++) {
            const char *want = f->want + unit / f->times * f->unit;
            if (memcmp(b->piece + i * f->unit, want, f->unit) != 0)
                return differs(f, unit, b->piece + i * f->unit, want, e);
        }
    }
    return 0;
}

static int compare_all(struct bulk *b, struct err *e)
{
    for (int i = 0; i < b->call.nslots; i++)
        if (b->slot[i].compared && compare(b, &b->slot[i], e) < 0)
            return -1;
    return 0;
}

/* The first launch of many says what the others have to give: the small call's results
 * are those of other contents, where a tensor is read and written. */
static int keep_first(struct bulk *b, struct err *e)
{
    for (int i = 0; i < b->call.nslots; i++) {
        struct field *f = &b->slot[i];
        if (!f->written)
            continue;
        char *first = arena_alloc(b->arena, size_of(f) + 1);
        if (b->device->copy(&b->stream, first, f->device, size_of(f)) != NND_OK ||
            b->device->stream_sync(&b->stream) != NND_OK)
            return device_fails(b, f->name, e);
        f->want = first;
    }
    return 0;
}

static int run_many(struct bulk *b, struct err *e)
{
    int64_t n = b->scope->number ? b->scope->number : LAUNCHES;
    child_stage("%lld launches of %s, %s", (long long)n, b->kernel->name, b->call.text);
    if (launch(b, e) < 0 || keep_first(b, e) < 0)
        return -1;
    for (int64_t i = 1; i < n; i++)
        if (launch(b, e) < 0 || compare_all(b, e) < 0)
            return err_prefix(e, "launch %lld", (long long)i + 1);
    return 0;
}

static int run_huge(struct bulk *b, struct err *e)
{
    child_stage("a huge launch of %s, %s", b->kernel->name, b->call.text);
    return launch(b, e) < 0 || compare_all(b, e) < 0 ? -1 : 0;
}

/* ---- */

static const struct growth *growth_of(const char *op)
{
    for (size_t i = 0; i < sizeof growths / sizeof growths[0]; i++)
        if (strcmp(growths[i].op, op) == 0)
            return &growths[i];
    return NULL;
}

/* The huge call of a small one: so many times its rows that its largest tensor has
 * more elements than asked for. */
static int build_huge(struct bulk *b, const struct growth *g, struct err *e)
{
    int64_t limit = b->scope->number ? b->scope->number : ELEMENTS, most = 1;
    char text[40];
    snprintf(text, sizeof text, "%c=%d", g->letter, 2 * g->rows);
    if (build(b, text, &b->call, e) < 0)
        return -1;
    for (int i = 0; i < b->call.nslots; i++)
        if (b->call.slot[i].count > b->small.slot[i].count &&
            b->small.slot[i].count > most)
            most = b->small.slot[i].count;
    snprintf(text, sizeof text, "%c=%lld", g->letter,
             (long long)(g->rows * (limit / most + 1)));
    return build(b, text, &b->call, e);
}

/* Bytes that a call may have of the device, or 0: not known.  Of the host what others
 * have left: more would end whoever the system chooses. */
static int64_t room_of(const struct nnd_device_ops *d)
{
    int64_t bytes = info_of(d, "bytes") / 10 * 9;
    FILE *f = strcmp(d->type, "cpu") == 0 ? fopen("/proc/meminfo", "r") : NULL;
    char line[200];
    long long kib;
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %lld kB", &kib) == 1 && kib * 1024 < bytes)
            bytes = kib * 1024;
    if (f)
        fclose(f);
    return bytes;
}

/* What the kernel wants for the call: a number too small for it shows here. */
static int get_need(struct bulk *b, struct err *e)
{
    struct nnd_need need = {.struct_size = sizeof need};
    struct trial t = trial_of(b);
    run_shape(&b->call, &t);
    int rc = b->kernel->need(b->kernel->self, &b->call.params, &need);
    if (rc != NND_OK)
        return err_set(e, ERR_FAILED, "need() says %d", rc);
    if (need.workspace > SIZE_MAX / 4)
        return err_set(e, ERR_FAILED, "need() wants %zu bytes", need.workspace);
    b->space_size = need.workspace;
    return 0;
}

/* Has the device what the call takes?  If not that is a reason to skip. */
static bool fits(struct bulk *b)
{
    int64_t room = room_of(b->device), sum = 0;
    for (int i = 0; i < b->call.nslots; i++)
        if (is_present(b, i)) {
            set_slot(b, i);
            sum += (int64_t)size_of(&b->slot[i]);
        }
    for (int i = 0; i < b->call.narrays; i++) {
        set_array(b, i);
        sum += (int64_t)size_of(&b->array[i]);
    }
    sum += (int64_t)b->space_size;
    if (!room || sum <= room)
        return true;
    snprintf(b->verdict->skip, sizeof b->verdict->skip,
             "wants %lld bytes of %s memory, the device has %lld for it",
             (long long)sum, b->device->type, (long long)room);
    return false;
}

static int plan(struct bulk *b, struct err *e)
{
    const struct nnd_kernel *k = b->kernel;
    struct nnd_error why = {{0}};
    int rc = k->plan ? k->plan(k->self, &b->call.params, &b->plan, &why) : NND_OK;
    return rc == NND_OK
               ? 0
               : err_set(e, ERR_FAILED, "plan: status %d: %.200s", rc, why.text);
}

/* The call that has been built; > 0: it is refused. */
static int run_built(struct bulk *b, struct err *e)
{
    struct trial t = trial_of(b);
    int rc = run_ask(&b->call, &t, e);
    if (rc != 0 || (rc = get_need(b, e)) < 0)
        return rc;
    if (b->device->stream_new(0, 0, &b->stream) != NND_OK)
        return err_set(e, ERR_RETRY, "cannot make a stream on %s", b->device->type);
    if (fits(b) && (rc = plan(b, e)) == 0 && (rc = place_all(b, e)) == 0)
        rc = b->scope->what == JUDGE_HUGE ? run_huge(b, e) : run_many(b, e);
    release(b);
    b->device->stream_del(&b->stream);
    return rc;
}

/* One kernel in one set of types; false: it does not take them. */
static bool judge_types(struct bulk *b, const struct growth *g)
{
    struct trial t = trial_of(b);
    struct err e = {0};
    char text[40] = "";
    bool huge = b->scope->what == JUDGE_HUGE;
    if (huge)
        snprintf(text, sizeof text, "%c=%d", g->letter, g->rows);
    int rc = build(b, text, &b->small, &e);
    if (rc == 0)
        rc = run_call(&b->small, &t, &b->result, &e);
    if (rc == 0)
        rc = huge ? build_huge(b, g, &e) : build(b, text, &b->call, &e);
    if (rc == 0)
        rc = run_built(b, &e);
    if (rc == RUN_NEVER || rc == ERR_USAGE)
        snprintf(b->verdict->skip, sizeof b->verdict->skip, "%.190s", e.text);
    if (rc > 0) {
        snprintf(b->verdict->refusal, sizeof b->verdict->refusal, "%.250s", e.text);
        return false;
    }
    b->verdict->trials++;
    if (rc < 0 && rc != ERR_USAGE)
        fail(b, &e);
    return true;
}

/* Why nothing is run, or NULL. */
static const char *unfit(const struct bulk *b, const struct growth *g)
{
    struct arena *a = arena_create();
    struct shape_work work;
    struct call c;
    struct err e;
    call_init(&c, a);
    bool shaped = shape_call(b->kernel->op, NULL, &c, &work, &e) == 0;
    bool scaled = false;
    for (int i = 0; shaped && i < c.nslots; i++)
        scaled |= c.slot[i].scales || c.slot[i].kind == KIND_FIXED;
    arena_destroy(a);
    if (!b->device || b->device->count() < 1)
        return "there is no such device here";
    if (!shaped || scaled)
        return "its calls have no shape that the suite can name";
    if (!b->scope->number && info_of(b->device, "units") < UNITS)
        return "too much for this device: a GPU with 16 units and more is wanted, or a "
               "number";
    if (b->scope->what == JUDGE_HUGE && !g)
        return "its results are not rows that could be repeated";
    if (b->scope->what == JUDGE_HUGE && !(b->kernel->flags & NND_K_INVARIANT))
        return "it does not promise that equal rows have equal results";
    return b->kernel->flags & NND_K_DETERMINISTIC ? NULL
                                                  : "it promises no equal results";
}

void endure_kernel(const struct kernels *ks, const struct nnd_plugin *p,
                   const struct nnd_kernel *k, const struct nnd_device_ops *device,
                   const struct judge_scope *scope, struct verdict *v)
{
    struct bulk b = {.ks = ks,
                     .plugin = p,
                     .kernel = k,
                     .device = device,
                     .scope = scope,
                     .verdict = v};
    const struct growth *g = growth_of(k->op);
    const char *why = unfit(&b, g);
    bool done = false;
    child_device(); /* what is asked for is large, on the host as well */
    if (why)
        snprintf(v->skip, sizeof v->skip, "%s", why);
    for (size_t i = 0; !why && !done && i < sizeof all_types / sizeof all_types[0];
         i++) {
        if (scope->dtype && strcmp(scope->dtype, all_types[i].name) != 0)
            continue;
        b.types = &all_types[i];
        b.arena = arena_create();
        done = judge_types(&b, g) || v->skip[0] || v->unable[0];
        arena_destroy(b.arena);
    }
    if (!why && !done)
        snprintf(v->skip, sizeof v->skip, "it refuses: %.180s", v->refusal);
}
