/* SPDX-License-Identifier: Apache-2.0 */
/*
 * feed.c - drives a target without libFuzzer: the files named, or those of folders
 * named, each whole, cut short at some places, and with some bytes changed.
 */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fs.h"

enum { CUTS = 16, CHANGES = 16 };

/* From a block of its own size, so that a sanitizer sees what is read behind it. */
static void feed(const char *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);

    FUZZ_HOLDS(copy);
    if (size)
        memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static void feed_file(const char *path)
{
    struct buf text = {0};
    struct err e;

    if (fs_read(path, 0, &text, &e) < 0) {
        fprintf(stderr, "%s\n", e.text);
        exit(1);
    }
    feed(text.data, text.len);
    for (size_t i = 0; i < CUTS && text.len; i++)
        feed(text.data, text.len * i / CUTS);
    for (size_t i = 0; i < CHANGES && text.len; i++) {
        char *byte = &text.data[text.len * i / CHANGES];

        *byte ^= (char)(1 << i % 8);
        feed(text.data, text.len);
        *byte ^= (char)(1 << i % 8);
    }
    buf_free(&text);
}

static unsigned feed_folder(const char *path)
{
    DIR *d = opendir(path);
    struct dirent *entry;
    char file[4096];
    unsigned n = 0;

    while (d && (entry = readdir(d))) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
        feed_file(file);
        n++;
    }
    if (d)
        closedir(d);
    return n;
}

int main(int argc, char **argv)
{
    unsigned n = 0;

    for (int i = 1; i < argc; i++) {
        struct stat st;

        if (stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode)) {
            n += feed_folder(argv[i]);
        } else {
            feed_file(argv[i]);
            n++;
        }
    }
    if (n == 0)
        fprintf(stderr, "usage: %s FILE|FOLDER...\n", argv[0]);
    return n == 0;
}
