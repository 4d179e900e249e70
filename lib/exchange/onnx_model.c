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
#include "exchange/onnx_info.h"
#include "graph/op_list.h"
#include "model/model.h"

#define DOMAIN "nnd"

enum { OPSET = 17, IR_VERSION = 8, FUNCTIONS = 256 };

struct carried;

struct making {
    struct arena *mem;
    const struct graph *g;
    const struct program *program;
    struct onnx_body *top;
    Onnx__Function *function[FUNCTIONS];
    size_t nfunction;
    const struct carried *carried; /* of the loop at hand, or NULL */
    int ncarried;
};

/* A state that a loop's step takes, and what it is for the next. */
struct carried {
    const struct value *from, *to;
    const char *name;
};

/* A step of decoding, and not whole sequences. */
static bool is_step(const struct making *m)
{
    return strncmp(m->program->name, "decode.", 7) == 0;
}

/* ---- blocks --------------------------------------------------------------- */

#define LOOK "model.attention." /* of recurrent writers at their source */

/* Length of "a.layers.3", or of LOOK, at the head of where a node is; 0: it is in no
 * block. */
static size_t block_of(const char *where)
{
    const char *at = strstr(where, "layers.");
    size_t len;

    if (strncmp(where, LOOK, strlen(LOOK)) == 0)
        return strlen(LOOK) - 1;
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

/* Does anything from node `from` on, in this program, make use of a value?  The loop's
 * next step does so of states. */
static bool is_used(const struct making *m, const struct value *v, int from)
{
    for (int i = 0; i < m->ncarried; i++)
        if (m->carried[i].to == v)
            return true;
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
        form = b->form[x->id];
        form.summed = true;
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
    if (strncmp(where, LOOK, strlen(LOOK)) == 0)
        return arena_strdup(m->mem, "Attention");
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

    plain.name = plain.doc_string = NULL;
    *len = onnx__function__get_packed_size(&plain);
    out = arena_alloc(m->mem, *len + 1);
    onnx__function__pack(&plain, out);
    return out;
}

/* Viewers show what calls a function beside what is in it. */
static void add_caller(struct making *m, Onnx__Function *f, const char *block)
{
    f->doc_string =
        f->doc_string && *f->doc_string
            ? arena_printf(m->mem, "%s, %s", f->doc_string, block)
            : arena_printf(m->mem, "A block, called with the weights of %s", block);
}

/* The function that is there already, or this one under a name of its own. */
static int share_function(struct making *m, Onnx__Function *f, char *name,
                          const char *block, const char **out, struct err *e)
{
    size_t len, other_len, kin = 1;
    const uint8_t *bytes = packed(m, f, &len);

    for (size_t i = 0; i < m->nfunction; i++) {
        const uint8_t *other = packed(m, m->function[i], &other_len);

        if (len == other_len && memcmp(bytes, other, len) == 0) {
            add_caller(m, m->function[i], block);
            *out = m->function[i]->name;
            return 0;
        }
        kin += strncmp(m->function[i]->name, name, strlen(name)) == 0;
    }
    if (m->nfunction == FUNCTIONS)
        return err_set(e, ERR_SPEC, "ONNX: wanted at most %d kinds of blocks",
                       FUNCTIONS);
    f->name = kin > 1 ? arena_printf(m->mem, "%s%zu", name, kin) : name;
    add_caller(m, f, block);
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
    if (b->n == 0)
        return 0; /* all of it is folded into other nodes */
    add_residuals(m, b, first, end);
    nout = outputs_of(m, b, first, end, out, 64);
    Onnx__Function *f = make_function(m, b, out, nout);
    if (share_function(m, f, base_name(m, first, end), b->scope, &name, e) < 0)
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
    }
    return 0;
}

/* ---- what goes in and out ------------------------------------------------- */

static bool ends(const char *name, const char *end)
{
    size_t len = strlen(name), n = strlen(end);

    return len >= n && strcmp(name + len - n, end) == 0;
}

/* How a value that comes from outside stands: ids of the whole model have rows. */
static struct onnx_form form_outside(const struct making *m, const struct value *v)
{
    bool decode = is_step(m);
    bool row = !decode;

    if (v->storage == STORAGE_PARAM || v->fill)
        return (struct onnx_form){0};
    if (v->storage == STORAGE_INPUT)
        return (struct onnx_form){.lead = row && !ends(v->name, ".len") ? 2 : 1,
                                  .source = strstr(v->name, "source")};
    if (strstr(v->name, MODEL_SOURCE_SUFFIX) && !strstr(v->name, "context"))
        return (struct onnx_form){.lead = 2, .source = true};
    if (strstr(v->name, MODEL_CACHE_SUFFIX))
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
        if (!v || !id || !is_used(m, v, m->program->first))
            continue;
        b->form[v->id].shared = true;
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
            Onnx__ValueInfo *info = onnx_info(m->top, v, m->top->name[v->id]);

            info->doc_string = arena_strdup(m->mem, onnx_input_doc(info->name));
            g->input[g->n_input++] = info;
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
        m->top->form[state->id] =
            (struct onnx_form){.lead = 2, .source = m->top->form[v->id].source};
        v = state;
    }
    Onnx__Node *n = onnx_node(m->top, "Identity", &is, 1, 1);

    n->output[0] = arena_strdup(m->mem, name);
    n->name = n->output[0];
    g->output[g->n_output++] = onnx_info(m->top, v, name);
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

static int emit_range(struct making *m, int first, int end, struct err *e);

/* The node behind a loop that begins at node k: what is done to one step's rows, from
 * those being taken to what is made of them being put beside the others'; 0: none does.
 */
static int loop_end(const struct making *m, int k, int end)
{
    if (m->g->node[k]->op != &op_rows_take_fwd)
        return 0;
    for (k++; k < end; k++)
        if (m->g->node[k]->op == &op_rows_put_fwd)
            return k + 1;
    return 0;
}

/* The states of the cells of nodes [first, end). */
static int states_of(struct making *m, int first, int end, struct carried *out)
{
    int n = 0;

    for (int k = first; k < end; k++) {
        const struct value *from[2], *to[2];
        const char *where = m->g->node[k]->where;
        int count = onnx_cell_states(m->g->node[k], from, to);

        for (int i = 0; i < count; i++)
            out[n++] = (struct carried){
                from[i], to[i],
                arena_printf(m->mem, "%.*s.%c", (int)block_of(where), where, "hc"[i])};
    }
    return n;
}

/* One step as a graph of its own: from states and the step's rows of x to the states
 * that follow and the rows of y. */
static Onnx__Graph *loop_body(struct making *m, const struct carried *c, int n,
                              const struct value *x, const struct value *y)
{
    struct onnx_body *b = m->top;
    Onnx__Graph *g = arena_alloc(m->mem, sizeof *g);

    onnx__graph__init(g);
    g->name = arena_strdup(m->mem, "step");
    g->doc_string = arena_strdup(
        m->mem, "One step of the text, which waits for the one before: where it looks "
                "follows from the state that that one left.");
    g->input = arena_calloc(m->mem, (size_t)n + 1, sizeof(Onnx__ValueInfo *));
    g->output = arena_calloc(m->mem, (size_t)n + 1, sizeof(Onnx__ValueInfo *));
    for (int i = 0; i < n; i++) {
        g->input[i] = onnx_info(b, c[i].from, c[i].name);
        g->output[i] = onnx_info(b, c[i].to, onnx_name(b, c[i].to));
    }
    g->input[n] = onnx_info(b, x, onnx_name(b, x));
    g->output[n] = onnx_info(b, y, onnx_name(b, y));
    g->n_input = g->n_output = (size_t)n + 1;
    g->n_node = b->n;
    g->node = b->node;
    onnx_infos(b, g->output, g->n_output, &g->value_info, &g->n_value_info);
    return g;
}

/* Nodes (first, put) as the body of a Scan over the steps of x, the rows that the first
 * layer reads: its product with them is part of its cell. */
static int emit_loop(struct making *m, int first, int put, struct err *e)
{
    static const int64_t steps = 1;
    const struct node *take = m->g->node[first], *end = m->g->node[put];
    const struct value *x = take->in[0]->maker->in[0], *y = end->in[0];
    struct onnx_body *top = m->top, *b = onnx_body_within(top);
    struct carried *c = arena_calloc(m->mem, (size_t)(put - first) * 2, sizeof *c);
    struct onnx_form rows = top->form[x->id], row = {.lead = 1};
    int n = states_of(m, first, put, c), rc;
    const char **in = arena_calloc(m->mem, (size_t)n + 1, sizeof *in);

    for (int i = 0; i < n; i++) {
        in[i] = onnx_name(top, c[i].from);
        onnx_let(b, c[i].from, c[i].name, row);
    }
    in[n] = onnx_name(top, x);
    onnx_let(b, x, "step.x", row);
    m->top = b;
    m->carried = c;
    m->ncarried = n;
    rc = emit_range(m, first + 1, put, e);
    m->ncarried = 0;
    Onnx__Graph *body = rc < 0 ? NULL : loop_body(m, c, n, x, y);
    m->top = top;
    onnx_body_end(b);
    top->form[x->id] = rows;
    if (rc < 0)
        return rc;
    top->where = "steps";
    Onnx__Node *scan = onnx_node(top, "Scan", in, n + 1, n + 1);
    top->where = "";
    onnx_graph(top, "body", body);
    onnx_int(top, "num_scan_inputs", 1);
    onnx_ints(top, "scan_input_axes", &steps, 1);
    onnx_ints(top, "scan_output_axes", &steps, 1);
    onnx_let(top, end->out[0], scan->output[n], (struct onnx_form){.lead = 2});
    return 0;
}

/* A loop has to be of one step here: graphs that are written have no more. */
static int check_loop(const struct making *m, int first, int put, struct err *e)
{
    const struct node *take = m->g->node[first];
    int end = m->program->end;

    for (int k = put + 1; k < end; k++)
        if (m->g->node[k]->op == &op_rows_take_fwd)
            return err_set(e, ERR_SPEC, "%s: ONNX: wanted one step, found more",
                           take->where);
    if (!take->in[0]->maker || !onnx_is_folded(m->g, take))
        return err_set(e, ERR_SPEC, "%s: ONNX: wanted the rows of a layer of cells",
                       take->where);
    return 0;
}

/* Do nodes [first, end), of one place, become a call?  The keys of a source, which are
 * made once for all looks at it, do not. */
static bool is_block(const struct making *m, int first, int end)
{
    const char *where = m->g->node[first]->where;

    if (strncmp(where, LOOK, strlen(LOOK)) != 0)
        return block_of(where) > 0;
    for (int k = first; k < end; k++)
        if (m->g->node[k]->op == &op_attend_add_fwd ||
            m->g->node[k]->op == &op_attend_dot_fwd)
            return true;
    return false;
}

/* Nodes [first, end): blocks as calls, loops, and what is between them. */
static int emit_range(struct making *m, int first, int end, struct err *e)
{
    for (int k = first, next; k < end; k = next) {
        const struct node *n = m->g->node[k];
        int rc;

        if ((next = loop_end(m, k, end))) {
            rc = check_loop(m, k, next - 1, e);
            rc = rc < 0 ? rc : emit_loop(m, k, next - 1, e);
        } else {
            for (next = k + 1; next < end && same_block(n, m->g->node[next]) &&
                               !loop_end(m, next, end);)
                next++;
            rc = is_block(m, k, next) ? emit_block(m, k, next, e)
                                      : emit_nodes(m, m->top, k, next, 0, e);
        }
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
    set_forms(m);
    let_places(m);
    if (emit_range(m, m->program->first, m->program->end, e) < 0)
        return e->code;
    onnx__graph__init(graph);
    graph->name = arena_strdup(mem, program);
    put_outputs(m, graph);
    put_inputs(m, graph, out);
    graph->n_node = m->top->n;
    graph->node = m->top->node;
    onnx_infos(m->top, graph->output, graph->n_output, &graph->value_info,
               &graph->n_value_info);
    out->proto = make_proto(m, graph);
    return 0;
}
