//! docs/thresholds.md: the figures that decide, generated from the doc comments of their constants.
//!
//! A doc comment says what the figure is. Behind that it may have `Unit: …` where name and type
//! don't tell, and `Measured: …`, `Source: …` or `Chosen: …` for how it was chosen; a figure that
//! has none of these was chosen by judgement, and the page says so.

use crate::run;
use anyhow::{Context, Result, bail};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// The page.
const PAGE: &str = "docs/thresholds.md";

/// What has figures that decide: a headline, and files or folders below `crates`.
const PARTS: &[(&str, &[&str])] = &[
    ("Statistics: does a series grow", &["diagnose/src/stats"]),
    ("Growth, evidence and verdict", &["diagnose/src"]),
    ("Rules", &["diagnose/src/rules"]),
    (
        "The session: when what is done",
        &["offheap/src/session", "offheap/src/sampler.rs", "offheap/src/observe.rs"],
    ),
    (
        "Profiles",
        &["offheap/src/profile/series.rs", "offheap/src/profile/probed.rs", "offheap/src/profile/lease.rs"],
    ),
    (
        "Probes",
        &[
            "probe/src/sampler.rs",
            "probe/src/burst.rs",
            "probe/src/events.rs",
            "probe/src/faults.rs",
            "probe/src/pages.rs",
        ],
    ),
    ("The agent", &["agent/src/lease.rs"]),
];

/// Types of figures.
const FIGURES: [&str; 9] = ["f64", "u64", "u32", "u16", "u8", "usize", "i64", "i32", "Duration"];
/// What tells how a figure was chosen.
const HOW: [&str; 4] = ["Measured:", "Measured ", "Source:", "Chosen:"];

/// Writes the page.
pub fn write() -> Result<()> {
    let root = run::root();
    std::fs::write(root.join(PAGE), page(&root)?).context(PAGE)
}

/// Fails where the page is not what the code says.
pub fn check(root: &Path) -> Result<()> {
    if std::fs::read_to_string(root.join(PAGE)).unwrap_or_default() == page(root)? {
        return Ok(());
    }
    bail!("{PAGE} is not what the doc comments say; run: cargo xtask thresholds")
}

fn page(root: &Path) -> Result<String> {
    let mut out = String::from(
        "# Thresholds\n\nThe figures that decide what offheap says and does, as the code has them: each is a constant, and this page \
         is made of their\ndoc comments by `cargo xtask thresholds`. Where nothing else is said, a figure was chosen by judgement; \
         [score.md](score.md)\nsays how often the verdicts that they lead to are right.\n\nWindows of nominal 15, 30, 45 or 180 \
         seconds appear as 14, 27 to 29, 44 and 170 seconds: the first snapshot is never taken at the very\nstart nor the last at \
         the very end, and a window that the user asked for must not fail its own threshold for that.\n",
    );
    for (headline, places) in PARTS {
        writeln!(out, "\n## {headline}")?;
        for file in files(root, places)? {
            let text = std::fs::read_to_string(&file)?;
            let place =
                file.strip_prefix(root.join("crates")).unwrap_or(&file).to_string_lossy().into_owned();
            let figures = figures(&text).with_context(|| place.clone())?;
            if figures.is_empty() {
                continue;
            }
            writeln!(
                out,
                "\n### {place}\n\n| name | value | what it is | how it was chosen |\n|---|---|---|---|"
            )?;
            for figure in figures {
                let Figure { name, value, what, how } = figure;
                writeln!(out, "| `{name}` | {value} | {} | {} |", cell(&what), cell(&how))?;
            }
        }
    }
    Ok(out)
}

/// The sources at `places`: a file, or what lies directly in a folder.
fn files(root: &Path, places: &[&str]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for place in places {
        let path = root.join("crates").join(place);
        if path.is_file() {
            found.push(path);
            continue;
        }
        let mut here: Vec<PathBuf> =
            std::fs::read_dir(&path)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        here.retain(|path| {
            path.extension().is_some_and(|ending| ending == "rs") && !path.ends_with("tests.rs")
        });
        here.sort();
        found.append(&mut here);
    }
    Ok(found)
}

/// A cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace("[`", "`").replace("`]", "`")
}

/// A constant that is a figure.
#[derive(Debug, PartialEq)]
struct Figure {
    name: String,
    /// With its unit.
    value: String,
    what: String,
    how: String,
}

/// The figures that a source text defines, outside of its functions and tests.
fn figures(text: &str) -> Result<Vec<Figure>> {
    let mut found = Vec::new();
    let mut doc = String::new();
    let mut lines = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().lines();
    while let Some(line) = lines.next() {
        if let Some(more) = line.strip_prefix("///") {
            doc.push_str(more);
            continue;
        }
        let mut item = line.to_owned();
        let of_constant = constant(line);
        if of_constant.is_some() {
            while !item.ends_with(';') {
                item.push(' ');
                item.push_str(lines.next().context("a constant without an end")?.trim());
            }
        }
        if let Some((name, kind)) = of_constant
            && FIGURES.contains(&kind)
        {
            let value = item.split_once(" = ").map_or("", |(_, value)| value).trim_end_matches(';');
            found.push(figure(name, kind, value, doc.trim()).with_context(|| name.to_owned())?);
        }
        if !line.starts_with("#[") {
            doc.clear();
        }
    }
    Ok(found)
}

/// Name and type, where a line defines a constant.
fn constant(line: &str) -> Option<(&str, &str)> {
    let rest = ["pub(crate) const ", "pub(super) const ", "pub const ", "const "]
        .iter()
        .find_map(|start| line.strip_prefix(start))?;
    let (name, rest) = rest.split_once(": ")?;
    Some((name, rest.split(" =").next()?))
}

fn figure(name: &str, kind: &str, value: &str, doc: &str) -> Result<Figure> {
    if doc.is_empty() {
        bail!("has no doc comment");
    }
    if doc.starts_with('…') || doc.ends_with('…') {
        bail!("its doc comment is not understood without the line above");
    }
    let at = HOW.iter().filter_map(|how| doc.find(how)).min();
    let (what, how) = at.map_or((doc, "judgement"), |at| (&doc[..at], &doc[at..]));
    let (what, unit) = match what.split_once("Unit:") {
        Some((what, unit)) => (what, Some(unit.trim().trim_end_matches('.').to_owned())),
        None => (what, None),
    };
    Ok(Figure {
        name: name.to_owned(),
        value: valued(name, kind, value, unit)?,
        what: what.trim().to_owned(),
        how: how.trim().trim_end_matches('.').to_owned(),
    })
}

/// A value with its unit, as people write it.
fn valued(name: &str, kind: &str, value: &str, unit: Option<String>) -> Result<String> {
    if kind == "Duration" {
        let (of, rest) = value
            .strip_prefix("Duration::from_")
            .and_then(|v| v.split_once('('))
            .context(value.to_owned())?;
        let unit = match of {
            "secs" => "s",
            "millis" => "ms",
            "micros" => "µs",
            "nanos" => "ns",
            other => bail!("what unit is {other}?"),
        };
        return Ok(format!("{} {unit}", number(evaluated(rest.trim_end_matches(')'))?)));
    }
    let Ok(amount) = evaluated(value) else { return Ok(format!("`{value}`")) };
    let whole = kind != "f64";
    let unit = match unit {
        Some(unit) => unit,
        None if name.ends_with("_S") || name == "SECONDS" => "s".to_owned(),
        None if name.ends_with("_MS") => "ms".to_owned(),
        None if name.ends_with("_US") => "µs".to_owned(),
        None if name.contains("BYTES") || value.contains(" << ") || value.contains("1024.0") => {
            "bytes".to_owned()
        }
        None if !whole && amount > 0.0 && amount < 1.0 => return Ok(format!("{} %", number(100.0 * amount))),
        None if whole => return Ok(number(amount)),
        None => bail!("needs a unit: Unit: …"),
    };
    if unit != "bytes" {
        return Ok(format!("{} {unit}", number(amount)));
    }
    let sizes = [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let size =
        sizes.iter().find(|(_, size)| amount >= *size as f64 && (amount / *size as f64 * 4.0).fract() == 0.0);
    Ok(match size {
        Some((unit, size)) => format!("{} {unit}", number(amount / *size as f64)),
        None => format!("{} bytes", number(amount)),
    })
}

fn number(value: f64) -> String {
    let rounded = (value * 1e4).round() / 1e4;
    format!("{rounded}")
}

/// The value of sums of products of numbers and shifts.
fn evaluated(expression: &str) -> Result<f64> {
    let mut sum = 0.0;
    for product in expression.split(" + ") {
        let mut value = 1.0;
        for (index, quotient) in product.split(" * ").enumerate() {
            for (number, part) in quotient.split(" / ").enumerate() {
                let part = part.replace('_', "");
                let of = match part.split_once(" << ") {
                    Some((of, by)) => of.parse::<f64>()? * by.parse::<f64>()?.exp2(),
                    None => part.parse()?,
                };
                value = if number > 0 {
                    value / of
                } else if index > 0 {
                    value * of
                } else {
                    of
                };
            }
        }
        sum += value;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Vec<(String, String)>> {
        Ok(figures(text)?.into_iter().map(|figure| (figure.value, figure.how)).collect())
    }

    #[test]
    fn values_have_their_units_and_say_how_they_were_chosen() {
        let text = [
            "/// A long time.",
            "/// Chosen: nominal 30 s less the slack of two snapshots.",
            "const LEAST_S: f64 = 27.0;",
            "",
            "/// A part.",
            "const SHARE: f64 = 1.0 / 8.0;",
            "/// How far from zero.",
            "/// Unit: standard errors.",
            "/// Measured: bench/diagnose.",
            "const Z: f64 = 4.0 + 1.64;",
            "/// So large.",
            "pub(crate) const LARGE: u64 = 64 << 20;",
            "/// So long.",
            "const LONG: Duration =",
            "    Duration::from_millis(1_500);",
            "/// A name.",
            "const NAME: &str = \"x\";",
            "#[cfg(test)]",
            "mod tests {",
            "const OTHER: u64 = 1;",
        ]
        .join("\n");
        let found = of(&text).unwrap();
        let expected = [
            ("27 s", "Chosen: nominal 30 s less the slack of two snapshots"),
            ("12.5 %", "judgement"),
            ("5.64 standard errors", "Measured: bench/diagnose"),
            ("64 MiB", "judgement"),
            ("1500 ms", "judgement"),
        ];
        assert_eq!(found, expected.map(|(value, how)| (value.to_owned(), how.to_owned())));
        assert_eq!(figures(&text).unwrap()[2].what, "How far from zero.");
    }

    #[test]
    fn a_figure_without_a_doc_or_a_unit_fails_and_one_that_leans_on_its_neighbour_too() {
        assert!(of("const A: f64 = 0.5;\n").is_err());
        assert!(of("/// So much.\nconst A: f64 = 3.0;\n").is_err());
        assert!(of("/// …and so much.\nconst A: f64 = 0.5;\n").is_err());
    }

    #[test]
    fn the_page_is_what_the_code_says() {
        check(&run::root()).unwrap();
    }
}
