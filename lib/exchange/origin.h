/* SPDX-License-Identifier: Apache-2.0 */
/*
 * origin.h - what a checkpoint remembers of the folder that it was imported from:
 * texts, and the heads of the files of tensors.
 *
 * One file of the checkpoint, origin.json, so that exporting it again gives the same
 * bytes.  A checkpoint that training has written has none.
 */
#ifndef EXCHANGE_ORIGIN_H
#define EXCHANGE_ORIGIN_H

#include "exchange/hf_folder.h"

#define ORIGIN_NAME "origin.json"

/* Append what there is to remember of a folder. */
int origin_write(const struct hf_folder *f, struct buf *out, struct err *e);

/* A tensor's place in a file that is to be written again. */
struct origin_tensor {
    const char *name;
    int dtype;
    uint64_t offset, bytes; /* of its elements, from the file's start */
};

struct origin_file {
    const char *name, *head;
    size_t head_len;
    struct origin_tensor *tensor; /* [n] */
    size_t n;
};

struct origin {
    json_t *root;
    const json_t *texts; /* name: contents */
    struct origin_file *file;
    size_t n;
};

/* Read it back, into the arena; origin_free releases the rest.  ERR_SPEC: it is
 * damaged, or names a file that is none of a folder. */
int origin_read(const char *text, size_t len, struct arena *a, struct origin *out,
                struct err *e);
void origin_free(struct origin *o);

#endif
