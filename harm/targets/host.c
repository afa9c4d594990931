/* An ordinary C program that loads libraries of harm: host LIBRARY MODE…; loads the first, acts, loads the next. Says "lives". */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **words) {
    for (int i = 1; i + 1 < argc; i += 2) {
        void *library = dlopen(words[i], RTLD_NOW);
        int (*act)(int) = library ? (int (*)(int))dlsym(library, "harm_act") : NULL;
        if (!act) {
            puts(dlerror());
            return 2;
        }
        int code = act(atoi(words[i + 1]));
        if (code) {
            printf("%s %s: %d\n", words[i], words[i + 1], code);
            return 3;
        }
        for (int k = 0; k < 1000; k++) {
            char *p = malloc(1000 + k);
            memset(p, k, 1000 + k);
            p = realloc(p, 3000);
            free(p);
        }
    }
    puts("lives");
    fflush(stdout);
    /* Without the libraries' destructors, for which some have protected too much. */
    _exit(0);
}
