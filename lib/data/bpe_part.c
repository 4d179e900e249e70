/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bpe_part.c - types and members.
 */
#include "data/bpe_part.h"

#include <string.h>

bool part_empty(const json_t *j)
{
    return !j || json_is_null(j) || json_is_false(j) ||
           (json_is_string(j) && json_string_length(j) == 0) ||
           (json_is_number(j) && json_number_value(j) == 0);
}

const char *part_type(const json_t *j)
{
    const char *type = json_string_value(json_object_get(j, "type"));

    return type ? type : "";
}

bool part_is(const json_t *j, const char *type)
{
    return strcmp(part_type(j), type) == 0;
}

int part_refuse(const char *name, const json_t *j, struct err *e)
{
    const char *type = part_type(j);

    return err_set(e, ERR_SPEC, "%s%s%s is not supported", name, *type ? " " : "",
                   type);
}

int part_check(const char *name, json_t *object, const struct part_member *list,
               struct err *e)
{
    const char *key;
    json_t *value;

    json_object_foreach(object, key, value)
    {
        const struct part_member *m = list;

        while (m->name && strcmp(m->name, key) != 0)
            m++;
        if (!m->name || (m->empty && !part_empty(value)))
            return err_set(e, ERR_SPEC, "%s%s\"%.64s\" is not supported", name,
                           *name ? ": " : "", key);
    }
    return 0;
}
