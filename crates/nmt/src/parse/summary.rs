//! Totals and categories, of reports and of diffs.

use super::cursor::{Bad, Cursor, NOT_UNDERSTOOD};
use super::{Open, Parser, Section};
use crate::report::{Allocations, Category, Counted, Space, Total};

/// What stands for the dash before a category where the text went through a word processor, a wiki
/// or Markdown.
const BULLETS: [char; 8] = ['•', '*', '·', '–', '—', '−', '‐', ' '];

impl Parser {
    /// A line of the summary.
    pub(super) fn summary(&mut self, text: &str) -> Result<(), Bad> {
        if let Some(total) = text.strip_prefix("Total:") {
            return self.total(total);
        }
        if let Some(category) = text.strip_prefix('-') {
            return self.category(category);
        }
        // A ticket may have made another bullet of the dash, or none.
        let bare = text.trim_start_matches(BULLETS);
        if bare.starts_with(|c: char| c.is_ascii_alphabetic()) && bare.contains(" (reserved=") {
            return self.category(bare);
        }
        match self.open {
            Open::Damaged => Ok(()),
            Open::Total => self.total_part(text),
            Open::Category | Open::Metadata | Open::ClassSpace => self.category_part(text),
            _ => Err(NOT_UNDERSTOOD),
        }
    }

    /// `(Omitting categories weighting less than 1KB)`.
    pub(super) fn omitting(&mut self, text: &str) -> Result<(), Bad> {
        let mut cursor = Cursor::new(text);
        cursor.until(" less than ").ok_or(NOT_UNDERSTOOD)?;
        let amount = cursor.amount()?;
        cursor.expect(")")?;
        self.scale(amount.unit);
        cursor.end()
    }

    /// `reserved=1833561KB +12KB, committed=451489KB`.
    fn total(&mut self, text: &str) -> Result<(), Bad> {
        self.open = Open::Damaged;
        self.section = Section::Summary;
        let mut cursor = Cursor::new(text);
        let (mapping, unit) = cursor.mapping()?;
        cursor.end()?;
        self.scale(unit);
        self.report.total = Some(Total { mapping, malloc: None, mmap: None });
        self.open = Open::Total;
        self.after_total = true;
        Ok(())
    }

    /// `malloc: 127105KB #66455, peak=…` (in diffs: `malloc=…`) or `mmap:   reserved=…,
    /// committed=…`.
    fn total_part(&mut self, text: &str) -> Result<(), Bad> {
        let mut cursor = Cursor::new(text);
        let total = self.report.total.as_mut().ok_or(NOT_UNDERSTOOD)?;
        if cursor.eat("malloc:") || cursor.eat("malloc=") {
            cursor.spaces();
            let (mut malloc, _) = cursor.allocations()?;
            if cursor.eat(", peak=") {
                cursor.peak_figures(&mut malloc)?;
            }
            cursor.end()?;
            total.malloc = Some(malloc);
            Ok(())
        } else if cursor.eat("mmap:") {
            let (mmap, _) = cursor.mapping()?;
            cursor.end()?;
            total.mmap = Some(mmap);
            Ok(())
        } else {
            Err(NOT_UNDERSTOOD)
        }
    }

    /// `                 Java Heap (reserved=262144KB, committed=262144KB)`, after the dash.
    fn category(&mut self, text: &str) -> Result<(), Bad> {
        self.open = Open::Damaged;
        self.section = Section::Summary;
        let mut cursor = Cursor::new(text);
        let name = cursor.name()?;
        cursor.expect("(")?;
        let (mapping, unit) = cursor.mapping()?;
        let readonly_bytes = if cursor.eat(", readonly=") { Some(cursor.amount()?.bytes) } else { None };
        cursor.expect(")")?;
        cursor.end()?;
        self.scale(unit);
        self.report.categories.push(Category {
            name: name.to_owned(),
            mapping,
            readonly_bytes,
            ..Category::default()
        });
        self.open = Open::Category;
        Ok(())
    }

    /// A line in parentheses below a category.
    fn category_part(&mut self, text: &str) -> Result<(), Bad> {
        let mut cursor = Cursor::new(text);
        // JDK 17 to 21 print `: (  Metadata)` in diffs.
        if cursor.eat(":") {
            cursor.spaces();
        }
        cursor.expect("(")?;
        cursor.spaces();
        let category = self.report.categories.last_mut().ok_or(NOT_UNDERSTOOD)?;
        match cursor.rest() {
            "Metadata:   )" | "Metadata)" => {
                self.open = Open::Metadata;
                return Ok(());
            }
            "Class space:)" | "Class space)" => {
                self.open = Open::ClassSpace;
                return Ok(());
            }
            _ => {}
        }
        let space = match self.open {
            Open::Metadata => Some(&mut category.metadata),
            Open::ClassSpace => Some(&mut category.class_space),
            _ => None,
        };
        if let Some(space) = space {
            if cursor.rest().starts_with("reserved=") {
                let (mapping, _) = cursor.mapping()?;
                cursor.expect(")")?;
                cursor.end()?;
                *space = Some(Space { mapping, ..Space::default() });
                return Ok(());
            }
            if ["used=", "free=", "waste="].iter().any(|key| cursor.rest().starts_with(key)) {
                // Without the line before it, which was bad then, there is no space to speak of.
                if let Some(space) = space {
                    *space = space_part(*space, cursor)?;
                }
                return Ok(());
            }
            self.open = Open::Category;
        }
        add_part(category, read_part(cursor)?);
        Ok(())
    }
}

/// A metaspace with what a line adds to it.
fn space_part(mut space: Space, mut cursor: Cursor<'_>) -> Result<Space, Bad> {
    let (bytes, delta) = if cursor.eat("used=") {
        (&mut space.used_bytes, &mut space.used_bytes_delta)
    } else if cursor.eat("free=") {
        (&mut space.free_bytes, &mut space.free_bytes_delta)
    } else {
        cursor.expect("waste=")?;
        (&mut space.waste_bytes, &mut space.waste_bytes_delta)
    };
    let amount = cursor.amount()?;
    *bytes = Some(amount.bytes);
    if cursor.eat(" =") {
        // `19.11%`, with a comma in some locales, or `nan`: it follows from the other figures.
        cursor.until("%").ok_or(NOT_UNDERSTOOD)?;
    }
    *delta = cursor.delta(amount.unit)?;
    cursor.expect(")")?;
    cursor.end()?;
    Ok(space)
}

/// What a line says about its category, in a category of its own: a line counts whole or not at
/// all.
fn read_part(mut cursor: Cursor<'_>) -> Result<Category, Bad> {
    let mut part = Category::default();
    if cursor.eat("malloc=") {
        part.malloc = Some(allocations(&mut cursor)?);
        cursor.end()?;
        return Ok(part);
    } else if cursor.eat("arena=") {
        part.arena = Some(allocations(&mut cursor)?);
        cursor.end()?;
        return Ok(part);
    } else if cursor.eat("mmap:") {
        part.mmap = Some(cursor.mapping()?.0);
    } else if cursor.eat("stack:") {
        part.stack = Some(cursor.mapping()?.0);
    } else if cursor.eat("threads") || cursor.eat("thread") {
        // JDK 17 prints `(thread #0)` in diffs; no JVM runs without threads.
        part.threads = Some(counted(&mut cursor)?).filter(|threads| threads.count > 0);
    } else if cursor.eat("classes") {
        part.classes = Some(counted(&mut cursor)?);
    } else if cursor.eat("instance classes") {
        part.instance_classes = Some(counted(&mut cursor)?);
        cursor.expect(", array classes")?;
        part.array_classes = Some(counted(&mut cursor)?);
    } else if cursor.eat("tracking overhead=") {
        let amount = cursor.amount()?;
        part.tracking_overhead_bytes = Some(amount.bytes);
        part.tracking_overhead_bytes_delta = cursor.delta(amount.unit)?;
    } else {
        return Err(NOT_UNDERSTOOD);
    }
    cursor.expect(")")?;
    cursor.end()?;
    Ok(part)
}

/// Adds what a line says to its category.
fn add_part(category: &mut Category, part: Category) {
    category.malloc = sum(category.malloc, part.malloc);
    category.arena = sum(category.arena, part.arena);
    category.mmap = part.mmap.or(category.mmap);
    category.stack = part.stack.or(category.stack);
    category.threads = part.threads.or(category.threads);
    category.classes = part.classes.or(category.classes);
    category.instance_classes = part.instance_classes.or(category.instance_classes);
    category.array_classes = part.array_classes.or(category.array_classes);
    if part.tracking_overhead_bytes.is_some() {
        category.tracking_overhead_bytes = part.tracking_overhead_bytes;
        category.tracking_overhead_bytes_delta = part.tracking_overhead_bytes_delta;
    }
}

fn allocations(cursor: &mut Cursor<'_>) -> Result<Allocations, Bad> {
    let (mut allocations, _) = cursor.allocations()?;
    cursor.expect(")")?;
    cursor.peak(&mut allocations)?;
    Ok(allocations)
}

fn counted(cursor: &mut Cursor<'_>) -> Result<Counted, Bad> {
    cursor.count()?.ok_or(NOT_UNDERSTOOD)
}

/// From JDK 25 on a malloc line names a tag, so a category can have several of them. Peaks don't
/// add up.
fn sum(one: Option<Allocations>, other: Option<Allocations>) -> Option<Allocations> {
    let (Some(a), Some(b)) = (one, other) else { return one.or(other) };
    let add = |a: Option<u64>, b: Option<u64>| Some(a?.saturating_add(b?));
    let add_signed = |a: Option<i64>, b: Option<i64>| match (a, b) {
        (None, None) => None,
        _ => Some(a.unwrap_or(0).saturating_add(b.unwrap_or(0))),
    };
    Some(Allocations {
        bytes: a.bytes.saturating_add(b.bytes),
        bytes_delta: add_signed(a.bytes_delta, b.bytes_delta),
        count: add(a.count, b.count),
        count_delta: add_signed(a.count_delta, b.count_delta),
        peak_bytes: None,
        peak_count: None,
    })
}
