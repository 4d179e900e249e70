/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hf_folder.h - a folder as `transformers` saves it: config.json, and tensors in
 * model.safetensors or in the files that model.safetensors.index.json names.
 *
 * Whoever wrote it is not trusted: every file is checked before it is used.
 */
#ifndef EXCHANGE_HF_FOLDER_H
#define EXCHANGE_HF_FOLDER_H

#include <jansson.h>
#include <stdbool.h>

#include "base/arena.h"
#include "base/buf.h"
#include "format/safetensors.h"

#define HF_CONFIG "config.json"
#define HF_WRITES "generation_config.json"
#define HF_TOKENS "tokenizer.json"
#define HF_WHOLE  "model.safetensors"
#define HF_INDEX  "model.safetensors.index.json"

#define HF_TEXT_MAX   ((size_t)64 << 20) /* bytes of a file that is not tensors */
#define HF_SHARDS_MAX 4096
#define HF_IDS_MAX    64

struct hf_shard {
    const char *name; /* in the folder */
    struct safetensors *file;
    bool *taken; /* [safetensors_count] */
};

struct hf_folder {
    struct arena *mem;
    const char *path;
    json_t *config;
    struct hf_shard *shard;
    size_t nshard;
    const char *prefix; /* that all names here lack: "transformer.", or "" */
};

/* Whatever it returns, hf_folder_close takes it away. */
int hf_folder_open(const char *path, struct hf_folder *out, struct err *e);
void hf_folder_close(struct hf_folder *f);

/* The tensor that a class calls `name`, and which shard has it; NULL: none. */
const struct safetensors_tensor *hf_folder_find(const struct hf_folder *f,
                                                const char *name, size_t *shard);

/* Note that a tensor has been made use of. */
void hf_folder_take(struct hf_folder *f, size_t shard,
                    const struct safetensors_tensor *t);

/* The next tensor from (*shard, *i) on that nothing took; false: none is left. */
bool hf_folder_left(const struct hf_folder *f, size_t *shard, size_t *i);

/* Append a text file of the folder; 1: there is none. */
int hf_folder_text(const struct hf_folder *f, const char *name, struct buf *out,
                   struct err *e);

/* The ids below `vocab` that end a text, by generation_config.json or config.json, or
 * that stand before one, by the TemplateProcessing of tokenizer.json, as a list that
 * the caller owns. */
int hf_folder_ends(const struct hf_folder *f, int64_t vocab, json_t **out,
                   struct err *e);
int hf_folder_begins(const struct hf_folder *f, int64_t vocab, json_t **out,
                     struct err *e);

/* Can a file of a folder be called so?  One outside, or a hidden one, is none. */
bool hf_is_file_name(const char *name);

/* A text as JSON: the caller owns the reference.  `name` is for errors. */
int hf_parse(const char *name, const char *text, size_t len, json_t **out,
             struct err *e);

/* The files that an index names, once each, in the order of their names; `path` is
 * for errors.  ERR_SPEC: not an index, or a name that is no file of a folder. */
int hf_index_read(const char *path, const json_t *index, struct arena *a,
                  const char ***files, size_t *n, struct err *e);

#endif
