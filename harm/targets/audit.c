/* An auditor (LD_AUDIT) as performance tools have them: sees every object and every binding, and counts. Neighbour. */
#define _GNU_SOURCE
#include <link.h>

static unsigned long objects, bindings;
unsigned int la_version(unsigned int version) { return LAV_CURRENT < version ? LAV_CURRENT : version; }
unsigned int la_objopen(struct link_map *map, Lmid_t id, uintptr_t *cookie) {
    objects++;
    return LA_FLG_BINDTO | LA_FLG_BINDFROM;
}
uintptr_t la_symbind64(Elf64_Sym *symbol, unsigned int index, uintptr_t *from, uintptr_t *to, unsigned int *flags, const char *name) {
    bindings++;
    return symbol->st_value;
}
unsigned int la_objclose(uintptr_t *cookie) { return 0; }
