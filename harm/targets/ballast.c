/* Takes as many bytes as each line of its input says, for good, and answers with the sum: fills a memory group. Harm: 6. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

int main(void) {
    char line[64];
    long sum = 0;
    puts("READY");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        long n = atol(line);
        char *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p != MAP_FAILED) madvise(p, n, MADV_NOHUGEPAGE), memset(p, 1, n), sum += n;
        printf("%ld\n", sum);
        fflush(stdout);
    }
    return 0;
}
