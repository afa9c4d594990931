/* A library that comes and goes, with a pointer to malloc in its data: p0.so to p11.so. */
extern void *malloc(unsigned long);
static void *(*table[4])(unsigned long) = {malloc};
void *work(unsigned long n) { return table[0](n + 10); }
