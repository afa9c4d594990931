//! Builds the agent and hands it to the binary, which carries it inside.
//!
//! The agent is a library of its own kind (no std, panic=abort, nothing newer than glibc 2.17), so
//! it can't be an ordinary dependency: a cargo of its own builds it, in a target directory of its
//! own, since ours is locked while we run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const LIBRARY: &str = "liboffheap_agent.so";

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let workspace = here.ancestors().nth(2).expect("this crate lies in crates/");
    println!("cargo:rerun-if-changed=build.rs");
    for input in ["agent/src", "agent/build.rs", "agent/Cargo.toml", "live/src", "live/Cargo.toml"] {
        println!("cargo:rerun-if-changed={}", workspace.join("crates").join(input).display());
    }
    let embedded = out.join(LIBRARY);
    if env::var("CARGO_CFG_TARGET_ARCH").as_deref() != Ok("x86_64") {
        // The agent knows x86-64 only; without it `offheap profile` says so.
        fs::write(&embedded, b"").expect("OUT_DIR is writable");
        return;
    }
    let built = build(workspace, &out.join("agent"));
    fs::copy(&built, &embedded).unwrap_or_else(|error| panic!("cannot copy {}: {error}", built.display()));
    // A file of five times the size does the same: no reason to fail where there are no binutils.
    if !Command::new("strip")
        .arg("--strip-debug")
        .arg(&embedded)
        .status()
        .is_ok_and(|status| status.success())
    {
        println!(
            "cargo:warning=strip is missing or failed: the agent inside the binary keeps its debugging information"
        );
    }
}

/// Runs cargo for the agent; returns the library's path.
fn build(workspace: &Path, target_dir: &Path) -> PathBuf {
    // A statically linked offheap still looks at processes that run on glibc. Naming the target
    // also keeps the flags of `build.target` out, and the place of the result the same.
    let target = env::var("TARGET").expect("cargo sets TARGET").replace("-musl", "-gnu");
    let mut cargo = Command::new(env::var_os("CARGO").expect("cargo sets CARGO"));
    cargo
        .current_dir(workspace)
        .args(["build", "--quiet", "--release", "--locked", "--package", "offheap-agent"])
        .args(["--config", "profile.release.panic=\"abort\"", "--target", &target, "--target-dir"])
        .arg(target_dir);
    // What was meant for the outer build (coverage, sanitizers, clippy's driver, other profiles)
    // would spoil the library.
    for (name, _) in env::vars_os() {
        let Some(name) = name.to_str() else { continue };
        let outer =
            ["CARGO_PROFILE_", "CARGO_BUILD_", "CARGO_TARGET_", "CARGO_CFG_", "CARGO_FEATURE_", "CARGO_PKG_"];
        if outer.iter().any(|prefix| name.starts_with(prefix))
            || ["RUSTFLAGS", "RUSTC", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"].contains(&name)
        {
            cargo.env_remove(name);
        }
    }
    // Empty, but there: this also outranks flags in a `.cargo/config.toml`.
    cargo.env("CARGO_ENCODED_RUSTFLAGS", "");
    let status = cargo.status().unwrap_or_else(|error| panic!("cannot run cargo for the agent: {error}"));
    assert!(
        status.success(),
        "the agent (crates/agent), which the binary carries inside, was not built: {status}. By hand: \
         cargo build --release -p offheap-agent --config 'profile.release.panic=\"abort\"' --target {target}"
    );
    target_dir.join(target).join("release").join(LIBRARY)
}
