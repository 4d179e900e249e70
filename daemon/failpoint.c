/* SPDX-License-Identifier: Apache-2.0 */
/*
 * failpoint.c - the names, and dying.
 */
#include "daemon/failpoint.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Around everything that cannot be taken back: a commit, an answer, a rename, a fork
 * and an exec.  "child-" and "shepherd-" are those of a first attempt only, since no
 * attempt would get past them. */
static const char *const names[] = {
    "before-commit",         "after-commit",
    "before-answer",         "after-answer",
    "before-rename",         "after-rename",
    "before-fork",           "after-fork",
    "child-before-exec",     "shepherd-after-exec",
    "shepherd-before-fork",  "shepherd-after-fork",
    "shepherd-before-exec",  "shepherd-before-rename",
    "shepherd-after-rename",
};

static const char *text;
static size_t length;
static int left;

bool failpoint_set(const char *value)
{
    const char *colon = value ? strchr(value, ':') : NULL;

    text = NULL;
    if (!value)
        return true;
    length = colon ? (size_t)(colon - value) : 0;
    left = colon ? atoi(colon + 1) : 0;
    for (size_t i = 0; i < sizeof names / sizeof *names && left > 0; i++)
        if (strlen(names[i]) == length && strncmp(names[i], value, length) == 0)
            text = value;
    return text != NULL;
}

const char *failpoint_of_shepherd(void)
{
    return text && strncmp(text, "shepherd-", 9) == 0 ? text : NULL;
}

void failpoint(const char *name)
{
    static const char said[] = "failpoint ";

    if (!text || strncmp(text, name, length) != 0 || name[length] != '\0' ||
        --left != 0)
        return;
    if (write(STDERR_FILENO, said, sizeof said - 1) < 0 ||
        write(STDERR_FILENO, name, strlen(name)) < 0 ||
        write(STDERR_FILENO, "\n", 1) < 0)
        _exit(1);
    kill(getpid(), SIGKILL);
}

void failpoint_list(void)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        puts(names[i]);
}
