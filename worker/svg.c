/* SPDX-License-Identifier: Apache-2.0 */
/*
 * svg.c - text within XML.
 */
#include "worker/svg.h"

void svg_text(struct buf *out, const char *text)
{
    for (; *text; text++)
        switch (*text) {
        case '<':
            buf_puts(out, "&lt;");
            break;
        case '&':
            buf_puts(out, "&amp;");
            break;
        case '"':
            buf_puts(out, "&quot;");
            break;
        default:
            if ((unsigned char)*text >= ' ')
                buf_add(out, text, 1);
        }
}
