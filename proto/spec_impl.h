/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spec_impl.h - the inside of a spec, for the spec_*.c files alone.
 */
#ifndef PROTO_SPEC_IMPL_H
#define PROTO_SPEC_IMPL_H

#include <stdbool.h>

#include "base/arena.h"
#include "proto/field.h"
#include "proto/rules.h"
#include "proto/spec.h"

enum origin_kind {
    ORIGIN_DEFAULT,
    ORIGIN_FILE,    /* text: the file's name; line, col of the key */
    ORIGIN_OPTION,  /* text: "-S", "--name" */
    ORIGIN_MESSAGE, /* it came packed */
    ORIGIN_COMPUTED /* text: why */
};

struct origin {
    enum origin_kind kind;
    const char *text;
    int line, col; /* from 1 */
};

struct spec {
    struct arena *arena; /* owns all below */
    const struct schema *schema;
    ProtobufCMessage *top;
    Nnd__Job *job;          /* top, when it is a job; else NULL */
    struct origin *origins; /* one per row of the schema's rules */
    const char *file;       /* the file, or NULL */
};

/* Get at the value of a rule's row; its message is made where absent. */
void spec_locate(const struct spec *s, const struct rule *r, ProtobufCMessage **m,
                 const ProtobufCFieldDescriptor **d);

struct origin *spec_origin_of(const struct spec *s, const struct rule *r);

/* True when a person or a message gave the value. */
bool spec_rule_is_given(const struct spec *s, const struct rule *r);
bool spec_is_given(const struct spec *s, const char *path);

/* True when a person gave it, in a file or on a command line. */
bool spec_is_typed(const struct spec *s, const char *path);

/* "PLACE: PATH: " and the text; the place is that of `path` when it was given,
 * else of `other`, which may be NULL.  Returns ERR_SPEC. */
int spec_refuse(const struct spec *s, struct err *e, const char *path,
                const char *other, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

/* The same in front of the text already in e. */
int spec_refuse_prefixed(const struct spec *s, struct err *e, const char *path,
                         const char *other);

/* Read one value's text, check it, and store it as the field's only or, for a
 * list, last value.  "wanted ..., found ...". */
int spec_store(struct spec *s, const struct rule *r, const char *text, struct err *e);

/* Report a name that is none of d's fields: "train: wanted one of its keys, found
 * ...", with a suggestion that suits a file or a command line. */
int spec_unknown(const struct schema *c, const ProtobufCMessageDescriptor *d,
                 const char *section, const char *name, bool in_file, struct err *e);

/* Read "[a, b]" as the list of r. */
int spec_load_list(struct spec *s, const struct rule *r, const char *text,
                   struct err *e);

/* A job's computed values; then its fields against each other. */
int spec_finish_job(struct spec *s, struct err *e);
int spec_check(const struct spec *s, struct err *e);

/* Of spec_check's checks, that of kernels.*, and those of texts and tokens. */
int spec_check_kernels(const struct spec *s, const Nnd__Job *j, struct err *e);
int spec_check_vocab(const struct spec *s, const Nnd__Job *j, struct err *e);
int spec_check_vocab_size(const struct spec *s, const Nnd__Job *j, struct err *e);
int spec_check_data_keys(const struct spec *s, const Nnd__Job *j, struct err *e);

/* Is data.format pairs? */
bool spec_is_pairs(const Nnd__Job *j);

#endif
