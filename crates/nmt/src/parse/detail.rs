//! Regions, frames and sites.

use super::cursor::{Bad, Cursor, NOT_UNDERSTOOD};
use super::{Open, Parser, Section};
use crate::report::{CommittedRegion, Frame, MemoryFile, Region, Site, SiteKind};

impl Parser {
    /// A line that starts with a bracket: a range of addresses or a frame.
    pub(super) fn bracket(&mut self, text: &str) -> Result<(), Bad> {
        if text == "[BOOTSTRAP]" {
            // The stack of what was allocated before stacks could be walked.
            return Ok(());
        }
        let mut cursor = Cursor::new(text);
        cursor.expect("[")?;
        let start = cursor.address();
        if cursor.eat(" - ") {
            let in_map = matches!(self.section, Section::Map | Section::MemoryFiles);
            self.open = Open::Damaged;
            let end = cursor.address()?;
            cursor.expect("]")?;
            let size = end.checked_sub(start?).ok_or("the range ends before it starts")?;
            if !in_map {
                return Err("a range of addresses outside the virtual memory map");
            }
            return self.region((start?, end, size), cursor);
        }
        cursor.expect("]")?;
        let frame = frame(start?, cursor.rest());
        match self.section {
            Section::Map | Section::MemoryFiles => self.region_frame(frame),
            _ => {
                if self.frames.is_empty() {
                    self.frames_from = self.line_number;
                }
                self.frames.push(frame);
                Ok(())
            }
        }
    }

    /// `reserved and committed 4KB for Internal from`, after the range.
    fn region(&mut self, (start, end, size): (u64, u64, u64), mut cursor: Cursor<'_>) -> Result<(), Bad> {
        cursor.spaces();
        if self.section == Section::Map && cursor.eat("committed ") {
            sized(&mut cursor, size)?;
            if cursor.eat(" from") || cursor.rest().is_empty() {
                let region = self.report.regions.last_mut().ok_or("committed outside any region")?;
                region.committed_bytes =
                    region.committed_bytes.saturating_add(size).min(region.reserved_bytes);
                region.committed.push(CommittedRegion {
                    start,
                    end,
                    committed_bytes: size,
                    frames: Vec::new(),
                });
                self.open = Open::Committed;
                return cursor.end();
            }
            return Err(NOT_UNDERSTOOD);
        }
        let all_committed = cursor.eat("reserved and committed ") || cursor.eat("allocated ");
        if !all_committed {
            cursor.expect("reserved ")?;
        }
        sized(&mut cursor, size)?;
        cursor.expect(" for ")?;
        let category = cursor.rest();
        let category = category.strip_suffix(" from").unwrap_or(category).trim();
        if category.is_empty() {
            return Err(NOT_UNDERSTOOD);
        }
        let region = Region {
            start,
            end,
            category: category.to_owned(),
            reserved_bytes: size,
            committed_bytes: if all_committed { size } else { 0 },
            frames: Vec::new(),
            committed: Vec::new(),
        };
        let regions = match self.section {
            Section::MemoryFiles => {
                &mut self.report.memory_files.last_mut().ok_or("no memory map was announced")?.regions
            }
            _ => &mut self.report.regions,
        };
        regions.push(region);
        self.open = Open::Region;
        Ok(())
    }

    fn region_frame(&mut self, frame: Frame) -> Result<(), Bad> {
        let regions = match self.section {
            Section::MemoryFiles => self.report.memory_files.last_mut().map(|file| &mut file.regions),
            _ => Some(&mut self.report.regions),
        };
        let last = regions.and_then(|regions| regions.last_mut());
        let frames = match (self.open, last) {
            (Open::Region, Some(region)) => &mut region.frames,
            (Open::Committed, Some(region)) => {
                &mut region.committed.last_mut().ok_or("a frame without a region")?.frames
            }
            (Open::Damaged, _) => return Ok(()),
            _ => return Err("a frame without a region"),
        };
        frames.push(frame);
        Ok(())
    }

    /// `Memory map of NAME`.
    pub(super) fn memory_file(&mut self, text: &str) -> Result<(), Bad> {
        self.section = Section::MemoryFiles;
        self.open = Open::Nothing;
        let name = text.strip_prefix("Memory map of ").unwrap_or(text).to_owned();
        self.report.memory_files.push(MemoryFile { name, regions: Vec::new() });
        Ok(())
    }

    /// `(1436 call sites weighting less than 1KB each omitted.)`.
    pub(super) fn omitted_sites(&mut self, text: &str) -> Result<(), Bad> {
        let mut cursor = Cursor::new(text);
        cursor.expect("(")?;
        let omitted = cursor.number()?;
        cursor.expect(" call sites")?;
        self.report.omitted_sites = omitted;
        Ok(())
    }

    /// The figures of a site: they come after its frames.
    pub(super) fn site(&mut self, text: &str) -> Result<(), Bad> {
        let frames = std::mem::take(&mut self.frames);
        let mut cursor = Cursor::new(text);
        let mut site = Site { kind: SiteKind::Malloc, category: None, malloc: None, mmap: None, frames };
        cursor.expect("(")?;
        if cursor.eat("mmap: ") || cursor.rest().starts_with("reserved=") {
            let (mmap, unit) = cursor.mapping()?;
            self.scale(unit);
            site.kind = SiteKind::Mmap;
            site.mmap = Some(mmap);
            site.category = cursor.tag()?.map(str::to_owned);
            cursor.expect(")")?;
        } else {
            // JDK 25 wraps figures and peak in parentheses of their own.
            let wrapped = cursor.eat("(");
            let named = cursor.eat("malloc=");
            let (mut malloc, tag) = cursor.allocations()?;
            cursor.expect(")")?;
            cursor.peak(&mut malloc)?;
            if wrapped {
                cursor.expect(")")?;
            }
            // Diffs leave out the words "malloc" and "type" for the category Thread.
            site.category = tag.or((!named).then_some("Thread")).map(str::to_owned);
            site.malloc = Some(malloc);
        }
        cursor.end()?;
        self.report.sites.push(site);
        Ok(())
    }
}

/// The size that a range's line states. It is rounded to the scale, so it may differ by one unit.
fn sized(cursor: &mut Cursor<'_>, size: u64) -> Result<(), Bad> {
    let stated = cursor.amount()?;
    if stated.bytes.abs_diff(size) > stated.unit.bytes() {
        return Err("the size is not that of the range");
    }
    Ok(())
}

/// What follows a frame's address: nothing, or `symbol+0xOFFSET`, perhaps ` in libX.so`, perhaps `
/// (file.cpp:123)`.
fn frame(address: u64, text: &str) -> Frame {
    let text = text.trim();
    let mut frame = Frame { address, ..Frame::default() };
    let name = match text.rsplit_once("+0x") {
        Some((name, tail)) => {
            let mut cursor = Cursor::new(tail);
            let digits = cursor.hex_digits();
            frame.offset = u64::from_str_radix(digits, 16).ok();
            cursor.spaces();
            if cursor.eat("in ") {
                frame.module = cursor.rest().split_whitespace().next().map(str::to_owned);
            }
            name
        }
        None => match text.strip_prefix("in ") {
            Some(module) => {
                frame.module = module.split_whitespace().next().map(str::to_owned);
                ""
            }
            None => text,
        },
    };
    frame.name = Some(name.trim()).filter(|name| !name.is_empty()).map(str::to_owned);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_all_jdks() {
        let old = frame(1, " JavaMain+0x8f");
        assert_eq!((old.name.as_deref(), old.offset, old.module), (Some("JavaMain"), Some(0x8f), None));
        let new = frame(1, "JavaMain+0x8b in libjli.so");
        assert_eq!(
            (new.name.as_deref(), new.offset, new.module.as_deref()),
            (Some("JavaMain"), Some(0x8b), Some("libjli.so"))
        );
        let plus = frame(1, "operator+(Foo const&, int)+0x10   (foo.cpp:12)");
        assert_eq!((plus.name.as_deref(), plus.offset), (Some("operator+(Foo const&, int)"), Some(0x10)));
        let stripped = frame(1, "");
        assert_eq!((stripped.name, stripped.offset), (None, None));
    }
}
