//! Direct buffers found in the Java heap: objects of `java.nio.DirectByteBuffer`, told by their
//! header.
//!
//! Bits doesn't count all of them: from JDK 25 NIO's temporary buffers are hidden from it, and
//! libraries make buffers over memory of their own.

use crate::classes::{BUFFER, DIRECT_BUFFER, KnownClasses};
use crate::heap::Part;
use crate::oops::Oops;
use crate::scan;
use crate::target::{Peek, word};
use crate::vm::Vm;
use crate::{DirectBuffer, DirectBuffers};
use std::collections::BTreeMap;

/// Buffers kept.
const MAX_BUFFERS: usize = 1_000_000;

/// Where a buffer keeps what is asked for.
struct Layout {
    address: u64,
    capacity: u64,
    limit: u64,
    position: u64,
    /// The buffer this one is a view of.
    attachment: Option<u64>,
    header: (u64, u64, u64),
}

/// Reads the resident part of the heap, at most `budget` bytes of it.
pub(crate) fn find(
    vm: &Vm<'_>,
    oops: &Oops,
    known: &mut KnownClasses,
    heap: &[Part],
    budget: u64,
) -> DirectBuffers {
    let mut result = DirectBuffers::default();
    if known.klass(DIRECT_BUFFER).is_none() {
        return result;
    }
    let Some(layout) = layout(vm, oops, known) else {
        result.incomplete = Some("the layout of java.nio.DirectByteBuffer could not be read".to_owned());
        return result;
    };
    let mut found = BTreeMap::new();
    let read = scan::each_chunk(vm, heap, budget, |_, chunk, starts| {
        look(vm, oops, &layout, chunk, starts, &mut found);
    });
    (result.scanned, result.incomplete) = (read.bytes, read.incomplete);
    result.buffers =
        found.into_iter().map(|(address, capacity)| DirectBuffer { address, capacity }).collect();
    result
}

fn layout(vm: &Vm<'_>, oops: &Oops, known: &mut KnownClasses) -> Option<Layout> {
    let header = oops.header.pattern(known.klass(DIRECT_BUFFER)?)?;
    let mut offset =
        |class, field| known.field(vm, class, field).map(|field| field.offset).filter(|at| *at < 128);
    Some(Layout {
        address: offset(BUFFER, "address")?,
        capacity: offset(BUFFER, "capacity")?,
        limit: offset(BUFFER, "limit")?,
        position: offset(BUFFER, "position")?,
        attachment: offset(DIRECT_BUFFER, "att"),
        header,
    })
}

/// Looks at each word-aligned place in the first `starts` bytes of `chunk`.
fn look(
    vm: &Vm<'_>,
    oops: &Oops,
    layout: &Layout,
    chunk: &[u8],
    starts: usize,
    found: &mut BTreeMap<u64, u64>,
) {
    let (offset, mask, value) = layout.header;
    let at = |object: usize, offset: u64| -> Option<u64> {
        let start = object.checked_add(offset as usize)?;
        chunk.get(start..start.checked_add(8)?).map(word)
    };
    let int = |object: usize, offset: u64| at(object, offset).map(|word| i64::from(word as u32 as i32));
    for object in (0..starts.min(chunk.len())).step_by(8) {
        if at(object, offset).is_none_or(|word| word & mask != value) || found.len() >= MAX_BUFFERS {
            continue;
        }
        let looked_at = (|| {
            let attachment = match layout.attachment {
                Some(field) => oops.has_reference(at(object, field)?),
                None => false,
            };
            let [position, limit, capacity] =
                [int(object, layout.position)?, int(object, layout.limit)?, int(object, layout.capacity)?];
            let address = at(object, layout.address)?;
            let is_buffer =
                0 <= position && position <= limit && limit <= capacity && capacity > 0 && !attachment;
            is_buffer.then_some((address, capacity as u64))
        })();
        if let Some((address, capacity)) = looked_at
            && address.checked_add(capacity).is_some_and(|end| vm.target.is_mapped(address, end))
        {
            let largest = found.entry(address).or_insert(capacity);
            *largest = capacity.max(*largest);
        }
    }
}
