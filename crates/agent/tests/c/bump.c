/* An allocator that may be left at any instruction: blocks are cut off one area and never come back; large ones, of which
 * what is tested needs none for long, go round and round another. */
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

static _Alignas(16) char small[64 << 20], large[1 << 20];
static atomic_size_t used, round;

void *malloc(size_t n) {
    size_t whole = (n + 31) & ~15UL;
    char *p = n < 50000 ? small + atomic_fetch_add(&used, whole) % (sizeof small / 2)
                        : large + atomic_fetch_add(&round, whole) % (sizeof large / 2);
    *(size_t *)p = n;
    return p + 16;
}
void free(void *p) { (void)p; }
void *calloc(size_t n, size_t m) { return memset(malloc(n * m), 0, n * m); }
void *realloc(void *p, size_t n) {
    char *q = malloc(n);
    if (p) memmove(q, p, *(size_t *)((char *)p - 16) < n ? *(size_t *)((char *)p - 16) : n);
    return q;
}
int posix_memalign(void **out, size_t a, size_t n) {
    char *p = malloc(n + a);
    *out = (void *)(((size_t)p + a - 1) & -a);
    return 0;
}
void *aligned_alloc(size_t a, size_t n) {
    void *p;
    posix_memalign(&p, a, n);
    return p;
}
void *memalign(size_t a, size_t n) { return aligned_alloc(a, n); }
