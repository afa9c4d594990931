//! Which classes had more objects at the window's end: what holds a heap's growth, and whether
//! native peers were dropped or are still held.

use crate::draft::sentence;
use crate::verdict::{Diagnosis, needs_code};
use offheap_model::{Domain, Evidence, Finding, FrameKind, Status, units, vocabulary};

/// A class with another number of objects than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassGrowth {
    /// Its name as in source code: `app.Session`, `byte[]`.
    pub name: String,
    /// Objects before; garbage included.
    pub before: u64,
    /// Objects after; garbage included.
    pub after: u64,
    /// Their bytes on the heap, after less before.
    pub bytes: i64,
    /// Their bytes on the heap after.
    pub after_bytes: u64,
}

impl ClassGrowth {
    fn objects(&self) -> i64 {
        i64::try_from(self.after).unwrap_or(i64::MAX) - i64::try_from(self.before).unwrap_or(i64::MAX)
    }

    fn words(&self) -> String {
        format!(
            "{} {:+} objects, {} on the heap",
            self.name,
            self.objects(),
            units::bytes(self.bytes.unsigned_abs())
        )
    }
}

/// Where it comes from.
const SOURCE: &str = "GC.class_histogram -all, at two instants; garbage included";
/// At most this many classes are named.
const NAMED: usize = 3;
/// A class must hold this share of what the heap gained to be named.
const CLASS_SHARE: f64 = 0.05;
/// This many more objects of a class are growth, and no coincidence.
const OBJECTS: i64 = 50;

impl Diagnosis {
    /// Adds what two class histograms, `seconds` apart, say of its verdict and findings.
    pub fn name_classes(&mut self, classes: &[ClassGrowth], seconds: f64) {
        for finding in std::iter::once(&mut self.verdict).chain(&mut self.findings) {
            match finding.domain {
                _ if !needs_code(finding) => {}
                Some(Domain::JavaHeap) if finding.status == Status::DoesNotFit => full_heap(finding, classes),
                Some(Domain::JavaHeap) => heap(finding, classes, seconds),
                _ => peers(finding, classes),
            }
        }
    }
}

/// What a heap is full of.
fn full_heap(finding: &mut Finding, classes: &[ClassGrowth]) {
    let all: u64 = classes.iter().map(|class| class.after_bytes).fold(0, u64::saturating_add);
    let mut large: Vec<&ClassGrowth> =
        classes.iter().filter(|class| class.after_bytes as f64 >= CLASS_SHARE * all as f64).collect();
    large.sort_by_key(|class| std::cmp::Reverse(class.after_bytes));
    let (own, plain): (Vec<&ClassGrowth>, Vec<&ClassGrowth>) =
        large.into_iter().partition(|class| !is_plain(&class.name));
    let named: Vec<String> = own
        .iter()
        .take(NAMED)
        .chain(plain.iter().take(NAMED))
        .map(|class| format!("{} {} ({} objects)", units::bytes(class.after_bytes), class.name, class.after))
        .collect();
    if named.is_empty() {
        return;
    }
    finding.summary.push_str(&format!(" It is full of: {}.", named.join("; ")));
    finding.evidence.push(Evidence { text: named.join("; "), source: SOURCE.to_owned() });
}

/// What fills the heap.
fn heap(finding: &mut Finding, classes: &[ClassGrowth], seconds: f64) {
    let gained = (finding.slope_bytes_per_s * seconds).max(1.0);
    let mut grown: Vec<&ClassGrowth> = classes
        .iter()
        .filter(|class| class.bytes as f64 >= CLASS_SHARE * gained && class.objects() > 0)
        .collect();
    grown.sort_by_key(|class| std::cmp::Reverse(class.bytes));
    // The bytes are mostly in arrays, the cause is in the program's own classes.
    let (own, plain): (Vec<&ClassGrowth>, Vec<&ClassGrowth>) =
        grown.into_iter().partition(|class| !is_plain(&class.name));
    let named: Vec<String> =
        own.iter().take(NAMED).chain(plain.iter().take(NAMED)).map(|class| class.words()).collect();
    if named.is_empty() {
        return;
    }
    finding.summary.push_str(&format!(" Classes that grew most: {}.", named.join("; ")));
    finding.evidence.push(Evidence { text: named.join("; "), source: SOURCE.to_owned() });
}

/// Whether the Java objects of the site's stack are still held.
fn peers(finding: &mut Finding, classes: &[ClassGrowth]) {
    let Some(site) = &finding.site else { return };
    let of_the_stack = |class: &&ClassGrowth| {
        site.frames
            .iter()
            .filter(|frame| frame.kind == FrameKind::Java)
            .filter_map(|frame| frame.name.rsplit_once('.'))
            .any(|(owner, _)| owner == class.name)
    };
    let held: Vec<String> = classes
        .iter()
        .filter(|class| class.objects() >= OBJECTS && class.after >= class.before.saturating_mul(5) / 4)
        .filter(of_the_stack)
        .take(NAMED)
        .map(ClassGrowth::words)
        .collect();
    if held.is_empty() {
        return;
    }
    let text = format!("the Java objects in the stack become more: {}", held.join("; "));
    finding.summary.push_str(&format!(" {} (garbage counts as well).", sentence(&text)));
    finding.evidence.push(Evidence { text, source: SOURCE.to_owned() });
}

/// Arrays and the JDK's own classes.
fn is_plain(name: &str) -> bool {
    name.ends_with("[]") || vocabulary::is_of_jdk(name)
}

/// The name of a class as a histogram has it, as in source code: `[B (java.base@17)` → `byte[]`,
/// `[[Lapp.Node;` → `app.Node[][]`.
pub fn source_name(histogram: &str) -> String {
    let name = histogram.split(" (").next().unwrap_or(histogram).trim();
    let element = name.trim_start_matches('[');
    let dimensions = name.len() - element.len();
    if dimensions == 0 {
        return name.to_owned();
    }
    let plain = match element {
        "B" => "byte",
        "C" => "char",
        "D" => "double",
        "F" => "float",
        "I" => "int",
        "J" => "long",
        "S" => "short",
        "Z" => "boolean",
        other => other.trim_start_matches('L').trim_end_matches(';'),
    };
    format!("{plain}{}", "[]".repeat(dimensions))
}

#[cfg(test)]
mod tests {
    use super::source_name;

    #[test]
    fn names_are_those_of_source_code() {
        assert_eq!(source_name("[B (java.base@17.0.9)"), "byte[]");
        assert_eq!(source_name("[[Lapp.Node;"), "app.Node[][]");
        assert_eq!(source_name("java.lang.String (java.base@17.0.9)"), "java.lang.String");
    }
}
