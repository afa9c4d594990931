/* What a library of harm brings: harm_act(mode) does its harm, or undoes it; 0 where all is well. Its own constructor does so at
 * once, where the variable HARM_MODE says so. Built with -DJNI it can be loaded by Host.java, otherwise by host.c. */
#ifndef HOST_H
#define HOST_H
#define _GNU_SOURCE
#include <stdlib.h>
int harm_act(int mode);
__attribute__((constructor)) static void at_once(void) {
    const char *mode = getenv("HARM_MODE");
    if (mode && harm_act(atoi(mode))) abort();
}
#ifdef JNI
#include <jni.h>
JNIEXPORT jint JNICALL Java_Host_act(JNIEnv *env, jclass c, jint mode) { return harm_act(mode); }
#endif
#endif
