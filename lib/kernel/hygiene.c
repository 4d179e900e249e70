/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hygiene.c - the process as the kernel and the C library describe it.
 */
#include "kernel/hygiene.h"

#include <dirent.h>
#include <fenv.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

bool hygiene_floats(void)
{
    volatile float tiny = 0x1p-126f;
    if (fegetexcept() != 0) /* the product below might trap */
        return false;
    tiny *= 0.5f;
    return tiny > 0 && fegetround() == FE_TONEAREST;
}

static int count_entries(const char *path)
{
    DIR *dir = opendir(path);
    int n = 0;
    if (!dir)
        return -1;
    for (const struct dirent *d; (d = readdir(dir));)
        n += d->d_name[0] != '.';
    closedir(dir);
    return n;
}

int hygiene_threads(void)
{
    return count_entries("/proc/self/task");
}

void hygiene_take(struct hygiene *h)
{
    const char *locale = setlocale(LC_ALL, NULL);
    memset(h, 0, sizeof *h);
    h->floats_sane = hygiene_floats();
    for (int s = 1; s < HYGIENE_SIGNALS; s++)
        sigaction(s, NULL, &h->handler[s]);
    h->threads = hygiene_threads();
    h->files = count_entries("/proc/self/fd");
    snprintf(h->locale, sizeof h->locale, "%s", locale ? locale : "");
    if (!getcwd(h->cwd, sizeof h->cwd))
        h->cwd[0] = '\0';
}

/* The union of both kinds of handler has one address. */
static bool same_handler(const struct sigaction *a, const struct sigaction *b)
{
    return a->sa_handler == b->sa_handler;
}

static void say(struct buf *out, const char *text)
{
    buf_printf(out, "%s%s", out->len ? "; " : "", text);
}

static void compare_signals(const struct hygiene *before, const struct hygiene *after,
                            struct buf *out)
{
    char text[64];
    for (int s = 1; s < HYGIENE_SIGNALS; s++) {
        const char *name = sigabbrev_np(s);
        if (same_handler(&before->handler[s], &after->handler[s]))
            continue;
        snprintf(text, sizeof text, "installed a handler for SIG%s",
                 name ? name : "RT");
        say(out, text);
    }
}

static void compare_counts(int before, int after, const char *verb, const char *noun,
                           struct buf *out)
{
    char text[64];
    int more = after - before;
    if (before < 0 || more <= 0)
        return;
    snprintf(text, sizeof text, "%s %d %s%s", verb, more, noun, more == 1 ? "" : "s");
    say(out, text);
}

void hygiene_compare(const struct hygiene *before, const struct hygiene *after,
                     struct buf *forbidden, struct buf *odd)
{
    if (before->floats_sane && !after->floats_sane)
        say(forbidden,
            "changed the floating-point environment (built with -ffast-math?)");
    compare_signals(before, after, forbidden);
    compare_counts(before->threads, after->threads, "started", "thread", forbidden);
    compare_counts(before->files, after->files, "left open", "file", odd);
    if (strcmp(before->locale, after->locale) != 0)
        say(odd, "changed the locale");
    if (strcmp(before->cwd, after->cwd) != 0)
        say(odd, "changed the working directory");
}

void hygiene_restore(const struct hygiene *before)
{
    struct sigaction now;
    for (int s = 1; s < HYGIENE_SIGNALS; s++)
        if (sigaction(s, NULL, &now) == 0 && !same_handler(&now, &before->handler[s]))
            sigaction(s, &before->handler[s], NULL);
}
