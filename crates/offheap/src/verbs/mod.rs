//! One file a verb: its arguments, and the way from them to the crates that do the work.

pub mod check;
pub mod convert;
pub mod demo;
pub mod diagnose;
pub mod diff;
pub mod doctor;
pub mod fit;
pub mod handles;
pub mod jcmd;
pub mod map;
pub mod mark;
pub mod nmt;
pub mod profile;
pub mod ps;
pub mod python;
pub mod record;
pub mod report;
pub mod run;
pub mod serve;
pub mod trim;
pub mod watch;
