/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dir.c - files for parsers that want files.
 */
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"

static char dir[256];

static void remove_dir(void)
{
    fs_remove_tree(dir, NULL);
}

const char *fuzz_dir(void)
{
    const char *tmp = getenv("TMPDIR");

    if (*dir)
        return dir;
    snprintf(dir, sizeof dir, "%s/nnd-fuzz-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    FUZZ_HOLDS(mkdtemp(dir));
    atexit(remove_dir);
    return dir;
}

const char *fuzz_file(const char *name, const uint8_t *data, size_t size)
{
    static char path[300];
    int fd;

    snprintf(path, sizeof path, "%s/%s", fuzz_dir(), name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    FUZZ_HOLDS(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    close(fd);
    return path;
}
