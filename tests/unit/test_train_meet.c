/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_train_meet.c - signs of life while rank 0 hashes what all ranks wrote: they go
 * by the bytes of all tensors, so that many small ones take no rank for dead.
 */
#include "train/checkpoint_meet.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tensor/dtype.h"
#include "train/checkpoint_stored.h"
#include "unit.h"

enum { TENSORS = 3 };

/* A file of small tensors of zeros. */
static struct safetensors *tensors_make(void **state)
{
    static const char *const names[TENSORS] = {"a", "b", "c"};
    const char *path = unit_path(state, "model.safetensors");
    struct safetensors_plan *p = safetensors_plan_create(path);
    const int64_t dim[] = {1000};
    struct safetensors *out;
    struct err e;
    int fd = open(path, O_RDWR | O_CREAT, 0600);

    assert_true(fd >= 0);
    for (int i = 0; i < TENSORS; i++)
        assert_int_equal(safetensors_plan_add(p, names[i], NND_F32, 1, dim, &e), 0);
    assert_int_equal(safetensors_plan_seal(p, &e), 0);
    assert_int_equal(safetensors_write_header(p, fd, &e), 0);
    close(fd);
    safetensors_plan_destroy(p);
    assert_int_equal(safetensors_open(path, &out, &e), 0);
    return out;
}

static void make_old(const char *path)
{
    const struct timespec old[2] = {{0}};

    assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
}

static bool is_old(const char *path)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    return st.st_mtim.tv_sec == 0;
}

static void small_tensors_are_work_too(void **state)
{
    struct meet m = {.folder = *state, .serial = 1, .world = 2, .patience = 1};
    struct safetensors *s = tensors_make(state);
    char io[4096], hex[SHA256_HEX], here[128];
    struct err e;

    snprintf(here, sizeof here, "%s", unit_path(state, "here.1.0"));
    assert_int_equal(meet_here(&m, &e), 0);
    make_old(here);
    m.silent = MEET_BYTES - 10000; /* as after others like them */
    for (size_t i = 0; i < TENSORS; i++) {
        const struct safetensors_tensor *t = safetensors_at(s, i);

        assert_true(is_old(here));
        assert_int_equal(stored_hash_tensor(s, t, io, sizeof io, &m, hex, &e), 0);
    }
    assert_false(is_old(here));
    assert_true(m.silent < MEET_BYTES);
    safetensors_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(small_tensors_are_work_too, unit_dir_setup,
                                        unit_dir_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
