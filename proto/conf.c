/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf.c - the table of nnd's settings, what joins them, and which of them a
 * running nnd can take over.
 */
#include "proto/conf.h"

#include <string.h>

#include "base/str.h"
#include "proto/spec_impl.h"

#define DAY 86400

static const struct rule conf_rules[] = {
    {"dir", 0, 3000, RULE_START | RULE_PATH, 0,
     "folder of jobs and state; none: $XDG_STATE_HOME/nnd or ~/.local/state/nnd"},
    {"uri", 0, 3000, RULE_START, 0,
     "socket for this machine, ipc:///PATH; none: sock in the folder"},
    {"slots", 0, 65536, RULE_START, 0,
     "processors to hand out; 0: as many as there are"},
    {"oversubscribe", 0, 0, 0, 0, "accept jobs that need more slots than there are"},
    {"grace", 0, DAY, RULE_TIME, 0,
     "how long a job has to save and stop before it is killed"},
    {"hang", 0, DAY, RULE_TIME | RULE_ABOVE, 0,
     "shortest standstill that is called a hang"},
    {"exit_when_idle", 0, 0, 0, 0,
     "end when no job is left and nobody has asked anything for 10 seconds"},
    {"worker", 0, 3000, RULE_START | RULE_PATH, 0,
     "nnd-worker; none: the one beside nnd"},
    {"shepherd", 0, 3000, RULE_START | RULE_PATH, 0,
     "nnd-shepherd; none: the one beside nnd"},
    {"mpirun", 0, 3000, RULE_START | RULE_PATH, 0,
     "mpirun; none: the one nnd was built with"},

    {"access.listen", 0, 300, RULE_START, 0,
     "where other machines, and ranks on them (not 0.0.0.0), reach nnd, "
     "tcp://ADDRESS:PORT; none: nowhere"},
    {"access.private", 0, 0, 0, 0, "users see no jobs but their own"},
    {"access.rate", 0, 1e6, RULE_ABOVE, 0,
     "requests per second that a user may go on asking; operators may always"},
    {"access.burst", 1, 1e6, 0, 0, "requests that a user may have saved up"},

    {"nodes", 0, 3000, RULE_START | RULE_PATH, 0,
     "file of the machines to put ranks on, lines of NAME SLOTS, for launcher ssh or "
     "slurm; none: this one"},

    {"user.jobs", 0, 1e9, 0, 0,
     "most jobs of a user that have not ended; 0: any number"},
    {"user.running", 0, 1e9, 0, 0, "most jobs of a user that run; 0: any number"},
    {"user.slots", 0, 1e9, 0, 0, "most slots that a user has at once; 0: any number"},

    {"keep.age", 0, 1e9, RULE_TIME, 0,
     "jobs that ended so long ago are forgotten, with their folders; 0: never"},
    {"keep.jobs", 0, 1e9, 0, 0,
     "the oldest above so many that have ended are forgotten; 0: none is"},
    {"keep.attempts", 1, 1e9, 0, 0, "folders of attempts kept per job, the newest"},

    {"launcher", 0, 0, 0, 0,
     "who starts the ranks of jobs that do not say it: mpirun here, mpirun on the "
     "machines of `nodes`, or Slurm"},
    {"ssh.program", 0, 3000, RULE_PATH, 0,
     "what is called as \"PROGRAM HOST COMMAND\"; none: ssh"},
    {"ssh.network", 0, 300, 0, 0,
     "network by which ranks on several machines talk, as 10.0.0.0/8 or eth0"},
    {"slurm.arguments", 0, 3000, 0, 0,
     "more arguments for sbatch or srun, parted by blanks"},
    {"slurm.helper", 0, 3000, RULE_START | RULE_PATH, 0,
     "nnd-slurm; none: the one beside nnd"},

    {"metrics.listen", 0, 300, RULE_START, 0,
     "where Prometheus reads figures, ADDRESS:PORT; none: nowhere"},

    {"patience.start", 0, 1e7, RULE_TIME, 0,
     "standstill before the first step that is called a hang; 0: 10 x hang"},
    {"patience.validate", 0, 1e7, RULE_TIME, 0,
     "standstill in a validation that is called a hang; 0: 10 x hang"},
    {"patience.save", 0, 1e7, RULE_TIME, 0,
     "standstill in a checkpoint that is called a hang; 0: 10 x hang"},
};

static int check_uri(const struct spec *s, const Nnd__Config *c, struct err *e)
{
    struct buf found = {0};

    if (c->uri[0] == '\0' || (str_starts(c->uri, "ipc:///") && c->uri[7]))
        return 0;
    field_quote(c->uri, &found);
    spec_refuse(s, e, "uri", NULL, "wanted ipc:///PATH, found %s", found.data);
    buf_free(&found);
    return ERR_SPEC;
}

/* An address and a port, both given: listening everywhere is never an accident. */
static bool is_listen_uri(const char *uri)
{
    const char *colon = strrchr(uri, ':');
    uint64_t port;

    return str_starts(uri, "tcp://") && colon > uri + 6 && !strchr(uri + 6, '*') &&
           str_to_u64(colon + 1, &port) && port > 0 && port < 65536;
}

static int check_listen(const struct spec *s, const Nnd__Config *c, struct err *e)
{
    struct buf found = {0};

    if (c->access->listen[0] == '\0' || is_listen_uri(c->access->listen))
        return 0;
    field_quote(c->access->listen, &found);
    spec_refuse(s, e, "access.listen", NULL,
                "wanted tcp://ADDRESS:PORT with a port from 1 to 65535, found %s",
                found.data);
    buf_free(&found);
    return ERR_SPEC;
}

/* mpirun here would start all ranks here, wherever they were counted. */
static int check_nodes(const struct spec *s, const Nnd__Config *c, struct err *e)
{
    if (c->nodes[0] == '\0' || c->launcher != NND__CONFIG__LAUNCHER__LOCAL)
        return 0;
    return spec_refuse(s, e, "nodes", "launcher",
                       "wanted launcher ssh or slurm beside it, found local");
}

/* "tcp://0.0.0.0:5" and "tcp://[::]:5", however many zeros. */
bool conf_listens_anywhere(const Nnd__Config *c)
{
    const char *uri = c->access->listen;
    const char *host = str_starts(uri, "tcp://") ? uri + 6 : "";
    const char *colon = strrchr(host, ':');

    return colon && host + strspn(host, "[0.:]") >= colon;
}

static int check_reach(const struct spec *s, const Nnd__Config *c, struct err *e)
{
    if (c->launcher == NND__CONFIG__LAUNCHER__LOCAL || !conf_listens_anywhere(c))
        return 0;
    return spec_refuse(s, e, "access.listen", "launcher",
                       "wanted an address to which ranks on other machines can "
                       "connect, found \"%s\"",
                       c->access->listen);
}

static int finish(struct spec *s, struct err *e)
{
    const Nnd__Config *c = conf_of(s);
    int rc = check_uri(s, c, e);

    if (rc == 0)
        rc = check_listen(s, c, e);
    if (rc == 0)
        rc = check_nodes(s, c, e);
    return rc ? rc : check_reach(s, c, e);
}

const struct schema schema_conf = {
    .type = &nnd__config__descriptor,
    .rules = conf_rules,
    .nrules = sizeof(conf_rules) / sizeof(conf_rules[0]),
    .noun = "configuration",
    .finish = finish,
};

struct spec *conf_create(void)
{
    return spec_create_as(&schema_conf);
}

const Nnd__Config *conf_of(const struct spec *s)
{
    return (const Nnd__Config *)spec_message(s);
}

static void print_value(const struct spec *s, const struct rule *r, struct buf *out)
{
    ProtobufCMessage *m;
    const ProtobufCFieldDescriptor *d;

    spec_locate(s, r, &m, &d);
    for (size_t i = 0; i < field_count(m, d); i++) {
        buf_puts(out, i ? ", " : "");
        field_found(d, field_value(m, d, i), out);
    }
    if (out->len == 0 || strcmp(out->data, "\"\"") == 0) {
        out->len = 0;
        buf_puts(out, "none");
    }
}

/* To their ends, of which an error shows less. */
static bool is_same(const struct spec *from, const struct spec *to,
                    const struct rule *r)
{
    ProtobufCMessage *a, *b;
    const ProtobufCFieldDescriptor *d;
    bool same;

    spec_locate(from, r, &a, &d);
    spec_locate(to, r, &b, &d);
    same = field_count(a, d) == field_count(b, d);
    for (size_t i = 0; same && i < field_count(a, d); i++) {
        struct buf old = {0}, new = {0};

        field_print(d, field_value(a, d, i), &old);
        field_print(d, field_value(b, d, i), &new);
        same = old.len == new.len && (!old.len || !memcmp(old.data, new.data, old.len));
        buf_free(&old);
        buf_free(&new);
    }
    return same;
}

int conf_may_change(struct spec *from, struct spec *to, struct err *e)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < schema_conf.nrules; i++) {
        const struct rule *r = &conf_rules[i];
        struct buf old = {0}, new = {0};

        if (!(r->flags & RULE_START) || is_same(from, to, r))
            continue;
        print_value(from, r, &old);
        print_value(to, r, &new);
        rc = spec_refuse(to, e, r->path, NULL,
                         "wanted %s until nnd is started again, found %s", old.data,
                         strcmp(old.data, new.data) ? new.data
                                                    : "another that begins like it");
        buf_free(&old);
        buf_free(&new);
    }
    return rc;
}
