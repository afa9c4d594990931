/* A page or a few of every kind of mapping there is, for a comparison with smaps. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SIZE = 8 << 20, PAGE = 4096 };

static char *map(size_t size, int flags, int fd)
{
    char *at = mmap(0, size, PROT_READ | PROT_WRITE, flags, fd, 0);
    return at == MAP_FAILED ? 0 : at;
}

static char *fresh(void) { return map(SIZE, MAP_PRIVATE | MAP_ANONYMOUS, -1); }

/* A mapping between two others, so that the kernel merges it with neither. */
static char *alone(void)
{
    char *at = map(3 * SIZE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    munmap(at, SIZE);
    munmap(at + 2 * SIZE, SIZE);
    return at + SIZE;
}

static void touch(char *at, int pages) { for (int i = 0; i < pages; i++) at[(size_t)i * PAGE] = 1 + i; }

int main(int count, char **arguments)
{
    volatile char seen = 0;
    char *at = alone();
    madvise(at, SIZE, MADV_NOHUGEPAGE); /* zero pages */
    for (int i = 0; i < 64; i++) seen += at[(size_t)i * PAGE];
    touch(at + SIZE / 2, 3);
    at = alone();
    madvise(at, SIZE, MADV_HUGEPAGE); /* huge zero page, and a huge page */
    seen += *(char *)(((uintptr_t)at + (2 << 20)) & ~((2ul << 20) - 1));
    touch((char *)(((uintptr_t)at + (4 << 20)) & ~((2ul << 20) - 1)), 1);
    at = alone();
    touch(at, 5);
    mprotect(at, SIZE, PROT_NONE);
    at = alone();
    touch(at, 9);
    madvise(at + 2 * PAGE, 3 * PAGE, 102 /* MADV_GUARD_INSTALL, from Linux 6.13 */);
    at = alone();
    for (int i = 0; i < 16; i++) memset(at + (size_t)i * PAGE, 7, PAGE);
    madvise(at, SIZE, MADV_MERGEABLE);
    at = alone();
    touch(at, 16);
    madvise(at, SIZE, MADV_FREE);
    at = alone();
    touch(at, 16);
    madvise(at, SIZE, 21 /* MADV_PAGEOUT: swapped, where there is swap */);
    mmap(0, 1ul << 40, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    /* Many small mappings. */
    at = fresh();
    for (int i = 0; i < 1000; i += 2) { touch(at + (size_t)i * PAGE, 1); mprotect(at + (size_t)i * PAGE, PAGE, PROT_READ); }
    /* Shared memory and copies of it. */
    int memory = memfd_create("kinds", 0);
    ftruncate(memory, SIZE);
    touch(map(SIZE, MAP_SHARED, memory), 20);
    touch(map(SIZE, MAP_SHARED, memory), 10);
    at = map(SIZE, MAP_PRIVATE, memory);
    for (int i = 0; i < 8; i++) seen += at[(size_t)i * PAGE];
    touch(at, 3);
    touch(map(SIZE, MAP_SHARED | MAP_ANONYMOUS, -1), 6);
    int id = shmget(IPC_PRIVATE, SIZE, 0600);
    touch(shmat(id, 0, 0), 4);
    shmctl(id, IPC_RMID, 0);
    /* Files and devices. */
    int file = open(arguments[0], O_RDONLY);
    at = mmap(0, PAGE, PROT_READ, MAP_SHARED, file, 0);
    seen += *at;
    at = map(PAGE, MAP_PRIVATE, file);
    touch(at, 1);
    char name[] = "/tmp/kinds-XXXXXX";
    int data = mkstemp(name);
    unlink(name);
    ftruncate(data, SIZE);
    touch(map(SIZE, MAP_SHARED, data), 30);
    int zero = open("/dev/zero", O_RDWR);
    at = map(SIZE, MAP_PRIVATE, zero);
    seen += at[5 * PAGE];
    touch(at, 2);
    int physical = open("/dev/mem", O_RDONLY);
    at = mmap(0, 16 * PAGE, PROT_READ, MAP_SHARED, physical, 0xf0000);
    for (int i = 0; at != MAP_FAILED && i < 16; i++) seen += at[(size_t)i * PAGE];
    /* Huge pages, where some are set apart. */
    if ((at = map(4 << 20, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1))) at[0] = 1;
    int huge = memfd_create("kinds", MFD_HUGETLB);
    ftruncate(huge, 4 << 20);
    if ((at = map(4 << 20, MAP_SHARED, huge))) at[0] = 1;
    /* Pages shared with a child. */
    at = alone();
    touch(at, 12);
    int ends[2];
    pipe(ends);
    if (fork() == 0) { close(ends[1]); read(ends[0], name, 1); _exit(0); }
    /* Enough that the page map is worth reading where it can't be scanned. */
    if (count > 1) touch(map(atol(arguments[1]), MAP_PRIVATE | MAP_ANONYMOUS, -1), atol(arguments[1]) / PAGE);
    puts("READY");
    fflush(stdout);
    pause();
}
