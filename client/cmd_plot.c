/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_plot.c - curves of a job as an SVG: loss and validation, learning rate,
 * gradient norm, load of the experts, a panel each.
 */
#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/fs.h"
#include "client/cmd.h"

enum {
    WIDTH = 760,
    HEIGHT = 220, /* of a panel */
    LEFT = 70,
    RIGHT = 20,
    TOP = 28,
    BOTTOM = 30,
    POINTS = 2000, /* more would not be seen */
    TICKS = 4,
};

struct options {
    const char *output;
};

static const struct opt table[] = {
    {OPT_TEXT, 'o', "output", "FILE", offsetof(struct options, output),
     "write there, not to standard output"},
    {0},
};

/* What is drawn: a panel has one or two curves over the steps. */
static const struct {
    const char *title;
    const char *key[2];
} panels[] = {
    {"loss (blue), validation (orange), nats per token", {"loss", "val_loss"}},
    {"learning rate", {"lr", NULL}},
    {"norm of the gradient", {"grad_norm", NULL}},
    {"busiest expert, in balanced loads", {"max_overload", NULL}},
};

enum { PANELS = sizeof panels / sizeof *panels, CURVES = 2 };

static const char *const colors[CURVES] = {"#1f6feb", "#e8590c"};

struct curve {
    struct buf points; /* struct point, side by side */
};

struct point {
    double x, y;
};

struct plot {
    struct curve curves[PANELS][CURVES];
    double last_step;
};

/* --- the figures -------------------------------------------------------------- */

static size_t count(const struct curve *c)
{
    return c->points.len / sizeof(struct point);
}

static const struct point *point(const struct curve *c, size_t i)
{
    return (const struct point *)c->points.data + i;
}

/* A job that went back to a checkpoint measures steps again: the last word counts. */
static void curve_add(struct curve *c, double x, double y)
{
    struct point p = {x, y};

    while (count(c) > 0 && point(c, count(c) - 1)->x >= x)
        c->points.len -= sizeof(struct point);
    buf_add(&c->points, &p, sizeof p);
}

static void add_line(struct plot *p, const char *line, size_t len)
{
    json_t *m = json_loadb(line, len, 0, NULL);
    double step = json_number_value(json_object_get(m, "step"));

    for (int i = 0; step > 0 && i < PANELS; i++)
        for (int k = 0; k < CURVES && panels[i].key[k]; k++) {
            const json_t *v = json_object_get(m, panels[i].key[k]);

            if (json_is_number(v) && isfinite(json_number_value(v)))
                curve_add(&p->curves[i][k], step, json_number_value(v));
        }
    if (step > p->last_step)
        p->last_step = step;
    json_decref(m);
}

static void add_lines(struct plot *p, const ProtobufCBinaryData *lines)
{
    const char *at = (const char *)lines->data,
               *end = lines->len ? at + lines->len : at;

    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));

        stop = stop ? stop : end;
        add_line(p, at, (size_t)(stop - at));
        at = stop + 1;
    }
}

static int read_metrics(struct client *c, uint64_t id, struct plot *p, struct err *e)
{
    Wire__Metrics q = WIRE__METRICS__INIT;
    bool more = true;
    int rc = 0;

    q.has_id = q.has_offset = true;
    q.id = id;
    while (rc == 0 && more) {
        Wire__MetricsReply *reply;

        rc = client_call(c, WIRE__TYPE__METRICS, &q, 0, &reply, e);
        if (rc < 0)
            return rc;
        add_lines(p, &reply->lines);
        q.offset = reply->next;
        more = !reply->eof;
        chan_free(&reply->base);
    }
    return rc;
}

/* --- the drawing ---------------------------------------------------------------- */

/* The range of a panel's values, a little wider than they are. */
static void range(const struct curve curves[CURVES], double *low, double *high)
{
    *low = INFINITY;
    *high = -INFINITY;
    for (int k = 0; k < CURVES; k++)
        for (size_t i = 0; i < count(&curves[k]); i++) {
            *low = fmin(*low, point(&curves[k], i)->y);
            *high = fmax(*high, point(&curves[k], i)->y);
        }
    if (*high - *low < 1e-12 * fmax(fabs(*high), 1e-300)) {
        *low -= fabs(*low) * 0.1 + 1e-12;
        *high += fabs(*high) * 0.1 + 1e-12;
    }
}

/* A panel's place and scale. */
struct frame {
    double top, low, high, steps;
};

static double at_x(const struct frame *f, double step)
{
    return LEFT + step / f->steps * (WIDTH - LEFT - RIGHT);
}

static double at_y(const struct frame *f, double v)
{
    return f->top + TOP + (f->high - v) / (f->high - f->low) * (HEIGHT - TOP - BOTTOM);
}

static void draw_axes(const struct frame *f, const char *title, struct buf *out)
{
    buf_printf(out,
               "<text x=\"%d\" y=\"%.1f\" class=\"t\">%s</text>\n"
               "<rect x=\"%d\" y=\"%.1f\" width=\"%d\" height=\"%d\" class=\"f\"/>\n",
               LEFT, f->top + TOP - 8, title, LEFT, f->top + TOP, WIDTH - LEFT - RIGHT,
               HEIGHT - TOP - BOTTOM);
    for (int i = 0; i <= TICKS; i++) {
        double v = f->low + (f->high - f->low) * i / TICKS, step = f->steps * i / TICKS;

        buf_printf(out,
                   "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" class=\"g\"/>\n"
                   "<text x=\"%d\" y=\"%.1f\" class=\"r\">%.4g</text>\n",
                   LEFT, WIDTH - RIGHT, at_y(f, v), at_y(f, v), LEFT - 6,
                   at_y(f, v) + 4, v);
        buf_printf(out, "<text x=\"%.1f\" y=\"%.1f\" class=\"m\">%.0f</text>\n",
                   at_x(f, step), f->top + HEIGHT - BOTTOM + 16, step);
    }
}

/* Of very many points every n-th is drawn, and the last. */
static void draw_curve(const struct frame *f, const struct curve *c, const char *color,
                       struct buf *out)
{
    size_t n = count(c), every = n / POINTS + 1;

    if (n == 0)
        return;
    buf_printf(out, "<polyline stroke=\"%s\" points=\"", color);
    for (size_t i = 0; i < n; i++)
        if (i % every == 0 || i + 1 == n)
            buf_printf(out, "%.1f,%.1f ", at_x(f, point(c, i)->x),
                       at_y(f, point(c, i)->y));
    buf_puts(out, "\"/>\n");
}

static int drawn(const struct plot *p)
{
    int n = 0;

    for (int i = 0; i < PANELS; i++)
        n += count(&p->curves[i][0]) + count(&p->curves[i][1]) > 0;
    return n;
}

static void draw(const struct plot *p, uint64_t id, struct buf *out)
{
    struct frame f = {.top = 30, .steps = p->last_step};

    buf_printf(out,
               "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
               "font-family=\"sans-serif\" font-size=\"11\">\n"
               "<style>.t,.h{font-size:13px}.h{font-weight:bold}.r{text-anchor:end}"
               ".m{text-anchor:middle}.f{fill:none;stroke:#888}.g{stroke:#ddd}"
               "polyline{fill:none;stroke-width:1.4}</style>\n"
               "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n"
               "<text x=\"%d\" y=\"20\" class=\"h\">job %llu, step %.0f</text>\n",
               WIDTH, 40 + HEIGHT * drawn(p), LEFT, (unsigned long long)id,
               p->last_step);
    for (int i = 0; i < PANELS; i++) {
        if (count(&p->curves[i][0]) + count(&p->curves[i][1]) == 0)
            continue;
        range(p->curves[i], &f.low, &f.high);
        draw_axes(&f, panels[i].title, out);
        for (int k = 0; k < CURVES; k++)
            draw_curve(&f, &p->curves[i][k], colors[k], out);
        f.top += HEIGHT;
    }
    buf_puts(out, "</svg>\n");
}

static int run(struct client *c, void *values, int argc, char **argv, struct err *e)
{
    const struct options *o = values;
    struct plot p = {0};
    struct buf out = {0};
    uint64_t id;
    int rc = c->opt.json ? err_set(e, ERR_USAGE,
                                   "takes no --json: nnctl metrics --json has the "
                                   "numbers that it draws")
                         : client_id(argv[0], &id, e);

    (void)argc;
    if (rc == 0)
        rc = read_metrics(c, id, &p, e);
    if (rc == 0 && p.last_step <= 0)
        rc = err_set(e, ERR_FAILED, "job %llu: has measured nothing yet",
                     (unsigned long long)id);
    if (rc == 0)
        draw(&p, id, &out);
    if (rc == 0 && o->output)
        rc = fs_publish(o->output, out.data, out.len, e);
    else if (rc == 0)
        fwrite(out.data, 1, out.len, stdout);
    for (int i = 0; i < PANELS; i++)
        for (int k = 0; k < CURVES; k++)
            buf_free(&p.curves[i][k].points);
    buf_free(&out);
    return rc;
}

const struct verb verb_plot = {
    .name = "plot",
    .args = "ID",
    .min_args = 1,
    .max_args = 1,
    .brief = "draw a job's curves as an SVG",
    .text = "Loss and validation, learning rate, norm of the gradient, and the load of "
            "the busiest expert, over the steps done so far. Any browser shows it.",
    .options = {table},
    .size = sizeof(struct options),
    .run = run,
};
