/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hf_import.h - a folder of `transformers` becomes a checkpoint of weights alone.
 */
#ifndef EXCHANGE_HF_IMPORT_H
#define EXCHANGE_HF_IMPORT_H

#include "exchange/hf_folder.h"
#include "proto/job.pb-c.h"

struct hf_import {
    struct hf_folder *from;
    const char *model_type;
    const Nnd__Job *job; /* resolved */
    int64_t vocab;
    const char *job_json, *tokenizer; /* as in checkpoint_config */
    const char *to;                   /* a folder of checkpoints; made by the caller */
};

/* Every tensor of the model is in the folder, in its shape and a float type, and every
 * tensor of the folder in the model; else ERR_SPEC or ERR_NOTFOUND names the first one
 * that is not, and nothing is written.  Writes TO/step-000000000, with what export
 * needs to write the same bytes again (origin.h). */
int hf_import(const struct hf_import *x, struct err *e);

#endif
