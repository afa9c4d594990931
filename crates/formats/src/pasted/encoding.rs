//! What stands between the text and its bytes: UTF-16, byte order marks, Windows line ends, a
//! terminal's colours, a mail's quoted-printable.

use std::borrow::Cow;
use std::collections::BTreeSet;

/// How many bytes are looked at to tell text from binary.
const HEAD: usize = 64 << 10;

/// Which half of each unit of UTF-16 comes first.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    Little,
    Big,
}

/// UTF-16 by its mark, or by its zeros: of a text in English every other byte is one.
fn utf16(bytes: &[u8]) -> Option<(Order, &[u8])> {
    if let Some(rest) = bytes.strip_prefix(&[0xff, 0xfe]) {
        return Some((Order::Little, rest));
    }
    if let Some(rest) = bytes.strip_prefix(&[0xfe, 0xff]) {
        return Some((Order::Big, rest));
    }
    let head = bytes.get(..512).unwrap_or(bytes);
    let zeros = |from: usize| head.iter().skip(from).step_by(2).filter(|byte| **byte == 0).count();
    let (even, odd, half) = (zeros(0), zeros(1), head.len() / 2);
    match () {
        () if half < 8 => None,
        () if odd * 10 >= half * 9 && even == 0 => Some((Order::Little, bytes)),
        () if even * 10 >= half * 9 && odd == 0 => Some((Order::Big, bytes)),
        () => None,
    }
}

/// True where `bytes` start like text.
pub(super) fn is_text(bytes: &[u8]) -> bool {
    let head = bytes.get(..HEAD).unwrap_or(bytes);
    utf16(head).is_some() || !head.contains(&0)
}

/// The text of `bytes`, and whether anything had to be undone; what is worth a word goes to `done`.
pub(super) fn plain<'a>(bytes: &'a [u8], done: &mut BTreeSet<&'static str>) -> (Cow<'a, str>, bool) {
    let mut undone = utf16(bytes).is_some();
    let mut text: Cow<'a, str> = match utf16(bytes) {
        Some((order, units)) => {
            done.insert("UTF-16");
            let pairs = units.chunks_exact(2).map(|pair| {
                let pair = [pair.first().copied().unwrap_or(0), pair.get(1).copied().unwrap_or(0)];
                if order == Order::Little { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) }
            });
            char::decode_utf16(pairs).map(|unit| unit.unwrap_or('\u{fffd}')).collect::<String>().into()
        }
        None => String::from_utf8_lossy(bytes),
    };
    if let Some(rest) = text.strip_prefix('\u{feff}') {
        (text, undone) = (rest.to_owned().into(), true);
    }
    if text.contains("\u{1b}") || text.contains('\u{8}') {
        done.insert("terminal colours");
        (text, undone) = (without_escapes(&text).into(), true);
    }
    if text.contains("\r\n") {
        (text, undone) = (text.replace("\r\n", "\n").into(), true);
    }
    if is_quoted_printable(&text) {
        done.insert("quoted-printable");
        (text, undone) = (unquoted(&text).into(), true);
    }
    (text, undone)
}

/// Without a terminal's escape sequences (ECMA-48: CSI, OSC), and what was typed and taken back.
fn without_escapes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => match chars.next() {
                Some('[') => while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {},
                // Up to the bell, or ESC \; a title has no line end.
                Some(']') => {
                    while let Some(c) = chars.next_if(|c| *c != '\n') {
                        if c == '\u{7}' || c == '\u{1b}' && chars.next_if_eq(&'\\').is_some() {
                            break;
                        }
                    }
                }
                Some('(' | ')') => _ = chars.next(),
                _ => {}
            },
            '\u{8}' => {
                if !out.ends_with('\n') {
                    out.pop();
                }
            }
            '\u{7}' => {}
            c => out.push(c),
        }
    }
    out
}

/// Whether each `=` of a text is followed by what quoted-printable (RFC 2045) has there, and one is
/// an `=` itself.
fn is_quoted_printable(text: &str) -> bool {
    if !text.contains("=3D") {
        return false;
    }
    let bytes = text.as_bytes();
    bytes.iter().enumerate().filter(|(_, byte)| **byte == b'=').all(|(at, _)| {
        match (bytes.get(at + 1), bytes.get(at + 2)) {
            (Some(b'\n') | None, _) => true,
            (Some(a), Some(b)) => a.is_ascii_hexdigit() && b.is_ascii_hexdigit(),
            _ => false,
        }
    })
}

/// A text without its quoted-printable.
fn unquoted(text: &str) -> String {
    let bytes = text.as_bytes();
    let hex = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        if *byte != b'=' {
            out.push(*byte);
            at += 1;
        } else if matches!(bytes.get(at + 1), Some(b'\n') | None) {
            at += 2;
        } else if let (Some(high), Some(low)) = (hex(bytes.get(at + 1)), hex(bytes.get(at + 2))) {
            out.push((high * 16 + low) as u8);
            at += 3;
        } else {
            out.push(*byte);
            at += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
