/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rule.h - what the user says about kernels: OP=NAME, OP=NAME?, OP=!NAME.
 */
#ifndef KERNEL_RULE_H
#define KERNEL_RULE_H

#include <stdbool.h>

#include "kernel/kernel.h"

enum rule_kind { RULE_REQUIRE, RULE_PREFER, RULE_EXCLUDE };

struct rule {
    enum rule_kind kind;
    const char *text; /* as the user wrote it; borrowed */
    char op[64], name[136];
};

/* Parse one rule and check that its op and its name exist. */
int kernel_rule_parse(const struct kernels *ks, const char *text, struct rule *out,
                      struct err *e);

/* The name is the kernel's, its plugin's, or PLUGIN/KERNEL. */
bool kernel_rule_names(const struct rule *r, const struct nnd_plugin *p,
                       const struct nnd_kernel *k);

/* Of the rules of `kind` that cover `op`, the one that names it most closely;
 * the last of equals, so that a command line outdoes a file.  NULL if none. */
const struct rule *kernel_rule_find(const struct rule *rules, size_t n,
                                    enum rule_kind kind, const char *op);

#endif
