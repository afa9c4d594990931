//! memcheck's report as XML. Only the elements that matter are known; there are no attributes in
//! the protocol.

use super::{Loss, finish, loss};
use crate::builder::named;
use crate::{Builder, Error, Parsed};
use offheap_model::{Frame, FrameKind};

/// True where `head` starts like it.
pub(crate) fn is(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head);
    text.contains("<valgrindoutput>") && text.contains("<protocoltool>memcheck</protocoltool>")
}

/// Reads the loss records.
///
/// # Errors
/// There is none.
pub fn read(bytes: &[u8]) -> Result<Parsed, Error> {
    let text = String::from_utf8_lossy(bytes);
    let mut builder = Builder::new();
    let mut losses: Vec<Loss> = Vec::new();
    let mut open: Option<Loss> = None;
    let mut frame: Option<Frame> = None;
    let mut complete = false;
    // Each piece is a tag and the text up to the next tag.
    for piece in text.split('<').skip(1) {
        let Some((tag, content)) = piece.split_once('>') else { continue };
        let content = content.trim();
        match tag {
            "error" => open = None,
            "text" => open = loss(&unescape(content)),
            "frame" => frame = Some(named("", FrameKind::Native)),
            "/frame" => {
                if let (Some(loss), Some(frame)) = (&mut open, frame.take()) {
                    loss.stack.push(builder.frame(frame));
                }
            }
            "/error" => losses.extend(open.take()),
            "/valgrindoutput" => complete = true,
            _ => {
                let Some(frame) = &mut frame else { continue };
                match tag {
                    // Only until its name follows.
                    "ip" => frame.name = unescape(content).to_ascii_lowercase(),
                    "fn" => frame.name = unescape(content),
                    "obj" => frame.module = Some(unescape(content)),
                    "file" => frame.file = Some(unescape(content)),
                    "line" => frame.line = content.parse().ok(),
                    _ => {}
                }
            }
        }
    }
    finish(builder, &losses, complete)
}

fn unescape(text: &str) -> String {
    // `&amp;` last, or `&amp;lt;` would be unescaped twice.
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}
