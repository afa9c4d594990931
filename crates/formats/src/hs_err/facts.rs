//! What a log knows, as an expert would list it: what was asked for, what there was, who was
//! running.

use super::HsErr;
use crate::figures::{Named, sum};
use offheap_model::units::{bytes, duration};

/// Addresses below this are a null pointer with an offset: the first page is never mapped.
const NULL_PAGE: u64 = 4096;
/// NMT's categories and pools of threads that are named.
const NAMED: usize = 3;

impl HsErr {
    /// What is known, label and value, what matters most first; `nmt` are the figures of its NMT
    /// section.
    pub fn facts(&self, nmt: &[Named]) -> Vec<(&'static str, String)> {
        let mut facts: Vec<(&'static str, String)> = Vec::new();
        let mut add =
            |label: &'static str, value: Option<String>| facts.extend(value.map(|value| (label, value)));
        add(
            "asked for",
            self.refused.as_ref().map(|refused| {
                let purpose = if refused.purpose.is_empty() {
                    String::new()
                } else {
                    format!(", for {}", refused.purpose)
                };
                format!("{} by {}{purpose}: refused", bytes(refused.bytes), refused.by)
            }),
        );
        add("said before", (!self.warnings.is_empty()).then(|| self.warnings.join(" ")));
        add("the JVM's reasons", (!self.reasons.is_empty()).then(|| self.reasons.join("; ")));
        add("signal", self.signal_words());
        add(
            "thread",
            (!self.thread.is_empty()).then(|| match self.thread.split_once(", stack(") {
                Some((thread, _)) => format!("{thread}]"),
                None => self.thread.clone(),
            }),
        );
        add("compiling", (!self.compile_task.is_empty()).then(|| self.compile_task.clone()));
        add("uptime", self.uptime_s.map(duration));
        add("resident", self.rss_bytes.map(bytes));
        add(
            "C heap",
            self.c_heap_bytes.map(|used| {
                let held = self
                    .c_heap_retained_bytes
                    .map_or_else(String::new, |held| format!(", {} free but held by glibc", bytes(held)));
                format!("{} in use{held}", bytes(used))
            }),
        );
        let sum = sum(nmt);
        let mut largest: Vec<&Named> = nmt.iter().collect();
        largest.sort_by_key(|named| std::cmp::Reverse(named.bytes));
        let parts: Vec<String> = largest
            .iter()
            .take(NAMED)
            .map(|named| format!("{} {}", named.name, bytes(named.bytes)))
            .collect();
        add("NMT, committed", (sum > 0).then(|| format!("{}: {}", bytes(sum), parts.join(", "))));
        add(
            "Java threads",
            self.java_threads.map(|count| {
                let pools: Vec<String> = self
                    .pools
                    .iter()
                    .take(NAMED)
                    .filter(|(_, of_pool)| *of_pool > 1)
                    .map(|(name, of_pool)| format!("{of_pool} named {name}"))
                    .collect();
                if pools.is_empty() { count.to_string() } else { format!("{count}: {}", pools.join(", ")) }
            }),
        );
        add("container", self.container_words());
        add("machine", self.machine_words());
        add("JVM", (!self.vm.is_empty()).then(|| self.vm.clone()));
        add("command line", (!self.command_line.is_empty()).then(|| self.command_line.clone()));
        facts
    }

    fn signal_words(&self) -> Option<String> {
        let signal = self.signal.as_ref()?;
        let code = if signal.code.is_empty() { String::new() } else { format!(" ({})", signal.code) };
        let at = match (signal.address, signal.sender) {
            (_, Some(pid)) => format!(", sent by process {pid}"),
            (Some(address), _) if address < NULL_PAGE => format!(" at address {address:#x}: a null pointer"),
            (Some(address), _) => {
                let file =
                    self.mappings.iter().find(|mapping| (mapping.start..mapping.end).contains(&address));
                let file = file.map_or_else(String::new, |mapping| format!(", in {}", mapping.path));
                format!(" at address {address:#x}{file}")
            }
            (None, None) => String::new(),
        };
        Some(format!("{}{code}{at}", signal.name))
    }

    fn container_words(&self) -> Option<String> {
        let get = |key: &str| {
            self.container.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
        };
        let size = |value: &str| super::size(&value.replace(' ', "")).filter(|bytes| *bytes > 0).map(bytes);
        let limit = get("memory_limit_in_bytes").map(|value| size(value).unwrap_or_else(|| value.to_owned()));
        let used = get("memory_usage_in_bytes").and_then(size);
        let most = get("memory_max_usage_in_bytes").and_then(size);
        let parts = [("memory limit", limit), ("used", used), ("used at most", most)];
        let words: Vec<String> =
            parts.into_iter().filter_map(|(what, value)| Some(format!("{what} {}", value?))).collect();
        (!words.is_empty()).then(|| words.join(", "))
    }

    fn machine_words(&self) -> Option<String> {
        let get = |key: &str| self.host.iter().find(|(known, _)| known == key).map(|(_, bytes)| *bytes);
        let total = get("MemTotal").or(self.physical_bytes.map(|(total, _)| total))?;
        let (free, what) =
            match (get("MemAvailable"), get("MemFree").or(self.physical_bytes.map(|(_, free)| free))) {
                (Some(available), _) => (available, "available"),
                (None, Some(free)) => (free, "free"),
                (None, None) => return Some(format!("{} of memory", bytes(total))),
            };
        let swap = get("SwapTotal").zip(get("SwapFree")).map_or_else(String::new, |(all, left)| {
            if all == 0 {
                ", no swap".to_owned()
            } else {
                format!(", {} of {} swap free", bytes(left), bytes(all))
            }
        });
        let promised =
            get("Committed_AS").zip(get("CommitLimit")).filter(|(promised, limit)| promised > limit);
        let promised = promised.map_or_else(String::new, |(promised, limit)| {
            format!(", {} promised of {} (CommitLimit)", bytes(promised), bytes(limit))
        });
        let commit = self.commit_bytes.map_or_else(String::new, |(all, left)| {
            format!(", {} left of the {} that memory and page file have together", bytes(left), bytes(all))
        });
        Some(format!("{} {what} of {}{swap}{promised}{commit}", bytes(free), bytes(total)))
    }
}
