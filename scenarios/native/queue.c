/* A program without a JVM: messages are queued and, in one mode, never freed. */
#include "scenario.h"

#define MESSAGE_BYTES 700
#define FULL 20000

struct message {
    struct message *next;
    char text[MESSAGE_BYTES];
};

static struct message *newest;
static struct message *ring[FULL];
static unsigned at;

__attribute__((noinline)) static struct message *message_new(void) {
    struct message *message = malloc(sizeof *message);
    if (message == NULL) {
        abort();
    }
    memset(message->text, 'm', sizeof message->text);
    return message;
}

__attribute__((noinline)) static void queue_push(void) {
    struct message *message = message_new();
    message->next = newest;
    newest = message;
}

static void queue_replace(void) {
    free(ring[at]);
    ring[at] = message_new();
    at = (at + 1) % FULL;
}

int main(int argc, char **argv) {
    struct scenario s = scenario_of(argc, argv);
    scenario_ready(&s);
    if (strcmp(s.mode, "unbounded") == 0) {
        scenario_pace(&s, MESSAGE_BYTES + 20, 0, queue_push);
    } else if (strcmp(s.mode, "bounded") == 0) {
        scenario_pace(&s, MESSAGE_BYTES + 20, 0, queue_replace);
    }
    return 2;
}
