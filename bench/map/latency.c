/* How long a thread waits for the lock of its address space while the process is looked at.
 *
 * latency MAPS MIB huge|small|empty: has MAPS mappings, and MIB in one of huge pages, of small pages, or of small pages that
 * were given back (empty page tables). Prints READY; then answers each line of its input, after that many seconds, by what one
 * mmap, one first touch and one munmap took meanwhile, 4,000 times a second: count, and of each the median, the 99.9th percentile
 * and the maximum in microseconds. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, MOST = 1 << 20 };

static float *times[3];

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

static int ascending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void *map(size_t size, int protection, int flags)
{
    void *at = mmap(0, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    if (at == MAP_FAILED) { perror("mmap"); exit(1); }
    return at;
}

static size_t measure(double seconds)
{
    size_t count = 0;
    for (double end = now() + seconds; now() < end && count < MOST; count++) {
        double a = now();
        char *at = map(64 << 10, PROT_READ | PROT_WRITE, 0);
        double b = now();
        at[PAGE] = 1;
        double c = now();
        munmap(at, 64 << 10);
        double d = now();
        times[0][count] = (b - a) * 1e6;
        times[1][count] = (c - b) * 1e6;
        times[2][count] = (d - c) * 1e6;
        usleep(200);
    }
    return count;
}

int main(int count, char **arguments)
{
    if (count != 4) return 2;
    prctl(PR_SET_PDEATHSIG, 9);
    long maps = atol(arguments[1]);
    size_t size = strtoul(arguments[2], 0, 10) << 20;
    if (size) {
        char *large = map(size, PROT_READ | PROT_WRITE, 0);
        madvise(large, size, strcmp(arguments[3], "huge") ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
        for (size_t at = 0; at < size; at += PAGE) large[at] = 1;
        if (!strcmp(arguments[3], "empty")) madvise(large, size, MADV_DONTNEED);
    }
    /* Two mappings for each page that is touched: the kernel doesn't merge neighbours of other rights. */
    char *many = map((size_t)maps * PAGE + PAGE, PROT_READ | PROT_WRITE, MAP_NORESERVE);
    for (long i = 0; i < maps; i += 2) {
        many[i * PAGE] = 1;
        if (mprotect(many + (i + 1) * PAGE, PAGE, PROT_NONE)) { perror("mprotect"); return 1; }
    }
    for (int i = 0; i < 3; i++) times[i] = map(MOST * sizeof(float), PROT_READ | PROT_WRITE, MAP_POPULATE);
    puts("READY");
    fflush(stdout);
    double seconds;
    while (scanf("%lf", &seconds) == 1) {
        size_t n = measure(seconds);
        printf("%zu", n);
        for (int i = 0; i < 3; i++) {
            qsort(times[i], n, sizeof(float), ascending);
            printf(" %.1f %.1f %.1f", times[i][n / 2], times[i][n * 999 / 1000], times[i][n - 1]);
        }
        puts("");
        fflush(stdout);
    }
}
