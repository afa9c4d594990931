#include <stdlib.h>
int main(void) { for (int i = 0; i < 60000; i++) { volatile char *p = malloc(200); p[0] = 1; } for (int i = 0; i < 20; i++) { volatile char *p = malloc(600000); p[0] = 1; } return 0; }
