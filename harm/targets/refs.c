/* JNI references that stay: global, weak, frames that are not popped, threads that are attached and end. Not harm of ours: what
 * `offheap handles` counts. */
#include <jni.h>
#include <pthread.h>
#include <stdlib.h>

static JavaVM *vm;

JNIEXPORT void JNICALL Java_Refs_global(JNIEnv *env, jclass c, jobject o, jint n) {
    for (int i = 0; i < n; i++) (*env)->NewGlobalRef(env, o);
}

JNIEXPORT void JNICALL Java_Refs_weak(JNIEnv *env, jclass c, jobject o, jint n) {
    for (int i = 0; i < n; i++) (*env)->NewWeakGlobalRef(env, o);
}

JNIEXPORT void JNICALL Java_Refs_frames(JNIEnv *env, jclass c, jint n, jint each, jobject o) {
    for (int i = 0; i < n; i++) {
        if ((*env)->PushLocalFrame(env, each)) abort();
        for (int k = 0; k < each; k++) (*env)->NewLocalRef(env, o);
    }
}

static void *ends(void *unused) {
    JNIEnv *env;
    if ((*vm)->AttachCurrentThreadAsDaemon(vm, (void **)&env, NULL)) abort();
    return NULL;
}

JNIEXPORT void JNICALL Java_Refs_attach(JNIEnv *env, jclass c, jint n) {
    (*env)->GetJavaVM(env, &vm);
    for (int i = 0; i < n; i++) {
        pthread_t t;
        if (pthread_create(&t, NULL, ends, NULL) || pthread_join(t, NULL)) abort();
    }
}
