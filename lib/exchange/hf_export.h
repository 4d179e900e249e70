/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hf_export.h - a checkpoint becomes a folder that `transformers` loads.
 */
#ifndef EXCHANGE_HF_EXPORT_H
#define EXCHANGE_HF_EXPORT_H

#include <jansson.h>

#include "base/err.h"
#include "proto/job.pb-c.h"

#define HF_SHARD_BYTES ((uint64_t)5 << 30) /* of a file, unless told otherwise */

struct hf_export {
    const char *checkpoint; /* its folder */
    const Nnd__Job *job;    /* resolved   */
    const json_t *job_json; /* the same   */
    int64_t vocab;
    const char *to;       /* a folder that is not there yet */
    int dtype;            /* of the weights; 0: as they came, or f32 */
    uint64_t shard_bytes; /* the most in one file; 0: as they came, or HF_SHARD_BYTES */
    const char *tokenizer; /* text of nnd_tokenizer.json             */
    const char *theirs;    /* text of tokenizer.json, or NULL        */
    int64_t bos, eos, pad; /* -1: the vocabulary has none            */
};

/* Every tensor of the checkpoint goes to one place, every place is filled; what the
 * class cannot say is refused before anything is written (hf_config.h).  An imported
 * checkpoint gives the bytes that it came from, unless dtype or shard_bytes say
 * otherwise.  TO appears whole, or not at all. */
int hf_export(const struct hf_export *x, struct err *e);

#endif
