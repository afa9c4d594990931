/* A thread that allocates without end: mode 0 starts it, 1 answers with the slowest malloc with free since the last question, in
 * microseconds. Provokes nothing itself: it is who suffers. Harm: 8. */
#include "host.h"
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static atomic_long slowest;
static void *beat(void *unused) {
    void *ring[64] = {0};
    for (long n = 0;; n++) {
        struct timespec a, b;
        clock_gettime(CLOCK_MONOTONIC, &a);
        void *p = malloc(20000);
        memset(p, 1, 64);
        free(ring[n % 64]);
        clock_gettime(CLOCK_MONOTONIC, &b);
        ring[n % 64] = p;
        long took = (b.tv_sec - a.tv_sec) * 1000000 + (b.tv_nsec - a.tv_nsec) / 1000;
        if (took > slowest) slowest = took;
        usleep(100);
    }
    return NULL;
}

int harm_act(int mode) {
    pthread_t thread;
    return mode == 1 ? (int)atomic_exchange(&slowest, 0) : pthread_create(&thread, NULL, beat, NULL);
}
