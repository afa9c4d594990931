//! Build ids, symbol tables, DWARF, perf maps and demangling.
