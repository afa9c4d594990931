/* The native half of Truth: plain allocations that are never freed. Built without frame pointers. */
#include <jni.h>
#include <pthread.h>
#include <stdlib.h>

static JavaVM *vm;
static void *volatile sink;

JNIEXPORT jint JNICALL JNI_OnLoad(JavaVM *jvm, void *reserved) {
    vm = jvm;
    return JNI_VERSION_1_8;
}

static __attribute__((noinline)) void get(int n) { sink = malloc(n); }

JNIEXPORT void JNICALL Java_Truth_leak(JNIEnv *env, jclass c, jint n) { get(n); }

JNIEXPORT void JNICALL Java_Truth_callBack(JNIEnv *env, jclass c, jint n) {
    jmethodID m = (*env)->GetStaticMethodID(env, c, "called", "(I)V");
    (*env)->CallStaticVoidMethod(env, c, m, n);
}

static jclass cls;
static int bytes;

static void *thread(void *unused) {
    JNIEnv *env;
    if ((*vm)->AttachCurrentThread(vm, (void **)&env, NULL) != 0) return NULL;
    jmethodID m = (*env)->GetStaticMethodID(env, cls, "attached", "(I)V");
    (*env)->CallStaticVoidMethod(env, cls, m, bytes);
    (*vm)->DetachCurrentThread(vm);
    return NULL;
}

JNIEXPORT void JNICALL Java_Truth_onNewThread(JNIEnv *env, jclass c, jint n) {
    pthread_t t;
    cls = (*env)->NewGlobalRef(env, c);
    bytes = n;
    if (pthread_create(&t, NULL, thread, NULL) == 0) pthread_join(t, NULL);
}
