/* The native half of app.Reports. */
#include <jni.h>
#include <stdlib.h>
#include <string.h>

struct page {
    struct page *previous;
    unsigned char text[];
};

static struct page *volatile newest;

__attribute__((noinline)) static struct page *page_layout(size_t bytes, struct page *previous) {
    struct page *page = malloc(bytes);
    if (page != NULL) {
        memset(page->text, 'p', bytes - sizeof *page);
        page->previous = previous;
    }
    return page;
}

JNIEXPORT void JNICALL Java_app_Reports_typeset(JNIEnv *env, jclass cls, jint bytes, jint page_bytes) {
    struct page *kept = NULL;
    for (jint done = 0; done < bytes; done += page_bytes) {
        kept = page_layout((size_t)page_bytes, kept);
    }
    newest = kept;
}

JNIEXPORT void JNICALL Java_app_Reports_preview(JNIEnv *env, jclass cls, jint bytes, jint page_bytes) {
    struct page *shown = NULL;
    for (jint done = 0; done < bytes; done += page_bytes) {
        struct page *page = page_layout((size_t)page_bytes, shown);
        if (page == NULL) {
            break;
        }
        shown = page;
    }
    while (shown != NULL) {
        struct page *previous = shown->previous;
        free(shown);
        shown = previous;
    }
}
