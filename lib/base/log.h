/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h - one line, one event, for those who run the program.
 *
 * The level says who must act: error - somebody now; warn - somebody soon;
 * info - nobody; debug - a developer.  The tail of a line is key=value.
 * Thread-safe: a line is one write.  Where lines go is the program's choice.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Who speaks ("nnd", "rank 3"), the least urgent level shown, and the file
 * descriptor written to.  Before this call nothing is printed. */
void log_setup(const char *who, enum log_level level, int fd);

void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
