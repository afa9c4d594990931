/* A known mix of sizes, all leaked: 60,000 x 200 bytes and 20 x 600,000 bytes, and frees in between. */
#include <stdlib.h>
static void *volatile sink;
__attribute__((noinline)) static void small(void) { for (int i = 0; i < 60000; i++) sink = malloc(200); }
__attribute__((noinline)) static void large(void) { for (int i = 0; i < 20; i++) sink = malloc(600000); }
__attribute__((noinline)) static void passing(void) { for (int i = 0; i < 20000; i++) { sink = malloc(3000); free(sink); } }
int main(void) {
    passing();
    small();
    large();
    return 0;
}
