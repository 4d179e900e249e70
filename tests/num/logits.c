/* SPDX-License-Identifier: Apache-2.0 */
/*
 * logits.c - what a checkpoint says of given tokens, for tests that compare it with
 * other programs.
 *
 *   logits CHECKPOINT <TOKENS >F32
 *
 * A line of TOKENS is a row: ids, for a model that reads with those of its source in
 * front and a "|" between.  Written are [rows, longest row, vocab] numbers, computed in
 * fp32 token by token; behind a row's end they mean nothing.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "worker/trained.h"
#include "worker/world.h"

enum { ROWS = 64, MOST = 4096 };

struct rows {
    uint32_t id[ROWS][MOST], source[ROWS][MOST];
    uint32_t len[ROWS], source_len[ROWS], longest;
    int n;
};

static uint32_t ids_of(char *text, uint32_t *out)
{
    uint32_t n = 0;
    char *rest = NULL;

    for (char *t = strtok_r(text, " \n", &rest); t && n < MOST;
         t = strtok_r(NULL, " \n", &rest))
        out[n++] = (uint32_t)strtoul(t, NULL, 10);
    return n;
}

static void read_rows(struct rows *r)
{
    static char line[1 << 16];

    while (r->n < ROWS && fgets(line, sizeof line, stdin)) {
        char *bar = strchr(line, '|'), *own = bar ? bar + 1 : line;

        if (bar) {
            *bar = '\0';
            r->source_len[r->n] = ids_of(line, r->source[r->n]);
        }
        r->len[r->n] = ids_of(own, r->id[r->n]);
        r->longest = r->len[r->n] > r->longest ? r->len[r->n] : r->longest;
        r->n++;
    }
}

static int read_sources(struct decoder *d, const struct rows *r, uint32_t context,
                        struct err *e)
{
    uint32_t *id = calloc((size_t)r->n * context + 1, sizeof *id);
    int rc;

    if (!id)
        return err_set(e, ERR_NOMEM, "memory: sources");
    for (int i = 0; i < r->n; i++)
        for (uint32_t k = 0; k < r->source_len[i] && k < context; k++)
            id[(size_t)i * context + k] = r->source[i][k];
    rc = decoder_read(d, id, r->source_len, e);
    free(id);
    return rc;
}

static int run(struct trained *t, const struct rows *r, struct err *e)
{
    size_t vocab = (size_t)t->vocab, row = r->longest * vocab;
    float *out = calloc((size_t)r->n * row + 1, sizeof *out);
    uint32_t *in = calloc((size_t)r->n + 1, sizeof *in);
    int rc = out && in ? 0 : err_set(e, ERR_NOMEM, "memory: logits");

    if (rc == 0 && decoder_reads(t->decoder))
        rc = read_sources(t->decoder, r, t->job->model->source_context, e);
    for (uint32_t k = 0; rc == 0 && k < r->longest; k++) {
        for (int i = 0; i < r->n; i++)
            in[i] = k < r->len[i] ? r->id[i][k] : 0;
        rc = decoder_step(t->decoder, in, e);
        for (int i = 0; rc == 0 && i < r->n; i++)
            memcpy(out + (size_t)i * row + k * vocab, decoder_logits(t->decoder, i),
                   vocab * sizeof *out);
    }
    if (rc == 0 && fwrite(out, sizeof *out, (size_t)r->n * row, stdout) != r->n * row)
        rc = err_set(e, ERR_FAILED, "standard output: cannot be written");
    free(out);
    free(in);
    return rc;
}

int main(int argc, char **argv)
{
    static struct rows rows;
    struct decoder_config shape = {0};
    struct arg_list rules = {0};
    struct trained t = {0};
    struct err e = {0};
    int rc;

    if (argc != 2 || !world_enter())
        return 2;
    read_rows(&rows);
    shape.rows = shape.sources = rows.n;
    rc = trained_open(&t, argv[1], &e);
    if (rc == 0)
        rc = spec_put(t.spec, "train.precision", "fp32", "logits", &e);
    if (rc == 0)
        rc = spec_resolve(t.spec, &e);
    if (rc == 0)
        rc = trained_engine(&t, &(struct engine_config){.threads = 1}, &e);
    if (rc == 0)
        rc = trained_decoder(&t, &t.engine, &shape, &rules, &e);
    if (rc == 0)
        rc = run(&t, &rows, &e);
    if (rc < 0)
        fprintf(stderr, "logits: %s\n", e.text);
    trained_close(&t);
    return rc < 0;
}
