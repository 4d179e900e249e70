/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settings.c - from options and a file to the hub's options.
 *
 * The table of getopt is made from that of the configuration, so that a new key
 * is an option at once.
 */
#include "daemon/settings.h"

#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fs.h"
#include "base/str.h"
#include "daemon/failpoint.h"
#include "proto/chan.h"
#include "proto/field.h"

enum { NAME_MAX_LEN = 40, FIRST_KEY = 256 };

enum own {
    OWN_CONFIG,
    OWN_BACKGROUND,
    OWN_CHECK,
    OWN_DEBUG,
    OWN_FAILPOINT,
    OWN_HELP,
    OWN_VERSION
};

/* What is no key of a configuration. */
static const struct {
    const char *name, *value, *help;
} own[] = {
    [OWN_CONFIG] = {"config", "FILE", "read settings from FILE, and again on HUP"},
    [OWN_BACKGROUND] = {"background", NULL,
                        "return once it listens; log to DIR/nnd.log"},
    [OWN_CHECK] = {"check", NULL, "look at the store, mend what can be, and end"},
    [OWN_DEBUG] = {"debug", NULL, "log more"},
    [OWN_FAILPOINT] = {"failpoint", "NAME:N", NULL},
    [OWN_HELP] = {"help", NULL, "print this"},
    [OWN_VERSION] = {"version", NULL, "print the version"},
};

#define NOWN (sizeof own / sizeof *own)

/* --- the command line ------------------------------------------------------ */

/* "access.listen" is --access-listen. */
static void option_name(const char *path, char out[NAME_MAX_LEN])
{
    size_t i;

    for (i = 0; path[i] && i + 1 < NAME_MAX_LEN; i++)
        out[i] = path[i] == '.' || path[i] == '_' ? '-' : path[i];
    out[i] = '\0';
}

static const ProtobufCFieldDescriptor *descriptor(const char *path)
{
    struct spec *s = conf_create();
    const ProtobufCFieldDescriptor *d;
    struct arena *a = arena_create();
    ProtobufCMessage *m;

    field_find((ProtobufCMessage *)spec_message(s), path, a, &m, &d);
    arena_destroy(a);
    spec_destroy(s);
    return d; /* descriptors are constants */
}

static bool takes_value(const char *path)
{
    return descriptor(path)->type != PROTOBUF_C_TYPE_BOOL;
}

static void print_usage(void)
{
    char name[NAME_MAX_LEN + 16];

    puts("usage: nnd [--dir DIR] [OPTION]...\n"
         "Coordinates training jobs; talk to it with nnctl(1).\n");
    for (size_t i = 0; i < NOWN; i++) {
        snprintf(name, sizeof name, "%s%s%s", own[i].name, own[i].value ? " " : "",
                 own[i].value ? own[i].value : "");
        if (own[i].help)
            printf("  --%-22s %s\n", name, own[i].help);
    }
    puts("\nKeys of the configuration; an option wins over the file:");
    for (size_t i = 0; i < schema_conf.nrules; i++) {
        option_name(schema_conf.rules[i].path, name);
        strcat(name, takes_value(schema_conf.rules[i].path) ? " X" : "[=BOOL]");
        printf("  --%-22s %s\n", name, schema_conf.rules[i].help);
    }
    puts("See nnd(8) and nnd-conf(5).");
}

static int give(struct settings *s, const struct rule *r, const char *value,
                const char *name, struct err *e)
{
    if (s->ngiven == SETTINGS_MAX)
        return err_set(e, ERR_USAGE, "--%s: at most %d options", name, SETTINGS_MAX);
    s->given[s->ngiven].rule = r;
    s->given[s->ngiven].value = value;
    s->given[s->ngiven++].option = name;
    return 0;
}

static int take_own(struct settings *s, enum own which, const char *value,
                    struct err *e)
{
    switch (which) {
    case OWN_CONFIG:
        s->file = value;
        return 0;
    case OWN_BACKGROUND:
        s->background = true;
        return 0;
    case OWN_CHECK:
        s->check = true;
        return 0;
    case OWN_DEBUG:
        s->debug = true;
        return 0;
    case OWN_FAILPOINT:
        if (strcmp(value, "list") == 0) {
            failpoint_list();
            exit(fflush(stdout) != 0);
        }
        return failpoint_set(value) ? 0
                                    : err_set(e, ERR_USAGE,
                                              "--failpoint: must be NAME:N, one of "
                                              "--failpoint list, got \"%s\"",
                                              value);
    case OWN_HELP:
        print_usage();
        exit(fflush(stdout) != 0);
    case OWN_VERSION:
        printf("nnd %s\n", PACKAGE_VERSION);
        exit(fflush(stdout) != 0);
    }
    return err_set(e, ERR_USAGE, "see nnd --help");
}

int settings_parse(int argc, char **argv, struct settings *s, struct err *e)
{
    static char names[SETTINGS_MAX][NAME_MAX_LEN];
    static struct option options[SETTINGS_MAX + NOWN + 1];
    size_t nkeys = schema_conf.nrules;
    int c, rc = 0;

    for (size_t i = 0; i < nkeys; i++) {
        option_name(schema_conf.rules[i].path, names[i]);
        options[i] =
            (struct option){names[i],
                            takes_value(schema_conf.rules[i].path) ? required_argument
                                                                   : optional_argument,
                            NULL, FIRST_KEY + (int)i};
    }
    for (size_t i = 0; i < NOWN; i++)
        options[nkeys + i] =
            (struct option){own[i].name, own[i].value ? required_argument : no_argument,
                            NULL, FIRST_KEY + (int)(nkeys + i)};
    while (rc == 0 && (c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        size_t i = (size_t)(c - FIRST_KEY);

        if (c == '?')
            rc = err_set(e, ERR_USAGE, "see nnd --help");
        else if (i < nkeys)
            rc = give(s, &schema_conf.rules[i], optarg ? optarg : "true", names[i], e);
        else
            rc = take_own(s, (enum own)(i - nkeys), optarg, e);
    }
    if (rc == 0 && optind < argc)
        return err_set(e, ERR_USAGE, "unexpected argument \"%s\"; see nnd --help",
                       argv[optind]);
    return rc;
}

/* --- what is left open ------------------------------------------------------ */

/* The program `name` beside this one (a build tree), else where it is installed. */
static void default_program(char out[PATH_MAX], const char *folder, const char *name,
                            const char *installed)
{
    int n = snprintf(out, PATH_MAX, "%s/%s", folder, name);

    if (!*folder || n >= PATH_MAX || access(out, X_OK) < 0)
        fs_installed(NND_SBINDIR, installed, out, PATH_MAX);
}

static void own_folder(char folder[PATH_MAX])
{
    ssize_t n = readlink("/proc/self/exe", folder, PATH_MAX - 1);
    char *slash;

    folder[n > 0 ? n : 0] = '\0';
    slash = strrchr(folder, '/');
    if (slash)
        *slash = '\0';
}

static void set_programs(struct settings *s, const Nnd__Config *c)
{
    const struct {
        char *out;
        const char *given, *beside, *installed;
    } programs[] = {
        {s->worker, c->worker, "../worker/nnd-worker", NND_LIBEXECDIR "/nnd-worker"},
        {s->shepherd, c->shepherd, "nnd-shepherd", NND_LIBEXECDIR "/nnd-shepherd"},
        {s->mpirun, c->mpirun, "", NND_MPIRUN},
        {s->slurm, c->slurm->helper, "nnd-slurm", NND_LIBEXECDIR "/nnd-slurm"},
    };
    char folder[PATH_MAX];

    own_folder(folder);
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++)
        if (*programs[i].given)
            snprintf(programs[i].out, PATH_MAX, "%s", programs[i].given);
        else
            default_program(programs[i].out, *programs[i].beside ? folder : "",
                            programs[i].beside, programs[i].installed);
}

/* Ranks start in other folders: what is relative is meant to be in this one. */
static int anchor_folders(const char *variable, struct err *e)
{
    const char *at = getenv(variable);
    struct buf folders = {0};
    char cwd[PATH_MAX];

    if (!at || !*at)
        return 0;
    if (!getcwd(cwd, sizeof cwd))
        return err_sys(e, ERR_FAILED, errno, "the current folder");
    for (size_t n; *at; at += n + (at[n] == ':')) {
        n = strcspn(at, ":");
        if (n == 0)
            continue; /* the current folder is meant by nobody who says nothing */
        buf_printf(&folders, "%s%s%s%.*s", folders.len ? ":" : "",
                   *at == '/' ? "" : cwd, *at == '/' ? "" : "/", (int)n, at);
    }
    if (folders.len)
        setenv(variable, folders.data, 1);
    buf_free(&folders);
    return 0;
}

static int set_places(struct settings *s, const Nnd__Config *c, struct err *e)
{
    int rc = 0;

    snprintf(s->dir, sizeof s->dir, "%s", c->dir);
    snprintf(s->uri, sizeof s->uri, "%s", c->uri);
    if (!*s->dir)
        rc = chan_default_dir(getenv("XDG_STATE_HOME"), getenv("HOME"), s->dir,
                              sizeof s->dir, e);
    if (rc == 0 && !*s->uri)
        rc = chan_default_uri(s->dir, s->uri, sizeof s->uri, e);
    if (rc == 0)
        rc = anchor_folders("NND_PLUGIN_DIR", e);
    return rc == 0 ? anchor_folders("NND_TOKENIZER_DIR", e) : rc;
}

/* --- loading ---------------------------------------------------------------- */

static int read_all(const struct settings *s, struct spec *spec, struct err *e)
{
    char cwd[PATH_MAX], option[NAME_MAX_LEN + 2];
    int rc = s->file ? spec_load_file(spec, s->file, e) : 0;

    for (size_t i = 0; rc == 0 && i < s->ngiven; i++) {
        snprintf(option, sizeof option, "--%s", s->given[i].option);
        rc = spec_put(spec, s->given[i].rule->path, s->given[i].value, option, e);
    }
    if (rc == 0 && !getcwd(cwd, sizeof cwd))
        rc = err_sys(e, ERR_FAILED, errno, "the current folder");
    if (rc == 0)
        spec_anchor(spec, cwd);
    return rc == 0 ? spec_resolve(spec, e) : rc;
}

static void hand_over(const struct settings *s, struct hub_options *out)
{
    const Nnd__Config *c = conf_of(s->spec);

    *out = (struct hub_options){
        .dir = s->dir,
        .uri = s->uri,
        .worker = s->worker,
        .shepherd = s->shepherd,
        .mpirun = s->mpirun,
        .slurm = s->slurm,
        .conf = c,
    };
}

int settings_load(struct settings *s, struct hub_options *out, struct err *e)
{
    struct spec *spec = conf_create();
    int rc = read_all(s, spec, e);

    if (rc == 0)
        rc = s->spec ? conf_may_change(s->spec, spec, e)
                     : set_places(s, conf_of(spec), e);
    if (rc) {
        spec_destroy(spec);
        e->code = e->code == ERR_SPEC ? ERR_USAGE : e->code;
        return e->code;
    }
    if (!s->spec)
        set_programs(s, conf_of(spec));
    spec_destroy(s->spec);
    s->spec = spec;
    hand_over(s, out);
    return 0;
}

void settings_free(struct settings *s)
{
    spec_destroy(s->spec);
    s->spec = NULL;
}
