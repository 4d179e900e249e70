/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop.c - step after step: report, validate, save, and what to do when a number
 * is no number or somebody asks to stop.
 *
 * All ranks get the same reports and so decide alike; only a wish to stop, which
 * one rank may hear before another, is agreed on at each step's boundary.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "train/retrace.h"
#include "worker/measure.h"
#include "worker/run.h"
#include "worker/stop.h"
#include "worker/task.h"

enum {
    TELL_NS = 1000000000, /* between two printed lines           */
    BAD_MANY = 8,         /* so many roll-backs within ...       */
    BAD_NEAR = 200,       /* ... so many steps are of no use     */
};

static int64_t step_of(const struct run *r)
{
    return trainer_state(r->trainer)->step;
}

static bool is_last(const struct run *r)
{
    return step_of(r) >= (int64_t)r->job->train->steps;
}

/* Is there too little hope that it gets better? */
static bool is_over(const struct run *r)
{
    uint32_t patience = r->job->train->patience;

    return patience && trainer_state(r->trainer)->stale >= (int64_t)patience;
}

static bool due(const struct run *r, uint32_t every)
{
    return every && step_of(r) % every == 0;
}

/* --- reporting ------------------------------------------------------------ */

static void print_progress(struct run *r)
{
    const struct metrics *m = &r->last;
    const struct step_report *s = &m->report;

    printf("step %lld/%u  loss %.4f", (long long)s->step, r->job->train->steps,
           s->loss);
    if (!isnan(m->val_loss))
        printf("  val %.4f", m->val_loss);
    if (!isnan(m->val_loss) && m->quality && strcmp(m->quality, "loss") != 0)
        printf("  %s %.4f", m->quality, m->value);
    printf("  lr %.3g  norm %.3g  %.0f tok/s", s->lr, s->grad_norm,
           metrics_tokens_per_s(m));
    if (s->send_seconds > 0)
        printf("  %.0f%% hidden", 100 * s->send_hidden);
    if (s->skipped)
        printf("  skipped");
    printf("\n");
    fflush(stdout);
    r->told = clock_mono_ns();
}

static int report(struct run *r, struct err *e)
{
    bool first = r->told == 0, validated = !isnan(r->last.val_loss);

    if (r->rank != 0)
        return 0;
    if (first || validated || is_last(r) || clock_mono_ns() - r->told >= TELL_NS)
        print_progress(r);
    if (!due(r, r->job->train->log_every) && !validated && !is_last(r))
        return 0;
    agent_metrics(r->agent, &r->last);
    return metrics_add(r->metrics, &r->last, e);
}

/* Is it the best so far? */
static int judge(struct run *r, struct err *e)
{
    const struct measure *m = measure_of(r->job);

    if (!m)
        return 0;
    if (m->take(r, m, r->last.val_loss, &r->last.value, e) < 0)
        return e->code;
    r->last.quality = m->name;
    r->best = trainer_judge(r->trainer, r->last.value, m->larger);
    return 0;
}

static int validate(struct run *r, struct err *e)
{
    uint32_t every = r->job->train->valid_every;

    if (!due(r, every) && !(every && is_last(r)))
        return 0;
    agent_phase(r->agent, WIRE__PHASE__EVAL);
    if (trainer_average(r->trainer, true, e) < 0 ||
        trainer_validate(r->trainer, &r->last.val_loss, e) < 0 || judge(r, e) < 0)
        return e->code;
    return trainer_average(r->trainer, false, e);
}

/* --- saving --------------------------------------------------------------- */

/* What is wrong with the last checkpoint may be right again at the next one: only
 * the one that was wanted at the end has to be there. */
static void save(struct run *r)
{
    struct err e;

    if (step_of(r) == r->saved)
        return;
    agent_phase(r->agent, WIRE__PHASE__SAVE);
    if (checkpoint_save(r->checkpoint, &e) < 0 && r->rank != 0)
        log_warn("%s", e.text); /* rank 0 has said so when it happened */
    r->saved = step_of(r);
}

/* --- numbers that are none ------------------------------------------------ */

/* In fp16 a step is skipped now and then to find the loss scale; that is no sign
 * of anything as long as the loss itself is a number and there is scale to lose. */
static bool is_overflow(const struct run *r)
{
    const struct step_report *s = &r->last.report;

    return r->job->train->precision == NND__TRAIN__PRECISION__FP16 &&
           isfinite(s->loss) && s->loss_scale > 1;
}

static int give_up(struct run *r, const char *why, struct err *e)
{
    const struct step_report *s = &r->last.report;

    r->failure = WIRE__FAILURE__NAN;
    return err_set(
        e, ERR_FAILED,
        "step %lld: wanted a finite loss and gradient norm, found %g and %g; "
        "%s",
        (long long)s->step, s->loss, s->grad_norm, why);
}

/* When the last save failed, which has been said, there may be an older one. */
static int reload(struct run *r, struct err *e)
{
    int rc;

    checkpoint_wait(r->checkpoint, e);
    rc = comm_barrier(r->control, e);
    if (rc == 0)
        rc = run_find(r, e);
    return rc < 0 ? rc : run_take_up(r, e);
}

/* Whatever was damaged - a weight, a moment - is as it was at the checkpoint, and
 * the batch that may have done it is passed over when its turn comes again. */
static int roll_back(struct run *r, struct err *e)
{
    int64_t bad = r->last.report.step;

    if (r->nbad == RUN_BAD_MAX ||
        (r->nbad >= BAD_MANY && bad - r->bad[r->nbad - BAD_MANY] < BAD_NEAR))
        return give_up(r, "rolling back does not help", e);
    r->bad[r->nbad++] = bad;
    if (reload(r, e) < 0)
        return e->code;
    r->saved = step_of(r);
    r->seen = run_targets(r, r->saved);
    agent_first(r->agent, r->saved + 1);
    if (r->rank != 0)
        return 0;
    log_warn("step %lld is not finite: back to step %lld, without its batch",
             (long long)bad, (long long)r->saved);
    return metrics_drop(r->metrics, r->saved, e);
}

/* Computing it again takes a few times a step's time: of several in a row the first,
 * second, fourth, eighth, ... */
static bool is_looked_into(const struct run *r)
{
    return (r->nonfinite & (r->nonfinite - 1)) == 0;
}

/* Whose fault is it?  A kernel's ends the attempt, on all ranks, as a wrong first call
 * does: it is in quarantine, and the next one does without it. */
static int look_into(struct run *r, struct err *e)
{
    long long step = (long long)r->last.report.step;
    char text[sizeof(struct finding) + 64];
    struct finding f;

    if (!is_looked_into(r))
        return 0;
    if (trainer_retrace(r->trainer, &f, e) < 0)
        return e->code;
    if (f.kind == FINDING_KERNEL)
        return run_agree(r,
                         r->rank == f.rank
                             ? err_set(e, ERR_FAILED, "step %lld: %s", step, f.text)
                             : 0,
                         e);
    if (r->rank != 0)
        return 0;
    snprintf(text, sizeof text, "step %lld is not finite: %s", step, f.text);
    log_warn("%s", text);
    agent_note(r->agent, r->last.report.step, text);
    return 0;
}

static int on_nonfinite(struct run *r, struct err *e)
{
    const struct step_report *s = &r->last.report;

    if (!is_overflow(r)) {
        r->nonfinite++;
        if (look_into(r, e) < 0)
            return e->code;
    }
    if (is_overflow(r) || r->job->train->nonfinite == NND__TRAIN__NONFINITE__SKIP) {
        if (r->rank == 0 && !is_overflow(r))
            log_warn("step %lld is not finite: loss %g, gradient norm %g; skipped",
                     (long long)s->step, s->loss, s->grad_norm);
        return 0;
    }
    if (r->job->train->nonfinite == NND__TRAIN__NONFINITE__STOP)
        return give_up(r, "train.nonfinite is stop", e);
    return roll_back(r, e);
}

/* --- a step --------------------------------------------------------------- */

static bool is_bad(const struct run *r, int64_t step)
{
    for (int i = 0; i < r->nbad; i++)
        if (r->bad[i] == step)
            return true;
    return false;
}

/* Go on as if the step had been done, without its batch. */
static int pass_over(struct run *r, struct err *e)
{
    trainer_skip(r->trainer);
    r->seen = run_targets(r, step_of(r));
    agent_step(r->agent, step_of(r));
    r->last = (struct metrics){.report = {.step = step_of(r),
                                          .loss = NAN,
                                          .grad_norm = NAN,
                                          .lr = NAN,
                                          .loss_scale = NAN,
                                          .seconds = NAN,
                                          .skipped = true},
                               .val_loss = NAN,
                               .tokens = r->seen,
                               .attempt = (int)r->o->attempt};
    return validate(r, e) < 0 ? e->code : report(r, e);
}

static int do_step(struct run *r, struct err *e)
{
    struct metrics *m = &r->last;

    r->best = false;
    agent_phase(r->agent, WIRE__PHASE__TRAIN);
    if (is_bad(r, step_of(r) + 1))
        return pass_over(r, e);
    if (trainer_step(r->trainer, &m->report, e) < 0)
        return e->code;
    r->seen += m->report.targets;
    m->tokens = r->seen;
    m->val_loss = NAN;
    m->attempt = (int)r->o->attempt;
    agent_step(r->agent, m->report.step);
    if (m->report.skipped ? on_nonfinite(r, e) < 0 : (r->nonfinite = 0))
        return e->code;
    if (step_of(r) != m->report.step) /* rolled back: there is nothing to tell */
        return 0;
    return validate(r, e) < 0 ? e->code : report(r, e);
}

/* 1: some rank was asked to stop. */
static int asked_to_stop(struct run *r, struct err *e)
{
    int64_t stop = stop_asked() || agent_stop_asked(r->agent);

    agent_meet(r->agent, "the vote to stop");
    int rc = comm_allreduce(r->control, &stop, 1, COMM_MAX, e);
    agent_met(r->agent);
    return rc < 0 ? e->code : stop != 0;
}

/* What ranks cost each other, over all steps of this attempt. */
static void tell_sent(const struct run *r)
{
    const struct exec_sent s = trainer_sent(r->trainer);
    const double ns = (double)s.ns;

    if (s.ns > 0)
        printf("gradients and weights between ranks: %.3f s, %.1f %% hidden\n",
               ns * 1e-9, 100 - 100 * (double)s.exposed / ns);
}

/* What validations were for. */
static void tell_best(const struct run *r)
{
    const struct train_state *s = trainer_state(r->trainer);
    const struct measure *m = measure_of(r->job);

    if (!m || s->best_step == 0)
        return;
    if (is_over(r) && !is_last(r))
        printf("stopped early: %lld validations without a better %s\n",
               (long long)s->stale, m->name);
    printf("best %s: %.6g, after step %lld\n", m->name, s->best,
           (long long)s->best_step);
}

static void tell_end(const struct run *r)
{
    if (r->rank != 0)
        return;
    tell_sent(r);
    tell_best(r);
    fflush(stdout);
}

int run_loop(struct run *r, struct err *e)
{
    int stop = 0;

    while (!is_last(r) && !is_over(r) && (stop = asked_to_stop(r, e)) == 0) {
        if (do_step(r, e) < 0)
            return e->code;
        if (due(r, r->job->checkpoint->every) || r->best)
            save(r);
    }
    if (stop < 0)
        return stop;
    save(r);
    if (checkpoint_wait(r->checkpoint, e) < 0)
        return e->code;
    tell_end(r);
    return stop ? TASK_REQUEUE : 0;
}
