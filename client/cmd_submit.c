/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_submit.c - hand a job to nnd.
 */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "client/cmd.h"
#include "client/follow.h"
#include "client/jobfile.h"

enum { KEY_MIN = 16, KEY_MAX = 64 };

struct options {
    struct jobfile file;
    const char *idem;
    bool dry_run, hold, wait, watch;
};

static const struct opt table[] = {
    {OPT_TEXT, 0, "idem", "KEY", offsetof(struct options, idem),
     "16 to 64 characters; submitting again with the same key makes no second job"},
    {OPT_FLAG, 0, "hold", NULL, offsetof(struct options, hold),
     "accept the job, but do not start it before nnctl release"},
    {OPT_FLAG, 'n', "dry-run", NULL, offsetof(struct options, dry_run),
     "print the resolved job and where each value comes from; submit nothing"},
    {OPT_FLAG, 0, "wait", NULL, offsetof(struct options, wait),
     "wait for the end and exit with the job's status"},
    {OPT_FLAG, 'w', "watch", NULL, offsetof(struct options, watch),
     "as --wait, and show on standard error how it goes"},
    {0},
};

static int stay(struct client *c, const struct options *o, uint64_t id, struct err *e)
{
    struct progress p;

    progress_init(&p, stderr, false);
    return follow_or_leave(c, id, o->watch ? &p : NULL, EXIT_CANCELED, e);
}

/* nnd checks it too, but cannot know that a person chose it. */
static int check_key(const char *key, struct err *e)
{
    size_t len = key ? strlen(key) : KEY_MIN;

    if (len < KEY_MIN || len > KEY_MAX)
        return err_set(e, ERR_USAGE, "--idem: must be %d to %d characters, got %zu",
                       KEY_MIN, KEY_MAX, len);
    return 0;
}

static int run(struct client *c, void *values, int argc, char **argv, struct err *e)
{
    const struct options *o = values;
    struct spec *s;
    uint64_t id;
    bool known;
    int rc = check_key(o->idem, e);

    if (rc == 0)
        rc = jobfile_read(&o->file, argc, argv, &s, e);
    if (rc < 0)
        return rc;
    jobfile_hint(c, s);
    if (o->dry_run)
        jobfile_print(c, s);
    else
        rc = jobfile_submit(c, s, o->idem, o->hold, &id, &known, e);
    spec_destroy(s);
    if (rc < 0 || o->dry_run)
        return rc;
    if (c->opt.json)
        client_print_json(json_pack("{sIsb}", "id", (json_int_t)id, "known", known));
    else
        printf("%llu\n", (unsigned long long)id);
    fflush(stdout);
    return o->wait || o->watch ? stay(c, o, id, e) : 0;
}

const struct verb verb_submit = {
    .name = "submit",
    .args = "JOB.yaml",
    .max_args = 1,
    .brief = "hand a job to nnd",
    .text = "Reads the job file, applies overrides, checks it, and has nnd accept the "
            "job. Standard output is the job's number and nothing else, printed when "
            "the job is on disk.",
    .options = {jobfile_options, table},
    .size = sizeof(struct options),
    .run = run,
};
