/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hf_config.h - config.json of Hugging Face's classes, and the model section of a job.
 *
 * Both are JSON here; which key is which field, what each class takes for granted and
 * what it cannot say is one table a class.  Nothing is passed over: a key that is not
 * in the table, or a value that the other side has no words for, is an error.
 */
#ifndef EXCHANGE_HF_CONFIG_H
#define EXCHANGE_HF_CONFIG_H

#include <jansson.h>

#include "base/err.h"

/* The config.json of a resolved job with `vocab` ids; *model_type is a name for
 * hf_arch_find.  The caller owns *config.  ERR_SPEC names the field that no class has,
 * or that the nearest class has otherwise. */
int hf_config_write(const json_t *job, int64_t vocab, const char **model_type,
                    json_t **config, struct err *e);

/* The model section that a config.json describes: an object of a job's fields by
 * section, {"model":{...}}, which the caller owns.  `path` is for errors; keys of
 * ignore[n] are passed over. */
int hf_config_read(const char *path, const json_t *config, const char *const *ignore,
                   size_t n, const char **model_type, json_t **job, struct err *e);

#endif
