/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doc.c - what the table of verbs says, as --help, as a part of the manual page
 * and as bash completion.
 */
#include <ctype.h>
#include <string.h>

#include "client/verb.h"

enum { TEXT_COLUMNS = 78 };

/* Print text in lines of a terminal's width. */
static void wrap(const char *text, FILE *out)
{
    size_t column = 0;

    while (*text) {
        size_t n = strcspn(text, " ");

        if (column && column + 1 + n > TEXT_COLUMNS) {
            putc('\n', out);
            column = 0;
        }
        column += (size_t)fprintf(out, "%s%.*s", column ? " " : "", (int)n, text);
        text += n;
        text += strspn(text, " ");
    }
    putc('\n', out);
}

static bool has_options(const struct verb *v)
{
    return v->options[0] || v->options[1];
}

/* --- --help --------------------------------------------------------------- */

void verb_help(const struct verb *v, FILE *out)
{
    fprintf(out, "usage: nnctl %s%s%s%s\n\n", v->name,
            has_options(v) ? " [OPTION]..." : "", *v->args ? " " : "", v->args);
    wrap(v->text, out);
    if (v->alias)
        fprintf(out, "\nAnother name for it is \"%s\".\n", v->alias);
    if (has_options(v))
        fputs("\nOptions:\n", out);
    cli_help(v->options[0], out);
    cli_help(v->options[1], out);
    fputs("\nOf every verb:\n", out);
    cli_help(common_options, out);
}

void verb_help_all(FILE *out)
{
    fputs("usage: nnctl [--uri URI] VERB [OPTION]... [ARGUMENT]...\n"
          "Trains models through nnd, a daemon that shards jobs over processes.\n\n",
          out);
    for (size_t i = 0; i < nverbs; i++)
        fprintf(out, "  %-11s %s\n", verbs[i]->name, verbs[i]->brief);
    fputs("\nOf every verb:\n", out);
    cli_help(common_options, out);
    fputs("\nnnctl VERB --help says what a verb takes; nnctl(1) says all.\n", out);
}

/* --- manual --------------------------------------------------------------- */

/* Text as troff wants it: a hyphen that is a minus, no request by accident. */
static void man_text(const char *text, FILE *out)
{
    if (*text == '.' || *text == '\'')
        fputs("\\&", out);
    for (; *text; text++) {
        if (*text == '-')
            fputs("\\-", out);
        else if (*text == '\\')
            fputs("\\e", out);
        else
            putc(*text, out);
    }
}

static void man_options(const struct opt *table, FILE *out)
{
    for (const struct opt *o = table; o && o->kind; o++) {
        fputs(".TP\n.B ", out);
        if (o->letter)
            fprintf(out, "\\-%c\\fR,\\fB ", o->letter);
        fputs("\\-\\-", out);
        man_text(o->name, out);
        if (o->arg) {
            fputs("\\fR \\fI", out);
            man_text(o->arg, out);
        }
        putc('\n', out);
        man_text(o->help, out);
        fputs(".\n", out);
    }
}

static void man_verb(const struct verb *v, FILE *out)
{
    fprintf(out, ".SS nnctl %s%s", v->name,
            has_options(v) ? " [\\fIOPTION\\fR]..." : "");
    if (*v->args) {
        fputs(" \\fI", out);
        man_text(v->args, out);
        fputs("\\fR", out);
    }
    fprintf(out, "\n%c", toupper((unsigned char)*v->brief));
    man_text(v->brief + 1, out);
    fputs(".\n", out);
    man_text(v->text, out);
    if (v->alias)
        fprintf(out, "\nAnother name for it is\n.BR %s .", v->alias);
    fputs("\n", out);
    man_options(v->options[0], out);
    man_options(v->options[1], out);
}

void verb_print_man(FILE *out)
{
    fputs(".SH VERBS\n", out);
    for (size_t i = 0; i < nverbs; i++)
        man_verb(verbs[i], out);
    fputs(".SH COMMON OPTIONS\n", out);
    man_options(common_options, out);
}

/* --- bash ----------------------------------------------------------------- */

static void bash_options(const struct opt *table, FILE *out)
{
    for (const struct opt *o = table; o && o->kind; o++)
        fprintf(out, " --%s", o->name);
}

static void bash_verb(const struct verb *v, const char *name, FILE *out)
{
    fprintf(out, "    %s) words='", name);
    bash_options(v->options[0], out);
    bash_options(v->options[1], out);
    bash_options(common_options, out);
    fprintf(out, "'; args='%s' ;;\n", v->args);
}

void verb_print_bash(FILE *out)
{
    fputs("# Made by nnctl from its table of verbs; see nnctl(1).\n"
          "_nnctl()\n"
          "{\n"
          "    local word=${COMP_WORDS[COMP_CWORD]} verb='' words='' args='' i\n"
          "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
          "        case ${COMP_WORDS[i]} in\n"
          "        --uri | --color) ((i++)) ;;\n"
          "        -*) ;;\n"
          "        *) verb=${COMP_WORDS[i]}; break ;;\n"
          "        esac\n"
          "    done\n"
          "    case $verb in\n"
          "    '') words='",
          out);
    for (size_t i = 0; i < nverbs; i++)
        fprintf(out, "%s%s", i ? " " : "", verbs[i]->name);
    bash_options(common_options, out);
    fputs("' ;;\n", out);
    for (size_t i = 0; i < nverbs; i++) {
        bash_verb(verbs[i], verbs[i]->name, out);
        if (verbs[i]->alias)
            bash_verb(verbs[i], verbs[i]->alias, out);
    }
    fputs("    esac\n"
          "    case $verb:$word:$args in\n"
          "    :* | *:-*) mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\") "
          ";;\n"
          "    help:*) mapfile -t COMPREPLY < <(compgen -W \"$(nnctl help |\n"
          "        sed -n 's/^  \\([a-z]*\\) .*/\\1/p')\" -- \"$word\") ;;\n"
          "    *:*ID*) mapfile -t COMPREPLY < <(compgen -W \"$(timeout 0.2 nnctl "
          "status \\\n"
          "        --all --count 50 --output id 2>/dev/null)\" -- \"$word\") ;;\n"
          "    *) COMPREPLY=() ;;\n"
          "    esac\n"
          "}\n"
          "complete -o default -F _nnctl nnctl\n",
          out);
}
