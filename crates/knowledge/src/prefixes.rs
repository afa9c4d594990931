//! Patterns that a name may start with, and the longest that it does.

/// Sorted patterns, each with what it stands for.
#[derive(Debug, Clone)]
pub(crate) struct Prefixes<T> {
    sorted: Vec<(String, T)>,
}

impl<T: Copy> Prefixes<T> {
    /// Of two equal patterns the later counts.
    pub fn of(mut patterns: Vec<(String, T)>) -> Self {
        patterns.reverse();
        patterns.sort_by(|a, b| a.0.cmp(&b.0));
        patterns.dedup_by(|later, first| later.0 == first.0);
        Prefixes { sorted: patterns }
    }

    /// The longest pattern that `text` starts with: its length, and what it stands for.
    pub fn longest(&self, text: &str) -> Option<(usize, T)> {
        self.longest_that(text, |_, _| true)
    }

    /// The longest pattern that `text` starts with and that fits, by its length and what it stands
    /// for.
    pub fn longest_that(&self, text: &str, fits: impl Fn(usize, T) -> bool) -> Option<(usize, T)> {
        let text = text.as_bytes();
        let mut end = text.len();
        loop {
            // All patterns that the text starts with are sorted before it, the longest last; where
            // another lies between, no pattern is longer than what the two have in common.
            let rest = text.get(..end)?;
            let at = self.sorted.partition_point(|(pattern, _)| pattern.as_bytes() <= rest);
            let (pattern, value) = self.sorted.get(at.checked_sub(1)?)?;
            let common = pattern.bytes().zip(rest).take_while(|(a, b)| a == *b).count();
            if common < pattern.len() {
                end = common;
            } else if fits(common, *value) {
                return Some((common, *value));
            } else {
                end = common.checked_sub(1)?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Prefixes;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_longest_is_found(patterns in prop::collection::vec("[ab]{1,5}", 0..20), text in "[abc]{0,8}") {
            let table = Prefixes::of(patterns.iter().map(|p| (p.clone(), p.len())).collect());
            let longest = patterns.iter().filter(|p| text.starts_with(p.as_str())).map(String::len).max();
            prop_assert_eq!(table.longest(&text).map(|(length, _)| length), longest);
            let odd = patterns.iter().map(String::len).filter(|length| length % 2 == 1);
            let odd = odd.filter(|&length| patterns.iter().any(|p| p.len() == length && text.starts_with(p.as_str()))).max();
            prop_assert_eq!(table.longest_that(&text, |length, _| length % 2 == 1).map(|(length, _)| length), odd);
        }
    }

    #[test]
    fn of_two_equal_patterns_the_later_counts() {
        let table = Prefixes::of(vec![("same".to_owned(), 1), ("same".to_owned(), 2)]);
        assert_eq!(table.longest("same.x"), Some((4, 2)));
    }
}
