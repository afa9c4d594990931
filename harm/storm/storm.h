/* What the storms share: when to end, what went wrong, and blocks whose every byte is known. */
#ifndef STORM_H
#define STORM_H
#define _GNU_SOURCE
#include <errno.h>
#include <stddef.h>
#include <stdint.h>

/* One kind of bad weather: runs in so many threads until go() says no. */
struct storm {
    const char *name;
    void *(*run)(void *);
    int threads;
};
extern const struct storm PROCESSES[], MEMORY[], THREADS[], STACKS[];

/* Whether the storm goes on. */
int go(void);
/* One round is over: the figure that the report shows beside the storm's name. */
void rounds(const char *name, long n);
/* Something is wrong that must not be; printed, and counted. */
void bad(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* How often bad() was called. */
long wrongs(void);
#define CHECK(x) ((x) ? (void)0 : bad("%s:%d: %s, errno %d", __FILE__, __LINE__, #x, errno))

/* Starts the storms of a list: ",fork,threads,". */
void storms_start(const char *names, const char *folder);
/* Ends them; what was done, and what was wrong. */
void storms_end(char *text, size_t size);
/* The longest time between two looks at the clock since the last question, in nanoseconds. */
long longest_gap(void);
long waited_ns(void);

/* A folder with the plug-ins p0.so to p11.so. */
extern char plugins[256];

/* A block with a known pattern in all its bytes. */
struct block {
    unsigned char *at;
    size_t size;
    unsigned seed;
};
/* Allocates by one of malloc, calloc, realloc, aligned_alloc, posix_memalign, as the seed says; errno must stay. */
struct block take(size_t size, unsigned seed);
/* Reallocates; what was in it must still be. */
void grow(struct block *block, size_t size);
/* Looks at every byte, then frees; errno must stay. */
void give(struct block *block);
/* The next number of a row, and one that is below n. */
unsigned next(unsigned *seed);
unsigned below(unsigned *seed, unsigned n);
/* Takes and gives some blocks: what any thread, child or handler does. */
void churn(unsigned seed, int blocks);
void nap(long microseconds);
#endif
