//! Text made fit for a terminal.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Whether a terminal or an eye is led astray by `c`: control characters (C0, DEL, C1), what turns
/// the direction of writing, what takes no room, and line ends that only some programs know.
fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// `text` without anything a terminal would act on: a process may be called `\x1b[2J`. What
/// misleads becomes `·`.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if misleads(c) { '·' } else { c }).collect()
}

/// A whole page of text for standard output: [`clean`], but for line ends and tabs, and with
/// `colour` the colours of [`Style::paint`](super::Style::paint). All that is printed goes through
/// here, whatever was done for its parts.
pub fn page(text: &str, colour: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(misleads) {
        let (plain, from) = rest.split_at(at);
        out.push_str(plain);
        let paint = PAINTS.iter().find(|paint| colour && from.starts_with(**paint));
        // Tools of other systems end lines with both.
        let kept = paint.or_else(|| ["\n", "\t", "\r\n"].iter().find(|layout| from.starts_with(**layout)));
        out.push_str(kept.unwrap_or(&"·"));
        let length = kept.map_or_else(|| from.chars().next().map_or(0, char::len_utf8), |kept| kept.len());
        rest = from.get(length..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// What a [`Style`](super::Style) paints with: bold, dimmed, red, green, yellow, and the end of
/// all.
const PAINTS: [&str; 6] = ["\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"];

/// JSON that is the same value and has nothing in it that misleads: such characters can only be in
/// strings, where they are written by their numbers.
pub fn plain_json(json: &str) -> String {
    if !json.contains(misleads) {
        return json.to_owned();
    }
    let mut out = String::with_capacity(json.len() + 64);
    for c in json.chars() {
        // Between the values there are line ends.
        if misleads(c) && !matches!(c, '\n' | '\t' | '\r') {
            let mut units = [0; 2];
            c.encode_utf16(&mut units).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
        } else {
            out.push(c);
        }
    }
    out
}

/// `text` cleaned and cut to `width` columns; a cut one ends with `…`.
pub fn fit(text: &str, width: usize) -> String {
    let text = clean(text);
    if text.width() <= width {
        return text;
    }
    let mut cut = String::new();
    let mut used = 0;
    for character in text.chars() {
        used += character.width().unwrap_or(0);
        if used + 1 > width {
            break;
        }
        cut.push(character);
    }
    if width > 0 {
        cut.push('…');
    }
    cut
}

/// Columns that `text` takes.
pub(crate) fn columns(text: &str) -> usize {
    text.width()
}

/// `text` broken at blanks into lines of `width` columns, each but the first after `indent` blanks.
/// Words longer than a line stay whole: they are commands to be copied.
pub fn wrap(text: &str, width: usize, indent: usize) -> String {
    let mut out = String::new();
    let mut used = 0;
    for word in clean(text).split_whitespace() {
        let columns = word.width();
        if used > 0 && used + 1 + columns > width {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            used = indent;
        } else if used > 0 {
            out.push(' ');
            used += 1;
        }
        out.push_str(word);
        used += columns;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::{Style, Tone};
    use super::*;

    #[test]
    fn nothing_a_terminal_acts_on_comes_through() {
        assert_eq!(clean("a\x1b[2Jb\u{202e}c\td"), "a·[2Jb·c·d");
        // C1, DEL, BEL, zero width, a mark of direction of Arabic, a line separator, a tag.
        assert_eq!(clean("\u{9b}\x7f\x07\u{200b}\u{61c}\u{2028}\u{e0041}é日"), "·······é日");
    }

    #[test]
    fn a_page_keeps_its_lines_and_our_colours_only() {
        let hostile = "a\tb\r\nc\rd\x1b]0;x\x07\x1b[2J\x1b[8m\u{202e}\n";
        assert_eq!(page(hostile, true), "a\tb\r\nc·d·]0;x··[2J·[8m·\n");
        for tone in [Tone::Plain, Tone::Strong, Tone::Dim, Tone::Bad, Tone::Warn, Tone::Good] {
            let painted = Style { colour: true, ..Style::default() }.paint(tone, "x");
            assert_eq!(page(&painted, true), painted);
            assert!(!page(&painted, false).contains('\x1b'));
        }
    }

    #[test]
    fn json_stays_the_same_value() {
        let value = serde_json::json!({ "a\u{202e}": "\u{7f}\u{9b}\u{e0041}\n", "b": [1, "ö"] });
        for json in [value.to_string(), format!("{value:#}")] {
            let plain = plain_json(&json);
            assert!(!plain.chars().any(|c| misleads(c) && c != '\n'), "{plain}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&plain).unwrap(), value);
        }
    }

    #[test]
    fn long_text_is_cut_by_columns_not_by_bytes() {
        assert_eq!(fit("größer", 10), "größer");
        assert_eq!(fit("größer", 4), "grö…");
        assert_eq!(fit("日本語", 5), "日本…");
        assert_eq!(fit("abc", 0), "");
    }

    #[test]
    fn text_breaks_at_blanks() {
        assert_eq!(wrap("one two three", 8, 2), "one two\n  three");
    }
}
