/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stop.c - three signals, one flag.
 */
#include "worker/stop.h"

#include <signal.h>

static volatile sig_atomic_t asked;

static void on_signal(int sig)
{
    (void)sig;
    asked = 1;
}

void stop_catch(void)
{
    static const struct {
        int sig, flags;
    } rows[] = {{SIGTERM, SA_RESTART},
                {SIGUSR2, SA_RESTART},
                {SIGINT, SA_RESTART | SA_RESETHAND}};

    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sigaction a = {.sa_handler = on_signal, .sa_flags = rows[i].flags};

        sigaction(rows[i].sig, &a, 0);
    }
}

bool stop_asked(void)
{
    return asked;
}
