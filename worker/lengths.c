/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lengths.c - a scorer for each range of lengths and each system.
 *
 * Ranges that nothing fell into are left out.  A source without words counts as one of
 * the shortest.
 */
#include "worker/lengths.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/oom.h"
#include "base/str.h"
#include "worker/svg.h"

enum {
    MAX_RANGES = 10, /* when nobody says how many words one has */
    WIDTH = 560,
    HEIGHT = 320,
    LEFT = 56,
    RIGHT = 20,
    TOP = 40,
    BOTTOM = 52,
    TICKS = 5,
    LINE = 18, /* of the legend */
};

struct system {
    const char *name;
    struct scorer **scorer; /* [ranges]; NULL: no text of that length */
};

struct lengths {
    enum words_rule rule;
    int64_t step;
    size_t *range; /* of each source */
    size_t ranges;
    struct system *system;
    int systems;
};

/* --- collecting ----------------------------------------------------------- */

/* The least of 1, 2, 5, 10, 20, ... that gives no more than MAX_RANGES. */
static int64_t fitting_step(size_t longest)
{
    static const int64_t round[] = {1, 2, 5};
    int64_t scale = 1;

    for (;; scale *= 10)
        for (int i = 0; i < 3; i++)
            if ((int64_t)longest <= MAX_RANGES * round[i] * scale)
                return round[i] * scale;
}

void lengths_create(enum words_rule rule, const struct lines *source, int64_t step,
                    struct lengths **out)
{
    struct lengths *l = oom_calloc(1, sizeof *l);
    struct words_index index;
    struct words words = {0};
    size_t longest = 1;

    words_index_init(&index);
    l->rule = rule;
    l->range = oom_calloc(source->n + 1, sizeof *l->range);
    for (size_t i = 0; i < source->n; i++) {
        words_cut(&index, WORDS_ZH, source->line[i].text, source->line[i].len, &words);
        l->range[i] = words.n ? words.n : 1;
        longest = l->range[i] > longest ? l->range[i] : longest;
    }
    l->step = step ? step : fitting_step(longest);
    l->ranges = (longest - 1) / (size_t)l->step + 1;
    for (size_t i = 0; i < source->n; i++)
        l->range[i] = (l->range[i] - 1) / (size_t)l->step;
    words_free(&words);
    words_index_free(&index);
    *out = l;
}

void lengths_destroy(struct lengths *l)
{
    if (!l)
        return;
    for (int k = 0; k < l->systems; k++) {
        for (size_t i = 0; i < l->ranges; i++)
            scorer_destroy(l->system[k].scorer[i]);
        free(l->system[k].scorer);
    }
    free(l->system);
    free(l->range);
    free(l);
}

int lengths_system(struct lengths *l, const char *name)
{
    size_t n = (size_t)l->systems + 1;

    l->system = oom_realloc(l->system, n * sizeof *l->system);
    l->system[n - 1] =
        (struct system){str_is_utf8(name, strlen(name)) ? name : "?",
                        oom_calloc(l->ranges, sizeof *l->system[n - 1].scorer)};
    return l->systems++;
}

int lengths_add(struct lengths *l, int k, size_t i, const struct metric_text *text,
                const struct metric_text *wanted, size_t n, struct err *e)
{
    struct scorer **s = &l->system[k].scorer[l->range[i]];

    if (!*s)
        scorer_create(l->rule, s);
    return scorer_add_any(*s, text, wanted, n, e);
}

/* --- figures -------------------------------------------------------------- */

static size_t texts_of(const struct lengths *l, size_t range)
{
    const struct scorer *s = l->system[0].scorer[range];

    return s ? scorer_count(s) : 0;
}

static double bleu_of(const struct lengths *l, int k, size_t range)
{
    return scorer_value(l->system[k].scorer[range], METRIC_BLEU);
}

static int64_t from_of(const struct lengths *l, size_t range)
{
    return (int64_t)range * l->step + 1;
}

static void range_text(const struct lengths *l, size_t range, char out[48])
{
    int64_t from = from_of(l, range), to = from + l->step - 1;

    if (from == to)
        snprintf(out, 48, "%" PRId64, from);
    else
        snprintf(out, 48, "%" PRId64 "-%" PRId64, from, to);
}

void lengths_print(const struct lengths *l)
{
    char text[48];

    printf("\n%-14s %8s", "source words", "texts");
    for (int k = 0; k < l->systems; k++)
        printf("  %12s", l->system[k].name);
    putchar('\n');
    for (size_t i = 0; i < l->ranges; i++) {
        if (!texts_of(l, i))
            continue;
        range_text(l, i, text);
        printf("%-14s %8zu", text, texts_of(l, i));
        for (int k = 0; k < l->systems; k++)
            printf("  %12.4f", bleu_of(l, k, i));
        putchar('\n');
    }
}

json_t *lengths_json(const struct lengths *l)
{
    json_t *systems = json_array(), *ranges = json_array();

    for (int k = 0; k < l->systems; k++)
        json_array_append_new(systems, json_string(l->system[k].name));
    for (size_t i = 0; i < l->ranges; i++) {
        json_t *bleu = json_array();

        for (int k = 0; texts_of(l, i) && k < l->systems; k++)
            json_array_append_new(bleu, json_real(bleu_of(l, k, i)));
        if (texts_of(l, i))
            json_array_append_new(
                ranges,
                json_pack("{s:I, s:I, s:I, s:O}", "from", (json_int_t)from_of(l, i),
                          "to", (json_int_t)(from_of(l, i) + l->step - 1), "texts",
                          (json_int_t)texts_of(l, i), "bleu", bleu));
        json_decref(bleu);
    }
    return json_pack("{s:I, s:o, s:o}", "step", (json_int_t)l->step, "systems", systems,
                     "ranges", ranges);
}

/* --- a picture ------------------------------------------------------------ */

static const char *const colors[] = {"#0b5394", "#b45f06", "#38761d",
                                     "#741b47", "#7f6000", "#134f5c"};

static const char *color_of(int k)
{
    return colors[k % (int)(sizeof colors / sizeof *colors)];
}

/* What the axis ends with: the best of all, up to the next ten. */
static int top_of(const struct lengths *l)
{
    double most = 0;

    for (int k = 0; k < l->systems; k++)
        for (size_t i = 0; i < l->ranges; i++)
            if (texts_of(l, i) && bleu_of(l, k, i) > most)
                most = bleu_of(l, k, i);
    return most < 10 ? 10 : ((int)(most - 1e-9) / 10 + 1) * 10;
}

static double at_x(const struct lengths *l, size_t range)
{
    return LEFT + ((double)range + 0.5) * (WIDTH - LEFT - RIGHT) / (double)l->ranges;
}

static double at_y(int top, double bleu)
{
    return TOP + (1 - bleu / top) * (HEIGHT - TOP - BOTTOM);
}

static void draw_axes(const struct lengths *l, int top, struct buf *out)
{
    char text[48];

    for (int i = 0; i <= TICKS; i++) {
        double v = (double)top * i / TICKS, y = at_y(top, v);

        buf_printf(out,
                   "<line x1='%d' x2='%d' y1='%.1f' y2='%.1f' class='grid'/>"
                   "<text x='%d' y='%.1f' text-anchor='end'>%.0f</text>\n",
                   LEFT, WIDTH - RIGHT, y, y, LEFT - 8, y + 4, v);
    }
    for (size_t i = 0; i < l->ranges; i++) {
        range_text(l, i, text);
        buf_printf(out, "<text x='%.1f' y='%d' text-anchor='middle'>%s</text>\n",
                   at_x(l, i), HEIGHT - BOTTOM + 18, text);
    }
    buf_printf(out,
               "<text x='%d' y='%d' text-anchor='middle'>words of the source</text>\n"
               "<text x='%d' y='%d'>BLEU</text>\n",
               (LEFT + WIDTH - RIGHT) / 2, HEIGHT - BOTTOM + 40, LEFT - 40, TOP - 14);
}

static void draw_system(const struct lengths *l, int k, int top, struct buf *out)
{
    buf_printf(out, "<g stroke='%s' fill='%s'><polyline fill='none' points='",
               color_of(k), color_of(k));
    for (size_t i = 0; i < l->ranges; i++)
        if (texts_of(l, i))
            buf_printf(out, "%.1f,%.1f ", at_x(l, i), at_y(top, bleu_of(l, k, i)));
    buf_puts(out, "'/>\n");
    for (size_t i = 0; i < l->ranges; i++)
        if (texts_of(l, i))
            buf_printf(out,
                       "<circle cx='%.1f' cy='%.1f' r='3'><title>%.2f of %zu "
                       "texts</title></circle>\n",
                       at_x(l, i), at_y(top, bleu_of(l, k, i)), bleu_of(l, k, i),
                       texts_of(l, i));
    buf_printf(out,
               "<rect x='%d' y='%d' width='10' height='10'/></g><text x='%d' "
               "y='%d'>",
               LEFT, HEIGHT + LINE * k, LEFT + 16, HEIGHT + LINE * k + 10);
    svg_text(out, l->system[k].name);
    buf_puts(out, "</text>\n");
}

static void draw(const struct lengths *l, struct buf *out)
{
    int high = HEIGHT + LINE * l->systems + 8, top = top_of(l);

    buf_printf(out,
               "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 %d %d' "
               "width='%d' height='%d' role='img'>\n"
               "<title>BLEU by the length of the source</title>\n"
               "<style>text{font:12px sans-serif;fill:#222}.grid{stroke:#ddd}"
               "polyline{stroke-width:1.6}rect.back{fill:#fff}"
               "@media(prefers-color-scheme:dark){text{fill:#ddd}.grid{stroke:#444}"
               "rect.back{fill:#161616}}</style>\n"
               "<rect class='back' width='%d' height='%d'/>\n",
               WIDTH, high, WIDTH, high, WIDTH, high);
    draw_axes(l, top, out);
    for (int k = 0; k < l->systems; k++)
        draw_system(l, k, top, out);
    buf_puts(out, "</svg>\n");
}

/* --- a file --------------------------------------------------------------- */

int lengths_check(const char *path, struct err *e)
{
    if (str_ends(path, ".svg") || str_ends(path, ".json"))
        return 0;
    return err_set(
        e, ERR_USAGE,
        "--by-length: wanted a name that ends in .svg or .json, found \"%s\"", path);
}

int lengths_write(const struct lengths *l, const char *path, struct err *e)
{
    struct buf b = {0};
    int rc;

    if (str_ends(path, ".svg")) {
        draw(l, &b);
    } else {
        json_t *all = lengths_json(l);
        char *text = json_dumps(all, JSON_COMPACT);

        buf_printf(&b, "%s\n", text ? text : "");
        free(text);
        json_decref(all);
    }
    rc = fs_publish(path, b.data, b.len, e);
    buf_free(&b);
    return rc;
}
