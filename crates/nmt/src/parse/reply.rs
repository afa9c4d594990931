//! One-line answers, and mode `statistics`.

use super::Parser;
use crate::report::{Reply, ReplyKind, Statistic};

/// The beginnings of what HotSpot answers instead of a report (nmtDCmd.cpp, memTracker.cpp of JDK 8
/// to 26).
const REPLIES: &[(&str, ReplyKind)] = &[
    ("Native memory tracking is not enabled", ReplyKind::NotEnabled),
    ("Native memory tracking has been", ReplyKind::ShutDown),
    ("Detail tracking is not enabled", ReplyKind::DetailNotEnabled),
    ("No baseline for comparison", ReplyKind::NoBaseline),
    ("No detail baseline for comparison", ReplyKind::NoBaseline),
    ("Baseline succeeded", ReplyKind::BaselineTaken),
    ("Baseline taken", ReplyKind::BaselineTaken),
    ("Summary baseline taken", ReplyKind::BaselineTaken),
    ("Baseline failed", ReplyKind::Refused),
    ("Incorrect scale value", ReplyKind::BadScale),
    ("At most one of the following option", ReplyKind::BadArgument),
    ("No command to execute", ReplyKind::BadArgument),
    ("java.lang.IllegalArgumentException", ReplyKind::BadArgument),
];

/// Whether a line belongs to what follows the summary in hs_err logs, in VM.info and at exit (JDK
/// 17 and later).
pub fn is_tail(text: &str) -> bool {
    ["Preinit state:", "entries:", "pre-init mallocs:", "MallocLimit:"]
        .iter()
        .any(|start| text.starts_with(start))
}

/// `java.io.IOException: …`.
fn is_exception(text: &str) -> bool {
    let class = text.split([':', ' ']).next().unwrap_or_default();
    class.contains('.') && (class.ends_with("Exception") || class.ends_with("Error"))
}

impl Parser {
    /// A line before any report: whether it is an answer. With a status other than 0 any text is a
    /// refusal.
    pub(super) fn reply(&mut self, text: &str) -> bool {
        let refused = self.report.status.is_some_and(|status| status != 0);
        if refused && text.starts_with("Native Memory Tracking") {
            return false;
        }
        if let Some(reply) = self.report.reply.as_mut().filter(|_| refused) {
            reply.text.push('\n');
            reply.text.push_str(text);
            return true;
        }
        let known = REPLIES.iter().find(|(start, _)| text.starts_with(start)).map(|&(_, kind)| kind);
        let kind = known.or((refused || is_exception(text)).then_some(ReplyKind::Refused));
        self.report.reply =
            kind.map(|kind| Reply { kind, text: text.to_owned() }).or(self.report.reply.take());
        kind.is_some()
    }

    /// A line of mode `statistics`: those are for the tuning of the tracker and change with every
    /// JDK, so they are kept as they are.
    pub(super) fn statistic(&mut self, text: &str) {
        // A heading is repeated with each line below it, so it must be short for memory to be
        // bounded.
        const HEADING_MAX: usize = 100;
        match text.split_once(':') {
            Some((heading, "")) if heading.len() <= HEADING_MAX => self.heading = heading.to_owned(),
            Some((name, value)) => self.push_statistic(name, value.trim()),
            None => self.push_statistic(text, ""),
        }
    }

    fn push_statistic(&mut self, name: &str, value: &str) {
        let (section, name, value) = (self.heading.clone(), name.to_owned(), value.to_owned());
        self.report.statistics.push(Statistic { section, name, value });
    }
}
