//! memcheck's report as text.

use super::{Loss, finish, frame, loss};
use crate::{Builder, Error, Parsed};

/// memcheck's first line; `valgrind -q` leaves it out, and the summary too.
const BANNER: &str = "Memcheck, a memory error detector";

/// True where `head` holds memcheck's first line, or a loss record.
pub(crate) fn is(head: &[u8]) -> bool {
    String::from_utf8_lossy(head)
        .lines()
        .filter_map(own)
        .any(|text| text.starts_with(BANNER) || loss(text).is_some())
}

/// Reads the loss records; other output between them is passed over.
///
/// # Errors
/// There is none.
pub fn read(bytes: &[u8]) -> Result<Parsed, Error> {
    let text = String::from_utf8_lossy(bytes);
    let mut builder = Builder::new();
    let mut losses: Vec<Loss> = Vec::new();
    let (mut open, mut complete) = (false, true);
    for line in text.lines().filter_map(own) {
        if let Some(loss) = loss(line) {
            losses.push(loss);
            open = true;
        } else if let Some(frame) = call(line).filter(|_| open) {
            let frame = builder.frame(frame);
            if let Some(loss) = losses.last_mut() {
                loss.stack.push(frame);
            }
        } else {
            open = false;
            if line.starts_with(BANNER) {
                complete = false;
            }
            complete |= line.starts_with("LEAK SUMMARY:");
        }
    }
    finish(builder, &losses, complete)
}

/// What follows `==PID==`.
fn own(line: &str) -> Option<&str> {
    let (pid, text) = line.strip_prefix("==")?.split_once("==")?;
    (!pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.trim())
}

/// `by 0x1092C5: app::run() (leak.cpp:13)`
fn call(line: &str) -> Option<offheap_model::Frame> {
    let rest = line.strip_prefix("at ").or_else(|| line.strip_prefix("by "))?;
    let (address, described) = rest.strip_prefix("0x")?.split_once(": ")?;
    let mut frame = frame(described);
    if frame.name == "???" {
        frame.name = format!("0x{address}");
    }
    Some(frame)
}
