/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tfevents.h - a job's figures for TensorBoard: a file of records, each a length, a
 * masked CRC-32C of it, an Event (tensorflow/core/util/event.proto) and a masked
 * CRC-32C of that (the TFRecord format).  The few fields needed are written by hand.
 */
#ifndef WORKER_TFEVENTS_H
#define WORKER_TFEVENTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct tfevents;

/* One figure. */
struct tfevents_value {
    const char *tag; /* "loss/train" */
    float value;
};

/* Start a new file in `dir`, made when missing.  TensorBoard reads all of a folder; an
 * attempt that goes back to an earlier step hides what it did before. */
int tfevents_open(const char *dir, int64_t first_step, struct tfevents **out,
                  struct err *e);
void tfevents_close(struct tfevents *f); /* NULL is legal */

/* One step's figures; those that are not finite are left out. */
int tfevents_add(struct tfevents *f, int64_t step, const struct tfevents_value *v,
                 size_t n, struct err *e);

/* CRC-32C (Castagnoli; RFC 3720, appendix B.4), and as the format masks it. */
uint32_t tfevents_crc(const void *data, size_t len);
uint32_t tfevents_mask(uint32_t crc);

#endif
