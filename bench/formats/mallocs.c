/* As Mallocs.java: mallocs and frees through many stacks; one of a thousand is never freed. */
#include <stdlib.h>

static void *ring[64];
static int at;

static void a(int path, int depth, int n);
static void b(int path, int depth, int n);

static void allocate(int n) {
    // Always the same size on the same path: heaptrack 1.4's interpreter gives up at some 150,000 pairs of size and stack.
    void *block = malloc(16 + (n * 31 & 2047));
    if (n % 1000 == 0) return;
    free(ring[at]);
    ring[at] = block;
    at = (at + 1) & 63;
}

static void next(int path, int depth, int n) {
    if (depth == 0) allocate(n);
    else if (path & 1) b(path >> 1, depth - 1, n);
    else a(path >> 1, depth - 1, n);
    __asm__ volatile("");
}
static void a(int path, int depth, int n) { next(path, depth, n); __asm__ volatile(""); }
static void b(int path, int depth, int n) { next(path, depth, n); __asm__ volatile(""); }

int main(int count, char **arguments) {
    int pairs = count > 1 ? atoi(arguments[1]) : 1000000;
    for (int n = 0; n < pairs; n++) next(n * 31 & 2047, 14, n);
    return 0;
}
