//! `java.nio.Bits`: direct buffers as the JDK counts them, read from the static fields of the
//! class.

use crate::Direct;
use crate::classes::{ATOMIC_LONG, BITS, KnownClasses, mirror};
use crate::oops::Oops;
use crate::target::Peek;
use crate::vm::Vm;

/// The first release whose NIO keeps its temporary buffers out of Bits (measured: 21 counts them,
/// 25 does not).
const HIDES_TEMPORARY: u32 = 25;

/// Reads the counters; `None` where the class is not loaded.
pub(crate) fn read(vm: &Vm<'_>, oops: &Oops, known: &mut KnownClasses, feature: u32) -> Option<Direct> {
    let mirror = mirror(vm, oops, known.klass(BITS)?)?;
    let value = known.field(vm, ATOMIC_LONG, "value")?.offset;
    let fields = known.fields(vm, BITS)?.clone();
    // RESERVED_MEMORY from 9, reservedMemory in 8; an AtomicLong or, for the limit, a plain long.
    let counter = |name: &str| -> Option<u64> {
        let field = fields
            .iter()
            .find(|(field, _)| field.replace('_', "").eq_ignore_ascii_case(name))
            .map(|(_, field)| field)
            .filter(|field| field.is_static)?;
        let place = mirror.checked_add(field.offset)?;
        match field.signature.as_str() {
            "J" => vm.target.u64(place),
            "Ljava/util/concurrent/atomic/AtomicLong;" => {
                vm.target.u64(oops.field(vm, place)?.checked_add(value)?)
            }
            _ => None,
        }
    };
    Some(Direct {
        count: counter("count")?,
        reserved: counter("reservedMemory")?,
        capacity: counter("totalCapacity")?,
        max: counter("maxMemory")?,
        hides_temporary: feature >= HIDES_TEMPORARY,
    })
}
