//! # The symbol or string table grows
//!
//! ## Signature
//! With native memory tracking on: the category Symbol grows steadily to the end of the window.
//!
//! ## Why
//! `String.intern()` of ever new strings (keys, tokens, XML and JSON names) fills the string table;
//! ever new class, method and field names fill the symbol table. Interned strings that nothing
//! references are dropped at collections, so steady growth means that they are kept: about half as
//! much again lies on the Java heap as the strings themselves.
//!
//! ## Confirm
//! - `jcmd PID VM.stringtable` and `jcmd PID VM.symboltable`: number of entries, twice.
//! - `jcmd PID VM.classloader_stats`: if classes grow too, see [class-loader-leak](class-loader-leak.md).
//!
//! ## Fix
//! - Intern into a bounded map of your own, or not at all (`-XX:+UseStringDeduplication` saves the same bytes).
//! - Jackson: `JsonFactory.Feature.INTERN_FIELD_NAMES` off for documents with open-ended names.
//!
//! ## Example
//! *In process 4711, the JVM's symbol and string tables grew steadily over 1 min (61 snapshots)…*

use super::Rule;
use super::class_loader_leak::class_growth;
use crate::draft::{Draft, Subject};
use crate::evidence::Evidence;
use crate::growth::Freed;
use crate::series::Key;
use offheap_model::{Domain, Finding};

/// See the page.
pub struct StringSymbolTables;

impl Rule for StringSymbolTables {
    fn id(&self) -> &'static str {
        "string-symbol-tables"
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Option<Finding> {
        let key = Key::NmtMalloc("Symbol".to_owned());
        let growth = evidence.growth(&key, Freed::ByCollector, evidence.material())?;
        if class_growth(evidence).is_some_and(|classes| classes.per_s > growth.per_s) {
            // Names of classes: the classes are the cause.
            return None;
        }
        let subject = Subject {
            what: "the JVM's symbol and string tables (NMT's Symbol)",
            meaning: "Ever new strings are interned, or ever new names loaded, and kept.",
            source: "NMT counters",
        };
        let draft = Draft::of_growth(self.id(), evidence, Domain::JvmInternal, &growth, &subject)?
            .fix([
                "do not intern open-ended strings: a bounded map, or -XX:+UseStringDeduplication",
                "Jackson: switch JsonFactory.Feature.INTERN_FIELD_NAMES off for open-ended field names",
            ])
            .confirm([
                format!("jcmd {} VM.stringtable, twice: number of entries", evidence.pid()),
                format!("jcmd {} VM.symboltable, twice", evidence.pid()),
            ]);
        Some(draft.finish())
    }
}
