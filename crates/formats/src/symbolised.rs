//! What `jeprof --raw` and `pprof --raw` (the one in Perl) write: names of addresses, then the heap
//! profile itself, so that it can be read where the program is not. Source: jeprof.in,
//! `PrintSymbolizedProfile`.
//!
//! `--- symbol`, `binary=PATH`, a line `0xADDRESS name` each (functions that were inlined there
//! apart by `--`, innermost first), `---`, then `--- heap` and the profile.

use crate::builder::MAX_DEPTH;
use crate::maps::Names;
use crate::{Error, Parsed, gperftools, jemalloc};

const FORMAT: &str = "symbolised heap profile (jeprof --raw)";

/// True where `head` starts like one.
pub(crate) fn is(head: &[u8]) -> bool {
    head.starts_with(b"--- symbol\n") || head.starts_with(b"--- symbol\r\n")
}

/// Reads one.
///
/// # Errors
/// What follows the names is no heap profile.
pub fn read(bytes: &[u8]) -> Result<Parsed, Error> {
    let no = |reason: &str| Error::NotThis { format: FORMAT, reason: reason.to_owned() };
    let text = String::from_utf8_lossy(bytes);
    let (mut names, mut at, mut begun) = (Names::default(), 0, false);
    for line in text.split_inclusive('\n') {
        at += line.len();
        let line = line.trim_end();
        if begun && line.starts_with("--- ") {
            let profile = text.get(at..).unwrap_or_default();
            return match profile {
                _ if profile.starts_with("heap_v2/") => jemalloc::read_named(profile, names),
                _ if profile.starts_with("heap profile:") => gperftools::read_named(profile, names),
                _ => Err(no("what follows its names is no heap profile")),
            };
        }
        begun |= line == "--- symbol";
        let named = line.split_once(' ').and_then(|(address, name)| {
            Some((u64::from_str_radix(address.strip_prefix("0x")?, 16).ok()?, name))
        });
        if let Some((address, name)) = named {
            names.insert(address, name.split("--").take(MAX_DEPTH).map(str::to_owned).collect());
        }
    }
    Err(no("no profile follows its names"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Figure, collapsed};

    #[test]
    fn frames_have_the_names_that_stand_before_them() {
        let of = |profile: &str| {
            let text = format!(
                "--- symbol\nbinary=/usr/bin/demo\n0x0000000000001000 main\n0x0000000000002000 inner--_Z5outerv\n---\n--- heap\n{profile}"
            );
            let parsed = read(text.as_bytes()).unwrap();
            (collapsed::write(&parsed.profile, Figure::LiveBytes, false), parsed.addresses.len())
        };
        let jemalloc =
            "heap_v2/1\n  t*: 1: 600 [0: 0]\n@ 0x2000 0x1000\n  t*: 1: 600 [0: 0]\n\nMAPPED_LIBRARIES:\n";
        assert_eq!(of(jemalloc), ("main;outer();inner 600\n".to_owned(), 0));
        let tcmalloc = "heap profile: 1: 600 [1: 600] @ heapprofile\n1: 600 [1: 600] @ 0x2000 0x1000\n\nMAPPED_LIBRARIES:\n";
        assert_eq!(of(tcmalloc), ("main;outer();inner 600\n".to_owned(), 0));
        let long = format!("--- symbol\n0x2000 {}\n---\n--- heap\n{jemalloc}", "f--".repeat(2 * MAX_DEPTH));
        let deep = read(long.as_bytes()).unwrap().profile;
        assert_eq!(deep.sites[0].stack.len(), MAX_DEPTH);
        assert!(
            read(b"--- symbol\n0x1 f\n---\n--- profile\n\0\0\0\0").is_err() && read(b"--- symbol\n").is_err()
        );
    }
}
