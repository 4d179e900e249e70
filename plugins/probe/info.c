/* SPDX-License-Identifier: Apache-2.0 */
/*
 * info.c - "info": all about one plugin file, and what is known against it.
 */
#include "probe.h"

#include <stdio.h>

#include "trust/quarantine.h"

static json_t *note_json(const struct quarantine_note *n)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:b}", "kernel", n->kernel, "op",
                     n->op, "stage", n->stage, "reason", n->reason, "arch", n->arch,
                     "time", n->time, "suspect", (int)n->suspect);
}

/* What the quarantine says of the file. */
static json_t *notes_of(const struct options *o, const char *sha256)
{
    struct arena *a = arena_create();
    struct quarantine_file f;
    json_t *list = json_array();
    if (o->quarantine && sha256) {
        quarantine_read(o->quarantine, sha256, a, &f);
        for (size_t i = 0; i < f.nnotes; i++)
            json_array_append_new(list, note_json(&f.notes[i]));
    }
    arena_destroy(a);
    return list;
}

static void print_kernel(const json_t *k)
{
    const json_t *flags = json_object_get(k, "flags");
    printf("kernel     %s: %s version %d on %s, priority %d", probe_text(k, "name"),
           probe_text(k, "op"),
           (int)json_integer_value(json_object_get(k, "op_version")),
           probe_text(k, "device"),
           (int)json_integer_value(json_object_get(k, "priority")));
    for (size_t i = 0; i < json_array_size(flags); i++)
        printf(", %s", json_string_value(json_array_get(flags, i)));
    putchar('\n');
}

static void print_words(const json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        printf("%s%s", i ? ", " : "", json_string_value(json_array_get(list, i)));
}

/* "toy.squash(x; slope) > y, backward toy.squash.bwd" */
static void print_op(const json_t *op)
{
    printf("operator   %s(", probe_text(op, "name"));
    print_words(json_object_get(op, "in"));
    if (json_array_size(json_object_get(op, "attributes"))) {
        printf("; ");
        print_words(json_object_get(op, "attributes"));
    }
    printf(") > ");
    print_words(json_object_get(op, "out"));
    printf("%s%s\n", *probe_text(op, "backward") ? ", backward " : "",
           probe_text(op, "backward"));
}

static void print_text(const json_t *p)
{
    static const char *const keys[] = {"name",  "version", "abi",   "license",
                                       "build", "path",    "sha256"};
    const json_t *kernels = json_object_get(p, "kernels");
    const json_t *devices = json_object_get(p, "devices");
    const json_t *dtypes = json_object_get(p, "dtypes");
    const json_t *ops = json_object_get(p, "operators");
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        printf("%-10s %s\n", keys[i], probe_text(p, keys[i]));
    if (*probe_text(p, "odd"))
        printf("odd        loading it %s\n", probe_text(p, "odd"));
    for (size_t i = 0; i < json_array_size(devices); i++) {
        const char *type = json_string_value(json_array_get(devices, i));
        const char *why = probe_text(json_object_get(p, "unavailable"), type);
        printf("device     %s%s%s%s\n", type, *why ? ": unavailable (" : "", why,
               *why ? ")" : "");
    }
    for (size_t i = 0; i < json_array_size(dtypes); i++)
        printf(
            "dtype      %s, %d bits, blocks of %d\n",
            probe_text(json_array_get(dtypes, i), "name"),
            (int)json_integer_value(json_object_get(json_array_get(dtypes, i), "bits")),
            (int)json_integer_value(
                json_object_get(json_array_get(dtypes, i), "block")));
    for (size_t i = 0; i < json_array_size(ops); i++)
        print_op(json_array_get(ops, i));
    for (size_t i = 0; i < json_array_size(kernels); i++)
        print_kernel(json_array_get(kernels, i));
}

static void print_notes(const json_t *notes)
{
    for (size_t i = 0; i < json_array_size(notes); i++) {
        const json_t *n = json_array_get(notes, i);
        printf("%s %s%s%s: %s (%s)\n",
               json_is_true(json_object_get(n, "suspect")) ? "suspect   "
                                                           : "quarantine",
               probe_text(n, "kernel"), *probe_text(n, "kernel") ? ", " : "",
               probe_text(n, "stage"), probe_text(n, "reason"), probe_text(n, "time"));
    }
}

int probe_info(const struct options *o)
{
    json_t *p = probe_describe(o, o->files[0]);
    bool ok = json_is_true(json_object_get(p, "ok"));
    json_object_set_new(p, "quarantine", notes_of(o, probe_text(p, "sha256")));
    if (o->json) {
        json_object_set_new(p, "v", json_integer(1));
        json_dumpf(p, stdout, JSON_INDENT(2));
        putchar('\n');
    } else {
        if (ok)
            print_text(p);
        else
            fprintf(stderr, "nnd-plugin-probe: %s\n", probe_text(p, "error"));
        print_notes(json_object_get(p, "quarantine"));
    }
    json_decref(p);
    return ok ? 0 : 1;
}
