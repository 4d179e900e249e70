/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_train_schedule.c - learning rates against numbers worked out by hand.
 */
#include "train/schedule.h"

#include <math.h>

#include "unit.h"

static struct {
    Nnd__Job job;
    Nnd__Model model;
    Nnd__Train train;
} at;

static const Nnd__Job *job_of(Nnd__Train__Schedule schedule, double lr, uint32_t warmup)
{
    at.job = (Nnd__Job)NND__JOB__INIT;
    at.model = (Nnd__Model)NND__MODEL__INIT;
    at.train = (Nnd__Train)NND__TRAIN__INIT;
    at.job.model = &at.model;
    at.job.train = &at.train;
    at.model.width = 64;
    at.train.schedule = schedule;
    at.train.lr = lr;
    at.train.min_lr = lr / 10;
    at.train.warmup = warmup;
    at.train.steps = at.train.decay_steps = 100;
    return &at.job;
}

static void must_be(const Nnd__Job *job, int64_t step, double want)
{
    double got = schedule_lr(job, step);

    if (!(fabs(got - want) <= 1e-12 * want))
        fail_msg("step %lld: wanted %.17g, found %.17g", (long long)step, want, got);
}

/* 2 x 64^-1/2 = 1/4; the peak is at step 16, from 1: 1/4 / 4. */
static void noam(void **state)
{
    const Nnd__Job *job = job_of(NND__TRAIN__SCHEDULE__NOAM, 2, 16);

    (void)state;
    must_be(job, 0, 0.25 / 64);
    must_be(job, 3, 0.25 / 16);
    must_be(job, 15, 0.25 / 4);
    must_be(job, 63, 0.25 / 8);
    must_be(job, 1600 - 1, 0.25 / 40);
}

static void inverse_sqrt(void **state)
{
    const Nnd__Job *job = job_of(NND__TRAIN__SCHEDULE__INVERSE_SQRT, 3e-3, 9);

    (void)state;
    must_be(job, 0, 3e-3 / 9);
    must_be(job, 8, 3e-3);
    must_be(job, 35, 1.5e-3);
    must_be(job, 899, 3e-4);
}

static void cosine_linear_constant(void **state)
{
    (void)state;
    must_be(job_of(NND__TRAIN__SCHEDULE__COSINE, 1, 20), 9, 0.5);
    must_be(job_of(NND__TRAIN__SCHEDULE__COSINE, 1, 20), 60, 0.55);
    must_be(job_of(NND__TRAIN__SCHEDULE__COSINE, 1, 20), 100, 0.1);
    must_be(job_of(NND__TRAIN__SCHEDULE__LINEAR, 1, 20), 40, 0.775);
    must_be(job_of(NND__TRAIN__SCHEDULE__CONSTANT, 1, 20), 99, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(noam),
        cmocka_unit_test(inverse_sqrt),
        cmocka_unit_test(cosine_linear_constant),
    };

    return cmocka_run_group_tests_name("train/schedule", tests, NULL, NULL);
}
