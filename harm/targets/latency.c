/* How long malloc and free, and mmap with munmap, take: latency SECONDS SIZE [PAUSE_US]; a line each SIGUSR1 and one at the end, in
 * microseconds. Provokes nothing itself: it is who suffers. Harm: 8, 11. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec * 1e-3;
}
static volatile sig_atomic_t asked;
static void ask(int signal) { asked = 1; }

int main(int argc, char **words) {
    double seconds = atof(words[1]);
    size_t size = atol(words[2]);
    long pause_us = argc > 3 ? atol(words[3]) : 0;
    double slowest_malloc = 0, slowest_map = 0;
    long n = 0;
    void *ring[64] = {0};
    signal(SIGUSR1, ask);
    puts("READY");
    fflush(stdout);
    for (double begin = now(); now() - begin < seconds * 1e6;) {
        double a = now();
        void *p = malloc(size);
        memset(p, 1, 64);
        free(ring[n % 64]);
        double b = now();
        ring[n % 64] = p;
        if (b - a > slowest_malloc) slowest_malloc = b - a;
        if (n % 16 == 0) {
            a = now();
            void *m = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            munmap(m, 1 << 20);
            b = now();
            if (b - a > slowest_map) slowest_map = b - a;
        }
        n++;
        if (pause_us) usleep(pause_us);
        if (asked) {
            asked = 0;
            printf("slowest malloc %.0f map %.0f of %ld\n", slowest_malloc, slowest_map, n);
            fflush(stdout);
            slowest_malloc = slowest_map = 0;
            n = 0;
        }
    }
    printf("slowest malloc %.0f map %.0f of %ld\n", slowest_malloc, slowest_map, n);
    fflush(stdout);
    _exit(0);
}
