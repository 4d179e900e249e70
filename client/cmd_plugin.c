/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_plugin.c - kernels from shared objects: nnd-plugin-probe looks at them, so
 * that a bad one ends that program and nothing else.  nnctl itself only makes the
 * files of a new one, and forgets the notes on those that did harm.
 */
#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fs.h"
#include "base/str.h"
#include "client/child.h"
#include "client/cmd.h"
#include "client/template.h"
#include "trust/quarantine.h"

struct options {
    const char *op, *dtype, *mode, *shape, *vs, *timeout;
    struct opt_list kernel;
    bool full;
};

static const struct opt table[] = {
    {OPT_TEXT, 0, "op", "OP", offsetof(struct options, op),
     "check, bench: only the operator OP, or those that begin with \"OP.\""},
    {OPT_TEXT, 0, "dtype", "TYPE", offsetof(struct options, dtype),
     "check, bench, why: only with inputs of this type, such as bf16"},
    {OPT_TEXT, 0, "mode", "MODE", offsetof(struct options, mode),
     "check: only support, correct, grad, perf, hygiene, endure, huge or group"},
    {OPT_FLAG, 0, "full", NULL, offsetof(struct options, full),
     "check: more threads, more repetitions"},
    {OPT_TEXT, 0, "shape", "SHAPE", offsetof(struct options, shape),
     "bench, and check --mode perf: sizes by letter, such as T=1024,N=512"},
    {OPT_TEXT, 0, "vs", "KERNEL", offsetof(struct options, vs),
     "as --shape: the one to compare with, KERNEL or PLUGIN/KERNEL (ref), or none"},
    {OPT_LIST, 0, "kernel", "OP=NAME", offsetof(struct options, kernel),
     "why: a rule, as for nnctl submit; check, bench: only the kernel of this name"},
    {OPT_TEXT, 0, "timeout", "S", offsetof(struct options, timeout),
     "give up on a plugin after S seconds"},
    {0},
};

/* --- what the probe does -------------------------------------------------- */

/* That of the nnd that is asked, or would be; what is loaded here is no matter of one
 * on another machine, and what is known of it is kept where the user's own nnd would.
 */
static int quarantine_dir(struct client *c, char *out, size_t size, struct err *e)
{
    int rc = c->uri[0] ? 0 : client_find_uri(c, e);
    const char *slash = strrchr(c->uri, '/');
    char dir[4096];

    if (rc == 0 && str_starts(c->uri, "tcp://")) {
        rc = chan_default_dir(getenv("XDG_STATE_HOME"), getenv("HOME"), dir, sizeof dir,
                              e);
        if (rc == 0)
            snprintf(out, size, "%s/quarantine", dir);
        return rc;
    }
    if (rc < 0)
        return rc;
    if (!str_starts(c->uri, "ipc:///"))
        return err_set(e, ERR_USAGE,
                       "nnd: must be at ipc:///PATH or tcp://HOST:PORT, got \"%s\"",
                       c->uri);
    snprintf(out, size, "%.*s/quarantine", (int)(slash - c->uri - 6), c->uri + 6);
    return 0;
}

static int ask_probe(struct client *c, const struct options *o, int argc, char **argv,
                     struct err *e)
{
    struct child_args a = {.arena = c->arena};
    char dir[4200];
    int rc = quarantine_dir(c, dir, sizeof dir, e);

    if (rc < 0)
        return rc;
    child_arg(&a, "nnd-plugin-probe");
    child_arg(&a, argv[0]);
    child_option(&a, "--op", o->op);
    child_option(&a, "--dtype", o->dtype);
    child_option(&a, "--mode", o->mode);
    child_option(&a, "--shape", o->shape);
    child_option(&a, "--vs", o->vs);
    child_option(&a, "--timeout", o->timeout);
    child_option(&a, "--quarantine", dir);
    for (size_t i = 0; i < o->kernel.n; i++)
        child_option(&a, "--kernel", o->kernel.items[i]);
    if (o->full)
        child_arg(&a, "--full");
    if (c->opt.json)
        child_arg(&a, "--json");
    child_arg(&a, "--");
    for (int i = 1; i < argc; i++)
        child_arg(&a, argv[i]);
    return child_become(CHILD_PROBE, &a, e);
}

/* --- new ------------------------------------------------------------------ */

/* It becomes a file's name and the plugin's: a word. */
static int check_name(const char *name, struct err *e)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-");

    if (n == strlen(name) && n > 0 && n < 32 && isalpha((unsigned char)name[0]))
        return 0;
    return err_set(e, ERR_USAGE,
                   "new: NAME must be 1 to 31 of a-z, 0-9, _ and -, a letter first, "
                   "got \"%s\"",
                   name);
}

/* What is installed by such a name would take the place of nnd's own. */
static int check_own(const char *name, struct err *e)
{
    static const char *const own[] = {"ref", "cpu", "blis", "cuda"};

    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (strcmp(name, own[i]) == 0)
            return err_set(e, ERR_USAGE,
                           "new: NAME must not be a plugin of nnd's, got "
                           "\"%s\"",
                           name);
    return 0;
}

static int write_file(const char *dir, const char *name, const char *template,
                      const char *file, struct err *e)
{
    static const char mark[] = "@NAME@";
    struct buf text = {0};
    char path[200];
    int rc;

    for (const char *at; (at = strstr(template, mark)); template = at + strlen(mark)) {
        buf_add(&text, template, (size_t)(at - template));
        buf_puts(&text, name);
    }
    buf_puts(&text, template);
    snprintf(path, sizeof path, "%s/%s", dir, file);
    rc = fs_publish(path, text.data, text.len, e);
    buf_free(&text);
    return rc;
}

static int new (struct client *c, const struct options *o, int argc, char **argv,
                struct err *e)
{
    const char *name = argv[1];
    char source[64];
    int rc = check_name(name, e);

    (void)o, (void)argc;
    if (rc == 0)
        rc = check_own(name, e);
    if (rc == 0 && mkdir(name, 0777) < 0)
        rc = err_sys(e, ERR_FAILED, errno, "new: folder %s", name);
    snprintf(source, sizeof source, "%.32s.c", name);
    if (rc == 0)
        rc = write_file(name, name, template_plugin, source, e);
    if (rc == 0)
        rc = write_file(name, name, template_Makefile, "Makefile", e);
    if (rc < 0)
        return rc;
    if (c->opt.json)
        client_print_json(
            json_pack("{s:s, s:[s, s]}", "folder", name, "files", source, "Makefile"));
    else
        printf("%s/%s, %s/Makefile; next: make -C %s check\n", name, source, name,
               name);
    return 0;
}

/* --- clear ---------------------------------------------------------------- */

static int clear(struct client *c, const struct options *o, int argc, char **argv,
                 struct err *e)
{
    char dir[4200];
    int rc = quarantine_dir(c, dir, sizeof dir, e);

    (void)o;
    if (rc == 0)
        rc = quarantine_clear(dir, argc > 1 ? argv[1] : NULL, e);
    if (rc < 0)
        return rc;
    if (c->opt.json)
        client_print_json(json_pack("{s:i}", "cleared", rc));
    else
        printf("%d plugin%s cleared\n", rc, rc == 1 ? "" : "s");
    return 0;
}

/* --- the verb ------------------------------------------------------------- */

typedef int action_f(struct client *c, const struct options *o, int argc, char **argv,
                     struct err *e);

/* Options, as a set. */
enum {
    OP = 1,
    DTYPE = 2,
    MODE = 4,
    FULL = 8,
    SHAPE = 16,
    VS = 32,
    KERNEL = 64,
    TIMEOUT = 128
};

/* What follows "plugin", how many arguments it takes, and which options. */
static const struct action {
    const char *name;
    int min, max; /* max -1: any number */
    const char *args;
    action_f *run;
    unsigned takes;
} actions[] = {
    {"list", 0, -1, "[FILE...]", ask_probe, TIMEOUT},
    {"info", 1, 1, "FILE", ask_probe, TIMEOUT},
    {"check", 1, 1, "FILE", ask_probe, ~0u},
    {"bench", 1, 1, "FILE", ask_probe, OP | DTYPE | SHAPE | VS | KERNEL | TIMEOUT},
    {"why", 1, 2, "OP [SHAPE]", ask_probe, DTYPE | KERNEL | TIMEOUT},
    {"new", 1, 1, "NAME", new, 0},
    {"clear", 0, 1, "[SHA256]", clear, 0},
};

/* An option that would do nothing here was meant for something else. */
static int check_options(const struct action *a, const struct options *o, struct err *e)
{
    const struct {
        bool given;
        unsigned option;
        const char *name;
    } all[] = {{o->op, OP, "op"},
               {o->dtype, DTYPE, "dtype"},
               {o->mode, MODE, "mode"},
               {o->full, FULL, "full"},
               {o->shape, SHAPE, "shape"},
               {o->vs, VS, "vs"},
               {o->kernel.n, KERNEL, "kernel"},
               {o->timeout, TIMEOUT, "timeout"}};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].given && !(a->takes & all[i].option))
            return err_set(e, ERR_USAGE, "%s takes no --%s", a->name, all[i].name);
    return 0;
}

enum { ACTIONS = sizeof actions / sizeof *actions };

static int unknown(const char *word, struct err *e)
{
    const char *names[ACTIONS], *near;

    for (int i = 0; i < ACTIONS; i++)
        names[i] = actions[i].name;
    near = str_nearest(word, names, ACTIONS);
    return err_set(
        e, ERR_USAGE,
        "must be list, info, check, bench, why, new or clear, got \"%s\"%s%s%s", word,
        near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

static int run(struct client *c, void *values, int argc, char **argv, struct err *e)
{
    for (int i = 0; i < ACTIONS; i++) {
        int n = argc - 1;

        if (strcmp(argv[0], actions[i].name) != 0)
            continue;
        if (n < actions[i].min || (actions[i].max >= 0 && n > actions[i].max))
            return err_set(e, ERR_USAGE, "%s needs %s, got %d argument%s", argv[0],
                           actions[i].args, n, n == 1 ? "" : "s");
        if (check_options(&actions[i], values, e) < 0)
            return e->code;
        return actions[i].run(c, values, argc, argv, e);
    }
    return unknown(argv[0], e);
}

const struct verb verb_plugin = {
    .name = "plugin",
    .args = "list [FILE...]|info FILE|check FILE|bench FILE|why OP [SHAPE]|new NAME|"
            "clear [SHA256]",
    .min_args = 1,
    .max_args = -1,
    .brief = "list, check, measure and make plugins",
    .text =
        "\"list\" names the plugins that are found, or those named, and their "
        "kernels; \"info\" tells all about one. \"check\" loads FILE in a process of "
        "its own, and holds each of its kernels against the contract; \"bench\" says "
        "how fast they are. \"why\" tells which kernel would serve a call, and why "
        "not the others. \"new\" makes a folder with a plugin that works. What did "
        "harm is in quarantine, by the SHA-256 of the file; \"clear\" takes it out, "
        "all or those that begin with the digits given. With --uri tcp://... all of "
        "this is about this machine still, and the user's own folder here.",
    .options = {table},
    .size = sizeof(struct options),
    .run = run,
};
