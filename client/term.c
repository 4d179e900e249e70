/* SPDX-License-Identifier: Apache-2.0 */
/*
 * term.c - the terminal, and the signals that come from it.
 */
#include "client/term.h"

#include <signal.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <time.h>

static volatile sig_atomic_t newest;

static void note(int sig)
{
    newest = sig;
}

int term_width(int fd)
{
    struct winsize w;

    return ioctl(fd, TIOCGWINSZ, &w) == 0 && w.ws_col > 0 ? w.ws_col : 80;
}

void term_catch_signals(void)
{
    struct sigaction act = {.sa_handler = note}; /* no SA_RESTART: waiting ends */

    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
    sigaction(SIGHUP, &act, NULL);
}

bool term_has_signal(void)
{
    return newest != 0;
}

int term_signal(void)
{
    int sig = newest;

    newest = 0;
    return sig;
}

void term_sleep_ms(unsigned ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

    if (!newest)
        nanosleep(&t, NULL);
}
