/* Loads the plugins of HARM_LIBRARIES and damages what the loader and profilers read of them: program headers, dynamic section, symbols,
 * hashes, relocations, notes, unwind tables; at random, the mode is the seed. Their code is left alone, and never called. Harm: 20. */
#include "host.h"
#include <dlfcn.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

static uint64_t state;

static uint64_t next(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state >> 8;
}

static uint64_t rubbish(uint64_t was, uint64_t here) {
    switch (next() % 8) {
    case 0: return 0;
    case 1: return UINT64_MAX;
    case 2: return next() << 8;
    case 3: return here;
    case 4: return was + 8;
    case 5: return was ^ 1ull << next() % 64;
    case 6: return 0x7fffffff00000000 | was >> 32;
    default: return next() % 100000;
    }
}

/* The loader itself compares the name of each library it loads with those of all that are there. */
static uint64_t dynamic, dynamic_end;

static int is_the_loaders(uint64_t at) {
    if (at < dynamic || at >= dynamic_end) return 0;
    uint64_t tag = ((ElfW(Dyn) *)(dynamic + ((at - dynamic) & ~15ull)))->d_tag;
    return tag == DT_STRTAB || tag == DT_SONAME;
}

static void spoil(uint64_t from, uint64_t to, unsigned one_in) {
    for (uint64_t at = (from + 7) & ~7ull; at + 8 <= to; at += 8)
        if (next() % one_in == 0 && !is_the_loaders(at)) *(uint64_t *)at = rubbish(*(uint64_t *)at, at);
}

static int visit(struct dl_phdr_info *info, size_t size, void *plugin) {
    if (!strstr(info->dlpi_name, plugin)) return 0;
    unsigned one_in = 1u << next() % 9;
    dynamic = 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        uint64_t from = info->dlpi_addr + p->p_vaddr, page = from & ~4095ull;
        if (p->p_type == PT_DYNAMIC) dynamic = from, dynamic_end = from + p->p_memsz;
        if (p->p_type != PT_LOAD || p->p_flags & PF_X) continue;
        if (mprotect((void *)page, from + p->p_memsz - page, PROT_READ | PROT_WRITE)) return 1;
    }
    /* Now that all were found: the headers are in the first segment. */
    ElfW(Phdr) all[16];
    int count = info->dlpi_phnum < 16 ? info->dlpi_phnum : 16;
    memcpy(all, info->dlpi_phdr, count * sizeof *all);
    for (int i = 0; i < count; i++)
        if (all[i].p_type == PT_LOAD && !(all[i].p_flags & PF_X))
            spoil(info->dlpi_addr + all[i].p_vaddr, info->dlpi_addr + all[i].p_vaddr + all[i].p_memsz, one_in);
    if (dynamic && next() % 2) spoil(dynamic, dynamic_end, 4);
    return 0;
}

int harm_act(int mode) {
    const char *folder = getenv("HARM_LIBRARIES");
    state = (mode + 1) * 0x9e3779b97f4a7c15ull | 1;
    if (!folder) return 1;
    for (int spoiling = 0; spoiling < 2; spoiling++)
        for (int n = 0; n < 12; n++) {
            char path[500], name[20];
            snprintf(name, sizeof name, "/p%d.so", n);
            snprintf(path, sizeof path, "%s%s", folder, name);
            if (spoiling ? dl_iterate_phdr(visit, name) : !dlopen(path, RTLD_NOW | RTLD_LOCAL)) return 2 + spoiling;
        }
    return 0;
}
