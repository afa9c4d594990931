//! What chunks of one size seem to hold: a look at the first words of a few of them.

use crate::glibc::Sizes;
use crate::{ContentHint, SizeClass};
use offheap_target::{Reads, Target, Vma, image_of};
use std::collections::HashMap;

/// How many of the largest classes are looked into.
const CLASSES: usize = 16;
/// Bytes looked at behind a chunk's header.
const LOOKED_AT: usize = 64;
/// Text shorter than this may be chance.
const LEAST_TEXT: usize = 8;
/// Letters of text that are shown.
const MOST_TEXT: usize = 40;
/// From the symbol of a vtable to where objects point (Itanium C++ ABI, 2.5.2): the offset to top
/// and the type come first.
const VTABLE_HEAD: u64 = 16;

/// The vtables of the modules that were asked for, by address.
#[derive(Debug, Default)]
pub(crate) struct Vtables(HashMap<String, Vec<(u64, u64, String)>>);

/// Fills in the hints of the largest classes.
pub(crate) fn fill(memory: &dyn Target, classes: &mut [SizeClass], sizes: &Sizes, vtables: &mut Vtables) {
    for class in classes.iter_mut().filter(|class| class.chunk_bytes > 0).take(CLASSES) {
        let hints: Vec<ContentHint> =
            sizes.samples(class.chunk_bytes).filter_map(|chunk| look(memory, chunk, vtables)).collect();
        class.hint = most_common(&hints);
    }
}

/// The kind of hint that more than half of the samples give; one sample tells nothing.
fn most_common(hints: &[ContentHint]) -> Option<ContentHint> {
    let alike = |a: &ContentHint, b: &ContentHint| {
        a == b || matches!((a, b), (ContentHint::Text(_), ContentHint::Text(_)))
    };
    hints
        .iter()
        .find(|hint| hints.iter().filter(|other| alike(hint, other)).count() * 2 > hints.len().max(2))
        .cloned()
}

fn look(memory: &dyn Target, chunk: u64, vtables: &mut Vtables) -> Option<ContentHint> {
    let mut bytes = [0; LOOKED_AT];
    // The chunk's own bytes only: a small one ends sooner.
    let size = (memory.u64(chunk.checked_add(8)?).ok()? & !7).saturating_sub(8).min(LOOKED_AT as u64);
    let bytes = bytes.get_mut(..size as usize)?;
    memory.read(chunk + 16, bytes).ok()?;
    if let Some(module) =
        bytes.first_chunk::<8>().and_then(|word| module_at(memory, u64::from_le_bytes(*word)))
    {
        let pointer = bytes.first_chunk::<8>().map_or(0, |word| u64::from_le_bytes(*word));
        let file = module.path.rsplit('/').next().unwrap_or_default().to_owned();
        return Some(match vtables.type_at(memory, module, pointer) {
            Some(name) => ContentHint::Vtable(name),
            None => ContentHint::PointerInto(file),
        });
    }
    if bytes.iter().all(|byte| *byte == 0) {
        return Some(ContentHint::Zero);
    }
    let text = bytes.split(|byte| *byte == 0).next()?;
    let text = std::str::from_utf8(text).ok().or_else(|| {
        // The last letter may be cut in two.
        std::str::from_utf8(text.get(..text.len().checked_sub(3)?)?).ok()
    })?;
    let printable = text.len() >= LEAST_TEXT && text.chars().all(|c| !c.is_control() || c.is_whitespace());
    printable.then(|| ContentHint::Text(text.chars().take(MOST_TEXT).collect()))
}

/// The mapped file that `pointer` leads into.
fn module_at(memory: &dyn Target, pointer: u64) -> Option<&Vma> {
    memory
        .vma(pointer)
        .filter(|vma| vma.path.starts_with('/') && (vma.path.contains(".so") || has_code(memory, vma)))
}

fn has_code(memory: &dyn Target, vma: &Vma) -> bool {
    memory.vmas().iter().any(|other| other.exec && other.path == vma.path)
}

impl Vtables {
    /// The type of objects that point to `address` in `module`.
    fn type_at(&mut self, memory: &dyn Target, module: &Vma, address: u64) -> Option<String> {
        if module.exec {
            return None;
        }
        let tables = self
            .0
            .entry(module.path.clone())
            .or_insert_with(|| tables(memory, &module.path).unwrap_or_default());
        let after = tables.partition_point(|(start, _, _)| start.saturating_add(VTABLE_HEAD) <= address);
        let (start, size, name) = tables.get(after.checked_sub(1)?)?;
        if address - start >= (*size).max(VTABLE_HEAD + 1) {
            return None;
        }
        let demangled = offheap_demangle::demangle(name)?;
        let inner = demangled.strip_prefix("{vtable(").and_then(|rest| rest.strip_suffix(")}"));
        Some(inner.or(demangled.strip_prefix("vtable for ")).unwrap_or(&demangled).to_owned())
    }
}

/// Address, size and symbol of every vtable of the module at `path`, ascending.
fn tables(memory: &dyn Target, path: &str) -> Option<Vec<(u64, u64, String)>> {
    let first = image_of(memory.vmas(), |vma| vma.path == path)?;
    let elf = memory.elf_at_wanted(first.start, |name| name.starts_with("_ZTV"))?;
    let bias = elf.load_bias(first.start);
    let mut tables: Vec<(u64, u64, String)> = elf
        .symbols()
        .map(|(name, symbol)| (bias.wrapping_add(symbol.address), symbol.size, name.to_owned()))
        .collect();
    tables.sort_unstable();
    Some(tables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_samples_must_agree() {
        let text = |text: &str| ContentHint::Text(text.to_owned());
        assert_eq!(most_common(&[text("a"), text("b"), ContentHint::Zero]), Some(text("a")));
        assert_eq!(most_common(&[text("a"), ContentHint::Zero]), None);
        assert_eq!(most_common(&[text("a")]), None);
        assert_eq!(most_common(&[ContentHint::Zero, ContentHint::Zero]), Some(ContentHint::Zero));
    }
}
