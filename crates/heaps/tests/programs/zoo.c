/* A program that allocates in patterns from many threads, falls quiet, and answers questions about itself on stdin:
 *   info    mallinfo2() of all arenas, and what the program itself knows of its live blocks
 *   trim    malloc_trim(0); resident bytes before and after
 *   churn   threads allocate and free until "rest"
 *   exit
 * Arguments: threads, rounds, and what: "mixed", "large", "tiny", "aligned". */
#define _GNU_SOURCE
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SLOTS 4096
static int slots_used = SLOTS;
static int rounds;
static const char *kind;
static pthread_barrier_t quiet;
static atomic_int churning;
static atomic_int leave;

static uint64_t next(uint64_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

static size_t size_of_request(uint64_t *state) {
  uint64_t r = next(state);
  if (!strcmp(kind, "tiny")) return 1 + r % 120;
  if (!strcmp(kind, "large")) return 100000 + r % 400000;
  switch (r % 16) {
    case 0: return 1 + (r >> 8) % 60000;
    case 1: return 1000 + (r >> 8) % 9000;
    default: return 1 + (r >> 8) % 700;
  }
}

static void *allocate(uint64_t *state) {
  size_t size = size_of_request(state);
  void *block;
  if (!strcmp(kind, "aligned") && next(state) % 3 == 0)
    block = memalign((size_t)64 << next(state) % 7, size * (next(state) % 50 == 0 ? 40 : 1));
  else
    block = malloc(size);
  if (!block) abort();
  memset(block, (int)(size & 0x7f) | 1, size);
  return block;
}

static void work(void **slots, uint64_t *state, int count) {
  for (int i = 0; i < count; i++) {
    size_t slot = next(state) % slots_used;
    if (slots[slot] && next(state) % 8 == 0) {
      slots[slot] = realloc(slots[slot], size_of_request(state));
    } else if (slots[slot]) {
      free(slots[slot]);
      slots[slot] = NULL;
    } else {
      slots[slot] = allocate(state);
    }
  }
}

static void *thread(void *argument) {
  uint64_t state = 0x9e3779b97f4a7c15ull * (uintptr_t)argument;
  void **slots = mmap(NULL, SLOTS * sizeof *slots, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  work(slots, &state, rounds);
  /* Some threads give back most of what they have: free memory inside arenas. */
  if ((uintptr_t)argument % 2)
    for (int i = 0; i < SLOTS; i++)
      if (i % 16) {
        free(slots[i]);
        slots[i] = NULL;
      }
  pthread_barrier_wait(&quiet);
  while (!leave) {
    if (churning)
      work(slots, &state, 1000);
    else
      usleep(1000);
  }
  return NULL;
}

/* Exact, unlike statm, whose per-thread counters lag. */
static size_t resident_exactly(void) {
  static char text[8192];
  size_t kib = 0;
  FILE *file = fopen("/proc/self/smaps_rollup", "r");
  setvbuf(file, NULL, _IONBF, 0);
  size_t got = fread(text, 1, sizeof text - 1, file);
  text[got] = 0;
  fclose(file);
  char *line = strstr(text, "Rss:");
  if (!line || sscanf(line + 4, "%zu", &kib) != 1) abort();
  return kib * 1024;
}

int main(int count, char **arguments) {
  int threads = atoi(arguments[1]);
  rounds = atoi(arguments[2]);
  kind = arguments[3];
  static char out[4096], in[256];
  setvbuf(stdout, out, _IOLBF, sizeof out);
  setvbuf(stdin, in, _IOLBF, sizeof in);
  if (!strcmp(kind, "large")) slots_used = 64;
  if (count > 4 && !strcmp(arguments[4], "blocked")) {
    /* Right above the heap, so that brk can't grow. */
    free(malloc(1));
    char *end = sbrk(0);
    if (mmap(end, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != end) abort();
  }
  if (count > 4 && !strcmp(arguments[4], "foreign")) {
    free(malloc(1));
    sbrk(12345);
  }
  pthread_barrier_init(&quiet, NULL, (unsigned)threads + 1);
  for (int i = 0; i < threads; i++) {
    pthread_t id;
    pthread_create(&id, NULL, thread, (void *)(uintptr_t)(i + 1));
  }
  uint64_t state = 42;
  void **slots = mmap(NULL, SLOTS * sizeof *slots, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  work(slots, &state, rounds);
  for (int i = 0; i < SLOTS; i++)
    if (i % 5 == 0) {
      free(slots[i]);
      slots[i] = NULL;
    }
  /* Sizes of which exactly so many live. */
  for (int i = 0; i < 777; i++) memset(malloc(3333), 3, 3333);
  for (int i = 0; i < 11; i++) memset(malloc(40 << 20), 4, 100);
  pthread_barrier_wait(&quiet);
  static char line[64];
  puts("ready");
  while (fgets(line, sizeof line, stdin)) {
    if (!strncmp(line, "info", 4)) {
      struct mallinfo2 info = mallinfo2();
      printf("%zu %zu %zu %zu %zu %zu %zu %zu %zu\n", info.arena, info.ordblks, info.smblks, info.hblks, info.hblkhd,
             info.fsmblks, info.uordblks, info.fordblks, info.keepcost);
    } else if (!strncmp(line, "trim", 4)) {
      size_t before = resident_exactly();
      before = resident_exactly();
      malloc_trim(0);
      printf("%zu\n", before - resident_exactly());
    } else if (!strncmp(line, "churn", 5)) {
      churning = 1;
      puts("churning");
    } else if (!strncmp(line, "rest", 4)) {
      churning = 0;
      usleep(200000);
      puts("resting");
    } else {
      break;
    }
  }
  leave = 1;
  return 0;
}
