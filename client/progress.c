/* SPDX-License-Identifier: Apache-2.0 */
/*
 * progress.c - how a job goes, in one line for a person.
 */
#include "client/progress.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "client/term.h"
#include "client/wire_json.h"

enum {
    SPEED_STEPS = 100, /* over which speed is averaged                 */
    SPEED_MIN = 20,    /* steps before an ETA is worth showing         */
    BAR_MAX = 20,
    BAR_MIN = 8,
    LINES = 20, /* off a terminal: one for each 5 % */
};
static const int64_t line_ns = INT64_C(60000000000);

void progress_init(struct progress *p, FILE *out, bool json)
{
    *p = (struct progress){.out = out, .json = json};
    p->tty = !json && isatty(fileno(out));
}

/* --- speed ---------------------------------------------------------------- */

void progress_measure(struct progress *p, const Wire__JobInfo *j, int64_t now_ns)
{
    bool anew = j->attempt != p->speed_attempt || j->step < p->step ||
                j->state != WIRE__STATE__RUNNING || p->looked_ns == 0;
    uint64_t steps = j->step - p->step;

    if (anew) {
        p->measured = 0;
        p->step_s = 0;
    } else if (steps == 0) {
        return; /* time goes on, and counts for the next step */
    } else {
        double s = (double)(now_ns - p->looked_ns) * 1e-9 / (double)steps;
        double keep = exp(-(double)steps / SPEED_STEPS);

        if (p->measured < SPEED_STEPS) /* a plain mean until there is enough */
            keep = (double)p->measured / (double)(p->measured + steps);
        p->step_s = keep * p->step_s + (1 - keep) * s;
        p->measured += steps;
    }
    p->speed_attempt = j->attempt;
    p->step = j->step;
    p->looked_ns = now_ns;
}

double progress_eta(const struct progress *p, const Wire__JobInfo *j)
{
    if (p->measured < SPEED_MIN || j->step > j->steps)
        return -1;
    return p->step_s * (double)(j->steps - j->step);
}

/* --- one line ------------------------------------------------------------- */

void progress_count(double n, char *out, size_t size)
{
    static const char units[] = "\0kMGTP";
    int u = 0;

    while (n >= 999.5 && u < 5) {
        n /= 1000;
        u++;
    }
    snprintf(out, size, u ? "%.*f%c" : "%.*f", u && n < 99.95 ? 1 : 0, n, units[u]);
}

static double share_done(const Wire__JobInfo *j)
{
    return j->steps ? (double)j->step / (double)j->steps : 0;
}

static void add_bar(const Wire__JobInfo *j, size_t room, struct buf *out)
{
    size_t n = room > BAR_MAX ? BAR_MAX : room;
    size_t done = (size_t)(share_done(j) * (double)n);

    buf_puts(out, "  [");
    for (size_t i = 0; i < n; i++)
        buf_puts(out, i < done ? "#" : "-");
    buf_puts(out, "]");
}

static void add_figures(const struct progress *p, const Wire__JobInfo *j,
                        struct buf *out)
{
    char text[32];

    buf_printf(out, "step %llu/%llu  %.1f%%", (unsigned long long)j->step,
               (unsigned long long)j->steps, 100 * share_done(j));
    if (j->has_loss)
        buf_printf(out, "  loss %.4g", j->loss);
    if (j->has_val_loss)
        buf_printf(out, "  val %.4g", j->val_loss);
    if (j->has_tokens_per_s) {
        progress_count(j->tokens_per_s, text, sizeof text);
        buf_printf(out, "  %s tok/s", text);
    }
    if (j->has_send_hidden)
        buf_printf(out, "  %.0f%% hidden", 100 * j->send_hidden);
    clock_human(progress_eta(p, j), text, sizeof text);
    buf_printf(out, "  ETA %s", text);
}

/* A state without steps: "queued: waiting for 4 free slots  1m05s". */
static void add_state(const Wire__JobInfo *j, struct buf *out)
{
    double s = ((double)clock_wall_us() - (double)j->submitted_us) * 1e-6;
    char text[32];

    buf_printf(out, "job %llu: %s", (unsigned long long)j->id,
               wire_state_name(j->state));
    if (j->reason && *j->reason)
        buf_printf(out, ": %s", j->reason);
    if (j->has_submitted_us && s >= 0) {
        clock_human(s, text, sizeof text);
        buf_printf(out, "  %s", text);
    }
}

void progress_line(const struct progress *p, const Wire__JobInfo *j, size_t width,
                   struct buf *out)
{
    size_t start = out->len;

    if (j->state == WIRE__STATE__RUNNING)
        add_figures(p, j, out);
    else
        add_state(j, out);
    if (out->len - start > width) {
        out->len = start + width;
        out->data[out->len] = '\0';
    } else if (j->state == WIRE__STATE__RUNNING &&
               out->len - start + 4 + BAR_MIN <= width) {
        add_bar(j, width - 4 - (out->len - start), out);
    }
}

/* --- showing
 * -------------------------------------------------------------------------- */

void progress_break(struct progress *p)
{
    if (p->open)
        fputs("\r\033[K", p->out);
    p->open = false;
    fflush(p->out);
}

/* nnd answers after a while, though nothing has changed. */
static bool same_as_shown(const struct progress *p, const Wire__JobInfo *j)
{
    return p->begun && j->has_version && j->version == p->version;
}

static void show_json(struct progress *p, const Wire__JobInfo *j)
{
    json_t *object = wire_json_job(j);
    json_t *head = json_pack("{si}", "v", 1);

    json_object_update(head, object);
    json_dumpf(head, p->out, JSON_COMPACT | JSON_REAL_PRECISION(15));
    putc('\n', p->out);
    fflush(p->out);
    json_decref(head);
    json_decref(object);
}

/* What happened since the last look, a line each. */
static void show_change(struct progress *p, const Wire__JobInfo *j)
{
    unsigned long long id = j->id, first = j->attempt_first_step;

    if (j->state == p->state && j->attempt == p->attempt && p->begun)
        return;
    progress_break(p);
    if (j->state == WIRE__STATE__RUNNING && first > 1)
        fprintf(p->out, "job %llu: running, attempt %u from step %llu\n", id,
                j->attempt, first);
    else if (j->state == WIRE__STATE__RUNNING)
        fprintf(p->out, "job %llu: running, %u rank%s\n", id, j->ranks,
                j->ranks == 1 ? "" : "s");
    else if (!wire_state_is_final(j->state))
        fprintf(p->out, "job %llu: %s%s%s\n", id, wire_state_name(j->state),
                j->reason && *j->reason ? ": " : "", j->reason ? j->reason : "");
}

static void show_terminal(struct progress *p, const Wire__JobInfo *j)
{
    struct buf line = {0};
    size_t width = (size_t)term_width(fileno(p->out));

    progress_line(p, j, width > 1 ? width - 1 : 1, &line);
    fprintf(p->out, "\r%s\033[K", line.data);
    fflush(p->out);
    p->open = true;
    buf_free(&line);
}

static void show_lines(struct progress *p, const Wire__JobInfo *j, int64_t now_ns)
{
    struct buf line = {0};
    uint64_t part = j->steps ? j->step * LINES / j->steps : 0;

    if (j->state != WIRE__STATE__RUNNING)
        return;
    if (p->printed_ns && now_ns - p->printed_ns < line_ns && part == p->printed_part)
        return;
    progress_line(p, j, 200, &line);
    fprintf(p->out, "%s\n", line.data);
    fflush(p->out);
    p->printed_ns = now_ns;
    p->printed_part = part;
    buf_free(&line);
}

void progress_show(struct progress *p, const Wire__JobInfo *j, int64_t now_ns)
{
    progress_measure(p, j, now_ns);
    if (p->json) {
        if (!same_as_shown(p, j))
            show_json(p, j);
    } else {
        show_change(p, j);
        if (wire_state_is_final(j->state))
            ;
        else if (p->tty)
            show_terminal(p, j);
        else
            show_lines(p, j, now_ns);
    }
    p->begun = true;
    p->state = j->state;
    p->version = j->version;
    p->attempt = j->attempt;
}

void progress_end(struct progress *p, const Wire__JobInfo *j)
{
    struct buf line = {0};
    char text[32];

    progress_break(p);
    buf_printf(&line, "job %llu: %s", (unsigned long long)j->id,
               wire_state_name(j->state));
    if (j->state != WIRE__STATE__COMPLETED && j->reason && *j->reason)
        buf_printf(&line, ": %s", j->reason);
    buf_printf(&line, "; step %llu/%llu", (unsigned long long)j->step,
               (unsigned long long)j->steps);
    if (j->has_loss)
        buf_printf(&line, ", loss %.4g", j->loss);
    if (j->has_val_loss)
        buf_printf(&line, ", val %.4g", j->val_loss);
    if (j->has_started_us && j->has_ended_us) {
        clock_human((double)(j->ended_us - j->started_us) * 1e-6, text, sizeof text);
        buf_printf(&line, ", %s", text);
    }
    fprintf(p->out, "%s\n", line.data);
    if (j->checkpoint && *j->checkpoint)
        fprintf(p->out, "checkpoint: %s\n", j->checkpoint);
    fflush(p->out);
    buf_free(&line);
}

/* A line of a rank may hold anything; a terminal obeys control characters. */
static void print_clean(const char *text, FILE *out)
{
    for (; *text; text++)
        putc((unsigned char)*text < 0x20 && *text != '\t' ? '?' : *text, out);
}

void progress_cause(const Wire__ShowReply *r, FILE *out)
{
    const Wire__AttemptInfo *a = r->n_attempts ? r->attempts[r->n_attempts - 1] : NULL;

    if (!a || !a->n_cause)
        return;
    fprintf(out, "attempt %u, last lines of rank %d:\n", a->number,
            a->has_bad_rank ? a->bad_rank : 0);
    for (size_t i = 0; i < a->n_cause; i++) {
        fputs("  ", out);
        print_clean(a->cause[i], out);
        putc('\n', out);
    }
}
