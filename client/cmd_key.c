/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_key.c - keys: this user's own, those that an nnd on this machine lets in, and
 * those that nnd's elsewhere have.  Only files are touched; nnd sees by itself that
 * its allow list has changed.
 */
#include <errno.h>
#include <pwd.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/str.h"
#include "client/cmd.h"
#include "client/keyring.h"

enum {
    FIRST_UID = 0x40000000, /* users without an account here have numbers from this */
    UIDS = 0x40000000,      /* on, drawn by chance                                  */
};

#define DAY_US (86400 * INT64_C(1000000))
#define WEEK   (7 * 86400.0)

struct options {
    const char *user, *role, *until, *comment, *dir;
    bool server;
    double overlap; /* below 0: not given */
};

static void preset(void *values)
{
    *(struct options *)values = (struct options){.overlap = -1};
}

static const struct opt table[] = {
    {OPT_TEXT, 0, "user", "NAME", offsetof(struct options, user),
     "allow: whose key it is; revoke: all keys of this user"},
    {OPT_TEXT, 0, "role", "ROLE", offsetof(struct options, role),
     "allow: observer, user (the default), operator or admin"},
    {OPT_TEXT, 0, "until", "DATE", offsetof(struct options, until),
     "allow: the day on which it ends to count, 2027-01-01"},
    {OPT_TEXT, 0, "comment", "WORD", offsetof(struct options, comment),
     "allow: a word to know it by"},
    {OPT_TEXT, 0, "dir", "DIR", offsetof(struct options, dir),
     "folder of the nnd on this machine, if not the user's own"},
    {OPT_FLAG, 0, "server", NULL, offsetof(struct options, server),
     "show, rotate: the key of the nnd on this machine"},
    {OPT_SPAN, 0, "overlap", "TIME", offsetof(struct options, overlap),
     "rotate: how long the old key counts beside the new one (7d)"},
    {0},
};

/* --- places ------------------------------------------------------------------- */

/* DIR/keys/NAME of the nnd on this machine. */
static int server_path(struct client *c, const struct options *o, const char *name,
                       char out[KEYRING_PATH], struct err *e)
{
    const char *slash;
    int rc = 0, n;

    if (o->dir) {
        n = snprintf(out, KEYRING_PATH, "%s/keys/%s", o->dir, name);
    } else {
        rc = c->uri[0] ? 0 : client_find_uri(c, e);
        slash = strrchr(c->uri, '/');
        if (rc == 0 && (!str_starts(c->uri, "ipc://") || !slash))
            rc = err_set(e, ERR_USAGE, "name the folder of nnd with --dir");
        if (rc < 0)
            return rc;
        n = snprintf(out, KEYRING_PATH, "%.*s/keys/%s", (int)(slash - c->uri - 6),
                     c->uri + 6, name);
    }
    return n < KEYRING_PATH ? 0 : err_set(e, ERR_USAGE, "--dir: the path is too long");
}

/* The file of a key by name, of the server, or of the one that is used. */
static int key_path(struct client *c, const struct options *o, const char *name,
                    char out[KEYRING_PATH], struct err *e)
{
    char file[80];

    if (o->server && name)
        return err_set(e, ERR_USAGE, "takes NAME or --server, not both");
    if (o->server)
        return server_path(c, o, "server.key", out, e);
    if (!name)
        return keyring_own(out, e);
    if (strlen(name) > 60 || strchr(name, '/') || *name == '.')
        return err_set(e, ERR_USAGE,
                       "NAME must be 1 to 60 bytes without a slash, "
                       "got \"%s\"",
                       name);
    snprintf(file, sizeof file, "%s.key", name);
    return keyring_path(file, out, e);
}

static int make_folder(const char *path, struct err *e)
{
    char dir[KEYRING_PATH];
    const char *slash = strrchr(path, '/');

    if (!slash)
        return 0;
    snprintf(dir, sizeof dir, "%.*s", (int)(slash - path), path);
    return fs_mkdirs(dir, e);
}

/* --- own keys ------------------------------------------------------------------- */

static void say_key(const struct client *c, const char *path, const struct key *k)
{
    if (c->opt.json)
        client_print_json(json_pack("{ss,ss,ss,ss}", "file", path, "name", k->name,
                                    "created", k->created, "public", k->public));
    else
        printf("%s\n", k->public);
}

static int new_at(struct client *c, const char *path, struct err *e)
{
    const struct passwd *me = getpwuid(geteuid());
    char host[64] = "here", name[80];
    struct key k;
    int rc;

    gethostname(host, sizeof host - 1);
    snprintf(name, sizeof name, "%.12s@%.60s", me ? me->pw_name : "somebody", host);
    rc = make_folder(path, e);
    if (rc == 0)
        rc = key_make(name, &k, e);
    if (rc == 0)
        rc = key_write(path, &k, e);
    if (rc == 0)
        say_key(c, path, &k);
    explicit_bzero(&k, sizeof k);
    return rc;
}

static int new (struct client *c, const struct options *o, int argc, char **argv,
                struct err *e)
{
    char path[KEYRING_PATH];
    int rc = key_path(c, o, argc > 1 ? argv[1] : NULL, path, e);

    return rc < 0 ? rc : new_at(c, path, e);
}

static int show(struct client *c, const struct options *o, int argc, char **argv,
                struct err *e)
{
    char path[KEYRING_PATH];
    struct key k;
    int rc = o->dir && !o->server
                 ? err_set(e, ERR_USAGE, "show takes --dir with --server only")
                 : key_path(c, o, argc > 1 ? argv[1] : NULL, path, e);

    if (rc == 0)
        rc = key_read(path, &k, e);
    if (rc == 0)
        say_key(c, path, &k);
    explicit_bzero(&k, sizeof k);
    return rc;
}

/* --- the allow list --------------------------------------------------------------- */

/* The public key that a word is, or that a file of one holds. */
static int read_public(const char *word, char out[KEYS_Z85], struct err *e)
{
    struct key k;
    int rc = 0;

    if (!keys_is_z85(word)) {
        rc = fs_exists(word) ? key_read(word, &k, e)
                             : err_set(e, ERR_USAGE,
                                       "wanted a public key of 40 characters or the "
                                       "file of a key, found \"%.60s\"",
                                       word);
        word = k.public;
    }
    if (rc == 0)
        strcpy(out, word);
    explicit_bzero(&k, sizeof k);
    return rc;
}

static bool is_taken(const struct allow_list *l, uint32_t uid)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->items[i].uid == uid)
            return true;
    return false;
}

/* One that nobody has, nor had: numbers that follow each other would come to those who
 * are allowed after a user is gone, with that one's jobs. */
static int new_uid(const struct allow_list *l, uint32_t *out, struct err *e)
{
    do {
        if (getrandom(out, sizeof *out, 0) != (ssize_t)sizeof *out)
            return err_set(e, ERR_FAILED, "a number for the user: no random numbers");
        *out = FIRST_UID + *out % UIDS;
    } while (is_taken(l, *out));
    return 0;
}

/* The number that stands for the user: of their other keys, of the account, or a new
 * one. */
static int user_id(const struct allow_list *l, const char *user, uint32_t *out,
                   struct err *e)
{
    const struct passwd *account = getpwnam(user);

    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->items[i].user, user) == 0) {
            *out = l->items[i].uid;
            return 0;
        }
    if (!account)
        return new_uid(l, out, e);
    *out = account->pw_uid;
    return 0;
}

static int fill_allowed(const struct options *o, const struct allow_list *l,
                        struct allowed *a, struct err *e)
{
    *a = (struct allowed){.until_us = INT64_MAX, .role = ROLE_USER};
    if (!o->user || strlen(o->user) > 32)
        return err_set(e, ERR_USAGE, "allow needs --user NAME, of at most 32 bytes");
    strcpy(a->user, o->user);
    if (o->role && (a->role = role_of(o->role)) == ROLE_NONE)
        return err_set(e, ERR_USAGE,
                       "--role: must be observer, user, operator or admin, got \"%s\"",
                       o->role);
    if (o->until && !keys_date_parse(o->until, &a->until_us))
        return err_set(e, ERR_USAGE, "--until: must be a day, 2027-01-01, got \"%s\"",
                       o->until);
    a->comment = o->comment;
    return user_id(l, a->user, &a->uid, e);
}

/* Write the list and read it back: what nnd would refuse is not left there. */
static int write_list(const char *path, const struct allow_list *l, struct err *e)
{
    struct allow_list check;
    struct buf old = {0};
    struct err why;
    int rc = make_folder(path, e);

    if (rc == 0 && fs_exists(path))
        rc = fs_read(path, 0, &old, e);
    if (rc == 0)
        rc = allow_list_write(path, l, e);
    if (rc == 0) {
        rc = allow_list_read(path, &check, e);
        if (rc == 0)
            allow_list_free(&check);
        else
            fs_replace(path, old.data ? old.data : "", old.len, &why);
    }
    buf_free(&old);
    return rc;
}

/* An entry as an object. */
static json_t *allowed_json(const struct allowed *a)
{
    json_t *object = json_pack("{sssssIss}", "public", a->public, "user", a->user,
                               "uid", (json_int_t)a->uid, "role", role_name(a->role));
    char date[16];

    keys_date_print(a->until_us, date);
    if (a->until_us != INT64_MAX)
        json_object_set_new(object, "until", json_string(date));
    if (a->comment)
        json_object_set_new(object, "comment", json_string(a->comment));
    return object;
}

static int allow_key(struct client *c, const char *path, const struct options *o,
                     const char *public, struct err *e)
{
    struct allow_list list, grown;
    struct allowed a;
    int rc = allow_list_read(path, &list, e);

    if (rc < 0)
        return rc;
    rc = fill_allowed(o, &list, &a, e);
    if (rc == 0 && allow_list_find(&list, public))
        rc = err_set(e, ERR_FAILED, "%s: has that key already", path);
    if (rc == 0) {
        strcpy(a.public, public);
        grown = list;
        grown.items = arena_calloc(list.arena, list.n + 1, sizeof *grown.items);
        if (list.n)
            memcpy(grown.items, list.items, list.n * sizeof *grown.items);
        grown.items[grown.n++] = a;
        rc = write_list(path, &grown, e);
    }
    if (rc == 0 && c->opt.json)
        client_print_json(
            json_pack("{ssso}", "file", path, "allowed", allowed_json(&a)));
    allow_list_free(&list);
    return rc;
}

static int allow(struct client *c, const struct options *o, int argc, char **argv,
                 struct err *e)
{
    char path[KEYRING_PATH], public[KEYS_Z85];
    int rc = server_path(c, o, "allow", path, e);

    (void)argc;
    if (rc == 0)
        rc = read_public(argv[1], public, e);
    return rc < 0 ? rc : allow_key(c, path, o, public, e);
}

static int revoke_key(struct client *c, const struct options *o, int argc, char **argv,
                      struct err *e)
{
    char path[KEYRING_PATH], public[KEYS_Z85] = "";
    struct allow_list list;
    size_t kept = 0, n;
    int rc = server_path(c, o, "allow", path, e);

    if (rc == 0 && (argc > 1) == (o->user != NULL))
        rc = err_set(e, ERR_USAGE, "revoke needs a key or --user NAME, one of them");
    if (rc == 0 && argc > 1)
        rc = read_public(argv[1], public, e);
    if (rc == 0)
        rc = allow_list_read(path, &list, e);
    if (rc < 0)
        return rc;
    n = list.n;
    for (size_t i = 0; i < n; i++)
        if (o->user ? strcmp(list.items[i].user, o->user) != 0
                    : strcmp(list.items[i].public, public) != 0)
            list.items[kept++] = list.items[i];
    list.n = kept;
    rc = kept == n ? err_set(e, ERR_NOTFOUND, "%s: has no such key", path)
                   : write_list(path, &list, e);
    if (rc == 0 && c->opt.json)
        client_print_json(
            json_pack("{sssI}", "file", path, "revoked", (json_int_t)(n - kept)));
    allow_list_free(&list);
    return rc;
}

/* --- another key instead ------------------------------------------------------------
 */

/* The old file is kept as FILE.old; the first overlap seconds both keys count. */
static int replace_key(struct client *c, const char *path, struct key *old,
                       struct err *e)
{
    char kept[KEYRING_PATH + 4];
    int rc = key_read(path, old, e);

    snprintf(kept, sizeof kept, "%s.old", path);
    if (rc == 0 && rename(path, kept) < 0)
        rc = err_sys(e, ERR_FAILED, errno, "%s", kept);
    if (rc == 0)
        rc = new_at(c, path, e);
    if (rc < 0 && !fs_exists(path))
        rename(kept, path);
    return rc;
}

/* In an allow list that has the old key, the new one joins it. */
static int overlap(const char *list_path, const char *old, const char *new_public,
                   double seconds, struct err *e)
{
    struct allow_list list, grown;
    const struct allowed *found;
    int64_t until = clock_wall_us() + (int64_t)(seconds * 1e6);
    int rc = allow_list_read(list_path, &list, e);

    if (rc < 0)
        return rc;
    found = allow_list_find(&list, old);
    if (found) {
        grown = list;
        grown.items = arena_calloc(list.arena, list.n + 1, sizeof *grown.items);
        memcpy(grown.items, list.items, list.n * sizeof *grown.items);
        grown.items[grown.n] = *found;
        strcpy(grown.items[grown.n++].public, new_public);
        until += DAY_US - until % DAY_US; /* to the end of that day */
        if (grown.items[found - list.items].until_us > until)
            grown.items[found - list.items].until_us = until;
        rc = write_list(list_path, &grown, e);
    }
    allow_list_free(&list);
    return rc;
}

static int rotate(struct client *c, const struct options *o, int argc, char **argv,
                  struct err *e)
{
    char path[KEYRING_PATH], list[KEYRING_PATH];
    struct key old, now;
    int rc = o->server && o->overlap >= 0
                 ? err_set(e, ERR_USAGE,
                           "--server takes no --overlap: clients trust both keys")
                 : key_path(c, o, argc > 1 ? argv[1] : NULL, path, e);

    if (rc == 0)
        rc = replace_key(c, path, &old, e);
    if (rc == 0)
        rc = key_read(path, &now, e);
    if (rc == 0 && !o->server && server_path(c, o, "allow", list, e) == 0)
        rc = overlap(list, old.public, now.public, o->overlap < 0 ? WEEK : o->overlap,
                     e);
    if (rc == 0 && o->server)
        client_say(c, "clients add it with nnctl key trust URI KEY; nnd takes it when "
                      "it is told to by nnctl reload, or starts");
    explicit_bzero(&old, sizeof old);
    explicit_bzero(&now, sizeof now);
    return rc;
}

/* --- servers, and a look at all of it
 * ------------------------------------------------- */

static int trust(struct client *c, const struct options *o, int argc, char **argv,
                 struct err *e)
{
    char public[KEYS_Z85];
    int rc = read_public(argv[2], public, e);

    (void)o, (void)argc;
    if (rc == 0 && !str_starts(argv[1], "tcp://"))
        rc = err_set(e, ERR_USAGE, "trust: must be tcp://HOST:PORT, got \"%s\"",
                     argv[1]);
    if (rc == 0)
        rc = keyring_trust(argv[1], public, e);
    if (rc == 0 && c->opt.json)
        client_print_json(json_pack("{ssss}", "uri", argv[1], "public", public));
    return rc;
}

/* What a look at the files finds. */
struct look {
    struct client *c;
    json_t *files;
    int worst;
};

/* Print what was found in a file as text, or keep the object for the end. */
static void found(struct look *l, const char *path, json_t *object, const char *text)
{
    json_object_set_new(object, "file", json_string(path));
    json_array_append_new(l->files, object);
    if (!l->c->opt.json)
        printf("%s: %s\n", path, text);
}

static void found_wrong(struct look *l, const char *path, const struct err *e)
{
    l->worst = 1;
    json_array_append_new(
        l->files, json_pack("{ssso}", "file", path, "error", client_error_json(e)));
    if (!l->c->opt.json)
        client_say(l->c, "%s", e->text);
}

static void check_list(struct look *l, const char *path)
{
    json_t *keys = json_array();
    struct allow_list list;
    char date[16], text[40];
    struct err e;

    if (allow_list_read(path, &list, &e) < 0) {
        json_decref(keys);
        found_wrong(l, path, &e);
        return;
    }
    for (size_t i = 0; i < list.n; i++) {
        const struct allowed *a = &list.items[i];
        int64_t left =
            a->until_us == INT64_MAX ? INT64_MAX : a->until_us - clock_wall_us();

        keys_date_print(a->until_us, date);
        if (left <= 0 || left < 14 * DAY_US)
            client_say(l->c, "%s:%d: the key of %s %s %s", path, a->line, a->user,
                       left <= 0 ? "does not count since" : "counts until", date);
        l->worst |= left <= 0;
        json_array_append_new(keys, allowed_json(a));
    }
    snprintf(text, sizeof text, "%zu keys", list.n);
    found(l, path, json_pack("{so}", "keys", keys), text);
    allow_list_free(&list);
}

static void check_file(struct look *l, const char *path)
{
    char text[100];
    struct key k;
    struct err e;

    if (!fs_exists(path))
        return;
    if (key_read(path, &k, &e) < 0) {
        found_wrong(l, path, &e);
        return;
    }
    snprintf(text, sizeof text, "%s of %s", k.public, k.created);
    found(
        l, path,
        json_pack("{ssssss}", "name", k.name, "created", k.created, "public", k.public),
        text);
    explicit_bzero(&k, sizeof k);
}

static int check(struct client *c, const struct options *o, int argc, char **argv,
                 struct err *e)
{
    struct look l = {.c = c};
    char path[KEYRING_PATH];
    int rc = keyring_own(path, e);

    (void)argc, (void)argv;
    if (rc < 0)
        return rc;
    l.files = json_array();
    check_file(&l, path);
    if (server_path(c, o, "server.key", path, e) == 0)
        check_file(&l, path);
    if (server_path(c, o, "allow", path, e) == 0 && fs_exists(path))
        check_list(&l, path);
    if (c->opt.json)
        client_print_json(json_pack("{sO}", "files", l.files));
    json_decref(l.files);
    return l.worst;
}

/* --- the verb -----------------------------------------------------------------------
 */

typedef int action_f(struct client *c, const struct options *o, int argc, char **argv,
                     struct err *e);

/* Options, as a set. */
enum {
    USER = 1,
    ROLE = 2,
    UNTIL = 4,
    COMMENT = 8,
    DIR = 16,
    SERVER = 32,
    OVERLAP = 64
};

/* What follows "key", how many arguments it takes, and which options. */
static const struct action {
    const char *name;
    int min, max;
    const char *args;
    action_f *run;
    unsigned takes;
} actions[] = {
    {"new", 0, 1, "[NAME]", new, 0},
    {"show", 0, 1, "[NAME]", show, SERVER | DIR},
    {"allow", 1, 1, "KEY", allow, USER | ROLE | UNTIL | COMMENT | DIR},
    {"revoke", 0, 1, "[KEY]", revoke_key, USER | DIR},
    {"rotate", 0, 1, "[NAME]", rotate, SERVER | DIR | OVERLAP},
    {"trust", 2, 2, "URI KEY", trust, 0},
    {"check", 0, 0, "no arguments", check, DIR},
};

/* An option that would do nothing here was meant for something else. */
static int check_options(const struct action *a, const struct options *o, struct err *e)
{
    const struct {
        bool given;
        unsigned option;
        const char *name;
    } all[] = {{o->user, USER, "user"},
               {o->role, ROLE, "role"},
               {o->until, UNTIL, "until"},
               {o->comment, COMMENT, "comment"},
               {o->dir, DIR, "dir"},
               {o->server, SERVER, "server"},
               {o->overlap >= 0, OVERLAP, "overlap"}};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].given && !(a->takes & all[i].option))
            return err_set(e, ERR_USAGE, "%s takes no --%s", a->name, all[i].name);
    return 0;
}

static int run(struct client *c, void *values, int argc, char **argv, struct err *e)
{
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
        if (strcmp(argv[0], actions[i].name) != 0)
            continue;
        if (argc - 1 < actions[i].min || argc - 1 > actions[i].max)
            return err_set(e, ERR_USAGE, "%s takes %s, got %d arguments", argv[0],
                           actions[i].args, argc - 1);
        if (check_options(&actions[i], values, e) < 0)
            return e->code;
        return actions[i].run(c, values, argc, argv, e);
    }
    return err_set(e, ERR_USAGE,
                   "must be new, show, allow, revoke, rotate, trust or check, got "
                   "\"%s\"",
                   argv[0]);
}

const struct verb verb_key = {
    .name = "key",
    .args = "new|show|allow|revoke|rotate|trust|check [KEY]",
    .min_args = 1,
    .max_args = 3,
    .brief = "keys for an nnd that other machines reach",
    .text =
        "\"new\" makes a key in ~/.config/nnd and prints its public half, \"show\" "
        "prints that again; with NAME it is a key of its own, which is used when "
        "NND_KEY is its file. Where nnd runs, \"allow KEY --user NAME\" lets it in and "
        "\"revoke\" shuts it out at once, open connections included. Who has no "
        "account there gets a number that nobody had; it goes with the user's last "
        "key, and so do their jobs: to change a key allow the new one before the old "
        "one is revoked. \"trust URI KEY\" remembers the public key of the nnd at URI "
        "(\"show --server\" prints it there). \"rotate\" puts a new key in the place "
        "of the old one; an nnd takes its own new key when it is told to by nnctl "
        "reload, and clients may trust both meanwhile. \"check\" looks at owners, "
        "modes and dates.",
    .options = {table},
    .size = sizeof(struct options),
    .preset = preset,
    .run = run,
};
