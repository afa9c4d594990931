/* malloc(64)/free pairs: nanoseconds of processor time per pair and thread. Usage: pairs THREADS PAIRS [FRAMES] */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static long pairs;
static int frames;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

static __attribute__((noinline)) long loop(void) {
    long sum = 0;
    for (long i = 0; i < pairs; i++) {
        char *volatile p = malloc(64);
        sum += (long)p & 1;
        free(p);
    }
    return sum;
}

/* A stack of some depth below the loop, so that a walk has something to do. */
static __attribute__((noinline)) long deep(int n) { return n == 0 ? loop() : deep(n - 1) + (n & 1); }

static void *run(void *unused) {
    (void)unused;
    return (void *)deep(frames);
}

int main(int argc, char **argv) {
    int threads = argc > 1 ? atoi(argv[1]) : 1;
    pairs = argc > 2 ? atol(argv[2]) : 20000000;
    frames = argc > 3 ? atoi(argv[3]) : 0;
    pthread_t id[256];
    double start = now();
    for (int i = 0; i < threads; i++) pthread_create(&id[i], NULL, run, NULL);
    for (int i = 0; i < threads; i++) pthread_join(id[i], NULL);
    printf("%.3f\n", (now() - start) / pairs / threads);
    return 0;
}
