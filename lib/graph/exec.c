/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec.c - regions of memory, bound kernels, and the loop that launches them.
 *
 * Everything a launch needs is prepared by exec_create: for every node, and for
 * every slot and chunk position that changes its addresses, the params struct.
 */
#include "graph/exec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "graph/mirror.h"
#include "graph/op_list.h"
#include "graph/overlap.h"
#include "graph/pack.h"
#include "plan/rounds.h"
#include "tensor/dtype.h"
#include "trust/crumb.h"

/* One node at one (slot, position): kernel NULL when nothing is launched. */
struct record {
    const struct nnd_kernel *kernel;
    void *params, *plan;
    struct pack *pack; /* or NULL */
};

/* The records of a program: [position][slot][node]. */
struct bound {
    struct record *record;
    int positions, slots;
    bool changes_weights;
};

struct exec {
    struct arena *mem;
    struct graph *g;
    struct exec_config c;
    struct memory m;
    const struct nnd_device_ops *dev;
    struct nnd_stream stream;
    bool has_stream;
    struct mirror *mirror; /* NULL: the device's memory is the host's */
    bool hosting;          /* an operator of the host runs            */
    char *region[REGION_COUNT];
    void *workspace;
    struct packs packs;
    void *packed;
    uint64_t weights; /* how often they were changed, from 1 on */
    struct tree tree[GRAPH_PLANES];
    struct bound bound[GRAPH_PROGRAMS];
    struct exec_cost *cost;
    struct overlap *overlap;
    struct exec_progress progress;
    struct crumb *crumb; /* NULL: nobody asked */
    int slot, position, round;
};

/* ------------------------------------------------------------------------- */
/* What kernels will be asked for.                                           */

static void key_part(char *out, size_t size, const struct value *v)
{
    size_t n = strlen(out);
    snprintf(out + n, size - n, "%s%s", n && out[n - 1] != '>' ? "," : "",
             v ? dtype_name(v->dtype) : "-");
}

/* "bf16,bf16,->f32": the dtypes of a node's inputs and outputs. */
static void node_key(const struct node *n, char *out, size_t size)
{
    out[0] = '\0';
    for (int i = 0; i < n->nin; i++)
        key_part(out, size, n->in[i]);
    strncat(out, ">", size - strlen(out) - 1);
    for (int i = 0; i < n->nout; i++)
        key_part(out, size, n->out[i]);
}

int exec_wants(const struct graph *g, struct arena *a, struct kernel_want **out,
               size_t *n, struct err *e)
{
    if (graph_status(g, e))
        return ERR_FAILED;
    struct kernel_want *w = arena_calloc(a, (size_t)g->nnode + 1, sizeof(*w));
    size_t count = 0;
    for (int i = 0; i < g->nnode; i++) {
        const struct node *node = g->node[i];
        if (!node->op->kernel)
            continue;
        void *params = arena_alloc(a, node->op->params_size);
        if (node->op->bind(node, NULL, params))
            continue;
        char key[160];
        node_key(node, key, sizeof(key));
        w[count++] = (struct kernel_want){.op = node->op->kernel,
                                          .key = arena_strdup(a, key),
                                          .where = node->where,
                                          .params = params};
    }
    *out = w;
    *n = count;
    return 0;
}

/* ------------------------------------------------------------------------- */
/* Addresses.                                                                */

int exec_tree(const struct graph *g, int plane, int positions, struct arena *a,
              struct tree *out, struct err *e)
{
    int sources = g->plane[plane].group == PARAM_EXPERT ? g->mesh.ep : 1;
    int n = positions * sources;
    int *order = arena_calloc(a, (size_t)n, sizeof(*order));
    for (int i = 0; i < n; i++)
        order[i] = i % sources * positions + i / sources;
    return tree_make(a, order, n, out, e);
}

void *exec_grad_buffer(const struct exec *x, int plane, int buffer)
{
    const struct plane *p = &x->g->plane[plane];
    size_t bytes = (size_t)p->elements * dtype_size(x->g->wide);
    bytes = (bytes + MEMORY_ALIGN - 1) / MEMORY_ALIGN * MEMORY_ALIGN;
    return x->region[REGION_GRAD] + p->grad_offset + (size_t)buffer * bytes;
}

void *exec_address(const struct exec *x, const struct value *v, int slot, int position)
{
    const struct value *r = v->root;
    size_t in = (size_t)v->root_offset * dtype_size(v->dtype);
    enum region region = memory_region(v);
    if (region == REGION_GRAD) {
        int plane = r->param->plane;
        int buffer = r->maker ? x->tree[plane].step[position].leaf : 0;
        in += (size_t)r->param->offset * dtype_size(r->dtype);
        return (char *)exec_grad_buffer(x, plane, buffer) + in;
    }
    char *base = x->region[region];
    if (region == REGION_SLOT)
        base += (size_t)slot * x->m.bytes[REGION_SLOT];
    return base + r->offset + in;
}

void *exec_data(const struct exec *x, const struct value *v)
{
    void *at = exec_address(x, v, x->slot, x->position);
    if (!x->mirror)
        return at;
    return x->hosting ? mirror_data(x->mirror, v) : mirror_hand(x->mirror, v, at);
}

/* ------------------------------------------------------------------------- */
/* Creation.                                                                 */

static int allocate(struct exec *x, size_t bytes, const char *what, void **out,
                    struct err *e)
{
    if (!bytes)
        return 0;
    int rc = x->dev->alloc(x->stream.device, bytes, out);
    if (rc)
        return err_set(e, ERR_NOMEM, "memory: %s: wanted %zu bytes on %s, refused",
                       what, bytes, x->dev->type);
    /* Touch every page now, so that no step meets a lack of memory. */
    return x->dev->fill(&x->stream, *out, 0, bytes)
               ? err_set(e, ERR_NOMEM, "memory: %s: cannot be written", what)
               : 0;
}

static int allocate_regions(struct exec *x, struct err *e)
{
    static const char *const name[REGION_COUNT] = {"weights", "gradients",   "states",
                                                   "inputs",  "activations", "buffers"};
    for (int i = 0; i < REGION_COUNT; i++) {
        size_t n = x->m.bytes[i] * (size_t)(i == REGION_SLOT ? x->m.slots : 1);
        void *p = NULL;
        if (allocate(x, n, name[i], &p, e))
            return e->code;
        x->region[i] = p;
    }
    return 0;
}

/* Does a program change weights?  Who does so in place has no outputs; views of them
 * are made by nobody. */
static bool changes_weights(const struct graph *g, int program)
{
    const struct program *p = &g->program[program];
    for (int i = p->first; i < p->end; i++) {
        const struct node *n = g->node[i];
        if (n->op == &op_param_gather)
            return true;
        for (int j = 0; j < n->nin + n->nout; j++) {
            const struct value *v = j < n->nin ? n->in[j] : n->out[j - n->nin];
            bool written = n->op->kernel && (j >= n->nin || !n->nout);
            if (v && v->root->storage == STORAGE_PARAM && written)
                return true;
        }
    }
    return false;
}

/* Does a program touch saved values, or gradient leaves? */
static void find_extent(const struct exec *x, int program, struct bound *b)
{
    const struct program *p = &x->g->program[program];
    b->slots = b->positions = 1;
    for (int i = p->first; i < p->end; i++) {
        const struct node *n = x->g->node[i];
        for (int j = 0; j < n->nin + n->nout; j++) {
            const struct value *v = j < n->nin ? n->in[j] : n->out[j - n->nin];
            if (v && memory_region(v) == REGION_SLOT)
                b->slots = x->c.slots;
            if (v && v->storage == STORAGE_GRAD && v->root->maker)
                b->positions = x->c.positions;
        }
        if (n->op == &op_grad_tree)
            b->positions = x->c.positions;
    }
}

/* "64x128 128x256 > 64x256". */
static void shapes_text(const struct node *n, char *out, size_t size)
{
    size_t at = 0;
    for (int i = 0; i < n->nin + n->nout && at < size; i++) {
        const struct value *v = i < n->nin ? n->in[i] : n->out[i - n->nin];
        at += (size_t)snprintf(out + at, size - at, "%s%s", i == n->nin ? "> " : "",
                               v ? "" : "- ");
        for (int d = 0; v && d < v->shape.ndim && at < size; d++)
            at += (size_t)snprintf(out + at, size - at, "%lld%s",
                                   (long long)v->shape.dim[d],
                                   d + 1 < v->shape.ndim ? "x" : " ");
    }
    if (at && at < size)
        out[at - 1] = '\0';
}

static void describe(const struct exec *x, const struct node *n,
                     const struct nnd_kernel *k)
{
    struct crumb_node c = {0};
    int plugin = kernels_plugin_of(x->c.kernels, k);
    if (!x->crumb || plugin < 0)
        return;
    snprintf(c.where, sizeof c.where, "%s", n->where);
    snprintf(c.op, sizeof c.op, "%s", k->op);
    snprintf(c.plugin, sizeof c.plugin, "%s",
             kernels_plugin(x->c.kernels, (size_t)plugin)->name);
    snprintf(c.kernel, sizeof c.kernel, "%s", k->name);
    snprintf(c.sha256, sizeof c.sha256, "%s",
             kernels_plugin_sha256(x->c.kernels, (size_t)plugin));
    shapes_text(n, c.shapes, sizeof c.shapes);
    crumb_describe(x->crumb, n->id, &c);
}

static int bind_node(struct exec *x, const struct node *n, const struct bind *b,
                     struct record *r, struct err *e)
{
    if (!n->op->kernel)
        return 0;
    r->params = arena_alloc(x->mem, n->op->params_size);
    if (n->op->bind(n, b, r->params))
        return 0;
    char key[160];
    node_key(n, key, sizeof(key));
    r->kernel = kernel_table_find(x->c.table, n->op->kernel, key);
    if (!r->kernel)
        return err_set(e, ERR_FAILED, "%s: no kernel was chosen for %s %s", n->where,
                       n->op->kernel, key);
    if (b->position == 0 && b->slot == 0)
        describe(x, n, r->kernel);
    r->pack = x->c.repeats > 1 ? packs_find(&x->packs, n, r->kernel, r->params, x->mem)
                               : NULL;
    if (r->pack)
        pack_use(r->pack, r->params, x->packed);
    struct nnd_error why = {{0}};
    if (r->kernel->supports(r->kernel->self, r->params, &why))
        return err_set(e, ERR_FAILED, "%s: kernel %s refuses its call: %s", n->where,
                       r->kernel->name, why.text);
    if (r->kernel->plan && r->kernel->plan(r->kernel->self, r->params, &r->plan, &why))
        return err_set(e, ERR_FAILED, "%s: kernel %s cannot plan: %s", n->where,
                       r->kernel->name, why.text);
    return 0;
}

static int bind_program(struct exec *x, int program, struct err *e)
{
    const struct program *p = &x->g->program[program];
    struct bound *b = &x->bound[program];
    find_extent(x, program, b);
    b->changes_weights = changes_weights(x->g, program);
    int nodes = p->end - p->first;
    b->record = arena_calloc(x->mem, (size_t)(b->positions * b->slots * nodes) + 1,
                             sizeof(*b->record));
    for (int i = 0; i < b->positions * b->slots * nodes; i++) {
        struct bind at = {
            .exec = x, .position = i / nodes / b->slots, .slot = i / nodes % b->slots};
        if (bind_node(x, x->g->node[p->first + i % nodes], &at, &b->record[i], e))
            return e->code;
    }
    return 0;
}

static int need_of(const struct kernel_table *table, const struct kernel_want *w,
                   size_t *most, struct err *e)
{
    const struct nnd_kernel *k = kernel_table_find(table, w->op, w->key);
    struct nnd_need need = {.struct_size = sizeof(need)};
    if (!k)
        return err_set(e, ERR_FAILED, "%s: no kernel was chosen for %s %s", w->where,
                       w->op, w->key);
    if (k->need && k->need(k->self, w->params, &need))
        return err_set(e, ERR_FAILED, "%s: kernel %s cannot say what it needs",
                       w->where, k->name);
    if (need.workspace > *most)
        *most = need.workspace;
    return 0;
}

/* All that kernels would pack of the weights. */
static size_t plan_packs(const struct graph *g, const struct kernel_table *table)
{
    struct arena *a = arena_create();
    struct packs packs = {0};
    for (int i = 0; i < g->nnode; i++) {
        const struct node *n = g->node[i];
        if (!n->op->kernel || !n->op->weight[0])
            continue;
        void *params = arena_alloc(a, n->op->params_size);
        char key[160];
        node_key(n, key, sizeof(key));
        const struct nnd_kernel *k = kernel_table_find(table, n->op->kernel, key);
        if (k && n->op->bind(n, NULL, params) == 0)
            packs_find(&packs, n, k, params, a);
    }
    arena_destroy(a);
    return packs.bytes;
}

int exec_plan(struct graph *g, const struct kernel_table *table, int slots,
              int positions, int repeats, struct memory *out, struct err *e)
{
    for (int i = 0; i < g->nplane; i++) {
        struct tree t;
        if (exec_tree(g, i, positions, g->mem, &t, e))
            return e->code;
        g->plane[i].buffers = t.buffers;
    }
    struct kernel_want *want;
    size_t n;
    struct arena *a = arena_create();
    int rc = memory_plan(g, slots, out, e);
    if (!rc)
        rc = exec_wants(g, a, &want, &n, e);
    for (size_t i = 0; !rc && i < n; i++)
        rc = need_of(table, &want[i], &out->workspace, e);
    if (!rc && repeats > 1)
        out->packed = plan_packs(g, table);
    arena_destroy(a);
    return rc;
}

/* What ranks exchange must lie where MPI finds it: the largest of the planes. */
static size_t exchanged(const struct exec *x)
{
    size_t most = 0;
    for (int i = 0; i < x->g->nnode; i++) {
        const struct op *op = x->g->node[i]->op;
        if (op != &op_grad_reduce && op != &op_param_gather)
            continue;
        for (int j = 0; j < x->g->nplane; j++)
            if ((size_t)x->g->plane[j].elements > most)
                most = (size_t)x->g->plane[j].elements;
        break;
    }
    return most * dtype_size(x->g->wide);
}

/* A stream; and copies of what the host needs, unless it is the host's memory. */
static int open_device(struct exec *x, struct err *e)
{
    int count = x->dev->count(), dev = count > 1 ? x->g->mesh.rank % count : 0;
    if (x->dev->stream_new(dev, 0, &x->stream) != NND_OK)
        return err_set(e, ERR_FAILED, "kernels.device: no stream on %s", x->dev->type);
    x->has_stream = true;
    if (strcmp(x->dev->type, "cpu") == 0)
        return 0;
    return mirror_create(x->dev, &x->stream, x->g, &x->mirror, e);
}

static int prepare(struct exec *x, struct err *e)
{
    struct graph *g = x->g;
    if (open_device(x, e))
        return e->code;
    if (exec_plan(g, x->c.table, x->c.slots, x->c.positions, x->c.repeats, &x->m, e))
        return e->code;
    for (int i = 0; i < g->nplane; i++)
        if (exec_tree(g, i, x->c.positions, x->mem, &x->tree[i], e))
            return e->code;
    if ((x->mirror && mirror_room(x->mirror, exchanged(x), e)) ||
        allocate_regions(x, e) ||
        allocate(x, x->m.workspace, "kernels' workspace", &x->workspace, e) ||
        allocate(x, x->m.packed, "packed weights", &x->packed, e))
        return e->code;
    struct err why; /* a job without its crumb is a job all the same */
    if (x->c.crumb && crumb_create(x->c.crumb, g->nnode, &x->crumb, &why))
        log_warn("%s", why.text);
    for (int i = 0; i < g->nprogram; i++)
        if (bind_program(x, i, e))
            return e->code;
    if (x->mirror) /* the lane's thread reaches the host's memory alone */
        x->c.lane = NULL;
    x->overlap = overlap_create(x, x->mem, &x->c);
    return 0;
}

static int write_constant(struct exec *x, const struct value *v, struct err *e)
{
    size_t n = (size_t)shape_elements(&v->shape);
    float *number = malloc(n * sizeof(*number) + 1);
    void *bytes = malloc(value_bytes(v) + 1);
    int rc = 0;
    if (!number || !bytes)
        rc = err_set(e, ERR_NOMEM, "%s: no memory for %zu numbers", v->name, n);
    if (!rc) {
        v->fill(&v->shape, number);
        dtype_from_f32(v->dtype, number, bytes, n);
        rc = exec_write(x, v, bytes, e);
    }
    free(number);
    free(bytes);
    return rc;
}

static int write_index(struct exec *x, const struct value *v, struct err *e)
{
    int64_t n = shape_elements(&v->shape);
    int32_t *number = malloc((size_t)n * sizeof(*number) + 1);
    if (!number)
        return err_set(e, ERR_NOMEM, "%s: no memory for %lld numbers", v->name,
                       (long long)n);
    for (int64_t i = 0; i < n; i++)
        number[i] = (int32_t)(v->first + i * v->stride);
    int rc = exec_write(x, v, number, e);
    free(number);
    return rc;
}

static int write_constants(struct exec *x, struct err *e)
{
    int rc = 0;
    for (int i = 0; !rc && i < x->g->nvalue; i++) {
        const struct value *v = x->g->value[i];
        if (v->fill)
            rc = write_constant(x, v, e);
        else if (v->stride)
            rc = write_index(x, v, e);
    }
    return rc;
}

int exec_create(struct graph *g, const struct exec_config *c, struct exec **out,
                struct err *e)
{
    struct arena *mem = arena_create();
    struct exec *x = arena_alloc(mem, sizeof(*x));
    x->mem = mem;
    x->g = g;
    x->c = *c;
    x->dev = kernels_device(c->kernels, c->device);
    x->weights = 1;
    x->cost = arena_calloc(mem, (size_t)g->nnode + 1, sizeof(*x->cost));
    int rc = x->dev ? prepare(x, e)
                    : err_set(e, ERR_SPEC,
                              "kernels.device: wanted a loaded device, found \"%s\"",
                              c->device);
    if (!rc)
        rc = write_constants(x, e);
    if (rc) {
        exec_destroy(x);
        return rc;
    }
    *out = x;
    return 0;
}

static void free_plans(struct exec *x)
{
    for (int i = 0; i < x->g->nprogram; i++) {
        struct bound *b = &x->bound[i];
        int n = x->g->program[i].end - x->g->program[i].first;
        for (int j = 0; b->record && j < n * b->positions * b->slots; j++)
            if (b->record[j].plan && b->record[j].kernel->plan_free)
                b->record[j].kernel->plan_free(b->record[j].plan);
    }
}

void exec_destroy(struct exec *x)
{
    if (!x)
        return;
    mirror_destroy(x->mirror);
    free_plans(x);
    for (int i = 0; x->dev && i < REGION_COUNT; i++)
        if (x->region[i])
            x->dev->free(x->stream.device, x->region[i]);
    if (x->workspace)
        x->dev->free(x->stream.device, x->workspace);
    if (x->packed)
        x->dev->free(x->stream.device, x->packed);
    if (x->has_stream)
        x->dev->stream_del(&x->stream);
    crumb_destroy(x->crumb);
    arena_destroy(x->mem);
}

/* ------------------------------------------------------------------------- */
/* Running.                                                                  */

/* Pack a weight that has changed. */
static int refresh(const struct exec *x, const struct record *r,
                   const struct nnd_launch *l, struct nnd_error *why)
{
    if (!r->pack || r->pack->version == x->weights)
        return NND_OK;
    int rc = r->kernel->pack(r->kernel->self, r->params, l, why);
    if (rc == NND_OK)
        r->pack->version = x->weights;
    return rc;
}

static int launch(struct exec *x, const struct node *n, const struct record *r,
                  struct err *e)
{
    const struct nnd_kernel *k = r->kernel;
    struct nnd_launch l = {.struct_size = sizeof(l),
                           .stream = x->stream,
                           .workspace = x->workspace,
                           .workspace_size = x->m.workspace,
                           .nthreads = x->c.threads};
    struct nnd_error why = {{0}};
    crumb_enter(x->crumb, n->id);
    int rc = refresh(x, r, &l, &why), checked = 0;
    if (rc == NND_OK)
        checked = verify_launch(x->c.verify, k, r->plan, r->params, &l, &why, &rc, e);
    crumb_leave(x->crumb);
    if (checked < 0)
        return err_prefix(e, "%s", n->where);
    if (rc == NND_OK)
        return 0;
    return err_set(e, rc == NND_ENOMEM ? ERR_NOMEM : ERR_FAILED,
                   "%s: kernel %s failed with status %d: %s", n->where, k->name, rc,
                   why.text[0] ? why.text : "no reason given");
}

/* Bytes given to this rank's communicators so far. */
static int64_t given(const struct exec *x, bool kept_too)
{
    struct comm *const all[] = {x->c.comms.world, x->c.comms.ep, x->c.comms.edp};
    int64_t n = 0;
    for (int i = 0; i < 3; i++) {
        struct comm_count c = {0};
        if (all[i])
            c = comm_counted(all[i]);
        n += c.remote + (kept_too ? c.local : 0);
    }
    return n;
}

/* Copies of what the host's operator reads and writes, either way. */
static int exchange(struct exec *x, const struct node *n, bool back, struct err *e)
{
    for (int i = 0; i < n->nin + n->nout; i++) {
        const struct value *v = i < n->nin ? n->in[i] : n->out[i - n->nin];
        bool written = i >= n->nin || (v && v->storage == STORAGE_STATE);
        if (!v || (back && !written))
            continue;
        void *at = exec_address(x, v, x->slot, x->position);
        if (back ? mirror_push(x->mirror, v, at, e) : mirror_pull(x->mirror, v, at, e))
            return e->code;
    }
    return back ? 0 : mirror_sync(x->mirror, e);
}

static int run_host(struct exec *x, const struct node *n, struct err *e)
{
    if (!x->mirror)
        return n->op->run(x, n, e);
    if (exchange(x, n, false, e))
        return e->code;
    x->hosting = true;
    int rc = n->op->run(x, n, e);
    x->hosting = false;
    return rc ? rc : exchange(x, n, true, e);
}

void exec_add_wire(struct exec *x, const struct node *n, int64_t bytes)
{
    x->cost[n->id].wire += bytes;
}

static int run_collective(struct exec *x, const struct node *n, struct err *e)
{
    atomic_fetch_add_explicit(&x->progress.seq, 1, memory_order_relaxed);
    int64_t before = given(x, n->op->routed);
    atomic_store_explicit(&x->progress.waits, true, memory_order_relaxed);
    int rc = run_host(x, n, e);
    atomic_store_explicit(&x->progress.waits, false, memory_order_relaxed);
    x->cost[n->id].wire += given(x, n->op->routed) - before;
    return rc;
}

static int run_node(struct exec *x, const struct node *n, const struct record *r,
                    struct err *e)
{
    if (!r->kernel && !n->op->run)
        return 0;
    atomic_store_explicit(&x->progress.where, n->where, memory_order_relaxed);
    atomic_store_explicit(&x->progress.op, n->op->name, memory_order_relaxed);
    atomic_fetch_add_explicit(&x->progress.nodes, 1, memory_order_relaxed);
    int64_t begin = clock_mono_ns();
    int rc = r->kernel     ? launch(x, n, r, e)
             : n->op->wire ? run_collective(x, n, e)
                           : run_host(x, n, e);
    x->cost[n->id].ns += clock_mono_ns() - begin;
    x->cost[n->id].calls++;
    return rc;
}

static int run_range(struct exec *x, const struct program *p, const struct record *r,
                     int first, int end, struct err *e)
{
    for (int i = first; i < end; i++) {
        const struct node *n = x->g->node[i];
        if (n->redo && x->round == 0)
            continue;
        if (run_node(x, n, &r[i - p->first], e))
            return e->code;
        overlap_after(x->overlap, n, x->position);
    }
    return 0;
}

static int run_loop(struct exec *x, const struct program *p, const struct record *r,
                    const struct loop *l, struct err *e)
{
    const struct mesh *m = &x->g->mesh;
    void *counts = exec_address(x, l->counts, x->slot, x->position);
    if (x->mirror &&
        (mirror_pull(x->mirror, l->counts, counts, e) || mirror_sync(x->mirror, e)))
        return e->code;
    struct rounds rounds = {.counts =
                                x->mirror ? mirror_data(x->mirror, l->counts) : counts,
                            .ranks = m->ep,
                            .experts = (int)shape_cols(&l->counts->shape),
                            .capacity = l->capacity,
                            .block = NND_BLOCK_ROWS};
    int n = rounds_count(&rounds);
    for (int i = 0; i < n; i++) {
        x->round = l->descending ? n - 1 - i : i;
        if (run_range(x, p, r, l->first, l->end, e))
            return e->code;
    }
    x->round = 0;
    return 0;
}

int exec_run(struct exec *x, int program, int position, int slot, struct err *e)
{
    const struct program *p = &x->g->program[program];
    const struct bound *b = &x->bound[program];
    int nodes = p->end - p->first;
    int at = (b->positions > 1 ? position : 0) * b->slots + (b->slots > 1 ? slot : 0);
    const struct record *r = b->record + (size_t)at * (size_t)nodes;
    if (x->mirror && mirror_flush(x->mirror, e))
        return e->code;
    x->slot = slot;
    x->position = position;
    x->weights += b->changes_weights;
    for (int i = p->first; i < p->end;) {
        int loop = x->g->node[i]->loop;
        int end = loop ? x->g->loop[loop].end : i + 1;
        int rc = loop ? run_loop(x, p, r, &x->g->loop[loop], e)
                      : run_range(x, p, r, i, end, e);
        if (rc)
            return rc;
        i = end;
    }
    return 0;
}

void exec_touch(struct exec *x)
{
    x->weights++;
}

int exec_write(struct exec *x, const struct value *v, const void *src, struct err *e)
{
    void *dst = exec_address(x, v, 0, 0);
    x->weights += v->root->storage == STORAGE_PARAM;
    if (x->mirror)
        mirror_refresh(x->mirror, v, src);
    if (x->dev->copy(&x->stream, dst, src, value_bytes(v)) ||
        x->dev->stream_sync(&x->stream))
        return err_set(e, ERR_FAILED, "%s: cannot be copied to %s", v->name,
                       x->dev->type);
    return 0;
}

int exec_read(struct exec *x, const struct value *v, void *dst, struct err *e)
{
    const void *src = exec_address(x, v, 0, 0);
    if (x->mirror && mirror_flush(x->mirror, e))
        return e->code;
    if (x->dev->copy(&x->stream, dst, src, value_bytes(v)) ||
        x->dev->stream_sync(&x->stream))
        return err_set(e, ERR_FAILED, "%s: cannot be copied from %s", v->name,
                       x->dev->type);
    return 0;
}

/* ------------------------------------------------------------------------- */

void exec_step(struct exec *x, int64_t step)
{
    crumb_step(x->crumb, step);
}

struct mirror *exec_mirror(const struct exec *x)
{
    return x->mirror;
}

struct graph *exec_graph(const struct exec *x)
{
    return x->g;
}

const struct memory *exec_memory(const struct exec *x)
{
    return &x->m;
}

const struct exec_comms *exec_comms_of(const struct exec *x)
{
    return &x->c.comms;
}

struct exec_progress *exec_progress_of(struct exec *x)
{
    return &x->progress;
}

int exec_position(const struct exec *x)
{
    return x->position;
}

int exec_round(const struct exec *x)
{
    return x->round;
}

void *exec_plane(const struct exec *x, int plane)
{
    return x->region[REGION_PARAM] + x->g->plane[plane].param_offset;
}

const struct tree *exec_tree_of(const struct exec *x, int plane)
{
    return &x->tree[plane];
}

struct overlap *exec_overlap(const struct exec *x)
{
    return x->overlap;
}

struct exec_sent exec_sent(const struct exec *x)
{
    return overlap_sent(x->overlap);
}

const struct exec_cost *exec_profile(const struct exec *x)
{
    return x->cost;
}

void exec_profile_reset(struct exec *x)
{
    memset(x->cost, 0, (size_t)x->g->nnode * sizeof(*x->cost));
}
