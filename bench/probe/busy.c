/* What a program without a JVM still does while it is probed. Prints, each second, its allocations per second of its own
 * processor time. `steady` allocates without pause; `ticks` allocates a thousand blocks fifty times a second. Each keeps one
 * block of 700 bytes in 5,000. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void *ring[512];
static void **newest;

static double seconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

__attribute__((noinline)) static void keep(void) {
    void **block = malloc(700);
    *block = newest;
    newest = block;
}

int main(int argc, char **argv) {
    int ticks = argc > 1 && !strcmp(argv[1], "ticks");
    unsigned random = 1, largest = ticks ? 20000 : 500;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (;;) {
        double begin = seconds(CLOCK_MONOTONIC), used = seconds(CLOCK_PROCESS_CPUTIME_ID);
        long count = 0;
        while (seconds(CLOCK_MONOTONIC) - begin < 1.0) {
            for (int i = 0; i < (ticks ? 1000 : 20000); i++) {
                random = random * 1103515245u + 12345u;
                unsigned at = (random >> 8) % 512;
                size_t bytes = 16 + (random >> 16) % largest;
                free(ring[at]);
                ring[at] = malloc(bytes);
                memset(ring[at], 1, ticks ? bytes : 1);
                if (++count % 5000 == 0) keep();
            }
            if (ticks) usleep(20000);
        }
        printf("%.0f\n", (double)count / (seconds(CLOCK_PROCESS_CPUTIME_ID) - used));
    }
}
