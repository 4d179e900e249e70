/* SPDX-License-Identifier: Apache-2.0 */
/*
 * notify.c - datagrams to the service manager.
 */
#include "daemon/notify.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/str.h"

static int fd = -1;
static struct sockaddr_un address;
static socklen_t address_len;
static int64_t watchdog_ns;

/* Half of what is asked for, as sd_watchdog_enabled(3) advises. */
static void take_watchdog(void)
{
    const char *text = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    uint64_t us, whose;

    if (text && str_to_u64(text, &us) && us > 0 && us < UINT64_C(86400000000) &&
        (!pid || (str_to_u64(pid, &whose) && whose == (uint64_t)getpid())))
        watchdog_ns = (int64_t)us * 500;
}

void notify_open(void)
{
    const char *path = getenv("NOTIFY_SOCKET");
    size_t n = path ? strlen(path) : 0;

    if (n > 0 && n < sizeof address.sun_path && (*path == '/' || *path == '@')) {
        address.sun_family = AF_UNIX;
        memcpy(address.sun_path, path, n);
        if (*path == '@')
            address.sun_path[0] = '\0';
        address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    }
    if (fd >= 0)
        take_watchdog();
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

void notify_say(const char *fmt, ...)
{
    char text[512];
    va_list args;
    int n;

    if (fd < 0)
        return;
    va_start(args, fmt);
    n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (n > 0)
        (void)!sendto(fd, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1,
                      MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *)&address,
                      address_len);
}

int64_t notify_watchdog_ns(void)
{
    return watchdog_ns;
}
