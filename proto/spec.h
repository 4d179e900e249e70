/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spec.h - a job's specification: from a person's text to a job that is right.
 *
 * For nnctl (reads, overrides, resolves, prints, sends), nnd (receives, checks
 * again, stores) and nnd-worker (runs it).  The usual order:
 *
 *   spec_create, spec_load_file, spec_set..., spec_anchor, spec_resolve, spec_pack
 *   spec_unpack                                     on the other side
 *
 * After spec_resolve or spec_unpack every field of the job is present, in range
 * and fits the others, every message and string is non-NULL (checkpoint.from is
 * "" when there is none), and computed values are filled in: readers need no
 * defaults of their own.  Still 0 are model.vocab, model.source_vocab,
 * train.threads and train.valid_batches, whose meaning needs the data or the
 * machine; and, after spec_resolve alone, train.batch where it is to fit
 * (worker/fit.h).
 *
 * Errors are ERR_SPEC in one line, "FILE:LINE:COL: KEY: wanted ..., found ...",
 * with "-S" or "message" for the place of what came from no file.
 */
#ifndef PROTO_SPEC_H
#define PROTO_SPEC_H

#include <jansson.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/sha256.h"
#include "proto/job.pb-c.h"

#define SPEC_TEXT_MAX   (1 << 20)   /* bytes of a job file            */
#define SPEC_PACKED_MAX (256 << 10) /* bytes of a packed job          */
#define SPEC_MEMORY_MAX (4 << 20)   /* bytes that unpacking may take  */

struct spec;
struct schema;

/* A job of defaults.  spec_destroy(NULL) is legal. */
struct spec *spec_create(void);
void spec_destroy(struct spec *s);

/* The same for something else that people write in YAML: nnd's configuration
 * (conf.h).  What is below serves both, but for what says "job". */
struct spec *spec_create_as(const struct schema *schema);
const ProtobufCMessage *spec_message(const struct spec *s);

/* The job; owned by the spec. */
const Nnd__Job *spec_job(const struct spec *s);

/* Read YAML.  `file` is the name that errors and origins show.  After an error
 * the spec holds a part of the file and is good for spec_destroy only. */
int spec_load_text(struct spec *s, const char *file, const char *text, size_t len,
                   struct err *e);
int spec_load_file(struct spec *s, const char *path, struct err *e);

/* Override by "train.lr=3e-4"; a list takes one value or "[a, b]", and
 * "data.train+=more" adds to it.  The last one wins. */
int spec_set(struct spec *s, const char *assignment, struct err *e);

/* The same for an option of its own: spec_put(s, "name", "demo", "--name", e).
 * A list's values are replaced by the one; spec_add appends. */
int spec_put(struct spec *s, const char *path, const char *value, const char *origin,
             struct err *e);
int spec_add(struct spec *s, const char *path, const char *value, const char *origin,
             struct err *e);

/* Make the job's paths absolute: those of a job file from the folder of that
 * file, others from `cwd`, which is absolute. */
void spec_anchor(struct spec *s, const char *cwd);

/* Fill in defaults and computed values and check everything.  Resolving again,
 * or resolving what was packed, printed and read back, changes nothing. */
int spec_resolve(struct spec *s, struct err *e);

/* The i-th rule that joins several fields, a sentence for the reference page;
 * NULL behind the last. */
const char *spec_combination(size_t i);

/* Where the value of `path` came from: "default", "demo.yaml:12", "-S",
 * "message" or "computed: why"; clean text, whatever the file is called.  NULL when
 * there is no such field. */
const char *spec_origin(struct spec *s, const char *path);

/* What is legal but unlikely to be meant, a line each; for stderr. */
void spec_hints(const struct spec *s, struct buf *out);

/* The resolved job as protobuf bytes, the same for the same job. */
int spec_pack(const struct spec *s, struct buf *out, struct err *e);

/* The job out of bytes that anyone may have written: size, memory, encoding,
 * ranges and combinations are checked, paths must be absolute. */
int spec_unpack(const void *data, size_t len, struct spec **out, struct err *e);

/* SHA-256 of the packed bytes. */
int spec_hash(const struct spec *s, char hex[SHA256_HEX], struct err *e);

/* The job as YAML that spec_load_text reads back, each value with "# origin". */
void spec_print_yaml(struct spec *s, struct buf *out);

/* The job as JSON, same nesting and names; the caller owns the reference.  Dump
 * with JSON_REAL_PRECISION(15) or numbers read 0.10000000000000001. */
json_t *spec_to_json(const Nnd__Job *job);

#endif
