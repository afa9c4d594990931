//! What stands before, behind and around the lines of a paste: quotes, logs' times, line numbers,
//! fences, prompts, arrows.

/// Prefixes of one line that are taken off.
pub(super) const MOST: usize = 5;

/// A kind of prefix: its name in words, whether a line without it is no longer of the paste, and
/// how it is taken off.
struct Kind {
    name: &'static str,
    must_go_on: bool,
    peel: fn(&str) -> Option<&str>,
}

/// All kinds; those that could be taken for another come behind it.
const KINDS: [Kind; 13] = [
    Kind { name: "quote marks", must_go_on: true, peel: quote },
    Kind { name: "bars", must_go_on: true, peel: bar },
    Kind { name: "a container's name", must_go_on: false, peel: compose },
    Kind { name: "a pod's name", must_go_on: false, peel: pod },
    Kind { name: "time stamps", must_go_on: false, peel: iso },
    Kind { name: "a journal's heads", must_go_on: false, peel: syslog },
    Kind { name: "a journal's heads", must_go_on: false, peel: unit },
    Kind { name: "a container log's stream", must_go_on: false, peel: stream },
    Kind { name: "time stamps", must_go_on: false, peel: clock },
    Kind { name: "a log's decorations", must_go_on: false, peel: brackets },
    Kind { name: "a log's decorations", must_go_on: false, peel: glog },
    Kind { name: "a log's level", must_go_on: false, peel: level },
    Kind { name: "line numbers", must_go_on: false, peel: number },
];

/// The name of a kind.
pub(super) fn name(kind: usize) -> &'static str {
    KINDS.get(kind).map_or("", |kind| kind.name)
}

/// `line` without its prefix of `kind`.
pub(super) fn peel(kind: usize, line: &str) -> Option<&str> {
    KINDS.get(kind).and_then(|kind| (kind.peel)(line))
}

/// The outermost prefix of a line, and what is behind it.
pub(super) fn peel_any(line: &str) -> Option<(usize, &str)> {
    let line = line.trim_start();
    KINDS.iter().enumerate().find_map(|(kind, how)| Some((kind, (how.peel)(line)?)))
}

/// Whether `line` is no longer of a paste whose lines have `kinds`: the quote is over.
pub(super) fn ends(line: &str, kinds: &[usize]) -> bool {
    let first = kinds.first().and_then(|kind| KINDS.get(*kind));
    !line.trim().is_empty() && first.is_some_and(|kind| kind.must_go_on && (kind.peel)(line).is_none())
}

/// A fence of Markdown, Jira, BBCode or HTML.
pub(super) fn is_fence(line: &str) -> bool {
    let marks = [
        "```",
        "~~~",
        "{code",
        "{noformat",
        "[code]",
        "[/code]",
        "<pre>",
        "</pre>",
        "<details>",
        "</details>",
        "<summary>",
    ];
    line.starts_with(['`', '~', '{', '[', '<']) && marks.iter().any(|mark| line.starts_with(mark))
}

/// A line that somebody typed at a prompt: `user@host:~$ jcmd 1 …`, `[root@host ~]# …`, `$ jcmd …`,
/// `PS C:\> …`, `/ # …`.
pub(super) fn is_prompt(line: &str) -> bool {
    let typed =
        |rest: &str| rest.trim_start().starts_with(|c: char| c.is_ascii_alphabetic() || "./(".contains(c));
    if let Some(rest) = ["$ ", "/ # ", "/ $ ", "~ # ", "~ $ ", "% ", "❯ ", "➜ "]
        .iter()
        .find_map(|mark| line.strip_prefix(mark))
    {
        return typed(rest);
    }
    if let Some((before, rest)) = line.split_once("> ")
        && (before.starts_with("PS ") || before.get(1..3) == Some(":\\"))
    {
        return typed(rest);
    }
    let Some((before, rest)) = line.split_once("$ ").or_else(|| line.split_once("# ")).or_else(|| {
        // Nothing typed.
        line.strip_suffix(['$', '#']).map(|before| (before, "x"))
    }) else {
        return false;
    };
    let head = before.trim_start_matches(['[', '(']);
    let is_name = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-<>()".contains(c))
    };
    let at = head.split_once('@').is_some_and(|(user, host)| {
        is_name(user) && is_name(host.split([':', ' ', ']', ')']).next().unwrap_or_default())
    });
    let is_shell = ["bash-", "sh-"].iter().any(|shell| head.starts_with(shell)) && head.len() < 12;
    before.len() < 120 && (at || is_shell) && (typed(rest) || rest.is_empty())
}

/// Where a remark behind a line starts: `   <--- this one grows`, `  ← here`.
pub(super) fn annotation(line: &str) -> Option<usize> {
    if !line.contains(['<', '←', '⬅']) {
        return None;
    }
    let at = ["<--", "<==", "←", "⬅"].iter().filter_map(|mark| line.find(mark)).min()?;
    let before = line.get(..at)?;
    let bare = before.trim_end();
    // Behind blanks, and behind something.
    (bare.len() < before.len() && !bare.is_empty()).then_some(bare.len())
}

/// `> `, also without the blank.
fn quote(line: &str) -> Option<&str> {
    let rest = line.strip_prefix('>')?;
    Some(rest.strip_prefix(' ').unwrap_or(rest))
}

/// `| `, of a table or another quote.
fn bar(line: &str) -> Option<&str> {
    let rest =
        line.strip_prefix('|').or_else(|| line.strip_prefix('│')).or_else(|| line.strip_prefix('┃'))?;
    // The end of a cell.
    let rest = rest.strip_prefix(' ').unwrap_or(rest);
    Some(rest.strip_suffix('|').unwrap_or(rest))
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() < 120
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-/:".contains(c))
}

/// docker compose: `app-1  | text`.
fn compose(line: &str) -> Option<&str> {
    let (name, rest) = line.split_once('|')?;
    let is_one = is_name(name.trim_end()) && name.starts_with(|c: char| c.is_ascii_alphabetic());
    is_one.then(|| rest.strip_prefix(' ').unwrap_or(rest))
}

/// `kubectl logs --prefix`: `[pod/app-7d/app] text`.
fn pod(line: &str) -> Option<&str> {
    let (name, rest) = line.strip_prefix("[pod/")?.split_once(']')?;
    is_name(name).then(|| rest.strip_prefix(' ').unwrap_or(rest))
}

/// What digits and marks make a time, from its start on.
fn digits(text: &str, pattern: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    for (at, wanted) in pattern.bytes().enumerate() {
        let found = *bytes.get(at)?;
        let fits = match wanted {
            b'0' => found.is_ascii_digit(),
            b'T' => found == b'T' || found == b' ' || found == b'_',
            b'-' => found == b'-' || found == b'/',
            wanted => found == wanted,
        };
        if !fits {
            return None;
        }
    }
    Some(pattern.len())
}

/// The fraction and the zone that may follow a time.
fn fraction_and_zone(text: &str) -> &str {
    let mut rest = text;
    if let Some(after) = rest.strip_prefix(['.', ',']) {
        rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    if let Some(after) = rest.strip_prefix('Z') {
        return after;
    }
    let signed = rest.strip_prefix(' ').filter(|after| after.starts_with(['+', '-'])).unwrap_or(rest);
    if signed.starts_with(['+', '-']) && signed.as_bytes().get(1).is_some_and(u8::is_ascii_digit) {
        return signed
            .get(1..)
            .unwrap_or_default()
            .trim_start_matches(|c: char| c.is_ascii_digit() || c == ':');
    }
    rest
}

/// One blank or tab, or a bracket and a blank, behind a time. Where nothing follows there is no
/// blank.
fn behind(rest: &str, bracket: bool) -> Option<&str> {
    let rest = if bracket { rest.strip_prefix(']')? } else { rest };
    if rest.is_empty() {
        return Some(rest);
    }
    rest.strip_prefix([' ', '\t'])
        .or_else(|| rest.strip_prefix(": "))
        .or_else(|| rest.starts_with('[').then_some(rest))
}

/// `2024-05-01T10:11:12.123456789Z `, `2024-05-01 10:11:12,123 `, `[2024-05-01T10:11:12.123Z] `.
fn iso(line: &str) -> Option<&str> {
    let bare = line.strip_prefix('[').unwrap_or(line);
    let length = digits(bare, "0000-00-00T00:00:00")?;
    behind(fraction_and_zone(bare.get(length..)?), bare.len() < line.len())
}

/// `10:11:12 `, `[10:11:12.123] `; of memleak's own `[10:11:12] Top …` its reader's start is looked
/// for first.
fn clock(line: &str) -> Option<&str> {
    let bare = line.strip_prefix('[').unwrap_or(line);
    let length = digits(bare, "00:00:00")?;
    behind(fraction_and_zone(bare.get(length..)?), bare.len() < line.len())
}

/// `May 01 10:11:12 host java[123]: `
fn syslog(line: &str) -> Option<&str> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let rest = line.get(3..).filter(|_| line.get(..3).is_some_and(|month| MONTHS.contains(&month)))?;
    let rest = rest.strip_prefix(' ')?.trim_start();
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix(' ')?;
    let length = digits(rest, "00:00:00")?;
    let rest = fraction_and_zone(rest.get(length..)?).strip_prefix(' ')?;
    Some(unit(rest).unwrap_or(rest))
}

/// `host java[123]: `, behind a journal's time; also `host kernel: `.
fn unit(line: &str) -> Option<&str> {
    let (head, rest) = line.split_once(": ").or_else(|| line.strip_suffix(':').map(|head| (head, "")))?;
    let (host, process) = head.split_once(' ')?;
    let process = match process.split_once('[') {
        Some((name, pid)) => {
            pid.strip_suffix(']')?.parse::<u64>().ok()?;
            name
        }
        None if process == "kernel" => process,
        None => return None,
    };
    (is_name(host) && is_name(process.trim_matches(['(', ')']))).then_some(rest)
}

/// `stdout F `, of a container's log as the kubelet keeps it; GitLab's `00O `.
fn stream(line: &str) -> Option<&str> {
    for mark in ["stdout F", "stderr F", "stdout P", "stderr P", "00O", "00E", "01O", "01E"] {
        if let Some(rest) = line.strip_prefix(mark) {
            return rest.strip_prefix([' ', '+']).or_else(|| rest.is_empty().then_some(rest));
        }
    }
    None
}

/// The JVM's own log: `[0.003s][info][nmt] `, and the kernel's `[  123.456789] `.
fn brackets(line: &str) -> Option<&str> {
    let (mut rest, mut count) = (line, 0);
    while let Some((inner, after)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let is_time = count > 0
            || inner.trim().trim_end_matches(['s', 'm']).parse::<f64>().is_ok()
            || iso(inner).is_some();
        if !is_time || inner.len() > 40 {
            break;
        }
        (rest, count) = (after, count + 1);
    }
    if count == 0 {
        return None;
    }
    let rest = rest.strip_prefix(' ').or_else(|| rest.is_empty().then_some(rest))?;
    // `GC(12) `, of the collection that the JVM logs.
    let collection = rest.strip_prefix("GC(").and_then(|rest| rest.split_once(") "));
    Some(match collection {
        Some((number, after)) if number.parse::<u64>().is_ok() => after,
        _ => rest,
    })
}

/// glog's `I0102 10:11:12.123456 77 server.cc:12] text`.
fn glog(line: &str) -> Option<&str> {
    let (head, rest) = line.split_once("] ").or_else(|| Some((line.strip_suffix(']')?, "")))?;
    let day = head.strip_prefix(['I', 'W', 'E', 'F'])?;
    digits(day, "0000 00:00:00").or_else(|| digits(day, "00000000 00:00:00"))?;
    (head.len() < 120).then_some(rest)
}

/// `INFO `, `[INFO] `, `E `: what a build or a log puts first.
fn level(line: &str) -> Option<&str> {
    ["[INFO]", "[ERROR]", "[WARN]", "[WARNING]", "[exec]", "[java]", "INFO:", "ERROR:", "STDOUT:", "STDERR:"]
        .iter()
        .find_map(|mark| line.strip_prefix(mark))
        .map(|rest| rest.strip_prefix(' ').unwrap_or(rest))
}

/// `  12  text`, `12: text`, `12 | text`, `12\ttext`; also grep's `file.log:12:text`.
fn number(line: &str) -> Option<&str> {
    let bare = line.trim_start();
    let count = bare.len() - bare.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    if count == 0 {
        let (file, rest) = bare.split_once(':')?;
        let (digits, rest) = rest.split_once(':')?;
        let is_line = is_name(file) && file.contains('.') && digits.parse::<u64>().is_ok();
        return is_line.then_some(rest);
    }
    let rest = bare.get(count..)?;
    if count > 7 {
        return None;
    }
    if rest.is_empty() {
        return Some(rest);
    }
    let marks = [": ", ":", " | ", " |", "\t", "  ", " "];
    marks.iter().find_map(|mark| rest.strip_prefix(mark))
}
