/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_graph_again.c - which of forward's values cross over to backward, and which are
 * made again there.  That the bits are equal is tests/num/layout.test's.
 */
#include "graph/again.h"

#include <stdlib.h>
#include <string.h>

#include "graph/grad.h"
#include "graph/memory.h"
#include "graph/op.h"
#include "graph/ops.h"
#include "unit.h"

#define S(...) shape_of(__VA_ARGS__)
#define I(x)   ((int64_t)(x))

enum { ROWS = 8, WIDTH = 16, FFN = 64, EXPERTS = 4 };

static struct graph *new_graph(int ranks, enum recompute what)
{
    struct mesh m;
    struct err e;
    assert_int_equal(mesh_make(ranks, ranks, 1, 1, 1, 1, ranks, 0, &m, &e), 0);
    struct graph *g = graph_create(&m, NND_BF16, NND_F32);
    g->recompute = what;
    graph_program(g, "forward");
    return g;
}

static struct value *weight(struct graph *g, const char *name, int64_t out, int64_t in)
{
    struct shape s = out ? S(2, out, in) : S(1, in);
    return graph_weight(g, name, 0, s, (struct param_init){.std = 1}, true);
}

static struct value *rows(struct graph *g)
{
    struct value *id = graph_input(g, "id", NND_I32, S(1, I(ROWS)));
    return op_linear(g, op_embed(g, weight(g, "table", 5, WIDTH), id),
                     weight(g, "in", WIDTH, WIDTH), NULL);
}

/* Values that are alive at the same node have places of their own: every one of the
 * arena by the first and last node that name it. */
static void nothing_shares_a_place(const struct graph *g)
{
    int *first = calloc((size_t)g->nvalue, sizeof(*first)),
        *last = calloc((size_t)g->nvalue, sizeof(*last));
    assert_true(first && last);
    for (int i = g->nnode - 1; i >= 0; i--)
        for (int j = 0; j < g->node[i]->nin + g->node[i]->nout; j++) {
            const struct node *n = g->node[i];
            const struct value *v = j < n->nin ? n->in[j] : n->out[j - n->nin];
            if (!v || v->root->storage != STORAGE_ARENA)
                continue;
            first[v->root->id] = i + 1;
            if (!last[v->root->id])
                last[v->root->id] = i + 1;
        }
    for (int i = 0; i < g->nvalue; i++)
        for (int j = 0; j < i && first[i]; j++) {
            const struct value *a = g->value[i], *b = g->value[j];
            if (first[j] && first[i] <= last[j] && first[j] <= last[i] &&
                memory_region(a) == memory_region(b))
                assert_true(a->offset + value_bytes(a) <= b->offset ||
                            b->offset + value_bytes(b) <= a->offset);
        }
    free(first);
    free(last);
}

static void end(struct graph *g, struct value *x)
{
    struct chunk c = {.target = graph_input(g, "target", NND_I32, S(1, I(ROWS))),
                      .seed = graph_input(g, "seed", NND_F32, S(1, I(1)))};
    op_xent(g, op_linear(g, x, weight(g, "head", 5, WIDTH), NULL), &c);
    graph_backward(g, g->nprogram - 1, "backward");
    struct memory m;
    struct err e;
    for (int i = 0; i < g->nplane; i++)
        g->plane[i].buffers = 1;
    assert_int_equal(memory_plan(g, 1, &m, &e), 0);
    assert_int_equal(m.bytes[REGION_SLOT], 0);
    nothing_shares_a_place(g);
}

/* Nodes of operator `name` in a program. */
static int count(const struct graph *g, int program, const char *name)
{
    int n = 0;
    for (int i = g->program[program].first; i < g->program[program].end; i++)
        n += strcmp(g->node[i]->op->name, name) == 0;
    return n;
}

static bool kept(const struct value *v)
{
    assert_non_null(v);
    return v->root->saved;
}

/* ------------------------------------------------------------------------- */

struct mlp {
    struct value *x, *sum, *normed, *z, *y;
};

/* x + add, its norm, gelu of a product of that, and a product that is added. */
static struct mlp build_mlp(struct graph *g)
{
    struct mlp m = {.x = rows(g)};
    struct value *add = op_linear(g, m.x, weight(g, "add", WIDTH, WIDTH), NULL);
    m.sum = m.x;
    m.normed = op_norm_rms_add(g, &m.sum, add, weight(g, "norm", 0, WIDTH), 1e-5);
    m.y = op_linear_act(g, m.normed, weight(g, "up", FFN, WIDTH), NULL, ACT_GELU_TANH);
    m.z = m.y->maker->out[1];
    end(g, op_add(g, m.sum, op_linear(g, m.y, weight(g, "down", WIDTH, FFN), NULL)));
    return m;
}

/* The product for dz makes y beside it, where z was: y is not kept, and z alone takes
 * its room. */
static void norms_are_made_again(void **state)
{
    (void)state;
    struct graph *g = new_graph(1, RECOMPUTE_NORMS);
    struct mlp m = build_mlp(g);
    assert_true(kept(m.x) && kept(m.sum) && kept(m.z));
    assert_false(kept(m.normed));
    assert_false(kept(m.y));
    assert_int_equal(count(g, 1, "norm.rms"), 1);
    assert_int_equal(count(g, 1, "gelu"), 0);
    assert_int_equal(count(g, 1, "embed"), 1);
    const struct value *again = NULL;
    bool is_read = false;
    for (int i = g->program[1].first; i < g->program[1].end; i++) {
        const struct node *n = g->node[i];
        assert_true(n->in[1] != m.y); /* dW reads the one that was made again */
        if (n->nout > 1 && n->out[1]->root == m.z)
            again = n->out[1];
        is_read |= again && n->in[1] == again;
    }
    assert_non_null(again);
    assert_true(is_read);
    graph_destroy(g);
}

/* A gelu that is no product's end, and that backward passes by itself. */
static void activations_are_a_choice(void **state)
{
    (void)state;
    for (enum recompute r = RECOMPUTE_NORMS; r <= RECOMPUTE_ACTIVATIONS; r++) {
        struct graph *g = new_graph(1, r);
        struct value *z = op_linear(g, rows(g), weight(g, "up", FFN, WIDTH), NULL);
        struct value *y = op_act(g, z, ACT_GELU_TANH);
        end(g, op_linear(g, y, weight(g, "down", WIDTH, FFN), NULL));
        assert_true(kept(z));
        assert_int_equal(kept(y), r == RECOMPUTE_NORMS);
        assert_int_equal(count(g, 1, "gelu"), r == RECOMPUTE_ACTIVATIONS);
        graph_destroy(g);
    }
}

/* Of a block only what others read is kept; its products run again, once. */
static void blocks_keep_what_others_read(void **state)
{
    (void)state;
    struct graph *g = new_graph(1, RECOMPUTE_BLOCKS);
    struct value *x = rows(g);
    graph_block(g);
    struct value *z = op_linear(g, x, weight(g, "up", FFN, WIDTH), NULL);
    struct value *y = op_act(g, z, ACT_GELU_TANH);
    struct value *out = op_linear(g, y, weight(g, "down", WIDTH, FFN), NULL);
    graph_block_end(g);
    end(g, out);
    assert_true(kept(x) && kept(out));
    assert_false(kept(z) || kept(y));
    int again = 0;
    for (int i = g->program[1].first; i < g->nnode; i++)
        again += g->node[i]->again && strcmp(g->node[i]->op->name, "linear") == 0;
    assert_int_equal(again, 1);
    graph_destroy(g);
}

/* Of two blocks the first one runs again, whatever programs came before. */
static void some_blocks_run_again(void **state)
{
    (void)state;
    struct graph *g = new_graph(1, RECOMPUTE_BLOCKS);
    g->recompute_blocks = 1;
    graph_block(g);
    graph_block_end(g);
    graph_program(g, "second");
    struct value *x = rows(g), *z[2];
    for (int i = 0; i < 2; i++) {
        graph_block(g);
        z[i] = op_linear(g, x, weight(g, i ? "up.1" : "up.0", FFN, WIDTH), NULL);
        x = op_linear(g, op_act(g, z[i], ACT_GELU_TANH),
                      weight(g, i ? "down.1" : "down.0", WIDTH, FFN), NULL);
    }
    graph_block_end(g);
    end(g, x);
    assert_false(kept(z[0]));
    assert_true(kept(z[1]));
    graph_destroy(g);
}

static void nothing_is_made_again_when_asked(void **state)
{
    (void)state;
    struct graph *g = new_graph(1, RECOMPUTE_NOTHING);
    struct mlp m = build_mlp(g);
    assert_true(kept(m.x) && kept(m.sum) && kept(m.z) && kept(m.normed) && kept(m.y));
    assert_int_equal(count(g, 1, "norm.rms") + count(g, 1, "gelu"), 0);
    graph_destroy(g);
}

/* The sum's inputs are nobody else's in backward: to keep them would cost more. */
static void what_nobody_has_is_kept(void **state)
{
    (void)state;
    struct graph *g = new_graph(1, RECOMPUTE_ACTIVATIONS);
    struct value *x = rows(g);
    struct value *a = op_linear(g, x, weight(g, "a", WIDTH, WIDTH), NULL);
    struct value *b = op_linear(g, x, weight(g, "b", WIDTH, WIDTH), NULL);
    struct value *sum = op_add(g, a, b);
    end(g, op_linear(g, sum, weight(g, "c", WIDTH, WIDTH), NULL));
    assert_true(kept(sum));
    assert_false(kept(a) || kept(b));
    assert_int_equal(count(g, 1, "sum"), 1); /* the two gradients of x */
    graph_destroy(g);
}

/* A value is made once, before the first of its readers, whatever shape they see. */
static void views_read_what_is_made_again(void **state)
{
    (void)state;
    struct graph *g = new_graph(1, RECOMPUTE_ACTIVATIONS);
    struct value *n = op_norm_rms(g, rows(g), weight(g, "norm", 0, WIDTH), 1e-5);
    struct value *a = op_linear(g, op_view(g, n, S(3, I(2), I(4), I(WIDTH))),
                                weight(g, "a", WIDTH, WIDTH), NULL);
    struct value *b = op_linear(g, n, weight(g, "b", WIDTH, WIDTH), NULL);
    end(g, op_add(g, op_view(g, a, S(2, I(ROWS), I(WIDTH))), b));
    assert_false(kept(n));
    assert_int_equal(count(g, 1, "norm.rms"), 1);
    graph_destroy(g);
}

/* Two ranks: rounds.  What is made again is so in each of them, and is not computed
 * besides by what makes the values of further rounds. */
static void rounds_make_their_own_again(void **state)
{
    (void)state;
    struct graph *g = new_graph(2, RECOMPUTE_ACTIVATIONS);
    struct value *x = rows(g);
    struct value *n = op_norm_rms(g, x, weight(g, "norm", 0, WIDTH), 1e-5);
    struct sort s =
        op_sort(g, graph_input(g, "expert", NND_I32, S(2, I(ROWS), I(2))), EXPERTS);
    struct value *sorted = op_permute(g, n, &s);
    struct value *counts = op_exchange(g, s.total);
    graph_loop_begin(g, counts, ROWS, true);
    struct window w = op_window(g, counts, ROWS);
    struct value *arrived = op_dispatch(g, sorted, counts, ROWS);
    struct value *up = graph_stack(g, "up{}", EXPERTS, 0, EXPERTS / 2,
                                   S(2, I(FFN), I(WIDTH)), (struct param_init){0});
    struct value *down = graph_stack(g, "down{}", EXPERTS, 0, EXPERTS / 2,
                                     S(2, I(WIDTH), I(FFN)), (struct param_init){0});
    struct value *z = op_grouped(g, arrived, NULL, up, w, EXPERTS);
    struct value *y = op_act(g, z, ACT_GELU_TANH);
    struct value *done = op_grouped(g, y, NULL, down, w, EXPERTS);
    struct value *back = op_collect(g, done, counts, ROWS, 2 * ROWS);
    graph_loop_end(g);
    end(g, op_add(g, x, op_unpermute(g, back, NULL, &s)));

    assert_true(kept(x) && kept(arrived) && kept(z));
    assert_false(kept(n) || kept(sorted) || kept(y));
    assert_int_equal(count(g, 1, "norm.rms"), 1);
    assert_int_equal(count(g, 1, "gelu"), 1);
    const struct loop *l = &g->loop[2];
    int before = 0, redone = 0;
    for (int i = g->program[1].first; i < g->nnode; i++) {
        const struct node *node = g->node[i];
        bool within = i >= l->first && i < l->end;
        assert_int_equal(node->loop, within ? 2 : 0);
        assert_int_equal(node->id, i);
        redone += node->redo;
        if (strcmp(node->op->name, "gelu") == 0)
            assert_true(within && !node->redo);
        if (strcmp(node->op->name, "permute") == 0 && i < l->first)
            before++; /* and one of unpermute's gradient */
    }
    assert_int_equal(before, 2);
    assert_int_equal(redone, 3); /* window, dispatch, the first product */
    graph_destroy(g);
}

/* x [ROWS,WIDTH] to logits by way of n products whose results are kept. */
static struct graph *build_chain(int n)
{
    struct graph *g = new_graph(1, RECOMPUTE_NORMS);
    struct value *x = rows(g);
    char name[8];
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof(name), "w%d", i);
        x = op_linear(g, x, weight(g, name, WIDTH, WIDTH), NULL);
    }
    struct chunk c = {.target = graph_input(g, "target", NND_I32, S(1, I(ROWS))),
                      .seed = graph_input(g, "seed", NND_F32, S(1, I(1)))};
    op_xent(g, op_linear(g, x, weight(g, "head", 5, WIDTH), NULL), &c);
    graph_backward(g, 0, "backward");
    return g;
}

/* With one slot gradients of activations lie where saved ones were that have been read:
 * no more than two of those, besides what forward saves.  Of several slots each keeps
 * its own. */
static void backward_goes_where_forward_was(void **state)
{
    (void)state;
    enum { LAYERS = 16, ONE = ROWS * WIDTH * 2 };
    struct memory m;
    struct err e;
    struct graph *g = build_chain(LAYERS);
    assert_int_equal(memory_plan(g, 1, &m, &e), 0);
    assert_int_equal(m.bytes[REGION_SLOT], 0);
    assert_true(m.bytes[REGION_ARENA] >= LAYERS * ONE);
    assert_true(m.bytes[REGION_ARENA] <= (LAYERS + 3) * ONE);
    nothing_shares_a_place(g);
    graph_destroy(g);
    g = build_chain(LAYERS);
    assert_int_equal(memory_plan(g, 2, &m, &e), 0);
    assert_true(m.bytes[REGION_SLOT] >= LAYERS * ONE);
    assert_true(m.bytes[REGION_ARENA] < 4 * ONE);
    nothing_shares_a_place(g);
    graph_destroy(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(norms_are_made_again),
        cmocka_unit_test(activations_are_a_choice),
        cmocka_unit_test(blocks_keep_what_others_read),
        cmocka_unit_test(some_blocks_run_again),
        cmocka_unit_test(nothing_is_made_again_when_asked),
        cmocka_unit_test(what_nobody_has_is_kept),
        cmocka_unit_test(views_read_what_is_made_again),
        cmocka_unit_test(rounds_make_their_own_again),
        cmocka_unit_test(backward_goes_where_forward_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
