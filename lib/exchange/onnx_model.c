/* SPDX-License-Identifier: Apache-2.0 */
/*
 * onnx_model.c - cutting a program into blocks, and what goes in and out.
 *
 * A block is what lies below "...layers.N".  Its nodes become a function, and blocks
 * whose functions are equal byte for byte share it.
 */
#include "exchange/onnx_model.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "exchange/onnx_emit.h"
#include "graph/op_list.h"
#include "model/model.h"

#define DOMAIN "nnd"

enum { OPSET = 17, IR_VERSION = 8, FUNCTIONS = 256 };

struct making {
    struct arena *mem;
    const struct graph *g;
    const struct program *program;
    struct onnx_body *top;
    Onnx__Function *function[FUNCTIONS];
    size_t nfunction;
    Onnx__ValueInfo **info; /* edges between blocks */
    size_t ninfo;
};

/* A step of decoding, and not whole sequences. */
static bool is_step(const struct making *m)
{
    return strncmp(m->program->name, "decode.", 7) == 0;
}

/* ---- blocks --------------------------------------------------------------- */

/* Length of "a.layers.3" at the head of where a node is; 0: it is in no block. */
static size_t block_of(const char *where)
{
    const char *at = strstr(where, "layers.");
    size_t len;

    if (!at || (at != where && at[-1] != '.'))
        return 0;
    at += strlen("layers.");
    len = strspn(at, "0123456789");
    return len ? (size_t)(at - where) + len : 0;
}

static bool same_block(const struct node *a, const struct node *b)
{
    size_t len = block_of(a->where);

    return len == block_of(b->where) && strncmp(a->where, b->where, len) == 0;
}

/* Where a node is within its body: "self_attn", without the operator's name. */
static const char *place_of(struct making *m, const struct node *n, size_t skip)
{
    size_t len = strlen(n->where), op = strlen(n->op->name);

    len = len > op + 1 ? len - op - 1 : 0;
    if (skip && skip < len)
        skip++;
    return arena_printf(m->mem, "%.*s", len > skip ? (int)(len - skip) : 0,
                        n->where + (skip < len ? skip : len));
}

/* Queries are kept for who computes with them later; here nobody does. */
static bool writes_state(const struct node *n)
{
    return (n->op == &op_copy_to && strcmp(n->out[0]->root->name, "look.q") != 0) ||
           n->op == &op_rows_scatter_fwd;
}

/* A norm whose sum the block before has made reads that, and not its parts. */
static bool reads(const struct making *m, const struct node *n, const struct value *v)
{
    const struct value *sum = onnx_norm_sum(n);
    bool summed = sum && m->top->form[sum->id].summed;

    if (!onnx_has_form(n) && n->op != &op_xent_fwd)
        return false;
    for (int i = 0; i < n->nin; i++)
        if (n->in[i] == v && !(summed && (i == ONNX_NORM_X || i == ONNX_NORM_ADD)))
            return true;
    return summed && v == sum;
}

/* Does anything from node `from` on, in this program, make use of a value? */
static bool is_used(const struct making *m, const struct value *v, int from)
{
    for (int k = from; k < m->program->end; k++) {
        const struct node *n = m->g->node[k];

        if (reads(m, n, v))
            return true;
    }
    return false;
}

/* The values of nodes [first, end) that others look at, up to `most`. */
static int outputs_of(const struct making *m, const struct onnx_body *b, int first,
                      int end, const struct value **out, int most)
{
    int n = 0;

    for (int k = first; k < end; k++)
        for (int i = 0; i < m->g->node[k]->nout; i++) {
            const struct value *v = m->g->node[k]->out[i];

            if (v && n < most && !m->top->name[v->id] &&
                (writes_state(m->g->node[k]) || is_used(m, v, end)))
                out[n++] = v;
        }
    for (int k = end; k < m->program->end && n < most; k++) {
        const struct value *sum = onnx_norm_sum(m->g->node[k]);

        if (sum && b->name[sum->id])
            out[n++] = sum;
    }
    return n;
}

static bool is_made(const struct making *m, const struct value *v, int first, int end)
{
    return v->maker && v->maker->id >= first && v->maker->id < end &&
           v->maker == m->g->node[v->maker->id];
}

/* What the next block's first norm adds up is added here: so every block takes rows
 * and gives rows, and the first one is as the others are. */
static void add_residuals(const struct making *m, struct onnx_body *b, int first,
                          int end)
{
    for (int k = end; k < m->program->end; k++) {
        const struct node *n = m->g->node[k];
        const struct value *sum = onnx_norm_sum(n), *x = n->in[ONNX_NORM_X],
                           *add = n->in[ONNX_NORM_ADD];
        struct onnx_form form;

        if (!sum || !is_made(m, x, first, end) || !is_made(m, add, first, end))
            continue;
        form = (struct onnx_form){.lead = b->form[x->id].lead, .summed = true};
        onnx_let(b, sum, onnx_op(b, "Add", onnx_name(b, x), onnx_name(b, add), NULL),
                 form);
    }
}

static char *base_name(struct making *m, int first, int end)
{
    const char *where = m->g->node[first]->where;
    bool experts = false, recurrent = false;

    for (int k = first; k < end; k++) {
        const struct op *op = m->g->node[k]->op;

        experts = experts || op == &op_route_fwd;
        recurrent = recurrent || op == &op_rnn_fwd || op == &op_rnn_cell_fwd;
    }
    return arena_printf(
        m->mem, "%s%s%s", strstr(where, "encoder.layers") ? "Encoder" : "Decoder",
        recurrent ? "RecurrentLayer" : "Layer", experts ? "OfExperts" : "");
}

/* ---- functions ------------------------------------------------------------ */

static Onnx__Opset *opset(struct arena *mem, const char *domain, int64_t version)
{
    Onnx__Opset *o = arena_alloc(mem, sizeof *o);

    onnx__opset__init(o);
    o->domain = arena_strdup(mem, domain);
    o->has_version = 1;
    o->version = version;
    return o;
}

static Onnx__Function *make_function(struct making *m, const struct onnx_body *b,
                                     const struct value *const *out, int nout)
{
    Onnx__Function *f = arena_alloc(m->mem, sizeof *f);

    onnx__function__init(f);
    f->domain = arena_strdup(m->mem, DOMAIN);
    f->n_node = b->n;
    f->node = b->node;
    f->n_input = (size_t)b->nin;
    f->input = arena_calloc(m->mem, (size_t)b->nin + 1, sizeof(char *));
    for (int i = 0; i < b->nin; i++)
        f->input[i] = arena_strdup(m->mem, b->name[b->in[i]->id]);
    f->n_output = (size_t)nout;
    f->output = arena_calloc(m->mem, (size_t)nout + 1, sizeof(char *));
    for (int i = 0; i < nout; i++)
        f->output[i] = arena_strdup(m->mem, b->name[out[i]->id]);
    f->n_opset_import = 1;
    f->opset_import = arena_calloc(m->mem, 1, sizeof(Onnx__Opset *));
    f->opset_import[0] = opset(m->mem, "", OPSET);
    return f;
}

static uint8_t *packed(struct making *m, const Onnx__Function *f, size_t *len)
{
    Onnx__Function plain = *f;
    uint8_t *out;

    plain.name = NULL;
    *len = onnx__function__get_packed_size(&plain);
    out = arena_alloc(m->mem, *len + 1);
    onnx__function__pack(&plain, out);
    return out;
}

/* The function that is there already, or this one under a name of its own. */
static int share_function(struct making *m, Onnx__Function *f, char *name,
                          const char **out, struct err *e)
{
    size_t len, other_len, kin = 1;
    const uint8_t *bytes = packed(m, f, &len);

    for (size_t i = 0; i < m->nfunction; i++) {
        const uint8_t *other = packed(m, m->function[i], &other_len);

        if (len == other_len && memcmp(bytes, other, len) == 0) {
            *out = m->function[i]->name;
            return 0;
        }
        kin += strncmp(m->function[i]->name, name, strlen(name)) == 0;
    }
    if (m->nfunction == FUNCTIONS)
        return err_set(e, ERR_SPEC, "ONNX: wanted at most %d kinds of blocks",
                       FUNCTIONS);
    f->name = kin > 1 ? arena_printf(m->mem, "%s%zu", name, kin) : name;
    m->function[m->nfunction++] = f;
    *out = f->name;
    return 0;
}

static int emit_nodes(struct making *m, struct onnx_body *b, int first, int end,
                      size_t skip, struct err *e)
{
    for (int k = first; k < end; k++) {
        const struct node *n = m->g->node[k];

        b->where = place_of(m, n, skip);
        if (onnx_emit(b, n, e) < 0)
            return e->code;
    }
    b->where = "";
    return 0;
}

/* The form of an edge: [batch, length, ...] or [batch, ...]. */
static void add_info(struct making *m, const struct value *v, const char *name);

/* Nodes [first, end) of one block as a call. */
static int emit_block(struct making *m, int first, int end, struct err *e)
{
    const struct value *out[64];
    size_t len = block_of(m->g->node[first]->where);
    struct onnx_body *b = onnx_body(m->mem, m->g, m->top->form);
    const char *name = NULL;
    const char **in;
    int nout;

    b->scope = arena_printf(m->mem, "%.*s", (int)len, m->g->node[first]->where);
    if (emit_nodes(m, b, first, end, len, e) < 0)
        return e->code;
    add_residuals(m, b, first, end);
    nout = outputs_of(m, b, first, end, out, 64);
    Onnx__Function *f = make_function(m, b, out, nout);
    if (share_function(m, f, base_name(m, first, end), &name, e) < 0)
        return e->code;
    in = arena_calloc(m->mem, (size_t)b->nin + 1, sizeof *in);
    for (int i = 0; i < b->nin; i++)
        in[i] = onnx_name(m->top, b->in[i]);
    Onnx__Node *call = onnx_node(m->top, name, in, b->nin, nout);
    call->domain = arena_strdup(m->mem, DOMAIN);
    call->name = arena_strdup(m->mem, b->scope);
    for (int i = 0; i < nout; i++) {
        call->output[i] = arena_printf(m->mem, "%s/%s", b->scope, f->output[i]);
        onnx_let(m->top, out[i], call->output[i], m->top->form[out[i]->id]);
        add_info(m, out[i], call->output[i]);
    }
    return 0;
}

/* ---- what goes in and out ------------------------------------------------- */

static Onnx__ValueInfo *value_info(struct arena *mem, const char *name, int type,
                                   const char *const *param, const int64_t *dim, int n)
{
    Onnx__ValueInfo *v = arena_alloc(mem, sizeof *v);

    onnx__value_info__init(v);
    v->name = arena_strdup(mem, name);
    v->type = arena_alloc(mem, sizeof *v->type);
    onnx__type__init(v->type);
    v->type->tensor_type = arena_alloc(mem, sizeof *v->type->tensor_type);
    onnx__tensor_type__init(v->type->tensor_type);
    v->type->tensor_type->has_elem_type = 1;
    v->type->tensor_type->elem_type = type;
    Onnx__Shape *s = v->type->tensor_type->shape = arena_alloc(mem, sizeof *s);
    onnx__shape__init(s);
    s->dim = arena_calloc(mem, (size_t)n + 1, sizeof(Onnx__Dim *));
    for (int i = 0; i < n; i++) {
        Onnx__Dim *d = s->dim[s->n_dim++] = arena_alloc(mem, sizeof *d);
        onnx__dim__init(d);
        if (param[i])
            d->dim_param = arena_strdup(mem, param[i]);
        d->has_dim_value = !param[i];
        d->dim_value = dim[i];
    }
    return v;
}

static bool ends(const char *name, const char *end)
{
    size_t len = strlen(name), n = strlen(end);

    return len >= n && strcmp(name + len - n, end) == 0;
}

/* What the second dim of rows is called: those of a source, of a cache, or of the text
 * at hand. */
static const char *length_of(const struct value *v)
{
    if (strstr(v->name, "source") || strstr(v->name, "encoder"))
        return "src_len";
    return strstr(v->name, "cache") ? "past_len" : "len";
}

static Onnx__ValueInfo *info_of(struct making *m, const struct value *v,
                                const char *name)
{
    struct onnx_form form = m->top->form[v->id];
    const char *param[GRAPH_DIMS + 2] = {"batch", form.lead == 2 ? length_of(v) : NULL};
    int64_t dim[GRAPH_DIMS + 2] = {0};
    int n = form.lead;
    int skip = v->shape.ndim == 4 && form.lead == 2 ? 2 : 1;

    for (int i = skip; i < v->shape.ndim; i++) {
        param[n] = strcmp(v->root->name, "look.weight") == 0 ? "src_len" : NULL;
        dim[n++] = v->shape.dim[i];
    }
    return value_info(m->mem, name, v->dtype == NND_F32 ? ONNX_FLOAT : ONNX_INT64,
                      param, dim, n);
}

static void add_info(struct making *m, const struct value *v, const char *name)
{
    if (!m->top->form[v->id].experts)
        m->info[m->ninfo++] = info_of(m, v, name);
}

/* How a value that comes from outside stands: ids of the whole model have rows. */
static struct onnx_form form_outside(const struct making *m, const struct value *v)
{
    bool decode = is_step(m);
    bool row = !decode;

    if (v->storage == STORAGE_PARAM || v->fill)
        return (struct onnx_form){0};
    if (v->storage == STORAGE_INPUT)
        return (struct onnx_form){.lead = row && !ends(v->name, ".len") ? 2 : 1};
    if (strstr(v->name, MODEL_CACHE_SUFFIX) ||
        (strstr(v->name, MODEL_SOURCE_SUFFIX) && !strstr(v->name, "context")))
        return (struct onnx_form){.lead = 2};
    return (struct onnx_form){.lead = 1};
}

static void set_forms(struct making *m)
{
    for (int i = 0; i < m->g->nvalue; i++)
        if (m->g->value[i]->storage != STORAGE_ARENA)
            m->top->form[i] = form_outside(m, m->g->value[i]);
}

/* Places follow from the ids: 0, 1, ... in whole sequences; a step is told its own. */
static void let_places(struct making *m)
{
    static const char *const whole[][2] = {{"pos", "id"}, {"source.pos", "source.id"}};
    bool decode = is_step(m);
    const struct value *pos = graph_find(m->g, "pos"), *v;
    struct onnx_body *b = m->top;

    for (int i = 0; !decode && i < 2; i++) {
        const struct value *id = graph_find(m->g, whole[i][1]);

        v = graph_find(m->g, whole[i][0]);
        b->where = "positions";
        if (v && id && is_used(m, v, m->program->first))
            onnx_let(b, v, onnx_unsqueeze(b, onnx_count(b, onnx_name(b, id), 1), 0),
                     b->form[v->id]);
    }
    if (!decode || !pos)
        return;
    if ((v = graph_find(m->g, "source.reach")) && is_used(m, v, m->program->first)) {
        onnx_name(b, v);
        b->name[v->id] = "source.len";
    }
    if ((v = graph_find(m->g, "slot")) && is_used(m, v, m->program->first))
        onnx_let(b, v, onnx_name(b, pos), b->form[pos->id]);
    if ((v = graph_find(m->g, "len")) && is_used(m, v, m->program->first))
        onnx_let(b, v, onnx_op(b, "Add", onnx_name(b, pos), onnx_const_int(b, 1), NULL),
                 b->form[pos->id]);
}

static bool is_weight(const struct value *v)
{
    return v->storage == STORAGE_PARAM || v->fill || ends(v->name, MODEL_BIAS_SUFFIX);
}

static void put_inputs(struct making *m, Onnx__Graph *g, struct onnx_model *out)
{
    size_t n = (size_t)m->top->nin;

    g->input = arena_calloc(m->mem, n + 1, sizeof(Onnx__ValueInfo *));
    g->initializer = arena_calloc(m->mem, n + 1, sizeof(Onnx__Tensor *));
    out->weight = arena_calloc(m->mem, n + 1, sizeof(const struct value *));
    for (size_t i = 0; i < n; i++) {
        const struct value *v = m->top->in[i];
        Onnx__Tensor *t;

        if (!is_weight(v)) {
            g->input[g->n_input++] = info_of(m, v, m->top->name[v->id]);
            continue;
        }
        t = arena_alloc(m->mem, sizeof *t);
        onnx__tensor__init(t);
        t->name = arena_strdup(m->mem, m->top->name[v->id]);
        t->has_data_type = 1;
        t->data_type = ONNX_FLOAT;
        out->weight[g->n_initializer] = v;
        g->initializer[g->n_initializer++] = t;
    }
}

/* A state as it is afterwards is called NAME.next; what the encoder leaves is called
 * as the step's input that it is for. */
static const char *output_name(struct making *m, const struct value *v)
{
    const char *name = v->root->name;

    if (strcmp(name, "logits") == 0)
        return name;
    if (strcmp(name, "look.weight") == 0)
        return "attention";
    if (is_step(m))
        return arena_printf(m->mem, "%s.next", name);
    if (ends(name, MODEL_FIRST_SUFFIX))
        return arena_printf(m->mem, "%.*s",
                            (int)(strlen(name) - strlen(MODEL_FIRST_SUFFIX)), name);
    return name;
}

static void put_output(struct making *m, Onnx__Graph *g, const struct value *v,
                       const char *name)
{
    const char *is = onnx_name(m->top, v);
    const struct value *state = v->root;
    int64_t flat[] = {0, 0, shape_cols(&state->shape)};

    if (v->shape.ndim == 4 && state->shape.ndim == 2) {
        is = onnx_reshape(m->top, is, flat, 3);
        m->top->form[state->id] = (struct onnx_form){.lead = 2};
        v = state;
    }
    Onnx__Node *n = onnx_node(m->top, "Identity", &is, 1, 1);

    n->output[0] = arena_strdup(m->mem, name);
    n->name = n->output[0];
    g->output[g->n_output++] = info_of(m, v, name);
}

static void put_outputs(struct making *m, Onnx__Graph *g)
{
    int first = m->program->first, end = m->program->end;

    g->output =
        arena_calloc(m->mem, (size_t)(end - first) + 1, sizeof(Onnx__ValueInfo *));
    for (int k = first; k < end; k++) {
        const struct node *n = m->g->node[k];

        if (n->op == &op_xent_fwd)
            put_output(m, g, n->in[0], "logits");
        else if (writes_state(n))
            put_output(m, g, n->out[0], output_name(m, n->out[0]));
    }
}

/* ---- the model ------------------------------------------------------------ */

static int emit_all(struct making *m, struct err *e)
{
    for (int k = m->program->first, end; k < m->program->end; k = end) {
        const struct node *n = m->g->node[k];

        for (end = k + 1; end < m->program->end && same_block(n, m->g->node[end]);)
            end++;
        int rc = block_of(n->where) ? emit_block(m, k, end, e)
                                    : emit_nodes(m, m->top, k, end, 0, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static Onnx__Model *make_proto(struct making *m, Onnx__Graph *g)
{
    Onnx__Model *p = arena_alloc(m->mem, sizeof *p);

    onnx__model__init(p);
    p->has_ir_version = 1;
    p->ir_version = IR_VERSION;
    p->producer_name = arena_strdup(m->mem, "nnd");
    p->graph = g;
    p->n_opset_import = m->nfunction ? 2 : 1;
    p->opset_import = arena_calloc(m->mem, 2, sizeof(Onnx__Opset *));
    p->opset_import[0] = opset(m->mem, "", OPSET);
    p->opset_import[1] = opset(m->mem, DOMAIN, 1);
    p->n_functions = m->nfunction;
    p->functions = arena_memdup(m->mem, m->function, sizeof m->function);
    return p;
}

int onnx_model_make(struct arena *mem, const struct graph *g, const char *program,
                    struct onnx_model *out, struct err *e)
{
    struct making *m = arena_alloc(mem, sizeof *m);
    struct onnx_form *form = arena_calloc(mem, (size_t)g->nvalue + 1, sizeof *form);
    Onnx__Graph *graph = arena_alloc(mem, sizeof *graph);

    m->mem = mem;
    m->g = g;
    m->program = &g->program[graph_find_program(g, program)];
    m->top = onnx_body(mem, g, form);
    m->info = arena_calloc(mem, (size_t)g->nvalue + 1, sizeof(Onnx__ValueInfo *));
    set_forms(m);
    let_places(m);
    if (emit_all(m, e) < 0)
        return e->code;
    onnx__graph__init(graph);
    graph->name = arena_strdup(mem, program);
    put_outputs(m, graph);
    put_inputs(m, graph, out);
    graph->n_node = m->top->n;
    graph->node = m->top->node;
    graph->n_value_info = m->ninfo;
    graph->value_info = m->info;
    out->proto = make_proto(m, graph);
    return 0;
}
