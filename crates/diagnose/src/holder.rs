//! Who holds what leaks: the static field or thread that the objects are reached from, where the
//! references were followed.

use crate::evidence::Evidence;
use crate::series::Key;
use offheap_model::{Domain, Evidence as Observation, Finding, Holder, Status, units};

/// Owners that became more must be at least this many to be those of what grows.
/// Unit: objects.
const LEAST_OWNERS: f64 = 10.0;

/// Adds the holder to a leak of memory that belongs to Java objects.
pub(crate) fn attach(finding: &mut Finding, evidence: &Evidence<'_>) {
    let Some((_, reach)) = evidence.last_reach().filter(|_| finding.status == Status::Leak) else { return };
    let most = |holder: &Option<Holder>, of: u64| holder.clone().filter(|holder| 2 * holder.amount >= of);
    let (holder, amount) = match finding.domain {
        Some(Domain::DirectMemory) => {
            let Some(holder) = most(&reach.direct_holder, reach.direct_in_use_bytes) else { return };
            let amount = format!("{} of the buffers", units::bytes(holder.amount));
            (holder, amount)
        }
        Some(Domain::NativeMalloc | Domain::Malloc | Domain::MappedFiles) => {
            let looks = evidence.series(&Key::OwnersInUse);
            let more = looks.map_or(0.0, |looks| looks.last() - looks.first());
            let Some(holder) = most(&reach.owners_holder, reach.owners_in_use) else { return };
            if more < LEAST_OWNERS || (holder.amount as f64) < more / 2.0 {
                return;
            }
            let amount = format!("{} objects that own native memory", holder.amount);
            (holder, amount)
        }
        _ => return,
    };
    if !finding.summary.contains(&holder.what) {
        finding.summary.push_str(&format!(" Held by {}.", holder.what));
    }
    finding.evidence.push(Observation {
        text: format!("{amount} are held by {}", holder.what),
        source: "the references on the Java heap".to_owned(),
    });
}
