/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz.h - what the targets of tests/fuzz share.
 *
 * A target is a file fuzz_NAME.c that gives arbitrary bytes to one parser and ends the
 * program when what the parser took does not survive being written and read again.
 * Bad addresses, leaks and undefined behaviour are the sanitizers' to find.  Its head
 * names the parser's sources in a line "parser: ...", whose coverage run.sh prints.
 * libFuzzer drives it there, feed.c in make check.
 */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* One input; always 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What has to hold whatever the input was. */
#define FUZZ_HOLDS(what)                                                               \
    do {                                                                               \
        if (!(what)) {                                                                 \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #what);  \
            abort();                                                                   \
        }                                                                              \
    } while (0)

/* A folder for the target's files, gone when the program ends by itself. */
const char *fuzz_dir(void);

/* Make the file NAME in it, readable by its owner alone; returns its path, which is
 * good until the next call. */
const char *fuzz_file(const char *name, const uint8_t *data, size_t size);

#endif
