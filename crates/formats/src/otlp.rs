//! OpenTelemetry profiles (OTLP), protobuf, of one version of the proto: the signal is in
//! development, and its layout changed from release to release. Field numbers are those of
//! opentelemetry-proto 1.10.0, `profiles/v1development/profiles.proto`.
//!
//! A profile has one kind of value there: each figure that has any is a profile of its own, over
//! the same tables.

use crate::Figure;
use crate::protobuf::{Message, Strings};
use offheap_model::{Profile, ProfileSite};
use std::collections::HashMap;

/// The version of opentelemetry-proto that is written.
pub const VERSION: &str = "1.10.0";

/// Writes `profile` as a `ProfilesData` message, not compressed.
pub fn write(profile: &Profile) -> Vec<u8> {
    let mut strings = Strings::default();
    let mut dictionary = Message::default();
    // Number 0 of each table is nothing, so that an index of 0 means none.
    let mut mappings: HashMap<&str, u64> = HashMap::new();
    dictionary.message(1, &Message::default());
    for module in profile.frames.iter().filter_map(|frame| frame.module.as_deref()) {
        let next = mappings.len() as u64 + 1;
        if *mappings.entry(module).or_insert(next) == next {
            let mut mapping = Message::default();
            mapping.number(4, strings.number(module));
            dictionary.message(1, &mapping);
        }
    }
    dictionary.message(2, &Message::default());
    dictionary.message(3, &Message::default());
    for (index, frame) in profile.frames.iter().enumerate() {
        let mut function = Message::default();
        function.number(1, strings.number(&frame.name));
        function.number(3, strings.number(frame.file.as_deref().unwrap_or("")));
        dictionary.message(3, &function);
        let mut line = Message::default();
        line.number(1, index as u64 + 1);
        line.number(2, frame.line.map_or(0, u64::from));
        let mut location = Message::default();
        location
            .number(1, frame.module.as_deref().and_then(|module| mappings.get(module)).copied().unwrap_or(0));
        location.message(3, &line);
        dictionary.message(2, &location);
    }
    dictionary.message(4, &Message::default());
    dictionary.message(6, &Message::default());
    dictionary.message(7, &Message::default());
    for site in &profile.sites {
        let known = site.stack.iter().filter(|index| (**index as usize) < profile.frames.len());
        let mut stack = Message::default();
        stack.packed(1, known.map(|index| u64::from(*index) + 1));
        dictionary.message(7, &stack);
    }
    let mut scope = Message::default();
    for figure in Figure::ALL {
        let sites = || profile.sites.iter().enumerate().filter(|(_, site)| figure.of(site) > 0);
        if sites().next().is_some() {
            scope.message(2, &one(profile, figure, sites(), &mut strings));
        }
    }
    for text in &strings.list {
        dictionary.bytes(5, text.as_bytes());
    }
    let mut resource = Message::default();
    resource.message(2, &scope);
    let mut out = Message::default();
    out.message(1, &resource);
    out.message(2, &dictionary);
    out.into_bytes()
}

/// The profile of one figure.
fn one<'a>(
    profile: &Profile,
    figure: Figure,
    sites: impl Iterator<Item = (usize, &'a ProfileSite)>,
    strings: &mut Strings,
) -> Message {
    let (kind, unit) = match figure {
        Figure::LeakBytes => ("leak_space", "bytes"),
        Figure::LiveBytes => ("inuse_space", "bytes"),
        Figure::LiveCount => ("inuse_objects", "count"),
        Figure::AllocatedBytes => ("alloc_space", "bytes"),
        Figure::AllocatedCount => ("alloc_objects", "count"),
    };
    let mut value_type = |kind: &str, unit: &str| {
        let mut message = Message::default();
        message.number(1, strings.number(kind));
        message.number(2, strings.number(unit));
        message
    };
    let mut message = Message::default();
    message.message(1, &value_type(kind, unit));
    for (index, site) in sites {
        let mut sample = Message::default();
        sample.number(1, index as u64 + 1);
        sample.packed(4, std::iter::once(figure.of(site)));
        message.message(2, &sample);
    }
    message.fixed64(3, profile.start_ms.max(0).unsigned_abs().saturating_mul(1_000_000));
    message.number(4, (profile.seconds * 1e9) as u64);
    message.message(5, &value_type("space", "bytes"));
    message.number(6, profile.sampling.interval_bytes);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_has_the_tables_and_the_figures_of_the_proto() {
        let profile = crate::collapsed::read(b"main;leak 70\nmain;b 30\n").unwrap().profile;
        let bytes = write(&profile);
        let all = crate::protobuf::fields_of(&bytes);
        let part = |fields: &[(u64, crate::protobuf::Value<'_>)], number: u64| -> Vec<Vec<u8>> {
            let of = fields.iter().filter(|(field, _)| *field == number);
            of.filter_map(|(_, value)| value.bytes().map(<[u8]>::to_vec)).collect()
        };
        let dictionary = part(&all, 2).remove(0);
        let tables = crate::protobuf::fields_of(&dictionary);
        // Three frames, two stacks, and the empty one that each table starts with.
        assert_eq!([1, 2, 3, 7].map(|table| part(&tables, table).len()), [1, 4, 4, 3]);
        let strings = part(&tables, 5);
        assert!(strings[0].is_empty() && strings.contains(&b"leak".to_vec()));
        let resource = part(&all, 1).remove(0);
        let scope = part(&crate::protobuf::fields_of(&resource), 2).remove(0);
        let profiles = part(&crate::protobuf::fields_of(&scope), 2);
        assert_eq!(profiles.len(), 1, "only live bytes are known");
        let samples = part(&crate::protobuf::fields_of(&profiles[0]), 2);
        assert_eq!(samples.len(), 2);
        // The first site is the largest: stack 1, value 70.
        assert_eq!(samples[0], [8, 1, 4 << 3 | 2, 1, 70]);
    }
}
