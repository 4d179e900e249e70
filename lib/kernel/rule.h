/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rule.h - what the user says about kernels: OP=NAME, OP=NAME?, OP=!NAME, where OP
 * may be narrowed to OP/DTYPE@DEVICE: "attn.bwd/bf16@cuda=foo/fa3".
 */
#ifndef KERNEL_RULE_H
#define KERNEL_RULE_H

#include <stdbool.h>

#include "kernel/kernel.h"

enum rule_kind { RULE_REQUIRE, RULE_PREFER, RULE_EXCLUDE };

struct rule {
    enum rule_kind kind;
    const char *text; /* as the user wrote it; borrowed          */
    char op[64];
    char dtype[96];  /* "" for all: of the first input, or a whole key */
    char device[32]; /* "" for all                                     */
    char name[136];
};

/* Which calls a rule is asked about. */
struct rule_scope {
    const char *op, *key, *device;
};

/* Parse one rule and check that all that it names exists. */
int kernel_rule_parse(const struct kernels *ks, const char *text, struct rule *out,
                      struct err *e);

/* The name is the kernel's, its plugin's, or PLUGIN/KERNEL. */
bool kernel_rule_names(const struct rule *r, const struct nnd_plugin *p,
                       const struct nnd_kernel *k);

/* Is it narrowed to a key, rather than to a type? */
bool kernel_rule_whole_key(const struct rule *r);

/* Does the rule speak of such calls? */
bool kernel_rule_covers(const struct rule *r, const struct rule_scope *s);

/* Of the rules of `kind` that cover such calls, the one that names them most
 * closely - a longer op first, then one with a dtype, then one with a device -
 * and the last of equals, so that a command line outdoes a file.  NULL if none. */
const struct rule *kernel_rule_find(const struct rule *rules, size_t n,
                                    enum rule_kind kind, const struct rule_scope *s);

#endif
