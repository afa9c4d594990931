/* A file system whose server can fall silent: fuse FOLDER FILE mounts one with library.so, a copy of FILE (root), and serves it
 * until its input ends. Stopped by a signal it answers no more, like the server of a dead NFS mount. Protocol: linux/fuse.h, 7. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static int device, file;
static off_t size;

static void answer(uint64_t unique, int error, const void *body, size_t length) {
    struct fuse_out_header head = {.len = sizeof head + length, .error = error, .unique = unique};
    struct iovec parts[2] = {{&head, sizeof head}, {(void *)body, length}};
    if (writev(device, parts, length ? 2 : 1) < 0 && errno != ENOENT) perror("fuse");
}

// 1 is the folder, 2 the file.
static struct fuse_attr attributes(uint64_t node) {
    struct fuse_attr a = {.ino = node, .nlink = 1, .blksize = 4096};
    a.mode = node == 1 ? S_IFDIR | 0755 : S_IFREG | 0755;
    a.size = node == 1 ? 0 : (uint64_t)size;
    return a;
}

static void serve(char *request) {
    struct fuse_in_header *head = (void *)request;
    void *body = head + 1;
    switch (head->opcode) {
    case FUSE_INIT: {
        struct fuse_init_in *in = body;
        struct fuse_init_out out = {.major = 7, .minor = in->minor < 31 ? in->minor : 31, .max_write = 4096};
        answer(head->unique, 0, &out, sizeof out);
        break;
    }
    case FUSE_LOOKUP: {
        // Nothing is remembered: whoever names the file asks.
        struct fuse_entry_out out = {.nodeid = 2, .generation = 1, .attr = attributes(2)};
        if (head->nodeid == 1 && strcmp(body, "library.so") == 0) answer(head->unique, 0, &out, sizeof out);
        else answer(head->unique, -ENOENT, 0, 0);
        break;
    }
    case FUSE_GETATTR: {
        struct fuse_attr_out out = {.attr = attributes(head->nodeid)};
        answer(head->unique, 0, &out, sizeof out);
        break;
    }
    case FUSE_OPEN:
    case FUSE_OPENDIR: {
        struct fuse_open_out out = {.open_flags = head->opcode == FUSE_OPEN ? FOPEN_KEEP_CACHE : 0};
        answer(head->unique, 0, &out, sizeof out);
        break;
    }
    case FUSE_READ: {
        struct fuse_read_in *in = body;
        char *bytes = malloc(in->size);
        ssize_t got = pread(file, bytes, in->size, in->offset);
        answer(head->unique, 0, bytes, got > 0 ? got : 0);
        free(bytes);
        break;
    }
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT:
        break;
    case FUSE_RELEASE:
    case FUSE_RELEASEDIR:
    case FUSE_FLUSH:
        answer(head->unique, 0, 0, 0);
        break;
    default:
        answer(head->unique, -ENOSYS, 0, 0);
    }
}

int main(int argc, char **argv) {
    static char request[1 << 20];
    char options[100];
    struct stat stat;
    if (argc < 3 || (file = open(argv[2], O_RDONLY)) < 0 || fstat(file, &stat)) return 2;
    size = stat.st_size;
    device = open("/dev/fuse", O_RDWR);
    snprintf(options, sizeof options, "fd=%d,rootmode=40755,user_id=0,group_id=0,allow_other", device);
    int is_mounted = !mount("offheap-test", argv[1], "fuse.offheap-test", MS_NOSUID | MS_NODEV, options);
    printf("READY\n%s\n", is_mounted ? "mounted" : "not mounted");
    fflush(stdout);
    struct pollfd ready[2] = {{.fd = device, .events = POLLIN}, {.fd = 0, .events = POLLIN}};
    while (poll(ready, 2, -1) >= 0 || errno == EINTR) {
        if (ready[1].revents) break;
        if (ready[0].revents) {
            ssize_t got = read(device, request, sizeof request);
            if (got < 0 && errno != EINTR && errno != EAGAIN && errno != ENOENT) break;
            if (got >= (ssize_t)sizeof(struct fuse_in_header)) serve(request);
        }
    }
    umount2(argv[1], MNT_DETACH);
    return 0;
}
