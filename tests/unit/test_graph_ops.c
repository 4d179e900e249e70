/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_graph_ops.c - what operators say while a graph is built: shapes, types,
 * FLOPs, and one line about what does not fit.
 */
#include "graph/graph.h"

#include "graph/grad.h"
#include "graph/op.h"
#include "graph/ops.h"
#include "unit.h"

#define S(...) shape_of(__VA_ARGS__)
#define I(x)   ((int64_t)(x))

static struct graph *new_graph(void)
{
    struct mesh m;
    struct err e;
    assert_int_equal(mesh_make(1, 1, 1, 1, 1, 1, 1, 0, &m, &e), 0);
    struct graph *g = graph_create(&m, NND_BF16, NND_F32);
    graph_program(g, "forward");
    graph_scope(g, "layers.3");
    return g;
}

static struct value *weight(struct graph *g, const char *name, struct shape s)
{
    return graph_weight(g, name, 0, s, (struct param_init){.std = 1}, true);
}

static struct value *ints(struct graph *g, const char *name, int64_t n)
{
    return graph_input(g, name, NND_I32, S(1, n));
}

static struct chunk chunk_of(struct graph *g, int64_t batch, int64_t context)
{
    int64_t n = batch * context;
    return (struct chunk){
        .batch = batch,
        .context = context,
        .id = ints(g, "id", n),
        .target = ints(g, "target", n),
        .pos = ints(g, "pos", n),
        .sample = ints(g, "sample", n),
        .rng = graph_input(g, "rng", NND_I64, S(1, I(2))),
        .seed = graph_input(g, "seed", NND_F32, S(1, I(1))),
    };
}

/* ------------------------------------------------------------------------- */
/* Refusals.                                                                 */

static void norm_size(struct graph *g)
{
    op_norm_rms(g, weight(g, "x", S(2, I(3), I(8))), weight(g, "w", S(1, I(7))), 1e-5);
}

static void norm_type(struct graph *g)
{
    struct value *w = graph_input(g, "w", NND_F32, S(1, I(8)));
    op_norm_layer(g, weight(g, "x", S(2, I(3), I(8))), w, w, 1e-5);
}

static void rope_odd(struct graph *g)
{
    op_rope(g, weight(g, "x", S(3, I(4), I(2), I(5))), ints(g, "pos", 4), 1e4, false);
}

static void rope_positions(struct graph *g)
{
    op_rope(g, weight(g, "x", S(3, I(4), I(2), I(6))), ints(g, "pos", 5), 1e4, false);
}

static void swiglu_sizes(struct graph *g)
{
    op_swiglu(g, weight(g, "a", S(2, I(3), I(8))), weight(g, "b", S(2, I(8), I(3))));
}

static void embed_ids(struct graph *g)
{
    op_embed(g, weight(g, "table", S(2, I(9), I(8))),
             graph_input(g, "id", NND_I64, S(1, I(4))));
}

static void dropout_all(struct graph *g)
{
    struct chunk c = chunk_of(g, 1, 3);
    op_dropout(g, weight(g, "x", S(2, I(3), I(8))), 1.0, &c);
}

static void attention_heads(struct graph *g)
{
    struct chunk c = chunk_of(g, 1, 4);
    struct value *k = weight(g, "k", S(3, I(4), I(2), I(8)));
    op_attention(g, weight(g, "q", S(3, I(4), I(3), I(8))), k, k, 0, &c);
}

static void attention_rows(struct graph *g)
{
    struct chunk c = chunk_of(g, 2, 4);
    struct value *k = weight(g, "k", S(3, I(4), I(2), I(8)));
    op_attention(g, k, k, k, 0, &c);
}

static void cache_dims(struct graph *g)
{
    struct value *k = graph_state(g, "k", NND_BF16, S(3, I(4), I(2), I(8)));
    op_attention_cached(g, weight(g, "q", S(3, I(2), I(2), I(8))), k, k,
                        ints(g, "len", 2));
}

static void xent_targets(struct graph *g)
{
    struct chunk c = chunk_of(g, 2, 4);
    op_xent(g, weight(g, "z", S(2, I(7), I(5))), &c);
}

static struct route_config routing(int top_k, int64_t group_rows)
{
    return (struct route_config){.top_k = top_k, .scale = 1, .group_rows = group_rows};
}

static void route_narrow(struct graph *g)
{
    struct chunk c = chunk_of(g, 1, 6);
    op_route(g, weight(g, "z", S(2, I(6), I(4))), NULL, routing(2, 6), &c);
}

static struct value *logits(struct graph *g)
{
    return op_linear_wide(g, weight(g, "x", S(2, I(6), I(8))),
                          weight(g, "w", S(2, I(4), I(8))));
}

static void route_choices(struct graph *g)
{
    struct chunk c = chunk_of(g, 1, 6);
    op_route(g, logits(g), NULL, routing(5, 6), &c);
}

static void route_groups(struct graph *g)
{
    struct chunk c = chunk_of(g, 1, 6);
    op_route(g, logits(g), NULL, routing(2, 4), &c);
}

static void route_unused(struct graph *g)
{
    struct chunk c = chunk_of(g, 1, 6);
    op_route(g, logits(g), NULL, routing(2, 6), &c);
    graph_backward(g, 0, "backward");
}

static void permute_rows(struct graph *g)
{
    struct sort s = op_sort(g, graph_input(g, "e", NND_I32, S(2, I(6), I(2))), 4);
    op_permute(g, weight(g, "x", S(2, I(5), I(8))), &s);
}

static void grouped_inner(struct graph *g)
{
    struct value *w =
        graph_stack(g, "w{}", 4, 0, 4, S(2, I(5), I(7)), (struct param_init){.std = 1});
    struct value *seg = graph_input(g, "seg", NND_I32, S(2, I(4), I(4)));
    op_grouped(g, weight(g, "x", S(2, I(6), I(8))), NULL, w, (struct window){seg, seg},
               4);
}

static void scatter_columns(struct graph *g)
{
    struct value *dst = graph_state(g, "dst", NND_BF16, S(2, I(9), I(7)));
    op_rows_scatter(g, weight(g, "x", S(2, I(3), I(8))), ints(g, "index", 3), dst);
}

static void sqnorm_room(struct graph *g)
{
    struct value *grad = graph_state(g, "grad", NND_F32, S(1, I(5000)));
    op_sqnorm(g, grad, graph_state(g, "blocks", NND_F64, S(1, I(4))), 3);
}

static void optim_second(struct graph *g)
{
    struct value *w = graph_state(g, "w", NND_F32, S(1, I(8)));
    op_optim(g, (struct optim_config){.kind = "opt.adamw"}, w, w, w, NULL, NULL,
             graph_input(g, "hyper", NND_F32, S(1, I(NND_HYPER_COUNT))), NULL);
}

static void optim_kind(struct graph *g)
{
    struct value *w = graph_state(g, "w", NND_F32, S(1, I(8)));
    op_optim(g, (struct optim_config){.kind = "opt.lion"}, w, w, w, NULL, NULL, w,
             NULL);
}

static void rnn_rows(struct graph *g)
{
    op_rnn(g, (struct rnn_config){.cell = NND_CELL_GRU},
           weight(g, "x", S(2, I(7), I(12))), 2,
           (struct rnn_weights){.u = weight(g, "u", S(2, I(12), I(4)))},
           (struct rnn_state){0}, NULL);
}

static void rnn_cell_state(struct graph *g)
{
    struct value *c = graph_state(g, "c", NND_F32, S(2, I(3), I(4)));
    op_rnn_cell(g, NND_CELL_GRU, weight(g, "x", S(2, I(3), I(12))),
                (struct rnn_weights){.u = weight(g, "u", S(2, I(12), I(4)))},
                (struct rnn_state){.c = c});
}

static void rnn_gates(struct graph *g)
{
    op_rnn_cell(g, NND_CELL_LSTM, weight(g, "x", S(2, I(3), I(12))),
                (struct rnn_weights){.u = weight(g, "u", S(2, I(12), I(4)))},
                (struct rnn_state){0});
}

static void attend_weights(struct graph *g)
{
    struct value *x = weight(g, "x", S(2, I(6), I(8)));
    struct attend a = op_attend_dot(g, 2, x, x, x, 1, NULL);
    op_xent(g, a.weight,
            &(struct chunk){.target = ints(g, "target", 6),
                            .seed = graph_input(g, "seed", NND_F32, S(1, I(1)))});
    graph_backward(g, 0, "backward");
}

static void argmax_columns(struct graph *g)
{
    op_argmax(g, weight(g, "x", S(2, I(6), I(8))), 9);
}

struct refusal {
    const char *name;
    void (*build)(struct graph *g);
    const char *text;
};

static const struct refusal refusals[] = {
    {"norm: a weight of another size", norm_size,
     "layers.3.norm.rms: norm weight: wanted bf16 [1,8], found bf16 [1,7]"},
    {"norm: a weight of another type", norm_type,
     "layers.3.norm.layer: norm weight: wanted bf16 [1,8], found f32 [1,8]"},
    {"rope: an odd head", rope_odd, "layers.3.rope: rope: wanted [T,H,D] with even D"},
    {"rope: too many positions", rope_positions,
     "layers.3.rope: rope positions: wanted i32 [1,4], found i32 [1,5]"},
    {"swiglu: sizes differ", swiglu_sizes,
     "layers.3.swiglu: swiglu input: wanted bf16 [3,8], found bf16 [8,3]"},
    {"embed: wide ids", embed_ids,
     "layers.3.embed: embedding ids: wanted i32 [1,any], found i64 [1,4]"},
    {"dropout: everything", dropout_all,
     "layers.3.dropout: dropout: wanted 0 <= p < 1, found 1"},
    {"attention: heads that do not share", attention_heads,
     "layers.3.attention: attention: 3 heads do not share 2 key heads evenly"},
    {"attention: rows that are not sequences", attention_rows,
     "layers.3.attention: attention: 4 and 4 rows are not 2 sequences of 4 and 4"},
    {"attention.cached: a cache of three dims", cache_dims,
     "k: a cache has the shape [B,S,Hk,D]"},
    {"xent: rows without a target", xent_targets,
     "layers.3.xent: targets: wanted i32 [1,7], found i32 [1,8]"},
    {"route: narrow logits", route_narrow,
     "layers.3.route: router logits: wanted f32 [any,any], found bf16 [6,4]"},
    {"route: more choices than experts", route_choices,
     "layers.3.route: router: wanted 1 to 4 choices, found 5"},
    {"route: a broken group", route_groups,
     "layers.3.route: router: 6 rows are not whole groups of 4"},
    {"route: gates nobody uses", route_unused,
     "layers.3.route: no gradient reaches the gates"},
    {"permute: rows without a place", permute_rows,
     "layers.3.permute: rows: wanted any type [6,any], found bf16 [5,8]"},
    {"grouped: inner sizes differ", grouped_inner,
     "layers.3.grouped: grouped input: wanted bf16 [any,7], found bf16 [6,8]"},
    {"rows.scatter: rows that do not fit", scatter_columns,
     "dst: not whole rows of 8 elements"},
    {"sqnorm: no room for the blocks", sqnorm_room,
     "layers.3.sqnorm: blocks 3 to 5 of 4"},
    {"opt.adamw: no second moment", optim_second,
     "layers.3.opt.adamw: optimizer: gradient, weights and moments differ in size, or "
     "one is missing"},
    {"rnn: rows that are not sequences", rnn_rows,
     "layers.3.rnn: 7 rows are not sequences of 2 steps"},
    {"rnn: a cell state and no lstm", rnn_cell_state,
     "layers.3.rnn.cell: a cell state, and no lstm"},
    {"rnn: gates of another cell", rnn_gates,
     "layers.3.rnn.cell: gates' input: wanted any type [any,16], found bf16 [3,12]"},
    {"attend: a gradient into the weights", attend_weights,
     "layers.3.attend.dot: the weights of attention are for looking at: a gradient "
     "flows into them"},
    {"argmax: more than there are", argmax_columns,
     "layers.3.argmax: wanted 1 to 8 columns, found 9"},
    {"optimizer: unknown", optim_kind, "optimizer: unknown kind opt.lion"},
};

#define REFUSALS (sizeof(refusals) / sizeof(refusals[0]))

/* The first error stays, and later builders do nothing. */
static void refuses(void **state)
{
    const struct refusal *r = *state;
    struct graph *g = new_graph();
    struct err e;
    r->build(g);
    assert_int_equal(graph_status(g, &e), ERR_FAILED);
    assert_string_equal(e.text, r->text);
    int nodes = g->nnode;
    assert_null(op_act(g, graph_input(g, "y", NND_BF16, S(2, I(2), I(2))), ACT_GELU));
    assert_int_equal(g->nnode, nodes);
    graph_destroy(g);
}

/* ------------------------------------------------------------------------- */

static void null_passes_through(void **state)
{
    struct graph *g = new_graph();
    struct chunk c = chunk_of(g, 1, 4);
    struct sort s = op_sort(g, NULL, 4);
    struct route r = op_route(g, NULL, NULL, routing(1, 4), &c);
    struct err e;
    (void)state;
    op_route_aux(&r, NULL, NULL);
    assert_null(op_norm_rms(g, NULL, NULL, 1e-5));
    assert_null(op_rope(g, NULL, c.pos, 1e4, false));
    assert_null(op_swiglu(g, NULL, NULL));
    assert_null(op_dropout(g, NULL, 0.5, &c));
    assert_null(op_attention(g, NULL, NULL, NULL, 0, &c));
    assert_null(op_attention_cached(g, NULL, NULL, NULL, NULL));
    assert_null(op_xent(g, NULL, &c));
    assert_null(op_permute(g, NULL, &s));
    assert_null(op_unpermute(g, NULL, r.gate, &s));
    assert_null(op_rows_gather(g, NULL, NULL));
    assert_int_equal(g->nnode, 0);
    assert_int_equal(graph_status(g, &e), 0);
    graph_destroy(g);
}

static void no_dropout_is_no_node(void **state)
{
    struct graph *g = new_graph();
    struct chunk c = chunk_of(g, 1, 4);
    struct value *x = weight(g, "x", S(2, I(4), I(8)));
    (void)state;
    assert_ptr_equal(op_dropout(g, x, 0, &c), x);
    assert_int_equal(g->nnode, 0);
    assert_int_equal(g->next_rng, 0);
    graph_destroy(g);
}

static int64_t flops_of(const struct value *v)
{
    return v->maker->op->flops(v->maker);
}

/* Attention: two products of 2 T C H D each, half of them masked; backward
 * five.  Experts: the rows that are planned. */
static void flops_are_counted(void **state)
{
    struct graph *g = new_graph();
    struct chunk c = chunk_of(g, 2, 16);
    struct value *q = weight(g, "q", S(3, I(32), I(4), I(8)));
    struct value *k = weight(g, "k", S(3, I(32), I(2), I(8)));
    struct value *w =
        graph_stack(g, "w{}", 4, 0, 4, S(2, I(5), I(7)), (struct param_init){.std = 1});
    struct value *seg = graph_input(g, "seg", NND_I32, S(2, I(4), I(4)));
    struct value *x = weight(g, "x", S(2, I(6), I(7)));
    (void)state;
    assert_int_equal(flops_of(op_attention(g, q, k, k, 0, &c)), 2 * 32 * 16 * 4 * 8);
    assert_int_equal(flops_of(op_grouped(g, x, NULL, w, (struct window){seg, seg}, 4)),
                     2 * 6 * 5 * 7);
    graph_destroy(g);
}

/* Losses overwrite their logits only when nobody else reads them. */
static bool overwrites(bool shared)
{
    struct graph *g = new_graph();
    struct chunk c = chunk_of(g, 1, 6);
    struct value *z = logits(g);
    struct err e;
    assert_non_null(op_xent(g, op_view(g, z, S(2, I(6), I(4))), &c));
    if (shared)
        assert_non_null(op_view(g, op_sum(g, &z, 1, NND_F32), S(1, I(24))));
    graph_backward(g, 0, "backward");
    assert_int_equal(graph_status(g, &e), 0);
    bool found = false;
    for (int i = g->program[1].first; i < g->nnode; i++)
        if (strcmp(g->node[i]->op->name, "xent.bwd") == 0)
            found = g->node[i]->out[0]->root == z;
    graph_destroy(g);
    return found;
}

static void xent_overwrites_its_own_logits(void **state)
{
    (void)state;
    assert_true(overwrites(false));
    assert_false(overwrites(true));
}

/* One gradient of a tied table: rows are added to what the output's product made. */
static void embeddings_add_to_a_tied_table(void **state)
{
    struct graph *g = new_graph();
    struct chunk c = chunk_of(g, 1, 6);
    struct value *w = weight(g, "w", S(2, I(9), I(8))), *grad = NULL;
    struct value *x = op_embed(g, w, ints(g, "ids", 6));
    struct err e;
    (void)state;
    assert_non_null(op_xent(g, op_linear(g, x, w, NULL), &c));
    graph_backward(g, 0, "backward");
    assert_int_equal(graph_status(g, &e), 0);
    for (int i = g->program[1].first; i < g->nnode; i++) {
        const struct node *n = g->node[i];
        assert_string_not_equal(n->op->name, "sum");
        if (strcmp(n->op->name, "embed.bwd") == 0)
            grad = n->out[0]->root;
    }
    assert_non_null(grad);
    assert_string_equal(grad->maker->op->name, "linear");
    assert_int_equal(grad->storage, STORAGE_GRAD);
    graph_destroy(g);
}

static int vector_align(const struct value *v)
{
    return bind_vector(NULL, v).align_log2;
}

static int matrix_align(const struct value *v)
{
    return bind_matrix(NULL, v).align_log2;
}

/* Weights lie at multiples of 16 elements behind each other, all else at 64 bytes. */
static void alignment_is_that_of_rows_and_places(void **state)
{
    struct graph *g = new_graph();
    struct value *first = weight(g, "first", S(2, I(6), I(8))); /* 48 elements */
    struct value *second =
        weight(g, "second", S(2, I(4), I(64))); /* from 96 bytes on */
    struct value *x = graph_input(g, "x", NND_F32, S(2, I(3), I(100)));
    struct value *grad = graph_grad(g, second->param);
    (void)state;
    assert_int_equal(vector_align(first), 6);
    assert_int_equal(matrix_align(first), 4); /* 16 bytes a row */
    assert_int_equal(vector_align(second), 5);
    assert_int_equal(matrix_align(second), 5);
    assert_int_equal(matrix_align(grad), 6);
    assert_int_equal(vector_align(x), 6);
    assert_int_equal(matrix_align(x), 4); /* 400 */
    assert_int_equal(vector_align(op_part(g, x, 3, S(1, I(9)))), 2);
    assert_int_equal(vector_align(op_part(g, second, 16, S(1, I(16)))), 6);
    assert_int_equal(matrix_align(op_part(g, second, 17, S(2, I(2), I(16)))), 1);
    graph_destroy(g);
}

int main(void)
{
    struct CMUnitTest tests[REFUSALS + 6];
    size_t n = 0;
    for (; n < REFUSALS; n++)
        tests[n] = (struct CMUnitTest){.name = refusals[n].name,
                                       .test_func = refuses,
                                       .initial_state = (void *)&refusals[n]};
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(null_passes_through);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(no_dropout_is_no_node);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(flops_are_counted);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(xent_overwrites_its_own_logits);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(embeddings_add_to_a_tied_table);
    tests[n++] =
        (struct CMUnitTest)cmocka_unit_test(alignment_is_that_of_rows_and_places);
    return _cmocka_run_group_tests("graph/ops", tests, n, NULL, NULL);
}
