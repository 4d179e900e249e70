/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scores.c - the trainer's weights into a decoder, and the validation part through it.
 */
#include "worker/scores.h"

#include <stdlib.h>
#include <string.h>

#include "data/utf8.h"
#include "decode/decoder.h"
#include "model/model.h"
#include "worker/job.h"

enum { ROWS = 32 }; /* texts at a time */

struct scores {
    struct comm *self;
    struct decoder *decoder;
    uint32_t *source, *len;     /* [ROWS * source_context], [ROWS] */
    uint32_t *next, *id, *many; /* [ROWS], [ROWS * context], [ROWS] */
    struct buf raw, text, wanted;
};

/* --- weights -------------------------------------------------------------- */

static const struct param *find_param(const struct graph *g, const char *name)
{
    for (int i = 0; i < g->nparam; i++)
        if (strcmp(g->param[i]->name, name) == 0)
            return g->param[i];
    return NULL;
}

/* A weight of the decoder from all who hold a part of it: experts from every rank of a
 * group, anything else from this one. */
static int give_weight(struct run *r, const struct param *p, void *part, char *whole,
                       struct err *e)
{
    struct exec *x = trainer_exec(r->trainer);
    const struct mesh *mesh = &trainer_graph(r->trainer)->mesh;
    struct comm *ep = exec_comms_of(x)->ep;
    int parts = p->stack ? mesh->ep : 1;
    size_t bytes = value_bytes(p->value);
    const struct param *to;

    for (int i = 0; i < parts; i++) {
        if (i == mesh->ep_rank || parts == 1) {
            if (exec_read(x, p->value, part, e) < 0)
                return e->code;
        }
        if (parts > 1 && comm_bcast(ep, part, bytes, i, e) < 0)
            return e->code;
        if (whole)
            memcpy(whole + (size_t)i * bytes, part, bytes);
    }
    if (!whole)
        return 0;
    to = find_param(exec_graph(decoder_exec(r->scores->decoder)), p->name);
    if (!to || value_bytes(to->value) != bytes * (size_t)parts)
        return err_set(e, ERR_FAILED, "%s: the decoder has another weight", p->name);
    return exec_write(decoder_exec(r->scores->decoder), to->value, whole, e);
}

/* States of the model, which are the same on all ranks. */
static int give_states(struct run *r, struct err *e)
{
    const struct graph *g = trainer_graph(r->trainer);
    struct exec *to = decoder_exec(r->scores->decoder);

    for (int i = 0; i < g->nvalue; i++) {
        const struct value *v = g->value[i], *state;
        size_t len = strlen(v->name), suffix = strlen(MODEL_BIAS_SUFFIX);

        if (v->storage != STORAGE_STATE || v->root != v || len < suffix ||
            strcmp(v->name + len - suffix, MODEL_BIAS_SUFFIX) != 0)
            continue;
        state = graph_find(exec_graph(to), v->name);
        if (state &&
            exec_write(to, state, exec_data(trainer_exec(r->trainer), v), e) < 0)
            return e->code;
    }
    return 0;
}

/* Collective; on rank 0 the decoder has the trainer's weights then. */
static int give_weights(struct run *r, struct err *e)
{
    const struct graph *g = trainer_graph(r->trainer);
    size_t most = 1;
    void *part, *whole = NULL;
    int rc = 0;

    for (int i = 0; i < g->nparam; i++)
        if (value_bytes(g->param[i]->value) > most)
            most = value_bytes(g->param[i]->value);
    part = malloc(most);
    if (r->rank == 0)
        whole = malloc(most * (size_t)g->mesh.ep);
    if (!part || (r->rank == 0 && !whole))
        rc = err_set(e, ERR_NOMEM, "memory: %zu bytes of a weight", most);
    rc = run_agree(r, rc, e);
    for (int i = 0; rc == 0 && i < g->nparam; i++)
        rc = give_weight(r, g->param[i], part, whole, e);
    if (rc == 0 && r->rank == 0)
        rc = give_states(r, e);
    free(part);
    free(whole);
    return rc;
}

/* --- opening -------------------------------------------------------------- */

static struct decoder_config decoder_shape(const Nnd__Job *job,
                                           const struct kernels *ks)
{
    return (struct decoder_config){.job = job,
                                   .rows = ROWS,
                                   .kernels = ks,
                                   .rules = (const char *const *)job->kernels->rule,
                                   .nrules = job->kernels->n_rule};
}

int scores_bytes(const Nnd__Job *job, const struct kernels *ks, int64_t vocab,
                 int64_t *out, struct err *e)
{
    const Nnd__Model *m = job->model;
    struct decoder_config c = decoder_shape(job, ks);
    int64_t all, weight;

    c.vocab = vocab;
    if (decoder_bytes(&c, &all, &weight, e) < 0)
        return e->code;
    *out = all + 2 * weight + /* the part of a rank, and the whole */
           (int64_t)sizeof(uint32_t) * ROWS * (m->source_context + m->context + 3);
    return 0;
}

static int open_decoder(struct run *r, struct scores *s, struct err *e)
{
    const Nnd__Model *m = r->job->model;
    struct decoder_config c = decoder_shape(r->job, r->engine.kernels);

    s->source = calloc((size_t)ROWS * m->source_context, sizeof *s->source);
    s->id = calloc((size_t)ROWS * m->context, sizeof *s->id);
    s->len = calloc(ROWS, sizeof *s->len);
    s->next = calloc(ROWS, sizeof *s->next);
    s->many = calloc(ROWS, sizeof *s->many);
    if (!s->source || !s->id || !s->len || !s->next || !s->many)
        return err_set(e, ERR_NOMEM, "memory: %d texts", ROWS);
    if (job_vocab(r->spec, &r->lexicon, &c.vocab, e) < 0 || comm_self(&s->self, e) < 0)
        return e->code;
    c.self = s->self;
    c.threads = r->engine.seat.threads;
    return decoder_create(&c, &s->decoder, e);
}

static int open_scores(struct run *r, struct err *e)
{
    if (r->scores)
        return 0;
    r->scores = calloc(1, sizeof *r->scores);
    if (!r->scores)
        return err_set(e, ERR_NOMEM, "memory: scores");
    return r->rank == 0 ? open_decoder(r, r->scores, e) : 0;
}

void scores_destroy(struct scores *s)
{
    if (!s)
        return;
    decoder_destroy(s->decoder);
    comm_destroy(s->self);
    free(s->source);
    free(s->len);
    free(s->next);
    free(s->id);
    free(s->many);
    buf_free(&s->text);
    buf_free(&s->raw);
    buf_free(&s->wanted);
    free(s);
}

/* --- writing -------------------------------------------------------------- */

/* Sources [first, first + n) of the validation part into the rows. */
static int read_sources(struct run *r, uint64_t first, uint64_t n, struct err *e)
{
    const struct corpus_part *p = &r->corpus->valid;
    uint32_t width = r->job->model->source_context;
    struct scores *s = r->scores;

    memset(s->len, 0, ROWS * sizeof *s->len);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t from = p->source_line[first + i], to = p->source_line[first + i + 1];

        s->len[i] = (uint32_t)(to - from < width ? to - from : width);
        for (uint32_t k = 0; k < s->len[i]; k++)
            s->source[i * width + k] = tokens_get(p->source, from + k);
    }
    return decoder_read(s->decoder, s->source, s->len, e);
}

/* The likeliest token of a row that may be written. */
static uint32_t likeliest(const struct run *r, int row)
{
    const float *z = decoder_logits(r->scores->decoder, row);
    uint32_t best = TOKEN_EOS, n = tokenizer_vocab(r->lexicon.target);

    for (uint32_t i = 0; i < n; i++)
        if (i != TOKEN_PAD && i != TOKEN_BOS && z[i] > z[best])
            best = i;
    return best;
}

/* Texts of the first n rows, to their ends. */
static int write_texts(struct run *r, uint64_t n, struct err *e)
{
    struct scores *s = r->scores;
    uint32_t context = r->job->model->context;
    uint64_t open = n;

    for (int i = 0; i < ROWS; i++) {
        s->next[i] = TOKEN_BOS;
        s->many[i] = 0;
    }
    for (uint32_t t = 0; open > 0 && t < context; t++) {
        if (decoder_step(s->decoder, s->next, e) < 0)
            return e->code;
        for (uint64_t i = 0; i < n; i++) {
            if (s->next[i] == TOKEN_EOS)
                continue;
            s->next[i] = likeliest(r, (int)i);
            open -= s->next[i] == TOKEN_EOS;
            if (s->next[i] != TOKEN_EOS)
                s->id[i * context + s->many[i]++] = s->next[i];
        }
    }
    return 0;
}

/* --- scoring -------------------------------------------------------------- */

/* What ids say, as a part of a line: pieces of bytes, or the end of what was cut, need
 * not be characters. */
static int say(struct run *r, const uint32_t *id, size_t n, struct buf *out,
               struct err *e)
{
    struct buf *raw = &r->scores->raw;

    raw->len = out->len = 0;
    if (tokenizer_decode(r->lexicon.target, id, n, raw, e) < 0)
        return e->code;
    if (raw->len)
        utf8_line(raw->data, raw->len, out);
    return 0;
}

/* What the target of a line says, its <bos> and <eos> left out. */
static int wanted_text(struct run *r, uint64_t line, struct buf *out, struct err *e)
{
    const struct corpus_part *p = &r->corpus->valid;
    uint64_t from = p->line[line] + 1, n = p->line[line + 1] - from;
    uint32_t *id = calloc(n + 1, sizeof *id);
    int rc;

    if (!id)
        return err_set(e, ERR_NOMEM, "memory: %llu tokens", (unsigned long long)n);
    for (uint64_t i = 0; i < n; i++)
        id[i] = tokens_get(p->tokens, from + i);
    rc = say(r, id, n, out, e);
    free(id);
    return rc;
}

static int score_lines(struct run *r, uint64_t first, uint64_t n, struct scorer *to,
                       struct err *e)
{
    struct scores *s = r->scores;
    uint32_t context = r->job->model->context;
    int rc = read_sources(r, first, n, e);

    if (rc == 0)
        rc = write_texts(r, n, e);
    for (uint64_t i = 0; rc == 0 && i < n; i++) {
        rc = say(r, &s->id[i * context], s->many[i], &s->text, e);
        if (rc == 0)
            rc = wanted_text(r, first + i, &s->wanted, e);
        if (rc == 0)
            rc = scorer_add(to, s->text.len ? s->text.data : "", s->text.len,
                            s->wanted.len ? s->wanted.data : "", s->wanted.len, e);
    }
    return rc;
}

/* Are there characters of U+3000 to U+9FFF, whose words nobody parts by spaces? */
static bool is_cjk(const struct buf *text)
{
    for (size_t i = 0; i < text->len; i++)
        if ((unsigned char)text->data[i] >= 0xe3 &&
            (unsigned char)text->data[i] <= 0xe9)
            return true;
    return false;
}

static int choose_rule(struct run *r, uint64_t lines, enum words_rule *out,
                       struct err *e)
{
    struct buf *text = &r->scores->wanted;

    *out = WORDS_13A;
    for (uint64_t i = 0; i < lines && *out == WORDS_13A; i++) {
        if (wanted_text(r, i, text, e) < 0)
            return e->code;
        if (is_cjk(text))
            *out = WORDS_ZH;
    }
    return 0;
}

static int score_all(struct run *r, enum metric m, double *out, struct err *e)
{
    uint64_t lines = r->corpus->valid.lines;
    uint64_t most = (uint64_t)r->job->train->valid_batches * r->job->train->batch;
    struct scorer *s;
    enum words_rule rule;
    int rc = 0;

    if (most && most < lines)
        lines = most;
    if (choose_rule(r, lines, &rule, e) < 0)
        return e->code;
    scorer_create(rule, &s);
    for (uint64_t at = 0; rc == 0 && at < lines; at += ROWS)
        rc = score_lines(r, at, lines - at < ROWS ? lines - at : ROWS, s, e);
    if (rc == 0)
        *out = scorer_value(s, m);
    scorer_destroy(s);
    return rc;
}

int scores_take(struct run *r, enum metric m, double *out, struct err *e)
{
    int rc = run_agree(r, open_scores(r, e), e);
    double value = 0;

    if (rc == 0)
        rc = give_weights(r, e);
    if (rc < 0)
        return rc;
    if (r->rank == 0) {
        agent_watch(r->agent, exec_progress_of(decoder_exec(r->scores->decoder)));
        rc = score_all(r, m, &value, e);
        agent_watch(r->agent, trainer_progress(r->trainer));
    }
    if (run_agree(r, rc, e) < 0 ||
        comm_bcast(r->control, &value, sizeof value, 0, e) < 0)
        return e->code;
    *out = value;
    return 0;
}
