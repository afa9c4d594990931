/* A timer's handler jumps out of mmap, mprotect and munmap a few thousand times; then 50 maps of 1 MiB are kept. Harm: a lock that is
 * taken in a hook and never given back. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static sigjmp_buf out;
static volatile sig_atomic_t jumps;
static void jump(int signal) { siglongjmp(out, 1); }

__attribute__((noinline)) void *keep_a_map(void) {
    void *volatile p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p;
}

int main(void) {
    struct sigaction action = {.sa_handler = jump};
    sigaction(SIGRTMIN, &action, NULL);
    struct sigevent to_me = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
    timer_t timer;
    if (timer_create(CLOCK_MONOTONIC, &to_me, &timer)) return 1;
    struct itimerspec often = {{0, 100000}, {0, 100000}}, never = {{0, 0}, {0, 0}};
    size_t size = 256 << 10;
    char *place = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    timer_settime(timer, 0, &often, NULL);
    if (sigsetjmp(out, 1)) jumps++;
    while (jumps < 5000) {
        mmap(place, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        mprotect(place, 4096, PROT_READ);
        munmap(place + 4096, 4096);
    }
    signal(SIGRTMIN, SIG_IGN);
    timer_settime(timer, 0, &never, NULL);
    for (int i = 0; i < 50; i++) keep_a_map();
    printf("jumped %d\n", (int)jumps);
    fflush(stdout);
    _exit(0);
}
