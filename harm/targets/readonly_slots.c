/* Import slots that are read-only without RELRO: one in .rodata, which the loader fills by a text relocation (link with -z notext), and
 * (mode 1) a whole table of imports that the library protects itself (link with -z norelro -z now). Harm: 2. */
#include "host.h"
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

__asm__(".section .rodata\n.balign 8\nin_rodata: .quad malloc\n.text\n");
extern void *(*const in_rodata)(size_t) __attribute__((visibility("hidden")));
extern char _GLOBAL_OFFSET_TABLE_[] __attribute__((visibility("hidden")));

int harm_act(int mode) {
    char *a = in_rodata(500), *b = malloc(600);
    memset(a, 1, 500);
    memset(b, 1, 600);
    b = realloc(b, 900);
    free(a);
    free(b);
    uintptr_t page = (uintptr_t)_GLOBAL_OFFSET_TABLE_ & ~4095ul;
    return mode & 1 ? mprotect((void *)page, 4096, PROT_READ) : 0;
}
