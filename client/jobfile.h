/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jobfile.h - the options that submit, run and plan share: from a job file and
 * what overrides it to a job that is right.
 */
#ifndef CLIENT_JOBFILE_H
#define CLIENT_JOBFILE_H

#include <stdbool.h>

#include "client/client.h"
#include "proto/spec.h"

/* First member of the structs that these verbs fill. */
struct jobfile {
    const char *file, *name;
    const char *check;
    struct opt_list set, kernel;
};

extern const struct opt jobfile_options[];

/* The job named by --file or args[0] ("-": standard input), with overrides,
 * anchored and resolved.  The caller owns *out. */
int jobfile_read(const struct jobfile *o, int argc, char **args, struct spec **out,
                 struct err *e);

/* The same with further overrides, "train.lr=3e-4", n of them. */
int jobfile_read_with(const struct jobfile *o, int argc, char **args,
                      const char *const *more, size_t n, struct spec **out,
                      struct err *e);

/* Print what is legal but unlikely to be meant, on stderr. */
void jobfile_hint(const struct client *c, const struct spec *s);

/* Print the resolved job with the origin of each value, as YAML or JSON. */
void jobfile_print(const struct client *c, struct spec *s);

/* What goes with a job; all of it may be absent. */
struct jobfile_terms {
    const char *key; /* --idem's; NULL: one of our own */
    bool hold;
    const struct opt_list *after; /* "ok:5", "any:5", "notok:5", or "5": ok */
    const char **labels;          /* of an array's jobs */
};

/* Have nnd accept the job, or the n jobs of an array, which are all or none. */
int jobfile_submit(struct client *c, const struct spec *const *jobs, size_t n,
                   const struct jobfile_terms *t, uint64_t *id, bool *known,
                   struct err *e);

#endif
