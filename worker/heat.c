/* SPDX-License-Identifier: Apache-2.0 */
/*
 * heat.c - heat maps.
 *
 * A cell's colour is its weight, from the background's to full; its number is there to
 * be read when the pointer rests on it.
 */
#include "worker/heat.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/fs.h"
#include "base/str.h"
#include "data/utf8.h"
#include "worker/svg.h"

enum { CELL = 26, LETTER = 8, GAP = 18, FONT = 13 };

int heat_check(const char *path, struct err *e)
{
    if (str_ends(path, ".svg") || str_ends(path, ".json"))
        return 0;
    return err_set(
        e, ERR_USAGE,
        "--attention: wanted a name that ends in .svg or .json, found \"%s\"", path);
}

/* A token may be a part of a character: its bytes as \xE6. */
static void show(const struct buf *raw, struct buf *out)
{
    for (size_t i = 0; i < raw->len;) {
        uint32_t point;
        size_t n = utf8_get(raw->data + i, raw->len - i, &point);

        if (n)
            buf_add(out, raw->data + i, n);
        else
            buf_printf(out, "\\x%02X", (unsigned char)raw->data[i]);
        i += n ? n : 1;
    }
}

/* What one token says. */
static int label(const struct tokenizer *t, uint32_t id, struct buf *out, struct err *e)
{
    struct buf raw = {0};
    int rc = 0;

    buf_clear(out);
    buf_puts(out, "");
    if (tokenizer_marks(t) && id == TOKEN_EOS)
        buf_puts(out, "<eos>");
    else if ((rc = tokenizer_decode(t, &id, 1, &raw, e)) == 0)
        show(&raw, out);
    buf_free(&raw);
    return rc;
}

/* --- numbers -------------------------------------------------------------- */

static int labels_json(const struct tokenizer *t, const uint32_t *id, int64_t n,
                       json_t *list, struct err *e)
{
    struct buf b = {0};
    int rc = 0;

    for (int64_t i = 0; rc == 0 && i < n; i++) {
        json_t *text;

        rc = label(t, id[i], &b, e);
        text = rc == 0 ? json_stringn(b.data, b.len) : NULL;
        json_array_append_new(list, text ? text : json_string("?"));
    }
    buf_free(&b);
    return rc;
}

static int one_json(const struct lexicon *l, const struct heat *h, json_t *list,
                    struct err *e)
{
    json_t *source = json_array(), *target = json_array(), *weight = json_array();
    int rc = labels_json(lexicon_source(l), h->source, h->sources, source, e);

    if (rc == 0)
        rc = labels_json(l->target, h->target, h->targets, target, e);
    for (int64_t i = 0; i < h->targets; i++) {
        json_t *row = json_array();

        for (int64_t k = 0; k < h->sources; k++)
            json_array_append_new(row, json_real((double)h->weight[i * h->width + k]));
        json_array_append_new(weight, row);
    }
    json_array_append_new(list, json_pack("{s:I, s:o, s:o, s:o}", "line",
                                          (json_int_t)h->line, "source", source,
                                          "target", target, "weight", weight));
    return rc;
}

static int as_json(const struct lexicon *l, const struct heat *h, size_t n,
                   struct buf *out, struct err *e)
{
    json_t *list = json_array(), *all;
    char *text;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = one_json(l, &h[i], list, e);
    all = json_pack("{s:i, s:o}", "v", 1, "texts", list);
    text = json_dumps(all, JSON_COMPACT | JSON_REAL_PRECISION(9));
    json_decref(all);
    if (rc == 0 && !text)
        rc = err_set(e, ERR_FAILED, "--attention: the weights are no JSON");
    if (rc == 0)
        buf_printf(out, "%s\n", text);
    free(text);
    return rc;
}

/* --- a picture ------------------------------------------------------------ */

/* How wide a label is, about: characters outside ASCII count twice. */
static int width_of(const char *text)
{
    int n = 0;

    for (; *text; text++)
        n += (*text & 0xc0) == 0x80 ? 0 : (*text & 0x80) ? 2 * LETTER : LETTER;
    return n;
}

/* The widest label. */
static int widest(const struct tokenizer *t, const uint32_t *id, int64_t n, int *out,
                  struct err *e)
{
    struct buf b = {0};
    int rc = 0;

    for (int64_t i = 0; rc == 0 && i < n; i++) {
        rc = label(t, id[i], &b, e);
        if (rc == 0 && width_of(b.data) > *out)
            *out = width_of(b.data);
    }
    buf_free(&b);
    return rc;
}

/* Labels of columns stand upright above them, those of rows before them. */
static int draw_labels(const struct tokenizer *t, const uint32_t *id, int64_t n,
                       bool upright, struct buf *out, struct err *e)
{
    struct buf b = {0};
    int rc = 0;

    for (int64_t i = 0; rc == 0 && i < n; i++) {
        int at = (int)i * CELL + CELL / 2;

        rc = label(t, id[i], &b, e);
        if (rc < 0)
            break;
        if (upright)
            buf_printf(out, "<text transform='translate(%d,-6)rotate(-90)' y='4'>", at);
        else
            buf_printf(out, "<text x='-6' y='%d' text-anchor='end'>", at + 4);
        svg_text(out, b.data);
        buf_puts(out, "</text>\n");
    }
    buf_free(&b);
    return rc;
}

static void draw_cells(const struct heat *h, struct buf *out)
{
    for (int64_t i = 0; i < h->targets; i++)
        for (int64_t k = 0; k < h->sources; k++) {
            double w = (double)h->weight[i * h->width + k];

            buf_printf(out,
                       "<rect x='%d' y='%d' width='%d' height='%d' class='cell' "
                       "fill-opacity='%.3f'><title>%.4f</title></rect>\n",
                       (int)k * CELL, (int)i * CELL, CELL, CELL, w, w);
        }
}

static const char style[] =
    "<style>text{font:%dpx sans-serif;fill:#222}.cell{fill:#0b5394;stroke:#ccc}"
    "rect.back{fill:#fff}@media(prefers-color-scheme:dark){text{fill:#ddd}"
    ".cell{fill:#6fa8dc;stroke:#444}rect.back{fill:#161616}}</style>\n";

static int draw_panels(const struct lexicon *l, const struct heat *h, size_t n,
                       struct buf *out, int *wide, int *high, struct err *e)
{
    int left = 0, top = 0, rc = 0;

    for (size_t i = 0; rc == 0 && i < n; i++) {
        rc = widest(l->target, h[i].target, h[i].targets, &left, e);
        if (rc == 0)
            rc = widest(lexicon_source(l), h[i].source, h[i].sources, &top, e);
    }
    for (size_t i = 0; rc == 0 && i < n; i++) {
        int right = left + 2 * GAP + (int)h[i].sources * CELL;

        buf_printf(out, "<g transform='translate(%d,%d)'>\n", left + GAP,
                   *high + top + GAP);
        draw_cells(&h[i], out);
        rc = draw_labels(lexicon_source(l), h[i].source, h[i].sources, true, out, e);
        if (rc == 0)
            rc = draw_labels(l->target, h[i].target, h[i].targets, false, out, e);
        buf_puts(out, "</g>\n");
        *wide = right > *wide ? right : *wide;
        *high += top + 2 * GAP + (int)h[i].targets * CELL;
    }
    return rc;
}

static int as_svg(const struct lexicon *l, const struct heat *h, size_t n,
                  struct buf *out, struct err *e)
{
    struct buf panels = {0};
    int wide = 2 * GAP, high = 0, rc = draw_panels(l, h, n, &panels, &wide, &high, e);

    buf_printf(out,
               "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 %d %d' "
               "width='%d' height='%d' role='img'>\n"
               "<title>where each word looked</title>\n",
               wide, high + GAP, wide, high + GAP);
    buf_printf(out, style, FONT);
    buf_printf(out, "<rect class='back' width='%d' height='%d'/>\n", wide, high + GAP);
    buf_add(out, panels.data ? panels.data : "", panels.len);
    buf_puts(out, "</svg>\n");
    buf_free(&panels);
    return rc;
}

int heat_write(const char *path, const struct lexicon *l, const struct heat *h,
               size_t n, struct err *e)
{
    struct buf b = {0};
    int rc = str_ends(path, ".svg") ? as_svg(l, h, n, &b, e) : as_json(l, h, n, &b, e);

    if (rc == 0)
        rc = fs_publish(path, b.data, b.len, e);
    buf_free(&b);
    return rc;
}
