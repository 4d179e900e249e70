/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_base_log.c - a line is one event, on the descriptor the program chose.
 */
#include "base/log.h"

#include <unistd.h>

#include "unit.h"

/* What the log wrote into the pipe since the last look. */
static const char *seen(int fd)
{
    static char text[8192];
    ssize_t n = read(fd, text, sizeof text - 1);

    text[n > 0 ? n : 0] = '\0';
    return text;
}

static void lines_go_where_the_program_says(void **state)
{
    int fds[2];
    char big[5000];

    (void)state;
    log_error("before log_setup nothing is printed, nor crashes");
    assert_int_equal(pipe(fds), 0);
    log_setup("rank 3", LOG_LEVEL_INFO, fds[1]);
    log_debug("unseen");
    log_info("step=%d loss=%.2f", 7, 1.5);
    const char *text = seen(fds[0]);
    assert_int_equal(text[10], 'T');
    assert_string_equal(text + 24, " info  rank 3: step=7 loss=1.50\n");

    log_warn("two\nlines");
    assert_string_equal(seen(fds[0]) + 24, " warn  rank 3: two lines\n");

    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    log_error("%s", big);
    text = seen(fds[0]);
    assert_true(strlen(text) < 3000);
    assert_string_equal(text + strlen(text) - 5, "x...\n");
    log_setup("", LOG_LEVEL_ERROR, -1);
    close(fds[0]);
    close(fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_go_where_the_program_says),
    };

    return cmocka_run_group_tests_name("base/log", tests, NULL, NULL);
}
