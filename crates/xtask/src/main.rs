//! The project's own commands: `cargo xtask demo`, `cargo xtask test`, and the parts they are made
//! of.

mod check;
mod demo;
mod run;
mod setup;
mod soak;
mod test;
mod thresholds;
mod web;

use anyhow::{Result, bail};

const HELP: &str = "\
cargo xtask COMMAND

  demo     sets everything up and shows the main job on a real leaking JVM
  test     sets everything up and runs every test, JVMs included
  soak     harms real JVMs in every way known, for as long as asked, and counts what falls: --only NAME, --jdk N,
           --cycles N, --minutes N, --seed N; `soak --list` names the parts
  setup    only installs what demo and test need (Debian packages, JREs)
  web      bundles the report's page anew: crates/report/web/src into crates/report/web/dist
  thresholds  writes docs/thresholds.md from the doc comments of the constants that it lists
  picture  makes docs/img/report.png, the report of a real leaking JVM
  check    only the edges between crates, style, formatting and lints
  build    the release binary: target/release/offheap
";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    std::env::set_current_dir(run::root())?;
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["demo"] => demo::demo(),
        ["test", rest @ ..] => test::test(rest),
        ["soak", rest @ ..] => soak::soak(rest),
        ["setup"] => setup::setup(),
        ["web"] => web::build(),
        ["thresholds"] => thresholds::write(),
        ["picture"] => web::picture(),
        ["check"] => check::check(),
        ["build"] => run::build_release().map(drop),
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        [other, ..] => bail!("no command is called {other:?}\n\n{HELP}"),
    }
}
