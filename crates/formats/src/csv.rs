//! CSV: a row a site (RFC 4180), for spreadsheets and scripts.

use offheap_model::Profile;
use std::fmt::Write;

/// The columns. `stack` is innermost first, its frames apart by `;`.
const HEADER: &str = "leak_bytes,live_bytes,live_count,allocated_bytes,allocated_count,slope_bytes_per_s,age_p50_s,age_p90_s,kind,stack";

/// Writes every site; `kind` is the innermost frame's.
pub fn write(profile: &Profile) -> String {
    let mut text = format!("{HEADER}\r\n");
    for site in &profile.sites {
        let frames = || site.stack.iter().filter_map(|index| profile.frames.get(*index as usize));
        let kind = frames().next().map_or("", |frame| crate::json::kind(frame.kind));
        let stack = frames().map(|frame| frame.name.replace(';', ":")).collect::<Vec<_>>().join(";");
        let number = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
        // Writing to a String can't fail.
        let _ = write!(
            text,
            "{},{},{},{},{},{},{},{},{kind},{}\r\n",
            site.leak_bytes,
            site.live_bytes,
            site.live_count,
            site.allocated_bytes,
            site.allocated_count,
            number(site.slope_bytes_per_s),
            number(site.age_seconds.map(|age| age.p50)),
            number(site.age_seconds.map(|age| age.p90)),
            field(&stack)
        );
    }
    text
}

/// A field in quotes, and never one that a spreadsheet takes for a formula.
fn field(text: &str) -> String {
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_a_site_and_no_formula() {
        let mut parsed = crate::collapsed::read(b"main;say \"hi\", you 5\n=1+1 3\n").unwrap();
        parsed.profile.sites[0].slope_bytes_per_s = Some(1.5);
        let text = write(&parsed.profile);
        let lines: Vec<&str> = text.split("\r\n").collect();
        assert_eq!(lines[1], "0,5,0,0,0,1.5,,,native,\"say \"\"hi\"\", you;main\"");
        assert_eq!(lines[2], "0,3,0,0,0,,,,native,\"'=1+1\"");
    }
}
