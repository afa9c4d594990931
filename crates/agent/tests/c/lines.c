/* Follows the lines of its input: "N" leaks N bytes; "fork N", "exec N" leak them in a child; "load AGENT OPTIONS"
 * loads the agent as a JVM does, and prints its code; "many N" allocates and frees N blocks on many stacks. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void *volatile sink;

static __attribute__((noinline)) int deep(int n) {
    if (n) return deep(n - 1) + 1;
    free(malloc(1000));
    return 0;
}

int main(int argc, char **argv) {
    static char line[5000], agent[4000], options[4000];
    int n;
    if (argc > 1) {
        sink = malloc(atoi(argv[1]));
        return 0;
    }
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "load %s %s", agent, options) == 2) {
            void *h = dlopen(agent, RTLD_LAZY);
            int (*attach)(void *, char *, void *) = h ? dlsym(h, "Agent_OnAttach") : NULL;
            printf("%d\n", attach ? attach(NULL, options, NULL) : -1);
        } else if (sscanf(line, "fork %d", &n) == 1) {
            void *old = sink;
            pid_t pid = fork();
            if (pid == 0) {
                free(old);
                sink = malloc(n);
                _exit(0);
            }
            waitpid(pid, NULL, 0);
            puts("ok");
        } else if (sscanf(line, "exec %d", &n) == 1) {
            char text[20];
            sprintf(text, "%d", n);
            pid_t pid = vfork();
            if (pid == 0) {
                execl(argv[0], argv[0], text, NULL);
                _exit(1);
            }
            waitpid(pid, NULL, 0);
            puts("ok");
        } else if (strcmp(line, "reopen\n") == 0) {
            /* As a daemon does: all descriptors closed, and the numbers used for something else. */
            for (int fd = 3; fd < 64; fd++) close(fd);
            for (int fd = 3; fd < 64; fd++) open("/dev/null", O_RDONLY);
            puts("ok");
        } else if (sscanf(line, "many %d", &n) == 1) {
            for (int i = 0; i < n; i++) deep(i % 97);
            puts("ok");
        } else {
            sink = malloc(atoi(line));
            puts("ok");
        }
        fflush(stdout);
    }
    return 0;
}
