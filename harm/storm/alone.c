/* The storms without a JVM: alone FOLDER ,fork,threads,…, SECONDS. Provokes what storms provoke, in any C program. */
#include "storm.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **words) {
    char text[2000];
    if (argc < 4) return 2;
    /* Before the storm that takes away the right to write files. */
    puts("READY");
    fflush(stdout);
    storms_start(words[2], words[1]);
    nap(atol(words[3]) * 1000000);
    storms_end(text, sizeof text);
    puts(text);
    fflush(stdout);
    _exit(wrongs() ? 5 : 0);
}
