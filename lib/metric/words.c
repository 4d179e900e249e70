/* SPDX-License-Identifier: Apache-2.0 */
/*
 * words.c - cutting texts, and what two of them have in common.
 *
 * The rules are lists of passes over the bytes.  They look at ASCII alone and take
 * every other byte for a letter, which is the same as looking at characters.
 */
#include "metric/words.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/oom.h"
#include "data/utf8.h"

/* --- characters ----------------------------------------------------------- */

/* What Python's str.split() splits at. */
static bool is_blank(uint32_t c)
{
    return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 ||
           c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
           c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_stop(char c)
{
    return c == '.' || c == ',';
}

/* The marks of ASCII but for apostrophe, comma, hyphen and full stop. */
static bool is_mark(char c)
{
    return (c >= '{' && c <= '~') || (c >= '[' && c <= '`') || (c >= ' ' && c <= '&') ||
           (c >= '(' && c <= '+') || (c >= ':' && c <= '@') || c == '/';
}

/* What sacreBLEU takes for Chinese.  The two ranges at the end are what becomes of
 * U+20000 to U+2A6D6 and U+2F800 to U+2FA1D there: "\u20000" is two characters to
 * Python, and single ones are compared with that. */
static bool is_chinese(uint32_t c)
{
    static const uint32_t range[][2] = {
        {0x3400, 0x4db5}, {0x4e00, 0x9fbb}, {0xf900, 0xfa2d}, {0xfa30, 0xfa6a},
        {0xfa70, 0xfad9}, {0xff00, 0xffef}, {0x2e80, 0x2eff}, {0x3000, 0x303f},
        {0x31c0, 0x31ef}, {0x2f00, 0x2fdf}, {0x2ff0, 0x2fff}, {0x3100, 0x312f},
        {0x31a0, 0x31bf}, {0xfe10, 0xfe1f}, {0xfe30, 0xfe4f}, {0x2600, 0x27bf},
        {0x3200, 0x33ff}, {0x2001, 0x2a6d}, {0x2f81, 0x2fa1},
    };

    for (size_t i = 0; i < sizeof range / sizeof *range; i++)
        if (c >= range[i][0] && c <= range[i][1])
            return true;
    return false;
}

/* The character at text[0...len); a byte that is none counts for itself. */
static size_t next_point(const char *text, size_t len, uint32_t *c)
{
    size_t n = utf8_get(text, len, c);

    if (n > 0)
        return n;
    *c = (unsigned char)*text;
    return 1;
}

/* Without the blanks at its end; with `both`, without those before it as well. */
static void strip(const char **text, size_t *len, bool both)
{
    size_t first = 0, end = 0, n;
    bool begun = !both;
    uint32_t c;

    for (size_t i = 0; i < *len; i += n) {
        n = next_point(*text + i, *len - i, &c);
        if (!begun && is_blank(c))
            first = i + n;
        else
            begun = true;
        if (!is_blank(c))
            end = i + n;
    }
    *text += first;
    *len = end > first ? end - first : 0;
}

/* --- passes --------------------------------------------------------------- */

typedef void pass_f(const char *s, size_t n, struct buf *out);

static void replace(const char *s, size_t n, const char *what, const char *by,
                    struct buf *out)
{
    size_t len = strlen(what);

    for (size_t i = 0; i < n;) {
        bool same = i + len <= n && memcmp(s + i, what, len) == 0;

        if (same)
            buf_puts(out, by);
        else
            buf_add(out, s + i, 1);
        i += same ? len : 1;
    }
}

/* What markup leaves in a text, one behind the other: "&amp;lt;" becomes "<". */
static void pass_skipped(const char *s, size_t n, struct buf *out)
{
    replace(s, n, "<skipped>", "", out);
}

static void pass_broken(const char *s, size_t n, struct buf *out)
{
    replace(s, n, "-\n", "", out);
}

static void pass_line(const char *s, size_t n, struct buf *out)
{
    replace(s, n, "\n", " ", out);
}

static void pass_quot(const char *s, size_t n, struct buf *out)
{
    replace(s, n, "&quot;", "\"", out);
}

static void pass_amp(const char *s, size_t n, struct buf *out)
{
    replace(s, n, "&amp;", "&", out);
}

static void pass_lt(const char *s, size_t n, struct buf *out)
{
    replace(s, n, "&lt;", "<", out);
}

static void pass_gt(const char *s, size_t n, struct buf *out)
{
    replace(s, n, "&gt;", ">", out);
}

static void pass_pad(const char *s, size_t n, struct buf *out)
{
    buf_puts(out, " ");
    buf_add(out, s, n);
    buf_puts(out, " ");
}

static void pass_marks(const char *s, size_t n, struct buf *out)
{
    for (size_t i = 0; i < n; i++)
        if (is_mark(s[i]))
            buf_printf(out, " %c ", s[i]);
        else
            buf_add(out, s + i, 1);
}

/* Stops that have no digit before them. */
static void pass_stop_behind(const char *s, size_t n, struct buf *out)
{
    for (size_t i = 0; i < n; i++) {
        buf_add(out, s + i, 1);
        if (i + 1 < n && !is_digit(s[i]) && is_stop(s[i + 1]))
            buf_printf(out, " %c ", s[++i]);
    }
}

/* Stops that have no digit behind them. */
static void pass_stop_before(const char *s, size_t n, struct buf *out)
{
    for (size_t i = 0; i < n; i++) {
        if (i + 1 < n && is_stop(s[i]) && !is_digit(s[i + 1]))
            buf_printf(out, " %c ", s[i++]);
        buf_add(out, s + i, 1);
    }
}

/* Hyphens behind a digit. */
static void pass_hyphen(const char *s, size_t n, struct buf *out)
{
    for (size_t i = 0; i < n; i++) {
        buf_add(out, s + i, 1);
        if (i + 1 < n && is_digit(s[i]) && s[i + 1] == '-')
            buf_printf(out, " %c ", s[++i]);
    }
}

static void apart(const char *s, size_t n, struct buf *out, bool all)
{
    for (size_t i = 0; i < n;) {
        uint32_t c;
        size_t k = next_point(s + i, n - i, &c);
        bool alone = all || is_chinese(c);

        buf_puts(out, alone ? " " : "");
        buf_add(out, s + i, k);
        buf_puts(out, alone ? " " : "");
        i += k;
    }
}

static void pass_chinese(const char *s, size_t n, struct buf *out)
{
    apart(s, n, out, false);
}

static void pass_all_apart(const char *s, size_t n, struct buf *out)
{
    apart(s, n, out, true);
}

/* Small letters and digits; two letters outside ASCII have small ones within. */
static void pass_rouge(const char *s, size_t n, struct buf *out)
{
    for (size_t i = 0; i < n;) {
        uint32_t c;
        size_t k = next_point(s + i, n - i, &c);
        bool kept = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');

        if (c >= 'A' && c <= 'Z')
            buf_printf(out, "%c", (char)(c - 'A' + 'a'));
        else
            buf_puts(out, c == 0x212a ? "k" : c == 0x130 ? "i " : kept ? "" : " ");
        if (kept)
            buf_add(out, s + i, k);
        i += k;
    }
}

static pass_f *const passes[WORDS_RULES][13] = {
    [WORDS_13A] = {pass_skipped, pass_broken, pass_line, pass_quot, pass_amp, pass_lt,
                   pass_gt, pass_pad, pass_marks, pass_stop_behind, pass_stop_before,
                   pass_hyphen},
    [WORDS_ZH] = {pass_chinese, pass_marks, pass_stop_behind, pass_stop_before,
                  pass_hyphen},
    [WORDS_CHAR] = {pass_all_apart},
    [WORDS_ROUGE] = {pass_rouge},
};

/* --- numbers -------------------------------------------------------------- */

void words_index_init(struct words_index *x)
{
    *x = (struct words_index){.known = map_create()};
}

void words_index_free(struct words_index *x)
{
    if (x->known)
        map_destroy(x->known);
    buf_free(&x->scratch[0]);
    buf_free(&x->scratch[1]);
    *x = (struct words_index){0};
}

static void put(struct words *w, uint32_t id)
{
    if (w->n == w->cap) {
        size_t cap = w->cap ? 2 * w->cap : 64;

        w->id = oom_realloc(w->id, cap * sizeof *w->id);
        w->cap = cap;
    }
    w->id[w->n++] = id;
}

/* Values are numbers plus one, for NULL says that there is none. */
static uint32_t number_of(struct words_index *x, const char *word)
{
    uintptr_t have = (uintptr_t)map_get(x->known, word);

    if (!have) {
        have = map_count(x->known) + 1;
        map_put(x->known, word, (void *)have);
    }
    return (uint32_t)(have - 1);
}

/* The runs of b that blanks separate; b is written to. */
static void take_words(struct words_index *x, struct buf *b, struct words *w)
{
    char *s = b->data ? b->data : (char[1]){0};
    size_t from = 0, n;

    for (size_t i = 0; i < b->len; i += n) {
        uint32_t c;

        n = next_point(s + i, b->len - i, &c);
        if (!is_blank(c))
            continue;
        s[i] = '\0';
        if (i > from)
            put(w, number_of(x, s + from));
        from = i + n;
    }
    if (b->len > from)
        put(w, number_of(x, s + from));
}

void words_cut(struct words_index *x, enum words_rule rule, const char *text,
               size_t len, struct words *w)
{
    struct buf *now = &x->scratch[0], *next = &x->scratch[1];

    w->n = 0;
    strip(&text, &len, rule == WORDS_ZH);
    buf_clear(now);
    buf_add(now, text, len);
    for (pass_f *const *p = passes[rule]; *p; p++) {
        struct buf *t = now;

        buf_clear(next);
        (*p)(now->data, now->len, next);
        now = next;
        next = t;
    }
    take_words(x, now, w);
}

void words_points(const char *text, size_t len, struct words *w)
{
    size_t n;

    w->n = 0;
    for (size_t i = 0; i < len; i += n) {
        uint32_t c;

        n = next_point(text + i, len - i, &c);
        if (!is_blank(c))
            put(w, c);
    }
}

void words_free(struct words *w)
{
    free(w->id);
    *w = (struct words){0};
}

/* --- counting ------------------------------------------------------------- */

/* Words that follow each other. */
struct gram {
    const uint32_t *id;
    size_t n;
};

static int compare(const void *x, const void *y)
{
    const struct gram *a = x, *b = y;

    for (size_t i = 0; i < a->n; i++)
        if (a->id[i] != b->id[i])
            return a->id[i] < b->id[i] ? -1 : 1;
    return 0;
}

static struct gram *sorted(const struct words *w, size_t n, size_t count)
{
    struct gram *g = oom_calloc(count, sizeof *g);

    for (size_t i = 0; i < count; i++)
        g[i] = (struct gram){w->id + i, n};
    qsort(g, count, sizeof *g, compare);
    return g;
}

size_t words_grams(const struct words *w, size_t n)
{
    return w->n < n ? 0 : w->n - n + 1;
}

/* Mark those of x[nx] that b has as well.  Equal ones stand side by side, and of these
 * the first are marked: so what several texts mark of them is what one does. */
static void mark_common(const struct gram *x, size_t nx, const struct words *b,
                        size_t n, bool *marked)
{
    size_t ny = words_grams(b, n), i = 0, k = 0;
    struct gram *y = ny ? sorted(b, n, ny) : NULL;

    while (i < nx && k < ny) {
        int order = compare(&x[i], &y[k]);

        marked[i] |= order == 0;
        i += order <= 0;
        k += order >= 0;
    }
    free(y);
}

size_t words_common(const struct words *a, const struct words *b, size_t texts,
                    size_t n)
{
    size_t na = words_grams(a, n), common = 0;
    struct gram *x;
    bool *marked;

    if (na == 0)
        return 0;
    x = sorted(a, n, na);
    marked = oom_calloc(na, sizeof *marked);
    for (size_t t = 0; t < texts; t++)
        mark_common(x, na, &b[t], n, marked);
    for (size_t i = 0; i < na; i++)
        common += marked[i];
    free(marked);
    free(x);
    return common;
}

size_t words_lcs(const struct words *a, const struct words *b)
{
    size_t *row = oom_calloc(b->n + 1, sizeof *row), length;

    for (size_t i = 0; i < a->n; i++) {
        size_t before = 0; /* row[k] of the line above */

        for (size_t k = 0; k < b->n; k++) {
            size_t above = row[k + 1], left = row[k];

            row[k + 1] = a->id[i] == b->id[k] ? before + 1
                         : above > left       ? above
                                              : left;
            before = above;
        }
    }
    length = row[b->n];
    free(row);
    return length;
}
