//! HotSpot seen from outside: hsperfdata, vmStructs, NMT counters in memory.
