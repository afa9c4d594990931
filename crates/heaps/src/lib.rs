//! Memory allocators seen from outside: glibc's arenas first.
