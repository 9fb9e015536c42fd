//! Two readers that were written differently take the same bytes for the same requests, what is forwarded is read again as what was
//! decided, and no bytes lead to a panic.

use rota::http::exchange::facts::RequestFacts;
use rota::http::framing::RequestBody;
use rota::http::head::{self, HeadLimits, HeaderRoom};
use rota::http::rewrite;

use super::first_reader;
use super::meaning::{self, CX, LIMITS};
use super::random::{Random, mutated, seeds};
use super::samples::{REQUESTS, RESPONSES};
use super::second_reader::Body;

/// None: they agree.
fn disagreement(bytes: &[u8]) -> Option<String> {
    first_reader::disagreement(bytes, &LIMITS)
}

#[test]
fn both_readers_agree_on_every_sample() {
    for sample in REQUESTS {
        assert_eq!(disagreement(sample), None);
    }
}

#[test]
fn both_readers_agree_on_mutated_requests() {
    for seed in seeds(30_000) {
        let bytes = mutated(&mut Random::new(seed), REQUESTS);
        assert_eq!(disagreement(&bytes), None, "ROTA_SEED={seed}");
    }
}

/// HARDENING 4.17: the app, whoever it is, reads one request with one framing.
#[test]
fn what_is_forwarded_is_taken_by_both_readers_for_what_was_decided() {
    let mut forwarded = 0;
    for seed in seeds(30_000) {
        let bytes = mutated(&mut Random::new(seed), REQUESTS);
        let mut room = HeaderRoom::new();
        let Ok(Some((head, _))) = head::parse_request(&bytes, &LIMITS, &mut room) else { continue };
        let Ok(facts) = RequestFacts::of(&head) else { continue };
        let body = meaning::passed_on(&facts);
        let mut out = Vec::new();
        rewrite::request(&head, &facts, &CX, &mut out);
        rewrite::finish_request(&mut out, &facts, body);
        let shown = out.escape_ascii();
        assert_eq!(disagreement(&out), None, "ROTA_SEED={seed}");
        let again =
            first_reader::read(&out, &LIMITS).unwrap_or_else(|refusal| panic!("ROTA_SEED={seed}: {refusal:?}: {shown}")).expect("whole");
        let same_body = match facts.body {
            RequestBody::None => again.body == Body::None,
            RequestBody::Length(length) => again.body == Body::Length(length),
            RequestBody::Chunked => matches!(again.body, Body::Chunked(_)),
        };
        assert!(same_body && again.length == out.len(), "ROTA_SEED={seed}: {facts:?}: {shown}");
        assert_eq!((again.method.as_str(), again.path.as_str()), (head.method, head.path), "ROTA_SEED={seed}");
        assert_eq!(again.host.as_deref(), head.host().or(Some(CX.default_host)), "ROTA_SEED={seed}");
        forwarded += 1;
    }
    assert!(forwarded > 0 || std::env::var("ROTA_SEED").is_ok());
}

#[test]
fn no_bytes_lead_to_a_panic() {
    let limits = HeadLimits { bytes: 300, headers: 10, target: 30 };
    let responses: Vec<&[u8]> = RESPONSES.iter().map(|(_, response)| *response).collect();
    let requests: Vec<&[u8]> = RESPONSES.iter().map(|(request, _)| *request).collect();
    for seed in seeds(20_000) {
        let mut random = Random::new(seed);
        let bytes = match random.below(4) {
            0 => (0..random.below(400)).map(|_| random.next() as u8).collect(),
            1 => (0..random.below(400)).map(|_| random.pick(&[b"\r", b"\n", b":", b" ", b"5", b"a", b";", b"\""])[0]).collect(),
            2 => mutated(&mut random, REQUESTS),
            _ => mutated(&mut random, &responses),
        };
        // A panic says where; the seed says with what.
        let outcome = std::panic::catch_unwind(|| {
            let _ = head::parse_request(&bytes, &limits, &mut HeaderRoom::new());
            let _ = head::head_end(&bytes, bytes.len() / 2);
            let _ = first_reader::chunks(&bytes);
            let _ = meaning::of_requests([&bytes[..]]);
            let _ = meaning::of_responses(requests[bytes.len() % requests.len()], [&bytes[..]]);
        });
        assert!(outcome.is_ok(), "ROTA_SEED={seed}: {}", bytes.escape_ascii());
    }
}

/// What [`head::head_end`] promises: once it has seen an end, parsing says yes or no.
#[test]
fn a_head_whose_end_was_found_is_taken_or_refused() {
    for seed in seeds(20_000) {
        let bytes = mutated(&mut Random::new(seed), REQUESTS);
        if head::head_end(&bytes, 0).is_some() {
            let mut room = HeaderRoom::new();
            let parsed = head::parse_request(&bytes, &LIMITS, &mut room);
            assert!(!matches!(parsed, Ok(None)), "ROTA_SEED={seed}: {}", bytes.escape_ascii());
        }
    }
}
