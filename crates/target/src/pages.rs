//! Pages, and which of them hold something.

/// What a run of pages is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageKind {
    /// Mapped by the process; counted in its RSS.
    Present,
    /// In swap.
    Swapped,
}

/// Neighbouring pages of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// What they are.
    pub kind: PageKind,
}
