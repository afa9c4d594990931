/* Storms of processes: forks, spawns, children that change who they are and what they may. Harm: 3, 4, 8, 17. */
#include "storm.h"
#include <dlfcn.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* A child must end by itself with 7, within ten seconds: one that hangs holds a lock that nobody will give it. */
static void await(pid_t child, const char *what) {
    int status = 0;
    if (child < 0) return;
    for (int i = 0; i < 20000; i++) {
        pid_t done = waitpid(child, &status, WNOHANG);
        if (done == child) {
            if (!WIFEXITED(status) || WEXITSTATUS(status) != 7) bad("%s: the child ended with %#x", what, status);
            return;
        }
        if (done < 0 && errno != EINTR) {
            bad("%s: waitpid: errno %d", what, errno);
            return;
        }
        nap(i < 100 ? 100 : 1000);
    }
    bad("%s: the child hangs", what);
    kill(child, 9);
    waitpid(child, &status, 0);
}


/* Ends a child: with 7 if nothing was wrong in it. */
static void leave(long wrong_before) { _exit(wrongs() == wrong_before ? 7 : 8); }

static void *forks(void *arg) {
    unsigned seed = (uintptr_t)arg;
    while (go()) {
        struct block before = take(5000, seed);
        long before_it = wrongs();
        pid_t child = fork();
        if (child == 0) {
            grow(&before, 9000);
            give(&before);
            churn(seed, 60);
            /* No dlopen here: another thread may have held the loader's lock. */
            char *map = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (map != MAP_FAILED) munmap(map, 1 << 20);
            /* A child's child too. */
            pid_t grandchild = fork();
            if (grandchild == 0) {
                churn(seed + 1, 20);
                leave(before_it);
            }
            await(grandchild, "grandchild");
            leave(before_it);
        }
        give(&before);
        await(child, "fork");
        rounds("fork", 1);
        nap(2000);
    }
    return NULL;
}

static void *spawns(void *arg) {
    char *words[] = {"sh", "-c", "exit 7", NULL};
    while (go()) {
        pid_t child;
        if (!posix_spawn(&child, "/bin/sh", NULL, NULL, words, environ)) await(child, "posix_spawn");
        child = vfork();
        if (child == 0) {
            execv("/bin/sh", words);
            _exit(9);
        }
        await(child, "vfork");
        rounds("spawn", 2);
        nap(3000);
    }
    return NULL;
}

/* Children that become somebody else, lose their files, their root, their room, and go on allocating. */
static void *identity(void *arg) {
    unsigned seed = (uintptr_t)arg;
    while (go()) {
        unsigned how = next(&seed) % 7;
        long before_it = wrongs();
        pid_t child = fork();
        if (child == 0) {
            struct rlimit none = {0, 0}, little = {1ul << 30, 1ul << 30};
            switch (how) {
            case 0: (void)!setgroups(0, NULL), (void)!setgid(65534), (void)!setuid(65534); break;
            case 1: (void)!chroot(plugins), (void)!chdir("/"); break;
            case 2: syscall(SYS_close_range, 0u, ~0u, 0u); break;
            case 3: setrlimit(RLIMIT_NOFILE, &none), setrlimit(RLIMIT_FSIZE, &none); break;
            case 4: setrlimit(RLIMIT_AS, &little); break;
            case 5: (void)!setreuid(-1, 65534); break;
            default: syscall(SYS_close_range, 0u, ~0u, 0u), (void)!chroot(plugins), (void)!setuid(65534);
            }
            churn(seed, 200);
            char *map = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (map != MAP_FAILED) munmap(map, 1 << 20);
            leave(before_it);
        }
        await(child, "identity");
        rounds("identity", 1);
        nap(2000);
    }
    return NULL;
}

/* The soft limit on the size of files comes and goes: SIGXFSZ would end a program. */
static void *limits(void *arg) {
    struct rlimit was;
    getrlimit(RLIMIT_FSIZE, &was);
    while (go()) {
        struct rlimit none = {0, was.rlim_max};
        setrlimit(RLIMIT_FSIZE, &none);
        nap(5000);
        setrlimit(RLIMIT_FSIZE, &was);
        nap(20000);
        rounds("limits", 1);
    }
    return NULL;
}

static void *libraries(void *arg) {
    unsigned seed = (uintptr_t)arg;
    while (go()) {
        char path[300];
        snprintf(path, sizeof path, "%s/p%u.so", plugins, below(&seed, 12));
        void *library = dlopen(path, next(&seed) & 1 ? RTLD_NOW : RTLD_LAZY);
        if (!library) {
            bad("dlopen: %s", dlerror());
            continue;
        }
        void *(*work)(size_t) = (void *(*)(size_t))dlsym(library, "work");
        unsigned char *p = work(100 + below(&seed, 4000));
        memset(p, 3, 100);
        free(p);
        if (dlclose(library)) bad("dlclose: %s", dlerror());
        rounds("dlopen", 1);
        if (below(&seed, 8) == 0) nap(500);
    }
    return NULL;
}

const struct storm PROCESSES[] = {
    {"fork", forks, 1}, {"spawn", spawns, 1}, {"identity", identity, 1}, {"limits", limits, 1}, {"dlopen", libraries, 2}, {0}};
