/* SPDX-License-Identifier: Apache-2.0 */
/*
 * onnx_info.c - types and shapes of edges.
 */
#include "exchange/onnx_info.h"

#include <string.h>

#include "base/map.h"
#include "graph/op_list.h"

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

/* What the second dim of rows is called: those of a source, of a cache, or of the text
 * at hand. */
static const char *length_of(const struct onnx_body *b, const struct value *v)
{
    if (b->form[v->id].source)
        return "src_len";
    return strstr(v->root->name, "cache") ? "past_len" : "len";
}

/* How much of each row of a source was looked at. */
static bool is_look(const struct onnx_body *b, const struct value *v)
{
    const struct node *n = v->maker;

    if (strcmp(v->root->name, "look.weight") == 0)
        return true;
    return n && (n->op == &op_attend_add_fwd || n->op == &op_attend_dot_fwd) &&
           v == n->out[1] && b->form[n->in[1]->id].lead == 2;
}

Onnx__ValueInfo *onnx_info(const struct onnx_body *b, const struct value *v,
                           const char *name)
{
    struct onnx_form form = b->form[v->id];
    const char *param[GRAPH_DIMS + 2] = {"batch",
                                         form.lead == 2 ? length_of(b, v) : NULL};
    int64_t dim[GRAPH_DIMS + 2] = {0};
    int n = form.lead, skip = v->shape.ndim == 4 && form.lead == 2 ? 2 : 1;

    if (form.shared)
        param[0] = NULL, dim[0] = 1;
    for (int i = skip; i < v->shape.ndim; i++) {
        param[n] = is_look(b, v) ? "src_len" : NULL;
        dim[n++] = v->shape.dim[i];
    }
    return value_info(b->mem, name, v->dtype == NND_F32 ? ONNX_FLOAT : ONNX_INT64,
                      param, dim, n);
}

const char *onnx_input_doc(const char *name)
{
    static const char *const docs[][2] = {
        {"id", "Tokens of the text. Behind a row's end any will do: what is there "
               "changes nothing before it."},
        {"pos", "The token's place in its text, from 0 on."},
        {"source.id", "Tokens of the source, <eos> included. Behind a row's end any "
                      "will do."},
        {"source.len", "How many tokens of each source count."},
    };

    for (size_t i = 0; i < sizeof docs / sizeof *docs; i++)
        if (strcmp(docs[i][0], name) == 0)
            return docs[i][1];
    return "What the step before, or the encoder, has left; zeros at first where there "
           "is "
           "neither.";
}

/* Names that nodes make, less those of outputs. */
static struct map *names_of(const struct onnx_body *b, Onnx__ValueInfo *const *outputs,
                            size_t n)
{
    struct map *made = map_create();

    for (size_t i = 0; i < b->n; i++)
        for (size_t k = 0; k < b->node[i]->n_output; k++)
            map_put(made, b->node[i]->output[k], b->node[i]);
    for (size_t i = 0; i < n; i++)
        map_put(made, outputs[i]->name, NULL);
    return made;
}

void onnx_infos(const struct onnx_body *b, Onnx__ValueInfo *const *outputs, size_t n,
                Onnx__ValueInfo ***out, size_t *nout)
{
    struct map *made = names_of(b, outputs, n);

    *nout = 0;
    *out = arena_calloc(b->mem, b->nlet + 1, sizeof **out);
    for (size_t i = 0; i < b->nlet; i++) {
        const struct value *v = b->let[i];
        const char *name = b->name[v->id];

        if (b->form[v->id].experts || !map_get(made, name))
            continue;
        (*out)[(*nout)++] = onnx_info(b, v, name);
        map_put(made, name, NULL); /* others of that name are the same in our order */
    }
    map_destroy(made);
}
