/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bpe_train.c - counts of pairs that are kept as merges change them.
 *
 * Each pair knows the words that hold it, so that a merge touches those alone.  A heap
 * has the pairs by count; a count that fell since is found out when the pair comes up.
 */
#include "data/bpe_train.h"

#include <stdlib.h>
#include <string.h>

#include "base/oom.h"

/* A part of the text, as the symbols it consists of by now. */
struct word {
    uint32_t *symbol;
    size_t len;
    int64_t count;
};

struct pair {
    uint32_t left, right;
    int64_t count;
    uint32_t *word; /* [words]: numbers of words that have held it, rising runs */
    uint32_t words, cap;
    bool touched; /* in the list of those that grew in this merge */
};

struct candidate {
    int64_t count;
    uint32_t pair;
};

struct bpe_train {
    enum pretoken_rule rule;
    struct bytemap parts;
    int64_t *count; /* [cap]: of each part */
    size_t cap;

    struct word *word; /* [parts.count] */
    uint32_t *symbols; /* all words'    */
    struct pairmap number;
    struct pair *pair;
    uint32_t pairs, pairs_cap;
    struct candidate *heap;
    size_t heaped, heap_cap;
    uint32_t *grown;
    size_t ngrown, grown_cap;
};

struct bpe_train *bpe_train_create(enum pretoken_rule rule)
{
    struct bpe_train *t = oom_calloc(1, sizeof *t);

    t->rule = rule;
    return t;
}

void bpe_train_destroy(struct bpe_train *t)
{
    if (!t)
        return;
    bytemap_free(&t->parts);
    pairmap_free(&t->number);
    for (uint32_t i = 0; i < t->pairs; i++)
        free(t->pair[i].word);
    free(t->count);
    free(t->word);
    free(t->symbols);
    free(t->pair);
    free(t->heap);
    free(t->grown);
    free(t);
}

void bpe_train_text(struct bpe_train *t, const char *text, size_t len)
{
    for (size_t at = 0, n; at < len; at += n) {
        uint32_t before = t->parts.count, i;

        n = pretoken_next(t->rule, text + at, len - at);
        i = bytemap_add(&t->parts, text + at, n);
        if (t->parts.count > t->cap) {
            t->cap = t->cap ? 2 * t->cap : 1024;
            t->count = oom_realloc(t->count, t->cap * sizeof *t->count);
        }
        if (t->parts.count > before)
            t->count[i] = 0;
        t->count[i]++;
    }
}

/* ---- the heap ------------------------------------------------------------- */

/* Does a come before b? */
static bool is_before(const struct bpe_train *t, const struct candidate *a,
                      const struct candidate *b)
{
    const struct pair *p = &t->pair[a->pair], *q = &t->pair[b->pair];

    if (a->count != b->count)
        return a->count > b->count;
    return p->left != q->left ? p->left < q->left : p->right < q->right;
}

static void push(struct bpe_train *t, uint32_t pair)
{
    struct candidate c = {t->pair[pair].count, pair};
    size_t i = t->heaped++;

    if (t->heaped > t->heap_cap) {
        t->heap_cap = t->heap_cap ? 2 * t->heap_cap : 1024;
        t->heap = oom_realloc(t->heap, t->heap_cap * sizeof *t->heap);
    }
    for (; i > 0 && is_before(t, &c, &t->heap[(i - 1) / 2]); i = (i - 1) / 2)
        t->heap[i] = t->heap[(i - 1) / 2];
    t->heap[i] = c;
}

static struct candidate pop(struct bpe_train *t)
{
    struct candidate first = t->heap[0], last = t->heap[--t->heaped];
    size_t i = 0;

    for (size_t k; (k = 2 * i + 1) < t->heaped; i = k) {
        k += k + 1 < t->heaped && is_before(t, &t->heap[k + 1], &t->heap[k]);
        if (is_before(t, &last, &t->heap[k]))
            break;
        t->heap[i] = t->heap[k];
    }
    t->heap[i] = last;
    return first;
}

/* ---- counts of pairs ------------------------------------------------------ */

static struct pair *find_pair(struct bpe_train *t, uint32_t left, uint32_t right)
{
    uint32_t *number = pairmap_put(&t->number, left, right);

    if (*number == BYTEMAP_NONE) {
        if (t->pairs == t->pairs_cap) {
            t->pairs_cap = t->pairs_cap ? 2 * t->pairs_cap : 1024;
            t->pair = oom_realloc(t->pair, t->pairs_cap * sizeof *t->pair);
        }
        t->pair[t->pairs] = (struct pair){.left = left, .right = right};
        *number = t->pairs++;
    }
    return &t->pair[*number];
}

/* One more occurrence in each of the word's `count` places. */
static void gain(struct bpe_train *t, uint32_t left, uint32_t right, uint32_t word)
{
    struct pair *p = find_pair(t, left, right);

    p->count += t->word[word].count;
    if (p->words == 0 || p->word[p->words - 1] != word) {
        if (p->words == p->cap) {
            p->cap = p->cap ? 2 * p->cap : 4;
            p->word = oom_realloc(p->word, p->cap * sizeof *p->word);
        }
        p->word[p->words++] = word;
    }
    if (p->touched)
        return;
    p->touched = true;
    if (t->ngrown == t->grown_cap) {
        t->grown_cap = t->grown_cap ? 2 * t->grown_cap : 1024;
        t->grown = oom_realloc(t->grown, t->grown_cap * sizeof *t->grown);
    }
    t->grown[t->ngrown++] = (uint32_t)(p - t->pair);
}

static void lose(struct bpe_train *t, uint32_t left, uint32_t right, int64_t count)
{
    find_pair(t, left, right)->count -= count;
}

/* Those that grew are candidates. */
static void push_grown(struct bpe_train *t)
{
    for (size_t i = 0; i < t->ngrown; i++) {
        t->pair[t->grown[i]].touched = false;
        if (t->pair[t->grown[i]].count > 0)
            push(t, t->grown[i]);
    }
    t->ngrown = 0;
}

/* ---- merging -------------------------------------------------------------- */

/* Where left and right stand side by side in the word, `made` stands afterwards. */
static void merge_in(struct bpe_train *t, uint32_t number, uint32_t left,
                     uint32_t right, uint32_t made)
{
    struct word *w = &t->word[number];
    size_t out = 0;

    for (size_t i = 0; i < w->len; i++) {
        if (i + 1 >= w->len || w->symbol[i] != left || w->symbol[i + 1] != right) {
            w->symbol[out++] = w->symbol[i];
            continue;
        }
        if (out > 0) {
            lose(t, w->symbol[out - 1], left, w->count);
            gain(t, w->symbol[out - 1], made, number);
        }
        if (i + 2 < w->len) {
            lose(t, right, w->symbol[i + 2], w->count);
            gain(t, made, w->symbol[i + 2], number);
        }
        w->symbol[out++] = made;
        i++;
    }
    w->len = out;
}

/* The number of the piece that is both together, a new one where there was none. */
static uint32_t make_piece(struct bpe *b, const struct pair *p)
{
    struct buf both = {0};
    size_t len;
    const char *text = bytemap_at(&b->pieces, p->left, &len);
    uint32_t id;

    buf_add(&both, text, len);
    text = bytemap_at(&b->pieces, p->right, &len);
    buf_add(&both, text, len);
    id = bytemap_find(&b->pieces, both.data, both.len);
    if (id == BYTEMAP_NONE) {
        id = b->pieces.count;
        bpe_piece(b, both.data, both.len, NULL);
    }
    bpe_join(b, p->left, p->right, NULL);
    buf_free(&both);
    return id;
}

static void merge_pair(struct bpe_train *t, struct bpe *b, uint32_t number)
{
    struct pair p = t->pair[number]; /* t->pair moves as pairs come */
    uint32_t made = make_piece(b, &p);

    t->pair[number].word = NULL;
    t->pair[number].words = t->pair[number].cap = 0;
    for (uint32_t i = 0; i < p.words; i++)
        merge_in(t, p.word[i], p.left, p.right, made);
    t->pair[number].count = 0;
    free(p.word);
    push_grown(t);
}

static void make_words(struct bpe_train *t, const struct bpe *b)
{
    size_t at = 0;

    t->word = oom_calloc(t->parts.count, sizeof *t->word);
    t->symbols = oom_calloc(t->parts.bytes.len, sizeof *t->symbols);
    for (uint32_t i = 0; i < t->parts.count; i++) {
        size_t len;
        const char *text = bytemap_at(&t->parts, i, &len);

        t->word[i] = (struct word){t->symbols + at, len, t->count[i]};
        for (size_t k = 0; k < len; k++)
            t->symbols[at + k] = b->byte[(unsigned char)text[k]];
        at += len;
        for (size_t k = 0; k + 1 < len; k++)
            gain(t, t->word[i].symbol[k], t->word[i].symbol[k + 1], i);
    }
    push_grown(t);
}

int bpe_train_learn(struct bpe_train *t, uint32_t pieces, uint32_t min_count,
                    struct bpe **out, struct err *e)
{
    struct bpe *b;

    if (t->parts.count == 0)
        return err_set(e, ERR_SPEC,
                       "tokenizer bpe: wanted a training text, found none");
    if (pieces < 256)
        return err_set(e, ERR_SPEC,
                       "tokenizer bpe: wanted at least 256 pieces, one for each byte, "
                       "found %u",
                       pieces);
    b = bpe_create(t->rule);
    bpe_bytes(b);
    make_words(t, b);
    while (b->pieces.count < pieces && t->heaped) {
        struct candidate c = pop(t);
        int64_t now = t->pair[c.pair].count;

        if (now < 1 || now < (int64_t)min_count)
            continue;
        if (now == c.count)
            merge_pair(t, b, c.pair);
        else if (now < c.count)
            push(t, c.pair);
    }
    *out = b;
    return 0;
}
