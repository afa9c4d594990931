/* Static data whose pages can't all be read or written, as hand-made stacks, secure pools and hardened tables have it: bits 1 a guard
 * page in .bss, 2 a read-only table with a stored malloc, 4 a guard page in .data, 8 pages under userfaultfd, 16 pages of a file that was
 * cut short, 32 pages unmapped; 64 uses what there is. Harm: 1. */
#include "host.h"
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096
#define ALIGNED __attribute__((aligned(PAGE)))
static char data[4 * PAGE] ALIGNED = {1};
static struct {
    void *(*alloc)(size_t);
    void (*release)(void *);
    char rest[PAGE - 16];
} table ALIGNED;
static char stack[16 * PAGE] ALIGNED;
static char watched[4 * PAGE] ALIGNED;
static char cut[4 * PAGE] ALIGNED;
static char gone[4 * PAGE] ALIGNED;

/* Nobody answers: who touches one of these pages hangs. */
static int watch(void) {
    int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    int fd = device < 0 ? -1 : ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC);
    if (device >= 0) close(device);
    struct uffdio_api api = {.api = UFFD_API};
    struct uffdio_register all = {.range = {(unsigned long)watched, sizeof watched}, .mode = UFFDIO_REGISTER_MODE_MISSING};
    /* One page was used, the others never. */
    watched[0] = 1;
    if (fd < 0 || ioctl(fd, UFFDIO_API, &api)) return 0;
    return ioctl(fd, UFFDIO_REGISTER, &all);
}

static int shorten(void) {
    char path[] = "/tmp/harm-cutXXXXXX";
    int fd = mkstemp(path);
    if (fd < 0 || unlink(path) || ftruncate(fd, sizeof cut)) return 1;
    if (mmap(cut, sizeof cut, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) != cut) return 1;
    memset(cut, 5, sizeof cut);
    return ftruncate(fd, PAGE) || close(fd);
}

int harm_act(int mode) {
    int failed = 0;
    if (mode & 1) {
        memset(stack, 7, sizeof stack);
        failed |= mprotect(stack, PAGE, PROT_NONE);
    }
    if (mode & 2) {
        table.alloc = malloc;
        table.release = free;
        failed |= mprotect(&table, PAGE, PROT_READ);
    }
    if (mode & 4) {
        memset(data, 7, sizeof data);
        failed |= mprotect(data + PAGE, PAGE, PROT_NONE);
    }
    if (mode & 8) failed |= watch();
    if (mode & 16) failed |= shorten();
    if (mode & 32) {
        memset(gone, 7, sizeof gone);
        failed |= munmap(gone + PAGE, PAGE);
    }
    if (mode & 64 && table.alloc) {
        char *p = table.alloc(1000);
        memset(p, 1, 1000);
        table.release(p);
        for (size_t i = PAGE; i < sizeof stack; i++) failed |= stack[i] != 7 && stack[i] != 0;
    }
    return failed;
}
