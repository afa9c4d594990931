/* Storms: the common part. Provokes every kind of harm while an agent comes and goes. */
#include "storm.h"
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

char plugins[256];
static atomic_int stop;
static atomic_long wrong;
static struct {
    const char *name;
    atomic_long n;
} figures[64];
static pthread_t started[256];
static int count;

int go(void) { return !atomic_load_explicit(&stop, memory_order_relaxed); }

void rounds(const char *name, long n) {
    for (int i = 0; i < 64; i++)
        if (figures[i].name == name) {
            atomic_fetch_add(&figures[i].n, n);
            return;
        }
}

void bad(const char *format, ...) {
    int saved = errno;
    if (atomic_fetch_add(&wrong, 1) < 20) {
        char text[300];
        va_list arguments;
        va_start(arguments, format);
        int n = vsnprintf(text, sizeof text - 1, format, arguments);
        va_end(arguments);
        if (n > (int)sizeof text - 2) n = sizeof text - 2;
        text[n++] = '\n';
        if (write(2, text, n) < 0) _exit(98);
    }
    errno = saved;
}

long wrongs(void) { return wrong; }

unsigned next(unsigned *seed) { return (*seed = *seed * 1664525 + 1013904223) >> 8; }
unsigned below(unsigned *seed, unsigned n) { return next(seed) % n; }

void nap(long microseconds) {
    struct timespec t = {microseconds / 1000000, microseconds % 1000000 * 1000};
    while (nanosleep(&t, &t) && errno == EINTR) {}
}

static unsigned char byte(unsigned seed, size_t i) { return (seed * 2654435761u >> 24) + i * 31 + (i >> 8); }
static void fill(unsigned char *at, size_t from, size_t size, unsigned seed) {
    for (size_t i = from; i < size; i++) at[i] = byte(seed, i);
}
static void verify(const unsigned char *at, size_t size, unsigned seed) {
    for (size_t i = 0; i < size; i++)
        if (at[i] != byte(seed, i)) {
            bad("byte %zu of a block of %zu is %d, not %d", i, size, at[i], byte(seed, i));
            return;
        }
}

/* A value that no call here sets. */
#define KEPT 4711

struct block take(size_t size, unsigned seed) {
    struct block b = {NULL, size, seed};
    void *aligned = NULL;
    errno = KEPT;
    switch (seed % 6) {
    case 0: b.at = calloc(1, size); break;
    case 1: b.at = realloc(NULL, size); break;
    case 2: b.at = aligned_alloc(64, (size + 63) & ~(size_t)63); break;
    case 3: b.at = posix_memalign(&aligned, 256, size) ? NULL : aligned; break;
    default: b.at = malloc(size);
    }
    if (!b.at) {
        b.size = 0;
        return b;
    }
    CHECK(errno == KEPT);
    if (seed % 6 == 0)
        for (size_t i = 0; i < size; i++)
            if (b.at[i]) {
                bad("byte %zu of calloc(%zu) is %d", i, size, b.at[i]);
                break;
            }
    fill(b.at, 0, size, seed);
    return b;
}

void grow(struct block *b, size_t size) {
    verify(b->at, b->size, b->seed);
    errno = KEPT;
    unsigned char *at = realloc(b->at, size);
    if (!at) return;
    CHECK(errno == KEPT);
    b->at = at;
    verify(at, size < b->size ? size : b->size, b->seed);
    fill(at, size < b->size ? size : b->size, size, b->seed);
    b->size = size;
}

void give(struct block *b) {
    if (b->at) verify(b->at, b->size, b->seed);
    errno = KEPT;
    free(b->at);
    CHECK(errno == KEPT);
    b->at = NULL;
}

void churn(unsigned seed, int blocks) {
    struct block b[16] = {{0}};
    for (int i = 0; i < blocks; i++) {
        struct block *one = &b[below(&seed, 16)];
        if (!one->at) *one = take(1 + below(&seed, 3000), next(&seed));
        else if (below(&seed, 3)) give(one);
        else grow(one, 1 + below(&seed, 6000));
    }
    for (int i = 0; i < 16; i++) give(&b[i]);
}

static long now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

/* How long this thread was ready to run while others ran, by the second number of its schedstat. */
long waited_ns(void) {
    static __thread int file;
    char text[100] = "";
    if (file == 0) file = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
    long n = pread(file, text, sizeof text - 1, 0);
    char *second = n > 0 ? strchr(text, ' ') : NULL;
    return second ? strtol(second, NULL, 10) : 0;
}

/* Looks at the clock and at nothing else: how long this thread was kept from running by more than its turn. */
static atomic_long longest;
static void *clock_thread(void *unused) {
    prctl(PR_SET_NAME, "clock");
    long last = now_ns(), asked = last, waited = waited_ns();
    while (go()) {
        long now = now_ns(), gap = now - last;
        if (gap > 200000) {
            long others = waited_ns() - waited;
            if (gap - others > atomic_load_explicit(&longest, memory_order_relaxed)) longest = gap - others;
        }
        if (gap > 200000 || now - asked > 1000000) {
            waited = waited_ns();
            now = asked = now_ns();
        }
        last = now;
    }
    return NULL;
}

static void start_these(const struct storm *storms, const char *wanted) {
    const char *seed = getenv("HARM_SEED");
    uintptr_t first = seed ? strtoul(seed, NULL, 10) * 1000 : 0;
    for (; storms->name; storms++) {
        char pattern[64];
        snprintf(pattern, sizeof pattern, ",%s,", storms->name);
        if (!strstr(wanted, pattern)) continue;
        for (int i = 0; i < 64; i++)
            if (!figures[i].name) {
                figures[i].name = storms->name;
                break;
            }
        for (int i = 0; i < storms->threads; i++, count++)
            if (pthread_create(&started[count], NULL, storms->run, (void *)(first + count + 1))) bad("no thread");
    }
}

void storms_start(const char *wanted, const char *folder) {
    snprintf(plugins, sizeof plugins, "%s", folder);
    start_these(PROCESSES, wanted);
    start_these(MEMORY, wanted);
    start_these(THREADS, wanted);
    start_these(STACKS, wanted);
    if (strstr(wanted, ",clock,")) pthread_create(&started[count++], NULL, clock_thread, NULL);
}

void storms_end(char *text, size_t size) {
    stop = 1;
    for (int i = 0; i < count; i++) pthread_join(started[i], NULL);
    size_t n = snprintf(text, size, "bad %ld", (long)wrong);
    for (int i = 0; i < 64 && figures[i].name && n < size; i++)
        n += snprintf(text + n, size - n, " %s %ld", figures[i].name, (long)figures[i].n);
}

long longest_gap(void) { return atomic_exchange(&longest, 0); }
