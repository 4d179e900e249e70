/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scene.h - what tests of decoding begin with: a small job, its trainer at the first
 * step, and a decoder with its weights.
 */
#ifndef TESTS_NUM_SCENE_H
#define TESTS_NUM_SCENE_H

#include "decode/decoder.h"
#include "tests/num/lab.h"

struct scene {
    struct lab lab;
    struct trainer *trainer;
    struct decoder *decoder;
    int64_t vocab;
};

/* In the test's folder are a "text" and "pairs" for the job to read; of `shape` rows,
 * sources and unit count. */
void scene_open(struct scene *s, void **state, const char *job,
                const struct decoder_config *shape, int n, char **overrides);
void scene_close(struct scene *s);

/* Fail the test unless rc says success. */
void scene_must(int rc, const struct err *e);

#endif
