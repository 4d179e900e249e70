/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim.h - the log that shim.c writes and image.c reads: records, each followed by the
 * path, another path (RENAME) and data (WRITE).
 */
#ifndef TESTS_SYS_SHIM_H
#define TESTS_SYS_SHIM_H

#include <stdint.h>

enum shim_op {
    SHIM_CREATE = 1,
    SHIM_WRITE,
    SHIM_TRUNCATE, /* offset: the new size */
    SHIM_SYNC,     /* of a file or a folder */
    SHIM_RENAME,
    SHIM_UNLINK,
};

struct shim_record {
    uint32_t op, path, other; /* lengths of the paths, with their NUL */
    uint32_t unused;
    uint64_t offset, size;
};

#endif
