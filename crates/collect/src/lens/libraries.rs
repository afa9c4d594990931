//! The `.bss` of libraries, which looks like any other anonymous memory.

use super::{Lens, Look, Sight};
use crate::claims::Claim;
use crate::native;

/// Looks at the images of libraries.
#[derive(Debug, Default)]
pub(crate) struct LibrariesLens {
    images: native::ImageSizes,
}

impl Lens for LibrariesLens {
    fn rank(&self) -> u8 {
        2
    }

    fn claims(&mut self, look: &Look<'_>, _: &Sight) -> Vec<Claim> {
        native::bss_claims(look.target.vmas(), look.target, &mut self.images)
    }
}
