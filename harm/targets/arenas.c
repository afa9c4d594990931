/* Eight threads with arenas of their own, blocks of all sizes, some freed: a C heap with every structure that glibc has. Damaged from
 * outside while it is stopped. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_barrier_t filled;
static void *fill(void *arg) {
    unsigned seed = (unsigned)(size_t)arg;
    static __thread void *kept[4000];
    for (int i = 0; i < 4000; i++) {
        seed = seed * 1664525 + 1013904223;
        size_t size = i % 500 ? 16 + (seed >> 16) % 3000 : 200000;
        kept[i] = malloc(size);
        memset(kept[i], i, size);
    }
    for (int i = 0; i < 4000; i += 3) free(kept[i]);
    pthread_barrier_wait(&filled);
    pause();
    return NULL;
}

int main(void) {
    pthread_barrier_init(&filled, NULL, 9);
    for (int i = 0; i < 8; i++) {
        pthread_t thread;
        pthread_create(&thread, NULL, fill, (void *)(size_t)(i + 1));
    }
    pthread_barrier_wait(&filled);
    puts("READY");
    fflush(stdout);
    pause();
}
