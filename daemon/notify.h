/* SPDX-License-Identifier: Apache-2.0 */
/*
 * notify.h - tell the service manager how nnd is: sd_notify(3)'s datagrams to
 * NOTIFY_SOCKET, without its library.  Where nobody listens nothing is sent.
 */
#ifndef DAEMON_NOTIFY_H
#define DAEMON_NOTIFY_H

#include <stdint.h>

/* Take NOTIFY_SOCKET and WATCHDOG_USEC out of the environment, for ranks are not to
 * have them.  Call before threads start. */
void notify_open(void);

/* One datagram of lines: "READY=1\nSTATUS=..." */
void notify_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Nanoseconds between two signs of life, 0: none are wanted. */
int64_t notify_watchdog_ns(void);

#endif
