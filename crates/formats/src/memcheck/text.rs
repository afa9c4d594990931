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

/// True where a report starts with `line`.
pub(crate) fn begins(line: &str) -> bool {
    own(line).is_some_and(|text| text.starts_with(BANNER))
}

/// True where one may start with it: a loss record of `valgrind -q`, or one out of the middle.
pub(crate) fn perhaps(line: &str) -> bool {
    own(line).is_some_and(|text| loss(text).is_some())
}

/// Reads the loss records; other output between them is passed over. A report that there is nothing
/// to lose gives a profile without sites.
///
/// # Errors
/// There is none, and it does not say that all is freed.
pub fn read(bytes: &[u8]) -> Result<Parsed, Error> {
    let text = String::from_utf8_lossy(bytes);
    let mut builder = Builder::new();
    let mut losses: Vec<Loss> = Vec::new();
    let (mut open, mut complete, mut clean) = (false, true, false);
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
            clean |= line.starts_with("All heap blocks were freed");
        }
    }
    if losses.is_empty() && clean {
        builder.profile().notes.push("all blocks were freed".to_owned());
        return Ok(builder.finish(Vec::new(), None));
    }
    finish(builder, &losses, complete)
}

/// What follows `==PID==`, or with --time-stamp=yes `==00:00:00:00.328 PID==`.
fn own(line: &str) -> Option<&str> {
    let (head, text) = line.strip_prefix("==")?.split_once("==")?;
    let pid = head.rsplit(' ').next().unwrap_or(head);
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

#[cfg(test)]
mod tests {
    use super::*;

    // As valgrind 3.19 writes it.
    #[test]
    fn with_time_stamps_and_with_nothing_lost() {
        let stamped = "==00:00:00:00.000 77== Memcheck, a memory error detector\n\
            ==00:00:00:00.329 77== 9,600 bytes in 200 blocks are definitely lost in loss record 2 of 4\n\
            ==00:00:00:00.329 77==    at 0x48417B4: malloc (in /usr/libexec/vgpreload.so)\n\
            ==00:00:00:00.329 77== \n==00:00:00:00.330 77== LEAK SUMMARY:\n";
        assert!(is(stamped.as_bytes()));
        let profile = read(stamped.as_bytes()).unwrap().profile;
        assert_eq!((profile.sites[0].leak_bytes, profile.notes.len()), (9600, 0));
        let head = "==7== Memcheck, a memory error detector\n==7== HEAP SUMMARY:\n";
        let clean = format!("{head}==7== All heap blocks were freed -- no leaks are possible\n");
        assert!(read(clean.as_bytes()).unwrap().profile.sites.is_empty());
        assert!(read(head.as_bytes()).is_err());
    }
}
