/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_ref_recurrent.c - recurrent layers and attention that keeps its weights
 * against PyTorch 2.4 in f64, forward and backward.
 *
 * Inputs are sines, and so are the numbers that results are weighed with; of the
 * gradients one weighed sum each is compared, their elements are compared with
 * differences in test_op_grad.  PyTorch's input weights are the identity.
 */
#include <stdio.h>

#include "ref.h"

static struct nnd_tensor sines(int64_t a, int64_t b, int64_t c, double step,
                               double scale)
{
    struct nnd_tensor t = num_f64(a, b, c);
    for (int64_t i = 0; i < num_count(&t); i++)
        ((double *)t.data)[i] = sin(step * (double)(i + 1)) * scale;
    return t;
}

/* The sum of t, weighed. */
static double weighed(const struct nnd_tensor *t)
{
    double sum = 0;
    for (int64_t i = 0; t->ndim && i < num_count(t); i++)
        sum += ((double *)t->data)[i] * sin(0.11 * (double)(i + 1));
    return sum;
}

static void expect(const char *what, const struct nnd_tensor *t, const double *want)
{
    for (int64_t i = 0; i < num_count(t); i++)
        num_near(what, ((double *)t->data)[i], want[i], 1e-14);
}

enum { B = 2, T = 3, H = 2 };
static const int32_t lengths[B] = {3, 2};

/* y, and the weighed gradients of x, u, b, h0 and c0. */
static const struct {
    const char *name;
    int cell, gates;
    bool reverse;
    double y[B * T * H], grad[5];
} layers[] = {
    {"tanh",
     NND_CELL_TANH,
     1,
     false,
     {0.96508551420742295, 0.96188988045418899, 0.99590535932915603,
      0.71442892453204099, 0.800542245639001, -0.67263016758374439,
      -0.93536421468603914, -0.45903444758563006, -0.4405845501417871,
      0.84328247728741168, 0, 0},
     {-0.072512816937167157, 1.0078328312577711, 0.070002141855051409,
      0.006216145112293181, 0}},
    {"relu",
     NND_CELL_RELU,
     1,
     false,
     {2.0151946166273702, 1.9705918303185914, 4.5385076153835051, 0.89811159802066565,
      3.4632360358369407, 0.33067182218427238, 0, 0, 0.47082453075724229,
      1.3897280999879786, 0, 0},
     {2.4862147345884562, 5.9574601515706842, 1.330403904178683, 0.42440431215403801,
      0}},
    {"gru",
     NND_CELL_GRU,
     3,
     false,
     {0.2478032505206692, -0.23336103672240094, 0.58534051968460632,
      0.22354302991180686, -0.50689338444264642, -0.023881410976386484,
      -0.46835551814431425, -0.57375815491409488, -0.027722128990567696,
      0.10496628678316, 0, 0},
     {1.2473091700357446, 1.4814576824694343, 0.60098592730010814, 0.11696966441969818,
      0}},
    {"gru reverse",
     NND_CELL_GRU,
     3,
     true,
     {-0.12146342344925826, -0.21601107541995268, 0.060246827760689681,
      0.31739099175352092, -0.50344360653785425, -0.034051126124854225,
      -0.1459510937499684, -0.35742193581546822, 0.030057451140053204,
      0.11700189361608193, 0, 0},
     {2.2270415976495412, 1.3969029407502807, 1.1355448782521775, -0.30233830570215525,
      0}},
    {"lstm",
     NND_CELL_LSTM,
     4,
     false,
     {0.059470923630954679, -0.35910254240657818, 0.078025643894461025,
      -0.11938030151362609, 0.20391504864285309, -0.03539940011559297,
      -0.32679323370927016, 0.15021913007296103, -0.017126000140786538,
      0.28731895354149212, 0, 0},
     {1.1306712401376635, 0.18803992738857261, 0.98319297900597313,
      -0.033609777304846183, 0.13814470298830087}},
    {"lstm reverse",
     NND_CELL_LSTM,
     4,
     true,
     {0.052965119098553913, -0.25641121867517608, 0.20054735221893077,
      -0.10586436738992645, 0.29898543509111819, -0.031258521995944789,
      0.024259227515563496, 0.214866947676319, -0.2704997857094173, 0.19534353023811851,
      0, 0},
     {1.0990051842452635, 0.47940396846270661, 0.73822992479833727,
      -0.10048338983751517, 0.077311495930375812}},
};

static struct nnd_rnn layer(int i)
{
    int64_t g = layers[i].gates * H;
    struct nnd_rnn p = {.struct_size = sizeof p,
                        .len = lengths,
                        .cell = layers[i].cell,
                        .reverse = layers[i].reverse};
    p.x = sines(B, T, g, 0.7, 1.5), p.u = sines(g, H, 0, 0.9, 0.8);
    p.b = sines(g, 0, 0, 1.1, 0.5), p.h0 = sines(B, H, 0, 1.3, 0.6);
    p.y = num_f64(B, T, H), p.h_last = num_f64(B, H, 0);
    p.dy = sines(B, T, H, 0.5, 1), p.dh = sines(B, H, 0, 0.3, 1);
    p.dx = num_f64(B, T, g), p.h_prev = num_f64(B, T, H), p.dh0 = num_f64(B, H, 0);
    if (p.cell >= NND_CELL_GRU)
        p.gates = num_f64(B, T, 4 * H);
    if (p.cell == NND_CELL_GRU)
        p.da = num_f64(B, T, g);
    if (p.cell != NND_CELL_LSTM)
        return p;
    p.c0 = sines(B, H, 0, 1.7, 0.9), p.c = num_f64(B, T, H);
    p.c_last = num_f64(B, H, 0), p.dc = sines(B, H, 0, 0.2, 1);
    p.dc0 = num_f64(B, H, 0);
    return p;
}

/* What the gates' gradients make of the weights': dU = da^T h_prev, db. */
static void weight_gradients(const struct nnd_rnn *p, struct nnd_tensor *du,
                             struct nnd_tensor *db)
{
    const struct nnd_tensor *da = p->cell == NND_CELL_GRU ? &p->da : &p->dx;
    int64_t g = da->dim[2];
    *du = num_f64(g, H, 0), *db = num_f64(g, 0, 0);
    for (int64_t row = 0; row < B * T; row++)
        for (int64_t i = 0; i < g; i++) {
            *num_at(db, i, 0, 0) += *num_at(da, row / T, row % T, i);
            for (int64_t k = 0; k < H; k++)
                *num_at(du, i, k, 0) += *num_at(da, row / T, row % T, i) *
                                        *num_at(&p->h_prev, row / T, row % T, k);
        }
}

static void as_pytorch(int i, bool poison)
{
    struct nnd_rnn p = layer(i);
    struct nnd_tensor du, db;
    if (poison) /* behind row 1's end */
        for (int64_t k = 0; k < p.x.dim[2]; k++)
            *num_at(&p.x, 1, 2, k) = *num_at(&p.dy, 1, 2, k % H) = NAN;
    num_run("rnn.seq.fwd", &p);
    expect(layers[i].name, &p.y, layers[i].y);
    num_run("rnn.seq.bwd", &p);
    weight_gradients(&p, &du, &db);
    const struct nnd_tensor *grad[] = {&p.dx, &du, &db, &p.dh0, &p.dc0};
    for (int k = 0; k < 5; k++) {
        char what[60];
        snprintf(what, sizeof what, "%s, gradient %d", layers[i].name, k);
        num_near(what, weighed(grad[k]), layers[i].grad[k], 1e-14);
    }
}

static void recurrent(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof layers / sizeof layers[0]; i++) {
        as_pytorch((int)i, false);
        as_pytorch((int)i, true);
    }
}

static const int32_t keys[B] = {3, 2};

/* weights, o, and the weighed gradients of q, k, v and w. */
static const struct {
    const char *fwd, *bwd;
    double weight[2 * 2 * 3], o[2 * 2 * 2], grad[4];
} attentions[] = {
    {"attn.add.fwd",
     "attn.add.bwd",
     {0.49318797611048937, 0.19070336009733169, 0.31610866379217883, 0.8053941597803862,
      0.044696893972954677, 0.14990894624665907, 0.91841873938895724,
      0.081581260611042747, 0, 0.93209969120765612, 0.067900308792344002, 0},
     {0.18642271072191255, 0.31574791626228016, 0.60495565364018278,
      0.65532746235519701, 0.87022586867253626, 0.45561844929347595,
      0.89000447718704156, 0.47730149106234754},
     {0.143092992503106, -0.11224290359168859, 0.59489514685542599,
      0.11027544397814956}},
    {"attn.dot.fwd",
     "attn.dot.bwd",
     {0.56606747138722802, 0.0035894702118475222, 0.43034305840092446,
      0.13610068362994507, 0.8085455252848962, 0.055353791085158609,
      0.23520237634063301, 0.76479762365936699, 0, 0.15803549545675449,
      0.84196450454324545, 0},
     {0.20029289179034276, 0.58831743083080545, -0.045304975955861845,
      -0.64213168987269198, -0.1175028474660334, -0.62721621992198284,
      -0.2290633256779116, -0.74951858042673714},
     {0.69016392004005522, -0.29127052643315504, 0.79842731080799556, 0}},
};

static void attention(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct nnd_attend p = {.struct_size = sizeof p, .len = keys, .scale = 0.75f};
        p.q = sines(2, 2, 3, 0.7, 1.5), p.k = sines(2, 3, 3, 0.9, 1.2);
        p.v = sines(2, 3, 2, 1.1, 1), p.weight = num_f64(2, 2, 3);
        p.o = num_f64(2, 2, 2), p.dout = sines(2, 2, 2, 0.5, 1);
        p.dq = num_f64(2, 2, 3), p.dk = num_f64(2, 3, 3), p.dv = num_f64(2, 3, 2);
        if (i == 0)
            p.w = sines(3, 0, 0, 1.3, 2), p.dw = num_f64(3, 0, 0);
        num_run(attentions[i].fwd, &p);
        expect(attentions[i].fwd, &p.weight, attentions[i].weight);
        expect(attentions[i].fwd, &p.o, attentions[i].o);
        num_run(attentions[i].bwd, &p);
        const struct nnd_tensor *grad[] = {&p.dq, &p.dk, &p.dv, &p.dw};
        for (int k = 0; k < 4; k++)
            num_near(attentions[i].bwd, weighed(grad[k]), attentions[i].grad[k], 1e-14);
    }
}

/* Fifty thousand draws of one row are spread as their weights are. */
static void sampling(void **state)
{
    enum { V = 4, N = 50000 };
    static const double logit[V] = {1, 3, 2, -9};
    int count[V] = {0};
    uint64_t seed = 99;
    int32_t pos;
    struct nnd_choose p = {.struct_size = sizeof p,
                           .temperature = 2,
                           .top_p = 0.97f,
                           .seed = &seed,
                           .pos = &pos};
    (void)state;
    p.x = num_f64(1, V, 0), p.index = num_tensor(NND_I32, 1, 1, 0);
    memcpy(p.x.data, logit, sizeof logit);
    for (pos = 0; pos < N; pos++) {
        num_run("sample", &p);
        count[*(int32_t *)p.index.data]++;
    }
    double sum = exp(0.5) + exp(1.5) + exp(1);
    for (int i = 0; i < V - 1; i++)
        num_near("share", (double)count[i] / N, exp(logit[i] / 2) / sum, 0.01);
    assert_int_equal(count[3], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(recurrent, num_setup, num_teardown),
        cmocka_unit_test_setup_teardown(attention, num_setup, num_teardown),
        cmocka_unit_test_setup_teardown(sampling, num_setup, num_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
