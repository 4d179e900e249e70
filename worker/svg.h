/* SPDX-License-Identifier: Apache-2.0 */
/*
 * svg.h - what pictures have in common.
 */
#ifndef WORKER_SVG_H
#define WORKER_SVG_H

#include "base/buf.h"

/* Append text as the content of an element, or of an attribute in double quotes; what
 * XML has no place for is left out. */
void svg_text(struct buf *out, const char *text);

#endif
