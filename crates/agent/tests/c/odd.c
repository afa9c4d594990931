/* What an unusual process does to its own memory, while the agent comes and is at work. One kind per run; prints "held".
 * Usage: odd AGENT OPTIONS KIND [LIBRARY] */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <link.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096UL
#define CHECK(x)                                                                                                       \
    do {                                                                                                               \
        if (!(x)) {                                                                                                    \
            char text[200];                                                                                            \
            int n = snprintf(text, sizeof text, "line %d: %s, errno %d\n", __LINE__, #x, errno);                       \
            write(1, text, n);                                                                                         \
            _exit(1);                                                                                                  \
        }                                                                                                              \
    } while (0)

static int (*command)(const char *, size_t);
static const char *agent, *options, *library;
static void *volatile sink;

static int tell(const char *text) { return *agent ? command(text, strlen(text)) : 0; }

static void load(void) {
    if (!*agent) return; /* the control */
    void *handle = dlopen(agent, RTLD_LAZY);
    CHECK(handle);
    command = dlsym(handle, "offheap_agent_command");
    CHECK(command && tell(options) == 0);
}

static void end(void) {
    write(1, "held\n", 5);
    _exit(0);
}

/* A library of unusual shape that is there before the agent comes. */
static void shape(int hidden) {
    void *handle = dlopen(library, RTLD_LAZY);
    CHECK(handle);
    int (*begin)(void) = dlsym(handle, "odd_begin"), (*check)(void) = dlsym(handle, "odd_end");
    uintptr_t (*table)(void) = dlsym(handle, "odd_table");
    CHECK(begin && check && table && begin() == 0);
    struct link_map *map;
    CHECK(dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0);
    if (hidden) CHECK(mprotect((void *)map->l_addr, PAGE, PROT_NONE) == 0);
    uintptr_t real = (uintptr_t)dlsym(RTLD_DEFAULT, "malloc");
    load();
    if (hidden) CHECK(mprotect((void *)map->l_addr, PAGE, PROT_READ) == 0);
    printf("table %s\n", table() == real ? "as it was" : "redirected");
    fflush(stdout);
    CHECK(check() == 0);
    CHECK(tell("cmd=stop") == 0);
    end();
}

/* Code that keeps frame pointers and has no unwind tables, begun on a stack whose first frame lies at its very end. */
__attribute__((optimize("no-omit-frame-pointer"), noinline)) void on_stack(void) { sink = malloc(50001); }

/* The same from deep below. */
__attribute__((optimize("no-omit-frame-pointer"), noinline)) void deep_on_stack(void) {
    char volatile pad[10 * PAGE];
    pad[0] = 1;
    sink = malloc(50002);
    pad[1] = 1;
}

static void run_on(char *top, void (*code)(void)) {
    /* rbp = top: what a chain of frame pointers ends with. */
    register char *to __asm__("r13") = top;
    register void (*call)(void) __asm__("r14") = code;
    __asm__ volatile("sub $128, %%rsp\n push %%rbp\n mov %%rsp, %%r12\n mov %%r13, %%rsp\n mov %%r13, %%rbp\n call *%%r14\n"
                     "mov %%r12, %%rsp\n pop %%rbp\n add $128, %%rsp\n"
                     : "+r"(to), "+r"(call)
                     :
                     : "r12", "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory", "cc");
}

/* One pool, first a large stack, then cut in two. By libc's function, and by the bare system call. */
static void recut(void) {
    load();
    for (int bare = 0; bare < 2; bare++) {
        for (int i = 0; i < 200; i++) {
            char *pool = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            CHECK(pool != MAP_FAILED);
            memset(pool, 1, 16 * PAGE);
            /* Room above: the chain of the large one ends within the pool. */
            for (int k = 0; k < 4; k++) run_on(pool + 14 * PAGE, k % 2 ? deep_on_stack : on_stack);
            CHECK((bare ? syscall(SYS_mprotect, pool + 8 * PAGE, PAGE, PROT_NONE)
                        : mprotect(pool + 8 * PAGE, PAGE, PROT_NONE)) == 0);
            for (int k = 0; k < 4; k++) run_on(pool + 8 * PAGE, on_stack);
            CHECK((bare ? syscall(SYS_munmap, pool + 4 * PAGE, PAGE) : munmap(pool + 4 * PAGE, PAGE)) == 0);
            for (int k = 0; k < 4; k++) run_on(pool + 4 * PAGE, on_stack);
            munmap(pool, 16 * PAGE);
        }
    }
    end();
}

static atomic_int go;

static void spin(double seconds) {
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    do clock_gettime(CLOCK_MONOTONIC, &b);
    while (b.tv_sec - a.tv_sec + (b.tv_nsec - a.tv_nsec) * 1e-9 < seconds);
}

static void work(void) {
    for (int i = 0; i < 20000; i++) {
        char *p = malloc(100 + i % 5000);
        CHECK(p);
        p = realloc(p, 9000);
        memset(p, 1, 100);
        free(p);
        if (i % 50 == 0) {
            char *m = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            CHECK(m != MAP_FAILED && mprotect(m, 4 * PAGE, PROT_READ) == 0);
            m = mremap(m, 4 * PAGE, 8 * PAGE, MREMAP_MAYMOVE);
            CHECK(m != MAP_FAILED && munmap(m, 8 * PAGE) == 0);
        }
    }
}

static void *waiting(void *unused) {
    free(malloc(100)); /* a new arena asks for the number of processors */
    go++;
    while (go < 3) __builtin_ia32_pause();
    work();
    go++;
    for (;;) __builtin_ia32_pause();
}

/* Allows itself what malloc, mmap and write need, and nothing else: anything more ends the process. */
static void strict(void) {
    load();
    pthread_t t;
    for (int i = 0; i < 2; i++) CHECK(pthread_create(&t, NULL, waiting, NULL) == 0);
    while (go != 2) usleep(1000);
    static const int allowed[] = {SYS_write, SYS_mmap, SYS_munmap, SYS_mprotect, SYS_mremap, SYS_brk, SYS_madvise, SYS_futex,
                                  SYS_exit_group, SYS_rt_sigreturn};
    int n = sizeof allowed / sizeof *allowed, k = 0;
    struct sock_filter f[64];
    f[k++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (int i = 0; i < n; i++) {
        f[k++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, allowed[i], 0, 1);
        f[k++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    }
    f[k++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    struct sock_fprog p = {k, f};
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &p) == 0);
    go++;
    work();
    while (go != 5) __builtin_ia32_pause();
    /* The lease runs out, and the agent stops, in a hook. */
    spin(3);
    work();
    end();
}

static volatile uint64_t secret[4096];

/* A worker that has given up its rights writes over everything that it shares with its master. */
static void child(void) {
    for (int i = 0; i < 4096; i++) secret[i] = 0x5ec4e7;
    load();
    for (int i = 0; i < 1000; i++) sink = malloc(100 + i);
    pid_t master = getpid(), pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        if (getuid() == 0) CHECK(setgid(65534) == 0 && setuid(65534) == 0);
        char line[1000], path[1000];
        FILE *maps = fopen("/proc/self/maps", "r");
        while (maps && fgets(line, sizeof line, maps)) {
            unsigned long from, to;
            char mode[8];
            if (sscanf(line, "%lx-%lx %7s", &from, &to, mode) == 3 && strcmp(mode, "rw-s") == 0) {
                CHECK(!strstr(line, "offheap"));
                memset((void *)from, 0xa5, to - from);
            }
        }
        for (int fd = 3; fd < 100; fd++) {
            snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
            ssize_t n = readlink(path, line, sizeof line - 1);
            if (n < 0) continue;
            line[n] = 0;
            if (!strstr(line, "offheap-live")) continue;
            CHECK(pwrite(fd, path, 100, 0) < 0 && ftruncate(fd, 0) < 0);
            CHECK(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
            if (getuid()) CHECK(open(path, O_RDWR) < 0);
            puts("tried");
        }
        for (int i = 0; i < 1000; i++) free(malloc(100000 + i));
        exit(0);
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    for (int i = 0; i < 1000; i++) sink = malloc(4242);
    for (int i = 0; i < 4096; i++) CHECK(secret[i] == 0x5ec4e7);
    CHECK(getpid() == master);
    end();
}

static volatile int forked;

static void split(int sig) {
    if (forked) return;
    forked = 1;
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        alarm(20);
        forked = 2; /* and goes on where it was interrupted */
        return;
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    forked = 0;
}

/* A handler that forks, also in the middle of a hook: the child goes on there. */
static void fork_in_handler(void) {
    load();
    struct sigaction action = {.sa_handler = split};
    CHECK(sigaction(SIGPROF, &action, NULL) == 0);
    struct itimerval timer = {{0, 500}, {0, 500}};
    CHECK(setitimer(ITIMER_PROF, &timer, NULL) == 0);
    for (int i = 0; i < 400000; i++) {
        free(sink = malloc(60000 + i % 100));
        if (forked == 2 && i % 100 == 0) _exit(0);
    }
    struct itimerval none = {0};
    CHECK(setitimer(ITIMER_PROF, &none, NULL) == 0);
    end();
}

static void *busy(void *unused) {
    for (;;) work();
    return NULL;
}

static void *idle(void *unused) { return NULL; }

/* Allocates, maps and starts threads for two seconds, whatever is done to the live file meanwhile. */
static void go_on(void) {
    load();
    write(1, "ready\n", 6);
    pthread_t t;
    for (int i = 0; i < 3; i++) CHECK(pthread_create(&t, NULL, busy, NULL) == 0);
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    do {
        CHECK(pthread_create(&t, NULL, idle, NULL) == 0 && pthread_join(t, NULL) == 0);
        if (library) {
            void *handle = dlopen(library, RTLD_NOW);
            CHECK(handle && dlclose(handle) == 0);
        }
        clock_gettime(CLOCK_MONOTONIC, &b);
    } while (b.tv_sec - a.tv_sec < 3);
    end();
}

static sigjmp_buf back;
static volatile int jumps, armed;

static void leave(int sig) {
    if (!armed) return;
    armed = 0; /* others that come while the mask is restored */
    jumps++;
    siglongjmp(back, 1);
}

/* A handler that never returns to what it interrupts: the hooks, mostly. (The allocator is one that bears it: c/bump.c.) */
static void jump(void) {
    static char alt[65536];
    load();
    stack_t stack = {.ss_sp = alt, .ss_size = sizeof alt};
    CHECK(sigaltstack(&stack, NULL) == 0);
    struct itimerval timer = {{0, 50}, {0, 50}};
    static volatile int round;
    for (; round < 10; round++) {
        struct sigaction action = {.sa_handler = leave, .sa_flags = round % 2 ? SA_ONSTACK : 0};
        CHECK(sigaction(SIGALRM, &action, NULL) == 0);
        CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
        sigsetjmp(back, 1);
        while (jumps < 1000 * (round + 1)) {
            armed = 1;
            static volatile int i;
            for (i = 0; i < 100; i++) {
                free(sink = malloc(60000 + i));
                void *m = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                munmap(m, PAGE);
            }
            armed = 0;
        }
        armed = 0;
    }
    struct itimerval none = {0};
    CHECK(setitimer(ITIMER_REAL, &none, NULL) == 0);
    /* Nothing is silent, and a library that comes now is known. */
    CHECK(dlopen(library, RTLD_NOW));
    for (int i = 0; i < 10; i++) sink = malloc(70000 + i);
    for (int i = 0; i < 10; i++) mmap(NULL, 77 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    end();
}

static void *protecting(void *bare) {
    for (;;) {
        char *p = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED) continue;
        p[0] = 1;
        for (int i = 0; i < 8; i++)
            if (bare) syscall(SYS_mprotect, p + i * PAGE, PAGE, PROT_NONE);
            else mprotect(p + i * PAGE, PAGE, PROT_NONE);
        if (bare) syscall(SYS_munmap, p, 8 * PAGE);
        else munmap(p, 8 * PAGE);
    }
    return NULL;
}

/* Others that map, protect and unmap without end, beside stacks of coroutines and libraries that come and go. */
static void storm(void) {
    load();
    pthread_t t;
    for (size_t i = 0; i < 4; i++) CHECK(pthread_create(&t, NULL, protecting, (void *)(i % 2)) == 0);
    for (int i = 0; i < 300; i++) {
        char *pool = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(pool != MAP_FAILED);
        for (int k = 0; k < 20; k++) run_on(pool + 8 * PAGE, on_stack);
        CHECK(munmap(pool, 8 * PAGE) == 0);
        void *handle = dlopen(library, RTLD_NOW);
        CHECK(handle && dlclose(handle) == 0);
    }
    end();
}

static int faults;
static atomic_int handled;

/* Lets a write to the page go on only after it has loaded a library, for which it needs the loader's lock. */
static void *handling(void *page) {
    struct uffd_msg message;
    while (read(faults, &message, sizeof message) == sizeof message) {
        void *handle = dlopen("libm.so.6", RTLD_NOW);
        CHECK(handle && dlclose(handle) == 0);
        struct uffdio_writeprotect off = {{(uintptr_t)message.arg.pagefault.address & -PAGE, PAGE}, 0};
        CHECK(ioctl(faults, UFFDIO_WRITEPROTECT, &off) == 0);
        handled++;
    }
    return NULL;
}

static void fault(void) {
    faults = syscall(SYS_userfaultfd, O_CLOEXEC);
    struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP};
    if (faults < 0 || ioctl(faults, UFFDIO_API, &api) != 0) {
        puts("no userfaultfd");
        exit(0);
    }
    void *handle = dlopen(library, RTLD_LAZY);
    CHECK(handle);
    int (*begin)(void) = dlsym(handle, "odd_begin"), (*check)(void) = dlsym(handle, "odd_end");
    CHECK(begin && check && begin() == 0);
    struct link_map *map;
    CHECK(dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0);
    char **place = dlsym(handle, "odd_page"), *page = place ? *place : NULL;
    CHECK(page);
    struct uffdio_register area = {{(uintptr_t)page, PAGE}, UFFDIO_REGISTER_MODE_WP};
    CHECK(ioctl(faults, UFFDIO_REGISTER, &area) == 0);
    struct uffdio_writeprotect on = {{(uintptr_t)page, PAGE}, UFFDIO_WRITEPROTECT_MODE_WP};
    CHECK(ioctl(faults, UFFDIO_WRITEPROTECT, &on) == 0);
    pthread_t t;
    CHECK(pthread_create(&t, NULL, handling, page) == 0);
    load();
    CHECK(handled == 0);
    *(volatile char *)(page + PAGE - 1) = 0;
    while (!handled) usleep(1000);
    CHECK(handled == 1 && check() == 0);
    end();
}

int main(int argc, char **argv) {
    agent = argv[1];
    options = argv[2];
    library = argc > 4 ? argv[4] : NULL;
    alarm(100);
    switch (argv[3][0]) {
    case 'c': child();
    case 'p': fork_in_handler();
    case 'g': go_on();
    case 's': shape(0);
    case 'h': shape(1);
    case 'r': recut();
    case 'f': strict();
    case 'j': jump();
    case 'm': storm();
    case 'u': fault();
    }
    return 2;
}
