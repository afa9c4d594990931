use super::*;

const NMT: &str = "Native Memory Tracking:\n\nTotal: reserved=2000KB, committed=1000KB\n\
    -                 Java Heap (reserved=1200KB, committed=600KB)\n\
    -                     Class (reserved=800KB, committed=400KB)\n";

/// The one report in `text`, as its format and text.
fn one(text: &[u8]) -> (Format, String, Option<String>) {
    let pasted = reports(text);
    assert_eq!(pasted.reports.len(), 1, "{pasted:?}");
    let report = &pasted.reports[0];
    (report.format, String::from_utf8(report.bytes.to_vec()).unwrap(), pasted.skipped.clone())
}

#[test]
fn a_clean_report_is_left_as_it_is() {
    for text in [NMT.to_owned(), format!("7:\n\n{NMT}")] {
        let pasted = reports(text.as_bytes());
        assert_eq!(
            pasted.reports,
            [Report { format: Format::Nmt, bytes: Cow::Borrowed(text.as_bytes()), line: 1 }]
        );
        assert_eq!(pasted.skipped, None);
    }
}

#[test]
fn each_kind_of_prefix_is_taken_off() {
    let prefixed = |prefix: &str| NMT.lines().map(|line| format!("{prefix}{line}\n")).collect::<String>();
    for prefix in [
        "> ",
        ">> ",
        "| ",
        "app-1  | ",
        "2024-05-01T10:11:12.123Z ",
        "2024-05-01T10:11:12.123456789+02:00 stdout F ",
        "[2024-05-01T10:11:12.123Z] ",
        "2024-05-01 10:11:12,123 ",
        "May  1 10:11:12 host java[77]: ",
        "2024-05-01T10:11:12+0000 host java[77]: ",
        "[0.003s][info][nmt] ",
        "[pod/app-7d/app] ",
        "[10:11:12] ",
        "    ",
        "\t",
        "> 2024-05-01T10:11:12.123Z ",
        "server.log:",
        "[INFO] ",
    ] {
        let text = if prefix == "server.log:" {
            NMT.lines()
                .enumerate()
                .map(|(number, line)| format!("server.log:{}:{line}\n", number + 1))
                .collect()
        } else {
            prefixed(prefix)
        };
        let (format, found, skipped) = one(text.as_bytes());
        let bare: String =
            found.lines().map(|line| format!("{}\n", line.strip_prefix(prefix).unwrap_or(line))).collect();
        // Blanks before a report are no reason to change it.
        let found = if prefix.trim().is_empty() { bare } else { found };
        assert_eq!((format, found.as_str()), (Format::Nmt, NMT), "{prefix:?}");
        assert_eq!(skipped.is_some(), !prefix.trim().is_empty(), "{prefix:?}: {skipped:?}");
    }
    let numbered: String =
        NMT.lines().enumerate().map(|(number, line)| format!("{:4}  {line}\n", number + 9)).collect();
    assert_eq!(one(numbered.as_bytes()).1, NMT);
}

#[test]
fn text_around_prompts_fences_and_remarks_are_left_out() {
    let text = format!(
        "Hi all,\nour pods die, see below. Total: 3 of them.\n\n```\nuser@pod:~$ jcmd 1 VM.native_memory summary\n1:\n\n{}```\nAny ideas?\n",
        NMT.replace("committed=600KB)\n", "committed=600KB)   <--- this one\n")
    );
    let (format, found, skipped) = one(text.as_bytes());
    assert_eq!((format, found), (Format::Nmt, format!("1:\n\n{NMT}")));
    assert_eq!(
        skipped.unwrap(),
        "left out of the pasted text: fences, prompts, remarks behind lines, 3 lines of other text"
    );
}

#[test]
fn encodings_are_undone() {
    let units: Vec<u8> = NMT.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(one(&[&[0xff, 0xfe], units.as_slice()].concat()).1, NMT);
    assert_eq!(one(&units).1, NMT);
    assert_eq!(one(format!("\u{feff}{}", NMT.replace('\n', "\r\n")).as_bytes()).1, NMT);
    let coloured = NMT.replace("Total:", "\u{1b}[1mTotal:\u{1b}[0m");
    assert_eq!(one(coloured.as_bytes()).1, NMT);
    let quoted = NMT.replace('=', "=3D").replace("committed=3D600KB", "commi=\ntted=3D600KB");
    assert_eq!(one(quoted.as_bytes()).1, NMT);
}

#[test]
fn several_reports_are_told_apart() {
    let later = NMT.replace("600KB", "900KB");
    let text = format!(
        "before:\n1:\n\n{NMT}\nafter:\n\n1:\n\n{later}\n$ pmap 1\n1:   java\n00007fe1b2e00000  65536K rw---   [ anon ]\n total 65536K\n"
    );
    let pasted = reports(text.as_bytes());
    let formats: Vec<Format> = pasted.reports.iter().map(|report| report.format).collect();
    assert_eq!(formats, [Format::Nmt, Format::Nmt, Format::PlainPmap], "{pasted:?}");
    assert!(pasted.reports[1].bytes.starts_with(b"1:\n\nNative"), "{pasted:?}");
    assert!(String::from_utf8_lossy(&pasted.reports[1].bytes).contains("900KB"));
    let same = format!("1:\n\n{NMT}1:\n\n{later}");
    assert_eq!(reports(same.as_bytes()).reports.len(), 2);
}

#[test]
fn a_log_keeps_the_reports_that_are_its_own() {
    let log = "#\n# A fatal error has been detected by the Java Runtime Environment:\n#\n#  SIGSEGV (0xb) at pc=0x1, pid=7, tid=8\n#\n\n\
        Native Memory Tracking:\n\nTotal: reserved=2000KB, committed=1000KB\n\nHeap:\n garbage-first heap   total 1K, used 1K\n\nEND.\n";
    let text = format!(
        "The pod died:\n\n{log}\nand here is its dmesg:\nMemory cgroup out of memory: Killed process 7 (java) anon-rss:1kB\n"
    );
    let pasted = reports(text.as_bytes());
    let formats: Vec<Format> = pasted.reports.iter().map(|report| report.format).collect();
    assert_eq!(formats, [Format::HsErr, Format::Oom], "{pasted:?}");
    assert_eq!(String::from_utf8_lossy(&pasted.reports[0].bytes), log);
}

#[test]
fn nothing_is_found_in_prose_and_the_words_tell_what_was_meant() {
    let text = b"We see reserved= and committed= in the output but RSS grows.\n";
    assert_eq!(reports(text), Pasted::default());
    assert_eq!(could_be(text), ["NMT report"]);
    assert_eq!(reports(b""), Pasted::default());
    assert_eq!(reports(b"\0\x01\x02binary"), Pasted::default());
}

#[test]
fn prompts_are_told_from_reports() {
    for line in [
        "user@pod:~$ jcmd 1 x",
        "[root@host ~]# pmap 7",
        "$ jcmd",
        "PS C:\\Users> jcmd 1",
        "C:\\x> jcmd",
        "/ # cat x",
        "root@ab12:/app# ls",
        "bash-5.1$ ls",
    ] {
        assert!(prefix::is_prompt(line), "{line}");
    }
    for line in [
        "# A fatal error",
        "#",
        "# runtime.MemStats",
        "$1 = 7",
        "a@b.c wrote $ 5",
        "#  SIGSEGV (0xb) at pc=0x1",
        "-  Class (reserved=1KB)",
        "# Java VM: OpenJDK",
    ] {
        assert!(!prefix::is_prompt(line), "{line}");
    }
}
