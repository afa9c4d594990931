/* A program that allows itself only what glibc's malloc and the calls it makes itself need, and is killed for anything else; its
 * threads begin before, after, and allocate for the first time after. Harm: 17. */
#define _GNU_SOURCE
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static pthread_barrier_t begun, sealed;
static void *work(void *unused) {
    pthread_barrier_wait(&begun);
    pthread_barrier_wait(&sealed);
    for (int i = 0; i < 20000; i++) {
        void *p = malloc(100 + i % 5000);
        p = realloc(p, 9000);
        memset(p, 1, 100);
        free(p);
        if (i % 100 == 0) {
            void *m = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            munmap(m, 1 << 20);
        }
    }
    return NULL;
}

int main(void) {
    /* Of a new thread glibc 2.36 also asks rseq, set_robust_list and a signal mask: those begin before. */
    int allowed[] = {SYS_read, SYS_write, SYS_mmap, SYS_munmap, SYS_mprotect, SYS_mremap, SYS_brk, SYS_madvise, SYS_futex, SYS_exit,
                     SYS_exit_group, SYS_rt_sigreturn, SYS_clock_nanosleep, SYS_fstat, SYS_newfstatat, SYS_getrandom, SYS_rt_sigprocmask};
    int n = sizeof allowed / sizeof *allowed - 1, k = 0; /* rt_sigprocmask is what pthread_exit needs: allowed only with threads */
    pthread_t threads[4];
    int with_threads = getenv("HARM_THREADS") != NULL;
    if (with_threads) n++;
    pthread_barrier_init(&begun, NULL, with_threads ? 5 : 1);
    pthread_barrier_init(&sealed, NULL, with_threads ? 5 : 1);
    if (with_threads) {
        for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, work, NULL);
        pthread_barrier_wait(&begun);
    }
    struct sock_filter f[64];
    f[k++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (int i = 0; i < n; i++) {
        f[k++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, allowed[i], 0, 1);
        f[k++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    }
    f[k++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    struct sock_fprog program = {k, f};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program)) {
        perror("seccomp");
        return 1;
    }
    if (with_threads) {
        pthread_barrier_wait(&sealed);
        for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    } else {
        work(NULL);
    }
    if (write(1, "lives\n", 6) != 6) _exit(4);
    _exit(0);
}
