/* Takes SIZE bytes of the static TLS that the C library keeps for libraries loaded late. */
__thread __attribute__((tls_model("initial-exec"))) char taken[SIZE];
char *place(void) { return taken; }
