//! Reads any profile and writes it as its ending says: `cargo run -p offheap-formats --example
//! convert -- IN OUT`.

use offheap_formats::{Figure, collapsed, csv, flamegraph, json, pprof, read_profile, speedscope, unwrap};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(from), Some(to)) = (arguments.next(), arguments.next()) else {
        return Err("usage: convert IN OUT".into());
    };
    let bytes = std::fs::read(&from)?;
    let (plain, cut) = unwrap(&bytes, 4 << 30)?;
    let profile = read_profile(&plain)?.profile;
    let figure = Figure::best(&profile);
    let out = match to.rsplit('.').next() {
        Some("html") => flamegraph::write(&profile, figure, &from).into_bytes(),
        Some("pb") => pprof::write(&profile),
        Some("csv") => csv::write(&profile).into_bytes(),
        Some("json") if to.ends_with(".speedscope.json") => speedscope::write(&profile, &from).into_bytes(),
        Some("json") => json::write(&profile, serde_json::Value::Null).into_bytes(),
        _ => collapsed::write(&profile, figure, false).into_bytes(),
    };
    std::fs::write(to, out)?;
    for note in profile.notes.into_iter().chain(cut.map(|cut| cut.to_string())) {
        eprintln!("{note}");
    }
    Ok(())
}
