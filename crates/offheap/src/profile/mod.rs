//! Live allocation sites: the agent in the target, its live file read over a window, and the
//! profile made of that.

mod agent;
mod following;
mod frames;
pub mod launch;
pub mod lease;
pub mod live;
mod names;
mod probed;
mod series;
pub mod tree;

pub use agent::{Agent, trim};
pub use following::Following;
pub use probed::Probed;
pub use series::Window;

/// Whether this binary carries the agent.
pub fn has_agent() -> bool {
    agent_bytes() > 0
}

/// Bytes of the agent's library.
pub fn agent_bytes() -> u64 {
    agent::LIBRARY.len() as u64
}
