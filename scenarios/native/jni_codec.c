/* The native half of app.NativeCodec. */
#include <jni.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* What a leak points to goes here, or the compiler would remove the allocation. */
static void *volatile last;

__attribute__((noinline)) static unsigned char *frame_new(size_t bytes) {
    unsigned char *frame = malloc(bytes);
    if (frame != NULL) {
        memset(frame, (int)bytes, bytes);
    }
    return frame;
}

__attribute__((noinline)) static void codec_encode(size_t bytes) {
    last = frame_new(bytes);
}

JNIEXPORT void JNICALL Java_app_NativeCodec_encode(JNIEnv *env, jclass cls, jint bytes) {
    codec_encode((size_t)bytes);
    last = NULL; /* something to do after the call, so that it is no tail call and the frame stays on the stack */
}

JNIEXPORT void JNICALL Java_app_NativeCodec_encodeAndFree(JNIEnv *env, jclass cls, jint bytes) {
    free(frame_new((size_t)bytes));
}

JNIEXPORT void JNICALL Java_app_NativeCodec_encodeIntoRing(JNIEnv *env, jclass cls, jint bytes, jint slots) {
    static unsigned char **ring;
    static int next;
    if (ring == NULL) {
        ring = calloc((size_t)slots, sizeof *ring);
    }
    free(ring[next]);
    ring[next] = frame_new((size_t)bytes);
    next = (next + 1) % slots;
}

__attribute__((noinline)) static void history_grow(size_t bytes) {
    static unsigned char *history;
    static size_t length;
    unsigned char *grown = realloc(history, length + bytes);
    if (grown != NULL) {
        memset(grown + length, 1, bytes);
        history = grown;
        length += bytes;
    }
}

JNIEXPORT void JNICALL Java_app_NativeCodec_append(JNIEnv *env, jclass cls, jint bytes) {
    history_grow((size_t)bytes);
    last = NULL;
}

__attribute__((noinline)) static void names_add(int number) {
    char name[40];
    snprintf(name, sizeof name, "subscriber-%010d-of-topic", number);
    last = strdup(name);
}

JNIEXPORT void JNICALL Java_app_NativeCodec_remember(JNIEnv *env, jclass cls, jint number) {
    names_add(number);
    last = NULL;
}

__attribute__((noinline)) static void block_aligned(size_t bytes) {
    void *block = NULL;
    if (posix_memalign(&block, 4096, bytes) == 0) {
        memset(block, 2, bytes);
        last = block;
    }
}

JNIEXPORT void JNICALL Java_app_NativeCodec_alignedBlock(JNIEnv *env, jclass cls, jint bytes) {
    block_aligned((size_t)bytes);
    last = NULL;
}

__attribute__((noinline)) static void *region_open(size_t bytes) {
    void *region = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (region == MAP_FAILED) {
        return NULL;
    }
    memset(region, 3, bytes);
    return region;
}

JNIEXPORT void JNICALL Java_app_NativeCodec_mapRegion(JNIEnv *env, jclass cls, jint bytes) {
    last = region_open((size_t)bytes);
}

JNIEXPORT void JNICALL Java_app_NativeCodec_mapAndUnmapRegion(JNIEnv *env, jclass cls, jint bytes) {
    void *region = region_open((size_t)bytes);
    if (region != NULL) {
        munmap(region, (size_t)bytes);
    }
}

JNIEXPORT void JNICALL Java_app_NativeCodec_burst(JNIEnv *env, jclass cls, jint bytes, jint keep_one_in) {
    size_t size = 600;
    size_t count = (size_t)bytes / size;
    void **blocks = calloc(count, sizeof *blocks);
    if (blocks == NULL) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        blocks[i] = frame_new(size);
    }
    /* The last block stays too: it lies on top of the arena and keeps glibc from shrinking it. */
    for (size_t i = 0; i + 1 < count; i++) {
        if (i % (size_t)keep_one_in != 0) {
            free(blocks[i]);
        }
    }
    free(blocks);
}
