/* What the programs without a JVM have in common: the same arguments, READY line and pace as scenario.Program. */
#ifndef SCENARIO_H
#define SCENARIO_H

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SCENARIO_RING 512

struct scenario {
    const char *mode;
    double rate;   /* bytes per second */
    double load;   /* background work, 1 is normal */
    double delay;  /* seconds between READY and the first step */
    int watch_stdin;
    void *ring[SCENARIO_RING];
    unsigned random;
};

static double scenario_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static struct scenario scenario_of(int argc, char **argv) {
    struct scenario s = {.mode = "", .rate = 1 << 20, .load = 1, .random = 1};
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "rate=", 5) == 0) {
            s.rate = atof(argv[i] + 5);
        } else if (strncmp(argv[i], "load=", 5) == 0) {
            s.load = atof(argv[i] + 5);
        } else if (strncmp(argv[i], "delay=", 6) == 0) {
            s.delay = atof(argv[i] + 6);
        } else if (strcmp(argv[i], "stdin=watch") == 0) {
            s.watch_stdin = 1;
        } else if (strncmp(argv[i], "dir=", 4) != 0) {
            s.mode = argv[i];
        }
    }
    return s;
}

/* One tick of background work: blocks of many sizes are replaced in a ring of fixed length. */
static void scenario_background(struct scenario *s) {
    for (int i = 0; i < (int)(100 * s->load); i++) {
        s->random = s->random * 1103515245u + 12345u;
        unsigned at = (s->random >> 8) % SCENARIO_RING;
        size_t bytes = 16 + (s->random >> 16) % 20000;
        free(s->ring[at]);
        s->ring[at] = malloc(bytes);
        if (s->ring[at] != NULL) {
            memset(s->ring[at], 1, bytes);
        }
    }
}

/* Waits 20 ms; ends the program when its standard input was closed and it was told to watch that. */
static void scenario_tick(struct scenario *s) {
    struct pollfd in = {.fd = s->watch_stdin ? 0 : -1, .events = POLLIN};
    char byte;
    if (poll(&in, 1, 20) > 0 && read(0, &byte, 1) <= 0) {
        exit(0);
    }
    scenario_background(s);
}

static void scenario_ready(struct scenario *s) {
    for (int i = 0; i < 100; i++) {
        scenario_background(s);
    }
    puts("READY");
    fflush(stdout);
    for (double end = scenario_now() + s->delay; scenario_now() < end;) {
        scenario_tick(s);
    }
}

/* Runs the step rate / unit times a second until the steps were worth total bytes (0: for ever). */
static void scenario_pace(struct scenario *s, double unit, double total, void (*step)(void)) {
    double start = scenario_now();
    double steps = 0;
    while (total == 0 || steps * unit < total) {
        double due = (scenario_now() - start) * s->rate / unit;
        for (; steps < due && (total == 0 || steps * unit < total); steps++) {
            step();
        }
        scenario_tick(s);
    }
}

#endif
