/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spec_data.c - what a job says about its texts and tokens: which keys go with which
 * kind of text and of tokenizer.  What the texts hold is the engine's to know.
 */
#include "proto/spec_impl.h"

bool spec_is_pairs(const Nnd__Job *j)
{
    return j->data->format == NND__DATA__FORMAT__PAIRS;
}

/* All bytes, and with pairs the marks, are tokens. */
static uint32_t least_vocab(const Nnd__Job *j)
{
    return spec_is_pairs(j) ? 260 : 256;
}

int spec_check_vocab(const struct spec *s, const Nnd__Job *j, struct err *e)
{
    const uint32_t vocab[] = {j->model->vocab, j->model->source_vocab};

    for (int i = 0; i < 1 + spec_is_pairs(j); i++)
        if (j->data->tokenizer == NND__DATA__TOKENIZER__BYTE && vocab[i] > 0 &&
            vocab[i] < least_vocab(j))
            return spec_refuse(s, e, i ? "model.source_vocab" : "model.vocab", NULL,
                               "wanted 0 or at least %u for data.tokenizer byte%s, "
                               "found %u",
                               least_vocab(j),
                               spec_is_pairs(j) ? " with data.format pairs" : "",
                               vocab[i]);
    return 0;
}

/* Does the tokenizer learn by counting, with something left for what is rare? */
static bool is_counted(const Nnd__Job *j)
{
    const Nnd__Data *d = j->data;

    return d->tokenizer == NND__DATA__TOKENIZER__WORD ||
           d->tokenizer == NND__DATA__TOKENIZER__BPE ||
           (d->tokenizer == NND__DATA__TOKENIZER__CHAR && spec_is_pairs(j));
}

/* Does it learn as many tokens as it is told? */
static bool has_size(const Nnd__Data *d)
{
    return d->tokenizer == NND__DATA__TOKENIZER__BPE ||
           d->tokenizer == NND__DATA__TOKENIZER__SENTENCEPIECE;
}

int spec_check_vocab_size(const struct spec *s, const Nnd__Job *j, struct err *e)
{
    uint32_t found = j->data->vocab_size;

    if (found == 0 || found >= least_vocab(j))
        return 0;
    return spec_refuse(s, e, "data.vocab_size", NULL,
                       "wanted at least %u, room for each byte%s, found %u",
                       least_vocab(j), spec_is_pairs(j) ? " and four marks" : "",
                       found);
}

/* Keys of data that say something about pairs, or about words, alone. */
int spec_check_data_keys(const struct spec *s, const Nnd__Job *j, struct err *e)
{
    const Nnd__Data *d = j->data;
    bool has_file = *d->tokenizer_file, has_source = *d->source_tokenizer_file;
    const struct {
        const char *path;
        bool given, fits;
        const char *wants;
    } keys[] = {
        {"data.source", d->n_source > 0, spec_is_pairs(j), "data.format pairs"},
        {"data.valid_source", d->n_valid_source > 0, spec_is_pairs(j),
         "data.format pairs"},
        {"data.columns", d->n_columns > 0, spec_is_pairs(j), "data.format pairs"},
        {"data.share_vocab", d->share_vocab, spec_is_pairs(j), "data.format pairs"},
        {"data.columns", d->n_columns > 0, d->n_source == 0, "no data.source"},
        {"data.valid_source", d->n_valid_source > 0, d->n_source > 0, "data.source"},
        {"data.valid_source", d->n_valid_source > 0, d->n_valid > 0, "data.valid"},
        {"data.source", d->n_source > 0 && d->n_valid > 0, d->n_valid_source > 0,
         "data.valid_source, since there is data.valid,"},
        {"data.min_count", d->min_count > 1, is_counted(j),
         "data.tokenizer word or bpe, or char with data.format pairs,"},
        {"data.max_words", d->max_words > 0, d->tokenizer == NND__DATA__TOKENIZER__WORD,
         "data.tokenizer word"},
        {"data.split", d->split, d->tokenizer == NND__DATA__TOKENIZER__WORD,
         "data.tokenizer word"},
        {"data.vocab_size", d->vocab_size > 0, has_size(d),
         "data.tokenizer bpe or sentencepiece"},
        {"data.tokenizer", d->tokenizer == NND__DATA__TOKENIZER__SENTENCEPIECE,
         spec_is_pairs(j),
         "data.format pairs, since SentencePiece knows no ends of lines,"},
        {"data.tokenizer_file", has_file, d->tokenizer != NND__DATA__TOKENIZER__BYTE,
         "data.tokenizer, which says what kind it is,"},
        {"data.vocab_size", d->vocab_size > 0, !has_file, "no data.tokenizer_file"},
        {"data.min_count", d->min_count > 1, !has_file, "no data.tokenizer_file"},
        {"data.max_words", d->max_words > 0, !has_file, "no data.tokenizer_file"},
        {"data.source_tokenizer_file", has_source, has_file && spec_is_pairs(j),
         "data.tokenizer_file and data.format pairs"},
        {"data.source_tokenizer_file", has_source, !d->share_vocab,
         "no data.share_vocab"},
        {"data.tokenizer_file", has_file && spec_is_pairs(j),
         has_source || d->share_vocab,
         "data.share_vocab, or data.source_tokenizer_file,"},
    };

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        if (keys[i].given && !keys[i].fits)
            return spec_refuse(s, e, keys[i].path, NULL, "wanted %s beside it",
                               keys[i].wants);
    if (d->n_columns == 0 || (d->n_columns == 2 && d->columns[0] != d->columns[1]))
        return 0;
    return spec_refuse(s, e, "data.columns", NULL,
                       "wanted two different numbers, of the source's column and the "
                       "target's");
}
