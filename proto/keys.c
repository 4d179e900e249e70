/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keys.c - key files, the allow list, the list of servers: lines of words.
 */
#include "proto/keys.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <zmq.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/str.h"

enum { FILE_MAX = 1 << 20, ALLOWED_MAX = 10000, WORDS_MAX = 16 };

static const char *const roles[ROLE_COUNT] = {"none", "observer", "user", "operator",
                                              "admin"};

const char *role_name(enum role r)
{
    return roles[r];
}

enum role role_of(const char *name)
{
    for (int i = ROLE_OBSERVER; i < ROLE_COUNT; i++)
        if (strcmp(roles[i], name) == 0)
            return (enum role)i;
    return ROLE_NONE;
}

bool keys_is_z85(const char *text)
{
    uint8_t bytes[32];

    return strlen(text) == KEYS_Z85 - 1 && zmq_z85_decode(bytes, text) != NULL;
}

bool keys_date_parse(const char *text, int64_t *us)
{
    struct tm tm = {0};
    const char *end = strptime(text, "%Y-%m-%d", &tm);
    char again[16];
    time_t t;

    if (strlen(text) != 10 || !end || *end)
        return false;
    t = timegm(&tm); /* makes the 1st of March of the 29th of a short February */
    if (t <= 0)
        return false;
    keys_date_print((int64_t)t * 1000000, again);
    if (strcmp(again, text) != 0)
        return false;
    *us = (int64_t)t * 1000000;
    return true;
}

void keys_date_print(int64_t us, char out[16])
{
    time_t t = (time_t)(us / 1000000);
    struct tm tm;

    if (!gmtime_r(&t, &tm) || !strftime(out, 16, "%Y-%m-%d", &tm))
        strcpy(out, "-");
}

/* --- files of lines ---------------------------------------------------------- */

/* One file while it is read line by line. */
struct lines {
    const char *file, *next, *end;
    int number;
    char line[1024];
    char *word[WORDS_MAX];
    size_t n;
};

static int refuse(const struct lines *l, struct err *e, const char *wanted,
                  const char *found)
{
    return err_set(e, ERR_SPEC, "%s:%d: wanted %s, found \"%.60s\"", l->file, l->number,
                   wanted, found);
}

/* False when there are too many words: none may go unheard, it could be the one that
 * says until when. */
static bool split(struct lines *l)
{
    char *save = NULL;

    l->n = 0;
    for (char *w = strtok_r(l->line, " \t\r", &save); w;
         w = strtok_r(NULL, " \t\r", &save)) {
        if (l->n == WORDS_MAX)
            return false;
        l->word[l->n++] = w;
    }
    return true;
}

static bool is_comment(const char *line)
{
    return line[0] == '#' && (line[1] == ' ' || line[1] == '\0');
}

/* Move to the next line that says something: 1 there is one, 0 no more. */
static int lines_next(struct lines *l, struct err *e)
{
    while (l->next < l->end) {
        const char *stop = memchr(l->next, '\n', (size_t)(l->end - l->next));
        size_t len = (size_t)((stop ? stop : l->end) - l->next);

        l->number++;
        if (len >= sizeof l->line || memchr(l->next, '\0', len))
            return refuse(l, e, "a line of at most 1023 bytes of text",
                          "something else");
        memcpy(l->line, l->next, len);
        l->line[len] = '\0';
        l->next += len + (stop != NULL);
        if (!str_is_utf8(l->line, len))
            return refuse(l, e, "UTF-8 text", "other bytes");
        if (is_comment(l->line))
            continue;
        if (!split(l))
            return refuse(l, e, "at most 16 words", "more");
        if (l->n > 0)
            return 1;
    }
    return 0;
}

/* Whoever may write this file may come in, whoever may read a secret too. */
static int check_mode(const char *path, bool secret, struct err *e)
{
    unsigned forbidden = secret ? 0077 : 0022;
    struct stat st;

    if (lstat(path, &st) < 0)
        return err_sys(e, err_code_of(errno), errno, "%s", path);
    if (!S_ISREG(st.st_mode))
        return err_set(e, ERR_DENIED, "%s: wanted a file, found something else", path);
    if (st.st_uid != geteuid())
        return err_set(e, ERR_DENIED, "%s: must belong to user %u, belongs to %u", path,
                       (unsigned)geteuid(), (unsigned)st.st_uid);
    if (st.st_mode & forbidden)
        return err_set(e, ERR_DENIED,
                       "%s: others must not be able to %s it, its mode is "
                       "%03o",
                       path, secret ? "read" : "write", (unsigned)st.st_mode & 0777);
    return 0;
}

/* --- a key ---------------------------------------------------------------------- */

/* In a file of lines of words a name is one word of UTF-8. */
static void make_word(char *name)
{
    bool utf8 = str_is_utf8(name, strlen(name));

    if (!*name)
        strcpy(name, "_");
    for (unsigned char *p = (unsigned char *)name; *p; p++)
        if (*p >= 0x80 ? !utf8 : !isgraph(*p))
            *p = '_';
}

int key_make(const char *name, struct key *out, struct err *e)
{
    *out = (struct key){0};
    snprintf(out->name, sizeof out->name, "%s", name);
    make_word(out->name);
    clock_iso(clock_wall_us(), out->created, sizeof out->created);
    do { /* a key is written on command lines: it must not look like an option */
        if (zmq_curve_keypair(out->public, out->secret) != 0)
            return err_set(e, ERR_FAILED, "making a key: %s",
                           zmq_strerror(zmq_errno()));
    } while (!isalnum((unsigned char)out->public[0]));
    return 0;
}

int key_write(const char *path, const struct key *k, struct err *e)
{
    struct buf text = {0};
    int rc;

    if (fs_exists(path))
        return err_set(e, ERR_FAILED, "%s: is there already, and is kept", path);
    buf_printf(&text,
               "# A key of nnd. Whoever has this file is its owner to nnd.\n"
               "name %s\ncreated %s\npublic %s\nsecret %s\n",
               k->name, k->created, k->public, k->secret);
    rc = fs_replace(path, text.data, text.len, e);
    explicit_bzero(text.data, text.len);
    buf_free(&text);
    return rc;
}

static int take_line(const struct lines *l, struct key *k, struct err *e)
{
    const struct {
        const char *word;
        char *out;
        size_t size;
        bool z85;
    } fields[] = {
        {"name", k->name, sizeof k->name, false},
        {"created", k->created, sizeof k->created, false},
        {"public", k->public, sizeof k->public, true},
        {"secret", k->secret, sizeof k->secret, true},
    };

    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        if (strcmp(l->word[0], fields[i].word) != 0)
            continue;
        if (l->n != 2 || strlen(l->word[1]) >= fields[i].size ||
            (fields[i].z85 && !keys_is_z85(l->word[1])))
            break;
        memcpy(fields[i].out, l->word[1], strlen(l->word[1]) + 1);
        return 0;
    }
    /* the line may be a secret: its first word is all that is shown of it */
    return refuse(l, e, "name, created, public or secret and its value", l->word[0]);
}

int key_read(const char *path, struct key *out, struct err *e)
{
    struct buf text = {0};
    struct lines l = {.file = path};
    struct key k = {0};
    int rc = check_mode(path, true, e);

    if (rc == 0)
        rc = fs_read(path, FILE_MAX, &text, e);
    l.next = text.data ? text.data : "";
    l.end = l.next + text.len;
    while (rc == 0 && (rc = lines_next(&l, e)) > 0)
        rc = take_line(&l, &k, e);
    if (rc == 0 && (!*k.public || !*k.secret))
        rc = err_set(e, ERR_SPEC, "%s: wanted a public and a secret key, found none",
                     path);
    if (text.data)
        explicit_bzero(text.data, text.len);
    buf_free(&text);
    if (rc == 0)
        *out = k;
    return rc;
}

/* --- the allow list ----------------------------------------------------------- */

static bool is_user(const char *name)
{
    size_t n = strlen(name);

    return n > 0 && n <= 32 &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                        "0123456789._-") == n;
}

/* "user=alice" into the entry; false when it cannot be. */
static bool take_pair(char *word, struct allowed *a, struct arena *arena)
{
    char *value = strchr(word, '=');
    uint64_t number;

    if (!value)
        return false;
    *value++ = '\0';
    if (strcmp(word, "user") == 0 && is_user(value)) {
        strcpy(a->user, value);
        return true;
    }
    if (strcmp(word, "uid") == 0 && str_to_u64(value, &number) && number < UINT32_MAX) {
        a->uid = (uint32_t)number;
        return true;
    }
    if (strcmp(word, "role") == 0)
        return (a->role = role_of(value)) != ROLE_NONE;
    if (strcmp(word, "until") == 0)
        return keys_date_parse(value, &a->until_us);
    if (strcmp(word, "comment") == 0) {
        a->comment = arena_strdup(arena, value);
        return true;
    }
    return false;
}

static int take_allowed(struct lines *l, struct allow_list *list, struct err *e)
{
    struct allowed a = {.until_us = INT64_MAX, .uid = UINT32_MAX, .line = l->number};

    if (!keys_is_z85(l->word[0]))
        return refuse(l, e, "a public key of 40 characters first", l->word[0]);
    strcpy(a.public, l->word[0]);
    for (size_t i = 1; i < l->n; i++) {
        char shown[64];

        snprintf(shown, sizeof shown, "%s", l->word[i]);
        if (!take_pair(l->word[i], &a, list->arena))
            return refuse(l, e,
                          "user=NAME, uid=N, role=observer|user|operator|admin, "
                          "until=YYYY-MM-DD or comment=WORD",
                          shown);
    }
    if (!*a.user || a.uid == UINT32_MAX || a.role == ROLE_NONE)
        return refuse(l, e, "user=, uid= and role=", a.public);
    for (size_t i = 0; i < list->n; i++) {
        const struct allowed *b = &list->items[i];

        if (strcmp(a.public, b->public) == 0)
            return refuse(l, e, "each key once", a.public);
        if ((strcmp(a.user, b->user) == 0) != (a.uid == b->uid))
            return refuse(l, e, "one uid for one user, and another for another",
                          a.user);
    }
    if (list->n == ALLOWED_MAX)
        return refuse(l, e, "at most 10000 keys", a.public);
    list->items[list->n++] = a;
    return 0;
}

int allow_list_parse(const char *file, const char *text, size_t len,
                     struct allow_list *out, struct err *e)
{
    struct lines l = {.file = file, .next = text, .end = text + len};
    struct allow_list list = {.arena = arena_create()};
    size_t room = 1;
    int rc = 0;

    for (size_t i = 0; i < len; i++)
        room += text[i] == '\n';
    room = room < ALLOWED_MAX ? room : ALLOWED_MAX;
    list.items = arena_calloc(list.arena, room, sizeof *list.items);
    while (rc == 0 && (rc = lines_next(&l, e)) > 0)
        rc = take_allowed(&l, &list, e);
    if (rc < 0) {
        arena_destroy(list.arena);
        return rc;
    }
    *out = list;
    return 0;
}

int allow_list_read(const char *path, struct allow_list *out, struct err *e)
{
    struct buf text = {0};
    int rc = 0;

    if (!fs_exists(path))
        return allow_list_parse(path, "", 0, out, e);
    rc = check_mode(path, false, e);
    if (rc == 0)
        rc = fs_read(path, FILE_MAX, &text, e);
    if (rc == 0)
        rc = allow_list_parse(path, text.data ? text.data : "", text.len, out, e);
    buf_free(&text);
    return rc;
}

void allow_list_free(struct allow_list *l)
{
    arena_destroy(l->arena);
    *l = (struct allow_list){0};
}

static void put_allowed(struct buf *text, const struct allowed *a)
{
    char date[16];

    buf_printf(text, "%s user=%s uid=%u role=%s", a->public, a->user, (unsigned)a->uid,
               role_name(a->role));
    keys_date_print(a->until_us, date);
    if (a->until_us != INT64_MAX)
        buf_printf(text, " until=%s", date);
    if (a->comment)
        buf_printf(text, " comment=%s", a->comment);
    buf_puts(text, "\n");
}

/* The comments of the file that was are the operator's: each stays before the entry
 * that it stood before, and none goes with an entry that is taken out. */
static void put_lines(struct buf *text, const struct buf *was,
                      const struct allow_list *l)
{
    const char *at = was->data, *end = at ? at + was->len : NULL;
    size_t next = 0;

    for (int number = 1; at < end; number++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t len = (size_t)((stop ? stop : end) - at);
        char head[3] = "";

        memcpy(head, at, len < 2 ? len : 2);
        if (len == 0 || is_comment(head)) {
            buf_add(text, at, len);
            buf_puts(text, "\n");
        }
        while (next < l->n && l->items[next].line && l->items[next].line <= number)
            put_allowed(text, &l->items[next++]);
        at += len + (stop != NULL);
    }
    while (next < l->n)
        put_allowed(text, &l->items[next++]);
}

int allow_list_write(const char *path, const struct allow_list *l, struct err *e)
{
    struct buf was = {0}, text = {0};
    int rc = fs_exists(path) ? fs_read(path, FILE_MAX, &was, e) : 0;

    if (was.len == 0)
        buf_puts(&text, "# Keys that nnd lets in; see nnctl key.\n");
    put_lines(&text, &was, l);
    if (rc == 0)
        rc = fs_replace(path, text.data, text.len, e);
    buf_free(&text);
    buf_free(&was);
    return rc;
}

const struct allowed *allow_list_find(const struct allow_list *l, const char *public)
{
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->items[i].public, public) == 0)
            return &l->items[i];
    return NULL;
}

/* --- servers ------------------------------------------------------------------ */

int servers_find(const char *path, const char *uri, char (*out)[KEYS_Z85], size_t max,
                 size_t *n, struct err *e)
{
    struct buf text = {0};
    struct lines l = {.file = path};
    int rc = 0;

    *n = 0;
    if (!fs_exists(path))
        return 0;
    rc = check_mode(path, false, e);
    if (rc == 0)
        rc = fs_read(path, FILE_MAX, &text, e);
    l.next = text.data ? text.data : "";
    l.end = l.next + text.len;
    while (rc == 0 && (rc = lines_next(&l, e)) > 0) {
        rc = 0;
        for (size_t i = 1; rc == 0 && i < l.n; i++)
            if (!keys_is_z85(l.word[i]))
                rc = refuse(&l, e, "an address and public keys", l.word[i]);
            else if (strcmp(l.word[0], uri) == 0 && *n < max)
                strcpy(out[(*n)++], l.word[i]);
    }
    buf_free(&text);
    return rc;
}
