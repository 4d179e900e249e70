/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rules.h - what a job's values may be: one row per field of job.proto.
 *
 * The descriptors made from job.proto know names, types and defaults; a row
 * adds the range and the help line.  Reading, validation, the reference page
 * and the printed job all walk this table, in its order, which is job.proto's.
 * Rules that join two fields stand in spec_check.c.
 */
#ifndef PROTO_RULES_H
#define PROTO_RULES_H

#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "proto/job.pb-c.h"

enum rule_flag {
    RULE_ABOVE = 1, /* min itself is refused */
    RULE_BELOW = 2, /* max itself is refused */
    RULE_PATH = 4,  /* names a file or a folder; made absolute by spec_anchor */
};

struct rule {
    const char *path; /* "train.lr" */
    double min, max;  /* numbers: the range; texts: bytes; otherwise 0, 0 */
    unsigned flags;   /* enum rule_flag */
    unsigned items;   /* most items of a list; 0 for a single value */
    const char *help; /* one line, with the unit */
};

extern const struct rule rules[];
extern const size_t nrules;

/* The row of `path`, or NULL. */
const struct rule *rule_find(const char *path);

/* Append what a value of this field must be: "a whole number from 1 to 64". */
void rule_wanted(const struct rule *r, const ProtobufCFieldDescriptor *d,
                 struct buf *out);

/* Check one value in its C form (uint32_t *, double *, char **, ...), which may
 * come from a hostile message.  ERR_SPEC with "wanted ..., found ...". */
int rule_check(const struct rule *r, const ProtobufCFieldDescriptor *d,
               const void *value, struct err *e);

#endif
