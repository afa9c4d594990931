/* What Storm.java calls. Provokes every kind of harm in a JVM. */
#include "storm.h"
#include <jni.h>
#include <unistd.h>

JNIEXPORT void JNICALL Java_Storm_start(JNIEnv *env, jclass c, jstring names, jstring folder) {
    const char *wanted = (*env)->GetStringUTFChars(env, names, NULL);
    const char *where = (*env)->GetStringUTFChars(env, folder, NULL);
    storms_start(wanted, where);
    (*env)->ReleaseStringUTFChars(env, names, wanted);
    (*env)->ReleaseStringUTFChars(env, folder, where);
}

JNIEXPORT jstring JNICALL Java_Storm_end(JNIEnv *env, jclass c) {
    char text[2000];
    storms_end(text, sizeof text);
    return (*env)->NewStringUTF(env, text);
}

JNIEXPORT jlong JNICALL Java_Storm_waited(JNIEnv *env, jclass c) { return waited_ns(); }
JNIEXPORT jlong JNICALL Java_Storm_gap(JNIEnv *env, jclass c) { return longest_gap(); }

/* Blocks that are taken and given by a Java thread. */
JNIEXPORT void JNICALL Java_Storm_churn(JNIEnv *env, jclass c, jint blocks) { churn(blocks * 7 + 3, blocks); }

/* Puts another program in this one's place. */
JNIEXPORT void JNICALL Java_Storm_exec(JNIEnv *env, jclass c) { execl("/bin/sh", "sh", "-c", "exit 42", NULL); }
JNIEXPORT void JNICALL Java_Storm_leave(JNIEnv *env, jclass c) { _exit(42); }
