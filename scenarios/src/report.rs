//! The score as Markdown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::{Answer, Attempt, Outcome, Plan, Status};

/// The score, its confusion tables, every miss and every scenario, as one Markdown page.
pub fn markdown(plan: &Plan, results: &[(Attempt, Outcome)]) -> String {
    let mut page = String::from("# How often `offheap diagnose` is right\n\n");
    // Writing into a String cannot fail.
    let _ = write_page(&mut page, plan, results);
    page
}

fn write_page(page: &mut String, plan: &Plan, results: &[(Attempt, Outcome)]) -> std::fmt::Result {
    writeln!(page, "Made by `offheap-scenarios score`; {}.\n", conditions(plan))?;
    write_score(page, results)?;
    write_status_confusion(page, results)?;
    write_domain_confusion(page, results)?;
    write_misses(page, results)?;
    write_scenarios(page, results)
}

fn conditions(plan: &Plan) -> String {
    let list = |items: Vec<String>| items.join(", ");
    format!(
        "windows of {}, {} run(s) of each, {} at a time, JDK {}, rate {}, background load {}, {}",
        list(plan.windows.iter().map(|window| format!("{} s", window.as_secs())).collect()),
        plan.runs,
        plan.jobs,
        list(plan.jdks.iter().map(ToString::to_string).collect()),
        list(plan.rates.iter().map(|rate| rate.map_or("of the table".into(), per_second)).collect()),
        plan.load,
        if plan.agent { "with the agent" } else { "without the agent" },
    )
}

fn per_second(bytes: u64) -> String {
    format!("{} KB/s", bytes >> 10)
}

/// The figures.
fn write_score(page: &mut String, results: &[(Attempt, Outcome)]) -> std::fmt::Result {
    let counted: Vec<(&Attempt, Option<&Answer>)> = results
        .iter()
        .filter_map(|(attempt, outcome)| match outcome {
            Outcome::Answered(answer) => Some((attempt, Some(answer))),
            Outcome::Failed(_) => Some((attempt, None)),
            Outcome::Skipped(_) => None,
        })
        .collect();
    let leaking: Vec<_> = counted.iter().filter(|(attempt, _)| attempt.scenario.leaking).collect();
    let healthy: Vec<_> = counted.iter().filter(|(attempt, _)| !attempt.scenario.leaking).collect();
    let status = counted.iter().filter(|(_, answer)| answer.is_some_and(|a| a.status_right)).count();
    let of = |pick: fn(&Answer) -> Option<bool>| {
        // An attempt without an answer is wrong in every respect.
        let judged: Vec<bool> =
            leaking.iter().filter_map(|(_, answer)| answer.map_or(Some(false), pick)).collect();
        ratio(judged.iter().filter(|right| **right).count(), judged.len())
    };
    let alarms = healthy
        .iter()
        .filter(|(_, answer)| answer.is_some_and(|answer| answer.verdict.status == Status::Leak))
        .count();
    writeln!(page, "| | |\n|---|---|")?;
    writeln!(page, "| right status | {} |", ratio(status, counted.len()))?;
    writeln!(page, "| right domain, of the leaking ones | {} |", of(|answer| answer.domain_right))?;
    writeln!(page, "| right cause, of the leaking ones | {} |", of(|answer| answer.cause_right))?;
    if leaking.iter().any(|(_, answer)| answer.is_some_and(|a| a.site_right.is_some())) {
        writeln!(page, "| right site, of the leaking ones | {} |", of(|answer| answer.site_right))?;
    }
    writeln!(page, "| healthy programs called a leak | {alarms} of {} |", healthy.len())?;
    let failed = counted.iter().filter(|(_, answer)| answer.is_none()).count();
    writeln!(page, "| no verdict at all | {failed} |")?;
    writeln!(page, "| not run here | {} |\n", results.len() - counted.len())
}

fn ratio(right: usize, all: usize) -> String {
    if all == 0 {
        "–".into()
    } else {
        format!("{:.1} % ({right} of {all})", 100.0 * right as f64 / all as f64)
    }
}

fn write_status_confusion(page: &mut String, results: &[(Attempt, Outcome)]) -> std::fmt::Result {
    writeln!(
        page,
        "## Status\n\nRows are the truth, columns the verdict. Where more than one answer is right the"
    )?;
    writeln!(page, "row is the best of them, so not every figure off the diagonal is a miss.\n")?;
    writeln!(page, "| truth | {} | none |", Status::ALL.map(|status| status.to_string()).join(" | "))?;
    writeln!(page, "|---|{}---|", "---|".repeat(Status::ALL.len()))?;
    for truth in Status::ALL {
        let row: Vec<&Outcome> = results
            .iter()
            .filter(|(attempt, _)| attempt.scenario.expected() == truth)
            .map(|(_, outcome)| outcome)
            .filter(|outcome| !matches!(outcome, Outcome::Skipped(_)))
            .collect();
        if row.is_empty() {
            continue;
        }
        write!(page, "| {truth} |")?;
        for said in Status::ALL {
            let count = row
                .iter()
                .filter(
                    |outcome| matches!(outcome, Outcome::Answered(answer) if answer.verdict.status == said),
                )
                .count();
            write!(page, " {count} |")?;
        }
        let none = row.iter().filter(|outcome| matches!(outcome, Outcome::Failed(_))).count();
        writeln!(page, " {none} |")?;
    }
    writeln!(page)
}

fn write_domain_confusion(page: &mut String, results: &[(Attempt, Outcome)]) -> std::fmt::Result {
    let mut cells: BTreeMap<(String, String), usize> = BTreeMap::new();
    for (attempt, outcome) in results.iter().filter(|(attempt, _)| attempt.scenario.leaking) {
        if let Outcome::Answered(answer) = outcome {
            let truth = attempt.scenario.domain.join(" or ");
            let said = match answer.verdict.status {
                Status::Leak => answer.verdict.domain.clone(),
                status => format!("({status})"),
            };
            *cells.entry((truth, said)).or_default() += 1;
        }
    }
    if cells.is_empty() {
        return Ok(());
    }
    let columns: BTreeSet<&String> = cells.keys().map(|(_, said)| said).collect();
    let rows: BTreeSet<&String> = cells.keys().map(|(truth, _)| truth).collect();
    writeln!(page, "## Domain of the leaking ones\n")?;
    writeln!(page, "| truth | {} |", columns.iter().map(|c| c.as_str()).collect::<Vec<_>>().join(" | "))?;
    writeln!(page, "|---|{}", "---|".repeat(columns.len()))?;
    for row in rows {
        write!(page, "| {row} |")?;
        for column in &columns {
            match cells.get(&(row.clone(), (*column).clone())) {
                Some(count) => write!(page, " {count} |")?,
                None => write!(page, " |")?,
            }
        }
        writeln!(page)?;
    }
    writeln!(page)
}

fn write_misses(page: &mut String, results: &[(Attempt, Outcome)]) -> std::fmt::Result {
    let mut lines = Vec::new();
    for (attempt, outcome) in results {
        let label = label(attempt);
        match outcome {
            Outcome::Failed(reason) => lines.push(format!("- **{label}**: no verdict. {}", one_line(reason))),
            Outcome::Skipped(reason) => lines.push(format!("- {label}: not run. {}", one_line(reason))),
            Outcome::Answered(answer) => {
                if let Some(wrong) = wrong(answer) {
                    let verdict = &answer.verdict;
                    lines.push(format!(
                        "- **{label}**: wrong {wrong}: {} / {} / {} at {:.2}. {}",
                        verdict.status,
                        verdict.domain,
                        verdict.cause,
                        verdict.confidence,
                        one_line(&verdict.summary)
                    ));
                }
                lines.extend(
                    answer.problems.iter().map(|problem| format!("- **{label}**: {}", one_line(problem))),
                );
            }
        }
    }
    if !lines.is_empty() {
        writeln!(page, "## Misses\n\n{}\n", lines.join("\n"))?;
    }
    Ok(())
}

fn wrong(answer: &Answer) -> Option<&'static str> {
    if !answer.status_right {
        Some("status")
    } else if answer.domain_right == Some(false) {
        Some("domain")
    } else if answer.cause_right == Some(false) {
        Some("cause")
    } else if answer.site_right == Some(false) {
        Some("site")
    } else {
        None
    }
}

fn label(attempt: &Attempt) -> String {
    let mut label = attempt.scenario.name.clone();
    if let Some(jdk) = &attempt.jdk {
        let _ = write!(label, ", JDK {jdk}");
    }
    if let Some(rate) = attempt.rate {
        let _ = write!(label, ", {}", per_second(rate));
    }
    let _ = write!(label, ", {} s", attempt.window.as_secs());
    label
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn write_scenarios(page: &mut String, results: &[(Attempt, Outcome)]) -> std::fmt::Result {
    let mut names: Vec<&str> = Vec::new();
    let mut rows: BTreeMap<&str, Vec<(&Attempt, &Answer)>> = BTreeMap::new();
    for (attempt, outcome) in results {
        if let Outcome::Answered(answer) = outcome {
            let name = attempt.scenario.name.as_str();
            if !rows.contains_key(name) {
                names.push(name);
            }
            rows.entry(name).or_default().push((attempt, answer));
        }
    }
    writeln!(
        page,
        "## Every scenario\n\n| scenario | truth | status right | domain right | verdicts | seconds |"
    )?;
    writeln!(page, "|---|---|---|---|---|---|")?;
    for name in names {
        let row = rows.get(name).map_or(&[][..], Vec::as_slice);
        let Some((attempt, _)) = row.first() else { continue };
        let right = row.iter().filter(|(_, answer)| answer.status_right).count();
        let domains: Vec<bool> = row.iter().filter_map(|(_, answer)| answer.domain_right).collect();
        let domain = match domains.len() {
            0 => String::new(),
            all => format!("{} of {all}", domains.iter().filter(|right| **right).count()),
        };
        let verdicts: BTreeSet<String> = row
            .iter()
            .map(|(_, answer)| {
                format!("{}/{}/{}", answer.verdict.status, answer.verdict.domain, answer.verdict.cause)
            })
            .collect();
        let slowest = row.iter().map(|(_, answer)| answer.took.as_secs()).max().unwrap_or(0);
        writeln!(
            page,
            "| {name} | {} | {right} of {} | {domain} | {} | {slowest} |",
            attempt.scenario.expected(),
            row.len(),
            verdicts.into_iter().collect::<Vec<_>>().join(", "),
        )?;
    }
    Ok(())
}
