#define _GNU_SOURCE
#include <dlfcn.h>
#include <jni.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void *volatile sink;
JNIEXPORT void JNICALL Java_Storm_leak(JNIEnv *env, jclass c, jint n) { sink = malloc(n); }

/* Blocks of 777 bytes, all freed. */
static void churn(int n) {
    for (int i = 0; i < n; i++) {
        void *volatile p = malloc(777);
        free(p);
    }
}
JNIEXPORT void JNICALL Java_Storm_churn(JNIEnv *env, jclass c, jint n) { churn(n); }

/* A library that comes and goes: its blocks are freed before it is. */
JNIEXPORT jboolean JNICALL Java_Storm_plugin(JNIEnv *env, jclass c, jstring path) {
    const char *text = (*env)->GetStringUTFChars(env, path, NULL);
    void *library = dlopen(text, RTLD_NOW);
    (*env)->ReleaseStringUTFChars(env, path, text);
    if (!library) return JNI_FALSE;
    void *(*get)(size_t) = (void *(*)(size_t))dlsym(library, "plugin_get");
    void (*drop)(void *) = (void (*)(void *))dlsym(library, "plugin_drop");
    for (int i = 0; i < 10; i++) drop(get(777));
    dlclose(library);
    return JNI_TRUE;
}

/* A child that allocates and frees, and a signal whose handler does. */
static void handler(int signal) { churn(3); }
JNIEXPORT jboolean JNICALL Java_Storm_fork(JNIEnv *env, jclass c) {
    pid_t child = fork();
    if (child == 0) {
        churn(100);
        _exit(7);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child) return JNI_FALSE;
    return WIFEXITED(status) && WEXITSTATUS(status) == 7;
}
JNIEXPORT void JNICALL Java_Storm_signal(JNIEnv *env, jclass c) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &action, NULL);
    for (int i = 0; i < 50; i++) pthread_kill(pthread_self(), SIGUSR1);
}
