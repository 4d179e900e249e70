/* SPDX-License-Identifier: Apache-2.0 */
/*
 * onnx_body.c - appending nodes.
 */
#include "exchange/onnx_body.h"

#include <string.h>

enum {
    ATTR_FLOAT = 1,
    ATTR_INT = 2,
    ATTR_STRING = 3,
    ATTR_GRAPH = 5,
    ATTR_FLOATS = 6,
    ATTR_INTS = 7
};

struct onnx_body *onnx_body(struct arena *mem, const struct graph *g,
                            struct onnx_form *form)
{
    struct onnx_body *b = arena_alloc(mem, sizeof *b);

    b->mem = mem;
    b->g = g;
    b->form = form;
    b->name = arena_calloc(mem, (size_t)g->nvalue + 1, sizeof *b->name);
    b->in = arena_calloc(mem, (size_t)g->nvalue + 1, sizeof(const struct value *));
    b->scope = b->where = "";
    return b;
}

struct onnx_body *onnx_body_within(struct onnx_body *outer)
{
    struct onnx_body *b = onnx_body(outer->mem, outer->g, outer->form);

    b->outer = outer;
    b->made = outer->made; /* names must differ from those around */
    return b;
}

void onnx_body_end(struct onnx_body *b)
{
    b->outer->made = b->made;
}

/* "experts.{}.up_proj.weight", of all experts, as "experts.up_proj.weight". */
static const char *without_number(struct onnx_body *b, const char *name)
{
    const char *hole = strstr(name, ".{}");

    return hole ? arena_printf(b->mem, "%.*s%s", (int)(hole - name), name, hole + 3)
                : name;
}

/* Weights, states and inputs have names of their own; others are "x", "x2", ... */
const char *onnx_name(struct onnx_body *b, const struct value *v)
{
    size_t len = strlen(b->scope);

    if (b->name[v->id])
        return b->name[v->id];
    if (b->outer)
        return b->name[v->id] = onnx_name(b->outer, v);
    b->in[b->nin++] = v;
    if (v->storage == STORAGE_ARENA)
        b->name[v->id] = arena_printf(b->mem, b->nin == 1 ? "x" : "x%d", b->nin);
    else if (len && strncmp(v->name, b->scope, len) == 0 && v->name[len] == '.')
        b->name[v->id] = without_number(b, v->name + len + 1);
    else
        b->name[v->id] = without_number(b, v->name);
    return b->name[v->id];
}

void onnx_let(struct onnx_body *b, const struct value *v, const char *name,
              struct onnx_form form)
{
    b->name[v->id] = name;
    b->form[v->id] = form;
    if (b->nlet == b->let_cap) {
        size_t cap = b->let_cap ? 2 * b->let_cap : 32;
        const struct value **grown = arena_calloc(b->mem, cap, sizeof *grown);

        if (b->nlet)
            memcpy(grown, b->let, b->nlet * sizeof *grown);
        b->let = grown;
        b->let_cap = cap;
    }
    b->let[b->nlet++] = v;
}

static void append(struct onnx_body *b, Onnx__Node *n)
{
    if (b->n == b->cap) {
        size_t cap = b->cap ? 2 * b->cap : 32;
        Onnx__Node **grown = arena_calloc(b->mem, cap, sizeof(Onnx__Node *));

        if (b->n)
            memcpy(grown, b->node, b->n * sizeof(Onnx__Node *));
        b->node = grown;
        b->cap = cap;
    }
    b->node[b->n++] = n;
}

/* "self_attn/MatMul_3". */
static char *new_name(struct onnx_body *b, const char *op)
{
    return arena_printf(b->mem, "%s%s%s_%d", b->where, *b->where ? "/" : "", op,
                        b->made++);
}

Onnx__Node *onnx_node(struct onnx_body *b, const char *op, const char *const *in,
                      int nin, int nout)
{
    Onnx__Node *n = arena_alloc(b->mem, sizeof *n);

    onnx__node__init(n);
    n->op_type = arena_strdup(b->mem, op);
    n->n_input = (size_t)nin;
    n->input = arena_calloc(b->mem, (size_t)nin + 1, sizeof(char *));
    for (int i = 0; i < nin; i++)
        n->input[i] = arena_strdup(b->mem, in[i]);
    n->n_output = (size_t)nout;
    n->output = arena_calloc(b->mem, (size_t)nout + 1, sizeof(char *));
    for (int i = 0; i < nout; i++)
        n->output[i] = new_name(b, op);
    n->name = arena_printf(b->mem, "%s", nout ? n->output[0] : op);
    append(b, n);
    return n;
}

const char *onnx_op(struct onnx_body *b, const char *op, const char *x, const char *y,
                    const char *z)
{
    const char *in[] = {x, y, z};

    return onnx_node(b, op, in, !x ? 0 : !y ? 1 : !z ? 2 : 3, 1)->output[0];
}

/* ---- attributes ----------------------------------------------------------- */

static Onnx__Attribute *attribute(struct onnx_body *b, const char *name, int type)
{
    Onnx__Node *n = b->node[b->n - 1];
    Onnx__Attribute *a = arena_alloc(b->mem, sizeof *a);
    Onnx__Attribute **grown =
        arena_calloc(b->mem, n->n_attribute + 1, sizeof(Onnx__Attribute *));

    onnx__attribute__init(a);
    a->name = arena_strdup(b->mem, name);
    a->has_type = 1;
    a->type = type;
    if (n->n_attribute)
        memcpy(grown, n->attribute, n->n_attribute * sizeof(Onnx__Attribute *));
    grown[n->n_attribute++] = a;
    n->attribute = grown;
    return a;
}

void onnx_int(struct onnx_body *b, const char *name, int64_t x)
{
    Onnx__Attribute *a = attribute(b, name, ATTR_INT);

    a->has_i = 1;
    a->i = x;
}

void onnx_float(struct onnx_body *b, const char *name, double x)
{
    Onnx__Attribute *a = attribute(b, name, ATTR_FLOAT);

    a->has_f = 1;
    a->f = (float)x;
}

void onnx_ints(struct onnx_body *b, const char *name, const int64_t *x, int n)
{
    Onnx__Attribute *a = attribute(b, name, ATTR_INTS);

    a->n_ints = (size_t)n;
    a->ints = arena_memdup(b->mem, x, (size_t)n * sizeof *x);
}

void onnx_text(struct onnx_body *b, const char *name, const char *x)
{
    Onnx__Attribute *a = attribute(b, name, ATTR_STRING);

    a->has_s = 1;
    a->s.len = strlen(x);
    a->s.data = arena_memdup(b->mem, x, a->s.len + 1);
}

void onnx_graph(struct onnx_body *b, const char *name, Onnx__Graph *x)
{
    attribute(b, name, ATTR_GRAPH)->g = x;
}

/* ---- constants ------------------------------------------------------------ */

const char *onnx_const_ints(struct onnx_body *b, const int64_t *x, int n)
{
    const char *y = onnx_op(b, "Constant", NULL, NULL, NULL);

    onnx_ints(b, "value_ints", x, n);
    return y;
}

const char *onnx_const_int(struct onnx_body *b, int64_t x)
{
    const char *y = onnx_op(b, "Constant", NULL, NULL, NULL);

    onnx_int(b, "value_int", x);
    return y;
}

const char *onnx_const_float(struct onnx_body *b, double x)
{
    const char *y = onnx_op(b, "Constant", NULL, NULL, NULL);

    onnx_float(b, "value_float", x);
    return y;
}

const char *onnx_const_floats(struct onnx_body *b, const float *x, int n)
{
    const char *y = onnx_op(b, "Constant", NULL, NULL, NULL);
    Onnx__Attribute *a = attribute(b, "value_floats", ATTR_FLOATS);

    a->n_floats = (size_t)n;
    a->floats = arena_memdup(b->mem, x, (size_t)n * sizeof *x);
    return y;
}

/* ---- shorthands ----------------------------------------------------------- */

const char *onnx_transpose(struct onnx_body *b, const char *x, const int64_t *perm,
                           int n)
{
    const char *y = onnx_op(b, "Transpose", x, NULL, NULL);

    onnx_ints(b, "perm", perm, n);
    return y;
}

const char *onnx_reshape(struct onnx_body *b, const char *x, const int64_t *dims, int n)
{
    return onnx_op(b, "Reshape", x, onnx_const_ints(b, dims, n), NULL);
}

const char *onnx_unsqueeze(struct onnx_body *b, const char *x, int64_t axis)
{
    return onnx_op(b, "Unsqueeze", x, onnx_const_ints(b, &axis, 1), NULL);
}

const char *onnx_squeeze(struct onnx_body *b, const char *x, int64_t axis)
{
    return onnx_op(b, "Squeeze", x, onnx_const_ints(b, &axis, 1), NULL);
}

const char *onnx_cast(struct onnx_body *b, const char *x, int type)
{
    const char *y = onnx_op(b, "Cast", x, NULL, NULL);

    onnx_int(b, "to", type);
    return y;
}

const char *onnx_dim(struct onnx_body *b, const char *x, int64_t axis)
{
    const char *shape = onnx_op(b, "Shape", x, NULL, NULL);

    return onnx_op(b, "Gather", shape, onnx_const_int(b, axis), NULL);
}

const char *onnx_count(struct onnx_body *b, const char *x, int64_t axis)
{
    const char *end = onnx_dim(b, x, axis), *zero = onnx_const_int(b, 0);

    return onnx_op(b, "Range", zero, end, onnx_const_int(b, 1));
}
