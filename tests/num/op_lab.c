/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_lab.c - see op_lab.h.
 */
#include "op_lab.h"

#include <float.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lab_comm.h"
#include "tensor/dtype.h"

static double uniform(uint64_t seed, uint64_t i)
{
    return (double)(nnd_rng_mix(nnd_rng_mix(seed) + i) >> 11) * 0x1p-53;
}

static double normal(uint64_t seed, uint64_t i)
{
    double r = sqrt(-2 * log(1 - uniform(seed, 2 * i)));
    return r * cos(2 * acos(-1.0) * uniform(seed, 2 * i + 1));
}

static uint64_t hash(const char *name, int rank)
{
    uint64_t h = (uint64_t)rank;
    for (; *name; name++)
        h = nnd_rng_mix(h ^ (uint64_t)(unsigned char)*name);
    return h;
}

double lab_number(const char *name, int rank, int64_t i)
{
    return normal(hash(name, rank), (uint64_t)i);
}

int lab_expect(const char *what, int64_t i, double want, double found, struct err *e)
{
    if (fabs(found - want) <= 1e-12 * (1 + fabs(want)))
        return 0;
    return err_set(e, ERR_FAILED, "%s[%lld]: wanted %.17g, found %.17g", what,
                   (long long)i, want, found);
}

/* ------------------------------------------------------------------------- */
/* The scalar.                                                               */

struct dot_attr {
    bool silent; /* gives no gradient */
};

enum { DOT_Y, DOT_COEF, DOT_TOTAL };

static double number(const struct value *v, const void *data, int64_t i)
{
    double x;
    if (v->dtype == NND_I32)
        return ((const int32_t *)data)[i];
    dtype_to_f64(v->dtype, (const char *)data + (size_t)i * dtype_size(v->dtype), &x,
                 1);
    return x;
}

static int dot_shape(struct graph *g, struct node *n, struct err *e)
{
    (void)g;
    if (shape_elements(&n->in[DOT_Y]->shape) == shape_elements(&n->in[DOT_COEF]->shape))
        return 0;
    return err_set(e, ERR_FAILED, "dot: sizes differ");
}

/* Numbers with coefficient 0 are not looked at: they may never have been
 * written. */
static int dot_run(struct exec *x, const struct node *n, struct err *e)
{
    (void)e;
    const void *y = exec_data(x, n->in[DOT_Y]), *coef = exec_data(x, n->in[DOT_COEF]);
    double *total = exec_data(x, n->in[DOT_TOTAL]);
    for (int64_t i = 0; i < shape_elements(&n->in[DOT_Y]->shape); i++) {
        double c = number(n->in[DOT_COEF], coef, i);
        if (c != 0)
            *total += c * number(n->in[DOT_Y], y, i);
    }
    return 0;
}

static void dot_grad(struct graph *g, const struct node *n)
{
    const struct dot_attr *at = n->attr;
    if (!at->silent)
        grad_add(g, n->in[DOT_Y], n->in[DOT_COEF]);
}

static const struct op op_dot = {
    .name = "test.dot",
    .attr_size = sizeof(struct dot_attr),
    .shape = dot_shape,
    .grad = dot_grad,
    .terminal = true,
    .run = dot_run,
};

static void add_dot(struct lab *l, struct value *y, struct value *coef, bool silent)
{
    struct value *in[] = {y, coef, l->total};
    struct dot_attr at = {.silent = silent};
    if (y && coef)
        graph_add(l->g, &op_dot, &at, in, 3);
}

void lab_dot(struct lab *l, struct value *y, int64_t rows)
{
    if (!y)
        return;
    int64_t n = shape_elements(&y->shape), cols = shape_cols(&y->shape);
    double *coef = arena_calloc(l->g->mem, (size_t)n, sizeof(*coef));
    char name[32];
    snprintf(name, sizeof(name), "dot%d", l->ndot++);
    for (int64_t i = 0; i < n && (rows < 0 || i < rows * cols); i++)
        coef[i] = lab_number(name, 0, i);
    add_dot(l, y, lab_reals(l, name, y->dtype, y->shape, coef), false);
}

void lab_count(struct lab *l, struct value *y, struct value *coef)
{
    add_dot(l, y, coef, true);
}

/* ------------------------------------------------------------------------- */
/* Leaves and inputs.                                                        */

struct value *lab_leaf(struct lab *l, const char *name, struct shape s)
{
    return graph_weight(l->g, name, 0, s, (struct param_init){.std = 1}, false);
}

struct value *lab_stack(struct lab *l, const char *name, int total, struct shape s)
{
    const struct mesh *m = &l->g->mesh;
    int count = total / m->ep;
    return graph_stack(l->g, name, total, m->ep_rank * count, count, s,
                       (struct param_init){.std = 1});
}

static void remember(struct lab *l, struct value *v, const void *data)
{
    if (!v)
        return;
    if (l->ninput == LAB_INPUTS) {
        graph_fail(l->g, "lab: more than %d inputs", LAB_INPUTS);
        return;
    }
    void *copy = arena_memdup(l->g->mem, data, value_bytes(v));
    l->input[l->ninput++] = (struct lab_input){v, copy};
}

struct value *lab_ints(struct lab *l, const char *name, struct shape s,
                       const int32_t *data)
{
    struct value *v = graph_input(l->g, name, NND_I32, s);
    remember(l, v, data);
    return v;
}

struct value *lab_reals(struct lab *l, const char *name, int dtype, struct shape s,
                        const double *data)
{
    struct value *v = graph_input(l->g, name, dtype, s);
    size_t n = (size_t)shape_elements(&s);
    void *copy = arena_alloc(l->g->mem, n * sizeof(double));
    dtype_from_f64(dtype, data, copy, n);
    remember(l, v, copy);
    return v;
}

static double *random_numbers(struct lab *l, const char *name, struct shape s)
{
    size_t n = (size_t)shape_elements(&s);
    double *x = arena_calloc(l->g->mem, n, sizeof(*x));
    for (size_t i = 0; i < n; i++)
        x[i] = lab_number(name, l->g->mesh.rank, (int64_t)i);
    return x;
}

struct value *lab_random(struct lab *l, const char *name, struct shape s)
{
    return lab_reals(l, name, NND_F64, s, random_numbers(l, name, s));
}

struct value *lab_state(struct lab *l, const char *name, int dtype, struct shape s,
                        const double *data)
{
    struct value *v = graph_state(l->g, name, dtype, s);
    size_t n = (size_t)shape_elements(&s);
    void *copy = arena_alloc(l->g->mem, n * sizeof(double));
    dtype_from_f64(dtype, data ? data : random_numbers(l, name, s), copy, n);
    remember(l, v, copy);
    return v;
}

void lab_chunk(struct lab *l, int batch, int context, int pad, int classes)
{
    int n = batch * context;
    size_t bytes = (size_t)n * sizeof(int32_t);
    int32_t *pos = arena_alloc(l->g->mem, bytes),
            *sample = arena_alloc(l->g->mem, bytes);
    int32_t *id = arena_alloc(l->g->mem, bytes),
            *target = arena_alloc(l->g->mem, bytes);
    for (int i = 0; i < n; i++) {
        bool real = i % context < context - pad;
        pos[i] = real ? i % context : -1;
        sample[i] = 1000 * l->g->mesh.rank + 7 + i / context;
        id[i] = (int32_t)(uniform(1, (uint64_t)i) * classes);
        target[i] = real ? (int32_t)(uniform(2, (uint64_t)i) * classes) : -1;
    }
    struct shape rows = shape_of(1, (int64_t)n);
    const int64_t rng[] = {42, 3};
    const double seed = 0.5;
    l->c = (struct chunk){
        .batch = batch,
        .context = context,
        .id = lab_ints(l, "id", rows, id),
        .target = lab_ints(l, "target", rows, target),
        .pos = lab_ints(l, "pos", rows, pos),
        .sample = lab_ints(l, "sample", rows, sample),
        .rng = graph_input(l->g, "rng", NND_I64, shape_of(1, (int64_t)2)),
        .seed = lab_reals(l, "seed", NND_F32, shape_of(1, (int64_t)1), &seed),
    };
    remember(l, l->c.rng, rng);
}

/* ------------------------------------------------------------------------- */
/* Building and running.                                                     */

static int build_graph(struct lab *l, int rank, const struct lab_setup *s,
                       struct err *e)
{
    struct mesh m;
    if (mesh_make(s->ranks, s->ranks, 1, 1, 1, 1, s->ranks, rank, &m, e))
        return e->code;
    l->g = graph_create(&m, s->act, s->wide);
    l->g->recompute = RECOMPUTE_ACTIVATIONS;
    l->total = graph_state(l->g, "total", NND_F64, shape_of(1, (int64_t)1));
    l->forward = graph_program(l->g, "forward");
    s->build(l, s->arg);
    if (graph_status(l->g, e))
        return e->code;
    l->backward = s->backward ? graph_backward(l->g, l->forward, "backward") : -1;
    return graph_status(l->g, e);
}

static int load_plugin(struct lab *l, struct err *e)
{
    struct nnd_error why = {{0}};
    if (!l->plugin)
        return 0;
    const struct nnd_plugin *table = l->plugin(kernels_host(l->kernels), &why);
    return table ? kernels_add(l->kernels, table, "the test", e)
                 : err_set(e, ERR_FAILED, "plugin: %s", why.text);
}

static int select_kernels(struct lab *l, struct err *e)
{
    struct kernel_want *wants;
    size_t n;
    struct kernel_policy policy = {.device = "cpu"};
    if (exec_wants(l->g, l->g->mem, &wants, &n, e) ||
        pool_create(1, NULL, NULL, &l->pool, e) ||
        kernels_create(l->pool, &l->kernels, e) || load_plugin(l, e))
        return e->code;
    return kernel_select(l->kernels, &policy, wants, n, &l->table, e);
}

/* n numbers as they are in `type`, written in `dtype`. */
static void write_numbers(void *out, int dtype, int type, const char *name, int rank,
                          int64_t n)
{
    size_t size = dtype_size(dtype);
    for (int64_t i = 0; i < n; i++) {
        double x = lab_number(name, rank, i), rounded;
        dtype_from_f64(type, &x, &rounded, 1);
        dtype_to_f64(type, &rounded, &x, 1);
        dtype_from_f64(dtype, &x, (char *)out + (size_t)i * size, 1);
    }
}

static void fill_param(struct lab *l, const struct param *p, int type)
{
    int dtype = p->value->dtype, wide = l->g->wide;
    char *w = exec_data(l->x, p->value);
    char *grad = (char *)exec_grad_buffer(l->x, p->plane, 0) +
                 (size_t)p->offset * dtype_size(wide);
    int tensors = p->stack ? p->stack : 1, rank = p->stack ? 0 : l->g->mesh.rank;
    int64_t n = shape_elements(&p->value->shape) / tensors;
    for (int k = 0; k < tensors; k++) {
        char name[128] = "grad.", *logical = name + strlen(name);
        param_name(p, k, logical, sizeof(name) - strlen(name));
        write_numbers(w, dtype, type, logical, rank, n);
        write_numbers(grad, wide, wide, name, rank, n);
        w += (size_t)n * dtype_size(dtype);
        grad += (size_t)n * dtype_size(wide);
    }
}

static void fill(struct lab *l, int type)
{
    for (int i = 0; i < l->ninput; i++)
        memcpy(exec_data(l->x, l->input[i].v), l->input[i].data,
               value_bytes(l->input[i].v));
    for (int i = 0; i < l->g->nparam; i++)
        fill_param(l, l->g->param[i], type);
}

static int start(struct lab *l, int type, struct err *e)
{
    if (select_kernels(l, e))
        return e->code;
    struct exec_config c = {
        .slots = 1,
        .positions = 1,
        .repeats = 2, /* with packed weights */
        .comms = {.world = l->group, .ep = l->group, .edp = l->self},
        .device = "cpu",
        .kernels = l->kernels,
        .table = l->table,
        .threads = 1,
    };
    if (exec_create(l->g, &c, &l->x, e))
        return e->code;
    fill(l, type);
    return 0;
}

static void set_defaults(struct lab_setup *s)
{
    s->ranks = s->ranks ? s->ranks : 1;
    s->act = s->act ? s->act : NND_F64;
    s->wide = s->wide ? s->wide : NND_F64;
    s->fill = s->fill ? s->fill : s->act;
}

int lab_open(struct lab_world *w, struct lab_setup setup, struct err *e)
{
    set_defaults(&setup);
    *w = (struct lab_world){.setup = setup, .ranks = setup.ranks};
    w->meeting = lab_meeting_create(setup.ranks);
    for (int r = 0; r < w->ranks; r++) {
        struct lab *l = &w->lab[r];
        if (comm_self(&l->self, e))
            return e->code;
        l->group = lab_comm_create(w->meeting, r);
        l->plugin = setup.plugin;
        if (build_graph(l, r, &setup, e) || start(l, setup.fill, e))
            return e->code;
    }
    return 0;
}

void lab_close(struct lab_world *w)
{
    for (int r = 0; r < w->ranks; r++) {
        struct lab *l = &w->lab[r];
        exec_destroy(l->x);
        kernel_table_destroy(l->table);
        kernels_destroy(l->kernels);
        pool_destroy(l->pool);
        comm_destroy(l->group);
        comm_destroy(l->self);
        graph_destroy(l->g);
    }
    lab_meeting_destroy(w->meeting);
}

struct rank_run {
    struct lab *l;
    bool backward;
    struct err e;
    int rc;
};

static void *run_rank(void *arg)
{
    struct rank_run *r = arg;
    *(double *)exec_data(r->l->x, r->l->total) = 0;
    exec_touch(r->l->x); /* differences change weights in place */
    r->rc = exec_run(r->l->x, r->l->forward, 0, 0, &r->e);
    if (r->rc == 0 && r->backward)
        r->rc = exec_run(r->l->x, r->l->backward, 0, 0, &r->e);
    return NULL;
}

int lab_run(struct lab_world *w, bool backward, double *total, struct err *e)
{
    struct rank_run run[LAB_RANKS];
    pthread_t thread[LAB_RANKS];
    *total = 0;
    for (int r = 0; r < w->ranks; r++)
        run[r] = (struct rank_run){.l = &w->lab[r], .backward = backward};
    for (int r = 1; r < w->ranks; r++)
        if (pthread_create(&thread[r], NULL, run_rank, &run[r]))
            return err_set(e, ERR_FAILED, "lab: no thread for rank %d", r);
    run_rank(&run[0]);
    for (int r = 1; r < w->ranks; r++)
        pthread_join(thread[r], NULL);
    for (int r = 0; r < w->ranks; r++) {
        if (run[r].rc)
            return err_set(e, ERR_FAILED, "rank %d: %s", r, run[r].e.text);
        *total += *(double *)exec_data(w->lab[r].x, w->lab[r].total);
    }
    return 0;
}

double lab_gradient(const struct lab *l, const struct param *p, int64_t i)
{
    size_t size = dtype_size(l->g->wide);
    const char *grad = exec_grad_buffer(l->x, p->plane, 0);
    double x;
    dtype_to_f64(l->g->wide, grad + (size_t)(p->offset + i) * size, &x, 1);
    return x;
}

bool lab_has(const struct lab *l, const struct op *op)
{
    for (int i = 0; l->g && i < l->g->nnode; i++)
        if (l->g->node[i]->op == op)
            return true;
    return false;
}

/* ------------------------------------------------------------------------- */
/* Gradients.                                                                */

/* Step of the differences: their error is h^2 from the third derivative, and
 * 1e-16 / h from rounding. */
#define STEP      1e-5
#define TOLERANCE 1e-6

static int difference(struct lab_world *w, double *x, double *slope, struct err *e)
{
    double was = *x, up, down;
    *x = was + STEP;
    int rc = lab_run(w, false, &up, e);
    *x = was - STEP;
    if (rc == 0)
        rc = lab_run(w, false, &down, e);
    *x = was;
    if (rc == 0)
        *slope = (up - down) / (2 * STEP);
    return rc;
}

/* Differences of one tensor against its gradient; *largest grows to the largest
 * gradient met. */
static int compare_tensor(struct lab_world *w, struct lab *l, const struct param *p,
                          int64_t most, double *largest, struct err *e)
{
    int64_t n = shape_elements(&p->value->shape), stride = (n + most - 1) / most;
    double *x = exec_data(l->x, p->value), scale = 0;
    double *grad = (double *)exec_grad_buffer(l->x, p->plane, 0) + p->offset;
    for (int64_t i = 0; i < n; i++)
        scale = fmax(scale, fabs(grad[i]));
    for (int64_t i = 0; i < n; i += stride) {
        double slope;
        if (difference(w, &x[i], &slope, e))
            return e->code;
        if (!(fabs(slope - grad[i]) <= TOLERANCE * fmax(scale, 1e-3)))
            return err_set(e, ERR_FAILED,
                           "rank %d: %s[%lld]: gradient %.12g, differences give %.12g",
                           l->g->mesh.rank, p->name, (long long)i, grad[i], slope);
    }
    *largest = fmax(*largest, scale);
    return 0;
}

/* Gradients of another run are left in place, to be seen if not overwritten. */
static void spoil_gradients(struct lab *l)
{
    for (int i = 0; i < l->g->nplane; i++) {
        double *grad = exec_grad_buffer(l->x, i, 0);
        for (int64_t k = 0; k < l->g->plane[i].elements; k++)
            grad[k] = NAN;
    }
}

int lab_compare(struct lab_world *w, int64_t most, struct err *e)
{
    double total, largest = 0;
    for (int r = 0; r < w->ranks; r++)
        spoil_gradients(&w->lab[r]);
    if (lab_run(w, true, &total, e))
        return e->code;
    if (!isfinite(total))
        return err_set(e, ERR_FAILED, "the total is %g", total);
    for (int r = 0; r < w->ranks; r++)
        for (int i = 0; i < w->lab[r].g->nparam; i++)
            if (compare_tensor(w, &w->lab[r], w->lab[r].g->param[i], most, &largest, e))
                return e->code;
    if (largest < 1e-3)
        return err_set(e, ERR_FAILED, "no gradient above 1e-3: nothing was compared");
    return 0;
}
