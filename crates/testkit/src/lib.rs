//! What tests need to drive real JVMs and C programs: where the JDKs are, building a source,
//! starting a program and waiting until it is ready; and the storms, limits and frozen disks that
//! `cargo xtask soak` and the tests judge offheap by. Everything panics with a reason: a test that
//! can't start its program has failed.

pub mod beside;
pub mod clock;
pub mod damaged;
mod ended;
pub mod exits;
pub mod frozen;
mod jdk;
pub mod killed;
pub mod near;
mod program;
pub mod storm;
pub mod tables;
#[cfg(not(test))]
pub mod unwind;

pub use ended::{Ended, run_within};
pub use jdk::{Jdk, home, jdks};
pub use program::{Program, build_c, build_harm, build_harm_java, build_java, harm, offheap, workspace};

/// The newest runtime here of that feature release.
///
/// # Panics
/// When there is none.
pub fn jdk(feature: u32) -> &'static Jdk {
    let found = jdks().iter().rfind(|jdk| jdk.feature == feature);
    found.unwrap_or_else(|| panic!("JDK {feature} is not here; run: cargo xtask setup"))
}

/// Whether this process is root; where it is not, says that `what` is not tested.
pub fn is_root(what: &str) -> bool {
    // SAFETY: asks for a number.
    let root = unsafe { libc::geteuid() } == 0;
    if !root {
        eprintln!("NOT TESTED: {what} needs root");
    }
    root
}
