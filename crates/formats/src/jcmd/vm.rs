//! What the JVM says of itself: flags, counters, its own tables.

use super::named;
use crate::figures::Named;

/// `-XX:MaxHeapSize=268435456`, `-XX:+UseG1GC` (1) or `-XX:-UsePerfData` (0). Which numbers are
/// bytes, only their names tell.
pub(super) fn flag(word: &str) -> Option<Named> {
    let flag = word.strip_prefix("-XX:")?;
    if let Some(on) = flag.strip_prefix('+') {
        return Some(named(on, 0, Some(1)));
    }
    if let Some(off) = flag.strip_prefix('-') {
        return Some(named(off, 0, Some(0)));
    }
    let (name, value) = flag.split_once('=')?;
    let value = value.parse().ok()?;
    // Of all names with a size these two count something else: objects, references.
    let counts = ["MarkStackSize", "GCDrainStackTargetSize"];
    let is_bytes =
        ["Size", "SizeMax", "DeltaBytes", "MaxRAM", "DirectMemorySize"].iter().any(|end| name.ends_with(end))
            && !counts.iter().any(|count| name.starts_with(count));
    Some(if is_bytes { named(name, value, None) } else { named(name, 0, Some(value)) })
}

/// Names of the counters' top (HotSpot's perfData.cpp: `java`, `com.sun`, `sun`, each with a
/// subsystem).
pub(super) fn is_counter(line: &str) -> bool {
    let name = line.split_once('=').map_or("", |(name, _)| name);
    ["java.ci.", "java.cls.", "java.threads.", "sun.ci.", "sun.cls.", "sun.gc."]
        .iter()
        .any(|top| name.starts_with(top))
}

/// `sun.gc.metaspace.used=123` as bytes, `java.threads.live=7` as a number; texts, times and what
/// is neither are left out.
pub(super) fn counter(line: &str) -> Option<Named> {
    let (name, value) = line.trim().split_once('=')?;
    let value = value.parse::<u64>().ok()?;
    let ends = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
    if name.starts_with("sun.gc.") && ends(&["apacity", ".used"])
        || name.contains(".bytes.")
        || ends(&["Bytes", ".nmethodSize", ".nmethodCodeSize"])
    {
        return Some(named(name, value, None));
    }
    let is_number = name.starts_with("java.threads.")
        || ends(&["Classes", "Count", ".invocations", "Compiles", ".threads", "Calls"]);
    is_number.then(|| named(name, 0, Some(value)))
}

/// `StringTable statistics:`; dictionaries start with those of the shared archive.
pub(super) fn is_hash_table(line: &str) -> bool {
    let tables = ["StringTable ", "SymbolTable ", "System Dictionary ", "Builtin Shared Dictionary "];
    line.ends_with("statistics:") && tables.iter().any(|table| line.starts_with(table))
        // The JDK spells it so.
        || line.starts_with("Static Archve Statistics")
}

/// By table what `Total footprint         :           =    524936 bytes` says, and `Number of
/// entries       :         8 = …`.
pub(super) fn hash_tables(text: &str) -> Vec<Named> {
    let mut all: Vec<Named> = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(table) = line.strip_suffix(" statistics:") {
            all.push(named(table, 0, None));
            continue;
        }
        let (Some((what, figures)), Some(table)) = (line.split_once(':'), all.last_mut()) else { continue };
        let first = |figures: &str| figures.split_ascii_whitespace().next()?.parse().ok();
        match what.trim() {
            "Number of entries" => table.count = first(figures),
            "Total footprint" => {
                table.bytes = figures.split_once('=').and_then(|(_, bytes)| first(bytes)).unwrap_or(0);
            }
            _ => {}
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::tests::figures;

    // Lines as JDK 17 and 25 print them.
    #[test]
    fn flags_counters_and_tables() {
        let flags = "18143:\n-XX:CICompilerCount=2 -XX:G1HeapRegionSize=1048576 -XX:MarkStackSize=4194304 \
            -XX:MaxHeapSize=67108864 -XX:-THPStackMitigation -XX:+UseG1GC -XX:OnError=x \n";
        assert_eq!(
            figures(flags),
            [
                ("MaxHeapSize".to_owned(), 67_108_864, None),
                ("G1HeapRegionSize".to_owned(), 1_048_576, None),
                ("MarkStackSize".to_owned(), 0, Some(4_194_304)),
                ("CICompilerCount".to_owned(), 0, Some(2)),
                ("UseG1GC".to_owned(), 0, Some(1)),
                ("THPStackMitigation".to_owned(), 0, Some(0)),
            ]
        );
        let counters = "18143:\njava.ci.totalTime=600776\njava.cls.loadedClasses=4\n\
            java.property.java.version=\"17\"\njava.threads.live=7\nsun.gc.metaspace.used=4096\nsun.gc.cause=\"No GC\"\n";
        assert_eq!(
            figures(counters),
            [
                ("sun.gc.metaspace.used".to_owned(), 4096, None),
                ("java.threads.live".to_owned(), 0, Some(7)),
                ("java.cls.loadedClasses".to_owned(), 0, Some(4)),
            ]
        );
        let tables = "21382:\nSymbolTable statistics:\nNumber of buckets       :     32768 =    262144 bytes, each 8\n\
            Number of entries       :        21 =       336 bytes, each 16\nTotal footprint         :           =    263240 bytes\n\
            Shared Symbol Table statistics:\nNumber of entries       :     45908\n";
        assert_eq!(
            figures(tables),
            [
                ("SymbolTable".to_owned(), 263_240, Some(21)),
                ("Shared Symbol Table".to_owned(), 0, Some(45_908))
            ]
        );
    }
}
