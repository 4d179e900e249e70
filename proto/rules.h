/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rules.h - what the values of a job, or of nnd's configuration, may be: one row
 * per field of job.proto and of conf.proto.
 *
 * The descriptors made from the .proto files know names, types and defaults; a
 * row adds the range and the help line.  Reading, validation, the reference pages
 * and what is printed all walk these tables, in their order, which is that of the
 * .proto file.  Rules that join two fields stand in spec_check.c and conf.c.
 */
#ifndef PROTO_RULES_H
#define PROTO_RULES_H

#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "proto/job.pb-c.h"

enum rule_flag {
    RULE_ABOVE = 1,  /* min itself is refused */
    RULE_BELOW = 2,  /* max itself is refused */
    RULE_PATH = 4,   /* names a file or a folder; made absolute by spec_anchor */
    RULE_TIME = 8,   /* seconds, which may be written "90s", "5m", "1.5h", "2d" */
    RULE_START = 16, /* counts when the program starts, and not again */
    RULE_FIT = 32,   /* may be the word "fit", which is 0 */
    RULE_F32 = 64,   /* kernels have it in f32, which has to be in the range too */
};

struct rule {
    const char *path; /* "train.lr" */
    double min, max;  /* numbers: the range; texts: bytes; otherwise 0, 0 */
    unsigned flags;   /* enum rule_flag */
    unsigned items;   /* most items of a list; 0 for a single value */
    const char *help; /* one line, with the unit */
};

struct spec;

/* What a person writes down, as a whole: a job, or a configuration. */
struct schema {
    const ProtobufCMessageDescriptor *type;
    const struct rule *rules;
    size_t nrules;
    const char *noun; /* what errors call the whole: "job" */
    /* After defaults and ranges: values that follow from others, combinations. */
    int (*finish)(struct spec *s, struct err *e);
};

/* The row of `path`, or NULL. */
const struct rule *schema_rule(const struct schema *c, const char *path);

/* A job's. */
extern const struct schema schema_job;
extern const struct rule rules[];
extern const size_t nrules;
const struct rule *rule_find(const char *path);

/* Append what a value of this field must be: "a whole number from 1 to 64". */
void rule_wanted(const struct rule *r, const ProtobufCFieldDescriptor *d,
                 struct buf *out);

/* Check one value in its C form (uint32_t *, double *, char **, ...), which may
 * come from a hostile message.  ERR_SPEC with "wanted ..., found ...". */
int rule_check(const struct rule *r, const ProtobufCFieldDescriptor *d,
               const void *value, struct err *e);

#endif
