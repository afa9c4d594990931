//! What to do to be sure of growth that is still open: a type for programs, a sentence for people.

use offheap_model::{Next, units};
use std::fmt;

/// What to do next. Its words complete "To be sure, …" and stand alone among a finding's
/// confirmations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum NextStep {
    /// Have the process with this id collect: nothing else tells a leak from garbage.
    Collect(i32),
    /// Apply the load once more that the growth stopped with.
    LoadAgain,
    /// Watch this many seconds more: what fills stops.
    WatchWhatFills(f64),
    /// Watch this many seconds more: too little was seen.
    WatchMore(f64),
    /// Watch a window of this many seconds: the growth is not the same everywhere.
    Window(f64),
    /// Watch the Java heap until all of it was collected.
    WatchTheHeap,
    /// Diagnose the process with this id for three minutes: its collections did not tell.
    DiagnoseLonger(i32),
    /// Ask what of the process with this id can't be seen.
    Doctor(i32),
}

impl NextStep {
    /// The same for a program; `None` where a window of the usual length does.
    pub fn as_next(self) -> Option<Next> {
        match self {
            NextStep::Collect(_) => Some(Next::Collect),
            _ => None,
        }
    }
}

impl fmt::Display for NextStep {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            NextStep::Collect(pid) => {
                write!(out, "run `jcmd {pid} GC.run` and look again: what is still there after it is in use")
            }
            NextStep::LoadAgain => out.write_str(
                "apply the same load again: a leak goes on from where it stopped, a cache is used again",
            ),
            NextStep::WatchWhatFills(seconds) => {
                write!(
                    out,
                    "watch for {} more: what fills stops, what leaks does not",
                    units::duration(seconds)
                )
            }
            NextStep::WatchMore(seconds) => write!(out, "watch for {} more", units::duration(seconds)),
            NextStep::Window(seconds) => {
                write!(out, "a window of about {} would tell", units::duration(seconds))
            }
            NextStep::WatchTheHeap => {
                out.write_str("watch until the heap has been collected fully, or for ten minutes")
            }
            NextStep::DiagnoseLonger(pid) => {
                write!(out, "watch for three minutes: offheap diagnose {pid} --for 180s")
            }
            NextStep::Doctor(pid) => write!(out, "see what `offheap doctor {pid}` says it can't see"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_collection_is_asked_of_a_program_whatever_the_words_are() {
        let steps = [
            NextStep::LoadAgain,
            NextStep::WatchWhatFills(60.0),
            NextStep::WatchMore(60.0),
            NextStep::Window(120.0),
            NextStep::WatchTheHeap,
            NextStep::DiagnoseLonger(7),
            NextStep::Doctor(7),
        ];
        assert_eq!(NextStep::Collect(7).as_next(), Some(Next::Collect));
        assert!(steps.iter().all(|step| step.as_next().is_none()));
        let words: Vec<String> = steps.iter().map(ToString::to_string).collect();
        assert_eq!(words[2], "watch for 1 min more");
        assert!(words.iter().all(|words| !words.ends_with('.') && !words.is_empty()));
    }
}
