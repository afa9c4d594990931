//! The account as figures of the model.

use crate::account::Account;
use offheap_model::{Detail, Domain, DomainFigure};
use std::collections::BTreeMap;

/// One figure a domain, largest first, its lines largest first.
pub(crate) fn figures(account: Account) -> Vec<DomainFigure> {
    let mut domains: BTreeMap<Domain, DomainFigure> = BTreeMap::new();
    for (label, amount) in account {
        let figure = domains.entry(label.domain).or_insert_with(|| DomainFigure::resident(label.domain, 0));
        figure.rss_bytes += amount.rss;
        figure.virtual_bytes += amount.virtual_bytes;
        figure.swap_bytes += amount.swap;
        figure.huge_bytes += amount.huge;
        figure.detail.push(Detail {
            name: label.name.clone(),
            rss_bytes: amount.rss,
            virtual_bytes: amount.virtual_bytes,
            source: label.source.to_owned(),
        });
    }
    let mut figures: Vec<DomainFigure> = domains.into_values().collect();
    for figure in &mut figures {
        figure.detail.sort_by(|a, b| b.rss_bytes.cmp(&a.rss_bytes).then_with(|| a.name.cmp(&b.name)));
        let mut sources: Vec<&str> = Vec::new();
        for detail in figure.detail.iter().filter(|detail| detail.rss_bytes > 0) {
            if !sources.contains(&detail.source.as_str()) {
                sources.push(&detail.source);
            }
        }
        figure.source = sources.join(", ");
    }
    figures.sort_by(|a, b| b.rss_bytes.cmp(&a.rss_bytes).then_with(|| a.domain.cmp(&b.domain)));
    figures
}
