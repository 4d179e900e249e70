/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shape.c - calls by operator, from sizes by letter: what letters there are.
 */
#include "shape.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/str.h"
#include "kernel/op.h"
#include "shape_build.h"

enum { SIZE_MOST = 1 << 24 };

struct shape {
    const char *op, *letters;
    int64_t usual[SIZES];
    bool bwd;
    int kind; /* whatever the builder takes it for */
    shape_f *build;
    const char *words[WORDS]; /* what a call may have besides */
};

static const struct shape shapes[] = {
    {"gemm",
     "MNK",
     {512, 1024, 512},
     false,
     0,
     shape_gemm,
     {"bias", "gelu", "sums", "relu"}},
    {"gemm.grouped",
     "EMNK",
     {8, 128, 1024, 512},
     false,
     0,
     shape_grouped,
     {"swiglu", "wgrad"}},
    {"attn.fwd", "BTHGD", {4, 256, 8, 8, 64}, false, 0, shape_attn, {"bias"}},
    {"attn.bwd", "BTHGD", {4, 256, 8, 8, 64}, true, 0, shape_attn, {"bias"}},
    {"norm.rms.fwd", "TN", {1024, 768}, false, 0, shape_norm, {"add"}},
    {"norm.rms.bwd", "TN", {1024, 768}, true, 0, shape_norm, {"add"}},
    {"norm.layer.fwd", "TN", {1024, 768}, false, 1, shape_norm, {"add"}},
    {"norm.layer.bwd", "TN", {1024, 768}, true, 1, shape_norm, {"add"}},
    {"rope", "THD", {1024, 8, 64}, false, 0, shape_rope, {NULL}},
    {"act.swiglu.fwd", "TN", {1024, 2048}, false, 1, shape_act, {NULL}},
    {"act.swiglu.bwd", "TN", {1024, 2048}, true, 1, shape_act, {NULL}},
    {"act.gelu.fwd", "TN", {1024, 2048}, false, 0, shape_act, {"approx"}},
    {"act.gelu.bwd", "TN", {1024, 2048}, true, 0, shape_act, {"approx"}},
    {"act.relu.fwd", "TN", {1024, 2048}, false, 0, shape_act, {NULL}},
    {"act.relu.bwd", "TN", {1024, 2048}, true, 0, shape_act, {NULL}},
    {"softmax.fwd", "TN", {4096, 512}, false, 0, shape_softmax, {"len"}},
    {"softmax.bwd", "TN", {4096, 512}, true, 0, shape_softmax, {"len"}},
    {"xent.fwd", "TV", {128, 16384}, false, 0, shape_xent, {NULL}},
    {"xent.bwd", "TV", {128, 16384}, true, 0, shape_xent, {NULL}},
    {"xent.linear.fwd", "TVN", {128, 8192, 256}, false, 0, shape_xent_linear, {NULL}},
    {"xent.linear.bwd", "TVN", {128, 8192, 256}, true, 0, shape_xent_linear, {NULL}},
    {"distill.fwd", "TV", {128, 16384}, false, 0, shape_distill, {NULL}},
    {"distill.bwd", "TV", {128, 16384}, true, 0, shape_distill, {NULL}},
    {"embed.fwd", "TVN", {1024, 8192, 512}, false, 0, shape_embed, {NULL}},
    {"embed.bwd", "TVN", {1024, 8192, 512}, true, 0, shape_embed, {NULL}},
    {"moe.route.fwd", "TEK", {1024, 16, 2}, false, 0, shape_route, {NULL}},
    {"moe.route.bwd", "TEK", {1024, 16, 2}, true, 0, shape_route, {NULL}},
    {"moe.sort", "TEK", {1024, 16, 2}, false, 0, shape_sort, {NULL}},
    {"moe.permute", "TEKN", {1024, 16, 2, 512}, false, 0, shape_permute, {NULL}},
    {"moe.unpermute", "TEKN", {1024, 16, 2, 512}, false, 1, shape_permute, {NULL}},
    {"moe.dgate", "TEKN", {1024, 16, 2, 512}, false, 2, shape_permute, {NULL}},
    {"moe.balance", "GE", {8, 64}, false, 0, shape_balance, {NULL}},
    {"moe.window", "E", {64}, false, 0, shape_window, {NULL}},
    {"sum", "TN", {1024, 1024}, false, 0, shape_sum, {NULL}},
    {"dropout", "TN", {1024, 1024}, false, 0, shape_dropout, {NULL}},
    {"rows.sum", "TN", {1024, 1024}, false, 0, shape_rows, {NULL}},
    {"rows.gather", "TN", {1024, 1024}, false, 1, shape_rows, {NULL}},
    {"rows.scatter", "TN", {1024, 1024}, false, 2, shape_rows, {NULL}},
    {"sqnorm", "X", {1 << 20}, false, 0, shape_sqnorm, {NULL}},
    {"opt.adamw", "X", {1 << 20}, false, 1, shape_optim, {"out"}},
    {"opt.adam", "X", {1 << 20}, false, 1, shape_optim, {"out"}},
    {"opt.sgd", "X", {1 << 20}, false, 0, shape_optim, {"out"}},
    {"opt.hyper", "C", {8}, false, 0, shape_hyper, {NULL}},
    {"total", "X", {1 << 16}, false, 0, shape_total, {"root"}},
    {"rnn.seq.fwd", "BTH", {32, 32, 256}, false, 0, shape_rnn, {"gru", "lstm", "relu"}},
    {"rnn.seq.bwd", "BTH", {32, 32, 256}, true, 0, shape_rnn, {"gru", "lstm", "relu"}},
    {"rnn.cell.fwd", "BH", {32, 256}, false, 1, shape_rnn, {"gru", "lstm", "relu"}},
    {"rnn.cell.bwd", "BH", {32, 256}, true, 1, shape_rnn, {"gru", "lstm", "relu"}},
    {"attn.add.fwd", "BTSAN", {32, 1, 32, 128, 128}, false, 1, shape_attend, {NULL}},
    {"attn.add.bwd", "BTSAN", {32, 1, 32, 128, 128}, true, 1, shape_attend, {NULL}},
    {"attn.dot.fwd", "BTSAN", {32, 1, 32, 128, 128}, false, 0, shape_attend, {NULL}},
    {"attn.dot.bwd", "BTSAN", {32, 1, 32, 128, 128}, true, 0, shape_attend, {NULL}},
    {"argmax", "RVK", {32, 32768, 8}, false, 0, shape_argmax, {NULL}},
    {"sample", "RV", {32, 32768}, false, 0, shape_sample, {NULL}},
    {"select", "RVK", {1024, 1024, 8}, false, 0, shape_select, {NULL}},
    {"cast.quant", "TN", {1024, 1024}, false, 0, shape_quant, {"e5m2", "mx"}},
    {"cast.dequant", "TN", {1024, 1024}, true, 0, shape_quant, {"e5m2", "mx"}},
    {"fill", "TN", {1024, 1024}, false, 0, shape_cast, {NULL}},
    {"scale", "TN", {1024, 1024}, false, 1, shape_cast, {NULL}},
    {"amax", "TN", {1024, 1024}, false, 2, shape_cast, {NULL}},
};

static int usage(const struct shape *s, const char *text, struct err *e)
{
    struct buf letters = {0};
    for (const char *l = s->letters; *l; l++)
        buf_printf(&letters, "%s%c=%lld", l > s->letters ? "," : "", *l,
                   (long long)s->usual[l - s->letters]);
    for (int i = 0; i < WORDS && s->words[i]; i++)
        buf_printf(&letters, ",%s", s->words[i]);
    int rc = err_set(e, ERR_USAGE,
                     "shape of %s: wanted some of %s (sizes from 1 to %d), found "
                     "\"%s\"",
                     s->op, letters.data, SIZE_MOST, text);
    buf_free(&letters);
    return rc;
}

static bool take_word(const struct shape *s, const char *word, struct sizes *z)
{
    for (int i = 0; i < WORDS && s->words[i]; i++)
        if (strcmp(s->words[i], word) == 0) {
            z->words |= 1u << i;
            return true;
        }
    return false;
}

static bool take_size(const struct shape *s, const char *word, struct sizes *z)
{
    const char *letter = *word ? strchr(s->letters, *word) : NULL;
    int64_t value;
    if (!letter || word[1] != '=' || !str_to_i64(word + 2, &value) || value < 1 ||
        value > SIZE_MOST)
        return false;
    z->n[letter - s->letters] = value;
    return true;
}

/* "T=1024,N=512", "M=16,gelu" */
static int parse(const struct shape *s, const char *text, struct sizes *z,
                 struct err *e)
{
    char word[64];
    *z = (struct sizes){.bwd = s->bwd, .kind = s->kind};
    memcpy(z->n, s->usual, sizeof s->usual);
    for (const char *at = text ? text : ""; *at;) {
        size_t len = strcspn(at, ",");
        snprintf(word, sizeof word, "%.*s", (int)(len < 63 ? len : 63), at);
        if (!take_word(s, word, z) && !take_size(s, word, z))
            return usage(s, text, e);
        at += len + (at[len] == ',');
    }
    return 0;
}

/* The call by its sizes, as it is printed. */
static void name_call(const struct shape *s, const struct sizes *z, struct call *c)
{
    struct buf text = {0};
    for (const char *l = s->letters; *l; l++)
        buf_printf(&text, "%s%c=%lld", l > s->letters ? "," : "", *l,
                   (long long)z->n[l - s->letters]);
    for (int i = 0; i < WORDS && s->words[i]; i++)
        if (z->words & 1u << i)
            buf_printf(&text, ",%s", s->words[i]);
    snprintf(c->text, sizeof c->text, "%s", text.data ? text.data : "");
    buf_free(&text);
}

/* Bytes that are read and written once, as if all were of f32. */
static double bytes_of(const struct call *c)
{
    double n = 0;
    for (int i = 0; i < c->nslots; i++)
        n += 4 * (double)c->slot[i].count;
    return n;
}

int shape_call(const char *op, const char *text, struct call *c,
               struct shape_work *work, struct err *e)
{
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        const struct shape *s = &shapes[i];
        struct sizes z;
        if (strcmp(s->op, op) != 0)
            continue;
        if (parse(s, text, &z, e) < 0)
            return ERR_USAGE;
        *work = (struct shape_work){0};
        s->build(c, &z, work);
        work->bytes = bytes_of(c);
        name_call(s, &z, c);
        return 0;
    }
    const char *near = op_known(op) ? NULL : str_nearest(op, op_names(), op_count());
    return err_set(e, ERR_USAGE, "operator \"%s\": wanted one of the catalogue%s%s%s",
                   op, near ? "; did you mean " : "", near ? near : "",
                   near ? "?" : "");
}

void shape_smaller(const char *op, bool all, char *text, size_t size)
{
    enum { LARGE = 32, PARTS = 16 };
    size_t n = 0;
    *text = '\0';
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (const char *l = shapes[i].letters; *l; l++) {
            int64_t usual = shapes[i].usual[l - shapes[i].letters];
            if (strcmp(shapes[i].op, op) != 0 || usual < LARGE || (n && !all))
                continue;
            n += (size_t)snprintf(text + n, size - n, "%s%c=%lld", n ? "," : "", *l,
                                  (long long)(usual / PARTS));
        }
}
