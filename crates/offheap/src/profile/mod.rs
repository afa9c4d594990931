//! Live allocation sites: the agent in the target, its live file read over a window, and the profile made of that.

mod agent;
mod names;
mod series;

pub use agent::Agent;
pub use series::Window;
