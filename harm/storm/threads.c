/* Storms of threads and signals: short lives, cancellation, 1 kHz signals, jumps out of handlers. Harm: 4, 17, longjmp out of a hook. */
#include "storm.h"
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void *short_lived(void *arg) {
    churn((uintptr_t)arg, 8);
    if ((uintptr_t)arg & 1) pthread_exit((void *)42);
    return (void *)42;
}

static void *lives(void *arg) {
    unsigned seed = (uintptr_t)arg;
    while (go()) {
        pthread_t all[16];
        pthread_attr_t small;
        pthread_attr_init(&small);
        pthread_attr_setstacksize(&small, 65536);
        int n = 0;
        for (; n < 16; n++)
            if (pthread_create(&all[n], n & 1 ? &small : NULL, short_lived, (void *)(uintptr_t)next(&seed))) break;
        for (int i = 0; i < n; i++) {
            void *result = NULL;
            CHECK(pthread_join(all[i], &result) == 0 && result == (void *)42);
        }
        pthread_attr_destroy(&small);
        rounds("threads", n);
        nap(1000);
    }
    return NULL;
}

/* Cancelled while it sleeps between allocations; its cleanup gives the block back. */
static void clean(void *arg) { give(arg); }
static void *cancelled(void *arg) {
    unsigned seed = (uintptr_t)arg;
    for (;;) {
        struct block b = take(500 + below(&seed, 2000), next(&seed));
        pthread_cleanup_push(clean, &b);
        churn(seed, 4);
        struct timespec t = {0, 100000};
        nanosleep(&t, NULL);
        pthread_cleanup_pop(1);
    }
}

static void *cancels(void *arg) {
    unsigned seed = (uintptr_t)arg;
    while (go()) {
        pthread_t all[8];
        int n = 0;
        for (; n < 8; n++)
            if (pthread_create(&all[n], NULL, cancelled, (void *)(uintptr_t)next(&seed))) break;
        nap(2000);
        for (int i = 0; i < n; i++) pthread_cancel(all[i]);
        for (int i = 0; i < n; i++) {
            void *result = NULL;
            CHECK(pthread_join(all[i], &result) == 0 && result == PTHREAD_CANCELED);
        }
        rounds("cancel", n);
    }
    return NULL;
}

/* A thousand signals a second, to whoever takes them. */
static atomic_long handled;
static void count_it(int signal) { handled++; }
static void *signals(void *arg) {
    struct sigaction action = {.sa_handler = count_it, .sa_flags = SA_RESTART | SA_ONSTACK};
    sigaction(SIGRTMIN + 3, &action, NULL);
    while (go()) {
        syscall(SYS_kill, getpid(), SIGRTMIN + 3);
        rounds("signals", 1);
        nap(1000);
    }
    return NULL;
}

/* Signals that this thread sends itself, on a small stack of their own; the handler allocates, which here is allowed. */
static void allocate(int signal) {
    int saved = errno;
    churn(signal, 6);
    errno = saved;
}
static void *other_stacks(void *arg) {
    unsigned seed = (uintptr_t)arg;
    struct sigaction action = {.sa_handler = allocate, .sa_flags = SA_ONSTACK};
    sigaction(SIGRTMIN + 5, &action, NULL);
    while (go()) {
        size_t size = 32768 + 4096 * below(&seed, 8);
        stack_t stack = {.ss_sp = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), .ss_size = size};
        stack_t none = {.ss_flags = SS_DISABLE};
        if (stack.ss_sp == MAP_FAILED) continue;
        sigaltstack(&stack, NULL);
        for (int i = 0; i < 20; i++) pthread_kill(pthread_self(), SIGRTMIN + 5);
        sigaltstack(&none, NULL);
        munmap(stack.ss_sp, size);
        rounds("altstack", 20);
        nap(500);
    }
    return NULL;
}

/* A timer whose handler jumps out of whatever it interrupts: here calls that only ask the kernel. What a hook of those
 * holds at that moment nobody would ever give back. */
static __thread sigjmp_buf out;
static __thread volatile sig_atomic_t may_jump;
static void jump(int signal) {
    if (may_jump) siglongjmp(out, 1);
}
static void *jumps(void *arg) {
    unsigned seed = (uintptr_t)arg;
    struct sigaction action = {.sa_handler = jump};
    sigaction(SIGRTMIN + 4, &action, NULL);
    struct sigevent to_me = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN + 4};
    to_me._sigev_un._tid = syscall(SYS_gettid);
    timer_t timer;
    if (timer_create(CLOCK_MONOTONIC, &to_me, &timer)) return NULL;
    struct itimerspec often = {{0, 700000}, {0, 700000}}, never = {{0, 0}, {0, 0}};
    timer_settime(timer, 0, &often, NULL);
    /* A place of our own, so that nothing leaks and nobody else is hit. */
    size_t size = 64 << 10;
    volatile int landed = 0;
    char *volatile place = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (sigsetjmp(out, 1)) rounds("longjmp", 1), landed++;
    while (go()) {
        may_jump = 1;
        for (int i = 0; i < 50; i++) {
            mmap(place, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
            mprotect(place, 4096, PROT_READ);
            mprotect(place, 4096, PROT_READ | PROT_WRITE);
        }
        may_jump = 0;
        churn(seed + landed, 10);
    }
    may_jump = 0;
    timer_settime(timer, 0, &never, NULL);
    timer_delete(timer);
    munmap(place, size);
    return NULL;
}

/* Blocks that wander between threads: taken by one, grown or given by another. */
static struct block wandering[512];
static pthread_mutex_t locks[512] = {[0 ... 511] = PTHREAD_MUTEX_INITIALIZER};
static void *blocks(void *arg) {
    unsigned seed = (uintptr_t)arg;
    while (go()) {
        for (int i = 0; i < 64; i++) {
            unsigned k = below(&seed, 512);
            size_t size = below(&seed, 50) ? 1 + below(&seed, 5000) : below(&seed, 600000);
            pthread_mutex_lock(&locks[k]);
            struct block *b = &wandering[k];
            if (!b->at) *b = take(size, next(&seed));
            else if (below(&seed, 4)) give(b);
            else grow(b, size + 1);
            pthread_mutex_unlock(&locks[k]);
        }
        rounds("blocks", 64);
        nap(200);
    }
    return NULL;
}

const struct storm THREADS[] = {{"threads", lives, 1},          {"cancel", cancels, 1}, {"signals", signals, 1},
                                {"altstack", other_stacks, 1}, {"longjmp", jumps, 2},  {"blocks", blocks, 3},
                                {0}};
