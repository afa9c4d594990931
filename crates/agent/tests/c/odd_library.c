/* A library of unusual shape, by -D: GUARDED (a page of .bss that nobody may read), TABLE (a read-only table that holds
 * malloc), TEXTREL (an import in a read-only segment), SEALED (its import table made read-only by itself), HIDDEN (its own
 * headers and tables unreadable), CLOSED (its data and import table unreadable), PLAIN (a writable table: the control). */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE 4096
static struct {
    void *(*alloc)(size_t);
    void (*release)(void *);
    char pad[PAGE - 16];
} table __attribute__((aligned(PAGE))) = {.pad = {1}};
static unsigned char area[8 * PAGE] __attribute__((aligned(PAGE)));

#ifdef TEXTREL
__asm__(".section .rodata\n.balign 8\n.globl odd_import\n.hidden odd_import\nodd_import: .quad malloc\n.previous\n");
extern void *(*const odd_import)(size_t);
#endif
#ifdef SEALED
extern uintptr_t _GLOBAL_OFFSET_TABLE_[] __attribute__((visibility("hidden")));
#endif

/* Of .bss, with a pointer in it. */
static void *page[PAGE / 8] __attribute__((aligned(PAGE)));
char *odd_page = (char *)page;

/* 0 when the library has made itself what it is. */
int odd_begin(void) {
    free(malloc(100));
    memset(area, 7, sizeof area);
    table.alloc = malloc;
    table.release = free;
    page[1] = malloc;
#ifdef GUARDED
    return mprotect(area + PAGE, PAGE, PROT_NONE);
#elif defined(TABLE)
    return mprotect(&table, PAGE, PROT_READ);
#elif defined(SEALED)
    return mprotect((void *)((uintptr_t)_GLOBAL_OFFSET_TABLE_ & -PAGE), PAGE, PROT_READ);
#elif defined(CLOSED)
    return mprotect(&table, PAGE, PROT_NONE);
#else
    return 0;
#endif
}

/* What the table holds; 0: it can't be read. */
uintptr_t odd_table(void) {
#ifdef CLOSED
    if (mprotect(&table, PAGE, PROT_READ)) return 1;
#endif
    return (uintptr_t)table.alloc;
}

/* 0: all is as it was. */
int odd_end(void) {
#ifdef GUARDED
    if (mprotect(area + PAGE, PAGE, PROT_READ)) return 1;
#endif
    for (size_t i = 0; i < sizeof area; i++)
        if (area[i] != 7) return 2;
    for (size_t i = 1; i < sizeof table.pad; i++)
        if (table.pad[i]) return 3;
#ifndef CLOSED
    void *p = table.alloc(43210);
    if (!p) return 4;
    table.release(p);
#endif
    void *q = malloc(43211);
    if (!q) return 5;
#ifdef TEXTREL
    q = odd_import(43212);
    if (!q) return 6;
#endif
    return 0;
}
