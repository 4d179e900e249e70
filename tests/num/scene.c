/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scene.c - a trainer and a decoder of the same weights.
 */
#include "tests/num/scene.h"

#include "tests/unit/unit.h"

void scene_must(int rc, const struct err *e)
{
    if (rc < 0)
        fail_msg("%s", e->text);
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0 && fclose(f) == 0);
}

/* Pairs of uneven length, one of them with a source of one word. */
static void write_pairs(const char *path)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    for (int i = 0; i < 40; i++) {
        for (int k = 0; k <= i * i % 9; k++)
            fprintf(f, "%sa%d", k ? " " : "", (i + k * k) % 13);
        for (int k = 0; k <= i % 12; k++)
            fprintf(f, "%sb%d", k ? " " : "\t", (i * k) % 11);
        fprintf(f, "\n");
    }
    assert_int_equal(fclose(f), 0);
}

static void write_text(const char *path)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    for (int i = 0; i < 300; i++)
        fprintf(f, "%d times %c;", i * i % 37, 'a' + i * 7 % 11);
    assert_int_equal(fclose(f), 0);
}

/* The decoder's weights become the trainer's. */
static void copy_model(struct scene *s)
{
    struct exec *from = trainer_exec(s->trainer), *to = decoder_exec(s->decoder);
    const struct graph *a = exec_graph(from), *b = exec_graph(to);
    struct err e;

    for (int i = 0; i < b->nparam; i++)
        for (int k = 0; k < a->nparam; k++) {
            const struct value *v = b->param[i]->value, *w = a->param[k]->value;

            if (strcmp(a->param[k]->name, b->param[i]->name) != 0)
                continue;
            assert_int_equal(value_bytes(v), value_bytes(w));
            scene_must(exec_write(to, v, exec_data(from, w), &e), &e);
        }
    assert_int_equal(a->nparam, b->nparam);
}

void scene_open(struct scene *s, void **state, const char *job,
                const struct decoder_config *shape, int n, char **overrides)
{
    struct trainer_config c;
    struct err e;

    write_text(unit_path(state, "text"));
    write_pairs(unit_path(state, "pairs"));
    write_file(unit_path(state, "job.yaml"), job);
    scene_must(lab_open(&s->lab, unit_path(state, "job.yaml"), n, overrides, &e), &e);
    c = lab_trainer(&s->lab);
    s->vocab = c.vocab;
    scene_must(trainer_create(&c, &s->trainer, &e), &e);
    scene_must(trainer_start(s->trainer, &e), &e);
    scene_must(decoder_create(&(struct decoder_config){.job = c.job,
                                                       .vocab = c.vocab,
                                                       .rows = shape->rows,
                                                       .sources = shape->sources,
                                                       .unit = shape->unit,
                                                       .kernels = c.kernels,
                                                       .self = c.world,
                                                       .threads = 1},
                              &s->decoder, &e),
               &e);
    copy_model(s);
}

void scene_close(struct scene *s)
{
    decoder_destroy(s->decoder);
    trainer_destroy(s->trainer);
    lab_close(&s->lab);
}
