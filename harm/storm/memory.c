/* Storms of memory: maps, protections, own data given back, pages that somebody else answers for. Harm: 1, 2, 4, 11. */
#include "storm.h"
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE 4096
#define RW (PROT_READ | PROT_WRITE)

static void *maps(void *arg) {
    unsigned seed = (uintptr_t)arg;
    size_t n = 1 << 20;
    while (go()) {
        unsigned char *p = mmap(NULL, n, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED) continue;
        unsigned char mark = next(&seed);
        memset(p + 65536, mark, 65536);
        errno = 4711;
        CHECK(mprotect(p, PAGE, PROT_READ) == 0 && errno == 4711);
        unsigned char *q = mremap(p + 65536, 65536, 262144, MREMAP_MAYMOVE);
        if (q == MAP_FAILED) {
            munmap(p + 65536, 65536);
        } else {
            for (size_t i = 0; i < 262144; i += 511)
                if (q[i] != (i < 65536 ? mark : 0)) {
                    bad("byte %zu of a moved map is %d", i, q[i]);
                    break;
                }
            CHECK(munmap(q, 262144) == 0);
        }
        /* Never over the hole: another thread's map may be there by now. */
        CHECK(munmap(p, 65536) == 0);
        CHECK(munmap(p + 131072, n - 131072) == 0);
        CHECK(munmap((void *)1, PAGE) == -1 && errno == EINVAL);
        rounds("maps", 1);
        if (below(&seed, 16) == 0) nap(300);
    }
    return NULL;
}

/* A table of functions as hardened programs have it: filled, then made read-only, then out of reach; again and again. */
static struct {
    void *(*alloc)(size_t);
    void (*release)(void *);
    char rest[PAGE - 16];
} table __attribute__((aligned(PAGE)));
static unsigned char guarded[8 * PAGE] __attribute__((aligned(PAGE)));

static void *protections(void *arg) {
    unsigned seed = (uintptr_t)arg;
    while (go()) {
        CHECK(mprotect(&table, PAGE, RW) == 0);
        table.alloc = malloc;
        table.release = free;
        CHECK(mprotect(&table, PAGE, PROT_READ) == 0);
        if (next(&seed) & 1) nap(200);
        unsigned char *p = table.alloc(777);
        memset(p, 5, 777);
        CHECK(mprotect(&table, PAGE, PROT_NONE) == 0);
        if (next(&seed) & 1) nap(200);
        CHECK(mprotect(&table, PAGE, PROT_READ) == 0);
        CHECK(p[0] == 5 && p[776] == 5);
        table.release(p);
        /* A guard page that wanders through used pages of .bss. */
        unsigned k = below(&seed, 8);
        memset(guarded, k, sizeof guarded);
        CHECK(mprotect(guarded + k * PAGE, PAGE, PROT_NONE) == 0);
        nap(100 + below(&seed, 300));
        CHECK(mprotect(guarded + k * PAGE, PAGE, next(&seed) & 1 ? PROT_READ : RW) == 0);
        for (size_t i = 0; i < sizeof guarded; i += 61) CHECK(guarded[i] == k);
        CHECK(mprotect(guarded, sizeof guarded, RW) == 0);
        rounds("mprotect", 1);
    }
    return NULL;
}

/* Own data that is given back to the kernel: it is zero afterwards, and stays so until it is written. */
static unsigned char data[16 * PAGE] __attribute__((aligned(PAGE)));

static void *given_back(void *arg) {
    unsigned seed = (uintptr_t)arg;
    unsigned char *shared = mmap(NULL, sizeof data, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    while (go()) {
        memset(data, 9, sizeof data);
        memset(shared, 9, sizeof data);
        unsigned k = below(&seed, 16);
        CHECK(madvise(data + k * PAGE, PAGE, MADV_DONTNEED) == 0);
        CHECK(madvise(shared + k * PAGE, PAGE, MADV_REMOVE) == 0);
        nap(200);
        for (size_t i = 0; i < sizeof data; i += 53) {
            CHECK(data[i] == (i / PAGE == k ? 0 : 9));
            CHECK(shared[i] == (i / PAGE == k ? 0 : 9));
        }
        rounds("madvise", 1);
    }
    munmap(shared, sizeof data);
    return NULL;
}

/* Pages of .bss under userfaultfd: who touches one waits for an answer from here, and nobody but this thread may. */
#define FAULTED 8
static unsigned char faulted[FAULTED * PAGE] __attribute__((aligned(PAGE)));
static atomic_int touching = -1;

static void *answer(void *arg) {
    int fd = (int)(intptr_t)arg;
    struct pollfd poll_fd = {fd, POLLIN, 0};
    while (go()) {
        struct uffd_msg message;
        if (poll(&poll_fd, 1, 50) <= 0 || read(fd, &message, sizeof message) != sizeof message) continue;
        if (message.event != UFFD_EVENT_PAGEFAULT) continue;
        unsigned long at = message.arg.pagefault.address & ~(PAGE - 1ul);
        int page = (at - (unsigned long)faulted) / PAGE;
        if (page != touching) bad("somebody touched page %d, which is nobody's to touch (expected %d)", page, touching);
        struct uffdio_zeropage zero = {.range = {at, PAGE}};
        ioctl(fd, UFFDIO_ZEROPAGE, &zero);
    }
    return NULL;
}

static void *faults(void *arg) {
    unsigned seed = (uintptr_t)arg;
    int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    int fd = device >= 0 ? ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK)
                         : (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    if (device >= 0) close(device);
    struct uffdio_api api = {.api = UFFD_API};
    struct uffdio_register all = {.range = {(unsigned long)faulted, sizeof faulted}, .mode = UFFDIO_REGISTER_MODE_MISSING};
    /* Without rights there is no such storm. */
    if (fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &all)) return NULL;
    pthread_t thread;
    pthread_create(&thread, NULL, answer, (void *)(intptr_t)fd);
    while (go()) {
        int page = below(&seed, FAULTED);
        touching = page;
        faulted[page * PAGE + below(&seed, PAGE)] = 1;
        touching = -1;
        nap(300);
        CHECK(madvise(faulted + page * PAGE, PAGE, MADV_DONTNEED) == 0);
        nap(300);
        rounds("userfault", 1);
    }
    pthread_join(thread, NULL);
    close(fd);
    return NULL;
}

const struct storm MEMORY[] = {
    {"maps", maps, 2}, {"mprotect", protections, 1}, {"madvise", given_back, 1}, {"userfault", faults, 1}, {0}};
