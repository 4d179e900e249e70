/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exporter.h - figures for Prometheus: GET /metrics over HTTP, in the text format
 * 0.0.4, served by libmicrohttpd within the hub's one thread.
 */
#ifndef DAEMON_EXPORTER_H
#define DAEMON_EXPORTER_H

#include "base/buf.h"
#include "base/err.h"
#include "daemon/hub.h"

struct exporter;

/* Listen at "ADDRESS:PORT", "[::1]:9464".  Whoever can connect can read: the address
 * should be one that only Prometheus reaches. */
int exporter_open(const char *address, const struct hub *h, struct exporter **out,
                  struct err *e);
void exporter_close(struct exporter *x); /* NULL is legal */

/* A descriptor that is readable when there is something to do. */
int exporter_fd(const struct exporter *x);

/* Do what is to do; returns milliseconds until there may be more, -1: no time known. */
long exporter_run(struct exporter *x);

/* The figures, as they are served. */
void exporter_text(const struct hub *h, struct buf *out);

#endif
