//! What tests need to drive real JVMs and C programs: where the JDKs are, building a source, starting a program and waiting
//! until it is ready. Everything panics with a reason: a test that can't start its program has failed.

mod jdk;
mod program;

pub use jdk::{Jdk, jdks};
pub use program::{Program, build_c, build_java, offheap, workspace};
