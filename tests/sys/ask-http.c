/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ask-http.c - the other ends of what nnd says to the outside, for tests.
 *
 *   ask-http HOST PORT PATH     GET it, and print all of the answer
 *   ask-http --notify SOCKET    print each datagram that comes, until killed
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int get(const char *host, const char *port, const char *path)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    char text[4096];
    ssize_t n;

    inet_pton(AF_INET, host, &a.sin_addr);
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) < 0) {
        perror("connect");
        return 1;
    }
    dprintf(fd, "GET %s HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n", path);
    while ((n = read(fd, text, sizeof text)) > 0)
        fwrite(text, 1, (size_t)n, stdout);
    close(fd);
    return n < 0;
}

static int listen_at(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    char text[1024];
    ssize_t n;

    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) < 0) {
        perror("bind");
        return 1;
    }
    while ((n = read(fd, text, sizeof text)) > 0) {
        printf("%.*s\n", (int)n, text);
        fflush(stdout);
    }
    return 1;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--notify") == 0)
        return listen_at(argv[2]);
    return argc == 4 ? get(argv[1], argv[2], argv[3]) : 2;
}
