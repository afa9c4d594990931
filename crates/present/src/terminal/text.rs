//! Text made fit for a terminal.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// `text` without anything a terminal would act on: a process may be called `\x1b[2J`. Control characters and the marks
/// that turn the direction of writing become `·`.
pub fn clean(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            c if c.is_control() => '·',
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '·',
            c => c,
        })
        .collect()
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

/// `text` broken at blanks into lines of `width` columns, each but the first after `indent` blanks. Words longer than a
/// line stay whole: they are commands to be copied.
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
    use super::*;

    #[test]
    fn nothing_a_terminal_acts_on_comes_through() {
        assert_eq!(clean("a\x1b[2Jb\u{202e}c\td"), "a·[2Jb·c·d");
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
