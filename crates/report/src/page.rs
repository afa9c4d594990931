//! The HTML around the data.

use crate::{Report, data};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use sha2::{Digest, Sha256};
use std::fmt::Write;

const STYLE: &str = include_str!("../web/dist/report.css");
const SCRIPT: &str = include_str!("../web/dist/report.js");

/// The report as one HTML file.
pub fn render(report: &Report<'_>) -> String {
    // Plain data with string keys: there is nothing that could fail.
    let json = serde_json::to_string(&data(report)).unwrap_or_default();
    let target = &report.diagnosis.target;
    let title = format!("offheap: {} · pid {}", report.diagnosis.verdict.status, target.pid);
    page(&title, &policy("'none'"), &inert(&json))
}

/// The page that fetches its data from where it came from, for a server.
pub fn live_page() -> String {
    page("offheap", &policy("'self'"), "null")
}

/// The policy to send with [`live_page`] as a header: what a `<meta>` can't say.
pub const LIVE_POLICY: &str = "frame-ancestors 'none'";

fn policy(connect: &str) -> String {
    format!(
        "default-src 'none'; script-src '{}'; style-src '{}'; connect-src {connect}; img-src data:; base-uri 'none'; \
         form-action 'none'",
        hash(SCRIPT),
        hash(STYLE)
    )
}

fn page(title: &str, policy: &str, json: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"referrer\" content=\"no-referrer\">\n\
         <link rel=\"icon\" href=\"data:,\">\n<title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <noscript>This report is drawn by its own script, which is not allowed to run here.</noscript>\n\
         <script type=\"application/json\" id=\"data\">{json}</script>\n<script>{SCRIPT}</script>\n</body>\n</html>\n",
        text(title)
    )
}

/// JSON that nothing in it can end early, in whatever way a parser looks at it: `<`, `>`, `&` and
/// the two line ends that JavaScript knows besides (U+2028, U+2029) are written as escapes. In JSON
/// they only occur in strings.
fn inert(json: &str) -> String {
    let mut out = String::with_capacity(json.len() + json.len() / 16);
    for character in json.chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                // Writing to a String can't fail.
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            _ => out.push(character),
        }
    }
    out
}

fn text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// How a Content-Security-Policy names a script or a style: SHA-256 in base 64.
fn hash(source: &str) -> String {
    format!("sha256-{}", BASE64_STANDARD.encode(Sha256::digest(source)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use offheap_diagnose::{Evidence, diagnose};
    use offheap_model::Snapshot;

    #[test]
    fn a_name_cannot_get_out() {
        let hostile =
            "</script><script>alert(1)</script><!--<script>\u{2028}&lt;<img src=x onerror=alert(2)>";
        let mut snapshot = Snapshot::default();
        snapshot.process.command = hostile.to_owned();
        let snapshots = [snapshot];
        let diagnosis = diagnose(&Evidence::of(&snapshots));
        let page = render(&Report { snapshots: &snapshots, ..Report::of(&diagnosis) });
        assert_eq!(page.matches("<script").count(), 2, "the data and ours");
        assert_eq!(page.matches("</script").count(), 2);
        assert!(!page.contains("<img") && !page.contains("<!--") && !page.contains('\u{2028}'));
        let begin = page.find("id=\"data\">").unwrap() + 10;
        let end = begin + page[begin..].find("</script>").unwrap();
        let json: serde_json::Value = serde_json::from_str(&page[begin..end]).unwrap();
        assert_eq!(json["last"]["process"]["command"], hostile, "escaped, not changed");
    }

    #[test]
    fn the_bundle_needs_nothing_and_trusts_nothing() {
        for source in [SCRIPT, STYLE] {
            assert!(!source.contains("http://") && !source.contains("https://") && !source.contains("</"));
        }
        for word in
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"]
        {
            assert!(!SCRIPT.contains(word), "{word}");
        }
    }

    #[test]
    fn the_hash_is_what_browsers_compute() {
        // printf '' | openssl dgst -sha256 -binary | base64
        assert_eq!(hash(""), "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    }
}
