//! Examining a system: what each part guarantees, what is unsafe, and the fix.

use std::fmt;

use super::Inspector;
use crate::{
    Capability, Examination, Finding, Guarantee, JobWrites, Lookup, Result, Severity, engine::Engine, source::can,
};

/// The findings of an examination of a whole system. `Display` says them in a few lines a part.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Diagnosis {
    /// The store, the queue and each source, in this order.
    pub parts: Vec<DiagnosisPart>,
}

/// A part of a system with its own description.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiagnosisPart {
    /// `store`, `queue`, or `source grades`.
    pub role: String,
    /// Its description, its guarantees and the findings.
    pub examination: Examination,
    /// The capabilities of a source, beyond the required ones.
    pub capabilities: Vec<Capability>,
}

impl Inspector {
    /// Asks every configured part for its guarantees and for what is unsafe in its setup. Call it at the start of a
    /// program or from a command for operators; it changes nothing.
    ///
    /// A part that cannot be examined is a finding, not an error.
    pub async fn doctor(&self) -> Diagnosis {
        let engine = &self.engine;
        let mut parts = vec![
            DiagnosisPart::of("store".to_owned(), engine.timed("examine", engine.store.examine()).await),
            DiagnosisPart::of("queue".to_owned(), engine.timed("examine", engine.queue.examine()).await),
        ];
        if engine.store.job_writes() == JobWrites::Reported {
            let fix = "give both roles to one backend with `.backend(…)` where it can have both";
            let problem = "the store does not write its jobs: after a crash in between, the reconciler queues them up to \
                           ten seconds later";
            parts[1].examination.findings.push(Finding::new(Severity::Advice, problem, fix));
        }
        let lookup = engine.timed("lookup", engine.store.lookup(&[])).await.ok();
        for (id, source) in &engine.sources {
            let mut part = DiagnosisPart::of(format!("source {id}"), engine.timed("examine", source.examine()).await);
            part.capabilities = source.capabilities().to_vec();
            let fed = source.feed().is_some();
            let examination = &mut part.examination;
            examination.guarantee =
                examination.guarantee.or(Some(if fed { Guarantee::ChangeFeed } else { Guarantee::BestEffort }));
            if examination.guarantee == Some(Guarantee::Exact) {
                examine_exact(examination, lookup.as_ref());
            }
            engine.examine_routes(id, can(&**source, Capability::BeforeImages) || !fed, fed, examination);
            parts.push(part);
        }
        if let Some(lookup) = &lookup {
            engine.examine_validity(lookup, &mut parts);
        }
        // A store or a queue that does not answer is a finding already.
        if let Ok(findings) = engine.examine_programs().await {
            parts[1].examination.findings.extend(findings);
        }
        Diagnosis { parts }
    }
}

impl Engine {
    /// Findings about the cost of relations and predicates, with the images that the source shows.
    fn examine_routes(&self, id: &crate::SourceId, exact: bool, fed: bool, examination: &mut Examination) {
        let related = self.routes.of(id).is_some_and(|route| !route.relations.is_empty());
        if related && !exact {
            let problem = "changes do not tell what entities were before: each makes all results stale that have a \
                           relation from the source";
            let fix = "let the database keep images of before the change, and set the source up for them";
            examination.findings.push(Finding::new(Severity::Advice, problem, fix));
        }
        if related && !fed {
            let problem = "`changed` does not tell what an entity was before: it makes all results stale that have a \
                           relation from the source";
            examination.findings.push(Finding::new(Severity::Advice, problem, "report by `changed_from`"));
        }
    }

    /// Findings about sources that no feed confirms at the moment.
    fn examine_validity(&self, lookup: &Lookup, parts: &mut [DiagnosisPart]) {
        for (id, source) in self.sources.iter().filter(|(_, source)| source.feed().is_some()) {
            let name = format!("source {id}");
            let Some(part) = parts.iter_mut().find(|part| part.role == name) else { continue };
            for silent in self.routes.confirmed([source.id().clone()]) {
                let confirmed = lookup.validity.sources.get(&silent).is_some_and(|validity| {
                    validity.caught_up_on.as_ref() == Some(&lookup.incarnation)
                        && validity.valid_until.is_none_or(|until| until > lookup.now)
                });
                if !confirmed {
                    let what = self.routes.describe(&silent);
                    let problem = format!("no feed confirms {what} at the moment: results are unconfirmed");
                    let fix = "run a process that leads its feed and has registered all functions";
                    part.examination.findings.push(Finding::new(Severity::Warning, problem, fix));
                }
            }
        }
    }
}

/// A change and its report can be one step only in the database that holds both the data and the store.
fn examine_exact(examination: &mut Examination, lookup: Option<&Lookup>) {
    // A store that does not answer is a finding already.
    let Some(lookup) = lookup else {
        examination.guarantee = None;
        return;
    };
    if examination.beside.as_ref() == Some(&lookup.incarnation) {
        return;
    }
    examination.guarantee = Some(Guarantee::BestEffort);
    let problem = "its writers are to report within their transactions, and the store is not in its database: every such \
                   report is refused";
    let fix = "give the source's database to the builder as the backend, or the source a feed";
    examination.findings.push(Finding::new(Severity::Danger, problem, fix));
}

impl DiagnosisPart {
    fn of(role: String, examined: Result<Examination>) -> Self {
        let examination = examined.unwrap_or_else(|error| {
            let mut examination = Examination::new("it cannot be examined");
            let fix = "see whether it runs, and whether its user may ask";
            examination.findings.push(Finding::new(Severity::Danger, error.report(), fix));
            examination
        });
        Self { role, examination, capabilities: Vec::new() }
    }
}

impl Diagnosis {
    /// Every finding with the role of its part, the worst first.
    #[must_use]
    pub fn findings(&self) -> Vec<(&str, &Finding)> {
        let mut all: Vec<(&str, &Finding)> = Vec::new();
        for part in &self.parts {
            all.extend(part.examination.findings.iter().map(|finding| (part.role.as_str(), finding)));
        }
        all.sort_by_key(|(_, finding)| std::cmp::Reverse(finding.severity));
        all
    }

    /// The worst severity among the findings.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.findings().first().map(|(_, finding)| finding.severity)
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, part) in self.parts.iter().enumerate() {
            if place > 0 {
                writeln!(f)?;
            }
            write!(f, "{}: {}", part.role, part.examination.what)?;
            if let Some(guarantee) = part.examination.guarantee {
                let can: Vec<_> = part.capabilities.iter().map(ToString::to_string).collect();
                write!(f, " ({guarantee}{}{})", if can.is_empty() { "" } else { "; " }, can.join(", "))?;
            }
            for finding in &part.examination.findings {
                write!(f, "\n  {}: {}; {}", finding.severity, finding.problem, finding.fix)?;
            }
        }
        Ok(())
    }
}
