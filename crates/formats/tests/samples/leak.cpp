#include <cstdlib>
#include <cstring>
#include <vector>
#include <string>
namespace app {
static void *keep[1000];
__attribute__((noinline)) void *leak_small(int i) { void *p = malloc(48); memset(p, i, 48); return p; }
__attribute__((noinline)) char *leak_string() { char *s = strdup("a string that nobody frees, ever"); return s; }
__attribute__((noinline)) void churn() { for (int i = 0; i < 100; i++) { std::string s(1000 + i, 'x'); asm volatile("" :: "r"(s.data())); } }
__attribute__((noinline)) std::vector<int> *big() { return new std::vector<int>(100000); }
__attribute__((noinline)) void run() {
  for (int i = 0; i < 200; i++) { void *p = leak_small(i); if (i < 100) keep[i] = p; }
  for (int i = 0; i < 10; i++) { char *s = leak_string(); asm volatile("" :: "r"(s)); }
  keep[999] = big();
  churn();
}
}
int main() { app::run(); return 0; }
