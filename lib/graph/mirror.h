/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mirror.h - the host's copies of values that lie where it cannot reach.
 *
 * The executor keeps one when its device's memory is not the host's.  Whoever asks
 * for a value's data between two programs is handed the copy: inputs as they were
 * last written, everything else fetched first.  What was handed out goes back
 * before the next program runs.  Operators that the host computes see copies too.
 */
#ifndef GRAPH_MIRROR_H
#define GRAPH_MIRROR_H

#include <nnd/plugin.h>

#include "base/err.h"
#include "graph/graph.h"

struct mirror;

/* Copies of all inputs and states, and of what the host's operators touch; others
 * are made when first asked for.  dev and stream outlive it. */
int mirror_create(const struct nnd_device_ops *dev, const struct nnd_stream *stream,
                  const struct graph *g, struct mirror **out, struct err *e);
void mirror_destroy(struct mirror *m);

/* The copy, as it is. */
void *mirror_data(struct mirror *m, const struct value *v);

/* Enqueue a copy from, or to, the value's place on the device. */
int mirror_pull(struct mirror *m, const struct value *v, const void *at, struct err *e);
int mirror_push(struct mirror *m, const struct value *v, void *at, struct err *e);

/* Wait until the device has done all that was enqueued. */
int mirror_sync(struct mirror *m, struct err *e);

/* Hand out the copy of a value between programs, see above.  A fault of the device
 * is kept for mirror_flush. */
void *mirror_hand(struct mirror *m, const struct value *v, void *at);

/* The same of a value that will be written whole: nothing is fetched. */
void *mirror_renew(struct mirror *m, const struct value *v, void *at);

/* Hand out a copy that mirror_sync will have waited for. */
int mirror_gather(struct mirror *m, const struct value *v, void *at, struct err *e);

/* Enqueue what was handed out, before a program. */
int mirror_flush(struct mirror *m, struct err *e);

/* Room of the host for what ranks exchange, `bytes` of it; once, before the next two.
 */
int mirror_room(struct mirror *m, size_t bytes, struct err *e);

/* Fetch [at, at + bytes) of the device into that room. */
int mirror_fetch(struct mirror *m, const void *at, size_t bytes, void **room,
                 struct err *e);

/* Enqueue bytes [offset, offset + bytes) of the room to where they came from, `at`. */
int mirror_return(struct mirror *m, void *at, size_t offset, size_t bytes,
                  struct err *e);

/* The value was written on the device by other means: so is its copy. */
void mirror_refresh(struct mirror *m, const struct value *v, const void *data);

#endif
