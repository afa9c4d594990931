//! Two saved reports compared, without the JVM's own baseline.

use std::collections::HashMap;

use thiserror::Error;

use crate::report::{
    Allocations, Category, Counted, Frame, Kind, Mapping, Report, Site, SiteKind, Space, Total,
};

/// Why two reports can't be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DiffError {
    /// The earlier one has no figures.
    #[error("the earlier report has no total: save the output of VM.native_memory summary or detail")]
    NothingEarlier,
    /// The later one has no figures.
    #[error("the later report has no total: save the output of VM.native_memory summary or detail")]
    NothingLater,
}

/// What changed from `earlier` to `later`, in the shape of the JVM's own diffs: the later figures,
/// each with its delta. A category, a part or a site that one of them lacks counts as 0 there;
/// sites are compared where both reports are detailed, the same frames in the same category being
/// the same site, and only those that changed are kept. Regions are not compared. Deltas that a
/// report carries already are not looked at.
///
/// The scale is the coarser of the two, as that is how exact the deltas are.
pub fn diff(earlier: &Report, later: &Report) -> Result<Report, DiffError> {
    let early_total = earlier.total.as_ref().ok_or(DiffError::NothingEarlier)?;
    let late_total = later.total.as_ref().ok_or(DiffError::NothingLater)?;
    let sites = if detailed(earlier) && detailed(later) { diff_sites(earlier, later) } else { Vec::new() };
    Ok(Report {
        kind: if sites.is_empty() { Kind::SummaryDiff } else { Kind::DetailDiff },
        pid: later.pid.filter(|_| earlier.pid == later.pid),
        scale: earlier.scale.max(later.scale),
        total: Some(Total {
            mapping: mapping(early_total.mapping, late_total.mapping),
            malloc: both(early_total.malloc, late_total.malloc).map(|(a, b)| allocations(a, b)),
            mmap: both(early_total.mmap, late_total.mmap).map(|(a, b)| mapping(a, b)),
        }),
        categories: diff_categories(&earlier.categories, &later.categories),
        sites,
        ..Report::default()
    })
}

fn detailed(report: &Report) -> bool {
    matches!(report.kind, Kind::Detail | Kind::DetailDiff)
}

/// In the later report's order, with the categories that went away behind.
fn diff_categories(earlier: &[Category], later: &[Category]) -> Vec<Category> {
    let mut gone: HashMap<&str, &Category> = HashMap::new();
    for category in earlier {
        gone.insert(&category.name, category);
    }
    let empty = Category::default();
    let mut changed: Vec<Category> = later
        .iter()
        .map(|category| diff_category(gone.remove(category.name.as_str()).unwrap_or(&empty), category))
        .collect();
    for category in earlier {
        if let Some(category) = gone.remove(category.name.as_str()) {
            changed.push(diff_category(
                category,
                &Category { name: category.name.clone(), ..Category::default() },
            ));
        }
    }
    changed
}

fn diff_category(a: &Category, b: &Category) -> Category {
    let overhead = (a.tracking_overhead_bytes.is_some() || b.tracking_overhead_bytes.is_some())
        .then_some((a.tracking_overhead_bytes.unwrap_or(0), b.tracking_overhead_bytes.unwrap_or(0)));
    Category {
        name: b.name.clone(),
        mapping: mapping(a.mapping, b.mapping),
        readonly_bytes: b.readonly_bytes,
        malloc: either(a.malloc, b.malloc).map(|(a, b)| allocations(a, b)),
        mmap: either(a.mmap, b.mmap).map(|(a, b)| mapping(a, b)),
        arena: either(a.arena, b.arena).map(|(a, b)| allocations(a, b)),
        stack: either(a.stack, b.stack).map(|(a, b)| mapping(a, b)),
        threads: counted(a.threads, b.threads),
        classes: counted(a.classes, b.classes),
        instance_classes: counted(a.instance_classes, b.instance_classes),
        array_classes: counted(a.array_classes, b.array_classes),
        metadata: either(a.metadata, b.metadata).map(|(a, b)| space(a, b)),
        class_space: either(a.class_space, b.class_space).map(|(a, b)| space(a, b)),
        tracking_overhead_bytes: overhead.map(|(_, b)| b),
        tracking_overhead_bytes_delta: overhead.map(|(a, b)| delta(a, b)),
    }
}

/// What makes a site the same in two reports.
type Place<'a> = (SiteKind, Option<&'a str>, &'a [Frame]);

fn place(site: &Site) -> Place<'_> {
    (site.kind, site.category.as_deref(), &site.frames)
}

fn diff_sites(earlier: &Report, later: &Report) -> Vec<Site> {
    // Frames are compared by what is printed of them; should a place occur twice, it is added up.
    let mut places: HashMap<Place<'_>, usize> = HashMap::new();
    let mut pairs: Vec<(Site, Site)> = Vec::new();
    for (report, is_later) in [(later, true), (earlier, false)] {
        for site in &report.sites {
            let index = *places.entry(place(site)).or_insert_with(|| {
                let none = Site { malloc: None, mmap: None, ..site.clone() };
                pairs.push((none.clone(), none));
                pairs.len() - 1
            });
            if let Some((early, late)) = pairs.get_mut(index) {
                add(if is_later { late } else { early }, site);
            }
        }
    }
    let mut changed: Vec<Site> =
        pairs.into_iter().filter_map(|(early, late)| diff_site(early, late)).collect();
    changed.sort_by_key(|site| std::cmp::Reverse(change_of(site).unsigned_abs()));
    changed
}

/// By how much a site's bytes changed: malloc'ed ones, or committed ones.
fn change_of(site: &Site) -> i64 {
    let malloc = site.malloc.and_then(|malloc| malloc.bytes_delta);
    malloc.or(site.mmap.and_then(|mmap| mmap.committed_bytes_delta)).unwrap_or(0)
}

fn diff_site(early: Site, late: Site) -> Option<Site> {
    let malloc = either(early.malloc, late.malloc).map(|(a, b)| allocations(a, b));
    let mmap = either(early.mmap, late.mmap).map(|(a, b)| mapping(a, b));
    let changed = malloc.is_some_and(|m| m.bytes_delta != Some(0) || m.count_delta.unwrap_or(0) != 0)
        || mmap.is_some_and(|m| m.reserved_bytes_delta != Some(0) || m.committed_bytes_delta != Some(0));
    changed.then_some(Site { malloc, mmap, ..late })
}

fn add(to: &mut Site, site: &Site) {
    if let Some(more) = site.malloc {
        let sum =
            to.malloc.get_or_insert(Allocations { count: more.count.map(|_| 0), ..Allocations::default() });
        sum.bytes = sum.bytes.saturating_add(more.bytes);
        sum.count = both(sum.count, more.count).map(|(a, b)| a.saturating_add(b));
    }
    if let Some(more) = site.mmap {
        let sum = to.mmap.get_or_insert_default();
        sum.reserved_bytes = sum.reserved_bytes.saturating_add(more.reserved_bytes);
        sum.committed_bytes = sum.committed_bytes.saturating_add(more.committed_bytes);
    }
}

fn both<T>(a: Option<T>, b: Option<T>) -> Option<(T, T)> {
    a.zip(b)
}

/// Both, with nothing for the one that is missing.
fn either<T: Default>(a: Option<T>, b: Option<T>) -> Option<(T, T)> {
    (a.is_some() || b.is_some()).then(|| (a.unwrap_or_default(), b.unwrap_or_default()))
}

/// `b - a`, at the limits of i64 where it does not fit.
fn delta(a: u64, b: u64) -> i64 {
    i64::try_from(i128::from(b) - i128::from(a)).unwrap_or(if b > a { i64::MAX } else { i64::MIN })
}

fn mapping(a: Mapping, b: Mapping) -> Mapping {
    Mapping {
        reserved_bytes_delta: Some(delta(a.reserved_bytes, b.reserved_bytes)),
        committed_bytes_delta: Some(delta(a.committed_bytes, b.committed_bytes)),
        ..b
    }
}

fn allocations(a: Allocations, b: Allocations) -> Allocations {
    // Nothing at all is no allocations; where there are bytes, a count that was not printed stays
    // unknown.
    let count = |of: Allocations| of.count.or((of.bytes == 0).then_some(0));
    let counts = both(count(a), count(b));
    Allocations {
        bytes_delta: Some(delta(a.bytes, b.bytes)),
        count: b.count.or(counts.map(|(_, b)| b)),
        count_delta: counts.map(|(a, b)| delta(a, b)),
        ..b
    }
}

fn counted(a: Option<Counted>, b: Option<Counted>) -> Option<Counted> {
    let b = b?;
    Some(Counted { count_delta: a.map(|a| delta(a.count, b.count)), ..b })
}

fn space(a: Space, b: Space) -> Space {
    let change = |a: Option<u64>, b: Option<u64>| both(a, b).map(|(a, b)| delta(a, b));
    Space {
        mapping: mapping(a.mapping, b.mapping),
        used_bytes_delta: change(a.used_bytes, b.used_bytes),
        free_bytes_delta: change(a.free_bytes, b.free_bytes),
        waste_bytes_delta: change(a.waste_bytes, b.waste_bytes),
        ..b
    }
}
