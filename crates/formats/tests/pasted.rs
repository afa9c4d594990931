//! The reader before all readers: what is clean stays as it is, what was pasted is found again
//! behind any prefix.

use offheap_formats::pasted::{self, reports};
use offheap_formats::{Format, detect, read_figures, read_profile, unwrap};
use proptest::prelude::*;
use std::sync::LazyLock;

const LIMIT: u64 = 64 << 20;

/// Every sample of this crate and of `nmt` that is of a known format: name, bytes.
static SAMPLES: LazyLock<Vec<(String, Vec<u8>)>> = LazyLock::new(|| {
    let here = env!("CARGO_MANIFEST_DIR");
    let folders = [format!("{here}/tests/samples"), format!("{here}/../nmt/tests/samples")];
    let entries = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap().map(Result::unwrap));
    let mut all: Vec<(String, Vec<u8>)> = entries
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .map(|(name, bytes)| (name, unwrap(&bytes, LIMIT).unwrap().0.into_owned()))
        .filter(|(_, bytes)| detect(bytes).is_some())
        .collect();
    all.sort();
    all
});

#[test]
fn a_clean_file_never_reads_differently() {
    assert!(SAMPLES.len() > 60, "{}", SAMPLES.len());
    for (name, bytes) in SAMPLES.iter() {
        let pasted = reports(bytes);
        assert_eq!(
            pasted.reports.len(),
            1,
            "{name}: {:?}",
            pasted.reports.iter().map(|one| (one.format, one.line)).collect::<Vec<_>>()
        );
        let one = &pasted.reports[0];
        assert_eq!(Some(one.format), detect(bytes), "{name}");
        // Colours are the sanitizer's own reader's, too.
        if !bytes.contains(&0x1b) {
            assert!(
                *one.bytes == **bytes || one.bytes.ends_with(b"\n") && *one.bytes == *without_returns(bytes),
                "{name} was changed"
            );
            assert_eq!(pasted.skipped, None, "{name}");
        }
        assert_eq!(read_profile(&one.bytes), read_profile(bytes), "{name}");
        assert_eq!(read_figures(&one.bytes), read_figures(bytes), "{name}");
    }
}

fn without_returns(bytes: &[u8]) -> Vec<u8> {
    String::from_utf8_lossy(bytes).replace("\r\n", "\n").into_bytes()
}

/// The samples that people paste: texts that are not long.
fn texts() -> Vec<&'static (String, Vec<u8>)> {
    let binary = [
        Format::Jfr,
        Format::Hprof,
        Format::Heaptrack,
        Format::Pprof,
        Format::Massif,
        Format::MemcheckXml,
        Format::Json,
    ];
    SAMPLES
        .iter()
        .filter(|(name, bytes)| {
            bytes.len() < 200_000
                && !bytes.contains(&0x1b)
                && !name.contains("off")
                && !name.contains("badarg")
                && !name.contains("baseline")
                && !binary.contains(&detect(bytes).unwrap())
        })
        .collect()
}

const PREFIXES: [&str; 9] = [
    "> ",
    "| ",
    "app-1  | ",
    "2024-05-01T10:11:12.123456789Z ",
    "May  1 10:11:12 host java[77]: ",
    "[2024-05-01T10:11:12.123Z] ",
    "> 2024-05-01 10:11:12,123 ",
    "    ",
    "[pod/app-7d/app] 2024-05-01T10:11:12Z stdout F ",
];

#[test]
fn what_was_pasted_says_the_same() {
    let texts = texts();
    assert!(texts.len() > 30, "{}", texts.len());
    for (name, bytes) in texts {
        let text = String::from_utf8_lossy(bytes).into_owned();
        for prefix in PREFIXES {
            let body: String = text.lines().map(|line| format!("{prefix}{line}\n")).collect();
            let around = format!("We see this:\n\n{body}\nWhat could it be?\n");
            let pasted = reports(around.as_bytes());
            let formats: Vec<Format> = pasted.reports.iter().map(|one| one.format).collect();
            assert_eq!(formats, [detect(bytes).unwrap()], "{name} behind {prefix:?}");
            let one = &pasted.reports[0].bytes;
            let sums = |bytes: &[u8]| {
                let profile = read_profile(bytes).ok().map(|parsed| parsed.profile.sites);
                (profile, read_figures(bytes).ok().map(|figures| figures.list))
            };
            assert_eq!(
                sums(one),
                sums(bytes),
                "{name} behind {prefix:?}:\n{}",
                String::from_utf8_lossy(&one[..one.len().min(600)])
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Anything at all, and samples cut up and put together: no panic, and no more comes out than
    /// went in.
    #[test]
    fn nothing_makes_it_panic(parts in proptest::collection::vec((0usize..1000, 0usize..1 << 16, 0usize..4000, "[ -~\n\r\t\u{1b}>|=]{0,40}"), 1..6)) {
        let mut bytes = Vec::new();
        for (sample, from, length, between) in parts {
            let (_, sample) = &SAMPLES[sample % SAMPLES.len()];
            let from = from % sample.len().max(1);
            bytes.extend_from_slice(&sample[from..sample.len().min(from + length)]);
            bytes.extend_from_slice(between.as_bytes());
        }
        let pasted = reports(&bytes);
        let out: usize = pasted.reports.iter().map(|one| one.bytes.len()).sum();
        prop_assert!(out <= 3 * bytes.len() + 1000, "{out} of {}", bytes.len());
        for one in &pasted.reports {
            let _ = (read_profile(&one.bytes), read_figures(&one.bytes), offheap_formats::hs_err::read(&one.bytes));
        }
        let _ = pasted::could_be(&bytes);
    }
}
