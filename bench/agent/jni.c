#include <jni.h>
#include <stdlib.h>
JNIEXPORT jlong JNICALL Java_Jni_get(JNIEnv *env, jclass c, jint n) { return (jlong)malloc(n); }
JNIEXPORT void JNICALL Java_Jni_drop(JNIEnv *env, jclass c, jlong p) { free((void *)p); }
