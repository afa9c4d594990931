/* The native half of app.NativeHandles. */
#include <jni.h>

static const void *volatile last;

__attribute__((noinline)) static void listeners_add(JNIEnv *env, jobject listener) {
    last = (*env)->NewGlobalRef(env, listener);
}

JNIEXPORT void JNICALL Java_app_NativeHandles_retain(JNIEnv *env, jclass cls, jobject listener, jint count) {
    for (jint i = 0; i < count; i++) {
        listeners_add(env, listener);
    }
}

JNIEXPORT void JNICALL Java_app_NativeHandles_retainAndRelease(JNIEnv *env, jclass cls, jobject listener, jint count) {
    for (jint i = 0; i < count; i++) {
        (*env)->DeleteGlobalRef(env, (*env)->NewGlobalRef(env, listener));
    }
}

__attribute__((noinline)) static const char *text_read(JNIEnv *env, jstring text) {
    const char *chars = (*env)->GetStringUTFChars(env, text, NULL);
    last = chars;
    return chars;
}

JNIEXPORT void JNICALL Java_app_NativeHandles_readText(JNIEnv *env, jclass cls, jstring text) {
    text_read(env, text);
    last = NULL;
}

JNIEXPORT void JNICALL Java_app_NativeHandles_readAndReleaseText(JNIEnv *env, jclass cls, jstring text) {
    const char *chars = text_read(env, text);
    if (chars != NULL) {
        (*env)->ReleaseStringUTFChars(env, text, chars);
    }
}
