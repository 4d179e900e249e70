/* SPDX-License-Identifier: Apache-2.0 */
/*
 * select.c - one kernel for each row of a job's calls, with a reason.
 *
 * The order of candidates is total, so it does not matter in which order
 * plugins were loaded, and every rank that selects gets the same table.
 */
#include "kernel/kernel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/str.h"
#include "kernel/op.h"
#include "kernel/rule.h"
#include "kernel/since.h"
#include "kernel/table.h"
#include "kernel/tune.h"

/* A kernel that is measured has to be faster by so much than who stands before it. */
#define TUNE_MARGIN 0.97

struct candidate {
    const struct nnd_plugin *plugin;
    const struct nnd_kernel *kernel;
    int preferred, in_tree;
};

/* One selection at work. */
struct selection {
    const struct kernels *ks;
    const struct kernel_policy *policy;
    const struct kernel_want *wants;
    size_t nwants;
    struct arena *arena;
    struct rule *rules;
    struct candidate *candidates; /* of the row at hand */
    size_t ncandidates;
    struct buf refusals; /* "PLUGIN/KERNEL: reason; ..." of the row */
};

static const struct {
    unsigned flag;
    const char *name;
} flag_names[] = {
    {NND_K_DETERMINISTIC, "deterministic"},
    {NND_K_INVARIANT, "invariant"},
    {NND_K_REENTRANT, "reentrant"},
    {NND_K_CAPTURABLE, "capturable"},
};

bool kernel_in_tree(const char *plugin)
{
    static const char *const names[] = {"ref", "blis", "cpu", "cuda"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(plugin, names[i]) == 0)
            return true;
    return false;
}

/* Best first: rule, priority, in-tree, plugin name, kernel name. */
static int by_order(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->preferred != y->preferred)
        return y->preferred - x->preferred;
    if (x->kernel->priority != y->kernel->priority)
        return y->kernel->priority - x->kernel->priority;
    if (x->in_tree != y->in_tree)
        return y->in_tree - x->in_tree;
    int names = strcmp(x->plugin->name, y->plugin->name);
    return names ? names : strcmp(x->kernel->name, y->kernel->name);
}

static struct rule_scope scope_of(const struct selection *s,
                                  const struct kernel_want *row)
{
    return (struct rule_scope){row->op, row->key, s->policy->device};
}

/* The rule of a kind that speaks of the row, or NULL. */
static const struct rule *rule_of(const struct selection *s, enum rule_kind kind,
                                  const struct kernel_want *row)
{
    struct rule_scope scope = scope_of(s, row);
    return kernel_rule_find(s->rules, s->policy->nrules, kind, &scope);
}

static void collect(struct selection *s, const struct kernel_want *row)
{
    const struct rule *prefer = rule_of(s, RULE_PREFER, row);
    s->ncandidates = 0;
    for (size_t i = 0; i < kernels_plugin_count(s->ks); i++) {
        const struct nnd_plugin *p = kernels_plugin(s->ks, i);
        for (uint32_t j = 0; j < p->nkernels; j++) {
            const struct nnd_kernel *k = p->kernels[j];
            if (strcmp(k->op, row->op) != 0 ||
                strcmp(k->device, s->policy->device) != 0)
                continue;
            s->candidates[s->ncandidates++] =
                (struct candidate){p, k, prefer && kernel_rule_names(prefer, p, k),
                                   kernel_in_tree(p->name)};
        }
    }
    qsort(s->candidates, s->ncandidates, sizeof *s->candidates, by_order);
}

static void refuse(struct selection *s, const struct candidate *c, const char *where,
                   const char *why)
{
    buf_printf(&s->refusals, "%s%s/%s: %s%s%s", s->refusals.len ? "; " : "",
               c->plugin->name, c->kernel->name, where ? where : "", where ? ": " : "",
               why);
}

/* A plugin's text: one line, never empty. */
static const char *clean(struct nnd_error *e)
{
    e->text[sizeof e->text - 1] = '\0';
    for (char *p = e->text; *p; p++)
        if ((unsigned char)*p < ' ')
            *p = ' ';
    return e->text[0] ? e->text : "no reason given";
}

static bool has_flags(struct selection *s, const struct candidate *c)
{
    unsigned missing = s->policy->flags & ~c->kernel->flags;
    if (!missing)
        return true;
    struct buf why = {0};
    buf_puts(&why, "is not");
    for (size_t i = 0; i < sizeof flag_names / sizeof flag_names[0]; i++)
        if (missing & flag_names[i].flag)
            buf_printf(&why, " %s", flag_names[i].name);
    refuse(s, c, NULL, why.data);
    buf_free(&why);
    return false;
}

static bool is_allowed(struct selection *s, const struct candidate *c,
                       const struct kernel_want *row, const struct rule *require)
{
    struct rule_scope scope = scope_of(s, row);
    for (size_t i = 0; i < s->policy->nrules; i++) {
        const struct rule *r = &s->rules[i];
        if (r->kind == RULE_EXCLUDE && kernel_rule_covers(r, &scope) &&
            kernel_rule_names(r, c->plugin, c->kernel)) {
            refuse(s, c, "excluded by rule", r->text);
            return false;
        }
    }
    return !require || kernel_rule_names(require, c->plugin, c->kernel);
}

static bool supports_row(struct selection *s, const struct candidate *c,
                         const struct kernel_want *row)
{
    for (size_t i = 0; i < s->nwants; i++) {
        const struct kernel_want *w = &s->wants[i];
        if (strcmp(w->op, row->op) != 0 || strcmp(w->key, row->key) != 0)
            continue;
        struct nnd_error why = {{0}};
        if (!since_newer(c->plugin, w->op, w->params, why.text, sizeof why.text) &&
            c->kernel->supports(c->kernel->self, w->params, &why) == NND_OK)
            continue;
        refuse(s, c, w->where, clean(&why));
        return false;
    }
    return true;
}

static bool suits(struct selection *s, const struct candidate *c,
                  const struct kernel_want *row, const struct rule *require)
{
    const char *known = kernels_quarantined(s->ks, c->kernel);
    if (!is_allowed(s, c, row, require))
        return false;
    if (known) {
        refuse(s, c, NULL, known);
        return false;
    }
    if (!has_flags(s, c))
        return false;
    if (c->kernel->op_version != OP_VERSION) {
        char why[80];
        snprintf(why, sizeof why, "serves version %u of the operator, wanted %d",
                 c->kernel->op_version, OP_VERSION);
        refuse(s, c, NULL, why);
        return false;
    }
    return supports_row(s, c, row);
}

static int nothing_suits(const struct selection *s, const struct kernel_want *row,
                         const struct rule *require, struct err *e)
{
    return err_set(e, ERR_SPEC, "no kernel for %s %s (%s)%s%s: %s", row->op, row->key,
                   row->where, require ? " under rule " : "",
                   require ? require->text : "",
                   s->refusals.len ? s->refusals.data
                   : require ? "it names none that serves this operator on this device"
                             : "no plugin has one for this device");
}

static const char *why_chosen(struct selection *s, const struct candidate *c,
                              const struct kernel_want *row, const struct rule *require)
{
    const char *rule = require ? require->text : NULL;
    if (!rule && c->preferred)
        rule = rule_of(s, RULE_PREFER, row)->text;
    const char *base = rule
                           ? arena_printf(s->arena, "rule %s", rule)
                           : arena_printf(s->arena, "priority %d", c->kernel->priority);
    if (!s->refusals.len)
        return base;
    return arena_printf(s->arena, "%s; %s", base, s->refusals.data);
}

/* Of all calls of the row; negative: not to be measured. */
static double row_seconds(struct selection *s, const struct candidate *c,
                          const struct kernel_want *row)
{
    double sum = 0;
    for (size_t i = 0; i < s->nwants; i++) {
        const struct kernel_want *w = &s->wants[i];
        if (strcmp(w->op, row->op) != 0 || strcmp(w->key, row->key) != 0)
            continue;
        double seconds = tune_seconds(s->policy->tune, c->kernel, w);
        if (seconds < 0)
            return -1;
        sum += seconds;
    }
    return sum;
}

/* The fastest of those that stand with candidate `first` by the user's rules; one has
 * to win clearly over who stands before it.  The plain kernels do not run. */
static const struct candidate *fastest(struct selection *s, size_t first,
                                       const struct kernel_want *row,
                                       const struct rule *require, struct buf *times)
{
    const struct candidate *best = &s->candidates[first];
    double least = row_seconds(s, best, row);
    for (size_t i = first; i < s->ncandidates && least > 0; i++) {
        const struct candidate *c = &s->candidates[i];
        if (c->preferred != best->preferred || kernels_plugin(s->ks, 0) == c->plugin ||
            (i > first && !suits(s, c, row, require)))
            continue;
        double seconds = i > first ? row_seconds(s, c, row) : least;
        if (seconds < 0)
            continue;
        buf_printf(times, "%s%s/%s %.3g ms", times->len ? ", " : "measured ",
                   c->plugin->name, c->kernel->name, seconds * 1e3);
        if (seconds < TUNE_MARGIN * least) {
            best = c;
            least = seconds;
        }
    }
    return best;
}

static void choose(struct selection *s, const struct kernel_want *row,
                   const struct candidate *c, const char *times,
                   const struct rule *require, struct kernel_table *t)
{
    const char *why = why_chosen(s, c, row, require);
    const int plugin = kernels_plugin_of(s->ks, c->kernel);
    const char *sum = kernels_plugin_sha256(s->ks, (size_t)plugin);
    char part[TABLE_SUM + 1];
    snprintf(part, sizeof part, "%.*s", TABLE_SUM, sum);
    struct table_row chosen = {row->op, row->key, c->plugin, c->kernel, part, why};
    if (times)
        chosen.why = arena_printf(s->arena, "%s; %s", times, why);
    table_add(t, &chosen);
}

/* Who could have served as well, and who could not. */
static void tell_others(struct selection *s, const struct candidate *chosen,
                        const struct kernel_want *row, const struct rule *require)
{
    for (const struct candidate *c = chosen + 1; c < s->candidates + s->ncandidates;
         c++)
        if (suits(s, c, row, require))
            refuse(s, c, NULL,
                   arena_printf(s->arena, "can as well, priority %d",
                                c->kernel->priority));
}

static int select_row(struct selection *s, const struct kernel_want *row,
                      struct kernel_table *t, struct err *e)
{
    const struct rule *require = rule_of(s, RULE_REQUIRE, row);
    struct buf times = {0};
    buf_clear(&s->refusals);
    collect(s, row);
    for (size_t i = 0; i < s->ncandidates; i++) {
        const struct candidate *c = &s->candidates[i];
        if (!suits(s, c, row, require))
            continue;
        if (s->policy->tune && c->plugin != kernels_plugin(s->ks, 0))
            c = fastest(s, i, row, require, &times);
        if (s->policy->all)
            tell_others(s, c, row, require);
        choose(s, row, c, times.data, require, t);
        buf_free(&times);
        return 0;
    }
    return row->optional && !require ? 0 : nothing_suits(s, row, require, e);
}

static int select_all(struct selection *s, struct kernel_table *t, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; i < s->policy->nrules && rc == 0; i++)
        rc = kernel_rule_parse(s->ks, s->policy->rules[i], &s->rules[i], e);
    for (size_t i = 0; i < s->nwants && rc == 0; i++)
        if (!kernel_table_find(t, s->wants[i].op, s->wants[i].key))
            rc = select_row(s, &s->wants[i], t, e);
    return rc;
}

static size_t count_kernels(const struct kernels *ks)
{
    size_t n = 0;
    for (size_t i = 0; i < kernels_plugin_count(ks); i++)
        n += kernels_plugin(ks, i)->nkernels;
    return n;
}

/* A table without a device behind it knows why there is none. */
static int check_device(const struct kernels *ks, const char *type, struct err *e)
{
    const struct nnd_device_ops *d = kernels_device(ks, type);
    struct nnd_error why = {{0}};
    if (!d)
        return err_set(e, ERR_SPEC, "kernels.device: wanted a loaded device, found %s",
                       type);
    if (d->count() > 0)
        return 0;
    d->health(0, &why);
    return err_set(e, ERR_SPEC, "kernels.device: %s is unavailable (%s)", type,
                   why.text[0] ? why.text : "no device");
}

/* Of the rule's operators one key, which the rule's begins if there is such a one;
 * NULL: the rule has no whole key, or the calls have it, or there are none. */
static const char *other_key(const struct rule *r, const struct kernel_want *wants,
                             size_t nwants)
{
    const char *other = NULL;
    bool begun = false;
    if (!kernel_rule_whole_key(r))
        return NULL;
    for (size_t i = 0; i < nwants; i++) {
        const struct kernel_want *w = &wants[i];
        if (!op_matches(w->op, r->op))
            continue;
        if (strcmp(w->key, r->dtype) == 0)
            return NULL;
        bool begins = str_starts(w->key, r->dtype);
        if (!other || (begins && !begun))
            other = w->key;
        begun |= begins;
    }
    return other;
}

int kernel_rules_check(const struct kernels *ks, const struct kernel_policy *p,
                       const struct kernel_want *wants, size_t nwants, struct err *e)
{
    for (size_t i = 0; i < p->nrules; i++) {
        struct rule r;
        if (kernel_rule_parse(ks, p->rules[i], &r, e) < 0)
            return e->code;
        const char *other = other_key(&r, wants, nwants);
        if (other)
            return err_set(e, ERR_SPEC,
                           "kernel rule %s: wanted the type of the first input, or a "
                           "whole key such as %s, found %s",
                           r.text, other, r.dtype);
    }
    return 0;
}

int kernel_select(const struct kernels *ks, const struct kernel_policy *p,
                  const struct kernel_want *wants, size_t nwants,
                  struct kernel_table **out, struct err *e)
{
    struct selection s = {.ks = ks, .policy = p, .wants = wants, .nwants = nwants};
    if (check_device(ks, p->device, e))
        return e->code;
    s.arena = arena_create();
    s.rules = arena_calloc(s.arena, p->nrules + 1, sizeof *s.rules);
    s.candidates = arena_calloc(s.arena, count_kernels(ks) + 1, sizeof *s.candidates);
    struct kernel_table *t = table_create();
    int rc = select_all(&s, t, e);
    buf_free(&s.refusals);
    arena_destroy(s.arena);
    if (rc < 0) {
        kernel_table_destroy(t);
        return rc;
    }
    *out = t;
    return 0;
}
