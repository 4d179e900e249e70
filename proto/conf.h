/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf.h - nnd's configuration: from a person's YAML and options to settings
 * that are right.
 *
 * A configuration is a spec (spec.h) of another schema: spec_load_file,
 * spec_put and spec_resolve serve it, with the same errors.
 */
#ifndef PROTO_CONF_H
#define PROTO_CONF_H

#include "proto/conf.pb-c.h"
#include "proto/rules.h"
#include "proto/spec.h"

extern const struct schema schema_conf;

/* A configuration of defaults; spec_destroy it. */
struct spec *conf_create(void);

/* The message; owned by the spec.  Complete after spec_resolve, texts that nobody
 * gave are "". */
const Nnd__Config *conf_of(const struct spec *s);

/* True when access.listen is each of the machine's addresses: clients that know one of
 * them get there, ranks on other machines, who are handed access.listen, do not. */
bool conf_listens_anywhere(const Nnd__Config *c);

/* Whether a running nnd can go from one to the other: ERR_SPEC naming the first
 * key that only counts at start (RULE_START) and differs. */
int conf_may_change(struct spec *from, struct spec *to, struct err *e);

#endif
