//! Whether a report's figures add up, where the JVM's own do.

use crate::report::{Allocations, Category, Mapping, Report, Scale};

/// A sum that the JVM's own accounting promises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SumCheck {
    /// What is added up: `total reserved`, `Class committed`…
    pub what: String,
    /// The figure that the JVM printed, in bytes.
    pub stated_bytes: u64,
    /// The sum of what it is made of, in bytes.
    pub summed_bytes: u64,
    /// How far they may be apart, as each figure was rounded to the scale. 0 at scale b.
    pub tolerance_bytes: u64,
}

impl SumCheck {
    /// Whether the figures agree.
    pub fn holds(&self) -> bool {
        self.stated_bytes.abs_diff(self.summed_bytes) <= self.tolerance_bytes
    }
}

/// Adds up what must add up: the categories to the total, malloc and mmap to the total (JDK 17 and
/// later), and each category's malloc, arena, mmap, stacks and tracking overhead to the category.
/// Empty where there is no total.
///
/// At scales above bytes the JVM rounds every figure and leaves out what rounds to nothing, so each
/// addend, printed or not, may be off by one unit.
pub fn check_sums(report: &Report) -> Vec<SumCheck> {
    let Some(total) = &report.total else { return Vec::new() };
    // JDK 26, which has the most, has 33 categories.
    const CATEGORIES: usize = 40;
    // malloc, arena, mmap, stack, tracking overhead.
    const PARTS: usize = 5;
    let unit = match report.scale {
        None | Some(Scale::Bytes) => 0,
        Some(scale) => scale.bytes(),
    };
    let check =
        |what: String, stated_bytes: u64, addends: &mut dyn Iterator<Item = u64>, of: usize| SumCheck {
            what,
            stated_bytes,
            summed_bytes: addends.fold(0, u64::saturating_add),
            tolerance_bytes: unit.saturating_mul(of as u64),
        };
    let categories = &report.categories;
    let mut checks = vec![
        check(
            "total reserved".into(),
            total.mapping.reserved_bytes,
            &mut categories.iter().map(|category| category.mapping.reserved_bytes),
            CATEGORIES,
        ),
        check(
            "total committed".into(),
            total.mapping.committed_bytes,
            &mut categories.iter().map(|category| category.mapping.committed_bytes),
            CATEGORIES,
        ),
    ];
    if let (Some(malloc), Some(mmap)) = (total.malloc, total.mmap) {
        checks.push(check(
            "total reserved as malloc and mmap".into(),
            total.mapping.reserved_bytes,
            &mut [malloc.bytes, mmap.reserved_bytes].into_iter(),
            2,
        ));
        checks.push(check(
            "total committed as malloc and mmap".into(),
            total.mapping.committed_bytes,
            &mut [malloc.bytes, mmap.committed_bytes].into_iter(),
            2,
        ));
        checks.push(check(
            "total malloc".into(),
            malloc.bytes,
            &mut categories.iter().map(malloced),
            CATEGORIES * 3,
        ));
        checks.push(check(
            "total mmap reserved".into(),
            mmap.reserved_bytes,
            &mut categories.iter().map(|category| mapped(category, |mapping| mapping.reserved_bytes)),
            CATEGORIES,
        ));
        checks.push(check(
            "total mmap committed".into(),
            mmap.committed_bytes,
            &mut categories.iter().map(|category| mapped(category, |mapping| mapping.committed_bytes)),
            CATEGORIES,
        ));
    }
    for category in categories {
        let parts = |of: fn(Mapping) -> u64| [malloced(category), mapped(category, of)].into_iter();
        let name = &category.name;
        let Mapping { reserved_bytes, committed_bytes, .. } = category.mapping;
        let (reserved, committed) = (format!("{name} reserved"), format!("{name} committed"));
        checks.push(check(reserved, reserved_bytes, &mut parts(|m| m.reserved_bytes), PARTS));
        checks.push(check(committed, committed_bytes, &mut parts(|m| m.committed_bytes), PARTS));
    }
    checks
}

/// What a category has of the heap: its own, its arenas' and NMT's headers.
fn malloced(category: &Category) -> u64 {
    let bytes = |allocations: Option<Allocations>| allocations.map_or(0, |allocations| allocations.bytes);
    bytes(category.malloc)
        .saturating_add(bytes(category.arena))
        .saturating_add(category.tracking_overhead_bytes.unwrap_or(0))
}

/// What a category has mapped, thread stacks included.
fn mapped(category: &Category, of: impl Fn(Mapping) -> u64) -> u64 {
    category.mmap.map_or(0, &of).saturating_add(category.stack.map_or(0, &of))
}
