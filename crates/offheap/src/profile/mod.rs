//! Live allocation sites: the agent in the target, its live file read over a window, and the profile made of that.

mod agent;
mod following;
pub mod launch;
pub mod live;
mod names;
mod series;
pub mod tree;

pub use agent::{Agent, trim};
pub use following::Following;
pub use series::Window;

/// Whether this binary carries the agent.
pub fn has_agent() -> bool {
    !agent::LIBRARY.is_empty()
}

/// CLOCK_MONOTONIC in nanoseconds, which the agent's times are of.
pub fn now_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}
