/* A process that pretends to have an agent of ours in it: the library POISON_AGENT, and POISON_FILE as its live file, mapped, and in a
 * memfd of the name that the agent's has. What is in the file is up to who made it. Harm: 15. */
#include "host.h"
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

int harm_act(int mode) {
    const char *path = getenv("POISON_FILE"), *agent = getenv("POISON_AGENT");
    if (mode || !path || !agent || !dlopen(agent, RTLD_NOW)) return 1;
    int file = open(path, O_RDWR), memory = memfd_create("offheap-live", 0);
    struct stat s;
    if (file < 0 || memory < 0 || fstat(file, &s) || ftruncate(memory, s.st_size)) return 2;
    off_t from = 0;
    for (long left = 8 << 20; left > 0;) {
        ssize_t n = sendfile(memory, file, &from, left);
        if (n <= 0) break;
        left -= n;
    }
    int lease = memfd_create("offheap-lease", 0);
    if (lease < 0 || ftruncate(lease, 4096)) return 3;
    int flags = PROT_READ | PROT_WRITE;
    if (mmap(NULL, s.st_size, flags, MAP_SHARED | MAP_NORESERVE, file, 0) == MAP_FAILED) return 4;
    return mmap(NULL, s.st_size, flags, MAP_SHARED | MAP_NORESERVE, memory, 0) == MAP_FAILED;
}
