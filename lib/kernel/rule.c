/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rule.c - parsing and applying the user's rules.
 */
#include "kernel/rule.h"

#include <string.h>

#include "base/str.h"
#include "kernel/op.h"

enum { NAMES_MAX = 256 };

bool kernel_rule_names(const struct rule *r, const struct nnd_plugin *p,
                       const struct nnd_kernel *k)
{
    if (strcmp(r->name, p->name) == 0 || strcmp(r->name, k->name) == 0)
        return true;
    size_t n = strlen(p->name);
    return strncmp(r->name, p->name, n) == 0 && r->name[n] == '/' &&
           strcmp(r->name + n + 1, k->name) == 0;
}

static bool op_exists(const struct kernels *ks, const char *op)
{
    for (size_t i = 0; i < op_count(); i++)
        if (op_matches(op_name(i), op))
            return true;
    for (size_t i = 0; i < kernels_plugin_count(ks); i++) {
        const struct nnd_plugin *p = kernels_plugin(ks, i);
        for (uint32_t j = 0; j < p->nkernels; j++)
            if (op_matches(p->kernels[j]->op, op))
                return true;
    }
    return false;
}

static bool name_exists(const struct kernels *ks, const struct rule *r)
{
    for (size_t i = 0; i < kernels_plugin_count(ks); i++) {
        const struct nnd_plugin *p = kernels_plugin(ks, i);
        if (strcmp(p->name, r->name) == 0)
            return true;
        for (uint32_t j = 0; j < p->nkernels; j++)
            if (kernel_rule_names(r, p, p->kernels[j]))
                return true;
    }
    return false;
}

static int unknown_op(const struct rule *r, struct err *e)
{
    const char *near = str_nearest(r->op, op_names(), op_count());
    return err_set(e, ERR_SPEC, "kernel rule %s: no operator is named \"%s\"%s%s%s",
                   r->text, r->op, near ? "; did you mean " : "", near ? near : "",
                   near ? "?" : "");
}

static int unknown_name(const struct kernels *ks, const struct rule *r, struct err *e)
{
    const char *names[NAMES_MAX];
    size_t n = 0;
    for (size_t i = 0; i < kernels_plugin_count(ks); i++) {
        const struct nnd_plugin *p = kernels_plugin(ks, i);
        if (n < NAMES_MAX)
            names[n++] = p->name;
        for (uint32_t j = 0; j < p->nkernels && n < NAMES_MAX; j++)
            names[n++] = p->kernels[j]->name;
    }
    const char *near = str_nearest(r->name, names, n);
    return err_set(e, ERR_SPEC,
                   "kernel rule %s: no plugin or kernel is named \"%s\"%s%s%s", r->text,
                   r->name, near ? "; did you mean " : "", near ? near : "",
                   near ? "?" : "");
}

int kernel_rule_parse(const struct kernels *ks, const char *text, struct rule *out,
                      struct err *e)
{
    struct rule r = {.kind = RULE_REQUIRE, .text = text};
    size_t nop = strcspn(text, "=");
    const char *name = text + nop + (text[nop] == '=');
    if (*name == '!') {
        r.kind = RULE_EXCLUDE;
        name++;
    }
    size_t nname = strlen(name);
    if (r.kind != RULE_EXCLUDE && nname && name[nname - 1] == '?') {
        r.kind = RULE_PREFER;
        nname--;
    }
    if (!nop || !nname || nop >= sizeof r.op || nname >= sizeof r.name)
        return err_set(e, ERR_SPEC,
                       "kernel rule \"%s\": wanted OP=NAME, OP=NAME? or OP=!NAME",
                       text);
    memcpy(r.op, text, nop);
    memcpy(r.name, name, nname);
    if (!op_exists(ks, r.op))
        return unknown_op(&r, e);
    if (!name_exists(ks, &r))
        return unknown_name(ks, &r, e);
    *out = r;
    return 0;
}

const struct rule *kernel_rule_find(const struct rule *rules, size_t n,
                                    enum rule_kind kind, const char *op)
{
    const struct rule *best = NULL;
    for (size_t i = 0; i < n; i++)
        if (rules[i].kind == kind && op_matches(op, rules[i].op) &&
            (!best || strlen(rules[i].op) >= strlen(best->op)))
            best = &rules[i];
    return best;
}
