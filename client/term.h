/* SPDX-License-Identifier: Apache-2.0 */
/*
 * term.h - the terminal, and the signals that come from it.
 */
#ifndef CLIENT_TERM_H
#define CLIENT_TERM_H

#include <stdbool.h>

/* Columns of the terminal on fd; 80 when it does not say. */
int term_width(int fd);

/* From now on INT, TERM and HUP do not end the program but interrupt what it
 * waits for, and are told by term_signal. */
void term_catch_signals(void);

/* The newest signal since the last call, or 0. */
int term_signal(void);

/* True when term_signal has something to tell. */
bool term_has_signal(void);

/* Sleep, unless a signal comes or has come. */
void term_sleep_ms(unsigned ms);

#endif
