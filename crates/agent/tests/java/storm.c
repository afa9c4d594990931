#include <jni.h>
#include <stdlib.h>
static void *volatile sink;
JNIEXPORT void JNICALL Java_Storm_leak(JNIEnv *env, jclass c, jint n) { sink = malloc(n); }
/* Blocks of 777 bytes, all freed. */
JNIEXPORT void JNICALL Java_Storm_churn(JNIEnv *env, jclass c, jint n) {
    for (int i = 0; i < n; i++) {
        void *volatile p = malloc(777);
        free(p);
    }
}
