/* A library with an allocation of its own. */
#include <stdlib.h>
__attribute__((noinline)) void *plugin_get(size_t n) {
    void *volatile p = malloc(n);
    return p;
}
void plugin_drop(void *p) { free(p); }
