/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_help.c - verbs about nnctl itself: version, completion, help.
 */
#include "config.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "client/cmd.h"
#include "client/wire_json.h"

/* --- version -------------------------------------------------------------- */

static int version(struct client *c, void *values, int argc, char **argv, struct err *e)
{
    Wire__Hello q = WIRE__HELLO__INIT;
    Wire__HelloReply *r = NULL;
    char program[] = "nnctl " PACKAGE_VERSION;
    int rc;

    (void)values;
    (void)argc;
    (void)argv;
    q.program = program;
    rc = client_call(c, WIRE__TYPE__HELLO, &q, 0, &r, e);
    if (rc < 0 && rc != ERR_UNREACHABLE)
        return rc;
    if (c->opt.json) {
        json_t *object = json_pack("{ss}", "nnctl", PACKAGE_VERSION);

        if (rc == 0)
            json_object_set_new(object, "nnd", wire_json(r));
        client_print_json(object);
    } else {
        puts(program);
        if (rc == 0)
            printf("nnd %s, process %u, %u of %u slots in use, %s\n",
                   r->version ? r->version : "?", r->pid, r->slots_used, r->slots,
                   r->dir ? r->dir : "");
        else
            puts("nnd is not running here");
    }
    chan_free((ProtobufCMessage *)r);
    return 0;
}

const struct verb verb_version = {
    .name = "version",
    .args = "",
    .brief = "print the versions of nnctl and of nnd",
    .text = "It is no error when nnd does not run.",
    .run = version,
};

/* --- completion ----------------------------------------------------------- */

static int completion(struct client *c, void *values, int argc, char **argv,
                      struct err *e)
{
    (void)c;
    (void)values;
    (void)argc;
    if (strcmp(argv[0], "bash") != 0)
        return err_set(e, ERR_USAGE, "shell: must be bash, got \"%s\"", argv[0]);
    verb_print_bash(stdout);
    return 0;
}

const struct verb verb_completion = {
    .name = "completion",
    .args = "bash",
    .min_args = 1,
    .max_args = 1,
    .brief = "print what makes a shell complete nnctl's words",
    .text = "For the current shell: eval \"$(nnctl completion bash)\". When nnd is "
            "installed, bash finds it by itself.",
    .run = completion,
};

/* --- help ----------------------------------------------------------------- */

struct help {
    bool man;
};

static const struct opt help_table[] = {
    {OPT_FLAG, 0, "man", NULL, offsetof(struct help, man),
     "the part of nnctl(1) about verbs, in troff"},
    {0},
};

static int help(struct client *c, void *values, int argc, char **argv, struct err *e)
{
    const struct help *o = values;
    const struct verb *v;
    int rc;

    (void)c;
    if (o->man) {
        verb_print_man(stdout);
        return 0;
    }
    if (argc == 0) {
        verb_help_all(stdout);
        return 0;
    }
    rc = verb_find(argv[0], &v, e);
    if (rc == 0)
        verb_help(v, stdout);
    return rc;
}

const struct verb verb_help_verb = {
    .name = "help",
    .args = "[VERB]",
    .max_args = 1,
    .brief = "say what nnctl or a verb does",
    .text = "The same as nnctl VERB --help.",
    .options = {help_table},
    .size = sizeof(struct help),
    .run = help,
};
