/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_doctor.c - have nnd look at its store, while it works.
 */
#include <stdio.h>

#include "client/cmd.h"

enum { LOOK_MS = 300000 }; /* for nnd to read all of a large database */

struct visit {
    struct client *c;
    json_t *findings;
    uint64_t jobs;
    unsigned bad;
};

static void print(struct visit *v, const Wire__Finding *f)
{
    v->bad += f->bad;
    if (v->c->opt.json)
        json_array_append_new(v->findings, json_pack("{sbsIss}", "bad", f->bad, "job",
                                                     (json_int_t)f->job, "text",
                                                     f->text ? f->text : ""));
    else
        printf("%s %s\n", f->bad ? "BAD" : "   ", f->text ? f->text : "");
}

static int look(struct visit *v, struct err *e)
{
    Wire__Doctor q = WIRE__DOCTOR__INIT;
    Wire__DoctorReply *reply;
    bool more;

    q.has_after = true;
    do {
        int rc = client_call(v->c, WIRE__TYPE__DOCTOR, &q, LOOK_MS, &reply, e);

        if (rc < 0)
            return rc;
        for (size_t i = 0; i < reply->n_findings; i++)
            print(v, reply->findings[i]);
        v->jobs += reply->looked_at;
        q.after = reply->next;
        more = reply->more;
        chan_free(&reply->base);
    } while (more);
    return 0;
}

static int run(struct client *c, void *values, int argc, char **argv, struct err *e)
{
    struct visit v = {.c = c, .findings = json_array()};
    int rc = look(&v, e);

    (void)values, (void)argc, (void)argv;
    if (rc == 0 && c->opt.json)
        client_print_json(json_pack("{sOsIsi}", "findings", v.findings, "jobs",
                                    (json_int_t)v.jobs, "bad", (int)v.bad));
    else if (rc == 0)
        printf("    %llu jobs: events, rows and specifications agree%s\n",
               (unsigned long long)v.jobs, v.bad ? " but for the above" : "");
    json_decref(v.findings);
    return rc < 0 ? rc : v.bad > 0;
}

const struct verb verb_doctor = {
    .name = "doctor",
    .args = "",
    .brief = "look whether all is well with nnd's store",
    .text =
        "Checks the structure of the database, replays the events of every job and "
        "compares. What can be mended of jobs that have ended is mended at once. "
        "Exits with 1 when anything was wrong. When nnd does not start, nnd --check "
        "looks at the store without it.",
    .run = run,
};
