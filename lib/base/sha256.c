/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sha256.c - a thin coat over libcrypto's EVP digests.
 */
#include "base/sha256.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/oom.h"

struct sha256 {
    EVP_MD_CTX *ctx;
};

/* These fail only for want of memory. */
static void must(int ok)
{
    if (!ok)
        oom_abort("a digest", SHA256_HEX);
}

struct sha256 *sha256_create(void)
{
    struct sha256 *s = oom_calloc(1, sizeof *s);

    s->ctx = EVP_MD_CTX_new();
    must(s->ctx && EVP_DigestInit_ex(s->ctx, EVP_sha256(), NULL));
    return s;
}

void sha256_add(struct sha256 *s, const void *data, size_t len)
{
    must(EVP_DigestUpdate(s->ctx, data, len));
}

void sha256_hex(struct sha256 *s, char *hex)
{
    static const char digit[] = "0123456789abcdef";
    unsigned char sum[32];

    must(EVP_DigestFinal_ex(s->ctx, sum, NULL));
    must(EVP_DigestInit_ex(s->ctx, EVP_sha256(), NULL));
    for (size_t i = 0; i < sizeof sum; i++) {
        hex[2 * i] = digit[sum[i] >> 4];
        hex[2 * i + 1] = digit[sum[i] & 15];
    }
    hex[SHA256_HEX - 1] = '\0';
}

void sha256_destroy(struct sha256 *s)
{
    if (!s)
        return;
    EVP_MD_CTX_free(s->ctx);
    free(s);
}

void sha256_bytes(const void *data, size_t len, char *hex)
{
    struct sha256 *s = sha256_create();

    sha256_add(s, data, len);
    sha256_hex(s, hex);
    sha256_destroy(s);
}

/* Hash all of fd; return 0 or an errno value. */
static int add_file(struct sha256 *s, int fd)
{
    static const size_t chunk = 1 << 16;
    char *bytes = oom_calloc(1, chunk);
    ssize_t n;

    while ((n = read(fd, bytes, chunk)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break;
        sha256_add(s, bytes, (size_t)n);
    }
    free(bytes);
    return n < 0 ? errno : 0;
}

int sha256_file(const char *path, char *hex, struct err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe has no writer */
    struct stat st;

    if (fd < 0)
        return err_sys(e, err_code_of(errno), errno, "open %s", path);
    if (fstat(fd, &st) == 0 && !S_ISREG(st.st_mode)) {
        close(fd);
        return err_set(e, ERR_FAILED, "%s: not a regular file", path);
    }
    struct sha256 *s = sha256_create();
    int sys = add_file(s, fd);
    if (!sys)
        sha256_hex(s, hex);
    sha256_destroy(s);
    close(fd);
    return sys ? err_sys(e, err_code_of(sys), sys, "read %s", path) : 0;
}
