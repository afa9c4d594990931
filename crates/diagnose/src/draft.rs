//! Findings in the making: what every rule's text has in common.

use crate::evidence::Evidence;
use crate::growth::{Growth, Kind};
use crate::next_step::NextStep;
use offheap_model::{Domain, Evidence as Observation, Finding, Status, units};

/// A finding being written.
pub(crate) struct Draft(Finding);

/// What a growth finding says beside the figures.
pub(crate) struct Subject<'a> {
    /// What grew, as the subject of a sentence: `"memory of direct ByteBuffers"`.
    pub what: &'a str,
    /// What it means if it is a leak, a sentence.
    pub meaning: &'a str,
    /// Where the figures come from.
    pub source: &'a str,
}

impl Draft {
    /// A finding of the rule `id`.
    pub fn new(id: &str, status: Status, domain: Domain, confidence: f64) -> Draft {
        Draft(Finding {
            status,
            domain: Some(domain),
            cause: id.to_owned(),
            confidence: confidence.clamp(0.0, 1.0),
            summary: String::new(),
            evidence: Vec::new(),
            slope_bytes_per_s: 0.0,
            slope_ci95: None,
            explains: Vec::new(),
            site: None,
            fix: Vec::new(),
            confirm: Vec::new(),
            next: None,
        })
    }

    /// A finding of growth in bytes, with its summary; `None` where the growth is none to speak of.
    pub fn of_growth(
        id: &str,
        evidence: &Evidence<'_>,
        domain: Domain,
        growth: &Growth,
        subject: &Subject<'_>,
    ) -> Option<Draft> {
        let status = growth.status()?;
        let figures = format!(
            "{} → {}, {} (95 % between {} and {})",
            units::bytes(growth.from.max(0.0) as u64),
            units::bytes(growth.to.max(0.0) as u64),
            units::rate(growth.per_s),
            units::rate(growth.ci95[0]),
            units::rate(growth.ci95[1]),
        );
        let mut draft = Draft::new(id, status, domain, growth.certainty).slope(growth.per_s);
        draft.0.slope_ci95 = Some(growth.ci95).filter(|ci| ci.iter().all(|v| v.is_finite()));
        draft = draft.summary(match growth.kind {
            Kind::Lasting => format!(
                "In {}, {} grew steadily over {}: {figures}. {}{} {}. Source: {}.",
                evidence.who(),
                subject.what,
                evidence.window(),
                subject.meaning,
                if growth.why.is_empty() { String::new() } else { format!(" As for garbage: {}.", growth.why) },
                evidence.rss_words(),
                subject.source,
            ),
            Kind::Garbage => format!(
                "In {}, {} grew over {}: {figures}. It is garbage: {}. {}. Source: {}.",
                evidence.who(),
                subject.what,
                evidence.window(),
                growth.why,
                evidence.rss_words(),
                subject.source,
            ),
            _ => format!(
                "In {}, {} grew over {}: {figures}. Whether it is a leak can't be told yet: {}. {}{}. Source: {}.",
                evidence.who(),
                subject.what,
                evidence.window(),
                growth.why,
                to_be_sure(growth.next),
                evidence.rss_words(),
                subject.source,
            ),
        });
        draft = draft.saw(format!("{}: {figures}", subject.what), subject.source);
        if !growth.why.is_empty() {
            draft = draft.saw(growth.why.clone(), "the shape of the series");
        }
        if let Some(next) = growth.next {
            draft.0.next = next.as_next();
            draft = draft.confirm([next.to_string()]);
        }
        Some(draft)
    }

    /// The growth it explains.
    pub fn slope(mut self, per_s: f64) -> Draft {
        self.0.slope_bytes_per_s = if per_s.is_finite() { per_s } else { 0.0 };
        self
    }

    /// The paragraph for the ticket.
    pub fn summary(mut self, text: String) -> Draft {
        self.0.summary = text;
        self
    }

    /// Adds a sentence to the paragraph.
    pub fn also(mut self, sentence: &str) -> Draft {
        self.0.summary.push(' ');
        self.0.summary.push_str(sentence);
        self
    }

    /// Adds an observation.
    pub fn saw(mut self, text: impl Into<String>, source: &str) -> Draft {
        self.0.evidence.push(Observation { text: text.into(), source: source.to_owned() });
        self
    }

    /// Adds things to do, best first.
    pub fn fix<S: Into<String>>(mut self, steps: impl IntoIterator<Item = S>) -> Draft {
        self.0.fix.extend(steps.into_iter().map(Into::into));
        self
    }

    /// Adds ways to make sure.
    pub fn confirm<S: Into<String>>(mut self, steps: impl IntoIterator<Item = S>) -> Draft {
        self.0.confirm.extend(steps.into_iter().map(Into::into));
        self
    }

    /// Multiplies the confidence.
    pub fn weigh(mut self, factor: f64) -> Draft {
        self.0.confidence = (self.0.confidence * factor).clamp(0.0, 1.0);
        self
    }

    /// Bounds the confidence.
    pub fn at_most(mut self, confidence: f64) -> Draft {
        self.0.confidence = self.0.confidence.min(confidence);
        self
    }

    /// The status so far.
    pub fn status(&self) -> Status {
        self.0.status
    }

    /// The finding.
    pub fn finish(self) -> Finding {
        self.0
    }
}

/// What to do to be sure, as a sentence with a space behind it; empty where there is nothing.
pub(crate) fn to_be_sure(next: Option<NextStep>) -> String {
    next.map_or_else(String::new, |next| format!("To be sure, {next}. "))
}

/// `text` with a capital letter at its start.
pub(crate) fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}
