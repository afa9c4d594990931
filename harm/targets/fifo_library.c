/* A target that loads a library, puts a pipe in its place and keeps changing its maps, so that whoever opens the library by its path
 * waits for ever: fifo_library LIBRARY FOLDER. Harm: 13. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static struct {
    char *at;
    size_t size;
    int protection;
} segments[16];
static int count;
static char copy[400];

static int note(struct dl_phdr_info *info, size_t size, void *unused) {
    if (strcmp(info->dlpi_name, copy)) return 0;
    for (int i = 0; i < info->dlpi_phnum && count < 16; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        if (p->p_type != PT_LOAD || p->p_memsz < 16384) continue;
        segments[count].at = (char *)((info->dlpi_addr + p->p_vaddr) & ~4095ul);
        segments[count].size = p->p_memsz & ~4095ul;
        segments[count++].protection = (p->p_flags & PF_R ? PROT_READ : 0) | (p->p_flags & PF_W ? PROT_WRITE : 0) | (p->p_flags & PF_X ? PROT_EXEC : 0);
    }
    return 0;
}

int main(int argc, char **words) {
    char command[900];
    snprintf(copy, sizeof copy, "%s/libjvm.so", words[2]);
    snprintf(command, sizeof command, "cp '%s' '%s'", words[1], copy);
    if (system(command) || !dlopen(copy, RTLD_NOW)) return 1;
    dl_iterate_phdr(note, NULL);
    unlink(copy);
    mkfifo(copy, 0666);
    puts("READY");
    fflush(stdout);
    for (;;)
        for (int i = 0; i < count; i++) {
            mprotect(segments[i].at, 4096, segments[i].protection ^ PROT_WRITE);
            mprotect(segments[i].at, 4096, segments[i].protection);
        }
}
