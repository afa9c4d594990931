/* Coroutines on stacks that are cut anew all the time, by ucontext and by hand-made switching. Harm: 4. */
#include "storm.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define PAGE 4096
#define POOL (32 * PAGE)

/* switch_stack(&from, to): saves what the ABI says a callee keeps, and goes on where `to` was left. No unwind tables: as
 * from code that nobody describes, whoever walks has only the frame pointer. */
void switch_stack(void **from, void *to);
void coroutine_end(void);
__asm__(".text\n"
        ".globl switch_stack\n.hidden switch_stack\n.type switch_stack,@function\n"
        "switch_stack:\n"
        "  push %rbp\n  push %rbx\n  push %r12\n  push %r13\n  push %r14\n  push %r15\n"
        "  mov %rsp, (%rdi)\n  mov %rsi, %rsp\n"
        "  pop %r15\n  pop %r14\n  pop %r13\n  pop %r12\n  pop %rbx\n  pop %rbp\n"
        "  ret\n.size switch_stack,.-switch_stack\n"
        ".globl coroutine_end\n.hidden coroutine_end\n.type coroutine_end,@function\n"
        "coroutine_end:\n  nop\n  ud2\n.size coroutine_end,.-coroutine_end\n");

static __thread void *outside, *inside;
static __thread unsigned work_seed;

/* Deep enough that a walk crosses pages. */
__attribute__((noinline)) static int deep(int n, unsigned seed) {
    volatile char room[200];
    room[n % 200] = (char)n;
    if (n == 0) {
        churn(seed, 5);
        return 0;
    }
    return deep(n - 1, seed) + room[n % 200];
}

static void body(void) {
    for (;;) {
        deep(8, work_seed);
        switch_stack(&inside, outside);
    }
}

/* A coroutine on low..high, begun as many libraries begin one: its chain of frame pointers ends at the stack's top, where
 * the next stack's guard page may be. */
static void begin(char *low, char *high) {
    void **sp = (void **)high;
    *--sp = (void *)coroutine_end; /* where body would return to: rsp is then as after a call */
    *--sp = (void *)body;
    *--sp = high; /* rbp */
    for (int i = 0; i < 5; i++) *--sp = NULL;
    inside = sp;
}

static void by_hand(char *low, char *high, unsigned seed) {
    work_seed = seed;
    begin(low, high);
    switch_stack(&outside, inside);
    switch_stack(&outside, inside);
}

static __thread ucontext_t home, guest;
static void guest_body(void) { deep(8, work_seed); }
static void by_context(char *low, char *high, unsigned seed) {
    work_seed = seed;
    getcontext(&guest);
    guest.uc_stack.ss_sp = low;
    guest.uc_stack.ss_size = high - low;
    guest.uc_link = &home;
    makecontext(&guest, guest_body, 0);
    swapcontext(&home, &guest);
}

static void *coroutines(void *arg) {
    unsigned seed = (uintptr_t)arg;
    int raw = 0;
    while (go()) {
        char *pool = mmap(NULL, POOL, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (pool == MAP_FAILED) continue;
        for (int i = 0; i < 10; i++) {
            void (*on)(char *, char *, unsigned) = next(&seed) & 1 ? by_hand : by_context;
            on(pool, pool + POOL, seed);
            /* The same memory, cut in two by a guard page, and into other pieces the next time. */
            unsigned cut = 8 + below(&seed, 16);
            char *guard = pool + cut * PAGE;
            raw ^= 1;
            if (raw) mprotect(guard, PAGE, PROT_NONE);
            else syscall(SYS_mprotect, guard, PAGE, PROT_NONE);
            on = next(&seed) & 1 ? by_hand : by_context;
            on(pool, guard, seed);
            on(guard + PAGE, pool + POOL, seed);
            mprotect(guard, PAGE, PROT_READ | PROT_WRITE);
            rounds("coroutines", 3);
        }
        if (next(&seed) & 1) munmap(pool, POOL);
        else syscall(SYS_munmap, pool, POOL);
        nap(300);
    }
    return NULL;
}

const struct storm STACKS[] = {{"coroutines", coroutines, 2}, {0}};
