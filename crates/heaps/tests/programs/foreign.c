/* Allocates 60 MB in blocks of many sizes, and maps 32 MB by itself; prints where. With an argument it loads that library
 * without letting it serve malloc. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int count, char **arguments) {
  if (count > 1 && !dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL)) {
    fprintf(stderr, "%s\n", dlerror());
    return 1;
  }
  size_t total = 0;
  uint64_t state = 88172645463325252ull;
  for (int i = 0; total < 60u << 20; i++) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    size_t size = i % 200 == 0 ? 1000000 + state % 1000000 : 16 + state % 3000;
    memset(malloc(size), 7, size);
    total += size;
  }
  size_t len = 32 << 20;
  char *own = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memset(own, 9, len);
  puts("ready");
  printf("%zu %zu\n", (size_t)own, (size_t)own + len);
  fflush(stdout);
  pause();
  return 0;
}
