/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_kernel_load.c - files are looked at before they are run, and a folder is
 * loaded in spite of those that cannot be.
 */
#include "kernel/elf.h"
#include "kernel/kernel.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fs.h"
#include "trust/quarantine.h"
#include "unit.h"

static char folder[64];
static struct buf plugin; /* the bytes of ref.so */

static int setup(void **state)
{
    struct err e;
    char path[4096];
    const char *build = getenv("NND_BUILDDIR");
    snprintf(path, sizeof path, "%s/plugins/ref/.libs/ref.so", build ? build : ".");
    if (fs_read(path, 0, &plugin, &e) < 0) {
        fprintf(stderr, "%s\n", e.text);
        return -1;
    }
    if (unit_dir_setup(state) != 0)
        return -1;
    strcpy(folder, *state);
    return 0;
}

static int teardown(void **state)
{
    buf_free(&plugin);
    return unit_dir_teardown(state);
}

static const char *write_file(const char *name, const void *data, size_t size,
                              mode_t mode)
{
    static char path[200];
    struct err e;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (fs_replace(path, data, size, &e) < 0)
        fail_msg("%s", e.text);
    chmod(path, mode);
    return path;
}

static void expect(const char *path, const char *part)
{
    struct err e = {0};
    assert_true(elf_check(path, &e) < 0);
    if (!strstr(e.text, part) || !strstr(e.text, path))
        fail_msg("said \"%s\", wanted \"%s\"", e.text, part);
}

static void a_whole_file_passes(void **state)
{
    struct err e = {0};
    (void)state;
    if (elf_check(write_file("whole.so", plugin.data, plugin.len, 0644), &e) < 0)
        fail_msg("%s", e.text);
}

/* Wherever it was cut: at 200 places, from the last byte down to none. */
static void a_truncated_file_is_seen(void **state)
{
    const char *path = write_file("cut.so", plugin.data, plugin.len, 0644);
    size_t step = plugin.len / 200;
    (void)state;
    for (size_t len = plugin.len - 1;; len -= len < step ? len : step) {
        assert_int_equal(truncate(path, (off_t)len), 0);
        expect(path, len < 64 ? "too short" : "truncated");
        if (len == 0)
            break;
    }
}

static void another_machine_is_seen(void **state)
{
    (void)state;
    char *bytes = malloc(plugin.len);
    memcpy(bytes, plugin.data, plugin.len);
    bytes[18] = 0x2b; /* e_machine: SPARC */
    expect(write_file("sparc.so", bytes, plugin.len, 0644), "another machine");
    memcpy(bytes, plugin.data, plugin.len);
    bytes[4] = 1; /* EI_CLASS: 32 bits */
    expect(write_file("narrow.so", bytes, plugin.len, 0644), "another machine");
    memcpy(bytes, plugin.data, plugin.len);
    bytes[16] = 2; /* e_type: ET_EXEC */
    expect(write_file("program.so", bytes, plugin.len, 0644), "wanted a shared object");
    memcpy(bytes, plugin.data, plugin.len);
    bytes[0] = 'x';
    expect(write_file("other.so", bytes, plugin.len, 0644), "not an ELF file");
    free(bytes);
}

static void wild_headers_are_seen(void **state)
{
    (void)state;
    char *bytes = malloc(plugin.len);
    for (int at = 32; at < 64; at++) { /* offsets, sizes and counts */
        struct err e = {0};
        memcpy(bytes, plugin.data, plugin.len);
        bytes[at] = (char)0xff;
        elf_check(write_file("wild.so", bytes, plugin.len, 0644), &e);
    }
    memcpy(bytes, plugin.data, plugin.len);
    memset(bytes + 32, 0xff, 8); /* e_phoff */
    expect(write_file("wild.so", bytes, plugin.len, 0644), "truncated");
    free(bytes);
}

static void loose_files_are_refused(void **state)
{
    struct err e = {0};
    (void)state;
    expect(write_file("open.so", plugin.data, plugin.len, 0646),
           "writable by everyone");
    expect(folder, "not a regular file");
    assert_int_equal(elf_check("/no/such/file.so", &e), ERR_NOTFOUND);
}

static void a_folder_is_loaded_all_the_same(void **state)
{
    struct pool *pool;
    struct kernels *ks;
    struct err e = {0};
    char dir[100];
    (void)state;
    snprintf(dir, sizeof dir, "%s/dir", folder);
    mkdir(dir, 0755);
    write_file("dir/b.so", plugin.data, 5000, 0644);
    write_file("dir/a.so", "no plugin at all", 16, 0644);
    write_file("dir/c.so", plugin.data, plugin.len, 0644);
    write_file("dir/notes.txt", "x", 1, 0644);
    assert_int_equal(pool_create(1, NULL, NULL, &pool, &e), 0);
    assert_int_equal(kernels_create(pool, &ks, &e), 0);
    assert_int_equal(kernels_load_dir(ks, dir, &e), 0);
    /* ref is compiled in: its file adds nothing. */
    assert_int_equal(kernels_plugin_count(ks), 1);
    const char *a = strstr(kernels_refused(ks), "/a.so: 16 bytes, too short");
    const char *b = strstr(kernels_refused(ks), "/b.so: truncated");
    assert_true(a && b && a < b);
    assert_null(strstr(kernels_refused(ks), "c.so"));
    assert_null(strstr(kernels_refused(ks), "notes"));
    assert_int_equal(kernels_load_dir(ks, "/no/such/folder", &e), ERR_NOTFOUND);
    kernels_destroy(ks);
    pool_destroy(pool);
}

static void plugins_are_told_the_threads(void **state)
{
    struct pool *pool;
    struct kernels *ks;
    struct err e = {0};
    const struct nnd_host *host;
    (void)state;
    assert_int_equal(pool_create(3, NULL, NULL, &pool, &e), 0);
    assert_int_equal(kernels_create(pool, &ks, &e), 0);
    host = kernels_host(ks);
    assert_string_equal(host->config(host->h, "threads"), "3");
    assert_null(host->config(host->h, "weather"));
    kernels_destroy(ks);
    pool_destroy(pool);
}

static void unload(struct pool *pool, struct kernels *ks)
{
    kernels_destroy(ks);
    pool_destroy(pool);
}

static void half_to_f32(const void *src, float *dst, size_t n)
{
    memset(dst, 0, n * sizeof *dst);
    (void)src;
}

static void half_from_f32(const float *src, void *dst, size_t n)
{
    memset(dst, 0, n * 2);
    (void)src;
}

/* What one plugin registers another one finds. */
static void types_are_found_by_name(void **state)
{
    static const struct nnd_dtype_def half = {.struct_size = sizeof half,
                                              .name = "test.half",
                                              .bits = 16,
                                              .block = 1,
                                              .to_f32 = half_to_f32,
                                              .from_f32 = half_from_f32};
    struct pool *pool;
    struct kernels *ks;
    struct err e = {0};
    int32_t id = 0;
    (void)state;
    assert_int_equal(pool_create(1, NULL, NULL, &pool, &e), 0);
    assert_int_equal(kernels_create(pool, &ks, &e), 0);
    const struct nnd_host *host = kernels_host(ks);
    const struct nnd_dtype_ext *types = host->extension(host->h, "nnd.dtype.1");
    assert_non_null(types);
    assert_true(NND_HAS(nnd_dtype_ext, types, def));
    assert_int_equal(types->find("test.half"), 0);
    assert_int_equal(host->register_dtype(host->h, &half, &id), NND_OK);
    assert_int_equal(types->find("test.half"), id);
    assert_ptr_equal(types->def(id), &half);
    assert_int_equal(types->find("bf16"), NND_BF16);
    assert_null(types->def(NND_BF16));
    assert_null(host->extension(host->h, "nnd.dtype.2"));
    assert_null(host->extension(host->h, NULL));
    unload(pool, ks);
}

/* A process that loads plugins/cpu and heeds the notes in `folder`. */
static int load_cpu(struct pool **pool, struct kernels **ks, struct err *e)
{
    char path[4096];
    const char *build = getenv("NND_BUILDDIR");
    snprintf(path, sizeof path, "%s/plugins/cpu/.libs/cpu.so", build ? build : ".");
    assert_int_equal(pool_create(1, NULL, NULL, pool, e), 0);
    assert_int_equal(kernels_create(*pool, ks, e), 0);
    kernels_quarantine(*ks, folder, false);
    return kernels_load(*ks, path, e);
}

/* What one process saw of a kernel, the next one heeds. */
static void a_condemned_kernel_is_left_out(void **state)
{
    struct pool *pool;
    struct kernels *ks;
    struct err e = {0};
    (void)state;
    if (load_cpu(&pool, &ks, &e) < 0)
        fail_msg("%s", e.text);
    const struct nnd_kernel *k = kernels_plugin(ks, 1)->kernels[0];
    assert_int_equal(kernels_plugin_of(ks, k), 1);
    assert_int_equal(strlen(kernels_plugin_sha256(ks, 1)), 64);
    assert_string_equal(kernels_plugin_sha256(ks, 0), "");
    assert_null(kernels_quarantined(ks, k));
    assert_int_equal(kernels_condemn(ks, k, "first call", "y is wrong", &e), 0);
    assert_non_null(strstr(kernels_quarantined(ks, k), "(first call: y is wrong; "));
    assert_null(kernels_quarantined(ks, kernels_plugin(ks, 1)->kernels[1]));
    const char *name = strdup(k->name);
    unload(pool, ks);
    assert_int_equal(load_cpu(&pool, &ks, &e), 0);
    assert_string_equal(kernels_plugin(ks, 1)->kernels[0]->name, name);
    assert_non_null(kernels_quarantined(ks, kernels_plugin(ks, 1)->kernels[0]));
    /* What is compiled in is the last resort and is never condemned. */
    k = kernels_ref(ks, "gemm");
    assert_int_equal(kernels_condemn(ks, k, "first call", "d is wrong", &e), 0);
    assert_null(kernels_quarantined(ks, k));
    free((char *)name);
    unload(pool, ks);
}

static void a_condemned_file_is_not_opened(void **state)
{
    struct pool *pool;
    struct kernels *ks;
    struct err e = {0};
    struct quarantine_file f = {0};
    struct quarantine_note n = {.stage = "loading", .reason = "killed by SIGSEGV"};
    (void)state;
    assert_int_equal(load_cpu(&pool, &ks, &e), 0);
    strcpy(f.sha256, kernels_plugin_sha256(ks, 1));
    unload(pool, ks);
    assert_int_equal(quarantine_add(folder, &f, &n, &e), 0);
    assert_int_equal(load_cpu(&pool, &ks, &e), ERR_FAILED);
    if (!strstr(e.text, "cpu.so: in quarantine (loading: killed by SIGSEGV; nnctl "))
        fail_msg("%s", e.text);
    unload(pool, ks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_file_passes),
        cmocka_unit_test(a_truncated_file_is_seen),
        cmocka_unit_test(another_machine_is_seen),
        cmocka_unit_test(wild_headers_are_seen),
        cmocka_unit_test(loose_files_are_refused),
        cmocka_unit_test(a_folder_is_loaded_all_the_same),
        cmocka_unit_test(plugins_are_told_the_threads),
        cmocka_unit_test(types_are_found_by_name),
        cmocka_unit_test(a_condemned_kernel_is_left_out),
        cmocka_unit_test(a_condemned_file_is_not_opened),
    };

    return cmocka_run_group_tests_name("kernel/load", tests, setup, teardown);
}
