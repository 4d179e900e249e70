/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reference.c - writes nnd-job(5) and nnd-conf(5), the reference pages of a job
 * file and of nnd's configuration.
 *
 * Runs at build time.  Names, types and defaults come from the descriptors,
 * ranges and help from the rules, combinations from the table that checks them:
 * the page cannot say what the programs do not do.
 */
#include <config.h>

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "proto/conf.h"
#include "proto/field.h"
#include "proto/rules.h"
#include "proto/spec.h"

static const char job_head[] =
    ".TH NND\\-JOB 5 \"\" \"nnd " PACKAGE_VERSION "\" \"File formats\"\n"
    ".SH NAME\n"
    "nnd\\-job \\- a training job for nnd\n"
    ".SH SYNOPSIS\n"
    ".nf\n"
    "name: demo\n"
    "data:\n"
    "  train: /usr/share/common\\-licenses\n"
    "model:\n"
    "  layers: 4\n"
    "  moe: {experts: 8, top_k: 2}\n"
    "train:\n"
    "  steps: 600\n"
    "  lr: 3e\\-4\n"
    ".fi\n"
    ".SH DESCRIPTION\n"
    "A job file says what\n"
    ".BR nnd (8)\n"
    "is to train.  It is YAML, in UTF\\-8 and at most 1 MiB: sections of keys and\n"
    "values, as listed below.  Only\n"
    ".I data.train\n"
    "must be given; every other key has a default.\n"
    ".PP\n"
    "Each key may be overridden on a command line by its full name:\n"
    ".B \\-S train.lr=3e\\-4\n"
    "replaces the learning rate,\n"
    ".B \\-S 'data.train=[a.txt, b.txt]'\n"
    "a whole list, and\n"
    ".B \\-S data.train+=c.txt\n"
    "adds to one.  The last word wins.\n"
    ".B nnctl submit \\-\\-dry\\-run\n"
    "prints the job as it will run, each value with its origin.\n"
    ".PP\n"
    "Reading is strict, so that a slip does not cost a night: an unknown key, a key\n"
    "given twice, a number in quotes, a value out of range or a combination that\n"
    "cannot work is refused, with its line and column, what was wanted and what was\n"
    "found.  Anchors, aliases, tags and further documents are refused as well.\n"
    ".PP\n"
    "Truth is written\n"
    ".IR true ,\n"
    ".I yes\n"
    "or\n"
    ".I on\n"
    "and\n"
    ".IR false ,\n"
    ".I no\n"
    "or\n"
    ".IR off .\n"
    "A list of one value may be written without brackets.  Relative paths start from\n"
    "the folder of the job file; on a command line, from the current folder.\n";

static const char job_tail[] =
    ".SH FILES\n"
    "The examples installed with nnd are job files with comments:\n"
    ".IR demo.yaml ,\n"
    ".I dense.yaml\n"
    "and\n"
    ".IR gpt2.yaml .\n"
    ".SH SEE ALSO\n"
    ".BR nnctl (1),\n"
    ".BR nnd (8),\n"
    ".BR nnd\\-worker (8)\n";

static const char conf_head[] =
    ".TH NND\\-CONF 5 \"\" \"nnd " PACKAGE_VERSION "\" \"File formats\"\n"
    ".SH NAME\n"
    "nnd\\-conf \\- the configuration of nnd\n"
    ".SH SYNOPSIS\n"
    ".nf\n"
    "dir: /var/lib/nnd\n"
    "grace: 30s\n"
    "access:\n"
    "  listen: tcp://10.0.0.1:5599\n"
    ".fi\n"
    ".SH DESCRIPTION\n"
    "The file that\n"
    ".B nnd \\-\\-config\n"
    "reads is YAML, as strict as a job file: see\n"
    ".BR nnd\\-job (5).\n"
    "Every key is an option of\n"
    ".BR nnd (8)\n"
    "too, with dashes for dots and underscores:\n"
    ".B \\-\\-access\\-listen\n"
    "is\n"
    ".IR access.listen .\n"
    "An option wins over the file.\n"
    ".PP\n"
    "After HUP, or\n"
    ".BR \"nnctl reload\" ,\n"
    ".B nnd\n"
    "reads the file again. When it is wrong, or changes what counts at the start "
    "alone,\n"
    ".B nnd\n"
    "says so and goes on with what it had. Relative paths start from the folder of "
    "the\n"
    "file; on a command line, from the current folder.\n";

static const char conf_tail[] = ".SH SEE ALSO\n"
                                ".BR nnctl (1),\n"
                                ".BR nnd\\-job (5),\n"
                                ".BR nnd (8)\n";

static const struct page {
    const char *name, *head, *whole, *tail;
    const struct schema *schema;
    const char *(*combination)(size_t i);
} pages[] = {
    {"job", job_head, "The job itself", job_tail, &schema_job, spec_combination},
    {"conf", conf_head, "nnd itself", conf_tail, &schema_conf, NULL},
};

/* Text as roff prints it unchanged. */
static void print_roff(const char *text)
{
    if (*text == '.' || *text == '\'')
        fputs("\\&", stdout);
    for (; *text; text++)
        if (*text == '\\')
            fputs("\\e", stdout);
        else if (*text == '-')
            fputs("\\-", stdout);
        else
            putchar(*text);
}

static void print_default(const ProtobufCFieldDescriptor *d)
{
    struct buf text = {0};

    if (d->label == PROTOBUF_C_LABEL_REPEATED || !d->default_value) {
        fputs("none", stdout);
        return;
    }
    if (d->type == PROTOBUF_C_TYPE_STRING)
        buf_puts(&text, d->default_value);
    else
        field_print(d, d->default_value, &text);
    print_roff(text.data);
    buf_free(&text);
}

static void print_field(const struct page *p, const ProtobufCFieldDescriptor *d,
                        const char *path)
{
    const struct rule *r = schema_rule(p->schema, path);
    struct buf wanted = {0};

    rule_wanted(r, d, &wanted);
    fputs(".TP\n.B ", stdout);
    print_roff(path);
    putchar('\n');
    putchar(toupper((unsigned char)r->help[0]));
    print_roff(r->help + 1);
    fputs(".\n.br\n", stdout);
    if (r->items)
        printf("Up to %u values, each: ", r->items);
    else
        fputs("Value: ", stdout);
    print_roff(wanted.data);
    fputs(" (default ", stdout);
    print_default(d);
    fputs(").\n", stdout);
    if (r->flags & RULE_START)
        fputs("Counts when nnd starts.\n", stdout);
    buf_free(&wanted);
}

/* The section's own keys first, then the sections in it, which are few. */
static void print_section(const struct page *p, const ProtobufCMessageDescriptor *type,
                          const char *section)
{
    char path[96];

    printf(".SS %s\n", *section ? section : p->whole);
    for (int pass = 0; pass < 2; pass++)
        for (unsigned i = 0; i < type->n_fields; i++) {
            const ProtobufCFieldDescriptor *d = &type->fields[i];

            snprintf(path, sizeof(path), "%s%s%s", section, *section ? "." : "",
                     d->name);
            if (d->type == PROTOBUF_C_TYPE_MESSAGE && pass == 1)
                print_section(p, d->descriptor, path);
            else if (d->type != PROTOBUF_C_TYPE_MESSAGE && pass == 0)
                print_field(p, d, path);
        }
}

static void print_combinations(const struct page *p)
{
    const char *text;

    if (!p->combination)
        return;
    fputs(".SH COMBINATIONS\nBeside the range of each key, a job must keep to these "
          "rules.\n",
          stdout);
    for (size_t i = 0; (text = p->combination(i)) != NULL; i++) {
        fputs(".IP \\(bu 2\n", stdout);
        print_roff(text);
        putchar('\n');
    }
}

static int print_page(const struct page *p)
{
    fputs(p->head, stdout);
    fputs(".SH KEYS\n", stdout);
    print_section(p, p->schema->type, "");
    print_combinations(p);
    fputs(p->tail, stdout);
    return ferror(stdout) || fflush(stdout) ? 1 : 0;
}

int main(int argc, char **argv)
{
    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++)
        if (argc == 2 && strcmp(argv[1], pages[i].name) == 0)
            return print_page(&pages[i]);
    fputs("usage: reference job|conf\n", stderr);
    return 2;
}
