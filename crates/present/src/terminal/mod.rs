//! What is shown on a terminal. One file a view; names from the target never reach it unclean.

pub mod diagnosis;
pub mod diff;
pub mod handles;
pub mod map;
pub mod outlook;
pub mod profile;
pub mod ps;
pub mod python;
mod table;
mod text;

pub use table::{Align, Table};
pub use text::{clean, fit, page, plain_json, wrap};

/// How to draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Columns there are.
    pub width: usize,
    /// Whether colours may be used; the caller has looked at NO_COLOR and at pipes.
    pub colour: bool,
    /// Whether details are wanted.
    pub all: bool,
}

impl Default for Style {
    fn default() -> Self {
        Style { width: 100, colour: false, all: false }
    }
}

/// What a piece of text means; the colours follow from it in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it is.
    Plain,
    /// A headline or the figure that matters.
    Strong,
    /// Explanations.
    Dim,
    /// A leak, an error.
    Bad,
    /// Something to look at.
    Warn,
    /// All well.
    Good,
}

impl Style {
    /// `text` in the colour of `tone`, or as it is.
    pub fn paint(self, tone: Tone, text: &str) -> String {
        use anstyle::{AnsiColor, Style as Ansi};
        let ansi = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Strong => Ansi::new().bold(),
            Tone::Dim => Ansi::new().dimmed(),
            Tone::Bad => Ansi::new().bold().fg_color(Some(AnsiColor::Red.into())),
            Tone::Warn => Ansi::new().fg_color(Some(AnsiColor::Yellow.into())),
            Tone::Good => Ansi::new().fg_color(Some(AnsiColor::Green.into())),
        };
        if self.colour && !text.is_empty() { format!("{ansi}{text}{ansi:#}") } else { text.to_owned() }
    }
}
