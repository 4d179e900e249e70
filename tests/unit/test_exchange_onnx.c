/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_exchange_onnx.c - what any reader of ONNX relies on, without one: names are
 * made once and before they are used, calls fit their functions, every weight is there
 * once, and layers that are alike share a function.
 *
 * That the numbers are right is tests/num/exchange_onnx.test's.
 */
#include "base/map.h"
#include "exchange/onnx_model.h"
#include "exchange/outline.h"
#include "model/model.h"
#include "proto/spec.h"

#include "unit.h"

static const struct kind {
    const char *model; /* YAML */
    bool pairs;
    size_t functions; /* of the whole model */
} kinds[] = {
    {"layers: 3", false, 1},
    {"layers: 3, tie_embeddings: false, moe: {experts: 4}", false, 1},
    {"layers: 4, moe: {experts: 4, every: 2, shared_experts: 1}", false, 2},
    {"layers: 2, norm: layer, position: learned, activation: gelu, bias: true", false,
     1},
    {"family: encdec, layers: 2, norm_place: post, position: sinusoid", true, 2},
    {"family: encdec, layers: 2, activation: relu, moe: {experts: 4, every: 2}", true,
     4},
    {"family: encdec, layers: 3, share_embeddings: false, qk_norm: true", true, 2},
    {"family: rnnlm, layers: 2, cell: lstm, bias: true", false, 1},
    {"family: seq2seq, layers: 2, attention: dot, bidirectional: true", true, 3},
    {"family: seq2seq, layers: 2, cell: rnn", true, 4},
    {"family: seq2seq, layers: 3, attention: additive, attention_place: before", true,
     4},
};

enum { KINDS = sizeof kinds / sizeof *kinds, VOCAB = 40 };

static void must(int rc, const struct err *e)
{
    if (rc < 0)
        fail_msg("%s", e->text);
}

/* Steps that wait for each other are one, the body of a loop. */
static int context_of(const struct kind *k)
{
    return strstr(k->model, "before") ? 1 : 8;
}

static struct spec *job_of(const struct kind *k, int context)
{
    struct spec *s = spec_create();
    struct err e = {0};
    char text[600];

    snprintf(text, sizeof text,
             "{data: {train: /dev/null, format: %s, tokenizer: char},"
             " model: {width: 8, heads: 2, context: %d, %s%s},"
             " train: {batch: 1, chunks: 1}}",
             k->pairs ? "pairs" : "stream", context,
             k->pairs ? "source_context: 8, source_vocab: 30, " : "", k->model);
    must(spec_load_text(s, "job", text, strlen(text), &e), &e);
    spec_anchor(s, "/");
    must(spec_resolve(s, &e), &e);
    return s;
}

/* ------------------------------------------------------------------------- */

/* Names that there are, of one graph or function. */
struct names {
    struct map *map;
};

static void define(struct names *n, const char *name)
{
    if (map_has(n->map, name))
        fail_msg("%s: is made twice", name);
    map_put(n->map, name, (void *)name);
}

/* Shapes are told of edges that there are, once each, and of those between blocks. */
static void check_infos(const struct names *n, const Onnx__Graph *g)
{
    struct map *told = map_create();

    for (size_t i = 0; i < g->n_value_info; i++) {
        const char *name = g->value_info[i]->name;

        if (!map_has(n->map, name) || map_has(told, name))
            fail_msg("%s: is told of twice, or not there", name);
        map_put(told, name, (void *)name);
    }
    for (size_t i = 0; i < g->n_output; i++)
        map_put(told, g->output[i]->name, g->output[i]);
    for (size_t i = 0; i < g->n_node; i++)
        for (size_t k = 0; g->node[i]->domain && k < g->node[i]->n_output; k++)
            if (!map_has(told, g->node[i]->output[k]))
                fail_msg("%s: has no shape", g->node[i]->output[k]);
    map_destroy(told);
}

static const Onnx__Function *function_of(const Onnx__Model *m, const char *name)
{
    for (size_t i = 0; i < m->n_functions; i++)
        if (strcmp(m->functions[i]->name, name) == 0)
            return m->functions[i];
    return NULL;
}

static void check_nodes(const Onnx__Model *m, struct names *n, Onnx__Node *const *node,
                        size_t count);

/* Within the body of a loop names from around it are good, and none is made again. */
static void check_loop(const Onnx__Model *m, struct names *n, const Onnx__Node *node)
{
    for (size_t i = 0; i < node->n_attribute; i++) {
        const Onnx__Graph *g = node->attribute[i]->g;

        if (!g)
            continue;
        assert_string_equal(node->op_type, "Scan");
        assert_int_equal(g->n_input, node->n_input);
        assert_int_equal(g->n_output, node->n_output);
        for (size_t k = 0; k < g->n_input; k++)
            define(n, g->input[k]->name);
        check_nodes(m, n, g->node, g->n_node);
        for (size_t k = 0; k < g->n_output; k++)
            assert_true(map_has(n->map, g->output[k]->name));
        check_infos(n, g);
    }
}

static void check_node(const Onnx__Model *m, struct names *n, const Onnx__Node *node)
{
    for (size_t i = 0; i < node->n_input; i++)
        if (*node->input[i] && !map_has(n->map, node->input[i]))
            fail_msg("%s: reads %s, which nothing made", node->name, node->input[i]);
    for (size_t i = 0; i < node->n_output; i++)
        define(n, node->output[i]);
    check_loop(m, n, node);
    if (!node->domain)
        return;
    const Onnx__Function *f = function_of(m, node->op_type);
    assert_non_null(f);
    assert_int_equal(node->n_input, f->n_input);
    assert_int_equal(node->n_output, f->n_output);
}

static void check_nodes(const Onnx__Model *m, struct names *n, Onnx__Node *const *node,
                        size_t count)
{
    for (size_t i = 0; i < count; i++)
        check_node(m, n, node[i]);
}

static void check_function(const Onnx__Model *m, const Onnx__Function *f)
{
    struct names n = {map_create()};

    for (size_t i = 0; i < f->n_input; i++)
        define(&n, f->input[i]);
    check_nodes(m, &n, f->node, f->n_node);
    assert_true(f->n_output > 0);
    for (size_t i = 0; i < f->n_output; i++)
        assert_true(map_has(n.map, f->output[i]));
    map_destroy(n.map);
}

static void check_model(const Onnx__Model *m)
{
    const Onnx__Graph *g = m->graph;
    struct names n = {map_create()};

    assert_int_equal(m->opset_import[0]->version, 17);
    for (size_t i = 0; i < g->n_input; i++)
        define(&n, g->input[i]->name);
    for (size_t i = 0; i < g->n_initializer; i++)
        define(&n, g->initializer[i]->name);
    check_nodes(m, &n, g->node, g->n_node);
    check_infos(&n, g);
    assert_true(g->n_output > 0);
    for (size_t i = 0; i < g->n_output; i++)
        assert_true(map_has(n.map, g->output[i]->name));
    for (size_t i = 0; i < m->n_functions; i++)
        check_function(m, m->functions[i]);
    map_destroy(n.map);
}

/* Its bytes are read back as the same bytes. */
static void check_bytes(const Onnx__Model *m)
{
    size_t len = onnx__model__get_packed_size(m);
    uint8_t *one = malloc(len + 1), *two = malloc(len + 1);
    Onnx__Model *back;

    assert_true(one && two);
    onnx__model__pack(m, one);
    back = onnx__model__unpack(NULL, len, one);
    assert_non_null(back);
    assert_int_equal(onnx__model__get_packed_size(back), len);
    onnx__model__pack(back, two);
    assert_memory_equal(one, two, len);
    onnx__model__free_unpacked(back, NULL);
    free(one);
    free(two);
}

/* Numbers of all weights, and of those that a file has. */
static int64_t elements_of(const struct onnx_model *m)
{
    int64_t n = 0;

    for (size_t i = 0; i < m->proto->graph->n_initializer; i++)
        if (!m->weight[i]->fill)
            n += shape_elements(&m->weight[i]->shape);
    return n;
}

static struct graph *new_graph(void)
{
    struct mesh mesh;
    struct err e = {0};

    must(mesh_make(1, 1, 1, 1, 1, 1, 1, 0, &mesh, &e), &e);
    return graph_create(&mesh, NND_F32, NND_F32);
}

/* ------------------------------------------------------------------------- */

static void whole(void **state)
{
    (void)state;
    for (int i = 0; i < KINDS; i++) {
        struct arena *mem = arena_create();
        struct graph *g = new_graph();
        struct spec *s = job_of(&kinds[i], context_of(&kinds[i]));
        struct onnx_model m = {0};
        struct outline o;
        struct model model;
        struct err e = {0};

        must(model_init(&model, g, spec_job(s), VOCAB, &e), &e);
        must(model_eval(&model, &e), &e);
        must(onnx_model_make(mem, g, "eval", &m, &e), &e);
        check_model(m.proto);
        check_bytes(m.proto);
        must(outline_make(spec_job(s), VOCAB, &o, &e), &e);
        if (elements_of(&m) != o.layout->nparams)
            fail_msg("%s: has %lld numbers of %lld", kinds[i].model,
                     (long long)elements_of(&m), (long long)o.layout->nparams);
        if (m.proto->n_functions != kinds[i].functions)
            fail_msg("%s: wanted %zu kinds of blocks, found %zu", kinds[i].model,
                     kinds[i].functions, m.proto->n_functions);
        outline_free(&o);
        spec_destroy(s);
        graph_destroy(g);
        arena_destroy(mem);
    }
}

/* A loop that is written out step by step has no form of ONNX. */
static void several_steps(void **state)
{
    struct arena *mem = arena_create();
    struct graph *g = new_graph();
    struct onnx_model m = {0};
    struct model model;
    struct err e = {0};

    (void)state;
    struct spec *s = job_of(&kinds[KINDS - 1], 2);
    must(model_init(&model, g, spec_job(s), VOCAB, &e), &e);
    must(model_eval(&model, &e), &e);
    assert_int_equal(onnx_model_make(mem, g, "eval", &m, &e), ERR_SPEC);
    assert_non_null(strstr(e.text, "wanted one step"));
    spec_destroy(s);
    graph_destroy(g);
    arena_destroy(mem);
}

static bool has(Onnx__ValueInfo *const *list, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i]->name, name) == 0)
            return true;
    return false;
}

/* Each state that a step leaves is one that a step takes; what an encoder leaves, too.
 */
static void check_states(const Onnx__Graph *step, const Onnx__Graph *encoder)
{
    char name[300];

    for (size_t i = 0; i < step->n_input; i++) {
        const char *in = step->input[i]->name;
        bool given = strcmp(in, "id") == 0 || strcmp(in, "pos") == 0 ||
                     strcmp(in, "source.len") == 0;

        snprintf(name, sizeof name, "%s.next", in);
        if (!given && !has(step->output, step->n_output, name) &&
            !(encoder && has(encoder->output, encoder->n_output, in)))
            fail_msg("%s: nothing leaves it", in);
    }
    for (size_t i = 0; encoder && i < encoder->n_output; i++)
        assert_true(has(step->input, step->n_input, encoder->output[i]->name));
    for (size_t i = 0; encoder && i < encoder->n_input; i++)
        if (strncmp(encoder->input[i]->name, "source.", 7) != 0)
            fail_msg("the encoder takes %s", encoder->input[i]->name);
    assert_true(has(step->output, step->n_output, "logits"));
}

static void steps(void **state)
{
    (void)state;
    for (int i = 0; i < KINDS; i++) {
        struct arena *mem = arena_create();
        struct graph *g = new_graph();
        struct spec *s = job_of(&kinds[i], context_of(&kinds[i]));
        struct onnx_model step = {0}, encoder = {0};
        const struct decode_shape one = {.rows = 1, .sources = 1};
        struct decode_step d;
        struct err e = {0};

        must(model_decode(g, spec_job(s), VOCAB, &one, &d, &e), &e);
        must(onnx_model_make(mem, g, "decode.0", &step, &e), &e);
        check_model(step.proto);
        if (kinds[i].pairs) {
            must(onnx_model_make(mem, g, "encode", &encoder, &e), &e);
            check_model(encoder.proto);
        }
        check_states(step.proto->graph, encoder.proto ? encoder.proto->graph : NULL);
        spec_destroy(s);
        graph_destroy(g);
        arena_destroy(mem);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole),
        cmocka_unit_test(several_steps),
        cmocka_unit_test(steps),
    };
    return cmocka_run_group_tests_name("exchange onnx", tests, NULL, NULL);
}
