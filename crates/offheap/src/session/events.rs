//! What a session says as it goes: typed, and its words in one place.

use super::pauses::in_words;
use offheap_model::units::{bytes, duration, rate};
use offheap_model::{Domain, Status};
use std::fmt;
use std::time::Duration;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Something needs code, and the search for it starts.
    Searching {
        /// What made it necessary.
        why: Why,
        /// Whether the agent is loaded; a process without a JVM is probed.
        agent: bool,
    },
    /// The search has something to say.
    Search(SearchProgress),
    /// The JVM counts its objects by class.
    Counting {
        /// A second time, to tell which became more.
        again: bool,
        /// How long that is expected to stop it, where it is known.
        pause: Option<Duration>,
    },
    /// It has counted them, and stood still for at most this long.
    Counted(Duration),
    /// They are not counted, though a flag of the user's would allow it.
    NotCounted(TooLong),
    /// The JVM runs a full collection.
    Collecting {
        /// What for.
        purpose: Purpose,
        /// How long that is expected to stop it, where it is known.
        pause: Option<Duration>,
    },
    /// What became of it.
    Collected(Collected),
    /// None is run, though a flag of the user's would allow it.
    NotCollected(TooLong),
    /// The verdict is certain before the window ends.
    Certain {
        /// What it is.
        status: Status,
        /// The rule's name.
        cause: String,
        /// Bytes per second.
        per_s: f64,
        /// How sure, from 0 to 1.
        confidence: f64,
        /// The code that is to answer, where it is known.
        place: Option<String>,
    },
}

/// What makes a search for code necessary.
#[derive(Debug, Clone, PartialEq)]
pub enum Why {
    /// The user asked for it.
    Asked,
    /// A domain seems to grow, by so many bytes per second.
    Seems(Domain, f64),
    /// The verdict as it stands has this cause.
    Grows(String),
}

/// What a collection is to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A leak from garbage.
    Garbage,
    /// Which of the sampled objects stay.
    Objects,
}

/// What became of a collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Collected {
    /// It took this long, until the reply.
    Took(Duration),
    /// The JVM said this in place of collecting.
    Said(String),
    /// It could not be asked.
    Failed(String),
}

/// Why the JVM is not stopped for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooLong {
    /// It is expected to take longer than it may.
    Longer {
        /// Expected.
        pause: Duration,
        /// Allowed.
        most: Duration,
    },
    /// How long it would take can't be told.
    Unknown,
}

/// How the search for code goes.
#[derive(Debug, Clone, PartialEq)]
pub enum SearchProgress {
    /// The agent is in the process, after this long.
    Loaded(Duration),
    /// The agent came with the program.
    CameWithIt,
    /// There is no JVM to load it: malloc is probed.
    Probing,
    /// One sample each so many bytes.
    Interval(u64),
    /// The JVM samples its objects.
    Objects,
    /// It doesn't, for this reason.
    NoObjects(String),
    /// There will be no sites.
    NoCode(NoCode),
}

/// Why no code can be named.
#[derive(Debug, Clone, PartialEq)]
pub enum NoCode {
    /// What made it necessary showed too late.
    TooLate {
        /// What that was.
        why: Why,
        /// When it showed.
        after: Duration,
        /// The window.
        length: Duration,
    },
    /// The search could not be made, or broke down, for this reason.
    Failed(String),
}

impl fmt::Display for NoCode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("no code can be named: ")?;
        match self {
            NoCode::TooLate { why, after, length } => write!(
                out,
                "{why}, but that showed only after {} of {}, too late to look for it; a longer window would",
                duration(after.as_secs_f64()),
                duration(length.as_secs_f64())
            ),
            NoCode::Failed(why) => out.write_str(why),
        }
    }
}

impl fmt::Display for SearchProgress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SearchProgress::Loaded(took) => write!(out, "agent loaded in {}", duration(took.as_secs_f64())),
            SearchProgress::CameWithIt => {
                out.write_str("the agent came with the program: reading its live file")
            }
            SearchProgress::Probing => {
                out.write_str("no agent can be loaded without a JVM: probing its malloc, in short bursts")
            }
            SearchProgress::Interval(interval) => write!(out, "one sample each {}", bytes(*interval)),
            SearchProgress::Objects => out.write_str("the JVM samples its objects"),
            SearchProgress::NoObjects(why) => write!(out, "no site of Java objects: {why}"),
            SearchProgress::NoCode(why) => why.fmt(out),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Asked => out.write_str("code is asked for"),
            Why::Seems(domain, per_s) => write!(out, "{domain} seems to grow ({})", rate(*per_s)),
            Why::Grows(cause) => write!(out, "{cause} grows"),
        }
    }
}

impl fmt::Display for TooLong {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TooLong::Longer { pause, most } => write!(
                out,
                "that could stop the JVM for {}, longer than --max-pause {}",
                in_words(*pause),
                in_words(*most)
            ),
            TooLong::Unknown => out.write_str(
                "how long that would stop the JVM can't be told (part of it is swapped out, or its heap can't be read); \
                 --gc always does it all the same",
            ),
        }
    }
}

impl fmt::Display for Collected {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Collected::Took(took) => write!(out, "the collection took {}", in_words(*took)),
            Collected::Said(words) => write!(out, "the JVM says: {words}"),
            Collected::Failed(why) => write!(out, "no collection: {why}"),
        }
    }
}

/// A pause that is expected, in brackets.
struct Expected(Option<Duration>);

impl fmt::Display for Expected {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(pause) => write!(out, " (expected to stop the JVM for at most {})", in_words(pause)),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Searching { why, agent: true } => {
                write!(out, "{why}: loading the agent, to name the code")
            }
            Event::Searching { why, agent: false } => write!(out, "{why}: looking for the code"),
            Event::Search(progress) => progress.fmt(out),
            Event::Counting { again, pause } => {
                let again = if *again { " again" } else { "" };
                write!(out, "counting the objects by class{again}{}", Expected(*pause))
            }
            Event::Counted(took) => write!(out, "the count stopped the JVM for at most {}", in_words(*took)),
            Event::NotCounted(why) => write!(out, "the objects are not counted by class: {why}"),
            Event::Collecting { purpose: Purpose::Garbage, pause } => write!(
                out,
                "only a collection can tell a leak from garbage: running GC.run{}",
                Expected(*pause)
            ),
            Event::Collecting { purpose: Purpose::Objects, pause } => write!(
                out,
                "to leave of the sampled objects only those that stay: running GC.run{}",
                Expected(*pause)
            ),
            Event::Collected(collected) => collected.fmt(out),
            Event::NotCollected(why) => {
                write!(out, "only a full collection could tell a leak from garbage, and {why}")
            }
            Event::Certain { status, cause, per_s, confidence, place } => {
                let place = place.as_ref().map_or_else(String::new, |place| format!(" in {place}"));
                write!(
                    out,
                    "{status} {cause} ({}, {:.0} % sure){place}; watching on to the end of the window",
                    rate(*per_s),
                    confidence * 100.0
                )
            }
        }
    }
}
