/* An executable with a malloc of its own that bears jemalloc's names, as one linked with it statically does. */
#include <stddef.h>
#include <string.h>
#include <unistd.h>

static char pool[1 << 20];
static size_t used;

void *malloc(size_t size) {
  void *block = pool + used;
  used += (size + 31) & ~(size_t)15;
  return block;
}
void free(void *block) { (void)block; }
void *calloc(size_t count, size_t size) { return memset(malloc(count * size), 0, count * size); }
void *realloc(void *block, size_t size) { return block ? memmove(malloc(size), block, size) : malloc(size); }
void *mallocx(size_t size, int flags) { return flags ? NULL : malloc(size); }

int main(void) {
  if (write(1, "ready\n", 6) != 6) return 1;
  pause();
  return mallocx(1, 1) != NULL;
}
