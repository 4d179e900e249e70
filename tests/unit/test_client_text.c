/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_client_text.c - command lines out of tables, text in columns, messages as
 * JSON.
 */
#include "client/cli.h"
#include "client/table.h"
#include "client/wire_json.h"

#include <math.h>

#include "unit.h"

struct values {
    bool flag;
    const char *text;
    struct opt_list list;
    uint64_t count;
    int rank;
    double real, span;
};

static const struct opt table[] = {
    {OPT_FLAG, 'f', "flag", NULL, offsetof(struct values, flag), ""},
    {OPT_TEXT, 't', "text", "TEXT", offsetof(struct values, text), ""},
    {OPT_LIST, 'l', "list", "ITEM", offsetof(struct values, list), ""},
    {OPT_COUNT, 0, "count", "N", offsetof(struct values, count), ""},
    {OPT_RANK, 0, "rank", "R", offsetof(struct values, rank), ""},
    {OPT_REAL, 0, "real", "X", offsetof(struct values, real), ""},
    {OPT_SPAN, 0, "span", "TIME", offsetof(struct values, span), ""},
    {0},
};

static int parse(const char *line, bool leading, struct values *v, struct arena *a,
                 int *first, struct err *e)
{
    const struct opt_group group = {table, v};
    char *copy = arena_strdup(a, line), *word,
         **argv = arena_calloc(a, 20, sizeof *argv);
    int argc = 0;

    while ((word = strsep(&copy, " ")))
        argv[argc++] = word;
    return cli_parse(&group, 1, argc, argv, leading, a, first, e);
}

static void options_fill_their_struct(void **state)
{
    struct arena *a = arena_create();
    struct values v = {.rank = -1};
    struct err e;
    int first;

    (void)state;
    assert_int_equal(parse("verb x -f -t a --list=b -lc y --count 3 --rank 0 "
                           "--real -1.5 --span 1.5h",
                           false, &v, a, &first, &e),
                     0);
    assert_int_equal(first, 14); /* x and y are behind the options */
    assert_true(v.flag && v.count == 3 && v.rank == 0);
    assert_string_equal(v.text, "a");
    assert_int_equal(v.list.n, 2);
    assert_string_equal(v.list.items[0], "b");
    assert_string_equal(v.list.items[1], "c");
    assert_true(v.real == -1.5 && v.span == 5400);
    arena_destroy(a);
}

static void leading_options_stop_at_a_word(void **state)
{
    struct arena *a = arena_create();
    struct values v = {0};
    struct err e;
    int first;

    (void)state;
    assert_int_equal(parse("nnctl -f verb -t x", true, &v, a, &first, &e), 0);
    assert_int_equal(first, 2);
    assert_true(v.flag && !v.text);
    arena_destroy(a);
}

static void wrong_options_are_named(void **state)
{
    static const struct {
        const char *line, *says;
    } rows[] = {
        {"v --flga", "unknown option --flga; did you mean --flag?"},
        {"v --xyzzy", "unknown option --xyzzy"},
        {"v -x", "unknown option -x"},
        {"v --text", "--text needs a value: TEXT"},
        {"v -t", "--text needs a value: TEXT"},
        {"v --flag=1", "--flag takes no value"},
        {"v --count -1", "--count: must be a number, got \"-1\""},
        {"v --rank 99999999999", "--rank: must be a number, got \"99999999999\""},
        {"v --real 1e", "--real: must be a number, got \"1e\""},
        {"v --span 5x", "--span: must be a duration"},
    };
    struct arena *a = arena_create();

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct values v = {0};
        struct err e = {0};
        int first;

        assert_int_equal(parse(rows[i].line, false, &v, a, &first, &e), ERR_USAGE);
        assert_non_null(strstr(e.text, rows[i].says));
    }
    arena_destroy(a);
}

static char *printed(const struct table *t, bool header)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    assert_non_null(out);
    table_print(t, header, out);
    fclose(out);
    return text;
}

static void columns_fit_and_empty_ones_go(void **state)
{
    static const struct column columns[] = {
        {"ID", true}, {"NAME", false}, {"USER", false}, {"INFO", false}};
    struct arena *a = arena_create();
    struct table t;
    char *text;

    (void)state;
    table_init(&t, columns, 4, a);
    for (int i = 0; i < 40; i++) {
        table_row(&t);
        table_cell(&t, 0, "%d", i);
        table_cell(&t, 1, "%s", i == 0 ? "a\033[2Jb" : "\xc3\xbc");
    }
    table_cell(&t, 3, "why");
    text = printed(&t, true);
    assert_true(strncmp(text,
                        "ID  NAME    INFO\n"
                        " 0  a?[2Jb\n"
                        " 1  \xc3\xbc\n",
                        35) == 0);
    assert_non_null(strstr(text, "39  \xc3\xbc       why\n"));
    free(text);
    arena_destroy(a);
}

static void colours_do_not_count_as_width(void **state)
{
    static const struct column columns[] = {{"ST", false}, {"INFO", false}};
    struct arena *a = arena_create();
    struct table t;
    char *text;

    (void)state;
    table_init(&t, columns, 2, a);
    table_row(&t);
    table_cell(&t, 0, "F");
    table_paint(&t, 0, wire_state_paint(WIRE__STATE__FAILED));
    table_cell(&t, 1, "why");
    text = printed(&t, false);
    assert_string_equal(text, "F  why\n");
    free(text);
    t.colored = true;
    text = printed(&t, false);
    assert_string_equal(text, "\033[31mF\033[0m  why\n");
    free(text);
    arena_destroy(a);
}

static void no_rows_no_header(void **state)
{
    static const struct column columns[] = {{"ID", true}};
    struct arena *a = arena_create();
    struct table t;
    char *text;

    (void)state;
    table_init(&t, columns, 1, a);
    text = printed(&t, true);
    assert_string_equal(text, "");
    free(text);
    arena_destroy(a);
}

static void messages_become_json(void **state)
{
    Wire__JobInfo j = WIRE__JOB_INFO__INIT;
    json_t *object;

    (void)state;
    j.has_id = j.has_state = j.has_loss = j.has_submitted_us = j.has_version = 1;
    j.id = 7;
    j.state = WIRE__STATE__RETRY_WAIT;
    j.loss = NAN;
    j.submitted_us = UINT64_C(1795167000123000);
    object = wire_json_job(&j);
    assert_int_equal(json_integer_value(json_object_get(object, "id")), 7);
    assert_string_equal(json_string_value(json_object_get(object, "state")),
                        "retry_wait");
    assert_true(json_is_null(json_object_get(object, "loss")));
    assert_string_equal(json_string_value(json_object_get(object, "submitted")),
                        "2026-11-20T09:30:00.123Z");
    assert_null(json_object_get(object, "val_loss"));
    assert_null(json_object_get(object, "version"));
    json_decref(object);
}

/* The words here and the generated descriptors must not drift apart. */
static void every_number_has_its_word(void **state)
{
    const ProtobufCEnumDescriptor *d = &wire__state__descriptor;

    (void)state;
    for (unsigned i = 0; i < d->n_values; i++) {
        assert_int_equal(strcasecmp(wire_state_name((Wire__State)d->values[i].value),
                                    d->values[i].name),
                         0);
        assert_string_not_equal(wire_state_code((Wire__State)d->values[i].value), "?");
    }
    d = &wire__failure__descriptor;
    for (unsigned i = 0; i < d->n_values; i++)
        assert_int_equal(
            strcasecmp(wire_failure_name((Wire__Failure)d->values[i].value),
                       d->values[i].name),
            0);
    d = &wire__phase__descriptor;
    for (unsigned i = 0; i < d->n_values; i++)
        assert_int_equal(strcasecmp(wire_phase_name((Wire__Phase)d->values[i].value),
                                    d->values[i].name),
                         0);
    assert_string_equal(wire_state_name((Wire__State)99), "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_fill_their_struct),
        cmocka_unit_test(leading_options_stop_at_a_word),
        cmocka_unit_test(wrong_options_are_named),
        cmocka_unit_test(columns_fit_and_empty_ones_go),
        cmocka_unit_test(colours_do_not_count_as_width),
        cmocka_unit_test(no_rows_no_header),
        cmocka_unit_test(messages_become_json),
        cmocka_unit_test(every_number_has_its_word),
    };

    return cmocka_run_group_tests_name("client/text", tests, NULL, NULL);
}
