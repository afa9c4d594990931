// Every way to get memory that the agent claims to see. Case i leaks 100000+16i bytes, and gets and frees 200000+16i.
// Prints "NAME LEAKED FREED" per case. Usage: coverage AGENT|- OPTIONS PLUGIN DEEP_PLUGIN RUNPATH_PLUGIN_NAME [nopvalloc]
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <malloc.h>
#include <new>
#include <pthread.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <unistd.h>

typedef void *(*Malloc)(size_t);
typedef void (*Free)(void *);
void *volatile sink;
static int cases;

// Pointers taken before the agent comes.
static Malloc early_malloc;
static Free early_free;
static Malloc table_malloc = malloc;
static Free table_free = free;

extern "C" void *reallocarray(void *, size_t, size_t) noexcept;

#define CASE(name, get, drop)                                                                                          \
    {                                                                                                                  \
        size_t n = 100000 + 16 * cases;                                                                                \
        sink = (get);                                                                                                  \
        size_t leaked = n;                                                                                             \
        n += 100000;                                                                                                   \
        void *volatile p = (get);                                                                                      \
        drop;                                                                                                          \
        printf("%s %zu %zu\n", name, leaked, n);                                                                       \
        cases++;                                                                                                       \
    }

static void *aligned(size_t n) {
    void *p = nullptr;
    return posix_memalign(&p, 64, n) == 0 ? p : nullptr;
}
static void *grown(size_t n) {
    void *p = malloc(n / 2);
    return realloc(p, n);
}
static void *duplicate(size_t n) {
    static char text[400000];
    memset(text, 'x', n - 1);
    text[n - 1] = 0;
    return strdup(text);
}
static void *mapped(size_t n, int) { return mmap(nullptr, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); }
static void *plug_in(void *handle, size_t n) { return ((Malloc)dlsym(handle, "plugin_get"))(n); }
static void drop_in(void *handle, void *p) { ((Free)dlsym(handle, "plugin_drop"))(p); }

int main(int argc, char **argv) {
    early_malloc = (Malloc)dlsym(RTLD_DEFAULT, "malloc");
    early_free = (Free)dlsym(RTLD_DEFAULT, "free");
    void *before = dlopen(argv[3], RTLD_NOW | RTLD_LOCAL);
    if (strcmp(argv[1], "-") != 0) {
        void *agent = dlopen(argv[1], RTLD_LAZY | RTLD_LOCAL);
        if (!agent) return fprintf(stderr, "%s\n", dlerror()), 1;
        auto command = (int (*)(const char *, size_t))dlsym(agent, "offheap_agent_command");
        int code = command(argv[2], strlen(argv[2]));
        if (code) return fprintf(stderr, "code %d\n", code), 1;
    }
    void *deep = dlopen(argv[4], RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    void *by_name = dlopen(argv[5], RTLD_NOW | RTLD_LOCAL);
    if (!before || !deep || !by_name) return fprintf(stderr, "%s\n", dlerror()), 1;
    Malloc late_malloc = (Malloc)dlsym(RTLD_DEFAULT, "malloc");
    Free late_free = (Free)dlsym(RTLD_DEFAULT, "free");
    void *libc = dlopen("libc.so.6", RTLD_NOW);
    Malloc libc_malloc = (Malloc)dlsym(libc, "malloc");
    Free libc_free = (Free)dlsym(libc, "free");

    CASE("malloc", malloc(n), free(p));
    CASE("calloc", calloc(n / 16, 16), free(p));
    CASE("realloc", grown(n), free(p));
    CASE("realloc-of-null", realloc(nullptr, n), free(p));
    CASE("realloc-to-zero", malloc(n), (sink = realloc(p, 0)));
    CASE("reallocarray", reallocarray(nullptr, n / 16, 16), free(p));
    CASE("posix_memalign", aligned(n), free(p));
    CASE("aligned_alloc", aligned_alloc(64, n), free(p));
    CASE("memalign", memalign(4096, n), free(p));
    CASE("valloc", valloc(n), free(p));
    // jemalloc has no pvalloc: glibc's block would go to jemalloc's free.
    if (argc < 7) CASE("pvalloc", pvalloc(n), free(p));
    CASE("new", ::operator new(n), ::operator delete(p));
    CASE("new-array", new char[n], delete[](char *) p);
    CASE("strdup", duplicate(n), free(p));
    CASE("pointer-in-table", table_malloc(n), table_free(p));
    CASE("pointer-by-dlsym-before", early_malloc(n), early_free(p));
    CASE("pointer-by-dlsym-after", late_malloc(n), late_free(p));
    CASE("pointer-by-dlsym-of-libc", libc_malloc(n), libc_free(p));
    CASE("library-loaded-before", plug_in(before, n), drop_in(before, p));
    CASE("library-deepbind-after", plug_in(deep, n), drop_in(deep, p));
    CASE("library-by-runpath-after", plug_in(by_name, n), drop_in(by_name, p));
    CASE("mmap", mapped(n, 0), munmap(p, n));
    CASE("mmap64", mmap64(nullptr, n, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), munmap(p, n));
    CASE("mremap", mremap(mapped(n / 2, 0), n / 2, n, MREMAP_MAYMOVE), munmap(p, n));
    fflush(stdout);
    _exit(0);
}
