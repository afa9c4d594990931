//! What belongs to the processor lies in the `arch` folder of its crate: outside of those no
//! register, relocation, instruction or processor is named, and no size of a page is written down.

use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

/// The crates that look at memory, or are in it.
const CRATES: [&str; 10] =
    ["agent", "corefile", "cpython", "heaps", "hotspot", "linux", "live", "probe", "symbols", "target"];

/// Words that only an `arch` folder uses, also in comments.
const WORDS: &str = "rax rbx rcx rdx rsi rdi rbp rsp rip eax edi esi RBP RSP RIP r8 r9 r10 r11 r12 r13 \
                     r14 r15 x30 asm! naked_asm! global_asm! target_arch _rdtsc _mm_prefetch";
/// What such words start with.
const STARTS: [&str; 3] = ["R_X86_64_", "R_AARCH64_", "DW_REG_"];
/// The size of a page, and its mask. A constant with a name may have this value: what it is, its
/// name says.
const PAGES: [&str; 3] = ["4096", "4095", "0xfff"];

/// Looks through the code of [`CRATES`] below `root`.
pub fn check(root: &Path) -> Result<()> {
    let mut wrong = Vec::new();
    for name in CRATES {
        let mut files = Vec::new();
        sources(&root.join("crates").join(name).join("src"), &mut files)?;
        for file in files {
            let place = file.strip_prefix(root).unwrap_or(&file).to_string_lossy().into_owned();
            wrong.extend(offences(&place, &std::fs::read_to_string(&file)?));
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("belongs into an `arch` folder (docs/how-do-i-add.md), or under a name:\n  {}", wrong.join("\n  "))
}

/// The sources that are no tests and not in an `arch` folder.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with("arch") {
            sources(&path, found)?;
        } else if path.extension().is_some_and(|ending| ending == "rs") && !path.ends_with("tests.rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(())
}

/// What the file at `place` names, without its tests.
fn offences(place: &str, text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let mut found = Vec::new();
    for (index, line) in code.lines().enumerate() {
        let comment = line.trim_start().starts_with("//");
        let plain = without_strings(line);
        let words: Vec<&str> = plain
            .split(|c: char| !c.is_alphanumeric() && c != '_' && c != '!')
            .filter(|word| !word.is_empty())
            .collect();
        let of_processor = |word: &&&str| {
            WORDS.split(' ').any(|known| known == **word)
                || STARTS.iter().any(|start| word.starts_with(start))
        };
        let of_pages = |word: &&&str| {
            let number = word.trim_start_matches('!').replace('_', "");
            let digits = number.trim_end_matches("u64").trim_end_matches("usize");
            !comment && !line.contains("const ") && PAGES.contains(&digits)
        };
        if let Some(word) = words.iter().find(of_processor).or_else(|| words.iter().find(of_pages)) {
            found.push(format!("{place}:{}: {word}", index + 1));
        }
    }
    found
}

/// A line without what stands in its string literals.
fn without_strings(line: &str) -> String {
    line.replace("\\\"", "").split('"').step_by(2).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_relocations_and_pages_are_found_and_names_are_not() {
        let found = |text: &str| offences("a.rs", text).len();
        for bad in [
            "/// Saved at rbp + n.",
            "const GLOB_DAT: u32 = R_X86_64_GLOB_DAT;",
            "    asm!(\"nop\");",
            "#[cfg(target_arch = \"x86_64\")]",
            "let page = at & !4095;",
            "let page = at & !0xfff;",
            "map(4_096_u64)",
        ] {
            assert_eq!(found(bad), 1, "{bad}");
        }
        for good in [
            "const MAX_TEXT: usize = 4096;",
            "// 4096 of them.",
            "by: \"arena.4096.purge\",",
            "    by: Some(\"mallctl(\\\"arena.4096.purge\\\")\"),",
            "let page = page_start(at);",
            "fn strip() {} // descriptor",
            "fn f() {}\n#[cfg(test)]\nmod tests {\n    let at = 4096;\n}",
        ] {
            assert_eq!(found(good), 0, "{good}");
        }
    }

    #[test]
    fn the_code_of_today_keeps_to_it() {
        check(&crate::run::root()).unwrap();
    }
}
