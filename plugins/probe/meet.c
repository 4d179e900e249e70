/* SPDX-License-Identifier: Apache-2.0 */
/*
 * meet.c - "meet": what a rank has done before it loads plugins that are new here. They
 * are loaded, and kernels compute some small calls beside ref; what fails leaves a
 * note, what could be loaded a mark.
 *
 * Our own kernels have passed all of the suite when nnd was built.  Kernels of others
 * are begun until the time of all is over: a job waits for it.  The mark is left
 * then as well, or a large plugin would have each job wait: first real calls are
 * checked, whatever was done here.
 */
#include <stdio.h>

#include "base/clock.h"
#include "judge.h"
#include "kernel/kernel.h"
#include "probe.h"
#include "trust/quarantine.h"

enum { KERNEL_SECONDS = 30, ALL_SECONDS = 20 };

static bool try_kernels(const struct options *o, const json_t *plugin, int64_t end)
{
    const struct judge_scope scope = {.what = JUDGE_MEET, .threads = 2};
    const json_t *kernels = json_object_get(plugin, "kernels");
    bool all = true;
    for (size_t i = 0; i < json_array_size(kernels) && clock_mono_ns() < end; i++) {
        const json_t *k = json_array_get(kernels, i);
        bool sound;
        json_t *v = probe_judge(plugin, i, &scope, KERNEL_SECONDS, &sound);
        if (!sound)
            probe_condemn_kernel(o, plugin, k, v, "self-check");
        json_decref(v);
        all &= sound;
    }
    return all;
}

int probe_meet(const struct options *o)
{
    int64_t end = clock_mono_ns() + ALL_SECONDS * 1000000000LL;
    int status = 0;
    for (int i = 0; i < o->nfiles; i++) {
        json_t *p = probe_describe(o, o->files[i]);
        bool loaded = json_is_true(json_object_get(p, "ok"));
        struct err e;
        if (!loaded)
            fprintf(stderr, "nnd-plugin-probe: %s\n", probe_text(p, "error"));
        if (!loaded ||
            (!kernel_in_tree(probe_text(p, "name")) && !try_kernels(o, p, end)))
            status = 1;
        if (loaded && o->quarantine &&
            quarantine_trust(o->quarantine, probe_text(p, "sha256"), &e) < 0)
            fprintf(stderr, "nnd-plugin-probe: %s\n", e.text);
        json_decref(p);
    }
    return status;
}
