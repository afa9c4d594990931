//! A flame graph in one HTML page: no network, no other file. Search, zoom, inverted view, colour
//! by kind of frame, dark and light; with two profiles the difference between them.
//!
//! Names come from outside and may hold anything: they are only ever JSON inside a `<script>` that
//! is not run (with `<` written as an escape) and text on a canvas or in `textContent`. A
//! Content-Security-Policy allows this page's one script, by its hash, and no request at all.

mod tree;

use crate::Figure;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use offheap_model::Profile;
use serde_json::json;
use sha2::{Digest, Sha256};
use tree::Tree;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page of one profile: each frame as wide as `figure` of the stacks through it.
pub fn write(profile: &Profile, figure: Figure, title: &str) -> String {
    let mut tree = Tree::new();
    tree.add(profile, |site| [figure.of(site), 0]);
    page(tree, title, figure, false, &profile.notes)
}

/// The page of the difference `after` less `before`: as wide as `after`, or `before` where that is
/// more; red where it grew, blue where it shrank.
pub fn write_diff(before: &Profile, after: &Profile, figure: Figure, title: &str) -> String {
    let mut tree = Tree::new();
    tree.add(after, |site| [figure.of(site), 0]);
    tree.add(before, |site| [0, figure.of(site)]);
    let notes: Vec<String> = [("before", before), ("after", after)]
        .into_iter()
        .flat_map(|(which, profile)| profile.notes.iter().map(move |note| format!("{which}: {note}")))
        .collect();
    page(tree, title, figure, true, &notes)
}

fn page(tree: Tree, title: &str, figure: Figure, diff: bool, notes: &[String]) -> String {
    let (names, nodes, left_out) = tree.finish(diff);
    let mut notes = notes.to_vec();
    if left_out > 0 {
        notes.push(format!(
            "{left_out} frames too narrow to be seen are left out; their bytes count in their callers"
        ));
    }
    let data = json!({
        "title": title,
        "figure": figure.title(),
        "bytes": figure.is_bytes(),
        "diff": diff,
        "notes": notes,
        "names": names,
        "nodes": nodes,
    });
    // Inside <script> only `<` could end the element early.
    let data = data.to_string().replace('<', "\\u003c");
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src '{hash}'; \
         style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n\
         <body>\n\
         <header><h1></h1><input id=\"search\" type=\"search\" placeholder=\"search (regular expression)\" \
         aria-label=\"search\"><button id=\"invert\">Invert</button><button id=\"reset\">Whole</button>\
         <button id=\"theme\">Dark/light</button><output id=\"found\"></output></header>\n\
         <main><canvas id=\"graph\" tabindex=\"0\" role=\"img\" aria-label=\"flame graph\"></canvas></main>\n\
         <footer><output id=\"info\"></output><p id=\"legend\"></p><ul id=\"notes\"></ul></footer>\n\
         <script type=\"application/json\" id=\"data\">{data}</script>\n<script>{SCRIPT}</script>\n</body>\n</html>\n",
        hash = csp_hash(SCRIPT),
        title = escape(title),
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// How a Content-Security-Policy names a script: SHA-256 in base 64.
fn csp_hash(script: &str) -> String {
    format!("sha256-{}", BASE64_STANDARD.encode(Sha256::digest(script)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collapsed;

    fn data(page: &str) -> serde_json::Value {
        let start = page.find("id=\"data\">").unwrap() + 10;
        let end = start + page[start..].find("</script>").unwrap();
        serde_json::from_str(&page[start..end]).unwrap()
    }

    #[test]
    fn widths_add_up() {
        let profile = collapsed::read(b"main;a;malloc 30\nmain;b 12\n").unwrap().profile;
        let data = data(&write(&profile, Figure::LiveBytes, "app"));
        let nodes = data["nodes"].as_array().unwrap();
        // The root, main, a, malloc, b: [depth, name, kind, value, other value]
        assert_eq!(nodes.len(), 5);
        assert_eq!((nodes[0][3].as_u64(), nodes[1][3].as_u64()), (Some(42), Some(42)));
    }

    #[test]
    fn a_name_cannot_get_out() {
        let hostile = b"</script><script>alert(1)</script>;\"><img src=x onerror=alert(2)> 5\n";
        let profile = collapsed::read(hostile).unwrap().profile;
        let page = write(&profile, Figure::LiveBytes, "</title><script>alert(3)</script>");
        assert_eq!(page.matches("<script").count(), 2, "the data and ours");
        assert_eq!(page.matches("</script>").count(), 2);
        assert!(!page.contains("<img") && page.contains(&csp_hash(SCRIPT)));
        assert!(!SCRIPT.contains("innerHTML") && !SCRIPT.contains("eval("));
        assert!(!page.contains("http://") && !page.contains("https://"), "nothing to fetch");
    }

    #[test]
    fn the_hash_is_what_browsers_compute() {
        // printf '' | openssl dgst -sha256 -binary | base64
        assert_eq!(csp_hash(""), "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    }

    #[test]
    fn the_difference_knows_both_sides() {
        let before = collapsed::read(b"main;a 10\nmain;gone 5\n").unwrap().profile;
        let after = collapsed::read(b"main;a 40\nmain;new 7\n").unwrap().profile;
        let data = data(&write_diff(&before, &after, Figure::LiveBytes, "d"));
        let main = &data["nodes"][1];
        assert_eq!((main[3].as_u64(), main[4].as_u64()), (Some(47), Some(15)));
    }
}
