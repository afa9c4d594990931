//! What goes to the terminal, or to who reads in its place: width, colour, errors. Whatever came
//! from a target or a file of somebody else is cleaned here of what a terminal would act on.

use offheap_present::terminal::{Style, Tone, clean, page, plain_json};
use std::io::{IsTerminal, Write};

/// Narrower than this nothing can be shown; wider than this nothing gets clearer.
const WIDTHS: std::ops::RangeInclusive<usize> = 60..=100;

/// How to draw on standard output: its width, and colours unless NO_COLOR is set or it is a pipe.
pub fn style(all: bool) -> Style {
    let width = terminal_size::terminal_size().map_or(*WIDTHS.end(), |(width, _)| usize::from(width.0));
    let colour = anstream::AutoStream::choice(&std::io::stdout()) != anstream::ColorChoice::Never;
    Style { width: width.clamp(*WIDTHS.start(), *WIDTHS.end()), colour, all }
}

/// Writes `text` to standard output, cleaned. A reader that has gone away is no error.
pub fn print(text: &str) {
    let stdout = std::io::stdout();
    print_raw(&page(text, anstream::AutoStream::choice(&stdout) != anstream::ColorChoice::Never));
}

/// The same of text that has no colours of ours: nobody else's are kept.
pub fn print_plain(text: &str) {
    print_raw(&page(text, false));
}

/// Writes `text` to standard output as it is: only what the user asked for in so many words.
pub fn print_raw(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// Writes `text` to standard error, cleaned, where it doesn't mix with another program's output.
pub fn print_beside(text: &str) {
    let stderr = std::io::stderr();
    let text = page(text, anstream::AutoStream::choice(&stderr) != anstream::ColorChoice::Never);
    let _ = stderr.lock().write_all(text.as_bytes());
}

/// True where a terminal's Ctrl-C reaches this process and those it has started.
pub fn is_foreground() -> bool {
    let group = rustix::process::getpgrp();
    let of = |terminal: std::os::fd::BorrowedFd<'_>| {
        rustix::termios::tcgetpgrp(terminal).is_ok_and(|front| front == group)
    };
    use std::os::fd::AsFd;
    of(std::io::stdin().as_fd()) || of(std::io::stderr().as_fd())
}

/// Writes `value` to standard output, indented for a person, in one line for a pipe.
pub fn print_json(value: &serde_json::Value) {
    let text = if std::io::stdout().is_terminal() { format!("{value:#}\n") } else { format!("{value}\n") };
    print_raw(&plain_json(&text));
}

/// Writes an error to standard error: what failed, why, the next command.
pub fn complain(error: &anyhow::Error) {
    let colour = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    let style = Style { colour, ..Style::default() };
    let lines: Vec<String> = format!("{error:#}").lines().map(clean).collect();
    let _ = writeln!(std::io::stderr(), "{} {}", style.paint(Tone::Bad, "offheap:"), lines.join("\n"));
}

/// Writes a remark for a person to standard error.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", clean(text));
}

/// A line on standard error that is written over; nothing where that is no terminal.
#[derive(Debug)]
pub struct Progress {
    visible: bool,
    shown: bool,
}

impl Progress {
    /// Nothing yet.
    pub fn new() -> Self {
        Progress { visible: std::io::stderr().is_terminal(), shown: false }
    }

    /// Shows `text` in place of what was shown before.
    pub fn show(&mut self, text: &str) {
        if self.visible {
            let width = terminal_size::terminal_size_of(std::io::stderr())
                .map_or(80, |(width, _)| usize::from(width.0));
            let text = offheap_present::terminal::fit(text, width.saturating_sub(1));
            let _ = write!(std::io::stderr(), "\r\x1b[2K{text}");
            self.shown = true;
        }
    }

    /// Takes it away.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
