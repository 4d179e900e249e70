/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bpe_part.h - parts of a tokenizer.json: objects with a "type", whose members are all
 * understood, or it is refused; for the files bpe_json*.c alone.
 */
#ifndef DATA_BPE_PART_H
#define DATA_BPE_PART_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"

/* null, false, 0, "", or not there. */
bool part_empty(const json_t *j);

/* The "type", for errors; "" when it has none. */
const char *part_type(const json_t *j);
bool part_is(const json_t *j, const char *type);

/* ERR_SPEC: "NAME TYPE is not supported". */
int part_refuse(const char *name, const json_t *j, struct err *e);

/* The members of a part: those that are read elsewhere, and those that have to say
 * nothing.  The last has no name. */
struct part_member {
    const char *name;
    bool empty;
};

int part_check(const char *name, json_t *object, const struct part_member *list,
               struct err *e);

#endif
