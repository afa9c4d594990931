// Blocks of four sizes with four kinds of contents.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unistd.h>

namespace shop {
struct Order {
  virtual ~Order() {}
  char rest[1990];
};
}  // namespace shop

int main() {
  for (int i = 0; i < 500; i++) new shop::Order;
  for (int i = 0; i < 500; i++) {
    char *text = static_cast<char *>(malloc(3000));
    snprintf(text, 3000, "SELECT * FROM orders WHERE id = %d", i);
    memset(calloc(1, 4000), 0, 4000);
    auto pointer = static_cast<void **>(malloc(5000));
    pointer[0] = reinterpret_cast<void *>(&getpid);
    pointer[1] = nullptr;
  }
  puts("ready");
  fflush(stdout);
  pause();
}
