/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_spec_rules.c - job.proto and the table of rules say the same fields, in
 * the same order, and every default is legal.
 */
#include <stdio.h>

#include "proto/field.h"
#include "proto/rules.h"
#include "unit.h"

#define FIELDS_MAX 256

struct walk {
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

static int setup(void **state)
{
    static struct walk w;

    walk_fields(&w, &nnd__job__descriptor, "");
    *state = &w;
    return 0;
}

/* A field without a row, a row without a field, and a swap all fail here. */
static void rows_are_the_fields_in_order(void **state)
{
    const struct walk *w = *state;

    for (size_t i = 0; i < w->n && i < nrules; i++)
        assert_string_equal(rules[i].path, w->path[i]);
    assert_int_equal(nrules, w->n);
}

static void rows_are_found_by_path(void **state)
{
    (void)state;
    for (size_t i = 0; i < nrules; i++)
        assert_ptr_equal(rule_find(rules[i].path), &rules[i]);
    assert_null(rule_find("train"));
    assert_null(rule_find("train.lrr"));
    assert_null(rule_find(""));
}

static void kinds_of_rows_fit_their_fields(void **state)
{
    const struct walk *w = *state;

    for (size_t i = 0; i < w->n; i++) {
        const ProtobufCFieldDescriptor *d = w->field[i];
        bool list = d->label == PROTOBUF_C_LABEL_REPEATED;
        bool named = d->type == PROTOBUF_C_TYPE_ENUM || d->type == PROTOBUF_C_TYPE_BOOL;

        assert_int_equal(list, rules[i].items > 0);
        assert_int_equal(!named, rules[i].max > rules[i].min);
        if (rules[i].flags & RULE_PATH)
            assert_int_equal(d->type, PROTOBUF_C_TYPE_STRING);
        assert_true(field_size(d) > 0); /* its type is known */
    }
}

static void integer_ranges_fit_the_type(void **state)
{
    const struct walk *w = *state;

    for (size_t i = 0; i < w->n; i++)
        if (w->field[i]->type == PROTOBUF_C_TYPE_UINT32)
            assert_true(rules[i].max <= UINT32_MAX);
        else if (w->field[i]->type == PROTOBUF_C_TYPE_UINT64)
            assert_true(rules[i].max <= 9007199254740992.0);
}

static void help_is_one_short_line(void **state)
{
    (void)state;
    for (size_t i = 0; i < nrules; i++) {
        size_t len = strlen(rules[i].help);

        assert_in_range(len, 8, 110);
        assert_null(strchr(rules[i].help, '\n'));
        assert_int_not_equal(rules[i].help[len - 1], '.');
    }
}

static void defaults_are_legal(void **state)
{
    struct arena *a = arena_create();
    Nnd__Job job = NND__JOB__INIT;
    struct err e;

    (void)state;
    for (size_t i = 0; i < nrules; i++) {
        ProtobufCMessage *m;
        const ProtobufCFieldDescriptor *d;

        assert_true(field_find(&job.base, rules[i].path, a, &m, &d));
        field_set_default(m, d, a);
        for (size_t k = 0; k < field_count(m, d); k++)
            if (rule_check(&rules[i], d, field_value(m, d, k), &e))
                fail_msg("%s: %s", rules[i].path, e.text);
    }
    arena_destroy(a);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_the_fields_in_order),
        cmocka_unit_test(rows_are_found_by_path),
        cmocka_unit_test(kinds_of_rows_fit_their_fields),
        cmocka_unit_test(integer_ranges_fit_the_type),
        cmocka_unit_test(help_is_one_short_line),
        cmocka_unit_test(defaults_are_legal),
        cmocka_unit_test(names_differ_in_lower_case),
    };

    return cmocka_run_group_tests_name("proto/rules", tests, setup, NULL);
}
