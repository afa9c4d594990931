/* Allocates once from each of N different stacks of 24 frames. Usage: sites N */
#include <stdlib.h>

static void *volatile sink;
static void left(unsigned path, int depth);
static void right(unsigned path, int depth);

static __attribute__((noinline)) void next(unsigned path, int depth) {
    if (depth == 0) sink = malloc(100);
    else if (path & 1) left(path >> 1, depth - 1);
    else right(path >> 1, depth - 1);
    __asm__ volatile("");
}

static __attribute__((noinline)) void left(unsigned path, int depth) { next(path, depth); __asm__ volatile("nop"); }
static __attribute__((noinline)) void right(unsigned path, int depth) { next(path, depth); __asm__ volatile("nop; nop"); }

int main(int count, char **words) {
    int n = count > 1 ? atoi(words[1]) : 10000;
    for (int i = 0; i < n; i++) next(i, 14);
    return 0;
}
