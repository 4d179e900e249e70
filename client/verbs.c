/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs.c - the table of verbs, in the order of --help.
 */
#include <string.h>

#include "base/str.h"
#include "client/cmd.h"
#include "client/verb.h"

/* clang-format off */
const struct verb *const verbs[] = {
    &verb_submit,
    &verb_run,
    &verb_status,
    &verb_show,
    &verb_watch,
    &verb_logs,
    &verb_wait,
    &verb_cancel,
    &verb_hold,
    &verb_release,
    &verb_suspend,
    &verb_resume,
    &verb_requeue,
    &verb_prio,
    &verb_events,
    &verb_metrics,
    &verb_plot,
    &verb_top,
    &verb_plan,
    &verb_generate,
    &verb_translate,
    &verb_summarize,
    &verb_eval,
    &verb_average,
    &verb_tokenizer,
    &verb_export,
    &verb_import,
    &verb_history,
    &verb_purge,
    &verb_doctor,
    &verb_plugin,
    &verb_key,
    &verb_reload,
    &verb_version,
    &verb_completion,
    &verb_help_verb,
};
/* clang-format on */
const size_t nverbs = sizeof verbs / sizeof *verbs;

int verb_find(const char *name, const struct verb **out, struct err *e)
{
    const char *names[2 * (sizeof verbs / sizeof *verbs)], *near;
    size_t n = 0;

    for (size_t i = 0; i < nverbs; i++) {
        const struct verb *v = verbs[i];

        if (strcmp(v->name, name) == 0 || (v->alias && strcmp(v->alias, name) == 0)) {
            *out = v;
            return 0;
        }
        names[n++] = v->name;
        if (v->alias)
            names[n++] = v->alias;
    }
    near = str_nearest(name, names, n);
    return near ? err_set(e, ERR_USAGE, "unknown verb \"%s\"; did you mean \"%s\"?",
                          name, near)
                : err_set(e, ERR_USAGE, "unknown verb \"%s\"", name);
}
