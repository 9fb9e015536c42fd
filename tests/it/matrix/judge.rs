//! What the count of a cell must be. The tolerance is none; what a killed process takes with it is named, counted and bounded.

use std::time::Instant;

use crate::tally::{Result_, Tally};
use crate::traffic::{Kind, copies};
use crate::wire::Trouble;

/// A restart: what may answer requests that were sent during it, and what may after it.
#[derive(Clone, Debug)]
pub struct Span {
    pub began: Instant,
    /// When its end had been told.
    pub told: Instant,
    pub during: Vec<String>,
    pub after: Vec<String>,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    pub requests: usize,
    pub failed: usize,
    /// Ends that are documented: those that the tally itself knows, and what a killed process had in hand.
    pub declared: usize,
    /// Why the cell fails; empty: it does not.
    pub faults: Vec<String>,
}

/// `kills`: processes killed while they had requests in hand.
pub fn judge(tally: &Tally, spans: &[Span], kinds: &[Kind], kills: usize) -> Verdict {
    let mut names: Vec<&str> = kinds.iter().map(|(name, _)| *name).collect();
    names.sort();
    names.dedup();
    let ok: usize = names.iter().map(|kind| tally.of(kind, &Result_::Ok)).sum();
    let mut faults = Vec::new();
    let mut died = 0;
    for kind in &names {
        if tally.of(kind, &Result_::Ok) == 0 {
            faults.push(format!("no {kind} took part"));
        }
        let lost: usize = died_with_it(kind).iter().map(|result| tally.of(kind, result)).sum();
        // A client has one request in hand.
        let clients: usize = kinds.iter().filter(|(name, _)| name == kind).map(|(name, _)| copies(name)).sum();
        let permitted = lost.min(clients * kills);
        died += permitted;
    }
    let failed = tally.failed() - died;
    if failed > 0 {
        faults.push(format!("{failed} of {} requests failed", tally.total()));
    }
    faults.extend(wrong_versions(tally, spans));
    Verdict { requests: tally.total(), failed, declared: tally.total() - ok - failed, faults }
}

/// What a request that the dead process had begun on may come to: a 502 where it may not be sent twice; a cut where its answer had begun.
fn died_with_it(kind: &str) -> &'static [Result_] {
    match kind {
        "post" | "paced" => &[Result_::Status(502)],
        "slow reader" => &[Result_::Trouble(Trouble::Cut), Result_::Trouble(Trouble::Reset)],
        // Between two of its messages a stream is cut where none has begun.
        "sse" | "websocket" => &[Result_::Trouble(Trouble::Cut), Result_::Trouble(Trouble::Reset), Result_::Trouble(Trouble::Closed)],
        _ => &[],
    }
}

/// A later version than the one of its time is no fault: an upload of two seconds is sent to whatever serves when it is whole.
fn wrong_versions(tally: &Tally, spans: &[Span]) -> Option<String> {
    let (mut wrong, mut after_the_end) = (Vec::new(), 0);
    for (sent, version) in tally.versions() {
        // The restart that had begun last before the request.
        let begun = spans.partition_point(|span| span.began <= sent);
        let (ours, later) = (begun.checked_sub(1).map(|index| &spans[index]), &spans[begun..]);
        let right = match ours {
            None => &[][..],
            Some(span) if sent < span.told => &span.during,
            Some(span) => &span.after,
        };
        after_the_end += usize::from(later.is_empty() && ours.is_some_and(|span| sent >= span.told));
        if !right.iter().chain(later.iter().flat_map(|span| &span.during)).any(|right| right == version) {
            wrong.push(format!("{version:?} ({:?})", ours.map(|span| (sent >= span.told, &span.during, &span.after))));
        }
    }
    wrong.sort();
    wrong.dedup();
    match (wrong.is_empty(), after_the_end) {
        (false, _) => Some(format!("wrong version: {}", wrong.join(", "))),
        (true, 0) => Some("nothing answered after the end".to_owned()),
        (true, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::traffic::{ALL, names};

    /// All kinds took part; release 2 has replaced release 1 between second 1 and second 2.
    fn whole() -> (Tally, Vec<Span>, Instant) {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut tally = Tally::default();
        for kind in names(&ALL) {
            tally.count(kind, Result_::Ok);
        }
        tally.saw(at(0), "1");
        tally.saw(at(1), "2");
        tally.saw(at(3), "2");
        let during = vec!["1".to_owned(), "2".to_owned()];
        (tally, vec![Span { began: at(1), told: at(2), during, after: vec!["2".to_owned()] }], begin)
    }

    #[test]
    fn a_whole_count_has_no_fault() {
        let (tally, spans, _) = whole();
        assert_eq!(judge(&tally, &spans, &ALL, 0), Verdict { requests: ALL.len(), ..Verdict::default() });
    }

    #[test]
    fn one_lost_request_fails_the_cell_whatever_it_came_to() {
        let losses = [
            Result_::Status(502),
            Result_::Status(503),
            Result_::WrongBody,
            Result_::Trouble(Trouble::Reset),
            Result_::Trouble(Trouble::Closed),
            Result_::Trouble(Trouble::Refused),
            Result_::Trouble(Trouble::Timeout),
            Result_::Trouble(Trouble::Cut),
        ];
        for (kind, loss) in names(&ALL).into_iter().flat_map(|kind| losses.iter().map(move |loss| (kind, loss))) {
            let (mut tally, spans, _) = whole();
            tally.count(kind, loss.clone());
            let verdict = judge(&tally, &spans, &ALL, 0);
            assert_eq!((verdict.failed, verdict.faults.len()), (1, 1), "{kind} {loss:?}: {verdict:?}");
        }
    }

    #[test]
    fn a_killed_process_is_forgiven_what_it_can_have_had_and_nothing_else() {
        let (mut tally, spans, _) = whole();
        tally.count("post", Result_::Status(502));
        tally.count("slow reader", Result_::Trouble(Trouble::Cut));
        let verdict = judge(&tally, &spans, &ALL, 1);
        assert_eq!((verdict.failed, verdict.declared, verdict.faults.len()), (0, 2, 0), "{verdict:?}");
        // There is one client that posts.
        tally.count("post", Result_::Status(502));
        assert_eq!(judge(&tally, &spans, &ALL, 1).failed, 1);
        let (mut tally, spans, _) = whole();
        tally.count("upload", Result_::Status(502));
        assert_eq!(judge(&tally, &spans, &ALL, 1).failed, 1, "a PUT may be sent twice");
    }

    #[test]
    fn the_old_version_after_the_end_fails_the_cell() {
        let (mut tally, spans, begin) = whole();
        tally.saw(begin + Duration::from_secs(3), "1");
        assert!(judge(&tally, &spans, &ALL, 0).faults[0].starts_with("wrong version: \"1\""));
    }

    #[test]
    fn a_version_that_was_never_to_serve_fails_the_cell() {
        let (mut tally, spans, begin) = whole();
        tally.saw(begin, "3");
        assert!(judge(&tally, &spans, &ALL, 0).faults[0].starts_with("wrong version: \"3\""));
    }

    #[test]
    fn a_kind_that_did_not_happen_fails_the_cell() {
        let (tally, spans, _) = whole();
        let kinds: Vec<Kind> = ALL.into_iter().chain([("unheard of", ALL[0].1)]).collect();
        assert_eq!(judge(&tally, &spans, &kinds, 0).faults, ["no unheard of took part"]);
    }

    #[test]
    fn silence_after_the_end_fails_the_cell() {
        let (_, spans, begin) = whole();
        let mut tally = Tally::default();
        names(&ALL).into_iter().for_each(|kind| tally.count(kind, Result_::Ok));
        tally.saw(begin, "1");
        assert_eq!(judge(&tally, &spans, &ALL, 0).faults, ["nothing answered after the end"]);
    }
}
