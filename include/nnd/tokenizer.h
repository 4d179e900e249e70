/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer.h - the contract between nnd and a tokenizer that is loaded.
 *
 * A shared object NAME.so in a folder of tokenizers exports nnd_tokenizer_v1(), which
 * returns a constant struct.  nnd opens it by the NAME that a job's data.tokenizer
 * says, never by a path, and keeps it loaded.  No exception and no signal may leave a
 * function; none prints, and none is called for one `self` from two threads at once,
 * but for encode and decode, which may be.
 *
 * The first two fields of the struct will not move.  Later ones are added at the end;
 * nnd looks at `size` before it reads them.
 */
#ifndef NND_TOKENIZER_H
#define NND_TOKENIZER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NND_TOKENIZER_ABI 1

/* Why something failed: one line, cut to fit, NUL-terminated. */
struct nnd_tokenizer_error {
    char text[256];
};

/* Takes n ids, or len bytes of text; called any number of times, in order. */
typedef void nnd_tokenizer_ids(void *arg, const uint32_t *ids, size_t n);
typedef void nnd_tokenizer_bytes(void *arg, const char *bytes, size_t len);

/* The next piece of a text to learn from, good until the next call; 0: no more. */
typedef int nnd_tokenizer_text(void *arg, const char **text, size_t *len);

/* Functions return 0, or -1 with the error filled in. */
struct nnd_tokenizer {
    uint32_t size;       /* sizeof of this struct, as it was compiled */
    uint32_t abi;        /* NND_TOKENIZER_ABI */
    const char *name;    /* as the file: "sentencepiece" */
    const char *version; /* of what does the work */

    /* A tokenizer out of the bytes of its model, which need not live on. */
    int (*open)(const void *model, size_t len, void **self,
                struct nnd_tokenizer_error *e);
    void (*close)(void *self);

    /* How many ids there are, and the one of what has none; UINT32_MAX: all has. */
    uint32_t (*vocab)(const void *self);
    uint32_t (*unknown)(const void *self);

    /* The ids, below vocab, of a text in UTF-8, which may hold any character. */
    int (*encode)(const void *self, const char *text, size_t len,
                  nnd_tokenizer_ids *put, void *arg, struct nnd_tokenizer_error *e);

    /* The text of ids below vocab, as a whole. */
    int (*decode)(const void *self, const uint32_t *ids, size_t n,
                  nnd_tokenizer_bytes *put, void *arg, struct nnd_tokenizer_error *e);

    /* Learn `vocab` ids from texts: the bytes of a model, which open takes.  The same
     * texts give the same model.  NULL: it cannot learn. */
    int (*learn)(uint32_t vocab, nnd_tokenizer_text *next, void *arg,
                 nnd_tokenizer_bytes *put, void *out, struct nnd_tokenizer_error *e);
};

/* What a loaded tokenizer exports, and nothing else. */
const struct nnd_tokenizer *nnd_tokenizer_v1(void);

#ifdef __cplusplus
}
#endif

#endif
