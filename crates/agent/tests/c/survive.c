/* Everything at once, for a while: allocation by many threads (also across threads), libraries loaded and unloaded,
 * forks, vforks and execs, signals, coroutines, alternate stacks, threads that exit, are cancelled or recurse deeply,
 * and the agent started, stopped and re-set all the while. In the end every block of 40000..50000 bytes has been
 * freed; the live file must agree. Usage: survive AGENT OPTIONS PLUGIN ROUNDS THREADS */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

static const char *plugin;
static int rounds;
static atomic_int stop;
static void *_Atomic slots[512];
static int (*command)(const char *, size_t);
static char options[1000];
extern char **environ;

#define CHECK(x)                                                                                                       \
    do {                                                                                                               \
        if (!(x)) {                                                                                                    \
            printf("line %d: %s, errno %d\n", __LINE__, #x, errno);                                                    \
            fflush(stdout);                                                                                            \
            _exit(1);                                                                                                  \
        }                                                                                                              \
    } while (0)

static unsigned next(unsigned *seed) { return *seed = *seed * 1103515245 + 12345; }
static size_t size_of(unsigned *seed) { return 40000 + (next(seed) >> 16) % 10000; }

/* Blocks wander between threads through a table: allocated by one, freed or grown by another. */
static void *churn(void *arg) {
    unsigned seed = (unsigned)(size_t)arg;
    while (!stop) {
        for (int i = 0; i < 200; i++) {
            unsigned r = next(&seed) >> 20;
            errno = 1234;
            void *p = r % 3 ? malloc(size_of(&seed)) : calloc(1, size_of(&seed));
            CHECK(p && errno == 1234);
            memset(p, 1, 64);
            p = atomic_exchange(&slots[r % 512], p);
            if (r % 7 == 0 && p) {
                void *q = realloc(p, size_of(&seed));
                CHECK(q);
                p = q;
            }
            free(p);
            CHECK(errno == 1234);
        }
        sched_yield();
    }
    return NULL;
}

static void *loading(void *unused) {
    for (int i = 0; i < rounds; i++) {
        void *h = dlopen(plugin, RTLD_NOW);
        CHECK(h);
        void *(*get)(size_t) = dlsym(h, "plugin_get");
        void (*drop)(void *) = dlsym(h, "plugin_drop");
        unsigned seed = i;
        drop(get(size_of(&seed)));
        dlclose(h);
    }
    return NULL;
}

static void *forking(void *unused) {
    for (int i = 0; i < rounds / 8; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            unsigned seed = i;
            for (int k = 0; k < 100; k++) {
                free(malloc(size_of(&seed)));
                free(atomic_exchange(&slots[k], NULL));
            }
            _exit(7);
        }
        CHECK(pid > 0);
        int status;
        CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 7);
        char *args[] = {"true", NULL};
        CHECK(posix_spawn(&pid, "/bin/true", NULL, NULL, args, environ) == 0);
        CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    return NULL;
}

static void handler(int sig) {
    unsigned seed = sig;
    free(malloc(size_of(&seed)));
}

static int deep(int n) {
    char volatile pad[100];
    unsigned seed = n;
    pad[n % 100] = 1;
    if (n == 0) {
        free(malloc(size_of(&seed)));
        return 0;
    }
    return deep(n - 1) + pad[n % 100];
}

static ucontext_t outside, inside;
static void coroutine(void) {
    for (;;) {
        unsigned seed = 5;
        free(malloc(size_of(&seed)));
        deep(20);
        swapcontext(&inside, &outside);
    }
}

/* Signals on an alternate stack, deep stacks, and coroutines whose stacks come and go. */
static void *odd_stacks(void *unused) {
    stack_t alt = {.ss_sp = malloc(65536), .ss_size = 65536};
    sigaltstack(&alt, NULL);
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
    sigaction(SIGUSR1, &action, NULL);
    for (int i = 0; i < rounds; i++) {
        pthread_kill(pthread_self(), SIGUSR1);
        deep(i % 1000);
        size_t len = 65536;
        void *stack = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(stack != MAP_FAILED);
        getcontext(&inside);
        inside.uc_stack.ss_sp = stack;
        inside.uc_stack.ss_size = len;
        inside.uc_link = NULL;
        makecontext(&inside, coroutine, 0);
        for (int k = 0; k < 5; k++) swapcontext(&outside, &inside);
        CHECK(munmap(stack, len) == 0);
    }
    return NULL;
}

static void *short_lived(void *arg) {
    unsigned seed = (unsigned)(size_t)arg;
    free(malloc(size_of(&seed)));
    if ((size_t)arg % 3 == 0) pthread_exit((void *)42);
    if ((size_t)arg % 3 == 1) {
        pthread_cancel(pthread_self());
        pthread_testcancel();
    }
    return (void *)42;
}

static void *threads(void *unused) {
    for (size_t i = 0; i < rounds; i++) {
        pthread_t t;
        void *result;
        CHECK(pthread_create(&t, NULL, short_lived, (void *)i) == 0);
        CHECK(pthread_join(t, &result) == 0);
        CHECK(result == (i % 3 == 1 ? PTHREAD_CANCELED : (void *)42));
    }
    return NULL;
}

static void *mappings(void *arg) {
    for (int i = 0; i < rounds * 4; i++) {
        char *p = mmap(NULL, 10 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(p != MAP_FAILED);
        p[0] = 1;
        CHECK(munmap(p + 4096, 4096) == 0);
        CHECK(mmap(p + 3 * 4096, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p + 3 * 4096);
        CHECK(munmap(p + 2 * 4096, 8 * 4096) == 0);
        p = mremap(p, 4096, 40 * 4096, MREMAP_MAYMOVE);
        CHECK(p != MAP_FAILED && p[0] == 1);
        CHECK(munmap(p, 40 * 4096) == 0);
        if (i % 100 == 0) CHECK(munmap((void *)1, 4096) == -1);
    }
    return NULL;
}

static int tell(const char *text) { return command(text, strlen(text)); }

int main(int argc, char **argv) {
    plugin = argv[3];
    rounds = atoi(argv[4]);
    int churners = atoi(argv[5]);
    snprintf(options, sizeof options, "%s", argv[2]);
    pthread_t t[256];
    int n = 0;
    for (int i = 0; i < churners; i++) pthread_create(&t[n++], NULL, churn, (void *)(size_t)(i + 1));
    void *agent = dlopen(argv[1], RTLD_LAZY);
    CHECK(agent);
    command = dlsym(agent, "offheap_agent_command");
    CHECK(tell("cmd=stop") == 103);
    CHECK(tell("interval=1,size=8388608") == 0);
    int first_worker = n;
    void *(*workers[])(void *) = {loading, loading, forking, odd_stacks, threads, mappings};
    for (int i = 0; i < 6; i++) pthread_create(&t[n++], NULL, workers[i], NULL);
    /* Each start makes a live file: the others are not to be done with it all by then. */
    for (int i = 0; i < rounds / 8; i++) {
        CHECK(tell(i % 3 ? "cmd=start,interval=1" : i % 2 ? "cmd=start,interval=4096" : "interval=524288") == 0);
        usleep(100);
        CHECK(tell("cmd=stop") == 0);
    }
    /* The last live file is one with a name. */
    strcat(options, ",interval=1");
    CHECK(tell(options) == 0);
    usleep(300000);
    for (int i = first_worker; i < n; i++) pthread_join(t[i], NULL);
    stop = 1;
    for (int i = 0; i < first_worker; i++) pthread_join(t[i], NULL);
    for (int i = 0; i < 512; i++) free(slots[i]);
    printf("survived\n");
    fflush(stdout);
    _exit(0);
}
