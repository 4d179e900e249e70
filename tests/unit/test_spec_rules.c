/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_spec_rules.c - the .proto files and their tables of rules say the same
 * fields, in the same order, and every default is legal.
 */
#include <stdio.h>

#include "proto/conf.h"
#include "proto/field.h"
#include "proto/rules.h"
#include "proto/spec.h"
#include "unit.h"

#define FIELDS_MAX 256

struct walk {
    const struct schema *schema;
    const ProtobufCFieldDescriptor *field[FIELDS_MAX];
    char path[FIELDS_MAX][96];
    size_t n;
};

static void walk_fields(struct walk *w, const ProtobufCMessageDescriptor *type,
                        const char *section)
{
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *d = &type->fields[i];
        char path[96];

        snprintf(path, sizeof(path), "%s%s", section, d->name);
        if (d->type == PROTOBUF_C_TYPE_MESSAGE) {
            strcat(path, ".");
            walk_fields(w, d->descriptor, path);
            continue;
        }
        assert_true(w->n < FIELDS_MAX);
        w->field[w->n] = d;
        strcpy(w->path[w->n++], path);
    }
}

static struct walk job = {.schema = &schema_job}, conf = {.schema = &schema_conf};

static int setup(void **state)
{
    (void)state;
    walk_fields(&job, job.schema->type, "");
    walk_fields(&conf, conf.schema->type, "");
    return 0;
}

/* A field without a row, a row without a field, and a swap all fail here. */
static void rows_are_the_fields_in_order(void **state)
{
    const struct walk *w = *state;

    for (size_t i = 0; i < w->n && i < w->schema->nrules; i++)
        assert_string_equal(w->schema->rules[i].path, w->path[i]);
    assert_int_equal(w->schema->nrules, w->n);
}

static void rows_are_found_by_path(void **state)
{
    const struct walk *w = *state;

    for (size_t i = 0; i < w->schema->nrules; i++)
        assert_ptr_equal(schema_rule(w->schema, w->schema->rules[i].path),
                         &w->schema->rules[i]);
    assert_null(schema_rule(w->schema, "train"));
    assert_null(schema_rule(w->schema, "access"));
    assert_null(schema_rule(w->schema, "train.lrr"));
    assert_null(schema_rule(w->schema, ""));
}

static void kinds_of_rows_fit_their_fields(void **state)
{
    const struct walk *w = *state;

    for (size_t i = 0; i < w->n; i++) {
        const ProtobufCFieldDescriptor *d = w->field[i];
        bool list = d->label == PROTOBUF_C_LABEL_REPEATED;
        bool named = d->type == PROTOBUF_C_TYPE_ENUM || d->type == PROTOBUF_C_TYPE_BOOL;

        assert_int_equal(list, w->schema->rules[i].items > 0);
        assert_int_equal(!named, w->schema->rules[i].max > w->schema->rules[i].min);
        if (w->schema->rules[i].flags & RULE_PATH)
            assert_int_equal(d->type, PROTOBUF_C_TYPE_STRING);
        assert_true(field_size(d) > 0); /* its type is known */
    }
}

static void integer_ranges_fit_the_type(void **state)
{
    const struct walk *w = *state;

    for (size_t i = 0; i < w->n; i++)
        if (w->field[i]->type == PROTOBUF_C_TYPE_UINT32)
            assert_true(w->schema->rules[i].max <= UINT32_MAX);
        else if (w->field[i]->type == PROTOBUF_C_TYPE_UINT64)
            assert_true(w->schema->rules[i].max <= 9007199254740992.0);
}

static void help_is_one_short_line(void **state)
{
    const struct walk *w = *state;

    for (size_t i = 0; i < w->schema->nrules; i++) {
        size_t len = strlen(w->schema->rules[i].help);

        assert_in_range(len, 8, 110);
        assert_null(strchr(w->schema->rules[i].help, '\n'));
        assert_int_not_equal(w->schema->rules[i].help[len - 1], '.');
    }
}

static void defaults_are_legal(void **state)
{
    const struct walk *w = *state;
    struct spec *s = spec_create_as(w->schema);
    struct arena *a = arena_create();
    struct err e;

    for (size_t i = 0; i < w->schema->nrules; i++) {
        ProtobufCMessage *m;
        const ProtobufCFieldDescriptor *d;

        assert_true(field_find((ProtobufCMessage *)spec_message(s),
                               w->schema->rules[i].path, a, &m, &d));
        field_set_default(m, d, a);
        for (size_t k = 0; k < field_count(m, d); k++)
            if (rule_check(&w->schema->rules[i], d, field_value(m, d, k), &e))
                fail_msg("%s: %s", w->schema->rules[i].path, e.text);
    }
    arena_destroy(a);
    spec_destroy(s);
}

/* Names of enumerations are read without regard to case: they must differ. */
static void names_differ_in_lower_case(void **state)
{
    const struct walk *w = *state;

    for (size_t i = 0; i < w->n; i++) {
        const ProtobufCEnumDescriptor *names = w->field[i]->descriptor;

        if (w->field[i]->type != PROTOBUF_C_TYPE_ENUM)
            continue;
        for (unsigned j = 0; j < names->n_values; j++)
            for (unsigned k = 0; k < j; k++)
                assert_true(strcasecmp(names->values[j].name, names->values[k].name) !=
                            0);
    }
}

#define OF(schema, test)                                                               \
    {                                                                                  \
#schema ": " #test, test, NULL, NULL, &schema                                  \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        OF(job, rows_are_the_fields_in_order),
        OF(job, rows_are_found_by_path),
        OF(job, kinds_of_rows_fit_their_fields),
        OF(job, integer_ranges_fit_the_type),
        OF(job, help_is_one_short_line),
        OF(job, defaults_are_legal),
        OF(job, names_differ_in_lower_case),
        OF(conf, rows_are_the_fields_in_order),
        OF(conf, rows_are_found_by_path),
        OF(conf, kinds_of_rows_fit_their_fields),
        OF(conf, integer_ranges_fit_the_type),
        OF(conf, help_is_one_short_line),
        OF(conf, defaults_are_legal),
        OF(conf, names_differ_in_lower_case),
    };

    return cmocka_run_group_tests_name("proto/rules", tests, setup, NULL);
}
