/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json-check.c - for tests of --json: complains unless standard input is lines,
 * at least one, that are each an object with "v": 1 and the keys named.
 *
 *   nnctl show 1 --json | json-check id attempts.0.epoch
 *   nnctl show 1 --json | json-check -p state      also prints the value
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Follow "a.0.b" down; NULL when there is no such value. */
static const json_t *find(const json_t *v, const char *path)
{
    char copy[256], *rest = copy, *key;

    snprintf(copy, sizeof copy, "%s", path);
    while (v && (key = strsep(&rest, ".")))
        v = json_is_array(v) ? json_array_get(v, strtoul(key, NULL, 10))
                             : json_object_get(v, key);
    return v;
}

static int check_key(const json_t *object, const char *key, int print)
{
    const json_t *v = find(object, key);

    if (!v) {
        printf("lacks the key %s\n", key);
        return 1;
    }
    if (print && json_is_string(v))
        puts(json_string_value(v));
    else if (print) {
        json_dumpf(v, stdout, JSON_ENCODE_ANY | JSON_COMPACT);
        putchar('\n');
    }
    return 0;
}

static int check_line(const char *line, int argc, char **keys, int print)
{
    json_error_t why;
    json_t *object = json_loads(line, JSON_REJECT_DUPLICATES, &why);
    int bad = 0;

    if (!json_is_object(object)) {
        printf("not an object (%s): %s", object ? "" : why.text, line);
        bad = 1;
    } else if (json_integer_value(json_object_get(object, "v")) != 1) {
        printf("lacks \"v\": 1: %s", line);
        bad = 1;
    }
    for (int i = 0; i < argc && !bad; i++)
        bad = check_key(object, keys[i], print);
    json_decref(object);
    return bad;
}

int main(int argc, char **argv)
{
    int print = argc > 1 && strcmp(argv[1], "-p") == 0;
    int lines = 0, bad = 0;
    char *line = NULL;
    size_t cap = 0;

    for (; getline(&line, &cap, stdin) > 0; lines++)
        bad |= check_line(line, argc - 1 - print, argv + 1 + print, print);
    free(line);
    if (lines == 0)
        puts("nothing was printed");
    return bad || lines == 0;
}
