//! What Linux tells about a process: /proc, pagemap, cgroups, namespaces, remote memory, ELF.
