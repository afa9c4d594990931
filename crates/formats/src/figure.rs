//! The figure of a site that a format with room for only one shows.

use offheap_model::{Profile, ProfileSite};

/// A figure of a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Figure {
    /// Live bytes older than the window's tail.
    LeakBytes,
    /// Live bytes.
    LiveBytes,
    /// Live blocks.
    LiveCount,
    /// Bytes allocated, freed or not.
    AllocatedBytes,
    /// Blocks allocated, freed or not.
    AllocatedCount,
}

impl Figure {
    /// Every figure, in the order of the writers.
    pub const ALL: [Figure; 5] = [
        Figure::LeakBytes,
        Figure::LiveBytes,
        Figure::LiveCount,
        Figure::AllocatedBytes,
        Figure::AllocatedCount,
    ];

    /// Its value at `site`.
    pub fn of(self, site: &ProfileSite) -> u64 {
        match self {
            Figure::LeakBytes => site.leak_bytes,
            Figure::LiveBytes => site.live_bytes,
            Figure::LiveCount => site.live_count,
            Figure::AllocatedBytes => site.allocated_bytes,
            Figure::AllocatedCount => site.allocated_count,
        }
    }

    /// Its place in `site`.
    pub(crate) fn of_mut(self, site: &mut ProfileSite) -> &mut u64 {
        match self {
            Figure::LeakBytes => &mut site.leak_bytes,
            Figure::LiveBytes => &mut site.live_bytes,
            Figure::LiveCount => &mut site.live_count,
            Figure::AllocatedBytes => &mut site.allocated_bytes,
            Figure::AllocatedCount => &mut site.allocated_count,
        }
    }

    /// The figure that says most of `profile`: leaked bytes where it knows any, else live, else
    /// allocated.
    pub fn best(profile: &Profile) -> Figure {
        let has = |figure: Figure| profile.sites.iter().any(|site| figure.of(site) > 0);
        [Figure::LeakBytes, Figure::LiveBytes, Figure::AllocatedBytes, Figure::LiveCount]
            .into_iter()
            .find(|figure| has(*figure))
            .unwrap_or(Figure::LiveBytes)
    }

    /// In words.
    pub fn title(self) -> &'static str {
        match self {
            Figure::LeakBytes => "leaked bytes",
            Figure::LiveBytes => "live bytes",
            Figure::LiveCount => "live blocks",
            Figure::AllocatedBytes => "allocated bytes",
            Figure::AllocatedCount => "allocated blocks",
        }
    }

    /// True where it counts bytes, not blocks.
    pub fn is_bytes(self) -> bool {
        !matches!(self, Figure::LiveCount | Figure::AllocatedCount)
    }
}
