/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_ref_grad.c - every backward kernel of ref against central differences of
 * its forward kernel, element by element, in f64.
 *
 * The scalar that is differentiated is the sum over the outputs, each times its
 * incoming gradient.
 */
#include "ref.h"

enum { WAYS = 4 };

/* A forward and a backward kernel over one params struct. */
struct pair {
    const char *fwd, *bwd;
    const void *params;
    const struct nnd_tensor *out[WAYS], *dout[WAYS]; /* NULL-terminated */
    const struct nnd_tensor *in[WAYS], *din[WAYS];
};

static double scalar(const struct pair *p)
{
    double sum = 0;
    num_run(p->fwd, p->params);
    for (int w = 0; w < WAYS && p->out[w]; w++) {
        const double *y = p->out[w]->data, *dy = p->dout[w]->data;
        for (int64_t i = 0; i < num_count(p->out[w]); i++)
            sum += dy[i] != 0 ? y[i] * dy[i] : 0;
    }
    return sum;
}

static void check_input(const struct pair *p, int w)
{
    const double h = 1e-5;
    double *x = p->in[w]->data;
    const double *dx = p->din[w]->data;
    for (int64_t i = 0; i < num_count(p->in[w]); i++) {
        char what[100];
        double saved = x[i];
        x[i] = saved + h;
        double up = scalar(p);
        x[i] = saved - h;
        double down = scalar(p);
        x[i] = saved;
        snprintf(what, sizeof what, "%s, input %d, element %d", p->bwd, w, (int)i);
        num_near(what, dx[i], (up - down) / (2 * h), 2e-8);
    }
}

static void check(const struct pair *p)
{
    num_run(p->fwd, p->params);
    for (int w = 0; w < WAYS && p->din[w]; w++) /* must be overwritten */
        for (int64_t i = 0; i < num_count(p->din[w]); i++)
            ((double *)p->din[w]->data)[i] = NAN;
    num_run(p->bwd, p->params);
    for (int w = 0; w < WAYS && p->in[w]; w++)
        check_input(p, w);
}

static void norms(void **state)
{
    struct nnd_norm p = {.struct_size = sizeof p, .eps = 1e-3f};
    (void)state;
    p.x = num_random_f64(3, 5, 0), p.w = num_random_f64(5, 0, 0);
    p.y = num_f64(3, 5, 0), p.dw = num_f64(5, 0, 0);
    p.rstd = num_f64(3, 0, 0), p.mean = num_f64(3, 0, 0);
    p.dy = num_random_f64(3, 5, 0), p.dx = num_f64(3, 5, 0);
    struct pair rms = {"norm.rms.fwd", "norm.rms.bwd", &p, {&p.y}, {&p.dy},
                       {&p.x, &p.w},   {&p.dx, &p.dw}};
    struct pair layer = {"norm.layer.fwd",   "norm.layer.bwd",     &p, {&p.y}, {&p.dy},
                         {&p.x, &p.w, &p.b}, {&p.dx, &p.dw, &p.db}};
    check(&rms);
    p.b = num_random_f64(5, 0, 0), p.db = num_f64(5, 0, 0);
    check(&layer);
}

static void activations(void **state)
{
    struct nnd_act p = {.struct_size = sizeof p};
    (void)state;
    p.a = num_random_f64(3, 4, 0), p.b = num_random_f64(3, 4, 0);
    p.y = num_f64(3, 4, 0), p.dy = num_random_f64(3, 4, 0);
    p.da = num_f64(3, 4, 0), p.db = num_f64(3, 4, 0);
    for (int64_t i = 0; i < 12; i++)
        ((double *)p.a.data)[i] *= 4;
    struct pair swiglu = {"act.swiglu.fwd", "act.swiglu.bwd", &p, {&p.y}, {&p.dy},
                          {&p.a, &p.b},     {&p.da, &p.db}};
    struct pair gelu = {"act.gelu.fwd", "act.gelu.bwd", &p,     {&p.y},
                        {&p.dy},        {&p.a},         {&p.da}};
    struct pair relu = {"act.relu.fwd", "act.relu.bwd", &p,     {&p.y},
                        {&p.dy},        {&p.a},         {&p.da}};
    check(&swiglu);
    check(&gelu);
    p.approx = 1;
    check(&gelu);
    check(&relu);
}

static void softmax(void **state)
{
    static const int32_t len[] = {5, 3, 0};
    struct nnd_softmax p = {.struct_size = sizeof p, .scale = 1.5f, .len = len};
    (void)state;
    p.x = num_random_f64(3, 5, 0), p.y = num_f64(3, 5, 0);
    p.dy = num_random_f64(3, 5, 0), p.dx = num_f64(3, 5, 0);
    struct pair pair = {"softmax.fwd", "softmax.bwd", &p,     {&p.y},
                        {&p.dy},       {&p.x},        {&p.dx}};
    check(&pair);
}

static void rope(void **state)
{
    static const int32_t pos[] = {0, 7, 1000};
    struct nnd_rope p = {.struct_size = sizeof p, .pos = pos, .theta = 100};
    (void)state;
    struct nnd_tensor x = num_random_f64(3, 2, 6), y = num_f64(3, 2, 6);
    for (int k = 0; k < 2; k++) {
        p.interleaved = k;
        p.inverse = 0;
        p.x = x, p.y = y;
        struct nnd_rope back = p;
        struct nnd_tensor dy = num_random_f64(3, 2, 6), dx = num_f64(3, 2, 6);
        back.inverse = 1;
        back.x = dy, back.y = dx;
        num_run("rope", &back);
        struct pair pair = {"rope", "rope", &p, {&y}, {&dy}, {&x}, {&dx}};
        check_input(&pair, 0);
    }
}

static void cross_entropy(void **state)
{
    static const int32_t target[] = {2, -1, 0, 6};
    static const float seed = 0.25f;
    struct nnd_xent p = {.struct_size = sizeof p, .target = target, .seed = &seed};
    (void)state;
    p.logits = num_random_f64(4, 7, 0), p.dlogits = num_f64(4, 7, 0);
    p.loss = num_f64(4, 0, 0), p.lse = num_f64(4, 0, 0);
    struct nnd_tensor dloss = num_f64(4, 0, 0);
    for (int t = 0; t < 4; t++)
        *num_at(&dloss, t, 0, 0) = (double)seed;
    for (int n = 0; n < 7; n++) /* padding may hold anything */
        *num_at(&p.logits, 1, n, 0) = NAN;
    struct pair pair = {"xent.fwd", "xent.bwd",  &p,          {&p.loss},
                        {&dloss},   {&p.logits}, {&p.dlogits}};
    check(&pair);
}

/* With smoothing and the penalty of large sums, over logits and over x w^T. */
static void smoothed_entropy(void **state)
{
    static const int32_t target[] = {2, -1, 0, 6};
    static const float seed = 0.25f;
    struct nnd_xent p = {.struct_size = sizeof p,
                         .target = target,
                         .seed = &seed,
                         .smoothing = 0.125f,
                         .z_loss = 0.0625f};
    struct nnd_xent_linear q = {.struct_size = sizeof q,
                                .target = target,
                                .seed = &seed,
                                .smoothing = 0.125f,
                                .z_loss = 0.0625f};
    struct nnd_tensor dloss = num_f64(4, 0, 0);
    (void)state;
    for (int t = 0; t < 4; t++)
        *num_at(&dloss, t, 0, 0) = (double)seed;
    p.logits = num_random_f64(4, 7, 0), p.dlogits = num_f64(4, 7, 0);
    p.loss = num_f64(4, 0, 0), p.lse = num_f64(4, 0, 0);
    struct pair pair = {"xent.fwd", "xent.bwd",  &p,          {&p.loss},
                        {&dloss},   {&p.logits}, {&p.dlogits}};
    check(&pair);
    q.x = num_random_f64(4, 5, 0), q.dx = num_f64(4, 5, 0);
    q.w = num_random_f64(7, 5, 0), q.dw = num_f64(7, 5, 0);
    q.loss = num_f64(4, 0, 0), q.lse = num_f64(4, 0, 0);
    struct pair both = {"xent.linear.fwd", "xent.linear.bwd", &q, {&q.loss}, {&dloss},
                        {&q.x, &q.w},      {&q.dx, &q.dw}};
    check(&both);
}

/* Cold, plain and warm; the teacher has no gradient. */
static void beside_a_teacher(void **state)
{
    static const int32_t target[] = {2, -1, 0, 6};
    static const float seed = 0.25f, temperature[] = {0.5f, 1, 3};
    struct nnd_distill p = {
        .struct_size = sizeof p, .target = target, .seed = &seed, .alpha = 0.625f};
    struct nnd_tensor dloss = num_f64(4, 0, 0);
    (void)state;
    for (int t = 0; t < 4; t++)
        *num_at(&dloss, t, 0, 0) = (double)seed;
    p.logits = num_random_f64(4, 7, 0), p.dlogits = num_f64(4, 7, 0);
    p.teacher = num_random_f64(4, 7, 0), p.loss = num_f64(4, 0, 0);
    p.lse = num_f64(4, 0, 0), p.lse_soft = num_f64(4, 0, 0);
    p.lse_teacher = num_f64(4, 0, 0);
    for (int i = 0; i < 3; i++) {
        p.temperature = temperature[i];
        struct pair pair = {"distill.fwd", "distill.bwd", &p,          {&p.loss},
                            {&dloss},      {&p.logits},   {&p.dlogits}};
        check(&pair);
    }
}

static void embedding(void **state)
{
    static const int32_t id[] = {1, 4, 1, -1, 0};
    struct nnd_embed p = {.struct_size = sizeof p, .id = id};
    (void)state;
    p.table = num_random_f64(6, 3, 0), p.dtable = num_f64(6, 3, 0);
    p.y = num_f64(5, 3, 0), p.dy = num_random_f64(5, 3, 0);
    struct pair pair = {"embed.fwd", "embed.bwd", &p,         {&p.y},
                        {&p.dy},     {&p.table},  {&p.dtable}};
    check(&pair);
}

static void dropout(void **state)
{
    static const uint64_t rng[] = {42, 7};
    static const int32_t sample[] = {3, 3, 9}, pos[] = {0, 1, 5};
    struct nnd_drop p = {.struct_size = sizeof p,
                         .dropout = {0.4f, 11, rng, sample, pos}};
    (void)state;
    struct nnd_tensor x = num_random_f64(3, 9, 0), y = num_f64(3, 9, 0);
    struct nnd_tensor dy = num_random_f64(3, 9, 0), dx = num_f64(3, 9, 0);
    struct nnd_drop back = p;
    p.x = x, p.y = y;
    back.x = dy, back.y = dx;
    num_run("dropout", &back);
    struct pair pair = {"dropout", "dropout", &p, {&y}, {&dy}, {&x}, {&dx}};
    check_input(&pair, 0);
}

/* z moves gates, probabilities and lse^2 at once. */
static void route_with(int score, int renormalize, int top_k, bool bias)
{
    static const int32_t pos[] = {0, 1, -1, 2, 3};
    static const float z_weight = 0.3f;
    struct nnd_route p = {.struct_size = sizeof p,
                          .pos = pos,
                          .score = score,
                          .renormalize = renormalize,
                          .top_k = top_k,
                          .group_rows = 2,
                          .scale = 1.5f,
                          .z_weight = &z_weight};
    p.z = num_random_f64(5, 6, 0), p.dz = num_f64(5, 6, 0);
    if (bias)
        p.bias = num_random_f64(6, 0, 0);
    p.expert = num_tensor(NND_I32, 5, top_k, 0);
    p.gate = num_f64(5, top_k, 0), p.dgate = num_random_f64(5, top_k, 0);
    p.count = num_tensor(NND_I32, 3, 6, 0), p.psum = num_f64(3, 6, 0);
    p.aux_weight = num_random_f64(3, 6, 0), p.zsq = num_f64(1, 0, 0);
    struct nnd_tensor dzsq = num_f64(1, 0, 0);
    *num_at(&dzsq, 0, 0, 0) = (double)z_weight;
    struct pair pair = {"moe.route.fwd",
                        "moe.route.bwd",
                        &p,
                        {&p.gate, &p.psum, &p.zsq},
                        {&p.dgate, &p.aux_weight, &dzsq},
                        {&p.z},
                        {&p.dz}};
    check(&pair);
    p.aux_weight.ndim = 0;
    p.z_weight = NULL;
    pair.out[1] = pair.dout[1] = NULL;
    check(&pair);
}

static void route(void **state)
{
    (void)state;
    for (int top_k = 1; top_k <= 6; top_k += top_k == 1 ? 1 : 4)
        for (int renormalize = 0; renormalize < 2; renormalize++) {
            route_with(NND_SCORE_SOFTMAX, renormalize, top_k, false);
            route_with(NND_SCORE_SIGMOID, renormalize, top_k, true);
        }
}

/* unpermute's input gradient is permute of dy, its gates' is dgate. */
static void combine(void **state)
{
    static const int32_t expert[] = {1, 0, 2, -1, 0, 2, 1, 2};
    struct nnd_sort sort = {.struct_size = sizeof sort};
    struct nnd_permute p = {.struct_size = sizeof p, .top_k = 2};
    (void)state;
    sort.expert = num_tensor(NND_I32, 4, 2, 0);
    memcpy(sort.expert.data, expert, sizeof expert);
    sort.place = num_tensor(NND_I32, 4, 2, 0),
    sort.source = num_tensor(NND_I32, 8, 0, 0);
    sort.total = num_tensor(NND_I32, 3, 0, 0);
    num_run("moe.sort", &sort);

    struct nnd_tensor x = num_random_f64(8, 3, 0), gate = num_random_f64(4, 2, 0);
    struct nnd_tensor y = num_f64(4, 3, 0), dy = num_random_f64(4, 3, 0);
    struct nnd_tensor dx = num_f64(8, 3, 0), dgate = num_f64(4, 2, 0);
    p.place = sort.place, p.source = sort.source, p.gate = gate;
    p.x = dy, p.y = dx;
    num_run("moe.permute", &p);
    p.x = x, p.dy = dy, p.dgate = dgate;
    num_run("moe.dgate", &p);
    p.y = y;
    struct pair pair = {
        "moe.unpermute", "moe.unpermute (by hand)", &p, {&y}, {&dy}, {&x, &gate},
        {&dx, &dgate}};
    check_input(&pair, 0);
    check_input(&pair, 1);
}

static const uint64_t rng[] = {42, 7};
static const int32_t sample[] = {0, 0, 0, 1, 1, 1, 1, 2},
                     place[] = {0, 1, 2, 0, 1, 2, 3, 0};
static const int32_t cu_q[] = {0, 3, 3, 7}, cu_k[] = {0, 2, 4, 9}, len_k[] = {2, 1, 4};

/* Three sequences, the second without queries, one query row left over. */
static void attention_with(int hk, bool causal, int window, float softcap, float drop,
                           bool cache)
{
    const int h = 2, d = 3, t = 8, s = 10;
    struct nnd_attn p = {.struct_size = sizeof p,
                         .cu_q = cu_q,
                         .cu_k = cu_k,
                         .len_k = cache ? len_k : NULL,
                         .batch = 3,
                         .max_q = 4,
                         .max_k = 5,
                         .causal = causal,
                         .window = window,
                         .scale = 0.7f,
                         .softcap = softcap,
                         .dropout = {drop, 5, rng, sample, place}};
    p.q = num_random_f64(t, h, d), p.k = num_random_f64(s, hk, d);
    p.v = num_random_f64(s, hk, d), p.o = num_f64(t, h, d), p.lse = num_f64(h, t, 0);
    p.dout = num_random_f64(t, h, d), p.dq = num_f64(t, h, d);
    p.dk = num_f64(s, hk, d), p.dv = num_f64(s, hk, d);
    struct pair pair = {"attn.fwd",         "attn.bwd",           &p, {&p.o}, {&p.dout},
                        {&p.q, &p.k, &p.v}, {&p.dq, &p.dk, &p.dv}};
    check(&pair);
}

static void attention(void **state)
{
    (void)state;
    attention_with(2, false, 0, 0, 0, false);
    attention_with(1, true, 0, 0, 0, false);
    attention_with(2, true, 2, 0, 0.3f, false);
    attention_with(1, false, 0, 1.5f, 0.5f, true);
    attention_with(1, true, 3, 0.5f, 0.3f, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(norms, num_setup, num_teardown),
        cmocka_unit_test_setup_teardown(activations, num_setup, num_teardown),
        cmocka_unit_test_setup_teardown(softmax, num_setup, num_teardown),
        cmocka_unit_test_setup_teardown(rope, num_setup, num_teardown),
        cmocka_unit_test_setup_teardown(cross_entropy, num_setup, num_teardown),
        cmocka_unit_test_setup_teardown(smoothed_entropy, num_setup, num_teardown),
        cmocka_unit_test_setup_teardown(beside_a_teacher, num_setup, num_teardown),
        cmocka_unit_test_setup_teardown(embedding, num_setup, num_teardown),
        cmocka_unit_test_setup_teardown(dropout, num_setup, num_teardown),
        cmocka_unit_test_setup_teardown(route, num_setup, num_teardown),
        cmocka_unit_test_setup_teardown(combine, num_setup, num_teardown),
        cmocka_unit_test_setup_teardown(attention, num_setup, num_teardown),
    };

    return cmocka_run_group_tests_name("ref/gradients", tests, NULL, NULL);
}
