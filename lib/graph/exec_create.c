/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec_create.c - regions of memory and bound kernels.
 *
 * Everything a launch needs is prepared by exec_create: for every node, and for
 * every slot and chunk position that changes its addresses, the params struct.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "graph/exec_impl.h"
#include "graph/mirror.h"
#include "graph/op_list.h"
#include "graph/overlap.h"
#include "graph/peers.h"
#include "tensor/dtype.h"
#include "trust/crumb.h"

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
        if (!op_kernel_of(g, node))
            continue;
        void *params = arena_alloc(a, node->op->params_size);
        if (node->op->bind(node, NULL, params))
            continue;
        char key[160];
        node_key(node, key, sizeof(key));
        w[count++] = (struct kernel_want){.op = node->op->kernel,
                                          .key = arena_strdup(a, key),
                                          .where = node->where,
                                          .params = params,
                                          .optional = node->op->run != NULL};
    }
    *out = w;
    *n = count;
    return 0;
}

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
        if (n->op == &op_grad_tree || (n->op->by_chunk && op_kernel_of(x->g, n)))
            b->positions = x->c.positions;
    }
}

void exec_shapes(const struct node *n, char *out, size_t size)
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

/* Once a node: the first position at which it has something to do may be a late one. */
static void describe(const struct exec *x, const struct node *n,
                     const struct nnd_kernel *k)
{
    struct crumb_node c = {0};
    int plugin = kernels_plugin_of(x->c.kernels, k);
    if (!x->crumb || plugin < 0 || x->described[n->id])
        return;
    x->described[n->id] = true;
    snprintf(c.where, sizeof c.where, "%s", n->where);
    snprintf(c.op, sizeof c.op, "%s", k->op);
    snprintf(c.plugin, sizeof c.plugin, "%s",
             kernels_plugin(x->c.kernels, (size_t)plugin)->name);
    snprintf(c.kernel, sizeof c.kernel, "%s", k->name);
    snprintf(c.sha256, sizeof c.sha256, "%s",
             kernels_plugin_sha256(x->c.kernels, (size_t)plugin));
    exec_shapes(n, c.shapes, sizeof c.shapes);
    crumb_describe(x->crumb, n->id, &c);
}

static int bind_node(struct exec *x, const struct node *n, const struct bind *b,
                     struct record *r, struct err *e)
{
    if (!op_kernel_of(x->g, n))
        return 0;
    r->params = arena_alloc(x->mem, n->op->params_size);
    if (n->op->bind(n, b, r->params))
        return 0;
    char key[160];
    node_key(n, key, sizeof(key));
    r->kernel = kernel_table_find(x->c.table, n->op->kernel, key);
    if (!r->kernel && n->op->run)
        return 0; /* the host does it */
    if (!r->kernel)
        return err_set(e, ERR_FAILED, "%s: no kernel was chosen for %s %s", n->where,
                       n->op->kernel, key);
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
    if (!k && w->optional)
        return 0;
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

/* The plane that a node exchanges with other ranks, or -1. */
static int exchanged(const struct node *n)
{
    const struct zero_attr *at = n->attr;
    return n->op == &op_grad_reduce || n->op == &op_param_gather ? at->plane : -1;
}

/* What passes the host must lie where MPI finds it: the largest of those planes. */
static size_t room_of(const struct exec *x)
{
    size_t most = 0;
    for (int i = 0; i < x->g->nnode; i++) {
        int plane = exchanged(x->g->node[i]);
        if (plane >= 0 && !exec_peers(x, plane) &&
            (size_t)x->g->plane[plane].elements > most)
            most = (size_t)x->g->plane[plane].elements;
    }
    return most * dtype_size(x->g->wide);
}

static int open_track(struct exec *x, struct err *e)
{
    return x->track ? 0 : track_create(x->dev, &x->stream, x->mem, &x->track, e);
}

/* How the planes of a group travel, of which `plane` is one. */
static int find_way(struct exec *x, enum param_group group, int plane, struct err *e)
{
    const bool alike = group == PARAM_EXPERT && x->g->mesh.ep == 1; /* the same ranks */
    const char *why = x->c.staged;
    struct exec_way *way = &x->way[group];
    if (alike && x->way[PARAM_DENSE].by) {
        x->peers[group] = x->peers[PARAM_DENSE];
        way->by = x->way[PARAM_DENSE].by;
        way->why = x->way[PARAM_DENSE].why;
        return 0;
    }
    if (!why && (open_track(x, e) || peers_create(x->dev, track_stream(x->track),
                                                  zero_comm(x->g, &x->c.comms, plane),
                                                  x->mem, &x->peers[group], &why, e)))
        return e->code;
    way->by = x->peers[group] ? peers_name(x->peers[group]) : "host";
    way->why = x->peers[group] ? "a device for each rank" : why;
    return 0;
}

/* With memory that MPI does not reach, ranks look whether their devices do. */
static int find_ways(struct exec *x, struct err *e)
{
    int plane[PARAM_GROUPS] = {-1, -1};
    for (int i = 0; i < x->g->nnode; i++) {
        const struct node *n = x->g->node[i];
        int p = exchanged(n);
        if (p < 0)
            continue;
        plane[x->g->plane[p].group] = p;
        x->way[x->g->plane[p].group].nodes += n->op == &op_grad_reduce;
    }
    for (int i = 0; x->mirror && i < PARAM_GROUPS; i++)
        if (plane[i] >= 0 && find_way(x, (enum param_group)i, plane[i], e))
            return e->code;
    return 0;
}

size_t exec_peers_bytes(const struct graph *g, const struct nnd_device_ops *dev)
{
    int ranks[PARAM_GROUPS] = {0};
    size_t bytes = 0;
    for (int i = 0; i < g->nnode; i++) {
        int plane = exchanged(g->node[i]);
        if (plane >= 0 && g->plane[plane].group == PARAM_DENSE)
            ranks[PARAM_DENSE] = g->mesh.dp;
        else if (plane >= 0)
            ranks[PARAM_EXPERT] = g->mesh.edp;
    }
    if (g->mesh.ep == 1 && ranks[PARAM_DENSE])
        ranks[PARAM_EXPERT] = 0; /* the same group */
    for (int i = 0; i < PARAM_GROUPS; i++)
        bytes += ranks[i] ? peers_bytes(dev, ranks[i]) : 0;
    return bytes;
}

static void leave_peers(struct exec *x)
{
    struct peers *dense = x->peers[PARAM_DENSE], *expert = x->peers[PARAM_EXPERT];
    bool at_once = !x->whole || track_pending(x->track);
    if (expert != dense)
        peers_destroy(expert, at_once);
    peers_destroy(dense, at_once);
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

/* What is sent first are zeros: memory has been cleared, and nothing written yet. */
static int rehearse(struct exec *x, struct err *e)
{
    if (!x->track)
        return 0;
    if (overlap_rehearse(x->overlap, e) || mirror_sync(x->mirror, e))
        return e->code;
    exec_profile_reset(x);
    return 0;
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
    if (find_ways(x, e) || (x->mirror && mirror_room(x->mirror, room_of(x), e)) ||
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
    if (overlap_create(x, x->mem, &x->c, x->track, &x->overlap, e))
        return e->code;
    exec_record_plan(x);
    return rehearse(x, e);
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
        else if (v->number)
            rc = exec_write(x, v, v->number, e);
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
    x->described = arena_calloc(mem, (size_t)g->nnode + 1, sizeof(*x->described));
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
    x->whole = true;
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
    mirror_destroy(x->mirror); /* waits for the stream */
    leave_peers(x);
    track_destroy(x->track);
    exec_record_free(x);
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
