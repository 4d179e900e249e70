/* SPDX-License-Identifier: Apache-2.0 */
/*
 * svg.c - text within XML.
 */
#include "worker/svg.h"

#include <stdbool.h>
#include <string.h>

/* U+FFFE or U+FFFF, which are no characters of XML (1.0, 2.2). */
static bool is_nothing(const char *text)
{
    return strncmp(text, "\xEF\xBF\xBE", 3) == 0 ||
           strncmp(text, "\xEF\xBF\xBF", 3) == 0;
}

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
            if (is_nothing(text))
                text += 2;
            else if ((unsigned char)*text >= ' ')
                buf_add(out, text, 1);
        }
}
