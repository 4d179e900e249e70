/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_spec.c - good jobs: reading, overriding, origins, computed values, and
 * output that reads back as the same job.
 */
#include "proto/spec.h"

#include <stdio.h>

#include "proto/rules.h"
#include "unit.h"

static struct spec *load(const char *text)
{
    struct spec *s = spec_create();
    struct err e;

    if (spec_load_text(s, "job.yaml", text, strlen(text), &e))
        fail_msg("%s", e.text);
    return s;
}

static void set(struct spec *s, const char *assignment)
{
    struct err e;

    if (spec_set(s, assignment, &e))
        fail_msg("%s", e.text);
}

static const Nnd__Job *resolve(struct spec *s)
{
    struct err e;

    if (spec_resolve(s, &e))
        fail_msg("%s", e.text);
    return spec_job(s);
}

static const char everything[] = "# a comment\n"
                                 "name: \"my job\"\n"
                                 "seed: 0x10\n"
                                 "data:\n"
                                 "  train:\n"
                                 "    - /a\n"
                                 "    - '/b c'\n"
                                 "  valid: /v\n"
                                 "  tokenizer: CHAR\n"
                                 "model: {layers: 2, bias: yes, tie_embeddings: off,\n"
                                 "        position: learned, norm: layer,\n"
                                 "        moe: {experts: 4, top_k: 1,\n"
                                 "              dense_layers: 0}}\n"
                                 "train:\n"
                                 "  lr: 3e-4\n"
                                 "  steps: 50\n"
                                 "parallel:\n"
                                 "retry:\n"
                                 "  delay: .5\n";

static void values_are_read(void **state)
{
    struct spec *s = load(everything);
    const Nnd__Job *j = resolve(s);

    (void)state;
    assert_string_equal(j->name, "my job");
    assert_int_equal(j->seed, 16);
    assert_int_equal(j->data->n_train, 2);
    assert_string_equal(j->data->train[0], "/a");
    assert_string_equal(j->data->train[1], "/b c");
    assert_int_equal(j->data->n_valid, 1);
    assert_string_equal(j->data->valid[0], "/v");
    assert_int_equal(j->data->tokenizer, NND__DATA__TOKENIZER__CHAR);
    assert_int_equal(j->model->layers, 2);
    assert_true(j->model->bias);
    assert_false(j->model->tie_embeddings);
    assert_int_equal(j->model->position, NND__MODEL__POSITION__LEARNED);
    assert_int_equal(j->model->norm, NND__MODEL__NORM__LAYER);
    assert_int_equal(j->model->moe->experts, 4);
    assert_int_equal(j->model->moe->n_dense_layers, 1);
    assert_int_equal(j->model->moe->dense_layers[0], 0);
    assert_true(j->train->lr == 3e-4);
    assert_true(j->retry->delay == 0.5);
    spec_destroy(s);
}

/* Readers of a job never look at has_x: every field is there. */
static void every_field_is_present(void **state)
{
    struct spec *s = load("data: {train: /x}\n");
    const Nnd__Job *j = resolve(s);

    (void)state;
    assert_string_equal(j->name, "job");
    assert_string_equal(j->checkpoint->from, "");
    assert_string_equal(j->kernels->device, "cpu");
    assert_int_equal(j->kernels->n_rule, 0);
    assert_true(j->has_seed && j->seed == 1);
    assert_true(j->model->has_width && j->model->width == 128);
    assert_true(j->model->moe->has_buffer && j->model->moe->buffer == 1.25);
    assert_true(j->train->has_precision);
    assert_int_equal(j->train->precision, NND__TRAIN__PRECISION__BF16);
    assert_true(j->parallel->has_zero && j->parallel->zero == 1);
    assert_true(j->retry->has_max && j->retry->max == 3);
    spec_destroy(s);
}

/* As some editors save it. */
static void a_byte_order_mark_is_skipped(void **state)
{
    struct spec *s = load("\xef\xbb\xbfname: x\ndata: {train: /x}\n");

    (void)state;
    assert_string_equal(resolve(s)->name, "x");
    assert_string_equal(spec_origin(s, "name"), "job.yaml:1");
    spec_destroy(s);
}

static void a_file_is_read(void **state)
{
    const char *dir = *state;
    struct spec *s = spec_create();
    char path[128];
    struct err e;

    snprintf(path, sizeof(path), "%s/job.yaml", dir);
    assert_int_equal(fs_replace(path, everything, strlen(everything), &e), 0);
    assert_int_equal(spec_load_file(s, path, &e), 0);
    assert_string_equal(resolve(s)->name, "my job");
    spec_destroy(s);
}

struct computed {
    const char *text, *path;
    double value;
    const char *origin;
};

static const struct computed computed[] = {
    {"model: {heads: 8}", "model.kv_heads", 8, "computed: as many as heads"},
    {"model: {heads: 8, kv_heads: 2}", "model.kv_heads", 2, "job.yaml:2"},
    {"model: {width: 96}", "model.head_dim", 24, "computed: width / heads"},
    {"model: {width: 90, head_dim: 16}", "model.head_dim", 16, "job.yaml:2"},
    {"model: {width: 128}", "model.ffn", 344, "computed: 8/3 x width, a multiple of 8"},
    {"model: {width: 96}", "model.ffn", 256, "computed: 8/3 x width, a multiple of 8"},
    {"model: {width: 4, heads: 1}", "model.ffn", 16,
     "computed: 8/3 x width, a multiple of 8"},
    {"model: {activation: gelu}", "model.ffn", 512, "computed: 4 x width"},
    {"model: {activation: gelu_tanh}", "model.ffn", 512, "computed: 4 x width"},
    {"model: {activation: relu}", "model.ffn", 512, "computed: 4 x width"},
    {"model: {moe: {experts: 8}}", "model.moe.expert_ffn", 172,
     "computed: ffn / top_k"},
    {"model: {ffn: 1, moe: {experts: 8}}", "model.moe.expert_ffn", 1,
     "computed: ffn / top_k"},
    {"model: {layers: 3}", "model.moe.expert_ffn", 0, "default"},
    {"train: {steps: 50}", "train.warmup", 5, "computed: a tenth of steps"},
    {"train: {steps: 1}", "train.warmup", 0, "computed: a tenth of steps"},
    {"train: {steps: 5000}", "train.warmup", 100, "default"},
    {"train: {steps: 9, schedule: noam}", "train.warmup", 1,
     "computed: a tenth of steps, at least 1"},
    {"train: {steps: 1, schedule: inverse_sqrt}", "train.warmup", 1,
     "computed: a tenth of steps, at least 1"},
    {"train: {steps: 10, schedule: noam}", "train.warmup", 1,
     "computed: a tenth of steps"},
    {"train: {steps: 50, warmup: 40}", "train.warmup", 40, "job.yaml:2"},
    {"train: {lr: 3e-4}", "train.min_lr", 3e-5, "computed: a tenth of lr"},
    {"train: {lr: 0}", "train.min_lr", 0, "computed: a tenth of lr"},
    {"train: {lr: 1e-2}", "train.min_lr", 1e-4, "default"},
    {"train: {steps: 50}", "train.decay_steps", 50, "computed: all steps"},
    {"train: {steps: 50, schedule: wsd}", "train.decay_steps", 10,
     "computed: a fifth of steps"},
    {"train: {steps: 3, schedule: wsd}", "train.decay_steps", 1,
     "computed: a fifth of steps"},
    {"train: {steps: 50, decay_steps: 70}", "train.decay_steps", 70, "job.yaml:2"},
    {"train: {steps: 100, teacher: exponential}", "train.teacher_k", 0.954992586021436,
     "computed: by train.teacher and steps"},
    {"train: {steps: 1000000000, teacher: exponential}", "train.teacher_k",
     0.99999999539483, "computed: by train.teacher and steps"},
    {"x: ", "data.valid_fraction", 0.1, "default"},
};

static double value_of(const struct spec *s, const char *path)
{
    json_t *j = spec_to_json(spec_job(s)), *at = j;
    char copy[96], *part, *rest = copy;
    double value;

    snprintf(copy, sizeof(copy), "%s", path);
    while ((part = strsep(&rest, ".")) != NULL)
        at = json_object_get(at, part);
    assert_true(json_is_number(at));
    value = json_number_value(at);
    json_decref(j);
    return value;
}

static void zeros_are_worked_out(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(computed) / sizeof(computed[0]); i++) {
        const struct computed *c = &computed[i];
        char text[200];
        struct spec *s;

        snprintf(text, sizeof(text), "data: {train: /x}\n%s\n",
                 strcmp(c->text, "x: ") ? c->text : "");
        s = load(text);
        resolve(s);
        if (value_of(s, c->path) != c->value)
            fail_msg("%s: %s is %g", c->text, c->path, value_of(s, c->path));
        assert_string_equal(spec_origin(s, c->path), c->origin);
        spec_destroy(s);
    }
}

static void validation_data_decides_on_validation(void **state)
{
    struct spec *s = load("data: {train: /x, valid: /y}\n");

    (void)state;
    resolve(s);
    assert_true(value_of(s, "data.valid_fraction") == 0);
    assert_string_equal(spec_origin(s, "data.valid_fraction"),
                        "computed: data.valid is given");
    assert_true(value_of(s, "train.valid_every") == 100);
    spec_destroy(s);
    s = load("data: {train: /x, valid_fraction: 0}\n");
    resolve(s);
    assert_true(value_of(s, "train.valid_every") == 0);
    assert_string_equal(spec_origin(s, "train.valid_every"),
                        "computed: no data to validate on");
    spec_destroy(s);
}

static void overrides_win_in_order(void **state)
{
    struct spec *s = load(everything);
    struct err e;
    const Nnd__Job *j;

    (void)state;
    set(s, "train.lr=1e-3");
    set(s, "train.lr=2e-3");
    set(s, "data.train=[/q, \"/r=s\"]");
    set(s, "data.train+=/t,u");
    set(s, "data.valid=/w");
    set(s, "model.moe.dense_layers=[]");
    assert_int_equal(spec_put(s, "name", "a=b", "--name", &e), 0);
    assert_int_equal(spec_add(s, "kernels.rule", "gemm=blis", "--kernel", &e), 0);
    assert_int_equal(spec_add(s, "kernels.rule", "gemm=!ref", "--kernel", &e), 0);
    j = resolve(s);
    assert_true(j->train->lr == 2e-3);
    assert_int_equal(j->data->n_train, 3);
    assert_string_equal(j->data->train[1], "/r=s");
    assert_string_equal(j->data->train[2], "/t,u");
    assert_int_equal(j->data->n_valid, 1);
    assert_string_equal(j->data->valid[0], "/w");
    assert_int_equal(j->model->moe->n_dense_layers, 0);
    assert_string_equal(j->name, "a=b");
    assert_int_equal(j->kernels->n_rule, 2);
    spec_destroy(s);
}

/* A job of experts is made dense by one word, whatever else the file says. */
static void experts_can_be_switched_off(void **state)
{
    struct spec *s = load(everything);

    (void)state;
    set(s, "model.moe.experts=0");
    assert_int_equal(resolve(s)->model->moe->experts, 0);
    spec_destroy(s);
}

static void a_teacher_can_be_switched_off(void **state)
{
    struct spec *s = load("data: {train: /x}\n"
                          "distill: {teacher: /t, alpha: 0.9}\n");

    (void)state;
    set(s, "distill.teacher=");
    assert_string_equal(resolve(s)->distill->teacher, "");
    spec_destroy(s);
}

static void origins_are_kept(void **state)
{
    struct spec *s = load(everything);
    struct err e;

    (void)state;
    set(s, "train.steps=70");
    assert_int_equal(spec_put(s, "name", "x", "--name", &e), 0);
    resolve(s);
    assert_string_equal(spec_origin(s, "seed"), "job.yaml:3");
    assert_string_equal(spec_origin(s, "data.train"), "job.yaml:5");
    assert_string_equal(spec_origin(s, "model.moe.top_k"), "job.yaml:12");
    assert_string_equal(spec_origin(s, "model.moe.dense_layers"), "job.yaml:13");
    assert_string_equal(spec_origin(s, "train.steps"), "-S");
    assert_string_equal(spec_origin(s, "name"), "--name");
    assert_string_equal(spec_origin(s, "model.width"), "default");
    assert_string_equal(spec_origin(s, "model.head_dim"), "computed: width / heads");
    assert_null(spec_origin(s, "model"));
    assert_null(spec_origin(s, "no.such"));
    spec_destroy(s);
}

static void paths_become_absolute(void **state)
{
    struct spec *s = spec_create();
    static const char text[] = "data: {train: [a, ./b, ../c, /d]}\n";
    struct err e;
    const Nnd__Job *j;

    (void)state;
    assert_int_equal(spec_load_text(s, "jobs/x.yaml", text, strlen(text), &e), 0);
    set(s, "data.valid=v");
    spec_anchor(s, "/cwd");
    j = resolve(s);
    assert_string_equal(j->data->train[0], "/cwd/jobs/a");
    assert_string_equal(j->data->train[1], "/cwd/jobs/b");
    assert_string_equal(j->data->train[2], "/cwd/jobs/../c");
    assert_string_equal(j->data->train[3], "/d");
    assert_string_equal(j->data->valid[0], "/cwd/v");
    assert_string_equal(j->checkpoint->from, "");
    spec_destroy(s);
    s = spec_create();
    assert_int_equal(spec_load_text(s, "/jobs/x.yaml", text, strlen(text), &e), 0);
    spec_anchor(s, "/cwd");
    assert_string_equal(resolve(s)->data->train[0], "/jobs/a");
    spec_destroy(s);
}

/* What a command line adds moves nothing that the file names. */
static void paths_of_both_places(void **state)
{
    static const struct {
        const char *file, *first, *second;
    } places[] = {
        {"jobs/x.yaml", "/cwd/jobs/a", "/cwd/jobs/b"},
        {"/jobs/x.yaml", "/jobs/a", "/jobs/b"},
        {"/x.yaml", "/a", "/b"},
        {"x.yaml", "/cwd/a", "/cwd/b"},
    };
    static const char text[] = "data: {train: [a, ./b, /d]}\n";

    (void)state;
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        struct spec *s = spec_create();
        struct err e;
        const Nnd__Job *j;

        assert_int_equal(spec_load_text(s, places[i].file, text, strlen(text), &e), 0);
        set(s, "data.train+=c");
        assert_int_equal(spec_add(s, "data.train", "[]]", "-S", &e), ERR_SPEC);
        set(s, "data.train+=[./q, /r]");
        spec_anchor(s, "/cwd");
        j = resolve(s);
        assert_int_equal(j->data->n_train, 6);
        assert_string_equal(j->data->train[0], places[i].first);
        assert_string_equal(j->data->train[1], places[i].second);
        assert_string_equal(j->data->train[2], "/d");
        assert_string_equal(j->data->train[3], "/cwd/c");
        assert_string_equal(j->data->train[4], "/cwd/q");
        assert_string_equal(j->data->train[5], "/r");
        assert_string_equal(spec_origin(s, "data.train"), "-S");
        spec_destroy(s);
    }
}

static void hash(struct spec *s, char *hex)
{
    struct err e;

    if (spec_hash(s, hex, &e))
        fail_msg("%s", e.text);
}

static void printed_yaml_is_the_same_job(void **state)
{
    static const char *const more[] = {
        "name=[x] # \"y\\z\"",     "data.valid=[]",
        "data.train+=a: b",        "seed=9007199254740991",
        "train.eps=1e-12",         "train.schedule=wsd",
        "queue.warn=0.05ms",       "data.train+=/\xe2\x80\xa8 \xef\xbb\xbf\xef\xbf\xbe",
        "kernels.rule=gemm=blis?", "kernels.rule=attn.bwd/bf16@cpu=foo/fa3"};
    struct spec *s = load(everything), *again;
    struct buf text = {0};
    char first[SHA256_HEX], second[SHA256_HEX];

    (void)state;
    for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++)
        set(s, more[i]);
    resolve(s);
    hash(s, first);
    spec_print_yaml(s, &text);
    again = load(text.data);
    resolve(again);
    hash(again, second);
    assert_string_equal(first, second);
    assert_string_equal(spec_job(again)->name, "[x] # \"y\\z\"");
    buf_free(&text);
    spec_destroy(again);
    spec_destroy(s);
}

/* As checkpoints hold it. */
static void json_is_the_same_job(void **state)
{
    struct spec *s = load(everything), *again;
    char first[SHA256_HEX], second[SHA256_HEX], *text;
    json_t *j;

    (void)state;
    set(s, "queue.warn=0.05ms");
    set(s, "queue.time=1.5h");
    resolve(s);
    hash(s, first);
    j = spec_to_json(spec_job(s));
    text = json_dumps(j, JSON_COMPACT);
    again = load(text);
    resolve(again);
    hash(again, second);
    assert_string_equal(first, second);
    json_decref(j);
    free(text);
    spec_destroy(again);
    spec_destroy(s);
}

/* Names of files are no part of the job, and may be any bytes. */
static void printed_origins_are_comments(void **state)
{
    static const char *const names[][2] = {
        {"\xff\xfe.yaml", "  # \"\\xff\\xfe.yaml\":1\n"},
        {"a\nseed: 7 #.yaml", "  # \"a\\x0aseed: 7 #.yaml\":1\n"},
        {"a\xe2\x80\xa8seed: 7 #.yaml", "  # a\\u2028seed: 7 #.yaml:1\n"},
        {"gr\xc3\xb6\xc3\x9f"
         "e.yaml",
         "  # gr\xc3\xb6\xc3\x9f"
         "e.yaml:1\n"},
    };
    static const char text[] = "data: {train: /x}\n";

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct spec *s = spec_create(), *again;
        struct buf yaml = {0};
        struct err e;

        assert_int_equal(spec_load_text(s, names[i][0], text, strlen(text), &e), 0);
        resolve(s);
        spec_print_yaml(s, &yaml);
        assert_non_null(strstr(yaml.data, names[i][1]));
        again = load(yaml.data);
        assert_int_equal(resolve(again)->seed, 1);
        buf_free(&yaml);
        spec_destroy(again);
        spec_destroy(s);
    }
}

/* One line per field, and the origins stand in one column. */
static void printed_yaml_is_aligned(void **state)
{
    struct spec *s = load(everything);
    struct buf text = {0};
    size_t column = 0, n = 0;
    char *rest, *line;

    (void)state;
    resolve(s);
    spec_print_yaml(s, &text);
    rest = text.data;
    assert_true(strncmp(text.data, "name: \"my job\" ", 15) == 0);
    assert_non_null(strstr(text.data, "\n  lr: 0.0003 "));
    assert_non_null(strstr(text.data, "\n    dense_layers: [0] "));
    while ((line = strsep(&rest, "\n")) != NULL && *line) {
        char *note = strstr(line, "  # ");

        if (!note)
            continue;
        n++;
        if (!column)
            column = (size_t)(note - line);
        assert_int_equal(note - line, column);
    }
    assert_int_equal(n, nrules);
    buf_free(&text);
    spec_destroy(s);
}

static void json_has_every_field(void **state)
{
    struct spec *s = load(everything);
    json_t *j, *train;

    (void)state;
    resolve(s);
    j = spec_to_json(spec_job(s));
    assert_string_equal(json_string_value(json_object_get(j, "name")), "my job");
    assert_int_equal(json_object_size(j), nnd__job__descriptor.n_fields);
    train = json_object_get(j, "train");
    assert_int_equal(json_object_size(train), nnd__train__descriptor.n_fields);
    assert_string_equal(json_string_value(json_object_get(train, "precision")), "bf16");
    assert_int_equal(json_integer_value(json_object_get(train, "steps")), 50);
    assert_true(json_is_true(json_object_get(json_object_get(j, "model"), "bias")));
    assert_int_equal(
        json_array_size(json_object_get(json_object_get(j, "data"), "train")), 2);
    json_decref(j);
    spec_destroy(s);
}

static void hash_tells_jobs_apart(void **state)
{
    struct spec *a = load(everything), *b = load(everything);
    char first[SHA256_HEX], second[SHA256_HEX];

    (void)state;
    set(b, "train.lr=0.0003"); /* the same value, written otherwise */
    resolve(a);
    resolve(b);
    hash(a, first);
    hash(b, second);
    assert_string_equal(first, second);
    set(b, "train.lr=0.00031");
    resolve(b);
    hash(b, second);
    assert_string_not_equal(first, second);
    spec_destroy(a);
    spec_destroy(b);
}

static void resolving_twice_changes_nothing(void **state)
{
    struct spec *s = load(everything);
    char first[SHA256_HEX], second[SHA256_HEX];

    (void)state;
    resolve(s);
    hash(s, first);
    resolve(s);
    hash(s, second);
    assert_string_equal(first, second);
    assert_string_equal(spec_origin(s, "model.head_dim"), "computed: width / heads");
    set(s, "model.heads=8");
    assert_int_equal(resolve(s)->model->head_dim, 16); /* worked out anew */
    spec_destroy(s);
}

static void hints_say_what_is_hardly_meant(void **state)
{
    struct spec *s = load("data: {train: /x}\n");
    struct buf text = {0};

    (void)state;
    resolve(s);
    spec_hints(s, &text);
    assert_int_equal(text.len, 0);
    set(s, "train.loss_scale=4");
    set(s, "train.lr=0.5");
    resolve(s);
    spec_hints(s, &text);
    assert_string_equal(
        text.data, "train.loss_scale: has no effect unless train.precision is fp16\n"
                   "train.lr: more than 0.1 rarely converges with adam or adamw\n");
    buf_free(&text);
    spec_destroy(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_read),
        cmocka_unit_test(every_field_is_present),
        cmocka_unit_test(a_byte_order_mark_is_skipped),
        cmocka_unit_test_setup_teardown(a_file_is_read, unit_dir_setup,
                                        unit_dir_teardown),
        cmocka_unit_test(zeros_are_worked_out),
        cmocka_unit_test(validation_data_decides_on_validation),
        cmocka_unit_test(overrides_win_in_order),
        cmocka_unit_test(experts_can_be_switched_off),
        cmocka_unit_test(a_teacher_can_be_switched_off),
        cmocka_unit_test(origins_are_kept),
        cmocka_unit_test(paths_become_absolute),
        cmocka_unit_test(paths_of_both_places),
        cmocka_unit_test(printed_yaml_is_the_same_job),
        cmocka_unit_test(json_is_the_same_job),
        cmocka_unit_test(printed_origins_are_comments),
        cmocka_unit_test(printed_yaml_is_aligned),
        cmocka_unit_test(json_has_every_field),
        cmocka_unit_test(hash_tells_jobs_apart),
        cmocka_unit_test(resolving_twice_changes_nothing),
        cmocka_unit_test(hints_say_what_is_hardly_meant),
    };

    return cmocka_run_group_tests_name("proto/spec", tests, NULL, NULL);
}
