/* SPDX-License-Identifier: Apache-2.0 */
/*
 * line.h - how the ranks of an attempt find nnd: three files in the attempt's folder,
 * which every machine with a rank shares with nnd's.
 *
 *     home      "epoch N", "boot ID" and "host NAME" of the nnd that started it: a rank
 *               sees by them whether its folder is the one that nnd means
 *     rank.key  the key with which ranks come in from other machines, of this attempt
 *               alone (keys.h); readable by its owner only, as everything here
 *     server    "URI KEY": where nnd listens for them, and the key it has there;
 *               written again when either becomes another one
 *
 * nnd writes and ranks read.  On nnd's own machine home is all there is.
 */
#ifndef PROTO_LINE_H
#define PROTO_LINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "proto/chan.h"
#include "proto/keys.h"

/* --- nnd's end ------------------------------------------------------------- */

/* Say in DIR whose attempt it is. */
int line_say_home(const char *dir, uint64_t epoch, const char *boot, const char *host,
                  struct err *e);

/* DIR says that it is of another attempt than `epoch`; one that says nothing does not.
 */
bool line_is_another(const char *dir, uint64_t epoch);

/* A key for the ranks of the attempt in DIR; *public is its public half.  One that is
 * there already, of an nnd before this one, is kept. */
int line_give_key(const char *dir, char public[KEYS_Z85], struct err *e);

/* Say in DIR that nnd has the key `server` at `uri`. */
int line_say_server(const char *dir, const char *uri, const char *server,
                    struct err *e);

/* Take the key back: the attempt is over. */
void line_end(const char *dir);

/* --- a rank's end ------------------------------------------------------------ */

/* Is DIR nnd's own folder of the attempt `epoch`, or another one of the same name, and
 * can nnd be reached at `uri` from this machine at all?  Waits wait_ms for the file to
 * be seen, as network file systems show new ones late.  ERR_SPEC names what is not so,
 * and the host. */
int line_check_home(const char *dir, const char *uri, uint64_t epoch, int wait_ms,
                    struct err *e);

/* Open the way to nnd: on this machine (ipc://) at once, whether nnd is there or not;
 * to another (tcp://) where and with the keys that DIR says, within timeout_ms.  Errors
 * are those of chan_open and chan_open_curve; both may be tried again. */
int line_open(const char *dir, const char *uri, int timeout_ms, struct chan **out,
              struct err *e);

#endif
