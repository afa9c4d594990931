/* Privilege separation: a master stays what it is, its forked worker becomes nobody. The worker writes into everything that it got of
 * the agent: shared maps, files, descriptors; exits with how many there were. The master goes on allocating: its secret must stay as it
 * was. Harm: 3. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile uint64_t secret[512];

static int spoil(uint64_t *at, size_t size) {
    /* Offsets and counts that lead anywhere, the secret among it, but the first page's first words, so that it still is a live file. */
    for (size_t i = 3; i < size / 8 && i < 4096; i++) at[i] = i & 1 ? 8 : (uint64_t)secret - (uint64_t)at;
    return 1;
}

static int spoil_fd(int fd) {
    struct stat s;
    int found = 0;
    if (fstat(fd, &s) || !S_ISREG(s.st_mode) || s.st_size < 4096) return 0;
    void *at = mmap(NULL, s.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at != MAP_FAILED) {
        found = spoil(at, s.st_size);
        munmap(at, s.st_size);
    }
    return found;
}

static int spoil_folder(const char *folder) {
    int found = 0;
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));) {
        char path[600];
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        struct stat s;
        if (stat(path, &s) || !S_ISREG(s.st_mode)) continue;
        if (!strstr(folder, "/proc/") && !strstr(path, "offheap")) continue;
        int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0) continue;
        found += spoil_fd(fd);
        close(fd);
    }
    if (d) closedir(d);
    return found;
}

static int worker(pid_t master) {
    int found = 0;
    if (getuid() == 0 && (setgroups(0, NULL) || setgid(65534) || setuid(65534))) _exit(99);
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[600];
    while (maps && fgets(line, sizeof line, maps)) {
        unsigned long start, end;
        char flags[5];
        if (sscanf(line, "%lx-%lx %4s", &start, &end, flags) != 3) continue;
        if (flags[1] == 'w' && flags[3] == 's') found += spoil((uint64_t *)start, end - start);
    }
    for (int fd = 3; fd < 1000; fd++) found += spoil_fd(fd);
    char path[100];
    snprintf(path, sizeof path, "/proc/%d/fd", master);
    found += spoil_folder(path);
    snprintf(path, sizeof path, "/proc/%d/map_files", master);
    found += spoil_folder(path);
    const char *temporary = getenv("TMPDIR");
    found += spoil_folder("/tmp") + spoil_folder("/dev/shm") + (temporary ? spoil_folder(temporary) : 0);
    _exit(found);
}

int main(void) {
    for (int i = 0; i < 512; i++) secret[i] = 0x5ec4e7;
    pid_t master = getpid(), child = fork();
    if (child == 0) worker(master);
    int status;
    waitpid(child, &status, 0);
    static void *volatile kept[2000];
    for (int i = 0; i < 2000; i++) kept[i] = malloc(42 + i);
    for (int i = 0; i < 2000; i += 2) free(kept[i]);
    int wrong = 0;
    for (int i = 0; i < 512; i++) wrong += secret[i] != 0x5ec4e7;
    printf("reached %d, overwritten %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -1, wrong);
    fflush(stdout);
    _exit(0);
}
