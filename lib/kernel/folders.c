/* SPDX-License-Identifier: Apache-2.0 */
/*
 * folders.c - a build tree is known by its config.status; libtool leaves plugins
 * in plugins/NAME/.libs, and tokenizers in plugins/tokenizers/NAME/.libs.
 */
#include "kernel/folders.h"

#include <glob.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"

/* Programs lie at most this deep in a build tree: plugins/probe/PROGRAM. */
#define DEPTH_MAX 2

/* The folder of the running program; false when it cannot be known. */
static bool own_folder(char *out, size_t size)
{
    ssize_t n = readlink("/proc/self/exe", out, size - 1);
    if (n <= 0)
        return false;
    out[n] = '\0';
    *strrchr(out, '/') = '\0';
    return true;
}

/* The pattern of plugin folders of the build tree around us. */
static bool build_tree(const char *below, char *pattern, size_t size)
{
    char dir[PATH_MAX], mark[PATH_MAX + 32];
    if (!own_folder(dir, sizeof(dir)))
        return false;
    for (int up = 0; up < DEPTH_MAX; up++) {
        char *slash = strrchr(dir, '/');
        if (!slash)
            return false;
        *slash = '\0';
        snprintf(mark, sizeof(mark), "%s/config.status", dir);
        if (fs_exists(mark))
            return (size_t)snprintf(pattern, size, "%s/%s", dir, below) < size;
    }
    return false;
}

static void find(const char *given, const char *below, const char *installed,
                 struct buf *out)
{
    char pattern[PATH_MAX + 32];
    glob_t found = {0};
    buf_puts(out, ""); /* text even when there is none */
    if (given && *given) {
        buf_puts(out, given);
    } else if (!build_tree(below, pattern, sizeof(pattern))) {
        buf_puts(out, fs_exists(installed) ? installed : "");
    } else if (glob(pattern, 0, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc; i++)
            buf_printf(out, "%s%s", i ? ":" : "", found.gl_pathv[i]);
    }
    globfree(&found);
}

void kernel_folders(const char *given, const char *installed, struct buf *out)
{
    find(given, "plugins/*/.libs", installed, out);
}

void tokenizer_plugin_folders(const char *given, const char *installed, struct buf *out)
{
    find(given, "plugins/tokenizers/*/.libs", installed, out);
}
