//! Who is to answer for a stack, by what is known of libraries ([`offheap_knowledge`]).

use crate::rules::is_of_python;
use offheap_knowledge::{Answer, Owner, knowledge};
use offheap_model::{Finding, Frame};

/// The library that a stack belongs to: one whose Java objects, caches and pools have native
/// memory, and not one whose functions return what the caller has to give back.
pub fn library_of(frames: &[Frame]) -> Option<Answer<'static>> {
    let has_objects = |found: &Answer<'_>| {
        let owner = found.memory.owner;
        !found.library.recognised.java.is_empty()
            && matches!(owner, Owner::JavaObject | Owner::Library | Owner::Collector)
    };
    knowledge().answer(frames).filter(has_objects)
}

/// Puts into a finding's fix what is known of the memory that a stack has taken: before the rule's
/// own words, if the code that takes it decides when it goes.
pub(crate) fn advise(finding: &mut Finding, frames: &[Frame]) {
    let Some(answer) = knowledge().answer(frames) else { return };
    let by_code = !matches!(answer.memory.owner, Owner::Thread | Owner::Process | Owner::Collector);
    // Of Python's objects the rule knows who holds them.
    let first = by_code && !is_of_python(&finding.cause);
    let mut advice = answer.advice();
    advice.retain(|line| !finding.fix.contains(line));
    let at = if first { 0 } else { finding.fix.len() };
    finding.fix.splice(at..at, advice);
}

/// Whether the advice for this stack is about local references of native code.
pub(crate) fn speaks_of_local_references(frames: &[Frame]) -> bool {
    let takes_one = |function: &String| function == "JNIHandles::make_local";
    knowledge().answer(frames).is_some_and(|found| found.memory.functions.iter().any(takes_one))
}
