#include <stdlib.h>
int main(int c, char **v) { char *p = malloc(10); p[10 + c - 1] = 1; free(p); return 0; }
