/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sentencepiece.cc - SentencePiece (Kudo and Richardson 2018) as a tokenizer of nnd.
 *
 * Besides the CUDA plugin the one file of C++.  It turns what the library does, in
 * exceptions and strings, into the C of <nnd/tokenizer.h>; training is by its unigram
 * model with byte fallback, on one thread, so that the same text gives the same model.
 * The library's headers do not tell its version; the build does, SENTENCEPIECE_VERSION.
 */
#include <nnd/tokenizer.h>

#include <cstdio>
#include <cstring>
#include <exception>
#include <string>
#include <unordered_map>
#include <vector>

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

using sentencepiece::SentencePieceProcessor;
using sentencepiece::SentencePieceTrainer;

namespace
{

/* The first line of what the library says. */
int fail(nnd_tokenizer_error *e, const std::string &text)
{
    std::snprintf(e->text, sizeof e->text, "%.*s", (int)text.find('\n'), text.c_str());
    return -1;
}

template <typename Work> int guarded(nnd_tokenizer_error *e, Work work)
{
    try {
        const sentencepiece::util::Status status = work();

        return status.ok() ? 0 : fail(e, status.ToString());
    } catch (const std::exception &x) {
        return fail(e, x.what());
    } catch (...) {
        return fail(e, "unknown exception");
    }
}

const SentencePieceProcessor *of(const void *self)
{
    return static_cast<const SentencePieceProcessor *>(self);
}

int sp_open(const void *model, size_t len, void **self, nnd_tokenizer_error *e)
{
    SentencePieceProcessor *p = nullptr;
    int rc = guarded(e, [&] {
        p = new SentencePieceProcessor;
        return p->LoadFromSerializedProto({static_cast<const char *>(model), len});
    });

    if (rc == 0)
        *self = p;
    else
        delete p;
    return rc;
}

void sp_close(void *self)
{
    delete static_cast<SentencePieceProcessor *>(self);
}

uint32_t sp_vocab(const void *self)
{
    return (uint32_t)of(self)->GetPieceSize();
}

uint32_t sp_unknown(const void *self)
{
    int id = of(self)->unk_id();

    return id < 0 ? UINT32_MAX : (uint32_t)id;
}

int sp_encode(const void *self, const char *text, size_t len, nnd_tokenizer_ids *put,
              void *arg, nnd_tokenizer_error *e)
{
    return guarded(e, [&] {
        std::vector<int> ids;
        auto status = of(self)->Encode({text, len}, &ids);

        if (status.ok()) {
            std::vector<uint32_t> out(ids.begin(), ids.end());

            put(arg, out.data(), out.size());
        }
        return status;
    });
}

int sp_decode(const void *self, const uint32_t *ids, size_t n, nnd_tokenizer_bytes *put,
              void *arg, nnd_tokenizer_error *e)
{
    return guarded(e, [&] {
        std::string text;
        auto status = of(self)->Decode(std::vector<int>(ids, ids + n), &text);

        if (status.ok())
            put(arg, text.data(), text.size());
        return status;
    });
}

/* The trainer reads over a sentence of more bytes than this. */
constexpr size_t longest = 4192;

/* The length of the piece of text[len] that it can read: up to a space, since each
 * sentence begins with one to it, or where there is none, up to a whole character. */
size_t piece_of(const char *text, size_t len)
{
    size_t n = longest;

    if (len <= longest)
        return len;
    while (n > 0 && text[n] != ' ')
        n--;
    if (n > 0)
        return n;
    for (n = longest; n > 1 && ((unsigned char)text[n] & 0xc0) == 0x80;)
        n--;
    return n;
}

/* The texts to learn from, in the form that the trainer asks for. */
class Texts : public sentencepiece::SentenceIterator
{
  public:
    Texts(nnd_tokenizer_text *next, void *arg) : next_(next), arg_(arg)
    {
        Next();
    }
    bool done() const override
    {
        return done_;
    }
    void Next() override
    {
        size_t n;

        if (left_ == 0)
            done_ = !next_(arg_, &text_, &left_);
        n = done_ ? 0 : piece_of(text_, left_);
        value_.assign(n ? text_ : "", n);
        text_ += n;
        left_ -= n;
    }
    const std::string &value() const override
    {
        return value_;
    }
    sentencepiece::util::Status status() const override
    {
        return {};
    }

  private:
    nnd_tokenizer_text *next_;
    void *arg_;
    const char *text_ = nullptr;
    size_t left_ = 0; /* of text_, still to be read */
    bool done_ = false;
    std::string value_;
};

int sp_learn(uint32_t vocab, nnd_tokenizer_text *next, void *arg,
             nnd_tokenizer_bytes *put, void *out, nnd_tokenizer_error *e)
{
    return guarded(e, [&] {
        Texts texts(next, arg);
        std::string model;
        const std::unordered_map<std::string, std::string> options = {
            {"vocab_size", std::to_string(vocab)},
            {"byte_fallback", "true"},
            {"hard_vocab_limit", "false"},
            {"max_sentence_length", std::to_string(longest)},
            {"num_threads", "1"},
            {"minloglevel", "2"},
        };
        auto status = SentencePieceTrainer::Train(options, &texts, &model);

        if (status.ok())
            put(out, model.data(), model.size());
        return status;
    });
}

const nnd_tokenizer self_description = {
    sizeof(nnd_tokenizer),
    NND_TOKENIZER_ABI,
    "sentencepiece",
    SENTENCEPIECE_VERSION,
    sp_open,
    sp_close,
    sp_vocab,
    sp_unknown,
    sp_encode,
    sp_decode,
    sp_learn,
};

} // namespace

const nnd_tokenizer *nnd_tokenizer_v1(void)
{
    return &self_description;
}
