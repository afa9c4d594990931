//! Any bytes as a profile of whatever format, and that through every writer; what is written is read again.
#![no_main]

use offheap_formats::{Figure, collapsed, csv, firefox, flamegraph, json, otlp, pprof, read_profile, speedscope};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(parsed) = read_profile(bytes) else { return };
    let profile = parsed.profile;
    for site in &profile.sites {
        assert!(site.stack.iter().all(|frame| (*frame as usize) < profile.frames.len()));
    }
    let figure = Figure::best(&profile);
    let _ = csv::write(&profile);
    let _ = otlp::write(&profile);
    for text in [speedscope::write(&profile, "x"), firefox::write(&profile, figure, "x")] {
        serde_json::from_str::<serde_json::Value>(&text).expect("it is JSON");
    }
    let page = flamegraph::write(&profile, figure, "x");
    assert_eq!(page.matches("<script").count(), 2);
    let again = json::read(json::write(&profile, serde_json::Value::Null).as_bytes()).expect("ours is read");
    assert_eq!(again.profile.sites.len(), profile.sites.len());
    let again = pprof::read(&pprof::write(&profile)).expect("ours is read");
    assert!(again.profile.sites.len() <= profile.sites.len());
    let _ = collapsed::read(collapsed::write(&profile, figure, true).as_bytes());
});
