/* SPDX-License-Identifier: Apache-2.0 */
/*
 * elf.c - reads the ELF header and the program headers, nothing else.
 */
#include "kernel/elf.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#if defined __x86_64__
enum { MACHINE = EM_X86_64 };
#elif defined __aarch64__
enum { MACHINE = EM_AARCH64 };
#elif defined __riscv
enum { MACHINE = EM_RISCV };
#elif defined __powerpc64__
enum { MACHINE = EM_PPC64 };
#else
#error "name this machine's ELF e_machine here"
#endif

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
enum { BYTE_ORDER_HERE = ELFDATA2LSB };
#else
enum { BYTE_ORDER_HERE = ELFDATA2MSB };
#endif

static int check_file(const char *path, const struct stat *st, struct err *e)
{
    if (!S_ISREG(st->st_mode))
        return err_set(e, ERR_FAILED, "%s: not a regular file", path);
    if (st->st_uid != 0 && st->st_uid != geteuid())
        return err_set(e, ERR_DENIED, "%s: owned by user %ld, wanted root or user %ld",
                       path, (long)st->st_uid, (long)geteuid());
    if (st->st_mode & S_IWOTH)
        return err_set(e, ERR_DENIED, "%s: writable by everyone (mode %04o)", path,
                       (unsigned)(st->st_mode & 07777));
    return 0;
}

static int check_header(const char *path, const Elf64_Ehdr *h, struct err *e)
{
    if (memcmp(h->e_ident, ELFMAG, SELFMAG) != 0)
        return err_set(e, ERR_FAILED, "%s: not an ELF file", path);
    if (h->e_ident[EI_CLASS] != (ELFCLASS64) ||
        h->e_ident[EI_DATA] != BYTE_ORDER_HERE || h->e_machine != MACHINE)
        return err_set(e, ERR_FAILED,
                       "%s: built for another machine (ELF class %d, data %d, machine "
                       "%d; wanted class %d, data %d, machine %d)",
                       path, h->e_ident[EI_CLASS], h->e_ident[EI_DATA], h->e_machine,
                       ELFCLASS64, BYTE_ORDER_HERE, MACHINE);
    if (h->e_type != ET_DYN)
        return err_set(e, ERR_FAILED, "%s: ELF type %d, wanted a shared object (%d)",
                       path, h->e_type, ET_DYN);
    if (h->e_phentsize != sizeof(Elf64_Phdr) || h->e_phnum == 0)
        return err_set(e, ERR_FAILED, "%s: %d program headers of %d bytes, wanted %zu",
                       path, h->e_phnum, h->e_phentsize, sizeof(Elf64_Phdr));
    return 0;
}

static int check_extent(const char *path, const char *what, uint64_t from, uint64_t len,
                        uint64_t size, struct err *e)
{
    if (from <= size && len <= size - from)
        return 0;
    return err_set(e, ERR_FAILED,
                   "%s: truncated: %s at %llu+%llu, but the file has %llu bytes", path,
                   what, (unsigned long long)from, (unsigned long long)len,
                   (unsigned long long)size);
}

static int check_segments(const char *path, int fd, const Elf64_Ehdr *h, uint64_t size,
                          struct err *e)
{
    for (int i = 0; i < h->e_phnum; i++) {
        Elf64_Phdr ph;
        off_t at = (off_t)(h->e_phoff + (uint64_t)i * sizeof ph);
        if (pread(fd, &ph, sizeof ph, at) != (ssize_t)sizeof ph)
            return err_set(e, ERR_FAILED, "%s: truncated: program header %d is missing",
                           path, i);
        if (ph.p_type != PT_LOAD)
            continue;
        int rc = check_extent(path, "segment", ph.p_offset, ph.p_filesz, size, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int check_fd(const char *path, int fd, struct err *e)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_sys(e, ERR_FAILED, errno, "%s", path);
    int rc = check_file(path, &st, e);
    if (rc < 0)
        return rc;
    Elf64_Ehdr h;
    ssize_t got = pread(fd, &h, sizeof h, 0);
    if (got < 0)
        return err_sys(e, ERR_FAILED, errno, "%s", path);
    if (got != (ssize_t)sizeof h)
        return err_set(e, ERR_FAILED, "%s: %zd bytes, too short for an ELF header",
                       path, got);
    uint64_t size = (uint64_t)st.st_size;
    if ((rc = check_header(path, &h, e)) < 0 ||
        (rc = check_extent(path, "section headers", h.e_shoff,
                           (uint64_t)h.e_shnum * h.e_shentsize, size, e)) < 0)
        return rc;
    return check_segments(path, fd, &h, size, e);
}

int elf_check(const char *path, struct err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        enum err_code code = errno == ENOENT   ? ERR_NOTFOUND
                             : errno == EACCES ? ERR_DENIED
                                               : ERR_FAILED;
        return err_sys(e, code, errno, "%s", path);
    }
    int rc = check_fd(path, fd, e);
    close(fd);
    return rc;
}
