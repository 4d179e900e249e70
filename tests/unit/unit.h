/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unit.h - what every unit test includes: cmocka, with the headers it wants
 * before it, and a private folder.  One group of tests per program, since TAP
 * has one plan per stream.
 */
#ifndef TESTS_UNIT_H
#define TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/fs.h"

/* End this test: the machine lacks something, or cannot show it. */
static inline void unit_skip(const char *reason)
{
    print_message("# skip: %s\n", reason);
    skip();
}

/* cmocka fixtures: *state becomes the path of a new empty folder, and the
 * folder with all in it is removed. */
static inline int unit_dir_setup(void **state)
{
    static char path[64];

    strcpy(path, "/tmp/nnd-test-XXXXXX");
    *state = mkdtemp(path);
    return *state ? 0 : -1;
}

/* The path of `name` in that folder, good until the next call but three. */
static inline const char *unit_path(void **state, const char *name)
{
    static char paths[4][128];
    static unsigned next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof paths[0], "%s/%s", (const char *)*state, name);
    return path;
}

static inline int unit_dir_teardown(void **state)
{
    struct err e;

    return fs_remove_tree(*state, &e);
}

#endif
