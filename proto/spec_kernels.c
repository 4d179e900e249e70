/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spec_kernels.c - what a job says about kernels: the syntax of its rules.  Which
 * kernels there are is the engine's to know.
 */
#include <ctype.h>
#include <string.h>

#include "base/str.h"
#include "proto/spec_impl.h"

/* Length of the leading part of text made of letters, digits and `more`. */
static size_t span_word(const char *text, const char *more)
{
    size_t n = 0;

    while (isalnum((unsigned char)text[n]) || (text[n] && strchr(more, text[n])))
        n++;
    return n;
}

/* Skip a sign and the word behind it; false when the word is missing. */
static bool skip_part(const char **text, char sign, const char *more)
{
    size_t n;

    if (**text != sign)
        return true;
    n = span_word(*text + 1, more);
    *text += 1 + n;
    return n > 0;
}

/* OP[/DTYPE][@DEVICE]=NAME, ...=NAME? or ...=!NAME. */
static bool is_kernel_rule(const char *text)
{
    size_t op = span_word(text, "_-."), name;
    bool never;

    text += op;
    if (op == 0 || !skip_part(&text, '/', "_-.,>") || !skip_part(&text, '@', "_-.") ||
        *text++ != '=')
        return false;
    never = *text == '!';
    text += never;
    name = span_word(text, "_-.:/");
    if (name == 0)
        return false;
    text += name;
    return *text == '\0' || (!never && strcmp(text, "?") == 0);
}

/* off, first, all, sample:N. */
static bool is_kernel_check(const char *text)
{
    uint64_t n;

    if (strncmp(text, "sample:", 7) == 0)
        return str_to_u64(text + 7, &n) && n > 0;
    return strcmp(text, "off") == 0 || strcmp(text, "first") == 0 ||
           strcmp(text, "all") == 0;
}

int spec_check_kernels(const struct spec *s, const Nnd__Job *j, struct err *e)
{
    struct buf found = {0};
    const char *device = j->kernels->device;

    for (size_t i = 0; i < j->kernels->n_rule; i++)
        if (!is_kernel_rule(j->kernels->rule[i])) {
            field_quote(j->kernels->rule[i], &found);
            spec_refuse(s, e, "kernels.rule", NULL,
                        "wanted OP=NAME, OP=NAME? or OP=!NAME, found %s", found.data);
            buf_free(&found);
            return ERR_SPEC;
        }
    if (!is_kernel_check(j->kernels->check)) {
        field_quote(j->kernels->check, &found);
        spec_refuse(s, e, "kernels.check", NULL,
                    "wanted off, first, sample:N or all, found %s", found.data);
        buf_free(&found);
        return ERR_SPEC;
    }
    if (j->kernels->tune && j->train->mode == NND__TRAIN__MODE__REPRODUCIBLE)
        return spec_refuse(s, e, "kernels.tune", NULL,
                           "wanted train.mode fast: time is not reproducible");
    if (j->kernels->tune && strcmp(device, "cpu") != 0)
        return spec_refuse(s, e, "kernels.tune", NULL,
                           "wanted kernels.device cpu: on others nothing is measured");
    if (device[span_word(device, "_-.")] == '\0')
        return 0;
    field_quote(device, &found);
    spec_refuse(s, e, "kernels.device", NULL,
                "wanted a device such as cpu or cuda, found %s", found.data);
    buf_free(&found);
    return ERR_SPEC;
}
