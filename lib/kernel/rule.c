/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rule.c - parsing and applying the user's rules.
 */
#include "kernel/rule.h"

#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/str.h"
#include "kernel/op.h"
#include "tensor/dtype.h"

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
        for (uint32_t j = 0; j < p->nops; j++)
            if (op_matches(p->ops[j]->name, op))
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

/* "; did you mean X?", or nothing. */
static int unknown(const struct rule *r, const char *what, const char *found,
                   const char *const *names, size_t n, struct err *e)
{
    const char *near = str_nearest(found, names, n);
    return err_set(e, ERR_SPEC, "kernel rule %s: no %s is named \"%s\"%s%s%s", r->text,
                   what, found, near ? "; did you mean " : "", near ? near : "",
                   near ? "?" : "");
}

/* Add an operator's name and what it begins with: "attn" of "attn.fwd". */
static void add_op(struct arena *a, const char *op, const char **names, size_t *n)
{
    for (const char *dot = op; dot && *n < NAMES_MAX; dot = strchr(dot + 1, '.')) {
        const char *begin =
            dot == op ? op : arena_printf(a, "%.*s", (int)(dot - op), op);
        names[(*n)++] = begin;
    }
}

/* Those of the catalogue, and those from outside. */
static int unknown_op(const struct kernels *ks, const struct rule *r, struct err *e)
{
    struct arena *a = arena_create();
    const char **names = arena_calloc(a, NAMES_MAX, sizeof *names);
    size_t n = 0;
    for (size_t i = 0; i < op_count(); i++)
        add_op(a, op_name(i), names, &n);
    for (size_t i = 0; i < kernels_plugin_count(ks); i++)
        for (uint32_t j = 0; j < kernels_plugin(ks, i)->nops; j++)
            add_op(a, kernels_plugin(ks, i)->ops[j]->name, names, &n);
    int rc = unknown(r, "operator", r->op, names, n, e);
    arena_destroy(a);
    return rc;
}

/* Of a plugin that is there and was refused: say why.  Its file has its name. */
static int refused_name(const struct kernels *ks, const struct rule *r, struct err *e)
{
    char file[sizeof r->name + 8];
    int plugin = (int)strcspn(r->name, "/");
    snprintf(file, sizeof file, "/%.*s.so: ", plugin, r->name);
    for (const char *at = kernels_refused(ks); *at; at += at[0] == '\n') {
        size_t n = strcspn(at, "\n");
        const char *found = strstr(at, file);
        if (found && found < at + n)
            return err_set(e, ERR_SPEC, "kernel rule %s: %.*s was refused: %.*s",
                           r->text, plugin, r->name, (int)n, at);
        at += n;
    }
    return 0;
}

static int unknown_name(const struct kernels *ks, const struct rule *r, struct err *e)
{
    int rc = refused_name(ks, r, e);
    if (rc < 0)
        return rc;
    struct arena *a = arena_create();
    const char **names = arena_calloc(a, NAMES_MAX, sizeof *names);
    bool pair = strchr(r->name, '/') != NULL;
    size_t n = 0;
    for (size_t i = 0; i < kernels_plugin_count(ks); i++) {
        const struct nnd_plugin *p = kernels_plugin(ks, i);
        if (n < NAMES_MAX && !pair)
            names[n++] = p->name;
        for (uint32_t j = 0; j < p->nkernels && n < NAMES_MAX; j++)
            names[n++] = pair ? arena_printf(a, "%s/%s", p->name, p->kernels[j]->name)
                              : p->kernels[j]->name;
    }
    rc = unknown(r, "plugin or kernel", r->name, names, n, e);
    arena_destroy(a);
    return rc;
}

static int check_device(const struct kernels *ks, const struct rule *r, struct err *e)
{
    const char *names[NAMES_MAX] = {"cpu"};
    size_t n = 1;
    if (!r->device[0] || kernels_device(ks, r->device))
        return 0;
    for (size_t i = 0; i < kernels_plugin_count(ks); i++) {
        const struct nnd_plugin *p = kernels_plugin(ks, i);
        for (uint32_t j = 0; j < p->ndevices && n < NAMES_MAX; j++)
            names[n++] = p->devices[j]->type;
    }
    return unknown(r, "device", r->device, names, n, e);
}

/* The length of the first of a key's types. */
static size_t first_type(const char *key)
{
    return strcspn(key, ",>");
}

static int check_dtype(const struct rule *r, struct err *e)
{
    static const char *const own[] = {"f64", "f32", "bf16", "f16", "e4m3", "e5m2",
                                      "i64", "i32", "i8",   "u8",  "bool"};
    const char *names[sizeof own / sizeof own[0] + DTYPE_OUTSIDE_MAX];
    size_t n = sizeof own / sizeof own[0];
    char first[sizeof r->dtype];
    snprintf(first, sizeof first, "%.*s", (int)first_type(r->dtype), r->dtype);
    if (!r->dtype[0] || dtype_parse(first))
        return 0;
    memcpy(names, own, sizeof own);
    for (int i = 0; dtype_outside(NND_DTYPE_EXT + i); i++)
        names[n++] = dtype_outside(NND_DTYPE_EXT + i)->name;
    return unknown(r, "dtype", first, names, n, e);
}

static bool copy(char *to, size_t size, const char *from, size_t len)
{
    if (len >= size)
        return false;
    memcpy(to, from, len);
    to[len] = '\0';
    return true;
}

/* OP, OP/DTYPE, OP@DEVICE, OP/DTYPE@DEVICE. */
static bool parse_scope(const char *text, size_t len, struct rule *r)
{
    const char *end = text + len, *at = memchr(text, '@', len);
    const char *slash = memchr(text, '/', (size_t)((at ? at : end) - text));
    const char *op_end = slash ? slash : at ? at : end;
    if (op_end == text || !copy(r->op, sizeof r->op, text, (size_t)(op_end - text)))
        return false;
    if (slash) {
        size_t n = (size_t)((at ? at : end) - slash - 1);
        if (!n || !copy(r->dtype, sizeof r->dtype, slash + 1, n))
            return false;
    }
    if (at) {
        size_t n = (size_t)(end - at - 1);
        if (!n || !copy(r->device, sizeof r->device, at + 1, n))
            return false;
    }
    return true;
}

/* NAME, NAME?, !NAME. */
static bool parse_choice(const char *text, struct rule *r)
{
    size_t len = strlen(text);
    if (*text == '!') {
        r->kind = RULE_EXCLUDE;
        text++, len--;
    } else if (len && text[len - 1] == '?') {
        r->kind = RULE_PREFER;
        len--;
    }
    return len && copy(r->name, sizeof r->name, text, len);
}

/* A key has '=' nowhere, but "bf16,bf16>f32" has a '>'. */
int kernel_rule_parse(const struct kernels *ks, const char *text, struct rule *out,
                      struct err *e)
{
    struct rule r = {.kind = RULE_REQUIRE, .text = text};
    size_t nscope = strcspn(text, "=");
    if (!text[nscope] || !parse_scope(text, nscope, &r) ||
        !parse_choice(text + nscope + 1, &r))
        return err_set(e, ERR_SPEC,
                       "kernel rule \"%s\": wanted OP=NAME, OP=NAME? or OP=!NAME, OP "
                       "like attn, attn.bwd or attn.bwd/bf16@cpu",
                       text);
    if (!op_exists(ks, r.op))
        return unknown_op(ks, &r, e);
    if (!name_exists(ks, &r))
        return unknown_name(ks, &r, e);
    if (check_dtype(&r, e) < 0 || check_device(ks, &r, e) < 0)
        return ERR_SPEC;
    *out = r;
    return 0;
}

/* A dtype is that of the first input, or all of the key. */
static bool dtype_matches(const char *dtype, const char *key)
{
    size_t n = first_type(key);
    return strcmp(dtype, key) == 0 ||
           (strlen(dtype) == n && memcmp(dtype, key, n) == 0);
}

bool kernel_rule_whole_key(const struct rule *r)
{
    return r->dtype[first_type(r->dtype)] != '\0';
}

bool kernel_rule_covers(const struct rule *r, const struct rule_scope *s)
{
    return op_matches(s->op, r->op) &&
           (!r->dtype[0] || dtype_matches(r->dtype, s->key)) &&
           (!r->device[0] || strcmp(r->device, s->device) == 0);
}

static size_t closeness(const struct rule *r)
{
    return 4 * strlen(r->op) + 2 * (r->dtype[0] != '\0') + (r->device[0] != '\0');
}

const struct rule *kernel_rule_find(const struct rule *rules, size_t n,
                                    enum rule_kind kind, const struct rule_scope *s)
{
    const struct rule *best = NULL;
    for (size_t i = 0; i < n; i++)
        if (rules[i].kind == kind && kernel_rule_covers(&rules[i], s) &&
            (!best || closeness(&rules[i]) >= closeness(best)))
            best = &rules[i];
    return best;
}
